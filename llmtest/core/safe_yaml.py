"""YAML from a file that anybody may have written, as nodes: no tag names code, and neither depth nor aliases exhaust memory.

Plain words mean what YAML 1.2 says, not what PyYAML makes of them: `no`, `12:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from llmtest.core.text import amount

if TYPE_CHECKING:
    from yaml import Node, SafeLoader

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
    from yaml.reader import ReaderError

    try:
        root: Node | None = yaml.compose(text, Loader=_loader())
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"not YAML: the character U+{int(error.character):04X} can stand only as an escape in double quotes"
        raise YamlError(line, problem) from None
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, text) from None
    return root


def _not_yaml(error: Any, text: str) -> YamlError:
    line = error.problem_mark.line
    lines = text.splitlines()
    evidence = [f"{line + 1} | {lines[line][:200]}"] if line < len(lines) else []
    if error.context_mark:
        evidence.append(f"{error.context}, which begins in line {error.context_mark.line + 1}")
    return YamlError(line + 1, f"not YAML: {error.problem}", *evidence)


def _children(node: Node) -> Iterable[Node]:
    """The nodes directly within a list or mapping."""
    if isinstance(node.value, str):
        return ()
    return (child for item in node.value for child in (item if isinstance(item, tuple) else (item,)))


@lru_cache(maxsize=1)
def _loader() -> type[SafeLoader]:
    """Return PyYAML's safe loader with the plain words of YAML 1.2's core schema."""
    from yaml import SafeLoader

    class Loader(SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 - in place of PyYAML's words of YAML 1.1

        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self._above = 0
            self._sizes: dict[Node, tuple[int, int]] = {}

        def compose_node(self, parent: Node | None, index: Any) -> Node | None:
            events: Any = self  # PyYAML's stubs leave its methods without types
            line = events.peek_event().start_mark.line + 1
            self._above += 1
            if self._above > MAX_NESTING:  # before PyYAML recurses deeper than Python can
                raise YamlError(line, f"the file nests deeper than {MAX_NESTING} levels")
            node = super().compose_node(parent, index)
            self._above -= 1
            if node is not None and node not in self._sizes:
                # A node that contains itself has no size yet: reading it fails later, at its line.
                inner = [self._sizes.get(child, (1, 0)) for child in _children(node)]
                self._sizes[node] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
            size, depth = self._sizes[node] if node is not None else (0, 0)
            if size > MAX_NODES + len(self._sizes):
                raise YamlError(line, f"aliases multiply the file to more than {amount(MAX_NODES, 'value')}")
            if depth > MAX_NESTING:
                raise YamlError(line, f"the file nests deeper than {MAX_NESTING} levels, with each alias written out")
            return node

    for tag, words in _PLAIN_WORDS.items():
        Loader.add_implicit_resolver(f"{_YAML}{tag}", re.compile(rf"(?:{words})\Z"), None)
    return Loader


_YAML: Final = "tag:yaml.org,2002:"
_PLAIN_WORDS: Final = {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
