"""What can be with the arguments of a tool, and what a call does with them."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from llmtest.coverage.arguments import MAX_DEPTH, Arguments
from llmtest.langchain.inventory import tool_of

UNION = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
OBJECTS = {
    "anyOf": [
        {"title": "Card", "type": "object", "properties": {"number": {}}, "required": ["number"]},
        {"title": "Cash", "type": "object", "properties": {}, "required": []},
    ]
}


def acts(schema: Any, *, required: bool = True) -> list[str]:
    made = Arguments({"properties": {"x": schema}, "required": ["x"] if required else []})
    return [f"{path}.{act}".removeprefix("x.") for path, act in made.acts]


def done(schema: Any, value: object) -> list[str]:
    made = Arguments({"properties": {"x": schema}})
    return [f"{path}.{act}".removeprefix("x.") for path, act in made.of_call({"x": value})][1:]


@pytest.mark.parametrize(
    ("schema", "required", "expected"),
    [
        ({"type": "string"}, True, []),
        ({"type": "string"}, False, ["given", "left_out"]),
        ({"type": "string", "enum": ["a", "b"]}, True, ["='a'", "='b'"]),
        ({"const": 1}, True, ["=1"]),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}, False, ["given", "left_out", "='a'"]),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, True, ["='a'", "='b'"]),
        ({"type": "array", "items": {"type": "array", "items": {"enum": ["a"]}}}, True, ["='a'"]),
        (UNION, True, [":string", ":array", ":null"]),
        ({"type": "array", "items": UNION}, True, [":string", ":array", ":null"]),
        (OBJECTS, True, [":Card", ":Cash"]),
        ("anything", True, []),
    ],
)
def test_what_can_be_with_an_argument(schema: Any, required: bool, expected: list[str]) -> None:
    assert acts(schema, required=required) == expected


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (UNION, "x", [":string"]),
        (UNION, ["x"], [":array"]),
        (UNION, None, [":null"]),
        ({"type": "array", "items": UNION}, ["x", None], [":string", ":null"]),
        (OBJECTS, {"number": 1}, [":Card", ":Cash"]),  # `Cash` has no fields of its own, and refuses none
        (OBJECTS, {}, [":Cash"]),
        ({"type": "string"}, "x", []),
        ({"enum": ["a", "b"]}, "a", ["='a'"]),
        ({"enum": [1]}, True, []),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, ["a", "a", "c"], ["='a'", "='a'"]),
    ],
)
def test_what_a_given_value_is(schema: Any, value: object, expected: list[str]) -> None:
    assert done(schema, value) == expected


@pytest.mark.parametrize(
    ("schema", "value", "is_one"),
    [
        ({"type": "integer"}, 1, True),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, 1, True),
        ({"type": "boolean"}, True, True),
        ({"type": "string"}, 1, False),
        ({"type": "odd"}, 1, True),
        ({"type": "string", "enum": ["a"]}, "a", True),
        ({"type": "string", "enum": ["a"]}, "b", False),
    ],
)
def test_which_values_are_members(schema: Any, value: object, is_one: bool) -> None:
    assert Arguments({}).is_member(schema, value) is is_one


# -- nested: a tool as a user writes it


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str
    age: int | None = None


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = "Rex"


class Line(BaseModel):
    sku: str
    size: Size = Size.SMALL
    note: str | None = None


class Order(BaseModel):
    lines: list[Line]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    rush: bool = False


@tool
def buy(order: Order, more: list[Order] | None = None) -> str:
    """Buy."""
    return "bought"


def spread(text: str) -> list[str]:
    """Return acts: each line is a path, a colon, and what can be with it."""
    pairs = (line.strip().partition(": ") for line in text.strip().splitlines())
    return [f"{path}.{act}" for path, _, ends in pairs for act in ends.split()]


ORDER = """
    {}.lines.size: given left_out ='s' ='l'
    {}.lines.note: given left_out
    {}.pet: :Cat :Dog
    {}.pet:Cat.kind: ='cat'
    {}.pet:Cat.age: given left_out
    {}.pet:Dog.kind: ='dog'
    {}.pet:Dog.name: given left_out
    {}.rush: given left_out
"""


def test_fields_of_models_are_arguments_down_to_three_levels() -> None:
    found = tool_of(buy).arguments

    expected = [*spread(ORDER.replace("{}", "order")), *spread("more: given left_out"), *spread(ORDER.replace("{}", "more"))]
    assert sorted(f"{path}.{act}" for path, act in found.acts) == sorted(expected)


def test_what_a_call_with_nested_models_does() -> None:
    found = tool_of(buy).arguments
    order = {"lines": [{"sku": "1"}, {"sku": "2", "size": "l"}], "pet": {"kind": "dog", "name": "Rex"}}

    assert {f"{path}.{act}" for path, act in found.of_call({"order": order})} == set(
        spread("""
            order.lines.size: given left_out ='l'
            order.lines.note: left_out
            order.pet: :Dog
            order.pet:Dog.kind: ='dog'
            order.pet:Dog.name: given
            order.rush: left_out
            more: left_out
        """)
    )


def test_each_act_has_an_example_and_a_call_with_it_does_it() -> None:
    from llmtest.auto import values

    found = tool_of(buy).arguments

    def plain(schema: Any) -> Any:
        return values.value(schema, "x")

    base = values.arguments("buy", tool_of(buy).schema, "buy")
    for act in found.acts:
        example = found.example(act, base, plain)
        assert example is not None, act
        buy.invoke(example)
        assert act in set(found.of_call(example)), act


def test_an_act_without_an_example() -> None:
    one_of = Arguments({"properties": {"x": OBJECTS}, "required": ["x"]})

    assert one_of.example(("x", ":Card"), {}, lambda schema: "no object") is None
    assert one_of.example(("gone", "given"), {}, lambda schema: 1) is None
    assert one_of.example(("x:Card.number", "given"), {}, lambda schema: "no object") is None


NODE = {
    "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "label": {"enum": ["a"]}}}},
    "properties": {"node": {"allOf": [{"$ref": "#/$defs/Node"}], "description": "the first"}, "lost": {"$ref": "#/$defs/Gone"}},
    "required": ["node", "lost"],
}


def test_references_are_followed_and_a_circle_ends() -> None:
    assert [f"{path}.{act}" for path, act in Arguments(NODE).acts] == spread("""
        node.next: given left_out
        node.next.next: given left_out
        node.next.label: given left_out ='a'
        node.label: given left_out ='a'
    """)
    assert Arguments({"$defs": {"A": {"$ref": "#/$defs/A"}}, "properties": {"x": {"$ref": "#/$defs/A"}}}).properties == {"x": {}}


# -- at random: a call does nothing that is not listed, and what it does is what it has


def schemas(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    plain = st.sampled_from([{"type": "string"}, {"enum": ["a", "b"]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, UNION])
    if depth == 0:
        return plain
    inner = schemas(depth - 1)
    fields = st.dictionaries(st.sampled_from("pqr"), inner, max_size=2)
    objects = fields.map(lambda found: {"type": "object", "properties": found, "required": sorted(found)[:1]})
    return st.one_of(plain, objects, inner.map(lambda one: {"type": "array", "items": one}))


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*map(values_of, schema["anyOf"]))
    if schema["type"] == "array":
        return st.lists(values_of(schema["items"]), max_size=2)
    if schema["type"] == "object":
        needed = {name: values_of(one) for name, one in schema["properties"].items() if name in schema["required"]}
        rest = {name: values_of(one) for name, one in schema["properties"].items() if name not in schema["required"]}
        return st.fixed_dictionaries(needed, optional=rest)
    return {"string": st.just("a"), "integer": st.just(1), "null": st.none()}[schema["type"]]


def paths_of(value: Any, path: str, depth: int) -> set[str]:
    """Return the paths at which a value has something, by a naive walk."""
    if isinstance(value, list):
        return {path}.union(*(paths_of(one, path, depth) for one in value))
    if isinstance(value, dict) and depth < MAX_DEPTH:
        return {path}.union(*(paths_of(one, f"{path}.{name}", depth + 1) for name, one in value.items()))
    return {path}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_a_random_call_does_is_listed_and_is_where_it_has_something(data: st.DataObject) -> None:
    schema = data.draw(schemas(3))
    value = data.draw(values_of(schema))
    found = Arguments({"properties": {"x": schema}})

    told = list(found.of_call({"x": value}))

    assert set(told) <= set(found.acts)
    here = paths_of(value, "x", 1)
    assert {path for path, act in told if act == "given"} <= here
    assert {path for path, act in told if act == "left_out"} & here <= {path for path, act in told if act == "given"}
    listed = {path for path, act in found.acts if act == "given"}
    assert {path for path, act in told if act == "given"} == here & listed
