"""A package's names are written once, where type checkers look for them, and loaded when they are first used."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROBE = """
from typing import TYPE_CHECKING
from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from collections import abc
    from lazily.home import answer as answer, other as other
else:
    __getattr__, __dir__ = exports(__name__)
"""


@pytest.fixture
def lazily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "lazily"
    package.mkdir()
    (package / "__init__.py").write_text(PROBE)
    (package / "home.py").write_text("answer, other = 42, 43\n")
    monkeypatch.chdir(tmp_path)
    return package


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=".").stdout.strip()


def test_a_name_is_loaded_when_it_is_first_used_and_not_kept(lazily: Path) -> None:
    used = "import sys, lazily; before = 'lazily.home' in sys.modules; print(before, lazily.answer, 'answer' in vars(lazily))"

    assert run(used) == "False 42 False"


def test_all_and_dir_list_the_names_that_are_imported_under_their_own_name(lazily: Path) -> None:
    assert run("import lazily; print(lazily.__all__, 'answer' in dir(lazily), 'abc' in dir(lazily))") == (
        "['answer', 'other'] True False"
    )
    assert run("from lazily import *; print(answer, other)") == "42 43"


def test_a_name_that_is_not_there_is_an_attribute_error(lazily: Path) -> None:
    asked = "import lazily\ntry: lazily.abc\nexcept AttributeError as error: print(error)"

    assert run(asked) == "module 'lazily' has no attribute 'abc'"


def test_names_are_found_where_pytest_rewrites_the_package(lazily: Path) -> None:
    """As it does with all files of a distribution that has a plugin, unless it is installed with `-e`."""
    (lazily.parent / "conftest.py").write_text("import pytest\npytest.register_assert_rewrite('lazily')\n")
    (lazily.parent / "test_it.py").write_text(
        "import lazily\n\n\ndef test_it():\n"
        "    assert type(lazily.__spec__.loader).__name__ == 'AssertionRewritingHook'\n"
        "    assert lazily.answer == 42\n"
    )

    assert "1 passed" in run("import pytest; pytest.main(['-p', 'no:cacheprovider', 'test_it.py'])")


def test_names_are_found_in_a_zip_file(lazily: Path) -> None:
    with zipfile.ZipFile("packed.zip", "w") as packed:
        for file in lazily.glob("*.py"):
            packed.write(file, f"lazily/{file.name}")
    shutil.rmtree(lazily)

    assert run("import sys; sys.path.insert(0, 'packed.zip'); import lazily; print(lazily.answer)") == "42"
