"""How rules are written: each is one sentence, and what makes no rule is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmtest.matching import (
    after,
    at_least,
    at_most,
    before,
    between,
    called,
    each,
    exactly,
    model,
    never,
    only,
)
from tests.support.shop import SHOP


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (before("search", "book"), "`search` before `book`"),
        (after("book", "search"), "`book` after `search`"),
        (before("a", "b", per="order_id", order="recorded"), "`a` before `b`, for each `order_id`, as recorded"),
        (before("a", "b", per=len), "`a` before `b`, for each len"),
        (never("delete_*"), "never `delete_*`"),
        (never("a", "b"), "never `a` or `b`"),
        (never("a").after(model()), "never `a` after a model"),
        (each("a").followed_by("b"), "each `a` is followed by `b`"),
        (each("a").ends(), "each `a` ends"),
        (each("*").ends_before(model("gpt")), "each a tool ends before the next model `gpt`"),
        (between("a", "b").never("c"), "between `a` and `b` never `c`"),
        (between("a", "b").at_least(1, "c"), "between `a` and `b` at least once `c`"),
        (between("a", "b", order="recorded").at_least(3, "c"), "between `a` and `b` at least 3 times `c`, as recorded"),
        (at_most(3, model()), "a model at most 3 times"),
        (at_least(1, "a"), "`a` at least once"),
        (exactly(2, "a"), "`a` exactly twice"),
        (exactly(0, "a"), "never `a`"),
        (only("a", "b", model()), "only `a`, `b` or a model"),
        (called("a").came_from("b"), "a value in each `a` came from `b`"),
        (called("a").came_from("b", arg="id"), "`id` of each `a` came from `b`"),
        (never("a") & never("b") | never("c"), "(never `a` and never `b`) or never `c`"),
        (~never("a"), "not (never `a`)"),
        (never("a").named("a is forbidden"), "a is forbidden: never `a`"),
    ],
)
def test_a_rule_is_one_sentence(rule: Any, sentence: str) -> None:
    assert repr(rule) == sentence


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: SHOP.obeys(), "obeys() takes at least one rule: before(...), never(...), each(...).followed_by(...), ..."),
        (lambda: SHOP.obeys("search"), "obeys() takes rules, before(...), never(...), ...; got str 'search'"),  # type: ignore[arg-type]
        (
            lambda: before("a", 7),
            "a rule is about runs: a tool or its name, called(...), model(...), chain(...), node(...) or event(...); got int 7",
        ),
        (lambda: never(), "never() takes at least one tool name or selector"),
        (lambda: only(), "only() takes at least one tool name or selector"),
        (lambda: between("a", "b").never(), "between(...).never() takes at least one tool name or selector"),
        (lambda: between("a", "b").at_least(-2, "c"), "how often is a whole number, 0 or more; got -2"),
        (lambda: at_most(-1, "a"), "how often is a whole number, 0 or more; got -1"),
        (lambda: exactly(True, "a"), "how often is a whole number, 0 or more; got True"),
        (lambda: never("a") & 7, "unsupported operand type(s) for &: 'Never' and 'int'"),  # type: ignore[operator]
        (lambda: never("a") | 7, "unsupported operand type(s) for |: 'Never' and 'int'"),  # type: ignore[operator]
    ],
)
def test_what_is_no_rule(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        wrong()

    assert str(caught.value) == text
