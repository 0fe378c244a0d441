"""One program at a time in a thread of its own: what came of it, and what it leaves behind when it does not end."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
from typing import Any

import pytest

from llmtest import ScriptedChatModel, ledger, record
from llmtest.capture import blocks
from llmtest.conformance import sandbox
from llmtest.conformance.sandbox import attempt

LONG_S = 30.0
"""More than any program here takes."""
SHORT_S = 0.2
OUTER = contextvars.ContextVar("outer", default="unset")


def test_a_program_gives_its_value_and_its_recording() -> None:
    done = attempt(lambda: ScriptedChatModel("Hello").invoke("hi").content, LONG_S, "sync")

    assert (done.ended, done.value, done.error, done.left, done.stalled, done.stands) == (True, "Hello", None, [], None, "")
    assert done.recording.models == ["ScriptedChatModel"]
    assert done.recording.closed


def test_a_coroutine_is_run_on_a_loop_of_its_own() -> None:
    async def program() -> str:
        return str((await ScriptedChatModel("Hello").ainvoke("hi")).content)

    done = attempt(program, LONG_S, "async")

    assert (done.value, done.on_a_loop) == ("Hello", True)


def test_what_a_program_raises_is_kept_whatever_it_is() -> None:
    def ends() -> None:
        raise SystemExit(3)

    done = attempt(ends, LONG_S, "raises")

    assert isinstance(done.error, SystemExit)
    assert re.sub(r":\d+", ":N", sandbox.raised_at(done.error)).endswith("test_sandbox.py:N")


def test_a_program_finds_neither_the_context_nor_the_blocks_of_its_caller() -> None:
    token = OUTER.set("set")
    with record() as outer:
        done = attempt(lambda: (OUTER.get(), ScriptedChatModel("Hello").invoke("hi"))[0], LONG_S, "apart")
    OUTER.reset(token)

    assert done.value == "unset"
    assert (outer.runs, outer.unseen_calls) == ([], [])


def test_tasks_that_go_on_are_told_and_those_that_end_in_time_are_not() -> None:
    async def goes_on() -> None:
        await asyncio.Event().wait()

    async def ends_soon() -> None:
        await asyncio.sleep(0)

    async def program() -> Any:
        return asyncio.create_task(goes_on()), asyncio.create_task(ends_soon())

    (left,) = attempt(program, LONG_S, "leaves").left

    assert re.sub(r"\S*(test_sandbox.py):\d+", r"\1:N", left).startswith(
        "`test_tasks_that_go_on_are_told_and_those_that_end_in_time_are_not.<locals>.goes_on` at test_sandbox.py:N"
    )


def test_a_task_of_asyncio_itself_is_told_without_a_line() -> None:
    async def program() -> Any:
        return asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]

    assert attempt(program, LONG_S, "leaves").left == ["`Event.wait`"]


def test_a_program_that_does_not_end_is_left_behind_with_where_it_stands() -> None:
    over = threading.Event()

    def waits() -> None:
        over.wait(LONG_S)

    done = attempt(waits, SHORT_S, "waits")
    over.set()

    assert (done.ended, done.value, done.error) == (False, None, None)
    assert re.sub(r":\d+", ":N", done.stands).endswith("test_sandbox.py:N")


def test_a_program_that_is_left_behind_leaves_no_block_open() -> None:
    open_before, over = blocks.openings.copy(), threading.Event()

    done = attempt(over.wait, SHORT_S, "waits")
    still_open = blocks.openings - open_before
    over.set()

    assert (done.ended, done.recording.closed, still_open) == (False, True, set())


def test_a_loop_that_stands_still_is_told_and_one_that_waits_is_not() -> None:
    over = threading.Event()

    async def stands() -> None:
        over.wait(LONG_S)

    async def waits() -> None:
        await asyncio.sleep(sandbox.STALL_S * 2)

    stalled = attempt(stands, sandbox.STALL_S * 6, "stands")
    over.set()
    waiting = attempt(waits, LONG_S, "waits")

    assert stalled.stalled is not None
    assert re.sub(r":\d+", ":N", stalled.stalled).endswith("test_sandbox.py:N")
    assert waiting.stalled is None


def test_a_new_object_belongs_to_no_test() -> None:
    with ledger.opened(ledger.Ledger()) as page:
        model = sandbox.new(lambda: ScriptedChatModel("never asked for"))

    assert isinstance(model, ScriptedChatModel)
    assert page.take() == []


def test_threads_of_a_loop_keep_no_process_from_ending_and_pass_on_what_they_raise() -> None:
    async def program() -> bool:
        loop = asyncio.get_running_loop()
        with pytest.raises(KeyError):
            await loop.run_in_executor(None, {}.__getitem__, "missing")
        return bool(await loop.run_in_executor(None, lambda: threading.current_thread().daemon))

    assert attempt(program, LONG_S, "threads").value is True


def test_a_coroutine_that_waits_for_nothing_runs_without_a_loop() -> None:
    ran = []

    async def play() -> None:
        ran.append(asyncio._get_running_loop())

    sandbox.without_a_loop(play())

    assert ran == [None]


@pytest.mark.parametrize(("timeout_s", "expected"), [(0.5, 0.05), (5.0, 0.5), (100.0, 1.0)])
def test_the_patience_grows_with_the_timeout_up_to_a_second(timeout_s: float, expected: float) -> None:
    assert sandbox.patience_s(timeout_s) == pytest.approx(expected)
