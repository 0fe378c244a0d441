"""Results of evaluations on disk, as sessions write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmtest.evals.datasets import Dataset
from llmtest.evals.results import RepeatResult, ResultsWriter, SetHead, sessions_folder
from llmtest.evals.scores import Score
from llmtest.evals.verdicts import Requirement

TEST = "tests/test_shop.py::test_answers"


def dataset_of(cases: Sequence[str]) -> Dataset:
    return Dataset([{"id": case, "inputs": case} for case in cases], name="letters")


def write_set(
    folder: Path,
    passed: Mapping[str, Sequence[bool]],
    *,
    test: str = TEST,
    worker: str = "main",
    of: Sequence[str] = (),
    at_least: float = 0.9,
    repeats: int = 0,
    **facts: Any,
) -> Path:
    """Write the results of one set: of each case, whether its runs passed. `facts` are those of every run, or functions of its
    case and number. `of` are the cases of the dataset, by default those that ran."""
    dataset = dataset_of([*(of or passed)])
    planned = repeats or max(map(len, passed.values()))
    head = SetHead(test, dataset.name, dataset.hash, len(dataset), Requirement(at_least), planned, ("exact",))
    writer = ResultsWriter(folder, worker)
    writer.begin(head)
    for case, runs in passed.items():
        for number, one in enumerate(runs):
            told = {name: fact(case, number) if callable(fact) else fact for name, fact in facts.items()}
            scores = {"exact": Score(float(one), one, "" if one else "expected 'Paris', got 'Lyon'")}
            told = {"scores": scores, "seconds": 0.25} | told
            writer.write(test, RepeatResult(case, dataset[case].hash, number, one, **told))
    writer.close()
    return folder


def write_session(root: Path, name: str, passed: Mapping[str, Sequence[bool]], **more: Any) -> Path:
    """Write a session of the project in `root`."""
    return write_set(sessions_folder(root) / name, passed, **more)
