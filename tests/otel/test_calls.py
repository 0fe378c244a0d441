"""The calls of models and tools as a tree, without what differs between programs that do the same."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, record, reply, say
from llmtest.otel import call_tree

TREE = """\
model
  < a1: "Let me look. "; call1 weather(city="Paris"); call2 weather(city="Lyon")
parallel
  tool weather(city="Paris") call1
    < t1: call1 -> "18C in Paris"
  tool weather(city="Lyon") call2
    < t2: call2 -> "18C in Lyon"
model
  < a2: "It is 18C."
"""


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    if city == "Atlantis":
        raise RuntimeError("KeyError: no such city")
    return f"18C in {city}"


@pytest.mark.parametrize("prompt", ["Be kind.", "Be\nkind\n  and brief."])
def test_names_prompts_and_usage_are_left_out(prompt: str) -> None:
    steps = [reply("Let me look. ", call("weather", city="Paris"), call("weather", city="Lyon")), say("It is 18C.")]
    model = ScriptedChatModel(*steps, model_name=f"m{len(prompt)}", name="some model")

    with record() as recording:
        list(create_agent(model, [weather], system_prompt=prompt).stream({"messages": [("user", "How warm?")]}))

    assert call_tree(recording) == TREE


def test_an_error_in_place_of_another_is_that_one() -> None:
    with record() as recording, pytest.raises(RuntimeError):
        weather.invoke({"city": "Atlantis"})

    assert call_tree(recording) == 'tool weather(city="Atlantis")\n  ! KeyError: no such city\n'
