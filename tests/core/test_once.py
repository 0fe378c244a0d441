"""A function that runs once in a process, and that threads wait for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmtest.core.once import once


def test_it_runs_once_and_each_thread_finds_it_done() -> None:
    barrier, runs, found = threading.Barrier(8), list[int](), list[int]()

    @once
    def install() -> None:
        time.sleep(0.05)  # what it does takes a while
        runs.append(1)

    def work(_: int) -> None:
        barrier.wait()
        install()
        found.append(len(runs))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert found == [1] * 8


def test_after_an_error_it_runs_again() -> None:
    runs = list[int]()

    @once
    def install() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        install()
    install()
    install()

    assert len(runs) == 2
