"""Which edges of a graph a run of it took, exactly where that can be told.

A branch function is a run of its own whose output is where it went; `Command(goto=...)` is in the output of a node. A branch
without a run, as those of `create_agent`, is judged by what ran in the next step: if only one node can have led there, that is
where it went, else it is ambiguous for each of them. If nothing ran that it may lead to, it went to the end; one that leads to
nodes and to the end at once leaves no trace of the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from llmtest.coverage import items
from llmtest.coverage.items import Item
from llmtest.coverage.programs import END, START, Program
from llmtest.events.events import Run
from llmtest.events.words import Structured

_PUSH: Final = "__pregel_push"
_PULL: Final = "branch:to:"


@dataclass(frozen=True, eq=False)
class _Arrivals:
    """The nodes that ran in a step, by how they were led there. Equal steps have the same object."""

    pulled: set[str]
    pushed: Counter[str]
    joined: set[str]


_UNDECLARED: Final = "it was taken, and is not declared"
_NOTHING: Final = _Arrivals(set(), Counter(), set())


def _arrivals(runs: Sequence[Run]) -> _Arrivals:
    if len(runs) > 1:  # a node that was tried again is one task
        runs = list({run.metadata.get("langgraph_checkpoint_ns") or run.id: run for run in runs}.values())
    return _read_arrivals(tuple([(run.name, *map(str, run.metadata.get("langgraph_triggers") or ())) for run in runs]))


@lru_cache(maxsize=4096)
def _read_arrivals(tasks: tuple[tuple[str, ...], ...]) -> _Arrivals:
    """Return how tasks were led to their step: each is the name of its node, and its triggers."""
    found = _Arrivals(set(), Counter(), set())
    for name, *triggers in tasks:
        for trigger in triggers:
            if trigger == _PUSH:
                found.pushed[name] += 1
            elif trigger.startswith("join:"):
                found.joined.add(trigger)
            elif trigger == f"{_PULL}{name}":
                found.pulled.add(name)
    return found


def edges_of(
    program: Program, run: Run, first: int, steps: Mapping[int, Sequence[Run]], *, is_resumed: bool
) -> Iterator[tuple[Item, bool]]:
    """Yield the edges that were taken to or from the steps of `run`, a run of a graph, and whether that is certain.

    `steps` are the runs of its nodes by the numbers of their steps, and those before the `first` of this run, of the run that it
    goes on from.
    """
    numbers = sorted(number for number in steps if number >= first - 1)
    numbers = numbers if numbers[0] < first else [first - 1, *numbers]
    arrivals = {number: _arrivals(steps.get(number, ())) for number in numbers}
    waits = {name for name, node in program.nodes.items() if node.waits}
    handed_off = run.ended == "handed off"
    is_start = not is_resumed and all(node.name != START for node in steps[first])
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        done = steps.get(number, ())
        ended = frozenset([node.name for node in done if node.ended == "ended"])
        waited = {name for one in numbers if one > number for name in arrivals[one].pulled & waits} if waits else ()
        step = _Step(
            program,
            _ONLY_START if is_start and number < first else ended,
            tuple([told for node in done for told in _told_by(program, node, handed_off)]),
            arrivals[following] if following == number + 1 else _NOTHING,
            frozenset(waited),
            goes_on=following is not None or run.ended == "ended",
        )
        yield from _edges_of_step(step)
        if len(ended) < len(done):
            yield from _handled(program, done, [*done, *steps.get(number + 1, ())])
    for number in numbers if program.waiting else ():
        yield from _joined(program, arrivals[number].joined) if number >= first else ()
    if run.ended == "ended" and program.waiting:
        yield from _ended_together(program, {node.name for runs in steps.values() for node in runs if node.ended == "ended"})


_ONLY_START: Final = frozenset((START,))


def _handled(program: Program, done: Sequence[Run], next_runs: Sequence[Run]) -> Iterator[tuple[Item, bool]]:
    """Yield the edges from nodes that failed to the nodes that handle their errors."""
    for failed in {node.name for node in done if node.ended == "error" and node.name in program.nodes}:
        handler = program.nodes[failed].on_error
        if handler and any(node.name == handler for node in next_runs):
            yield items.edge(program.label, failed, handler), True


def _joined(program: Program, triggers: set[str]) -> Iterator[tuple[Item, bool]]:
    """Yield the edges from several nodes to one that waits for all of them."""
    for sources, target in program.waiting if triggers else ():
        if f"join:{'+'.join(sources)}:{target}" in triggers:
            yield from ((items.edge(program.label, source, target), True) for source in sources)


def _ended_together(program: Program, done: set[str]) -> Iterator[tuple[Item, bool]]:
    """Yield the edges from several nodes to the end, where nothing waits for them."""
    for sources, target in program.waiting:
        if target == END and done.issuperset(sources):
            yield from ((items.edge(program.label, source, target), True) for source in sources)


def _told_by(program: Program, run: Run, graph_handed_off: bool) -> Iterator[tuple[str, str, bool]]:
    """Yield where a node went by its own account, and whether by a `Send`: by branches that are runs, and by commands.

    A command to the parent graph is in the error that hands off to it; the graph that was left has no edge for it.
    """
    if run.ended == "ended":
        for branch in program.branches.get(run.name, ()):
            named = [child for child in run.children if child.name == branch.run_name]
            if named and named[-1].ended == "ended":  # what the node itself called may have the same name; it ran before
                yield from ((run.name, *told) for told in _targets(named[-1].output, branch.ends))
        yield from ((run.name, *told) for told in _gotos(run.output))
    elif run.ended == "handed off" and not graph_handed_off and run.end is not None:
        yield from ((run.name, *told) for told in _gotos(getattr(run.end.payload.get("error"), "payload", None), to_parent=True))


class _Step(NamedTuple):
    """What is known of one step: the nodes that ended, where they went by their own account, and what ran after it.

    `goes_on`: the graph went on, or came to its end.
    """

    program: Program
    sources: frozenset[str]
    told: tuple[tuple[str, str, bool], ...]
    following: _Arrivals
    waiting: frozenset[str]
    goes_on: bool

    def edges(self) -> Iterator[tuple[Item, bool]]:
        known: set[str] = set()
        pushes: Counter[str] = Counter()
        for source in self.sources:
            for target in self.program.targets.get(source, ()):
                if self._leads_to(target):
                    known.add(target)
                    yield self._edge(source, target), True
        for source, target, is_send in self.told:
            if is_send:
                pushes[target] += 1
            else:
                known.add(target)
            yield self._edge(source, target), True
        yield from self._stopped()
        yield from self._deduced(known, pushes)

    def _stopped(self) -> Iterator[tuple[Item, bool]]:
        """Yield the edges to the end of nodes that may end with a command, and ended with none: nothing leads on from them."""
        gone = {source for source, _, _ in self.told}
        for source in self.sources - gone if self.goes_on else ():
            node = self.program.nodes.get(source)
            leads_on = source in self.program.targets or source in self.program.branches or source in self.program.waited_for
            if node is not None and END in node.ends and not leads_on:
                yield self._edge(source, END), True

    def _edge(self, source: str, target: str) -> Item:
        return items.edge(self.program.label, source, target, unknown=_UNDECLARED)

    def _leads_to(self, target: str) -> bool:
        return self.goes_on if target == END else target in self.following.pulled or target in self.waiting

    def _deduced(self, known: set[str], pushes: Counter[str]) -> Iterator[tuple[Item, bool]]:
        """Yield where branches went that are no runs."""
        ends = {source: targets for source, targets in self.program.silent_ends.items() if source in self.sources}
        for source, targets in ends.items():
            arrived = {target for target in targets if target != END and self._arrived(target)}
            certain = {target for target in arrived if not self._is_explained(target, known, pushes)}
            sure = {target for target in certain if sum(target in others for others in ends.values()) == 1}
            for target in sorted(arrived):
                yield self._edge(source, target), target in sure
            if END in targets and self.goes_on and not sure:
                yield self._edge(source, END), not arrived

    def _arrived(self, target: str) -> bool:
        return target in self.following.pulled or self.following.pushed[target] > 0

    def _is_explained(self, target: str, known: set[str], pushes: Counter[str]) -> bool:
        pulled = target in self.following.pulled and target not in known
        return not pulled and self.following.pushed[target] <= pushes[target]


@lru_cache(maxsize=1024)
def _edges_of_step(step: _Step) -> tuple[tuple[Item, bool], ...]:
    """Return the edges of a step. The turns of an agent are equal steps again and again."""
    return tuple(step.edges())


def _targets(output: object, ends: Mapping[str, str] | None) -> Iterator[tuple[str, bool]]:
    for one in output if isinstance(output, list) else [output]:
        if isinstance(one, Structured) and one.type == "Send":
            yield str(one.fields.get("node")), True
        elif ends is None or str(one) in ends:  # pragma: no branch  # LangGraph fails for a name that is in no map
            yield str(one) if ends is None else ends[str(one)], False


def _gotos(output: object, *, to_parent: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield where the commands in the output of a node lead."""
    if isinstance(output, list):
        for part in output:
            yield from _gotos(part, to_parent=to_parent)
    elif isinstance(output, Structured) and output.type == "Command" and (to_parent or not output.fields.get("graph")):
        goto = output.fields.get("goto")
        yield from _targets(goto, None) if goto else ()
