"""From an incident to a test: what a trace tells of a program, as a script file and a pytest file that run at once."""

from __future__ import annotations

import pprint
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from llmtest.core.text import amount, clip
from llmtest.errors import OtelError, ScriptError
from llmtest.events.callbacks import MODELS, STREAMED
from llmtest.events.events import Run
from llmtest.events.words import EMPTY, Message
from llmtest.matching.engine import judge
from llmtest.matching.rule import Rule
from llmtest.matching.rule_builders import at_most, before, only
from llmtest.matching.selectors import model as a_model
from llmtest.otel.calls import call_tree
from llmtest.otel.messages import plain
from llmtest.recording.recording import Recording
from llmtest.scripts.files import ScriptFile
from llmtest.scripts.from_recording import RecordedCall, entries_of, failure_of, model_of, recorded_calls
from llmtest.scripts.requests import KeyedSteps
from llmtest.scripts.secret_texts import without_secrets
from llmtest.scripts.step_types import Fail, Reply, Text
from llmtest.scripts.tool_answers import ToolAnswer, tool_answers
from llmtest.scripts.yaml_emit import write_file
from llmtest.trees.rendering import HEADER

TODO: Final = "TODO: the trace does not tell what was said here"
MAX_NAME: Final = 60
MAX_MATCH: Final = 80
"""How many characters of an error's text are compared."""
MAX_ORDERS: Final = 5
"""How many rules about the order of tools are written."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The files of an incident, by their names, and what is left to do by hand."""

    name: str
    files: Mapping[str, str]
    todo: Sequence[str] = ()
    tree: str = ""
    models: int = 0
    tools: int = 0

    @property
    def headline(self) -> str:
        """What was made, on one line."""
        calls = f"{amount(self.models, 'model call')}, {amount(self.tools, 'tool call')}"
        return f"{calls}, {amount(len(self.todo), 'thing')} left to do"


@dataclass(slots=True)
class _Draft:
    """What is gathered while the files are made."""

    todo: list[str] = field(default_factory=list)
    are_keyed: bool = False
    """True if a step of a script is for calls with some key: the order of the calls is not known."""
    left: dict[UUID, str] = field(default_factory=dict)
    """What the steps say of calls that the program left before their end, by the run."""


def reproduce(recording: Recording, name: str, source: str) -> Reproduction:
    """Return the files that show what a trace has recorded: `test_NAME.py`, `NAME.yaml` (the script) and `NAME.tree`.

    The test runs at once: an agent with the tools of the trace stands in for the program, until you put yours there.

    Each model of the trace has a script of its own, by its name.

    Raises:
        OtelError: the trace has no call of a model.
    """
    draft = _Draft()
    slug = _slug(name)
    scripts, called = _scripts(recording, slug, draft)
    # Parallel tools begin in any order; that of the tree is the same in each run.
    answers = _answers(recording, draft)
    for tool, given in answers.items():
        draft.todo += [f"answer {n} of the tool `{tool}`: it {one.unknown}" for n, one in enumerate(given, 1) if one.unknown]
    tree = str(recording)
    files = {
        **dict(scripts.values()),
        f"{slug}.tree": f"{HEADER}\n{tree}",
        f"test_{slug}.py": _test(
            recording, slug, source, called, answers, draft, {model: file for model, (file, _) in scripts.items()}
        ),
    }
    return Reproduction(slug, files, draft.todo, tree, len(recording.models), len(recording.tools))


def _slug(name: str) -> str:
    """Return a name as a part of names of files and of functions: short, and of letters that both may have everywhere."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "incident"
    return slug if len(slug) <= MAX_NAME else f"{slug[: MAX_NAME - 10]}_{slug[-9:].strip('_')}"


# -- the script


def _scripts(recording: Recording, slug: str, draft: _Draft) -> tuple[dict[str, tuple[str, str]], Run]:
    """Return the name and the text of the script file of each model, and the first run of all."""
    try:
        calls = recorded_calls(recording)
    except ScriptError as error:
        raise OtelError(f"no script can be made of the trace: {error}") from None
    if not calls:
        raise OtelError("the trace has no call of a model, so that there is nothing to reproduce")
    of_models: dict[str, list[RecordedCall]] = {}
    for call in calls:
        of_models.setdefault(call.model, []).append(call)
    made: dict[str, tuple[str, str]] = {}
    for number, (model, own) in enumerate(of_models.items(), 1):
        name = slug if len(of_models) == 1 else f"{slug}_{number}_{_slug(model)[:30]}"
        made[model] = f"{name}.yaml", _script(name, model, own, recording, draft)
    first = calls[0].run
    assert first is not None
    return made, first


def _script(name: str, model: str, calls: Sequence[RecordedCall], recording: Recording, draft: _Draft) -> str:
    entries, notes = entries_of([_told(call, draft) for call in calls], recording.order())
    draft.todo += [note for note in notes if "unknown" not in note]
    draft.are_keyed |= any(isinstance(entry, KeyedSteps) for entry in entries)
    hidden, _ = without_secrets(ScriptFile(name, 2, tuple(map(_entry, entries))))
    return write_file(hidden, [f"what {model} said; made by `llmtest reproduce`"])


def _told(call: RecordedCall, draft: _Draft) -> RecordedCall:
    """Return a call whose step says TODO if the trace does not tell what the model said, and waits for nobody to leave it."""
    step = call.step
    if isinstance(step, Reply) and step.patience_s is not None:
        draft.todo.append("a model call that the program left before its end: its step does not wait for that")
        parts = step.parts if any(part.tokens for part in step.parts) or step.calls else (Text(("",)),)
        serving = replace(step.serving, gates=())
        if call.run is not None:
            draft.left[call.run.id] = "".join(token for part in parts if isinstance(part, Text) for token in part.tokens)
        return replace(call, step=replace(step, parts=parts, stops=(), truncated=False, usage=None, serving=serving))
    if not isinstance(step, Reply) or step.parts or step.truncated:
        return call
    if call.run is not None and "output" not in call.run.unknown:
        return replace(call, step=replace(step, parts=(Text(("",)),)))  # it said nothing
    draft.todo.append("a model call whose answer the trace does not tell: its step says TODO")
    return replace(call, step=replace(step, parts=(Text((TODO,)),), usage=None))


def _entry(entry: KeyedSteps | Reply | Fail) -> KeyedSteps | Reply | Fail:
    if isinstance(entry, KeyedSteps):
        return replace(entry, steps=tuple(map(_entry, entry.steps)))
    return replace(entry, serving=replace(entry.serving, request=None))  # the stand-in asks otherwise than the program


def _answers(recording: Recording, draft: _Draft) -> dict[str, tuple[ToolAnswer, ...]]:
    """Return the answers of each tool. One whose arguments the trace does not tell has none, and is the last to be given."""
    silent = {run.name for run in recording.tools if "input" in run.unknown}
    found = dict(tool_answers(recording.runs, recording.order().position))
    for tool in silent & found.keys():
        given = [replace(one, args=EMPTY) if isinstance(one.args, str) else one for one in found[tool]]
        found[tool] = tuple(sorted(given, key=lambda one: not one.args))
        draft.todo.append(f"the arguments of the tool `{tool}`, which the trace does not tell")
    return found


# -- the test


def _test(
    recording: Recording,
    slug: str,
    source: str,
    first: Run,
    answers: Mapping[str, Sequence[ToolAnswer]],
    draft: _Draft,
    scripts: Mapping[str, str],
) -> str:
    parameters = {tool: _parameters(tool, recording) for tool in answers}
    given = {tool: [_answer(one, parameters[tool]) for one in found] for tool, found in answers.items()}
    system, messages = _input(recording, first, draft)
    went_on = _went_on(recording)
    is_agent = _is_agent(recording, went_on)
    ending = _ending(recording, went_on) if is_agent else None
    failure = "ToolException" if went_on else "RuntimeError"
    needs = {"agent": is_agent, "agent that goes on": is_agent and went_on, "exception": went_on}
    stand_in = (AGENT if is_agent else CALLS).format(
        system=repr(system),
        agent=repr(next((run.name for run in recording.roots if run.kind == "chain"), slug)),
        middleware=", middleware=[go_on]" if went_on else "",
        invoke=INVOKE if ending is None or not ending.is_own else RAISE.format(error=repr(ending.text)),
        calls=_shown(_calls(recording, answers, draft)),
        failure="Exception" if any(run.error is not None for run in recording.models) else failure,
    )
    return TEMPLATE.format(
        slug=slug,
        source=source.replace('"""', "'''"),
        scripts=_shown(dict(scripts)),
        tree=_shown(call_tree(recording).splitlines()),
        compares=COMPARES if _is_whole(recording, draft, is_agent, answers) else NO_COMPARISON,
        stand_in=(GO_ON if is_agent and went_on else "") + stand_in,
        failure=failure,
        needs_re="import re\n" if ending is not None and ending.match else "",
        imports="".join(IMPORTS[key] for key, needed in needs.items() if needed),
        ends=f", pytest.raises(Exception{ending.match}):  # {_comment(ending.text)}" if ending is not None else ":",
        input=_shown(messages),
        answers=_shown(given),
        parameters=_types(parameters, answers),
        tools=_shape(recording, is_agent),
        rules="\n".join(f"    {rule}," for rule in _rules(recording)),
        said=_shown(_said(recording, draft)),
    )


def _shown(value: object) -> str:
    return pprint.pformat(value, width=110, sort_dicts=False)


def _answer(answer: ToolAnswer, parameters: Mapping[str, str]) -> tuple[object, object]:
    args = plain(answer.args)
    if isinstance(args, str) and len(parameters) == 1:  # some tell the value of an only argument, and not its name
        args = dict.fromkeys(parameters, args)
    if answer.failure is not None:
        return args, {"fails": (answer.failure.type, answer.failure.message)}
    return args, {"gives": plain(answer.gives) if not answer.unknown else f"{TODO} ({answer.unknown})"}


def _parameters(tool: str, recording: Recording) -> dict[str, str]:
    """Return the type of each parameter of a tool, as Python writes it: of its schema, or of the arguments that came."""
    for run in recording.models:
        for spec in (run.start.payload.get("invocation_params") or {}).get("tools") or ():
            about = spec.get("function", spec) if isinstance(spec, Mapping) else {}
            schema = about.get("parameters") or about.get("input_schema") or {}
            if about.get("name") == tool and isinstance(schema.get("properties"), Mapping):
                return {name: _TYPES.get(str(inner.get("type")), "object") for name, inner in schema["properties"].items()}
    found = (run.args for run in recording.tools if run.name == tool)
    return {name: _TYPES_OF.get(type(value), "object") for args in found for name, value in args.items()}


_TYPES: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
_TYPES_OF: Final = {str: "str", int: "int", float: "float", bool: "bool"}


def _types(parameters: Mapping[str, Mapping[str, str]], answers: Mapping[str, Sequence[ToolAnswer]]) -> str:
    def kind_of(tool: str, name: str, kind: str) -> str:
        given = [one.args for one in answers[tool] if isinstance(one.args, Mapping)]
        return kind if all(name in args for args in given) else f"({kind}, None)"  # a call came without it

    lines = [
        f"    {tool!r}: {{{', '.join(f'{name!r}: {kind_of(tool, name, kind)}' for name, kind in found.items())}}},"
        for tool, found in parameters.items()
    ]
    return "\n".join(["{", *lines, "}"]) if lines else "{}"


def _input(recording: Recording, first: Run, draft: _Draft) -> tuple[str, list[tuple[str, Any]]]:
    """Return the system prompt and the messages that the program began with."""
    asked = first.input if isinstance(first.input, list) else []
    system = "\n".join(message.text for message in asked if isinstance(message, Message) and message.role == "system")
    spoken = _spoken(first)
    if not spoken:
        draft.todo.append("the input of the program, which the trace does not tell: INPUT says TODO")
        spoken = [("human", TODO)]
    return system, spoken


def _spoken(run: Run) -> list[tuple[str, Any]]:
    """Return what people and models had said before a model run."""
    asked = run.input if isinstance(run.input, list) else [Message("human", run.input)] if isinstance(run.input, str) else []
    return [
        (message.role, plain(message.content))
        for message in asked
        if isinstance(message, Message) and message.role in ("human", "ai") and not message.tool_calls
    ]


def _said(recording: Recording, draft: _Draft) -> list[str]:
    models = [run for run in recording.runs if run.kind in MODELS]
    outputs = [draft.left.get(run.id, TODO if "output" in run.unknown else run.output) for run in models]
    texts = [output.text if isinstance(output, Message) else output for output in outputs]
    return [text for text in texts if isinstance(text, str) and text]


def _went_on(recording: Recording) -> bool:
    """True if a model was called after a tool had failed: the program told it of the failure."""
    failed = [run.end.number for run in recording.tools if run.error is not None and run.end is not None]
    return bool(failed) and any(run.start.number > min(failed) for run in recording.models)


def _is_agent(recording: Recording, went_on: bool) -> bool:
    """True if an agent does the same: each answer but the last calls tools, and each of these calls was made."""
    models = list(recording.models)
    wanted = [[call.name for call in run.output.tool_calls] if isinstance(run.output, Message) else [] for run in models]
    names = {model_of(run) for run in models if run.kind == "chat"}
    is_last_failed = any(run.error is not None for run in recording.tools) and not went_on
    known = [calls for run, calls in zip(models, wanted, strict=True) if "output" not in run.unknown]
    fits = all(wanted[:-1]) and (not wanted[-1] or is_last_failed) and all(run.error is None for run in models[:-1])
    made = sorted(name for calls in known for name in calls)
    if is_last_failed or models[-1].error is not None:  # an agent ends with the error
        fits = fits and any(run.error is not None for run in recording.roots)
    return fits and len(names) == 1 and made == sorted(recording.tools.names)


def _calls(recording: Recording, answers: Mapping[str, Sequence[ToolAnswer]], draft: _Draft) -> list[Any]:
    """Return the calls of models and tools in the order in which they were recorded: messages, or a tool, its arguments, and
    whether a model had asked for it."""
    left = {tool: list(found) for tool, found in answers.items()}
    made: list[Any] = []
    for run in recording.runs:
        if run.kind in MODELS and not run.cached:
            # Scripts answer by tags and metadata where they do not know the order of calls.
            config = {"tags": list(run.tags), "metadata": _own_metadata(run)} if draft.are_keyed else {}
            says = (_all_spoken(run) if draft.are_keyed else _spoken(run)) or [("human", TODO)]
            made.append({"model": model_of(run), "says": says, "tools": _bound(run), "config": config})
        elif run.kind == "tool" and left.get(run.name):
            made.append((run.name, plain(left[run.name].pop(0).args), run.tool_call_id is not None))
    return made


def _own_metadata(run: Run) -> dict[str, Any]:
    """Return the metadata of a run without what LangChain adds to each."""
    return {key: plain(value) for key, value in run.metadata.items() if not key.startswith(("ls_", "lc_"))}


def _all_spoken(run: Run) -> list[tuple[str, Any]]:
    """Return all that a model was told, also the answers of tools: a script may look for a text in them."""
    asked = run.input if isinstance(run.input, list) else []
    messages = [message for message in asked if isinstance(message, Message) and message.content]
    said = [
        (message.role if message.role in ("human", "ai", "system") else "human", plain(message.content)) for message in messages
    ]
    return said or _spoken(run)


def _bound(run: Run) -> list[str]:
    """Return the names of the tools that a model could call."""
    offered = [str(name) for name in run.start.payload.get("tools") or ()]
    called = [call.name for call in run.output.tool_calls] if isinstance(run.output, Message) else []
    return list(dict.fromkeys([*offered, *called]))


def _is_whole(recording: Recording, draft: _Draft, is_agent: bool, answers: Mapping[str, Sequence[ToolAnswer]]) -> bool:
    """True if the trace tells enough that the tree of the test is that of the incident."""
    runs = [*recording.models, *recording.tools]
    unknown = {word for run in runs for word in run.unknown if word == "output" or (word == "input" and run.kind == "tool")}
    named = all("inputs" in run.start.payload for run in recording.tools)  # some tell the value of an only argument, not its name
    odd = any(one.message or one.artifact is not None for found in answers.values() for one in found)  # more than what tools give
    odd |= any(
        run.kind == "llm" or _is_partial(run) or _fails_otherwise(run) for run in runs
    )  # the stand-in has chat models, and does not stream
    return not draft.todo and not unknown and named and not odd and not _is_nested(runs) and _in_order(recording, is_agent)


def _fails_otherwise(run: Run) -> bool:
    """True for a call of a model whose error has another class or text in a script: that of a provider's SDK, or a status."""
    return run.kind in MODELS and run.error is not None and failure_of(run.error).error != run.error.type


def _is_partial(run: Run) -> bool:
    """True for a call of a model that failed after it had said something."""
    response = run.end.payload.get("response") if run.end is not None and run.error is not None else None
    is_told = isinstance(response, Mapping) and bool(response.get("generations"))
    return is_told or (run.error is not None and any(event.kind in STREAMED for event in run.events))


def _is_nested(runs: Sequence[Run]) -> bool:
    """True if a tool has called models or tools: its answer is given, and nothing inside it is."""
    return any(inner is not run and inner.kind in ("tool", *MODELS) for run in runs for inner in run.walk())


def _in_order(recording: Recording, is_agent: bool) -> bool:
    """True if the calls of a trace came one after the other, or, as an agent makes them, the tools of one turn at once."""
    order, runs = recording.order(), sorted([*recording.models, *recording.tools], key=lambda run: run.start.number)
    beside = (
        [(a, b) for n, a in enumerate(runs) for b in runs[n + 1 :] if not order.are_ordered(a, b)] if len(runs) < 200 else None
    )
    return beside is not None and all(
        is_agent and a.kind == b.kind == "tool" and order.turn(a) is not None and order.turn(a) == order.turn(b)
        for a, b in beside
    )


@dataclass(frozen=True, slots=True)
class _Ending:
    """The error that ended a program. `is_own` is true if neither a model nor a tool has raised it; `match` is what its text is
    compared with, as an argument of `pytest.raises`."""

    text: str
    is_own: bool
    match: str


def _ending(recording: Recording, went_on: bool) -> _Ending | None:
    """Return how the program of a trace ended, if with an error."""
    error = next((run.error for run in recording.roots if run.error is not None), None)
    if error is None:
        return None
    inner = [run.error for run in [*recording.models, *recording.tools] if run.error is not None]
    is_inner = any((one.type, one.message) == (error.type, error.message) for one in inner)
    is_own = not is_inner and (not inner or went_on)
    line = error.message.split("\n", 1)[0][:MAX_MATCH]
    is_same = is_own or (is_inner and not any(map(_fails_otherwise, recording.models)))
    match = f", match=re.escape({line!r})" if line.strip() and is_same else ""
    return _Ending(f"{error.type}: {error.message}", is_own, match)


def _comment(text: str) -> str:
    return repr(clip(" ".join(text.split()), 80))[1:-1]  # a comment is one line, of characters that source code may have


def _shape(recording: Recording, is_agent: bool) -> str:
    """Return the shape of the tools of the trace: those of one turn together, the others as far as their order is certain."""
    parts: list[str] = []
    line = list(recording.tools)
    order = recording.order()
    while line:
        run = line.pop(0)
        beside = [other for other in line if order.turn(other) is not None and order.turn(other) == order.turn(run)]
        if beside:
            line = [other for other in line if other not in beside]
            parts.append(f"together({', '.join(repr(one.name) for one in (run, *beside))})")
        else:
            parts.append(repr(run.name))
    shape = f"assert recording.tools == [{', '.join(parts)}]"
    # An order that spans do not tell is none to hold the program to.
    return (
        shape
        if is_agent and (len(parts) < 2 or "order" not in order.unknown)
        else f"assert sorted(recording.tools.names) == {sorted(recording.tools.names)}"
    )


def _rules(recording: Recording) -> Iterator[str]:
    """Yield rules that hold of the trace, as they are written."""
    tools = list(dict.fromkeys(recording.tools.names))
    found: list[tuple[str, Rule]] = [(f"at_most({len(recording.models)}, model())", at_most(len(recording.models), a_model()))]
    if tools:
        found.append((f"only({', '.join(map(repr, tools))})", only(*tools)))
    pairs = [(a, b) for n, a in enumerate(tools) for b in tools[n + 1 :]]
    found += [(f"before({a!r}, {b!r})", before(a, b)) for a, b in pairs]
    held = [text for text, rule in found if all(answer.holds for answer in judge(recording, [rule]))]
    yield from held[: 2 + MAX_ORDERS]


COMPARES: Final = "    assert call_tree(recording).splitlines() == TREE\n"
NO_COMPARISON: Final = "    # TREE is not compared: the trace does not tell enough of it, or its calls ran at once.\n"
TEMPLATE: Final = '''\
"""An incident as a test: {source}. Written by `llmtest reproduce`; it is yours to change.

`{slug}.yaml` has what the models said. `{slug}.tree` is the tree of the incident: `llmtest diff` compares it with a trace.
"""

{needs_re}from pathlib import Path

import pytest
{imports}
from llmtest import Script, ScriptedChatModel, fail, give, record, respond, scripted_tool
from llmtest.matching import at_most, before, model, only, together  # noqa: F401
from llmtest.otel import call_tree  # noqa: F401

HERE = Path(__file__).parent
SCRIPTS = {scripts}
INPUT = {input}
ANSWERS = {answers}
PARAMETERS = {parameters}
SAID = {said}
TREE = {tree}
RULES = [
{rules}
]


def error_of(kind, text):
    """An error with the name and the text of one of the incident."""
    return type(kind, ({failure},), {{}})(text)


def tool_of(name):
    """A tool that answers as it did in the incident, by its arguments."""
    left = list(ANSWERS[name])

    def answer(request):
        given = dict(request.args)
        found = next((each for each in left if each[0] == {{key: given[key] for key in each[0] if key in given}}), None)
        if found is None:
            pytest.fail(f"the incident has no such call of {{name}}, or no more of them: {{given}}; left are {{left}}")
        left.remove(found)
        return fail(error_of(*found[1]["fails"])) if "fails" in found[1] else give(found[1]["gives"])

    return scripted_tool(name, respond(answer).repeat(), args=PARAMETERS[name], description=name)


{stand_in}

def test_{slug}():
    models = {{name: ScriptedChatModel(script=Script.load(HERE / file), model_name=name) for name, file in SCRIPTS.items()}}

    with record() as recording{ends}
        program(models, [tool_of(name) for name in ANSWERS])

    {tools}
    texts = [run.output.text for run in recording.models if run.output is not None]
    assert sorted(filter(None, texts)) == sorted(SAID)
{compares}    recording.assert_obeys(*RULES)
'''
IMPORTS: Final = {
    "agent": "from langchain.agents import create_agent\n",
    "agent that goes on": "from langchain.agents.middleware import wrap_tool_call\n"
    "from langchain_core.messages import ToolMessage\n",
    "exception": "from langchain_core.tools import ToolException\n",
}
GO_ON: Final = '''\
@wrap_tool_call
def go_on(request, handler):
    """The program told its model of the failure of a tool, and went on."""
    try:
        return handler(request)
    except ToolException as error:
        return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")


'''
AGENT: Final = '''\
def program(models, tools):
    """TODO: call your own program here, with these models and tools. Until then an agent stands in for it."""
    (chat_model,) = models.values()
    agent = create_agent(chat_model, tools, system_prompt={system} or None, name={agent}{middleware})
    {invoke}

'''
INVOKE: Final = 'return agent.invoke({"messages": INPUT})'
RAISE: Final = """\
agent.invoke({{"messages": INPUT}})
    raise RuntimeError({error})  # neither a model nor a tool has raised it\
"""
CALLS: Final = '''\
CALLS = {calls}


def ask(chat_model, model, says, tools, config):
    """Ask a model that is offered tools of these names."""
    offered = [{{"type": "function", "function": {{"name": name, "description": name, "parameters": {{}}}}}} for name in tools]
    return (chat_model.bind_tools(offered) if offered else chat_model).invoke(says, config)


def run(tool, name, args, is_asked, asked):
    """Call a tool, for a model if one has asked for that: each time that it has, in turn."""
    found = next((one for one in asked if is_asked and (one["name"], one["args"]) == (name, args)), None)
    if found is not None:
        asked.remove(found)
        asked.append(found)
    tool.invoke(found or args)


def program(models, tools):
    """TODO: call your own program here, with these models and tools. Until then its calls are made one after the other."""
    by_name = {{tool.name: tool for tool in tools}}
    asked = []
    for call in CALLS:
        try:
            if isinstance(call, tuple):
                run(by_name[call[0]], *call, asked)
            else:
                asked += getattr(ask(models[call["model"]], **call), "tool_calls", [])
        except {failure}:  # the incident had it, too
            pass

'''
