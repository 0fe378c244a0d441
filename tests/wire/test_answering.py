"""One request answered from a script: read, served, written, or refused with words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

import httpx
import httpx2
import pytest
import trio
from langchain_core.utils.uuid import uuid7

from llmtest import Script, call, count_tokens, fail, give, hold, on, respond, say
from llmtest.langchain.providers import scripted_providers
from llmtest.ledger import Ledger
from llmtest.scripts.requests import Origin
from llmtest.wire.answering import WireModel, read
from llmtest.wire.api import BadBody
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest
from llmtest.wire.openai import ChatCompletions

URL = "https://api.openai.com/v1/chat/completions"
API = ChatCompletions()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}


def request(**more: Any) -> HttpRequest:
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], **more}
    return HttpRequest("POST", URL, {}, json.dumps(body).encode())


def model(*steps: Any) -> WireModel:
    return WireModel(Script(*steps), API, "openai:gpt-5")


def both(make: Any, **more: Any) -> list[HttpAnswer]:
    """The answer on the synchronous and on the awaited path."""
    call = read(request(**more), API)
    return [make().answer(call), asyncio.run(make().aanswer(call))]


def message(answer: HttpAnswer) -> Any:
    return json.loads(answer.body)["choices"][0]["message"]["content"]


def test_a_step_is_written_as_the_api_says_it(page: Ledger) -> None:
    for answer in both(lambda: model(say("It is ", "sunny."))):
        assert (answer.status, message(answer)) == (200, "It is sunny.")
        assert json.loads(answer.body)["usage"]["prompt_tokens"] == 1


class OneByOne(WireModel):
    max_events_at_once = 1


def test_a_stream_comes_event_by_event_in_sync_and_in_async_code(page: Ledger) -> None:
    async def collect(stream: Any) -> list[bytes]:
        return [piece async for piece in stream]

    sync, awaited = both(lambda: OneByOne(Script(say("a", "b")), API, "openai:gpt-5"), stream=True)
    assert sync.headers["content-type"] == "text/event-stream"
    pieces = list(sync.stream or ())
    assert [b'"content": "a"' in piece for piece in pieces] == [False, True, False, False, False]
    assert pieces[-1] == b"data: [DONE]\n\n"
    assert len(asyncio.run(collect(awaited.stream))) == len(pieces)


def test_events_that_nothing_separates_come_together_but_never_all_of_a_long_stream(page: Ledger) -> None:
    def pieces(kind: type[WireModel]) -> list[bytes]:
        script = Script(say(tokens=["a"] * 30))
        return list(kind(script, API, "openai:gpt-5").answer(read(request(stream=True), API)).stream or ())

    one_by_one, together = pieces(OneByOne), pieces(WireModel)

    assert [len(pieces) for pieces in (one_by_one, together)] == [33, 3]
    assert [piece.count(b"data: ") for piece in together] == [16, 16, 1]
    without_ids = [re.sub(rb"chatcmpl_\w+", b"", b"".join(pieces)) for pieces in (one_by_one, together)]
    assert without_ids[0] == without_ids[1]


def test_a_stream_waits_at_its_gates(page: Ledger) -> None:
    gate = hold(timeout_s=0.05)
    stream = iter(model(say("a", gate, "b")).answer(read(request(stream=True), API)).stream or ())
    assert [next(stream).count(b'"content"')] == [2]  # the opening, and "a"
    with pytest.raises(AssertionError, match="the gate was not released"):
        next(stream)
    assert [violation.code for violation in page.take()] == ["gate never released"]


def test_a_status_is_the_providers_error_and_may_be_tried_again_at_once(page: Ledger) -> None:
    for answer in both(lambda: model(fail(429, retry_after=30))):
        assert answer.status == 429
        assert json.loads(answer.body)["error"]["code"] == "rate_limit_exceeded"
        assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("30", "1")


@pytest.mark.parametrize("step", [fail(TimeoutError), say("a").then_fail(ConnectionResetError)])
def test_another_failure_breaks_the_connection(step: Any, page: Ledger) -> None:
    asked = read(request(), API)

    with pytest.raises(ConnectionBroken) as sync:
        model(step).answer(asked)
    with pytest.raises(ConnectionBroken):
        asyncio.run(model(step).aanswer(asked))
    assert isinstance(sync.value.error, OSError)


def test_a_stream_breaks_where_the_script_says(page: Ledger) -> None:
    stream = iter(model(say("a").then_fail(ConnectionResetError)).answer(read(request(stream=True), API)).stream or ())

    assert b'"content": "a"' in next(stream)
    with pytest.raises(ConnectionBroken):
        next(stream)


@pytest.mark.parametrize(
    ("steps", "code", "text"),
    [
        ((), "unexpected call", "llmtest: unexpected model call 1: the script has no steps"),
        ((call("g"),), "invalid tool call", "llmtest: the script calls the tool `g`, which is not bound to the model"),
        ((say("no").expects(contains="nothing"),), "unexpected prompt", "llmtest: step 1 expects another prompt"),
        ((respond(lambda request: give(1)),), "script error", "llmtest: a model cannot give values"),
    ],
)
def test_a_violation_is_a_refusal_with_its_text_that_no_client_tries_again(
    steps: Any, code: str, text: str, page: Ledger
) -> None:
    for answer in both(lambda: model(*steps), tools=[TOOL]):
        assert (answer.status, answer.headers["x-should-retry"]) == (400, "false")
        assert json.loads(answer.body)["error"]["message"].startswith(text)
    assert {violation.code for violation in page.violations} == {code}


def test_keys_and_functions_see_the_request_and_where_it_comes_from(page: Ledger) -> None:
    seen: list[Any] = []
    made = model(on(node="planner") >> respond(lambda request: seen.append(request) or "planned"), on(node="writer") >> "written")
    origin = Origin(about=lambda: (["fast"], {"langgraph_node": "planner", "thread_id": 7}))

    assert message(made.answer(read(request(tools=[TOOL], stop="x"), API), origin)) == "planned"
    (asked,) = seen
    assert (asked.tags, asked.node, asked.thread, asked.stop) == (["fast"], "planner", "7", ("x",))
    assert (list(asked.tools), asked.messages[0].role, asked.text) == (["f"], "human", "hi")
    made.script.waive_steps()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body of a request is a JSON object; got b''"),
        (b"[1]", "the body of a request is a JSON object; got list [1]"),
        (b"{}", "`messages` is a list of messages; got nothing"),
        (b"[" * 100_000, "the body of a request is a JSON object, but this one is nested too deeply"),
    ],
)
def test_a_body_that_cannot_be_read_says_why(body: bytes, text: str) -> None:
    with pytest.raises(BadBody) as raised:
        read(HttpRequest("POST", URL, {}, body), API)
    assert str(raised.value).startswith(text)


def test_an_answer_has_the_headers_of_its_provider(page: Ledger) -> None:
    whole, refused = (model(step).answer(read(request(), API)) for step in ("hi", fail(429)))

    assert whole.headers["x-request-id"] != refused.headers["x-request-id"]
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-ratelimit-remaining-requests" not in whole.headers


def test_a_call_without_a_run_is_counted_and_one_with_a_run_is_left_to_its_callbacks(page: Ledger) -> None:
    class Run:
        run_id = uuid7()

    run = Run()
    with count_tokens() as tokens:
        asked = model(say("a", "b"), fail(500), say("c").then_truncate(), "d")
        for origin in (Origin(), Origin(), Origin(), Origin(run=lambda: run)):
            asked.answer(read(request(), API), origin)
    assert [(call.name, call.model, call.ended) for call in tokens.calls] == [
        ("openai:gpt-5", "gpt-5", "ended"),
        ("openai:gpt-5", "gpt-5", "error"),
        ("openai:gpt-5", "gpt-5", "ended"),
    ]
    assert [call.usage and call.usage.total_tokens for call in tokens.calls] == [3, None, None]
    page.take()


def test_what_a_stream_has_spent_that_breaks_after_a_token_is_not_known(page: Ledger) -> None:
    with count_tokens() as tokens:
        for streams in (True, False):
            with contextlib.suppress(ConnectionBroken):
                model(say("a").then_fail(ConnectionResetError)).answer(read(request(stream=streams), API))
    broken, refused = tokens.calls
    assert (broken.ended, broken.usage, broken.is_known) == ("ended", None, False)
    assert (refused.ended, refused.is_known) == ("error", True)  # nothing of it came


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test_a_stream_stops_at_its_gate_under_trio(library: Any) -> None:
    gate, seen = hold(), list[str]()

    async def ask() -> None:
        body = {"model": "gpt-5", "messages": [{"role": "user", "content": "weather?"}], "stream": True}
        async with library.AsyncClient() as client, client.stream("POST", URL, json=body) as answer:
            async for line in answer.aiter_lines():
                seen.extend(word for word in ("It is ", "sunny.") if word in line)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await gate.reached()
            assert seen == ["It is "]
            gate.release()

    with scripted_providers({"openai:gpt-5": say("It is ", gate, "sunny.")}):
        trio.run(main)

    assert seen == ["It is ", "sunny."]
