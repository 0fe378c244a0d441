"""The outcome of a run with a fault, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, hold, record, say
from llmtest.campaigns import faults
from llmtest.campaigns.verdicts import FAILED, SURVIVED, Outcome, Survival, Verdict, answers_of, outcomes, survival
from llmtest.errors import CampaignError
from llmtest.protocol import run_checks
from llmtest.recording.recording import Recording


def ask() -> str:
    return ScriptedChatModel("Hello", name="model").invoke("hi").text


def forgives() -> str:
    try:
        return ask()
    except TimeoutError:
        return "sorry"


NOT_NOTICED = (
    "nothing noticed it, because the test asserts nothing: "
    "the chat `model` failed with TimeoutError: the model timed out, and nothing made up for it"
)


def has_two_models(recording: Recording) -> bool:
    return len(recording.models) == 2


def outcome(program: Callable[[], Any], kind: str, **options: Any) -> tuple[str, str]:
    (verdict,) = faults(program, kinds=kind, **options).verdicts
    return verdict.outcome, verdict.why


def test_the_outcomes_are_of_three_kinds() -> None:
    assert outcomes() == get_args(Outcome)
    assert SURVIVED | FAILED | {"not exposed"} == set(outcomes())
    assert not SURVIVED & FAILED


@pytest.mark.parametrize(
    ("program", "options", "expected"),
    [
        (ask, {}, ("crash", "TimeoutError: the model timed out")),
        (ask, {"survives": TimeoutError}, ("declared error", "TimeoutError: the model timed out")),
        (ask, {"survives": [KeyError, OSError]}, ("declared error", "TimeoutError: the model timed out")),
        (ask, {"survives": KeyError}, ("crash", "TimeoutError: the model timed out")),
        (forgives, {}, ("not exposed", NOT_NOTICED)),
        (forgives, {"survives": has_two_models}, ("wrong and silent", "has_two_models(recording) is false")),
        (forgives, {"survives": lambda recording: len(recording.models) == 1}, ("recovered", "")),
    ],
)
def test_what_a_program_survives(program, options, expected) -> None:
    assert outcome(program, "timeout", **options) == expected


def test_the_same_answer_is_that_of_the_roots() -> None:
    def in_a_chain(fallback: str) -> Callable[[], object]:
        def program() -> object:
            model = ScriptedChatModel("Hello", name="model")
            other = ScriptedChatModel(say(fallback).optional(), name="other")
            return (RunnableLambda(lambda x: x) | model.with_fallbacks([other])).invoke("hi")

        return program

    assert outcome(in_a_chain("Hello"), "timeout", survives="same answer") == ("recovered", "")
    assert outcome(in_a_chain("Sorry"), "timeout", survives="same answer") == (
        "wrong and silent",
        "the answer is 'Sorry'; without the fault 'Hello'",
    )


def test_own_assertions_do_not_count_beside_the_same_answer() -> None:
    def asserts_too_much() -> None:
        assert ask() == "Hello", "another answer"

    assert outcome(asserts_too_much, "empty answer") == ("wrong and silent", "AssertionError: another answer")
    assert outcome(asserts_too_much, "empty answer", survives="same answer") == (
        "wrong and silent",
        "the answer is ''; without the fault 'Hello'",
    )
    assert outcome(asserts_too_much, "empty answer", survives=lambda recording: True) == ("recovered", "")


def test_tokens_are_bounded() -> None:
    def tries_again() -> None:
        model = ScriptedChatModel(say("Hello", usage=(10, 5)), say("Hello", usage=(10, 5)).optional())
        with suppress(TimeoutError):
            model.invoke("hi")
            return
        model.invoke("hi")
        model.invoke("hi")

    assert outcome(tries_again, "timeout", max_tokens=15) == ("wrong and silent", "it spent 30 tokens; max_tokens=15")
    assert outcome(tries_again, "timeout", max_tokens=30) == ("recovered", "")


def test_a_tool_may_be_tagged_as_one_with_effects() -> None:
    @tool
    def book(room: str) -> str:
        """Book a room."""
        return "booked"

    book.tags = ["effects"]

    def books_again() -> None:
        with suppress(RuntimeError):
            book.invoke("A")
            return
        book.invoke("A")

    assert outcome(books_again, "error after effect") == ("wrong and silent", "the tool `book` had its effect twice for 'A'")
    assert outcome(books_again, "error") == ("recovered", "")


def test_a_call_at_a_gate_that_nothing_releases_hangs() -> None:
    def waits_for_ever() -> None:
        model = ScriptedChatModel("a", say("b").optional().then_wait(0.05))
        if not model.invoke("hi").text:
            model.invoke("hi")
            model.invoke("again")

    found, why = outcome(waits_for_ever, "empty answer")

    assert found == "hang"
    assert why.startswith("the script lets the program wait") or "wait" in why


def test_violations_of_the_doubles_are_wrong() -> None:
    def binds_too_late() -> None:
        model = ScriptedChatModel("a b", say("stop here").optional())
        if not model.invoke("hi").text:
            with suppress(AssertionError):
                model.invoke("hi", stop=["a"])

    found, why = outcome(binds_too_late, "empty answer")

    assert found == "wrong and silent"
    assert "stop" in why


def test_a_verdict_is_one_line() -> None:
    (verdict,) = faults(ask, kinds="timeout").verdicts

    assert str(verdict) == "crash: model#1 timeout: TimeoutError: the model timed out"
    assert str(Verdict(verdict.faults, "recovered")) == "recovered: model#1 timeout"
    assert isinstance(verdict.error, TimeoutError)
    assert [event.kind for event in verdict.witness] == ["on_llm_error"]


def test_what_a_program_must_do_is_read_once() -> None:
    assert survival() == Survival()
    assert survival(
        ["same answer", KeyError, has_two_models], effects="pay", invariants=["empty answer"], max_tokens=9
    ) == Survival(True, (KeyError,), (has_two_models,), ("pay",), ("empty answer",), 9)
    with pytest.raises(CampaignError):
        survival(3)


async def is_async(recording: Recording) -> bool:
    return False


_WRONG = {
    "int": ({"survives": int}, "survives= is \"same answer\", a class of errors or a function; got <class 'int'>"),
    "async": (
        {"survives": is_async},
        f"a function of survives= is not async: what it returns would always be true; got {is_async!r}",
    ),
    "nan": ({"max_tokens": float("nan")}, "max_tokens= is a whole number, not negative; got nan"),
    "text": ({"max_tokens": "9"}, "max_tokens= is a whole number, not negative; got '9'"),
    "negative": ({"max_tokens": -1}, "max_tokens= is a whole number, not negative; got -1"),
}


@pytest.mark.parametrize(("options", "expected"), _WRONG.values(), ids=_WRONG)
def test_what_would_always_hold_is_refused(options, expected) -> None:
    with pytest.raises(CampaignError) as caught:
        survival(**options)

    assert str(caught.value) == expected


def answers_wrongly() -> None:
    try:
        answer = ask()
    except TimeoutError:
        answer = "sorry"
    assert answer == "Hello"


def asserts(recording: Recording) -> bool:
    assert len(recording.models) == 2
    return True


class Later:
    """Can be awaited, and is no coroutine."""

    def __await__(self) -> Any:
        yield


def says_nothing(recording: Recording) -> None:
    pass


@pytest.mark.parametrize(
    ("survives", "expected"),
    [
        (Exception, "wrong and silent"),
        ([BaseException, KeyError], "wrong and silent"),
        (AssertionError, "declared error"),
        (asserts, "wrong and silent"),
        (says_nothing, "wrong and silent"),
    ],
)
def test_a_wrong_answer_is_no_error_that_is_allowed(survives, expected) -> None:
    assert outcome(answers_wrongly, "timeout", survives=survives)[0] == expected


def test_a_predicate_says_why_it_does_not_hold() -> None:
    assert outcome(forgives, "timeout", survives=asserts)[1].startswith("asserts(recording) fails: AssertionError: ")
    assert outcome(forgives, "timeout", survives=says_nothing)[1] == (
        "says_nothing(recording) returns None, and not whether all is well"
    )
    with pytest.raises(CampaignError) as caught:
        outcome(forgives, "timeout", survives=lambda recording: is_async(recording))
    assert str(caught.value) == (
        "<lambda>(recording) returns an awaitable, which is always true; survives= takes a function that is not async"
    )
    with pytest.raises(CampaignError):
        outcome(forgives, "timeout", survives=lambda recording: Later())
    with pytest.raises(KeyError):
        outcome(forgives, "timeout", survives=lambda recording: {}["x"])


def test_a_program_may_ask_again_by_itself() -> None:
    def asks_by_itself() -> None:
        model = ScriptedChatModel("Hello", name="model")
        for _ in range(3):
            with suppress(TimeoutError):
                if model.invoke("hi").text:
                    return

    assert outcome(asks_by_itself, "timeout", survives="same answer") == ("recovered", "")
    assert outcome(asks_by_itself, "empty answer", survives="same answer") == ("recovered", "")
    assert outcome(forgives, "timeout", survives="same answer") == (
        "wrong and silent",
        "the answer is None; without the fault 'Hello'",
    )


def test_a_tool_that_is_almost_named_has_no_effects() -> None:
    @tool
    def pay(order: str) -> str:
        """Pay an order."""
        return f"paid {order}"

    def program() -> None:
        pay.invoke({"order": "7"})

    with pytest.raises(CampaignError) as caught:
        faults(program, kinds="error", effects="payy")

    assert str(caught.value) == "effects= names 'payy', and the program calls no such tool; did you mean `pay`?"
    assert len(faults(program, kinds="error", effects="refund")) == 1


def test_answers_have_no_ids() -> None:
    with record() as recording:
        RunnableLambda(lambda _: f"run-{'0' * 8}-0000-4000-8000-{'0' * 12}").invoke("x")

    assert answers_of(recording) == ("<id>",)


def test_gates_are_released_at_the_end_of_a_run() -> None:
    gate = hold()

    def asks() -> None:
        gate.release()
        ScriptedChatModel(gate, "Hello").invoke("hi")

    assert faults(asks, kinds="empty answer", survives=lambda recording: True).counts() == {"recovered": 1}


@tool
async def look(q: str) -> str:
    """Look."""
    await asyncio.sleep(0)
    return f"found {q}"


async def an_agent() -> None:
    model = ScriptedChatModel(call("look", q="x"), "Done.", name="model")
    assert (await create_agent(model, [look]).ainvoke({"messages": "hi"}))["messages"][-1].text == "Done."


async def a_model() -> None:
    assert (await ScriptedChatModel("Hello", name="model").ainvoke("hi")).text == "Hello"


def fallbacks_in_a_batch() -> None:
    first = ScriptedChatModel(say("a").repeat(), name="first")
    second = ScriptedChatModel(say("b").repeat().optional(), name="second")
    asks = first.with_fallbacks([second], exceptions_to_handle=(ConnectionError,))
    assert len(asks.batch(["1", "2"])) == 2


def several_prompts() -> None:
    ScriptedChatModel(say("a").times(3), name="model").generate([[HumanMessage(text)] for text in "123"])


ORDINARY = (an_agent, a_model, fallbacks_in_a_batch, several_prompts)
OPEN = {"cancelled chat model", "fallbacks in a batch", "chat models generated together"}


def test_open_faults_of_langchain_are_found_by_campaigns_that_are_not_told_where() -> None:
    matrices = [faults(program, survives=Exception) for program in ORDINARY]

    found = {name: verdict for matrix in matrices for verdict in matrix.verdicts for name in verdict.deviations}

    assert found.keys() == {name for matrix in matrices for name in matrix.deviations} >= OPEN
    assert all(found[name].witness for name in OPEN)


def test_they_are_found_without_the_list_of_known_ones_too(monkeypatch) -> None:
    monkeypatch.setattr(run_checks, "known", lambda *_: None)

    verdicts = [verdict for program in ORDINARY for verdict in faults(program, survives=Exception).verdicts]

    wrong = {verdict.why for verdict in verdicts if verdict.outcome == "wrong and silent"}
    assert wrong >= {"chat `model` never ended", "chain `RunnableWithFallbacks` never ended"}


def test_a_run_that_is_left_open_is_wrong() -> None:
    left: list[object] = []

    def leaves_a_stream() -> None:
        model = ScriptedChatModel("Hello", name="model")
        if not model.invoke("hi").text:
            stream = RunnableLambda(lambda x: iter("abc")).stream("x")
            next(stream)
            left.append(stream)

    found, why = outcome(leaves_a_stream, "empty answer")
    left.clear()

    assert found == "wrong and silent"
    assert "never ended" in why or "open" in why


class Polite(RunnableLambda[str, str]):
    """Says something else than its run."""

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        try:
            return super().invoke(input, config, **kwargs) or "nothing"
        except TimeoutError:
            return "sorry"

    def stream(self, input: str, config: Any = None, **kwargs: Any) -> Any:
        with suppress(TimeoutError):
            yield from super().stream(input, config, **kwargs)

    async def ainvoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        answer = await super().ainvoke(input, config, **kwargs)
        if not answer:
            raise ValueError("no answer")
        return answer


class Plain(Runnable[str, str]):
    """Makes no run of its own."""

    def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
        try:
            return ScriptedChatModel("Hello", name="model").invoke(input).text
        except TimeoutError:
            return "sorry"


def polite() -> None:
    assert Polite(lambda _: ask()).invoke("hi")


def politely_streamed() -> None:
    assert len(list(Polite(lambda _: ask()).stream("hi"))) <= 1


async def politely_awaited() -> None:
    with suppress(ValueError):
        await Polite(lambda _: ask()).ainvoke("hi")


def plain() -> None:
    assert Plain().invoke("hi") in ("Hello", "sorry")


@pytest.mark.parametrize(
    ("program", "kind", "expected"),
    [
        (
            polite,
            "timeout",
            "the caller of the chain `Polite` saw no error, but its run failed with TimeoutError: the model timed out",
        ),
        (polite, "empty answer", "the caller of the chain `Polite` saw 'nothing', but its run says ''"),
        (
            politely_streamed,
            "timeout",
            "the caller of the chain `Polite` saw no error, but its run failed with TimeoutError: the model timed out",
        ),
        (
            politely_awaited,
            "empty answer",
            "the caller of the chain `Polite` saw ValueError: no answer, but its run ended well",
        ),
        (plain, "timeout", ""),
        (plain, "refusal", "AssertionError: "),
    ],
)
def test_what_the_caller_sees_is_what_the_root_says(program, kind, expected) -> None:
    found, why = outcome(program, kind)

    assert found == ("wrong and silent" if expected else "recovered")
    assert why.startswith(expected)


def test_what_differs_without_a_fault_too_is_of_the_program() -> None:
    class Shouts(RunnableLambda[str, str]):
        def invoke(self, input: str, config: Any = None, **kwargs: Any) -> str:
            return super().invoke(input, config, **kwargs).upper()

    def program() -> None:
        assert Shouts(lambda _: ask()).invoke("hi").isupper()

    assert outcome(program, "cut by length") == ("recovered", "")


def swallows() -> None:
    with suppress(TimeoutError):
        ask()


def tries_again() -> None:
    with suppress(TimeoutError):
        ask()
        return
    ask()


@pytest.mark.parametrize(
    ("program", "options", "expected"),
    [
        (swallows, {}, ("not exposed", NOT_NOTICED)),
        (swallows, {"survives": lambda recording: True}, ("recovered", "")),
        (swallows, {"invariants": "swallowed error"}, ("wrong and silent", NOT_NOTICED.partition("nothing: ")[2])),
        (tries_again, {}, ("recovered", "")),
    ],
)
def test_a_test_that_swallows_everything_and_asserts_nothing_proves_nothing(program, options, expected) -> None:
    assert outcome(program, "timeout", **options) == expected
