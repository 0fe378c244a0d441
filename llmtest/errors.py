"""Every exception that llmtest raises, what it raises them for, and `expect_violation`.

Imports nothing else of llmtest, so that any module may raise what stands here and the unused plugin pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final


class LlmtestError(Exception):
    """The base of every exception that llmtest raises of its own."""


class LlmtestWarning(UserWarning):
    """A violation that the settings of pytest report as a warning instead of a failure."""


# -- violations

BROKEN_RULE: Final = "broken rule"
"""The code of a violation of `record(rules=[...])` or of the rules of a suite: a rule of `llmtest.matching` does not hold."""

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
    """Raised for one or more violations; `.violations` holds them in the order in which they happened."""

    def __init__(self, *violations: Violation) -> None:
        self.violations = violations
        super().__init__("\n\n".join(v.text for v in violations))


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


_claims: list[Callable[[Violation], bool]] = []


def is_expected(violation: Violation) -> bool:
    """True if an open `expect_violation` block expects `violation`; the innermost such block collects it."""
    return any(claim(violation) for claim in reversed(_claims))


@contextmanager
def expect_violation(code: str) -> Iterator[list[Violation]]:
    """Expect at least one violation with this code in the block, and take it off the test's ledger.

    Yields the list of those that came. The exception that the violation raises is swallowed only if it leaves
    the block; a program that catches it itself goes on as usual. Violations with other codes stay on the ledger.
    It claims for the whole process, as the ledger does: calls from other threads count.

    Raises:
        AssertionError: no violation with this code happened in the block.

    >>> from llmtest import ScriptedChatModel, expect_violation
    >>> with expect_violation("unexpected call") as caught:
    ...     _ = ScriptedChatModel().invoke("hello")
    >>> [violation.code for violation in caught]
    ['unexpected call']

    It does not look at steps that were left unused: those are known only at the end of the test.
    """
    caught: list[Violation] = []

    def claim(violation: Violation) -> bool:
        if violation.code != code:
            return False
        caught.append(violation)
        return True

    _claims.append(claim)
    try:
        yield caught
    except ViolationError as error:
        if any(violation.code != code for violation in error.violations):
            raise
    finally:
        _claims.remove(claim)
    if not caught:
        raise AssertionError(f"expected a violation with code {code!r}, but none happened")


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


class StoreError(LlmtestError):
    """The store cannot be used, or does not have what was asked for. The message says what to do."""
