"""What values look like: each kind of value, whole texts. Where they stand in a tree is in test_rendering.py."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest import ScriptedChatModel, record
from llmtest.events import Document, Event, Failure, FrozenDict, FrozenList, Message, Opaque, Run, Structured, ToolCall
from llmtest.trees.parsing import head, parse, write
from llmtest.trees.rendering import render
from llmtest.trees.run_lines import Detail
from tests.support import lines

ID = "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55"
OTHER = "5e1f7f0e-3f0a-4f0b-8a51-0d2c6a3b9f10"


def run_of(*values: Any) -> Run:
    """A run that was given the first value, said the others, and returned nothing."""
    said = [("on_custom_event", {"name": "e", "data": value}) for value in values[1:]]
    payloads = [("on_chain_start", {"inputs": values[0]}), *said, ("on_chain_end", {})]
    one = UUID(int=1)
    events = tuple(Event(kind, one, None, "f", payload=FrozenDict(p), number=n) for n, (kind, p) in enumerate(payloads))
    return Run(one, None, "chain", "f", (), FrozenDict(), events, ())


def shown(*values: Any, detail: Detail = "default") -> str:
    """The text of values, without that of the run which they were given to."""
    lines = render(run_of(*values), detail=detail).splitlines()
    assert (lines[0], lines[-1]) == ("chain f", "  < null")
    return "\n".join(line.removeprefix("  ").removeprefix("> ").replace("@ event e ", "") for line in lines[1:-1])


def frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    return FrozenList(map(frozen, value)) if isinstance(value, list | tuple) else value


def human(content: Any, **fields: Any) -> Message:
    return Message("human", frozen(content), **fields)


# -- plain values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.0, "1.0"),
        (0.1 + 0.2, "0.3"),
        (float("nan"), "nan"),
        ('it\'s "so"', '"it\'s \\"so\\""'),
        ("", '""'),
        ("één 漢字 👩‍🔬", '"één 漢字 👩‍🔬"'),
        ("a line\n", '"a line\\n"'),
        ("\n\n", '"\\n\\n"'),
        ({"b": 1, "a": [True, None]}, '{"a": [true, null], "b": 1}'),
        ([], "[]"),
        ({}, "{}"),
        (b"abc", "<3 bytes 63906248>"),
        (UUID(ID), "<id:1>"),
        (date(2024, 5, 1), 'date("2024-05-01")'),
        (datetime(2024, 5, 1, 10, 30), 'datetime("2024-05-01T10:30:00")'),
        (datetime(2024, 5, 1, 10, 30, 0, 17), 'datetime("<time>")'),
        (time(10, 30), 'time("10:30:00")'),
        (timedelta(hours=1), 'timedelta("1:00:00")'),
        (Decimal("1.50"), 'Decimal("1.50")'),
        (1 + 2j, 'complex("(1+2j)")'),
        (PurePosixPath("a/b"), 'Path("a/b")'),
        (PureWindowsPath("a\\b"), 'Path("a/b")'),
        (object(), "<object>"),
        (Opaque("Thread"), "<Thread>"),
        (Structured("Person", FrozenDict(name="Ada", born=1815)), 'Person(born=1815, name="Ada")'),
        (Structured("Odd", frozen({"a b": 1})), 'Odd("a b"=1)'),
        (Failure("ValueError", "no"), 'ValueError("no")'),
    ],
)
def test_a_plain_value_is_shown_on_one_line(value: Any, text: str) -> None:
    assert shown(frozen(value)) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\tb\x00", "a\\tb\\u0000"),
        ("del\x7f", "del\\u007f"),
        ("next\x85line\u2028sep", "next\\u0085line\\u2028sep"),
        ("nbsp\xa0zero\u200bwidth", "nbsp\\u00a0zero\\u200bwidth"),
        ("bidi\u202e", "bidi\\u202e"),
        ("half\ud800", "half\\ud800"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("mark\ufdd00000001\ufdd1", "mark\\ufdd00000001\\ufdd1"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, escaped: str) -> None:
    assert shown(text) == f'"{escaped}"'


def test_text_of_several_lines_is_written_line_by_line_once_and_then_called_by_its_label() -> None:
    text = "first\n\n  indented\tand tabbed\ntrailing \nbell\x07\n| bar\n"

    assert shown(frozen({"prompt": text}), text, "other\ntext").splitlines() == [
        "+ v1:",
        "  | first",
        "  |",
        "  |   indented\tand tabbed",
        '  "trailing "',
        '  "bell\\u0007"',
        "  | | bar",
        "  |",
        '{"prompt": v1}',
        "v1",
        "+ v2:",
        "  | other",
        "  | text",
        "v2",
    ]


def test_a_wide_container_has_one_line_for_each_entry() -> None:
    value = frozen(
        {
            "question": "What is the answer to the ultimate question of life, the universe and everything?",
            "numbers": list(range(50)),
            "people": [Structured("Person", frozen({"name": "A" * 60, "notes": ["b" * 50], "none": {}})), "Bob"],
            "conversation": [human("hi")] * 20,
        }
    )

    assert shown(value).splitlines() == [
        '+ u1: "hi"',
        "{",
        f'    "conversation": [{", ".join(["u1"] * 20)}]',
        f'    "numbers": [{", ".join(map(str, range(50)))}]',
        '    "people": [',
        "      Person(",
        f'        name="{"A" * 60}"',
        "        none={}",
        f'        notes=["{"b" * 50}"]',
        "      )",
        '      "Bob"',
        "    ]",
        '    "question": "What is the answer to the ultimate question of life, the universe and everything?"',
        "  }",
    ]


def test_what_is_nested_too_deeply_is_left_out() -> None:
    value: Any = frozen([])
    for _ in range(2000):
        value = FrozenList([value])

    text = shown(value)

    assert "<nested too deeply>" in text
    assert len(text.splitlines()) < 120


# -- what is volatile


def test_an_id_has_a_number_and_the_same_id_has_the_same_number() -> None:
    value = frozen([ID, f"order {OTHER}, not {ID.upper()}", f"lc_run--{ID}-0", "9f86d081884c4d65aa2feaa0c55ad015", {ID: 1}])

    assert shown(value, UUID(OTHER)) == "\n".join(
        ['["<id:1>", "order <id:2>, not <id:1>", "<id:3>", "<id:4>", {"<id:1>": 1}]', "<id:2>"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "d41d8cd98f00b204e9800998ecf8427e",  # a digest, no uuid
        f"x{ID}",
        "2024-05-01",
        "from 2024-05-01T10:00:00Z to 2024-05-02 12:00",
        "0x7f3a2b4c5d6e",
        "sk-learn",
        "the token is a word",
    ],
)
def test_what_the_program_said_is_not_masked(text: str) -> None:
    assert shown(text) == f'"{text}"'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at 2024-05-01T10:00:00.123456+02:00!", "at <time>!"),
        ("2024-05-01 10:00:00,123 INFO", "<time> INFO"),
        ("<Foo object at 0x7f3a2b4c5d6e>", "<Foo object at <addr>>"),
        ("saved to /tmp/pytest-of-root/pytest-12/test_it0/a.txt", "saved to <path>/a.txt"),
        ("Bearer abcdefgh12345678", "Bearer <mask:secret>"),
        ("key sk-proj-abcdefghijklmnop1234 is wrong", "key <mask:secret> is wrong"),
    ],
)
def test_clocks_addresses_and_secrets_are_masked(text: str, masked: str) -> None:
    assert shown(text) == f'"{masked}"'


def test_a_key_that_looks_like_a_secret_hides_its_value_whatever_it_is() -> None:
    value = frozen(
        {
            "OPENAI_API_KEY": "abc",
            "x-api-key": 17,
            "clientSecret": ["a"],
            "password": "",
            "next_page_token": {"a": 1},
            "tokens": 3,
            "monkey": "see",
            "token": None,
            "secret": True,
        }
    )

    assert shown(value).splitlines() == [
        "{",
        '    "OPENAI_API_KEY": <mask:OPENAI_API_KEY>',
        '    "clientSecret": <mask:clientSecret>',
        '    "monkey": "see"',
        '    "next_page_token": <mask:next_page_token>',
        '    "password": <mask:password>',
        '    "secret": true',
        '    "token": null',
        '    "tokens": 3',
        '    "x-api-key": <mask:x-api-key>',
        "  }",
    ]


def test_a_secret_in_json_that_is_text_is_masked() -> None:
    assert shown('{"api_key": "abc\\"d", "a": 1}') == '"{\\"api_key\\": <mask:api_key>, \\"a\\": 1}"'
    assert shown("{'password': 'abc'}") == "\"{'password': <mask:password>}\""


def test_an_integer_of_more_digits_than_python_converts_is_shown_whole() -> None:
    assert shown(7 - 10**5000) == f"-{'9' * 4999}3"
    assert shown(10**639) == f"1{'0' * 639}"


def test_times_and_ids_are_masked_under_the_keys_of_systems() -> None:
    value = frozen(
        {
            "created_at": "2024-05-01T10:00:00Z",
            "timestamp": 1714557600,
            "updatedAt": 1714557600123.5,
            "ts": 5,
            "created": "yesterday",
            "departure": "2024-05-01T10:00",
            "interrupt_id": "2bea78d1d1f1c8669537f93792155a6d",
            "lc_internal_call": "0f3c5a7e1b2d4c6f8091a2b3c4d5e6f7",
            "id": "order-7",
            "tool_call_id": "call_9",
        }
    )

    assert shown(value).splitlines() == [
        "{",
        '    "created": "yesterday"',
        '    "created_at": <time>',
        '    "departure": "2024-05-01T10:00"',
        '    "id": "order-7"',
        '    "interrupt_id": <id:1>',
        '    "lc_internal_call": <id:2>',
        '    "timestamp": <time>',
        '    "tool_call_id": call1',
        '    "ts": 5',
        '    "updatedAt": <time>',
        "  }",
    ]


def test_the_number_of_an_interrupt_is_the_same_under_a_key() -> None:
    number = "2bea78d1d1f1c8669537f93792155a6d"
    told = FrozenDict(interrupts=FrozenList([Structured("Interrupt", FrozenDict(id=number, value="sure?"))]))
    run = run_of(frozen({"interrupt_id": number, "note": f"as {number}"}))
    paused = Event("on_interrupt", run.id, None, "f", payload=told, number=9)

    text = render(replace(run, events=(run.events[0], paused, run.events[-1])))

    assert '"interrupt_id": <interrupt:1>' in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("amount_paid", "1000000000000000000"),
        ("card_id", "4111111111111111"),
        ("page_id", "1234567890123456"),
        ("updated_at", "2024-05-01T10:00 call Ada"),
        ("content_hash", "9f86d081884c4d65aa2feaa0c55ad015"),
        ("etag", ID),
        ("sha256", "ab" * 32),
    ],
)
def test_a_key_says_more_than_the_shape_of_its_value(key: str, value: str) -> None:
    assert shown(frozen({key: value})) == f'{{"{key}": "{value}"}}'


def test_a_secret_under_the_key_of_a_digest_is_masked() -> None:
    assert shown(frozen({"hash": "sk-proj-abcdefghijklmnop1234"})) == '{"hash": "<mask:secret>"}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"abc", b"abd"),
        (123456789012.34, 123456789012.35),
        (human([{"type": "image", "base64": "AAAA"}]), human([{"type": "image", "base64": "AAAB"}])),
        (human([{"type": "image", "base64": "AAAA", "mime_type": "a\nb"}]),
         human([{"type": "image", "base64": "AAAA", "mime_type": "a\nc"}])),
    ],
)  # fmt: skip
def test_another_value_is_another_text(one: Any, other: Any) -> None:
    assert shown(one) != shown(other)


def test_the_last_digits_of_a_float_are_left_out() -> None:
    assert (shown(0.1 + 0.2), shown(1234567.1 + 0.2), shown(1e300), shown(-0.0)) == ("0.3", "1234567.3", "1e+300", "-0.0")


def test_ids_of_doubles_are_the_same_in_a_test_of_another_name() -> None:
    values = [frozen(["msg_0a1b2c3d_1", {"id": "call_0a1b2c3d_2"}, "see rs_0a1b2c3d_3", "msg_1"]) for _ in range(2)]
    values[1] = frozen(["msg_ffffffff_1", {"id": "call_ffffffff_2"}, "see rs_ffffffff_3", "msg_1"])

    assert shown(values[0]) == shown(values[1]) == '["<id:1>", {"id": "call1"}, "see <id:2>", "msg_1"]'


def test_random_parts_of_names_and_of_cut_texts_are_masked() -> None:
    assert shown("call response_format_8cff, not response_format_x") == '"call response_format_<id>, not response_format_x"'
    assert shown(f"input_value={{'id': '{ID[:20]}...{OTHER[-15:]}'}}") == "\"input_value={'id': '<id>...<id>'}\""


def test_what_langgraph_counts_is_left_out_of_a_state() -> None:
    message = human("hi")

    assert shown(frozen({"messages": [message], "remaining_steps": 24, "is_last_step": False})) == 'u1: "hi"'
    assert shown(frozen({"a": 1, "remaining_steps": 24})) == '{"a": 1}'


def test_how_long_something_took_is_masked() -> None:
    assert shown("timed out (elapsed: 0.051s).") == '"timed out (elapsed: <time>s)."'
    assert shown(frozen({"node_first_attempt_time": 1714557600.5})) == '{"node_first_attempt_time": <time>}'


def test_keys_that_are_ids_stand_in_the_order_of_what_they_say() -> None:
    first, second = frozen({ID: "b", OTHER: "a"}), frozen({OTHER: "b", ID: "a"})

    assert shown(first) == shown(second) == '{"<id:1>": "a", "<id:2>": "b"}'


# -- messages


def test_each_kind_of_message_has_its_letter() -> None:
    roles = ["system", "developer", "human", "ai", "tool", "function", "critic"]

    text = shown(frozen([Message(role, "x") for role in roles]))

    assert text.splitlines() == [
        '+ s1: "x"',
        '+ u1: "x"',
        '+ a1: "x"',
        '+ t1: -> "x"',
        '+ m1: function "x"',
        '+ m2: critic "x"',
        "s1 s1 u1 a1 t1 m1 m2",
    ]


def test_messages_that_are_written_as_pairs_are_never_taken_for_each_other() -> None:
    asked = [f"question {number}" for number in range(50)]

    text = shown(*(frozen([["user", one]]) for one in asked))

    assert [one for one in asked if f'"{one}"' not in text] == []


def test_a_message_is_its_content_whatever_its_id_and_name() -> None:
    block = frozen([{"type": "text", "text": "hi"}])
    messages = [Message("ai", "hi"), Message("ai", "hi", id="7", name="bob"), Message("ai", block)]

    assert shown(frozen(messages)) == '+ a1: "hi"\na1 a1 a1'


def test_a_person_has_a_name() -> None:
    assert shown(human("hi", name="ada")) == 'u1: "hi"; name="ada"'


@pytest.mark.parametrize(
    "value",
    [
        human("hi"),
        [human("hi")],
        {"messages": [human("hi")]},
        {"messages": "hi"},
        {"messages": ["hi"]},
        {"messages": ["user", "hi"]},
        {"messages": [["human", "hi"]]},
        [["user", "hi"]],
        {"messages": {"role": "user", "content": "hi"}},
        [{"role": "user", "content": "hi", "id": "1"}],
        Structured("ChatPromptValue", FrozenDict(messages=FrozenList([human("hi")]))),
        Structured("Command", frozen({"update": {"messages": [human("hi")]}})),
        [Structured("Command", frozen({"update": {"messages": [human("hi")]}}))],
    ],
)
def test_a_conversation_is_its_messages_in_whatever_wrapping(value: Any) -> None:
    assert shown(frozen(value)) == 'u1: "hi"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"messages": []}, '{"messages": []}'),
        ({"messages": [1]}, '{"messages": [1]}'),
        (["user", "hi"], '["user", "hi"]'),
        (["user", 1], '["user", 1]'),
        (["admin", "hi"], '["admin", "hi"]'),
        ({"role": "admin", "content": "x"}, '{"content": "x", "role": "admin"}'),
        ({"role": "user", "content": "x", "more": 1}, '{"content": "x", "more": 1, "role": "user"}'),
        ({"messages": [human("x")], "n": 1}, '+ u1: "x"\n{"messages": [u1], "n": 1}'),
        ([human("x"), 1], '+ u1: "x"\n[u1, 1]'),
        (Structured("StringPromptValue", FrozenDict(text="x")), '"x"'),
        ([Structured("StringPromptValue", FrozenDict(text="x")), 1], '["x", 1]'),
        (Structured("Command", frozen({"goto": "b", "update": {"messages": [human("x")]}})), None),
        (Structured("Send", frozen({"node": "b", "arg": human("x")})), '+ u1: "x"\nSend(arg=u1, node="b")'),
    ],
)
def test_what_is_no_bare_conversation_keeps_its_shape(value: Any, text: str | None) -> None:
    assert shown(frozen(value)) == (text or '+ u1: "x"\nCommand(goto="b", update={"messages": [u1]})')


def test_a_tool_call_says_what_it_asks_for_when_it_is_first_met() -> None:
    paris = ToolCall("weather", frozen({"city": "Paris"}), "abc")
    asked = Message("ai", "", tool_calls=(paris,))
    answer = Message("tool", "18C", tool_call_id="abc")
    as_dict = frozen({"name": "weather", "args": {"city": "Paris"}, "id": "abc", "type": "tool_call"})
    other = frozen({"name": "weather", "args": {"city": "Lyon"}, "id": "abc"})

    text = shown(FrozenList([asked, answer]), paris, FrozenList([as_dict]), other)

    assert text.splitlines() == [
        '+ a1: call1 weather(city="Paris")',
        '+ t1: call1 -> "18C"',
        "a1 t1",
        "call1",
        "call1",
        'call1 weather(city="Lyon")',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ToolCall("f", frozen({"x": 1})), "f(x=1)"),
        (ToolCall("f", '{"x": ', "1"), 'call1 f("{\\"x\\": ")'),
        ({"name": "f", "args": None, "id": None}, '{"args": null, "id": null, "name": "f"}'),
        ({"name": "f", "args": {}, "id": None, "x": 1}, '{"args": {}, "id": null, "name": "f", "x": 1}'),
        (ToolCall("f", frozen({"api_key": "a"})), "f(api_key=<mask:api_key>)"),
        ([ToolCall("f", id="1"), 1], "[call1 f(), 1]"),
    ],
)
def test_tool_calls_of_every_kind(value: Any, text: str) -> None:
    assert shown(frozen(value)) == text


def test_an_answer_with_several_parts_is_on_one_line_if_it_fits() -> None:
    content = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Let me look"}, {"type": "tool_use", "id": "1"}]
    calls = (ToolCall("a", id="1"), ToolCall("b", frozen({"text": "x\ny"}), id="2"))
    long = (*calls, ToolCall("c", frozen({"text": "x" * 60}), id="3"))

    text = shown(FrozenList([Message("ai", frozen(content), calls), Message("ai", frozen(content), long)]))

    assert text.splitlines() == [
        "+ v1:",
        "  | x",
        "  | y",
        '+ a1: think("hm"); "Let me look"; call1 a(); call2 b(text=v1)',
        "+ a2:",
        '  think("hm")',
        '  "Let me look"',
        "  call1",
        "  call2",
        f'  call3 c(text="{"x" * 60}")',
        "a1 a2",
    ]


def test_blocks_of_text_are_kept_apart() -> None:
    content = frozen(["one", {"type": "text", "text": "a\nb"}, {"type": "text", "text": "c\nd"}, {"type": "odd", "x": 1}])

    assert shown(human(content)).splitlines() == [
        "u1:",
        '  "one"',
        "  | a",
        "  | b",
        "  ;",
        "  | c",
        "  | d",
        '  {"type": "odd", "x": 1}',
    ]


def test_thoughts_are_shown_wherever_they_are_kept() -> None:
    beside = Message("ai", "yes", additional_kwargs=FrozenDict(reasoning_content="hm"))
    inside = Message("ai", frozen([{"type": "thinking", "thinking": "hm"}, "yes"]))
    strange = Message("ai", frozen([{"type": "reasoning", "summary": []}]))

    assert shown(FrozenList([beside, inside, strange])).splitlines() == [
        '+ a1: think("hm"); "yes"',
        '+ a2: {"summary": [], "type": "reasoning"}',
        "a1 a1 a2",
    ]


def test_a_failed_tool_says_so() -> None:
    failed = Message("tool", "no such city\ntry again", tool_call_id="1", status="error")

    assert shown(failed) == "t1: call1 -> error\n  | no such city\n  | try again"


def test_the_json_of_a_tool_message_is_shown_as_a_value() -> None:
    rows = [{"city": city, "note": "n" * 40} for city in ("Paris", "Lyon")]
    blocks = [{"type": "text", "text": '{"a": 1}'}, {"type": "text", "text": "and"}]
    messages = [
        Message("tool", '{"city":"Paris"}', tool_call_id="1"),
        Message("tool", '{"error": "no such city"}', tool_call_id="1", status="error"),
        Message("tool", json.dumps(rows), tool_call_id="1"),
        Message("tool", frozen(blocks)),
        Message("tool", frozen([{"type": "text", "text": json.dumps(rows)}, *blocks])),
        Message("ai", '{"city":"Paris"}'),
        Message("function", '{"city":"Paris"}'),
        ("tool", "[1, 2]"),
    ]

    assert shown(FrozenList(messages)).splitlines() == [
        '+ t1: call1 -> compact json {"city": "Paris"}',
        '+ t2: call1 -> error json {"error": "no such city"}',
        "+ t3: call1 -> json [",
        f'    {{"city": "Paris", "note": "{"n" * 40}"}}',
        f'    {{"city": "Lyon", "note": "{"n" * 40}"}}',
        "  ]",
        '+ t4: -> json {"a": 1}; "and"',
        "+ t5: ->",
        "  json [",
        f'    {{"city": "Paris", "note": "{"n" * 40}"}}',
        f'    {{"city": "Lyon", "note": "{"n" * 40}"}}',
        "  ]",
        '  json {"a": 1}',
        '  "and"',
        '+ a1: "{\\"city\\":\\"Paris\\"}"',
        '+ m1: function "{\\"city\\":\\"Paris\\"}"',
        "+ t6: -> json [1, 2]",
        "t1 t2 t3 t4 t5 a1 m1 t6",
    ]


def test_a_removal_names_the_message_that_goes() -> None:
    removals = [Message("remove", "", id="7"), Message("remove", "", id="8"), Message("remove")]

    assert shown(FrozenList([human("hi", id="7"), *removals])).splitlines() == [
        '+ u1: "hi"',
        "+ m1: remove u1",
        "+ m2: remove <id:1>",
        '+ m3: remove ""',
        "u1 m1 m2 m3",
    ]


def test_a_text_that_stands_in_a_message_is_called_by_the_message() -> None:
    question, answer = "one\ntwo", "three\nfour"

    text = shown(question, human(question), Message("ai", answer), answer, human(answer), human(answer, name="ada"))

    assert text.splitlines() == [
        "v1:",
        "  | one",
        "  | two",
        "+ u1: v1",
        "u1",
        "+ a1:",
        "  | three",
        "  | four",
        "a1",
        "a1.text",
        "+ u2: a1.text",
        "u2",
        "+ u3:",
        "  | three",
        "  | four",
        '  name="ada"',
        "u3",
    ]


PNG = "iVBORw0KGgo="


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}, "<image/png 8 bytes 8c3403b9>"),
        ({"type": "image_url", "image_url": "https://a.b/c.png"}, '<image "https://a.b/c.png">'),
        ({"type": "image", "base64": PNG, "mime_type": "image/png"}, "<image/png 8 bytes 8c3403b9>"),
        ({"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}, "<image/png 8 bytes 8c3403b9>"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, "<image/png 8 bytes 8c3403b9>"),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}, "<audio wav 8 bytes 8c3403b9>"),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}"}},
            "<file application/pdf 8 bytes 8c3403b9>",
        ),
        ({"type": "file", "file_id": "file-7"}, '<file "file-7">'),
        ({"type": "video", "data": b"1234"}, "<video 4 bytes 65bafb39>"),
        ({"type": "audio", "transcript": "la"}, '{"transcript": "la", "type": "audio"}'),
    ],
)
def test_media_are_shown_by_kind_and_size(block: Any, text: str) -> None:
    assert shown(human([block, "What is it?"])) == f'u1: {text}; "What is it?"'


def test_encoded_data_is_shown_by_kind_and_size_wherever_it_is() -> None:
    assert shown(frozen({"image": f"data:image/png;base64,{PNG}"})) == '{"image": <image/png 8 bytes 8c3403b9>}'


def test_documents_have_labels() -> None:
    first = Document("Paris is in France", frozen({"source": "a.txt"}), id="1")
    again = Document("Paris is in France", frozen({"source": "a.txt"}), id="2")
    long = Document("one\ntwo", frozen({"page": 1}))

    text = shown(FrozenList([first, again, Document("bare")]), frozen({"context": [long], "text": "one\ntwo"}))

    assert text.splitlines() == [
        '+ d1: "Paris is in France"; {"source": "a.txt"}',
        '+ d2: "bare"',
        "d1 d1 d2",
        "+ d3:",
        "  | one",
        "  | two",
        '  {"page": 1}',
        '{"context": [d3], "text": d3.text}',
    ]


# -- details


def test_full_detail_shows_what_a_message_carries_beside_its_content() -> None:
    carried = {"additional_kwargs": {"refusal": None}, "response_metadata": {"model": "m"}, "artifact": [1]}
    message = Message("ai", "hi", **{key: frozen(value) for key, value in carried.items()})

    assert shown(message) == 'a1: "hi"'
    assert shown(message, detail="full").splitlines() == [
        'a1: "hi"; additional_kwargs={"refusal": null}; artifact=[1]; response_metadata={"model": "m"}'
    ]


def test_an_outline_cuts_long_strings_after_it_has_masked_them() -> None:
    def head(text: str) -> str:
        start = Event("on_tool_start", UUID(int=1), None, "t", payload=FrozenDict(input_str=text))
        return render(Run(UUID(int=1), None, "tool", "t", (), FrozenDict(), (start,), ()), detail="outline")

    assert head("a\nb") == 'tool t("a\\nb")  ? open\n'
    assert head("x" * 60) == f'tool t("{"x" * 60}")  ? open\n'
    assert head("x" * 61) == f'tool t("{"x" * 57}...")  ? open\n'
    assert head("x" * 50 + f" {ID} " + "y" * 20) == f'tool t("{"x" * 50} <id:1> yyyy...")  ? open\n'
    assert head("x" * 56 + " sk-abcdefghijklmnopqrst") == f'tool t("{"x" * 56} <mask:secret>")  ? open\n'

    def head(text: str) -> str:
        start = Event("on_tool_start", UUID(int=1), None, "t", payload=FrozenDict(input_str=text))
        return render(Run(UUID(int=1), None, "tool", "t", (), FrozenDict(), (start,), ()), detail="outline")

    assert head("a\nb") == 't("a\\nb")  ? open\n'.replace("t(", "tool t(", 1)
    assert head("x" * 60) == f'tool t("{"x" * 60}")  ? open\n'
    assert head("x" * 61) == f'tool t("{"x" * 57}...")  ? open\n'
    assert head("x" * 50 + f" {ID} " + "y" * 20) == f'tool t("{"x" * 50} <id:1> yyyyy...")  ? open\n'.replace(" yyyyy", " yyyy")
    assert head("x" * 56 + " sk-abcdefghijklmnopqrst") == f'tool t("{"x" * 56} ...")  ? open\n'.replace(" ...", " <mask:secret>")


# -- whatever the value is

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).map(frozen)


@settings(deadline=None)
@given(JSON)
def test_every_line_shows_all_that_it_holds(value: Any) -> None:
    text = render(run_of(value))

    assert text.encode().decode() == text
    for line in text.split("\n")[:-1]:
        assert line == line.rstrip() != ""
        assert line.replace("\t", " ").splitlines() == [line.replace("\t", " ")]


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_in_which_a_dict_was_filled_does_not_matter(value: dict[str, Any]) -> None:
    assert render(run_of(FrozenDict(value))) == render(run_of(FrozenDict(reversed(list(value.items())))))


def test_entries_that_differ_only_in_the_random_ids_that_are_their_keys_have_one_text() -> None:
    ids = [str(uuid4()) for _ in range(3)]
    values = [FrozenDict(dict.fromkeys(some, "x")) for some in (ids, ids[::-1])]

    first, second = (render(run_of(value)) for value in values)

    assert first == second
    assert all(one not in first for one in ids)


def test_parallel_runs_stand_in_one_order_although_random_ids_are_their_keys() -> None:
    def chain(number: int, said: str) -> Run:
        run = lines.run("c", number, None, lines.thread(number, parent=None))
        inputs = FrozenDict({str(uuid4()): said, str(uuid4()): said})
        return replace(run, events=(replace(run.start, payload=FrozenDict(inputs=inputs)),))

    first, second = (render(SimpleNamespace(roots=[chain(2, a), chain(3, b)], late_events=[])) for a, b in ("xy", "yx"))

    assert first == second
    assert first.splitlines()[0] == "parallel"


@pytest.mark.parametrize("name", ["(", ")", "a b", 'say "x"', "a\n< b", "="])
def test_the_name_of_a_type_is_no_markup(name: str) -> None:
    start = Event("on_tool_start", UUID(int=1), None, "t", payload=FrozenDict(inputs=FrozenDict(q=Opaque(name))))
    text = render(Run(UUID(int=1), None, "tool", "t", (), FrozenDict(), (start,), ()))

    assert write(parse(text)) == text
    assert head(parse(text)[0]).arguments == (f"q=<{name}>" if name == "=" else f"q=<{json.dumps(name)}>")


def test_a_private_key_in_a_text_of_several_lines_is_masked_whole() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----"
    with record() as recording:
        ScriptedChatModel(f"Use this:\n{key}\nand only this").invoke(f"my key:\n{key}")

    text = str(recording)

    assert "MIIEvQIBADANBgkq" not in text
    assert text.splitlines()[1:] == [
        "  > u1:",
        "    | my key:",
        "    | <mask:secret>",
        "  < a1:  usage in=30 out=33",
        "    | Use this:",
        "    | <mask:secret>",
        "    | and only this",
    ]
