"""Which schedules are tried, and the smallest one that fails."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmtest.campaigns.schedules import Decisions, Plan, Schedules, deviations, shrink, strip


def plans(runs: int, bound: int | None, decided: int = 3, among: int = 2) -> tuple[list[Plan], int | None]:
    """The plans of a program that always decides so often, among so many."""
    schedules, found = Schedules(runs, 0, bound), []
    for plan in schedules:
        found.append(plan)
        chosen = (*plan.decisions, *[0] * decided)[:decided]
        schedules.note([(among, value) for value in chosen])
    return found, schedules.exhausted


def test_first_the_order_of_asyncio_then_one_deviation_then_two() -> None:
    found, exhausted = plans(99, 2)

    assert [plan.decisions for plan in found] == [
        (),
        (1,),
        (0, 1),
        (0, 0, 1),
        (1, 1),
        (1, 0, 1),
        (0, 1, 1),
    ]
    assert exhausted == 2


def test_a_schedule_is_tried_once() -> None:
    found, _ = plans(999, 3, decided=5, among=3)

    assert len(found) == len(set(found))
    assert len(found) == 1 + 5 * 2 + 10 * 4 + 10 * 8


def test_runs_are_bounded_and_what_is_exhausted_is_said() -> None:
    found, exhausted = plans(4, 2)
    assert (len(found), exhausted) == (4, 1)

    found, exhausted = plans(3, 2)
    assert (len(found), exhausted) == (3, 0)


def test_half_of_the_runs_are_random() -> None:
    found, exhausted = plans(20, None, decided=10)

    assert [plan.seed is None for plan in found] == [True] * 10 + [False] * 10
    assert len({plan.seed for plan in found}) == 11
    assert exhausted == 0
    assert plans(20, None, decided=10) == (found, exhausted)


def test_without_a_choice_everything_is_exhausted() -> None:
    found, exhausted = plans(9, 2, decided=0)

    assert (found, exhausted) == ([Plan(())], 2)
    assert Schedules(5, 0).exhausted is None


def test_a_decision_among_many_is_none_of_the_order() -> None:
    assert len(plans(99, 1, decided=2, among=17)[0]) == 1


def test_too_many_schedules_to_come_are_cut(monkeypatch) -> None:
    monkeypatch.setattr("llmtest.campaigns.schedules.MAX_QUEUED", 2)

    assert plans(99, 1)[1] is None


def test_decisions_of_asyncio_at_the_end_are_none() -> None:
    assert strip([0, 2, 0, 0]) == (0, 2)
    assert deviations((0, 2, 1)) == 2


decisions = st.lists(st.integers(0, 3), max_size=12).map(tuple)


@given(decisions, st.sets(st.integers(0, 11), min_size=1, max_size=3))
def test_shrinking_finds_the_deviations_that_matter(given_schedule: Decisions, needed: set[int]) -> None:
    whole = tuple(3 if place in needed else value for place, value in enumerate((*given_schedule, *[0] * 12)[:12]))

    def fails(candidate: Decisions) -> bool:
        return all(place < len(candidate) and candidate[place] for place in needed)

    assert shrink(whole, fails, 10_000) == strip([1 if place in needed else 0 for place in range(12)])


def test_shrinking_ends_after_its_runs() -> None:
    tried: list[Decisions] = []

    def fails(candidate: Decisions) -> bool:
        tried.append(candidate)
        return False

    assert shrink((1, 2, 3, 0), fails, 3) == (1, 2, 3)
    assert len(tried) == 3
    assert shrink((0, 0), fails) == ()
