"""Each dialect is what the real integration gives for canned bodies: callbacks, tokens, chunks and messages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI

from llmtest import ScriptedChatModel, call, reply, say
from llmtest.langchain import dialects
from llmtest.steps import ScriptError

WIRE = Path(__file__).parent.parent / "fixtures/wire"
MODEL = "gpt-4o-2024-08-06"


def _weather(city: str, id: str) -> Any:
    return call("weather", city=city).deltas('{"city": ', f'"{city}"}}').with_id(id)


CASES = {
    "text": lambda: say("It is ", "sunny.", usage=(8, 5)),
    "length": lambda: say("It is ", "sunny.", stop_reason="length", usage=(8, 5)),
    "tool_call": lambda: reply(_weather("Paris", "call_1"), usage=(8, 5)),
    "parallel_calls": lambda: reply(_weather("Paris", "call_1"), _weather("Rome", "call_2"), usage=(8, 5)),
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}}]


def _answered(case: str, request: httpx2.Request) -> httpx2.Response:
    streamed = b'"stream":true' in request.content.replace(b" ", b"")
    body = (WIRE / "openai" / f"{case}.{'sse' if streamed else 'json'}").read_bytes()
    return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream" if streamed else "application/json"})


def _real(case: str) -> Any:
    transport = httpx2.MockTransport(lambda request: _answered(case, request))
    clients: Any = {
        "http_client": httpx2.Client(transport=transport),
        "http_async_client": httpx2.AsyncClient(transport=transport),
    }
    return ChatOpenAI(model="gpt-4o", api_key="none", **clients)  # type: ignore[arg-type]


def _scripted(case: str) -> Any:
    return ScriptedChatModel(CASES[case](), dialect="openai", model_name=MODEL)


class _Told(BaseCallbackHandler):
    run_inline = True

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("start")

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.seen.append(("token", token, _parts(kwargs["chunk"].message)))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.seen.append(("end", _parts(response.generations[0][0].message)))


def _parts(message: Any) -> dict[str, Any]:
    """All of a message but its id and the provider's own id of the answer, which a script cannot know."""
    parts = message.model_dump(exclude={"id"})
    parts["response_metadata"].pop("id", None)
    return dict(parts)


async def _all(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def _heard(model: Any, way: str) -> Any:
    told = _Told()
    given = ("hi", {"callbacks": [told]})
    result = getattr(model, way)(*given)
    if way == "astream":
        result = asyncio.run(_all(result))
    elif way == "ainvoke":
        result = asyncio.run(result)
    messages = [result] if way.endswith("invoke") else list(result)
    return told.seen, [_parts(message) for message in messages]


WAYS = ("invoke", "ainvoke", "stream", "astream")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_the_dialect_is_what_the_real_integration_gives(case: str, way: str) -> None:
    scripted = _scripted(case)
    ours = _heard(scripted.bind(tools=TOOLS) if "call" in case else scripted, way)

    assert ours == _heard(_real(case), way)


@pytest.mark.parametrize("case", CASES)
def test_a_changed_chunk_of_our_stream_is_seen(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _heard(_real(case), "stream")
    chunks = dialects.OpenAI.chunks
    for changed in range(len(real[1]) - 1):  # langchain-core makes the last one, of both

        def other(self: Any, changed: int = changed) -> Any:
            for number, chunk in enumerate(chunks(self)):
                if number == changed:
                    chunk.message.content = f"{chunk.message.content}!"
                yield chunk

        monkeypatch.setattr(dialects.OpenAI, "chunks", other)
        scripted = _scripted(case)
        assert _heard(scripted.bind(tools=TOOLS) if "call" in case else scripted, "stream") != real


@pytest.mark.parametrize(("name", "hint"), [("opanai", "; nearest 'openai'"), ("x", "")])
def test_a_dialect_that_there_is_not_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ScriptError) as error:
        ScriptedChatModel(say("a"), dialect=name)

    assert str(error.value) == f"dialect= is 'plain' or 'openai'; got {name!r}{hint}"


def test_an_answer_without_usage_has_no_usage_chunk() -> None:
    def model() -> Any:
        return ScriptedChatModel(say("a", usage=False), dialect="openai")

    assert [chunk.content for chunk in model().stream("hi")] == ["", "a", "", ""]
    assert "token_usage" not in model().invoke("hi").response_metadata
