"""What runs inside what: LangChain's parents, and the strays that begin and end while another run is open on their line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda

from llmtest import ScriptedChatModel, fail, record, respond, scripted_tool
from llmtest.concurrency.lanes import Lane
from llmtest.events import Run
from llmtest.matching import before, chain, model
from llmtest.order.happens_before import HappensBefore
from llmtest.order.nesting import Nesting
from llmtest.trees.rendering import render
from tests.support import lines
from tests.support.lines import HOME, task
from tests.support.programs import overlapped

FALLBACKS = "RunnableWithFallbacks"


def run(name: str, start: int, end: int | None = None, lane: Lane | None = HOME, *tags: str, **more: Any) -> Run:
    """A run on the home line, if nothing else is said."""
    return lines.run(name, start, end, lane, *tags, **more)


def strays(*roots: Run) -> list[str]:
    """Each stray and its host, as `stray>host`."""
    return [f"{stray.name}>{host.name}" for stray, host in Nesting(roots).hosts.items()]


# -- hosts


def test_what_a_fallback_tries_is_inside_it_though_it_is_called_its_sibling() -> None:
    body = task(2)

    assert strays(
        run(FALLBACKS, 0, 9, body, "seq:step:2"),
        run("first", 1, 2, task(3, body), "seq:step:2"),
        run("second", 3, 4, task(4, body), "seq:step:2"),
        run("parser", 10, 11, task(5), "seq:step:3"),
    ) == ["first>RunnableWithFallbacks", "second>RunnableWithFallbacks"]


@pytest.mark.parametrize("kind", ["chain", "tool"])
def test_a_stray_is_inside_the_innermost_run_around_it(kind: Any) -> None:
    inner = run("inner", 1, 6, children=(run("done", 2, 3),))

    assert strays(run("outer", 0, 7, kind=kind, children=(inner,)), run("model", 4, 5), run("note", 8, 9)) == ["model>inner"]


def test_a_stray_may_be_inside_a_stray() -> None:
    assert strays(run("a", 0, 9), run("b", 1, 8), run("c", 2, 3)) == ["b>a", "c>b"]


def test_what_runs_beside_a_run_is_not_inside_it() -> None:
    body = task(2)

    assert not strays(
        run("search", 0, 5, body, "map:key:a", kind="tool"),
        run("another line", 1, 2, task(3), "map:key:a"),
        run("another key", 1, 2, body, "map:key:b"),
        run("later", 6, 7, body, "map:key:a"),
        run("a thread from elsewhere", 1, 2, Lane(9, "Worker", 109), "map:key:a"),
    )


def test_a_line_that_was_spawned_before_a_run_began_is_not_inside_it() -> None:
    assert not strays(run("outer", 4, 9), run("beside", 5, 6, task(2, attach=3)))
    assert strays(run("outer", 4, 9), run("inside", 5, 6, task(2, attach=4))) == ["inside>outer"]


@pytest.mark.parametrize("kind", ["chat", "llm", "retriever"])
def test_who_reads_the_stream_of_a_model_is_not_inside_it(kind: Any) -> None:
    assert not strays(run("stream", 0, 5, kind=kind), run("reader", 1, 2, kind="tool"))
    assert not strays(run("chain", 0, 5, children=(run("stream", 1, 4, kind=kind),)), run("reader", 2, 3, kind="tool"))


def test_who_reads_the_stream_of_a_graph_is_not_inside_it() -> None:
    node = run("node", 1, 2, HOME, "graph:step:1", langgraph_step=1)

    assert not strays(run("graph", 0, 5, children=(node,)), run("reader", 3, 4))


def test_the_stages_of_a_stream_are_not_inside_one_another() -> None:
    stages = (run("second", 1, 8, HOME, "seq:step:2"), run("first", 2, 5, HOME, "seq:step:1"))

    assert not strays(run("all", 0, 9, children=stages))
    # Either of them may have called: only the run around both is certain.
    assert strays(run("all", 0, 9, children=stages), run("guard", 3, 4)) == ["guard>all"]


def test_nothing_is_inside_what_never_ended_and_what_never_ended_may_be_inside() -> None:
    assert not strays(run("search", 0, None, kind="tool"), run("model", 1, 2))
    assert strays(run("search", 0, 5, kind="tool"), run("left", 1, None)) == ["left>search"]


def test_what_began_after_a_run_is_not_inside_it_though_something_in_it_never_ended() -> None:
    abandoned = run("abandoned", 2, children=())
    over = run("over", 0, 1, children=(abandoned,))

    assert not strays(run("root", 0, 1, children=(over,)), run("open", 4))
    assert not strays(run("root", 0, 3, children=(over,)), run("open", 4))
    assert strays(run("root", 0, 5, children=(over,)), run("open", 4)) == ["open>root"]


def test_what_crosses_another_on_its_line_is_not_inside_it() -> None:
    assert not strays(run("first", 0, 2), run("second", 1, 3))
    assert strays(run("all", 0, 9, children=(run("first", 1, 3),)), run("second", 2, 4)) == ["second>all"]


def test_the_inputs_of_a_batch_are_not_inside_one_another_though_the_second_ends_first() -> None:
    tries = (run("try", 2, 3), run("again", 7, 8))

    assert not strays(run("a", 0, 9, children=tries), run("b", 1, 5, children=(run("try", 4, 5),)))
    assert not strays(run("a", 0, 9, children=(run("try", 2, 3, task(2, attach=2)),)), run("b", 1, 5))
    # The work of `a` on other lines may go on while `a` itself waits for `b`.
    assert strays(run("a", 0, 9, children=(run("x", 3, 4, task(2, attach=1)),)), run("b", 2, 5)) == ["b>a"]
    assert strays(run("a", 0, 9, children=(run("x", 3, 4, Lane(9, "W", 9)),)), run("b", 2, 5)) == ["b>a"]
    assert strays(run("a", 0, 9, children=(run("x", 6, 7),)), run("b", 2, 5)) == ["b>a"]


def test_what_another_branch_calls_is_not_inside_the_open_one() -> None:
    """Of two open stages one called its own child, and LangChain says which."""
    first = run("first", 2, 7, HOME, "seq:step:1")
    second = run("second", 1, 8, HOME, "seq:step:2", children=(run("inner", 4, 5),))

    assert not strays(run("all", 0, 9, children=(second, first)))


def test_without_lines_of_control_parents_are_all_that_is_known() -> None:
    assert not strays(run("a", 0, 5, None), run("b", 1, 2, None))


# -- programs


def answer() -> ScriptedChatModel:
    return ScriptedChatModel(respond(lambda request: "yes").repeat(), name="guard")


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda program, value: program.invoke(value),
    "stream": lambda program, value: list(program.stream(value)),
    "batch": lambda program, value: program.batch([value]),
    "ainvoke": lambda program, value: asyncio.run(program.ainvoke(value)),
    "abatch": lambda program, value: asyncio.run(program.abatch([value])),
    "v2": lambda program, value: asyncio.run(_read(program, value)),
}


async def _read(program: Any, value: Any) -> None:
    async for _ in program.astream_events(value, version="v2"):
        pass


def _guarded() -> Any:
    guard = answer()

    def ask(q: str) -> dict[str, str]:
        guard.invoke("allowed?", {"callbacks": []})
        return {"q": q}

    async def aask(q: str) -> dict[str, str]:
        await guard.ainvoke("allowed?", {"callbacks": []})
        return {"q": q}

    return RunnableLambda(ask, aask, name="ask") | scripted_tool("search", "x", args={"q": str})


@pytest.mark.parametrize("way", WAYS)
def test_a_root_in_the_middle_of_another_run_has_its_place_in_time(way: str) -> None:
    with record() as recording:
        WAYS[way](_guarded(), "x")

    assert recording.obeys(before(model("guard"), "search"))
    assert not recording.obeys(before("search", model("guard")))
    assert HappensBefore(recording.roots).contains(recording.run("ask"), recording.run("guard"))


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_hands_its_config_past_a_run_has_one_tree(way: str) -> None:
    guard = answer()

    def outer(q: str, config: RunnableConfig) -> Any:
        return RunnableLambda(inner, ainner, name="inner").invoke((q, config), config)

    async def aouter(q: str, config: RunnableConfig) -> Any:
        return await RunnableLambda(inner, ainner, name="inner").ainvoke((q, config), config)

    def inner(given: Any) -> Any:
        return guard.invoke(given[0], given[1]).content

    async def ainner(given: Any) -> Any:
        return (await guard.ainvoke(given[0], given[1])).content

    with record() as recording:
        WAYS[way](RunnableLambda(outer, aouter, name="outer"), "x")

    assert render(recording, detail="outline").splitlines() == ["chain outer", "  chain inner", "    chat guard"]
    assert not recording.obeys(before(chain("inner"), model()))
    assert not recording.obeys(before(model(), chain("inner")))


@pytest.mark.parametrize("way", ["batch", "abatch"])
def test_fallbacks_of_a_batch_are_beside_one_another(way: str) -> None:
    first = ScriptedChatModel(respond(lambda request: fail(500) if "a" in request.text else "ok").repeat(), name="first")
    program = first.with_fallbacks([ScriptedChatModel(respond(lambda request: "ok").repeat(), name="second")])

    with record() as recording:
        if way == "batch":
            program.batch(["a", "b", "c"])
        else:
            asyncio.run(program.abatch(["a", "b", "c"]))

    assert len(recording.roots) == 3
    assert render(recording, detail="outline").startswith("parallel\n")
    order = HappensBefore(recording.roots)
    assert all(overlapped(order, a, b) for a in recording.roots for b in recording.roots if a is not b)


def _calls_of_python(work: Callable[[], object]) -> int:
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def test_open_siblings_are_not_compared_with_one_another() -> None:
    """Twice the siblings are at most three times the work: a handler that fires no ends leaves thousands of runs open."""

    def roots(siblings: int) -> list[Run]:
        children = tuple(run("c", number) for number in range(2, siblings + 2))
        return [run("root", 1, siblings + 2, children=children)]

    few, many = roots(300), roots(600)

    assert _calls_of_python(lambda: Nesting(many)) < 3 * _calls_of_python(lambda: Nesting(few))
