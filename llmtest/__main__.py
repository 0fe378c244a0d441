"""`python -m llmtest`: the command `llmtest`, where only Python is on the path."""

from __future__ import annotations

import sys

from llmtest.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
