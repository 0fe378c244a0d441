"""Regular expressions of a schema as random text."""

from __future__ import annotations

from random import Random

import pytest
from jsonschema_rs import validator_for

from llmtest.auto import regex

PATTERNS = [
    "",
    "abc",
    "^[A-Z]{2}-\\d{3}$",
    "^(foo|bar)+$",
    "^(?:a|b){2,4}?$",
    "^(?P<year>\\d{4})-(?<rest>\\w+)$",
    "^[^a-z]{5}$",
    "^[a\\-z]*$",
    "^[\\d_.-]+$",
    "^[\\w-]{3,}$",
    "^.?\\.\\S\\s\\D\\W$",
    "^\\x41\\u0042\\u{43}\\t$",
    "\\bword\\b",
    "^a{2}b{1,}c{0,2}$",
    "^\\p{L}\\p{Lu}\\P{L}\\pN$",
    "^(?=.)[a-z](?!b)$",
    "^[+*?.(){}|]$",
    "^a|b$",
    "^[]a]+$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_for_a_pattern_matches_it(pattern: str) -> None:
    # Python has no \p{..}, \u{..} and unnamed-P groups: the validator that knows them judges.
    judge = validator_for({"pattern": pattern.replace("(?<rest>", "(")})

    texts = [regex.sample(pattern, Random(seed)) for seed in range(50)]

    assert [text for text in texts if not judge.is_valid(text)] == []


def test_texts_for_a_pattern_differ_by_the_random_and_keep_to_what_may_be_repeated() -> None:
    lengths = {len(regex.sample("^a+$", Random(seed), more=5)) for seed in range(200)}

    assert lengths == {1, 2, 3, 4, 5, 6}
    assert {regex.sample("^(x|y)$", Random(seed)) for seed in range(20)} == {"x", "y"}


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "it ends too early"),
        ("[a", "it ends too early"),
        ("(?<name", "it ends too early"),
        ("a)", "it closes a bracket that is not open"),
        ("a{3,2}", "it asks for 3 to 2 times"),
        ("*a", "it repeats nothing"),
        ("(a)\\1", "it has a back reference"),
        ("\\p{Greek}", "it has the class of characters 'Greek'"),
        ("[b-a]", "it has the range b-a"),
        ("[a-\\d]", "it has the range a-0123456789"),
        ("a{x}", "it has a brace that is no repetition"),
        ("a{1,x}", "it has a brace that is no repetition"),
        ("a{1", "it ends too early"),
        ("[^\\W\\w]", "it asks for a character of which there is none"),
        ("\\xzz", "it has the character 'zz'"),
        ("\\u{FFFFFFFF}", "it has the character 'FFFFFFFF'"),
    ],
)
def test_a_pattern_that_cannot_be_written_out_says_why(pattern: str, why: str) -> None:
    with pytest.raises(regex.PatternError) as caught:
        regex.sample(pattern, Random(0))

    assert str(caught.value) == why
