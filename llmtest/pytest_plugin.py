"""The pytest plugin: fixtures, options, and what a failing test shows.

Floor 3: only pytest and the standard library at module level; everything else is imported when a test uses it.

For each attempt at a test a page of the ledger is open, from its setup to the end of its teardown. What is on it fails
the test in the phase in which it happened, unless the test has already failed or was skipped.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import unittest
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

    from llmtest.budget import Budget
    from llmtest.counting import ModelCall, TokenCount
    from llmtest.langchain.models import ScriptedChatModel, ScriptedLLM
    from llmtest.langchain.providers import Providers
    from llmtest.ledger import Violation
    from llmtest.pending import Mismatch
    from llmtest.protocol import Broken
    from llmtest.recording import Recording
    from llmtest.snapshots import Held

TREES: Final = ("failed", "all", "off")
PROTOCOL: Final = ("strict", "error", "warn", "off")
ERRORS: Final = ("error", "warn", "off")
TRACES: Final = ("off", "failed", "all")
LINES: Final = 60
"""How many lines of a section a failing test shows."""

_modes = pytest.StashKey[dict[str, str]]()
_runs = pytest.StashKey[int]()  # of a test whose snapshot is new or changed
_attempt = pytest.StashKey["_Attempt"]()
_rules = pytest.StashKey[tuple[Any, ...]]()  # those of the ini key
_sharing = pytest.StashKey[set[str]]()  # names of fixtures that share doubles between tests
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
    config.addinivalue_line("markers", "llm_rules(*rules): rules of llmtest.matching that the recordings of this test must obey")
    config.addinivalue_line("markers", "llm_waive(rule, *, reason): lets the test break one rule of the callback protocol")
    modes = {"llmtest_trees": TREES, "llmtest_protocol": PROTOCOL, "llmtest_handler_errors": ERRORS, "llmtest_traces": TRACES}
    for key, choices in modes.items():
        config.stash.setdefault(_modes, {})[key] = _mode(config, key, choices)
    _open_verification(config)
    if config.stash[_modes]["llmtest_traces"] != "off":
        from llmtest.keeping import Keeping

        kept = Keeping(config, config.stash[_modes]["llmtest_traces"], lambda item: item.stash.get(_attempt, None))
        config.pluginmanager.register(kept, "llmtest-traces")
    _open_masks(config)
    _open_providers(config)  # a plugin that is named in a conftest comes too late for the hook above


def _mode(config: pytest.Config, key: str, choices: tuple[str, ...]) -> str:
    """A setting that has an option and an ini key of one name."""
    mode: str = config.getoption(key) or config.getini(key)
    if mode not in choices:
        import difflib

        near = difflib.get_close_matches(mode, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise pytest.UsageError(f"the ini key {key} is one of {', '.join(choices)}; got {mode!r}{hint}")
    return mode


def _open_masks(config: pytest.Config) -> None:
    lines = config.getini("llmtest_masks")
    if not lines:
        return
    from llmtest import masks

    session = ExitStack()
    config.add_cleanup(session.close)
    try:
        session.enter_context(masks.ruled(lines))
    except masks.MaskError as error:
        raise pytest.UsageError(f"the ini key llmtest_masks: {error}") from None


def _open_verification(config: pytest.Config) -> None:
    told = config.getoption("llmtest_verify") or config.getini("llmtest_verify")
    if not told.isdecimal() or not int(told):
        raise pytest.UsageError(
            f"--llmtest-verify (ini: llmtest_verify) takes how many runs must agree, at least 1; got {told!r}"
        )
    config.stash[_runs] = int(told)
    if config.stash[_runs] > 1:
        from llmtest.verifying import Verification

        config.pluginmanager.register(Verification(config.stash[_runs], lambda item: item.stash[_attempt]), "llmtest-verify")


def _open_providers(config: pytest.Config) -> None:
    lines = config.getini("llmtest_providers")
    if not lines or _providers in config.stash:
        return
    from llmtest import ledger
    from llmtest.langchain import providers

    session = ExitStack()
    config.add_cleanup(session.close)
    session.enter_context(ledger.opened(ledger.Outside()))  # for the conftests; `pytest_sessionstart` is later
    try:
        opened = providers.from_ini(lines, config.inipath.parent if config.inipath else config.invocation_params.dir)
    except ledger.LlmtestError as error:
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
    attempt = request.node.stash[_attempt]
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
    from llmtest.langchain.models import ScriptedChatModel

    return ScriptedChatModel


@pytest.fixture
def scripted_llm(llm_recording: Recording) -> type[ScriptedLLM]:
    """Makes text models that answer what they are told: `scripted_llm(*steps, **fields)`. The test is recorded.

        def test_summary(scripted_llm):
            assert summarize(scripted_llm("Short."), "A long text") == "Short."

    A step that is never asked for, and a call without a step, fail the test. It has no tools and no messages.
    """
    from llmtest.langchain.models import ScriptedLLM

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
def llm_snapshot(request: pytest.FixtureRequest, llm_recording: Recording) -> SnapshotAssertion:
    """The tree that was accepted last, from `__snapshots__/<test file>/<test>.trace`. The test is recorded.

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
    from llmtest import snapshots

    attempt, session = request.node.stash[_attempt], request.config._syrupy
    if request.config.stash[_runs] > 1:
        attempt.held = session = snapshots.Held(session)
    return snapshots.assertion(request.node, attempt.compared, session)


# -- one attempt at one test


def _hidden(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """For `__tracebackhide__`. Not from groups: https://github.com/pytest-dev/pytest/issues/13734."""
    return not isinstance(excinfo.value, BaseExceptionGroup)


class _Attempt:
    """The page of one attempt at one test, its recording, and what has been shown of it."""

    def __init__(self, item: pytest.Item) -> None:
        from llmtest import ledger

        self.quiet = not item.config.getini("llmtest_langsmith")
        self.modes = item.config.stash[_modes]
        self.page = ledger.Ledger(_prefix(item.nodeid), self._touched, self._watch, _new_tally)
        self.place = (str(item.path), (item.location[1] or 0) + 1)
        self.recording: Recording | None = None
        self.budget: Budget | None = None
        self._told: dict[str, int] = {}
        self.waived: set[str] = set()
        self._watching = False
        self._broken: set[Any] = set()
        self._unusual: list[Violation] = []
        self.called = self.running = False
        self.mismatches: list[Mismatch] = []
        self.matches: list[Mismatch] = []
        self.held: Held | None = None
        self._shown: set[Any] = set()
        self._exits = ExitStack()
        self._exits.callback(_unmute, _muted.get())
        self._exits.enter_context(ledger.opened(self.page))
        self.close = self._exits.close
        if item.config.getini("llmtest_handler_errors_everywhere"):
            self._watch()

    def _touched(self) -> None:
        """The test uses us."""
        if self.quiet:
            _mute()
        self._watch()

    def _watch(self) -> None:
        if not self._watching and self.modes["llmtest_handler_errors"] != "off":
            from llmtest.langchain import swallowed

            self._watching = True
            self._exits.enter_context(swallowed.watched())

    def forget(self) -> None:
        """It is over. An interrupted test had no teardown; other plugins keep tracebacks, and so this object."""
        self.close()
        self.recording = None
        self.page.recordings.clear()

    @contextmanager
    def new_recording(self) -> Iterator[Recording]:
        from llmtest.blocks import inside
        from llmtest.recording import Recording

        self.recording = recording = Recording()
        self.page.note(recording)
        self._touched()  # also for what other fixtures do from here on
        # A fixture that the test function itself asks for, by `getfixturevalue`, comes too late to be wrapped around it.
        with inside(recording) if self.running else nullcontext():
            yield recording

    @contextmanager
    def call(self, item: pytest.Item) -> Iterator[None]:
        """The test function runs, inside the recording, wherever that is."""
        self.called = self.running = True
        if self.budget is not None and self.recording is None:
            self._exits.enter_context(self.new_recording())
        before = len(self.calls)
        with pytest.MonkeyPatch.context() as patch, ExitStack() as block:
            block.callback(self._end_of_call)
            if self.recording is not None and isinstance(item, pytest.Function):
                holder, name = _place(item)
                patch.setattr(holder, name, _wrap(getattr(holder, name), self.inside))
            elif self.recording is not None:
                block.enter_context(self.inside())
            yield
        self._keep_to_budget(self.calls[before:])

    def _end_of_call(self) -> None:
        self.running = False
        self.page.end_gates()  # first of all: what waits at them may hold up what comes next
        if self.recording is not None:
            self.recording.close()

    @contextmanager
    def inside(self) -> Iterator[None]:
        from llmtest.blocks import inside

        assert self.recording is not None
        muted = _muted.get()
        if self.quiet:
            _mute()
        try:
            with inside(self.recording):
                yield
        finally:
            _unmute(muted)  # anyio runs all tests of a module in one context

    @property
    def calls(self) -> list[ModelCall]:
        """The model calls of this attempt so far, of fixtures too."""
        return self.page.counted.calls if self.page.counted is not None else []

    def _keep_to_budget(self, calls: list[ModelCall]) -> None:
        if self.budget is None:
            return
        from llmtest import budget, ledger

        text = budget.overspent(self.budget, calls)
        if text is not None:
            self.page.write(ledger.Violation("over budget", text))

    def tell_tokens(self, report: pytest.TestReport) -> None:
        """Puts into the report of a phase what was spent since the last one: of a rerun's teardown there is no report."""
        if self.page.counted is None:
            return
        now = {name: getattr(self.page.counted, name) for name in _COUNTED}
        spent = {name: number - self._told.get(name, 0) for name, number in now.items()}
        self._told = now
        if any(spent.values()):
            vars(report)["llmtest_tokens"] = spent  # comes back from xdist's workers, as the trees do

    def compared(self, mismatch: Mismatch, matched: bool) -> None:
        (self.matches if matched else self.mismatches).append(mismatch)

    def comparisons(self) -> list[Mismatch]:
        """All that was compared with a snapshot."""
        return [*self.matches, *self.mismatches]

    def judge(self, item: pytest.Item) -> None:
        """Fails the phase for what is on the page. unittest keeps its own exceptions, which win."""
        found = [] if getattr(item, "_excinfo", None) else self._take()
        if found:
            _raise(found)

    def _take(self) -> list[Violation]:
        from llmtest.ledger import SWALLOWED

        found = dict.fromkeys(self.page.take())  # a hypothesis test says the same for each example
        written = [v for v in found if self.called or v.rule != "unused step"]  # no chance to ask for it
        swallowed = [v for v in written if v.rule == SWALLOWED]
        failing = self._graded(swallowed, self.modes["llmtest_handler_errors"])
        failing += self._graded(self._protocol(), self.modes["llmtest_protocol"])
        return [v for v in written if v.rule != SWALLOWED] + failing

    def _graded(self, found: list[Violation], mode: str) -> list[Violation]:
        """What of `found` fails the test; the rest is said otherwise."""
        told = [v for v in found if v.rule not in self.waived]
        if mode == "warn":
            from llmtest.ledger import LlmtestWarning

            for violation in told:
                warnings.warn_explicit(violation.text, LlmtestWarning, *self.place)
            return []
        return told if mode != "off" else []

    def _protocol(self) -> list[Violation]:
        """What the recordings that are closed by now break of the protocol. What is only unusual is put aside; also, with
        `strict`, what a known deviation of LangChain's explains, which the author of a test cannot mend."""
        mode, closed = self.modes["llmtest_protocol"], [recording for recording in self.page.recordings if recording.closed]
        if mode == "off" or not closed:
            return []
        from llmtest import protocol

        found = [broken for recording in closed for broken in protocol.check(recording) if self._is_unsaid(broken)]
        failing = [b for b in found if b.level == "impossible" or (mode == "strict" and b.deviation is None)]
        self._unusual += [b for b in found if b not in failing and b.rule not in self.waived]
        return [*failing]

    def _is_unsaid(self, broken: Broken) -> bool:
        """Whether no recording has told it yet: an outer block sees what an inner one sees, under other numbers."""
        key = (broken.rule, *((event.kind, event.run_id) for event in broken.witnesses)) if broken.witnesses else broken.text
        new = key not in self._broken
        self._broken.add(key)
        return new

    def tell(self, report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException] | None, config: pytest.Config) -> None:
        """Puts into the report of a phase what the page still holds."""
        if report.when == "setup" and report.passed:
            return
        from llmtest import ledger

        trees = self.modes["llmtest_trees"]
        known = ledger.told(excinfo.value if excinfo is not None else None)
        found = [v for v in self._take() if v not in known]
        if report.failed and found:
            report.sections.append(("llmtest: violations", _cut("\n\n".join(v.text for v in found))))
        _tell_answer(self.page, report)
        if self._unusual:
            report.sections.append(("llmtest: unusual callbacks", _cut("\n\n".join(v.text for v in self._unusual))))
            vars(report)["llmtest_unusual"] = [violation.rule for violation in self._unusual]
            self._unusual = []
        trees = self.modes["llmtest_trees"]
        told = report.when == "call" and _tell_snapshots(report, self, config)
        if told and trees == "failed":
            return  # the diff shows what differs from the accepted tree
        if trees == "all" or (trees == "failed" and report.failed):
            self._tell_trees(report, trees)

    def _tell_trees(self, report: pytest.TestReport, trees: str) -> None:
        recordings = [recording for recording in self.page.recordings if self._is_new(recording)]
        texts = [_tree(recording) for recording in recordings]
        if texts and report.failed:
            report.sections.append(("llmtest: run tree", _cut("\n\n".join(texts))))
        if trees == "all":
            usages = [recording.usage for recording in recordings]
            counts = [f"tokens: {usage.input_tokens} in, {usage.output_tokens} out" for usage in usages]
            # An attribute of the report, because it comes back from xdist's workers and goes into no JUnit file.
            vars(report)["llmtest_trees"] = [f"{text}\n{count}" for text, count in zip(texts, counts, strict=True)]

    def _is_new(self, recording: Recording) -> bool:
        """Whether it has runs that were not shown: an inner block shows nothing that the outer one does not."""
        runs = {run.id for run in recording.runs} - self._shown
        self._shown |= runs
        return bool(runs)


def _prefix(name: str) -> str:
    """Makes ids unique over tests; the same in every run, on every worker."""
    return f"{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}_"


def _place(item: pytest.Function) -> tuple[object, str]:
    """Where the runner of this test looks up the function that it will call."""
    handle = getattr(item.obj, "hypothesis", None)
    if hasattr(handle, "inner_test"):  # one event loop for each example, so also one wrapper for each
        return handle, "inner_test"
    if isinstance(item.instance, unittest.TestCase) and inspect.iscoroutinefunction(item.obj):
        return item.instance, item.name
    return item, "obj"


def _wrap(function: Callable[..., Any], inside: Callable[[], AbstractContextManager[None]]) -> Callable[..., Any]:
    """`function` inside a block, entered in the context in which it runs: a fixture's context may be another one."""

    @functools.wraps(function)
    def test(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = _hidden
        with inside():
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def async_test(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = _hidden
        with inside():
            return await function(*args, **kwargs)

    return async_test if inspect.iscoroutinefunction(function) else test


# -- tokens

_BUDGET: Final = (
    "llm_budget(*, total_tokens=None, input_tokens=None, output_tokens=None, requests=None, cost=None, prices=None): "
    "the most that the model calls of a test may spend (llmtest)"
)
_COUNTED: Final = ("total_tokens", "input_tokens", "output_tokens", "requests", "errors", "cached", "unreported")


def _new_tally() -> TokenCount:
    from llmtest.counting import TokenCount

    tally = TokenCount()
    tally.holds_runs = False
    return tally


def _budget_of(item: pytest.Item) -> Budget | None:
    marks = list(item.iter_markers("llm_budget"))
    if not marks:
        return None
    from llmtest.budget import BudgetError, budget

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
        total = {name: sum(report.llmtest_tokens[name] for report in reports) for name in _COUNTED}
        terminalreporter.write_sep("=", _suite_line(total, len({report.nodeid for report in reports})))


def _suite_line(total: dict[str, int], tests: int) -> str:
    tokens = f"{total['total_tokens']:,} tokens ({total['input_tokens']:,} in, {total['output_tokens']:,} out)"
    calls = f"{total['requests']:,} model call{'s' * (total['requests'] != 1)} of {tests:,} test{'s' * (tests != 1)}"
    words = [f"{total['errors']:,} failed"] if total["errors"] else []
    words += [f"{total['unreported']:,} without usage"] if total["unreported"] else []
    words += [f"{total['cached']:,} more from the cache"] if total["cached"] else []
    return "; ".join([f"llmtest: {tokens} in {calls}", *words])


# -- LangSmith

_muted: ContextVar[dict[ContextVar[Any], Any] | None] = ContextVar("llmtest_muted", default=None)
"""What the variables of langsmith were before we turned it off, in contexts in which we did."""


def _mute() -> None:
    """Turns tracing to LangSmith off in this context: a key in the environment would upload every run of a test."""
    if _muted.get() is not None:
        return
    before: dict[ContextVar[Any], Any] = {}
    with suppress(ImportError):
        from langsmith import tracing_context

        # The block is not left open: if it were collected with its task, it would restore another context than its own.
        with tracing_context(enabled=False):
            inside = copy_context()
        before = {var: value for var, value in copy_context().items() if value is not inside.get(var)}
        for var in before:
            var.set(inside.get(var))
    _muted.set(before)


def _unmute(until: dict[ContextVar[Any], Any] | None) -> None:
    """Undoes it in this context, which is pytest's own; those of tasks and threads are gone."""
    before = _muted.get()
    if before is not None and before is not until:
        for var, value in before.items():
            var.set(value)
        _muted.set(until)


# -- the phases of a test


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    __tracebackhide__ = _hidden
    try:
        return (yield)
    finally:
        if _attempt in item.stash:
            item.stash[_attempt].forget()
            del item.stash[_attempt]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = _hidden
    item.stash[_attempt] = attempt = _Attempt(item)
    yield
    attempt.waived = _waived(item)
    # Before a shared double is called, because by then the run that calls it has begun.
    shared = not item.session.stash.get(_sharing, set()).isdisjoint(getattr(item, "fixturenames", ()))
    if attempt.quiet and (shared or _providers in item.config.stash):
        _mute()
    attempt.budget = _budget_of(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = _hidden
    attempt = item.stash[_attempt]
    with attempt.call(item):
        yield
    attempt.page.violations += _judge_rules(item, attempt.page.recordings)
    attempt.judge(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = _hidden
    attempt = item.stash.get(_attempt, None)
    try:
        if attempt is not None:  # another plugin's setup may have failed before ours
            attempt.page.end_gates()  # where the setup failed there was no call
        yield
        if attempt is not None:
            attempt.page.end_gates()
            attempt.judge(item)
    finally:
        if attempt is not None:
            attempt.close()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """A fixture of wider scope than a test looks after the doubles that are made in it."""
    __tracebackhide__ = _hidden
    if fixturedef.scope == "function":
        return (yield)
    from llmtest import ledger

    test = ledger.current()
    page = ledger.Ledger(_prefix(f"{request.node.nodeid}::{fixturedef.argname}"), test.on_touch, test.on_note)
    request.addfinalizer(functools.partial(_end_of_fixture, page))  # added first, so it comes after the fixture's own
    with ledger.kept(page):
        result = yield
    if page.doubles:
        request.session.stash.setdefault(_sharing, set()).add(fixturedef.argname)
    return result


def _end_of_fixture(page: Any) -> None:
    from llmtest import ledger

    found = ledger.release(page)
    if found and not isinstance(ledger.current(), ledger.Outside):  # an interrupted session ends outside any test
        _raise(found)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    __tracebackhide__ = _hidden
    attempt = item.stash.get(_attempt, None)
    if attempt is not None and call.excinfo is not None:
        _say_headline(call.excinfo.value, attempt)
    report = yield
    if attempt is not None and not attempt.running:  # a subtest reports in the middle of its test
        if call.excinfo is not None and report.failed and _is_ours(call.excinfo):
            report.longrepr = _without_frames(call.excinfo, item)
        attempt.tell(report, call.excinfo, item.config)
        attempt.tell_tokens(report)
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
    from llmtest import ledger, protocol

    return {_rule(mark, [ledger.SWALLOWED, *(rule.name for rule in protocol.RULES)]) for mark in marks}


def _rule(mark: pytest.Mark, rules: list[str]) -> str:
    given = ", ".join([*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())])
    reason = mark.kwargs.get("reason")
    if len(mark.args) != 1 or set(mark.kwargs) != {"reason"} or not isinstance(reason, str) or not reason.strip():
        raise pytest.UsageError(f"the marker is llm_waive(rule, reason='why'), with one rule; got llm_waive({given})")
    if mark.args[0] not in rules:
        import difflib

        near = difflib.get_close_matches(str(mark.args[0]), rules, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the rules are {', '.join(map(repr, rules))}"
        raise pytest.UsageError(f"llm_waive({given}): there is no rule {mark.args[0]!r}; {hint}")
    return str(mark.args[0])


# -- snapshots


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(op: str, left: object, right: object) -> Generator[None, list[Any], list[Any]]:
    """One line: what pytest would cut is a section of the report."""
    explanations = yield
    headline = _headline(left, right) if op == "==" else ""
    return [[headline]] if headline else explanations


def _headline(left: object, right: object) -> str:
    """The first difference from a snapshot, or why a shape does not match; empty for other comparisons."""
    snapshot = next((side for side in (left, right) if _is_snapshot(side)), None)
    if snapshot is not None:
        return str(getattr(snapshot, "headline", "") or "")
    if type(left).__module__ not in ("llmtest.recording", "llmtest.events"):
        return ""
    from llmtest import matching

    answer = matching.compared(left, right)
    return "" if answer is None else repr(answer)


def _is_snapshot(side: object) -> bool:
    return type(side).__name__ == "TraceAssertion" and type(side).__module__ == "llmtest.snapshots"


def _say_headline(error: BaseException, attempt: _Attempt) -> None:
    """pytest says `assert` and the headline; the headline alone is a sentence, and shorter."""
    told = error.args[0] if isinstance(error, AssertionError) and error.args else None
    for mismatch in attempt.mismatches:
        if told == f"assert {mismatch.headline}":
            error.args = (mismatch.headline,)


def _tell_snapshots(report: pytest.TestReport, attempt: _Attempt, config: pytest.Config) -> bool:
    """Puts the diffs of a failed test into its report and keeps what came; forgets what was kept of one that matched."""
    if not attempt.mismatches and not attempt.matches:
        return False
    import os

    from llmtest.pending import Folder

    folder = Folder(config.rootpath, os.environ)
    for mismatch in attempt.matches:
        folder.forget(mismatch)
    for mismatch in attempt.mismatches if report.failed else ():
        kept = folder.keep(mismatch)
        color = bool(config.get_terminal_writer().hasmarkup)
        headline = [] if mismatch.headline in report.longreprtext else [mismatch.headline]
        lines = [*headline, *mismatch.lines(color=color), *mismatch.footer(config.rootpath, kept)]
        report.sections.append(("llmtest: snapshot", "\n".join(lines)))
        if kept is not None:
            vars(report)["llmtest_pending"] = True  # comes back from xdist's workers
    return report.failed and bool(attempt.mismatches)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """syrupy deletes snapshots that nobody used. After a run that was filtered or failed, that says nothing."""
    syrupy = getattr(session.config, "_syrupy", None)
    if syrupy is not None and _is_partial(session):
        session.config.option.no_cleanup = True
        syrupy.remove_unused_snapshots = lambda **_: None
    yield


def _is_partial(session: pytest.Session) -> bool:
    """Whether some tests did not run to their end: they were not selected, not reached, or failed before they compared."""
    options = vars(session.config.option)
    filters = ("keyword", "markexpr", "deselect", "lf", "stepwise", "failedfirst")
    chosen = any(options.get(name) for name in filters) or any("::" in argument for argument in session.config.args)
    return chosen or bool(session.testsfailed or session.shouldstop or session.shouldfail)


# -- words


def _raise(found: list[Violation]) -> None:
    from llmtest.ledger import ViolationError

    raise ViolationError(*found)


def _is_ours(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    return excinfo.traceback[-1].frame.code.raw is _raise.__code__


def _without_frames(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> Any:
    """The message alone, at the place of the test: it was raised after the test, by us, so its traceback says nothing."""
    shown = excinfo.getrepr(style="value")
    assert shown.reprcrash is not None
    shown.reprcrash.path, shown.reprcrash.lineno = str(item.path), (item.location[1] or 0) + 1
    return shown


def _tree(recording: Recording) -> str:
    try:
        return str(recording).rstrip()
    except Exception as error:  # a report that fails would hide why the test failed
        return f"the run tree could not be rendered: {type(error).__name__}: {error}"


def _cut(text: str) -> str:
    lines = text.splitlines()
    return text if len(lines) <= LINES else "\n".join([*lines[:LINES], f"... {len(lines) - LINES} more lines"])


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
    where = f"{len(told)} test" if len(told) == 1 else f"{len(told)} tests"
    terminalreporter.write_line(
        f"llmtest: unusual callbacks in {where}: {counts}; -rA shows them, llmtest_protocol = strict makes them fail"
    )


def _is_unusual(report: Any) -> bool:
    return bool(getattr(report, "llmtest_unusual", None))


def _summarize_pending(terminalreporter: Any) -> None:
    pending = [report for some in terminalreporter.stats.values() for report in some if getattr(report, "llmtest_pending", False)]
    if pending:
        tests = f"{len(pending)} test{'' if len(pending) == 1 else 's'}"
        terminalreporter.write_sep("=", "llmtest")
        terminalreporter.write_line(f"snapshots of {tests} are pending: llmtest review, or llmtest accept")


# -- shapes and rules


def _rules_of(config: pytest.Config) -> tuple[Any, ...]:
    """The rules of the ini key: each line names a rule, or a list of rules, in a module."""
    if _rules not in config.stash:
        config.stash[_rules] = tuple(rule for line in config.getini("llmtest_rules") for rule in _rules_at(line))
    return config.stash[_rules]


def _rules_at(line: str) -> list[Any]:
    import importlib

    from llmtest.matching import Rule

    module, _, name = line.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"the ini key llmtest_rules names `module:rules`; got {line!r}: {error}") from None
    rules = list(found) if isinstance(found, list | tuple) else [found]
    if not all(isinstance(rule, Rule) for rule in rules):
        raise pytest.UsageError(f"the ini key llmtest_rules names rules; {line} is {found!r}")
    return rules


def _judge_rules(item: pytest.Item, recordings: list[Recording]) -> list[Violation]:
    """What the rules of the suite and of the test's markers say of each of its recordings."""
    marked = [rule for mark in item.iter_markers("llm_rules") for rule in mark.args]
    rules = (*_rules_of(item.config), *marked)
    if not rules or not recordings:
        return []
    from llmtest.ledger import Violation
    from llmtest.matching import judge

    broken = [answer for recording in recordings for answer in judge(recording, rules) if not answer]
    return [Violation("broken rule", text) for text in dict.fromkeys(map(str, broken))]


def _tell_answer(page: Any, report: pytest.TestReport) -> None:
    """The last rule or shape that did not hold, in full."""
    if report.failed and page.answer is not None:
        report.sections.append(("llmtest: explanation", str(page.answer)))
        page.answer = None
