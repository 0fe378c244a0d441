from __future__ import annotations

from llmtest.coverage.programs import Branch, Component, Decision, Model, Node, Program, Tool, tool_items


def names(tool: Tool) -> list[str]:
    return [item.name for item in tool_items("a", tool)]


def test_a_tool_without_arguments_cannot_be_refused_and_one_that_interrupts_can_be_interrupted() -> None:
    assert names(Tool("t", interrupts=True)) == ["t.called", "t.answered", "t.raised", "t.interrupted"]


def test_all_items_of_a_program() -> None:
    program = Program("p", modes=("invoke", "stream"))
    program.nodes = {
        "a": Node("a", "app.py:1", ends=("b",), attempts=3, interrupts=True, on_error="c"),
        "b": Node("b", is_hook=True),
        "c": Node("c"),
    }
    program.edges = {("__start__", "a")}
    program.waiting = {(("a", "b"), "c")}
    program.branches = {
        "b": [Branch("b", "known", {"yes": "c", "no": "__end__", "maybe": "c"}, "known"), Branch("b", "open", None, None)]
    }
    program.stops_before, program.stops_after = ("c",), ("a",)
    program.models = [Model("a", has_text=False, has_tools=True)]
    program.answers = {"Form": ""}
    program.components = [
        Component("prompts", "prompt", {"": ("prompt", "formatted")}),
        Component("branches", "r", {"x": ("x", "taken")}, unknown="why"),
    ]
    program.decisions = [Decision("pay", ("approve", "odd"))]
    program.wraps = ["M.wrap_model_call"]

    found = {item.id.removeprefix("p/"): item for item in program.items()}

    assert sorted(found) == sorted(
        [
            "nodes/a",
            "nodes/b",
            "nodes/c",
            "edges/a->b",
            "edges/a->c",
            "edges/b->c",
            "edges/__start__->a",
            "edges/b->__end__",
            "edges/b->?open",
            "retries/a.used",
            "retries/a.exhausted",
            "models/a.tool_call",
            "models/a.several_calls",
            "models/a.empty",
            "models/a.length",
            "models/a.content_filter",
            "models/a.refusal",
            "models/a.error",
            "answers/Form.given",
            "answers/Form.refused",
            "prompts/prompt",
            "branches/r.x",
            "interrupts/a.raised",
            "interrupts/a.resumed",
            "interrupts/before_c.raised",
            "interrupts/before_c.resumed",
            "interrupts/after_a.raised",
            "interrupts/after_a.resumed",
            "interrupts/pay.approve",
            "interrupts/pay.odd",
            "middleware/b",
            "middleware/M.wrap_model_call",
        ]
    )
    assert {name for name, item in found.items() if item.unknown} == {
        "edges/b->?open",
        "branches/r.x",
        "middleware/M.wrap_model_call",
    }
    assert found["edges/a->c"].place == "app.py:1"
    assert found["interrupts/pay.odd"].missing == "call of `pay` never decided with odd"
    assert [item.id for item in program.mode_items()] == ["p/modes/invoke", "p/modes/stream"]
    assert program.silent_ends == {}
