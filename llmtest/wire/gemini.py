"""Gemini's `generateContent` and `streamGenerateContent`, as the Gemini API and Vertex AI have them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final
from urllib.parse import unquote

from llmtest.events.words import FrozenList, Message, ToolCall, Usage
from llmtest.scripts.step_types import Call, Part, Reply, Text, Thinking
from llmtest.scripts.streams import join_tokens
from llmtest.wire.api import (
    Api,
    Body,
    ModelCall,
    ReadAnswer,
    Writer,
    check_number,
    fresh_id,
    frozen_list,
    item_of,
    objects,
    optional_item,
    schemas,
    texts,
    tool_call,
)
from llmtest.wire.exchange import EVENTS, JSON, HttpAnswer, HttpRequest
from llmtest.wire.reader import Reader, count, details, read_with

STATUSES: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
FINISHES: Final = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}


def error_body(status: int, message: str) -> dict[str, object]:
    """Return the JSON with which Google answers a request that it refuses."""
    word = STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": message, "status": word}}


class GeminiWriter(Writer):
    """Writes a `GenerateContentResponse`, or the several of a stream.

    A call comes whole. One whose arguments are no JSON is not sent: its answer ends with MALFORMED_FUNCTION_CALL, as Gemini's
    does. The signature of an answer with reasoning is at its first call, or at the end of its text.
    """

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply, call, usage)
        self.id = str(self.reply.response_metadata.get("response_id") or fresh_id("response"))
        self.signs = self.reply.thinks
        self.streams_as = JSON if self.call.params.get("alt") == "json" else EVENTS
        self.written = 0

    def whole(self) -> dict[str, object]:
        parts: list[dict[str, object]] = []
        for block in self.blocks():
            parts += self._parts(block, join_tokens(block))
        if parts and "text" in parts[-1] and "thought" not in parts[-1]:
            parts[-1] |= self._signature()
        return self._response(parts, self._finish())

    def _parts(self, block: list[Part], text: str) -> list[dict[str, object]]:
        """Return a block as parts of a content: one, or none for a call that cannot be sent."""
        first = block[0]
        if isinstance(first, Call):
            if first.malformed:
                return []
            called = {"id": self.call_id(first), "name": first.tool, "args": json.loads(text)}
            return [{"functionCall": called, **self._signature()}]
        return [{"text": text, "thought": True} if isinstance(first, Thinking) else {"text": text}]

    def _signature(self) -> dict[str, str]:
        signs, self.signs = self.signs, False
        return {"thoughtSignature": base64.b64encode(fresh_id("signature").encode()).decode()} if signs else {}

    def _response(self, parts: list[dict[str, object]], finish: Mapping[str, object]) -> dict[str, object]:
        candidate = {"content": {"parts": parts, "role": "model"}, **finish, "index": 0}
        usage = {"usageMetadata": self._usage()} if finish and self.usage is not None else {}
        return {"candidates": [candidate], **usage, "modelVersion": self.model, "responseId": self.id}

    def _finish(self) -> dict[str, object]:
        """Return why the answer ends, with what the script adds to the candidate."""
        if self.reply.truncated:
            return {}
        broken = [f"{call.tool}({join_tokens([call])})" for call in self.reply.calls if call.malformed]
        reason = self.reply.stop_reason or ("MALFORMED_FUNCTION_CALL" if broken else "stop")
        told = {"finishMessage": f"Malformed function call: {broken[0]}"} if broken else {}
        ours = ((camel(key), value) for key, value in self.reply.response_metadata.items())
        return {"finishReason": FINISHES.get(reason, reason), **told, **{key: value for key, value in ours if key in CANDIDATE}}

    def _usage(self) -> dict[str, int]:
        assert self.usage is not None
        cached, thought = self.usage.input_details.get("cache_read", 0), self.usage.output_details.get("reasoning", 0)
        return {
            "promptTokenCount": self.usage.input_tokens,
            "candidatesTokenCount": self.usage.output_tokens - thought,
            "totalTokenCount": self.usage.total_tokens,
            **({"cachedContentTokenCount": cached} if cached else {}),
            **({"thoughtsTokenCount": thought} if thought else {}),
        }

    # -- the stream

    def _opening(self) -> Iterator[dict[str, object]]:
        return iter(())

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[dict[str, object]]:
        first = parts[0]
        if isinstance(first, Call):
            self.before += len(first.tokens)  # a gate within the call stands before all of it
            for part in self._parts(parts, join_tokens(parts)):
                yield self._response([part], {})
            self.before += 1
            return
        for token in self._streamed(parts):
            yield self._response(self._parts(parts, token), {})

    def _end(self) -> Iterator[dict[str, object]]:
        yield self._response([{"text": "", **self._signature()}], self._finish())

    def error_event(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)

    def encode(self, event: Mapping[str, object]) -> bytes:
        if self.streams_as == EVENTS:
            return super().encode(event)
        self.written += 1
        return (b"[" if self.written == 1 else b",\r\n") + json.dumps(event).encode()

    def closing(self) -> bytes:
        return b"" if self.streams_as == EVENTS else b"]"


CANDIDATE: Final = ("safetyRatings", "citationMetadata", "groundingMetadata", "avgLogprobs", "finishMessage", "logprobsResult")


# -- reading answers


OUR_STOPS: Final = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}


def read_usage(said: Body) -> Usage:
    """Return usage from Gemini's words: ours counts the reasoning among the output tokens."""
    thought = count(said, "thoughtsTokenCount")
    read, written = count(said, "promptTokenCount"), count(said, "candidatesTokenCount") + thought
    total = count(said, "totalTokenCount") or read + written
    return Usage(read, written, total, details(cache_read=count(said, "cachedContentTokenCount")), details(reasoning=thought))


class GeminiReader(Reader):
    """Reads a `GenerateContentResponse`, or the several of a stream. Signatures are not kept: a replay makes its own."""

    sends = "a GenerateContentResponse of Gemini"
    statuses: ClassVar[Mapping[str, int]] = {
        "INVALID_ARGUMENT": 400,
        "FAILED_PRECONDITION": 400,
        "INTERNAL": 500,
        **{word: status for status, word in STATUSES.items()},
    }

    def __init__(self, asked: str) -> None:
        super().__init__(asked)
        self.is_signed = False

    def default_stop(self) -> str:
        return "stop"

    def whole(self, body: Body) -> None:
        self.event(body)
        if self.failure is None and not self.is_at_end:
            self.leave_out("no finish reason")

    def event(self, event: Body) -> None:
        if event.get("error"):
            self.fail(event["error"])
            return
        if not event.keys() & {"candidates", "promptFeedback", "usageMetadata"}:
            item_of(event, "candidates", list, "a list of candidates")
        self.name_model(event.get("modelVersion"))
        if (usage := _object(event, "usageMetadata")).get("totalTokenCount") is not None:
            self.usage = read_usage(usage)
        self.leave_out_rest(event, OF_RESPONSE)
        self._blocked(_object(event, "promptFeedback"))
        for number, candidate in enumerate(objects(event, "candidates", "a list of candidates")):
            index = optional_item(candidate, "index", int, "the number of a candidate")
            index = number if index is None else index
            if index == 0:
                self._candidate(candidate)
            else:
                self.others.add(index)

    def _blocked(self, feedback: Body) -> None:
        if feedback.get("blockReason"):
            self.leave_out(f"that the prompt was blocked: {feedback['blockReason']}")
            self.stop_reason, self.is_at_end = "content_filter", True

    def _candidate(self, candidate: Body) -> None:
        for part in _parts(_object(candidate, "content")):
            self._part_of(part)
        reason = optional_item(candidate, "finishReason", str, "why the answer ends")
        if reason:
            self.stop_reason, self.is_at_end = OUR_STOPS.get(reason, reason), True
        for name in CANDIDATE:
            if candidate.get(name) not in (None, [], {}):
                self.keep({snake(name): candidate[name]}, snake(name))
        self.leave_out_rest(candidate, OF_CANDIDATE)

    def _part_of(self, part: Body) -> None:
        self.is_signed = self.is_signed or bool(part.get("thoughtSignature"))
        if _has(part, "functionCall"):
            called = _object(part, "functionCall")
            self.call(called.get("name"), called.get("id"), _object(called, "args"))
        elif "text" in part:
            kind = Thinking if part.get("thought") else Text
            self.add(kind, optional_item(part, "text", str, "the text of a part") or "")
        elif part.keys() - {"thoughtSignature", "thought"}:
            self.leave_out(f"a part of the type {_block(dict(part))['type']}")

    def answer(self) -> ReadAnswer:
        if self.is_signed and not any(block.kind is Thinking for block in self.blocks):
            self.leave_out("signatures of reasoning that is not in the answer")
        return super().answer()


def snake(name: str) -> str:
    """Return a name of Google's JSON as LangChain has it."""
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


OF_RESPONSE: Final = frozenset(
    ("candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime", "error", "sdkHttpResponse")
)
OF_CANDIDATE: Final = frozenset(("content", "finishReason", "index", *CANDIDATE))


class Gemini(Api):
    """`POST .../models/{model}:generateContent` and `:streamGenerateContent`, the latter with `alt=sse` or as a JSON array."""

    name = "gemini"
    writer: ClassVar[type[Writer]] = GeminiWriter
    log_probabilities = ("logprobs_result", "logprobsResult", "avg_logprobs", "avgLogprobs")

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        return bool(field(_object(params, "generationConfig"), "responseLogprobs"))

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        model, _, verb = unquote(request.path).rpartition("/models/")[2].partition(":")
        streams = verb == "streamGenerateContent"
        config = _object(body, "generationConfig")
        tools = schemas(_tools(body))
        check_number(field(config, "candidateCount"), "candidateCount")
        read = {"contents", "systemInstruction", "tools", "toolConfig"}
        params = {camel(key): value for key, value in body.items() if camel(key) not in read}
        if streams and request.query.get("alt") != "sse":
            params["alt"] = "json"
        return ModelCall(
            model,
            (*_system(body), *_messages(body)),
            tools,
            _tool_choice(body, list(tools)),
            texts(field(config, "stopSequences"), "stopSequences"),
            {**params, **_format(config)},
            streams,
        )

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(GeminiReader(asked), self, answer)

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


# -- reading


def camel(name: str) -> str:
    """Return a name as Google's JSON has it; a server takes it in snake case too."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def field(body: Body, name: str) -> object:
    """Return what a body has under a name, in camel case or in snake case."""
    if name in body:
        return body[name]
    return next((value for key, value in body.items() if camel(key) == name), None)


def _object(body: Body, name: str) -> Body:
    found: Body = optional_item({name: field(body, name)}, name, dict, "an object") or {}
    return found


def _system(body: Body) -> Iterator[Message]:
    said = field(body, "systemInstruction")
    if said is not None:
        yield Message("system", said if isinstance(said, str) else _content(_parts(_object(body, "systemInstruction"))))


def _messages(body: Body) -> Iterator[Message]:
    item_of(body, "contents", list, "a list of contents")
    open_calls: list[ToolCall] = []
    for content in objects(body, "contents", "a list of contents"):
        parts = _parts(content)
        if content.get("role") == "model":
            open_calls = [_call(part) for part in parts if _has(part, "functionCall")]
            yield Message("ai", _content(parts), tuple(open_calls))
            continue
        yield from (_result(_object(part, "functionResponse"), open_calls) for part in parts if _has(part, "functionResponse"))
        if not parts or not all(_has(part, "functionResponse") for part in parts):
            yield Message("human", _content(parts))


def _parts(content: Body) -> list[dict[str, object]]:
    parts = content.get("parts")
    found = objects({"parts": [parts] if isinstance(parts, dict) else parts}, "parts", "a list of parts")
    for part in found:
        optional_item(part, "text", str, "the text of a part")
    return found


def _has(part: Body, name: str) -> bool:
    return field(part, name) is not None


def _call(part: Body) -> ToolCall:
    called = _object(part, "functionCall")
    return tool_call(called.get("name"), _object(called, "args"), called.get("id"))


def _result(said: Body, open_calls: list[ToolCall]) -> Message:
    """Return the result of a tool. It says the name of its tool; the first open call with that name is the one it answers."""
    name, key = item_of(said, "name", str, "the name of a tool"), optional_item(said, "id", str, "the id of a call")
    answered = next((call for call in open_calls if (call.id == key if key else call.name == name)), None)
    if answered is not None:
        open_calls.remove(answered)
        key = answered.id
    return Message("tool", _result_text(_object(said, "response")), name=name, tool_call_id=key)


def _result_text(response: Body) -> str:
    """Return the text of a result, which Google's clients put into an object: `{"output": ...}` or `{"result": ...}`."""
    wrapped = len(response) == 1 and next(iter(response)) in ("output", "result", "error")
    value = next(iter(response.values())) if wrapped else response
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _content(parts: list[dict[str, object]]) -> str | FrozenList:
    """Return what parts say, without calls and results: text, or blocks as soon as there is more than one text."""
    said = [part for part in parts if not _has(part, "functionCall") and not _has(part, "functionResponse")]
    blocks = [_block(part) for part in said]
    text = blocks[0].get("text") if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else None
    if isinstance(text, str):
        return text
    return frozen_list(blocks) if blocks else ""


def _block(part: dict[str, object]) -> dict[str, object]:
    if isinstance(part.get("text"), str):
        return {"type": "thinking", "thinking": part["text"]} if part.get("thought") else {"type": "text", "text": part["text"]}
    told = {key: value for key, value in part.items() if value is not None}
    return {**told, "type": next((camel(key) for key in told if camel(key) != "thoughtSignature"), "part")}


def _format(config: Body) -> dict[str, object]:
    """Return the format of the answer, if the request asks for one."""
    schema = field(config, "responseJsonSchema") or field(config, "responseSchema")
    mime = field(config, "responseMimeType")
    if schema:
        return {"response_format": {"type": "json_schema", "schema": json_schema(schema)}}
    return {"response_format": {"type": "json_object"}} if mime == "application/json" else {}


# -- tools


def _tools(body: Body) -> Iterator[tuple[str, object]]:
    for tool in objects(body, "tools", "a list of tools"):
        for key, value in tool.items():
            if camel(key) != "functionDeclarations":
                yield camel(key), None  # a tool of Google's own, such as `googleSearch`
                continue
            for declared in objects({key: value}, key, "a list of functions"):
                exact = field(declared, "parametersJsonSchema")
                name = item_of(declared, "name", str, "the name of a function")
                yield name, json_schema(declared.get("parameters") or NO_ARGUMENTS) if exact is None else exact


def _tool_choice(body: Body, tools: list[str]) -> object:
    config = _object(_object(body, "toolConfig"), "functionCallingConfig")
    mode = optional_item(config, "mode", str, "AUTO, ANY or NONE")
    allowed = texts(field(config, "allowedFunctionNames"), "allowedFunctionNames")
    if not mode:
        return None
    mode = mode.upper()
    if mode == "NONE":
        return "none"
    if allowed is None or (len(tools) > 1 and set(allowed) >= set(tools)):
        return "any" if mode == "ANY" else "auto"
    if mode == "ANY" and len(allowed) == 1:
        return {"type": "tool", "name": allowed[0]}
    needed = "required" if mode == "ANY" else "auto"
    return {"type": "allowed_tools", "mode": needed, "tools": [{"name": name} for name in allowed]}


NO_ARGUMENTS: Final = {"type": "object", "properties": {}}
NAMES: Final = {"defs": "$defs", "ref": "$ref"}
COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
OURS: Final = ("nullable", "propertyOrdering", "example")


def json_schema(schema: object) -> object:
    """Return Google's own kind of schema as JSON schema: types in lower case, `nullable` as a type, counts as numbers."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {NAMES.get(camel(key), camel(key)): value for key, value in schema.items() if camel(key) not in OURS}
    for key, value in found.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            found[key] = {name: json_schema(item) for name, item in value.items()}
        elif key in ("items", "anyOf", "prefixItems", "additionalProperties"):
            found[key] = json_schema(value)
        elif key in COUNTS and isinstance(value, str) and value.isdecimal():
            found[key] = int(value)
    if isinstance(kind := found.get("type"), str):
        found["type"] = kind.lower()
        if kind == "TYPE_UNSPECIFIED":
            del found["type"]
    return _nullable(found) if schema.get("nullable") is True else found


def _nullable(schema: dict[str, object]) -> dict[str, object]:
    return {"anyOf": [schema, {"type": "null"}]}
