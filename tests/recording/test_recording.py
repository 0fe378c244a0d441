"""Recordings without LangChain: events fed by hand, the runs built from them, and which run belongs where.

What callbacks become is in test_tap.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from freezegun import freeze_time

from llmtest import Recording, ScriptedChatModel, ViolationError, expect_violation, hold, record
from llmtest.capture import blocks
from llmtest.capture.membership import anything_open, begin, membership
from llmtest.concurrency.lanes import Lane
from llmtest.events import Event, Failure, FrozenDict, FrozenList, Generation, Message, Run, Usage
from llmtest.matching import called
from llmtest.recording.views import Runs
from llmtest.trees import rendering

pytestmark = pytest.mark.usefixtures("outside")


def start(kind: str, name: str, parent: UUID | None = None, *, tags: tuple[str, ...] = (), **payload: Any) -> UUID:
    """A run starts, as a source of callbacks tells it."""
    run_id = uuid4()
    member = begin(run_id, parent)
    if member is not None:
        words = FrozenDict(metadata=FrozenDict(of=name), payload=FrozenDict(payload))
        member.deliver((f"on_{kind}_start", run_id, parent, (name, tags, lambda: words), 1, 2, None))
    return run_id


def tell(kind: str, run_id: UUID, payload: Any = None, lane: Lane | None = None) -> None:
    """A later event of a run."""
    member = membership(run_id)
    if member is not None:
        take = payload if isinstance(payload, str) else lambda: FrozenDict(payload or {})
        member.deliver((f"on_{kind}", run_id, None, take, 3, 4, lane))


def names(recording: Recording) -> list[str]:
    return [event.name for event in recording]


# -- a sequence of events


def test_a_recording_is_a_sequence_of_its_events() -> None:
    with record() as caught:
        agent = start("chain", "agent", tags=("a",), inputs="Hi")
        model = start("chat_model", "model", agent)
        tell("llm_new_token", model, "Hel")
        tell("llm_end", model, {"generations": FrozenList()})
        tell("chain_end", agent, {"outputs": "Hello"})

    about_agent = ("agent", ("a",), FrozenDict(of="agent"))
    about_model = ("model", (), FrozenDict(of="model"))
    events = [
        Event("on_chain_start", agent, None, *about_agent, FrozenDict(inputs="Hi"), 0, 1, 2),
        Event("on_chat_model_start", model, agent, *about_model, FrozenDict(), 1, 1, 2),
        Event("on_llm_new_token", model, None, *about_model, FrozenDict(token="Hel"), 2, 3, 4),
        Event("on_llm_end", model, None, *about_model, FrozenDict(generations=[]), 3, 3, 4),
        Event("on_chain_end", agent, None, *about_agent, FrozenDict(outputs="Hello"), 4, 3, 4),
    ]
    assert list(caught) == events
    assert (len(caught), caught[0], caught[-1], caught[1:3]) == (5, events[0], events[-1], events[1:3])
    assert caught.kinds == [event.kind for event in events]
    assert events[2] in caught


def test_an_empty_recording_is_truthy() -> None:
    with record() as caught:
        pass

    assert caught
    assert (len(caught), caught.kinds, caught.runs, caught.roots, caught.usage) == (0, [], [], (), Usage())
    assert repr(caught) == "<Recording: 0 events, 0 runs>"


def test_a_recording_is_read_while_it_is_open() -> None:
    with record() as caught:
        model = start("chat_model", "model")
        seen_first, runs_first = list(caught), caught.runs
        shown = repr(caught)
        tell("llm_end", model)

    assert shown == "<Recording: 1 events, 1 runs, open>"
    assert ([event.kind for event in seen_first], caught.kinds) == (
        ["on_chat_model_start"],
        ["on_chat_model_start", "on_llm_end"],
    )
    assert (runs_first[0].ended, caught.runs[0].ended) == ("open", "ended")
    assert repr(caught) == "<Recording: 2 events, 1 runs>"


def test_a_payload_is_made_once_and_only_when_it_is_looked_at() -> None:
    made: list[str] = []

    def make() -> FrozenDict:
        made.append("made")
        return FrozenDict(outputs=1)

    with record() as caught:
        agent = start("chain", "agent")
        member = membership(agent)
        assert member is not None
        member.deliver(("on_chain_end", agent, None, make, 0, 0, None))

    assert (caught.kinds, made) == (["on_chain_start", "on_chain_end"], [])
    assert (caught[1].payload, caught.runs[0].output, caught[1].payload) == ({"outputs": 1}, 1, {"outputs": 1})
    assert made == ["made"]


def test_the_text_of_a_recording_is_its_tree() -> None:
    with record() as caught:
        tell("tool_end", start("tool", "search"))

    assert str(caught) == rendering.render(caught)
    assert "search" in str(caught)


# -- runs


def test_runs_stand_under_their_parents_in_the_order_in_which_they_started() -> None:
    with record() as caught:
        agent = start("chain", "agent")
        first = start("tool", "first", agent)
        second = start("tool", "second", agent)
        inner = start("retriever", "inner", second)
        for run_id in (second, inner, first, agent):
            tell("tool_end", run_id)
        start("chain", "another")

    assert caught.runs == ["agent", "first", "second", "inner", "another"]
    assert [run.name for run in caught.roots] == ["agent", "another"]
    assert [run.name for run in caught.roots[0].children] == ["first", "second"]
    assert [run.name for run in caught.roots[0].walk()] == ["agent", "first", "second", "inner"]
    assert (caught.tools, caught.retrievers, caught.models) == (["first", "second"], ["inner"], [])
    assert caught.open_runs == ["another"]
    assert caught.runs[0].children[1] is caught.runs[2]


def test_a_run_has_all_its_events_and_what_its_start_said() -> None:
    with record() as caught:
        agent = start("chain", "agent", tags=("a",))
        tell("text", agent)
        tell("chain_end", agent)

    (run,) = caught.runs
    assert (run.id, run.parent_id, run.kind, run.name, run.tags, run.metadata) == (
        agent,
        None,
        "chain",
        "agent",
        ("a",),
        {"of": "agent"},
    )
    assert run.events == tuple(caught)


def test_a_run_whose_parent_is_not_in_the_recording_is_a_root() -> None:
    outside = start("chain", "outside")

    with record() as caught:
        start("tool", "inside", outside)

    assert caught.runs == ["inside"]
    assert (caught.roots[0].name, caught.roots[0].parent_id) == ("inside", outside)


def test_a_second_start_of_one_id_is_a_second_run() -> None:
    with record() as caught:
        agent = start("chain", "agent")
        member = membership(agent)
        assert member is not None
        again = FrozenDict(metadata=FrozenDict(), payload=FrozenDict())
        member.deliver(("on_chain_start", agent, None, ("agent", (), lambda: again), 0, 0, None))

    assert caught.runs.names == ["agent", "agent"]
    assert [len(run.events) for run in caught.runs] == [1, 1]


def test_an_event_without_a_start_belongs_to_no_run() -> None:
    with record() as caught:
        begin(stray := uuid4(), None)
        tell("chain_end", stray)

    assert (caught.kinds, names(caught), caught.runs) == (["on_chain_end"], [""], [])


def test_five_thousand_nested_runs_are_built() -> None:
    with record() as caught:
        parent = None
        for number in range(5_000):
            parent = start("chain", str(number), parent)

    assert len(list(caught.roots[0].walk())) == 5_000


def test_usage_is_that_of_all_models_and_errors_are_those_of_all_runs() -> None:
    answer = Generation("a", Message("ai", "a", usage=Usage(7, 2, 9)))
    counts = FrozenDict(token_usage=FrozenDict(prompt_tokens=1, completion_tokens=1))
    failure = Failure("ValueError", "no")
    with record() as caught:
        agent = start("chain", "agent")
        tell("llm_end", start("chat_model", "chat", agent), {"generations": FrozenList([answer])})
        tell("llm_end", start("llm", "text", agent), {"llm_output": counts})
        tell("llm_error", start("chat_model", "broken", agent), {"error": failure})
        tell("tool_error", start("tool", "asks", agent), {"error": Failure("GraphInterrupt", "", "paused")})
        tell("chain_error", agent, {"error": failure})

    assert caught.usage == Usage(8, 3, 11)
    assert caught.models == ["chat", "text", "broken"]
    assert caught.errors == [failure, failure]


# -- Runs


def three_runs() -> Runs:
    with record() as caught:
        for name in ("search", "book", "search"):
            start("tool", name)
    return caught.tools


def test_runs_equal_a_list_of_their_names_or_of_themselves() -> None:
    runs = three_runs()

    assert runs == ["search", "book", "search"]
    assert runs == ("search", runs[1], "search")
    assert runs == list(runs)
    assert runs == Runs(runs)
    assert runs[1:] == ["book", "search"]
    assert Runs([]) == []


def test_runs_differ_by_order_by_length_and_by_identity() -> None:
    runs = three_runs()

    assert runs != ["book", "search", "search"]
    assert runs != ["search", "book"]
    assert runs != ["search", "book", "search", "search"]
    assert runs != list(three_runs())
    assert runs != three_runs()
    assert runs != "search"
    assert (runs == {"search", "book"}) is False


def test_runs_are_a_sequence_that_shows_names() -> None:
    runs = three_runs()

    assert (len(runs), runs.names, repr(runs)) == (3, ["search", "book", "search"], "['search', 'book', 'search']")
    assert (type(runs[0]), type(runs[:1]), runs.index(runs[1])) == (Run, Runs, 1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(runs)


def test_a_run_is_found_by_its_name() -> None:
    with record() as caught:
        first = start("tool", "search")
        start("tool", "search")

    assert caught.run("search").id == first


def test_a_name_that_no_run_has_is_told_with_the_nearest() -> None:
    with record() as caught:
        for name in ("search_web", "book", "search_web", "search_news"):
            start("tool", name)

    with pytest.raises(LookupError) as near:
        caught.run("serch_web")
    with pytest.raises(LookupError) as far:
        caught.run("zzz")

    assert str(near.value) == "no run called 'serch_web' in this recording; did you mean `search_web`?"
    assert str(far.value) == "no run called 'zzz' in this recording; it has `search_web`, `book`, `search_news`"


def test_what_is_no_name_is_refused_with_what_to_do_for_a_selector() -> None:
    with record() as caught:
        start("tool", "book")

    with pytest.raises(TypeError) as told:
        caught.run(called("book"))  # type: ignore[arg-type]

    assert str(told.value) == (
        "run() takes the name of a run; got Selector called('book'); what a selector means is"
        " [run for run in recording.runs if selector == run]"
    )


def test_a_name_in_an_empty_recording_is_told_that_it_is_empty() -> None:
    with record() as caught:
        pass

    with pytest.raises(LookupError) as told:
        caught.run("search")

    assert str(told.value) == "no run called 'search' in this recording; nothing was recorded"


# -- which run belongs to which recording


def test_both_of_two_nested_blocks_see_the_inner_run() -> None:
    with record() as outer:
        before = start("tool", "before")
        with record() as inner:
            start("tool", "inside")
            tell("tool_end", before)
        start("tool", "after")

    assert outer.runs == ["before", "inside", "after"]
    assert inner.runs == ["inside"]
    assert names(inner) == ["inside"]


def test_a_run_belongs_to_its_parents_recordings_in_a_context_without_any() -> None:
    empty = copy_context()
    with record() as caught:
        agent = start("chain", "agent")
        empty.run(start, "tool", "child", agent)
        empty.run(start, "tool", "stranger")

    assert caught.runs == ["agent", "child"]


def test_a_run_belongs_to_its_parents_recordings_and_to_the_open_ones() -> None:
    empty = copy_context()

    def elsewhere(parent: UUID) -> Recording:
        with record() as own:
            start("tool", "child", parent)
            start("tool", "alone")
        return own

    with record() as outer:
        agent = start("chain", "agent")
        inner = empty.run(elsewhere, agent)

    assert outer.runs == ["agent", "child"]
    assert inner.runs == ["child", "alone"]


def test_a_run_that_started_before_the_block_is_not_in_it_and_its_children_are() -> None:
    with record() as outer:
        agent = start("chain", "agent")
        with record() as inner:
            child = start("tool", "child", agent)
            tell("tool_end", child)
            tell("chain_end", agent)

    assert outer.kinds == ["on_chain_start", "on_tool_start", "on_tool_end", "on_chain_end"]
    assert inner.kinds == ["on_tool_start", "on_tool_end"]


def test_what_goes_on_after_the_block_is_late() -> None:
    with record() as caught:
        agent = start("chain", "agent")
    child = start("tool", "late", agent)
    tell("tool_end", child)
    tell("chain_end", agent)
    start("chain", "another")

    assert (caught.kinds, len(caught), caught.runs) == (["on_chain_start"], 1, ["agent"])
    assert [(event.kind, event.name, event.number) for event in caught.late_events] == [
        ("on_tool_start", "late", 1),
        ("on_tool_end", "late", 2),
        ("on_chain_end", "agent", 3),
    ]
    assert caught.open_runs == ["agent"]
    with pytest.raises(IndexError):
        caught[1]


def test_closing_twice_keeps_the_first_end() -> None:
    caught = Recording()
    with blocks.inside(caught):
        start("tool", "first")
        caught.close()
        caught.close()

    assert (caught.closed, len(caught)) == (True, 1)


def test_a_closed_recording_takes_no_new_runs_of_its_own() -> None:
    with record() as outer:
        closed = Recording()
        with blocks.inside(closed):
            closed.close()
            still_open = anything_open()
            start("tool", "search")

    assert still_open
    assert (closed.runs, closed.late_events, outer.runs) == ([], [], ["search"])


def test_blocks_may_be_left_in_any_order() -> None:
    first, second = record(), record()
    outer, inner = first.__enter__(), second.__enter__()

    first.__exit__(None, None, None)
    start("tool", "search")
    second.__exit__(None, None, None)
    start("tool", "after")

    assert (outer.runs, inner.runs) == ([], ["search"])
    assert not anything_open()


def test_a_block_left_by_an_exception_keeps_what_it_caught() -> None:
    with pytest.raises(KeyError), record() as caught:
        start("tool", "search")
        raise KeyError

    assert (caught.runs, caught.closed, anything_open()) == (["search"], True, False)


async def enter_async() -> Recording:
    async with record() as caught:
        start("tool", "search")
    return caught


def test_a_block_may_be_async() -> None:
    coroutine = enter_async()

    with pytest.raises(StopIteration) as done:
        coroutine.send(None)

    assert done.value.value.runs == ["search"]
    assert done.value.value.closed


def test_a_block_is_entered_once() -> None:
    block = record()
    with block:
        pass

    with pytest.raises(RuntimeError) as caught, block:
        pass

    assert str(caught.value) == "this record() block was already entered; write record() anew for each block"


def test_a_recording_may_be_entered_many_times_and_stays_open() -> None:
    caught = Recording()
    for name in ("first", "second"):
        with blocks.inside(caught):
            start("tool", name)
        start("tool", "between")

    assert (caught.runs, caught.closed) == (["first", "second"], False)


def test_without_a_block_nobody_listens() -> None:
    run_id = start("tool", "search")

    assert membership(run_id) is None
    assert begin(uuid4(), run_id) is None
    assert not anything_open()


# -- threads and memory


def test_threads_lose_no_event_and_keep_their_order() -> None:
    threads, each = 8, 2_000
    barrier = threading.Barrier(threads)

    def work(run_id: UUID) -> None:
        barrier.wait()
        for number in range(each):
            tell("text", run_id, {"text": number})

    with record() as outer, record() as inner:
        runs = [start("chain", str(number)) for number in range(threads)]
        workers = [threading.Thread(target=work, args=(run_id,)) for run_id in runs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    for caught in (outer, inner):
        assert len(caught) == threads * (each + 1)
        assert [[event.payload["text"] for event in run.events[1:]] for run in caught.runs] == [list(range(each))] * threads


def test_threads_may_read_one_recording_at_once() -> None:
    with record() as caught:
        agent = start("chain", "agent")
        for _ in range(2_000):
            tell("text", agent)
    barrier = threading.Barrier(8)
    seen: list[list[int]] = []

    def read() -> None:
        barrier.wait()
        seen.append([event.number for event in caught])

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert seen == [list(range(2_001))] * 8


def test_a_run_outlives_one_of_its_recordings() -> None:
    with record() as outer:
        with record() as inner:
            agent = start("chain", "agent")
        del inner
        tell("chain_end", agent)

    assert outer.kinds == ["on_chain_start", "on_chain_end"]


def test_a_child_of_a_run_whose_recording_is_gone_belongs_to_those_that_are_left() -> None:
    with record() as outer:
        with record() as inner:
            agent = start("chain", "agent")
        del inner
        start("tool", "child", agent)

    assert outer.runs == ["agent", "child"]


def test_nothing_stays_behind_when_the_recordings_are_gone() -> None:
    with record() as outer:
        with record() as inner:
            agent = start("chain", "agent")
            child = start("tool", "child", agent)
        late = start("tool", "late", agent)
        alone = start("tool", "alone")
    kept = [membership(run_id) is not None for run_id in (agent, child, late, alone)]

    del inner
    del outer

    assert kept == [True] * 4
    assert [run_id for run_id in (agent, child, late, alone) if run_id in blocks.memberships] == []


# -- work that goes on


def ended(recording: Recording) -> list[str]:
    return [run.ended for run in recording.runs]


def test_settle_waits_for_a_run_in_another_thread_and_takes_what_came_late() -> None:
    go = threading.Event()
    with record() as recording:
        run = start("chain", "background")
    thread = threading.Thread(target=lambda: (go.wait(), tell("chain_end", run)))
    thread.start()
    before = (ended(recording), len(recording))

    threading.Timer(0, go.set).start()
    left = recording.settle(timeout_s=60)
    thread.join()

    assert before == (["open"], 1)
    assert (ended(recording), len(recording), recording.late_events, list(left)) == (["ended"], 2, [], [])


def test_settle_is_not_waiting_for_what_happens_within_a_run() -> None:
    with record() as recording:
        run = start("chain", "talks")
        tell("text", run)
        tell("chain_end", run)

    assert list(recording.settle(timeout_s=0)) == []


def test_settle_gives_up_in_time_and_says_what_is_still_open() -> None:
    with record() as recording:
        start("chain", "cancelled")
        tell("chain_end", start("chain", "done"))

    left = recording.settle(timeout_s=0.01)

    assert left == ["cancelled"]


def test_settle_before_the_end_of_the_block_changes_no_border() -> None:
    with record() as recording:
        tell("chain_end", start("chain", "first"))
        left = recording.settle()
        run = start("chain", "second")
    tell("chain_end", run)

    assert (list(left), len(recording), [e.kind for e in recording.late_events]) == ([], 3, ["on_chain_end"])


def test_what_comes_after_settle_is_late_again() -> None:
    with record() as recording:
        run = start("chain", "background")
    recording.settle(timeout_s=0)

    tell("chain_end", run)

    assert (len(recording), [event.kind for event in recording.late_events]) == (1, ["on_chain_end"])


async def _settled_by_another_task() -> tuple[Recording, Runs]:
    with record() as recording:
        run = start("chain", "background")

    async def finish() -> None:
        tell("chain_end", run)

    task = asyncio.create_task(finish())
    left = await recording.asettle(timeout_s=60)
    await task
    return recording, left


def test_asettle_lets_other_tasks_go_on() -> None:
    recording, left = asyncio.run(_settled_by_another_task())

    assert (ended(recording), list(left)) == (["ended"], [])


def test_settle_on_a_running_loop_is_an_error_at_once() -> None:
    async def wrong() -> None:
        Recording().settle()

    with pytest.raises(RuntimeError) as caught:
        asyncio.run(wrong())

    assert str(caught.value) == ("settle() would block the event loop that runs in this thread; use `await recording.asettle()`")


# -- stopped clocks


@pytest.mark.parametrize(
    "stop", [lambda: freeze_time("2020-01-01"), lambda: time_machine.travel(0, tick=False)], ids=["freezegun", "time-machine"]
)
def test_settle_and_gates_end_while_every_clock_stands_still(stop) -> None:
    gate = hold(timeout_s=0.05)
    with expect_violation("gate never released"), record() as recording, suppress(ViolationError):
        stream = ScriptedChatModel("a b").stream("hi")
        next(stream)
        with stop():
            still = recording.settle(timeout_s=0.02)
            later = asyncio.run(_settled(recording))
            ScriptedChatModel(gate, "c").invoke("hi")

    assert (len(still), len(later)) == (1, 1)


async def _settled(recording: Recording) -> Sequence[Run]:
    return await recording.asettle(timeout_s=0.02)
