"""What a session leaves for CI, people and machines: once, with and without workers, and only where it is asked for."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

from llmtest.cli import commands
from tests.pytest_plugin.conftest import HELLO, Outcome, Suite

SUITE = """
import pytest
from llmtest import say

@pytest.mark.parametrize("city", ["paris", "rome"])
def test_agent(city, scripted_chat_model, llm_recording, llm_snapshot):
    scripted_chat_model(say("Hello there", usage=(5, 2))).invoke("hi")
    assert llm_recording == llm_snapshot

def test_unused(scripted_chat_model):
    scripted_chat_model(say("a", usage=(1, 1)), "b").invoke("hi")

@pytest.fixture
def broken():
    yield
    raise KeyError("::error::x")

def test_teardown(broken):
    pass

def test_passes(scripted_chat_model):
    scripted_chat_model(say("a", usage=(3, 1))).invoke("hi")

@pytest.mark.skip(reason="later")
def test_later():
    pass
"""

FAILURES = """\
# 4 tests failed, 3 causes

llmtest wrote this file after the last run of pytest with a failure. The next run renews it.

## `snapshot differs: AI message "Hello" → "Goodbye"`

- `test_it.py::test_agent[paris]` at `test_it.py:7`
- `test_it.py::test_agent[rome]` at `test_it.py:7`

Run them again: `pytest 'test_it.py::test_agent[paris]' 'test_it.py::test_agent[rome]'`

```diff
snapshot:
  chat ScriptedChatModel
-   < a1: "Hello there"  usage in=5 out=2
+   < a1: "Goodbye there"  usage in=5 out=2  ◀ first difference
  … 1 unchanged line
  snapshot  __snapshots__/test_it/test_agent[paris].tree
  accept    llmtest accept 'test_it.py::test_agent[paris]'
  review    llmtest review
  show      llmtest diff '__snapshots__/test_it/test_agent[paris].tree' '.llmtest/pending/test_it.py/test_agent[paris].tree'
```

## `1 of 2 steps of the script was never used`

- `test_it.py::test_unused` at `test_it.py:9`

Run it again: `pytest test_it.py::test_unused`

```diff
1 of 2 steps of the script was never used
  step 2  say('b')  at test_it.py:10
  the model was called once; remove the steps, or find out why the program stopped early

run tree:
chat ScriptedChatModel
  > u1: "hi"
  < a1: "a"  usage in=1 out=1
```

## `KeyError: '::error::x'`

- `test_it.py::test_teardown` at `test_it.py:15` (teardown)

Run it again: `pytest test_it.py::test_teardown`

```diff
KeyError: '::error::x'
```
"""

ANNOTATIONS = [
    '::error file=test_it.py,line=7,title=2 tests%3A snapshot differs%3A AI message "Hello" → "Goodbye"::',
    "::error file=test_it.py,line=9,title=1 of 2 steps of the script was never used::",
    "::error file=test_it.py,line=15,title=KeyError%3A '%3A%3Aerror%3A%3Ax'::",
]


@pytest.fixture
def changed(suite: Suite) -> Suite:
    """A suite with failures of each kind."""
    suite.run(SUITE, "--snapshot-update")
    suite.write(SUITE.replace("Hello", "Goodbye"))
    failures(suite).unlink()
    return suite


@pytest.fixture
def github(changed: Suite, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(changed.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(changed.path / "step.md"))
    return changed


def run(suite: Suite, on_workers: bool, *options: str) -> Outcome:
    return suite.run_on_worker(None, *options) if on_workers else suite.run(None, *options)


def failures(suite: Suite) -> Path:
    return suite.path / ".llmtest" / "failures.md"


def annotations(outcome: Outcome) -> list[str]:
    said = [line for line in outcome.text.splitlines() if line.startswith("::")]
    return ["::".join([*line.split("::")[:2], ""]) for line in said]


# -- the file of failures


@pytest.mark.parametrize("on_workers", [False, True], ids=["one process", "workers"])
def test_a_red_session_leaves_its_failures_by_cause(changed: Suite, on_workers: bool) -> None:
    (changed.run_on_workers if on_workers else changed.run)(None)

    assert failures(changed).read_text("utf-8") == FAILURES


def test_the_next_session_renews_it_and_a_green_one_removes_it(changed: Suite) -> None:
    changed.run(None)
    changed.run(None, "-k", "unused")
    one = failures(changed).read_text("utf-8")

    changed.run(None, "-k", "passes")

    assert one.startswith("# 1 test failed, 1 cause\n")
    assert not failures(changed).exists()


def test_a_session_that_runs_nothing_leaves_it(changed: Suite) -> None:
    changed.run(None)

    changed.run(None, "--collect-only")
    changed.run(None, "-k", "nothing")

    assert failures(changed).exists()


def test_a_suite_that_does_not_use_llmtest_is_left_alone(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "step.md"))

    outcome = suite.run("def test_it():\n    assert False")

    assert outcome.counts == {"failed": 1}
    assert annotations(outcome) == []
    assert not (suite.path / ".llmtest").exists()
    assert not (suite.path / "step.md").exists()


def test_the_file_can_be_switched_off(changed: Suite) -> None:
    changed.ini("[pytest]\nllmtest_failures = false\nasyncio_default_fixture_loop_scope = function")

    changed.run(None)

    assert not failures(changed).exists()


def test_a_file_that_cannot_be_collected_is_a_failure_too(changed: Suite) -> None:
    changed.write("import nothing_of_the_kind", "test_broken")

    changed.run(None, "--continue-on-collection-errors", "-k", "passes or broken")

    page = failures(changed).read_text("utf-8")
    assert (
        "## `ModuleNotFoundError: No module named 'nothing_of_the_kind'`\n\n- `test_broken.py` at `test_broken.py:1` (collect)\n"
        in page
    )


BROKEN = "import nothing_of_the_kind\n\ndef test_it(llm_recording):\n    pass\n"
COLLECTED = """\
# 1 test failed, 1 cause

llmtest wrote this file after the last run of pytest with a failure. The next run renews it.

## `ModuleNotFoundError: No module named 'nothing_of_the_kind'`

- `test_broken.py` at `test_broken.py:1` (collect)

Run it again: `pytest test_broken.py`

```diff
ImportError while importing test module '{path}/test_broken.py'.
Hint: make sure your test modules/packages have valid Python names.
Traceback:
{traceback}
```
"""


@pytest.mark.parametrize("on_workers", [False, True], ids=["one process", "workers"])
def test_a_session_that_ends_while_it_collects_leaves_all_that_another_red_one_leaves(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, on_workers: bool
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "step.md"))
    suite.write(BROKEN, "test_broken")

    outcome = run(suite, on_workers, "--llmtest-report=report", "--llmtest-html=page.html")

    told = failures(suite).read_text("utf-8")
    traceback = told.partition("Traceback:\n")[2].removesuffix("\n```\n")
    assert outcome.counts == {"error": 1}
    assert told == COLLECTED.format(path=suite.path, traceback=traceback)
    assert traceback.endswith("E   ModuleNotFoundError: No module named 'nothing_of_the_kind'")
    assert (suite.path / "report" / "failures.md").read_text("utf-8") == told
    (result,) = json.loads((suite.path / "report" / "results.json").read_text("utf-8"))["tests"]
    assert (result["test"], result["status"], [failure["when"] for failure in result["failures"]]) == (
        "test_broken.py",
        "error",
        ["collect"],
    )
    assert annotations(outcome) == [
        "::error file=test_broken.py,line=1,title=ModuleNotFoundError%3A No module named 'nothing_of_the_kind'::"
    ]
    assert (suite.path / "step.md").read_text("utf-8").startswith("### llmtest: 1 error\n")
    assert "llmtest: page.html has the traces of 1 test " in outcome.text
    assert outcome.text.count(POINTER) == 1


@pytest.mark.parametrize(
    ("source", "settings", "written"),
    [
        ("import nothing_of_the_kind", "", False),
        ("import nothing_of_the_kind", "llmtest_trees = off", True),
        ("import nothing_of_the_kind, llmtest", "", True),
        ("from llmtest.errors import nothing", "", True),
        ("import nothing_of_the_kind\ndef test_it(scripted_chat_model): pass", "", True),
        ("this is no Python, and says llm_snapshot", "", True),
    ],
)
def test_a_file_that_cannot_be_collected_is_told_of_where_the_project_names_us(
    suite: Suite, source: str, settings: str, written: bool
) -> None:
    suite.ini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{settings}")

    outcome = suite.run(source)

    assert outcome.counts == {"error": 1}
    assert failures(suite).exists() == written == (POINTER in outcome.text)


def test_a_session_that_only_collects_leaves_the_file_as_it_is(changed: Suite) -> None:
    changed.run(None)
    before = failures(changed).read_text("utf-8")
    changed.write(BROKEN, "test_broken")

    outcome = changed.run(None, "--collect-only")

    assert failures(changed).read_text("utf-8") == before
    assert POINTER not in outcome.text


# -- the line that points to it

POINTER = "llmtest: all failures by cause: .llmtest/failures.md"


@pytest.mark.parametrize("on_workers", [False, True], ids=["one process", "workers"])
def test_the_last_line_before_the_counts_says_where_the_failures_are(changed: Suite, on_workers: bool) -> None:
    outcome = run(changed, on_workers)

    assert outcome.text.splitlines()[-2] == POINTER


@pytest.mark.parametrize("options", [["-qq"], ["--no-summary"], ["-k", "passes"], ["-o", "llmtest_failures=false"]])
def test_nothing_points_to_a_file_that_is_not_there_or_where_no_summary_is_wanted(changed: Suite, options: list[str]) -> None:
    assert POINTER not in changed.run(None, *options).text


def test_a_test_that_passes_when_it_is_run_again_has_not_failed(suite: Suite) -> None:
    suite.run(
        """
        attempts = []

        def test_it(scripted_chat_model):
            scripted_chat_model("a").invoke("hi")
            attempts.append(1)
            assert len(attempts) == 2
        """,
        "--reruns=1",
        "--llmtest-report=report",
    )

    (result,) = json.loads((suite.path / "report" / "results.json").read_text("utf-8"))["tests"]
    assert (result["status"], result["failures"]) == ("passed", [])
    assert not failures(suite).exists()


def test_a_file_that_cannot_be_written_is_told_and_hides_nothing(changed: Suite) -> None:
    (changed.path / ".llmtest").mkdir(exist_ok=True)
    failures(changed).mkdir()

    outcome = changed.run(None, "-k", "unused")

    assert outcome.counts["failed"] == 1
    assert "llmtest: the results were not written: " in outcome.text


def test_a_damaged_store_of_traces_is_told_and_the_report_has_the_rest(changed: Suite) -> None:
    (changed.path / ".llmtest").mkdir(exist_ok=True)
    (changed.path / ".llmtest" / "traces.sqlite").write_text("no database, whatever its name says" * 100)

    outcome = changed.run(None, "-k", "unused", "--llmtest-report=report", "--llmtest-traces=failed")

    assert outcome.counts["failed"] == 1
    assert "the traces are not in the report: " in outcome.text
    assert (changed.path / "report" / "results.json").is_file()


# -- GitHub


@pytest.mark.parametrize("on_workers", [False, True], ids=["one process", "workers"])
def test_github_shows_each_cause_once_and_a_summary(github: Suite, on_workers: bool) -> None:
    outcome = run(github, on_workers)

    assert annotations(outcome) == ANNOTATIONS
    page = (github.path / "step.md").read_text("utf-8")
    assert page.startswith(
        "### llmtest: 3 failed, 1 error, 1 passed, 1 skipped\n\n20 tokens (14 in, 6 out) in 4 model calls of 4 tests\n"
    )
    assert page.count("<details>") == 4


def test_paths_are_those_of_the_repository(github: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(github.path.parent))

    assert annotations(github.run(None))[1].startswith(f"::error file={github.path.name}/test_it.py,line=9,")


def test_a_green_session_has_a_summary_and_no_annotation(github: Suite) -> None:
    outcome = github.run(None, "-k", "passes")

    assert annotations(outcome) == []
    assert (github.path / "step.md").read_text("utf-8") == (
        "### llmtest: 1 passed\n\n4 tokens (3 in, 1 out) in 1 model call of 1 test\n"
    )


@pytest.mark.parametrize("how", ["option", "ini"])
def test_it_can_be_switched_off(github: Suite, how: str) -> None:
    github.ini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_ci = {'off' if how == 'ini' else 'auto'}")

    outcome = github.run(None, *(["--llmtest-ci=off"] if how == "option" else []))

    assert annotations(outcome) == []
    assert not (github.path / "step.md").exists()


def test_elsewhere_nothing_is_shown(changed: Suite) -> None:
    assert annotations(changed.run(None)) == []


def test_what_another_plugin_annotates_is_not_annotated_twice(github: Suite) -> None:
    # pytest-github-actions-annotate-failures annotates failures of the call of a test, and is known by its name.
    other = types.ModuleType("annotate")

    class Loads:
        def pytest_configure(self, config: pytest.Config) -> None:
            config.pluginmanager.register(other, ANNOTATOR)

    outcome = Outcome(github.files.runpytest_inprocess(plugins=[Loads()]))

    assert annotations(outcome) == ANNOTATIONS[2:]


ANNOTATOR = "pytest_github_actions_annotate_failures"


def test_a_summary_that_cannot_be_written_is_told(github: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(github.path / "none" / "step.md"))

    outcome = github.run(None)

    assert "llmtest: the results were not written: [Errno 2] No such file or directory:" in outcome.text
    assert annotations(outcome) == ANNOTATIONS


# -- the report


@pytest.mark.parametrize("on_workers", [False, True], ids=["one process", "workers"])
def test_a_report_has_all_that_a_job_leaves(changed: Suite, on_workers: bool) -> None:
    run(changed, on_workers, "--llmtest-report=report", "--llmtest-traces=all")

    names = sorted(path.relative_to(changed.path / "report").as_posix() for path in (changed.path / "report").rglob("*.*"))
    assert names == [
        "failures.md",
        "pending/test_it.py",
        "pending/test_it.py/test_agent[paris].tree",
        "pending/test_it.py/test_agent[rome].tree",
        "results.json",
        "summary.md",
        "traces.sqlite",
    ]
    told = json.loads((changed.path / "report" / "results.json").read_text("utf-8"))["tests"]
    assert [(test["test"].partition("::")[2], test["status"]) for test in told] == [
        ("test_agent[paris]", "failed"),
        ("test_agent[rome]", "failed"),
        ("test_unused", "failed"),
        ("test_teardown", "error"),
        ("test_passes", "passed"),
        ("test_later", "skipped"),
    ]
    assert told[4]["tokens"] == {"total_tokens": 4, "input_tokens": 3, "output_tokens": 1, "requests": 1}


@pytest.mark.parametrize("how", ["option", "ini"])
def test_in_ci_the_report_keeps_what_is_pending_and_another_machine_accepts_it(
    changed: Suite, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("CI", "true")
    changed.ini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_report = {'report' if how == 'ini' else ''}")
    changed.run(None, *(["--llmtest-report=report"] if how == "option" else []))
    monkeypatch.delenv("CI")
    monkeypatch.chdir(changed.path)
    assert changed.pending() == {}

    code = commands.main(["accept", "--from-ci", "report"])

    assert code == 0
    assert "Goodbye" in changed.snapshot("test_agent[rome]").read_text("utf-8")
    assert changed.run(None, "-k", "agent").counts["passed"] == 2


def test_a_suite_without_llmtest_has_a_report_if_it_is_asked_for(suite: Suite) -> None:
    suite.run("def test_it():\n    assert 1 == 2", "--llmtest-report=report")

    (result,) = json.loads((suite.path / "report" / "results.json").read_text("utf-8"))["tests"]
    assert result["failures"] == [
        {
            "when": "call",
            "cause": "assert 1 == 2",
            "like": result["failures"][0]["like"],
            "path": "test_it.py",
            "line": 2,
            "details": "assert 1 == 2",
        }
    ]
    assert not (suite.path / ".llmtest").exists()


def test_the_place_of_a_failure_is_the_last_line_of_the_test(suite: Suite) -> None:
    suite.write("def check(value):\n    assert value\n", "helper")

    suite.run(
        """
        import helper

        def test_it(scripted_chat_model):
            scripted_chat_model("a").invoke("hi")
            helper.check(
                False
            )
        """,
    )

    assert "- `test_it.py::test_it` at `test_it.py:5`\n" in failures(suite).read_text("utf-8")


def test_new_snapshots_are_one_cause(suite: Suite) -> None:
    suite.run(f"{HELLO}\n{HELLO.replace('test_hello', 'test_other')}")

    assert failures(suite).read_text("utf-8").startswith("# 2 tests failed, 1 cause\n")


def test_a_wrong_value_of_the_ini_key_is_a_usage_error(suite: Suite) -> None:
    suite.ini("[pytest]\nllmtest_ci = of")

    assert "the ini key llmtest_ci is one of auto, off; got 'of'; did you mean `off`?" in suite.run(HELLO).errors


def test_secrets_in_messages_are_masked_in_what_is_uploaded(suite: Suite) -> None:
    key = "sk-proj-" + "A1b2C3d4" * 5

    suite.run(
        f"""
        def test_it(scripted_chat_model):
            scripted_chat_model("a").invoke("hi")
            raise ValueError("no access with {key}")
        """,
        "--llmtest-report=report",
        "--junitxml=junit.xml",
    )

    texts = [path.read_text("utf-8") for path in (failures(suite), *(suite.path / "report").iterdir())]
    assert not any(key in text for text in texts)
    assert all("no access with <mask:" in text for text in texts)
    assert f'name="llmtest_cause" value="ValueError: no access with {key}' not in (suite.path / "junit.xml").read_text("utf-8")


def test_details_of_very_many_failures_are_bounded(changed: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtest.pytest_plugin.results.MAX_ALL_DETAILS", 100)

    changed.run(None, "--llmtest-report=report")

    told = json.loads((changed.path / "report" / "results.json").read_text("utf-8"))["tests"]
    assert sum(len(failure["details"]) for test in told for failure in test["failures"]) == 100
    assert [len(test["failures"]) for test in told] == [1, 1, 1, 1, 0, 0]


def test_what_a_thread_does_after_its_test_is_a_failure_too(suite: Suite) -> None:
    suite.run(
        """
        import threading
        import time

        def test_it(scripted_chat_model):
            model = scripted_chat_model("a")
            model.invoke("hi")

            def late():
                time.sleep(0.2)
                try:
                    model.invoke("again")
                except AssertionError:
                    pass

            threading.Thread(target=late).start()
        """
    )

    page = failures(suite).read_text("utf-8")
    assert page.startswith("# 1 test failed, 1 cause\n")
    assert "after the end of this test, which has not waited for its thread" in page
    assert "(teardown)" in page


def test_a_message_that_begins_with_a_line_break_is_a_cause_by_its_first_line_with_text(suite: Suite) -> None:
    suite.run("""
        import pytest

        ERRORS = [ValueError("\\n  no page\\n"), ValueError("\\nno city"), AssertionError("\\n\\nno answer")]

        @pytest.mark.parametrize("error", ERRORS)
        def test_it(error, llm_recording):
            raise error
    """)

    headings = [line for line in failures(suite).read_text("utf-8").splitlines() if line.startswith("## ")]
    assert headings == ["## `ValueError: no page`", "## `ValueError: no city`", "## `no answer`"]


def test_the_number_of_a_task_is_in_no_list_of_failures(suite: Suite) -> None:
    suite.run(
        """
        from langgraph.graph import START, StateGraph

        def fail(state):
            raise ValueError("no page")

        def test_it(llm_recording):
            graph = StateGraph(dict)
            graph.add_node("search", fail)
            graph.add_edge(START, "search")
            graph.compile().invoke({})
        """,
        "--junitxml=junit.xml",
    )

    assert "During task" not in failures(suite).read_text("utf-8")
    assert 'message="ValueError: no page"' in (suite.path / "junit.xml").read_text("utf-8")
