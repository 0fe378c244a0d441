"""Tree texts back to trees, line by line and without eval, and the damage of a file with such a text.

The grammar is in docs/reference/tree-text.md. The reader takes the layout apart: runs, groups, entries, the fields of a
first line. Values stay text, because they are compared as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from llmtest.errors import TreeTextError
from llmtest.events.callbacks import RunKind
from llmtest.trees.rendering import HEADER, LEFT_OUT
from llmtest.trees.run_lines import REAL

NodeKind = Literal["run", "parallel", "late", "entry", "line"]
SIGNS: Final = frozenset("+>*~@<!?^")

ENDINGS: Final = frozenset("<!?^")
NOTHING: Final = "(nothing was recorded)"

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_HEAD: Final = re.compile(
    rf"(?P<still>still )?(?P<keys>(?:(?:(?:condition|branch) (?:\d+|default)|{_QUOTED}|[^\s\"():]+): )*)"
    rf"(?P<kind>{'|'.join(get_args(RunKind))}) (?P<name>{_QUOTED}|[^\s\"()]+)(?P<rest>.*)"
)

_KEY: Final = re.compile(rf"((?:condition|branch) (?:\d+|default)|{_QUOTED}|[^\s\"():]+): ")
_FIELD: Final = re.compile(rf" (attempt|model|tools|tags)=((?:{_QUOTED}|[^\s\"])+)| (meta)=(.*)")
_CALL: Final = re.compile(r" (call\d+)(?= |$)")
_TOKEN: Final = re.compile(rf"{_QUOTED}|[()\[\]{{}},]")
_WIDE_CODE: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\U([0-9a-f]{8})")
_OLD_HEADER: Final = "# llmtest trace v1"  # before a trace meant a stored run
_VERSION: Final = re.compile(r"# llmtest (?:tree|trace) v(\d+)")
_CONFLICT: Final = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?: .*)?$")


@dataclass(slots=True, eq=False)
class Node:
    """A node of a tree text: a run, a `parallel` group, `late`, or an entry. `parse` makes no `line`: it is a line of another
    text, for the differ.

    `text` is its line without indentation, `more` the lines that continue an entry, indented as they stand under it,
    `inside` the entries, runs and groups of a run or group, in order. `line` counts from 1.
    """

    kind: NodeKind
    text: str
    line: int
    more: list[str] = field(default_factory=list)
    inside: list[Node] = field(default_factory=list)

    @property
    def sign(self) -> str:
        """The sign of an entry; empty for any other node."""
        return self.text[0] if self.kind == "entry" else ""


@dataclass(frozen=True, slots=True)
class Head:
    """The fields of the first line of a run. `arguments` is the text in a tool's parentheses; None stands for an absent field."""

    kind: str
    name: str
    keys: tuple[str, ...] = ()
    still: bool = False
    arguments: str | None = None
    call: str | None = None
    attempt: str | None = None
    model: str | None = None
    tools: str | None = None
    tags: str | None = None
    meta: str | None = None
    is_real: bool = False
    """True for a model that was asked over the network."""


def parse(text: str) -> list[Node]:
    """Return the trees of a text, with or without the header line of a file.

    >>> (run,) = parse('chat Model\\n  > u1: "hi"\\n  < a1: "Hello"\\n')
    >>> head(run).name, [entry.text for entry in run.inside]
    ('Model', ['> u1: "hi"', '< a1: "Hello"'])

    Raises:
        TreeTextError: the text does not follow the grammar, or is of a version that this reader does not know.

    It does not evaluate values: they stay the text that they are.
    """
    lines = renew_header(text).removesuffix("\n").split("\n")
    first = 0
    if lines[0].startswith("# llmtest"):
        _check_version(lines[0])
        first = 1
    if lines[first:] == [NOTHING]:
        return []
    roots = _Reader(lines, first).read()
    _check_endings(roots, len(lines))
    return roots


def write(nodes: Sequence[Node]) -> str:
    """Return the text that `parse` read, without the header."""
    return "".join(f"{line}\n" for line in _lines(nodes)) or f"{NOTHING}\n"


def walk(nodes: Sequence[Node]) -> Iterator[tuple[int, Node]]:
    """Yield each node with its depth, in the order of the text, without recursion."""
    todo = [(0, node) for node in reversed(nodes)]
    while todo:
        depth, node = todo.pop()
        yield depth, node
        todo += [(depth + 1, inner) for inner in reversed(node.inside)]


def _lines(nodes: Sequence[Node]) -> Iterator[str]:
    for depth, node in walk(nodes):
        indent = "  " * depth
        yield f"{indent}{node.text}"
        yield from (f"{indent}  {line}" for line in node.more)


class _Reader:
    """Reads line after line. `_open` are the runs and groups that may hold the next line."""

    def __init__(self, lines: Sequence[str], first: int) -> None:
        self._lines = lines
        self._first = first
        self._open: list[Node] = []
        self._roots: list[Node] = []

    def read(self) -> list[Node]:
        entry, column = None, 0
        for number in range(self._first, len(self._lines)):
            line = self._lines[number]
            indent = len(line) - len(line.lstrip(" "))
            if entry is not None and indent > column + 1:
                entry.more.append(line[column + 2 :])
                continue
            node = self._node(number + 1, line, indent)
            entry, column = (node, indent) if node.kind == "entry" else (None, 0)
        return self._roots

    def _node(self, number: int, line: str, indent: int) -> Node:
        if indent % 2 or indent // 2 > len(self._open):
            raise TreeTextError(
                number, f"expected an indentation of at most {2 * len(self._open)} spaces, an even number; got {indent}"
            )
        del self._open[indent // 2 :]
        node = Node(self._kind(number, line[indent:]), line[indent:], number)
        (self._open[-1].inside if self._open else self._roots).append(node)
        if node.kind != "entry":
            self._open.append(node)
        return node

    def _kind(self, number: int, text: str) -> NodeKind:
        inside = self._open[-1].kind if self._open else ""
        if text[:1] in SIGNS and text[1:2] == " ":
            # Events within a run may be concurrent, as the runs within it are; `+` defines what they name.
            if inside == "run" or (inside == "parallel" and text[0] in "@+"):
                return "entry"
            raise TreeTextError(
                number, f"an entry stands within a run; got {text!r} {f'within {inside!r}' if inside else 'outside'}"
            )
        if text == "parallel" or (text == "late" and not inside):
            return "parallel" if text == "parallel" else "late"
        if _HEAD.fullmatch(text) is None:
            raise TreeTextError(number, f"expected a run, `parallel` or an entry; got {text!r}")
        return "run"


def _check_version(line: str) -> None:
    version = _VERSION.fullmatch(line)
    if version is None:
        raise TreeTextError(1, f"expected {HEADER!r}; got {line!r}")
    if line != HEADER:
        raise TreeTextError(1, f"it is of version {version[1]}, and this llmtest knows version 1; upgrade llmtest-kit")


def _check_endings(roots: Sequence[Node], lines: int) -> None:
    """Raise `TreeTextError` if a run has no ending. An outline has no entries at all."""
    nodes = [node for _, node in walk(roots)]
    if not any(node.kind == "entry" for node in nodes):
        return
    for node in nodes:
        if node.kind == "run" and not node.text.endswith(LEFT_OUT) and not (node.inside and node.inside[-1].sign in ENDINGS):
            raise TreeTextError(lines, f"the text is cut off: the run in line {node.line}, {node.text!r}, has no ending")


def head(run: Node) -> Head:
    """Return the fields of a run's first line."""
    found = _HEAD.fullmatch(run.text)
    assert found is not None, run.text
    arguments, rest = _split_parentheses(found["rest"])
    is_real = rest.startswith(f" {REAL}")
    rest = rest.removeprefix(f" {REAL}")
    call = _CALL.match(rest)
    fields = {match[1] or match[3]: match[2] or match[4] for match in _FIELD.finditer(rest)}
    keys = tuple(unquote(key) for key in _KEY.findall(found["keys"]))
    fields_ = {name: fields.get(name) for name in ("attempt", "model", "tools", "tags", "meta")}
    still = bool(found["still"])
    return Head(found["kind"], unquote(found["name"]), keys, still, arguments, call and call[1], **fields_, is_real=is_real)


def _split_parentheses(text: str) -> tuple[str | None, str]:
    """Return the content of the parentheses at the beginning of `text`, and the rest."""
    depth = 0
    for match in _TOKEN.finditer(text) if text.startswith("(") else ():
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return text[1 : match.start()], text[match.end() :]
    return None, text


def split(text: str) -> list[str]:
    """Return the parts of a list of arguments or values, cut at commas outside strings and brackets."""
    parts, begun, depth = [], 0, 0
    for match in _TOKEN.finditer(text):
        if match[0] == "," and depth == 0:
            parts.append(text[begun : match.start()].strip())
            begun = match.end()
        depth += 1 if match[0] in "([{" else -1 if match[0] in ")]}" else 0
    return [part for part in (*parts, text[begun:].strip()) if part]


def unquote(text: str) -> str:
    """Return a name or a string without quotes and escapes."""
    if not text.startswith('"'):
        return text
    value: str = json.loads(_WIDE_CODE.sub(lambda match: match[1] + chr(int(match[2], 16)), text), strict=False)
    return value


# -- files


def renew_header(text: str) -> str:
    """Return `text` with today's header in place of an old one."""
    first, end, rest = text.partition("\n")
    return f"{HEADER}{first.removeprefix(_OLD_HEADER)}{end}{rest}" if first.rstrip("\r") == _OLD_HEADER else text


@dataclass(frozen=True, slots=True)
class Damage:
    """The problem of a damaged snapshot file, and its line, counted from 1."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


def damage(text: str, *, tree: bool = True) -> Damage | None:
    """Return the damage of a snapshot file's text, or None. `tree=False` is for a file with plain text."""
    lines = renew_header(text).split("\n")
    marks = [number for number, line in enumerate(lines, 1) if _CONFLICT.match(line)]
    if {lines[number - 1][0] for number in marks} >= set("<=>"):
        return Damage(marks[0], f"an unresolved merge conflict, {lines[marks[0] - 1]!r}")
    try:
        _check_version(lines[0])
        if lines[-1]:
            return Damage(len(lines), "the file is cut off: its last line has no end")
        if tree:
            parse(text)
    except TreeTextError as error:
        return Damage(error.line, error.problem)
    return None
