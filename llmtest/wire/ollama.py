"""Ollama's `/api/chat` and `/api/generate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from llmtest.errors import ScriptError
from llmtest.events.words import FrozenList, Message, ToolCall, Usage
from llmtest.scripts.step_types import Call, Part, Reply, Text, Thinking
from llmtest.scripts.streams import join_tokens
from llmtest.wire.api import (
    Api,
    BadBody,
    Body,
    ModelCall,
    ReadAnswer,
    Schemas,
    Writer,
    checked,
    frozen_list,
    item_of,
    objects,
    optional_item,
    refuse_calls,
    schemas,
    texts,
    tool_call,
)
from llmtest.wire.exchange import LINES, HttpAnswer, HttpRequest
from llmtest.wire.reader import Reader, count, read_with

NEVER: Final = "1970-01-01T00:00:00Z"
FINISHES: Final = {"tool_calls": "stop", "refusal": "stop"}


def error_body(message: str) -> dict[str, object]:
    """Return the JSON with which Ollama answers a request that it refuses."""
    return {"error": message}


class ChatWriter(Writer):
    """Writes a chat response, or the lines of a stream. A call comes whole; it has no id."""

    streams_as = LINES

    def whole(self) -> dict[str, object]:
        thought = [part for part in self.reply.parts if isinstance(part, Thinking)]
        calls = tuple(call for call in self.reply.calls if not call.malformed)
        return self._end_of(self._said(self.reply.text, join_tokens(thought), calls))

    def _said(self, text: str, thinking: str = "", calls: tuple[Call, ...] = ()) -> dict[str, object]:
        called = [{"function": {"name": call.tool, "arguments": json.loads(join_tokens([call]))}} for call in calls]
        message = {"role": "assistant", "content": text, **({"thinking": thinking} if thinking else {})}
        return {"message": {**message, **({"tool_calls": called} if called else {})}}

    def _line(self, said: Mapping[str, object]) -> dict[str, object]:
        return {"model": self.model, "created_at": NEVER, **said, "done": False}

    def _end_of(self, said: Mapping[str, object]) -> dict[str, object]:
        if self.reply.truncated:
            return self._line(said)
        reason = self.reply.stop_reason or "stop"
        done = {"done": True, "done_reason": FINISHES.get(reason, reason), "total_duration": 0, "load_duration": 0}
        return {**self._line(said), **done, **counts(self.usage), **self._from_script("logprobs")}

    # -- the stream

    def _opening(self) -> Iterator[dict[str, object]]:
        return iter(())

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[dict[str, object]]:
        first = parts[0]
        if isinstance(first, Call):
            self.before += len(first.tokens)  # a gate within the call stands before all of it
            if not first.malformed:  # a stream that was cut off within the call never sends it
                yield self._line(self._said("", calls=(first,)))
            self.before += 1
            return
        for token in self._streamed(parts):
            yield self._line(self._said(token) if isinstance(first, Text) else self._said("", thinking=token))

    def _end(self) -> Iterator[dict[str, object]]:
        yield self._end_of(self._said(""))

    def error_event(self, status: int, message: str) -> dict[str, object]:
        return error_body(message)

    def encode(self, event: Mapping[str, object]) -> bytes:
        return json.dumps(event).encode() + b"\n"


class GenerateWriter(ChatWriter):
    """Writes the answer to a text prompt. There is no call in it."""

    def _said(self, text: str, thinking: str = "", calls: tuple[Call, ...] = ()) -> dict[str, object]:
        return {"response": text, **({"thinking": thinking} if thinking else {})}


def counts(usage: Usage | None) -> dict[str, int]:
    """Return the usage as Ollama counts it: cached tokens and those of the reasoning are not told apart."""
    if usage is None:
        return {}
    read = {"prompt_eval_count": usage.input_tokens, "prompt_eval_duration": 0}
    return {**read, "eval_count": usage.output_tokens, "eval_duration": 0}


# -- reading answers


class ChatReader(Reader):
    """Reads a chat response, or the lines of a stream."""

    sends = "a chat response of Ollama"
    of_body: ClassVar[frozenset[str]] = frozenset(
        (
            *("model", "created_at", "message", "response", "thinking", "done", "done_reason", "remote_model", "remote_host"),
            *("total_duration", "load_duration"),
            *("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
        )
    )

    def default_stop(self) -> str:
        return "stop"

    def whole(self, body: Body) -> None:
        self.event(body)
        if self.failure is None and not self.is_at_end:
            self.leave_out("no `done`")

    def event(self, event: Body) -> None:
        if event.get("error"):
            self.fail(event["error"])
            return
        self._said(event)
        self.name_model(event.get("model"))
        self.leave_out_rest(event, self.of_body)
        if not event.get("done"):
            return
        self.is_at_end = True
        self.stop_reason = optional_item(event, "done_reason", str, "why the answer ends") or "stop"
        if event.get("eval_count") is not None:
            read, written = count(event, "prompt_eval_count"), count(event, "eval_count")
            self.usage = Usage(read, written, read + written)

    def _said(self, event: Body) -> None:
        message = item_of(event, "message", dict, "a message")
        self._text(message, "content")
        for called in objects(message, "tool_calls", "a list of tool calls"):
            function = item_of(called, "function", dict, "an object with `name` and `arguments`")
            arguments = optional_item(function, "arguments", dict, "an object") or {}
            self.call(function.get("name"), called.get("id") or None, arguments)
        self.leave_out_rest(message, ("role", "content", "thinking", "tool_calls"))

    def _text(self, said: Body, key: str) -> None:
        self.add(Thinking, optional_item(said, "thinking", str, "a text") or "")
        self.add(Text, optional_item(said, key, str, "a text") or "")


class GenerateReader(ChatReader):
    """Reads the answer to a text prompt."""

    sends = "an answer of Ollama to a prompt"

    def _said(self, event: Body) -> None:
        item_of(event, "response", str, "a text")
        self._text(event, "response")


class Chat(Api):
    """`POST /api/chat`. It streams unless the request says `"stream": false`."""

    name = "ollama"
    writer: ClassVar[type[Writer]] = ChatWriter
    log_probabilities = ("logprobs",)

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        return bool(params.get("logprobs"))

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        item_of(body, "messages", list, "a list of messages")
        return call_of(body, tuple(_messages(body)), {"messages", "tools"}, schemas([*_tools(body)]))

    def check(self, reply: Reply, params: Mapping[str, object]) -> None:
        super().check(reply, params)
        broken = [call for call in reply.calls if call.malformed]
        if broken and not reply.truncated and reply.failure is None:
            raise ScriptError(
                f"the script calls the tool `{broken[0].tool}` with malformed arguments, {join_tokens(broken[:1])!r}\n"
                "  Ollama's API sends arguments as an object; its server says such a call as text, or fails: say(...), fail(500)"
            )

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(ChatReader(asked), self, answer)

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(message)


class Generate(Api):
    """`POST /api/generate`: the prompt is one message. It streams unless the request says `"stream": false`."""

    name = "ollama"
    writer: ClassVar[type[Writer]] = GenerateWriter
    log_probabilities = ("logprobs",)

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        return bool(params.get("logprobs"))

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        system = optional_item(body, "system", str, "a text")
        said = Message("human", _content(optional_item(body, "prompt", str, "a text") or "", body.get("images")))
        return call_of(body, (*([Message("system", system)] if system else []), said), {"prompt", "system", "images"}, {})

    def check(self, reply: Reply, params: Mapping[str, object]) -> None:
        super().check(reply, params)
        refuse_calls(reply, "Ollama's /api/generate", "only /api/chat, as ChatOllama asks it, has tool calls")

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(GenerateReader(asked), self, answer)

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(message)


# -- reading


def call_of(body: Body, messages: tuple[Message, ...], read: set[str], tools: Schemas) -> ModelCall:
    """Return what a request asks: what `/api/chat` and `/api/generate` read alike."""
    options = optional_item(body, "options", dict, "an object") or {}
    streams = optional_item(body, "stream", bool, "true or false") is not False
    rest = {key: value for key, value in body.items() if key not in read | {"model", "stream"}}
    return ModelCall(
        item_of(body, "model", str, "the name of a model"),
        messages,
        tools,
        None,
        texts(options.get("stop"), "options.stop"),
        {**rest, **_format(body.get("format"))},
        streams,
    )


def _format(wanted: object) -> dict[str, object]:
    if not wanted:
        return {}
    if wanted != "json" and not isinstance(wanted, dict):
        raise BadBody(f"`format` is 'json' or a JSON schema; got {type(wanted).__name__} {wanted!r:.100}")
    schema = wanted if isinstance(wanted, dict) else None
    return {"response_format": {"type": "json_schema", "schema": schema} if schema else {"type": "json_object"}}


ROLES: Final = {"user": "human", "assistant": "ai"}


def _messages(body: Body) -> Iterator[Message]:
    """Yield the messages. A result that does not name its tool is that of the next call: Ollama's client sends no ids."""
    waiting: list[ToolCall] = []
    for message in objects(body, "messages", "a list of messages"):
        role = item_of(message, "role", str, "the role of a message")
        content = _content(optional_item(message, "content", str, "a text") or "", message.get("images"), message.get("thinking"))
        if role != "tool":
            waiting = [*_calls(message)]
            yield Message(ROLES.get(role, role), content, tuple(waiting))
            continue
        name, key = (
            optional_item(message, "tool_name", str, "the name of a tool"),
            optional_item(message, "tool_call_id", str, "an id"),
        )
        answered = next((call for call in waiting if _answers(call, name, key)), None)
        if answered is not None:
            waiting.remove(answered)
            name, key = answered.name, answered.id
        yield Message("tool", content, name=name, tool_call_id=key)


def _answers(call: ToolCall, name: str | None, key: str | None) -> bool:
    return call.id == key if key else name in (None, call.name)


def _calls(message: Body) -> Iterator[ToolCall]:
    for called in objects(message, "tool_calls", "a list of tool calls"):
        function = item_of(called, "function", dict, "an object with `name` and `arguments`")
        yield tool_call(function.get("name"), optional_item(function, "arguments", dict, "an object"), called.get("id"))


def _content(text: str, images: object, thinking: object = None) -> str | FrozenList:
    """Return the content of a message: text, or blocks if there are images or reasoning."""
    pictures = [
        checked(image, str, "images", "a list of texts in base64") for image in checked(images or [], list, "images", "a list")
    ]
    checked(thinking or "", str, "thinking", "a text")
    if not pictures and not thinking:
        return text
    blocks = [{"type": "thinking", "thinking": thinking}] if thinking else []
    blocks += [{"type": "text", "text": text}] if text else []
    return frozen_list([*blocks, *({"type": "image", "base64": image} for image in pictures)])


def _tools(body: Body) -> Iterator[tuple[str, object]]:
    for tool in objects(body, "tools", "a list of tools"):
        function = item_of(tool, "function", dict, "an object with `name` and `parameters`")
        yield item_of(function, "name", str, "the name of a tool"), function.get("parameters")
