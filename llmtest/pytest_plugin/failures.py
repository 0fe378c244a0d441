"""The traceback of a failed test: the message first, then the frames of the user's own code, the others folded."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from traceback import format_exception_only
from typing import Final

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprEntryNative, ReprFuncArgs, ReprTraceback

LINES_BEFORE: Final = 9
LINES_AFTER: Final = 4
"""How many lines of source are shown before and after the line of a frame that failed."""
MAX_FRAMES: Final = 12
"""How many frames of the user's code are shown in a row. Of more, as of a recursion, the outermost and the innermost are."""
FIRST_FRAMES: Final = 3
LAST_FRAMES: Final = 5
_STYLES: Final = ("auto", "long", "short")
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

_FRAME: Final = re.compile(r'(?P<margin>[ |]*)  File "(?P<path>[^"]+)", line \d+')
"""A frame in Python's own style. In a group, its margin has a bar for each level."""
MOST_EXCEPTIONS: Final = 5
"""How many exceptions of a group its message names."""

Entry = ReprEntry | ReprEntryNative


def fold(report: pytest.TestReport, error: BaseException, config: pytest.Config) -> None:
    """Put the message of a failed report at its top, and fold the frames of frameworks.

    What `--tb=native`, `line` and `no` make stays as it is. Only groups of exceptions and exceptions that were never raised are
    shown by pytest in Python's own style, whatever `--tb` says.
    """
    shown = report.longrepr
    if not isinstance(shown, ExceptionChainRepr) or config.getoption("tbstyle", "auto") not in _STYLES:
        return
    tracebacks = [traceback for traceback, _, _ in shown.chain]
    if any(entry.style == "value" for entry in _entries(tracebacks)):  # `pytest.fail(..., pytrace=False)`
        return
    message = _group_message(error) if isinstance(error, BaseExceptionGroup) else _take_message(tracebacks[-1])
    if isinstance(error, SyntaxError):
        message = [f"{_MARK}{_one_line(error)}", *message[:-1]]
    for traceback in tracebacks[:-1]:
        said = _take_message(traceback)
        if said and said[0].startswith(_VIOLATION):  # the cause; other exceptions of the chain keep their place
            message += said
        else:
            traceback.reprentries[-1].lines = [*traceback.reprentries[-1].lines, *said]
    gap = [ReprEntryNative(["\n"])] if isinstance(tracebacks[0].reprentries[0], ReprEntryNative) else []
    for traceback in tracebacks:
        traceback.reprentries = list(_folded(traceback.reprentries, config.invocation_params.dir))
    if message:  # pragma: no branch - pytest shows no message of some exceptions
        first = tracebacks[0]
        first.reprentries = [ReprEntry(message, None, None, None, "short"), *gap, *first.reprentries]


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


def set_summary(report: pytest.TestReport, error: BaseException) -> None:
    """Make what lists and files say of a failure the same in each run, and tell groups of exceptions apart."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return  # pragma: no cover - as another plugin may report
    crash.message = "\n".join(line for line in crash.message.split("\n") if not _TASK.fullmatch(line))
    if isinstance(error, SyntaxError):  # Python says its place first, and what is wrong in the last line
        crash.message = _one_line(error)
    found = list(_leaves(error)) if isinstance(error, BaseExceptionGroup) else []
    if len(found) > 1:  # pytest names a single one, and only counts several
        said = "; ".join([*map(_one_line, found[:MOST_EXCEPTIONS]), *(["..."] if len(found) > MOST_EXCEPTIONS else [])])
        crash.message = f"{said} [{len(found)} exceptions in {type(error).__name__}]"


# -- groups of exceptions


def _group_message(group: BaseExceptionGroup[BaseException]) -> list[str]:
    found = list(_leaves(group))
    more = [f"... and {len(found) - MOST_EXCEPTIONS:,} more"] if len(found) > MOST_EXCEPTIONS else []
    return [f"{_MARK}{_one_line(group)}", *(f"{_MARK}  {line}" for line in (*map(_one_line, found[:MOST_EXCEPTIONS]), *more))]


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop()
        if isinstance(error, BaseExceptionGroup):
            todo += reversed(error.exceptions)
        else:
            yield error


def _one_line(error: BaseException) -> str:
    """Return the name of an exception and the first line of its message."""
    said = f"{type(error).__name__}: {error}" if isinstance(error, SyntaxError) else format_exception_only(error)[0]
    return said.strip().partition("\n")[0]


def _native(entry: ReprEntryNative, folder: Path) -> ReprEntryNative:
    """Return a traceback in Python's style with the frames of frameworks folded, as deep in a group as they are."""
    frames: list[tuple[str, str, list[str]]] = []  # the margin, the package, the lines
    for line in "".join(entry.lines).splitlines(keepends=True):
        found = _FRAME.match(line)
        if found:
            name = _top(os.path.abspath(folder / found["path"]))
            frames.append((found["margin"], name if _FOLDED.match(name) else "", [line]))
        elif frames and line.startswith(f"{frames[-1][0]}    "):
            frames[-1][2].append(line)  # the source of the frame
        else:
            frames.append((line, "", [line]))
    lines: list[str] = []
    for (margin, is_own), group in groupby(frames, key=lambda frame: (frame[0], not frame[1])):
        row = list(group)
        if is_own:
            lines += [line for _, _, more in row for line in more]
        else:
            lines.append(f"{margin}  {_fold_line([name for _, name, _ in row])}\n")
    return ReprEntryNative(lines)


def _fold_line(packages: Sequence[str], where: str = "") -> str:
    several = f"{len(packages)} frames" if len(packages) > 1 else "1 frame"
    return f"… {several} of {', '.join(dict.fromkeys(packages))}{where}  (--llmtest-frames=all)"


# -- frames


def _folded(entries: Sequence[Entry], folder: Path) -> Iterator[Entry]:
    """Yield the frames of the user's code, and a line for each row of the others."""
    for is_own, group in groupby(entries, key=lambda entry: not _package(entry, folder)):
        frames = list(group)
        if is_own:
            for number, entry in enumerate(frames):
                if isinstance(entry, ReprEntryNative):
                    frames[number] = _native(entry, folder)
                    continue
                entry.lines = _near(entry.lines)
                if entry.reprfuncargs is not None:
                    kept = [(name, value) for name, value in entry.reprfuncargs.args if not name.startswith(_FIXTURES)]
                    entry.reprfuncargs = ReprFuncArgs(kept) if kept else None
            if len(frames) > MAX_FRAMES:
                left = len(frames) - FIRST_FRAMES - LAST_FRAMES
                gap = ReprEntryNative([f"  … {left} more frames  (--llmtest-frames=all)\n"])
                frames[FIRST_FRAMES:-LAST_FRAMES] = [gap]
            yield from frames
            continue
        names = [_package(entry, folder) for entry in frames]
        said = [line for entry in frames for line in entry.lines if line.startswith(_MARK)]  # of an earlier exception of a chain
        place = frames[-1].reprfileloc if isinstance(frames[-1], ReprEntry) and frames[-1] is entries[-1] else None
        where = f", raised at {_short(place.path, folder)}:{place.lineno}" if place is not None else ""
        yield ReprEntryNative([f"  {_fold_line(names, where)}\n"])
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
