"""The recording shows what a model or tool was given, whatever a handler made of it for other callbacks."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, record, respond
from llmtest.ledger import Ledger, opened

IMAGE = {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": "QUJD"}


class Replaces(BaseCallbackHandler):
    """Puts other messages, prompts and arguments into what it is told."""

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        messages[0][-1] = HumanMessage("[redacted]")

    def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        prompts[0] = "[redacted]"

    def on_tool_start(self, serialized: Any, input_str: str, *, inputs: Any = None, **kwargs: Any) -> None:
        inputs["name"] = "[redacted]"


class Changes(BaseCallbackHandler):
    """Changes the objects of the program."""

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        message = messages[0][-1]
        if isinstance(message.content, str):
            message.content = "[redacted]"
        else:
            message.content[0] = {"type": "text", "text": "[redacted]"}

    def on_tool_start(self, serialized: Any, input_str: str, *, inputs: Any = None, **kwargs: Any) -> None:
        inputs["tags"].append("[redacted]")


class AsyncReplaces(AsyncCallbackHandler):
    async def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        messages[0][-1] = HumanMessage("[redacted]")


class AsyncChanges(AsyncCallbackHandler):
    async def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        messages[0][-1].content = "[redacted]"


class Late(BaseCallbackHandler):
    """One more, which is told after the recording."""

    run_inline = True


GOT: list[str] = []


def heard() -> ScriptedChatModel:
    """A model that notes what it got."""

    def answer(request: Any) -> str:
        GOT.append(request.messages[-1].text)
        return "Hello"

    return ScriptedChatModel(respond(answer))


def told(recording: Recording) -> Any:
    (run,) = recording.runs
    return run.start.payload.get("told")


@pytest.fixture(autouse=True)
def nothing_got() -> None:
    GOT.clear()


@pytest.mark.parametrize("way", ["invoke", "stream", "generate"])
@pytest.mark.parametrize("handler", [Replaces, Changes])
def test_the_prompt_is_what_the_model_got(handler: type[BaseCallbackHandler], way: str) -> None:
    with opened(Ledger()), record() as recording:
        if way == "generate":
            heard().generate([[HumanMessage("secret")]], callbacks=[handler()])
        else:
            list(getattr(heard(), way)([HumanMessage("secret")], {"callbacks": [handler()]}))

    assert ["secret" if handler is Replaces else "[redacted]"] == GOT
    assert [message.text for message in recording.models[0].input] == GOT
    assert [message.text for message in told(recording)] == ["[redacted]" if handler is Replaces else "secret"]


@pytest.mark.parametrize("way", ["ainvoke", "astream", "abatch"])
@pytest.mark.parametrize("handler", [Replaces, Changes, AsyncReplaces, AsyncChanges])
@pytest.mark.asyncio
async def test_async_calls_are_the_same(handler: type[BaseCallbackHandler], way: str) -> None:
    config: Any = {"callbacks": [handler()]}
    with opened(Ledger()), record() as recording:
        if way == "astream":
            [_ async for _ in heard().astream([HumanMessage("secret")], config)]
        elif way == "abatch":
            await heard().abatch([[HumanMessage("secret")]], config)
        else:
            await heard().ainvoke([HumanMessage("secret")], config)

    assert ["secret" if "Replaces" in handler.__name__ else "[redacted]"] == GOT
    assert [message.text for message in recording.models[0].input] == GOT
    assert [message.text for message in told(recording)] == ["[redacted]" if GOT == ["secret"] else "secret"]


def test_of_a_model_that_is_no_double_too() -> None:
    message = HumanMessage("secret")
    with opened(Ledger()), record() as recording:
        FakeListChatModel(responses=["a"]).invoke([message], {"callbacks": [Changes(), Late()]})

    assert recording.models[0].input[0].text == message.content == "[redacted]"
    assert told(recording)[0].text == "secret"


def test_the_copy_of_a_message_with_an_image_is_not_what_the_model_gets() -> None:
    message = HumanMessage([IMAGE])
    with opened(Ledger()), record() as recording:
        FakeListChatModel(responses=["a"]).invoke([message], {"callbacks": [Changes()]})

    assert message.content == [IMAGE]
    assert recording.models[0].input[0].content[0]["type"] == "image_url"
    assert told(recording)[0].text == "[redacted]"


def test_the_prompt_of_a_text_model_is_what_it_got() -> None:
    with opened(Ledger()), record() as recording:
        FakeListLLM(responses=["a", "b"]).generate(["secret", "other"], callbacks=[Replaces()])

    assert [run.input for run in recording.models] == ["secret", "other"]
    assert [run.start.payload["told"] for run in recording.models] == [["[redacted]"]] * 2


@tool
def save(name: str, tags: list[str]) -> str:
    """Save."""
    GOT.append(f"{name} {tags}")
    return "saved"


@pytest.mark.parametrize("handler", [Replaces, Changes])
def test_the_arguments_of_a_tool_are_what_it_got(handler: type[BaseCallbackHandler]) -> None:
    with opened(Ledger()), record() as recording:
        save.invoke({"name": "secret", "tags": ["a"]}, {"callbacks": [handler()]})

    (run,) = recording.tools
    assert (
        f"{run.args['name']} {run.args['tags']}"
        == GOT[0]
        == ("secret ['a']" if handler is Replaces else "secret ['a', '[redacted]']")
    )
    assert told(recording) == {"name": "[redacted]" if handler is Replaces else "secret", "tags": ["a"]}


@pytest.mark.asyncio
async def test_the_arguments_of_an_async_tool_are_what_it_got() -> None:
    with opened(Ledger()), record() as recording:
        await save.ainvoke({"name": "secret", "tags": ["a"]}, {"callbacks": [Replaces()]})

    assert (recording.tools[0].args["name"], told(recording)["name"]) == ("secret", "[redacted]")


def test_without_an_edit_nothing_is_told() -> None:
    history = [HumanMessage("a"), AIMessage("b")] * 10
    with opened(Ledger()), record() as recording:
        heard().invoke([*history, HumanMessage("hi")], {"callbacks": [Late()]})
        save.invoke({"name": "n", "tags": []}, {"callbacks": [Late()]})

    assert [("told" in run.start.payload) for run in recording.runs] == [False, False]
