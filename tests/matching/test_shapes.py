"""Shapes mean what the reference says: all orders that the program allows, cut in all ways."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any
from unittest.mock import ANY

import pytest
from dirty_equals import IsInt, IsStr
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest.core.literals import Repeated, Together
from llmtest.core.sequences import Names, Tokens
from llmtest.events import Failure, Run
from llmtest.matching import called, chain, event, model, node, retriever, together
from llmtest.matching.shapes import RunLine, line_of
from llmtest.order.happens_before import HappensBefore
from llmtest.recording.views import Runs
from tests.support.programs import Step, Trace, chat, overlapped, run, trace
from tests.support.shop import AGENT, SEQUENCE

# -- the reference


def linearisations(runs: Sequence[Run], first: Callable[[Run, Run], bool]) -> Iterator[tuple[Run, ...]]:
    """Every order of these runs that the program does not contradict."""
    if not runs:
        yield ()
    for one in runs:
        if not any(first(other, one) for other in runs if other is not one):
            for rest in linearisations([other for other in runs if other is not one], first):
                yield (one, *rest)


def has_shape(runs: Sequence[Run], order: HappensBefore, shape: Sequence[Any]) -> bool:
    """The definition, word for word."""
    known = {(a, b): order.before(a, b) or order.contains(a, b) for a, b in itertools.permutations(runs, 2)}

    def first(a: Run, b: Run) -> bool:
        return known[a, b]

    return any(_cut(line, list(shape), (), order, first) for line in linearisations(list(runs), first))


def _cut(
    line: Sequence[Run], shape: list[Any], taken: tuple[Run, ...], order: HappensBefore, first: Callable[[Run, Run], bool]
) -> bool:
    if not shape:
        return not line
    element, *rest = shape
    for size in range(len(line) + 1):
        piece = line[:size]
        if element is ...:
            found = _cut(line[size:], rest, taken, order, first)
        else:
            fits = all(first(a, b) for a in taken for b in piece) and _fits(element, piece, order, first)
            found = fits and _cut(line[size:], rest, (*taken, *piece), order, first)
        if found:
            return True
    return False


def _fits(element: Any, piece: Sequence[Run], order: HappensBefore, first: Callable[[Run, Run], bool]) -> bool:
    if isinstance(element, Repeated):
        enough = element.least <= len(piece) and (element.most is None or len(piece) <= element.most)
        chained = all(first(a, b) for a, b in itertools.combinations(piece, 2))
        return enough and chained and all(element.element.misses(one) is None for one in piece)
    if isinstance(element, Together):
        return _together(piece, order) and any(_seated(element.members, p) for p in itertools.permutations(piece))
    return len(piece) == 1 and _means(element, piece[0])


def _together(piece: Sequence[Run], order: HappensBefore) -> bool:
    return all(
        overlapped(order, a, b) or (order.turn(a) is not None and order.turn(a) == order.turn(b))
        for a, b in itertools.combinations(piece, 2)
    )


def _seated(members: Sequence[Any], piece: Sequence[Run]) -> bool:
    if not members:
        return not piece
    first, *rest = members
    low, high = (first.least, first.most) if isinstance(first, Repeated) else (1, 1)
    selector = first.element if isinstance(first, Repeated) else first
    high = len(piece) if high is None else min(high, len(piece))
    return any(all(_means(selector, one) for one in piece[:n]) and _seated(rest, piece[n:]) for n in range(low, high + 1))


def _means(given: Any, one: Run) -> bool:
    return given == one.name if isinstance(given, str) else given.misses(one) is None


# -- random programs, with branches that really are side by side


@st.composite
def programs(draw: st.DrawFn, size: int = 4) -> Trace:
    """Stages of runs, some of them chains with stages of their own; not more than `size` tools."""
    left = [size]

    def step(depth: int) -> Step:
        if depth and left[0] > 1 and draw(st.booleans()):
            return run("chain", *(stage(depth - 1) for _ in range(draw(st.integers(1, 2)))))
        left[0] -= 1
        given: Any = draw(st.sampled_from([{}, {}, *({"n": value} for value in (0, 1, 1.0, True, "1", None, [1], Twin()))]))
        return run(draw(st.sampled_from("abc")), call_id=draw(st.sampled_from([None, "1", "2"])), args=given)

    def stage(depth: int) -> list[Step]:
        return [step(depth) for _ in range(draw(st.integers(1, 3)) if left[0] > 1 else 1)]

    return trace(chat("gpt", "1", "2"), *(stage(2) for _ in range(draw(st.integers(1, 3))) if left[0] > 0))


class Twin:
    """An argument that is equal to whatever is 1."""

    def __eq__(self, other: object) -> bool:
        return other == 1

    __hash__ = None  # type: ignore[assignment]


asking = [called("a", n=1), called(n=0), called("b", n=None), called("a", n="1") | called("b", n=True), called(n=IsInt(gt=0))]
closer = [called("a").where(lambda one: one.args.get("n")), called("c").returned(ANY), called("a", n=1).where(callable)]
singles = st.sampled_from("abcz") | st.sampled_from([called("a") | "b", called("*"), *asking, *closer])
repeated = st.sampled_from([called("a")[1:], called("*")[2], called("b")[:2], (called("a") | "b")[1:2]])
groups = st.lists(singles | repeated, min_size=1, max_size=3).map(lambda members: together(*members))
shapes = st.lists(st.just(...) | singles | repeated | groups, max_size=5)


@settings(max_examples=100, deadline=None)
@given(programs(), shapes)
def test_a_shape_matches_where_the_reference_says_so(caught: Trace, shape: list[Any]) -> None:
    runs = list(caught.tools)[:5]
    tools = Runs(runs, "tools", caught.order)

    assert (tools == shape) is has_shape(runs, caught.order(), shape)


@settings(max_examples=50, deadline=None)
@given(programs(), st.data())
def test_a_shape_made_from_the_runs_themselves_matches_as_the_reference_says(caught: Trace, data: st.DataObject) -> None:
    runs = list(caught.tools)[:5]
    picked = [data.draw(st.sampled_from([..., one.name, one.name])) for one in runs]
    joined = data.draw(st.booleans())
    shape = [together(*[one for one in picked[:2] if one is not ...] or ["a"]), *picked[2:]] if joined else picked

    assert (Runs(runs, "tools", caught.order) == shape) is has_shape(runs, caught.order(), shape)


words = st.lists(st.sampled_from("ab"), max_size=6)


def _plain(line: Sequence[str], shape: list[Any]) -> bool:
    if not shape:
        return not line
    first, *rest = shape
    if first is ...:
        return any(_plain(line[n:], rest) for n in range(len(line) + 1))
    if isinstance(first, set):
        return sorted(line[: len(first)]) == sorted(first) and _plain(line[len(first) :], rest)
    return bool(line) and line[0] == first and _plain(line[1:], rest)


@settings(deadline=None)
@given(words, st.lists(st.sampled_from(["a", "b", ..., {"a", "b"}, {"a"}]), max_size=5))
def test_names_and_tokens_match_as_the_reference_says(line: list[str], shape: list[Any]) -> None:
    assert (Names(line) == shape) is (Tokens(line) == shape) is _plain(line, shape)


# -- what neighbours, gaps and groups mean

TURN = trace(chat("gpt", "1", "2"), run("a", call_id="1"), run("b", call_id="2"), chat("gpt", "3"), run("c", call_id="3"))


@pytest.mark.parametrize(
    ("caught", "shape", "expected"),
    [
        (AGENT, ["plan", together("a", "b"), "book"], True),
        (AGENT, ["plan", {"b", "a"}, "book"], True),
        (AGENT, ["plan", "a", "b", "book"], False),
        (AGENT, ["plan", "b", "a", "book"], False),
        (AGENT, ["plan", ..., "book"], True),
        (AGENT, [..., "a", ...], True),
        (AGENT, [..., "a", ..., "book"], True),
        (AGENT, [..., "a", ..., "b", ...], False),
        (AGENT, ["plan", "a", ...], True),  # `...` takes what ran beside its neighbour
        (AGENT, ["plan", "a", "book"], False),
        (AGENT, ["plan", together("a"), "book"], False),
        (AGENT, ["plan", together("a", "b", "b"), "book"], False),
        (AGENT, ["plan", together(called()[2]), "book"], True),
        (AGENT, ["plan", called()[2], "book"], False),  # one after the other, which they were not
        (AGENT, ["plan", together("a", called("z")[:1], "b"), "book"], True),
        (AGENT, [], False),
        (AGENT, [...], True),
        (AGENT, [..., ..., ...], True),
        (SEQUENCE, ["a", "b", "c"], True),
        (SEQUENCE, [together("a", "b"), "c"], False),  # one after the other, of no one turn
        (SEQUENCE, ["a", called()[1:3]], True),
        (SEQUENCE, ["a", called()[3], ...], False),
        (SEQUENCE, [called()[:]], True),
        (SEQUENCE, ["c", ..., "a"], False),
        (SEQUENCE, ["a", [..., "c"]], False),
        (SEQUENCE, ["a", 7, None], False),
        (TURN, [together("a", "b"), "c"], True),  # one turn, though one after the other
        (TURN, ["a", "b", "c"], True),
        (TURN, ["b", "a", "c"], False),
        (TURN, [together("b", "c"), ...], False),
        (trace(run("a"), run("b"), run("c", open=True)), ["a", "b", "c"], True),
        (trace(), [], True),
        (trace(), [...], True),
        (trace(), [together(called("a")[:2])], True),
        (trace(), ["a"], False),
        (trace(), [..., "a"], False),
    ],
)
def test_what_a_shape_means(caught: Trace, shape: list[Any], expected: bool) -> None:
    assert (caught.tools == shape) is expected
    assert (caught.tools != shape) is not expected
    assert bool(caught.tools.explain(shape)) is expected


def test_parents_come_before_what_is_in_them() -> None:
    assert AGENT.runs == ["agent", "plan", together("a", "b"), "book"]
    assert AGENT.runs == [chain("agent"), ..., called("book")]
    assert AGENT.runs[0].children == ["plan", {"a", "b"}, ...]
    assert AGENT.runs[1].children == []


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("book", True),
        ("b*k", True),
        ("b*", True),
        ("*", True),
        ("book*", True),
        ("oo", False),
        (re.compile("^bo+k$"), True),
        (re.compile("^oo"), False),
        (IsStr(regex="b..k"), True),
        (ANY, True),
        (called("book", id=7), True),
        (called("book", id=8), False),
        (called("book", id=ANY), True),
        (called("book", id=IsInt(gt=6), who=re.compile("^A")), True),
        (called("book", who=re.compile("x")), False),
        (called("book", id=re.compile("7")), False),
        (called("book", day=1), False),
        (called(re.compile("oo"), id=7), True),
        (called("book").where(lambda run: run.args["who"] == "Ada"), True),
        (called("book").where(lambda run: run.args["nobody"]), False),
        (called("book").returned(None), True),
        (called("book").returned(1), False),
        (called("book").failed(), False),
        (called("book").tagged("x"), False),
        (called("z") | "book", True),
        ("book" | called("z"), True),
        (called("z") | called("book", id=8), False),
        (model("book"), False),
        (chain("book"), False),
        (retriever("book"), False),
        (node("book"), False),
        (event("on_tool_start"), False),
        (AGENT.tools[3], True),
        (AGENT.tools[0], False),
        (AGENT.run("book"), True),
        (SEQUENCE.run("a"), False),
    ],
)
def test_what_an_element_means(element: Any, expected: bool) -> None:
    assert (AGENT.tools == [..., element]) is expected


def test_turns_that_look_the_same_match_the_same() -> None:
    caught = trace(*([run("a"), run("b")] for _ in range(4)), [run("b"), run("a")])

    assert caught.tools == [..., {"a", "b"}]
    assert caught.tools == [{"a", "b"}] * 5
    assert caught.tools.explain([..., "c"]).holds is False


def test_each_run_that_may_be_meant_is_asked() -> None:
    caught = trace(run("a", args={"n": 1}), run("a", args={"n": [2]}), run("a", args={"n": [3]}))

    assert caught.tools == [..., called("a", n=ANY)]
    assert caught.tools == [..., called("a", n=[3])]
    assert caught.tools != [..., called("a", n=[2])]


@pytest.mark.parametrize("last", [1, True, Twin()], ids=["the value", "another that is equal", "one of no plain type"])
def test_a_run_is_asked_by_its_own_argument_whatever_those_before_it_were_given(last: Any) -> None:
    caught = trace(*(run("a", args={"n": n}) for n in (5, 6, last, 7)))

    assert caught.tools == [..., called("a", n=1), "a"]
    assert caught.tools != [..., called("a", n=1)]
    assert caught.tools != [..., called("a", n=2), ...]


def test_a_group_may_be_one_run_that_ran_alone() -> None:
    second = called("b").where(lambda one: one.name == "b")
    nobody = called("b").where(lambda one: one.name == "a")

    matched = [SEQUENCE.runs == [..., together(one), ...] for one in ("b", second, nobody)]

    assert matched == [True, True, False]


def test_kinds_and_tokens_have_shapes_too() -> None:
    kinds = trace(run("a"), run("b", error=Failure("ValueError", "x"))).kinds

    assert kinds == ["on_tool_start", "on_tool_end", "on_tool_start", "on_tool_error"]
    assert kinds == ["on_tool_*", ..., re.compile("error$")]
    assert kinds == ("on_tool_start", ..., {"on_tool_error", "on_tool_start"})
    assert kinds != [..., "on_tool_end"]
    assert kinds != "on_tool_start"
    assert Tokens(["*", "a", ["block"]]) == ["*", IsStr(), ["block"]]
    assert Tokens(["a"]) != ["*"]
    assert Tokens(["a"]) != {"a"}


def test_runs_are_compared_with_runs_by_identity() -> None:
    again = trace(run("a"), run("b"), run("c"))

    assert SEQUENCE.tools == SEQUENCE.tools == SEQUENCE.runs
    assert SEQUENCE.tools != again.tools
    assert SEQUENCE.tools != "abc"
    assert Runs([SEQUENCE.run("b"), SEQUENCE.run("a")]) == ["b", "a"]  # nothing is known of their order but this
    assert SEQUENCE.tools[1:] == ["b", "c"]
    assert [one.name for one in reversed(SEQUENCE.tools)] == ["c", "b", "a"]


# -- matchers


# -- speed


def test_no_shape_takes_exponential_time() -> None:
    either = called("a") | "b" | called("a") | "b"
    line = trace(*(run("a") for _ in range(200)))
    branches = trace([run("branch", *([run("a")] for _ in range(3))) for _ in range(12)])
    began = perf_counter()

    assert line.tools != [..., either, ...] * 30 + ["z"]
    assert line.tools != [either[1:], ...] * 30 + ["z"]
    assert Names("a" * 300) != [..., {"a", "b"}, ..., "a"] * 30 + ["z"]
    assert branches.tools != [..., either, ..., either, ...] * 4 + ["z"]
    assert branches.tools == [..., together(*["a"] * 12), ...]
    assert branches.tools != [..., together(*["a"] * 13), ...]
    assert perf_counter() - began < 20  # a blow-up would take years


def test_a_value_that_is_no_name_says_which_run_it_does_not_fit() -> None:
    taker = RunLine(AGENT.tools).taker(IsStr(regex="z"))

    assert taker.misses(AGENT.run("plan")) == "it is 'plan'"
    assert RunLine(AGENT.tools).taker(ANY).misses(AGENT.run("plan")) is None


def test_a_line_is_read_once() -> None:
    order, runs = AGENT.order(), AGENT.tools._runs

    line = line_of(runs, order)

    assert line is line_of(runs, order)
    assert isinstance(line, RunLine)
    assert line is not line_of(runs[:2], order)
