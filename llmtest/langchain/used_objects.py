"""What functions of a program use: their closures, their globals, the fields of their objects. They are read and never called."""

from __future__ import annotations

import dis
import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

from langchain_core.runnables import Runnable

from llmtest.core.source import code, definition_line, is_installed, shown_path

WRAPS: Final = {
    "wrap_model_call": "wrap_model_call",
    "awrap_model_call": "wrap_model_call",
    "wrap_tool_call": "wrap_tool_call",
    "awrap_tool_call": "wrap_tool_call",
}


class Remembered:
    """What was read of objects, each once while it lives. Not for several threads at once."""

    def __init__(self) -> None:
        self._read: dict[tuple[object, ...], tuple[Callable[[], object], Any]] = {}

    def __call__(self, item: object, key: tuple[object, ...], read: Callable[[], Any]) -> Any:
        """Return what `read` gave for this object before, under this key."""
        known = self._read.get((id(item), *key))
        if known is None or known[0]() is not item:  # Python gives the id of a dead object to the next one
            if len(self._read) >= _MAX_READ:
                self._read.clear()
            known = self._read[(id(item), *key)] = (_reference(item), read())
        return known[1]


def _reference(item: object) -> Callable[[], object]:
    try:
        return weakref.ref(item)
    except TypeError:  # a class with slots
        return lambda: item


_MAX_READ: Final = 4096
"""More is read again. A suite may make an agent for each test."""


def is_graph(item: object) -> bool:
    """True for a compiled graph of LangGraph, or an entry point of its functional API."""
    return _is_graph_class(type(item))  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def _is_graph_class(kind: type) -> bool:
    return any(base.__module__ == "langgraph.pregel.main" and base.__name__ == "Pregel" for base in kind.__mro__)


def functions_of(item: Any) -> list[Callable[..., object]]:
    """Return the functions of the program that a runnable calls."""
    if isinstance(item, Runnable) and not is_graph(item):
        found = [vars(item).get(name) for name in ("func", "afunc")]
        return [_bare(function) for function in found if callable(function)]
    return [_bare(item)] if isinstance(item, FunctionType | MethodType | functools.partial) else []


def _bare(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    call = inspect.getattr_static(type(function), "__call__", None)
    is_object = not isinstance(function, FunctionType | MethodType)
    return MethodType(call, function) if is_object and isinstance(call, FunctionType) else function


def used_by(function: Any) -> list[object]:
    """Return what a function takes from its closure and its globals, and of a method the fields of its object."""
    own = list(vars(function.__self__).values()) if _has_fields(function) else []
    plain = function.__func__ if isinstance(function, MethodType) else function
    found = list(_named_in(plain.__code__, plain.__globals__, _cells(plain))) if isinstance(plain, FunctionType) else []
    parts = [part for value in (*own, *found) for part in (value if isinstance(value, list | tuple) else [value])]
    parts += [part for value in (*own, *found) if isinstance(value, dict) for part in value.values()]
    parts = [
        getattr(part, "__self__", part) if isinstance(part, MethodType) and isinstance(part.__self__, Runnable) else part
        for part in parts
    ]
    return [
        part for part in parts if isinstance(part, Runnable | FunctionType | MethodType) or type(part).__name__ == "_TaskFunction"
    ]


def _named_in(code: CodeType, known: Mapping[str, object], cells: Mapping[str, object]) -> Iterator[object]:
    """Yield what the code of a function names: `deps`, and for `deps.model` also that.

    It is read from the instructions, which are there without a source, and in which no name is hidden by what is around it. No
    attribute is computed.
    """
    value: object = None
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CLASSDEREF"):
            value = (known if step.opname == "LOAD_GLOBAL" else cells).get(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and value is not None:
            value = _attribute(value, step.argval)
        elif step.opname not in ("CACHE", "PUSH_NULL", "PRECALL"):
            value = None
        if value is not None:
            yield value
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _named_in(inner, known, cells)


def _attribute(item: object, name: str) -> object:
    """Return an attribute as it is kept; a method is bound to its object."""
    found: object = inspect.getattr_static(item, name, None)
    is_method = isinstance(found, FunctionType) and found is inspect.getattr_static(type(item), name, None)
    return MethodType(found, item) if is_method and callable(found) else found


def _cells(function: FunctionType) -> dict[str, object]:
    """Return the variables in the closure of a function, as far as they are assigned."""
    found: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _has_fields(function: object) -> bool:
    return isinstance(function, MethodType) and hasattr(function.__self__, "__dict__") and not isinstance(function.__self__, type)


def package_of(function: Any) -> str:
    return (getattr(function, "__module__", None) or "").partition(".")[0]


def place_of(function: Any) -> str:
    """Return where a function of the program is defined; empty for one of an installed package."""
    where = definition_line(code(function))
    return "" if not where or where.startswith("<") or is_installed(where) else shown_path(where)


def cells_of(function: Any, seen: set[int] | None = None) -> Iterator[tuple[str, object]]:
    """Yield the variables in the closure of a function, and in those of the functions there."""
    seen = set() if seen is None else seen
    plain = getattr(function, "__func__", function)
    if id(plain) in seen or not isinstance(plain, FunctionType):
        return
    seen.add(id(plain))
    for name, value in _cells(plain).items():
        yield name, value
        yield from cells_of(value, seen)


def is_middleware(item: object) -> bool:
    return any(kind.__name__ == "AgentMiddleware" for kind in type(item).__mro__)


def middleware_in(function: Any, seen: set[int] | None = None) -> Iterator[tuple[object, str]]:
    """Yield the middleware whose hooks a function is composed of, and the name of each hook."""
    seen = set() if seen is None else seen
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, MethodType):
        if is_middleware(function.__self__) and function.__name__ in WRAPS:
            yield function.__self__, function.__name__
        return
    if isinstance(function, list | tuple):
        for part in function:
            yield from middleware_in(part, seen)
        return
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        yield from middleware_in(wrapped, seen)
    if isinstance(function, FunctionType):
        for part in _cells(function).values():
            yield from middleware_in(part, seen)
