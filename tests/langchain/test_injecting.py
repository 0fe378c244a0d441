"""Faults in place of the bodies of real tools and retrievers, sync and async, of any class."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool

from llmtest import ScriptedRetriever, record, scripted_tool
from llmtest.campaigns.calls import calls_of
from llmtest.campaigns.injection import Injection
from llmtest.campaigns.kinds import faults_at
from llmtest.langchain import injecting
from llmtest.recording.recording import Recording


@tool
def plain(q: str) -> str:
    """Search."""
    ran.append(q)
    return f"found {q}"


@tool
async def asynchronous(q: str) -> str:
    """Search."""
    ran.append(q)
    return f"found {q}"


@tool(response_format="content_and_artifact")
def with_artifact(q: str) -> tuple[str, int]:
    """Search."""
    ran.append(q)
    return f"found {q}", 7


class OwnRun(BaseTool):
    name: str = "own"
    description: str = "Has a `run` of its own."

    def _run(self, q: str) -> str:
        ran.append(q)
        return f"found {q}"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        return super().run(*args, **kwargs)


class Docs(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        ran.append(query)
        return [Document(page_content=query)]


class OldDocs(BaseRetriever):
    def _get_relevant_documents(self, query: str) -> list[Document]:  # type: ignore[override]
        ran.append(query)
        return [Document(page_content=query)]


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def invoke(called: Any, *, is_async: bool) -> Any:
    value = "x" if isinstance(called, BaseRetriever) else {"q": "x"}
    return asyncio.run(called.ainvoke(value)) if is_async else called.invoke(value)


def under(called: Any, kind: str, *, is_async: bool) -> tuple[Any, Recording, Injection]:
    with record() as clean:
        invoke(called, is_async=is_async)
    ran.clear()
    (fault,) = faults_at(calls_of(clean), [kind])
    recording = record()
    with Injection(recording, [fault]) as injection, recording:
        try:
            return invoke(called, is_async=is_async), recording, injection
        except Exception as error:
            return error, recording, injection


WAYS = [
    *((called, False) for called in (plain, with_artifact, OwnRun(), scripted_tool(plain, *["found x"] * 9))),
    *((called, True) for called in (plain, asynchronous, with_artifact, OwnRun(), scripted_tool(plain, *["found x"] * 9))),
]


@pytest.mark.parametrize(("called", "is_async"), WAYS, ids=[str(n) for n in range(len(WAYS))])
def test_a_tool_raises_in_its_own_run_and_its_body_does_not_run(called: Any, is_async: bool, outside) -> None:
    error, recording, injection = under(called, "timeout", is_async=is_async)

    assert isinstance(error, TimeoutError)
    assert recording.tools[0].ended == "error"
    assert ran == []
    assert len(recording.tools) == len(injection.came) == 1


@pytest.mark.parametrize(("called", "is_async"), WAYS, ids=[str(n) for n in range(len(WAYS))])
def test_a_tool_gives_another_value(called: Any, is_async: bool, outside) -> None:
    value, recording, _ = under(called, "error text", is_async=is_async)

    assert value == recording.tools[0].output == "Error: 503 Service Unavailable"
    assert ran == []


@pytest.mark.parametrize(("called", "is_async"), [(plain, False), (asynchronous, True), (OwnRun(), False)])
def test_a_tool_raises_after_its_effect(called: Any, is_async: bool) -> None:
    error, _, injection = under(called, "error after effect", is_async=is_async)

    assert isinstance(error, RuntimeError)
    assert ran == ["x"]
    assert sum(injection.bodies.values()) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("make", [Docs, lambda: ScriptedRetriever(*[["a"]] * 9)])
def test_a_retriever_finds_nothing_or_raises(make: Any, is_async: bool, outside) -> None:
    found, recording, _ = under(make(), "empty", is_async=is_async)
    error, failed, _ = under(make(), "error", is_async=is_async)

    assert found == []
    assert recording.retrievers[0].output == []
    assert isinstance(error, RuntimeError)
    assert failed.retrievers[0].ended == "error"


def test_a_retriever_without_a_run_manager_cannot_be_told_from_others() -> None:
    recording = record()

    with Injection(recording) as injection, recording:
        assert OldDocs().invoke("x") == [Document(page_content="x")]

    assert injection.reached == set()


def test_the_handling_of_errors_is_that_of_the_tool() -> None:
    def fails(q: str) -> str:
        """Fail."""
        raise ToolException("no")

    handled = StructuredTool.from_function(fails, handle_tool_error="handled")
    recording = record()

    with Injection(recording), recording:
        assert handled.invoke({"q": "x"}) == "handled"


def test_a_class_that_is_defined_meanwhile_is_wrapped_too() -> None:
    recording = record()

    with Injection(recording) as injection, recording:

        class Late(BaseTool):
            name: str = "late"
            description: str = "Defined late."

            def _run(self, q: str) -> str:
                return q

            def run(self, *args: Any, **kwargs: Any) -> Any:
                return super().run(*args, **kwargs)

        Late().invoke({"q": "x"})

    assert {key.name for key in injection.reached} == {"late"}
    assert "llmtest" not in Late.run.__module__


def test_afterwards_everything_is_as_before() -> None:
    before = BaseTool.run, BaseTool.arun, BaseRetriever.invoke, BaseRetriever.ainvoke, BaseTool.__dict__["__init_subclass__"]

    injecting.install()
    injecting.install()
    assert BaseTool.run is not before[0]
    injecting.uninstall()

    now = BaseTool.run, BaseTool.arun, BaseRetriever.invoke, BaseRetriever.ainvoke, BaseTool.__dict__["__init_subclass__"]
    assert now == before
