"""The functions that make steps. Each checks its arguments at once; `llmtest.scripts.script` serves the steps."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from random import Random
from typing import Any, Literal

from llmtest.core.source import caller, shown_path
from llmtest.errors import ScriptError
from llmtest.events.content import read_block
from llmtest.events.words import FrozenDict, FrozenList, Usage
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import (
    ONCE,
    Call,
    Fail,
    Part,
    Reply,
    Respond,
    Return,
    Step,
    Text,
    Thinking,
    Value,
    as_failure,
    as_seconds,
    as_tokens,
    split,
    with_pace,
)


def say(
    *text: str | Gate,
    tokens: Sequence[str | Gate] | None = None,
    chunk: Chunk | None = None,
    usage: UsageLike = None,
    stop_reason: str | None = None,
    refusal: bool = False,
    response_metadata: Mapping[str, object] | None = None,
    ttft_s: float | None = None,
    tokens_per_s: float | None = None,
) -> Reply:
    """Return a step that answers with text.

    Several strings are exact tokens; `split` cuts one plain string; `tokens=["whole"]` keeps a string whole. `chunk` cuts
    one string otherwise: `"char"`, `"word"` (a word with the white space after it), a number of characters, or a
    `random.Random(seed)`, which cuts at random and in the same places for the same seed. `refusal=True` sends the text as a
    refusal: in `additional_kwargs["refusal"]`, as OpenAI does, with the stop reason `refusal`.
    A gate among the strings stops the stream there until the test releases it, and changes nothing else: see `hold`.
    `usage` is `(input_tokens, output_tokens)`, a `Usage`, or a LangChain usage dict; `None` counts: output is the
    scripted tokens, input the prompt as `split` cuts it; `False` reports none, as some providers do.

    `ttft_s` and `tokens_per_s` declare a latency: the seconds until the first token, and then the tokens per second;
    without `tokens_per_s` they come all at once. Nothing sleeps: recorded events carry the resulting virtual timestamps
    (`event.at_s`, `run.took_s`). The program's own timeouts do not fire: `fail(TimeoutError)` simulates those.

    Raises:
        ScriptError: a token is not a str, `usage` is none of the above, or a latency is no such number.

    >>> say("It is ", "sunny.").text
    'It is sunny.'
    """
    said, exact, stops = _split_gates(text, tokens)
    cut = as_tokens("say", said, exact) if chunk is None else _cut(said, exact, chunk)
    answer = _reply((Text(cut),), usage, stop_reason or ("refusal" if refusal else None), response_metadata, stops)
    return with_pace(replace(answer, refusal=True) if refusal else answer, ttft_s, tokens_per_s)


Stops = tuple[tuple[int, int, Gate], ...]


def _split_gates(arguments: tuple[object, ...], tokens: Any) -> tuple[tuple[Any, ...], Any, Stops]:
    """Return the arguments and `tokens` without gates, and the positions of the gates. Gates at the end follow the part."""
    items = arguments if tokens is None else () if isinstance(tokens, str) else tuple(tokens)
    texts = tuple([item for item in items if not isinstance(item, Gate)])
    stops, before = list[tuple[int, int, Gate]](), 0
    for item in items:
        if isinstance(item, Gate):
            stops.append((0, before, item) if before < len(texts) else (1, 0, item))
        else:
            before += 1
    if tokens is None:
        return texts, None, tuple(stops)
    return arguments, tokens if isinstance(tokens, str) else texts, tuple(stops)


Chunk = Literal["char", "word"] | int | Random


def _cut(texts: tuple[str, ...], exact: Sequence[str] | None, chunk: object) -> tuple[str, ...]:
    if exact is not None or len(texts) != 1 or not isinstance(texts[0], str):
        raise ScriptError("chunk= of say cuts one string: give exactly one, and no tokens=")
    text = texts[0]
    if chunk == "char":
        return tuple(text)
    if chunk == "word":
        return tuple(re.findall(r"\s*\S+\s*|\s+", text))
    if type(chunk) is int and chunk > 0:
        return tuple(text[start : start + chunk] for start in range(0, len(text), chunk))
    if isinstance(chunk, Random):
        pieces, start = list[str](), 0
        while start < len(text):
            pieces.append(text[start : start + chunk.randint(1, 8)])
            start += len(pieces[-1])
        return tuple(pieces)
    raise ScriptError(
        f"chunk= is 'char', 'word', a number of characters or a random.Random; got {type(chunk).__name__} {chunk!r}"
    )


def think(*text: str | Gate, tokens: Sequence[str | Gate] | None = None) -> Reply:
    """Return a step, or with `reply` a part, of reasoning content. Tokens and gates as in `say`.

    It becomes a `reasoning` content block, so the message's content is then a list of blocks.

    >>> reply(think("Paris, then."), "It is sunny.").text
    'It is sunny.'
    """
    said, exact, stops = _split_gates(text, tokens)
    return _reply((Thinking(as_tokens("think", said, exact)),), stops=stops)


def call(tool: object, args: Mapping[str, object] | None = None, /, **kwargs: object) -> Reply:
    """Return a step, or with `reply` a part, that calls a tool.

    `tool` is its name, or the tool itself. Every keyword is an argument of the tool; `args` takes arguments whose names
    cannot be keywords. The call gets an id that is unique in the test: `call(...).with_id("call_7")` sets it. Serving checks
    it against the bound tools: an unknown tool, a missing or an extra argument is a violation.

    Raises:
        ScriptError: an argument is given twice, or is not JSON.

    >>> call("book", {"class": 2}, to="Lyon").calls[0].args
    {'class': 2, 'to': 'Lyon'}
    """
    name = tool if isinstance(tool, str) else getattr(tool, "name", None) or getattr(tool, "__name__", None)
    if not isinstance(name, str) or not name:
        raise ScriptError(f"call() takes the name of a tool, or the tool; got {type(tool).__name__} {tool!r}")
    if args is not None and not isinstance(args, Mapping):
        raise ScriptError(f"the arguments of call({name!r}) are a mapping or keywords; got {type(args).__name__} {args!r}")
    twice = sorted(set(args or ()) & set(kwargs))
    if twice:
        raise ScriptError(f"call({name!r}) has the argument `{twice[0]}` twice: in the mapping and as a keyword")
    return _reply((Call(name, _json_object(name, {**(args or {}), **kwargs})),))


def _json_object(tool: str, args: dict[str, object]) -> FrozenDict:
    frozen = {}
    for key, value in args.items():
        if not isinstance(key, str):
            raise ScriptError(f"the arguments of call({tool!r}) have names; got {type(key).__name__} {key!r} for one")
        try:
            json.dumps(value, allow_nan=False)
            frozen[key] = _frozen(value)
        except (TypeError, ValueError) as error:
            raise ScriptError(
                f"the argument `{key}` of call({tool!r}) is not JSON: got {type(value).__name__} {value!r} ({error})"
            ) from None
    return FrozenDict(frozen)


def _frozen(value: object) -> object:
    """Return a JSON value as `json.loads` would return it, frozen."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):  # json.dumps would make it a str, and may so drop another key
                raise TypeError(f"its key {key!r} is not a str")
        return FrozenDict({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return FrozenList(_frozen(item) for item in value)
    return json.loads(json.dumps(value))


def structured(value: object) -> Reply:
    """Return a step, or with `reply` a part, with a structured value: it satisfies `with_structured_output`.

    `value` is a mapping, a pydantic model, a dataclass, or any JSON value. Serving turns it into the form that a provider
    sends: JSON text where a response format is bound (`method="json_schema"` and `"json_mode"`), else a call of the bound
    tool that it fits, else JSON text.

    Raises:
        ScriptError: `value` is not JSON.

    >>> structured({"name": "Ada"}).parts[0].value
    {'name': 'Ada'}
    """
    named = None if isinstance(value, dict | list | str | int | float | type(None)) else type(value).__name__
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    plain = plain.model_dump(mode="json") if hasattr(plain, "model_dump") else plain
    try:
        json.dumps(plain, allow_nan=False)
        frozen = _frozen(dict(plain) if isinstance(plain, Mapping) else plain)
    except (TypeError, ValueError) as error:
        raise ScriptError(f"structured() takes a JSON value; got {type(value).__name__} {value!r} ({error})") from None
    return _reply((Value(frozen, named),))


def respond(function: Callable[[Any], object]) -> Respond:
    """Return a step whose answer `function` returns: it gets the `Request` and returns any step.

    `function` may be sync or async; an async one needs `ainvoke` or `astream` when a loop is running. It may return a str,
    an `AIMessage`, an exception, or a step of `say`, `call`, `fail` ...; the function of a retriever or a tool may return
    any value, which the program gets as it is. The model raises what `function` raises; an `AssertionError` is a violation
    too, so that it fails the test even if the program swallows it.

    Raises:
        ScriptError: `function` cannot be called.

    >>> from llmtest import ScriptedChatModel
    >>> ScriptedChatModel(respond(lambda request: request.text.upper())).invoke("hi").content
    'HI'
    """
    if not callable(function):
        raise ScriptError(f"respond() takes a function; got {type(function).__name__} {function!r}")
    return Respond(function, caller())


def give(value: object, *, takes_s: float | None = None) -> Return:
    """Return a step that gives `value`, for a `ScriptedRetriever` or a `scripted_tool`.

    Both take bare values too; `give` is for the options of a step: `give(documents).times(2)`. The value is copied here and
    for each call, so a program that changes it does not change the script. The call takes `takes_s` seconds of virtual
    time, as `ttft_s` of `say`.

    Raises:
        ScriptError: `value` cannot be copied, or `takes_s` is no number of seconds.

    >>> str(give(["a", "b"]).times(2))
    "give(['a', 'b']).times(2)"

    It is no answer of a model.
    """
    try:
        copied = copy.deepcopy(value)
    except Exception as error:
        raise ScriptError(
            f"give() takes a value that can be copied; got {type(value).__name__} {value!r} ({error})"
            "\n  respond(lambda request: value) gives the value itself"
        ) from None
    return Return(copied, caller(), takes_s=as_seconds("takes_s", takes_s))


def reply(
    *parts: object,
    usage: UsageLike = None,
    stop_reason: str | None = None,
    response_metadata: Mapping[str, object] | None = None,
    ttft_s: float | None = None,
    tokens_per_s: float | None = None,
) -> Reply:
    """Return a step of several parts in one answer: text, reasoning and tool calls, in this order.

    A part is a str (cut by `split`), or the result of `say`, `think` or `call`. A gate between parts stops the stream there:
    see `hold`. Usage, stop reason and latency belong to the whole answer: `reply(call("search", q="x"), ttft_s=0.5)`.
    A single `AIMessage` becomes a step, which then takes options: `reply(message).optional()`.

    Raises:
        ScriptError: a part is something else, or has a usage, stop reason, latency or failure of its own.

    >>> [c.tool for c in reply("Let me look", call("search", q="x"), call("search", q="y")).calls]
    ['search', 'search']
    """
    if len(parts) == 1 and _is_answer(parts[0]):
        return _reply_of_message(parts[0], (usage, stop_reason, response_metadata, ttft_s, tokens_per_s))
    flat: list[Part] = []
    stops: list[tuple[int, int, Gate]] = []
    for position, part in enumerate(parts, 1):
        if isinstance(part, str):
            flat.append(Text(tuple(split(part))))
        elif isinstance(part, Gate):
            stops.append((len(flat), 0, part))
        elif isinstance(part, Reply):
            stops += [(len(flat) + at, token, gate) for at, token, gate in part.stops]
            flat.extend(_parts_of(part, position))
        else:
            raise ScriptError(
                f"part {position} of reply() is not a part: got {type(part).__name__} {part!r}\n"
                "  a part is a str, say(...), think(...), call(...) or a gate"
            )
    return with_pace(_reply(tuple(flat), usage, stop_reason, response_metadata, tuple(stops)), ttft_s, tokens_per_s)


def _is_answer(value: object) -> bool:
    """True for LangChain's `AIMessage`, which is not imported here."""
    return getattr(value, "type", None) in ("ai", "AIMessageChunk") and hasattr(value, "tool_calls")


def _reply_of_message(message: object, options: tuple[object, ...]) -> Reply:
    if any(option is not None for option in options):
        raise ScriptError("reply() of an AIMessage takes no other arguments: the message has its usage and metadata")
    return replace(_from_message(message), where=caller())


def _parts_of(part: Reply, position: int) -> tuple[Part, ...]:
    own = [
        name
        for name, value in (
            ("usage", part.usage),
            ("stop_reason", part.stop_reason),
            ("response_metadata", part.response_metadata or None),
            ("then_fail", part.failure),
            ("then_wait", part.patience_s),
            ("then_truncate", part.truncated or None),
            ("refusal", part.refusal or None),
            ("ttft_s", part.ttft_s),
            ("tokens_per_s", part.tokens_per_s),
            ("times, expects, optional or unchecked", None if part.serving == ONCE else part.serving),
        )
        if value is not None
    ]
    if own:
        raise ScriptError(f"part {position} of reply() has a `{own[0]}` of its own: {part}; give it to the whole reply instead")
    return part.parts


def _reply(
    parts: tuple[Part, ...],
    usage: UsageLike = None,
    stop_reason: str | None = None,
    response_metadata: Mapping[str, object] | None = None,
    stops: Stops = (),
) -> Reply:
    return Reply(parts, _usage(usage), stop_reason, FrozenDict(response_metadata or {}), stops=stops, where=caller())


def fail(
    error: BaseException | type[BaseException] | str | int, retry_after: float | None = None, *, takes_s: float | None = None
) -> Fail:
    """Return a step that fails before its first token.

    `error` is an exception, an exception class, the name of a built-in exception, or an HTTP status: the double turns a
    status into the error that an integration would raise. `retry_after` is in seconds. The call fails after `takes_s`
    seconds of virtual time, as `ttft_s` of `say`.

    Raises:
        ScriptError: `error` is none of these, or `takes_s` is no number of seconds.

    >>> str(fail(429, retry_after=2))
    'fail(429, retry_after=2)'
    """
    return replace(as_failure(error, retry_after, None, caller()), takes_s=as_seconds("takes_s", takes_s))


UsageLike = Usage | tuple[int, int] | Mapping[str, Any] | Literal[False] | None


def _usage(value: object) -> Usage | Literal[False] | None:
    if value is None or value is False or isinstance(value, Usage):
        return value
    if isinstance(value, Mapping) and _are_counts(value.get("input_tokens"), value.get("output_tokens")):
        into, out = value["input_tokens"], value["output_tokens"]
        total = value.get("total_tokens", into + out)
        details = [FrozenDict(value.get(f"{side}_token_details") or {}) for side in ("input", "output")]
        if _are_counts(total, *(number for detail in details for number in detail.values())):
            return Usage(into, out, total, *details)
    if isinstance(value, list | tuple) and len(value) == 2 and _are_counts(*value):
        return Usage(value[0], value[1], value[0] + value[1])
    raise ScriptError(
        "usage is (input_tokens, output_tokens), a Usage, a LangChain usage dict, None or False; "
        f"got {type(value).__name__} {value!r}"
    )


def _are_counts(*values: object) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


# -- other values in place of a step


def as_step(step: object, what: str, where: str) -> Step:
    """Return `step` as a step; a str, an `AIMessage` or an exception becomes one. Errors call it `what`."""
    if isinstance(step, Reply | Fail | Respond | Return):
        return step
    if isinstance(step, str):
        return replace(say(step), where=where)
    if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
        return as_failure(step, None, None, where)
    if _is_answer(step):
        return replace(_from_message(step), where=where)
    if isinstance(step, Gate):
        raise ScriptError(
            f"{what} is a gate, which holds the step after it, but no step comes after it; got it at {shown_path(where)}\n"
            "  a gate and its step in one: reply(gate, 'text'); with a key: on(...) >> Script(gate, 'text')"
        )
    raise ScriptError(
        f"{what} is not a step: got {type(step).__name__} {step!r} at {shown_path(where)}\n"
        "  a step is say(...), think(...), call(...), structured(...), reply(...), fail(...), respond(...),\n"
        "  a str, an AIMessage or an exception"
    )


def _from_message(message: Any) -> Reply:
    """Return a reply that says all that an `AIMessage` says. Its message id is not kept: each answer gets a fresh one."""
    parts = list(_content_parts(message.content))
    parts += [Call(c["name"], _json_object(c["name"], c["args"]), c.get("id")) for c in message.tool_calls]
    metadata = dict(message.response_metadata)
    usage, verbatim = _usage(message.usage_metadata), _verbatim(message)
    if verbatim:
        return Reply(tuple(parts), usage, None, FrozenDict(metadata), verbatim=verbatim)
    reason = metadata.pop("finish_reason", None) or metadata.pop("stop_reason", None)
    return Reply(tuple(parts), usage, reason, FrozenDict(metadata))


def _verbatim(message: Any) -> FrozenDict:
    """Return the content of a message and the fields that no step has; empty for plain text and tool calls."""
    fields = {name: getattr(message, name) for name in ("additional_kwargs", "name", "invalid_tool_calls")}
    said = {name: value for name, value in fields.items() if value}
    if said or not isinstance(message.content, str):
        said["content"] = message.content
    frozen = {}
    for name, value in said.items():
        try:
            json.dumps(value, allow_nan=False)
            frozen[name] = _frozen(value)
        except (TypeError, ValueError) as error:
            raise ScriptError(f"the `{name}` of an AIMessage step is not JSON: {value!r} ({error})") from None
    return FrozenDict(frozen)


def _content_parts(content: Any) -> Iterator[Part]:
    for block in [content] if isinstance(content, str) else content:
        kind, text, _ = read_block(block)
        if kind in ("text", "reasoning") and text:
            yield Text(tuple(split(text))) if kind == "text" else Thinking(tuple(split(text)))
