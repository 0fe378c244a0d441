"""What is known of the order of siblings: from tags and lines of control, never from when they happened to start."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest.concurrency.lanes import Lane
from llmtest.events import FrozenList, Run
from llmtest.order.siblings import Item, are_in_sequence, home_of, item_of, layers
from tests.support.lines import HOME, run, task, thread

FALLBACKS = "RunnableWithFallbacks"


def order(*runs: Run, home: Lane | None = HOME, parent: Run | None = None, notes: tuple[Item, ...] = ()) -> list[list[str]]:
    """The names of runs by layer."""
    items = [*(item_of(one, parent) for one in runs), *notes]
    return [sorted(item.run.name if item.run else "note" for item in layer) for layer in layers(items, home)]


# -- steps of the program


def test_no_siblings_make_no_layers() -> None:
    assert order() == []


@pytest.mark.parametrize("starts", [*itertools.permutations([0, 10, 20])])
def test_a_sequence_is_in_the_order_of_its_steps_whenever_they_start(starts: tuple[int, ...]) -> None:
    runs = [run(name, start, start + 30, task(9 + start), f"seq:step:{name}") for name, start in zip("123", starts, strict=True)]

    assert order(*runs) == [["1"], ["2"], ["3"]]


def test_nodes_of_one_step_of_a_graph_are_parallel_and_steps_are_not() -> None:
    def node(name: str, start: int, lane: Lane, step: int) -> Run:
        return run(name, start, start + 5, lane, f"graph:step:{step}", langgraph_step=step)

    runs = [node("a", 0, HOME, 1), node("b", 10, thread(2), 2), node("c", 20, thread(3), 2), node("d", 30, HOME, 3)]

    assert order(*runs) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("same", [True, False])
def test_branches_of_a_map_are_never_ordered_not_even_on_one_thread(same: bool) -> None:
    lanes = (HOME, HOME) if same else (thread(2), thread(3))
    runs = [run(name, start, start + 5, lane, f"map:key:{name}") for name, start, lane in zip("ba", (0, 10), lanes, strict=True)]

    assert order(*runs) == [["a", "b"]]


@pytest.mark.parametrize("tag", ["seq:step:x", "graph:step:1", "my:tag"])
def test_a_tag_that_only_looks_like_a_step_says_nothing(tag: str) -> None:
    assert order(run("a", 0, 1, thread(2), tag), run("b", 2, 3, thread(3), tag)) == [["a", "b"]]


def test_steps_of_other_parents_say_nothing() -> None:
    a, b = run("a", 0, 1, thread(2), "seq:step:2"), run("b", 2, 3, thread(3), "seq:step:1")
    moved = Run(b.id, UUID(int=2), b.kind, b.name, b.tags, b.metadata, b.events, ())

    assert order(a, moved) == [["a", "b"]]


# -- lines of control


def test_one_line_of_control_is_in_the_order_of_its_starts() -> None:
    assert order(run("a", 0, 1, HOME), run("b", 2, 3, HOME), run("c", 4, None, HOME)) == [["a"], ["b"], ["c"]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([HOME, HOME, HOME, task(2), None]),
            st.sampled_from(["", "", "", "seq:step:1"]),
            st.integers(0, 2),
            st.sampled_from([1, 1, 3, None]),
            st.sampled_from(["tool", "chain"]),
        ),
        max_size=4,
    ),
    st.sampled_from([HOME, HOME, None]),
)
def test_what_a_look_takes_for_a_sequence_is_one(siblings: list[Any], home: Lane | None) -> None:
    runs, start = [], 0
    for lane, tag, pause, took, kind in siblings:
        start += 10 + pause
        runs.append(run(str(start), start, None if took is None else start + took * 7, lane, *filter(None, [tag]), kind=kind))

    if are_in_sequence(runs, home):
        assert order(*runs, home=home) == [[one.name] for one in runs]


def test_siblings_are_a_sequence_if_each_was_over_on_the_line_of_their_parent() -> None:
    first, second, beside = run("a", 0, 1, HOME), run("b", 2, None, HOME), run("c", 3, 4, HOME)

    assert are_in_sequence([beside], None)
    assert are_in_sequence([first, second], HOME)
    assert not are_in_sequence([first, second, beside], HOME)
    assert not are_in_sequence([first, second], task(2))
    assert not are_in_sequence([first, run("b", 2, 3, HOME, "seq:step:1")], HOME)


def test_what_has_no_lane_runs_where_its_parent_runs() -> None:
    assert order(run("a", 0, 1), run("b", 2, 3, HOME), home=None) == [["a"], ["b"]]


@pytest.mark.parametrize("lane", [task, thread])
def test_what_is_spawned_together_is_parallel_between_what_comes_before_and_after(lane: Any) -> None:
    runs = [
        run("plan", 0, 1, HOME),
        run("x", 2, 3, lane(2, attach=1, joined=9)),
        run("y", 4, 9, lane(3, attach=1, joined=9)),
        run("z", 5, 6, lane(4, attach=1, joined=9)),
        run("write", 10, 11, HOME),
        run("more", 12, 13, lane(5, attach=11)),
    ]

    assert order(*runs) == [["plan"], ["x", "y", "z"], ["write"], ["more"]]


def test_two_lines_of_control_of_several_runs_keep_their_own_order() -> None:
    lanes = [task(2), task(3)]
    runs = [
        run(f"{n}{lane.number}", start, start + 1, lane) for (n, start), lane in itertools.product((("a", 0), ("b", 2)), lanes)
    ]

    assert order(*runs) == [["a2", "a3"], ["b2", "b3"]]


def test_what_follows_the_one_that_was_waited_for_follows_its_group() -> None:
    runs = [run("x", 0, 9, thread(2)), run("y", 1, 2, thread(3, joined=3)), run("after y", 3, 4, HOME)]

    assert order(*runs) == [["x", "y"], ["after y"]]


def test_what_only_happened_to_end_before_is_parallel() -> None:
    assert order(run("x", 0, 1, thread(2)), run("c", 3, 4, HOME)) == [["c", "x"]]


def test_a_line_that_was_spawned_before_the_other_was_over_is_parallel_to_it() -> None:
    a = run("a", 0, 1, task(2, joined=5))

    assert order(a, run("b", 2, 3, task(3, attach=4))) == [["a", "b"]]
    assert order(a, run("b", 2, 3, task(3, attach=5))) == [["a"], ["b"]]


def test_all_that_a_line_waited_for_is_over_when_it_is() -> None:
    deep = task(3, task(2, attach=1, joined=5), joined=7)
    loose = task(3, task(2, attach=1, joined=5))

    assert order(run("a", 2, 3, deep), run("b", 5, 6, HOME)) == [["a"], ["b"]]
    assert order(run("a", 2, 3, loose), run("b", 5, 6, HOME)) == [["a", "b"]]


def test_work_on_threads_of_unknown_origin_is_never_ordered_not_even_on_one_thread() -> None:
    pool = thread(2, None)

    runs = [run("before", 0, 1, HOME), run("a", 2, 3, pool), run("b", 4, 5, pool), run("after", 6, 7, HOME)]

    assert order(*runs) == [["a", "b", "before"], ["after"]]
    assert order(*runs[1:3], run("c", 6, 7, task(5)), home=None) == [["a", "b", "c"]]


def test_what_is_spawned_from_a_spawned_line_comes_after_what_ended_there() -> None:
    body = task(2)
    deeper = task(5, task(4, body, attach=1))

    assert order(run("a", 0, 1, body), run("b", 2, 3, deeper), run("c", 2, 3, task(6, task(3)))) == [["a", "c"], ["b"]]


def test_an_event_within_the_parent_has_its_place_among_the_runs() -> None:
    note = Item(None, 5, 5, HOME)

    assert order(run("a", 0, 1, HOME), run("b", 9, 10, HOME), notes=(note,)) == [["a"], ["note"], ["b"]]


def test_very_many_siblings_take_no_time() -> None:
    chain = [run(f"{n}", 2 * n, 2 * n + 1, HOME) for n in range(3000)]
    crowd = [run(f"{n}", n, 9000, thread(n + 2)) for n in range(3000)]

    assert len(order(*chain)) == 3000
    assert [len(layer) for layer in order(*crowd)] == [3000]


# -- the line of control of the roots


def test_roots_have_the_line_of_control_that_they_share_or_the_main_thread() -> None:
    shared, apart = task(7, None), [run("a", 0, 1, thread(2)), run("b", 0, 1, HOME)]

    assert home_of([]) is None
    assert home_of([run("a", 0, 1, shared), run("b", 2, 3, shared)]) is shared
    assert home_of(apart) is HOME
    assert home_of([run("a", 0, 1, thread(2)), run("b", 0, 1, None), run("c", 0, 1, task(3))]) is None


def test_a_fallback_tries_one_thing_after_the_other_each_in_its_own_task() -> None:
    fallback = run(FALLBACKS, 0, 9, HOME)

    assert order(run("b", 1, 2, task(3)), run("a", 3, 4, task(4)), parent=fallback) == [["b"], ["a"]]


def test_an_event_of_the_parent_has_its_place_where_it_fired() -> None:
    assert order(run("search", 0, 5, HOME, kind="tool"), notes=(Item(None, 2, 2, HOME),)) == [["search"], ["note"]]


def test_what_never_ended_comes_first() -> None:
    assert order(run("search", 0, None, HOME, kind="tool"), run("model", 1, 2, HOME)) == [["search"], ["model"]]


# -- places in a parallel group


def test_the_seat_of_a_run_is_its_key_or_its_node_and_number() -> None:
    path = FrozenList(["__pregel_push", FrozenList(["__pregel_pull", 3]), 1, False])
    node = run("n", 0, 1, None, "graph:step:2", langgraph_step=2, langgraph_node="tools", langgraph_path=path)

    assert item_of(run("a", 0, 1, None, "map:key:joke"), None).seat == ("joke", "", ())
    assert item_of(node, None).seat == ("", "tools", (3, 1))
    assert item_of(run("a", 0, 1, None, "seq:step:1"), None).seat == ("", "", ())
    assert item_of(run("a", 0, 1), None).seat == ("", "", ())


def test_a_run_that_began_and_ended_while_another_was_open_on_its_line_is_not_after_it() -> None:
    outer, inner, later = run("outer", 0, 5, HOME), run("inner", 1, 2, HOME), run("later", 6, 7, HOME)

    assert order(outer, inner, later) == [["inner", "outer"], ["later"]]


def test_what_crosses_another_on_its_line_of_control_is_beside_it() -> None:
    first, second, later = run("first", 0, 2, HOME), run("second", 1, 3, HOME), run("later", 4, 5, HOME)

    assert order(first, second, later) == [["first", "second"], ["later"]]
