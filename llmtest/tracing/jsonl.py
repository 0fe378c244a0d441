"""Traces as JSON lines, for the commands `export` and `import`: one trace per line, with all data of the store.

Imported lines are untrusted: they are parsed as data, made into a recording, and written like any other, in one transaction
for each trace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final
from uuid import UUID

from llmtest.errors import StoreError
from llmtest.recording.recording import Recording
from llmtest.tracing.rows import Trace, revived, rows
from llmtest.tracing.store import Store, Stored

FORMAT: Final = 1
Progress = Callable[[int, int], None]
"""Called with the number of finished traces and the number of all traces; 0 if that is not known."""


def export(store: Store, traces: list[Stored], file: IO[str], progress: Progress) -> int:
    """Write traces to `file`, one per line; return their number."""
    for number, trace in enumerate(traces):
        file.write(f"{line(store, trace)}\n")
        progress(number + 1, len(traces))
    return len(traces)


def line(store: Store, trace: Stored) -> str:
    """Return one trace as JSON on one line."""
    lanes, messages, events = store.parts(trace)
    head = {"llmtest": FORMAT, "session": trace.session, "root": trace.root, "inside": trace.inside}
    parts = {
        "lanes": _list(lanes),
        "messages": _list(messages),
        "events": _list(_event(row) for row in events),
    }
    return f"{json.dumps(head)[:-1]}, {', '.join([f'{json.dumps(name)}: {text}' for name, text in parts.items()])}}}"


def _event(row: Iterable[Any]) -> str:
    _, kind, run, parent, *when, about, payload = row
    ids = (str(UUID(bytes=run)), str(UUID(bytes=parent)) if parent is not None else None)
    return f"{json.dumps([kind, *ids, *when])[:-1]}, {about if about is not None else 'null'}, {payload}]"


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(texts)}]"


# -- import


def take_in(store: Store, lines: Iterable[str], progress: Progress, *, session: str | None = None) -> int:
    """Write the traces in `lines` to the store; return their number. A trace that already exists is replaced.

    Raises:
        StoreError: a line is not a trace; the message has its number. The traces before it are in the store.
    """
    done = 0
    for number, text in enumerate(lines, 1):
        if text.strip():
            name, root, recording = _read(text, number)
            numbers = Trace(root, [*recording, *recording.late_events], len(recording), recording.latencies)
            store.write(session or name, [rows(numbers)])
            done += 1
            progress(done, 0)
    return done


def _read(text: str, number: int) -> tuple[str, UUID, Recording]:
    try:
        found = json.loads(text)
        if found["llmtest"] != FORMAT:
            raise StoreError(f"line {number} has format {found['llmtest']!r}; this version of llmtest reads format {FORMAT}")
        lanes, messages = ([json.dumps(part) for part in found[name]] for name in ("lanes", "messages"))
        recording = revived(int(found["inside"]), lanes, messages, list(_rows(found["events"])))
        recording.late_events  # noqa: B018 - makes every word, so that what is wrong shows now
        return str(found["session"]), UUID(found["root"]), recording
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise StoreError(f"line {number} is not a trace that `llmtest export` wrote ({type(error).__name__}: {error})") from error


def _rows(events: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for number, (kind, run, parent, *when, about, payload) in enumerate(events):
        ids = (UUID(run).bytes, UUID(parent).bytes if parent is not None else None)
        told = json.dumps(about) if about is not None else None
        yield (number, kind, *ids, *when, told, json.dumps(payload))
