"""The folder `.llmtest` of a project: what one machine keeps, and git does not."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = ".llmtest"


def make_folder(folder: Path) -> None:
    """Make a folder and those around it. A folder `.llmtest` among them ignores itself in git.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = next((path for path in (folder, *folder.parents) if path.name == FOLDER), None)
    if own is not None:
        with suppress(FileExistsError), (own / ".gitignore").open("x", encoding="utf-8") as file:
            file.write("*\n")


def session_name() -> str:
    """Return a name for what is written now; it sorts behind earlier ones, and no other process has it."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{milliseconds:03}-{os.getpid()}"
