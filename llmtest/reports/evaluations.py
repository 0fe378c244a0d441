"""Results of evaluations as Markdown: a table of the sets, and the cases that do not pass."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from llmtest.core.text import amount
from llmtest.evals.summaries import CaseSummary, Summary
from llmtest.evals.verdicts import ends_text, percent
from llmtest.reports.markdown import code

MAX_CASES: Final = 30
"""The most cases of a set that are listed."""


def evaluations(summaries: Sequence[Summary], title: str = "Evaluations") -> str:
    """Return a page: a row for each set, then the cases of each set that do not pass, the worst first."""
    lines = [f"### {title}\n", "| set | verdict | passed | pass rate | required |", "|---|---|---:|---|---:|"]
    lines += map(_row, summaries)
    for summary in summaries:
        lines += _section(summary)
    return "\n".join([*lines, ""])


def _row(summary: Summary) -> str:
    verdict = summary.verdict
    cells = [code(summary.results.test).replace("|", "\\|"), f"**{verdict.outcome}**", f"{verdict.passed:,} of {verdict.total:,}"]
    return f"| {' | '.join([*cells, ends_text(verdict.interval), percent(verdict.requirement.at_least)])} |"


def _section(summary: Summary) -> Iterator[str]:
    failed = sorted((case for case in summary.cases if case.failed is not None), key=lambda case: case.passed / case.total)
    facts = [f"- {code(str(score))}" for score in summary.scores]
    if summary.attempts:
        biased = f" (biased: {amount(summary.stopped, 'case')} stopped early)" if summary.stopped else ""
        facts += [f"- pass@{k} {percent(one)}, pass^{k} {percent(every)}{biased}" for k, (one, every) in summary.attempts.items()]
    if not failed and not facts:
        return
    yield f"\n#### {code(summary.results.test)}\n"
    yield from facts
    yield from map(_case, failed[:MAX_CASES])
    if len(failed) > MAX_CASES:
        yield f"- ... and {amount(len(failed) - MAX_CASES, 'more case')}"


def _case(case: CaseSummary) -> str:
    line, failed = f"- {case.outcome}, {case.passed:,} of {case.total:,}: {code(case.id)}", case.failed
    if failed is not None and failed.why:
        line += f": {code(failed.why)}"
    if failed is not None and failed.trace:
        line += f" ({code(f'llmtest show {shlex.quote(failed.trace)}')})"
    return line
