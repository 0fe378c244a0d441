"""What takes long: `make soak`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from langchain.agents import create_agent

from llmtest import ScriptedChatModel, call, record, reply
from tests.support.tools import weather


@pytest.mark.soak
def test_parallel_tool_calls_have_one_text_in_three_hundred_hasty_runs(
    rounds: Callable[[int], Iterator[int]],
) -> None:
    texts = set()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in rounds(300):
            asked = reply(*[call("weather", city=city) for city in ("Paris", "Rome", "Lyon", "Bern")])
            with record() as recording:
                create_agent(ScriptedChatModel(asked, "done"), [weather]).invoke({"messages": "hi"})
            texts.add(str(recording))
    finally:
        sys.setswitchinterval(before)

    assert len(texts) == 1
