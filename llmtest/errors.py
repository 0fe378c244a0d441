"""Every exception that llmtest raises, what it raises them for, and `expect_violation`.

Imports nothing else of llmtest, so that any module may raise what stands here and the unused plugin pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ContextDecorator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final


class LlmtestError(Exception):
    """The base of every exception that llmtest raises of its own."""


class LlmtestWarning(UserWarning):
    """A violation that the settings of pytest report as a warning instead of a failure."""


# -- violations

BROKEN_RULE: Final = "broken rule"
"""The code of a violation of `record(rules=[...])` or of the rules of a suite: a rule of `llmtest.matching` does not hold."""

LEFT_OPEN: Final = "block left open"
"""The code of a violation for a block that a test entered and never left."""
USE_WITH: Final = "use it with `with`, or leave it in the same test"
IGNORED: Final = "ignored answer"
"""The code of a violation for a false answer, `recording.obeys(...)` or `recording.tools == [...]`, that a test never reads."""

SWALLOWED: Final = "swallowed handler error"
"""The code of a violation for an error of a callback handler that LangChain logs and does not raise."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not have happened.

    `code` is its short name (`"unexpected call"`, `"unused step"`, ...), `text` the whole message as a person
    reads it: what was expected, what came, where, and what to do.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


class ViolationError(LlmtestError, AssertionError):
    """Raised for one or more violations; `.violations` holds them in the order in which they happened.

    Its text says equal violations once, and of one code no more than a few.
    """

    def __init__(self, *violations: Violation) -> None:
        self.violations = violations
        super().__init__("\n\n".join(summarize(violations)))


MAX_OF_A_CODE: Final = 10
"""The most violations of one code whose texts a failure shows: a loop may break one rule a thousand times."""


def summarize(violations: Iterable[Violation]) -> list[str]:
    """Return what a failure says: each text once, with its count, and how many more there are of a code than are shown."""
    counts: dict[str, dict[str, int]] = {}
    for violation in violations:
        texts = counts.setdefault(violation.code, {})
        texts[violation.text] = texts.get(violation.text, 0) + 1
    said: list[str] = []
    for code, texts in counts.items():
        shown = dict(list(texts.items())[:MAX_OF_A_CODE])
        said += [text if count == 1 else f"{text}\n  this happened {count:,} times" for text, count in shown.items()]
        more = sum(texts.values()) - sum(shown.values())
        said += [f"... and {more:,} more violations of the code {code!r}"] if more else []
    return said


def violations_in(error: BaseException | None) -> list[Violation]:
    """Return the violations of `error`, of its causes and contexts, and of the exceptions that it groups."""
    found: list[Violation] = []
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        this = todo.pop()
        if this is None or id(this) in seen:
            continue
        seen.add(id(this))
        found += this.violations if isinstance(this, ViolationError) else ()
        todo += [this.__cause__, this.__context__, *(this.exceptions if isinstance(this, BaseExceptionGroup) else ())]
    return found


def fails_test(error: BaseException) -> bool:
    """True for a failed assertion, for what `pytest.fail` raises, which is none, and for a group with one of them.

    pytest is not imported here.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(fails_test, error.exceptions))
    kinds = type(error).__mro__
    is_of_pytest = any(kind.__module__ == "_pytest.outcomes" for kind in kinds)  # the module of `Failed` itself is `builtins`
    return isinstance(error, AssertionError) or (is_of_pytest and any(kind.__name__ == "Failed" for kind in kinds))


class Expectation(ContextDecorator):
    """The block of `expect_violation`. Not a generator, which would end with the last reference to it."""

    def __init__(self, code: str, times: range) -> None:
        self._code = code
        self._times = times
        self._caught: list[Violation] = []

    def _recreate_cm(self) -> Expectation:  # each call of a function that it decorates is a block of its own
        return Expectation(self._code, self._times)

    def __enter__(self) -> list[Violation]:
        _expectations.append(self)
        for keeper in keepers:
            keeper(self)
        return self._caught

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        _expectations.remove(self)
        if error is not None and not (isinstance(error, ViolationError) and self._claim_all(error)):
            return False
        if len(self._caught) not in self._times:
            fewest, most = self._times[0], self._times[-1]
            number = "a violation" if most == 1 else f"{' to '.join(map(str, dict.fromkeys((fewest, most))))} violations"
            raise AssertionError(f"expected {number} with code {self._code!r}, but {len(self._caught) or 'none'} happened")
        return True

    def _claim_all(self, error: ViolationError) -> bool:
        """Collect the violations of an error that leaves the block, as `verify()` raises it. False if some are not expected."""
        known = [*self._caught]
        for violation in error.violations:
            if violation in known:
                known.remove(violation)
            else:
                if not self.claim(violation):
                    return False
                for withdraw in withdrawers:
                    withdraw(violation)
        return True

    def claim(self, violation: Violation) -> bool:
        """Collect `violation`, unless it has another code, or as many as are expected have happened."""
        if violation.code != self._code or len(self._caught) >= self._times[-1]:
            return False
        self._caught.append(violation)
        return True

    def end_of_test(self) -> list[Violation]:
        """Close the block if the test left it open. It would take the violations of the tests that follow."""
        if self not in _expectations:
            return []
        _expectations.remove(self)
        return [Violation(LEFT_OPEN, f"an expect_violation({self._code!r}) block was left open by the test\n  {USE_WITH}")]


_expectations: list[Expectation] = []
keepers: list[Callable[[Expectation], None]] = []
"""Called with each expectation that begins. The ledger is told so, which stands above this module."""


withdrawers: list[Callable[[Violation], None]] = []
"""Called with each violation of before the block that an error carries out of it: it is expected after all."""


def is_expected(violation: Violation) -> bool:
    """True if an open `expect_violation` block expects `violation`; the innermost such block collects it."""
    return any(expectation.claim(violation) for expectation in reversed(_expectations))


def expect_violation(code: str, *, times: int | range = 1) -> Expectation:
    """Expect violations with this code in the block, and take them off the test's ledger.

    `times` is how many, or a range of how many: `times=range(1, 4)` takes one to three. More than that stay on the ledger.
    Yields the list of those that happened. The exception that a violation raises is swallowed only if it leaves
    the block; a program that catches it itself goes on as usual. Violations with other codes stay on the ledger.
    What `verify()` raises in the block counts too: earlier violations of the double, and its unused steps.
    It claims for the whole process, as the ledger does: calls from other threads count.

    Raises:
        AssertionError: fewer violations with this code happened in the block.
        ValueError: `times` is no whole number of 1 or more, and no range of such numbers.

    >>> from llmtest import ScriptedChatModel, expect_violation
    >>> with expect_violation("unexpected call") as caught:
    ...     _ = ScriptedChatModel().invoke("hello")
    >>> [violation.code for violation in caught]
    ['unexpected call']

    Steps that are left unused are known only at the end of the test: call `model.verify()` in the block.
    """
    return Expectation(code, _counts(times))


def _counts(times: int | range) -> range:
    counts = range(times, times + 1) if type(times) is int else times
    if not isinstance(counts, range) or not counts or min(counts) < 1 or counts.step < 0:
        raise ValueError(f"times= of expect_violation is a whole number of 1 or more, or a range of them; got {times!r}")
    return counts


# -- scripts and doubles


class ScriptError(LlmtestError, ValueError):
    """A script was written wrongly: raised where it is written, not when it is served."""


class StatusError(Exception):
    """What a step that fails with an HTTP status raises. With langchain-core 1.7 and newer it is also the class there
    that stands for this status, such as `ModelRateLimitError`. `status_code` is an int, `retry_after` in seconds or None.
    A model with a `dialect=` raises what the integration does instead, where that is installed.
    """

    def __init__(self, status_code: int, retry_after: float | None = None, message: str | None = None) -> None:
        from http import HTTPStatus  # not at the top: the unused plugin imports this module

        self.status_code = status_code
        self.retry_after = retry_after
        phrase = next((status.phrase for status in HTTPStatus if status == status_code), "error")
        super().__init__(message or f"{status_code} {phrase}")


class InventError(LlmtestError, ValueError):
    """Nothing could be invented that fits, or Faker is not installed."""


class ProvidersError(LlmtestError, RuntimeError):
    """The installed LangChain builds its models in another way than we know, or is not installed."""


# -- tokens


class ServerError(LlmtestError, OSError):
    """Raised when a scripted server cannot listen."""


class PriceError(LlmtestError, LookupError):
    """What a model call costs is not known."""


class BudgetError(LlmtestError, ValueError):
    """A marker `llm_budget` that says nothing, or something that is not a limit."""


# -- rules and shapes


class MatchError(LlmtestError, AssertionError):
    """A rule or shape that was asserted does not hold. `.answers` has an `llmtest.matching.Answer` for each that does not."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        super().__init__("\n\n".join(map(str, answers)))


class RulesError(LlmtestError, ValueError):
    """The rules that a command is given cannot be imported, or are none."""


class UnjudgedError(Exception):
    """Whether a run is meant cannot be told: what would tell it is missing. A failure, never a silent pass."""


# -- snapshots and traces


class MaskError(LlmtestError, ValueError):
    """A line of `llmtest_masks` is no rule."""


class TreeTextError(LlmtestError, ValueError):
    """A text is not what the grammar says. `line` is the number of the line, from 1; `problem` what is wrong with it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


class SnapshotError(LlmtestError):
    """A snapshot cannot be compared: its file is damaged, or runs are still open."""


class PendingError(LlmtestError):
    """A pending snapshot cannot be found, read, accepted or rejected."""


class ReportError(LlmtestError):
    """The results of a session, or the files of several that are to be joined, cannot be read."""


class CassetteError(LlmtestError):
    """Raised when the cassette of a test is missing or of another test, or when it cannot be recorded."""


class CoverageError(LlmtestError):
    """Coverage cannot be read or reported: a file is damaged, a program that was named is not there, a limit is no number."""


class SettingsError(LlmtestError):
    """The configuration file of pytest, which a command reads, cannot be read."""


class StoreError(LlmtestError):
    """The store cannot be used, or does not have what was asked for. The message says what to do."""


# -- campaigns


class CampaignError(LlmtestError, ValueError):
    """A campaign is asked for something that does not exist, or its program fails without any fault."""


class FaultError(LlmtestError, AssertionError):
    """A program does not survive a fault. `.outcome` is one of the outcomes of a campaign, `.fault` its name."""

    def __init__(self, text: str, outcome: str, fault: str) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.fault = fault


class InterleavingError(LlmtestError, AssertionError):
    """A program fails in another order of what runs at once. `.schedule` is the word that repeats that order."""

    def __init__(self, text: str, schedule: str) -> None:
        super().__init__(text)
        self.schedule = schedule


class OtelError(LlmtestError):
    """Spans cannot be read, written or sent. The message has the place, and what to do."""


# -- evaluation


class DatasetError(LlmtestError, ValueError):
    """A dataset cannot be read, or has a case that is written wrongly. The message has the file and the line."""


class ScorerError(LlmtestError, TypeError):
    """A scorer cannot score any run: it returns something that is no score, is not told what to expect, or shares its name."""


class NoVerdictError(LlmtestError):
    """A judge has given no verdict that can be read: it refused, or said something else. A run without a verdict never passes."""


class CalibrationError(LlmtestError, ValueError):
    """A judge has not been shown to agree with people, or a kept calibration cannot be read or is of another judge."""


class BaselineError(LlmtestError, ValueError):
    """A baseline cannot be read or written, or is of other cases than the results that are compared with it."""


class ResultsError(LlmtestError, ValueError):
    """Results of an evaluation cannot be read, contradict each other, or are of another test or dataset than is run now."""


class EvaluationError(LlmtestError, RuntimeError):
    """An evaluation cannot go on: a provider refuses all tries, what it spends is not known, or it is not what is resumed."""
