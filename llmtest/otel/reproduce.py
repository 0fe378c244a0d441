"""From an incident to a test: what a trace tells of a program, as a script file and a pytest file that run at once."""

from __future__ import annotations

import pprint
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmtest.core.text import amount
from llmtest.errors import OtelError, ScriptError
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Run
from llmtest.events.words import Message
from llmtest.matching.engine import judge
from llmtest.matching.rule import Rule
from llmtest.matching.rule_builders import at_most, before, only
from llmtest.matching.selectors import model as a_model
from llmtest.otel.messages import plain
from llmtest.recording.recording import Recording
from llmtest.scripts.files import ScriptFile
from llmtest.scripts.from_recording import entries_of, model_of, recorded_calls
from llmtest.scripts.requests import KeyedSteps
from llmtest.scripts.secret_texts import without_secrets
from llmtest.scripts.step_types import Fail, Reply, Text
from llmtest.scripts.tool_answers import ToolAnswer, tool_answers
from llmtest.scripts.yaml_emit import write_file
from llmtest.trees.rendering import HEADER

TODO: Final = "TODO: the trace does not tell what was said here"
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


def reproduce(recording: Recording, name: str, source: str) -> Reproduction:
    """Return the files that show what a trace has recorded: `test_NAME.py`, `NAME.yaml` (the script) and `NAME.tree`.

    The test runs at once: an agent with the tools of the trace stands in for the program, until you put yours there.

    Raises:
        OtelError: the trace has no call of a model, or calls of several models at once.
    """
    draft = _Draft()
    slug = re.sub(r"\W+", "_", name).strip("_").lower() or "incident"
    script, called = _script(recording, slug, draft)
    answers = tool_answers(recording.runs)
    for tool, given in answers.items():
        draft.todo += [f"answer {n} of the tool `{tool}`: it {one.unknown}" for n, one in enumerate(given, 1) if one.unknown]
    tree = str(recording)
    files = {
        f"{slug}.yaml": script,
        f"{slug}.tree": f"{HEADER}\n{tree}",
        f"test_{slug}.py": _test(recording, slug, source, called, answers, draft),
    }
    return Reproduction(slug, files, draft.todo, tree, len(recording.models), len(recording.tools))


# -- the script


def _script(recording: Recording, slug: str, draft: _Draft) -> tuple[str, Run]:
    """Return the text of the script file, and the first run of its model."""
    try:
        calls = recorded_calls(recording)
    except ScriptError as error:
        raise OtelError(f"no script can be made of the trace: {error}") from None
    if not calls:
        raise OtelError("the trace has no call of a model, so that there is nothing to reproduce")
    made, notes = entries_of(calls, recording.order())
    draft.todo += [note for note in notes if "unknown" not in note]
    entries = tuple(_entry(entry, draft) for entry in made)
    models = list(dict.fromkeys(call.model for call in calls))
    if len(models) > 1:
        draft.todo.append(
            f"the trace has calls of {amount(len(models), 'model')} ({', '.join(models)}), and the stand-in has one model for all"
        )
    hidden, _ = without_secrets(ScriptFile(slug, 2, entries))
    first = calls[0].run
    assert first is not None
    return write_file(hidden, ["what the models said; made by `llmtest reproduce`"]), first


def _entry(entry: KeyedSteps | Reply | Fail, draft: _Draft) -> KeyedSteps | Reply | Fail:
    if isinstance(entry, KeyedSteps):
        return replace(entry, steps=tuple(_entry(step, draft) for step in entry.steps))
    step = replace(entry, serving=replace(entry.serving, request=None))  # the stand-in asks otherwise than the program
    if isinstance(step, Reply) and not step.parts and not step.truncated:
        draft.todo.append("a model call whose answer the trace does not tell: its step says TODO")
        return replace(step, parts=(Text((TODO,)),), usage=None)
    return step


# -- the test


def _test(
    recording: Recording, slug: str, source: str, first: Run, answers: Mapping[str, Sequence[ToolAnswer]], draft: _Draft
) -> str:
    parameters = {tool: _parameters(tool, recording) for tool in answers}
    given = {tool: [_answer(one, parameters[tool]) for one in found] for tool, found in answers.items()}
    system, messages = _input(recording, first, draft)
    return TEMPLATE.format(
        slug=slug,
        source=source.replace('"""', "'''"),
        model=repr(model_of(first)),
        system=repr(system),
        agent=repr(next((run.name for run in recording.roots if run.kind == "chain"), slug)),
        input=_shown(messages),
        answers=_shown(given),
        parameters=_types(parameters),
        tools=_shape(recording),
        rules="\n".join(f"    {rule}," for rule in _rules(recording)),
        said=_shown(_said(recording)),
    )


def _shown(value: object) -> str:
    return pprint.pformat(value, width=110, sort_dicts=False)


def _answer(answer: ToolAnswer, parameters: Mapping[str, str]) -> tuple[object, object]:
    args = plain(answer.args)
    if isinstance(args, str) and len(parameters) == 1:  # some tell the value of an only argument, and not its name
        args = dict.fromkeys(parameters, args)
    if answer.failure is not None:
        return args, {"fails": str(answer.failure)}
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


def _types(parameters: Mapping[str, Mapping[str, str]]) -> str:
    lines = [
        f"    {tool!r}: {{{', '.join(f'{name!r}: {kind}' for name, kind in found.items())}}},"
        for tool, found in parameters.items()
    ]
    return "\n".join(["{", *lines, "}"]) if lines else "{}"


def _input(recording: Recording, first: Run, draft: _Draft) -> tuple[str, list[tuple[str, Any]]]:
    """Return the system prompt and the messages that the program began with."""
    asked = first.input if isinstance(first.input, list) else []
    messages = [message for message in asked if isinstance(message, Message)]
    system = "\n".join(message.text for message in messages if message.role == "system")
    spoken = [
        (message.role, plain(message.content))
        for message in messages
        if message.role in ("human", "ai") and not message.tool_calls
    ]
    if not spoken:
        draft.todo.append("the input of the program, which the trace does not tell: INPUT says TODO")
        spoken = [("human", TODO)]
    return system, spoken


def _said(recording: Recording) -> list[str]:
    outputs = [TODO if "output" in run.unknown else run.output for run in recording.runs if run.kind in MODELS]
    texts = [output.text if isinstance(output, Message) else output for output in outputs]
    return [text for text in texts if isinstance(text, str) and text]


def _shape(recording: Recording) -> str:
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
        if len(parts) < 2 or "order" not in order.unknown
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


TEMPLATE: Final = '''\
"""An incident as a test: {source}. Written by `llmtest reproduce`; it is yours to change.

`{slug}.yaml` has what the models said. `{slug}.tree` is the tree of the incident: `llmtest diff` compares it with a trace.
"""

from pathlib import Path

from langchain.agents import create_agent

from llmtest import Script, ScriptedChatModel, fail, give, record, respond, scripted_tool
from llmtest.matching import at_most, before, model, only, together  # noqa: F401

HERE = Path(__file__).parent
INPUT = {input}
ANSWERS = {answers}
PARAMETERS = {parameters}
SAID = {said}
RULES = [
{rules}
]


def tool_of(name):
    """A tool that answers as it did in the incident, by its arguments."""
    left = list(ANSWERS[name])

    def answer(request):
        found = next(each for each in left if each[0] == dict(request.args))
        left.remove(found)
        return fail(RuntimeError(found[1]["fails"])) if "fails" in found[1] else give(found[1]["gives"])

    return scripted_tool(name, respond(answer).repeat(), args=PARAMETERS[name], description=name)


def program(chat_model, tools):
    """TODO: call your own program here, with this model and these tools. Until then an agent stands in for it."""
    agent = create_agent(chat_model, tools, system_prompt={system} or None, name={agent})
    return agent.invoke({{"messages": INPUT}})


def test_{slug}():
    chat_model = ScriptedChatModel(script=Script.load(HERE / "{slug}.yaml"), model_name={model})

    with record() as recording:
        program(chat_model, [tool_of(name) for name in ANSWERS])

    {tools}
    assert sorted(run.output.text for run in recording.models if run.output.text) == sorted(SAID)
    recording.assert_obeys(*RULES)
'''
