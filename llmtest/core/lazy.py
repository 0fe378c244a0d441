"""Names of a package that are imported when they are first used (PEP 562), written once.

A package lists its public names where type checkers and editors look for them, and nowhere else:

    if TYPE_CHECKING:
        from llmtest.capture.blocks import carry_context as carry_context
    else:
        __getattr__, __dir__ = exports(__name__)

The `else` keeps type checkers from taking every misspelled name for a lazy one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any


def exports(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package, which also give `__all__` and the names that have moved elsewhere.

    A name is not kept in the package after its first use: pytest run inside pytest forgets modules, and must not find
    their old classes again.
    """

    @cache
    def home_of() -> dict[str, str]:
        return _imports_for_type_checkers(package)

    def get(name: str) -> Any:
        if name == "__all__":
            return sorted(home_of())
        if not name.startswith("_") and name in home_of():
            return getattr(import_module(home_of()[name]), name)
        from llmtest.core.moved import moved

        return moved(package, name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of()})

    return get, names


def _imports_for_type_checkers(package: str) -> dict[str, str]:
    """Return the module of each name that the source of `package` imports under `if TYPE_CHECKING:`."""
    import ast  # not at the top: `import llmtest` alone pays nothing for it

    spec = sys.modules[package].__spec__
    assert spec is not None
    # Not `get_source`: where llmtest is installed, pytest loads it to rewrite its asserts, and pytest's loader has none.
    tree = ast.parse(spec.loader.get_data(spec.origin))  # type: ignore[union-attr]  # a loader of source files
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names if alias.name == alias.asname}
