from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from llmtest import ScriptedChatModel
from llmtest.errors import CoverageError
from llmtest.langchain.named_programs import entries_of, loaded_object, named_object


class State(TypedDict, total=False):
    text: str
    odd: Any


def node(state: State) -> State:
    return {}


def build(model: Any = None, *, llm: Any) -> Any:
    assert isinstance(llm, ScriptedChatModel)
    made = StateGraph(State)
    made.add_node("node", node)
    made.add_edge(START, "node")
    return made.compile(name="built", checkpointer=InMemorySaver())


def needs_more(path: str) -> Any:
    return path


def gives_text() -> str:
    return "text"


CHAIN = RunnableLambda(node).with_config(run_name="chain")
NUMBER = 3


class Box:
    inner = CHAIN


ME = __name__


def test_a_name_is_of_an_object_or_of_a_function_that_makes_it() -> None:
    assert named_object(f"{ME}:CHAIN") is CHAIN
    assert named_object(f"{ME}:Box.inner") is CHAIN
    assert getattr(named_object(f"{ME}:build"), "name", "") == "built"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "no_such_module:x",
            "there is no program no_such_module:x: No module named 'no_such_module'\n  a program is named as `module:object`",
        ),
        (
            f"{ME}:gone",
            f"there is no program {ME}:gone: module '{ME}' has no attribute 'gone'\n  a program is named as `module:object`",
        ),
        (
            f"{ME}:NUMBER",
            f"{ME}:NUMBER is no program, but a int\n  name a compiled graph, a chain, or a function that returns one",
        ),
        (
            f"{ME}:gives_text",
            f"{ME}:gives_text is no program, but a str\n  name a compiled graph, a chain, or a function that returns one",
        ),
        (
            f"{ME}:needs_more",
            f"the factory {ME}:needs_more has failed: TypeError: needs_more() missing 1 required positional argument: 'path'"
            "\n  it may take a `model`, and nothing else",
        ),
    ],
)
def test_a_name_of_no_program_is_refused(line: str, told: str) -> None:
    with pytest.raises(CoverageError) as caught:
        named_object(line)

    assert str(caught.value) == told


def test_a_module_that_is_not_imported_has_no_object_yet() -> None:
    assert loaded_object(f"{ME}:CHAIN") is CHAIN
    assert loaded_object(f"{ME}:gone.more") is None
    assert loaded_object("xml.sax.expatreader:version") is None or "xml.sax.expatreader" in sys.modules


def test_how_a_test_gets_a_program() -> None:
    programs, entries = entries_of([f"{ME}:build", f"{ME}:CHAIN"])

    assert [*programs] == ["built", "chain"]
    built, chain = entries["built"], entries["chain"]
    assert (built.module, built.name, built.is_factory, built.parameter, built.has_memory) == (ME, "build", True, "model", True)
    assert built.inputs == {
        "type": "object",
        "properties": {"text": {"type": "string"}, "odd": {}},
        "required": ["text", "odd"],
    }
    assert (chain.name, chain.is_factory, chain.parameter, chain.has_memory) == ("CHAIN", False, "", False)


def test_an_input_without_a_json_schema_is_anything() -> None:
    def odd(value: type[int]) -> int:
        return 1

    setattr(sys.modules[ME], "ODD", RunnableLambda(odd))  # noqa: B010, type checkers know no such name
    try:
        _, entries = entries_of([f"{ME}:ODD"])
    finally:
        delattr(sys.modules[ME], "ODD")

    assert entries["odd"].inputs.get("properties", {}) == {}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('no key')", "RuntimeError: no key"),
        ("import sys; sys.exit(4)", "SystemExit: 4"),
        ("def x(:", "SyntaxError: invalid syntax (odd_module.py, line 1)"),
    ],
)
def test_a_module_that_raises_or_leaves(source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(CoverageError) as caught:
        named_object("odd_module:graph")

    assert str(caught.value) == f"odd_module:graph cannot be read: {told}\n  the module must import, and have the object"


def leaves() -> None:
    raise SystemExit(3)


def test_a_factory_that_leaves() -> None:
    with pytest.raises(CoverageError) as caught:
        named_object(f"{ME}:leaves")

    assert str(caught.value) == f"the factory {ME}:leaves has failed: SystemExit: 3\n  it may take a `model`, and nothing else"
