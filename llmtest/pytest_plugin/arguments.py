"""The arguments of a session, on the workers of xdist too."""

from __future__ import annotations

from typing import Final

import pytest

KEY: Final = "llmtest_arguments"
"""Where the controller tells its workers, which are started with other arguments."""


def arguments_of(config: pytest.Config) -> list[str]:
    """Return the arguments of this session, on a worker of xdist those of its controller."""
    sent: list[str] | None = getattr(config, "workerinput", {}).get(KEY)
    return [*map(str, config.invocation_params.args)] if sent is None else sent
