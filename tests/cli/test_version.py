"""`llmtest version`."""

from __future__ import annotations

import json
import types
from importlib.metadata import PackageNotFoundError

import pytest

from llmtest import __version__
from llmtest.cli import commands


@pytest.fixture
def versions(monkeypatch):
    """The versions of an installation without LangGraph."""
    installed = {"langchain-core": "1.8.3", "pytest": "9.2.0", "syrupy": "5.5.3"}

    def distribution(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return types.SimpleNamespace(version=installed[name])

    monkeypatch.setattr("importlib.metadata.distribution", distribution)
    monkeypatch.setattr("platform.python_version", lambda: "3.11.7")
    return {"llmtest": __version__, "python": "3.11.7", "langgraph": None, **installed}


def test_version_prints_each_version_and_what_is_not_installed(versions, capsys):
    code = commands.main(["version"])

    assert (code, *capsys.readouterr()) == (
        0,
        f"llmtest         {__version__}\n"
        "python          3.11.7\n"
        "langchain-core  1.8.3\n"
        "langgraph       not installed\n"
        "pytest          9.2.0\n"
        "syrupy          5.5.3\n",
        "",
    )


def test_version_as_json_has_null_for_what_is_not_installed(versions, capsys):
    code = commands.main(["version", "--json"])

    assert code == 0
    assert json.loads(capsys.readouterr().out) == versions
