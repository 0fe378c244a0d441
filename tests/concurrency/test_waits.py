"""The blocking waits of threads: what follows `result()` or `join()` comes after the work, what does not is beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from threading import Thread
from time import sleep
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.func import entrypoint, task

from llmtest import ScriptedChatModel, ViolationError, expect_violation, fail, record

Ask = Callable[[str], Any]


def _carried(ask: Ask, text: str) -> Callable[[], Any]:
    context = copy_context()
    return lambda: context.run(ask, text)


def results_in_a_row(ask: Ask) -> None:
    with ThreadPoolExecutor(2) as pool:
        for text in "abc":
            pool.submit(_carried(ask, text)).result()


def exceptions_in_a_row(ask: Ask) -> None:
    with ThreadPoolExecutor(2) as pool:
        for text in "abc":
            pool.submit(_carried(ask, text)).exception()


def threads_in_a_row(ask: Ask) -> None:
    for text in "abc":
        thread = Thread(target=_carried(ask, text))
        thread.start()
        thread.join()


def tasks_of_langgraph_in_a_row(ask: Ask) -> None:
    step = task(ask)

    @entrypoint()
    def flow(texts: str) -> None:
        for text in texts:
            step(text).result()

    flow.invoke("abc")


@pytest.mark.parametrize(
    "program", [results_in_a_row, exceptions_in_a_row, threads_in_a_row, tasks_of_langgraph_in_a_row], ids=lambda it: it.__name__
)
def test_work_that_is_waited_for_before_the_next_is_in_order(program: Callable[[Ask], None]) -> None:
    model = ScriptedChatModel("x", "y", "z")

    def ask(text: str) -> str:
        return str(model.invoke(text).content)

    with record() as recording:
        program(ask)

    assert recording.models == [model.get_name()] * 3
    assert [run.output.text for run in recording.models] == ["x", "y", "z"]


def test_work_that_fails_is_waited_for_too() -> None:
    model = ScriptedChatModel(fail(ValueError), "y")

    with record() as recording, ThreadPoolExecutor(2) as pool:
        for text in "ab":
            with contextlib.suppress(ValueError):
                pool.submit(_carried(model.invoke, text)).result()

    assert recording.models == [model.get_name()] * 2


def all_at_once(ask: Ask) -> None:
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(_carried(ask, text)) for text in "ab"]:
            future.result()


def a_wait_of_another_thread(ask: Ask) -> None:
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(_carried(ask, "a"))
        other = pool.submit(first.result)
        pool.submit(_carried(ask, "b")).result()
        other.result()


def as_they_complete(ask: Ask) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_carried(ask, "a"))
        for future in as_completed([first]):
            future.result()
        pool.submit(_carried(ask, "b")).result()


def read_by_a_callback(ask: Ask) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_carried(ask, "a"))
        while not first.done():
            sleep(0.001)
        first.add_done_callback(lambda future: future.result())
        pool.submit(_carried(ask, "b")).result()


@pytest.mark.parametrize(
    "program", [all_at_once, a_wait_of_another_thread, as_they_complete, read_by_a_callback], ids=lambda it: it.__name__
)
def test_work_that_is_not_waited_for_before_the_next_is_beside_it(program: Callable[[Ask], None]) -> None:
    model = ScriptedChatModel("x", "y")

    with expect_violation("competing calls"), record() as recording, contextlib.suppress(ViolationError):
        program(model.invoke)

    assert len(recording.models) == 2


def test_a_result_is_what_it_is_without_a_recording() -> None:
    with record():
        RunnableLambda(str).invoke(1)  # from here on, waits are told
    future: Future[int] = Future()

    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    future.set_result(3)

    assert (future.result(), future.exception()) == (3, None)
