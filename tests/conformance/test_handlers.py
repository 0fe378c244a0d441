"""check_handler: handlers that are right pass, and each that is wrong is told so, with the reason."""

from __future__ import annotations

import asyncio
import functools
import logging
import operator
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from contextvars import Context, ContextVar
from dataclasses import dataclass
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
from langchain_core.callbacks.manager import CallbackManager
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.event_stream import _AstreamEventsCallbackHandler
from langchain_core.tracers.log_stream import LogStreamCallbackHandler
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.stdout import ConsoleCallbackHandler
from langgraph.callbacks import GraphCallbackHandler

from llmtest import ViolationError, record
from llmtest.conformance import check_handler
from llmtest.conformance.probe import WAYS
from llmtest.events.callbacks import CALLBACKS

# A program that has not ended by then never will.
SOON_S = 2.0


def told(make: Callable[[], Any], timeout_s: float = 5.0) -> str:
    """What a check says, with the lines of this file without their numbers."""
    with pytest.raises(ViolationError) as caught:
        check_handler(make, timeout_s=timeout_s)
    return re.sub(r"\S*test_handlers\.py:\d+", "test_handlers.py:N", str(caught.value))


def rules(make: Callable[[], Any]) -> list[str]:
    with pytest.raises(ViolationError) as caught:
        check_handler(make)
    return [violation.code for violation in caught.value.violations]


# -- handlers that are right


class Collector(GraphCallbackHandler):
    """Overrides every callback, and keeps what it was given."""

    def __init__(self, seen: list[tuple[str, dict[str, Any]]]) -> None:
        self.seen = seen


class AsyncCollector(AsyncCallbackHandler, GraphCallbackHandler):
    def __init__(self, seen: list[tuple[str, dict[str, Any]]]) -> None:
        self.seen = seen


class MixedCollector(GraphCallbackHandler):
    """Of the plain class, and every second callback is a coroutine function."""

    def __init__(self, seen: list[tuple[str, dict[str, Any]]]) -> None:
        self.seen = seen


@dataclass(frozen=True, eq=False)
class FrozenCollector(GraphCallbackHandler):
    seen: list[tuple[str, dict[str, Any]]]


def _collects(name: str) -> Any:
    def collect(self: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.append((name, {**dict(zip(CALLBACKS[name].positional, args, strict=False)), **kwargs}))

    return collect


def _collects_later(name: str) -> Any:
    async def collect(self: Any, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        _collects(name)(self, *args, **kwargs)

    return collect


for _number, _name in enumerate(CALLBACKS):
    setattr(Collector, _name, _collects(_name))
    setattr(FrozenCollector, _name, _collects(_name))
    setattr(AsyncCollector, _name, _collects_later(_name))
    setattr(MixedCollector, _name, (_collects, _collects_later)[_number % 2](_name))


@pytest.mark.parametrize("kind", [Collector, FrozenCollector, AsyncCollector, MixedCollector])
def test_every_callback_is_driven(kind: type[Any]) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    check_handler(lambda: kind(seen))

    known = {name for name in CALLBACKS if hasattr(GraphCallbackHandler, name)}
    assert {name for name, _ in seen} == known
    assert min([name for name, _ in seen].count(name) for name in known) >= len(WAYS)


def test_callbacks_get_values_of_every_kind_that_langchain_passes() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    check_handler(lambda: Collector(seen))

    def kinds(callback: str, key: str) -> set[str]:
        return {type(given.get(key)).__name__ for name, given in seen if name == callback}

    assert kinds("on_chain_start", "serialized") == {"NoneType", "dict"}
    assert kinds("on_chain_start", "inputs") >= {"dict", "str", "list", "NoneType", "int", "AIMessage", "Thing"}
    assert kinds("on_chain_start", "name") == {"NoneType", "str"}
    assert kinds("on_chain_end", "outputs") >= {"dict", "str", "list", "NoneType", "int", "AIMessage", "Thing"}
    assert kinds("on_llm_new_token", "token") == {"str", "list"}
    assert kinds("on_llm_new_token", "chunk") == {"NoneType", "GenerationChunk", "ChatGenerationChunk"}
    assert "" in [given["token"] for name, given in seen if name == "on_llm_new_token"]
    assert {0, 1, 2} == {len(given["response"].generations[0]) for name, given in seen if name == "on_llm_end"}
    assert None in [given["response"].llm_output for name, given in seen if name == "on_llm_end"]
    assert kinds("on_tool_start", "inputs") == {"NoneType", "dict"}
    assert kinds("on_tool_end", "output") == {"str", "ToolMessage", "dict", "list", "NoneType", "Thing"}
    stopped = {"PlannedError", "CancelledError", "GeneratorExit", "KeyboardInterrupt"}
    assert kinds("on_chain_error", "error") == {*stopped, "GraphInterrupt"}
    assert kinds("on_llm_error", "error") == kinds("on_tool_error", "error") == stopped
    assert kinds("on_custom_event", "data") == {"dict", "str", "NoneType", "Thing"}


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


# -- callbacks that raise


class Guide(BaseCallbackHandler):
    """Names runs as old guides to callbacks do."""

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.last = serialized["name"]

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.last = serialized["name"]


def test_serialized_may_be_none_and_without_a_name() -> None:
    assert told(Guide) == (
        "`Guide.on_chain_start` raises TypeError: 'NoneType' object is not subscriptable\n"
        '  at         test_handlers.py:N  self.last = serialized["name"]\n'
        "  when       a chain runs, and in 10 more of 37 programs\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  `serialized` is None for nearly every chain; the name of a run is `kwargs.get('name')`, or else in `serialized`\n"
        "\n"
        "`Guide.on_llm_start` raises KeyError: 'name'\n"
        '  at         test_handlers.py:N  self.last = serialized["name"]\n'
        "  when       models without a name start\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  look for the name of a run in `kwargs.get('name')`, in `serialized['name']`, and at the end of `serialized['id']`"
    )


class Buffer(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.text = ""

    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.text += token


def test_a_token_may_be_a_list() -> None:
    assert told(Buffer) == (
        '`Buffer.on_llm_new_token` raises TypeError: can only concatenate str (not "list") to str\n'
        "  at         test_handlers.py:N  self.text += token\n"
        "  when       a chat model streams content blocks\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  a token may be a list of content blocks (Anthropic, OpenAI's Responses API): take the text from `chunk.text`"
    )


class OneRun(BaseCallbackHandler):
    def on_tool_start(self, serialized: Any, input_str: Any, **kwargs: Any) -> None:
        self.tool = serialized["name"]

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        del self.tool

    on_tool_error = on_tool_end


def test_one_handler_sees_many_runs_at_once() -> None:
    assert told(OneRun) == (
        "`OneRun.on_tool_end` raises AttributeError: 'OneRun' object has no attribute 'tool'\n"
        "  at         test_handlers.py:N  del self.tool\n"
        "  when       two runs are open at once\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  one handler sees many runs, side by side: keep what you know of a run under its `run_id`"
    )


def _no_loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


class Loopless(BaseCallbackHandler):
    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        if not _no_loop_runs():
            raise RuntimeError("a loop is running")


def test_a_fault_says_in_which_code_it_happens() -> None:
    assert told(Loopless) == (
        "`Loopless.on_chain_end` raises RuntimeError: a loop is running\n"
        '  at         test_handlers.py:N  raise RuntimeError("a loop is running")\n'
        "  when       a chain runs, and in 9 more of 37 programs\n"
        "  only       in sync code that async code called\n"
        "  LangChain  logs a warning and goes on: the program does not notice"
    )


class Loud(AsyncCallbackHandler):
    raise_error = True

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        raise ValueError

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        raise ValueError

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt


def test_a_fault_says_what_langchain_does_with_it() -> None:
    does = re.findall(r"^`(\S+)` .*|^  LangChain  (.*)", told(Loud), re.MULTILINE)

    assert ["".join(pair) for pair in does] == [
        "Loud.on_chain_start",
        "raises it in the program: `raise_error` is true",
        "Loud.on_llm_end",
        "logs a warning and goes on: the program does not notice, although `raise_error` is true: "
        "it comes from a coroutine, in sync code",
        "Loud.on_tool_end",
        "does not catch it: it ends the program's run",
        "Loud.on_retriever_end",
        "logs a warning and goes on: the program does not notice, although `raise_error` is true: it is a NotImplementedError",
    ]


def test_langchain_does_with_it_what_a_fault_says(caplog: pytest.LogCaptureFixture) -> None:
    manager = CallbackManager([Loud()])
    quiet = CallbackManager([Guide()])

    with caplog.at_level(logging.WARNING, "langchain_core.callbacks.manager"):
        with pytest.raises(ValueError):
            manager.on_chain_start(None, {})
        with pytest.raises(KeyboardInterrupt):
            manager.on_tool_start({}, "x").on_tool_end("18C")
        manager.on_retriever_start(None, "cats").on_retriever_end([])
        manager.on_llm_start({}, ["hi"])[0].on_llm_end(LLMResult(generations=[]))
        quiet.on_chain_start(None, {})

    assert [line.getMessage() for line in caplog.records] == [
        "Error in Loud.on_chain_start callback: ValueError()",
        "NotImplementedError in Loud.on_retriever_end callback: NotImplementedError()",
        "Error in callback coroutine: ValueError()",
        """Error in Guide.on_chain_start callback: TypeError("'NoneType' object is not subscriptable")""",
    ]


class Coded(BaseCallbackHandler):
    """Its callback is no function of Python."""

    on_text = operator.methodcaller("on_words")


def test_a_callback_that_is_no_python_function_is_told_without_a_line() -> None:
    assert told(Coded) == (
        "`Coded.on_text` cannot be called: takes no keyword arguments\n"
        "  when       a chain says text\n"
        "  called     on_text(text, run_id=, parent_run_id=, tags=, color=, end=, verbose=)\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  declare it `def on_text(self, text, **kwargs)`: LangChain passes some of it by keyword"
    )


# -- callbacks that cannot be called, or never are


class Renamed(BaseCallbackHandler):
    def on_llm_new_token(self, tok: str, **kwargs: Any) -> None: ...


def test_a_token_comes_by_keyword_in_sync_code() -> None:
    assert told(Renamed) == (
        "`Renamed.on_llm_new_token` cannot be called: missing 1 required positional argument: 'tok'\n"
        "  at         test_handlers.py:N  def on_llm_new_token(self, tok: str, **kwargs: Any) -> None: ...\n"
        "  when       a chat model streams, and in 9 more of 37 programs\n"
        "  only       in sync code, and in sync code that async code called\n"
        "  called     on_llm_new_token(token=, run_id=, parent_run_id=, tags=, chunk=)\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  declare it `def on_llm_new_token(self, token, **kwargs)`: LangChain passes some of it by keyword"
    )


class Narrow(AsyncCallbackHandler):
    async def on_tool_end(self, output: Any) -> None: ...


def test_a_callback_takes_keywords() -> None:
    assert told(Narrow) == (
        "`Narrow.on_tool_end` cannot be called: got an unexpected keyword argument 'run_id'\n"
        "  at         test_handlers.py:N  async def on_tool_end(self, output: Any) -> None: ...\n"
        "  when       a tool runs, and in 3 more of 37 programs\n"
        "  called     on_tool_end(output, run_id=, parent_run_id=, tags=, color=, name=)\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  declare it `def on_tool_end(self, output, **kwargs)`: LangChain passes some of it by keyword"
    )


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


class Quieter(Guide):
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


class Yields(BaseCallbackHandler):
    def on_llm_new_token(self, token: Any, **kwargs: Any) -> Iterator[Any]:
        yield token


class YieldsLater(AsyncCallbackHandler):
    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> AsyncIterator[Any]:
        yield token


@pytest.mark.parametrize("kind", [Yields, YieldsLater])
def test_a_callback_with_a_yield_never_runs(kind: type[Any]) -> None:
    lines = told(kind).splitlines()

    assert (
        lines[0] == f"`{kind.__name__}.on_llm_new_token` never runs: it has a `yield`, so that calling it only makes a generator"
    )
    assert lines[2:] == [
        "  when       a chat model streams, and in 9 more of 37 programs",
        "  LangChain does not iterate over what a callback returns: put the values into a list or a queue",
    ]


def logged(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Decorated(AsyncCallbackHandler):
    @logged
    async def on_text(self, text: str, **kwargs: Any) -> None:
        if not text:
            raise ValueError("no text")


def test_a_coroutine_that_a_plain_function_returns_runs_in_sync_code_only() -> None:
    assert told(Decorated) == (
        "`Decorated.on_text` raises ValueError: no text\n"
        '  at         test_handlers.py:N  raise ValueError("no text")\n'
        "  when       a chain says text\n"
        "  only       in sync code, and in sync code that async code called\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  `color`, `end` and `verbose` come as keywords, or not at all\n"
        "\n"
        "`Decorated.on_text` never runs: it is no coroutine function, so that nobody awaits the coroutine which it returns\n"
        "  at         test_handlers.py:N  def call(*args: Any, **kwargs: Any) -> Any:\n"
        "  when       a chain says text\n"
        "  only       in async code\n"
        "  declare it with `async def`; if it is, look at its decorators"
    )


# -- what a handler does to others


class Marks(BaseCallbackHandler):
    def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: Any, **kw: Any) -> None:
        tags.append("seen")
        messages[0][-1].content = "hidden"


def test_what_a_handler_changes_is_told() -> None:
    at = "test_handlers.py:N  def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: Any, **kw: Any) -> None:"
    assert told(Marks) == (
        "`Marks.on_chat_model_start` changes `messages[0][0].content`, which it was given\n"
        f"  at         {at}\n"
        "  when       a chat model answers, and in 17 more of 37 programs\n"
        "  before     'hi'\n"
        "  after      'hidden'\n"
        "  the program and every other handler have the same object: copy it before you change it\n"
        "\n"
        "`Marks.on_chat_model_start` changes `tags`, which it was given\n"
        f"  at         {at}\n"
        "  when       a chat model answers, and in 17 more of 37 programs\n"
        "  before     ['checked']\n"
        "  after      ['checked', 'seen']\n"
        "  the program and every other handler have the same object: copy it before you change it"
    )


class Empties(BaseCallbackHandler):
    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        if isinstance(inputs, dict) and "question" in inputs:
            del inputs["question"]


def test_a_program_that_a_handler_breaks_is_told() -> None:
    assert rules(Empties) == ["changes what it was given", "breaks the program", "breaks the program"]
    lines = told(Empties).split("\n\n")[1].splitlines()
    assert lines[0] == "a program fails with `Empties`, and not without it: KeyError: 'question'"
    assert lines[2:] == ["  when       a chain runs"]


REQUEST: ContextVar[str] = ContextVar("request")


class Binds(BaseCallbackHandler):
    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        REQUEST.set("r1")


class BindsInline(Binds):
    run_inline = True


def test_a_context_variable_that_a_handler_sets_is_lost_in_async_code() -> None:
    check_handler(BindsInline)
    assert told(Binds) == (
        "`Binds.on_chain_start` sets the context variable 'request', and nobody sees it\n"
        "  at         test_handlers.py:N  def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:\n"
        "  when       a chain runs, and in 11 more of 37 programs\n"
        "  only       in async code\n"
        "  LangChain  runs it in a task or a thread, with a copy of the program's context\n"
        "  keep it in the handler, under the `run_id`"
    )


def test_langchain_loses_a_context_variable_in_async_code_only() -> None:
    chain = RunnableLambda(lambda _: REQUEST.get("lost"))

    in_async = Context().run(asyncio.run, chain.ainvoke(1, {"callbacks": [Binds()]}))
    in_sync = Context().run(chain.invoke, 1, {"callbacks": [Binds()]})

    assert (in_sync, in_async) == ("r1", "lost")


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


# -- callbacks that block


class Waits(AsyncCallbackHandler):
    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()


def test_a_coroutine_that_waits_for_good_is_told_and_ended() -> None:
    before = threading.active_count()

    text = told(Waits, SOON_S)

    assert threading.active_count() <= before
    assert text == (
        "`Waits.on_llm_end` blocks: it has not returned after 2 s; nothing more was tried\n"
        "  at         test_handlers.py:N  await asyncio.Event().wait()\n"
        "  when       a chat model answers\n"
        "  in sync code LangChain runs a coroutine on a new event loop: it cannot wait for what lives on another"
    )


class Works(AsyncCallbackHandler):
    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        await asyncio.Event().wait()


class LeavesAsyncio(Works):
    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.task = asyncio.create_task(asyncio.Event().wait())


def test_a_task_that_is_left_behind_is_told_and_ended() -> None:
    hint = "in sync code LangChain runs a coroutine on a loop of its own, and waits for every task that it leaves there"

    assert told(Works, SOON_S) == (
        "`Works` keeps a program from ending: it has not ended after 2 s; nothing more was tried\n"
        "  at         test_handlers.py:N  async def work(self) -> None:\n"
        "  when       a chat model answers\n"
        "  left       `Works.work`\n"
        f"  {hint}"
    )
    assert told(LeavesAsyncio, SOON_S) == (
        "`LeavesAsyncio` keeps a program from ending: it has not ended after 2 s; nothing more was tried\n"
        "  when       a chat model answers\n"
        "  left       nothing that is not asyncio's or LangChain's\n"
        f"  {hint}"
    )


class Holds(BaseCallbackHandler):
    """Waits, in async code, for what only the event loop could do; until the test is over."""

    over = threading.Event()
    run_inline = True

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        if not _no_loop_runs():
            self.over.wait()


class HoldsAThread(BaseCallbackHandler):
    """Waits in the threads of the loop's executor; until the test is over."""

    over = threading.Event()

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        if not threading.current_thread().name.startswith("check_handler"):
            self.over.wait()


class HoldsUnseen(BaseCallbackHandler):
    over = threading.Event()

    def __init__(self) -> None:
        self.on_llm_end = functools.partial(self.wait)

    def wait(self, *args: Any, **kwargs: Any) -> None:
        self.over.wait()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            Holds,
            "  at         test_handlers.py:N  self.over.wait()\n"
            "  when       a chat model answers\n"
            "  only       in async code\n"
            "  it runs on the event loop, where nothing else happens until it returns",
        ),
        (
            HoldsAThread,
            "  at         test_handlers.py:N  self.over.wait()\n"
            "  when       a chat model answers\n"
            "  only       in async code\n"
            "  a callback must return: give what takes long to a thread or a task of your own",
        ),
        (
            HoldsUnseen,
            "  when       a chat model answers\n  a callback must return: give what takes long to a thread or a task of your own",
        ),
    ],
)
def test_a_callback_that_blocks_its_thread_is_told_with_where_it_stands(kind: Any, expected: str) -> None:
    try:
        text = told(kind, SOON_S)
    finally:
        kind.over.set()

    assert text == f"`{kind.__name__}.on_llm_end` blocks: it has not returned after 2 s; nothing more was tried\n{expected}"


STUCK = """
import asyncio, threading
from langchain_core.callbacks import BaseCallbackHandler
from llmtest.conformance import check_handler

class Stuck(BaseCallbackHandler):
    def on_chain_end(self, outputs, **kwargs):
        if threading.current_thread().name.startswith("check_handler") is SYNC:
            threading.Event().wait()

try:
    check_handler(Stuck, timeout_s=3)
except AssertionError as error:
    print(str(error).splitlines()[0])
"""


@pytest.mark.parametrize("in_sync_code", [True, False])
def test_a_callback_that_blocks_for_good_does_not_keep_the_process_from_ending(in_sync_code: bool) -> None:
    code = STUCK.replace("SYNC", str(in_sync_code))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (
        0,
        "`Stuck.on_chain_end` blocks: it has not returned after 3 s; nothing more was tried\n",
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
