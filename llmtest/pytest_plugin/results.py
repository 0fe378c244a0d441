"""The results of the session, for CI systems, people and machines: collected by the one process that has all reports.

In each process of a session, facts about a test are put into its reports; with xdist the controller reads them there, and writes
what is to be written once: `.llmtest/failures.md`, the folder of `--llmtest-report`, and what GitHub and GitLab show.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from llmtest.pytest_plugin.arguments import page_file, pending_folder, report_folder
from llmtest.pytest_plugin.attempt import ELSEWHERE, attempt_of

if TYPE_CHECKING:
    from llmtest.pytest_plugin.attempt import Attempt
    from llmtest.reports.results import FailedPhase, Result, Results

FAILURES: Final = Path(".llmtest", "failures.md")
ANNOTATORS: Final = ("pytest_github_actions_annotate_failures", "pytest_github_actions_annotate_failures.plugin")
"""The names of the plugin that annotates failures of the call of a test, and no others: as installed, and as `-p` loads it."""
MAX_DETAILS: Final = 20_000
"""Of one failure, in characters."""
MAX_ALL_DETAILS: Final = 10_000_000
"""Of all failures of a session; those that come later are told without."""
_OURS: Final = r"^(?:llmtest\.errors\.\w+|AssertionError): "
_OUR_NAMES: Final = r"\b(?:llmtest\w*|llm_\w+|scripted_\w+)\b"
"""Our names in the text of a test file or of the settings: of the package, its markers, fixtures and keys."""
_NAME: Final = r"[\w.]+:"
_LEFT_OUT: Final = ("llmtest: traces", "llmtest: requests to the scripted server")


class SessionResults:
    """The plugin that collects results. Holds state: the reports of each test, as far as they tell something."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = report_folder(config)
        self._ci = os.environ if (config.getoption("llmtest_ci") or config.getini("llmtest_ci")) != "off" else {}
        self._costs = bool(self._folder or getattr(config.option, "xmlpath", None))
        self._collects = not hasattr(config, "workerinput") and ELSEWHERE not in os.environ
        self._used = False
        self._tests: dict[str, _Test] = {}
        self._told: list[str] = []
        self._room = MAX_ALL_DETAILS
        self._written: Results | None = None

    # in each process

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        attempt = attempt_of(item)
        if attempt is not None and not attempt.running:
            self._put_facts(item, report, attempt)
        return report

    def _put_facts(self, item: pytest.Item, report: pytest.TestReport, attempt: Attempt) -> None:
        facts: dict[str, Any] = vars(report).setdefault("llmtest_facts", {})  # comes back from xdist's workers
        if attempt.is_used:
            facts["used"] = True
        if report.failed:
            facts["cause"], facts["like"] = _cause(report, attempt)
            item.stash[_causes] = [*item.stash.get(_causes, []), facts["cause"]]
        if report.when != "teardown":
            return
        properties: dict[str, str] = {}
        counted = attempt.page.counted
        if counted is not None and counted.requests:
            facts["tokens"] = {name: getattr(counted, name) for name in ("total_tokens", "input_tokens", "output_tokens")}
            facts["tokens"]["requests"] = counted.requests
            properties = {"input_tokens": str(counted.input_tokens), "output_tokens": str(counted.output_tokens)}
            properties["model_calls"] = str(counted.requests)
            facts["cost"] = _cost(counted) if self._costs else None
            if facts["cost"] is not None:
                properties["cost_usd"] = f"{facts['cost']:.6f}"
        if item.stash.get(_causes, []) and facts.get("used"):
            properties["cause"] = item.stash[_causes][0]
        if bool(properties) or item.stash.get(_attempted, False):
            from llmtest.pytest_plugin.junit import set_properties

            set_properties(item, report, properties)
        item.stash[_causes], item.stash[_attempted] = [], True

    # in the process that has all reports

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        if not self._collects:
            return (yield)
        if hasattr(report, "llmtest_eval"):  # of a worker: this process has collected nothing
            from llmtest.pytest_plugin.eval_session import evals_of

            evals_of(self._config).note(report)
        test = self._tests.setdefault(report.nodeid, _Test())
        facts: dict[str, Any] = getattr(report, "llmtest_facts", {})
        self._used = self._used or bool(facts.get("used"))
        test.add(report, facts, self._failure(report, facts) if report.failed else None)
        if report.when == "teardown" and test.failures and self._ci.get("GITLAB_CI") and (self._used or self._folder):
            from llmtest.pytest_plugin.junit import attached

            with attached(self._config, report, self._attachments()):
                return (yield)
        return (yield)

    def _attachments(self) -> list[str]:
        """Return the files that GitLab shows beside a failing test, relative to the folder of the repository."""
        if self._folder is None and not self._config.getini("llmtest_failures"):
            return []
        project = Path(self._ci.get("CI_PROJECT_DIR") or self._config.rootpath)
        file = self._folder / "failures.md" if self._folder is not None else self._config.rootpath / FAILURES
        return [(file.relative_to(project) if file.is_relative_to(project) else file).as_posix()]

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if self._collects and report.failed and not self._config.option.collectonly:
            test = self._tests.setdefault(report.nodeid, _Test())
            test.failures = [self._failure(report, {})]
            self._used = self._used or self._may_use_us(report.nodeid)

    def _may_use_us(self, node: str) -> bool:
        """True if the project uses us, as far as that is known of a file that cannot be collected: none of its tests runs."""
        root, settings = self._config.rootpath, self._config.inipath
        files = [root / node.partition("::")[0], *([settings] if settings is not None else [])]
        return (root / FAILURES.parent).is_dir() or any(re.search(_OUR_NAMES, _text(file)) is not None for file in files)

    def _failure(self, report: pytest.TestReport | pytest.CollectReport, facts: dict[str, Any]) -> FailedPhase:
        from llmtest.reports.results import FailedPhase

        cause = facts.get("cause") or first_line(report)
        path, line = _place(report, self._config)
        details = _details(report)[: self._room]
        self._room -= len(details)
        return FailedPhase(str(report.when or "collect"), cause, facts.get("like") or _digest(cause), path, line, details)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if not self._collects or not (self._tests or self._folder):
            return
        try:
            self._write()
        except OSError as error:  # a full disk must not hide which tests have failed
            self._told.append(f"the results were not written: {error}")

    def _write(self) -> None:
        file = self._config.rootpath / FAILURES
        red = any(test.failures for test in self._tests.values())
        wanted = self._config.getini("llmtest_failures")
        if wanted and self._tests and not (red and self._used) and file.exists():
            file.unlink()
        if not self._folder and not (red and self._used) and not (self._used and self._ci.get("GITHUB_ACTIONS")):
            return
        from llmtest.reports.markdown import failures_page, summary
        from llmtest.reports.results import Results
        from llmtest.trees.pending import write_text

        tests = sorted(self._tests.items(), key=lambda item: (*item[1].place, item[0]))  # workers end them in any order
        self._written = results = Results(tuple(test.result(name) for name, test in tests))
        if wanted and red and self._used:
            write_text(file, failures_page(results))
            self._config.pluginmanager.register(_Pointer(), "llmtest-failures-file")
        if self._folder is not None:
            self._write_report(self._folder, results)
        page = self._ci.get("GITHUB_STEP_SUMMARY") if self._ci.get("GITHUB_ACTIONS") else None
        if page and self._used:
            with Path(page).open("a", encoding="utf-8") as out:
                out.write(summary(results))
                out.write(self._evaluations())

    @property
    def _has_evaluations(self) -> bool:
        return self._config.pluginmanager.hasplugin("llmtest-evals")

    def _evaluations(self) -> str:
        """Return the evaluations of the session as Markdown; empty if there are none."""
        if not self._has_evaluations:
            return ""
        from llmtest.errors import ResultsError
        from llmtest.pytest_plugin import eval_reports

        try:
            found = eval_reports.page(self._config)
        except ResultsError as error:
            self._told.append(f"the evaluations are not in the summary: {error}")
            return ""
        return f"\n{found}" if found else ""

    def _write_report(self, folder: Path, results: Results) -> None:
        from llmtest.errors import ResultsError, StoreError
        from llmtest.reports.joining import kept_for, write_report
        from llmtest.tracing.store import place

        tests = {result.test for result in results.tests}
        traced = (self._config.getoption("llmtest_traces") or self._config.getini("llmtest_traces")) != "off"
        stores = [place(self._config.rootpath)] if traced else []
        try:
            kept = kept_for(pending_folder(self._config), tests)
            write_report(folder, results, kept, stores, tests=tests, has_page=page_file(self._config) is not None)
        except StoreError as error:
            self._told.append(f"the traces are not in the report: {error}")
        if self._has_evaluations:
            from llmtest.pytest_plugin import eval_reports

            try:
                eval_reports.write(self._config, folder)
            except ResultsError as error:
                self._told.append(f"the evaluations are not in the report: {error}")

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for text in self._told:
            terminalreporter.write_line(f"llmtest: {text}", red=True)
        if self._written is not None and self._used and self._ci.get("GITHUB_ACTIONS"):
            for line in self._annotations(self._written):
                terminalreporter.write_line(line)

    def _annotations(self, results: Results) -> list[str]:
        from llmtest.reports.github import commands

        if any(map(self._config.pluginmanager.hasplugin, ANNOTATORS)):
            results = results.only(lambda failure: failure.when != "call")
        return commands(results.by_cause(), self._config.rootpath, self._ci.get("GITHUB_WORKSPACE", ""))


class _Pointer:
    """The plugin that says, in the last line of the summary, where the failures are."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> Generator[None, None, None]:
        yield
        if config.get_verbosity() >= -1 and not terminalreporter.no_summary:
            terminalreporter.write_line(f"llmtest: all failures by cause: {FAILURES.as_posix()}")


_causes: Final = pytest.StashKey[list[str]]()  # of this attempt at a test
_attempted: Final = pytest.StashKey[bool]()


class _Test:
    """What the reports of one test have said so far."""

    def __init__(self) -> None:
        self.failures: list[FailedPhase] = []
        self.place = ("", 0)
        self._seconds = 0.0
        self._skipped = False
        self._facts: dict[str, Any] = {}

    def add(self, report: pytest.TestReport, facts: dict[str, Any], failure: FailedPhase | None) -> None:
        self.place = (report.location[0], report.location[1] or 0)
        self._seconds += report.duration
        self._skipped = self._skipped or report.skipped
        self._facts |= facts
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]  # of pytest-rerunfailures: the test begins anew
            self.failures, self._skipped = [], False
        if failure is not None:
            self.failures.append(failure)

    def result(self, name: str) -> Result:
        from llmtest.reports.results import Result, Status

        status: Status = "skipped" if self._skipped else "passed"
        if self.failures:
            status = "failed" if any(failure.when == "call" for failure in self.failures) else "error"
        tokens, cost = self._facts.get("tokens", {}), self._facts.get("cost")
        return Result(name, status, round(self._seconds, 3), tuple(self.failures), tokens, cost)


# -- what a report tells


def _cause(report: pytest.TestReport, attempt: Attempt) -> tuple[str, str]:
    """Return the cause of a failure on one line, and what is equal for failures with the same cause."""
    told = report.longreprtext
    meant = [mismatch for mismatch in attempt.mismatches if mismatch.headline in told]
    if report.when == "call" and meant:
        from llmtest.core.text import amount

        more = f", and {amount(len(meant) - 1, 'more snapshot')}" if len(meant) > 1 else ""
        alike = [mismatch.words if mismatch.change is None else repr(mismatch.change) for mismatch in meant]
        return f"{meant[0].words}{more}", _digest("\n".join(alike))
    cause = first_line(report)
    return cause, _digest(cause)


def first_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the first line of what a report says: of its exception, or else of its text."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash is not None else report.longreprtext).strip().splitlines()
    if crash is None:  # a text with marks, as of an error in a test file
        marked = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
        lines = marked or lines
    if not lines:
        return "failed without a message"  # pragma: no cover - as another plugin may report
    said = lines[0].strip()
    if re.fullmatch(_NAME, said):  # the message begins with a line break, and a name alone is no cause
        said = " ".join([said, *[line.strip() for line in lines[1:] if line.strip()][:1]])
    return _without_secrets(re.sub(_OURS, "", said))


def _cost(counted: Any) -> float | None:
    """Return what the model calls of a test cost, by genai-prices; None if that is not known."""
    from llmtest.errors import PriceError

    try:
        return float(counted.total_cost)
    except PriceError:
        return None


def _without_secrets(text: str) -> str:
    """Return the text of an exception with masks: a report is uploaded, and more people see it than a terminal. Our sections are
    masked where that is wanted."""
    from llmtest.core.masks import table

    return table().without_secrets(text)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _place(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> tuple[str, int]:
    """Return the file of the test and the last line of it that its traceback has, or else the line where it begins."""
    file, line, _ = report.location or (report.nodeid.partition("::")[0], None, "")
    traceback = getattr(report.longrepr, "reprtraceback", None)
    for entry in reversed(getattr(traceback, "reprentries", None) or ()):
        place = getattr(entry, "reprfileloc", None)
        if place is not None and _is_file(config, place.path, file):
            return _posix(file), int(place.lineno)
    return _posix(file), (line or 0) + 1


def _is_file(config: pytest.Config, path: str, file: str) -> bool:
    whole = config.invocation_params.dir / path  # pytest shows paths from there, or whole ones
    return os.path.normpath(whole) == os.path.normpath(config.rootpath / file)


def _text(file: Path) -> str:
    """Return the text of a file; empty if it is a folder, as of a package that cannot be imported, or cannot be read."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _details(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return our sections of a report, which are about this failure; of a report without any, what it says."""
    sections = [(title, text) for title, text in report.sections if title.startswith("llmtest: ") and title not in _LEFT_OUT]
    texts = [f"{title.removeprefix('llmtest: ')}:\n{text}" for title, text in sections]
    crash = getattr(report.longrepr, "reprcrash", None)
    said = re.sub(_OURS, "", (crash.message if crash is not None else report.longreprtext).strip())
    if not any(title == "llmtest: snapshot" for title, _ in sections) and said:
        texts.insert(0, _without_secrets(said))
    whole = "\n\n".join(texts)
    return whole if len(whole) <= MAX_DETAILS else f"{whole[:MAX_DETAILS]}\n..."
