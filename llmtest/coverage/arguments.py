"""The arguments of a tool: which can be given and left out, which values and types they can have, and what one call gives.

Fields of objects are arguments as well, down to `MAX_DEPTH` levels: `order.lines.sku` is the field `sku` of the elements of the
field `lines` of the argument `order`. A field of one of several objects has the name of that object: `pet:Cat.name`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

Schema = Mapping[str, Any]

MAX_DEPTH: Final = 3
"""How many levels of fields count: the arguments are the first."""

GIVEN: Final = "given"
LEFT_OUT: Final = "left_out"

_MAX_REFERENCES: Final = 16

_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class Arguments:
    """What the JSON schema of a tool lets its calls give: `acts`, each the path of an argument and what can be with it.

    It is `given` or `left_out`, or it has a value or a type, as `='celsius'` or `:string`.

    >>> schema = {"properties": {"unit": {"enum": ["C", "F"]}, "near": {"type": "string"}}, "required": ["unit"]}
    >>> list(Arguments(schema).acts)
    [('unit', "='C'"), ('unit', "='F'"), ('near', 'given'), ('near', 'left_out')]
    >>> list(Arguments(schema).of_call({"unit": "C"}))
    [('unit', "='C'"), ('near', 'left_out')]
    """

    def __init__(self, schema: Schema) -> None:
        self._root = schema

    @cached_property
    def acts(self) -> Mapping[tuple[str, str], None]:
        """The acts, in the order of the schema."""
        return dict.fromkeys(self._fields(self._root, "", 1))

    def of_call(self, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield those of the acts that a call with these arguments does."""
        for name, schema in self.properties.items():
            if name not in given:
                found = [(name, LEFT_OUT)]
            elif name in self._with_values:
                found = [(name, GIVEN), *self._given_value(schema, given[name], name, 1)]
            else:
                found = [(name, GIVEN)]
            yield from (act for act in found if act in self.acts)

    @cached_property
    def _with_values(self) -> set[str]:
        """The arguments of which more counts than whether they are given."""
        return {name for name, schema in self.properties.items() if any(self._values(schema, name, 1))}

    @cached_property
    def properties(self) -> Mapping[str, Schema]:
        """The arguments themselves, with their schemas."""
        return self.properties_of(self._root)

    # -- schemas

    def properties_of(self, schema: Schema) -> Mapping[str, Schema]:
        found = schema.get("properties")
        if not isinstance(found, Mapping):
            return {}
        return {name: self._resolved(one) for name, one in found.items() if isinstance(one, Mapping)}

    def _resolved(self, schema: Schema) -> Schema:
        """Return a schema with the definition that its `$ref` names."""
        for _ in range(_MAX_REFERENCES):
            parts: Sequence[Any] = schema.get("allOf") or ()
            if len(parts) == 1 and isinstance(parts[0], Mapping):
                schema = {**{key: value for key, value in schema.items() if key != "allOf"}, **parts[0]}
            if "$ref" not in schema:
                return schema
            found: Any = self._root
            for name in str(schema["$ref"]).removeprefix("#/").split("/"):
                found = found.get(name) if isinstance(found, Mapping) else None
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**found, **rest} if isinstance(found, Mapping) else rest
        return {}

    def _alternatives(self, schema: Schema) -> Sequence[Schema]:
        """Return what a value may be: the members of a union, or the schema itself."""
        members = [self._resolved(one) for one in schema.get("anyOf") or schema.get("oneOf") or () if isinstance(one, Mapping)]
        return members or [schema]

    def union_of(self, schema: Schema) -> Sequence[Schema]:
        """Return the members of a union; none if it only lets a value be null."""
        members = self._alternatives(schema)
        return members if sum(one.get("type") != "null" for one in members) > 1 else ()

    def elements_of(self, schema: Schema) -> Schema | None:
        """Return the schema of the elements of a list."""
        inner = schema.get("items")
        return self._resolved(inner) if isinstance(inner, Mapping) else None

    # -- what can be

    def _fields(self, schema: Schema, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
        required = schema.get("required") or ()
        for name, one in self.properties_of(schema).items():
            path = prefix + name
            yield from ((path, act) for act in (GIVEN, LEFT_OUT) if name not in required)
            yield from self._values(one, path, depth)

    def _values(self, schema: Schema, path: str, depth: int) -> Iterator[tuple[str, str]]:
        members = self.union_of(schema)
        yield from ((path, f":{kind_of(member)}") for member in members)
        for one in self._alternatives(schema):
            values = [*one.get("enum", ()), *([one["const"]] if "const" in one else [])]
            yield from ((path, f"={value!r}") for value in values)
            elements = self.elements_of(one)
            if elements is not None and depth <= MAX_DEPTH:
                yield from self._values(elements, path, depth + (elements.get("type") == "array"))
            if depth < MAX_DEPTH:
                yield from self._fields(one, _prefix(path, one, members), depth + 1)

    # -- what is

    def _given_fields(self, schema: Schema, given: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
        for name, one in self.properties_of(schema).items():
            path = prefix + name
            if name in given:
                yield path, GIVEN
                yield from self._given_value(one, given[name], path, depth)
            else:
                yield path, LEFT_OUT

    def _given_value(self, schema: Schema, value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
        members = self.union_of(schema)
        fitting = [one for one in self._alternatives(schema) if not members or self.is_member(one, value)]
        yield from ((path, f":{kind_of(member)}") for member in fitting if members)
        yield path, f"={value!r}"
        for one in fitting:
            elements = self.elements_of(one)
            if isinstance(value, list) and elements is not None and depth <= MAX_DEPTH:
                for element in value:
                    yield from self._given_value(elements, element, path, depth + (elements.get("type") == "array"))
            elif isinstance(value, Mapping) and depth < MAX_DEPTH:
                yield from self._given_fields(one, value, _prefix(path, one, members), depth + 1)

    def is_member(self, schema: Schema, value: object) -> bool:
        """True if a value has the JSON type of `schema`, and of an object all that is required and nothing unknown."""
        kinds = _PYTHON.get(str(schema.get("type")))
        if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            return False
        if isinstance(value, Mapping):
            known, required = self.properties_of(schema), schema.get("required") or ()
            fits = set(required) <= set(value) and (not known or set(value) <= set(known))
            return fits and all(_is_tag(one, value[name]) for name, one in known.items() if name in value)
        return "enum" not in schema or value in schema["enum"]

    # -- an example

    def example(self, wanted: tuple[str, str], given: Mapping[str, Any], make: Callable[[Schema], Any]) -> dict[str, Any] | None:
        """Return arguments of a call that does one of the acts: `given`, changed where they must be; None if there are none.
        `make` makes a value that fits a schema."""
        found: dict[str, Any] | None = self._with(self._root, given, "", 1, _Wanted(*wanted, make))
        return found if found is not None and wanted in self.of_call(found) else None

    def _with(self, schema: Schema, given: Mapping[str, Any], prefix: str, depth: int, wanted: _Wanted) -> dict[str, Any] | None:
        for name, one in self.properties_of(schema).items():
            if wanted.is_at(prefix + name) and wanted.act == LEFT_OUT:
                return {key: value for key, value in given.items() if key != name}
            if wanted.is_at(prefix + name) or wanted.is_below(prefix + name):
                value = self._value_with(one, prefix + name, depth, wanted)
                if value is not _NONE:
                    return {**given, name: value}
        return None

    def _value_with(self, schema: Schema, path: str, depth: int, wanted: _Wanted) -> Any:
        members = self.union_of(schema)
        if wanted.is_at(path) and wanted.act == GIVEN:
            return wanted.make(self._whole(schema))
        for one in self._alternatives(schema):
            if wanted.is_at(path):
                if members and wanted.act == f":{kind_of(one)}":
                    return wanted.make(self._whole(one))
                values = [*one.get("enum", ()), *([one["const"]] if "const" in one else [])]
                if wanted.act in [f"={value!r}" for value in values]:
                    return next(value for value in values if wanted.act == f"={value!r}")
            elements = self.elements_of(one)
            if elements is not None and depth <= MAX_DEPTH:
                inner = self._value_with(elements, path, depth + (elements.get("type") == "array"), wanted)
                if inner is not _NONE:
                    return [inner]
            if "properties" in one and depth < MAX_DEPTH and wanted.path.startswith(_prefix(path, one, members)):
                base = wanted.make(self._whole(one))
                found = self._with(one, base, _prefix(path, one, members), depth + 1, wanted) if isinstance(base, dict) else None
                if found is not None:
                    return found
        return _NONE

    def _whole(self, schema: Schema) -> Schema:
        """Return a part of the schema with the definitions that it may refer to."""
        return {**{key: self._root[key] for key in ("$defs", "definitions") if key in self._root}, **schema}


_NONE: Final = object()


class _Wanted(NamedTuple):
    path: str
    act: str
    make: Callable[[Schema], Any]

    def is_at(self, path: str) -> bool:
        return self.path == path

    def is_below(self, path: str) -> bool:
        return self.path.startswith((f"{path}.", f"{path}:"))


def _is_tag(schema: Schema, value: object) -> bool:
    """True unless a field tells the members of a union apart, and has the value of another member."""
    return "const" not in schema or schema["const"] == value


def _prefix(path: str, schema: Schema, members: Sequence[Schema]) -> str:
    objects = sum("properties" in member for member in members)
    return f"{path}:{kind_of(schema)}." if objects > 1 else f"{path}."


def kind_of(schema: Schema) -> str:
    return str(schema.get("title") or schema.get("type") or "value")
