from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmtest.coverage import items
from llmtest.coverage.data import CoverageData, Writer, clear, combine, default_folder, load, summary
from llmtest.coverage.items import Inventory
from llmtest.errors import CoverageError
from tests.coverage.conftest import PROGRAM


def test_what_was_written_is_read(written: Callable[..., CoverageData]) -> None:
    data = written(("one", ["desk/nodes/plan"], ["desk/nodes/book"]), ("two", ["desk/nodes/book", "desk/nodes/plan"], []))

    assert list(data.inventory) == PROGRAM
    assert data.hits == {"desk/nodes/plan", "desk/nodes/book"}
    assert data.ambiguous == set()  # another test shows it for certain
    assert data.contexts() == {"desk/nodes/plan": ["one", "two"], "desk/nodes/book": ["two"]}
    assert (data.tests, data.torn, data.programs) == (2, [], set())
    assert summary(data) == "2 tests of 1 worker, 7 items"


def test_without_names_no_test_is_known(written: Callable[..., CoverageData]) -> None:
    data = written(("", ["desk/nodes/plan"], ["desk/tools/hotel.raised"]))

    assert data.contexts() == {}
    assert data.ambiguous == {"desk/tools/hotel.raised"}


def test_items_that_come_later_get_the_next_numbers_and_a_better_known_one_keeps_its_number(tmp_path: Path) -> None:
    inventory = Inventory([items.edge("a", "x", "y", unknown="why")])
    writer = Writer(tmp_path / "main.jsonl")
    writer.add(inventory, ["a/edges/x->y"], [])
    inventory.add(items.node("a", "x"))
    inventory.add(items.edge("a", "x", "y"))
    writer.add(inventory, ["a/nodes/x"], [])
    writer.close()

    data = load([tmp_path / "main.jsonl"])

    assert [(item.id, item.unknown) for item in data.inventory] == [("a/edges/x->y", ""), ("a/nodes/x", "")]
    assert data.hits == {"a/edges/x->y", "a/nodes/x"}


def shard(path: Path, *names: str, hits: str) -> None:
    writer = Writer(path)
    writer.add(Inventory(items.node("a", name) for name in names), [f"a/nodes/{hits}"], [], f"test_{hits}")
    writer.close()


def test_files_of_several_workers_are_joined_also_a_second_time(tmp_path: Path) -> None:
    shard(tmp_path / "one" / "gw0.jsonl", "x", "y", hits="x")
    shard(tmp_path / "two" / "gw0.jsonl", "y", "x", "z", hits="z")

    first = combine([tmp_path / "one", tmp_path / "two"], tmp_path / "all.jsonl")
    again = combine([tmp_path / "all.jsonl", tmp_path / "one"], tmp_path / "new" / "all.jsonl")

    for data in (first, again, load([tmp_path / "all.jsonl"]), load([tmp_path / "new"])):
        assert data.inventory.get("a/nodes/z") is not None
        assert data.hits == {"a/nodes/x", "a/nodes/z"}
        assert data.contexts() == {"a/nodes/x": ["test_x"], "a/nodes/z": ["test_z"]}
    assert len(list(tmp_path.rglob("*.new"))) == 0


def test_a_line_that_a_dying_worker_left_half_written_is_left_out(tmp_path: Path) -> None:
    shard(tmp_path / "gw0.jsonl", "x", hits="x")
    shard(tmp_path / "gw1.jsonl", "y", hits="y")
    with (tmp_path / "gw0.jsonl").open("a") as file:
        file.write('{"hit":"1","te')

    data = combine([tmp_path / "gw0.jsonl", tmp_path / "gw1.jsonl"], tmp_path / "all" / "all.jsonl")

    assert data.torn == [tmp_path / "gw0.jsonl"]
    assert data.hits == {"a/nodes/x", "a/nodes/y"}
    assert load([tmp_path / "all"]).torn == []
    assert load([tmp_path / "all"]).hits == data.hits


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("hello\n", "main.jsonl:1: this is no line of a coverage file: b'hello\\n'"),
        ('{"hit":"1"}\n', 'main.jsonl:1: this is no line of a coverage file: b\'{"hit":"1"}\\n\''),
        ('{"llmtest-coverage":1}\n[]\n', "main.jsonl:2: this is no line of a coverage file: b'[]\\n'"),
        ('{"llmtest-coverage":2}\n', "a coverage file is of version 2; this llmtest reads up to 1: upgrade it"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "main.jsonl").write_text(content)

    with pytest.raises(CoverageError) as caught:
        load([tmp_path])

    assert str(caught.value).removeprefix(f"{tmp_path}/") == told


def test_a_path_without_files_is_refused(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "no", f"there is no file or folder {tmp_path / 'no'}"),
        (tmp_path, f"no coverage file is in {tmp_path}"),
    ):
        with pytest.raises(CoverageError) as caught:
            load([path])
        assert str(caught.value) == f"{told}\n  `pytest --llmtest-cov` writes one"


def test_a_session_clears_the_files_of_the_last_one(tmp_path: Path) -> None:
    folder = default_folder(tmp_path)
    clear(folder)
    shard(folder / "gw0.jsonl", "x", hits="x")

    clear(folder)

    assert list(folder.glob("*.jsonl")) == []
    assert (tmp_path / ".llmtest" / ".gitignore").read_text() == "*\n"


def test_named_programs_are_kept_with_their_items(written: Callable[..., CoverageData]) -> None:
    data = written(programs=["desk", "other"])

    assert data.programs == {"desk", "other"}
    assert len(data.inventory) == len(PROGRAM)


def test_a_name_that_no_report_can_hold_is_shown_with_escapes(written: Callable[..., CoverageData]) -> None:
    odd = items.node("a\nb", "\x1b[31m\x00\ud800")

    data = written(("one\ntest", [odd.id], []), things=[odd])

    assert [item.id for item in data.inventory] == ["a\\nb/nodes/\\x1b[31m\\x00\\ud800"]
    assert data.contexts() == {"a\\nb/nodes/\\x1b[31m\\x00\\ud800": ["one\\ntest"]}


@pytest.mark.parametrize(
    "line",
    [
        '{"hit":"2"}',
        '{"hit":"-1"}',
        '{"hit":"0","maybe":"4"}',
        '{"items":[[1,"a","nodez","x","x","ran","",""]]}',
        '{"items":[[1]]}',
    ],
)
def test_a_line_that_makes_no_sense_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "main.jsonl"
    writer = Writer(path)
    writer.add(Inventory([items.node("a", "x")]), [], [])
    writer.close()
    path.write_text(f"{path.read_text()}{line}\n")

    with pytest.raises(CoverageError) as caught:
        load([path])

    assert str(caught.value) == f"{path}:4: this is no line of a coverage file: {f'{line}{chr(10)}'.encode()[:60]!r}"


def test_a_file_that_is_no_coverage_file_is_not_cleared(tmp_path: Path) -> None:
    shard(tmp_path / "gw0.jsonl", "x", hits="x")
    (tmp_path / "empty.jsonl").write_text("")
    other = tmp_path / "questions.jsonl"
    other.write_text('{"question": "?"}\n')

    with pytest.raises(CoverageError) as caught:
        clear(tmp_path)

    told = "is no coverage file\n  the folder of coverage is cleared: give it one of its own"
    assert str(caught.value) == f"{other} {told}"
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    other.unlink()
    clear(tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))


def test_the_output_is_none_of_the_files_to_join(tmp_path: Path) -> None:
    shard(tmp_path / "gw0.jsonl", "x", hits="x")

    with pytest.raises(CoverageError) as caught:
        combine([tmp_path], tmp_path / "gw0.jsonl")

    assert str(caught.value) == f"{tmp_path / 'gw0.jsonl'} is one of the files to join\n  write to a file that is not among them"
    assert load([tmp_path]).hits == {"a/nodes/x"}
