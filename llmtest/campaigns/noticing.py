"""Whether a test could notice a wrong answer. One that asserts nothing passes whatever its program does with a fault."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

_WORDS: Final = ("assert", "check", "verify", "expect", "fail", "raises", "should")
"""Parts of the names of functions that may raise what a test notices."""
_RAISES: Final = frozenset({"RAISE_VARARGS", "LOAD_ASSERTION_ERROR"})
_LIBRARIES: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def can_notice(program: Callable[..., Any]) -> bool:
    """Return whether `program`, or a function of the user's that it names, asserts or raises anything; True if unknown.

    >>> def swallows():
    ...     try:
    ...         int("x")
    ...     except ValueError:
    ...         pass
    >>> can_notice(swallows)
    False
    >>> can_notice(lambda: check(swallows))
    True
    """
    waiting, known = [_function_of(program)], set[int]()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType):
            return True
        if id(function) in known:
            continue
        known.add(id(function))
        for code in _codes(function.__code__):
            if _may_raise(code):
                return True
            named = map(functools.partial(_named, function), (*code.co_names, *code.co_freevars))
            waiting += [found for found in map(_function_of, named) if isinstance(found, FunctionType) and _is_users(found)]
    return False


def _function_of(program: Any) -> Any:
    while isinstance(program, functools.partial):
        program = program.func
    if isinstance(program, MethodType):
        program = program.__func__
    if inspect.isclass(program) or isinstance(program, FunctionType):
        return inspect.unwrap(program)
    called = vars(type(program)).get("__call__")
    return called if isinstance(called, FunctionType) else program


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _may_raise(code: CodeType) -> bool:
    if any(word in name.lower() for name in code.co_names for word in _WORDS):
        return True
    return any(each.opname in _RAISES or each.argval == "AssertionError" for each in dis.get_instructions(code))


def _named(function: FunctionType, name: str) -> Any:
    """Return what a name in the code of a function means; None for an attribute, and for a variable that has no value yet."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    try:
        return cells[name].cell_contents if name in cells else function.__globals__.get(name)
    except ValueError:
        return None


def _is_users(function: FunctionType) -> bool:
    package = function.__module__.partition(".")[0]
    return package not in sys.stdlib_module_names and package != "llmtest" and not _is_of_library(function)


def _is_of_library(function: FunctionType) -> bool:
    return function.__code__.co_filename.startswith(_LIBRARIES)
