"""`record(rules=[...])`: what would break a rule for good does not run, and nothing of the recording starts after it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool

from llmtest import Script, ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, record, say
from llmtest.errors import ViolationError, expect_violation
from llmtest.matching import (
    Rule,
    after,
    at_least,
    at_most,
    before,
    between,
    called,
    chain,
    each,
    event,
    exactly,
    model,
    never,
    only,
    retriever,
)
from llmtest.scripts import give

RULE = "broken rule"


class Desk:
    """Tools that write down that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def tool(self, name: str, *inside: BaseTool) -> BaseTool:
        def work(id: int = 0) -> str:
            self.ran.append(name)
            for other in inside:
                other.invoke({"id": id})
            if id < 0:
                raise ValueError("negative")
            return f"{name} {id}"

        async def awork(id: int = 0) -> str:
            return work(id)

        return StructuredTool.from_function(work, awork, name=name, description=name)

    def run(self, *names: str | tuple[str, int]) -> None:
        for one in names:
            name, number = one if isinstance(one, tuple) else (one, 0)
            try:
                self.tool(name).invoke({"id": number})
            except ValueError:
                self.ran.append("failed")


def stopped_at(rule: Rule, *names: str | tuple[str, int]) -> list[str]:
    """Which tools ran before the rule stopped one."""
    desk = Desk()
    with expect_violation(RULE), record(rules=[rule]) as recording:
        desk.run(*names, "unreachable")
    assert recording.tools[-1].ended == "stopped by rule"
    return desk.ran


def test_a_forbidden_tool_does_not_run_and_its_run_shows_as_stopped() -> None:
    desk = Desk()

    with expect_violation(RULE) as caught, record(rules=[never("delete_*")]) as recording:
        desk.run("search", "delete_all", "search")

    assert desk.ran == ["search"]
    assert [(run.name, run.ended) for run in recording.runs] == [("search", "ended"), ("delete_all", "stopped by rule")]
    assert [failure.type for failure in recording.errors] == ["ViolationError"]
    assert [str(violation) for violation in caught] == [
        "expected never `delete_*`\n"
        "  got      `delete_all` was called\n"
        "  event    2: on_tool_start `delete_all`, depth 0: delete_all\n"
        "  stopped  no tool and no model of this recording runs from here on"
    ]


@pytest.mark.parametrize(
    ("rule", "names", "ran"),
    [
        (at_most(2, "a"), ["a", "b", "a", "a"], ["a", "b", "a"]),
        (exactly(1, "a"), ["a", "a"], ["a"]),
        (at_most(1, "a", per="id"), [("a", 1), ("a", 2), ("a", 1)], ["a", "a"]),
        (at_most(1, called("a", id=7)), [("a", 7), ("a", 8), ("a", 7)], ["a", "a"]),
        (at_most(1, called("a").returned("a 7")), [("a", 7), ("a", 8), ("a", 7)], ["a", "a", "a"]),
        (never(called("a").where(lambda run: run.args["id"] > 7)), [("a", 7), ("a", 8)], ["a"]),
        (never(called("a").failed()), [("a", 1), ("a", -1)], ["a", "a", "failed"]),
        (never("a").after("b"), ["a", "b", "a"], ["a", "b"]),
        (only("a", "b"), ["a", "b", "c"], ["a", "b"]),
        (only(called("a", id=1), "b"), [("a", 1), ("b", 2), ("a", 2)], ["a", "b"]),
        (before("a", "b"), ["c", "b", "a"], ["c"]),
        (after("b", "a"), ["c", "b", "a"], ["c"]),
        (before("a", "b", per="id"), [("a", 1), ("b", 1), ("b", 2)], ["a", "b"]),
        (at_most(1, "a", per=lambda run: run.output), [("a", 1), ("a", 2), ("a", 1)], ["a", "a", "a"]),
        (before(called("a").returned("a 1"), "b"), [("a", 2), ("b", 0)], ["a"]),
        (between("a", "b").never("c"), ["c", "a", "b", "c", "a", "c", "b"], ["c", "a", "b", "c", "a", "c"]),
        (between("a", called("b", id=1)).never("c"), ["a", ("b", 2), "c", ("b", 1)], ["a", "b", "c"]),
        (between("a", "b").at_least(1, "c"), ["b", "a", "c", "b", "a", "b"], ["b", "a", "c", "b", "a"]),
        (between("a", "b").at_least(2, "c"), ["a", "c", "b"], ["a", "c"]),
        (between("a", "b").at_least(1, called("c", id=1)), ["a", ("c", 1), "b", "a", ("c", 2), "b"], ["a", "c", "b", "a", "c"]),
        (between(called("a").returned("a 1"), "b").at_least(1, "c"), [("a", 2), "b", ("a", 1), "b"], ["a", "b", "a"]),
        (never("a") & at_most(1, "b"), ["b", "b"], ["b"]),
        (never("a") | at_most(1, "b"), ["a", "b", "b"], ["a", "b"]),
    ],
    ids=repr,
)
def test_each_rule_that_can_be_lost_stops_what_loses_it(rule: Rule, names: list[Any], ran: list[str]) -> None:
    assert stopped_at(rule, *names) == ran


LOST_AT_ONCE = [
    never("a"),
    at_most(2, "a"),
    at_most(1, "a", per="id"),
    only("a", "b"),
    before("a", "b"),
    before("a", "b", order="recorded"),
    before("a", "b", per="id"),
    never("a").after("b"),
    between("a", "b").never("c"),
    between("a", "a").never("b"),
    between("a", "b").at_least(1, "c"),
    between("a", "b").at_least(2, "c"),
    between("a", "a").at_least(1, "b"),
    each("a").ends_before("b"),
    before("a", "b") & at_most(1, "c"),
    before("a", "b") | at_most(1, "c"),
]


@settings(max_examples=40, deadline=None)
@given(rule=st.sampled_from(LOST_AT_ONCE), steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1)), max_size=6))
def test_a_program_is_stopped_exactly_where_the_recording_would_begin_to_break_the_rule(
    rule: Rule, steps: list[tuple[str, int]]
) -> None:
    desk, free = Desk(), Desk()
    allowed = len(steps)
    for number in range(1, len(steps) + 1):
        with record() as recording:
            free.run(*steps[:number])
        if not recording.obeys(rule):
            allowed = number - 1
            break

    with expect_violation(RULE) if allowed < len(steps) else nullcontext(), record(rules=[rule]):
        desk.run(*steps)

    assert desk.ran == [name for name, _ in steps[:allowed]]


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (at_most(2, "a"), ["a", "b", "a"]),
        (at_least(1, "a"), ["b", "a"]),
        (each("a").followed_by("b"), ["a", "c", "b"]),
        (each("a").ends() & ~never("a"), ["a"]),
        (never("a").after("b"), ["a", "b"]),
        (never("a") | at_most(1, "b"), ["a", "b"]),
        (never(event("on_retry")), ["a"]),
        (only("a", model()), ["a", "a"]),
        (before(called("a").returned("a 1"), "b"), [("a", 1), "b"]),
        (between("a", "b").never("c"), ["c", "a", "b", "c", "b", "a", "c"]),
        (between("a", "b").never("b", "c"), ["a", "b", "b"]),
        (between("a", "b").at_least(1, "c"), ["b", "a", "c", "b", "b", "a"]),
        (between("a", "b").at_least(1, called("c").returned("c 1")), ["a", ("c", 1), "b"]),
        (between("a", called("b").returned("b 1")).at_least(1, "c"), ["a", ("b", 0), "c", ("b", 1)]),
        (between("a", called("b").where(lambda run: run.output == "b 1")).never("c"), ["a", ("b", 0), "c"]),
        (called("b").came_from("a"), [("a", 1), ("b", 1)]),
    ],
    ids=repr,
)
def test_a_program_that_obeys_is_left_alone(rule: Rule, names: list[Any]) -> None:
    desk = Desk()

    with record(rules=[rule]) as recording:
        desk.run(*names)

    assert recording.obeys(rule)
    assert len(desk.ran) == len(names)


def test_what_only_the_end_can_tell_is_raised_at_the_end() -> None:
    desk = Desk()

    with expect_violation(RULE) as caught, record(rules=[at_least(1, "a")]):
        desk.run("b")

    assert desk.ran == ["b"]
    assert str(caught[0]).startswith("expected `a` at least once")


def test_an_inner_start_is_stopped_while_the_outer_run_goes_on() -> None:
    desk = Desk()
    outer = desk.tool("outer", desk.tool("inner"))

    with expect_violation(RULE), record(rules=[each("outer").ends_before("inner")]) as recording:
        outer.invoke({"id": 1})

    assert desk.ran == ["outer"]
    assert [(run.name, run.ended) for run in recording.tools] == [("outer", "stopped by rule"), ("inner", "stopped by rule")]


@pytest.mark.parametrize("kind", ["tool", "chat", "llm", "retriever"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("late", [False, True], ids=["itself", "a later one"])
def test_whatever_the_rule_is_about_tools_models_and_retrievers_do_not_run(kind: str, asynchronous: bool, late: bool) -> None:
    desk = Desk()
    work: Any = {
        "tool": desk.tool("tool"),
        "chat": ScriptedChatModel(script=Script(say("chat").optional())),
        "llm": ScriptedLLM(script=Script(say("llm").optional())),
        "retriever": ScriptedRetriever(give("found").optional()),
    }[kind]
    rule = never("forbidden") if late else only("forbidden", model("none"), retriever("none"))
    given: Any = {} if kind == "tool" else "hi"

    with expect_violation(RULE) as caught, record(rules=[rule]) as recording:
        if late:
            with pytest.raises(ViolationError):
                desk.tool("forbidden").invoke({})
        if asynchronous:
            asyncio.run(work.ainvoke(given))
        else:
            work.invoke(given)

    assert (desk.ran, len(caught)) == ([], 1)
    assert recording.runs[-1].kind == kind
    assert {run.ended for run in recording.runs} == {"stopped by rule"}


def test_a_chain_that_breaks_a_rule_goes_on_to_its_next_tool() -> None:
    desk = Desk()
    work: Runnable[Any, Any] = RunnableLambda(lambda _: desk.run("a")).with_config(run_name="work")

    with expect_violation(RULE) as caught, record(rules=[never(chain("work"))]) as recording:
        work.invoke(1)

    assert (desk.ran, len(caught)) == ([], 1)
    assert [(run.name, run.ended) for run in recording.runs] == [("work", "stopped by rule"), ("a", "stopped by rule")]


def test_in_threads_of_a_batch_no_more_run_than_the_rule_allows() -> None:
    desk = Desk()

    with expect_violation(RULE) as caught, record(rules=[at_most(3, "a")]) as recording:
        results = desk.tool("a").batch([{"id": n} for n in range(20)], return_exceptions=True)

    assert len(desk.ran) <= 3
    assert sum(isinstance(result, ViolationError) for result in results) == 20 - len(desk.ran)
    assert (len(recording.tools), len(caught)) == (20, 1)


class Swallow(AgentMiddleware[Any, Any, Any]):
    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return handler(request)
        except Exception as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"])

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except Exception as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"])


def agent(*names: str) -> tuple[Desk, Any]:
    """An agent that calls these tools and swallows whatever they raise."""
    desk = Desk()
    model = ScriptedChatModel(script=Script(*[call(name).optional() for name in names], say("done").optional()))
    return desk, create_agent(model, [desk.tool(name) for name in dict.fromkeys(names)], middleware=[Swallow()])


def test_an_agent_that_swallows_errors_is_stopped_at_its_next_model_call() -> None:
    desk, program = agent("search", "delete", "search")

    with expect_violation(RULE) as caught, record(rules=[never("delete")]) as recording:
        program.invoke({"messages": [("user", "hi")]})

    assert desk.ran == ["search"]
    assert len(caught) == 1
    assert [(run.name, run.ended) for run in recording.tools] == [("search", "ended"), ("delete", "stopped by rule")]
    assert [run.ended for run in recording.models] == ["ended", "ended", "stopped by rule"]


def test_an_async_agent_is_stopped_too() -> None:
    desk, program = agent("delete")

    async def work() -> None:
        async with record(rules=[never("delete")]):
            await program.ainvoke({"messages": [("user", "hi")]})

    with expect_violation(RULE):
        asyncio.run(work())

    assert desk.ran == []


class Sync(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("chat start")

    def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("tool start")

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(type(error).__name__)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(type(error).__name__)


class Inline(Sync):
    run_inline = True


class Async(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("chat start")

    async def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("tool start")

    async def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(type(error).__name__)

    async def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(type(error).__name__)


@pytest.mark.parametrize("handler", [Sync, Inline, Async])
def test_other_handlers_get_the_start_and_then_the_error(handler: type[Sync | Async]) -> None:
    desk, mine = Desk(), handler()
    model = ScriptedChatModel(script=Script(say("never said").optional()))

    async def work() -> None:
        with pytest.raises(ViolationError):
            await desk.tool("a").ainvoke({}, {"callbacks": [mine]})
        await model.agenerate([[HumanMessage("hi")], [HumanMessage("ho")]], callbacks=[mine])

    with expect_violation(RULE), record(rules=[never("a")]):
        asyncio.run(work())

    assert mine.seen == ["tool start", "ViolationError", "chat start", "chat start", "ViolationError", "ViolationError"]


def test_a_violation_belongs_to_the_recording_that_has_the_rule() -> None:
    desk = Desk()

    with record() as outer:
        with (
            expect_violation(RULE, times=2) as caught,
            record(rules=[never("a")]),
            record(rules=[never("a"), at_most(0, "b")]) as inner,
        ):
            desk.run("a")
        desk.run("a", "b")

    assert desk.ran == ["a", "b"]
    assert len(caught) == 2
    assert (outer.tools.names, inner.tools.names) == (["a", "a", "b"], ["a"])


def test_of_two_rules_that_are_lost_at_once_the_first_is_told() -> None:
    with expect_violation(RULE) as caught, record(rules=[never("a"), only("b")]):
        Desk().run("a")

    assert [str(violation).splitlines()[0] for violation in caught] == ["expected never `a`"]


def test_a_rule_of_an_outer_recording_stops_what_runs_in_an_inner_one() -> None:
    desk = Desk()

    with expect_violation(RULE), record(rules=[never("a")]), record():
        desk.run("a")

    assert desk.ran == []


def test_an_error_of_the_program_goes_on_unchanged_and_the_rules_are_judged_all_the_same() -> None:
    with expect_violation(RULE) as caught, pytest.raises(ZeroDivisionError), record(rules=[at_least(1, "a")]):
        raise ZeroDivisionError

    assert len(caught) == 1


def test_what_was_expected_inside_the_block_is_not_raised_at_its_end() -> None:
    desk = Desk()

    with record(rules=[never("a")]), expect_violation(RULE):
        desk.run("a")

    assert desk.ran == []


def test_a_child_that_outlives_its_parent_is_no_run_after_it() -> None:
    parent, child = uuid4(), UUID(int=5)
    recording = record(rules=[never("child").after("parent"), at_most(9, "parent")])

    with recording:
        manager = CallbackManager.configure()
        tool = manager.on_tool_start({"name": "parent"}, "", run_id=parent, inputs={})
        tool.on_tool_end("done")
        tool.get_child().on_tool_start({"name": "child"}, "", run_id=child, inputs={}).on_tool_end("done")

    assert recording.tools.names == ["parent", "child"]


def test_what_starts_after_the_block_is_late_and_is_not_judged() -> None:
    desk = Desk()

    with record(rules=[never("a")]) as recording:
        manager = CallbackManager.configure()
        run = manager.on_tool_start({"name": "b"}, "", inputs={})
    run.get_child().on_tool_start({"name": "a"}, "", inputs={}).on_tool_end("done")
    run.on_tool_end("done")

    assert (desk.ran, len(recording.late_events)) == ([], 3)


def test_as_a_decorator_it_stops_too() -> None:
    desk, recording = Desk(), record(rules=[at_most(1, "a")])

    @recording
    def work() -> None:
        desk.run("a")

    with expect_violation(RULE):
        work()
        work()

    assert desk.ran == ["a"]


def test_a_condition_may_ask_for_tokens_when_the_run_has_ended() -> None:
    model_ = ScriptedChatModel("one two")
    rule = at_most(0, model().where(lambda run: run.tokens == ["one", " two"] or (run.children and False)))

    with expect_violation(RULE) as caught, record(rules=[rule]):
        list(model_.stream("hi"))
        list(model_.stream("hi"))

    assert len(caught) == 1


@pytest.mark.parametrize("rules", [["a"], [each("a")]], ids=repr)
def test_what_is_no_rule_is_refused_at_once(rules: Any) -> None:
    with pytest.raises(TypeError, match=r"^record\(rules=...\) takes rules"):
        record(rules=rules)


def test_without_rules_nothing_stops_a_program(pytester: pytest.Pytester) -> None:
    script = pytester.makepyfile(
        """
        import sys
        from langchain_core.callbacks import CallbackManager
        from llmtest import record
        from llmtest.matching import never

        with record():
            recorded = CallbackManager.on_tool_start
            assert "llmtest.langchain.enforcing" not in sys.modules
        with record(rules=[never("a")]):
            assert CallbackManager.on_tool_start is not recorded
        after = CallbackManager.on_tool_start
        with record(rules=[never("a")]):
            assert CallbackManager.on_tool_start is after
        """
    )

    result = pytester.runpython(script)

    assert result.ret == 0


def test_a_violation_that_the_program_swallows_fails_its_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from contextlib import suppress
        from langchain_core.tools import tool
        from llmtest import record
        from llmtest.matching import never

        @tool
        def delete(id: int) -> str:
            "Delete."
            raise AssertionError("it ran")

        recording = record(rules=[never("delete")])

        @recording
        def program():
            with suppress(Exception):
                delete.invoke({"id": 1})

        def test_program():
            program()

        def test_block():
            with record(rules=[never("delete")]), suppress(Exception):
                delete.invoke({"id": 1})
        """
    )

    result = pytester.runpytest_subprocess()

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*expected never `delete`*", "*got      `delete` was called*"])
