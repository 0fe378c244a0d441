"""JSON, tables and Python values as nodes: the reader that knows the lines of YAML files then reads these too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmtest.core.safe_yaml import MAX_NESTING, Node
from llmtest.core.text import short
from llmtest.scripts.yaml_nodes import error_at

_YAML: Final = "tag:yaml.org,2002:"
TEXT, INT, FLOAT, LIST, MAP = (f"{_YAML}{kind}" for kind in ("str", "int", "float", "seq", "map"))


def text_node(text: str, line: int) -> Node:
    return Node(TEXT, text, line, '"')


class _Pairs(tuple[Any, ...]):
    """The pairs of a JSON object: a key may stand twice, which is an error where it is read."""

    __slots__ = ()


def json_line_nodes(text: str, path: str) -> list[Node]:
    """Return the values of the lines of a text, without empty ones.

    Raises:
        ScriptError: a line is not JSON, or nests too deeply; with its number.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [node_of(_read(line, number, path), f"{path}:{number}") for number, line in lines]


def _read(text: str, line: int, path: str) -> object:
    def number(tag: str) -> Callable[[str], Node]:
        return lambda digits: Node(tag, digits, line)

    try:
        return json.loads(
            text, object_pairs_hook=_Pairs, parse_int=number(INT), parse_float=number(FLOAT), parse_constant=number(FLOAT)
        )
    except json.JSONDecodeError as error:
        raise error_at(f"{path}:{line}", f"not JSON: {error.msg} at character {error.colno}") from None
    except RecursionError:
        raise error_at(f"{path}:{line}", _TOO_DEEP) from None


_TOO_DEEP: Final = f"the value nests deeper than {MAX_NESTING} levels"


def node_of(value: object, where: str, depth: int = 0) -> Node:
    """Return the node of a JSON value, whose line is the number after the colon in `where`.

    Raises:
        ScriptError: it is none, or nests too deeply.
    """
    line = int(where.rpartition(":")[2])
    if isinstance(value, Node):
        return value
    if depth > MAX_NESTING:
        raise error_at(where, _TOO_DEEP)
    if isinstance(value, str):
        return text_node(str(value), line)
    if value is None or isinstance(value, bool):
        return Node(f"{_YAML}null", "", line) if value is None else Node(f"{_YAML}bool", str(value).lower(), line)
    if isinstance(value, int | float):
        return Node(INT if isinstance(value, int) else FLOAT, repr(value), line)
    if isinstance(value, _Pairs | Mapping):
        pairs = value if isinstance(value, _Pairs) else value.items()
        return Node(MAP, [(node_of(key, where, depth + 1), node_of(item, where, depth + 1)) for key, item in pairs], line)
    if isinstance(value, list | tuple):
        return Node(LIST, [node_of(item, where, depth + 1) for item in value], line)
    raise error_at(where, f"a case holds JSON values; got {short(value)}, of the type {type(value).__name__}")
