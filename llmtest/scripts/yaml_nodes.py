"""Read YAML that a person writes, node by node, so that each error knows its file and line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llmtest.core.safe_yaml import MAX_NESTING, Node, YamlError, compose
from llmtest.core.source import shown_path
from llmtest.core.text import clip, did_you_mean
from llmtest.errors import ScriptError
from llmtest.events.words import FrozenDict, FrozenList

_YAML: Final = "tag:yaml.org,2002:"
_TEXT: Final = f"{_YAML}str"
_INT: Final = f"{_YAML}int"
_KINDS: Final = {f"{_YAML}{kind}": kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
"""YAML's own types, by PyYAML's names of them."""
MAX_DIGITS: Final = 300
"""How many characters a number may have: any float fits, and Python converts it in no time."""


# -- places in a file


class At:
    """A place in a file: its node, and the key before it in a mapping.

    Its `name` in errors is `label`, or the key, and, where it lies in another place `of`, the name of that. It is made only for
    an error.
    """

    __slots__ = ("_label", "_of", "_pairs", "key", "node", "path")

    def __init__(self, path: str, node: Node, label: str, key: Node | None = None, of: At | str = "") -> None:
        self.path, self.node, self.key = path, node, key
        self._label, self._of = label, of
        self._pairs: dict[str, At] | None = None

    @property
    def name(self) -> str:
        of = self._of.name if isinstance(self._of, At) else self._of
        label = self._label or f"`{self.key.value if self.key else ''}`"
        return f"{label} of {of}" if of else label

    @property
    def where(self) -> str:
        return f"{self.path}:{self.node.line}"

    def error(self, text: str, *evidence: str) -> ScriptError:
        return error_at(self.where, text, *evidence)

    def key_error(self, text: str, *evidence: str) -> ScriptError:
        """Return an error at the line of the key, which may lie above that of its value."""
        return At(self.path, self.key or self.node, self.name).error(text, *evidence)

    def wrong(self, expected: str) -> ScriptError:
        quotable = "text" in expected and self.kind in ("int", "float", "bool")
        evidence = [f'quote it to make it text: "{self.node.value}"'] if quotable else []
        return self.error(f"{self.name} must be {expected}; got {self.shown()}", *evidence)

    @property
    def kind(self) -> str:
        """`str`, `int`, `float`, `bool`, `null`, `seq` or `map`; a ScriptError for any other tag."""
        tag = self.node.tag
        kind = _KINDS.get(tag)
        if kind is None:
            shown = tag if tag.startswith("!") else f"!!{tag.removeprefix(_YAML)}"
            raise self.error(f"{self.name} has the YAML tag `{shown}`; a file of data has no tags")
        return kind

    def shown(self) -> str:
        kind = self.kind
        fixed = {"seq": "a list", "map": "a mapping", "null": "nothing", "str": f"the text {clip(repr(self.node.value), 200)}"}
        return fixed.get(kind) or f"the {kind} {clip(self.node.value, 80)}"

    def items(self, expected: str, noun: str = "entry", of: str | None = None) -> list[At]:
        """Return the entries of a list; errors name them by `noun`, their number, and `of` (else this place)."""
        if self.kind != "seq":
            raise self.wrong(expected)
        whose = self if of is None else of
        return [At(self.path, node, f"{noun} {number}", None, whose) for number, node in enumerate(self.node.value, 1)]

    def pairs(self) -> dict[str, At]:
        """Return the values of a mapping by key."""
        if self._pairs is None:
            self._pairs = {}
            path, pairs = self.path, self._pairs
            for key, value in self.node.value:
                name = key.value
                if key.tag != _TEXT or name in pairs or name == "<<":
                    self._check_key(key, pairs)
                pairs[name] = At(path, value, "", key, self)
        return self._pairs

    def _check_key(self, key: Any, before: Mapping[str, At]) -> None:
        at_key = At(self.path, key, "a key", None, self)
        if key.value == "<<" and key.style is None:
            raise at_key.error(f"{self.name} has the YAML merge `<<`, which is not read; write the keys out")
        if key.tag != _TEXT:
            raise at_key.wrong("text")
        if key.value in before:
            line = (before[key.value].key or key).line
            raise at_key.error(f"{self.name} has the key `{key.value}` twice; the first is in line {line}")

    def only(self, allowed: Sequence[str], expected: Sequence[str] = ()) -> dict[str, At]:
        """Return the pairs of a mapping without unknown keys; an error lists the `expected` ones (else all `allowed`)."""
        pairs = self.pairs()
        for key, value in pairs.items():
            if key not in allowed:
                lines = [f"expected  {join_or(expected or allowed)}", did_you_mean(key, allowed, before="")]
                raise value.key_error(f"{self.name} has the unknown key `{key}`", *filter(None, lines))
        return pairs

    def mapped(self, expected: str) -> list[tuple[str, At]]:
        """Return the keys and values of a mapping of names that the file chooses."""
        if self.kind != "map":
            raise self.wrong(expected)
        return list(self.pairs().items())

    def text(self, expected: str = "text") -> str:
        if self.kind != "str":
            raise self.wrong(expected)
        return str(self.node.value)

    def number(self, kind: type[int] | type[float], expected: str) -> Any:
        """Return a number of this kind, 0 or more. An int is a float, a bool is neither."""
        text = self.node.value
        if self.node.tag == _INT and len(text) < 10 and text.isdecimal():
            return int(text)  # nearly all are such, and a recorded file has thousands
        found = self.kind
        value = self.json() if found in ("int", "float") else None
        if value is None or value < 0 or (kind is int and found == "float"):
            raise self.wrong(expected)
        return value

    def any_number(self, expected: str) -> float:
        """Return a number, also a negative one."""
        if self.kind not in ("int", "float"):
            raise self.wrong(expected)
        return float(self.json())

    def json(self, inside: tuple[Node, ...] = ()) -> Any:
        """Return the frozen JSON value at this place."""
        try:
            return _plain_json(self.node, 0)
        except ValueError:
            return self._json(inside)

    def _json(self, inside: tuple[Node, ...]) -> Any:
        """The same place by place, so that an error knows its own."""
        if self.node in inside:
            raise self.error(f"{self.name} contains itself")
        if self.kind == "seq":
            return FrozenList(entry._json((*inside, self.node)) for entry in self.items(""))
        if self.kind == "map":
            return FrozenDict({key: value._json((*inside, self.node)) for key, value in self.pairs().items()})
        try:
            value = _scalar(self.kind, self.node.value)
        except (KeyError, ValueError):
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(f"{self.name} is not a JSON value; got {self.shown()}")
        return value

    def texts(self) -> tuple[str, ...]:
        """Return one text, or each text of a list."""
        expected = "text, or a list of texts"
        return (self.text(expected),) if self.kind != "seq" else tuple(entry.text() for entry in self.items(expected))

    def flag(self) -> bool:
        if self.kind != "bool":
            raise self.wrong("true or false")
        return bool(self.json())

    def mapping(self, expected: str = "a mapping") -> FrozenDict:
        if self.kind != "map":
            raise self.wrong(expected)
        return FrozenDict(self.json())


def _plain_json(node: Node, depth: int) -> Any:
    """Return the frozen JSON value of a node. Raises `ValueError` for whatever is none."""
    kind = _KINDS.get(node.tag)
    if kind == "str":
        return node.value
    if depth > MAX_NESTING or kind is None:
        raise ValueError
    if kind == "seq":
        return FrozenList([_plain_json(item, depth + 1) for item in node.value])
    if kind == "map":
        found = {key.value: _plain_json(value, depth + 1) for key, value in node.value}
        if len(found) < len(node.value) or any(key.tag != _TEXT or key.value == "<<" for key, _ in node.value):
            raise ValueError
        return FrozenDict(found)
    try:
        value = _scalar(kind, node.value)
    except KeyError:
        raise ValueError from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value


def _scalar(kind: str, text: str) -> object:
    if len(text) > MAX_DIGITS and kind in ("int", "float"):
        raise ValueError(text)
    if kind == "int":
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    return text if kind == "str" else None


def error_at(where: str, text: str, *evidence: str) -> ScriptError:
    return ScriptError("\n".join([f"{shown_path(where)}: {text}", *(f"  {line}" for line in evidence)]))


def join_or(words: Iterable[str]) -> str:
    return _join(words, "or")


def join_and(words: Iterable[str]) -> str:
    return _join(words, "and")


def _join(words: Iterable[str], between: str) -> str:
    *most, last = [f"`{word}`" for word in words]
    return f"{', '.join(most)} {between} {last}" if most else last


def decode(text: str | bytes, path: str) -> str:
    """Return the text of a file.

    Raises:
        ScriptError: it is not UTF-8.
    """
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise error_at(f"{path}:{line}", f"the file is not UTF-8: {error.reason} 0x{text[error.start]:02x}") from None


def compose_text(text: str, path: str) -> Node | None:
    """Return the root of a YAML text, or None if it is empty.

    Raises:
        ScriptError: it is not YAML, or larger than the limits; with the line.
    """
    if (conflict := _CONFLICT.search(text)) is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        raise error_at(
            f"{path}:{line}",
            f"a merge was not finished: the line begins with the conflict marker `{conflict[1]}`",
            "keep one of the two sides, and delete the lines with the markers",
        )
    try:
        return compose(text)
    except YamlError as error:
        raise error_at(f"{path}:{error.line}", str(error), *error.evidence) from None


_CONFLICT: Final = re.compile(r"^(<{7}|={7}|>{7}|\|{7})(?= |$)", re.MULTILINE)
