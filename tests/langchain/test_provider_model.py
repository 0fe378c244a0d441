"""The stand-in of a model whose API is not spoken decides as the integration does: it is compared with the real class."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import base, init_chat_model
from langchain_anthropic import ChatAnthropic
from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import OpenAIRateLimitError
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from llmtest import ScriptedEmbeddings, call, fail, record, respond, say, structured
from llmtest.errors import ViolationError, expect_violation
from llmtest.langchain import providers
from llmtest.langchain.provider_model import integration_class
from llmtest.langchain.providers import scripted_providers
from llmtest.ledger import Ledger, opened
from tests.support.tools import search

REAL: dict[str, Any] = {"openai": ChatOpenAI, "anthropic": ChatAnthropic}
MODELS = ["openai:gpt-5", "openai:gpt-3.5-turbo", "openai:gpt-5-pro", "anthropic:claude-opus-4-7", "anthropic:claude-haiku-4-5"]


class Person(BaseModel):
    """A person."""

    name: str


@pytest.fixture(autouse=True)
def no_api_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is a stand-in, also where the real class could run."""
    monkeypatch.setattr(providers, "SPOKEN", {})


@pytest.fixture(params=MODELS)
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The scripted model and the real one; no key is set for the first."""
    provider, _, model = request.param.partition(":")
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    steps = [step.optional() for step in (structured({"name": "Ada"}), structured({"name": "Ada"}))]
    with scripted_providers({request.param: steps}):
        yield init_chat_model(request.param, max_retries=1), REAL[provider](model=model, max_retries=1, api_key="none")


def test_the_model_is_of_the_class_with_its_profile_and_fields(pair: tuple[Any, Any]) -> None:
    ours, real = pair

    assert isinstance(ours, type(real))
    assert ours.profile == real.profile
    assert ours.max_retries == 1
    assert [getattr(ours, name, None) for name in ("model_name", "model")] == [ours.model_name] * 2
    assert repr(ours) == f"ProviderModel(model_name={ours.model_name!r})"


@pytest.mark.parametrize(
    "options",
    [{}, {"tool_choice": "any"}, {"tool_choice": "search"}, {"parallel_tool_calls": False}, {"strict": True}],
    ids=str,
)
def test_bound_tools_are_in_the_words_of_the_provider(pair: tuple[Any, Any], options: Any) -> None:
    ours, real = pair

    assert ours.bind_tools([search, Person], **options).kwargs == real.bind_tools([search, Person], **options).kwargs


@pytest.mark.parametrize(
    ("model", "theirs"),
    [
        ("anthropic:claude-opus-4-7", {"type": "code_execution_20250825", "name": "code_execution"}),
        ("anthropic:claude-opus-4-7", {"type": "mcp_toolset", "mcp_server_name": "x"}),
        ("openai:gpt-5", {"type": "web_search"}),
    ],
)
def test_a_tool_of_the_provider_is_bound_unchanged(model: str, theirs: Any) -> None:
    with scripted_providers({model: call("search", q="x")}):
        bound: Any = init_chat_model(model).bind_tools([theirs, search])

        assert bound.kwargs["tools"][0] == theirs
        assert bound.invoke("hi").tool_calls[0]["args"] == {"q": "x"}


@pytest.mark.filterwarnings("ignore:Cannot use method='json_schema'")  # the integration's own, for its old models
@pytest.mark.parametrize("method", [None, "function_calling", "json_schema"])
@pytest.mark.parametrize("schema", [Person, Person.model_json_schema()], ids=["class", "dict"])
def test_structured_output_asks_as_the_integration_and_is_parsed_by_it(
    pair: tuple[Any, Any], schema: Any, method: str | None
) -> None:
    ours, real = pair
    options = {} if method is None else {"method": method}

    chain = ours.with_structured_output(schema, **options)
    assert chain.first.kwargs == real.with_structured_output(schema, **options).first.kwargs
    assert type(chain.last) is type(real.with_structured_output(schema, **options).last)
    expected = Person(name="Ada") if schema is Person else {"name": "Ada"}
    assert chain.invoke("hi") == expected
    assert list(chain.stream("hi"))[-1] == expected


@pytest.mark.parametrize(
    ("model", "native"), [("openai:gpt-5", True), ("openai:gpt-3.5-turbo", False), ("anthropic:claude-opus-4-7", True)]
)
def test_an_agent_picks_the_strategy_for_its_response_format_by_the_profile(model: str, native: bool) -> None:
    with scripted_providers({model: structured({"name": "Ada"})}), record() as recording:
        state = create_agent(model, [], response_format=Person).invoke({"messages": [("user", "hi")]})

    assert state["structured_response"] == Person(name="Ada")
    assert ("response_format" in recording.models[0].start.payload["invocation_params"]) is native


def test_middleware_that_looks_at_the_class_takes_the_model() -> None:
    caching = AnthropicPromptCachingMiddleware(unsupported_model_behavior="raise")

    with scripted_providers({"anthropic:*": "done"}), record() as recording:
        agent = create_agent("anthropic:claude-opus-4-7", [search], middleware=[caching], system_prompt="Be terse.")
        agent.invoke({"messages": [("user", "hi")]})

    assert recording.models[0].start.payload["invocation_params"]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}


@pytest.mark.parametrize(
    ("model", "kwargs", "tokens"),
    [
        ("openai:gpt-4o", {}, ["", "Hello", "", "", ""]),
        ("openai:gpt-4o", {"use_responses_api": True}, [[], [], [{"type": "text", "text": "Hello", "index": 0}]]),
        ("openai:gpt-5-pro", {}, [[], [], [{"type": "text", "text": "Hello", "index": 0}]]),
        ("anthropic:claude-opus-4-7", {}, ["", "Hello", ""]),
        ("groq:llama", {}, ["Hello"]),
    ],
)
def test_the_dialect_is_that_of_the_provider(model: str, kwargs: Any, tokens: list[Any]) -> None:
    with scripted_providers({model: "Hello"}):
        chunks = [chunk.content for chunk in init_chat_model(model, **kwargs).stream("hi")]

    assert chunks[: len(tokens)] == tokens


def test_a_status_is_the_error_of_the_integration() -> None:
    with scripted_providers({"openai:gpt-5": fail(429)}), pytest.raises(OpenAIRateLimitError):
        init_chat_model("openai:gpt-5").invoke("hi")


@pytest.mark.filterwarnings("ignore:Unexpected type for token usage")  # the integration's own, of a real answer too
def test_counting_tokens_and_generating_for_several_prompts_needs_no_network() -> None:
    with scripted_providers({"*": [say("a"), say("b")]}):
        for name in ("openai:gpt-5", "anthropic:claude-opus-4-7"):
            assert init_chat_model(name).get_num_tokens("one two three") == 3
        answers: Any = init_chat_model("openai:gpt-5").generate([[HumanMessage("1")], [HumanMessage("2")]])

    assert [row[0].text for row in answers.generations] == ["a", "b"]
    assert answers.llm_output["token_usage"]["completion_tokens"] == 2


def test_a_profile_of_the_program_stays() -> None:
    with scripted_providers({"openai:gpt-5": say("Hello").optional()}):
        model: Any = init_chat_model("openai:gpt-5", profile={"max_input_tokens": 5})

    assert (isinstance(model, ChatOpenAI), model.profile) == (True, {"max_input_tokens": 5})


def test_without_the_integration_the_model_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_openai", None)

    assert integration_class(base._BUILTIN_PROVIDERS, "openai") is None
    assert integration_class(base._BUILTIN_PROVIDERS, "no_such_provider") is None
    with scripted_providers({"openai:gpt-5": "Hello"}):
        model = init_chat_model("openai:gpt-5")
        assert not isinstance(model, ChatOpenAI)
        assert model.invoke("hi").text == "Hello"


def test_an_integration_that_lacks_a_package_is_not_taken_for_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "langchain_groq.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "langchain_groq", raising=False)

    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        integration_class(base._BUILTIN_PROVIDERS, "groq")


def test_parameters_are_recorded_without_secrets_and_reach_the_script() -> None:
    seen: list[Any] = []
    common = {"temperature": 0.5, "max_tokens": 9, "stop": ["\n"]}
    given = {"max_retries": 2, "timeout": (1, 2), "top_p": 0.1}
    secret = {"api_key": "sk-1", "aws_secret_access_key": "x", "hf_token": "y", "default_headers": {"Authorization": "z"}}

    with scripted_providers({"openai:gpt-5": respond(lambda r: seen.append(r.params) or "Hello")}), record() as recording:
        model: Any = init_chat_model("openai:gpt-5", **{**common, "stop": "\n"}, **given, **secret)
        model.bind(seed=7).invoke("hi")

    (run,) = recording.models
    hidden = {key: f"<mask:{key}>" for key in secret}
    params = {**given, **hidden, "seed": 7}
    assert seen == [params]
    assert (model.temperature, model.max_tokens, model.stop) == (0.5, 9, ["\n"])
    recorded = {**params, **common, "timeout": [1, 2], "model_name": "gpt-5", "_type": "scripted-chat", "stop": None}
    assert (run.name, run.start.payload["invocation_params"]) == ("openai:gpt-5", recorded)


def test_a_configurable_stand_in_inside_a_graph_takes_what_langgraph_adds() -> None:
    model = init_chat_model("openai:gpt-5", configurable_fields="any")
    graph = StateGraph(MessagesState)
    graph.add_node("talk", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "talk")

    with scripted_providers({"openai:*": "Hello"}), record() as recording:
        answer = graph.compile().invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "1"}})

    assert answer["messages"][-1].content == "Hello"
    assert recording.models[0].start.payload["invocation_params"]["thread_id"] == "1"


def test_a_stand_in_verifies_and_raises_violations_itself() -> None:
    with opened(Ledger()), scripted_providers({"openai:gpt-5": "a"}):
        model: Any = init_chat_model("openai:gpt-5")
        model.invoke("hi")
        with pytest.raises(ViolationError):
            model.invoke("again")
        with pytest.raises(ViolationError) as caught:
            model.verify()

    assert [violation.code for violation in caught.value.violations] == ["unexpected call"]


def test_a_stand_in_that_is_called_when_the_block_has_ended_is_a_violation() -> None:
    with scripted_providers({"openai:gpt-5": say("never").optional()}):
        model = init_chat_model("openai:gpt-5")

    with expect_violation("unmapped model") as caught:
        model.invoke("hi")

    assert caught[0].text.splitlines()[0] == "the program calls the model `openai:gpt-5`, which is mapped to no script"


def test_a_model_that_is_mapped_to_embeddings_is_not_asked_for_words() -> None:
    with scripted_providers({"openai:gpt-5": ScriptedEmbeddings()}):
        model = init_chat_model("openai:gpt-5")
        with expect_violation("unmapped model") as caught, pytest.raises(ViolationError):
            model.invoke("hi")
    asked = "the program asks `openai:gpt-5` for an answer in words, but `openai:gpt-5` is mapped to embeddings"
    assert caught[0].text.splitlines()[0] == asked
