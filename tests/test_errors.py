"""Violations and their exception, and blocks that expect them."""

from __future__ import annotations

import threading

import pytest

from llmtest import LlmtestError, ViolationError, ledger
from llmtest.errors import Violation, expect_violation
from llmtest.ledger import Ledger
from llmtest.scripts import Request, Script

CALLED = Violation("unexpected call", "unexpected model call 1: the script has no steps")
OTHER = Violation("invalid tool call", "the script calls the tool `a`")


def test_a_violation_is_its_text() -> None:
    assert str(CALLED) == "unexpected model call 1: the script has no steps"


def test_a_violation_error_is_a_failed_expectation_that_holds_all_violations() -> None:
    error = ViolationError(CALLED, OTHER)

    assert isinstance(error, LlmtestError)
    assert isinstance(error, AssertionError)
    assert error.violations == (CALLED, OTHER)
    assert str(error) == f"{CALLED.text}\n\n{OTHER.text}"


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
