"""Custom handlers: one method is enough. This one prints each token as it comes.

Section "customising callback handlers" of LangChain's callback guide.
"""

from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from llmtest import call, say
from llmtest.matching import called, model

JOKE = ["Why", " don", "'t", " scientists", " trust", " atoms", "?", " \n\n"]
JOKE += ["Because", " they", " make", " up", " everything", "."]
TEXT = "Why don't scientists trust atoms? \n\nBecause they make up everything."
PRINTED = """\
My custom handler, token:\x20
My custom handler, token: Why
My custom handler, token:  don
My custom handler, token: 't
My custom handler, token:  scientists
My custom handler, token:  trust
My custom handler, token:  atoms
My custom handler, token: ?
My custom handler, token:  \n\n
My custom handler, token: Because
My custom handler, token:  they
My custom handler, token:  make
My custom handler, token:  up
My custom handler, token:  everything
My custom handler, token: .
My custom handler, token:\x20
"""
"""What the guide prints."""


class MyCustomHandler(BaseCallbackHandler):
    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        print(f"My custom handler, token: {token}")


def test_a_handler_of_the_model_prints_each_token_as_the_guide_does(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    chat = scripted_chat_model(say(tokens=["", *JOKE, ""]), max_tokens=25, streaming=True, callbacks=[MyCustomHandler()])

    # The guide calls the model: `chat([...])`. Today that is `invoke`.
    assert chat.invoke([HumanMessage("Tell me a joke")]).text == TEXT

    assert capsys.readouterr().out == PRINTED
    assert llm_recording.tokens == ["", *JOKE, ""]
    assert llm_recording == llm_snapshot


def test_a_text_model_streams_to_the_handler_too(scripted_llm, llm_recording, llm_snapshot, capsys):
    llm = scripted_llm(say(tokens=["", *JOKE, ""]), streaming=True, callbacks=[MyCustomHandler()])

    assert llm.invoke("Tell me a joke") == TEXT

    assert capsys.readouterr().out == PRINTED
    assert llm_recording.tokens == ["", *JOKE, ""]
    assert llm_recording == llm_snapshot


def test_without_streaming_there_are_no_tokens_to_print(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    chat = scripted_chat_model(say(tokens=JOKE), callbacks=[MyCustomHandler()])

    assert chat.invoke("Tell me a joke").text == TEXT

    assert capsys.readouterr().out == ""
    assert llm_recording.tokens == []
    assert llm_recording.models == [model().returned(TEXT)]
    assert llm_recording == llm_snapshot


def test_today_stream_is_what_streams_and_a_handler_of_the_request_hears_the_model(
    scripted_chat_model, llm_recording, llm_snapshot, capsys
):
    chat = scripted_chat_model(say(tokens=["", *JOKE, ""]))
    program = ChatPromptTemplate.from_template("Tell me a {what}") | chat | StrOutputParser()

    pieces = list(program.stream({"what": "joke"}, {"callbacks": [MyCustomHandler()]}))

    assert "".join(pieces) == TEXT
    assert capsys.readouterr().out == PRINTED
    assert llm_recording.tokens == ["", *JOKE, ""]
    assert llm_recording == llm_snapshot


def test_an_agent_that_is_streamed_by_messages_streams_its_model(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    def search(query: str) -> str:
        """Search the web."""
        return "18 degrees"

    chat = scripted_chat_model(call("search", query="weather"), say("18", " degrees", "."))
    agent = create_agent(chat, [search], name="weather_agent")

    config: Any = {"callbacks": [MyCustomHandler()]}
    pieces = [piece.text for piece, _ in agent.stream({"messages": [("user", "Weather?")]}, config, stream_mode="messages")]

    assert "".join(pieces[-3:]) == "18 degrees."
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [f"My custom handler, token: {token}" for token in ("18", " degrees", ".")]
    assert set(lines[:-3]) == {"My custom handler, token: "}  # the pieces of a tool call have no text
    assert llm_recording.tools == [called("search", query="weather").returned("18 degrees")]
    assert llm_recording.models[1].tokens == ["18", " degrees", "."]
    assert llm_recording == llm_snapshot
