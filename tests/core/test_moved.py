"""Import paths that the documentation had and that have moved still work, and say where the name is now."""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any

import pytest

from llmtest.core.moved import MOVED


def at(path: str) -> Any:
    home, _, name = path.rpartition(".")
    return getattr(importlib.import_module(home), name)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_path_gives_what_the_new_one_gives_and_warns_with_it(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(f'`{old}` is now `{new}`')}$"):
        value = at(old)

    assert value is at(new)


@pytest.mark.parametrize("new", sorted(set(MOVED.values())))
def test_a_new_path_does_not_warn(new: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        at(new)


@pytest.mark.parametrize("old", MOVED)
def test_the_warning_points_at_the_line_that_imports(old: str) -> None:
    home, _, name = old.rpartition(".")

    with pytest.warns(DeprecationWarning, match=f"`{old}`") as caught:
        exec(compile(f"\n\nfrom {home} import {name}", "program.py", "exec"), {})

    assert {(warning.filename, warning.lineno) for warning in caught} == {("program.py", 3)}


@pytest.mark.parametrize("home", sorted({old.rpartition(".")[0] for old in MOVED}))
def test_a_name_that_never_was_is_an_attribute_error(home: str) -> None:
    with pytest.raises(AttributeError) as caught:
        at(f"{home}.nonsense")

    assert str(caught.value) == f"module {home!r} has no attribute 'nonsense'"
