"""Baselines: results that are committed, for later results to be compared with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Self

from llmtest.core.masks import table
from llmtest.core.own_folder import make_folder
from llmtest.core.source import shown_path
from llmtest.core.text import amount, did_you_mean, some_names
from llmtest.errors import BaselineError, ScriptError
from llmtest.evals.datasets import Dataset, hash_of_cases
from llmtest.evals.json_nodes import json_line_nodes
from llmtest.evals.scores import Score, Scores
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.scripts.yaml_nodes import At, decode

FORMAT: Final = 1
DIGITS: Final = 6
"""Decimals of a mean score in a file."""
SIGNIFICANT: Final = 6
"""Digits of what was spent: a call may cost a millionth."""
SPENT: Final = ("tokens", "cost", "seconds")
"""What a run spends: tokens, money, and time. Less is better."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What the runs of one case came to: `passed` of `total`, and the mean value of each scorer. `hash` is that of the case.

    `spent` is the mean of a run's `tokens`, `cost` and `seconds`; what is not known of each run is missing. `trace` names the
    trace of a run that passed, if the case passes, or of one that failed; None if it was not kept.
    """

    id: str
    hash: str
    passed: int
    total: int
    scores: FrozenDict = EMPTY
    spent: FrozenDict = EMPTY
    trace: str | None = None

    @property
    def rate(self) -> float:
        return self.passed / self.total

    @property
    def passes(self) -> bool:
        """True if more than half of the runs passed."""
        return self.passed * 2 > self.total


def mean_spent(runs: Iterable[Mapping[str, float | None]]) -> FrozenDict:
    """Return the means of what runs have spent; without what is not known of one of them."""
    given = list(runs)
    known = [name for name in SPENT if given and all(run.get(name) is not None for run in given)]
    return FrozenDict({name: float(f"{fmean(run[name] or 0.0 for run in given):.{SIGNIFICANT}g}") for name in known})


def mean_scores(case: str, runs: Sequence[Mapping[str, Score]]) -> FrozenDict:
    """Return the mean value of each scorer over the runs of a case.

    Raises:
        BaselineError: they have different scorers.
    """
    first = runs[0]
    if any(scores.keys() != first.keys() for scores in runs):
        raise BaselineError(f"the runs of the case {case!r} have different scorers")
    return FrozenDict({name: round(fmean(scores[name].value for scores in runs), DIGITS) for name in sorted(first)})


@dataclass(frozen=True)
class Baseline:
    """The results of a dataset: those of a file, or of the runs just made. `dataset` is its name, `hash` that of its cases.

    `test` is the node id of the test that ran the dataset, without the case; empty if there is none. `live` tells whether real
    models have answered; None if that is not known. A file has a line for each case: its id, its hash, numbers. It holds no
    inputs, outputs or reasons, so it can be committed.

    >>> from llmtest.evals import CaseRun, exact, score
    >>> dataset = Dataset([{"id": "france", "inputs": "The capital of France?", "expected": "Paris"}])
    >>> scores = score(CaseRun(dataset["france"], output="Paris"), exact())
    >>> Baseline.of(dataset, {"france": [scores]}).cases[0].passed
    1
    """

    dataset: str
    hash: str
    cases: tuple[CaseResult, ...]
    test: str = ""
    live: bool | None = None

    @classmethod
    def of(cls, dataset: Dataset, runs: Mapping[str, Sequence[Scores]]) -> Self:
        """Return the results of runs: the scores of each run, in a list for each case, by its id.

        Raises:
            BaselineError: a case has no runs, runs are of an unknown case, or the runs of a case have different scorers.
        """
        unknown = next((identity for identity in runs if identity not in dataset.ids), None)
        if unknown is not None:
            raise BaselineError(f"{dataset.name} has no case {unknown!r}{did_you_mean(unknown, dataset.ids)}")
        missing = [case.id for case in dataset if not runs.get(case.id)]
        if missing:
            raise BaselineError(f"{amount(len(missing), 'case')} of {dataset.name} without a run: {some_names(missing)}")
        results = []
        for case in dataset:
            scored = runs[case.id]
            passed = sum(scores.passed for scores in scored)
            results.append(CaseResult(case.id, case.hash, passed, len(scored), mean_scores(case.id, scored)))
        return cls(dataset.name, dataset.hash, tuple(results))

    def save(self, path: Path | str) -> None:
        """Write the file, and make its folder. Equal results make equal files.

        Raises:
            BaselineError: the file cannot be written, or the name of a test, case, scorer or trace looks like a secret.
        """
        save_baselines([self], path)

    @staticmethod
    def load(path: Path | str) -> Baseline:
        """Return the results of a file.

        Raises:
            BaselineError: it cannot be read, or is no baseline, with the line; or it has those of several tests.
        """
        found = load_baselines(path)
        if len(found) > 1:
            tests = some_names([baseline.test for baseline in found])
            raise BaselineError(f"{shown_path(str(path))}: the file has the baselines of {tests}; `load_baselines` returns all")
        return found[0]


# -- files


def save_baselines(baselines: Sequence[Baseline], path: Path | str) -> None:
    """Write one file with the results of several tests. See `Baseline.save`."""
    for name in (name for baseline in baselines for name in _names_in(baseline)):
        hidden = table().without_secrets(name)
        if hidden != name:
            raise BaselineError(f"a baseline is committed, and the name {hidden!r} of a case or scorer looks like a secret")
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for baseline in baselines for line in _lines(baseline))
    try:
        make_folder(Path(path).parent)
        Path(path).write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise BaselineError(f"{shown_path(str(path))}: the baseline cannot be written: {error.strerror}") from None


def _names_in(baseline: Baseline) -> Iterator[str]:
    yield from (baseline.dataset, baseline.test)
    for case in baseline.cases:
        yield from (case.id, *case.scores, case.trace or "")


def _lines(baseline: Baseline) -> Iterator[dict[str, Any]]:
    head = {"llmtest_baseline": FORMAT, "dataset": baseline.dataset, "hash": baseline.hash, "cases": len(baseline.cases)}
    yield head | ({"test": baseline.test} if baseline.test else {}) | ({} if baseline.live is None else {"live": baseline.live})
    for case in baseline.cases:
        line = {"id": case.id, "hash": case.hash, "passed": case.passed, "total": case.total, "scores": case.scores}
        yield line | ({"spent": case.spent} if case.spent else {}) | ({"trace": case.trace} if case.trace is not None else {})


def load_baselines(path: Path | str) -> list[Baseline]:
    """Return the results of all tests in a file.

    Raises:
        BaselineError: it cannot be read, is no baseline, or has two of one test; with the line.
    """
    shown = shown_path(str(path))
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BaselineError(f"{shown}: the baseline cannot be read: {error.strerror}") from None
    try:
        nodes = json_line_nodes(decode(content, str(path)), str(path))
        places = [At(str(path), node, f"line {node.line}") for node in nodes]
        if not places or not _is_head(places[0]):
            raise BaselineError(f"{shown}: this is no baseline: its first line has no `llmtest_baseline`")
        starts = [number for number, at in enumerate(places) if _is_head(at)]
        found = [_baseline(places[start:end], shown) for start, end in pairwise([*starts, len(places)])]
    except ScriptError as error:
        raise BaselineError(str(error)) from None
    twice = next((one.test for number, one in enumerate(found) if one.test in {other.test for other in found[:number]}), None)
    if twice is not None:
        raise BaselineError(f"{shown}: the file has two baselines of the test {twice!r}")
    return found


def _is_head(at: At) -> bool:
    return at.kind == "map" and "llmtest_baseline" in at.pairs()


def _baseline(places: Sequence[At], shown: str) -> Baseline:
    head = _required(places[0], ("llmtest_baseline", "dataset", "hash", "cases"), ("test", "live"))
    version = head["llmtest_baseline"].number(int, "a whole number")
    if version != FORMAT:
        raise head["llmtest_baseline"].error(f"the baseline has the format {version}; this version of llmtest knows {FORMAT}")
    test = head["test"].text() if "test" in head else ""
    live = head["live"].flag() if "live" in head else None
    found = Baseline(head["dataset"].text(), head["hash"].text(), tuple(_result(at) for at in places[1:]), test, live)
    expected = head["cases"].number(int, "a whole number")
    if len(found.cases) != expected or hash_of_cases(case.hash for case in found.cases) != found.hash:
        raise BaselineError(
            f"{shown}: the lines are not those that were written: the first says {amount(expected, 'case')}"
            f" with the hash {found.hash!r}, and {amount(len(found.cases), 'case')} follow\n"
            "  a merge or an edit has changed the file; write it again"
        )
    return found


def _required(at: At, fields: Sequence[str], more: Sequence[str] = ()) -> Mapping[str, At]:
    given = at.only((*fields, *more))
    missing = [field for field in fields if field not in given]
    if missing:
        raise at.error(f"{at.name} has no `{missing[0]}`")
    return given


def _result(at: At) -> CaseResult:
    given = _required(at, ("id", "hash", "passed", "total", "scores"), ("spent", "trace"))
    passed, total = (given[field].number(int, "a whole number of runs") for field in ("passed", "total"))
    if not 0 < total >= passed:
        raise given["passed"].error(f"{at.name} has {passed} passes of {total} runs")
    scores = _numbers(given["scores"], "a mapping of scores")
    spent = _numbers(given["spent"], "a mapping of what a run spent") if "spent" in given else EMPTY
    trace = given["trace"].text() if "trace" in given else None
    return CaseResult(given["id"].text(), given["hash"].text(), passed, total, scores, spent, trace)


def _numbers(at: At, expected: str) -> FrozenDict:
    return FrozenDict({name: value.any_number("a number") for name, value in at.mapped(expected)})
