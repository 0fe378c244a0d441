"""A suite that hits every behaviour of `covered_programs` that can be told, each test in sync and in async code.

tests/coverage/test_proof.py runs it as a suite of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from typing import Any

import pytest
from langgraph.types import Command

from llmtest import ScriptedChatModel, ScriptedRetriever, call, fail, reply, say, structured
from tests.support import covered_programs as programs

THREAD = {"configurable": {"thread_id": "1"}}
HI = {"messages": [("user", "hi")]}
MODES = ("invoke", "stream", "batch", "ainvoke", "astream", "abatch", "astream_events", "stream_events_v3")


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        return lambda program, given, config=THREAD: program.invoke(given, config)
    return lambda program, given, config=THREAD: asyncio.run(program.ainvoke(given, config))


def drive(program: Any, mode: str, given: Any) -> None:
    """Call a program in one of its ways."""
    several = [{"configurable": {"thread_id": "a"}}, {"configurable": {"thread_id": "b"}}]

    async def in_loop() -> None:
        if mode == "ainvoke":
            await program.ainvoke(given, THREAD)
        elif mode == "abatch":
            await program.abatch([given, given], several)
        else:
            version = {"version": "v2"} if mode == "astream_events" else {}
            async for _ in getattr(program, mode)(given, THREAD, **version):
                pass

    if mode.startswith("a"):
        asyncio.run(in_loop())
    elif mode == "batch":
        program.batch([given, given], several)
    elif mode == "invoke":
        program.invoke(given, THREAD)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name, version = ("stream_events", {"version": "v3"}) if mode == "stream_events_v3" else (mode, {})
            stream = getattr(program, name)(given, THREAD, **version)
            assert inspect.isgenerator(stream) or hasattr(stream, "__iter__")
            list(stream)


# -- the agent


def test_desk_talks(run: Any) -> None:
    run(programs.desk(ScriptedChatModel(say("Hello."))), HI)


def test_desk_uses_tools(run: Any) -> None:
    model = ScriptedChatModel(
        call("search", query="x"),
        reply(call("search", query="y", kind="web"), call("book", nights=1, note="quiet")),
        call("search", query="z", kind="news"),
        call("book", nights=2, note=["quiet", "dark"]),
        call("book", nights=2, note=None),
        call("book", nights=3),
        call("cancel", booking=1),
        "Done.",
    )
    run(programs.desk(model), HI)


@pytest.mark.parametrize(
    ("name", "given"), [("search", {"query": "x"}), ("book", {"nights": 1}), ("cancel", {"booking": 1}), ("pay", {"amount": 1})]
)
def test_desk_has_a_tool_that_raises(run: Any, monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any]) -> None:
    def broken(**_: object) -> str:
        raise LookupError("broken")

    monkeypatch.setattr(getattr(programs, name), "func", broken)
    desk = programs.desk(ScriptedChatModel(call(name, given)))
    with pytest.raises(LookupError):
        run(desk, HI)
        run(desk, Command(resume={"decisions": [{"type": "approve"}]}))


@pytest.mark.parametrize("name", ["search", "book", "cancel", "pay"])
def test_desk_has_a_tool_that_refuses(run: Any, name: str) -> None:
    desk = programs.desk(ScriptedChatModel(call(name, {}).unchecked(), "Sorry."))
    run(desk, HI)
    if name == "pay":
        run(desk, Command(resume={"decisions": [{"type": "approve"}]}))


@pytest.mark.parametrize("decision", [{"type": "approve"}, {"type": "reject", "message": "no"}], ids=["approve", "reject"])
def test_desk_asks_before_it_pays(run: Any, decision: dict[str, str]) -> None:
    desk = programs.desk(ScriptedChatModel(call("pay", amount=1.5), "Well."))
    run(desk, HI)
    run(desk, Command(resume={"decisions": [decision]}))


def test_desk_asks_for_the_time(run: Any) -> None:
    desk = programs.desk(ScriptedChatModel(call("now"), "Noon."))
    run(desk, HI)
    run(desk, Command(resume="noon"))


def test_desk_has_no_time(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise LookupError("no clock")

    monkeypatch.setattr(programs.now, "func", broken)
    with pytest.raises(LookupError):
        run(programs.desk(ScriptedChatModel(call("now"))), HI)


OUTCOMES = {
    "empty": say(""),
    "length": say("I am cut", stop_reason="length"),
    "content_filter": say("", stop_reason="content_filter"),
    "refusal": say("I cannot help with that.", refusal=True),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_desk_answers_badly(run: Any, outcome: str) -> None:
    run(programs.desk(ScriptedChatModel(OUTCOMES[outcome])), HI)


def test_desk_fails(run: Any) -> None:
    with pytest.raises(RuntimeError):
        run(programs.desk(ScriptedChatModel(fail(RuntimeError))), HI)


@pytest.mark.parametrize("mode", MODES)
def test_desk_in_each_mode(mode: str) -> None:
    drive(programs.desk(ScriptedChatModel("Hello.", *["Hello."] * (mode in ("batch", "abatch")))), mode, HI)


# -- the graph


def state(*jobs: str, failures: int = 0) -> dict[str, Any]:
    return {"jobs": list(jobs), "done": [], "failures": [failures]}


def test_pipeline_does_jobs(run: Any) -> None:
    run(programs.pipeline(), state("a", "b"))


def test_pipeline_has_nothing_to_do(run: Any) -> None:
    run(programs.pipeline(), state())


def test_pipeline_tries_again(run: Any) -> None:
    run(programs.pipeline(), state("a", failures=1))


def test_pipeline_gives_up(run: Any) -> None:
    with pytest.raises(ConnectionError):
        run(programs.pipeline(), state("a", failures=2))


def test_pipeline_asks(run: Any) -> None:
    pipeline = programs.pipeline()
    run(pipeline, state("risky"))
    run(pipeline, Command(resume="yes"))
    run(pipeline, None)


@pytest.mark.parametrize("mode", MODES)
def test_pipeline_in_each_mode(mode: str) -> None:
    drive(programs.pipeline(), mode, state("a"))


# -- the chain


def rag(*steps: Any, backup: tuple[Any, ...] = (), clerk: tuple[Any, ...] = (), found: Any = "Cats purr.") -> Any:
    models = [ScriptedChatModel(*some, model_name=name) for name, some in (("main", steps), ("backup", backup), ("clerk", clerk))]
    return programs.rag(*models, ScriptedRetriever(*[found] * 2 if found == "twice" else [found], name="wiki"))


def test_rag_answers(run: Any) -> None:
    assert run(rag("They purr."), {"question": "cats?"}) == "They purr."


def test_rag_finds_nothing(run: Any) -> None:
    run(rag("No idea.", found=[]), {"question": "dogs?"})


def test_rag_cannot_search(run: Any) -> None:
    with pytest.raises(TimeoutError):
        run(rag(found=fail(TimeoutError)), {"question": "cats?"})


def test_rag_falls_back(run: Any) -> None:
    run(rag(fail(RuntimeError), backup=("They purr.",)), {"question": "cats?"})


def test_rag_has_nothing_to_fall_back_on(run: Any) -> None:
    with pytest.raises(RuntimeError):
        run(rag(fail(RuntimeError), backup=(fail(RuntimeError),)), {"question": "cats?"})


@pytest.mark.parametrize("times", [1, 2])
def test_rag_tries_again(run: Any, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "failures", [RuntimeError("again")] * times)
    chain = rag("They purr.")
    if times == 1:
        run(chain, {"question": "cats?"})
    else:
        with pytest.raises(RuntimeError):
            run(chain, {"question": "cats?"})


def test_rag_fills_a_form(run: Any) -> None:
    run(rag(clerk=(structured({"text": "They purr.", "source": 1}),)), {"question": "cats"})


def test_rag_fills_a_form_wrongly(run: Any) -> None:
    with pytest.raises(ValueError):
        run(rag(clerk=(call("Answer", {"text": "They purr."}).unchecked(),)), {"question": "cats"})


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_rag_answers_badly(run: Any, outcome: str) -> None:
    run(rag(OUTCOMES[outcome]), {"question": "cats?"})


@pytest.mark.parametrize("mode", MODES[:-1])
def test_rag_in_each_mode(mode: str) -> None:
    twice = mode in ("batch", "abatch")
    chain = rag(*["They purr."] * (2 if twice else 1), found="twice" if twice else "Cats purr.")
    drive(chain, mode, {"question": "cats?"})
