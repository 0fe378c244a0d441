"""Errors of callback handlers, which LangChain logs and swallows: an `assert` in a handler fails no test.

LangChain's callback manager catches the error of a handler, logs one warning without its traceback and goes on. It lets the
error out only if the handler has `raise_error = True`; a NotImplementedError, and any error of an async handler under a
synchronous call, not even then. `watch_handlers` listens at that one logger, inside the `except`, where the error is known.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import dropwhile
from traceback import StackSummary, walk_tb
from types import ModuleType
from typing import Any, Final

from langchain_core.callbacks import manager

from llmtest import ledger
from llmtest.core.source import is_of, shown_path
from llmtest.errors import SWALLOWED, Violation

MAX_LINES: Final = 12
"""How many frames of a handler are shown."""


@contextmanager
def watch_handlers() -> Iterator[None]:
    """Write a violation to the ledger for every error of a handler that LangChain swallows in the block, on any thread.

    The log is as without it. Blocks may be nested: an error is written once.
    """
    if isinstance(vars(manager)["logger"], _Listener):
        yield
        return
    listener = _Listener(manager.logger)
    # In place of the logger and not as a handler of it: logging may be disabled, filtered or captured by the program.
    vars(manager)["logger"], own = listener, type(manager)
    # A module has no properties, but its class may: programs and `mock.patch` go on finding a plain logger there.
    manager.__class__ = _WatchedManager
    try:
        yield
    finally:
        manager.__class__ = own
        vars(manager)["logger"] = listener.logger


class _WatchedManager(ModuleType):
    """LangChain's module while it is watched: its functions find the listener, and a program finds and replaces the logger."""

    @property
    def logger(self) -> object:
        return vars(self)["logger"].logger

    @logger.setter
    def logger(self, replacement: object) -> None:
        listener: _Listener = vars(self)["logger"]
        # `mock.patch` puts back what it has found among the names of the module, which is the listener.
        listener.logger = listener.original if replacement is listener else replacement


class _Listener:
    """Stands for the logger in the functions of LangChain's module; also for one that a program has put in its place."""

    def __init__(self, logger: Any) -> None:
        self.logger = self.original = logger

    def __getattr__(self, name: str) -> object:
        return getattr(self.logger, name)

    def warning(self, message: object, *args: object, **kwargs: Any) -> None:
        frame = sys._getframe(1)
        error = sys.exception()
        # LangChain passes the error as text only. The caller is asked for the rest: the warning is logged inside its `except`,
        # and the module warns of other things too.
        if error is not None and frame.f_code.co_name in _REPORTERS:
            handler, event = frame.f_locals.get("handler"), frame.f_locals.get("event_name", "")
            if handler is None or isinstance(error, NotImplementedError) or not handler.raise_error:
                ledger.report(Violation(SWALLOWED, _text(error, handler, event)), [])
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # so that the record names LangChain's line, as without us
        self.logger.warning(message, *args, **kwargs)


_REPORTERS: Final = ("handle_event", "_ahandle_event_for_handler", "_run_coros")
"""The functions of LangChain's manager that report a handler's error. The last one does not know the handler."""


def _text(error: BaseException, handler: object, event: str) -> str:
    # The frames from the handler on; none if LangChain could not even call it.
    frames = list(dropwhile(lambda passed: is_of(passed[0], _MACHINERY), walk_tb(error.__traceback__)))
    name = f"`{type(handler).__name__}.{event}`" if handler is not None else "of an async method"
    # `_run_coros` gets coroutines only. That the frames show the handler is all that is known of it.
    if handler is None and frames:  # LangChain ran an async method in a loop of its own
        name = f"`{frames[0][0].f_code.co_qualname}`"
    said = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    own = StackSummary.extract(iter(frames))
    shown = [f"{shown_path(f'{frame.filename}:{frame.lineno}')} in {frame.name}: {frame.line}" for frame in own]
    if not shown and handler is not None:
        shown = [f"it takes {_signature(getattr(handler, event))}; LangChain passes other arguments"]
    out = "no caller sees it" if handler is None or isinstance(error, NotImplementedError) else "`raise_error = True` lets it out"
    lines = [
        f"the callback handler {name} raised {said}",
        *(f"  {line}" for line in (shown if len(shown) <= MAX_LINES else ["...", *shown[-MAX_LINES:]])),
        f"  LangChain logs it and goes on; {out}",
    ]
    return "\n".join(lines)


def _signature(method: Callable[..., object]) -> str:
    # Without annotations, which may be long: only the names decide whether the call fits.
    signature = inspect.signature(method)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


_MACHINERY: Final = frozenset((manager.__name__, "asyncio", "concurrent"))
