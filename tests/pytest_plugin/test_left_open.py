"""What a test leaves open, or never enters, is told in that test, and changes no verdict of another."""

from __future__ import annotations

import re

from tests.pytest_plugin.conftest import Suite

BLOCKS = """
from langchain.chat_models import init_chat_model
from langchain_core.tools import tool
from llmtest.langchain.providers import scripted_providers
from llmtest import ScriptedChatModel, count_tokens, expect_violation, record, tracing_enabled
from llmtest.matching import never

@tool
def delete(x: str) -> str:
    "delete"
    return x

kept = []

def test_recording():
    kept.append(record())
    kept[-1].__enter__()

def test_after_recording():
    delete.invoke({"x": "a"})
    assert kept[0].closed and list(kept[0]) == []

def test_rules():
    record(rules=[never("delete")]).__enter__()

def test_after_rules():
    delete.invoke({"x": "a"})

def test_broken_rules():
    record(rules=[never("delete")]).__enter__()
    try:
        delete.invoke({"x": "a"})
    except AssertionError:
        pass

def test_count():
    kept.append(count_tokens().__enter__())

def test_all_of(llm_recording):
    kept.append(llm_recording.all_of())
    kept[-1].__enter__()
    llm_recording.tools.assert_matches(["delete"])

def test_after_all_of(llm_recording):
    llm_recording.tools.assert_matches(["delete"])

def test_expectation():
    expect_violation("unexpected call").__enter__()

def test_after_expectation():
    try:
        ScriptedChatModel().invoke("hi")
    except AssertionError:
        pass

def test_providers():
    kept.append(scripted_providers({"openai:gpt-5": ["Hello"]}))
    kept[-1].__enter__()
    init_chat_model("openai:gpt-5").invoke("hi")

def test_after_providers():
    with scripted_providers({"openai:gpt-5": ["Bonjour"]}):
        assert init_chat_model("openai:gpt-5").invoke("hi").content == "Bonjour"
    assert kept[-1].asked == ["openai:gpt-5"]
"""


def told(text: str) -> set[tuple[str, str, str]]:
    """Return what the summary says: `FAILED` or `ERROR`, the test, and the beginning of the first line."""
    lines = re.findall(r"^(FAILED|ERROR) \S+::(\S+) - llmtest.errors.\w+: (.{20})", text, re.MULTILINE)
    return {(kind, test, line) for kind, test, line in lines}


def test_a_block_that_a_test_leaves_open_is_closed_and_told_there(suite: Suite) -> None:
    outcome = suite.run(BLOCKS, "--llmtest-trees=off")

    assert told(outcome.text) == {
        ("ERROR", "test_recording", "a record() block was"),
        ("ERROR", "test_rules", "a record() block was"),
        ("ERROR", "test_broken_rules", "a record() block was"),
        ("FAILED", "test_broken_rules", "expected never `dele"),
        ("ERROR", "test_count", "a count_tokens() blo"),
        ("ERROR", "test_all_of", "an all_of() block wa"),
        ("FAILED", "test_after_all_of", "expected tools == ['"),
        ("ERROR", "test_expectation", "an expect_violation("),
        ("FAILED", "test_after_expectation", "unexpected model cal"),
        ("ERROR", "test_providers", "a scripted_providers"),
    }
    assert outcome.part("ERROR at teardown of test_all_of").startswith(
        "an all_of() block was left open by the test\n  use it with `with`, or leave it in the same test\n\n"
        "expected tools == ['delete']"
    )


RULES = """
import pytest
from langchain_core.tools import tool
from llmtest import record
from llmtest.matching import at_least, never

@tool
def delete(x: str) -> str:
    "delete"
    return x

@pytest.fixture
def watched():
    with record(rules=[at_least(1, "delete")]) as recording:
        yield recording

@pytest.fixture(scope="module")
def shared():
    with record() as recording:
        yield recording

module_wide = record(rules=[at_least(1, "delete")])

@module_wide
def program(times):
    for _ in range(times):
        delete.invoke({"x": "a"})

def test_never_entered():
    record(rules=[never("delete")])
    delete.invoke({"x": "a"})

def test_decorates():
    @record(rules=[at_least(2, "delete")])
    def go():
        delete.invoke({"x": "a"})
    go()

def test_module_wide():
    program(0)

def test_module_wide_after_it():
    program(0)

def test_fixtures_may_hold_blocks(watched, shared):
    delete.invoke({"x": "a"})

def test_fixtures_of_a_module_too(shared):
    delete.invoke({"x": "a"})
    assert [run.name for run in shared.tools] == ["delete", "delete"]
"""


def test_rules_that_nothing_judged_are_told_and_those_of_decorators_are_judged(suite: Suite) -> None:
    outcome = suite.run(RULES, "--llmtest-trees=off")

    assert told(outcome.text) == {
        ("ERROR", "test_never_entered", "record(rules=[...]) "),
        ("ERROR", "test_decorates", "expected `delete` at"),
        ("ERROR", "test_module_wide", "expected `delete` at"),
    }
    assert outcome.part("ERROR at teardown of test_never_entered") == (
        "record(rules=[...]) was made and never entered, so that its 1 rule judged nothing\n"
        "  use it with `with`, or leave it in the same test"
    )


PARAMETERS = """
import pytest
from llmtest import ScriptedChatModel

@pytest.fixture(scope="module", params=["one", "two"])
def model(request):
    return ScriptedChatModel(request.param, "left over") if request.param == "one" else ScriptedChatModel(request.param)

def test_it(model):
    assert model.invoke("hi").content
"""


def test_left_over_steps_of_a_parametrised_fixture_are_told_of_that_parameter(suite: Suite) -> None:
    outcome = suite.run(PARAMETERS, "--llmtest-trees=off")

    assert outcome.counts == {"passed": 2, "error": 1}
    said = outcome.part("ERROR at teardown of test_it[one]")
    assert said.startswith("the fixture `model`, which was set up for this test, has ended\n\n1 of 2 steps of the script")


HIDDEN = """
import pytest
from llmtest import ScriptedChatModel, ViolationError

def swallowed():
    try:
        ScriptedChatModel("x").bind(stop=["y"]).batch(["a", "b"])
    except AssertionError:
        pass

@pytest.mark.xfail(raises=KeyError)
def test_another_error():
    swallowed()
    raise KeyError

@pytest.mark.xfail(raises=pytest.RaisesExc(KeyError))
def test_another_error_by_a_matcher():
    swallowed()
    raise KeyError

@pytest.mark.xfail(raises=(KeyError, ViolationError))
def test_both_expected():
    swallowed()
    raise KeyError

@pytest.mark.xfail
def test_any_expected():
    swallowed()
    raise KeyError

@pytest.mark.xfail(raises=KeyError)
def test_steps_of_the_rest():
    ScriptedChatModel("x")
    raise KeyError

def test_skipped():
    swallowed()
    pytest.skip("no")

def test_skipped_without():
    ScriptedChatModel("x")
    pytest.skip("no")

def test_expected_by_hand():
    swallowed()
    pytest.xfail("known")
"""


def test_expected_failures_and_skips_hide_no_violations(suite: Suite) -> None:
    outcome = suite.run(HIDDEN, "--llmtest-trees=off")

    failed = set(re.findall(r"^FAILED test_it.py::(\w+)", outcome.text, re.MULTILINE))
    assert failed == {"test_another_error", "test_another_error_by_a_matcher", "test_skipped"}
    assert outcome.counts == {"failed": 3, "xfailed": 4, "skipped": 1}
    assert outcome.part("test_skipped").startswith("unexpected model call 2: the script has 1 step")


def test_without_the_plugin_a_double_says_that_its_violations_fail_no_test(suite: Suite, monkeypatch) -> None:
    suite.ini("[pytest]\nfilterwarnings = error\n")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    suite.write(
        """
        import warnings
        from llmtest import ScriptedChatModel
        from llmtest.errors import LlmtestWarning

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ScriptedChatModel("made at import, for any test")

        def test_it():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                ScriptedChatModel("a")
            print([(str(warning.message), warning.filename) for warning in caught])
            assert False
        """
    )

    result = suite.files.runpytest_subprocess("-p", "no:cacheprovider")

    said = (
        "pytest runs without the plugin of llmtest: no unused step and no swallowed violation of a double fails a test;"
        " add `-p llmtest.pytest_plugin`, or call `model.verify()` at the end of each test"
    )
    assert said in "\n".join(result.outlines)
