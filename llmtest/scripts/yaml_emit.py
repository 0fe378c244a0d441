"""Words of YAML: JSON values, texts and lists as a script file has them.

What is written here PyYAML reads as the same value, in YAML 1.1 and 1.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_WIDTH: Final = 110


def flow(value: Any) -> str:
    """A JSON value in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{as_key(key)}: {flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(flow(item) for item in value)}]"
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else quote(value)
    return json.dumps(value)


_WORD: Final = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z_][A-Za-z0-9_.-]*")


def as_key(key: str) -> str:
    """A key; PyYAML reads a long one only after a question mark."""
    text = flow(key)
    return text if len(text) < 1000 else f"? {text} "


def quote(text: str) -> str:
    """Text in double quotes; what does not show is an escape."""
    return f'"{"".join(_escape(character) for character in text)}"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if character.isprintable():
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def wrap(start: str, items: Sequence[str], end: str) -> list[str]:
    """A list or mapping in as few lines as its items fill."""
    lines = [start]
    for number, item in enumerate(items, 1):
        piece = item + (", " if number < len(items) else end)
        if len(lines[-1]) + len(piece) > MAX_WIDTH and number > 1:
            lines.append("  ")
        lines[-1] += piece
    return [line.rstrip() for line in lines]
