"""Programs without LangChain's classes have cassettes too: the raw SDKs and the agents of frameworks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from agents import Agent as OpenAIAgent
from agents import OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from google import genai
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent

from llmtest import call, fail, say, structured
from llmtest.cassettes.cassette import Cassette
from llmtest.langchain import providers as _names_of_models  # noqa: F401
from llmtest.ledger import Ledger, opened
from llmtest.wire import scripted_server

pytestmark = [
    pytest.mark.usefixtures("clients_left_open"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Inheritance class AiohttpClientSession:DeprecationWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]
TEST = "test_it.py::test_it"
SYSTEM = "You are a clerk."
QUESTION = "the weather in Paris?"
set_tracing_disabled(True)
asked: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    asked.clear()


def weather(city: str) -> str:
    """Look up the weather."""
    asked.append(city)
    return f"sunny in {city}"


class Report(BaseModel):
    city: str
    degrees: int


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

# -- the raw SDKs: a call of a tool, its result, and the answer


def _chat(system: str, stream: bool) -> Iterator[Any]:
    """Yield the requests of a conversation over Chat Completions; its reader sends each answer."""
    function = {"name": "weather", "description": "Look up.", "parameters": PARAMETERS}
    asks: dict[str, Any] = {"model": "gpt-5", "tools": [{"type": "function", "function": function}], "stream": stream}
    if stream:
        asks["stream_options"] = {"include_usage": True}
    messages: list[Any] = [{"role": "system", "content": system}, {"role": "user", "content": QUESTION}]
    name, arguments, key = yield {**asks, "messages": messages}
    made = {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
    messages += [{"role": "assistant", "tool_calls": [made]}]
    messages += [{"role": "tool", "tool_call_id": key, "content": weather(**json.loads(arguments))}]
    yield {**asks, "messages": messages}


def _called(chunks: list[Any]) -> tuple[str, str, str]:
    pieces = [piece for chunk in chunks for choice in chunk.choices for piece in choice.delta.tool_calls or ()]
    return str(pieces[0].function.name), "".join(piece.function.arguments or "" for piece in pieces), "call_1"


def _said(chunks: list[Any]) -> str:
    return "|".join(choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content)


def chat(system: str) -> str:
    with openai.OpenAI() as client:
        asks = _chat(system, stream=False)
        first = client.chat.completions.create(**next(asks)).choices[0].message.tool_calls[0]
        answer = client.chat.completions.create(**asks.send((first.function.name, first.function.arguments, first.id)))
        return f"{answer.choices[0].message.content} {answer.usage.total_tokens} {answer.choices[0].finish_reason}"


async def chat_async(system: str) -> str:
    async with openai.AsyncOpenAI() as client:
        asks = _chat(system, stream=False)
        first = (await client.chat.completions.create(**next(asks))).choices[0].message.tool_calls[0]
        answer = await client.chat.completions.create(**asks.send((first.function.name, first.function.arguments, first.id)))
        return f"{answer.choices[0].message.content} {answer.usage.total_tokens} {answer.choices[0].finish_reason}"


def chat_streamed(system: str) -> str:
    with openai.OpenAI() as client:
        asks = _chat(system, stream=True)
        first = list(client.chat.completions.create(**next(asks)))
        return _said(list(client.chat.completions.create(**asks.send(_called(first)))))


async def chat_streamed_async(system: str) -> str:
    async with openai.AsyncOpenAI() as client:
        asks = _chat(system, stream=True)
        first = [chunk async for chunk in await client.chat.completions.create(**next(asks))]
        return _said([chunk async for chunk in await client.chat.completions.create(**asks.send(_called(first)))])


TOOL: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}


def _result(made: Any) -> list[Any]:
    done = {"type": "function_call_output", "call_id": made.call_id, "output": weather(**json.loads(made.arguments))}
    return [{"role": "user", "content": QUESTION}, made.model_dump(exclude_none=True), done]


def responses(system: str) -> str:
    with openai.OpenAI() as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "tools": [TOOL]}
        made = client.responses.create(input=QUESTION, **asks).output[-1]
        answer = client.responses.create(input=_result(made), **asks)
        return f"{answer.output_text} {answer.usage.total_tokens}"


async def responses_async(system: str) -> str:
    async with openai.AsyncOpenAI() as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "tools": [TOOL]}
        made = (await client.responses.create(input=QUESTION, **asks)).output[-1]
        answer = await client.responses.create(input=_result(made), **asks)
        return f"{answer.output_text} {answer.usage.total_tokens}"


def responses_streamed(system: str) -> str:
    with openai.OpenAI() as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "tools": [TOOL], "stream": True}
        made = list(client.responses.create(input=QUESTION, **asks))[-1].response.output[-1]
        events = list(client.responses.create(input=_result(made), **asks))
        return "|".join(event.delta for event in events if event.type == "response.output_text.delta")


async def responses_streamed_async(system: str) -> str:
    async with openai.AsyncOpenAI() as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "tools": [TOOL], "stream": True}
        made = [event async for event in await client.responses.create(input=QUESTION, **asks)][-1].response.output[-1]
        events = [event async for event in await client.responses.create(input=_result(made), **asks)]
        return "|".join(event.delta for event in events if event.type == "response.output_text.delta")


def _claude(system: str) -> dict[str, Any]:
    tools = [{"name": "weather", "description": "Look up.", "input_schema": PARAMETERS}]
    return {"model": "claude-opus-4-7", "max_tokens": 100, "system": system, "tools": tools}


def _turns(made: Any = None) -> list[Any]:
    turns: list[Any] = [{"role": "user", "content": QUESTION}]
    if made is not None:
        turns += [{"role": "assistant", "content": [{"type": "tool_use", "id": made.id, "name": made.name, "input": made.input}]}]
        turns += [
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": made.id, "content": weather(**made.input)}]}
        ]
    return turns


def messages(system: str) -> str:
    with anthropic.Anthropic() as client:
        made = client.messages.create(messages=_turns(), **_claude(system)).content[-1]
        answer = client.messages.create(messages=_turns(made), **_claude(system))
        return f"{answer.content[0].text} {answer.usage.output_tokens} {answer.stop_reason}"


async def messages_async(system: str) -> str:
    async with anthropic.AsyncAnthropic() as client:
        made = (await client.messages.create(messages=_turns(), **_claude(system))).content[-1]
        answer = await client.messages.create(messages=_turns(made), **_claude(system))
        return f"{answer.content[0].text} {answer.usage.output_tokens} {answer.stop_reason}"


def messages_streamed(system: str) -> str:
    with anthropic.Anthropic() as client:
        with client.messages.stream(messages=_turns(), **_claude(system)) as stream:
            made = stream.get_final_message().content[-1]
        with client.messages.stream(messages=_turns(made), **_claude(system)) as stream:
            return "|".join(stream.text_stream)


async def messages_streamed_async(system: str) -> str:
    async with anthropic.AsyncAnthropic() as client:
        async with client.messages.stream(messages=_turns(), **_claude(system)) as stream:
            made = (await stream.get_final_message()).content[-1]
        async with client.messages.stream(messages=_turns(made), **_claude(system)) as stream:
            return "|".join([text async for text in stream.text_stream])


def _gemini(system: str) -> dict[str, Any]:
    config = genai.types.GenerateContentConfig(system_instruction=system, tools=[weather])
    return {"model": "gemini-2.5-flash", "contents": QUESTION, "config": config}


def gemini(system: str) -> str:
    with genai.Client() as client:
        return str(client.models.generate_content(**_gemini(system)).text)


async def gemini_async(system: str) -> str:
    async with genai.Client().aio as client:
        return str((await client.models.generate_content(**_gemini(system))).text)


def gemini_streamed(system: str) -> str:
    with genai.Client() as client:
        return "|".join(chunk.text for chunk in client.models.generate_content_stream(**_gemini(system)) if chunk.text)


async def gemini_streamed_async(system: str) -> str:
    async with genai.Client().aio as client:
        chunks = await client.models.generate_content_stream(**_gemini(system))
        return "|".join([chunk.text async for chunk in chunks if chunk.text])


# -- agents of frameworks


def _agent(system: str) -> Any:
    model = OpenAIResponsesModel("gpt-5", openai.AsyncOpenAI())  # the client that is made by default belongs to one event loop
    return OpenAIAgent(name="clerk", instructions=system, model=model, tools=[function_tool(weather)])


async def openai_agents(system: str) -> str:
    agent = _agent(system)
    return str((await Runner.run(agent, QUESTION)).final_output)


async def openai_agents_streamed(system: str) -> str:
    agent = _agent(system)
    events = Runner.run_streamed(agent, QUESTION).stream_events()
    data = [event.data async for event in events if event.type == "raw_response_event"]
    return "|".join(event.delta for event in data if event.type == "response.output_text.delta")


def _pydantic_ai(model: str) -> Callable[[str], Any]:
    async def run(system: str) -> str:
        agent: Any = PydanticAgent(model, tools=[weather], instructions=system)
        return str((await agent.run(QUESTION)).output)

    return run


def _pydantic_ai_streamed(model: str) -> Callable[[str], Any]:
    async def run(system: str) -> str:
        agent: Any = PydanticAgent(model, tools=[weather], instructions=system)
        async with agent.run_stream(QUESTION) as streamed:
            return "|".join([text async for text in streamed.stream_text(delta=True, debounce_by=None)])

    return run


GPT, CLAUDE, GEMINI = "openai:gpt-5", "anthropic:claude-opus-4-7", "google_genai:gemini-2.5-flash"
PROGRAMS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "chat completions": (GPT, chat),
    "chat completions, async": (GPT, chat_async),
    "chat completions, streamed": (GPT, chat_streamed),
    "chat completions, async, streamed": (GPT, chat_streamed_async),
    "responses": (GPT, responses),
    "responses, async": (GPT, responses_async),
    "responses, streamed": (GPT, responses_streamed),
    "responses, async, streamed": (GPT, responses_streamed_async),
    "messages": (CLAUDE, messages),
    "messages, async": (CLAUDE, messages_async),
    "messages, streamed": (CLAUDE, messages_streamed),
    "messages, async, streamed": (CLAUDE, messages_streamed_async),
    "gemini": (GEMINI, gemini),
    "gemini, async": (GEMINI, gemini_async),
    "gemini, streamed": (GEMINI, gemini_streamed),
    "gemini, async, streamed": (GEMINI, gemini_streamed_async),
    "openai-agents": (GPT, openai_agents),
    "openai-agents, streamed": (GPT, openai_agents_streamed),
    "pydantic-ai, responses": (GPT, _pydantic_ai("openai:gpt-5")),
    "pydantic-ai, chat completions": (GPT, _pydantic_ai("openai-chat:gpt-5")),
    "pydantic-ai, anthropic": (CLAUDE, _pydantic_ai("anthropic:claude-opus-4-7")),
    "pydantic-ai, streamed": (GPT, _pydantic_ai_streamed("openai:gpt-5")),
    "pydantic-ai, chat completions, streamed": (GPT, _pydantic_ai_streamed("openai-chat:gpt-5")),
    "pydantic-ai, anthropic, streamed": (CLAUDE, _pydantic_ai_streamed("anthropic:claude-opus-4-7")),
}
STEPS = [call("weather", city="Paris"), say("It is ", "sunny.", usage=(50, 7))]


def run(program: Callable[[str], Any], system: str = SYSTEM) -> tuple[str, list[str]]:
    asked.clear()
    said = program(system)
    return str(asyncio.run(said) if asyncio.iscoroutine(said) else said), [*asked]


def tape(file: Path, model: str, steps: list[Any], work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Do the work before a server that stands for the provider, and record it."""
    with scripted_server({model: steps}) as server, monkeypatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        with Cassette(file, TEST, "once") as cassette:
            done = work()
    assert cassette.save().is_written
    return done


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_again_as_it_was_recorded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model, program), file = PROGRAMS[name], tmp_path / "x.yaml"

    recorded = tape(file, model, STEPS, lambda: run(program), monkeypatch)
    with Cassette(file, TEST) as cassette:
        again = run(program)

    assert recorded == again
    assert recorded[0].replace("|", "").startswith("It is sunny.")
    assert recorded[1] == ["Paris"]
    assert (cassette.providers.found(), cassette.unused(), cassette.scripts[model].found()) == ([], 0, [])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_changed_prompt_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model, program), file = PROGRAMS[name], tmp_path / "x.yaml"
    tape(file, model, STEPS, lambda: run(program), monkeypatch)

    with opened(Ledger()), Cassette(file, TEST) as cassette:
        run(program, "You are a kind clerk.")
        (found,) = cassette.scripts[model].found()

    assert found.text.splitlines()[1] == (
        '  the system prompt has changed: it was "You are a clerk.", it is "You are a kind clerk."  (steps 1, 2)'
    )


# -- errors of the provider, and structured output


def _retried(system: str) -> str:
    with openai.OpenAI(max_retries=2) as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "input": "hi"}
        return str(client.responses.create(**asks).output_text)


def _failing(system: str) -> str:
    with openai.OpenAI(max_retries=0) as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "input": "hi"}
        said = []
        for _ in range(3):
            try:
                said.append(client.responses.create(**asks).output_text)
            except openai.APIStatusError as error:
                wait = error.response.headers.get("retry-after") if error.status_code == 429 else "later"
                said.append(f"{type(error).__name__} {wait}")
        return ", ".join(said)


def _parsed(system: str) -> str:
    with openai.OpenAI() as client:
        asks: Any = {"model": "gpt-5", "instructions": system, "input": "report", "text_format": Report}
        return repr(client.responses.parse(**asks).output_parsed)


async def _output_type(system: str) -> str:
    agent: Any = PydanticAgent("openai:gpt-5", output_type=Report, instructions=system)
    return repr((await agent.run("report")).output)


REPORT = structured({"city": "Paris", "degrees": 18})
MORE: dict[str, tuple[Callable[[str], Any], list[Any], str]] = {
    "an SDK that tries again": (_retried, [fail(429, retry_after=0), fail(503), say("At last.")], "At last."),
    "errors that the program handles": (
        _failing,
        [fail(429, retry_after=7), fail(500), say("At last.")],
        "RateLimitError 7, InternalServerError later, At last.",
    ),
    "a parsed answer": (_parsed, [REPORT], "Report(city='Paris', degrees=18)"),
    "a type of output": (_output_type, [REPORT], "Report(city='Paris', degrees=18)"),
}


@pytest.mark.parametrize("name", MORE)
def test_errors_and_structured_output_come_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program, steps, expected), file = MORE[name], tmp_path / "x.yaml"

    recorded = tape(file, GPT, steps, lambda: run(program), monkeypatch)
    with Cassette(file, TEST) as cassette:
        again = run(program)

    assert recorded[0] == again[0] == expected
    assert (cassette.unused(), cassette.scripts[GPT].found()) == (0, [])


def test_two_providers_in_one_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def both() -> list[tuple[str, list[str]]]:
        return [run(chat), run(messages), run(chat_streamed)]

    file = tmp_path / "x.yaml"
    with scripted_server({GPT: STEPS * 2, CLAUDE: STEPS}) as server, monkeypatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        with Cassette(file, TEST, "once") as cassette:
            recorded = both()
    assert cassette.save().is_written

    with Cassette(file, TEST) as cassette:
        assert both() == recorded
    assert (list(cassette.scripts), cassette.unused()) == ([GPT, CLAUDE], 0)
