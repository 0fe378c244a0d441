"""A pytest plugin that runs each test again and again with its recording changed, and tells which changes it noticed.

`pytest -p tests.support.mutated_examples --mutations=FILE examples` writes to FILE, for each test that reads its recording, what
was done and who noticed: `assertion`, the test itself; `protocol`, what the plugin asks of every recorded test; or nobody.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import pytest
from _pytest.runner import runtestprotocol

from llmtest.events import Event
from llmtest.events.callbacks import START_KINDS
from llmtest.recording import Recording
from llmtest.recording.views import Kinds


@dataclass(frozen=True)
class Change:
    """One event dropped, doubled, renamed with its run, or exchanged with the next one."""

    act: str
    at: int
    about: str

    def of(self, events: Sequence[Event]) -> list[Event]:
        head, rest = list(events[: self.at]), list(events[self.at :])
        if len(rest) < (2 if self.act == "exchange" else 1):  # the program has not come so far yet
            return list(events)
        if self.act == "drop":
            return [*head, *rest[1:]]
        if self.act == "double":
            return [*head, rest[0], *rest]
        if self.act == "exchange":
            return [*head, rest[1], rest[0], *rest[2:]]
        return [replace(event, name="renamed") if event.run_id == rest[0].run_id else event for event in events]

    def __str__(self) -> str:
        return f"{self.act} {self.about} ({self.at})"


def changes_of(events: Sequence[Event]) -> Iterator[Change]:
    """Every change. Of the tokens of one run only the first and the last are changed: the others are like their neighbours."""
    inner = _inner_tokens(events)
    for at, event in enumerate(events):
        if at in inner:
            continue
        about = f"{event.kind} `{event.name}`"
        yield Change("drop", at, about)
        yield Change("double", at, about)
        if event.kind in START_KINDS:
            yield Change("rename", at, about)
        if at + 1 < len(events):
            yield Change("exchange", at, about)


def _inner_tokens(events: Sequence[Event]) -> set[int]:
    places: dict[object, list[int]] = {}
    for at, event in enumerate(events):
        if event.kind in ("on_llm_new_token", "on_stream_event"):
            places.setdefault(event.run_id, []).append(at)
    return {at for found in places.values() for at in found[1:-1]}


class Changed(Recording):
    """The recording of a running test, read with a change in it."""

    change: Change | None
    reads: int

    def _read(self) -> list[Event]:
        events = super()._read()
        self.reads += 1
        if self.change is None:
            return events
        size = super().__len__()
        made = [*self.change.of(events[:size]), *events[size:]]
        return [replace(event, number=number) for number, event in enumerate(made)]

    def __len__(self) -> int:
        if self.change is None:
            return super().__len__()
        size = super().__len__()
        return len(self.change.of(super()._read()[:size]))

    @property
    def kinds(self) -> Kinds:
        self.reads += 1
        return Kinds(event.kind for event in self)


@dataclass
class Again:
    """Runs a test once as it is, and then once for each change of its recording."""

    report: Path
    most: int | None

    def __post_init__(self) -> None:
        self.change: Change | None = None
        self.recording: Changed | None = None
        self.read_by_test = 0
        self.found: dict[str, dict[str, str | None]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Function, nextitem: pytest.Item | None) -> bool:
        self.change, self.recording = None, None
        if "llm_recording" not in item.fixturenames:
            return True
        reports = runtestprotocol(item, log=False, nextitem=None)
        if any(report.failed for report in reports):
            raise RuntimeError(f"{item.nodeid} fails as it is: {[str(report.longrepr) for report in reports if report.failed]}")
        if self.recording is None or not self.read_by_test:
            return True  # it asserts on something else
        events = list(self.recording)
        told = self.found[item.nodeid] = {}
        for change in _spread(list(changes_of(events)), self.most, item.nodeid):
            self.change = change
            item._initrequest()  # type: ignore[no-untyped-call]
            told[str(change)] = _who(runtestprotocol(item, log=False, nextitem=None))
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Iterator[None]:
        recording = pyfuncitem.funcargs.get("llm_recording") or pyfuncitem._request.getfixturevalue("llm_recording")
        recording.__class__ = Changed
        recording.change, recording.reads = self.change, 0
        self.recording = recording
        result = yield
        self.read_by_test = recording.reads
        return result

    def pytest_sessionfinish(self) -> None:
        self.report.write_text(json.dumps(self.found, indent=1), "utf-8")


def _spread(changes: list[Change], most: int | None, test: str) -> list[Change]:
    """At most so many of these, as far apart as can be; for each test from another one on, so that all kinds are among them."""
    if most is None or len(changes) <= most:
        return changes
    first = crc32(test.encode()) % len(changes)
    return [changes[(first + n * len(changes) // most) % len(changes)] for n in range(most)]


def _who(reports: Sequence[pytest.TestReport]) -> str | None:
    failed = {report.when for report in reports if report.failed}
    return "assertion" if "call" in failed else "protocol" if failed else None


def survivors(found: dict[str, dict[str, str | None]]) -> Counter[str]:
    """What nobody noticed, by what was done to which callback: `exchange on_llm_end`."""
    return Counter(" ".join(what.split(" ")[:2]) for told in found.values() for what, who in told.items() if who is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", help="where to write what was noticed")
    parser.addoption("--mutations-of-a-test", type=int, help="at most so many changes of each test")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Again(Path(config.getoption("--mutations")), config.getoption("--mutations-of-a-test")))
