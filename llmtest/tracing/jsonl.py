"""Traces as JSON lines, for the commands `export` and `import`: one trace per line, with all data of the store.

Imported lines are untrusted: they are parsed as data, made into a recording, and written like any other, in one transaction
for each trace.
"""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from gzip import GzipFile
from io import BufferedReader
from typing import IO, Any, Final, get_args
from uuid import UUID

from llmtest.core.masks import show
from llmtest.core.text import clip
from llmtest.errors import StoreError
from llmtest.tracing.codec import TAG
from llmtest.tracing.rows import Rows, Trace, revived, rows
from llmtest.tracing.store import Store, Stored
from llmtest.trees.rendering import render
from llmtest.trees.run_lines import Detail

FORMAT: Final = 1
MAX_LINE_BYTES: Final = 1 << 28
MAX_DEPTH: Final = 300
"""How deep values may be nested in a line. A recording describes values deeper than this by their type."""
MAX_RUN_DEPTH: Final = 2_000
MAX_MESSAGES: Final = 100_000
"""How many messages one message may hold, each counted as often as it is read."""
Progress = Callable[[int, int], None]
"""Called with the number of finished traces and the number of all traces; 0 if that is not known."""


def export(store: Store, traces: list[Stored], file: IO[str], progress: Progress) -> int:
    """Write traces to `file`, one per line; return their number."""
    for number, trace in enumerate(traces):
        file.write(f"{line(store, trace)}\n")
        progress(number + 1, len(traces))
    return len(traces)


def line(store: Store, trace: Stored) -> str:
    """Return one trace as JSON on one line.

    Raises:
        StoreError: a row of the trace is damaged.
    """
    lanes, messages, events = store.parts(trace)
    head = {"llmtest": FORMAT, "session": trace.session, "root": trace.root, "inside": trace.inside}
    try:
        parts = {"lanes": _list(lanes), "messages": _list(messages), "events": _list(event_text(row) for row in events)}
        text = f"{json.dumps(head)[:-1]}, {', '.join([f'{json.dumps(name)}: {part}' for name, part in parts.items()])}}}"
        json.loads(text)  # a damaged row would make a line that cannot be imported
    except (ValueError, TypeError, RecursionError) as error:
        cause = f"trace {trace.key} cannot be exported ({type(error).__name__}: {clip(str(error), 120)})"
        raise StoreError(f"the trace store {store.path} is damaged: {cause}") from error
    return text


def event_text(row: Iterable[Any]) -> str:
    """Return the row of an event as JSON, without its number."""
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
            name, trace = _read(text, number)
            store.write(session or name, [trace])
            done += 1
            progress(done, 0)
    return done


def read_lines(file: BufferedReader[Any]) -> Iterator[str]:
    """Yield the lines of a file, plain or gzip.

    Raises:
        StoreError: a line is too long, is not UTF-8, or its compressed data is damaged; the message has its number.
    """
    source = GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
    for number in itertools.count(1):
        try:
            line = source.readline(MAX_LINE_BYTES + 1)
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise StoreError(f"line {number} cannot be read ({type(error).__name__}: {clip(str(error), 120)})") from error
        if len(line) > MAX_LINE_BYTES:
            raise StoreError(f"line {number} is longer than {MAX_LINE_BYTES >> 20} MiB")
        if not line:
            return
        yield text


def _read(text: str, number: int) -> tuple[str, Rows]:
    """Return the session and the rows of one line."""
    try:
        found = json.loads(text)
        version = found["llmtest"]
        if version == FORMAT:
            check_depth(found)
            check_references(found["messages"])
            return _session(found), _rows_of(found)
    except Exception as error:  # whatever is wrong in a line that any program may have written
        cause = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        if isinstance(error, RecursionError):
            cause = f"values are nested more than {MAX_DEPTH} deep"
        raise StoreError(f"line {number} is not a trace that `llmtest export` wrote ({clip(cause, 200)})") from error
    raise StoreError(f"line {number} has format {show(version)}; this version of llmtest reads format {FORMAT}")


def _session(found: Mapping[str, object]) -> str:
    name = found["session"]
    if not isinstance(name, str):
        raise TypeError(f"a session is named by a text; got {type(name).__name__}")
    return name


def _rows_of(found: Mapping[str, Any]) -> Rows:
    lanes, messages = ([json.dumps(part) for part in found[name]] for name in ("lanes", "messages"))
    recording = revived(int(found["inside"]), lanes, (messages, [event_row(n, row) for n, row in enumerate(found["events"])]))
    events = [*recording, *recording.late_events]
    made = rows(Trace(UUID(found["root"]), events, len(recording), recording.latencies, recording.unseen_calls))
    if max((depth for _, depth, *_ in made.runs), default=0) > MAX_RUN_DEPTH:
        raise ValueError(f"runs are nested more than {MAX_RUN_DEPTH:,} deep")
    for detail in get_args(Detail):  # fields of a wrong type would break `show` later
        render(recording, detail=detail)
    return made


def event_row(number: int, found: Sequence[Any]) -> tuple[object, ...]:
    """Return the row that `event_text` wrote, as it is read from JSON.

    Raises:
        ValueError, TypeError, AttributeError: it is no such row.
    """
    kind, run, parent, *when, about, payload = found
    if not all(part is None or abs(part) < 1 << 63 for part in when):
        raise ValueError(f"event {number} has a number of more than 64 bits")
    ids = (UUID(run).bytes, UUID(parent).bytes if parent is not None else None)
    return (number, kind, *ids, *when, json.dumps(about) if about is not None else None, json.dumps(payload))


def numbered_rows(text: str) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a list of JSON, in which each begins with the number of its event.

    Raises:
        ValueError, TypeError, AttributeError, RecursionError: it is no such list, or has none.
    """
    found = json.loads(text)
    if not found:
        raise ValueError("a run has no events")
    if text.count("[") + text.count("{") > MAX_DEPTH:  # fewer cannot be nested that deep
        check_depth(found)
    return (event_row(int(number), row) for number, *row in found)


_DECODE: Final = json.JSONDecoder().raw_decode
_NEXT: Final = re.compile(r"[\s,]*")


def message_texts(text: str) -> Iterator[str]:
    """Yield the messages of a list of JSON, each as JSON.

    Raises:
        ValueError, TypeError, RecursionError: it is no such list, or a message of it holds itself.
    """
    is_plain = '"@"' not in text and '"messages"' not in text and "\\u" not in text  # then no message holds another
    if not is_plain or text.count("[") + text.count("{") > MAX_DEPTH:
        found = json.loads(text)
        check_depth(found)
        check_references(found)
    at = _NEXT.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    while text[at : at + 1] != "]":
        start, (_, at) = at, _DECODE(text, at)
        yield text[start:at]
        at = _NEXT.match(text, at).end()  # type: ignore[union-attr]


def check_depth(value: object) -> None:
    """Raise ValueError for values that are nested too deep."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"values are nested more than {MAX_DEPTH} deep")
        level = [item for each in level for item in _inner(each) if isinstance(item, dict | list)]


def _inner(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def check_references(messages: Sequence[object]) -> None:
    """Raise ValueError for messages that hold themselves, or so many others that no text of them would end."""
    inner = {number: list(_references(message)) for number, message in enumerate(messages)}
    counts: dict[int, int] = {}
    for number in TopologicalSorter(inner).static_order():
        counts[number] = 1 + sum(counts[other] for other in inner[number])
        if counts[number] > MAX_MESSAGES:
            raise ValueError(f"message {number} holds more than {MAX_MESSAGES:,} others")


def _references(message: object) -> Iterator[int]:
    todo = [message]
    for value in todo:  # grows while it is read
        if isinstance(value, dict) and value.get(TAG) in ("@", "messages"):
            yield from value["n"] if isinstance(value["n"], list) else [value["n"]]
        todo += _inner(value)
