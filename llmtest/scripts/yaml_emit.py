"""Write a script as the YAML text of a script file, which `llmtest.scripts.files` reads back.

PyYAML reads each word written here as the same value, in YAML 1.1 and 1.2.
"""

from __future__ import annotations

import base64
import builtins
import json
import math
import re
import struct
import textwrap
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY, Usage
from llmtest.scripts.files import (
    EXPECTS_KEYS,
    HEADER,
    HEADER_2,
    MAX_CHARACTERS,
    ON_KEYS,
    PACE_KEYS,
    USAGE_KEYS,
    ScriptFile,
    Vectors,
    read,
)
from llmtest.scripts.fingerprints import Fingerprint, Prompt
from llmtest.scripts.gates import PATIENCE_S, NoAnswer
from llmtest.scripts.requests import KeyedSteps
from llmtest.scripts.step_types import (
    ONCE,
    Call,
    Fail,
    Part,
    Reply,
    Respond,
    Return,
    Serving,
    Step,
    Text,
    Value,
    exception_names,
    split,
)
from llmtest.scripts.tool_answers import ToolAnswer

MAX_WIDTH: Final = 110
"""How many characters a line may have before a list or mapping goes on in the next."""


def write(steps: Iterable[Step | KeyedSteps]) -> str:
    """Return the text of a script file from which `read` makes equal steps; each entry is read back to check that.

    Raises:
        ScriptError: an exception that a file cannot name, metadata that is not JSON, or another step that a file cannot hold.

    >>> from llmtest.scripts.steps import call, say
    >>> print(write([say("Hello there"), call("search", q="x")]), end="")
    # llmtest script v1
    steps:
      - "Hello there"
      - call: search
        args: {q: x}
    """
    return write_file(ScriptFile("", entries=tuple(steps)))


def write_file(file: ScriptFile, notes: Iterable[str] = ()) -> str:
    """Return the text of a script file from which `read_file` makes an equal one.

    It is of version 1 if it holds the steps of one model and nothing that was recorded. `notes` are comments for its readers,
    which stand below the header.

    Raises:
        ScriptError: as `write`.
    """
    entries = [*file.entries, *(entry for found in file.models.values() for entry in found)]
    known = [request for request in map(_request_of, _steps_of(entries)) if request is not None]
    recorded = file.recorded or max((request.recorded for request in known), default="")
    requests = _Requests(recorded, known)
    body = [f"{key}: {flow(value)}" for key, value in (("test", file.test), ("recorded", recorded)) if value]
    if file.models:
        body.append("models:")
        for model, found in file.models.items():
            body += [f"  {as_key(model)}:{'' if found else ' []'}", *_indented(_entries(found, requests, f" of `{model}`"))]
    else:
        body += ["steps:", *_entries(file.entries, requests)] if file.entries else ["steps: []"]
    for key, lines in (("tools", _tools(file.tools)), ("embeddings", _embeddings(file.embeddings))):
        body += [f"{key}:", *_indented(lines)] if lines else []
    body += requests.lines()
    keys = [line for line in body if line[:1] not in (" ", "")]
    header = HEADER if len(keys) == 1 and not file.models else HEADER_2
    text = "\n".join([header, *_comments(notes), *body]) + "\n"
    if len(text) > MAX_CHARACTERS:
        raise ScriptError(f"the file would have {len(text):,} characters; a script file has at most {MAX_CHARACTERS:,}")
    return text


def _comments(notes: Iterable[str]) -> list[str]:
    """Return each line of the notes as lines that begin with `#`."""
    found: list[str] = []
    for line in (line for note in notes for line in note.splitlines()):
        shown = "".join(character if character.isprintable() else _escape(character) for character in line)
        found += textwrap.wrap(shown, MAX_WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)
    return found


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


def _entries(steps: Iterable[Step | KeyedSteps], requests: _Requests, of: str = "") -> list[str]:
    found = []
    for number, step in enumerate(steps, 1):
        lines = _entry(_entry_lines(step, f"step {number}{of}", requests))
        if not _reads_as(step, _entry(_entry_lines(step, f"step {number}{of}", _NO_REQUESTS))):
            raise ScriptError(f"step {number}{of} cannot be written to a file, where it would be another step: {step}")
        found += lines
    return found


def _reads_as(step: Step | KeyedSteps, lines: list[str]) -> bool:
    try:
        return read("\n".join(["steps:", *lines]), "") == (step,)
    except ScriptError:
        return False


def _entry(lines: list[str]) -> list[str]:
    return [f"  - {lines[0]}", *(f"    {line}" if line else "" for line in lines[1:])]


def _entry_lines(entry: Step | KeyedSteps, name: str, requests: _Requests) -> list[str]:
    if not isinstance(entry, KeyedSteps):
        return _step_lines(entry, name, requests)
    wanted = {field: getattr(entry.key, field) for field in ON_KEYS}
    given = {key: _text_or_list(value) for key, value in wanted.items() if value or (key == "tools" and value is not None)}
    steps = [line for n, step in enumerate(entry.steps, 1) for line in _entry(_step_lines(step, f"step {n} of {name}", requests))]
    return [*_json_lines("on", given, name), *(["steps:", *steps] if steps else ["steps: []"])]


def _text_or_list(value: object) -> Any:
    """Return a single text bare, several as a list."""
    texts = sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value
    return texts[0] if isinstance(texts, list) and len(texts) == 1 else texts


def _step_lines(step: Step, name: str, requests: _Requests) -> list[str]:
    known = requests.of(_request_of(step))
    return [*_said_lines(step, name, keyed=bool(known)), *known]


def _said_lines(step: Step, name: str, *, keyed: bool) -> list[str]:
    gates = [gate for gate in step.gates if not isinstance(gate, NoAnswer)]
    if isinstance(step, Respond) or gates:
        raise ScriptError(f"{name} {'waits at a gate' if gates else 'asks a function'}, which a file cannot name: {step}")
    if isinstance(step, Return):
        raise ScriptError(f"{name} gives a value, and a file holds what a model says: {step}")
    if isinstance(step, Fail):
        error, message, wait = _failure_fields(step, name)
        short = {"error": error, "message": message} if message is not None else error
        waits = [] if wait is None else [f"retry_after: {flow(wait)}"]
        return [f"fail: {flow(short)}", *waits, *_number_lines(step, "takes_s"), *_serving_lines(step.serving, name)]
    extras = _answer_lines(step, name)
    if len(step.parts) == 1:
        return [*_part_lines(step.parts[0], name, keyed=keyed or bool(extras)), *extras]
    parts = [line for part in step.parts for line in _entry(_part_lines(part, name, keyed=False))]
    return [*(["reply:", *parts] if parts else ["reply: []"]), *extras]


def _serving_lines(serving: Serving, name: str) -> list[str]:
    lines = ["repeat: true"] if serving.times is None else [f"times: {serving.times}"] * (serving.times != ONCE.times)
    lines += ["optional: true"] * serving.optional + ["unchecked: true"] * (not serving.checked)
    if serving.expects is not None:
        wanted = {field: getattr(serving.expects, field) for field in EXPECTS_KEYS}
        given = {key: _text_or_list(value) for key, value in wanted.items() if value not in ((), None)}
        lines += _json_lines("expects", given, name)
    return lines


def _answer_lines(step: Reply, name: str) -> list[str]:
    lines = ["refusal: true"] * step.refusal
    if step.usage is not None:
        lines.append(f"usage: {flow(_usage_value(step.usage))}")
    if step.stop_reason is not None:
        lines.append(f"stop_reason: {flow(step.stop_reason)}")
    if step.response_metadata:
        lines += _json_lines("response_metadata", step.response_metadata, name)
    lines += _number_lines(step, *PACE_KEYS)
    if step.failure is not None:
        error, message, wait = _failure_fields(step.failure, name)
        value = {"error": error, "message": message, "retry_after": wait}
        given = {key: item for key, item in value.items() if item is not None}
        lines.append(f"then_fail: {flow(given if len(given) > 1 else error)}")
    if step.patience_s is not None:
        lines.append(f"then_wait: {flow(True if step.patience_s == PATIENCE_S else step.patience_s)}")
    elif step.truncated:
        lines.append("then_truncate: true")
    return [*lines, *_serving_lines(step.serving, name)]


def _number_lines(step: Step, *names: str) -> list[str]:
    numbers = ((name, getattr(step, name)) for name in names)
    return [f"{name}: {flow(number)}" for name, number in numbers if number is not None]


def _usage_value(usage: Usage | Literal[False]) -> Any:
    if usage is False:
        return False
    into, out = usage.input_tokens, usage.output_tokens
    if usage == Usage(into, out, into + out):
        return [into, out]
    counts = (into, out, usage.total_tokens, usage.input_details, usage.output_details)
    return {key: count for key, count in zip(USAGE_KEYS, counts, strict=True) if count != EMPTY}


def _part_lines(part: Part, name: str, *, keyed: bool) -> list[str]:
    """Return the lines of a part; a text that `split` cuts into its tokens may stand without the key `say`."""
    if isinstance(part, Call):
        lines = [f"call: {flow(part.tool)}"]
        lines += _json_lines("args", part.args, name) if part.args else []
        lines += [f"id: {flow(part.id)}"] if part.id is not None else []
        pieces = [quote(piece) for piece in part.pieces]
        return lines + (wrap(f"{'malformed' if part.malformed else 'deltas'}: [", pieces, "]") if pieces else [])
    if isinstance(part, Value):
        lines = _json_lines("structured", part.value, name)
        return lines if part.type is None else [*lines, f"type: {flow(part.type)}"]
    key = "say" if isinstance(part, Text) else "think"
    text = "".join(part.tokens)
    if list(part.tokens) != split(text):
        return wrap(f"{key}: [", [quote(token) for token in part.tokens], "]")
    return _text_lines(key, text) if keyed or key == "think" or _reads_as_lines(text) else [quote(text)]


def _text_lines(key: str, text: str) -> list[str]:
    """Return a text under `key`: in one line, or each of its lines in one of its own."""
    if _reads_as_lines(text):
        return [f"{key}: |-", *_indented(text.split("\n"))]
    return [f"{key}: {quote(text)}"]


def _reads_as_lines(text: str) -> bool:
    """True if `text` can be a literal block: white space at either end of a line would be lost or misread."""
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.rstrip() for line in lines)
    return len(lines) > 1 and plain and bool(lines[-1]) and text[0] not in " \n"


def _json_lines(key: str, value: object, name: str) -> list[str]:
    if not _is_json(value):
        raise ScriptError(f"{name} cannot be written to a file: its {key} are not JSON: {value!r}")
    if not isinstance(value, Mapping):
        return [f"{key}: {flow(value)}"]
    return wrap(f"{key}: {{", [f"{as_key(k)}: {flow(item)}" for k, item in value.items()] or [""], "}")


def _is_json(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _failure_fields(failure: Fail, name: str) -> tuple[str | int, str | None, float | None]:
    """Return the exception's name or the status, the message, and `retry_after`."""
    kind, args = failure.cause
    textual = len(args) < 2 and all(isinstance(argument, str) for argument in args)
    known = isinstance(kind, int) or (kind.__name__ in exception_names() and getattr(builtins, kind.__name__) is kind)
    if not (textual and known):
        shown = kind.__name__ if failure.error is kind and isinstance(kind, type) else repr(failure.error)
        raise ScriptError(
            f"{name} fails with {shown}, which a file cannot name\n"
            "  a file names Python's built-in exceptions, made from one text or from nothing, and HTTP statuses"
        )
    return kind if isinstance(kind, int) else kind.__name__, args[0] if args else None, failure.retry_after


# -- what was recorded beside the steps


class _Requests:
    """The requests that the steps of a file answered. What several of them have in common stands once, under `requests`.

    That is all but the messages; and the human messages, where several steps belong to one conversation. A step of a
    conversation has the first of its human messages, as many as its `messages` say. What a human said to one step alone stands
    beside its answer.
    """

    def __init__(self, recorded: str, requests: Iterable[Fingerprint], *, are_written: bool = True) -> None:
        self.recorded = recorded
        self.are_written = are_written
        self._names: dict[Fingerprint, str] = {}
        self._conversations: dict[tuple[Fingerprint, tuple[Prompt, ...]], str] = {}
        self._lines: list[str] = []
        self._count = 0
        groups: dict[Fingerprint, list[Fingerprint]] = {}
        for request in requests:
            groups.setdefault(self._shared(request), []).append(request)
        for shared, members in groups.items():
            self._add_group(shared, members)

    def _add_group(self, shared: Fingerprint, members: Sequence[Fingerprint]) -> None:
        repeated = [found for found in _conversations(members) if found.is_repeated]
        covers_all = len(repeated) == 1 and repeated[0].count == len(members)
        name = ""
        if shared != Fingerprint() or covers_all:
            name = self._add("", replace(shared, human=repeated[0].whole if covers_all else ()))
            self._names[shared] = name
        for found in repeated:
            own = name if covers_all else self._add(name, Fingerprint(human=found.whole))
            self._conversations |= {(shared, human): own for human in found.parts}

    def _add(self, like: str, request: Fingerprint) -> str:
        self._count += 1
        name = f"r{self._count}"
        lines = _request_lines(request)
        self._lines += [f"{name}:", *_indented([f"like: {like}", *lines] if like else lines)]
        return name

    def _shared(self, request: Fingerprint) -> Fingerprint:
        recorded = "" if request.recorded == self.recorded else request.recorded
        return replace(request, messages=EMPTY, human=(), recorded=recorded)

    def of(self, request: Fingerprint | None) -> list[str]:
        """Return the line of a step."""
        if request is None or not self.are_written:
            return []
        shared = self._shared(request)
        named = self._conversations.get((shared, request.human)) if _counts_its_questions(request) else None
        said = {
            "like": named or self._names.get(shared),
            "messages": request.messages,
            "human": () if named else _human_value(request.human),
        }
        return wrap(
            "request: {", [f"{key}: {flow(value)}" for key, value in said.items() if value not in (None, EMPTY, ())] or [""], "}"
        )

    def lines(self) -> list[str]:
        """Return the lines of the file under `requests`."""
        return ["requests:", *_indented(self._lines)] if self._lines else []


_NO_REQUESTS: Final = _Requests("", (), are_written=False)


@dataclass(slots=True)
class _Conversation:
    """Human messages that follow each other: the longest list, and those of each step. Holds state while it is collected."""

    whole: tuple[Prompt, ...]
    parts: dict[tuple[Prompt, ...], None]
    count: int = 1

    @property
    def is_repeated(self) -> bool:
        """True if it stands under `requests`: several steps have it, or it has lines, for which a step has no room."""
        return self.count > 1 or any("\n" in (p.text or "").strip() for p in self.whole)


def _conversations(requests: Iterable[Fingerprint]) -> list[_Conversation]:
    found: dict[Prompt, list[_Conversation]] = {}
    for human in (request.human for request in requests if _counts_its_questions(request)):
        known = found.setdefault(human[0], [])
        mine = next((one for one in known if all(a == b for a, b in zip(one.whole, human, strict=False))), None)
        if mine is None:
            known.append(_Conversation(human, {human: None}))
            continue
        mine.whole = max(mine.whole, human, key=len)
        mine.parts[human] = None
        mine.count += 1
    return [one for known in found.values() for one in known]


def _counts_its_questions(request: Fingerprint) -> bool:
    return bool(request.human) and request.messages.get("human") == len(request.human)


def _request_lines(request: Fingerprint) -> list[str]:
    lines = [f"{key}: {flow(value)}" for key in ("model", "source", "recorded") if (value := getattr(request, key))]
    if request.system is not None:
        lines += _prompt_lines("system", request.system)
    if len(request.human) == 1:
        lines += _prompt_lines("human", request.human[0])
    elif request.human:
        lines += ["human:", *(line for prompt in request.human for line in _entry(_prompt_entry(prompt)))]
    for key in ("tools", "parameters"):
        given = getattr(request, key)
        lines += wrap(f"{key}: {{", [f"{as_key(name)}: {flow(item)}" for name, item in given.items()], "}") if given else []
    return [*lines, *([f"response_format: {flow(request.response_format)}"] if request.response_format else [])]


def _prompt_lines(key: str, prompt: Prompt) -> list[str]:
    if prompt.text is not None:
        return _text_lines(key, prompt.text)
    return [f"{key}:", *_indented(_digest_lines(prompt))]


def _prompt_entry(prompt: Prompt) -> list[str]:
    """Return a text of a prompt as an entry of a list."""
    if prompt.text is None:
        return _digest_lines(prompt)
    first, *rest = _text_lines("", prompt.text)
    return [first.removeprefix(": "), *rest]


def _digest_lines(prompt: Prompt) -> list[str]:
    lines = [f"{line} " for line in prompt.lines[:-1]] + [*prompt.lines[-1:]]
    return [f"begins: {quote(prompt.begins)}", *wrap('lines: "', lines, '"', between="")]


def _human_value(human: Sequence[Prompt]) -> Any:
    """Return human messages as a step has them beside it: one bare, several as a list."""
    values = [{"begins": p.begins, "lines": " ".join(p.lines)} if p.text is None else p.text for p in human]
    return values[0] if len(values) == 1 else values or ()


def _steps_of(entries: Iterable[Step | KeyedSteps]) -> Iterator[Step]:
    return (step for entry in entries for step in (entry.steps if isinstance(entry, KeyedSteps) else (entry,)))


def _request_of(step: Step) -> Fingerprint | None:
    return step.serving.request


def _tools(tools: Mapping[str, Sequence[ToolAnswer]]) -> list[str]:
    lines = []
    for name, answers in tools.items():
        lines.append(f"{as_key(name)}:{'' if answers else ' []'}")
        lines += [line for number, answer in enumerate(answers, 1) for line in _entry(_answered(answer, name, number))]
    return lines


def _answered(answer: ToolAnswer, tool: str, number: int) -> list[str]:
    """Return the lines of one answer of a tool. Its `args` come first, so that it begins with what was asked."""
    name = f"answer {number} of the tool `{tool}`"
    lines = _json_lines("args", answer.args, name)
    if answer.unknown:
        lines += _text_lines("unknown", answer.unknown)
    elif answer.failure is not None:
        failure = answer.failure
        said = {"error": failure.type, "message": failure.message, "repr": failure.repr}
        given = {key: value for key, value in said.items() if value}
        lines.append(f"fails: {flow(given if len(given) > 1 else failure.type)}")
    else:
        lines += _text_lines("gives", answer.gives) if isinstance(answer.gives, str) else _json_lines("gives", answer.gives, name)
    more = {"artifact": answer.artifact, "message": answer.message, "runs_within": answer.runs_within}
    more["within"] = _text_or_list(answer.within)
    for key, value in more.items():
        lines += _json_lines(key, value, name) if value not in (None, EMPTY, 0, []) else []
    return lines


def _embeddings(models: Mapping[str, Vectors]) -> list[str]:
    lines = []
    for model, vectors in models.items():
        lines.append(f"{as_key(model)}:")
        lines += [f"  {as_key(text)}: {_vector(vector)}" for text, vector in vectors.items()]
    return lines


def _vector(vector: Sequence[float]) -> str:
    """Return a short vector as its numbers, a long one as base64 of its floats: of 4 bytes if these are exact."""
    if len(vector) <= MAX_NUMBERS:
        return flow([float(number) for number in vector])
    is_exact = list(array("f", vector)) == list(vector)  # `struct` would refuse numbers that are too large for 4 bytes
    packed = struct.pack(f"<{len(vector)}{'f' if is_exact else 'd'}", *vector)
    return f'"{"f4" if is_exact else "f8"}:{base64.b64encode(packed).decode()}"'


MAX_NUMBERS: Final = 8
"""How many numbers a vector may have that is written as a list."""


# -- words of YAML


def flow(value: object) -> str:
    """Return a JSON value in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{as_key(key)}: {flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(flow(item) for item in value)}]"
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else quote(value)
    return json.dumps(value)


_WORD: Final = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z_][A-Za-z0-9_.-]*")


def as_key(key: str) -> str:
    """Return a key; PyYAML reads a long one only after a question mark."""
    text = flow(key)
    return text if len(text) < 1000 else f"? {text} "


def quote(text: str) -> str:
    """Return text in double quotes; characters that do not print become escapes."""
    return f'"{"".join(_escape(character) for character in text)}"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if character.isprintable():
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def wrap(start: str, items: Sequence[str], end: str, between: str = ", ") -> list[str]:
    """Return a list, a mapping or words in as few lines as its items fill."""
    lines = [start]
    for number, item in enumerate(items, 1):
        piece = item + (between if number < len(items) else end)
        if len(lines[-1]) + len(piece) > MAX_WIDTH and number > 1:
            lines.append("  ")
        lines[-1] += piece
    return [line.rstrip() for line in lines]
