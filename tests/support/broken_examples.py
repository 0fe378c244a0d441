"""A pytest plugin that breaks the scripts of tests: `pytest -p tests.support.broken_examples --break=fewer examples`."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest import Script, fail

WAYS = {
    "fewer": lambda steps: steps[:-1],
    "other": lambda steps: (*steps[:-1], "This is not what the test expects."),
    "failing": lambda steps: (fail(TimeoutError("the provider did not answer")), *steps[1:]),
}
"""What is done to the steps of each script."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--break", choices=WAYS, dest="way_to_break")


def pytest_configure(config: pytest.Config) -> None:
    way = WAYS[config.getoption("way_to_break")]
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    whole = Script.__init__

    def broken(self: Script, *steps: Any) -> None:
        whole(self, *(way(steps) if steps else ()))

    patch.setattr(Script, "__init__", broken)
