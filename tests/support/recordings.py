"""Recordings for tests of the protocol: small correct ones, and copies with wrong events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import CallbackManager, dispatch_custom_event
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables import RunnableLambda

from llmtest import Recording, ScriptedChatModel, call, record, say
from llmtest.capture.blocks import RawEvent
from llmtest.protocol import check

BOTH = (call("weather", city="Paris"), call("weather", city="Rome"))


def doctored(recording: Recording, change: Callable[[list[RawEvent]], Any]) -> Recording:
    """A closed recording whose raw events are those of `recording`, after `change` has been at them."""
    copy = Recording()
    copy._raw.extend(recording._raw)
    change(copy._raw)
    copy.close()
    return copy


def rules(recording: Recording) -> list[str]:
    return [one.code for one in check(recording)]


def texts(recording: Recording) -> list[str]:
    return [one.text for one in check(recording)]


def greeted() -> Recording:
    """A chain of a function and a chat model that streams."""
    chain = RunnableLambda(str).with_config(run_name="read") | ScriptedChatModel(say("Hel", "lo"), streaming=True)
    with record() as recording:
        chain.with_config(run_name="greet").invoke("hi")
    return recording


def streamed(tokens: list[Any], *generations: ChatGeneration | Generation) -> Recording:
    manager = CallbackManager
    with record() as recording:
        if isinstance(generations[0], ChatGeneration):
            (run,) = manager.configure().on_chat_model_start({"name": "model"}, [[]])
        else:
            (run,) = manager.configure().on_llm_start({"name": "model"}, ["hi"])
        for token in tokens:
            run.on_llm_new_token(token)
        run.on_llm_end(LLMResult(generations=[list(generations)]))
    return recording


def tells(value: Any) -> Any:
    dispatch_custom_event("note", "a note")
    return value
