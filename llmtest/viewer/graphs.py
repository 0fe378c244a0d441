"""The LangGraph graphs of a trace as far as they ran: their nodes with places on a drawing, and the path that was taken.

Callbacks tell which node ran in which step, and no edges. Edges join the nodes of consecutive steps of one graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from llmtest.core.text import amount, clip
from llmtest.events.events import Run
from llmtest.order.siblings import step_of_node

START, END = "__start__", "__end__"
WIDTH: Final = 148
HEIGHT: Final = 34
_ACROSS: Final = 190
_DOWN: Final = 78
_MARGIN: Final = 24
_BULGE: Final = 20
_LEFT: Final = 2 * (_MARGIN + _BULGE)
MAX_NODES: Final = 200
"""A larger graph is listed as a path and not drawn."""


def graphs_of(runs: Sequence[Run], parents: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the graphs of a trace, each as plain data: the `run` of the graph, its `path`, its `drawing`, or
    None if it has too many nodes, and the same in the language of `mermaid`.

    `parents` are the positions of the runs around `runs`, and `names` what the runs are called on the page. A path is a list
    of steps: the number of each, and the positions of its runs.
    """
    found: dict[int, dict[int, list[int]]] = {}
    for position, run in enumerate(runs):
        step = _step_of(run)
        if step is not None and parents[position] >= 0:
            found.setdefault(parents[position], {}).setdefault(step, []).append(position)
    return [_graph(graph, steps, names) for graph, steps in found.items()]


def _step_of(run: Run) -> int | None:
    """Return the step in which LangGraph ran a node; None for a run that is no node."""
    return step_of_node(run) if run.metadata.get("langgraph_node") == run.name else None


def _graph(graph: int, steps: Mapping[int, Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
    path = sorted(steps.items())
    layers = [list(dict.fromkeys(names[run] for run in runs)) for _, runs in path]
    edges = _edges([[START], *layers, [END]])
    nodes = placed(layers)
    runs_of = {name: [run for _, runs in path for run in runs if names[run] == name] for name in nodes}
    return {
        "run": graph,
        "path": [[step, list(runs)] for step, runs in path],
        "drawing": _drawing(nodes, edges, runs_of) if len(nodes) <= MAX_NODES else None,
        "mermaid": _mermaid(edges),
    }


# -- the drawing: elements of SVG, each as its name, its attributes, and what is inside it


def _drawing(
    nodes: Mapping[str, tuple[int, int]], edges: Mapping[tuple[str, str], int], runs_of: Mapping[str, Sequence[int]]
) -> list[Any]:
    width, height = max(x for x, _ in nodes.values()) + WIDTH + _LEFT, max(y for _, y in nodes.values()) + HEIGHT + _MARGIN
    arrows = [shape for (a, b), count in edges.items() for shape in _arrow(nodes[a], nodes[b], count)]
    boxes = [_box(name, x, y, runs_of[name]) for name, (x, y) in nodes.items()]
    size = {"width": width, "height": height, "viewBox": f"0 0 {width} {height}", "role": "group", "label": "graph"}
    return ["svg", size, _TIP, *arrows, *boxes]


_TIP: Final = [
    "defs",
    {},
    [
        "marker",
        {"id": "tip", "viewBox": "0 0 8 8", "refX": 6, "refY": 4, "markerWidth": 7, "markerHeight": 7, "orient": "auto"},
        ["path", {"class": "tip", "d": "M0 0L8 4L0 8z"}],
    ],
]


def _arrow(a: tuple[int, int], b: tuple[int, int], count: int) -> list[Any]:
    line, x, y = curve(a, b)
    label = [["text", {"class": "count", "x": x, "y": y}, f"×{count}"]] if count > 1 else []
    return [["path", {"d": line, "marker-end": "url(#tip)"}], *label]


def _box(name: str, x: int, y: int, runs: Sequence[int]) -> list[Any]:
    times = f"  ×{len(runs)}" if len(runs) > 1 else ""
    told = {"class": "end"}
    if runs:
        label = f"node {name}, ran {amount(len(runs), 'time')}"
        told = {"class": "node", "tabindex": "0", "role": "button", "label": label, "data-runs": ",".join(map(str, runs))}
    text = ["text", {"x": x + WIDTH // 2, "y": y + 21}, clip(name, 20, "…") + times]
    return ["g", told, ["rect", {"x": x, "y": y, "width": WIDTH, "height": HEIGHT, "rx": 8}], text]


def _edges(layers: Sequence[Sequence[str]]) -> dict[tuple[str, str], int]:
    edges: dict[tuple[str, str], int] = {}
    for before, after in pairwise(layers):
        for pair in ((a, b) for a in before for b in after):
            edges[pair] = edges.get(pair, 0) + 1
    return edges


def placed(layers: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Return the place of each node: in the row of the step in which it ran first."""
    rows: list[list[str]] = [[START]]
    seen = {START}
    for layer in layers:
        fresh = [name for name in layer if name not in seen]
        seen.update(fresh)
        rows += [fresh] if fresh else []
    rows.append([END])
    widest = max(map(len, rows))
    return {
        name: (_LEFT + (widest - len(row)) * _ACROSS // 2 + column * _ACROSS, _MARGIN + number * _DOWN)
        for number, row in enumerate(rows)
        for column, name in enumerate(row)
    }


def curve(a: tuple[int, int], b: tuple[int, int]) -> tuple[str, int, int]:
    """Return an edge as a path of SVG, and the place of its label: straight down, around the left side past other rows, or
    around the right side if it leads back."""
    (x, y), (to_x, to_y) = a, b
    if to_y > y + _DOWN:
        start, end = (x, y + HEIGHT // 2 + 5), (to_x - 5, to_y + HEIGHT // 2)
        left = min(start[0], end[0]) - _MARGIN - _BULGE
        return f"M{start[0]} {start[1]}C{left} {start[1]} {left} {end[1]} {end[0]} {end[1]}", left + _BULGE, (y + to_y) // 2 + 20
    if to_y > y:
        start, end = (x + WIDTH // 2, y + HEIGHT), (to_x + WIDTH // 2, to_y - 5)
        bend = (end[1] - start[1]) // 2
        line = f"M{start[0]} {start[1]}C{start[0]} {start[1] + bend} {end[0]} {end[1] - bend} {end[0]} {end[1]}"
        return line, (start[0] + end[0]) // 2 + 5, (start[1] + end[1]) // 2
    start, end = (x + WIDTH, y + HEIGHT // 2 - 5), (to_x + WIDTH + 5, to_y + HEIGHT // 2 + 5)
    right = max(start[0], end[0]) + 2 * _MARGIN
    line = f"M{start[0]} {start[1]}C{right} {start[1]} {right} {end[1]} {end[0]} {end[1]}"
    return line, right - _MARGIN // 2, (start[1] + end[1]) // 2


def _mermaid(edges: Mapping[tuple[str, str], int]) -> str:
    """Return the graph in the language of mermaid. Names of nodes are quoted, so that they can be anything."""
    ids = {name: f"n{number}" for number, name in enumerate(dict.fromkeys(name for pair in edges for name in pair))}
    boxes = [f'  {key}["{quoted(name)}"]' for name, key in ids.items()]
    arrows = [f"  {ids[a]} -->{f'|{count}|' if count > 1 else ''} {ids[b]}" for (a, b), count in edges.items()]
    return "\n".join(["graph TD", *boxes, *arrows])


def quoted(name: str) -> str:
    return name.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
