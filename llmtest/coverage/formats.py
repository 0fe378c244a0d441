"""The report as text: for a terminal, as Markdown, JSON, Cobertura XML and LCOV."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from llmtest.core.text import amount
from llmtest.coverage.page import html
from llmtest.coverage.report import Counts, Report, Row, by_kind

FILES: Final = {
    "html": "llmtest-coverage.html",
    "json": "llmtest-coverage.json",
    "xml": "llmtest-coverage.xml",
    "lcov": "llmtest-coverage.lcov",
    "markdown": "llmtest-coverage.md",
}
"""The formats that are files, and what their files are called if the user gives no name."""
TERMINAL: Final = ("term", "term-missing")

MAX_LINES: Final = 400
"""Of missing items on a terminal."""

_COLUMNS: Final = ("Items", "Hit", "Miss", "Ambiguous", "Cover")


def terminal(report: Report, *, with_missing: bool) -> Iterator[tuple[str, str]]:
    """Yield the lines of the table, each with the number of its color, or an empty text."""
    table = [(program, kind, rows) for program, some in report.programs().items() for kind, rows in by_kind(some).items()]
    if not table:
        yield "no program was met: no test ran a graph, an agent or a chain", "33"
        yield from _notes(report)
        return
    width = max(len("Program"), len("TOTAL"), *(len(program) for program, _, _ in table))
    head = f"{'Program':<{width}}  {'Kind':<12}" + "".join(f"{name:>{len(name) + 3}}" for name in _COLUMNS)
    yield head, "1"
    yield "-" * len(head), ""
    left = MAX_LINES
    for program, kind, rows in table:
        counts = Counts.of(rows)
        yield _line(program, kind, counts, width), "" if not counts.missed else "33"
        if with_missing:
            lines = _details(rows)
            yield from ((line, "") for line in lines[: max(left, 0)])
            left -= len(lines)
    if with_missing and left < 0:
        yield f"    ... {amount(-left, 'more line')}; `--llmtest-cov-report=json` has all", ""
    yield "-" * len(head), ""
    yield _line("TOTAL", "", report.counts, width), "1"
    counts = report.counts
    apart = [f"{number} {state}" for state, number in (("excluded", counts.excluded), ("unknown", counts.unknown)) if number]
    if apart:
        yield f"not counted: {', '.join(apart)}", ""
    yield from _notes(report)


def _notes(report: Report) -> Iterator[tuple[str, str]]:
    return ((f"note: {note}", "33") for note in report.notes())


def _line(program: str, kind: str, counts: Counts, width: int) -> str:
    cells = (str(counts.total), str(counts.hit), str(counts.missed), str(counts.ambiguous), counts.shown)
    shown = "".join(f"{cell:>{len(name) + 3}}" for cell, name in zip(cells, _COLUMNS, strict=True))
    return f"{program:<{width}}  {kind:<12}{shown}"


_TOLD: Final = {"missed": "    {0.item.missing}", "ambiguous": "    cannot tell: {0.item.sentence}", "unknown": "    {1}"}


def _details(rows: Sequence[Row]) -> list[str]:
    unknown = "unknown: {0.item.subject}, because {0.reason}"
    return [_TOLD[row.state].format(row, unknown.format(row)) for row in rows if row.state in _TOLD]


def markdown(report: Report) -> str:
    """Return the report as Markdown: a table, and what is missing."""
    lines = ["# Behaviour coverage", "", f"**{report.counts.shown}** of {amount(report.counts.total, 'item')}", ""]
    lines += ["| program | kind | items | hit | missed | ambiguous | cover |", "|---|---|---:|---:|---:|---:|---:|"]
    for program, some in report.programs().items():
        for kind, rows in by_kind(some).items():
            c = Counts.of(rows)
            lines.append(f"| {_cell(program)} | {kind} | {c.total} | {c.hit} | {c.missed} | {c.ambiguous} | {c.shown} |")
    for program, some in report.programs().items():
        told = [row for row in some if row.state != "hit"]
        if told:
            lines += ["", f"## {_cell(program)}", ""]
            lines += [f"- {_bullet(row)}" for row in told]
    notes = report.notes()
    lines += ["", *(f"> {note}" for note in notes)] if notes else []
    return "\n".join([*lines, ""])


def _bullet(row: Row) -> str:
    if row.state == "missed":
        return _prose(row.item.missing)
    return f"{row.state}: {_prose(row.item.sentence)}" + (f" ({_prose(row.reason)})" if row.reason else "")


def _prose(text: str) -> str:
    """Return a sentence as Markdown; what stands in backticks is code already."""
    parts = text.split("`")
    return "`".join(part if number % 2 else _cell(part) for number, part in enumerate(parts))


def _cell(text: str) -> str:
    return re.sub(r"[\\|*_<>`\[\]]", r"\\\g<0>", text)


def as_json(report: Report) -> str:
    """Return the report as JSON: totals by kind, and each item with its state and its tests."""
    items = [
        {name: getattr(row.item, name) for name in ("id", "program", "kind", "name")}
        | {"state": row.state, "sentence": _sentence(row)}
        | ({"place": row.item.place} if row.item.place else {})
        | ({"reason": row.reason} if row.reason else {})
        | ({"tests": list(row.tests)} if row.tests else {})
        for row in report.rows
    ]
    totals = {"all": _plain(report.counts)} | {kind: _plain(Counts.of(rows)) for kind, rows in by_kind(report.rows).items()}
    whole = {"format": 1, "tests": report.data.tests, "totals": totals, "items": items, "notes": report.notes()}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _sentence(row: Row) -> str:
    return row.item.missing if row.state == "missed" else row.item.sentence


def _plain(counts: Counts) -> dict[str, float]:
    return {name: getattr(counts, name) for name in ("hit", "missed", "ambiguous", "unknown", "excluded")} | {
        "percent": round(counts.percent, 2)
    }


# -- formats of line coverage: an item is a branch of the line where it is defined


def _by_place(report: Report) -> dict[str, dict[int, list[Row]]]:
    """Return the rows that count, by file and line. Items without a place get a file called as their program."""
    found: dict[str, dict[int, list[Row]]] = {}
    for row in report.rows:
        if row.state not in ("hit", "missed"):
            continue
        file, _, line = row.item.place.rpartition(":")
        if file and line.isdecimal():
            found.setdefault(file, {}).setdefault(int(line), []).append(row)
        else:
            lines = found.setdefault(f"llmtest:{row.item.program}", {})
            lines[len(lines) + 1] = [row]
    return found


def xml(report: Report) -> str:
    """Return the report as Cobertura XML, which code hosts and CI systems read."""
    counts, rate = report.counts, f"{report.counts.percent / 100:.4f}"
    totals = {"line-rate": rate, "branch-rate": rate, "lines-covered": str(counts.hit), "lines-valid": str(counts.total)}
    totals |= {"branches-covered": str(counts.hit), "branches-valid": str(counts.total), "complexity": "0"}
    root = Element("coverage", {"version": "1", "timestamp": "0", **totals})
    SubElement(SubElement(root, "sources"), "source").text = "."
    package = SubElement(SubElement(root, "packages"), "package", {"name": "llmtest", "line-rate": rate, "branch-rate": rate})
    classes = SubElement(package, "classes")
    for file, lines in sorted(_by_place(report).items()):
        found = Counts.of(row for rows in lines.values() for row in rows)
        rate_here = f"{found.percent / 100:.4f}"
        about = {"name": file, "filename": file, "line-rate": rate_here, "branch-rate": rate_here}
        holder = SubElement(SubElement(classes, "class", about), "lines")
        for number, rows in sorted(lines.items()):
            here = Counts.of(rows)
            told = f"{round(here.percent)}% ({here.hit}/{here.total})"
            branch = {"branch": "true", "condition-coverage": told}
            SubElement(holder, "line", {"number": str(number), "hits": "1" if here.hit else "0", **branch})
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def lcov(report: Report) -> str:
    """Return the report in the format of LCOV, where each item is a branch."""
    lines: list[str] = []
    for file, by_line in sorted(_by_place(report).items()):
        lines += ["TN:llmtest", f"SF:{file}"]
        for number, rows in sorted(by_line.items()):
            for position, row in enumerate(rows):
                lines.append(f"BRDA:{number},0,{position},{int(row.state == 'hit')}")
        every = Counts.of(row for rows in by_line.values() for row in rows)
        lines += [f"BRF:{every.total}", f"BRH:{every.hit}"]
        for number, rows in sorted(by_line.items()):
            lines.append(f"DA:{number},{Counts.of(rows).hit}")
        covered = sum(any(row.state == "hit" for row in rows) for rows in by_line.values())
        lines += [f"LF:{len(by_line)}", f"LH:{covered}", "end_of_record"]
    return "\n".join([*lines, ""])


WRITERS: Final[Mapping[str, Callable[[Report], str]]] = {
    "html": html,
    "json": as_json,
    "xml": xml,
    "lcov": lcov,
    "markdown": markdown,
}
"""The function that makes the text of each format that is a file."""
