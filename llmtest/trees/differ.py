"""The difference between two tree texts: the first cause in words, and a diff of trees.

Equal parts are paired by content, changed parts by kind and name. Messages are paired first, so that a new message does
not change the numbers of later ones. The work grows with the number of changes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import Final, Literal

from llmtest.core.colors import ADDED, DIM, REMOVED, mark_words, paint
from llmtest.core.text import amount, clip, escape_controls
from llmtest.errors import TreeTextError
from llmtest.trees.lookalikes import are_alike, show_hidden
from llmtest.trees.parsing import ENDINGS, Head, Node, head, parse, renew_header, split, walk

MAX_LINES: Final = 60
"""More lines of a diff are not shown."""

_MAX_CHARACTERS: Final = 60
"""A changed text is cut to this length in a headline."""

_MAX_SWAPS: Final = 10
"""More replacements of words are not looked for in later differences."""

_LABEL: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\w.])((?:[suatmdv]|call|tool|params)\d+)(?![\w(=])')
_DEFINED: Final = re.compile(r"(?:[+><*] )(?:partial )?((?P<prefix>[suatmdv]|tool|params)\d+): ?(?P<said>.*)")
_REQUEST: Final = re.compile(r'(call\d+) ((?:[^\s"();]+|"(?:[^"\\]|\\.)*")\((?:[^"]|"(?:[^"\\]|\\.)*")*?\))(?=;|  |$| [a-z])')
_ARGUMENT: Final = re.compile(r'(\w+|"(?:[^"\\]|\\.)*")=(.*)')
_USAGE: Final = re.compile(r"  usage [^\"]*$")
_WORDS: Final = {
    "s": "system prompt",
    "u": "user message",
    "a": "AI message",
    "t": "tool result",
    "m": "message",
    "d": "document",
    "v": "text",
    "tool": "tool",
    "params": "parameters",
}
_ENDED: Final = {"<": "ended", "!": "failed", "?": "open", "^": "handed off"}

Mark = Literal[" ", "-", "+"]
Note = Literal["", "first", "cause", "follows"]
_NOTES: Final = {"": "", "first": "  ◀ first difference", "cause": "  ◀ another difference", "follows": "  (follows)"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a diff. `mark` is `-` for the expected text, `+` for the received one, a space for both."""

    mark: Mark
    depth: int
    text: str
    note: Note = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference. `cause` is the first cause in words, with its place; `causes` the number of differences that do not follow
    from an earlier one; `changed` the number of changed lines of `total`; `folded` that of equal lines, which are not shown.
    `structure` is True if runs came, went, or ended in another way, and False if only texts differ. `words` is the cause without
    its place. `changes` has the old and the new text of what differs, in full, but for usage and for words that an earlier
    difference has replaced: equal ones are the same change in another tree."""

    cause: str
    causes: int
    changed: int
    total: int
    folded: int
    structure: bool
    rows: tuple[Row, ...]
    words: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def headline(self) -> str:
        """The first cause on one line, with the extent of the difference."""
        return f"{self.cause} ({self.changed} of {amount(self.total, 'line')}, {amount(self.causes, 'cause')})"

    def lines(self, *, limit: int | None = MAX_LINES, color: bool = False) -> list[str]:
        """Return at most `limit` lines of the diff; the last one names the number of the others."""
        folded = [f"  … {amount(self.folded, 'unchanged line')}"] if self.folded else []
        room = len(self.rows) if limit is None else limit - len(folded)
        if len(self.rows) > room:
            folded = [f"  … {amount(len(self.rows) - room + 1, 'more line')} of the difference", *folded]
            room -= 1
        rows = self.rows[:room]
        return [*(_colored(rows) if color else map(_plain_row, rows)), *folded]


def _plain_row(row: Row) -> str:
    return f"{row.mark} {'  ' * row.depth}{row.text}{_NOTES[row.note]}"


def _colored(rows: Sequence[Row]) -> Iterator[str]:
    """Yield rows in colors; in a removed line and an added one in its place, the words that differ are reversed. Colors of the
    texts themselves are escaped: they could hide what has changed."""
    texts = [escape_controls(row.text) for row in rows]
    for numbers, in_place in _replaced(rows):
        for old, new in zip(numbers, in_place, strict=False):
            texts[old], texts[new] = mark_words(texts[old], texts[new])
    styles = {"-": REMOVED, "+": ADDED, " ": ""}
    for row, text in zip(rows, texts, strict=True):
        line = paint(f"{row.mark} {'  ' * row.depth}{text}", styles[row.mark])
        yield f"{line}{paint(_NOTES[row.note], DIM)}" if row.note else line


def _replaced(rows: Sequence[Row]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the numbers of removed rows and of the added rows that follow them at the same depth."""
    runs = [list(same) for _, same in groupby(range(len(rows)), key=lambda number: (rows[number].mark, rows[number].depth))]
    for old, new in pairwise(runs):
        first, second = rows[old[0]], rows[new[0]]
        if (first.mark, second.mark, first.depth) == ("-", "+", second.depth):
            yield old, new


def diff(expected: str, received: str) -> Difference | None:
    """Return the difference between two texts, with or without a header; None if they are equal.

    >>> difference = diff('tool weather(city="Paris")\\n  < 1\\n', 'tool weather(city="Lyon")\\n  < 1\\n')
    >>> difference.headline
    'tool argument city "Paris" → "Lyon" at weather (1 of 2 lines, 1 cause)'
    >>> print("\\n".join(difference.lines()))
    - tool weather(city="Paris")
    + tool weather(city="Lyon")  ◀ first difference
      … 1 unchanged line

    Texts that are no trees are compared line by line. It does not say whether a difference is right.
    """
    expected, received = renew_header(expected), renew_header(received)
    if expected == received:
        return None
    before, after = _nodes(expected, received)
    comparison = _Comparison(before, after)
    comparison.run()
    if not comparison.rows:  # the difference is in no node, as a missing end of the last line
        comparison = _Comparison(_plain(expected), _plain(received))
        comparison.run()
    return comparison.difference()


def _nodes(expected: str, received: str) -> tuple[list[Node], list[Node]]:
    try:
        return parse(expected), parse(received)
    except TreeTextError:
        return _plain(expected), _plain(received)


def _plain(text: str) -> list[Node]:
    """Return the lines of a text that is no tree."""
    lines = text.split("\n")
    named = [*lines[:-1], *([f"{lines[-1]} (without an end of line)"] if lines[-1] else [])]
    return [Node("line", line, number) for number, line in enumerate(named, 1)]


# -- pairs


def pairs(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return the positions of equal keys in both sequences: a longest common order, in O(n log n)."""
    start, end = 0, 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place in range(len(after) - end - 1, start - 1, -1):
        places[after[place]].append(place)
    found = [(n, places[before[n]].pop()) for n in range(start, len(before) - end) if places.get(before[n])]
    tail = [(len(before) - n, len(after) - n) for n in range(end, 0, -1)]
    return [*((n, n) for n in range(start)), *_rising(found), *tail]


def _rising(found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest subsequence of `found` in which the second positions rise, too."""
    ends: list[int] = []
    at: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(found):
        rank = bisect_left(ends, place)
        before.append(at[rank - 1] if rank else -1)
        ends[rank : rank + 1] = [place]
        at[rank : rank + 1] = [number]
    chain: list[tuple[int, int]] = []
    number = at[-1] if at else -1
    while number >= 0:
        chain.append(found[number])
        number = before[number]
    return chain[::-1]


def _gaps(matched: Sequence[tuple[int, int]], before: int, after: int) -> Iterator[tuple[range, range]]:
    """Yield the gap before each matched pair, and the one at the end."""
    a, b = 0, 0
    for left, right in (*matched, (before, after)):
        yield range(a, left), range(b, right)
        a, b = left + 1, right + 1


# -- labels


def _labels(nodes: Sequence[Node]) -> dict[str, list[tuple[str, str]]]:
    """Return the labels of each kind and their definitions, in order, without the numbers of labels in them."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for _, node in walk(nodes):
        if node.kind == "entry":
            defined = _DEFINED.match(node.text)
            if defined is not None:
                said = "\n".join((defined["said"], *node.more))
                found[defined["prefix"]].setdefault(defined[1], _LABEL.sub(_blank, _USAGE.sub("", said)))
            for text in (node.text, *node.more):
                for label, asked in _requests(text):
                    found["call"].setdefault(label, asked)
    return {prefix: list(labels.items()) for prefix, labels in found.items()}


def _blank(match: re.Match[str]) -> str:
    return match[1].rstrip("0123456789") if match[1] else match[0]


def _requests(text: str) -> list[tuple[str, str]]:
    """Return the tool calls that a line requests, with their labels."""
    return _REQUEST.findall(text) if "call" in text and not text.startswith("| ") else []


def _renames(before: Sequence[Node], after: Sequence[Node]) -> dict[str, str]:
    """Return the labels of `before` for the things of `after`. Equally many things keep their numbers; otherwise they are
    paired by content, and a new one gets a label of its own."""
    old, new = _labels(before), _labels(after)
    renames: dict[str, str] = {}
    for prefix, labels in new.items():
        theirs = old.get(prefix, [])
        if len(theirs) == len(labels):
            continue
        matched = pairs([said for _, said in theirs], [said for _, said in labels])
        partners = {b: a for a, b in matched}
        for lefts, rights in _gaps(matched, len(theirs), len(labels)):
            partners |= dict(zip(rights, lefts, strict=False))
        for number, (label, _) in enumerate(labels):
            renames[label] = theirs[partners[number]][0] if number in partners else f"{label}'"
    return {label: name for label, name in renames.items() if label != name}


# -- nodes


@dataclass(slots=True)
class _Item:
    """A node with a key, equal for equal subtrees, and its number of lines."""

    node: Node
    key: int = 0
    size: int = 1
    inside: list[_Item] = field(default_factory=list)


class _Items:
    """Makes items. Equal subtrees of both trees get equal keys."""

    def __init__(self) -> None:
        self._keys: dict[Hashable, int] = {}

    def of(self, nodes: Sequence[Node], renames: dict[str, str]) -> list[_Item]:
        items = {id(node): _Item(node) for _, node in walk(nodes)}
        for item in reversed(items.values()):
            node = item.node
            item.inside = [items[id(inner)] for inner in node.inside]
            texts = (node.text, *node.more)
            named = tuple(_rename(node, text, renames) for text in texts) if renames else texts
            item.key = self._keys.setdefault((named, *(inner.key for inner in item.inside)), len(self._keys))
            item.size = len(texts) + sum(inner.size for inner in item.inside)
        return [items[id(node)] for node in nodes]


def _rename(node: Node, text: str, renames: dict[str, str]) -> str:
    """Return `text` with the labels of the other tree. Names of the program stay as they are."""
    if text.startswith("| "):
        return text
    keep = 0
    if node.kind == "run":
        keep = len(text) - len(re.sub(r"^[^(]*?(?=\(| call\d+|$)", "", text))
    return text[:keep] + _LABEL.sub(lambda match: renames.get(match[1], match[0]) if match[1] else match[0], text[keep:])


def _kin(node: Node) -> Hashable:
    """Return the key by which changed nodes are paired: kind and name of a run, sign and kind of an entry."""
    if node.kind == "run":
        told = head(node)
        return told.kind, told.name, told.keys, told.still
    if node.kind != "entry":
        return node.kind
    if node.sign in ENDINGS and not node.text.startswith("< partial"):
        return "end"
    defined = _DEFINED.match(node.text)
    words = re.match(r"\S \S+( tokens?\b| \w+)?" if node.sign in "~@" else r"\S", node.text)
    return (words[0] if words else node.text) if node.sign != "+" or defined is None else f"+ {defined['prefix']}"


# -- the comparison


@dataclass(slots=True)
class _Scene:
    """A run with differences: the names on the path to it. `touched` is True if its input has changed."""

    path: tuple[str, ...] = ()
    touched: bool = False


_Step = Callable[[], None]


class _Comparison:
    """Walks two trees side by side and writes rows. Holds state, and a list of steps in place of recursion."""

    def __init__(self, before: Sequence[Node], after: Sequence[Node]) -> None:
        items = _Items()
        self._before = items.of(before, {})
        self._after = items.of(after, _renames(before, after))
        self._tainted: set[str] = set()
        self._swaps: list[tuple[re.Pattern[str], str]] = []
        self._todo: list[_Step] = []
        self._cause = self._words = ""
        self._changes: list[tuple[str, str]] = []
        self._causes = 0
        self._folded = 0
        self._structure = False
        self._trees = (before, after)
        self.rows: list[Row] = []

    def run(self) -> None:
        self._inside(self._before, self._after, 0, _Scene())
        while self._todo:
            self._todo.pop()()

    def difference(self) -> Difference:
        marks = Counter(row.mark for row in self.rows)
        total = sum(item.size for item in self._before)
        changed = max(marks["-"], marks["+"])
        told = (self._cause, self._causes, changed, max(total, changed), self._folded, self._structure)
        return Difference(*told, tuple(_rows_with_hidden(self.rows)), self._words, tuple(self._changes))

    # pairs of nodes

    def _inside(self, before: Sequence[_Item], after: Sequence[_Item], depth: int, scene: _Scene) -> None:
        matched = pairs([item.key for item in before], [item.key for item in after])
        steps: list[_Step] = []
        equal = iter(matched)
        for lefts, rights in _gaps(matched, len(before), len(after)):
            steps += self._gap([before[n] for n in lefts], [after[n] for n in rights], depth, scene)
            same = next(equal, None)
            if same is not None:
                steps.append(self._step(self._fold, before[same[0]], after[same[1]], depth, scene))
        self._todo += reversed(steps)

    def _gap(self, before: Sequence[_Item], after: Sequence[_Item], depth: int, scene: _Scene) -> Iterator[_Step]:
        matched = pairs([_kin(item.node) for item in before], [_kin(item.node) for item in after])
        changed = iter(matched)
        for lefts, rights in _gaps(matched, len(before), len(after)):
            gone, new = [before[n] for n in lefts], [after[n] for n in rights]
            for number in range(max(len(gone), len(new))):
                left = gone[number] if number < len(gone) else None
                right = new[number] if number < len(new) else None
                yield self._step(self._compare_replaced, left, right, depth, scene)
            both = next(changed, None)
            if both is not None:
                yield self._step(self._compare_changed, before[both[0]], after[both[1]], depth, scene)

    @staticmethod
    def _step(step: Callable[..., None], *arguments: object) -> _Step:
        return lambda: step(*arguments)

    # rows of a pair

    def _fold(self, before: _Item, after: _Item, depth: int, scene: _Scene) -> None:
        self._folded += after.size
        scene.touched = scene.touched or self._is_given(after.node)

    def _compare_replaced(self, before: _Item | None, after: _Item | None, depth: int, scene: _Scene) -> None:
        """Write a node that is gone, one that is new, or one in the place of the other."""
        old, new = before.node if before else None, after.node if after else None
        self._structure = self._structure or any(node is not None and node.kind not in ("entry", "line") for node in (old, new))
        note = self._note(old, new, scene, whole=True)
        if before is not None:
            self._rows("-", before, depth, note if after is None else "")
        if after is not None:
            self._rows("+", after, depth, note)

    def _compare_changed(self, before: _Item, after: _Item, depth: int, scene: _Scene) -> None:
        old, new = before.node, after.node
        if old.kind == "entry":
            return self._compare_entries(old, new, depth, scene)
        told = head(new) if new.kind == "run" else None
        inner = _Scene(
            (*scene.path, told.name) if told else scene.path, scene.touched or bool(told and told.call in self._tainted)
        )
        if old.text == new.text:
            self.rows.append(Row(" ", depth, new.text))
        else:
            note = self._note(old, new, inner)
            inner.touched = True
            self.rows += [Row("-", depth, old.text), Row("+", depth, new.text, note)]
        self._inside(before.inside, after.inside, depth + 1, inner)
        return None

    def _compare_entries(self, old: Node, new: Node, depth: int, scene: _Scene) -> None:
        if (old.text, old.more) == (new.text, new.more):  # but for the numbers of what it names
            self._folded += 1 + len(new.more)
            return
        self._structure = self._structure or (old.sign != new.sign)
        note = self._note(old, new, scene)
        if old.text == new.text:
            self.rows.append(Row(" ", depth, new.text))
        else:
            self.rows += [Row("-", depth, old.text), Row("+", depth, new.text, "" if _is_same_block(old, new) else note)]
            note = note if _is_same_block(old, new) else ""
        self._compare_blocks(old.more, new.more, depth + 1, note)

    def _compare_blocks(self, before: Sequence[str], after: Sequence[str], depth: int, note: Note) -> None:
        """Write the continuation lines of an entry."""
        matched = pairs(before, after)
        for number, (lefts, rights) in enumerate(_gaps(matched, len(before), len(after))):
            self._folded += number > 0
            rows: list[Row] = [Row("-", depth, before[n]) for n in lefts] + [Row("+", depth, after[n]) for n in rights]
            if rows and note:
                rows[-1] = Row(rows[-1].mark, depth, rows[-1].text, note)
                note = ""
            self.rows += rows

    def _rows(self, mark: Mark, item: _Item, depth: int, note: Note) -> None:
        for inner, node in walk([item.node]):
            self.rows.append(Row(mark, depth + inner, node.text, note))
            self.rows += [Row(mark, depth + inner + 1, line) for line in node.more]
            note = ""
            if mark == "+":
                self._taint(None, node)

    # causes

    def _note(self, old: Node | None, new: Node | None, scene: _Scene, *, whole: bool = False) -> Note:
        """Return the note of a difference: the first cause, another cause, or one that follows from an earlier one. The `whole`
        nodes differ, with all that is inside them."""
        follows = self._causes > 0 and self._follows(old, new, scene)
        if not (follows and self._is_echo(old, new)):
            self._changes.append((_said(old, whole), _said(new, whole)))
        self._taint(old, new)
        if new is not None and self._is_given(new):
            scene.touched = True
        if follows:
            return "follows"
        self._causes += 1
        what = _describe_change(*_with_hidden(old, new))
        if old is not None and new is not None and len(self._swaps) < _MAX_SWAPS:
            before, after = _swap(old, new)
            self._swaps += [(re.compile(rf"(?<!\w){re.escape(before)}(?!\w)"), after)] if before and after else []
        if self._causes > 1:
            return "cause"
        order = self._order()
        path = " › ".join(scene.path)
        self._words = order or what
        self._cause = f"{self._words} at {path}" if path else self._words
        return "first"

    def _order(self) -> str:
        """Return words for another order of the same tools, which say more than the first differing call; else an empty text."""
        before, after = ([head(n).name for _, n in walk(nodes) if _is_tool(n)] for nodes in self._trees)
        if before == after or Counter(before) != Counter(after):
            return ""
        first = next(n for n in range(len(before)) if before[n] != after[n])
        return f"order of tools {_cut(', '.join(before[first:]))} → {_cut(', '.join(after[first:]))}"

    def _follows(self, old: Node | None, new: Node | None, scene: _Scene) -> bool:
        if scene.touched:
            return True
        return any(self._refers(node) for node in (old, new) if node is not None) or self._is_echo(old, new)

    def _is_echo(self, old: Node | None, new: Node | None) -> bool:
        """True if two entries differ in usage only, or as texts of an earlier difference do."""
        if old is None or new is None:
            return False
        if old.kind == "entry" and _USAGE.sub("", old.text) == _USAGE.sub("", new.text) and old.more == new.more:
            return True
        said, says = _text(old), _text(new)
        return any(word.join(swap.split(said)) == says for swap, word in self._swaps)

    def _is_given(self, node: Node) -> bool:
        """True if an entry gives a changed thing to a run."""
        return node.sign in (">", "+") and bool(self._tainted) and not self._tainted.isdisjoint(_labels_in(node))

    def _refers(self, node: Node) -> bool:
        """True if a node refers to an earlier change: by a label, as the tool of a changed request, or by an input inside it."""
        if node.kind == "entry":
            defined = _DEFINED.match(node.text)
            return not self._tainted.isdisjoint(label for label in _labels_in(node) if defined is None or label != defined[1])
        return any(
            head(inner).call in self._tainted if inner.kind == "run" else self._is_given(inner) for _, inner in walk([node])
        )

    def _taint(self, old: Node | None, new: Node | None) -> None:
        """Note that the definitions and requests in a difference have changed."""
        for node, other in ((new, old), (old, new)):
            defined = _DEFINED.match(node.text) if node is not None and node.kind == "entry" else None
            if defined is not None:
                self._tainted.add(defined[1])
            self._tainted |= {label for label, _ in _requests_of(node) - _requests_of(other)}


def _requests_of(node: Node | None) -> set[tuple[str, str]]:
    """Return the tool calls that an entry requests."""
    texts = (node.text, *node.more) if node is not None and node.kind == "entry" else ()
    return {asked for text in texts for asked in _requests(text)}


def _labels_in(node: Node) -> Iterator[str]:
    return (match[1] for text in (node.text, *node.more) for match in _LABEL.finditer(text) if match[1])


def _is_tool(node: Node) -> bool:
    return node.kind == "run" and "tool " in node.text and head(node).kind == "tool"


def _is_same_block(old: Node, new: Node) -> bool:
    """True if the first lines of two entries with several lines differ only in usage."""
    return bool(old.more and new.more) and _USAGE.sub("", old.text) == _USAGE.sub("", new.text)


def _text(node: Node) -> str:
    """Return the text of an entry or a first line, without usage, and without bars."""
    return "\n".join((_USAGE.sub("", node.text), *(line.removeprefix("|").removeprefix(" ") for line in node.more)))


def _said(node: Node | None, whole: bool) -> str:
    """Return the text of one side of a change, without the numbers of labels, which differ from tree to tree."""
    if node is None:
        return ""
    nodes = [inner for _, inner in walk([node])] if whole else [node]
    return "\n".join(line for inner in nodes for line in (_LABEL.sub(_blank, _USAGE.sub("", inner.text)), *inner.more))


# -- differences that cannot be seen


def _with_hidden(old: Node | None, new: Node | None) -> tuple[Node | None, Node | None]:
    """Return two nodes; with escapes for what cannot be seen, if they look the same."""
    if old is None or new is None or not are_alike(_text(old), _text(new)):
        return old, new
    before, after = (replace(node, text=show_hidden(node.text), more=list(map(show_hidden, node.more))) for node in (old, new))
    return before, after


def _rows_with_hidden(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield rows; with escapes for what cannot be seen, where a removed line and an added one look the same."""
    for _, same in groupby(rows, key=lambda row: (row.mark != " ", row.depth)):
        group = list(same)
        removed, added = ([row for row in group if row.mark == mark] for mark in "-+")
        alike = {id(row) for pair in zip(removed, added, strict=False) if are_alike(*(row.text for row in pair)) for row in pair}
        yield from (replace(row, text=show_hidden(row.text)) if id(row) in alike else row for row in group)


# -- words


def _describe_change(old: Node | None, new: Node | None) -> str:
    if old is None or new is None:
        return _describe_single(old, new)
    if old.kind == new.kind == "entry":
        return _entry_words(old, new)
    if old.kind == new.kind == "line":
        return f"line {_swap_words(old, new)}"
    if old.kind == new.kind == "run":
        return _run_words(head(old), head(new), old.text, new.text)
    return f"{_describe(old)} is now {_describe(new)}"


def _describe_single(old: Node | None, new: Node | None) -> str:
    node = new or old
    assert node is not None
    if node.kind not in ("entry", "line"):
        return f"{'extra' if new else 'missing'} {'' if node.kind != 'run' else 'run: '}{_describe(node)}"
    return f"{'new' if new else 'missing'} {_subject(node)} {_cut(node.text)}"


def _describe(node: Node) -> str:
    if node.kind != "run":
        return {"parallel": "parallel group", "late": "late runs"}.get(node.kind, _cut(node.text))
    told = head(node)
    return f"{told.kind} {told.name}"


def _run_words(old: Head, new: Head, before: str, after: str) -> str:
    """Return words for the first field that differs; of the first lines `before` and `after`, if none does."""
    if (old.kind, old.name) != (new.kind, new.name):
        return f"{old.kind} {old.name} is now {new.kind} {new.name}"
    if old.arguments != new.arguments:
        return f"tool argument {_arguments(old.arguments or '', new.arguments or '')}"
    fields = ("model", "tools", "tags", "meta", "attempt", "keys", "still", "call")
    name = next((name for name in fields if getattr(old, name) != getattr(new, name)), None)
    if name is None:
        return f"first line {_in_quotes(before)} → {_in_quotes(after)}"
    told = [getattr(told, name) for told in (old, new)]
    was, now = (", ".join(value) if isinstance(value, tuple) else str(value or "none") for value in told)
    return f"{name} {_cut(was)} → {_cut(now)}"


def _arguments(old: str, new: str) -> str:
    """Return words for the first argument that differs."""
    before, after = _arguments_by_name(old), _arguments_by_name(new)
    name = next((name for name in (*before, *after) if before.get(name) != after.get(name)), None)
    if name is None:
        return f"{_cut(old)} → {_cut(new)}"
    if name not in after:
        return f"{name}={_cut(before[name])} is gone"
    return f"{name} {_cut(before[name])} → {_cut(after[name])}" if name in before else f"{name}={_cut(after[name])} is new"


def _arguments_by_name(arguments: str) -> dict[str, str]:
    """Return arguments by name; none for a tool that was called with plain text."""
    return {found[1]: found[2] for found in map(_ARGUMENT.match, split(arguments)) if found}


def _entry_words(old: Node, new: Node) -> str:
    if old.sign != new.sign or (old.sign in "!?^" and _ending(old) != _ending(new)):
        return f"{_ending(old)} → {_ending(new)}"
    before, after = ([said for text in (node.text, *node.more) for _, said in _requests(text)] for node in (old, new))
    if before != after:
        return _call_words(before, after)
    if _text(old) == _text(new):
        return f"usage {_usage(old)} → {_usage(new)}"
    return f"{_subject(new)} {_swap_words(old, new)}"


def _call_words(before: Sequence[str], after: Sequence[str]) -> str:
    for old, new in zip(before, after, strict=False):
        if old != new:
            name, _, given = old.partition("(")
            other, _, asked = new.partition("(")
            return f"tool call {name} → {other}" if name != other else f"tool argument {_arguments(given[:-1], asked[:-1])}"
    extra = after[len(before) :]
    return f"extra tool call {_cut(extra[0])}" if extra else f"missing tool call {_cut(before[len(after)])}"


def _ending(node: Node) -> str:
    said = node.text[2:]
    if node.sign in "!?" and said:
        return _cut(said if node.sign == "?" else f"failed {said}")
    return _ENDED.get(node.sign, node.text)


def _usage(node: Node) -> str:
    found = _USAGE.search(node.text)
    return found[0].strip().removeprefix("usage ") if found else "none"


def _subject(node: Node) -> str:
    defined = _DEFINED.match(node.text)
    if defined is not None:
        return _WORDS[defined["prefix"]]
    if node.sign == "@":
        return node.text[2:].partition(" ")[0]
    return {">": "input", "<": "output", "~": "stream", "*": "parameters", "!": "error", "?": "pause"}.get(node.sign, "line")


def _swap(old: Node, new: Node) -> tuple[str, str]:
    """Return the replaced words and their replacement, from the first that differ to the last."""
    before, after = (re.findall(r"\w+|\s+|[^\w\s]", _text(node)) for node in (old, new))
    start = end = 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return "".join(before[start : len(before) - end]), "".join(after[start : len(after) - end])


def _swap_words(old: Node, new: Node) -> str:
    before, after = (words.strip() for words in _swap(old, new))
    if not before:
        return f"has now {_in_quotes(after)}"
    return f"{_in_quotes(before)} → {_in_quotes(after)}" if after else f"has lost {_in_quotes(before)}"


def _in_quotes(text: str) -> str:
    text = _cut(text.strip('"'))
    return f'"{text}"'


def _cut(text: str) -> str:
    return clip(text, _MAX_CHARACTERS, "…")
