"""Custom handlers: one that overrides `on_llm_new_token` prints each token as it comes.

Section "custom callback handlers" of LangChain's callback guide.
"""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from llmtest import call, reply, say, think
from llmtest.conformance import check_handler
from llmtest.matching import called, chain, model

classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain and run

# fmt: off
TOKENS = [
    "", "Why", " don", "'t", " scientists", " trust", " atoms", "?", " \n\n",
    "Because", " they", " make", " up", " everything", ".", "",
]
# fmt: on
JOKE = "Why don't scientists trust atoms? \n\nBecause they make up everything."
GUIDE = "".join(f"My custom handler, token: {token}\n" for token in TOKENS)


class MyCustomHandler(BaseCallbackHandler):
    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        print(f"My custom handler, token: {token}")


# -- with `streaming=True`


def test_the_guides_program_prints_each_token(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    chat = scripted_chat_model(say(*TOKENS), streaming=True, callbacks=[MyCustomHandler()])
    question = [HumanMessage(content="Tell me a joke")]

    with pytest.raises(TypeError, match="object is not callable"):
        chat(question)  # the guide calls it like this
    answer = chat.invoke(question)

    assert capsys.readouterr().out == GUIDE
    assert isinstance(answer, AIMessage)
    assert answer.content == JOKE
    assert llm_recording.kinds == ["on_chat_model_start", *["on_llm_new_token"] * len(TOKENS), "on_llm_end"]
    assert llm_recording.tokens == TOKENS
    assert llm_recording == llm_snapshot


@classic
def test_a_handler_of_the_request_prints_the_tokens_of_an_llm_chain(scripted_llm, llm_recording, llm_snapshot, capsys):
    prompt = PromptTemplate.from_template("Tell me a joke about {topic}")
    chain_ = LLMChain(llm=scripted_llm(say(*TOKENS), streaming=True), prompt=prompt)

    assert chain_.run(topic="atoms", callbacks=[MyCustomHandler()]) == JOKE

    assert capsys.readouterr().out == GUIDE
    assert llm_recording.runs == [chain("LLMChain"), model()]
    assert llm_recording == llm_snapshot


# -- without


def test_a_model_that_is_not_told_to_stream_sends_its_tokens_to_stream_and_not_to_invoke(
    scripted_chat_model, llm_recording, llm_snapshot, capsys
):
    chat = scripted_chat_model(say(*TOKENS), say(*TOKENS), callbacks=[MyCustomHandler()])

    assert chat.invoke("Tell me a joke").content == JOKE
    assert capsys.readouterr().out == ""
    assert "".join(chunk.text for chunk in chat.stream("Tell me a joke")) == JOKE

    assert capsys.readouterr().out == GUIDE
    assert [run.tokens for run in llm_recording.models] == [[], TOKENS]
    assert llm_recording == llm_snapshot


def test_a_sequence_that_is_streamed_tells_the_handler_of_each_token_before_its_reader_has_it(
    scripted_chat_model, llm_recording, llm_snapshot, capsys
):
    program = (
        ChatPromptTemplate.from_template("A joke about {topic}") | scripted_chat_model(say("Why", " not?")) | StrOutputParser()
    )

    for piece in program.stream({"topic": "atoms"}, {"callbacks": [MyCustomHandler()]}):
        print(f"reader, piece: {piece}")

    assert capsys.readouterr().out.splitlines() == [
        "My custom handler, token: Why",
        "reader, piece: Why",
        "My custom handler, token:  not?",
        "reader, piece:  not?",
    ]
    assert llm_recording.tokens == ["Why", " not?"]
    assert llm_recording == llm_snapshot


# -- tokens that are no text


class TextOnly(BaseCallbackHandler):
    """Prints what a reader should see: no reasoning, and no arguments of a tool call."""

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        text = chunk.text if chunk is not None else token  # a token is a list of content blocks with some models
        if text:
            print(text)


def test_with_some_models_a_token_is_a_list_of_blocks_and_its_text_is_in_the_chunk(
    scripted_chat_model, llm_recording, llm_snapshot, capsys
):
    chat = scripted_chat_model(reply(think("Hm."), say("Why", " not?")))

    list(chat.stream("Tell me a joke", {"callbacks": [MyCustomHandler(), TextOnly()]}))

    assert capsys.readouterr().out.splitlines() == [
        "My custom handler, token: [{'type': 'reasoning', 'reasoning': 'Hm', 'index': 0}]",
        "My custom handler, token: [{'type': 'reasoning', 'reasoning': '.', 'index': 0}]",
        "My custom handler, token: [{'type': 'text', 'text': 'Why', 'index': 1}]",
        "Why",
        "My custom handler, token: [{'type': 'text', 'text': ' not?', 'index': 1}]",
        " not?",
    ]
    assert llm_recording == llm_snapshot


def search(query: str) -> str:
    """Search the web."""
    return "18 degrees"


@pytest.mark.parametrize(
    ("ask", "call_tokens", "printed"),
    [
        (lambda agent, *asked: agent.invoke(*asked), 0, []),
        (lambda agent, *asked: list(agent.stream(*asked, stream_mode="messages")), 11, ["It is", " 18 degrees."]),
    ],
    ids=["invoke", "stream messages"],
)
def test_an_agent_that_streams_messages_has_its_models_stream_to_the_handler(
    ask, call_tokens, printed, scripted_chat_model, llm_recording, llm_snapshot, capsys
):
    llm = scripted_chat_model(call("search", query="weather"), say("It is", " 18 degrees."))
    agent = create_agent(llm, [search], name="weather_agent")

    ask(agent, {"messages": [("user", "Weather?")]}, {"callbacks": [TextOnly()]})

    assert capsys.readouterr().out.splitlines() == printed
    assert llm_recording.tokens == [""] * call_tokens + printed  # the pieces of a tool call have no text
    assert llm_recording.tools == [called("search", query="weather").returned("18 degrees")]
    assert llm_recording == llm_snapshot


@pytest.mark.parametrize("kind", [MyCustomHandler, TextOnly])
def test_both_handlers_pass_the_check(kind):
    check_handler(kind)
