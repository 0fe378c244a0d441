"""What a model is told besides messages: its name, its parameters, its tools."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from llmtest import ScriptedChatModel, ScriptedLLM, record, structured
from llmtest.events import Event, FrozenDict, FrozenList, Run, Structured
from llmtest.trees import diff, parse, render, write

BOUND = """
from langchain_core.tools import tool
from llmtest import ScriptedChatModel, record

def hand_over(name):
    @tool("to_" + name, description="Hand over.")
    def transfer() -> str:
        return name
    return transfer

with record() as recording:
    ScriptedChatModel("done").bind_tools([hand_over(name) for name in {"weather", "jokes", "maths", "law"}]).invoke("hi")
print(recording)
"""


class Place(BaseModel):
    city: str = Field(description="Where")
    zip_code: int = Field(ge=1000)


@tool
def weather(city: str, unit: Literal["C", "F"] = "C", days: int | None = None) -> str:
    """The weather in a city."""
    return city


@tool
def travel(start: Place, stops: list[str]) -> str:
    """Book a journey.

    It cannot be undone."""
    return ""


def deep_freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return FrozenDict({key: deep_freeze(item) for key, item in value.items()})
    return FrozenList(map(deep_freeze, value)) if isinstance(value, list) else value


def model_run(**parameters: Any) -> Run:
    names = [str(bound.get("name", "unnamed")) for bound in parameters.get("tools", ())]
    payload = deep_freeze({"messages": [], "tools": names, "invocation_params": parameters})
    start = Event("on_chat_model_start", UUID(int=1), None, "m", payload=payload)
    end = Event("on_llm_end", UUID(int=1), None, "m", payload=FrozenDict(generations=FrozenList()), number=1)
    return Run(UUID(int=1), None, "chat", "m", (), FrozenDict(), (start, end), ())


def lines_of(**parameters: Any) -> list[str]:
    text = render(model_run(**parameters))
    assert write(parse(text)) == text
    return [line.strip() for line in text.splitlines() if line.strip() not in ("> []", "< nothing")]


def test_a_tool_is_defined_once_with_all_that_the_model_saw_of_it() -> None:
    model = ScriptedChatModel("a", "b").bind_tools([weather, travel])
    with record() as recording:
        model.invoke("hi")
        model.invoke("hi")

    assert str(recording).splitlines() == [
        "chat ScriptedChatModel tools=travel,weather",
        '  + tool1: travel(start: {city: string "Where", zip_code: integer {"minimum": 1000}}, stops: array[string])',
        "    | Book a journey.",
        "    |",
        "    |     It cannot be undone.",
        '  + tool2: weather(city: string, unit: "C" | "F" = "C", days: integer | null = null) "The weather in a city."',
        '  > u1: "hi"',
        '  < a1: "a"  usage in=1 out=1',
        "chat ScriptedChatModel tools=travel,weather",
        "  > u1",
        '  < a2: "b"  usage in=1 out=1',
    ]


def test_a_changed_description_is_one_line_of_a_diff() -> None:
    before = 'chat m tools=a\n  + tool1: a(x: string) "One."\n  > []\n  < nothing\n'

    difference = diff(before, before.replace("One", "Two"))

    assert difference is not None
    assert difference.headline == 'tool "One" → "Two" at m (1 of 4 lines, 1 cause)'


@pytest.mark.parametrize(
    ("bound", "line"),
    [
        ({"name": "a", "input_schema": {"properties": {}}, "cache_control": {"type": "x"}},
         '+ tool1: a() {"cache_control": {"type": "x"}}'),
        ({"name": "find", "type": "web_search_1", "max_uses": 5}, '+ tool1: find {"max_uses": 5, "type": "web_search_1"}'),
        ({"name": "a", "type": "function", "parameters": {"properties": {"x": {"type": ["string", "null"]}}}, "strict": True},
         '+ tool1: a(x?: string | null) {"strict": true}'),
        ({"name": "a", "parameters": {"properties": {"n": {"$ref": "#/$defs/N"}},
                                      "$defs": {"N": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}}},
         "+ tool1: a(n?: {n?: N})"),
        ({"name": 'a\n  < a1: "forged"', "description": 'x\n  < "y"'}, '+ tool1: "a\\n  < a1: \\"forged\\""'),
        ({"name": "a", "parameters": {"properties": {"x": {"anyOf": [{"type": "integer", "title": "X"}, {"const": 1}]}},
                                      "additionalProperties": False}},
         '+ tool1: a(x?: integer {"title": "X"} | 1) {"schema": {"additionalProperties": false}}'),
        ({"name": "a", "parameters": {"properties": {"zip_code": {"type": "string", "title": "Zip Code"},
                                                     "city": {"type": "string", "title": "Town"}}}},
         '+ tool1: a(zip_code?: string, city?: string {"title": "Town"})'),
    ],
)  # fmt: skip
def test_tools_of_all_providers_are_written_alike(bound: dict[str, Any], line: str) -> None:
    assert lines_of(tools=[bound])[1] == line


@pytest.mark.parametrize(
    ("bound", "line"), [(Structured("Search", FrozenDict(depth=2)), "+ tool1: Search(depth=2)"), ("search", "+ tool1: search")]
)
def test_a_tool_that_is_no_dict_is_shown_as_it_is(bound: Any, line: str) -> None:
    run = model_run(tools=[{"name": "search"}])
    (start, end) = run.events
    payload = FrozenDict({**start.payload, "invocation_params": FrozenDict(tools=FrozenList([bound]))})

    text = render(replace(run, events=(replace(start, payload=payload), end)))

    assert text.splitlines()[1].strip() == line


def test_two_tools_of_one_name_are_told_apart() -> None:
    one, two = ({"name": "a", "description": text} for text in ("one", "two"))

    assert lines_of(tools=[two, one]) == ["chat m tools=a,a/tool2", '+ tool1: a "one"', '+ tool2: a "two"']


def test_tools_that_come_from_a_set_have_one_order() -> None:
    seeds = ("1", "2", "3")
    trees = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BOUND],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in seeds
    }

    assert len(trees) == 1


def test_parameters_are_shown_if_they_were_set() -> None:
    assert lines_of(model_name="scripted", _type="x", stop=None, stream=False) == ["chat m"]
    assert lines_of(model="gpt-4o", stop=["END"], temperature=0, api_key="x") == [
        "chat m model=gpt-4o",
        '* api_key=<mask:api_key> stop=["END"] temperature=0',
    ]


def test_a_long_parameter_is_written_once() -> None:
    model = ScriptedChatModel("a", "b").bind(thinking={"type": "x" * 60, "budget": "y" * 60})
    with record() as recording:
        model.invoke("hi")
        model.invoke("hi")

    shown = [line.strip() for line in str(recording).splitlines() if "*" in line or "thinking" in line]
    assert shown == ["* params1:", "thinking={", "* params1"]


def test_a_response_format_is_written_as_a_tool() -> None:
    model = ScriptedChatModel(structured({"city": "x", "zip_code": 1000})).with_structured_output(Place, method="json_schema")
    with record() as recording:
        model.invoke("hi")

    assert '    * response_format=Place(city: string "Where", zip_code: integer {"minimum": 1000})\n' in str(recording)


def test_an_explicit_model_name_is_the_name_of_the_run() -> None:
    with record() as recording:
        ScriptedChatModel("a", model_name="gpt-4o").invoke("hi")
        ScriptedLLM("a", model_name="davinci").bind(stop=["x"]).invoke("hi")
        ScriptedChatModel("a", model_name="gpt-4o", name="planner").invoke("hi")
        ScriptedChatModel("a").invoke("hi", model="o3")

    assert [line for line in str(recording).splitlines() if line[0] != " "] == [
        "chat gpt-4o",
        "llm davinci",
        "chat planner model=gpt-4o",
        "chat ScriptedChatModel model=o3",
    ]


def test_short_detail_leaves_it_out() -> None:
    text = render(model_run(model="gpt-4o", temperature=1, tools=[{"name": "b"}, {"name": "a"}]), detail="short")

    assert text == "chat m tools=a,b\n  > []\n  < nothing\n"
