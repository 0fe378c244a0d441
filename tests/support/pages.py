"""Recordings and cases for pages: a travel agent that looks at the weather and at flights, and books one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, call, record, reply, think
from llmtest.matching import at_most, before, model
from llmtest.matching.engine import judge
from llmtest.trees.pending import Mismatch
from llmtest.trees.rendering import HEADER, render
from llmtest.viewer.cases import Case, FailureText, detail


@tool
def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"It is sunny in {city}."


@tool
def flights(origin: str, to: str) -> str:
    """Search flights between two cities."""
    return f"LX632 from {origin} to {to}"


@tool
def book(flight: str) -> str:
    """Book a flight."""
    if flight == "LX000":
        raise ValueError("no such flight")
    return f"booked {flight}"


def travel(*steps: Any, prompt: str = "Be brief.") -> Recording:
    """Return the recording of a travel agent that is asked for a trip."""
    agent = create_agent(ScriptedChatModel(*steps, model_name="gpt-5-mini"), [weather, flights, book], system_prompt=prompt)
    with record() as recording:
        agent.invoke({"messages": [("user", "I want to go to Paris.")]})
    return recording


def trip(prompt: str = "Be brief.", to: str = "Paris") -> Recording:
    """Return the recording of a trip: two tools side by side, then a booking."""
    both = reply(think("Ask both."), call("weather", city=to), call("flights", origin="Zurich", to=to))
    return travel(both, call("book", flight="LX632"), f"You fly to {to}.", prompt=prompt)


def trip_case(name: str = "tests/test_trip.py::test_paris", *, changed: bool = True) -> Case:
    """Return the case of a trip: with a changed prompt and a broken rule, or one that passed."""
    expected = f"{HEADER}\n{render(trip())}"
    recording = trip("Answer in two sentences.", "Lyon") if changed else trip()
    mismatch = Mismatch(name, Path("test_paris.tree"), expected, f"{HEADER}\n{render(recording)}")
    answers = [(0, answer) for answer in judge(recording, [before("flights", "book"), at_most(2, model())])]
    failure = FailureText(mismatch.headline, f"E  {mismatch.headline}", "# tests/test_trip.py:1\n> assert tree == snapshot")
    found = detail(name, [recording], comparisons=[mismatch], answers=answers, failure=failure if changed else None)
    return Case(name, "failed" if changed else "passed", mismatch.headline if changed else "", 0.25, found)


def rows_of(html: str) -> list[Any]:
    """Return the rows of the index of a page."""
    (index,) = re.findall(r'<script type="application/json" id="index">([^<]*)</script>', html)
    rows: list[Any] = json.loads(index)["rows"]
    return rows
