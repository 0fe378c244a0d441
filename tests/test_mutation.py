"""What the assertions of the examples notice of a changed recording."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from examples.callback_guide.test_12_tracing import CASES, Classic, Today, anonymous, assert_whole
from examples.test_langgraph_graph import support_desk
from llmtest import ScriptedChatModel, call, record
from llmtest.matching import called, each, exactly, model
from llmtest.recording import Recording
from tests.mutation import mutants, score, survivors


def desk() -> Recording:
    scripted = ScriptedChatModel("order", call("find_order", number=7), "It leaves on Friday.")
    with record() as caught:
        support_desk(scripted).invoke({"messages": [("user", "Where is order 7?")]})
    return caught


def math() -> Recording:
    @tool
    def calculator(expression: str) -> str:
        """Evaluate an expression."""
        return "4"

    scripted = ScriptedChatModel(call("calculator", expression="2 + 2"), "It is 4.")
    agent: Any = create_agent(scripted, [calculator], name="math_agent")
    with record() as caught:
        agent.invoke({"messages": [("user", "2 + 2?")]})
    return caught


def snapshot_of(caught: Recording) -> Any:
    text = str(caught)
    return lambda mutant: str(mutant) == text


def test_a_snapshot_notices_all_but_what_the_tree_text_leaves_out_on_purpose() -> None:
    for caught in (desk(), math()):
        left = survivors(caught, snapshot_of(caught))

        # A second start or end of a run is for the protocol to complain of; the tree shows each once. How the events of
        # different runs interleave is left out, as are exchanges that leave each run's own events and its parent in place.
        assert [what for what in left if not what.startswith(("double", "exchange"))] == []


def test_the_tools_alone_notice_little() -> None:
    caught = math()

    assert score(caught, lambda one: one.tools == ["calculator"]) < 0.3


def test_kinds_and_rules_notice_what_is_dropped_or_doubled() -> None:
    caught = math()
    kinds = list(caught.kinds)

    def holds(one: Recording) -> bool:
        rules = (each("*").ends_before(model()), each(model()).ends(), exactly(1, called("calculator", expression="2 + 2")))
        return one.kinds == kinds and one.runs.names == caught.runs.names and bool(one.obeys(*rules))

    left = survivors(caught, holds)

    # Only neighbours of one kind change places unseen: their names are those of their runs' starts, in the same order.
    assert {what.split(" ")[0] for what in left} <= {"exchange"}
    assert len(left) * 10 <= len(list(mutants(caught)))


# initialize_agent and run, which LangChain's guide uses
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
@pytest.mark.parametrize("style", [Classic, Today])
def test_the_assertions_of_the_callback_guide_notice_what_becomes_of_an_agent(style: Any) -> None:
    agent = style(CASES[:1])
    with record() as caught:
        agent.run(CASES[0].question)
    tree, kinds = anonymous(caught), list(caught.kinds)

    def holds(one: Recording) -> bool:
        assert_whole(one, agent, CASES[0])
        return anonymous(one) == tree

    # Only neighbours change places unseen, and with the kinds of the events beside the tree not even those.
    assert {what.split(" ")[0] for what in survivors(caught, holds)} == {"exchange"}
    assert score(caught, holds) > 0.9
    assert survivors(caught, lambda one: holds(one) and one.kinds == kinds) == []
