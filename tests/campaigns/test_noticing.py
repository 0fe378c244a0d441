"""Whether a test could notice a wrong answer."""

from __future__ import annotations

import functools
from contextlib import suppress
from types import ModuleType
from typing import Any
from unittest import mock

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

helpers = ModuleType("helpers")
exec("def same(a, b):\n    assert a == b\n\ndef calls():\n    return 1\n", vars(helpers))


class Helper:
    def same(self) -> None:
        asserts()

    @staticmethod
    def fixed() -> None:
        asserts()

    def calls(self) -> None:
        swallows()


class Calls(Helper):
    def test_same(self) -> None:
        self.same()

    def test_calls(self) -> None:
        self.calls()


helper = Helper()
checkpointer: Any = None


def should_continue() -> bool:
    return checkpointer is None


def checks_weather() -> str:
    return "fine"


def names_no_assertion() -> Any:
    state: Any = None
    return state.checkpoint, state.failed_calls, state.unexpected, should_continue(), checks_weather()


def takes(tester: Any) -> None:
    tester.same()


def program_that_raises() -> None:
    raises()


def expects_an_error() -> None:
    with pytest.raises(ValueError):  # the name is that of a function of this module, too
        int("x")


def matches(value: int = 1) -> None:
    match value:
        case 1:
            pass
        case _:
            raise ValueError


CASES = {
    "a function of a module": (lambda: helpers.same(1, 1), True),
    "a silent function of a module": (lambda: helpers.calls(), False),
    "a method of an object": (lambda: helper.same(), True),
    "a static method of an object": (lambda: helper.fixed(), True),
    "a silent method of an object": (lambda: helper.calls(), False),
    "a method of a class": (lambda: Helper().same(), True),
    "a method of its own class": (Calls().test_same, True),
    "a silent method of its own class": (Calls().test_calls, False),
    "names like those of assertions": (names_no_assertion, False),
    "an argument": (functools.partial(takes, helper), True),
    "a named argument": (functools.partial(takes, tester=helper), True),
    "a silent argument": (functools.partial(takes, swallows), False),
    "an argument of what has no code": (functools.partial(int, "1"), True),
    "a program that raises": (program_that_raises, False),
    "a match": (matches, True),
    "pytest.raises": (expects_an_error, True),
    "a mock": (lambda: mock.Mock().assert_called_once(), True),
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
