"""`llmtest merge`: the reports of several jobs of CI as one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.terminal import CONSOLE

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "join the reports that `pytest --llmtest-report` wrote in several jobs: one summary, one page, one pending set"
    parser = commands.add("merge", words, run)
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT", help="a folder or zip archive with reports in it")
    parser.add_argument("-o", "--output", type=Path, default=Path("llmtest-report"), metavar="FOLDER", help="%(default)s")


def run(reports: list[Path], output: Path) -> int:
    """Write the joined report. Return 1 if two jobs want one snapshot to become different texts, else 0.

    On GitHub (`GITHUB_STEP_SUMMARY`) the summary is shown for the job that merges, too.

    Raises:
        ReportError: a report, or its page, cannot be read. Nothing is written then.
    """
    from llmtest.core.text import amount
    from llmtest.reports import joining
    from llmtest.reports.markdown import summary
    from llmtest.viewer.joining import joined_page
    from llmtest.viewer.page import write_page

    with joining.join(reports) as joined:
        page = joined_page(joined.parts)
        joining.write_report(output, joined.results, joined.pending, joined.stores, has_page=page is not None)
        size = write_page(output / joining.PAGE, page.cases, title=page.title) if page is not None else 0
        step = os.environ.get("GITHUB_STEP_SUMMARY")
        if step:
            with Path(step).open("a", encoding="utf-8") as file:
                file.write(summary(joined.results))
        CONSOLE.print(f"{output}: {joined.results.headline}; {amount(len(joined.pending), 'snapshot')} pending")
        if page is not None:
            CONSOLE.print(f"{output / joining.PAGE}: {amount(len(page.cases), 'test')} ({size / 1e6:.1f} MB)")
        for part in joined.parts if page is not None else ():
            if part.page is None:
                CONSOLE.print(f"without traces: {part.job} has no page; `pytest --llmtest-html` writes one", "33")
        for clash in joined.clashes:
            CONSOLE.print(f"not joined: {clash}", "31")
        return 1 if joined.clashes else 0
