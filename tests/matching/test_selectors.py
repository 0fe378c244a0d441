"""Selectors: which runs and events they mean, how they are shown, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from dirty_equals import IsPartialDict

from llmtest.events import Failure
from llmtest.matching import (
    at_least,
    called,
    chain,
    event,
    exactly,
    model,
    never,
    node,
    retriever,
    together,
)
from tests.support.programs import run, trace
from tests.support.shop import AGENT, SEQUENCE, SHOP


def test_results_errors_tags_and_nodes_can_be_asked_for() -> None:
    caught = trace(
        run("search", output={"id": 7, "more": [1, "x"]}, tags=("slow",)),
        run("fetch", error=Failure("TimeoutError", "late")),
        run("stop", error=Failure("CancelledError", "", "cancelled")),
        run("text", text="plain"),
        run("left", open=True),
        run("planner", kind="chain", tags=("graph:step:1",)),
    )

    assert caught.runs == [
        called().returned(IsPartialDict(id=7)).tagged("sl*"),
        called().failed("Timeout*"),
        called("stop"),
        called("text"),
        called("left"),
        node("planner"),
    ]
    assert called("search").returned({"id": 7, "more": (1, re.compile("x"))}) == caught.run("search")
    assert called("search").returned({"id": 7}) != caught.run("search")
    assert called().failed("Value*") != caught.run("fetch")
    assert called().failed() != caught.run("stop")
    assert called().returned(ANY) != caught.run("stop")
    assert called(a=1) != caught.run("text")
    assert called().failed() != caught.run("left")
    assert called().returned(ANY) != caught.run("left")
    assert node("search") != caught.run("search")


def test_a_condition_on_either_of_two_is_asked_too() -> None:
    either = called("a") | "b"

    assert SEQUENCE.tools == [either.where(lambda one: one.name == "a"), "b", ...]
    assert SEQUENCE.tools != [either.where(lambda one: one.name == "b"), "b", ...]


def test_a_matched_matcher_is_shown_as_what_it_matched() -> None:
    matched, unmatched, group = called("plan"), called("book", id=8), together(called("a"), called("b"))

    assert AGENT.tools != [matched, group, unmatched]
    assert repr([matched, group, unmatched]) == "['plan', together('a', 'b'), called('book', id=8)]"


def test_a_matcher_compared_with_a_run_is_shown_as_that_run_until_it_is_not_it() -> None:
    book = called("book", id=7)

    first = (book == AGENT.run("book"), repr(book))
    second = (book == AGENT.run("plan"), repr(book))

    assert (first, second) == ((True, "'book'"), (False, "called('book', id=7)"))
    assert book != 7
    assert book == called("book", id=7) != called("book", id=8)
    assert len({book, called("book", id=7)}) == 1


@pytest.mark.parametrize(
    ("made", "code", "sentence"),
    [
        (called("book", id=7), "called('book', id=7)", "`book`(id=7)"),
        (called(), "called()", "a tool"),
        (called(id=re.compile("7")), "called(id=re.compile('7'))", "a tool(id=re.compile('7'))"),
        (called(re.compile("b|c")), "called(re.compile('b|c'))", "`/b|c/`"),
        (called("a") | "b", "called('a') | 'b'", "`a` or `b`"),
        (model("gpt*"), "model('gpt*')", "model `gpt*`"),
        (model(), "model()", "a model"),
        (node("plan"), "node('plan')", "node `plan`"),
        (event("on_retry", attempt_number=2), "event('on_retry', attempt_number=2)", "event `on_retry`(attempt_number=2)"),
        (called("a").returned(1), "called('a').returned(1)", "`a`.returned(1)"),
        (called("a").failed(), "called('a').failed()", "`a`.failed()"),
        (called("a").failed("Time*"), "called('a').failed('Time*')", "`a`.failed('Time*')"),
        (called("a").tagged("x"), "called('a').tagged('x')", "`a`.tagged('x')"),
        (called("a").where(callable), "called('a').where(callable)", "`a`.where(callable)"),
        (called("a")[2], "called('a')[2]", None),
        (called("a")[1:3], "called('a')[1:3]", None),
        (called("a")[1:], "called('a')[1:]", None),
        (called("a")[:3], "called('a')[:3]", None),
        (together("a", called("b")), "together('a', called('b'))", None),
    ],
)
def test_how_selectors_are_shown(made: Any, code: str, sentence: str | None) -> None:
    assert repr(made) == code
    assert sentence is None or str(made) == sentence


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: called("a")["x"], "how often is [n] or [least:most]; got ['x']"),
        (lambda: called("a")[::2], "how often is [n] or [least:most]; got [slice(None, None, 2)]"),
        (lambda: called("a")[0], "how often is [n] or [least:most], both inclusive, 0 <= least <= most, 1 <= most; got 0"),
        (
            lambda: called("a")[3:1],
            "how often is [n] or [least:most], both inclusive, 0 <= least <= most, 1 <= most; got slice(3, 1, None)",
        ),
        (lambda: together(), "together() takes at least one name or called(...)"),
        (lambda: together(...), "a member of together() is a name, a called(...) or a repetition of it; got Ellipsis"),
        (lambda: together(["a"]), "a member of together() is a name, a called(...) or a repetition of it; got ['a']"),
        (lambda: called(7), "called() takes a name: a str, or a regular expression; got int 7"),  # type: ignore[arg-type]
        (lambda: called("a") | 7, "unsupported operand type(s) for |: 'Selector' and 'int'"),
        (lambda: 7 | called("a"), "unsupported operand type(s) for |: 'int' and 'Selector'"),
        (lambda: list(called("a")), "'Selector' object is not iterable"),
        (
            lambda: event("on_retry").returned(1),
            "event('on_retry') means events; returned, failed, tagged and came_from are said of runs",
        ),
    ],
)
def test_what_is_no_selector(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        wrong()

    assert str(caught.value) == text


def test_an_event_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        event("on_tool_strat")

    assert str(caught.value).startswith("event() takes the name of a callback; got 'on_tool_strat'. They are on_agent_action, ")


def test_a_failure_is_meant_by_the_name_of_its_class() -> None:
    caught = trace(run("a", error=Failure("TimeoutError", "late")))

    assert caught.obeys(
        exactly(1, event("on_tool_error", error="TimeoutError")), never(event("on_tool_error", error="ValueError"))
    )


@pytest.mark.parametrize(
    ("which", "holds"),
    [
        (called("pay", order_id=1) | called("book", id=8), True),
        (called("pay", order_id=2) | called("book", id=8), False),
        ((called("pay", order_id=1) | "book").where(lambda one: one.name == "book"), True),
        ((called("pay", order_id=1) | "book").where(lambda one: one.name == "confirm"), False),
        (called("pay", order_id=2) | event("on_tool_end", output=7), False),
        (event("on_tool_end", output=7) | event("on_tool_start", inputs=ANY), True),
    ],
)
def test_either_of_two_may_have_conditions(which: Any, holds: bool) -> None:
    assert [bool(SHOP.obeys(at_least(1, which))), bool(SHOP.obeys(never(which)))] == [holds, not holds]


class OwnError(Exception):
    """Of a class that a loaded trace does not know."""


def test_of_a_class_that_is_not_known_it_cannot_be_told_whether_a_failure_is_of_it() -> None:
    caught = trace(run("a", error=Failure("CustomError", "x")))

    assert caught.obeys(never(called("a").failed(OwnError))).said == (
        "what classes are above CustomError of `a` is not known in a loaded trace"
    )
    assert caught.obeys(at_least(1, called("a").failed("CustomError")))


@pytest.mark.parametrize("make", [model, chain, node, retriever, event])
def test_a_name_is_a_text_or_a_regular_expression(make: Any) -> None:
    with pytest.raises(TypeError) as caught:
        make(7)

    assert str(caught.value) == f"{make.__name__}() takes a name: a str, or a regular expression; got int 7"


def test_a_selector_of_events_equals_no_number() -> None:
    assert event("on_retry") != 7
    assert event("on_retry") == "on_retry"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: called("refund", order=len), "called() compares `order` with"),
        (lambda: called("refund", order={"id": [len]}), "called() compares `order` with"),
        (lambda: called("refund").returned(len), "returned() compares the result with"),
        (lambda: event("on_retry", error=len), "event() compares `error` with"),
    ],
    ids=["an argument", "within an argument", "a result", "an entry of an event"],
)
def test_a_function_is_no_value_to_compare_with(make: Callable[[], object], what: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()

    assert str(caught.value) == (
        f"{what} a value, a matcher or a regular expression; got the function <built-in function len>\n"
        "  to ask a function, write .where(lambda run: ...)"
    )
