"""Calls of retrievers and tools that a script does not answer, and steps that they refuse."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from llmtest import (
    Script,
    ScriptedChatModel,
    ScriptedEmbeddings,
    ScriptedLLM,
    ScriptedRetriever,
    ViolationError,
    fail,
    on,
    respond,
    say,
    scripted_tool,
    think,
)
from llmtest.errors import expect_violation
from llmtest.ledger import Ledger, opened
from llmtest.scripts import Request, give
from tests.support.doubles import contents, here, message_of, search, shown


def test_a_call_without_a_step_is_a_violation_that_names_the_double() -> None:
    retriever, a = ScriptedRetriever("a"), here()
    named = ScriptedRetriever(name="docs")
    made, b = scripted_tool(search, on(contains="Paris") >> "18C", give("b" * 300)), here()
    retriever.invoke("1")
    made.invoke({"q": "1"})
    made.invoke({"q": "Paris"})

    with expect_violation("unexpected call", times=3) as caught:
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
        f"1 of 2 steps of the script was not used often enough\n  step 2  give('b').times(2)  used 1 of 2 times  at {b}\n"
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
        "two concurrent runs take steps from the same unkeyed script; which run gets which step is a race\n"
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
    in_a_call = name in ("returned by a function", "a model whose function gives")

    with expect_violation("script error") if in_a_call else nullcontext():
        told = message_of(act)

    assert told == text.replace("{here}", f"{shown(__file__)}:{act.__code__.co_firstlineno}")
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
