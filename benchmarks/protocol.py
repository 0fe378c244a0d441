"""`check` against trivial passes over the same events, and against itself on a recording a tenth as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from langchain_core.runnables import RunnableLambda

from benchmarks.harness import Ratio, measure
from llmtest import Recording, ScriptedChatModel, record, say
from llmtest.protocol import check

PASSES = 25
"""So many passes take about as long as the check that is allowed to cost as much, so a busy machine strikes both sides."""


def ratios(rounds: int) -> Iterator[Ratio]:
    streamed, long = _recorded(10_000, tokens=20), _recorded(100_000, tokens=20)
    cases = [
        ("check, 20 tokens in each call", streamed, max(rounds // 6, 5)),
        ("check, no tokens", _recorded(10_000, tokens=0), max(rounds // 6, 5)),
        (f"check, {len(long):,} events", long, max(rounds // 30, 3)),
    ]
    for name, recording, times in cases:
        yield measure(
            name,
            lambda recording=recording: check(recording),  # type: ignore[misc]
            lambda recording=recording: [_pass_over(recording) for _ in range(PASSES)],  # type: ignore[misc]
            against=f"{PASSES} trivial passes",
            bar=1,
            per=len(recording),
            rounds=times,
        )
    yield measure(
        f"check of {len(long):,} events",
        lambda: check(long),
        lambda: [check(streamed) for _ in range(10)],
        against=f"10 checks of {len(streamed):,} events",
        bar=1.3,
        per=len(long),
        rounds=max(rounds // 30, 3),
    )


def _recorded(events: int, tokens: int) -> Recording:
    """A recording of about so many events, correct, and read before."""
    model = ScriptedChatModel(say(tokens=["x"] * tokens).repeat() if tokens else say("Hello").repeat(), streaming=bool(tokens))
    chain = RunnableLambda(str) | model
    with record() as recording:
        while len(recording) < events:
            chain.invoke("hi")
    assert check(recording) == []
    return recording


def _pass_over(recording: Recording) -> object:
    """The least that any look at a recording does: it counts the callbacks by their kind."""
    return Counter(event.kind for event in recording)
