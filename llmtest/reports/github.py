"""Annotations of GitHub Actions: workflow commands that show failures beside the lines of a change.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llmtest.core.text import amount, clip
from llmtest.reports.markdown import plain, rerun
from llmtest.reports.results import Group

MAX_ANNOTATIONS: Final = 10
"""GitHub shows no more errors of one step."""
_MAX_TITLE: Final = 200
_MAX_TESTS: Final = 10
_MAX_DETAILS: Final = 3_000


def commands(groups: Sequence[Group], root: Path, workspace: str = "") -> list[str]:
    """Return at most 10 commands, one for each cause; the last one counts the causes that have none.

    `root` is the folder that paths of failures are relative to, `workspace` the one that GitHub's are relative to.
    """
    shown = groups if len(groups) <= MAX_ANNOTATIONS else groups[: MAX_ANNOTATIONS - 1]
    said = [_annotation(group, root, workspace) for group in shown]
    left = groups[len(shown) :]
    if left:
        tests = len({test for group in left for test in group.tests})
        title = f"{amount(len(left), 'more cause')}, of {amount(tests, 'test')}"
        said.append(f"::error title={_property(title)}::{_data(_list([group.title for group in left]))}")
    return said


def _annotation(group: Group, root: Path, workspace: str) -> str:
    _, first = group.failures[0]
    properties = [f"file={_property(_path(first.path, root, workspace))}", f"line={first.line}"] if first.path else []
    properties.append(f"title={_property(clip(plain(group.title), _MAX_TITLE))}")
    parts = [_list(group.tests), clip_lines(plain(first.details)), f"run again: {rerun(group)}"]
    return f"::error {','.join(properties)}::{_data(chr(10).join(part for part in parts if part))}"


def clip_lines(text: str) -> str:
    """Return the first lines of a text, as far as an annotation has room for them."""
    if len(text) <= _MAX_DETAILS:
        return text
    lines = text[:_MAX_DETAILS].split("\n")[:-1] or [text[:_MAX_DETAILS]]
    return "\n".join([*lines, f"... {amount(text.count(chr(10)) + 1 - len(lines), 'more line')}"])


def _list(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _MAX_TESTS:,} more"] if len(lines) > _MAX_TESTS else []
    return "\n".join([*(clip(plain(line), 300) for line in lines[:_MAX_TESTS]), *more])


def _path(path: str, root: Path, workspace: str) -> str:
    whole = Path(os.path.abspath(root / path))
    base = Path(os.path.abspath(workspace)) if workspace else None
    return whole.relative_to(base).as_posix() if base is not None and whole.is_relative_to(base) else path


def _data(text: str) -> str:
    """Return a text as the message of a command: on one line, so that it cannot begin another command."""
    return plain(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
