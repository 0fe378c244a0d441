"""Runs and kinds compare by name in every way that a sequence can be asked: `==`, `in`, `count`, `index`, an item."""

from __future__ import annotations

import re

import pytest
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, record
from llmtest.errors import MatchError, UnjudgedError
from llmtest.matching import before, called, event, model, never, node, only, together
from llmtest.recording import Recording
from llmtest.recording.views import compared


@tool
def search(q: str) -> str:
    """Search."""
    return "found"


@tool
def delete_db(name: str) -> str:
    """Delete."""
    return "gone"


def ran() -> Recording:
    with record() as recording:
        search.invoke({"q": "hat"})
        delete_db.invoke({"name": "prod"})
        search.invoke({"q": "cap"})
    return recording


RAN = ran()


@pytest.mark.parametrize(
    ("item", "places"),
    [
        ("delete_db", [1]),
        ("delete_*", [1]),
        (re.compile("^sea"), [0, 2]),
        (called("search", q="cap"), [2]),
        (called("search") | "delete_db", [0, 1, 2]),
        (search, [0, 2]),
        (delete_db, [1]),
        (RAN.tools[1], [1]),
        (model(), []),
        ("book", []),
    ],
    ids=["name", "wildcard", "pattern", "argument", "either", "function", "tool", "run", "other kind", "no run"],
)
def test_the_runs_that_an_item_means(item, places):
    assert (item in RAN.tools, RAN.tools.count(item)) == (bool(places), len(places))
    assert [number for number, run in enumerate(RAN.tools) if run == item] == places
    if places:
        assert RAN.tools.index(item) == places[0]
        assert RAN.tools.index(item, places[0]) == places[0]


def test_an_item_that_is_not_there_has_no_index():
    with pytest.raises(ValueError, match=r"^'book' is not among the tools \['search', 'delete_db', 'search'\]$"):
        RAN.tools.index("book")
    with pytest.raises(ValueError, match="is not among the tools"):
        RAN.tools.index("delete_db", 2)


@pytest.mark.parametrize("item", [None, ..., ["search"], {"search"}, together("search", "delete_db"), called("search")[1:]])
def test_what_means_several_runs_or_none_is_refused(item):
    with pytest.raises(
        TypeError, match=r"^tools takes the name of a run, a tool, called\(\.\.\.\) or a run; got .* a shape is compared: "
    ):
        assert item not in RAN.tools


@pytest.mark.parametrize("item", ["delet_db", "delete-db", "Delete_*", "delete", called("search", quest="hat")], ids=repr)
def test_what_seems_to_be_misspelt_cannot_be_told(item):
    with pytest.raises(UnjudgedError):
        assert item not in RAN.tools
    with pytest.raises(UnjudgedError):
        RAN.tools.count(item)


def test_a_run_is_its_name():
    first, second, _ = RAN.tools

    assert first == "search" != second
    assert second == "delete_*"
    assert (first == first, first == second) == (True, False)
    assert len({first, second, first}) == 2


def test_a_recording_is_no_sequence_of_names():
    for ask in (lambda: "delete_db" in RAN, lambda: RAN.count("delete_db"), lambda: RAN.index("delete_db")):
        with pytest.raises(TypeError) as caught:
            ask()
        assert str(caught.value) == (
            "a recording is a sequence of events, and no event is 'delete_db';"
            " say 'delete_db' in recording.tools, in recording.runs or in recording.kinds"
        )
    assert (RAN[0] in RAN, RAN.count(RAN[0]), RAN.index(RAN[2])) == (True, 1, 2)


def test_kinds_and_tokens_compare_as_in_a_shape():
    with record() as recording:
        list(ScriptedChatModel("It is 18C").stream("hi"))

    assert "on_chat_*" in recording.kinds
    assert event("on_llm_end") in recording.kinds
    assert recording.kinds.count("on_*_start") == 1
    assert recording.kinds.index("on_llm_new_token", 2) == 2
    assert "on_tool_*" not in recording.kinds
    assert re.compile("18C") in recording.tokens
    with pytest.raises(ValueError, match=r"^'Paris' is not among the tokens$"):
        recording.tokens.index("Paris")


def test_tools_and_functions_stand_for_their_names():
    def book(number: int) -> str:
        return "booked"

    assert RAN.tools == [search, delete_db, search]
    assert RAN.obeys(before(search, delete_db), only(search, called(delete_db, name="prod")), never(book))
    assert repr(before(search, book)) == "`search` before `book`"
    with pytest.raises(TypeError, match="a rule is about runs: a tool or its name"):
        never(lambda run: True)


# -- names that nothing has


@pytest.mark.parametrize(
    "name", ["delet_db", "delete-db", "deletedb", "DELETE_DB", "delete_d?", "delete", "delte_*", "serach", "seach"]
)
def test_a_rule_of_a_name_that_one_tool_nearly_has_cannot_be_told(name):
    answer = RAN.obeys(never(name))

    near = "search" if name.startswith("se") else "delete_db"
    assert answer.holds is None
    assert answer.said == f"no tool `{name}` ran, was bound or was asked for, nearest `{near}`"
    assert not answer
    assert not RAN.obeys(before("confirm", name))
    assert not RAN.obeys(never(name) & never("zzz"))


@pytest.mark.parametrize("name", ["book", "delete_user", "drop_*", "research", "database", re.compile("delet_")], ids=str)
def test_a_name_of_its_own_is_no_slip(name):
    assert RAN.obeys(never(name))


def test_a_tool_that_is_known_is_no_slip():
    @tool
    def delete(name: str) -> str:
        """Delete."""
        return "gone"

    with record() as recording:
        ScriptedChatModel("Done.").bind_tools([delete, delete_db]).invoke("hi")
        delete_db.invoke({"name": "prod"})

    assert recording.obeys(never("delete"))
    assert not RAN.obeys(never("delete"))


@pytest.mark.parametrize("name", ["delete-db", "delet_*", "delete"])
def test_a_name_that_a_bound_tool_nearly_has_cannot_be_told_although_the_tool_did_not_run(name):
    with record() as bound:
        ScriptedChatModel("Done.").bind_tools([delete_db]).invoke("hi")
    with record() as offered:
        ScriptedChatModel(call("delete_db", name="x").unchecked()).invoke("hi")

    for recording in (bound, offered):
        answer = recording.obeys(never(name))
        assert answer.said == f"no tool `{name}` ran, was bound or was asked for, nearest `delete_db`"
        assert not answer
        assert recording.obeys(never("delete_db"), never("drop_*"))


def test_a_tool_that_a_script_offers_is_no_slip():
    model = ScriptedChatModel(call("delete", name="x").optional().unchecked())

    assert RAN.obeys(never("delete"))
    assert model is not None


def test_with_strict_each_name_must_be_known():
    answer = RAN.obeys(never("drop_table"), strict=True)

    assert repr(answer) == "cannot tell: never `drop_table`: no tool `drop_table` ran, was bound or was asked for"
    assert RAN.obeys(never(called("search", q="x")), strict=True)
    with pytest.raises(MatchError):
        RAN.assert_obeys(never("drop_table"), strict=True)


def test_a_shape_that_leaves_a_misspelt_name_out_does_not_hold():
    shape = ["search", called("delet_db")[:2], ...]

    assert not RAN.tools == shape  # noqa: SIM201
    assert repr(RAN.tools.explain(shape)).startswith(
        "cannot tell: tools == ['search', called('delet_db')[:2], Ellipsis]: no tool"
    )
    assert not RAN.tools != ["delet_db"]  # noqa: SIM202
    assert RAN.tools != ["book"]


def test_an_opposite_that_cannot_be_told_raises():
    answer = RAN.obeys(~never(called("search", quest="hat")))

    with pytest.raises(MatchError) as caught:
        assert not answer
    assert str(caught.value) == (
        "expected not (never `search`(quest='hat'))\n  missing  no run of `search` has an argument `quest`; they have `q`"
    )


def test_a_node_that_is_an_agent_is_that_node():
    from langchain.agents import create_agent
    from langgraph.graph import START, MessagesState, StateGraph

    team = StateGraph(MessagesState).add_node("billing", create_agent(ScriptedChatModel("You owe 5."), [], name="clerk"))
    with record() as recording:
        team.add_edge(START, "billing").compile().invoke({"messages": [("user", "hi")]})

    assert [run.name for run in recording.runs if node("billing") == run] == ["billing"]
    assert recording.obeys(before(node("billing"), "pay"))


def test_only_a_comparison_with_a_shape_is_explained() -> None:
    with record() as recording:
        ScriptedChatModel("a").invoke("hi")

    assert compared(7, ["a"]) is None
    assert compared(recording.models, recording.models) is None
    assert compared(recording.models, "a") is None
    assert compared(recording.models, ["b"]) is not None
