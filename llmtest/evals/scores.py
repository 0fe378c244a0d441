"""Scores: what scorers say about one run of one case.

A scorer is a plain function that takes a `CaseRun` and returns a bool, a number or a `Score`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from llmtest.core.masks import publish
from llmtest.core.text import clip, names, short, text_of
from llmtest.errors import EvaluationError, ScorerError
from llmtest.evals.datasets import Case
from llmtest.evals.refusals import is_refused
from llmtest.matching.answers import Answer

if TYPE_CHECKING:
    from llmtest.recording.recording import Recording

MAX_WHY_CHARACTERS = 200


@dataclass(frozen=True, slots=True, eq=False)
class CaseRun:
    """One run of a program on a case: what it returned, what was recorded, and the `error` with which it ended, if it crashed."""

    case: Case
    output: Any = None
    recording: Recording | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What one scorer says: a `value`, usually from 0 to 1, whether the run `passed`, and in one line `why` it did not.

    `passed` is None where the scorer only measures: such a value has a mean, and fails no run.

    Raises:
        ScorerError: `value` is no finite number.
    """

    value: float
    passed: bool | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ScorerError(f"the value of a score is a finite number; got {self.value!r}")


Scorer = Callable[[CaseRun], "bool | float | Score | Answer"]
"""An `Answer`, such as `run.recording.obeys(...)` returns, is true or false too, and says why."""


class Scores(Mapping[str, Score]):
    """The scores of one run by the names of their scorers. `str(scores)` has a line for each scorer that failed the run."""

    def __init__(self, scores: Mapping[str, Score], error: str = "") -> None:
        self._scores = dict(scores)
        self.error = error
        """How the run crashed; empty if it did not."""

    @property
    def passed(self) -> bool:
        """True if the run did not crash, and no scorer failed it."""
        return not self.error and all(score.passed is not False for score in self.values())

    def __getitem__(self, name: str) -> Score:
        return self._scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __str__(self) -> str:
        if self.error:
            return f"the run crashed: {self.error}"
        failed = [f"{name}: {score.why}" for name, score in self.items() if score.passed is False]
        return "\n".join(failed) or "passed"

    def __repr__(self) -> str:
        return f"<Scores: {dict(self)!r}>"


def score(run: CaseRun, *scorers: Scorer, **named: Scorer) -> Scores:
    """Return what scorers say about a run. A scorer has the name of its function, or that of its keyword.

    A run that crashed fails every scorer, and none is called. A scorer that raises an exception fails the run, with the exception
    as the reason: so a scorer may use `assert`, and must then return True.

    Raises:
        ScorerError: a scorer returns something else than a bool, a finite number, a `Score` or an `Answer`, or two scorers have
            one name.
        EvaluationError: the provider of a model that a scorer asks takes no request now.

    >>> def is_short(run):
    ...     return len(run.output) < 10
    >>> run = CaseRun(Case("france", "What is the capital?", "Paris"), output="It is Paris.")
    >>> scores = score(run, is_short, length=lambda run: len(run.output))
    >>> scores.passed, scores["length"].value
    (False, 12.0)
    >>> print(scores)
    is_short: it returned False

    It does not call scorers that are async.
    """
    by_name: dict[str, Scorer] = {}
    for name, scorer in (*((_name(scorer), scorer) for scorer in scorers), *named.items()):
        if name in by_name:
            raise ScorerError(f"two scorers have the name `{name}`; name one with a keyword: score(run, other_name=...)")
        by_name[name] = scorer
    if run.error is not None:
        error = reason(run.error)
        return Scores(dict.fromkeys(by_name, Score(0.0, False, f"the run crashed: {error}")), error)
    return Scores({name: _apply(name, scorer, run) for name, scorer in by_name.items()})


def _name(scorer: Scorer) -> str:
    return getattr(scorer, "__name__", type(scorer).__name__)


def _apply(name: str, scorer: Scorer, run: CaseRun) -> Score:
    try:
        result: Any = scorer(run)
        if isinstance(result, Answer):  # one that cannot be told raises here
            return Score(float(bool(result)), bool(result), "" if result else repr(result))
    except (EvaluationError, ScorerError):
        raise
    except Exception as error:
        if is_refused(error):
            text = f"the scorer `{name}` was refused: {reason(error)}\n  a refusal says nothing about the run, which has no score"
            raise EvaluationError(text) from error
        return Score(0.0, False, reason(error))
    if hasattr(result, "item"):  # numpy's bools and numbers are none of Python's
        result = result.item()
    if isinstance(result, Score):
        return result
    if isinstance(result, bool):
        return Score(float(result), result, "" if result else "it returned False")
    if isinstance(result, int | float) and math.isfinite(result):
        return Score(float(result))
    if iscoroutine(result):
        result.close()
        raise ScorerError(f"the scorer `{name}` is async; a scorer is a plain function")
    raise ScorerError(f"the scorer `{name}` returned {short(result)}; it returns a bool, a finite number or a Score")


def reason(error: BaseException) -> str:
    """Return an exception in one line: the class, except of a failed assertion, and the first line of its text."""
    kind = "" if isinstance(error, AssertionError) else type(error).__name__
    text = next(iter(text_of(error).splitlines()), "")
    return publish(clip(": ".join(filter(None, (kind, text))) or "an assertion failed", MAX_WHY_CHARACTERS))


def recorded(run: CaseRun, scorer: str) -> Recording:
    """Return the recording of a run.

    Raises:
        ScorerError: it has none.
    """
    if run.recording is None:
        raise ScorerError(f"the scorer {names([scorer])} looks at what was recorded; make the run with CaseRun(recording=...)")
    return run.recording
