"""The order of any two runs and events: what surely came before what, and what is no luck."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, on, record, respond
from llmtest.concurrency.lanes import Lane
from llmtest.events import Run
from llmtest.matching import rule_builders, selectors, together
from llmtest.order import happens_before
from llmtest.order.happens_before import HappensBefore
from llmtest.order.siblings import Item, item_of, layers, precedes
from tests.support.lines import HOME, run, task
from tests.support.programs import overlapped


def test_runs_and_events_are_compared_where_their_ways_part() -> None:
    model = ScriptedChatModel(respond(lambda request: "ok").repeat())

    async def teller(text: str) -> None:
        await asyncio.gather(model.ainvoke("a", {"run_name": "a"}), model.ainvoke("b", {"run_name": "b"}))
        await model.ainvoke("c", {"run_name": "c"})

    with record() as recording:
        asyncio.run((RunnableLambda(teller) | RunnableLambda(str)).with_config(run_name="all").ainvoke("hi", {}))
    outer, a, b, c = (recording.run(name) for name in ("all", "a", "b", "c"))
    order = HappensBefore(recording.roots)

    assert overlapped(order, a, b)
    assert (order.before(a, c), order.before(b, c), order.before(c, b), order.before(a, a)) == (True, True, False, False)
    assert (order.contains(outer, c), order.contains(c, outer), order.contains(a, a)) == (True, False, False)
    assert (order.happened(a.start, a.events[-1]), order.happened(a.events[-1], a.start)) == (True, False)
    assert (order.happened(a.start, b.start), order.happened(b.start, a.start)) == (False, False)
    assert (order.happened(b, c.start), order.happened(a.events[-1], c), order.happened(c.start, a)) == (True, True, False)


def test_what_a_tool_calls_is_within_it() -> None:
    model = ScriptedChatModel("seen")

    @tool
    def look(city: str, config: RunnableConfig) -> str:
        """Looks."""
        return str(model.invoke(city, config).content)

    with record() as recording:
        RunnableLambda(lambda x, config: look.invoke(x, config)).invoke({"city": "Rome"})

    assert HappensBefore(recording.roots).contains(recording.run("look"), recording.models[0])


def test_steps_are_compared_whenever_they_start() -> None:
    second, first = run("b", 0, 1, task(2), "seq:step:2"), run("a", 2, 3, task(3), "seq:step:1")
    order = HappensBefore([second, first])

    assert (order.before(first, second), order.before(second, first)) == (True, False)


@pytest.mark.parametrize("way", ["batch", "abatch"])
def test_the_inputs_of_a_sequence_that_is_batched_are_beside_one_another(way: str) -> None:
    """LangChain starts all of them on one line of control, and then runs each step for all."""
    model = ScriptedChatModel(on(contains="atoms") >> "Why?", on(contains="bears") >> "Grr.")
    program = PromptTemplate.from_template("A joke about {topic}") | model
    given = [{"topic": "atoms"}, {"topic": "bears"}]

    with record() as caught:
        program.batch(given) if way == "batch" else asyncio.run(program.abatch(given))

    order = HappensBefore(caught.roots)
    assert overlapped(order, *caught.roots)
    assert overlapped(order, *caught.models)
    assert str(caught).startswith("parallel\n  chain RunnableSequence")
    assert caught.models == [together(selectors.model(), selectors.model())]
    atoms, bears = (selectors.model().where(lambda run, topic=topic: topic in run.input[0].text) for topic in ("atoms", "bears"))
    assert "overlapped" in str(caught.obeys(rule_builders.before(atoms, bears)))


def test_who_began_first_is_no_luck_on_one_line_of_control_or_after_a_known_wait() -> None:
    crossing = (run("a", 0, 2, HOME), run("b", 1, 3, HOME))
    waited = (run("c", 4, 5, task(2, attach=4, joined=6)), run("d", 6, 7, task(3, attach=6)))
    beside = (run("e", 8, 9, task(4, attach=8)), run("f", 8, 9, task(5, attach=8)), run("g", 8, 9, None))
    order = HappensBefore([*crossing, *waited, *beside])

    assert order.are_ordered(*crossing)
    assert order.are_ordered(waited[1], waited[0])
    assert not order.are_ordered(beside[0], beside[1])
    assert not order.are_ordered(beside[0], beside[2])


def test_a_run_begins_before_all_that_is_in_it_on_whatever_line() -> None:
    async def inner(text: str) -> str:
        return text

    with record() as recording:
        asyncio.run(
            (RunnableLambda(inner, name="inner") | RunnableLambda(inner, name="last")).with_config(run_name="all").ainvoke("")
        )
    outer, step = recording.run("all"), recording.run("inner")
    order = HappensBefore(recording.roots)

    assert outer.start.lane is not step.start.lane
    assert [order.happened(outer.start, item) for item in (step, step.start, *step.events, outer.events[-1])] == [True] * 5
    assert [order.happened(item, outer.start) for item in (step, step.start, outer.start)] == [False] * 3
    assert not order.happened(outer.start, outer)


@st.composite
def side_by_side(draw: st.DrawFn) -> list[Run]:
    """Runs on lines of control that come from one another, of which some are known to be over, as siblings."""
    lanes = [HOME]
    for number in range(2, draw(st.integers(2, 6))):
        parent, attach = draw(st.sampled_from(lanes)), draw(st.integers(0, 8))
        lanes.append(task(number, parent, attach, draw(st.none() | st.integers(attach + 1, 12))))
    size = draw(st.integers(2, 8))
    spans = [sorted((draw(st.integers(0, 20)), draw(st.integers(0, 20)))) for _ in range(size)]
    ends = (end if draw(st.integers(0, 9)) else None for _, end in spans)
    runs = [
        run(str(n), 2 * start, None if end is None else 2 * end + 1, draw(st.sampled_from(lanes)))
        for n, ((start, _), end) in enumerate(zip(spans, ends, strict=True))
    ]
    return sorted(runs, key=lambda one: one.start.number)


@settings(max_examples=300, deadline=None)
@given(side_by_side())
def test_groups_are_ordered_as_their_pairs_are(runs: list[Run]) -> None:
    order = HappensBefore(runs)
    arranged, groups = order.arrange(runs)

    for group in groups:
        inside = arranged[group.start : group.stop]
        for n, b in enumerate(inside):
            earlier = {m for m, a in enumerate(inside) if order.before(a, b) or order.contains(a, b)}
            assert {m for m in range(len(inside)) if group.down[n] >> m & 1} == earlier


@settings(max_examples=300, deadline=None)
@given(side_by_side())
def test_what_comes_before_is_what_precedes_directly_or_through_others(runs: list[Run]) -> None:
    items = [item for layer in layers([item_of(one, None) for one in runs], HOME) for item in layer]
    closure: list[set[int]] = []
    for b in items:
        direct = {m for m, a in enumerate(items[: len(closure)]) if precedes(a, b, HOME)}
        closure.append(direct.union(*(closure[m] for m in direct)))

    assert happens_before._closed(items, HOME) == {n: sum(1 << m for m in earlier) for n, earlier in enumerate(closure)}


def test_the_work_for_many_concurrent_runs_grows_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def count(a: Item, b: Item, home: Lane | None) -> bool:
        nonlocal compared
        compared += 1
        return precedes(a, b, home)

    monkeypatch.setattr(happens_before, "precedes", count)
    runs = [run("x", n, 1000 + n, task(n + 2, attach=1, joined=2)) for n in range(300)]

    _, (group,) = HappensBefore(runs).arrange(runs)

    assert group.down == (0,) * 300
    assert compared < 600
