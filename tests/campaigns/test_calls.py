"""Calls have names that hold in every run of a program, whichever of them is faster."""

from __future__ import annotations

import threading
from uuid import uuid4

from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, on, record, say
from llmtest.campaigns.calls import CallNames, calls_of, moment_of, said
from llmtest.events.words import Document, Message


@tool
def search(q: str) -> str:
    """Search."""
    return f"found {q}"


def test_a_call_is_named_by_path_name_arguments_and_occurrence() -> None:
    def program(_: object) -> None:
        for q in ("x", "y", "x"):
            search.invoke({"q": q})

    with record() as recording:
        RunnableLambda(program).with_config(run_name="program").invoke("go")

    calls = calls_of(recording)
    assert [(c.label, c.key.path, c.key.name, c.key.occurrence, c.text) for c in calls] == [
        ("search#1", ("program",), "search", 1, "found x"),
        ("search#2", ("program",), "search", 1, "found y"),
        ("search#3", ("program",), "search", 2, "found x"),
    ]
    assert calls[0].key.arguments == calls[2].key.arguments != calls[1].key.arguments
    assert str(calls[0]) == "search#1"


def test_names_do_not_depend_on_which_branch_is_faster() -> None:
    def run(first: str) -> list[object]:
        turn = threading.Event()

        def branch(name: str) -> str:
            if name != first:
                turn.wait(5)
            model.invoke(name)
            turn.set()
            return name

        model = ScriptedChatModel(on(contains="left") >> "L", on(contains="right") >> "R")
        branches = {name: RunnableLambda(lambda _, name=name: branch(name)) for name in ("left", "right")}
        with record() as recording:
            RunnableParallel(branches).invoke("go")
        return [(c.label, c.key, c.text) for c in calls_of(recording)]

    assert run("left") == run("right")


def test_ids_and_times_in_a_prompt_do_not_count() -> None:
    def key_of(prompt: str) -> object:
        with record() as recording:
            ScriptedChatModel("x").invoke(prompt)
        return calls_of(recording)[0].key

    assert key_of(f"order {uuid4()} at 2026-01-01T10:00:00.5Z") == key_of(f"order {uuid4()} at 2027-02-03T11:12:13.5Z")
    assert key_of("order A") != key_of("order B")


def test_what_calls_gave() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("Hel", "lo", usage=(1, 2)), name="chat").stream("hi"))
        ScriptedChatModel(call("search", q="x"), name="asks").bind_tools([search]).invoke("hi")
        ScriptedLLM("text").invoke("hi")
        ScriptedRetriever(["Cats purr."]).invoke("cats")

    chat, asks, llm, retriever = calls_of(recording)

    assert (chat.text, chat.tokens, chat.kind) == ("Hello", ("Hel", "lo"), "chat")
    assert [(c.name, c.args) for c in asks.tool_calls] == [("search", {"q": "x"})]
    assert asks.metadata["finish_reason"] == "tool_calls"
    assert (llm.text, llm.kind) == ("text", "llm")
    assert (retriever.text, retriever.kind) == ("Cats purr.", "retriever")


def test_a_name_is_known_while_the_run_goes_on_and_only_of_calls() -> None:
    found: list[object] = []

    def program(_: object) -> None:
        found.append([key.name for key in names.keys.values()])
        search.invoke("x")
        found.append([key.name for key in names.keys.values()])

    with record() as recording:
        names = CallNames(recording)
        RunnableLambda(program).invoke("go")

    (key,) = names.keys.values()
    assert found == [[], ["search"]]
    assert names.key_of(recording.tools[0].id) == key
    assert names.key_of(recording.roots[0].id) is None
    assert names.key_of(uuid4()) is None


def test_a_moment_is_named_as_a_call() -> None:
    assert str(moment_of("await", 3)) == "await#3"
    assert moment_of("await", 3) == moment_of("await", 3) != moment_of("await", 4)


def test_what_a_value_says_has_no_ids() -> None:
    assert said(None) == ""
    assert said([Message("ai", "a", id="1"), Document("b", id="2"), 3]) == "a\nb\n3"
    assert said(LangChainDocument(page_content="c")).startswith("page_content='c'")


def test_a_long_text_is_compared_as_it_is() -> None:
    def key_of(text: str) -> object:
        with record() as recording:
            search.invoke({"q": text})
        return calls_of(recording)[0].key

    long = "x" * 20_000
    assert key_of(long) == key_of(long)
    assert key_of(f"{long}{uuid4()}") != key_of(f"{long}{uuid4()}")
