"""What an event and a run derive from their payloads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from llmtest.concurrency.lanes import Lane
from llmtest.events import (
    EMPTY,
    Document,
    Ended,
    Event,
    Failure,
    FrozenDict,
    FrozenList,
    Generation,
    Message,
    Run,
    RunKind,
    Usage,
)
from llmtest.events.callbacks import START_KINDS

IDS = [UUID(int=number) for number in range(10)]


def event(kind: str, payload: dict[str, Any] | None = None, number: int = 0) -> Event:
    return Event(kind, IDS[0], None, "it", payload=FrozenDict(payload or {}), number=number)


def run(kind: RunKind, start: dict[str, Any], *others: Event, children: tuple[Run, ...] = (), name: str = "it") -> Run:
    (callback,) = (callback for callback, run_kind in START_KINDS.items() if run_kind == kind)
    return Run(IDS[0], None, kind, name, (), EMPTY, (event(callback, start), *others), children)


# -- events


def test_an_event_tells_its_time_its_thread_and_its_task() -> None:
    lane = Lane(1, "MainThread", 7, "Task-1", Lane(0, "MainThread", 7))
    seen = Event("on_tool_end", IDS[0], None, "search", wall_ns=1_700_000_000_500_000_000, lane=lane)

    assert seen.time == datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)
    assert (seen.thread, seen.task, str(seen)) == ("MainThread", "Task-1", "on_tool_end `search`")
    assert (event("on_text").thread, event("on_text").task) == (None, None)


def test_events_are_equal_whatever_lane_they_came_on() -> None:
    lanes = [Lane(1, "a", 1), Lane(2, "b", 2)]

    first, second = (Event("on_text", IDS[0], None, "it", lane=lane) for lane in lanes)

    assert first == second
    assert lanes[0] != Lane(1, "a", 1)


# -- runs


@pytest.mark.parametrize(
    ("end", "ended", "error"),
    [
        (None, "open", None),
        (event("on_chain_end", {"outputs": 1}), "ended", None),
        (event("on_chain_error", {"error": Failure("ValueError", "no")}), "error", Failure("ValueError", "no")),
        (
            event("on_chain_error", {"error": Failure("KeyboardInterrupt", "", "stopped")}),
            "stopped",
            Failure("KeyboardInterrupt", "", "stopped"),
        ),
        (event("on_chain_error", {"error": Failure("CancelledError", "", "cancelled")}), "cancelled", None),
        (event("on_chain_error", {"error": Failure("GeneratorExit", "", "closed early")}), "closed early", None),
        (event("on_chain_error", {"error": Failure("GraphInterrupt", "", "paused")}), "paused", None),
        (event("on_chain_error", {"error": Failure("ParentCommand", "", "handed off")}), "handed off", None),
    ],
)
def test_a_run_tells_how_it_ended(end: Event | None, ended: Ended, error: Failure | None) -> None:
    it = run("chain", {}, event("on_text"), *([end] if end else []))

    assert (it.end, it.ended, it.error) == (end, ended, error)
    assert it.start == event("on_chain_start")
    assert repr(it) == f"<Run chain it: {ended}>"


MESSAGES = FrozenList([Message("human", "Hi")])
ANSWER = Message("ai", "Hello")
DOCUMENTS = FrozenList([Document("Paris")])


@pytest.mark.parametrize(
    ("it", "given", "gave"),
    [
        (
            run("chat", {"messages": MESSAGES}, event("on_llm_end", {"generations": FrozenList([Generation("Hello", ANSWER)])})),
            MESSAGES,
            ANSWER,
        ),
        (
            run("llm", {"prompts": FrozenList(["Hi"])}, event("on_llm_end", {"generations": FrozenList([Generation("Hello")])})),
            "Hi",
            "Hello",
        ),
        (run("llm", {"prompts": FrozenList()}, event("on_llm_end")), [], None),
        (run("tool", {"inputs": FrozenDict(q="x"), "input_str": "x"}, event("on_tool_end", {"output": 7})), {"q": "x"}, 7),
        (run("tool", {"inputs": None, "input_str": "x"}, event("on_tool_end", {"output": "y"})), "x", "y"),
        (run("retriever", {"query": "Paris"}, event("on_retriever_end", {"documents": DOCUMENTS})), "Paris", DOCUMENTS),
        (run("chain", {"inputs": 1}, event("on_chain_end", {"outputs": 2})), 1, 2),
        (run("chain", {"inputs": ""}, event("on_chain_end", {"outputs": 2, "inputs": 1})), 1, 2),
        (run("chain", {"inputs": 1}, event("on_chain_error", {"error": Failure("ValueError", "no")})), 1, None),
        (run("chain", {"inputs": 1}), 1, None),
    ],
)
def test_a_run_tells_what_it_was_given_and_what_it_gave_back(it: Run, given: Any, gave: Any) -> None:
    assert (it.input, it.output) == (given, gave)


def test_the_arguments_of_a_tool_run_are_those_with_names() -> None:
    assert run("tool", {"inputs": FrozenDict(q="x")}).args == {"q": "x"}
    assert run("tool", {"input_str": "x"}).args == {}
    assert run("chain", {"inputs": FrozenDict(q="x")}).args == {}


def test_a_tool_run_tells_which_call_it_answers() -> None:
    assert run("tool", {"tool_call_id": "call_7"}).tool_call_id == "call_7"
    assert run("tool", {"tool_call_id": None}).tool_call_id is None
    assert run("tool", {}).tool_call_id is None


def test_the_tokens_of_a_run_are_as_the_provider_sent_them() -> None:
    blocks = FrozenList([{"type": "text", "text": "b"}])

    it = run(
        "chat", {}, event("on_llm_new_token", {"token": "a"}), event("on_llm_new_token", {"token": blocks}), event("on_llm_end")
    )

    assert it.tokens == ["a", blocks]


USED = Usage(7, 2, 9)
COUNTS = FrozenDict(token_usage=FrozenDict(prompt_tokens=7, completion_tokens=2))


def said(*usages: Usage | None) -> dict[str, Any]:
    return {"generations": FrozenList(Generation("a", Message("ai", "a", usage=usage)) for usage in usages)}


@pytest.mark.parametrize(
    ("it", "usage"),
    [
        (run("chat", {}), None),
        (run("chat", {}, event("on_llm_end", said(None))), None),
        (run("chat", {}, event("on_llm_end", said(USED))), USED),
        (run("chat", {}, event("on_llm_end", said(USED, None, USED))), Usage(14, 4, 18)),
        (run("chat", {}, event("on_llm_error", {"error": Failure("E", ""), "response": FrozenDict(said(USED))})), USED),
        (run("llm", {}, event("on_llm_end", {"generations": FrozenList([Generation("a")]), "llm_output": COUNTS})), USED),
        (
            run("llm", {}, event("on_llm_end", {"generations": FrozenList([Generation("a", None, COUNTS)]), "llm_output": None})),
            USED,
        ),
        (run("llm", {}, event("on_llm_end", {"generations": FrozenList([Generation("a")]), "llm_output": FrozenDict()})), None),
        (
            run("llm", {}, event("on_llm_end", {"llm_output": FrozenDict(token_usage=FrozenDict(total_tokens=5))})),
            Usage(0, 0, 5),
        ),
    ],
)
def test_a_run_tells_the_usage_that_was_reported(it: Run, usage: Usage | None) -> None:
    assert it.usage == usage


def test_walking_a_run_meets_parents_before_children_and_children_in_order() -> None:
    leaf = run("tool", {}, name="leaf")
    first, second = run("chain", {}, children=(leaf,), name="first"), run("chain", {}, name="second")
    root = run("chain", {}, children=(first, second), name="root")

    names = [it.name for it in root.walk()]

    assert names == ["root", "first", "leaf", "second"]


def test_runs_are_equal_only_to_themselves() -> None:
    assert run("tool", {}) != run("tool", {})


def test_a_tool_run_knows_its_call_by_its_answer_if_its_start_does_not_tell() -> None:
    run_id = UUID(int=1)
    answer = Message("tool", "18C", tool_call_id="call_1")
    told = [("on_tool_start", FrozenDict(inputs=FrozenDict())), ("on_tool_end", FrozenDict(output=answer))]
    events = tuple(Event(kind, run_id, None, "weather", payload=payload, number=n) for n, (kind, payload) in enumerate(told))

    assert Run(run_id, None, "tool", "weather", (), FrozenDict(), events, ()).tool_call_id == "call_1"
    assert Run(run_id, None, "tool", "weather", (), FrozenDict(), events[:1], ()).tool_call_id is None
