"""The scripted text model: one step answers one prompt."""

from __future__ import annotations

import pytest

from llmtest import ScriptedLLM, call, record, say
from llmtest.errors import ScriptError


def test_a_text_model_reports_usage_in_llm_output_and_with_the_last_chunk() -> None:
    result = ScriptedLLM("one two", say("x", usage=False)).generate(["a b c", "d"])
    streamed = ScriptedLLM(say("a", "b"))

    with record() as recording:
        list(streamed.stream("p"))

    assert result.llm_output == {
        "model_name": "scripted",
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    assert (recording.usage.input_tokens, recording.usage.output_tokens) == (1, 2)


def test_a_text_model_that_reports_no_usage_has_none_in_llm_output() -> None:
    assert ScriptedLLM(say("x", usage=False)).generate(["a"]).llm_output == {"model_name": "scripted"}


def test_several_prompts_take_one_step_each_and_fire_no_tokens() -> None:
    model = ScriptedLLM("a", "b", streaming=True)

    with record() as recording:
        answers = model.batch(["1", "2"])

    assert answers == ["a", "b"]
    assert [run.tokens for run in recording.models] == [[], []]


def test_a_text_model_refuses_what_is_not_text() -> None:
    with pytest.raises(ScriptError) as refused:
        ScriptedLLM("a", call("f"))

    text = str(refused.value)
    assert text.startswith("step 2 of a ScriptedLLM is call('f') at ")
    assert text.endswith(", but a text model says text only")
