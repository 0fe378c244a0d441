"""Scripted retrievers: LangChain's own class, which finds only what the test wrote down."""

from __future__ import annotations

import asyncio
import copy
import threading

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField

from llmtest import (
    Script,
    ScriptedEmbeddings,
    ScriptedRetriever,
    fail,
    on,
    record,
    respond,
    say,
    scripted_tool,
)
from llmtest.errors import StatusError
from llmtest.scripts import Request, give
from tests.support.doubles import contents, search


def test_a_step_of_a_retriever_is_documents_or_texts_one_or_several() -> None:
    cats = Document("Cats purr.", metadata={"page": 3}, id="c")
    retriever = ScriptedRetriever([cats, "Cats sleep."], ("a", "b"), cats, "one", [], give(["given"]), say("said"))

    assert isinstance(retriever, BaseRetriever)
    assert retriever.invoke("1") == [cats, Document("Cats sleep.")]
    assert [contents(retriever.invoke(str(number))) for number in range(2, 8)] == [
        ["a", "b"],
        ["Cats purr."],
        ["one"],
        [],
        ["given"],
        ["said"],
    ]


def test_a_retriever_is_the_same_sync_and_async_and_its_runs_are_recorded() -> None:
    retriever = ScriptedRetriever(give(["Cats purr."]).times(2), ValueError("down"), fail(503), name="docs")

    with record() as recording:
        retriever.invoke("cats", {"tags": ["t"]})
        asyncio.run(retriever.ainvoke("cats"))
        with pytest.raises(ValueError, match="down"):
            retriever.invoke("cats")
        with pytest.raises(StatusError, match="503 Service Unavailable"):
            asyncio.run(retriever.ainvoke("cats"))

    assert [(run.name, run.ended) for run in recording.retrievers] == [
        ("docs", "ended"),
        ("docs", "ended"),
        ("docs", "error"),
        ("docs", "error"),
    ]
    assert recording.kinds == ["on_retriever_start", "on_retriever_end"] * 2 + ["on_retriever_start", "on_retriever_error"] * 2


def test_an_async_call_of_a_double_stays_on_the_loop() -> None:
    threads: list[int] = []

    def note(request: Request) -> str:
        threads.append(threading.get_ident())
        return "x"

    asyncio.run(ScriptedRetriever(respond(note)).ainvoke("q"))
    asyncio.run(scripted_tool(search, respond(note)).ainvoke({"q": "x"}))

    assert threads == [threading.get_ident()] * 2


def test_keys_and_expectations_look_at_the_query() -> None:
    retriever = ScriptedRetriever(
        on(contains="cat") >> Script("Cats purr.", give(["Cats sleep."])),
        on(contains="dog") >> ["Dogs bark.", "Dogs run."],
        give("Birds sing.").expects(contains="bird", forbids="cage"),
    )

    found = [contents(retriever.invoke(query)) for query in ("a dog", "cats", "birds", "a cat")]

    assert found == [["Dogs bark.", "Dogs run."], ["Cats purr."], ["Birds sing."], ["Cats sleep."]]


def test_a_function_gets_the_query_and_what_else_the_call_was_given() -> None:
    async def later(request: Request) -> list[str]:
        return [request.text, str(request.params), str(request.tags)]

    retriever = ScriptedRetriever(respond(lambda request: Document(request.text)), respond(later), k=3)

    assert contents(retriever.invoke("cats")) == ["cats"]
    assert contents(retriever.invoke("dogs", {"tags": ["t"]}, filter="x")) == ["dogs", "{'k': 3, 'filter': 'x'}", "['t']"]


def test_k_is_the_most_documents_of_a_call() -> None:
    retriever = ScriptedRetriever(give(["a", "b", "c"]).times(3), k=2)

    assert contents(retriever.invoke("q")) == ["a", "b"]
    assert contents(retriever.invoke("q", k=1)) == ["a"]
    assert contents(retriever.invoke("q", k=None)) == ["a", "b", "c"]


def test_what_a_program_does_to_a_result_does_not_change_the_script() -> None:
    mine = Document("a", metadata={"seen": False})
    retriever = ScriptedRetriever(give([mine]).times(2))
    lookup = scripted_tool(search, give({"hits": []}).times(2))
    mine.metadata["seen"] = "by the test"

    retriever.invoke("q")[0].metadata["seen"] = True
    lookup.invoke({"q": "x"})["hits"].append("one")

    assert retriever.invoke("q") == [Document("a", metadata={"seen": False})]
    assert lookup.invoke({"q": "x"}) == {"hits": []}


def test_copies_of_a_double_take_steps_from_the_same_script() -> None:
    retriever = ScriptedRetriever("a", "b", "c", "d")
    configured = retriever.configurable_fields(k=ConfigurableField(id="k")).with_config(configurable={"k": 1})
    lookup = scripted_tool(search, "a", "b", "c")

    found = [r.invoke("q") for r in (copy.deepcopy(retriever), configured, retriever.with_config(tags=["t"]), retriever)]
    results = [t.invoke({"q": "x"}) for t in (copy.deepcopy(lookup), lookup.model_copy(), lookup)]

    assert [contents(f) for f in found] == [["a"], ["b"], ["c"], ["d"]]
    assert results == ["a", "b", "c"]


def test_a_retriever_and_a_tool_can_have_a_script_of_texts() -> None:
    assert contents(ScriptedRetriever(script=Script("from a file")).invoke("q")) == ["from a file"]
    assert scripted_tool(search, script=Script("from a file")).invoke({"q": "x"}) == "from a file"


def test_the_repr_of_a_double_has_no_address() -> None:
    assert str(ScriptedRetriever()) == repr(ScriptedRetriever()) == "ScriptedRetriever(name='ScriptedRetriever')"
    assert str(scripted_tool(search)) == repr(scripted_tool(search)) == "scripted_tool('search')"
    assert repr(ScriptedEmbeddings(size=8)) == "ScriptedEmbeddings(size=8)"
