"""`llmtest evals`: results of evaluations, baselines, comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.evals.history import Point
    from llmtest.evals.regressions import Compared
    from llmtest.evals.summaries import Summary

SESSION = "a session, or a file or folder of results; by default the last session"
COLORS = {"pass": "32", "fail": "31", "undecided": "33", "better": "32", "worse": "31", "no evidence": ""}


def add(commands: Commands) -> None:
    """Add the commands of this module to the command line."""
    group = commands.group("evals", "results of evaluations: show, compare, accept as a baseline")
    words = "show the sets of a session: verdict, cases, scores, pass@k, what a run spent"
    shown = group.add("show", words, show, store_option())
    shown.add_argument("session", nargs="?", default="", metavar="SESSION", help=SESSION)
    form = shown.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as Markdown, for the summary of a job of CI")
    page = "as one HTML page that opens from disk, with the traces that were kept"
    form.add_argument("--html", type=Path, metavar="FILE", dest="page", help=page)
    outcomes = "verdicts of a set with which the exit code is 1, separated by commas: fail, undecided; by default none"
    shown.add_argument("--fail-on", default="", metavar="VERDICTS", help=outcomes)
    words = "compare two results case by case: better, worse or no evidence; exit code 1 if something is worse"
    compared = group.add("compare", words, compare, store_option())
    compared.add_argument("before", metavar="A", help="a file of baselines, a session, or a file or folder of results")
    compared.add_argument("after", nargs="?", default="", metavar="B", help="the same; by default the last session")
    compared.add_argument("--confidence", type=float, default=0.95, metavar="C", help="between 0 and 1; by default %(default)s")
    kinds = "what fails if it is worse, separated by commas: passes, scores, tokens, cost, seconds; by default %(default)s"
    compared.add_argument("--fail-on", default="passes", metavar="KINDS", help=kinds)
    compared.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    kept = group.add("accept", "write the results of a session as a baseline, to be committed", accept)
    kept.add_argument("session", nargs="?", default="", metavar="SESSION", help=SESSION)
    kept.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="JSON lines; an existing file is replaced")
    past = group.add("history", "show the pass rates of each set over the sessions, the last one below", history)
    past.add_argument("--last", type=int, metavar="N", help="only the last N sessions")
    past.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    joined = group.add("combine", "join the results of several jobs of CI or machines into one folder", combine)
    joined.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder of results, or a file")
    joined.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new folder")


def _root() -> Path:
    from llmtest.cli.settings import read_settings

    return read_settings(Path.cwd()).folder


def show(store: Path | None, session: str, as_json: bool, markdown: bool, page: Path | None, fail_on: str) -> int:
    """Print the summaries of a session, or write them as a page; return 1 if `fail_on` names the verdict of a set, else 0.

    Raises:
        ResultsError: there is no such session, it cannot be read, or `fail_on` has an unknown word.
        OSError: the page cannot be written.
    """
    from llmtest.evals.history import results_of
    from llmtest.evals.summaries import Summary

    failing = _verdicts(fail_on)
    results = results_of(_root(), session)
    summaries = [Summary(found) for found in results]
    if as_json:
        CONSOLE.print(json.dumps([summary.to_json() for summary in summaries], indent=2, ensure_ascii=False))
    elif markdown:
        from llmtest.reports.evaluations import evaluations

        CONSOLE.print(evaluations(summaries).rstrip("\n"))
    elif page is not None:
        _write_page(store, summaries, page)
    else:
        _print_summaries(summaries)
    for note in results.notes:
        CONSOLE.note(note)
    return int(any(summary.verdict.outcome in failing for summary in summaries))


def _verdicts(said: str) -> list[str]:
    from llmtest.core.text import did_you_mean
    from llmtest.errors import ResultsError

    found, known = _words(said), ("fail", "undecided")
    for word in found:
        if word not in known:
            hint = did_you_mean(word, known, otherwise=f"it takes {', '.join(known)}")
            raise ResultsError(f"--fail-on has the unknown word {word!r}{hint}")
    return found


def _words(said: str) -> list[str]:
    return [word.strip() for word in said.split(",") if word.strip()]


def _print_summaries(summaries: list[Summary]) -> None:
    for summary in summaries:
        first, verdict, *rest = summary.lines()
        CONSOLE.print(first, "1")
        CONSOLE.print(verdict, COLORS[summary.verdict.outcome])
        CONSOLE.print("\n".join([*rest, ""]))


def _write_page(store: Path | None, summaries: list[Summary], page: Path) -> None:
    from llmtest.core.progress import progress
    from llmtest.tracing.store import Store, place
    from llmtest.viewer.evaluations import cases_of_evaluations
    from llmtest.viewer.page import write_page

    with Store(store or place(_root())) as opened, progress("cases") as step:
        size = write_page(page, cases_of_evaluations(summaries, opened, step), title="Evaluations · llmtest")
    CONSOLE.note(f"{page}: {size / 1e6:.1f} MB")


def compare(store: Path | None, before: str, after: str, confidence: float, fail_on: str, as_json: bool) -> int:
    """Print the comparison of each set; return 1 if something that `fail_on` names is worse, else 0.

    Raises:
        BaselineError: the results are of other tests or cases, or a word of `fail_on` or the confidence makes no sense.
        ResultsError: results cannot be found or read.
    """
    from llmtest.errors import BaselineError
    from llmtest.evals.history import baselines_of
    from llmtest.evals.regressions import check_kinds, compare_all
    from llmtest.tracing.store import place

    kinds = _words(fail_on)
    check_kinds(kinds, "--fail-on")
    if not 0 < confidence < 1:
        raise BaselineError(f"--confidence lies between 0 and 1, such as 0.95; got {confidence}")
    root = _root()
    found = compare_all(baselines_of(root, before), baselines_of(root, after), confidence=confidence)
    worse = any(compared.regressions(kinds) for compared in found)
    if as_json:
        CONSOLE.print(json.dumps([_json(compared, kinds) for compared in found], indent=2, ensure_ascii=False))
        return int(worse)
    for compared in found:
        test, passes, *rest = compared.lines(store or place(root), color=CONSOLE.color)
        CONSOLE.print(test, "1")
        CONSOLE.print(passes, COLORS[compared.comparison.outcome])
        CONSOLE.print("\n".join([*rest, ""]))
    return int(worse)


def _json(compared: Compared, kinds: list[str]) -> dict[str, object]:
    from dataclasses import asdict

    found = compared.comparison
    flipped = {
        word: [{"id": change.id, "before": change.before.rate, "after": change.after.rate} for change in changes]
        for word, changes in (("now_failing", found.now_failing), ("now_passing", found.now_passing))
    }
    differences = {
        "passes": asdict(found.passes),
        "scores": {name: asdict(difference) for name, difference in found.scores.items()},
        "spending": {name: asdict(difference) for name, difference in found.spending.items()},
    }
    told = {"test": compared.test, "outcome": found.outcome, "cases": found.cases, "confidence": found.confidence}
    return told | flipped | differences | {"uncompared": [*found.uncompared], "regressions": compared.regressions(kinds)}


def accept(session: str, output: Path) -> int:
    """Write the baseline of a session and return 0.

    Raises:
        BaselineError: a case has no results, or the file cannot be written.
        ResultsError: there is no such session, or it cannot be read.
    """
    from llmtest.core.text import amount
    from llmtest.evals.baselines import save_baselines
    from llmtest.evals.history import baselines_of

    found = baselines_of(_root(), session)
    save_baselines(found, output)
    cases = sum(len(baseline.cases) for baseline in found)
    CONSOLE.note(f"{output}: the results of {amount(cases, 'case')} of {amount(len(found), 'test')}")
    return 0


def history(last: int | None, as_json: bool) -> int:
    """Print the pass rates of each set over the sessions; return 0, or 1 if the results of a session cannot be read.

    Raises:
        ResultsError: `last` is less than 1.
    """
    from llmtest.errors import ResultsError
    from llmtest.evals.history import points

    if last is not None and last < 1:
        raise ResultsError(f"--last is 1 or more; got {last}")
    found, problems = points(_root(), last)
    if as_json:
        CONSOLE.print(json.dumps([point.to_json() for point in found], indent=2, ensure_ascii=False))
    elif not found:
        CONSOLE.print("no results; tests with the marker llm_eval write some")
    else:
        for test in dict.fromkeys(point.test for point in found):
            _print_points(test, [point for point in found if point.test == test])
    for problem in problems:
        CONSOLE.note(problem)
    return 1 if problems else 0


def _print_points(test: str, found: list[Point]) -> None:
    from llmtest.evals.history import sparkline
    from llmtest.evals.verdicts import ends_text, percent

    CONSOLE.print(f"{test}  {sparkline(point.rate for point in found)}", "1")
    rows = [
        (
            point.session,
            "-" if point.rate is None else percent(point.rate),
            ends_text(point.interval),
            f"{point.passed:,} of {point.total:,}",
            point.outcome,
        )
        for point in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)), row[4]]
        CONSOLE.print("  ".join(["", *cells]), COLORS[row[4]])
    CONSOLE.print("")


def combine(folders: list[Path], output: Path) -> int:
    """Write the results of several folders into one; return 0.

    Raises:
        ResultsError: a folder has no results, results contradict one another, or the output is not empty.
    """
    from llmtest.evals.history import combine, describe

    results = combine(folders, output)
    for note in results.notes:
        CONSOLE.note(note)
    CONSOLE.note(f"{output}: {describe(results)}")
    return 0
