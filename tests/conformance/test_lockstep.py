"""Threads in step: each waits before each line of the object until all others wait."""

from __future__ import annotations

import sys
import threading
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeChatModel
from langchain_core.tools import tool

from llmtest.conformance.lockstep import LockStep, files_of
from tests.support.conforming import Echo


def test_threads_in_step_wait_before_each_line_for_all_that_are_not_over() -> None:
    steps, seen = LockStep(2, frozenset()), list[str]()

    def work(name: str, lines: int) -> None:
        for _ in range(lines):
            steps.meet()
            seen.append(name)
        steps.leave()

    threads = [threading.Thread(target=work, args=given) for given in (("a", 2), ("b", 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [sorted(pair) for pair in (seen[:2], seen[2:4], seen[4:])] == [["a", "b"], ["a", "b"], ["b"]]
    assert not steps.over


def test_a_thread_that_waits_in_vain_for_the_others_goes_on_for_good() -> None:
    steps = LockStep(2, frozenset(), patience_s=0.01)

    steps.meet()
    steps.meet()

    assert steps.over


def test_long_work_is_not_in_step_for_good() -> None:
    steps = LockStep(1, frozenset())

    for _ in range(500):
        assert not steps.over
        steps.meet()

    assert steps.over


def test_only_lines_of_the_object_are_in_step() -> None:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    class Own(Echo): ...

    frame: Any = sys._getframe()
    inside, outside = LockStep(1, files_of(Own().bind(stop=[]))), LockStep(1, files_of(FakeChatModel()))

    assert outside.enter(frame, "call", None) is None
    assert inside.enter(frame, "call", None) == inside.line(frame, "line", None) == inside.line(frame, "return", None)
    assert files_of(weather) == {__file__} == files_of(Own()) - files_of(Echo())
