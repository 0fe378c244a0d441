"""LangGraph's graphs as far as they ran: the path, the drawing, mermaid."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

from llmtest import Recording, ScriptedChatModel, record
from llmtest.viewer import graphs
from llmtest.viewer.graphs import graphs_of
from tests.support.pages import trip


def graphs_in(recording: Recording) -> list[dict[str, Any]]:
    order = recording.order()
    positions = {run.id: number for number, run in enumerate(order.runs)}
    parents = [-1 if (above := order.seat(run).parent) is None else positions[above.id] for run in order.runs]
    return graphs_of(order.runs, parents, [run.name for run in order.runs])


def elements(drawing: list[Any], tag: str) -> list[list[Any]]:
    """All elements of a drawing with a tag, in order."""
    inner = [found for part in drawing[2:] if isinstance(part, list) for found in elements(part, tag)]
    return [drawing, *inner] if drawing[0] == tag else inner


def test_a_program_without_a_graph_has_none() -> None:
    with record() as recording:
        ScriptedChatModel("hello").invoke("hi")

    assert graphs_in(recording) == []


def test_the_path_has_the_runs_of_each_step() -> None:
    recording = trip()
    (graph,) = graphs_in(recording)

    names = [[recording.order().runs[run].name for run in runs] for _, runs in graph["path"]]

    assert graph["run"] == 0
    assert [step for step, _ in graph["path"]] == [1, 2, 3, 4, 5]
    assert names == [["model"], ["tools", "tools"], ["model"], ["tools"], ["model"]]


def test_mermaid_has_each_edge_once_with_its_count() -> None:
    (graph,) = graphs_in(trip())

    assert graph["mermaid"].splitlines() == [
        "graph TD",
        '  n0["__start__"]',
        '  n1["model"]',
        '  n2["tools"]',
        '  n3["__end__"]',
        "  n0 --> n1",
        "  n1 -->|2| n2",
        "  n2 -->|2| n1",
        "  n1 --> n3",
    ]


def test_the_drawing_has_a_box_for_each_node_with_its_runs() -> None:
    (graph,) = graphs_in(trip())

    boxes = [(box[1].get("label"), box[1].get("data-runs"), box[3][2]) for box in elements(graph["drawing"], "g")]

    assert [(label, shown) for label, _, shown in boxes] == [
        (None, "__start__"),
        ("node model, ran 3 times", "model  ×3"),
        ("node tools, ran 3 times", "tools  ×3"),
        (None, "__end__"),
    ]
    assert boxes[1][1] == ",".join(str(run) for _, runs in graph["path"][::2] for run in runs)


def test_edges_go_down_past_other_rows_and_back() -> None:
    (graph,) = graphs_in(trip())

    paths = [part[1]["d"] for part in elements(graph["drawing"], "path") if "marker-end" in part[1]]

    assert paths == [
        "M162 58C162 77 162 78 162 97",
        "M162 136C162 155 162 156 162 175",
        "M236 192C289 192 289 124 241 124",
        "M88 124C39 124 39 275 83 275",
    ]


def test_parallel_nodes_stand_side_by_side() -> None:
    class State(TypedDict):
        text: str

    builder = StateGraph(State)
    for name in ("plan", 'a "quoted" <node>', "b"):
        builder.add_node(name, lambda state: {})
    builder.add_edge(START, "plan")
    for name in ('a "quoted" <node>', "b"):
        builder.add_edge("plan", name)
        builder.add_edge(name, END)
    with record() as recording:
        builder.compile().invoke({"text": "go"})

    (graph,) = graphs_in(recording)

    boxes = {box[3][2]: (box[2][1]["x"], box[2][1]["y"]) for box in elements(graph["drawing"], "g")}
    assert boxes['a "quoted" <node>'][1] == boxes["b"][1]
    assert abs(boxes['a "quoted" <node>'][0] - boxes["b"][0]) == 190
    assert '["a &quot;quoted&quot; &lt;node>"]' in graph["mermaid"]


def test_a_graph_of_too_many_nodes_is_not_drawn(monkeypatch: Any) -> None:
    monkeypatch.setattr(graphs, "MAX_NODES", 3)

    (graph,) = graphs_in(trip())

    assert graph["drawing"] is None
    assert len(graph["path"]) == 5
