"""What was masked in a cassette and the program needs again: it is kept apart, in a file that is not for version control."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llmtest.errors import CassetteError
from llmtest.scripts.secret_texts import Secret

FOLDER: Final = ".secrets"
"""Beside the cassettes: what was masked in them."""


def secrets_file(cassette: Path) -> Path:
    """Return the file that keeps what was masked in a cassette."""
    return cassette.parent / FOLDER / f"{cassette.name}.json"


def keep(cassette: Path, kept: Mapping[str, list[Secret]]) -> None:
    """Write what was masked in a cassette, into a folder that git ignores; remove the file if nothing was."""
    file = secrets_file(cassette)
    if not kept:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / ".gitignore").write_text("*\n", "utf-8")
    file.write_text(json.dumps(kept, ensure_ascii=False, indent=1), "utf-8")
    file.chmod(0o600)


def kept(cassette: Path) -> dict[str, list[Secret]]:
    """Return what was masked in a cassette, as far as this machine has it.

    Raises:
        CassetteError: the file is damaged.
    """
    file = secrets_file(cassette)
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise CassetteError(f"{file}: what was masked in {cassette.name} cannot be read: {error}\n  delete the file") from None
    return {str(hidden): list(values) for hidden, values in found.items()} if isinstance(found, dict) else {}
