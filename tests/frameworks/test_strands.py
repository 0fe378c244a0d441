"""Strands Agents, answered from a script, with a tool."""

from __future__ import annotations

from typing import Any

import strands
from strands.models.openai import OpenAIModel

from llmtest import call, record, say
from llmtest.langchain.providers import scripted_providers
from llmtest.matching import at_most, before, called, model

asked: list[str] = []
TREE = """\
chain "Strands Agents"
  > u1: "the weather?"
  chain execute_event_loop_cycle
    > <unknown>
    chat gpt-5
      > u1
      < a1: call1 weather(city="Paris")  usage in=3 out=10
    tool weather(city="Paris") call1
      < t1: call1 -> "sunny in Paris"
    < <unknown>
  chain execute_event_loop_cycle
    > <unknown>
    chat gpt-5
      > u1 a1 t1
      < a2: "It is sunny."  usage in=6 out=4
    < <unknown>
  < a3: "It is sunny.\\n"
"""


@strands.tool  # type: ignore[untyped-decorator]
def weather(city: str) -> str:
    """Look up the weather."""
    asked.append(city)
    return f"sunny in {city}"


def test_in_this_process() -> None:
    steps = [call("weather", city="Paris"), say("It is ", "sunny.").expects(contains="sunny in Paris")]
    with scripted_providers({"openai:gpt-5": steps}) as providers:
        agent: Any = strands.Agent(model=OpenAIModel(model_id="gpt-5"), tools=[weather], callback_handler=None)
        assert str(agent("the weather?")).strip() == "It is sunny."
        providers.verify()
    assert asked == ["Paris"]


def test_its_spans_are_runs() -> None:
    steps = [call("weather", city="Paris"), say("It is sunny.")]

    with scripted_providers({"openai:gpt-5": steps}), record(otel=True) as recording:
        agent: Any = strands.Agent(model=OpenAIModel(model_id="gpt-5"), tools=[weather], callback_handler=None)
        agent("the weather?")  # in a thread of its own, without the context of this one

    assert recording.tools == [called("weather", city="Paris").returned("sunny in Paris")]
    assert recording.obeys(before(model(), "weather"), at_most(2, model()))
    assert str(recording) == TREE
