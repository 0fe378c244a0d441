"""Assert on recordings: what `==`, `obeys`, `assert_obeys`, `assert_matches` and `all_of` do with shapes and rules."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from types import TracebackType
from typing import cast

from llmtest import errors, ledger
from llmtest.core.literals import Line, Repeated, Together, read_elements
from llmtest.core.sequences import Shape
from llmtest.core.unread import Unread
from llmtest.errors import UnjudgedError
from llmtest.matching.answers import Answer, of_shape
from llmtest.matching.engine import Judgeable, expect_arguments, judge, unknown_tool
from llmtest.matching.rule import Rule
from llmtest.matching.selectors import Selector
from llmtest.matching.shapes import RunLine, mark
from llmtest.order.happens_before import HappensBefore


def obeys(recording: Judgeable, rules: Sequence[Rule], *, strict: bool = False) -> Answer:
    """Return the answer of the first rule that does not hold, or one that says all hold. Later rules are not judged."""
    sentences = []
    for answer in judge(recording, rules, strict=strict):
        if not answer.holds:
            return _handed(answer)
        sentences.append(answer.expected)
    return Answer(" and ".join(sentences), True)


def _handed(answer: Answer) -> Answer:
    """Return a false answer as a test gets it, which must read it; the report of the test keeps one of its own."""
    # Without `unread`, because the report of the test is no reader.
    ledger.current().answer = answer
    said = f"{'broken' if answer.holds is False else 'cannot tell'}: {answer.expected}: {answer.said}"
    return replace(answer, unread=Unread(said))


def assert_obeys(recording: Judgeable, rules: Sequence[Rule], *, strict: bool = False) -> None:
    """Raise the whole explanation of every rule that does not hold, or leave it to the `all_of` block around."""
    __tracebackhide__ = True
    _settle([answer for answer in judge(recording, rules, strict=strict) if not answer.holds])


# -- shapes


def has_shape(line: RunLine, shape: Sequence[object]) -> bool:
    """True if a line has a shape. If not, each matcher that means one of its runs is shown as that run from now on."""
    found = Shape(shape, line).matches() and misspelt(line, shape, optional=True) is None
    # Only a false comparison is shown, and marking costs another pass over the line.
    if not found and any(isinstance(one, Selector | Together | Repeated) for one in shape):
        mark(shape, line)
    return found


def misspelt(line: Line, shape: Sequence[object], *, optional: bool) -> str | None:
    """Return why a literal seems to name a tool wrongly. If `optional`, only in elements that may take nothing."""
    order = getattr(line, "order", None)
    if order is None:
        return None
    for element in read_elements(shape, line):
        for member in element.members:
            if not optional or element.may_be_empty:
                unknown = unknown_tool(cast("Selector", member.taker), order)
                if unknown is not None:
                    return unknown
    return None


def places_of(item: object, what: str, line: RunLine) -> list[int]:
    """Return the numbers of the runs that an element of a shape means.

    Raises:
        TypeError: `item` means several runs, or none.
        UnjudgedError: it cannot be told, or `item` seems to name a tool wrongly.
    """
    if item is None or item is ... or isinstance(item, list | tuple | dict | set | frozenset | Together | Repeated):
        raise TypeError(
            f"{what} takes the name of a run, a tool, called(...) or a run; got {type(item).__name__} {item!r};"
            f' a shape is compared: {what} == ["search", ...]'
        )
    taker = cast("Selector", line.taker(item))
    for option in taker.options():
        expect_arguments(option, line.items)
    found = [number for number, run in enumerate(line.items) if taker.means(run)]
    if not found and line.order is not None and (unknown := unknown_tool(taker, line.order)):
        raise UnjudgedError(f"cannot tell: {unknown}")
    return found


def explain_shape(what: str, line: Line, shape: Sequence[object], order: HappensBefore | None) -> Answer:
    """Return an `Answer`: whether a line has a shape, and why. A test must read it if it is false."""
    if Shape(shape, line).matches():
        unknown = misspelt(line, shape, optional=True)
        if unknown is None:
            return Answer(f"{what} == {list(shape)!r}", True)
        return _handed(Answer(f"{what} == {list(shape)!r}", None, unknown, suspected=True))
    lacks = of_shape(what, shape, line, order)
    if isinstance(line, RunLine) and may_have_another_order(line):
        lacks = replace(lacks, holds=None, said=f"{lacks.said}; spans do not tell the order of all of them")
    return _handed(lacks)


def may_have_another_order(line: RunLine) -> bool:
    """True if runs may have come in an order that their source does not tell, so that none of their shapes is excluded."""
    return line.only_turns and bool(line.groups)


def assert_shape(what: str, line: Line, shape: Sequence[object], order: HappensBefore | None) -> None:
    """Raise the whole explanation, if the line has not the shape, or leave it to the `all_of` block around.

    Raises:
        TypeError: the shape is no list.
    """
    __tracebackhide__ = True
    if not isinstance(shape, list | tuple):
        raise TypeError(f'a shape is a list: ["plan", ..., called("book")]; got {type(shape).__name__} {shape!r}')
    answer = explain_shape(what, line, shape, order)
    _settle([] if answer.holds else [answer])


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
