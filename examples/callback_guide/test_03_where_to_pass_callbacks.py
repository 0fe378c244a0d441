"""Where to pass callbacks: those of a constructor stay with their object, those of a request reach all that it starts.

Section "where to pass in callbacks" of LangChain's callback guide: for chains, models, tools and agents.
"""

import re
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.agents import AgentType, initialize_agent
from langchain_classic.chains import LLMChain, SimpleSequentialChain
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_debug
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

from llmtest import call, say
from llmtest.errors import expect_violation
from llmtest.matching import called, chain, model

classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain, the agent, run
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PROMPT = PromptTemplate.from_template("1 + {number} = ")


class Started(BaseCallbackHandler):
    """The names of the runs that start, and each start and end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.heard: list[str] = []

    def start(self, callback: str, name: str) -> None:
        self.names.append(name)
        self.heard.append(callback)

    def on_chain_start(self, serialized: Any, inputs: Any, *, name: str, **kwargs: Any) -> None:
        self.start("on_chain_start", name)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        self.start("on_llm_start", serialized["name"])

    def on_chat_model_start(self, serialized: dict[str, Any], messages: Any, **kwargs: Any) -> None:
        self.start("on_chat_model_start", serialized["name"])

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        self.start("on_tool_start", serialized["name"])

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.heard.append("on_chain_end")

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.heard.append("on_llm_end")

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.heard.append("on_tool_end")


def starts_and_ends(recording: Any) -> list[str]:
    return [kind for kind in recording.kinds if kind.endswith(("_start", "_end"))]


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression."""
    return {"2 + 2": "4"}[expression]


# -- constructor callbacks: for all calls of the object, and for this object only


WAYS = {
    "__call__": lambda chain_, handlers: chain_({"number": 2}, callbacks=handlers),
    "run": lambda chain_, handlers: chain_.run(number=2, callbacks=handlers),
    "apply": lambda chain_, handlers: chain_.apply([{"number": 2}], callbacks=handlers),
    "invoke": lambda chain_, handlers: chain_.invoke({"number": 2}, {"callbacks": handlers}),
}


@classic
def test_a_handler_of_a_chain_hears_all_its_calls_and_never_its_model(scripted_llm, llm_recording, llm_snapshot):
    of_the_chain = Started()
    chain_ = LLMChain(llm=scripted_llm("3", "3", "3", "3"), prompt=PROMPT, callbacks=[of_the_chain])

    for ask in WAYS.values():
        ask(chain_, None)

    assert (of_the_chain.names, of_the_chain.heard) == (["LLMChain"] * 4, ["on_chain_start", "on_chain_end"] * 4)
    assert llm_recording.runs == [chain("LLMChain"), model()] * 4
    assert llm_recording.kinds == ["on_chain_start", "on_text", "on_llm_start", "on_llm_end", "on_chain_end"] * 4
    assert llm_recording == llm_snapshot


@classic
def test_each_object_of_a_classic_agent_keeps_the_handler_of_its_constructor(scripted_llm, llm_recording, llm_snapshot):
    of_the_agent, of_the_tool, of_the_model = Started(), Started(), Started()
    asks, knows = say(" I see.\nAction: calculator\nAction Input: 2 + 2"), say(" I know.\nFinal Answer: 4.")
    agent = initialize_agent(
        [StructuredTool.from_function(calculator.func, callbacks=[of_the_tool])],
        scripted_llm(asks, knows, callbacks=[of_the_model]),
        agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION,
        callbacks=[of_the_agent],
    )

    assert agent.run("2 + 2?") == "4."

    assert (of_the_agent.names, of_the_agent.heard) == (["AgentExecutor"], ["on_chain_start", "on_chain_end"])
    assert (of_the_tool.names, of_the_tool.heard) == (["calculator"], ["on_tool_start", "on_tool_end"])
    assert (of_the_model.names, of_the_model.heard) == (["ScriptedLLM"] * 2, ["on_llm_start", "on_llm_end"] * 2)
    called_model = ["LLMChain", "ScriptedLLM"]
    assert llm_recording.runs.names == ["AgentExecutor", *called_model, "calculator", *called_model]
    assert llm_recording == llm_snapshot


def test_each_object_of_an_agent_of_today_keeps_the_handler_of_its_constructor(scripted_chat_model, llm_recording, llm_snapshot):
    of_the_tool, of_the_model = Started(), Started()
    agent = create_agent(
        scripted_chat_model(call("calculator", expression="2 + 2"), say("4."), callbacks=[of_the_model]),
        [StructuredTool.from_function(calculator.func, callbacks=[of_the_tool])],
        name="math_agent",
    )

    agent.invoke({"messages": [("user", "2 + 2?")]})

    assert (of_the_tool.names, of_the_tool.heard) == (["calculator"], ["on_tool_start", "on_tool_end"])
    assert of_the_model.names == ["ScriptedChatModel"] * 2
    assert of_the_model.heard == ["on_chat_model_start", "on_llm_end"] * 2
    called_model = ["model", "ScriptedChatModel"]
    assert llm_recording.runs.names == ["math_agent", *called_model, "tools", "calculator", *called_model]
    assert llm_recording == llm_snapshot


def test_with_config_looks_like_a_constructor_and_reaches_all_that_is_inside(scripted_llm, llm_recording, llm_snapshot):
    of_the_sequence, of_the_prompt = Started(), Started()
    steps = PROMPT.with_config(callbacks=[of_the_prompt]) | scripted_llm("3")

    assert steps.with_config(callbacks=[of_the_sequence]).invoke({"number": 2}) == "3"

    assert of_the_sequence.names == llm_recording.runs.names == ["RunnableSequence", "PromptTemplate", "ScriptedLLM"]
    assert of_the_sequence.heard == llm_recording.kinds
    assert of_the_prompt.names == ["PromptTemplate"]
    assert llm_recording == llm_snapshot


# -- request callbacks: for one request, and for all that it starts


@classic
@pytest.mark.parametrize("way", WAYS)
def test_a_handler_of_a_request_hears_the_model_too_and_no_other_request(way, scripted_llm, llm_recording, llm_snapshot):
    of_the_request, of_another = Started(), Started()
    chain_ = LLMChain(llm=scripted_llm("3", "3", "3"), prompt=PROMPT)

    WAYS[way](chain_, [of_the_request])
    WAYS[way](chain_, [of_another])
    WAYS[way](chain_, None)

    assert of_the_request.names == of_another.names == ["LLMChain", "ScriptedLLM"]
    assert of_the_request.heard == of_another.heard == ["on_chain_start", "on_llm_start", "on_llm_end", "on_chain_end"]
    assert llm_recording.runs == [chain("LLMChain"), model()] * 3
    assert llm_recording.kinds == ["on_chain_start", "on_text", "on_llm_start", "on_llm_end", "on_chain_end"] * 3
    assert llm_recording == llm_snapshot


@classic
@pytest.mark.parametrize(
    "ask",
    [
        lambda agent, handler: agent({"input": "2 + 2?"}, callbacks=[handler]),
        lambda agent, handler: agent.run("2 + 2?", callbacks=[handler]),
        lambda agent, handler: agent.apply([{"input": "2 + 2?"}], callbacks=[handler]),
        lambda agent, handler: agent.invoke({"input": "2 + 2?"}, {"callbacks": [handler]}),
    ],
    ids=WAYS,
)
def test_a_handler_of_a_request_hears_every_object_of_a_classic_agent(ask, scripted_llm, llm_recording, llm_snapshot):
    handler = Started()
    asks, knows = say(" I see.\nAction: calculator\nAction Input: 2 + 2"), say(" I know.\nFinal Answer: 4.")
    agent = initialize_agent([calculator], scripted_llm(asks, knows), agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION)

    ask(agent, handler)

    called_model = ["LLMChain", "ScriptedLLM"]
    assert handler.names == llm_recording.runs.names == ["AgentExecutor", *called_model, "calculator", *called_model]
    assert handler.heard == starts_and_ends(llm_recording)
    assert llm_recording == llm_snapshot


def test_a_handler_of_a_request_hears_every_object_of_an_agent_of_today(scripted_chat_model, llm_recording, llm_snapshot):
    handler = Started()
    agent = create_agent(scripted_chat_model(call("calculator", expression="2 + 2"), say("4.")), [calculator], name="math_agent")

    agent.invoke({"messages": [("user", "2 + 2?")]}, {"callbacks": [handler]})

    called_model = ["model", "ScriptedChatModel"]
    assert handler.names == ["math_agent", *called_model, "tools", "calculator", *called_model]
    assert handler.names == llm_recording.runs.names
    assert handler.heard == starts_and_ends(llm_recording)
    assert llm_recording == llm_snapshot


def test_models_and_tools_take_a_handler_with_a_request_themselves(
    scripted_llm, scripted_chat_model, llm_recording, llm_snapshot
):
    handler = Started()

    scripted_llm("3").invoke("1 + 2 = ", {"callbacks": [handler]})
    scripted_chat_model("3").invoke("1 + 2 = ", {"callbacks": [handler]})
    calculator.invoke({"expression": "2 + 2"}, {"callbacks": [handler]})
    calculator.run({"expression": "2 + 2"}, callbacks=[handler])

    assert handler.names == ["ScriptedLLM", "ScriptedChatModel", "calculator", "calculator"]
    assert llm_recording.runs.names == handler.names
    assert starts_and_ends(llm_recording) == handler.heard
    assert [run.children for run in llm_recording.roots] == [[], [], [], []]
    assert llm_recording == llm_snapshot


def test_functions_and_nodes_hand_the_request_on_without_being_told(scripted_chat_model, llm_recording, llm_snapshot):
    handler = Started()
    chat = scripted_chat_model("4.")
    ask = RunnableLambda(lambda question: chat.invoke(question)).with_config(run_name="ask")
    graph = StateGraph(MessagesState)
    graph.add_node(
        "desk", lambda state: {"messages": [ask.invoke(calculator.invoke({"expression": state["messages"][-1].text}))]}
    )
    graph.add_edge(START, "desk")
    graph.add_edge("desk", END)

    graph.compile().invoke({"messages": [("user", "2 + 2")]}, {"callbacks": [handler]})

    assert handler.names == ["LangGraph", "desk", "calculator", "ask", "ScriptedChatModel"]
    assert llm_recording.tools == [called("calculator", expression="2 + 2").returned("4")]
    assert llm_recording.runs.names == handler.names
    assert starts_and_ends(llm_recording) == handler.heard
    assert llm_recording == llm_snapshot


# -- both


@classic
def test_a_handler_given_both_ways_hears_each_run_once(scripted_llm, llm_recording, llm_snapshot):
    handler, of_the_chain = Started(), Started()
    chain_ = LLMChain(llm=scripted_llm("3", callbacks=[handler]), prompt=PROMPT, callbacks=[handler, of_the_chain])

    chain_.run(number=2, callbacks=[handler])

    assert handler.names == ["LLMChain", "ScriptedLLM"]
    assert handler.heard == starts_and_ends(llm_recording)
    assert of_the_chain.names == ["LLMChain"]
    assert llm_recording.runs == [chain("LLMChain"), model()]
    assert llm_recording == llm_snapshot


# -- verbose: "equivalent to passing a ConsoleCallbackHandler to the object and all its child objects". Not today.


@pytest.fixture
def debug():
    set_debug(True)
    yield
    set_debug(False)


def printed(capsys: Any) -> list[str]:
    """The lines that were printed, without colours and empty ones."""
    return [line for line in COLOURS.sub("", capsys.readouterr().out).splitlines() if line]


def traced(capsys: Any) -> list[tuple[str, str]]:
    """What the console handler said: of which event, and where the run hangs."""
    return re.findall(r"^\[(\w+/\w+)\] \[([^]]+)\]", "\n".join(printed(capsys)), re.MULTILINE)


def in_a_row(scripted_llm: Any, **given: Any) -> Any:
    sums = LLMChain(llm=scripted_llm("3"), prompt=PROMPT)
    words = LLMChain(llm=scripted_llm("three"), prompt=PromptTemplate.from_template("{number} in words"))
    return SimpleSequentialChain(chains=[sums, words], **given)


@classic
def test_verbose_of_a_chain_stays_with_the_chain(scripted_llm, llm_recording, llm_snapshot, capsys):
    assert in_a_row(scripted_llm, verbose=True).invoke("2") == {"input": "2", "output": "three"}

    outer = ["> Entering new SimpleSequentialChain chain...", "3", "three", "> Finished chain."]
    assert printed(capsys) == outer  # nothing of the LLMChains and of their models
    assert llm_recording.runs.names == ["SimpleSequentialChain", "LLMChain", "ScriptedLLM", "LLMChain", "ScriptedLLM"]
    assert llm_recording == llm_snapshot


@classic
def test_verbose_of_a_classic_agent_is_handed_on_to_its_tools_alone(scripted_llm, llm_recording, llm_snapshot, capsys):
    asks, knows = say(" I see.\nAction: calculator\nAction Input: 2 + 2"), say(" I know.\nFinal Answer: 4.")
    agent = initialize_agent([calculator], scripted_llm(asks, knows), agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION, verbose=True)

    agent.run("2 + 2?")

    assert printed(capsys) == [
        "> Entering new AgentExecutor chain...",
        " I see.",  # on_agent_action
        "Action: calculator",
        "Action Input: 2 + 2",
        "Observation: 4",  # on_tool_end: the executor runs its tools with its own `verbose`
        "Thought: I know.",  # and its LLMChain without: no "Entering new LLMChain chain..."
        "Final Answer: 4.",
        "> Finished chain.",
    ]
    assert llm_recording.tools == ["calculator"]
    assert llm_recording == llm_snapshot


def test_verbose_of_a_tool_stays_with_the_tool(llm_recording, llm_snapshot, capsys):
    @tool
    def thorough(expression: str) -> str:
        """Calculate, and calculate again."""
        return f"{calculator.invoke({'expression': expression})}, really"

    StructuredTool.from_function(thorough.func, verbose=True).invoke({"expression": "2 + 2"})

    assert printed(capsys) == ["4, really"]
    assert llm_recording.tools == ["thorough", "calculator"]
    assert llm_recording == llm_snapshot


@classic
def test_set_debug_reaches_every_run_of_a_classic_chain(debug, scripted_llm, llm_recording, llm_snapshot, capsys):
    in_a_row(scripted_llm).invoke("2")

    outer, inner = "chain:SimpleSequentialChain", "chain:SimpleSequentialChain > chain:LLMChain"
    inside = [("chain/start", inner), ("llm/start", f"{inner} > llm:ScriptedLLM")]
    inside += [("llm/end", f"{inner} > llm:ScriptedLLM"), ("chain/end", inner)]
    assert traced(capsys) == [("chain/start", outer), *inside, *inside, ("chain/end", outer)]
    assert llm_recording.runs.names == ["SimpleSequentialChain", "LLMChain", "ScriptedLLM", "LLMChain", "ScriptedLLM"]
    assert llm_recording == llm_snapshot


@tool
def root(input: str) -> str:
    """The square root of a number."""
    return {"4": "2"}[input]


def test_set_debug_reaches_every_run_of_an_agent_of_today(debug, scripted_chat_model, llm_recording, llm_snapshot, capsys):
    agent = create_agent(scripted_chat_model(call("root", input="4"), say("2.")), [root], name="math_agent")

    agent.invoke({"messages": [("user", "The root of 4?")]})

    called_model = ["chain:model", "chain:model > llm:ScriptedChatModel"]
    inside = [*called_model, "chain:tools", "chain:tools > tool:root", *called_model]
    started = [where for what, where in traced(capsys) if what.endswith("/start")]
    assert started == ["chain:math_agent", *(f"chain:math_agent > {where}" for where in inside)]
    assert [where.rpartition(":")[2] for where in started] == llm_recording.runs.names
    assert llm_recording == llm_snapshot


def test_set_debug_loses_the_start_of_a_tool_that_has_no_text_called_input(debug, llm_recording, llm_snapshot, capsys):
    with expect_violation("swallowed handler error") as caught:  # LangChain's own console handler fails, and nobody is told
        assert calculator.invoke({"expression": "2 + 2"}) == "4"
        assert root.invoke({"input": "4"}) == "2"

    lost = "the callback handler `ConsoleCallbackHandler.on_tool_start` raised KeyError: 'input'"
    assert [violation.text.splitlines()[0] for violation in caught] == [lost]
    assert traced(capsys) == [("tool/end", "tool:calculator"), ("tool/start", "tool:root"), ("tool/end", "tool:root")]
    assert llm_recording.tools == [called("calculator").returned("4"), called("root").returned("2")]
    assert llm_recording == llm_snapshot
