"""`llmtest cov`: coverage of behaviours: joining the files of several jobs, reports, differences, tests for what is missing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.terminal import CONSOLE

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.coverage.report import Report


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    group = commands.group("cov", "behaviour coverage that `pytest --llmtest-cov` wrote: combine, report, diff, suggest")
    said = "a coverage file, or a folder with some; .llmtest/coverage by default"

    part = group.add("combine", "join the files of several workers or jobs into one", combine)
    part.add_argument("paths", nargs="*", type=Path, metavar="PATH", help=said)
    part.add_argument("-o", "--output", type=Path, default=Path("llmtest-coverage.jsonl"), metavar="FILE", help="%(default)s")

    part = group.add("report", "report what was hit and what is missing", report)
    part.add_argument("paths", nargs="*", type=Path, metavar="PATH", help=said)
    formats = ("term", "term-missing", "html", "json", "xml", "lcov", "markdown")
    part.add_argument("--format", choices=formats, default="term-missing", dest="form", help="%(default)s by default")
    part.add_argument("--json", action="store_const", const="json", dest="form", help="as JSON")
    part.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this file")
    part.add_argument("--fail-under", default="", metavar="N", help="fail under N percent, or by kind: nodes=100,tools=90")

    part = group.add("diff", "say what a branch adds and loses", diff)
    part.add_argument("base", type=Path, metavar="BASE", help="the file or folder to compare with")
    part.add_argument("paths", nargs="*", type=Path, metavar="PATH", help=said)
    part.add_argument("--json", action="store_true", dest="as_json", help="as JSON")

    part = group.add("suggest", "write a test for each missing item, with the script that leads there", suggest)
    part.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="items, such as 'agent/tools/*'; by default all that are missing"
    )
    part.add_argument("--data", action="append", type=Path, metavar="PATH", help=said)
    program = "the program as `module:object`; the ini key llmtest_cov by default"
    part.add_argument("--program", action="append", metavar="OBJECT", help=program)
    part.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this new file")


def _read(paths: list[Path]) -> Report:
    """Return the report of some files, with the excludes of the project."""
    from llmtest.cli.settings import read_settings
    from llmtest.coverage.data import default_folder, load
    from llmtest.coverage.report import Report, parse_excludes

    settings = read_settings(Path.cwd())
    own = settings.text("llmtest_cov_data", "")
    default = settings.folder / own if own else default_folder(settings.folder)
    return Report(load(paths or [default]), parse_excludes(settings.lines("llmtest_cov_exclude")))


def combine(paths: list[Path], output: Path) -> int:
    """Join coverage files into one; return 0.

    Raises:
        CoverageError: a path does not exist, or is no coverage file.
    """
    from llmtest.cli.settings import read_settings
    from llmtest.coverage import data

    joined = data.combine(paths or [data.default_folder(read_settings(Path.cwd()).folder)], output)
    CONSOLE.print(f"{output}: {data.summary(joined)}")
    for path in joined.torn:
        CONSOLE.print(f"{path}: its last line is not whole; the test that ran then is not counted", "33")
    return 0


def report(paths: list[Path], form: str, output: Path | None, fail_under: str) -> int:
    """Report what was hit and what is missing; return 1 if a limit is not reached, else 0.

    Raises:
        CoverageError: a path does not exist or is no coverage file, or a limit makes no sense.
        SettingsError: the configuration file of pytest cannot be read.
    """
    from llmtest.coverage import formats
    from llmtest.coverage.report import parse_limits
    from llmtest.trees.pending import write_text

    limits = parse_limits(fail_under, "--fail-under")
    found = _read(paths)
    if form in formats.TERMINAL:
        lines = list(formats.terminal(found, with_missing=form == "term-missing"))
        text = "".join(f"{line}\n" for line, _ in lines)
    else:
        text = formats.WRITERS[form](found)
        lines = [(text.rstrip("\n"), "")]
    if output is not None:
        write_text(output, text)
    for line, style in lines if output is None else ():
        CONSOLE.print(line, style)
    broken = found.broken_limits(limits)
    for sentence in broken:
        CONSOLE.note(f"llmtest cov report: {sentence}")
    return 1 if broken else 0


def diff(base: Path, paths: list[Path], as_json: bool) -> int:
    """Say what a branch adds and loses; return 1 if it loses something, else 0.

    Raises:
        CoverageError: a path does not exist, or is no coverage file.
    """
    from llmtest.core.text import amount
    from llmtest.coverage.differences import compare

    before, after = _read([base]), _read(paths)
    changes = compare(before, after)
    losses = sum(change.is_loss for change in changes)
    if as_json:
        CONSOLE.print(json.dumps([change.to_plain() for change in changes], indent=2, ensure_ascii=False))
    for change in () if as_json else changes:
        CONSOLE.print(change.sentence, "31" if change.is_loss else "32" if change.after == "hit" else "")
    told = f"{before.counts.shown} -> {after.counts.shown}, {amount(len(changes), 'change')}, {losses} of them lost"
    CONSOLE.note(f"llmtest cov diff: {told}")
    return 1 if losses else 0


def suggest(patterns: list[str], data: list[Path] | None, program: list[str] | None, output: Path | None) -> int:
    """Write a test for each missing item; return 0.

    Raises:
        CoverageError: a path does not exist or is no coverage file, a program is not there, or the output is there already.
        SettingsError: the configuration file of pytest cannot be read.
    """
    from llmtest.cli.settings import read_settings
    from llmtest.core.text import amount
    from llmtest.coverage import suggest as suggestions
    from llmtest.errors import CoverageError
    from llmtest.langchain.named_programs import entries_of
    from llmtest.trees.pending import write_text

    if output is not None and output.exists():
        raise CoverageError(f"{output} is there already; suggestions are written to a new file")
    sys.path.insert(0, os.getcwd())  # as `python -m` does: the program is that of this folder
    programs, entries = entries_of(program or read_settings(Path.cwd()).lines("llmtest_cov"))
    rows = [row for row in _read(data or []).missing() if not patterns or any(row.item.matches(one) for one in patterns)]
    text = suggestions.suggest(rows, programs, entries)
    if output is None:
        CONSOLE.print(text.rstrip("\n"))
    else:
        write_text(output, text)
    CONSOLE.note(f"llmtest cov suggest: {amount(len(rows), 'test')}{f' in {output}' if output is not None else ''}")
    return 0
