"""Gates: a call waits where the test says, for as long as the test says, and never for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import permutations
from pathlib import Path
from threading import Thread
from typing import Any

import freezegun
import pytest
import time_machine
import trio
from langchain_core.messages import AIMessageChunk

from llmtest import (
    Script,
    ScriptedChatModel,
    ScriptedLLM,
    ScriptedRetriever,
    ViolationError,
    call,
    fail,
    hold,
    on,
    record,
    reply,
    respond,
    say,
    scripted_tool,
    structured,
    think,
)
from llmtest.errors import ScriptError, expect_violation
from llmtest.langchain.dialects import names
from llmtest.ledger import Ledger, Outside, opened
from llmtest.scripts import yaml_emit
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import KeyedSteps
from llmtest.scripts.step_types import add_gates

HERE = Path(__file__).relative_to(Path.cwd()) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__)


def line_of(text: str) -> int:
    """The number of the one line of this file that has `text` in it."""
    lines = [number for number, line in enumerate(Path(__file__).read_text("utf-8").splitlines(), 1) if text in line]
    assert len(lines) == 2, lines  # the other one asks
    return lines[0]


def in_thread(function: Callable[[], Any]) -> tuple[Thread, list[Any]]:
    result: list[Any] = []
    thread = Thread(target=lambda: result.append(function()))
    thread.start()
    return thread, result


def search(q: str) -> str:
    """Search the web."""
    raise NotImplementedError


# -- the proof: every order, and no other


ORDERS = sorted(permutations("abc"))


def _gated_model() -> tuple[dict[str, Gate], ScriptedChatModel]:
    gates = {name: hold() for name in "abc"}
    return gates, ScriptedChatModel(*(on(contains=name) >> Script(gates[name], f"{name}!") for name in "abc"))


def _in_tasks(order: tuple[str, ...]) -> list[str]:
    ended: list[str] = []

    async def main() -> None:
        gates, model = _gated_model()

        async def ask(name: str) -> None:
            ended.append(str((await model.ainvoke(name)).content))

        tasks = {name: asyncio.create_task(ask(name)) for name in "abc"}
        for gate in gates.values():
            await gate.reached()
        for name in order:
            gates[name].release()
            await tasks[name]

    asyncio.run(main())
    return ended


def _in_threads(order: tuple[str, ...]) -> list[str]:
    ended: list[str] = []
    gates, model = _gated_model()
    with ThreadPoolExecutor(3) as pool:
        futures = {name: pool.submit(lambda name=name: ended.append(model.invoke(name).content)) for name in "abc"}
        for gate in gates.values():
            gate.wait()
        for name in order:
            gates[name].release()
            futures[name].result()
    return ended


@pytest.mark.parametrize("run", [_in_tasks, _in_threads])
def test_a_hundred_forced_interleavings_of_three_calls_give_exactly_the_six_orders(
    run: Callable[[tuple[str, ...]], list[str]],
) -> None:
    forced = [tuple(random.Random(seed).sample("abc", 3)) for seed in range(100)]

    came = [tuple(text[0] for text in run(order)) for order in forced]

    assert came == forced
    assert sorted(set(came)) == ORDERS


def test_the_tokens_of_three_streams_come_in_the_order_in_which_their_gates_are_released() -> None:
    seen: list[str] = []

    async def main(order: list[str]) -> None:
        gates = {name: [hold(), hold()] for name in "abc"}
        steps = [on(contains=name) >> say(one, f"{name}1", two, f"{name}2") for name, (one, two) in gates.items()]
        model = ScriptedChatModel(*steps)

        async def stream(name: str) -> None:
            async for chunk in model.astream(name):
                seen.append(str(chunk.content))  # noqa: PERF401 each when it comes

        tasks = {name: asyncio.create_task(stream(name)) for name in "abc"}
        left = {name: list(of) for name, of in gates.items()}
        for name in order:
            gate = left[name].pop(0)
            await gate.reached()
            gate.release()
            await (left[name][0].reached() if left[name] else tasks[name])

    for seed in range(20):
        order = random.Random(seed).sample("aabbcc", 6)
        seen.clear()
        asyncio.run(main(order))
        assert [text[0] for text in seen] == order


# -- where a call waits


def _whole(model: Any) -> list[Any]:
    return [model.invoke("q")]


def _streamed(model: Any) -> list[Any]:
    return list(model.stream("q"))


async def _awhole(model: Any) -> list[Any]:
    return [await model.ainvoke("q")]


async def _astreamed(model: Any) -> list[Any]:
    return [chunk async for chunk in model.astream("q")]


def _texts(answers: list[Any]) -> list[Any]:
    return [text for text in (getattr(answer, "content", answer) for answer in answers) if text]


@pytest.mark.parametrize("kind", [ScriptedChatModel, ScriptedLLM])
@pytest.mark.parametrize(("ask", "texts"), [(_whole, ["It is sunny."]), (_streamed, ["It is ", "sunny."])])
@pytest.mark.parametrize("place", ["before", "first", "within", "last"])
def test_a_call_in_a_thread_waits_at_a_gate_and_then_answers(kind: Any, ask: Any, texts: list[str], place: str) -> None:
    gate = hold()
    steps = {
        "before": [gate, say("It is ", "sunny.")],
        "first": [say(gate, "It is ", "sunny.")],
        "within": [say("It is ", gate, "sunny.")],
        "last": [say("It is ", "sunny.", gate)],
    }
    model = kind(*steps[place])

    thread, answers = in_thread(lambda: ask(model))
    gate.wait()
    before = (gate.waiting, gate.released, thread.is_alive())
    gate.release()
    thread.join()

    assert before == (1, False, True)
    assert (gate.waiting, gate.released) == (0, True)
    assert _texts(answers[0]) == texts


async def _a_call_in_a_task_waits(kind: Any, ask: Any, texts: list[str], place: str) -> None:
    gate = hold()
    model = kind(gate, say("It is ", "sunny.")) if place == "before" else kind(say("It is ", gate, "sunny."))

    task = asyncio.create_task(ask(model))
    await gate.reached()
    before = (gate.waiting, task.done())
    gate.release()

    assert _texts(await task) == texts
    assert before == (1, False)


@pytest.mark.parametrize("kind", [ScriptedChatModel, ScriptedLLM])
@pytest.mark.parametrize(("ask", "texts"), [(_awhole, ["It is sunny."]), (_astreamed, ["It is ", "sunny."])])
@pytest.mark.parametrize("place", ["before", "within"])
def test_a_call_in_a_task_waits_at_a_gate_and_then_answers(kind: Any, ask: Any, texts: list[str], place: str) -> None:
    asyncio.run(_a_call_in_a_task_waits(kind, ask, texts, place))


def test_calls_of_a_batch_wait_at_one_gate_together_and_all_go_on() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, say("Yes.").times(3))

    thread, answers = in_thread(lambda: model.batch(["a", "b", "c"]))
    gate.wait(3)
    waiting = gate.waiting
    gate.release()
    thread.join()

    assert waiting == 3
    assert _texts(answers[0]) == ["Yes."] * 3


def test_calls_of_an_abatch_go_on_in_the_order_in_which_they_came() -> None:
    gate, ended = hold(), list[str]()
    model = ScriptedChatModel(*(on(contains=name) >> reply(gate, name) for name in "abc"))

    async def main() -> None:
        async def ask(name: str) -> None:
            ended.append(str((await model.ainvoke(name)).content))

        tasks = [asyncio.create_task(ask(name)) for name in "bca"]
        await gate.reached(3)
        gate.release()
        await asyncio.gather(*tasks)

    asyncio.run(main())

    assert ended == ["b", "c", "a"]


def test_an_abatch_waits_at_a_gate() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, say("Yes.").times(2))

    async def main() -> list[Any]:
        task = asyncio.create_task(model.abatch(["a", "b"]))
        await gate.reached(2)
        gate.release()
        return await task

    assert _texts(asyncio.run(main())) == ["Yes.", "Yes."]


def _double(kind: str, *steps: Any) -> tuple[Any, Any]:
    if kind == "tool":
        return scripted_tool(search, *steps), {"q": "x"}
    return ScriptedRetriever(*steps), "x"


@pytest.mark.parametrize("kind", ["tool", "retriever"])
@pytest.mark.parametrize("place", ["before", "within"])
def test_calls_of_tools_and_retrievers_wait_too(kind: str, place: str) -> None:
    gate = hold()
    steps = (gate, "Paris") if place == "before" else (say("Pa", gate, "ris"),)
    double, asked = _double(kind, *steps, *steps)

    async def main() -> Any:
        task = asyncio.create_task(double.ainvoke(asked))
        await gate.reached(2)
        gate.release()
        return await task

    thread, answers = in_thread(lambda: double.invoke(asked))
    gate.wait()
    second = asyncio.run(main())
    thread.join()

    found = [answers[0], second]
    assert (found if kind == "tool" else [documents[0].page_content for documents in found]) == ["Paris", "Paris"]


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (fail(ValueError("no")), ValueError),
        (say("a", "b").then_fail(ValueError("no")), ValueError),
        (respond(lambda request: request.text.upper()), "HI"),
        (structured({"a": 1}), '{"a": 1}'),
    ],
)
def test_every_kind_of_step_waits_behind_its_gate(step: Any, outcome: Any) -> None:
    gate = hold()
    model = ScriptedChatModel(gate, step)

    async def main() -> Any:
        task = asyncio.create_task(model.ainvoke("hi"))
        await gate.reached()
        assert not task.done()
        gate.release()
        return (await task).content

    if isinstance(outcome, str):
        assert asyncio.run(main()) == outcome
    else:
        with pytest.raises(outcome):
            asyncio.run(main())


def test_the_function_of_a_step_is_asked_when_its_gate_is_open() -> None:
    gate, asked = hold(), list[str]()
    model = ScriptedChatModel(gate, respond(lambda request: asked.append(request.text) or "Yes."))  # type: ignore[func-returns-value]

    thread, _ = in_thread(lambda: model.invoke("hi"))
    gate.wait()
    before = list(asked)
    gate.release()
    thread.join()

    assert (before, asked) == ([], ["hi"])


def test_a_function_may_answer_with_a_gate_within() -> None:
    gate = hold()
    model = ScriptedChatModel(respond(lambda request: reply("It is ", gate, "sunny.")))

    thread, answers = in_thread(lambda: list(model.stream("hi")))
    gate.wait()
    gate.release()
    thread.join()

    assert _texts(answers[0]) == ["It", " is", " ", "sunny", "."]


def test_gates_are_passed_one_after_the_other() -> None:
    first, second = hold(), hold()
    model = ScriptedChatModel(first, second, "Yes.")

    thread, _ = in_thread(lambda: model.invoke("hi"))
    first.wait()
    first.release()
    second.wait()
    was_alive = thread.is_alive()
    second.release()
    thread.join()

    assert was_alive


def test_a_gate_is_no_step_so_the_next_call_takes_what_comes_after_its_answer() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, "first", "second")

    thread, answers = in_thread(lambda: model.invoke("hi").content)
    gate.wait()
    second = model.invoke("hi").content
    gate.release()
    thread.join()

    assert (answers, second) == (["first"], "second")
    assert str(model.script) == "<Script: 2 calls, 0 of 2 steps left>"


def test_a_gate_that_is_open_already_holds_nobody() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, "a", say("b", gate, "c"), "d", gate, "e")
    gate.release()

    async def main() -> list[Any]:
        answers = [model.invoke("in a running loop").content, await model.ainvoke("q"), *model.invoke("q").content]
        return [*answers, *_texts([chunk async for chunk in model.astream("q")])]

    assert _texts(asyncio.run(main())) == ["a", "bc", "d", "e"]
    gate.wait(3)


# -- a gate changes nothing else


ANSWERS: dict[str, Callable[..., Any]] = {
    "text": lambda *gates: say("It is ", *gates, "sunny."),
    "one string": lambda *gates: reply("It is sunny.", *gates),
    "tokens": lambda *gates: say(tokens=["It is ", *gates, "sunny."]),
    "chunk": lambda *gates: say(*gates, "sunny", chunk=2),
    "thinking": lambda *gates: reply(think("hm", *gates, "so"), say("Paris", *gates, ".")),
    "tokens of thinking": lambda *gates: think(tokens=["hm", *gates, "so"]),
    "calls": lambda *gates: reply("Let me look", *gates, call("a", x=1), *gates, call("b", y=2)),
    "a broken call": lambda *gates: reply(*gates, call("a").malformed("{", "x")),
    "refusal": lambda *gates: say("I ", *gates, "cannot", refusal=True),
    "structured": lambda *gates: reply(*gates, structured({"a": [1, 2]}), "done"),
    "failure": lambda *gates: say("a", *gates, "b").then_fail(ConnectionError),
    "truncated": lambda *gates: say("a", *gates, "b").then_truncate(),
    "nothing": lambda *gates: say(*gates),
    "at the end": lambda *gates: say("a", "b", *gates),
    "after a call": lambda *gates: reply(call("a", x=1), *gates),
    "failure at the end": lambda *gates: say("a", *gates).then_fail(ConnectionError),
}
TOOLS = [{"name": name, "parameters": {"properties": {key: {"type": "integer"}}}} for name, key in (("a", "x"), ("b", "y"))]


def _said(step: Any, dialect: str) -> tuple[list[Any], Any]:
    """What a step says as a stream and as a whole, on pages of their own, so that the ids are the same."""
    chunks: list[Any] = []
    whole: Any = None
    try:
        with opened(Ledger()):
            for chunk in ScriptedChatModel(step, dialect=dialect).stream("q", tools=TOOLS):
                chunks.append(chunk)  # noqa: PERF402 what came before a failure counts
    except ConnectionError:
        chunks.append("failed")
    try:
        with opened(Ledger()):
            whole = ScriptedChatModel(step, dialect=dialect).invoke("q", tools=TOOLS)
    except ConnectionError:
        whole = "failed"
    return chunks, whole


def _without_ids(chunks: list[Any]) -> list[Any]:
    """The chunks; the last of a stream is LangChain's own, and has the id of the run."""
    plain = [chunk if isinstance(chunk, str) else chunk.model_dump() for chunk in chunks]
    return [{**p, "id": None} if isinstance(p, dict) and str(p["id"]).startswith("lc_run") else p for p in plain]


@pytest.mark.parametrize("dialect", names.NAMES)
@pytest.mark.parametrize("name", [name for name in ANSWERS if "end" not in name and name != "one string"])
def test_an_answer_with_gates_is_the_answer_without(name: str, dialect: str) -> None:
    gate = hold()
    gate.release()

    with_gate, without = _said(ANSWERS[name](gate), dialect), _said(ANSWERS[name](), dialect)

    assert _without_ids(with_gate[0]) == _without_ids(without[0])
    assert _without_ids([with_gate[1]]) == _without_ids([without[1]])


@pytest.mark.parametrize("dialect", names.NAMES)
@pytest.mark.parametrize("name", [name for name in ANSWERS if "end" in name or name == "one string"])
def test_a_gate_after_all_the_rest_adds_a_chunk_for_the_end(name: str, dialect: str) -> None:
    gate = hold()
    gate.release()

    with_gate, without = _said(ANSWERS[name](gate), dialect), _said(ANSWERS[name](), dialect)

    joined = [sum(chunks[1:], start=chunks[0]) if "failed" not in chunks else "failed" for chunks in (with_gate[0], without[0])]
    assert len(with_gate[0]) - len(without[0]) == 1 or dialect != "plain"  # dialects may have such a chunk anyway
    assert _without_ids(joined[:1]) == _without_ids(joined[1:])
    assert _without_ids([with_gate[1]]) == _without_ids([without[1]])


IN_BLOCKS = [[{"text": token, "type": "text", "index": 0}] for token in ("Let", " me")]


@pytest.mark.parametrize(
    ("dialect", "seen"),
    [("plain", ["Let", " me"]), ("openai", ["", "Let", " me"]), ("anthropic", ["[]", *map(str, IN_BLOCKS)])],
)
def test_nothing_of_what_comes_after_a_gate_is_seen_before_it_opens(dialect: str, seen: list[str]) -> None:
    gate, came = hold(), list[AIMessageChunk]()
    model = ScriptedChatModel(reply("Let me", gate, call("a", x=1)), dialect=dialect)

    def run() -> None:
        for chunk in model.stream("q", tools=TOOLS):
            came.append(chunk)  # type: ignore[arg-type]

    thread, _ = in_thread(run)
    gate.wait()
    before = [str(chunk.content) for chunk in came]
    gate.release()
    thread.join()

    assert before == seen
    assert sum(came[1:], start=came[0]).tool_calls[0]["args"] == {"x": 1}


def test_a_recording_has_what_came_before_the_gate_and_then_the_rest() -> None:
    gate = hold()
    model = ScriptedChatModel(say("It is ", gate, "sunny."))

    async def main() -> tuple[list[str], list[str]]:
        with record() as recording:
            task = asyncio.create_task(_astreamed(model))
            await gate.reached()
            before = list(recording.kinds)
            gate.release()
            await task
        return before, list(recording.kinds)

    started = ["on_chat_model_start", "on_llm_new_token"]
    assert asyncio.run(main()) == (started, [*started, "on_llm_new_token", "on_llm_end"])


# -- threads and event loops


def test_an_event_loop_goes_on_while_a_call_on_it_waits() -> None:
    gate, turns = hold(), 0
    model = ScriptedChatModel(gate, "Yes.")

    async def main() -> None:
        nonlocal turns
        task = asyncio.create_task(model.ainvoke("hi"))
        await gate.reached()
        for _ in range(100):
            await asyncio.sleep(0)
            turns += not task.done()
        gate.release()
        await task

    asyncio.run(main())

    assert turns == 100


def test_a_call_in_a_task_of_trio_waits_and_its_loop_goes_on() -> None:
    gate, seen = hold(), []

    async def ask() -> None:
        await gate.ahold(lambda: "the call")
        seen.append("on")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await gate.reached()
            await trio.sleep(0)
            seen.append("reached")
            gate.release()

    trio.run(main)

    assert seen == ["reached", "on"]
    assert gate.found() == []


def test_a_gate_is_released_from_a_thread_beside_trio() -> None:
    gate = hold()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.ahold, lambda: "the call")
            await trio.to_thread.run_sync(gate.wait)
            await trio.to_thread.run_sync(gate.release)

    trio.run(main)

    assert gate.found() == []


def test_a_gate_that_nobody_releases_fails_a_call_in_trio() -> None:
    gate = hold(timeout_s=0.01)

    with expect_violation("gate never released"):
        trio.run(gate.ahold, lambda: "the call")


def test_a_call_in_trio_that_is_cancelled_leaves_its_gate() -> None:
    gate = hold()

    async def main() -> None:
        with trio.move_on_after(0.01):
            await gate.ahold(lambda: "the call")

    trio.run(main)
    assert gate.waiting == 0
    gate.release()


@pytest.mark.parametrize("act", [lambda gate: gate.hold(lambda: "the call"), lambda gate: gate.wait()], ids=["hold", "wait"])
def test_a_wait_that_would_block_trio_is_told(act: Any) -> None:
    gate = hold()

    async def main() -> None:
        act(gate)

    with pytest.raises(ScriptError, match="event loop"):
        trio.run(main)


def test_a_gate_may_be_released_from_another_thread() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, "Yes.")

    def release() -> None:
        gate.wait()
        gate.release()

    thread = Thread(target=release)
    thread.start()
    answer = asyncio.run(model.ainvoke("hi"))
    thread.join()

    assert answer.content == "Yes."


def test_a_gate_holds_a_thread_and_a_task_at_once() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, say("Yes.").times(2))

    async def main() -> list[Any]:
        calls = [asyncio.create_task(model.ainvoke("a")), asyncio.create_task(asyncio.to_thread(model.invoke, "b"))]
        await gate.reached(2)
        waiting = gate.waiting
        gate.release()
        return [waiting, *_texts(await asyncio.gather(*calls))]

    assert asyncio.run(main()) == [2, "Yes.", "Yes."]


def test_a_call_without_await_in_a_running_loop_is_told_instead_of_a_deadlock() -> None:
    gate = hold()  # a deadlock
    model = ScriptedChatModel(gate, "Yes.")

    async def main() -> None:
        model.invoke("hi")

    with expect_violation("script error"), pytest.raises(ScriptError) as caught:
        asyncio.run(main())

    assert str(caught.value) == (
        "a call came to a gate without await in a running event loop, which would stand still with it\n"
        f"  hold() at {HERE}:{line_of('# a deadlock')}\n"
        "  use ainvoke or astream, or a thread: await asyncio.to_thread(model.invoke, ...)"
    )
    assert gate.waiting == 0


def test_to_wait_without_await_in_a_running_loop_is_told_instead_of_a_deadlock() -> None:
    gate = hold()  # waited for

    async def main() -> None:
        gate.wait()

    with pytest.raises(ScriptError) as caught:
        asyncio.run(main())

    assert str(caught.value) == (
        "gate.wait() blocks the event loop, so that no call on it can reach the gate\n"
        f"  hold() at {HERE}:{line_of('# waited for')}\n"
        "  in async code: await gate.reached()"
    )


def test_a_cancelled_call_leaves_its_gate() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, "late")

    async def main() -> None:
        task = asyncio.create_task(model.ainvoke("hi"))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.waiting == 0
        gate.release()

    asyncio.run(main())

    model.verify()


def test_a_program_may_give_up_a_stream_that_waits() -> None:
    gate, seen = hold(), list[str]()
    model = ScriptedChatModel(say("It is ", gate, "sunny."))

    async def read() -> None:
        async for chunk in model.astream("weather?"):
            seen.append(str(chunk.content))

    async def main() -> list[str]:
        with record() as recording:
            task = asyncio.create_task(read())
            await gate.reached()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.release()
        return list(recording.kinds)

    kinds = asyncio.run(main())

    assert (seen, kinds[-1]) == (["It is "], "on_llm_error")


def test_a_stream_that_is_closed_before_its_gate_never_reaches_it() -> None:
    gate = hold()
    model = ScriptedChatModel(say("It is ", gate, "sunny."), say("It is ", gate, "sunny."))

    async def main() -> None:
        stream: Any = model.astream("weather?")
        await anext(stream)
        await stream.aclose()

    streamed: Any = model.stream("weather?")
    next(streamed)
    streamed.close()
    asyncio.run(main())

    assert repr(gate).endswith(": 0 calls waiting>")
    model.verify()


# -- what goes wrong


def test_a_gate_that_nobody_releases_fails_the_calls_that_wait_and_opens() -> None:
    gate = hold(timeout_s=0.3)  # never released
    model = ScriptedChatModel(*(on(contains=name) >> reply(gate, name) for name in "abc"))

    async def main() -> list[Any]:
        return await asyncio.gather(model.ainvoke("a"), model.ainvoke("b"), return_exceptions=True)

    with expect_violation("gate never released") as caught:
        errors = asyncio.run(main())

    assert [str(error) for error in errors] == [caught[0].text] * 2
    assert [violation.text for violation in caught] == [
        "the gate was not released for 0.3 s, so it opened by itself, and calls waited at it\n"
        f"  hold() at {HERE}:{line_of('# never released')}\n"
        "  waits  model call  human 'a'\n"
        "  waits  model call  human 'b'\n"
        "  call gate.release() when the test has seen what it wanted, also if the call was cancelled"
    ]
    assert repr(gate) == f"<gate at {gate_place(gate)}: open>"
    assert model.invoke("c").content == "c"


def gate_place(gate: Gate) -> str:
    return f"{HERE}:{gate.where.rpartition(':')[2]}"


def test_a_gate_that_nobody_releases_ends_a_call_that_blocks_the_test() -> None:
    gate = hold(timeout_s=0.01)
    tool = scripted_tool(search, gate, "18C")

    with expect_violation("gate never released") as caught:
        tool.invoke({"q": "weather"})

    assert '\n  waits  `search` call  input \'{"q": "weather"}\'\n' in caught[0].text


FROZEN = {
    "freezegun": lambda: freezegun.freeze_time("2026-01-01"),
    "time-machine": lambda: time_machine.travel(0, tick=False),
}


@pytest.mark.parametrize("frozen", FROZEN.values(), ids=FROZEN)
def test_a_gate_opens_by_itself_where_clocks_are_frozen(frozen: Any) -> None:
    one, other = hold(timeout_s=0.01), hold(timeout_s=0.01)
    model = ScriptedChatModel(one, "a", other, "b")

    with expect_violation("gate never released", times=2) as caught, frozen():
        with pytest.raises(ViolationError):
            model.invoke("hi")
        asyncio.run(model.ainvoke("hi"))

    assert len(caught) == 2


def test_a_gate_that_no_call_reaches_is_told() -> None:
    gate = hold()  # never reached

    with expect_violation("gate never reached") as caught:
        gate.wait(timeout_s=0.01)

    assert caught[0].text == (
        "no call has reached the gate in 0.01 s\n"
        f"  hold() at {HERE}:{line_of('# never reached')}\n"
        "  start the calls before you wait for them, in tasks or threads of their own"
    )


def test_a_gate_that_too_few_calls_reach_is_told() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, "Yes.")

    async def main() -> None:
        task = asyncio.create_task(model.ainvoke("hi"))
        await gate.reached()
        with expect_violation("gate never reached") as caught:
            await gate.reached(2, timeout_s=0.01)
        assert caught[0].text.splitlines()[0] == "1 of 2 calls have reached the gate in 0.01 s"
        gate.release()
        await task

    asyncio.run(main())


def test_verify_tells_of_a_gate_that_is_not_released_yet_and_of_one_that_opened_by_itself() -> None:
    gate = hold(timeout_s=0.01)
    model = ScriptedChatModel(gate, "a")

    with opened(Outside()):
        with pytest.raises(ViolationError):
            model.invoke("hi")
        with pytest.raises(ViolationError, match=r"was not released for 0\.01 s, so it opened by itself"):
            model.verify()

    gate = hold()  # not yet
    model = ScriptedChatModel(say("a", gate, "b"))

    async def main() -> str:
        task = asyncio.create_task(model.ainvoke("hi"))
        await gate.reached()
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ViolationError) as caught:
            model.verify()
        gate.release()
        return str(caught.value)

    assert asyncio.run(main()) == (
        "the gate was not released so far, and calls waited at it\n"
        f"  hold() at {HERE}:{line_of('# not yet')}\n"
        "  cancelled  model call  human 'hi'\n"
        "  call gate.release() when the test has seen what it wanted, also if the call was cancelled"
    )
    model.verify()


def test_ten_calls_at_a_gate_are_told_one_by_one_and_more_are_counted() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, say("a").times(12))

    async def main() -> list[str]:
        tasks = [asyncio.create_task(model.ainvoke([])) for _ in range(12)]
        await gate.reached(12)
        with pytest.raises(ViolationError) as caught:
            model.verify()
        gate.release()
        await asyncio.gather(*tasks)
        return str(caught.value).splitlines()

    lines = asyncio.run(main())

    assert lines[2:-1] == ["  waits  model call  an empty prompt"] * 10 + ["  ... 2 more calls"]


def test_a_step_behind_a_gate_that_no_call_reaches_is_an_unused_step() -> None:
    gate = hold()

    with opened(Outside()), pytest.raises(ViolationError) as caught:
        ScriptedChatModel(gate, "a").verify()

    assert caught.value.violations[0].code == "unused step"
    assert "  step 1  say('a') after hold()  at " in str(caught.value)


# -- how it is written


GATE = Gate(1.0, "test_x.py:7")
"""One that no call comes to."""


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (say("It is ", GATE, "sunny."), "say('It is ', hold(), 'sunny.')"),
        (say("It is sunny.", GATE), "reply(say('It', ' is', ' sunny', '.'), hold())"),
        (think(GATE, "a", GATE, GATE, "b"), "think(hold(), 'a', hold(), hold(), 'b')"),
        (say("a", "b", "c", "d", GATE, "e", "f"), "say('a', 'b', 'c', 'd', hold(), 'e', ...)"),
        (reply(GATE, "a b", call("f", x=1)), "reply(say(hold(), 'a', ' b'), call('f', x=1))"),
        (reply("a", GATE, call("f"), GATE), "reply(say('a'), hold(), call('f'), hold())"),
        (reply("a", say(GATE, "b", "c", GATE), "d"), "reply(say('a'), say(hold(), 'b', 'c'), say(hold(), 'd'))"),
        (reply(GATE), "hold()"),
        (add_gates((GATE,), fail(429)), "fail(429) after hold()"),
        (add_gates((GATE,), say("a")).times(2), "say('a').times(2) after hold()"),
    ],
)
def test_a_step_says_where_its_gates_are(step: Any, text: str) -> None:
    assert str(step) == text


def test_the_same_gate_in_the_same_place_is_the_same_step() -> None:
    assert say("a", GATE) == reply(say("a"), GATE) != say("a")
    assert say("a", GATE) != say("a", hold())
    assert add_gates((GATE,), say("a")).gates == reply(GATE, "a").gates == (GATE,)


def test_a_gate_says_where_it_is_and_who_waits() -> None:
    gate = hold()
    model = ScriptedChatModel(gate, "a")
    at = gate_place(gate)

    reprs = [repr(gate)]
    thread, _ = in_thread(lambda: model.invoke("hi"))
    gate.wait()
    reprs.append(repr(gate))
    gate.release()
    thread.join()

    assert [*reprs, repr(gate)] == [f"<gate at {at}: {s}>" for s in ("0 calls waiting", "1 call waiting", "released")]


SECONDS = "timeout_s= is a number of seconds, more than 0; got {}"
CALLS = "calls= is a whole number of 1 or more; got {}"
BEHIND = (
    "{} is a gate, which holds the step after it, but no step comes after it; got it at {}\n"
    "  a gate and its step in one: reply(gate, 'text'); with a key: on(...) >> Script(gate, 'text')"
)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: hold(timeout_s=0), SECONDS.format("int 0")),
        (lambda: hold(timeout_s=True), SECONDS.format("bool True")),
        (lambda: hold(timeout_s=float("inf")), SECONDS.format("float inf")),
        (lambda: hold(timeout_s=None), SECONDS.format("NoneType None")),  # type: ignore[arg-type]
        (lambda: GATE.wait(timeout_s=-1), SECONDS.format("int -1")),
        (lambda: GATE.wait(0), CALLS.format("int 0")),
        (lambda: asyncio.run(GATE.reached(True)), CALLS.format("bool True")),
        (lambda: asyncio.run(GATE.reached(timeout_s=0)), SECONDS.format("int 0")),
        (lambda: Script("a", GATE), BEHIND.format("step 2 of the script", "PLACE")),
        (lambda: Script(on(node="a") >> GATE), BEHIND.format("what on(node='a') leads to", "PLACE")),
        (
            lambda: Script(GATE, on(node="a") >> "a"),
            "a gate stands before on(node='a'), whose steps it does not hold, at PLACE"
            "\n  behind the key it holds them: on(...) >> Script(gate, 'text')",
        ),
        (
            lambda: ScriptedChatModel(respond(lambda _: GATE)).invoke("q"),
            BEHIND.format("what respond(<lambda>) returned", "PLACE"),
        ),
        (
            lambda: yaml_emit.write([add_gates((GATE,), say("a"))]),
            "step 1 waits at a gate, which a file cannot name: say('a') after hold()",
        ),
        (
            lambda: yaml_emit.write([say("a"), KeyedSteps(on(node="x"), (reply("b", GATE),))]),
            "step 1 of step 2 waits at a gate, which a file cannot name: reply(say('b'), hold())",
        ),
    ],
    ids=range(14),
)
def test_a_mistake_is_told_where_it_is_written(act: Any, text: str) -> None:
    in_a_call = expect_violation("script error") if "returned" in text else nullcontext()
    with in_a_call, pytest.raises(ScriptError) as caught:
        act()

    line = act.__code__.co_firstlineno
    told = str(caught.value)
    assert told in {text.replace("PLACE", f"{HERE}:{line + n}") for n in range(3)}
