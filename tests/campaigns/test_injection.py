"""Faults come to the calls that they name, once, on any thread; bodies and calls are counted."""

from __future__ import annotations

from uuid import uuid4

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool

from llmtest import ScriptedChatModel, ScriptedLLM, record
from llmtest.campaigns.calls import calls_of
from llmtest.campaigns.injection import EndlessError, Injection, ProcessKilledError, as_value, current, effects_twice, of_body
from llmtest.campaigns.kinds import Done, faults_at, faults_of_program
from llmtest.core.patches import subclasses
from llmtest.scripts import answering


@tool
def search(q: str) -> str:
    """Search."""
    return f"found {q}"


def program() -> list[str]:
    model = ScriptedChatModel("a", "b", name="model").with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    return [model.invoke("hi").content, search.invoke("x"), model.invoke("bye").content]


def test_a_fault_comes_to_its_call_once_and_the_script_keeps_its_step() -> None:
    with record() as clean:
        program()
    fault = faults_at(calls_of(clean)[:1], ["server error"])[0]
    recording = record()

    with Injection(recording, [fault]) as injection, recording:
        answers = program()

    assert answers == ["a", "found x", "b"]
    assert [run.ended for run in recording.models] == ["error", "ended", "ended"]
    assert [(came.fault, came.run_id) for came in injection.came] == [(fault, recording.models[0].id)]
    assert injection.missing == []
    assert {key.name for key in injection.reached} == {"model", "search"}
    assert [(key.name, count) for key, count in injection.bodies.items()] == [("search", 1)]


def test_outside_of_an_injection_nothing_is_asked() -> None:
    assert answering.inject is None
    assert current() is None
    assert of_body(uuid4()) is None


def test_the_innermost_injection_is_asked(outside) -> None:
    outer, inner = Injection(record()), Injection(record())

    with outer:
        with inner:
            assert current() is inner
            ScriptedLLM("a").invoke("hi")
        assert current() is outer
        assert answering.inject is not None

    assert answering.inject is None


def test_too_many_calls_are_stopped_and_stay_so() -> None:
    recording = record()

    with Injection(recording, max_calls=2) as injection, recording:
        search.invoke("a")
        search.invoke("b")
        for q in ("c", "d"):
            with pytest.raises(EndlessError):
                search.invoke(q)

    assert injection.is_endless


def test_a_moment_is_reached_and_counted() -> None:
    (fault,) = faults_of_program({"chunk": 2}, ["consumer stops"])[1:]
    injection = Injection(record(), [fault])

    assert [injection.reach("chunk") for _ in range(3)] == [False, True, False]
    assert injection.moments == {"chunk": 3}
    assert [came.run_id for came in injection.came] == [None]


def test_after_a_kill_nothing_runs_until_it_is_resumed_and_models_say_the_same_again() -> None:
    with record() as clean:
        ScriptedChatModel("a", name="model").invoke("hi")
    recording = record()
    model = ScriptedChatModel("a", name="model")

    with Injection(recording, answers=calls_of(clean)) as injection, recording:
        assert model.invoke("hi").content == "a"
        injection.is_killed = True
        with pytest.raises(ProcessKilledError):
            search.invoke("x")
        injection.resume()
        assert model.invoke("hi").content == "a"  # its script has no second step
        assert search.invoke("x") == "found x"


def test_effects_that_came_twice_for_equal_arguments() -> None:
    recording = record()

    with Injection(recording) as injection, recording:
        for q in ("a", "b", "a"):
            search.invoke({"q": q})

    assert [(key.name, count) for key, count in effects_twice(injection.bodies, ["sea*"])] == [("search", 2)]
    assert effects_twice(injection.bodies, ["book"]) == []


def test_what_a_body_does_is_given_or_raised() -> None:
    assert as_value(Done(value="x")) == "x"
    assert as_value(Done(value="x"), with_artifact=True) == ("x", None)
    with pytest.raises(KeyError):
        as_value(Done(error=lambda: KeyError("x")))


def test_a_call_past_the_callbacks_is_counted_and_has_no_fault(outside) -> None:
    model = ScriptedLLM("a", "b")

    with Injection(record(), max_calls=1):
        assert model._generate(["hi"]).generations[0][0].text == "a"
        with pytest.raises(EndlessError):
            model._generate(["hi"])


def test_afterwards_every_class_is_as_before() -> None:
    watched = [
        (kind, name)
        for base in (Runnable, BaseTool, BaseChatModel)
        for kind in {base, *subclasses(base)}  # type: ignore[type-abstract]
        for name in ("invoke", "ainvoke", "stream", "astream", "run", "arun", "_generate", "_stream", "__init_subclass__")
        if name in vars(kind)
    ]
    before = [vars(kind)[name] for kind, name in watched]

    with Injection(record()):
        assert vars(BaseRetriever)["invoke"] not in before

    assert [vars(kind)[name] for kind, name in watched] == before
