"""Recordings that the tests of matching have in common, and a strategy that draws more of them."""

from __future__ import annotations

from hypothesis import strategies as st

from llmtest.events import FrozenDict
from tests.support.programs import Step, Trace, run, trace

SHOP = trace(
    run("search", args={"q": "hat"}, output=FrozenDict(id=7, price=9.5)),
    run("book", args={"id": 7, "order_id": 1}),
    run("pay", args={"order_id": 1}),
    run("confirm", args={"order_id": 1}),
)
SIDE_BY_SIDE = trace([run("search"), run("book")])
CUT_SHORT = trace(run("search", open=True), run("book"))
NESTED = trace(run("search", [run("book")], kind="tool"))

AGENT = trace(run("agent", [run("plan")], [run("a"), run("b")], [run("book", args={"id": 7, "who": "Ada"})]))
SEQUENCE = trace(run("a"), run("b"), run("c"))

BOOKING = trace(
    run(
        "agent",
        [run("search", args={"q": "hat"})],
        [run("pay"), run("rate")],
        [run("book", args={"id": 8})],
        [run("left", open=True)],
    )
)
SEARCH = "event    1: on_tool_start `search`, depth 1: agent > search"
PAY = "event    3: on_tool_start `pay`, depth 1: agent > pay"
RATE = "event    4: on_tool_start `rate`, depth 1: agent > rate"
BOOK = "event    7: on_tool_start `book`, depth 1: agent > book"
LEFT = "event    9: on_tool_start `left`, depth 1: agent > left"


@st.composite
def shop_programs(draw: st.DrawFn) -> Trace:
    """Stages of tools, some with stages of their own; names come again and again."""
    left = [4]

    def step(depth: int) -> Step:
        left[0] -= 1
        if depth and left[0] > 0 and draw(st.booleans()):
            return run(draw(st.sampled_from("abc")), *(stage(depth - 1) for _ in range(draw(st.integers(1, 2)))), kind="tool")
        return run(draw(st.sampled_from("abc")))

    def stage(depth: int) -> list[Step]:
        return [step(depth) for _ in range(draw(st.integers(1, 3)) if left[0] > 1 else 1)]

    return trace(*(stage(2) for _ in range(draw(st.integers(1, 3))) if left[0] > 0))
