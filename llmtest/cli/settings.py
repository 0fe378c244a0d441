"""What the project says about pytest, for commands that run without pytest: the ini keys of its configuration file.

pytest takes the first of its files that it finds, from the folder of the tests upwards; the same is done here from a folder.
"""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_FILES: Final = (
    ("pytest.toml", "pytest"),
    (".pytest.toml", "pytest"),
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("pyproject.toml", "tool.pytest"),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)
"""The files of pytest in the order in which it looks for them, and the table or section in each."""
_ALWAYS: Final = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
"""Files that are pytest's even if they are empty."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The ini keys of a project, and its folder: that of the file, or the folder where the search began."""

    folder: Path
    file: Path | None = None
    keys: dict[str, Any] = field(default_factory=dict)

    def lines(self, key: str) -> list[str]:
        """Return the lines of a key."""
        value = self.keys.get(key, [])
        lines = value if isinstance(value, list) else str(value).splitlines()
        return [line.strip() for line in map(str, lines) if line.strip()]

    def text(self, key: str, default: str) -> str:
        """Return the value of a key."""
        value = self.keys.get(key)
        return default if value is None else str(value).strip()


def read_settings(folder: Path) -> Settings:
    """Return what the configuration file of pytest says, from `folder` upwards.

    Raises:
        SettingsError: the file cannot be read.
    """
    for place in (folder, *folder.parents):
        for name, section in _FILES:
            file = place / name
            keys = _keys_of(file, section) if file.is_file() else None
            if keys is not None:
                return Settings(place, file, keys)
    return Settings(folder)


def _keys_of(file: Path, section: str) -> dict[str, Any] | None:
    """Return the keys in a file; None if it has none for pytest."""
    from llmtest.errors import SettingsError

    try:
        found = _of_toml(file, section) if file.suffix == ".toml" else _of_ini(file, section)
    except (tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    return {} if found is None and file.name in _ALWAYS else found


def _of_toml(file: Path, section: str) -> dict[str, Any] | None:
    table: Any = tomllib.loads(file.read_text("utf-8"))
    for name in section.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        return None
    options = table.get("ini_options")
    return options if isinstance(options, dict) else table


def _of_ini(file: Path, section: str) -> dict[str, Any] | None:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#", ";"))
    parser.read_string(file.read_text("utf-8"))
    return dict(parser.items(section)) if parser.has_section(section) else None


@contextmanager
def masks_of_project(folder: Path) -> Iterator[Settings]:
    """Use the masks of the project around `folder` in the block: the ini key `llmtest_masks`.

    Raises:
        SettingsError: the configuration file cannot be read.
        MaskError: a line of the key is no rule.
    """
    from llmtest.core import masks
    from llmtest.errors import MaskError

    settings = read_settings(folder)
    try:
        rules = masks.use_rules(settings.lines("llmtest_masks"))
        rules.__enter__()
    except MaskError as error:
        raise MaskError(f"{settings.file}: the ini key llmtest_masks: {error}") from None
    try:
        yield settings
    finally:
        rules.__exit__(None, None, None)
