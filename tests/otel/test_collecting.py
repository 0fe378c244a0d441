"""`record(otel=True)`: agents of other frameworks, with a scripted model, beside and without LangChain."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from agents import Agent as OpenAIAgent
from agents import Runner, function_tool, set_tracing_disabled
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from pydantic_ai import Agent as PydanticAgent

from llmtest import ScriptedChatModel, call, count_tokens, expect_violation, record, reply, say
from llmtest.errors import OtelError
from llmtest.langchain.providers import scripted_providers
from llmtest.ledger import Ledger
from llmtest.matching import at_most, before, called, model, never, together
from llmtest.otel import collecting
from llmtest.protocol import check
from tests.support.spans import stored

TWO = [reply(call("weather", city="Paris"), call("weather", city="Lyon")), say("It is 18C.")]
ONE = [call("weather", city="Paris"), say("It is 18C.")]


def weather(city: str) -> str:
    """Look up the weather."""
    return f"18C in {city}"


@pytest.fixture(scope="module")
def provider() -> TracerProvider:
    return TracerProvider()


@pytest.fixture(scope="module", autouse=True)
def instrumented(provider: TracerProvider) -> Iterator[None]:
    from pydantic_ai.models.instrumented import InstrumentationSettings

    PydanticAgent.instrument_all(InstrumentationSettings(tracer_provider=provider))
    set_tracing_disabled(False)
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
    yield
    PydanticAgent.instrument_all(False)
    OpenAIAgentsInstrumentor().uninstrument()
    set_tracing_disabled(True)


def ask(steps: list[Any]) -> str:
    with scripted_providers({"openai:gpt-5": steps}):
        agent: Any = PydanticAgent("openai:gpt-5", tools=[weather], name="forecaster")
        return str(asyncio.run(agent.run("How warm is it?")).output)


PYDANTIC_AI = """\
chain forecaster
  > u1: "How warm is it?"
  chat gpt-5 tools=weather
    + tool1: weather(city: string) "Look up the weather." {"schema": {"additionalProperties": false}}
    < a1: call1 weather(city="Paris"); call2 weather(city="Lyon")  usage in=5 out=20
  parallel
    tool weather(city="Paris") call1
      < t1: call1 -> "18C in Paris"
    tool weather(city="Lyon") call2
      < t2: call2 -> "18C in Lyon"
  chat gpt-5 tools=weather
    > u1 a1 t1 t2
    < a2: "It is 18C."  usage in=11 out=4
  < "It is 18C."
"""


def test_pydantic_ai(provider: TracerProvider) -> None:
    for _ in range(3):
        with record(otel=provider) as recording:
            assert ask(TWO) == "It is 18C."
        assert str(recording) == PYDANTIC_AI

    assert recording.tools == [together("weather", "weather")]
    assert recording.usage.total_tokens == 40
    assert recording.obeys(before(model(), "weather"), before("weather", called("nothing")), at_most(2, model()))
    assert recording.obeys(never("delete"))
    assert recording.unseen_calls == []
    assert check(recording) == []
    assert [str(trace) for trace in stored(recording)] == [PYDANTIC_AI]


def test_openai_agents(provider: TracerProvider) -> None:
    with scripted_providers({"openai:gpt-5": ONE}), record(otel=provider) as recording:
        agent = OpenAIAgent(name="forecaster", model="gpt-5", tools=[function_tool(weather)])
        asyncio.run(Runner.run(agent, "How warm is it?"))

    assert recording.tools == [called("weather", city="Paris")]
    assert [run.output.text for run in recording.models] == ["", "It is 18C."]
    assert recording.usage.total_tokens == sum(run.usage.total_tokens for run in recording.models if run.usage)
    # Callbacks where it starts and ends tell the order that its spans do not.
    assert recording.obeys(before(model(), "weather"))
    assert recording.runs.names.count("turn") == 2


def test_a_block_without_the_option_takes_no_spans(provider: TracerProvider) -> None:
    with record(otel=provider) as outer, record() as inner:
        ask(ONE)

    assert len(inner) == 0
    assert len(outer.runs) == 4


def test_beside_langchain_each_has_its_runs(provider: TracerProvider) -> None:
    with record(otel=provider) as recording:
        ScriptedChatModel("Hello").invoke("hi")
        ask(ONE)
        ScriptedChatModel("Bye").invoke("hi")

    assert [root.name for root in recording.roots] == ["ScriptedChatModel", "forecaster", "ScriptedChatModel"]
    assert recording.runs.names == ["ScriptedChatModel", "forecaster", "gpt-5", "weather", "gpt-5", "ScriptedChatModel"]


def test_rules_are_judged_when_the_block_ends(provider: TracerProvider) -> None:
    with expect_violation("broken rule") as found, record(rules=[at_most(1, model())], otel=provider):
        ask(ONE)

    assert "expected a model at most once" in found[0].text


def test_the_tokens_of_a_call_are_counted_once(provider: TracerProvider) -> None:
    with record(otel=provider) as recording, count_tokens() as tokens:
        ask(ONE)

    assert tokens.total_tokens == recording.usage.total_tokens == 27  # counted where the request is answered


def test_a_span_from_before_the_block_is_not_in_it_and_what_it_starts_is(provider: TracerProvider) -> None:
    tracer = provider.get_tracer("test")
    told = {"gen_ai.operation.name": "execute_tool"}
    with record(otel=provider), tracer.start_as_current_span("before"):
        pass
    around, inside = ({**told, "gen_ai.tool.name": name} for name in ("before", "inside"))
    with (
        tracer.start_as_current_span("before", attributes=around),
        record(otel=provider) as recording,
        tracer.start_as_current_span("inside", attributes=inside),
    ):
        pass

    assert recording.runs.names == ["inside"]
    assert recording.unseen_calls == []


def in_a_thread(provider: TracerProvider, name: str) -> None:
    """Make a span in a thread that does not know the context of its caller, as Strands does."""

    def work() -> None:
        with provider.get_tracer("test").start_as_current_span(name, attributes={"gen_ai.tool.name": name}):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_thread_without_the_context_is_in_the_block_that_started_it(provider: TracerProvider) -> None:
    with record(otel=provider) as recording:
        in_a_thread(provider, "inside")
    in_a_thread(provider, "after")

    assert recording.tools == ["inside"]


def test_a_thread_without_the_context_is_in_no_block_if_several_tasks_may_have_started_it(provider: TracerProvider) -> None:
    async def task(name: str, both: asyncio.Barrier) -> list[str]:
        with record(otel=provider) as recording:
            await both.wait()
            in_a_thread(provider, name)
            await both.wait()
        return list(recording.tools.names)

    async def main() -> list[list[str]]:
        both = asyncio.Barrier(2)
        return await asyncio.gather(task("a", both), task("b", both))

    assert asyncio.run(main()) == [[], []]


def test_spans_of_instrumentations_of_langchain_are_left_out(provider: TracerProvider) -> None:
    tracer = provider.get_tracer("openinference.instrumentation.langchain")

    with record(otel=provider) as recording, tracer.start_as_current_span("x", attributes={"gen_ai.tool.name": "x"}):
        pass

    assert len(recording) == 0


def test_the_global_provider_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace

    mine = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: mine)

    with record(otel=True) as recording, mine.get_tracer("x").start_as_current_span("x", attributes={"gen_ai.tool.name": "x"}):
        pass

    assert recording.tools == ["x"]
    assert mine in collecting._heard


def test_what_is_no_provider_is_an_error() -> None:
    with pytest.raises(OtelError) as error:
        record(otel=7)

    assert (
        str(error.value) == "record(otel=...) takes True, or the TracerProvider of the program (opentelemetry.sdk.trace); got 7"
    )


def test_without_the_packages_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(OtelError, match="pip install 'llmtest-kit\\[otel\\]'"):
        record(otel=True)


def test_what_cannot_be_read_does_not_break_the_program_and_is_said(provider: TracerProvider, page: Ledger) -> None:
    tracer = provider.get_tracer("an agent")
    agent_told = {"gen_ai.operation.name": "invoke_agent"}

    with record(otel=provider) as recording:
        outer = [tracer.start_as_current_span("deep", attributes=agent_told) for _ in range(2_001)]
        for span in outer:
            span.__enter__()
        for span in reversed(outer):
            span.__exit__(None, None, None)

    assert [call.double.partition(" (")[0] for call in recording.unseen_calls] == ["what 2,001 spans said"]
    assert recording.obeys(never("refund")).holds is None


def test_what_a_span_of_a_program_does_not_tell_is_missing(provider: TracerProvider, page: Ledger) -> None:
    tracer = provider.get_tracer("an agent")

    with record(otel=provider) as recording, tracer.start_as_current_span("a", attributes={"gen_ai.operation.name": "chat"}):
        tracer.start_span("refund", attributes={"gen_ai.operation.name": "call_tool_v9"}).end()

    assert len(recording.unseen_calls) == 1
    assert recording.obeys(never("refund")).holds is None


def test_a_program_may_flush_its_provider(provider: TracerProvider) -> None:
    with record(otel=provider) as recording:
        in_a_thread(provider, "inside")
        assert provider.force_flush()

    assert recording.tools == ["inside"]
