from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableLambda

from llmtest import ScriptedChatModel, record, say
from llmtest.capture.blocks import inside
from llmtest.langchain.watch import Watch


def watched(work: Any) -> Watch:
    watch = Watch()
    with inside(watch):
        work()
    watch.close()
    return watch


def test_a_watch_sees_what_a_recording_sees_and_freezes_only_what_is_asked_for() -> None:
    chain = RunnableLambda(str) | ScriptedChatModel(say(tokens=["a", "b"]))

    watch = watched(lambda: list(chain.stream("hi")))
    (root,) = watch.read_roots()

    whole = watch.roots[0]
    assert [run.name for run in root.walk()] == [run.name for run in whole.walk()]
    assert [(run.kind, run.ended, run.output, run.input) for run in root.walk()] == [
        (run.kind, run.ended, run.output, run.input) for run in whole.walk()
    ]
    assert len(root.children[1].events) == 2  # no tokens
    payload = root.start.payload
    assert (len(payload), "inputs" in payload, "outputs" in payload) == (1, True, False)
    assert payload["inputs"] is payload["inputs"]
    assert payload.get("gone", 3) == 3
    with pytest.raises(KeyError):
        payload["gone"]


def test_a_payload_is_a_mapping_of_all_its_entries_however_it_is_read() -> None:
    given = {"a": 1, "b": {"c": [1, 2]}}
    (root,) = watched(lambda: RunnableLambda(dict).invoke(given)).read_roots()

    assert (watched(lambda: RunnableLambda(dict).invoke(given)).read_roots()[0].input != given) is False
    ways: list[Any] = [
        dict,
        lambda one: {**one},
        lambda one: dict(one.items()),
        lambda one: dict(zip(one, one.values(), strict=True)),
    ]
    for way in ways:
        assert way(root.input) == given
    assert (root.input == given, root.input != given, list(root.input.keys())) == (True, False, ["a", "b"])
    assert hash(root.input) == hash(root.input)


def test_two_runs_of_one_id_are_two() -> None:
    config: Any = {"run_id": uuid4()}

    def work() -> None:
        for text in "ab":
            RunnableLambda(str).invoke(text, config)

    assert [run.output for run in watched(work).read_roots()] == ["a", "b"]


def test_a_test_does_not_notice_that_it_is_watched() -> None:
    model = ScriptedChatModel("a", "b")

    def work() -> None:
        model.invoke("one")
        with record() as inner:
            model.invoke("two")
        assert len(inner.models) == 1
        assert inner.unseen_calls == []

    assert len(watched(work).read_roots()) == 2


async def causes_of_a_task_from_before() -> list[str]:
    """Return why the recording of a test did not see the call of a task that was there before it."""
    started, model = asyncio.Event(), ScriptedChatModel("a")

    async def early() -> None:
        await started.wait()
        await model.ainvoke("hi")

    task = asyncio.create_task(early())
    await asyncio.sleep(0)
    with record() as inner:
        started.set()
        await task
    return [call.cause for call in inner.unseen_calls]


def test_what_only_a_watch_takes_is_unseen_by_the_recording_of_the_test(page: object) -> None:
    causes: list[str] = []
    watch = watched(lambda: causes.extend(asyncio.run(causes_of_a_task_from_before())))

    assert len(watch.read_roots()) == 1
    assert causes == asyncio.run(causes_of_a_task_from_before()) == ["other context"]
