"""The command line, on small folders of tests that need no LangChain. `test_demo.py` runs the real demo."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import types
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from llmtest import __version__, cli
from llmtest.cli import commands, demo

NOTICES = """
def call(tool, expression):
    return expression


def test_agent():
    assert call("calculator", expression="2 ** 0.235") == "2 ** 0.235"
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def folder_of(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "test_agent.py").write_text(source, "utf-8")
    return folder


# -- the command line


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

    words = "run two real agents as tests, then change one tool argument and see the test notice; no key, no network"
    assert f"demo      {words}" in capsys.readouterr().out.replace("demo        ", "demo      ")


def test_no_command_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        commands.main([])

    assert capsys.readouterr().err.splitlines()[-1] == "llmtest: error: the following arguments are required: COMMAND"


# -- versions


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


# -- what keeps the demo from starting


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path, capsys):
    folder = folder_of(tmp_path, NOTICES)

    code = demo.run(folder, needs=("pytest", "no_such_package", "nor_this"))

    assert (code, *capsys.readouterr()) == (
        2,
        "",
        "llmtest demo: needs no-such-package, nor-this; install with: pip install 'llmtest-kit[demo]'\n",
    )


def test_missing_files_are_named_with_the_place(tmp_path, capsys):
    code = demo.run(tmp_path, needs=())

    assert (code, *capsys.readouterr()) == (
        1,
        "",
        f"llmtest demo: found no test_agent.py in {tmp_path}; install again with: pip install 'llmtest-kit[demo]'\n",
    )


# -- what the demo does


def test_a_test_that_notices_the_change_is_a_success(tmp_path, capsys):
    folder = folder_of(tmp_path, NOTICES)

    code = demo.run(folder, needs=())

    out, err = capsys.readouterr()
    lines = out.splitlines()
    change = lines.index("--- test_agent.py")
    assert (code, err) == (0, "")
    assert lines[change : change + 5] == [
        "--- test_agent.py",
        "+++ test_agent.py",
        "@@ -7 +7 @@",
        '-    assert call("calculator", expression="2 ** 0.235") == "2 ** 0.235"',
        '+    assert call("calculator", expression="3 ** 0.235") == "2 ** 0.235"',
    ]
    assert [line for line in lines if line.startswith("$ ")] == [
        "$ pytest -q --llmtest-trees=all",
        "$ pytest -q --tb=short -o verbosity_assertions=2 test_agent.py",
    ]
    assert any(line.startswith("1 passed in ") for line in lines[:change])
    assert any(line.startswith("1 failed in ") for line in lines[change:])
    assert lines[-1] == f"The tests are in {folder}: copy one, put your agent in, and change what the model says."


def test_the_folder_is_left_as_it_was_and_nothing_else_is_left(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, f"{NOTICES}    assert open('data/kept.txt').read() == 'copied'\n")
    (folder / "data").mkdir()
    (folder / "data" / "kept.txt").write_text("copied", "utf-8")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "test_stale.py").write_text("raise SystemExit('a cached file was copied')", "utf-8")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    code = demo.run(folder, needs=())

    assert code == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_a_read_only_installation_is_enough(tmp_path):
    folder = folder_of(tmp_path, NOTICES)
    (folder / "test_agent.py").chmod(0o444)
    folder.chmod(0o555)

    try:
        assert demo.run(folder, needs=()) == 0
    finally:
        folder.chmod(0o755)


def test_settings_of_the_readers_own_projects_do_not_reach_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n", "utf-8")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = folder_of(tmp_path, f"import os\n{NOTICES}\n\ndef test_alone():\n    assert 'LANGSMITH_TRACING' not in os.environ\n")

    assert demo.run(folder, needs=()) == 0


# -- what goes wrong


def test_a_first_run_that_fails_is_a_failure(tmp_path, capsys):
    folder = folder_of(tmp_path, "def test_agent():\n    assert False, 'broken'\n")

    code = demo.run(folder, needs=())

    assert code == 1
    assert capsys.readouterr().err == (
        "llmtest demo: the tests should have passed, but pytest ended with exit code 1 (see above)\n"
    )


def test_a_file_without_the_argument_is_a_failure(tmp_path, capsys):
    folder = folder_of(tmp_path, "def test_agent():\n    pass\n")

    code = demo.run(folder, needs=())

    assert code == 1
    assert capsys.readouterr().err == (
        f'llmtest demo: {folder / "test_agent.py"} should have call("calculator", expression="2 ** 0.235") once\n'
    )


def test_a_test_that_does_not_notice_is_a_failure(tmp_path, capsys):
    folder = folder_of(tmp_path, NOTICES.replace('== "2 ** 0.235"', ""))

    code = demo.run(folder, needs=())

    assert code == 1
    assert capsys.readouterr().err == (
        "llmtest demo: the changed test should have failed (exit code 1), but pytest ended with exit code 0 (see above)\n"
    )


def test_a_failure_for_another_reason_is_not_the_failure_that_was_expected(tmp_path, capsys):
    source = """
import pytest


def call(tool, expression):
    return pytest.fail("out of order") if expression[0] == "3" else expression


def test_agent():
    call("calculator", expression="2 ** 0.235")
"""
    folder = folder_of(tmp_path, source)

    code = demo.run(folder, needs=())

    assert code == 1
    assert capsys.readouterr().err == (
        "llmtest demo: the changed test failed, but not because of the changed argument (see above)\n"
    )


def test_an_error_is_not_the_failure_that_was_expected(tmp_path, capsys):
    source = f"{NOTICES}\n\nif '3 ' '** 0.235' in open(__file__, encoding='utf-8').read():\n    raise OSError\n"
    folder = folder_of(tmp_path, source)

    code = demo.run(folder, needs=())

    assert code == 1
    assert capsys.readouterr().err == (
        "llmtest demo: the changed test should have failed (exit code 1), but pytest ended with exit code 2 (see above)\n"
    )


# -- where it prints


@pytest.mark.skipif(os.name != "posix", reason="a Windows console may show colours as letters")
def test_a_terminal_gets_colours(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)

    code = demo.run(folder_of(tmp_path, NOTICES), needs=())

    assert code == 0
    assert '\x1b[32m+    assert call("calculator", expression="3 ** 0.235")' in terminal.getvalue()
    assert "\x1b[32m1 passed\x1b[0m" in terminal.getvalue().replace("\x1b[32m\x1b[1m", "\x1b[32m")


def test_no_color_is_respected_on_a_terminal(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")

    code = demo.run(folder_of(tmp_path, NOTICES), needs=())

    assert code == 0
    assert "\x1b" not in terminal.getvalue()


def test_an_output_that_knows_few_characters_gets_the_rest(tmp_path, monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", narrow)

    code = demo.run(folder_of(tmp_path, f"{NOTICES}\n    assert not '18 °C → ok'\n"), needs=())

    assert code == 1
    narrow.seek(0)
    assert "assert not '18 ?C ? ok'" in narrow.read()
