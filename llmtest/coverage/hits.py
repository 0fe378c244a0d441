"""Hits: which items of its programs the runs of a recording show, exactly where they can, and *ambiguous* where they cannot.

Where a branch went is its output, because LangGraph makes a run of a branch function; where a `Command(goto=...)` went is in the
output of its node. A branch without a run of its own, as those of `create_agent`, is judged by what ran in the next step: if only
one node can have led there, that is where it went, else it is ambiguous for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from llmtest.coverage import items
from llmtest.coverage.items import Inventory, Item
from llmtest.coverage.programs import END, START, Component, Model, Program, acts_of, properties_of
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Run
from llmtest.events.words import Failure, FrozenDict, Message, Structured
from llmtest.order.siblings import step_of_node

_PUSH: Final = "__pregel_push"
_PULL: Final = "branch:to:"
_LENGTH: Final = frozenset(("length", "max_tokens", "model_length", "model_context_window_exceeded"))
_FILTER: Final = frozenset(("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii"))


def is_forced(choice: object, tools: Iterable[str]) -> bool:
    """True if `tool_choice` does not let a model answer with text."""
    return choice in ("any", "required") or isinstance(choice, Mapping) or (isinstance(choice, str) and choice in tools)


class Meeting(Protocol):
    """What is known of the objects of runs."""

    def program_of(self, run: Run) -> Program | None:
        """Return the program of a run; None if the run is only a part of one."""

    def component_of(self, run: Run) -> Component | None:
        """Return the part of a chain that ran."""

    def items_of(self, run: Run, program: str, site: str) -> Sequence[Item]:
        """Return the items of an object that ran within `program`, in the node `site`."""

    def mode_of(self, run: Run) -> str:
        """Return how a run without a parent was called; empty if that is not known."""


@dataclass
class _Thread:
    """What a graph did so far in one conversation: its checkpointer lets the next run go on where the last one stopped."""

    steps: dict[int, list[Run]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    before: bool = False


@dataclass
class _GraphRun:
    """One run of a graph."""

    program: Program
    run: Run
    thread: _Thread
    resume: object
    steps: dict[int, list[Run]] = field(default_factory=dict)

    @property
    def is_resumed(self) -> bool:
        return self.resume is not None


class Hits:
    """The items that the runs of one test show; the items of all programs that it meets go into `inventory`.

    Not for several threads at once.
    """

    def __init__(self, meeting: Meeting, inventory: Inventory) -> None:
        self._meeting = meeting
        self.inventory = inventory
        self._hits: set[str] = set()
        self._maybe: set[str] = set()
        self._programs: list[Program] = []
        self._threads: dict[object, _Thread] = {}
        self._asked: dict[object, list[str]] = {}  # by thread id: the tools that a person was asked about

    @property
    def hits(self) -> set[str]:
        """The ids of items that were hit for certain."""
        return {item_id for item_id in self._hits if item_id in self.inventory}

    @property
    def ambiguous(self) -> set[str]:
        """The ids of items of which it cannot be told."""
        return {item_id for item_id in self._maybe - self._hits if item_id in self.inventory}

    def add(self, roots: Iterable[Run]) -> None:
        """Judge runs without a parent, and all runs inside them, in the order in which they started."""
        for root in roots:
            self._visit(root, None, None, "", None)

    def _hit(self, item: Item) -> None:
        self.inventory.add(item)
        self._hits.add(item.id)

    # -- the walk

    def _visit(self, run: Run, around: Run | None, program: Program | None, site: str, graph: _GraphRun | None) -> None:
        own = self._meeting.program_of(run)
        if own is not None:
            program, site = own, ""
            self._add_program(own)
            if run.parent_id is None:
                self._judge_mode(own, run)
            graph = self._begin(own, run, around) if own.nodes else None
        if program is None:
            for child in run.children:
                self._visit(child, run, None, "", None)
            return
        if graph is not None and own is None and _is_node(run, graph.program):
            site = run.name
            graph.steps.setdefault(step_of_node(run) or 0, []).append(run)
        if own is None:
            for item in self._meeting.items_of(run, program.label, site):
                self.inventory.add(item)
        self._judge(run, around, program, site)
        for child in run.children:
            self._visit(child, run, program, site, graph)
        if own is not None and graph is not None:
            self._end(graph)

    def _add_program(self, program: Program) -> None:
        if program not in self._programs:
            self._programs.append(program)
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

    def _judge(self, run: Run, around: Run | None, program: Program, site: str) -> None:
        if run.kind == "tool":
            self._judge_tool(run, program)
        elif run.kind in MODELS:
            self._judge_model(run, around, program, site)
        elif isinstance(run.output, Structured):
            self._hits.add(items.answer(program.label, run.output.type, "given").id)
        component = self._meeting.component_of(run)
        if component is not None:
            self._hits |= {component.item_id(program.label, act) for act in _acts(component, run)}

    # -- tools

    def _judge_tool(self, run: Run, program: Program) -> None:
        tool, label = program.tools.get(run.name), program.label
        title = tool.title if tool is not None else run.name
        acts = ["called", *_tool_acts(run, title or run.name)]
        if "interrupted" in acts:
            self.inventory.add(items.tool(label, run.name, "interrupted", tool.place if tool is not None else ""))
        self._hits |= {items.tool(label, run.name, act).id for act in acts}
        if tool is None or "refused" in acts:
            return
        for name, schema in properties_of(tool.schema).items():
            told = ["given", *acts_of(schema, run.args[name])] if name in run.args else ["left out"]
            self._hits |= {items.argument(label, tool.name, name, act).id for act in told}

    # -- models

    def _judge_model(self, run: Run, around: Run | None, program: Program, site: str) -> None:
        offered = [name for name in run.start.payload.get("tools", ()) if not self._is_answer(program, name)]
        parameters = run.start.payload.get("invocation_params")
        choice = parameters.get("tool_choice") if isinstance(parameters, Mapping) else None
        has_text = not is_forced(choice, run.start.payload.get("tools", ()))
        for item in Model(site, has_text, bool(offered)).items(program.label):
            self.inventory.add(item)
        message = run.output
        calls = message.tool_calls if isinstance(message, Message) else ()
        answers = [call.name for call in calls if self._is_answer(program, call.name)]
        if around is not None:
            self._judge_answers(answers, around, program)
        acts = _outcomes(run, len(calls) - len(answers), bool(answers))
        self._hits |= {items.outcome(program.label, site, act).id for act in acts}

    def _is_answer(self, program: Program, name: str) -> bool:
        return items.answer(program.label, name, "given").id in self.inventory

    def _judge_answers(self, names: Sequence[str], around: Run, program: Program) -> None:
        """Judge the calls of a model that stand for structured answers, by what the run around it made of them."""
        given = set(_structured_types(around.output))
        for name in names:
            # A node of an agent says what it accepted; a chain raises where its parser does.
            refused = around.ended == "error" or (around.name in program.nodes and not given)
            self._hits.add(items.answer(program.label, name, "refused" if refused else "given").id)
        self._hits |= {items.answer(program.label, name, "given").id for name in given}

    # -- graphs

    def _begin(self, program: Program, run: Run, around: Run | None) -> _GraphRun:
        thread_id = run.metadata.get("thread_id")
        key = (program.label, thread_id, around.name if around is not None else "") if thread_id else run.id
        thread = self._threads.setdefault(key, _Thread())
        given = run.input
        is_command = isinstance(given, Structured) and given.type == "Command"
        resume = given.fields.get("resume", True) if is_command else True if given is None else None
        if thread_id and is_command:
            self._judge_decisions(program, self._asked.pop(thread_id, []), resume)
        return _GraphRun(program, run, thread, resume)

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
            for found, certain in _edges(graph, first, steps):
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
        if graph.is_resumed and run.name in thread.paused:
            thread.paused.discard(run.name)
            self._hits.add(f"{label}/interrupts/{run.name}.resumed")
        if node.is_hook and run.ended == "ended" and run.output:
            self._hits.add(f"{label}/middleware/{run.name}")
        if run.ended == "paused" and not any(_pauses(child) for child in run.children):
            thread.paused.add(run.name)
            if not program.decisions or not node.is_hook:
                subject = f"interrupt in `{run.name}`"
                self._hit(Item(label, "interrupts", f"{run.name}.raised", subject, "raised"))
                self.inventory.add(Item(label, "interrupts", f"{run.name}.resumed", subject, "resumed"))
            asked = [name for value in _interrupts(run) for name in _requests(value)]
            self._asked[run.metadata.get("thread_id")] = asked

    def _judge_decisions(self, program: Program, asked: Sequence[str], resume: object) -> None:
        for name, kind in zip(asked, _decisions(resume), strict=False):
            self._hits.add(f"{program.label}/interrupts/{name}.{kind}")
            # A graph around the agent gets the decision; the agent itself is resumed inside.
            self._hits |= {f"{one.label}/interrupts/{name}.{kind}" for one in self._programs if one.decisions}

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
            thread.paused -= {f"after {name}" for name in program.stops_after}
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
            thread.paused |= {f"after {name}" for name in stopped}
            self._hits |= {f"{label}/interrupts/after_{name}.raised" for name in stopped}


def _is_node(run: Run, program: Program) -> bool:
    """True for the run of a node, or of a task of the functional API; not for what runs inside it and inherits its metadata."""
    if run.metadata.get("langgraph_node") != run.name or (run.name not in program.nodes and run.name != START):
        return False
    path = run.metadata.get("langgraph_path")
    is_task = isinstance(path, list) and bool(path) and path[-1] is True
    return is_task or any(tag.startswith("graph:step:") for tag in run.tags)


# -- tools


def _tool_acts(run: Run, title: str) -> list[str]:
    if run.ended == "paused":
        return ["interrupted"]
    if run.ended == "ended":
        failed = isinstance(run.output, Message) and run.output.status == "error"
        return ["raised" if failed else "answered"]
    error = run.error
    if error is None:
        return []
    return ["refused" if _is_refusal(error, title) else "raised"]


def _is_refusal(error: Failure, title: str) -> bool:
    """True for an error of the schema of the tool: pydantic names the model that refused."""
    first = error.message.partition("\n")[0]
    return error.type == "ValidationError" and first.partition(" for ")[2] in (title, "")


# -- models


def _outcomes(run: Run, calls: int, has_answer: bool) -> Iterator[str]:
    if run.error is not None:
        yield "error"
    if run.ended != "ended":
        return
    message = run.output
    text = message.text if isinstance(message, Message) else str(message or "")
    reason = _reason(run)
    if reason in _LENGTH:
        yield "length"
    elif reason in _FILTER:
        yield "content_filter"
    elif reason == "refusal" or (isinstance(message, Message) and _refuses(message)):
        yield "refusal"
    elif calls:
        yield "tool_call" if calls == 1 else "several_calls"
    elif not has_answer:
        yield "text" if text.strip() else "empty"


def _reason(run: Run) -> str:
    message = run.output
    told: Mapping[str, Any] = message.response_metadata if isinstance(message, Message) else {}
    generations = run.end.payload.get("generations") if run.end is not None else None
    info = generations[0].info if generations else {}
    for about in (told, info):
        found = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
        if found:
            return str(found).lower()
    incomplete = told.get("incomplete_details")
    reason = str(incomplete.get("reason", "")) if isinstance(incomplete, Mapping) else ""
    return "length" if reason == "max_output_tokens" else reason


def _refuses(message: Message) -> bool:
    blocks = message.content if isinstance(message.content, list) else []
    in_blocks = any(isinstance(block, Mapping) and block.get("type") in ("refusal",) for block in blocks)
    return bool(message.additional_kwargs.get("refusal")) or in_blocks


def _structured_types(output: object) -> Iterator[str]:
    """Yield the classes of the structured responses that a node or a chain gives."""
    if isinstance(output, Structured) and output.type == "Command":
        yield from _structured_types(output.fields.get("update"))
    elif isinstance(output, Structured):
        yield output.type
    elif isinstance(output, list):
        for part in output:
            yield from _structured_types(part)
    elif isinstance(output, dict) and output.get("structured_response") is not None:
        response = output["structured_response"]
        yield response.type if isinstance(response, Structured) else "answer"


# -- components


def _acts(component: Component, run: Run) -> Iterator[str]:
    if component.kind == "fallbacks":
        yield from (str(number) for number in range(1, len(run.children)))
        if run.ended == "error" and len(run.children) >= component.attempts:
            yield "exhausted"
    elif component.kind == "retries":
        attempts = max((_number(child, "retry:attempt:") for child in run.children), default=1)
        if attempts > 1:
            yield "used"
        if run.ended == "error" and attempts >= component.attempts:
            yield "exhausted"
    elif component.kind == "branches":
        yield from (tag.removeprefix("branch:") for child in run.children for tag in child.tags if tag.startswith("branch:"))
    elif component.kind == "retrievers" and run.kind == "retriever":
        yield "raised" if run.error is not None else "found" if run.output else "empty"
    elif component.kind == "prompts" and run.ended == "ended":
        yield ""


def _number(run: Run, prefix: str) -> int:
    return max((int(tag.removeprefix(prefix)) for tag in run.tags if tag.startswith(prefix)), default=1)


# -- interrupts


def _pauses(run: Run) -> bool:
    """True if the interrupt of a run came from inside it: from a node, or a tool."""
    return run.ended == "paused" and (
        run.kind == "tool" or any(tag.startswith("graph:step:") for tag in run.tags) or any(map(_pauses, run.children))
    )


def _interrupts(run: Run) -> Iterator[Any]:
    error = run.end.payload.get("error") if run.end is not None else None
    left = [error.payload] if isinstance(error, Failure) else []
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, Structured):
            yield part.fields.get("value")


def _requests(value: object) -> list[str]:
    """Return the names of the tools that a person is asked about, as the middleware of LangChain asks."""
    requests = value.get("action_requests") if isinstance(value, FrozenDict) else None
    return [str(one.get("name")) for one in requests or () if isinstance(one, Mapping)]


def _decisions(resume: object) -> list[str]:
    if not isinstance(resume, Mapping):
        return []
    if "decisions" in resume:
        return [str(one.get("type")) for one in resume["decisions"] if isinstance(one, Mapping)]
    return [kind for value in resume.values() for kind in _decisions(value)]  # by the ids of interrupts


# -- edges


@dataclass
class _Arrivals:
    """The nodes that ran in a step, by how they were led there."""

    pulled: set[str]
    pushed: Counter[str]
    joined: set[str]


def _arrivals(runs: Sequence[Run]) -> _Arrivals:
    tasks = {run.metadata.get("langgraph_checkpoint_ns") or run.id: run for run in runs}
    found = _Arrivals(set(), Counter(), set())
    for run in tasks.values():
        for trigger in run.metadata.get("langgraph_triggers") or ():
            if trigger == _PUSH:
                found.pushed[run.name] += 1
            elif str(trigger).startswith("join:"):
                found.joined.add(str(trigger))
            elif trigger == f"{_PULL}{run.name}":
                found.pulled.add(run.name)
    return found


def _edges(graph: _GraphRun, first: int, steps: Mapping[int, Sequence[Run]]) -> Iterator[tuple[Item, bool]]:
    """Yield the edges that were taken to or from the steps of a graph's run, and whether that is certain."""
    program, numbers = graph.program, sorted(steps)
    arrivals = {number: _arrivals(steps[number]) for number in numbers}
    finished = graph.run.ended == "ended"
    for number in [first - 1, *(number for number in numbers if number >= first)]:
        done = [run for run in steps.get(number, ()) if run.ended in ("ended", "handed off")]
        if number == first - 1 and not graph.is_resumed and START not in {run.name for run in steps[first]}:
            sources = {START}
        else:
            sources = {run.name for run in done if run.ended == "ended"}
        later = [one for one in numbers if one > number]
        following = arrivals[later[0]] if later and later[0] == number + 1 else _Arrivals(set(), Counter(), set())
        is_last = not later
        waiting = {name for one in later for name in arrivals[one].pulled if name in program.nodes and program.nodes[name].waits}
        step = _Step(program, sources, following, waiting, finished if is_last else True)
        yield from step.edges(done, handed_off=graph.run.ended != "handed off")
        for failed in {run.name for run in steps.get(number, ()) if run.ended == "error"}:
            handler = program.nodes[failed].on_error if failed in program.nodes else ""
            if handler and any(run.name == handler for one in numbers if one >= number for run in steps[one]):
                yield items.edge(program.label, failed, handler), True
    for joined in set().union(*(arrivals[number].joined for number in numbers if number >= first)):
        for sources_of, target in program.waiting:
            if joined == f"join:{'+'.join(sources_of)}:{target}":
                yield from ((items.edge(program.label, source, target), True) for source in sources_of)


@dataclass
class _Step:
    """The nodes that ended in one step, and what ran after it. `goes_on`: the graph went on, or came to its end."""

    program: Program
    sources: set[str]
    following: _Arrivals
    waiting: set[str]
    goes_on: bool

    def edges(self, done: Sequence[Run], *, handed_off: bool) -> Iterator[tuple[Item, bool]]:
        known: set[str] = set()
        pushes: Counter[str] = Counter()
        for source, target in sorted(self.program.edges):
            if source in self.sources and self._leads_to(target):
                known.add(target)
                yield self._edge(source, target), True
        for run in done:
            for target, is_send in self._told_by(run, handed_off):
                (pushes.update if is_send else known.update)([target])
                yield self._edge(run.name, target), True
        yield from self._deduced(known, pushes)

    def _edge(self, source: str, target: str) -> Item:
        return items.edge(self.program.label, source, target, unknown="it was taken, and is not declared")

    def _leads_to(self, target: str) -> bool:
        return self.goes_on if target == END else target in self.following.pulled or target in self.waiting

    def _told_by(self, run: Run, handed_off: bool) -> Iterator[tuple[str, bool]]:
        """Yield where a node went by its own account, and whether by a `Send`: by branches that are runs, and by commands."""
        for branch in self.program.branches.get(run.name, ()) if run.ended == "ended" else ():
            for child in run.children:
                if child.name == branch.run_name and child.ended == "ended":
                    yield from _targets(child.output, branch.ends)
        if run.ended == "ended":
            yield from _gotos(run.output)
        elif handed_off and run.end is not None:
            yield from _gotos(getattr(run.end.payload.get("error"), "payload", None), to_parent=True)

    def _deduced(self, known: set[str], pushes: Counter[str]) -> Iterator[tuple[Item, bool]]:
        """Yield where branches went that are no runs."""
        ends: dict[str, set[str]] = {}
        for source in sorted(self.sources):
            for branch in self.program.branches.get(source, ()):
                if branch.run_name is None and branch.ends is not None:
                    ends.setdefault(source, set()).update(branch.ends.values())
        for source, targets in ends.items():
            arrived = {target for target in targets if target != END and self._arrived(target)}
            certain = {target for target in arrived if not self._is_explained(target, known, pushes)}
            for target in sorted(arrived):
                alone = sum(target in others for others in ends.values()) == 1
                yield self._edge(source, target), alone and target in certain
            if END in targets and self.goes_on and not certain:
                yield self._edge(source, END), not arrived

    def _arrived(self, target: str) -> bool:
        return target in self.following.pulled or self.following.pushed[target] > 0

    def _is_explained(self, target: str, known: set[str], pushes: Counter[str]) -> bool:
        pulled = target in self.following.pulled and target not in known
        return not pulled and self.following.pushed[target] <= pushes[target]


def _targets(output: object, ends: Mapping[str, str] | None) -> Iterator[tuple[str, bool]]:
    for one in output if isinstance(output, list) else [output]:
        if isinstance(one, Structured) and one.type == "Send":
            yield str(one.fields.get("node")), True
        elif ends is None or str(one) in ends:
            yield str(one) if ends is None else ends[str(one)], False


def _gotos(output: object, *, to_parent: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield where the commands in the output of a node lead."""
    if isinstance(output, list):
        for part in output:
            yield from _gotos(part, to_parent=to_parent)
    elif isinstance(output, Structured) and output.type == "Command":
        if to_parent or not output.fields.get("graph"):
            goto = output.fields.get("goto")
            yield from _targets(goto, None) if goto else ()
