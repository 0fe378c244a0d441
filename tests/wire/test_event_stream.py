"""A whole streamed body is split into its events, however it was cut into chunks and lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtest.wire.event_stream import ServerSent, is_server_sent, json_values, server_sent_events


def events(text: str) -> list[ServerSent]:
    return list(server_sent_events(text))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_the_standard_ends_a_line(end: str) -> None:
    text = end.join(["event: ping", "data: {}", "", "data: [DONE]", "", ""])

    assert events(text) == [ServerSent("ping", "{}"), ServerSent("", "[DONE]")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (": OPENROUTER PROCESSING\n\ndata: 1\n\n", [ServerSent("", "1")]),
        ("data: {\ndata: }\n\n", [ServerSent("", "{\n}")]),
        ("data:1\n\n", [ServerSent("", "1")]),
        ("data:  1\n\n", [ServerSent("", " 1")]),
        ("id: 7\nretry: 10\ndata: 1\n\n", [ServerSent("", "1")]),
        ("event: ping\n\ndata: 1\n\n", [ServerSent("", "1")]),
        ("\ufeffdata: 1\n\n", [ServerSent("", "1")]),
        ("\n\n\ndata: 1\n\n\n\n", [ServerSent("", "1")]),
        ("data: 1\n\ndata: 2", [ServerSent("", "1"), ServerSent("", "2", closed=False)]),
        ("data: 1\n\ndata: 2\n", [ServerSent("", "1"), ServerSent("", "2", closed=False)]),
        ('data: "a\u2028b\x85c\x0bd"\n\n', [ServerSent("", '"a\u2028b\x85c\x0bd"')]),
        ("", []),
        (": only a comment", []),
    ],
    ids=[
        *("comment", "several lines", "no space", "one space goes", "other fields", "no data", "byte order mark", "empty lines"),
        *("open at the end", "open after a line", "no other line ends", "empty", "comment alone"),
    ],
)
def test_events_are_those_of_the_standard(text: str, expected: list[ServerSent]) -> None:
    assert events(text) == expected


@pytest.mark.parametrize("text", ["data: 1", "event: a\ndata: 1", ":", ": ping", "\r\n\ndata:1", "id: 1\n", "\ufeffdata: 1"])
def test_a_stream_is_known_by_its_first_line(text: str) -> None:
    assert is_server_sent(text)


@pytest.mark.parametrize("text", ["", '{"data": 1}', "[1]", "<html>", "database: 1", "a\ndata: 1"])
def test_no_other_text_is_taken_for_a_stream(text: str) -> None:
    assert not is_server_sent(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


@given(st.lists(VALUES, max_size=4), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]), st.booleans())
def test_lines_of_json_are_their_values(values: list[Any], end: str, ends: bool) -> None:
    values = [{"a": value} for value in values]

    assert list(json_values(end.join(map(json.dumps, values)) + end * ends)) == values


@given(st.lists(VALUES, max_size=4), st.sampled_from([None, 1]))
def test_an_array_is_its_items(values: list[Any], indent: int | None) -> None:
    assert list(json_values(json.dumps(values, indent=indent))) == values


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ('[{"a": 1},\r\n{"b', [{"a": 1}]),
        ('[{"a": 1} {"b": 2}]', [{"a": 1}]),
        ('{"a": 1}\n{"b": ', [{"a": 1}]),
        ('{"a": 1}\n<html>', [{"a": 1}]),
        ("<html>", []),
    ],
)
def test_values_before_what_is_no_json_are_read(text: str, before: list[Any]) -> None:
    found = []
    with pytest.raises(json.JSONDecodeError):
        for value in json_values(text):
            found.append(value)  # noqa: PERF402 - `extend` would be free to keep none

    assert found == before


def test_an_array_without_its_end_has_the_items_that_came() -> None:
    assert list(json_values('[{"a": 1}\r\n')) == [{"a": 1}]
    assert list(json_values('[{"a": 1},')) == [{"a": 1}]
    assert list(json_values("[")) == []
