"""Whatever a program hands to its callbacks: no value keeps an event out of the recording, or makes it unreadable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk, LLMResult

from llmtest import record


class Broken:
    """It has no text, equals nothing, and has no fields."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparing")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["me"] = circle
    return circle


def _odd(message: Any, **fields: Any) -> Any:
    """A message that somebody has changed past its checks."""
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def _tool_message(artifact: Any) -> ToolMessage:
    return ToolMessage("x", tool_call_id="1", artifact=artifact)


def _result(*generations: Any, output: Any = None) -> LLMResult:
    return LLMResult.model_construct(generations=[list(generations)], llm_output=output)


def _answer(**fields: Any) -> LLMResult:
    return _result(ChatGeneration.model_construct(message=_odd(AIMessage("x"), **fields), text="x"))


COUNTS: list[Any] = [
    {"input_tokens": None, "output_tokens": 2},
    {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_token_details": {"cache_read": None}},
    {"input_tokens": "x", "input_token_details": [1]},
    [1],
]
MESSAGES: list[Any] = [
    {"role": "user", "content": "hi"},
    ("user", "hi"),
    _tool_message(np.arange(3)),
    _tool_message(Broken()),
    AIMessage("x", additional_kwargs=_circle()),
    AIMessage.model_construct(),
    _odd(AIMessage("x"), content=[None, 5, {"type": "text", "text": None}], additional_kwargs=None, name=Broken()),
    _odd(AIMessage("x"), tool_calls=[{"name": "a"}, {"args": None}, 5]),
    *(_odd(AIMessage("x"), usage_metadata=counts) for counts in COUNTS),
]
CHUNKS: list[Any] = [
    *("text", {"x": 1}, ["x"], 5, Broken(), AIMessageChunk("x"), GenerationChunk(text="x")),
    *(ChatGenerationChunk.model_construct(message=_odd(AIMessageChunk("x"), usage_metadata=counts)) for counts in COUNTS),
]
ENDS: list[Any] = [
    *(None, {"generations": []}, _result({"text": "x"}), LLMResult.model_construct(generations=[Generation(text="x")])),
    *(
        _result(Generation(text="x"), output=output)
        for output in (5, {"token_usage": 5}, {"token_usage": {"prompt_tokens": None}})
    ),
    *(_answer(usage_metadata=counts) for counts in COUNTS),
    *(_answer(additional_kwargs=_circle()), _answer(content=None), _answer(tool_calls=[5]), _answer(response_metadata=[1])),
]
PARAMETERS: list[Any] = [
    *([1], {"tools": Broken(), "stop": Broken()}, {"tools": [Broken(), {"function": None}, None]}),
    {"tools": [{"name": "x", "default": np.arange(3)}]},
]
HANDED: dict[str, tuple[Callable[[Any, Any, Any], Any], list[Any]]] = {
    "prompt": (lambda manager, run, value: [manager.on_chat_model_start({}, [[value]]) for _ in range(2)], MESSAGES),
    "chunk": (lambda manager, run, value: run.on_llm_new_token("x", chunk=value), CHUNKS),
    "token": (lambda manager, run, value: run.on_llm_new_token(value), [None, 5, ["a", {"type": "text", "text": "b"}], Broken()]),
    "result": (lambda manager, run, value: run.on_llm_end(value), ENDS),
    "so far": (lambda manager, run, value: run.on_llm_error(KeyError("x"), response=value), [*ENDS, "text"]),
    "error": (lambda manager, run, value: run.on_llm_error(value), [BrokenError(), ValueError(Broken()), "text", None]),
    "serialized": (lambda manager, run, value: manager.on_chain_start(value, 1), ["a", {"id": "a"}, {"id": []}, {"name": 5}, 5]),
    "parameters": (lambda m, run, value: [m.on_llm_start({}, ["x"], invocation_params=value) for _ in range(2)], PARAMETERS),
    "tags": (lambda m, run, value: _tagged(m, value).on_chain_start({}, 1), [None, [3, None, "a"]]),
    "inputs": (lambda manager, run, value: manager.on_chain_start({}, value), [Broken(), _circle(), {1: Broken()}, np.arange(3)]),
    "tool": (lambda manager, run, value: manager.on_tool_start({}, value).on_tool_end(value), [Broken(), None, 5]),
    "query": (lambda manager, run, value: manager.on_retriever_start({}, value).on_retriever_end(value), [Broken(), None, "x"]),
    "text": (lambda manager, run, value: manager.on_chain_start({}, 1).on_text(value), [Broken(), None]),
    "action": (lambda manager, run, value: manager.on_chain_start({}, 1).on_agent_action(value), [{"tool": "x"}, None]),
    "finish": (lambda manager, run, value: manager.on_chain_start({}, 1).on_agent_finish(value), [{"log": "x"}, None]),
    "retry": (lambda manager, run, value: run.on_retry(value), ["x", None]),
    "event name": (lambda manager, run, value: manager.on_custom_event(value, value, run_id=run.run_id), [5, Broken(), None]),
    "stream event": (lambda manager, run, value: run.on_stream_event(value), [None, 5, {"event": 5}, {"a": Broken()}]),
}


def _tagged(manager: Any, tags: Any) -> Any:
    manager.tags = tags
    return manager


@pytest.mark.llm_waive("stream event out of order", reason="odd values are no stream events")
@pytest.mark.parametrize("what", HANDED)
def test_no_value_keeps_an_event_out_of_the_recording_or_makes_it_unreadable(what: str, caplog: pytest.LogCaptureFixture) -> None:
    tell, values = HANDED[what]

    class Counts(BaseCallbackHandler):
        seen = 0

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                Counts.seen += 1
                return lambda *args, **kwargs: None
            return super().__getattribute__(name)

    with record() as recording:
        for value in values:
            manager = CallbackManager.configure([Counts()])
            tell(manager, manager.on_chat_model_start({"name": "m"}, [[HumanMessage("x")]])[0], value)

    assert [entry.getMessage() for entry in caplog.records] == []
    assert len(list(recording)) == Counts.seen
    assert str(recording).count("\n") >= len(values)
    assert [(run.input, run.output, run.usage, run.error) for run in recording.runs] != []
