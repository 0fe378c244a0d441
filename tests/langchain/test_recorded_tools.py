"""Recorded tools: a run is repeated with the answers of a recording, and no body of a tool runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, Tool, ToolException, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from llmtest import Recording, ScriptedChatModel, call, expect_violation, record, reply, scripted_tool
from llmtest.errors import ScriptError, ViolationError
from llmtest.events.words import FrozenDict
from llmtest.langchain.recorded_tools import exception_of, recorded_tools
from llmtest.scripts.tool_answers import ToolAnswer, ToolFailure, tool_answers

ran: list[str] = []
"""The bodies that have run."""


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


class OrderError(Exception):
    def __init__(self, order: str, *, code: int) -> None:
        super().__init__(f"no order {order} (code {code})")
        self.code = code


@tool
def refund(order: str, amount: float = 1.0) -> str:
    """Refund an order."""
    ran.append("refund")
    return f"refunded {amount:g} of {order}"


@tool
async def look_up(q: str) -> dict[str, Any]:
    """Look something up."""
    ran.append("look_up")
    await asyncio.sleep(0.002)
    return {"q": q, "hits": [1, 2.5, None]}


@tool
def roll() -> str:
    """Roll a die."""
    ran.append("roll")
    return str(len(ran))


@tool(response_format="content_and_artifact")
def find(q: str) -> tuple[str, list[Document]]:
    """Find documents."""
    ran.append("find")
    return f"found {q}", [Document("a page", id="d1", metadata={"source": q, "pages": [1]})]


class Own(BaseTool):
    name: str = "own"
    description: str = "A class of its own."
    prefix: str = "own"

    def _run(self, a: int, b: str = "b", run_manager: Any = None, config: RunnableConfig | None = None) -> str:
        ran.append("own")
        return f"{self.prefix} {a} {b}"


class OwnAsync(Own):
    name: str = "own_async"

    async def _arun(self, a: int, b: str = "b", run_manager: Any = None) -> str:
        ran.append("own_async")
        return f"{self.prefix} async {a} {b}"


class OwnRun(Own):
    """A tool with a `run` of its own."""

    name: str = "own_run"

    def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        return super().run({**tool_input, "b": "run"}, *args, **kwargs)


@tool
def fails(kind: str) -> str:
    """Fail."""
    ran.append("fails")
    if kind == "key":
        raise KeyError("x")
    if kind == "tool":
        raise ToolException("no such tool of mine")
    if kind == "own":
        raise OrderError("A-7", code=3)
    if kind == "silent":
        raise TimeoutError
    if kind == "os":
        raise FileNotFoundError(2, "No such file", "a.txt")
    if kind == "unicode":
        "ä".encode("ascii")
    raise OverflowError(f"too much of {kind}")


class Flaky:
    """Makes a tool that fails twice, and then gives an answer."""

    def __init__(self) -> None:
        self.calls = 0

        def flaky(q: str) -> str:
            """Give an answer sometimes."""
            ran.append("flaky")
            self.calls += 1
            if self.calls < 3:
                raise OrderError(q, code=self.calls)
            return f"answer {self.calls}"

        self.tool = StructuredTool.from_function(flaky)


@tool
def remember(
    text: str,
    tool_call_id: Annotated[str, InjectedToolCallId],
    state: Annotated[dict[str, Any], InjectedState],
    config: RunnableConfig,
) -> str:
    """Remember a text."""
    ran.append("remember")
    return f"{text} after {len(state['messages'])} messages"


@tool
def inspect_run(text: str, runtime: ToolRuntime) -> str:
    """Look at the runtime."""
    ran.append("inspect_run")
    return f"{text}: {len(runtime.state['messages'])}"


@tool
def message(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
    """Return a message of its own."""
    ran.append("message")
    return ToolMessage(
        [{"type": "text", "text": text}],
        tool_call_id=tool_call_id,
        name="another",
        artifact={"a": 1},
        additional_kwargs={"k": [1]},
        id="mine",
    )


@tool
def plain_message(text: str) -> ToolMessage:
    """Return a message of its own, for no call."""
    ran.append("plain_message")
    return ToolMessage(text, tool_call_id="of no call")


@tool
def image() -> list[dict[str, Any]]:
    """Return an image."""
    ran.append("image")
    return [{"type": "text", "text": "an image"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]


@tool
def nothing() -> None:
    """Return nothing."""
    ran.append("nothing")


class Strict(BaseModel):
    n: int


handled = StructuredTool.from_function(
    fails.func, name="handled", description="Fail.", handle_tool_error=lambda error: f"handled: {error}"
)
strict = StructuredTool.from_function(
    lambda n: ran.append("strict") or f"n={n}", name="strict", description="Be strict.", args_schema=Strict
)
lenient = StructuredTool.from_function(
    lambda n: ran.append("lenient") or f"n={n}",
    name="lenient",
    description="Be lenient.",
    args_schema=Strict,
    handle_validation_error="n is a number",
)
old = Tool(name="old", description="Takes one str.", func=lambda text: ran.append("old") or text.upper())
remote = StructuredTool(
    name="remote",
    description="As of an MCP server.",
    args_schema={"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    coroutine=look_up.coroutine,
)


def agent(*steps: Any, tools: list[Any]) -> Any:
    return create_agent(ScriptedChatModel(*steps), tools)


def asks(*steps: Any, tools: list[Any]) -> None:
    agent(*steps, tools=tools).invoke({"messages": [("user", "go")]})


def later(*steps: Any, tools: list[Any]) -> None:
    asyncio.run(agent(*steps, tools=tools).ainvoke({"messages": [("user", "go")]}))


def node(*calls: tuple[str, dict[str, Any]], tools: list[Any], handle: Any = True) -> None:
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(tools, handle_tool_errors=handle))
    said = AIMessage("", tool_calls=[{"name": n, "args": a, "id": f"c{i}"} for i, (n, a) in enumerate(calls)])
    graph.add_edge(START, "tools").add_edge("tools", END).compile().invoke({"messages": [said]})


def raised(make: Callable[[], Any]) -> None:
    """Run it in a chain that turns an exception into a value."""

    def attempt(_: object) -> str:
        try:
            return str(make())
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    RunnableLambda(attempt).invoke("go")


def by_call(of: BaseTool, **args: Any) -> Any:
    return of.invoke({"type": "tool_call", "id": "call_1", "name": of.name, "args": args})


ERRORS = ("key", "tool", "own", "silent", "os", "unicode", "other")

PROGRAMS: dict[str, Callable[[], object]] = {
    "an agent": lambda: asks(call("refund", order="A"), call("refund", order="B"), "done", tools=[refund]),
    "parallel calls": lambda: asks(
        reply(call("refund", order="A"), call("refund", order="B", amount=2), call("find", q="x")), "done", tools=[refund, find]
    ),
    "an async agent": lambda: later(
        reply(call("look_up", q="A"), call("refund", order="B"), call("look_up", q="C")), "done", tools=[refund, look_up]
    ),
    "equal calls one after the other": lambda: asks(call("roll"), call("roll"), call("roll"), "done", tools=[roll]),
    "equal calls one after the other, async": lambda: later(call("roll"), call("roll"), "done", tools=[roll]),
    "equal calls with equal answers in parallel": lambda: asks(
        reply(call("refund", order="A"), call("refund", order="A")), "done", tools=[refund]
    ),
    "artifacts": lambda: by_call(find, q="x"),
    "an artifact that nobody sees": lambda: find.invoke({"q": "x"}),
    "called with a dict": lambda: refund.invoke({"order": "A", "amount": 2}),
    "called with a dict, async": lambda: asyncio.run(look_up.ainvoke({"q": "A"})),
    "called with a text": lambda: old.invoke("hello"),
    "called with a text, async": lambda: asyncio.run(old.ainvoke("hello")),
    "run": lambda: refund.run({"order": "A"}, run_name="pay back", tags=["t"]),
    "arun": lambda: asyncio.run(look_up.arun({"q": "A"}, run_name="pay back")),
    "a batch": lambda: refund.batch([{"order": "A"}, {"order": "B"}]),
    "classes": lambda: (Own().invoke({"a": 1}), by_call(Own(prefix="p"), a=2), OwnRun().invoke({"a": 3})),
    "async classes": lambda: asyncio.run(OwnAsync().ainvoke({"a": 1})),
    "sync classes in async code": lambda: asyncio.run(Own().ainvoke({"a": 1})),
    "async only": lambda: raised(lambda: look_up.invoke({"q": "A"})),
    "a tool of a server": lambda: later(call("remote", q="A"), "done", tools=[remote]),
    "errors": lambda: [raised(lambda kind=kind: fails.invoke({"kind": kind})) for kind in ERRORS],
    "errors that the node handles": lambda: [node(("fails", {"kind": kind}), tools=[fails]) for kind in ERRORS],
    "errors that the node handles by class": lambda: [
        raised(lambda kind=kind: node(("fails", {"kind": kind}), tools=[fails], handle=(OrderError, KeyError))) for kind in ERRORS
    ],
    "errors that the tool handles": lambda: [raised(lambda kind=kind: by_call(handled, kind=kind)) for kind in ERRORS],
    "errors that the tool handles, called with a dict": lambda: handled.invoke({"kind": "tool"}),
    "wrong arguments": lambda: (
        raised(lambda: strict.invoke({"n": "x"})),
        strict.invoke({"n": "3"}),
        node(("strict", {"n": "y"}), tools=[strict]),
        lenient.invoke({"n": "x"}),
        by_call(lenient, n="x"),
    ),
    "retries": lambda: (
        Flaky().tool.with_retry(retry_if_exception_type=(OrderError,), wait_exponential_jitter=False).invoke({"q": "A"})
    ),
    "injected arguments": lambda: asks(
        reply(call("remember", text="a"), call("inspect_run", text="b")), "done", tools=[remember, inspect_run]
    ),
    "messages of a tool": lambda: asks(
        reply(call("message", text="a"), call("image"), call("nothing")), "done", tools=[message, image, nothing]
    ),
    "a message for no call": lambda: plain_message.invoke({"text": "a"}),
    "no value": lambda: nothing.invoke({}),
}


def recorded(program: Callable[[], object]) -> Recording:
    with record() as recording:
        program()
    return recording


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_the_same_tree_with_recorded_tools_and_no_body_runs(name: str) -> None:
    first = recorded(PROGRAMS[name])
    bodies = ran.copy()
    ran.clear()

    with recorded_tools(tool_answers(first.runs)) as tools:
        second = recorded(PROGRAMS[name])

    assert str(second) == str(first)
    assert ran == []
    assert bodies or name == "async only"
    tools.verify()


def test_tools_are_real_again_after_the_block() -> None:
    before = BaseTool.run, BaseTool.arun, OwnRun.run, BaseTool.__dict__["__init_subclass__"]

    with recorded_tools({"refund": [ToolAnswer(FrozenDict(order="A"), "recorded")]}):
        with recorded_tools({}, names=()):
            assert refund.invoke({"order": "A"}) == "recorded"
        assert (BaseTool.run, OwnRun.run) != (before[0], before[2])

    assert (BaseTool.run, BaseTool.arun, OwnRun.run, BaseTool.__dict__["__init_subclass__"]) == before
    assert refund.invoke({"order": "A"}) == "refunded 1 of A"


def test_names_choose_the_recorded_tools_and_the_others_are_real() -> None:
    first = recorded(lambda: (refund.invoke({"order": "A"}), roll.invoke({}), find.invoke({"q": "x"})))
    ran.clear()

    with recorded_tools(tool_answers(first.runs), names=["ref*", "find"]):
        given = refund.invoke({"order": "A"}), roll.invoke({}), find.invoke({"q": "x"})

    assert given == ("refunded 1 of A", "1", "found x")
    assert ran == ["roll"]


def test_the_inner_block_has_precedence() -> None:
    def answers(text: str) -> dict[str, list[ToolAnswer]]:
        return {"refund": [ToolAnswer(FrozenDict(order="A"), text)], "roll": [ToolAnswer(FrozenDict(), text)]}

    with recorded_tools(answers("outer"), names="r*ll"), recorded_tools(answers("inner"), names="refund"):
        assert (refund.invoke({"order": "A"}), roll.invoke({})) == ("inner", "outer")


def test_a_call_with_other_arguments_is_a_violation_and_no_body_runs() -> None:
    answers = {
        "refund": [
            ToolAnswer(FrozenDict(order="A-7", amount=25), "refunded"),
            ToolAnswer(FrozenDict(order="B-9"), "refunded"),
        ]
    }

    with recorded_tools(answers), expect_violation("unexpected tool call") as caught, record() as recording:
        with pytest.raises(ViolationError):
            refund.invoke({"order": "A-7", "amount": 30, "api_key": "sk-proj-abcdefghijklmnop1234567890abcdef"})
        assert [run.error for run in recording.tools] == [ViolationError]
        refund.invoke({"order": "A-7", "amount": 25})
        refund.invoke({"order": "B-9"})

    assert ran == []
    assert [violation.text for violation in caught] == [
        "unexpected call of the recorded tool `refund`: it was not recorded with these arguments\n"
        '  called    {"order": "A-7", "amount": 30, "api_key": "<mask:api_key>"}\n'
        '  nearest   {"order": "A-7", "amount": 25}\n'
        '  recorded  {"order": "B-9"}\n'
        "  record the run again, or let the real tool run: leave `refund` out of names="
    ]


def test_a_call_more_than_recorded_is_a_violation() -> None:
    with recorded_tools({"refund": [ToolAnswer(FrozenDict(order="A"), "x")]}), expect_violation("unexpected tool call") as caught:
        refund.invoke({"order": "A"})
        refund.invoke({"order": "A"})

    assert ran == []
    assert [violation.text for violation in caught] == [
        "unexpected call of the recorded tool `refund`: with these arguments it was recorded once, and this is one call more\n"
        '  called  {"order": "A"}\n'
        "  record the run again, or let the real tool run: leave `refund` out of names="
    ]


def test_a_call_of_a_tool_that_was_not_recorded_is_a_violation() -> None:
    with (
        recorded_tools({"refunds": [ToolAnswer(FrozenDict(), "x")]}) as tools,
        expect_violation("unexpected tool call") as caught,
    ):
        asks(call("refund", order="A"), tools=[refund])
    with expect_violation("unused step"):
        tools.verify()

    assert ran == []
    assert [violation.text for violation in caught] == [
        "unexpected call of the recorded tool `refund`: no call of it was recorded\n"
        '  called    {"order": "A"}\n'
        "  recorded  `refunds`\n"
        "  record the run again, or let the real tool run: leave `refund` out of names="
    ]


def test_a_swallowed_violation_is_on_the_ledger() -> None:
    with recorded_tools({}), expect_violation("unexpected tool call"):
        node(("refund", {"order": "A"}), tools=[refund], handle=True)

    assert ran == []


def test_a_call_with_wrong_arguments_that_was_not_recorded_is_a_violation_too() -> None:
    with recorded_tools({}), expect_violation("unexpected tool call"):
        lenient.invoke({"n": "x"})


@tool
def transfer(to: str) -> Command[Any]:
    """Transfer to somebody."""
    ran.append("transfer")
    return Command(update={"messages": []})


def test_an_answer_that_cannot_be_repeated_is_a_violation() -> None:
    first = recorded(lambda: transfer.invoke({"to": "Ada"}))

    with recorded_tools(tool_answers(first.runs)), expect_violation("unexpected tool call") as caught:
        transfer.invoke({"to": "Ada"})

    assert ran == ["transfer"]
    assert [violation.text for violation in caught] == [
        "the recorded tool `transfer` has no answer for this call: when it was recorded, it returned a Command\n"
        '  called  {"to": "Ada"}\n'
        "  let the real tool run: leave `transfer` out of names="
    ]


def test_a_validation_error_of_a_body_cannot_be_repeated() -> None:
    parse = StructuredTool.from_function(lambda text: Strict(n=text), name="parse", description="Parse.")  # type: ignore[arg-type]
    first = recorded(lambda: raised(lambda: parse.invoke({"text": "x"})))

    with recorded_tools(tool_answers(first.runs)), expect_violation("unexpected tool call") as caught:
        parse.invoke({"text": "x"})

    assert [violation.text.splitlines()[0] for violation in caught] == [
        "the recorded tool `parse` has no answer for this call: when it was recorded,"
        " it failed with a ValidationError of pydantic, which cannot be made again"
    ]


def test_an_interrupted_call_cannot_be_repeated() -> None:
    @tool
    def ask(question: str) -> str:
        """Ask a person."""
        return str(interrupt(question))

    def program() -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        graph = StateGraph(MessagesState).add_node("tools", ToolNode([ask])).add_edge(START, "tools").add_edge("tools", END)
        said = AIMessage("", tool_calls=[{"name": "ask", "args": {"question": "sure?"}, "id": "c1"}])
        graph.compile(InMemorySaver()).invoke({"messages": [said]}, {"configurable": {"thread_id": "1"}})

    answers = tool_answers(recorded(program).runs)

    assert [answer.unknown for answer in answers["ask"]] == ["was interrupted, to be resumed later"]


def test_unused_answers_are_told() -> None:
    answers = {
        "refund": [ToolAnswer(FrozenDict(order="A"), "refunded A"), ToolAnswer(FrozenDict(order="B"), "refunded B")],
        "old": [ToolAnswer("hello", failure=ToolFailure("TimeoutError", "too slow"))],
    }

    with recorded_tools(answers) as tools:
        refund.invoke({"order": "A"})
    shown = repr(tools)
    with expect_violation("unused step") as caught:
        tools.verify()

    assert shown == "<RecordedTools: 1 of 3 answers used>"
    assert [violation.text for violation in caught] == [
        "2 of 3 recorded answers of tools were never used\n"
        '  `refund`  {"order": "B"} gave \'refunded B\'\n'
        "  `old`  'hello' failed with TimeoutError: too slow\n"
        "  the program stopped early, or calls these tools otherwise now; find out why, or record the run again"
    ]


def test_a_name_that_fits_no_recorded_tool_is_an_error() -> None:
    with pytest.raises(ScriptError) as caught:
        recorded_tools({"refund": [ToolAnswer(FrozenDict())], "roll": []}, names=["refnd"])

    assert str(caught.value) == (
        "names= has `refnd`, but no call of such a tool was recorded; did you mean `refund`?\n  recorded  `refund`"
    )


def test_a_scripted_tool_keeps_its_script() -> None:
    with recorded_tools({"refund": [ToolAnswer(FrozenDict(order="A"), "recorded")]}) as tools:
        assert scripted_tool(refund, "scripted").invoke({"order": "A"}) == "scripted"

    tools.verify()


def test_a_tool_inside_a_recorded_tool_is_not_missed_and_inside_a_real_one_it_answers() -> None:
    @tool
    def outer(order: str) -> str:
        """Refund by another tool."""
        ran.append("outer")
        return f"outer {refund.invoke({'order': order})}"

    answers = tool_answers(recorded(lambda: outer.invoke({"order": "A"})).runs)
    ran.clear()

    with recorded_tools(answers) as both:
        assert outer.invoke({"order": "A"}) == "outer refunded 1 of A"
    with recorded_tools(answers, names="refund") as inner:
        assert outer.invoke({"order": "A"}) == "outer refunded 1 of A"

    both.verify()
    inner.verify()
    assert ran == ["outer"]
    assert [(answer.within, answer.runs_within) for name in ("outer", "refund") for answer in answers[name]] == [
        ((), 1),
        (("outer",), 0),
    ]


def test_equal_calls_in_parallel_with_different_answers_cannot_be_told_apart() -> None:
    answers = {"roll": [ToolAnswer(FrozenDict(), "3"), ToolAnswer(FrozenDict(), "5")]}

    with recorded_tools(answers), expect_violation("competing calls") as caught, record():
        node(("roll", {}), ("roll", {}), tools=[roll])

    text = (
        "two concurrent calls of the recorded tool `roll` have equal arguments and different answers;"
        " which call gets which answer is a race\n"
        "  called  {}\n"
        "  call 1  gave '3'\n"
        "  call 2  gave '5'\n"
        "  give the calls arguments that tell them apart, or let the real tool run: leave `roll` out of names="
    )
    assert [violation.text for violation in caught] == [text]


def test_equal_calls_that_overlap_are_a_violation_without_a_recording_too() -> None:
    both, hears = threading.Barrier(2, timeout=5), []

    class Waits(BaseTool):
        name: str = "waits"
        description: str = "Waits."

        def _parse_input(self, *args: Any) -> Any:
            both.wait()
            return super()._parse_input(*args)

        def _run(self, q: str) -> str:
            raise AssertionError("its body ran")

    def ask(_: object) -> None:
        try:
            hears.append(Waits().invoke({"q": "x"}))
        except ViolationError as error:
            hears.append(error.violations[0].code)

    answers = {"waits": [ToolAnswer(FrozenDict(q="x"), "3"), ToolAnswer(FrozenDict(q="x"), "5")]}
    with recorded_tools(answers), expect_violation("competing calls"), ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, range(2)))

    assert sorted(hears) == ["3", "competing calls"]


def test_tools_of_a_class_that_is_defined_in_the_block_answer_too() -> None:
    with recorded_tools({"late": [ToolAnswer(FrozenDict(a=1), "recorded")]}):

        class Late(Own):
            name: str = "late"

            def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
                return self._run(**tool_input)

        # A `run` that calls its body itself gets the stand-in.
        assert Late().invoke({"a": 1}) == "recorded"

    assert ran == []


def test_while_answers_are_recorded_a_tool_runs_where_it_has_none() -> None:
    answers = {"refund": [ToolAnswer(FrozenDict(order="A"), "recorded")], "own": []}

    with recorded_tools(answers, ["refund", "look_up", "own"], is_growing=True), record() as recording:
        said = [refund.invoke({"order": order}) for order in ("A", "A", "B")]
        looked = asyncio.run(look_up.ainvoke({"q": "x"}))
        owned = Own().invoke({"a": 1, "b": "x"})

    assert said == ["recorded", "refunded 1 of A", "refunded 1 of B"]
    assert looked == {"q": "x", "hits": [1, 2.5, None]}
    assert ran == ["refund", "refund", "look_up", "own"]
    assert [answer.gives for given in tool_answers(recording.runs).values() for answer in given] == [*said, looked, owned]


def test_tools_that_are_not_named_run_in_async_code_too() -> None:
    with recorded_tools({"refund": [ToolAnswer(FrozenDict(order="A"), "recorded")]}, ["refund"]):
        said = refund.invoke({"order": "A"}), asyncio.run(look_up.ainvoke({"q": "x"}))

    assert said == ("recorded", {"q": "x", "hits": [1, 2.5, None]})
    assert ran == ["look_up"]


def test_a_masked_argument_matches_its_secret() -> None:
    with recorded_tools({"own": [ToolAnswer(FrozenDict(a=1, b="<mask:secret>"), "recorded")]}):
        assert Own().invoke({"a": 1, "b": "sk-proj-abcdefghijklmnop1234567890abcdef"}) == "recorded"


def test_a_file_may_give_a_value_where_the_recording_had_text() -> None:
    answer = ToolAnswer(FrozenDict(order="A"), FrozenDict(ok=True), message=FrozenDict(status="error"))

    with recorded_tools({"refund": [answer, ToolAnswer(FrozenDict(order="A"), FrozenDict(ok=True))]}):
        said = by_call(refund, order="A"), by_call(refund, order="A")

    assert said == (
        ToolMessage('{"ok": true}', name="refund", tool_call_id="call_1", status="error"),
        ToolMessage('{"ok": true}', name="refund", tool_call_id="call_1"),
    )


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ToolFailure("KeyError", "'x'"), KeyError),
        (ToolFailure("ToolException", "no"), ToolException),
        (ToolFailure("OrderError", "no order A (code 1)"), OrderError),
        (ToolFailure("ExceptionGroup", "two (2 sub-exceptions)"), Exception),
        (ToolFailure("UnicodeDecodeError", "'utf-8' codec can't decode"), UnicodeDecodeError),
        (ToolFailure("OfAnotherProcessError", "gone"), Exception),
        (ToolFailure("TimeoutError", ""), TimeoutError),
        (ToolFailure("print", "gone"), Exception),
    ],
)
def test_a_recorded_failure_is_an_exception_of_its_class_with_its_text(failure: ToolFailure, kind: type[Exception]) -> None:
    made = exception_of(failure)

    assert isinstance(made, kind)
    assert (type(made).__name__, str(made)) == (failure.type, failure.message)


def test_two_classes_of_one_name_are_no_class_to_raise() -> None:
    kinds = [type("TwiceError", (LookupError,), {}) for _ in range(2)]

    made = exception_of(ToolFailure("TwiceError", "which?"))

    assert type(made) not in kinds
    assert (type(made).__mro__[1], str(made)) == (Exception, "which?")


def test_a_block_that_a_test_leaves_open_is_closed() -> None:
    before = BaseTool.run
    block = recorded_tools({}, names=())
    block.__enter__()

    assert [violation.text for violation in block.end_of_test()] == [
        "a recorded_tools() block was left open by the test\n  use it with `with`, or leave it in the same test"
    ]
    assert block.end_of_test() == []
    assert BaseTool.run is before


def test_many_threads_take_each_answer_once() -> None:
    answers = {"refund": [ToolAnswer(FrozenDict(order=str(n % 50)), f"answer of {n % 50}") for n in range(400)]}

    with recorded_tools(answers) as tools, ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda n: refund.invoke({"order": str(n % 50)}), range(400)))

    tools.verify()
    assert given == [f"answer of {n % 50}" for n in range(400)]
    assert ran == []
