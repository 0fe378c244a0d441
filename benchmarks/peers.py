"""The same agent test as others write it: one tool, called in each turn, then the answer. Whole tests, checks included.

The program is equal as far as the frameworks allow: LangChain's `create_agent`, and for the test model of another framework
the agent of that framework. So those ratios tell how long a test takes, not which recorder is faster.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import tool

from benchmarks.harness import Ratio, measure
from llmtest import Script, ScriptedChatModel, call, record

TURNS = 10
TOOLS = ["search"] * TURNS


@tool
def search(query: str) -> str:
    """Search the web."""
    return query


def ratios(rounds: int) -> Iterator[Ratio]:
    rounds = max(rounds // 10, 3)
    peers = (
        ("LangChain's GenericFakeChatModel", langchain_fake),
        ("pydantic-ai's FunctionModel, its own agent", pydantic_ai),
        ("a Model of openai-agents, its own agent", openai_agents),
    )
    for name, test in peers:
        yield _against(name, test, rounds)
    with cassette() as replayed:
        yield _against("ChatOpenAI and an HTTP cassette", replayed, rounds)


def _against(name: str, test: Callable[[], None], rounds: int) -> Ratio:
    return measure(f"test of an agent of {TURNS} turns", ours, test, against=name, bar=None, rounds=rounds)


def ours() -> None:
    model = ScriptedChatModel(script=Script(*[call("search", query=f"llama {n}") for n in range(TURNS)], "done"))
    with record() as recording:
        said = _invoke(model)
    assert said == "done"
    assert recording.tools == TOOLS


def _invoke(model: Any) -> object:
    said = create_agent(model, [search]).invoke({"messages": [("human", "hi")]}, {"recursion_limit": 3 * TURNS + 10})
    return said["messages"][-1].content


class Bindable(GenericFakeChatModel):
    """LangChain's fake cannot bind tools: a test of an agent adds this method."""

    def bind_tools(self, *_: Any, **__: Any) -> Runnable[Any, AIMessage]:
        return self


def _call_of(number: int) -> dict[str, Any]:
    return {"name": "search", "args": {"query": f"llama {number}"}, "id": f"call_{number}"}


def langchain_fake() -> None:
    answers = [AIMessage("", tool_calls=[_call_of(n)]) for n in range(TURNS)]  # type: ignore[list-item]
    called: list[str] = []
    model = Bindable(messages=iter([*answers, AIMessage("done")]))
    said = create_agent(model, [search]).invoke({"messages": [("human", "hi")]}, {"recursion_limit": 3 * TURNS + 10})
    called += [message.name for message in said["messages"] if message.type == "tool"]
    assert said["messages"][-1].content == "done"
    assert called == TOOLS


def pydantic_ai() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    def answer(messages: list[Any], _: Any) -> ModelResponse:
        turn = len(messages) // 2
        return ModelResponse([ToolCallPart("search", {"query": f"llama {turn}"}) if turn < TURNS else TextPart("done")])

    agent = Agent(FunctionModel(answer))
    called: list[str] = []

    @agent.tool_plain
    def search(query: str) -> str:
        called.append("search")
        return query

    assert agent.run_sync("hi").output == "done"
    assert called == TOOLS


def openai_agents() -> None:
    from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, set_tracing_disabled
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    set_tracing_disabled(True)
    called: list[str] = []

    @function_tool
    def search(query: str) -> str:
        """Search the web."""
        called.append("search")
        return query

    class Answers(Model):
        turn = 0

        async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
            number, self.turn = self.turn, self.turn + 1
            said = ResponseOutputText(text="done", type="output_text", annotations=[])
            output: list[Any] = [
                ResponseFunctionToolCall(
                    name="search", arguments=f'{{"query":"llama {number}"}}', call_id=f"call_{number}", type="function_call"
                )
                if number < TURNS
                else ResponseOutputMessage(id="1", type="message", role="assistant", status="completed", content=[said])
            ]
            return ModelResponse(output=output, usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    agent = Agent(name="assistant", model=Answers(), tools=[search])
    result = asyncio.run(Runner.run(agent, "hi", max_turns=TURNS + 5))
    assert result.final_output == "done"
    assert called == TOOLS


class cassette:  # noqa: N801 (read as a block)
    """A test that replays the requests of ChatOpenAI from a file, as vcrpy does it. It is made once, from a scripted provider."""

    def __enter__(self) -> Callable[[], None]:
        import vcr
        from langchain_openai import ChatOpenAI

        from llmtest.wire.serving import scripted_server

        self._exits = ExitStack()
        folder = self._exits.enter_context(tempfile.TemporaryDirectory())
        script = Script(*[call("search", query=f"llama {n}") for n in range(TURNS)], "done")
        file = str(Path(folder) / "test.yaml")
        # By the number of the request: to match bodies is slower.
        tape = vcr.VCR(record_mode="once", match_on=["method"])
        with scripted_server(script) as server:
            model = ChatOpenAI(model="gpt-5", api_key=server.token, base_url=f"{server.url}/v1", max_retries=0)  # type: ignore[arg-type]
            with tape.use_cassette(file):
                assert _invoke(model) == "done"

        def replayed() -> None:
            with tape.use_cassette(file, record_mode="none"):
                assert _invoke(model) == "done"

        return replayed

    def __exit__(self, *_: object) -> None:
        self._exits.close()
