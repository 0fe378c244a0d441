"""Whether a test could notice a wrong answer."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

import pytest

from llmtest.campaigns.noticing import can_notice

later: Any


def swallows() -> None:
    with suppress(ValueError):
        int("x")


def asserts() -> None:
    assert int("1") == 1


def raises() -> None:
    try:
        int("x")
    except ValueError:
        raise KeyError("x") from None


def calls_itself() -> None:
    calls_itself()


def helps() -> None:
    asserts()


def looks_ahead() -> None:
    later()  # noqa: F821  # it is given a value later


class Methods:
    def test_swallows(self) -> None:
        swallows()

    def test_asserts(self) -> None:
        self.assertEqual(1, 1)  # type: ignore[attr-defined]  # noqa: PT009


class Called:
    def __call__(self) -> None:
        swallows()


def around(function: Any) -> Any:
    @functools.wraps(function)
    def called() -> None:
        function()

    return called


def in_a_cell(function: Any) -> Any:
    return lambda: function()


def not_yet() -> Any:
    def called() -> None:
        unset()

    if later_is_set:
        unset = swallows
    return called


later_is_set = False

CASES = {
    "swallows": (swallows, False),
    "asserts": (asserts, True),
    "raises": (raises, True),
    "calls itself": (calls_itself, False),
    "a function of its own": (helps, True),
    "a name without a value": (looks_ahead, False),
    "a variable without a value": (not_yet(), False),
    "a method": (Methods().test_swallows, False),
    "a method of unittest": (Methods().test_asserts, True),
    "an object": (Called(), False),
    "a partial": (functools.partial(functools.partial(swallows)), False),
    "a wrapped function": (around(asserts), True),
    "a function in a cell": (in_a_cell(asserts), True),
    "a silent function in a cell": (in_a_cell(swallows), False),
    "a lambda": (lambda: [swallows() for _ in range(2)], False),
    "a nested function": (lambda: (lambda: asserts())(), True),
    "a function of a library": (lambda: suppress(ValueError), False),
    "what has no code": (int, True),
}


@pytest.mark.parametrize(("program", "expected"), CASES.values(), ids=CASES)
def test_a_program_that_asserts_or_raises_can_notice(program: Any, expected: bool) -> None:
    assert can_notice(program) is expected
