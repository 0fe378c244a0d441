"""The one reader of the pieces of an answer: content blocks, streamed tokens, stream events of version 3.

Providers name the same thing differently (`reasoning`, `thinking`, a `summary`), and LangChain passes their blocks on.
`read_block` reads a block, `pieces_of` a token or a stream event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

BlockKind = Literal["text", "reasoning", "call", "other"]

_KINDS: Final[Mapping[object, BlockKind]] = {
    **dict.fromkeys(("text", "text-delta"), "text"),
    **dict.fromkeys(("reasoning", "thinking", "reasoning-delta"), "reasoning"),
    **dict.fromkeys(("tool_use", "tool_call", "tool_call_chunk", "tool-call-delta", "function_call", "input_json_delta"), "call"),
}


class Block(NamedTuple):
    """A content block, or a piece of one. `text` is None if it holds no text, not even an empty one.

    The text of a call is the name of its tool and its arguments, as far as they are text.
    """

    kind: BlockKind
    text: str | None = None
    type: str | None = None
    """The provider's word for it; None for a plain string."""


def read_block(value: object) -> Block:
    """Return `value` as a block: a str is text, and anything unknown is `other`."""
    if isinstance(value, str):
        return Block("text", value)
    fields = value if isinstance(value, Mapping) else {}
    name = str(fields.get("type"))
    kind = _KINDS.get(name, "other")
    if kind == "call":
        return Block(kind, "".join(_texts(fields, "name", "args", "arguments", "partial_json")), name)
    text = next(_texts(fields, "text", "reasoning", "thinking"), None)
    summary = fields.get("summary")
    if text is None and summary and isinstance(summary, list | tuple):  # the Responses API has several paragraphs
        text = "".join(read_block(part).text or "" for part in summary)
    return Block(kind, text, name)


def _texts(fields: Mapping[str, object], *names: str) -> Iterator[str]:
    values = (fields.get(name) for name in names)
    return (value for value in values if isinstance(value, str))


class StreamEvent(NamedTuple):
    """A stream event of LangChain's version 3, `langchain_protocol.MessagesData`.

    `block_index` tells the blocks of a message apart.
    """

    name: str
    block_index: object = None
    delta: Block | None = None
    content: Block | None = None


def read_stream_event(value: object) -> StreamEvent:
    """Return `value` as a stream event; its name is `None` if it is no mapping."""
    fields = value if isinstance(value, Mapping) else {}
    delta, content = (read_block(fields[key]) if fields.get(key) is not None else None for key in ("delta", "content"))
    return StreamEvent(str(fields.get("event")), fields.get("index"), delta, content)


def pieces_of(payload: Mapping[str, object]) -> list[Block]:
    """Return the pieces that a token or a stream event adds to an answer: usually one, none if it is empty."""
    if "event" in payload:
        delta = read_stream_event(payload["event"]).delta
        return [] if delta is None else [delta]
    token, chunks = payload.get("token"), payload.get("tool_call_chunks")
    if isinstance(token, str):
        blocks = [Block("text", token)] if token else []
    else:
        blocks = [read_block(block) for block in token] if isinstance(token, list | tuple) else []
    if not isinstance(chunks, list | tuple) or not chunks:
        return blocks
    # A provider whose tokens are blocks has the call there a second time, in its own words.
    calls = [read_block({"type": "tool_call_chunk", **chunk} if isinstance(chunk, Mapping) else chunk) for chunk in chunks]
    return [*calls, *(block for block in blocks if block.kind in ("text", "reasoning"))]
