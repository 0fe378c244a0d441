"""What `llmtest` offers: few names, all lazy, all documented, and their examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

import llmtest
from llmtest.cli import commands as cli_commands

PACKAGE = Path(llmtest.__file__).parent
PROJECT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)
CODE = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)


def homes() -> dict[str, str]:
    """Return the module of each public name, as type checkers see it."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        str(alias.asname): str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_the_public_names_are_those_that_type_checkers_see() -> None:
    assert llmtest.__all__ == sorted(homes())
    assert len(llmtest.__all__) <= 25


@pytest.mark.parametrize("name", llmtest.__all__)
def test_a_public_name_is_found_in_its_home_and_says_what_it_is(name: str) -> None:
    value = getattr(llmtest, name)

    assert value is getattr(importlib.import_module(homes()[name]), name)
    assert value.__module__ == homes()[name]
    assert value.__doc__


def test_dir_lists_the_public_names() -> None:
    assert set(llmtest.__all__) <= set(dir(llmtest))
    assert dir(llmtest) == sorted(dir(llmtest))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as caught:
        llmtest.recrod  # noqa: B018

    assert str(caught.value) == "module 'llmtest' has no attribute 'recrod'"


def test_every_public_name_is_used_where_types_are_checked() -> None:
    tree = ast.parse((PROJECT / "tests" / "typing" / "api.py").read_text("utf-8"))

    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    assert sorted(set(llmtest.__all__) - loaded) == []


def documented() -> str:
    """All the code in the documentation: what stands in backticks and in fenced blocks."""
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    code = [part for page in pages for match in CODE.finditer(page.read_text("utf-8")) for part in match.groups() if part]
    return "\n".join(code)


def test_every_public_name_is_documented() -> None:
    code = documented()

    missing = [name for name in llmtest.__all__ if not re.search(rf"(?<![\w.]){name}\b", code)]

    assert missing == []


def test_every_command_is_documented(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli_commands.main(["--help"])
    commands = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    code = documented()

    missing = [command for command in commands if f"llmtest {command}" not in code]

    assert "version" in commands
    assert missing == []


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(name)

    results = doctest.testmod(module)

    assert results.failed == 0, capsys.readouterr().out


def test_the_examples_in_docstrings_are_found() -> None:
    finder = doctest.DocTestFinder()

    with_examples = {name for name in MODULES if any(test.examples for test in finder.find(importlib.import_module(name)))}

    assert {
        "llmtest.scripts.script",
        "llmtest.scripts.files",
        "llmtest.errors",
        "llmtest.recording.recording",
        "llmtest.langchain.chat_model",
    } <= with_examples
