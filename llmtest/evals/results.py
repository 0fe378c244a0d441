"""Results on disk: a line for each repeat, written as it ends, so that a process that dies loses nothing that has ended.

Each process of a session writes a file of its own, which only grows. No line holds inputs or outputs.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any, Final, Self, overload

from llmtest.core.own_folder import FOLDER, make_folder
from llmtest.core.source import shown_path
from llmtest.core.text import amount, did_you_mean, some_names
from llmtest.errors import BaselineError, ResultsError
from llmtest.evals.baselines import Baseline, CaseResult, mean_scores, mean_spent
from llmtest.evals.datasets import hash_of_cases
from llmtest.evals.scores import Score
from llmtest.evals.verdicts import Requirement, Tally, Verdict, judge_set

FORMAT: Final = 1
ENDING: Final = ".jsonl"
SECONDS_DIGITS: Final = 6


# -- what is in them


@dataclass(frozen=True, slots=True)
class RunError:
    """The exception with which a run ended: the name of its class, and its message in one line, with secrets masked."""

    type: str
    message: str

    def __str__(self) -> str:
        return self.message if self.type in _SAYS_ALL and self.message else ": ".join(filter(None, (self.type, self.message)))


_SAYS_ALL: Final = frozenset({"AssertionError", "Failed", "MatchError", "ViolationError"})
"""Exceptions that are failed checks: their message is the reason, and the name of the class adds nothing."""


@dataclass(frozen=True, slots=True)
class RepeatResult:
    """What one repeat of one case came to. `repeat` counts from 0, in the order in which they are started.

    `passed` is false if the run crashed, an assertion failed, or a scorer failed it. Tokens and `cost` (in US dollars, unless
    prices of the project's own are given) are None where they are not known, never 0. `trace` names its traces in the store, as
    `llmtest show` takes it; None if they were not kept. `models` are the names that the providers answered with.
    `weight` is that of the case.
    """

    case: str
    hash: str
    repeat: int
    passed: bool
    scores: Mapping[str, Score] = field(default_factory=dict)
    error: RunError | None = None
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    trace: str | None = None
    models: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def tokens(self) -> int | None:
        """The tokens of prompts and answers; None if they are not known."""
        return None if self.input_tokens is None or self.output_tokens is None else self.input_tokens + self.output_tokens

    @property
    def spent(self) -> dict[str, float | None]:
        """What the run spent, for a baseline: `tokens`, `cost` and `seconds`."""
        return {"tokens": self.tokens, "cost": self.cost, "seconds": self.seconds}

    @property
    def why(self) -> str:
        """Why it failed, in one line: the error, or what the first scorer that failed it says. Empty if it passed."""
        if self.error is not None:
            return str(self.error)
        return next((f"{name}: {score.why}" for name, score in self.scores.items() if score.passed is False), "")


@dataclass(frozen=True, slots=True)
class SetHead:
    """What a set of results is of: the `test` (its node id without the case), its dataset, and what is required.

    `cases` is how many cases the dataset has, `repeats` how many runs of each were planned. `live` tells that real models
    answered.
    """

    test: str
    dataset: str
    hash: str
    cases: int
    requirement: Requirement
    repeats: int
    scorers: tuple[str, ...] = ()
    live: bool = False


@dataclass(frozen=True)
class SetResults:
    """The results of one set: its `head`, and the repeats of each case by its id, in the order in which they were started."""

    head: SetHead
    cases: Mapping[str, tuple[RepeatResult, ...]]

    @property
    def test(self) -> str:
        return self.head.test

    @property
    def repeats(self) -> Iterator[RepeatResult]:
        """Every repeat, case by case."""
        return (repeat for repeats in self.cases.values() for repeat in repeats)

    @property
    def passed(self) -> int:
        """How many runs passed."""
        return sum(repeat.passed for repeat in self.repeats)

    @property
    def total(self) -> int:
        """How many runs there are."""
        return sum(map(len, self.cases.values()))

    @property
    def cost(self) -> float | None:
        """What all runs cost; None if the cost of one is not known."""
        costs = [repeat.cost for repeat in self.repeats]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def tally(self, case: str) -> Tally:
        """Return the tally of one case, with its verdict."""
        tally = Tally(self.head.requirement, self.head.repeats, alone=self.head.cases == 1)
        for result in self.cases.get(case, ()):
            tally.add(result.repeat, result.passed)
        return tally

    @property
    def verdict(self) -> Verdict:
        """The verdict of all cases of the dataset together. What has not run, whole cases too, may have passed or failed."""
        return judge_set(self.head.requirement, self._tallies, unrun=self.head.cases - len(self.cases))

    @property
    def missing(self) -> int:
        """How many repeats of the plan have not run though their case is not decided: a session that is resumed runs them."""
        left = sum(self.head.repeats - tally.total for tally in self._tallies if not tally.is_settled)
        return left + (self.head.cases - len(self.cases)) * self.head.repeats

    @cached_property
    def _tallies(self) -> list[Tally]:
        return [self.tally(case) for case in self.cases]

    def baseline(self) -> Baseline:
        """Return the results as a baseline.

        Raises:
            BaselineError: a case of the dataset has no result, or the runs of a case have different scorers.
        """
        if len(self.cases) != self.head.cases or self._hash != self.head.hash:
            raise BaselineError(
                f"{self.test}: the results are of {len(self.cases):,} of {amount(self.head.cases, 'case')} of"
                f" {self.head.dataset}; a baseline has all of them"
            )
        return Baseline(
            self.head.dataset, self.head.hash, tuple(map(self._case_result, self.cases.values())), self.test, self.head.live
        )

    @property
    def _hash(self) -> str:
        return hash_of_cases(repeats[0].hash for repeats in self.cases.values())

    def _case_result(self, repeats: Sequence[RepeatResult]) -> CaseResult:
        first = repeats[0]
        means = mean_scores(first.case, [repeat.scores for repeat in repeats])
        passed = sum(repeat.passed for repeat in repeats)
        typical = [
            repeat.trace for repeat in repeats if repeat.passed == (passed * 2 > len(repeats)) and repeat.trace is not None
        ]
        spent = mean_spent(repeat.spent for repeat in repeats)
        trace = typical[0] if typical else None
        return CaseResult(first.case, first.hash, passed, len(repeats), means, spent, trace)


# -- reading


class Results(Sequence[SetResults]):
    """The results of sessions: a sequence of sets, each of one test. `results["tests/test_shop.py::test_answers"]` is one.

    `notes` tell what was read past: the last line of a file whose process died while it wrote it.
    """

    def __init__(self, sets: Iterable[SetResults], notes: Iterable[str] = ()) -> None:
        self._sets = {found.test: found for found in sets}
        self.notes = tuple(notes)

    @classmethod
    def load(cls, *paths: Path | str) -> Self:
        """Return the results of files and folders, such as those of several workers or jobs, as one.

        A repeat that stands in several of them counts once.

        Raises:
            ResultsError: a file cannot be read or is no file of results, two are of different sets of one test, or one repeat
                stands there twice, with different results. The message has the file and the line.
        """
        reader = _Reader()
        for path in paths:
            for file in _files(Path(path)):
                reader.read(file)
        return cls(reader.sets(), reader.notes)

    @overload
    def __getitem__(self, index: int | str) -> SetResults: ...
    @overload
    def __getitem__(self, index: slice) -> list[SetResults]: ...
    def __getitem__(self, index: int | str | slice) -> SetResults | list[SetResults]:
        """Return the set of a test, or that with a number.

        Raises:
            KeyError: there is no set of this test; the message has the nearest one.
            IndexError: there is no set with this number.
        """
        if not isinstance(index, str):
            return [*self._sets.values()][index]
        if index not in self._sets:
            raise KeyError(f"there are no results of {index}{did_you_mean(index, self._sets)}")
        return self._sets[index]

    def __len__(self) -> int:
        return len(self._sets)

    @property
    def tests(self) -> list[str]:
        """The node ids of the tests, without the cases."""
        return list(self._sets)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob(f"*{ENDING}"))
    if not found:
        raise ResultsError(f"{shown_path(str(path))}: the folder has no files of results (*{ENDING})")
    return found


class _Reader:
    """Collects the lines of several files. Holds state."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._heads: dict[str, tuple[SetHead, str]] = {}
        self._repeats: dict[str, dict[tuple[str, int], tuple[RepeatResult, str]]] = {}

    def sets(self) -> Iterator[SetResults]:
        for test, (head, _) in self._heads.items():
            cases: dict[str, list[RepeatResult]] = {}
            for _, (repeat, _) in sorted(self._repeats[test].items()):
                cases.setdefault(repeat.case, []).append(repeat)
            if len(cases) > head.cases:
                raise ResultsError(
                    f"{test} has results of {len(cases):,} cases, and its dataset has {head.cases:,}: {some_names([*cases])}"
                )
            yield SetResults(head, {case: tuple(repeats) for case, repeats in cases.items()})

    def read(self, path: Path) -> None:
        shown = shown_path(str(path))
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise ResultsError(f"{shown}: the results cannot be read: {error.strerror}") from None
        torn = lines.pop()
        if torn:
            self.notes.append(f"{shown}:{len(lines) + 1}: the line was not written to its end, and is left out")
        for number, line in enumerate(lines, 1):
            self._read_line(line, f"{shown}:{number}")

    def _read_line(self, line: bytes, where: str) -> None:
        try:
            said = json.loads(line)
        except ValueError as error:
            raise ResultsError(f"{where}: the line is not JSON: {error}") from None
        try:
            if not isinstance(said, dict):
                raise TypeError("it is no mapping")
            if _HEAD in said:
                self._add_head(_head(said), where)
            else:
                test = said.pop("test")
                self._add(test, _repeat(said), where)
        except ResultsError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{where}: the line is no result of an evaluation: {_problem(error)}") from None

    def _add_head(self, head: SetHead, where: str) -> None:
        first, place = self._heads.setdefault(head.test, (head, where))
        self._repeats.setdefault(head.test, {})
        for name in (spec.name for spec in fields(SetHead)):
            if getattr(first, name) != getattr(head, name):
                raise ResultsError(
                    f"{head.test} has results of two different sets, which do not count together: `{name}` differs\n"
                    f"  {place}: {getattr(first, name)}\n"
                    f"  {where}: {getattr(head, name)}"
                )

    def _add(self, test: str, repeat: RepeatResult, where: str) -> None:
        if test not in self._repeats:
            raise ResultsError(f"{where}: the line is of {test}, whose set no line before it describes")
        head = self._heads[test][0]
        if not 0 <= repeat.repeat < head.repeats:
            raise ResultsError(f"{where}: the line is of repeat {repeat.repeat}, and the set has {head.repeats:,}, from 0")
        first, place = self._repeats[test].setdefault((repeat.case, repeat.repeat), (repeat, where))
        if first != repeat:
            raise ResultsError(
                f"{test}: repeat {repeat.repeat} of the case {repeat.case!r} has two different results\n"
                f"  {place}\n  {where}\n  results of different sessions do not count together"
            )


def _problem(error: Exception) -> str:
    return f"it has no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


# -- lines

_HEAD: Final = "llmtest_evals"
_NUMBER: Final = (int, float)
_REPEAT: Final[dict[str, tuple[type, ...]]] = {
    "case": (str,),
    "hash": (str,),
    "repeat": (int,),
    "passed": (bool,),
    "scores": (dict,),
    "error": (dict, NoneType),
    "seconds": _NUMBER,
    "input_tokens": (int, NoneType),
    "output_tokens": (int, NoneType),
    "cost": (*_NUMBER, NoneType),
    "trace": (str, NoneType),
    "models": (list,),
    "weight": _NUMBER,
}
_SET: Final[dict[str, tuple[type, ...]]] = {
    "test": (str,),
    "dataset": (str,),
    "hash": (str,),
    "cases": (int,),
    "requirement": (dict,),
    "repeats": (int,),
    "scorers": (list,),
    "live": (bool,),
}


def _checked(said: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    found = {name: said[name] for name in types}
    for name, value in found.items():
        if type(value) not in types[name]:
            raise TypeError(f"`{name}` is {value!r}")
    return found


def _head(said: Mapping[str, Any]) -> SetHead:
    if said[_HEAD] != FORMAT:
        raise ValueError(f"it has the format {said[_HEAD]!r}; this version of llmtest knows {FORMAT}")
    found = _checked(said, _SET)
    found |= {"requirement": Requirement(**found["requirement"]), "scorers": tuple(found["scorers"])}
    return SetHead(**found)


def _repeat(said: Mapping[str, Any]) -> RepeatResult:
    found = _checked({"weight": 1.0, **said}, _REPEAT)
    found["scores"] = {name: Score(**score) for name, score in found["scores"].items()}
    found["error"] = None if found["error"] is None else RunError(**found["error"])
    found["models"] = tuple(found["models"])
    return RepeatResult(**found)


def _plain(value: Score | RunError) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _line(said: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(said)}\n".encode("ascii")


# -- writing


def sessions_folder(root: Path) -> Path:
    """Return the folder in which each session has a folder of results."""
    return root / FOLDER / "evals"


def find_session(root: Path, name: str = "") -> Path:
    """Return the folder of a session, by default of the last one.

    Raises:
        ResultsError: there is none; the message has the nearest name.
    """
    folder = sessions_folder(root)
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not known:
        raise ResultsError(f"{shown_path(str(folder))}: there are no results of an earlier session")
    if name and name not in known:
        hint = did_you_mean(name, known, otherwise=f"the last ones are {some_names(known[::-1], 3)}")
        raise ResultsError(f"{shown_path(str(folder))}: there is no session {name!r}{hint}")
    return folder / (name or known[-1])


class ResultsWriter:
    """Writes the results of one process into a new file of the folder of a session. Any thread may call it.

    A line is handed to the operating system whole when it is written: a process that is killed loses at most the line that it
    writes at that moment. `path` is the file; None before its first line.

    Raises:
        OSError: from each method, if the file cannot be written.
    """

    def __init__(self, folder: Path, worker: str = "main") -> None:
        self._folder, self._worker = folder, worker
        self._heads: set[str] = set()
        self._file: int | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self.path: Path | None = None

    def begin(self, head: SetHead) -> None:
        """Write what the results that follow are of. Once for each test."""
        with self._lock:
            if head.test not in self._heads:
                self._append(_line({_HEAD: FORMAT, **asdict(head)}))
                self._heads.add(head.test)

    def write(self, test: str, result: RepeatResult) -> None:
        """Write what a repeat came to."""
        said = {name: getattr(result, name) for name in _REPEAT}  # not `asdict`, which copies all, and takes longer than the rest
        said["scores"] = {name: _plain(score) for name, score in result.scores.items()}
        said["error"] = None if result.error is None else _plain(result.error)
        said["seconds"] = round(result.seconds, SECONDS_DIGITS)
        line = _line({"test": test, **said})
        with self._lock:
            self._append(line)

    def _append(self, line: bytes) -> None:
        if self._is_closed:  # the session has not waited for this thread: who goes on with it runs the repeat again
            return
        if self._file is None:
            self._file = self._open()
        left = line
        try:
            while left:  # a signal may cut a write short
                left = left[os.write(self._file, left) :]
        except BaseException:  # also Ctrl-C: other threads may write lines after it
            # The disk may have room again for the next line, which half a line before it would spoil.
            os.ftruncate(self._file, os.fstat(self._file).st_size - (len(line) - len(left)))
            raise

    def _open(self) -> int:
        make_folder(self._folder)
        number = 1
        while True:
            self.path = self._folder / f"{self._worker}{f'-{number}' if number > 1 else ''}{ENDING}"
            try:
                return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            except FileExistsError:
                number += 1

    def close(self) -> None:
        """Close the file. What is written afterwards is dropped."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None
