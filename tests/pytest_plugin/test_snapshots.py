"""`llm_snapshot`: one text file for each snapshot, exactly as it was written."""

from __future__ import annotations

import pytest

from llmtest import record
from llmtest.langchain.chat_model import ScriptedChatModel
from llmtest.trees.rendering import HEADER, render
from tests.pytest_plugin.conftest import HELLO


def hello() -> str:
    with record() as recording:
        ScriptedChatModel("Hello there").invoke("hi")
    return f"{HEADER}\n{render(recording)}"


def test_recording_is_written_once_and_compared_from_then_on(suite):
    file = suite.path / "__snapshots__" / "test_it" / "test_hello.tree"

    missing = suite.run(HELLO)
    written = suite.run(None, "--snapshot-update")
    same = suite.run(None)
    changed = suite.run(HELLO.replace("Hello", "Goodbye"))
    accepted = suite.run(None, "--snapshot-update")

    assert [o.counts for o in (missing, written, same)] == [{"failed": 1}, {"passed": 1}, {"passed": 1}]
    assert "1 snapshot failed" in missing.text
    assert "1 snapshot generated" in written.text
    assert changed.counts == {"failed": 1}
    assert "Goodbye" in changed.part("test_hello")
    assert accepted.counts == {"passed": 1}
    assert file.read_text().replace("Goodbye", "Hello") == hello()


def test_file_is_a_header_and_the_tree(suite):
    suite.run(HELLO, "--snapshot-update")

    file = suite.path / "__snapshots__" / "test_it" / "test_hello.tree"
    assert file.read_bytes().decode() == hello()
    assert hello().startswith("# llmtest tree v1\nchat ")
    assert hello().endswith("\n")


NAMES = """
import unittest
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_many(llm_snapshot, n):
    assert f"first {n}" == llm_snapshot
    assert "second" == llm_snapshot
    assert "named" == llm_snapshot(name="last")

class TestClass:
    def test_it(self, llm_snapshot):
        assert "in a class" == llm_snapshot

@pytest.mark.asyncio
async def test_async(llm_snapshot):
    assert "async" == llm_snapshot
"""


def test_files_are_named_for_their_tests(suite):
    suite.run(NAMES, "--snapshot-update")

    outcome = suite.run(None)

    folder = suite.path / "__snapshots__" / "test_it"
    assert outcome.counts == {"passed": 4}
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "TestClass.test_it.tree": f"{HEADER}\nin a class\n",
        "test_async.tree": f"{HEADER}\nasync\n",
        "test_many[1].tree": f"{HEADER}\nfirst 1\n",
        "test_many[1].1.tree": f"{HEADER}\nsecond\n",
        "test_many[1][last].tree": f"{HEADER}\nnamed\n",
        "test_many[2].tree": f"{HEADER}\nfirst 2\n",
        "test_many[2].1.tree": f"{HEADER}\nsecond\n",
        "test_many[2][last].tree": f"{HEADER}\nnamed\n",
    }


EXACT = r"""
import pytest

TEXTS = ["", "\n", "a\n", "a\r\nb", "a\rb", "\u2028\x85\x0c", "\u0e01\U0001f600", "\ud800", "\ufeff"]

@pytest.mark.parametrize("n", range(len(TEXTS)))
def test_it(llm_snapshot, n):
    assert TEXTS[n] == llm_snapshot
"""


def test_every_text_comes_back_as_it_was_written(suite):
    suite.run(EXACT, "--snapshot-update")

    outcome = suite.run(None)

    assert outcome.counts == {"passed": 9}
    written = (suite.path / "__snapshots__" / "test_it" / "test_it[3].tree").read_bytes()
    assert written == f"{HEADER}\na\r\nb\n".encode()


def test_texts_that_differ_only_at_their_end_differ(suite):
    suite.run("def test_it(llm_snapshot):\n    assert 'a' == llm_snapshot", "--snapshot-update")

    outcome = suite.run("def test_it(llm_snapshot):\n    assert 'a\\n' == llm_snapshot")

    assert outcome.counts == {"failed": 1}


def test_file_that_a_checkout_has_given_other_line_ends_still_matches(suite):
    suite.run(HELLO, "--snapshot-update")
    file = suite.path / "__snapshots__" / "test_it" / "test_hello.tree"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))

    assert suite.run(None).counts == {"passed": 1}


def test_run_of_a_recording_is_compared_too(suite):
    source = """
    def test_it(scripted_chat_model, llm_recording, llm_snapshot):
        scripted_chat_model("Hello there").invoke("hi")
        assert llm_recording.run("ScriptedChatModel") == llm_snapshot
    """
    suite.run(source, "--snapshot-update")

    assert suite.run(None).counts == {"passed": 1}
    assert (suite.path / "__snapshots__" / "test_it" / "test_it.tree").read_text() == hello()


def test_open_runs_show_as_open_if_the_test_says_so(suite):
    suite.run(
        """
        def test_it(scripted_chat_model, llm_recording, llm_snapshot):
            stream = scripted_chat_model("Hello there").stream("hi")
            next(stream)
            assert llm_recording == llm_snapshot(open_runs=True)
            list(stream)
        """,
        "--snapshot-update",
    )

    assert "open" in (suite.path / "__snapshots__" / "test_it" / "test_it.tree").read_text()


def test_what_cannot_be_compared_is_named(suite):
    outcome = suite.run("def test_it(llm_snapshot):\n    assert [1] == llm_snapshot")

    assert "TypeError: llm_snapshot compares a Recording, a part of one, a Run or a str; got list [1]" in outcome.part("test_it")


def test_picking_from_a_tree_is_refused(suite):
    outcome = suite.run(
        """
        from syrupy.filters import props

        def test_it(llm_recording, llm_snapshot):
            assert llm_recording == llm_snapshot(exclude=props("id"), empty=True)
        """
    )

    expected = "TypeError: llm_snapshot compares whole trees, so it takes no `include` and no `exclude`; compare a run of it"
    assert expected in outcome.part("test_it")


# -- files with the ending and the header that they had before

TWO = HELLO + HELLO.replace("test_hello", "test_other")


def turn_back(file):
    """Makes a snapshot what an earlier version wrote."""
    before = file.with_suffix(".trace")
    before.write_text(file.read_text().replace("# llmtest tree v1", "# llmtest trace v1"))
    file.unlink()
    return before


@pytest.fixture
def snapshots(suite):
    """The folder of the accepted snapshots of `TWO`, in files of before."""
    suite.run(TWO, "--snapshot-update")
    folder = suite.path / "__snapshots__" / "test_it"
    for file in list(folder.iterdir()):
        turn_back(file)
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_of_before_is_compared_and_stays(suite, snapshots):
    same = suite.run(None)
    changed = suite.run(TWO.replace("Hello", "Goodbye", 1))

    assert (same.counts, same.exit_code) == ({"passed": 2}, pytest.ExitCode.OK)
    assert "2 snapshots passed" in same.text
    assert changed.counts == {"passed": 1, "failed": 1}
    assert "  snapshot  __snapshots__/test_it/test_hello.trace\n" in changed.part("llmtest: snapshot")
    assert "snapshot unused" not in same.text + changed.text
    assert names(snapshots) == ["test_hello.trace", "test_other.trace"]


def test_update_renames_files_of_before(suite, snapshots):
    updated = suite.run(None, "--snapshot-update")

    assert (updated.counts, updated.exit_code) == ({"passed": 2}, pytest.ExitCode.OK)
    assert "2 snapshots passed" in updated.text
    assert names(snapshots) == ["test_hello.tree", "test_other.tree"]
    assert {path.read_text() for path in snapshots.iterdir()} == {hello()}


def test_update_of_one_changed_test_leaves_the_file_of_another(suite, snapshots):
    updated = suite.run(TWO.replace("Hello", "Goodbye", 1), "--snapshot-update", "test_it.py::test_hello")

    assert "1 snapshot updated" in updated.text
    assert names(snapshots) == ["test_hello.tree", "test_other.trace"]
    assert (snapshots / "test_hello.tree").read_text() == hello().replace("Hello", "Goodbye")


def test_file_of_before_of_a_test_that_is_gone_is_unused(suite, snapshots):
    unused = suite.run(HELLO)
    removed = suite.run(None, "--snapshot-update")

    assert "1 snapshot unused" in unused.text
    assert unused.exit_code == pytest.ExitCode.TESTS_FAILED
    assert "1 unused snapshot deleted" in removed.text
    assert names(snapshots) == ["test_hello.tree"]


def test_file_of_before_that_cannot_be_read_is_named_and_stays(suite, snapshots):
    (snapshots / "test_hello.trace").write_bytes(b"\xff")

    updated = suite.run(None, "--snapshot-update")

    assert updated.counts == {"passed": 1, "failed": 1}
    assert "PendingError: test_hello.trace, line 1: the file is not UTF-8; restore it, or delete it" in updated.part("test_hello")
    assert names(snapshots) == ["test_hello.trace", "test_other.tree"]


def test_workers_rename_files_of_before(suite, snapshots):
    updated = suite.run_on_workers(None, "--snapshot-update")

    assert (updated.counts, updated.exit_code) == ({"passed": 2}, pytest.ExitCode.OK)
    assert names(snapshots) == ["test_hello.tree", "test_other.tree"]


def test_unused_snapshot_is_found_and_removed(suite):
    suite.run(f"{HELLO}\ndef test_gone(llm_snapshot):\n    assert 'a' == llm_snapshot", "--snapshot-update")

    unused = suite.run(HELLO)
    removed = suite.run(None, "--snapshot-update")

    assert unused.counts == {"passed": 1}
    assert unused.exit_code == pytest.ExitCode.TESTS_FAILED
    assert "1 snapshot unused" in unused.text
    assert removed.exit_code == pytest.ExitCode.OK
    assert [path.name for path in (suite.path / "__snapshots__" / "test_it").iterdir()] == ["test_hello.tree"]


def test_a_snapshot_fixture_of_somebody_else_does_not_matter(suite):
    suite.files.makeconftest("import pytest\n@pytest.fixture\ndef snapshot(): return None")

    suite.run(HELLO, "--snapshot-update")

    assert suite.run(None).counts == {"passed": 1}


def test_without_syrupy_the_fixture_says_what_is_missing(suite):
    outcome = suite.run(HELLO, "-p", "no:syrupy")

    assert outcome.counts == {"error": 1}
    assert outcome.part("ERROR at setup of test_hello") == (
        "the fixture `llm_snapshot` needs the pytest plugin `syrupy`, which is not active in this run\n"
        "  remove `-p no:syrupy`; where plugins are not loaded on their own, add `-p syrupy`"
    )


def test_workers_write_and_compare_snapshots(suite):
    source = f"import pytest\npytestmark = pytest.mark.parametrize('n', range(4))\n{HELLO.replace('(scr', '(n, scr')}"

    written = suite.run_on_workers(source, "--snapshot-update")
    compared = suite.run_on_worker(None)

    assert [written.counts, compared.counts] == [{"passed": 4}, {"passed": 4}]
    files = (suite.path / "__snapshots__" / "test_it").iterdir()
    assert {file.name: file.read_text() for file in files} == {f"test_hello[{n}].tree": hello() for n in range(4)}


def test_plain_asserts_compare_too(suite):
    suite.run(HELLO, "--snapshot-update", "--assert=plain")

    assert suite.run(None, "--assert=plain").counts == {"passed": 1}
    assert suite.run(HELLO.replace("Hello", "Goodbye"), "--assert=plain").counts == {"failed": 1}


def test_a_snapshot_is_compared_on_an_event_loop_that_forbids_to_look_for_files(suite):
    """As `blockbuster` does."""
    program = """
        import asyncio, os

        import pytest


        @pytest.fixture
        def no_blocking(monkeypatch):
            stat = os.stat

            def guarded(*args, **kwargs):
                assert asyncio._get_running_loop() is None, "a blocking call"
                return stat(*args, **kwargs)

            monkeypatch.setattr(os, "stat", guarded)


        def test_it(scripted_chat_model, llm_recording, llm_snapshot, no_blocking):
            async def work():
                await scripted_chat_model("a").ainvoke("hi")
                assert llm_recording == llm_snapshot

            asyncio.run(work())
    """

    outcomes = [suite.run(program, *options) for options in ((), ("--snapshot-update",), ())]

    assert [outcome.counts for outcome in outcomes] == [{"failed": 1}, {"passed": 1}, {"passed": 1}]
    assert "no snapshot yet" in outcomes[0].text
    assert "blocking call" not in outcomes[0].text


# -- several named snapshots of one test

NAMED = """
import pytest

def test_it(llm_snapshot):
    assert "Hello one" == llm_snapshot(name="one")
    assert "the same" == llm_snapshot(name="same")
    assert "Hello two" == llm_snapshot(name="two")
"""


@pytest.fixture
def named(suite):
    """A suite of which two of three named snapshots have changed."""
    suite.run(NAMED, "--snapshot-update")
    suite.write(NAMED.replace("Hello", "Goodbye"))
    return suite


def test_all_named_snapshots_are_compared_and_told(named):
    outcome = named.run(None)

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it") == (
        'snapshot differs: line "Hello" → "Goodbye" (1 of 2 lines, 1 cause)\n  test_it[one].tree, compared at test_it.py:4\n\n'
        'snapshot differs: line "Hello" → "Goodbye" (1 of 2 lines, 1 cause)\n  test_it[two].tree, compared at test_it.py:6'
    )
    assert outcome.text.count("◀ first difference") == 2
    assert sorted(named.pending()) == ["test_it.py/test_it[one].tree", "test_it.py/test_it[two].tree"]
    assert "2 snapshots failed. 1 snapshot passed." in outcome.text


def test_new_named_snapshots_are_all_told(suite):
    outcome = suite.run(NAMED)

    assert outcome.counts == {"failed": 1}
    assert len(suite.pending()) == 3


def test_the_test_fails_for_its_own_reason_if_it_has_one(named):
    outcome = named.run(NAMED.replace("Hello", "Goodbye") + "    assert 1 == 2\n")

    assert outcome.counts == {"failed": 1}
    assert "E   assert 1 == 2" in outcome.part("test_it")
    assert outcome.text.count("◀ first difference") == 2
    assert not outcome.has_part("llmtest: violations")


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ('assert not "Goodbye" == llm_snapshot(name="one")', {"failed": 1}),
        ('assert "Goodbye" != llm_snapshot(name="one")', {"passed": 1}),
        ('"Goodbye" == llm_snapshot(name="one")', {"failed": 1}),
        ('with pytest.raises(AssertionError): assert "Goodbye" == llm_snapshot(name="one")', {"failed": 1}),
        ('assert "Hello one" != llm_snapshot(name="one")', {"failed": 1}),
    ],
    ids=["not", "unequal", "ignored", "raises", "equal"],
)
def test_no_way_of_comparing_lets_a_difference_pass_unasked(named, body, counts):
    outcome = named.run(f"import pytest\n\ndef test_it(llm_snapshot):\n    {body}\n")

    assert outcome.counts == counts


def test_xfail_takes_a_named_snapshot_that_differs(named):
    outcome = named.run(NAMED.replace("Hello", "Goodbye").replace("def test_it", "@pytest.mark.xfail\ndef test_it"))

    assert outcome.counts == {"xfailed": 1}


def test_a_skip_after_a_difference_hides_nothing(named):
    outcome = named.run(NAMED.replace("Hello", "Goodbye") + "    pytest.skip('later')\n")

    assert outcome.counts == {"failed": 1}
    assert outcome.text.count("◀ first difference") == 2


def test_what_cannot_be_compared_fails_at_its_line(named):
    outcome = named.run(
        """
        def test_it(llm_snapshot):
            assert 17 == llm_snapshot(name="one")
            assert "Goodbye" == llm_snapshot(name="two")
        """
    )

    assert "TypeError: llm_snapshot compares a Recording" in outcome.part("test_it")
    assert outcome.text.count("◀ first difference") == 0


def test_a_fixture_that_compares_fails_at_once(named):
    outcome = named.run(
        """
        import pytest

        @pytest.fixture
        def compares(llm_snapshot):
            assert "Goodbye one" == llm_snapshot(name="one")

        def test_it(compares):
            pass
        """
    )

    assert outcome.counts == {"error": 1}


def test_workers_tell_all_named_snapshots(named):
    outcome = named.run_on_workers(None)

    assert outcome.text.count("◀ first difference") == 2


ONLY = """
from langchain_core.runnables import RunnableLambda

def test_hello(scripted_chat_model, llm_recording, llm_snapshot):
    (RunnableLambda(lambda text: text) | scripted_chat_model("Hello")).invoke("hi")
    assert llm_recording == llm_snapshotHOW
"""


@pytest.mark.parametrize("how", ["call", "ini"])
def test_a_snapshot_of_some_kinds_of_runs(how, suite):
    options = [] if how == "call" else ["-ollmtest_snapshot_only=chat"]
    source = ONLY.replace("HOW", "(only='chat')" if how == "call" else "")

    assert suite.run(source, "--snapshot-update", *options).counts == {"passed": 1}
    assert suite.run(None, *options).counts == {"passed": 1}
    assert suite.snapshot().read_text("utf-8") == (
        '# llmtest tree v1\nchat ScriptedChatModel\n  > u1: "hi"\n  < a1: "Hello"  usage in=1 out=1\n'
    )
    changed = suite.run(source.replace("lambda text: text", "lambda text: text[:]").replace("Hello", "Ho"), *options)
    assert 'AI message "Hello" → "Ho" at ScriptedChatModel' in changed.text


def test_a_comparison_looks_at_its_own_kinds_whatever_the_suite_looks_at(suite):
    source = ONLY.replace("HOW", "(only=['chain', 'chat', 'llm', 'tool', 'retriever'])")

    suite.run(source, "--snapshot-update", "-ollmtest_snapshot_only=chat")

    assert "chain RunnableSequence" in suite.snapshot().read_text("utf-8")


def test_a_kind_that_runs_do_not_have_is_refused(suite):
    told = "takes kinds of runs: chain, chat, llm, tool, retriever; got 'chats'; did you mean `chat`?"

    called = suite.run(ONLY.replace("HOW", "(only='chats')"))
    by_ini = suite.run(None, "-ollmtest_snapshot_only=chats")

    assert f"ValueError: llm_snapshot(only=...) {told}" in called.text
    assert f"ERROR: the ini key llmtest_snapshot_only {told}" in by_ini.errors
