"""What is seen of a handler while a program runs: what it raises, changes, loses, and blocks on."""

from __future__ import annotations

import asyncio
import functools
import logging
import operator
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import Context, ContextVar
from typing import Any

import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
)
from langchain_core.callbacks.manager import CallbackManager
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableLambda

from llmtest.conformance import check_handler
from tests.support.conforming import handler_rules as rules
from tests.support.conforming import handler_told as told

# A program that has not ended by then never will.
SOON_S = 2.0


class Guide(BaseCallbackHandler):
    """Names runs as old guides to callbacks do."""

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.last = serialized["name"]

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.last = serialized["name"]


def test_serialized_may_be_none_and_without_a_name() -> None:
    assert told(Guide) == (
        "`Guide.on_chain_start` raises TypeError: 'NoneType' object is not subscriptable\n"
        '  at         test_probe.py:N  self.last = serialized["name"]\n'
        "  when       a chain runs, and in 10 more of 37 programs\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  `serialized` is None for nearly every chain; the name of a run is `kwargs.get('name')`, or else in `serialized`\n"
        "\n"
        "`Guide.on_llm_start` raises KeyError: 'name'\n"
        '  at         test_probe.py:N  self.last = serialized["name"]\n'
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
        "  at         test_probe.py:N  self.text += token\n"
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
        "  at         test_probe.py:N  del self.tool\n"
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
        '  at         test_probe.py:N  raise RuntimeError("a loop is running")\n'
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


class Renamed(BaseCallbackHandler):
    def on_llm_new_token(self, tok: str, **kwargs: Any) -> None: ...


def test_a_token_comes_by_keyword_in_sync_code() -> None:
    assert told(Renamed) == (
        "`Renamed.on_llm_new_token` cannot be called: missing 1 required positional argument: 'tok'\n"
        "  at         test_probe.py:N  def on_llm_new_token(self, tok: str, **kwargs: Any) -> None: ...\n"
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
        "  at         test_probe.py:N  async def on_tool_end(self, output: Any) -> None: ...\n"
        "  when       a tool runs, and in 3 more of 37 programs\n"
        "  called     on_tool_end(output, run_id=, parent_run_id=, tags=, color=, name=)\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  declare it `def on_tool_end(self, output, **kwargs)`: LangChain passes some of it by keyword"
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
        '  at         test_probe.py:N  raise ValueError("no text")\n'
        "  when       a chain says text\n"
        "  only       in sync code, and in sync code that async code called\n"
        "  LangChain  logs a warning and goes on: the program does not notice\n"
        "  `color`, `end` and `verbose` come as keywords, or not at all\n"
        "\n"
        "`Decorated.on_text` never runs: it is no coroutine function, so that nobody awaits the coroutine which it returns\n"
        "  at         test_probe.py:N  def call(*args: Any, **kwargs: Any) -> Any:\n"
        "  when       a chain says text\n"
        "  only       in async code\n"
        "  declare it with `async def`; if it is, look at its decorators"
    )


class Marks(BaseCallbackHandler):
    def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: Any, **kw: Any) -> None:
        tags.append("seen")
        messages[0][-1].content = "hidden"


def test_what_a_handler_changes_is_told() -> None:
    at = "test_probe.py:N  def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: Any, **kw: Any) -> None:"
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
        "  at         test_probe.py:N  def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:\n"
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


class Waits(AsyncCallbackHandler):
    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()


def test_a_coroutine_that_waits_for_good_is_told_and_ended() -> None:
    before = threading.active_count()

    text = told(Waits, SOON_S)

    assert threading.active_count() <= before
    assert text == (
        "`Waits.on_llm_end` blocks: it has not returned after 2 s; nothing more was tried\n"
        "  at         test_probe.py:N  await asyncio.Event().wait()\n"
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
        "  at         test_probe.py:N  async def work(self) -> None:\n"
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
            "  at         test_probe.py:N  self.over.wait()\n"
            "  when       a chat model answers\n"
            "  only       in async code\n"
            "  it runs on the event loop, where nothing else happens until it returns",
        ),
        (
            HoldsAThread,
            "  at         test_probe.py:N  self.over.wait()\n"
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
