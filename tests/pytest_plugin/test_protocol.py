"""The plugin asks at the end of a test whether callbacks kept their protocol, and listens for errors that LangChain swallows."""

from __future__ import annotations

import pytest

TWO_ENDS = """
from langchain_core.callbacks import CallbackManager
from llmtest import record

def two_ends():
    run = CallbackManager.configure().on_chain_start({"name": "broken"}, {})
    run.on_chain_end({})
    run.on_chain_end({})

def never_ends():
    CallbackManager.configure().on_chain_start({"name": "endless"}, {})
"""

SILENT = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = default\n"

HANDLER = """
from langchain_core.callbacks import BaseCallbackHandler
from llmtest import ScriptedChatModel

class Asserts(BaseCallbackHandler):
    def on_llm_end(self, response, **kwargs):
        assert response is None

def ask(model):
    model.invoke("hi", {"callbacks": [Asserts()]})
"""


def test_impossible_sequence_fails_the_test_with_its_witnesses(suite):
    outcome = suite.run(f"{TWO_ENDS}\ndef test_it(llm_recording):\n    two_ends()\n", "--llmtest-trees=off")

    assert outcome.counts == {"failed": 1}
    text = outcome.part("test_it").splitlines()
    assert text[0] == "chain `broken` ended twice"
    assert [line.split()[:2] for line in text[1:4]] == [["#0", "on_chain_start"], ["#1", "on_chain_end"], ["#2", "on_chain_end"]]


def test_block_inside_the_recorded_test_tells_it_once(suite):
    outcome = suite.run(
        f"{TWO_ENDS}\ndef test_it(llm_recording):\n    llm_recording\n    with record(), record():\n        two_ends()\n",
        "--llmtest-trees=off",
    )

    assert outcome.part("test_it").count("ended twice") == 1


def test_block_of_a_fixture_is_asked_when_it_has_closed(suite):
    outcome = suite.run(
        f"""{TWO_ENDS}
import pytest

@pytest.fixture
def recorded():
    with record() as recording:
        yield recording

def test_it(recorded):
    two_ends()
"""
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert "chain `broken` ended twice" in outcome.part("ERROR at teardown of test_it")


def test_unusual_sequence_is_reported_and_passes(suite):
    outcome = suite.run(f"{TWO_ENDS}\ndef test_it(llm_recording):\n    never_ends()\n", "-rA")

    assert outcome.counts == {"passed": 1}
    assert "chain `endless`" in outcome.part("llmtest: unusual callbacks")
    assert (
        "llmtest: unusual callbacks in 1 test: 1 x 'run never ended'; -rA shows them, llmtest_protocol = strict makes them fail"
        in outcome.text
    )


@pytest.mark.parametrize("options", [("-qq",), ("--no-summary",)])
def test_summary_of_the_unusual_is_left_out_on_demand(suite, options):
    outcome = suite.run(f"{TWO_ENDS}\ndef test_it(llm_recording):\n    never_ends()\n", *options)

    assert "llmtest: unusual" not in outcome.text


def test_unusual_of_two_tests_is_counted_on_workers_too(suite):
    outcome = suite.run_on_worker(
        f"{TWO_ENDS}\ndef test_one(llm_recording):\n    never_ends()\n\ndef test_two(llm_recording):\n    never_ends()\n"
    )

    assert outcome.counts == {"passed": 2}
    assert "llmtest: unusual callbacks in 2 tests: 2 x 'run never ended'" in outcome.text


@pytest.mark.parametrize("way", ["option", "ini"])
@pytest.mark.parametrize(
    ("mode", "impossible", "unusual"),
    [
        ("strict", {"failed": 1}, {"failed": 1}),
        ("error", {"failed": 1}, {"passed": 1}),
        ("warn", {"passed": 1, "warnings": 1}, {"passed": 1}),
        ("off", {"passed": 1}, {"passed": 1}),
    ],
)
def test_modes_of_the_protocol(suite, way, mode, impossible, unusual):
    suite.ini(f"{SILENT}{f'llmtest_protocol = {mode}' if way == 'ini' else ''}\n")
    options = (f"--llmtest-protocol={mode}",) if way == "option" else ()
    broken = suite.run(f"{TWO_ENDS}\ndef test_it(llm_recording):\n    two_ends()\n", *options)
    odd = suite.run(f"{TWO_ENDS}\ndef test_it(llm_recording):\n    never_ends()\n", *options)

    assert (broken.counts, odd.counts) == (impossible, unusual)


def test_warning_names_the_test_and_the_rule(suite):
    suite.ini(f"{SILENT}llmtest_protocol = warn\n")
    outcome = suite.run(f"{TWO_ENDS}\ndef test_it(llm_recording):\n    two_ends()\n")

    assert "LlmtestWarning: chain `broken` ended twice" in outcome.part("warnings summary")
    assert "test_it.py:12:" in outcome.part("warnings summary")


def test_marker_waives_one_rule_with_a_reason(suite):
    outcome = suite.run(
        f"""{TWO_ENDS}
import pytest

@pytest.mark.llm_waive("one end", reason="the library under test does this")
def test_waived(llm_recording):
    two_ends()

@pytest.mark.llm_waive("run never ended", reason="another one")
def test_not_waived(llm_recording):
    two_ends()
"""
    )

    assert outcome.counts == {"passed": 1, "failed": 1}


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("llm_waive()", "the marker is llm_waive(rule, reason='why'), with one rule; got llm_waive()"),
        ("llm_waive('one end')", "the marker is llm_waive(rule, reason='why'), with one rule; got llm_waive('one end')"),
        (
            "llm_waive('one end', reason=' ')",
            "the marker is llm_waive(rule, reason='why'), with one rule; got llm_waive('one end', reason=' ')",
        ),
        (
            "llm_waive('one ends', reason='x')",
            "llm_waive('one ends', reason='x'): there is no rule 'one ends'; did you mean `one end`?",
        ),
    ],
)
def test_marker_that_waives_nothing_is_an_error_at_once(suite, marker, said):
    outcome = suite.run(f"import pytest\n\n@pytest.mark.{marker}\ndef test_it():\n    pass\n")

    assert outcome.counts == {"error": 1}
    assert said in outcome.text


def test_marker_with_a_name_like_no_rule_lists_them(suite):
    outcome = suite.run("import pytest\n\n@pytest.mark.llm_waive('#', reason='x')\ndef test_it():\n    pass\n")

    assert "there is no rule '#'; the rules are `swallowed handler error`, " in outcome.text


def test_call_from_a_bare_thread_fails_the_test(suite):
    outcome = suite.run(
        """
        import threading

        def test_it(scripted_chat_model):
            model = scripted_chat_model("Hello")
            thread = threading.Thread(target=lambda: model.invoke("hi"))
            thread.start()
            thread.join()
        """
    )

    assert outcome.counts == {"failed": 1}
    assert "test_it.py:5" in outcome.part("test_it")


# -- errors of handlers


@pytest.mark.parametrize("use", ["scripted_chat_model('Hello')", "ScriptedChatModel('Hello')"])
def test_swallowed_error_of_a_handler_fails_the_test_that_uses_us(suite, use):
    fixture = "scripted_chat_model" if use.startswith("scripted") else ""
    outcome = suite.run(f"{HANDLER}\ndef test_it({fixture}):\n    ask({use})\n", "--llmtest-trees=off")

    assert outcome.counts == {"failed": 1}
    text = outcome.part("test_it")
    assert text.startswith("the callback handler `Asserts.on_llm_end` raised AssertionError: assert LLMResult(")
    assert "\n  test_it.py:6 in on_llm_end: assert response is None\n" in text


def test_block_alone_is_enough_to_use_us(suite):
    outcome = suite.run(
        f"""{HANDLER}
from langchain_core.language_models import FakeListChatModel
from llmtest import record

def test_it():
    with record():
        ask(FakeListChatModel(responses=["Hello"]))
"""
    )

    assert outcome.counts == {"failed": 1}


OTHERS = f"""{HANDLER}
from langchain_core.language_models import FakeListChatModel

def test_it():
    ask(FakeListChatModel(responses=["Hello"]))
"""


def test_test_that_does_not_use_us_is_left_alone(suite):
    assert suite.run(OTHERS).counts == {"passed": 1}


def test_every_test_of_a_suite_is_watched_on_demand(suite):
    suite.ini(f"{SILENT}llmtest_handler_errors_everywhere = true\n")

    assert suite.run(OTHERS).counts == {"failed": 1}


@pytest.mark.parametrize("way", ["option", "ini"])
@pytest.mark.parametrize(
    ("mode", "counts"), [("error", {"failed": 1}), ("warn", {"passed": 1, "warnings": 1}), ("off", {"passed": 1})]
)
def test_modes_of_handler_errors(suite, way, mode, counts):
    suite.ini(f"{SILENT}{f'llmtest_handler_errors = {mode}' if way == 'ini' else ''}\n")
    options = (f"--llmtest-handler-errors={mode}",) if way == "option" else ()

    outcome = suite.run(f"{HANDLER}\ndef test_it(scripted_chat_model):\n    ask(scripted_chat_model('Hello'))\n", *options)

    assert outcome.counts == counts


def test_swallowed_error_can_be_waived_and_expected(suite):
    outcome = suite.run(
        f"""{HANDLER}
import pytest
from llmtest import expect_violation

@pytest.mark.llm_waive("swallowed handler error", reason="another test is about it")
def test_waived(scripted_chat_model):
    ask(scripted_chat_model("Hello"))

def test_expected(scripted_chat_model):
    with expect_violation("swallowed handler error"):
        ask(scripted_chat_model("Hello"))
"""
    )

    assert outcome.counts == {"passed": 2}


@pytest.mark.parametrize("key", ["llmtest_protocol", "llmtest_handler_errors"])
def test_mode_that_does_not_exist_is_a_usage_error(suite, key):
    suite.ini(f"{SILENT}{key} = eror\n")
    outcome = suite.run("def test_it():\n    pass\n")

    assert f"ERROR: the ini key {key} is one of" in outcome.errors
    assert "got 'eror'; did you mean `error`?" in outcome.errors
