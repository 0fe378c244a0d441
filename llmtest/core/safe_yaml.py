"""YAML from a file that anybody may have written, as nodes: no tag names code, and neither depth nor aliases exhaust memory.

Plain words mean what YAML 1.2 says, not what PyYAML makes of them: `no`, `12:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from llmtest.core.text import amount

MAX_NESTING: Final = 100
"""How many levels of lists and mappings a file may have."""
MAX_NODES: Final = 100_000
"""How many values aliases may add to a file: aliases of aliases grow exponentially."""


@dataclass(slots=True, eq=False)
class Node:
    """A value in a YAML text: a scalar has its text, a list its nodes, a mapping pairs of nodes.

    `tag` is its type, by PyYAML's name of it, or what the file says. `style` is the quote, or the sign of a block, of a scalar.
    """

    tag: str
    value: Any
    line: int
    style: str | None = None


class YamlError(Exception):
    """The text is no YAML, or larger than any file of ours. It has the line, and lines of evidence."""

    def __init__(self, line: int, text: str, *evidence: str) -> None:
        super().__init__(text)
        self.line, self.evidence = line, evidence


def compose(text: str) -> Node | None:
    """Return the root node of `text`; None for an empty one.

    Raises:
        YamlError: it is no YAML, or too large.
    """
    import yaml

    if yaml.__with_libyaml__:  # pragma: no branch - not on each platform; it reads 20 times as fast
        try:
            return _compose_events(iter(yaml.CSafeLoader(text).get_event, None))
        except yaml.YAMLError:
            pass  # read once more, for PyYAML's own words of what is wrong
    return _compose_in_python(text)


def _compose_in_python(text: str) -> Node | None:
    import yaml
    from yaml.reader import ReaderError

    class Events(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
        def __init__(self, stream: str) -> None:
            yaml.reader.Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)

    try:
        return _compose_events(iter(Events(text).get_event, None))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"not YAML: the character U+{int(error.character):04X} can stand only as an escape in double quotes"
        raise YamlError(line, problem) from None
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, text) from None


def _compose_events(events: Iterator[Any]) -> Node | None:
    """Return the root node of the one document in `events`.

    Nodes are composed in a loop, not by recursion, so that no depth exhausts the stack. An alias counts as often as it stands.
    """
    import yaml

    scalar, begin_list, begin_map = yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent
    end_list, end_map, alias, begin_document = (
        yaml.SequenceEndEvent,
        yaml.MappingEndEvent,
        yaml.AliasEvent,
        yaml.DocumentStartEvent,
    )
    roots: list[Any] = []
    anchors: dict[str, tuple[Node, Any]] = {}  # each with its place
    open_nodes: list[Node] = []
    above: list[tuple[list[Any], bool, Node | None]] = []  # the lists around the current one, as that is kept in these three:
    items, is_map, key = roots, False, None  # its entries, whether they are pairs, and the key that waits for its value
    root_mark: Any = None
    aliased = 0  # how many values aliases have added
    sizes: dict[Node, tuple[int, int]] = {}
    for event in events:
        kind = type(event)
        if kind is scalar:
            tag = event.tag
            if tag is None:
                tag = _TEXT if event.style else _tag_of(event.value)
            node = Node(_TEXT if tag == "!" else tag, event.value, event.start_mark.line + 1, event.style or None)
        elif kind is end_map or kind is end_list:
            items, is_map, key = above.pop()
            open_nodes.pop()
            continue
        elif kind is begin_map or kind is begin_list:
            tag = event.tag
            if tag is None or tag == "!":
                tag = _MAP if kind is begin_map else _LIST
            node = Node(tag, [], event.start_mark.line + 1)
            if len(above) >= MAX_NESTING:
                raise YamlError(node.line, f"the file nests deeper than {MAX_NESTING} levels")
        elif kind is alias:
            if event.anchor not in anchors:
                raise yaml.composer.ComposerError(None, None, f"found undefined alias {event.anchor!r}", event.start_mark)
            node = anchors[event.anchor][0]
            # A node that contains itself has no size: reading it fails later.
            size, depth = (1, 0) if node in open_nodes else _measure(node, sizes)
            aliased += size
            if depth + len(above) > MAX_NESTING:
                line = event.start_mark.line + 1
                raise YamlError(line, f"the file nests deeper than {MAX_NESTING} levels, with each alias written out")
            if aliased > MAX_NODES:
                raise YamlError(event.start_mark.line + 1, f"aliases multiply the file to more than {amount(MAX_NODES, 'value')}")
        elif kind is begin_document:
            if roots:
                raise yaml.composer.ComposerError(
                    "expected a single document in the stream", root_mark, "but found another document", event.start_mark
                )
            continue
        else:
            continue
        if kind is not alias and event.anchor:
            _check_anchor(anchors, event)
            anchors[event.anchor] = node, event.start_mark
        if not is_map:
            items.append(node)
        elif key is None:
            key = node
        else:
            items.append((key, node))
            key = None
        root_mark = root_mark or event.start_mark
        if kind is begin_map or kind is begin_list:
            above.append((items, is_map, key))
            open_nodes.append(node)
            items, is_map, key = node.value, kind is begin_map, None
    return roots[0] if roots else None


def _measure(node: Node, sizes: dict[Node, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values a node has with each alias written out, and how deep it nests."""
    if isinstance(node.value, str):
        return 1, 0
    if node not in sizes:
        sizes[node] = 1, 0  # what a node has that contains itself
        inner = [_measure(value, sizes) for entry in node.value for value in (entry if isinstance(entry, tuple) else (entry,))]
        sizes[node] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
    return sizes[node]


def _check_anchor(anchors: Mapping[str, tuple[Node, Any]], event: Any) -> None:
    import yaml

    if event.anchor in anchors:
        raise yaml.composer.ComposerError(
            f"found duplicate anchor {event.anchor!r}; first occurrence",
            anchors[event.anchor][1],
            "second occurrence",
            event.start_mark,
        )


@lru_cache(maxsize=4096)
def _tag_of(word: str) -> str:
    """Return the tag of a plain word, as YAML 1.2's core schema reads it."""
    return next((f"{_YAML}{tag}" for tag, words in _PLAIN_WORDS.items() if words.fullmatch(word)), f"{_YAML}str")


def _not_yaml(error: Any, text: str) -> YamlError:
    line = error.problem_mark.line
    lines = text.splitlines()
    evidence = [f"{line + 1} | {lines[line][:200]}"] if line < len(lines) else []
    if error.context_mark:
        evidence.append(f"{error.context}, which begins in line {error.context_mark.line + 1}")
    return YamlError(line + 1, f"not YAML: {error.problem}", *evidence)


_YAML: Final = "tag:yaml.org,2002:"
_TEXT: Final = f"{_YAML}str"
_LIST: Final = f"{_YAML}seq"
_MAP: Final = f"{_YAML}map"
_PLAIN_WORDS: Final = {
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
}
