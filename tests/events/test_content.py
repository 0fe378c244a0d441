"""Content blocks, tokens and stream events are read alike, whatever their provider calls things."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.events.content import Block, StreamEvent, pieces_of, read_block, read_stream_event


@pytest.mark.parametrize(
    ("value", "block"),
    [
        ("hi", Block("text", "hi")),
        ({"type": "text", "text": "hi"}, Block("text", "hi", "text")),
        ({"type": "text-delta", "text": "hi"}, Block("text", "hi", "text-delta")),
        ({"type": "text", "text": None}, Block("text", None, "text")),
        ({"type": "reasoning", "reasoning": "hm"}, Block("reasoning", "hm", "reasoning")),
        ({"type": "thinking", "thinking": "", "signature": "x"}, Block("reasoning", "", "thinking")),
        ({"type": "reasoning", "summary": [{"text": "h"}, {"text": "m"}]}, Block("reasoning", "hm", "reasoning")),
        ({"type": "reasoning", "summary": []}, Block("reasoning", None, "reasoning")),
        ({"type": "tool_use", "name": "f", "input": {}}, Block("call", "f", "tool_use")),
        ({"type": "input_json_delta", "partial_json": "{}"}, Block("call", "{}", "input_json_delta")),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, Block("call", "f{}", "function_call")),
        ({"type": "tool_call_chunk", "name": None, "args": "{}"}, Block("call", "{}", "tool_call_chunk")),
        ({"type": "image", "url": "x"}, Block("other", None, "image")),
        ({"type": ["odd"]}, Block("other", None, "['odd']")),
        (7, Block("other", None, "None")),
    ],
)
def test_blocks(value: Any, block: Block) -> None:
    assert read_block(value) == block


@pytest.mark.parametrize(
    ("payload", "pieces"),
    [
        ({"token": "hi"}, [Block("text", "hi")]),
        ({"token": ""}, []),
        ({"token": []}, []),
        ({"token": None}, []),
        ({"token": [{"type": "text", "text": "hi"}]}, [Block("text", "hi", "text")]),
        ({"token": "", "tool_call_chunks": [{"name": "f", "args": ""}]}, [Block("call", "f", "tool_call_chunk")]),
        (
            {"token": ["so ", {"type": "tool_use", "name": "f"}], "tool_call_chunks": [{"name": "f", "args": None}]},
            [Block("call", "f", "tool_call_chunk"), Block("text", "so ")],
        ),
        ({"token": "", "tool_call_chunks": ["odd"]}, [Block("text", "odd")]),
        ({"event": {"event": "message-start"}}, []),
        ({"event": {"delta": {"type": "reasoning-delta", "reasoning": "hm"}}}, [Block("reasoning", "hm", "reasoning-delta")]),
    ],
)
def test_pieces_of_a_token_or_a_stream_event(payload: dict[str, Any], pieces: list[Block]) -> None:
    assert pieces_of(payload) == pieces


def test_stream_events() -> None:
    started = {"event": "content-block-start", "index": 1, "content": {"type": "text", "text": ""}}

    assert read_stream_event(started) == StreamEvent("content-block-start", 1, None, Block("text", "", "text"))
    assert read_stream_event("odd") == StreamEvent("None")
