"""The report as one HTML page that opens from disk: each program with its graph, its items, and the tests behind each mark."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator, Sequence
from typing import Final

from llmtest.core.text import amount
from llmtest.coverage.drawing import mermaid, svg
from llmtest.coverage.report import Counts, Report, Row, by_kind

_MARKS: Final = {"hit": "✓", "missed": "✗", "ambiguous": "?", "unknown": "–", "excluded": "·"}

_STYLE: Final = """
:root{color-scheme:light dark;--hit:#2e7d32;--missed:#c62828;--maybe:#b26a00;--line:#8884}
@media(prefers-color-scheme:dark){:root{--hit:#81c784;--missed:#ef9a9a;--maybe:#ffcc80}}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
td.number,th.number{text-align:right}tr{border-bottom:1px solid var(--line)}
.hit{--state:var(--hit)}.missed{--state:var(--missed)}.ambiguous{--state:var(--maybe)}.unknown,.excluded{--state:#888}
li{list-style:none}li b{color:var(--state);display:inline-block;width:1.4rem}li.missed{font-weight:600}
ul{padding-left:0}details ul{padding-left:2rem;font:13px/1.5 ui-monospace,monospace}small{color:#888}
svg{max-width:100%;height:auto}svg text{font:13px system-ui,sans-serif;text-anchor:middle;fill:currentColor}
svg rect{fill:#8881;stroke:var(--state,#888);stroke-width:2}svg .edge{fill:none;stroke:var(--state,#888);stroke-width:2}
svg .missed rect,svg .edge.missed{stroke-dasharray:6 4}svg .tip{fill:#888}pre{overflow:auto}
"""


def html(report: Report) -> str:
    """Return the whole page. It loads nothing and runs no script."""
    counts = report.counts
    head = f"<title>Behaviour coverage: {counts.shown}</title>"
    told = f"<p>{amount(counts.hit, 'item')} of {counts.total:,} hit by {amount(report.data.tests, 'test')}"
    body = [f"<h1>Behaviour coverage: {counts.shown}</h1>", f"{told}{_apart(counts)}.</p>"]
    body += [f"<p><small>{_text(note)}</small></p>" for note in report.notes()]
    body += _table(report)
    for number, (program, rows) in enumerate(report.programs().items()):
        body += _program(number, program, rows)
    start = f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}<style>{_STYLE}</style></head><body>'
    return "\n".join([start, *body, "</body></html>", ""])


def _apart(counts: Counts) -> str:
    told = [f"{number} {name}" for name in ("ambiguous", "unknown", "excluded") if (number := getattr(counts, name))]
    return f"; not counted: {', '.join(told)}" if told else ""


def _text(text: str) -> str:
    """Return text as HTML; what stands in backticks becomes code."""
    parts = escaping.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _table(report: Report) -> Iterator[str]:
    yield '<table><tr><th>program</th><th>kind</th><th class="number">items</th><th class="number">hit</th>'
    yield '<th class="number">missed</th><th class="number">ambiguous</th><th class="number">cover</th></tr>'
    for number, (program, some) in enumerate(report.programs().items()):
        for kind, rows in by_kind(some).items():
            c = Counts.of(rows)
            cells = "".join(f'<td class="number">{cell}</td>' for cell in (c.total, c.hit, c.missed, c.ambiguous, c.shown))
            yield f'<tr><td><a href="#p{number}">{escaping.escape(program)}</a></td><td>{kind}</td>{cells}</tr>'
    yield "</table>"


def _program(number: int, program: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f'<section id="p{number}"><h2>{escaping.escape(program)} <small>{Counts.of(rows).shown}</small></h2>'
    yield svg(rows).replace('id="tip"', f'id="tip{number}"').replace("url(#tip)", f"url(#tip{number})")
    for kind, some in by_kind(rows).items():
        yield f"<h3>{kind} <small>{Counts.of(some).shown}</small></h3><ul>"
        yield from (_item(row) for row in some)
        yield "</ul>"
    graph = mermaid(rows)
    if graph:
        yield f"<details><summary>the graph in the language of Mermaid</summary><pre>{escaping.escape(graph)}</pre></details>"
    yield "</section>"


def _item(row: Row) -> str:
    sentence = row.item.missing if row.state == "missed" else row.item.sentence
    reason = f" <small>{row.state}: {_text(row.reason)}</small>" if row.reason else ""
    line = f'<li class="{row.state}"><b>{_MARKS[row.state]}</b>{_text(sentence)}{reason}'
    if not row.tests:
        return f"{line}</li>"
    tests = "".join(f"<li>{escaping.escape(test)}</li>" for test in row.tests)
    return f"{line}<details><summary><small>{amount(len(row.tests), 'test')}</small></summary><ul>{tests}</ul></details></li>"
