"""Assert on recordings: what `==`, `obeys`, `assert_obeys`, `assert_matches` and `all_of` do with shapes and rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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


_collected: ContextVar[list[Answer] | None] = ContextVar("llmtest_soft_asserts", default=None)


def _settle(answers: list[Answer]) -> None:
    __tracebackhide__ = True
    soft = _collected.get()
    if soft is not None:
        soft += answers
    elif answers:
        ledger.current().answer = answers[-1]
        raise errors.MatchError(*answers)


@contextmanager
def all_of() -> Iterator[None]:
    """Collect what `assert_obeys` and `assert_matches` find in the block, and raise all of it at its end, together.

    An exception that leaves the block comes first; what was found until then is added to it as a note.
    """
    __tracebackhide__ = True
    found: list[Answer] = []
    token = _collected.set(found)
    try:
        yield
    except BaseException as error:
        for answer in found:
            error.add_note(str(answer))
        raise
    finally:
        _collected.reset(token)
    _settle(found)
