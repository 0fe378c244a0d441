"""The marker `llm_eval`: what it says, and the test items that it makes, one for each case.

Imported only in a session that has a test with the marker.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from llmtest.core.masks import table
from llmtest.core.text import amount, did_you_mean, short
from llmtest.errors import DatasetError, LlmtestWarning
from llmtest.evals.datasets import Case, Dataset
from llmtest.evals.intervals import CONFIDENCE
from llmtest.evals.results import SetHead
from llmtest.evals.scores import Scorer
from llmtest.evals.verdicts import MAX_REPEATS, Requirement, percent
from llmtest.tokens.prices import Prices, checked

MARKER: Final = "llm_eval"
CASE: Final = "case"
"""The argument of a test that takes its case."""
REPEATS: Final = 10
CONCURRENCY: Final = 8
"""How many repeats run at once where real models answer."""


@dataclass(frozen=True)
class Evaluation:
    """What the markers of one test say. `concurrency` is None if they do not say it."""

    dataset: Dataset
    requirement: Requirement
    repeats: int = REPEATS
    scorers: Mapping[str, Scorer] | None = None
    max_cost: float | None = None
    concurrency: int | None = None
    prices: Prices | None = None

    def head(self, test: str, *, repeats: int, live: bool) -> SetHead:
        """Return what its results are of."""
        dataset, scorers = self.dataset, tuple(self.scorers or ())
        return SetHead(test, dataset.name, dataset.hash, len(dataset), self.requirement, repeats, scorers, live)


# -- reading the marker


def evaluation_of(marks: Sequence[pytest.Mark], folder: Path, datasets: dict[Path, Dataset]) -> Evaluation:
    """Return what the markers of a test say, the nearest first. A narrower one changes what it names.

    `datasets` are those that were read before: many tests may name one file.

    Raises:
        ValueError: they say something that cannot be; the text says what is expected.
    """
    said: dict[str, Any] = {}
    for mark in reversed(marks):
        if mark.args:
            raise ValueError(f"llm_eval() takes keywords only: {', '.join(f'{name}=' for name in _CHECKS)}; got {mark.args[0]!r}")
        for name, value in mark.kwargs.items():
            if name not in _CHECKS:
                raise ValueError(f"llm_eval() has no argument {name}={did_you_mean(name, _CHECKS)}")
            problem = _CHECKS[name](value)
            if problem and value is not None:
                raise ValueError(f"{name}= of llm_eval() is {problem}; got {type(value).__name__} {short(value)}")
        said |= {name: value for name, value in mark.kwargs.items() if value is not None}
    for name, example in (("dataset", "the cases, such as 'cases.yaml'"), ("at_least", "the required pass rate, such as 0.9")):
        if name not in said:
            raise ValueError(f"llm_eval() has no {name}=: {example}")
    requirement = Requirement(said["at_least"], said.get("confidence", CONFIDENCE), said.get("method", "exact"))
    dataset = _dataset(said["dataset"], folder, datasets)
    others = {name: said[name] for name in ("repeats", "max_cost", "concurrency") if name in said}
    found = Evaluation(
        dataset, requirement, scorers=_scorers(said.get("scorers", ())), prices=checked(said.get("prices")), **others
    )
    _check_reach(found)
    _warn_of_judges(found)
    return found


def _is_whole(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _scorers_problem(value: object) -> str:
    found = [*value.values()] if isinstance(value, Mapping) else value
    is_named = not isinstance(value, Mapping) or all(isinstance(name, str) for name in value)
    is_list = isinstance(found, list | tuple) and all(map(callable, found)) and is_named
    return "" if is_list else "a list of scorers, each a function of a run, or a mapping of their names to them"


_CHECKS: Final[dict[str, Callable[[Any], str]]] = {
    "dataset": lambda value: "" if isinstance(value, str | Path | Dataset) else "the path of a file, or a Dataset",
    "repeats": lambda value: (
        "" if _is_whole(value) and value <= MAX_REPEATS else f"how often each case runs, 1 to {MAX_REPEATS:,}"
    ),
    "at_least": lambda value: "" if _is_number(value) else "a pass rate between 0 and 1, such as 0.9",
    "confidence": lambda value: "" if _is_number(value) else "a probability between 0 and 1, such as 0.95",
    "method": lambda value: "" if isinstance(value, str) else "'exact', 'wilson' or 'sequence'",
    "scorers": _scorers_problem,
    "max_cost": lambda value: "" if _is_number(value) and value > 0 else "what the runs of the set may cost, more than 0",
    "concurrency": lambda value: "" if _is_whole(value) else "how many repeats run at once, 1 or more",
    "prices": lambda value: "" if isinstance(value, Mapping) else "a mapping of models to prices",
}


def _scorers(said: Mapping[str, Scorer] | Sequence[Scorer]) -> dict[str, Scorer]:
    if isinstance(said, Mapping):
        return dict(said)
    found: dict[str, Scorer] = {}
    for scorer in said:
        name = getattr(scorer, "__name__", type(scorer).__name__)
        if name in found:
            raise ValueError(
                f"two scorers of llm_eval() have the name `{name}`; give them names: scorers={{'one': ..., 'other': ...}}"
            )
        found[name] = scorer
    return found


def _dataset(said: str | Path | Dataset, folder: Path, known: dict[Path, Dataset]) -> Dataset:
    if isinstance(said, Dataset):
        found = said
    else:
        path = folder / said
        if path not in known:
            known[path] = Dataset.load(path)
        found = known[path]
    for case in found:
        hidden = table().without_secrets(case.id)
        if hidden != case.id:
            raise ValueError(f"the id {hidden!r} of a case looks like a secret; it would be in the names of tests and in results")
    return found


def _check_reach(evaluation: Evaluation) -> None:
    """Refuse a plan that cannot show what it requires, even if all runs pass."""
    runs = len(evaluation.dataset) * evaluation.repeats
    plan = evaluation.requirement.plan(runs)
    if plan.pass_from is not None:
        return
    _, *rest = str(plan).replace("repeat", "run").splitlines()
    cases = f"{amount(len(evaluation.dataset), 'case')} of {evaluation.dataset.name}, {amount(evaluation.repeats, 'repeat')} each"
    required = percent(evaluation.requirement.at_least)
    raise ValueError("\n".join([f"{amount(runs, 'run')} cannot show {required}: even if all pass ({cases})", *rest]))


def _warn_of_judges(evaluation: Evaluation) -> None:
    """Warn of judges that have not been compared with labels of people."""
    for name, scorer in (evaluation.scorers or {}).items():
        if getattr(scorer, "is_qualified", True) is False:
            text = f"the judge `{name}` of llm_eval() has not been shown to judge as people do: see `llmtest.evals.qualify`"
            warnings.warn(LlmtestWarning(text), stacklevel=2)


# -- items


def generate(metafunc: pytest.Metafunc, marks: Sequence[pytest.Mark], datasets: dict[Path, Dataset]) -> Evaluation:
    """Make an item for each case of the dataset of a test; fail its collection if the marker is wrong."""
    test = metafunc.definition.nodeid
    if CASE not in metafunc.fixturenames:
        pytest.fail(
            f"{test}: a test with llm_eval takes the argument `{CASE}`: `.id`, `.inputs`, `.expected`, ...", pytrace=False
        )
    if inspect.isasyncgenfunction(metafunc.function):  # pytest itself refuses the others
        pytest.fail(f"{test}: a test with llm_eval returns its output, and has no `yield`", pytrace=False)
    problem = ""
    try:
        found = evaluation_of(marks, metafunc.definition.path.parent, datasets)
    except (DatasetError, TypeError, ValueError) as error:
        problem = f"{test}: {error}"
    if problem:
        pytest.fail(problem, pytrace=False)
    metafunc.parametrize(CASE, [*found.dataset], ids=found.dataset.ids)
    return found


def case_of(item: pytest.Item) -> Case | None:
    """Return the case of an item; None if it has none, as a method of unittest, which pytest does not parametrize."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get(CASE) if callspec is not None else None
    return found if isinstance(found, Case) else None


def base_of(item: pytest.Item) -> str:
    """Return the node id of an item without any parameters."""
    callspec = getattr(item, "callspec", None)
    return item.nodeid if callspec is None else item.nodeid.removesuffix(f"[{callspec.id}]")


def set_of(item: pytest.Item, case: Case) -> str:
    """Return the name of the set of an item: its node id without the case. Other parameters make sets of their own."""
    callspec: Any = getattr(item, "callspec", None)
    # As pytest writes it first: the id `\x`, written `\\x`, ends with itself.
    names = [case.id.encode("unicode_escape").decode("ascii"), case.id]
    whole = callspec.id
    others = next((whole.removesuffix(name).removesuffix("-") for name in names if whole.endswith(name)), whole)
    name = base_of(item)
    return table().without_secrets(f"{name}[{others}]" if others else name)
