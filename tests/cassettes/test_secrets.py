"""Secrets in a test with a cassette never reach the disk, wherever they stand; except in `.secrets/`, which git ignores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from llmtest import call, record, reply, say, structured, think
from llmtest.cassettes.cassette import Cassette
from llmtest.cassettes.masking import FOLDER
from llmtest.langchain import providers as _real_classes_find_their_runs  # noqa: F401
from llmtest.scripts.step_types import Fail
from llmtest.scripts.tool_answers import tool_answers
from llmtest.wire import scripted_server

KEY = "sk-proj-4eC39HqLyjWDarjtT1zdp7dc"
PASSWORD = "hunter2-of-ada"
BASIC = "dXNlcjpwYXNzd29yZA"
ORGANISATION = "org-4eC39HqLyjWDarjt"
SECRETS = (KEY, PASSWORD, BASIC, ORGANISATION, "tabby-cat-77")


class Login(BaseModel):
    """Log in."""

    user: str
    password: str


def ask(model: Any, prompt: Any = "hi", **config: Any) -> None:
    model.invoke(prompt, config=config or None)


def stream(model: Any) -> None:
    assert list(model.stream("hi"))


def use_tool(model: Any, gives: Any = "ok", description: str = "Log in.", system: str | None = None) -> None:
    def login(user: str = "ada", password: str = "") -> Any:
        if isinstance(gives, Exception):
            raise gives
        return gives

    tool = StructuredTool.from_function(login, description=description, handle_tool_error=True)
    create_agent(model, [tool], system_prompt=system).invoke({"messages": [("user", "log me in")]})


def stream_tool(model: Any) -> None:
    assert list(model.bind_tools([Login]).stream("hi"))


def refused(model: Any) -> None:
    with pytest.raises(Exception, match="401"):
        model.invoke("hi")


def cut(model: Any) -> None:
    with pytest.raises(Exception, match=r"\w"):
        list(model.stream("hi"))


PIECES = ('{"user": "ada", "pass', 'word": "' + PASSWORD[:5], PASSWORD[5:] + '"}')
GIVEN = {"password": PASSWORD}
LOGIN = call("login", user="ada", password=PASSWORD)
PLACES: dict[str, tuple[Any, list[Any], dict[str, Any]]] = {
    # the program; what its model says; fields of the model
    "the key of the API": (ask, ["ok"], {"api_key": KEY}),
    "a query of the address": (ask, ["ok"], {"default_query": {"key": KEY}}),
    "the header Authorization": (ask, ["ok"], {"default_headers": {"Authorization": f"Basic {BASIC}"}}),
    "the header X-Api-Key": (ask, ["ok"], {"default_headers": {"X-Api-Key": KEY}}),
    "the header Cookie": (ask, ["ok"], {"default_headers": {"Cookie": f"session={KEY}"}}),
    "the organisation of the client": (ask, ["ok"], {"organization": ORGANISATION}),
    "the project of the client": (ask, ["ok"], {"default_headers": {"OpenAI-Project": ORGANISATION}}),
    "the user of a request": (ask, ["ok"], {"model_kwargs": {"user": KEY}}),
    "the metadata of a request": (ask, ["ok"], {"metadata": {"session": KEY}, "extra_body": {"metadata": {"session": KEY}}}),
    "a parameter": (ask, ["ok"], {"extra_body": {"session_key": KEY}}),
    "a stop sequence": (ask, ["ok"], {"stop": [KEY]}),
    "the system prompt": (lambda model: ask(model, [("system", f"Use {KEY}."), ("user", "hi")]), ["ok"], {}),
    "the first line of a long system prompt": (
        lambda model: ask(model, [("system", f"Authorization: Basic {BASIC}\nBe kind.\nBe brief."), ("user", "hi")]),
        ["ok"],
        {},
    ),
    "the question": (lambda model: ask(model, f"is {KEY} good?"), ["ok"], {}),
    "the first line of a long question": (lambda model: ask(model, f"X-Api-Key: {PASSWORD}-1\nIs it good?"), ["ok"], {}),
    "a later question": (
        lambda model: ask(model, [("user", "hi"), ("ai", "hello"), ("user", f"api-key: {PASSWORD}-1")]),
        ["ok"],
        {},
    ),
    "an earlier answer of the model": (lambda model: ask(model, [("ai", f"it is {KEY}"), ("user", "hi")]), ["ok"], {}),
    "the metadata of the run": (lambda model: ask(model, metadata={"token": KEY}), ["ok"], {}),
    "a tag of the run": (lambda model: ask(model, tags=[KEY]), ["ok"], {}),
    "the thread": (lambda model: ask(model, configurable={"thread_id": KEY}), ["ok"], {}),
    "the description of a tool": (lambda model: use_tool(model, description=f"Log in with {KEY}."), ["ok"], {}),
    "an argument of a tool, by its name": (use_tool, [LOGIN, "ok"], {}),
    "an argument of a tool, by its look": (use_tool, [call("login", user=KEY), "ok"], {}),
    "an argument in streamed pieces": (stream_tool, [call("Login", user="ada", password=PASSWORD).deltas(*PIECES)], {}),
    "the result of a tool": (lambda model: use_tool(model, f"Cookie: session={PASSWORD}"), [call("login"), "ok"], {}),
    "a result of a tool with fields": (lambda model: use_tool(model, GIVEN), [call("login"), "ok"], {}),
    "a result of a tool as a text of JSON": (lambda model: use_tool(model, json.dumps(GIVEN)), [call("login"), "ok"], {}),
    "an answer": (ask, [say(f"it is {KEY}")], {}),
    "an answer in streamed pieces": (stream, [say("it is ", KEY[:9], KEY[9:20], KEY[20:], " now")], {}),
    "reasoning": (ask, [reply(think(f"it is {KEY}"), say("ok"))], {"use_responses_api": True}),
    "a refusal": (ask, [say(f"not with {KEY}", refusal=True)], {}),
    "structured output": (
        lambda model: model.with_structured_output(Login).invoke("hi"),
        [structured(Login(user="ada", password=PASSWORD))],
        {},
    ),
    "the error of the provider": (refused, [Fail(401, None, f"no access with {KEY}")], {}),
    "a failure in the middle of a stream": (cut, [say("it is ").then_fail(ConnectionError(f"of {KEY}"))], {}),
}

PROMPTS = [place for place in PLACES if "question" in place or "prompt" in place]


def on_disk(folder: Path) -> dict[str, str]:
    """The files below a folder, but not those that git ignores."""
    files = [file for file in folder.rglob("*") if file.is_file() and FOLDER not in file.parts]
    return {file.relative_to(folder).as_posix(): file.read_bytes().decode("utf-8", "replace") for file in files}


def found_in(files: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, secret) for name, text in files.items() for secret in SECRETS if secret in text or secret in name]


@pytest.mark.usefixtures("clients_left_open")
@pytest.mark.parametrize(
    ("place", "keep_prompts"), [*((place, False) for place in PLACES), *((place, True) for place in PROMPTS)]
)
def test_a_secret_is_not_on_disk(place: str, keep_prompts: bool, tmp_path: Path) -> None:
    program, steps, fields = PLACES[place]
    cassette = Cassette(tmp_path / "cassettes" / "test_it.yaml", "test_it.py::test_it", "once", keep_prompts=keep_prompts)
    with scripted_server({"openai:gpt-5": steps}, token=KEY) as server, cassette, record() as recording:
        there: dict[str, Any] = {"base_url": server.base_url("openai"), "api_key": server.token, **fields}
        there["default_headers"] = {"X-Goog-Api-Key": server.token, **fields.get("default_headers", {})}
        program(ChatOpenAI(model="gpt-5", max_retries=0, **there))

    assert cassette.save(tools=tool_answers(recording.runs)).is_written

    files = on_disk(tmp_path)
    assert "cassettes/test_it.yaml" in files
    assert found_in(files) == []
