"""The traceback of a failed test: the message first, then the frames of the user's own code, the others folded."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprEntryNative, ReprFuncArgs, ReprTraceback

LINES_BEFORE: Final = 9
LINES_AFTER: Final = 4
"""How many lines of source are shown before and after the line of a frame that failed."""
_MARK: Final = "E   "
_VIOLATION: Final = f"{_MARK}llmtest.errors.ViolationError: "
_FOLDED: Final = re.compile(
    r"langchain|langgraph|langsmith|llmtest$|_pytest$|pytest|pluggy$|anyio$|syrupy$|asyncio$|concurrent$|threading$|contextvars$"
    r"|contextlib$|functools$|queue$|runpy$|httpx|httpcore|openai$|anthropic$|ollama$|google$|tenacity$"
)
"""The packages whose frames are folded: those that run a test, an agent or a request."""
_FIXTURES: Final = ("llm_", "scripted_")
"""How the names of our fixtures begin: what they are says nothing about a failure."""
_TASK: Final = re.compile(r"During task with name '[^']*' and id '[^']*'")
"""The note that LangGraph adds to an exception. Its id is another one in each run."""

Entry = ReprEntry | ReprEntryNative


def fold(report: pytest.TestReport, folder: Path) -> None:
    """Put the message of a failed report at its top, and fold the frames of frameworks. `folder` is where pytest was started.

    What `--tb=native`, `line` and `no` make stays as it is, as do groups of exceptions, which pytest shows so.
    """
    shown = report.longrepr
    if not isinstance(shown, ExceptionChainRepr):
        return
    tracebacks = [traceback for traceback, _, _ in shown.chain]
    if any(isinstance(entry, ReprEntryNative) or entry.style not in ("long", "short") for entry in _entries(tracebacks)):
        return
    message = _take_message(tracebacks[-1])
    for traceback in tracebacks[:-1]:
        said = _take_message(traceback)
        if said and said[0].startswith(_VIOLATION):  # the cause; other exceptions of the chain keep their place
            message += said
        else:
            traceback.reprentries[-1].lines = [*traceback.reprentries[-1].lines, *said]
    for traceback in tracebacks:
        traceback.reprentries = list(_folded(traceback.reprentries, folder))
    if message:
        first = tracebacks[0]
        first.reprentries = [ReprEntry(message, None, None, None, "short"), *first.reprentries]


def _entries(tracebacks: Iterable[ReprTraceback]) -> Iterator[Entry]:
    for traceback in tracebacks:
        yield from traceback.reprentries


def _take_message(traceback: ReprTraceback) -> list[str]:
    """Take the lines of the message from the last frame."""
    last = traceback.reprentries[-1]
    lines = list(last.lines)
    start = next((number for number, line in enumerate(lines) if line.startswith(_MARK)), len(lines))
    last.lines = lines[:start]
    said = [line.removeprefix(_MARK) for line in lines[start:]]
    indent = len(said[0]) - len(said[0].lstrip()) if said else 0  # that of the source line that raised
    said = [line[indent:] if not line[:indent].strip() else line for line in said]
    return [f"{_MARK}{line}" for line in said if not _TASK.fullmatch(line)]


def _folded(entries: Sequence[Entry], folder: Path) -> Iterator[Entry]:
    """Yield the frames of the user's code, and a line for each row of the others."""
    for is_own, group in groupby(entries, key=lambda entry: not _package(entry, folder)):
        frames = list(group)
        if is_own:
            for entry in frames:
                entry.lines = _near(entry.lines)
                if isinstance(entry, ReprEntry) and entry.reprfuncargs is not None:
                    kept = [(name, value) for name, value in entry.reprfuncargs.args if not name.startswith(_FIXTURES)]
                    entry.reprfuncargs = ReprFuncArgs(kept) if kept else None
            yield from frames
            continue
        names = list(dict.fromkeys(_package(entry, folder) for entry in frames))
        several = f"{len(frames)} frames" if len(frames) > 1 else "1 frame"
        said = [line for entry in frames for line in entry.lines if line.startswith(_MARK)]  # of an earlier exception of a chain
        place = frames[-1].reprfileloc if isinstance(frames[-1], ReprEntry) and frames[-1] is entries[-1] else None
        where = f", raised at {_short(place.path, folder)}:{place.lineno}" if place is not None else ""
        yield ReprEntryNative([f"  … {several} of {', '.join(names)}{where}  (--llmtest-frames=all)\n"])
        if said:
            yield ReprEntry(said, None, None, None, "short")


def _near(lines: Sequence[str]) -> list[str]:
    """Return the first line of a function, and the lines around the one that failed, with a sign for what is left out."""
    end = next((number for number, line in enumerate(lines) if line.startswith(_MARK)), len(lines))
    marked = next((number for number, line in enumerate(lines[:end]) if line.startswith(">")), end - 1)
    start, stop = max(marked - LINES_BEFORE, 1), min(marked + LINES_AFTER + 1, end)
    head = [*lines[:1], *(["        …"] if start > 1 else [])] if marked else []
    return [*head, *lines[start if marked else 0 : stop], *(["        …"] if stop < end else []), *lines[end:]]


def _package(entry: Entry, folder: Path) -> str:
    """Return the package of a frame that is folded; empty for the user's own."""
    if not isinstance(entry, ReprEntry) or entry.reprfileloc is None:
        return ""
    name = _top(os.path.abspath(folder / entry.reprfileloc.path))
    return name if _FOLDED.match(name) else ""


def _top(path: str) -> str:
    """Return the top package of a file that is installed; empty for any other file."""
    root = _root(path)
    return path[len(root) :].split(os.sep)[0].removesuffix(".py") if root else ""


def _root(path: str) -> str:
    """Return the folder of packages that a file lies in; empty for a file of the user's."""
    if path.startswith(_OURS):
        return _OURS.removesuffix(f"llmtest{os.sep}")
    return next((root for root in _ROOTS if path.startswith(root)), "")


def _short(path: str, folder: Path) -> str:
    """Return the path of a file in its package: `langgraph/pregel/main.py`."""
    whole = os.path.abspath(folder / path)
    return whole[len(_root(whole)) :].replace(os.sep, "/")


_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_PATHS: Final = sysconfig.get_paths()
_INSTALLED: Final = (_PATHS["purelib"], _PATHS["platlib"], str(Path(pytest.__file__).parents[1]), _PATHS["stdlib"])
_ROOTS: Final = tuple(dict.fromkeys(f"{root}{os.sep}" for root in _INSTALLED))
"""The folders of packages, the inner ones first: site-packages lies in that of the standard library."""
