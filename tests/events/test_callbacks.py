"""The table of callbacks is LangChain's own: every handler method, what it is called with, and which runs fire it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, base
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from llmtest import Recording, record
from llmtest.events.callbacks import CALLBACKS, ENDINGS, MODELS, START_KINDS, STREAM_EVENT, may_fire
from llmtest.langchain.tap import Tap
from llmtest.matching import before, event, never

NEWER = set() if hasattr(BaseChatModel, "stream_events") else {STREAM_EVENT}
"""What the installed langchain-core is too old for."""


def methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if name.startswith("on_")}


def of(package: str) -> set[str]:
    return {name for name, row in CALLBACKS.items() if row.package == package}


def positional(kind: type, name: str) -> tuple[str, ...]:
    """What LangChain declares before the keywords, without `self`."""
    parameters = inspect.signature(getattr(kind, name)).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)[1:]


# -- held against LangChain's classes


@pytest.mark.parametrize("kind", [BaseCallbackHandler, AsyncCallbackHandler])
def test_the_table_has_the_methods_of_langchains_handlers_and_their_positional_parameters(kind: type) -> None:
    known = of("langchain_core") - NEWER

    assert methods(kind) == known
    assert {name: CALLBACKS[name].positional for name in known} == {name: positional(kind, name) for name in known}


def test_the_table_has_the_methods_of_langgraphs_handler() -> None:
    graphs = pytest.importorskip("langgraph.callbacks").GraphCallbackHandler
    own = methods(graphs) - methods(BaseCallbackHandler)

    assert own == of("langgraph")
    assert {name: positional(graphs, name) for name in own} == {name: CALLBACKS[name].positional for name in own}


@pytest.mark.parametrize(
    ("mixin", "runs"),
    [
        (base.LLMManagerMixin, {"chat", "llm"}),
        (base.ChainManagerMixin, {"chain"}),
        (base.ToolManagerMixin, {"tool"}),
        (base.RetrieverManagerMixin, {"retriever"}),
    ],
)
def test_a_callback_belongs_to_the_runs_of_the_class_that_langchain_declares_it_in(mixin: type, runs: set[str]) -> None:
    assert {name: set(CALLBACKS[name].runs) for name in methods(mixin)} == dict.fromkeys(methods(mixin), runs)


def test_starts_are_what_langchains_managers_start_runs_with() -> None:
    assert START_KINDS.keys() == methods(base.CallbackManagerMixin)


def test_what_any_run_may_fire_is_what_every_run_manager_has() -> None:
    anywhere = {name for name in of("langchain_core") if all(may_fire(kind, name) for kind in START_KINDS.values())}

    assert anywhere == methods(base.RunManagerMixin)


def test_flags_are_those_of_langchains_handlers() -> None:
    flags = {name for name in dir(BaseCallbackHandler) if name.startswith("ignore_")}

    assert {row.flag for row in CALLBACKS.values() if row.flag} == flags


@pytest.mark.parametrize("kind", sorted(set(START_KINDS.values())))
def test_each_kind_of_run_has_one_start_one_end_and_one_error(kind: Any) -> None:
    mine = [row for row in CALLBACKS.values() if kind in row.runs]

    assert [[row.role for row in mine].count(role) for role in ("start", "end", "error")] == [1, 1, 1]
    assert {row.name for row in mine if row.role in ("end", "error")} <= ENDINGS
    assert (kind in MODELS) == any(row.role == "stream" for row in mine)


def test_a_later_langchains_callback_is_not_called_wrong() -> None:
    assert may_fire("chain", "on_something_new")


# -- held against the tap and the docs


def test_the_tap_has_a_method_for_each_callback_that_takes_its_positional_parameters() -> None:
    assert {name: positional(Tap, name) for name in CALLBACKS} == {name: row.positional for name, row in CALLBACKS.items()}


def test_the_page_of_callbacks_has_each_of_them() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/callbacks.md").read_text("utf-8")
    rows = re.findall(r"^\| `(on_\w+)` \| (\w+) \| ([^|]+) \|", page, re.MULTILINE)

    def runs(name: str) -> str:
        given = CALLBACKS[name].runs
        return "any" if set(given) in (set(), set(START_KINDS.values())) else ", ".join(f"`{kind}`" for kind in given)

    assert rows == [(name, row.role, runs(name)) for name, row in CALLBACKS.items()]


# -- what was refused before there was one table


@pytest.fixture(scope="module")
def approved() -> Recording:
    """A graph that is interrupted and resumed."""
    pytest.importorskip("langgraph.callbacks")

    def ask(state: dict[str, Any]) -> dict[str, Any]:
        return {"answer": interrupt("Sure?")}

    graph: Any = StateGraph(dict).add_node("ask", ask).add_edge(START, "ask")
    app = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    with record() as recording:
        app.invoke({}, config)
        app.invoke(Command(resume="yes"), config)
    return recording


def test_rules_are_about_interrupts_and_resumes(approved: Recording) -> None:
    assert approved.obeys(before(event("on_interrupt"), event("on_resume")))
    assert not approved.obeys(before(event("on_resume"), event("on_interrupt")))

    answer = approved.obeys(never(event("on_resume", status="pending")))

    assert str(answer) == (
        "expected never event `on_resume`(status='pending')\n"
        "  got      on_resume of `LangGraph` was called\n"
        "  event    6: on_resume `LangGraph`, depth 0: LangGraph"
    )


def test_shapes_of_kinds_take_events(approved: Recording) -> None:
    assert approved.kinds == [..., event("on_interrupt"), ..., event("on_resume"), ...]
    assert approved.kinds == [event("on_chain_*")[3], event("on_interrupt"), ...]
    assert approved.kinds != [..., event("on_resume"), ..., event("on_interrupt"), ...]
    assert approved.kinds != [..., event("on_resume", status="pending"), ...]


def test_an_unknown_callback_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(ValueError) as caught:
        event("on_tool_strat")

    assert str(caught.value) == (
        "event() takes the name of a callback; got 'on_tool_strat'. They are on_agent_action, on_agent_finish, on_chain_end,"
        " on_chain_error, on_chain_start, on_chat_model_start, on_custom_event, on_interrupt, on_llm_end, on_llm_error,"
        " on_llm_new_token, on_llm_start, on_resume, on_retriever_end, on_retriever_error, on_retriever_start, on_retry,"
        " on_stream_event, on_text, on_tool_end, on_tool_error, on_tool_start"
    )
