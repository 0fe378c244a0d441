"""The causes of differences in words, for each kind of node and field."""

from __future__ import annotations

import pytest

from llmtest.trees.differ import diff
from tests.support.tree_lines import run


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (run("< 1"), run("! ValueError: no such city"), "ended → failed ValueError: no such city at Model"),
        (run("< 1"), run("? open"), "ended → open at Model"),
        (run("! cancelled"), run("^ handed off: 1"), "failed cancelled → handed off at Model"),
        (run("! ValueError: a"), run("! ValueError: b"), "failed ValueError: a → failed ValueError: b at Model"),
        (run('< a1: "x"  usage in=1 out=2'), run('< a1: "x"  usage in=2 out=2'), "usage in=1 out=2 → in=2 out=2 at Model"),
        (run('< a1: "x"  usage in=1 out=2'), run('< a1: "x"'), "usage in=1 out=2 → none at Model"),
        (run('< a1: call1 f(x=1)'), run('< a1: call1 g(x=1)'), "tool call f → g at Model"),
        (run('< a1: call1 f(x=1)'), run('< a1: call1 f(x=1, y="a")'), 'tool argument y="a" is new at Model'),
        (run('< a1: call1 f(x=1, y=2)'), run('< a1: call1 f(y=2)'), "tool argument x=1 is gone at Model"),
        (run('< a1: call1 f("a")'), run('< a1: call1 f("b")'), 'tool argument "a" → "b" at Model'),
        (run('< a1: call1 f(x=1); call2 g()'), run('< a1: call1 f(x=1)'), "missing tool call g() at Model"),
        (run('> u1: "a"', "< 1"), run('> u1: "b"', "< 1"), 'user message "a" → "b" at Model'),
        (run('> u1: "a bad day"', "< 1"), run('> u1: "a day"', "< 1"), 'user message has lost "bad" at Model'),
        (run("> s1 u1 a1", "< 1"), run("> s1 u1", "< 1"), 'input has lost "a1" at Model'),
        (run('~ 1 token: "a"', "< 1"), run('~ 1 token: "b"', "< 1"), 'stream "a" → "b" at Model'),
        (run('@ event progress 1', "< 1"), run('@ event progress 2', "< 1"), 'event "1" → "2" at Model'),
        (run("< 1"), run("@ retry 1 ValueError: x", "< 1"), "new retry @ retry 1 ValueError: x at Model"),
        (run('> u1: "a"', "< 1"), run("< 1"), 'missing user message > u1: "a" at Model'),
        (run("< 1", first="chat A"), run("< 1", first="chat B"), "chat A is now chat B"),
        (run("< 1", first="tool A(x=1)"), run("< 1", first="tool A(x=2)"), "tool argument x 1 → 2 at A"),
        (run("< 1", first="chat A"), run("< 1", first="chat A tags=x"), "tags none → x at A"),
        (run("< 1", first="chat A tools=x"), run("< 1", first="chat A tools=x,y"), "tools x → x,y at A"),
        (run("< 1", first="tool A() call1"), run("< 1", first="tool A() call2"), "call call1 → call2 at A"),
        (run("< 1", first="a: chat A"), run("< 1", first="b: chat A"), "keys a → b"),
        (run("< 1"), run("chain B", "  < 2", "< 1"), "extra run: chain B at Model"),
        (run("chain B", "  < 2", "< 1"), run("< 1"), "missing run: chain B at Model"),
        (run("< 1"), run("parallel", "  chain B", "    < 1", "  chain B", "    < 1", "< 1"), "extra parallel group at Model"),
        (run("chain B", "  < 1", "< 1"), run("parallel", "  chat B", "    < 1", "< 1"), "chain B is now parallel group at Model"),
        (run("< 1"), f"{run('< 1')}late\n{run('  < 2', first='  chain x')}", "extra late runs"),
        (run("< partial a1: \"x\"", "! cancelled"), run("< partial a1: \"y\"", "! cancelled"), 'AI message "x" → "y" at Model'),
    ],
)  # fmt: skip
def test_the_cause_is_said_in_words(before: str, after: str, cause: str) -> None:
    difference = diff(before, after)

    assert difference is not None
    assert difference.cause == cause


def test_a_long_text_is_cut_in_the_cause() -> None:
    difference = diff(run(f'> u1: "{"a" * 99}"', "< 1"), run('> u1: "b"', "< 1"))

    assert difference is not None
    assert difference.cause == f'user message "{"a" * 59}…" → "b" at Model'
