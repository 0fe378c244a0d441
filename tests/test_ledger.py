"""Who is told of a violation, and who looks after which double."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmtest import LlmtestError, ViolationError, ledger
from llmtest.errors import Violation, expect_violation
from llmtest.ledger import Ledger, Outside
from llmtest.scripts import Request, Script

UNUSED = Violation("unused step", "1 of 1 steps of the script were never used")
CALLED = Violation("unexpected call", "unexpected model call 1: the script has no steps")
OTHER = Violation("invalid tool call", "the script calls the tool `a`")


class Double:
    """A double with one step that nobody has asked for."""

    def unused(self) -> list[Violation]:
        return [UNUSED]


@pytest.fixture(autouse=True)
def page() -> Iterator[Ledger]:
    """The innermost page, in place of the page of the test that runs."""
    with ledger.opened(Ledger()) as own:
        yield own


# -- violations


def test_a_violation_is_its_text() -> None:
    assert str(CALLED) == "unexpected model call 1: the script has no steps"


def test_a_violation_error_is_a_failed_expectation_that_holds_all_violations() -> None:
    error = ViolationError(CALLED, OTHER)

    assert isinstance(error, LlmtestError)
    assert isinstance(error, AssertionError)
    assert error.violations == (CALLED, OTHER)
    assert str(error) == f"{CALLED.text}\n\n{OTHER.text}"


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


# -- expected violations


def test_an_expected_violation_is_caught_and_written_nowhere(page: Ledger) -> None:
    own: list[Violation] = []

    with expect_violation("unexpected call") as caught:
        raise ledger.report(CALLED, own)

    assert caught == [CALLED]
    assert (page.violations, own) == ([], [])


def test_a_program_that_catches_the_violation_itself_goes_on(page: Ledger) -> None:
    reached = []

    with expect_violation("unexpected call", times=2) as caught:
        for _ in range(2):
            with pytest.raises(ViolationError):
                raise ledger.report(CALLED, [])
        reached.append("the end")

    assert (caught, reached, page.violations) == ([CALLED, CALLED], ["the end"], [])


def test_a_violation_of_another_rule_stays_on_the_page_and_leaves_the_block(page: Ledger) -> None:
    with pytest.raises(ViolationError) as raised, expect_violation("unexpected call"):
        raise ledger.report(OTHER, [])

    assert raised.value.violations == (OTHER,)
    assert page.violations == [OTHER]


def test_an_expected_violation_beside_another_does_not_swallow_it() -> None:
    with pytest.raises(ViolationError) as raised, expect_violation("unexpected call"):
        ledger.report(CALLED, [])
        raise ViolationError(CALLED, OTHER)

    assert raised.value.violations == (CALLED, OTHER)


def test_the_error_of_the_program_wins() -> None:
    with pytest.raises(KeyError), expect_violation("unexpected call"):
        raise KeyError


def test_no_violation_where_one_was_expected_is_an_error(page: Ledger) -> None:
    with pytest.raises(AssertionError) as raised, expect_violation("unexpected call"):
        pass

    assert str(raised.value) == "expected a violation with code 'unexpected call', but none happened"
    ledger.report(CALLED, [])
    assert page.violations == [CALLED]


def test_the_innermost_block_takes_the_violation() -> None:
    with expect_violation("unexpected call") as outer:
        with expect_violation("unexpected call") as inner:
            ledger.report(CALLED, [])
        ledger.report(CALLED, [])

    assert (outer, inner) == ([CALLED], [CALLED])


def test_a_violation_on_a_bare_thread_counts_as_expected() -> None:
    with expect_violation("unexpected call") as caught:
        thread = threading.Thread(target=ledger.report, args=(CALLED, []))
        thread.start()
        thread.join()

    assert caught == [CALLED]


def test_outside_a_test_a_call_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script("a")
    monkeypatch.setattr(ledger, "_open", [])

    script.serve(Request())

    assert ledger.current().doubles == {}


@pytest.mark.parametrize(
    ("times", "happened", "said", "left"),
    [
        (2, 1, "expected 2 violations with code 'unexpected call', but 1 happened", 0),
        (range(2, 4), 0, "expected 2 to 3 violations with code 'unexpected call', but none happened", 0),
        (range(2, 4), 3, "", 0),
        (1, 3, "", 2),
    ],
)
def test_a_block_takes_as_many_violations_as_it_expects(page: Ledger, times, happened, said, left) -> None:
    problem = ""
    try:
        with expect_violation("unexpected call", times=times):
            for _ in range(happened):
                ledger.report(CALLED, [])
    except AssertionError as error:
        problem = str(error)

    assert problem == said
    assert len(page.violations) == left


@pytest.mark.parametrize("times", [0, True, "2", 1.0, range(0, 3), range(3, 3), range(5, 1, -1)])
def test_how_many_are_expected_is_a_number_or_a_range(times) -> None:
    with pytest.raises(ValueError) as caught:
        expect_violation("unexpected call", times=times)

    assert str(caught.value) == (f"times= of expect_violation is a whole number of 1 or more, or a range of them; got {times!r}")


def test_a_function_that_expects_a_violation_expects_it_in_each_call(page: Ledger) -> None:
    @expect_violation("unexpected call")
    def program() -> None:
        raise ledger.report(CALLED, [])

    program()
    program()

    assert page.violations == []


def test_a_failure_says_each_text_once_and_of_one_code_only_a_few() -> None:
    loop = [Violation("unexpected call", f"unexpected model call {n}") for n in range(12)]

    text = str(ViolationError(OTHER, *[CALLED] * 1000))
    many = str(ViolationError(*loop))

    assert text == f"{OTHER.text}\n\n{CALLED.text}\n  this happened 1,000 times"
    assert many.splitlines()[-1] == "... and 2 more violations of the code 'unexpected call'"
    assert len(many.split("\n\n")) == 11


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
