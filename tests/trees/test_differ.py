"""Two trees and what differs: the first cause in words, the diff of trees, and what it costs."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.tools import StructuredTool, tool

from llmtest import ScriptedChatModel, call, record, reply
from llmtest.trees.differ import MAX_LINES, diff, pairs
from llmtest.trees.rendering import HEADER
from tests.support.tools import weather
from tests.support.tree_lines import run


@tool
def news(city: str) -> str:
    """The news in a city."""
    return f"nothing new in {city}"


PARIS, LYON = call("weather", city="Paris"), call("weather", city="Lyon")
NEWS = call("news", city="Paris")
BOTH = (PARIS, NEWS)


def agent(*steps: Any, prompt: str = "You are a weather bot.") -> str:
    model = ScriptedChatModel(*[reply(*(step if isinstance(step, tuple) else (step,)), usage=False) for step in steps])
    with record() as recording:
        program = create_agent(model, [weather, news], system_prompt=prompt, name="weather_agent")
        program.invoke({"messages": [("user", "weather in Paris?")]})
    return str(recording)


def told(before: str, after: str) -> list[str]:
    """The headline and the diff."""
    difference = diff(before, after)
    assert difference is not None
    return [difference.headline, *difference.lines()]


# -- real programs


def test_equal_texts_do_not_differ() -> None:
    assert diff("chain x\n  < 1\n", "chain x\n  < 1\n") is None


def test_a_changed_argument_is_the_cause_and_the_rest_follows() -> None:
    assert told(agent(PARIS, "It is 18C in Paris."), agent(LYON, "It is 18C in Lyon.")) == [
        'tool argument city "Paris" → "Lyon" at weather_agent › model › ScriptedChatModel (4 of 22 lines, 1 cause)',
        "  chain weather_agent",
        "    chain model",
        "      chat ScriptedChatModel tools=news,weather",
        '-       < a1: call1 weather(city="Paris")',
        '+       < a1: call1 weather(city="Lyon")  ◀ first difference',
        "    chain tools",
        '-     tool weather(city="Paris") call1',
        '+     tool weather(city="Lyon") call1  (follows)',
        '-       < t1: call1 -> "18C in Paris"',
        '+       < t1: call1 -> "18C in Lyon"  (follows)',
        "    chain model",
        "      chat ScriptedChatModel tools=news,weather",
        '-       < a2: "It is 18C in Paris."',
        '+       < a2: "It is 18C in Lyon."  (follows)',
        "  … 12 unchanged lines",
    ]


def test_a_word_of_the_prompt_is_one_line() -> None:
    assert told(agent(PARIS, "ok"), agent(PARIS, "ok", prompt="You are a terse weather bot.")) == [
        'system prompt has now "terse" at weather_agent › model › ScriptedChatModel (1 of 22 lines, 1 cause)',
        "  chain weather_agent",
        "    chain model",
        "      chat ScriptedChatModel tools=news,weather",
        '-       + s1: "You are a weather bot."',
        '+       + s1: "You are a terse weather bot."  ◀ first difference',
        "  … 18 unchanged lines",
    ]


@pytest.mark.parametrize(
    ("before", "after", "headline"),
    [
        ('{"temp": 18}', '{"temp": 19}', 'output "18" → "19" at search (1 of 2 lines, 1 cause)'),
        ('{"temp": 18}', '{"temp":18}', 'output has now "compact" at search (1 of 2 lines, 1 cause)'),
        ('{"temp": 18}', '{"temp": 18.0}', 'output has now ".0" at search (1 of 2 lines, 1 cause)'),
    ],
)
def test_a_change_in_the_json_of_a_tool_is_told_in_the_words_of_its_value(before: str, after: str, headline: str) -> None:
    def search(answer: str) -> str:
        searching = StructuredTool.from_function(lambda city: answer, name="search", description="Search in a city.")
        with record() as recording:
            searching.invoke({"city": "Paris"})
        return str(recording)

    assert told(search(before), search(after))[0] == headline


def test_a_line_of_a_prompt_of_several_lines_is_one_line() -> None:
    before = agent(PARIS, "ok", prompt="You are a weather bot.\nBe brief.\nBe kind.")
    after = agent(PARIS, "ok", prompt="You are a weather bot.\nBe very brief.\nBe kind.")

    assert told(before, after) == [
        'system prompt has now "very" at weather_agent › model › ScriptedChatModel (1 of 25 lines, 1 cause)',
        "  chain weather_agent",
        "    chain model",
        "      chat ScriptedChatModel tools=news,weather",
        "        + s1:",
        "-         | Be brief.",
        "+         | Be very brief.  ◀ first difference",
        "  … 20 unchanged lines",
    ]


def test_tools_in_another_order_are_named_so() -> None:
    difference = diff(agent(PARIS, NEWS, "ok"), agent(NEWS, PARIS, "ok"))

    assert difference is not None
    assert difference.cause == "order of tools weather, news → news, weather at weather_agent › model › ScriptedChatModel"
    assert (difference.causes, difference.structure) == (1, True)


def test_one_more_step_is_new_and_what_comes_after_it_stays() -> None:
    assert told(agent(PARIS, "ok"), agent(PARIS, NEWS, "ok")) == [
        'extra tool call news(city="Paris") at weather_agent › model › ScriptedChatModel (13 of 22 lines, 1 cause)',
        "  chain weather_agent",
        "    chain model",
        "      chat ScriptedChatModel tools=news,weather",
        '-       < a2: "ok"',
        '+       < a2: call2 news(city="Paris")  ◀ first difference',
        "+   chain tools  (follows)",
        "+     > call2",
        '+     tool news(city="Paris") call2',
        '+       < t2: call2 -> "nothing new in Paris"',
        "+     < t2",
        "+   chain model  (follows)",
        "+     > u1 a1 t1 a2 t2",
        "+     chat ScriptedChatModel tools=news,weather",
        "+       > s1 u1 a1 t1 a2 t2",
        '+       < a3: "ok"',
        "+     < a3",
        "-   < u1 a1 t1 a2",
        "+   < u1 a1 t1 a2 t2 a3  (follows)",
        "  … 17 unchanged lines",
    ]


def test_a_second_call_of_one_answer_makes_a_group_that_follows() -> None:
    difference = diff(agent(PARIS, "ok"), agent(BOTH, "ok"))

    assert difference is not None
    assert difference.cause == 'extra tool call news(city="Paris") at weather_agent › model › ScriptedChatModel'
    assert difference.causes == 1


# -- the cause, in words


# -- runs that stand elsewhere now


def one_run(name: str, *inside: str) -> list[str]:
    """A run of a chain, and the lines in it."""
    return [f"chain {name}", *(f"  {line}" for line in inside), "  < 1"]


def sequence(*rows: list[str]) -> str:
    return run(*(line for row in rows for line in row), "< 1", first="chain Sequence")


def side_by_side(*rows: list[str]) -> list[str]:
    return ["parallel", *(f"  {line}" for row in rows for line in row)]


def test_a_run_that_is_wrapped_stays_and_the_wrapper_is_new() -> None:
    plain, wrapped = sequence(one_run("a"), one_run("b")), sequence(one_run("Fallbacks", *one_run("a")), one_run("b"))

    assert told(plain, wrapped) == [
        "chain a is now wrapped in chain Fallbacks at Sequence (2 of 6 lines, 1 cause)",
        "  chain Sequence",
        "+   chain Fallbacks  ◀ first difference",
        "      chain a",
        "+     < 1  (follows)",
        "  … 4 unchanged lines",
    ]
    assert told(wrapped, plain) == [
        "chain a is no longer wrapped in chain Fallbacks at Sequence (2 of 8 lines, 1 cause)",
        "  chain Sequence",
        "-   chain Fallbacks  ◀ first difference",
        "      chain a",
        "-     < 1  (follows)",
        "  … 4 unchanged lines",
    ]


def test_a_change_within_a_wrapped_run_is_shown_too() -> None:
    plain, wrapped = sequence(one_run("a", '> "x"')), sequence(one_run("Fallbacks", *one_run("a", '> "y"')))

    assert told(plain, wrapped) == [
        "chain a is now wrapped in chain Fallbacks at Sequence (3 of 5 lines, 1 cause)",
        "  chain Sequence",
        "+   chain Fallbacks  ◀ first difference",
        "      chain a",
        '-       > "x"',
        '+       > "y"  (follows)',
        "+     < 1  (follows)",
        "  … 2 unchanged lines",
    ]


def test_runs_that_ran_side_by_side_and_now_one_after_the_other() -> None:
    beside, row = sequence(side_by_side(one_run("a"), one_run("b"))), sequence(one_run("a"), one_run("b"))

    assert told(beside, row) == [
        "chain a and chain b ran side by side, now one after the other at Sequence (1 of 7 lines, 1 cause)",
        "  chain Sequence",
        "-   parallel  ◀ first difference",
        "    chain a",
        "    chain b",
        "  … 3 unchanged lines",
    ]
    assert told(row, beside) == [
        "chain a and chain b ran one after the other, now side by side at Sequence (1 of 6 lines, 1 cause)",
        "  chain Sequence",
        "+   parallel  ◀ first difference",
        "      chain a",
        "      chain b",
        "  … 3 unchanged lines",
    ]


def test_many_runs_side_by_side_are_counted() -> None:
    runs = [one_run(name) for name in "abcd"]

    assert told(sequence(side_by_side(*runs)), sequence(*runs))[0] == (
        "4 runs ran side by side, now one after the other at Sequence (1 of 11 lines, 1 cause)"
    )


def test_a_run_that_has_moved_is_one_cause() -> None:
    before, after = (sequence(*map(one_run, names)) for names in ("abc", "cab"))

    assert told(before, after) == [
        "chain c has moved at Sequence (2 of 8 lines, 1 cause)",
        "  chain Sequence",
        "+   chain c  ◀ first difference",
        "+     < 1",
        "-   chain c  (follows)",
        "-     < 1",
        "  … 5 unchanged lines",
    ]


def test_a_prompt_that_has_lost_messages_says_how_many() -> None:
    def asked(*numbers: int) -> str:
        texts = [f'+ u{place}: "{number}"' for place, number in enumerate(numbers, 1)]
        return run(
            *texts, f"> s1 {' '.join(f'u{place}' for place in range(1, len(numbers) + 1))}", '< a1: "x"', first="chat Model"
        )

    assert told(asked(0, 1, 2, 3), asked(2, 3))[:4] == [
        "the prompt lost 2 messages at Model (3 of 7 lines, 1 cause)",
        "  chat Model",
        '-   + u1: "0"  ◀ first difference',
        '-   + u2: "1"  (follows)',
    ]
    assert told(asked(2, 3), asked(0, 1, 2, 3))[0] == "the prompt has 2 more messages at Model (3 of 5 lines, 1 cause)"
    assert told(asked(2, 3), asked(2))[0] == 'missing user message + u2: "3" at Model (2 of 5 lines, 1 cause)'


# -- what follows, and what does not


def test_a_difference_that_has_another_reason_is_a_cause_of_its_own() -> None:
    before = run('> u1: "hi"', "< 1") + run("< 5", first="tool f(x=1)")
    after = run('> u1: "hello"', "< 1") + run("< 6", first="tool f(x=1)")

    assert told(before, after) == [
        'user message "hi" → "hello" at Model (2 of 5 lines, 2 causes)',
        "  chat Model",
        '-   > u1: "hi"',
        '+   > u1: "hello"  ◀ first difference',
        "  tool f(x=1)",
        "-   < 5",
        "+   < 6  ◀ another difference",
        "  … 1 unchanged line",
    ]


def test_the_same_words_replaced_elsewhere_follow() -> None:
    before = run('> u1: "Paris"', "< 1") + run('< "in Paris"', first="chain a") + run('< "in Parisian"', first="chain b")
    after = run('> u1: "Lyon"', "< 1") + run('< "in Lyon"', first="chain a") + run('< "in Lyonian"', first="chain b")

    notes = [line.rpartition("  ")[2] for line in told(before, after) if line.startswith("+")]

    assert notes == ["◀ first difference", "(follows)", "◀ another difference"]


def test_usage_that_differs_after_the_cause_follows() -> None:
    before = run('> u1: "a"', "< 1") + run("< 2  usage in=1 out=1", first="chat B")
    after = run('> u1: "b"', "< 1") + run("< 2  usage in=2 out=1", first="chat B")

    assert [line for line in told(before, after) if "follows" in line] == ["+   < 2  usage in=2 out=1  (follows)"]


def test_usage_behind_a_text_of_several_lines_is_one_difference_with_it() -> None:
    before = run("< a1:  usage in=1 out=1", "    | a", "    | b")
    after = run("< a1:  usage in=1 out=2", "    | a", "    | c")

    assert told(before, after)[1:] == [
        "  chat Model",
        "-   < a1:  usage in=1 out=1",
        "+   < a1:  usage in=1 out=2",
        "-       | b",
        "+       | c  ◀ first difference",
        "  … 1 unchanged line",
    ]


def test_a_message_that_is_new_does_not_change_those_after_it() -> None:
    before = run('+ u1: "a"', '+ u2: "b"', "> u1 u2", "chain x", "  > u2", "  < 1", "< u2", first="chain c")
    after = run('+ u1: "new"', '+ u2: "a"', '+ u3: "b"', "> u1 u2 u3", "chain x", "  > u3", "  < 1", "< u3", first="chain c")

    assert told(before, after) == [
        'new user message + u1: "new" at c (2 of 8 lines, 1 cause)',
        "  chain c",
        '+   + u1: "new"  ◀ first difference',
        "-   > u1 u2",
        "+   > u1 u2 u3  (follows)",
        "  … 6 unchanged lines",
    ]


def test_a_message_of_the_same_number_that_says_the_same_line_is_not_shown() -> None:
    before = run('+ u1: "a"', "> u1", "< 1") + run("> u1", "< 2", first="chain y")
    after = run('+ u1: "b"', '+ u2: "a"', "> u1 u2", "< 1") + run("> u1", "< 2", first="chain y")

    assert [line for line in told(before, after) if "chain y" in line or "> u1" in line] == [
        "-   > u1",
        "+   > u1 u2  (follows)",
        "  chain y",
    ]


def test_a_name_in_a_text_of_several_lines_is_no_label() -> None:
    before = run('+ u1: "a"', "> u1", "@ text v1:", "  | u1", "  | u2", "< 1")
    after = run('+ u1: "b"', '+ u2: "a"', "> u2", "@ text v1:", "  | u2", "  | u2", "< 1")

    assert [line for line in told(before, after) if "|" in line] == ["-     | u1", "+     | u2  (follows)"]


def test_an_old_name_for_a_new_thing_is_no_difference_of_its_own() -> None:
    before = run('+ u1: "a"', "> u1", "chain x", "  > u1", "  < 1", "< 1")
    after = run('+ u1: "b"', '+ u2: "a"', "> u1", "chain x", "  > u1", "  < 1", "< 1")

    assert told(before, after) == [
        'new user message + u1: "b" at Model (1 of 7 lines, 1 cause)',
        "  chat Model",
        '+   + u1: "b"  ◀ first difference',
        "    chain x",
        "  … 5 unchanged lines",
    ]


# -- its size


def test_a_diff_is_at_most_sixty_lines_and_says_how_many_more() -> None:
    before = "".join(run(f"< {n}", first=f"chain c{n}") for n in range(100))
    after = "".join(run(f"< {n}x", first=f"chain c{n}") for n in range(100))
    difference = diff(before, after)
    assert difference is not None

    lines = difference.lines()

    assert len(lines) == MAX_LINES
    assert lines[-1] == "  … 241 more lines of the difference"
    assert len(difference.lines(limit=None)) == 300


def test_colour_is_on_what_changed() -> None:
    difference = diff(run("< 1"), run("< 2"))
    assert difference is not None

    assert difference.lines(color=True) == [
        "  chat Model",
        "\x1b[31m-   < \x1b[7m1\x1b[27m\x1b[0m",
        "\x1b[32m+   < \x1b[7m2\x1b[27m\x1b[0m\x1b[2m  ◀ first difference\x1b[0m",
    ]


def test_texts_that_are_no_trees_are_compared_by_lines() -> None:
    assert told("a\nb\nc\n", "a\nx\nc\n") == [
        'line "b" → "x" (1 of 3 lines, 1 cause)',
        "- b",
        "+ x  ◀ first difference",
        "  … 2 unchanged lines",
    ]


def test_trees_that_differ_only_in_the_end_of_a_line_differ() -> None:
    assert told(f"{HEADER}\nchain x\n  < 1\n", f"{HEADER}\nchain x\n  < 1") == [
        'line has now "(without an end of line)" (1 of 3 lines, 1 cause)',
        "-   < 1",
        "+   < 1 (without an end of line)  ◀ first difference",
        "  … 2 unchanged lines",
    ]


# -- properties

keys = st.lists(st.integers(0, 5), max_size=12)


@given(keys, keys)
def test_pairs_are_equal_and_rise(before: list[int], after: list[int]) -> None:
    found = pairs(before, after)

    assert all(before[a] == after[b] for a, b in found)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(found))


@given(st.lists(st.integers(), unique=True, max_size=12), st.randoms())
def test_what_is_left_in_place_is_paired(keys: list[int], chance: random.Random) -> None:
    kept = [key for key in keys if chance.random() < 0.7]

    assert [keys[a] for a, _ in pairs(keys, kept)] == kept


LINE = st.sampled_from(['> u1: "a"', '+ u1: "b"', '+ u2: "a"', "> u1 u2", "< u2", "chain x", "chain y tags=a", '~ 1 token: "a"'])


def _tree(lines: list[str]) -> str:
    shown = ["chain top"]
    for line in lines:
        shown += [f"  {line}", "    < 1"] if line.startswith("chain") else [f"  {line}"]
    return "\n".join((*shown, "  < 0", ""))


@settings(max_examples=200)
@given(st.lists(LINE, max_size=8), st.lists(LINE, max_size=8))
def test_every_difference_is_shown_and_has_a_cause(before: list[str], after: list[str]) -> None:
    old, new = _tree(before), _tree(after)

    difference = diff(old, new)

    if old == new:
        assert difference is None
        return
    assert difference is not None
    assert difference.cause
    assert difference.rows
    gone = [f"{'  ' * row.depth}{row.text}" for row in difference.rows if row.mark == "-"]
    came = [f"{'  ' * row.depth}{row.text}" for row in difference.rows if row.mark == "+"]
    assert set(gone) <= set(old.splitlines())
    assert set(came) <= set(new.splitlines())
    assert [row.note for row in difference.rows].count("first") == 1


# -- the same change in another tree


def test_changes_are_equal_wherever_the_same_text_has_changed() -> None:
    one = diff(agent(PARIS, "ok"), agent(PARIS, "fine"))
    other = diff('chat Model\n  > u1: "hi"\n  < a1: "ok"\n', 'chat Model\n  > u1: "hi"\n  < a1: "fine"\n')

    assert one is not None
    assert other is not None
    assert one.changes == other.changes == (('< a: "ok"', '< a: "fine"'),)
    assert one.words == other.words == 'AI message "ok" → "fine"'
    assert one.cause == f"{one.words} at weather_agent › model › ScriptedChatModel"


def test_changes_do_not_count_usage_and_do_count_what_else_follows() -> None:
    text = 'chat Model\n  > u1: "hi"\n  < a1: call1 weather(city="Paris")  usage in=1 out=1\n'
    tool = 'tool weather(city="Paris") call1\n  < "18C"\n'

    usage = diff(text, text.replace("hi", "ho").replace("in=1", "in=2"))
    other = diff(f"{text}{tool}", f"{text}{tool}".replace("Paris", "Lyon").replace("18C", "20C"))

    assert usage is not None
    assert usage.changes == (('> u: "hi"', '> u: "ho"'),)
    assert other is not None
    assert ('< "18C"', '< "20C"') in other.changes


def test_labels_in_continued_lines_are_texts_of_the_program() -> None:
    before = 'chat Model\n  > u1:\n    | see u1\n    | now\n  < "ok"\n'

    changes = [diff(before, before.replace("u1\n    | now", name)).changes for name in ("u2", "u3")]  # type: ignore[union-attr]

    assert changes[0] != changes[1]


def test_words_that_differ_are_reversed() -> None:
    text = 'chat Model\n  > u1: "You are a bot"\n  < "ok"\n'
    difference = diff(text, text.replace("bot", "cat"))

    assert difference is not None
    assert difference.lines(color=True)[1:3] == [
        '\x1b[31m-   > u1: "You are a \x1b[7mbot\x1b[27m"\x1b[0m',
        '\x1b[32m+   > u1: "You are a \x1b[7mcat\x1b[27m"\x1b[0m\x1b[2m  ◀ first difference\x1b[0m',
    ]
