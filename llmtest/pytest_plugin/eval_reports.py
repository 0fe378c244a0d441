"""The evaluations of a session in the report of a job of CI: as a page of Markdown, and as results that can be combined."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from llmtest.errors import ResultsError
from llmtest.evals.history import combine
from llmtest.evals.results import ENDING, Results
from llmtest.evals.summaries import Summary
from llmtest.pytest_plugin.arguments import evals_folder
from llmtest.reports.evaluations import evaluations

FOLDER: Final = "evals"
"""In the folder of a report."""


def page(config: pytest.Config) -> str:
    """Return the evaluations of this session as Markdown; empty if there is none."""
    folder = evals_folder(config)
    if not folder.is_dir():
        return ""
    return evaluations([Summary(found) for found in Results.load(folder)])


def score_lines(config: pytest.Config) -> list[str]:
    """Return a line for each scorer of this session whose values are not only 0 and 1: its mean, with the interval."""
    folder = evals_folder(config)
    try:
        summaries = [Summary(found) for found in Results.load(folder)] if _has_measures(folder) else []
    except ResultsError as error:
        return [f"the scores of the evaluations cannot be read: {error}"]
    return [f"{summary.results.test}: mean {score}" for summary in summaries for score in summary.scores if not score.is_rate]


def _has_measures(folder: Path) -> bool:
    """True if a score is not 0 or 1. It looks at one line at a time: most sets have no such score, and need not be read whole."""
    for path in folder.glob(f"*{ENDING}") if folder.is_dir() else ():
        with path.open("rb") as file:
            if any(map(_MEASURE.search, file)):
                return True
    return False


_MEASURE: Final = re.compile(rb'"value": (?![01](?:\.0)?[,}])')


def write(config: pytest.Config, report: Path) -> None:
    """Write the evaluations of this session into the folder of a report; what an earlier one left there is replaced.

    Raises:
        ResultsError: results cannot be read.
        OSError: the folder cannot be written.
    """
    target, text = report / FOLDER, page(config)
    for old in target.glob(f"*{ENDING}") if target.is_dir() else ():
        old.unlink()
    (report / "evaluations.md").unlink(missing_ok=True)
    if text:
        combine([evals_folder(config)], target)
        (report / "evaluations.md").write_text(text, "utf-8")
