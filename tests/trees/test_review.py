"""The commands of the review, on files: what they say, ask and write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtest.cli import commands
from llmtest.errors import PendingError
from llmtest.trees.pending import Folder, Mismatch, read_text, write_text
from llmtest.trees.rendering import HEADER
from llmtest.trees.review import HELP, Ask, compare, groups, pending, review, settle, text_of, undo

OLD = f'{HEADER}\nchat Model\n  > u1: "hi"\n  < a1: "Hello"\n'
NEW = OLD.replace("Hello", "Goodbye")
CONFLICT = f"{HEADER}\nchat Model\n<<<<<<< HEAD\n  < 1\n=======\n  < 2\n>>>>>>> theirs\n"
DIFF = """\
snapshot differs: AI message "Hello" → "Goodbye" at Model (1 of 3 lines, 1 cause)
  chat Model
-   < a1: "Hello"
+   < a1: "Goodbye"  ◀ first difference
  … 1 unchanged line"""


class Project:
    """A project with pending snapshots, what was said, and the answers to give."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root, {})
        self.said: list[str] = []
        self.say = self.said.append

    def snapshot(self, name: str) -> Path:
        return self.folder.root / "__snapshots__" / "test_a" / f"{name}.tree"

    def wait(self, *names: str, expected: str | None = OLD, received: str = NEW) -> None:
        for name in names:
            if expected is not None:
                write_text(self.snapshot(name), expected)
            self.folder.keep(Mismatch(f"test_a.py::{name}", self.snapshot(name), expected, received))

    def wait_for_each(self, *names: str) -> None:
        """Let snapshots wait that have changed in different ways."""
        for name in names:
            self.wait(name, received=NEW.replace("Goodbye", f"Goodbye {name}"))

    def accepted(self) -> list[str]:
        files = sorted((self.folder.root / "__snapshots__" / "test_a").glob("*.tree"))
        return [path.stem for path in files if "Goodbye" in (read_text(path) or "")]

    def waiting(self) -> list[str]:
        return [one.test.partition("::")[2] for one in self.folder.found()]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def answers(*given: str) -> Ask:
    left: Iterator[str] = iter(given)
    return lambda question: next(left)


def test_what_is_pending_is_listed(project: Project) -> None:
    project.wait("test_x")
    project.wait("test_y", expected=None)

    code = pending(project.folder, project.say)

    assert code == 0
    assert project.said == [
        "test_a.py::test_x  (changed text)\n  " + DIFF.splitlines()[0],
        "test_a.py::test_y  (new)\n  no snapshot yet: there is no test_y.tree",
    ]


def test_machines_get_a_list_also_of_nothing(project: Project) -> None:
    pending(project.folder, project.say, as_json=True)

    assert json.loads(project.said[0]) == []


def test_nothing_pending_is_said(project: Project) -> None:
    pending(project.folder, project.say)
    review(project.folder, project.say, None)
    settle(project.folder, [], project.say, accepted=True)

    assert project.said == ["nothing is pending"] * 3


def test_what_is_named_is_accepted_or_rejected_and_the_rest_waits(project: Project) -> None:
    project.wait("test_x", "test_y", "test_z")

    codes = [
        settle(project.folder, ["test_x"], project.say, accepted=True),
        settle(project.folder, ["test_y"], project.say, accepted=False),
    ]

    assert (codes, project.accepted(), project.waiting()) == ([0, 0], ["test_x"], ["test_z"])
    assert project.said == [
        "accepted  test_a.py::test_x: __snapshots__/test_a/test_x.tree",
        "rejected  test_a.py::test_y: __snapshots__/test_a/test_y.tree",
    ]


def test_without_a_name_all_are_accepted_but_damaged_ones(project: Project) -> None:
    project.wait("test_x")
    project.wait("test_y", expected=CONFLICT)

    code = settle(project.folder, [], project.say, accepted=True)

    assert (code, project.accepted(), project.waiting()) == (1, ["test_x"], ["test_y"])
    assert project.said[1].startswith("refused   test_a.py::test_y: test_y.tree, line 3: an unresolved merge conflict")


def test_a_review_asks_of_one_after_the_other(project: Project) -> None:
    project.wait("test_1")
    project.wait_for_each("test_2", "test_3", "test_4", "test_5")

    code = review(project.folder, project.say, answers("a", "what?", "", "r", "s", "A"))

    assert code == 0
    assert project.accepted() == ["test_1", "test_4", "test_5"]
    assert project.waiting() == ["test_3"]
    assert project.said[0] == f"\n1 of 5: test_a.py::test_1  (changed text)\n{DIFF}"


def test_a_review_ends_when_asked_to_or_when_nobody_answers(project: Project) -> None:
    def nobody(question: str) -> str:
        raise EOFError

    project.wait_for_each("test_1", "test_2")

    review(project.folder, project.say, answers("q"))
    review(project.folder, project.say, nobody)

    assert len(project.said) == 2
    assert project.waiting() == ["test_1", "test_2"]


def test_a_review_without_a_terminal_shows_all_and_says_the_commands(project: Project) -> None:
    project.wait_for_each("test_1", "test_2")

    review(project.folder, project.say, None)

    assert len(project.said) == 3
    assert project.said[2] == (
        "to decide, without a terminal:\n  llmtest accept [NAME ...]\n  llmtest reject [NAME ...]\n  llmtest pending --json"
    )
    assert project.waiting() == ["test_1", "test_2"]


def test_a_damaged_snapshot_is_accepted_in_a_review_if_it_was_looked_at(project: Project) -> None:
    project.wait("test_1", "test_2", expected=CONFLICT)

    review(project.folder, project.say, answers("a", "A"))

    assert project.accepted() == ["test_1"]
    assert project.waiting() == ["test_2"]


def test_two_files_are_compared_as_trees(project: Project, tmp_path: Path) -> None:
    project.wait("test_1")
    (one,) = project.folder.found()

    codes = [compare(text_of(one.snapshot), text_of(path), project.say) for path in (one.path, one.snapshot)]

    assert codes == [1, 0]
    assert project.said == [DIFF.removeprefix("snapshot differs: ")]


def test_a_file_that_is_not_there_cannot_be_compared(project: Project) -> None:
    with pytest.raises(PendingError, match=r"^there is no file nowhere\.tree$"):
        text_of(Path("nowhere.tree"))


# -- groups


GROUP = """
1 of 2: 3 tests: snapshot differs: AI message "Hello" → "Goodbye"  (changed text)
  test_a.py::test_1
  test_a.py::test_2
  test_a.py::test_3
the first of them: snapshot differs: AI message "Hello" → "Goodbye" at Model (1 of 3 lines, 1 cause)
  chat Model
-   < a1: "Hello"
+   < a1: "Goodbye"  ◀ first difference
  … 1 unchanged line"""


def test_the_same_change_is_one_question(project: Project) -> None:
    asked: list[str] = []
    given = answers("a", "s")

    def ask(question: str) -> str:
        asked.append(question)
        return given(question)

    project.wait("test_1", "test_2", "test_3")
    project.wait_for_each("test_4")

    review(project.folder, project.say, ask)

    assert project.said[0] == GROUP
    assert asked == [
        "[a]ccept all 3  [r]eject all 3  [o]ne by one  [s]kip  [A]ccept all that are left  [q]uit  [?]help: ",
        "[a]ccept  [r]eject  [s]kip  [A]ccept all that are left  [u]ndo  [q]uit  [?]help: ",
    ]
    assert (project.accepted(), project.waiting()) == (["test_1", "test_2", "test_3"], ["test_4"])
    assert project.said[-1] == "to undo the last accept: llmtest accept --undo"


def test_a_group_may_be_looked_at_one_by_one(project: Project) -> None:
    project.wait("test_1", "test_2")

    review(project.folder, project.say, answers("o", "r", "a"))

    assert [line.splitlines()[1] for line in project.said if line.startswith("\n")] == [
        '1 of 1: 2 tests: snapshot differs: AI message "Hello" → "Goodbye"  (changed text)',
        "1 of 2: test_a.py::test_1  (changed text)",
        "2 of 2: test_a.py::test_2  (changed text)",
    ]
    assert project.accepted() == ["test_2"]


def test_the_last_answer_can_be_undone_and_is_asked_again(project: Project) -> None:
    project.wait("test_1", "test_2")
    project.wait_for_each("test_3")

    review(project.folder, project.say, answers("u", "a", "u", "r", "a"))

    assert project.accepted() == ["test_3"]
    assert [line.split()[0] for line in project.said if not line.startswith(("\n", "to undo"))] == [
        "nothing",  # to undo
        *["accepted"] * 2,
        *["undone"] * 2,
        *["rejected"] * 2,
        "accepted",
    ]


def test_several_snapshots_of_one_test_are_told_apart(project: Project) -> None:
    for name in ("first", "second"):
        write_text(project.snapshot(name), OLD)
        project.folder.keep(Mismatch("test_a.py::test_x", project.snapshot(name), OLD, NEW))
    project.wait("test_y")

    pending(project.folder, project.say)
    listed = [text.splitlines()[0] for text in project.said]
    project.said.clear()
    review(project.folder, project.say, answers("u", "o", "s", "q"))

    assert listed == [
        "test_a.py::test_x  first.tree  (changed text)",
        "test_a.py::test_x  second.tree  (changed text)",
        "test_a.py::test_y  (changed text)",
    ]
    assert [text.strip("\n").splitlines()[:4] for text in project.said] == [
        [
            '1 of 1: 3 snapshots of 2 tests: snapshot differs: AI message "Hello" → "Goodbye"  (changed text)',
            *(f"  {line.removesuffix('  (changed text)')}" for line in listed),
        ],
        ["nothing was accepted in this review; `llmtest accept --undo` undoes an accept before it"],
        [f"1 of 3: {listed[0]}", *DIFF.splitlines()[:3]],
        [f"2 of 3: {listed[1]}", *DIFF.splitlines()[:3]],
    ]


def test_help_says_what_the_letters_do(project: Project) -> None:
    project.wait("test_1")

    review(project.folder, project.say, answers("?", "q"))

    assert project.said[1] == HELP
    assert {line.split()[0] for line in HELP.splitlines()} == set("arsoAuq")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Goodbye", "Ciao"),
        ('Goodbye"\n  < a2: "and more', "Goodbye"),
    ],
    ids=["another text", "something else, too"],
)
def test_other_changes_are_no_group(project: Project, one: str, other: str) -> None:
    project.wait("test_1", received=OLD.replace("Hello", one))
    project.wait("test_2", received=OLD.replace("Hello", other))

    assert len(groups(project.folder.found())) == 2


def test_the_same_change_at_another_place_is_one_group(project: Project) -> None:
    def deeper(text: str) -> str:
        header, *lines = text.splitlines()
        return "\n".join((header, "chain agent", *(f"  {line}" for line in lines), "  < 1", ""))

    project.wait("test_1")
    project.wait("test_2", expected=deeper(OLD), received=deeper(NEW))

    (group,) = groups(project.folder.found())

    assert [one.test for one in group.members] == ["test_a.py::test_1", "test_a.py::test_2"]


def test_what_is_new_or_damaged_is_never_a_group(project: Project) -> None:
    project.wait("test_1", "test_2", expected=None)
    project.wait("test_3", "test_4", expected=CONFLICT)

    assert len(groups(project.folder.found())) == 4


def test_all_with_the_same_change_are_accepted_by_naming_one(project: Project) -> None:
    project.wait("test_1", "test_2")
    project.wait_for_each("test_3")

    code = settle(project.folder, ["test_1"], project.say, accepted=True, alike=True)

    assert (code, project.accepted(), project.waiting()) == (0, ["test_1", "test_2"], ["test_3"])


def test_a_dry_run_says_what_would_happen_and_writes_nothing(project: Project) -> None:
    project.wait("test_1")
    project.wait("test_2", expected=CONFLICT)

    codes = [
        settle(project.folder, [], project.say, accepted=True, dry_run=True),
        settle(project.folder, ["test_1"], project.say, accepted=False, dry_run=True),
    ]

    assert (codes, project.accepted(), project.waiting()) == ([1, 0], [], ["test_1", "test_2"])
    headline = DIFF.splitlines()[0]
    assert project.said[0] == f"would accept  test_a.py::test_1: __snapshots__/test_a/test_1.tree\n  {headline}"
    assert project.said[1].startswith("would refuse  test_a.py::test_2: test_2.tree, line 3: an unresolved merge conflict")
    assert project.said[2] == f"would reject  test_a.py::test_1: __snapshots__/test_a/test_1.tree\n  {headline}"


def test_an_accept_is_undone_by_a_later_command(project: Project) -> None:
    project.wait("test_1")
    settle(project.folder, [], project.say, accepted=True)

    code = undo(project.folder, project.say)

    assert (code, project.accepted(), project.waiting()) == (0, [], ["test_1"])
    assert project.said[-1] == "undone    test_a.py::test_1: __snapshots__/test_a/test_1.tree"


def test_only_what_is_meant_is_settled(project: Project) -> None:
    project.wait("test_1", "test_2")
    (first, _) = project.folder.found()

    settle(project.folder, [], project.say, accepted=True, among={first.path})

    assert (project.accepted(), project.waiting()) == (["test_1"], ["test_2"])


# -- on the command line


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.folder.root)
    monkeypatch.delenv("LLMTEST_PENDING_DIR", raising=False)
    project.wait_for_each("test_1", "test_2")
    return project


def test_the_command_line_lists_accepts_rejects_and_compares(here: Project, capsys: pytest.CaptureFixture[str]) -> None:
    before = str(here.snapshot("test_1"))
    (after, _) = [str(one.path) for one in here.folder.found()]

    codes = [
        commands.main(["pending"]),
        commands.main(["pending", "--json"]),
        commands.main(["review"]),
        commands.main(["diff", before, after]),
        commands.main(["accept", "test_1"]),
        commands.main(["reject"]),
        commands.main(["pending"]),
    ]

    assert codes == [0, 0, 0, 1, 0, 0, 0]
    assert here.accepted() == ["test_1"]
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "accepted  test_a.py::test_1: __snapshots__/test_a/test_1.tree",
        "rejected  test_a.py::test_2: __snapshots__/test_a/test_2.tree",
        "nothing is pending",
    ]


def test_the_command_line_asks_on_a_terminal(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answers("a", "r"))

    code = commands.main(["review"])

    assert (code, here.accepted(), here.waiting()) == (0, ["test_1"], [])


def test_the_command_line_says_what_is_wrong(here: Project, capsys: pytest.CaptureFixture[str]) -> None:
    code = commands.main(["accept", "zzz"])

    assert code == 2
    assert capsys.readouterr().err == "llmtest accept: nothing is pending for 'zzz'; `llmtest pending` lists all\n"


def test_colors_of_a_text_cannot_hide_what_has_changed(project: Project) -> None:
    hidden = NEW.replace("Goodbye", "Goodbye \x1b[8mrm -rf\x1b[0m")
    project.wait("test_1", received=hidden)
    project.wait("test_2", expected=None, received=hidden)

    review(project.folder, project.say, None, color=True)

    assert "\x1b[8m" not in "".join(project.said)
    assert "".join(project.said).count("\\x1b[8m") == 3  # the headline, the diff, and the new text
