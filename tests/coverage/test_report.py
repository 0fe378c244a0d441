from __future__ import annotations

from collections.abc import Callable

import pytest

from llmtest.coverage import items
from llmtest.coverage.data import CoverageData
from llmtest.coverage.items import KINDS
from llmtest.coverage.report import Counts, Exclude, Report, Row, by_kind, parse_excludes, parse_limits
from llmtest.errors import CoverageError

Written = Callable[..., CoverageData]


def states(report: Report) -> dict[str, str]:
    return {row.item.id: row.state for row in report.rows}


def test_each_item_has_a_state(written: Written) -> None:
    data = written(("t", ["desk/nodes/plan", "desk/edges/plan->?route"], ["desk/edges/plan->book"]))
    report = Report(data, [Exclude("*hotel*", "never raises")])

    assert states(report) == {
        "desk/nodes/book": "missed",
        "desk/nodes/plan": "hit",
        "desk/edges/__start__->plan": "missed",
        "desk/edges/book->__end__": "missed",
        "desk/edges/plan->?route": "unknown",
        "desk/edges/plan->book": "ambiguous",
        "desk/tools/hotel.raised": "excluded",
    }
    assert report.counts == Counts(hit=1, missed=3, ambiguous=1, unknown=1, excluded=1)
    assert (report.counts.total, report.counts.percent, report.counts.shown) == (4, 25.0, "25%")
    assert [row.item.name for row in report.missing()] == ["book", "__start__->plan", "book->__end__"]
    assert {kind: len(rows) for kind, rows in by_kind(report.rows).items()} == {"nodes": 2, "edges": 4, "tools": 1}
    assert list(report.programs()) == ["desk"]
    assert report.rows[1].tests == ["t"]


def test_only_named_programs_count_if_some_are_named(written: Written) -> None:
    things = [items.node("a", "x"), items.node("b", "x")]
    data = written(("t", ["a/nodes/x", "b/nodes/x"], []), things=things, programs=["b", "gone"])

    report = Report(data)

    assert list(report.programs()) == ["b"]
    assert report.notes() == ["the program gone has no items"]


def test_notes_tell_of_excludes_that_exclude_nothing_or_what_is_hit(written: Written) -> None:
    data = written(("t", ["desk/nodes/plan"], []))
    excludes = [Exclude("desk/nodes/plane", "r"), Exclude("desk/nodes/plan", "r")]

    assert Report(data, excludes).notes() == [
        "no item matches the exclude 'desk/nodes/plane'; did you mean `desk/nodes/plan`?",
        "desk/nodes/plan is excluded, and a test hits it",
    ]


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        (Counts(), "100%"),
        (Counts(hit=1), "100%"),
        (Counts(missed=1), "0%"),
        (Counts(hit=999, missed=1), "99%"),
        (Counts(hit=1, missed=999), "1%"),
        (Counts(hit=1, missed=2), "33%"),
    ],
)
def test_a_percentage_is_never_rounded_to_all_or_nothing(counts: Counts, shown: str) -> None:
    assert counts.shown == shown


def test_limits_are_of_all_items_or_by_kind(written: Written) -> None:
    report = Report(written(("t", ["desk/nodes/plan", "desk/nodes/book"], [])))

    assert parse_limits("90%, nodes=100,edges=12.5") == {"": 90.0, "nodes": 100.0, "edges": 12.5}
    assert report.broken_limits({"": 30, "nodes": 100, "modes": 100}) == []
    assert report.broken_limits(parse_limits("90,edges=10")) == [
        "coverage is 33.33%, less than 90%: 4 items missed",
        "coverage of edges is 0.00%, less than 10%: 3 items missed",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("many", f"'many'; the kinds are {', '.join(KINDS)}"),
        ("101", f"'101'; the kinds are {', '.join(KINDS)}"),
        ("node=100", "'node=100'; did you mean `nodes`?"),
    ],
)
def test_a_wrong_limit_is_refused(text: str, told: str) -> None:
    with pytest.raises(CoverageError) as caught:
        parse_limits(text)

    assert str(caught.value) == f"--llmtest-cov-fail-under is a number up to 100, or KIND=NUMBER, several with commas; got {told}"


def test_an_exclude_has_a_reason() -> None:
    assert parse_excludes(["*/modes/batch because nobody calls it"]) == [Exclude("*/modes/batch", "nobody calls it")]
    for line in ("*/modes/batch", "*/modes/batch because ", " because why"):
        with pytest.raises(CoverageError) as caught:
            parse_excludes([line])
        assert str(caught.value) == (
            f"a line of llmtest_cov_exclude is `PATTERN because REASON`; got {line!r}"
            "\n  for example: */models/*.refusal because the provider never refuses"
        )


def test_a_row_is_plain() -> None:
    assert Row(items.node("a", "x"), "hit").tests == ()


def test_no_limit_is_reached_without_a_program(written: Written) -> None:
    report = Report(written(("t", [], []), things=[]))

    assert report.broken_limits({}) == []
    assert report.broken_limits({"": 0.0}) == []
    assert report.broken_limits({"nodes": 50.0}) == ["no program was met, so no limit of coverage is reached"]
