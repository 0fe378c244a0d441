"""Hits: which items of its programs the runs of a test show, exactly where they can, and *ambiguous* where they cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from llmtest.coverage import items
from llmtest.coverage.edges import edges_of
from llmtest.coverage.items import Inventory, Item
from llmtest.coverage.outcomes import (
    component_acts,
    decisions,
    interrupts,
    is_answered,
    is_forced,
    outcomes,
    own_answer,
    pauses,
    requested_tools,
    structured_types,
    tool_acts,
)
from llmtest.coverage.programs import START, Component, Model, Program, Tool, wrapping_hook
from llmtest.coverage.wrapping import WRAPPED
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Run
from llmtest.events.words import Message, Structured, ToolCall
from llmtest.order.nesting import Nesting
from llmtest.order.siblings import step_of_node


@dataclass(frozen=True, eq=False)
class Met:
    """What is known of the object of a run.

    `program` is None if it is only a part of one. `parts` are the graphs that the program calls, `component` gives the part of
    a chain that it is, by the label of the program; None if it is none. `tool` is the tool that it is. `items` gives what it
    can do within a program, by its label and the node around it; None if that is nothing.
    """

    program: Program | None = None
    parts: Sequence[Program] = ()
    component: Callable[[str], Component | None] | None = None
    tool: Tool | None = None
    items: Callable[[str, str], Sequence[Item]] | None = None


_UNFIT: Final = "StructuredOutputValidationError"
"""What an agent raises for an answer that does not fit its schema. One in the provider's own format is no call of a tool."""


_OF_DICTS: Final = "JsonOutputKeyToolsParser"
"""The parser of `with_structured_output` for a schema that is a dict, or a `TypedDict`."""


class Meeting(Protocol):
    """What is known of the objects of runs."""

    def met(self, run: Run) -> Met:
        """Return what is known of the object of a run."""

    def route_of(self, run: Run, program: str) -> tuple[Component, str] | None:
        """Return the router of a program that has chosen a run, and its key; None if none has, or if that is not known."""

    def mode_of(self, run: Run) -> str:
        """Return how a run without a parent was called; empty if that is not known."""


@dataclass
class _Thread:
    """What a graph did so far in one conversation: its checkpointer lets the next run go on where the last one stopped."""

    steps: dict[int, list[Run]] = field(default_factory=dict)
    paused: dict[str, set[str]] = field(default_factory=dict)
    """The ids of its interrupts, by the node that they stopped."""
    asked: dict[str, list[str]] = field(default_factory=dict)
    """The tools that a person was asked about, by the node that asked."""
    before: bool = False


@dataclass
class _GraphRun:
    """One run of a graph."""

    program: Program
    run: Run
    thread: _Thread
    resume: object
    answer: object = None
    """What a `Command` answers to interrupts: one to this graph, or to a graph around it."""
    steps: dict[int, list[Run]] = field(default_factory=dict)

    @property
    def is_resumed(self) -> bool:
        return self.resume is not None


class _Place(NamedTuple):
    """A run, and where it is: the run around it, its program, the node `site`, and the run of the graph."""

    run: Run
    around: Run | None = None
    program: Program | None = None
    site: str = ""
    graph: _GraphRun | None = None


class Hits:
    """The items that the runs of one test show; the items of all programs that it meets go into `inventory`.

    Not for several threads at once.
    """

    def __init__(self, meeting: Meeting, inventory: Inventory) -> None:
        self._meeting = meeting
        self.inventory = inventory
        self._hits: set[str] = set()
        self._maybe: set[str] = set()
        self._nesting = Nesting(())
        self._models: dict[tuple[object, ...], frozenset[str]] = {}
        self._added: set[tuple[Met, str, str]] = set()
        self._threads: dict[object, _Thread] = {}

    @property
    def hits(self) -> set[str]:
        """The ids of items that were hit for certain."""
        return {item_id for item_id in self._hits if item_id in self.inventory}

    @property
    def ambiguous(self) -> set[str]:
        """The ids of items of which it cannot be told."""
        return {item_id for item_id in self._maybe - self._hits if item_id in self.inventory}

    def add(self, roots: Sequence[Run]) -> None:
        """Judge runs without a parent, and all runs inside them, in the order in which they started."""
        # LangChain gives what `with_fallbacks` runs the parent of the whole, and a call with `callbacks=[]` no parent.
        self._nesting = Nesting(roots)
        todo: list[_Place | _GraphRun] = [_Place(root) for root in reversed(self._nesting.inside(None))]
        while todo:  # no recursion: runs may be nested deeper than Python calls functions
            here = todo.pop()
            if isinstance(here, _GraphRun):
                self._end(here)
                continue
            inner = self._visit(here)
            todo += [inner.graph] if inner.graph is not None and inner.graph is not here.graph else []
            todo += [_Place(child, *inner[1:]) for child in reversed(self._nesting.inside(here.run))]

    def _hit(self, item: Item) -> None:
        self.inventory.add(item)
        self._hits.add(item.id)

    # -- the walk

    def _visit(self, place: _Place) -> _Place:
        """Judge one run, and return the place of the runs inside it."""
        run, around, program, site, graph = place
        met = self._meeting.met(run)
        own = met.program
        if own is not None:
            program, site = own, ""
            for one in (own, *met.parts):
                self._add_program(one)
            if around is None:
                self._judge_mode(own, run)
            graph = self._begin(own, run, around, graph) if own.nodes else None
        if program is None:
            return _Place(run, run)
        step = _step(run, graph.program) if graph is not None and own is None else None
        if own is None:
            if step is not None and graph is not None:
                site = run.name
                graph.steps.setdefault(step, []).append(run)
            if met.items is not None and (met, program.label, site) not in self._added:
                self._added.add((met, program.label, site))
                for item in met.items(program.label, site):
                    self.inventory.add(item)
        if step is None:
            self._judge(run, around, met.tool, program, site)
        component = met.component(program.label) if met.component is not None else None
        if component is not None:
            acts = component_acts(component, run, self._nesting.inside(run))
            self._hits.update([component.item_id(program.label, act) for act in acts])
        route = self._meeting.route_of(run, program.label)
        if route is not None:
            for item in route[0].items(program.label, only=route[1]):
                self._hit(item)
        return _Place(run, run, program, site, graph)

    def _add_program(self, program: Program) -> None:
        if program.listed_in is not self.inventory:
            program.listed_in = self.inventory
            for item in program.items():
                self.inventory.add(item)

    def _judge_mode(self, program: Program, run: Run) -> None:
        for item in program.mode_items():
            self.inventory.add(item)
        mode = self._meeting.mode_of(run)
        if mode:
            self._hits.add(items.mode(program.label, mode).id)
        else:  # asyncio starts the runs of `abatch` in tasks of their own, where nothing tells who asked
            self._maybe.add(items.mode(program.label, "abatch").id)

    def _judge(self, run: Run, around: Run | None, tool: Tool | None, program: Program, site: str) -> None:
        if run.kind == "tool":
            self._judge_tool(run, tool or program.tools.get(run.name), program.label)
        elif run.kind in MODELS:
            self._judge_model(run, around, program, site)
        elif isinstance(run.input, Message):
            self._judge_parser(run, run.input, program)

    # -- tools

    def _judge_tool(self, run: Run, tool: Tool | None, label: str) -> None:
        name, title = (tool.name, tool.title) if tool is not None else (run.name, run.name)
        acts = tool_acts(run, title or name, tool.handles if tool is not None else None)
        if "interrupted" in acts:
            self.inventory.add(items.tool(label, name, "interrupted", tool.place if tool is not None else ""))
        self._hits.add(items.tool(label, name, "called").id)
        told_by = self._hits if len(acts) == 1 else self._maybe
        told_by |= {items.tool(label, name, act).id for act in acts}
        if tool is None or acts == ["refused"]:
            return
        given = self._maybe if "refused" in acts else self._hits
        given |= {f"{label}/arguments/{name}.{path}.{act}" for path, act in tool.arguments.of_call(run.args)}

    # -- models

    def _judge_model(self, run: Run, around: Run | None, program: Program, site: str) -> None:
        parameters = run.start.payload.get("invocation_params")
        choice = parameters.get("tool_choice") if isinstance(parameters, dict) else None
        schemas = self._add_model(program.label, site, tuple(run.start.payload.get("tools", ())), choice)
        message = run.output
        calls = message.tool_calls if isinstance(message, Message) else ()
        answers = [call.name for call in calls if call.name in schemas]
        if around is not None:
            is_unfit = not answers and around.error is not None and around.error.type == _UNFIT
            judged = [name for name in program.answers if name not in schemas] if is_unfit else answers
            self._judge_answers(judged, around, program, has_ended=run.ended == "ended")
        for call in calls:
            self._judge_declared(call, program)
        acts = outcomes(run, len(calls) - len(answers), bool(answers))
        self._hits.update([items.outcome(program.label, site, act).id for act in acts])

    def _judge_declared(self, call: ToolCall, program: Program) -> None:
        """Judge the call of a tool that no object runs: a schema of an answer, or a tool of its user."""
        tool = program.tools.get(call.name)
        if tool is None or not tool.is_declared:
            return
        self._hits.add(items.tool(program.label, call.name, "called").id)
        if isinstance(call.args, Mapping):
            acts = tool.arguments.of_call(call.args)
            self._hits |= {f"{program.label}/arguments/{call.name}.{path}.{act}" for path, act in acts}

    def _add_model(self, label: str, site: str, tools: tuple[str, ...], choice: object) -> frozenset[str]:
        """Add a model that is called with these tools; return those of them that are schemas of structured answers."""
        key = (label, site, tools, choice if choice is None or isinstance(choice, str) else True)
        if key not in self._models:
            schemas = frozenset(name for name in tools if items.answer(label, name, "given").id in self.inventory)
            model = Model(site, not is_forced(choice, tools), bool(set(tools) - schemas))
            for item in model.items(label):
                self.inventory.add(item)
            self._models[key] = schemas
        return self._models[key]

    def _judge_answers(self, names: Sequence[str], around: Run, program: Program, *, has_ended: bool) -> None:
        """Judge the calls of a model that stand for structured answers, by what the run around it made of them."""
        given = set(structured_types(around.output)) if has_ended else set()
        if around.name in program.nodes:  # a node of an agent says what it accepted; in a chain, a parser does
            told = "refused" if around.ended == "error" or not given else "given"
            self._hits |= {items.answer(program.label, name, told).id for name in names}
        self._hits |= {items.answer(program.label, name, "given").id for name in given}

    def _judge_parser(self, run: Run, message: Message, program: Program) -> None:
        """Judge a run that made something of what a model said."""
        if isinstance(run.output, Structured):
            self._hits.add(items.answer(program.label, run.output.type, "given").id)
        elif run.name == _OF_DICTS and run.output:  # what it makes of an answer has no class: it is that of the call
            self._hits |= {items.answer(program.label, call.name, "given").id for call in message.tool_calls}
        elif run.ended == "error":
            self._hits |= {items.answer(program.label, call.name, "refused").id for call in message.tool_calls}

    # -- graphs

    def _begin(self, program: Program, run: Run, around: Run | None, outer: _GraphRun | None) -> _GraphRun:
        thread_id = run.metadata.get("thread_id")
        key = (program.label, thread_id, around.name if around is not None else "") if thread_id else run.id
        thread = self._threads.setdefault(key, _Thread())
        given = run.input
        is_command = isinstance(given, Structured) and given.type == "Command"
        resume = given.fields.get("resume", True) if is_command else True if given is None else None
        answer = given.fields.get("resume") if is_command else outer.answer if outer is not None else None
        return _GraphRun(program, run, thread, resume, answer)

    def _end(self, graph: _GraphRun) -> None:
        for runs in graph.steps.values():
            for run in runs:
                self._judge_node(graph, run)
            self._judge_retries(graph.program, runs)
        self._judge_stops(graph)
        if graph.steps:
            first = min(graph.steps)
            before = {number: runs for number, runs in graph.thread.steps.items() if number < first}
            half = [run for run in graph.thread.steps.get(first, ()) if run.ended == "ended"]
            steps = {**before, **graph.steps, first: [*half, *graph.steps[first]]}
            graph.thread.steps = steps
            for found, certain in edges_of(graph.program, graph.run, first, steps, is_resumed=graph.is_resumed):
                if found.id in self._hits:
                    continue
                known = self.inventory.get(found.id)
                if certain:
                    self._hit(known or found)
                else:
                    self._maybe.add(found.id)

    def _judge_node(self, graph: _GraphRun, run: Run) -> None:
        program, thread = graph.program, graph.thread
        label, node = program.label, program.nodes.get(run.name)
        if node is None:
            return
        self._hits.add(items.node(label, run.name).id)
        if run.name in thread.paused and is_answered(thread.paused[run.name], graph.answer):
            ids = thread.paused.pop(run.name)
            asked = thread.asked.pop(run.name, [])
            if run.ended == "ended":  # it raises for a decision that is not allowed
                told = zip(asked, decisions(own_answer(ids, graph.answer)), strict=False)
                self._hits |= {f"{label}/interrupts/{tool}.{kind}" for tool, kind in told}
            self._hits.add(f"{label}/interrupts/{run.name}.resumed")
        if program.wraps and run.ended == "ended":
            self._judge_wraps(program, run)
        if node.is_hook and run.ended == "ended" and run.output:
            self._hits.add(f"{label}/middleware/{run.name}")
        if run.ended == "paused" and not any(pauses(child) for child in run.children):
            found = list(interrupts(run))
            thread.paused[run.name] = {str(one.get("id")) for one in found}
            if not program.decisions or not node.is_hook:
                subject = f"interrupt in `{run.name}`"
                self._hit(Item(label, "interrupts", f"{run.name}.raised", subject, "raised"))
                self.inventory.add(Item(label, "interrupts", f"{run.name}.resumed", subject, "resumed"))
            thread.asked[run.name] = [name for one in found for name in requested_tools(one.get("value"))]

    def _judge_wraps(self, program: Program, run: Run) -> None:
        """Judge the hooks around the calls of a node. Which of several it was cannot be told."""
        for method, (node, has_changed) in WRAPPED.items():
            hooks = [name for name in program.wraps if name.endswith(f".{method}")] if run.name == node else []
            tools = program.bound_tools if method == "wrap_model_call" else program.tools
            if hooks and has_changed(run, tools):
                for name in hooks:
                    item = wrapping_hook(program.label, name)
                    self.inventory.add(item)
                    (self._hits if len(hooks) == 1 else self._maybe).add(item.id)

    def _judge_retries(self, program: Program, runs: Sequence[Run]) -> None:
        tasks: dict[object, list[Run]] = {}
        for run in runs:
            tasks.setdefault(run.metadata.get("langgraph_checkpoint_ns") or run.id, []).append(run)
        for attempts in tasks.values():
            node = program.nodes.get(attempts[0].name)
            if node is not None and node.attempts > 1:
                name = f"{program.label}/retries/{node.name}"
                self._hits |= {f"{name}.used"} if len(attempts) > 1 and attempts[0].ended == "error" else set()
                failed = sum(run.ended == "error" for run in attempts)
                self._hits |= {f"{name}.exhausted"} if failed >= node.attempts else set()

    def _judge_stops(self, graph: _GraphRun) -> None:
        """Judge the interrupts before and after nodes that the graph was compiled with."""
        label, program, thread = graph.program.label, graph.program, graph.thread
        first = {run.name for run in graph.steps.get(min(graph.steps, default=0), ())}
        last = {run.name for run in graph.steps.get(max(graph.steps, default=0), ())}
        if graph.is_resumed and graph.steps:
            going_on = [f"before_{name}" for name in program.stops_before if name in first and thread.before]
            going_on += [f"after_{name}" for name in program.stops_after if f"after {name}" in thread.paused]
            self._hits |= {f"{label}/interrupts/{name}.{act}" for name in going_on for act in ("raised", "resumed")}
            thread.before = False
            for name in program.stops_after:
                thread.paused.pop(f"after {name}", None)
        statuses = {event.payload.get("status") for event in graph.run.events if event.kind == "on_interrupt"}
        if "interrupt_before" in statuses and program.stops_before:
            thread.before = True
            told = {f"{label}/interrupts/before_{name}.raised" for name in program.stops_before}
            if len(told) == 1:
                self._hits |= told
            else:  # which of them it was, the next run shows
                self._maybe |= told
        if "interrupt_after" in statuses:
            stopped = [name for name in program.stops_after if name in last]
            thread.paused |= {f"after {name}": set() for name in stopped}
            self._hits |= {f"{label}/interrupts/after_{name}.raised" for name in stopped}


def _step(run: Run, program: Program) -> int | None:
    """Return the step of a node, or of a task of the functional API; None for what runs inside it and inherits its metadata."""
    if run.metadata.get("langgraph_node") != run.name or (run.name not in program.nodes and run.name != START):
        return None
    step = step_of_node(run)
    path = run.metadata.get("langgraph_path") if step is None else None
    is_task = isinstance(path, list) and bool(path) and path[-1] is True
    return 0 if is_task else step
