"""Judgements that are kept: what a judge has said once, it is not asked again.

A file of JSON lines, to which several threads and processes may append at once. A line holds the digest of everything that the
judge was shown, and its verdict; it holds no input and no output.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtest.core.own_folder import make_folder
from llmtest.core.source import shown_path
from llmtest.core.text import amount
from llmtest.errors import LlmtestWarning, ScorerError

MAX_PLACES: Final = 3
"""The most lines that cannot be read which the warning names."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict: whether a run `passed`, and `why`, in the words of the judge."""

    passed: bool
    why: str


class Judgements:
    """The judgements in a file, by the key of what was judged.

    The file is read when it is first asked, and grows by a line with each new judgement. Thread-safe; other processes may write
    it too, and what they add later is not read again.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._known: dict[str, Judgement] | None = None
        self._asking: dict[str, threading.Lock] = {}

    def find_or_ask(self, key: str, ask: Callable[[], Judgement]) -> Judgement:
        """Return the judgement of a key: the one that is kept, or what `ask` returns, which is kept.

        Threads that want one key at once ask once: two answers to one question may differ.

        Raises:
            ScorerError: the file cannot be read or written.
        """
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:
            known = self.find(key)
            if known is None:
                known = ask()
                self.add(key, known)
        return known

    def find(self, key: str) -> Judgement | None:
        """Return the judgement of a key; None if there is none yet.

        Lines that cannot be read are one `LlmtestWarning` with their numbers; what they held is judged again.

        Raises:
            ScorerError: the file cannot be read.
        """
        with self._lock:
            if self._known is None:
                self._known = dict(self._read())
            return self._known.get(key)

    def add(self, key: str, judgement: Judgement) -> None:
        """Keep a judgement.

        Raises:
            ScorerError: the file cannot be written.
        """
        line = {"key": key, "passed": judgement.passed, "why": judgement.why}
        with self._lock:
            self._known = self._known or {}
            self._known[key] = judgement
            try:
                append_line(self.path, json.dumps(line, ensure_ascii=False))
            except OSError as error:
                raise ScorerError(f"{self._shown}: judgements cannot be written: {error.strerror}") from None

    @property
    def _shown(self) -> str:
        return shown_path(str(self.path))

    def _read(self) -> Iterator[tuple[str, Judgement]]:
        try:
            lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        except OSError as error:
            raise ScorerError(f"{self._shown}: judgements cannot be read: {error.strerror}") from None
        unread = []
        for number, line in enumerate(lines, 1):
            found = _judgement(line)
            if found is not None:
                yield found
            elif line.strip():
                unread.append(number)
        if unread:
            places = ", ".join(map(str, unread[:MAX_PLACES])) + (", ..." if len(unread) > MAX_PLACES else "")
            text = f"{self._shown}: {amount(len(unread), 'line')} of judgements cannot be read ({places}); they are judged again"
            warnings.warn(LlmtestWarning(text), stacklevel=2)


def _judgement(line: bytes) -> tuple[str, Judgement] | None:
    """Return the key and the judgement of a line; None if it is something else, such as half a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    key, passed, why = (found.get(name) for name in ("key", "passed", "why"))
    if isinstance(key, str) and isinstance(passed, bool) and isinstance(why, str):
        return key, Judgement(passed, why)
    return None


def append_line(path: Path, line: str) -> None:
    """Append a line to a file in one write, so that lines of several processes do not mix. Half a line before it stays alone.

    A line that another process is just writing may be taken for half a line: then an empty line follows it.

    Raises:
        OSError: the file cannot be written.
    """
    make_folder(path.parent)
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        torn = size > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(f"{chr(10) if torn else ''}{line}\n".encode("utf-8", "backslashreplace"))
