from __future__ import annotations

import functools
import gc
from types import SimpleNamespace
from typing import Any

from langchain_core.runnables import RunnableLambda

from llmtest.langchain.used_objects import (
    Remembered,
    cells_of,
    functions_of,
    is_graph,
    middleware_in,
    package_of,
    place_of,
    used_by,
)

FOUND = RunnableLambda(str)
DEPS = SimpleNamespace(found=RunnableLambda(str))


class Slotted:
    __slots__ = ()


class Plain:
    pass


def test_what_was_read_of_an_object_is_remembered_while_it_lives() -> None:
    remembered, reads = Remembered(), []

    def read() -> int:
        reads.append(1)
        return len(reads)

    one, slotted = Plain(), Slotted()
    assert [remembered(one, (), read), remembered(one, (), read), remembered(one, ("other",), read)] == [1, 1, 2]
    assert [remembered(slotted, (), read), remembered(slotted, (), read)] == [3, 3]
    address = id(one)
    del one
    gc.collect()
    again = next((item for item in (Plain() for _ in range(100)) if id(item) == address), Plain())
    assert remembered(again, (), read) == 4


def test_memory_of_many_objects_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr("llmtest.langchain.used_objects._MAX_READ", 2)
    remembered, reads = Remembered(), []
    items = [Plain(), Plain(), Plain()]

    for item in [*items, items[0]]:
        remembered(item, (), lambda: reads.append(1))

    assert len(reads) == 4


def test_a_function_uses_its_globals_its_closure_and_the_fields_of_its_object() -> None:
    inner = RunnableLambda(len)

    def uses_both(value: Any) -> Any:
        return FOUND.invoke(inner.invoke(value))

    class Holder:
        def __init__(self) -> None:
            self.parts = {"a": inner}
            self.more = [FOUND]

        def method(self, value: Any) -> Any:
            return value

    assert {id(found) for found in used_by(uses_both)} == {id(FOUND), id(inner)}
    assert {id(found) for found in used_by(Holder().method)} == {id(FOUND), id(inner)}
    assert used_by(len) == []
    assert used_by(eval("lambda value: value")) == []


async def asks_for_all(value: Any) -> Any:
    holder = [str((await FOUND.ainvoke(value)).upper()) for _ in range(2)]
    return (lambda: DEPS.found.invoke(str(holder).strip()))()


def test_names_in_awaits_attributes_and_inner_functions_are_used() -> None:
    assert {id(found) for found in used_by(asks_for_all)} == {id(FOUND), id(DEPS.found)}


def test_a_method_is_of_its_object_and_no_property_is_computed() -> None:
    class Service:
        kept = FOUND

        @property
        def broken(self) -> Any:
            raise AssertionError("computed")

        def answer(self, value: Any) -> Any:
            return self.kept.invoke(value)

    service = Service()

    def node(value: Any) -> Any:
        return service.broken or service.answer(value)

    assert used_by(node) == [service.answer]


def test_the_function_behind_a_callable() -> None:
    class Callable:
        def __call__(self, value: Any) -> Any:
            return value

    called = Callable()
    function = functools.partial(functools.partial(place_of), None)

    assert functions_of(function) == [place_of]
    assert functions_of(RunnableLambda(called))[0].__self__ is called  # type: ignore[attr-defined]
    assert functions_of("text") == []


def test_places_are_of_the_program_only() -> None:
    assert place_of(used_by).startswith("llmtest/langchain/used_objects.py:")
    assert (place_of(RunnableLambda.invoke), place_of(len), place_of(eval("lambda: 1"))) == ("", "", "")
    assert (package_of(used_by), package_of(None)) == ("llmtest", "")


def test_cells_of_functions_within_functions_are_found_once() -> None:
    def outer() -> Any:
        text = "found"

        def inner() -> Any:
            return text, recursive

        def recursive() -> Any:
            return inner

        return recursive

    assert [name for name, _ in cells_of(outer())] == ["inner", "recursive", "text"]
    assert list(cells_of(len)) == []


def test_a_variable_that_has_no_value_yet_is_passed_over() -> None:
    def early() -> Any:
        def inner() -> Any:
            return later

        found = list(cells_of(inner)), list(middleware_in(inner))
        later = 1
        return found, later

    assert early() == (([], []), 1)


def test_no_ordinary_object_is_a_graph() -> None:
    assert [is_graph(item) for item in (FOUND, "text", None, Plain)] == [False, False, False, False]
