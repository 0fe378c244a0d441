"""Callback handlers: each callback that there is fires in a real program, with the arguments that its documentation names.

Section "callback handlers" of LangChain's callback guide. `Everything` is the guide's `BaseCallbackHandler`, and below it
the callbacks that came later.
"""

import asyncio
import inspect
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_classic.agents import AgentType, initialize_agent
from langchain_classic.chains import LLMChain
from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun, dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models.llms import LLM, create_base_retry_decorator
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import Tool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

from llmtest import ScriptedRetriever, call, say
from llmtest.matching import called, chain, model

classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain, run, the agent
PROMPT = PromptTemplate.from_template("1 + {number} = ")


class Everything(BaseCallbackHandler):
    """The guide's 14 callbacks, with its names for their arguments, and all that LangChain has added since."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.runs: list[UUID] = []

    def hear(self, callback: str, argument: Any, about: dict[str, Any]) -> None:
        """What came: the callback, its own argument, and what every callback has besides: the id of its run."""
        self.heard.append((callback, argument))
        self.runs.append(about["run_id"])

    @property
    def callbacks(self) -> list[str]:
        return [callback for callback, _ in self.heard]

    def told(self, callback: str) -> list[Any]:
        return [argument for name, argument in self.heard if name == callback]

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        self.hear("on_llm_start", (serialized["name"], prompts), kwargs)

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[Any]], **kwargs: Any) -> None:
        self.hear("on_chat_model_start", (serialized["name"], [[one.text for one in batch] for batch in messages]), kwargs)

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.hear("on_llm_new_token", token, kwargs)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.hear("on_llm_end", response.generations[0][0].text, kwargs)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.hear("on_llm_error", error, kwargs)

    def on_chain_start(self, serialized: dict[str, Any] | None, inputs: Any, **kwargs: Any) -> None:
        self.hear("on_chain_start", inputs, kwargs)

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.hear("on_chain_end", outputs, kwargs)

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        self.hear("on_chain_error", error, kwargs)

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        self.hear("on_tool_start", (serialized["name"], input_str), kwargs)

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.hear("on_tool_end", output, kwargs)

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.hear("on_tool_error", error, kwargs)

    def on_text(self, text: str, **kwargs: Any) -> None:
        self.hear("on_text", text, kwargs)

    def on_agent_action(self, action: AgentAction, **kwargs: Any) -> None:
        self.hear("on_agent_action", action, kwargs)

    def on_agent_finish(self, finish: AgentFinish, **kwargs: Any) -> None:
        self.hear("on_agent_finish", finish, kwargs)

    # -- added since

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        self.hear("on_stream_event", event["event"], kwargs)

    def on_retriever_start(self, serialized: dict[str, Any] | None, query: str, **kwargs: Any) -> None:
        self.hear("on_retriever_start", query, kwargs)

    def on_retriever_end(self, documents: list[Document], **kwargs: Any) -> None:
        self.hear("on_retriever_end", [document.page_content for document in documents], kwargs)

    def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self.hear("on_retriever_error", error, kwargs)

    def on_retry(self, retry_state: Any, **kwargs: Any) -> None:
        self.hear("on_retry", retry_state.attempt_number, kwargs)

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.hear("on_custom_event", (name, data), kwargs)


def callbacks_of(kind: type[BaseCallbackHandler]) -> dict[str, list[str]]:
    """The callbacks of a handler class, each with the arguments that it names before its keywords."""

    def own(function: Any) -> list[str]:
        named = inspect.signature(function).parameters.values()
        return [one.name for one in named if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]

    return {name: own(getattr(kind, name)) for name in dir(kind) if name.startswith("on_")}


def test_langchain_has_the_callbacks_of_the_guide_and_those_added_since_and_no_others():
    assert callbacks_of(Everything) == callbacks_of(BaseCallbackHandler)
    assert len(callbacks_of(BaseCallbackHandler)) == 14 + 6


# -- each fires: in the classic style


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression."""
    return {"2 + 2": "4"}[expression]


@classic
def test_a_classic_agent_fires_all_of_the_guide_but_chat_models_and_errors(scripted_llm, llm_recording, llm_snapshot):
    everything = Everything()
    asks = say(" I must calculate.\nAction: calculator\nAction Input: 2 + 2")
    llm = scripted_llm(asks, say(" I know.\nFinal Answer: It is", " 4."), streaming=True)
    agent = initialize_agent([calculator], llm, agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION)

    assert agent.run("2 + 2?", callbacks=[everything]) == "It is 4."

    asked = ["on_chain_start", "on_text", "on_llm_start", *["on_llm_new_token"] * asks.token_count, "on_llm_end", "on_chain_end"]
    assert everything.callbacks[: 1 + len(asked)] == ["on_chain_start", *asked]
    assert set(everything.callbacks) == {
        *("on_llm_start", "on_llm_new_token", "on_llm_end", "on_chain_start", "on_chain_end", "on_tool_start", "on_tool_end"),
        *("on_text", "on_agent_action", "on_agent_finish"),
    }
    (action,), (finish,) = everything.told("on_agent_action"), everything.told("on_agent_finish")
    assert (action.tool, action.tool_input, action.log) == ("calculator", "2 + 2", asks.text)
    assert finish.return_values == {"output": "It is 4."}
    assert everything.told("on_tool_start") == [("calculator", "2 + 2")]
    assert everything.told("on_tool_end") == ["4"]
    assert everything.told("on_chain_start")[0] == {"input": "2 + 2?"}
    assert everything.told("on_chain_end")[-1] == {"output": "It is 4."}
    assert "".join(everything.told("on_llm_new_token")) == "".join(everything.told("on_llm_end"))
    assert "Question: 2 + 2?" in everything.told("on_text")[0]
    # The recorder heard what the handler heard, in the same order: an event for each callback, and of the same run.
    assert llm_recording.kinds == everything.callbacks
    assert [event.run_id for event in llm_recording] == everything.runs
    assert llm_recording == llm_snapshot


@classic
def test_a_chat_model_in_a_classic_chain_starts_with_a_callback_of_its_own(scripted_chat_model, llm_recording, llm_snapshot):
    everything = Everything()
    chain_ = LLMChain(llm=scripted_chat_model("3"), prompt=PROMPT)

    assert chain_({"number": 2}, callbacks=[everything]) == {"number": 2, "text": "3"}

    # "Run when Chat Model starts running": and on_llm_start does not fire as well.
    prompt = "Prompt after formatting:\n\x1b[32;1m\x1b[1;3m1 + 2 = \x1b[0m"
    assert everything.heard == [
        ("on_chain_start", {"number": 2}),
        ("on_text", prompt),
        ("on_chat_model_start", ("ScriptedChatModel", [["1 + 2 = "]])),
        ("on_llm_end", "3"),
        ("on_chain_end", {"text": "3"}),
    ]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


# -- each fires: in today's


@pytest.mark.parametrize(
    "invoke",
    [lambda agent, *given: agent.invoke(*given), lambda agent, *given: asyncio.run(agent.ainvoke(*given))],
    ids=["sync", "async"],
)
def test_an_agent_of_today_fires_none_of_the_three_that_only_classic_chains_send(
    invoke, scripted_chat_model, llm_recording, llm_snapshot
):
    everything = Everything()
    chat = scripted_chat_model(call("calculator", expression="2 + 2"), say("It is", " 4."), streaming=True)
    agent = create_agent(chat, [calculator], name="math_agent")

    invoke(agent, {"messages": [HumanMessage("2 + 2?")]}, {"callbacks": [everything]})

    assert set(everything.callbacks) == {
        *("on_chat_model_start", "on_llm_new_token", "on_llm_end", "on_chain_start", "on_chain_end"),
        *("on_tool_start", "on_tool_end"),
    }  # no on_text, no on_agent_action, no on_agent_finish
    assert everything.told("on_chat_model_start")[0] == ("ScriptedChatModel", [["2 + 2?"]])
    assert everything.told("on_tool_start") == [("calculator", "{'expression': '2 + 2'}")]
    assert [output.content for output in everything.told("on_tool_end")] == ["4"]  # a ToolMessage today, in the guide a str
    assert everything.told("on_llm_new_token")[-2:] == ["It is", " 4."]
    assert everything.told("on_llm_end") == ["", "It is 4."]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


def test_a_graph_fires_the_callbacks_of_its_retriever_and_the_events_of_its_nodes(
    scripted_chat_model, llm_recording, llm_snapshot
):
    everything = Everything()
    cats = ScriptedRetriever(["Cats purr.", "Cats sleep."])
    chat = scripted_chat_model("They purr.")

    def look_up(state: MessagesState) -> Any:
        found = cats.invoke(state["messages"][-1].text)
        dispatch_custom_event("found", {"documents": len(found)})
        return {"messages": [chat.invoke(f"{found[0].page_content} What do cats do?")]}

    graph = StateGraph(MessagesState)
    graph.add_node("look_up", look_up)
    graph.add_edge(START, "look_up")
    graph.add_edge("look_up", END)

    graph.compile().invoke({"messages": [HumanMessage("cats")]}, {"callbacks": [everything]})

    assert everything.heard[2:6] == [
        ("on_retriever_start", "cats"),
        ("on_retriever_end", ["Cats purr.", "Cats sleep."]),
        ("on_custom_event", ("found", {"documents": 2})),
        ("on_chat_model_start", ("ScriptedChatModel", [["Cats purr. What do cats do?"]])),
    ]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


def test_a_stream_of_version_3_fires_stream_events_beside_tokens(scripted_chat_model, llm_recording, llm_snapshot):
    everything = Everything()

    stream = scripted_chat_model(say("It is", " 4.")).stream_events("2 + 2?", {"callbacks": [everything]}, version="v3")

    assert stream.output.text == "It is 4."
    assert everything.told("on_stream_event") == [
        "message-start",
        "content-block-start",
        *["content-block-delta"] * 2,
        "content-block-finish",
        "message-finish",
    ]
    assert everything.told("on_llm_new_token") == ["It is", " 4."]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


class Wavering(LLM):
    """A text model that its provider refuses once. It tries again as the models of integrations do."""

    calls: int = 0

    @property
    def _llm_type(self) -> str:
        return "wavering"

    def _call(self, prompt: str, stop: Any = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> str:
        @create_base_retry_decorator([ConnectionError], max_retries=2, run_manager=run_manager)
        def ask() -> str:
            self.calls += 1
            if self.calls == 1:
                raise ConnectionError("no route")
            return "3"

        ask.retry.sleep = lambda seconds: None  # it waits four seconds otherwise
        return ask()


@classic
@pytest.mark.parametrize(
    "program",
    [lambda llm: LLMChain(llm=llm, prompt=PROMPT), lambda llm: PROMPT | llm],
    ids=["LLMChain", "sequence"],
)
def test_a_model_that_tries_again_fires_on_retry(program, llm_recording, llm_snapshot):
    everything = Everything()

    program(Wavering()).invoke({"number": 2}, {"callbacks": [everything]})

    assert everything.told("on_retry") == [1]  # the number of the attempt that failed
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


def test_with_retry_fires_no_on_retry_but_runs_the_chain_again(scripted_chat_model, llm_recording, llm_snapshot):
    everything = Everything()
    chat = scripted_chat_model(ConnectionError("no route"), "3").with_retry(wait_exponential_jitter=False)

    chat.invoke("1 + 2 = ", {"callbacks": [everything]})

    attempts = ["on_chat_model_start", "on_llm_error", "on_chat_model_start", "on_llm_end"]
    assert everything.callbacks == ["on_chain_start", *attempts, "on_chain_end"]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


# -- errors: an Exception and a KeyboardInterrupt


errors = pytest.mark.parametrize("error", [ValueError("no such sum"), KeyboardInterrupt()], ids=["exception", "interrupt"])


@classic
@errors
def test_an_error_of_a_model_is_told_to_the_model_and_to_each_chain_around_it(error, scripted_llm, llm_recording, llm_snapshot):
    everything = Everything()
    chain_ = LLMChain(llm=scripted_llm(error), prompt=PROMPT)

    with pytest.raises(type(error)) as caught:
        chain_.run(number=2, callbacks=[everything])

    assert everything.heard[-2:] == [("on_llm_error", caught.value), ("on_chain_error", caught.value)]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


@classic
@errors
def test_an_error_of_a_tool_is_told_to_the_tool_and_to_the_classic_agent(error, scripted_llm, llm_recording, llm_snapshot):
    everything = Everything()
    broken = Tool(name="calculator", description="Calculates.", func=raising(error))
    llm = scripted_llm(say(" I must calculate.\nAction: calculator\nAction Input: 2 + 2"))
    agent = initialize_agent([broken], llm, agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION)

    with pytest.raises(type(error)) as caught:
        agent.run("2 + 2?", callbacks=[everything])

    assert caught.value is error
    assert everything.heard[-3:] == [
        ("on_tool_start", ("calculator", "2 + 2")),
        ("on_tool_error", error),
        ("on_chain_error", error),
    ]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


@errors
def test_an_error_of_a_tool_goes_through_the_nodes_of_an_agent_of_today(error, scripted_chat_model, llm_recording, llm_snapshot):
    everything = Everything()
    agent = create_agent(scripted_chat_model(call("broken", of=4)), [tool("broken")(raising(error))], name="math_agent")

    with pytest.raises(type(error)) as caught:
        agent.invoke({"messages": [HumanMessage("2 + 2?")]}, {"callbacks": [everything]})

    assert caught.value is error
    assert everything.heard[-3:] == [("on_tool_error", error), ("on_chain_error", error), ("on_chain_error", error)]
    assert llm_recording.tools == [called("broken", of=4).failed(type(error).__name__)]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


@errors
def test_a_chain_fails_by_itself_and_a_chat_model_within_one(error, scripted_chat_model, llm_recording, llm_snapshot):
    everything = Everything()
    for program in (RunnableLambda(raising(error)), RunnableLambda(str) | scripted_chat_model(error)):
        with pytest.raises(type(error)):
            program.invoke(4, {"callbacks": [everything]})

    assert everything.callbacks == [
        *("on_chain_start", "on_chain_error"),
        *("on_chain_start", "on_chain_start", "on_chain_end", "on_chat_model_start", "on_llm_error", "on_chain_error"),
    ]
    assert [type(told) for told in everything.told("on_llm_error")] == [type(error)]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


def test_an_error_of_a_retriever_is_told(llm_recording, llm_snapshot):
    everything, error = Everything(), ValueError("no such cat")

    with pytest.raises(ValueError, match="no such cat") as caught:
        ScriptedRetriever(error).invoke("cats", {"callbacks": [everything]})

    assert everything.heard == [("on_retriever_start", "cats"), ("on_retriever_error", caught.value)]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot


def test_an_interrupt_in_a_retriever_is_told_by_its_chain_alone(llm_recording, llm_snapshot):
    everything = Everything()
    program = RunnableLambda(str) | ScriptedRetriever(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        program.invoke("cats", {"callbacks": [everything]})

    # LangChain fires no end of the retriever: its run stays open for good.
    assert everything.callbacks[-2:] == ["on_retriever_start", "on_chain_error"]
    assert llm_recording.open_runs == ["ScriptedRetriever"]
    assert llm_recording.kinds == everything.callbacks
    assert llm_recording == llm_snapshot(open_runs=True)


def raising(error: BaseException) -> Any:
    def broken(of: int) -> int:
        """Breaks."""
        raise error

    return broken


# -- overriding: as many as the handler is for


class Starts(BaseCallbackHandler):
    """Overrides several."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, name: str, **kwargs: Any) -> None:
        self.names.append(name)

    def on_chat_model_start(self, serialized: dict[str, Any], messages: Any, **kwargs: Any) -> None:
        self.names.append(serialized["name"])

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        self.names.append(serialized["name"])


class Answer(BaseCallbackHandler):
    """Overrides one."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)


class Nothing(BaseCallbackHandler):
    """Overrides none."""


def test_a_handler_overrides_one_callback_or_several_and_misses_nothing_of_them(scripted_chat_model, llm_recording, llm_snapshot):
    starts, answer = Starts(), Answer()
    chat = scripted_chat_model(call("calculator", expression="2 + 2"), say("It is", " 4."), streaming=True)
    agent = create_agent(chat, [calculator], name="math_agent")

    agent.invoke({"messages": [HumanMessage("2 + 2?")]}, {"callbacks": [starts, answer, Nothing()]})

    assert starts.names == llm_recording.runs.names
    assert starts.names == ["math_agent", "model", "ScriptedChatModel", "tools", "calculator", "model", "ScriptedChatModel"]
    assert answer.tokens == llm_recording.tokens  # one by one: the last token of a tool call may be empty
    assert "".join(answer.tokens) == "It is 4."
    assert llm_recording == llm_snapshot


@classic
def test_a_handler_without_on_chat_model_start_is_told_of_chat_models_by_on_llm_start(
    scripted_chat_model, llm_recording, llm_snapshot
):
    class Prompts(BaseCallbackHandler):
        def __init__(self) -> None:
            self.prompts: list[str] = []

        def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
            self.prompts += prompts

    handler = Prompts()
    LLMChain(llm=scripted_chat_model("3"), prompt=PROMPT).run(number=2, callbacks=[handler])

    assert handler.prompts == ["Human: 1 + 2 = "]  # the messages, as one text
    assert llm_recording.runs == [chain("LLMChain"), model()]
    assert llm_recording == llm_snapshot
