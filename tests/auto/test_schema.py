"""Random values that fit a JSON schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for

from llmtest.auto import values as auto_values
from llmtest.errors import InventError
from llmtest.events import FrozenDict
from llmtest.scripts.step_types import Call
from llmtest.scripts.tool_checks import check_call
from tests.support.schemas import BOOKING

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


SENSELESS = st.recursive(SIMPLE, _wild, max_leaves=6).filter(lambda schema: isinstance(schema, dict))


@given(SENSELESS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example({"minProperties": 1, "propertyNames": {"type": "integer"}})
@example({"oneOf": [{"$ref": "#"}, {"multipleOf": 0.3}]})
def test_a_senseless_schema_gives_a_value_that_fits_or_an_error_of_ours(schema: dict[str, Any]) -> None:
    check_senseless(schema)


@pytest.mark.soak
@given(SENSELESS)
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_many_senseless_schemas_do(schema: dict[str, Any]) -> None:
    check_senseless(schema)


def check_senseless(schema: dict[str, Any]) -> None:
    whole = {**schema, "$defs": DEFS}

    try:
        value = auto_values.value(whole, "0")
    except InventError:
        return

    assert validator_for(whole).is_valid(value)


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


def test_a_new_field_changes_no_other() -> None:
    more = {**BOOKING, "properties": {"before": {"type": "string"}, **BOOKING["properties"], "after": {"type": "string"}}}

    made = auto_values.arguments("book", {**more, "required": [*BOOKING["required"], "before", "after"]}, "0 book 1")

    assert {name: made[name] for name in BOOKING["required"]} == auto_values.arguments("book", BOOKING, "0 book 1")
