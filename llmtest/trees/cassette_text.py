"""The answers in a cassette as a tree text, so that two recordings of one test are compared as trees are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from llmtest.core.text import amount
from llmtest.errors import PriceError
from llmtest.events.events import Event, Run
from llmtest.events.words import EMPTY, Failure, FrozenDict, FrozenList, Generation, Message, ToolCall, Usage
from llmtest.scripts.files import ON_KEYS, Entries, ScriptFile
from llmtest.scripts.requests import KeyedSteps, On
from llmtest.scripts.step_types import Call, Fail, Reply, Step, Text, Thinking, Value
from llmtest.scripts.tool_answers import ToolAnswer
from llmtest.tokens.prices import price_of
from llmtest.trees.rendering import HEADER, lines


def cassette_text(file: ScriptFile, *, usage: bool = True, tools: bool = False) -> str:
    """Return the answers of the models in a script file as a tree text: a run for each step, with what it says and its usage.

    A step under a key has it as metadata. Of embeddings, the text shows how many numbers each text has. With `tools`, the
    recorded answers of tools follow. Models, keys and embedded texts are sorted: their order in a file is the one in which the
    calls began, which differs from run to run where calls are concurrent.

    >>> from llmtest.scripts.steps import say
    >>> print(cassette_text(ScriptFile("", models={"openai:gpt-5": (say("Hello", usage=(5, 1)),)})), end="")
    # llmtest tree v1
    chat openai:gpt-5
      < a1: "Hello"  usage in=5 out=1
    """
    made = _Runs(usage)
    for model, entries in sorted(_models(file).items()):
        made.model(model, entries)
    for model, vectors in sorted(file.embeddings.items()):
        for text, vector in sorted(vectors.items()):
            made.add("retriever", model, FrozenDict(query=text), FrozenDict(documents=amount(len(vector), "number")))
    for tool, answers in file.tools.items() if tools else ():
        for answer in answers:
            made.tool(tool, answer)
    # What a model was asked is not in the file, and a run without an input has an empty one.
    shown = [line for line in lines(made) if line != "  > []"]
    return "".join(f"{line}\n" for line in (HEADER, *shown))


def _models(file: ScriptFile) -> Mapping[str, Entries]:
    return file.models or ({"*": file.entries} if file.entries else {})


class _Runs:
    """The runs that a recording of the answers would have, one after the other. Holds state."""

    late_events: Sequence[Event] = ()

    def __init__(self, usage: bool) -> None:
        self.roots: list[Run] = []
        self._usage = usage
        self._calls = 0

    def model(self, model: str, entries: Entries) -> None:
        keyed = (entry for entry in entries if isinstance(entry, KeyedSteps))
        for group in sorted(keyed, key=lambda group: str(group.key)):
            for step in group.steps:
                self.step(model, step, FrozenDict(on=_facts(group.key)))
        for entry in entries:
            if not isinstance(entry, KeyedSteps):
                self.step(model, entry, EMPTY)

    def step(self, model: str, step: Step, metadata: FrozenDict) -> None:
        if step.serving.times != 1:
            metadata = FrozenDict({**metadata, "times": step.serving.times or "any"})
        given = FrozenDict(messages=FrozenList())
        if isinstance(step, Fail):
            self.add("chat", model, given, FrozenDict(error=_failure(step)), metadata)
            return
        assert isinstance(step, Reply)  # a file has no other steps
        said = FrozenList([Generation("", self._message(step))])
        if step.failure is not None:
            end = FrozenDict(error=_failure(step.failure), response=FrozenDict(generations=said))
        elif step.truncated:
            end = FrozenDict(error=Failure("GeneratorExit", "", "closed early"), response=FrozenDict(generations=said))
        else:
            end = FrozenDict(generations=said)
        self.add("chat", model, given, end, metadata)

    def tool(self, tool: str, answer: ToolAnswer) -> None:
        args = answer.args
        given = FrozenDict(input_str=args) if isinstance(args, str) else FrozenDict(inputs=args)
        if answer.unknown:
            end = FrozenDict(error=Failure("not repeated", answer.unknown))
        elif answer.failure is not None:
            end = FrozenDict(error=Failure(answer.failure.type, answer.failure.message))
        else:
            end = FrozenDict(output=answer.gives)
        self.add("tool", tool, given, end)

    def add(self, kind: Any, name: str, given: FrozenDict, end: FrozenDict, metadata: FrozenDict = EMPTY) -> None:
        run_id = UUID(int=len(self.roots) + 1)
        number = 2 * len(self.roots)
        started, ended = _KINDS[kind]
        about = (run_id, None, name, (), metadata)
        events = (
            Event(started, *about, given, number),
            Event(f"{ended}_error" if "error" in end else f"{ended}_end", *about, end, number + 1),
        )
        self.roots.append(Run(run_id, None, kind, name, (), metadata, events, ()))

    def _message(self, step: Reply) -> Message:
        blocks: list[Any] = []
        calls: list[ToolCall] = []
        for part in step.parts:
            if isinstance(part, Call):
                self._calls += 1
                args = "".join(part.pieces) if part.malformed else part.args
                calls.append(ToolCall(part.tool, args, f"call_{self._calls}"))
            elif isinstance(part, Thinking):
                blocks.append(FrozenDict(type="reasoning", reasoning="".join(part.tokens)))
            else:
                assert isinstance(part, Text | Value)
                blocks.append(FrozenDict(type="text", text="".join(part.tokens)))
        content = FrozenList(blocks) if any(block["type"] != "text" for block in blocks) or len(blocks) > 1 else None
        text = blocks[0]["text"] if content is None and blocks else ""
        reason = "refusal" if step.refusal else step.stop_reason
        return Message(
            "ai",
            text if content is None else content,
            tuple(calls),
            usage=step.usage if self._usage and isinstance(step.usage, Usage) else None,
            response_metadata=EMPTY if reason is None else FrozenDict(finish_reason=reason),
        )


_KINDS: Final = {
    "chat": ("on_chat_model_start", "on_llm"),
    "tool": ("on_tool_start", "on_tool"),
    "retriever": ("on_retriever_start", "on_retriever"),
}


def _facts(key: On) -> FrozenDict:
    facts = {name: getattr(key, name) for name in ON_KEYS}
    shown = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in facts.items() if value}
    return FrozenDict({name: FrozenList(value) if isinstance(value, list | tuple) else value for name, value in shown.items()})


def _failure(step: Fail) -> Failure:
    kind, args = step.cause
    if isinstance(kind, int):
        phrase = next((status.phrase for status in HTTPStatus if status == kind), "error")
        return Failure("StatusError", f"{kind} {args[0] if args else phrase}")
    return Failure(kind.__name__, str(args[0]) if args else "")


# -- tokens and cost


NONE: Final = Usage()


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls in a cassette have spent: tokens, and US dollars, which are None if a price or a usage is not known."""

    usage: Usage = NONE
    calls: int = 0
    unreported: int = 0
    cost: float | None = 0.0

    def __str__(self) -> str:
        unknown = f", {amount(self.unreported, 'call')} without usage" if self.unreported else ""
        return f"{self.usage.input_tokens:,} in, {self.usage.output_tokens:,} out{unknown}"


def spent(file: ScriptFile) -> Spent:
    """Return what the calls in a script file have spent, as far as its steps report usage."""
    total = Spent()
    for model, entries in _models(file).items():
        for step in _steps(entries):
            usage = getattr(step, "usage", None)
            if isinstance(step, Fail):
                continue
            total = replace(total, calls=total.calls + 1)
            if not isinstance(usage, Usage):
                total = replace(total, unreported=total.unreported + 1)
                continue
            cost = _cost(model, usage)
            known = None if total.cost is None or cost is None else total.cost + cost
            total = replace(total, usage=total.usage + usage, cost=known)
    return replace(total, cost=None) if total.unreported else total


def _steps(entries: Entries) -> Iterator[Step]:
    for entry in entries:
        yield from entry.steps if isinstance(entry, KeyedSteps) else (entry,)


def _cost(model: str, usage: Usage) -> float | None:
    try:
        return price_of(model.partition(":")[2] or model, usage)
    except PriceError:
        return None


def compare_spent(before: ScriptFile | None, after: ScriptFile) -> list[str]:
    """Return lines with the tokens of two recordings, and their cost where the prices of all models are known."""
    now = spent(after)
    if before is None:
        cost = [] if now.cost is None else [f"  cost    ${now.cost:.6g}"]
        return [f"  tokens  {now}", *cost]
    old = spent(before)
    cost = [] if old.cost is None or now.cost is None else [f"  cost    ${old.cost:.6g} -> ${now.cost:.6g}"]
    return [f"  tokens  {old} -> {now}", *cost]
