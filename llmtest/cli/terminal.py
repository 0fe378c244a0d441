"""The console: output of commands, and questions to the user."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

from llmtest.core.colors import paint, wants_colors
from llmtest.core.text import escape_controls


class Console:
    """The terminal, or what a command's output and input are redirected to.

    Results go to `sys.stdout`, everything about them to `sys.stderr`; both are looked up at each call, as `print` does.
    """

    @property
    def out(self) -> TextIO:
        """Where results go."""
        return sys.stdout

    @property
    def input(self) -> io.BufferedReader[Any]:
        """Where data comes from."""
        source = getattr(sys.stdin, "buffer", None)
        return source if isinstance(source, io.BufferedReader) else io.BufferedReader(io.BytesIO(sys.stdin.read().encode()))

    @property
    def color(self) -> bool:
        """True if results are shown in colors."""
        return wants_colors(self.out, os.environ)

    @property
    def ask(self) -> Callable[[str], str] | None:
        """The function that asks the user a question and returns the answer; None without a terminal."""
        return input if sys.stdin.isatty() and self.out.isatty() else None

    def print(self, text: str, style: str = "") -> None:
        """Print `text`; `style` is the number of its color or weight, and empty for none.

        Control characters are printed as escapes: whatever a program, a trace or a file of others holds, a terminal must not
        obey it. Colors that the text has are kept where colors are shown.
        """
        text = escape_controls(text, keep_colors=self.color)
        encoding = self.out.encoding or "utf-8"
        shown = text.encode(encoding, "replace").decode(encoding)  # a redirected stdout on Windows may know few characters
        print(paint(shown, style) if self.color else shown, flush=True)

    def heading(self, text: str) -> None:
        """Print an empty line and a bold one."""
        self.print(f"\n{text}", "1")

    def note(self, text: str) -> None:
        """Print a line about the results, such as an error."""
        print(escape_controls(text), file=sys.stderr)


CONSOLE: Final = Console()
"""The one console of all commands. It has no state."""
