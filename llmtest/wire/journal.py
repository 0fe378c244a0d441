"""The journal of a scripted server: what came, which step answered it, and how it ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from llmtest.core.text import amount, capped
from llmtest.scripts.requests import Request, show_last_message
from llmtest.scripts.step_types import Step

MAX_ENTRIES: Final = 10_000
MAX_WHOLE: Final = 1_000
MAX_WHOLE_BYTES: Final = 64_000_000
"""How many requests a journal keeps whole, and the size of their bodies. Entries of older ones have no `request` any more."""
OPEN: Final = "open"


@dataclass(slots=True, eq=False)
class Entry:
    """One request to a scripted server, and its answer. It grows while the request is answered.

    `number` counts from 1. `path` is without the token and without the query. `provider` and `model` are empty, `request`
    and `step` None, as long as they are not known: the request was refused before. `ending` is `"open"`, `"answered"`,
    `"the client left"`, `"reset"`, ...
    """

    number: int
    method: str
    path: str
    provider: str = ""
    model: str = ""
    request: Request | None = None
    step: Step | None = None
    status: int | None = None
    ending: str = OPEN

    def __str__(self) -> str:
        who = f"{self.provider}:{self.model}" if self.model else self.provider
        shown = [f"{self.number}", f"{self.method} {self.path}", who, "" if self.status is None else str(self.status)]
        shown += ["" if self.ending == "answered" else self.ending]
        shown += ["" if self.request is None else show_last_message(self.request), "" if self.step is None else f"-> {self.step}"]
        return "  ".join(filter(None, shown))

    def as_json(self) -> dict[str, Any]:
        """Return the entry as values that JSON has."""
        shown = {name: getattr(self, name) for name in ("number", "method", "path", "provider", "model", "status", "ending")}
        last = None if self.request is None else show_last_message(self.request)
        return {**shown, "last_message": last, "step": None if self.step is None else str(self.step)}


class Journal(Sequence[Entry]):
    """The last requests of a scripted server, in the order in which they came. `str` gives one line for each.

    Holds state. The thread of the server appends; any thread may read.
    """

    def __init__(self) -> None:
        self.total = 0
        """The number of all requests so far."""
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._whole: deque[tuple[Entry, int]] = deque()
        self._bytes = 0

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self._copy()[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._copy())

    def __str__(self) -> str:
        entries = self._copy()
        before = self.total - len(entries)
        left_out = [f"... {amount(before, 'earlier request')}"] if before else []
        return capped([*left_out, *map(str, entries)] or ["no request came"], tail=5)

    def __repr__(self) -> str:
        return f"<journal: {amount(self.total, 'request')}>"

    def enter(self, method: str, path: str) -> Entry:
        """Return the entry of a request that has come."""
        with self._lock:
            self.total += 1
            entry = Entry(self.total, method, path)
            self._entries.append(entry)
        return entry

    def _copy(self) -> list[Entry]:
        with self._lock:  # a deque that grows cannot be iterated
            return [*self._entries]

    def keep(self, entry: Entry, request: Request, size: int) -> None:
        """Keep what a request asks; `size` is that of its body."""
        entry.request = request
        self._whole.append((entry, size))
        self._bytes += size
        while len(self._whole) > MAX_WHOLE or (self._bytes > MAX_WHOLE_BYTES and len(self._whole) > 1):
            oldest, freed = self._whole.popleft()
            oldest.request = None
            self._bytes -= freed
