"""The grammar of stream events: the order in which a message is streamed in LangChain's version 3.

A message is: `message-start`; content blocks, each a start, deltas and a finish, told apart by their index;
`message-finish`. A stream that was closed or failed may stop anywhere. Source: `langchain_protocol.MessagesData`.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmtest.core.masks import show_text
from llmtest.events.content import Block, StreamEvent, read_stream_event
from llmtest.events.events import Event


def ungrammatical(streamed: Sequence[Event]) -> tuple[Event, str] | None:
    """Return the first stream event of a run that is out of order, and why; None if none is."""
    reader = _Reader()
    for event in streamed:
        why = reader.read(read_stream_event(event.payload.get("event")))
        if why:
            return event, why
    return None


class _Reader:
    """Reads the stream events of one message. Holds state."""

    def __init__(self) -> None:
        self.begun = self.over = False
        self.blocks: dict[object, list[Block | None]] = {}
        """The open blocks by index, with their deltas."""

    def read(self, event: StreamEvent) -> str | None:
        """Read the next event and return what is wrong with it; None if nothing is."""
        if self.over:
            return f"`{event.name}` after `message-finish`"
        if event.name == "message-start":
            self.begun, again = True, self.begun
            return "a second `message-start`" if again else None
        if not self.begun:
            return f"`{event.name}` before `message-start`"
        if event.name.startswith("content-block-"):
            return self._of_block(event)
        self.over = event.name == "message-finish"
        return f"`message-finish` while block {next(iter(self.blocks))} is open" if self.over and self.blocks else None

    def _of_block(self, event: StreamEvent) -> str | None:
        index = event.block_index
        if event.name == "content-block-start":
            again = index in self.blocks
            self.blocks[index] = []
            return f"block {index} starts twice" if again else None
        if index not in self.blocks:
            return f"`{event.name}` of block {index}, which is not open"
        if event.name == "content-block-finish":
            return _unlike(self.blocks.pop(index), index, event.content)
        self.blocks[index].append(event.delta)
        return None


def _unlike(deltas: list[Block | None], index: object, content: Block | None) -> str | None:
    """Return what is wrong with a finish whose text differs from that of its deltas; None if nothing is."""
    text = _joined(deltas)
    if not text or content is None or content.kind != "text" or content.text == text:
        return None
    return f"the deltas of block {index} make {show_text(text)}, but it finishes as {show_text(content.text or '')}"


def _joined(deltas: list[Block | None]) -> str | None:
    """Return the text of the deltas of a block; None if one is more than text."""
    texts = [delta.text or "" for delta in deltas if delta is not None and delta.kind == "text"]
    return "".join(texts) if len(texts) == len(deltas) else None
