"""The nodes of a LangGraph graph: what its state has become before each, as far as the nodes before tell, and their attempts.

A node is given the whole state each time. What it is given is news only where it differs from what the nodes before it were
given and have returned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from llmtest.events.callbacks import OUTPUT_OF
from llmtest.events.events import Run
from llmtest.events.words import FrozenDict, Message, Structured
from llmtest.order.siblings import is_node
from llmtest.trees.values import COUNTED_BY_GRAPH

State = Mapping[str, Any]

_HOOK: Final = re.compile(r".+\.(?:before|after)_(?:agent|model)", re.DOTALL)
"""The names of the nodes that LangChain makes for the hooks of middleware."""
_UNKNOWN: Final = object()
"""The value of a key that two nodes have written side by side: a reducer of the program decides."""


def states_before(layers: Iterable[Sequence[Run]], given: object) -> dict[int, State]:
    """Return the expected state by the `id` of each node. `layers` are the children of a graph in order, `given` its input.

    A key that a node returns is expected to have that value, and `messages` to have the returned ones at their end.
    """
    known: dict[int, State] = {}
    state = state_of(given)
    for layer in layers:
        nodes = [run for run in layer if is_node(run)]
        if state is not None:
            known |= {id(run): state for run in nodes}
        told = [found for run in nodes if (found := state_of(_inputs(run))) is not None]
        before = told[0] if told else state
        if before is not None:
            state = _after(before, [_updates(run) for run in nodes])
    return known


def attempts(children: Iterable[Run]) -> dict[int, int]:
    """Return the number of each attempt but the first by the `id` of its run: of nodes that a retry policy runs again.

    LangGraph marks no attempt. Those of one task have one checkpoint namespace, which no other run in the graph has.
    """
    tasks: dict[object, list[Run]] = {}
    for run in children:
        task = run.metadata.get("langgraph_checkpoint_ns")
        if task is not None and is_node(run):
            tasks.setdefault((task, run.name), []).append(run)
    rows = (sorted(runs, key=lambda run: run.start.number) for runs in tasks.values())
    return {id(run): number for row in rows for number, run in enumerate(row, 1) if number > 1}


def is_hook(run: Run) -> bool:
    """True for a hook of middleware that has done nothing: it has called nothing, told nothing and returned nothing."""
    end = run.end
    return (
        is_node(run)
        and _HOOK.fullmatch(run.name) is not None
        and not run.children
        and len(run.events) == 2  # its start and its end
        and end is not None
        and end.kind == "on_chain_end"
        and end.payload.get(OUTPUT_OF["chain"]) is None
    )


def state_of(value: object) -> State | None:
    """Return the state that `value` is; None if it is something else. What LangGraph counts itself is left out."""
    if not isinstance(value, dict):
        return None
    return value if COUNTED_BY_GRAPH.isdisjoint(value) else {k: v for k, v in value.items() if k not in COUNTED_BY_GRAPH}


def news(run: Run, expected: State | None) -> FrozenDict | None:
    """Return the part of a node's state that is not as `expected`; None if the state is no news of it, and shown whole."""
    state = state_of(_inputs(run))
    if state is None or expected is None or not expected.keys() <= state.keys():
        return None
    return FrozenDict({key: value for key, value in state.items() if key not in expected or not _same(expected[key], value)})


def _same(expected: object, given: object) -> bool:
    """True for equal values. A graph gives an id to a message that has none."""
    if expected == given or not (isinstance(expected, list) and isinstance(given, list)) or len(expected) != len(given):
        return expected == given
    return all(
        one == other or (isinstance(one, Message) and isinstance(other, Message) and one == replace(other, id=one.id))
        for one, other in zip(expected, given, strict=True)
    )


def _inputs(run: Run) -> object:
    end = run.end
    return (end.payload if end is not None and "inputs" in end.payload else run.start.payload).get("inputs")


def _updates(run: Run) -> list[State]:
    """Return what a node has returned for the state: a dict, a command with an update, or a list of such."""
    end = run.end
    found = end.payload.get(OUTPUT_OF["chain"]) if end is not None else None
    told = found if isinstance(found, list) else [found]
    told = [one.fields.get("update") if isinstance(one, Structured) and one.type == "Command" else one for one in told]
    return [one for one in told if isinstance(one, dict)]


def _after(state: State, updates: Sequence[Sequence[State]]) -> State:
    """Return the state after nodes that ran side by side, each with its updates."""
    after = dict(state)
    writers = Counter(key for own in updates for key in {key for update in own for key in update})
    for key, value in ((key, value) for own in updates for update in own for key, value in update.items()):
        if key == "messages" and isinstance(after.get(key), list):
            after[key] = [*after[key], *(value if isinstance(value, list) else [value])]
        else:
            after[key] = value if writers[key] == 1 else _UNKNOWN
    return after
