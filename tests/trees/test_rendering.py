"""The text of whole trees. First recordings made by hand, one truth each; then real programs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt

from llmtest import Recording, ScriptedChatModel, ScriptedLLM, call, fail, record, reply, think
from llmtest.concurrency.lanes import Lane
from llmtest.events import Document, Event, Failure, FrozenDict, FrozenList, Generation, Message, Run, Structured, ToolCall, Usage
from llmtest.events.callbacks import START_KINDS
from llmtest.trees.parsing import head, parse, walk
from llmtest.trees.rendering import HEADER, Part, lines, lines_and_runs, outline, render
from llmtest.trees.run_lines import Detail
from tests.support.tools import weather

ID = "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55"


def frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    return FrozenList(map(frozen, value)) if isinstance(value, list) else value


class Tape:
    """Events, told one after the other, and the trees that they make. `late` is where the block ends."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed_at: int | None = None

    def start(
        self,
        kind: str,
        name: str,
        *,
        within: Event | None = None,
        tags: tuple[str, ...] = (),
        metadata: dict[str, Any] | None = None,
        lane: Lane | None = None,
        **payload: Any,
    ) -> Event:
        parent = within.run_id if within else None
        number = len(self.events)
        about = (name, tags, frozen(metadata or {}), frozen(payload), number)
        self.events.append(Event(f"on_{kind}_start", UUID(int=number + 1), parent, *about, lane=lane))
        return self.events[-1]

    def tell(self, kind: str, run: Event, **payload: Any) -> None:
        about = (run.name, run.tags, run.metadata, frozen(payload), len(self.events))
        self.events.append(Event(f"on_{kind}", run.run_id, run.parent_run_id, *about, lane=run.lane))

    def answer(self, run: Event, message: Message, *more: Message, **info: Any) -> None:
        candidates = FrozenList(Generation(one.text, one) for one in (message, *more))
        self.tell("llm_end", run, generations=candidates, **info)

    def close(self) -> None:
        self.closed_at = len(self.events)

    @property
    def late_events(self) -> list[Event]:
        return self.events[self.closed_at :] if self.closed_at is not None else []

    @property
    def roots(self) -> tuple[Run, ...]:
        return trees(self.events[: self.closed_at])


def trees(events: list[Event]) -> tuple[Run, ...]:
    own: dict[UUID, list[Event]] = {}
    for event in events:
        own.setdefault(event.run_id, []).append(event)
    inside: dict[UUID | None, list[Run]] = {}
    for run_id, mine in reversed(own.items()):
        first = mine[0]
        children = tuple(reversed(inside.get(run_id, [])))
        about = (START_KINDS[first.kind], first.name, first.tags, first.metadata)
        inside.setdefault(first.parent_run_id, []).append(Run(run_id, first.parent_run_id, *about, tuple(mine), children))
    return tuple(reversed(inside.get(None, [])))


def text(*expected: str) -> str:
    return "".join(f"{line}\n" for line in expected)


def human(content: str) -> Message:
    return Message("human", content)


def ai(content: str, *calls: ToolCall, **fields: Any) -> Message:
    return Message("ai", content, calls, **fields)


# -- the shape of the text


def test_a_recording_of_nothing_says_so() -> None:
    assert render(Tape()) == "(nothing was recorded)\n"


def test_a_model_run_says_what_it_was_given_and_what_it_answered() -> None:
    tape = Tape()
    model = tape.start("chat_model", "FakeChat", tags=("greeting",), messages=[Message("system", "Be brief."), human("hi")])
    for token in ("Hello", " ", "there", " ", "friend"):
        tape.tell("llm_new_token", model, token=token)
    tape.answer(model, ai("Hello there friend", usage=Usage(4, 5, 9)))

    assert render(tape) == text(
        "chat FakeChat tags=greeting",
        '  + s1: "Be brief."',
        '  + u1: "hi"',
        "  > s1 u1",
        '  ~ 5 tokens: "Hello| |there| |friend"',
        '  < a1: "Hello there friend"  usage in=4 out=5',
    )
    assert lines(tape) == render(tape).splitlines()
    assert HEADER == "# llmtest tree v1"


def agent(city: str = "Paris") -> Tape:
    tape = Tape()
    system, question = Message("system", "You are a weather bot."), human("weather in Paris?")
    asked = ai("", ToolCall("weather", frozen({"city": city}), "abc"), id="1")
    answer = Message("tool", f"18C in {city}", tool_call_id="abc")
    said = ai(f"It is 18C in {city}.")
    root = tape.start("chain", "weather_agent", inputs={"messages": [["user", "weather in Paris?"]]})
    node = tape.start("chain", "model", within=root, inputs={"messages": [question]})
    model = tape.start("chat_model", "FakeChat", within=node, messages=[system, question], tools=["weather"])
    tape.answer(model, asked)
    tape.tell("chain_end", node, outputs={"messages": [ai("", *asked.tool_calls, name="weather_agent")]})
    node = tape.start("chain", "tools", within=root, inputs=[{"name": "weather", "args": {"city": city}, "id": "abc"}])
    run = tape.start("tool", "weather", within=node, inputs={"city": city}, input_str="{}", tool_call_id="abc")
    tape.tell("tool_end", run, output=answer)
    tape.tell("chain_end", node, outputs={"messages": [answer]})
    node = tape.start("chain", "model", within=root, inputs={"messages": [question, asked, answer]})
    model = tape.start("chat_model", "FakeChat", within=node, messages=[system, question, asked, answer], tools=["weather"])
    tape.answer(model, said)
    tape.tell("chain_end", node, outputs={"messages": [said]})
    tape.tell("chain_end", root, outputs={"messages": [question, asked, answer, said]})
    return tape


def test_each_message_is_written_once_and_a_tool_call_is_linked_to_its_run_and_its_answer() -> None:
    assert render(agent()) == text(
        "chain weather_agent",
        '  > u1: "weather in Paris?"',
        "  chain model",
        "    chat FakeChat tools=weather",
        '      + s1: "You are a weather bot."',
        "      > s1 u1",
        '      < a1: call1 weather(city="Paris")',
        "    < a1",
        "  chain tools",
        "    > call1",
        '    tool weather(city="Paris") call1',
        '      < t1: call1 -> "18C in Paris"',
        "    < t1",
        "  chain model",
        "    > u1 a1 t1",
        "    chat FakeChat tools=weather",
        "      > s1 u1 a1 t1",
        '      < a2: "It is 18C in Paris."',
        "    < a2",
        "  < u1 a1 t1 a2",
    )


def test_a_changed_argument_changes_the_lines_that_have_it() -> None:
    before, after = lines(agent("Paris")), lines(agent("Lyon"))

    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]

    assert changed == [
        ('      < a1: call1 weather(city="Paris")', '      < a1: call1 weather(city="Lyon")'),
        ('    tool weather(city="Paris") call1', '    tool weather(city="Lyon") call1'),
        ('      < t1: call1 -> "18C in Paris"', '      < t1: call1 -> "18C in Lyon"'),
        ('      < a2: "It is 18C in Paris."', '      < a2: "It is 18C in Lyon."'),
    ]


def test_an_outline_has_one_line_for_each_run_with_the_numbers_of_the_whole_text() -> None:
    assert outline(agent()) == text(
        "chain weather_agent",
        "  chain model",
        "    chat FakeChat tools=weather",
        "  chain tools",
        '    tool weather(city="Paris") call1',
        "  chain model",
        "    chat FakeChat tools=weather",
    )


def test_one_run_can_be_rendered_alone() -> None:
    assert render(agent().roots[0].children[1].children[0]) == text(
        'tool weather(city="Paris") call1',
        '  < t1: call1 -> "18C in Paris"',
    )


def test_the_id_of_a_call_that_ran_is_its_number_wherever_it_is() -> None:
    tape = Tape()
    root = tape.start("chain", "r", inputs={"call_9": "call_9", "call_8": "call_8", "7": "7"})
    for call_id in ("call_9", "7"):
        tape.start("tool", "t", within=root, inputs={}, tool_call_id=call_id)

    assert render(tape) == text(
        "chain r",
        '  > {"7": "7", "call_8": "call_8", call1: call1}',
        "  tool t() call1",
        "    ? open",
        "  tool t() call2",
        "    ? open",
        "  ? open",
    )


def test_only_four_details_are_known() -> None:
    with pytest.raises(ValueError, match=r"^detail is one of 'outline', 'short', 'default', 'full'; got 'more'$"):
        render(Tape(), detail="more")  # type: ignore[arg-type]


def test_a_recording_is_its_tree_as_a_string() -> None:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")

    assert (
        str(recording)
        == render(recording)
        == text(
            "chat ScriptedChatModel",
            '  > u1: "hi"',
            '  < a1: "Hello"  usage in=1 out=1',
        )
    )


# -- each kind of run


def test_a_text_model_has_prompts_and_texts() -> None:
    tape = Tape()
    one = tape.start("llm", "FakeLLM", prompts=["Say\nhi"], invocation_params={"temperature": 0})
    tape.tell("llm_end", one, generations=[Generation("hi\nthere"), Generation("ho")], llm_output=None)
    two = tape.start("llm", "FakeLLM", prompts=["a", "b"])
    tape.tell("llm_end", two, generations=[], llm_output=None)

    assert render(tape) == text(
        "llm FakeLLM",
        "  > v1:",
        "    | Say",
        "    | hi",
        "  * temperature=0",
        "  < v2:",
        "    | hi",
        "    | there",
        '  < "ho"',
        "llm FakeLLM",
        '  > ["a", "b"]',
        "  < nothing",
    )


def test_a_retriever_has_a_query_and_documents() -> None:
    tape = Tape()
    run = tape.start("retriever", "Shelf", query="Paris")
    tape.tell("retriever_end", run, documents=[Document("Paris is big", frozen({"source": "a"})), Document("So is London")])
    run = tape.start("retriever", "Shelf", query="Oz")
    tape.tell("retriever_end", run, documents=[])

    assert render(tape) == text(
        "retriever Shelf",
        '  > "Paris"',
        '  + d1: "Paris is big"; {"source": "a"}',
        '  + d2: "So is London"',
        "  < d1 d2",
        "retriever Shelf",
        '  > "Oz"',
        "  < []",
    )


def test_a_tool_has_its_arguments_in_its_first_line() -> None:
    tape = Tape()
    for payload in ({"inputs": {"code": "a\nb", "api_key": "x"}}, {"input_str": "2 + 2"}, {"inputs": "2 + 2"}, {}):
        tape.tell("tool_end", tape.start("tool", "python", **payload), output=4)

    assert render(tape) == text(
        "tool python(api_key=<mask:api_key>, code=v1)",
        "  + v1:",
        "    | a",
        "    | b",
        "  < 4",
        'tool python("2 + 2")',
        "  < 4",
        'tool python("2 + 2")',
        "  < 4",
        'tool python("")',
        "  < 4",
    )


def test_a_streamed_chain_has_the_input_that_its_end_tells() -> None:
    tape = Tape()
    one = tape.start("chain", "stream", inputs={"input": ""})
    tape.tell("chain_end", one, inputs="the input", outputs="x")
    two = tape.start("chain", "stream", inputs={"input": ""})
    tape.tell("chain_error", two, inputs="the input", error=Failure("ValueError", "no"))

    assert render(tape) == text(
        "chain stream",
        '  > "the input"',
        '  < "x"',
        "chain stream",
        '  > "the input"',
        "  ! ValueError: no",
    )


def test_names_that_would_run_into_the_text_are_quoted() -> None:
    tape = Tape()
    for name in ("RunnableParallel<a,b>", "my agent", 'a"b', "a\nb", "f(x)", f"run-{ID}", ""):
        tape.start("chain", name, inputs=None)

    assert outline(tape) == text(
        "chain RunnableParallel<a,b>  ? open",
        'chain "my agent"  ? open',
        'chain "a\\"b"  ? open',
        'chain "a\\nb"  ? open',
        'chain "f(x)"  ? open',
        "chain <id:1>  ? open",
        'chain ""  ? open',
    )


# -- tags and metadata


def test_tags_and_metadata_are_shown_where_they_change() -> None:
    tape = Tape()
    hidden = {"ls_provider": "x", "lc_versions": {"core": "1"}, "langgraph_step": 1, "thread_id": "7", "checkpoint_ns": "a"}
    root = tape.start("chain", "a", tags=("b", "a", "a,c"), metadata={"tenant": "x", "n": 1, **hidden}, inputs=1)
    tags = ("seq:step:1", "a", "langsmith:hidden", "graph:step:2", "retry:attempt:1", "step_3")
    inner = tape.start("chain", "b", within=root, tags=tags, metadata={"n": 2, "m": f"to {ID}"}, inputs=1)
    tape.start("chain", "c", within=inner, tags=("a", "conditional", "branch:main"), metadata={"n": 2, "m": f"to {ID}"}, inputs=1)

    assert outline(tape) == text(
        'chain a tags=a,"a,c",b meta={"n": 1, "tenant": "x"}  ? open',
        '  chain b attempt=1 tags=-"a,c",-b meta={"m": "to <id:1>", "n": 2, -"tenant"}  ? open',
        "    chain c tags=branch:main,conditional  ? open",
    )


def test_full_detail_has_all_metadata_but_versions_and_all_parameters() -> None:
    tape = Tape()
    metadata = {"ls_provider": "x", "lc_versions": {"core": "1"}, "prompt_version": 3, "thread_id": ID}
    params = {"model": "m", "api_key": "abc", "stop": ["\n", "x" * 90]}
    run = tape.start("chat_model", "c", tags=("langsmith:hidden",), metadata=metadata, messages=[], invocation_params=params)
    for n in range(41):
        tape.tell("llm_new_token", run, token=str(n % 10))
    tape.answer(run, ai("x"))

    assert render(tape, detail="full") == text(
        'chat c model=m tags=langsmith:hidden meta={"ls_provider": "x", "prompt_version": 3, "thread_id": "<id:1>"}',
        "  > []",
        "  * params {",
        '      "api_key": <mask:api_key>',
        '      "model": "m"',
        f'      "stop": ["\\n", "{"x" * 90}"]',
        "    }",
        f'  ~ 41 tokens: "{"|".join(str(n % 10) for n in range(41))}"',
        '  < a1: "x"',
    )


def test_places_in_a_program_are_shown_by_where_a_run_stands() -> None:
    tape = Tape()
    root = tape.start("chain", "r", inputs=1)
    for tag in ("map:key:a", "map:key:a b", "condition:1", "branch:2", "branch:default", "retry:attempt:2"):
        tape.start("chain", "c", within=root, tags=(tag,), inputs=1)

    assert outline(tape) == text(
        "chain r  ? open",
        "  parallel",
        "    a: chain c  ? open",
        '    "a b": chain c  ? open',
        "  condition 1: chain c  ? open",
        "  branch 2: chain c  ? open",
        "  branch default: chain c  ? open",
        "  chain c attempt=2  ? open",
    )


# -- inputs


def test_an_input_that_is_that_of_the_parent_is_left_out() -> None:
    tape = Tape()
    root = tape.start("chain", "r", inputs={"a": 1})
    tape.start("chain", "same", within=root, inputs={"a": 1})
    tape.start("chain", "other", within=root, inputs={"a": 2})
    run = tape.start("tool", "t", within=root, inputs={"a": 1})
    tape.start("chain", "as the tool", within=run, inputs={"a": 1})

    assert render(tape) == text(
        "chain r",
        '  > {"a": 1}',
        "  chain same",
        "    ? open",
        "  chain other",
        '    > {"a": 2}',
        "    ? open",
        "  tool t(a=1)",
        '    chain "as the tool"',
        "      ? open",
        "    ? open",
        "  ? open",
    )


# -- tokens


def streamed(*payloads: dict[str, Any], kind: str = "llm_new_token", detail: Detail = "default") -> list[str]:
    tape = Tape()
    run = tape.start("chat_model", "c", messages=[])
    for payload in payloads:
        tape.tell(kind, run, **payload)
    return [line.removeprefix("  ~ ") for line in lines(tape, detail=detail) if line.startswith("  ~")]


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["a"], ['1 token: "a"']),
        (["a|b", "\n", "\\", '"'], ['4 tokens: "a\\|b|\\n|\\\\|\\""']),
        (["a", ""], ['1 token: "a"']),
        (["a", "", ""], ['1 token: "a"', "2 empty tokens"]),
        (["", "", ""], ["3 empty tokens"]),
        ([""], ["1 empty token"]),
        (["x"] * 40, [f'40 tokens: "{"|".join("x" * 40)}"']),
        (["x"] * 41, [f'41 tokens: "{"|".join("x" * 20)}" ... "{"|".join("x" * 20)}"']),
        (["to ", *ID.partition("-"), "!"], ['5 tokens, joined: "to <id:1>!"']),
    ],
)
def test_streamed_tokens_are_counted_and_shown(tokens: list[str], shown: list[str]) -> None:
    assert streamed(*({"token": token} for token in tokens)) == shown


def test_reasoning_and_tool_calls_are_streams_of_their_own() -> None:
    shown = streamed(
        {"token": [{"type": "reasoning", "reasoning": "h"}, {"type": "thinking", "thinking": "m"}]},
        {"token": ["Let ", {"type": "text", "text": "me"}]},
        {"token": [{"type": "image", "url": "x"}]},
        {"token": "look", "tool_call_chunks": [{"name": "f", "args": "", "id": "1"}]},
        {"token": [{"type": "tool_call_chunk", "args": "{}"}], "tool_call_chunks": [{"name": None, "args": "{}"}]},
        {"token": [{"type": "text"}]},
        {"token": []},
    )

    assert shown == [
        '2 reasoning tokens: "h|m"',
        '5 tokens: "Let |me|<image>|look|"',
        '2 call tokens: "f|{}"',
    ]


def test_stream_events_are_counted_and_their_tokens_are_shown() -> None:
    def delta(**fields: Any) -> dict[str, Any]:
        return {"event": {"event": "content-block-delta", "index": 0, "delta": fields}}

    shown = streamed(
        {"event": {"event": "message-start"}},
        delta(type="reasoning-delta", reasoning="hm"),
        delta(type="text-delta", text="Hel"),
        delta(type="text-delta", text="lo"),
        delta(type="tool-call-delta", args="{}"),
        {"event": {"event": "message-finish"}},
        kind="stream_event",
    )

    assert shown == [
        '1 reasoning token: "hm"',
        '2 tokens: "Hel|lo"',
        '1 call token: "{}"',
        "6 stream events: message-start content-block-delta*4 message-finish",
    ]


# -- usage and stops


def test_usage_shows_its_details_and_a_total_that_is_no_sum() -> None:
    tape = Tape()
    usage = Usage(9, 4, 20, frozen({"cache_read": 3, "audio": 0, "cache_creation": 1}), frozen({"reasoning": 2}))
    tape.answer(tape.start("chat_model", "c", messages=[]), ai("x", usage=usage), ai("y\nz"))

    assert render(tape).splitlines()[2:] == [
        '  < a1: "x"',
        "  < a2:  usage in=9 (cache_creation=1 cache_read=3) out=4 (reasoning=2) total=20",
        "    | y",
        "    | z",
    ]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({}, ""),
        ({"finish_reason": "STOP"}, ""),
        ({"stop_reason": "tool_use"}, ""),
        ({"finish_reason": "length"}, "  stop=length"),
        ({"stop_reason": None, "done_reason": "load"}, "  stop=load"),
        ({"stop_reason": "refused by me"}, '  stop="refused by me"'),
    ],
)
def test_a_model_that_did_not_just_come_to_its_end_says_why_it_stopped(told: dict[str, Any], shown: str) -> None:
    tape = Tape()
    tape.answer(tape.start("chat_model", "c", messages=[]), ai("x", response_metadata=frozen(told)))
    tape.tell("llm_end", tape.start("llm", "c", prompts=[]), generations=[Generation("x", None, frozen(told))])

    assert [line for line in lines(tape) if "<" in line] == [f'  < a1: "x"{shown}', f'  < "x"{shown}']


# -- how runs end


@pytest.mark.parametrize(
    ("failure", "shown", "in_outline"),
    [
        (Failure("ValueError", 'no "x"'), ['! ValueError: no "x"'], "! ValueError"),
        (Failure("ValueError", ""), ["! ValueError"], "! ValueError"),
        (Failure("ValueError", '"quoted"'), ['! ValueError: "\\"quoted\\""'], "! ValueError"),
        (Failure("ValueError", "bell\x07"), ['! ValueError: "bell\\u0007"'], "! ValueError"),
        (Failure("KeyError", f"{ID}\nat 0x1"), ["! KeyError:", "  | <id:1>", "  | at 0x1"], "! KeyError"),
        (Failure("CancelledError", "", "cancelled"), ["! cancelled"], "! cancelled"),
        (Failure("CancelledError", "too slow", "cancelled"), ["! cancelled: too slow"], "! cancelled"),
        (Failure("GeneratorExit", "", "closed early"), ["! closed early"], "! closed early"),
        (Failure("KeyboardInterrupt", "", "stopped"), ["! stopped KeyboardInterrupt"], "! stopped KeyboardInterrupt"),
    ],
)
def test_how_a_run_failed(failure: Failure, shown: list[str], in_outline: str) -> None:
    tape = Tape()
    tape.tell("chain_error", tape.start("chain", "c", inputs=1), error=failure)

    assert lines(tape) == ["chain c", "  > 1", *(f"  {line}" for line in shown)]
    assert lines(tape, detail="outline") == [f"chain c  {in_outline}"]


def test_a_stream_that_broke_shows_what_had_come() -> None:
    tape = Tape()
    run = tape.start("chat_model", "c", messages=[])
    response = {"generations": [Generation("Hel", ai("Hel", usage=Usage(1, 1, 2)))], "llm_output": None}
    tape.tell("llm_error", run, error=Failure("ConnectionError", "gone"), response=response)
    run = tape.start("llm", "c", prompts=["x"])
    tape.tell("llm_error", run, error=Failure("ConnectionError", "gone"), response={"generations": [], "llm_output": None})

    assert render(tape) == text(
        "chat c",
        "  > []",
        '  < partial a1: "Hel"  usage in=1 out=1',
        "  ! ConnectionError: gone",
        "llm c",
        '  > "x"',
        "  ! ConnectionError: gone",
    )


def pause(*values: Any) -> Failure:
    interrupts = [[Structured("Interrupt", frozen({"value": value, "id": "2bea78d1d1f1c866"})) for value in values]]
    return Failure("GraphInterrupt", "(Interrupt(...),)", "paused", frozen(interrupts))


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (pause("Approve?"), ['? paused: "Approve?"']),
        (pause({"a": 1}, "b"), ['? paused: ["b", {"a": 1}]']),
        (pause({"a": "x" * 99}), ["? paused: {", f'    "a": "{"x" * 99}"', "  }"]),
        (Failure("GraphInterrupt", "", "paused", frozen([])), ["? paused: GraphInterrupt"]),
        (Failure("NodeInterrupt", "", "paused"), ["? paused: NodeInterrupt"]),
    ],
)
def test_a_pause_is_no_error_and_shows_what_is_asked(failure: Failure, shown: list[str]) -> None:
    tape = Tape()
    tape.tell("chain_error", tape.start("chain", "c", inputs=1), error=failure)

    assert lines(tape) == ["chain c", "  > 1", *(f"  {line}" for line in shown)]
    assert outline(tape) == "chain c  ? paused\n"


TO_BOB = 'Command(goto="bob", update={"messages": [a1]})'


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ([Structured("Command", frozen({"goto": "bob", "update": {"messages": [ai("x")]}}))], TO_BOB),
        (None, "null"),
    ],
)
def test_a_hand_off_is_no_error_and_shows_where_it_goes(payload: Any, shown: str) -> None:
    tape = Tape()
    failure = Failure("ParentCommand", "...", "handed off", frozen(payload))
    tape.tell("chain_error", tape.start("chain", "c", inputs=1), error=failure)

    assert lines(tape)[-1] == f"  ^ handed off: {shown}"
    assert outline(tape) == "chain c  ^ handed off\n"


def test_an_event_after_the_end_and_one_that_is_unknown_are_not_swallowed() -> None:
    tape = Tape()
    run = tape.start("chain", "c", inputs=1)
    tape.tell("chain_end", run, outputs=2)
    tape.tell("chain_end", run, outputs=3)
    tape.tell("something_new", run)

    assert render(tape) == text("chain c", "  > 1", "  @ on_chain_end", "  @ on_something_new", "  < 2")


# -- what happens within a run


def test_events_within_a_run_stand_where_they_happened() -> None:
    tape = Tape()
    run = tape.start("chain", "executor", inputs=1)
    tape.tell("text", run, text="Prompt:\nhi")
    tape.tell("agent_action", run, tool="search", tool_input="Paris", log="...")
    tape.tell("tool_end", tape.start("tool", "search", within=run, input_str="Paris"), output="big")
    tape.tell("agent_action", run, tool="search", tool_input={"q": "x"}, log="...")
    tape.tell("custom_event", run, name="progress", data={"percent": 10})
    tape.tell("custom_event", run, name="my event", data=[human("hi")])
    tape.tell("retry", run, attempt_number=2, error=Failure("RateLimitError", "slow down"))
    tape.tell("retry", run, attempt_number=3)
    tape.tell("agent_finish", run, return_values={"output": "x"}, log="...")
    tape.tell("chain_end", run, outputs=None)

    assert render(tape) == text(
        "chain executor",
        "  > 1",
        "  + v1:",
        "    | Prompt:",
        "    | hi",
        "  @ text v1",
        '  @ action search("Paris")',
        '  tool search("Paris")',
        '    < "big"',
        '  @ action search(q="x")',
        '  @ event progress {"percent": 10}',
        '  + u1: "hi"',
        '  @ event "my event" u1',
        "  @ retry 2 RateLimitError: slow down",
        "  @ retry 3",
        '  @ finish {"output": "x"}',
        "  < null",
    )


# -- late events


def test_what_came_after_the_block_had_ended_is_kept_apart() -> None:
    tape = Tape()
    root = tape.start("chain", "agent", inputs=[human("hi")])
    model = tape.start("chat_model", "c", within=root, messages=[human("hi")])
    tape.tell("llm_new_token", model, token="Hel")
    tape.close()
    tape.tell("llm_new_token", model, token="lo")
    tape.answer(model, ai("Hello"))
    inner = tape.start("chain", "more", within=root, inputs=2)
    deep = tape.start("tool", "t", within=inner, inputs={})
    tape.tell("tool_end", deep, output=3)
    tape.start("chain", "deep", within=deep, inputs=3)
    tape.tell("chain_end", root, outputs=4)

    assert render(tape) == text(
        "chain agent",
        '  > u1: "hi"',
        "  chat c",
        '    ~ 1 token: "Hel"',
        "    ? open",
        "  ? open",
        "late",
        "  still chain agent",
        "    still chat c",
        '      ~ 1 token: "lo"',
        '      < a1: "Hello"',
        "    chain more",
        "      > 2",
        "      tool t()",
        "        chain deep",
        "          > 3",
        "          ? open",
        "        < 3",
        "      ? open",
        "    < 4",
    )


def test_a_late_event_of_a_run_that_nobody_knows_is_not_swallowed() -> None:
    tape = Tape()
    tape.close()
    tape.tell("text", Event("on_chain_start", UUID(int=1), None, "lost"), text="x")

    assert render(tape) == text("late", "  chain lost", "    > null", '    @ text "x"', "    ? open")


# -- order


HOME = Lane(1, "MainThread", 1)


def branches(order: list[int], said: list[str], *, root_input: Any = 1) -> str:
    """The text of concurrent branches that start in this order and end in the reverse one."""
    tape = Tape()
    root = tape.start("chain", "r", lane=HOME, inputs=root_input)
    started = []
    for n in order:
        lane = Lane(n + 2, f"Worker-{n}", n + 2, None, HOME)
        branch = tape.start("chain", "branch", within=root, lane=lane, inputs=said[n])
        tape.answer(tape.start("chat_model", "c", within=branch, lane=lane, messages=[human(said[n])]), ai("ok"))
        started.append((branch, said[n]))
    for branch, output in reversed(started):
        tape.tell("chain_end", branch, outputs=output)
    tape.tell("chain_end", root, outputs=None)
    return render(tape)


@given(st.permutations([0, 1, 2]))
def test_concurrent_runs_stand_in_the_order_of_what_they_say(order: list[int]) -> None:
    assert branches(order, ["b", "a", "b"]) == text(
        "chain r",
        "  > 1",
        "  parallel",
        "    chain branch",
        '      > "a"',
        "      chat c",
        '        > u1: "a"',
        '        < a1: "ok"',
        '      < "a"',
        "    chain branch",
        '      > "b"',
        "      chat c",
        '        > u2: "b"',
        "        < a1",
        '      < "b"',
        "    chain branch",
        '      > "b"',
        "      chat c",
        "        > u2",
        "        < a1",
        '      < "b"',
        "  < null",
    )


@given(st.permutations([0, 1, 2]))
def test_concurrent_runs_that_say_the_same_stand_in_the_order_of_the_ids_that_are_known(order: list[int]) -> None:
    ids = [f"{n}{ID[1:]}" for n in range(3)]

    shown = branches(order, [f"order {one}" for one in reversed(ids)], root_input=ids)

    assert [line for line in shown.splitlines() if line.startswith("      >")] == [f'      > "order <id:{n}>"' for n in (1, 2, 3)]


@given(st.permutations([0, 1, 2]))
def test_parallel_tool_calls_stand_in_the_order_in_which_they_were_asked_for(order: list[int]) -> None:
    tape = Tape()
    calls = [ToolCall("look", frozen({"at": at}), at) for at in ("z", "x", "y")]
    root = tape.start("chain", "agent", lane=HOME, inputs=[ai("", *calls)])
    for n in order:
        lane = Lane(9 + n, "w", 9 + n, None, HOME)
        tape.start("tool", "look", within=root, lane=lane, inputs=calls[n].args, tool_call_id=calls[n].id)
    lane = Lane(20, "w", 20, None, HOME)
    tape.tell("text", Event("on_chain_start", root.run_id, None, "agent", lane=lane), text="on another thread")

    assert render(tape) == text(
        "chain agent",
        '  > a1: call1 look(at="z"); call2 look(at="x"); call3 look(at="y")',
        "  parallel",
        '    tool look(at="z") call1',
        "      ? open",
        '    tool look(at="x") call2',
        "      ? open",
        '    tool look(at="y") call3',
        "      ? open",
        '    @ text "on another thread"',
        "  ? open",
    )


def test_events_on_other_lines_of_control_stand_in_the_order_of_what_they_say() -> None:
    tape = Tape()
    root = tape.start("chain", "r", lane=HOME, inputs=1)
    for n, name in enumerate("ba"):
        lane = Lane(n + 2, "w", n + 2, None, HOME)
        tape.tell("custom_event", Event("on_chain_start", root.run_id, None, "r", lane=lane), name=name, data=1)

    assert render(tape) == text("chain r", "  > 1", "  parallel", "    @ event a 1", "    @ event b 1", "  ? open")


def test_no_tree_is_too_deep() -> None:
    tape = Tape()
    for lane in (HOME, Lane(2, "w", 2, None, HOME), Lane(3, "w", 3, None, HOME)):
        run = tape.start("chain", "r", lane=lane, inputs=1)
        for _ in range(1500):
            run = tape.start("chain", "r", within=run, lane=lane, inputs=1)

    assert len(lines(tape)) == 3 * (1 + 2 * 1501) + 1


# -- real programs


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def of(program: Callable[[], Any], **options: Any) -> str:
    with record() as recording:
        program()
    return render(recording, **options)


def ask(*cities: str) -> Runnable[Any, Any]:
    calls = [call("weather", city=city) for city in cities]
    model = ScriptedChatModel(reply(*calls), f"It is 18C in {' and '.join(cities)}.")
    return create_agent(model, [weather], system_prompt="You are a weather bot.", name="weather_agent")


QUESTION = {"messages": [("user", "weather?")]}


def test_an_agent_with_one_tool_call() -> None:
    assert of(lambda: ask("Paris").invoke(QUESTION)) == text(
        "chain weather_agent",
        '  > u1: "weather?"',
        "  chain model",
        "    chat ScriptedChatModel tools=weather",
        '      + tool1: weather(city: string) "The weather in a city."',
        '      + s1: "You are a weather bot."',
        "      > s1 u1",
        '      < a1: call1 weather(city="Paris")  usage in=8 out=10',
        "    < a1",
        "  chain tools",
        "    > call1",
        '    tool weather(city="Paris") call1',
        '      < t1: call1 -> "18C in Paris"',
        "    < t1",
        "  chain model",
        "    > u1 a1 t1",
        "    chat ScriptedChatModel tools=weather",
        "      > s1 u1 a1 t1",
        '      < a2: "It is 18C in Paris."  usage in=11 out=6',
        "    < a2",
        "  < u1 a1 t1 a2",
    )


PARALLEL_AGENT = text(
    "chain weather_agent",
    "  chain model",
    "    chat ScriptedChatModel tools=weather",
    "  parallel",
    "    chain tools",
    '      tool weather(city="Paris") call1',
    "    chain tools",
    '      tool weather(city="Lyon") call2',
    "    chain tools",
    '      tool weather(city="Paris") call3',
    "  chain model",
    "    chat ScriptedChatModel tools=weather",
)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_parallel_tool_calls_have_one_text_in_fifty_runs(way: str) -> None:
    def program() -> None:
        agent = ask("Paris", "Lyon", "Paris")
        if way == "ainvoke":
            asyncio.run(agent.ainvoke(QUESTION))
        else:
            list(agent.stream(QUESTION, stream_mode="messages")) if way == "stream" else agent.invoke(QUESTION)

    recordings = []
    for _ in range(50):
        with record() as recording:
            program()
        recordings.append(recording)

    assert {outline(recording) for recording in recordings} == {PARALLEL_AGENT}
    assert len({render(recording) for recording in recordings}) == 1


def pipe(what: str, *steps: Any) -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_template(f"{what} about {{topic}}") | ScriptedChatModel(*steps) | StrOutputParser()


PARALLEL = text(
    "chain RunnableParallel<poem,joke>",
    '  > {"topic": "bears"}',
    "  parallel",
    "    joke: chain RunnableSequence",
    "      chain ChatPromptTemplate",
    '        < u1: "joke about bears"',
    "      chat ScriptedChatModel",
    "        > u1",
    '        ~ 2 tokens: "why| did"',
    '        < a1: "why did"  usage in=3 out=2',
    "      chain StrOutputParser",
    "        > a1",
    '        < "why did"',
    '      < "why did"',
    "    poem: chain RunnableSequence",
    "      chain ChatPromptTemplate",
    '        < u2: "poem about bears"',
    "      chat ScriptedChatModel",
    "        > u2",
    '        ~ 3 tokens: "roses| are| red"',
    '        < a2: "roses are red"  usage in=3 out=3',
    "      chain StrOutputParser",
    "        > a2",
    '        < "roses are red"',
    '      < "roses are red"',
    '  < {"joke": "why did", "poem": "roses are red"}',
)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_branches_of_a_map_have_one_text_in_every_way_of_calling_them(way: str) -> None:
    async def drain(chain: Runnable[Any, Any]) -> None:
        async for _ in chain.astream({"topic": "bears"}):
            pass

    def program() -> None:
        chain = RunnableParallel(poem=pipe("poem", "roses are red"), joke=pipe("joke", "why did"))
        if way == "astream":
            asyncio.run(drain(chain))
        elif way == "ainvoke":
            asyncio.run(chain.ainvoke({"topic": "bears"}))
        else:
            list(chain.stream({"topic": "bears"})) if way == "stream" else chain.invoke({"topic": "bears"})

    expected = PARALLEL if "stream" in way else text(*(line for line in PARALLEL.splitlines() if "tokens" not in line))
    assert {of(program) for _ in range(10)} == {expected}


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "stream"])
def test_what_a_fallback_tries_stands_within_it_in_every_way_of_calling_it(way: str) -> None:
    def program() -> None:
        broken = ScriptedChatModel(fail(ValueError("boom")))
        chain = ChatPromptTemplate.from_template("{q}") | broken.with_fallbacks([ScriptedChatModel("fine")])
        if way == "ainvoke":
            asyncio.run(chain.ainvoke({"q": "hi"}))
        elif way == "batch":
            chain.batch([{"q": "hi"}])
        else:
            list(chain.stream({"q": "hi"})) if way == "stream" else chain.invoke({"q": "hi"})

    assert of(program, detail="outline") == text(
        "chain RunnableSequence",
        "  chain ChatPromptTemplate",
        "  chain RunnableWithFallbacks",
        "    chat ScriptedChatModel  ! ValueError",
        "    chat ScriptedChatModel",
    )


class State(TypedDict):
    notes: Annotated[list[str], lambda old, new: [*old, *new]]


def test_an_interrupt_and_its_resumption() -> None:
    def approve(state: State) -> dict[str, list[str]]:
        return {"notes": [interrupt({"question": "Approve?"})]}

    def program() -> None:
        graph = StateGraph(State).add_node("approve", approve).add_edge(START, "approve").compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        graph.invoke({"notes": ["a"]}, config)
        graph.invoke(Command(resume="yes"), config)

    assert of(program) == text(
        "chain LangGraph",
        '  > {"notes": ["a"]}',
        "  chain approve",
        '    ? paused: {"question": "Approve?"}',
        '  < {"notes": ["a"]}',
        '  ? paused: {"question": "Approve?"}',
        "chain LangGraph",
        '  > Command(resume="yes")',
        "  chain approve",
        '    > {"notes": ["a"]}',
        '    < {"notes": ["yes"]}',
        '  < {"notes": ["a", "yes"]}',
    )


def _stopped(**options: Any) -> Recording:
    graph = StateGraph(State).add_node("ask", lambda state: {"notes": [interrupt("Sure?")]}).add_edge(START, "ask")
    with record() as recording:
        graph.compile(checkpointer=InMemorySaver(), **options).invoke({"notes": ["a"]}, {"configurable": {"thread_id": "1"}})
    return recording


def test_graph_that_stops_before_a_node_says_so_because_nothing_else_does() -> None:
    assert str(_stopped(interrupt_before=["ask"])) == text(
        "chain LangGraph",
        '  > {"notes": ["a"]}',
        '  < {"notes": ["a"]}',
        "  ? paused",
    )


def test_full_detail_has_the_events_of_the_graph_itself() -> None:
    assert '  @ interrupt "Sure?"\n' in render(_stopped(), detail="full")


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_nodes_of_one_step_stand_in_the_order_of_their_names_and_numbers(way: str) -> None:
    def node(name: str) -> Callable[[State], dict[str, list[str]]]:
        def run(state: State) -> dict[str, list[str]]:
            ScriptedChatModel("one").invoke(f"z {name}")
            ScriptedChatModel("two").invoke(f"a {name}")
            return {"notes": [name]}

        return run

    def route(state: State) -> list[Send]:
        return [Send("each", {"notes": [note]}) for note in "yx"]

    def program() -> None:
        graph = StateGraph(State).add_node("plan", node("plan")).add_edge(START, "plan")
        graph.add_node("b", node("b")).add_node("a", node("a")).add_edge("plan", "b").add_edge("plan", "a")
        graph.add_node("each", node("each")).add_conditional_edges("a", route)
        compiled = graph.compile()
        compiled.invoke({"notes": []}) if way == "invoke" else asyncio.run(compiled.ainvoke({"notes": []}))

    shown = {of(program) for _ in range(10)}

    assert len(shown) == 1
    kept = ("chain", "parallel", ">")
    assert [line for line in shown.pop().splitlines() if line.split()[0] in kept and "> u" not in line] == [
        "chain LangGraph",
        '  > {"notes": []}',
        "  chain plan",
        "  parallel",
        "    chain a",
        '      > {"notes": ["plan"]}',
        "      chain route",
        '        > {"notes": ["plan", "a"]}',
        "    chain b",
        '      > {"notes": ["plan"]}',
        "  parallel",
        "    chain each",
        '      > {"notes": ["y"]}',
        "    chain each",
        '      > {"notes": ["x"]}',
    ]


@pytest.mark.usefixtures("restless")
def test_sequential_calls_keep_their_order_and_batches_between_them_are_parallel() -> None:
    def echo(n: int) -> str:
        return str(ScriptedChatModel(f"echo {n}").invoke(f"say {n}").content)

    def work(_: int) -> None:
        ScriptedChatModel("plan").invoke("z")
        RunnableLambda(echo).batch([2, 1, 1])
        dispatch_custom_event("half", {"done": 3})
        ScriptedChatModel("write").invoke("a")

    shown = {of(lambda: RunnableLambda(work).invoke(1)) for _ in range(10)}

    assert shown == {
        text(
            "chain work",
            "  > 1",
            "  chat ScriptedChatModel",
            '    > u1: "z"',
            '    < a1: "plan"  usage in=1 out=1',
            "  parallel",
            "    chain echo",
            "      chat ScriptedChatModel",
            '        > u2: "say 1"',
            '        < a2: "echo 1"  usage in=2 out=2',
            '      < "echo 1"',
            "    chain echo",
            "      chat ScriptedChatModel",
            "        > u2",
            "        < a2  usage in=2 out=2",
            '      < "echo 1"',
            "    chain echo",
            "      > 2",
            "      chat ScriptedChatModel",
            '        > u3: "say 2"',
            '        < a3: "echo 2"  usage in=2 out=2',
            '      < "echo 2"',
            '  @ event half {"done": 3}',
            "  chat ScriptedChatModel",
            '    > u4: "a"',
            '    < a4: "write"  usage in=1 out=1',
            "  < null",
        )
    }


def test_a_branch_a_retry_and_a_text_model() -> None:
    tries = iter([ValueError("not yet"), None])

    def flaky(text: str) -> str:
        if error := next(tries):
            raise error
        return text

    def program() -> None:
        retried = RunnableLambda(flaky).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
        branch = RunnableBranch((lambda text: len(text) > 9, RunnableLambda(len)), ScriptedLLM("short"))
        (retried | branch).invoke("hi")

    assert of(program) == text(
        "chain RunnableSequence",
        '  > "hi"',
        "  chain flaky",
        "    chain flaky",
        "      ! ValueError: not yet",
        "    chain flaky attempt=2",
        '      < "hi"',
        '    < "hi"',
        "  chain RunnableBranch",
        "    condition 1: chain RunnableLambda",
        "      < false",
        "    branch default: llm ScriptedLLM",
        '      < "short"  usage in=1 out=1',
        '    < "short"',
        '  < "short"',
    )


def test_reasoning_and_a_tool_call_while_streaming() -> None:
    def program() -> None:
        list(ScriptedChatModel(reply(think("hm"), "Let me look", call("weather", city="x"))).bind_tools([weather]).stream("hi"))

    assert of(program) == text(
        "chat ScriptedChatModel tools=weather",
        '  + tool1: weather(city: string) "The weather in a city."',
        '  > u1: "hi"',
        '  ~ 1 reasoning token: "hm"',
        '  ~ 3 tokens: "Let| me| look"',
        '  ~ 10 call tokens: "weather|{|\\"|city|\\"|:| \\"|x|\\"|}"',
        '  < a1: think("hm"); "Let me look"; call1 weather(city="x")  usage in=1 out=14',
    )


# -- parts


def a_guide() -> Any:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"18C in {city}"

    asked = reply(call("weather", city="Paris"), call("weather", city="Lyon"))
    model = ScriptedChatModel("Hello", "Both warm.").with_config(tags=["asked"])
    with record() as recording:
        create_agent(ScriptedChatModel(asked, "Both warm."), [weather], name="guide").invoke({"messages": "hi"})
        model.invoke("hi")
        model.invoke("bye")
    return recording


def test_an_outline_is_a_string_of_the_recording() -> None:
    recording = a_guide()

    assert recording.outline() == outline(recording)


def test_a_part_has_the_chosen_runs_in_the_order_of_the_whole() -> None:
    part = a_guide().only(kinds=["chat", "tool"])

    assert str(part) == text(
        "chat ScriptedChatModel tools=weather",
        '  + tool1: weather(city: string) "The weather in a city."',
        '  > u1: "hi"',
        '  < a1: call1 weather(city="Paris"); call2 weather(city="Lyon")  usage in=1 out=20',
        "parallel",
        '  tool weather(city="Paris") call1',
        '    < t1: call1 -> "18C in Paris"',
        '  tool weather(city="Lyon") call2',
        '    < t2: call2 -> "18C in Lyon"',
        "chat ScriptedChatModel tools=weather",
        "  > u1 a1 t1 t2",
        '  < a2: "Both warm."  usage in=7 out=3',
        "chat ScriptedChatModel tags=asked",
        "  > u1",
        '  < a3: "Hello"  usage in=1 out=1',
        "chat ScriptedChatModel tags=asked",
        '  > u2: "bye"',
        "  < a2  usage in=1 out=3",
    )
    assert [run.kind for run in part.runs] == ["chat", "tool", "tool", "chat", "chat", "chat"]


def test_a_part_is_chosen_by_tags_and_kinds() -> None:
    recording = a_guide()

    assert recording.only(tags="asked").outline() == "chat ScriptedChatModel tags=asked\n" * 2
    assert recording.only(kinds="tool", tags="asked").outline() == "(nothing was recorded)\n"
    assert recording.only(kinds="tool").late_events == []


def test_runs_that_follow_one_another_beside_others_keep_the_line_of_the_run_that_they_are_in() -> None:
    tape = Tape()
    top = tape.start("chain", "top", inputs="x")
    for key in ("a", "b"):
        branch = tape.start("chain", "branch", within=top, tags=(f"map:key:{key}",), inputs="x")
        for number in range(2 if key == "a" else 1):
            model = tape.start("chat_model", "model", within=branch, messages=[human(f"{key} {number}")])
            tape.tell("text", model, text="note")
            tape.answer(model, ai("ok"))
        tape.tell("text", branch, text="left out")
        tape.tell("chain_end", branch, outputs="x")
    tape.tell("chain_end", top, outputs="x")

    part = Part(tape, lambda run: run.kind == "chat")

    assert str(part) == text(
        "parallel",
        "  a: chain branch ...",
        "    chat model",
        '      > u1: "a 0"',
        '      @ text "note"',
        '      < a1: "ok"',
        "    chat model",
        '      > u2: "a 1"',
        '      @ text "note"',
        "      < a1",
        "  chat model",
        '    > u3: "b 0"',
        '    @ text "note"',
        "    < a1",
    )


@pytest.mark.parametrize(("kinds", "tags"), [((), ()), (["tool", "agent"], ())])
def test_a_part_is_of_known_kinds_or_of_tags(kinds: Any, tags: Any) -> None:
    with pytest.raises(ValueError, match=r"^only\(\) takes `kinds` of chain, chat, llm, tool, retriever, or `tags`; got kinds="):
        a_guide().only(kinds=kinds, tags=tags)


# -- the runs of a text


def test_the_runs_of_a_text_are_in_the_order_of_its_lines() -> None:
    recording = a_guide()

    text, places = lines_and_runs(recording)

    runs = [run for _, run in places]
    heads = [head(node) for _, node in walk(parse(render(recording))) if node.kind == "run"]
    assert text == lines(recording)
    assert [(run.kind, run.name) for run in runs] == [(told.kind, told.name) for told in heads]
    assert {run.id for run in runs} == {run.id for run in recording.runs}
    assert [run.name in text[line - 1] for line, run in places] == [True] * len(runs)


def test_a_text_of_nothing_has_no_runs() -> None:
    with record() as recording:
        pass

    assert lines_and_runs(recording) == (["(nothing was recorded)"], [])
