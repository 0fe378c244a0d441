"""How much assertions notice: a recording with one event changed, again and again, and which changes nobody sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from llmtest.events import Event
from llmtest.events.callbacks import START_KINDS
from llmtest.recording import Recording
from tests.support.programs import Trace

Holds = Callable[[Recording], object]


def mutants(caught: Recording) -> Iterator[tuple[str, Trace]]:
    """Every recording with one event dropped, renamed, doubled, or exchanged with the next one; and what was done."""
    events = list(caught)
    for n, event in enumerate(events):
        about = f"{event.kind} `{event.name}` ({n})"
        yield f"drop {about}", Trace([*events[:n], *events[n + 1 :]])
        yield f"double {about}", Trace([*events[: n + 1], *events[n:]])
        if event.kind in START_KINDS:
            yield f"rename {about}", Trace(_renamed(events, event))
        if n + 1 < len(events):
            yield f"exchange {about}", Trace([*events[:n], events[n + 1], event, *events[n + 2 :]])


def _renamed(events: Sequence[Event], start: Event) -> list[Event]:
    return [replace(event, name="renamed") if event.run_id == start.run_id else event for event in events]


def survivors(caught: Recording, holds: Holds) -> list[str]:
    """The changes that an assertion does not notice. It notices one by being false, or by raising."""
    assert holds(caught), "the assertion does not hold of the recording itself"
    return [what for what, mutant in mutants(caught) if _unnoticed(mutant, holds)]


def _unnoticed(mutant: Recording, holds: Holds) -> bool:
    try:
        return bool(holds(mutant))
    except (AssertionError, LookupError, AttributeError):
        return False


def score(caught: Recording, holds: Holds) -> float:
    """The part of all changes that is noticed."""
    every = list(mutants(caught))
    return 1 - len(survivors(caught, holds)) / len(every)


def kinds_of(changes: Sequence[str]) -> set[str]:
    """What was done, to which callbacks: `drop on_llm_end`."""
    return {" ".join(change.split(" ")[:2]) for change in changes}
