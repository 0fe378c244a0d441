"""A recording as a script: the steps that answer as its models did, under the keys that tell them apart."""

from __future__ import annotations

import asyncio
import functools
import operator
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from pydantic import BaseModel

from llmtest import (
    Recording,
    Script,
    ScriptedChatModel,
    ScriptedLLM,
    ViolationError,
    call,
    fail,
    on,
    record,
    reply,
    respond,
    say,
    structured,
    think,
)
from llmtest.errors import LlmtestWarning, ScriptError
from llmtest.events.words import Failure, FrozenDict, Usage
from llmtest.scripts import fingerprints
from llmtest.scripts.from_recording import failure_of, recorded_calls
from llmtest.scripts.step_types import Reply

Program = Callable[[Any], Any]


@tool
def weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    return f"18C in {city}"


def agent(model: Any) -> Any:
    made = create_agent(model, [weather], name="weather_agent", system_prompt="You know the weather.")
    return made.invoke({"messages": "How warm is it?"})


def play(program: Program, model: Any) -> Recording:
    with record() as recording:
        program(model)
    return recording


def read(recording: Recording, **options: Any) -> Script:
    """The script of a recording that no model answers from."""
    script = Script.from_recording(recording, **options)
    script.waive_steps()
    return script


def steps_of(program: Program, *steps: Any, **fields: Any) -> list[str]:
    return [str(step) for step in read(play(program, ScriptedChatModel(*steps, **fields))).steps]


def ask(model: Any) -> None:
    model.invoke("hi")


def ask_with_tools(model: Any) -> None:
    model.bind_tools([weather]).invoke("hi")


def stream(model: Any) -> None:
    list(model.stream("hi"))


# -- the steps


def test_each_call_of_a_model_is_a_step() -> None:
    said = steps_of(agent, reply("Let me look. ", call("weather", city="Paris")), "It is 18C.")

    assert said == ["reply(say('Let', ' me', ' look', '.', ' '), call('weather', city='Paris'))", "say('It', ' is', ' 18C', '.')"]


def test_reasoning_is_a_thought() -> None:
    assert steps_of(ask, reply(think("Hm."), "Yes.")) == ["reply(think('Hm', '.'), say('Yes', '.'))"]


def test_usage_is_kept_where_a_script_would_count_otherwise() -> None:
    recording = play(
        lambda m: [m.invoke("hi"), m.invoke("hi"), m.invoke("hi")],
        ScriptedChatModel(say("a", usage=(7, 2)), "b", say("c", usage=False)),
    )

    assert [step.usage for step in read(recording).steps] == [Usage(7, 2, 9), None, False]  # type: ignore[union-attr]


def test_kinds_of_tokens_of_which_there_are_none_are_left_out() -> None:
    """langchain-openai names all kinds, also those without a token."""
    nothing = {"audio": 0, "cache_read": 0}
    counted = Usage(1, 1, 2, FrozenDict(nothing), FrozenDict(audio=0, reasoning=0))
    cached = Usage(9, 1, 10, FrozenDict(audio=0, cache_read=7), FrozenDict(reasoning=0))
    recording = play(lambda model: [model.invoke("hi"), model.invoke("hi")], ScriptedChatModel(*usages(counted, cached)))

    assert [step.usage for step in read(recording).steps] == [None, Usage(9, 1, 10, FrozenDict(cache_read=7))]  # type: ignore[union-attr]


def usages(*usage: Usage) -> list[Any]:
    return [replace(say("a"), usage=one) for one in usage]


def test_an_unusual_stop_reason_is_kept() -> None:
    recording = play(ask, ScriptedChatModel(say("a", stop_reason="length")))

    assert read(recording).steps[0].stop_reason == "length"  # type: ignore[union-attr]


def test_a_structured_value_is_a_value() -> None:
    class City(BaseModel):
        name: str

    def program(model: Any) -> None:
        model.with_structured_output(City, method="json_schema").invoke("where?")

    assert steps_of(program, structured({"name": "Paris"})) == ['structured({"name": "Paris"})']


def test_tokens_are_kept_on_request() -> None:
    recording = play(stream, ScriptedChatModel(say("It i", "s sun", "ny.")))

    assert str(read(recording).steps[0]) == "say('It', ' is', ' sunny', '.')"
    assert str(read(recording, tokens=True).steps[0]) == "say('It i', 's sun', 'ny.')"


class InPieces(BaseChatModel):
    """Streams a call whose first piece has no arguments yet, as some integrations do."""

    @property
    def _llm_type(self) -> str:
        return "in pieces"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for name, args in (("weather", None), (None, '{"city": '), (None, '"Rome"}')):
            piece = {"name": name, "args": args, "id": "c1" if name else None, "index": 0}
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[piece]))


def test_the_pieces_of_arguments_are_kept_on_request() -> None:
    (made,) = recorded_calls(play(stream, InPieces()), tokens=True)

    assert isinstance(made.step, Reply)
    assert [(one.args, one.pieces) for one in made.step.calls] == [({"city": "Rome"}, ('{"city": ', '"Rome"}'))]


def test_malformed_arguments_are_kept() -> None:
    assert steps_of(ask_with_tools, call("weather").malformed('{"city": ')) == ["call('weather').malformed('{\"city\": ')"]


def test_failures_are_steps_that_fail() -> None:
    def program(model: Any) -> None:
        for _ in range(3):
            with pytest.raises(Exception):  # noqa: B017
                model.invoke("hi")

    said = steps_of(program, fail(429), fail(TimeoutError("slow")), say("half").then_fail(ConnectionError("cut")))

    assert said == ["fail(429)", "fail('TimeoutError', message='slow')", "fail('ConnectionError', message='cut')"]


def test_a_stream_that_breaks_keeps_what_it_said() -> None:
    def program(model: Any) -> None:
        with pytest.raises(ConnectionError):
            list(model.stream("hi"))

    assert steps_of(program, say("one", " two").then_fail(ConnectionError("cut"))) == [
        "say('one', ' two').then_fail('ConnectionError', message='cut')"
    ]


def test_a_stream_that_its_reader_leaves_says_no_more() -> None:
    def program(model: Any) -> None:
        chunks = model.stream("hi")
        next(chunks)
        chunks.close()

    (said,) = steps_of(program, say("one", " two"))

    assert said == "say('one').then_wait()"


def test_a_stream_that_is_cancelled_before_its_first_token_need_not_be_asked_for() -> None:
    async def never(_: Any) -> str:
        await asyncio.sleep(60)
        return "late"

    async def leave(model: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(model.astream("hi"))

    assert steps_of(lambda model: asyncio.run(leave(model)), respond(never)) == ["say().then_wait().optional()"]


def test_a_call_that_pauses_its_graph_has_no_answer() -> None:
    def program(model: Any) -> None:
        graph = StateGraph(dict)
        graph.add_node("ask", lambda _: {"said": model.invoke("hi")})
        graph.add_edge(START, "ask")
        graph.compile(InMemorySaver()).invoke({}, {"configurable": {"thread_id": "1"}})

    recording = play(program, ScriptedChatModel(respond(lambda _: interrupt("sure?"))))

    with pytest.warns(
        LlmtestWarning, match=r"^call 1 of `ScriptedChatModel`: the call was paused before the model said anything$"
    ):
        (step,) = read(recording).steps
    assert str(step) == "say().then_truncate()"


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (AIMessage("So.", additional_kwargs={"reasoning_content": "Hm."}), "reply(think('Hm', '.'), say('So', '.'))"),
        (AIMessage("", additional_kwargs={"refusal": "I cannot."}), "say('I', ' cannot', '.')"),
    ],
    ids=["reasoning", "refusal"],
)
def test_what_integrations_put_beside_the_message_is_said(answer: AIMessage, step: str) -> None:
    assert steps_of(ask, answer) == [step]


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        ("no JSON", "say('no', ' JSON')"),
        ("[1]", "say('[', '1', ']')"),
        (reply(think("Hm.")), "think('Hm', '.')"),
    ],
    ids=["text", "a list", "reasoning"],
)
def test_an_answer_that_is_no_object_stays_as_it_is_where_a_format_is_bound(answer: Any, step: str) -> None:
    assert steps_of(lambda model: model.bind(response_format={"type": "json_object"}).invoke("hi"), answer) == [step]


def test_tools_are_read_in_each_format_and_what_is_none_is_left_out() -> None:
    tools = ["web", {"function_declarations": ["x", {"name": "f", "parameters": {"properties": {}}}]}, {"google_search": {}}]

    def program(model: Any) -> None:
        model.bind(tools=tools).invoke("hi")
        model.bind(tools="auto").invoke("hi")

    made = recorded_calls(play(program, ScriptedChatModel("a", "b")))

    assert [dict(call.request.tools) for call in made] == [{"f": {"properties": {}}, "google_search": {}}, {}]


@pytest.mark.parametrize(
    ("failure", "step"),
    [
        (Failure("ModelConnectionError", "gone"), "fail('ConnectionError', message='gone')"),
        (Failure("APITimeoutError", ""), "fail('TimeoutError')"),
        (Failure("OwnError", "mine"), "fail('RuntimeError', message='OwnError: mine')"),
        (Failure("RateLimitError", "Error code: 429 - {'error': {'message': 'slow'}}"), "fail(429, message='slow')"),
        (Failure("RateLimitError", "Error code: 429 - {'error': 'slow'}"), "fail(429, message=\"{'error': 'slow'}\")"),
        (Failure("RateLimitError", "Error code: 429 - {'error': 'cut"), "fail(429, message=\"{'error': 'cut\")"),
        (Failure("BadRequestError", "Error code: 400 - [1]"), "fail(400, message='[1]')"),
    ],
    ids=str,
)
def test_a_failure_of_a_stored_run_is_told_by_its_status_or_its_nearest_class(failure: Failure, step: str) -> None:
    assert str(failure_of(failure)) == step


def test_the_tokens_of_two_texts_around_a_thought_are_each_its_own() -> None:
    recording = play(stream, ScriptedChatModel(reply(say("on", "e"), think("h", "m"), say("tw", "o"))))

    (step,) = read(recording, tokens=True).steps

    assert str(step) == "reply(say('on', 'e'), think('h', 'm'), say('tw', 'o'))"


def test_an_exception_of_the_program_is_itself_in_this_process() -> None:
    class OwnError(Exception):
        pass

    def program(model: Any) -> None:
        with pytest.raises(OwnError):
            model.invoke("hi")

    own = OwnError("mine")
    recording = play(program, ScriptedChatModel(own))

    assert read(recording).steps[0].error is own  # type: ignore[union-attr]


def test_a_text_model_gives_a_script_too() -> None:
    recording = play(ask, ScriptedLLM("It is sunny."))
    again = play(ask, ScriptedLLM(script=Script.from_recording(recording)))

    assert str(again) == str(recording)


def test_an_id_that_a_person_wrote_is_kept() -> None:
    assert steps_of(ask_with_tools, call("weather", city="Rome").with_id("mine")) == [
        "call('weather', city='Rome').with_id('mine')"
    ]


def test_a_message_of_unknown_blocks_says_what_is_left_out() -> None:
    message = AIMessage(
        [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
    )
    recording = play(ask, ScriptedChatModel(message))

    with pytest.warns(LlmtestWarning, match=r"^call 1 of `ScriptedChatModel`: a block of the type image_url$"):
        script = read(recording)
    assert str(script.steps[0]) == "say('See')"


def test_models_are_chosen_by_name() -> None:
    def program(_: Any) -> None:
        ScriptedChatModel("a", model_name="gpt-5").invoke("hi")
        ScriptedChatModel("b", model_name="claude").invoke("hi")

    recording = play(program, None)

    assert [str(step) for step in read(recording, model="gpt-*").steps] == ["say('a')"]
    assert [made.model for made in recorded_calls(recording)] == ["gpt-5", "claude"]
    with pytest.raises(
        ScriptError, match=r"^the recording has no call of a model 'gpt5'; did you mean `gpt-5`\?\n  models  `gpt-5`, `claude`$"
    ):
        Script.from_recording(recording, model="gpt5")


def test_a_call_that_is_open_is_refused() -> None:
    model = ScriptedChatModel(say("a", "b"))
    with record() as recording:
        chunks = model.stream("hi")
        next(chunks)

        with pytest.raises(
            ScriptError,
            match=r"^the chat run `ScriptedChatModel` is still open, so that its answer is not known; let it end first$",
        ):
            Script.from_recording(recording)
        list(chunks)


# -- keys


class State(TypedDict):
    out: Annotated[list[str], operator.add]


def fan_out(model: Any, last: str = "") -> None:
    """Three branches; that of the city `last` begins when another has ended."""
    ended = threading.Event()

    def plan(_: State) -> dict[str, Any]:
        return {"out": [model.invoke("plan").text]}

    def work(state: dict[str, Any]) -> dict[str, Any]:
        if state["city"] == last:
            ended.wait()
        first = model.invoke(f"Work on {state['city']}.")
        second = model.invoke([("user", f"Work on {state['city']}."), first, ("user", "And more?")])
        ended.set()
        return {"out": [first.text, second.text]}

    def write(_: State) -> dict[str, Any]:
        return {"out": [model.invoke("write").text]}

    graph = StateGraph(State)
    for node in (plan, work, write):
        graph.add_node(node)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: [Send("work", {"city": c}) for c in ("Paris", "Rome", "Oslo")], ["work"])
    graph.add_edge("work", "write")
    graph.add_edge("write", END)
    graph.compile().invoke({"out": []})


def keys_of(script: Script) -> list[str]:
    return [str(entry.key) if hasattr(entry, "key") else str(entry) for entry in script.entries]


@pytest.mark.parametrize("last", ["", "Paris"])
def test_branches_that_a_text_tells_apart_have_it_as_their_key(last: str) -> None:
    """They stand in the order of the tree, whichever thread began first."""
    model = ScriptedChatModel(
        on(node="plan") >> say("p"),
        on(node="write") >> say("w"),
        *[on(contains=c) >> Script(f"{c} 1", f"{c} 2") for c in ("Paris", "Rome", "Oslo")],
    )
    recording = play(functools.partial(fan_out, last=last), model)

    script = Script.from_recording(recording)

    assert keys_of(script) == ["on(contains='Paris')", "on(contains='Rome')", "on(contains='Oslo')", "say('p')", "say('w')"]
    assert str(play(fan_out, ScriptedChatModel(script=script))) == str(recording)


def test_branches_in_nodes_of_their_own_have_them_as_keys() -> None:
    def program(model: Any) -> None:
        graph = StateGraph(State)
        for name in ("left", "right"):
            graph.add_node(name, lambda _: {"out": [model.invoke("same prompt").text]})
            graph.add_edge(START, name)
        graph.compile().invoke({"out": []})

    recording = play(program, ScriptedChatModel(on(node="left") >> say("l"), on(node="right") >> say("r")))

    script = Script.from_recording(recording)

    assert sorted(keys_of(script)) == ["on(node='left')", "on(node='right')"]
    assert str(play(program, ScriptedChatModel(script=script))) == str(recording)


def test_calls_with_other_tools_are_told_apart_by_them() -> None:
    @tool
    def search(q: str) -> str:
        """Search."""
        return q

    async def program(model: Any) -> None:
        first, second = (model.bind_tools([made]) for made in (weather, search))
        await asyncio.gather(first.ainvoke("go"), second.ainvoke("go"))

    def run(model: Any) -> None:
        asyncio.run(program(model))

    recording = play(
        run, ScriptedChatModel(on(tools="weather") >> call("weather", city="Rome"), on(tools="search") >> call("search", q="x"))
    )

    script = Script.from_recording(recording)

    assert keys_of(script) == ["on(tools=['weather'])", "on(tools=['search'])"]
    assert str(play(run, ScriptedChatModel(script=script))) == str(recording)


def test_calls_that_nothing_tells_apart_keep_their_order_and_say_so() -> None:
    async def program(_: Any) -> None:
        await asyncio.gather(*(ScriptedChatModel(said).ainvoke("Work.") for said in ("one", "two")))

    recording = play(lambda model: asyncio.run(program(model)), None)

    with pytest.warns(LlmtestWarning) as told:
        assert [str(step) for step in read(recording).steps] == ["say('one')", "say('two')"]
    assert str(told[0].message) == (
        "2 calls of models ran at the same time (1, 2), and neither node, tools, thread, tags nor a text of the prompt"
        " ('Work.') tells them apart: their answers are in the order of the recording"
    )


def test_calls_with_equal_answers_may_change_places() -> None:
    async def program(model: Any) -> None:
        await asyncio.gather(*(model.ainvoke("same") for _ in range(3)))

    recording = play(lambda m: asyncio.run(program(m)), ScriptedChatModel(say("x").times(3)))

    assert keys_of(read(recording)) == ["say('x')", "say('x')", "say('x')"]


# -- files, and what has changed since


def test_a_script_of_a_recording_comes_back_from_its_file(tmp_path: Path) -> None:
    recording = play(agent, ScriptedChatModel(reply("Let me look. ", call("weather", city="Paris")), "It is 18C."))
    script = read(recording)
    script.dump(tmp_path / "agent.yaml")
    again = Script.load(tmp_path / "agent.yaml")

    assert [step.serving.request for step in again.steps] == [step.serving.request for step in script.steps]
    assert str(play(agent, ScriptedChatModel(script=again))) == str(recording)


def test_a_program_that_asks_otherwise_is_told_what_has_changed() -> None:
    recording = play(agent, ScriptedChatModel(call("weather", city="Paris"), "It is 18C."))
    script = Script.from_recording(recording)

    @tool("weather")
    def other(city: str, days: int = 1, unit: str = "C") -> str:
        """The weather in a city."""
        return f"18C in {city}"

    made = create_agent(ScriptedChatModel(script=script), [other], name="weather_agent", system_prompt="You know all.")
    made.invoke({"messages": "How warm is it?"})

    with pytest.raises(ViolationError) as caught:
        script.verify()
    text = str(caught.value).splitlines()
    assert text[0].startswith("2 recorded answers were given to other requests than they were recorded for on ")
    assert text[1:-3] == [
        '  the system prompt has changed: it was "You know the weather.", it is "You know all."  (steps 1, 2)',
        "  `weather` has a new argument `unit`  (steps 1, 2)",
    ]
    assert text[-3:] == [
        "  recorded in this process",
        "  record it again",
        "  or, if the answers still fit, set the ini key llmtest_stale to warn or ignore",
    ]


@pytest.mark.parametrize("mode", ["warn", "ignore"])
def test_a_stale_answer_may_be_a_warning_or_nothing(
    mode: Any, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    script = Script.from_recording(play(ask, ScriptedChatModel("a")))
    monkeypatch.setattr(fingerprints, "mode", mode)

    ScriptedChatModel(script=script).invoke([("system", "New."), ("user", "hi")])
    script.verify()

    assert [str(told.message).splitlines()[0][:41] for told in recwarn] == (
        ["1 recorded answer was given to another re"] if mode == "warn" else []
    )
