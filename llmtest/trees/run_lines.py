"""The lines of one run in a tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, Literal, TypeGuard

from llmtest.core.text import plural
from llmtest.events.callbacks import ENDINGS, INPUT_OF, MODELS, OF_LANGGRAPH, OUTPUT_OF, START_KINDS, STREAM_EVENT, STREAMED
from llmtest.events.content import BlockKind, pieces_of, read_stream_event
from llmtest.events.events import Event, Run
from llmtest.events.words import EMPTY, Failure, FrozenDict, FrozenList, Generation, Structured, ToolCall, Usage
from llmtest.order.siblings import is_node
from llmtest.trees.parameters import model_name, parameter_texts, tool_marks
from llmtest.trees.states import State, is_hook, news
from llmtest.trees.values import MAX_LINE_CHARACTERS, Words

Detail = Literal["outline", "short", "default", "full"]

REAL: Final = "(real model)"
"""Stands after the name of a model that was asked over the network."""

MAX_TOKENS: Final = 40
"""Of more tokens, those in the middle are left out."""

_KEY: Final = re.compile(r"map:key:(?P<key>.*)|(?P<branch>condition|branch):(?P<number>\d+|default)", re.DOTALL)
_STRUCTURE: Final = re.compile(rf"(?:seq:step|graph:step|retry:attempt):\d+|step_\d+|{_KEY.pattern}", re.DOTALL)
_PLUMBING: Final = re.compile(
    r"(?:ls_|lc_|langgraph_|__pregel|LANGSMITH_)|(?:checkpoint_(?:ns|id|map)|thread_id|thread_ts|run_id|revision_id)$"
)
_VERSIONS: Final = re.compile(r"(?:lc_|ls_|langgraph_|LANGCHAIN_).*versions?$|revision_id$", re.IGNORECASE)
_INTERRUPT_ID: Final = re.compile("[0-9a-f]{16,32}")
_NORMAL_STOPS: Final = frozenset(("stop", "end_turn", "tool_calls", "tool_use", "function_call", "complete", "completed"))


@dataclass(slots=True)
class TextPart:
    """One entry of a run: its sign, its lines, and the end of the first line. `unshown` are marks of things that the entry
    is about: they get their numbers here."""

    sign: str
    lines: list[str]
    suffix: str = ""
    unshown: str = ""


@dataclass(slots=True)
class _Shape:
    """The text of one run: its first line, the entries before the runs inside it, between them, and after them."""

    head: str
    input: list[str]
    before: list[TextPart]
    notes: list[tuple[Event, TextPart]]
    after: list[TextPart]

    def texts(self) -> Iterator[str]:
        yield self.head
        for part in (*self.before, *(part for _, part in self.notes), *self.after):
            yield f"{part.sign} {part.lines[0]}{part.suffix}"
            yield from part.lines[1:]


class Shapes:
    """The shapes of runs. Each is made once, below the parent under which it is first met."""

    def __init__(self, words: Words, still: frozenset[int], keeps: Callable[[Run], bool] | None = None) -> None:
        self.words = words
        self.keeps = keeps
        self.strays: set[int] = set()
        self.expected: dict[int, State] = {}
        """The expected state by the `id` of a node."""
        self.attempts: dict[int, int] = {}
        """The number of an attempt by the `id` of a node that was run again."""
        self._still = still
        self._shapes: dict[int, _Shape] = {}
        self._seen_tags: dict[tuple[str, ...], frozenset[str]] = {}
        self._seen_metadata: dict[int, dict[str, object]] = {}

    def keeps_run(self, run: Run) -> bool:
        return self.keeps is None or self.keeps(run)

    def of(self, run: Run, parent: Run | None) -> _Shape:
        if parent is not None and not self.keeps_run(parent):
            parent = None  # the text does not show it, so the run is not compared with it
        shape = self._shapes.get(id(run))
        if shape is None:
            shape = self._shapes[id(run)] = self._shape(run, parent)
        return shape

    def _shape(self, run: Run, parent: Run | None) -> _Shape:
        streamed: list[Event] = []
        notes: list[tuple[Event, TextPart]] = []
        end = None
        for event in run.events[1:] if run.start.kind in START_KINDS else run.events:
            if event.kind in STREAMED:
                streamed.append(event)
            elif end is None and event.kind in ENDINGS:
                end = event
            elif not self._is_shown_elsewhere(event):
                notes.append((event, self._note(event)))
        given = self._input(run, end)
        before = [*self._input_part(run, parent, given), *self._stream_parts(streamed)]
        return _Shape(self._head(run, parent), given, before, notes, self._after(run, end))

    # the first line

    def _head(self, run: Run, parent: Run | None) -> str:
        words = ["still"] if id(run) in self._still else []
        words += [f"{word}:" for word in self._keys(run.tags) if id(run) not in self.strays]
        words += [run.kind, self.words.atom(run.name) + self._arguments(run)]
        if run.kind in MODELS and run.is_real:
            words.append(REAL)
        if run.tool_call_id is not None:
            words.append(self.words.mark("call", run.tool_call_id))
        words += [f"attempt={self.words.atom(tag[14:])}" for tag in run.tags if tag.startswith("retry:attempt:")]
        words += [f"attempt={self.attempts[id(run)]}"] if id(run) in self.attempts else []
        words += self._model_fields(run) if run.kind in MODELS else []
        return " ".join((*words, *self._about(run, parent)))

    def _model_fields(self, run: Run) -> Iterator[str]:
        name = None if self.words.short else model_name(run)
        if name is not None:
            yield f"model={self.words.atom(name)}"
        tools = tool_marks(run, self.words)
        if tools:
            yield f"tools={','.join(tools)}"

    def _keys(self, tags: Sequence[str]) -> Iterator[str]:
        """Return the part of a run in its parent: the key of a map, the condition or branch of a branch."""
        for found in filter(None, map(_KEY.fullmatch, tags)):
            key = found["key"]
            yield f"{found['branch']} {found['number']}" if key is None else self.words.atom(key, ":")

    def _arguments(self, run: Run) -> str:
        if run.kind != "tool":
            return ""
        inputs = run.start.payload.get("inputs")
        if isinstance(inputs, Mapping):
            return self.words.call_text("", inputs)
        given = inputs if inputs is not None else run.start.payload.get("input_str", "")
        return f"({self.words.flow(given)})"

    def _about(self, run: Run, parent: Run | None) -> Iterator[str]:
        """Return tags and metadata that differ from the parent's. A minus marks what is gone."""
        tags, theirs = self._tags(run), self._tags(parent) if parent else frozenset()
        if tags != theirs:
            new = [self.words.atom(tag, ",") for tag in sorted(tags - theirs)]
            gone = [f"-{self.words.atom(tag, ',')}" for tag in sorted(theirs - tags)]
            yield f"tags={','.join((*new, *gone))}"
        meta, before = self._metadata(run), self._metadata(parent) if parent else {}
        if meta != before:
            changed = {key: value for key, value in meta.items() if key not in before or before[key] != value}
            entries = [f"{key}{text}" for key, text, _ in self.words.entries(changed)]
            lost = [f'-"{self.words.clean(key)}"' for key in sorted(before.keys() - meta.keys())]
            yield f"meta={{{', '.join((*entries, *lost))}}}"

    def _tags(self, run: Run) -> frozenset[str]:
        """Return the tags that the program gave. The position in the tree shows the tags that name a position."""
        tags = self._seen_tags.get(run.tags)
        if tags is None:
            hidden = () if self.words.full else ("langsmith:",)
            shown = (tag for tag in run.tags if not tag.startswith(hidden) and not _STRUCTURE.fullmatch(tag))
            tags = self._seen_tags[run.tags] = frozenset(shown)
        return tags

    def _metadata(self, run: Run) -> dict[str, object]:
        meta = self._seen_metadata.get(id(run.metadata))
        if meta is None:
            hidden = _VERSIONS.match if self.words.full else _PLUMBING.match
            meta = {key: value for key, value in run.metadata.items() if not hidden(key)}
            self._seen_metadata[id(run.metadata)] = meta
        return meta

    # input

    def _input(self, run: Run, end: Event | None) -> list[str]:
        payload = run.start.payload
        if run.kind == "chain":
            late = end.payload if end is not None and "inputs" in end.payload else payload
            return self.words.value(late.get("inputs"))
        if run.kind == "llm":
            prompts = payload.get("prompts", ())
            return self.words.value(prompts[0] if len(prompts) == 1 else prompts)
        return self.words.value(payload.get(INPUT_OF[run.kind]))

    def _input_part(self, run: Run, parent: Run | None, given: list[str]) -> Iterator[TextPart]:
        if id(run) in self._still:
            return
        if run.kind != "tool" and (parent is None or self.of(parent, None).input != given):
            yield from self._given(run, given)
        parameters = run.start.payload.get("invocation_params")
        if parameters and self.words.full:
            first, *rest = self.words.value(parameters)
            yield TextPart("*", [f"params {first}", *rest])
        elif run.kind in MODELS and not self.words.short:
            yield from self._parameters(parameter_texts(run, self.words))

    def _given(self, run: Run, given: list[str]) -> Iterator[TextPart]:
        """Yield the input; of the state of a node with several keys, what is not as the nodes before have left it."""
        expected = self.expected.get(id(run))
        changed = news(run, expected) if expected is not None and not self.words.full and len(expected) > 1 else None
        if changed is None:
            yield TextPart(">", given)
        elif changed:
            first, *rest = self.words.value(changed)
            yield TextPart(">", [f"... {first}", *rest])

    def is_quiet(self, run: Run, parent: Run) -> bool:
        """True for a hook of middleware that has done nothing, with a state that is as the nodes before have left it."""
        if self.words.full or self.words.outline or self.keeps is not None or not is_hook(run):
            return False
        shape = self.of(run, parent)
        is_plain = shape.head == f"chain {self.words.atom(run.name)}"
        return is_plain and (not shape.before or news(run, self.expected.get(id(run))) == {})

    def _parameters(self, parameters: list[list[str]]) -> Iterator[TextPart]:
        """Yield the parameters that were set; those that need several lines are written once."""
        lines = [line for parameter in parameters for line in parameter]
        shown = " ".join(lines)
        if len(lines) > len(parameters) or len(shown) > MAX_LINE_CHARACTERS:
            shown = self.words.mark("params", shown, ["", *lines])
        if parameters:
            yield TextPart("*", [shown])

    # stream

    def _stream_parts(self, events: Sequence[Event]) -> Iterator[TextPart]:
        if not events:
            return
        streams: dict[str, list[str]] = {}
        # With version 3 a model tells its tokens to handlers, and LangChain tells them once more as events.
        told = [event for event in events if event.kind == STREAM_EVENT and pieces_of(event.payload)]
        for event in told or events:
            for channel, text in _pieces(event.payload):
                streams.setdefault(channel, []).append(text)
        if len(streams) > 1 and len(streams.get("empty", ())) == 1:
            del streams["empty"]  # langchain-core closes each stream with an empty token of its own
        yield from (self._stream(channel, streams[channel]) for channel in _CHANNELS if channel in streams)
        kinds = [read_stream_event(event.payload["event"]).name for event in events if "event" in event.payload]
        if kinds:
            runs = ((kind, len(list(same))) for kind, same in groupby(kinds))
            shown = " ".join(f"{self.words.atom(kind)}{f'*{times}' if times > 1 else ''}" for kind, times in runs)
            yield TextPart("~", [f"{len(kinds)} {plural(len(kinds), 'stream event')}: {shown}"])

    def _stream(self, channel: str, texts: list[str]) -> TextPart:
        what = f"{len(texts)} {plural(len(texts), f'{channel} token'.strip())}"
        whole = "".join(texts)
        if not whole:
            return TextPart("~", [what])
        if self.words.is_volatile(whole):  # an id that is cut into tokens has no alias
            return TextPart("~", [f'{what}, joined: "{self.words.clean(whole)}"'])
        half = len(texts) if self.words.full or len(texts) <= MAX_TOKENS else MAX_TOKENS // 2
        halves = (texts[:half], texts[half:][-half:])
        shown = ("|".join(self.words.clean(text).replace("|", "\\|") for text in part) for part in halves if part)
        return TextPart("~", [f"{what}: " + " ... ".join(f'"{text}"' for text in shown)])

    # events between the runs inside it

    def _is_shown_elsewhere(self, event: Event) -> bool:
        """True for LangGraph's callbacks that repeat the tree. LangGraph fires them since 1.2, and the tree must be the same
        before: a paused run ends so, a resumed graph has the command, or nothing, as its input."""
        return not self.words.full and event.kind in OF_LANGGRAPH

    def _note(self, event: Event) -> TextPart:
        payload = event.payload
        if event.kind == "on_text":
            return TextPart("@", [f"text {self.words.flow(payload.get('text'))}"])
        if event.kind == "on_retry":
            return TextPart(
                "@", self._error_lines(f"retry {self.words.flow(payload.get('attempt_number'))}", payload.get("error"))
            )
        if event.kind == "on_custom_event":
            first, *rest = self.words.value(payload.get("data"))
            return TextPart("@", [f"event {self.words.atom(str(payload.get('name')))} {first}", *rest])
        if event.kind == "on_agent_action":
            given = payload.get("tool_input")
            call = ToolCall(str(payload.get("tool")), given if isinstance(given, FrozenDict) else str(given))
            return TextPart("@", [f"action {self.words.request(call)}"])
        if event.kind == "on_agent_finish":
            first, *rest = self.words.value(payload.get("return_values"))
            return TextPart("@", [f"finish {first}", *rest])
        if event.kind == "on_interrupt":
            return self._paused("@", "interrupt", _interrupts(FrozenList([payload.get("interrupts")])))
        if event.kind == "on_resume":
            return TextPart("@", ["resume"])
        # An unknown callback is written with its payload; a second start or end only repeats the run.
        repeats = not payload or event.kind in START_KINDS or event.kind in ENDINGS
        first, *rest = [""] if repeats else self.words.value(payload)
        return TextPart("@", [f"{self.words.atom(event.kind)} {first}".rstrip(), *rest])

    def _paused(self, sign: str, opening: str, interrupts: Sequence[Structured]) -> TextPart:
        """Return the entry that says what the program waits for."""
        if not interrupts:
            return TextPart(sign, [opening.rstrip(":")])
        # Concurrent nodes are interrupted in any order.
        told = [(interrupt.fields.get("value"), interrupt.fields.get("id")) for interrupt in interrupts]
        told.sort(key=lambda pair: self.words.plain("\n".join(self.words.value(pair[0]))))
        values = [value for value, _ in told]
        first, *rest = self.words.value(values[0] if len(values) == 1 else FrozenList(values))
        ids = "".join(self.words.mark("interrupt", number) for _, number in told if _is_interrupt_id(number))
        return TextPart(sign, [f"{opening} {first}", *rest], unshown=ids)

    def _error_lines(self, opening: str, error: object) -> list[str]:
        if not isinstance(error, Failure):
            return [opening]
        return self.words.labelled(f"{opening} {self.words.atom(error.type)}".strip(), error.message)

    # ending

    def _after(self, run: Run, end: Event | None) -> list[TextPart]:
        if end is None:
            return [TextPart("?", ["open"])]
        error = end.payload.get("error")
        if not isinstance(error, Failure):
            return [*self._output(run, end.payload), *self._pause(run)]
        partial = end.payload.get("response") or EMPTY
        parts = self._output(run, partial) if partial.get("generations") else []
        return [*(replace(part, sign="< partial") for part in parts), self._ending(error)]

    def _pause(self, run: Run) -> Iterator[TextPart]:
        """Yield the pause of a graph: its run ends normally, although a node waits, or it stopped before or after one."""
        # LangGraph tells of it since 1.2; the nodes that wait are there before, too.
        waiting = [child.end for child in run.children if child.ended == "paused" and is_node(child)]
        if waiting or any(event.kind == "on_interrupt" for event in run.events):
            errors = (end.payload.get("error") for end in waiting if end is not None)
            told = [event.payload.get("interrupts") for event in run.events if event.kind == "on_interrupt"]
            found = _interrupts(FrozenList(error.payload for error in errors if isinstance(error, Failure)))
            yield self._paused("?", "paused:", found or _interrupts(FrozenList(told)))

    def _output(self, run: Run, payload: Mapping[str, Any]) -> list[TextPart]:
        if run.kind not in MODELS:
            show = self.words.tool_output if run.kind == "tool" else self.words.value
            return [TextPart("<", show(payload.get(OUTPUT_OF[run.kind])))]
        candidates = payload.get("generations") or ()
        parts = [TextPart("<", self.words.value(c.message if c.message else c.text), self._stop(c)) for c in candidates]
        parts = parts or [TextPart("<", ["nothing"])]
        parts[-1].suffix += _usage(run.usage, self.words)
        return parts

    def _stop(self, candidate: Generation) -> str:
        """Return the stop reason of a model that did not finish normally."""
        told = candidate.message.response_metadata if candidate.message else candidate.info
        reason = next((str(told[key]) for key in ("finish_reason", "stop_reason", "done_reason") if told.get(key)), "stop")
        return "" if reason.lower() in _NORMAL_STOPS else f"  stop={self.words.atom(reason)}"

    def _ending(self, error: Failure) -> TextPart:
        if error.ended == "error":
            return TextPart("!", self._error_lines("", error))
        if error.ended == "paused":
            interrupts = _interrupts(error.payload)
            return (
                self._paused("?", "paused:", interrupts)
                if interrupts
                else TextPart("?", [f"paused: {self.words.atom(error.type)}"])
            )
        if error.ended == "handed off":
            command = error.payload[0] if isinstance(error.payload, list) and error.payload else None
            first, *rest = self.words.value(command)
            return TextPart("^", [f"handed off: {first}", *rest])
        opening = f"stopped {self.words.atom(error.type)}" if error.ended == "stopped" else error.ended
        return TextPart("!", self.words.labelled(opening, error.message))


_CHANNELS: Final = ("reasoning", "", "call", "empty")
_CHANNEL_OF: Final[Mapping[BlockKind, str]] = {"text": "", "reasoning": "reasoning", "call": "call", "other": ""}


def _pieces(payload: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (channel, text) for each piece of a token or stream event."""
    pieces = pieces_of(payload)
    if not pieces and "token" in payload:
        return [("empty", "")]
    return [(_CHANNEL_OF[piece.kind], f"<{piece.type}>" if piece.kind == "other" else piece.text or "") for piece in pieces]


def interrupt_ids(run: Run) -> Iterator[tuple[str, object]]:
    """Yield the ids of interrupts that `run` tells of, with their values: LangGraph makes the ids from random ones."""
    for payload in _interrupt_payloads(run):
        for interrupt in _interrupts(payload):
            if _is_interrupt_id(interrupt.fields.get("id")):
                yield interrupt.fields["id"], interrupt.fields.get("value")
    inputs = run.start.payload.get("inputs")
    resumed = inputs.fields.get("resume") if isinstance(inputs, Structured) else None
    yield from ((key, None) for key in (resumed if isinstance(resumed, dict) else ()) if _is_interrupt_id(key))


def _is_interrupt_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _INTERRUPT_ID.fullmatch(value) is not None


def _interrupt_payloads(run: Run) -> Iterator[object]:
    for event in run.events:
        if event.kind == "on_interrupt":
            yield event.payload.get("interrupts")
        elif event.kind in ENDINGS:
            error, outputs = event.payload.get("error"), event.payload.get("outputs")
            if isinstance(error, Failure):
                yield error.payload
            if isinstance(outputs, dict):
                yield outputs.get("__interrupt__")


def _interrupts(payload: object) -> list[Structured]:
    if isinstance(payload, Structured) and payload.type == "Interrupt":
        return [payload]
    return [found for item in payload for found in _interrupts(item)] if isinstance(payload, list) else []


def _usage(usage: Usage | None, show: Words) -> str:
    if usage is None:
        return ""
    words = [f"in={usage.input_tokens}", *_details(usage.input_details, show), f"out={usage.output_tokens}"]
    words += _details(usage.output_details, show)
    if usage.total_tokens != usage.input_tokens + usage.output_tokens:
        words.append(f"total={usage.total_tokens}")
    return f"  usage {' '.join(words)}"


def _details(details: Mapping[str, object], show: Words) -> list[str]:
    shown = [f"{show.atom(name, '=')}={show.flow(details[name])}" for name in sorted(details) if details[name]]
    return [f"({' '.join(shown)})"] if shown else []
