"""`llmtest demo` on small folders of tests that need no LangChain. `test_demo.py` runs the real demo."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from llmtest.cli import demo

NOTICES = """
def call(tool, expression):
    return expression


def test_agent():
    assert call("calculator", expression="2 ** 0.235") == "2 ** 0.235"
"""


def folder_of(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "test_agent.py").write_text(source, "utf-8")
    return folder


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
    change = lines.index("2. One thing changes: the model calls the tool with another argument.")
    assert (code, err) == (0, "")
    assert lines[change + 1 : change + 3] == [
        '-    assert call("calculator", expression="2 ** 0.235") == "2 ** 0.235"',
        '+    assert call("calculator", expression="3 ** 0.235") == "2 ** 0.235"',
    ]
    assert [line for line in lines if line.startswith("$ ")] == [
        "$ pytest -q",
        "$ pytest -q -q --tb=short -rN -o verbosity_assertions=2 test_agent.py",
    ]
    assert any(line.startswith("1 passed in ") for line in lines[:change])
    assert any(line.startswith("E   ") for line in lines[change:])
    assert lines[-2:] == [
        f"The test is in {folder}: copy it, put your agent in, and change what the model says.",
        "How to go on: https://llmtest.github.io/llmtest/learn/",
    ]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(2, ["line 1", "line 2"]), (14, [*(f"line {n}" for n in range(1, 14)), "  … 1 more line"])],
    ids=["a short tree", "a long tree"],
)
def test_the_beginning_of_each_tree_is_shown(tmp_path, capsys, size, shown):
    folder = folder_of(tmp_path, NOTICES)
    tree = folder / "__snapshots__" / "test_agent" / "test_agent.tree"
    tree.parent.mkdir(parents=True)
    tree.write_text("# llmtest tree v1\n" + "".join(f"line {n}\n" for n in range(1, size + 1)), "utf-8")

    assert demo.run(folder, needs=()) == 0

    lines = capsys.readouterr().out.splitlines()
    first = lines.index("__snapshots__/test_agent/test_agent.tree") + 1
    assert lines[first : lines.index("", first)] == shown


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
        "llmtest demo: the test should have passed, but pytest ended with exit code 1 (see above)\n"
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
