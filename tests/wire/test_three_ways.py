"""One program and one script, three ways: the double in this process, the real class in this process, and over a socket.

The trees are equal. That of the double has another name of the model and its own parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from llmtest import ScriptedChatModel, fail, record, reply, say, think
from llmtest.langchain.providers import scripted_providers
from llmtest.wire import scripted_server
from tests.support.live import MODELS, PROGRAMS

pytestmark = [
    pytest.mark.usefixtures("clients_left_open"),
    pytest.mark.filterwarnings(
        "ignore:Inheritance class AiohttpClientSession:DeprecationWarning",
        "ignore:Pydantic serializer warnings:UserWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

DOUBLES = ("openai", "openai-responses", "anthropic")


@contextmanager
def model(api: str, way: str, steps: list[Any]) -> Iterator[Any]:
    name, make = MODELS[api]
    with ExitStack() as stack:
        if way == "double":
            yield ScriptedChatModel(*steps, dialect=api, model_name=name.partition(":")[2])
        elif way == "class":
            stack.enter_context(scripted_providers({name: steps}))
            yield make()
        else:
            yield make(stack.enter_context(scripted_server({name: steps})))


def tree(api: str, way: str, program: Callable[[Any], None], steps: list[Any]) -> str:
    with model(api, way, steps) as made, record() as recording:
        program(made)
    assert recording.unseen_calls == []
    return str(recording)


def without_the_class(tree: str) -> str:
    """The tree without what the class of the model says of itself: its name and its parameters."""
    kept: list[str] = []
    skipped = None
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        if skipped is not None and depth > skipped:
            continue
        skipped = depth if line.lstrip().startswith("* ") else None
        if skipped is None:
            kept.append(re.sub(r"chat \S+( model=\S+)?", "chat MODEL", line))
    return "\n".join(kept)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("api", MODELS)
def test_the_trees_are_equal(api: str, program: str) -> None:
    run, steps = PROGRAMS[program]
    here = tree(api, "class", run, steps)
    assert "chat Chat" in here
    assert tree(api, "socket", run, steps) == here
    if api in DOUBLES:
        assert without_the_class(tree(api, "double", run, steps)) == without_the_class(here)


@pytest.mark.parametrize("way", ["class", "socket"])
@pytest.mark.parametrize("api", ["openai", "openai-responses", "anthropic"])
def test_the_sdk_tries_again_and_takes_the_next_step(api: str, way: str) -> None:
    with model(api, way, [fail(429, retry_after=30), fail(500), say("at last")]) as made:
        assert "at last" in made.invoke("hi").text


@pytest.mark.parametrize("way", ["double", "class", "socket"])
@pytest.mark.parametrize("api", DOUBLES)
def test_the_error_is_the_providers_own(api: str, way: str) -> None:
    kinds = {"anthropic": "AnthropicInvalidRequestError"}
    with model(api, way, [fail(400)]) as made, pytest.raises(Exception) as raised:
        made.invoke("hi")
    assert type(raised.value).__name__ == kinds.get(api, "OpenAIInvalidRequestError")


@pytest.mark.parametrize("api", MODELS)
def test_reasoning_comes_as_the_provider_sends_it(api: str) -> None:
    steps = [reply(think("a clear sky"), say("Sunny."))]
    trees = {tree(api, way, lambda made: made.invoke("hi") and None, steps) for way in ("class", "socket")}
    assert len(trees) == 1
