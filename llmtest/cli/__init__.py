"""`llmtest ...` on the command line. `main` runs one command; `python -m llmtest` does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtest.cli.commands import main

__all__ = ["main"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # The module is not called `main`, because its import would put it here in place of the function.
        from llmtest.cli import commands

        return getattr(commands, name)
