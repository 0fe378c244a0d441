"""Whether a test could notice a wrong answer. One that asserts nothing passes whatever its program does with a fault."""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

_WORDS: Final = re.compile(r"^(?:.*_)?(?:assert|check|verify|expect|fail|raises)(?![a-z])|^should$")
"""The names of functions that may raise what a test notices; not those such as `checkpoint`, `failed` and `should_continue`."""
_NOTHING: Final[Mapping[str, object]] = {}
_ASSERTIONS: Final = ("AssertionError", "LOAD_ASSERTION_ERROR")
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"})
_GLOBALS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_LIBRARIES: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def can_notice(program: Callable[..., Any]) -> bool:
    """Return whether `program` asserts or raises anything, or names a function of the user's that asserts; True if unknown.

    The arguments of a `functools.partial`, such as the values of fixtures, count as named. What another function raises belongs
    to the program, unless it is a failed assertion.

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
    waiting, known = [_Named(_function_of(program), _owner_of(program))], set[int]()
    given, is_test = _given_to(program), True
    while waiting:
        function, owner = waiting.pop()
        if not isinstance(function, FunctionType):
            return True
        if id(function) in known:
            continue
        known.add(id(function))
        for code in _codes(function.__code__):
            found, unknown = _named(function, owner, code, given if is_test else _NOTHING)
            if any(map(_WORDS.match, unknown)) or _asserts(code, any_error=is_test):
                return True
            waiting += found
        is_test = False
    return False


def _given_to(program: Any) -> Mapping[str, object]:
    if not isinstance(program, functools.partial):
        return _NOTHING
    function = _function_of(program)
    names = function.__code__.co_varnames if isinstance(function, FunctionType) else ()
    return {**dict(zip(names, program.args, strict=False)), **program.keywords}


class _Named(NamedTuple):
    """A function, and the class or the module in which it was found."""

    function: Any
    owner: object = None


def _owner_of(program: Any) -> object:
    while isinstance(program, functools.partial):
        program = program.func
    if isinstance(program, MethodType):
        return program.__self__ if isinstance(program.__self__, type) else type(program.__self__)
    return None if isinstance(program, FunctionType | type) else type(program)


def _function_of(program: Any) -> Any:
    while isinstance(program, functools.partial):
        program = program.func
    if isinstance(program, staticmethod | classmethod | MethodType):
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


def _asserts(code: CodeType, *, any_error: bool) -> bool:
    """True if a code asserts; with `any_error`, if it raises at all."""
    return any(
        each.opname in _ASSERTIONS or each.argval in _ASSERTIONS or (any_error and each.opname == "RAISE_VARARGS")
        for each in dis.get_instructions(code)
    )


def _named(function: FunctionType, owner: object, code: CodeType, given: Mapping[str, object]) -> tuple[list[_Named], set[str]]:
    """Return the functions of the user's that a code names, as variables and as attributes of their modules and classes, and the
    names of which it is not known what they are."""
    attributes = {each.argval for each in dis.get_instructions(code) if each.opname in _ATTRIBUTES}
    variables = {each.argval for each in dis.get_instructions(code) if each.opname in _GLOBALS}
    variables |= {*code.co_freevars, *given.keys() & code.co_varnames}
    values = {name: value for name in variables if (value := _value_of(function, name, given)) is not None}
    owners: list[Any] = [value if isinstance(value, type | ModuleType) else type(value) for value in values.values()]
    owners += [] if owner is None else [owner]
    found: dict[tuple[str, object], FunctionType | None] = {(name, None): _users(value) for name, value in values.items()}
    for each, name in itertools.product(owners, attributes):
        found[name, each] = _users(inspect.getattr_static(each, name, None))
    known = {key: function for key, function in found.items() if function is not None}
    unknown = {name for name in variables if (name, None) not in known}
    unknown |= attributes - {name for name, each in known if each is not None}
    return [_Named(function, each) for (_, each), function in known.items()], unknown


def _users(value: Any) -> FunctionType | None:
    """Return the function of the user's that a value is, or that its call is; None for any other."""
    found = _function_of(value)
    return found if isinstance(found, FunctionType) and _is_users(found) else None


def _value_of(function: FunctionType, name: str, given: Mapping[str, object]) -> Any:
    """Return what a name in the code of a function means; None for an attribute, and for a variable that has no value yet."""
    if name in given:
        return given[name]
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
