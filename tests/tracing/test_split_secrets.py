"""No secret reaches the store, a tree, an explanation or a violation, in whatever field and in however many pieces it comes."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import Runnable
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, call, expect_violation, record, reply
from llmtest.errors import ViolationError
from llmtest.events import Document, Failure, FrozenDict, FrozenList, Generation, Message, Structured, ToolCall
from llmtest.ledger import Outside, opened
from llmtest.matching import at_most, never
from llmtest.protocol import check
from llmtest.tracing.store import Store
from llmtest.trees import render

KEY = "sk-" + "a1B2" * 8
PASSWORD = "correct-horse-battery"
JSON = json.dumps({"user": "me", "password": PASSWORD, "note": KEY})
SECRETS = (KEY, PASSWORD, "a1B2a1B2", "horse-battery")


def pieces(text: str, seed: int) -> list[str]:
    """A text, cut at random places, also into empty pieces."""
    cuts = sorted(random.Random(seed).choices(range(len(text) + 1), k=8))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def streamed(payloads: list[dict[str, Any]], kind: str = "on_llm_new_token") -> Recording:
    """A recording of a model that streams these payloads."""
    recording, run = Recording(), UUID(int=1)

    def add(kind: str, payload: dict[str, Any]) -> None:
        start: Any = ("model", (), lambda: FrozenDict(metadata=FrozenDict(), payload=FrozenDict(payload)))
        recording._raw.append((kind, run, None, start if kind.endswith("start") else lambda: FrozenDict(payload), 0, 0, None))

    add("on_chat_model_start", {"messages": FrozenList()})
    for payload in payloads:
        add(kind, payload)
    recording.close()
    return recording


def stored(recording: Recording, folder: Path) -> tuple[Recording, str]:
    """The loaded trace, and all texts in the file."""
    with Store(folder / "s.sqlite") as store:
        store.keep("s", [recording])
        rows = [
            row
            for table in ("sessions", "traces", "runs", "lanes", "messages", "events")
            for row in store._all(f"SELECT * FROM {table}")
        ]
        (trace,) = store.find("s")
        return store.load(trace), repr(rows)


def block(index: int, text: str, **more: Any) -> FrozenDict:
    return FrozenDict(index=index, text=text, **more)


WAYS: dict[str, Any] = {
    "token": lambda part: {"token": part},
    "token with usage": lambda part: {"token": part, "usage": None},
    "text block": lambda part: {"token": FrozenList([block(0, part, type="text")])},
    "second block": lambda part: {"token": FrozenList([block(0, "x", type="text"), block(1, part, type="text")])},
    "tool call": lambda part: {"token": "", "tool_call_chunks": FrozenList([FrozenDict(args=part, index=0, id=None)])},
    "partial json": lambda part: {"token": FrozenList([FrozenDict(type="input_json_delta", partial_json=part, index=1)])},
    "stream event": lambda part: {
        "event": FrozenDict(event="content-block-delta", index=0, delta=FrozenDict(type="text-delta", text=part))
    },
    "stream event of a call": lambda part: {
        "event": FrozenDict(
            event="content-block-delta", index=0, delta=FrozenDict(type="block-delta", fields=FrozenDict(args=part))
        )
    },
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_a_secret_in_pieces_is_not_in_the_store(way: Any, seed: int, tmp_path: Path) -> None:
    payloads = [way(part) for part in pieces(JSON, seed)]
    kind = "on_stream_event" if "event" in payloads[0] else "on_llm_new_token"

    loaded, texts = stored(streamed(payloads, kind), tmp_path)

    assert [secret for secret in SECRETS if secret in texts] == []
    assert len(loaded) == len(payloads) + 1


def test_the_rest_of_a_piece_with_a_secret_is_kept(tmp_path: Path) -> None:
    loaded, _ = stored(streamed([{"token": part} for part in ("key: sk-a1B2a1B2", "a1B2a1B2a1B2", "a1B2, ok", "?")]), tmp_path)

    assert [event.payload["token"] for event in loaded[1:]] == ["key: <mask:secret>", "", ", ok", "?"]


def test_arguments_that_break_off_are_masked_by_their_text(tmp_path: Path) -> None:
    payloads = [WAYS["tool call"](part) for part in ('{"password": "correct-horse', '-battery", "x": ')]

    loaded, _ = stored(streamed(payloads), tmp_path)

    assert [event.payload["tool_call_chunks"][0]["args"] for event in loaded[1:]] == [
        '{"password": "<mask:password>"',
        ', "x": ',
    ]


@tool
def login(user: str = "", password: str = "", auth: str = "") -> str:
    """Log in."""
    return "welcome"


def test_a_violation_shows_no_secret_of_a_step() -> None:
    with expect_violation("invalid tool call") as caught:
        ScriptedChatModel(call("log_in", password=PASSWORD)).bind_tools([login]).invoke("hi")
    with opened(Outside()), pytest.raises(ViolationError) as unused:
        ScriptedChatModel(call("login", password=PASSWORD), f"use {KEY}", call("\x1b[2J")).verify()

    for text in (caught[0].text, str(unused.value)):
        assert [secret for secret in (*SECRETS, "\x1b") if secret in text] == []


@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_streamed_tool_call_of_a_program_has_no_secret_in_the_store(how: str, tmp_path: Path) -> None:
    async def run(model: Runnable[Any, Any]) -> None:
        async for _ in model.astream("hi"):
            pass

    steps = reply(call("login", user="me", password=PASSWORD), call("login", auth=PASSWORD))
    model = ScriptedChatModel(steps).bind_tools([login])
    with record() as recording:
        list(model.stream("hi")) if how == "stream" else asyncio.run(run(model))

    loaded, texts = stored(recording, tmp_path)

    assert [secret for secret in SECRETS if secret in texts] == []
    assert str(loaded) == str(recording)


HOSTILE = f"\x1b[2J\u202e{KEY}\r"
FIELDS: dict[str, Any] = {
    "name": lambda: ("on_chain_start", {}, {"name": HOSTILE}),
    "tag": lambda: ("on_chain_start", {}, {"tags": (HOSTILE,)}),
    "metadata": lambda: ("on_chain_start", {}, {"metadata": FrozenDict(a=HOSTILE, passwords=PASSWORD)}),
    "key": lambda: ("on_chain_start", {"inputs": FrozenDict({HOSTILE: 1, "api_keys": FrozenList([PASSWORD])})}, {}),
    "inputs": lambda: ("on_chain_start", {"inputs": HOSTILE}, {}),
    "tool": lambda: ("on_tool_start", {"inputs": FrozenDict(q=HOSTILE, password=PASSWORD), "tool_call_id": HOSTILE}, {}),
    "input_str": lambda: ("on_tool_start", {"input_str": HOSTILE}, {}),
    "query": lambda: ("on_retriever_start", {"query": HOSTILE}, {}),
    "prompts": lambda: ("on_llm_start", {"prompts": FrozenList([HOSTILE])}, {}),
    "message": lambda: (
        "on_chat_model_start",
        {"messages": FrozenList([Message(HOSTILE, HOSTILE, id=HOSTILE, name=HOSTILE, status=HOSTILE, tool_call_id=HOSTILE)])},
        {},
    ),
    "blocks": lambda: (
        "on_chat_model_start",
        {"messages": FrozenList([Message("human", FrozenList([FrozenDict(type=HOSTILE, mime_type=HOSTILE, base64=HOSTILE)]))])},
        {},
    ),
    "tools": lambda: ("on_chat_model_start", {"messages": FrozenList(), "tools": FrozenList([HOSTILE])}, {}),
    "answer": lambda: (
        "on_llm_end",
        {
            "generations": FrozenList(
                [Generation(HOSTILE, Message("ai", HOSTILE, (ToolCall(HOSTILE, FrozenDict(token=PASSWORD)),)))]
            )
        },
        {},
    ),
    "raw arguments": lambda: (
        "on_llm_end",
        {"generations": FrozenList([Generation("", Message("ai", "", (ToolCall("t", JSON),)))])},
        {},
    ),
    "outputs": lambda: ("on_chain_end", {"outputs": Structured(HOSTILE, FrozenDict(secret=PASSWORD, text=HOSTILE))}, {}),
    "documents": lambda: ("on_retriever_end", {"documents": FrozenList([Document(HOSTILE, FrozenDict(cookie=PASSWORD))])}, {}),
    "error": lambda: ("on_chain_error", {"error": Failure(HOSTILE, HOSTILE)}, {}),
    "paused": lambda: ("on_chain_error", {"error": Failure("GraphInterrupt", HOSTILE, "paused", HOSTILE)}, {}),
    "custom event": lambda: ("on_custom_event", {"name": HOSTILE, "data": FrozenDict(token=PASSWORD, text=HOSTILE)}, {}),
    "text": lambda: ("on_text", {"text": HOSTILE}, {}),
    "action": lambda: ("on_agent_action", {"tool": HOSTILE, "tool_input": HOSTILE, "log": HOSTILE}, {}),
}


def one_event(kind: str, payload: dict[str, Any], about: dict[str, Any]) -> Recording:
    """A chain, and within it one run, or another event of its own."""
    recording = Recording()

    def add(kind: str, number: int, parent: int | None, payload: dict[str, Any], about: dict[str, Any]) -> None:
        held = FrozenDict(metadata=about.get("metadata", FrozenDict()), payload=FrozenDict(payload))
        start: Any = (about.get("name", "run"), about.get("tags", ()), lambda: held)
        taken = start if kind.endswith("start") else lambda: FrozenDict(payload)
        recording._raw.append((kind, UUID(int=number), UUID(int=parent) if parent else None, taken, 0, 0, None))

    family = "llm" if "llm" in kind or "chat" in kind else kind.split("_")[1]
    inner = {"llm": "chat_model", "custom": "chain", "text": "chain", "agent": "chain"}.get(family, family)
    add("on_chain_start", 1, None, {}, {})
    if not kind.endswith("start"):
        add(f"on_{inner}_start", 2, 1, {"messages": FrozenList()} if inner == "chat_model" else {}, {})
    add(kind, 2, 1, payload, about)
    recording.close()
    return recording


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_no_field_shows_a_secret_or_commands_a_terminal(field: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llmtest.cli import commands

    recording = one_event(*field())

    _, texts = stored(recording, tmp_path)
    for arguments in (["sessions"], ["show"], ["show", "--tree"], ["show", "--json"], ["diff", "s", "s"]):
        assert commands.main([*arguments, "--store", str(tmp_path / "s.sqlite")]) in (0, 1)
    printed = capsys.readouterr()
    explained = [str(recording.obeys(rule)) for rule in (never("*"), at_most(0, "*"))] + [repr(recording.obeys(never("*")))]
    shown = [*(broken.text for broken in check(recording)), *explained, printed.out, printed.err]
    trees = [render(recording), render(recording, detail="full")]

    for text in (texts, *shown, *trees):
        assert [secret for secret in SECRETS if secret in text] == []
    for text in (*shown, *trees):
        assert [character for character in text if character in "\x1b\r\u202e"] == []
