"""The frozen words of a recording: containers that cannot be changed, usage that adds up, the text of a message."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from llmtest.events import EMPTY, Failure, FrozenDict, FrozenList, Message, ToolCall, Usage

DICT_CHANGES = {
    "__setitem__": ("a", 2),
    "__delitem__": ("a",),
    "__ior__": ({"a": 2},),
    "clear": (),
    "pop": ("a",),
    "popitem": (),
    "setdefault": ("b", 1),
    "update": ({"a": 2},),
}
LIST_CHANGES = {
    "__setitem__": (0, 2),
    "__delitem__": (0,),
    "__iadd__": ([2],),
    "__imul__": (2,),
    "append": (2,),
    "clear": (),
    "extend": ([2],),
    "insert": (0, 2),
    "pop": (),
    "remove": (1,),
    "reverse": (),
    "sort": (),
}


@pytest.mark.parametrize(("method", "args"), DICT_CHANGES.items(), ids=DICT_CHANGES)
def test_a_frozen_dict_cannot_be_changed(method: str, args: tuple[Any, ...]) -> None:
    frozen = FrozenDict(a=1)

    with pytest.raises(TypeError) as caught:
        getattr(frozen, method)(*args)

    assert str(caught.value) == "a recording is read-only; make a copy first: dict(value)"
    assert frozen == {"a": 1}


@pytest.mark.parametrize(("method", "args"), LIST_CHANGES.items(), ids=LIST_CHANGES)
def test_a_frozen_list_cannot_be_changed(method: str, args: tuple[Any, ...]) -> None:
    frozen = FrozenList([1])

    with pytest.raises(TypeError) as caught:
        getattr(frozen, method)(*args)

    assert str(caught.value) == "a recording is read-only; make a copy first: list(value)"
    assert frozen == [1]


def test_every_method_that_changes_a_container_is_refused() -> None:
    changing = {
        name
        for kind, frozen in ((dict, FrozenDict), (list, FrozenList))
        for name in vars(kind)
        if name not in vars(frozen) and name not in dir(frozenset) and name not in dir(tuple)
    }

    # What is left reads, or makes a plain copy.
    assert changing == {"__reversed__", "fromkeys", "get", "items", "keys", "values"}


def test_frozen_containers_equal_plain_ones_dump_like_them_and_hash() -> None:
    frozen = FrozenDict(a=FrozenList([1, FrozenDict(b=None)]))

    plain = {"a": [1, {"b": None}]}

    assert frozen == plain
    assert json.dumps(frozen) == json.dumps(plain)
    assert len({frozen, FrozenDict(a=FrozenList([1, FrozenDict(b=None)])), EMPTY}) == 2


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_frozen_container_is_frozen(again: Any) -> None:
    frozen = FrozenDict(a=FrozenList([FrozenDict(b=1)]))

    copied = again(frozen)

    assert copied == frozen
    assert (type(copied), type(copied["a"]), type(copied["a"][0])) == (FrozenDict, FrozenList, FrozenDict)
    assert (type(dict(copied)), type(list(copied["a"]))) == (dict, list)


# -- usage


def test_usages_add_up_with_their_details() -> None:
    first = Usage(7, 2, 9, FrozenDict(cache_read=3), FrozenDict(reasoning=1))
    second = Usage(1, 1, 3, FrozenDict(cache_read=1, audio=2))

    total = first + second

    assert total == Usage(8, 3, 12, FrozenDict(cache_read=4, audio=2), FrozenDict(reasoning=1))
    assert sum([first, second], Usage()) == total


# -- messages


def test_the_text_of_a_message_leaves_out_blocks_of_other_kinds() -> None:
    blocks = FrozenList(
        [
            "a ",
            {"type": "text", "text": "b"},
            {"type": "reasoning", "text": "no"},
            {"type": "text"},
            {"type": "image", "url": "x"},
        ]
    )

    assert Message("ai", "Hello").text == "Hello"
    assert Message("ai", blocks).text == "a b"


def test_a_tool_call_is_a_value() -> None:
    assert len({ToolCall("search", FrozenDict(q="x"), "1"), ToolCall("search", FrozenDict(q="x"), "1"), ToolCall("search")}) == 2


class _Odd(ValueError):
    """Takes no weak reference, and no second one can be made of its `args`."""

    __slots__ = ()

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def test_an_exception_is_kept_as_it_was_or_made_again() -> None:
    class Mine(Exception):
        pass

    mine, builtin = Mine("a"), KeyError("b")
    kept, again, odd = (Failure(type(error).__name__, "").keep(error).exception for error in (mine, builtin, _Odd("c", "d")))

    assert kept is mine
    assert (again is not builtin, repr(again), odd) == (True, "KeyError('b')", None)
    assert Failure("KeyError", "'b'").exception is None
