"""The lines of one run: tokens, pauses, usage."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from llmtest import ScriptedChatModel, ScriptedLLM, record
from llmtest.events import Event, Failure, FrozenDict, FrozenList, Run, Structured
from llmtest.trees import render
from llmtest.trees.run_lines import Detail, interrupt_ids

ONE = UUID(int=1)


def run_of(*told: tuple[str, dict[str, object]], kind: str = "chat", tags: tuple[str, ...] = ()) -> Run:
    events = tuple(Event(name, ONE, None, "m", payload=FrozenDict(said), number=n) for n, (name, said) in enumerate(told))
    return Run(ONE, None, kind, "m", tags, FrozenDict(), events, ())  # type: ignore[arg-type]


def test_tokens_that_are_told_twice_are_written_once() -> None:
    delta = FrozenDict(event="content-block-delta", index=0, delta=FrozenDict(type="text-delta", text="Hi"))
    started = ("on_chat_model_start", {"messages": FrozenList()})
    ended = ("on_llm_end", {"generations": FrozenList()})

    both = run_of(started, ("on_llm_new_token", {"token": "Hi"}), ("on_stream_event", {"event": delta}), ended)
    once = run_of(started, ("on_stream_event", {"event": delta}), ended)

    assert render(both) == render(once)
    assert '  ~ 1 token: "Hi"\n' in render(both)


def test_an_interrupt_has_one_number_where_it_is_told_and_where_it_is_answered() -> None:
    ids = ["ab" * 16, "0c" * 16]
    waiting = FrozenList([Structured("Interrupt", FrozenDict(id=number, value=f"{n}?")) for n, number in enumerate(ids)])
    paused = run_of(
        ("on_chain_start", {"inputs": Structured("Command", FrozenDict(resume=FrozenDict({"12" * 16: 1})))}),
        ("on_interrupt", {"interrupts": waiting}),
        ("on_chain_end", {"outputs": FrozenList([f"see {ids[1]} and {ids[0]}"])}),
        kind="chain",
    )

    assert dict(interrupt_ids(paused)) == {ids[0]: "0?", ids[1]: "1?", "12" * 16: None}
    assert render(paused).splitlines() == [
        "chain m",
        '  > Command(resume={"<interrupt:1>": 1})',
        '  < ["see <interrupt:2> and <interrupt:3>"]',
        '  ? paused: ["0?", "1?"]',
    ]


def test_a_node_that_waits_says_that_its_graph_waits_also_before_langgraph_tells_of_it() -> None:
    asked = Failure("GraphInterrupt", "", "paused", FrozenList([Structured("Interrupt", FrozenDict(value="Sure?"))]))
    node = run_of(("on_chain_start", {"inputs": 1}), ("on_chain_error", {"error": asked}), kind="chain", tags=("graph:step:1",))
    ended = Event("on_chain_end", UUID(int=2), None, "g", payload=FrozenDict(outputs=1), number=9)
    graph = Run(UUID(int=2), None, "chain", "g", (), FrozenDict(), (node.start, ended), (node,))

    assert render(graph).splitlines()[-2:] == ["  < 1", '  ? paused: "Sure?"']


@pytest.mark.parametrize("double", [ScriptedChatModel, ScriptedLLM])
def test_usage_does_not_depend_on_the_temporary_folder(
    double: type[ScriptedChatModel] | type[ScriptedLLM], tmp_path: Path
) -> None:
    trees = []
    for folder in (tmp_path, "/tmp/pytest-of-somebody-else/pytest-1234/test_with_another_name0", "/var/tmp/tmpab12cd34"):
        with record() as recording:
            double("Done.").invoke(f"Read {folder}/a.txt, please.")
        trees.append(str(recording))

    assert len(set(trees)) == 1
    assert '"Read <path>/a.txt, please."' in trees[0]


def test_a_model_that_was_asked_over_the_network_is_named_so_in_every_detail() -> None:
    started = ("on_chat_model_start", {"messages": FrozenList()})
    ended = ("on_llm_end", {"generations": FrozenList(), "real": True})

    details: tuple[Detail, ...] = ("outline", "short", "default", "full")
    heads = [render(run_of(started, ended), detail=detail).splitlines()[0] for detail in details]

    assert heads == ["chat m (real model)"] * 4
