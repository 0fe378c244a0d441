"""What `check` calls broken, and in which words; and what it must never call broken."""

from __future__ import annotations

import asyncio
import contextlib
import runpy
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager, dispatch_custom_event
from langchain_core.language_models import BaseChatModel, FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_core.tools import tool

import llmtest
from llmtest import Recording, ScriptedChatModel, ScriptedRetriever, call, fail, record, reply, say
from llmtest.capture.blocks import RawEvent
from llmtest.events import Event, UnseenCall
from llmtest.ledger import Outside, opened
from llmtest.protocol import check
from llmtest.protocol.checks import RULES
from llmtest.protocol.stream_v3 import ungrammatical
from llmtest.scripts import give

ROOT = Path(llmtest.__file__).parent.parent
EXAMPLES = runpy.run_path(str(ROOT / "docs/protocol_page.py"))["examples"]()
"""By rule, the program on the page of the protocol that breaks it."""


@pytest.fixture(autouse=True)
def page() -> Iterator[None]:
    """The page of a test that breaks the protocol on purpose would fail it."""
    with opened(Outside()):
        yield


def doctored(recording: Recording, change: Callable[[list[RawEvent]], Any]) -> Recording:
    """A closed recording whose raw events are those of `recording`, after `change` has been at them."""
    copy = Recording()
    copy._raw.extend(recording._raw)
    change(copy._raw)
    copy.close()
    return copy


def rules(recording: Recording) -> list[str]:
    return [one.code for one in check(recording)]


def texts(recording: Recording) -> list[str]:
    return [one.text for one in check(recording)]


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"18C in {city}"


def greeted() -> Recording:
    """A chain of a function and a chat model that streams."""
    chain = RunnableLambda(str).with_config(run_name="read") | ScriptedChatModel(say("Hel", "lo"), streaming=True)
    with record() as recording:
        chain.with_config(run_name="greet").invoke("hi")
    return recording


# -- each rule, in its words

BY_HAND = "whoever calls the run manager by hand must call it as LangChain does; look at the model or chain that is named"
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
  a model must tell each chunk once, in order, and answer with what it streamed""",
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
  wait for it inside the block; if it was cancelled, LangChain may have told no end""",
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
  find out who runs the tools of one answer twice""",
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
a run that never started was told of without a start
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
chat `ScriptedChatModel` was told of before its start
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
    recording.unseen_calls += [bare, UnseenCall("the tool `search`", "app.py:20", "MainThread", "no callbacks"), bare]

    found = check(recording)

    assert [(one.code, one.level) for one in found] == [("unseen call", "impossible")] * 2
    assert [one.text for one in found] == [
        """\
2 calls of the scripted chat model happened that the recording did not see
  called at app.py:12 in thread `Thread-1`: its thread was started without the context of its starter
  start it with carry_context(target), RunnableParallel, batch or asyncio.to_thread, or say `llmtest_follow = test`
  what the recording did not see, no snapshot or assertion of it can tell""",
        """\
1 call of the tool `search` happened that the recording did not see
  called at app.py:20 in thread `MainThread`: it was called past LangChain's callbacks
  pass `config` on, call .invoke() and not .generate(), .run() or ._call(), and give no callbacks=[]
  what the recording did not see, no snapshot or assertion of it can tell""",
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
  known: langchain-core tells no end of a retriever that is cancelled, or raises KeyboardInterrupt or SystemExit \
(not reported yet)"""
    )


# -- the evidence


def test_evidence_has_at_most_twenty_lines() -> None:
    def repeat_the_end(raw: list[RawEvent]) -> None:
        raw += [raw[-1]] * 30

    found = texts(doctored(greeted(), repeat_the_end))

    lines = found[0].split("\n")
    assert (lines[0], len(lines)) == ("chain `greet` ended 31 times", 22)
    assert lines[18:21] == ["  #23 on_chain_end `greet`", "  ... 13 more lines", "  #37 on_chain_end `greet`"]


def test_a_deep_run_is_shown_with_the_four_runs_around_it() -> None:
    def nested(depth: int) -> Runnable[Any, Any]:
        inner: Runnable[Any, Any] = nested(depth - 1) if depth else RunnableLambda(lambda _: CallbackManager.configure())
        return RunnableLambda(lambda value: inner.invoke(value)).with_config(run_name=f"level {depth}")

    with record() as recording:
        nested(6).invoke("hi")
    found = texts(doctored(recording, lambda raw: raw.pop(8)))

    assert found[0].split("\n")[1] == "  #7 on_chain_start `RunnableLambda` in ... > level 3 > level 2 > level 1 > level 0"


def test_long_tokens_are_cut() -> None:
    recording = streamed(["x" * 99], ChatGeneration(message=AIMessage("no")))

    assert f"  the tokens  {'x' * 64!r} ... {'x' * 16!r} (99 characters)" in texts(recording)[0].split("\n")


# -- the page about them


def test_the_page_shows_the_tables_as_they_are() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "protocol_page.py"))

    assert page["PAGE"].read_text("utf-8") == page["rendered"](), "run: python docs/protocol_page.py"


# -- what is lawful


def test_a_correct_program_breaks_no_rule() -> None:
    assert check(greeted()) == []


def test_an_empty_recording_breaks_no_rule() -> None:
    assert check(Recording()) == []


def test_events_after_the_block_has_closed_are_lawful() -> None:
    with record() as recording:
        stream = (RunnableLambda(str) | ScriptedChatModel(say("a", "b"))).stream("hi")
        next(stream)
    list(stream)

    assert recording.late_events
    assert check(recording) == []


def test_a_recording_that_is_opened_within_a_run_has_a_lawful_root() -> None:
    caught: list[Recording] = []

    def inside(text: str) -> str:
        with record() as recording:
            RunnableLambda(str).invoke(text)
            RunnableLambda(len).invoke(text)
        caught.append(recording)
        return text

    with record():
        RunnableLambda(inside).invoke("hi")

    assert caught[0][0].parent_run_id is not None
    assert check(caught[0]) == []


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_stream_that_is_closed_early_is_lawful(chunks: int) -> None:
    chain = RunnableLambda(str) | ScriptedChatModel(say("a", "b", "c"))

    with record() as recording:
        stream = chain.stream("hi")
        for _ in range(chunks):
            next(stream)
        stream.close()

    assert check(recording) == []


def test_an_async_stream_that_is_closed_early_is_lawful() -> None:
    async def main() -> None:
        stream = (RunnableLambda(str) | ScriptedChatModel(say("a", "b", "c"))).astream("hi")
        await anext(stream)
        await stream.aclose()

    with record() as recording:
        asyncio.run(main())

    assert check(recording) == []


def test_tokens_that_a_thread_delivers_after_its_stream_was_cancelled_are_unusual_only() -> None:
    with record() as recording:
        (run,) = CallbackManager.configure().on_llm_start({"name": "model"}, ["hi"])
        run.on_llm_error(asyncio.CancelledError())
        run.on_llm_new_token("late")

    assert [(one.code, one.level) for one in check(recording)] == [("event after the end", "unusual")]


def test_one_run_id_for_two_runs_one_after_the_other_breaks_no_other_rule() -> None:
    shared: Any = {"run_id": UUID(int=7)}
    model = ScriptedChatModel(say("a", "b"), say("c"), streaming=True)

    with record() as recording:
        RunnableLambda(len).invoke("hi", shared)
        model.invoke("hi", {"run_id": UUID(int=7)})
        RunnableLambda(lambda text: model.invoke(text)).invoke("hi", {"run_id": UUID(int=7)})

    assert rules(recording) == ["run id used twice"]


def test_one_run_id_for_two_runs_under_two_parents_breaks_no_other_rule() -> None:
    def inside(value: str) -> int:
        return RunnableLambda(len).invoke(value, {"run_id": UUID(int=7)})

    with record() as recording:
        RunnableLambda(inside).invoke("hi")
        RunnableLambda(inside).invoke("hi")

    assert rules(recording) == ["run id used twice"]


def test_custom_events_have_no_parent_and_that_is_lawful() -> None:
    inner = RunnableLambda(lambda value: dispatch_custom_event("note", value))

    with record() as recording:
        RunnableLambda(lambda value: inner.invoke(value)).invoke("hi")

    assert "on_custom_event" in recording.kinds
    assert check(recording) == []


def test_agent_events_belong_to_chains() -> None:
    from langchain_core.agents import AgentFinish
    from langchain_core.callbacks import CallbackManagerForChainRun

    with record() as recording:
        run = CallbackManager.configure().on_tool_start({"name": "weather"}, "Paris")
        chain = CallbackManagerForChainRun(run_id=run.run_id, handlers=run.handlers, inheritable_handlers=[])
        chain.on_agent_finish(AgentFinish({}, ""))
        run.on_tool_end("18C")
        other = CallbackManager.configure().on_tool_start({"name": "weather"}, "Paris")
        other.on_text("a text may come anywhere")
        other.on_tool_end("18C")

    assert rules(recording) == ["event of another kind"]


def test_a_run_that_starts_when_its_parent_was_interrupted_is_lawful() -> None:
    class GraphInterrupt(Exception):
        __module__ = "langgraph.errors"

    class GraphBubbleUp(GraphInterrupt):
        __module__ = "langgraph.errors"

    with record() as recording:
        run = CallbackManager.configure().on_chain_start(None, {})
        run.on_chain_error(GraphBubbleUp())
        run.get_child().on_chain_start(None, {}).on_chain_end({})

    assert check(recording) == []


# -- tokens and answers


def streamed(tokens: list[Any], *generations: ChatGeneration | Generation) -> Recording:
    manager = CallbackManager
    with record() as recording:
        if isinstance(generations[0], ChatGeneration):
            (run,) = manager.configure().on_chat_model_start({"name": "model"}, [[]])
        else:
            (run,) = manager.configure().on_llm_start({"name": "model"}, ["hi"])
        for token in tokens:
            run.on_llm_new_token(token)
        run.on_llm_end(LLMResult(generations=[list(generations)]))
    return recording


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


# -- stream events


def test_the_grammar_of_stream_events() -> None:
    start, finish = {"event": "message-start"}, {"event": "message-finish"}

    def block(what: str, index: int = 0, **more: Any) -> dict[str, Any]:
        return {"event": f"content-block-{what}", "index": index, **more}

    def delta(text: str, index: int = 0) -> dict[str, Any]:
        return block("delta", index, delta={"type": "text-delta", "text": text})

    def done(text: str, index: int = 0) -> dict[str, Any]:
        return block("finish", index, content={"type": "text", "text": text})

    two = [start, block("start"), delta("a"), block("start", 1), delta("c", 1), delta("b"), done("ab"), done("c", 1), finish]
    data = block("delta", delta={"type": "data-delta", "data": "x"})
    lawful = {
        "nothing": [],
        "two blocks side by side": two,
        "given up in a block": two[:4],
        "no deltas": [start, block("start"), done("whole"), finish],
        "more than text": [start, block("start"), data, done("ab"), finish],
        "finished as another kind of block": [start, block("start"), delta("{}"), block("finish", content={"type": "tool_call"})],
        "an error": [start, {"event": "error", "message": "no"}],
    }
    unlawful = {
        "a second `message-start`": [start, start],
        "`content-block-start` before `message-start`": [block("start")],
        "`content-block-delta` after `message-finish`": [start, finish, delta("a")],
        "`message-finish` while block 3 is open": [start, block("start", 3), finish],
        "block 0 starts twice": [start, block("start"), block("start")],
        "`content-block-delta` of block 0, which is not open": [start, delta("a")],
        "`content-block-finish` of block 1, which is not open": [start, block("start"), done("a", 1)],
        "the deltas of block 0 make 'a', but it finishes as 'b'": [start, block("start"), delta("a"), done("b")],
        f"the deltas of block 0 make {'a' * 64!r} ... {'a' * 16!r} (81 characters), but it finishes as 'b'": [
            start,
            block("start"),
            delta("a" * 81),
            done("b"),
        ],
        "`None` before `message-start`": ["no event"],
    }

    def read(events: list[Any]) -> str | None:
        from llmtest.events import FrozenDict

        found = ungrammatical([Event("on_stream_event", UUID(int=1), None, "m", payload=FrozenDict(event=e)) for e in events])
        return found[1] if found else None

    assert {name: read(events) for name, events in lawful.items()} == dict.fromkeys(lawful)
    assert [read(events) for events in unlawful.values()] == list(unlawful)


# -- tool calls


def asked_and_run(answer: Any, run: Callable[[AIMessage], Any]) -> list[str]:
    """The rules that a chain breaks which asks a model and then runs some of the calls of its answer."""
    model = answer if isinstance(answer, Runnable) else ScriptedChatModel(answer).bind_tools([weather])

    with record() as recording:
        RunnableLambda(lambda question: run(model.invoke(question))).invoke("How warm is it?")
    return rules(recording)


def first_call(answer: AIMessage) -> Any:
    return weather.invoke(answer.tool_calls[0])


BOTH = (call("weather", city="Paris"), call("weather", city="Rome"))


def test_a_call_of_an_answer_that_is_left_out_is_unusual() -> None:
    assert asked_and_run(reply(*BOTH), first_call) == ["tool call without a run"]


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


# -- any recording


@given(st.lists(st.integers(0, 7), max_size=20))
@settings(deadline=None)
def test_a_recording_of_any_events_in_any_order_is_checked(numbers: list[int]) -> None:
    raw = greeted()._raw
    recording = doctored(Recording(), lambda events: events.extend(raw[number] for number in numbers))

    found = check(recording)

    assert {witness.number for one in found for witness in one.witnesses} <= set(range(len(numbers)))


# -- cost


def test_check_takes_one_pass_whatever_the_shape() -> None:
    deep = Recording()
    ids = [uuid4() for _ in range(5_000)]
    nothing = lambda: {"payload": {}, "metadata": {}}  # noqa: E731
    for parent, run_id in zip([None, *ids], ids, strict=False):
        deep._raw.append(("on_chain_start", run_id, parent, ("deep", (), nothing), 0, 0, None))

    found = check(deep)  # quadratic, this would take minutes

    assert [one.code for one in found] == ["run never ended"] * 5_000


# -- random programs


class Plain(BaseCallbackHandler):
    """A handler of the most ordinary kind: it notes every callback."""

    run_inline = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, UUID]] = []


def _note(kind: str) -> Callable[..., None]:
    def method(self: Plain, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        self.seen.append((kind, run_id))

    return method


ENDINGS = [f"on_{kind}_{end}" for kind in ("chain", "llm", "tool", "retriever") for end in ("start", "end", "error")]
for name in [*ENDINGS, "on_chat_model_start", "on_llm_new_token", "on_custom_event", "on_text", "on_retry"]:
    setattr(Plain, name, _note(name))


@dataclass(frozen=True)
class Program:
    """A small program: what it is, and what it is made of."""

    kind: str
    parts: tuple[Program, ...] = ()

    def build(self) -> Runnable[Any, Any]:
        return BUILDERS[self.kind](*[part.build() for part in self.parts])


def _fails(value: Any) -> Any:
    raise ValueError("as it must")


def _tells(value: Any) -> Any:
    dispatch_custom_event("note", "a note")
    return value


def _asks(model: Any) -> Runnable[Any, Any]:
    def turn(value: Any) -> Any:
        answer = model.invoke(str(value))
        return [weather.invoke(one) for one in answer.tool_calls]

    return RunnableLambda(turn)


def _nested(inner: Runnable[Any, Any]) -> Runnable[Any, Any]:
    def sync(value: Any) -> Any:
        return inner.invoke(value)

    async def on_loop(value: Any) -> Any:
        return await inner.ainvoke(value)

    return RunnableLambda(sync, on_loop)


BUILDERS: dict[str, Callable[..., Runnable[Any, Any]]] = {
    "text": lambda: RunnableLambda(str),
    "fail": lambda: RunnableLambda(_fails),
    "tell": lambda: RunnableLambda(_tells),
    "model": lambda: RunnableLambda(str) | ScriptedChatModel(say("a", "b", "c").repeat().optional()),
    "streaming": lambda: RunnableLambda(str) | ScriptedChatModel(say("a", "b").repeat().optional(), streaming=True),
    "broken model": lambda: RunnableLambda(str) | ScriptedChatModel(fail(ValueError("no")).repeat().optional()),
    "breaks off": lambda: RunnableLambda(str) | ScriptedChatModel(say("a", "b").then_fail(ValueError("x")).repeat().optional()),
    "retriever": lambda: RunnableLambda(str) | ScriptedRetriever(give(["a document"]).repeat().optional()),
    "tool": lambda: RunnableLambda(lambda value: {"city": str(value)}) | weather,
    "tools": lambda: _asks(ScriptedChatModel(reply(*BOTH).repeat().optional()).bind_tools([weather])),
    "sequence": lambda *parts: parts[0] | parts[1],
    "parallel": lambda *parts: RunnableParallel(a=parts[0], b=parts[1]),
    "fallback": lambda *parts: parts[0].with_fallbacks([parts[1]]),
    "retry": lambda *parts: parts[0].with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
    "nested": _nested,
}
LEAVES = ("text", "fail", "tell", "model", "streaming", "broken model", "breaks off", "retriever", "tool", "tools")
programs = st.recursive(
    st.sampled_from(LEAVES).map(Program),
    lambda inner: (
        st.tuples(st.sampled_from(["sequence", "parallel", "fallback"]), st.tuples(inner, inner))
        | st.tuples(st.sampled_from(["retry", "nested"]), st.tuples(inner))
    ).map(lambda given: Program(*given)),
    max_leaves=5,
)
FAILURES = (ValueError, TypeError)
"""What a random program may raise: its own failures, and what a function makes of what another one gives it."""


def run(runnable: Runnable[Any, Any], how: str, chunks: int, config: Any) -> None:
    if how == "invoke":
        runnable.invoke("hi", config)
    elif how == "batch":
        runnable.batch(["one", "two"], config)
    else:
        stream = runnable.stream("hi", config)
        for _, _ in zip(range(chunks), stream, strict=False):
            pass
        stream.close()


async def arun(runnable: Runnable[Any, Any], how: str, chunks: int, config: Any) -> None:
    if how == "invoke":
        await runnable.ainvoke("hi", config)
    elif how == "batch":
        await runnable.abatch(["one", "two"], config)
    else:
        stream = runnable.astream("hi", config)
        async for _ in stream:
            chunks -= 1
            if chunks <= 0:
                break
        await stream.aclose()


async def cut_off(work: Any, steps: int | None) -> None:
    """Runs `work` to its end, or cancels it after some steps of the loop."""
    # RunnableParallel drops the tasks of its branches when a stream fails; asyncio would log each to stderr.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    task = asyncio.ensure_future(work)
    for _ in range(steps or 0):
        await asyncio.sleep(0)
    if steps is not None:
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert isinstance(task.exception(), (*FAILURES, type(None)))


def assert_sound(recording: Recording, plain: Plain, excused: tuple[str, ...] = ()) -> None:
    if _told(recording) != Counter(plain.seen):  # a thread that a failing program left behind may be about to tell
        recording.settle()
    assert _told(recording) == Counter(plain.seen)
    found = [one for one in check(recording) if one.code not in excused]
    assert [one.text for one in found if one.level == "impossible"] == []


def _told(recording: Recording) -> Counter[tuple[str, UUID]]:
    return Counter((event.kind, event.run_id) for event in (*recording, *recording.late_events))


ways = st.sampled_from(["invoke", "batch", "stream"])


@given(programs, ways, st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_random_program_never_does_what_is_impossible_and_loses_no_event(program: Program, how: str, chunks: int) -> None:
    plain = Plain()

    with record() as recording, contextlib.suppress(*FAILURES):
        run(program.build(), how, chunks, {"callbacks": [plain]})

    assert_sound(recording, plain)


@given(programs, ways, st.integers(0, 5), st.none() | st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_random_async_program_cancelled_anywhere_never_does_what_is_impossible_and_loses_no_event(
    program: Program, how: str, chunks: int, steps: int | None
) -> None:
    plain = Plain()

    with record() as recording:
        asyncio.run(cut_off(arun(program.build(), how, chunks, {"callbacks": [plain]}), steps))

    assert_sound(recording, plain)
