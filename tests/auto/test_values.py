"""What is invented fits: patterns, schemas, the words of fields, texts; and the same key gives the same for ever."""

from __future__ import annotations

import random
import re
import threading
from random import Random
from typing import Any

import faker
import pytest
from faker import Faker
from faker.generator import random as shared_by_faker
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for

from llmtest.auto import values as auto_values
from llmtest.events import FrozenDict
from llmtest.scripts.step_types import Call, split
from llmtest.scripts.tool_checks import check_call
from tests.support.schemas import BOOKING

# -- patterns


# -- schemas, keyword by keyword


# -- schemas at random


# -- the words of fields


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("email", r"\w+\.\w+\d+@example\.org"),
        ("userEmail", r"\w+\.\w+\d+@example\.org"),
        ("contact_email_address", r"\w+\.\w+\d+@example\.org"),
        ("phone", r"\+1-202-555-01\d\d"),
        ("date", r"202\d-\d\d-\d\d"),
        ("start_date", r"202\d-\d\d-\d\d"),
        ("time", r"\d\d:\d\d"),
        ("year", r"202\d"),
        ("month", r"[A-Z][a-z]+"),
        ("weekday", r"[A-Z][a-z]+day"),
        ("url", r"https://example\.org/\w+"),
        ("urls", r"https://example\.org/\w+"),
        ("ip_addresses", r"192\.0\.2\.\d+"),
        ("host", r"\w+\.example\.org"),
        ("filename", r"\w+\.txt"),
        ("path", r"/nonexistent/\w+/\w+\.txt"),
        ("orderId", r"[A-Z]{3}-\d{4}"),
        ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("currencies", r"[A-Z]{3}"),
        ("city", r"[A-Z][\w ]+"),
        ("city_name", r"[A-Z][\w ]+"),
        ("address", r"[^\n]+, [A-Z][\w ]+"),
        ("query", r"\w+( \w+){1,3}"),
        ("question", r"[A-Z]\w*( \w+){3,7}\?"),
        ("description", r"[A-Z]\w*( \w+){3,8}\."),
        ("tags", r"\w+"),
        ("product_name", r"\w+( \w+){0,2}"),
        ("whatever", r"\w+( \w+){0,2}"),
        ("", r"\w+( \w+){0,2}"),
    ],
)
def test_a_field_gets_words_by_its_name(name: str, pattern: str) -> None:
    schema = {"properties": {name: {"type": "string"}}, "required": [name]}

    texts = [auto_values.arguments("t", schema, str(seed))[name] for seed in range(20)]

    assert [text for text in texts if not re.fullmatch(pattern, text)] == []
    assert len(set(texts)) > 1


def test_every_word_of_the_tables_says_something() -> None:
    words = auto_values.Words(auto_values.generator(), "0")

    assert [name for name in auto_values._TEXTS if not words.text(name)] == []
    assert [name for name in auto_values._FORMATS if not words.format(name)] == []


@pytest.mark.parametrize(
    "name", ["date", "time", "date-time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "json-pointer", "regex"]
)
def test_a_text_in_a_format_is_in_it(name: str) -> None:
    judge = validator_for({"type": "string", "format": name}, validate_formats=True)

    texts = [auto_values.value({"type": "string", "format": name}, str(seed)) for seed in range(30)]

    assert [text for text in texts if not judge.is_valid(text)] == []


# -- the same for ever


def test_what_a_key_gives_is_the_same_for_ever() -> None:
    assert auto_values.arguments("book", BOOKING, "0 book 1") == {
        "seats": 9,
        "price": 407.13,
        "day": "2024-04-15",
        "at": "2023-09-02T03:19:47Z",
        "phone": "+1-202-555-0159",
        "order_id": "WPT-8802",
        "plate": "SK-500",
        "class": "first",
        "window": True,
        "luggage": [4, 23],
    }
    assert auto_values.arguments("book", BOOKING, "1 book 1")["at"] == "2029-04-12T00:23:23Z"


@pytest.mark.skipif(
    not faker.VERSION.startswith("40."), reason="the lists of words are Faker's, and may change with its major version"
)
def test_what_a_key_gives_in_words_is_the_same_with_the_same_faker() -> None:
    schema = {"properties": {name: {"type": "string"} for name in ("name", "city", "company", "email", "query")}}

    assert auto_values.arguments("book", {**schema, "required": list(schema["properties"])}, "0 book 1") == {
        "name": "Mrs. Tricia Duarte DDS",
        "city": "Blanchardberg",
        "company": "Farley Ltd",
        "email": "citizen.everyone19@example.org",
        "query": "box writer poor",
    }
    assert auto_values.sentences("0") == (
        "Community out soldier almost professional sport perhaps. Modern speak she game book couple indeed that the."
    )


def test_neither_threads_nor_what_was_invented_before_change_what_comes() -> None:
    keys = [str(key) for key in range(40)]
    schema = {"properties": {"name": {"type": "string"}, "city": {"type": "string"}}, "required": ["name", "city"]}
    alone = {key: auto_values.arguments("t", schema, key) for key in keys}
    found: list[dict[str, Any]] = []

    def work(seed: int) -> None:
        order = Random(seed).sample(keys, len(keys))
        found.append({key: auto_values.arguments("t", schema, key) for key in order})

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [alone] * 8


def test_neither_the_random_of_the_program_nor_its_faker_is_touched() -> None:
    fake = Faker()
    fake.seed_instance(3)
    before = random.getstate(), shared_by_faker.getstate(), fake.random.getstate()

    auto_values.arguments("book", BOOKING, "0")
    auto_values.sentences("0")

    assert (random.getstate(), shared_by_faker.getstate(), fake.random.getstate()) == before


def test_a_seed_of_the_programs_faker_changes_nothing() -> None:
    before = auto_values.sentences("0")

    state = shared_by_faker.getstate()
    Faker.seed(99)
    after = auto_values.sentences("0")
    shared_by_faker.setstate(state)

    assert after == before


@given(st.integers(1, 80), st.integers())
@settings(max_examples=50, deadline=None)
def test_a_text_has_exactly_as_many_tokens_as_asked(tokens: int, seed: int) -> None:
    assert len(split(auto_values.sentences(str(seed), tokens))) == tokens


# -- what a schema knows


def test_a_scripted_call_may_have_the_arguments_that_parts_of_the_schema_know() -> None:
    train = {"properties": {"train": {"type": "string"}}, "required": ["train"]}
    flight = {"properties": {"flight": {"type": "string"}}, "required": ["flight"]}
    trip = {"properties": {"to": {"type": "string"}}, "allOf": [{"$ref": "#/$defs/trip"}, {"$ref": "#/$defs/gone"}, True]}
    tools = {"book": {**trip, "anyOf": [flight, {"$ref": "#/$defs/train"}], "$defs": {"train": train, "trip": trip}}}

    problem = check_call(Call("book", FrozenDict(to="Lyon", trian="ICE")), tools)

    tools["book"]["$defs"]["gone"] = {}  # type: ignore[index]
    assert check_call(Call("book", FrozenDict(to="Lyon", train="ICE")), tools) is None
    assert problem == (
        "the script calls the tool `book` with other arguments than it takes\n"
        "  unknown  `trian`; did you mean `train`?\n"
        "  takes  `to`, `flight`, `train`"
    )


def test_a_scripted_call_may_have_arguments_by_pattern() -> None:
    tools = {"book": {"properties": {}, "patternProperties": {"^x_": {"type": "integer"}}}}

    assert check_call(Call("book", FrozenDict(x_a=1)), tools) is None
