"""Each kind of fault, and the calls that can have it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmtest.campaigns.calls import Call, CallKey
from llmtest.campaigns.kinds import (
    HUGE_CHARACTERS,
    Done,
    Fault,
    Interrupted,
    answer_of,
    check_chunks,
    check_kinds,
    faults_at,
    faults_of_program,
    kind_names,
    plan,
)
from llmtest.errors import CampaignError
from llmtest.events.words import FrozenDict, ToolCall
from llmtest.scripts.answering import Injected
from llmtest.scripts.step_types import Call as SaidCall
from llmtest.scripts.step_types import Reply

CHAT = Call(CallKey("chat", ("agent",), "model", "a1", 1), "model#1", "It is 18C today")
STREAMED = replace(CHAT, tokens=("It", " is", " 18C", " today"))
ASKS = replace(CHAT, text="", tool_calls=(ToolCall("search", FrozenDict(q="x")), ToolCall("book", FrozenDict())))
TOOL = Call(CallKey("tool", ("agent",), "search", "b2", 1), "search#2", "found")
RETRIEVER = Call(CallKey("retriever", (), "docs", "c3", 1), "docs#1", "Cats purr.")
TEXT = Call(CallKey("llm", (), "text", "d4", 1), "text#1", "Hello")
OF_EVERY_MODEL = [
    ("rate limit", "fail(429)"),
    ("rate limit with retry-after", "fail(429, retry_after=2)"),
    ("server error", "fail(500)"),
    ("timeout", "fail('TimeoutError', message='the model timed out')"),
    ("connection reset", "fail('ConnectionResetError', message='connection reset by peer')"),
    ("context too long", "fail(400, message='the prompt is too long: maximum context length exceeded')"),
]
OF_EVERY_CHAT = [
    *OF_EVERY_MODEL,
    ("content filter", "say().unchecked()"),
    ("refusal", "say(\"I'm\", ' sorry', ',', ' but', ' I', ' can', ...).unchecked()"),
    ("empty answer", "say().unchecked()"),
]


def steps(call: Call) -> list[tuple[str, str]]:
    return [(f.words, str(f.act.step)) for f in faults_at([call], kind_names()) if isinstance(f.act, Injected)]


def test_faults_of_a_chat_model_that_says_text() -> None:
    found = dict(steps(CHAT))

    assert found.pop("refusal").startswith("say(")
    assert found == dict([row for row in OF_EVERY_CHAT if row[0] != "refusal"]) | {
        "answers cut by length": "say('It', ' is', ' 18').unchecked()"
    }


def test_faults_of_a_stream() -> None:
    broken = ".then_fail('ConnectionResetError', message='the stream broke off').unchecked()"

    assert [row for row in steps(STREAMED) if row[0].startswith("stream")] == [
        ("stream cut after chunk 1", f"say('It'){broken}"),
        ("stream cut after chunk 2", f"say('It', ' is'){broken}"),
        ("stream cut after chunk 3", f"say('It', ' is', ' 18C'){broken}"),
        ("stream cut after chunk 4", f"say('It', ' is', ' 18C', ' today'){broken}"),
    ]


def test_a_streamed_tool_call_breaks_after_each_piece_of_its_arguments() -> None:
    calls = (ToolCall("search", FrozenDict(q="x")), ToolCall("book", FrozenDict()))
    streamed = replace(CHAT, tokens=("It",), tool_calls=calls, is_streamed=True)

    cuts = [fault.act.step for fault in faults_at([streamed], ["stream cut"]) if isinstance(fault.act, Injected)]

    pieces = [[part.pieces for part in step.parts if isinstance(part, SaidCall)] for step in cuts if isinstance(step, Reply)]
    assert pieces[0] == []
    assert pieces[1] == [("{",)]
    whole = ("{", '"', "q", '"', ":", ' "', "x", '"', "}")
    assert pieces[9:] == [[whole], [(), ("{",)], [(), ("{", "}")]]
    assert all(isinstance(step, Reply) and step.text == "It" and step.failure for step in cuts)


LONG = replace(CHAT, tokens=tuple("abcdefghij"))


@pytest.mark.parametrize(
    ("chunks", "numbers", "left_out"),
    [
        (3, [1, 5, 10], ('stream cut at 3 of 10 chunks of `model#1`; chunks="all" takes each',)),
        (1, [1], ('stream cut at 1 of 10 chunks of `model#1`; chunks="all" takes each',)),
        (10, [*range(1, 11)], ()),
        (None, [*range(1, 11)], ()),
    ],
)
def test_long_streams_are_cut_at_some_chunks_and_it_is_said(chunks, numbers, left_out) -> None:
    faults, said = plan([LONG], {}, ["stream cut"], chunks)

    assert [fault.words for fault in faults] == [f"stream cut after chunk {number}" for number in numbers]
    assert said == left_out


def test_a_consumer_leaves_a_long_stream_at_some_chunks_and_other_moments_stay() -> None:
    faults, said = plan([], {"chunk": 9, "await": 9}, kind_names(), 2)

    assert [str(fault) for fault in faults if fault.kind == "consumer stops"] == [
        "chunk#1 consumer stops",
        "chunk#9 consumer stops",
    ]
    assert len([fault for fault in faults if fault.kind == "cancelled"]) == 9
    assert said == ('consumer stops at 2 of 9 chunks; chunks="all" takes each',)


@pytest.mark.parametrize("chunks", [0, -1, "alll", 2.5, True, None])
def test_a_wrong_number_of_chunks_is_refused(chunks) -> None:
    with pytest.raises(CampaignError) as caught:
        check_chunks(chunks)

    assert str(caught.value) == f'chunks= is a whole number of 1 or more, or "all"; got {chunks!r}'


def test_faults_of_an_answer_that_calls_tools() -> None:
    assert [row for row in steps(ASKS) if row not in OF_EVERY_CHAT and row[0] != "refusal"] == [
        ("answers cut by length", "call('search', q='x').malformed('{\"q\":').unchecked()"),
        ("malformed arguments", "call('search', q='x').malformed('{\"q\":').unchecked()"),
        ("calls an unknown tool", "call('search_unknown', q='x').unchecked()"),
        ("wrong argument type", "call('search', q=['wrong', 'type']).unchecked()"),
        ("calls search twice", "reply(call('search', q='x'), call('book'), call('search', q='x')).unchecked()"),
    ]
    assert [f.words for f in faults_at([ASKS], kind_names()) if isinstance(f.act, Injected) and f.act.takes_step] == [
        "calls search twice"
    ]


def test_an_argument_of_another_type_has_another_type_whatever_it_was() -> None:
    listed = replace(ASKS, tool_calls=(ToolCall("search", FrozenDict(q=["x"])),))
    text = replace(ASKS, tool_calls=(ToolCall("search", "{broken"),))

    assert dict(steps(listed))["wrong argument type"] == "call('search', q=7).unchecked()"
    assert "wrong argument type" not in dict(steps(text))


def test_faults_of_a_text_model() -> None:
    assert steps(TEXT) == [*OF_EVERY_MODEL, ("empty answer", "say().unchecked()")]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            TOOL,
            [
                *("raises RuntimeError", "raises TimeoutError", "returns nothing", "returns an empty text"),
                *("returns a huge text", "returns an error text", "raises RuntimeError after its effect"),
            ],
        ),
        (RETRIEVER, ["raises RuntimeError", "raises TimeoutError", "finds nothing"]),
    ],
)
def test_faults_of_a_tool_and_a_retriever(call, words) -> None:
    assert [fault.words for fault in faults_at([call], kind_names())] == words


def test_what_a_tool_does_under_a_fault() -> None:
    acts = {fault.words: fault.act for fault in faults_at([TOOL], kind_names())}

    error, after, huge = (acts[w] for w in ("raises TimeoutError", "raises RuntimeError after its effect", "returns a huge text"))
    assert isinstance(error, Done)
    assert isinstance(after, Done)
    assert isinstance(huge, Done)
    assert error.error is not None
    assert repr(error.error()) == "TimeoutError('fault: search#2 raises TimeoutError')"
    assert (error.runs_body, after.runs_body) == (False, True)
    assert huge.value == "x" * HUGE_CHARACTERS


def test_a_fault_is_named_by_its_call() -> None:
    (fault,) = faults_at([TOOL], ["nothing"])

    assert str(fault) == "search#2 returns nothing"
    assert fault == Fault(TOOL, "nothing", "returns nothing", Done())


def test_faults_of_a_program_are_at_its_moments() -> None:
    found = faults_of_program({"await": 2, "checkpoint of step 1": 1, "chunk": 1}, ["cancelled", "killed and resumed"])

    assert [(str(fault), fault.kind, fault.act) for fault in found] == [
        ("await#1 cancelled", "cancelled", Interrupted()),
        ("await#2 cancelled", "cancelled", Interrupted()),
        ("checkpoint of step 1#1 killed and resumed", "killed and resumed", Interrupted()),
    ]


def test_chosen_kinds_are_names() -> None:
    assert check_kinds(None) == kind_names()
    assert check_kinds("timeout") == ("timeout",)
    assert check_kinds(("error", "timeout")) == ("error", "timeout")
    assert len(kind_names()) == len(set(kind_names())) == 24


def test_an_answer_can_be_said_again() -> None:
    assert str(answer_of(STREAMED)) == "say('It', ' is', ' 18C', ' today').unchecked()"
    assert str(answer_of(ASKS)) == "reply(call('search', q='x'), call('book')).unchecked()"
    assert str(answer_of(replace(CHAT, text=""))) == "say().unchecked()"
