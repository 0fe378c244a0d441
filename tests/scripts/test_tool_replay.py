"""Which recorded answer of a tool is for which call."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from llmtest import expect_violation
from llmtest.errors import ViolationError
from llmtest.events.events import Run
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.scripts.tool_answers import ToolAnswer
from llmtest.scripts.tool_replay import RecordedAnswers

A, B = FrozenDict(order="A"), FrozenDict(order="B")


def given(answers: RecordedAnswers, *calls: FrozenDict | str) -> list[object]:
    taken = []
    for args in calls:
        call = answers.take("refund", args)
        assert call is not None
        call.is_open = False
        taken.append(call.answer.gives)
    return taken


def test_each_call_gets_the_answer_of_its_arguments_and_occurrence() -> None:
    answers = RecordedAnswers({"refund": [ToolAnswer(A, 1), ToolAnswer(B, 2), ToolAnswer(A, 3), ToolAnswer("A", 4)]})

    assert given(answers, B, A, "A", A) == [2, 1, 4, 3]
    answers.verify()


def test_the_same_answer_may_stand_twice() -> None:
    once = ToolAnswer(A, 1)
    answers = RecordedAnswers({"refund": [once, once]})

    assert given(answers, A, A) == [1, 1]
    answers.verify()


def test_a_tool_that_was_not_called_is_known_and_a_call_of_it_is_unexpected() -> None:
    answers = RecordedAnswers({"refund": [], "pay_*": []}, ["refund", "pay_*"])

    with expect_violation("unexpected tool call"), pytest.raises(ViolationError) as caught:
        given(answers, A)
    assert str(caught.value) == (
        "unexpected call of the recorded tool `refund`: no call of it was recorded\n"
        '  called    {"order": "A"}\n'
        "  recorded  none\n"
        "  record the run again, or let the real tool run: leave `refund` out of names="
    )


def test_while_answers_are_recorded_a_call_without_one_is_no_violation() -> None:
    answers = RecordedAnswers({"refund": [ToolAnswer(A, 1)]}, ["refund", "pay"], is_growing=True)

    assert given(answers, A) == [1]
    assert [answers.take("refund", A), answers.take("refund", B), answers.take("pay", A)] == [None, None, None]
    answers.verify()


def test_injected_arguments_do_not_count_on_either_side() -> None:
    def injected(names: Iterable[str]) -> set[str]:
        return {"state", "runtime"}.intersection(names)

    answers = RecordedAnswers({"refund": [ToolAnswer(FrozenDict(order="A", state="old"), 1), ToolAnswer(A, 2)]})

    assert answers.take("refund", FrozenDict(order="A", runtime="new"), injected).answer.gives == 1
    assert answers.take("refund", FrozenDict(order="A", state="other"), injected).answer.gives == 2


def test_many_other_arguments_are_cut() -> None:
    answers = RecordedAnswers({"refund": [ToolAnswer(FrozenDict(n=n)) for n in range(12)]})

    with expect_violation("unexpected tool call") as caught:
        answers.take("refund", FrozenDict(n=111))
    with expect_violation("unused step"):
        answers.verify()

    assert caught[0].text.splitlines()[1:4] == ['  called    {"n": 111}', '  nearest   {"n": 11}', '  recorded  {"n": 0}']
    assert caught[0].text.splitlines()[-2] == "  ... and 3 more"


def test_names_are_patterns() -> None:
    answers = RecordedAnswers({"refund": [ToolAnswer(A)], "roll": [ToolAnswer(A)]}, names=["ref*"])

    assert [answers.covers(name) for name in ("refund", "ref", "roll")] == [True, True, False]
    given(answers, A)
    answers.verify()


def test_verify_raises_what_happened_and_what_is_unused() -> None:
    answers = RecordedAnswers({"refund": [ToolAnswer(A), ToolAnswer(B, unknown="returned a Command")]})

    with expect_violation("unexpected tool call"):
        answers.take("refund", B)
    with pytest.raises(ViolationError) as caught, expect_violation("another code"):
        answers.verify()
    answers.waive()

    assert [violation.code for violation in caught.value.violations] == ["unused step"]
    assert str(caught.value).splitlines()[:2] == [
        "1 of 2 recorded answers of tools was never used",
        '  `refund`  {"order": "A"} gave None',
    ]


def test_calls_that_no_recording_orders_are_told_once() -> None:
    answers = RecordedAnswers({"refund": [ToolAnswer(A, 1), ToolAnswer(A, 2), ToolAnswer(A, 2)]})
    runs: dict[UUID, Run] = {}
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(answers.take, "refund", A).result()
        taken.is_open, taken.run_id = False, uuid4()
        runs[taken.run_id] = Run(taken.run_id, None, "tool", "refund", (), EMPTY, (), ())

    with expect_violation("competing calls", times=2):
        answers.judge_turns(runs.get, lambda first, second: False)
        answers.judge_turns(runs.get, lambda first, second: False)
    answers.judge_turns(runs.get, lambda first, second: True)

    assert answers.is_contested
    assert answers.violations == []
