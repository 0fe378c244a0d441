"""OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final

from llmtest.events.words import FrozenList, Message, ToolCall, Usage
from llmtest.scripts.step_types import Call, Part, Reply, Text, Thinking
from llmtest.scripts.streams import join_tokens
from llmtest.wire import openai
from llmtest.wire.api import (
    Api,
    BadBody,
    Body,
    ModelCall,
    ReadAnswer,
    Writer,
    choice_of,
    content_of,
    fresh_id,
    frozen,
    frozen_list,
    item_of,
    objects,
    optional_item,
    role_of,
    schemas,
    server_sent,
    tool_call,
)
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.openai import STATUSES, error_body, type_and_code
from llmtest.wire.reader import Block, Reader, count, details, inner, read_with

INCOMPLETE: Final = {"length": "max_output_tokens", "max_output_tokens": "max_output_tokens", "content_filter": "content_filter"}


def incomplete_reason(reply: Reply) -> str | None:
    """Return the word of the Responses API for why the answer is incomplete; None if it is complete."""
    return INCOMPLETE.get(reply.stop_reason or "")


def status_of(reply: Reply) -> str | None:
    """Return the status of the answer; None for a stream that was cut off."""
    if reply.truncated:
        return None
    return "incomplete" if incomplete_reason(reply) else "completed"


def error_code(status: int) -> str:
    """Return the code with which a stream that has begun tells of a failure."""
    kind, code = type_and_code(status)
    return code or kind


def usage_words(usage: Usage) -> dict[str, object]:
    """Return `usage` in the words of the Responses API."""
    into, out = usage.input_details, usage.output_details
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": into.get("cache_read", 0),
            "cache_write_tokens": into.get("cache_creation", 0),
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": out.get("reasoning", 0)},
        "total_tokens": usage.total_tokens,
    }


ECHOED: Final[Mapping[str, object]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What each response repeats of its request, with what stands there if the request does not say it."""
FUNCTION: Final[Mapping[str, object]] = {"parameters": {}, "strict": True}
"""The same for each function among its tools."""


class ResponseWriter(Writer):
    """Writes a response, or its events."""

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply, call, usage)
        self.id = fresh_id("resp")
        self.sent = 0
        self.items: list[dict[str, object]] = []
        self.last = len(list(self.blocks())) - 1

    def whole(self) -> dict[str, object]:
        self.items = [self._item(number, parts) for number, parts in enumerate(self.blocks())]
        return self._finished()

    def _response(self, status: str | None, **more: object) -> dict[str, object]:
        known = {"id": self.id, "object": "response", "created_at": 0, "status": status, "model": self.model}
        unknown: dict[str, object] = {"error": None, "incomplete_details": None, "output": [], "usage": None}
        said = {key: value for key, value in self.call.params.items() if key in ECHOED}
        said |= {} if self.call.tool_choice is None else {"tool_choice": self.call.tool_choice}
        if tools := objects(said, "tools", "a list of tools"):
            said["tools"] = [{**FUNCTION, **tool} if tool.get("type") == "function" else tool for tool in tools]
        return {**known, **unknown, **ECHOED, **said, **more, **self._from_script("id", "created_at")}

    def _finished(self) -> dict[str, object]:
        reason = incomplete_reason(self.reply)
        return self._response(
            status_of(self.reply),
            incomplete_details=None if reason is None else {"reason": reason},
            output=self.items,
            usage=None if self.usage is None else usage_words(self.usage),
            service_tier="default",
            **self._from_script("status", "incomplete_details", "service_tier", "metadata", "user"),
        )

    def _status(self, number: int) -> str:
        return "incomplete" if number == self.last and incomplete_reason(self.reply) else "completed"

    def _item(self, number: int, parts: list[Part], key: str | None = None, call_id: str | None = None) -> dict[str, object]:
        """Return a finished item of the output; a stream has given it its ids before."""
        first, text, status = parts[0], join_tokens(parts), self._status(number)
        key = key or fresh_id(_prefix(first))
        if isinstance(first, Call):
            return _function_call(key, first, call_id or self.call_id(first), text, status)
        if isinstance(first, Text):
            return _message_item(key, [self._part(text)], status)
        return {"id": key, "type": "reasoning", "summary": [_summary(text)]}

    def _part(self, text: str) -> dict[str, object]:
        if self.reply.refusal:
            return {"type": "refusal", "refusal": text}
        logprobs = self.reply.response_metadata.get("logprobs", []) if text else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    # -- the stream

    def _event(self, kind: str, **fields: object) -> dict[str, object]:
        self.sent += 1
        return {"type": kind, "sequence_number": self.sent - 1, **fields}

    def _opening(self) -> Iterator[dict[str, object]]:
        response = self._response("in_progress", service_tier="auto")
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[dict[str, object]]:
        first = parts[0]
        key = fresh_id(_prefix(first))
        call_id = self.call_id(first) if isinstance(first, Call) else None
        at = {"item_id": key, "output_index": number}
        yield self._event("response.output_item.added", output_index=number, item=_begun(first, key, call_id))
        if isinstance(first, Call):
            self.before += 1
            yield from self._arguments(first, at, cut)
        elif isinstance(first, Text):
            yield from self._text(parts, {**at, "content_index": 0}, cut)
        else:
            yield from self._reasoning(parts, {**at, "summary_index": 0}, cut)
        if not cut:
            self.items.append(self._item(number, parts, key, call_id))
            yield self._event("response.output_item.done", output_index=number, item=self.items[-1])

    def _arguments(self, call: Call, at: Mapping[str, object], cut: bool) -> Iterator[dict[str, object]]:
        kind = "response.function_call_arguments"
        for token in self._streamed([call]):
            yield self._event(f"{kind}.delta", **at, delta=token)
        if not cut:
            yield self._event(f"{kind}.done", **at, arguments=join_tokens([call]))

    def _text(self, parts: list[Part], at: Mapping[str, object], cut: bool) -> Iterator[dict[str, object]]:
        kind, key = ("response.refusal", "refusal") if self.reply.refusal else ("response.output_text", "text")
        unknown: dict[str, object] = {} if self.reply.refusal else {"logprobs": []}
        yield self._event("response.content_part.added", **at, part=self._part(""))
        for token in self._streamed(parts):
            yield self._event(f"{kind}.delta", **at, delta=token, **unknown)
        if not cut:
            text = join_tokens(parts)
            yield self._event(f"{kind}.done", **at, **{key: text}, **unknown)
            yield self._event("response.content_part.done", **at, part=self._part(text))

    def _reasoning(self, parts: list[Part], at: Mapping[str, object], cut: bool) -> Iterator[dict[str, object]]:
        kind = "response.reasoning_summary"
        yield self._event(f"{kind}_part.added", **at, part=_summary(""))
        for token in self._streamed(parts):
            yield self._event(f"{kind}_text.delta", **at, delta=token)
        if not cut:
            text = join_tokens(parts)
            yield self._event(f"{kind}_text.done", **at, text=text)
            yield self._event(f"{kind}_part.done", **at, part=_summary(text))

    def _end(self) -> Iterator[dict[str, object]]:
        response = self._finished()
        yield self._event(
            "response.incomplete" if response["status"] == "incomplete" else "response.completed", response=response
        )

    def error_event(self, status: int, message: str) -> dict[str, object]:
        return self._event("error", code=error_code(status), message=message, param=None)

    def encode(self, event: Mapping[str, object]) -> bytes:
        return server_sent(event, str(event["type"]))


def _prefix(first: Part) -> str:
    return "fc" if isinstance(first, Call) else "msg" if isinstance(first, Text) else "rs"


def _begun(first: Part, key: str, call_id: str | None) -> dict[str, object]:
    """Return an item whose content is still to come."""
    if isinstance(first, Call):
        return _function_call(key, first, call_id, "", "in_progress")
    return _message_item(key, [], "in_progress") if isinstance(first, Text) else {"id": key, "type": "reasoning", "summary": []}


def _function_call(key: str, call: Call, call_id: str | None, arguments: str, status: str) -> dict[str, object]:
    said = {"arguments": arguments, "call_id": call_id, "name": call.tool}
    return {"id": key, "type": "function_call", "status": status, **said}


def _message_item(key: str, content: list[dict[str, object]], status: str) -> dict[str, object]:
    return {"id": key, "type": "message", "status": status, "content": content, "role": "assistant"}


def _summary(text: str) -> dict[str, object]:
    return {"type": "summary_text", "text": text}


# -- reading answers


def read_usage(said: Body) -> Usage:
    """Return usage from the words of the Responses API."""
    into, out = inner(said, "input_tokens_details"), inner(said, "output_tokens_details")
    read, written = count(said, "input_tokens"), count(said, "output_tokens")
    return Usage(
        read,
        written,
        count(said, "total_tokens") or read + written,
        details(cache_read=count(into, "cached_tokens"), cache_creation=count(into, "cache_write_tokens")),
        details(reasoning=count(out, "reasoning_tokens")),
    )


class ResponseReader(Reader):
    """Reads a response, or its events. The deltas are the tokens; a finished item counts only where it had no deltas."""

    sends = "a response"
    statuses = STATUSES

    def __init__(self, asked: str) -> None:
        super().__init__(asked)
        self.items: dict[int | None, Block | None] = {}
        self.summary: dict[int | None, object] = {}
        self.streamed: set[int | None] = set()
        """The items that had deltas."""

    def whole(self, body: Body) -> None:
        if body.get("error"):
            self.fail(body["error"])
            return
        item_of(body, "output", list, "a list of items")
        for number, item in enumerate(objects(body, "output", "a list of items")):
            self._item(number, item)
        self._response(body)

    def event(self, event: Body) -> None:
        kind = item_of(event, "type", str, "the type of an event").removeprefix("response.")
        number = optional_item(event, "output_index", int, "the number of an item")
        if kind in ("created", "in_progress", "queued"):
            self.name_model(item_of(event, "response", dict, "a response").get("model"))
        elif kind in ("completed", "incomplete"):
            self._response(item_of(event, "response", dict, "a response"))
        elif kind == "failed":
            self.fail(item_of(event, "response", dict, "a response").get("error"))
        elif kind == "error":
            self.fail(event.get("error") or event)
        elif kind in ("output_item.added", "output_item.done"):
            self._item(number, item_of(event, "item", dict, "an item"))
        elif kind == "content_part.added":
            self._begin_text(number, item_of(event, "part", dict, "a part of a message"))
        elif kind in DELTAS:
            self._delta(kind, number, event)
        elif kind == "output_text.annotation.added":
            self.leave_out("annotations")
        elif kind not in REPEATED:
            self.leave_out(f"an event of the type {kind}")

    def _begin_text(self, number: int | None, part: Body) -> None:
        if part.get("type") in ("output_text", "refusal"):
            self.items[number] = self.begin(Text)
            self.refusal = self.refusal or part["type"] == "refusal"

    def _delta(self, kind: str, number: int | None, event: Body) -> None:
        token = item_of(event, "delta", str, "a text")
        if number not in self.items:
            raise BadBody(f"`output_index` is the number of an item that was added before; got {number!r:.100}")
        block = self.items[number]
        if block is None and DELTAS[kind] is Text:  # a server that does not tell that a part begins
            block = self.items[number] = self.begin(Text)
        if block is None:  # an item of a type that is left out
            return
        self.streamed.add(number)
        if DELTAS[kind] is Thinking:
            self._part_of(number, event.get("summary_index", event.get("content_index")), block)
        self.refusal = self.refusal or kind == "refusal.delta"
        block.add(token)
        if event.get("logprobs"):
            self.leave_out("logprobs")

    def _part_of(self, number: int | None, part: object, block: Block) -> None:
        """Put an empty line before another summary of the same reasoning."""
        if self.summary.setdefault(number, part) != part:
            self.summary[number] = part
            block.add("\n\n")
            self.leave_out("that the reasoning has several summaries")

    # -- items

    def _item(self, number: int | None, item: Body) -> None:
        kind = item.get("type")
        if kind == "function_call":
            self._call(number, item)
        elif kind == "reasoning":
            self._reasoning(number, item)
        elif kind == "message":
            self._message(number, item)
        else:
            self.items[number] = None
            self.leave_out(f"an item of the type {kind}")

    def _call(self, number: int | None, item: Body) -> None:
        arguments = optional_item(item, "arguments", str, "the arguments of a tool call") or ""
        block = self.items.get(number)
        if block is None:
            self.items[number] = self.call(item.get("name"), item.get("call_id"), arguments)
        elif number not in self.streamed:
            block.add(arguments)

    def _reasoning(self, number: int | None, item: Body) -> None:
        block = self.items.get(number)
        if block is None:
            block = self.items[number] = self.begin(Thinking)
        if item.get("encrypted_content"):
            self.leave_out("encrypted reasoning")
        if number not in self.streamed:
            for part, said in enumerate([*objects(item, "summary", "a list"), *objects(item, "content", "a list")]):
                self._part_of(number, part, block)
                block.add(item_of(said, "text", str, "a text"))

    def _message(self, number: int | None, item: Body) -> None:
        self.items.setdefault(number, None)
        for part in objects(item, "content", "a list of parts"):
            kind = part.get("type")
            if kind not in ("output_text", "refusal"):
                self.leave_out(f"a part of the type {kind}")
                continue
            for name in ("annotations", "logprobs"):
                if part.get(name):
                    self.leave_out(name)
            text = item_of(part, "refusal" if kind == "refusal" else "text", str, "a text")
            self.refusal = self.refusal or kind == "refusal"
            if number not in self.streamed:
                block = self.items[number] = self.begin(Text)
                block.add(text)

    def _response(self, body: Body) -> None:
        status = optional_item(body, "status", str, "the status of a response")
        if status not in (None, "completed", "incomplete"):
            raise BadBody(f"`status` is that of a finished response, completed or incomplete; got {status!r:.100}")
        self.name_model(body.get("model"))
        self.keep(body, "service_tier", unless=(None, "default"))
        why = inner(body, "incomplete_details").get("reason")
        if status == "incomplete":
            self.stop_reason = "length" if why == "max_output_tokens" else str(why or status)
        usage = inner(body, "usage")
        self.usage = read_usage(usage) if usage else None
        self.is_at_end = True
        for number, item in enumerate(objects(body, "output", "a list of items")):
            if number not in self.items:  # a server that sends no events of its items
                self._item(number, item)
        if self.stop_reason not in (None, *INCOMPLETE):
            self.keep(body, "status", "incomplete_details")


DELTAS: Final[Mapping[str, type[Text] | type[Thinking] | type[Call]]] = {
    "output_text.delta": Text,
    "refusal.delta": Text,
    "reasoning_summary_text.delta": Thinking,
    "reasoning_text.delta": Thinking,
    "function_call_arguments.delta": Call,
}
REPEATED: Final = frozenset(
    (
        *("output_text.done", "refusal.done", "reasoning_summary_text.done", "reasoning_text.done"),
        *("reasoning_summary_part.added", "reasoning_summary_part.done", "content_part.done"),
        *("function_call_arguments.done", "keepalive"),
    )
)
"""The events that say nothing new."""


class Responses(Api):
    """`POST .../responses`."""

    name = "openai-responses"
    writer: ClassVar[type[Writer]] = ResponseWriter
    log_probabilities = ("logprobs",)

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        wanted = params.get("include")
        return isinstance(wanted, list) and "message.output_text.logprobs" in wanted

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        rest = {"input", "model", "tool_choice", "stream"}
        params = {key: frozen(value) for key, value in body.items() if key not in rest}
        wanted = (optional_item(body, "text", dict, "an object") or {}).get("format")
        if isinstance(wanted, dict) and wanted.get("type") in ("json_schema", "json_object"):
            params["response_format"] = frozen(wanted)
        instructions = content_of(body, "instructions")
        first = [Message("system", _in_our_words(instructions))] if instructions else []
        return ModelCall(
            optional_item(body, "model", str, "the name of a model") or "",
            (*first, *_messages(body)),
            schemas(map(_tool, objects(body, "tools", "a list of tools"))),
            choice_of(body),
            None,  # this API knows no stop sequences
            params,
            bool(body.get("stream")),
        )

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(ResponseReader(asked), self, answer)

    def headers(self, status: int = 200) -> dict[str, str]:
        return openai.headers(status)

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


ROLES: Final = {"user": "human", "assistant": "ai", "system": "system", "developer": "system"}


def _messages(body: Body) -> Iterator[Message]:
    """Yield the messages of the input. What the model said, thought and called without anything between is one message."""
    said = body.get("input")
    if isinstance(said, str):
        yield Message("human", said)
        return
    if "prompt" not in body:
        item_of(body, "input", list, "a text or a list of items")
    answer: list[dict[str, object]] = []
    for item in objects(body, "input", "a list of items"):
        message = _other(item)
        if message is None:
            answer.append(item)
            continue
        yield from _answer(answer)
        answer = []
        yield message
    yield from _answer(answer)


def _other(item: Body) -> Message | None:
    """Return the message of an item that is none of the model's."""
    kind = optional_item(item, "type", str, "the type of an item")
    if kind in (None, "message"):
        role = role_of(item, ROLES)
        return None if role == "ai" else Message(role, _in_our_words(content_of(item)))
    if kind in ("function_call_output", "custom_tool_call_output"):
        return Message("tool", _in_our_words(content_of(item, "output")), tool_call_id=_call_id(item))
    return None


def _answer(items: Iterable[Body]) -> Iterator[Message]:
    """Yield the one message that the items of an answer are; none without any."""
    contents: list[str | FrozenList] = []
    calls: list[ToolCall] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            contents.append(_in_our_words(content_of(item)))
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments" if kind == "function_call" else "input")
            calls.append(tool_call(item.get("name"), arguments, _call_id(item)))
        else:
            contents.append(frozen_list([item]))
    if contents or calls:
        yield Message("ai", _joined(contents), tuple(calls))


def _call_id(item: Body) -> str:
    return item_of(item, "call_id", str, "the id of a tool call")


def _joined(contents: list[str | FrozenList]) -> str | FrozenList:
    if len(contents) == 1:
        return contents[0]
    blocks = [[{"type": "text", "text": content}] if isinstance(content, str) else content for content in contents]
    return frozen_list(block for some in blocks for block in some) if blocks else ""


def _in_our_words(content: str | FrozenList) -> str | FrozenList:
    """Return content with its texts under the type that they have in LangChain's messages."""
    if isinstance(content, str):
        return content
    return frozen_list(
        {**block, "type": "text"} if block.get("type") in ("input_text", "output_text") else block for block in content
    )


def _tool(tool: Body) -> tuple[str, object]:
    key = "name" if "name" in tool or tool.get("type") in ("function", "custom") else "type"
    return item_of(tool, key, str, "the name of a tool"), tool.get("parameters")
