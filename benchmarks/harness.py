"""How a ratio is measured: both sides in turn, many rounds, the minimum of each; beside it the reference against itself."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Ratio:
    """`ours` against `reference`; `noise` is the reference against itself, which says how far to trust `ratio`.

    What a side took is in microseconds, or in `unit`.
    """

    name: str
    reference: str
    ratio: float
    bar: float | None
    noise: float
    ours_us: float
    reference_us: float
    unit: str = "µs"
    floor: float | None = None
    """How far a row may go whose bar no change has reached: see `benchmarks.floors`."""

    @property
    def held(self) -> bool:
        return self.bar is None or self.ratio <= max(self.bar, self.floor or 0)


def measure(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    *,
    against: str,
    bar: float | None,
    per: int = 1,
    rounds: int = 300,
) -> Ratio:
    """The ratio of the two minima. Each callable is one round of work; `per` is how many units a round has."""
    sides = (ours, reference, reference)
    best = [float("inf")] * 3
    for _ in range(rounds // 10 + 1):  # whoever comes first must not pay for a heap that is still growing
        for side in sides:
            side()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for index in _turn(number):
                began = perf_counter()
                sides[index]()
                best[index] = min(best[index], perf_counter() - began)
            if number % 10 == 9:
                gc.collect()
    finally:
        gc.enable()
    _progress(name)
    mine, theirs, again = best
    return Ratio(name, against, mine / min(theirs, again), bar, again / theirs, mine / per * 1e6, min(theirs, again) / per * 1e6)


def _turn(number: int) -> tuple[int, int, int]:
    """The order changes from round to round, so that nobody always runs on a warm or a tired machine."""
    return ((0, 1, 2), (1, 2, 0), (2, 0, 1))[number % 3]


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K  {name}", end="", file=sys.stderr, flush=True)


def table(ratios: list[Ratio]) -> Iterator[str]:
    """The figures as a Markdown table."""
    yield "| what | against | ratio | bar | A/A | ours | reference |"
    yield "|---|---|---|---|---|---|---|"
    for r in ratios:
        bar = "reported" if r.bar is None else f"≤ {r.bar:g}" + ("" if r.ratio <= r.bar else _missed(r))
        sides = f"{r.ours_us:.1f} {r.unit} | {r.reference_us:.1f} {r.unit}"
        yield f"| {r.name} | {r.reference} | {r.ratio:.2f} | {bar} | {r.noise:.2f} | {sides} |"


def _missed(ratio: Ratio) -> str:
    return f" missed, floor {ratio.floor:g}" if ratio.held else " **missed**"


def as_json(ratios: list[Ratio]) -> list[dict[str, object]]:
    return [{**asdict(r), "held": r.held} for r in ratios]
