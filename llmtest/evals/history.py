"""Sessions over time: which there are, and the pass rate of each set in each of them. And parts of one session, as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from llmtest.core.source import shown_path
from llmtest.core.text import amount
from llmtest.errors import ResultsError
from llmtest.evals.baselines import Baseline, load_baselines
from llmtest.evals.intervals import Interval
from llmtest.evals.results import ENDING, Results, ResultsWriter, find_session, sessions_folder
from llmtest.evals.verdicts import Outcome

BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Point:
    """One set in one session: its pass rate with its interval, and its verdict."""

    session: str
    test: str
    dataset: str
    passed: int
    total: int
    interval: Interval
    outcome: Outcome

    @property
    def rate(self) -> float | None:
        """The part of the runs that passed; None if none has run."""
        return self.passed / self.total if self.total else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"rate": self.rate}


def points(root: Path, last: int | None = None) -> tuple[list[Point], list[str]]:
    """Return the sets of all sessions of a project, or of the `last` ones, in the order of time; and what cannot be read."""
    folder = sessions_folder(root)
    sessions = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    chosen = sessions if last is None else sessions[len(sessions) - min(last, len(sessions)) :]
    found: list[Point] = []
    problems: list[str] = []
    for session in chosen:
        if any(session.rglob(f"*{ENDING}")):  # else it ended before its first result
            try:
                found += _points(session)
            except ResultsError as error:
                problems.append(str(error))
    return found, problems


def _points(session: Path) -> Iterator[Point]:
    for found in Results.load(session):
        verdict = found.verdict
        numbers = (found.passed, found.total, verdict.interval, verdict.outcome)
        yield Point(session.name, found.test, found.head.dataset, *numbers)


def sparkline(rates: Iterable[float | None]) -> str:
    """Return pass rates as one line of bars, from 0 to 1; a dot where nothing has run.

    >>> sparkline([0.0, 0.5, None, 1.0])
    '▁▅·█'
    """
    return "".join("·" if rate is None else BARS[min(int(rate * len(BARS)), len(BARS) - 1)] for rate in rates)


# -- what a name stands for


def results_of(root: Path, name: str = "") -> Results:
    """Return the results that a name stands for: those of a file or folder, or of a session, by default of the last one.

    Raises:
        ResultsError: there is none, or it cannot be read.
    """
    if name and (Path(name).exists() or Path(name).suffix or Path(name).name != name):  # no name of a session is a path
        return Results.load(name)
    return Results.load(find_session(root, name))


def baselines_of(root: Path, name: str = "") -> list[Baseline]:
    """Return the results that a name stands for as baselines: those in a file of baselines, or see `results_of`.

    Raises:
        BaselineError: it is no baseline, or a case has no results.
        ResultsError: there is nothing of this name, or it cannot be read.
    """
    path = Path(name)
    if name and path.is_file() and _begins_as_baseline(path):
        return load_baselines(path)
    found = results_of(root, name)
    if not len(found):
        raise ResultsError(f"{name or 'the last session'} has no results")
    return [results.baseline() for results in found]


def _begins_as_baseline(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline().lstrip(b"\xef\xbb\xbf").startswith(b'{"llmtest_baseline"')


# -- parts of one session


def combine(folders: Sequence[Path], output: Path) -> Results:
    """Write the results in some files and folders, such as those of the jobs of CI, into one new folder, and return them.

    A repeat that stands in several of them counts once.

    Raises:
        ResultsError: `output` has files already, a folder has no results, or results contradict one another. Nothing is written.
        OSError: the folder cannot be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ResultsError(f"{shown_path(str(output))}: the folder is not empty; name a new one")
    results = Results.load(*folders)
    writer = ResultsWriter(output, "combined")
    for found in results:
        writer.begin(found.head)
        for repeat in found.repeats:
            writer.write(found.test, repeat)
    writer.close()
    return results


def describe(results: Results) -> str:
    """Return the number of sets and runs in words."""
    return f"{amount(len(results), 'set')}, {amount(sum(found.total for found in results), 'run')}"
