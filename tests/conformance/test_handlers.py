"""check_handler: handlers that are right pass, and each that is wrong is told so, with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from langchain_classic.callbacks import AsyncIteratorCallbackHandler
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    FileCallbackHandler,
    StdOutCallbackHandler,
    StreamingStdOutCallbackHandler,
    UsageMetadataCallbackHandler,
)
from langchain_core.tracers.event_stream import _AstreamEventsCallbackHandler
from langchain_core.tracers.log_stream import LogStreamCallbackHandler
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.stdout import ConsoleCallbackHandler
from langgraph.callbacks import GraphCallbackHandler

from llmtest import record
from llmtest.conformance import check_handler
from tests.support.conforming import handler_told as told


@pytest.mark.parametrize(
    "make",
    [
        BaseCallbackHandler,
        AsyncCallbackHandler,
        GraphCallbackHandler,
        StdOutCallbackHandler,
        StreamingStdOutCallbackHandler,
        UsageMetadataCallbackHandler,
        RunCollectorCallbackHandler,
        AsyncIteratorCallbackHandler,
    ],
)
def test_langchains_own_handlers_pass(make: Callable[[], Any]) -> None:
    check_handler(make)


def test_langchains_file_handler_fails_on_a_chain_without_a_name(tmp_path: Path) -> None:
    with ExitStack() as files:
        text = told(lambda: files.enter_context(FileCallbackHandler(str(tmp_path / "log.txt"))))

    lines = text.splitlines()
    assert lines[0] == "`FileCallbackHandler.on_chain_start` raises AttributeError: 'NoneType' object has no attribute 'get'"
    assert lines[2:] == [
        "  when       a chain without a name starts",
        "  LangChain  logs a warning and goes on: the program does not notice",
        "  `serialized` and `name` may both be missing: fall back to a name of your own",
    ]


def test_langchains_console_handler_fails_on_tools_with_arguments() -> None:
    text = told(ConsoleCallbackHandler)

    lines = text.splitlines()
    assert lines[0] == "`ConsoleCallbackHandler.on_tool_start` raises KeyError: 'input'"
    assert lines[2] == "  when       a tool runs, and in 2 more of 37 programs"
    assert "\n\n" not in text


# -- what it does not disturb


def test_an_open_recording_sees_nothing_of_a_check() -> None:
    with record() as recording:
        check_handler(BaseCallbackHandler)

    assert recording.kinds == []
    assert recording.late_events == []
    assert recording.unseen_calls == []


# Handlers of LangChain's own streams: where no loop runs, each makes one that it never closes.
@pytest.mark.parametrize("make", [LogStreamCallbackHandler, _AstreamEventsCallbackHandler])
def test_a_check_can_be_made_in_async_code(make: Callable[[], Any]) -> None:
    async def program() -> None:
        check_handler(make)

    asyncio.run(program())


def test_what_the_maker_raises_goes_on() -> None:
    def make() -> BaseCallbackHandler:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        check_handler(make)


# -- callbacks that cannot be called, or never are


class Misnamed(BaseCallbackHandler):
    def on_chat_model_end(self, response: Any, **kwargs: Any) -> None: ...
    def on_interrupt(self, event: Any) -> None: ...
    def on_llm_token(self, token: Any, **kwargs: Any) -> None: ...
    def on_customevent(self, name: Any, data: Any, **kwargs: Any) -> None: ...
    def on_flush(self) -> None: ...


def test_a_name_that_is_no_callback_is_told_with_the_nearest() -> None:
    assert told(Misnamed) == (
        "`Misnamed.on_chat_model_end` is never called: LangChain has no such callback; did you mean `on_llm_end`?\n"
        "  at         test_handlers.py:N  def on_chat_model_end(self, response: Any, **kwargs: Any) -> None: ...\n"
        "  if it is your own, give it a name that does not look like a callback\n"
        "\n"
        "`Misnamed.on_customevent` is never called: LangChain has no such callback; did you mean `on_custom_event`?\n"
        "  at         test_handlers.py:N  def on_customevent(self, name: Any, data: Any, **kwargs: Any) -> None: ...\n"
        "  if it is your own, give it a name that does not look like a callback\n"
        "\n"
        "`Misnamed.on_interrupt` is never called: LangGraph tells GraphCallbackHandlers only\n"
        "  at         test_handlers.py:N  def on_interrupt(self, event: Any) -> None: ...\n"
        "  derive the handler from langgraph.callbacks.GraphCallbackHandler\n"
        "\n"
        "`Misnamed.on_llm_token` is never called: LangChain has no such callback; did you mean `on_llm_new_token`?\n"
        "  at         test_handlers.py:N  def on_llm_token(self, token: Any, **kwargs: Any) -> None: ...\n"
        "  if it is your own, give it a name that does not look like a callback"
    )


class NoAgents(BaseCallbackHandler):
    ignore_agent = True

    def on_tool_start(self, serialized: Any, input_str: Any, **kw: Any) -> None: ...
    def on_tool_end(self, output: Any, **kwargs: Any) -> None: ...


class NoRetry(BaseCallbackHandler):
    ignore_retry = True

    def on_retry(self, retry_state: Any, **kwargs: Any) -> None: ...


def test_a_flag_that_turns_off_what_the_class_overrides_is_told() -> None:
    assert told(NoAgents) == (
        "`NoAgents.on_tool_start` and 1 more are never called: `ignore_agent` is true\n"
        "  at         test_handlers.py:N  def on_tool_start(self, serialized: Any, input_str: Any, **kw: Any) -> None: ...\n"
        "  turns off  on_tool_start, on_tool_end, on_tool_error, on_agent_action, on_agent_finish\n"
        "  it is the flag of tools, too"
    )
    assert told(NoRetry) == (
        "`NoRetry.on_retry` is never called: `ignore_retry` is true\n"
        "  at         test_handlers.py:N  def on_retry(self, retry_state: Any, **kwargs: Any) -> None: ...\n"
        "  turns off  on_retry\n"
        "  drop the flag, or the method"
    )


class Loud(BaseCallbackHandler):
    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None: ...
    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None: ...


class Quieter(Loud):
    """Turns off what it inherits."""

    ignore_llm = ignore_chat_model = ignore_chain = True


class Switchable(BaseCallbackHandler):
    ignore_retriever = False

    def __init__(self) -> None:
        self.ignore_retriever = True

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("make", [Quieter, Switchable])
def test_a_flag_that_is_meant_is_no_fault(make: Callable[[], Any]) -> None:
    check_handler(make)


class HalfOff(BaseCallbackHandler):
    ignore_chat_model = True

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None: ...
    def on_llm_end(self, response: Any, **kwargs: Any) -> None: ...


def test_a_flag_that_hides_starts_and_not_ends_is_told() -> None:
    assert told(HalfOff) == (
        "`HalfOff` sees the ends of chat models, and never their starts: `ignore_chat_model` is true, `ignore_llm` is not\n"
        "  tokens, ends and errors of chat models are under `ignore_llm`: set both flags, or none"
    )


# -- what a handler does to others


class Taps(BaseCallbackHandler):
    def tap_output_iter(self, run_id: Any, output: Any) -> Any:
        return output

    def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
        return output


def test_a_handler_that_makes_models_stream_is_told() -> None:
    assert told(Taps) == (
        "`Taps` makes models stream: it has `tap_output_iter` and `tap_output_aiter`\n"
        "  LangChain  takes whatever has these two for its own handler of streams: `invoke` calls `_stream`, and sends tokens\n"
        "  give one of them another name"
    )


# -- what is no handler


class Duck:
    def on_llm_end(self, response: Any, **kwargs: Any) -> None: ...


def test_a_class_that_is_no_handler_is_told() -> None:
    assert told(Duck) == (
        "`Duck` is no callback handler\n"
        "  LangChain  asks it for flags such as `ignore_llm`, which it lacks, logs a warning each time, and calls nothing\n"
        "  derive it from langchain_core.callbacks.BaseCallbackHandler"
    )


@pytest.mark.parametrize("make", [MagicMock, lambda: MagicMock(spec=BaseCallbackHandler)])
def test_a_mock_is_no_handler(make: Callable[[], Any]) -> None:
    assert told(make) == (
        "`MagicMock` is no callback handler\n"
        "  LangChain  finds its `ignore_*` flags true, as every attribute of a mock is, and calls nothing: "
        "a test with it sees nothing\n"
        "  llmtest.record() shows which callbacks fire; a handler is derived from BaseCallbackHandler"
    )


def test_the_same_handler_again_is_told() -> None:
    handler = StdOutCallbackHandler()

    assert told(lambda: handler) == (
        "the function that makes `StdOutCallbackHandler` returns the same one again\n"
        "  each program needs one of its own: check_handler(MyHandler), or check_handler(lambda: MyHandler(path))"
    )


def test_a_handler_in_place_of_its_maker_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        check_handler(UsageMetadataCallbackHandler())

    assert str(caught.value) == (
        "check_handler() takes a class or a function that makes handlers; got UsageMetadataCallbackHandler {}"
    )
