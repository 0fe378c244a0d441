"""Programs as plain words: what a graph, an agent or a chain is made of, and the items that follow from it.

`llmtest.langchain.inventory` reads them from objects of LangChain and LangGraph; tests make their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from llmtest.coverage import items
from llmtest.coverage.arguments import Arguments
from llmtest.coverage.items import Item, Kind

START: Final = "__start__"
END: Final = "__end__"

DECISIONS: Final = {"approve": "approved", "edit": "edited", "reject": "rejected", "respond": "answered by a person"}


@dataclass(frozen=True)
class Branch:
    """A conditional edge. `ends` maps what its function returns to nodes; None: its targets are not declared.

    `run_name` is the name of its run in a recording; None if LangGraph makes no run of it.
    """

    source: str
    name: str
    ends: Mapping[str, str] | None
    run_name: str | None
    place: str = ""


@dataclass(frozen=True)
class Node:
    """A node of a graph. `ends` are the nodes to which its `Command(goto=...)` may lead; `attempts` those of its retry policy."""

    name: str
    place: str = ""
    ends: tuple[str, ...] = ()
    attempts: int = 1
    interrupts: bool = False
    is_hook: bool = False
    """True for a hook of middleware that is a node, such as `before_model`."""
    on_error: str = ""
    """The node that handles its errors."""
    waits: bool = False
    """True if it runs only when all other nodes are done."""


@dataclass(frozen=True)
class Tool:
    """A tool. `schema` is the JSON schema of its arguments; `title` is how an error of the schema names it.

    `handles` are the errors that it answers with itself, `raised` and `refused`: the text of that answer, None if it varies.
    """

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    place: str = ""
    interrupts: bool = False
    handles: Mapping[str, str | None] = field(default_factory=dict)
    is_checked: bool = True
    """False if LangChain does not check its arguments, as those of a schema that is a dict."""
    is_declared: bool = False
    """True if only what a model is told of it is known, and no object: it is called by the model, and need not run."""

    @cached_property
    def arguments(self) -> Arguments:
        return Arguments(self.schema)


@dataclass(frozen=True)
class Model:
    """A model at a place of the program: the node around it, and whether it may answer with text and may call tools."""

    site: str
    has_text: bool = True
    has_tools: bool = False
    place: str = ""

    def items(self, program: str) -> Iterator[Item]:
        left_out = set() if self.has_text else {"text"}
        left_out |= set() if self.has_tools else {"tool_call", "several_calls"}
        yield from (items.outcome(program, self.site, act, self.place) for act in items.OUTCOMES if act not in left_out)


@dataclass(frozen=True)
class Component:
    """A part of a chain that has alternatives: fallbacks, retries, branches, a retriever, a prompt.

    `acts` maps the name of each act to its subject and its verb. `attempts` is how many runs are tried before it gives
    up.
    """

    kind: Kind
    label: str
    acts: Mapping[str, tuple[str, str]]
    attempts: int = 1
    place: str = ""
    unknown: str = ""

    def numbered(self, number: int) -> Component:
        """Return it as the one with this number of its name in a program. The first has none."""
        acts = {act: (f"{subject} number {number} of this name,", verb) for act, (subject, verb) in self.acts.items()}
        return replace(self, label=f"{self.label}#{number}", acts=acts) if number > 1 else self

    def items(self, program: str, *, only: str | None = None) -> Iterator[Item]:
        """Yield the items of all acts, or of `only` one that is known to have happened."""
        for act, (subject, verb) in self.acts.items():
            name = f"{self.label}.{act}" if act else self.label
            if only in (None, act):
                yield Item(program, self.kind, name, subject, verb, self.place, self.unknown if only is None else "")

    def item_id(self, program: str, act: str) -> str:
        return f"{program}/{self.kind}/{self.label}.{act}" if act else f"{program}/{self.kind}/{self.label}"


@dataclass(frozen=True)
class Decision:
    """A tool call that a person decides on, and the kinds of decision that are allowed."""

    tool: str
    kinds: tuple[str, ...]


@dataclass(eq=False)
class Program:
    """A program that can be called: a graph, an agent, a chain, a model.

    `answers` are the JSON schemas of its structured outputs, by their names; empty where one is not known. `wraps` are hooks
    around calls of models and tools, which make no runs.
    """

    label: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    waiting: set[tuple[tuple[str, ...], str]] = field(default_factory=set)
    branches: dict[str, list[Branch]] = field(default_factory=dict)
    stops_before: tuple[str, ...] = ()
    stops_after: tuple[str, ...] = ()
    tools: dict[str, Tool] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list)
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    components: list[Component] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    wraps: list[str] = field(default_factory=list)
    bound_tools: tuple[str, ...] = ()
    """The tools that an agent binds to its model in each call."""
    modes: tuple[str, ...] = ()
    """The ways in which it can be called as an entry point."""

    listed_in: object = field(default=None, repr=False, compare=False)
    """The inventory that has its items already."""

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """The targets of the static edges, by the node that they lead away from."""
        found: dict[str, list[str]] = {}
        for source, target in sorted(self.edges):
            found.setdefault(source, []).append(target)
        return found

    @cached_property
    def waited_for(self) -> set[str]:
        """The nodes for which others wait."""
        return {source for sources, _ in self.waiting for source in sources}

    @cached_property
    def silent_ends(self) -> dict[str, set[str]]:
        """The targets of the branches that make no run, by the node that they lead away from."""
        found: dict[str, set[str]] = {}
        for branch in (branch for some in self.branches.values() for branch in some):
            if branch.run_name is None and branch.ends is not None:
                found.setdefault(branch.source, set()).update(branch.ends.values())
        return found

    def items(self) -> Iterator[Item]:
        """Yield all items of this program, except its call modes: only an entry point has those."""
        yield from self._graph_items()
        for tool in self.tools.values():
            yield from tool_items(self.label, tool)
        for model in self.models:
            yield from model.items(self.label)
        for name in self.answers:
            yield from (items.answer(self.label, name, act) for act in ("given", "refused"))
        for component in self.components:
            yield from component.items(self.label)
        yield from self._interrupt_items()
        yield from self._middleware_items()

    def mode_items(self) -> Iterator[Item]:
        return (items.mode(self.label, name) for name in self.modes)

    def _graph_items(self) -> Iterator[Item]:
        for node in self.nodes.values():
            yield items.node(self.label, node.name, node.place)
            yield from (items.edge(self.label, node.name, end, node.place) for end in node.ends)
            if node.on_error:
                yield items.edge(self.label, node.name, node.on_error, node.place)
            if node.attempts > 1:
                subject = f"retry of node `{node.name}`"
                yield Item(self.label, "retries", f"{node.name}.used", subject, "used", node.place)
                yield Item(self.label, "retries", f"{node.name}.exhausted", subject, "exhausted", node.place)
        for source, target in sorted(self.edges):
            yield items.edge(self.label, source, target, self.place_of(source))
        for sources, target in sorted(self.waiting):
            yield from (items.edge(self.label, source, target, self.place_of(source)) for source in sources)
        for branch in (branch for some in self.branches.values() for branch in some):
            if branch.ends is None:
                yield items.open_edge(self.label, branch.source, branch.name, branch.place)
            for target in sorted(set((branch.ends or {}).values())):
                yield items.edge(self.label, branch.source, target, branch.place)

    def place_of(self, node: str) -> str:
        return self.nodes[node].place if node in self.nodes else ""

    def _interrupt_items(self) -> Iterator[Item]:
        named = [(node.name, f"interrupt in `{node.name}`") for node in self.nodes.values() if node.interrupts]
        named += [(f"before_{name}", f"interrupt before `{name}`") for name in self.stops_before]
        named += [(f"after_{name}", f"interrupt after `{name}`") for name in self.stops_after]
        for name, subject in named:
            yield Item(self.label, "interrupts", f"{name}.raised", subject, "raised")
            yield Item(self.label, "interrupts", f"{name}.resumed", subject, "resumed")
        for decision in self.decisions:
            for kind in decision.kinds:
                told = DECISIONS.get(kind, f"decided with {kind}")
                yield Item(self.label, "interrupts", f"{decision.tool}.{kind}", f"call of `{decision.tool}`", told)

    def _middleware_items(self) -> Iterator[Item]:
        for node in self.nodes.values():
            if node.is_hook:
                yield Item(self.label, "middleware", node.name, f"hook `{node.name}`", "changed something", node.place)
        for name in self.wraps:
            yield wrapping_hook(
                self.label, name, "LangChain makes no run of a hook that wraps a call, and no change by it was seen"
            )


def wrapping_hook(program: str, name: str, unknown: str = "") -> Item:
    """Return the item of a hook around calls. It is unknown until a change by it is seen: not all changes can be."""
    return Item(program, "middleware", name, f"hook `{name}`", "changed something", unknown=unknown)


def tool_items(program: str, tool: Tool) -> Iterator[Item]:
    """Yield what can happen to a tool, and to each of its arguments."""
    acts = ["called"] if tool.is_declared else ["called", "answered", "raised"]
    acts += ["refused"] if tool.arguments.properties and tool.is_checked and not tool.is_declared else []
    acts += ["interrupted"] if tool.interrupts else []
    yield from (items.tool(program, tool.name, act, tool.place) for act in acts)
    yield from (items.argument(program, tool.name, path, act, tool.place) for path, act in tool.arguments.acts)
