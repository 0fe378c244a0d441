"""Evaluations as cases of a page: a row for each set with its verdict, and one for each case with the traces of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from llmtest.core.progress import Step
from llmtest.errors import StoreError
from llmtest.evals.results import RepeatResult
from llmtest.evals.summaries import CaseSummary, Summary
from llmtest.evals.verdicts import Outcome
from llmtest.recording.recording import Recording
from llmtest.tracing.store import Store
from llmtest.viewer.cases import Case, FailureText, Status, detail

STATUS: Final[dict[Outcome, Status]] = {"pass": "passed", "fail": "failed", "undecided": "failed"}
"""An undecided set fails a session, so it is among the failing ones; its cause says that it is undecided."""


def cases_of_evaluations(summaries: Sequence[Summary], store: Store, step: Step) -> Iterator[Case]:
    """Yield a case of the page for each set, and for each of its cases, with the traces of one run that failed and of one that
    passed, as far as they were kept. `step` is told of each case.

    Raises:
        StoreError: a trace is damaged.
    """
    total, done = sum(len(summary.cases) for summary in summaries), 0
    for summary in summaries:
        yield _set(summary)
        for case in summary.cases:
            yield _case(summary, case, store)
            done += 1
            step(done, total)


def _set(summary: Summary) -> Case:
    name, verdict = f"{summary.results.test} (all cases)", summary.verdict
    failure = FailureText(str(verdict).splitlines()[0], "\n".join(summary.lines()))
    cause = "" if verdict.outcome == "pass" else failure.cause
    return Case(name, STATUS[verdict.outcome], cause, _seconds(list(summary.results.repeats)), detail(name, [], failure=failure))


def _case(summary: Summary, case: CaseSummary, store: Store) -> Case:
    name = f"{summary.results.test}[{case.id}]"
    repeats = summary.results.cases[case.id]
    verdict = f"{case.outcome}: {case.passed:,} of {case.total:,} passed"
    why = f"; {case.failed.why}" if case.failed is not None and case.failed.why else ""
    shown = [
        next((repeat for repeat in repeats if repeat.passed == passed and repeat.trace is not None), None)
        for passed in (False, True)
    ]
    recordings: list[Recording] = []
    notes: list[str] = []
    for repeat in filter(None, shown):
        word = "passed" if repeat.passed else "failed"
        try:
            found = _recordings(store, repeat)
        except StoreError as error:
            notes.append(f"the traces of a run that {word} cannot be shown: {str(error).splitlines()[0]}")
            continue
        first, last = len(recordings) + 1, len(recordings) + len(found)
        recordings += found
        notes.append(f"trace {first if first == last else f'{first} to {last}'}: run {repeat.repeat}, which {word}")
    if not any(shown):
        notes.append("no traces of this case were kept: `pytest --llmtest-traces=all` keeps those of all runs")
    failure = FailureText(f"{verdict}{why}", str(case.verdict)) if case.passed < case.total else None
    cause = failure.cause if failure is not None else ""
    status: Status = "passed" if failure is None else STATUS[case.outcome]
    return Case(name, status, cause, _seconds(repeats), detail(name, recordings, failure=failure, notes=notes))


def _recordings(store: Store, repeat: RepeatResult) -> list[Recording]:
    return [store.load(trace) for trace in store.find(str(repeat.trace))]


def _seconds(repeats: Sequence[RepeatResult]) -> float:
    return sum(repeat.seconds for repeat in repeats)
