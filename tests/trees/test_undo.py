"""Undo of the last accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest.cassettes import masking
from llmtest.errors import PendingError
from llmtest.trees.pending import Folder, Mismatch, write_text
from llmtest.trees.rendering import HEADER
from llmtest.trees.undo import Undo

OLD = f'{HEADER}\nchat Model\n  > u1: "hi"\n  < a1: "Hello"\n'
NEW = OLD.replace("Hello", "Goodbye")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, {})


def snapshot(folder: Folder, name: str) -> Path:
    return folder.root / "__snapshots__" / "test_a" / f"{name}.tree"


def wait(folder: Folder, name: str, before: str | None) -> None:
    if before is not None:
        write_text(snapshot(folder, name), before)
    folder.keep(Mismatch(f"test_a.py::{name}", snapshot(folder, name), before, NEW))


def accept(folder: Folder) -> None:
    found = folder.found()
    Undo(folder).remember(found)
    for one in found:
        one.accept(by_name=True)


def files(root: Path) -> dict[str, bytes]:
    kept = (path for path in root.rglob("*") if path.is_file() and "undo" not in path.parts and path.name != ".gitignore")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}


def test_everything_is_as_it_was(folder: Folder) -> None:
    wait(folder, "test_changed", OLD)
    wait(folder, "test_new", None)
    wait(folder, "test_damaged", "<<<<<<< HEAD\n")
    before = files(folder.root)
    accept(folder)

    said = list(Undo(folder).run())

    assert said == [
        f"undone    test_a.py::test_{name}: __snapshots__/test_a/test_{name}.tree" for name in ("changed", "damaged", "new")
    ]
    assert files(folder.root) == before
    assert not Undo(folder).is_possible


def test_a_snapshot_with_the_old_ending_gets_it_back(folder: Folder) -> None:
    wait(folder, "test_x", None)
    write_text(snapshot(folder, "test_x").with_suffix(".trace"), OLD)
    before = files(folder.root)
    accept(folder)
    assert not snapshot(folder, "test_x").with_suffix(".trace").exists()

    list(Undo(folder).run())

    assert files(folder.root) == before


def test_what_has_changed_since_is_left(folder: Folder) -> None:
    wait(folder, "test_x", OLD)
    accept(folder)
    write_text(snapshot(folder, "test_x"), NEW.replace("Goodbye", "Ciao"))

    said = list(Undo(folder).run())

    assert said == ["left      test_a.py::test_x: __snapshots__/test_a/test_x.tree was not accepted, or has changed since"]
    assert "Ciao" in snapshot(folder, "test_x").read_text()


def test_only_the_last_accept_is_kept(folder: Folder) -> None:
    wait(folder, "test_x", OLD)
    accept(folder)
    wait(folder, "test_y", OLD)
    accept(folder)

    said = list(Undo(folder).run())

    assert [line.split()[1] for line in said] == ["test_a.py::test_y:"]


def test_a_cassette_gets_back_what_was_masked_in_it(folder: Folder) -> None:
    cassette = folder.root / "cassettes" / "test_a" / "test_x.yaml"
    old, new = (f"# llmtest script v1\nsteps:\n- say: {word}\n" for word in ("old", "new"))
    write_text(cassette, old)
    masking.keep(cassette, {"<mask:key>": ["old secret"]})
    folder.keep_cassette("test_a.py::test_x", cassette, new, {"<mask:key>": ["new secret"]})
    before = files(folder.root)
    accept(folder)
    assert masking.kept(cassette) == {"<mask:key>": ["new secret"]}

    list(Undo(folder).run())

    assert files(folder.root) == before


def test_without_an_accept_there_is_nothing_to_undo(folder: Folder) -> None:
    with pytest.raises(PendingError, match=r"^there is no accept to undo$"):
        list(Undo(folder).run())


def test_a_damaged_record_is_an_error(folder: Folder) -> None:
    wait(folder, "test_x", OLD)
    accept(folder)
    (folder.root / ".llmtest" / "undo" / "accepted.json").write_text("[{}]")

    with pytest.raises(PendingError, match=r"^the last accept cannot be undone: KeyError: 'snapshot'$"):
        list(Undo(folder).run())
