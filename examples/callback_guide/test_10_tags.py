"""Tags: given to a request or a constructor, they reach the start callbacks, and filter a log.

Section "tags" of LangChain's callback guide.
"""

from typing import Any

import pytest
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph

from llmtest import say
from llmtest.matching import called, chain, model

classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain, run and apply


class Tags(BaseCallbackHandler):
    """What the four start callbacks are told: the callback, and the tags without those that number the steps."""

    def __init__(self) -> None:
        self.told: list[tuple[str, set[str]]] = []

    def tell(self, callback: str, tags: list[str]) -> None:
        self.told.append((callback, {tag for tag in tags if ":step" not in tag}))

    def on_chain_start(self, serialized: Any, inputs: Any, *, tags: list[str], **kwargs: Any) -> None:
        self.tell("on_chain_start", tags)

    def on_llm_start(self, serialized: Any, prompts: list[str], *, tags: list[str], **kwargs: Any) -> None:
        self.tell("on_llm_start", tags)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: list[str], **kwargs: Any) -> None:
        self.tell("on_chat_model_start", tags)

    def on_tool_start(self, serialized: Any, input_str: str, *, tags: list[str], **kwargs: Any) -> None:
        self.tell("on_tool_start", tags)


PROMPT = PromptTemplate.from_template("1 + {number} = ")


@classic
def test_tags_of_a_request_reach_all_that_it_starts_and_those_of_a_constructor_one_object(
    scripted_llm, llm_recording, llm_snapshot
):
    handler = Tags()
    chain_ = LLMChain(llm=scripted_llm("3", tags=["of-the-model"]), prompt=PROMPT, tags=["of-the-chain"])

    assert chain_.run(number=2, callbacks=[handler], tags=["of-the-request"]) == "3"

    assert handler.told == [
        ("on_chain_start", {"of-the-request", "of-the-chain"}),
        ("on_llm_start", {"of-the-request", "of-the-model"}),
    ]
    assert llm_recording.runs.tags("of-the-chain") == [chain("LLMChain")]
    assert llm_recording.runs.tags("of-the-request") == [chain("LLMChain"), model().tagged("of-the-model")]
    assert llm_recording == llm_snapshot


@classic
def test_call_takes_tags_and_apply_takes_none_today(scripted_llm, llm_recording, llm_snapshot):
    handler = Tags()
    chain_ = LLMChain(llm=scripted_llm("3", "4"), prompt=PROMPT)

    chain_({"number": 2}, callbacks=[handler], tags=["of-call"])
    # The guide has tags for `apply`, too: LLMChain's takes only callbacks.
    with pytest.raises(TypeError, match="unexpected keyword argument 'tags'"):
        chain_.apply([{"number": 3}], tags=["of-apply"])
    chain_.apply([{"number": 3}], callbacks=[handler])

    assert handler.told == [
        ("on_chain_start", {"of-call"}),
        ("on_llm_start", {"of-call"}),
        ("on_chain_start", set()),
        ("on_llm_start", set()),
    ]
    assert llm_recording.models == [model().tagged("of-call"), model()]
    assert llm_recording == llm_snapshot


@classic
def test_a_log_is_filtered_by_the_tag_of_one_chain(scripted_llm, llm_recording, llm_snapshot):
    class OfSums(BaseCallbackHandler):
        """A log of the requests to one chain."""

        def __init__(self) -> None:
            self.log: list[Any] = []

        def on_chain_start(self, serialized: Any, inputs: Any, *, tags: list[str], **kwargs: Any) -> None:
            self.log += [inputs] if "sums" in tags else []

    handler = OfSums()
    sums = LLMChain(llm=scripted_llm("3", "4"), prompt=PROMPT, tags=["sums"])
    jokes = LLMChain(llm=scripted_llm("Ha"), prompt=PromptTemplate.from_template("A joke about {it}"), tags=["jokes"])
    for ask, question in ((sums, {"number": 2}), (jokes, {"it": "sums"}), (sums, {"number": 3})):
        ask.run(question, callbacks=[handler])

    assert handler.log == [{"number": 2}, {"number": 3}]
    assert llm_recording.tags("sums") == [chain("LLMChain"), chain("LLMChain")]
    assert llm_recording.only(tags="sums") == llm_snapshot


@tool
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def test_a_sequence_hands_its_tags_on_to_prompt_tool_and_chat_model(scripted_chat_model, llm_recording, llm_snapshot):
    handler = Tags()
    tagged = double.model_copy(update={"tags": ["of-the-tool"]})
    steps = RunnableLambda(lambda x: x) | tagged | RunnableLambda(str) | scripted_chat_model(say("4."), tags=["of-the-model"])
    program = steps.with_config(tags=["of-the-chain"])

    program.invoke({"number": 2}, {"callbacks": [handler], "tags": ["of-the-request"]})

    # Today's `with_config(tags=...)` is handed on like a request's; only the tags of models and tools stay where they are.
    both = {"of-the-request", "of-the-chain"}
    assert handler.told == [
        ("on_chain_start", both),
        ("on_chain_start", both),
        ("on_tool_start", both | {"of-the-tool"}),
        ("on_chain_start", both),
        ("on_chat_model_start", both | {"of-the-model"}),
    ]
    assert llm_recording.tags("of-the-tool") == [called("double", number=2).returned(4)]
    assert llm_recording == llm_snapshot


def test_a_graph_hands_the_tags_of_the_request_to_its_nodes(scripted_chat_model, llm_recording, llm_snapshot):
    handler = Tags()
    llm = scripted_chat_model(say("Ha."))
    graph = StateGraph(MessagesState)
    graph.add_node("joker", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "joker")
    graph.add_edge("joker", END)

    graph.compile().invoke({"messages": [("user", "A joke!")]}, {"callbacks": [handler], "tags": ["of-the-request"]})

    assert [callback for callback, tags in handler.told if tags == {"of-the-request"}] == [
        "on_chain_start",  # the graph
        "on_chain_start",  # its node
        "on_chat_model_start",
    ]
    assert llm_recording.tags("of-the-request") == list(llm_recording.runs)
    assert llm_recording == llm_snapshot
