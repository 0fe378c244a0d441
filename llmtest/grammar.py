"""The grammar of stream events: the order in which a message is streamed in LangChain's version 3.

Floor 1. A message is: `message-start`; content blocks, each a start, deltas and a finish, told apart by their index;
`message-finish`. What was closed or failed may stop anywhere. Source: `langchain_protocol.MessagesData`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmtest.core.masks import show_text
from llmtest.events import Event


def ungrammatical(streamed: Sequence[Event]) -> tuple[Event, str] | None:
    """The first stream event of a run that may not stand where it does, and why; None if all may."""
    reader = _Reader()
    for event in streamed:
        why = reader.read(event.payload.get("event"))
        if why:
            return event, why
    return None


class _Reader:
    """Reads the stream events of one message. Holds state."""

    def __init__(self) -> None:
        self.begun = self.over = False
        self.blocks: dict[Any, list[Any]] = {}
        """The open blocks by index, with their deltas."""

    def read(self, event: Any) -> str | None:
        """What is wrong with the next event; None if nothing."""
        fields = event if isinstance(event, dict) else {}
        kind = str(fields.get("event"))
        if self.over:
            return f"`{kind}` after `message-finish`"
        if kind == "message-start":
            self.begun, again = True, self.begun
            return "a second `message-start`" if again else None
        if not self.begun:
            return f"`{kind}` before `message-start`"
        if kind.startswith("content-block-"):
            return self._of_block(kind, fields.get("index"), fields)
        self.over = kind == "message-finish"
        return f"`message-finish` while block {next(iter(self.blocks))} is open" if self.over and self.blocks else None

    def _of_block(self, kind: str, index: Any, fields: dict[str, Any]) -> str | None:
        if kind == "content-block-start":
            again = index in self.blocks
            self.blocks[index] = []
            return f"block {index} starts twice" if again else None
        if index not in self.blocks:
            return f"`{kind}` of block {index}, which is not open"
        if kind == "content-block-finish":
            return _unlike(self.blocks.pop(index), index, fields.get("content"))
        self.blocks[index].append(fields.get("delta"))
        return None


def _unlike(deltas: list[Any], index: Any, content: Any) -> str | None:
    """What is wrong with a finish that does not say what the deltas said."""
    text = _joined(deltas)
    if not text or not isinstance(content, dict) or content.get("type") != "text" or content.get("text") == text:
        return None
    return f"the deltas of block {index} make {show_text(text)}, but it finishes as {show_text(str(content.get('text')))}"


def _joined(deltas: list[Any]) -> str | None:
    """The text of the deltas of a block; None if one is more than text."""
    plain = all(isinstance(delta, dict) and delta.get("type") == "text-delta" for delta in deltas)
    return "".join(str(delta.get("text")) for delta in deltas) if plain else None
