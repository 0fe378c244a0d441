"""`carry_context`: a function bound to the open blocks, for any thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from llmtest import carry_context

VALUE: ContextVar[str] = ContextVar("value", default="unset")


def in_thread(function: Any, *args: Any) -> list[Any]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results


def test_a_carried_function_has_the_context_of_the_place_that_carried_it() -> None:
    def read(prefix: str) -> str:
        """Reads."""
        return prefix + VALUE.get()

    token = VALUE.set("here")
    carried = carry_context(read)
    VALUE.reset(token)

    assert (in_thread(read, "is "), in_thread(carried, "is "), carried("is ")) == (["is unset"], ["is here"], "is here")
    assert (carried.__name__, carried.__doc__) == ("read", "Reads.")


def test_calls_overlap_and_do_not_see_each_others_changes() -> None:
    both = threading.Barrier(2, timeout=10)

    def change(value: str) -> str:
        VALUE.set(value)
        both.wait()
        return VALUE.get()

    carried, results = carry_context(change), list[str]()
    threads = [threading.Thread(target=lambda v=v: results.append(carried(v))) for v in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (sorted(results), VALUE.get()) == (["a", "b"], "unset")


async def coroutine() -> None:
    """Runs after the call."""


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
def test_a_function_whose_body_runs_after_the_call_is_refused(function: Any) -> None:
    with pytest.raises(TypeError) as caught:
        carry_context(function)

    assert str(caught.value) == (
        f"carry_context() takes a function that is over when its call returns; got {function!r}"
        "\n  wrap it in one: carry_context(lambda: asyncio.run(work()))"
    )


FIRST_BLOCKS = """
import sys, threading
from langchain_core.language_models import FakeListChatModel
from llmtest import record

sys.setswitchinterval(1e-6)
start, recordings = threading.Barrier(8), []

def work():
    start.wait()
    with record() as recording:
        FakeListChatModel(responses=["x"]).invoke("hi")
    recordings.append(len(recording.runs))

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(recordings)
"""


def test_threads_that_open_the_first_blocks_of_a_process_at_once_all_record() -> None:
    result = subprocess.run([sys.executable, "-c", FIRST_BLOCKS], capture_output=True, text=True, check=False)

    assert (result.stdout, result.stderr) == (f"{[1] * 8}\n", "")
