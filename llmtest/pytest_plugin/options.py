"""The options and ini keys of llmtest, and what a session sets up for them.

Only pytest and the standard library at module level; everything else is imported when a session asks for it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from llmtest.pytest_plugin import late, markers
from llmtest.pytest_plugin.arguments import page_file
from llmtest.pytest_plugin.attempt import ELSEWHERE, attempt_of
from llmtest.pytest_plugin.results import SessionResults

if TYPE_CHECKING:
    from llmtest.langchain.providers import Providers
    from llmtest.pytest_plugin.verify import Verification

TREES: Final = ("failed", "all", "off")
PROTOCOL: Final = ("strict", "error", "warn", "off")
ERRORS: Final = ("error", "warn", "off")
TRACES: Final = ("off", "failed", "all")
REAL_MODELS: Final = ("error", "warn", "allow")
RECORD: Final = ("none", "once", "new", "rewrite", "verify")
FRAMES: Final = ("folded", "all")
CI: Final = ("auto", "off")
BACKOFF: Final = ("virtual", "real")
STALE: Final = ("fail", "warn", "ignore")
UNDECIDED: Final = ("fail", "pass")
CONTEXTS: Final = ("none", "test")
PAGE: Final = "llmtest-report.html"

MODES: Final = pytest.StashKey[dict[str, str]]()
VERIFICATION: Final[pytest.StashKey[Verification | None]] = pytest.StashKey()  # the plugin of `--llmtest-verify`
PROVIDERS: Final[pytest.StashKey[Providers]] = pytest.StashKey()  # the models of the ini key, for the whole session


class _Setting(NamedTuple):
    """An option of the command line, an ini key, or both: they have one name and one help."""

    name: str
    help: str
    option: dict[str, Any] | None = None
    """What `addoption` is told; None without an option."""
    ini: dict[str, Any] | None = None
    """What `addini` is told; None without a key."""
    more: str = ""
    """What the help of the option says at its end."""
    more_of_key: str = ""

    def add(self, group: pytest.OptionGroup, parser: pytest.Parser) -> None:
        key = f"llmtest_{self.name}"
        if self.option is not None:
            and_key = f"; ini: {key}" if self.ini is not None else ""
            group.addoption(f"--{key.replace('_', '-')}", help=f"{self.help}{and_key}{self.more}", **self.option)
        if self.ini is not None:
            parser.addini(key, f"{self.help}{self.more_of_key}", **self.ini)


_FLAG: Final = {"type": "bool"}
_LINES: Final = {"type": "linelist"}  # without a default: pytest makes an empty list for each key, to which lines may be added
_SETTINGS: Final = (
    _Setting(
        "trees",
        "of which tests the run trees are shown: those that failed (default), all (in the terminal summary), or none",
        {"choices": TREES},
        {"default": "failed"},
        more_of_key=": failed, all or off",
    ),
    _Setting(
        "frames",
        "the frames of pytest, LangChain, LangGraph, asyncio and llmtest in the tracebacks of tests that use llmtest: a line "
        "for each row of them (folded, the default), or all",
        {"choices": FRAMES},
        {"default": "folded"},
    ),
    _Setting(
        "snapshot_only",
        "the kinds of runs that snapshots show, one a line: chain, chat, llm, tool, retriever; by default all",
        ini=_LINES,
    ),
    _Setting(
        "protocol",
        "what LangChain's callbacks do against their protocol: what is impossible fails the test (error, the default), what "
        "is unusual too (strict), what is impossible is a warning (warn), nothing is looked at (off)",
        {"choices": PROTOCOL},
        {"default": "error"},
    ),
    _Setting(
        "handler_errors",
        "errors of callback handlers that LangChain swallows: they fail a test that uses llmtest (error, the default), "
        "are warnings (warn), or are left alone (off)",
        {"choices": ERRORS},
        {"default": "error"},
    ),
    _Setting(
        "handler_errors_everywhere",
        "look at swallowed errors of handlers in every test, also in those that do not use llmtest",
        ini=_FLAG,
    ),
    _Setting(
        "verify",
        "accept a new or changed snapshot only if so many runs of its test agree",
        {"metavar": "N"},
        {"default": "1"},
    ),
    _Setting(
        "masks", "what is masked in run trees too, one a line: `NAME = REGULAR EXPRESSION`, or the name of a key", ini=_LINES
    ),
    _Setting(
        "traces",
        "of which tests the traces are kept, for `llmtest show`: none (off, the default), those that failed, or all",
        {"choices": TRACES},
        {"default": "off"},
    ),
    _Setting(
        "html",
        "write the traces of all tests into one HTML page that opens from disk, llmtest-report.html by default",
        {"nargs": "?", "const": PAGE, "metavar": "FILE"},
        {"default": ""},
        more_of_key=": the path of the page",
    ),
    _Setting(
        "real_models",
        "a request to a provider that no entry of a mapping answers: it is stopped and fails a test that uses llmtest "
        "(error, the default), goes out with a warning (warn), or goes out (allow)",
        {"choices": REAL_MODELS},
        {"default": "error"},
    ),
    _Setting(
        "real_models_everywhere",
        "look at requests to providers in every test, also in those that do not use llmtest",
        ini=_FLAG,
    ),
    _Setting(
        "record",
        "cassettes of tests: answer from them (none, the default), record those that are missing (once), record what they "
        "have no step for (new), record all anew (rewrite), or compare with the real models and write nothing (verify)",
        {"choices": RECORD},
        {"default": "none"},
        more=", which does not hold in CI",
    ),
    _Setting(
        "cassettes", "folders or files of tests that have a cassette without the marker llm_cassette, one a line", ini=_LINES
    ),
    _Setting(
        "stale",
        "a recorded answer that is given to another request than it was recorded for: it fails the test (fail, the default), "
        "is a warning (warn), or is not told (ignore)",
        ini={"default": "fail"},
    ),
    _Setting("cassette_max_age", "after how many days a cassette is stale", ini={"default": ""}),
    _Setting(
        "cassette_prompts",
        "keep the system prompts in cassettes, so that a change of them is shown line by line",
        ini=_FLAG,
    ),
    _Setting(
        "live",
        "tests with llm_eval or llm_cassette ask the real models; without a key they are skipped",
        {"action": "store_true"},
    ),
    _Setting(
        "eval_plan",
        "say what the evaluations of the selected tests can show, and what they may cost, and run nothing",
        {"action": "store_true"},
    ),
    _Setting(
        "resume",
        "go on with the evaluations of a session that did not come to its end, by default of the last one",
        {"nargs": "?", "const": "", "metavar": "SESSION"},
    ),
    _Setting(
        "baseline",
        "compare the evaluations with the results in this file, which `llmtest evals accept` has written; may be repeated",
        {"action": "append", "default": [], "metavar": "FILE"},
    ),
    _Setting(
        "regressions",
        "what fails a session if it is worse than its baseline: passes (the default), scores, tokens, cost, seconds",
        ini={"type": "args", "default": ["passes"]},
    ),
    _Setting(
        "undecided",
        "what becomes of a session if an evaluation shows neither that its test passes often enough nor that it does not: "
        "it fails (fail, the default), or passes (pass)",
        ini={"default": "fail"},
    ),
    _Setting("langsmith", "leave tracing to LangSmith on in tests that use llmtest", ini=_FLAG),
    _Setting(
        "follow",
        "where a run belongs that no recording reached: to no recording (context, the default), or to the open test (test)",
        ini={"default": "context"},
    ),
    _Setting(
        "otel",
        "every recording takes the spans of OpenTelemetry of its test too, as record(otel=True) does",
        ini=_FLAG,
    ),
    _Setting(
        "ci",
        "annotations and a job summary on GitHub, attachments in JUnit on GitLab: there (auto, the default), or nowhere (off)",
        {"choices": CI},
        {"default": "auto"},
    ),
    _Setting(
        "backoff",
        "what libraries sleep before they try again, in recorded tests: it passes in virtual time (virtual, the default), "
        "or for real",
        {"choices": BACKOFF},
        {"default": "virtual"},
    ),
    _Setting(
        "matrix",
        "write what came of each fault of the marker llm_faults to this file: a table where it ends in .md, else JSON",
        {"metavar": "FILE"},
    ),
    _Setting(
        "shuffle",
        "run each recorded async test once under another order of its tasks than asyncio's, chosen by a seed",
        {"nargs": "?", "const": "random", "metavar": "SEED"},
        more="; by default a random one",
    ),
    _Setting(
        "schedule",
        "run the chosen tests under one schedule, which a failure of llm_interleave or of --llmtest-shuffle has printed",
        {"metavar": "WORD"},
    ),
    _Setting(
        "invariants",
        "what must be true of every recording, one a line: repeated tool call, empty search, swallowed error, "
        "answer cut by length, empty answer",
        ini=_LINES,
    ),
    _Setting(
        "report",
        "write a report to this folder, to be uploaded by a job of CI: results, pending snapshots, summary, kept traces",
        {"metavar": "FOLDER"},
        {"default": ""},
    ),
    _Setting(
        "failures",
        "write .llmtest/failures.md after a session with failures, if its tests use llmtest",
        ini={"type": "bool", "default": True},
    ),
    _Setting(
        "providers",
        "scripts of the models that programs ask for by name, one a line: `openai:gpt-* = path of a script file`",
        ini=_LINES,
    ),
    _Setting(
        "rules", "rules that every recording must obey, one a line: `module:name` of a rule or of a list of rules", ini=_LINES
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmtest", "llmtest: tests of programs built on language models")
    for setting in _SETTINGS:
        setting.add(group, parser)
    _add_coverage_options(group, parser)


def _add_coverage_options(group: pytest.OptionGroup, parser: pytest.Parser) -> None:
    cov = "report which nodes, edges, tools, arguments, outcomes, ... of the programs under test no test has seen; with "
    cov += "`module:object`, of this program only; may be given several times"
    group.addoption("--llmtest-cov", nargs="?", const="", action="append", metavar="OBJECT", help=f"{cov}; ini: llmtest_cov")
    parser.addini("llmtest_cov", "programs whose behaviour is covered, one a line: `module:object`", type="linelist", default=[])
    report = "how coverage is reported: term (the default), term-missing, html, json, xml, lcov or markdown, with `:FILE` for "
    report += "another file than llmtest-coverage.*; may be given several times"
    group.addoption("--llmtest-cov-report", action="append", metavar="TYPE", help=f"{report}; ini: llmtest_cov_report")
    parser.addini("llmtest_cov_report", f"{report}, one a line", type="linelist", default=[])
    least = "fail if less than so many percent are covered: 90 of all items, or by kind: nodes=100,tools=90"
    group.addoption("--llmtest-cov-fail-under", metavar="N", help=f"{least}; ini: llmtest_cov_fail_under")
    parser.addini("llmtest_cov_fail_under", least, default="")
    context = "keep which test hit what (test), or not (none, the default)"
    group.addoption("--llmtest-cov-context", choices=CONTEXTS, help=f"{context}; ini: llmtest_cov_context")
    parser.addini("llmtest_cov_context", context, default="none")
    folder = "the folder of the coverage files, one for each worker: .llmtest/coverage by default"
    group.addoption("--llmtest-cov-data", metavar="FOLDER", help=f"{folder}; ini: llmtest_cov_data")
    parser.addini("llmtest_cov_data", folder, default="")
    exclude = "items that do not count, one a line: `PATTERN because REASON`"
    parser.addini("llmtest_cov_exclude", exclude, type="linelist", default=[])


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before the first conftest, because that may import a program that builds its models at import."""
    _open_providers(early_config)


def pytest_configure(config: pytest.Config) -> None:
    for marker in markers.HELP:
        config.addinivalue_line("markers", marker)
    modes = {"llmtest_trees": TREES, "llmtest_protocol": PROTOCOL, "llmtest_handler_errors": ERRORS, "llmtest_traces": TRACES}
    modes |= {"llmtest_real_models": REAL_MODELS, "llmtest_frames": FRAMES, "llmtest_ci": CI, "llmtest_backoff": BACKOFF}
    for key, choices in modes.items():
        config.stash.setdefault(MODES, {})[key] = _mode(config, key, choices)
    late.open_session(config)
    if config.pluginmanager.hasplugin("syrupy"):
        from llmtest.pytest_plugin.unused import PassedTests

        config.pluginmanager.register(PassedTests(config), "llmtest-passed")
    if getattr(config.option, "dist", None) not in (None, "no") and not hasattr(config, "workerinput"):
        from llmtest.pytest_plugin.unused_cassettes import CassetteFiles

        config.pluginmanager.register(CassetteFiles(config, []), "llmtest-cassette-files")
    _open_verification(config)
    if config.stash[MODES]["llmtest_traces"] != "off":
        from llmtest.pytest_plugin.keep_traces import Keeping

        kept = Keeping(config, config.stash[MODES]["llmtest_traces"], attempt_of)
        config.pluginmanager.register(kept, "llmtest-traces")
    config.pluginmanager.register(SessionResults(config), "llmtest-results")
    _open_evals(config)
    _open_page(config)
    _open_coverage(config)
    _open_schedules(config)
    _follow(config)
    _take_spans(config)
    _open_stale(config)
    _check_kinds(config)
    _check_invariants(config)
    _open_masks(config)
    _open_providers(config)  # a plugin that is named in a conftest comes too late for the hook above


def _mode(config: pytest.Config, key: str, choices: tuple[str, ...]) -> str:
    """A setting that has an option and an ini key of one name."""
    mode: str = config.getoption(key) or config.getini(key)
    if mode not in choices:
        from llmtest.core.text import did_you_mean

        raise pytest.UsageError(f"the ini key {key} is one of {', '.join(choices)}; got {mode!r}{did_you_mean(mode, choices)}")
    return mode


def _open_page(config: pytest.Config) -> None:
    path = page_file(config)
    if path is None or ELSEWHERE in os.environ:
        return
    # `pytest --llmtest-html tests` would take the tests for the page, and run all tests of the project.
    if path.suffix not in (".html", ".htm") or path.is_dir():
        told = config.getoption("llmtest_html") or config.getini("llmtest_html")
        raise pytest.UsageError(
            f"--llmtest-html=FILE names a file that ends in .html; got {told!r}\n"
            "  write the name of the page after =, or put the option behind the paths of tests"
        )
    from llmtest.pytest_plugin.html_page import HtmlPage

    config.pluginmanager.register(HtmlPage(config, path, attempt_of), "llmtest-html")


def _open_evals(config: pytest.Config) -> None:
    told = config.getini("llmtest_undecided")
    if told not in UNDECIDED:
        raise pytest.UsageError(f"the ini key llmtest_undecided is one of {', '.join(UNDECIDED)}; got {told!r}")
    if config.getoption("llmtest_eval_plan"):
        from llmtest.pytest_plugin.eval_session import evals_of

        config.option.dist = "no"  # a plan is told by one process
        evals_of(config)  # nothing runs, also where there are no evaluations
    if config.getoption("llmtest_resume") is not None:
        from llmtest.pytest_plugin.arguments import evals_folder

        evals_folder(config)  # where there is no such session, nothing is collected
    said = config.getoption("llmtest_baseline")
    if said and not hasattr(config, "workerinput") and ELSEWHERE not in os.environ:
        from llmtest.pytest_plugin.baselines import BaselineComparison

        paths = [config.invocation_params.dir / path for path in said]
        config.pluginmanager.register(BaselineComparison(config, paths), "llmtest-baseline")
    if config.getoption("llmtest_live"):
        from llmtest.pytest_plugin.live import Live

        config.pluginmanager.register(Live(), "llmtest-live")


def _open_coverage(config: pytest.Config) -> None:
    if not (config.getoption("llmtest_cov") or config.getini("llmtest_cov")) or ELSEWHERE in os.environ:
        return
    context = _mode(config, "llmtest_cov_context", CONTEXTS)
    from llmtest.pytest_plugin.coverage import open_coverage

    # The page of the session shows the tests behind each mark.
    open_coverage(config, has_tests=context == "test" or page_file(config) is not None)


def _open_schedules(config: pytest.Config) -> None:
    if config.getoption("llmtest_schedule") is not None or config.getoption("llmtest_shuffle") is not None:
        from llmtest.errors import CampaignError
        from llmtest.pytest_plugin import interleavings

        try:
            interleavings.open_plugin(config)
        except CampaignError as error:
            raise pytest.UsageError(str(error)) from None


def _follow(config: pytest.Config) -> None:
    told = config.getini("llmtest_follow")
    if told not in ("context", "test"):
        raise pytest.UsageError(f"the ini key llmtest_follow is context or test; got {told!r}")
    if told == "test":
        from llmtest.capture import membership

        config.add_cleanup(functools.partial(setattr, membership, "follow", membership.follow))
        membership.follow = "test"


def _take_spans(config: pytest.Config) -> None:
    if config.getini("llmtest_otel"):
        from llmtest.recording.recording import Recording

        config.add_cleanup(functools.partial(setattr, Recording, "takes_spans", Recording.takes_spans))
        Recording.takes_spans = True


def _open_stale(config: pytest.Config) -> None:
    told = config.getini("llmtest_stale")
    if told not in STALE:
        from llmtest.core.text import did_you_mean

        raise pytest.UsageError(
            f"the ini key llmtest_stale is one of {', '.join(STALE)}; got {told!r}{did_you_mean(told, STALE)}"
        )
    if told != "fail":
        from llmtest.scripts import fingerprints

        config.add_cleanup(functools.partial(setattr, fingerprints, "mode", fingerprints.mode))
        fingerprints.mode = told


def _check_kinds(config: pytest.Config) -> None:
    kinds = config.getini("llmtest_snapshot_only")
    if kinds and config.pluginmanager.hasplugin("syrupy"):
        from llmtest.pytest_plugin.snapshots import known_kinds

        try:
            known_kinds(kinds, "the ini key llmtest_snapshot_only")
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None


def _check_invariants(config: pytest.Config) -> None:
    chosen = config.getini("llmtest_invariants")
    if chosen:
        from llmtest.campaigns.invariants import check_invariants
        from llmtest.errors import CampaignError

        try:
            check_invariants(chosen)
        except CampaignError as error:
            raise pytest.UsageError(f"the ini key llmtest_invariants: {error}") from None


def _open_masks(config: pytest.Config) -> None:
    lines, folder = config.getini("llmtest_masks"), config.option.basetemp
    if not lines and not folder:
        return
    from llmtest.core import masks
    from llmtest.errors import MaskError

    session = ExitStack()
    config.add_cleanup(session.close)
    try:
        session.enter_context(masks.use_rules(lines, os.path.abspath(folder) if folder else ""))
    except MaskError as error:
        raise pytest.UsageError(f"the ini key llmtest_masks: {error}") from None


def _open_verification(config: pytest.Config) -> None:
    told = config.getoption("llmtest_verify") or config.getini("llmtest_verify")
    if not told.isdecimal() or not int(told):
        raise pytest.UsageError(
            f"--llmtest-verify (ini: llmtest_verify) takes how many runs must agree, at least 1; got {told!r}"
        )
    config.stash[VERIFICATION] = None
    if int(told) > 1:
        from llmtest.pytest_plugin.verify import Verification

        config.stash[VERIFICATION] = verification = Verification(int(told), attempt_of)
        config.pluginmanager.register(verification, "llmtest-verify")


def _open_providers(config: pytest.Config) -> None:
    lines = config.getini("llmtest_providers")
    if not lines or PROVIDERS in config.stash:
        return
    from llmtest import ledger
    from llmtest.errors import LlmtestError
    from llmtest.langchain import providers

    session = ExitStack()
    config.add_cleanup(session.close)
    session.enter_context(ledger.opened(ledger.Outside()))  # for the conftests; `pytest_sessionstart` is later
    try:
        opened = providers.from_ini(lines, config.inipath.parent if config.inipath else config.invocation_params.dir)
    except LlmtestError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[PROVIDERS] = session.enter_context(opened)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A program that asks for an unmapped model at import is an error of its collection, also if it swallows ours."""
    report = yield
    opened = collector.config.stash.get(PROVIDERS, None)
    found = opened.take() if opened is not None else ()
    if found and report.passed:
        report.outcome, report.longrepr, report.result = "failed", "\n\n".join(violation.text for violation in found), []
    elif report.failed and (note := _missing_key(collector, str(report.longrepr))):
        report.sections.append(("llmtest: keys of providers", note))
    return report


def _missing_key(collector: pytest.Collector, error: str) -> str:
    """Return what to do where a module whose tests have cassettes builds a model at import, and its SDK finds no key."""
    path = collector.path
    has_cassettes = (path.parent / "cassettes" / path.stem).is_dir() or bool(collector.config.getini("llmtest_cassettes"))
    if "_API_KEY" not in error or not has_cassettes:
        return ""
    from llmtest.wire.hosts import PROVIDERS

    for provider in PROVIDERS:
        if any(key in error for key in provider.keys) and not any(key in os.environ for key in provider.keys):
            return (
                "a model that is built while tests are collected finds no key, because no cassette is open then\n"
                f"  to run from cassettes: the line `{provider.name}:*` in the ini key llmtest_providers gives it one\n"
                f"  to record: set the environment variable {provider.keys[0]}"
            )
    return ""
