"""The house: which module may import what. Imports go down only; the table here is the whole truth.

A new module fails the first test until it has its place in the table.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import llmtest

ROOT = Path(llmtest.__file__).parent
LANGCHAIN = frozenset({"langchain_core", "langgraph", "langsmith", "langchain", "pydantic"})
"""LangChain, and the library that its own classes are made with."""


@dataclass(frozen=True)
class Room:
    """A module's floor, and the outside libraries that it may import: at its top, and later (inside functions)."""

    floor: int
    at_once: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()


HOUSE = {
    # words
    "callbacks": Room(0),
    "content": Room(0),
    "core": Room(0),
    "core.literals": Room(0),
    "core.masks": Room(0),
    "core.sequences": Room(0),
    "core.moved": Room(0),
    "core.source": Room(0),
    "core.text": Room(0),
    "diagnostics": Room(0),
    "errors": Room(0),
    "requests": Room(0),
    "tool_checks": Room(0, later=frozenset({"jsonschema_rs"})),
    "events": Room(0),
    "gates": Room(0),
    "lanes": Room(0),
    "ledger": Room(0),
    "patterns": Room(0),
    "rule": Room(0),
    "rules": Room(0),
    "script": Room(0),
    "scriptfile": Room(0, later=frozenset({"yaml"})),
    "selecting": Room(0),
    "steps": Room(0),
    "verbs": Room(0),
    "vocabulary": Room(0),
    "waits": Room(0),
    "yamlwords": Room(0),
    # thought
    "causality": Room(1),
    "clock": Room(1),
    "deviations": Room(1),
    "exchange": Room(1),
    "explaining": Room(1),
    "grammar": Room(1),
    "improvising": Room(1),
    "inventing": Room(1, later=frozenset({"faker"})),
    "jsonwords": Room(1),
    "lives": Room(1),
    "blocks": Room(1),
    "budget": Room(1),
    "counting": Room(1, later=frozenset({"genai_prices"})),
    "matching": Room(1),
    "online": Room(1),
    "ordering": Room(1),
    "protocol": Room(1),
    "differ": Room(1),
    "pending": Room(1),
    "recording": Room(1),
    "rendering": Room(1),
    "review": Room(1),
    "schemas": Room(1),
    "shapes": Room(1),
    "treetext": Room(1),
    "trees": Room(1),
    "showing": Room(1),
    "store": Room(1),
    "traces": Room(1),
    "tracing": Room(1),
    "wording": Room(1),
    # hands
    "langchain": Room(2),
    "langchain.asking": Room(2, LANGCHAIN),
    "langchain.calling": Room(2, LANGCHAIN),
    "langchain.conformance": Room(2, LANGCHAIN),
    "langchain.conforming": Room(2, LANGCHAIN),
    "langchain.dialects": Room(2, LANGCHAIN),
    "langchain.doubles": Room(2, LANGCHAIN),
    "langchain.driver": Room(2, LANGCHAIN),
    "langchain.faking": Room(2, LANGCHAIN | {"faker"}),
    "langchain.freezing": Room(2, LANGCHAIN),
    "langchain.instep": Room(2, LANGCHAIN),
    "langchain.models": Room(2, LANGCHAIN),
    "langchain.providers": Room(2, LANGCHAIN),
    "langchain.swallowed": Room(2, LANGCHAIN),
    "langchain.scenarios": Room(2, LANGCHAIN | {"tenacity"}),
    "langchain.stopping": Room(2, LANGCHAIN),
    "langchain.subjects": Room(2, LANGCHAIN),
    "langchain.tap": Room(2, LANGCHAIN, later=frozenset({"tenacity"})),
    "langchain.trying": Room(2, LANGCHAIN),
    "langchain.watching": Room(2, LANGCHAIN),
    "keeping": Room(2, frozenset({"pytest"})),
    "snapshots": Room(2, frozenset({"syrupy", "pytest"})),
    # doors
    "__main__": Room(3),
    "cli": Room(3),
    "cli.commands": Room(3),
    "cli.demo": Room(3),
    "cli.snapshots": Room(3),
    "cli.terminal": Room(3),
    "cli.traces": Room(3),
    "cli.version": Room(3),
    "attempt": Room(3, frozenset({"pytest"}), later=frozenset({"langsmith"})),
    "pytest_plugin": Room(3, frozenset({"pytest"}), later=frozenset({"syrupy"})),
    "verifying": Room(3, frozenset({"pytest", "_pytest"})),
}
PATHS = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in ROOT.rglob("*.py")}
MODULES = sorted(PATHS.keys() - {"__init__"})


@dataclass(frozen=True)
class Import:
    """One imported module, and whether it is imported as soon as the importing one is."""

    module: str
    at_once: bool
    line: int


def imports_of(name: str) -> Iterator[Import]:
    """Every import of a module of ours: at its top, in functions, and for type checkers only."""
    yield from _imports(ast.parse(PATHS[name].read_text("utf-8")), True)


def _imports(node: ast.AST, at_once: bool) -> Iterator[Import]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        at_once = False
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, at_once, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"a relative import in line {child.lineno}"
            yield from (Import(_target(child.module or "", alias.name), at_once, child.lineno) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from (found for part in child.body for found in _imports(ast.Module([part], []), False))
            yield from (found for part in child.orelse for found in _imports(ast.Module([part], []), at_once))
        else:
            yield from _imports(child, at_once)


def _target(package: str, name: str) -> str:
    """`from llmtest import ledger` imports `llmtest.ledger`; `from llmtest import record` the bare package."""
    inside = f"{package}.{name}".removeprefix("llmtest.")
    return f"{package}.{name}" if inside in PATHS else package


def own(name: str) -> list[tuple[str, Import]]:
    """The imports of our own modules, by their names in the table; the bare package is called `llmtest`."""
    found = [(found.module, found) for found in imports_of(name) if found.module.partition(".")[0] == "llmtest"]
    return [(module.removeprefix("llmtest."), one) for module, one in found]


def outside(name: str) -> list[tuple[str, Import]]:
    """The imports of libraries that are neither ours nor Python's, by their top names."""
    found = [(found.module.partition(".")[0], found) for found in imports_of(name)]
    return [(library, one) for library, one in found if library != "llmtest" and library not in sys.stdlib_module_names]


def is_hand(name: str) -> bool:
    return HOUSE[name].floor == 2


def test_every_module_has_its_place_in_the_house() -> None:
    assert sorted(HOUSE) == MODULES


@pytest.mark.parametrize("name", sorted(HOUSE))
def test_a_module_imports_its_own_libraries_only(name: str) -> None:
    room = HOUSE[name]

    strangers = [
        f"line {found.line}: {library}"
        for library, found in outside(name)
        if library not in room.at_once and (found.at_once or library not in room.later)
    ]

    assert strangers == []


@pytest.mark.parametrize("name", sorted(HOUSE))
def test_imports_go_down_only(name: str) -> None:
    upwards = [
        f"line {found.line}: {other}"
        for other, found in own(name)
        if other != "llmtest" and HOUSE[other].floor > HOUSE[name].floor
    ]

    assert upwards == []


@pytest.mark.parametrize("name", [name for name in sorted(HOUSE) if is_hand(name)])
def test_a_hand_never_imports_another_hand(name: str) -> None:
    room = name.partition(".")[0]

    others = [
        f"line {found.line}: {other}"
        for other, found in own(name)
        if other != "llmtest" and is_hand(other) and not other.startswith(room)
    ]

    assert others == []


@pytest.mark.parametrize("name", [name for name in sorted(HOUSE) if HOUSE[name].floor == 3])
def test_a_door_imports_our_modules_inside_functions_only(name: str) -> None:
    at_once = [f"line {found.line}: {other}" for other, found in own(name) if found.at_once and not is_of_a_door(other)]

    assert at_once == []


def is_of_a_door(name: str) -> bool:
    """A module that imports as little as the door that it is a part of."""
    return name.partition(".")[0] in ("attempt", "cli")


@pytest.mark.parametrize("name", sorted(HOUSE))
def test_nobody_imports_a_door_or_the_bare_package(name: str) -> None:
    # The version is a fact of the package, and no lazy name.
    text = PATHS[name].read_text("utf-8").splitlines()
    wrong = [
        f"line {found.line}: {other}"
        for other, found in own(name)
        if other in ("llmtest", "cli", "pytest_plugin")
        and name != "__main__"
        and text[found.line - 1].strip() != "from llmtest import __version__"
    ]

    assert wrong == []


def test_modules_import_one_another_in_no_circle() -> None:
    graph = {name: {other for other, found in own(name) if found.at_once and other in HOUSE} for name in HOUSE}

    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, with the circle

    assert sorted(order) == sorted(HOUSE)


STILL_IN_A_CIRCLE = frozenset(("script", "scriptfile", "gates", "steps", "blocks", "recording", "store", "traces", "tracing"))
"""Modules that import one another inside functions, or for type checkers."""


def test_no_other_modules_import_one_another_inside_functions_or_for_type_checkers() -> None:
    free = HOUSE.keys() - STILL_IN_A_CIRCLE
    graph = {name: {other for other, _ in own(name) if other in free} for name in free}

    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, with the circle

    assert sorted(order) == sorted(free)


def test_no_public_name_is_the_name_of_a_module() -> None:
    names = set(llmtest.__all__)

    modules = {name.partition(".")[0] for name in HOUSE}

    assert names & modules == set()


def test_the_reader_of_imports_sees_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "import os.path, yaml\n"
        "from llmtest import ledger, record\n"
        "from llmtest.langchain import tap\n"
        "if TYPE_CHECKING:\n    import syrupy\nelse:\n    import pytest\n"
        "try:\n    import one\nexcept ImportError:\n    from two.three import four\n"
        "class A:\n    import in_class\n    def method(self):\n        import in_method\n"
        "async def later():\n    with a:\n        from llmtest.cli.commands import main\n",
        "utf-8",
    )
    monkeypatch.setitem(PATHS, "source", source)

    found = {(found.module, found.at_once, found.line) for found in imports_of("source")}

    assert found == {
        ("os.path", True, 1),
        ("yaml", True, 1),
        ("llmtest.ledger", True, 2),
        ("llmtest", True, 2),
        ("llmtest.langchain.tap", True, 3),
        ("syrupy", False, 5),
        ("pytest", True, 7),
        ("one", True, 9),
        ("two.three", True, 11),
        ("in_class", True, 13),
        ("in_method", False, 15),
        ("llmtest.cli", False, 18),
    }
