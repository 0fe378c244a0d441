"""Output of the commands `sessions`, `show` and `diff`: the trace store, as lines of text or as JSON.

Lists are made from the rows of traces and runs, and read no event. Control characters in the texts of a program are
printed as escapes.
"""

from __future__ import annotations

import fnmatch
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from llmtest.core.text import amount, clip, printable
from llmtest.errors import StoreError
from llmtest.tracing.store import RunLine, SessionLine, Store, Stored
from llmtest.trees import review
from llmtest.trees.rendering import render

Say = Callable[[str, str], None]
"""Print one line; the second argument is the number of its color, or empty."""

_RED, _BOLD = "31", "1"
FOLLOW_S: Final = 0.5
"""How often `follow` looks."""
MAX_DEPTH: Final = 2_000
"""A deeper run is shown no further to the right."""
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of traces: with a run of this name (`*` and `?` are wildcards), with this tag, with an error, and not before
    or after these times; `grep` is a regular expression, searched for in each line of the tree of a trace. `since` and `until`
    are times of ISO 8601, or how long ago: `90s`, `5m`, `2h`, `3d`."""

    name: str | None = None
    tag: str | None = None
    errors: bool = False
    grep: str | None = None
    since: str | None = None
    until: str | None = None

    def among(self, traces: Iterable[Stored], store: Store) -> list[Stored]:
        since, until = (_moment(text) for text in (self.since, self.until))
        named = store.with_run(self.name) if self.name is not None else None
        pattern = _pattern(self.grep)
        found = [
            trace
            for trace in traces
            if (named is None or trace.id in named)
            and (self.tag is None or any(fnmatch.fnmatchcase(tag, self.tag) for tag in trace.tags))
            and (trace.errors or not self.errors)
            and (since is None or trace.started_ns >= since)
            and (until is None or trace.started_ns <= until)
        ]
        # Last, because each trace is read and rendered for it.
        return found if pattern is None else [trace for trace in found if pattern.search(_tree(store, trace))]


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text, re.MULTILINE)
    except re.error as error:
        raise StoreError(f"--grep expects a regular expression; got {text!r}: {error}") from None


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    ago = re.fullmatch(r"(\d+)([smhdw])", text)
    try:
        then = _now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        expected = "2026-01-31T12:00, 2026-01-31, or how long ago: 90s, 5m, 2h, 3d"
        raise StoreError(f"expected a time such as {expected}; got {text!r}") from None
    return int(then.timestamp() * 1e9)


def _now() -> datetime:
    return datetime.now(UTC)


# -- sessions


def sessions(store: Store, say: Say, *, as_json: bool = False) -> int:
    """Print the sessions, the one with the latest trace last; return 0."""
    found = store.sessions()
    if as_json:
        say(json.dumps([asdict(session) for session in found], indent=2), "")
    elif not found:
        say(f'no sessions in {store.path}; `with tracing_enabled("name"):` or LLMTEST_TRACING=true writes some', "")
    else:
        _table(found, say)
    return 0


def _table(found: Sequence[SessionLine], say: Say) -> None:
    heads = ("session", "traces", "runs", "events", "errors", "tokens in", "out", "last")
    rows = [heads, *(_cells(session) for session in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        errors = number > 0 and row[4] != "0"
        say("  ".join(cells), _BOLD if number == 0 else _RED if errors else "")


def _cells(session: SessionLine) -> tuple[str, ...]:
    counts = (session.traces, session.runs, session.events, session.errors, session.input_tokens, session.output_tokens)
    return (printable(session.name), *map(str, counts), _clock(session.last_ns))


# -- traces


def show(
    store: Store,
    name: str | None,
    say: Say,
    *,
    only: Filter | None = None,
    tree: bool = False,
    as_json: bool = False,
) -> int:
    """Print the traces of a session, one trace, or the latest one; return 0.

    Raises:
        StoreError: there is no such session or trace, or `only` excludes all of them.
    """
    traces = chosen(store, name, only)
    if name is None and only in (None, Filter()):
        traces = traces[-1:]
    if as_json:
        told = [_facts(trace, store.runs(trace)) | ({"tree": _tree(store, trace)} if tree else {}) for trace in traces]
        say(json.dumps(told, indent=2), "")
    for trace in () if as_json else traces:
        _show(store, trace, say, tree)
    return 0


def follow(
    store: Store,
    say: Say,
    *,
    only: Filter | None = None,
    tree: bool = False,
    wait: Callable[[], object] = lambda: time.sleep(FOLLOW_S),
) -> None:
    """Print each trace that comes into the store from now on, until `wait` raises; it is called after each look."""
    seen = {trace.id for trace in store.traces()}
    while True:
        wait()
        new = [trace for trace in store.traces() if trace.id not in seen]
        seen |= {trace.id for trace in new}
        for trace in (only or Filter()).among(new, store):
            _show(store, trace, say, tree)


def chosen(store: Store, name: str | None, only: Filter | None = None) -> list[Stored]:
    """Return the traces of a session, one trace, or all; those that `only` chooses.

    Raises:
        StoreError: there is no such session or trace, or `only` excludes all of them.
    """
    traces = (only or Filter()).among(store.find(name) if name is not None else store.traces(), store)
    if not traces:
        raise StoreError(f"no such trace in {store.path}; `llmtest sessions` lists all sessions")
    return traces


def _facts(trace: Stored, runs: Iterable[RunLine]) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(trace).items() if name not in ("id", "inside", "runs")}
    return {"trace": trace.key, **facts, "runs": [asdict(run) for run in runs]}


def _show(store: Store, trace: Stored, say: Say, tree: bool) -> None:
    say(" · ".join(_heading(trace)), _BOLD)
    if tree:
        say(_tree(store, trace).rstrip("\n"), "")
    else:
        for run in store.runs(trace):
            _show_run(run, say)
    say("", "")


def _heading(trace: Stored) -> Iterator[str]:
    yield f"{printable(trace.session)} {trace.key}"
    yield _clock(trace.started_ns)
    yield amount(trace.runs, "run")
    yield f"tokens {trace.input_tokens} in, {trace.output_tokens} out"
    if trace.errors:
        yield amount(trace.errors, "error")
    late = trace.events - trace.inside
    if late:
        yield amount(late, "late event")


def _show_run(run: RunLine, say: Say) -> None:
    words = [f"{'  ' * min(run.depth, MAX_DEPTH)}{printable(run.kind)} {printable(run.name)}"]
    if run.duration_ns is not None:
        words.append(_duration(run.duration_ns))
    if run.input_tokens or run.output_tokens:
        words.append(f"tokens {run.input_tokens} in, {run.output_tokens} out")
    if run.error is not None:
        words.append(f"! {printable(run.error)}")
    elif run.ended != "ended":
        words.append(printable(run.ended))
    say("  ".join(words), _RED if run.error is not None else "")


def _clock(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if wall_ns else "-"


def _duration(ns: int) -> str:
    if ns < 1_000_000:
        return f"{ns / 1e3:.0f} µs"
    return f"{ns / 1e6:.1f} ms" if ns < 1_000_000_000 else f"{ns / 1e9:.2f} s"


# -- diff


def text_of(name: str, store: Store) -> str:
    """Return the text of a file, or the trees of a session or a trace.

    Raises:
        StoreError: there is no such file, session or trace.
    """
    if Path(name).is_file():
        return review.text_of(Path(name))
    return "".join([_tree(store, trace) for trace in store.find(name)])  # an empty line is no tree


def _tree(store: Store, trace: Stored) -> str:
    try:
        return render(store.load(trace))
    except StoreError:
        raise
    except Exception as error:  # a damaged row may be readable and still make no sense
        cause = f"trace {trace.key} cannot be shown ({type(error).__name__}: {clip(str(error), 120)})"
        raise StoreError(f"the trace store {store.path} is damaged: {cause}") from error
