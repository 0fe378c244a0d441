"""`llmtest.trees`: a recording as text, back, and compared, from one place."""

from __future__ import annotations

import pytest

from llmtest import ScriptedChatModel, record, trees
from llmtest.trees import differ, parsing, rendering
from llmtest.trees.differ import Difference, diff
from llmtest.trees.parsing import Node, head, parse, write
from llmtest.trees.rendering import render


def text_of(answer: str) -> str:
    with record() as recording:
        ScriptedChatModel(answer).invoke("hi")
    return render(recording)


def test_a_recording_is_rendered_parsed_and_written_again() -> None:
    text = text_of("Hello")

    nodes = parse(text)

    assert text == 'chat ScriptedChatModel\n  > u1: "hi"\n  < a1: "Hello"  usage in=1 out=1\n'
    assert [(type(node), head(node).kind, head(node).name) for node in nodes] == [(Node, "chat", "ScriptedChatModel")]
    assert write(nodes) == text


def test_two_texts_are_compared_as_trees() -> None:
    difference = diff(text_of("Hello"), text_of("Bye"))

    assert isinstance(difference, Difference)
    assert difference.lines() == [
        "  chat ScriptedChatModel",
        '-   < a1: "Hello"  usage in=1 out=1',
        '+   < a1: "Bye"  usage in=1 out=1  ◀ first difference',
        "  … 1 unchanged line",
    ]
    assert diff(text_of("Hello"), text_of("Hello")) is None


def test_the_names_are_those_of_the_modules() -> None:
    assert (rendering.render, parsing.parse, differ.diff) == (rendering.render, parsing.parse, differ.diff)
    assert set(trees.__all__) <= set(dir(trees))
    assert dir(trees) == sorted(dir(trees))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as caught:
        trees.prase  # noqa: B018

    assert str(caught.value) == "module 'llmtest.trees' has no attribute 'prase'"
