"""`--llmtest-traces`: the traces of tests, in the store under their node ids."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmtest.tracing.store import Store, StoredVerdict

SUITE = """
def test_good(scripted_chat_model):
    scripted_chat_model("fine").invoke("hi")

def test_bad(scripted_chat_model):
    scripted_chat_model("no").invoke("hi")
    assert False

def test_that_records_nothing():
    assert False
"""


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTEST_STORE", raising=False)


def kept(folder: Path) -> dict[str, list[str]]:
    """What the models said in the traces of each session."""
    with Store(folder / ".llmtest" / "traces.sqlite") as store:
        sessions = [session.name for session in store.sessions()]
        return {name: [store.load(trace).models[0].output.text for trace in store.find(name)] for name in sorted(sessions)}


def verdicts(folder: Path) -> dict[str, list[StoredVerdict]]:
    with Store(folder / ".llmtest" / "traces.sqlite") as store:
        return {session.name.rpartition(":")[2]: store.verdicts(session.name) for session in store.sessions()}


OUTCOMES = """
import pytest

def test_good(scripted_chat_model):
    scripted_chat_model("fine").invoke("hi")

def test_bad(scripted_chat_model):
    scripted_chat_model("no").invoke("hi")
    assert "no" == "yes", "it said no"

def test_skipped(scripted_chat_model):
    scripted_chat_model("no").invoke("hi")
    pytest.skip("later")

@pytest.mark.xfail
def test_known(scripted_chat_model):
    scripted_chat_model("no").invoke("hi")
    assert False

def test_unused(scripted_chat_model):
    scripted_chat_model("one", "two").invoke("hi")
"""


def test_the_outcome_of_a_test_is_a_verdict(suite):
    suite.run(OUTCOMES, "--llmtest-traces=all")

    found = verdicts(suite.path)
    (unused,) = found.pop("test_unused")
    assert found == {
        "test_good": [StoredVerdict("test", 1.0, True)],
        "test_bad": [StoredVerdict("test", 0.0, False, "AssertionError: it said no assert 'no' == 'yes' - yes + no")],
        "test_skipped": [],
        "test_known": [],
    }
    assert (unused.passed, unused.why[:40]) == (False, "llmtest.errors.ViolationError: 1 of 2 st")


def test_no_traces_are_kept_if_nobody_asks(suite):
    outcome = suite.run(SUITE)

    assert outcome.counts == {"passed": 1, "failed": 2}
    assert sorted(path.name for path in (suite.path / ".llmtest").iterdir()) == [".gitignore", "failures.md"]
    assert not outcome.has_part("llmtest: traces")


def test_the_traces_of_tests_that_failed(suite):
    outcome = suite.run(SUITE, "--llmtest-traces=failed")

    assert outcome.part("llmtest: traces") == "llmtest show test_it.py::test_bad"
    assert kept(suite.path) == {"test_it.py::test_bad": ["no"]}


def test_the_traces_of_all_tests_by_the_ini_key(suite):
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_traces = all\n")

    suite.run(SUITE)

    assert kept(suite.path) == {"test_it.py::test_bad": ["no"], "test_it.py::test_good": ["fine"]}


def test_a_run_takes_the_place_of_the_one_before(suite):
    suite.run(SUITE, "--llmtest-traces=failed")

    suite.run(SUITE.replace("False", "True").replace('"no"', '"yes"'), "--llmtest-traces=all")
    assert kept(suite.path) == {"test_it.py::test_bad": ["yes"], "test_it.py::test_good": ["fine"]}

    suite.run(None, "--llmtest-traces=failed")
    assert kept(suite.path) == {}


def test_the_path_stands_in_the_junit_file(suite):
    suite.run(SUITE, "--llmtest-traces=failed", "--junitxml=junit.xml")

    cases = ElementTree.parse(suite.path / "junit.xml").iter("testcase")
    properties = {case.get("name"): [(p.get("name"), p.get("value")) for p in case.iter("property")] for case in cases}
    spent = [("llmtest_input_tokens", "1"), ("llmtest_output_tokens", "1"), ("llmtest_model_calls", "1")]
    trace = ("llmtest_trace", str(suite.path / ".llmtest" / "traces.sqlite"))
    assert properties == {
        "test_good": spent,
        "test_bad": [trace, *spent, ("llmtest_cause", "assert False")],
        "test_that_records_nothing": [],
    }


def test_a_test_that_fails_in_teardown_is_one_that_failed(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def broken():
            yield
            raise ValueError

        def test_it(broken, scripted_chat_model):
            scripted_chat_model("fine").invoke("hi")
        """,
        "--llmtest-traces=failed",
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert kept(suite.path) == {"test_it.py::test_it": ["fine"]}


def test_the_last_attempt_is_the_one_that_counts(suite):
    source = """
    attempts = []

    def test_it(scripted_chat_model):
        attempts.append(1)
        scripted_chat_model(f"attempt {len(attempts)}").invoke("hi")
        assert len(attempts) == 2
    """

    assert suite.run(source, "--llmtest-traces=failed", "--reruns=1").counts == {"passed": 1, "rerun": 1}
    assert kept(suite.path) == {}


def test_another_store_is_named_in_the_command(suite, monkeypatch):
    monkeypatch.chdir(suite.path.parent)
    folder = suite.path

    outcome = suite.run(SUITE, "--llmtest-traces=failed", f"--rootdir={folder}", str(folder / "test_it.py"))

    store = folder / ".llmtest" / "traces.sqlite"
    assert outcome.part("llmtest: traces") == f"llmtest show --store {store} test_it.py::test_bad"


def test_a_store_that_cannot_be_written_is_said_and_fails_nothing(suite, monkeypatch):
    (suite.path / "file").write_text("")
    monkeypatch.setenv("LLMTEST_STORE", str(suite.path / "file" / "traces.sqlite"))

    outcome = suite.run(SUITE, "--llmtest-traces=all")

    assert outcome.counts == {"passed": 1, "failed": 2}
    lines = outcome.part("llmtest: traces").splitlines()
    assert lines[0] == "the traces of this test were not kept"
    assert lines[2] == "  set LLMTEST_STORE to another file, in a folder that can be written"


def test_a_subtest_keeps_nothing_of_its_own(suite):
    suite.run(
        """
        import unittest
        from llmtest import ScriptedChatModel, record

        class TestIt(unittest.TestCase):
            def test_it(self):
                with record():
                    ScriptedChatModel("fine").invoke("hi")
                for number in range(2):
                    with self.subTest(number=number):
                        assert number
        """,
        "--llmtest-traces=failed",
    )

    assert list(kept(suite.path).values()) == [["fine"]]


def test_a_test_whose_setup_another_plugin_forbids_has_no_traces(suite):
    suite.write(
        """
        import pytest

        @pytest.hookimpl(tryfirst=True, wrapper=True)
        def pytest_runtest_setup(item):
            raise RuntimeError("not today")
            yield
        """,
        "conftest",
    )

    outcome = suite.run(SUITE, "--llmtest-traces=all")

    assert "not today" in outcome.text
    assert not (suite.path / ".llmtest").exists()


def test_workers_write_into_one_store(suite):
    outcome = suite.run_on_workers(SUITE, "--llmtest-traces=all")

    assert outcome.counts == {"passed": 1, "failed": 2}
    assert outcome.part("llmtest: traces") == "llmtest show test_it.py::test_bad"
    assert kept(suite.path) == {"test_it.py::test_bad": ["no"], "test_it.py::test_good": ["fine"]}


def test_a_choice_that_is_none_is_an_error_of_usage(suite):
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_traces = al\n")

    outcome = suite.run(SUITE)

    assert outcome.exit_code == 4
    assert outcome.errors == "ERROR: the ini key llmtest_traces is one of off, failed, all; got 'al'; did you mean `all`?\n"


SECRETS = """
import pytest

@pytest.mark.parametrize("key", ["sk-" + 40 * "a", "sk-" + 40 * "b"])
def test_it(scripted_chat_model, key):
    scripted_chat_model("fine").invoke("hi")
"""


def test_sessions_of_two_tests_never_share_a_name(suite):
    suite.run(SECRETS, "--llmtest-traces=all")

    sessions = kept(suite.path)
    assert list(sessions.values()) == [["fine"], ["fine"]]
    assert not any("aaaa" in name for name in sessions)


def test_a_test_that_is_collected_twice_has_two_sessions(suite):
    suite.write(SUITE)

    suite.run(None, "--llmtest-traces=all", "--keep-duplicates", "test_it.py", "test_it.py")

    assert [name for name in kept(suite.path) if "good" in name] == ["test_it.py::test_good", "test_it.py::test_good (2)"]


def test_a_read_only_store_is_told_once_and_fails_nothing(suite):
    suite.run(SUITE, "--llmtest-traces=all")
    path = suite.path / ".llmtest" / "traces.sqlite"
    before = kept(suite.path)
    with path.open("r+b") as file:
        file.seek(18)  # a format that SQLite can read and not write: read-only for root, too
        file.write(b"\x03")

    outcome = suite.run(SUITE, "--llmtest-traces=all")

    assert outcome.counts == {"passed": 1, "failed": 2}
    lines = [line for line in outcome.text.splitlines() if line.startswith("llmtest: the traces of 2 tests were not kept: ")]
    assert lines == [
        f"llmtest: the traces of 2 tests were not kept: the trace store {path} cannot be opened or written"
        " (attempt to write a readonly database)"
    ]
    assert kept(suite.path) == before


def test_a_store_that_is_locked_is_waited_for_once_and_told(suite, monkeypatch):
    monkeypatch.setattr("llmtest.tracing.store.PATIENCE_S", 0.2)
    suite.run(SUITE, "--llmtest-traces=all")
    other = sqlite3.connect(suite.path / ".llmtest" / "traces.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    outcome = suite.run(SUITE, "--llmtest-traces=all")
    other.close()

    assert outcome.counts == {"passed": 1, "failed": 2}
    lines = [line for line in outcome.text.splitlines() if line.startswith("llmtest: the traces of 2 tests were not kept: ")]
    assert len(lines) == 1
    assert outcome.text.count("the traces of this test were not kept") == 1
