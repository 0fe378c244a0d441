"""A history that grows is recorded as it was at each event, and costs what it should."""

from __future__ import annotations

import gc
import tracemalloc
import uuid
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import _configure_hooks

from llmtest import Script, ScriptedChatModel, call, record, say
from llmtest.capture import blocks as rooms
from llmtest.capture import membership
from llmtest.events import FrozenDict, Message, Opaque
from llmtest.langchain import freezing, tap
from llmtest.langchain.freezing import freeze, hold, words
from llmtest.ledger import Ledger, opened
from llmtest.recording import Recording
from tests.support.tools import weather


class Keeper(BaseCallbackHandler):
    """Keeps every callback as it came, to play it to the tap again."""

    run_inline = True

    def __init__(self) -> None:
        self.log: list[tuple[str, Any, Any]] = []


def _keep(kind: str) -> Callable[..., None]:
    return lambda self, *args, **kwargs: self.log.append((kind, args, kwargs))


for _kind in [name for name in vars(tap.Tap) if name.startswith("on_") and name != "on_llm_new_token"]:
    setattr(Keeper, _kind, _keep(_kind))


def callbacks_of_an_agent(turns: int) -> list[tuple[str, Any, Any]]:
    keeper = Keeper()
    model = ScriptedChatModel(script=Script(*[call("weather", city=f"city {n}") for n in range(turns)], "done"))
    create_agent(model, [weather]).invoke({"messages": "hi"}, {"callbacks": [keeper], "recursion_limit": 3 * turns + 10})
    return keeper.log


def play(log: list[tuple[str, Any, Any]]) -> Recording:
    with opened(Ledger()), record() as recording:
        for kind, args, kwargs in log:
            getattr(tap.TAP, kind)(*args, **kwargs)
    return recording


def conversation(turns: int = 10) -> list[BaseMessage]:
    """Twenty messages, of each kind that is edited below."""
    messages: list[BaseMessage] = [SystemMessage("be brief")]
    for n in range(turns):
        asked = [{"name": "f", "args": {"city": f"city {n}", "deep": {"a": [1, 2]}}, "id": f"c{n}"}]
        messages += [HumanMessage([{"type": "text", "text": f"q{n}"}]), AIMessage("", tool_calls=asked)]
        messages += [ToolMessage("18C", tool_call_id=f"c{n}", additional_kwargs={"a": {"b": [n]}}, response_metadata={"m": "x"})]
    return messages


# -- what changes between two events shows in the second, and only there


def _reassign(messages: list[Any]) -> None:
    messages[4].content = "other"


def _edit_content(messages: list[Any]) -> None:
    messages[4].content[0]["text"] = "other"


def _append_content(messages: list[Any]) -> None:
    messages[4].content.append("other")


def _edit_args(messages: list[Any]) -> None:
    messages[5].tool_calls[0]["args"]["city"] = "other"


def _edit_deep_args(messages: list[Any]) -> None:
    messages[5].tool_calls[0]["args"]["deep"]["a"][1] = "other"


def _rename_arg(messages: list[Any]) -> None:
    args = messages[5].tool_calls[0]["args"]
    args["town"] = args.pop("city")


def _one_is_true(messages: list[Any]) -> None:
    messages[5].tool_calls[0]["args"]["deep"]["a"][0] = True


def _edit_kwargs(messages: list[Any]) -> None:
    messages[6].additional_kwargs["a"]["b"].append("other")


def _edit_metadata(messages: list[Any]) -> None:
    messages[6].response_metadata["m"] = "other"


def _replace(messages: list[Any]) -> None:
    messages[4] = HumanMessage("other")


def _reverse(messages: list[Any]) -> None:
    messages.reverse()


def _remove(messages: list[Any]) -> None:
    del messages[4]


def _object(messages: list[Any]) -> None:
    messages[6].artifact = Strange()


EDITS = [
    _reassign,
    _edit_content,
    _append_content,
    _edit_args,
    _edit_deep_args,
    _rename_arg,
    _one_is_true,
    _edit_kwargs,
    _edit_metadata,
    _replace,
    _reverse,
    _remove,
    _object,
]


class Strange:
    """An object of the program. It minds being looked at."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __repr__(self) -> str:
        raise AssertionError("printed")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    @property
    def name(self) -> str:
        raise AssertionError("asked")


def text(word: Any) -> str:
    """Words as text, since 1 equals True."""
    return repr(word)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("turns", [2, 10])
def test_what_is_edited_between_two_events_shows_in_the_second(edit: Callable[[list[Any]], None], turns: int) -> None:
    messages = conversation(turns)
    before = text([freezing._HeldMessage(message.__dict__).word() for message in messages])

    first, again = hold({"messages": messages}), hold({"messages": messages})
    edit(messages)
    second, more = hold({"messages": messages}), hold({"messages": [*messages, AIMessage("ok")]})
    after = text([freezing._HeldMessage(message.__dict__).word() for message in messages])

    assert text(words(first)["messages"]) == text(words(again)["messages"]) == before
    assert text(words(second)["messages"]) == text(words(more)["messages"][:-1]) == after
    assert before != after


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_a_model_run_shows_in_the_next_run(edit: Callable[[list[Any]], None]) -> None:
    messages = conversation()
    model = ScriptedChatModel(say("x").times(2))

    with record() as recording:
        model.invoke(messages)
        edit(messages)
        model.invoke(messages)

    assert text(recording.models[0].input) == text(freeze(conversation()))
    assert text(recording.models[1].input) == text(freeze(messages))
    assert text(recording.models[0].input) != text(recording.models[1].input)


def test_an_edit_that_is_taken_back_shows_in_between() -> None:
    messages: list[Any] = conversation()
    held = [hold(messages)]

    for content in ("hidden", "be brief"):
        messages[0].content = content
        held.append(hold(messages))

    assert [words(one)[0].content for one in held] == ["be brief", "hidden", "be brief"]


# -- what does not change is held once


def test_a_list_that_grows_shares_its_messages() -> None:
    messages = conversation()

    short = words(hold(messages))
    long = words(hold((*messages, HumanMessage("more"))))
    shorter = words(hold(messages[:9]))

    assert [a is b for a, b in zip(short, long, strict=False)] == [True] * len(messages)
    assert [a is b for a, b in zip(short, shorter, strict=False)] == [True] * 9
    assert long[-1] == Message("human", "more")


def test_the_same_list_twice_is_one_word() -> None:
    messages = conversation()

    first, again = freeze({"a": messages, "b": messages}).values()

    assert first is again


def test_messages_made_anew_with_the_same_content_are_held_once() -> None:
    first = hold(conversation())
    again = hold(conversation())

    assert [a is b for a, b in zip(words(first), words(again), strict=True)] == [True] * 31


def test_a_message_that_carries_an_object_is_held_once_too() -> None:
    messages = conversation()
    messages[6] = ToolMessage("x", tool_call_id="c", artifact={"o": Strange(), "e": ValueError("v"), "d": Document("d")})

    held, more, less = hold(messages), hold([*messages, AIMessage("ok")]), hold(messages[:30])
    again, first, shorter = words(more), words(held), words(less)
    short, short_again = words(hold(messages[4:8])), words(hold(messages[4:8]))

    assert first[6].artifact["o"] == Opaque("Strange")
    assert [a is b is c for a, b, c in zip(first, again, shorter, strict=False)] == [True] * 30
    assert [a is b for a, b in zip(short, short_again, strict=True)] == [True] * 4


def test_a_message_with_an_object_need_not_be_in_a_shorter_list() -> None:
    messages = conversation()
    messages[20] = ToolMessage("x", tool_call_id="c", artifact=Strange())

    long, short, again = [words(held) for held in [hold(messages), hold(messages[:12]), hold(messages)]]

    assert [a is b is c for a, b, c in zip(long, short, again, strict=False)] == [True] * 12


def test_two_histories_that_grew_from_one_are_two() -> None:
    messages = conversation()

    base = hold(messages)
    left = hold([*messages, HumanMessage("left")])
    right = hold([*messages, HumanMessage("right")])

    assert [len(words(one)) for one in (base, left, right)] == [31, 32, 32]
    assert [words(one)[-1].content for one in (left, right)] == ["left", "right"]


def test_a_history_that_another_thread_has_lengthened_is_left_to_it() -> None:
    history = freezing._History()

    assert history.grow(0, [HumanMessage("one")])
    assert not history.grow(0, [HumanMessage("other")])
    assert words(history.first(1)) == [Message("human", "one")]


def test_a_list_with_something_else_than_messages_is_a_plain_list() -> None:
    messages = [*conversation(2), ("human", "hi"), {"role": "user"}]

    assert freeze(messages)[7:] == [["human", "hi"], {"role": "user"}]


def test_a_history_in_an_object_of_a_message_is_compared_as_what_it_is() -> None:
    inner = conversation()
    message = ToolMessage("x", tool_call_id="c", artifact={"messages": inner, "o": Strange()})

    first = freezing.hold_message(message)
    again = freezing.hold_message(message)
    inner[0].content = "edited"
    edited = freezing.hold_message(message)

    assert first is again
    assert edited is not first
    assert [held.word().artifact["messages"][0].content for held in (first, edited)] == ["be brief", "edited"]


def test_histories_are_gone_with_the_recordings_that_hold_them() -> None:
    messages = conversation()
    before = len(freezing._histories)

    held = hold(messages)
    during = len(freezing._histories)
    message = weakref.ref(messages[0])
    del messages
    kept = message()
    del held

    assert during == before + 1
    assert kept is None
    assert len(freezing._histories) == before


# -- what it costs


def memory_of(log: list[tuple[str, Any, Any]]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        recording = play(log)
        gc.collect()
        assert len(recording) == len(log)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_four_times_the_turns_take_four_times_the_memory() -> None:
    play(callbacks_of_an_agent(1))
    short, long = callbacks_of_an_agent(25), callbacks_of_an_agent(100)

    assert memory_of(long) <= 4.4 * memory_of(short)


@pytest.mark.usefixtures("nothing_open")
def test_messages_are_compared_once_for_each_list_and_copied_once() -> None:
    log = callbacks_of_an_agent(30)
    copied: list[Any] = []
    taken = freezing._HeldMessage.__init__

    class Counting(freezing._HeldMessage):
        __slots__ = ()

        def __init__(self, fields: dict[str, Any]) -> None:
            copied.append(fields["type"])
            taken(self, fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(freezing, "_HeldMessage", Counting)
        recording = play(log)

    assert len(recording.models[-1].input) == 61
    assert len(copied) == 62


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_a_token_takes_at_most_300_bytes_however_many_there_are(count: int) -> None:
    run_id = uuid.uuid4()
    tokens = [f"word {n} " for n in range(count)]
    with opened(Ledger()), record() as recording:
        tap.TAP.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
        gc.collect()
        tracemalloc.start()
        try:
            for token in tokens:
                tap.TAP.on_llm_new_token(token, run_id=run_id)
            size = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert len(recording) == count + 1
    assert size / count <= 300


@pytest.mark.usefixtures("nothing_open")
def test_with_nothing_open_only_the_hook_is_asked_once_for_each_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    with record():
        pass
    asked: list[str] = []
    managers: list[str] = []
    for name in [name for name in vars(tap.Tap) if name.startswith(("on_", "_"))]:
        if callable(getattr(tap.Tap, name)) and not name.startswith("__"):
            monkeypatch.setattr(tap.Tap, name, lambda *args, _name=name, **kwargs: asked.append(_name))
    get = tap._Hook.get
    monkeypatch.setattr(tap._Hook, "get", lambda self: (asked.append("get"), get(self))[1])
    monkeypatch.setattr(membership, "begin", lambda *args: asked.append("begin"))
    monkeypatch.setattr(rooms.Membership, "deliver", lambda *args: asked.append("deliver"))

    class Counter:
        def get(self) -> None:
            managers.append("get")

    _configure_hooks.append((Counter(), True, None, None))  # type: ignore[arg-type]
    try:
        chain = RunnableLambda(lambda x: x) | ScriptedChatModel(say("a", "b"))
        list(chain.stream("hi"))
    finally:
        _configure_hooks.pop()

    assert asked == managers
    assert len(managers) >= 3


def test_frozen_lists_of_a_history_are_like_other_lists() -> None:
    frozen = freeze({"messages": conversation()})

    assert isinstance(frozen, FrozenDict)
    assert frozen["messages"] == list(frozen["messages"])
    with pytest.raises(TypeError, match="read-only"):
        frozen["messages"].append(1)
