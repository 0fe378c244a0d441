"""Trees around what failed: golden texts, and bounds for any recording."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, record
from llmtest.recording import Recording
from llmtest.trees.around import around


@tool
def search(query: str) -> str:
    """Search the web."""
    if query == "bad":
        raise ValueError("no such page\nask again")
    return "found"


def search_all(*queries: str) -> Recording:
    """An agent that searches for one after the other, and then says so, unless a search has failed."""
    searches = [call("search", query=query) for query in queries]
    agent: Any = create_agent(ScriptedChatModel(*searches, *([] if "bad" in queries else ["Done."])), [search])
    with record() as recording, suppress(ValueError):
        agent.invoke({"messages": [("user", "go")]}, {"recursion_limit": 1_000})
    return recording


def shown(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_a_short_tree_is_whole_but_an_error_is_written_once() -> None:
    assert around(search_all("bad")) == shown(
        """
        chain LangGraph
          > u1: "go"
          chain model
            chat ScriptedChatModel tools=search
              + tool1: search(query: string) "Search the web."
              < a1: call1 search(query="bad")  usage in=1 out=10
            < a1
          chain tools
            > call1
            tool search(query="bad") call1
              ! ValueError:
                | no such page
                | ask again
            ! ValueError: see above
          ! ValueError: see above
        """
    )


def test_an_error_that_the_reader_knows_is_not_written() -> None:
    text = around(search_all("bad"), told=["no such page\nask again"])

    assert [line.strip() for line in text.splitlines() if "!" in line] == ["! ValueError: see above"] * 3


def test_the_failing_branch_is_whole_and_what_is_far_is_one_line() -> None:
    assert around(search_all("a", "b", "c", "bad"), most=16) == shown(
        """
        chain LangGraph
          > u1: "go"
          … model ×3, tools ×3 (30 lines)
          chain model
            > u1 a1 t1 a2 t2 a3 t3
            chat ScriptedChatModel tools=search
              < a4: call4 search(query="bad")  usage in=4 out=10
            < a4
          chain tools
            > call4
            tool search(query="bad") call4
              ! ValueError:
                | no such page
                | ask again
            ! ValueError: see above
          ! ValueError: see above
        """
    )


def test_it_is_around_the_runs_that_are_asked_for() -> None:
    recording = search_all("a", "b", "c", "d", "e")
    third = [run for run in recording.runs if run.name == "search"][2]

    assert around(recording, [third.id], most=10) == shown(
        """
        chain LangGraph
          > u1: "go"
          … model ×3, tools ×2 (25 lines)
          chain tools
            > call3
            tool search(query="c") call3
              < t3: call3 -> "found"
            < t3
          … model ×3, tools ×2 (25 lines)
          < u1 a1 … a5 t5 a6
        """
    )


def test_without_a_failure_it_is_around_the_end() -> None:
    assert around(search_all("a", "b", "c", "d", "e"), most=10) == shown(
        """
        chain LangGraph
          > u1: "go"
          … model ×5, tools ×5 (50 lines)
          chain model
            > u1 a1 … t4 a5 t5
            chat ScriptedChatModel tools=search
              < a6: "Done."  usage in=6 out=2
            < a6
          < u1 a1 … a5 t5 a6
        """
    )


def test_a_run_that_did_not_end_is_what_failed() -> None:
    with record() as recording:
        stream = ScriptedChatModel("a b c").stream("hi")
        next(stream)
        for _ in range(9):
            RunnableLambda(lambda x: x).with_config(run_name="done").invoke(1)
        text = around(recording, most=8)
        stream.close()

    assert text == shown(
        """
        chat ScriptedChatModel
          > u1: "hi"
          ~ 1 token: "a"
          ? open
        chain done
          > 1
          < 1
        … done ×8 (24 lines)
        """
    )


def test_a_fold_names_few_runs() -> None:
    with record() as recording:
        for name in "abcdefg":
            RunnableLambda(lambda x: x).with_config(run_name=name).invoke(1)

    assert around(recording, most=4).splitlines()[0] == "… a, b, c, 3 more (18 lines)"


def test_a_long_entry_is_cut() -> None:
    with record() as recording:
        ScriptedChatModel("\n".join(map(str, range(100)))).invoke("hi")

    numbers = "".join(f"    | {number}\n" for number in range(7))
    assert around(recording) == f'chat ScriptedChatModel\n  > u1: "hi"\n  < a1:  usage in=1 out=100\n{numbers}    … 93 more lines'


def test_of_a_failure_far_inside_the_innermost_levels_are_shown() -> None:
    def fail(number: int) -> int:
        raise ValueError("too deep")

    def inside(runnable: Any) -> Any:
        return lambda number, config: runnable.invoke(number, config)

    runnable: Any = RunnableLambda(fail)
    for number in range(60):
        runnable = RunnableLambda(inside(runnable)).with_config(run_name=f"level{number}")
    with record() as recording, suppress(ValueError):
        RunnableLambda(lambda number: number).with_config(run_name="before").invoke(1)
        runnable.invoke(1)

    assert around(recording, most=10) == shown(
        """
        … before (3 lines)
        chain level59
          … level58, level57, level56, 54 more (116 lines)
            chain level1
              chain level0
                chain fail
                  ! ValueError: too deep
                … 1 line
              … 1 line
        """
    )
    assert 38 <= len(around(recording).splitlines()) <= 40


def test_of_many_failures_that_of_the_test_is_shown() -> None:
    def fail(number: int) -> int:
        raise ValueError(f"no number {number}")

    with record() as recording:
        RunnableLambda(fail).batch(list(range(10, 60)), {"max_concurrency": 1}, return_exceptions=True)

    assert around(recording, told=["no number 50"], most=7) == shown(
        """
        parallel
          … fail ×40 (120 lines)
          chain fail
            > 50
            ! ValueError: see above
          … fail ×9 (27 lines)
        """
    )


def test_many_failures_and_siblings_are_bounded() -> None:
    def fail(number: int) -> int:
        raise ValueError(number)

    with record() as recording:
        RunnableLambda(fail).batch(list(range(1_000)), {"max_concurrency": 1}, return_exceptions=True)

    assert len(around(recording).splitlines()) <= 40


@given(st.lists(st.sampled_from(["a", "bad", "b"]), max_size=12), st.integers(3, 60))
@settings(max_examples=25, deadline=None)
def test_it_never_is_longer_and_has_the_failure(queries: list[str], most: int) -> None:
    recording = search_all(*queries[: queries.index("bad") + 1] if "bad" in queries else queries)

    text = around(recording, most=most)

    assert len(text.splitlines()) <= most
    assert "bad" not in queries or most < 12 or "no such page" in text
