"""The failure of a test as a short text for a coding assistant: its cause, the difference, its source, in at most 4 KB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_BYTES: Final = 4_096
_PERCENT: Final = {"cause": 15, "difference": 35, "violations": 20, "source": 30}
"""The share of each part while others have something to say."""


def for_assistant(test: str, *, cause: str, difference: Sequence[str] = (), violations: str = "", source: str = "") -> str:
    """Return the text, in Markdown. Parts that say nothing are left out; a part that is too long is cut, and says so."""
    parts = {"cause": cause, "difference": "\n".join(difference), "violations": violations, "source": source}
    told = {name: _encoded(text.strip("\n")) for name, text in parts.items() if text.strip()}
    room = MAX_BYTES - len(_heading(test).encode()) - sum(len(_section(name, "").encode()) for name in told)
    shares = {name: room * _PERCENT[name] // 100 for name in told}
    spare = room - sum(min(len(data), shares[name]) for name, data in told.items())
    sections = []
    for name, data in told.items():
        most = shares[name] + spare
        spare -= min(len(data), most) - min(len(data), shares[name])
        sections.append(_section(name, _cut(data, most)))
    return _heading(test) + "".join(sections)


def _heading(test: str) -> str:
    return f"The test `{_cut(_encoded(test), 300)}` fails.\n"


def _section(name: str, text: str) -> str:
    fence = {"difference": "diff", "source": "python"}.get(name, "text")
    # A fence of five: a text that holds three or four must not end it.
    return f"\n## {name.capitalize()}\n\n`````{fence}\n{text}\n`````\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _cut(data: bytes, most: int) -> str:
    mark = "\n… (cut)"
    return data.decode() if len(data) <= most else data[: max(0, most - len(mark.encode()))].decode("utf-8", "ignore") + mark
