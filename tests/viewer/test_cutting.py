"""Limits of what the page holds."""

from __future__ import annotations

import json
from collections.abc import Iterator

from llmtest import ScriptedChatModel, record
from llmtest.events.events import Event
from llmtest.viewer.cutting import MAX_CHARACTERS, MAX_ITEMS, cut_json, cut_lines, cut_text, shortened


def test_a_short_text_stays_and_a_long_one_says_how_long_it_is() -> None:
    assert cut_text("hello", 5) == "hello"
    assert cut_text("hello!", 5) == "hello… [cut: it has 6 characters]"


def test_a_text_that_was_cut_before_keeps_its_first_length() -> None:
    once = cut_text("a" * 1_000, 100)

    assert cut_text(once, 100) == once
    assert cut_text(once, 3) == "aaa… [cut: it has 1,000 characters]"


def test_lines_are_cut_in_number_and_length() -> None:
    assert cut_lines(["one", "twotwo", "three"], 2, 3) == "one\ntwo… [cut: it has 6 characters]\n… [cut: 1 more lines]"
    assert cut_lines(["one"], 1, 3) == "one"


def test_json_is_cut_in_its_strings_lists_and_objects() -> None:
    value = {
        "text": "a" * 200,
        "list": list(range(MAX_ITEMS + 1)),
        "dict": dict.fromkeys(map(str, range(MAX_ITEMS + 1)), None),
        "n": 1.5,
    }

    cut = json.loads(cut_json(json.dumps(value), 100))

    assert cut["text"] == "a" * 100 + "… [cut: it has 200 characters]"
    assert cut["list"][MAX_ITEMS:] == ["… [cut: 5,001 items]"]
    assert (len(cut["dict"]), cut["dict"]["…"]) == (MAX_ITEMS + 1, "[cut: 5,001 entries]")
    assert cut["n"] == 1.5
    assert cut_json('{"a": 1}', 100) == '{"a": 1}'


def test_events_without_long_texts_are_the_same() -> None:
    with record() as recording:
        ScriptedChatModel("hello").invoke("hi")

    events = list(recording)

    assert all(new is old for new, old in zip(shortened(events), events, strict=True))


def test_long_texts_in_messages_are_cut_before_they_are_masked_and_each_message_once() -> None:
    with record() as recording:
        ScriptedChatModel("a" * 1_000_000).invoke([("user", "b" * 300_000), ("user", "short")])

    start, end = shortened(recording)

    assert [len(message.content) for message in start.payload["messages"]] == [2 * MAX_CHARACTERS + 34, 5]
    assert start.payload["messages"][1] is recording[0].payload["messages"][1]
    assert end.payload["generations"][0].message.content.endswith("… [cut: it has 1,000,000 characters]")
    assert (start.number, start.lane, start.run_id) == (0, recording[0].lane, recording[0].run_id)


def test_events_of_one_message_share_its_cut_form() -> None:
    model = ScriptedChatModel("one", "two")
    with record() as recording:
        for _ in range(2):
            model.invoke([("user", "b" * 300_000)])

    first, second = (event.payload["messages"][0] for event in shortened(_starts(recording)))

    assert first == second


def _starts(events: Iterator[Event] | list[Event]) -> list[Event]:
    return [event for event in events if event.kind == "on_chat_model_start"]
