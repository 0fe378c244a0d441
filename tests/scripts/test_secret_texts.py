"""Secrets in the texts of a script file have masks in their place, and come back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmtest import Script, ScriptedChatModel, call, fail, on, record, reply, say, structured, think
from llmtest.core import masks
from llmtest.core.source import shown_path
from llmtest.errors import LlmtestWarning
from llmtest.events.words import FrozenDict
from llmtest.scripts.files import ScriptFile
from llmtest.scripts.requests import KeyedSteps
from llmtest.scripts.secret_texts import with_secrets, without_secrets
from llmtest.scripts.tool_answers import ToolAnswer, ToolFailure
from llmtest.scripts.yaml_emit import write_file

KEY = "sk-proj-abcdefghijklmnopqrstuvwx1234567890"
OTHER = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"


def file_of(*steps: Any, tools: dict[str, tuple[ToolAnswer, ...]] | None = None) -> ScriptFile:
    return ScriptFile("x.yaml", 2, (), {"openai:gpt-5": steps}, tools or {})


PLACES: dict[str, ScriptFile] = {
    "text": file_of(say(f"The key is {KEY}.")),
    "exact tokens": file_of(say("The key is ", KEY[:9], KEY[9:])),
    "reasoning": file_of(reply(think(f"They gave me {KEY}"), "Fine.")),
    "an argument": file_of(call("login", key=KEY)),
    "an argument by its name": file_of(call("login", password="hunter2")),
    "a number under the name of a secret": file_of(call("login", password=123456)),
    "a nested argument": file_of(call("login", config={"auth": [{"token": "hunter2"}]})),
    "broken arguments": file_of(call("login").malformed(f'{{"key": "{KEY}"')),
    "a structured value": file_of(structured({"api_key": KEY})),
    "all below the name of a secret": file_of(call("login", credentials={"user": "hunter2", "rest": [{"pin": 123456}]})),
    "the name of an argument": file_of(call("login", keys={KEY: 1, OTHER: 2})),
    "a name in what a tool gave": file_of(tools={"login": (ToolAnswer(FrozenDict(), gives=FrozenDict({KEY: FrozenDict()})),)}),
    "a text of JSON in a text of JSON": file_of(call("post", body=json.dumps({"a": json.dumps({"token": "hunter2"})}))),
    "arguments that are cut off": file_of(call("login").malformed('{"password": "hunter2')),
    "an embedded text": ScriptFile("x.yaml", 2, embeddings={"m": {f"use {KEY}": [1.0], "ok": [2.0], f"use {KEY}2": [3.0]}}),
    "a failure": file_of(fail(ValueError(f"bad key {KEY}"))),
    "a failure at the end": file_of(say("a").then_fail(ValueError(f"bad key {KEY}"))),
    "metadata": file_of(say("a", response_metadata={"api_key": KEY})),
    "a step of a key": file_of(KeyedSteps(on(node="x"), (say(f"key {KEY}"),))),
    "an argument of a tool": file_of(tools={"login": (ToolAnswer(FrozenDict(key=KEY), gives="ok"),)}),
    "what a tool gave": file_of(tools={"login": (ToolAnswer(FrozenDict(), gives=f"token {OTHER}"),)}),
    "the artifact of a tool": file_of(tools={"login": (ToolAnswer(FrozenDict(), gives="ok", artifact=FrozenDict(secret="x1")),)}),
    "the error of a tool": file_of(tools={"login": (ToolAnswer(FrozenDict(), failure=ToolFailure("ValueError", f"bad {KEY}")),)}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_masked_wherever_it_stands_and_comes_back(place: str) -> None:
    file = PLACES[place]

    hidden, secrets = without_secrets(file)
    text = write_file(hidden)

    assert [word for word in (KEY, KEY[9:], OTHER, "hunter2", "123456") if word in text] == []
    again = with_secrets(hidden, secrets)
    if "tokens" not in place:
        assert write_file(again) == write_file(file)


def test_a_file_without_secrets_is_unchanged() -> None:
    file = file_of(reply("Let me see. ", call("search", q="weather in Paris")), say("It is ", "18C."))

    assert without_secrets(file) == (file, {})


def test_equal_masks_get_their_own_texts_back_in_order() -> None:
    file = file_of(call("login", password="one"), call("login", password="two"))

    hidden, secrets = without_secrets(file)

    assert secrets == {"<mask:password>": ["one", "two"]}
    assert with_secrets(hidden, secrets) == file


def test_names_that_differ_in_a_secret_stay_apart() -> None:
    file = ScriptFile("x.yaml", 2, embeddings={"m": {f"use {KEY}": [1.0], f"use {KEY}2": [2.0], f"use {OTHER}": [3.0]}})

    hidden, secrets = without_secrets(file)

    assert hidden.embeddings == {
        "m": {"use <mask:secret>": [1.0], "use <mask:secret> (2)": [2.0], "use <mask:secret> (3)": [3.0]}
    }
    assert with_secrets(hidden, secrets) == file


def test_a_rule_of_the_project_masks_too() -> None:
    with masks.use_rules([r"order = ORD-\d+", "pin"]):
        hidden, secrets = without_secrets(file_of(call("pay", order="ORD-77", pin="0000")))

    assert list(secrets) == ["<mask:order>", "<mask:pin>"]
    assert "ORD-77" not in write_file(hidden)


def test_a_recorded_script_is_written_with_masks_and_says_so(tmp_path: Path) -> None:
    with record() as recording:
        ScriptedChatModel(say(f"It is {KEY}.")).invoke(f"Is it {KEY}?")
    script = Script.from_recording(recording)

    with pytest.warns(LlmtestWarning) as told:
        script.dump(tmp_path / "x.yaml")

    assert [str(warning.message) for warning in told] == [
        f"{shown_path(str(tmp_path / 'x.yaml'))}: 1 text masked, because a part looks like a secret"
    ]
    assert re.sub(r"20\d\d-\d\d-\d\d", "DAY", (tmp_path / "x.yaml").read_text("utf-8")) == (
        "# llmtest script v2\n"
        'recorded: "DAY"\n'
        "steps:\n"
        '  - say: "It is <mask:secret>."\n'
        '    request: {like: r1, messages: {human: 1}, human: "Is it <mask:secret>?"}\n'
        "requests:\n"
        "  r1:\n"
        "    source: callbacks\n"
    )
    script.waive_steps()


def test_what_a_person_has_written_stays_as_it_is(tmp_path: Path) -> None:
    Script(say(f"It is {KEY}."), on(node="x") >> say(KEY)).dump(tmp_path / "x.yaml")

    assert (tmp_path / "x.yaml").read_text("utf-8") == (
        f'# llmtest script v1\nsteps:\n  - on: {{node: x}}\n    steps:\n      - "{KEY}"\n  - "It is {KEY}."\n'
    )
