"""Keys that tell recorded calls apart: the smallest ones, and none where the program decides the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from llmtest import say
from llmtest.events.words import FrozenDict, Message
from llmtest.scripts.branches import branches
from llmtest.scripts.requests import Request
from llmtest.scripts.step_types import Step


@dataclass(frozen=True, eq=False)
class Called:
    request: Request
    step: Step


def called(said: str, *prompt: str, tools: Sequence[str] = (), tags: Sequence[str] = (), **metadata: Any) -> Called:
    roles = ("human", "ai")
    messages = [Message(roles[number % 2], text) for number, text in enumerate(prompt or ("go",))]
    about = (tags, FrozenDict(metadata))
    return Called(Request({name: {} for name in tools}, lambda: messages, about=lambda: about), say(said))


def keys_of(calls: list[Called], are_ordered: Callable[[Called, Called], bool] = lambda a, b: False) -> list[tuple[str, int]]:
    found, notes = branches(calls, are_ordered)
    assert notes == []
    return [(str(branch.key) if branch.key else "", len(branch.calls)) for branch in found]


def test_calls_in_order_need_no_key() -> None:
    assert keys_of([called("a"), called("b"), called("c")], lambda a, b: True) == [("", 3)]


def test_equal_answers_need_no_key() -> None:
    assert keys_of([called("a", "x"), called("a", "y")]) == [("", 2)]


def test_a_node_tells_apart() -> None:
    assert keys_of([called("a", langgraph_node="left"), called("b", langgraph_node="right")]) == [
        ("on(node='left')", 1),
        ("on(node='right')", 1),
    ]


def test_the_outer_node_tells_agents_apart() -> None:
    def within(outer: str) -> dict[str, str]:
        return {"langgraph_node": "model", "langgraph_checkpoint_ns": f"{outer}:1|model:2"}

    assert keys_of([called("a", **within("billing")), called("b", **within("travel"))]) == [
        ("on(node='billing')", 1),
        ("on(node='travel')", 1),
    ]


def test_tools_a_thread_or_a_tag_tell_apart() -> None:
    assert keys_of([called("a", tools=["x"]), called("b", tools=["y"])])[0] == ("on(tools=['x'])", 1)
    assert keys_of([called("a", thread_id="1"), called("b", thread_id="2")])[0] == ("on(thread='1')", 1)
    assert keys_of([called("a", tags=["seq:step:1", "red"]), called("b", tags=["blue"])])[0] == ("on(tag='red')", 1)


def test_a_tag_that_two_calls_have_does_not_tell_apart() -> None:
    calls = [called("a", "to Paris", tags=["red", "blue"]), called("b", "to Rome", tags=["blue"])]

    assert keys_of(calls) == [("on(contains='Paris')", 1), ("on(contains='Rome')", 1)]


def test_a_call_without_the_fact_has_no_key() -> None:
    assert keys_of([called("a", langgraph_node="left"), called("b")]) == [("on(node='left')", 1), ("", 1)]


def test_two_facts_tell_apart_what_one_does_not() -> None:
    calls = [
        called(f"{node}{thread}", langgraph_node=node, thread_id=thread) for node in ("left", "right") for thread in ("1", "2")
    ]

    assert keys_of(calls)[0] == ("on(node='left', thread='1')", 1)


def test_the_first_word_that_tells_is_the_key() -> None:
    assert keys_of([called("a", "The weather in Paris?"), called("b", "The weather in Rome?")]) == [
        ("on(contains='Paris')", 1),
        ("on(contains='Rome')", 1),
    ]


def test_a_line_is_the_key_where_no_word_tells() -> None:
    assert keys_of([called("a", "Page 1"), called("b", "Page 2")]) == [("on(contains='Page 1')", 1), ("on(contains='Page 2')", 1)]


def test_the_calls_of_a_conversation_stand_under_one_key() -> None:
    first, second = called("a", "In Paris?"), called("b", "In Rome?")
    more = called("c", "In Paris?", "a", "And tomorrow?")

    assert keys_of([first, second, more], lambda a, b: (a, b) == (first, more)) == [
        ("on(contains='Paris')", 2),
        ("on(contains='Rome')", 1),
    ]


def test_a_line_that_differs_in_every_run_is_no_key() -> None:
    one, two = ("0b0e0a52-5b7c-4b6e-9c0d-2a1f2b3c4d5e", "7f1e2d3c-4b5a-4968-8776-655443322110")

    found, notes = branches([called("a", f"id {one}"), called("b", f"id {two}")], lambda a, b: False)

    assert [branch.key for branch in found] == [None]
    assert len(notes) == 1


def test_calls_before_and_after_the_concurrent_ones_need_no_key() -> None:
    plan, paris, rome, write = called("p", "Plan."), called("a", "In Paris?"), called("b", "In Rome?"), called("w", "Write.")

    def are_ordered(a: Called, b: Called) -> bool:
        return {a, b} != {paris, rome}

    assert keys_of([plan, paris, rome, write], are_ordered) == [
        ("on(contains='Paris')", 1),
        ("on(contains='Rome')", 1),
        ("", 2),
    ]


def test_a_fact_and_a_text_tell_apart_what_either_does_not() -> None:
    calls = [
        called(f"{node} {city}", f"In {city}?", langgraph_node=node) for node in ("check", "work") for city in ("Paris", "Rome")
    ]

    assert [key for key, _ in keys_of(calls)] == [
        "on(contains='Paris', node='check')",
        "on(contains='Rome', node='check')",
        "on(contains='Paris', node='work')",
        "on(contains='Rome', node='work')",
    ]


@pytest.mark.parametrize("number", [2, 12])
def test_what_nothing_tells_apart_is_said(number: int) -> None:
    found, notes = branches([called(str(n), "Same.") for n in range(number)], lambda a, b: False)

    assert [len(branch.calls) for branch in found] == [number]
    shown = ", ".join(map(str, range(1, min(number, 8) + 1))) + (", ..." if number > 8 else "")
    assert notes == [
        f"{number} calls of models ran at the same time ({shown}), and neither node, tools, thread, tags nor a text of the prompt"
        " ('Same.') tells them apart: their answers are in the order of the recording"
    ]


def test_a_conversation_in_one_text_that_grows_stands_under_one_key() -> None:
    first, second = called("a", "Weather in Paris?\nThought:"), called("b", "Weather in Rome?\nThought:")
    more = called("c", "Weather in Paris?\nThought: a\nThought:"), called("d", "Weather in Rome?\nThought: b\nThought:")

    assert keys_of([first, second, *more], lambda a, b: (a, b) in ((first, more[0]), (second, more[1]))) == [
        ("on(contains='Paris')", 2),
        ("on(contains='Rome')", 2),
    ]


def test_one_branch_may_go_without_a_text() -> None:
    assert keys_of([called("a", "Oslo"), called("b", "Oslo again")]) == [("on(contains='again')", 1), ("", 1)]
