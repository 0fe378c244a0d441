"""YAML from a file that anybody may have written, as nodes: no tag names code, and neither depth nor aliases exhaust memory.

Plain words mean what YAML 1.2 says, not what PyYAML makes of them: `no`, `12:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from llmtest.core.text import amount

if TYPE_CHECKING:
    from yaml import Node

MAX_NESTING: Final = 100
"""How many levels of lists and mappings a file may have."""
MAX_NODES: Final = 100_000
"""How many values aliases may add to a file: aliases of aliases grow exponentially."""


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

    if yaml.__with_libyaml__:  # it reads 20 times as fast
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


@dataclass(slots=True, eq=False)
class _Open:
    """A list or mapping that is being composed. Holds state: the key that waits for its value, the size and depth so far."""

    node: Any
    key: Any = None
    size: int = 1
    depth: int = 0


def _compose_events(events: Iterator[Any]) -> Node | None:
    """Return the root node of the one document in `events`.

    Nodes are composed in a loop, not by recursion, so that no depth exhausts the stack. An alias counts as often as it stands.
    """
    import yaml

    root: Any = None
    anchors: dict[str, Any] = {}
    sizes: dict[Any, tuple[int, int]] = {}  # of each finished node that an alias may name
    above: list[_Open] = []
    count = 0
    for event in events:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            tag = event.tag or (_tag_of(event.value) if event.style is None or event.style == "" else f"{_YAML}str")
            tag = f"{_YAML}str" if tag == "!" else tag
            node: Any = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark, event.style or None)
            size, depth = 1, 1
        elif kind is yaml.AliasEvent:
            if event.anchor not in anchors:
                raise yaml.composer.ComposerError(None, None, f"found undefined alias {event.anchor!r}", event.start_mark)
            node = anchors[event.anchor]
            size, depth = sizes.get(node, (1, 0))  # a node that contains itself has no size yet: reading it fails later
        elif kind is yaml.SequenceStartEvent or kind is yaml.MappingStartEvent:
            make, word = (yaml.SequenceNode, "seq") if kind is yaml.SequenceStartEvent else (yaml.MappingNode, "map")
            tag = f"{_YAML}{word}" if event.tag in (None, "!") else event.tag
            opened = make(tag, [], event.start_mark, event.end_mark, flow_style=event.flow_style)
            if event.anchor:
                _check_anchor(anchors, event)
                anchors[event.anchor] = opened
            if len(above) >= MAX_NESTING:
                raise YamlError(event.start_mark.line + 1, f"the file nests deeper than {MAX_NESTING} levels")
            above.append(_Open(opened))
            continue
        elif kind is yaml.SequenceEndEvent or kind is yaml.MappingEndEvent:
            closed = above.pop()
            node, size, depth = closed.node, closed.size, closed.depth + 1
            node.end_mark = event.end_mark
            sizes[node] = size, depth
        elif kind is yaml.DocumentStartEvent and root is not None:
            raise yaml.composer.ComposerError(
                "expected a single document in the stream", root.start_mark, "but found another document", event.start_mark
            )
        else:
            continue
        count += 1
        if kind is yaml.ScalarEvent and event.anchor:
            _check_anchor(anchors, event)
            anchors[event.anchor] = node
        if size > MAX_NODES + count or depth > MAX_NESTING:
            line = event.start_mark.line + 1
            if depth > MAX_NESTING:
                raise YamlError(line, f"the file nests deeper than {MAX_NESTING} levels, with each alias written out")
            raise YamlError(line, f"aliases multiply the file to more than {amount(MAX_NODES, 'value')}")
        if not above:
            root = node
            continue
        parent = above[-1]
        parent.size += size
        parent.depth = max(parent.depth, depth)
        if isinstance(parent.node, yaml.SequenceNode):
            parent.node.value.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            parent.node.value.append((parent.key, node))
            parent.key = None
    return root  # type: ignore[no-any-return]


def _check_anchor(anchors: Mapping[str, Any], event: Any) -> None:
    import yaml

    if event.anchor in anchors:
        raise yaml.composer.ComposerError(
            f"found duplicate anchor {event.anchor!r}; first occurrence",
            anchors[event.anchor].start_mark,
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
_PLAIN_WORDS: Final = {
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
}
