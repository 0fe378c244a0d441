"""A forked process does not serve the steps of its parent, and its parent hears of what runs there."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda

from llmtest import Recording, ScriptedChatModel, ledger, record, scripted_tool
from llmtest.errors import ViolationError
from llmtest.ledger import Ledger, Outside, opened
from llmtest.matching import never
from tests.support.tools import delete_db

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
HERE = str(__file__)


def forked(work: Callable[[], object]) -> int:
    """The exit code of a child that does this."""

    def child() -> None:
        try:
            work()
        except ViolationError:
            os._exit(7)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode or 0


def test_a_double_refuses_to_serve_in_a_forked_process_and_the_test_hears_of_it() -> None:
    with opened(Ledger()) as page:
        model = ScriptedChatModel("one")
        code = forked(lambda: model.invoke("there"))
        answer = model.invoke("here").text
        (violation,) = page.take()

    assert (code, answer, violation.code) == (7, "one", "other process")
    assert violation.text.splitlines() == [
        "unexpected model call in a forked process: the script belongs to the process that made it",
        "  came  human 'there' (1 message)",
        "  the copy of the script here could serve a step that is served there, too",
        "  make the model in the process that calls it, or call it in a thread",
    ]


MADE_THERE: dict[str, Callable[[], object]] = {
    "tool": lambda: scripted_tool("search", "found", args={}).invoke({}),
    "model": lambda: list(ScriptedChatModel("a").stream("hi")),
}


@pytest.mark.parametrize("double", MADE_THERE.values(), ids=MADE_THERE)
def test_a_double_that_the_child_made_serves_it(double: Callable[[], object]) -> None:
    with opened(Ledger()) as page:
        code = forked(double)

    assert (code, page.take()) == (0, [])


def test_outside_of_tests_and_blocks_a_child_goes_on_with_what_it_has() -> None:
    """As pytest-forked does with a whole test and the doubles of its module."""
    model, pages = ScriptedChatModel("one"), ledger.open_pages()
    for page in pages:
        ledger._open.remove(page)
    try:
        code = forked(lambda: model.invoke("there"))
    finally:
        ledger._open.extend(pages)
    model.invoke("here")

    assert code == 0


def fork_in_block(work: Callable[[], object]) -> Recording:
    with opened(Ledger()), record() as recording:
        forked(work)
        recording.unseen_calls  # noqa: B018
    return recording


def test_the_runs_of_a_forked_process_are_told_to_the_recording() -> None:
    def work() -> None:
        delete_db.invoke({"name": "prod"})
        FakeListChatModel(responses=["a"]).invoke("hi")

    recording = fork_in_block(work)

    assert [(call.double, call.cause, call.place) for call in recording.unseen_calls] == [
        ("`delete_db`", "other process", f"{HERE}:{work.__code__.co_firstlineno + 1}"),
        ("FakeListChatModel", "other process", f"{HERE}:{work.__code__.co_firstlineno + 2}"),
    ]
    assert recording.unseen_calls[0].thread.startswith("process ")
    assert "is not known" in str(recording.obeys(never("delete_*")))


def test_of_a_chain_there_the_outermost_is_told() -> None:
    chain = RunnableLambda(lambda x: x, name="a") | RunnableLambda(lambda x: x, name="b")

    recording = fork_in_block(lambda: chain.invoke(1))

    assert [call.double for call in recording.unseen_calls] == ["`RunnableSequence`"]


def test_a_recording_that_the_child_opens_has_its_own() -> None:
    def work() -> None:
        with record() as inner:
            delete_db.invoke({"name": "prod"})
        assert inner.tools.names == ["delete_db"]
        delete_db.invoke({"name": "prod"})

    recording = fork_in_block(work)

    assert len(recording.unseen_calls) == 1


def in_pool(name: str) -> str:
    return str(delete_db.invoke({"name": name}))


def test_a_process_pool_and_a_child_of_a_child_are_heard() -> None:
    with opened(Ledger()), record() as recording:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            names = list(pool.map(in_pool, ["a", "b"]))
        forked(lambda: forked(lambda: in_pool("c")))

    assert names == ["a", "b"]
    assert [call.double for call in recording.unseen_calls] == ["`delete_db`"] * 3


def test_more_messages_than_a_pipe_holds_do_not_block_the_child() -> None:
    def work() -> None:
        for _ in range(3_000):
            delete_db.invoke({"name": "prod"})

    assert len(fork_in_block(work).unseen_calls) > 100


def test_a_fork_leaves_the_parent_as_it_was() -> None:
    with opened(Outside()):
        forked(lambda: None)

    assert ledger.is_forked is False


def test_a_double_cannot_be_sent_to_another_process() -> None:
    model: Any = ScriptedChatModel("one")
    with pytest.raises(TypeError, match="a Script cannot be pickled"):
        model.__reduce_ex__(2) and __import__("pickle").dumps(model)
    model.invoke("hi")


def test_a_child_does_not_hear_what_its_parent_is_told() -> None:
    def work() -> None:
        delete_db.invoke({"name": "prod"})
        with opened(Ledger()) as page:
            assert page.take() == []

    assert len(fork_in_block(work).unseen_calls) == 1
