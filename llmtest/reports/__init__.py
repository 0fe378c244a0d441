"""What a session of tests came to, for people and machines outside of the terminal: results of all tests, failures by cause.

`results` are the figures and failures, as a file of JSON. `markdown` shows them in `.llmtest/failures.md` and in the summary of
a job, `github` in annotations; `joining` joins those of several jobs. The plugin collects them, in `pytest_plugin.results`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.reports.joining import Joined as Joined, join as join
    from llmtest.reports.results import FailedPhase as FailedPhase, Result as Result, Results as Results
else:
    __getattr__, __dir__ = exports(__name__)
