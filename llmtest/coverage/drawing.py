"""A graph with what was hit: as a drawing of its own, and in the language of Mermaid. Both need no network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final

from llmtest.core.text import amount, clip
from llmtest.coverage.programs import END, START
from llmtest.coverage.report import Row, State
from llmtest.viewer.graphs import HEIGHT, MAX_NODES, WIDTH, curve, placed, quoted

_MARGIN: Final = 90
_STYLES: Final = {
    "hit": "stroke:#2e7d32",
    "missed": "stroke:#c62828,stroke-dasharray:6 4",
    "ambiguous": "stroke:#b26a00,stroke-dasharray:2 3",
    "unknown": "stroke:#777777,stroke-dasharray:2 3",
    "excluded": "stroke:#bbbbbb,stroke-dasharray:2 3",
}


def graph_of(rows: Iterable[Row]) -> tuple[dict[str, Row | None], dict[tuple[str, str], Row]]:
    """Return the nodes and the edges among the rows of one program; the two ends of a graph have no row."""
    nodes: dict[str, Row | None] = {}
    edges: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.item.kind == "nodes":
            nodes[row.item.name] = row
        elif row.item.kind == "edges":
            source, _, target = row.item.name.partition("->")
            if not target.startswith("?"):
                edges[source, target] = row
    for name in (name for pair in edges for name in pair):
        nodes.setdefault(name, None)
    return nodes, edges


def svg(rows: Sequence[Row]) -> str:
    """Return the graph of one program as SVG: each node and edge with its state, its sentence and its tests as a title.

    Empty for a program without edges, and for one with more than 200 nodes, which nobody could read.
    """
    nodes, edges = graph_of(rows)
    if not edges or len(nodes) > MAX_NODES:
        return ""
    places = placed(_layers(nodes, edges))
    width = max(x for x, _ in places.values()) + WIDTH + _MARGIN
    height = max(y for _, y in places.values()) + HEIGHT + _MARGIN // 3
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="graph">', _TIP]
    parts += [_arrow(places[a], places[b], row) for (a, b), row in edges.items()]
    parts += [_box(name, places[name], row) for name, row in nodes.items() if name in places]
    parts += [_box(name, places[name], None) for name in (START, END) if name not in nodes]
    return "".join([*parts, "</svg>"])


_TIP: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
)


def _layers(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the nodes by their distance from the start; those that nothing declared leads to come last."""
    pairs = list(edges)
    layers: list[list[str]] = []
    seen, layer = {START, END}, [START]
    while layer:
        found = [target for name in layer for source, target in pairs if source == name and target not in seen]
        layer = list(dict.fromkeys(found))
        seen.update(layer)
        layers += [layer] if layer else []
    rest = [name for name in nodes if name not in seen]
    return [*layers, rest] if rest else layers


def told(row: Row | None, name: str = "") -> str:
    """Return the sentence of a row, with its state and its tests, as a title."""
    if row is None:
        return name
    sentence = row.item.missing if row.state == "missed" else row.item.sentence
    state = "" if row.state in ("hit", "missed") else f" ({row.state})"
    tests = f"\n{amount(len(row.tests), 'test')}:\n" + "\n".join(row.tests[:20]) if row.tests else ""
    return f"{sentence}{state}{tests}"


def _arrow(a: tuple[int, int], b: tuple[int, int], row: Row) -> str:
    line, _, _ = curve(a, b)
    return f'<path class="edge {row.state}" d="{line}" marker-end="url(#tip)"><title>{html.escape(told(row))}</title></path>'


def _box(name: str, place: tuple[int, int], row: Row | None) -> str:
    x, y = place
    state: State | str = row.state if row is not None else "end"
    text = f'<text x="{x + WIDTH // 2}" y="{y + 21}">{html.escape(clip(name, 20, "…"))}</text>'
    box = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
    return f'<g class="node {state}"><title>{html.escape(told(row, name))}</title>{box}{text}</g>'


def mermaid(rows: Sequence[Row]) -> str:
    """Return the graph of one program in the language of Mermaid, what is missing dashed; empty for a program without edges."""
    nodes, edges = graph_of(rows)
    if not edges:
        return ""
    ids = {name: f"n{number}" for number, name in enumerate(nodes)}
    lines = [f'  {ids[name]}["{quoted(name)}"]' for name in nodes]
    lines += [f"  {ids[a]} --> {ids[b]}" for a, b in edges]
    lines += [f"  style {ids[name]} {_STYLES[row.state]}" for name, row in nodes.items() if row is not None]
    lines += [f"  linkStyle {number} {_STYLES[row.state]}" for number, row in enumerate(edges.values())]
    return "\n".join(["graph TD", *lines])
