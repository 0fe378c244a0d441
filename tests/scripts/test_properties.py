"""Whatever a script says, it says the same invoked, streamed and merged, dumped and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from llmtest import Script, ScriptedChatModel, call, reply, say, think
from llmtest.scripts.step_types import Reply
from tests.support.doubles import merged

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"additionalProperties": True}}}

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=8)
tokens = st.lists(words, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(words, json_values, max_size=3)
parts = st.one_of(
    tokens.map(lambda given: say(tokens=given)),
    tokens.map(lambda given: think(tokens=given)),
    arguments.map(lambda given: call("f", given)),
    words,
)
usages = st.none() | st.just(False) | st.tuples(st.integers(0, 9), st.integers(0, 9))


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    reason = draw(st.none() | st.sampled_from(["stop", "length"]))
    return reply(*draw(st.lists(parts, max_size=4)), usage=draw(usages), stop_reason=reason)


def _told(message: AIMessage) -> dict[str, Any]:
    """What a message says. Neighbouring blocks of one kind merge in a stream, empty ones vanish: the text is compared."""
    return {
        "text": message.text,
        "reasoning": "".join(b["reasoning"] for b in message.content_blocks if b["type"] == "reasoning"),
        "calls": [(c["name"], c["args"]) for c in message.tool_calls],
        "usage": message.usage_metadata,
        "metadata": message.response_metadata,
    }


@given(replies())
@settings(max_examples=150, deadline=None)
def test_a_random_reply_is_the_same_invoked_and_streamed(step: Reply) -> None:
    model = ScriptedChatModel(step.times(2)).bind(tools=[TOOL])

    invoked = model.invoke("hi")
    streamed = merged(list(model.stream("hi")))

    assert _told(streamed) == _told(invoked)
    assert invoked.text == step.text


@given(st.lists(replies(), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_random_script_is_the_same_dumped_and_loaded(tmp_path: Path, steps: list[Reply]) -> None:
    script = Script(*[step.optional() for step in steps])

    script.dump(tmp_path / "script.yaml")
    loaded = Script.load(tmp_path / "script.yaml")

    assert loaded.steps == script.steps
