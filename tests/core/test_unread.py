"""False answers and comparisons that a test computes and ignores: what counts as read, kept and ignored."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmtest.core.unread import MAX_FRAMES, Pending, Unread, collected, unequal
from llmtest.errors import IGNORED, expect_violation
from llmtest.matching import Answer, never
from tests.support.programs import run, trace

RECORDING = trace(run("a"))


def ask() -> Answer:
    return RECORDING.obeys(never("a"))


def ask_deep(depth: int) -> Answer:
    return ask_deep(depth - 1) if depth else ask()


@pytest.fixture
def pending() -> Iterator[Pending]:
    """Answers of the test itself, which the plugin would count."""
    with collected() as found:
        yield found


def told(found: Pending, *, living: bool = False) -> list[str]:
    return [re.sub(r"test_unread\.py:\d+", "test_unread.py:N", str(one)) for one in found.take(living=living)]


def test_an_ignored_answer_is_told_with_its_line(pending: Pending) -> None:
    ask()

    (text,) = told(pending)

    assert text.splitlines()[0] == "a false answer was ignored: broken: never `a`: `a` was called"
    assert text.splitlines()[1].startswith("  at       ")
    assert "test_unread.py:N" in text.splitlines()[1]
    assert text.splitlines()[2] == "  write `assert` before it, or use its value"


def test_answers_are_told_once(pending: Pending) -> None:
    ask()

    assert [len(told(pending)), len(told(pending))] == [1, 0]


def test_an_answer_that_was_read_is_not_told(pending: Pending) -> None:
    assert not ask()
    if ask():
        raise AssertionError("it is false")

    assert told(pending) == []


def test_an_answer_under_a_name_that_is_never_read_is_told(pending: Pending) -> None:
    def program() -> None:
        answer = ask()  # noqa: F841

    program()

    assert len(told(pending)) == 1


def test_an_answer_under_a_name_that_code_would_read_is_kept(pending: Pending) -> None:
    def program(wanted: bool) -> None:
        answer = ask()
        if wanted:
            assert answer

    program(wanted=False)

    assert told(pending) == []


def test_locals_reads_every_name(pending: Pending) -> None:
    def program() -> None:
        answer = ask()
        locals()

    program()

    assert told(pending) == []


@pytest.mark.parametrize("depth", [1, MAX_FRAMES - 3])
def test_an_answer_that_functions_hand_on_and_the_last_ignores_is_told(pending: Pending, depth: int) -> None:
    ask_deep(depth)

    assert len(told(pending)) == 1


def test_an_answer_that_lives_is_told_at_the_end_only(pending: Pending) -> None:
    kept = [ask()]  # in a list, where code that does not run could read it

    assert told(pending) == []
    assert len(told(pending, living=True)) == 1
    assert told(pending, living=True) == []
    del kept


def test_where_nothing_collects_an_answer_is_as_good_as_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtest.core.unread._open", [])

    watch = Unread("broken: a")
    watch.end()

    assert (watch.is_read, watch.trail, watch.where, watch.pending) == (True, [], "", None)


def test_an_ignored_answer_may_be_expected(pending: Pending) -> None:
    with expect_violation(IGNORED):
        ask()

    assert told(pending) == []


def test_the_innermost_block_gets_the_answers_of_every_thread(pending: Pending) -> None:
    def work() -> None:
        ask()

    with collected() as inner:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

        assert (len(told(inner)), told(pending)) == (1, [])


# -- comparisons


def compares() -> Any:
    return RECORDING.tools == ["b"]


def throws_away() -> None:
    RECORDING.tools == ["b"]  # noqa: B015


def names_it() -> None:
    same = RECORDING.tools == ["b"]  # noqa: F841


def hands_on_to_nobody() -> None:
    compares()


def chooses(yes: bool = True) -> Any:
    return compares() if yes else throws_nothing_away()


def throws_nothing_away() -> Any:
    return compares()


def hands_on_a_choice() -> None:
    chooses(yes=True)
    chooses(yes=False)


def returns_from_a_with() -> Any:
    with contextlib.nullcontext():
        return compares()


def returns_from_a_loop_in_a_try() -> Any:
    try:
        for _ in range(1):
            return compares()
    finally:
        RECORDING.tools.count("b")


def hands_on_from_blocks() -> None:
    returns_from_a_with()
    returns_from_a_loop_in_a_try()


def reads_what_comes_from_blocks() -> None:
    assert not chooses()
    assert not returns_from_a_with()
    assert not returns_from_a_loop_in_a_try()


async def acompares() -> Any:
    async with contextlib.nullcontext():
        await asyncio.sleep(0)
        return RECORDING.tools == ["b"]


async def achooses() -> Any:
    return (await acompares()) if RECORDING.tools else None


def ignores_what_a_coroutine_returns() -> None:
    async def work() -> None:
        await acompares()
        await achooses()

    asyncio.run(work())


def reads_what_a_coroutine_returns() -> None:
    async def work() -> None:
        assert not await acompares()
        assert not await achooses()
        assert await asyncio.gather(acompares(), achooses()) == [False, False]

    asyncio.run(work())
    assert not asyncio.run(acompares())


def ignores_what_a_generator_returns() -> None:
    def inner() -> Iterator[int]:
        yield 1
        return RECORDING.tools == ["b"]

    def outer() -> Iterator[int]:
        yield from inner()

    assert list(outer()) == [1]


def asserts() -> None:
    assert not RECORDING.tools == ["b"]  # noqa: SIM201


def calls_by_c_code() -> None:
    for _ in filter(lambda _: RECORDING.tools == ["b"], [0]):
        raise AssertionError("it is false")


def asks_any() -> None:
    any([RECORDING.tools == ["b"]])


def keeps_it_in_an_object() -> None:
    vars(keeps_it_in_an_object)["result"] = RECORDING.tools == ["b"]


def compares_by_a_method() -> None:
    RECORDING.tools.__eq__(["b"])


@pytest.mark.parametrize(
    ("program", "number"),
    [
        (throws_away, 1),
        (names_it, 1),
        (hands_on_to_nobody, 1),
        (hands_on_a_choice, 2),
        (hands_on_from_blocks, 2),
        (reads_what_comes_from_blocks, 0),
        (ignores_what_a_coroutine_returns, 2),
        (reads_what_a_coroutine_returns, 0),
        (ignores_what_a_generator_returns, 1),
        (asserts, 0),
        (calls_by_c_code, 0),
        (asks_any, 0),
        (keeps_it_in_an_object, 0),
        (compares_by_a_method, 0),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_comparison_is_told_if_its_result_is_ignored(pending: Pending, program: Callable[[], None], number: int) -> None:
    program()

    assert len(told(pending)) == number


def test_a_comparison_outside_a_test_is_only_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtest.core.unread._open", [])

    assert unequal("line == 1") is False


def test_what_becomes_of_an_answer_beyond_many_functions_is_not_known_so_it_counts_as_read(pending: Pending) -> None:
    ask_deep(MAX_FRAMES + 2)
    compares_deep(MAX_FRAMES + 2)

    assert len(told(pending)) == 1  # the answer is told anyway: it died, and nothing read it


def compares_deep(depth: int) -> Any:
    return compares_deep(depth - 1) if depth else compares()
