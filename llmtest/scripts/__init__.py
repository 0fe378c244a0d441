"""What a double says, and which step answers which call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.scripts.gates import hold as hold
    from llmtest.scripts.requests import Request as Request, on as on
    from llmtest.scripts.script import Script as Script
    from llmtest.scripts.steps import (
        call as call,
        fail as fail,
        give as give,
        reply as reply,
        respond as respond,
        say as say,
        structured as structured,
        think as think,
    )
else:
    __getattr__, __dir__ = exports(__name__)
