"""OpenAI's legacy text completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from llmtest.events.words import Message, Usage
from llmtest.scripts.step_types import Part, Reply, Text
from llmtest.wire import openai
from llmtest.wire.api import (
    Api,
    BadBody,
    Body,
    ModelCall,
    ReadAnswer,
    Writer,
    check_number,
    fresh_id,
    item_of,
    optional_item,
    refuse_calls,
    texts,
)
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.openai import CompletionReader, error_body, finish_reason
from llmtest.wire.reader import read_with


class CompletionWriter(Writer):
    """Writes a text completion, or its chunks. There is never any reasoning in it."""

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply, call, usage)
        self.id = str(self.reply.response_metadata.get("id") or fresh_id("cmpl"))

    def whole(self) -> dict[str, object]:
        return {**self._said(self.reply.text, finish_reason(self.reply), self._log_probabilities()), **self._usage()}

    def _log_probabilities(self) -> object:
        return self.reply.response_metadata.get("logprobs")

    def _said(self, text: str, reason: str | None = None, logprobs: object = None) -> dict[str, object]:
        choice = {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": reason}
        return {"id": self.id, "object": "text_completion", "created": 0, "model": self.model, "choices": [choice]}

    def _usage(self) -> dict[str, object]:
        if self.usage is None:
            return {}
        into, out, total = self.usage.input_tokens, self.usage.output_tokens, self.usage.total_tokens
        return {"usage": {"prompt_tokens": into, "completion_tokens": out, "total_tokens": total}}

    # -- the stream

    def _opening(self) -> Iterator[dict[str, object]]:
        return iter(())

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[dict[str, object]]:
        for token in self._streamed(parts):
            if isinstance(parts[0], Text):
                yield self._said(token)

    def _end(self) -> Iterator[dict[str, object]]:
        yield self._said("", finish_reason(self.reply), self._log_probabilities())
        options = self.call.params.get("stream_options")
        if self.usage is not None and isinstance(options, Mapping) and options.get("include_usage"):
            yield {**self._said(""), "choices": [], **self._usage()}

    def closing(self) -> bytes:
        return b"data: [DONE]\n\n"

    def error_event(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


class TextReader(CompletionReader):
    """Reads a text completion, or its chunks."""

    sends = "a text completion"

    def _choice(self, choice: Body) -> None:
        self.add(Text, item_of(choice, "text", str, "a text"))


class Completions(Api):
    """`POST .../completions`: the prompt is one message. A request has one prompt."""

    name = "openai"
    writer: ClassVar[type[Writer]] = CompletionWriter
    log_probabilities = ("logprobs",)

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        return params.get("logprobs") is not None  # a number of alternatives, which may be 0

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        optional_item(body, "stream_options", dict, "an object")
        check_number(body.get("n"), "n")
        rest = {"prompt", "model", "stop", "stream"}
        return ModelCall(
            str(body.get("model") or ""),
            (Message("human", _prompt(body.get("prompt"))),),
            stop=texts(body.get("stop")),
            params={key: value for key, value in body.items() if key not in rest},
            streams=bool(body.get("stream")),
        )

    def check(self, reply: Reply, params: Mapping[str, object]) -> None:
        super().check(reply, params)
        refuse_calls(reply, "OpenAI's completions", "only chat models have tool calls")

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(TextReader(asked), self, answer)

    def headers(self, status: int = 200) -> dict[str, str]:
        return openai.headers(status)

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


def _prompt(prompt: object) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, list) and prompt and all(isinstance(text, str) for text in prompt):
        raise BadBody(
            f"a step answers one prompt, but the request has {len(prompt)}\n"
            "  with LangChain's OpenAI: batch_size=1 makes a request of each"
        )
    if not isinstance(prompt, str):
        raise BadBody(f"`prompt` is a text; got {type(prompt).__name__} {prompt!r:.100}")
    return prompt
