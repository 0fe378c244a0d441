"""The answers in a tree text, as steps: what a tree shows exactly, and what it hides."""

from __future__ import annotations

import contextlib

import pytest

from llmtest import Script, ScriptedChatModel, ScriptedLLM, call, fail, record, reply, say, think
from llmtest.errors import ScriptError
from llmtest.events.words import FrozenDict, Usage
from llmtest.scripts.step_types import Reply, Step
from llmtest.trees import render
from llmtest.trees.script_of_tree import calls_in

STEPS: list[Step] = [
    say("Hello there"),
    say("a\nb\n\n  c "),
    reply(
        call("weather", city="Paris", days=3, opts={"a": [1, 2.5, None, True], "t": "x\ny", "e": {}}),
        call("search", q='a;b, (c) = "d"'),
    ),
    reply(think("Let me\nsee."), "So: 1\n2", call("t")),
    say("x", usage=(5, 2), stop_reason="length"),
    say('quo"te | bar; call1 x'),
    say("| a\n| b"),
    say(""),
    reply(think("hm"), "short", call("long_tool_name_here", argument="x" * 90)),
    call("search", **{"odd key": "a, b"}),
    say("\u200b \U000e0001 snow ☃"),
]


def tree(*steps: Step, stream: bool = False) -> str:
    """The tree of a program that asks one question for each step."""
    with record() as recording:
        model = ScriptedChatModel(script=Script(*[step.unchecked() for step in steps]))
        for number, _ in enumerate(steps):
            with contextlib.suppress(Exception):
                list(model.stream(f"question {number}")) if stream else model.invoke(f"question {number}")
    return render(recording)


@pytest.mark.parametrize("step", STEPS, ids=range(len(STEPS)))
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_read_back(step: Step, stream: bool) -> None:
    ((found,), notes) = calls_in(tree(step, stream=stream), "x.tree")

    assert isinstance(found.step, Reply)
    assert isinstance(step, Reply)
    assert (found.step.parts, found.step.stop_reason) == (step.parts, step.stop_reason)
    assert (found.model, found.line, notes) == ("ScriptedChatModel", 1, [])


def test_arguments_that_are_no_json_are_their_text() -> None:
    ((found,), _) = calls_in(tree(call("weather", city="Paris").malformed('{"city": ')), "x.tree")

    assert isinstance(found.step, Reply)
    assert [(one.tool, one.pieces) for one in found.step.calls] == [("weather", ('{"city": ',))]


def test_a_failure_is_one_before_or_after_the_first_token() -> None:
    steps = fail(429), fail(ValueError("no such city")), fail(TimeoutError), say("one two").then_fail(TimeoutError("late"))
    text = tree(*steps, stream=True)

    calls, _ = calls_in(text, "x.tree")

    assert [str(call.step) for call in calls] == [
        "fail(429)",
        "fail('ValueError', message='no such city')",
        "fail('TimeoutError')",
        "say('one', ' two').then_fail('TimeoutError', message='late')",
    ]


def test_usage_has_its_details() -> None:
    head = 'chat gpt-5\n  > u1: "hi"\n'

    calls, _ = calls_in(f'{head}  < a1: "a"  usage in=9 (cache_read=3) out=4 (reasoning=2) total=15\n{head}  < a1\n', "x.tree")

    assert [call.step.usage for call in calls] == [  # type: ignore[union-attr]
        Usage(9, 4, 15, FrozenDict(cache_read=3), FrozenDict(reasoning=2)),
        False,
    ]


def test_a_text_model_says_text() -> None:
    with record() as recording:
        model = ScriptedLLM("one line", "two\nlines")
        model.invoke("a")
        model.invoke("b")

    calls, _ = calls_in(render(recording), "x.tree")

    assert [(call.model, str(call.step)) for call in calls] == [
        ("ScriptedLLM", "say('one', ' line')"),
        ("ScriptedLLM", "say('two', '\\nlines')"),
    ]


def test_tokens_are_kept_on_request() -> None:
    text = tree(say("str", "ea", "ms |", " x"), stream=True)

    plain, exact = calls_in(text, "x.tree"), calls_in(text, "x.tree", tokens=True)

    assert [call.step.parts[0].tokens for call in plain[0]] == [("streams", " |", " x")]  # type: ignore[union-attr]
    assert [call.step.parts[0].tokens for call in exact[0]] == [("str", "ea", "ms |", " x")]  # type: ignore[union-attr]
    assert exact[1] == []


@pytest.mark.parametrize("end", ["! cancelled", "! closed early", "! stopped"])
def test_a_call_that_was_ended_from_outside_says_no_more(end: str) -> None:
    head = 'chat m\n  > u1: "hi"\n'

    calls, _ = calls_in(f'{head}  {end}\n{head}  < partial a1: "a"\n  {end}\n', "x.tree")

    assert [str(call.step) for call in calls] == ["say().then_truncate()", "say('a').then_truncate()"]


def test_calls_that_came_late_are_calls() -> None:
    calls, _ = calls_in('late\n  chat m\n    > u1: "hi"\n    < a1: "a"\n', "x.tree")

    assert [(call.line, str(call.step)) for call in calls] == [(2, "say('a')")]


def test_texts_around_a_thought_share_one_stream_and_lose_its_tokens() -> None:
    text = tree(reply(say("on", "e"), think("hm"), say("tw", "o")), stream=True)

    calls, notes = calls_in(text, "x.tree", tokens=True)

    assert str(calls[0].step) == "reply(say('one'), think('hm'), say('two'))"
    assert notes == ["line 3: the snapshot does not show all tokens of the stream; the text is cut into words"]


def test_a_long_stream_has_no_tokens_in_a_tree() -> None:
    calls, notes = calls_in(tree(say(*["ab"] * 41), stream=True), "x.tree", tokens=True)

    assert "".join(calls[0].step.parts[0].tokens) == "ab" * 41  # type: ignore[union-attr]
    assert notes == ["line 3: the snapshot does not show all tokens of the stream; the text is cut into words"]


HIDDEN = "  take the script from the trace of the run (llmtest script TRACE), which holds all of it"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'chat m\n  > u1: "hi"\n  < a1: "the key is <mask:secret>"\n',
            "x.tree:3: the model said something that a snapshot shows as `<mask:secret>`, so that it is not known\n" + HIDDEN,
        ),
        (
            'chat m\n  > u1: "hi"\n  < a1: call1 refund(order=<id:1>)\n',
            "x.tree:3: the model said something that a snapshot shows as `<id:1>)`, so that it is not known\n" + HIDDEN,
        ),
        (
            'chat m\n  > u1: "hi"\n  < a1: <image/png 1204 bytes 3f2a9c01>\n',
            "x.tree:3: the model said something that a snapshot shows as `<image/png 1204 bytes 3f2a9c01>`, "
            "so that it is not known\n" + HIDDEN,
        ),
        ('chat m\n  > u1: "hi"\n  < a7\n', "x.tree:3: the text does not define `a7`"),
        ('chat m\n  > u1: "hi"\n  ? open\n', "x.tree:3: the call of the model did not end: `? open`"),
        (
            'chat m\n  > u1: "hi"\n  < a1: "a"\n  < a2: "b"\n',
            "x.tree:4: the model gave several candidates, of which a step says one\n" + HIDDEN,
        ),
        ("chat m\n", "x.tree:1: the text is an outline, which does not show what the models said"),
        ("what\n", "x.tree:1: the file is no tree text: expected a run, `parallel` or an entry; got 'what'"),
        (
            'chain a\n  > "x"\n  parallel\n    chat m\n      > u1: "hi"\n      < a1: "a"\n    chat m\n      > u1\n'
            '      < a2: "b"\n  < "y"\n',
            "x.tree:7: two calls of `m` ran at the same time, and a snapshot does not hold what tells them apart\n"
            f"  the other one is in line 4\n{HIDDEN}",
        ),
        ('chat m\n  > u1: "hi"\n  ^ handed off\n', "x.tree:3: a call of a model does not end so: `^ handed off`"),
        *[
            (
                f'chat m\n  > u1: "hi"\n  < a1: {said}\n',
                f"x.tree:3: the model said something that a snapshot shows as `{shown}`, so that it is not known\n{HIDDEN}",
            )
            for said, shown in {
                '"a" and more': "and more",
                "think(a)": "a)",
                'think("a" b)': "b)",
                'call1 refund("a" "b")': '"a" "b")',
                'call1 refund("odd key"=<id:1>)': "<id:1>)",
                "call1 refund(opts={a: 1})": "a: 1})",
                'call1 refund(opts={"a" 1})': "1})",
            }.items()
        ],
        *[
            (f'chat m\n  > u1: "hi"\n  < a1: {said}\n', f"x.tree:3: the line ends within what the model said\n{HIDDEN}")
            for said in ('"a"; ', 'think("a"', "call1 refund(", "call1 refund(a=[1, ")
        ],
    ],
)
def test_what_a_tree_does_not_hold_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ScriptError) as caught:
        calls_in(text, "x.tree")

    assert str(caught.value) == problem


def test_concurrent_calls_with_equal_answers_or_of_other_models_may_change_places() -> None:
    branch = '    chat {}\n      > u1: "hi"\n      < {}\n'
    text = (
        'chain a\n  > "x"\n  parallel\n'
        + branch.format("m", 'a1: "a"')
        + branch.format("m", "a1")
        + branch.format("n", 'a2: "b"')
    )

    calls, _ = calls_in(f'{text}  < "y"\n', "x.tree")

    assert [call.model for call in calls] == ["m", "m", "n"]
