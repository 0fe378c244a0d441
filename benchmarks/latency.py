"""Scripts with a latency against the same scripts without: nobody waits, so they should cost the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.harness import Ratio, measure
from llmtest import Recording, ScriptedChatModel, record, say

TOKENS = 200
CALLS = 10


def _model(**latency: float) -> ScriptedChatModel:
    return ScriptedChatModel(say(tokens=["x"] * TOKENS, **latency).repeat())  # type: ignore[arg-type]


def _recorded(work: Callable[[ScriptedChatModel], object], model: ScriptedChatModel) -> Recording:
    with record() as recording:
        work(model)
    return recording


def ratios(rounds: int) -> Iterator[Ratio]:
    def invoke(model: ScriptedChatModel) -> None:
        for _ in range(CALLS):
            model.invoke("hi")

    def stream(model: ScriptedChatModel) -> None:
        for _ in model.stream("hi"):
            pass

    timed, plain = _model(ttft_s=0.8, tokens_per_s=50), _model()
    cases = (("invoke", invoke, CALLS), ("stream, per token", stream, TOKENS))
    for name, work, per in cases:
        for way, run in (("", work), ("recorded ", partial(_recorded, work))):
            yield measure(
                f"{way}{name}, with ttft_s",
                partial(run, timed),
                partial(run, plain),
                against=f"{way}{name}, without".replace(", per token", ""),
                bar=1.05,
                per=per,
                rounds=rounds,
            )
    yield _reading(stream, timed, plain, rounds)


def _reading(
    stream: Callable[[ScriptedChatModel], object], timed: ScriptedChatModel, plain: ScriptedChatModel, rounds: int
) -> Ratio:
    """The first look at a recording, when its times are worked out. Each round reads a recording of its own."""
    plenty = (rounds + rounds // 10 + 1) * 3
    ours, theirs = ([_recorded(stream, model) for _ in range(plenty)] for model in (timed, plain))
    return measure(
        "reading a recorded stream, with ttft_s, per token",
        lambda: list(ours.pop()),
        lambda: list(theirs.pop()),
        against="without",
        bar=None,
        per=TOKENS,
        rounds=rounds,
    )
