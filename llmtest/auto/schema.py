"""Random values that fit a JSON schema.

Each value comes from the words of its own place (`words(key)`), so a new field of a schema changes no other value. Where
keywords interact (`oneOf`, `not`, `pattern`, ...), a constructed value is checked against the schema, and made again from
other words if it does not fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Any, Final, Protocol

from llmtest.auto import regex
from llmtest.core.text import amount
from llmtest.scripts import tool_checks

Path = tuple[str | int, ...]


class Words(Protocol):
    """The random words for one place of a schema."""

    random: Random

    def text(self, name: str) -> str:
        """A text for a field of this name."""

    def format(self, name: str) -> str | None:
        """A text in this format of JSON schema; None if the format is unknown."""

    def span(self, name: str) -> tuple[int, int]:
        """The usual bounds of a number for a field of this name."""

    def word(self) -> str: ...


class Impossible(Exception):
    """No value was found for a place of a schema. `str()` gives the place and the reason."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{'.'.join(map(str, path)) or 'the value'}  {why}")


OPTIONAL_DEPTH: Final = 4
"""From this depth on only required fields and items are made."""
MAX_NESTING: Final = 50
"""How deep values and choices may nest."""

MAX_VALUES: Final = 5000
"""How many values, misfits included, and checks one result may cost."""
MAX_TRIES: Final = 30
_CHECKED: Final = frozenset(
    ("not", "oneOf", "if", "contains", "propertyNames", "patternProperties", "dependentRequired", "dependentSchemas")
)


def sample(schema: Mapping[str, object], words: Callable[[str], Words], fits: Callable[[object], bool]) -> object:
    """Return a value for `schema` that `fits`; `words` returns the words of a place by its key.

    Raises:
        Impossible: none was found.
    """
    maker = _Maker(schema, words)
    return maker.retry(lambda: maker.value(schema, ()), fits, ())


class _Maker:
    """Makes one value. Holds the attempt and the rest of the budget."""

    def __init__(self, root: Mapping[str, object], words: Callable[[str], Words]) -> None:
        self._root = root
        self._words = words
        self._salt = ""
        self._left = MAX_VALUES
        self._depth = 0

    def retry(self, make: Callable[[], object], fits: Callable[[object], bool], path: Path, tries: int = MAX_TRIES) -> object:
        """Call `make`, with other words each time, until its value fits."""
        salt, why = self._salt, None
        for attempt in range(tries):
            self._salt = salt if not attempt else f"{salt}~{attempt}"
            try:
                made = make()
                if fits(made):
                    return made
            except Impossible as error:
                why = error if why is None or self._left >= 0 else why
            finally:
                self._salt = salt
            if self._left < 0:
                break
        raise why or Impossible(path, "nothing that was tried fits all of its schema")

    def _at(self, path: Path) -> Words:
        return self._words("/".join(map(str, path)) + self._salt)

    def _passes(self, value: object, schema: Mapping[str, object]) -> bool:
        """True if `value` fits this part of the schema; a part that is no schema on its own is checked with the whole."""
        self._left -= 1
        about = {key: self._root[key] for key in ("$schema", "$defs", "definitions") if key in self._root}
        try:
            return bool(tool_checks.compile_validator({**about, **schema}).is_valid(value))
        except ValueError:
            return True

    def value(self, schema: object, path: Path, name: str = "") -> object:
        if self._left < 0 or self._depth > MAX_NESTING:
            raise Impossible(path[:OPTIONAL_DEPTH], "its schema goes on without end")
        self._left -= 1
        self._depth += 1
        try:
            return self._value(schema, path, name)
        finally:
            self._depth -= 1

    def _value(self, schema: object, path: Path, name: str) -> object:
        found = self._resolve(schema, path)
        if not found.keys() & _CHECKED:
            return self._make(found, path, name)
        tries = 1 if len(path) > OPTIONAL_DEPTH else 8
        return self.retry(lambda: self._make(found, path, name), lambda made: self._passes(made, found), path, tries)

    def _resolve(self, schema: object, path: Path) -> dict[str, object]:
        """Return `schema` with the `$ref` at its top replaced."""
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise Impossible(path, "nothing is allowed there" if schema is False else f"its schema is {schema!r}")
        found, seen = _modernize(schema), set()
        while "$ref" in found:
            ref = found.pop("$ref")
            if ref in seen:
                raise Impossible(path, f"its schema is {ref!r}, which is itself")
            seen.add(ref)
            found = merge(found, _modernize(self._target(ref, path)))
        return found

    def _target(self, ref: object, path: Path) -> Any:
        target: Any = self._root
        try:
            for part in _pointer(str(ref)):
                target = target[int(part)] if isinstance(target, list) else target[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Impossible(path, f"its schema is {ref!r}, and only references such as '#/$defs/name' are followed") from None
        if not isinstance(target, Mapping):
            return {} if target is True else {"enum": []}
        return target

    # -- choices

    def _make(self, schema: dict[str, Any], path: Path, name: str) -> object:
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._one_of(schema, schema[key], key, path, name)
        if "if" in schema:
            return self._if(schema, path, name)
        if schema.get("allOf"):
            first, *others = schema["allOf"]
            rest = {**schema, "allOf": others}
            return self.value(merge(rest, self._resolve(first, path)), path, name)
        if "const" in schema or "enum" in schema:
            return self._pick_listed(schema, path)
        return self._of_type(schema, path, name)

    def _if(self, schema: dict[str, object], path: Path, name: str) -> object:
        rest = {key: given for key, given in schema.items() if key not in ("if", "then", "else")}
        ways = [{"allOf": [schema["if"], schema.get("then", True)]}, {"not": schema["if"], "allOf": [schema.get("else", True)]}]
        return self._one_of(rest, ways, "", path, name)

    def _one_of(self, schema: dict[str, object], ways: Sequence[object], key: str, path: Path, name: str) -> object:
        rest = {other: given for other, given in schema.items() if other != key}
        why = Impossible(path, "none of several schemas is there to choose")
        for way in self._in_order(ways, path):
            try:
                return self.value(merge(rest, self._resolve(way, path)), path, name)
            except Impossible as error:
                why = error
        raise why

    def _in_order(self, ways: Sequence[object], path: Path) -> list[object]:
        """Return the ways in the order of trial: random, null rather last; deep down the shallowest first."""
        random = self._at((*path, "way")).random
        chance = {id(way): (_is_null(way) and random.random() < 0.75, random.random()) for way in ways}
        if len(path) >= OPTIONAL_DEPTH:
            return sorted(ways, key=lambda way: (self._height(way, frozenset()), chance[id(way)]))
        return sorted(ways, key=lambda way: chance[id(way)])

    def _height(self, schema: object, seen: frozenset[str]) -> float:
        """Return the least depth of a value of this schema."""
        if not isinstance(schema, Mapping):
            return 0 if schema is True else math.inf
        if "$ref" in schema:
            ref = str(schema["$ref"])
            return math.inf if ref in seen else self._height(self._target(ref, ()), seen | {ref})
        found: list[float] = [0]
        for key in ("anyOf", "oneOf"):
            found += [min((self._height(way, seen) for way in schema[key]), default=math.inf)] if key in schema else []
        found += [self._height(part, seen) for part in schema.get("allOf", ())]
        properties = schema.get("properties", {})
        found += [1 + self._height(properties[name], seen) for name in schema.get("required", ()) if name in properties]
        found += [1 + self._height(schema["items"], seen)] if schema.get("minItems") and "items" in schema else []
        return max(found)

    def _pick_listed(self, schema: dict[str, Any], path: Path) -> object:
        listed = [schema["const"]] if "const" in schema else list(schema["enum"])
        fit = [value for value in listed if self._passes(value, schema)]
        if not fit:
            raise Impossible(path, f"none of the values {json.dumps(listed)} fits the rest of its schema")
        return self._at(path).random.choice(fit)

    # -- types

    def _of_type(self, schema: dict[str, Any], path: Path, name: str) -> object:
        words = self._at(path)
        shown = [value for value in schema.get("examples", ()) if self._passes(value, schema)]
        if shown:
            return words.random.choice(shown)
        kind = _type_of(schema, words.random, path)
        if kind == "null":
            return None
        if kind == "boolean":
            return words.random.random() < 0.5
        if kind in ("integer", "number"):
            return _number(schema, words, path, name, kind == "integer")
        if kind == "string":
            return self._string(schema, path, name)
        return self._array(schema, path, name) if kind == "array" else self._object(schema, path)

    def _string(self, schema: dict[str, Any], path: Path, name: str) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        if low > high:
            raise Impossible(path, f"no text has at least {low} and at most {high} characters")
        pattern, kind = schema.get("pattern"), schema.get("format")
        if pattern is None and (kind is None or self._at(path).format(kind) is None):
            return _text_of_length(self._at(path), name or str(kind or ""), low, high)
        for attempt in range(min(100, max(1, self._left))):
            self._left -= 1
            words = self._at((*path, attempt) if attempt else path)
            if pattern is None:
                tried = [words.format(str(kind)) or ""]
            else:
                text = _by_pattern(pattern, words.random, low, path)
                tried = [made for made in (text, text + "a" * (low - len(text))) if self._passes(made, {"pattern": pattern})]
            fit = [made for made in tried if low <= len(made) <= high]
            if fit:
                return fit[0]
        raise Impossible(path, f"no text {_describe_text(schema)} was found")

    def _array(self, schema: dict[str, Any], path: Path, name: str) -> list[object]:
        first = schema.get("prefixItems", [])
        low = max(schema.get("minItems", 0), schema.get("minContains", 1) if "contains" in schema else 0)
        high = schema.get("maxItems", math.inf)
        if schema.get("items") is False:
            high = min(high, len(first))
        if low > high:
            raise Impossible(path, f"no list has at least {low} and at most {high} items")
        usual = low if len(path) >= OPTIONAL_DEPTH else self._at((*path, "length")).random.randint(1, 3)
        made: list[object] = []
        while len(made) < min(max(low, usual, len(first)), high):
            item = self._item(schema, made, path, name)
            if item is None:
                break
            made += item
        if len(made) < low:
            raise Impossible(path, f"only {amount(len(made), 'item')} of at least {low} were found")
        return made

    def _item(self, schema: dict[str, Any], made: list[object], path: Path, name: str) -> list[object] | None:
        """Return the next item in a list; None if no further item fits."""
        first, at = schema.get("prefixItems", []), len(made)
        wanted = first[at] if at < len(first) else schema.get("items", True)
        if "contains" in schema and at < schema.get("minContains", 1):
            wanted = {"allOf": [wanted, schema["contains"]]}
        known = {_canonical(item) for item in made} if schema.get("uniqueItems") else frozenset()
        here = (*path, at)
        try:
            item = self.retry(lambda: self.value(wanted, here, name), lambda item: _canonical(item) not in known, here, 50)
        except Impossible as error:
            if at >= schema.get("minItems", 0):
                return None
            raise (Impossible(path, f"no item {at + 1} was found that is not there yet") if known else error) from None
        return [item]

    def _object(self, schema: dict[str, Any], path: Path) -> dict[str, object]:
        properties, required = schema.get("properties", {}), list(schema.get("required", ()))
        random = self._at((*path, "fields")).random
        usual = 0.0 if len(path) >= OPTIONAL_DEPTH else 0.75
        chosen = {name for name in properties if random.random() < usual}
        low, high = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
        made: dict[str, object] = {}
        for name in [*properties, *(name for name in required if name not in properties)]:
            owed = len(required) - sum(other in made for other in required)
            if name in required or (name in chosen and len(made) + owed < high):
                self._field(schema, made, name, path, name in required)
        if len(made) > high:
            raise Impossible(path, f"it must have {amount(len(made), 'field')}, and at most {high}")
        for name in self._more(schema, made, path):
            enough = low if properties or len(path) >= OPTIONAL_DEPTH or not _is_map(schema) else max(low, 1)
            if len(made) >= min(enough, high):
                break
            self._field(schema, made, name, path, False)
        if len(made) < low:
            raise Impossible(path, f"only {amount(len(made), 'field')} of at least {low} were found")
        return made

    def _field(self, schema: dict[str, object], made: dict[str, object], name: str, path: Path, required: bool) -> None:
        """Make one field; an optional field without a possible value is left out."""
        try:
            made[name] = self.value(self._schema_of(schema, name), (*path, name), name)
        except Impossible:
            if required:
                raise

    def _schema_of(self, schema: dict[str, Any], name: str) -> object:
        parts = [
            given for pattern, given in schema.get("patternProperties", {}).items() if self._passes(name, {"pattern": pattern})
        ]
        if name in schema.get("properties", {}):
            parts.insert(0, schema["properties"][name])
        if not parts:
            return schema.get("additionalProperties", True)
        return parts[0] if len(parts) == 1 else {"allOf": parts}

    def _more(self, schema: dict[str, Any], made: dict[str, object], path: Path) -> Iterator[str]:
        """Yield names of further fields: known properties, then new names."""
        yield from (name for name in schema.get("properties", {}) if name not in made)
        for number in range(50):
            try:
                name = self._new_name(schema, (*path, "name", number))
            except Impossible:
                return
            if name not in made:
                yield name

    def _new_name(self, schema: dict[str, Any], path: Path) -> str:
        words = self._at(path)
        if "propertyNames" in schema:
            asked = merge({"type": "string"}, self._resolve(schema["propertyNames"], path))
            return str(self.value(asked, path, "key"))
        by_pattern = list(schema.get("patternProperties", ()))
        if schema.get("additionalProperties") is False and by_pattern:
            return _by_pattern(words.random.choice(by_pattern), words.random, 0, path)
        return words.word()


def _modernize(schema: Mapping[str, object]) -> dict[str, object]:
    """Return `schema` with the keywords of drafts before 2019 (list `items`, boolean exclusive bounds) in today's form."""
    found = dict(schema)
    if isinstance(found.get("items"), list):
        found["prefixItems"], found["items"] = found["items"], found.pop("additionalItems", True)
    for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(found.get(key), bool):
            found.update({key: found[bound]} if found.pop(key) and bound in found else {})
    return found


def _pointer(ref: str) -> list[str]:
    """Return the keys of a reference into the schema."""
    start, *keys = ref.split("/")
    if start != "#":
        raise ValueError(ref)
    return [key.replace("~1", "/").replace("~0", "~") for key in keys]


# -- single values


def _is_null(way: object) -> bool:
    return isinstance(way, Mapping) and (way.get("type") == "null" or ("const" in way and way["const"] is None))


def _is_map(schema: Mapping[str, object]) -> bool:
    """True if it describes fields of any name."""
    return isinstance(schema.get("additionalProperties"), Mapping) or bool(schema.get("patternProperties"))


_KEYWORDS: Final = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "patternProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


def _type_of(schema: Mapping[str, Any], random: Random, path: Path) -> str:
    """Return the type of the value; without `type` the type that its keywords are about, else a text."""
    given = schema.get("type")
    if given is None:
        return next((kind for kind, keys in _KEYWORDS.items() if schema.keys() & set(keys)), "string")
    kinds: list[str] = [given] if isinstance(given, str) else list(given)
    if not kinds:
        raise Impossible(path, "its schema asks for several types at once")
    rather = [kind for kind in kinds if kind != "null"]
    return random.choice(rather if rather and random.random() < 0.75 else kinds)


def _canonical(value: object) -> str:
    """Return one text for values that JSON schema considers equal: 1 and 1.0, but not 1 and true."""
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(sorted(f'{json.dumps(key)}:{_canonical(item)}' for key, item in value.items()))}}}"
    return json.dumps(int(value) if type(value) is float and value.is_integer() else value)


def _describe_text(schema: Mapping[str, object]) -> str:
    low, high = schema.get("minLength"), schema.get("maxLength")
    bits = [f"of the pattern {schema['pattern']!r}"] if "pattern" in schema else [f"of the format {schema['format']!r}"]
    bits += [f"of at least {low} characters"] if low is not None else []
    return " and ".join([*bits, *([f"of at most {high} characters"] if high is not None else [])])


def _by_pattern(pattern: str, random: Random, low: int, path: Path) -> str:
    try:
        return regex.sample(pattern, random, max(3, low))
    except regex.PatternError as error:
        raise Impossible(path, f"the pattern {pattern!r} cannot be written out: {error}") from None


def _text_of_length(words: Words, name: str, low: int, high: float) -> str:
    """Return a text for this name, cut or padded to a length."""
    text = words.text(name)
    while len(text) < low:
        text = f"{text} {words.word()}"
    if len(text) > high:
        text = text[: int(high)].rstrip()
    return text + "a" * (low - len(text))


def _number(schema: Mapping[str, object], words: Words, path: Path, name: str, whole: bool) -> int | float:
    step = Fraction(1) if whole else None
    if "multipleOf" in schema:
        step = _common(step, _fraction(schema["multipleOf"]))
    low, high = _bounds(schema, words.span(name), step or Fraction(1, 100))
    grid = step or Fraction(1, 100)
    found = _on_grid(schema, low, high, grid, words.random)
    if found is None and step is None and low <= high:
        found = _on_grid(schema, low, high, (high - low) / 1000 or Fraction(1), words.random, low)
    if found is None:
        wanted = f"a multiple of {_show_number(step)}" if step not in (None, 1) else "a whole number" if whole else "a number"
        raise Impossible(path, f"{wanted} {_between(schema)} does not exist")
    return int(found) if whole else float(found)


def _bounds(schema: Mapping[str, object], usual: tuple[int, int], step: Fraction) -> tuple[Fraction, Fraction]:
    """Return the bounds of the search: the usual ones if the schema allows some of them; else those that it allows."""
    low = max((_fraction(schema[key]) for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    high = min((_fraction(schema[key]) for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    width = max(Fraction(100), 100 * step)
    if low is None:
        low = Fraction(usual[0]) if high is None else min(Fraction(usual[0]), high - width)
    if high is None:
        high = max(Fraction(usual[1]), low + width)
    inner = max(low, Fraction(usual[0])), min(high, Fraction(usual[1]))
    return inner if inner[1] - inner[0] >= 2 * step else (low, high)


def _on_grid(
    schema: Mapping[str, object], low: Fraction, high: Fraction, step: Fraction, random: Random, origin: Fraction = Fraction(0)
) -> Fraction | None:
    """Return a number from `low` to `high` that is whole steps away from `origin` and not excluded; None if none is."""
    first, last = math.ceil((low - origin) / step), math.floor((high - origin) / step)
    first += "exclusiveMinimum" in schema and first * step + origin == _fraction(schema["exclusiveMinimum"])
    last -= "exclusiveMaximum" in schema and last * step + origin == _fraction(schema["exclusiveMaximum"])
    return random.randint(first, last) * step + origin if first <= last else None


def _fraction(number: object) -> Fraction:
    return Fraction(str(number))


def _common(one: Fraction | None, other: Fraction) -> Fraction:
    """Return the least common multiple."""
    if one is None:
        return other
    return Fraction(math.lcm(one.numerator, other.numerator), math.gcd(one.denominator, other.denominator))


def _show_number(number: Fraction | None) -> str:
    return f"{float(number or 1):g}"


def _between(schema: Mapping[str, object]) -> str:
    words = {"minimum": "of at least", "exclusiveMinimum": "above", "maximum": "of at most", "exclusiveMaximum": "below"}
    return " and ".join(f"{said} {schema[key]}" for key, said in words.items() if key in schema)


# -- the conjunction of two schemas


def merge(one: Mapping[str, Any], other: Mapping[str, object]) -> dict[str, object]:
    """Return the conjunction of two schemas, as far as one schema can express it; `allOf` keeps choices apart."""
    found = dict(one)
    for key, given in other.items():
        if key not in found:
            found[key] = given
        elif key in _MERGE_KEYWORDS:
            found[key] = _MERGE_KEYWORDS[key](found[key], given)
        elif key in ("anyOf", "oneOf"):
            found["allOf"] = [*found.get("allOf", ()), {key: given}]
    return found


def _merge_any(one: Any, other: Any) -> object:
    """Return the conjunction of two schemas, each of which may be true or false."""
    if one is False or other is False:
        return False
    if one is True or other is True:
        return other if one is True else one
    if "$ref" in one or "$ref" in other:
        return {"allOf": [one, other]}
    return merge(one, other)


def _merge_fields(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    return {**one, **{name: _merge_any(one[name], given) if name in one else given for name, given in other.items()}}


def _types(one: Any, other: Any) -> list[str]:
    ours, theirs = ([given] if isinstance(given, str) else list(given) for given in (one, other))
    wide = [{*kinds, *(["integer"] if "number" in kinds else [])} for kinds in (ours, theirs)]
    return [kind for kind in dict.fromkeys([*ours, *theirs]) if kind in wide[0] and kind in wide[1]]


def _intersection(one: list[object], other: list[object]) -> list[object]:
    known = {_canonical(value) for value in other}
    return [value for value in one if _canonical(value) in known]


def _merge_lists(one: list[object], other: list[object]) -> list[object]:
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return [_merge_any(given, shorter[at]) if at < len(shorter) else given for at, given in enumerate(longer)]


_MERGE_KEYWORDS: Final[dict[str, Callable[[Any, Any], object]]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"), min),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions"), _merge_fields),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames", "contains"), _merge_any),
    "allOf": lambda one, other: [*one, *other],
    "enum": _intersection,
    "multipleOf": lambda one, other: float(_common(_fraction(one), _fraction(other))),
    "prefixItems": _merge_lists,
    "required": lambda one, other: [*one, *(name for name in other if name not in one)],
    "type": _types,
    "uniqueItems": lambda one, other: one or other,
}
