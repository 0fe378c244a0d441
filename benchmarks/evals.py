"""Evaluations against the same runs in a plain loop, without pytest; and their memory, which repeats must not fill."""

from __future__ import annotations

import contextlib
import gc
import io
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.harness import Ratio, measure
from benchmarks.recording import run_agent
from llmtest import record

CASES, REPEATS, TURNS = 50, 10, 2
RUNS = CASES * REPEATS
SUITE = """
import pytest
from benchmarks.recording import run_agent
from llmtest.evals import Dataset

CASES = Dataset([{{"id": f"case-{{n}}", "inputs": n}} for n in range({cases})])

@pytest.mark.llm_eval(dataset=CASES, repeats={repeats}, at_least=0.9, concurrency={concurrency})
def test_it(case):
    run_agent({turns}, [])
"""


def ratios(rounds: int) -> Iterator[Ratio]:
    fewer = max(rounds // 100, 2)

    def bare() -> None:
        for _ in range(RUNS):
            run_agent(TURNS, [])

    def recorded() -> None:
        for _ in range(RUNS):
            with record():
                run_agent(TURNS, [])

    name = f"{CASES} cases x {REPEATS} repeats of an agent of {TURNS} turns, per run"
    with _suite() as evaluated, _suite(concurrency=8) as at_once:
        yield measure(name, evaluated, recorded, against="a loop, each run recorded", bar=1.2, per=RUNS, rounds=fewer)
        yield measure(f"{name}, 8 at once", at_once, recorded, against="the same loop", bar=None, per=RUNS, rounds=fewer)
        yield measure(name, evaluated, bare, against="a loop, nothing recorded", bar=None, per=RUNS, rounds=fewer)
    with _suite(repeats=4 * REPEATS) as more, _suite() as few:
        for suite in (more, few):
            suite()
        peaks = [_peak(suite) for suite in (more, few, few)]
        yield Ratio(
            f"memory of {4 * REPEATS} repeats of {CASES} cases",
            f"{REPEATS} repeats",
            peaks[0] / min(peaks[1:]),
            1.2,
            peaks[2] / peaks[1],
            peaks[0] / 1e6,
            min(peaks[1:]) / 1e6,
            "MB",
        )


@contextlib.contextmanager
def _suite(*, repeats: int = REPEATS, concurrency: int = 1) -> Iterator[Callable[[], None]]:
    """A suite in a folder, and the function that runs it in this process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "test_it.py")
        file.write_text(SUITE.format(cases=CASES, repeats=repeats, concurrency=concurrency, turns=TURNS))
        Path(folder, "pytest.ini").write_text("[pytest]\n")

        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()) as out, _without_plugins():
                code = pytest.main(
                    [
                        "-q",
                        "-p",
                        "llmtest.pytest_plugin",
                        "-p",
                        "no:cacheprovider",
                        "--import-mode=importlib",
                        f"--rootdir={folder}",
                        str(file),
                    ]
                )
            assert code == 0, out.getvalue()

        yield run


@contextlib.contextmanager
def _without_plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        yield


def _peak(work: Callable[[], None]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
