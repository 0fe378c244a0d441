"""Who is told of a violation, and who looks after which double."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmtest import ledger
from llmtest.errors import Violation
from llmtest.ledger import Ledger, Outside

pytestmark = pytest.mark.usefixtures("page")

UNUSED = Violation("unused step", "1 of 1 steps of the script were never used")
CALLED = Violation("unexpected call", "unexpected model call 1: the script has no steps")
OTHER = Violation("invalid tool call", "the script calls the tool `a`")


class Double:
    """A double with one step that nobody has asked for."""

    def unused(self) -> list[Violation]:
        return [UNUSED]


def test_a_violation_is_written_on_the_page_and_in_the_list_of_its_double(page: Ledger) -> None:
    own: list[Violation] = []

    error = ledger.report(CALLED, own)

    assert error.violations == (CALLED,)
    assert (page.violations, own) == ([CALLED], [CALLED])


def test_a_violation_on_a_bare_thread_is_written_on_the_page_of_the_test(page: Ledger) -> None:
    thread = threading.Thread(target=ledger.report, args=(CALLED, []))

    thread.start()
    thread.join()

    assert page.violations == [CALLED]


def test_outside_a_test_nothing_is_kept() -> None:
    own: list[Violation] = []
    double = Double()
    with ledger.opened(Outside()) as outside:
        ledger.made(double)
        ledger.called(double)
        ledger.note_recording("recording")
        ledger.report(CALLED, own)

    assert own == [CALLED]
    assert (outside.violations, outside.recordings, outside.doubles, outside.take()) == ([], [], {}, [])


def test_the_innermost_page_is_written_and_a_page_closes_alone(page: Ledger) -> None:
    outer, inner = ledger.opened(Ledger()), ledger.opened(Ledger())
    first, second = outer.__enter__(), inner.__enter__()

    outer.__exit__(None, None, None)

    assert ledger.current() is second
    assert ledger.current() is not first
    inner.__exit__(None, None, None)
    assert ledger.current() is page


def test_a_page_closes_when_its_block_fails(page: Ledger) -> None:
    with pytest.raises(KeyError), ledger.opened(Ledger()):
        raise KeyError

    assert ledger.current() is page


# -- ids and recordings


def test_ids_are_numbered_over_all_kinds_and_carry_the_prefix_of_their_page() -> None:
    page = Ledger("ab_")

    ids = [page.fresh_id("call"), page.fresh_id("msg"), page.fresh_id("call")]

    assert ids == ["call_ab_1", "msg_ab_2", "call_ab_3"]
    assert Ledger().fresh_id("call") == "call_1"


def test_a_recording_is_noted_on_the_page(page: Ledger) -> None:
    ledger.note_recording("recording")

    assert page.recordings == ["recording"]


# -- doubles


def test_a_page_looks_after_the_doubles_that_were_made_or_called_while_it_was_open(page: Ledger) -> None:
    made, called, neither = Double(), Double(), Double()

    ledger.made(made)
    ledger.made(made)
    ledger.called(called)
    ledger.called(called)

    assert [page.owns(double) for double in (made, called, neither)] == [True, True, False]
    assert page.take() == [UNUSED, UNUSED]


def test_a_page_is_taken_from_once(page: Ledger) -> None:
    first, later = Double(), Double()
    ledger.made(first)
    ledger.report(CALLED, [])
    taken = page.take()
    ledger.called(first)
    ledger.made(later)
    ledger.report(OTHER, [])

    again = page.take()

    assert taken == [CALLED, UNUSED]
    assert again == [OTHER, UNUSED]
    assert page.take() == []


def test_a_double_of_an_outer_page_stays_there_when_it_is_called(page: Ledger) -> None:
    double = Double()
    ledger.made(double)
    with ledger.opened(Ledger()) as inner:
        ledger.called(double)

    assert (page.owns(double), inner.owns(double)) == (True, False)


def test_a_page_notices_whoever_is_made_or_called() -> None:
    noticed: list[str] = []
    double = Double()
    ledger.made(double)
    with ledger.opened(Ledger(on_touch=lambda: noticed.append("noticed"))):
        ledger.called(double)
        ledger.made(Double())

    assert noticed == ["noticed", "noticed"]


def test_a_page_keeps_its_doubles_alive_so_that_no_id_is_taken_twice(page: Ledger) -> None:
    double = Double()
    alive = weakref.ref(double)
    ledger.made(double)

    del double

    assert alive() is not None
    assert page.take() == [UNUSED]


# -- pages of fixtures


def test_a_fixture_keeps_its_doubles_until_it_is_released(page: Ledger) -> None:
    double = Double()
    with ledger.kept(Ledger()) as fixture:
        ledger.made(double)

    with ledger.opened(Ledger()) as test:
        ledger.called(double)

    assert (fixture.owns(double), page.owns(double), test.owns(double)) == (True, False, False)
    assert ledger.release(fixture) == [UNUSED]
    assert ledger.release(fixture) == []
    ledger.called(double)
    assert page.owns(double)


def test_what_happens_while_a_fixture_is_set_up_belongs_to_the_test(page: Ledger) -> None:
    with ledger.kept(Ledger()) as fixture:
        ledger.made(Double())
        ledger.report(CALLED, [])
        ledger.note_recording("recording")

    assert (page.violations, page.recordings) == ([CALLED], ["recording"])
    assert (fixture.violations, fixture.recordings) == ([], [])
    assert ledger.release(fixture) == [UNUSED]


def test_a_fixture_that_fails_keeps_nothing_and_hands_over_what_happened(page: Ledger) -> None:
    fixture = Ledger()
    with pytest.raises(KeyError), ledger.kept(fixture):
        ledger.made(Double())
        ledger.report(CALLED, [])
        raise KeyError

    assert page.violations == [CALLED]
    assert ledger.release(fixture) == []


def test_a_fixture_without_doubles_is_not_kept() -> None:
    with ledger.kept(Ledger()) as fixture:
        pass

    assert ledger.release(fixture) == []


# -- threads that outlive their test


def test_a_thread_that_is_at_work_at_the_end_of_its_test_writes_on_the_page_of_that_test() -> None:
    go, own = threading.Event(), []
    first, second = Ledger(test="test_a.py::test_first"), Ledger(test="test_a.py::test_second")

    with ledger.opened(first):
        thread = threading.Thread(target=lambda: (go.wait(), ledger.report(CALLED, own)))
        thread.start()
    working = first.end()
    with ledger.opened(second):
        go.set()
        thread.join()

    assert working == [thread]
    assert (first.violations, second.violations, own) == ([CALLED], [], [CALLED])


def test_a_thread_that_waits_for_work_belongs_to_no_test() -> None:
    with ThreadPoolExecutor(1) as pool:
        first = Ledger(test="first")
        with ledger.opened(first):
            pool.submit(int).result()
        first.end()
        second = Ledger(test="second")
        with ledger.opened(second):
            pool.submit(ledger.report, CALLED, []).result()

    assert (first.violations, second.violations) == ([], [CALLED])


def test_a_thread_of_a_wider_fixture_works_for_each_test(page: Ledger) -> None:
    go = threading.Event()
    thread = threading.Thread(target=lambda: (go.wait(), ledger.report(CALLED, [])))
    first, second = Ledger(test="first"), Ledger(test="second")

    with ledger.opened(first), ledger.kept(Ledger()):
        thread.start()
    working = first.end()
    with ledger.opened(second):
        go.set()
        thread.join()

    assert working == []
    assert (first.violations, second.violations) == ([], [CALLED])
