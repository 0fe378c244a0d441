"""Spans as recordings: what is known, what is not, and traces of which a part is missing or wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llmtest import Recording, ScriptedChatModel, count_tokens, record, say
from llmtest.errors import OtelError, UnjudgedError
from llmtest.matching import at_least, at_most, before, called, each, event, model, never, only, together
from llmtest.otel import Options, Span, recordings_of, spans_of
from llmtest.otel.conventions import Own
from llmtest.otel.span_reader import MAX_RUN_DEPTH
from llmtest.otel.spans import SpanEvent
from llmtest.protocol import check, rules_of_spans
from llmtest.tracing.rows import rows, traces_of
from tests.support.spans import span, stored


def chat(
    number: int, parent: int | None, *, asked: Any = None, said: Any = None, at: tuple[int, int] = (1, 2), **about: Any
) -> Span:
    told: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    told |= {} if asked is None else {"gen_ai.input.messages": json.dumps(asked)}
    told |= {} if said is None else {"gen_ai.output.messages": json.dumps(said)}
    return span("chat gpt-5", number, parent, at=at, told=told, **about)


def tool(
    number: int, parent: int | None, name: str = "weather", *, at: tuple[int, int] = (1, 2), call: str = "", **about: Any
) -> Span:
    told: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
    told |= {"gen_ai.tool.call.id": call} if call else {}
    told |= {"gen_ai.tool.call.arguments": json.dumps(about.pop("args"))} if "args" in about else {}
    told |= {"gen_ai.tool.call.result": about.pop("result")} if "result" in about else {}
    return span(f"execute_tool {name}", number, parent, at=at, told=told, **about)


def agent(number: int, parent: int | None = None, *, at: tuple[int, int] = (1, 9), **about: Any) -> Span:
    told = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
    return span("invoke_agent clerk", number, parent, at=at, told=told, **about)


def one(*spans: Span) -> Recording:
    (found,) = recordings_of(spans)
    return found


QUESTION = [{"role": "user", "parts": [{"type": "text", "content": "How warm?"}]}]
CALL = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}]}]
RESULT = [*QUESTION, *CALL, {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "18C"}]}]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "It is 18C."}]}]


def whole(skew: int = 0) -> list[Span]:
    """An agent, whose tool ran on a machine with a clock of its own."""
    return [
        agent(1),
        chat(2, 1, asked=QUESTION, said=CALL, at=(2, 3)),
        tool(3, 1, call="c1", args={"city": "Paris"}, result="18C", at=(4 + skew, 5 + skew), source="other" if skew else ""),
        chat(4, 1, asked=RESULT, said=ANSWER, at=(6, 7)),
    ]


TREE = """\
chain clerk
  > <unknown>
  chat gpt-5
    > u1: "How warm?"
    < a1: call1 weather(city="Paris")
  tool weather(city="Paris") call1
    < t1: call1 -> "18C"
  chat gpt-5
    > u1 a1 t1
    < a2: "It is 18C."
  < <unknown>
"""


@pytest.mark.parametrize("skew", [0, 5000, -5000])
def test_order_comes_from_what_flows_and_never_from_a_clock(skew: int) -> None:
    recording = one(*whole(skew))

    assert str(recording) == TREE
    assert recording.tools == [called("weather", city="Paris")]
    assert recording.runs == ["clerk", "gpt-5", "weather", "gpt-5"]
    assert recording.obeys(before(model(), "weather"), each("weather").followed_by(model()))
    assert recording.roots[0].unknown == ["tokens", "notes", "input", "output"]


def test_spans_come_in_any_order() -> None:
    assert str(one(*reversed(whole()))) == TREE


def test_a_trace_survives_the_store() -> None:
    (again,) = stored(one(*whole()))

    assert str(again) == TREE
    assert again.models[0].unknown == ["tokens", "notes"]


# -- what is unknown


def equal(value: Any, shape: list[Any]) -> bool:
    return bool(value == shape)


def different(value: Any, shape: list[Any]) -> bool:
    return bool(value != shape)


def sides() -> Recording:
    """Two tools of which nothing tells the order, and nothing tells what they were given."""
    return one(agent(1), tool(2, 1, "a", at=(2, 3)), tool(3, 1, "b", at=(4, 5)))


UNKNOWN = {
    "order": (before("a", "b"), "`a` and `b` overlapped: nothing makes one wait for the other, as far as spans tell the order"),
    "what follows": (each("a").followed_by("b"), "as far as spans tell the order"),
    "order, the other way": (never("b").after("a"), "as far as spans tell the order"),
    "the opposite of an order": (~before("a", "b"), "as far as spans tell the order"),
    "arguments": (never(called("a", id=7)), "the span of `a` does not tell its arguments"),
    "a result": (never(called("a").returned(1)), "the span of `a` does not tell what it returned"),
    "where a value came from": (called("a").came_from("b"), "the span of `a` does not tell its input"),
    "each callback": (never(event("on_retry")), "spans do not tell each callback, so whether one fired is not known"),
    "tokens": (at_least(1, event("on_llm_new_token")), "spans do not tell each callback, so whether one fired is not known"),
}


@pytest.mark.parametrize(("rule", "why"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_rule_that_needs_what_a_span_does_not_tell_cannot_be_told(rule: Any, why: str) -> None:
    answer = sides().obeys(rule)

    assert answer.holds is None
    assert why in answer.said


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (at_most(1, "a"), True),
        (at_most(0, "a"), False),
        (only("a", "b"), True),
        (only("a"), False),
        (before("c", "b"), False),  # in whichever order: there is none
        (each("a").followed_by("c"), False),
        (each("a").ends(), True),
        (at_most(0, event("on_tool_error")), True),
    ],
)
def test_a_rule_that_needs_no_order_is_told(rule: Any, holds: bool) -> None:
    assert sides().obeys(rule).holds is holds


def test_as_recorded_is_the_clock_of_one_process_and_no_order_of_several() -> None:
    rule = before("a", "b", order="recorded")
    apart = one(agent(1), tool(2, 1, "a", at=(2, 3), source="host 1"), tool(3, 1, "b", at=(4, 5), source="host 2"))

    assert sides().obeys(rule)
    answer = apart.obeys(rule)
    assert answer.holds is None
    assert answer.said == "the spans come from several processes, whose clocks make no order"


def test_a_shape_of_runs_in_no_order_is_neither_true_nor_false() -> None:
    tools = sides().tools

    assert not equal(tools, ["a", "b"])
    assert not different(tools, ["a", "b"])
    assert not equal(tools, [together("a", "b")])
    with pytest.raises(AssertionError, match="spans do not tell the order of all of them"):
        tools.assert_matches(["a", "b"])
    assert sorted(tools.names) == ["a", "b"]


def test_tools_of_one_turn_are_together_whatever_their_order() -> None:
    calls = [{"role": "assistant", "parts": [{**CALL[0]["parts"][0], "id": call} for call in ("c1", "c2")]}]
    recording = one(agent(1), chat(2, 1, said=calls), tool(3, 1, "a", call="c1"), tool(4, 1, "b", call="c2"))

    assert recording.tools == [together("a", "b")]
    assert not equal(recording.tools, ["a", "b"])


def test_tokens_one_by_one_are_neither_equal_to_a_shape_nor_different() -> None:
    recording = one(*whole())

    for tokens in (recording.tokens, recording.models[0].tokens):
        assert not equal(tokens, [])
        assert not equal(tokens, ["It is 18C."])
        assert not different(tokens, ["It is 18C."])


def test_usage_that_no_span_tells_is_unknown() -> None:
    with pytest.raises(UnjudgedError, match="the usage of a recording is not known"):
        _ = one(*whole()).usage.total_tokens


def test_the_protocol_knows_which_of_its_checks_apply() -> None:
    assert rules_of_spans() == ["unseen call", "tool call without a run", "tool call run twice"]
    assert check(one(*whole(-5000))) == []
    twice = one(*whole(), tool(5, 1, call="c1", args={"city": "Paris"}, result="18C"))
    assert [broken.code for broken in check(twice)] == ["tool call run twice"]


# -- traces that are not whole


def codes(recording: Recording) -> list[str]:
    return [call.double for call in recording.unseen_calls]


def test_a_missing_parent_is_made_up_and_said() -> None:
    recording = one(tool(3, 2), tool(4, 2))

    assert codes(recording) == ["span 0000000000000002"]
    assert recording.runs.names == ["a span that is missing", "weather", "weather"]
    answer = recording.obeys(never("delete"))
    assert answer.holds is None
    assert answer.said.startswith(f"span 0000000000000002 is missing in trace {1:032x}")
    (broken,) = check(recording)
    assert broken.text == (
        f"span 0000000000000002 is missing in trace {1:032x}\n"
        "  the span is not in the file, or was not sent\n"
        "  export whole traces: without sampling, and with the spans of each process\n"
        "  no snapshot or assertion of this recording can see the call"
    )


def test_spans_that_are_within_each_other_are_cut_apart() -> None:
    recording = one(tool(1, 2, "a"), tool(2, 1, "b"), tool(3, 3, "c"))

    assert sorted(recording.runs.names) == ["a", "b", "c"]
    assert len(codes(recording)) == 2
    assert all("which is within itself" in code for code in codes(recording))


def test_a_span_that_comes_twice_is_one_and_another_with_its_id_is_said() -> None:
    assert codes(one(tool(1, None), tool(1, None))) == []
    assert codes(one(tool(1, None), tool(1, None, "other"))) == ["another span with the id 0000000000000001"]


def test_a_child_of_a_fast_clock_lies_within_its_parent_all_the_same() -> None:
    recording = one(agent(1, at=(100, 101)), tool(2, 1, at=(1, 2)), tool(3, 2, "inner", at=(900, 901)))

    kinds = [f"{event.kind} {event.name}" for event in recording]
    assert kinds == [
        "on_chain_start clerk",
        "on_tool_start weather",
        "on_tool_start inner",
        "on_tool_end inner",
        "on_tool_end weather",
        "on_chain_end clerk",
    ]


def test_spans_that_say_nothing_of_models_are_left_out_unless_they_are_around() -> None:
    web, query = span("POST /chat", 1), span("SELECT", 3, 2, told={"db.system": "postgresql"})

    assert recordings_of([web, query]) == []
    assert one(web, agent(2, 1), query).runs.names == ["POST /chat", "clerk"]


def test_a_failed_span_is_an_error() -> None:
    failed = replace(tool(1, None), status="error", message="TimeoutError: too slow")
    (run,) = one(failed).tools

    assert run.ended == "error"
    assert one(failed).errors == [TimeoutError]
    assert one(failed).errors[0].message == "TimeoutError: too slow"


def test_a_span_without_an_end_is_open() -> None:
    assert one(replace(tool(1, None), end_ns=0)).tools[0].ended == "open"


def test_spans_that_are_nested_too_deep_are_an_error() -> None:
    deep = [tool(number, number - 1 or None) for number in range(1, MAX_RUN_DEPTH + 2)]

    assert len(one(*deep[:-1]).runs) == MAX_RUN_DEPTH
    with pytest.raises(OtelError, match=f"^trace {1:032x}: spans are nested more than 2,000 deep$"):
        recordings_of(deep)


# -- ours


def ours() -> tuple[Recording, list[Span]]:
    with record() as recording:
        list(ScriptedChatModel(say("Hello ", "there")).stream("hi"))
    return recording, spans_of(recording, Options("exact"))


def test_with_its_events_a_trace_is_what_was_recorded() -> None:
    recording, spans = ours()
    again = one(*spans)

    assert [(e.kind, e.run_id, e.number, e.monotonic_ns) for e in again] == [
        (e.kind, e.run_id, e.number, e.monotonic_ns) for e in recording
    ]
    assert again.tokens == ["Hello ", "there", ...]
    assert again.models[0].unknown == ()


@pytest.mark.parametrize(
    "damage",
    [
        {Own.EVENTS: "{no"},
        {Own.EVENTS: "[]"},
        {Own.EVENTS: '[[0, "on_boom", "x", null, 1, 1, null, 0, null, {}]]'},
        {Own.LANES: "[{}]"},
        {Own.MESSAGES: '[{"$w": "@", "n": 0}]'},
        {Own.MESSAGES: f"[{'[' * 400}{']' * 400}]"},
        {Own.INSIDE: "many"},
    ],
)
def test_events_that_are_damaged_leave_what_the_conventions_say(damage: dict[str, str]) -> None:
    _, (only_one,) = ours()

    recording = one(replace(only_one, attributes={**only_one.attributes, **damage}))

    assert recording.models[0].output.text == "Hello there"
    assert recording.models[0].unknown == ["tokens", "notes"]


def test_a_recording_of_spans_can_be_counted_and_stored() -> None:
    recording = one(*whole())

    assert [len(rows(trace).runs) for trace in traces_of(recording)] == [4]
    with count_tokens() as tokens:
        pass
    assert tokens.total_tokens == 0


def test_exact_spans_of_which_one_is_missing_are_read_by_the_conventions() -> None:
    from langchain_core.runnables import RunnableLambda

    with record() as recording:
        RunnableLambda(lambda text: ScriptedChatModel("ok").invoke(text)).invoke("hi")
    spans = spans_of(recording, Options("exact"))

    assert one(*spans).roots[0].unknown == ()
    assert one(spans[0]).roots[0].unknown == ["tokens", "notes"]  # the numbers of its events have a gap
    assert codes(one(spans[1])) == [f"span {spans[0].span_id}"]


@pytest.mark.parametrize("first", [0, 1])
def test_tries_of_a_fallback_are_in_no_order_by_their_clocks(first: int) -> None:
    told = {"llmtest.run.kind": "chain", "llmtest.run.name": "RunnableWithFallbacks"}
    times = [(2, 3), (5, 6)]

    found = one(
        span("x", 1, at=(1, 9), told=told),
        tool(2, 1, "ask", at=times[first]),
        tool(3, 1, "pay", at=times[1 - first]),
    )

    assert found.obeys(before("ask", "pay")).holds is None
    assert found.obeys(before("pay", "ask")).holds is None
    assert "parallel" in str(found)


@pytest.mark.parametrize("result", ['[{"degrees": 1', '["Paris", "Ly', '{"degrees": [1'])
def test_what_is_cut_off_by_a_limit_is_unknown(result: str) -> None:
    asked, said = json.dumps(RESULT)[:-9], json.dumps(CALL)[:-20]
    cut = {"gen_ai.input.messages": asked, "gen_ai.output.messages": said}
    model_told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", **cut}
    tool_told = {"gen_ai.tool.call.arguments": '{"city": "Par', "gen_ai.tool.call.result": result}
    called_told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather", **tool_told}
    agent_told = {"gen_ai.operation.name": "invoke_agent", **cut}

    found = one(
        span("a", 1, told=agent_told), span("chat gpt-5", 2, 1, told=model_told), span("execute_tool", 3, 1, told=called_told)
    )

    assert [{"input", "output"} <= set(run.unknown) for run in found.runs] == [True, True, True]
    assert found.obeys(never(called("weather", city="Paris"))).holds is None


@pytest.mark.parametrize("text", ['{"a": 1} and more', "[note] hello", "{x}", '"quoted"', '{"a": 1}\n{"b": 2}'])
def test_a_text_that_only_looks_like_json_is_told(text: str) -> None:
    assert "output" not in one(agent(1), tool(2, 1, result=text)).tools[0].unknown


def test_a_span_of_an_operation_that_is_not_known_may_be_a_tool() -> None:
    told = {"gen_ai.operation.name": "call_tool_v9"}

    found = one(agent(1), tool(2, 1, "ask"), span("refund", 3, 1, told=told))

    assert found.obeys(never("refund")).holds is None
    around = one(agent(1), span("cycle", 3, 1, told=told), tool(2, 3, "ask"))  # what is around others is none
    assert list(around.unseen_calls) == []
    assert [run.name for run in around.runs] == ["clerk", "cycle", "ask"]


def test_attributes_that_a_program_has_dropped_are_said() -> None:
    flat = {"openinference.span.kind": "LLM", "llm.input_messages.1.message.content": "b"}

    found = one(agent(1), span("chat", 2, 1, told=flat, dropped=1))

    assert "input" in found.models[0].unknown
    assert found.obeys(never("refund")).holds is None
    assert "what 1 attribute of span 0000000000000002 said" in str(found.unseen_calls)


def test_events_that_a_program_has_dropped_may_be_messages() -> None:
    asked = SpanEvent("gen_ai.user.message", 1, {"content": "How warm?"})
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}

    found, whole = (one(agent(1), span("chat", 2, 1, told=told, events=(asked,), dropped_events=n)) for n in (3, 0))

    assert ("input" in found.models[0].unknown, "input" in whole.models[0].unknown) == (True, False)
    assert found.obeys(never("refund")).holds is None
    assert "what 3 events of span 0000000000000002 said" in str(found.unseen_calls)


@pytest.mark.parametrize(("kind", "holds"), [("server", None), ("consumer", None), ("internal", True)])
def test_a_span_with_a_parent_in_another_process_makes_clocks_no_order(kind: Any, holds: bool | None) -> None:
    apart = one(agent(1), tool(2, 1, "a", at=(2, 3)), tool(3, 1, "b", at=(4, 5), kind=kind))

    assert apart.obeys(before("a", "b", order="recorded")).holds is holds


def test_a_stand_in_of_a_parent_has_not_the_id_of_the_parent() -> None:
    whole, part = one(agent(1), tool(2, 1)), one(tool(3, 1))

    assert part.roots[0].id != whole.roots[0].id


def test_a_link_orders_what_is_listed_and_no_rule() -> None:
    late = tool(2, 1, "ask", at=(5, 6))
    pay = replace(tool(3, 1, "pay", at=(2, 3)), links=((late.trace_id, late.span_id),))

    found = one(agent(1), pay, late)

    assert found.tools.names == ["ask", "pay"]  # though the clock says otherwise
    assert found.obeys(before("ask", "pay")).holds is None


def test_a_link_to_another_trace_makes_no_order() -> None:
    elsewhere = replace(tool(3, 1, "pay"), links=((f"{9:032x}", f"{2:016x}"),))

    found = one(agent(1), tool(2, 1, "ask"), elsewhere)

    assert found.obeys(before("ask", "pay")).holds is None


def test_a_run_that_ended_neither_well_nor_with_an_error_says_so() -> None:
    found = one(agent(1), tool(2, 1, "ask"))
    paused = replace(tool(2, 1, "ask"), attributes={**tool(2, 1, "ask").attributes, Own.ENDED: "paused"})

    assert [run.ended for run in found.tools] == ["ended"]
    assert [run.ended for run in one(agent(1), paused).tools] == ["paused"]
