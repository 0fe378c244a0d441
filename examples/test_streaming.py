"""Streamed tokens reach a handler, one by one and exactly as the script cuts them."""

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from llmtest import say


class Typewriter(BaseCallbackHandler):
    """What a web page would show: everything that has been said so far."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.shown.append(token)


def test_every_token_is_shown_as_it_comes(scripted_chat_model):
    typewriter = Typewriter()
    model = scripted_chat_model(say("It is", " 18 °C", " in Paris."))
    chain = ChatPromptTemplate.from_template("Weather in {city}?") | model | StrOutputParser()

    pieces = list(chain.stream({"city": "Paris"}, {"callbacks": [typewriter]}))

    assert [piece for piece in pieces if piece] == ["It is", " 18 °C", " in Paris."]
    assert [token for token in typewriter.shown if token] == ["It is", " 18 °C", " in Paris."]


def test_a_stream_that_breaks_has_shown_its_first_tokens(scripted_chat_model):
    typewriter = Typewriter()
    model = scripted_chat_model(say("It is", " 18").then_fail(ConnectionError))

    with pytest.raises(ConnectionError):
        list(model.stream("Weather?", {"callbacks": [typewriter]}))

    assert typewriter.shown == ["It is", " 18"]
