"""Ids and times that a snapshot shows as they are, and what its text says of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableLambda

from llmtest import Recording, record
from llmtest.trees import diff
from llmtest.trees.constants import Constants, ShownIn
from llmtest.trees.rendering import HEADER, Rendered

A, B, C = "5e1f7f0e-3f0a-4f0b-8a51-0d2c6a3b9f10", "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55", "9b2d7c1a-6e4f-4d3a-b8c9-7f6e5d4c3b2a"
INTERRUPT = "9f86d081884c4d65aa2feaa0c55ad015"


def transfer(value: Any) -> Recording:
    with record() as recording:
        RunnableLambda(lambda _: None, name="given").invoke(value)
    return recording


def accepted(value: Any) -> str:
    """The text of a snapshot of which each run had the same ids and times."""
    source = Rendered(transfer(value))
    return source.show(source.met)


def test_constants_that_change_places_are_a_difference() -> None:
    before = accepted({"from": A, "to": B})
    swapped = Rendered(transfer({"from": B, "to": A}), before)

    assert before == f'{HEADER}\nchain given\n  > {{"from": "{A}", "to": "{B}"}}\n  < null\n'
    assert swapped.text == f'{HEADER}\nchain given\n  > {{"from": "{B}", "to": "{A}"}}\n  < null\n'


def test_what_was_not_the_same_in_each_run_keeps_its_mask() -> None:
    before = Rendered(transfer({"from": A, "to": C})).show({A})

    assert before == f'{HEADER}\nchain given\n  > {{"from": "{A}", "to": "<id:1>"}}\n  < null\n'
    assert Rendered(transfer({"from": A, "to": B}), before).text == before
    assert Rendered(transfer({"from": C, "to": B}), before).text == before.replace(A, "<id:1>").replace('id:1>"}', 'id:2>"}')


@pytest.mark.parametrize(
    ("value", "other", "shown"),
    [
        ({"created_at": "2024-05-01T10:00"}, {"created_at": "2025-05-01T10:00"}, '{"created_at": "2024-05-01T10:00"}'),
        ({"ts": 1714557600}, {"ts": 1714557601}, '{"ts": 1714557600}'),
        ("at 2024-05-01 10:00:00.123", "at 2024-05-01 10:00:00.124", '"at 2024-05-01 10:00:00.123"'),
        ({"order_id": "9f86d081884c4d65"}, {"order_id": "9f86d081884c4d66"}, '{"order_id": "9f86d081884c4d65"}'),
        (UUID(A), UUID(B), A),
        ({A: 1}, {B: 1}, f'{{"{A}": 1}}'),
        (f"lc_run--{A}-0", f"lc_run--{A}-1", f'"lc_run--{A}-0"'),
        (A.upper(), B, f'"{A}"'),
    ],
    ids=["date", "epoch", "in a text", "hexadecimal", "object", "key", "run", "upper case"],
)
def test_every_kind_of_id_and_time_can_be_a_constant(value: Any, other: Any, shown: str) -> None:
    before = accepted(value)

    assert before == f"{HEADER}\nchain given\n  > {shown}\n  < null\n"
    assert Rendered(transfer(value), before).text == before
    assert diff(before, Rendered(transfer(other), before).text) is not None


@pytest.mark.parametrize(
    "value", [f"Bearer {A}", f"token={A}", f'{{"session_key": "{A}"}}', {"password": A}, f"password: '{A}'"], ids=str
)
def test_a_secret_is_no_constant(value: Any) -> None:
    assert A not in accepted(value)
    assert Rendered(transfer(value)).met == frozenset()


def test_a_value_that_stands_under_another_key_too_is_no_constant_for_that() -> None:
    value = {"etag": A, "id": A, "at": "2024-05-01T10:00", "created_at": "2024-05-01T10:00"}
    masked = Rendered(transfer(value)).text

    assert '"etag": "5e1f' in masked
    assert Rendered(transfer(value), masked).text == masked
    assert ShownIn(masked).__contains__('at: "2024-05-01T10:00"')
    assert 'created_at: "2024-05-01T10:00"' not in ShownIn(masked)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["id", "to", "created_at", "a b_id", 'x"_id', "ts"]), st.sampled_from([A, B, C, 1714557600, INTERRUPT])
    )
)
def test_what_is_written_is_shown_again(value: dict[str, Any]) -> None:
    for constants in ({A}, {A, B}, Rendered(transfer(value)).met):
        before = Rendered(transfer(value)).show(constants)

        assert Rendered(transfer(value), before).text == before


def test_what_a_mask_could_hide_is_collected() -> None:
    constants = Constants({A})

    assert [constants.keep(A), constants.keep(B)] == [True, False]
    assert constants.met == {A, B}
