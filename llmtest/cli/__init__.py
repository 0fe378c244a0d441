"""`llmtest ...` on the command line. `main` runs one command; `python -m llmtest` does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.cli.commands import main as main
else:
    __getattr__, __dir__ = exports(__name__)
