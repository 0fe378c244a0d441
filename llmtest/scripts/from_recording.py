"""Turn what a recording shows of its models into the steps of a script."""

from __future__ import annotations

import ast
import builtins
import json
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, Protocol

from llmtest.core.text import did_you_mean, names
from llmtest.errors import ScriptError
from llmtest.events.content import pieces_of, read_block
from llmtest.events.events import Run
from llmtest.events.usage import read_model_name
from llmtest.events.words import EMPTY, Failure, FrozenDict, Message, ToolCall, Usage
from llmtest.scripts.branches import Branch, branches
from llmtest.scripts.fingerprints import fingerprint
from llmtest.scripts.replies import counted
from llmtest.scripts.requests import KeyedSteps, Request, bound_format
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Text, Thinking, Value, exception_names, split


class Order(Protocol):
    """The order of the runs of a recording, as `Recording.order()` gives it."""

    def are_ordered(self, a: Run, b: Run, /) -> bool: ...
    def position(self, run: Run, /) -> int: ...


class Recorded(Protocol):
    """A recording, as far as a script is made of it."""

    @property
    def runs(self) -> Iterable[Run]: ...
    def order(self) -> Order: ...


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCall:
    """One call of a model that was recorded: what was asked of which model, and the step that answers so.

    `left_out` is what no step can say of the answer, in words.
    """

    model: str
    request: Request
    step: Reply | Fail
    run: Run | None = None
    left_out: tuple[str, ...] = ()


def recorded_calls(recording: Recorded, *, model: str = "*", tokens: bool = False) -> list[RecordedCall]:
    """Return the calls of the models of a recording, in the order in which they began.

    `model` chooses models by name; `*` in it stands for anything. An answer that was streamed keeps its exact tokens with
    `tokens`. An answer of LangChain's cache is none: the model was not called.

    Raises:
        ScriptError: a call is still open, or `model` is the name of none.
    """
    calls = [_call_of(run, tokens) for run in recording.runs if run.kind in ("chat", "llm") and not run.cached]
    chosen = [call for call in calls if fnmatchcase(call.model, model)]
    if calls and not chosen:
        known = list(dict.fromkeys(call.model for call in calls))
        raise ScriptError(f"the recording has no call of a model {model!r}{did_you_mean(model, known)}\n  models  {names(known)}")
    return chosen


def _call_of(run: Run, tokens: bool) -> RecordedCall:
    request, model = request_of(run), model_of(run)
    step, left_out = _step_of(run, request, tokens)
    recorded = datetime.fromtimestamp(run.start.wall_ns / 1e9, UTC).date().isoformat() if run.start.wall_ns else ""
    known = fingerprint(request, model="" if model == run.name else model, recorded=recorded)
    return RecordedCall(model, request, replace(step, serving=replace(step.serving, request=known)), run, left_out)


def model_of(run: Run) -> str:
    """Return the name of the model that a run called; of a model without one, the name of the run."""
    name = read_model_name(run.start.payload.get("invocation_params"), run.metadata)
    return run.name if name in (None, UNNAMED) else name


UNNAMED: Final = "scripted"
"""The name of the model of a double that was given none."""


def request_of(run: Run) -> Request:
    """Return what a run asked of its model."""
    params = run.start.payload.get("invocation_params")
    params = params if isinstance(params, Mapping) else EMPTY
    value = run.input
    prompt = run.messages[: len(value)] if run.kind == "chat" and isinstance(value, list) else [Message("human", str(value))]
    stop = params.get("stop")
    return Request(
        FrozenDict(_schemas(params.get("tools"))),
        lambda: prompt,
        params.get("tool_choice"),
        stop if isinstance(stop, str | list) and stop else None,
        FrozenDict({key: item for key, item in params.items() if key not in ("tools", "tool_choice", "stop")}),
        lambda: (run.tags, run.metadata),
    )


def _schemas(tools: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the name and the schema of each bound tool, in the formats in which integrations bind them."""
    for tool in tools if isinstance(tools, list | tuple) else ():
        if not isinstance(tool, Mapping):
            continue
        declared = tool.get("function_declarations")
        for spec in declared if isinstance(declared, list) else [tool.get("function", tool.get("toolSpec", tool))]:
            if not isinstance(spec, Mapping):
                continue
            schema = spec.get("parameters") or spec.get("input_schema") or spec.get("inputSchema")
            schema = schema.get("json", schema) if isinstance(schema, Mapping) else EMPTY
            only = next(iter(tool)) if len(tool) == 1 else ""  # a provider's own tool, as {"google_search": {}}
            yield str(spec.get("name") or spec.get("type") or only), schema


# -- the answer of a run


_LEFT: Final = ("closed early", "cancelled")
"""The ends of calls for whose answer the program did not wait."""


def _step_of(run: Run, request: Request, tokens: bool) -> tuple[Reply | Fail, tuple[str, ...]]:
    if run.ended == "open":
        raise ScriptError(f"the {run.kind} run `{run.name}` is still open, so that its answer is not known; let it end first")
    error = run.error
    message = _answer_of(run)
    if message is None:
        if error is not None:
            return failure_of(error), ()
        if run.ended in _LEFT:
            return Reply((Text(()),)).then_wait().optional(), ()
        return Reply((), False, truncated=True), (f"the call was {run.ended} before the model said anything",)
    reply, left_out = reply_of(message, request, *((_tokens_of(run, message), _pieces_of_calls(run)) if tokens else ()))
    usage = _without_zeros(run.usage)
    if error is not None and not reply.parts and not any(event.kind in STREAMED for event in run.events):
        return failure_of(error), ()  # it failed before it said anything
    if error is not None:
        return replace(reply, usage=usage or False, stop_reason=None, failure=failure_of(error)), left_out
    if run.ended in _LEFT:
        return replace(reply, usage=None, stop_reason=None).then_wait(), left_out
    if _was_cut(run, message):
        return replace(reply, usage=False, stop_reason=None, truncated=True), left_out
    reply = replace(reply, usage=False if usage is None else usage)
    return replace(reply, usage=_unless_counted(reply, request)), left_out


def _without_zeros(usage: Usage | None) -> Usage | None:
    """Return `usage` without the kinds of tokens of which there are none: some integrations name them, others do not."""
    if usage is None:
        return None
    into, out = (
        FrozenDict({kind: number for kind, number in details.items() if number})
        for details in (usage.input_details, usage.output_details)
    )
    return replace(usage, input_details=into, output_details=out)


def _was_cut(run: Run, message: Message) -> bool:
    """True for a stream that ended without the reason that its provider gives at the end of each."""
    if not any(event.kind in STREAMED for event in run.events):
        return False
    metadata = message.response_metadata
    known = metadata.get("model_provider") in _PROVIDERS or metadata.get("model_name") == UNNAMED
    return known and not any(metadata.get(key) for key in (*_STOP_REASONS, "status"))


STREAMED: Final = ("on_llm_new_token", "on_stream_event")
_PROVIDERS: Final = ("openai", "anthropic", "google_genai", "ollama")
_STOP_REASONS: Final = ("finish_reason", "stop_reason", "done_reason")


def _unless_counted(reply: Reply, request: Request) -> Usage | Literal[False] | None:
    """Return the usage of a step; None if it is what a script counts without being told."""
    into, out = counted(reply, [message.text for message in request.messages])
    return None if reply.usage == Usage(into, out, into + out) else reply.usage


def without_random_ids(reply: Reply) -> Reply:
    """Return a reply whose calls have only ids that a person has written: a double makes fresh ones."""
    parts = [
        replace(part, id=None) if isinstance(part, Call) and part.id is not None and not _WRITTEN_ID.fullmatch(part.id) else part
        for part in reply.parts
    ]
    return replace(reply, parts=tuple(parts))


def _answer_of(run: Run) -> Message | None:
    """Return what a model said, whole or until it was cut off; None if it said nothing."""
    output = run.output
    if isinstance(output, Message):
        return output
    if isinstance(output, str):
        info = run.end.payload["generations"][0].info if run.end is not None else EMPTY
        return Message("ai", output, response_metadata=info)
    response = run.end.payload.get("response") if run.end is not None else None
    found = response.get("generations") if isinstance(response, Mapping) else None
    if found:
        return found[0].message or Message("ai", found[0].text)
    said = [piece.text or "" for event in run.events if event.kind != "on_chat_model_start" for piece in _pieces(event.payload)]
    return Message("ai", "".join(said)) if any(said) else None


def _pieces(payload: Mapping[str, object]) -> list[Any]:
    return [piece for piece in pieces_of(payload) if piece.kind == "text"] if "token" in payload or "event" in payload else []


def _tokens_of(run: Run, message: Message) -> dict[str, list[str]]:
    """Return the streamed tokens of the text and of the reasoning of a run, which said `message`."""
    found: dict[str, list[str]] = {"text": [], "reasoning": []}
    # With version 3, the same tokens may be told a second time, as stream events.
    kinds = {event.kind for event in run.events}
    kind = next((kind for kind in STREAMED if kind in kinds), None)
    for event in run.events:
        if event.kind == kind:
            pieces = pieces_of(event.payload)
            if not pieces and event.payload.get("token") == "":
                found["text"].append("")
            for piece in pieces:
                if piece.kind in found and piece.text:
                    found[piece.kind].append(piece.text)
    if "model_provider" in message.response_metadata:
        # An integration tells the head and the end of a stream as empty tokens, which a script does not say.
        found = {kind: _without_empty_ends(tokens) for kind, tokens in found.items()}
    return found


def _pieces_of_calls(run: Run) -> list[list[str]]:
    """Return the streamed pieces of the arguments of each call, in the order in which the calls began."""
    found: list[list[str]] = []
    places: dict[object, int] = {}
    for event in run.events:
        chunks = event.payload.get("tool_call_chunks") if event.kind == "on_llm_new_token" else None
        for chunk in chunks if isinstance(chunks, list | tuple) else ():
            if chunk.get("name"):
                places[chunk.get("index")] = len(found)
                found.append([])
            place = places.get(chunk.get("index"))
            if place is not None and isinstance(chunk.get("args"), str):
                found[place].append(chunk["args"])
    return found


def _without_empty_ends(tokens: list[str]) -> list[str]:
    said = [place for place, token in enumerate(tokens) if token]
    return tokens[said[0] : said[-1] + 1] if said else []


def reply_of(
    message: Message,
    request: Request,
    tokens: Mapping[str, Sequence[str]] = EMPTY,
    pieces: Sequence[Sequence[str]] = (),
) -> tuple[Reply, tuple[str, ...]]:
    """Return the step that says `message`, and what it leaves out.

    `tokens` are the exact ones of its text and reasoning, `pieces` those of the arguments of each call.
    """
    left_out: list[str] = []
    parts = _with_pieces(_with_tokens(list(_parts_of(message, left_out)), tokens), pieces)
    parts = [_as_value(part, request) for part in parts] if bound_format(request.params) and len(parts) == 1 else parts
    refusal = message.additional_kwargs.get("refusal") or _refusal_block(message)
    if isinstance(refusal, str) and refusal and not any(isinstance(part, Text) for part in parts):
        parts = [*parts, Text(tuple(split(refusal)))]
    metadata = message.response_metadata
    return (
        Reply(
            tuple(parts),
            None,
            _stop_reason(metadata, bool(message.tool_calls)),
            FrozenDict({key: item for key, item in metadata.items() if key in _KEPT_METADATA and item is not None}),
            refusal=bool(refusal),
        ),
        tuple(left_out),
    )


def _refusal_block(message: Message) -> str:
    """Return the text of the block in which the Responses API refuses; empty without one."""
    blocks = message.content if isinstance(message.content, list) else []
    found = (block.get("refusal") for block in blocks if isinstance(block, Mapping) and block.get("type") == "refusal")
    return next((text for text in found if isinstance(text, str)), "")


_KEPT_METADATA: Final = ("stop_sequence",)


def _parts_of(message: Message, left_out: list[str]) -> Iterator[Part]:
    told = message.additional_kwargs.get("reasoning_content")
    if isinstance(told, str) and told:
        yield Thinking(tuple(split(told)))
    called = {call.id: call for call in message.tool_calls}
    for block in [message.content] if isinstance(message.content, str) else message.content:
        kind, text, name = read_block(block)
        if kind == "text" and text:
            yield Text(tuple(split(text)))
        elif kind == "reasoning" and text:
            yield Thinking(tuple(split(text)))
        elif kind == "call" and isinstance(block, Mapping) and (call := called.pop(block.get("id"), None)) is not None:
            yield _called(call)
        elif kind == "other" and name != "refusal":
            left_out.append(f"a block of the type {name}")
    yield from (_called(call) for call in called.values())


def _called(call: ToolCall) -> Call:
    own = call.id if call.id is not None and _WRITTEN_ID.fullmatch(call.id) else None
    if isinstance(call.args, str):
        return Call(call.name, EMPTY, own, (call.args,))
    return Call(call.name, call.args, own)


_WRITTEN_ID: Final = re.compile(r"(?!call_\d+$|.*[0-9a-f]{8})[\w-]{1,16}")
"""The id of a tool call that a person has written: a provider's are long, and a double's are numbered or hold a hash."""


def _with_tokens(parts: list[Part], tokens: Mapping[str, Sequence[str]]) -> list[Part]:
    """Return parts with their exact tokens: those of a kind follow each other in the parts of this kind."""
    found = list(parts)
    for kind, said in ((Text, tokens.get("text", ())), (Thinking, tokens.get("reasoning", ()))):
        left, places = deque(said), [place for place, part in enumerate(parts) if isinstance(part, kind)]
        for place in places:
            part: Any = parts[place]
            whole = "".join(part.tokens)
            own = _take_tokens(left, len(whole))
            if place == places[-1] and not any(left):
                own += left  # the empty ones at the end
            if own and "".join(own) == whole:
                found[place] = replace(part, tokens=tuple(own))
    return found


def _with_pieces(parts: list[Part], pieces: Sequence[Sequence[str]]) -> list[Part]:
    """Return parts whose calls have the exact pieces of their arguments, if the stream told those of each call."""
    places = [place for place, part in enumerate(parts) if isinstance(part, Call)]
    if len(places) != len(pieces):
        return parts
    found = list(parts)
    for place, own in zip(places, pieces, strict=True):
        part: Any = parts[place]
        told = tuple(piece for piece in own if piece)
        if told and told != part.tokens:
            exact = replace(part, pieces=told)
            found[place] = replace(exact, args=EMPTY) if exact.malformed else exact
    return found


def _take_tokens(left: deque[str], length: int) -> list[str]:
    """Take tokens from the left until they have `length` characters together."""
    taken: list[str] = []
    while left and length > 0:
        taken.append(left.popleft())
        length -= len(taken[-1])
    return taken


def _as_value(part: Part, request: Request) -> Part:
    """Return a text of JSON that a bound format asked for as a value, if it is written as a script writes it."""
    if not isinstance(part, Text):
        return part
    text = "".join(part.tokens)
    try:
        value = json.loads(text)
    except ValueError:
        return part
    said = Value(_frozen(value))
    return said if said.tokens == part.tokens and isinstance(value, dict) else part


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return FrozenDict({key: _frozen(item) for key, item in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _stop_reason(metadata: Mapping[str, object], calls: bool) -> str | None:
    """Return why an answer ended, if it is not for the reason for which one usually ends."""
    found = (metadata.get(key) for key in _STOP_REASONS)
    reason = next((reason for reason in found if isinstance(reason, str) and reason), None)
    usual = _USUAL_WITH_CALLS if calls else _USUAL
    return None if reason is None or reason.lower() in usual else reason


_USUAL: Final = ("stop", "end_turn", "completed")
_USUAL_WITH_CALLS: Final = ("tool_calls", "tool_use", "stop", "completed")


# -- failures


def failure_of(error: Failure) -> Fail:
    """Return the step that fails as `error` did: with its HTTP status, or with the exception itself or its class."""
    status = _status(error)
    if status is not None:
        return Fail(status, None, None if error.message.startswith(f"{status} ") else _told_by(error.message))
    live = error.exception
    if error.type not in exception_names() and (named := _NAMES.get(error.type)) is not None:
        return Fail(named, None, error.message or None)
    if error.type in exception_names():
        return Fail(error.type, None, error.message or None)
    if live is not None:
        return Fail(live)
    return Fail("RuntimeError", None, f"{error.type}: {error.message}")


def _told_by(text: str) -> str:
    """Return what a provider says of an error, out of the text that its SDK makes of it: `Error code: 429 - {'error': ...}`."""
    text = _CODE.sub("", text)
    try:
        body = ast.literal_eval(text) if text.startswith("{") else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    inner = body.get("error", body) if isinstance(body, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else None
    return said if isinstance(said, str) and said else text


_CODE: Final = re.compile(r"Error code: \d+ - ")


def _status(error: Failure) -> int | None:
    """Return the HTTP status that an error of an integration stands for."""
    live: Any = error.exception
    known = getattr(live, "status_code", None) or getattr(live, "code", None)
    if isinstance(known, int) and 400 <= known <= 599:
        return known
    if hasattr(builtins, error.type):
        return None
    found = _STATUS.match(error.message)
    if found:
        return int(found[1])
    kind = _KIND.search(error.message)  # an error in the middle of a stream, whose own status is 200
    return _KINDS.get(kind[1]) or _STATUSES.get(error.type) if kind else _STATUSES.get(error.type)


_STATUS: Final = re.compile(r"(?:Error code: )?([45]\d\d)\b")
_STATUSES: Final = {
    "AuthenticationError": 401,
    "ModelAuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "BadRequestError": 400,
    "RateLimitError": 429,
    "InternalServerError": 500,
    "OverloadedError": 529,
    "APIError": 500,
    "ModelPermissionDeniedError": 403,
    "ModelInvalidRequestError": 400,
    "ModelNotFoundError": 404,
    "ModelRateLimitError": 429,
    "ModelAPIError": 500,
}
"""The statuses of exceptions of SDKs and of LangChain whose text does not tell them."""
_KIND: Final = re.compile(r"""["']type["']: ["'](\w+_error)["']""")
_KINDS: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "server_error": 500,
    "overloaded_error": 529,
}
"""The statuses that stand for an error in the middle of a stream, by the provider's word for it."""
_NAMES: Final = {
    **dict.fromkeys(("APIConnectionError", "ModelConnectionError", "ConnectError", "RemoteProtocolError"), "ConnectionError"),
    **dict.fromkeys(("ReadError", "WriteError", "ProxyError"), "ConnectionError"),
    **dict.fromkeys(("APITimeoutError", "ModelTimeoutError", "ReadTimeout", "ConnectTimeout", "WriteTimeout"), "TimeoutError"),
}
"""Python's own exceptions that stand for those of SDKs, of HTTP clients and of LangChain where no answer came."""


# -- all calls of a recording as the entries of a script


def entries_of(calls: Sequence[RecordedCall], order: Order) -> tuple[list[KeyedSteps | Reply | Fail], list[str]]:
    """Return the entries of a script that answers `calls` again, and what it cannot tell or tell apart, in words."""

    def are_ordered(a: RecordedCall, b: RecordedCall) -> bool:
        return a.run is not None and b.run is not None and order.are_ordered(a.run, b.run)

    def position(branch: Branch[RecordedCall]) -> tuple[bool, float]:
        """Threads begin in any order; that of the tree is the same in each run. The branch without a key comes last."""
        runs = [call.run for call in branch.calls if call.run is not None]
        return branch.key is None, min(map(order.position, runs), default=math.inf)

    found, notes = branches(calls, are_ordered)
    found.sort(key=position)
    entries: list[KeyedSteps | Reply | Fail] = []
    for branch in found:
        steps = [call.step for call in branch.calls]
        entries += steps if branch.key is None else [KeyedSteps(branch.key, tuple(steps))]
    for number, call in enumerate(calls, 1):
        notes += [f"call {number} of `{call.model}`: {what}" for what in call.left_out]
    return entries, notes
