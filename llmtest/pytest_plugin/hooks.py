"""The pytest plugin: fixtures, options, and what a failing test shows.

only pytest and the standard library at module level; everything else is imported when a test uses it.

For each attempt at a test a page of the ledger is open, from its setup to the end of its teardown. What is on it fails
the test in the phase in which it happened, unless the test has already failed or was skipped.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from llmtest.pytest_plugin.attempt import (
    ATTEMPT,
    COUNTED,
    Attempt,
    attempt_of,
    fail,
    hidden,
    is_ours,
    mute,
    prefix,
    say_headline,
    without_frames,
)

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

    from llmtest.errors import Violation
    from llmtest.langchain.chat_model import ScriptedChatModel
    from llmtest.langchain.providers import Providers
    from llmtest.langchain.text_model import ScriptedLLM
    from llmtest.ledger import Ledger
    from llmtest.recording.recording import Recording
    from llmtest.tokens.budget import Budget
    from llmtest.wire.serving import ScriptedServer


TREES: Final = ("failed", "all", "off")
PROTOCOL: Final = ("strict", "error", "warn", "off")
ERRORS: Final = ("error", "warn", "off")
TRACES: Final = ("off", "failed", "all")
LATE_S: Final = 1.0
"""How long the end of the session waits for threads that were at work when their test ended."""
_SENT: Final = "llmtest_late"

_modes = pytest.StashKey[dict[str, str]]()
_verification: Final = pytest.StashKey[Any]()  # the plugin of `--llmtest-verify`, or None
_rules = pytest.StashKey[tuple[Any, ...]]()  # those of the ini key
_sharing = pytest.StashKey[set[str]]()  # names of fixtures that share doubles between tests
_running = pytest.StashKey[Attempt]()  # of a session: the one that runs
_late: Final = pytest.StashKey[list["LateViolations"]]()
_threads: Final = pytest.StashKey[list[Any]]()  # those that were at work when their test ended
_providers = pytest.StashKey["Providers"]()  # the models of the ini key, for the whole session


# -- options


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmtest", "llmtest: tests of programs built on language models")
    which = "of which tests the run trees are shown: those that failed (default), all (in the terminal summary), or none"
    group.addoption("--llmtest-trees", choices=TREES, help=f"{which}; ini: llmtest_trees")
    parser.addini("llmtest_trees", f"{which}: failed, all or off", default="failed")
    protocol = (
        "what LangChain's callbacks do against their protocol: what is impossible fails the test (error, the default), what "
    )
    protocol += "is unusual too (strict), what is impossible is a warning (warn), nothing is looked at (off)"
    group.addoption("--llmtest-protocol", choices=PROTOCOL, help=f"{protocol}; ini: llmtest_protocol")
    parser.addini("llmtest_protocol", protocol, default="error")
    swallowed = "errors of callback handlers that LangChain swallows: they fail a test that uses llmtest (error, the default), "
    swallowed += "are warnings (warn), or are left alone (off)"
    group.addoption("--llmtest-handler-errors", choices=ERRORS, help=f"{swallowed}; ini: llmtest_handler_errors")
    parser.addini("llmtest_handler_errors", swallowed, default="error")
    everywhere = "look at swallowed errors of handlers in every test, also in those that do not use llmtest"
    parser.addini("llmtest_handler_errors_everywhere", everywhere, type="bool", default=False)
    runs = "accept a new or changed snapshot only if so many runs of its test agree"
    group.addoption("--llmtest-verify", metavar="N", help=f"{runs}; ini: llmtest_verify")
    parser.addini("llmtest_verify", runs, default="1")
    rules = "what is masked in run trees too, one a line: `NAME = REGULAR EXPRESSION`, or the name of a key"
    parser.addini("llmtest_masks", rules, type="linelist", default=[])
    traces = "of which tests the traces are kept, for `llmtest show`: none (off, the default), those that failed, or all"
    group.addoption("--llmtest-traces", choices=TRACES, help=f"{traces}; ini: llmtest_traces")
    parser.addini("llmtest_traces", traces, default="off")
    parser.addini("llmtest_langsmith", "leave tracing to LangSmith on in tests that use llmtest", type="bool", default=False)
    follow = "where a run belongs that no recording reached: to no recording (context, the default), or to the open test (test)"
    parser.addini("llmtest_follow", follow, default="context")
    scripts = "scripts of the models that programs ask for by name, one a line: `openai:gpt-* = path of a script file`"
    parser.addini("llmtest_providers", scripts, type="linelist", default=[])
    rules = "rules that every recording must obey, one a line: `module:name` of a rule or of a list of rules"
    parser.addini("llmtest_rules", rules, type="linelist", default=[])


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before the first conftest, because that may import a program that builds its models at import."""
    _open_providers(early_config)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _BUDGET)
    config.addinivalue_line("markers", "llm_rules(*rules): rules of llmtest.matching that the test must obey; it is recorded")
    config.addinivalue_line("markers", "llm_waive(rule, *, reason): lets the test break one rule of the callback protocol")
    modes = {"llmtest_trees": TREES, "llmtest_protocol": PROTOCOL, "llmtest_handler_errors": ERRORS, "llmtest_traces": TRACES}
    for key, choices in modes.items():
        config.stash.setdefault(_modes, {})[key] = _mode(config, key, choices)
    config.stash[_late], config.stash[_threads] = [], []
    if config.pluginmanager.hasplugin("syrupy"):
        from llmtest.pytest_plugin.unused import PassedTests

        config.pluginmanager.register(PassedTests(config), "llmtest-passed")
    _open_verification(config)
    if config.stash[_modes]["llmtest_traces"] != "off":
        from llmtest.pytest_plugin.keep_traces import Keeping

        kept = Keeping(config, config.stash[_modes]["llmtest_traces"], attempt_of)
        config.pluginmanager.register(kept, "llmtest-traces")
    _follow(config)
    _open_masks(config)
    _open_providers(config)  # a plugin that is named in a conftest comes too late for the hook above


def _mode(config: pytest.Config, key: str, choices: tuple[str, ...]) -> str:
    """A setting that has an option and an ini key of one name."""
    mode: str = config.getoption(key) or config.getini(key)
    if mode not in choices:
        from llmtest.core.text import did_you_mean

        raise pytest.UsageError(f"the ini key {key} is one of {', '.join(choices)}; got {mode!r}{did_you_mean(mode, choices)}")
    return mode


def _follow(config: pytest.Config) -> None:
    told = config.getini("llmtest_follow")
    if told not in ("context", "test"):
        raise pytest.UsageError(f"the ini key llmtest_follow is context or test; got {told!r}")
    if told == "test":
        from llmtest.capture import membership

        config.add_cleanup(functools.partial(setattr, membership, "follow", membership.follow))
        membership.follow = "test"


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
    config.stash[_verification] = None
    if int(told) > 1:
        from llmtest.pytest_plugin.verify import Verification

        config.stash[_verification] = verification = Verification(int(told), attempt_of)
        config.pluginmanager.register(verification, "llmtest-verify")


def _open_providers(config: pytest.Config) -> None:
    lines = config.getini("llmtest_providers")
    if not lines or _providers in config.stash:
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
    config.stash[_providers] = session.enter_context(opened)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A program that asks for an unmapped model at import is an error of its collection, also if it swallows ours."""
    report = yield
    opened = collector.config.stash.get(_providers, None)
    found = opened.take() if opened is not None else ()
    if found and report.passed:
        report.outcome, report.longrepr, report.result = "failed", "\n\n".join(violation.text for violation in found), []
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Doubles that are made while tests are collected belong to no test; least of all to one that runs this pytest."""
    from llmtest import ledger

    outside = ExitStack()
    outside.enter_context(ledger.opened(ledger.Outside()))
    session.config.add_cleanup(outside.close)


# -- fixtures


@pytest.fixture
def llm_recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """Every callback of the runs that start in the test function, as a `Recording`.

    It is open while the test function runs, in the context in which it runs (also of an async test), and closed before
    teardown: what comes then is in `llm_recording.late_events`.

        def test_agent(llm_recording):
            agent.invoke({"messages": [("user", "weather in Paris?")]})
            assert llm_recording.tools == ["weather"]

    It does not record what fixtures do: use `with record():` there.
    """
    attempt = request.node.stash[ATTEMPT]
    with attempt.new_recording() as recording:
        yield recording


@pytest.fixture
def scripted_chat_model(llm_recording: Recording) -> type[ScriptedChatModel]:
    """Makes chat models that answer what they are told: `scripted_chat_model(*steps, **fields)`. The test is recorded.

        def test_greeting(scripted_chat_model):
            assert greet(scripted_chat_model("Hello there")) == "Hello there"

    A step that is never asked for, and a call without a step, fail the test. It does not stop the program from using
    another model.
    """
    from llmtest.langchain.chat_model import ScriptedChatModel

    return ScriptedChatModel


@pytest.fixture
def scripted_llm(llm_recording: Recording) -> type[ScriptedLLM]:
    """Makes text models that answer what they are told: `scripted_llm(*steps, **fields)`. The test is recorded.

        def test_summary(scripted_llm):
            assert summarize(scripted_llm("Short."), "A long text") == "Short."

    A step that is never asked for, and a call without a step, fail the test. It has no tools and no messages.
    """
    from llmtest.langchain.text_model import ScriptedLLM

    return ScriptedLLM


@pytest.fixture
def scripted_providers(llm_recording: Recording) -> Iterator[Providers]:
    """Scripts the models that a program asks for by name: `scripted_providers({model: script, ...})`. The test is recorded.

        def test_greeting(scripted_providers):
            scripted_providers({"openai:gpt-5": ["Hello there"]})
            assert greet() == "Hello there"  # it calls init_chat_model("openai:gpt-5")
            assert scripted_providers.asked == ["openai:gpt-5"]

    As `llmtest.langchain.providers.scripted_providers`, open for the test; call it again to map more models. A model that
    is not mapped is an error. It does not see a model that a program makes of its class, as `ChatOpenAI(...)`.
    """
    from llmtest.langchain import providers

    with providers.scripted_providers({}) as opened:
        yield opened


@pytest.fixture
def scripted_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts servers that answer programs in other processes: `scripted_server(*steps)`. They run until the test is over.

        def test_greeting(scripted_server):
            server = scripted_server("Hello there")
            done = subprocess.run(["node", "greet.js"], env={**os.environ, **server.env}, capture_output=True, text=True)
            assert done.stdout == "Hello there"

    As `llmtest.wire.serving.scripted_server`. A step that no request asks for, and a request without a step, fail the test.
    """
    from llmtest.wire.serving import scripted_server

    with ExitStack() as servers:

        def start(*steps: Any, **options: Any) -> ScriptedServer:
            return servers.enter_context(scripted_server(*steps, **options))

        yield start


@pytest.fixture
def llm_snapshot(request: pytest.FixtureRequest, llm_recording: Recording) -> SnapshotAssertion:
    """The tree that was accepted last, from `__snapshots__/<test file>/<test>.tree`. The test is recorded.

        def test_agent(llm_recording, llm_snapshot):
            agent.invoke({"messages": [("user", "weather in Paris?")]})
            assert llm_recording == llm_snapshot

    Compares a recording, one of its runs, or a str; `pytest --snapshot-update` accepts what came. It is syrupy's
    assertion, so `llm_snapshot(name="second")` names another file. It does not take syrupy's `include` and `exclude`.
    """
    if not hasattr(request.config, "_syrupy"):
        pytest.fail(
            "the fixture `llm_snapshot` needs the pytest plugin `syrupy`, which is not active in this run\n"
            "  remove `-p no:syrupy`; where plugins are not loaded on their own, add `-p syrupy`",
            pytrace=False,
        )
    from llmtest.pytest_plugin import snapshots

    attempt, verification = request.node.stash[ATTEMPT], request.config.stash[_verification]
    if verification is not None and not verification.takes(request.node):
        pytest.fail(
            "--llmtest-verify cannot run this test again, because it asked for `llm_snapshot` in no way that can be foreseen\n"
            "  add the fixture to the arguments of the test",
            pytrace=False,
        )
    attempt.held = snapshots.DeferredSession(request.config._syrupy)
    return snapshots.assertion(request.node, attempt.compared, attempt.held)


# -- tokens

_BUDGET: Final = (
    "llm_budget(*, total_tokens=None, input_tokens=None, output_tokens=None, requests=None, cost=None, prices=None): "
    "the most that the model calls of a test may spend (llmtest)"
)


def _budget_of(item: pytest.Item) -> Budget | None:
    marks = list(item.iter_markers("llm_budget"))
    if not marks:
        return None
    from llmtest.errors import BudgetError
    from llmtest.tokens.budget import budget

    problem = ""
    try:
        return budget([(mark.args, mark.kwargs) for mark in reversed(marks)])
    except (BudgetError, TypeError) as error:
        problem = str(error)
    pytest.fail(problem, pytrace=False)


def _tell_suite(terminalreporter: Any) -> None:
    """One line: what all tests that were recorded or counted have spent, each attempt of them."""
    reports = [report for some in terminalreporter.stats.values() for report in some if getattr(report, "llmtest_tokens", None)]
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


# -- the phases of a test


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    __tracebackhide__ = hidden
    try:
        return (yield)
    finally:
        if ATTEMPT in item.stash:
            item.stash[ATTEMPT].forget()
            del item.stash[ATTEMPT]
        if item.config.stash[_late]:
            _tell_late(item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = hidden
    item.stash[ATTEMPT] = item.session.stash[_running] = attempt = Attempt(item, item.config.stash[_modes])
    yield
    attempt.set_up = True
    attempt.waived = _waived(item)
    # Before a shared double is called, because by then the run that calls it has begun.
    shared = not item.session.stash.get(_sharing, set()).isdisjoint(getattr(item, "fixturenames", ()))
    if attempt.quiet and (shared or _providers in item.config.stash):
        mute()
    attempt.budget = _budget_of(item)
    attempt.rules = _marked_rules(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = hidden
    attempt = item.stash[ATTEMPT]
    with attempt.call(item):
        yield
    attempt.page.violations += _judge_rules((*_rules_of(item.config), *attempt.rules), attempt.page.recordings)
    attempt.judge(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = hidden
    attempt = attempt_of(item)
    try:
        if attempt is not None:  # another plugin's setup may have failed before ours
            attempt.page.end_gates()  # where the setup failed there was no call
        yield
        if attempt is not None:
            attempt.page.end_gates()
            attempt.page.end_blocks()
            attempt.judge(item, last=True)
    finally:
        if attempt is not None:
            attempt.page.end_blocks()  # where a fixture's teardown failed, for the section of its report
            attempt.close()
            _keep_late(item, attempt.page)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """A fixture of wider scope than a test looks after the doubles that are made in it."""
    __tracebackhide__ = hidden
    if fixturedef.scope == "function":
        return (yield)
    from llmtest import ledger

    test = ledger.current()
    page = ledger.Ledger(prefix(f"{request.node.nodeid}::{fixturedef.argname}"), test.on_touch, test.on_note)
    request.addfinalizer(functools.partial(_end_of_fixture, request, page))  # added first, so it comes after the fixture's own
    with ledger.kept(page):
        result = yield
    if page.doubles:
        request.session.stash.setdefault(_sharing, set()).add(fixturedef.argname)
    return result


def _end_of_fixture(request: pytest.FixtureRequest, page: Ledger) -> None:
    """Tell what the fixture of `page` has left over: in the test that ends it, and not in one for which it is set up anew."""
    from llmtest import ledger

    found = ledger.release(page)
    if not found or isinstance(ledger.current(), ledger.Outside):  # an interrupted session ends outside any test
        return
    attempt = request.session.stash[_running]
    if attempt.set_up:
        fail(found)
    item = request._pyfuncitem
    page.violations += found
    told = f"the fixture `{request.fixturename}`, which was set up for this test, has ended"
    item.config.stash[_late].append(LateViolations(item.nodeid, item.location, told, page.violations))


# -- what comes after its test


@dataclass(frozen=True)
class LateViolations:
    """What is written on the page of a test after its last report; `told` says why it comes so late."""

    nodeid: str
    location: tuple[str, int | None, str]
    told: str
    violations: list[Violation]

    def take(self) -> str:
        """Return the text of the violations so far, each once."""
        from llmtest.errors import summarize

        found = self.violations[:]
        del self.violations[: len(found)]
        return "\n\n".join([self.told, *summarize(found)]) if found else ""


def _keep_late(item: pytest.Item, page: Ledger) -> None:
    """Watch the page of a test that has ended, if threads which it started are at work."""
    threads = page.end()
    if threads:
        names = ", ".join(f"`{thread.name}`" for thread in threads)
        told = f"after the end of this test, which has not waited for its thread {names}"
        item.config.stash[_late].append(LateViolations(item.nodeid, item.location, told, page.violations))
        item.config.stash[_threads] += threads


def _tell_late(config: pytest.Config) -> None:
    """Report late violations as an error of the test that caused them. xdist takes reports of the running test only."""
    for late in config.stash[_late]:
        text = late.take()
        if text and hasattr(config, "workeroutput"):
            config.workeroutput.setdefault(_SENT, []).append([late.nodeid, list(late.location), text])
        elif text:
            _log_late(config, late.nodeid, late.location, text)


def _log_late(config: pytest.Config, nodeid: str, location: tuple[str, int | None, str], text: str) -> None:
    report = pytest.TestReport(nodeid, location, {}, "failed", text, "teardown")
    config.hook.pytest_runtest_logreport(report=report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        until = time.perf_counter() + LATE_S
        for thread in session.config.stash[_threads]:
            thread.join(max(0.0, until - time.perf_counter()))
        _tell_late(session.config)
        atexit.register(_tell_last, session.config.stash[_late])  # what a thread does after that has no report any more


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    from llmtest.pytest_plugin import arguments

    node.workerinput[arguments.KEY] = arguments.arguments_of(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for nodeid, location, text in (getattr(node, "workeroutput", None) or {}).get(_SENT, ()):
        _log_late(node.config, nodeid, tuple(location), text)


def _tell_last(late: list[LateViolations]) -> None:
    for violations in late:
        text = violations.take()
        if text:
            sys.stderr.write(f"llmtest: {violations.nodeid}: {text}\n")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    __tracebackhide__ = hidden
    attempt = attempt_of(item)
    if attempt is not None and call.excinfo is not None:
        say_headline(call.excinfo.value, attempt)
    report = yield
    if attempt is not None and not attempt.running:  # a subtest reports in the middle of its test
        if call.excinfo is not None and report.failed and is_ours(call.excinfo):
            report.longrepr = without_frames(call.excinfo, item)
        attempt.tell(report, call.excinfo.value if call.excinfo is not None else None, item)
        attempt.tell_tokens(report)
        attempt.failed = attempt.failed or report.failed or (report.skipped and hasattr(report, "wasxfail"))
        verification = item.config.stash[_verification]
        if report.when == "teardown" and (verification is None or not verification.takes(item)):
            attempt.accept_snapshots(report)
    elif attempt is not None:
        attempt.failed = attempt.failed or report.failed
    return report


# -- the protocol


def _waived(item: pytest.Item) -> set[str]:
    """The rules that the markers of a test let it break.

    Raises:
        UsageError: a marker names no rule, or gives no reason.
    """
    marks = list(item.iter_markers("llm_waive"))
    if not marks:
        return set()
    from llmtest.errors import SWALLOWED
    from llmtest.protocol.checks import RULES

    return {_rule(mark, [SWALLOWED, *(rule.name for rule in RULES)]) for mark in marks}


def _rule(mark: pytest.Mark, rules: list[str]) -> str:
    given = ", ".join([*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())])
    reason = mark.kwargs.get("reason")
    if len(mark.args) != 1 or set(mark.kwargs) != {"reason"} or not isinstance(reason, str) or not reason.strip():
        raise pytest.UsageError(f"the marker is llm_waive(rule, reason='why'), with one rule; got llm_waive({given})")
    if mark.args[0] not in rules:
        from llmtest.core.text import did_you_mean, names

        hint = did_you_mean(str(mark.args[0]), rules, otherwise=f"the rules are {names(rules)}")
        raise pytest.UsageError(f"llm_waive({given}): there is no rule {mark.args[0]!r}{hint}")
    return str(mark.args[0])


# -- snapshots


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(op: str, left: object, right: object) -> Generator[None, list[Any], list[Any]]:
    """One line: what pytest would cut is a section of the report."""
    if op == "==" and (_is_snapshot(left) or _is_snapshot(right)):
        from llmtest.concurrency.asyncio_state import without_loop

        with without_loop():  # syrupy looks for files
            explanations = yield
    else:
        explanations = yield
    headline = _headline(left, right) if op == "==" else ""
    return [[headline]] if headline else explanations


def _headline(left: object, right: object) -> str:
    """The first difference from a snapshot, or why a shape does not match; empty for other comparisons."""
    snapshot = next((side for side in (left, right) if _is_snapshot(side)), None)
    if snapshot is not None:
        return str(getattr(snapshot, "headline", "") or "")
    if type(left).__module__ not in ("llmtest.recording.views", "llmtest.core.sequences"):
        return ""
    from llmtest.recording.views import compared

    answer = compared(left, right)
    return "" if answer is None else repr(answer)


def _is_snapshot(side: object) -> bool:
    return type(side).__name__ == "TreeAssertion" and type(side).__module__ == "llmtest.pytest_plugin.snapshots"


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.get_verbosity() < -1 or terminalreporter.no_summary:
        return
    _tell_suite(terminalreporter)
    _summarise_unusual(terminalreporter)
    _summarize_pending(terminalreporter)
    if config.stash[_modes]["llmtest_trees"] != "all":
        return
    reports = [report for some in terminalreporter.stats.values() for report in some if getattr(report, "llmtest_trees", None)]
    if reports:
        terminalreporter.write_sep("=", "llmtest: run trees")
    for report in sorted(reports, key=lambda report: report.start):
        terminalreporter.write_line(report.nodeid, bold=True)
        for tree in report.llmtest_trees:
            terminalreporter.write_line(f"{tree}\n")


def _summarise_unusual(terminalreporter: Any) -> None:
    told = [report.llmtest_unusual for some in terminalreporter.stats.values() for report in some if _is_unusual(report)]
    if not told:
        return
    rules = [rule for some in told for rule in some]
    counts = ", ".join(f"{rules.count(rule)} x {rule!r}" for rule in dict.fromkeys(rules))
    from llmtest.core.text import amount

    terminalreporter.write_line(
        f"llmtest: unusual callbacks in {amount(len(told), 'test')}: {counts};"
        " -rA shows them, llmtest_protocol = strict makes them fail"
    )


def _is_unusual(report: Any) -> bool:
    return bool(getattr(report, "llmtest_unusual", None))


def _summarize_pending(terminalreporter: Any) -> None:
    pending = [report for some in terminalreporter.stats.values() for report in some if getattr(report, "llmtest_pending", False)]
    if pending:
        from llmtest.core.text import amount

        terminalreporter.write_sep("=", "llmtest")
        terminalreporter.write_line(f"snapshots of {amount(len(pending), 'test')} are pending: llmtest review, or llmtest accept")


# -- shapes and rules


def _rules_of(config: pytest.Config) -> tuple[Any, ...]:
    """The rules of the ini key: each line names a rule, or a list of rules, in a module."""
    if _rules not in config.stash:
        config.stash[_rules] = tuple(rule for line in config.getini("llmtest_rules") for rule in _rules_at(line))
    return config.stash[_rules]


def _rules_at(line: str) -> list[Any]:
    import importlib

    from llmtest.matching.rule import Rule

    module, _, name = line.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"the ini key llmtest_rules names `module:rules`; got {line!r}: {error}") from None
    rules = list(found) if isinstance(found, list | tuple) else [found]
    if not all(isinstance(rule, Rule) for rule in rules):
        raise pytest.UsageError(f"the ini key llmtest_rules names rules; {line} is {found!r}")
    return rules


def _marked_rules(item: pytest.Item) -> tuple[Any, ...]:
    """Return the rules of a test's markers; fail if a marker has none, or something else."""
    marks = list(item.iter_markers("llm_rules"))
    if not marks:
        return ()
    from llmtest.matching.engine import check_rules

    for mark in marks:
        problem = ""
        try:
            check_rules(mark.args, "llm_rules()")
        except TypeError as error:
            problem = str(error)
        if mark.kwargs:
            problem = f"llm_rules() takes rules and no keywords; got {', '.join(f'{key}=' for key in mark.kwargs)}"
        if problem:
            pytest.fail(problem, pytrace=False)
    return tuple(rule for mark in marks for rule in mark.args)


def _judge_rules(rules: tuple[Any, ...], recordings: list[Recording]) -> list[Violation]:
    """Return what the rules of the suite and of the test's markers find in each recording of the test."""
    if not rules or not recordings:
        return []
    from llmtest.errors import Violation
    from llmtest.matching.engine import judge

    broken = [answer for recording in recordings for answer in judge(recording, rules) if not answer.holds]
    return [Violation("broken rule", text) for text in dict.fromkeys(map(str, broken))]
