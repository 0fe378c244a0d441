"""Rules mean what the reference says: they hold if they hold in every sequence that the program allows."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import StructuredTool

from llmtest import record
from llmtest.errors import MatchError
from llmtest.events import Event, FrozenDict, Run
from llmtest.matching import (
    after,
    at_least,
    at_most,
    before,
    between,
    called,
    chain,
    each,
    event,
    exactly,
    model,
    never,
    only,
    together,
)
from llmtest.order.happens_before import HappensBefore
from llmtest.otel import recordings_of
from tests.support.programs import MAIN, Trace, chat, run, trace
from tests.support.shop import CUT_SHORT, NESTED, SHOP, SIDE_BY_SIDE, shop_programs
from tests.support.spans import span

# -- the reference: every sequence of starts and ends, and the rule read off each of them

Point = tuple[str, str, int]
"""`start` or `end`, the name, and which run it is."""


def sequences(runs: Sequence[Run], order: HappensBefore) -> Iterator[list[Point]]:
    """Every sequence in which these runs may start and end."""
    points = [(what, n) for n in range(len(runs)) for what in ("start", "end")]
    first = {(("start", n), ("end", n)) for n in range(len(runs))}
    for (m, a), (n, b) in itertools.permutations(enumerate(runs), 2):
        if order.before(a, b):
            first.add((("end", m), ("start", n)))
        if order.contains(a, b):
            first |= {(("start", m), ("start", n)), (("end", n), ("end", m))}

    def rest(left: tuple[tuple[str, int], ...]) -> Iterator[list[Point]]:
        if not left:
            yield []
        for point in left:
            if not any((other, point) in first for other in left):
                for more in rest(tuple(other for other in left if other is not point)):
                    yield [(point[0], runs[point[1]].name, point[1]), *more]

    yield from rest(tuple(points))


def _at(line: list[Point], what: str, name: str) -> list[tuple[int, int]]:
    return [(place, n) for place, (kind, called, n) in enumerate(line) if (kind, called) == (what, name)]


def _before(line: list[Point], a: str, b: str) -> bool:
    return all(any(end < start and m != n for end, m in _at(line, "end", a)) for start, n in _at(line, "start", b))


def _followed(line: list[Point], a: str, b: str) -> bool:
    return all(any(end < start and m != n for start, n in _at(line, "start", b)) for end, m in _at(line, "end", a))


def _never_after(line: list[Point], a: str, b: str) -> bool:
    return not any(end < start and m != n for start, n in _at(line, "start", a) for end, m in _at(line, "end", b))


def _ends_before(line: list[Point], a: str, b: str) -> bool:
    ends = {m: end for end, m in _at(line, "end", a)}
    begun = [(start, ends[m], m) for start, m in _at(line, "start", a)]
    return not any(start < other < end and m != n for start, end, m in begun for other, n in _at(line, "start", b))


def _between(line: list[Point], a: str, b: str, c: str) -> bool:
    for end, m in _at(line, "end", a):
        closing = [start for start, n in _at(line, "start", b) if start > end and n != m]
        if closing and any(end < start < min(closing) and n != m for start, n in _at(line, "start", c)):
            return False
    return True


def _filled(line: list[Point], a: str, b: str, c: str, least: int) -> bool:
    for end, m in _at(line, "end", a):
        closing = [start for start, n in _at(line, "start", b) if start > end and n != m]
        if closing and sum(end < start < min(closing) and n != m for start, n in _at(line, "start", c)) < least:
            return False
    return True


name = st.sampled_from("abc")


@settings(max_examples=120, deadline=None)
@given(shop_programs(), name, name, name)
def test_a_rule_holds_where_the_reference_says_so(caught: Trace, a: str, b: str, c: str) -> None:
    runs = list(caught.runs)[:4]
    few = Trace([event for event in caught if event.run_id in {one.id for one in runs}])
    lines = list(sequences(list(few.runs), few.order()))

    found = {
        "before": bool(few.obeys(before(a, b))),
        "after": bool(few.obeys(after(b, a))),
        "followed": bool(few.obeys(each(a).followed_by(b))),
        "never after": bool(few.obeys(never(a).after(b))),
        "ends before": bool(few.obeys(each(a).ends_before(b))),
        "between": bool(few.obeys(between(a, b).never(c))),
        "filled": bool(few.obeys(between(a, b).at_least(1, c))),
        "filled twice": bool(few.obeys(between(a, b).at_least(2, c))),
    }

    assert found == {
        "before": all(_before(line, a, b) for line in lines),
        "after": all(_before(line, a, b) for line in lines),
        "followed": all(_followed(line, a, b) for line in lines),
        "never after": all(_never_after(line, a, b) for line in lines),
        "ends before": all(_ends_before(line, a, b) for line in lines),
        "between": all(_between(line, a, b, c) for line in lines),
        "filled": all(_filled(line, a, b, c, 1) for line in lines),
        "filled twice": all(_filled(line, a, b, c, 2) for line in lines),
    }


@settings(max_examples=60, deadline=None)
@given(shop_programs(), name, name, name)
def test_a_rule_about_the_recorded_sequence_is_read_off_it(caught: Trace, a: str, b: str, c: str) -> None:
    place = {one.id: n for n, one in enumerate(caught.runs)}
    line = [("start" if e.kind == "on_tool_start" else "end", e.name, place[e.run_id]) for e in caught]

    assert bool(caught.obeys(before(a, b, order="recorded"))) is _before(line, a, b)
    assert bool(caught.obeys(each(a).followed_by(b, order="recorded"))) is _followed(line, a, b)
    assert bool(caught.obeys(between(a, b, order="recorded").never(c))) is _between(line, a, b, c)
    for least in (1, 2):
        assert bool(caught.obeys(between(a, b, order="recorded").at_least(least, c))) is _filled(line, a, b, c, least)


# -- the verbs, at their edges

NOTHING = trace()


@pytest.mark.parametrize(
    ("caught", "rule", "holds"),
    [
        (NOTHING, before("search", "book"), True),
        (NOTHING, never("book"), True),
        (NOTHING, each("search").followed_by("book"), True),
        (NOTHING, each("search").ends(), True),
        (NOTHING, between("a", "b").never("c"), True),
        (NOTHING, between("a", "b").at_least(1, "c"), True),
        (NOTHING, at_most(0, "book"), True),
        (NOTHING, at_least(1, "book"), False),
        (NOTHING, exactly(1, "book"), False),
        (NOTHING, only("book"), True),
        (NOTHING, called("book").came_from("search"), True),
        (SHOP, before("search", "book"), True),
        (SHOP, before("book", "search"), False),
        (SHOP, after("book", "search"), True),
        (SHOP, before("nothing", "book"), False),
        (SHOP, before("search", "nothing"), True),
        (SHOP, before("book", "book"), False),
        (SHOP, before("book", "pay", per="order_id"), True),
        (SHOP, before("search", "pay", per=lambda run: run.kind), True),
        (SHOP, never("delete_*", "drop_*"), True),
        (SHOP, never("b*"), False),
        (SHOP, never("search").after("book"), True),
        (SHOP, never("pay").after("book"), False),
        (SHOP, never("pay").after("nothing"), True),
        (SHOP, each("search").followed_by("pay"), True),
        (SHOP, each("confirm").followed_by("pay"), False),
        (SHOP, each("book").followed_by("confirm", per="order_id"), True),
        (SHOP, between("pay", "confirm").never("search"), True),
        (SHOP, between("search", "confirm").never("pay"), False),
        (SHOP, between("search", "nothing").never("pay"), True),
        (SHOP, between("search", "pay").at_least(1, "book"), True),
        (SHOP, between("search", "pay").at_least(2, "book"), False),
        (SHOP, between("search", "confirm").at_least(2, called()), True),
        (SHOP, between("search", "book").at_least(1, "pay"), False),
        (SHOP, between("search", "book").at_least(0, "pay"), True),
        (SHOP, between("search", "nothing").at_least(1, "pay"), True),
        (SHOP, between("nothing", "book").at_least(1, "pay"), True),
        (SHOP, between("book", "search").at_least(1, "pay"), True),
        (SHOP, between("search", "book").at_least(1, called("pay", ordr_id=1)), None),
        (SHOP, between("search", "book").at_least(1, called("pay").where(lambda run: 1 / 0)), None),
        (SHOP, ~between("search", "book").at_least(1, called("pay", ordr_id=1)), None),
        (SHOP, at_most(1, "pay"), True),
        (SHOP, at_most(2, called()), False),
        (SHOP, at_least(4, called("*")), True),
        (SHOP, exactly(1, called("pay", order_id=ANY)), True),
        (SHOP, at_most(1, "pay", per="order_id"), True),
        (SHOP, only("search", "book", "pay", "confirm"), True),
        (SHOP, only("search", called("book", id=8), "pay", "confirm"), False),
        (SHOP, only(model()), True),
        (SHOP, called("book").came_from("search"), True),
        (SHOP, called("book").came_from("search", arg="id"), True),
        (SHOP, called("pay").came_from("search"), False),
        (SHOP, called("book").came_from("confirm"), False),
        (SHOP, called("book").came_from("nothing"), False),
        (SHOP, before("search", "book") & before("book", "pay"), True),
        (SHOP, before("search", "book") & before("pay", "book"), False),
        (SHOP, before("pay", "book") | before("book", "pay"), True),
        (SHOP, before("pay", "book") | never("pay"), False),
        (SHOP, ~before("pay", "book"), True),
        (SHOP, ~before("book", "pay"), False),
        (SIDE_BY_SIDE, before("search", "book"), False),
        (SIDE_BY_SIDE, before("search", "book", order="recorded"), False),
        (SIDE_BY_SIDE, never("book").after("search"), False),
        (SIDE_BY_SIDE, each("search").ends_before("book"), False),
        (SIDE_BY_SIDE, between("search", "book").at_least(1, "pay"), False),
        (CUT_SHORT, before("search", "book"), False),
        (CUT_SHORT, each("search").followed_by("book"), False),
        (CUT_SHORT, each("search").ends(), False),
        (CUT_SHORT, each("search").ends_before("book"), False),
        (CUT_SHORT, each("book").ends_before("search"), True),
        (CUT_SHORT, between("search", "book").at_least(1, "pay"), True),
        (CUT_SHORT, between("book", "search").at_least(1, called("search").returned(1)), None),
        (CUT_SHORT, never(called("search").returned(1)), None),
        (CUT_SHORT, never(called("search").failed()), None),
        (NESTED, before("search", "book"), False),
        (NESTED, before("book", "search"), False),
        (NESTED, each("search").ends_before("book"), False),
        (NESTED, each("book").ends_before("search"), True),
        (NESTED, between("search", "book").at_least(1, "pay"), True),
        (NESTED, between("book", "search").at_least(1, "pay"), True),
        (SHOP, never(called("book", ordr_id=1)), None),
        (SHOP, ~never(called("book", ordr_id=1)), None),
        (SHOP, never(called("book").where(lambda run: 1 / 0)), None),
        (SHOP, at_most(1, called(), per="order_id"), None),
        (SHOP, at_most(1, "pay", per=lambda run: 1 / 0), None),
        (SHOP, called("book").came_from("search", arg="price"), None),
        (trace(run("book", text="7")), never(called("book", id=7)), None),
        (trace(run("search"), run("book", args={"sure": True})), called("book").came_from("search"), None),
        (SHOP, never("zzz") | never(called("book", ordr_id=1)), True),
        (SHOP, never("book") | never(called("book", ordr_id=1)), None),
        (SHOP, never("zzz") & never(called("book", ordr_id=1)), None),
        (SHOP, at_most(1, called("pay") | "confirm"), False),
    ],
)
def test_what_a_rule_means(caught: Trace, rule: Any, holds: bool | None) -> None:
    answer = caught.obeys(rule)

    assert answer.holds is holds
    if holds is not None or answer.suspected:
        assert bool(answer) is (holds is True)
    else:
        with pytest.raises(MatchError):  # `not answer` must not pass either
            bool(answer)


def test_every_tool_call_is_answered_before_the_next_model_call() -> None:
    waits = trace(chat(), [run("a"), run("b")], chat())
    hurries = trace(chat(), [run("a"), chat()])

    assert waits.obeys(each("*").ends_before(model()))
    assert not hurries.obeys(each("*").ends_before(model()))


def test_between_looks_at_the_order_that_was_recorded_if_told_so() -> None:
    caught = trace(run("open"), run("open"), run("close"), run("use"), run("close"))

    assert caught.obeys(between("open", "close", order="recorded").never("use"))
    assert not caught.obeys(between("open", "use", order="recorded").never("close"))


def test_events_have_an_order_too() -> None:
    caught = trace(run("agent", [run("a")], [chat()], kind="chain"), run("b"))
    agent = caught.run("agent")
    retry = Event("on_retry", agent.id, None, "agent", payload=FrozenDict(attempt_number=1), lane=agent.start.lane)
    told = Trace([*caught[:3], retry, *caught[3:]])

    assert told.obeys(exactly(1, event("on_retry", attempt_number=1)), never(event("on_retry", attempt_number=2)))
    assert told.obeys(before("a", event("on_retry")), before(event("on_retry"), model()), before(event("on_retry"), "b"))
    assert not told.obeys(before(event("on_retry"), "a"))
    assert not told.obeys(before("b", event("on_retry")))
    assert not told.obeys(before(chain("agent"), event("on_retry")))
    assert told.obeys(before(event("on_chain_start"), event("on_retry")))
    assert not told.obeys(never(event("on_retry").where(lambda one: one.payload["attempt_number"] == 1)))
    assert told.obeys(each(event("on_retry")).followed_by("b"), at_most(1, event("on_retry"), per="attempt_number"))
    assert told.obeys(before(event("on_tool_*", output=None) | called("a"), model()))


# -- words


# -- real programs


def test_branches_of_a_map_overlap_and_steps_of_a_sequence_do_not() -> None:
    lookup = RunnableParallel(a=RunnableLambda(_tool("a")), b=RunnableLambda(_tool("b")))
    with record() as caught:
        (lookup | RunnableLambda(_tool("c"))).invoke("x")

    assert caught.tools == [together("a", "b"), "c"]
    assert caught.obeys(before("a", "c"), before("b", "c"))
    assert "overlapped" in caught.obeys(before("a", "b")).said


def test_calls_in_a_row_are_in_order_and_gathered_ones_are_not() -> None:
    a, b = _tool("a"), _tool("b")

    async def program() -> None:
        a("x")
        await asyncio.gather(asyncio.to_thread(a, "x"), asyncio.to_thread(b, "x"))

    with record() as caught:
        asyncio.run(program())

    assert caught.tools == ["a", {"a", "b"}]
    assert not caught.obeys(each("a").followed_by("b"))


def _tool(name: str) -> Callable[[Any], Any]:
    made = StructuredTool.from_function(
        lambda: "ok", name=name, description="x", args_schema={"type": "object", "properties": {}}
    )
    return lambda given: made.invoke({})


def test_a_task_that_was_started_before_is_beside_what_its_starter_goes_on_to_do() -> None:
    a, b, c = _tool("a"), _tool("b"), _tool("c")

    async def later() -> None:
        b("x")

    async def program() -> None:
        task = asyncio.create_task(later())
        a("x")
        c("x")
        await task

    with record() as caught:
        asyncio.run(program())

    assert caught.tools == ["a", "c", ...]
    assert caught.tools == [..., "b", ...]
    assert caught.tools != ["a", "c", "b"]
    assert caught.obeys(before("a", "c"), ~before("a", "b"), ~before("b", "c"))


def test_a_time_that_was_closed_is_over() -> None:
    once = trace(run("a"), run("b"), run("c"), run("b"))
    beside = trace([run("x", [run("a")], [run("b")]), run("y", [run("b")])], run("c"), run("b"))

    assert once.obeys(between("a", "b").never("c"))
    assert beside.obeys(between("a", "b").never("c"))
    assert not trace(run("a"), run("c"), run("b")).obeys(between("a", "b").never("c"))


def test_what_is_between_is_so_whichever_end_comes_next() -> None:
    each_its_own = trace([run("x", [run("a")], [run("c")], [run("b")]), run("y", [run("c")], [run("b")])])
    shared = trace(run("a"), [run("x", [run("c")], [run("b")]), run("y", [run("c")], [run("b")])])
    one_late = trace(run("a"), [run("x", [run("c")], [run("b")]), run("y", [run("b")], [run("c")])])

    holds = [bool(caught.obeys(between("a", "b").at_least(1, "c"))) for caught in (each_its_own, shared, one_late)]

    assert holds == [False, True, False]
    assert not shared.obeys(between("a", "b").at_least(2, "c"))
    assert one_late.obeys(between("a", "b", order="recorded").at_least(1, "c"))


def test_what_never_ended_begins_no_between_whatever_runs_beside() -> None:
    caught = trace([run("p"), run("q")], run("a", open=True), run("b"))

    assert caught.obeys(between("a", "b").at_least(1, "c"))


def test_an_event_may_be_one_end_of_a_time() -> None:
    caught = trace([run("p"), run("q")], run("a"), run("c"), run("b"))
    end_of_a = event("on_tool_end").where(lambda one: one.name == "a")

    assert caught.obeys(between(end_of_a, "b").at_least(1, "c"), between("a", end_of_a).at_least(1, "c"))
    assert not caught.obeys(between(end_of_a, "c").at_least(1, "b"))


def test_a_time_that_was_closed_is_over_though_another_end_may_come_at_any_time() -> None:
    beside = trace([run("x", [run("a")], [run("b")], [run("c")], [run("b")]), run("y", [run("b")])])

    assert beside.obeys(between("a", "b").never("c"))


def test_what_began_a_time_is_not_what_came_within_it() -> None:
    caught = trace(run("a"), run("c"), run("b"))

    answer = caught.obeys(between(event("on_tool_end"), "b", order="recorded").never(event("on_tool_end")))

    assert "on_tool_end of `c` came after on_tool_end of `a` and before `b`" in str(answer)


def test_an_event_of_a_run_around_another_may_follow_it() -> None:
    caught = trace([run("p"), run("q")], run("outer", [run("x")]))
    end_of_x = event("on_tool_end").where(lambda one: one.name == "x")

    assert caught.obeys(each(end_of_x).followed_by(event("on_chain_end")))
    assert not caught.obeys(each(event("on_chain_end")).followed_by(end_of_x))


def test_an_event_of_a_run_happens_within_it_whatever_runs_beside() -> None:
    caught = trace([run("p"), run("q")], run("outer", [run("a")]), run("b"))
    end_of_a = event("on_tool_end").where(lambda one: one.name == "a")

    assert caught.obeys(never("a", chain("outer")).after(end_of_a))
    assert caught.obeys(between("a", "b").never(end_of_a))
    assert caught.obeys(each(end_of_a).ends_before(chain("outer")))
    assert not caught.obeys(never("b").after(end_of_a))


def test_of_many_times_that_one_end_closed_none_is_open_for_an_event() -> None:
    begins = [run("a") for _ in range(10)]
    end_of_c = event("on_tool_end").where(lambda one: one.name == "c")

    assert trace([run("p"), run("q")], *begins, run("b"), run("c"), run("b")).obeys(between("a", "b").never(end_of_c))
    assert not trace([run("p"), run("q")], *begins, run("c"), run("b")).obeys(between("a", "b").never(end_of_c))


def test_runs_are_never_or_rarely_after_events() -> None:
    caught = trace(run("a"), run("b"))

    assert not caught.obeys(never("b").after(event("on_tool_end")))
    assert caught.obeys(never(event("on_tool_error")).after("a"))
    assert caught.obeys(each(event("on_tool_start")).ends())


def test_what_a_tool_calls_runs_inside_it_though_langchain_calls_it_a_sibling() -> None:
    def told(kind: str, number: int, name: str) -> Event:
        return Event(kind, UUID(int=number), None, name, lane=MAIN)

    events = [told("on_tool_start", 1, "ask"), told("on_chat_model_start", 2, "gpt")]
    caught = Trace([*events, told("on_llm_end", 2, "gpt"), told("on_tool_end", 1, "ask")])

    assert caught.obeys(before("ask", model())).said == "`gpt` ran inside `ask`, which had not ended"
    assert caught.runs == ["ask", "gpt"]


def test_only_may_name_events_beside_runs() -> None:
    recording = trace(run("search"), run("book"))

    assert recording.obeys(only("search", "book", event("on_tool_*")))
    assert not recording.obeys(only("search", event("on_tool_*")))


def test_where_a_value_came_from_cannot_be_told_if_a_span_does_not_say_what_it_returned() -> None:
    def said(role: str, part: str, **more: Any) -> str:
        return json.dumps([{"role": role, "parts": [{"type": part, **more}]}])

    def told(operation: str, **more: Any) -> dict[str, Any]:
        return {"gen_ai.operation.name": operation, **{f"gen_ai.{key.replace('__', '.')}": value for key, value in more.items()}}

    answer = json.dumps([{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "A-7"}]}])
    first, second = (said("assistant", "tool_call", id=key, name=name, arguments={}) for key, name in CALLED)
    find = told("execute_tool", tool__name="find", tool__call__id="c1")
    refund = told("execute_tool", tool__name="refund", tool__call__id="c2", tool__call__arguments='{"order": "A-7"}')
    (recording,) = recordings_of(
        [
            span("a", 1, told=told("invoke_agent", agent__name="clerk"), at=(1, 9)),
            span("b", 2, 1, told=told("chat", request__model="m", output__messages=first)),
            span("c", 3, 1, told=find, at=(2, 3)),
            span("d", 4, 1, told=told("chat", request__model="m", input__messages=answer, output__messages=second), at=(3, 4)),
            span("e", 5, 1, told=refund, at=(4, 5)),
        ]
    )

    with pytest.raises(MatchError, match="the span of `find` does not tell what it returned"):
        bool(recording.obeys(called("refund").came_from("find")))


CALLED = (("c1", "find"), ("c2", "refund"))
