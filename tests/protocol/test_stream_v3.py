"""The grammar of stream events."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from llmtest.events import Event
from llmtest.protocol.stream_v3 import ungrammatical

pytestmark = pytest.mark.usefixtures("outside")


# -- stream events


def test_the_grammar_of_stream_events() -> None:
    start, finish = {"event": "message-start"}, {"event": "message-finish"}

    def block(what: str, index: int = 0, **more: Any) -> dict[str, Any]:
        return {"event": f"content-block-{what}", "index": index, **more}

    def delta(text: str, index: int = 0) -> dict[str, Any]:
        return block("delta", index, delta={"type": "text-delta", "text": text})

    def done(text: str, index: int = 0) -> dict[str, Any]:
        return block("finish", index, content={"type": "text", "text": text})

    two = [start, block("start"), delta("a"), block("start", 1), delta("c", 1), delta("b"), done("ab"), done("c", 1), finish]
    data = block("delta", delta={"type": "data-delta", "data": "x"})
    lawful = {
        "nothing": [],
        "two blocks side by side": two,
        "given up in a block": two[:4],
        "no deltas": [start, block("start"), done("whole"), finish],
        "more than text": [start, block("start"), data, done("ab"), finish],
        "finished as another kind of block": [start, block("start"), delta("{}"), block("finish", content={"type": "tool_call"})],
        "an error": [start, {"event": "error", "message": "no"}],
    }
    unlawful = {
        "a second `message-start`": [start, start],
        "`content-block-start` before `message-start`": [block("start")],
        "`content-block-delta` after `message-finish`": [start, finish, delta("a")],
        "`message-finish` while block 3 is open": [start, block("start", 3), finish],
        "block 0 starts twice": [start, block("start"), block("start")],
        "`content-block-delta` of block 0, which is not open": [start, delta("a")],
        "`content-block-finish` of block 1, which is not open": [start, block("start"), done("a", 1)],
        "the deltas of block 0 make 'a', but it finishes as 'b'": [start, block("start"), delta("a"), done("b")],
        f"the deltas of block 0 make {'a' * 64!r} ... {'a' * 16!r} (81 characters), but it finishes as 'b'": [
            start,
            block("start"),
            delta("a" * 81),
            done("b"),
        ],
        "`None` before `message-start`": ["no event"],
    }

    def read(events: list[Any]) -> str | None:
        from llmtest.events import FrozenDict

        found = ungrammatical([Event("on_stream_event", UUID(int=1), None, "m", payload=FrozenDict(event=e)) for e in events])
        return found[1] if found else None

    assert {name: read(events) for name, events in lawful.items()} == dict.fromkeys(lawful)
    assert [read(events) for events in unlawful.values()] == list(unlawful)
