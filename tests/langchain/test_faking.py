"""The provider for Faker: replies, conversations and tool calls of LangChain."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from faker import Faker
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from llmtest.errors import InventError
from llmtest.events import FrozenDict
from llmtest.langchain.faking import LLMProvider
from llmtest.scripts.step_types import Call, split
from llmtest.scripts.tool_checks import check_call


class Trip(BaseModel):
    """Book a trip."""

    city: str
    seats: int = Field(ge=1, le=9)


@tool
def search(query: str, limit: int = 5) -> str:
    """Search the web."""
    return f"{limit} results for {query}"


def faking(seed: int = 0) -> Any:
    fake = Faker()
    fake.seed_instance(seed)
    fake.add_provider(LLMProvider)
    return fake


def test_faker_gives_replies_of_a_length_by_its_seed() -> None:
    replies = [faking(seed).llm_reply(tokens=12) for seed in (0, 1, 0)]

    assert [len(split(reply)) for reply in replies] == [12, 12, 12]
    assert replies[0] == replies[2] != replies[1]
    fake = faking()
    assert fake.llm_reply() != fake.llm_reply()


def test_faker_calls_a_tool_so_that_the_tool_can_run() -> None:
    call = faking().tool_call(search)

    answer = search.invoke(call)

    assert call["name"] == "search"
    assert call["type"] == "tool_call"
    assert re.fullmatch(r"call_[0-9a-f]{16}", call["id"])
    assert isinstance(answer, ToolMessage)
    assert answer.tool_call_id == call["id"]
    assert answer.content.endswith(call["args"]["query"])


@pytest.mark.parametrize("given_tool", [search, Trip, convert_to_openai_tool(Trip)], ids=["tool", "model", "dict"])
def test_faker_calls_all_that_can_be_bound(given_tool: Any) -> None:
    function = convert_to_openai_tool(given_tool)["function"]

    calls = [faking(seed).tool_call(given_tool) for seed in range(20)]

    assert [
        c for c in calls if check_call(Call(c["name"], FrozenDict(c["args"])), {function["name"]: function["parameters"]})
    ] == []


def test_faker_calls_a_tool_without_arguments() -> None:
    assert faking().tool_call({"name": "ping", "description": "Ping."})["args"] == {}


def _kinds(messages: list[BaseMessage]) -> list[str]:
    return [message.type for message in messages]


def test_faker_gives_conversations_that_models_take() -> None:
    plain, with_tools = faking().llm_conversation(), faking().llm_conversation(turns=2, tools=[search, Trip])

    assert _kinds(plain) == ["human", "ai"] * 3
    assert _kinds(with_tools) == ["human", "ai", "tool", "ai"] * 2
    assert all(message.text for message in plain)
    asked = [c for message in with_tools if isinstance(message, AIMessage) for c in message.tool_calls]
    answered = [message for message in with_tools if isinstance(message, ToolMessage)]
    assert [(c["name"], c["id"]) for c in asked] == [(message.name, message.tool_call_id) for message in answered]
    assert [c["name"] for c in asked] == ["search", "Trip"]
    assert len({c["id"] for c in asked}) == 2


@pytest.mark.parametrize("given_count", [0, -1, 1.5, True, "3"])
def test_faker_refuses_what_is_no_number_of_turns_or_tokens(given_count: Any) -> None:
    with pytest.raises(InventError) as turns:
        faking().llm_conversation(turns=given_count)
    with pytest.raises(InventError) as tokens:
        faking().llm_reply(tokens=given_count)

    got = f"got {type(given_count).__name__} {given_count!r}"
    assert str(turns.value) == f"turns= of llm_conversation() is a whole number of 1 or more; {got}"
    assert str(tokens.value) == f"tokens= of llm_reply() is a whole number of 1 or more; {got}"


def test_faker_says_which_tool_nothing_fits() -> None:
    with pytest.raises(InventError) as caught:
        faking().tool_call(
            {"name": "book", "description": "Book.", "parameters": {"properties": {"a": False}, "required": ["a"]}}
        )

    assert str(caught.value) == "arguments for the tool `book` could not be invented\n  a  nothing is allowed there"


def test_without_faker_the_provider_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faker.providers", None)
    monkeypatch.delitem(sys.modules, "llmtest.langchain.faking")

    with pytest.raises(InventError) as caught:
        import llmtest.langchain.faking  # noqa: F401

    assert str(caught.value) == ("generated values need Faker, which is not installed: pip install 'llmtest-kit[faker]'")
