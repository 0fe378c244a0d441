"""Objects of LangChain and LangGraph -> `llmtest.coverage.programs`: what a program is made of, read and never run.

A graph is read from `compiled.builder`. Its drawing, `get_graph()`, is wrong for this: it makes a fan-out by `Send` an edge to
the end. What a function of the program uses is found as LangGraph finds its subgraphs: among its closure and its globals.
LangGraph's objects are told by the names of their classes, because it need not be installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.prompts import BasePromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    RouterRunnable,
    Runnable,
    RunnableBinding,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.retry import RunnableRetry
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from llmtest.core.source import FRAMEWORK, code
from llmtest.coverage import items
from llmtest.coverage.items import Item
from llmtest.coverage.outcomes import is_forced
from llmtest.coverage.programs import START, Branch, Component, Decision, Model, Node, Program, Tool
from llmtest.langchain.bound_tools import named_tools
from llmtest.langchain.used_objects import (
    WRAPS,
    Remembered,
    cells_of,
    functions_of,
    is_graph,
    is_middleware,
    middleware_in,
    package_of,
    place_of,
    used_by,
)

_MAX_DEPTH: Final = 4
"""How far functions that call functions are followed, within one package."""
_HOOKS: Final = frozenset(("before_agent", "before_model", "after_model", "after_agent"))
_UNNAMED: Final = ("RunnableSequence", "RunnableParallel", "RunnableBranch", "RunnableWithFallbacks", "RunnableRetry", "Runnable")


def is_program(item: object) -> bool:
    """True for what counts as a program of its own when it is called: not for a bare model, tool, retriever or prompt."""
    parts = (BaseLanguageModel, BaseTool, BaseRetriever, BasePromptTemplate)
    return is_graph(item) or (isinstance(item, Runnable) and not isinstance(item, parts) and not _is_internal(item))


def has_items(item: object) -> bool:
    """True for what can do something in a program that the lists of that program need not have.

    The tools of a model that runs are in its call, and what LangGraph runs by itself is in the graph.
    """
    return isinstance(item, Runnable) and not (is_graph(item) or _is_internal(item) or isinstance(item, BaseLanguageModel))


def _is_internal(item: object) -> bool:
    """True for parsers, and for what LangGraph runs by itself: `update_state` runs a sequence of the writers of a node."""
    if isinstance(item, RunnableSequence):
        return all(type(step).__module__.startswith("langgraph.") for step in item.steps)
    return type(item).__module__.startswith(("langgraph.", "langchain_core.output_parsers"))


class Reader:
    """Reads programs, each object once while it lives. Not for several threads at once."""

    def __init__(self) -> None:
        self._once = Remembered()

    def program(self, item: object, name: str = "") -> Program:
        """Return the program of a runnable. `name` is that of its run, which a chain is called by."""
        while isinstance(item, RunnableBinding) and not isinstance(item, RunnableRetry):
            name, item = name or str(item.config.get("run_name") or ""), item.bound
        if is_graph(item):
            name = ""
        program: Program = self._once(item, ("program", name), partial(self._read_program, item, name))
        return program

    def inside(self, item: object) -> Iterator[Program]:
        """Yield the program of `item`, and those of the graphs that it calls."""
        seen: set[int] = set()
        left = [item]
        while left:
            here = left.pop()
            if id(here) not in seen:
                seen.add(id(here))
                yield self.program(here)
                left += subgraphs(here)

    def parts(self, item: object) -> Sequence[Program]:
        """Return the programs of the graphs that `item` calls."""
        found: Sequence[Program] = self._once(item, ("parts",), lambda: tuple(self.inside(item))[1:])
        return found

    def component(self, item: object, program: str) -> Component | None:
        """Return what a run of `item` says about a part of a chain of this program; None if it is no such part."""
        found: Component | None = self._once(item, ("component", program), partial(component_of, item))
        return found

    def _walked(self, program: Program, walk: Callable[[_Walk], None]) -> Program:
        """Return the program with all that a walk adds. Its parts of one name have numbers, which their runs must know."""
        found = _Walk(program)
        walk(found)
        for part, component in found.components:
            self._once(part, ("component", program.label), partial(_known, component))
        return program

    def _read_program(self, item: object, name: str) -> Program:
        if is_graph(item):
            return self._walked(Program(_label_of_graph(item), modes=items.MODES), lambda walk: walk.graph(item))
        has_v3 = isinstance(item, BaseChatModel)
        program = Program(_label_of_chain(item, name), modes=items.MODES if has_v3 else items.MODES[:-1])
        return self._walked(program, lambda walk: walk.item(item, ""))

    def _read_items(self, item: object, label: str, site: str) -> Sequence[Item]:
        return tuple(self._walked(Program(label), lambda walk: walk.item(item, site)).items())

    def items_of(self, item: object, program: str, site: str) -> Sequence[Item]:
        """Return the items of an object that was met inside a program, in the node `site`."""
        found: Sequence[Item] = self._once(item, ("items", program, site), partial(self._read_items, item, program, site))
        return found


def _label_of_graph(graph: Any) -> str:
    if graph.name and graph.name != "LangGraph":
        return str(graph.name)
    nodes = [name for name in graph.nodes if name != START]
    builder = getattr(graph, "builder", None)
    tools = [name for node in builder.nodes.values() for name in _tools_of_node(node.runnable)] if builder is not None else []
    if builder is None:
        return nodes[0] if len(nodes) == 1 else f"graph({', '.join(nodes)})"
    return f"graph({', '.join(nodes)})" if not tools else f"agent({', '.join(tools)})"


def _tools_of_node(runnable: object) -> Mapping[str, BaseTool]:
    found = getattr(runnable, "tools_by_name", None)
    return found if isinstance(found, Mapping) else {}


def _label_of_chain(item: object, name: str) -> str:
    if name and not name.startswith(_UNNAMED):
        return name
    steps = item.steps if isinstance(item, RunnableSequence) else [item]
    return "|".join(_name(step) for step in steps)


def _name(item: Any) -> str:
    while isinstance(item, RunnableBinding) and not isinstance(item, RunnableRetry):
        if item.config.get("run_name"):
            return str(item.config["run_name"])
        item = item.bound
    model = getattr(item, "model_name", None) or getattr(item, "model", None) if isinstance(item, BaseLanguageModel) else None
    return (
        model if isinstance(model, str) and model else str(item.get_name()) if isinstance(item, Runnable) else type(item).__name__
    )


def _known(component: Component) -> Component:
    return component


def subgraphs(item: object) -> list[object]:
    """Return the graphs that a graph or a chain calls itself, as far as its functions name them."""
    walk = _Walk(Program(""))
    walk.graph(item) if is_graph(item) else walk.item(item, "")
    return [graph for graph in walk.graphs if graph is not item]


class _Walk:
    """One walk over the parts of a program, which it adds to it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._seen: set[tuple[int, str]] = set()
        self.graphs: list[object] = []
        self.components: list[tuple[object, Component]] = []
        """The parts of chains, each object once."""
        self._numbers: dict[tuple[str, str], int] = {}
        self.interrupts = False
        """True if a function that was walked over calls `interrupt`."""

    # -- graphs

    def graph(self, graph: Any) -> None:
        program = self._program
        builder = getattr(graph, "builder", None)
        if builder is None:
            self._functional(graph)
            return
        for name, spec in builder.nodes.items():
            program.nodes[name] = self._node(name, spec)
        program.edges = {(str(a), str(b)) for a, b in builder.edges}
        program.waiting = {(tuple(sources), target) for sources, target in builder.waiting_edges}
        for source, branches in builder.branches.items():
            program.branches[source] = [_branch(source, name, spec) for name, spec in branches.items()]
        every = tuple(name for name in builder.nodes)
        program.stops_before, program.stops_after = (
            every if stops == "*" else tuple(stops or ()) for stops in (graph.interrupt_before_nodes, graph.interrupt_after_nodes)
        )

    def _node(self, name: str, spec: Any) -> Node:
        functions = functions_of(spec.runnable)
        self.interrupts = False
        is_hook = self._hook(name, functions)
        if not is_hook:
            self._agent(functions, name)
            self.item(spec.runnable, name)
        place = next(filter(None, map(place_of, functions)), "")
        ends = tuple(spec.ends.values()) if isinstance(spec.ends, Mapping) else tuple(spec.ends or ())
        interrupts, attempts = self.interrupts and not _tools_of_node(spec.runnable), _attempts(spec.retry_policy)
        return Node(
            name, place, ends, attempts, interrupts, is_hook, getattr(spec, "error_handler_node", None) or "", bool(spec.defer)
        )

    def _functional(self, graph: Any) -> None:
        for name, node in graph.nodes.items():
            self.interrupts = False
            self.item(node.bound, name)
            place = next(filter(None, map(place_of, functions_of(node.bound))), "")
            self._program.nodes[name] = Node(name, place, (), _attempts(node.retry_policy), self.interrupts)

    def _task(self, task: Any) -> None:
        name = task.__name__
        if name not in self._program.nodes:
            self._program.nodes[name] = Node(name, place_of(task.func), (), _attempts(task.retry_policy))
            self.function(task.func, name)

    # -- agents

    def _hook(self, name: str, functions: Iterable[Callable[..., object]]) -> bool:
        """Take a node that is a hook of middleware; return False for any other."""
        owners = [function.__self__ for function in functions if isinstance(function, MethodType)]
        found = [owner for owner in owners if is_middleware(owner)]
        if not found or name.rpartition(".")[2] not in _HOOKS:
            return False
        configs = getattr(found[0], "interrupt_on", None)
        if isinstance(configs, Mapping) and not self._program.decisions:
            self._program.decisions = [
                Decision(tool, tuple(config["allowed_decisions"])) for tool, config in configs.items() if isinstance(config, dict)
            ]
        return True

    def _agent(self, functions: Iterable[Callable[..., object]], site: str) -> None:
        """Take what `create_agent` keeps in the closures of its functions: the model, schemas of answers, hooks that wrap."""
        for function in functions:
            if not (getattr(function, "__module__", "") or "").startswith("langchain.agents"):
                continue
            cells: dict[str, Any] = dict(cells_of(function))
            answers = cells.get("structured_output_tools") or {}
            given = getattr(cells.get("initial_response_format"), "schema_spec", None)  # of a provider's own strategy
            self._program.answers |= {str(name): tool_of(binding.tool).schema for name, binding in dict(answers).items()}
            self._program.answers |= {str(given.name): given.json_schema} if given is not None else {}
            # Where LangChain keeps it otherwise, the model is known when it runs.
            if "default_tools" in cells and isinstance(cells.get("model"), Runnable):  # pragma: no branch
                self._model(site, has_text=not answers, has_tools=bool(cells["default_tools"]))
                self._program.bound_tools = tuple(one.name for one in cells["default_tools"] if isinstance(one, BaseTool))
                if not isinstance(cells["model"], BaseLanguageModel):
                    self.item(cells["model"], site)
            self._wraps(function)

    def _wraps(self, function: object) -> None:
        for owner, method in middleware_in(function):
            name = f"{getattr(owner, 'name', type(owner).__name__)}.{WRAPS[method]}"
            if name not in self._program.wraps:
                self._program.wraps.append(name)

    # -- anything

    def item(self, item: Any, site: str, depth: int = 0) -> None:
        """Add what `item` can do. `site` is the node around it."""
        if (id(item), site) in self._seen:
            return
        self._seen.add((id(item), site))
        if is_graph(item):
            self.graphs.append(item)
        elif isinstance(item, BaseTool):
            self._tool(item)
        elif isinstance(item, BaseLanguageModel):
            self._model(site, has_text=True, has_tools=False)
        elif isinstance(item, Runnable):
            self._component(item)
            self._parts(item, site, depth)
        elif type(item).__name__ == "_TaskFunction":
            self._task(item)
        else:
            self.function(item, site, depth)

    def _component(self, item: object) -> None:
        component = component_of(item)
        if component is None or any(item is part for part, _ in self.components):
            return
        name = (component.kind, component.label)
        number = 1 + self._numbers.get(name, 0)
        self._numbers[name] = number
        self.components.append((item, component.numbered(number)))
        self._program.components.append(self.components[-1][1])

    def _parts(self, item: Any, site: str, depth: int) -> None:
        if isinstance(item, RunnableBinding) and not isinstance(item, RunnableRetry):
            if isinstance(item.bound, BaseLanguageModel):
                self._bound_model(item, site)
                return
            self.item(item.bound, site, depth)
        for tool in _tools_of_node(item).values():
            self._tool(tool)
        if _tools_of_node(item):
            for wrap in (getattr(item, "_wrap_tool_call", None), getattr(item, "_awrap_tool_call", None)):
                self._wraps(wrap)
            return
        for part in _parts_of(item):
            self.item(part, site, depth)
        for function in functions_of(item):
            self.function(function, site, depth)

    def _model(self, site: str, *, has_text: bool, has_tools: bool) -> None:
        model = Model(site, has_text, has_tools)
        if model not in self._program.models:
            self._program.models.append(model)

    def function(self, function: Any, site: str, depth: int = 0) -> None:
        """Add what a function of the program uses."""
        function = inspect.unwrap(function)
        if depth > _MAX_DEPTH or package_of(function) in FRAMEWORK:  # of a node of an agent, which is read in another way
            return
        used = used_by(function)
        words = set(getattr(code(function), "co_names", ()))
        if {"bind_tools", "with_structured_output"} & words:
            # Which tools are bound, and which schema, is known for certain when the function runs.
            has_tools = "bind_tools" in words
            models = [found for found in used if isinstance(found, BaseLanguageModel)]
            if models:
                self._model(site, has_text=has_tools, has_tools=has_tools)
            used = [found for found in used if found not in models]
        for found in used:
            if getattr(found, "__module__", "") == "langgraph.types" and getattr(found, "__name__", "") == "interrupt":
                self.interrupts = True
            elif not isinstance(found, FunctionType) or package_of(found) == package_of(function):
                self.item(found, site, depth + 1)

    def _tool(self, tool: BaseTool) -> None:
        known = self._program.tools.get(tool.name)
        if known is None or known.is_declared:
            self._program.tools[tool.name] = tool_of(tool)

    def _bound_model(self, binding: Any, site: str) -> None:
        kwargs = binding.kwargs
        schema = (kwargs.get("ls_structured_output_format") or {}).get("schema")
        if schema:
            function = convert_to_openai_tool(schema)["function"]
            self._program.answers.setdefault(_schema_name(schema), function.get("parameters") or {})
            self._model(site, has_text=False, has_tools=False)
            return
        specs = dict(named_tools(kwargs.get("tools")))
        self._model(site, has_text=not is_forced(kwargs.get("tool_choice"), specs), has_tools=bool(specs))
        for name, spec in specs.items():
            schema = _mapping(spec.get("parameters") or spec.get("input_schema"))
            self._program.tools.setdefault(name, Tool(name, schema, is_declared=True))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _schema_name(schema: Any) -> str:
    if isinstance(schema, Mapping):
        inner = _mapping(schema.get("function")) or schema
        return str(inner.get("title") or inner.get("name") or "answer")
    return str(getattr(schema, "__name__", "answer"))


_tools: Final = Remembered()  # the schema of a tool takes longer than all the rest, and many agents have the same


def tool_of(tool: BaseTool) -> Tool:
    """Return a tool in plain words."""
    found: Tool = _tools(tool, (), partial(_read_tool, tool))
    return found


def _read_tool(tool: BaseTool) -> Tool:
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or type(tool)._run
    schema: Mapping[str, Any] = convert_to_openai_tool(tool)["function"].get("parameters") or {}
    own = tool.args_schema
    title = str(own.get("title", tool.name)) if isinstance(own, Mapping) else getattr(own, "__name__", tool.name)
    walk = _Walk(Program(""))
    walk.function(function, "")
    is_checked = not isinstance(own, Mapping)
    return Tool(tool.name, schema, title, place_of(function), walk.interrupts, _handled(tool), is_checked)


def _handled(tool: BaseTool) -> dict[str, str | None]:
    """Return the errors that a tool answers with itself, as `Tool.handles` has them."""
    flags = {"refused": (tool.handle_validation_error, _REFUSED), "raised": (tool.handle_tool_error, None)}
    texts = {act: known if flag is True else flag for act, (flag, known) in flags.items() if flag}
    return {act: text if isinstance(text, str) else None for act, text in texts.items()}


_REFUSED: Final = "Tool input validation error"
"""What LangChain answers for a tool with `handle_validation_error=True`."""


def component_of(item: object) -> Component | None:
    """Return the part of a chain that `item` is, if it has alternatives."""
    if isinstance(item, RunnableWithFallbacks):
        names = [_name(runnable) for runnable in item.runnables]
        acts = {f"{n}": (f"fallback {n} of `{names[0]}`, `{name}`,", "used") for n, name in enumerate(names) if n}
        acts["exhausted"] = (f"fallbacks of `{names[0]}`", "exhausted")
        return Component("fallbacks", names[0], acts, len(names))
    if isinstance(item, RunnableRetry):
        name, subject = _name(item.bound), f"retry of `{_name(item.bound)}`"
        acts = {"used": (subject, "used"), "exhausted": (subject, "exhausted")} if item.max_attempt_number > 1 else {}
        return Component("retries", name, acts, attempts=item.max_attempt_number)
    if isinstance(item, RunnableBranch):
        conditions = [_name(condition) for condition, _ in item.branches]
        acts = {f"{number}": (f"branch {number}, `{name}`,", "taken") for number, name in enumerate(conditions, 1)}
        label = "|".join(conditions)
        return Component("branches", label, acts | {"default": (f"the default branch after `{label}`", "taken")})
    if isinstance(item, RouterRunnable):
        acts = {key: (f"route `{key}`", "taken") for key in item.runnables}
        return Component("branches", "router", acts, unknown="LangChain makes no run of a router, and none was seen to take it")
    if isinstance(item, BaseRetriever):
        name = str(item.get_name())
        subject = f"retriever `{name}`"
        acts = {"found": (subject, "found documents"), "empty": (subject, "found nothing"), "raised": (subject, "raised")}
        return Component("retrievers", name, acts)
    if isinstance(item, BasePromptTemplate):
        name = f"{item.get_name()}({', '.join(sorted(item.input_variables))})"
        return Component("prompts", name, {"": (f"prompt `{name}`", "formatted")})
    return None


# -- reading objects


def _parts_of(item: Any) -> Sequence[object]:
    if isinstance(item, RunnableSequence):
        return list(item.steps)
    if isinstance(item, RunnableParallel):
        return list(item.steps__.values())
    if isinstance(item, RunnableWithFallbacks):
        return list(item.runnables)
    if isinstance(item, RunnableRetry):
        return [item.bound]
    if isinstance(item, RunnableBranch):
        return [part for pair in item.branches for part in pair] + [item.default]
    if isinstance(item, RouterRunnable):
        return list(item.runnables.values())
    if isinstance(item, RunnableLambda):
        return []
    steps = getattr(item, "steps", None)  # of LangGraph's own sequences
    mapper = getattr(item, "mapper", None)  # of RunnablePassthrough.assign
    return [*(steps if isinstance(steps, list) else []), *([mapper] if isinstance(mapper, Runnable) else [])]


def _attempts(policy: Any) -> int:
    policies = policy if isinstance(policy, list | tuple) and not hasattr(policy, "max_attempts") else [policy]
    return max((one.max_attempts for one in policies if one is not None), default=1)


def _branch(source: str, name: str, spec: Any) -> Branch:
    ends = None if spec.ends is None else {str(key): str(target) for key, target in spec.ends.items()}
    has_run = getattr(spec.path, "trace", True)
    place = next(filter(None, map(place_of, functions_of(spec.path))), "")
    return Branch(source, name, ends, spec.path.get_name() if has_run else None, place)
