"""Every body and event that is written is of the type that the provider's own SDK has for it, with nothing missing or unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import anthropic
import pytest
from openai.types import chat, responses
from openai.types.shared import ErrorObject
from pydantic import BaseModel, TypeAdapter, ValidationError

from llmtest import Script, fail
from llmtest.wire.answering import WireModel, read
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from tests.support.dialect_cases import CASES, STATUSES, TOOLS
from tests.support.wire_clients import APIS

WHOLE: dict[str, Any] = {
    "openai": chat.ChatCompletion,
    "openai-responses": responses.Response,
    "anthropic": anthropic.types.Message,
}
EVENTS: dict[str, Any] = {
    "openai": chat.ChatCompletionChunk,
    "openai-responses": responses.ResponseStreamEvent,
    "anthropic": anthropic.types.RawMessageStreamEvent,
}
FUNCTION = TOOLS[0]["function"]
ASKED: dict[str, dict[str, Any]] = {
    "openai": {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "stream_options": {"include_usage": True}},
    "openai-responses": {
        "input": "hi",
        "tools": [{"type": "function", **FUNCTION}],  # type: ignore[dict-item]
        "instructions": "Be brief.",
        "metadata": {"user": "ada"},
        "tool_choice": "auto",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0,
    },
    "anthropic": {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "weather", "input_schema": FUNCTION["parameters"]}],  # type: ignore[index]
        "max_tokens": 9,
    },
}


def _answer(dialect: str, step: Any, *, stream: bool) -> HttpAnswer:
    body = {"model": "some-model", "stream": stream, **ASKED[dialect]}
    api = APIS[dialect]()
    asked = HttpRequest("POST", "https://provider.test/v1/x", {}, json.dumps(body).encode())
    return WireModel(Script(step), api, "model").answer(read(asked, api))


def _events(answer: HttpAnswer) -> Iterator[tuple[str | None, Any]]:
    """Yield the name and the data of each event."""
    assert answer.stream is not None
    for event in b"".join(answer.stream).decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        if fields["data"] != "[DONE]":
            yield fields.get("event"), json.loads(fields["data"])


def _unknown(value: Any, place: str = "") -> Iterator[str]:
    """Yield the fields that the SDK's types do not know."""
    if isinstance(value, BaseModel):
        yield from (f"{place}.{name}" for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _unknown(item, f"{place}[]")


@cache
def _type(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _check(kind: Any, body: Any) -> None:
    found = _type(kind).validate_python(body)
    assert isinstance(found, BaseModel), body
    # The API sends whether it stores the response; the SDK has no field for it.
    assert set(_unknown(found)) <= {".store", ".response.store"}, body


@pytest.mark.parametrize("dialect", CASES)
def test_every_whole_answer_is_of_the_type_of_the_sdk(dialect: str) -> None:
    for case in CASES[dialect].values():
        if case.whole:
            _check(WHOLE[dialect], json.loads(_answer(dialect, case.step(), stream=False).body))


@pytest.mark.parametrize("dialect", CASES)
def test_every_event_is_of_the_type_of_the_sdk(dialect: str) -> None:
    for case in CASES[dialect].values():
        for name, event in _events(_answer(dialect, case.step(), stream=True)):
            if dialect != "openai":
                assert name == event["type"]
            if dialect == "openai" and "error" in event:
                _check(ErrorObject, event["error"])
            elif event == {"type": "ping"}:
                assert dialect == "anthropic"
            elif dialect == "anthropic" and name == "error":
                _check(anthropic.types.ErrorResponse, event)
            else:
                _check(EVENTS[dialect], event)


@pytest.mark.parametrize("dialect", CASES)
def test_every_error_is_of_the_type_of_the_sdk(dialect: str) -> None:
    for status in {*STATUSES[dialect], 401, 402, 403, 404, 413, 422, 504, 599}:
        answer = _answer(dialect, fail(status), stream=True)
        assert (answer.status, answer.stream) == (status, None)
        body = json.loads(answer.body)
        if (dialect, status) == ("anthropic", 413):  # the API's page of errors has its type, the SDK has not
            body["error"]["type"] = {"request_too_large": "api_error"}[body["error"]["type"]]
        if dialect == "anthropic":
            _check(anthropic.types.ErrorResponse, body)
        else:
            assert list(body) == ["error"]
            _check(ErrorObject, body["error"])


def test_a_stream_of_the_responses_api_numbers_its_events() -> None:
    for case in CASES["openai-responses"].values():
        numbers = [event["sequence_number"] for _, event in _events(_answer("openai-responses", case.step(), stream=True))]
        assert numbers == list(range(len(numbers)))


def _required(kind: Any) -> set[str]:
    return {name for name, field in kind.model_fields.items() if field.is_required()}


@pytest.mark.parametrize("dialect", CASES)
def test_a_required_field_that_is_missing_is_seen(dialect: str) -> None:
    step = CASES[dialect]["text_and_call"].step
    body = json.loads(_answer(dialect, step(), stream=False).body)
    sent = [(WHOLE[dialect], body), *((EVENTS[dialect], event) for _, event in _events(_answer(dialect, step(), stream=True)))]
    for kind, one in sent:
        if one == {"type": "ping"}:
            continue
        needed = _required(type(_type(kind).validate_python(one)))
        assert needed
        for name in needed:
            with pytest.raises(ValidationError):
                _check(kind, {key: value for key, value in one.items() if key != name})
