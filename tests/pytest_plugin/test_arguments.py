"""The arguments of a session: a worker of xdist is started with others, and is told those of its controller."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import Suite

TELLS = """
from llmtest.pytest_plugin.arguments import arguments_of

def test_it(pytestconfig):
    assert [argument for argument in arguments_of(pytestconfig) if argument == "-vv"] == ["-vv"]
"""


@pytest.mark.parametrize("on_workers", [False, True])
def test_every_process_of_a_session_knows_its_arguments(suite: Suite, on_workers: bool) -> None:
    run = suite.run_on_worker if on_workers else suite.run

    assert run(TELLS, "-vv").counts == {"passed": 1}
