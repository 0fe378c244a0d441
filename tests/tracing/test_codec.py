"""The frozen words as JSON: what is read is what was written, and no secret is."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmtest.core import masks
from llmtest.events import Document, Failure, FrozenDict, FrozenList, Generation, Message, Opaque, Structured, ToolCall, Usage
from llmtest.tracing.codec import Reader, Writer

KEY = "sk-" + "a1" * 12


def without_secrets(text: str) -> str:
    return masks.table().without_secrets(text)


def is_harmless(text: str) -> bool:
    return without_secrets(text) == text


texts = st.text(st.characters(exclude_categories=()), max_size=6).filter(is_harmless)
keys = (texts | st.just("$w") | st.just("token_usage")).filter(lambda key: not masks.table().is_secret(key))
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=8)
    | st.complex_numbers(allow_nan=False)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.just(UTC) | st.none())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.builds(PurePosixPath, st.just("a/b"))
    | st.builds(PureWindowsPath, st.just("c:/d"))
)


def _dicts(values: st.SearchStrategy[Any]) -> st.SearchStrategy[FrozenDict]:
    return st.dictionaries(keys, values, max_size=3).map(FrozenDict)


def _words(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.none() | texts
    dicts, lists = _dicts(values), st.lists(values, max_size=3).map(FrozenList)
    usages = st.builds(Usage, st.integers(), st.integers(), st.integers(), dicts, dicts)
    calls = st.builds(ToolCall, texts, dicts | texts, names)
    messages = st.builds(
        Message,
        role=texts,
        content=texts | lists,
        tool_calls=st.lists(calls, max_size=2).map(tuple),
        id=names,
        name=names,
        tool_call_id=names,
        status=names,
        usage=st.none() | usages,
        response_metadata=dicts,
        additional_kwargs=dicts,
        artifact=values,
    )
    ended = st.sampled_from(["error", "paused", "cancelled"])
    return (
        dicts
        | lists
        | usages
        | calls
        | messages
        | st.lists(messages, min_size=1, max_size=3).map(FrozenList)
        | st.builds(Document, texts, dicts, names)
        | st.builds(Generation, texts, st.none() | messages, dicts)
        | st.builds(Failure, texts, texts, ended, values)
        | st.builds(Structured, texts, dicts)
        | st.builds(Opaque, texts)
    )


words = st.recursive(atoms, _words, max_leaves=6)


def round_trip(value: Any) -> Any:
    writer = Writer()
    text = writer.value(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return Reader(writer.messages).value(text)


def kinds(value: Any) -> Any:
    """The types in a value, as deep as they go: 1, 1.0 and True are equal, and so are a list and a frozen one."""
    if isinstance(value, dict):
        return (type(value), [(key, kinds(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [kinds(item) for item in value])
    fields = getattr(type(value), "__dataclass_fields__", {})
    return (type(value), [kinds(getattr(value, name)) for name in fields])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words)
def test_what_is_read_is_what_was_written(value: Any) -> None:
    back = round_trip(value)

    assert back == value
    assert kinds(back) == kinds(value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_dicts(words))
def test_a_payload_is_read_as_it_was_written(payload: FrozenDict) -> None:
    writer = Writer()

    text = writer.payload(payload)

    assert Reader(writer.messages).payload(text) == payload


def test_numbers_that_json_does_not_have_are_read_back() -> None:
    assert repr(round_trip(FrozenList([float("inf"), float("-inf"), float("nan")]))) == "[inf, -inf, nan]"


def test_what_is_plain_is_plain_json() -> None:
    value = FrozenDict(city="Paris", days=FrozenList([1, 2.5, None, True]))

    assert Writer().value(value) == '{"city":"Paris","days":[1,2.5,null,true]}'


def test_a_message_is_written_once_and_read_as_one() -> None:
    message = Message("human", "hi")
    writer = Writer()

    text = writer.payload(FrozenDict(messages=FrozenList([message, message]), last=message))

    assert text == '{"messages":{"$w":"messages","n":[0,0]},"last":{"$w":"@","n":0}}'
    assert writer.messages == ['{"role":"human","content":"hi"}']
    back = Reader(writer.messages).payload(text)
    assert back["messages"][0] is back["last"]


def test_a_program_that_writes_our_tag_gets_it_back() -> None:
    value = FrozenDict({"$w": "Message", "role": FrozenDict({"$w": "@", "n": 0})})

    assert round_trip(value) == value


def test_every_atom_is_read_back_with_its_class() -> None:
    atoms = [b"\x00", 1j, UUID(int=7), Decimal("1.50"), date(2026, 1, 2), time(3, 4), timedelta(days=-1, microseconds=5)]
    more = [datetime(2026, 1, 2, 3, 4, tzinfo=UTC), PurePosixPath("/a"), PureWindowsPath("c:\\a")]

    back = round_trip(FrozenList([*atoms, *more]))

    assert back == [*atoms, *more]
    assert [type(value) for value in back] == [type(value) for value in (*atoms, *more)]


def test_what_nobody_knows_is_written_by_its_class() -> None:
    assert round_trip(FrozenList([range(3), float("inf")])) == [Opaque("range"), float("inf")]
    assert round_trip(range(3)) == Opaque("range")


# -- secrets


def test_secrets_are_masked_wherever_they_stand() -> None:
    value = FrozenDict(
        api_key="abc",
        apiKey="abc",
        password=7,
        use_cookie=True,
        said=f"my key is {KEY}",
        header="Bearer abcdefgh12345",
        json='{"api_key": "abc"}',
        python="{'password': 'abc'}",
        deep=FrozenList([FrozenDict(auth="abc", none=None, token=None)]),
        call=ToolCall("login", FrozenDict(user="me", password="abc")),
    )

    assert round_trip(value) == {
        "api_key": "<mask:api_key>",
        "apiKey": "<mask:apiKey>",
        "password": "<mask:password>",
        "use_cookie": True,
        "said": "my key is <mask:secret>",
        "header": "Bearer <mask:secret>",
        "json": '{"api_key": "<mask:api_key>"}',
        "python": "{'password': '<mask:password>'}",
        "deep": [{"auth": "<mask:auth>", "none": None, "token": None}],
        "call": ToolCall("login", FrozenDict(user="me", password="<mask:password>")),
    }


def test_a_secret_in_a_message_is_masked_and_in_a_key_too() -> None:
    message = Message("human", f"use {KEY}", additional_kwargs=FrozenDict(token="abc"))

    assert round_trip(FrozenList([message])) == [
        Message("human", "use <mask:secret>", additional_kwargs=FrozenDict(token="<mask:token>"))
    ]
    assert round_trip(FrozenDict({KEY: 1})) == {"<mask:secret>": 1}


def test_masking_what_is_masked_changes_nothing() -> None:
    text = f'Bearer abcdefgh12345, {KEY}, {{"api_key": "abc"}}'

    once = without_secrets(text)

    assert once == 'Bearer <mask:secret>, <mask:secret>, {"api_key": "<mask:api_key>"}'
    assert without_secrets(once) == once


def test_the_token_of_a_stream_is_no_secret_by_its_name() -> None:
    writer = Writer()

    text = writer.payload(FrozenDict(token="Hello", usage=Usage(1, 2, 3)))

    assert Reader(writer.messages).payload(text) == {"token": "Hello", "usage": Usage(1, 2, 3)}
    assert "mask" not in writer.payload(FrozenDict(token="a monkey", chunk=None))


def test_what_a_project_masks_is_masked_too() -> None:
    with masks.use_rules([r"order = ORD-\d+", "pin"]):
        back = round_trip(FrozenDict(said="see ORD-123", pin="1234", text='{"pin": "1234"}'))

    assert back == {"said": "see <mask:order>", "pin": "<mask:pin>", "text": '{"pin": "<mask:pin>"}'}


def test_the_parameters_of_a_schema_are_no_secrets() -> None:
    schema = FrozenDict(type="object", properties=FrozenDict(password=FrozenDict(type="string"), token=FrozenDict(x="abc")))

    assert round_trip(schema) == {
        "type": "object",
        "properties": {"password": {"type": "string"}, "token": "<mask:token>"},
    }
    assert round_trip(FrozenDict(properties=FrozenDict(password="abc"))) == {"properties": {"password": "<mask:password>"}}


def test_an_integer_of_many_digits_is_read_back() -> None:
    assert round_trip(FrozenList([10**5_000, -(10**5_000)])) == [10**5_000, -(10**5_000)]


def test_a_list_is_read_back_however_deep_it_is() -> None:
    value = FrozenList()
    for _ in range(300):
        value = FrozenList([value])

    assert round_trip(value) == value


def test_a_message_with_a_message_in_it_is_read_back_from_each_of_two_writers_that_share_their_texts() -> None:
    inner = Message("human", "hi")
    outer = Message("tool", "x", artifact=FrozenDict(asked=inner))
    bodies: dict[Any, Any] = {}
    texts = []

    for messages in ((Message("ai", "first"), outer), (outer,)):  # the inner message has another number in each
        writer = Writer(bodies=bodies)
        text = writer.value(FrozenList(messages))
        texts.append((text, list(writer.messages)))

    assert [Reader(found).value(text)[-1] for text, found in texts] == [outer, outer]
