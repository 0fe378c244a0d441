"""Rules as values, rules of rules, and where a value came from."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.events import Document, FrozenDict, FrozenList, Message, Structured, ToolCall
from llmtest.matching import (
    at_least,
    at_most,
    before,
    between,
    called,
    each,
    never,
    only,
)
from tests.support.programs import Trace, run, trace
from tests.support.shop import CUT_SHORT, NESTED, SHOP


def result(output: Any, given: Any = 7) -> Trace:
    return trace(run("search", output=output), run("book", args={"id": given}))


@pytest.mark.parametrize(
    ("output", "given", "expected"),
    [
        (7, 7, True),
        ("order 7 is here", 7, True),
        ("order 77 is here", 7, False),
        (FrozenList([FrozenDict(a=FrozenList([7]))]), 7, True),
        (Message("tool", "id: 7"), 7, True),
        (Message("ai", "", (ToolCall("x", FrozenDict(id=7)),)), 7, True),
        (FrozenList([Document("page 7")]), 7, True),
        (FrozenList([ToolCall("x", FrozenDict(id=7))]), 7, True),
        (Structured("Order", FrozenDict(id=7)), 7, True),
        (True, 1, False),
        (None, 7, False),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
        ("x", FrozenDict(deep=FrozenList(["y", "x"])), True),
    ],
)
def test_when_a_value_came_from_a_result(output: Any, given: Any, expected: bool) -> None:
    assert bool(result(output, given).obeys(called("book").came_from("search"))) is expected


def test_each_value_is_judged_by_itself() -> None:
    caught = trace(*(run("pay", args={"order_id": n}) for n in (1, 2, 1)), run("refund", args={"order_id": 3}))

    assert not caught.obeys(at_most(1, "pay", per="order_id"))
    assert caught.obeys(at_most(2, "pay", per="order_id"))
    assert not caught.obeys(at_least(2, "pay", per="order_id"))
    assert not caught.obeys(before("pay", "refund", per="order_id"))
    assert caught.obeys(before("pay", "refund"))
    assert caught.obeys(at_most(2, "pay", per=lambda run: [run.args["order_id"]]))


def test_rules_are_values() -> None:
    assert before("a", "b") == before("a", "b") != before("a", "c")
    assert len({never("a"), never("a"), never("b")}) == 2


@pytest.mark.parametrize(
    ("rule", "meant"),
    [
        (before("a", "b"), ["a", "b"]),
        (each("a").followed_by("b"), ["a", "b"]),
        (each("a").ends_before("b"), ["a", "b"]),
        (each("a").ends(), ["a"]),
        (never("a").after("b"), ["a", "b"]),
        (between("a", "b").never("c"), ["a", "b", "c"]),
        (between("a", "b").at_least(1, "c"), ["a", "b", "c"]),
        (at_most(1, "a"), ["a"]),
        (only("a", "b"), ["a", "b"]),
        (called("a").came_from("b"), ["a", "b"]),
        (never("a") & never("b"), ["a", "b"]),
        (never("a") | never("b"), ["a", "b"]),
        (~(never("a") | never("b")), ["a", "b"]),
    ],
)
def test_a_rule_that_must_not_hold_shows_the_runs_that_it_is_about(rule: Any, meant: list[str]) -> None:
    assert [one.name for one in rule.selectors()] == meant


def test_what_an_opposite_shows_is_where_its_runs_began() -> None:
    assert [shown.name for shown in SHOP.obeys(~before("search", "book")).events] == ["search", "book"]


def test_relations_that_break_an_order_are_told_apart() -> None:
    told = [
        NESTED.obeys(before("search", "book")).said,
        NESTED.obeys(before("book", "search")).said,
        CUT_SHORT.obeys(before("search", "book")).said,
        SHOP.obeys(each("pay").followed_by("search")).said,
        SHOP.obeys(never("pay").after("book")).said,
        SHOP.obeys(called("search").came_from("book")).said,
        SHOP.obeys(called("pay").came_from("book", arg="order_id")).said,
        SHOP.obeys(called("pay").came_from("nothing")).said,
    ]

    assert told == [
        "`book` ran inside `search`, which had not ended",
        "`book` ran inside `search`, which had begun",
        "`search` never ended",
        "`pay` came after `search`",
        "`pay` came after `book`",
        "`book` came after `search`",
        "`pay` was given 1, which `book` did not return: it returned None",
        "`pay` was given 1, and there was no `nothing`",
    ]
