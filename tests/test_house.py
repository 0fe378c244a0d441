"""The house: which package may import which. Every import counts: at the top, inside a function, and for type checkers only.

A new package fails the first test until it has its place in `PACKAGES`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import llmtest

ROOT = Path(llmtest.__file__).parent
TESTS = Path(__file__).parent
LANGCHAIN = frozenset({"langchain_core", "langgraph", "langsmith", "langchain", "pydantic", "tenacity"})
"""LangChain, and the libraries that its own classes are made with."""

PACKAGES: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "concurrency": frozenset(),
    "core": frozenset(),
    "ledger": frozenset(),
    "events": frozenset(),
    "scripts": frozenset(),
    "capture": frozenset(),
    "order": frozenset(),
    "auto": frozenset(),
    "tokens": frozenset(),
    "wire": frozenset({"h11"}),
    "cassettes": frozenset(),
    "trees": frozenset(),
    "matching": frozenset(),
    "recording": frozenset(),
    "protocol": frozenset(),
    "tracing": frozenset(),
    "campaigns": frozenset(),
    "evals": frozenset(),
    "reports": frozenset(),
    "viewer": frozenset(),
    "coverage": frozenset(),
    "langchain": LANGCHAIN,
    "conformance": LANGCHAIN,
    "otel": frozenset(),
    "pytest_plugin": frozenset({"pytest", "_pytest", "syrupy"}),
    "cli": frozenset(),
}
"""Each package, and the outside libraries that it may import anywhere. A package imports only what stands above it."""

LATER = {
    "auto.values": {"faker"},
    "campaigns.interleaving": {"detangle"},
    "cassettes.foreign": {"brotli", "zstandard"},
    "core.progress": {"rich"},
    "otel.collecting": {"opentelemetry"},
    "otel.http_exporter": {"google", "opentelemetry", "requests"},
    "otel.otlp": {"opentelemetry"},
    "core.safe_yaml": {"yaml"},
    "pytest_plugin.attempt": {"langsmith"},
    "pytest_plugin.elsewhere": {"time_machine"},
    "scripts.yaml_nodes": {"yaml"},
    "scripts.tool_checks": {"jsonschema_rs"},
    "tokens.prices": {"genai_prices"},
    "tracing.scan": {"yaml"},
}
"""The libraries of one module, which it imports only when it needs them."""

PLUGINS = {"langchain.faking": {"faker"}}
"""Modules that only a library itself asks for, and the library."""

OLD_PATHS = frozenset({"differ", "langchain.conformance", "rendering", "steps", "treetext", "vocabulary"})
"""Modules of earlier versions, which say where their names are now."""
TESTED_TOGETHER = {
    f"langchain.dialects.{name}": "test_dialects.py compares all dialects at once with the real integrations"
    for name in ("anthropic", "base", "errors", "names", "openai", "openai_responses")
}
"""Modules without a file of tests of their own, and why."""
DOORS = {
    f"pytest_plugin.{name}"
    for name in ("arguments", "fixtures", "hooks", "late", "markers", "options", "results", "summary", "verify")
}
"""What is loaded in every session: it imports the rest of ours inside functions only."""

PATHS = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in ROOT.rglob("*.py")}
MODULES = sorted(PATHS.keys() - {"__init__"})


@dataclass(frozen=True)
class Import:
    """One imported name, its module, and whether it is imported as soon as the importing module is."""

    module: str
    name: str
    at_once: bool
    line: int


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Every import of a module of ours: at its top, in functions, and for type checkers only."""
    return tuple(_imports(ast.parse(PATHS[module].read_text("utf-8")), True))


def _imports(node: ast.AST, at_once: bool) -> Iterator[Import]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        at_once = False
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, "", at_once, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"a relative import in line {child.lineno}"
            for alias in child.names:
                yield Import(_target(child.module or "", alias.name), alias.name, at_once, child.lineno)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from (found for part in child.body for found in _imports(ast.Module([part], []), False))
            yield from (found for part in child.orelse for found in _imports(ast.Module([part], []), at_once))
        else:
            yield from _imports(child, at_once)


def _target(package: str, name: str) -> str:
    """`from llmtest import ledger` imports `llmtest.ledger`; `from llmtest import record` the bare package."""
    inside = f"{package}.{name}".removeprefix("llmtest.")
    return f"{package}.{name}" if inside in PATHS else package


def own(module: str) -> list[tuple[str, Import]]:
    """The imports of our own modules, by their path below `llmtest`; the bare package is called `llmtest`."""
    return [
        (found.module.removeprefix("llmtest."), found)
        for found in imports_of(module)
        if found.module.partition(".")[0] == "llmtest"
    ]


def package_of(module: str) -> str:
    return module.partition(".")[0]


def place(module: str) -> int:
    """The number of a module's package from the top of the list; what only forwards, and the roof, come last."""
    package = package_of(module)
    return len(PACKAGES) if module in OLD_PATHS or package == "__main__" else list(PACKAGES).index(package)


def test_every_module_lies_in_a_package_of_the_list() -> None:
    homeless = [name for name in MODULES if package_of(name) not in PACKAGES and name not in OLD_PATHS | {"__main__"}]

    assert homeless == []
    assert len(PACKAGES) <= 27
    assert all((ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file() for name in PACKAGES)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in PACKAGES.keys() - {"errors", "ledger"}])
def test_the_tests_of_a_module_have_its_name(name: str) -> None:
    package, _, module = name.rpartition(".")
    if name in OLD_PATHS or module == "__main__" or PATHS[name].name == "__init__.py":
        return  # it only forwards

    has_tests = (TESTS / package.replace(".", "/") / f"test_{module}.py").is_file()

    assert has_tests != (name in TESTED_TOGETHER)


def test_the_map_of_the_design_page_lists_the_packages_in_this_order() -> None:
    page = (TESTS.parent / "docs" / "design.md").read_text("utf-8")

    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(PACKAGES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_the_libraries_of_its_package_only(name: str) -> None:
    allowed = {"llmtest", *sys.stdlib_module_names, *PACKAGES.get(package_of(name), ()), *PLUGINS.get(name, ())}
    later = LATER.get(name, set())
    libraries = [(found.module.partition(".")[0], found) for found in imports_of(name)]

    strangers = [
        f"line {found.line}: {library}"
        for library, found in libraries
        if library not in {"llmtest", *sys.stdlib_module_names, *allowed, *PLUGINS.get(name, ())}
        and (found.at_once or library not in later)
    ]

    assert strangers == []


@pytest.mark.parametrize("name", MODULES)
def test_a_package_imports_only_packages_that_stand_above_it(name: str) -> None:
    upwards = [
        f"line {found.line}: {other}"
        for other, found in own(name)
        if other != "llmtest" and package_of(other) != package_of(name) and place(other) > place(name)
    ]

    assert upwards == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_a_private_name_of_another(name: str) -> None:
    private = [
        f"line {found.line}: {found.name}"
        for _, found in own(name)
        if found.name.startswith("_") and not found.name.startswith("__")
    ]

    assert private == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_the_bare_package(name: str) -> None:
    # The version is a fact of the package, and no lazy name.
    assert [found.line for other, found in own(name) if other == "llmtest" and found.name != "__version__"] == []


@pytest.mark.parametrize("name", sorted(DOORS))
def test_a_door_imports_our_modules_inside_functions_only(name: str) -> None:
    doors = DOORS | {"pytest_plugin", "pytest_plugin.attempt"}  # the attempt at a test imports as little
    at_once = [f"line {found.line}: {other}" for other, found in own(name) if found.at_once and other not in doors]

    assert at_once == []


def test_modules_import_one_another_in_no_circle_of_any_kind() -> None:
    graph = {name: {other for other, _ in own(name) if other in PATHS and other != name} for name in MODULES}

    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, with the circle

    assert sorted(order) == MODULES


def test_packages_import_one_another_in_no_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in PACKAGES}
    for name in set(MODULES) - OLD_PATHS - {"__main__"}:
        graph[package_of(name)] |= {package_of(other) for other, _ in own(name) if other in PATHS} - {package_of(name)}

    order = list(TopologicalSorter(graph).static_order())

    assert sorted(order) == sorted(PACKAGES)


def test_no_public_name_is_the_name_of_a_module() -> None:
    # The import of a submodule would replace the name in its package.
    clashes = []
    for package in PACKAGES:
        names = set(getattr(sys.modules.get(f"llmtest.{package}") or __import__(f"llmtest.{package}"), "__all__", ()))
        modules = {name.removeprefix(f"{package}.") for name in MODULES if name.startswith(f"{package}.")}
        clashes += sorted(names & modules)

    assert clashes == []
    assert set(llmtest.__all__) & {package_of(name) for name in MODULES} == set()


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
        ("llmtest.cli.commands", False, 18),
    }
