from __future__ import annotations

import re
from xml.etree import ElementTree

from llmtest.coverage import items
from llmtest.coverage.drawing import graph_of, mermaid, svg
from llmtest.coverage.report import Row

ROWS = [
    Row(items.node("a", "plan <1>"), "hit", tests=("test_one", "test_two")),
    Row(items.node("a", "book"), "missed"),
    Row(items.node("a", "lost"), "missed"),
    Row(items.edge("a", "__start__", "plan <1>"), "hit"),
    Row(items.edge("a", "plan <1>", "book"), "missed"),
    Row(items.edge("a", "book", "plan <1>"), "ambiguous"),
    Row(items.edge("a", "book", "__end__"), "excluded"),
    Row(items.open_edge("a", "plan <1>", "route"), "unknown"),
    Row(items.tool("a", "t", "raised"), "missed"),
]


def test_the_nodes_and_edges_of_a_program() -> None:
    nodes, edges = graph_of(ROWS)

    assert [*nodes] == ["plan <1>", "book", "lost", "__start__", "__end__"]
    assert nodes["__start__"] is None
    assert {pair: row.state for pair, row in edges.items()} == {
        ("__start__", "plan <1>"): "hit",
        ("plan <1>", "book"): "missed",
        ("book", "plan <1>"): "ambiguous",
        ("book", "__end__"): "excluded",
    }


def test_a_drawing_has_each_node_and_edge_with_its_state_and_its_sentence() -> None:
    drawing = ElementTree.fromstring(svg(ROWS))

    boxes = {str(box.find("text").text): box for box in drawing.findall("g")}  # type: ignore[union-attr]
    assert {name: box.get("class") for name, box in boxes.items()} == {
        "plan <1>": "node hit",
        "book": "node missed",
        "lost": "node missed",
        "__start__": "node end",
        "__end__": "node end",
    }
    assert boxes["plan <1>"].findtext("title") == "node `plan <1>` ran\n2 tests:\ntest_one\ntest_two"
    assert boxes["book"].findtext("title") == "node `book` never ran"
    told = [path.findtext("title") for path in drawing.findall("path")]
    assert told == [
        "edge `__start__ → plan <1>` taken",
        "edge `plan <1> → book` never taken",
        "edge `book → plan <1>` taken (ambiguous)",
        "edge `book → __end__` taken (excluded)",
    ]
    rows = [int(str(boxes[name].find("rect").get("y"))) for name in ("__start__", "plan <1>", "book", "lost", "__end__")]  # type: ignore[union-attr]
    assert rows == sorted(rows)
    assert len(set(rows)) == 5


def test_a_graph_in_the_language_of_mermaid() -> None:
    assert mermaid(ROWS) == "\n".join(
        [
            "graph TD",
            '  n0["plan &lt;1>"]',
            '  n1["book"]',
            '  n2["lost"]',
            '  n3["__start__"]',
            '  n4["__end__"]',
            "  n3 --> n0",
            "  n0 --> n1",
            "  n1 --> n0",
            "  n1 --> n4",
            "  style n0 stroke:#2e7d32",
            "  style n1 stroke:#c62828,stroke-dasharray:6 4",
            "  style n2 stroke:#c62828,stroke-dasharray:6 4",
            "  linkStyle 0 stroke:#2e7d32",
            "  linkStyle 1 stroke:#c62828,stroke-dasharray:6 4",
            "  linkStyle 2 stroke:#b26a00,stroke-dasharray:2 3",
            "  linkStyle 3 stroke:#bbbbbb,stroke-dasharray:2 3",
        ]
    )


def test_a_program_without_edges_and_a_huge_graph_are_not_drawn() -> None:
    chain = [Row(items.outcome("a", "", "text"), "hit")]
    huge = [Row(items.edge("a", f"n{number}", f"n{number + 1}"), "hit") for number in range(250)]

    assert (svg(chain), mermaid(chain), svg(huge)) == ("", "", "")
    assert len(re.findall("-->", mermaid(huge))) == 250
