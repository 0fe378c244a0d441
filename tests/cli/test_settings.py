"""The ini keys of a project, as commands read them without pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmtest.cli.settings import masks_of_project, read_settings
from llmtest.core.masks import table
from llmtest.errors import MaskError, SettingsError

MASKS = ["order = ORD-[0-9]+", "pin"]
FILES = {
    "pytest.ini": "[pytest]\nllmtest_masks =\n    order = ORD-[0-9]+\n    pin\n",
    ".pytest.ini": "[pytest]\nllmtest_masks =\n    order = ORD-[0-9]+\n    # not this\n    pin\n",
    "tox.ini": "[tox]\n[pytest]\nllmtest_masks =\n    order = ORD-[0-9]+\n    pin\n",
    "setup.cfg": "[tool:pytest]\nllmtest_masks =\n    order = ORD-[0-9]+\n    pin\n",
    "pyproject.toml": '[tool.pytest.ini_options]\nllmtest_masks = ["order = ORD-[0-9]+", "pin"]\n',
}


@pytest.mark.parametrize("name", FILES)
def test_the_lines_of_a_key_are_those_that_pytest_reads(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    (tmp_path / "a" / "b").mkdir(parents=True)

    found = read_settings(tmp_path / "a" / "b")

    assert (found.file, found.folder, found.lines("llmtest_masks")) == (tmp_path / name, tmp_path, MASKS)
    assert (found.text("cache_dir", ".pytest_cache"), found.lines("none")) == (".pytest_cache", [])


def test_the_first_file_of_pytest_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.pytest.ini_options]\nllmtest_masks = 'a'\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "tox.ini").write_text("[tox]\n")

    assert read_settings(tmp_path / "tests").lines("llmtest_masks") == ["a"]
    (tmp_path / "pytest.ini").write_text("")
    assert read_settings(tmp_path / "tests").lines("llmtest_masks") == []
    assert read_settings(tmp_path / "tests").file == tmp_path / "pytest.ini"


def test_pytest_itself_chooses_the_same_file(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True
    )

    found = read_settings(tmp_path).file
    assert found is not None
    assert f"configfile: {found.name}" in done.stdout


def test_the_masks_of_a_project_hold_in_the_block(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(FILES["pytest.ini"])

    with masks_of_project(tmp_path) as settings:
        hidden = table().hide({"user_pin": 1234, "text": "of ORD-17"})

    assert settings.file == tmp_path / "pytest.ini"
    assert hidden == {"user_pin": "<mask:user_pin>", "text": "of <mask:order>"}
    assert table().hide({"user_pin": 1234}) == {"user_pin": 1234}


@pytest.mark.parametrize("text", ["tool = 5\n", "[tool]\npytest = 5\n", "[project]\nname = 'x'\n"])
def test_a_file_of_toml_without_a_table_for_pytest_does_not_count(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    assert read_settings(tmp_path).file is None


def test_a_file_that_cannot_be_read_and_a_line_that_is_no_rule(tmp_path: Path) -> None:
    file = tmp_path / "pytest.ini"
    file.write_text("[pytest]\nllmtest_masks = a b c\n")
    with pytest.raises(MaskError) as caught, masks_of_project(tmp_path):
        pass
    assert str(caught.value) == (
        f"{file}: the ini key llmtest_masks: expected `NAME = REGULAR EXPRESSION` or the name of a key; got 'a b c'"
    )

    file.write_text("llmtest_masks = a\n")
    with pytest.raises(SettingsError) as broken:
        read_settings(tmp_path)
    assert str(broken.value) == f"{file} cannot be read: File contains no section headers."
