"""Model calls and their sums: what is known of each, and what reading an unknown part says."""

from __future__ import annotations

import pytest

from llmtest import ScriptedChatModel, record, say
from llmtest.errors import UnjudgedError
from llmtest.events import Usage
from llmtest.tokens import ModelCall
from llmtest.tokens.calls import UnknownUsage


def test_a_usage_of_which_a_part_is_not_known_equals_none_and_says_why() -> None:
    with record() as recording:
        ScriptedChatModel(say("x", usage=False)).invoke("hi")
        next(ScriptedChatModel(say("a b c", usage=(5, 3))).stream("hi"))

    usage = recording.usage
    assert usage != Usage()
    assert repr(usage) == "<Usage: not known>"
    for name in ("input_tokens", "output_tokens", "total_tokens", "input_details", "output_details"):
        with pytest.raises(UnjudgedError) as caught:
            getattr(usage, name)
        assert str(caught.value) == ("the usage of a recording is not known, because of 2 runs: chat `ScriptedChatModel`, ended")
    with pytest.raises(UnjudgedError):
        usage + Usage()


@pytest.mark.parametrize(
    ("ended", "usage", "cached", "answered", "known"),
    [
        ("ended", Usage(1, 1, 2), False, True, True),
        ("ended", None, False, False, False),
        ("ended", None, True, False, True),
        ("error", None, False, False, True),
        ("error", Usage(1, 1, 2), False, True, False),
        ("stopped by rule", None, False, False, True),
        ("cancelled", None, False, False, False),
        ("closed early", Usage(1, 0, 1), False, True, False),
        ("open", None, False, False, False),
    ],
)
def test_what_a_call_spent_is_known_if_it_told_all_or_was_refused(ended, usage, cached, answered, known) -> None:
    call = ModelCall("Fake", "gpt", usage=usage, ended=ended, cached=cached, answered=answered)

    assert call.is_known is known


def test_an_unknown_usage_equals_itself_alone_and_has_a_class() -> None:
    usage = UnknownUsage("because")

    assert (usage == usage, usage == UnknownUsage("because"), isinstance(usage, Usage)) == (True, False, True)
    assert (usage.why, len({usage, usage})) == ("because", 1)
