"""The order of siblings by what flows between them."""

from __future__ import annotations

from itertools import count

import pytest

from llmtest.concurrency.lanes import meeting
from llmtest.errors import OtelError
from llmtest.events.words import FrozenDict, FrozenList, Message, ToolCall
from llmtest.otel.data_flow import Item, Order, order_of
from llmtest.otel.span_facts import SpanFacts


def model(name: str, *, calls: tuple[str, ...] = (), reads: tuple[str, ...] = (), answers: tuple[str, ...] = ()) -> SpanFacts:
    """A model that makes calls, and reads calls of other models and answers of tools."""
    made = tuple(ToolCall("t", FrozenDict(), call) for call in calls)
    before = [Message("ai", "", tuple(ToolCall("t", FrozenDict(), call) for call in reads))] if reads else []
    asked = FrozenList([*before, *(Message("tool", "ok", tool_call_id=call) for call in answers)])
    return SpanFacts("chat", name, asked, [Message("ai", "", made)])


def tool(name: str, call: str | None) -> SpanFacts:
    return SpanFacts("tool", name, call_id=call)


def found(*facts: SpanFacts, links: dict[int, list[int]] | None = None) -> Order:
    items: list[Item] = [
        (one, f"s{number}", [("t", f"s{other}") for other in (links or {}).get(number, [])]) for number, one in enumerate(facts)
    ]
    return order_of(items, count(1))


def first(order: Order, a: int, b: int) -> bool:
    """True if one surely ended before the other began."""
    return meeting(order.marks[a][1], order.marks[b][0]) is not None


AGENT = (model("m1", calls=("a", "b")), tool("x", "a"), tool("y", "b"), model("m2", reads=("a", "b"), answers=("a", "b")))


def test_tools_come_after_the_model_that_asked_and_before_the_one_that_reads() -> None:
    order = found(*AGENT)

    assert [(a, b) for a in range(4) for b in range(4) if first(order, a, b)] == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    assert not order.is_certain  # the two tools


def test_one_tool_after_the_other_is_certain() -> None:
    order = found(model("m1", calls=("a",)), tool("x", "a"), model("m2", answers=("a",)))

    assert order.is_certain
    assert order.is_connected


@pytest.mark.parametrize(
    "facts",
    [
        (tool("x", None), tool("y", None)),
        (model("m1"), model("m2")),
        (tool("x", "a"), model("m", answers=("a",))),  # nobody has asked: an id of another conversation
        (model("m1", calls=("a",)), model("m2", calls=("a",)), tool("x", "a")),  # an id that two models made says nothing
    ],
)
def test_without_a_flow_nothing_is_certain(facts: tuple[SpanFacts, ...]) -> None:
    order = found(*facts)

    assert not order.is_certain
    assert not order.is_connected
    assert not any(first(order, a, b) for a in range(len(facts)) for b in range(len(facts)) if a != b)


def test_a_single_span_is_in_order_with_itself() -> None:
    assert found(tool("x", None)).is_certain
    assert found().is_certain


def test_a_numbered_step_makes_an_order() -> None:
    graph = FrozenDict(langgraph_step=1)
    steps = [SpanFacts("chain", name, tags=(f"graph:step:{n}",), metadata=graph) for n, name in enumerate("ab")]

    assert first(found(*steps), 0, 1)


def test_a_link_tells_what_began_first_and_not_what_ended() -> None:
    order = found(tool("x", None), tool("y", None), links={1: [0]})

    assert (order.begun, order.is_certain) == ([(0, 1)], False)
    assert not first(order, 0, 1)
    assert found(tool("x", None), tool("y", None), links={1: [1]}).begun == []


def test_links_that_contradict_each_other_or_what_flows_tell_nothing() -> None:
    assert found(tool("x", None), tool("y", None), links={1: [0], 0: [1]}).begun == ()
    assert found(*AGENT, links={0: [1]}).begun == ()


def test_a_circle_makes_no_order() -> None:
    assert not found(model("m", calls=("a",), answers=("b",)), model("n", calls=("b",), reads=("a",)), tool("x", "b")).is_certain


def test_what_is_beside_a_flow_is_in_no_order_with_it() -> None:
    order = found(*AGENT, tool("log", None))

    assert not any(first(order, 4, other) or first(order, other, 4) for other in range(4))
    assert first(order, 0, 3)


def test_steps_that_cannot_be_written_as_blocks_are_in_no_order() -> None:
    # a before c, b before d, a before d: b and c are in no order, so the four are no sequence of blocks.
    a, b = model("a", calls=("x", "y")), model("b", calls=("z",))
    order = found(a, b, model("c", reads=("x",)), model("d", reads=("y", "z")))

    assert not order.is_certain
    assert not first(order, 1, 2)


def test_of_a_call_that_was_made_again_each_answer_may_be_the_one_that_was_read() -> None:
    order = found(model("m1", calls=("a",)), tool("x", "a"), tool("x again", "a"), model("m2", answers=("a",)))

    assert first(order, 0, 1)
    assert first(order, 0, 2)
    assert not first(order, 1, 3)
    assert not first(order, 2, 3)


def test_steps_with_too_many_spans_are_an_error_and_no_endless_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtest.otel.data_flow.MAX_PAIRS", 3)
    items: list[Item] = [(SpanFacts("chain", "n", tags=(f"seq:step:{number % 2}",)), f"s{number}", []) for number in range(4)]

    with pytest.raises(OtelError, match=r"^steps that follow each other have more than 3 pairs of spans$"):
        order_of(items, count(1))
