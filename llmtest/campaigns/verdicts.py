"""Whether a program survives a fault: the outcome, why, and what shows it in the recording."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

from llmtest.campaigns.calls import Call, arguments_of, calls_of, said, tokens_of
from llmtest.campaigns.injection import ConsumerLeftError, Injection, Seen, effects_twice
from llmtest.campaigns.invariants import broken_invariants, check_invariants, final_answer
from llmtest.campaigns.kinds import Done, Fault, Interrupted
from llmtest.campaigns.noticing import can_notice
from llmtest.core.masks import publish, show
from llmtest.core.text import amount, did_you_mean, named, names, times
from llmtest.errors import CampaignError, Violation, fails_test, violations_in
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Event, Run
from llmtest.events.words import Message
from llmtest.protocol import run_checks
from llmtest.recording.recording import Recording

Outcome = Literal["recovered", "declared error", "wrong and silent", "crash", "hang", "not exposed", "cannot tell"]
"""How a program ended under a fault.

`recovered`: it did what it should. `declared error`: it raised an error that `survives=` allows. `wrong and silent`: no error,
but an assertion or an invariant is broken. `crash`: any other error. `hang`: it would never have ended. `not exposed`: the fault
did not come, or changed nothing, or the program asserts nothing and swallowed it or gave another answer. `cannot tell`: the
script has no answer for what the program does after the fault, or a call comes that the recording does not see.
"""

SURVIVED: Final = frozenset[Outcome]({"recovered", "declared error"})
FAILED: Final = frozenset[Outcome]({"wrong and silent", "crash", "hang", "cannot tell"})
SAME_ANSWER: Final = "same answer"
EFFECTS_TAG: Final = "effects"
"""The tag of a tool that has effects, beside those that `effects=` names."""
_SWALLOWED: Final = "swallowed error"
_NO_STEP: Final = frozenset({"unexpected call", "unexpected prompt", "unexpected input", "unexpected query"})
_UNSAID: Final = "script error"
"""The code of the violation of a step that an API has no words for, such as arguments that are no JSON."""
_HELD: Final = frozenset({"gate never released", "no answer"})
"""The codes of the violations of a call that nothing would ever have answered."""


@dataclass(frozen=True, slots=True)
class Survival:
    """What a program must do under a fault. Made by `survival`."""

    same_answer: bool = False
    errors: tuple[type[BaseException], ...] = ()
    predicates: tuple[Callable[[Recording], object], ...] = ()
    effects: tuple[str, ...] = ()
    invariants: tuple[str, ...] = ()
    max_tokens: int | None = None

    @property
    def replaces_assertions(self) -> bool:
        """True if it says itself what a right answer is, so that the assertions of the test do not count."""
        return self.same_answer or bool(self.predicates)


def survival(
    survives: object = None,
    *,
    effects: str | Iterable[str] = (),
    invariants: str | Iterable[str] = (),
    max_tokens: int | None = None,
) -> Survival:
    """Return what a program must do. `survives` is one of `"same answer"`, a class of errors, a predicate, or a list of them.

    Raises:
        CampaignError: `survives` is something else, or an invariant is unknown.
    """
    given = survives if isinstance(survives, list | tuple) else [] if survives is None else [survives]
    for item in given:
        _check_survives(item)
    errors = tuple(item for item in given if isinstance(item, type))
    predicates = tuple(item for item in given if callable(item) and item not in errors)
    tools = (effects,) if isinstance(effects, str) else tuple(effects) if isinstance(effects, Iterable) else ()
    if not all(isinstance(name, str) for name in tools) or (effects and not tools):
        raise CampaignError(f"effects= is a list of the names of tools; got {effects!r}")
    if max_tokens is not None and not (type(max_tokens) is int and max_tokens >= 0):
        raise CampaignError(f"max_tokens= is a whole number, not negative; got {max_tokens!r}")
    return Survival(SAME_ANSWER in given, errors, predicates, tools, check_invariants(invariants), max_tokens)


def _check_survives(item: object) -> None:
    if inspect.iscoroutinefunction(item) or inspect.isasyncgenfunction(item):
        raise CampaignError(f"a function of survives= is not async: what it returns would always be true; got {item!r}")
    is_error = isinstance(item, type) and issubclass(item, BaseException)
    if item != SAME_ANSWER and not is_error and (isinstance(item, type) or not callable(item)):
        hint = did_you_mean(str(item), [SAME_ANSWER])
        raise CampaignError(f'survives= is "{SAME_ANSWER}", a class of errors or a function; got {item!r}{hint}')


@dataclass(frozen=True, slots=True)
class Clean:
    """The run without faults: its calls, the names of those that cannot have a fault, and its answers."""

    calls: tuple[Call, ...]
    holes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    moments: Mapping[str, int] = field(default_factory=dict)
    """How many moments of each kind could have a fault of the program itself."""
    unequal: frozenset[str] = frozenset()
    """The names of the root runs whose callers see something else than the runs say, without a fault already."""
    is_woken: bool = False
    """True if a thread from before wakes the program, so that a hang cannot be told from a wait for it."""
    can_notice: bool = True
    """False for a program that asserts nothing."""
    unseen: tuple[str, ...] = ()
    """The calls that the recording does not see, in words: they can have no fault."""
    broken: frozenset[str] = frozenset()
    """What breaks the callback protocol without a fault already."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What its campaign cannot find, in words."""
        return (*self.unseen, *([_NO_HANGS] if self.is_woken else ()))

    @property
    def max_calls(self) -> int:
        """How many calls a run with a fault may make before it is stopped as endless."""
        return CALLS_FACTOR * (len(self.calls) + len(self.holes)) + CALLS_MORE


_NO_HANGS: Final = "a hang: a thread from before the program wakes it, so no wait is known to be for ever"
_UNSEEN: Final = "unseen call"
"""The code of the protocol for a call that is not in the recording."""
CALLS_FACTOR: Final = 4
CALLS_MORE: Final = 20
"""A run that makes more than `CALLS_FACTOR` times the calls of the clean run, and `CALLS_MORE` more, is endless."""


def clean_run(recording: Recording, injection: Injection, program: Callable[..., object]) -> Clean:
    """Return what is known of the run without faults of `program`, a function or a test."""
    scripted, unscripted = injection.reached, injection.unscripted - injection.reached
    calls = [_as_answered(call, injection, is_scripted=call.key not in unscripted) for call in calls_of(recording)]
    holes = tuple(call.label for call in calls if call.key not in scripted | unscripted)
    moments = dict(sorted(injection.moments.items()))
    unequal = frozenset(name for name, _ in unequal_roots(injection, recording))
    reached = tuple(call for call in calls if call.label not in holes)
    rules = run_checks.check(recording)
    unseen = tuple(_unseen(found.text) for found in rules if found.code == _UNSEEN)
    broken = frozenset(map(_rule_of, rules))
    return Clean(
        reached, holes, answers_of(recording), moments, unequal, injection.watch.is_woken, can_notice(program), unseen, broken
    )


def _unseen(text: str) -> str:
    head, _, remedy, *_ = map(str.strip, text.splitlines())
    return f"{head}; {remedy}"


def _rule_of(found: run_checks.Broken) -> str:
    """Return what tells a broken rule from others. How many calls are unseen may differ."""
    return _UNSEEN if found.code == _UNSEEN else _first_line(found.text)


def _as_answered(call: Call, injection: Injection, *, is_scripted: bool) -> Call:
    chunks = tuple(filter(None, injection.chunks.get(call.key, ())))
    if is_scripted or call.is_streamed or not chunks:
        return replace(call, is_scripted=is_scripted)
    return replace(call, is_scripted=False, is_streamed=True, tokens=chunks)


def check_effects(wanted: Survival, clean: Clean) -> None:
    """Refuse a name of `effects=` that is almost that of a tool of the program: its effects would never be counted.

    Another name may be that of a tool that is called under a fault only.

    Raises:
        CampaignError: there is such a name.
    """
    tools = {*(call.key.name for call in clean.calls if call.kind == "tool")}
    for name in wanted.effects:
        if not any(named(name, tool) for tool in tools) and (hint := did_you_mean(name, tools)):
            raise CampaignError(f"effects= names {name!r}, and the program calls no such tool{hint}")


def injection_of(recording: Recording, faults: Sequence[Fault], clean: Clean | None) -> Injection:
    """Return the injection of a run with faults, or of the run without, which is `clean`'s."""
    if clean is None:
        return Injection(recording, is_clean=True)
    return Injection(recording, faults, clean.max_calls, clean.calls, is_clean=clean.is_woken)


def answers_of(recording: Recording) -> tuple[str, ...]:
    """Return the final answer of each root run that gave one, as a text without ids and times."""
    from llmtest.core.masks import table

    shown = (str(final_answer(root)) for root in recording.roots if root.ended == "ended")
    return tuple(table().volatile.sub(lambda found: f"<{found.lastgroup}>", text) for text in shown)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a run with faults, why in one line, and the events that show it."""

    faults: tuple[Fault, ...]
    outcome: Outcome
    why: str = ""
    witness: tuple[Event, ...] = ()
    deviations: tuple[str, ...] = ()
    """The known deviations of LangChain and LangGraph that the run has met: names of docs/reference/protocol.md."""
    error: BaseException | None = field(default=None, compare=False, repr=False)

    @property
    def survived(self) -> bool:
        return self.outcome in SURVIVED

    @property
    def name(self) -> str:
        return " and ".join(map(str, self.faults))

    def __str__(self) -> str:
        return f"{self.outcome}: {self.name}" + (f": {self.why}" if self.why else "")


def judge(
    faults: Sequence[Fault],
    injection: Injection,
    recording: Recording,
    error: BaseException | None,
    clean: Clean,
    wanted: Survival,
    violations: Sequence[Violation] = (),
) -> Verdict:
    """Return the verdict on a run: `error` is what left the program or the test, `violations` are on its page."""
    faults = tuple(faults)
    witness, is_shown = _witness(injection, recording)
    rules = run_checks.check(recording)
    deviations = tuple(dict.fromkeys(found.deviation for found in rules if found.deviation))

    def verdict(outcome: Outcome, why: object = "") -> Verdict:
        return Verdict(faults, outcome, publish(str(why)), witness, deviations, error)

    broken = [*violations, *violations_in(error)]
    if injection.watch.found:
        return verdict("hang", injection.watch.found)
    if injection.is_endless:
        return verdict("hang", f"it made more than {amount(clean.max_calls, 'call')}; without the fault {len(clean.calls)}")
    if held := [violation for violation in broken if violation.code in _HELD]:
        return verdict("hang", _first_line(held[0].text))
    if injection.missing:
        return verdict("not exposed", f"{names(str(fault) for fault in injection.missing)}: the call did not come")
    if not is_shown:
        return verdict("not exposed", "the recording shows nothing of it: the call gave what it gives without the fault")
    if unsaid := [violation for violation in broken if violation.code == _UNSAID]:
        return verdict("not exposed", f"no server of this API can say it: {_first_line(unsaid[0].text)}")
    if unscripted := [violation for violation in broken if violation.code in _NO_STEP]:
        return verdict("cannot tell", f"the script has no answer for what comes next: {_first_line(unscripted[0].text)}")
    rules = [found for found in rules if _rule_of(found) not in clean.broken]
    if unseen := [found for found in rules if found.code == _UNSEEN]:
        return verdict("cannot tell", _unseen(unseen[0].text))
    if violations and not violations_in(error):
        return verdict("wrong and silent", _first_line(violations[0].text))
    if (interruption := _interruption(injection)) is not None:
        why = _broken(injection, recording, rules, clean, wanted, ended_well=False) or _unlike(interruption, error)
        return verdict(*(("wrong and silent", why) if why else ("recovered", "")))
    if error is not None and (found := _judge_error(error, wanted)) is not None:
        return verdict(*found)
    if found_broken := _broken(injection, recording, rules, clean, wanted, ended_well=error is None):
        return verdict("wrong and silent", found_broken)
    if error is not None and isinstance(error, wanted.errors):
        return verdict("declared error", _shown(error))
    return verdict(*_judge_answer(recording, clean, wanted))


_LEAVES: Final[Mapping[str, type[BaseException]]] = {"await": CancelledError, "chunk": ConsumerLeftError}
"""What leaves a program that was cancelled, and one whose consumer has left."""


def _interruption(injection: Injection) -> str | None:
    """Return the kind of the moment at which the program was stopped for good; None if it goes on."""
    wheres = (came.fault.call.key.name for came in injection.came if isinstance(came.fault.act, Interrupted))
    return next((where for where in wheres if where in _LEAVES), None)


def _unlike(where: str, error: BaseException | None) -> str:
    if isinstance(error, _LEAVES[where]):
        return ""
    gone = "was cancelled" if where == "await" else "lost its consumer"
    return f"it {gone}, and went on" if error is None else f"it {gone}, and raised {_shown(error)}"


def _judge_error(error: BaseException, wanted: Survival) -> tuple[Outcome, str] | None:
    """Return the outcome of a run that an error ended; None if `survives=` allows the error, or judges by itself."""
    if fails_test(error):  # `Exception` allows any error of the program, and no answer that is wrong
        return None if wanted.replaces_assertions or _is_meant(error, wanted) else ("wrong and silent", _shown(error))
    return None if isinstance(error, wanted.errors) else ("crash", _shown(error))


def _is_meant(error: BaseException, wanted: Survival) -> bool:
    """True if `survives=` names failed assertions themselves."""
    return any(isinstance(error, kind) and kind not in (Exception, BaseException) for kind in wanted.errors)


def _judge_answer(recording: Recording, clean: Clean, wanted: Survival) -> tuple[Outcome, str]:
    if wanted.same_answer and not _holds_all(answers := answers_of(recording), clean.answers):
        return "wrong and silent", f"the answer is {show(answers[-1] if answers else None)}; {_expected(clean)}"
    for predicate in wanted.predicates:
        if why := _refuses(predicate, recording):
            return "wrong and silent", why
    if wanted.replaces_assertions or clean.can_notice:
        return "recovered", ""
    usual = [call.key for call in clean.calls]
    if swallowed := broken_invariants(recording, _SWALLOWED, ended_well=True, usual=usual):
        return "not exposed", f"{_UNNOTICED}: {swallowed[0].text}"
    if Counter(clean.answers) - Counter(answers := answers_of(recording)):
        return "not exposed", f"{_UNNOTICED}: the answer is {show(answers[-1] if answers else None)}; {_expected(clean)}"
    return "recovered", ""


_UNNOTICED: Final = "nothing noticed it, because the test asserts nothing"


def _holds_all(answers: Sequence[str], wanted: Sequence[str]) -> bool:
    """True if `answers` are those that are wanted, in their order, with the same one at the end: a program may ask again."""
    rest = iter(answers)
    return list(answers[-1:]) == list(wanted[-1:]) and all(answer in rest for answer in wanted)


def _refuses(predicate: Callable[[Recording], object], recording: Recording) -> str:
    """Return why a predicate does not hold; empty if it does."""
    called = f"{getattr(predicate, '__name__', predicate)}(recording)"
    try:
        value = predicate(recording)
    except BaseException as error:
        if not fails_test(error):
            raise
        return f"{called} fails: {_shown(error)}"
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise CampaignError(f"{called} returns an awaitable, which is always true; survives= takes a function that is not async")
    return "" if value else f"{called} is false" if value is not None else f"{called} returns None, and not whether all is well"


def _expected(clean: Clean) -> str:
    return f"without the fault {show(clean.answers[-1])}" if clean.answers else "without the fault there is none"


def _broken(
    injection: Injection,
    recording: Recording,
    rules: Sequence[run_checks.Broken],
    clean: Clean,
    wanted: Survival,
    *,
    ended_well: bool,
) -> str:
    """Return the first invariant that does not hold, in words; empty if all hold."""
    tagged = {run.name for run in recording.tools if EFFECTS_TAG in run.tags}
    for key, count in effects_twice(injection.bodies, (*wanted.effects, *tagged)):
        given = (run.args or run.input for run in recording.tools if _is_call(run, key.name, key.arguments))
        args = show(next(given, None))
        return f"the tool `{key.name}` had its effect {times(count)} for {args}"
    for found in rules:
        if found.level == "impossible" or (found.code == "run never ended" and not found.deviation):
            return _first_line(found.text)
    for name, text in unequal_roots(injection, recording):
        if name not in clean.unequal:
            return text
    usual = [call.key for call in clean.calls]
    for violation in broken_invariants(recording, wanted.invariants, ended_well=ended_well, usual=usual):
        return violation.text
    return _overspent(recording, wanted)


def unequal_roots(injection: Injection, recording: Recording) -> Iterator[tuple[str, str]]:
    """Yield the root runs that say something else than what their callers saw: the name of each, and how it differs."""
    runs = {run.id: run for run in recording.runs}
    for seen in injection.seen:
        run = runs.get(seen.run_id)
        if run is not None and (text := _difference(run, seen)):
            yield run.name, f"the caller of the {run.kind} `{run.name}` {text}"


def _difference(run: Run, seen: Seen) -> str:
    if run.ended == "error" and seen.error is None and run.error is not None:
        return f"saw no error, but its run failed with {run.error.type}: {_first_line(run.error.message)}"
    if run.ended == "ended" and seen.error is not None:
        return f"saw {_shown(seen.error)}, but its run ended well"
    if run.ended == "ended" and seen.value is not None and said(seen.value) != said(run.output):
        return f"saw {show(said(seen.value))}, but its run says {show(said(run.output))}"
    return ""


def _is_call(run: Run, name: str, arguments: str) -> bool:
    return run.name == name and arguments_of("tool", run.start) == arguments


def _overspent(recording: Recording, wanted: Survival) -> str:
    if wanted.max_tokens is None:
        return ""
    spent = sum(run.usage.total_tokens for run in recording.models if run.usage is not None)
    return f"it spent {amount(spent, 'token')}; max_tokens={wanted.max_tokens}" if spent > wanted.max_tokens else ""


def _witness(injection: Injection, recording: Recording) -> tuple[tuple[Event, ...], bool]:
    """Return the events that show the faults, the ends of their runs, and whether each of them shows something."""
    runs = {run.id: run for run in recording.runs}
    found = [(came, runs.get(came.run_id)) for came in injection.came if came.run_id is not None]
    events = tuple(run.end or run.start for _, run in found if run is not None)
    is_shown = all(run is not None and _shows(run, came.fault, injection) for came, run in found)
    return events or tuple(recording[-1:]), is_shown


def _shows(run: Run, fault: Fault, injection: Injection) -> bool:
    """True if a run differs from the one without the fault: it failed, gave something else, or asked its model again."""
    if run.ended == "closed early":  # its consumer may have left before the fault came
        return tokens_of(run) != fault.call.tokens
    if run.ended != "ended" or injection.asked[run.id] > 1:
        return True
    if run.kind in MODELS:
        answer = run.output if isinstance(run.output, Message) else Message("ai")
        calls, before = ([(call.name, call.args) for call in one.tool_calls] for one in (answer, fault.call))
        same = said(run.output) == fault.call.text and calls == before
        return not same or answer.response_metadata != fault.call.metadata
    return isinstance(fault.act, Done) and (fault.act.error is not None or said(run.output) != fault.call.text)


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(str(error))}".rstrip(": ")


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


def outcomes() -> tuple[Outcome, ...]:
    """Return every outcome, in the order in which a matrix counts them."""
    return get_args(Outcome)
