"""The texts of violations."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest import Script, ScriptedChatModel, ViolationError, call, fail, record
from llmtest.errors import Violation
from llmtest.events import Message
from llmtest.ledger import Ledger
from llmtest.scripts import Request
from tests.support.doubles import line

pytestmark = pytest.mark.usefixtures("page")

HERE = Path(__file__).relative_to(Path.cwd()) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__)


NOTHING = Request({}, list)


def test_an_unexpected_call_says_what_came_and_what_was_served(page: Ledger) -> None:
    told = line() + 1
    script = Script("Hello", call("search", q="x"))
    request = Request(
        {"search": {"properties": {"q": {}}}, "book": {}}, lambda: [Message("system", "Be brief."), Message("human", "And now?")]
    )
    script.serve(request)
    script.serve(request)

    with pytest.raises(ViolationError) as caught:
        script.serve(request)

    text = (
        "unexpected model call 3: the script has 2 steps, all served\n"
        "  came  human 'And now?' (2 messages)\n"
        "  tools  `search`, `book`\n"
        f"  served  step 1  say('Hello')  at {HERE}:{told}\n"
        f"  served  step 2  call('search', q='x')  at {HERE}:{told}\n"
        "  add a step for this call, or find out why the program calls the model again"
    )
    assert str(caught.value) == text
    assert caught.value.violations == (Violation("unexpected call", text),)
    assert page.violations == script.violations == [Violation("unexpected call", text)]


def test_an_unexpected_call_of_an_empty_script_and_an_empty_prompt() -> None:
    with pytest.raises(ViolationError) as caught:
        Script().serve(NOTHING)

    assert str(caught.value) == (
        "unexpected model call 1: the script has no steps\n"
        "  came  an empty prompt (0 messages)\n"
        "  add a step for this call, or find out why the program calls the model again"
    )


def test_an_unexpected_call_after_many_steps_is_told_in_twenty_lines() -> None:
    script = Script(*["a"] * 30)
    for _ in range(30):
        script.serve(NOTHING)

    with pytest.raises(ViolationError) as caught:
        script.serve(Request({}, lambda: [Message("human", "again")]))

    lines = str(caught.value).split("\n")
    assert len(lines) == 20
    assert lines[0] == "unexpected model call 31: the script has 30 steps, all served"
    assert lines[1] == "  came  human 'again' (1 message)"
    assert lines[17].startswith("  served  step 16  say('a')  at ")
    assert lines[18:] == ["  ... 14 more lines", "  add a step for this call, or find out why the program calls the model again"]


def test_unused_steps_are_one_violation() -> None:
    told = line() + 1
    script = Script("a", "b", fail(429))
    never = script.unused()
    script.serve(NOTHING)
    once = script.unused()

    script.serve(NOTHING)
    twice = script.unused()
    script.serve(NOTHING)

    hint = "remove the steps, or find out why the program stopped early"
    steps = [f"  step {n}  {shown}  at {HERE}:{told}\n" for n, shown in enumerate(["say('a')", "say('b')", "fail(429)"], 1)]
    head, tail = "of 3 steps of the script", "never used\n"
    assert never == [Violation("unused step", f"3 {head} were {tail}{''.join(steps)}  the model was never called; {hint}")]
    assert once == [Violation("unused step", f"2 {head} were {tail}{''.join(steps[1:])}  the model was called once; {hint}")]
    assert twice == [Violation("unused step", f"1 {head} was {tail}{steps[2]}  the model was called twice; {hint}")]
    assert script.unused() == []


def test_a_step_of_a_recording_has_no_line_that_is_named() -> None:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    script = Script.from_recording(recording)

    assert script.unused()[0].text.splitlines()[1] == "  step 1  say('Hello')"
    script.waive_steps()


def test_unused_steps_of_a_long_script_are_told_in_twenty_lines() -> None:
    (violation,) = Script(*["a"] * 100).unused()

    lines = violation.text.split("\n")
    assert (len(lines), lines[18]) == (20, "  ... 83 more lines")


def test_an_unexpected_call_names_its_node() -> None:
    request = Request(about=lambda: ((), {"langgraph_node": "planner"}))

    with pytest.raises(ViolationError) as caught:
        Script().serve(request)

    assert str(caught.value) == (
        "unexpected model call 1: the script has no steps\n"
        "  came  an empty prompt (0 messages)\n"
        "  node  planner\n"
        "  add a step for this call, or find out why the program calls the model again"
    )
