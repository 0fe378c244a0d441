"""Tokens, parts and steps as values."""

from __future__ import annotations

import builtins

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest import call, fail, reply, say, think
from llmtest.errors import StatusError
from llmtest.scripts.step_types import Fail, count, exception_names, split


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" ", [" "]),
        ("Hello", ["Hello"]),
        ("It's 18C in Paris.", ["It", "'", "s", " 18C", " in", " Paris", "."]),
        (" leading and trailing \n", [" leading", " and", " trailing", " \n"]),
        ("巴黎晴。OK", ["巴", "黎", "晴", "。", "OK"]),
        ('{"city": "Paris"}', ["{", '"', "city", '"', ":", ' "', "Paris", '"', "}"]),
        ("a\u00a0b", ["a", "\u00a0b"]),
        ("👩\u200d🚀", ["👩", "\u200d", "🚀"]),
        ("\ud800", ["\ud800"]),
    ],
)
def test_split_cuts_words_symbols_and_cjk_characters_with_the_space_before_them(text: str, tokens: list[str]) -> None:
    assert split(text) == tokens
    assert count(text) == len(tokens)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_tokens_joined_are_the_text_again_and_none_is_empty(text: str) -> None:
    tokens = split(text)

    assert "".join(tokens) == text
    assert all(tokens)


def test_steps_are_values() -> None:
    assert say("Hello") == say("Hello")
    assert say("Hello") != say("Goodbye")
    assert say("Hello there") != say("Hello there", stop_reason="stop")
    assert len({call("search", q=[{"x": 1}]), call("search", q=[{"x": 1}]), call("search", q=[{"x": 2}])}) == 2
    assert len({say("a").then_fail(429), say("a").then_fail(429), say("a")}) == 2


def test_steps_are_shown_as_they_are_written() -> None:
    shown = [
        say("Hello there"),
        say(),
        reply(),
        think("a", "b"),
        call("search", q="x").with_id("call_7"),
        reply("a", call("search")),
        say(*"abcdefgh"),
        say("a").then_fail(429, retry_after=2.5),
        fail("TimeoutError"),
        fail(TimeoutError),
        fail(TimeoutError("too long"), retry_after=3),
        Fail(503, message="busy"),
    ]

    assert [str(step) for step in shown] == [
        "say('Hello', ' there')",
        "say()",
        "say()",
        "think('a', 'b')",
        "call('search', q='x').with_id('call_7')",
        "reply(say('a'), call('search'))",
        "say('a', 'b', 'c', 'd', 'e', 'f', ...)",
        "say('a').then_fail(429, retry_after=2.5)",
        "fail('TimeoutError')",
        "fail(TimeoutError)",
        "fail(TimeoutError('too long'), retry_after=3)",
        "fail(503, message='busy')",
    ]


def test_failures_are_equal_by_what_they_come_to() -> None:
    assert fail("TimeoutError") == fail(TimeoutError) == fail(TimeoutError())
    assert fail("IOError") == fail(OSError)
    assert fail(KeyError("x")) == fail(KeyError("x")) == Fail("KeyError", message="x")
    assert fail(KeyError("x")) != fail(KeyError("y"))
    assert fail(429) == fail(429)
    assert fail(429) != fail(429, retry_after=2)
    assert fail(429) != "fail(429)"
    assert len({fail("KeyError"), fail(KeyError), fail(KeyError, 2), fail(429)}) == 3


def test_every_exception_that_has_a_name_is_made_from_a_text() -> None:
    names = exception_names()

    made = [getattr(builtins, name)("text") for name in names]

    assert {error.args for error in made} == {("text",)}
    assert {"TimeoutError", "ConnectionError", "ValueError", "UnicodeError"} <= set(names)
    assert not {"UnicodeDecodeError", "ExceptionGroup", "BaseException", "KeyboardInterrupt", "print"} & set(names)


def test_a_status_error_says_its_status_or_its_message() -> None:
    known, unknown, own = StatusError(429, 2.0), StatusError(599), StatusError(503, message="busy")

    assert (str(known), known.status_code, known.retry_after) == ("429 Too Many Requests", 429, 2.0)
    assert (str(unknown), str(own)) == ("599 error", "busy")


def test_a_secret_in_pieces_of_an_argument_is_not_shown() -> None:
    step = call("login", password="hunter2").deltas('{"pass', 'word": "hun', 'ter2"}')

    assert str(step) == """call('login', password='<mask:password>').deltas('{"password": "<mask:password>"}')"""
