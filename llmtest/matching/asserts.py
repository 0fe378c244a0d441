"""Assert on recordings: what `==`, `obeys`, `assert_obeys`, `assert_matches` and `all_of` do with shapes and rules."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from llmtest import errors, ledger
from llmtest.core.literals import Line, Repeated, Together
from llmtest.core.sequences import Shape
from llmtest.matching.answers import Answer, of_shape
from llmtest.matching.engine import Judgeable, judge
from llmtest.matching.rule import Rule
from llmtest.matching.selectors import Selector
from llmtest.matching.shapes import RunLine, mark
from llmtest.order.happens_before import HappensBefore


def obeys(recording: Judgeable, rules: Sequence[Rule]) -> Answer:
    """Return the answer of the first rule that does not hold, or one that says all hold. Later rules are not judged."""
    sentences = []
    for answer in judge(recording, rules):
        if not answer.holds:
            ledger.current().answer = answer
            return answer
        sentences.append(answer.expected)
    return Answer(" and ".join(sentences), True)


def assert_obeys(recording: Judgeable, rules: Sequence[Rule]) -> None:
    """Raise the whole explanation of every rule that does not hold, or leave it to the `all_of` block around."""
    __tracebackhide__ = True
    _settle([answer for answer in judge(recording, rules) if not answer])


# -- shapes


def has_shape(line: RunLine, shape: Sequence[Any]) -> bool:
    """True if a line has a shape. If not, each matcher that means one of its runs is shown as that run from now on."""
    found = Shape(shape, line).matches()
    # Only a false comparison is shown, and marking costs another pass over the line.
    if not found and any(isinstance(one, Selector | Together | Repeated) for one in shape):
        mark(shape, line)
    return found


def explain_shape(what: str, line: Line, shape: Sequence[Any], order: HappensBefore | None) -> Answer:
    """Return an `Answer`: whether a line has a shape, and why."""
    if Shape(shape, line).matches():
        return Answer(f"{what} == {list(shape)!r}", True)
    answer = of_shape(what, shape, line, order)
    ledger.current().answer = answer
    return answer


def assert_shape(what: str, line: Line, shape: Sequence[Any], order: HappensBefore | None) -> None:
    """Raise the whole explanation, if the line has not the shape, or leave it to the `all_of` block around.

    Raises:
        TypeError: the shape is no list.
    """
    __tracebackhide__ = True
    if not isinstance(shape, list | tuple):
        raise TypeError(f'a shape is a list: ["plan", ..., called("book")]; got {type(shape).__name__} {shape!r}')
    answer = explain_shape(what, line, shape, order)
    _settle([] if answer else [answer])


# -- together


class SoftAsserts:
    """The block of `all_of`: it collects what is found in it. Not a generator, which would end with the last reference to it."""

    def __init__(self) -> None:
        self._found: list[Answer] = []
        self._token: Token[SoftAsserts | None] | None = None

    def __enter__(self) -> None:
        self._token = _collected.set(self)
        ledger.keep_block(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        __tracebackhide__ = True
        assert self._token is not None
        _collected.reset(self._token)
        self._token = None
        ledger.drop_block(self)
        if error is None:
            _settle(self._found)
            return
        for answer in self._found:
            error.add_note(str(answer))

    def collects(self, answers: list[Answer]) -> bool:
        """Collect `answers`, unless the block has ended."""
        self._found += answers
        return self._token is not None

    def end_of_test(self) -> list[errors.Violation]:
        """Close the block that the test left open. It would keep the asserts of the tests that follow to itself."""
        self._token = None
        texts = [f"an all_of() block was left open by the test\n  {errors.USE_WITH}", *map(str, self._found)]
        return [errors.Violation(errors.LEFT_OPEN, "\n\n".join(texts))]


_collected: ContextVar[SoftAsserts | None] = ContextVar("llmtest_soft_asserts", default=None)


def _settle(answers: list[Answer]) -> None:
    __tracebackhide__ = True
    soft = _collected.get()
    if answers and (soft is None or not soft.collects(answers)):
        ledger.current().answer = answers[-1]
        raise errors.MatchError(*answers)


def all_of() -> SoftAsserts:
    """Collect what `assert_obeys` and `assert_matches` find in the block, and raise all of it at its end, together.

    An exception that leaves the block comes first; what was found until then is added to it as a note.
    """
    return SoftAsserts()
