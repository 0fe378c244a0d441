"""What should be true of every run of an agent: each invariant, a run that breaks it, and one that does not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, fail, record, say, scripted_tool
from llmtest.campaigns.invariants import INVARIANTS, broken_invariants, check_invariants, final_answer
from llmtest.errors import CampaignError


@tool
def search(q: str) -> str:
    """Search."""
    return "found" if q else ""


def thrice(*questions: str) -> None:
    for q in questions:
        search.invoke({"q": q})


def fails_thrice() -> None:
    broken = scripted_tool("broken", *[fail(TimeoutError("slow"))] * 3, args={"q": str})
    for _ in range(3):
        with suppress(TimeoutError):
            broken.invoke({"q": "x"})


def inside(body: Callable[[], object]) -> None:
    RunnableLambda(lambda _: body()).invoke("go")


def swallows(*steps: object, then: Callable[[], object] = lambda: None) -> None:
    model = ScriptedChatModel(*steps, name="model")

    def body() -> None:
        with suppress(TimeoutError):
            model.invoke("hi")
        then()

    inside(body)


def asks_again() -> None:
    swallows(fail(TimeoutError("slow")), then=lambda: ScriptedChatModel("x", name="model").invoke("a"))


def told_to_the_model() -> None:
    tools = [scripted_tool("look", fail(TimeoutError("too slow")), args={"q": str}, handle_tool_error=True)]
    model = ScriptedChatModel(call("look", q="x"), "It took too long.")

    def body() -> None:
        answer = model.bind_tools(tools).invoke("hi")
        try:
            tools[0].invoke(answer.tool_calls[0]["args"])
        except TimeoutError as error:
            model.invoke(f"the tool failed: {error}")

    inside(body)


def falls_back() -> None:
    first, second = ScriptedChatModel(fail(TimeoutError("slow")), name="first"), ScriptedChatModel("b", name="second")
    inside(lambda: first.with_fallbacks([second]).invoke("hi"))


def empty_then_found() -> None:
    docs = ScriptedRetriever([], ["Cats purr."], name="docs")
    inside(lambda: [docs.invoke("a"), docs.invoke("b")])


CASES = [
    (
        "repeated tool call",
        lambda: thrice("x", "x", "x"),
        "the tool `search` was called 3 times with {'q': 'x'}, and gave the same each time",
    ),
    ("repeated tool call", lambda: thrice("x", "x", "y"), None),
    ("repeated tool call", lambda: fails_thrice(), None),
    (
        "empty search",
        lambda: inside(lambda: search.invoke({"name": "search", "args": {"q": ""}, "id": "1", "type": "tool_call"})),
        "the tool `search` gave nothing, and the program went on without it",
    ),
    ("empty search", lambda: inside(lambda: thrice("")), "the tool `search` gave nothing, and the program went on without it"),
    ("empty search", lambda: inside(lambda: thrice("", "x")), None),
    (
        "empty search",
        lambda: inside(lambda: ScriptedRetriever([], name="docs").invoke("cats")),
        "the retriever `docs` gave nothing, and the program went on without it",
    ),
    ("empty search", empty_then_found, None),
    (
        "swallowed error",
        lambda: swallows(fail(TimeoutError("slow"))),
        "the chat `model` failed with TimeoutError: slow, and nothing made up for it",
    ),
    (
        "swallowed error",
        lambda: swallows(fail(TimeoutError("slow")), then=lambda: ScriptedChatModel("x", name="model").invoke("a")),
        None,
    ),
    ("swallowed error", told_to_the_model, None),
    ("swallowed error", falls_back, None),
    (
        "answer cut by length",
        lambda: ScriptedChatModel(say("It is", stop_reason="length"), name="model").invoke("hi"),
        "an answer of the model `model` was cut by its length: 'It is'",
    ),
    ("answer cut by length", lambda: ScriptedChatModel("It is").invoke("hi"), None),
    ("answer cut by length", lambda: ScriptedLLM("It is").invoke("hi"), None),
    ("empty answer", lambda: ScriptedChatModel("", name="model").invoke("hi"), "the final answer of the chat `model` is empty"),
    ("empty answer", lambda: ScriptedLLM(" ", name="text").invoke("hi"), "the final answer of the llm `text` is empty"),
    (
        "empty answer",
        lambda: create_agent(ScriptedChatModel(""), [], name="agent").invoke({"messages": "hi"}),
        "the final answer of the chain `agent` is empty",
    ),
    ("empty answer", lambda: ScriptedChatModel("Hello").invoke("hi"), None),
    ("empty answer", lambda: inside(lambda: None), None),
    ("empty answer", lambda: ScriptedChatModel(call("search", q="x")).bind_tools([search]).invoke("hi"), None),
]


@pytest.mark.parametrize(("name", "program", "text"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_an_invariant_and_what_breaks_it(name: str, program: Callable[[], object], text: str | None) -> None:
    with record() as recording:
        program()

    found = broken_invariants(recording, [name])

    assert [(violation.code, violation.text) for violation in found] == ([] if text is None else [(name, text)])


def test_every_invariant_has_a_case() -> None:
    assert {name for name, _, text in CASES if text} == {name for name, _, text in CASES if not text} == set(INVARIANTS)


def test_the_error_of_a_root_counts_only_where_the_program_has_ended_well() -> None:
    with record() as recording, suppress(TimeoutError):
        ScriptedChatModel(fail(TimeoutError("slow")), name="model").invoke("hi")

    assert broken_invariants(recording, ["swallowed error"]) == []
    assert len(broken_invariants(recording, ["swallowed error"], ended_well=True)) == 1


def test_an_error_that_reaches_the_caller_is_not_swallowed() -> None:
    model = ScriptedChatModel(fail(TimeoutError("slow")))
    with record() as recording, suppress(TimeoutError):
        inside(lambda: model.invoke("hi"))

    assert broken_invariants(recording, [*INVARIANTS]) == []


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(CampaignError) as caught:
        check_invariants(["swallowed eror"])

    assert str(caught.value) == "there is no invariant 'swallowed eror'; did you mean `swallowed error`?"


def test_no_names_are_refused() -> None:
    assert check_invariants("empty answer") == ("empty answer",)
    with pytest.raises(CampaignError) as caught:
        check_invariants(None)
    assert str(caught.value).splitlines()[0] == "invariants= is a list of the names of invariants; got None"
    with pytest.raises(CampaignError, match="there is no invariant 3; known are"):
        check_invariants([3])


def test_the_final_answer_of_a_root() -> None:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
        inside(lambda: {"a": 1})

    assert [final_answer(root) for root in recording.roots] == ["Hello", {"a": 1}]
