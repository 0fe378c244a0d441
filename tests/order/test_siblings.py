"""What is known of the order of siblings: from tags and lines of control, never from when they happened to start."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, on, record, respond
from llmtest.concurrency.lanes import Lane
from llmtest.events import Event, FrozenDict, FrozenList, Run
from llmtest.matching import rule_builders, selectors, together
from llmtest.order import happens_before
from llmtest.order.happens_before import HappensBefore
from llmtest.order.siblings import Item, are_in_sequence, home_of, item_of, layers, precedes
from tests.support.programs import overlapped

FALLBACKS = "RunnableWithFallbacks"
PARENT = UUID(int=1)
HOME = Lane(1, "MainThread", 100)


def task(number: int, parent: Lane | None = HOME, attach: int = 0, joined: int | None = None) -> Lane:
    return Lane(number, "MainThread", 100, f"Task-{number}", parent, attach, joined)


def thread(number: int, parent: Lane | None = HOME, attach: int = 0, joined: int | None = None) -> Lane:
    return Lane(number, f"Worker-{number}", 100 + number, None, parent, attach, joined)


def run(
    name: str, start: int, end: int | None = None, lane: Lane | None = None, *tags: str, kind: Any = "chain", **metadata: Any
) -> Run:
    """A run that starts and ends at these numbers, which are also the moments of this line of control."""
    events = [Event(f"on_{kind}_start", uuid4(), PARENT, name, number=start, lane=lane, moment=start)]
    if end is not None:
        events.append(Event(f"on_{kind}_end", events[0].run_id, PARENT, name, number=end, lane=lane, moment=end))
    return Run(events[0].run_id, PARENT, kind, name, tags, FrozenDict(metadata), tuple(events), ())


def order(*runs: Run, home: Lane | None = HOME, parent: Run | None = None, notes: tuple[Item, ...] = ()) -> list[list[str]]:
    """The names of runs by layer."""
    items = [*(item_of(one, parent) for one in runs), *notes]
    return [sorted(item.run.name if item.run else "note" for item in layer) for layer in layers(items, home)]


# -- steps of the program


def test_no_siblings_make_no_layers() -> None:
    assert order() == []


@pytest.mark.parametrize("starts", [*itertools.permutations([0, 10, 20])])
def test_a_sequence_is_in_the_order_of_its_steps_whenever_they_start(starts: tuple[int, ...]) -> None:
    runs = [run(name, start, start + 30, task(9 + start), f"seq:step:{name}") for name, start in zip("123", starts, strict=True)]

    assert order(*runs) == [["1"], ["2"], ["3"]]


def test_nodes_of_one_step_of_a_graph_are_parallel_and_steps_are_not() -> None:
    def node(name: str, start: int, lane: Lane, step: int) -> Run:
        return run(name, start, start + 5, lane, f"graph:step:{step}", langgraph_step=step)

    runs = [node("a", 0, HOME, 1), node("b", 10, thread(2), 2), node("c", 20, thread(3), 2), node("d", 30, HOME, 3)]

    assert order(*runs) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("same", [True, False])
def test_branches_of_a_map_are_never_ordered_not_even_on_one_thread(same: bool) -> None:
    lanes = (HOME, HOME) if same else (thread(2), thread(3))
    runs = [run(name, start, start + 5, lane, f"map:key:{name}") for name, start, lane in zip("ba", (0, 10), lanes, strict=True)]

    assert order(*runs) == [["a", "b"]]


@pytest.mark.parametrize("tag", ["seq:step:x", "graph:step:1", "my:tag"])
def test_a_tag_that_only_looks_like_a_step_says_nothing(tag: str) -> None:
    assert order(run("a", 0, 1, thread(2), tag), run("b", 2, 3, thread(3), tag)) == [["a", "b"]]


def test_steps_of_other_parents_say_nothing() -> None:
    a, b = run("a", 0, 1, thread(2), "seq:step:2"), run("b", 2, 3, thread(3), "seq:step:1")
    moved = Run(b.id, UUID(int=2), b.kind, b.name, b.tags, b.metadata, b.events, ())

    assert order(a, moved) == [["a", "b"]]


# -- lines of control


def test_one_line_of_control_is_in_the_order_of_its_starts() -> None:
    assert order(run("a", 0, 1, HOME), run("b", 2, 3, HOME), run("c", 4, None, HOME)) == [["a"], ["b"], ["c"]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([HOME, HOME, HOME, task(2), None]),
            st.sampled_from(["", "", "", "seq:step:1"]),
            st.integers(0, 2),
            st.sampled_from([1, 1, 3, None]),
            st.sampled_from(["tool", "chain"]),
        ),
        max_size=4,
    ),
    st.sampled_from([HOME, HOME, None]),
)
def test_what_a_look_takes_for_a_sequence_is_one(siblings: list[Any], home: Lane | None) -> None:
    runs, start = [], 0
    for lane, tag, pause, took, kind in siblings:
        start += 10 + pause
        runs.append(run(str(start), start, None if took is None else start + took * 7, lane, *filter(None, [tag]), kind=kind))

    if are_in_sequence(runs, home):
        assert order(*runs, home=home) == [[one.name] for one in runs]


def test_siblings_are_a_sequence_if_each_was_over_on_the_line_of_their_parent() -> None:
    first, second, beside = run("a", 0, 1, HOME), run("b", 2, None, HOME), run("c", 3, 4, HOME)

    assert are_in_sequence([beside], None)
    assert are_in_sequence([first, second], HOME)
    assert not are_in_sequence([first, second, beside], HOME)
    assert not are_in_sequence([first, second], task(2))
    assert not are_in_sequence([first, run("b", 2, 3, HOME, "seq:step:1")], HOME)


def test_what_has_no_lane_runs_where_its_parent_runs() -> None:
    assert order(run("a", 0, 1), run("b", 2, 3, HOME), home=None) == [["a"], ["b"]]


@pytest.mark.parametrize("lane", [task, thread])
def test_what_is_spawned_together_is_parallel_between_what_comes_before_and_after(lane: Any) -> None:
    runs = [
        run("plan", 0, 1, HOME),
        run("x", 2, 3, lane(2, attach=1, joined=9)),
        run("y", 4, 9, lane(3, attach=1, joined=9)),
        run("z", 5, 6, lane(4, attach=1, joined=9)),
        run("write", 10, 11, HOME),
        run("more", 12, 13, lane(5, attach=11)),
    ]

    assert order(*runs) == [["plan"], ["x", "y", "z"], ["write"], ["more"]]


def test_two_lines_of_control_of_several_runs_keep_their_own_order() -> None:
    lanes = [task(2), task(3)]
    runs = [
        run(f"{n}{lane.number}", start, start + 1, lane) for (n, start), lane in itertools.product((("a", 0), ("b", 2)), lanes)
    ]

    assert order(*runs) == [["a2", "a3"], ["b2", "b3"]]


def test_what_follows_the_one_that_was_waited_for_follows_its_group() -> None:
    runs = [run("x", 0, 9, thread(2)), run("y", 1, 2, thread(3, joined=3)), run("after y", 3, 4, HOME)]

    assert order(*runs) == [["x", "y"], ["after y"]]


def test_what_only_happened_to_end_before_is_parallel() -> None:
    assert order(run("x", 0, 1, thread(2)), run("c", 3, 4, HOME)) == [["c", "x"]]


def test_a_line_that_was_spawned_before_the_other_was_over_is_parallel_to_it() -> None:
    a = run("a", 0, 1, task(2, joined=5))

    assert order(a, run("b", 2, 3, task(3, attach=4))) == [["a", "b"]]
    assert order(a, run("b", 2, 3, task(3, attach=5))) == [["a"], ["b"]]


def test_all_that_a_line_waited_for_is_over_when_it_is() -> None:
    deep = task(3, task(2, attach=1, joined=5), joined=7)
    loose = task(3, task(2, attach=1, joined=5))

    assert order(run("a", 2, 3, deep), run("b", 5, 6, HOME)) == [["a"], ["b"]]
    assert order(run("a", 2, 3, loose), run("b", 5, 6, HOME)) == [["a", "b"]]


def test_work_on_threads_of_unknown_origin_is_never_ordered_not_even_on_one_thread() -> None:
    pool = thread(2, None)

    runs = [run("before", 0, 1, HOME), run("a", 2, 3, pool), run("b", 4, 5, pool), run("after", 6, 7, HOME)]

    assert order(*runs) == [["a", "b", "before"], ["after"]]
    assert order(*runs[1:3], run("c", 6, 7, task(5)), home=None) == [["a", "b", "c"]]


def test_what_is_spawned_from_a_spawned_line_comes_after_what_ended_there() -> None:
    body = task(2)
    deeper = task(5, task(4, body, attach=1))

    assert order(run("a", 0, 1, body), run("b", 2, 3, deeper), run("c", 2, 3, task(6, task(3)))) == [["a", "c"], ["b"]]


def test_an_event_within_the_parent_has_its_place_among_the_runs() -> None:
    note = Item(None, 5, 5, HOME)

    assert order(run("a", 0, 1, HOME), run("b", 9, 10, HOME), notes=(note,)) == [["a"], ["note"], ["b"]]


def test_very_many_siblings_take_no_time() -> None:
    chain = [run(f"{n}", 2 * n, 2 * n + 1, HOME) for n in range(3000)]
    crowd = [run(f"{n}", n, 9000, thread(n + 2)) for n in range(3000)]

    assert len(order(*chain)) == 3000
    assert [len(layer) for layer in order(*crowd)] == [3000]


# -- the line of control of the roots


def test_roots_have_the_line_of_control_that_they_share_or_the_main_thread() -> None:
    shared, apart = task(7, None), [run("a", 0, 1, thread(2)), run("b", 0, 1, HOME)]

    assert home_of([]) is None
    assert home_of([run("a", 0, 1, shared), run("b", 2, 3, shared)]) is shared
    assert home_of(apart) is HOME
    assert home_of([run("a", 0, 1, thread(2)), run("b", 0, 1, None), run("c", 0, 1, task(3))]) is None


def test_a_fallback_tries_one_thing_after_the_other_each_in_its_own_task() -> None:
    fallback = run(FALLBACKS, 0, 9, HOME)

    assert order(run("b", 1, 2, task(3)), run("a", 3, 4, task(4)), parent=fallback) == [["b"], ["a"]]


def test_an_event_of_the_parent_has_its_place_where_it_fired() -> None:
    assert order(run("search", 0, 5, HOME, kind="tool"), notes=(Item(None, 2, 2, HOME),)) == [["search"], ["note"]]


def test_what_never_ended_comes_first() -> None:
    assert order(run("search", 0, None, HOME, kind="tool"), run("model", 1, 2, HOME)) == [["search"], ["model"]]


# -- places in a parallel group


def test_the_seat_of_a_run_is_its_key_or_its_node_and_number() -> None:
    path = FrozenList(["__pregel_push", FrozenList(["__pregel_pull", 3]), 1, False])
    node = run("n", 0, 1, None, "graph:step:2", langgraph_step=2, langgraph_node="tools", langgraph_path=path)

    assert item_of(run("a", 0, 1, None, "map:key:joke"), None).seat == ("joke", "", ())
    assert item_of(node, None).seat == ("", "tools", (3, 1))
    assert item_of(run("a", 0, 1, None, "seq:step:1"), None).seat == ("", "", ())
    assert item_of(run("a", 0, 1), None).seat == ("", "", ())


# -- any two runs and events


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


def test_a_run_that_began_and_ended_while_another_was_open_on_its_line_is_not_after_it() -> None:
    outer, inner, later = run("outer", 0, 5, HOME), run("inner", 1, 2, HOME), run("later", 6, 7, HOME)

    assert order(outer, inner, later) == [["inner", "outer"], ["later"]]


def test_what_crosses_another_on_its_line_of_control_is_beside_it() -> None:
    first, second, later = run("first", 0, 2, HOME), run("second", 1, 3, HOME), run("later", 4, 5, HOME)

    assert order(first, second, later) == [["first", "second"], ["later"]]


# -- what is not luck


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


# -- many at once


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
