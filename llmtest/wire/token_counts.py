"""Questions for the tokens of a prompt, as Anthropic and Gemini answer them: counted as the usage of a script is.

They take no step of a script: `trim_messages(token_counter=model)` may ask any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmtest.scripts.replies import count_prompt
from llmtest.wire import anthropic, gemini
from llmtest.wire.api import Body, Endpoint, ModelCall
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer


@dataclass(frozen=True, slots=True)
class TokensCall:
    """What a request asks: the tokens of the prompt of `call`. `write` puts the number into the words of the API."""

    call: ModelCall
    write: Callable[[int], Mapping[str, object]]

    @property
    def model(self) -> str:
        return self.call.model


def answer_tokens(question: TokensCall, api: Endpoint[TokensCall]) -> HttpAnswer:
    """Return the number of tokens of a prompt, by llmtest's own splitter. Definitions of tools are not counted."""
    number = sum(count_prompt(message.text) for message in question.call.messages)
    return json_answer(question.write(number), headers=api.headers())


class Anthropic(Endpoint[TokensCall]):
    """`POST .../v1/messages/count_tokens`."""

    name = "anthropic"

    def read(self, request: HttpRequest, body: Body) -> TokensCall:
        return TokensCall(anthropic.Messages().read(request, body), lambda number: {"input_tokens": number})

    def headers(self, status: int = 200) -> dict[str, str]:
        return anthropic.Messages().headers(status)

    def error(self, status: int, message: str) -> dict[str, object]:
        return anthropic.error_body(status, message)


class Gemini(Endpoint[TokensCall]):
    """`POST .../models/{model}:countTokens`, of contents or of a whole request to `generateContent`."""

    name = "gemini"

    def read(self, request: HttpRequest, body: Body) -> TokensCall:
        whole = gemini.field(body, "generateContentRequest")
        asked = whole if isinstance(whole, dict) else body
        return TokensCall(gemini.Gemini().read(request, asked), lambda number: {"totalTokens": number})

    def error(self, status: int, message: str) -> dict[str, object]:
        return gemini.error_body(status, message)
