"""`--llmtest-cov`: which behaviours of the programs under test no test has seen.

A plugin of its own, which `llmtest.pytest_plugin` registers if coverage is wanted. A recording is open around each test, which
the test does not notice. When a test ends, its process writes what it hit into a file of its own, so a worker of xdist that dies
takes nothing with it. The report is made of all files where the session ends.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest

from llmtest.capture.blocks import inside
from llmtest.core import masks
from llmtest.core.text import did_you_mean
from llmtest.coverage import data, formats
from llmtest.coverage.data import Writer
from llmtest.coverage.hits import Hits
from llmtest.coverage.items import Inventory
from llmtest.coverage.page import view
from llmtest.coverage.report import Exclude, Report, parse_excludes, parse_limits
from llmtest.errors import CoverageError
from llmtest.langchain.inventory import Reader
from llmtest.langchain.met_objects import Meeting, MetObjects
from llmtest.langchain.named_programs import loaded_object, named_object
from llmtest.langchain.watch import Watch
from llmtest.pytest_plugin.arguments import coverage_folder
from llmtest.trees.pending import write_text
from llmtest.viewer.page import CoverageView


def open_coverage(config: pytest.Config, *, has_tests: bool) -> None:
    """Register the plugins of coverage. `has_tests`: the names of tests are kept.

    Raises:
        UsageError: an option or an ini key is wrong.
    """
    try:
        objects = _objects(config)
        reports = [_destination(line) for line in config.getoption("llmtest_cov_report") or config.getini("llmtest_cov_report")]
        limits = parse_limits(config.getoption("llmtest_cov_fail_under") or config.getini("llmtest_cov_fail_under"))
        excludes = parse_excludes(config.getini("llmtest_cov_exclude"))
        folder = coverage_folder(config) or data.default_folder(config.rootpath)
        worker = getattr(config, "workerinput", {}).get("workerid")
        if worker is None:
            data.clear(folder)
            report = CoverageReport(config, folder, reports or [("term", None)], limits, excludes)
            config.pluginmanager.register(report, "llmtest-coverage-report")
        if worker is not None or getattr(config.option, "dist", "no") == "no":
            path = folder / f"{worker or 'main'}{data.SUFFIX}"
            config.pluginmanager.register(CoveredTests(config, path, objects, has_tests=has_tests), "llmtest-coverage")
    except CoverageError as error:
        raise pytest.UsageError(str(error)) from None
    except OSError as error:
        raise pytest.UsageError(f"no coverage can be kept in {folder}: {error}\n  --llmtest-cov-data names another") from None


def _objects(config: pytest.Config) -> list[str]:
    lines = [line for line in config.getoption("llmtest_cov") or () if line] or config.getini("llmtest_cov")
    for line in lines:
        module, colon, name = line.partition(":")
        if not (module and colon and name):
            raise CoverageError(
                f"--llmtest-cov=OBJECT (ini: llmtest_cov) names a program as `module:object`; got {line!r}"
                "\n  for all programs, write --llmtest-cov behind the paths of tests, or --llmtest-cov="
            )
    return list(dict.fromkeys(lines))


def _destination(line: str) -> tuple[str, Path | None]:
    kind, _, file = line.partition(":")
    known = (*formats.TERMINAL, *formats.FILES)
    if kind not in known or (file and kind in formats.TERMINAL):
        hint = did_you_mean(kind, known) if kind not in known else "; it has no file"
        raise CoverageError(f"--llmtest-cov-report (ini: llmtest_cov_report) is one of {', '.join(known)}; got {line!r}{hint}")
    return kind, Path(file) if file else None


class CoveredTests:
    """The plugin that writes what each test of this process hits."""

    def __init__(self, config: pytest.Config, path: Path, objects: Sequence[str], *, has_tests: bool) -> None:
        self._writer = Writer(path)
        self._objects = objects
        self._has_tests = has_tests
        self._reader = Reader()
        self._inventory = Inventory()
        config.add_cleanup(self._writer.close)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        watch, met = Watch(), MetObjects()
        try:
            with inside(watch), met.listening():
                return (yield)
        finally:
            watch.close()
            try:
                self._write(item.nodeid, watch, met)
            except Exception as error:  # the session goes on: its report says so, and fails
                problem = f"what {item.nodeid} hits cannot be told: {type(error).__name__}: {error}"
                self._writer.note_problem(masks.table().without_secrets(problem))

    def _write(self, nodeid: str, watch: Watch, met: MetObjects) -> None:
        named = [item for item in map(loaded_object, self._objects) if item is not None]
        hits = Hits(Meeting(met, self._reader, named), self._inventory)
        hits.add(watch.read_roots())
        name = masks.table().without_secrets(nodeid) if self._has_tests else ""
        self._writer.add(self._inventory, hits.hits, hits.ambiguous, name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Read the programs that the user has named: only now, so that nothing of them is imported before the tests do it."""
        labels: list[str] = []
        for line in self._objects if not session.config.option.collectonly else ():
            try:
                programs = list(self._reader.inside(named_object(line)))
            except CoverageError as error:
                self._writer.note_problem(str(error))
                continue
            labels += [program.label for program in programs]
            for item in [item for program in programs for item in program.items()] + list(programs[0].mode_items()):
                self._inventory.add(item)
        if labels:
            self._writer.name_programs(self._inventory, labels)


class CoverageReport:
    """The plugin that reports, where the session ends."""

    def __init__(
        self,
        config: pytest.Config,
        folder: Path,
        reports: Sequence[tuple[str, Path | None]],
        limits: dict[str, float],
        excludes: Sequence[Exclude],
    ) -> None:
        self._config = config
        self._folder = folder
        self._reports = reports
        self._limits = limits
        self._excludes = excludes
        self._lines: list[tuple[str, str]] = []

    @cached_property
    def _report(self) -> Report:
        return Report(data.load([self._folder]), self._excludes)

    def view(self) -> CoverageView | None:
        """Return what the page of the session shows, where the session ends; None if that is nothing, or cannot be read."""
        try:
            return view(self._report) if self._report.rows else None
        except (CoverageError, OSError):  # the report says it
            return None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        try:
            report = self._report
            self._lines = [line for kind, path in self._reports for line in self._told(report, kind, path)]
            broken = report.data.problems or report.broken_limits(self._limits)
        except (CoverageError, OSError) as error:  # the tests have run: their results must not be lost with it
            self._lines, broken = [(f"ERROR: {error}", "31")], [str(error)]
        else:
            word = "ERROR" if report.data.problems else "FAIL"
            self._lines += [(f"{word}: {sentence}", "31") for sentence in broken]
        if broken and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _told(self, report: Report, kind: str, path: Path | None) -> list[tuple[str, str]]:
        if kind in formats.TERMINAL:
            return list(formats.terminal(report, with_missing=kind == "term-missing"))
        file = self._config.invocation_params.dir / (path or formats.FILES[kind])
        write_text(file, formats.WRITERS[kind](report))
        return [(f"{kind}: {path or formats.FILES[kind]}", "")]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._lines:
            return
        terminalreporter.section("llmtest: behaviour coverage")
        for line, style in self._lines:
            terminalreporter.write_line(line, **_MARKUP.get(style, {}))


_MARKUP: Final[dict[str, dict[str, bool]]] = {"1": {"bold": True}, "31": {"red": True}, "33": {"yellow": True}}
