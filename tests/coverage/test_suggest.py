"""The tests that are suggested run, and hit what they are suggested for."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmtest.coverage import items
from llmtest.coverage.data import CoverageData, load
from llmtest.coverage.programs import Branch, Component, Decision, Model, Node, Program, Tool
from llmtest.coverage.report import Report, Row
from llmtest.coverage.suggest import Entry, suggest
from llmtest.errors import InventError
from llmtest.langchain.named_programs import entries_of
from tests.support import covered_programs

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "kind": {"enum": ["a", "b"], "type": "string"}, "odd-name": {"type": "string"}},
    "required": ["n"],
}


def missed(*things: Any) -> list[Row]:
    return [Row(item, "missed") for item in things]


def body(item: Any, program: Program | None = None, entry: Entry | None = None) -> str:
    """Return the test that is suggested for an item, without the head of the module."""
    text = suggest(missed(item), {"a": program} if program is not None else {}, {"a": entry} if entry is not None else {})
    ast.parse(text)
    return text[text.index("def test_") :].strip()


@pytest.fixture(autouse=True)
def _no_luck(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be invented, as without Faker: each schema has its plain values. Suggestions that run have real ones."""
    if "pytester" in request.fixturenames:
        return

    def refuse(*_: object) -> Any:
        raise InventError("not installed")

    monkeypatch.setattr("llmtest.auto.values.arguments", refuse)
    monkeypatch.setattr("llmtest.auto.values.value", refuse)


BUILD = Entry("app", "build", is_factory=True, parameter="model")
TOOLS = Program("a", tools={"t": Tool("t", SCHEMA), "none": Tool("none"), "asks": Tool("asks", interrupts=True)})


@pytest.mark.parametrize(
    ("item", "script"),
    [
        (items.tool("a", "t", "called"), "call('t', n=1), say(\"Done.\")"),
        (items.tool("a", "t", "refused"), "call('t', n={'not': 'valid'}).unchecked(), say(\"Done.\")"),
        (items.tool("a", "none", "called"), "call('none'), say(\"Done.\")"),
        (items.argument("a", "t", "kind", "given"), "call('t', n=1, kind='a'), say(\"Done.\")"),
        (items.argument("a", "t", "kind", "='b'"), "call('t', n=1, kind='b'), say(\"Done.\")"),
        (items.argument("a", "t", "kind", "left_out"), "call('t', n=1), say(\"Done.\")"),
        (items.argument("a", "t", "odd-name", "given"), "call('t', {'n': 1, 'odd-name': 'text'}), say(\"Done.\")"),
        (items.outcome("a", "m", "several_calls"), "reply(call('t', n=1), call('t', n=1)), say(\"Done.\")"),
        (items.outcome("a", "m", "length"), 'say("This answer is cut", stop_reason="length")'),
        (items.outcome("a", "m", "text"), 'say("Hello.")'),
    ],
)
def test_what_a_model_decides_is_scripted_in_full(item: Any, script: str) -> None:
    text = body(item, TOOLS, BUILD)

    assert f"    program = build(model=ScriptedChatModel({script}))\n" in text
    assert "TODO" not in text.replace("TODO: what does a user say?", "")
    assert text.endswith("    program.invoke(given)")


@pytest.mark.parametrize(
    ("item", "question"),
    [
        (items.tool("a", "t", "raised"), "what makes `t` raise? Prepare it here"),
        (items.tool("a", "asks", "interrupted"), "when does `asks` interrupt, and what does a person answer?"),
        (items.answer("a", "Form", "refused"), "which fields has a valid `Form`?"),
        (items.node("a", "plan"), "which input leads to the node `plan`?"),
        (items.edge("a", "plan", "book"), "which input or answer makes `route` return `book`?"),
        (items.edge("a", "other", "book"), "how does the graph come to `other`?"),
        (items.argument("a", "gone", "x", "left_out"), "which call of a tool leads to `gone.x.left_out`?"),
        (
            next(Component("retries", "n", {"used": ("retry of `n`", "used")}).items("a")),
            "what leads to this: retry of `n` used?",
        ),
        (items.Item("a", "interrupts", "ask.raised", "interrupt", "raised"), "which input leads to the interrupt of `ask`?"),
    ],
)
def test_what_a_script_cannot_decide_is_a_question_and_the_test_is_skipped(item: Any, question: str) -> None:
    program = Program("a", tools=TOOLS.tools, branches={"plan": [Branch("plan", "route", {"b": "book"}, "route")]})

    text = body(item, program, BUILD)

    assert f"    # TODO: {question}\n    pytest.skip({f'TODO: {question}'!r})\n" in text


def test_a_program_that_is_not_known_is_a_question() -> None:
    text = body(items.outcome("a", "m", "tool_call"))

    assert "# TODO: which tool does the model of `m` call?" in text
    assert "# TODO: how is `a` made? Name it in the ini key llmtest_cov" in text
    assert 'scripted_providers({"*": [call("TODO"), say("Done.")]})' in text


@pytest.mark.parametrize("mode", items.MODES)
def test_each_way_of_a_call(mode: str) -> None:
    entry = Entry("app", "graph", inputs={"properties": {"n": {"type": "integer"}}, "required": ["n"]})

    text = body(items.mode("a", mode), Program("a"), entry)

    assert "    program = graph\n    given = {'n': 1}\n" in text
    assert f".{mode.removesuffix('_v3')}(" in text


def test_the_edge_of_an_agent_is_what_its_model_decides() -> None:
    program = Program("a", tools=TOOLS.tools, branches={"model": [Branch("model", "r", {"x": "tools", "y": "__end__"}, None)]})

    assert "ScriptedChatModel(call('t', n=1), say(\"Done.\"))" in body(items.edge("a", "model", "tools"), program, BUILD)
    assert 'ScriptedChatModel(say("Done."))' in body(items.edge("a", "model", "__end__"), program, BUILD)


@pytest.mark.parametrize(
    ("kind", "decision"),
    [
        ("approve", {"type": "approve"}),
        ("edit", {"type": "edit", "edited_action": {"name": "t", "args": {"n": 1}}}),
        ("reject", {"type": "reject", "message": "no"}),
    ],
)
def test_a_decision_is_given_when_the_program_goes_on(kind: str, decision: dict[str, Any]) -> None:
    text = body(items.Item("a", "interrupts", f"t.{kind}", "call of `t`", kind), TOOLS, BUILD)

    assert f"    program.invoke(Command(resume={{'decisions': [{decision!r}]}}), config)" in text


def test_two_items_of_one_name_get_two_tests_and_nothing_missing_gets_none() -> None:
    text = suggest(missed(items.node("a", "x"), items.node("a", "X")), {}, {})

    assert [line for line in text.splitlines() if line.startswith("def ")] == ["def test_a_x():", "def test_a_x_2():"]
    assert (
        suggest([], {}, {})
        == '"""What no test has seen yet. Written by `llmtest cov suggest`: answer each TODO, and delete it."""\n'
    )


APPS = """
from typing import Literal
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel
from llmtest import ScriptedChatModel
from tests.support import covered_programs

class Wiki(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []

def desk(model):
    return covered_programs.desk(model)

def pipeline():
    return covered_programs.pipeline()

def rag(model):
    return covered_programs.rag(model, ScriptedChatModel(model_name="backup"), model, Wiki(name="wiki"))

class Address(BaseModel):
    street: str
    kind: Literal["home", "work"] = "home"

class Sent(BaseModel):
    "It was sent."
    to: Address
    number: int

class Lost(BaseModel):
    "It was lost."
    why: Literal["rain", "theft"]

@tool
def ship(to: Address, note: str | int = "") -> str:
    "Ship a parcel."
    return "ok"

def forms(model):
    person = HumanInTheLoopMiddleware(interrupt_on={"ship": True})
    form = ToolStrategy(Sent | Lost)
    return create_agent(model, [ship], response_format=form, middleware=[person], checkpointer=InMemorySaver(), name="forms")

def native(model):
    return create_agent(model, [ship], response_format=ProviderStrategy(Sent), name="native")
"""
KINDS_THAT_A_SCRIPT_DECIDES = {"tools", "arguments", "models", "answers", "edges", "nodes", "interrupts", "modes"}


def test_each_suggestion_without_a_question_runs_and_hits_what_it_is_for(
    pytester: pytest.Pytester, written: Callable[..., CoverageData]
) -> None:
    pytester.makepyfile(apps=APPS)
    pytester.syspathinsert()
    programs, entries = entries_of([f"apps:{name}" for name in ("desk", "pipeline", "rag", "forms", "native")])
    things = [item for program in programs.values() for item in (*program.items(), *program.mode_items())]
    rows = Report(written(("t", [], []), things=things)).missing()

    text = suggest(rows, programs, entries)
    pytester.makepyfile(test_more=text)
    shutil.copytree(Path(covered_programs.__file__).parent, pytester.path / "tests" / "support")
    pytester.makeini("[pytest]\nfilterwarnings = ignore\n")
    result = pytester.runpytest_inprocess(
        "--llmtest-cov", "--llmtest-cov-context=test", "-p", "no:asyncio", "-p", "no:cacheprovider"
    )

    bodies = text.split("\ndef ")[1:]
    assert len(bodies) == len(rows)
    ready = {row.item.id: body.partition("(")[0] for row, body in zip(rows, bodies, strict=True) if "pytest.skip(" not in body}
    result.assert_outcomes(passed=len(ready), skipped=len(rows) - len(ready))
    contexts = load([pytester.path / ".llmtest" / "coverage"]).contexts()
    assert [item for item, name in ready.items() if f"test_more.py::{name}" not in contexts.get(item, ())] == []
    assert {item.split("/")[1] for item in ready} == KINDS_THAT_A_SCRIPT_DECIDES
    asked = {row.item.id for row in rows} - set(ready)
    decided = {item for item in asked if item.startswith("desk/")}
    assert {item.rpartition(".")[2] for item in decided if "/tools/" in item} == {"raised", "interrupted", "answered"}
    assert {item.split("/")[1] for item in decided} == {"tools", "middleware"}
    assert {item for item in asked if item.startswith(("forms/", "native/"))} == {
        "forms/edges/tools->__end__",
        "forms/middleware/HumanInTheLoopMiddleware.after_model",
        "forms/tools/ship.raised",
        "native/edges/model->model",
        "native/tools/ship.raised",
    }


def test_a_decision_that_is_not_to_approve_is_a_question() -> None:
    program = Program(
        "a", tools={"book": Tool("book")}, models=[Model("model", True, True)], decisions=[Decision("book", ("edit",))]
    )

    assert "# TODO: what does a person decide about `book`?" in body(items.tool("a", "book", "called"), program)


@pytest.mark.parametrize("name", ['a"""b', "a\\", 'a"', "a'b"])
def test_a_name_with_quotes_is_told_in_a_docstring(name: str) -> None:
    text = suggest(missed(items.node("a", name)), {}, {})

    (test,) = [part for part in ast.parse(text).body if isinstance(part, ast.FunctionDef)]
    assert ast.get_docstring(test) == f"node `{name}` ran."


@pytest.mark.parametrize(
    ("item", "steps"),
    [
        (items.mode("a", "invoke"), 'structured({"TODO": 1})'),
        (items.tool("a", "book", "called"), "call('book'), structured({\"TODO\": 1})"),
        (items.outcome("a", "model", "empty"), 'say("").unchecked()'),
    ],
)
def test_a_model_that_must_call_a_tool_ends_with_its_answer(item: Any, steps: str) -> None:
    program = Program("a", tools={"book": Tool("book")}, models=[Model("model", False, True)], answers={"Form": {}})

    text = body(item, program)

    assert f'scripted_providers({{"*": [{steps}]}})' in text
    assert ("which fields has a valid `Form`?" in text) == ("TODO" in steps)


@pytest.mark.parametrize(
    ("item", "question"),
    [
        (items.tool("a", "book", "called"), "which input leads to the node `late`?"),
        (items.outcome("a", "late", "text"), "which input leads to the node `late`?"),
        (items.edge("a", "tools", "__end__"), "which input or answer makes `r` return `__end__`?"),
    ],
)
def test_a_node_behind_a_condition_is_a_question(item: Any, question: str) -> None:
    program = Program(
        "a",
        nodes={"first": Node("first"), "late": Node("late")},
        edges={("__start__", "first")},
        tools={"book": Tool("book")},
        models=[Model("late", has_tools=True)],
        branches={"tools": [Branch("tools", "r", {"x": "__end__"}, None)]},
    )

    assert f"# TODO: {question}\n" in body(item, program, BUILD)
