"""Write a script as the YAML text of a script file, which `llmtest.scripts.files` reads back.

PyYAML reads each word written here as the same value, in YAML 1.1 and 1.2.
"""

from __future__ import annotations

import builtins
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY, Usage
from llmtest.scripts.files import EXPECTS_KEYS, HEADER, ON_KEYS, PACE_KEYS, USAGE_KEYS, read
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
    entries = [(step, _entry(_entry_lines(step, f"step {number}"))) for number, step in enumerate(steps, 1)]
    for number, (step, lines) in enumerate(entries, 1):
        if not _reads_as(step, lines):
            raise ScriptError(f"step {number} cannot be written to a file, where it would be another step: {step}")
    body = [line for _, lines in entries for line in lines]
    return "\n".join([HEADER, *(["steps:", *body] if body else ["steps: []"])]) + "\n"


def _reads_as(step: Step | KeyedSteps, lines: list[str]) -> bool:
    try:
        return read("\n".join(["steps:", *lines]), "") == (step,)
    except ScriptError:
        return False


def _entry(lines: list[str]) -> list[str]:
    return [f"  - {lines[0]}", *(f"    {line}" if line else "" for line in lines[1:])]


def _entry_lines(entry: Step | KeyedSteps, name: str) -> list[str]:
    if not isinstance(entry, KeyedSteps):
        return _step_lines(entry, name)
    wanted = {field: getattr(entry.key, field) for field in ON_KEYS}
    given = {key: _text_or_list(value) for key, value in wanted.items() if value or (key == "tools" and value is not None)}
    steps = [line for n, step in enumerate(entry.steps, 1) for line in _entry(_step_lines(step, f"step {n} of {name}"))]
    return [*_json_lines("on", given, name), *(["steps:", *steps] if steps else ["steps: []"])]


def _text_or_list(value: object) -> Any:
    """Return a single text bare, several as a list."""
    texts = sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value
    return texts[0] if isinstance(texts, list) and len(texts) == 1 else texts


def _step_lines(step: Step, name: str) -> list[str]:
    if isinstance(step, Respond) or step.gates:
        raise ScriptError(f"{name} {'waits at a gate' if step.gates else 'asks a function'}, which a file cannot name: {step}")
    if isinstance(step, Return):
        raise ScriptError(f"{name} gives a value, and a file holds what a model says: {step}")
    if isinstance(step, Fail):
        error, message, wait = _failure_fields(step, name)
        short = {"error": error, "message": message} if message is not None else error
        waits = [] if wait is None else [f"retry_after: {flow(wait)}"]
        return [f"fail: {flow(short)}", *waits, *_number_lines(step, "takes_s"), *_serving_lines(step.serving, name)]
    extras = _answer_lines(step, name)
    if len(step.parts) == 1:
        return [*_part_lines(step.parts[0], name, keyed=bool(extras)), *extras]
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
    return [*lines, *(["then_truncate: true"] * step.truncated), *_serving_lines(step.serving, name)]


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
    if _reads_as_lines(text):
        return [f"{key}: |-", *(f"  {line}" if line else "" for line in text.split("\n"))]
    return [f"{key}: {quote(text)}" if keyed or key == "think" else quote(text)]


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


def wrap(start: str, items: Sequence[str], end: str) -> list[str]:
    """Return a list or mapping in as few lines as its items fill."""
    lines = [start]
    for number, item in enumerate(items, 1):
        piece = item + (", " if number < len(items) else end)
        if len(lines[-1]) + len(piece) > MAX_WIDTH and number > 1:
            lines.append("  ")
        lines[-1] += piece
    return [line.rstrip() for line in lines]
