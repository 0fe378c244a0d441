"""The index of runs: any events in any order, in one pass."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest import Recording
from llmtest.protocol import check
from tests.support.recordings import doctored, greeted

pytestmark = pytest.mark.usefixtures("outside")


# -- any recording


@given(st.lists(st.integers(0, 7), max_size=20))
@settings(deadline=None)
def test_a_recording_of_any_events_in_any_order_is_checked(numbers: list[int]) -> None:
    raw = greeted()._raw
    recording = doctored(Recording(), lambda events: events.extend(raw[number] for number in numbers))

    found = check(recording)

    assert {witness.number for one in found for witness in one.witnesses} <= set(range(len(numbers)))


# -- cost


def test_check_takes_one_pass_whatever_the_shape() -> None:
    deep = Recording()
    ids = [uuid4() for _ in range(5_000)]
    nothing = lambda: {"payload": {}, "metadata": {}}  # noqa: E731
    for parent, run_id in zip([None, *ids], ids, strict=False):
        deep._raw.append(("on_chain_start", run_id, parent, ("deep", (), nothing), 0, 0, None))

    found = check(deep)  # quadratic, this would take minutes

    assert [one.code for one in found] == ["run never ended"] * 5_000
