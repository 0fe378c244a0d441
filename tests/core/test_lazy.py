"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import llmtest.tracing
from llmtest.core.lazy import exports

get, names = exports("llmtest.tracing", {"session": ["flush", "load_traces"]})


def test_a_name_is_the_object_of_its_module() -> None:
    from llmtest.tracing import session

    assert get("flush") is session.flush


def test_dir_lists_names_that_are_not_imported_yet() -> None:
    assert {"flush", "load_traces", "__name__"} <= set(names())
    assert names() == sorted(names())
    assert "tracing_enabled" in dir(llmtest.tracing)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'llmtest.tracing' has no attribute 'flash'$"):
        get("flash")


def test_a_package_imports_no_module_before_a_name_is_used() -> None:
    loaded = "print('llmtest.tracing.session' in sys.modules)"
    code = f"import sys, llmtest.tracing as tracing; {loaded}; tracing.flush; {loaded}"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\nTrue\n"
