"""Progress of what takes long: on a terminal, in place, and gone when it has ended. Nothing is shown anywhere else.

With `rich` installed it is a bar with the time that is left, else a plain line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from llmtest.core.colors import is_dumb

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY_S: Final = 0.1
"""A line is not written more often."""


class Step(Protocol):
    """Called with how many are done, how many there are (0 if that is not known), and what else is shown beside it."""

    def __call__(self, done: int, of: int, note: str = "", /) -> None: ...


@contextmanager
def progress(things: str, out: TextIO | None = None) -> Iterator[Step]:
    """Show how many `things` are done, on `out`, by default `sys.stderr`; yield the function to tell it.

    Not for several threads at once.
    """
    out = out or sys.stderr
    if not out.isatty() or is_dumb(os.environ):
        yield lambda done, of, note="": None
        return
    bar = _bar(out)
    if bar is None:
        with _line(things, out) as step:
            yield step
        return
    with bar:
        task = bar.add_task(things, total=None, note="")
        yield lambda done, of, note="": bar.update(task, completed=done, total=of or None, note=note)


def _bar(out: TextIO) -> Progress | None:
    """Return a bar of rich; None if it is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    # Not through the bar: what tests print is captured by pytest, and output in a pipe must not end at the terminal.
    return Progress(*columns, console=Console(file=out), transient=True, redirect_stdout=False, redirect_stderr=False)


@contextmanager
def _line(things: str, out: TextIO) -> Iterator[Step]:
    shown = 0
    last = -EVERY_S

    def step(done: int, of: int, note: str = "", /) -> None:
        nonlocal shown, last
        now = time.perf_counter()
        if now - last < EVERY_S and done != of:
            return
        last = now
        text = f"{done:,}{f' of {of:,}' if of else ''} {things}{f', {note}' if note else ''}"
        out.write(f"\r{text.ljust(shown)}")
        out.flush()
        shown = len(text)

    try:
        yield step
    finally:
        out.write(f"\r{' ' * shown}\r")
        out.flush()
