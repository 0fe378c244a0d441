"""The table of masks, and what a project adds to it."""

from __future__ import annotations

import pytest

from llmtest.errors import MaskError
from llmtest.masks import Rule, rule, ruled, table
from llmtest.wording import Words


def shown(text: str) -> str:
    return Words([]).string(text)


def test_rules_hold_inside_their_block() -> None:
    before = shown("my ORD-12")

    with ruled(["order = ORD-[0-9]+"]):
        inside = shown("my ORD-12")

    assert (before, inside, shown("my ORD-12")) == ('"my ORD-12"', '"my <mask:order>"', '"my ORD-12"')


def test_a_key_is_masked_wherever_it_stands() -> None:
    with ruled(["pin"]):
        value = Words([]).value({"pin": "1", "user_pin": 2, "pinned": 3})
        said = shown('{"pin": "1234"}')

    assert value == ['{"pin": <mask:pin>, "pinned": 3, "user_pin": <mask:user_pin>}']
    assert said == '"{\\"pin\\": <mask:pin>}"'


def test_rules_go_before_the_table() -> None:
    with ruled(["ours = sk-[a-z]+"]):
        assert shown("sk-abcdefghijklmnopqrst") == '"<mask:ours>"'


def test_blocks_may_end_in_any_order() -> None:
    outer, inner = ruled(["a = x1"]), ruled(["b = x2"])
    outer.__enter__()
    inner.__enter__()

    outer.__exit__(None, None, None)

    assert shown("x1 x2") == '"x1 <mask:b>"'
    inner.__exit__(None, None, None)
    assert shown("x1 x2") == '"x1 x2"'


def test_a_line_is_a_rule() -> None:
    assert rule(" ticket-id = T[0-9]{3} ") == Rule("ticket-id", "T[0-9]{3}")
    assert table().is_secret("api_key")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a b", "expected `NAME = REGULAR EXPRESSION` or the name of a key; got 'a b'"),
        ("a = *", "expected `NAME = REGULAR EXPRESSION` or the name of a key; got 'a = *': nothing to repeat at position 0"),
        ("a = x*", "'a = x*' would mask the empty text, so everywhere"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_rule_is_refused(line: str, problem: str) -> None:
    with pytest.raises(MaskError) as caught:
        rule(line)

    assert str(caught.value) == problem
