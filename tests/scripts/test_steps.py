"""The vocabulary of scripts, what its mistakes are called, and how steps are served."""

from __future__ import annotations

import copy
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from llmtest import Script, ViolationError, call, fail, on, reply, say, think
from llmtest.concurrency.lanes import Lane
from llmtest.errors import ScriptError, expect_violation
from llmtest.events import FrozenDict, Message, ToolCall, Usage
from llmtest.scripts import Request, give
from llmtest.scripts.requests import show_message
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking
from tests.support.doubles import line

pytestmark = pytest.mark.usefixtures("page")

HERE = Path(__file__).relative_to(Path.cwd()) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__)


def message_of(act: Any) -> str:
    with pytest.raises(ScriptError) as caught:
        act()
    return str(caught.value)


NOTHING = Request({}, list)


# -- tokens


# -- say, think, call, reply


def test_one_plain_string_is_cut_and_several_are_exact_tokens() -> None:
    assert say("It is sunny.").parts == (Text(("It", " is", " sunny", ".")),)
    assert say("It is ", "sunny.").parts == (Text(("It is ", "sunny.")),)
    assert say(tokens=["It is sunny."]).parts == (Text(("It is sunny.",)),)
    assert say("", "").parts == (Text(("", "")),)
    assert say().parts == say("").parts == (Text(()),)
    assert think("Paris, then.").parts == (Thinking(("Paris", ",", " then", ".")),)
    assert think(tokens=[]).parts == (Thinking(()),)


def test_usage_is_a_pair_a_usage_a_usage_dict_or_nothing() -> None:
    details = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 10, "input_token_details": {"cache_read": 3}}

    assert say("a").usage is None
    assert say("a", usage=False).usage is False
    assert say("a", usage=(7, 2)).usage == Usage(7, 2, 9)
    assert say("a", usage=Usage(7, 2, 9)).usage == Usage(7, 2, 9)
    assert say("a", usage={"input_tokens": 7, "output_tokens": 2}).usage == Usage(7, 2, 9)
    assert say("a", usage=details).usage == Usage(7, 2, 10, FrozenDict(cache_read=3))
    assert reply("a", usage=(7, 2), stop_reason="stop").stop_reason == "stop"
    assert reply("a", response_metadata={"region": "eu"}).response_metadata == {"region": "eu"}


def test_a_call_takes_a_name_or_a_tool_and_its_arguments() -> None:
    def search(q: str) -> str:
        return q

    tool = SimpleNamespace(name="get_weather")

    assert call("search", q="x").parts == (Call("search", FrozenDict(q="x")),)
    assert call(search, q="x").parts == (Call("search", FrozenDict(q="x")),)
    assert call(tool, {"class": 2, "self": 1}, tool=3).parts == (
        Call("get_weather", FrozenDict({"class": 2, "self": 1, "tool": 3})),
    )
    assert call("search").with_id("call_7").parts == (Call("search", FrozenDict(), "call_7"),)


def test_arguments_become_what_a_reader_of_json_would_have() -> None:
    given_args = {"pair": (1, 2), "deep": {"list": [{"x": None}]}, "flag": True, "ratio": 0.5}

    args = call("search", given_args).calls[0].args

    assert repr(args) == "{'pair': [1, 2], 'deep': {'list': [{'x': None}]}, 'flag': True, 'ratio': 0.5}"


def test_arguments_do_not_change_when_what_they_were_made_from_does() -> None:
    deep = {"list": [1]}
    step = call("search", q=deep)

    deep["list"].append(2)

    assert step.calls[0].args == {"q": {"list": [1]}}
    with pytest.raises(TypeError, match="read-only"):
        step.calls[0].args["q"]["list"].append(2)


def test_a_call_is_streamed_as_its_arguments_in_json() -> None:
    called = call("search", q="天气").calls[0]

    assert called.tokens == ("{", '"', "q", '"', ":", ' "', "天", "气", '"', "}")
    assert json.loads("".join(called.tokens)) == {"q": "天气"}


def test_a_reply_keeps_its_parts_in_order() -> None:
    step = reply(think("hm"), "Let me look", call("search", q="x"), say("a", "b"), call("search", q="y"))

    assert step.parts == (
        Thinking(("hm",)),
        Text(("Let", " me", " look")),
        Call("search", FrozenDict(q="x")),
        Text(("a", "b")),
        Call("search", FrozenDict(q="y")),
    )
    assert step.text == "Let me lookab"
    assert step.calls == (Call("search", FrozenDict(q="x")), Call("search", FrozenDict(q="y")))
    assert step.thinks
    # 1 + 3 + 2, and for each call its name and the 9 tokens of {"q": "x"}
    assert step.token_count == 6 + 2 * (1 + 9)


class NeedsCode(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)


MISTAKES = {
    "say: a number": (
        lambda: say("It is ", 18),  # type: ignore[arg-type]
        "token 2 of say is not a str: got int 18",
    ),
    "say: tokens twice": (
        lambda: say("a", tokens=["b"]),
        "say takes its tokens as arguments or as tokens=[...], not both",
    ),
    "think: tokens are a str": (
        lambda: think(tokens="whole"),
        "tokens= of think is a list of tokens; got the str 'whole'. For one whole token: tokens=['whole']",
    ),
    "say: one number as usage": (
        lambda: say("a", usage=7),  # type: ignore[arg-type]
        "usage is (input_tokens, output_tokens), a Usage, a LangChain usage dict, None or False; got int 7",
    ),
    "say: usage that is negative": (
        lambda: say("a", usage=(7, -2)),
        "usage is (input_tokens, output_tokens), a Usage, a LangChain usage dict, None or False; got tuple (7, -2)",
    ),
    "say: usage with a key missing": (
        lambda: say("a", usage={"input_tokens": 7}),
        "usage is (input_tokens, output_tokens), a Usage, a LangChain usage dict, None or False; got dict {'input_tokens': 7}",
    ),
    "say: usage of text": (
        lambda: say("a", usage={"input_tokens": 7, "output_tokens": 2, "total_tokens": "9"}),
        "usage is (input_tokens, output_tokens), a Usage, a LangChain usage dict, None or False; "
        "got dict {'input_tokens': 7, 'output_tokens': 2, 'total_tokens': '9'}",
    ),
    "call: no tool": (
        lambda: call(7),
        "call() takes the name of a tool, or the tool; got int 7",
    ),
    "call: empty name": (
        lambda: call(""),
        "call() takes the name of a tool, or the tool; got str ''",
    ),
    "call: arguments are a list": (
        lambda: call("search", ["x"]),  # type: ignore[arg-type]
        "the arguments of call('search') are a mapping or keywords; got list ['x']",
    ),
    "call: an argument twice": (
        lambda: call("search", {"q": "x"}, q="y"),
        "call('search') has the argument `q` twice: in the mapping and as a keyword",
    ),
    "call: an argument without a name": (
        lambda: call("search", {1: "x"}),  # type: ignore[dict-item]
        "the arguments of call('search') have names; got int 1 for one",
    ),
    "call: an argument that is no JSON": (
        lambda: call("search", q={1}),
        "the argument `q` of call('search') is not JSON: got set {1} (Object of type set is not JSON serializable)",
    ),
    "call: a key that JSON would change": (
        lambda: call("search", q=[{1: "x"}]),
        "the argument `q` of call('search') is not JSON: got list [{1: 'x'}] (its key 1 is not a str)",
    ),
    "with_id: no call": (
        lambda: say("a").with_id("call_7"),
        "with_id('call_7') is about one tool call, but say('a') has 0; use it on call(...)",
    ),
    "with_id: two calls": (
        lambda: reply(call("a"), call("b")).with_id("call_7"),
        "with_id('call_7') is about one tool call, but reply(call('a'), call('b')) has 2; use it on call(...)",
    ),
    "reply: a number": (
        lambda: reply("a", 7),  # type: ignore[arg-type]
        "part 2 of reply() is not a part: got int 7\n  a part is a str, say(...), think(...), call(...) or a gate",
    ),
    "reply: a failure as a part": (
        lambda: reply(fail(429)),  # type: ignore[arg-type]
        f"part 1 of reply() is not a part: got Fail {fail(429)!r}\n  a part is a str, say(...), think(...), call(...) or a gate",
    ),
    "reply: a part with a usage": (
        lambda: reply("a", say("b", usage=False)),
        "part 2 of reply() has a `usage` of its own: say('b'); give it to the whole reply instead",
    ),
    "reply: a part with a stop reason": (
        lambda: reply(say("b", stop_reason="stop")),
        "part 1 of reply() has a `stop_reason` of its own: say('b'); give it to the whole reply instead",
    ),
    "reply: a part with metadata": (
        lambda: reply(say("b", response_metadata={"a": 1})),
        "part 1 of reply() has a `response_metadata` of its own: say('b'); give it to the whole reply instead",
    ),
    "reply: a part that fails": (
        lambda: reply(say("b").then_fail(429)),
        "part 1 of reply() has a `then_fail` of its own: say('b').then_fail(429); give it to the whole reply instead",
    ),
    "fail: an unknown name": (
        lambda: fail("TimeotError"),
        "fail() knows no exception named 'TimeotError'; did you mean `TimeoutError`?",
    ),
    "fail: a name like no other": (
        lambda: say("a").then_fail("zzz"),
        "fail() knows no exception named 'zzz'",
    ),
    "fail: a status that is no failure": (
        lambda: fail(200),
        "an HTTP status that fails lies between 400 and 599; fail() got 200",
    ),
    "fail: no error at all": (
        lambda: fail(None),  # type: ignore[arg-type]
        "fail() takes an exception, an exception class, its name, or an HTTP status; got NoneType None",
    ),
    "fail: a flag": (
        lambda: fail(True),
        "fail() takes an exception, an exception class, its name, or an HTTP status; got bool True",
    ),
    "fail: another class": (
        lambda: fail(dict),  # type: ignore[arg-type]
        "fail() takes an exception, an exception class, its name, or an HTTP status; got type <class 'dict'>",
    ),
    "fail: a class that needs arguments": (
        lambda: fail(NeedsCode),
        "fail(NeedsCode) has no arguments to make the exception with: "
        "NeedsCode.__init__() missing 1 required positional argument: 'code'\n  give it made: fail(NeedsCode(...))",
    ),
    "fail: text to wait for": (
        lambda: fail(429, retry_after="soon"),  # type: ignore[arg-type]
        "retry_after is a number of seconds, 0 or more; got str 'soon'",
    ),
    "fail: endless waiting": (
        lambda: fail(429, float("inf")),
        "retry_after is a number of seconds, 0 or more; got float inf",
    ),
}


@pytest.mark.parametrize(("act", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_where_it_is_written(act: Any, message: str) -> None:
    assert message_of(act) == message


# -- fail


# -- where a step was written


def test_a_step_knows_where_it_was_written() -> None:
    steps = [say("a"), call("a").with_id("b"), fail(429), reply(say("a"), "b")]
    script = Script("a", ValueError("b"))
    told = line()

    assert {step.where for step in steps} == {f"{__file__}:{told - 2}"}
    assert {step.where for step in script.steps} == {f"{__file__}:{told - 1}"}


# -- steps of a script


def test_a_step_may_be_a_str_a_message_or_an_exception() -> None:
    error = TimeoutError("too long")

    script = Script("Hello there", AIMessage("Goodbye"), error, ValueError, fail(429), say("a", "b"))

    assert script.steps == (say("Hello there"), say("Goodbye"), fail(error), fail(ValueError), fail(429), say("a", "b"))


def test_a_message_as_a_step_says_all_that_it_says() -> None:
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": "Paris, then."},
            {"type": "thinking", "thinking": "Sunny?"},
            {"type": "text", "text": "Let me look"},
            "up",
            {"type": "tool_use", "id": "call_1", "name": "search", "input": {"q": "x"}},
        ],
        tool_calls=[{"name": "search", "args": {"q": ["x"]}, "id": "call_1"}, {"name": "now", "args": {}, "id": None}],
        usage_metadata={"input_tokens": 7, "output_tokens": 2, "total_tokens": 9, "output_token_details": {"reasoning": 1}},
        response_metadata={"finish_reason": "tool_calls", "region": "eu"},
        id="its id is not kept",
    )

    (step,) = Script(message).steps

    assert isinstance(step, Reply)
    assert step.parts == (
        Thinking(("Paris", ",", " then", ".")),
        Thinking(("Sunny", "?")),
        Text(("Let", " me", " look")),
        Text(("up",)),
        Call("search", FrozenDict(q=["x"]), "call_1"),
        Call("now", FrozenDict()),
    )
    assert step.usage == Usage(7, 2, 9, output_details=FrozenDict(reasoning=1))
    assert step.response_metadata == {"finish_reason": "tool_calls", "region": "eu"}
    assert step.verbatim == {"content": message.content}


def test_an_empty_message_says_nothing() -> None:
    assert Script(AIMessage("")).steps == (Reply(()),)


def test_what_is_not_a_step_is_named_by_its_number() -> None:
    told = line() + 2

    assert message_of(lambda: Script("a", 7)) == (
        f"step 2 of the script is not a step: got int 7 at {HERE}:{told}\n"
        "  a step is say(...), think(...), call(...), structured(...), reply(...), fail(...), respond(...),\n"
        "  a str, an AIMessage or an exception"
    )
    assert "got HumanMessage" in message_of(lambda: Script(HumanMessage("Hello")))


def test_a_message_that_is_not_json_is_refused() -> None:
    sound = AIMessage([{"type": "audio", "data": b"x"}])
    odd = AIMessage("", additional_kwargs={"handle": {1}})

    assert message_of(lambda: Script(sound)) == (
        "the `content` of an AIMessage step is not JSON: [{'type': 'audio', 'data': b'x'}]"
        " (Object of type bytes is not JSON serializable)"
    )
    assert message_of(lambda: Script(odd)) == (
        "the `additional_kwargs` of an AIMessage step is not JSON: {'handle': {1}} (Object of type set is not JSON serializable)"
    )
    assert "fail(NeedsCode) has no arguments" in message_of(lambda: Script(NeedsCode))


def test_a_message_takes_options_in_a_reply() -> None:
    message = AIMessage("Yes.", name="bob")

    assert reply(message).optional() == Script(message).steps[0].optional()
    assert message_of(lambda: reply(message, usage=(1, 1))) == (
        "reply() of an AIMessage takes no other arguments: the message has its usage and metadata"
    )


# -- serving


def test_steps_are_served_in_order_and_each_once() -> None:
    script = Script("a", call("search", q="x"), fail(429))
    request = Request({"search": {"properties": {"q": {}}}}, list)

    served = [script.serve(request) for _ in range(3)]

    assert served == [say("a"), call("search", q="x"), fail(429)]
    assert (script.remaining, repr(script)) == (0, "<Script: 3 calls, 0 of 3 steps left>")
    script.verify()


def test_sixteen_threads_take_each_step_once() -> None:
    threads, each = 16, 20_000
    script = Script(*(Fail(503, retry_after=number) for number in range(threads * each)))
    served: list[list[float | None]] = [[] for _ in range(threads)]
    barrier = threading.Barrier(threads)

    def work(mine: list[float | None]) -> None:
        barrier.wait()
        for _ in range(each):
            step = script.serve(NOTHING)
            assert isinstance(step, Fail)
            mine.append(step.retry_after)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in served]
    interval, trace = sys.getswitchinterval(), threading.gettrace()
    sys.setswitchinterval(1e-5)
    threading.settrace(None)  # type: ignore[arg-type]  # coverage would spend half a minute on these threads
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        threading.settrace(trace)  # type: ignore[arg-type]
        sys.setswitchinterval(interval)

    assert sorted(number for mine in served for number in mine if number is not None) == list(range(threads * each))
    assert all(mine == sorted(mine) for mine in served)  # type: ignore[type-var]
    script.verify()


def test_copies_share_their_steps() -> None:
    script = Script("a", "b", "c")

    served = [copy.copy(script).serve(NOTHING), copy.deepcopy({"script": [script]})["script"][0].serve(NOTHING)]

    assert served == [say("a"), say("b")]
    assert script.remaining == 1


def test_the_prompt_is_read_only_when_it_is_needed() -> None:
    reads: list[int] = []

    def read() -> list[Message]:
        reads.append(1)
        return []

    script = Script("a")

    script.serve(Request({}, read))

    assert reads == []
    with pytest.raises(ViolationError):
        script.serve(Request({}, read))
    assert reads == [1]


def test_verify_raises_for_what_happened_and_for_what_did_not() -> None:
    script = Script(call("search"), "unused")
    with pytest.raises(ViolationError):
        script.check(call("search"), Request())

    with pytest.raises(ViolationError) as caught:
        script.verify()

    assert [violation.code for violation in caught.value.violations] == ["invalid tool call", "unused step"]
    assert str(caught.value) == "\n\n".join(violation.text for violation in caught.value.violations)


def test_verify_does_not_raise_for_what_was_expected() -> None:
    script = Script()
    with expect_violation("unexpected call"):
        script.serve(NOTHING)

    script.verify()

    assert script.violations == []


def test_a_step_that_was_taken_while_its_expectation_was_looked_at_is_not_served_twice() -> None:
    script = Script(say("first").expects(contains="Hi"), say("second").expects(contains="Hi"))
    others: list[Any] = []

    def read() -> list[Message]:
        others.append(script.serve(Request(read=lambda: [Message("human", "Hi, too")])))
        return [Message("human", "Hi")]

    served = script.serve(Request(read=read))

    assert (str(served), str(others[0])) == (
        "say('second').expects(contains=['Hi'])",
        "say('first').expects(contains=['Hi'])",
    )


def test_open_runs_with_keys_of_their_own_do_not_compete() -> None:
    script = Script(*(on(contains=name) >> Script("first", "second") for name in ("a", "b")))
    runs = [SimpleNamespace(run_id=uuid4()), SimpleNamespace(run_id=uuid4())]

    served = [
        script.serve(
            Request(
                read=lambda name=name: [Message("human", name)],  # type: ignore[misc]
                run=lambda run=run: run,  # type: ignore[misc]
                lane=Lane(number, name, number),
            )
        )
        for number, (name, run) in enumerate(zip("ab", runs, strict=True))
    ]

    assert served == [say("first"), say("first")]
    assert script.violations == []


def test_a_prompt_of_tool_results_alone_names_their_tools() -> None:
    request = Request(read=lambda: [Message("tool", "1", name="search"), Message("tool", "2", tool_call_id="call_1")])

    assert request.tool_results == ("search", "")


def test_a_value_that_cannot_be_copied_cannot_be_given() -> None:
    lock = threading.Lock()

    assert message_of(lambda: give(lock)) == (
        f"give() takes a value that can be copied; got lock {lock!r} (cannot pickle '_thread.lock' object)\n"
        "  respond(lambda request: value) gives the value itself"
    )


def test_a_message_is_shown_in_one_short_line() -> None:
    calls = (ToolCall("search", FrozenDict(q="天气"), "call_1"), ToolCall("now", "{broken"))

    assert show_message(Message("human", "Hello\nthere")) == "human 'Hello\\nthere'"
    assert show_message(Message("human", "")) == "human ''"
    assert show_message(Message("human", "a" * 300)) == f"human '{'a' * 184}' ... '{'a' * 16}' (300 characters)"
    assert show_message(Message("ai", "", calls)) == 'ai calls search({"q": "天气"}), now("{broken")'
    assert show_message(Message("ai", "Hm", calls[:1])) == 'ai \'Hm\' calls search({"q": "天气"})'
