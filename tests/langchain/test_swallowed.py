"""Errors of handlers that LangChain swallows are written to the ledger, with the handler's own lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from types import FunctionType, ModuleType
from typing import Any
from unittest import mock

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, manager
from langchain_core.callbacks.manager import CallbackManager

from llmtest import ScriptedChatModel, expect_violation, ledger, say
from llmtest.errors import Violation
from llmtest.langchain.swallowed import MAX_LINES, watch_handlers
from llmtest.ledger import Ledger

logger = logging.getLogger(manager.__name__)

HERE = "tests/langchain/test_swallowed.py"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin listens too, for this test; what it has in place is set aside."""
    ledger.current().notice()
    monkeypatch.setattr(manager, "__class__", ModuleType)
    monkeypatch.setitem(vars(manager), "logger", logger)


@pytest.fixture
def page() -> Iterator[Ledger]:
    page = Ledger()
    with ledger.opened(page), watch_handlers():
        yield page


class Asserts(BaseCallbackHandler):
    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        assert response is None


class Unfinished(BaseCallbackHandler):
    raise_error = True

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        raise NotImplementedError("later")


class Misnamed(BaseCallbackHandler):
    def on_llm_new_token(self, text: str, **kwargs: Any) -> None:
        pass


class Waits(AsyncCallbackHandler):
    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self.fail()

    def fail(self) -> None:
        raise ValueError("no")


class Lets(Asserts):
    raise_error = True


def invoke(handler: BaseCallbackHandler) -> None:
    ScriptedChatModel("Hello").invoke("hi", {"callbacks": [handler]})


def ainvoke(handler: BaseCallbackHandler) -> None:
    asyncio.run(ScriptedChatModel("Hello").ainvoke("hi", {"callbacks": [handler]}))


def line(of: type, after: int) -> int:
    return int(of.__dict__["on_llm_end"].__code__.co_firstlineno) + after


def texts(page: Ledger) -> list[str]:
    return [violation.text for violation in page.violations]


@pytest.mark.parametrize("call", [invoke, ainvoke])
def test_assertion_in_a_handler_is_written_with_its_line(page: Ledger, call: Any) -> None:
    call(Asserts())

    (violation,) = page.violations
    where, said = f"{HERE}:{line(Asserts, 1)}", "assert response is None"
    assert violation.code == "swallowed handler error"
    first, *rest = violation.text.splitlines()
    assert first.startswith("the callback handler `Asserts.on_llm_end` raised AssertionError")
    assert rest[-2:] == [
        f"  {where} in on_llm_end: {said}",
        "  LangChain logs it and goes on; `raise_error = True` lets it out",
    ]


def test_not_implemented_error_is_swallowed_even_from_a_handler_that_raises(page: Ledger) -> None:
    invoke(Unfinished())

    assert texts(page) == [
        "the callback handler `Unfinished.on_llm_end` raised NotImplementedError: later\n"
        f'  {HERE}:{line(Unfinished, 1)} in on_llm_end: raise NotImplementedError("later")\n'
        "  LangChain logs it and goes on; no caller sees it"
    ]


def test_async_handler_under_a_synchronous_call_is_named_by_its_method(page: Ledger) -> None:
    invoke(Waits())

    at = line(Waits, 2)
    assert texts(page) == [
        "the callback handler `Waits.on_llm_end` raised ValueError: no\n"
        f"  {HERE}:{at} in on_llm_end: self.fail()\n"
        f'  {HERE}:{at + 3} in fail: raise ValueError("no")\n'
        "  LangChain logs it and goes on; no caller sees it"
    ]


def test_method_that_cannot_be_called_shows_what_it_takes(page: Ledger) -> None:
    list(ScriptedChatModel(say("Hello")).stream("hi", {"callbacks": [Misnamed()]}))

    assert texts(page) == [
        "the callback handler `Misnamed.on_llm_new_token` raised TypeError: Misnamed.on_llm_new_token() missing 1 required"
        " positional argument: 'text'\n"
        "  it takes (text, **kwargs); LangChain passes other arguments\n"
        "  LangChain logs it and goes on; `raise_error = True` lets it out"
    ] * len(page.violations)
    assert page.violations


def test_async_error_that_is_nobodys_is_told_without_a_name(page: Ledger) -> None:
    class Hands(BaseCallbackHandler):
        def on_llm_end(self, response: Any, **kwargs: Any) -> Any:
            return asyncio.wait_for(asyncio.Event().wait(), 0)

    invoke(Hands())

    (text,) = texts(page)
    assert text.splitlines() == [
        "the callback handler of an async method raised TimeoutError",
        "  LangChain logs it and goes on; no caller sees it",
    ]


def test_long_way_down_is_cut_to_its_end(page: Ledger) -> None:
    class Deep(BaseCallbackHandler):
        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.dig(20)

        def dig(self, depth: int) -> None:
            self.dig(depth - 1) if depth else self.fail()

        def fail(self) -> None:
            raise ValueError("deep")

    invoke(Deep())

    lines = texts(page)[0].splitlines()
    assert (len(lines), lines[1], lines[-2].endswith('in fail: raise ValueError("deep")')) == (MAX_LINES + 3, "  ...", True)


def test_error_that_the_handler_lets_out_is_the_callers(page: Ledger) -> None:
    with suppress(AssertionError):
        invoke(Lets())

    assert texts(page) == []


def test_other_warnings_of_that_logger_are_none_of_ours(page: Ledger) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logger.warning("Unable to load requested LangChainTracer.")

    assert texts(page) == []


def test_log_is_as_without_us(caplog: pytest.LogCaptureFixture) -> None:
    def logged() -> list[tuple[str, str, int, str]]:
        caplog.clear()
        invoke(Asserts())
        return [(r.funcName, r.pathname, r.lineno, r.getMessage().partition("(")[0]) for r in caplog.records]

    before = logged()
    with ledger.opened(Ledger()), watch_handlers():
        during = logged()

    assert before == during
    assert before[0][0] == "handle_event"


def test_it_is_heard_where_logging_is_off(page: Ledger) -> None:
    logging.disable(logging.CRITICAL)
    try:
        invoke(Asserts())
    finally:
        logging.disable(logging.NOTSET)

    assert len(page.violations) == 1


def test_nested_watches_write_once_and_leave_nothing_behind() -> None:
    page = Ledger()

    with ledger.opened(page):
        with watch_handlers():
            with watch_handlers():
                invoke(Asserts())
            invoke(Asserts())
        invoke(Asserts())

    assert len(page.violations) == 2
    assert (type(manager), vars(manager)["logger"], "warning" in vars(logger)) == (ModuleType, logger, False)


MANAGER = manager.__name__


@pytest.mark.parametrize("first", [True, False], ids=["patched before", "patched meanwhile"])
@pytest.mark.parametrize(
    "patch", [lambda: mock.patch(f"{MANAGER}.logger"), lambda: mock.patch.object(logger, "warning")], ids=["name", "method"]
)
def test_a_program_that_patches_the_logger_does_not_switch_the_watch_off(patch: Any, first: bool) -> None:
    with ledger.opened(Ledger()) as written, ExitStack() as stack:
        entered = [patch(), watch_handlers()]
        patched = [stack.enter_context(block) for block in (entered if first else reversed(entered))][0 if first else 1]
        invoke(Asserts())
        assert len(patched.mock_calls) == 1
    invoke(Asserts())

    assert len(written.violations) == 1
    assert (type(manager), vars(manager)["logger"], "warning" in vars(logger)) == (ModuleType, logger, False)


def test_monkeypatch_puts_the_logger_back(monkeypatch: pytest.MonkeyPatch) -> None:
    replacement = mock.Mock()
    with ledger.opened(Ledger()) as written, watch_handlers():
        with monkeypatch.context() as patched:
            patched.setattr(manager, "logger", replacement)
            invoke(Asserts())
            assert manager.logger is replacement
        assert manager.logger is logger
        invoke(Asserts())

    assert (len(written.violations), replacement.warning.call_count) == (2, 1)
    assert vars(manager)["logger"] is logger


def test_it_can_be_expected() -> None:
    with ledger.opened(Ledger()) as page, watch_handlers(), expect_violation("swallowed handler error") as caught:
        CallbackManager([Asserts()]).on_llm_start({}, ["hi"])[0].on_llm_end("not None")  # type: ignore[arg-type]

    assert [type(violation) for violation in caught] == [Violation]
    assert page.violations == []


def test_a_warning_of_langchain_that_is_not_about_a_handler_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    def warns() -> None:
        try:
            raise KeyError("mine")
        except KeyError:
            logger.warning("another matter")

    with ledger.opened(Ledger()) as page, watch_handlers():
        FunctionType(warns.__code__, vars(manager))()  # as a function of LangChain's module

    assert (page.violations, caplog.messages) == ([], ["another matter"])
