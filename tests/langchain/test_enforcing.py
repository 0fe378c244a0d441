"""A run that a rule forbids does nothing, and every handler has its start and its error."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool

from llmtest import ledger, record
from llmtest.errors import ViolationError
from llmtest.langchain import enforcing
from llmtest.matching import never

DELETED: list[str] = []


@tool
def delete_db(name: str) -> str:
    """Delete a database."""
    DELETED.append(name)
    return name


class Handler(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("start")

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(type(error).__name__)


def test_what_is_forbidden_does_not_run_and_each_handler_gets_its_end() -> None:
    handlers = [Handler(), Handler()]

    with ledger.opened(ledger.Outside()), pytest.raises(ViolationError), record(rules=[never("delete_*")]):
        delete_db.invoke({"name": "prod"}, {"callbacks": list(handlers)})

    assert DELETED == []
    assert [handler.seen for handler in handlers] == [["start", "ViolationError"]] * 2


@pytest.mark.asyncio
async def test_async_runs_are_stopped_too() -> None:
    handler = Handler()

    with ledger.opened(ledger.Outside()), pytest.raises(ViolationError), record(rules=[never("delete_*")]):
        await delete_db.ainvoke({"name": "prod"}, {"callbacks": [handler]})

    assert (DELETED, handler.seen) == ([], ["start", "ViolationError"])


def test_the_managers_are_wrapped_once() -> None:
    enforcing.install()
    wrapped = enforcing.CallbackManager.on_tool_start
    enforcing.install()

    assert enforcing.CallbackManager.on_tool_start is wrapped
