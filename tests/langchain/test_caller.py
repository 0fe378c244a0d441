"""The run that a call of a double belongs to."""

from __future__ import annotations

import gc
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from llmtest import ScriptedChatModel, respond
from llmtest.langchain.served import about, weakly
from llmtest.scripts.requests import Request

Asked = tuple[tuple[str, ...], dict[str, Any]]


def asked(*ways: str) -> list[Asked]:
    """The tags and metadata of a call in each of these ways. They are read while the run is open."""
    requests: list[Asked] = []

    def answer(request: Request) -> str:
        requests.append((tuple(request.tags), dict(request.metadata)))
        return "Hello"

    model = ScriptedChatModel(respond(answer).times(len(ways)))
    for way in ways:
        config: Any = {"tags": ["a"], "metadata": {"k": 1}, "configurable": {"thread_id": "7"}}
        RunnableLambda(lambda text, way=way: list(getattr(model, way)(text))).invoke("hi", config)
    return requests


def test_a_call_has_the_tags_and_metadata_of_its_run_streamed_or_not() -> None:
    found = asked("invoke", "stream")

    assert [tags for tags, _ in found] == [("a",)] * 2
    assert [(metadata["k"], metadata["thread_id"]) for _, metadata in found] == [(1, "7")] * 2


def test_a_call_past_the_callbacks_has_none() -> None:
    requests: list[Request] = []
    ScriptedChatModel(respond(lambda request: requests.append(request) or "Hello"))._generate([HumanMessage("hi")])

    assert (list(requests[0].tags), requests[0].metadata) == ([], {})
    assert about(None) == ((), {})


class RunManager:
    pass


def test_a_run_is_not_kept_alive() -> None:
    manager = RunManager()
    run = weakly(manager)
    found = run() is manager
    del manager
    gc.collect()

    assert (found, run(), weakly(None)()) == (True, None, None)
