"""From an incident to a test. Incidents of each tool become tests that run: tests/otel/test_exports.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, call, record, reply, say
from llmtest.errors import OtelError
from llmtest.otel import recordings_of
from llmtest.otel.reproduce import TODO, reproduce
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


def test_a_failing_tool_fails_again(pytester: pytest.Pytester) -> None:
    made = reproduce(incident(), "paying", "trace 1")

    assert set(made.files) == {"paying.yaml", "paying.tree", "test_paying.py"}
    assert made.files["paying.tree"] == f"{HEADER}\n{made.tree}"
    source = made.files["test_paying.py"]
    assert "system_prompt='Be kind.'" in source
    assert "'pay': {'amount': float}" in source
    assert "'fails': 'ValueError: no money'" in source
    assert "    before('search', 'pay'),\n" in source
    assert made.headline == "2 model calls, 2 tool calls, 0 things left to do"
    result = run(made.files, pytester)
    result.assert_outcomes(failed=1)
    assert "RuntimeError: ValueError: no money" in result.stdout.str()


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


def test_several_models_are_said() -> None:
    with record() as recording:
        for name in ("a", "b"):
            ScriptedChatModel("hi", model_name=name).invoke("hi")

    assert reproduce(recording, "x", "y").todo == [
        "the trace has calls of 2 models (a, b), and the stand-in has one model for all"
    ]


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
