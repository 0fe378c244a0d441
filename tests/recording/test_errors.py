"""The errors of a recording can be asked by class, as the program raised them."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import record
from llmtest.events import Failure
from llmtest.matching import at_least, called, chain, never
from llmtest.recording import Recording


class NoSuchOrderError(KeyError):
    """An error of the program's own."""


@tool
def find(number: int) -> str:
    """Find an order."""
    raise NoSuchOrderError(number) if number else LookupError("no number")


def run(number: int) -> tuple[Recording, BaseException]:
    with record() as recording, pytest.raises(LookupError) as caught:
        find.invoke({"number": number})
    return recording, caught.value


def test_an_error_is_of_its_class_and_of_those_above():
    recording, _ = run(7)

    assert [kind in recording.errors for kind in (NoSuchOrderError, KeyError, LookupError, Exception, OSError)] == [
        *[True] * 4,
        False,
    ]
    assert recording.errors == [KeyError]
    assert "NoSuchOrderError" in recording.errors
    assert recording.errors.count(ValueError) == 0


def test_a_selector_takes_a_class():
    recording, _ = run(7)

    assert recording.obeys(at_least(1, called("find").failed(KeyError)), never(called().failed(OSError)))
    assert str(called("find").failed(KeyError)) == "`find`.failed(KeyError)"
    assert recording.tools == [called("find").failed(LookupError)]


def test_the_exception_is_there_while_the_test_holds_it():
    recording, error = run(7)

    assert recording.errors[0].exception is error


def test_an_exception_of_python_is_there_again_without_its_frames():
    recording, error = run(0)

    again = recording.errors[0].exception
    assert (type(again), again.args, again.__traceback__) == (LookupError, error.args, None)


class Big:
    """An object in a frame of the program."""


def test_a_recording_keeps_no_frame_of_the_program_alive():
    seen: list[weakref.ref[Big]] = []

    def fail(_: object) -> None:
        big = Big()
        seen.append(weakref.ref(big))
        raise NoSuchOrderError

    with record() as recording, contextlib.suppress(KeyError):
        RunnableLambda(fail).invoke(1)
    gc.collect()

    assert recording.errors == [KeyError]
    assert (seen[0](), recording.errors[0].exception) == (None, None)


def test_of_a_loaded_error_a_class_above_it_may_not_be_known():
    loaded = Failure("NoSuchOrderError", "7")

    assert (loaded.is_a(NoSuchOrderError), loaded.is_a(KeyError), Failure("KeyError", "7").is_a(LookupError)) == (
        True,
        None,
        True,
    )
    assert loaded.exception is None


def test_failures_are_compared_by_their_fields_too():
    assert Failure("KeyError", "7") == Failure("KeyError", "7") != Failure("KeyError", "8")
    assert len({Failure("KeyError", "7"), Failure("KeyError", "7")}) == 1
    assert Failure("KeyError", "7") != 7
    assert recordings_of_nothing() == []


def recordings_of_nothing() -> list[Failure]:
    with record() as recording:
        pass
    return recording.errors


def test_a_chain_that_did_not_fail_has_no_class():
    with record() as recording:
        RunnableLambda(str).with_config(run_name="ok").invoke(1)

    assert recording.obeys(never(chain().failed(Exception)))
