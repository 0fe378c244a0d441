"""The results of a session: one for each test, with what it spent, and with its failures. Written and read as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from llmtest.core.text import amount
from llmtest.errors import ReportError

FORMAT: Final = 1
FILE: Final = "results.json"
Status = Literal["passed", "failed", "error", "skipped"]
"""`error` is a test that failed in its setup or teardown, or a file that could not be collected."""


@dataclass(frozen=True, slots=True)
class FailedPhase:
    """One failed phase of a test. `when` is `collect`, `setup`, `call` or `teardown`; `path` and `line` are the place in the
    test, relative to the root folder where it is inside it. `cause` is one line. Failures with the same `like` have the same
    cause, whatever else their lines say. `details` is the diff, or what else explains it."""

    when: str
    cause: str
    like: str
    path: str
    line: int
    details: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What one test came to. `tokens` are counts by name, empty if it called no model. `cost` is None if it is not known.
    `job` names the job of CI, where results of several were joined."""

    test: str
    status: Status
    seconds: float = 0.0
    failures: tuple[FailedPhase, ...] = ()
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None
    job: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Failures with one cause, and the results that they are of."""

    cause: str
    failures: tuple[tuple[Result, FailedPhase], ...]

    @property
    def tests(self) -> list[str]:
        """The node ids of the tests, each once."""
        return list(dict.fromkeys(result.test for result, _ in self.failures))

    @property
    def title(self) -> str:
        """The cause, after the number of tests where there are several."""
        return self.cause if len(self.tests) == 1 else f"{amount(len(self.tests), 'test')}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Results:
    """The results of the tests of one session, or of several that were joined."""

    tests: tuple[Result, ...]

    @property
    def failed(self) -> list[Result]:
        """The tests with failures."""
        return [result for result in self.tests if result.failures]

    @property
    def headline(self) -> str:
        """The number of tests of each status: `2 failed, 1 error, 40 passed`."""
        counts = {status: sum(result.status == status for result in self.tests) for status in get_args(Status)}
        order = ("failed", "error", "passed", "skipped")
        said = [amount(counts[s], "error") if s == "error" else f"{counts[s]:,} {s}" for s in order if counts[s]]
        return ", ".join(said) or "no tests"

    @property
    def spent(self) -> str:
        """One line: the tokens, model calls and cost of all tests; empty if there was no model call."""
        with_calls = [result for result in self.tests if result.tokens]
        if not with_calls:
            return ""
        total = {name: sum(result.tokens.get(name, 0) for result in with_calls) for name in _TOKENS}
        counted = f"{amount(total['total_tokens'], 'token')} ({total['input_tokens']:,} in, {total['output_tokens']:,} out)"
        said = f"{counted} in {amount(total['requests'], 'model call')} of {amount(len(with_calls), 'test')}"
        costs = [result.cost for result in with_calls if result.cost is not None]
        if not costs:
            return said
        unknown = len(with_calls) - len(costs)
        return f"{said}; ${sum(costs):.4f}" + (f" and what {amount(unknown, 'test')} of unknown cost spent" if unknown else "")

    def by_cause(self) -> list[Group]:
        """Return the failures, those with the same cause in one group; the cause of most tests first."""
        groups: dict[str, list[tuple[Result, FailedPhase]]] = {}
        for result in self.tests:
            for failure in result.failures:
                groups.setdefault(failure.like, []).append((result, failure))
        found = [Group(failures[0][1].cause, tuple(failures)) for failures in groups.values()]
        return sorted(found, key=lambda group: -len(group.tests))

    def only(self, chosen: Callable[[FailedPhase], bool]) -> Results:
        """Return the same tests with some of their failures."""
        return Results(tuple(replace(r, failures=tuple(filter(chosen, r.failures))) for r in self.tests))

    def to_json(self) -> str:
        """Return the text of a results file."""
        told = {"llmtest_results": FORMAT, "tests": [asdict(result) for result in self.tests]}
        text = json.dumps(told, indent=1, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode()  # half a character is no UTF-8, and its escape is JSON

    @classmethod
    def from_json(cls, text: str, place: str, job: str = "") -> Results:
        """Return the results in the text of a file. `place` names it in errors; `job` the job that wrote it.

        Raises:
            ReportError: it is no file of results, or one of a later version.
        """
        try:
            found = json.loads(text)
            version = found.get("llmtest_results") if isinstance(found, dict) else None
            if version != FORMAT:
                said = f"it has the format {version!r}, and this llmtest reads {FORMAT}" if version else "it has no results"
                raise ReportError(f"{place}: {said}")
            return cls(tuple(_result(item, job) for item in found["tests"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ReportError(f"{place} is no file of results: {type(error).__name__}: {error}") from None


_TOKENS: Final = ("total_tokens", "input_tokens", "output_tokens", "requests")


def _result(item: Mapping[str, Any], job: str) -> Result:
    """Return a result; the file may come from another machine, so each value must be of its type."""
    if item["status"] not in get_args(Status):
        raise ValueError(f"{item['status']!r} is no status")
    return Result(
        str(item["test"]),
        item["status"],
        float(item["seconds"]),
        tuple(_failure(failure) for failure in item["failures"]),
        {str(name): int(number) for name, number in item["tokens"].items()},
        None if item["cost"] is None else float(item["cost"]),
        job or str(item["job"]),
    )


def _failure(item: Mapping[str, Any]) -> FailedPhase:
    words = {name: str(item[name]) for name in ("when", "cause", "like", "path", "details")}
    return FailedPhase(**words, line=int(item["line"]))


def read(path: Path, job: str = "") -> Results:
    """Return the results in a file.

    Raises:
        ReportError: it cannot be read, or is no file of results.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None
    return Results.from_json(text, str(path), job)


def joined(parts: Iterable[Results]) -> Results:
    """Return the results of several sessions as those of one, in order."""
    return Results(tuple(result for part in parts for result in part.tests))
