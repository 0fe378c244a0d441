"""`check` against one trivial pass over the same events, and against itself on a recording ten times as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from langchain_core.runnables import RunnableLambda

from benchmarks.harness import Ratio, measure
from llmtest import Recording, ScriptedChatModel, record, say
from llmtest.protocol import check

TOKENS = 20


def ratios(rounds: int) -> Iterator[Ratio]:
    streamed, plain = _recorded(10_000, TOKENS), _recorded(10_000, 0)
    long = _recorded(100_000, TOKENS)
    cases = [("check, a stream of 20 tokens in each call", streamed), ("check, no tokens", plain)]
    for name, recording in cases:
        yield measure(
            name,
            lambda recording=recording: check(recording),  # type: ignore[misc]
            lambda recording=recording: _pass_over(recording),  # type: ignore[misc]
            against="one trivial pass",
            bar=25,
            per=len(recording),
            rounds=max(rounds // 6, 5),
        )
    yield measure(
        f"check of {len(long):,} events",
        lambda: check(long),
        lambda: [check(streamed) for _ in range(10)],
        against=f"10 checks of {len(streamed):,} events",
        bar=1.5,
        per=len(long),
        rounds=max(rounds // 30, 3),
    )


def _recorded(events: int, tokens: int) -> Recording:
    """A recording of about so many events, which has been read before."""
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
