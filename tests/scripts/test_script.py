"""Which step answers which call, what a step may expect, and what is said when it does not fit."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
import sys
import threading
import weakref
from pathlib import Path
from random import Random
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from llmtest import (
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
    scripted_tool,
    structured,
    think,
)
from llmtest.errors import ScriptError, Violation, expect_violation
from llmtest.events.words import Message
from llmtest.ledger import Ledger, opened
from llmtest.scripts import Request, fingerprints
from llmtest.scripts import script as script_module
from llmtest.scripts.fingerprints import fingerprint
from llmtest.scripts.requests import KeyedSteps
from tests.support.doubles import two_nodes, violation
from tests.support.tools import publish, search

INTEGER_TOOL = {
    "type": "function",
    "function": {"name": "book", "parameters": {"properties": {"seats": {"type": "integer"}}, "required": ["seats"]}},
}


# -- keys and lanes


def test_a_lane_that_is_used_up_does_not_fall_to_the_plain_steps() -> None:
    model = ScriptedChatModel(on(contains="weather") >> "sunny")
    model.invoke("weather")

    text = violation("unexpected call", lambda: model.bind_tools([search]).invoke("weather again"))

    assert text.splitlines() == [
        "unexpected model call 2: the steps of on(contains='weather') are all served",
        "  came  human 'weather again' (1 message)",
        "  tools  `search`",
        "  served  step 1  say('sunny')",
        "  add a step for this call, or find out why the program calls the model again",
    ]


# -- how often


def test_a_step_is_served_as_often_as_it_says() -> None:
    model = ScriptedChatModel(say("x").times(2), say("y").repeat())

    assert [model.invoke("hi").content for _ in range(5)] == ["x", "x", "y", "y", "y"]


@pytest.mark.usefixtures("page")
def test_times_that_did_not_all_come_and_a_repeat_that_never_came_are_unused() -> None:
    script = Script(say("x").times(3), say("z").optional(), say("y").repeat())
    model = ScriptedChatModel(script=script)

    model.invoke("hi")

    text = "\n".join(line.split("  at ")[0] for line in script.unused()[0].text.splitlines())
    assert text.splitlines() == [
        "2 of 3 steps of the script were never used or not used often enough",
        "  step 1  say('x').times(3)  used 1 of 3 times",
        "  step 3  say('y').repeat()",
        "  the model was called once; remove the steps, or find out why the program stopped early",
    ]


@pytest.mark.usefixtures("page")
def test_an_unused_step_behind_a_key_is_named_with_its_key() -> None:
    script = Script(on(tools=[]) >> "a summary", on(tools={"book"}) >> say("the agent").times(2))
    model = ScriptedChatModel(script=script)

    model.bind_tools([INTEGER_TOOL]).invoke("go")

    text = "\n".join(line.split("  at ")[0] for line in script.unused()[0].text.splitlines())
    assert text.splitlines() == [
        "2 of 2 steps of the script were never used or not used often enough",
        "  step 1  on(tools=[]) >> say('a', ' summary')",
        "  step 2  on(tools=['book']) >> say('the', ' agent').times(2)  used 1 of 2 times",
        "  the model was called once; remove the steps, or find out why no further call matches the key",
    ]


def test_unused_steps_that_verify_raises_can_be_expected() -> None:
    model = ScriptedChatModel(fail(ValueError).times(3))
    with pytest.raises(ValueError):
        model.invoke("x")

    with expect_violation("unused step") as caught:
        model.verify()

    text = caught[0].text.splitlines()
    assert text[0] == "1 of 1 step of the script was not used often enough"
    model.verify()  # nothing is owed any more: the test passes


def test_an_earlier_violation_that_verify_raises_can_be_expected() -> None:
    model = ScriptedChatModel()
    with contextlib.suppress(ViolationError):
        model.invoke("x")

    with expect_violation("unexpected call") as caught:
        model.verify()

    assert [violation.code for violation in caught] == ["unexpected call"]


def test_expecting_one_of_two_violations_of_an_error_lets_it_pass_on() -> None:
    errors = [Violation("a", "one"), Violation("a", "two")]

    with pytest.raises(ViolationError) as raised, expect_violation("a"):
        raise ViolationError(*errors)

    assert raised.value.violations == tuple(errors)


def test_nothing_comes_after_a_step_that_repeats() -> None:
    with pytest.raises(ScriptError) as caught:
        Script(say("x").repeat(), "y")

    first, second = str(caught.value).splitlines()
    assert first == "step 1 repeats for every further call, so say('y') after it is never used"
    assert second.startswith("  say('x').repeat() at ")


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_times_takes_a_whole_number(number: Any) -> None:
    with pytest.raises(ScriptError) as caught:
        say("x").times(number)

    assert str(caught.value) == f"times() takes a whole number of 1 or more; got {type(number).__name__} {number!r}"


def test_an_optional_step_that_expects_something_is_passed_over() -> None:
    model = ScriptedChatModel(say("cached").expects(contains="again").optional(), "fresh", "second")

    assert [model.invoke(text).content for text in ("hi", "hi again")] == ["fresh", "second"]


# -- what a step expects


NEAREST = ["  nearest", "    - CONTEXT: weather", "    ?            -", "    + CONTEXT: wether"]


@pytest.mark.usefixtures("page")
@pytest.mark.parametrize(
    ("expects", "prompt", "evidence"),
    [
        (
            {"contains": "CONTEXT: weather"},
            "x\nCONTEXT: wether",
            ["  nearest", "    - CONTEXT: weather", "    ?            -", "    + CONTEXT: wether"],
        ),
        ({"contains": "zzz"}, "hello", ["  got       human 'hello'"]),
        ({"forbids": ["SECRET"]}, "my SECRET", ["  got       human 'my SECRET'"]),
        ({"tools": {"search"}}, "hi", ["  got       none"]),
        ({"last": "tool"}, "hi", ["  got       human 'hi'"]),
    ],
)
def test_a_prompt_that_is_not_as_expected_is_a_violation_and_keeps_the_step(
    expects: Any, prompt: str, evidence: list[str]
) -> None:
    model = ScriptedChatModel(script=Script(say("x").expects(**expects)))

    lines = violation("unexpected prompt", lambda: model.invoke(prompt)).splitlines()

    assert lines[0] == "step 1 expects another prompt than model call 1 has"
    assert lines[1].startswith("  expected ")
    assert lines[2:-1] == evidence
    assert lines[-1].startswith("  the script says say('x').expects(")
    assert model.script.remaining == 1


def test_a_prompt_as_expected_is_answered() -> None:
    step = say("x").expects(contains=["CONTEXT", "Paris"], forbids="SECRET", tools=["search"], last="user")

    assert ScriptedChatModel(step).bind_tools([search]).invoke("CONTEXT: Paris").content == "x"


@pytest.mark.usefixtures("page")
def test_an_empty_prompt_is_said_to_be_empty() -> None:
    model = ScriptedChatModel(script=Script(say("x").expects(contains="a"), say("y").expects(last="ai")))

    text = violation("unexpected prompt", lambda: model.script.serve(Request()))

    assert "  got       an empty prompt" in text


# -- what the caller of a model may rely on


def allowed(mode: str, tool: str = "other") -> Any:
    return {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": tool}]}


@pytest.mark.parametrize(
    ("step", "kwargs", "text"),
    [
        (
            call("book", seats="two"),
            {},
            'the script calls the tool `book` with arguments that do not fit its schema\n  seats  "two" is not of type "integer"',
        ),
        (
            reply(call("book", seats=1), call("book", seats=2)),
            {"parallel_tool_calls": False},
            "the script makes 2 tool calls at once, but parallel_tool_calls=False is bound",
        ),
        (say("no"), {"tool_choice": "any"}, "the script calls no tool, but tool_choice='any' is bound"),
        (say("no"), {"tool_choice": "required"}, "the script calls no tool, but tool_choice='required' is bound"),
        (say("no"), {"tool_choice": "book"}, "the script calls no tool, but tool_choice='book' is bound"),
        (
            call("book", seats=1),
            {"tool_choice": {"type": "function", "function": {"name": "other"}}},
            "the script calls the tool `book`, but tool_choice='other' is bound",
        ),
        (call("book", seats=1), {"tool_choice": "none"}, "the script calls the tool `book`, but tool_choice='none' is bound"),
        (say("no"), {"tool_choice": {"type": "any"}}, "the script calls no tool, but tool_choice='any' is bound"),
        (say("no"), {"tool_choice": allowed("required")}, "the script calls no tool, but tool_choice requires one of `other`"),
        (
            call("book", seats=1),
            {"tool_choice": allowed("auto")},
            "the script calls the tool `book`, but tool_choice allows only `other`",
        ),
        (
            call("book", seats=1),
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": allowed("auto")}},
            "the script calls the tool `book`, but tool_choice allows only `other`",
        ),
    ],
)
def test_a_call_that_the_binding_does_not_allow_is_a_violation_unless_it_is_meant(step: Any, kwargs: Any, text: str) -> None:
    model, meant = ScriptedChatModel(step), ScriptedChatModel(step.unchecked())

    said = violation("invalid tool call", lambda: model.invoke("hi", tools=[INTEGER_TOOL], **kwargs))
    meant.invoke("hi", tools=[INTEGER_TOOL], **kwargs)

    assert said == f"{text}\n  the script says {step}"


@pytest.mark.parametrize("choice", [None, "auto", "any", "book", True, {"type": "any"}, allowed("required", "book")])
def test_a_call_that_the_choice_allows_is_fine(choice: Any) -> None:
    assert ScriptedChatModel(call("book", seats=1)).invoke("hi", tools=[INTEGER_TOOL], tool_choice=choice).tool_calls


@pytest.mark.parametrize("model", [ScriptedChatModel, ScriptedLLM])
def test_text_with_a_bound_stop_sequence_in_it_is_a_violation(model: Any) -> None:
    step = say("Action: x\nObservation: y")

    text = violation("stop sequence", lambda: model(step).invoke("hi", stop=["\nObservation"]))
    model(step.unchecked()).invoke("hi", stop=["\nObservation"])

    assert text.splitlines()[0] == (
        "the script says text that has the bound stop sequence '\\nObservation' in it; a model stops before it"
    )


# -- structured values


class Person(BaseModel):
    name: str


SCHEMA = {"title": "Person", "description": "d", "type": "object", "properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize("value", [Person(name="Ada"), {"name": "Ada"}])
def test_a_structured_value_satisfies_every_method(method: Any, value: Any) -> None:
    with record() as recording:
        typed = ScriptedChatModel(structured(value)).with_structured_output(Person, method=method).invoke("who?")
        plain = ScriptedChatModel(structured(value)).with_structured_output(SCHEMA, method=method, strict=True).invoke("who?")
        raw = ScriptedChatModel(structured(value)).with_structured_output(Person, method=method, include_raw=True).invoke("who?")

    assert (typed, plain, raw["parsed"]) == (Person(name="Ada"), {"name": "Ada"}, Person(name="Ada"))
    assert [run.ended for run in recording.models] == ["ended"] * 3


def test_a_structured_value_that_does_not_parse_is_the_parsers_error() -> None:
    raw = ScriptedChatModel(say("no json")).with_structured_output(Person, method="json_mode", include_raw=True).invoke("who?")

    assert raw["parsed"] is None
    assert type(raw["parsing_error"]).__name__ == "OutputParserException"


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ScriptError) as caught:
        ScriptedChatModel().with_structured_output(Person, method="yaml")  # type: ignore[arg-type]

    assert str(caught.value) == "method= is 'function_calling', 'json_schema' or 'json_mode'; got 'yaml'"


@pytest.mark.parametrize("strategy", [ToolStrategy(Person), ProviderStrategy(Person)])
def test_a_structured_value_satisfies_create_agent(strategy: Any) -> None:
    model = ScriptedChatModel(call("search", q="x"), structured(Person(name="Ada")))

    state = create_agent(model, [search], response_format=strategy).invoke({"messages": "who?"})

    assert state["structured_response"] == Person(name="Ada")


def test_a_structured_value_goes_to_the_tool_that_it_fits_else_it_is_text() -> None:
    tools = [search, publish]

    fits = ScriptedChatModel(structured({"text": "x"})).bind_tools(tools).invoke("hi")
    none = ScriptedChatModel(structured({"other": 1})).bind_tools(tools).invoke("hi")
    listed = ScriptedChatModel(structured([1, 2])).bind_tools(tools).invoke("hi")

    assert [c["name"] for c in fits.tool_calls] == ["publish"]
    assert (none.content, listed.content) == ('{"other": 1}', "[1, 2]")


def test_a_structured_value_that_fits_no_tool_of_a_forced_choice_is_a_violation() -> None:
    model = ScriptedChatModel(structured({"other": 1})).bind_tools([search], tool_choice="any")

    assert "with other arguments than it takes" in violation("invalid tool call", lambda: model.invoke("hi"))


# -- functions


def test_a_function_gets_the_request_and_may_answer_with_any_step() -> None:
    seen = []

    def answer(request: Request) -> Any:
        seen.append((request.messages[-1].text, list(request.tools), request.stop, request.params["temperature"]))
        return [say("text"), AIMessage("message"), "str", respond(lambda _: "nested"), fail(ValueError("no"))][len(seen) - 1]

    model = ScriptedChatModel(respond(answer).times(5))
    said = [model.invoke(f"{n}", tools=[INTEGER_TOOL], stop=["S"], temperature=n).content for n in range(4)]
    with pytest.raises(ValueError, match="no"):
        model.invoke("4", tools=[INTEGER_TOOL], stop=["S"], temperature=4)

    assert said == ["text", "message", "str", "nested"]
    assert seen[0] == ("0", ["book"], ["S"], 0)


@pytest.mark.asyncio
async def test_an_async_function_is_awaited() -> None:
    async def answer(request: Request) -> str:
        return request.text.upper()

    model = ScriptedChatModel(respond(answer).times(4))

    assert (await model.ainvoke("a")).content == "A"
    assert [c.content async for c in model.astream("b")] == ["B"]
    assert (await asyncio.to_thread(model.invoke, "c")).content == "C"
    with expect_violation("script error"), pytest.raises(ScriptError) as caught:
        model.invoke("d")
    assert str(caught.value) == "respond() has an async function, but the call came without await in a running loop"


def test_what_a_function_returns_is_checked_as_a_step() -> None:
    with expect_violation("script error"), pytest.raises(ScriptError) as caught:
        ScriptedLLM(respond(lambda request: 42)).invoke("hi")

    assert str(caught.value).startswith("what respond(<lambda>) returned is not a step: got int 42 at ")


def test_respond_takes_a_function() -> None:
    with pytest.raises(ScriptError) as caught:
        respond("x")  # type: ignore[arg-type]

    assert str(caught.value) == "respond() takes a function; got str 'x'"


# -- two runs, one script


def test_a_call_made_while_a_stream_of_the_same_line_of_control_is_open_is_in_order() -> None:
    model = ScriptedChatModel(say("x", "y"), "z")

    stream = model.stream("a")
    next(stream)

    assert model.invoke("b").content == "z"
    assert [c.content for c in stream] == ["y"]


# -- threads, copies, pickles


@pytest.mark.parametrize("interval", [None, 1e-6])
def test_sixteen_threads_make_their_calls_on_one_script_each_step_once(interval: float | None) -> None:
    model = ScriptedChatModel(script=Script(*[respond(lambda r, n=n: str(n)) for n in range(16 * 200)]))
    answers: list[str] = []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        answers.extend([str(model.invoke("hi").content) for _ in range(200)])

    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(interval or before)
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    assert sorted(map(int, answers)) == list(range(16 * 200))


def test_a_script_cannot_be_pickled_and_says_why() -> None:
    with pytest.raises(TypeError) as caught:
        pickle.dumps(ScriptedChatModel())

    assert str(caught.value) == (
        "a Script cannot be pickled: the copy would hand out the same steps again."
        " Dump it to a file with script.dump(path), and load that where it is needed"
    )


def test_a_dump_to_json_does_not_consume_the_script() -> None:
    model = ScriptedChatModel("x")

    model.model_dump(mode="json")
    copy.deepcopy(model).model_dump_json()

    assert model.invoke("hi").content == "x"


@pytest.mark.skipif("profile" not in ScriptedChatModel.model_fields, reason="this langchain-core has no model profiles")
def test_a_profile_can_be_given() -> None:
    assert ScriptedChatModel(profile={"max_input_tokens": 100}).profile == {"max_input_tokens": 100}


# -- chunks and broken arguments


@pytest.mark.parametrize(
    ("chunk", "tokens"),
    [
        ("char", ["a", " ", "b", "c", " "]),
        ("word", ["a ", "bc "]),
        (2, ["a ", "bc", " "]),
        (Random(1), ["a b", "c "]),
    ],
)
def test_a_chunker_cuts_one_string(chunk: Any, tokens: list[str]) -> None:
    assert [c.content for c in ScriptedChatModel(say("a bc ", chunk=chunk)).stream("hi")] == tokens


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: say("a", "b", chunk="char"), "chunk= of say cuts one string: give exactly one, and no tokens="),
        (lambda: say("a", chunk=0), "chunk= is 'char', 'word', a number of characters or a random.Random; got int 0"),
        (
            lambda: structured({1, 2}),
            "structured() takes a JSON value; got set {1, 2} (Object of type set is not JSON serializable)",
        ),
        (lambda: say("x").deltas("a"), "deltas(...) is about one tool call, but say('x') has 0; use it on call(...)"),
        (
            lambda: call("f", a=1).deltas('{"a"', ": 2}"),
            'the pieces of deltas(...) do not join to the arguments\n  got       {"a": 2}\n  expected  {"a": 1}\n'
            "  for text that is wrong on purpose: malformed(...)",
        ),
        (lambda: call("f").malformed('{"a": 1}'), "malformed(...) takes text that is no JSON object; got '{\"a\": 1}'"),
        (
            lambda: reply(say("x").times(2)),
            "part 1 of reply() has a `times, expects, optional or unchecked` of its own: say('x').times(2);"
            " give it to the whole reply instead",
        ),
    ],
)
def test_words_are_checked_where_they_are_written(wrong: Any, text: str) -> None:
    with pytest.raises(ScriptError) as caught:
        wrong()

    assert str(caught.value) == text


def test_arguments_stream_in_the_pieces_that_are_given() -> None:
    model = ScriptedChatModel(call("search", q="x").deltas('{"', 'q": "x"}')).bind_tools([search])

    chunks = list(model.stream("hi"))

    assert [piece["args"] for c in chunks for piece in c.tool_call_chunks] == ["", '{"', 'q": "x"}']


def test_malformed_arguments_arrive_as_an_invalid_tool_call_each_way() -> None:
    model = ScriptedChatModel(call("search", q="x").malformed('{"q": ').times(2)).bind_tools([search])

    invoked = model.invoke("hi")
    chunks = list(model.stream("hi"))
    streamed = chunks[0]
    for chunk in chunks[1:]:
        streamed += chunk

    assert [c["args"] for c in invoked.invalid_tool_calls] == ['{"q": ']
    assert (invoked.tool_calls, streamed.content) == ([], "")


def test_a_refusal_is_where_openai_puts_it_each_way() -> None:
    model = ScriptedChatModel(say("I ", "cannot.", refusal=True).times(2))

    invoked, *chunks = model.invoke("hi"), *model.stream("hi")

    assert (invoked.content, invoked.additional_kwargs) == ("", {"refusal": "I cannot."})
    assert "".join(c.additional_kwargs["refusal"] for c in chunks) == "I cannot."
    assert chunks[-1].response_metadata["finish_reason"] == "refusal"


@pytest.mark.parametrize("model", [ScriptedChatModel, ScriptedLLM])
def test_a_truncated_stream_has_no_finish_reason_and_no_usage(model: Any) -> None:
    with record() as recording:
        list(model(say("It ", "is").then_truncate()).stream("hi"))
        model(say("It is").then_truncate()).invoke("hi")

    for run in recording.models:
        assert run.usage is None
        message = run.events[-1].payload["generations"][0]
        known = message.message.response_metadata if message.message else message.info
        assert "finish_reason" not in known


def test_steps_show_as_they_were_written() -> None:
    steps = [
        say("a b").times(2).optional(),
        call("f", a=1).with_id("c1").malformed("{"),
        call("f", a=1).deltas('{"a": 1}').unchecked(),
        reply(think("hm"), structured(Person(name="Ada"))),
        structured({"a": 1}),
        say("x").then_fail(TimeoutError),
        say("x").then_truncate().expects(contains="a", tools=["t"], last="user"),
        respond(len).repeat(),
        fail(429, retry_after=2).times(3),
        say(),
    ]

    assert [str(step) for step in steps] == [
        "say('a', ' b').times(2).optional()",
        "call('f', a=1).with_id('c1').malformed('{')",
        "call('f', a=1).deltas('{\"a\": 1}').unchecked()",
        "reply(think('hm'), structured(Person))",
        'structured({"a": 1})',
        "say('x').then_fail(TimeoutError)",
        "say('x').then_truncate().expects(contains=['a'], last='human', tools=['t'])",
        "respond(len).repeat()",
        "fail(429, retry_after=2).times(3)",
        "say()",
    ]


@pytest.mark.usefixtures("page")
def test_verify_tells_every_violation_and_what_is_unused() -> None:
    script = Script("a", "b")
    with opened(Ledger()):
        model = ScriptedChatModel(script=script)
        with pytest.raises(ViolationError):
            model.bind_tools([search], tool_choice="any").invoke("hi")

    with pytest.raises(ViolationError) as caught:
        model.verify()

    assert [v.code for v in caught.value.violations] == ["invalid tool call", "unused step"]


def test_a_model_that_is_called_without_a_run_has_no_tags_and_no_node() -> None:
    seen = []

    def answer(request: Request) -> str:
        seen.append((list(request.tags), dict(request.metadata), request.node, request.thread, request.run()))
        return "x"

    chat, text = ScriptedChatModel(respond(answer).times(2)), ScriptedLLM(respond(answer), "y", "z")
    chat._generate([HumanMessage("hi")])
    asyncio.run(chat._agenerate([HumanMessage("hi")]))
    text._generate(["hi"])

    assert seen == [([], {}, None, None, None)] * 3
    assert [chunk.text for chunk in text._stream("hi")] == ["y"]
    assert asyncio.run(_text_chunks(text)) == ["z"]


async def _text_chunks(model: Any) -> list[str]:
    return [chunk.text async for chunk in model._astream("hi")]


def test_a_reply_with_text_and_a_structured_value_says_both() -> None:
    answer = ScriptedChatModel(reply("Here: ", structured({"q": "x"}))).bind_tools([search]).invoke("hi")

    assert (answer.content, [c["name"] for c in answer.tool_calls]) == ("Here: ", ["search"])


def test_an_unexpected_call_says_in_which_node_it_came() -> None:
    graph = two_nodes(ScriptedChatModel("only one"))

    with expect_violation("unexpected call") as caught:
        graph.invoke({"messages": "hi"}, {"configurable": {"thread_id": "t"}})

    assert caught[0].text.splitlines()[:3] == [
        "unexpected model call 2: the script has 1 step, all served",
        "  came  ai 'only one' (2 messages)",
        "  node  writer",
    ]


def test_a_schema_that_is_none_or_that_leads_elsewhere_is_named() -> None:
    broken = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "nothing"}}}}}
    elsewhere = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a": {"$ref": "https://example.invalid/schema"}}}},
    }

    said = [
        violation("invalid tool call", lambda tool=tool: ScriptedChatModel(call("f", a=1)).invoke("hi", tools=[tool]))
        for tool in (broken, elsewhere)
    ]

    assert said[0].startswith("the schema of the tool `f` is no JSON schema: ")
    assert "nothing is fetched from elsewhere" in said[1]


def test_validators_are_kept_for_a_while() -> None:
    from llmtest.scripts import tool_checks

    for number in range(300):
        tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {f"a{number}": {}}}}}
        ScriptedChatModel(call("f", {f"a{number}": 1})).invoke("hi", tools=[tool])

    assert 0 < len(tool_checks._validators) <= 256


def test_a_script_as_a_whole_is_optional_or_unchecked() -> None:
    keyed = Script("a", on(contains="x") >> Script("b", "c")).optional()
    free = ScriptedChatModel(script=Script(call("nothing_bound"), on(contains="x") >> call("nothing")).unchecked())

    keyed.verify()
    assert [step.serving.optional for step in keyed.steps] == [True] * 3
    assert [free.invoke(text).tool_calls[0]["name"] for text in ("a", "x")] == ["nothing_bound", "nothing"]


def test_a_script_that_is_only_written_to_a_file_owes_no_calls(tmp_path: Path) -> None:
    with opened(Ledger()) as page:
        Script("a", "b").dump(tmp_path / "written.yaml")
        used = Script("a", "b")
        used.dump(tmp_path / "used.yaml")
        ScriptedChatModel(script=used).invoke("hi")

    assert [violation.text.splitlines()[0] for violation in page.take()] == ["1 of 2 steps of the script was never used"]


def test_a_script_behind_a_key_that_no_model_got_is_unused() -> None:
    with opened(Ledger()) as page:
        on(contains="x") >> Script("a", "b")
        taken = ScriptedChatModel(on(contains="x") >> Script("c"))
        taken.invoke("x")

    assert [violation.code for violation in page.take()] == ["unused step"]


@pytest.mark.parametrize("kind", [ScriptedChatModel, ScriptedLLM])
def test_one_text_is_one_stop_sequence(kind: Any) -> None:
    model = kind("It is sunny.", "STOP").bind(stop="STOP")

    model.invoke("hi")

    with expect_violation("stop sequence") as caught, pytest.raises(ViolationError):
        model.invoke("hi")
    assert caught[0].text.startswith("the script says text that has the bound stop sequence 'STOP' in it")


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "tool"])
def test_a_failed_assertion_of_respond_is_a_violation_though_the_program_swallows_it(way: str) -> None:
    def check(request: Request) -> str:
        assert "SECRET" not in request.text
        return "ok"

    with expect_violation("failed respond") as caught:
        if way == "tool":
            double: Any = scripted_tool("find", respond(check), args={"q": str})
            double.with_fallbacks([RunnableLambda(lambda _: 1)]).invoke({"q": "SECRET"})
        else:
            double = ScriptedChatModel(respond(check)).with_fallbacks([ScriptedChatModel("b")])
            asyncio.run(double.ainvoke("SECRET")) if way == "ainvoke" else double.invoke("SECRET")

    lines = caught[0].text.splitlines()
    assert lines[0] == f"an assertion of respond(check) failed in a call of {'`find`' if way == 'tool' else 'the model'}"
    assert lines[1] == "  AssertionError"
    assert lines[-1].startswith("  the script has respond(check) at ")


def test_an_error_that_respond_raises_on_purpose_is_no_violation() -> None:
    def break_off(request: Request) -> str:
        raise TimeoutError("too slow")

    with pytest.raises(TimeoutError):
        ScriptedChatModel(respond(break_off)).invoke("hi")


def test_a_key_without_tools_is_for_calls_without_tools() -> None:
    model = ScriptedChatModel(on(tools=[]) >> "none", on(tools=["search"]) >> "some")

    assert [model.bind_tools([search]).invoke("q").content, model.invoke("q").content] == ["some", "none"]
    assert str(on(tools=[])) == "on(tools=[])"


# -- streams that their reader has left, or reads on


def _chain(model: ScriptedChatModel) -> Any:
    return RunnableLambda(lambda text: text) | model


async def _leave_stream(model: ScriptedChatModel) -> None:
    stream = _chain(model).astream("x")
    await anext(stream)
    await stream.aclose()
    await model.ainvoke("y")


async def _call_while_reading(model: ScriptedChatModel) -> None:
    async for chunk in _chain(model).astream("x"):
        if chunk.content == "a ":
            await model.ainvoke("y")


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("program", [_leave_stream, _call_while_reading])
def test_the_reader_of_an_async_stream_takes_its_steps_after_the_stream_has(program: Any, recorded: bool) -> None:
    with record() if recorded else contextlib.nullcontext():
        asyncio.run(program(ScriptedChatModel(say("a ", "b "), "next")))


@pytest.mark.parametrize("turns", [2, 100])
def test_a_task_beside_the_reader_of_an_async_stream_competes_with_it(turns: int) -> None:
    model = ScriptedChatModel(say("a ", "b "), "next")

    async def read() -> None:
        async for _ in _chain(model).astream("x"):
            await asyncio.sleep(0)

    async def ask() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await model.ainvoke("y")

    async def both() -> None:
        await asyncio.gather(read(), ask())

    with expect_violation("competing calls"), record(), contextlib.suppress(ViolationError):
        asyncio.run(both())


def test_a_run_that_failed_competes_for_no_step_while_its_exception_is_kept() -> None:
    script = Script(fail(429), "first", "second")
    model: Any = ScriptedChatModel(script=script)
    kept: list[Exception] = []

    async def try_once() -> None:
        try:
            await model.ainvoke("flaky")
        except Exception as error:
            kept.append(error)  # and with it the frames of the run

    async def program() -> None:
        await asyncio.create_task(try_once())
        await asyncio.create_task(model.ainvoke("one"))
        await asyncio.create_task(model.ainvoke("two"))

    with record():
        asyncio.run(program())

    script.verify()
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("entries", "calls", "used"),
    [
        ((say("a"), say("b")), 1, ["say('a')"]),
        ((say("a").times(3), say("b")), 2, ["say('a').times(2)"]),
        ((say("a").times(3), say("b")), 1, ["say('a')"]),
        ((say("a").repeat(),), 2, ["say('a').repeat()"]),
        ((say("a").repeat(),), 0, []),
        ((say("a"), say("b").optional()), 1, ["say('a')", "say('b').optional()"]),
        ((on(contains="hi") >> Script("a", "b"), on(contains="no") >> "c"), 1, ["on(contains='hi')", "say('a')"]),
        ((on(contains="hi") >> Script("a"), say("plain")), 1, ["on(contains='hi')", "say('a')"]),
    ],
)
def test_the_used_entries_are_those_that_calls_took(entries: Any, calls: int, used: list[str]) -> None:
    with opened(Ledger("")):
        script = Script(*entries)
        for _ in range(calls):
            script.serve(Request(read=lambda: [Message("human", "hi")]))

        kept = script.used_entries

        shown = [part for one in kept for part in ((one.key, *one.steps) if isinstance(one, KeyedSteps) else (one,))]
        assert list(map(str, shown)) == used
        again = Script(*kept)
        for _ in range(calls):
            again.serve(Request(read=lambda: [Message("human", "hi")]))
        assert again.remaining == 0


# -- recorded steps: their requests are compared when the script is judged


class Content(list[Any]):
    """A list that can be watched."""


def recorded(text: str, *questions: str) -> Any:
    """A step that was recorded for these questions."""
    return say(text)._with(request=fingerprint(Request(read=lambda: [Message("human", asked) for asked in questions])))


def test_a_request_is_not_compared_while_its_caller_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(recorded("sunny", "warm?"))
    with monkeypatch.context() as patched:
        patched.setattr(fingerprints, "fingerprint", None)
        script.serve(Request(read=lambda: [Message("human", "cold?")]))

    (found,) = script.unused()

    assert (found.code, script.is_stale, script.unused()) == ("stale recording", True, [])


def test_a_request_is_compared_as_it_was_whatever_the_program_does_to_its_messages_later() -> None:
    messages, stop = [HumanMessage("warm?")], ["END"]
    step = say("sunny")._with(
        request=fingerprint(Request(read=lambda: [Message("human", "warm?")], stop=["END"], params={"stop": ["END"]}))
    )
    model = ScriptedChatModel(script=Script(step))

    model.invoke(messages, stop=stop)
    messages[0].content = "cold?"
    messages.append(HumanMessage("and now?"))
    stop.append("more")

    assert model.script.unused() == []


def test_a_script_that_serves_for_days_does_not_keep_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_module, "MAX_KEPT_REQUESTS", 10)
    script, seen = Script(recorded("sunny", "warm?").repeat()), []
    for _ in range(20):
        content = Content(["cold?"])
        seen.append(weakref.ref(content))
        script.serve(Request(read=lambda content=content: [Message("human", content)]))  # type: ignore[misc]
    del content

    assert [kept() for kept in seen] == [None] * 20
    assert "(steps 1, 1, 1, 1, 1, ...)" in str(script.unused()[0])
