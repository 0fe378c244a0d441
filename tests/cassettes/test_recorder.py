"""What a recorder hears, as the entries of a script file."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from llmtest import on, say
from llmtest.cassettes.recorder import NO_ORDER, Recorder, joined
from llmtest.errors import CassetteError
from llmtest.events.words import Message, Usage
from llmtest.scripts.requests import NOWHERE, KeyedSteps, Request
from llmtest.scripts.step_types import Fail
from llmtest.wire.api import ModelCall
from llmtest.wire.exchange import HttpRequest
from llmtest.wire.hearing import Heard
from llmtest.wire.hosts import api_of

OPENAI = api_of("openai.ChatCompletions")
BODY = (
    b'{"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 7, "completion_tokens": 2}}'
)


def heard(prompt: str = "hi", model: str = "openai:gpt-5") -> Heard:
    asked = ModelCall("gpt-5", (Message("human", prompt),))
    return Heard(model, OPENAI, asked, HttpRequest("POST", "https://api.openai.com/v1/chat/completions?x=1", {}), NOWHERE)


def answered(recorder: Recorder, prompt: str = "hi", body: bytes = BODY, status: int = 200) -> None:
    one = heard(prompt)
    recorder.hear(one)
    one.take(status, {"Content-Type": "application/json"}, body)


def steps_of(recorder: Recorder) -> list[Any]:
    found, _ = recorder.entries("2026-11-29", NO_ORDER)
    return list(found["openai:gpt-5"])


def test_an_answer_is_a_step_that_knows_its_request() -> None:
    recorder = Recorder()
    answered(recorder)

    (step,) = steps_of(recorder)

    assert (str(step), step.usage) == ("say('Hello')", Usage(7, 2, 9))
    assert (step.serving.request.recorded, step.serving.request.messages) == ("2026-11-29", {"human": 1})


def test_an_error_of_the_provider_is_a_failure() -> None:
    recorder = Recorder()
    answered(recorder, body=b'{"error": {"message": "slow down"}}', status=429)

    assert steps_of(recorder) == [Fail(429, None, "slow down")]


@pytest.mark.parametrize(("error", "name"), [(TimeoutError("slow"), "TimeoutError"), (OSError("reset"), "ConnectionError")])
def test_a_connection_that_breaks_before_an_answer_is_a_failure(error: Exception, name: str) -> None:
    recorder = Recorder()
    one = heard()
    recorder.hear(one)
    one.end(error)

    assert steps_of(recorder) == [Fail(name, None, str(error))]


def test_an_answer_that_never_came_is_waited_for_again() -> None:
    recorder = Recorder()
    recorder.hear(heard())

    assert steps_of(recorder) == [say("").then_wait().optional()]


def test_an_answer_that_broke_before_it_said_anything_is_a_failure() -> None:
    recorder = Recorder()
    one = heard()
    recorder.hear(one)
    one.begin(200, {"content-type": "application/json"})
    one.end(OSError("reset"))

    assert steps_of(recorder) == [Fail("ConnectionError", None, "reset")]


def test_an_answer_that_its_reader_left_at_once_is_left_again() -> None:
    recorder = Recorder()
    one = heard()
    recorder.hear(one)
    one.begin(200, {"content-type": "application/json"})
    one.end(is_whole=False)

    assert steps_of(recorder) == [say("").then_wait().optional()]


def test_an_answer_that_cannot_be_read_is_told_with_its_url() -> None:
    recorder = Recorder()
    answered(recorder, body=b"<html>")

    with pytest.raises(CassetteError) as caught:
        recorder.entries("2026-11-29", NO_ORDER)

    lines = str(caught.value).splitlines()
    assert lines[0] == "the answer of `openai:gpt-5` cannot be recorded, because it cannot be read"
    assert lines[-1] == "  url  https://api.openai.com/v1/chat/completions"


@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (200, b'{"data": [{"embedding": [0.5], "index": 0}]}', {"openai:e": {"cat": [0.5]}}),
        (429, b"slow down", {}),
    ],
    ids=["vectors", "an error"],
)
def test_vectors_of_an_answer_are_kept_and_of_an_error_there_are_none(status: int, body: bytes, kept: Any) -> None:
    assert embedded(status, body).vectors() == kept


def test_vectors_that_cannot_be_read_are_told_with_their_url() -> None:
    with pytest.raises(CassetteError) as caught:
        embedded(200, b"<html>").vectors()

    lines = str(caught.value).splitlines()
    assert lines[0] == "the answer of `openai:e` cannot be recorded, because it cannot be read"
    assert lines[-1] == "  url  https://api.openai.com/v1/embeddings"


def embedded(status: int, body: bytes) -> Recorder:
    recorder = Recorder()
    request = HttpRequest("POST", "https://api.openai.com/v1/embeddings", {})
    api = api_of("embeddings.OpenAI")
    one = Heard("openai:e", api, api.read(request, {"model": "e", "input": "cat"}), request, NOWHERE)
    recorder.hear(one)
    one.take(status, {"Content-Type": "application/json"}, body)
    return recorder


def test_what_no_step_says_is_a_note() -> None:
    recorder = Recorder()
    body = BODY.replace(b'"index": 0', b'"index": 0, "logprobs": {"content": [1]}')
    answered(recorder, body=body)

    _, notes = recorder.entries("2026-11-29", NO_ORDER)

    assert notes == ["`openai:gpt-5`, call 1: the answer had logprobs, which no step says"]


def test_a_request_that_is_no_call_of_a_model_is_a_note() -> None:
    recorder = Recorder()
    recorder.miss("GET https://api.openai.com/v1/files")
    recorder.miss("GET https://api.openai.com/v1/files")

    assert recorder.entries("2026-11-29", NO_ORDER) == (
        {},
        ["the answer to GET https://api.openai.com/v1/files is not kept: it is no call of a model that can be recorded"],
    )


def test_calls_that_overlap_get_keys() -> None:
    recorder = Recorder()
    paris, rome = heard("weather in Paris?"), heard("weather in Rome?")
    for one in (paris, rome):
        recorder.hear(one)
    for one, said in ((rome, b"Rome"), (paris, b"Paris")):
        one.take(200, {}, BODY.replace(b"Hello", said))

    assert [(str(entry.key), str(entry.steps[0])) for entry in steps_of(recorder)] == [
        ("on(contains='Paris')", "say('Paris')"),
        ("on(contains='Rome')", "say('Rome')"),
    ]


def test_the_order_of_runs_goes_before_the_order_of_requests() -> None:
    def request(text: str, run_id: UUID) -> Request:
        run: Any = type("Run", (), {"run_id": run_id})()
        return Request(read=lambda: [Message("human", text)], run=lambda: run)

    first, second = uuid4(), uuid4()
    recorder = Recorder()
    recorder.note("Local", request("Paris", first), say("a"), 1)
    recorder.note("Local", request("Rome", second), say("b"), 2)

    ordered, _ = recorder.entries("2026-11-29", lambda a, b: True)
    concurrent, _ = recorder.entries("2026-11-29", lambda a, b: False)

    assert [str(entry) for entry in ordered["Local"]] == ["say('a')", "say('b')"]
    assert [str(entry.key) for entry in concurrent["Local"] if isinstance(entry, KeyedSteps)] == [
        "on(contains='Paris')",
        "on(contains='Rome')",
    ]


def test_an_answer_of_a_class_that_no_step_says_is_an_error() -> None:
    why: Any = type("NoStep", (), {"why": "gave 2 candidates"})()
    recorder = Recorder()
    recorder.note("Local", Request(), why, 1)

    with pytest.raises(CassetteError) as caught:
        recorder.entries("2026-11-29", NO_ORDER)

    assert str(caught.value) == "call 1 of `Local` gave 2 candidates, which no step says, so that nothing was recorded"


def test_more_steps_of_a_key_stand_with_it() -> None:
    key = on(node="x")
    before = (KeyedSteps(key, (say("a"),)), say("b"))

    assert joined(before, (KeyedSteps(key, (say("c"),)), say("d"))) == (KeyedSteps(key, (say("a"), say("c"))), say("b"), say("d"))
