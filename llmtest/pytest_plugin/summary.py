"""What the end of a session says about all its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llmtest.pytest_plugin.attempt import COUNTED
from llmtest.pytest_plugin.options import MODES

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    faults = _reports(terminalreporter, "llmtest_fault")
    if faults:
        _summarize_faults(terminalreporter, config, faults)
    if config.get_verbosity() < -1 or terminalreporter.no_summary:
        return
    _summarize_orders(terminalreporter)
    _summarize_tokens(terminalreporter)
    _summarize_unusual(terminalreporter)
    _summarize_pending(terminalreporter)
    _summarize_cassettes(terminalreporter, config)
    _summarize_scores(terminalreporter, config)
    if config.stash[MODES]["llmtest_trees"] == "all":
        _show_trees(terminalreporter)


def _reports(terminalreporter: TerminalReporter, name: str) -> list[Any]:
    """Return the reports that have an attribute of ours."""
    return [report for some in terminalreporter.stats.values() for report in some if getattr(report, name, None)]


def _show_trees(terminalreporter: TerminalReporter) -> None:
    reports = _reports(terminalreporter, "llmtest_trees")
    if reports:
        terminalreporter.write_sep("=", "llmtest: run trees")
    for report in sorted(reports, key=lambda report: report.start):
        terminalreporter.write_line(report.nodeid, bold=True)
        for tree in report.llmtest_trees:
            terminalreporter.write_line(f"{tree}\n")


def _summarize_unusual(terminalreporter: TerminalReporter) -> None:
    reports = _reports(terminalreporter, "llmtest_unusual")
    if reports:
        from llmtest.core.text import amount

        rules = [rule for report in reports for rule in report.llmtest_unusual]
        counts = ", ".join(f"{rules.count(rule)} x {rule!r}" for rule in dict.fromkeys(rules))
        terminalreporter.write_line(
            f"llmtest: unusual callbacks in {amount(len(reports), 'test')}: {counts};"
            " -rA shows them, llmtest_protocol = strict makes them fail"
        )


def _summarize_pending(terminalreporter: TerminalReporter) -> None:
    pending = _reports(terminalreporter, "llmtest_pending")
    if pending:
        from llmtest.core.text import amount

        terminalreporter.write_sep("=", "llmtest")
        terminalreporter.write_line(f"snapshots of {amount(len(pending), 'test')} are pending: llmtest review")


def _summarize_cassettes(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say which cassettes were recorded or changed, which are pending, and which no test uses."""
    told = sorted({text for report in _reports(terminalreporter, "llmtest_cassette") for text in report.llmtest_cassette})
    pending = _reports(terminalreporter, "llmtest_pending_cassette")
    if pending:
        from llmtest.core.text import amount

        tests = amount(len({report.nodeid for report in pending}), "test")
        told.append(f"cassettes of {tests} are pending: llmtest review")
    files = config.pluginmanager.get_plugin("llmtest-cassette-files")  # not there in a session that has no cassettes
    told += files.told if files is not None else []
    if told:
        terminalreporter.write_sep("=", "llmtest: cassettes")
    for text in told:
        terminalreporter.write_line(text)


def _summarize_scores(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say the means of the scores of evaluations; rates of passes are in their verdicts."""
    if not config.pluginmanager.hasplugin("llmtest-evals") or config.getoption("llmtest_eval_plan"):
        return
    from llmtest.pytest_plugin.eval_reports import score_lines

    for line in score_lines(config):
        terminalreporter.write_line(line)


def _summarize_tokens(terminalreporter: TerminalReporter) -> None:
    """One line: what all tests that were recorded or counted have spent, each attempt of them."""
    reports = _reports(terminalreporter, "llmtest_tokens")
    if reports:
        total = {name: sum(report.llmtest_tokens[name] for report in reports) for name in COUNTED}
        terminalreporter.write_sep("=", _suite_line(total, len({report.nodeid for report in reports})))


def _suite_line(total: dict[str, int], tests: int) -> str:
    from llmtest.core.text import amount

    tokens = f"{amount(total['total_tokens'], 'token')} ({total['input_tokens']:,} in, {total['output_tokens']:,} out)"
    calls = f"{amount(total['requests'], 'model call')} of {amount(tests, 'test')}"
    words = [f"{total['errors']:,} failed"] if total["errors"] else []
    words += [f"{total['unreported']:,} without usage"] if total["unreported"] else []
    words += [f"{total['cached']:,} more from the cache"] if total["cached"] else []
    return "; ".join([f"llmtest: {tokens} in {calls}", *words])


def _summarize_faults(terminalreporter: TerminalReporter, config: pytest.Config, reports: list[Any]) -> None:
    """Show the matrix of each test with faults, and write them to the file that is asked for."""
    from llmtest.pytest_plugin.fault_items import matrices, write_matrices

    found = matrices(reports)
    if config.get_verbosity() >= -1 and not terminalreporter.no_summary:
        terminalreporter.write_sep("=", "llmtest: faults")
        for test, matrix in found.items():
            terminalreporter.write_line(test, bold=True)
            terminalreporter.write_line(f"{matrix}\n")
    if config.getoption("llmtest_matrix"):
        path = config.invocation_params.dir / config.getoption("llmtest_matrix")
        write_matrices(found, path)
        terminalreporter.write_line(f"llmtest: the outcomes of all faults: {path}")


def _summarize_orders(terminalreporter: TerminalReporter) -> None:
    """Say how many schedules each test with `llm_interleave` has run under, and the seed of shuffled tests."""
    reports = _reports(terminalreporter, "llmtest_orders")
    if reports:
        terminalreporter.write_sep("=", "llmtest: orders")
    for report in sorted(reports, key=lambda report: report.nodeid):
        terminalreporter.write_line(f"{report.nodeid}: {report.llmtest_orders}")
    shuffled = _reports(terminalreporter, "llmtest_shuffle")
    for seed in sorted({report.llmtest_shuffle for report in shuffled}):
        from llmtest.core.text import amount

        number = sum(report.llmtest_shuffle == seed for report in shuffled)
        terminalreporter.write_line(f"llmtest: shuffled {amount(number, 'test')} with --llmtest-shuffle={seed}")
