"""Runs the programs of one check of a component, and collects the faults that they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtest.conformance.faults import Fault, in_words
from llmtest.conformance.sandbox import STALL_S, Attempt, Make, attempt, new, raised_at
from llmtest.conformance.subjects import Subject, name_of
from llmtest.core.source import shown_line
from llmtest.core.text import clip
from llmtest.errors import Violation
from llmtest.events.callbacks import STREAMED
from llmtest.protocol.run_checks import Broken, check
from llmtest.recording.recording import Recording


class StuckError(Exception):
    """A program did not end: no other is tried."""


@dataclass(slots=True)
class _Sighting:
    fault: Fault
    where: list[str]


class Driver:
    """Runs programs with new components, each in a thread of its own, and holds the faults found so far.

    `where` names a program: the method that it calls, and how (`"astream, cancelled"`). The same fault found by several
    programs is one violation that names all of them. What is wrong with any program (it does not end, it raises, it breaks
    the protocol, ...) is found here; what answers must be is for `llmtest.conformance.checking`.
    """

    def __init__(self, subject: Subject, make: Make, inputs: Sequence[object], timeout_s: float) -> None:
        self.subject, self.inputs, self.timeout_s = subject, inputs, timeout_s
        self._make = make
        self._name = name_of(new(make))
        self._sightings: dict[tuple[str, str], _Sighting] = {}

    def new(self) -> Any:
        """Return a new component."""
        return new(self._make)

    def copied(self, inputs: Iterable[object]) -> list[object]:
        """Return inputs that a component may change."""
        return [self.subject.copied(given) for given in inputs]

    def first_input(self) -> object:
        return self.subject.copied(self.inputs[0])

    def facts(self, answers: Iterable[object]) -> list[Mapping[str, object]]:
        return [self.subject.facts(answer) for answer in answers]

    # -- faults

    def shown(self, where: str) -> str:
        """Return the method of a program as texts name it."""
        method, _, how = where.partition(", ")
        return f"`{self._name}.{method}`" + (f" ({how})" if how else "")

    def tell(self, where: str, rule: str, text: str, *evidence: tuple[str, str], about: str = "", hint: str = "") -> None:
        """Add a fault. Faults with the same `rule` and `about` are one."""
        sighting = self._sightings.setdefault((rule, about), _Sighting(Fault(rule, about, text, "", evidence, hint), []))
        sighting.where += [] if where in sighting.where else [where]

    def tell_differences(
        self, where: str, than: str, expected: Mapping[str, object], got: Mapping[str, object], rule: str, hint: str
    ) -> None:
        """Add a fault for each fact in which one answer differs from another, which the program `than` got."""
        for key in [key for key in expected if expected[key] != got.get(key)]:
            text = f"{self.shown(where)} gives {'other' if key.endswith('s') else 'another'} {key} than {self.shown(than)}"
            if not got.get(key):
                text = f"{self.shown(where)} gives no {key}, {self.shown(than)} does"
            evidence = (("expected", cut(expected[key])), ("got", cut(got.get(key))))
            self.tell(where, rule, text, *evidence, about=key, hint=hint)

    def abouts(self, rule: str) -> set[str]:
        """Return what the faults of a rule are about, those found so far."""
        return {about for found, about in self._sightings if found == rule}

    def violations(self) -> list[Violation]:
        """Return one violation for each fault, in the order in which they were found."""
        found = self._sightings.values()
        return [in_words(one.fault, [("where", "; ".join(one.where))] if len(one.where) > 1 else ()) for one in found]

    # -- programs

    def run(self, where: str, body: Callable[[], object], *, fails: bool = False, found: Sequence[str] = ()) -> Attempt:
        """Run a program. With `fails` it may raise; if it has `found` something itself, it was not left in peace to end.

        Raises:
            StuckError: it did not end.
        """
        done = attempt(body, self.timeout_s, f"check {self.subject.noun}: {where}")
        self._check_time(where, done, found)
        for line in done.left if not found else ():
            hint = "cancel what a call has started when the call ends; keep no task that nobody waits for"
            text = f"{self.shown(where)} leaves a task behind that goes on"
            self.tell(where, "leaves work behind", text, ("left", line), hint=hint)
        if done.error is not None and not fails:
            self.tell_error(where, done.error)
        self._check_protocol(where, done.recording)
        return done

    def tell_error(self, where: str, error: BaseException) -> None:
        """Add the fault that a program raised."""
        text = f"{self.shown(where)} raises {type(error).__name__}: {clip(str(error), 100)}".rstrip(": ")
        about = f"{type(error).__name__} {raised_at(error)}"
        self.tell(where, "raises", text, ("at", shown_line(raised_at(error))), about=about)

    def _check_time(self, where: str, done: Attempt, found: Sequence[str]) -> None:
        if done.stalled is not None:
            hint = "await what takes long, or leave it to a thread: await asyncio.to_thread(...)"
            waited = f"it stood at one line for {STALL_S:g} s, and nothing else could run"
            text = f"{self.shown(where)} blocks the event loop"
            self.tell(where, "blocks the event loop", text, ("at", shown_line(done.stalled)), ("seen", waited), hint=hint)
        if done.ended:
            return
        if done.stalled is None and not found:
            hint = "if it only needs longer, give `timeout_s`"
            text = f"{self.shown(where)} does not end"
            evidence = (("at", shown_line(done.stands)), ("waited", f"{self.timeout_s:g} s; nothing more was tried"))
            self.tell(where, "does not end", text, *evidence, hint=hint)
        raise StuckError

    def _check_protocol(self, where: str, recording: Recording) -> None:
        for broken in check(recording):
            if broken.deviation is None and not _is_of_a_thread_left_behind(broken):
                said, *lines, hint = broken.text.splitlines()
                evidence = [("events" if not number else "", line.strip()) for number, line in enumerate(lines)]
                self.tell(where, broken.code, said, *evidence, about=said, hint=hint.strip())


def _is_of_a_thread_left_behind(broken: Broken) -> bool:
    """True for tokens after the end of a cancelled stream, of the thread in which LangChain runs a sync one: nothing stops it."""
    end, *late = broken.witnesses or (None,)
    if broken.code != "event after the end" or end is None:
        return False
    return all(event.kind in STREAMED and event.thread != end.thread for event in late)


def cut(value: object) -> str:
    """Return a value as evidence shows it."""
    return clip(repr(value), 100)
