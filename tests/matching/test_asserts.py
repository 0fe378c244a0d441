"""What `assert_obeys`, `assert_matches`, `obeys`, `==` and `all_of` do with what they find."""

from __future__ import annotations

import pytest

from llmtest.errors import MatchError
from llmtest.matching import never
from tests.support.shop import BOOK, BOOKING, PAY


def test_assert_obeys_raises_the_text_of_every_rule_that_is_broken() -> None:
    with pytest.raises(AssertionError) as caught:
        BOOKING.assert_obeys(never("book"), never("zzz"), never("pay"))

    assert isinstance(caught.value, MatchError)
    assert str(caught.value) == (
        f"expected never `book`\n  got      `book` was called\n  {BOOK}\n\n"
        f"expected never `pay`\n  got      `pay` was called\n  {PAY}"
    )
    BOOKING.assert_obeys(never("zzz"))


def test_assert_matches_raises_the_whole_text() -> None:
    with pytest.raises(MatchError) as caught:
        BOOKING.tools.assert_matches(["search"])
    with pytest.raises(MatchError):
        BOOKING.kinds.assert_matches([])
    with pytest.raises(TypeError) as wrong:
        BOOKING.tools.assert_matches("search")

    assert str(caught.value) == str(BOOKING.tools.explain(["search"]))
    assert str(wrong.value) == 'a shape is a list: ["plan", ..., called("book")]; got str \'search\''
    BOOKING.tools.assert_matches([..., "left"])


def test_soft_asserts_are_raised_together_at_the_end() -> None:
    with pytest.raises(MatchError) as caught, BOOKING.all_of():
        BOOKING.assert_obeys(never("book"))
        BOOKING.tools.assert_matches(["search"])
        BOOKING.assert_obeys(never("zzz"))

    assert [answer.expected for answer in caught.value.answers] == ["never `book`", "tools == ['search']"]


def test_an_exception_in_a_soft_block_comes_first_and_carries_what_was_found() -> None:
    with pytest.raises(KeyError) as caught, BOOKING.all_of():
        BOOKING.assert_obeys(never("book"))
        raise KeyError("mine")

    assert caught.value.__notes__ == [str(BOOKING.obeys(never("book")))]
    with BOOKING.all_of():
        BOOKING.assert_obeys(never("zzz"))
