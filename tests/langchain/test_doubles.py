"""Scripted retrievers, tools and embeddings: LangChain's own classes, which give what a test wrote down, and nothing else."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import math
import operator
import sys
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command
from pydantic import BaseModel

from llmtest import (
    Script,
    ScriptedChatModel,
    ScriptedEmbeddings,
    ScriptedLLM,
    ScriptedRetriever,
    ViolationError,
    call,
    fail,
    on,
    record,
    respond,
    say,
    scripted_tool,
    think,
)
from llmtest.errors import ScriptError, StatusError, expect_violation
from llmtest.langchain.embeddings import Embedded
from llmtest.ledger import Ledger, opened
from llmtest.scripts import Request, give

HERE = Path(__file__).relative_to(Path.cwd()) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__)


def here() -> str:
    """Where this is called, as messages name it."""
    return f"{HERE}:{sys._getframe(1).f_lineno}"


def message_of(act: Callable[[], Any]) -> str:
    with pytest.raises(ScriptError) as caught:
        act()
    return str(caught.value)


def contents(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


class Place(BaseModel):
    city: str


def weather(place: Place, day: Any = None) -> str:
    """The weather in a place."""
    raise RuntimeError("the body is never run")


def search(q: str, limit: int = 5) -> str:
    """Search the web."""
    raise RuntimeError("the body is never run")


async def search_later(q: str) -> str:
    """Search the web, later."""
    raise RuntimeError("the body is never run")


# -- retrievers


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


# -- tools


def test_a_tool_has_the_schema_of_its_function_whose_body_is_never_run() -> None:
    made = scripted_tool(search, "18C", {"hits": [1]}, fail(TimeoutError("too slow")))

    assert isinstance(made, StructuredTool)
    assert convert_to_openai_tool(made) == convert_to_openai_tool(search)
    assert made.invoke({"q": "x"}) == "18C"
    assert made.invoke({"q": "x"}) == {"hits": [1]}
    with pytest.raises(TimeoutError, match="too slow"):
        made.invoke({"q": "x"})


def test_a_tool_stands_in_for_a_tool() -> None:
    class Args(BaseModel):
        q: str

    real = StructuredTool.from_function(
        lambda q: ("real", None),
        name="lookup",
        description="Look it up.",
        args_schema=Args,
        response_format="content_and_artifact",
        return_direct=True,
        tags=["t"],
    )

    made = scripted_tool(real, ("18C", {"degrees": 18}), description="Another text.")

    message = made.invoke({"type": "tool_call", "id": "call_1", "name": "lookup", "args": {"q": "x"}})
    assert message == ToolMessage("18C", name="lookup", tool_call_id="call_1", artifact={"degrees": 18})
    assert (made.args_schema, made.return_direct, made.tags, made.description) == (Args, True, ["t"], "Another text.")


def test_a_tool_stands_in_for_a_tool_of_every_kind() -> None:
    class Own(BaseTool):
        name: str = "own"
        description: str = "A class of its own."

        def _run(self, a: int, b: str = "b") -> str:
            return "real"

    def say_args(request: Request) -> str:
        return f"{request.args} {request.text}"

    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    by_json = StructuredTool(name="remote", description="", args_schema=schema, func=search)
    old = Tool(name="old", description="Takes one str.", func=lambda text: text)

    assert scripted_tool(Own(), respond(say_args)).invoke({"a": "3"}) == """{'a': 3, 'b': 'b'} {"a": 3, "b": "b"}"""
    assert scripted_tool(by_json, respond(say_args)).invoke({"q": "é"}) == """{'q': 'é'} {"q": "é"}"""
    assert scripted_tool(old, respond(say_args)).invoke("hi") == """{'tool_input': 'hi'} {"tool_input": "hi"}"""
    assert scripted_tool(old, args={"n": int}).args == {"n": {"title": "N", "type": "integer"}}


def test_a_tool_can_be_made_of_a_name() -> None:
    class Args(BaseModel):
        """Search by these."""

        q: str

    typed = scripted_tool("search", "a", args={"q": str, "limit": (int, 5)})
    modelled = scripted_tool("search", "b", args=Args)
    bare = scripted_tool("now", "12:00", description="The time.")

    assert (typed.description, modelled.description, bare.description) == ("", "Search by these.", "The time.")
    assert convert_to_openai_tool(typed)["function"]["parameters"]["required"] == ["q"]
    assert [typed.invoke({"q": "x"}), modelled.invoke("x"), bare.invoke({})] == ["a", "b", "12:00"]


def test_the_arguments_of_a_function_can_be_given_too() -> None:
    made = scripted_tool(lambda q: q, "a", args={"q": (str, "cats")}, description="Search.")

    assert made.invoke({}) == "a"
    assert made.args == {"q": {"default": "cats", "title": "Q", "type": "string"}}


def test_arguments_are_validated_before_a_step_is_taken() -> None:
    made = scripted_tool(search, "a")

    with pytest.raises(ValueError, match="limit"):
        made.invoke({"q": "x", "limit": "many"})

    assert made.invoke({"q": "x"}) == "a"


def test_keys_expectations_and_functions_look_at_the_arguments() -> None:
    made = scripted_tool(
        weather,
        on(contains='"city": "Paris"') >> "18C",
        respond(lambda request: request.args["place"].city),
        give("20C").expects(contains="Rome", forbids="Paris"),
        respond(lambda request: request.text),
    )

    asked = [{"place": {"city": city}} for city in ("Lyon", "Rome", "Paris")] + [{"place": {"city": "x"}, "day": {1}}]
    assert [made.invoke(args) for args in asked] == ["Lyon", "20C", "18C", '{"place": {"city": "x"}, "day": "{1}"}']


def test_the_stand_in_of_what_is_async_only_is_async_only() -> None:
    of_function = scripted_tool(search_later, "a")
    of_tool = scripted_tool(tool(search_later), "b")

    for made, result in ((of_function, "a"), (of_tool, "b")):
        with pytest.raises(NotImplementedError):
            made.invoke({"q": "x"})
        assert asyncio.run(made.ainvoke({"q": "x"})) == result


def test_the_function_of_a_tool_has_no_body() -> None:
    made = scripted_tool(search)

    assert made.func is not None
    with pytest.raises(ScriptError) as caught:
        made.func("x")
    assert str(caught.value) == "the function of the scripted tool `search` has no body; call the tool: .invoke({...})"


def test_a_tool_may_return_what_tools_may_and_fail_as_they_do() -> None:
    command = Command(update={"seen": True})
    made = scripted_tool(search, command, ToolException("no"), handle_tool_error=True)

    assert made.invoke({"q": "x"}) == command
    assert made.invoke({"q": "x"}) == "no"


def test_runs_of_a_tool_are_recorded_sync_and_async() -> None:
    made = scripted_tool(search, give("a").times(2), ValueError("down"))

    with record() as recording:
        made.invoke({"q": "x"})
        asyncio.run(made.ainvoke({"q": "x"}))
        with pytest.raises(ValueError, match="down"):
            asyncio.run(made.ainvoke({"q": "x"}))

    assert [(run.name, run.args, run.ended) for run in recording.tools] == [
        ("search", {"q": "x"}, "ended"),
        ("search", {"q": "x"}, "ended"),
        ("search", {"q": "x"}, "error"),
    ]


def test_an_agent_calls_a_scripted_tool_with_what_langgraph_injects() -> None:
    def remember(what: str, runtime: ToolRuntime) -> str:
        """Remember something."""
        raise RuntimeError

    def answer(request: Request) -> str:
        return f"{request.text} {request.args['runtime'].tool_call_id}"

    model = ScriptedChatModel(call("remember", what="milk").with_id("call_7"), "Done.")
    agent = create_agent(model, [scripted_tool(remember, respond(answer))])

    messages = agent.invoke({"messages": [("user", "remember the milk")]})["messages"]

    assert messages[2].content == '{"what": "milk"} call_7'


# -- what is a violation


def test_a_call_without_a_step_is_a_violation_that_names_the_double() -> None:
    retriever, a = ScriptedRetriever("a"), here()
    named = ScriptedRetriever(name="docs")
    made, b = scripted_tool(search, on(contains="Paris") >> "18C", give("b" * 300)), here()
    retriever.invoke("1")
    made.invoke({"q": "1"})
    made.invoke({"q": "Paris"})

    with expect_violation("unexpected call") as caught:
        for act in (lambda: retriever.invoke("2"), lambda: named.invoke("x"), lambda: made.invoke({"q": "2"})):
            with pytest.raises(ViolationError):
                act()

    assert [violation.text for violation in caught] == [
        "unexpected retriever call 2: the script has 1 step, all served\n"
        "  came  query '2'\n"
        f"  served  step 1  give('a')  at {a}\n"
        "  add a step for this call, or find out why the program calls the retriever again",
        "unexpected `docs` call 1: the script has no steps\n"
        "  came  query 'x'\n"
        "  add a step for this call, or find out why the program calls `docs` again",
        "unexpected `search` call 3: the steps without a key are all served\n"
        """  came  input '{"q": "2", "limit": 5}'\n"""
        f"  served  step 2  give('{'b' * 196}...)  at {b}\n"
        "  on(contains='Paris')  no: no message contains 'Paris'\n"
        "  add a step for this call, or find out why the program calls `search` again",
    ]


def test_steps_that_no_call_asks_for_are_a_violation_that_names_the_double() -> None:
    with opened(Ledger()) as page:
        retriever, a = ScriptedRetriever("a", give(["b"]).optional()), here()
        made, b = scripted_tool(search, "a", give("b").times(2)), here()
        made.invoke({"q": "x"})
        made.invoke({"q": "x"})

    assert [violation.text for violation in page.take()] == [
        f"1 of 2 steps of the script was never used\n  step 1  give('a')  at {a}\n"
        "  the retriever was never called; remove the steps, or find out why the program stopped early",
        f"1 of 2 steps of the script was never used\n  step 2  give('b').times(2)  at {b}\n"
        "  `search` was called twice; remove the steps, or find out why the program stopped early",
    ]
    with pytest.raises(ViolationError, match="the retriever was never called"):
        retriever.verify()
    with pytest.raises(ViolationError, match="`search` was called twice"):
        made.verify()


def test_a_query_or_arguments_that_are_not_expected_are_a_violation() -> None:
    retriever, a = ScriptedRetriever(give("a").expects(contains="cats"), give("b").expects(forbids="dogs")), here()
    made, b = scripted_tool(search, give("18C").expects(contains="Paris")), here()

    with expect_violation("unexpected query") as queries, pytest.raises(ViolationError):
        retriever.invoke("cat")
    retriever.invoke("cats")
    with expect_violation("unexpected query") as more, pytest.raises(ViolationError):
        retriever.invoke("dogs")
    with expect_violation("unexpected input") as inputs, pytest.raises(ViolationError):
        made.invoke({"q": "Lyon"})

    assert [violation.text for violation in (*queries, *more, *inputs)] == [
        "step 1 expects another query than retriever call 1 has\n"
        "  expected a query that contains 'cats'\n"
        "  nearest\n"
        "    - cats\n"
        "    ?    -\n"
        "    + cat\n"
        f"  the script says give('a').expects(contains=['cats']) at {a}",
        "step 2 expects another query than retriever call 3 has\n"
        "  expected a query without 'dogs'\n"
        "  got       query 'dogs'\n"
        f"  the script says give('b').expects(forbids=['dogs']) at {a}",
        "step 1 expects another input than `search` call 1 has\n"
        "  expected an input that contains 'Paris'\n"
        """  got       input '{"q": "Lyon", "limit": 5}'\n"""
        f"  the script says give('18C').expects(contains=['Paris']) at {b}",
    ]
    retriever.invoke("cats")
    made.invoke({"q": "Paris"})


def test_a_query_that_is_no_text_is_a_violation() -> None:
    retriever: Any = ScriptedRetriever("a")

    with expect_violation("invalid query") as caught, pytest.raises(ViolationError):
        retriever.invoke({"question": "cats"})

    assert caught[0].text == (
        "the retriever takes a query, a str; got dict {'question': 'cats'}\n  find out what the program asks it with"
    )
    retriever.invoke("cats")


def test_a_call_that_matches_two_keys_is_a_violation() -> None:
    with opened(Ledger()):
        retriever = ScriptedRetriever(on(contains="cat") >> "a", on(contains="dog") >> "b")

        with expect_violation("ambiguous match") as caught, pytest.raises(ViolationError):
            retriever.invoke("cats and dogs")

    assert caught[0].text == (
        "retriever call 1 matches 2 keys of the script, so its step is ambiguous\n"
        "  came  query 'cats and dogs'\n"
        "  matches  on(contains='cat')\n"
        "  matches  on(contains='dog')\n"
        "  make the keys exclude each other, for example with contains=, node= or tag="
    )


def test_parallel_calls_of_a_tool_that_take_different_steps_are_a_violation() -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait(request: Request) -> str:
        inside.set()
        assert leave.wait(10)
        return "first"

    made = scripted_tool(search, respond(wait), "second")
    other = threading.Thread(target=made.invoke, args=({"q": "Paris"},))
    other.start()
    assert inside.wait(10)

    with expect_violation("competing calls") as caught, pytest.raises(ViolationError):
        made.invoke({"q": "Lyon"})
    leave.set()
    other.join()

    assert caught[0].text == (
        "two open runs take different steps of one script in order, so the schedule decides who gets which\n"
        """  call 1  input '{"q": "Paris", "limit": 5}'  takes step 1\n"""
        """  call 2  input '{"q": "Lyon", "limit": 5}'  takes step 2\n"""
        '  key the script by node, tag, thread or input: on(contains=\'{"q": "Lyon", "limit": 5}\') >> ...'
    )


def test_each_thread_gets_a_step_of_its_own() -> None:
    retriever = ScriptedRetriever(*[give(str(number)) for number in range(64)])
    found: list[str] = []

    def ask() -> None:
        for _ in range(4):
            found.extend(contents(retriever._get_relevant_documents("q", run_manager=None)))  # type: ignore[arg-type]

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found, key=int) == [str(number) for number in range(64)]


# -- what is refused where it is written


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "what a retriever cannot find": (
        lambda: ScriptedRetriever("a", ["b", 5]),
        "step 2 of the retriever is give(['b', 5]) at {here}, but a retriever finds documents or str, not int 5",
    ),
    "a named retriever": (
        lambda: ScriptedRetriever({"a": 1}, name="docs"),
        "step 1 of `docs` is give({'a': 1}) at {here}, but a retriever finds documents or str, not dict {'a': 1}",
    ),
    "under a key": (
        lambda: ScriptedRetriever(on(contains="a") >> 5),
        "step 1 of the retriever is give(5) at {here}, but a retriever finds documents or str, not int 5",
    ),
    "returned by a function": (
        lambda: ScriptedRetriever(respond(lambda request: 5)).invoke("q"),
        "what respond(<lambda>) returned is give(5) at {here}, but a retriever finds documents or str, not int 5",
    ),
    "what only a model can say": (
        lambda: scripted_tool(search, think("hm")),
        "step 1 of `search` is think('hm') at {here}, but only a model can say that; give it plain text, or give(...)",
    ),
    "a stream that breaks": (
        lambda: ScriptedRetriever(say("a").then_fail(ValueError)),
        "step 1 of the retriever is say('a').then_fail(ValueError) at {here},"
        " but only a model can say that; give it plain text, or give(...)",
    ),
    "a stream that is cut off": (
        lambda: ScriptedRetriever(say("a").then_truncate()),
        "step 1 of the retriever is say('a').then_truncate() at {here},"
        " but only a model can say that; give it plain text, or give(...)",
    ),
    "expecting tools": (
        lambda: scripted_tool(search, give("a").expects(tools="x")),
        "step 1 of `search` is give('a').expects(tools=['x']) at {here},"
        " but here expects() takes contains= and forbids= only: there are no messages and no tools",
    ),
    "expecting a role": (
        lambda: scripted_tool(search, fail(ValueError).expects(last="human")),
        "step 1 of `search` is fail(ValueError).expects(last='human') at {here},"
        " but here expects() takes contains= and forbids= only: there are no messages and no tools",
    ),
    "unchecked": (
        lambda: scripted_tool(search, give("a").unchecked()),
        "step 1 of `search` is give('a').unchecked() at {here}, but unchecked() is about the answers of a model",
    ),
    "a key of tools": (
        lambda: ScriptedRetriever(on(tools={"x"}) >> "a"),
        "on(tools=['x']) matches no call of the retriever: it has no messages and no tools;"
        " contains=, node=, tag=, metadata= and thread= fit",
    ),
    "a key of a tool result": (
        lambda: ScriptedRetriever("b", on(tool_result="x") >> "a"),
        "on(tool_result='x') matches no call of the retriever: it has no messages and no tools;"
        " contains=, node=, tag=, metadata= and thread= fit",
    ),
    "a key of a role": (
        lambda: scripted_tool(search, on(last="human") >> "a"),
        "on(last='human') matches no call of `search`: it has no messages and no tools;"
        " contains=, node=, tag=, metadata= and thread= fit",
    ),
    "a field that is not there": (
        lambda: ScriptedRetriever("a", nam="docs"),
        "ScriptedRetriever has no field `nam`; did you mean `name`?",
    ),
    "a field of a tool that is not there": (
        lambda: scripted_tool(search, "a", descriptio="x"),
        "ScriptedTool has no field `descriptio`; did you mean `description`?",
    ),
    "no artifact": (
        lambda: scripted_tool(search, "a", response_format="content_and_artifact"),
        "step 1 of `search` is give('a') at {here},"
        " but a tool with response_format='content_and_artifact' returns a tuple (content, artifact)",
    ),
    "three where two are due": (
        lambda: scripted_tool(search, (1, 2, 3), response_format="content_and_artifact"),
        "step 1 of `search` is give((1, 2, 3)) at {here},"
        " but a tool with response_format='content_and_artifact' returns a tuple (content, artifact)",
    ),
    "what cannot be copied": (
        lambda: scripted_tool(search, sys),
        "give() takes a value that can be copied; got module <module 'sys' (built-in)> (cannot pickle 'module' object)\n"
        "  respond(lambda request: value) gives the value itself",
    ),
    "a tool of nothing": (
        lambda: scripted_tool(5),  # type: ignore[arg-type]
        "scripted_tool() takes a function, a tool, or the name of one; got int 5",
    ),
    "a tool of a class": (
        lambda: scripted_tool(int),
        "scripted_tool() takes a function, a tool, or the name of one; got type <class 'int'>",
    ),
    "no docstring": (
        lambda: scripted_tool(message_without_doc),
        "`message_without_doc` has no docstring, which tells a model what the tool is for; give scripted_tool() description=",
    ),
    "arguments that are no types": (
        lambda: scripted_tool("search", args=["q"]),  # type: ignore[arg-type]
        "args= of scripted_tool() is a mapping of names to types, or a pydantic model; got list ['q']",
    ),
    "arguments of another class": (
        lambda: scripted_tool("search", args=int),  # type: ignore[arg-type]
        "args= of scripted_tool() is a mapping of names to types, or a pydantic model; got type <class 'int'>",
    ),
    "a JSON schema": (
        lambda: scripted_tool("search", args={"type": "object", "properties": {}}),
        "args= of scripted_tool() has types, as in {'q': str, 'limit': (int, 5)}; got 'object' for `type`",
    ),
    "a name that pydantic does not take": (
        lambda: scripted_tool(search, args={"_q": str}),
        "args= of scripted_tool() has names of arguments, as in {'q': str}; got '_q'",
    ),
    "a default and more": (
        lambda: scripted_tool("search", args={"q": (int, 1, 2)}),
        "args= of scripted_tool() has types, as in {'q': str, 'limit': (int, 5)}; got (int, 1, 2) for `q`".replace(
            "(int, 1", f"({int!r}, 1"
        ),
    ),
    "vectors that are no mapping": (
        lambda: ScriptedEmbeddings(vectors=[[1.0]]),  # type: ignore[arg-type]
        "vectors= maps texts to vectors, as in {'cat': [1.0, 0.0]}; got list [[1.0]]",
    ),
    "a vector of what is no text": (
        lambda: ScriptedEmbeddings(vectors={5: [1.0]}),  # type: ignore[dict-item]
        "vectors= maps texts to vectors, as in {'cat': [1.0, 0.0]}; got the key 5",
    ),
    "a vector that is none": (
        lambda: ScriptedEmbeddings(vectors={"a": 0.5}),  # type: ignore[dict-item]
        "the vector of 'a' in vectors= is a list of numbers; got float 0.5",
    ),
    "a vector that is a text": (
        lambda: ScriptedEmbeddings(vectors={"a": "10"}),  # type: ignore[dict-item]
        "the vector of 'a' in vectors= is a list of numbers; got str '10'",
    ),
    "a vector of nothing": (
        lambda: ScriptedEmbeddings(vectors={"a": []}),
        "the vector of 'a' in vectors= is a list of numbers; got list []",
    ),
    "a vector of texts": (
        lambda: ScriptedEmbeddings(vectors={"a": [1, "0"]}),  # type: ignore[list-item]
        "the vector of 'a' in vectors= takes finite numbers; got '0' at index 1",
    ),
    "a vector of bools": (
        lambda: ScriptedEmbeddings(vectors={"a": [True, False]}),
        "the vector of 'a' in vectors= takes finite numbers; got True at index 0",
    ),
    "a vector with NaN": (
        lambda: ScriptedEmbeddings(vectors={"a": [0.0, math.nan]}),
        "the vector of 'a' in vectors= takes finite numbers; got nan at index 1",
    ),
    "a vector with infinity": (
        lambda: ScriptedEmbeddings(vectors={"a": [-math.inf]}),
        "the vector of 'a' in vectors= takes finite numbers; got -inf at index 0",
    ),
    "vectors of different lengths": (
        lambda: ScriptedEmbeddings(vectors={"a": [1, 0], "b": [0, 1], "c": [1, 0, 0]}),
        "vectors= has vectors of different lengths: 2 for 'a', 3 for 'c'",
    ),
    "a size that is not that of the vectors": (
        lambda: ScriptedEmbeddings(size=3, vectors={"a": [1, 0]}),
        "size=3 is not the length of the vectors of vectors=, which is 2; leave size= out",
    ),
    "a size that is too small": (
        lambda: ScriptedEmbeddings(size=0),
        "size= is a whole number of 1 or more; got int 0",
    ),
    "a size that is no number": (
        lambda: ScriptedEmbeddings(size="8"),  # type: ignore[arg-type]
        "size= is a whole number of 1 or more; got str '8'",
    ),
    "a vector of what may not come": (
        lambda: ScriptedEmbeddings(vectors={"kittn": [1.0]}, texts=["cat", "kitten"]),
        "vectors= names 'kittn', which is not in texts=; did you mean `kitten`?",
    ),
    "a text that is none": (
        lambda: ScriptedEmbeddings(texts=["a", 5]),  # type: ignore[list-item]
        "texts= takes a str or several; got int 5",
    ),
    "a chat model that gives": (
        lambda: ScriptedChatModel("a", give("b")),
        "step 2 of a ScriptedChatModel is give('b') at {here}, but a model cannot give values, it says something",
    ),
    "a text model that gives": (
        lambda: ScriptedLLM(give("b")),
        "step 1 of a ScriptedLLM is give('b') at {here}, but a text model says text only",
    ),
    "a model whose function gives": (
        lambda: ScriptedLLM(respond(lambda request: give("b"))).invoke("hi"),
        "a model cannot give values, it says something; got give('b') at {here}",
    ),
}


def message_without_doc(q: str) -> str:
    return q


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_where_it_is_written_and_leaves_no_step_unused(name: str) -> None:
    act, text = MISTAKES[name]

    assert message_of(act) == text.replace("{here}", f"{HERE}:{act.__code__.co_firstlineno}")
    # ... and this test would fail if a script that was refused still waited for its calls.


def test_a_type_that_pydantic_does_not_take_is_told_in_its_words() -> None:
    text = message_of(lambda: scripted_tool("search", args={"q": 5}))

    assert text.startswith("args= of scripted_tool() makes no schema: Unable to generate pydantic-core schema for 5.")


def test_a_file_does_not_take_values(tmp_path: Path) -> None:
    with opened(Ledger()):
        script = Script(give("a"))

    assert message_of(lambda: script.dump(tmp_path / "script.yaml")) == (
        "step 1 gives a value, and a file holds what a model says: give('a')"
    )


def test_a_value_is_a_step_that_can_be_compared_and_hashed() -> None:
    assert give(["a"]).times(2) == give(["a"]).times(2) != give(["b"]).times(2)
    assert len({give(["a"]), give(["a"])}) == 1


# -- embeddings


def test_a_text_has_the_same_vector_on_every_machine() -> None:
    embeddings = ScriptedEmbeddings(size=4)

    assert embeddings.embed_query("cat") == CAT
    assert embeddings.embed_documents(["cat", "", "\ud800"])[0] == CAT


CAT = [0.06640709865777253, 0.6318742540034427, -0.10281312221887262, 0.7653459912190412]


def test_texts_without_a_given_vector_have_unit_vectors_of_the_same_length_nearly_at_right_angles() -> None:
    vectors = ScriptedEmbeddings().embed_documents([f"text {n}" for n in range(30)])

    products = {pair: math.fsum(map(operator.mul, *pair)) for pair in itertools.combinations(map(tuple, vectors), 2)}
    assert {len(vector) for vector in vectors} == {64}
    assert [math.fsum(number * number for number in vector) for vector in vectors] == pytest.approx([1.0] * 30)
    assert max(map(abs, products.values())) < 4 / math.sqrt(64)


def test_given_vectors_are_returned_as_they_are_and_give_the_others_their_length() -> None:
    given: dict[str, Any] = {"cat": [1, 0, 0, 0], "dog": (0.5, -2.0, 0, 1e300), "sun": array("f", [0.5] * 4), "nothing": [0] * 4}
    embeddings = ScriptedEmbeddings(vectors=given)

    found = embeddings.embed_documents([*given, "tax law"])

    assert found[:4] == [[1.0, 0.0, 0.0, 0.0], [0.5, -2.0, 0.0, 1e300], [0.5] * 4, [0.0] * 4]
    assert {type(number) for vector in found for number in vector} == {float}
    assert found[4] == ScriptedEmbeddings(size=4).embed_query("tax law")
    assert embeddings.size == 4


def test_who_changes_a_vector_changes_no_other() -> None:
    embeddings = ScriptedEmbeddings(vectors={"cat": [1.0, 0.0]}, size=2, texts=["cat"])

    embeddings.embed_query("cat").append(7.0)

    assert embeddings.embed_query("cat") == [1.0, 0.0]


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    embeddings = ScriptedEmbeddings(vectors={"cat": numpy.array([0.5, 0.25], dtype="float32")})

    assert embeddings.embed_query("cat") == [0.5, 0.25]


def test_the_calls_are_what_was_embedded_sync_and_async() -> None:
    embeddings = ScriptedEmbeddings()

    async def ask() -> None:
        await embeddings.aembed_documents(["a", "b"])
        await embeddings.aembed_query("c")

    with record() as recording:
        asyncio.run(ask())
        embeddings.embed_documents([])
        embeddings.embed_query("d")

    assert embeddings.calls == [
        Embedded("embed_documents", ("a", "b")),
        ("embed_query", ("c",)),
        ("embed_documents", ()),
        ("embed_query", ("d",)),
    ]
    assert list(recording) == []
    embeddings.verify()


def test_a_text_that_is_not_allowed_is_a_violation_with_the_nearest() -> None:
    embeddings, where = ScriptedEmbeddings(texts=["cat", "kitten"]), here()

    with expect_violation("unexpected text") as caught:
        for act in (
            lambda: embeddings.embed_documents(["kittn", "cat", "a tax law", "kittn"]),
            lambda: embeddings.embed_query("cta" * 100),
        ):
            with pytest.raises(ViolationError):
                act()

    hint = f"  texts= is given at {where}; add them there, or find out why they are embedded"
    assert [violation.text for violation in caught] == [
        "embed_documents was given 2 texts that texts= does not have\n"
        "  got  'kittn'; did you mean `kitten`?\n"
        "  got  'a tax law'\n" + hint,
        "embed_query was given 1 text that texts= does not have\n"
        f"  got  {('cta' * 100)[:184]!r} ... {('cta' * 100)[-16:]!r} (300 characters)\n" + hint,
    ]
    assert embeddings.embed_query("cat") == ScriptedEmbeddings().embed_query("cat")


def test_what_is_no_text_is_a_violation_and_outside_pytest_verify_tells_it() -> None:
    with opened(Ledger()):
        embeddings: Any = ScriptedEmbeddings()
        for act in (
            lambda: embeddings.embed_query(5),
            lambda: embeddings.embed_documents("abc"),
            lambda: embeddings.embed_documents(["a", None]),
        ):
            with pytest.raises(ViolationError):
                act()

        with pytest.raises(ViolationError) as caught:
            embeddings.verify()

    assert [violation.text for violation in caught.value.violations] == [
        "embed_query takes a str; got int 5\n  find out what the program embeds",
        "embed_documents takes a list of str; got str 'abc'\n  find out what the program embeds",
        "embed_documents takes a list of str; got NoneType None\n  find out what the program embeds",
    ]
    assert embeddings.calls == []


# -- what every chat model takes


def test_a_chat_model_takes_what_every_chat_model_takes() -> None:
    model = ScriptedChatModel("a", temperature=0.5, max_tokens=9, timeout=1, max_retries=2, api_key="sk-secret", stop=["END"])

    with record() as recording:
        model.invoke("hi")

    params = recording.models[0].start.payload["invocation_params"]
    assert (params["temperature"], params["max_tokens"]) == (0.5, 9)
    assert "sk-secret" not in json.dumps(recording.models[0].start.payload, default=str) + repr(model)
    assert model._get_ls_params()["ls_stop"] == ["END"]


def test_a_stop_sequence_of_the_model_is_kept_unless_the_call_has_its_own() -> None:
    model = ScriptedChatModel(say("to the END").times(2), stop=["END"])

    with expect_violation("stop sequence"), pytest.raises(ViolationError):
        model.invoke("hi")

    assert model.invoke("hi", stop=["x"]).content == "to the END"


def test_an_answer_is_from_the_model_that_the_call_asks_for() -> None:
    model = ScriptedChatModel(say("a").times(2), model_name="small")

    first, second = model.invoke("hi", model="large"), model.invoke("hi")

    assert [m.response_metadata["model_name"] for m in (first, second)] == ["large", "small"]
