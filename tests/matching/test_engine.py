"""How rules are judged on a recording: by a look at many runs at once, and one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest.events import UnseenCall
from llmtest.matching import (
    Rule,
    at_least,
    before,
    between,
    called,
    each,
    event,
    never,
)
from llmtest.matching.engine import RuleEvaluator
from tests.support.programs import Trace, chat, run, trace
from tests.support.shop import SHOP, shop_programs


class AtALook(RuleEvaluator):
    """Asks what tells of many at a look, however few they are."""

    few = 0


class OneByOne(RuleEvaluator):
    """Looks at each pair: it knows nothing of what a look may tell."""

    def window(self, one: Any, hits: Any, order: Any) -> tuple[int, int]:
        return 0, len(hits)

    def windows(self, ones: Any, hits: Any) -> Any:
        return [(one, 0, len(hits)) for one in ones]

    def needs_check_before(self, firsts: Any, seconds: Any, per: Any, order: Any) -> Any:
        return seconds

    def needs_check_after(self, firsts: Any, seconds: Any, per: Any, order: Any) -> Any:
        return firsts

    def needs_check_before_all(self, ones: Any, hits: Any, order: Any) -> Any:
        return ones

    def needs_check_between(self, ones: Any, begins: Any, ends: Any) -> Any:
        return ones

    def recorded_between(self, ones: Any, begins: Any, ends: Any, order: Any) -> Any:
        return None

    def needs_check_filled(self, begins: Any, ones: Any, ends: Any, least: int, order: Any) -> Any:
        return begins


started, ended = event("on_tool_start"), event("on_tool_end")


things = st.sampled_from([*"abc", called(), started, ended, event("on_tool_*"), ended.where(lambda one: one.name == "a")])


things = things | st.just(started | called("b"))


@settings(max_examples=200, deadline=None)
@given(shop_programs(), things, things, things, st.sampled_from(["cause", "recorded"]))
def test_what_a_look_tells_is_what_each_pair_tells(caught: Trace, a: Any, b: Any, c: Any, order: Any) -> None:
    rules: list[Rule] = [before(a, b, order=order), each(a).followed_by(b, order=order), never(a).after(b, order=order)]
    rules += [between(a, b, order=order).at_least(least, c) for least in (0, 1, 2)]
    if order == "cause":
        rules += [between(a, b).never(c), each(a).ends_before(b)]

    for rule in rules:
        assert rule.judge(AtALook(caught)).holds is rule.judge(OneByOne(caught)).holds, rule


def test_arguments_of_runs_that_did_not_happen_are_not_looked_for() -> None:
    assert trace(run("pay")).obeys(never(called("refund", order_id=1)))


def test_a_half_said_rule_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        SHOP.obeys(each("a"))  # type: ignore[arg-type]

    assert str(caught.value).endswith("; say .followed_by(...), .ends() or .never(...) of it")


def test_a_call_that_was_not_recorded_leaves_open_whether_a_rule_holds() -> None:
    caught = trace(run("search"))
    caught.unseen_calls.extend([UnseenCall("book", "app.py:3", "Worker-1", "no context")] * 2)

    answers = [caught.obeys(rule).holds for rule in (never("book"), at_least(1, "search"), never("search"))]

    assert answers == [None, True, False]
    assert caught.obeys(never("book")).said == (
        "a call of `book` from thread Worker-1 at app.py:3 and 1 more was not recorded (no context);"
        " whether the rule holds of it is not known"
    )
    assert caught.obeys(before("x", "y")).holds is None
    assert caught.obeys(between("x", "y").at_least(1, "z")).holds is None
    assert caught.obeys(never("x") & at_least(1, "search")).holds is None
    assert caught.obeys(never("x") | at_least(1, "search")).holds is True


def test_a_rule_that_is_asked_again_answers_the_same() -> None:
    rules = [before("pay", "confirm", per="order_id"), each("pay").followed_by("confirm", per="order_id")]

    assert [bool(SHOP.obeys(rule)) for rule in rules * 2] == [True] * 4


def test_where_some_have_no_value_it_cannot_be_told_whether_a_rule_holds() -> None:
    answer = SHOP.obeys(each("search").followed_by("pay", per="order_id"))

    assert (answer.holds, answer.suspected) == (None, False)


def test_a_tool_that_a_message_asked_for_is_known_though_it_did_not_run() -> None:
    asked = trace(chat("gpt", "call_1"))

    assert asked.obeys(never("tool"), strict=True)
    assert asked.obeys(never("zzz"), strict=True).said == "no tool `zzz` ran, was bound or was asked for"
