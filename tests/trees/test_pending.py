"""What came and was not expected: kept in a file, listed, accepted, rejected. Every word that is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmtest.cassettes import masking
from llmtest.core.source import shown_path
from llmtest.errors import PendingError
from llmtest.trees.differ import MAX_LINES
from llmtest.trees.pending import Folder, Mismatch, Pending, read_text, renew, shown, stored_file, to_json, write_text
from llmtest.trees.rendering import HEADER

OLD = f'{HEADER}\nchat Model\n  > u1: "hi"\n  < a1: "Hello"\n'
NEW = f'{HEADER}\nchat Model\n  > u1: "hi"\n  < a1: "Goodbye"\n'
EXTRA = f'{HEADER}\nchat Model\n  > u1: "hi"\n  tool f()\n    < 1\n  < a1: "Hello"\n'
CONFLICT = f"{HEADER}\nchat Model\n<<<<<<< HEAD\n  < 1\n=======\n  < 2\n>>>>>>> theirs\n"
TEST = "tests/test_a.py::test_it"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def snapshot(root: Path) -> Path:
    return root / "tests" / "__snapshots__" / "test_a" / "test_it.tree"


@pytest.fixture
def folder(root: Path) -> Folder:
    return Folder(root, {})


def waiting(folder: Folder, snapshot: Path, expected: str | None, received: str = NEW, test: str = TEST) -> Pending:
    """A snapshot on disk, and what came instead of it."""
    if expected is not None:
        write_text(snapshot, expected)
    path = folder.keep(Mismatch(test, snapshot, expected, received))
    (one,) = [one for one in folder.found() if one.path == path]
    return one


# -- files


@pytest.mark.parametrize("text", ["", "a\r\nb\rc", "\u2028\x85\x0c\ud800\ufeff", OLD])
def test_a_text_is_read_as_it_was_written(root: Path, text: str) -> None:
    write_text(root / "new folder" / "x.tree", text)

    assert read_text(root / "new folder" / "x.tree") == text
    assert [path.name for path in (root / "new folder").iterdir()] == ["x.tree"]


def test_a_file_that_cannot_be_replaced_stays_as_it_was_and_leaves_nothing_behind(root: Path) -> None:
    (root / "x.tree").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_text(root / "x.tree", OLD)

    assert [path.name for path in root.iterdir()] == ["x.tree"]


def test_a_file_that_is_not_there_has_no_text(root: Path) -> None:
    assert read_text(root / "x.tree") is None


def test_line_ends_of_a_checkout_are_read_as_ours(root: Path) -> None:
    (root / "x.tree").write_bytes(OLD.replace("\n", "\r\n").encode())

    assert read_text(root / "x.tree") == OLD


def test_a_file_that_is_no_text_is_named_with_its_line(root: Path) -> None:
    (root / "x.tree").write_bytes(b"a\nb\xff\n")

    with pytest.raises(PendingError) as caught:
        read_text(root / "x.tree")

    assert str(caught.value) == "x.tree, line 2: the file is not UTF-8; restore it, or delete it"


# -- files with the old ending


def old(text: str) -> str:
    return text.replace(HEADER, "# llmtest trace v1")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_snapshot_is_in_the_file_with_the_old_ending_as_long_as_that_is_the_only_one(snapshot: Path) -> None:
    nothing = stored_file(snapshot)
    write_text(snapshot.with_suffix(".trace"), old(OLD))
    before = stored_file(snapshot)
    write_text(snapshot, NEW)

    assert (nothing, before, stored_file(snapshot)) == (snapshot, snapshot.with_suffix(".trace"), snapshot)
    assert read_text(before) == OLD


def test_a_file_with_the_old_ending_is_renewed(snapshot: Path) -> None:
    write_text(snapshot.with_suffix(".trace"), old(OLD))

    renew(snapshot)
    renew(snapshot)

    assert files(snapshot.parent) == ["test_it.tree"]
    assert snapshot.read_text("utf-8") == OLD


def test_where_both_are_nothing_is_renewed(snapshot: Path) -> None:
    write_text(snapshot.with_suffix(".trace"), old(OLD))
    write_text(snapshot, NEW)

    renew(snapshot)

    assert files(snapshot.parent) == ["test_it.trace", "test_it.tree"]


def test_a_changed_snapshot_with_the_old_ending_is_accepted_under_the_new_one(folder: Folder, snapshot: Path) -> None:
    before = snapshot.with_suffix(".trace")
    write_text(before, old(OLD))
    folder.keep(Mismatch(TEST, before, OLD, NEW))
    (one,) = folder.found()

    named = [folder.named(shown(path, folder.root)) for path in (snapshot, before)]
    mismatch = one.mismatch
    one.accept()

    assert named == [[one], [one]]
    assert (one.path.name, one.snapshot) == ("test_it.tree", snapshot)
    assert (mismatch.snapshot, mismatch.category) == (before, "changed text")
    assert files(snapshot.parent) == ["test_it.tree"]
    assert read_text(snapshot) == NEW


def test_a_damaged_snapshot_with_the_old_ending_is_named_as_it_is(folder: Folder, snapshot: Path) -> None:
    write_text(snapshot.with_suffix(".trace"), old(CONFLICT))
    folder.keep(Mismatch(TEST, snapshot, CONFLICT, NEW))
    (one,) = folder.found()

    with pytest.raises(PendingError, match=r"^test_it\.trace, line 3: an unresolved merge conflict"):
        one.accept()


@pytest.fixture
def kept_before(folder: Folder, snapshot: Path) -> Path:
    """A pending file as it was written when snapshots were `.trace` files."""
    path = folder.path / "tests" / "test_a.py" / "test_it.trace"
    target = shown(snapshot.with_suffix(".trace"), folder.root)
    write_text(path, old(NEW).replace("\n", f'\n# test "{TEST}"\n# snapshot "{target}"\n', 1))
    return path


def test_what_was_pending_before_can_be_accepted(folder: Folder, snapshot: Path, kept_before: Path) -> None:
    (one,) = folder.found()
    one.accept()

    assert (one.path, one.test, one.snapshot, one.received) == (kept_before, TEST, snapshot, NEW)
    assert read_text(snapshot) == NEW
    assert folder.found() == []


def test_what_was_pending_before_is_replaced_by_what_comes_now(folder: Folder, snapshot: Path, kept_before: Path) -> None:
    one = waiting(folder, snapshot, OLD, EXTRA)

    assert folder.found() == [one]
    assert not kept_before.exists()


def test_what_was_pending_before_is_forgotten_when_the_test_matches(folder: Folder, snapshot: Path, kept_before: Path) -> None:
    folder.forget(Mismatch(TEST, snapshot, NEW, NEW))

    assert not kept_before.exists()


# -- what is said


@pytest.mark.parametrize(
    ("expected", "received", "category", "headline"),
    [
        (None, NEW, "new", "no snapshot yet: there is no test_it.tree"),
        (OLD, NEW, "changed text", 'snapshot differs: AI message "Hello" → "Goodbye" at Model (1 of 3 lines, 1 cause)'),
        (OLD, EXTRA, "changed structure", "snapshot differs: extra run: tool f at Model (2 of 3 lines, 1 cause)"),
        (CONFLICT, NEW, "damaged", "snapshot unreadable: test_it.tree, line 3: an unresolved merge conflict, '<<<<<<< HEAD'"),
        (
            OLD.replace("v1", "v9"),
            NEW,
            "damaged",
            "snapshot unreadable: test_it.tree,"
            " line 1: it is of version 9, and this llmtest knows version 1; upgrade llmtest-kit",
        ),
        (OLD, OLD, "damaged", "the snapshot matches by now"),
    ],
)
def test_a_mismatch_is_said_on_one_line(
    snapshot: Path, expected: str | None, received: str, category: str, headline: str
) -> None:
    mismatch = Mismatch(TEST, snapshot, expected, received)

    assert (mismatch.category, mismatch.headline) == (category, headline)


def test_an_error_has_no_diff(snapshot: Path, root: Path) -> None:
    mismatch = Mismatch(TEST, snapshot, OLD, None, "TypeError: no")

    assert (mismatch.headline, mismatch.lines(), mismatch.damage, mismatch.difference) == ("TypeError: no", [], None, None)
    assert mismatch.footer(root, None) == ["  snapshot  tests/__snapshots__/test_a/test_it.tree"]


def test_a_new_tree_is_shown_whole_up_to_sixty_lines(snapshot: Path) -> None:
    text = f"{HEADER}\n" + "".join(f"chain c{n}\n" for n in range(70))

    lines = Mismatch(TEST, snapshot, None, text).lines()

    assert (len(lines), lines[0], lines[-1]) == (MAX_LINES, "  chain c0", "  … 11 more lines")
    assert len(Mismatch(TEST, snapshot, None, text).lines(limit=None)) == 70
    assert Mismatch(TEST, snapshot, None, NEW).lines() == ["  chat Model", '    > u1: "hi"', '    < a1: "Goodbye"']
    assert Mismatch(TEST, snapshot, OLD, OLD).lines() == []


def test_the_footer_has_lines_to_copy(snapshot: Path, root: Path, folder: Folder) -> None:
    mismatch = Mismatch(f"{TEST}[a b]", snapshot, OLD, NEW)

    assert mismatch.footer(root, folder.place(mismatch)) == [
        "  snapshot  tests/__snapshots__/test_a/test_it.tree",
        "  accept    llmtest accept 'tests/test_a.py::test_it[a b]'",
        "  review    llmtest review",
        "  show      llmtest diff tests/__snapshots__/test_a/test_it.tree .llmtest/pending/tests/test_a.py/test_it.tree",
    ]


@pytest.mark.parametrize(
    ("expected", "what", "command"),
    [
        (OLD, "snapshot", "pytest tests/test_a.py::test_it"),
        (OLD, "cassette", "pytest --llmtest-record=verify tests/test_a.py::test_it"),
        (CONFLICT, "snapshot", "rm tests/__snapshots__/test_a/test_it.tree; pytest tests/test_a.py::test_it"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_where_nothing_was_kept_the_footer_says_how_to_review_it(
    snapshot: Path, root: Path, expected: str, what: Any, command: str, alone: bool
) -> None:
    assert Mismatch(TEST, snapshot, expected, NEW, what=what).footer(root, None, alone=alone)[1:] == [
        f"  review    {command}; llmtest review",
        "  (nothing was kept: CI is set; pytest --llmtest-report=FOLDER keeps it)",
    ]


def test_where_the_test_fails_for_another_reason_too_the_footer_accepts_nothing(
    snapshot: Path, root: Path, folder: Folder
) -> None:
    mismatch = Mismatch(TEST, snapshot, OLD, NEW)

    assert mismatch.footer(root, folder.place(mismatch), alone=False)[1:3] == [
        "  (the test fails for another reason, too: mend that before you accept)",
        "  review    llmtest review",
    ]


def test_a_path_outside_of_the_project_is_written_whole(root: Path) -> None:
    assert shown(root.parent / "x", root) == (root.parent / "x").as_posix()


# -- pending files


def test_what_came_is_kept_with_its_test_and_its_snapshot(folder: Folder, snapshot: Path) -> None:
    one = waiting(folder, snapshot, OLD)

    assert one.path.relative_to(folder.path).as_posix() == "tests/test_a.py/test_it.tree"
    assert one.path.read_text("utf-8").splitlines()[:4] == [
        HEADER,
        '# test "tests/test_a.py::test_it"',
        '# snapshot "tests/__snapshots__/test_a/test_it.tree"',
        "chat Model",
    ]
    assert (one.test, one.snapshot, one.received) == (TEST, snapshot, NEW)


@pytest.mark.parametrize("received", [NEW, f"{HEADER}\nno tree\n\n\n", f"{HEADER}\n"])
def test_what_came_comes_back_exactly(folder: Folder, snapshot: Path, received: str) -> None:
    assert waiting(folder, snapshot, None, received).received == received


def test_what_is_accepted_is_the_snapshot_and_pending_no_more(folder: Folder, snapshot: Path) -> None:
    waiting(folder, snapshot, OLD).accept()

    assert read_text(snapshot) == NEW
    assert folder.found() == []


def test_what_is_rejected_is_forgotten(folder: Folder, snapshot: Path) -> None:
    waiting(folder, snapshot, OLD).reject()

    assert read_text(snapshot) == OLD
    assert folder.found() == []


def test_what_matches_again_is_forgotten(folder: Folder, snapshot: Path) -> None:
    one = waiting(folder, snapshot, OLD)

    folder.forget(one.mismatch)

    assert folder.found() == []


def test_a_damaged_snapshot_is_overwritten_only_by_name(folder: Folder, snapshot: Path) -> None:
    one = waiting(folder, snapshot, CONFLICT)

    with pytest.raises(PendingError) as caught:
        one.accept()
    one.accept(by_name=True)

    assert str(caught.value) == (
        "test_it.tree, line 3: an unresolved merge conflict, '<<<<<<< HEAD'\n"
        "  it is not overwritten unasked; repair it, or accept it by name: llmtest accept tests/test_a.py::test_it"
    )
    assert read_text(snapshot) == NEW


@pytest.mark.parametrize(
    ("environ", "writes"),
    [({}, True), ({"CI": "true"}, False), ({"CI": ""}, True), ({"CI": "1", "LLMTEST_PENDING_DIR": "artifact"}, True)],
)
def test_ci_writes_nothing_unless_asked(root: Path, snapshot: Path, environ: dict[str, str], writes: bool) -> None:
    folder = Folder(root, environ)
    mismatch = Mismatch(TEST, snapshot, OLD, NEW)

    kept = folder.keep(mismatch)
    folder.forget(mismatch)

    assert (kept is not None) == folder.path.exists() == writes
    assert folder.path == root / environ.get("LLMTEST_PENDING_DIR", ".llmtest/pending")


def test_a_mismatch_without_a_text_keeps_nothing(folder: Folder, snapshot: Path) -> None:
    assert folder.keep(Mismatch(TEST, snapshot, OLD, None, "error")) is None


def test_a_test_outside_of_the_project_is_kept_inside(folder: Folder, snapshot: Path) -> None:
    place = folder.place(Mismatch("../../test_a.py::test_it", snapshot))

    assert place == folder.path / "test_a.py" / "test_it.tree"


def test_the_folder_is_found_from_below(folder: Folder, snapshot: Path, root: Path) -> None:
    waiting(folder, snapshot, OLD)

    assert Folder.around(snapshot.parent, {}).root == root
    assert Folder.around(snapshot.parent, {"LLMTEST_PENDING_DIR": "x"}).path == snapshot.parent / "x"
    assert Folder.around(Path("/"), {}).root == Path("/")


@pytest.mark.parametrize("about", ["", '# test 5\n# snapshot "x.tree"\n', '# test "a\n# snapshot "x.tree"\n'])
def test_a_file_that_is_not_ours_is_named(folder: Folder, root: Path, about: str) -> None:
    write_text(folder.path / "x.tree", OLD.replace(f"{HEADER}\n", f"{HEADER}\n{about}"))

    with pytest.raises(PendingError) as caught:
        folder.found()

    assert str(caught.value) == ".llmtest/pending/x.tree is no pending snapshot; delete it"


@pytest.mark.parametrize("target", ["../outside.tree", "tests/test_a.py"])
def test_a_file_from_elsewhere_cannot_write_outside_of_the_project(folder: Folder, root: Path, target: str) -> None:
    write_text(folder.path / "x.tree", f'{HEADER}\n# test "a"\n# snapshot {json.dumps(target)}\nchain x\n')

    with pytest.raises(PendingError) as caught:
        folder.found()

    assert str(caught.value) == (f".llmtest/pending/x.tree names the snapshot {root / target}, which is not in {root}; delete it")


# -- names


@pytest.mark.parametrize(
    "name",
    [
        TEST,
        "test_it",
        "test_a.py::test_it",
        "tests/test_a.py",
        "tests",
        "tests/",
        "tests/__snapshots__/test_a/test_it.tree",
        ".llmtest/pending/tests/test_a.py/test_it.tree",
    ],
)
def test_a_pending_snapshot_is_named_by_its_test_or_a_path(folder: Folder, snapshot: Path, name: str) -> None:
    one = waiting(folder, snapshot, OLD)
    waiting(folder, snapshot.with_name("test_other.tree"), OLD, test="other/test_b.py::test_other")

    assert folder.named(name) == [one]
    assert folder.named(str(one.path)) == [one]


def test_all_parameters_of_a_test_have_its_name(folder: Folder, snapshot: Path) -> None:
    one = waiting(folder, snapshot, OLD, test=f"{TEST}[1]")

    assert folder.named(TEST) == [one]


def test_a_name_that_is_not_there_has_a_nearest(folder: Folder, snapshot: Path) -> None:
    waiting(folder, snapshot, OLD)

    with pytest.raises(PendingError) as near:
        folder.named("tests/test_a.py::test_if")
    with pytest.raises(PendingError) as far:
        folder.named("zzz")

    assert str(near.value) == "nothing is pending for 'tests/test_a.py::test_if'; did you mean `tests/test_a.py::test_it`?"
    assert str(far.value) == "nothing is pending for 'zzz'; `llmtest pending` lists all"


def test_machines_read_what_is_pending(folder: Folder, snapshot: Path, root: Path) -> None:
    one = waiting(folder, snapshot, OLD)

    assert json.loads(to_json([one], root)) == [
        {
            "test": TEST,
            "category": "changed text",
            "headline": 'snapshot differs: AI message "Hello" → "Goodbye" at Model (1 of 3 lines, 1 cause)',
            "snapshot": "tests/__snapshots__/test_a/test_it.tree",
            "pending": ".llmtest/pending/tests/test_a.py/test_it.tree",
        }
    ]


# -- cassettes

YAML = '# llmtest script v2\ntest: "test_a.py::test_it"\nmodels:\n  "none:m": [{said}]\n'


@pytest.fixture
def cassette(root: Path) -> Path:
    return root / "tests" / "cassettes" / "test_a" / "test_it.yaml"


def waiting_cassette(folder: Folder, cassette: Path, before: str | None, after: str) -> Pending:
    if before is not None:
        cassette.parent.mkdir(parents=True, exist_ok=True)
        cassette.write_text(before, "utf-8")
    path = folder.keep_cassette(TEST, cassette, after, {"<mask:secret>": ["sk-1"]})
    assert path == folder.path / "tests" / "test_a.py" / "test_it.yaml"
    (one,) = folder.found()
    return one


def test_a_pending_cassette_shows_what_its_models_would_say(folder: Folder, cassette: Path) -> None:
    one = waiting_cassette(folder, cassette, YAML.format(said="one"), YAML.format(said="{say: two, usage: [5, 2]}"))

    assert one.path.read_text("utf-8").splitlines()[:3] == [
        "# llmtest script v2",
        '# test "tests/test_a.py::test_it"',
        '# cassette "tests/cassettes/test_a/test_it.yaml"',
    ]
    mismatch = one.mismatch
    assert (mismatch.category, mismatch.headline) == (
        "changed text",
        'cassette differs: AI message "one" → "two" at none:m (1 of 2 lines, 1 cause)',
    )
    assert mismatch.lines() == [
        "  chat none:m",
        '-   < a1: "one"',
        '+   < a1: "two"  usage in=5 out=2  ◀ first difference',
        "  tokens  0 in, 0 out, 1 call without usage -> 5 in, 2 out",
    ]


def test_an_accepted_cassette_is_written_with_what_is_masked_in_it(folder: Folder, cassette: Path) -> None:
    after = YAML.format(said='"key <mask:secret>"')
    one = waiting_cassette(folder, cassette, None, after)
    assert (one.mismatch.category, one.mismatch.headline) == ("new", "no cassette yet: there is no test_it.yaml")

    (named,) = folder.named("test_a.py::test_it")
    named.accept()

    assert cassette.read_text("utf-8") == after
    assert masking.kept(cassette) == {"<mask:secret>": ["sk-1"]}
    assert (folder.found(), masking.kept(one.path)) == ([], {})


def test_a_rejected_cassette_stays_as_it_is(folder: Folder, cassette: Path) -> None:
    before = YAML.format(said="one")

    waiting_cassette(folder, cassette, before, YAML.format(said="two")).reject()

    assert (cassette.read_text("utf-8"), folder.found()) == (before, [])
    assert not masking.secrets_file(folder.place_of_cassette(TEST, cassette)).exists()


def test_a_cassette_that_is_right_again_is_forgotten(folder: Folder, cassette: Path) -> None:
    waiting_cassette(folder, cassette, None, YAML.format(said="two"))

    folder.forget_cassette(TEST, cassette)

    assert folder.found() == []


def test_a_damaged_cassette_is_overwritten_only_by_name(folder: Folder, cassette: Path) -> None:
    one = waiting_cassette(folder, cassette, "# llmtest script v2\nmodels: {m: [{sya: a}]}\n", YAML.format(said="two"))
    problem = f"{shown_path(str(cassette))}:2: step 1 of `m` of `models` of the file has the unknown key `sya`"

    assert (one.mismatch.category, one.mismatch.headline) == ("damaged", problem)
    with pytest.raises(PendingError) as caught:
        one.accept()
    assert str(caught.value) == (
        f"{problem}\n  it is not overwritten unasked; repair it, or accept it by name: llmtest accept {TEST}"
    )
    one.accept(by_name=True)
    assert cassette.read_text("utf-8") == YAML.format(said="two")


def test_in_ci_no_cassette_is_kept(root: Path, cassette: Path) -> None:
    folder = Folder(root, {"CI": "1"})

    assert folder.keep_cassette(TEST, cassette, YAML.format(said="a"), {}) is None
    kept = Folder(root, {}).keep_cassette(TEST, cassette, YAML.format(said="a"), {})
    folder.forget_cassette(TEST, cassette)
    assert kept is not None
    assert kept.is_file()
    assert Mismatch(TEST, cassette, "a", "b", what="cassette").footer(root, None) == [
        "  cassette  tests/cassettes/test_a/test_it.yaml",
        f"  review    pytest --llmtest-record=verify {TEST}; llmtest review",
        "  (nothing was kept: CI is set; pytest --llmtest-report=FOLDER keeps it)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hello\n", ".llmtest/pending/x.yaml is no pending cassette; delete it"),
        (
            '# llmtest script v2\n# test 5\n# cassette "out.yaml"\n',
            ".llmtest/pending/x.yaml is no pending cassette; delete it",
        ),
        (
            '# llmtest script v2\n# test "a\n# cassette "out.yaml"\n',
            ".llmtest/pending/x.yaml is no pending cassette; delete it",
        ),
        (
            '# llmtest script v2\n# test "a"\n# cassette "../out.yaml"\n',
            ".llmtest/pending/x.yaml names the cassette {root}/../out.yaml, which is not in {root}; delete it",
        ),
        (
            '# llmtest script v2\n# test "a"\n# cassette "conftest.py"\n',
            ".llmtest/pending/x.yaml names the cassette {root}/conftest.py, which is not in {root}; delete it",
        ),
    ],
)
def test_a_file_that_is_no_pending_cassette_is_named(folder: Folder, root: Path, text: str, problem: str) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "x.yaml").write_text(text)

    with pytest.raises(PendingError) as caught:
        folder.found()

    assert str(caught.value) == problem.format(root=root)


# -- what is the same in other tests, and what is kept where


def test_words_and_change_are_those_of_the_difference_without_its_place(tmp_path: Path) -> None:
    text = f'{HEADER}\nchat Model\n  > u1: "hi"\n  < a1: "Hello"\n'
    inner = "\n".join((HEADER, "chain agent", *(f"  {line}" for line in text.splitlines()[1:]), "  < 1", ""))
    one, other = (Mismatch("t.py::test", tmp_path / "a.tree", before, before.replace("Hello", "Bye")) for before in (text, inner))

    assert one.words == other.words == 'snapshot differs: AI message "Hello" → "Bye"'
    assert one.change == other.change
    assert one.headline != other.headline


def test_what_has_no_difference_has_no_change(tmp_path: Path) -> None:
    new = Mismatch("t.py::test", tmp_path / "a.tree", None, "x")
    broken = Mismatch("t.py::test", tmp_path / "a.tree", "x", error="SnapshotError: broken")

    assert [(one.change, one.words) for one in (new, broken)] == [
        (None, "no snapshot yet"),
        (None, "SnapshotError: broken"),
    ]


def test_the_folder_of_pending_files_ignores_itself(tmp_path: Path) -> None:
    Folder(tmp_path, {}).keep(Mismatch("t.py::test", tmp_path / "__snapshots__" / "t" / "test.tree", None, f"{HEADER}\nx\n"))

    assert (tmp_path / ".llmtest" / ".gitignore").read_text() == "*\n"
