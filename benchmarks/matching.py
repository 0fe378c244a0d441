"""Shapes and rules over 100,000 events, against one plain Python loop over them; the index of the recording is built before.

And an agent that must obey ten rules while it runs, against the same agent recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from dirty_equals import IsInt

from benchmarks.harness import Ratio, measure
from benchmarks.recording import TURNS, run_agent
from llmtest import record
from llmtest.concurrency.lanes import Lane
from llmtest.events import EMPTY, Event, FrozenDict
from llmtest.matching import Rule, after, at_most, before, between, called, each, event, exactly, model, never, only, together
from llmtest.order.happens_before import HappensBefore
from llmtest.recording import Recording
from llmtest.recording.runs import build_runs
from llmtest.recording.views import Runs

EVENTS = 100_000
END = event("on_llm_end")
TURN = ("on_chat_model_start", "on_llm_end", *("on_tool_start", "on_tool_end") * 2)


HELD: list[Rule] = [
    never("delete_*"),
    never(called("search", query="secret")),
    at_most(TURNS, "search"),
    at_most(TURNS + 1, model()),
    only("search", "book"),
    before("search", "book"),
    after("pay", "book"),
    each("search").ends_before(model()),
    between("search", "book").never("pay"),
    never("search").after("book") & exactly(0, "pay"),
]
"""Ten rules that an agent which searches in each of its turns obeys."""


class _Written(Recording):
    """An agent that searches and books in turns, 100,000 events long: of each turn's two tools, both are of one message."""

    def __init__(self, beside: bool) -> None:
        super().__init__()
        main, lanes = Lane(1, "MainThread", 1), [Lane(n, "MainThread", 1, f"Task-{n}") for n in (2, 3)]
        for number in range(EVENTS // len(TURN)):
            for place, kind in enumerate(TURN):
                run_id = UUID(int=number * 3 + place // 2 + 1)
                name = ("gpt", "search", "book")[place // 2]
                lane = lanes[place // 2 - 1] if beside and place > 1 else main
                tags = (f"seq:step:{2 * number + (place > 1)}",) if beside else ()
                payload = FrozenDict(inputs=FrozenDict(id=number)) if kind == "on_tool_start" else EMPTY
                event = Event(kind, run_id, None, name, tags, EMPTY, payload, len(self._events), lane=lane)
                self._events.append(event)
                self._raw.append((kind, run_id, None, None, 0, 0, (lane, 0)))
        self.close()


def ratios(rounds: int) -> Iterator[Ratio]:
    turns = EVENTS // len(TURN)
    one_by_one, beside = _Written(False), _Written(True)
    for caught in (one_by_one, beside):
        assert caught.tools == [..., "book"] or caught.tools == [..., together("search", "book")]  # the index is built here
    kinds = one_by_one.kinds
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("shape of tools", lambda: one_by_one.tools == ["search", ..., called("book", id=7), ..., "book"]),
        ("shape of tools, two at a time", lambda: beside.tools == [together("search", "book"), ..., {"search", "book"}]),
        ("shape of kinds", lambda: kinds == ["on_chat_model_start", ..., "on_tool_start", "on_tool_end"]),
        ("shape of tools, by argument", lambda: one_by_one.tools == [..., called("book", id=turns - 2), ..., "book"]),
        ("shape, two at a time, by argument", lambda: beside.tools == [..., together("search", called("book", id=turns - 1))]),
        ("before", lambda: one_by_one.obeys(before("search", "book"))),
        ("each followed by, two at a time", lambda: beside.obeys(~each("search").followed_by("book"))),
        ("before, per argument", lambda: one_by_one.obeys(before("search", "book", per="id"))),
        ("before, as recorded", lambda: beside.obeys(before("search", "book", order="recorded"))),
        ("each followed by, per argument", lambda: one_by_one.obeys(each("search").followed_by("book", per="id"))),
        ("each followed by, as recorded", lambda: one_by_one.obeys(each("search").followed_by("book", order="recorded"))),
        ("each ends", lambda: beside.obeys(each("*").ends())),
        ("each ends before", lambda: beside.obeys(each("*").ends_before(model()))),
        ("between never", lambda: one_by_one.obeys(between("search", "book").never("delete_*"))),
        ("between never, what comes often", lambda: one_by_one.obeys(between("search", "book").never(model()))),
        ("between never, as recorded", lambda: beside.obeys(between("search", "book", order="recorded").never(model()))),
        ("between at least", lambda: one_by_one.obeys(between(model(), "book").at_least(1, "search"))),
        ("between at least, two at a time", lambda: beside.obeys(~between("search", model()).at_least(1, "book"))),
        ("between at least, as recorded", lambda: beside.obeys(between(model(), "book", order="recorded").at_least(1, "search"))),
        ("between never, of events", lambda: one_by_one.obeys(between(END, event("on_tool_start")).never(event("on_retry")))),
        ("before, of events", lambda: beside.obeys(before(event("on_chat_model_start"), event("on_tool_start")))),
        ("each followed by, of events", lambda: one_by_one.obeys(each(END).followed_by(event("on_tool_end")))),
        ("never after", lambda: one_by_one.obeys(never("search").after(called("book", id=turns - 1)))),
        ("at most, per argument", lambda: beside.obeys(at_most(1, "search", per="id"))),
        ("only", lambda: beside.obeys(only("search", "book"))),
        ("at most", lambda: beside.obeys(at_most(turns, "search"))),
        ("never, by argument", lambda: one_by_one.obeys(never(called("book", id=-1)))),
    ]

    strange: list[tuple[str, Callable[[], Any]]] = [
        ("never, by a matcher", lambda: one_by_one.obeys(never(called("book", id=IsInt(lt=0))))),
        ("shape, by a matcher", lambda: one_by_one.tools == [..., called("book", id=IsInt(gt=turns - 2))]),
    ]

    def loop() -> int:
        count = 0
        for one in one_by_one:
            if one.kind == "on_tool_start" and one.name == "book":
                count += 1
        return count

    for name, ours in (*cases, *strange):
        assert ours(), name
        bar = 3.0 if (name, ours) in cases else None
        yield measure(name, ours, loop, against="a plain loop", bar=bar, per=EVENTS, rounds=max(rounds // 20, 3))
    yield from _online(max(rounds // 15, 3))
    # n log n gives 5; n * n gives 16.
    many, few = _together(1000), _together(250)
    yield measure("1,000 concurrent tools", many, few, against="250 of them", bar=8.0, rounds=max(rounds // 20, 3))


def _together(tools: int) -> Callable[[], Any]:
    """The order and the match of tools that are tasks of one `gather`, then of one more."""
    main, lanes = Lane(1, "MainThread", 1), [Lane(n + 2, "MainThread", 1, f"Task-{n}", attach=1, joined=2) for n in range(tools)]
    for lane in lanes:
        lane.parent = main
    spans = [(UUID(int=n + 1), lane) for n, lane in enumerate(lanes)]
    names = ["x"] * (tools - 1) + ["y"]
    events = [
        Event(kind, run_id, None, name, lane=lane, moment=moment, number=moment * tools + n)
        for moment, kind in enumerate(("on_tool_start", "on_tool_end"))
        for n, ((run_id, lane), name) in enumerate(zip(spans, names, strict=True))
    ]
    runs, roots = build_runs(events)

    def match() -> bool:
        return Runs(runs, "tools", lambda: HappensBefore(roots)) == [together(called("x")[tools - 1], "y")]

    assert match()
    return match


def _online(rounds: int) -> Iterator[Ratio]:
    """Decorated, nothing is judged at the end: that is what holding costs. At its end a `with` block also builds its runs."""

    def block() -> None:
        with record(rules=HELD):
            run_agent(TURNS, [])

    def recorded() -> None:
        record()(run_agent)(TURNS, [])

    def held() -> None:
        record(rules=HELD)(run_agent)(TURNS, [])

    cases: list[tuple[str, Callable[[], Any], float | None]] = [
        ("create_agent held to ten rules, per turn", held, 1.1),
        ("... and judged at the end of a block", block, None),
    ]
    for name, ours, bar in cases:
        yield measure(name, ours, recorded, against="recorded alone", bar=bar, per=TURNS, rounds=rounds)
