"""What may stand in a literal, and who can be assigned to whom."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtest.core.literals import (
    ConcurrentGroup,
    Element,
    Member,
    Repeated,
    Together,
    bounds_of,
    can_assign,
    can_spread,
    read_elements,
)
from llmtest.core.sequences import TextLine, TextTaker


class Pattern(TextTaker):
    """A name with wildcards that is equal to one written alike."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextTaker) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


class AnyOf(TextTaker):
    """Takes each of some names."""

    def takes(self, item: Any) -> bool:
        return item in self.name


def pattern(name: str) -> Pattern:
    return Pattern(name, True)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (..., [Element("gap")]),
        ("a", [Element("one", (Member(pattern("a")),))]),
        (Repeated("a", 2, 2), [Element("one", (Member(pattern("a")),))] * 2),
        (Repeated("a", 0, 1), [Element("may", (Member(pattern("a")),))]),
        (Repeated("a", 1, None), [Element("one", (Member(pattern("a")),)), Element("many", (Member(pattern("a")),))]),
        ({"b", "a"}, [Element("group", (Member(pattern("a")), Member(pattern("b"))))]),
        (Together((Repeated("b", 1, None), "a")), [Element("group", (Member(pattern("b"), 1, math.inf), Member(pattern("a"))))]),
    ],
)
def test_how_an_element_is_read(written: Any, expected: list[Element]) -> None:
    found = list(read_elements([written], TextLine([], has_wildcards=True)))

    assert expected == found


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ((), (0, 0, True)),
        ((Member(pattern("a")),), (1, 1, False)),
        ((Member(pattern("a"), 1, 2), Member(pattern("b"), 0, math.inf)), (1, math.inf, False)),
        ((Member(pattern("a"), 0, 2),), (0, 2, True)),
    ],
)
def test_how_many_items_a_group_takes(members: tuple[Member, ...], expected: tuple[int, float, bool]) -> None:
    group = Element("group", members)

    assert (group.least, group.most, group.may_be_empty) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(2, (2, 2)), (slice(1, 3), (1, 3)), (slice(1, None), (1, None)), (slice(None, 3), (0, 3))]
)
def test_how_often_is_written(count: Any, expected: tuple[int, int | None]) -> None:
    assert bounds_of(count) == expected


@pytest.mark.parametrize(
    ("count", "kind", "text"),
    [
        ("x", TypeError, "how often is [n] or [least:most]; got ['x']"),
        (slice(None, None, 2), TypeError, "how often is [n] or [least:most]; got [slice(None, None, 2)]"),
        (0, ValueError, "how often is [n] or [least:most], both inclusive, 0 <= least <= most, 1 <= most; got 0"),
    ],
)
def test_how_often_cannot_be_written(count: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        bounds_of(count)

    assert str(caught.value) == text


def test_repetitions_and_groups_are_shown_as_they_are_written() -> None:
    assert [repr(Repeated("a", *bounds)) for bounds in [(2, 2), (1, 3), (1, None), (0, 3)]] == [
        "'a'[2]",
        "'a'[1:3]",
        "'a'[1:]",
        "'a'[:3]",
    ]
    assert repr(Together(("a", Repeated("b", 1, None)))) == "together('a', 'b'[1:])"


def test_items_are_assigned_whatever_order_they_are_tried_in() -> None:
    anything, a = Member(pattern("*")), Member(pattern("a"))

    assert can_assign([anything, a], "ab")
    assert can_assign([a, anything], "ab")
    assert not can_assign([a, a], "ab")
    assert not can_assign([anything], "ab")
    assert not can_assign([Member(pattern("*"), 3, 3)], "ab")


def test_an_amount_moves_to_make_room() -> None:
    assert can_spread([1, 1], [1, 1], [[True, True], [True, False]])
    assert can_spread([1, 1, 1], [1, 1, 1], [[True, True, False], [True, False, True], [True, False, False]])
    assert can_spread([3, 2], [2, 3], [[True, True], [False, True]])
    assert not can_spread([1, 1], [1], [[True], [True]])
    assert not can_spread([3, 2], [3, 1], [[True, True], [True, False]])
    assert can_spread([], [], [])


@given(
    st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.integers(0, 2), st.integers(0, 2)), max_size=3),
    st.text("abc", max_size=5),
)
def test_items_are_assigned_exactly_if_some_assignment_fits(wanted: list[tuple[set[str], int, int]], items: str) -> None:
    members = [Member(AnyOf(frozenset(names), False), least, least + more) for names, least, more in wanted]

    def fits(assigned: tuple[int, ...]) -> bool:
        counts = all(member.least <= assigned.count(n) <= member.most for n, member in enumerate(members))
        return counts and all(item in wanted[n][0] for n, item in zip(assigned, items, strict=True))

    assert can_assign(members, items) == any(map(fits, itertools.product(range(len(members)), repeat=len(items))))


def test_a_line_is_cut_into_its_groups_and_the_items_between_them() -> None:
    first, second = ConcurrentGroup(1, 3, (0, 0), (None, None)), ConcurrentGroup(3, 5, (0, 0), (None, None))
    line = TextLine("xabab", [first, second])

    assert line.parts == ["x", first, second]
    assert [line.inside(part) for part in line.parts] == [("x",), "ab", "ab"]
    assert line.looks == [0, 1, 1]


def test_groups_look_alike_if_order_and_shared_turns_are_alike() -> None:
    groups = [
        ConcurrentGroup(0, 2, (0, 0), (5, 5)),
        ConcurrentGroup(2, 4, (0, 0), (7, 7)),
        ConcurrentGroup(4, 6, (0, 0), (7, 8)),
        ConcurrentGroup(6, 8, (0, 1), (7, 7)),
        ConcurrentGroup(8, 10, (0, 0), (None, None)),
    ]

    looks = TextLine("ab" * 5, groups).looks

    assert looks == [0, 0, 1, 2, 3]
