"""Random graphs: the inventory is what was built, the hits are what the program itself noted while it ran."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph._internal._runnable import RunnableCallable
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from llmtest import record
from llmtest.coverage.hits import Hits
from llmtest.coverage.items import Inventory
from llmtest.langchain.inventory import Reader
from llmtest.langchain.met_objects import Meeting, MetObjects


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


@dataclass(frozen=True)
class Plan:
    """A node: how it leads on, the nodes that it may lead to, and the ones to which it does. Edges lead forward only."""

    way: str
    targets: tuple[str, ...]
    chosen: tuple[str, ...]


@st.composite
def graphs(draw: st.DrawFn) -> list[Plan]:
    size = draw(st.integers(1, 5))
    plans = []
    for number in range(size):
        later = [f"n{one}" for one in range(number + 1, size)]
        way = draw(st.sampled_from(("edge", "branch", "untraced", "send", "command")))
        able = later if way == "send" else [*later, END]
        if not able:
            plans.append(Plan("edge", (END,), (END,)))
            continue
        targets = draw(st.lists(st.sampled_from(able), min_size=1, max_size=3, unique=True))
        chosen = targets if way == "edge" else draw(st.lists(st.sampled_from(targets), min_size=1, max_size=2, unique=True))
        if way == "untraced" and END in chosen:
            chosen = [END]  # to nodes and to the end at once: a known limit, no trace is left of the end
        plans.append(Plan(way, tuple(targets), tuple(chosen)))
    return plans


def build(plans: list[Plan], taken: set[tuple[str, str]]) -> Any:
    """Build the graph of some plans. Its nodes note in `taken` where they lead."""
    graph = StateGraph(State)
    for number, plan in enumerate(plans):
        name = f"n{number}"
        graph.add_node(name, _node(name, plan, taken), destinations=plan.targets if plan.way == "command" else None)
        if plan.way == "edge":
            for target in plan.targets:
                graph.add_edge(name, target)
        elif plan.way != "command":
            branch = _branch(name, plan, taken)
            path = RunnableCallable(branch, trace=False) if plan.way == "untraced" else branch
            graph.add_conditional_edges(name, path, list(plan.targets))
    graph.add_edge(START, "n0")
    return graph.compile(name="random")


def _node(name: str, plan: Plan, taken: set[tuple[str, str]]) -> Any:
    def run(state: State) -> Any:
        taken.add((name, ""))
        if plan.way in ("edge", "command"):
            taken.update((name, target) for target in plan.chosen)
        return Command(goto=list(plan.chosen)) if plan.way == "command" else {"log": [name]}

    return run


def _branch(name: str, plan: Plan, taken: set[tuple[str, str]]) -> Any:
    def choose(state: State) -> Any:
        taken.update((name, target) for target in plan.chosen)
        return [Send(target, {"log": []}) for target in plan.chosen] if plan.way == "send" else list(plan.chosen)

    return choose


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans=graphs(), in_loop=st.booleans())
def test_the_inventory_is_what_was_built_and_the_hits_are_what_happened(plans: list[Plan], in_loop: bool) -> None:
    taken: set[tuple[str, str]] = {(START, "n0")}
    graph = build(plans, taken)
    met, inventory = MetObjects(), Inventory()

    with met.listening(), record() as recording:
        asyncio.run(graph.ainvoke({"log": []})) if in_loop else graph.invoke({"log": []})
    hits = Hits(Meeting(met, Reader()), inventory)
    hits.add(recording.roots)

    built = {f"random/nodes/n{number}" for number in range(len(plans))} | {"random/edges/__start__->n0"}
    built |= {f"random/edges/n{number}->{target}" for number, plan in enumerate(plans) for target in plan.targets}
    assert {item.id for item in inventory if item.kind in ("nodes", "edges") and not item.unknown} == built
    happened = {f"random/nodes/{a}" if not b else f"random/edges/{a}->{b}" for a, b in taken}
    certain = {item_id for item_id in hits.hits if "/modes/" not in item_id}
    untraced = {f"random/edges/n{number}->" for number, plan in enumerate(plans) if plan.way == "untraced"}
    assert certain <= happened
    assert happened - certain <= {item_id for item_id in hits.ambiguous if item_id.startswith(tuple(untraced))}
    assert (
        hits.ambiguous <= {item_id for item_id in built if item_id.startswith(tuple(untraced))}
        if untraced
        else not hits.ambiguous
    )
