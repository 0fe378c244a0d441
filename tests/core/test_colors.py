"""Colors: who gets them, and which words are marked."""

from __future__ import annotations

import io
import os

import pytest

from llmtest.core.colors import is_dumb, mark_words, paint, wants_colors


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "on_terminal", "in_a_pipe"),
    [
        ({}, os.name == "posix", False),
        ({"TERM": "xterm"}, os.name == "posix", False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"NO_COLOR": "", "FORCE_COLOR": ""}, os.name == "posix", False),
    ],
)
def test_the_usual_variables_say_who_gets_colors(environ: dict[str, str], on_terminal: bool, in_a_pipe: bool) -> None:
    assert wants_colors(Terminal(), environ) == on_terminal
    assert wants_colors(io.StringIO(), environ) == in_a_pipe


def test_a_dumb_terminal_is_one_that_says_so() -> None:
    assert is_dumb({"TERM": "dumb"})
    assert not is_dumb({"TERM": "xterm"})
    assert not is_dumb({})


def test_a_text_without_a_style_stays_as_it_is() -> None:
    assert paint("text", "31") == "\x1b[31mtext\x1b[0m"
    assert paint("text", "") == "text"


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ('a1: "Hello there"', 'a1: "Goodbye there"', ('a1: "[Hello] there"', 'a1: "[Goodbye] there"')),
        ("You are a bot.", "You are a terse bot.", ("You are a bot.", "You are a [terse ]bot.")),
        ("one two three", "one three", ("one [two ]three", "one three")),
        ("Hello", "something else", ("Hello", "something else")),
        ("", "x", ("", "x")),
        ("word " * 300, "word " * 299, (f"{'word ' * 299}[word ]", "word " * 299)),
        ("a b c " + "x " * 99 + "d", "a b c " + "y " * 99 + "d", ("a b c " + "x " * 99 + "d", "a b c " + "y " * 99 + "d")),
        (
            "a b " * 50 + "x " * 70 + "d",
            "a b " * 50 + "y z " * 35 + "d",
            ("a b " * 50 + "[" + "x " * 69 + "x] d", "a b " * 50 + "[" + "y z " * 34 + "y z] d"),
        ),
    ],
    ids=["changed", "added", "removed", "nothing in common", "empty", "long", "too long and not alike", "too long and alike"],
)
def test_words_that_differ_are_marked(before: str, after: str, marked: tuple[str, str]) -> None:
    old, new = (text.replace("\x1b[7m", "[").replace("\x1b[27m", "]") for text in mark_words(before, after))

    assert (old, new) == marked
