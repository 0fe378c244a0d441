"""The failure of a test as a short text for a coding assistant: its cause, the difference, its source, in at most 4 KB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_BYTES: Final = 4_096
_SHARES: Final = {"cause": 700, "difference": 1_500, "violations": 900, "source": 1_400}
"""The most bytes of each part while others have something to say."""


def for_assistant(test: str, *, cause: str, difference: Sequence[str] = (), violations: str = "", source: str = "") -> str:
    """Return the text, in Markdown. Parts that say nothing are left out; a part that is too long is cut, and says so."""
    parts = {"cause": cause, "difference": "\n".join(difference), "violations": violations, "source": source}
    told = {name: text.strip("\n") for name, text in parts.items() if text.strip()}
    room = MAX_BYTES - len(_heading(test).encode()) - sum(len(_section(name, "").encode()) for name in told)
    spare = max(0, room - sum(min(len(text.encode()), _SHARES[name]) for name, text in told.items()))
    sections = []
    for name, text in told.items():
        size = len(text.encode("utf-8", "backslashreplace"))
        most = _SHARES[name] + spare
        spare -= max(0, min(size, most) - _SHARES[name])
        sections.append(_section(name, _cut(text, most)))
    return _heading(test) + "".join(sections)


def _heading(test: str) -> str:
    return f"The test `{_cut(test, 300)}` fails.\n"


def _section(name: str, text: str) -> str:
    fence = {"difference": "diff", "source": "python"}.get(name, "text")
    # A fence of five: a text that holds three or four must not end it.
    return f"\n## {name.capitalize()}\n\n`````{fence}\n{text}\n`````\n"


def _cut(text: str, most: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    mark = "\n… (cut)"
    return data.decode() if len(data) <= most else data[: max(0, most - len(mark.encode()))].decode("utf-8", "ignore") + mark
