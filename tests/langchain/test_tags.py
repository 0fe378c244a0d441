"""What the callback guide says of tags: where they come from, how far they reach, where they arrive, and reading by them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, tool

from llmtest import ScriptedChatModel, ScriptedLLM, record
from llmtest.matching import called, model, never


class Tagged(BaseCallbackHandler):
    """The tags that came with each start, as the guide's handler would read them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str]]] = []

    def on_llm_start(self, serialized: Any, prompts: Any, *, tags: list[str] | None = None, **kwargs: Any) -> None:
        self.seen.append(("on_llm_start", tags or []))

    def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: list[str] | None = None, **kwargs: Any) -> None:
        self.seen.append(("on_chat_model_start", tags or []))

    def on_chain_start(self, serialized: Any, inputs: Any, *, tags: list[str] | None = None, **kwargs: Any) -> None:
        self.seen.append(("on_chain_start", tags or []))

    def on_tool_start(self, serialized: Any, input_str: str, *, tags: list[str] | None = None, **kwargs: Any) -> None:
        self.seen.append(("on_tool_start", tags or []))


def searching(answers: Any) -> BaseTool:
    """A tool that asks a model, and is tagged where it is made."""

    @tool
    def search(q: str) -> str:
        """Search."""
        return str(answers.invoke(q))

    search.tags = ["of-the-tool"]
    return search


def test_constructor_tags_stay_with_their_object() -> None:
    search = searching(ScriptedLLM("a hat", tags=["of-the-model"]))

    with record() as recording:
        search.invoke({"q": "hat"})

    assert {run.name: run.tags for run in recording.runs} == {"search": ("of-the-tool",), "ScriptedLLM": ("of-the-model",)}


def test_request_tags_reach_every_run_inside() -> None:
    search = searching(PromptTemplate.from_template("find {q}") | ScriptedLLM("a hat"))

    with record() as recording:
        RunnableLambda(search.invoke).with_config(run_name="shop").invoke({"q": "hat"}, {"tags": ["request"]})

    assert recording.tags("request") == recording.runs
    assert recording.tags("request") == ["shop", "search", "RunnableSequence", "PromptTemplate", "ScriptedLLM"]


@pytest.mark.parametrize("model_of", [ScriptedLLM, ScriptedChatModel])
def test_tags_arrive_at_every_start_callback(model_of: type[Any]) -> None:
    handler = Tagged()
    search = searching(model_of("a hat", tags=["of-the-model"]))

    with record() as recording:
        RunnableLambda(search.invoke).invoke({"q": "hat"}, {"callbacks": [handler], "tags": ["request"]})

    start = "on_llm_start" if model_of is ScriptedLLM else "on_chat_model_start"
    assert [(kind, sorted(tags)) for kind, tags in handler.seen] == [
        ("on_chain_start", ["request"]),
        ("on_tool_start", ["of-the-tool", "request"]),
        (start, ["of-the-model", "request"]),
    ]
    assert [(run.start.kind, sorted(run.start.tags)) for run in recording.runs] == [
        (kind, sorted(tags)) for kind, tags in handler.seen
    ]


def test_runs_are_found_by_their_tag() -> None:
    search = searching(ScriptedLLM("a hat", "a coat", tags=["drafts"]))

    with record() as recording:
        search.invoke({"q": "hat"}, {"tags": ["user:7"]})
        search.invoke({"q": "coat"}, {"tags": ["user:8"]})

    assert recording.tags("user:7") == ["search", "ScriptedLLM"]
    assert recording.tags("user:*").tags("drafts") == recording.models
    assert recording.tags("user:8")[0].args["q"] == "coat"
    assert recording.tags("user:9") == []
    assert [event.kind for event in recording if "drafts" in event.tags] == ["on_llm_start", "on_llm_end"] * 2


def test_shapes_and_rules_choose_runs_by_their_tag() -> None:
    search = searching(ScriptedLLM("a hat", tags=["drafts"]))

    with record() as recording:
        search.invoke({"q": "hat"}, {"tags": ["user:7"]})

    assert recording.tools == [called("search", q="hat")]
    assert recording.tags("user:8").explain([])
    assert not recording.tags("user:7").explain([])
    assert not recording.obeys(never(model()))
