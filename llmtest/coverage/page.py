"""The report as HTML: each program with its graph, its items, and the tests behind each mark. It is a page of its own that opens
from disk, and a part of the page of a session."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from llmtest.core.text import amount
from llmtest.coverage.drawing import mermaid, svg
from llmtest.coverage.report import Counts, Report, Row, by_kind
from llmtest.viewer.page import CoverageView

_MARKS: Final = {"hit": "✓", "missed": "✗", "ambiguous": "?", "unknown": "–", "excluded": "·"}

_OWN_STYLE: Final = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
body{background:Canvas;color:CanvasText}a{color:inherit}#coverage{--good:#2e7d32;--bad:#c62828;--maybe:#b26a00;--line:#8884;--quiet:#6b6b6b}
@media(prefers-color-scheme:dark){#coverage{--good:#81c784;--bad:#ef9a9a;--maybe:#ffcc80;--quiet:#a0a0a0}}
"""
_VIEW_STYLE: Final = """
#coverage{--good:var(--green);--bad:var(--red);--maybe:var(--amber);--quiet:var(--dim)}
#coverage h2{font-size:15px}#coverage td a,#coverage li a{color:var(--accent);text-decoration:underline}
"""
_STYLE: Final = """
#coverage table{border-collapse:collapse}#coverage :is(td,th){padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
#coverage :is(td,th).number{text-align:right}#coverage tr{border-bottom:1px solid var(--line)}
#coverage .hit{--state:var(--good)}#coverage .missed{--state:var(--bad)}#coverage .ambiguous{--state:var(--maybe)}
#coverage :is(.unknown,.excluded){--state:var(--quiet)}
#coverage li{list-style:none}#coverage li b{color:var(--state);display:inline-block;width:1.4rem}
#coverage li.missed{font-weight:600}
#coverage ul{padding-left:0}#coverage details ul{padding-left:2rem;font:13px/1.5 ui-monospace,monospace}
#coverage small{color:var(--quiet)}
#coverage svg{max-width:100%;height:auto}
#coverage svg text{font:13px system-ui,sans-serif;text-anchor:middle;fill:currentColor}
#coverage svg rect{fill:#8881;stroke:var(--state,var(--quiet));stroke-width:2;stroke-dasharray:none}
#coverage svg .edge{fill:none;stroke:var(--state,var(--quiet));stroke-width:2}
#coverage svg .missed rect,#coverage svg .edge.missed{stroke-dasharray:6 4}#coverage svg .tip{fill:var(--quiet)}
#coverage pre{overflow:auto}
"""


def html(report: Report) -> str:
    """Return the whole page. It loads nothing and runs no script."""
    head = f"<title>{_label(report)}</title><style>{_OWN_STYLE}{_STYLE}</style>"
    start = f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}</head><body><main id="coverage">'
    return "\n".join([start, *_body(report, has_links=False), "</main></body></html>", ""])


def view(report: Report) -> CoverageView:
    """Return the report as a part of the page of a session, where the name of a test leads to its traces."""
    return CoverageView(_label(report), _VIEW_STYLE + _STYLE, "\n".join(_body(report, has_links=True)))


def _label(report: Report) -> str:
    return f"Behaviour coverage: {report.counts.shown}"


def _body(report: Report, *, has_links: bool) -> Iterator[str]:
    counts = report.counts
    yield f"<h1>{_label(report)}</h1>"
    yield f"<p>{amount(counts.hit, 'item')} of {counts.total:,} hit by {amount(report.data.tests, 'test')}{_apart(counts)}.</p>"
    yield from (f"<p><small>{_text(note)}</small></p>" for note in report.notes())
    yield from _table(report)
    for number, (program, rows) in enumerate(report.programs().items()):
        yield from _program(number, program, rows, has_links)


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
            yield f'<tr><td><a href="#coverage-{number}">{escaping.escape(program)}</a></td><td>{kind}</td>{cells}</tr>'
    yield "</table>"


def _program(number: int, program: str, rows: Sequence[Row], has_links: bool) -> Iterator[str]:
    yield f'<section id="coverage-{number}"><h2>{escaping.escape(program)} <small>{Counts.of(rows).shown}</small></h2>'
    yield svg(rows).replace('id="tip"', f'id="tip{number}"').replace("url(#tip)", f"url(#tip{number})")
    for kind, some in by_kind(rows).items():
        yield f"<h3>{kind} <small>{Counts.of(some).shown}</small></h3><ul>"
        yield from (_item(row, has_links) for row in some)
        yield "</ul>"
    graph = mermaid(rows)
    if graph:
        yield f"<details><summary>the graph in the language of Mermaid</summary><pre>{escaping.escape(graph)}</pre></details>"
    yield "</section>"


def _item(row: Row, has_links: bool) -> str:
    sentence = row.item.missing if row.state == "missed" else row.item.sentence
    reason = f" <small>{row.state}: {_text(row.reason)}</small>" if row.reason else ""
    line = f'<li class="{row.state}"><b>{_MARKS[row.state]}</b>{_text(sentence)}{reason}'
    if not row.tests:
        return f"{line}</li>"
    tests = "".join(f"<li>{_test(test) if has_links else escaping.escape(test)}</li>" for test in row.tests)
    return f"{line}<details><summary><small>{amount(len(row.tests), 'test')}</small></summary><ul>{tests}</ul></details></li>"


def _test(name: str) -> str:
    return f'<a href="#test={quote(name, safe="")}">{escaping.escape(name)}</a>'
