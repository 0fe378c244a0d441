"""One callback handler, watched while one program runs: what it raises, changes, leaves behind, or blocks on.

Each callback of the handler is wrapped in its own colour, and LangChain's managers call the wrapper as they would the
callback. What a callback raises is written down and goes no further, so that one fault does not hide the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import threading
from asyncio import AbstractEventLoop, CancelledError
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, fields, is_dataclass
from itertools import dropwhile
from traceback import walk_stack, walk_tb
from types import CodeType, FrameType
from typing import Any, Final

from llmtest.conformance.faults import Fault
from llmtest.core.source import HARNESS, OURS, code, definition_line, is_of, program_line
from llmtest.core.text import clip, names
from llmtest.events.callbacks import CALLBACKS
from llmtest.langchain.freezing import freeze


def owner(handler: object, name: str) -> type | None:
    """Return the class that overrides a callback; None if it is still LangChain's own, which does nothing."""
    if name in vars(handler):
        return type(handler)
    found = next((c for c in type(handler).__mro__ if name in vars(c)), None)
    return None if found is None or found.__module__ in ("langchain_core.callbacks.base", "langgraph.callbacks") else found


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a program. LangChain calls a handler otherwise in each."""

    name: str
    is_async: bool
    on_a_loop: bool


WAYS: Final = (
    Way("in sync code", is_async=False, on_a_loop=False),
    Way("in async code", is_async=True, on_a_loop=True),
    Way("in sync code that async code called", is_async=False, on_a_loop=True),
)


@dataclass(slots=True)
class _Flight:
    """A call of a callback, until it returns."""

    name: str
    who: str
    code: CodeType | None
    thread_id: int
    coroutine: Any = None

    def fault(self, rule: str, subject: str, text: str, *evidence: tuple[str, str], at: str = "", hint: str = "") -> Fault:
        where = at or definition_line(self.code)
        return Fault(rule, f"{self.who} {subject}", f"`{self.who}` {text}", where, evidence, hint, self.name)


class Watch:
    """A handler in one program, and what is wrong with it.

    Holds state that threads share: `faults` and `loops` only grow, and each call takes its own flight out of `flights`.
    """

    def __init__(self, handler: Any, way: Way) -> None:
        self.handler = handler
        self.way = way
        self.faults: list[Fault] = []
        self.flights: list[_Flight] = []
        self.loops: list[AbstractEventLoop] = []
        for name in CALLBACKS:
            # LangChain's own stay as they are: on_chat_model_start must go on raising NotImplementedError.
            if owner(handler, name):
                original = getattr(handler, name)
                wrap = self._coroutine if inspect.iscoroutinefunction(original) else self._plain
                object.__setattr__(handler, name, wrap(name, original))  # past a frozen dataclass or a pydantic model

    def _plain(self, name: str, original: Any) -> Callable[..., object]:
        def watched(*args: object, **kwargs: object) -> object:
            with self._calling(name, original, args, kwargs) as flight:
                result = original(*args, **kwargs)
                if self._runs(flight, result):
                    return self._follow(name, original, args, kwargs, lambda: result)
            return None

        return watched

    def _coroutine(self, name: str, original: Any) -> Callable[..., object]:
        async def watched(*args: object, **kwargs: object) -> Any:
            await self._follow(name, original, args, kwargs, lambda: original(*args, **kwargs))

        return watched

    async def _follow(
        self,
        name: str,
        original: object,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        begin: Callable[[], Awaitable[object]],
    ) -> None:
        self.loops.append(asyncio.get_running_loop())
        with self._calling(name, original, args, kwargs) as flight:
            flight.coroutine = begin()
            await flight.coroutine

    @contextlib.contextmanager
    def _calling(self, name: str, original: object, args: tuple[object, ...], kwargs: dict[str, object]) -> Iterator[_Flight]:
        flight = _Flight(name, f"{type(self.handler).__name__}.{name}", code(original), threading.get_ident())
        given = {**dict(zip(CALLBACKS[name].positional, args, strict=False)), **kwargs}
        # Frozen before and after: handlers get the program's own objects, and a change of one is seen by all that come later.
        before, variables = freeze(given), dict(copy_context())
        self.flights.append(flight)
        try:
            yield flight
        except (CancelledError, GeneratorExit):  # how a coroutine is stopped from outside: no fault of the handler
            raise
        except BaseException as error:
            if isinstance(error, NotImplementedError) and name == "on_chat_model_start":
                raise  # LangChain calls on_llm_start instead
            self.faults.append(self._raised(flight, error, args, kwargs))
        finally:
            self.flights.remove(flight)
        self.faults += [*_changed(flight, before, freeze(given)), *self._lost(flight, variables)]

    def _runs(self, flight: _Flight, result: object) -> bool:
        """True if what a plain function returned is a coroutine that LangChain will run. It runs no generator."""
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            hint = "LangChain does not iterate over what a callback returns: put the values into a list or a queue"
            text = "never runs: it has a `yield`, so that calling it only makes a generator"
            self.faults.append(flight.fault("never runs", "yields", text, hint=hint))
        elif asyncio.iscoroutine(result) and self.way.is_async:
            result.close()  # or Python warns that it was never awaited
            hint = "declare it with `async def`; if it is, look at its decorators"
            text = "never runs: it is no coroutine function, so that nobody awaits the coroutine which it returns"
            self.faults.append(flight.fault("never runs", "returns", text, hint=hint))
        else:
            return asyncio.iscoroutine(result)
        return False

    def _raised(self, flight: _Flight, error: BaseException, args: tuple[object, ...], kwargs: dict[str, object]) -> Fault:
        does = ("LangChain", self._does(error, flight))
        kind = type(error).__name__
        frames = _frames(error)
        if isinstance(error, TypeError) and not frames:  # raised by the call itself, before its first line
            names = CALLBACKS[flight.name].positional
            called = ("called", f"{flight.name}({', '.join([*names[: len(args)], *(f'{key}=' for key in kwargs)])})")
            hint = f"declare it `def {flight.name}(self, {', '.join(names)}, **kwargs)`: LangChain passes some of it by keyword"
            text = f"cannot be called: {str(error).rpartition('() ')[2]}"
            return flight.fault("wrong signature", kind, text, called, does, hint=hint)
        said = f": {clip(str(error), 200)}" if str(error) else ""
        return flight.fault("handler raises", kind, f"raises {kind}{said}", does, at=_at(frames, flight.code))

    def _does(self, error: BaseException, flight: _Flight) -> str:
        """Return the words for LangChain's reaction to an error of a callback."""
        if not isinstance(error, Exception):
            return "does not catch it: it ends the program's run"
        on = "logs a warning and goes on: the program does not notice"
        if not self.handler.raise_error:
            return on
        if isinstance(error, NotImplementedError):
            return f"{on}, although `raise_error` is true: it is a NotImplementedError"
        if flight.coroutine is not None and not self.way.is_async:
            return f"{on}, although `raise_error` is true: it comes from a coroutine, in sync code"
        return "raises it in the program: `raise_error` is true"

    def _lost(self, flight: _Flight, before: Mapping[Any, object]) -> Iterator[Fault]:
        """Async code runs a callback that is not inline in a copy of its context."""
        if not self.way.is_async or self.handler.run_inline:
            return  # it runs in the program's own context there
        how = ("LangChain", "runs it in a task or a thread, with a copy of the program's context")
        for variable, value in copy_context().items():
            if variable not in before or before[variable] is not value:
                text = f"sets the context variable {variable.name!r}, and nobody sees it"
                hint = "keep it in the handler, under the `run_id`"
                yield flight.fault("loses a context variable", variable.name, text, how, hint=hint)

    # -- when a program does not end

    def broke(self, error: BaseException) -> None:
        """Note that the program failed, which it does not with a handler that does nothing."""
        name = type(self.handler).__name__
        text = f"a program fails with `{name}`, and not without it: {type(error).__name__}: {clip(str(error), 200)}"
        self.faults.append(Fault("breaks the program", type(error).__name__, text, _at(_frames(error), None)))

    def blocked(self, timeout_s: float) -> None:
        """Note why the program has not ended in time."""
        late = f"after {timeout_s:g} s; nothing more was tried"
        flying = list(self.flights)
        self.faults.append(self._stuck(flying[0], late) if flying else self._left(late))

    def _stuck(self, flight: _Flight, late: str) -> Fault:
        return flight.fault(
            "blocks", "blocks", f"blocks: it has not returned {late}", at=_stands_at(flight), hint=self._why(flight)
        )

    def _left(self, late: str) -> Fault:
        tasks = [task.get_coro() for loop in self.loops for task in asyncio.all_tasks(loop)]
        frames = [getattr(task, "cr_frame", None) for task in tasks]
        codes = [frame.f_code for frame in frames if frame is not None and not is_of(frame, HARNESS)]
        left = ("left", names((code.co_qualname for code in codes), "nothing that is not asyncio's or LangChain's"))
        text = f"`{type(self.handler).__name__}` keeps a program from ending: it has not ended {late}"
        hint = "in sync code LangChain runs a coroutine on a loop of its own, and waits for every task that it leaves there"
        return Fault("blocks", "keeps", text, definition_line(codes[0]) if codes else "", (left,), hint)

    def _why(self, flight: _Flight) -> str:
        if flight.coroutine is not None and not self.way.is_async:
            return "in sync code LangChain runs a coroutine on a new event loop: it cannot wait for what lives on another"
        if self.way.on_a_loop and (self.handler.run_inline or not self.way.is_async):
            return "it runs on the event loop, where nothing else happens until it returns"
        return "a callback must return: give what takes long to a thread or a task of your own"

    def let_go(self) -> None:
        """Cancel what waits on an event loop, so that its threads can end."""
        for loop in self.loops:
            with contextlib.suppress(RuntimeError):  # it has been closed meanwhile
                for task in asyncio.all_tasks(loop):
                    loop.call_soon_threadsafe(task.cancel)


def _changed(flight: _Flight, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Fault]:
    for name in before:
        if before[name] != after[name]:
            where, was, now = _difference(name, before[name], after[name])
            evidence = ("before", clip(repr(was), 100)), ("after", clip(repr(now), 100))
            hint = "the program and every other handler have the same object: copy it before you change it"
            yield flight.fault("changes what it was given", name, f"changes `{where}`, which it was given", *evidence, hint=hint)


def _difference(where: str, before: object, after: object) -> tuple[str, object, object]:
    """Return the innermost part in which two frozen words differ: where it is, what it was, what it is."""
    for part in _parts(before) if type(before) is type(after) and _parts(before).keys() == _parts(after).keys() else ():
        was, now = _parts(before)[part], _parts(after)[part]
        if was != now:
            return _difference(f"{where}{part}", was, now)
    return where, before, after


def _parts(word: object) -> Mapping[str, object]:
    """Return the parts of a frozen word by how they are written."""
    if isinstance(word, Mapping):
        return {f"[{key!r}]": value for key, value in word.items()}
    if isinstance(word, tuple | list):
        return {f"[{number}]": value for number, value in enumerate(word)}
    return {f".{f.name}": getattr(word, f.name) for f in fields(word)} if is_dataclass(word) else {}


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """Return the frames of `error` from the outside in, from the first that is not ours."""
    return list(dropwhile(lambda passed: is_of(passed[0], OURS), walk_tb(error.__traceback__)))


def _at(frames: list[tuple[FrameType, int]], code: CodeType | None) -> str:
    """Return the innermost line in the file of `code`, or of all."""
    own = [passed for passed in frames if code is not None and passed[0].f_code.co_filename == code.co_filename]
    return program_line((own or frames)[-1:], ())


def _stands_at(flight: _Flight) -> str:
    """Return the line of the callback in which it stands."""
    frame = sys._current_frames().get(flight.thread_id) if flight.coroutine is None else flight.coroutine.cr_frame
    own = (passed for passed in walk_stack(frame) if passed[0].f_code is flight.code) if frame is not None else ()
    return program_line(own, ()) or definition_line(flight.code)
