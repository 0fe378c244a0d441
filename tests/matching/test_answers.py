"""Every kind of failure, with its full text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtest import ScriptedChatModel, call, record
from llmtest.events import Failure
from llmtest.matching import at_least, at_most, before, between, called, each, never, only, together
from tests.support.programs import Trace, chat, run, trace
from tests.support.shop import BOOK, BOOKING, LEFT, PAY, RATE, SEARCH


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            before("pay", "rate"),
            [
                "got      `pay` and `rate` overlapped: nothing makes one wait for the other",
                PAY,
                RATE,
                "event    5: on_tool_end `pay`, depth 1: agent > pay",
                "event    6: on_tool_end `rate`, depth 1: agent > rate",
            ],
        ),
        (
            before("book", "search"),
            [
                "got      `book` came after `search`",
                SEARCH,
                "event    2: on_tool_end `search`, depth 1: agent > search",
                BOOK,
                "event    8: on_tool_end `book`, depth 1: agent > book",
            ],
        ),
        (
            before("serach", "book"),
            [
                "got      `book` was called, and there was no `serach`",
                BOOK,
                "nearest  event 1: on_tool_start `search`, depth 1: agent > search; it is `search`",
            ],
        ),
        (
            before("book", "book"),
            ["got      `book` is one and the same run", BOOK, "event    8: on_tool_end `book`, depth 1: agent > book"],
        ),
        (each("left").followed_by("book"), ["got      `left` never ended", LEFT]),
        (each("left").ends(), ["got      `left` never ended", LEFT]),
        (
            each("search").followed_by("answer"),
            ["got      `search` ended, and no `answer` came", "event    2: on_tool_end `search`, depth 1: agent > search"],
        ),
        (never("b*"), ["got      `book` was called", BOOK]),
        (
            never("rate").after("pay"),
            [
                "got      `pay` and `rate` overlapped: nothing makes `rate` come first",
                PAY,
                RATE,
                "event    5: on_tool_end `pay`, depth 1: agent > pay",
                "event    6: on_tool_end `rate`, depth 1: agent > rate",
            ],
        ),
        (
            between("search", "book").never("pay"),
            [
                "got      `pay` came after `search` and before `book`",
                "event    2: on_tool_end `search`, depth 1: agent > search",
                PAY,
                BOOK,
            ],
        ),
        (
            between("pay", "book").never("rate"),
            [
                "got      `rate` overlapped with `pay` or `book`: nothing keeps it from coming between them",
                RATE,
                "event    5: on_tool_end `pay`, depth 1: agent > pay",
                BOOK,
            ],
        ),
        (
            between("search", "book").at_least(1, "left"),
            [
                "got      `left` came not at all between `search` and `book`",
                "event    2: on_tool_end `search`, depth 1: agent > search",
                BOOK,
            ],
        ),
        (
            between("search", "book").at_least(3, called("pay") | called("rate")),
            [
                "got      `pay` or `rate` came twice between `search` and `book`",
                "event    2: on_tool_end `search`, depth 1: agent > search",
                BOOK,
            ],
        ),
        (
            between("search", "book").at_least(1, "rates"),
            [
                "got      `rates` came not at all between `search` and `book`",
                "event    2: on_tool_end `search`, depth 1: agent > search",
                BOOK,
                "nearest  event 4: on_tool_start `rate`, depth 1: agent > rate; it is `rate`",
            ],
        ),
        (
            between("pay", "book").at_least(1, "rate"),
            [
                "got      `rate` overlapped with `pay` or `book`: nothing makes it come between them",
                RATE,
                "event    5: on_tool_end `pay`, depth 1: agent > pay",
                BOOK,
            ],
        ),
        (
            between("pay", "rate").at_least(1, "search"),
            [
                "got      `rate` may come after `pay`, and `search` not at all between them",
                RATE,
                "event    5: on_tool_end `pay`, depth 1: agent > pay",
            ],
        ),
        (
            between("search", "left").at_least(1, called("book", ix=1)),
            ["missing  no run of `book` has an argument `ix`; they have `id`"],
        ),
        (at_most(1, called("pay") | called("rate")), ["got      `pay` or `rate` came twice", RATE]),
        (
            at_least(1, called("book", id=7)),
            ["got      `book`(id=7) came not at all", "nearest  event 7: on_tool_start `book`, depth 1: agent > book; `id` is 8"],
        ),
        (only("search", "pay", "rate", "left", called("book", id=7)), ["got      `book` was called: `id` is 8", BOOK]),
        (
            called("book").came_from("search"),
            [
                "got      `book` was given 8, which `search` did not return: it returned None",
                "event    2: on_tool_end `search`, depth 1: agent > search",
                BOOK,
            ],
        ),
        (never("zzz") & never("book"), ["got      `book` was called", BOOK]),
        (never("pay") | never("book"), ["got      `pay` was called; and `book` was called", PAY, BOOK]),
        (~never("zzz"), ["got      it holds: never `zzz`"]),
        (never(called("book", ix=1)), ["missing  no run of `book` has an argument `ix`; they have `id`"]),
    ],
)
def test_the_whole_text_of_a_broken_rule(rule: Any, text: list[str]) -> None:
    answer = BOOKING.obeys(rule)

    assert str(answer).splitlines() == [f"expected {rule!r}", *(f"  {line}" for line in text)]
    assert len(repr(answer)) < 200
    assert json.loads(json.dumps(answer.to_dict()))["expected"] == repr(rule)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (
            ["search", "pay", "rate", ...],
            [
                "got      'pay' and 'rate' overlapped or are of one turn, at item 1, where 'pay' was due;"
                " write together(...) for such",
                "all      [called('search', q='hat'), together('pay', 'rate'), called('book', id=8), 'left']",
                SEARCH,
                PAY,
                RATE,
            ],
        ),
        (
            ["search", together("pay", "rate"), "book"],
            [
                "got      'left' at item 4, where nothing more was due",
                "all      [called('search', q='hat'), together('pay', 'rate'), called('book', id=8), 'left']",
                BOOK,
                LEFT,
            ],
        ),
        (
            [together("search", "pay"), ...],
            [
                "got      called('search', q='hat') at item 0, which ran alone, where together('search', 'pay') was due",
                "all      [called('search', q='hat'), together('pay', 'rate'), called('book', id=8), 'left']",
                SEARCH,
            ],
        ),
        (
            [..., "search"],
            [
                "got      more came after the shape was complete, at the end 'left'",
                "all      [called('search', q='hat'), together('pay', 'rate'), called('book', id=8), 'left']",
                LEFT,
            ],
        ),
        (
            [..., "bok", "left"],
            [
                "got      it ended after 5 items, where 'bok' was due",
                "all      [called('search', q='hat'), together('pay', 'rate'), called('book', id=8), 'left']",
                LEFT,
                "nearest  event 7: on_tool_start `book`, depth 1: agent > book; it is `book`",
            ],
        ),
    ],
)
def test_the_whole_text_of_a_shape_that_does_not_match(shape: list[Any], text: list[str]) -> None:
    answer = BOOKING.tools.explain(shape)

    assert str(answer).splitlines()[1:] == [f"  {line}" for line in text]
    assert len(repr(answer)) < 200
    assert json.loads(json.dumps(answer.to_dict()))["holds"] is False


def test_long_sequences_are_shown_around_the_place() -> None:
    caught = trace(*(run(f"t{n}") for n in range(40)))

    answer = caught.tools.explain([*(f"t{n}" for n in range(20)), "x", ...])

    shown = ", ".join(repr(f"t{n}") for n in range(12, 28))
    assert dict(answer.lines) == {"all": f"[<12 more>, {shown}, <12 more>]"}
    assert len(repr(answer)) < 200


def test_names_and_tokens_are_explained_without_places() -> None:
    answer = BOOKING.kinds.explain(["on_chain_start", "on_tool_end", ...])

    assert str(answer) == (
        "expected kinds == ['on_chain_start', 'on_tool_end', ...]\n"
        "  got      'on_tool_start' at item 1, where 'on_tool_end' was due\n"
        "  all      ['on_chain_start', 'on_tool_start', 'on_tool_end', 'on_tool_start', 'on_tool_start', 'on_tool_end',"
        " 'on_tool_end', 'on_tool_start', 'on_tool_end', 'on_tool_start', 'on_chain_end']"
    )


def test_more_concurrent_runs_than_can_be_tried_are_named_as_the_reason() -> None:
    branches = trace([run("branch", *([run("a")] for _ in range(3))) for _ in range(12)])

    answer = branches.tools.explain([together(*["a"] * 13)])

    assert answer.said == (
        "more runs overlapped at item 0 than together(...) can look at; ask one run's children, or with a rule"
    )


def test_what_holds_says_so_in_one_line() -> None:
    answer = BOOKING.obeys(never("zzz"), at_most(9, called()))

    assert (repr(answer), str(answer)) == ("holds: never `zzz` and a tool at most 9 times",) * 2
    assert str(BOOKING.tools.explain([...])) == "holds: tools == [Ellipsis]"
    assert answer.to_dict() == {
        "expected": "never `zzz` and a tool at most 9 times",
        "holds": True,
        "said": "",
        "events": [],
        "nearest": None,
        "script": [],
    }


def test_long_answers_stay_on_one_line() -> None:
    rule = never("b" * 300)
    caught = trace(run("b" * 300))

    assert len(repr(caught.obeys(rule))) < 200
    assert len(repr(caught.obeys(~rule))) < 200
    assert len(repr(trace().obeys(rule))) < 200


def test_the_script_that_offered_what_is_missing_is_named() -> None:
    model = ScriptedChatModel(call("search", q="x"))
    other = ScriptedChatModel("hello")
    caught = trace(run("book"))

    answer = caught.obeys(before("search", "book"))

    assert [line.rpartition(":")[0] for line in answer.script] == [
        "the script offered `search` at tests/matching/test_answers.py"
    ]
    other.invoke("hi")
    model.bind_tools([{"name": "search", "description": "x", "parameters": {"type": "object", "properties": {"q": {}}}}]).invoke(
        "x"
    )


# -- raising


# -- reading


def test_runs_can_be_chosen_by_tag_and_place() -> None:
    caught = trace(run("agent", [run("a", tags=("x", "y"))], [run("inner", [run("b", tags=("x",))])]), run("c", tags=("xy",)))

    assert caught.tags("x") == ["a", "b"]
    assert caught.tags("x*") == ["a", "b", "c"]
    assert caught.under(caught.run("agent")) == ["a", "inner", "b"]
    assert caught.tools.under(caught.run("inner")) == ["b"]
    assert caught.tools.tags("x").under(caught.run("inner")).explain([]).expected == "tools.tags('x').under(inner) == []"


def test_messages_of_a_run() -> None:
    with record() as caught:
        ScriptedChatModel("Hello there").invoke("hi")

    assert [(message.role, message.text) for message in caught.models[0].messages] == [("human", "hi"), ("ai", "Hello there")]
    assert chat_of(trace(run("a", output=None))) == []
    assert caught.tokens == []


def chat_of(caught: Trace) -> list[str]:
    return [message.text for message in caught.runs[0].messages]


def test_a_run_that_was_called_with_text_has_no_arguments() -> None:
    answer = trace(run("a", text="x")).tools.explain([called("a", id=1)])

    assert answer.nearest == (
        "event 0: on_tool_start `a`, depth 0: a; `a` was called with plain text, so it has no argument `id`"
    )


def test_a_failed_run_returned_nothing() -> None:
    caught = trace(run("a", error=Failure("ValueError", "x")), chat())

    assert str(caught.obeys(at_least(1, called("a").returned(1)))).splitlines()[-1] == (
        "  nearest  event 0: on_tool_start `a`, depth 0: a; it did not return (error)"
    )
