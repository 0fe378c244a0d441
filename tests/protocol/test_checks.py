"""The rules of the protocol: each finds what breaks it, in its words, and nothing else."""

from __future__ import annotations

import asyncio
import runpy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.output_parsers import PydanticToolsParser, StrOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import BaseModel

import llmtest
from llmtest import ScriptedChatModel, ScriptedRetriever, call, fail, record, reply, say, structured
from llmtest.capture.blocks import RawEvent
from llmtest.events import UnseenCall
from llmtest.protocol import check
from llmtest.protocol.checks import RULES
from tests.support.recordings import BOTH, doctored, greeted, rules, streamed, texts
from tests.support.tools import weather

pytestmark = pytest.mark.usefixtures("outside")

ROOT = Path(llmtest.__file__).parent.parent
EXAMPLES = runpy.run_path(str(ROOT / "docs/protocol_page.py"))["examples"]()
"""By rule, the program on the page of the protocol that breaks it."""


# -- each rule, in its words

BY_HAND = "code that calls a run manager by hand must call it as LangChain does; look at the model or chain named above"
IN_ITS_TIME = "wait for it before the parent returns, or give it a root of its own (callbacks=[])"

TEXTS = {
    "one end": f"""\
chain `unnamed` ended twice
  #0 on_chain_start `unnamed`
  #1 on_chain_end `unnamed`
  #2 on_chain_error `unnamed`: ValueError
  {BY_HAND}""",
    "token after the end": f"""\
1 token of chat `model` came after its end
  #1 on_llm_end `model`
  #2 on_llm_new_token `model`
  {BY_HAND}""",
    "end of another kind": f"""\
chain `unnamed` ended as another kind of run
  #0 on_chain_start `unnamed`
  #1 on_tool_end `unnamed`
  {BY_HAND}""",
    "event of another kind": f"""\
chain `unnamed` has events of another kind of run
  #0 on_chain_start `unnamed`
  #1 on_llm_new_token `unnamed`
  {BY_HAND}""",
    "tokens and answer differ": """\
the tokens of chat `model` do not make its answer
  #0 on_chat_model_start `model`
  #2 on_llm_end `model`
  the tokens  'Good bye'
  the answer  'Hello'
  a model must send each chunk once, in order, and answer with what it streamed""",
    "stream event out of order": """\
chat `model` streams an event out of order: `message-finish` before `message-start`
  #0 on_chat_model_start `model`
  #1 on_stream_event `model`
  a model with `_stream_chat_model_events` of its own must follow langchain_protocol.MessagesData""",
    "run id used twice": """\
2 runs have one id
  #0 on_chain_start `len`
  #2 on_chain_start `len`
  leave `run_id` out of a config that is used more than once""",
    "edited input": """\
chat `ScriptedChatModel` was given another input than callbacks were told
  #0 on_chat_model_start `ScriptedChatModel`
  let the handler edit a copy""",
    "unknown parent": """\
chain `unnamed` has a parent that this recording does not know
  #2 on_chain_start `unnamed`
  open the recording where the outermost run is called""",
    "two parents": f"""\
chain `unnamed` has events under another parent
  #0 on_chain_start `unnamed`
  #1 on_chain_end `unnamed`
  {BY_HAND}""",
    "child before its parent": f"""\
chain `unnamed` started before its parent
  #0 on_chain_start `unnamed` in unnamed
  #1 on_chain_start `unnamed`
  {BY_HAND}""",
    "child after its parent": f"""\
chain `unnamed` started after its parent had ended
  #1 on_chain_end `unnamed`
  #2 on_chain_start `unnamed` in unnamed
  {IN_ITS_TIME}""",
    "child outlives its parent": f"""\
chain `unnamed` ended after its parent
  #1 on_chain_start `unnamed` in unnamed
  #2 on_chain_end `unnamed`
  #3 on_chain_end `unnamed` in unnamed
  {IN_ITS_TIME}""",
    "run never ended": """\
chain `unnamed` never ended
  #0 on_chain_start `unnamed`
  wait for it inside the block; if it was cancelled, LangChain may have fired no end""",
    "event after the end": f"""\
1 event of chain `unnamed` came after its end
  #1 on_chain_end `unnamed`
  #2 on_text `unnamed`
  {IN_ITS_TIME}""",
    "tokens and text differ": """\
the tokens of llm `model` do not make its answer
  #0 on_llm_start `model`
  #2 on_llm_end `model`
  the tokens  'Hello '
  the answer  'Hello'
  a model should answer with what it streamed""",
    "tool call without a run": """\
chat `ScriptedChatModel` asked for tool `weather` (call id 'Rome'), and no tool run has this id
  #1 on_llm_end `ScriptedChatModel`
  run every call of an answer, or answer it with a ToolMessage: providers refuse a call without an answer""",
    "tool call run twice": """\
2 runs of tool `weather` answered one tool call (call id 'Paris')
  #2 on_tool_start `weather`
  #4 on_tool_start `weather`
  find the place that runs the tools of one answer twice""",
}
DOCTORED = {"event without a start", "time goes back", "unseen call"}
"""What no program does to a recording, and what needs the doubles' own books."""


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.name not in DOCTORED], ids=lambda rule: rule.name)
def test_the_example_of_a_rule_breaks_it_and_nothing_else(rule: Any) -> None:
    program = EXAMPLES[rule.name].removeprefix("```python\n").removesuffix("```")
    if "on_stream_event" in program and not hasattr(BaseChatModel, "stream_events"):
        pytest.skip("this langchain-core has no stream events")

    with record() as recording:
        exec(program, {})

    found = check(recording)

    assert [(one.code, one.level, one.text, one.deviation) for one in found] == [(rule.name, rule.level, TEXTS[rule.name], None)]
    assert set(found[0].witnesses) <= set(recording)


def test_every_rule_has_a_name_of_its_own_and_a_text_here() -> None:
    names = [rule.name for rule in RULES]

    assert len(set(names)) == len(names)
    assert set(names) == {*TEXTS, *DOCTORED}
    assert [rule.level for rule in RULES] == sorted(rule.level for rule in RULES)


def test_an_event_without_a_start_is_impossible() -> None:
    recording = doctored(greeted(), lambda raw: raw.pop(3))

    assert texts(recording) == [
        """\
a run that never started has events without a start
  #3 on_llm_new_token
  #4 on_llm_new_token
  #5 on_llm_end
  the recording lost a start, or its order; record the program again"""
    ]


def test_an_event_before_its_start_is_impossible() -> None:
    def swap(raw: list[RawEvent]) -> None:
        raw[3], raw[4] = raw[4], raw[3]

    recording = doctored(greeted(), swap)

    assert texts(recording)[0] == (
        """\
chat `ScriptedChatModel` has events before its start
  #3 on_llm_new_token `ScriptedChatModel` in greet
  #4 on_chat_model_start `ScriptedChatModel` in greet
  the recording lost a start, or its order; record the program again"""
    )


def test_time_that_goes_back_is_unusual() -> None:
    def swap(raw: list[RawEvent]) -> None:
        raw[4], raw[5] = raw[5], raw[4]

    found = check(doctored(greeted(), swap))

    thread = threading.current_thread().name
    assert (found[1].code, found[1].level) == ("time goes back", "unusual")
    assert found[1].text == (
        f"""\
time goes back in thread `{thread}`
  #4 on_llm_new_token `ScriptedChatModel` in greet
  #5 on_llm_new_token `ScriptedChatModel` in greet
  the order of the recording is not the order in which its callbacks fired"""
    )


def test_each_call_that_no_recording_saw_is_told_with_its_place_and_its_cause() -> None:
    with record() as recording:
        pass
    bare = UnseenCall("the scripted chat model", "app.py:12", "Thread-1", "no context")
    recording.unseen_calls.extend([bare, UnseenCall("the tool `search`", "app.py:20", "MainThread", "no callbacks"), bare])

    found = check(recording)

    assert [(one.code, one.level) for one in found] == [("unseen call", "impossible")] * 2
    assert [one.text for one in found] == [
        """\
2 calls of the scripted chat model happened that the recording did not see
  called at app.py:12 in thread `Thread-1`: its thread was started without the context of its starter
  start it with carry_context(target), RunnableParallel, batch or asyncio.to_thread, or say `llmtest_follow = test`
  no snapshot or assertion of this recording can see the call""",
        """\
1 call of the tool `search` happened that the recording did not see
  called at app.py:20 in thread `MainThread`: it was called past LangChain's callbacks
  pass `config` on, call .invoke() and not .generate(), .run() or ._call(), and give no callbacks=[]
  no snapshot or assertion of this recording can see the call""",
    ]


def test_a_known_deviation_is_unusual_and_says_whose_it_is() -> None:
    search = ScriptedRetriever(fail(KeyboardInterrupt))

    with record() as recording, pytest.raises(KeyboardInterrupt):
        search.invoke("Paris")

    found = check(recording)

    assert [(one.level, one.deviation) for one in found] == [("unusual", "cancelled retriever")]
    assert found[0].text == (
        """\
retriever `ScriptedRetriever` never ended
  #0 on_retriever_start `ScriptedRetriever`
  known: langchain-core fires no end of a retriever that is cancelled, or raises KeyboardInterrupt or SystemExit \
(not reported yet)"""
    )


# -- tokens and answers


@pytest.mark.parametrize("answer", [ChatGeneration(message=AIMessage("Hi")), Generation(text="Hi")])
@pytest.mark.parametrize("tokens", [["Hi", " "], ["\n", "Hi"], [" ", "Hi", "\n"]])
def test_an_answer_that_is_stripped_is_unusual_for_every_model(tokens: list[Any], answer: Any) -> None:
    found = check(streamed(tokens, answer))

    assert [(broken.code, broken.level) for broken in found] == [("tokens and text differ", "unusual")]


def test_only_text_is_compared_with_tokens() -> None:
    blocks = [{"type": "text", "text": "a"}]
    answer = ChatGeneration(message=AIMessage("ab"))

    assert rules(streamed(["a", "b", ""], answer)) == []
    assert rules(streamed(["a"], answer)) == ["tokens and answer differ"]
    assert rules(streamed([blocks, "b"], answer)) == []
    assert rules(streamed(["a"], ChatGeneration(message=AIMessage(blocks)))) == []
    assert rules(streamed(["a"], answer, answer)) == []
    assert rules(streamed(["a"], Generation(text="a"))) == []
    assert rules(streamed(["a"], Generation(text="b"))) == ["tokens and text differ"]


def test_a_model_that_failed_has_no_answer_to_compare() -> None:
    with record() as recording, pytest.raises(ValueError, match="no"):
        list(ScriptedChatModel(say("a", "b").then_fail(ValueError("no"))).stream("hi"))

    assert check(recording) == []


# -- tool calls


def asked_and_run(answer: Any, run: Callable[[AIMessage], Any]) -> list[str]:
    """The rules that a chain breaks which asks a model and then runs some of the calls of its answer."""
    model = answer if isinstance(answer, Runnable) else ScriptedChatModel(answer).bind_tools([weather])

    with record() as recording:
        RunnableLambda(lambda question: run(model.invoke(question))).invoke("How warm is it?")
    return rules(recording)


def first_call(answer: AIMessage) -> Any:
    return weather.invoke(answer.tool_calls[0])


def test_a_call_of_an_answer_that_is_left_out_is_unusual() -> None:
    assert asked_and_run(reply(*BOTH), first_call) == ["tool call without a run"]


class Report(BaseModel):
    """A report of the weather."""

    text: str


STRUCTURED: dict[str, Callable[[], Runnable[Any, Any]]] = {
    "with_structured_output": lambda: ScriptedChatModel(structured({"text": "warm"})).with_structured_output(Report),
    "a dict": lambda: ScriptedChatModel(structured({"text": "warm"})).with_structured_output(Report.model_json_schema()),
    "raw": lambda: ScriptedChatModel(structured({"text": "warm"})).with_structured_output(Report, include_raw=True),
    "parser": lambda: ScriptedChatModel(call("Report", text="warm")).bind_tools([Report]) | PydanticToolsParser(tools=[Report]),
    "tool_choice": lambda: ScriptedChatModel(call("Report", text="warm")).bind_tools([Report], tool_choice="Report"),
}


@pytest.mark.parametrize("how", ["invoke", "stream", "batch", "ainvoke"])
@pytest.mark.parametrize("made", STRUCTURED.values(), ids=STRUCTURED)
def test_structured_output_beside_a_tool_run_is_lawful(made: Callable[[], Runnable[Any, Any]], how: str) -> None:
    ways: dict[str, Callable[[Runnable[Any, Any]], Any]] = {
        "invoke": lambda runnable: runnable.invoke("report"),
        "stream": lambda runnable: list(runnable.stream("report")),
        "batch": lambda runnable: runnable.batch(["report"]),
        "ainvoke": lambda runnable: asyncio.run(runnable.ainvoke("report")),
    }

    assert asked_and_run(call("weather", city="Paris"), lambda answer: (first_call(answer), ways[how](made()))) == []


def test_a_call_whose_text_is_parsed_is_unusual_all_the_same() -> None:
    def drops(answer: AIMessage) -> Any:
        asks = ScriptedChatModel(reply("hm", call("weather", city="Rome"))).bind_tools([weather])
        return first_call(answer), (asks | StrOutputParser()).invoke("and Rome?")

    assert asked_and_run(call("weather", city="Paris"), drops) == ["tool call without a run"]


def test_calls_that_no_tool_runs_are_the_program_s_own() -> None:
    assert asked_and_run(reply(*BOTH), lambda answer: answer.content) == []


def test_a_call_in_a_program_that_runs_tools_is_unusual() -> None:
    assert asked_and_run(BOTH[0], lambda answer: weather.invoke({**answer.tool_calls[0], "id": "another"})) == [
        "tool call without a run"
    ]


def test_a_call_that_the_program_answers_by_itself_is_lawful() -> None:
    def answer_the_second(answer: AIMessage) -> Any:
        return [first_call(answer), ToolMessage("not now", tool_call_id=answer.tool_calls[1]["id"])]

    def answer_in_a_dict(answer: AIMessage) -> Any:
        return {"messages": answer_the_second(answer)}

    assert asked_and_run(reply(*BOTH), answer_the_second) == []
    assert asked_and_run(reply(*BOTH), answer_in_a_dict) == []


def test_a_call_of_an_unknown_tool_or_without_arguments_in_json_is_lawful() -> None:
    unknown = reply(BOTH[0], call("flights", city="Rome")).unchecked()
    paris, rome = {"name": "weather", "args": {"city": "Paris"}, "id": "1"}, {"name": "weather", "args": "{city: Rome", "id": "2"}
    garbled = AIMessage("", tool_calls=[paris], invalid_tool_calls=[{**rome, "error": None}])

    assert asked_and_run(unknown, first_call) == []
    assert asked_and_run(FakeMessagesListChatModel(responses=[garbled]), first_call) == []


def test_a_call_in_a_program_that_failed_is_lawful() -> None:
    def run(answer: AIMessage) -> Any:
        first_call(answer)
        raise ValueError("no time for the second")

    model = ScriptedChatModel(reply(*BOTH)).bind_tools([weather])

    with record() as recording, pytest.raises(ValueError, match="no time"):
        RunnableLambda(lambda question: run(model.invoke(question))).invoke("How warm is it?")

    assert check(recording) == []


def test_a_call_that_is_asked_for_twice_may_run_twice() -> None:
    same = call("weather", city="Paris").with_id("call_7")
    model = ScriptedChatModel(same.times(2)).bind_tools([weather])

    with record() as recording:
        for _ in range(2):
            first_call(model.invoke("How warm is it?"))

    assert check(recording) == []


def test_a_tool_that_was_called_by_hand_any_number_of_times_is_lawful() -> None:
    with record() as recording:
        for _ in range(2):
            weather.invoke({"name": "weather", "args": {"city": "Paris"}, "id": "by hand", "type": "tool_call"})
            weather.invoke({"city": "Paris"})

    assert check(recording) == []
