"""Scripted calls against the bound tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmtest import Script, ViolationError, call, reply
from llmtest.errors import Violation
from llmtest.ledger import Ledger
from llmtest.scripts import Request
from llmtest.scripts.step_types import Reply
from llmtest.scripts.tool_checks import check_call
from tests.support.doubles import line

pytestmark = pytest.mark.usefixtures("page")

HERE = Path(__file__).relative_to(Path.cwd()) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__)


SEARCH = {"search": {"properties": {"query": {}, "limit": {}}, "required": ["query"]}, "now": {}}


@pytest.mark.parametrize(
    ("asked", "tools", "problem"),
    [
        (call("search", query="x"), SEARCH, None),
        (call("search", query="x", limit=3), SEARCH, None),
        (call("now"), SEARCH, None),
        (call("anything", a=1), {"anything": {"additionalProperties": True}}, None),
        (
            call("serch", query="x"),
            SEARCH,
            "the script calls the tool `serch`, which is not bound to the model\n  bound  `search`, `now`\n"
            "  did you mean `search`?",
        ),
        (
            call("zzz"),
            SEARCH,
            "the script calls the tool `zzz`, which is not bound to the model\n  bound  `search`, `now`",
        ),
        (
            call("search", query="x"),
            {},
            "the script calls the tool `search`, which is not bound to the model\n  bound  none",
        ),
        (
            call("search", qery="x", zzz=1),
            SEARCH,
            "the script calls the tool `search` with other arguments than it takes\n"
            "  missing  `query`\n"
            "  unknown  `qery`; did you mean `query`?\n"
            "  unknown  `zzz`\n"
            "  takes  `query`, `limit`",
        ),
        (
            call("now", zone="CET"),
            SEARCH,
            "the script calls the tool `now` with other arguments than it takes\n  unknown  `zone`\n  takes  nothing",
        ),
    ],
)
def test_a_call_is_checked_against_the_bound_tools(asked: Reply, tools: Any, problem: str | None) -> None:
    assert check_call(asked.calls[0], tools) == problem


def test_an_invalid_tool_call_is_a_violation_that_takes_its_step(page: Ledger) -> None:
    told = line() + 1
    script = Script(reply("Let me look", call("now"), call("serch", query="x")))

    request = Request(SEARCH)
    step = script.serve(request)
    assert isinstance(step, Reply)

    with pytest.raises(ViolationError) as caught:
        script.check(step, request)

    violation = Violation(
        "invalid tool call",
        "the script calls the tool `serch`, which is not bound to the model\n"
        "  bound  `search`, `now`\n"
        "  did you mean `search`?\n"
        "  the script says reply(say('Let', ' me', ' look'), call('now'), call('serch', query='x'))"
        f" at {HERE}:{told}",
    )
    assert caught.value.violations == (violation,)
    assert page.violations == script.violations == [violation]
    assert script.remaining == 0
