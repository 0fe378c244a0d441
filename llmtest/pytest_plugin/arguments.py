"""The arguments of a session, on the workers of xdist too."""

from __future__ import annotations

from typing import Final, Protocol

import pytest

_SENT: Final = "llmtest_arguments"


class Worker(Protocol):
    """A worker of xdist, as its controller sees it."""

    config: pytest.Config
    workerinput: dict[str, object]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Worker) -> None:
    """Tell a worker what it cannot know: it is started with other arguments."""
    node.workerinput[_SENT] = arguments_of(node.config)


def arguments_of(config: pytest.Config) -> list[str]:
    """Return the arguments of this session, on a worker of xdist those of its controller."""
    sent: list[str] | None = getattr(config, "workerinput", {}).get(_SENT)
    return [*map(str, config.invocation_params.args)] if sent is None else sent
