"""The plan of a stream: what comes in which order, where it stops, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llmtest import call, hold, reply, say, think
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Part, Reply
from llmtest.scripts.streams import ReplyStream, join_tokens


class Words(ReplyStream[str]):
    """Each piece is a word for what it is."""

    def _opening(self) -> Iterator[str]:
        yield "<"

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[str]:
        if isinstance(parts[0], Call):
            yield f"{number}:{parts[0].tool}("
            self.before += 1
        yield from self._streamed(parts)
        yield "|" if cut else "."

    def _end(self) -> Iterator[str]:
        yield ">"

    def _broken(self, failure: Fail) -> Iterator[str]:
        yield f"!{failure}"


def pieces(step: Reply) -> list[Any]:
    return ["GATE" if isinstance(piece, Gate) else piece for piece in Words(step).pieces()]


def test_blocks_come_between_the_opening_and_the_end() -> None:
    made = reply(think("hm"), say("a", "b"), say("c"), call("f").deltas("{", "}"), call("g").deltas("{}"))

    assert pieces(made) == ["<", "hm", ".", "a", "b", "c", ".", "2:f(", "{", "}", ".", "3:g(", "{}", ".", ">"]


@pytest.mark.parametrize(
    ("step", "ends"),
    [
        (say("a").then_truncate(), ["<", "a", "|"]),
        (say("a").then_fail(500), ["<", "a", "|", "!fail(500)"]),
        (say(), ["<", ".", ">"]),
    ],
)
def test_a_cut_stream_has_no_end(step: Reply, ends: list[str]) -> None:
    assert pieces(step) == ends


def test_gates_stop_the_stream_where_they_are_written() -> None:
    gate = hold()

    assert pieces(say("a", gate, "b")) == ["<", "a", "GATE", "b", ".", ">"]
    assert pieces(say(gate, "a")) == ["GATE", "<", "a", ".", ">"]
    assert pieces(say("a", gate)) == ["<", "a", "GATE", ".", ">"]
    assert pieces(reply("a", gate, call("f").deltas("{}"))) == ["<", "a", "GATE", ".", "1:f(", "{}", ".", ">"]


def test_the_end_is_known_when_it_comes() -> None:
    stream = Words(say("a"))

    assert [(piece, stream.is_at_end) for piece in stream.pieces()] == [("<", False), ("a", False), (".", False), (">", True)]


def test_tokens_are_joined() -> None:
    assert join_tokens(reply("a b", say("c")).parts) == "a bc"
