"""The marker `llm_faults`: items with stable ids, which pytest selects, runs, repeats and reports like any others."""

from __future__ import annotations

import json

import pytest

from llmtest import call, say
from llmtest.viewer.reading import read_page
from llmtest.wire import scripted_server
from tests.pytest_plugin.conftest import INI

AGENT = """
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from llmtest import ScriptedChatModel, call

@tool
def search(q: str) -> str:
    "Search."
    return f"found {q}"

@pytest.mark.llm_faults(kinds=["timeout", "error text"])
def test_agent(scripted_chat_model):
    agent = create_agent(scripted_chat_model(call("search", q="x"), "Done.", name="model"), [search])
    assert agent.invoke({"messages": "hi"})["messages"][-1].content == "Done."
"""

IDS = [
    "test_it.py::test_agent",
    "test_it.py::test_agent[model#1 timeout]",
    "test_it.py::test_agent[search#1 raises TimeoutError]",
    "test_it.py::test_agent[search#1 returns an error text]",
    "test_it.py::test_agent[model#2 timeout]",
]


def collected(outcome) -> list[str]:
    return [line for line in outcome.text.splitlines() if line.startswith("test_it.py::")]


def test_items_have_stable_ids(suite):
    assert collected(suite.run(AGENT, "--collect-only", "-q")) == IDS


def test_each_fault_is_an_item_and_the_first_line_says_how_to_repeat_it(suite):
    outcome = suite.run(AGENT)

    assert outcome.counts == {"passed": 2, "failed": 3}
    assert outcome.part("llmtest: faults").startswith(
        "test_it.py::test_agent\n"
        "4 faults at 3 calls: 1 recovered, 3 crash\n"
        "  model#1\n"
        "    crash             timeout\n"
        "  search#1\n"
        "    recovered         returns an error text\n"
        "    crash             raises TimeoutError\n"
        "  model#2\n"
        "    crash             timeout"
    )
    first = outcome.part("test_agent[search#1 raises TimeoutError]").splitlines()[:2]
    assert first == [
        "E   llmtest.errors.FaultError: crash: search#1 raises TimeoutError; repeat: "
        'pytest "test_it.py::test_agent[search#1 raises TimeoutError]"',
        "E     TimeoutError: fault: search#1 raises TimeoutError",
    ]
    assert "agent.invoke" in outcome.part("test_agent[search#1 raises TimeoutError]")


def test_a_suite_without_capture_and_with_other_tests(suite):
    assert suite.run(AGENT + "\ndef test_other():\n    pass\n", "-s").counts == {"passed": 3, "failed": 3}


def test_a_marker_of_one_parameter_is_for_that_one_alone(suite):
    outcome = suite.run(
        """
        import pytest

        with_faults = pytest.mark.llm_faults(kinds="timeout", survives=OSError)

        @pytest.mark.parametrize("text", ["a", pytest.param("b", marks=with_faults)])
        def test_it(scripted_chat_model, text):
            scripted_chat_model("Hello", name="model").invoke(text)
    """,
        "-v",
    )

    assert outcome.counts == {"passed": 3}
    assert "test_it[b-model#1 timeout] PASSED" in outcome.text


def test_items_are_selected_by_name_and_by_what_failed_last(suite):
    assert suite.run(AGENT, "-k", "search and text").counts == {"passed": 1, "deselected": 4}
    assert suite.run(None, "test_it.py::test_agent[model#2 timeout]").counts == {"failed": 1}
    suite.run(None)
    assert suite.run(None, "--lf").counts == {"failed": 3}


def test_workers_run_the_same_items_and_one_matrix_comes_out(suite):
    outcome = suite.run_on_workers(AGENT, "--llmtest-matrix=matrix.json")

    assert outcome.counts == {"passed": 2, "failed": 3}
    read = json.loads((suite.path / "matrix.json").read_text("utf-8"))
    assert read["version"] == 1
    assert [cell["faults"] for cell in read["tests"]["test_it.py::test_agent"]["cells"]] == [
        ["timeout"],
        ["raises TimeoutError"],
        ["returns an error text"],
        ["timeout"],
    ]
    assert "4 faults at 3 calls: 1 recovered, 3 crash" in outcome.text


def test_the_matrix_is_a_table_of_markdown(suite):
    outcome = suite.run(AGENT, "--llmtest-matrix=matrix.md", "-q", "-q")

    text = (suite.path / "matrix.md").read_text("utf-8")
    assert text.startswith("## test_it.py::test_agent\n\n4 faults at 3 calls: 1 recovered, 3 crash\n\n| call | fault |")
    assert "llmtest: faults" not in outcome.text
    assert f"llmtest: the outcomes of all faults: {suite.path / 'matrix.md'}" in outcome.text


FRESH = """
import pytest
from llmtest import ScriptedChatModel

made = []

@pytest.fixture
def number():
    made.append(len(made))
    yield made[-1]
    made.append("down")

@pytest.mark.llm_faults(kinds="server error", survives=Exception)
@pytest.mark.parametrize("name", ["a", "b"])
def test_it(number, name):
    ScriptedChatModel("x", name=name).invoke("hi")

@pytest.mark.llm_faults(kinds="server error", survives=Exception)
class TestIt:
    def test_method(self, number):
        assert not hasattr(self, "used")
        self.used = True
        ScriptedChatModel("x", name="m").invoke("hi")

def test_all():
    assert made == [n if n % 2 == 0 else "down" for n in range(18)]
"""


def test_each_item_has_fresh_fixtures_and_parameters_and_methods_work(suite):
    outcome = suite.run(FRESH, "-v")

    assert outcome.counts == {"passed": 7}
    assert "test_it[a-a#1 server error] PASSED" in outcome.text
    assert "TestIt::test_method[m#1 server error] PASSED" in outcome.text


ASYNC = """
import asyncio
import pytest
from llmtest import ScriptedChatModel

@pytest.mark.llm_faults(kinds=["server error", "cancelled"], survives=Exception)
@pytest.mark.{runner}
async def test_it():
    await asyncio.sleep(0)
    await ScriptedChatModel("x", name="m").ainvoke("hi")
"""


@pytest.mark.parametrize("runner", ["asyncio", "anyio"])
def test_async_tests_have_faults_and_are_cancelled(suite, runner):
    source = ASYNC.format(runner=runner)
    source += "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n" if runner == "anyio" else ""

    outcome = suite.run(source, "-v")

    assert outcome.counts == {"passed": 5}
    assert "test_it[m#1 server error] PASSED" in outcome.text
    assert "test_it[await#2 cancelled] PASSED" in outcome.text


def test_a_test_that_fails_by_itself_has_no_faults(suite):
    outcome = suite.run(AGENT.replace('"Done."\n', '"Other."\n'))

    assert outcome.counts == {"failed": 1}


def test_a_test_that_is_skipped_has_no_faults(suite):
    outcome = suite.run(AGENT.replace("    agent =", "    pytest.skip('later')\n    agent ="))

    assert outcome.counts == {"skipped": 1}


def test_what_is_not_exposed_is_skipped_and_never_passed(suite):
    source = AGENT.replace('return f"found {q}"', "return None").replace('"error text"', '"nothing"')

    outcome = suite.run(source, "-rs", "-k", "nothing")

    assert outcome.counts == {"skipped": 1, "deselected": 4}
    assert "not exposed: the recording shows nothing of it" in outcome.text


def test_a_skip_under_a_fault_is_a_skip(suite):
    source = """
    import pytest
    from llmtest import ScriptedChatModel

    @pytest.mark.llm_faults(kinds="timeout")
    def test_it():
        try:
            ScriptedChatModel("x", name="m").invoke("hi")
        except TimeoutError:
            pytest.skip("no network")
    """

    assert suite.run(source).counts == {"passed": 1, "skipped": 1}


RULES = """
import pytest
from llmtest import ScriptedChatModel, say
from llmtest.matching import at_most, model

@pytest.mark.llm_rules(at_most(1, model()))
@pytest.mark.llm_faults(kinds="timeout")
def test_it():
    m = ScriptedChatModel(say("x"), name="m").with_retry(stop_after_attempt=2)
    m.invoke("hi")
"""


def test_a_rule_that_a_fault_breaks_is_an_outcome(suite):
    outcome = suite.run(RULES)

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert "wrong and silent: m#1 timeout; repeat:" in outcome.text
    assert "broken: a model at most 1 time" in outcome.text or "at most" in outcome.text


def test_invariants_of_the_ini_key_hold_in_every_recorded_test(suite):
    suite.ini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_invariants =\n    empty answer\n    swallowed error\n"
    )
    source = """
    import pytest
    from llmtest import ScriptedChatModel

    def test_empty(scripted_chat_model):
        scripted_chat_model("", name="m").invoke("hi")

    def test_full(scripted_chat_model):
        scripted_chat_model("Hello", name="m").invoke("hi")

    def test_unrecorded():
        pass

    @pytest.mark.llm_faults(kinds="empty answer")
    def test_fault():
        ScriptedChatModel("Hello", name="m").invoke("hi")
    """

    outcome = suite.run(source)

    assert outcome.counts == {"passed": 3, "failed": 2}
    assert "the final answer of the chat `m` is empty" in outcome.part("test_empty")
    assert "wrong and silent: m#1 empty answer" in outcome.part("test_fault[m#1 empty answer]")


PAIRS = """
import pytest
from llmtest import ScriptedChatModel

@pytest.mark.llm_faults(kinds="timeout", pairs=True)
def test_it():
    spare = ["x"] * {spares}

    def ask(name):
        try:
            return ScriptedChatModel("x", name=name).invoke("hi").text
        except TimeoutError:
            return spare.pop() if spare else "?"

    assert ask("a") + ask("b") == "xx"
"""


@pytest.mark.parametrize(
    ("spares", "counts", "smallest"),
    [
        (2, {"passed": 4}, None),
        (1, {"passed": 3, "failed": 1}, "both faults: the test survives each of them alone"),
        (0, {"passed": 1, "failed": 3}, "`a#1 timeout`, `b#1 timeout`: fails alone, too"),
    ],
)
def test_pairs_are_shrunk_to_the_smallest_set(suite, spares, counts, smallest):
    outcome = suite.run(PAIRS.format(spares=spares))

    assert outcome.counts == counts
    assert outcome.has_part("llmtest: smallest set") == (smallest is not None)
    if smallest is not None:
        assert outcome.part("llmtest: smallest set").startswith(smallest)


TAKES = (
    "the marker llm_faults takes `kinds`, `survives`, `effects`, `invariants`, `max_tokens`, `pairs`, `chunks`, `snapshot` "
    "by name; got "
)


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("kinds=['timeot']", "there is no kind of fault 'timeot'; did you mean `timeout`?"),
        (
            "kind='timeout'",
            f"{TAKES}kind=; did you mean `kinds`?",
        ),
        (
            "'timeout'",
            f"{TAKES}an argument without a name",
        ),
    ],
)
def test_a_wrong_marker_is_an_error_of_collection(suite, marker, text):
    outcome = suite.run(AGENT.replace('kinds=["timeout", "error text"]', marker))

    assert outcome.counts == {"error": 1}
    assert f"test_it.py::test_agent: {text}" in " ".join(outcome.text.split())


def test_a_wrong_invariant_in_the_ini_file_is_a_usage_error(suite):
    suite.ini(f"{INI}llmtest_invariants = empty anser\n")

    assert (
        "the ini key llmtest_invariants: there is no invariant 'empty anser'; did you mean `empty answer`?"
        in suite.run(AGENT).errors
    )


def test_output_of_the_collection_is_captured_as_before(suite):
    outcome = suite.run(AGENT + "\nprint('while it is collected')\n", "-k", "nothing-at-all")

    assert "while it is collected" not in outcome.text


CASSETTE = """
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

@tool
def refund(order: str) -> str:
    "Refund an order."
    return f"refunded {order}"

@pytest.mark.llm_cassette(tools="refund")
@pytest.mark.llm_faults(kinds=["server error", "error text", "timeout"], survives=Exception)
def test_refund():
    agent = create_agent(ChatOpenAI(model="gpt-5", max_retries=0), [refund])
    assert agent.invoke({"messages": "Refund A-7."})["messages"][-1].text == "Done."
"""


def test_a_cassette_answers_under_faults_too_and_nothing_is_recorded_with_one(suite, monkeypatch):
    with scripted_server({"openai:gpt-5": [call("refund", order="A-7"), say("Done.")]}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("openai"))
        monkeypatch.setenv("OPENAI_API_KEY", server.token)
        assert suite.run_apart(CASSETTE, "--llmtest-record=once").counts == {"passed": 1}
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")

    outcome = suite.run_apart(None, "-v")

    assert outcome.counts == {"passed": 7}
    assert "refund#1 returns an error text] PASSED" in outcome.text
    assert "1 recovered, 5 declared error" in outcome.text
    assert [path.name for path in suite.path.rglob("*.yaml")] == ["test_refund.yaml"]


def test_the_page_has_a_row_for_the_faults_of_a_test(suite):
    outcome = suite.run(AGENT, "--llmtest-html=page.html")

    cases = read_page((suite.path / "page.html").read_bytes(), "page.html").cases
    (row,) = (case for case in cases if case.name == "test_it.py::test_agent with faults")
    assert outcome.counts == {"passed": 2, "failed": 3}
    assert (row.status, row.cause) == ("failed", "4 faults at 3 calls: 1 recovered, 3 crash")
    assert row.detail is not None


@pytest.mark.parametrize("marker", ["llm_faults", "llm_interleave"])
def test_a_marker_that_could_have_no_effect_fails_the_test(suite, marker):
    outcome = suite.run(f"""
        import unittest
        import pytest

        class TestIt(unittest.TestCase):
            @pytest.mark.{marker}
            def test_it(self):
                pass
    """)

    assert outcome.counts == {"error": 1}
    assert f"the marker {marker} is for test functions, and not for those of a unittest.TestCase" in outcome.text


WITHOUT_FAULTS = """
import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

class Old(BaseRetriever):
    def _get_relevant_documents(self, query):
        return [Document(page_content=query)]

@pytest.mark.llm_faults
def test_no_call():
    pass

@pytest.mark.llm_faults(kinds="stream cut")
def test_no_place(scripted_chat_model):
    assert scripted_chat_model("Hello").invoke("hi").text == "Hello"

@pytest.mark.llm_faults
def test_hole():
    assert Old().invoke("hi")
"""


def test_a_test_that_can_have_no_fault_is_not_only_passed(suite):
    outcome = suite.run(WITHOUT_FAULTS, "-rs")

    assert outcome.counts == {"passed": 3, "skipped": 3}
    assert "not exposed: no call of the test can have one of these faults; none can come at" in outcome.text


def test_a_test_that_passes_only_later_has_had_no_fault(suite):
    outcome = suite.run("""
        import pytest
        runs = []

        @pytest.mark.llm_faults(kinds="timeout")
        def test_it(scripted_chat_model):
            runs.append(1)
            scripted_chat_model("Hello").invoke("hi")
            assert len(runs) > 1, "too early"
    """)

    assert outcome.counts == {"failed": 1}
    assert "the test has passed now, but not when it was collected, and so no fault came" in outcome.text
    assert "then  AssertionError: too early" in outcome.text


def test_a_tool_that_is_almost_named_is_refused(suite):
    outcome = suite.run(AGENT.replace('"error text"]', '"error text"], effects="serch"'))

    assert outcome.counts == {"error": 1}
    assert "effects= names 'serch', and the program calls no such tool; did you mean `search`?" in outcome.text


def test_arguments_that_are_lists_can_have_faults(suite):
    outcome = suite.run("""
        import pytest
        from langchain_core.tools import tool
        from llmtest import call

        @tool
        def search(words: list[str]) -> str:
            "Search."

        @pytest.mark.llm_faults(kinds=["timeout", "unknown tool"], pairs=True)
        def test_it(scripted_chat_model):
            answer = scripted_chat_model(call("search", words=["a", "b"]), name="model").bind_tools([search]).invoke("hi")
            assert answer.tool_calls[0]["name"] == "search"
    """)

    assert outcome.counts == {"passed": 1, "failed": 2}


SNAPSHOT = """
import pytest

@pytest.mark.llm_faults(kinds=["timeout"])
@pytest.mark.parametrize("answer", ["Hello"])
def test_it(scripted_chat_model, llm_snapshot, answer):
    model = scripted_chat_model(answer, name="model")
    try:
        said = MODEL.invoke("hi").text
    except TimeoutError:
        said = "sorry"
    assert said == llm_snapshot
"""


def test_what_comes_of_a_fault_is_no_snapshot(suite):
    weak, sound = SNAPSHOT.replace("MODEL", "model"), SNAPSHOT.replace("MODEL", "model.with_retry()")
    suite.run(weak, "--snapshot-update")

    assert suite.run(weak, "--snapshot-update").counts == {"passed": 1, "failed": 1}
    assert suite.run(sound).counts == {"passed": 2}
    assert len([*suite.path.rglob("*.tree")]) == 1


MATRIX = """
import pytest
from llmtest import ScriptedChatModel

class TestIt:
    @pytest.mark.llm_faults(kinds=["timeout", "server error"], snapshot=True)
    @pytest.mark.parametrize("name", ["model"])
    @pytest.mark.asyncio
    async def test_it(self, name):
        model = ScriptedChatModel("Hello", name=name).with_retry(retry_if_exception_type=(RETRIES,))
        assert (await model.ainvoke("hi")).text == "Hello"
"""


def test_the_matrix_of_a_marker_is_a_snapshot_and_a_lost_retry_is_a_changed_cell(suite):
    before, after = MATRIX.replace("RETRIES", "TimeoutError"), MATRIX.replace("RETRIES", "KeyError")

    first = suite.run(before, "--snapshot-update")
    same, alone, changed = suite.run(before), suite.run(before, "-k", "matrix"), suite.run(after)

    assert first.counts == same.counts == {"passed": 3, "xfailed": 1}
    assert alone.counts == {"passed": 1, "deselected": 3}
    assert changed.counts == {"passed": 1, "xfailed": 2, "failed": 1}
    part = changed.part("llmtest: snapshot")
    assert "-     recovered         timeout" in part
    assert "+     crash             server error, timeout" in part
    assert "test_it.py::TestIt::test_it[model-matrix]" in part


def test_workers_compare_one_matrix(suite):
    source = AGENT.replace('"error text"]', '"error text"], snapshot=True')

    assert suite.run(source, "--snapshot-update").counts == {"passed": 3, "xfailed": 3}
    assert suite.run_on_workers(source).counts == {"passed": 3, "xfailed": 3}


def test_a_matrix_needs_the_outcome_of_each_fault(suite):
    source = MATRIX.replace("RETRIES", "TimeoutError")
    suite.run(source, "--snapshot-update")

    broken = source + (
        "\n    @pytest.fixture(autouse=True)\n    def up(self, request):\n"
        "        assert 'timeout' not in request.node.name, 'no server'\n"
    )

    assert "a fault has no outcome: test_it.py::TestIt::test_it[model-model#1 timeout] did not run" in suite.run(broken).text


def test_the_number_of_chunks_is_an_option_and_what_is_left_out_is_said(suite):
    source = """
    import pytest
    from llmtest import say

    @pytest.mark.llm_faults(kinds="stream cut", chunks=2, survives=ConnectionResetError)
    def test_it(scripted_chat_model):
        list(scripted_chat_model(say("a", "b", "c"), name="m").stream("hi"))
    """

    outcome = suite.run(source, "-v")

    assert outcome.counts == {"passed": 3}
    assert "test_it[m#1 stream cut after chunk 1]" in outcome.text
    assert "test_it[m#1 stream cut after chunk 3]" in outcome.text
    assert 'left out: stream cut at 2 of 3 chunks of `m#1`; chunks="all" takes each' in outcome.text
    assert suite.run(source.replace("chunks=2", "chunks='all'")).counts == {"passed": 4}


HANGS = """
import asyncio
import threading
import pytest
from contextlib import suppress
from llmtest import ScriptedChatModel

@pytest.mark.llm_faults(kinds="timeout")
def test_threads():
    done = threading.Event()
    with suppress(TimeoutError):
        assert ScriptedChatModel("Hello", name="model").invoke("hi").text == "Hello"
        done.set()
    done.wait()

@pytest.mark.llm_faults(kinds="timeout")
@pytest.mark.RUNNER
async def test_tasks():
    done = asyncio.Event()

    async def work():
        with suppress(TimeoutError):
            assert (await ScriptedChatModel("Hello", name="model").ainvoke("hi")).text == "Hello"
            done.set()

    task = asyncio.create_task(work())
    await done.wait()
    await task

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.mark.parametrize("runner", ["asyncio", "anyio"])
def test_a_hang_is_found_in_threads_and_tasks(suite, runner):
    outcome = suite.run_apart(HANGS.replace("RUNNER", runner))

    assert outcome.counts == {"passed": 2, "failed": 2}
    assert "hang: model#1 timeout; repeat:" in outcome.part("test_threads[model#1 timeout]")
    assert "every task waits, and nothing is left that could wake one" in outcome.part("test_tasks[model#1 timeout]")
