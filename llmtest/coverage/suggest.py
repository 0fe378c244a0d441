"""From what is missing to a test: a skeleton for each missing item, with the script that leads there.

A script can decide what a model answers, so tools, their arguments, outcomes and structured answers are scripted in full. What a
script cannot decide is a `TODO` with the question that the author of the program can answer.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pprint import pformat
from typing import Any, Final

from llmtest.coverage.arguments import Arguments
from llmtest.coverage.items import Item
from llmtest.coverage.programs import END, START, Program, Tool
from llmtest.coverage.report import Row
from llmtest.errors import InventError

_NO_INPUT: Final = '{"messages": [("user", "TODO: what does a user say?")]}'


@dataclass(frozen=True)
class Entry:
    """How a test gets a program: the import, and the expression that makes it. `parameter` is that of its model, if it has one.

    `inputs` is the JSON schema of its input; empty if that is messages, or not known.
    """

    module: str
    name: str
    is_factory: bool = False
    parameter: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    has_memory: bool = False
    """True if it has a checkpointer, so that a call needs the id of a conversation."""
    is_part: bool = False
    """True for a graph that the program calls: whether a call of the program comes to it is not known."""


@dataclass
class _Draft:
    """A test in the making: the steps of its script, and its questions."""

    steps: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    mode: str = "invoke"
    resume: str = ""
    may_fail: bool = False
    """True if the program fails there, unless it handles that."""


def suggest(rows: Iterable[Row], programs: Mapping[str, Program], entries: Mapping[str, Entry]) -> str:
    """Return a module of tests, one for each missing item. `programs` and `entries` are by label; both may lack some.

    The tests run. Those with a question are skipped until it is answered.
    """
    missed = [row for row in rows if row.state == "missed"]
    names: dict[str, int] = {}
    tests = [_test(row, programs.get(row.item.program), entries.get(row.item.program), names) for row in missed]
    modules = sorted({(entry.module, entry.name) for entry in entries.values()})
    body = "\n\n\n".join(tests)
    words = [word for word in ("call", "fail", "reply", "say", "structured") if re.search(rf"\b{word}\(", body)]
    model = ["ScriptedChatModel"] if "ScriptedChatModel(" in body else []
    head = ['"""What no test has seen yet. Written by `llmtest cov suggest`: answer each TODO, and delete it."""', ""]
    imports = [f"import {name}" for name in ("asyncio", "contextlib") if f"{name}." in body]
    head += [*imports, ""] if imports else []
    head += ["import pytest"] if "pytest." in body else []
    head += ["from langgraph.types import Command"] if "Command(" in body else []
    head += [""] if head[-1] != "" else []
    head += [f"from llmtest import {', '.join([*model, *words])}"] if model or words else []
    head += [f"from {module} import {name}" for module, name in modules]
    return "\n".join(head).rstrip() + "\n\n\n" + body + "\n" if missed else "\n".join(head[:1]) + "\n"


def _test(row: Row, program: Program | None, entry: Entry | None, names: dict[str, int]) -> str:
    draft = _closed(_draft(row, program), program)
    if entry is not None and entry.is_part and not draft.questions:
        draft.questions.append(f"which input leads to the graph `{row.item.program}`?")
    name = _name(f"{row.item.program} {row.item.name}", names)
    uses_fixture = bool(draft.steps) and not (entry is not None and entry.parameter)
    lines = [f"def {name}({'scripted_providers' if uses_fixture else ''}):", f'    """{_quoted(row.item.sentence)}."""']
    questions = [*draft.questions, *([] if entry else [f"how is `{row.item.program}` made? Name it in the ini key llmtest_cov"])]
    lines += [f"    # TODO: {question}" for question in questions]
    if questions:
        lines.append(f"    pytest.skip({f'TODO: {questions[0]}'!r})")
    steps = ", ".join(draft.steps)
    if uses_fixture:
        lines.append(f'    scripted_providers({{"*": [{steps}]}})')
    model = f"{entry.parameter}=ScriptedChatModel({steps})" if entry is not None and entry.parameter else ""
    made = f"{entry.name}({model})" if entry is not None and entry.is_factory else entry.name if entry is not None else "..."
    given = textwrap.indent(f"given = {_input(entry)}", "    ")
    calls = _calls(draft, has_memory=entry is not None and entry.has_memory)
    lines += [f"    program = {made}", given, *(_guarded(calls) if draft.may_fail else calls)]
    return "\n".join(lines)


def _guarded(calls: Sequence[str]) -> list[str]:
    """Return the calls of a program that may fail. What it does then is for its author to say."""
    *before, call = calls
    return [
        *before,
        "    with contextlib.suppress(Exception):  # expect here what the program does when its model fails",
        f"    {call}",
    ]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _name(words: str, names: dict[str, int]) -> str:
    name = re.sub(r"\W+", "_", words.replace("->", " to ")).strip("_").lower()
    names[name] = names.get(name, 0) + 1
    return f"test_{name}" if names[name] == 1 else f"test_{name}_{names[name]}"


def _calls(draft: _Draft, *, has_memory: bool) -> list[str]:
    """Return the lines that call the program. One that remembers conversations needs the name of one."""
    config = ", config" if has_memory or draft.resume else ""
    lines = ['    config = {"configurable": {"thread_id": "1"}}'] if config else []
    if draft.resume:
        return [*lines, "    program.invoke(given, config)", f"    program.invoke({draft.resume}, config)"]
    several = '[given, given], [config, {"configurable": {"thread_id": "2"}}]' if config else "[given, given]"
    if draft.mode in _FORMS:
        return [*lines, f"    {_FORMS[draft.mode].format(given=f'given{config}', several=several)}"]
    if draft.mode == "abatch":
        inner = [f"        await program.abatch({several})"]
    else:
        version = ', version="v2"' if draft.mode == "astream_events" else ""
        inner = [f"        async for _ in program.{draft.mode}(given{config}{version}):", "            pass"]
    return [*lines, "", "    async def run():", *inner, "", "    asyncio.run(run())"]


_FORMS: Final = {
    "invoke": "program.invoke({given})",
    "stream": "list(program.stream({given}))",
    "batch": "program.batch({several})",
    "ainvoke": "asyncio.run(program.ainvoke({given}))",
    "stream_events_v3": 'list(program.stream_events({given}, version="v3"))',
}


def _input(entry: Entry | None) -> str:
    schema = entry.inputs if entry is not None else {}
    properties = Arguments(schema).properties
    if not properties or "messages" in properties:
        return _NO_INPUT
    plain = {name: _plain(one) for name, one in properties.items()}
    return pformat(plain, width=100, sort_dicts=False)


# -- what leads to an item


def _draft(row: Row, program: Program | None) -> _Draft:
    item = row.item
    make = _DRAFTS.get(item.kind)
    subject, _, act = item.name.rpartition(".")
    draft = make(subject, act, program) if make is not None else _Draft(questions=[f"what leads to this: {item.sentence}?"])
    if program is None or not draft.steps:
        return draft
    if not draft.questions:
        draft.questions += _way_to_model(item, program)
    return _decided(draft, program)


def _way_to_model(item: Item, program: Program) -> Iterator[str]:
    """Yield a question if what the program does with its input decides whether it asks the model that is scripted."""
    if item.kind not in ("tools", "arguments", "models", "answers", "interrupts", "modes"):
        return
    sites = {model.site for model in program.models if model.has_tools or item.kind == "models"}
    if item.kind == "models" and program.nodes:
        sites = {item.name.rpartition(".")[0]}
    lost = [site for site in sites if site in program.nodes and site not in _always_run(program)]
    branches = [component.label for component in program.components if component.kind == "branches"]
    if sites and len(lost) == len(sites) and item.kind != "modes":
        yield f"which input leads to the node `{min(lost)}`?"
    elif branches:
        yield f"which input leads to the model, behind the branch `{branches[0]}`?"


def _always_run(program: Program) -> set[str]:
    """Return the nodes to which edges without a condition lead, from the start on."""
    found, left = {START}, [START]
    while left:
        new = set(program.targets.get(left.pop(), ())) - found - {END}
        found |= new
        left += new
    return found


def _closed(draft: _Draft, program: Program | None) -> _Draft:
    """Let a model that must call a tool end with its structured answer, where another ends with text."""
    if program is None or not program.answers or (len(program.models) > 1 and any(model.has_text for model in program.models)):
        return draft
    name, schema = next(iter(program.answers.items()))
    if any(step in _PLAIN for step in draft.steps):
        draft.questions += _unknown_fields(name, schema)
    closed = [_structured(name, schema) if step in _PLAIN else step for step in draft.steps]
    draft.steps = [f"{step}.unchecked()" if step.startswith("say(") else step for step in closed]
    draft.may_fail |= any(model.has_text for model in program.models) and draft.steps != closed  # text is no answer then
    return draft


def _decided(draft: _Draft, program: Program) -> _Draft:
    """Let a person approve of the calls that wait for one."""
    calls = [(one, step.count(f"call({one.tool!r}")) for step in draft.steps for one in program.decisions]
    first = next(((one, number) for one, number in calls if number), None)
    if first is None or draft.resume:
        return draft
    decision, number = first
    draft.resume = f"Command(resume={ {'decisions': [{'type': 'approve'}] * number}!r})"
    if "approve" not in decision.kinds:
        draft.questions.append(f"what does a person decide about `{decision.tool}`?")
    return draft


_PLAIN: Final = ('say("Done.")', 'say("Hello.")')


def _tool(name: str, act: str, program: Program | None) -> _Draft:
    tool = program.tools.get(name) if program is not None else None
    given = _arguments(tool.schema, name) if tool is not None else {}
    draft = _refused(name, tool, given) if act == "refused" else _Draft([_call(name, given), 'say("Done.")'])
    if act == "called" and tool is not None and tool.interrupts:
        draft.steps.pop()  # the program waits for a person then
    if act == "raised":
        draft.questions.append(f"what makes `{name}` raise? Prepare it here")
    elif act in ("interrupted", "answered") and tool is not None and tool.interrupts:
        draft.questions.append(f"when does `{name}` interrupt, and what does a person answer?")
        draft.resume = 'Command(resume="yes")'
    return draft


def _refused(name: str, tool: Tool | None, given: dict[str, Any]) -> _Draft:
    wrong = next(iter(tool.arguments.properties), "") if tool is not None else ""
    bad = {**given, wrong: {"not": "valid"}} if wrong else {}
    return _Draft([f"{_call(name, bad)}.unchecked()", 'say("Done.")'])


def _argument(subject: str, act: str, program: Program | None) -> _Draft:
    # The name of an argument's item is TOOL.PATH.ACT, and a path, a value and the name of a tool may have dots.
    found = f"{subject}.{act}"
    for name, tool in program.tools.items() if program is not None else ():
        wanted = next((one for one in tool.arguments.acts if found == f"{name}.{one[0]}.{one[1]}"), None)
        given = _arguments(tool.schema, name)
        values = tool.arguments.example(wanted, given, partial(_value, key=found)) if wanted is not None else None
        if values is not None:
            return _Draft([_call(name, values), 'say("Done.")'])
    return _Draft(questions=[f"which call of a tool leads to `{found}`?"])


def _outcome(site: str, act: str, program: Program | None) -> _Draft:
    tool = next(iter(program.tools.values()), None) if program is not None else None
    one = _call(tool.name, _arguments(tool.schema, tool.name)) if tool is not None else 'call("TODO")'
    steps = {
        "text": ['say("Hello.")'],
        "tool_call": [one, 'say("Done.")'],
        "several_calls": [f"reply({one}, {one})", 'say("Done.")'],
        "empty": ['say("")'],
        "length": ['say("This answer is cut", stop_reason="length")'],
        "content_filter": ['say("", stop_reason="content_filter")'],
        "refusal": ['say("I cannot help with that.", refusal=True)'],
        "error": ["fail(500)"],
    }[act]
    questions = []
    if tool is None and "call" in act:
        questions.append(f"which tool does the model of `{site}` call?")
    return _Draft(steps, questions, may_fail=act == "error")


def _answer(name: str, act: str, program: Program | None) -> _Draft:
    schema = program.answers.get(name, {}) if program is not None else {}
    end, questions = _structured(name, schema), _unknown_fields(name, schema)
    if act == "given":
        return _Draft([end], questions)
    if program is not None and any(model.has_text for model in program.models):  # it is text then, in the provider's own format
        return _Draft(['say("no JSON")'], may_fail=True)
    bad = {**_arguments(schema, name), next(iter(Arguments(schema).properties)): {"not": "valid"}} if schema else {"TODO": 1}
    return _Draft([f"call({name!r}, {bad!r}).unchecked()", end], questions)


def _structured(name: str, schema: Mapping[str, Any]) -> str:
    return f"structured({_arguments(schema, name)!r})" if schema else 'structured({"TODO": 1})'


def _unknown_fields(name: str, schema: Mapping[str, Any]) -> list[str]:
    return [] if schema else [f"which fields has a valid `{name}`?"]


def _edge(subject: str, act: str, program: Program | None) -> _Draft:
    source, _, target = f"{subject}.{act}".removeprefix(".").partition("->")
    branches = program.branches.get(source, ()) if program is not None else ()
    if program is not None and source in _always_run(program) and target in program.targets.get(source, ()):
        return _answered(program)
    if any(branch.run_name is None for branch in branches) and program is not None and program.tools:
        found = _edge_of_agent(source, target, program)
        if found is not None:
            return found
    names = ", ".join(f"`{branch.name}`" for branch in branches)
    question = f"which input or answer makes {names} return `{target}`?" if names else f"how does the graph come to `{source}`?"
    return _Draft(questions=[question])


def _edge_of_agent(source: str, target: str, program: Program) -> _Draft | None:
    """Return how a model of an agent leads from node to node: by a call, by none, or by a call that a person rejects."""
    if target == END:
        return _Draft(['say("Done.")']) if source != "tools" else None
    decided = {decision.tool: decision.kinds for decision in program.decisions}
    if "tools" in (source, target):
        free = [tool for name, tool in program.tools.items() if name not in decided] or list(program.tools.values())
        return _Draft([_call(free[0].name, _arguments(free[0].schema, free[0].name)), 'say("Done.")'])
    rejected = next((name for name, kinds in decided.items() if "reject" in kinds and name in program.tools), None)
    return _interrupt(rejected, "reject", program) if rejected is not None else None


def _answered(program: Program) -> _Draft:
    """Return a call of a program in which nothing but its end is asked of its models."""
    return _Draft(['say("Hello.")'] if program.models else [])


def _node(subject: str, act: str, program: Program | None) -> _Draft:
    name = f"{subject}.{act}".removeprefix(".")
    if program is not None and name in _always_run(program):
        return _answered(program)
    found = None
    if program is not None and program.tools and any(name in targets for targets in program.silent_ends.values()):
        found = _edge_of_agent("", name, program)
    return found if found is not None else _Draft(questions=[f"which input leads to the node `{name}`?"])


def _interrupt(subject: str, act: str, program: Program | None) -> _Draft:
    tool = program.tools.get(subject) if program is not None else None
    if tool is None:
        return _Draft(questions=[f"which input leads to the interrupt of `{subject}`?"], resume='Command(resume="yes")')
    decision: dict[str, Any] = {"type": act}
    given = _arguments(tool.schema, subject)
    decision |= {"edited_action": {"name": subject, "args": given}} if act == "edit" else {}
    decision |= {"message": "no"} if act in ("reject", "respond") else {}
    return _Draft([_call(subject, given), 'say("Done.")'], resume=f"Command(resume={{'decisions': [{decision!r}]}})")


def _mode(subject: str, act: str, program: Program | None) -> _Draft:
    steps = ['say("Hello.")', 'say("Hello.")'] if act in ("batch", "abatch") else ['say("Hello.")']
    return _Draft(steps if program is not None and program.models else [], mode=act)


_DRAFTS: Final[Mapping[str, Callable[[str, str, Program | None], _Draft]]] = {
    "tools": _tool,
    "arguments": _argument,
    "models": _outcome,
    "answers": _answer,
    "edges": _edge,
    "nodes": _node,
    "interrupts": _interrupt,
    "modes": _mode,
}


# -- values


def _call(name: str, given: Mapping[str, Any]) -> str:
    if not all(key.isidentifier() for key in given):
        return f"call({name!r}, {dict(given)!r})"
    return f"call({', '.join([repr(name), *(f'{key}={value!r}' for key, value in given.items())])})"


def _arguments(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return arguments that fit a schema; placeholders for those that are required if nothing can be invented."""
    from llmtest.auto import values

    try:
        return values.arguments(key, schema, key)
    except (InventError, ImportError):
        required: Sequence[str] = schema.get("required") or ()
        return {name: _plain(Arguments(schema).properties.get(name, {})) for name in required}


def _value(schema: Mapping[str, Any], key: str) -> object:
    from llmtest.auto import values

    try:
        return values.value(schema, key)
    except (InventError, ImportError):
        return _plain(schema)


def _plain(schema: Mapping[str, Any]) -> object:
    if schema.get("enum"):
        return schema["enum"][0]
    samples = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}
    return samples.get(str(schema.get("type")), "text")
