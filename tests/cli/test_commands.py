"""The command line: its commands, its help, and wrong command lines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmtest import __version__, cli
from llmtest.cli import commands


def test_version_names_the_distribution(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        commands.main(["--version"])

    assert capsys.readouterr().out == f"llmtest-kit {__version__}\n"


@pytest.mark.parametrize(
    "command", [["-m", "llmtest"], ["-c", "from llmtest.cli.commands import main; raise SystemExit(main())"]]
)
def test_the_module_is_the_command(command):
    run = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout, run.stderr) == (0, f"llmtest-kit {__version__}\n", "")


def test_a_name_that_the_package_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError) as caught:
        cli.mian  # noqa: B018

    assert str(caught.value) == "module 'llmtest.cli' has no attribute 'mian'"


def test_help_names_every_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    with pytest.raises(SystemExit, match=r"^0$"):
        commands.main(["--help"])

    words = "run a real agent as a test, then change one tool argument and see the test notice; no key, no network"
    assert f"demo      {words}" in capsys.readouterr().out.replace("demo        ", "demo      ")


def test_without_a_command_the_help_is_shown(capsys):
    assert commands.main([]) == 0
    alone = capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^0$"):
        commands.main(["--help"])

    assert capsys.readouterr().out == alone
    assert alone.startswith("usage: llmtest [-h] [--version] COMMAND ...\n")
    assert alone.endswith("\nDocumentation: https://llmtest.github.io/llmtest/\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("acept", "llmtest: there is no command 'acept'; did you mean `accept`?\n"),
        ("Review", "llmtest: there is no command 'Review'; did you mean `review`?\n"),
        ("zzz", "llmtest: there is no command 'zzz'; `llmtest --help` lists all\n"),
    ],
)
def test_an_unknown_command_gets_the_nearest_name(name, said, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        commands.main([name, "--all"])

    assert capsys.readouterr().err == said
