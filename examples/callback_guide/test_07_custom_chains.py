"""Callbacks in a custom chain, model, tool and Runnable: each gets the manager of its run, and passes on a child of it.

Section "using callbacks in a custom chain" of LangChain's callback guide: `_call`, `_generate`, `_run` and their async twins
are given a `run_manager`, which has the methods that this object may log with.
"""

import asyncio
import re
from typing import Any

import pytest
from langchain_classic.chains.base import Chain
from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    AsyncCallbackManagerForLLMRun,
    AsyncCallbackManagerForToolRun,
    BaseCallbackHandler,
    CallbackManagerForChainRun,
    CallbackManagerForLLMRun,
    CallbackManagerForToolRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.language_models import LLM, BaseChatModel, BaseLanguageModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, patch_config
from langchain_core.tools import BaseTool

from llmtest.matching import called, chain, model

WAYS = ("invoke", "ainvoke")
PROMPT = PromptTemplate.from_template("Greet {name}")


def asked(runnable: Any, way: str, *given: Any) -> Any:
    """The answer, whichever way it is asked for."""
    result = getattr(runnable, way)(*given)
    return asyncio.run(result) if way == "ainvoke" else result


class Told(BaseCallbackHandler):
    """What a handler of the request is told in the middle of runs."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def on_text(self, text: str, **kwargs: Any) -> None:
        self.told.append(("text", text))

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.told.append(("token", token))

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.told.append((name, data))


# -- a chain, in the classic style


class GreetingChain(Chain):
    """Writes a prompt, says so, and asks its model."""

    llm: BaseLanguageModel

    @property
    def input_keys(self) -> list[str]:
        return ["name"]

    @property
    def output_keys(self) -> list[str]:
        return ["greeting"]

    def _call(self, inputs: dict[str, Any], run_manager: CallbackManagerForChainRun | None = None) -> dict[str, Any]:
        manager = run_manager or CallbackManagerForChainRun.get_noop_manager()
        prompt = PROMPT.format_prompt(**inputs)
        manager.on_text(prompt.to_string())
        result = self.llm.generate_prompt([prompt], callbacks=manager.get_child())
        manager.on_text("asked")
        return {"greeting": result.generations[0][0].text}

    async def _acall(self, inputs: dict[str, Any], run_manager: AsyncCallbackManagerForChainRun | None = None) -> dict[str, Any]:
        manager = run_manager or AsyncCallbackManagerForChainRun.get_noop_manager()
        prompt = PROMPT.format_prompt(**inputs)
        await manager.on_text(prompt.to_string())
        result = await self.llm.agenerate_prompt([prompt], callbacks=manager.get_child())
        await manager.on_text("asked")
        return {"greeting": result.generations[0][0].text}


@pytest.mark.parametrize("way", WAYS)
def test_a_custom_chain_logs_text_and_its_model_runs_within_it(way, scripted_llm, llm_recording, llm_snapshot):
    told = Told()

    result = asked(GreetingChain(llm=scripted_llm("Hello Ada")), way, {"name": "Ada"}, {"callbacks": [told]})

    assert result == {"name": "Ada", "greeting": "Hello Ada"}
    assert told.told == [("text", "Greet Ada"), ("text", "asked")]
    greeting = llm_recording.run("GreetingChain")
    assert llm_recording.kinds == ["on_chain_start", "on_text", "on_llm_start", "on_llm_end", "on_text", "on_chain_end"]
    assert [one.payload["text"] for one in greeting.events if one.kind == "on_text"] == ["Greet Ada", "asked"]
    assert greeting.children == [model().returned("Hello Ada")]
    assert llm_recording == llm_snapshot


class Forgetful(GreetingChain):
    """Does not pass on a child of its manager."""

    def _call(self, inputs: dict[str, Any], run_manager: CallbackManagerForChainRun | None = None) -> dict[str, Any]:
        return {"greeting": self.llm.generate_prompt([PROMPT.format_prompt(**inputs)]).generations[0][0].text}


def test_without_get_child_handlers_of_the_request_do_not_hear_the_model(scripted_llm, llm_recording, llm_snapshot):
    class Models(BaseCallbackHandler):
        heard = 0

        def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
            self.heard += 1

    handler = Models()

    Forgetful(llm=scripted_llm("Hello Ada")).invoke({"name": "Ada"}, {"callbacks": [handler]})

    assert handler.heard == 0
    assert llm_recording.runs == [chain("Forgetful"), model()]
    assert llm_recording.run("Forgetful").children == []  # it is a run of its own, beside the chain
    assert llm_recording == llm_snapshot


# -- models


def words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


class Parrot(BaseChatModel):
    """Says what it hears, word by word."""

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: CallbackManagerForLLMRun | None = None, **kw: Any
    ) -> ChatResult:
        for word in words(messages[-1].text):
            if run_manager is not None:
                run_manager.on_llm_new_token(word)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(messages[-1].text))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: Any = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        for word in words(messages[-1].text):
            if run_manager is not None:
                await run_manager.on_llm_new_token(word)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(messages[-1].text))])


class TextParrot(LLM):
    """A text model gets its manager in `_call`."""

    @property
    def _llm_type(self) -> str:
        return "text-parrot"

    def _call(self, prompt: str, stop: Any = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> str:
        for word in words(prompt):
            if run_manager is not None:
                run_manager.on_llm_new_token(word)
        return prompt

    async def _acall(
        self, prompt: str, stop: Any = None, run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> str:
        for word in words(prompt):
            if run_manager is not None:
                await run_manager.on_llm_new_token(word)
        return prompt


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parrot", [Parrot, TextParrot])
def test_a_custom_model_tells_each_token(parrot, way, llm_recording, llm_snapshot):
    told = Told()

    result = asked(parrot(), way, "Polly wants a cracker", {"callbacks": [told]})

    assert (result if parrot is TextParrot else result.text) == "Polly wants a cracker"
    assert told.told == [("token", word) for word in ("Polly", " wants", " a", " cracker")]
    assert llm_recording.models == [model(parrot.__name__).returned("Polly wants a cracker")]
    assert llm_recording.tokens == ["Polly", " wants", " a", " cracker"]
    assert llm_recording == llm_snapshot


# -- a tool


class Translate(BaseTool):
    """A tool that asks a model."""

    name: str = "translate"
    description: str = "Translates a text into French."
    llm: Any

    def _run(self, text: str, run_manager: CallbackManagerForToolRun | None = None) -> str:
        manager = run_manager or CallbackManagerForToolRun.get_noop_manager()
        manager.on_text(f"translating {text}")
        return str(self.llm.invoke(text, {"callbacks": manager.get_child("translation")}).text)

    async def _arun(self, text: str, run_manager: AsyncCallbackManagerForToolRun | None = None) -> str:
        manager = run_manager or AsyncCallbackManagerForToolRun.get_noop_manager()
        await manager.on_text(f"translating {text}")
        return str((await self.llm.ainvoke(text, {"callbacks": manager.get_child("translation")})).text)


@pytest.mark.parametrize("way", WAYS)
def test_a_custom_tool_logs_text_and_its_model_runs_within_it(way, scripted_chat_model, llm_recording, llm_snapshot):
    told = Told()

    assert asked(Translate(llm=scripted_chat_model("Bonjour")), way, {"text": "Hello"}, {"callbacks": [told]}) == "Bonjour"

    assert told.told == [("text", "translating Hello")]
    assert llm_recording.tools == [called("translate", text="Hello").returned("Bonjour")]
    assert llm_recording.run("translate").children == [model().tagged("translation")]
    assert llm_recording == llm_snapshot


# -- Runnables, in today's style


class Polite(Runnable[str, str]):
    """A Runnable around another one; its run has a manager because it runs by `_call_with_config`."""

    def __init__(self, inner: Runnable[Any, Any]) -> None:
        self.inner = inner

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        return self._call_with_config(self._ask, input, config)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        return await self._acall_with_config(self._aask, input, config)

    def _ask(self, text: str, run_manager: CallbackManagerForChainRun, config: RunnableConfig) -> str:
        run_manager.on_text("being polite")
        dispatch_custom_event("politeness", {"level": 3}, config=config)
        return str(self.inner.invoke(f"{text}, please", patch_config(config, callbacks=run_manager.get_child())).text)

    async def _aask(self, text: str, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig) -> str:
        await run_manager.on_text("being polite")
        await adispatch_custom_event("politeness", {"level": 3}, config=config)
        return str((await self.inner.ainvoke(f"{text}, please", patch_config(config, callbacks=run_manager.get_child()))).text)


@pytest.mark.parametrize("way", WAYS)
def test_a_custom_runnable_logs_text_and_sends_events_of_its_own(way, scripted_chat_model, llm_recording, llm_snapshot):
    told = Told()

    assert asked(Polite(scripted_chat_model("Tea.")), way, "Tea", {"callbacks": [told]}) == "Tea."

    assert told.told == [("text", "being polite"), ("politeness", {"level": 3})]
    polite = llm_recording.run("Polite")
    sent = [one for one in polite.events if one.kind == "on_custom_event"]
    assert [(one.payload["name"], one.payload["data"]) for one in sent] == [("politeness", {"level": 3})]
    assert polite.children == [model().returned("Tea.")]
    assert llm_recording.models[0].messages[0].text == "Tea, please"
    assert llm_recording == llm_snapshot


@pytest.mark.parametrize("way", WAYS)
def test_a_function_needs_only_its_config(way, scripted_chat_model, llm_recording, llm_snapshot):
    chat, told = scripted_chat_model("Hello Ada"), Told()

    def greet(name: str, config: RunnableConfig) -> str:
        dispatch_custom_event("greeting", name, config=config)
        return str(chat.invoke(f"Greet {name}", config).text)

    async def agreet(name: str, config: RunnableConfig) -> str:
        await adispatch_custom_event("greeting", name, config=config)
        return str((await chat.ainvoke(f"Greet {name}", config)).text)

    assert asked(RunnableLambda(greet, agreet, name="greet"), way, "Ada", {"callbacks": [told]}) == "Hello Ada"

    assert told.told == [("greeting", "Ada")]
    assert llm_recording.run("greet").children == [model().returned("Hello Ada")]
    assert llm_recording == llm_snapshot
