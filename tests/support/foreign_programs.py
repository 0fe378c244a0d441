"""Agents that the packages of others trace: `python foreign_programs.py KIND FILE` writes what they export.

In a process of its own, because an instrumentation patches the libraries for good.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
    "TRACELOOP_TRACE_CONTENT": "true",
    "OPENAI_AGENTS_DONT_LOG_MODEL_DATA": "0",
}


def spans_to(path: Path) -> Any:
    """A provider of tracers, and a function that writes what it got as OTLP."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)

    def write() -> None:
        path.write_bytes(encode_spans(memory.get_finished_spans()).SerializeToString())

    return provider, write


def weather(city: str) -> str:
    """Look up the weather."""
    return f"18C in {city}"


def langchain_agent() -> None:
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    from llmtest import ScriptedChatModel, call, reply, say

    asked = reply("Let me look. ", call("weather", city="Paris"), call("weather", city="Lyon"))
    model = ScriptedChatModel(asked, say("It is 18C."), dialect="openai", model_name="gpt-5")
    agent = create_agent(model, [tool(weather)], name="forecaster")
    config: Any = {"configurable": {"thread_id": "t-1"}, **CONFIG}
    agent.invoke({"messages": [("user", "How warm is it?")]}, config)


CONFIG: dict[str, Any] = {}


def scripted() -> Any:
    from llmtest import call, say
    from llmtest.langchain.providers import scripted_providers

    return scripted_providers({"openai:gpt-5": [call("weather", city="Paris"), say("It is 18C.")]})


def genai(path: Path) -> None:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    provider, write = spans_to(path)
    LangChainInstrumentor().instrument(tracer_provider=provider)
    langchain_agent()
    write()


def openinference(path: Path) -> None:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    provider, write = spans_to(path)
    LangChainInstrumentor().instrument(tracer_provider=provider)
    langchain_agent()
    write()


def openllmetry(path: Path) -> None:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    provider, write = spans_to(path)
    LangchainInstrumentor().instrument(tracer_provider=provider)
    langchain_agent()
    write()


def langfuse(path: Path) -> None:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    provider, write = spans_to(path)
    Langfuse(public_key="pk-lf-test", secret_key="sk-lf-test", base_url="http://127.0.0.1:9", tracer_provider=provider)
    CONFIG["callbacks"] = [CallbackHandler(public_key="pk-lf-test")]
    langchain_agent()
    write()
    os._exit(0)  # its thread would go on trying to send


def langsmith(path: Path) -> None:
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client

    class Kept(LangChainTracer):
        """Keeps the runs, as `langsmith` would send them."""

        def _persist_run(self, run: Any) -> None:
            runs.append(run)

        def _persist_run_single(self, run: Any) -> None: ...
        def _update_run_single(self, run: Any) -> None: ...

    runs: list[Any] = []
    CONFIG["callbacks"] = [Kept(client=Client(api_url="http://127.0.0.1:9", api_key="none", auto_batch_tracing=False))]
    langchain_agent()
    found = list(runs)
    for run in found:
        found += run.child_runs
    path.write_text(json.dumps([json.loads(run.model_dump_json(exclude={"child_runs"})) for run in found]), "utf-8")


def pydantic_ai(path: Path) -> None:
    from pydantic_ai import Agent

    _, write = spans_to(path)
    Agent.instrument_all()
    with scripted():
        agent: Any = Agent("openai:gpt-5", tools=[weather], name="forecaster")
        asyncio.run(agent.run("How warm is it in Paris?"))
    write()


def openinference_agents(path: Path) -> None:
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    provider, write = spans_to(path)
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
    _run_openai_agents()
    write()


def _run_openai_agents() -> None:
    from agents import Agent, Runner, function_tool

    with scripted():
        agent = Agent(name="forecaster", model="gpt-5", tools=[function_tool(weather)])
        asyncio.run(Runner.run(agent, "How warm is it in Paris?"))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
