"""A tree text around what failed: the failing branch whole, the rest folded to a line for each gap."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

from llmtest.core.text import amount
from llmtest.trees.parsing import Node, head, parse, walk, write
from llmtest.trees.rendering import Traced, lines_and_runs

MOST_LINES: Final = 40
"""How many lines a failing test shows of a tree."""
MOST_OF_ENTRY: Final = 8
"""How many lines are shown of one entry."""
MOST_MISSES: Final = 8
"""After how many neighbours that are too long no more are tried."""
MOST_WANTED: Final = 8
"""How many branches are tried: more do not fit."""
MOST_NAMES: Final = 4
"""How many runs the line of a fold names."""


def around(source: Traced, runs: Collection[UUID] = (), *, told: Collection[str] = (), most: int = MOST_LINES) -> str:
    """Return the tree of `source` in at most `most` lines, around `runs`.

    Without `runs` it is around the runs that failed or did not end; if there are none, around the end. An error is written
    once, where it happened first; `told` are those that the reader knows already. What is left out is a line that begins with
    `…`, with the runs in it and the number of its lines. It is a text to read, not to parse.
    """
    lines, places = lines_and_runs(source)
    nodes = parse("".join(f"{line}\n" for line in lines))
    raised = _shorten(nodes, told)
    if sum(_height(node) for node in nodes) <= most:
        return write(nodes).removesuffix("\n")
    wanted = {line for line, run in places if run.id in runs} if runs else set()
    return "\n".join(_Focus(nodes, wanted, raised, most).lines())


def _shorten(nodes: Sequence[Node], told: Collection[str]) -> set[int]:
    """Refer to an error that was told before, and shorten entries of many lines and lists of many labels.

    Return the lines of the errors that the reader knows.
    """
    before = {text.strip() for text in told} - {""}
    known, raised = set(before), set()
    for _, node in walk(nodes):
        if node.sign == "!":
            name, _, text = node.text.removeprefix("! ").partition(":")
            said = "\n".join(line.removeprefix("|").removeprefix(" ") for line in node.more) if node.more else text
            if said.strip() in before:
                raised.add(node.line)
            if said.strip() in known:
                node.text, node.more = f"! {name}: see above", []
            known |= {said.strip()} - {""}
        elif node.sign in "<>" and not node.more:
            node.text = _LABELS.sub(lambda found: f"{found[1]}… {found[2]}", node.text)
        if len(node.more) > MOST_OF_ENTRY:
            node.more[MOST_OF_ENTRY - 1 :] = [f"… {amount(len(node.more) - MOST_OF_ENTRY + 1, 'more line')}"]
    return raised


_LABELS: Final = re.compile(r"(?<=^[<>] )((?:[a-z]\d+ ){2})(?:[a-z]\d+ ){4,}((?:[a-z]\d+ ){2}[a-z]\d+)$")
"""Two labels, four or more, and three."""


def _height(node: Node) -> int:
    return sum(1 + len(inner.more) for _, inner in walk([node]))


def _write(nodes: Sequence[Node], shown: Collection[int]) -> Iterator[str]:
    """Yield the lines of `nodes`, with a line for each gap between the nodes of which `shown` has the line."""
    todo: list[tuple[int, Node | str]] = [(0, one) for one in reversed(_fold(nodes, shown))]
    while todo:
        depth, one = todo.pop()
        indent = "  " * depth
        if isinstance(one, str):
            yield f"{indent}{one}"
            continue
        yield f"{indent}{one.text}"
        yield from (f"{indent}  {line}" for line in one.more)
        todo += [(depth + 1, inner) for inner in reversed(_fold(one.inside, shown))]


def _fold(nodes: Sequence[Node], shown: Collection[int]) -> list[Node | str]:
    parts: list[Node | str] = []
    for is_shown, group in groupby(nodes, key=lambda node: node.line in shown):
        row = list(group)
        parts += row if is_shown else [_gap(row)]
    return parts


def _gap(nodes: Sequence[Node]) -> str:
    """Return the line that stands for `nodes`: `… model ×2, tools (14 lines)`."""
    return _fold_line(nodes, sum(map(_height, nodes)))


def _fold_line(nodes: Sequence[Node], height: int) -> str:
    names = Counter(_name(node) for node in nodes if node.kind != "entry")
    parts = [name if number == 1 else f"{name} ×{number}" for name, number in names.items()]
    if len(parts) > MOST_NAMES:
        parts[MOST_NAMES - 1 :] = [f"{len(parts) - MOST_NAMES + 1} more"]
    lines = amount(height, "line")
    return f"… {', '.join(parts)} ({lines})" if parts else f"… {lines}"


def _name(node: Node) -> str:
    return head(node).name if node.kind == "run" else node.text


class _Focus:
    """Chooses the nodes that are shown: those that are wanted, what holds them, and then what stands nearest."""

    def __init__(self, nodes: Sequence[Node], wanted: Collection[int], raised: Collection[int], most: int) -> None:
        self.nodes, self.raised, self.most = nodes, raised, most
        self.above: dict[int, Node] = {}
        """The node that holds the node of a line."""
        for _, node in walk(nodes):
            self.above |= {inner.line: node for inner in node.inside}
        found = [node for _, node in walk(nodes) if node.line in wanted] or self._failed() or self._last()
        self.wanted = found[:MOST_WANTED]

    def _failed(self) -> list[Node]:
        """Return the innermost runs that failed, first those with the error of the test; else those that did not end."""
        for sign in "!?":
            entries = [node for _, node in walk(self.nodes) if node.sign == sign]
            found = [self.above[node.line] for node in sorted(entries, key=lambda one: one.line not in self.raised)]
            # An error goes up: what holds a failed run has failed as well, and comes before it in the text.
            holders = {self.above[node.line].line for node in found if node.line in self.above}
            if found:
                return [node for node in found if node.line not in holders]
        return []

    def _last(self) -> list[Node]:
        *_, (_, last) = walk(self.nodes)
        return [last]

    def _holders(self, node: Node) -> Iterator[Node]:
        while (above := self.above.get(node.line)) is not None:
            yield above
            node = above

    def lines(self) -> list[str]:
        shown: set[int] = set()
        for node in self.wanted:  # the first ones, if they are too many
            self._try(shown, [node, *self._holders(node), *(inner for inner in node.inside if inner.kind == "entry")])
        for node in sorted(self.wanted, key=lambda one: one.line):
            self._try(shown, [inner for _, inner in walk([node])])
        held = sorted(
            {above.line: above for node in self.wanted for above in self._holders(node)}.values(), key=lambda n: -n.line
        )
        for above in held:
            for entry in above.inside:
                if entry.kind == "entry" and entry.sign not in "@~":
                    self._try(shown, [entry])
        misses = 0
        for near in self._near(held):
            misses = 0 if self._try(shown, [inner for _, inner in walk([near])]) else misses + 1
            if misses == MOST_MISSES:
                break
        text = list(_write(self.nodes, shown))
        return text if len(text) <= self.most else self._deep(shown)

    def _deep(self, shown: Collection[int]) -> list[str]:
        """Return the text around a run of which not all holders fit: the outermost, a line for a row of them, and the others.

        From the top alone, the text would end before it comes to what failed.
        """
        holders = [*reversed([*self._holders(self.wanted[0])]), self.wanted[0]]
        folded = _fold(self.nodes, shown)
        most = self.most - len(folded) - 1
        start = len(holders) - 1
        while start > 1 and sum(1 for _ in _write([holders[start - 1]], shown)) <= most:
            start -= 1
        lines: list[str] = []
        for part in folded:
            if isinstance(part, str):
                lines.append(part)
                continue
            lines.append(part.text)
            if start > 1:
                lines.append(f"  {_fold_line(holders[1:start], _height(part) - 1 - _height(holders[start]))}")
            lines += [f"    {line}" for line in _write([holders[start]], shown)] if start else []
        return lines[: self.most]

    def _near(self, held: Sequence[Node]) -> Iterator[Node]:
        """Yield what stands beside the wanted nodes, and beside what holds them, the nearest first."""
        for siblings, line in [*((above.inside, self._line_in(above)) for above in held), (self.nodes, self.wanted[0].line)]:
            yield from sorted(siblings, key=lambda node: (abs(node.line - line), node.line))

    def _line_in(self, above: Node) -> int:
        return next(node.line for node in self.wanted if above in self._holders(node))

    def _try(self, shown: set[int], nodes: Sequence[Node]) -> bool:
        """Show `nodes` too, unless the text gets too long. The first ones are shown in any case."""
        more = shown | {node.line for node in nodes}
        fits = not shown or sum(1 for _ in _write(self.nodes, more)) <= self.most
        if fits:
            shown |= more
        return fits
