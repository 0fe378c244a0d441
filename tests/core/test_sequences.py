"""A literal matches plain items where the definition says so: all orders that the line allows, cut in all ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from dirty_equals import IsStr
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest.core import sequences
from llmtest.core.literals import ConcurrentGroup, Line, Repeated, Together
from llmtest.core.sequences import Names, Shape, TextLine, Tokens, bits

# -- items that are neither texts nor runs, and who takes them


class Item(NamedTuple):
    name: str
    number: int = 0


@dataclass(frozen=True, eq=False)
class Takes:
    """Items of this name, and if it is said, of this number only."""

    name: str
    number: int | None = None
    asked: list[Item] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        return self.name

    @property
    def is_conditional(self) -> bool:
        return self.number is not None

    def may_take(self, item: Item) -> bool:
        return item.name == self.name

    def takes(self, item: Item) -> bool:
        self.asked.append(item)
        return item.name == self.name and self.number in (None, item.number)

    def misses(self, item: Item) -> str | None:
        return None if self.takes(item) else f"it is {item.name}"


@dataclass(frozen=True)
class Items(Line):
    def taker(self, element: Any) -> Takes:
        return element if isinstance(element, Takes) else Takes(element)

    def look(self, item: Item) -> Hashable:
        return item.name


def matches(literal: Sequence[Any], line: Line) -> bool:
    return Shape(literal, line).matches()


# -- the definition, word for word


def orders(count: int, first: Callable[[int, int], bool]) -> Iterator[tuple[int, ...]]:
    for order in itertools.permutations(range(count)):
        if not any(first(b, a) for a, b in itertools.combinations(order, 2)):
            yield order


def should_match(literal: Sequence[Any], line: Items) -> bool:
    group = line.groups[0]

    def first(a: int, b: int) -> bool:
        inside = group.start <= a < group.stop and group.start <= b < group.stop
        return bool(group.down[b - group.start] >> a - group.start & 1) if inside else a < b

    def together(piece: Sequence[int]) -> bool:
        turns = {i: group.turns[i - group.start] if group.start <= i < group.stop else None for i in piece}
        return all(
            not (first(a, b) or first(b, a)) or (turns[a] is not None and turns[a] == turns[b])
            for a, b in itertools.combinations(piece, 2)
        )

    def takes(element: Any, i: int) -> bool:
        return line.taker(element).takes(line.items[i])

    def fits(element: Any, piece: Sequence[int]) -> bool:
        if isinstance(element, Together):
            return together(piece) and any(fill(element.members, order) for order in itertools.permutations(piece))
        if isinstance(element, Repeated):
            chained = all(first(a, b) for a, b in itertools.combinations(piece, 2))
            return chained and fill([element], piece)
        return len(piece) == 1 and takes(element, piece[0])

    def fill(members: Sequence[Any], piece: Sequence[int]) -> bool:
        if not members:
            return not piece
        member = members[0] if isinstance(members[0], Repeated) else Repeated(members[0], 1, 1)
        high = len(piece) if member.most is None else min(member.most, len(piece))
        counts = range(member.least, high + 1)
        return any(all(takes(member.element, i) for i in piece[:n]) and fill(members[1:], piece[n:]) for n in counts)

    def cut(order: Sequence[int], rest: Sequence[Any], taken: tuple[int, ...]) -> bool:
        if not rest:
            return not order
        for size in range(len(order) + 1):
            piece = order[:size]
            if rest[0] is ...:
                found = cut(order[size:], rest[1:], taken)
            else:
                in_order = all(first(a, b) for a in taken for b in piece)
                found = in_order and fits(rest[0], piece) and cut(order[size:], rest[1:], (*taken, *piece))
            if found:
                return True
        return False

    return any(cut(order, literal, ()) for order in orders(len(line.items), first))


# -- random lines, with a group of items of which some come before others


@st.composite
def lines(draw: st.DrawFn) -> Items:
    items = draw(st.lists(st.builds(Item, st.sampled_from("abc"), st.integers(0, 1)), min_size=2, max_size=5))
    start = draw(st.integers(0, len(items) - 2))
    stop = draw(st.integers(start + 2, len(items)))
    down: list[int] = []
    for n in range(stop - start):
        direct = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=2)) if n else []
        below = 0
        for m in direct:
            below |= 1 << m | down[m]
        down.append(below)
    turns = tuple(draw(st.sampled_from([None, 1, 2])) for _ in down)
    return Items(items, [ConcurrentGroup(start, stop, tuple(down), turns)])


single = st.sampled_from([*"abcz"]) | st.builds(Takes, st.sampled_from("ab"), st.integers(0, 1))
bounds = st.sampled_from([(2, 2), (0, 1), (1, 2), (1, None), (0, None)])
repeated = st.builds(lambda element, bounds: Repeated(element, *bounds), single, bounds)
groups = st.lists(single | repeated, min_size=1, max_size=3).map(lambda members: Together(tuple(members)))


@settings(max_examples=200, deadline=None)
@given(lines(), st.lists(st.just(...) | single | repeated | groups, max_size=4))
def test_a_literal_matches_where_the_definition_says_so(line: Items, literal: list[Any]) -> None:
    assert matches(literal, line) is should_match(literal, line)


@settings(max_examples=100, deadline=None)
@given(lines(), st.lists(st.just(...) | single | repeated | groups, max_size=4))
def test_going_item_by_item_and_part_by_part_end_at_the_same_places(line: Items, literal: list[Any]) -> None:
    shape = Shape(literal, line)

    *_, (_, stop, places) = shape.walk()

    assert stop == len(line.items)
    assert bool(places & shape.end) is matches(literal, line)


# -- what is asked, and how often


def test_one_look_is_enough_for_a_taker_that_asks_nothing_more() -> None:
    plain, strict = Takes("a"), Takes("b", 7)

    assert matches([..., plain, strict], Items([Item("a")] * 1000 + [Item("b", 7)]))
    assert (len(plain.asked), len(strict.asked)) == (0, 2)  # by its part, and by its place


def test_a_conditional_taker_is_asked_about_each_item_that_it_may_take() -> None:
    line = Items([Item("a", 1), Item("a", 2), Item("b", 2), Item("a", 3)])

    assert matches([..., Takes("a", 3)], line)
    assert not matches([..., Takes("a", 2)], line)
    assert matches([..., Takes("a", 2), ...], line)


def test_an_item_alone_may_be_all_of_a_group() -> None:
    line = Items([Item("a"), Item("b", 1), Item("c")])

    assert matches(["a", Together((Takes("b", 1),)), "c"], line)
    assert matches(["a", Together(("b", Repeated("x", 0, 2))), "c"], line)
    assert not matches([Together(("a", "b")), "c"], line)


def test_neither_length_nor_repetition_takes_exponential_time() -> None:
    many = [Item("a")] * 200
    free = Items(many[:12], [ConcurrentGroup(0, 12, (0,) * 12, (None,) * 12)])

    assert not matches([..., "a", ...] * 30 + ["z"], Items(many))
    assert not matches([Repeated("a", 1, None), ...] * 30 + ["z"], Items(many))
    assert matches([Together((Repeated("a", 12, 12),))], free)
    assert not matches([..., Together((Repeated("a", 13, None),))], free)


def test_a_group_with_too_many_sets_of_items_gives_up_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each item comes after another one of a chain beside them, so nothing makes two of them alike.
    chain = tuple((1 << n) - 1 for n in range(12))
    down = chain + tuple((2 << n) - 1 for n in range(12))
    line = Items([Item("x")] * 12 + [Item("a")] * 12, [ConcurrentGroup(0, 24, down, (None,) * 24)])
    few, many = (Shape([..., Together(("a",) * count + ("z",)), ...], line) for count in (2, 6))
    monkeypatch.setattr(sequences, "MAX_TRIED_SETS", 100)

    assert [few.matches(), many.matches()] == [False, False]
    assert many.gave_up


def test_bits_are_numbered_from_the_lowest() -> None:
    assert bits(0b10110) == [1, 2, 4]
    assert bits(0) == []


# -- texts


def test_tokens_compare_themselves_with_a_literal() -> None:
    assert Tokens(["It is", " in", " Paris."]) == ["It is", ..., IsStr(regex=".*Paris.")]
    assert Tokens(["*", ["block"]]) == ["*", ["block"]]
    assert Tokens([{"type": "text"}, {"type": "text"}]) == [{"type": IsStr()}, ...]
    assert Tokens(["a"]) != ["*"]
    assert Tokens(["a"]) != "a"
    assert Tokens([]) == [] == [*Tokens([])]
    assert Tokens([]) == [...]


def test_names_may_have_wildcards() -> None:
    assert Names(["on_tool_start", "on_tool_end"]) == ("on_*_start", "*")
    assert Names(["on_tool_start"]) != ["on_*_end"]


def test_a_set_of_texts_takes_the_next_ones_in_any_order() -> None:
    assert Tokens("abc") == [{"b", "a"}, "c"]
    assert Tokens("aab") == [Together(("a", "b", "a"))]
    assert Tokens("abab") == [Together((Repeated("a", 1, None), Repeated("b", 1, None)))]
    assert Tokens("abc") != [{"a", "c"}, ...]
    assert Tokens("ab") != [..., {"b", "c"}]


def test_tokens_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'Names'"):
        hash(Names("a"))


def test_a_text_that_is_not_taken_says_what_it_is() -> None:
    taker = TextLine(["a"], has_wildcards=True).taker("b*")

    assert (taker.text, taker.misses("a"), taker.misses("bc")) == ("'b*'", "it is 'a'", None)


def test_tokens_equal_nothing_that_is_no_list() -> None:
    assert [Tokens(["a"]) == other for other in (7, "a", None, ("a",))] == [False, False, False, True]
