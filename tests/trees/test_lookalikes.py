"""Differences that cannot be seen are shown as escapes."""

from __future__ import annotations

import pytest

from llmtest.trees import diff
from llmtest.trees.lookalikes import are_alike, show_hidden


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("caf\u00e9", "cafe\u0301", "caf\\u00e9"),
        ("a b", "a\u00a0b", "a\\u00a0b"),
        ("ab", "a\u200db", "a\\u200db"),
        ("cafe", "\u0441afe", "\\u0441afe"),
        ("a - b", "a \u2013 b", "\\u2013"),
    ],
    ids=["NFC", "NBSP", "ZWJ", "Cyrillic", "dash"],
)
@pytest.mark.parametrize(
    "line",
    ['tool search(q="{}")\n  < "x"\n', 'chain c\n  > 1\n  < "{}"\n', "no tree, {}\n", "chain c\n  < v1:\n    | {}\n    | x\n"],
)
def test_lines_that_look_the_same_have_escapes(before: str, after: str, shown: str, line: str) -> None:
    difference = diff(line.format(before), line.format(after))

    assert difference is not None
    assert "\\u" in difference.headline
    assert any(shown in row.text for row in difference.rows)
    assert all(row.text.isascii() for row in difference.rows if row.mark != " ")


def test_a_space_at_the_end_is_shown() -> None:
    difference = diff('tool search(q="a")\n  < "x"\n', 'tool search(q="a") \n  < "x"\n')

    assert difference is not None
    assert difference.headline == (
        'first line "tool search(q="a")" \u2192 "tool search(q="a")\\u0020" at search (1 of 2 lines, 1 cause)'
    )


def test_a_difference_that_can_be_seen_stays_as_it_is() -> None:
    difference = diff('chain c\n  < "caf\u00e9 one"\n', 'chain c\n  < "caf\u00e9 two"\n')

    assert difference is not None
    assert [row.text for row in difference.rows if row.mark != " "] == ['< "caf\u00e9 one"', '< "caf\u00e9 two"']


def test_equal_texts_are_not_alike() -> None:
    assert not are_alike("a", "a")
    assert show_hidden("a  b ") == "a\\u0020 b\\u0020"
