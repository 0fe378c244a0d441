"""The difference between two tree texts: the first cause in words, and a diff of trees.

Equal parts are paired by content, changed parts by kind and name. Messages are paired first, so that a new message does
not change the numbers of later ones. The work grows with the number of changes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import Final, Literal

from llmtest.core.colors import ADDED, DIM, REMOVED, mark_words, paint
from llmtest.core.text import amount, escape_controls
from llmtest.errors import TreeTextError
from llmtest.trees.difference_words import DEFINED, USAGE, cut, describe, describe_change, replaced_words, requests_in, text_of
from llmtest.trees.lookalikes import are_alike, show_hidden
from llmtest.trees.parsing import ENDINGS, Node, head, parse, renew_header, walk

MAX_LINES: Final = 60
"""More lines of a diff are not shown."""

_MANY: Final = 4
"""So many runs are counted in a headline, and fewer are named."""

_MAX_SWAPS: Final = 10
"""More replacements of words are not looked for in later differences."""

_LABEL: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\w.])((?:[suatmdv]|call|tool|params)\d+)(?![\w(=])')

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
            defined = DEFINED.match(node.text)
            if defined is not None:
                said = "\n".join((defined["said"], *node.more))
                found[defined["prefix"]].setdefault(defined[1], _LABEL.sub(_blank, USAGE.sub("", said)))
            for text in (node.text, *node.more):
                for label, asked in requests_in(text):
                    found["call"].setdefault(label, asked)
    return {prefix: list(labels.items()) for prefix, labels in found.items()}


def _blank(match: re.Match[str]) -> str:
    return match[1].rstrip("0123456789") if match[1] else match[0]


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
    defined = DEFINED.match(node.text)
    words = re.match(r"\S \S+( tokens?\b| \w+)?" if node.sign in "~@" else r"\S", node.text)
    return (words[0] if words else node.text) if node.sign != "+" or defined is None else f"+ {defined['prefix']}"


# -- the comparison


@dataclass(slots=True)
class _Scene:
    """A run with differences: the names on the path to it. `touched` is True if its input has changed. `prompt` are words for
    messages that a model is asked with no more, or is asked with too; `moved` what stands elsewhere in the run now, by `id`."""

    path: tuple[str, ...] = ()
    touched: bool = False
    prompt: str = ""
    moved: Mapping[int, int] = field(default_factory=dict)


_Step = Callable[[], None]


class _Comparison:
    """Walks two trees side by side and writes rows. Holds state, and a list of steps in place of recursion."""

    def __init__(self, before: Sequence[Node], after: Sequence[Node]) -> None:
        items = _Items()
        self._renames = _renames(before, after)
        self._before = items.of(before, {})
        self._after = items.of(after, self._renames)
        self._tainted: set[str] = set()
        self._moves: set[int | None] = set()
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
        scene.moved = _moved(before, after, matched)
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
            if _are_regrouped(gone, new):
                yield self._step(self._compare_regrouped, gone, new, depth, scene)
                gone, new = [], []
            for number in range(max(len(gone), len(new))):
                left = gone[number] if number < len(gone) else None
                right = new[number] if number < len(new) else None
                compare = self._compare_wrapped if _kept(left, right) is not None else self._compare_replaced
                yield self._step(compare, left, right, depth, scene)
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

    def _compare_wrapped(self, before: _Item, after: _Item, depth: int, scene: _Scene) -> None:
        """Write a run that stands in another one now, or no longer does: the other one, and the differences of the run."""
        kept = _kept(before, after)
        assert kept is not None
        inner, is_new = kept
        outer = after if is_new else before
        mark: Mark = "+" if is_new else "-"
        self._structure = True
        stays = describe((before if is_new else after).node)
        words = f"{stays} is {'now' if is_new else 'no longer'} wrapped in {describe(outer.node)}"
        note = self._cause_of(words, scene) if not scene.touched or not self._causes else "follows"
        self.rows.append(Row(mark, depth, outer.node.text, note))
        run = _Scene((*scene.path, head(outer.node).name), True)
        steps: list[_Step] = []
        for item in outer.inside:
            if item is inner:
                pair = (before, inner) if is_new else (inner, after)
                steps.append(self._step(self._compare_kept, *pair, depth + 1, run))
            else:
                steps.append(self._step(self._rows, mark, item, depth + 1, "follows"))
        self._todo += reversed(steps)

    def _compare_regrouped(self, gone: Sequence[_Item], new: Sequence[_Item], depth: int, scene: _Scene) -> None:
        """Write runs that ran side by side and now run one after the other, or the other way round."""
        together = gone[0].node.kind == "parallel"
        group, row = (gone[0], new) if together else (new[0], gone)
        words = "side by side, now one after the other" if together else "one after the other, now side by side"
        names = " and ".join(dict.fromkeys(describe(item.node) for item in row)) if len(row) < _MANY else amount(len(row), "run")
        self._structure = True
        note = self._cause_of(f"{names} ran {words}", scene)
        self.rows.append(Row("-" if together else "+", depth, group.node.text, note))
        others = list(row)
        steps: list[_Step] = []
        for item in group.inside:
            partner = next(other for other in others if _kin(other.node) == _kin(item.node))
            others.remove(partner)
            pair = (item, partner) if together else (partner, item)
            steps.append(self._step(self._compare_kept, *pair, depth if together else depth + 1, scene))
        self._todo += reversed(steps)

    def _compare_kept(self, before: _Item, after: _Item, depth: int, scene: _Scene) -> None:
        """Write a run that stands elsewhere now: its first line, if it is equal."""
        if before.key != after.key:
            return self._compare_changed(before, after, depth, scene)
        self.rows.append(Row(" ", depth, after.node.text))
        self._folded += after.size - 1
        return None

    def _compare_changed(self, before: _Item, after: _Item, depth: int, scene: _Scene) -> None:
        old, new = before.node, after.node
        if old.kind == "entry":
            return self._compare_entries(old, new, depth, scene)
        told = head(new) if new.kind == "run" else None
        inner = _Scene(
            (*scene.path, told.name) if told else scene.path,
            scene.touched or bool(told and told.call in self._tainted),
            self._prompt_words(before, after) if told and told.kind in ("chat", "llm") else "",
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
        single = (new or old) if old is None or new is None else None
        move = scene.moved.get(id(single))
        if follows or move in self._moves:
            return "follows"
        if single is not None and move is not None:
            self._moves.add(move)
            return self._cause_of(f"{describe(single)} has moved", scene)
        if single is not None and scene.prompt and single.sign in ("+", ">"):
            scene.touched = True  # the other messages go with it
            return self._cause_of(scene.prompt, scene)
        what = describe_change(*_with_hidden(old, new))
        if old is not None and new is not None and len(self._swaps) < _MAX_SWAPS:
            before, after = replaced_words(old, new)
            self._swaps += [(re.compile(rf"(?<!\w){re.escape(before)}(?!\w)"), after)] if before and after else []
        return self._cause_of(what, scene)

    def _cause_of(self, what: str, scene: _Scene) -> Note:
        """Count a cause. The first one is told in words."""
        self._causes += 1
        if self._causes > 1:
            return "cause"
        order = self._order()
        path = " › ".join(scene.path)
        self._words = order or what
        self._cause = f"{self._words} at {path}" if path else self._words
        return "first"

    def _prompt_words(self, before: _Item, after: _Item) -> str:
        """Return words for several messages that a model is asked with no more, or is asked with too; else an empty text."""
        asked = [
            {label for node in item.node.inside if node.sign == ">" for label in _labels_in(node)} for item in (before, after)
        ]
        was, now = asked[0], {self._renames.get(label, label) for label in asked[1]}
        if len(was - now) > 1 and now < was:
            return f"the prompt lost {amount(len(was - now), 'message')}"
        return f"the prompt has {amount(len(now - was), 'more message')}" if len(now - was) > 1 and was < now else ""

    def _order(self) -> str:
        """Return words for another order of the same tools, which say more than the first differing call; else an empty text."""
        before, after = ([head(n).name for _, n in walk(nodes) if _is_tool(n)] for nodes in self._trees)
        if before == after or Counter(before) != Counter(after):
            return ""
        first = next(n for n in range(len(before)) if before[n] != after[n])
        return f"order of tools {cut(', '.join(before[first:]))} → {cut(', '.join(after[first:]))}"

    def _follows(self, old: Node | None, new: Node | None, scene: _Scene) -> bool:
        if scene.touched:
            return True
        return any(self._refers(node) for node in (old, new) if node is not None) or self._is_echo(old, new)

    def _is_echo(self, old: Node | None, new: Node | None) -> bool:
        """True if two entries differ in usage only, or as texts of an earlier difference do."""
        if old is None or new is None:
            return False
        if old.kind == "entry" and USAGE.sub("", old.text) == USAGE.sub("", new.text) and old.more == new.more:
            return True
        said, says = text_of(old), text_of(new)
        return any(word.join(swap.split(said)) == says for swap, word in self._swaps)

    def _is_given(self, node: Node) -> bool:
        """True if an entry gives a changed thing to a run."""
        return node.sign in (">", "+") and bool(self._tainted) and not self._tainted.isdisjoint(_labels_in(node))

    def _refers(self, node: Node) -> bool:
        """True if a node refers to an earlier change: by a label, as the tool of a changed request, or by an input inside it."""
        if node.kind == "entry":
            defined = DEFINED.match(node.text)
            return not self._tainted.isdisjoint(label for label in _labels_in(node) if defined is None or label != defined[1])
        return any(
            head(inner).call in self._tainted if inner.kind == "run" else self._is_given(inner) for _, inner in walk([node])
        )

    def _taint(self, old: Node | None, new: Node | None) -> None:
        """Note that the definitions and requests in a difference have changed."""
        for node, other in ((new, old), (old, new)):
            defined = DEFINED.match(node.text) if node is not None and node.kind == "entry" else None
            if defined is not None:
                self._tainted.add(defined[1])
            self._tainted |= {label for label, _ in _requests_of(node) - _requests_of(other)}


def _moved(before: Sequence[_Item], after: Sequence[_Item], matched: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return the keys of equal runs that stand in another place, by the `id` of their nodes in both trees."""
    sides = [
        [item for n, item in enumerate(items) if n not in {pair[side] for pair in matched}]
        for side, items in enumerate((before, after))
    ]
    gone, new = ({item.key for item in items if item.node.kind == "run"} for items in sides)
    return {id(item.node): item.key for items in sides for item in items if item.key in gone & new}


def _kept(before: _Item | None, after: _Item | None) -> tuple[_Item, bool] | None:
    """Return the run of one side that is inside the run of the other side, and True if the other one is new."""
    if (
        before is None
        or after is None
        or not before.node.kind == after.node.kind == "run"
        or _kin(before.node) == _kin(after.node)
    ):
        return None
    for one, other, is_new in ((before, after, True), (after, before, False)):
        inside = [item for item in other.inside if item.node.kind == "run" and _kin(item.node) == _kin(one.node)]
        if len(inside) == 1:
            return inside[0], is_new
    return None


def _are_regrouped(gone: Sequence[_Item], new: Sequence[_Item]) -> bool:
    """True for a parallel group on one side, and the same runs in a row on the other."""
    for group, row in ((gone, new), (new, gone)):
        if len(group) == 1 and group[0].node.kind == "parallel" and len(row) > 1:
            return Counter(_kin(item.node) for item in group[0].inside) == Counter(_kin(item.node) for item in row)
    return False


def _requests_of(node: Node | None) -> set[tuple[str, str]]:
    """Return the tool calls that an entry requests."""
    texts = (node.text, *node.more) if node is not None and node.kind == "entry" else ()
    return {asked for text in texts for asked in requests_in(text)}


def _labels_in(node: Node) -> Iterator[str]:
    return (match[1] for text in (node.text, *node.more) for match in _LABEL.finditer(text) if match[1])


def _is_tool(node: Node) -> bool:
    return node.kind == "run" and "tool " in node.text and head(node).kind == "tool"


def _is_same_block(old: Node, new: Node) -> bool:
    """True if the first lines of two entries with several lines differ only in usage."""
    return bool(old.more and new.more) and USAGE.sub("", old.text) == USAGE.sub("", new.text)


def _said(node: Node | None, whole: bool) -> str:
    """Return the text of one side of a change, without the numbers of labels, which differ from tree to tree."""
    if node is None:
        return ""
    nodes = [inner for _, inner in walk([node])] if whole else [node]
    return "\n".join(line for inner in nodes for line in (_LABEL.sub(_blank, USAGE.sub("", inner.text)), *inner.more))


# -- differences that cannot be seen


def _with_hidden(old: Node | None, new: Node | None) -> tuple[Node | None, Node | None]:
    """Return two nodes; with escapes for what cannot be seen, if they look the same."""
    if old is None or new is None or not are_alike(text_of(old), text_of(new)):
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
