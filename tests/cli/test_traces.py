"""`llmtest sessions`, `show`, `export`, `import`: their options. tests/tracing tests their output."""

from __future__ import annotations

import pytest

from llmtest.cli import commands
from llmtest.cli.traces import open_store
from llmtest.tracing.store import place


def test_the_store_is_that_of_the_option_or_of_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "mine.sqlite"))

    assert open_store(tmp_path / "other.sqlite").path == tmp_path / "other.sqlite"
    assert open_store(None).path == place() == tmp_path / "mine.sqlite"


@pytest.mark.parametrize("command", ["show", "export"])
def test_help_names_the_filters(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    with pytest.raises(SystemExit, match=r"^0$"):
        commands.main([command, "--help"])

    shown = capsys.readouterr().out
    assert [
        option in shown for option in ("--store FILE", "--name GLOB", "--tag GLOB", "--errors", "--since TIME", "--until TIME")
    ] == [True] * 6
