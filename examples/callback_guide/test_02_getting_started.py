"""Getting started: the stdout handler given to the constructor, asked for by `verbose`, and given to the request.

Section "getting started" of LangChain's callback guide.
"""

import re
from typing import Any

import pytest
from langchain_classic.chains import LLMChain, SimpleSequentialChain
from langchain_core.callbacks import StdOutCallbackHandler
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

from llmtest.matching import called, chain, model, node

classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain and run
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PROMPT = PromptTemplate.from_template("1 + {number} = ")
GUIDE = """\


> Entering new LLMChain chain...
Prompt after formatting:
1 + 2 =\x20

> Finished chain.
"""


def printed(capsys: Any) -> str:
    """What was printed since the last time, without colours."""
    return COLOURS.sub("", capsys.readouterr().out)


# -- the guide's program


@classic
def test_constructor_verbose_and_request_print_the_same_three_times_over(scripted_llm, llm_recording, llm_snapshot, capsys):
    handler = StdOutCallbackHandler()
    llm = scripted_llm("\n\n3", "\n\n3", "\n\n3")

    # Constructor callback: the handler is set when the chain is made
    chain_ = LLMChain(llm=llm, prompt=PROMPT, callbacks=[handler])
    assert chain_.run(number=2) == "\n\n3"
    by_constructor = printed(capsys)

    # Verbose flag: the same result, without a handler
    chain_ = LLMChain(llm=llm, prompt=PROMPT, verbose=True)
    assert chain_.run(number=2) == "\n\n3"
    by_verbose = printed(capsys)

    # Request callbacks: the same result
    chain_ = LLMChain(llm=llm, prompt=PROMPT)
    assert chain_.run(number=2, callbacks=[handler]) == "\n\n3"
    by_request = printed(capsys)

    assert [by_constructor, by_verbose, by_request] == [GUIDE] * 3
    assert llm_recording.runs == [chain("LLMChain"), model()] * 3
    assert llm_recording.kinds == ["on_chain_start", "on_text", "on_llm_start", "on_llm_end", "on_chain_end"] * 3
    assert llm_recording == llm_snapshot


@classic
def test_verbose_and_a_handler_print_once_and_neither_prints_nothing(scripted_llm, llm_recording, llm_snapshot, capsys):
    llm = scripted_llm("3", "3")

    LLMChain(llm=llm, prompt=PROMPT, callbacks=[StdOutCallbackHandler()], verbose=True).run(number=2)
    assert printed(capsys) == GUIDE

    LLMChain(llm=llm, prompt=PROMPT).run(number=2)
    assert printed(capsys) == ""

    assert llm_recording.runs == [chain("LLMChain"), model()] * 2
    assert llm_recording == llm_snapshot


@classic
@pytest.mark.parametrize("how", ["constructor", "verbose", "request"])
def test_only_the_request_prints_the_chains_inside(how, scripted_llm, llm_recording, llm_snapshot, capsys):
    handler = StdOutCallbackHandler()
    sums = LLMChain(llm=scripted_llm("3"), prompt=PROMPT)
    words = LLMChain(llm=scripted_llm("three"), prompt=PromptTemplate.from_template("{number} in words"))
    given: Any = {"constructor": {"callbacks": [handler]}, "verbose": {"verbose": True}, "request": {}}[how]
    program = SimpleSequentialChain(chains=[sums, words], **given)

    assert program.run("2", callbacks=[handler] if how == "request" else None) == "three"

    outer = ["> Entering new SimpleSequentialChain chain...", "3", "three", "> Finished chain."]
    inner = {
        "3": ["> Entering new LLMChain chain...", "Prompt after formatting:", "1 + 2 = ", "> Finished chain."],
        "three": ["> Entering new LLMChain chain...", "Prompt after formatting:", "3 in words", "> Finished chain."],
    }
    expected = [line for told in outer for line in [*(inner.get(told, []) if how == "request" else []), told]]
    assert [line for line in printed(capsys).splitlines() if line] == expected
    assert llm_recording.runs.names == ["SimpleSequentialChain", "LLMChain", "ScriptedLLM", "LLMChain", "ScriptedLLM"]
    assert llm_recording == llm_snapshot


# -- today's


SEQUENCE = """\


> Entering new RunnableSequence chain...


> Entering new PromptTemplate chain...

> Finished chain.

> Finished chain.
"""


def test_a_sequence_prints_the_same_by_config_and_by_request(scripted_llm, llm_recording, llm_snapshot, capsys):
    handler = StdOutCallbackHandler()
    program = PROMPT | scripted_llm("\n\n3", "\n\n3")

    # A sequence has no `verbose`, and no callbacks in its constructor: `with_config` stands for it.
    program.with_config(callbacks=[handler]).invoke({"number": 2})
    by_config = printed(capsys)
    program.invoke({"number": 2}, {"callbacks": [handler]})
    by_request = printed(capsys)

    # Its steps are printed either way: what `with_config` sets is handed on. No prompt: that is `on_text`, of LLMChain.
    assert [by_config, by_request] == [SEQUENCE] * 2
    assert llm_recording.runs == [chain("RunnableSequence"), chain("PromptTemplate"), model()] * 2
    prompt, answer = ["on_chain_start", "on_chain_end"], ["on_llm_start", "on_llm_end"]
    assert llm_recording.kinds == ["on_chain_start", *prompt, *answer, "on_chain_end"] * 2
    assert llm_recording == llm_snapshot


@tool
def add(number: int) -> int:
    """1 + a number."""
    return 1 + number


def test_a_tool_prints_its_result_by_constructor_verbose_and_request(llm_recording, llm_snapshot, capsys):
    handler = StdOutCallbackHandler()

    StructuredTool.from_function(add.func, callbacks=[handler]).invoke({"number": 2})
    by_constructor = printed(capsys)
    StructuredTool.from_function(add.func, verbose=True).invoke({"number": 2})
    by_verbose = printed(capsys)
    add.invoke({"number": 2}, {"callbacks": [handler]})
    by_request = printed(capsys)

    assert [by_constructor, by_verbose, by_request] == ["3"] * 3
    assert llm_recording.runs == [called("add", number=2).returned(3)] * 3
    assert llm_recording == llm_snapshot


@pytest.mark.parametrize("how", ["constructor", "verbose", "request"])
def test_of_a_model_the_handler_prints_nothing(how, scripted_chat_model, llm_recording, llm_snapshot, capsys):
    handler = StdOutCallbackHandler()
    given: Any = {"constructor": {"callbacks": [handler]}, "verbose": {"verbose": True}, "request": {}}[how]

    scripted_chat_model("3", **given).invoke("1 + 2 = ", {"callbacks": [handler] if how == "request" else None})

    assert printed(capsys) == ""  # "it logs all events to stdout": those of chains, tools and agents
    assert llm_recording.runs == [model()]
    assert llm_recording == llm_snapshot


def test_a_graph_prints_itself_and_its_nodes_by_config_and_by_request(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    handler = StdOutCallbackHandler()
    chat = scripted_chat_model("3", "3")
    graph = StateGraph(MessagesState)
    graph.add_node("sums", lambda state: {"messages": [chat.invoke(state["messages"])]})
    graph.add_edge(START, "sums")
    graph.add_edge("sums", END)
    program, question = graph.compile(name="desk"), {"messages": [("user", "1 + 2 = ")]}

    program.with_config(callbacks=[handler]).invoke(question)
    by_config = printed(capsys)
    program.invoke(question, {"callbacks": [handler]})
    by_request = printed(capsys)

    entering = "\n\n> Entering new desk chain...\n\n\n> Entering new sums chain...\n"
    assert [by_config, by_request] == [f"{entering}\n> Finished chain.\n\n> Finished chain.\n"] * 2
    assert llm_recording.runs == [chain("desk"), node("sums"), model()] * 2
    assert llm_recording == llm_snapshot


def test_a_handler_in_the_constructor_of_one_tool_prints_nothing_of_the_chain_and_of_others(llm_recording, llm_snapshot, capsys):
    adds = StructuredTool.from_function(add.func, callbacks=[StdOutCallbackHandler()])
    program = RunnableLambda(lambda x: x) | adds | RunnableLambda(lambda number: add.invoke({"number": number}))

    assert program.invoke({"number": 2}) == 4

    assert printed(capsys) == "3"  # that of the tool with the handler, and nothing of the chain or of the other tool
    assert llm_recording.tools == [called("add", number=2).returned(3), called("add", number=3).returned(4)]
    assert llm_recording == llm_snapshot
