"""From an incident to a test. Incidents of each tool become tests that run: tests/otel/test_exports.py."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import yaml  # noqa: F401 - before an inner run of pytest imports it, and forgets it again
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool, ToolException, tool
from pydantic import BaseModel

from llmtest import Recording, ScriptedChatModel, ScriptedLLM, call, fail, record, reply, say
from llmtest.errors import OtelError
from llmtest.otel import Options, recordings_of, spans_of
from llmtest.otel.files import masked
from llmtest.otel.reproduce import COMPARES, TODO, reproduce
from llmtest.tracing.rows import traces_of
from llmtest.trees.rendering import HEADER
from tests.support.spans import span

KEY = "sk-" + "a1" * 24


@tool
def search(q: str, limit: int = 3) -> list[str]:
    """Search."""
    return [q] * limit


@tool
def pay(amount: float) -> str:
    """Pay."""
    raise ValueError("no money")


def incident() -> Recording:
    model = ScriptedChatModel(
        call("search", q="x", limit=2), reply("Paying. ", call("pay", amount=1.5)), say(f"Done with {KEY}."), model_name="gpt-5"
    )
    program = create_agent(model, [search, pay], system_prompt="Be kind.", name="clerk")
    with record() as recording, pytest.raises(ValueError, match="no money"):
        program.invoke({"messages": [("user", "Pay!")]})
    model.script.waive_steps() if hasattr(model, "script") else None
    return recording


def run(files: Any, pytester: pytest.Pytester) -> pytest.RunResult:
    for name, text in files.items():
        (pytester.path / name).write_text(text, "utf-8")
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")


def test_a_failing_tool_ends_the_program_again(pytester: pytest.Pytester) -> None:
    made = reproduce(incident(), "paying", "trace 1")

    assert set(made.files) == {"paying.yaml", "paying.tree", "test_paying.py"}
    assert made.files["paying.tree"] == f"{HEADER}\n{made.tree}"
    source = made.files["test_paying.py"]
    assert "system_prompt='Be kind.'" in source
    assert "'pay': {'amount': float}" in source
    assert "'fails': ('ValueError', 'no money')" in source
    assert "    before('search', 'pay'),\n" in source
    assert made.headline == "2 model calls, 2 tool calls, 0 things left to do"
    result = run(made.files, pytester)
    result.assert_outcomes(passed=1)
    expected = "with record() as recording, pytest.raises(Exception, match=re.escape('no money')):  # ValueError: no money\n"
    assert expected in source


def test_what_the_trace_does_not_tell_is_marked(pytester: pytest.Pytester) -> None:
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    (recording,) = recordings_of([span("chat gpt-5", 1, told=told)])

    made = reproduce(recording, "an incident!", "trace 2")

    assert set(made.files) == {"an_incident.yaml", "an_incident.tree", "test_an_incident.py"}
    assert made.todo == [
        "a model call whose answer the trace does not tell: its step says TODO",
        "the input of the program, which the trace does not tell: INPUT says TODO",
    ]
    assert TODO in made.files["an_incident.yaml"]
    assert TODO in made.files["test_an_incident.py"]
    run(made.files, pytester).assert_outcomes(passed=1)


def test_secrets_are_not_in_the_files() -> None:
    with record() as recording:
        ScriptedChatModel(say(f"the key is {KEY}")).invoke("hi")

    assert KEY not in reproduce(recording, "x", "y").files["x.yaml"]


def test_each_model_has_a_script_of_its_own() -> None:
    with record() as recording:
        for name in ("a", "b"):
            ScriptedChatModel("hi", model_name=name).invoke("hi")

    made = reproduce(recording, "x", "y")

    assert made.todo == []
    assert sorted(made.files) == ["test_x.py", "x.tree", "x_1_a.yaml", "x_2_b.yaml"]
    assert "SCRIPTS = {'a': 'x_1_a.yaml', 'b': 'x_2_b.yaml'}" in made.files["test_x.py"]


def test_a_trace_without_a_model_makes_no_test() -> None:
    with record() as recording:
        search.invoke({"q": "x"})

    with pytest.raises(OtelError, match=r"^the trace has no call of a model, so that there is nothing to reproduce$"):
        reproduce(recording, "x", "y")


def test_a_call_that_is_still_open_makes_no_test() -> None:
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "llmtest.run.ended": "open"}
    (recording,) = recordings_of([span("chat gpt-5", 1, told=told)])

    with pytest.raises(OtelError, match=r"^no script can be made of the trace: the chat run `gpt-5` is still open"):
        reproduce(recording, "x", "y")


def test_types_of_arguments_come_from_what_was_given_where_no_schema_is_told(pytester: pytest.Pytester) -> None:
    calls = [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c", "name": "pay", "arguments": {"amount": 1.5, "to": ["x"]}}],
        }
    ]
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    pay = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "pay", "gen_ai.tool.call.id": "c"}
    read = [*calls, {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "paid"}]}]
    done = [{"role": "assistant", "parts": [{"type": "text", "content": "Done."}]}]
    (recording,) = recordings_of(
        [
            span("agent", 1, told={"gen_ai.operation.name": "invoke_agent"}),
            span("chat", 2, 1, told={**chat, "gen_ai.output.messages": json.dumps(calls)}),
            span(
                "pay",
                3,
                1,
                told={**pay, "gen_ai.tool.call.arguments": '{"amount": 1.5, "to": ["x"]}', "gen_ai.tool.call.result": "paid"},
            ),
            span(
                "chat", 4, 1, told={**chat, "gen_ai.input.messages": json.dumps(read), "gen_ai.output.messages": json.dumps(done)}
            ),
        ]
    )

    made = reproduce(recording, "paying", "trace 3")

    assert "'pay': {'amount': float, 'to': object}," in made.files["test_paying.py"]
    run(made.files, pytester).assert_outcomes(passed=1)


@wrap_tool_call
def go_on(request: Any, handler: Any) -> Any:
    """Tell the model of a failure."""
    try:
        return handler(request)
    except ValueError as error:
        return ToolMessage(f"sorry: {error}", tool_call_id=request.tool_call["id"], status="error")


def handled() -> None:
    model = ScriptedChatModel(call("pay", amount=1.0), say("Not paid."))
    create_agent(model, [pay], middleware=[go_on]).invoke({"messages": [("user", "Pay!")]})


def a_failing_model() -> None:
    model = ScriptedChatModel(call("search", q="x"), fail(TimeoutError("too slow\n\x00 \u2028'\"")))
    create_agent(model, [search]).invoke({"messages": [("user", "Search!")]})


def an_argument_with_a_default() -> None:
    model = ScriptedChatModel(reply(call("search", q="x"), call("search", q="y", limit=1)), call("search", q="x"), say("Done."))
    create_agent(model, [search]).invoke({"messages": [("user", "Search!")]})


def several_models() -> None:
    for name, text in (("a", "one"), ("b", "two"), ("a", "three")):
        ScriptedChatModel(text, model_name=name).invoke(f"say {text}")


def no_agent() -> None:
    search.invoke({"q": "first"})
    ScriptedChatModel("one").invoke("say one")
    with contextlib.suppress(ValueError):
        pay.invoke({"amount": 2.0})
    with contextlib.suppress(TimeoutError):
        ScriptedChatModel(fail(TimeoutError("slow"))).invoke("say two")
    ScriptedChatModel(say("three")).invoke("say three")


PROGRAMS = [handled, a_failing_model, an_argument_with_a_default, several_models, no_agent]


def an_agent_in_a_tool() -> None:
    inner = create_agent(ScriptedChatModel(call("search", q="x"), say("Inner."), model_name="b"), [search])
    delegate = StructuredTool.from_function(lambda task: inner.invoke({"messages": [task]}), name="delegate", description="d")
    create_agent(ScriptedChatModel(call("delegate", task="go"), say("Outer.")), [delegate]).invoke({"messages": [("user", "hi")]})


class City(BaseModel):
    """A city."""

    name: str


def a_structured_answer() -> None:
    create_agent(ScriptedChatModel(call("City", name="Paris")), [search], response_format=City).invoke(
        {"messages": [("user", "hi")]}
    )


def an_empty_answer() -> None:
    create_agent(ScriptedChatModel(""), []).invoke({"messages": [("user", "hi")]})


def a_stream_that_is_left() -> None:
    stream = ScriptedChatModel("one two three").stream("hi")
    next(stream)
    stream.close()


def a_stream_that_breaks() -> None:
    with contextlib.suppress(ConnectionError):
        list(ScriptedChatModel(say("one two").then_fail(ConnectionError("cut"))).stream("hi"))


def tries() -> None:
    model = ScriptedChatModel(fail(ValueError("x")), "ok")
    model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("hi")


def a_tool_that_handles_its_error() -> None:
    def refuse(q: str) -> str:
        raise ToolException(q)

    refusing = StructuredTool.from_function(refuse, description="r", handle_tool_error=True)
    create_agent(ScriptedChatModel(call("refuse", q="x"), "Refused."), [refusing]).invoke({"messages": [("user", "hi")]})


def a_text_model() -> None:
    ScriptedLLM("text").invoke("hi")


def turns() -> None:
    agent = create_agent(ScriptedChatModel(call("search", q="1"), "One.", call("search", q="2"), "Two."), [search])
    for _ in range(2):
        agent.invoke({"messages": [("user", "hi")]})


def an_error_of_a_provider() -> None:
    class RateLimitError(Exception):
        status_code = 429

    with contextlib.suppress(RateLimitError):
        model = ScriptedChatModel(call("search", q="1"), fail(RateLimitError("a\nb")))
        create_agent(model, [search]).invoke({"messages": [("user", "hi")]})


def a_later_error() -> None:
    create_agent(ScriptedChatModel(call("search", q="1"), "One."), [search]).invoke({"messages": [("user", "hi")]})
    raise KeyError("after")


def an_error_of_several_lines() -> None:
    def bang(q: str) -> str:
        raise RuntimeError("a 'b'\n\"c\" (d.*[")

    create_agent(ScriptedChatModel(call("bang", q="x")), [StructuredTool.from_function(bang, description="b")]).invoke(
        {"messages": [("user", "hi")]}
    )


def an_error_without_a_text() -> None:
    def bang(q: str) -> str:
        raise RuntimeError

    create_agent(ScriptedChatModel(call("bang", q="x")), [StructuredTool.from_function(bang, description="b")]).invoke(
        {"messages": [("user", "hi")]}
    )


ODD_PROGRAMS = {
    an_agent_in_a_tool: False,
    a_structured_answer: True,
    an_empty_answer: True,
    a_stream_that_is_left: False,
    a_stream_that_breaks: False,
    tries: True,
    a_tool_that_handles_its_error: False,
    a_text_model: False,
    turns: True,
    an_error_of_a_provider: False,
    a_later_error: True,
    an_error_of_several_lines: True,
    an_error_without_a_text: True,
}
"""Whether the tree of each is that of the stand-in, if callbacks have recorded it."""


@pytest.mark.parametrize("content", ["recorded", "messages", "none"])
@pytest.mark.parametrize("program", ODD_PROGRAMS, ids=lambda program: program.__name__)
def test_the_test_of_an_odd_incident_passes_at_once(program: Any, content: Any, pytester: pytest.Pytester) -> None:
    with record() as recording, contextlib.suppress(KeyError, RuntimeError):
        RunnableLambda(lambda _: program()).with_config(run_name="x").invoke(1)
    (trace,) = traces_of(recording)
    found = masked(recording) if content == "recorded" else one_of(recordings_of(spans_of(trace, Options(content))))

    made = reproduce(found, "x", "trace 1")

    if content == "recorded":
        assert (COMPARES in made.files["test_x.py"]) is ODD_PROGRAMS[program]
    run(made.files, pytester).assert_outcomes(passed=1)


def one_of(found: list[Recording]) -> Recording:
    (recording,) = found
    return recording


def test_another_error_than_that_of_the_incident_fails(pytester: pytest.Pytester) -> None:
    with record() as recording, contextlib.suppress(KeyError):
        RunnableLambda(lambda _: a_later_error()).with_config(run_name="x").invoke(1)
    files = dict(reproduce(recording, "x", "trace 1").files)
    files["test_x.py"] = files["test_x.py"].replace("raise RuntimeError(", "raise RuntimeError('another') #")

    run(files, pytester).assert_outcomes(failed=1)


@pytest.mark.parametrize("options", [None, Options("messages"), Options("messages", "openinference")], ids=str)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_test_of_an_incident_passes_at_once(program: Any, options: Options | None, pytester: pytest.Pytester) -> None:
    with record() as recording, contextlib.suppress(TimeoutError):
        RunnableLambda(lambda _: program()).with_config(run_name="²" + "x" * 300 + '\\""" {y}\n').invoke(1)
    if options is not None:
        (recording,) = recordings_of(spans_of(recording, options))

    made = reproduce(recording, f"{recording.roots[0].name} 12345678", "trace 1")

    assert made.name == f"{'x' * 50}_12345678"
    source = made.files[f"test_{made.name}.py"]
    # What no agent did, and spans do not order, has no tree to hold the test to.
    assert (COMPARES in source) is (options is None or program not in (several_models, no_agent))
    run(made.files, pytester).assert_outcomes(passed=1)


def test_another_tree_than_that_of_the_incident_fails(pytester: pytest.Pytester) -> None:
    with record() as recording:
        an_argument_with_a_default()
    files = dict(reproduce(recording, "x", "trace 1").files)
    before, head, tree = files["test_x.py"].partition("TREE = [")
    files["test_x.py"] = before + head + tree.replace("tool search(limit=1", "tool search(limit=2", 1)

    result = run(files, pytester)

    result.assert_outcomes(failed=1)


def test_a_call_that_the_incident_has_not_is_a_clear_failure(pytester: pytest.Pytester) -> None:
    with record() as recording:
        an_argument_with_a_default()
    files = dict(reproduce(recording, "x", "trace 1").files)
    files["test_x.py"] = files["test_x.py"].replace("[({'q': 'x'}", "[({'q': 'z'}", 1)

    result = run(files, pytester)

    result.assert_outcomes(failed=1)
    assert "Failed: the incident has no such call of search, or no more of them: {'q': 'x'" in result.stdout.str()
