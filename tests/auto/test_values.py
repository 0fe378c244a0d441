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
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for

from llmtest.auto import regex
from llmtest.auto import values as auto_values
from llmtest.errors import InventError
from llmtest.events import FrozenDict
from llmtest.scripts.step_types import Call, split
from llmtest.scripts.tool_checks import check_call

# -- patterns

PATTERNS = [
    "",
    "abc",
    "^[A-Z]{2}-\\d{3}$",
    "^(foo|bar)+$",
    "^(?:a|b){2,4}?$",
    "^(?P<year>\\d{4})-(?<rest>\\w+)$",
    "^[^a-z]{5}$",
    "^[a\\-z]*$",
    "^[\\d_.-]+$",
    "^[\\w-]{3,}$",
    "^.?\\.\\S\\s\\D\\W$",
    "^\\x41\\u0042\\u{43}\\t$",
    "\\bword\\b",
    "^a{2}b{1,}c{0,2}$",
    "^\\p{L}\\p{Lu}\\P{L}\\pN$",
    "^(?=.)[a-z](?!b)$",
    "^[+*?.(){}|]$",
    "^a|b$",
    "^[]a]+$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_for_a_pattern_matches_it(pattern: str) -> None:
    # Python has no \p{..}, \u{..} and unnamed-P groups: the validator that knows them judges.
    judge = validator_for({"pattern": pattern.replace("(?<rest>", "(")})

    texts = [regex.written(pattern, Random(seed)) for seed in range(50)]

    assert [text for text in texts if not judge.is_valid(text)] == []


def test_texts_for_a_pattern_differ_by_the_random_and_keep_to_what_may_be_repeated() -> None:
    lengths = {len(regex.written("^a+$", Random(seed), more=5)) for seed in range(200)}

    assert lengths == {1, 2, 3, 4, 5, 6}
    assert {regex.written("^(x|y)$", Random(seed)) for seed in range(20)} == {"x", "y"}


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "it ends too early"),
        ("[a", "it ends too early"),
        ("(?<name", "it ends too early"),
        ("a)", "it closes a bracket that is not open"),
        ("a{3,2}", "it asks for 3 to 2 times"),
        ("*a", "it repeats nothing"),
        ("(a)\\1", "it has a back reference"),
        ("\\p{Greek}", "it has the class of characters 'Greek'"),
        ("[b-a]", "it has the range b-a"),
        ("[a-\\d]", "it has the range a-0123456789"),
        ("a{x}", "it has a brace that is no repetition"),
        ("a{1,x}", "it has a brace that is no repetition"),
        ("a{1", "it ends too early"),
        ("[^\\W\\w]", "it asks for a character of which there is none"),
        ("\\xzz", "it has the character 'zz'"),
        ("\\u{FFFFFFFF}", "it has the character 'FFFFFFFF'"),
    ],
)
def test_a_pattern_that_cannot_be_written_out_says_why(pattern: str, why: str) -> None:
    with pytest.raises(regex.PatternError) as caught:
        regex.written(pattern, Random(0))

    assert str(caught.value) == why


# -- schemas, keyword by keyword

NODE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["v", "kids"],
}
TERM = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"op": {"const": "add"}, "l": {"$ref": "#/$defs/term"}, "r": {"$ref": "#/$defs/term"}},
            "required": ["op", "l", "r"],
        },
        {"type": "object", "properties": {"op": {"const": "num"}, "n": {"type": "number"}}, "required": ["op", "n"]},
    ]
}
PAIR = {"type": "object", "properties": {"p": {"$ref": "#/$defs/pair"}, "q": {"anyOf": [{"$ref": "#/$defs/pair"}, False, True]}}}
DEFS = {
    "node": NODE,
    "term": TERM,
    "pair": PAIR,
    "any": True,
    "a/b~c": {"const": "escaped"},
    "all": {"allOf": [{"$ref": "#/$defs/node"}]},
}

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"

FITTING: list[Any] = [
    {},
    {"const": {"a": [1]}},
    {"enum": [1, "a", None]},
    {"enum": [1, 5, 9], "minimum": 4, "maximum": 6},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["string", "null"], "minLength": 2},
    {"type": "integer"},
    {"type": "integer", "minimum": 3, "maximum": 3},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "maximum": -1000},
    {"type": "integer", "minimum": 10**20},
    {"type": "integer", "multipleOf": 1000},
    {"type": "integer", "multipleOf": 0.5, "minimum": 1, "maximum": 1.5},
    {"type": "integer", "allOf": [{"multipleOf": 4}, {"multipleOf": 6}]},
    {"type": "number"},
    {"type": "number", "minimum": 0.001, "maximum": 0.002},
    {"type": "number", "minimum": 0.5, "maximum": 0.5},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    {"type": "number", "multipleOf": 0.01, "minimum": 5},
    {"type": "number", "maximum": -5.5},
    {"type": "string", "minLength": 40, "maxLength": 41},
    {"type": "string", "maxLength": 0},
    {"type": "string", "maxLength": 1},
    {"type": "string", "pattern": "^[a-z]+$", "minLength": 20, "maxLength": 20},
    {"type": "string", "pattern": "x", "minLength": 12},
    {"type": "string", "pattern": "^(?!0)\\d{3}$"},
    {"type": "string", "format": "email", "minLength": 5, "maxLength": 60},
    {"type": "string", "format": "nobody knows"},
    {"type": "array"},
    {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2},
    {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True},
    {"type": "array", "items": {"enum": [1, 1.0, [1], {"a": 1, "b": 2}]}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "items": False},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"const": "x"}], "items": False, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 3, "maxItems": 3},
    {"type": "array", "contains": {"const": 7}, "minContains": 2},
    {"type": "array", "contains": {"const": 7}},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
    {"type": "object", "minProperties": 3, "maxProperties": 3},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {
        "type": "object",
        "patternProperties": {"^x_[a-z]{2}$": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    {
        "type": "object",
        "patternProperties": {"^a": {"minimum": 5}},
        "properties": {"ab": {"type": "integer"}},
        "required": ["ab", "ac"],
    },
    {"type": "object", "propertyNames": {"pattern": "^[a-z]{9}$"}, "minProperties": 2},
    {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "minProperties": 2},
    {"type": "object", "propertyNames": {"type": "integer"}, "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": False}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "maxProperties": 1},
    {"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}},
    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"items": {"type": "integer"}},
    {"minimum": 4},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"anyOf": [False, {"type": "integer", "minimum": 5, "maximum": 3}, {"const": 1}]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}], "oneOf": [{"type": "integer"}, {"type": "null"}]},
    {"oneOf": [{"type": "integer", "minimum": 5}, {"type": "integer", "maximum": 8}]},
    {"type": "object", "properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
    {"allOf": [{"anyOf": [{"type": "string"}]}, {"anyOf": [{"minLength": 3}]}, True]},
    {"allOf": [{"enum": [1, 2, 3]}, {"enum": [2.0, 5]}]},
    {"allOf": [{"type": ["number", "string"]}, {"type": ["integer", "null"]}]},
    {"allOf": [{"type": "array", "items": True, "minItems": 1}, {"items": {"type": "integer"}}, {"items": {"maximum": 3}}]},
    {"allOf": [{"type": "array", "items": {"$ref": "#/$defs/node"}}, {"items": {"required": ["v"]}}]},
    {"allOf": [{"type": "array", "items": {"type": "integer"}}, {"items": True}, {"uniqueItems": True}, {"uniqueItems": False}]},
    {
        "allOf": [
            {"type": "array", "prefixItems": [{"type": "integer"}]},
            {"prefixItems": [{"minimum": 3}, {"type": "string"}], "minItems": 2},
            {"title": "x", "description": "one"},
            {"title": "y", "allOf": [{"maxItems": 2}]},
        ],
        "title": "z",
    },
    {"type": "object", "additionalProperties": {"type": "integer"}, "allOf": [{"additionalProperties": {"minimum": 5}}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 5}, "b": {}}}], "required": ["a"]},
    {"allOf": [{"additionalProperties": False, "properties": {"a": {}}}, {"additionalProperties": True}], "required": ["a"]},
    {"allOf": [{"type": "object", "properties": {"a": {}}}, {"properties": {"a": {"type": "integer"}}}], "required": ["a"]},
    {"type": "object", "properties": {"a": True, "b": False}, "allOf": [{"properties": {"a": False, "b": {}}}]},
    {"anyOf": [{"oneOf": [{"type": "integer"}, {"type": "string"}]}], "oneOf": [{"type": "integer"}, {"type": "null"}]},
    {"type": "integer", "not": {"multipleOf": 2}},
    {"type": "integer", "if": {"minimum": 50}, "then": {"multipleOf": 7}, "else": {"multipleOf": 3}},
    {"type": "integer", "if": {"minimum": 50}},
    {"type": "integer", "examples": [17, "seventeen"]},
    {"type": "object", "properties": {"t": {"$ref": "#/$defs/node"}}, "required": ["t"]},
    {
        "$schema": DRAFT_7,
        "type": "array",
        "items": [{"type": "integer"}, {"const": "x"}],
        "additionalItems": False,
        "minItems": 2,
    },
    {"$schema": DRAFT_7, "type": "array", "items": [{"type": "integer"}], "minItems": 2},
    {"$schema": DRAFT_4, "type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True},
    {"$schema": DRAFT_4, "type": "integer", "minimum": 3, "exclusiveMinimum": False, "maximum": 3},
    {"$schema": DRAFT_4, "type": "integer", "exclusiveMinimum": True, "minimum": -5},
    {"$ref": "#/$defs/term"},
    {"$ref": "#/$defs/pair", "minProperties": 1},
    {"$ref": "#/$defs/any"},
    {"$ref": "#/$defs/a~1b~0c"},
    {"$ref": "#/$defs/all"},
    {"anyOf": [{"type": "integer"}, {"$ref": "#/anyOf/0"}]},
    {"type": "object", "properties": {"me": {"$ref": "#"}, "v": {"type": "integer"}}, "required": ["v"]},
    {"type": "object", "properties": {"deep": {"oneOf": [{"$ref": "#"}, {"$ref": "#/properties/leaf"}]}, "leaf": {"const": 1}}},
]


@pytest.mark.parametrize("schema", FITTING, ids=repr)
def test_a_value_fits_its_schema(schema: dict[str, Any]) -> None:
    whole = {**schema, "$defs": DEFS}

    values = [auto_values.value(whole, str(seed)) for seed in range(12)]

    assert [value for value in values if not validator_for(whole).is_valid(value)] == []


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (
            {"type": "integer", "minimum": 5, "maximum": 3},
            "the value  a whole number of at least 5 and of at most 3 does not exist",
        ),
        ({"type": "number", "exclusiveMinimum": 5, "maximum": 5}, "the value  a number above 5 and of at most 5 does not exist"),
        (
            {"type": "number", "minimum": 1, "exclusiveMaximum": 1.5, "multipleOf": 1.5},
            "the value  a multiple of 1.5 of at least 1 and below 1.5 does not exist",
        ),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "the value  no text has at least 3 and at most 2 characters"),
        (
            {"type": "string", "pattern": "(a)\\1"},
            "the value  the pattern '(a)\\\\1' cannot be written out: it has a back reference",
        ),
        (
            {"type": "string", "pattern": "^[a-c]$", "minLength": 2, "maxLength": 9},
            "the value  no text of the pattern '^[a-c]$' and of at least 2 characters and of at most 9 characters was found",
        ),
        (
            {"type": "string", "format": "uuid", "maxLength": 9},
            "the value  no text of the format 'uuid' and of at most 9 characters was found",
        ),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "the value  no list has at least 3 and at most 2 items"),
        (
            {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True},
            "the value  no item 3 was found that is not there yet",
        ),
        ({"type": "array", "items": {"allOf": [False]}, "minItems": 1}, "0  nothing is allowed there"),
        (
            {"type": "array", "items": {"allOf": [False]}, "contains": {}},
            "the value  only 0 items of at least 1 were found",
        ),
        (
            {"type": "object", "required": ["a", "b"], "maxProperties": 1},
            "the value  it must have 2 fields, and at most 1",
        ),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False, "minProperties": 2},
            "the value  only 1 field of at least 2 were found",
        ),
        (
            {"properties": {"a": {"properties": {"b": False}, "required": ["b"]}}, "required": ["a"]},
            "a.b  nothing is allowed there",
        ),
        ({"enum": [1, "a"], "type": "null"}, 'the value  none of the values [1, "a"] fits the rest of its schema'),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "the value  its schema asks for several types at once"),
        ({"anyOf": [False, False]}, "the value  nothing is allowed there"),
        ({"type": "integer", "not": {"type": "integer"}}, "the value  nothing that was tried fits all of its schema"),
        ({"$ref": "#"}, "the value  its schema is '#', which is itself"),
        ({"$ref": "#/$defs/no"}, "the value  none of the values [] fits the rest of its schema"),
        (
            {"$ref": "#/$defs/loop"},
            "a.a.a.a  its schema goes on without end",
        ),
        (
            {"$ref": "#named", "not": {"$anchor": "named"}},
            "the value  its schema is '#named', and only references such as '#/$defs/name' are followed",
        ),
        (
            {"items": {"$id": "urn:x", "allOf": [{"$ref": "#/$defs/here"}], "$defs": {"here": {}}}, "minItems": 1},
            "0  its schema is '#/$defs/here', and only references such as '#/$defs/name' are followed",
        ),
    ],
)
def test_a_schema_that_nothing_fits_is_an_error_that_says_where_and_why(schema: dict[str, Any], why: str) -> None:
    loop = {"type": "object", "properties": {"a": {"$ref": "#/$defs/loop"}}, "required": ["a"]}

    with pytest.raises(InventError) as caught:
        auto_values.value({**schema, "$defs": {"no": False, "loop": loop}}, "0")

    assert str(caught.value) == f"a value for the schema could not be invented\n  {why}"


def test_what_did_not_fit_last_is_shown() -> None:
    with pytest.raises(InventError) as caught:
        auto_values.value({"type": "array", "unevaluatedItems": False, "minItems": 1}, "0")

    first, second, third = str(caught.value).splitlines()
    assert (first, second) == (
        "a value for the schema could not be invented",
        "  the value  nothing that was tried fits all of its schema",
    )
    assert third.startswith("  the last that was tried  Unevaluated items are not allowed")


def test_what_is_no_schema_is_an_error_of_its_own() -> None:
    with pytest.raises(InventError) as unknown:
        auto_values.value({"type": "text"}, "0")
    with pytest.raises(InventError) as elsewhere:
        auto_values.arguments("book", {"properties": {"a": {"$ref": "https://example.org/a"}}}, "0")

    assert str(unknown.value).startswith("a value for the schema could not be invented, because it is no JSON schema: ")
    assert str(elsewhere.value).startswith("arguments for the tool `book` could not be invented, because it is no JSON schema: ")


# -- schemas at random

NAMES = st.sampled_from(["email", "city", "name", "date", "seats", "price", "tags", "a"])
TEXTS = [
    {"type": "string"},
    {"type": "string", "minLength": 30},
    {"type": "string", "maxLength": 4},
    {"type": "string", "format": "date"},
]
PATTERNED = [{"type": "string", "pattern": pattern} for pattern in ("^[A-Z]{2}\\d{2,4}$", "\\w+@\\w+\\.com", "^(?!0)[0-9]{3}$")]
SIMPLE = st.one_of(
    st.sampled_from([*TEXTS, *PATTERNED, {}, True, {"type": "boolean"}, {"type": ["integer", "null"]}, {"const": 3}]),
    st.sampled_from([{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/term"}, {"enum": ["a", 1, None, 2.5]}]),
    st.tuples(st.sampled_from(["integer", "number"]), st.integers(-99, 99), st.integers(10, 50), st.sampled_from([1, 2, 5])).map(
        lambda given: {"type": given[0], "minimum": given[1], "exclusiveMaximum": given[1] + given[2], "multipleOf": given[3]}
    ),
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    more = draw(st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": True, "minProperties": 5}]))
    return {"type": "object", "properties": properties, "required": required, **more}


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    low = draw(st.integers(0, 3))
    if draw(st.booleans()):
        return {
            "type": "array",
            "items": {"type": draw(st.sampled_from(["string", "integer"]))},
            "minItems": low,
            "uniqueItems": True,
        }
    return {"type": "array", "items": draw(inner), "minItems": low, "maxItems": low + draw(st.integers(0, 2))}


SCHEMAS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: {"anyOf": ways}),
        st.tuples(st.sampled_from(TEXTS), objects(inner), arrays(inner)).map(lambda ways: {"oneOf": list(ways)}),
        inner.map(lambda one: {"allOf": [one, True], "title": "both"}),
    ),
    max_leaves=8,
)


@given(objects(SCHEMAS), st.integers(0, 9))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arguments_for_any_schema_pass_the_check_of_scripted_calls(schema: dict[str, Any], seed: int) -> None:
    if "minProperties" in schema:  # else the check would take a new name for a mistyped one
        assume(schema["additionalProperties"])
    tools = {"book": {**schema, "$defs": DEFS}}

    args = auto_values.arguments("book", tools["book"], str(seed))

    assert check_call(Call("book", FrozenDict(args)), tools) is None
    assert auto_values.arguments("book", tools["book"], str(seed)) == args


KEYWORDS: dict[str, Any] = {
    "type": st.sampled_from(["string", "integer", "object", "array", ["null", "array"]]),
    "minimum": st.floats(-5, 5),
    "multipleOf": st.sampled_from([1, 0.3]),
    "minLength": st.integers(0, 9),
    "pattern": st.sampled_from(["^a", "b$", "^(?:x|y){2,}$"]),
    "maxItems": st.integers(0, 2),
    "uniqueItems": st.booleans(),
    "required": st.lists(NAMES, max_size=3, unique=True),
    "maxProperties": st.integers(0, 2),
    "enum": st.lists(st.sampled_from([0, 1, "a", None, True]), max_size=3),
    "$ref": st.sampled_from(["#", "#/$defs/node", "#/$defs/all"]),
}


def _wild(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    nested = dict.fromkeys(("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"), inner)
    several = dict.fromkeys(("anyOf", "oneOf", "allOf"), st.lists(inner, min_size=1, max_size=3))
    named = dict.fromkeys(("properties", "patternProperties"), st.dictionaries(NAMES, inner, max_size=2))
    every = {**KEYWORDS, **nested, **several, **named}
    chosen = st.lists(st.sampled_from(sorted(every)), max_size=4, unique=True)
    return chosen.flatmap(lambda keys: st.fixed_dictionaries({key: every[key] for key in keys}))


@given(st.recursive(SIMPLE, _wild, max_leaves=6).filter(lambda schema: isinstance(schema, dict)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example({"minProperties": 1, "propertyNames": {"type": "integer"}})
@example({"oneOf": [{"$ref": "#"}, {"multipleOf": 0.3}]})
def test_a_senseless_schema_gives_a_value_that_fits_or_an_error_of_ours(schema: dict[str, Any]) -> None:
    whole = {**schema, "$defs": DEFS}

    try:
        value = auto_values.value(whole, "0")
    except InventError:
        return

    assert validator_for(whole).is_valid(value)


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


def test_numbers_lie_where_those_of_their_name_do() -> None:
    schema = {"properties": {"age": {"type": "integer"}, "rating": {"type": "number"}, "page": {"type": "integer", "minimum": 0}}}
    made = [auto_values.arguments("t", {**schema, "required": list(schema["properties"])}, str(seed)) for seed in range(50)]

    assert all(18 <= args["age"] <= 90 and 1 <= args["rating"] <= 5 and 1 <= args["page"] <= 9 for args in made)


def test_nothing_that_need_not_be_there_is_always_there_or_never() -> None:
    schema = {
        "properties": {"a": {"type": "integer"}, "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["b"],
    }

    made = [auto_values.arguments("t", schema, str(seed)) for seed in range(60)]

    assert {"a" in args for args in made} == {True, False}
    assert {args["b"] is None for args in made} == {True, False}


# -- the same for ever

FOR_EVER = {
    "type": "object",
    "properties": {
        "seats": {"type": "integer"},
        "price": {"type": "number", "minimum": 0},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "phone": {"type": "string"},
        "order_id": {"type": "string"},
        "plate": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        "class": {"enum": ["economy", "business", "first"]},
        "window": {"type": "boolean"},
        "luggage": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 32}, "minItems": 2},
    },
    "required": ["seats", "price", "day", "at", "phone", "order_id", "plate", "class", "window", "luggage"],
}


def test_what_a_key_gives_is_the_same_for_ever() -> None:
    assert auto_values.arguments("book", FOR_EVER, "0 book 1") == {
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
    assert auto_values.arguments("book", FOR_EVER, "1 book 1")["at"] == "2029-04-12T00:23:23Z"


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


def test_a_new_field_changes_no_other() -> None:
    more = {**FOR_EVER, "properties": {"before": {"type": "string"}, **FOR_EVER["properties"], "after": {"type": "string"}}}

    made = auto_values.arguments("book", {**more, "required": [*FOR_EVER["required"], "before", "after"]}, "0 book 1")

    assert {name: made[name] for name in FOR_EVER["required"]} == auto_values.arguments("book", FOR_EVER, "0 book 1")


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

    auto_values.arguments("book", FOR_EVER, "0")
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
