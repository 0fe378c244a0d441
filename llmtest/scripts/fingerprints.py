"""Fingerprints: what a recorded answer was an answer to, as far as a file keeps it.

A fingerprint never chooses a step. It tells, when the step is served, what has changed in the program since the recording.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple, Protocol

from llmtest.core.masks import table
from llmtest.core.text import amount
from llmtest.events.words import EMPTY, FrozenDict, Message

Mode = Literal["fail", "warn", "ignore"]

mode: Mode = "fail"
"""What happens when a step answers another request than it was recorded for. The ini key `llmtest_stale` sets it."""

CALLBACKS: Final = "callbacks"
"""The source of what LangChain's callbacks tell: a class names parameters in its own way, and gives only a part of them."""
MAX_KEPT: Final = 100
"""How many characters a system prompt of one line may have that a file keeps as it is."""
MAX_QUOTED: Final = 60
"""How many characters of a text a difference quotes."""
MAX_SHOWN_LINES: Final = 10
"""How many lines of the difference between two prompts are shown."""


class Request(Protocol):
    """What a fingerprint is taken of: `llmtest.scripts.requests.Request`."""

    @property
    def messages(self) -> Sequence[Message]: ...
    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def tool_choice(self) -> Any: ...
    @property
    def stop(self) -> Sequence[str] | None: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def over_http(self) -> bool: ...


class Asked(NamedTuple):
    """A request as it is now, whatever the program does to its messages later. It keeps no run alive."""

    messages: Sequence[Message]
    tools: Mapping[str, Mapping[str, Any]]
    tool_choice: Any
    stop: Sequence[str] | None
    params: Mapping[str, Any]
    over_http: bool

    @classmethod
    def of(cls, request: Request) -> Asked:
        """Return what is compared of `request`."""
        return cls(
            tuple(request.messages),
            request.tools,
            request.tool_choice,
            None if request.stop is None else tuple(request.stop),
            dict(request.params),
            request.over_http,
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """The system messages of a request, joined, or one human message: a text, or its first line and digests of its lines."""

    text: str | None
    """None where a file keeps only digests."""
    first: str = ""
    digests: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, *, keep: bool = False) -> Prompt:
        """Return `text` as it goes into a file: as it is if it is one short line or `keep` is True, else as digests."""
        hidden = table().without_secrets(text)
        if keep or (len(hidden) <= MAX_KEPT and len(hidden.splitlines()) <= 1):
            return cls(hidden)
        whole = cls(hidden)
        return cls(None, whole.begins, whole.lines)

    def hidden(self) -> Prompt:
        """Return the same with masks in place of secrets."""
        if self.text is None:
            return replace(self, first=table().without_secrets(self.first))
        return replace(self, text=table().without_secrets(self.text))

    @property
    def begins(self) -> str:
        """The first line that is not empty, cut."""
        if self.text is None:
            return self.first
        return next((line.strip() for line in self.text.splitlines() if line.strip()), "")[:MAX_KEPT]

    @property
    def lines(self) -> tuple[str, ...]:
        """The digest of each line. Dates, times and ids in a line do not count."""
        if self.text is None:
            return self.digests
        return tuple(map(_line_digest, table().without_secrets(self.text).splitlines()))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of the request that a recorded step answered.

    `human` are the human messages, in order; empty if they are not known. Answers of the model and results of tools are not
    kept: they differ from run to run. `tools` maps each bound tool to its arguments and the digest of their schema:
    `(city, days?) 0328e3`. `messages` counts the messages of the prompt by role. `parameters` are those of the call,
    `response_format` the name and digest of the format that was asked for. `model` is empty where a file names the model
    elsewhere.
    """

    model: str = ""
    system: Prompt | None = None
    human: tuple[Prompt, ...] = ()
    tools: FrozenDict = EMPTY
    messages: FrozenDict = EMPTY
    parameters: FrozenDict = EMPTY
    response_format: str = ""
    recorded: str = ""
    """The day of the recording, as in 2026-11-29; empty if it is not known."""
    source: str = ""
    """`CALLBACKS`; empty for a request that was read as the provider gets it."""


def fingerprint(request: Request, *, model: str = "", recorded: str = "", keep: bool = False) -> Fingerprint:
    """Return the fingerprint of `request`. With `keep`, its system prompt and human messages are kept whole."""
    messages = request.messages
    system = "\n".join(message.text for message in messages if message.role == "system")
    params = {**request.params}
    if request.tool_choice is not None:
        params["tool_choice"] = request.tool_choice
    if request.stop:
        params["stop"] = list(request.stop)
    return Fingerprint(
        model,
        Prompt.of(system, keep=keep) if system else None,
        tuple(Prompt.of(_said(message), keep=keep) for message in messages if message.role == "human"),
        FrozenDict({name: signature(schema) for name, schema in sorted(request.tools.items())}),
        FrozenDict(Counter(message.role for message in messages)),
        parameters_of(params),
        format_of(params),
        recorded,
        "" if request.over_http else CALLBACKS,
    )


# -- the parts of a request


def _said(message: Message) -> str:
    """Return the text of a human message, with the digest of each image or file in it."""
    blocks = message.content if isinstance(message.content, list | tuple) else ()
    payloads = (max(_strings(block), key=len, default="") for block in blocks if _is_attachment(block))
    return " ".join([message.text.strip(), *(f"[attachment {digest(_bytes_of(payload))}]" for payload in payloads)]).strip()


def _is_attachment(block: object) -> bool:
    return isinstance(block, Mapping) and not isinstance(block.get("text"), str)


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in a block of a message that may be its data, its address or its id, and not what it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _ABOUT_DATA:
                yield from _strings(item)
    elif isinstance(value, str):
        yield value


_ABOUT_DATA: Final = frozenset(
    {"type", "source_type", "media_type", "mime_type", "mimeType", "detail", "filename", "cache_control", "format"}
)


def _bytes_of(payload: str) -> str:
    """Return data in base64 as any API has it, or an address without its query, where a signature stands."""
    if payload.startswith(("http://", "https://")):
        return payload.partition("?")[0]
    return payload.partition(";base64,")[2].rstrip("=") or payload.translate(_URL_SAFE).rstrip("=")


_URL_SAFE: Final = str.maketrans("-_", "+/")


def signature(schema: Mapping[str, Any]) -> str:
    """Return the arguments of a tool, and the digest of their schema.

    >>> signature({"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]})
    '(city, days?) 0328e3'
    """
    needed = schema.get("required") or ()
    arguments = (name if name in needed else f"{name}?" for name in schema.get("properties") or ())
    return f"({', '.join(arguments)}) {digest(_bare(schema))}"


def _bare(schema: object) -> object:
    """Return a JSON schema without what integrations add to it, each in its own way."""
    if isinstance(schema, Mapping):
        return {key: _bare(item) for key, item in schema.items() if not (key in _ADDED and not isinstance(item, Mapping))}
    return [_bare(item) for item in schema] if isinstance(schema, list | tuple) else schema


_ADDED: Final = frozenset({"title", "additionalProperties", "strict", "$schema"})


def parameters_of(params: Mapping[str, Any]) -> FrozenDict:
    """Return the parameters that change what a model says, under the names of the API."""
    found: dict[str, object] = {}
    for key, value in params.items():
        if key in _NO_PARAMETERS or value is None:
            continue
        inner = value.items() if isinstance(value, Mapping) and key not in _VALUES else [(key, value)]
        for name, item in inner:
            if name not in _NO_PARAMETERS and (shown := _parameter(item)) is not None:
                found[name] = table().hide({name: shown})[name]
    return FrozenDict(sorted(found.items()))


def _parameter(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_KEPT else None
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
    return text if value and len(text) <= MAX_KEPT else None


_VALUES: Final = frozenset({"tool_choice", "stop"})
_NO_PARAMETERS: Final = frozenset(
    {
        # What a fingerprint has elsewhere, or what has no effect on the answer.
        *("tools", "functions", "messages", "model", "model_name", "input", "contents", "system", "system_instruction"),
        *("systemInstruction", "instructions", "response_format", "output_config", "output_format", "text", "format"),
        *("responseSchema", "responseJsonSchema", "responseMimeType", "stream", "streaming", "stream_options", "stream_usage"),
        *("user", "metadata", "store", "include", "keep_alive", "n", "timeout", "max_retries", "_type"),
        *("previous_response_id", "prompt_cache_key", "safety_identifier", "safetySettings", "extra_headers", "config"),
        *("parallel_tool_calls", "id", "truncate", "ls_structured_output_format"),
    }
)


def format_of(params: Mapping[str, Any]) -> str:
    """Return the name and the digest of the format that the answer must have; empty if none was asked for."""
    config, text, generation = (params.get(key) for key in ("output_config", "text", "generationConfig"))
    wanted = params.get("response_format") or params.get("output_format") or params.get("format")
    wanted = wanted or (config.get("format") if isinstance(config, Mapping) else None)
    wanted = wanted or (text.get("format") if isinstance(text, Mapping) else None)
    if wanted is None and isinstance(generation, Mapping):
        wanted = generation.get("responseJsonSchema") or generation.get("responseSchema")
    if not wanted or (isinstance(wanted, Mapping) and wanted.get("type") == "text"):
        return ""
    return f"{_format_name(wanted)} {digest(_bare(wanted))}"


def _format_name(wanted: object) -> str:
    schema = wanted.get("json_schema", wanted) if isinstance(wanted, Mapping) else {}
    inner = schema.get("schema", schema) if isinstance(schema, Mapping) else {}
    found = (source.get(key) for source in (schema, inner) if isinstance(source, Mapping) for key in ("name", "title", "type"))
    return next((name for name in found if isinstance(name, str) and name), "json").replace(" ", "_")


def digest(value: object) -> str:
    """Return six characters that tell two JSON values apart, whatever the order of their keys."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=3).hexdigest()


def _line_digest(line: str) -> str:
    """Return the digest of a line of a prompt. What differs in every run does not count: dates, times, ids, folders."""
    return digest(re.sub(_CLOCK, "<time>", table().volatile.sub(lambda found: f"<{found.lastgroup}>", line.strip())))


_MONTHS: Final = "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:tember)?|Oct(?:ober)?"
_CLOCK: Final = (  # compiled when it is first used: it takes as long as the rest of this module
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d?\d:\d\d(?::\d\d)?(?: ?[AP]M)?\b"
    rf"|\b(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day,? )?(?:(?:{_MONTHS}|Nov(?:ember)?|Dec(?:ember)?)\.? \d?\d(?:st|nd|rd|th)?"
    rf"|\d?\d(?:st|nd|rd|th)? (?:{_MONTHS}|Nov(?:ember)?|Dec(?:ember)?))\.?,? \d{{4}}\b"
)


# -- what has changed


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Return what has changed from `before` to `now`, a text of one line or more for each; an empty list if nothing has.

    Parameters, and the schema of a response format, are compared only where both have them from one source.
    """
    is_one_source = before.source == now.source
    return [
        *_of_model(before.model, now.model),
        *_of_prompt(before.system, now.system),
        *_of_questions(before.human, now.human),
        *_of_tools(before.tools, now.tools),
        *_of_messages(before.messages, now.messages),
        *(_of_parameters(before.parameters, now.parameters) if is_one_source else ()),
        *(_of_format(before.response_format, now.response_format, is_one_source=is_one_source)),
    ]


def _of_model(before: str, now: str) -> Iterator[str]:
    if before and now and before != now:
        yield f"the model was `{before}`; it is `{now}`"


def _of_prompt(before: Prompt | None, now: Prompt | None) -> Iterator[str]:
    if before is None or now is None:
        if before is not None:
            yield f"the system prompt is gone: {_quoted(before.begins)}"
        if now is not None:
            yield f"a system prompt is new: {_quoted(now.begins)}"
        return
    if before != now and before.lines != now.lines:
        yield _of_prompt_text("the system prompt", before, now)


def _of_text(name: str, before: Prompt, now: Prompt) -> str:
    """Return what has changed in a text of several lines, or in one of which only digests are kept."""
    lines = [f"{name} has changed: {_show_lines(list(_changed_lines(before.lines, now.lines)))}"]
    if before.text is not None and now.text is not None:
        shown = list(difflib.unified_diff(before.text.splitlines(), now.text.splitlines(), "", "", lineterm="", n=1))[2:]
        lines += shown[:MAX_SHOWN_LINES]
        if len(shown) > MAX_SHOWN_LINES:
            lines.append(f"... {amount(len(shown) - MAX_SHOWN_LINES, 'line')} more")
    elif before.begins != now.begins:
        old, new = _quoted_pair(before.begins, now.begins)
        lines += [f"it began {old}", f"it begins {new}"]
    return "\n  ".join(lines)


def _of_questions(before: Sequence[Prompt], now: Sequence[Prompt]) -> Iterator[str]:
    """Yield what the human says otherwise. The first message is "the question", a later one has its number."""
    if not before or before == now:
        return
    old, new = ([message.lines for message in messages] for messages in (before, now))
    for _, start, stop, begin, end in _changed_parts(old, new):
        both = min(stop - start, end - begin)
        for place in range(both):
            yield _of_question(_question(start + place), before[start + place], now[begin + place])
        for place in range(start + both, stop):
            yield f"{_question(place)} is gone: {_quoted(before[place].begins)}"
        for place in range(begin + both, end):
            yield f"{_question(place)} is new: {_quoted(now[place].begins)}"


def _question(place: int) -> str:
    return f"question {place + 1}" if place else "the question"


def _of_prompt_text(name: str, before: Prompt, now: Prompt) -> str:
    """Return what has changed in a text: both texts, where they are of one line and kept, or the lines."""
    if max(len(before.lines), len(now.lines)) > 1 or before.begins == now.begins:
        return _of_text(name, before, now)
    old, new = _quoted_pair(before.begins, now.begins)
    return f"{name} has changed: it was {old}, it is {new}"


def _of_question(name: str, before: Prompt, now: Prompt) -> str:
    told = _of_prompt_text(name, before, now)
    return told if "\n" in told or "it was" in told else f"{told}\n  it still begins {_quoted(now.begins)}"


def _changed_lines(before: Sequence[str], now: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield what has happened, and to which lines: of the new prompt, or of the old one for lines that are gone."""
    for tag, start, stop, begin, end in _changed_parts(before, now):
        if tag == "replace":
            yield "", begin + 1, end
        elif tag == "insert":
            yield "new ", begin + 1, end
        else:
            yield "gone ", start + 1, stop


def _changed_parts(before: Sequence[Any], now: Sequence[Any]) -> Iterator[tuple[str, int, int, int, int]]:
    for part in difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if part[0] != "equal":
            yield part


def _show_lines(changed: Sequence[tuple[str, int, int]]) -> str:
    """Return lines in words: `line 3, new lines 7-9`."""
    shown = [f"{what}line {first}" if first == last else f"{what}lines {first}-{last}" for what, first, last in changed[:5]]
    return ", ".join(shown + (["..."] if len(changed) > 5 else []))


def _quoted(text: str, start: int = 0) -> str:
    """Return a text in quotes, cut to one line; `start` is where it begins to be of interest."""
    text = f"...{text[start:]}" if start else text
    return json.dumps(text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 3]}...", ensure_ascii=False)


def _quoted_pair(before: str, now: str) -> tuple[str, str]:
    """Return two texts in quotes, cut so that both show where they begin to differ."""
    same = next(
        (place for place, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), min(len(before), len(now))
    )
    start = max(before.rfind(" ", 0, same - 20), 0) or same - 20 if same > MAX_QUOTED - 20 else 0
    return _quoted(before, start), _quoted(now, start)


def _of_tools(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    if before == now:
        return
    same = sum(now.get(name) == shape for name, shape in before.items())
    told = [f"`{name}` is gone" for name in before if name not in now]
    told += [f"`{name}` is new" for name in now if name not in before]
    told += [_of_tool(name, before[name], now[name]) for name in before if now.get(name, before[name]) != before[name]]
    head = "" if len(before) < 2 else "no tool is the same; " if not same else f"{same} of {len(before)} tools "
    yield head + (f"{'is' if same == 1 else 'are'} the same; " if head and same else "") + ", ".join(told)


def _of_tool(name: str, before: str, now: str) -> str:
    old, new = (dict(_arguments(shape)) for shape in (before, now))
    told = [f"a new argument `{argument}`" for argument in new if argument not in old]
    lost = [f"no argument `{argument}` any more" for argument in old if argument not in new]
    needs = [
        f"`{argument}` as {'a required' if new[argument] else 'an optional'} argument"
        for argument in old
        if argument in new and old[argument] != new[argument]
    ]
    if told or lost or needs:
        return f"`{name}` has {' and '.join([*told, *lost, *needs])}"
    return f"`{name}` has another schema"


def _arguments(shape: str) -> Iterator[tuple[str, bool]]:
    """Yield each argument of a signature, and whether it is required."""
    inside = shape.partition("(")[2].rpartition(")")[0]
    for argument in filter(None, inside.split(", ")):
        yield argument.removesuffix("?"), not argument.endswith("?")


def _of_messages(before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[str]:
    if before and dict(before) != dict(now):
        yield f"the prompt had {_count_messages(before)}; it has {_count_messages(now)}"


def _count_messages(counts: Mapping[str, int]) -> str:
    """Return the messages of a prompt in words: `1 human and 2 ai messages`."""
    if not counts:
        return "no message"
    several = [f"{number} {role}" for role, number in counts.items()]
    total = sum(counts.values())
    listed = several[0] if len(several) == 1 else f"{', '.join(several[:-1])} and {several[-1]}"
    return f"{listed} message{'' if total == 1 else 's'}"


def _of_parameters(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            yield f"the parameter `{name}` is gone; it was {before[name]!r}"
        elif name not in before:
            yield f"the parameter `{name}` is new: {now[name]!r}"
        elif before[name] != now[name]:
            yield f"the parameter `{name}` was {before[name]!r}; it is {now[name]!r}"


def _of_format(before: str, now: str, *, is_one_source: bool) -> Iterator[str]:
    if before == now or (before and now and not is_one_source):
        return
    old, new = before.partition(" ")[0], now.partition(" ")[0]
    if not now:
        yield f"the response format is gone; it was `{old}`"
    elif not before:
        yield f"a response format is new: `{new}`"
    else:
        yield f"the response format `{new}` has changed" if old == new else f"the response format was `{old}`; it is `{new}`"
