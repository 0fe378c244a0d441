"""Plain values fit what is expected of them: themselves, a matcher, a pattern, anywhere in a literal."""

from __future__ import annotations

import re
from typing import Any

import pytest
from dirty_equals import IsInt

from llmtest.core.text import fits, named, short


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("search", "search", True),
        ("search", "search_web", False),
        ("search*", "search_web", True),
        ("*web", "search_web", True),
        ("s*h*b", "search_web", True),
        ("a*c", "a\nc", True),
        ("a.c", "abc", False),
        (re.compile("web$"), "search_web", True),
        (re.compile("^web"), "search_web", False),
    ],
)
def test_a_pattern_stands_for_names(pattern: Any, name: str, expected: bool) -> None:
    assert named(pattern, name) is expected


@pytest.mark.parametrize(
    ("expected", "actual", "fitting"),
    [
        (1, 1, True),
        (1, True, True),
        ("1", 1, False),
        (IsInt(gt=6), 7, True),
        (re.compile("^a"), "abc", True),
        (re.compile("7"), 7, False),
        ({"a": IsInt}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, (re.compile("x"),)], (1, ["axb"]), True),
        ([1], [1, 2], False),
        ([1], "1", False),
    ],
)
def test_a_value_fits_what_is_expected(expected: Any, actual: Any, fitting: bool) -> None:
    assert fits(expected, actual) is fitting


def test_a_value_is_shown_short() -> None:
    assert short([1] * 9) == "[1, 1, 1, 1, ...]"
    assert len(short("a" * 500)) == 60
