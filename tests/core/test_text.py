"""How messages write numbers, names and values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtest.core.text import (
    amount,
    capped,
    clip,
    did_you_mean,
    fits,
    is_slip,
    named,
    names,
    nearest,
    plural,
    printable,
    quote,
    short,
    some_names,
    times,
)

# -- numbers


def test_a_number_of_things_agrees_with_its_noun() -> None:
    assert [amount(number, "model call") for number in (0, 1, 2, 1234)] == [
        "0 model calls",
        "1 model call",
        "2 model calls",
        "1,234 model calls",
    ]
    assert (plural(1, "event"), plural(2, "event")) == ("event", "events")


def test_how_often_has_words_of_its_own_up_to_twice() -> None:
    assert [times(number) for number in (0, 1, 2, 3, 1000)] == ["not at all", "once", "twice", "3 times", "1,000 times"]


# -- names


def test_names_are_in_backticks() -> None:
    assert (names(["search", "book"]), names([]), names((), "nothing")) == ("`search`, `book`", "none", "nothing")


def test_of_many_names_the_first_are_shown_and_the_rest_is_counted() -> None:
    assert [some_names("abc", at_most) for at_most in (2, 3)] == ["`a`, `b` and 1 more", "`a`, `b`, `c`"]
    assert some_names(["x"] * 1_009).endswith("`x` and 1,001 more")


def test_the_nearest_name_is_the_most_alike_whatever_its_case() -> None:
    assert nearest("serch", ["book", "search_web", "search"]) == "search"
    assert nearest("OPENAI", ["anthropic", "OpenAI"]) == "OpenAI"
    assert nearest("search", ["Search", "SEARCH"]) == "Search"


def test_a_name_like_no_other_has_no_nearest() -> None:
    assert nearest("zzz", ["search"]) is None
    assert nearest("search", []) is None
    assert nearest("s", ["search"], at_least=0.1) == "search"


@pytest.mark.parametrize(
    ("name", "options", "hint"),
    [
        ("serch", {}, "; did you mean `search`?"),
        ("serch", {"otherwise": "it has `search`"}, "; did you mean `search`?"),
        ("serch", {"before": "\n  "}, "\n  did you mean `search`?"),
        ("zzz", {"before": "\n  "}, ""),
        ("zzz", {"otherwise": "it has `search`"}, "; it has `search`"),
        ("s", {"at_least": 0.1}, "; did you mean `search`?"),
    ],
)
def test_a_name_that_does_not_exist_gets_one_hint(name: str, options: dict[str, object], hint: str) -> None:
    assert did_you_mean(name, ["search", "book"], **options) == hint  # type: ignore[arg-type]


def test_a_star_in_a_name_stands_for_anything_and_nothing_else_is_special() -> None:
    assert named("search_*", "search_\nweb")
    assert named("*", "")
    assert named("a.b", "a.b")
    assert not named("a.b", "axb")
    assert not named("search", "search_web")


def test_a_regular_expression_is_searched_for_in_a_name() -> None:
    assert named(re.compile("web"), "search_web")
    assert not named(re.compile("^web"), "search_web")


# -- values


def test_a_matcher_may_stand_anywhere_in_a_literal() -> None:
    assert fits({"a": [re.compile("x"), 1]}, {"a": ("xyz", 1)})
    assert not fits({"a": 1}, {"a": 1, "b": 2})
    assert not fits([1], [1, 2])
    assert not fits(re.compile("1"), 1)
    assert not fits("1", 1)


def test_the_repr_of_a_value_is_cut_in_its_middle() -> None:
    assert short({"a": 1}) == "{'a': 1}"
    assert short(list(range(9))) == "[0, 1, 2, 3, ...]"
    assert short("x" * 100) == f"'{'x' * 27}...{'x' * 28}'"


# -- long texts


@pytest.mark.parametrize(
    ("text", "max_characters", "shown"),
    [
        ("short enough", 12, "short enough"),
        ("one line\n   of two", 40, "one line of two"),
        ("  around \n", 10, "around"),
        ("the price of it", 12, "the price..."),
        ("the price, of it", 13, "the price,..."),
        ("it is 1234.56 euros", 13, "it is..."),
        ("it is 1,234 euros", 11, "it is..."),
        ("at 12:30:15 or later", 12, "at..."),
        ("it ends here. Then more", 16, "it ends here...."),
        ("x" * 30, 10, "xxxxxxx..."),
        ("天气很好" * 4, 10, "天气很好天气很..."),
    ],
)
def test_a_text_is_cut_between_words_where_one_ends_nearby(text: str, max_characters: int, shown: str) -> None:
    assert clip(text, max_characters) == shown


def test_the_mark_of_a_cut_counts() -> None:
    assert clip("the price of it", 10, mark="…") == "the price…"
    assert clip("the price of it", 9, mark="") == "the price"


@given(st.text(st.sampled_from("ab1.,: \n")), st.integers(3, 30))
def test_a_cut_text_is_one_line_within_its_limit_and_begins_like_the_whole(text: str, max_characters: int) -> None:
    whole = " ".join(part.strip() for part in text.splitlines() if part.strip())

    cut = clip(text, max_characters)

    assert len(cut) <= max_characters
    assert cut == whole or whole.startswith(cut.removesuffix("..."))


def test_a_long_text_is_quoted_by_its_two_ends() -> None:
    text = "The weather in Paris is fine today, and nobody knows what it will be tomorrow or on the day after"

    assert quote(text) == (
        "'The weather in Paris is fine today, and nobody knows what it ' ... 'on the day after' (97 characters)"
    )
    assert quote(text, 97) == repr(text)
    assert quote("it's") == '"it\'s"'


def test_lines_beyond_the_limit_are_counted_and_the_last_one_stays() -> None:
    lines = ["head", *(f"  step {number}" for number in range(1, 6)), "  what to do"]

    assert capped(lines, 7) == "\n".join(lines)
    assert capped(lines, 5) == "head\n  step 1\n  step 2\n  ... 3 more lines\n  what to do"
    assert capped(lines, 4, tail=2) == "head\n  ... 4 more lines\n  step 5\n  what to do"
    assert capped(lines, 3, tail=0) == "head\n  step 1\n  ... 5 more lines"


@pytest.mark.parametrize(
    ("pattern", "name", "slip"),
    [
        (re.compile("serch"), "search", False),
        ("search", "search", False),
        ("sea*", "search", False),
        ("serch", "search", True),
        ("SEARCH", "search", True),
        ("delete", "delete_db", True),
        ("book_1", "book_2", False),
        ("search_hotels", "search_flights", False),
        ("ask", "task", False),
    ],
)
def test_what_is_a_slip_of_a_name(pattern: Any, name: str, slip: bool) -> None:
    assert is_slip(pattern, name) is slip


def test_a_printable_text_is_on_one_line() -> None:
    assert printable("plain ü") == "plain ü"
    assert printable("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
