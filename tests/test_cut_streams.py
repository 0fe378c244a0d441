"""Streams that end without a reason."""

from __future__ import annotations

from llmtest import ScriptedChatModel, record, say
from llmtest.protocol import cut_streams


def test_a_stream_that_was_cut_is_told_of_in_full() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("Hello").then_truncate()).stream("hi"))
    (broken,) = cut_streams(recording)
    assert (broken.rule, broken.level) == ("stream without a reason", "unusual")
    assert broken.text == (
        "chat `ScriptedChatModel` streamed, and ended without a reason\n"
        "  #2 on_llm_new_token `ScriptedChatModel`\n"
        "  #3 on_llm_end `ScriptedChatModel`\n"
        "  the answer may be cut off; look for a reason before you use it"
    )


def test_a_whole_stream_and_an_answer_without_tokens_are_not_told_of() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("Hello")).stream("hi"))
        ScriptedChatModel(say("Hello").then_truncate()).invoke("hi")
    assert cut_streams(recording) == []


def test_an_answer_that_has_only_begun_has_given_no_reason() -> None:
    statuses = ("in_progress", "incomplete")
    model = ScriptedChatModel(*(say("Hello", response_metadata={"status": one}).then_truncate() for one in statuses))

    with record() as recording:
        for _ in statuses:
            list(model.stream("hi"))

    assert [broken.witnesses[0].run_id for broken in cut_streams(recording)] == [recording.models[0].id]
