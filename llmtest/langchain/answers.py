"""A scripted step as LangChain's messages, exceptions and usage."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core import exceptions as core_exceptions
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, InvalidToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from llmtest import ledger
from llmtest.errors import StatusError
from llmtest.events.words import EMPTY
from llmtest.langchain.bound_tools import named_tools
from llmtest.langchain.dialects.names import class_of
from llmtest.langchain.freezing import ATOMS
from llmtest.scripts.gates import Gate, with_gates
from llmtest.scripts.replies import counted, raised, reported_usage
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Step, Text, split
from llmtest.scripts.tool_checks import ANYTHING


def fails_by_status(step: Step) -> bool:
    """True for a step that fails with an HTTP status, at once or at its end."""
    failure = step.failure if isinstance(step, Reply) else step
    return isinstance(failure, Fail) and isinstance(failure.error, int)


def exception(failure: Fail, dialect: str = "plain") -> BaseException:
    """Return the exception that a failing step raises."""
    error = failure.error
    kind = class_of(dialect)
    if not isinstance(error, int):
        broken = raised(failure)
        return (kind.errors.unreached(broken) if failure.by_client and kind is not None else None) or broken
    refusal = (error, failure.retry_after, failure.message)
    known = None if kind is None else kind.errors.refusal(*refusal)
    return known or _status_class(error)(*refusal)


_STATUS_CLASSES = {
    401: "ModelAuthenticationError",
    403: "ModelPermissionDeniedError",
    404: "ModelNotFoundError",
    408: "ModelTimeoutError",
    429: "ModelRateLimitError",
    504: "ModelTimeoutError",
}


@functools.lru_cache(maxsize=64)
def _status_class(status: int) -> type[StatusError]:
    """Return `StatusError`, or a subclass of it and of langchain-core's class for this status."""
    name = _STATUS_CLASSES.get(status, "ModelAPIError" if status >= 500 else "ModelInvalidRequestError")
    # By name, because older versions of langchain-core lack these classes.
    theirs = getattr(core_exceptions, name, None)
    return type("StatusError", (StatusError, theirs), {}) if theirs is not None else StatusError


def tool_schema(tool: Any) -> dict[str, object]:
    """Return what is bound of `tool`: its schema in OpenAI's words; a dict in a provider's own words stays as it is.

    Integrations take tools of their provider as dicts, which LangChain's converter refuses: `{"google_search": {}}`,
    `{"type": "code_execution_20250825", "name": "code_execution"}`, `{"cachePoint": {"type": "default"}}`.
    """
    extras = getattr(tool, "extras", None) if isinstance(tool, BaseTool) else None  # langchain-core 1.0 has none
    if extras and "provider_tool_definition" in extras:
        tool = extras["provider_tool_definition"]
    # The converter reads a dict of type "function" as OpenAI writes it, and one of type "object" as a JSON schema.
    if not isinstance(tool, dict) or tool.get("type") in ("function", "object"):
        return convert_to_openai_tool(tool)
    in_words_of_ours = "type" not in tool and tool.keys() & {"name", "title", "properties"}
    return convert_to_openai_tool(tool) if in_words_of_ours or not tool else dict(tool)


def tool_schemas(bound: object) -> Mapping[str, Mapping[str, object]]:
    """Return the JSON schema of the arguments of each bound tool, by name; a provider's own tool takes any arguments."""
    if not bound:
        return EMPTY
    return {name: _arguments_schema(spec) for name, spec in named_tools(bound)}


def _arguments_schema(spec: Mapping[str, object]) -> Mapping[str, object]:
    schema = spec.get("parameters") or spec.get("input_schema") or spec.get("inputSchema")
    schema = schema.get("json", schema) if isinstance(schema, Mapping) else None  # as Bedrock wraps it
    return schema or ANYTHING


def usage_metadata_of(reply: Reply, prompt: Sequence[str]) -> UsageMetadata | None:
    """Return the usage that `reply` reports for a prompt of these texts, in LangChain's words."""
    if reply.usage is None:  # nearly always: without a `Usage` in between
        into, out = counted(reply, prompt)
        return {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
    usage = reported_usage(reply, prompt)
    if usage is None:
        return None
    details = {
        f"{side}_token_details": dict(numbers)
        for side, numbers in (("input", usage.input_details), ("output", usage.output_details))
        if numbers
    }
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "total_tokens": usage.total_tokens}
    return cast("UsageMetadata", {**counts, **details})


def texts_of(messages: Iterable[BaseMessage]) -> list[str]:
    """Return the text of each message."""
    # `.text` walks over content blocks, so it is asked only where there are some.
    return [message.content if type(message.content) is str else str(message.text) for message in messages]


def response_metadata(reply: Reply, model_name: str) -> dict[str, object]:
    """Return the metadata of an answer; a stream that was cut off has no finish reason."""
    metadata: dict[str, object] = {"model_name": model_name}
    if not reply.truncated:
        metadata["finish_reason"] = reply.stop_reason or ("tool_calls" if reply.calls else "stop")
    if reply.response_metadata:
        metadata.update(copy.deepcopy(dict(reply.response_metadata)))
    return metadata


def _copy_json(value: object) -> Any:
    """Return a copy of a script's frozen JSON in plain dicts and lists, which the program may change."""
    if isinstance(value, dict):
        return {key: item if type(item) in ATOMS else _copy_json(item) for key, item in value.items()}
    return [item if type(item) in ATOMS else _copy_json(item) for item in value] if isinstance(value, list) else value


class Answer:
    """One reply in LangChain's words, whole or in chunks. Its own ids are the same in both."""

    def __init__(self, reply: Reply, model_name: str, prompt: Sequence[str], dialect: str) -> None:
        self.reply = reply
        self.dialect = dialect
        self.id = ledger.current().fresh_id("msg")
        self.blocks = reply.thinks
        self.closing: dict[str, Any] = {
            "usage_metadata": None if reply.truncated else usage_metadata_of(reply, prompt),
            "response_metadata": response_metadata(reply, model_name),
        }

    def _content(self, part: Part, text: str, index: int) -> str | list[str | dict[str, object]]:
        if not self.blocks:
            return text
        kind, key = ("text", "text") if isinstance(part, Text) else ("reasoning", "reasoning")
        # LangChain joins the blocks of chunks by `index`; without it each token would stay a block of its own.
        return [{"type": kind, key: text, "index": index}]

    def call_id(self, call: Call) -> str:
        return call.id or ledger.current().fresh_id("call")

    def error(self) -> BaseException:
        return exception(cast("Fail", self.reply.failure), self.dialect)

    def result(self) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message())])

    def _message(self) -> AIMessage:
        reply = self.reply
        if reply.failure is not None:
            raise self.error()
        message = AIMessage(content=reply.text if reply.plain else self._whole_content(), id=self.id)
        if reply.refusal:
            message.additional_kwargs["refusal"] = reply.text
        # These are valid already, and pydantic would take as long to validate them as for the rest of the message.
        if reply.calls:
            self.closing["tool_calls"] = [self._tool_call(c) for c in reply.calls if not c.malformed]
            self.closing["invalid_tool_calls"] = [self._invalid_tool_call(c) for c in reply.calls if c.malformed]
        message.__dict__.update(self.closing)
        message.__pydantic_fields_set__.update(self.closing)
        return message

    def _whole_content(self) -> str | list[str | dict[str, object]]:
        content: str | list[str | dict[str, object]] = [] if self.blocks else ""
        for index, part in enumerate(() if self.reply.refusal else self.reply.parts):
            if not isinstance(part, Call):
                content += self._content(part, "".join(part.tokens), index)  # type: ignore[operator]
        return content

    def _tool_call(self, call: Call) -> dict[str, object]:
        return {"name": call.tool, "args": _copy_json(call.args), "id": self.call_id(call), "type": "tool_call"}

    def _invalid_tool_call(self, call: Call) -> dict[str, object]:
        said = {"name": call.tool, "args": "".join(call.pieces), "id": self.call_id(call), "error": None}
        return {**said, "type": "invalid_tool_call"}

    def token_fields(self, chunk: ChatGenerationChunk) -> dict[str, Any]:
        return {}

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        return with_gates(self._chunks(), self.reply.gate_positions()) if self.reply.stops else self._chunks()

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        pieces = list(self._pieces()) or [{"content": ""}]
        for piece in pieces[:-1]:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **piece))
        if self.reply.failure is not None:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **pieces[-1]))
            raise self.error()
        # Usage comes once, in the last chunk with content: LangChain adds up what it finds in all chunks.
        last = {**pieces[-1], **self.closing}
        if self.reply.truncated:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **last))
            last = {"content": [] if self.blocks else ""}
        # Without it, langchain-core adds an empty chunk, whose id is that of the run.
        yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, chunk_position="last", **last))

    def _pieces(self) -> Iterator[dict[str, Any]]:
        order = 0
        empty: str | list[object] = [] if self.blocks else ""
        for index, part in enumerate(self.reply.parts):
            if self.reply.refusal and isinstance(part, Text):
                yield from ({"content": empty, "additional_kwargs": {"refusal": token}} for token in part.tokens)
            elif not isinstance(part, Call):
                yield from ({"content": self._content(part, token, index)} for token in part.tokens)
            else:
                number = index if self.blocks else order  # beside blocks, calls are numbered with them
                # As providers stream a call: its name and id once, then pieces of its arguments. LangChain joins them by `index`.
                opening = {"name": part.tool, "args": "", "id": self.call_id(part), "index": number}
                yield {"content": empty, "tool_call_chunks": [opening]}
                for token in part.tokens:
                    yield {"content": empty, "tool_call_chunks": [{"name": None, "args": token, "id": None, "index": number}]}
                order += 1
        if self.reply.stops_last or (self.reply.parts and isinstance(self.reply.parts[-1], Call)):
            # LangChain parses tool calls at the last chunk: a piece of a call in it would be read as a whole call.
            yield {"content": empty}


class MessageAnswer(Answer):
    """An `AIMessage` of a script, said as it is in every dialect: it is what an integration has answered.

    A message whose content is a list is streamed a block at a time, so that the blocks are the same when they are joined.
    """

    def __init__(self, reply: Reply, model_name: str, prompt: Sequence[str], dialect: str) -> None:
        super().__init__(reply, model_name, prompt, dialect)
        if reply.response_metadata and "finish_reason" not in reply.response_metadata:
            self.closing["response_metadata"].pop("finish_reason", None)  # its provider has another word for it, or none

    def _message(self) -> AIMessage:
        message = super()._message()
        said = self.reply.verbatim
        message.content = _copy_json(said["content"])
        message.additional_kwargs = _copy_json(said.get("additional_kwargs", {}))
        message.name = said.get("name")
        broken = [{"id": None, "error": None, **_copy_json(call)} for call in said.get("invalid_tool_calls", ())]
        message.invalid_tool_calls = cast("list[InvalidToolCall]", broken)
        return message

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        name = self.reply.verbatim.get("name")
        if name is None:
            yield from self._chunks()
            return
        # LangChain drops the name of a message where it joins chunks, so there is one chunk.
        first, *others = self._chunks()
        for chunk in others:
            first += chunk
        first.message.name = name
        yield first

    def _pieces(self) -> Iterator[dict[str, object]]:
        said = self.reply.verbatim
        content = _copy_json(said["content"])
        empty: object = "" if isinstance(content, str) else []
        blocks: Iterable[object] = split(content) if isinstance(content, str) else ([block] for block in content)
        pieces: list[dict[str, object]] = [{"content": block} for block in blocks]
        calls = [(call.tool, call.tokens, self.call_id(call)) for call in self.reply.calls]
        broken = [(call["name"], (call["args"],), call.get("id")) for call in said.get("invalid_tool_calls", ())]
        for index, (name, tokens, own) in enumerate([*calls, *broken]):
            pieces.append({"content": empty, "tool_call_chunks": [{"name": name, "args": "", "id": own, "index": index}]})
            for token in tokens:
                chunk = {"name": None, "args": token, "id": None, "index": index}
                pieces.append({"content": empty, "tool_call_chunks": [chunk]})
        pieces += [{"content": empty}] if calls or broken or not pieces else []
        pieces[0]["additional_kwargs"] = _copy_json(said.get("additional_kwargs", {}))
        return iter(pieces)
