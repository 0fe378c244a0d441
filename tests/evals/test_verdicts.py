"""Verdicts, what would decide, and plans; error rates by enumeration and by seeded simulation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from llmtest.evals.intervals import clopper_pearson
from llmtest.evals.verdicts import Method, Outcome, Requirement, Tally, judge_set

EXACT, WILSON, SEQUENCE = (Requirement(0.9, method=method) for method in ("exact", "wilson", "sequence"))


# -- one verdict


@pytest.mark.parametrize(
    ("requirement", "passed", "total", "text"),
    [
        (EXACT, 98, 100, "pass: 98 of 100 passed, so the pass rate is from 92.9 % to 99.8 % (95 % confidence); 90 % is required"),
        (EXACT, 3, 10, "fail: 3 of 10 passed, so the pass rate is from 6.6 % to 65.3 % (95 % confidence); 90 % is required"),
        (WILSON, 3, 10, "fail: 3 of 10 passed, so the pass rate is from 10.7 % to 60.4 % (95 % confidence); 90 % is required"),
        (
            EXACT,
            19,
            20,
            "undecided: 19 of 20 passed, so the pass rate is from 75.1 % to 99.9 % (95 % confidence); 90 % is required\n"
            "  a new set of 167 repeats would decide, if 95 % of them pass; or a new set of 54, if at most 1 fail",
        ),
        (
            EXACT,
            10,
            10,
            "undecided: 10 of 10 passed, so the pass rate is from 69.1 % to 100 % (95 % confidence); 90 % is required\n"
            "  a new set of 36 repeats would decide, if all of them pass",
        ),
        (
            EXACT,
            9,
            10,
            "undecided: 9 of 10 passed, so the pass rate is from 55.4 % to 99.8 % (95 % confidence); 90 % is required\n"
            "  if the pass rate stays 90 %, not even 1,000,000 repeats would decide; or a new set of 54, if at most 1 fail",
        ),
        (
            SEQUENCE,
            19,
            20,
            "undecided: 19 of 20 passed, so the pass rate is from 66.9 % to 100 % (95 % confidence); 90 % is required\n"
            "  386 more repeats would decide, if 95 % of them pass; or 63 more, if all of these pass",
        ),
        (
            EXACT,
            0,
            0,
            "undecided: 0 of 0 passed, so the pass rate is from 0 % to 100 % (95 % confidence); 90 % is required\n"
            "  36 repeats would decide, if all of them pass",
        ),
    ],
)
def test_a_verdict_says_what_the_runs_show_and_what_would_decide(
    requirement: Requirement, passed: int, total: int, text: str
) -> None:
    assert str(requirement.judge(passed, total)) == text


@pytest.mark.parametrize("requirement", [EXACT, WILSON, SEQUENCE], ids=lambda requirement: requirement.method)
def test_the_number_of_more_repeats_decides_and_one_less_does_not(requirement: Requirement) -> None:
    for passed, total in ((10, 10), (19, 20), (16, 20), (97, 104)):
        verdict = requirement.judge(passed, total)
        assert verdict.outcome == "undecided"
        assert verdict.more is not None
        then = total + verdict.more
        # At the same pass rate, rounded to whole repeats towards the required one.
        rounded = passed * then // total if passed / total > 0.9 else -(-passed * then // total)
        before = passed * (then - 1) // total if passed / total > 0.9 else -(-passed * (then - 1) // total)

        assert requirement.outcome(rounded, then) == ("pass" if passed / total > 0.9 else "fail")
        assert requirement.outcome(before, then - 1) == "undecided"
        assert requirement.outcome(passed + verdict.more_passes, total + verdict.more_passes) == "pass"
        assert requirement.outcome(passed + verdict.more_passes - 1, total + verdict.more_passes - 1) == "undecided"


def test_nothing_more_is_needed_once_it_is_decided_and_no_number_is_known_before_the_first() -> None:
    assert [(v.more, v.more_passes) for v in (EXACT.judge(98, 100), EXACT.judge(3, 10))] == [(0, 0), (0, 0)]
    assert (EXACT.judge(0, 0).more, EXACT.judge(0, 0).more_passes) == (None, 36)


# -- stopping early


@pytest.mark.parametrize("method", ["exact", "wilson"])
def test_a_plan_that_is_cut_short_has_the_verdict_of_the_whole_plan_however_the_rest_goes(method: Method) -> None:
    requirement = Requirement(0.7, method=method)
    for total in range(31):
        for passed in range(total + 1):
            verdict = requirement.settle(passed, total, 30)
            later = {requirement.outcome(passed + more, 30) for more in range(31 - total)}

            assert ({verdict.outcome} if verdict else later) == later
            assert (verdict is None) == (len(later) > 1)


def test_a_verdict_of_a_plan_that_is_cut_short_has_the_interval_of_all_that_may_come() -> None:
    verdict = EXACT.settle(10, 30, 100)

    assert verdict is not None
    assert (verdict.interval.low, verdict.interval.high) == (clopper_pearson(10, 100).low, clopper_pearson(80, 100).high)
    assert str(verdict) == (
        "fail: 10 of 30 passed with 70 open, so the pass rate is from 4.9 % to 87.4 % (95 % confidence); 90 % is required"
    )
    assert str(EXACT.settle(88, 97, 100)).splitlines() == [
        "undecided: 88 of 97 passed with 3 open, so the pass rate is from 79.9 % to 95.9 % (95 % confidence); 90 % is required",
        "  a new set of 6,827 repeats would decide, if 90.72 % of them pass; or a new set of 167, if at most 9 fail",
    ]


def test_a_sequence_stops_as_soon_as_it_decides_and_when_it_cannot_decide_any_more() -> None:
    assert SEQUENCE.settle(52, 52, 100) is None
    assert SEQUENCE.settle(53, 53, 100) == SEQUENCE.judge(53, 53)
    assert SEQUENCE.settle(53, 53, 100).outcome == "pass"  # type: ignore[union-attr]
    hopeless = SEQUENCE.settle(96, 99, 100)
    assert hopeless is not None
    assert (hopeless.outcome, hopeless.repeats) == ("undecided", 100)


def stopped(requirement: Requirement, rate: float, repeats: int, source: random.Random) -> tuple[Outcome, int]:
    """Run a program with this pass rate until the verdict is settled; return it, and how many repeats it took."""
    passed = total = 0
    while True:
        key = (passed, total, repeats)
        if (requirement, key) not in _settled:
            found = requirement.settle(*key)
            _settled[requirement, key] = found and found.outcome
        if outcome := _settled[requirement, key]:
            return outcome, total
        total += 1
        passed += source.random() < rate


_settled: dict[tuple[Requirement, tuple[int, int, int]], Outcome | None] = {}


def simulate(requirement: Requirement, rate: float, repeats: int, experiments: int) -> tuple[dict[str, float], float]:
    """The part of each outcome in seeded experiments, and the mean number of repeats."""
    source = random.Random(rate)
    ended = [stopped(requirement, rate, repeats, source) for _ in range(experiments)]
    counts = Counter(outcome for outcome, _ in ended)
    return {outcome: counts[outcome] / experiments for outcome in ("pass", "fail", "undecided")}, sum(
        total for _, total in ended
    ) / experiments


def peeked(rate: float, repeats: int, experiments: int) -> float:
    """The part of wrong passes of a program that stops at the first interval for one look that decides."""
    source, wrong = random.Random(rate), 0
    for _ in range(experiments):
        passed = 0
        for total in range(1, repeats + 1):
            passed += source.random() < rate
            if (outcome := WILSON.outcome(passed, total)) != "undecided":
                wrong += outcome == "pass"
                break
    return wrong / experiments


@pytest.mark.parametrize(("requirement", "most"), [(EXACT, 0.025), (SEQUENCE, 0.05)], ids=["exact", "sequence"])
def test_stopping_keeps_the_error_rate_just_below_the_bound(requirement: Requirement, most: float) -> None:
    outcomes, _ = simulate(requirement, 0.8999, 100, 600)

    assert outcomes["pass"] <= most + 0.01
    assert outcomes["fail"] <= most + 0.01


def test_an_interval_for_one_look_that_is_looked_at_often_is_wrong_more_often() -> None:
    assert peeked(0.8999, 300, 300) > 0.05


@pytest.mark.soak
@pytest.mark.parametrize("requirement", [EXACT, SEQUENCE], ids=["exact", "sequence"])
@pytest.mark.parametrize("rate", [0.85, 0.8999, 0.9, 0.95])
def test_stopping_keeps_the_error_rate_in_10_000_experiments(requirement: Requirement, rate: float) -> None:
    outcomes, _ = simulate(requirement, rate, 300, 10_000)

    wrong = outcomes["pass"] if rate < 0.9 else outcomes["fail"]
    assert wrong <= 0.055
    assert outcomes == pytest.approx(requirement.plan(300).chances(rate), abs=0.02)


def test_stopping_saves_repeats_and_ends_as_the_numbers_predict() -> None:
    for requirement, rate in ((EXACT, 0.98), (EXACT, 0.7), (SEQUENCE, 0.99), (SEQUENCE, 0.7)):
        outcomes, mean = simulate(requirement, rate, 100, 400)

        assert outcomes == pytest.approx(requirement.plan(100).chances(rate), abs=0.05)
        assert mean < (98 if rate > 0.9 else 70)


# -- plans


@pytest.mark.parametrize(
    ("requirement", "repeats", "text"),
    [
        (
            EXACT,
            100,
            "100 repeats can show a pass rate of 90 % if 96 or more pass, and that it is lower if 83 or fewer pass"
            " (95 % confidence)",
        ),
        (
            EXACT,
            36,
            "36 repeats can show a pass rate of 90 % if all pass, and that it is lower if 28 or fewer pass (95 % confidence)",
        ),
        (
            EXACT,
            5,
            "5 repeats cannot show a pass rate of 90 %: if all pass, it is from 47.8 % to 100 % (95 % confidence)\n"
            "  only that it is lower, if 2 or fewer pass\n"
            "  36 repeats can show 90 %, if all of them pass; fewer cannot",
        ),
        (
            Requirement(0.99),
            1,
            "1 repeat cannot show a pass rate of 99 %: if all pass, it is from 2.5 % to 100 % (95 % confidence)\n"
            "  only that it is lower, if none passes\n"
            "  368 repeats can show 99 %, if all of them pass; fewer cannot",
        ),
        (
            Requirement(0.5),
            1,
            "1 repeat cannot show a pass rate of 50 %: if all pass, it is from 2.5 % to 100 % (95 % confidence)\n"
            "  nor that it is lower\n"
            "  6 repeats can show 50 %, if all of them pass; fewer cannot",
        ),
        (
            Requirement(0.01),
            1,
            "1 repeat can show a pass rate of 1 % if all pass, and cannot show that it is lower (95 % confidence)",
        ),
    ],
)
def test_a_plan_says_what_it_can_show_before_a_token_is_spent(requirement: Requirement, repeats: int, text: str) -> None:
    assert str(requirement.plan(repeats)) == text


@pytest.mark.parametrize("requirement", [EXACT, WILSON, SEQUENCE], ids=lambda requirement: requirement.method)
def test_the_bounds_of_a_plan_are_where_outcomes_change(requirement: Requirement) -> None:
    for repeats in (1, 2, 5, 35, 36, 53, 100):
        plan = requirement.plan(repeats)
        outcomes = [requirement.outcome(passed, repeats) for passed in range(repeats + 1)]

        assert plan.pass_from == (outcomes.index("pass") if "pass" in outcomes else None)
        assert plan.fail_to == (outcomes.count("fail") - 1 if "fail" in outcomes else None)
        assert (plan.pass_from is None) == (repeats < plan.fewest)


@pytest.mark.parametrize("requirement", [EXACT, SEQUENCE], ids=lambda requirement: requirement.method)
def test_a_wrong_verdict_is_no_more_likely_than_agreed(requirement: Requirement) -> None:
    for repeats in (1, 20, 100, 400):
        plan = requirement.plan(repeats)
        most = {"exact": 0.025, "sequence": 0.05}[requirement.method]

        assert plan.chances(0.9 - 1e-9)["pass"] <= most
        assert plan.chances(0.9)["fail"] <= most


def test_wilsons_interval_is_wrong_more_often_after_few_repeats() -> None:
    assert WILSON.plan(1).chances(0.9)["fail"] == pytest.approx(0.1)


def test_chances_add_up_and_follow_the_rate() -> None:
    for requirement in (EXACT, SEQUENCE):
        plan = requirement.plan(100)
        assert plan.chances(1.0) == {"pass": 1.0, "fail": 0.0, "undecided": 0.0}
        assert plan.chances(0.0) == {"pass": 0.0, "fail": 1.0, "undecided": 0.0}
        assert sum(plan.chances(0.93).values()) == pytest.approx(1)
        assert plan.chances(0.97)["pass"] < plan.chances(0.99)["pass"]
    assert EXACT.plan(5).chances(0.1)["pass"] == 0
    assert Requirement(0.5).plan(1).chances(0.1) == {"pass": 0.0, "fail": 0.0, "undecided": 1.0}


# -- what makes no sense


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (
            lambda: Requirement(1),
            "at_least=1: no number of repeats shows that every run passes; require less, such as 0.99",
        ),
        (lambda: Requirement(90), "at_least= is a pass rate between 0 and 1, such as 0.9; got 90"),
        (lambda: Requirement(0.9, 95), "confidence= lies between 0 and 1, such as 0.95; got 95"),
        (
            lambda: Requirement(0.9, method="wilsn"),  # type: ignore[arg-type]
            "method= has the unknown value 'wilsn'; did you mean `wilson`?",
        ),
        (
            lambda: Requirement(0.9, method="t"),  # type: ignore[arg-type]
            "method= has the unknown value 't'; it is one of exact, wilson, sequence",
        ),
        (lambda: EXACT.judge(3, 2), "of 2 runs, from 0 to 2 can pass; got 3"),
        (lambda: EXACT.settle(3, 11, 10), "11 repeats cannot be part of 10"),
        (lambda: EXACT.plan(0), "repeats= is 1 or more; got 0"),
        (lambda: EXACT.plan(10).chances(98), "a pass rate lies from 0 to 1; got 98"),
    ],
)
def test_a_requirement_that_makes_no_sense_is_an_error(ask: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        ask()

    assert str(caught.value) == text


# -- one case of a set, and the set


@pytest.mark.parametrize(
    ("outcomes", "repeats", "settled_after"),
    [
        ("1111111111", 10, None),  # ten passes decide nothing about 90 %
        ("1010000000", 10, 6),  # four have failed: six of ten can pass at most
        ("0000000000", 10, 4),
        ("1" * 100, 100, 96),  # four more may fail
        ("0" + "1" * 99, 100, 97),
    ],
)
def test_a_case_stops_when_its_verdict_is_certain(outcomes: str, repeats: int, settled_after: int | None) -> None:
    tally = Tally(Requirement(0.9), repeats)
    settled = None
    for number, passed in enumerate(outcomes):
        tally.add(number, passed == "1")
        settled = number + 1 if settled is None and tally.is_settled else settled

    assert settled == settled_after
    if settled_after is None:
        assert tally.verdict == Requirement(0.9).judge(outcomes.count("1"), len(outcomes))
    assert tally.open == 0


def test_repeats_count_in_the_order_in_which_they_were_started() -> None:
    tally = Tally(Requirement(0.9), 10)
    for number in (5, 4, 3, 2):  # four that failed fast; those before them may all pass
        tally.add(number, False)
        assert not tally.is_settled
    assert tally.verdict.outcome == "fail"  # of what has run
    tally.add(1, True)
    assert not tally.is_settled
    tally.add(0, True)

    assert tally.is_settled
    assert (tally.passed, tally.total, tally.open) == (2, 6, 4)


@pytest.mark.parametrize("alone", [True, False])
def test_a_case_of_several_does_not_stop_before_its_whole_plan_is_certain(alone: bool) -> None:
    """What it leaves out would count as open for the set, which could then show nothing."""
    requirement = Requirement(0.9, method="sequence")
    tally = Tally(requirement, 100, alone=alone)
    number = 0
    while not tally.is_settled:
        tally.add(number, True)
        number += 1

    assert number == next(n for n in range(200) if requirement.outcome(n, n if alone else 100) == "pass")
    assert tally.verdict.outcome == "pass"
    assert tally.open == 100 - number


def test_what_a_case_left_out_is_open_for_its_set() -> None:
    requirement = Requirement(0.9)
    tallies = [Tally(requirement, 10) for _ in range(20)]
    for tally in tallies[1:]:
        for number in range(10):
            tally.add(number, True)
    for number in range(4):
        tallies[0].add(number, False)

    verdict = judge_set(requirement, tallies)

    assert (verdict.passed, verdict.total, verdict.repeats) == (190, 194, 200)
    assert verdict.interval.low == requirement.interval(190, 200).low
    assert verdict.interval.high == requirement.interval(196, 200).high
    assert verdict.outcome == "pass"


@pytest.mark.parametrize("rate", [0.9 - 1e-9, 0.9])
def test_stopping_cases_early_makes_no_verdict_of_a_set_wrong_more_often(rate: float) -> None:
    """At the bound itself a set passes, or just below it, in at most 2.5 % of all experiments."""
    draws, requirement, wrong = random.Random(3), Requirement(0.9), 0
    experiments = 2_000
    for _ in range(experiments):
        tallies = [Tally(requirement, 20) for _ in range(10)]
        for tally in tallies:
            number = 0
            while number < 20 and not tally.is_settled:
                tally.add(number, draws.random() < rate)
                number += 1
        outcome = judge_set(requirement, tallies).outcome
        wrong += outcome == ("pass" if rate < 0.9 else "fail")

    assert wrong / experiments <= 0.025 + 2 * (0.025 / experiments) ** 0.5


# The rates of cases, a budget of runs, and the wrong verdict: a set that is cut short is no sample of all its cases.
CUT = {
    "the last case alone fails": ([1.0, 1.0, 0.69], 125, "pass"),
    "those without a run are better": ([0.7] * 3 + [1.0] * 7, 125, "fail"),
}


@pytest.mark.parametrize(("rates", "budget", "wrong"), CUT.values(), ids=CUT)
@pytest.mark.parametrize("requirement", [EXACT, SEQUENCE], ids=["exact", "sequence"])
def test_a_set_that_is_cut_short_is_wrong_no_more_often(
    rates: list[float], budget: int, wrong: Outcome, requirement: Requirement
) -> None:
    draws, count, experiments = random.Random(5), 0, 200
    for _ in range(experiments):
        left, tallies = budget, [Tally(requirement, 60) for _ in rates]
        for tally, rate in zip(tallies, rates, strict=True):
            while left and not tally.is_settled and tally.total < 60:
                tally.add(tally.total, draws.random() < rate)
                left -= 1
        ran = [tally for tally in tallies if tally.total]
        count += judge_set(requirement, ran, unrun=len(tallies) - len(ran)).outcome == wrong

    assert count / experiments <= 0.05
