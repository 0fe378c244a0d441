"""What a failing snapshot shows, in every way of running, and what it leaves to be reviewed."""

from __future__ import annotations

import re

import pytest

from llmtest.cli import commands
from llmtest.trees.rendering import HEADER
from tests.pytest_plugin.conftest import HELLO, Outcome

GOODBYE = HELLO.replace("Hello", "Goodbye")
CAUSE = 'snapshot differs: AI message "Hello" → "Goodbye" at ScriptedChatModel (1 of 3 lines, 1 cause)'
DIFF = """\
  chat ScriptedChatModel
-   < a1: "Hello there"  usage in=1 out=2
+   < a1: "Goodbye there"  usage in=1 out=2  ◀ first difference
  … 1 unchanged line
  snapshot  __snapshots__/test_it/test_hello.tree
"""
KEPT = """\
  accept    llmtest accept test_it.py::test_hello
  review    llmtest review
  show      llmtest diff __snapshots__/test_it/test_hello.tree .llmtest/pending/test_it.py/test_hello.tree"""
NOT_KEPT = """\
  review    pytest test_it.py::test_hello; llmtest review
  (nothing was kept: CI is set; pytest --llmtest-report=FOLDER keeps it)"""
SUMMARY = "snapshots of 1 test are pending: llmtest review"


@pytest.fixture
def changed(suite):
    """A suite whose accepted snapshot says Hello and whose test says Goodbye."""
    suite.run(HELLO, "--snapshot-update")
    suite.write(GOODBYE)
    return suite


# -- what is shown


def test_failure_is_one_line_and_a_section(changed):
    outcome = changed.run(None)

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: snapshot") == DIFF + KEPT
    assert [line for line in outcome.part("test_hello").splitlines() if line.startswith("E ")] == [f"E   AssertionError: {CAUSE}"]
    assert not outcome.has_part("llmtest: run tree")
    assert outcome.part("llmtest") == SUMMARY


@pytest.mark.parametrize("options", [["-vv"], ["-q"], ["--tb=short"], ["--tb=line"], ["-p", "no:cacheprovider"], ["--color=no"]])
def test_section_is_the_same_in_every_way_of_showing(changed, options):
    outcome = changed.run(None, *options)

    assert outcome.part("llmtest: snapshot" if "--tb=line" not in options else "llmtest") in (DIFF + KEPT, SUMMARY)


def test_summary_line_and_junit_name_the_cause(changed):
    outcome = changed.run(None, "-vv", "--junitxml=junit.xml")

    assert f"FAILED test_it.py::test_hello - AssertionError: {CAUSE}" in outcome.text
    assert "AI message &quot;Hello&quot; → &quot;Goodbye&quot;" in (changed.path / "junit.xml").read_text("utf-8")


def test_plain_asserts_have_the_headline_first_in_the_section(changed):
    # In a process of its own, because ours rewrites the asserts of every test that is imported in it.
    outcome = Outcome(changed.files.runpytest_subprocess("--assert=plain", "-p", "no:randomly"))

    assert outcome.part("llmtest: snapshot") == f"{CAUSE}\n{DIFF}{KEPT}"
    assert [line for line in outcome.part("test_hello").splitlines() if line.startswith("E ")] == ["E   AssertionError"]


def test_message_of_the_test_itself_stays(suite):
    suite.run(HELLO, "--snapshot-update")

    outcome = suite.run(GOODBYE.replace("== llm_snapshot", '== llm_snapshot, "my message"'))

    assert "E   AssertionError: my message" in outcome.part("test_hello")
    assert outcome.part("llmtest: snapshot") == DIFF + KEPT


OTHERWISE = """\
  (the test fails for another reason, too: mend that before you accept)
  review    llmtest review
  show      llmtest diff __snapshots__/test_it/test_hello.tree .llmtest/pending/test_it.py/test_hello.tree"""


@pytest.mark.parametrize(
    ("source", "footer"),
    [
        (GOODBYE, KEPT),
        (GOODBYE.replace("Goodbye there", 'Goodbye there", "never'), OTHERWISE),
        (GOODBYE.replace("== llm_snapshot", "== llm_snapshot\n    raise ValueError").replace("assert", "_ ="), OTHERWISE),
    ],
    ids=["only the snapshot", "an unused step", "an exception"],
)
def test_a_snapshot_of_a_test_that_fails_for_another_reason_too_is_not_to_be_accepted_yet(suite, source, footer):
    suite.run(HELLO, "--snapshot-update")

    assert suite.run(source).part("llmtest: snapshot").endswith(DIFF.splitlines()[-1] + "\n" + footer)


def test_a_named_snapshot_is_not_to_be_accepted_yet_either(suite):
    named = HELLO.replace("== llm_snapshot", '== llm_snapshot(name="test_hello")')
    suite.run(named, "--snapshot-update")
    both = [suite.run(named.replace("Hello", "Goodbye") + more) for more in ("", "    assert not 'reached'\n")]

    told = [re.findall(r"^  (?:accept|\(the).*", outcome.part("llmtest: snapshot"), re.MULTILINE) for outcome in both]

    assert told == [["  accept    llmtest accept test_it.py::test_hello"], [OTHERWISE.splitlines()[0]]]


def test_in_ci_nothing_is_written_and_the_section_says_so(changed, monkeypatch):
    monkeypatch.setenv("CI", "true")
    before = sorted(changed.path.rglob("*.tree"))

    outcome = changed.run(None)

    assert outcome.part("llmtest: snapshot") == DIFF + NOT_KEPT
    assert not outcome.has_part("llmtest")
    assert sorted(changed.path.rglob("*.tree")) == before


def test_in_ci_a_folder_is_written_if_it_is_asked_for(changed, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("LLMTEST_PENDING_DIR", "artifact")

    outcome = changed.run(None)

    assert "artifact/test_it.py/test_hello.tree" in outcome.part("llmtest: snapshot")
    assert (changed.path / "artifact" / "test_it.py" / "test_hello.tree").is_file()


def test_workers_show_and_keep_the_same(changed):
    outcome = changed.run_on_worker(None)

    assert outcome.part("llmtest: snapshot") == DIFF + KEPT
    assert outcome.part("llmtest") == SUMMARY
    assert list(changed.pending()) == ["test_it.py/test_hello.tree"]


@pytest.mark.parametrize("columns", ["20", "50", "300"])
def test_width_of_the_terminal_cuts_nothing_of_the_section(changed, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)

    outcome = changed.run(None)

    assert DIFF + KEPT in outcome.text


def test_colours_are_on_what_changed_and_follow_no_color(changed, monkeypatch):
    colored = changed.run(None, "--color=yes")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = changed.run(None)

    assert (
        '\x1b[32m+   < a1: "\x1b[7mGoodbye\x1b[27m there"  usage in=1 out=2\x1b[0m\x1b[2m  ◀ first difference\x1b[0m'
        in colored.text
    )
    assert "\x1b" not in plain.text


def test_missing_snapshot_shows_what_came(suite):
    outcome = suite.run(HELLO)

    assert "AssertionError: no snapshot yet: there is no test_hello.tree" in outcome.part("test_hello")
    assert outcome.part("llmtest: snapshot") == (
        '  chat ScriptedChatModel\n    > u1: "hi"\n    < a1: "Hello there"  usage in=1 out=2\n'
        f"  snapshot  __snapshots__/test_it/test_hello.tree\n{KEPT}"
    )


def test_all_trees_are_shown_if_asked_for(changed):
    outcome = changed.run(None, "--llmtest-trees=all")

    assert outcome.has_part("llmtest: snapshot")
    assert outcome.has_part("llmtest: run tree")


def test_comparison_that_did_not_fail_the_test_is_not_told(suite):
    outcome = suite.run(
        """
        def test_it(llm_snapshot):
            assert not "a" == llm_snapshot
            assert "b" != llm_snapshot

        def test_fails_otherwise(llm_snapshot):
            if "a" == llm_snapshot:
                pass
            assert 1 == 2
        """
    )

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert "no snapshot yet: there is no test_fails_otherwise.tree" in outcome.part("llmtest: snapshot")
    assert list(suite.pending()) == ["test_it.py/test_fails_otherwise.tree"]


def test_several_snapshots_of_a_test_are_told_each(suite):
    outcome = suite.run(
        """
        def test_it(llm_snapshot):
            found = ["a" == llm_snapshot, "b" == llm_snapshot(name="second")]
            assert all(found)
        """
    )

    assert sorted(suite.pending()) == ["test_it.py/test_it.tree", "test_it.py/test_it[second].tree"]
    assert outcome.text.count("- llmtest: snapshot -") == 2


def test_defaults_that_are_given_to_the_fixture_keep_the_rest(suite):
    outcome = suite.run("def test_it(llm_snapshot):\n    assert 'a' == llm_snapshot.with_defaults()")

    assert "no snapshot yet" in outcome.part("test_it")
    assert list(suite.pending()) == ["test_it.py/test_it.tree"]


def test_error_within_a_comparison_is_not_swallowed(suite):
    outcome = suite.run(
        """
        from llmtest import Recording

        class Broken(Recording):
            roots = property(lambda self: 1 / 0)

        def test_it(llm_snapshot):
            assert Broken() == llm_snapshot(empty=True)
        """
    )

    assert "E   AssertionError: ZeroDivisionError: division by zero" in outcome.part("test_it")
    assert "1 / 0" in outcome.part("llmtest: snapshot")


# -- open runs


OPEN = """
def test_it(scripted_chat_model, llm_recording, llm_snapshot):
    model = scripted_chat_model("Hello there", "Hello again")
    streams = [model.stream("hi"), model.stream("hi")]
    next(streams[0])
    {second}
    try:
        assert llm_recording == llm_snapshot
    finally:
        [list(stream) for stream in streams]
"""


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("", r"1 run is still open: chat ScriptedChatModel since \d\d:\d\d:\d\d\.\d{6} \(UTC\); let it end first"),
        (
            "next(streams[1])",
            r"2 runs are still open: chat ScriptedChatModel since \S+, chat \S+ since \S+ \(UTC\); let them end first",
        ),
    ],
)
def test_open_runs_are_named_with_the_time_since_when(suite, second, words):
    outcome = suite.run(OPEN.format(second=second))

    assert re.search(f"{words}, or compare with llm_snapshot\\(open_runs=True\\)", outcome.part("test_it"))
    assert suite.pending() == {}


def test_open_runs_of_a_single_run_are_named_too(suite):
    outcome = suite.run(OPEN.format(second="").replace("llm_recording ==", "llm_recording.roots[0] =="))

    assert "1 run is still open" in outcome.part("test_it")


# -- files


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (
            f"{HEADER}\n<<<<<<< HEAD\nchain a\n=======\nchain b\n>>>>>>> x\n",
            "line 2: an unresolved merge conflict, '<<<<<<< HEAD'",
        ),
        ("# llmtest tree v7\nchain a\n", "line 1: it is of version 7, and this llmtest knows version 1; upgrade llmtest-kit"),
        (f"{HEADER}\nchain a\n  > 1\n", "line 3: the text is cut off: the run in line 2, 'chain a', has no ending"),
        (f"{HEADER}\nchain a\n  < 1", "line 3: the file is cut off: its last line has no end"),
    ],
)
def test_damaged_file_is_a_mismatch_and_never_overwritten_unasked(suite, damaged, words, monkeypatch):
    suite.run(HELLO, "--snapshot-update")
    suite.snapshot().write_text(damaged, "utf-8")

    outcomes = [suite.run(None, *options) for options in ([], ["--snapshot-update"], ["--snapshot-update-new-only"])]

    assert [outcome.counts for outcome in outcomes] == [{"failed": 1}] * 3
    assert {f"E   AssertionError: snapshot unreadable: test_hello.tree, {words}" in o.text for o in outcomes} == {True}
    assert suite.snapshot().read_text("utf-8") == damaged
    monkeypatch.chdir(suite.path)
    assert commands.main(["accept"]) == 1
    assert commands.main(["accept", "test_hello"]) == 0
    assert suite.run(None).counts == {"passed": 1}


def test_file_that_is_no_text_is_named(suite):
    suite.run(HELLO, "--snapshot-update")
    suite.snapshot().write_bytes(b"\xff")

    outcome = suite.run(None, "--snapshot-update")

    assert "test_hello.tree, line 1: the file is not UTF-8; restore it, or delete it" in outcome.part("test_hello")


NAMES = """
import pytest

@pytest.mark.parametrize("n", ["a/b", "ab", "AB", "Ab", "x" * 300, "x" * 301, "é" * 200, "a[b]", "a:b"], ids=str)
def test_many(llm_snapshot, n):
    assert n == llm_snapshot
    assert "again" == llm_snapshot
    assert "named" == llm_snapshot(name="Ab")
    assert "named too" == llm_snapshot(name="ab")

def test_UPPER(llm_snapshot):
    assert "upper" == llm_snapshot

def test_upper(llm_snapshot):
    assert "lower" == llm_snapshot

class TestClass:
    def test_it(self, llm_snapshot):
        assert "in a class" == llm_snapshot

class TestTwin:
    class TestInner:
        def test_it(self, llm_snapshot):
            assert "in a twin" == llm_snapshot

class TestTWIN:
    class TestInner:
        def test_it(self, llm_snapshot):
            assert "in the other twin" == llm_snapshot
"""


def test_distinct_tests_never_share_a_file_also_where_case_does_not_count(suite):
    written = suite.run(NAMES, "--snapshot-update")

    outcome = suite.run(None)

    names = [path.name for path in (suite.path / "__snapshots__" / "test_it").iterdir()]
    assert (written.counts, outcome.counts) == ({"passed": 14}, {"passed": 14})
    assert outcome.exit_code == 0
    assert len({name.lower() for name in names}) == 9 * 4 + 5
    assert max(len(name.encode()) for name in names) < 230
    assert {"test_many[ab].tree", "test_many[ab].1.tree", "test_upper.tree", "TestClass.test_it.tree"} <= set(names)
    assert sorted(re.sub("[0-9a-f]{8}", "#", name) for name in names if "TWIN" in name.upper()) == [
        "TestTWIN.TestInner.test_it.~#.tree",
        "TestTwin.TestInner.test_it.~#.tree",
    ]


@pytest.mark.parametrize(
    "options", [["-k", "test_a"], ["test_it.py::test_a"], ["--deselect", "test_it.py::test_b"], ["-m", "slow"], ["--lf"], ["-x"]]
)
def test_nothing_is_deleted_after_a_run_that_was_filtered_or_failed(suite, options):
    source = """
    import pytest

    @pytest.mark.slow
    def test_a(llm_snapshot):
        assert "a" == llm_snapshot

    def test_b(llm_snapshot):
        assert "b" == llm_snapshot
    """
    suite.ini("[pytest]\nmarkers = slow\nasyncio_default_fixture_loop_scope = function")
    suite.run(source, "--snapshot-update")
    failing = source.replace('assert "a"', 'assert False\n        assert "a"')
    if options[0] in ("--lf", "-x"):
        suite.run(failing)
        suite.write(failing)

    suite.run(None, "--snapshot-update", *options)

    files = sorted(path.name for path in (suite.path / "__snapshots__" / "test_it").iterdir())
    assert files == ["test_a.tree", "test_b.tree"]


# -- pending


def test_snapshot_of_before_is_reviewed_and_accepted_under_its_name_of_today(changed, monkeypatch, capsys):
    file = changed.snapshot()
    before = file.rename(file.with_suffix(".trace"))
    before.write_text(before.read_text().replace(HEADER, "# llmtest trace v1"))
    changed.run(None)
    monkeypatch.chdir(changed.path)
    capsys.readouterr()

    codes = [commands.main(words) for words in (["pending"], ["diff", str(before), KEPT.split()[-1]], ["accept"])]

    assert codes == [0, 1, 0]
    assert capsys.readouterr().out.splitlines() == [
        "test_it.py::test_hello  (changed text)",
        f"  {CAUSE}",
        CAUSE.removeprefix("snapshot differs: "),
        *DIFF.splitlines()[:-1],
        "accepted  test_it.py::test_hello: __snapshots__/test_it/test_hello.tree",
    ]
    assert [path.name for path in file.parent.iterdir()] == ["test_hello.tree"]
    assert "Goodbye" in file.read_text()


def test_snapshot_that_matches_again_is_pending_no_more(changed):
    changed.run(None)
    assert list(changed.pending()) == ["test_it.py/test_hello.tree"]

    changed.run(HELLO)

    assert changed.pending() == {}


def test_accepted_snapshot_matches(changed, monkeypatch):
    changed.run(None)
    monkeypatch.chdir(changed.path)

    code = commands.main(["accept", "test_it.py::test_hello"])

    assert code == 0
    assert changed.run(None).counts == {"passed": 1}


# -- masks


def test_ini_rules_are_masked_in_every_tree(suite):
    suite.ini("[pytest]\nllmtest_masks =\n    order = ORD-\\d+\n    pin\nasyncio_default_fixture_loop_scope = function")

    suite.run(
        """
        from langchain_core.runnables import RunnableLambda

        def test_it(llm_recording, llm_snapshot):
            RunnableLambda(lambda x: "ORD-77", name="shop").invoke({"say": "my ORD-1234 please", "pin": "9999", "pinned": 1})
            assert llm_recording == llm_snapshot
        """,
        "--snapshot-update",
    )

    assert suite.snapshot("test_it").read_text("utf-8").splitlines()[1:] == [
        "chain shop",
        '  > {"pin": <mask:pin>, "pinned": 1, "say": "my <mask:order> please"}',
        '  < "<mask:order>"',
    ]


def test_ini_rule_that_is_none_is_a_usage_error(suite):
    suite.ini("[pytest]\nllmtest_masks = a b")

    assert (
        "the ini key llmtest_masks: expected `NAME = REGULAR EXPRESSION` or the name of a key; got 'a b'"
        in suite.run(HELLO).errors
    )
