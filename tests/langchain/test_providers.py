"""Programs that choose their model by name get a scripted one, which decides as the integration does where that is installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import LLMToolSelectorMiddleware, ModelFallbackMiddleware, SummarizationMiddleware
from langchain.chat_models import base, init_chat_model
from langchain_classic.chat_models import base as classic_base
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from llmtest import Script, call, fail, hold, record, respond, say, structured
from llmtest.errors import ProvidersError, ViolationError, expect_violation
from llmtest.langchain.providers import from_ini, scripted_providers
from llmtest.ledger import Ledger, opened
from llmtest.wire.guard import guarding
from tests.support.tools import search

GREETING = Path(__file__).parents[2] / "fixtures" / "scripts" / "greeting.yaml"
GREETS = "Hello! How can I help you?"
HERE = Path(__file__).name


class Person(BaseModel):
    """A person."""

    name: str


def names(recording: Any) -> list[str]:
    return [run.name for run in recording.models]


def line_of(text: str) -> str:
    """The text without the number of the line that it names: that is any line of this file."""
    head, _, tail = text.partition(f"{HERE}:")
    number, rest = tail.split("\n", 1)
    assert number.isdigit()
    return f"{head[: head.rindex(' ') + 1]}HERE\n{rest}"


# -- the seam: when LangChain changes it, this fails first

WHAT_TO_DO = (
    "{version} changed the private function through which init_chat_model builds every model. Read its new source, and"
    " see that every init_chat_model still ends in one place; adapt `_EXPECTED`, `_seam` and `_stand_in` in"
    " llmtest/langchain/providers.py, keep the old form for older versions, and add the new one here."
)


@pytest.mark.parametrize("package", ["langchain", "langchain_classic"])
def test_the_one_function_that_builds_models_is_as_we_know_it(package: str) -> None:
    module = importlib.import_module(f"{package}.chat_models.base")
    version = f"{package} {importlib.metadata.version(package.replace('_', '-'))}"

    helper, parse = (inspect.signature(getattr(module, name)) for name in ("_init_chat_model_helper", "_parse_model"))

    assert [(p.name, p.kind.description) for p in helper.parameters.values()] == [
        ("model", "positional or keyword"),
        ("model_provider", "keyword-only"),
        ("kwargs", "variadic keyword"),
    ], WHAT_TO_DO.format(version=version)
    assert list(parse.parameters) == ["model", "model_provider"], WHAT_TO_DO.format(version=version)


@pytest.mark.parametrize("module", [base, classic_base], ids=["langchain", "langchain_classic"])
def test_models_are_built_in_no_other_place(module: ModuleType) -> None:
    source = inspect.getsource(module)

    calls = source.count("_init_chat_model_helper(") - 1  # its own definition

    assert calls == 2, WHAT_TO_DO.format(version=module.__name__)  # init_chat_model, and the configurable model


def test_functions_of_langchain_are_put_back_by_the_last_block() -> None:
    before = base._init_chat_model_helper, classic_base._init_chat_model_helper

    with scripted_providers({}), scripted_providers({}):
        inside = base._init_chat_model_helper, classic_base._init_chat_model_helper
    after = base._init_chat_model_helper, classic_base._init_chat_model_helper

    assert after == before
    assert not set(inside) & set(before)
    assert [inspect.signature(function) for function in inside] == [inspect.signature(function) for function in before]


def test_blocks_may_end_in_any_order() -> None:
    before = base._init_chat_model_helper

    with opened(Ledger()):  # the guard of this test would keep the patches until it ends
        first, second = scripted_providers({"openai:a": "first"}), scripted_providers({"openai:b": "second"})
        first.__enter__()
        second.__enter__()
        first.__exit__()
        said = init_chat_model("openai:b").invoke("hi").content
        second.__exit__()

    assert said == "second"
    assert base._init_chat_model_helper is before


def changed(monkeypatch: pytest.MonkeyPatch, name: str, function: Any) -> str:
    monkeypatch.setattr(base, name, function)
    with pytest.raises(ProvidersError) as caught, scripted_providers({}):
        pass
    return str(caught.value).replace(importlib.metadata.version("langchain"), "VERSION")


def test_langchain_with_another_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed(monkeypatch, "_init_chat_model_helper", lambda model, provider=None: None)

    assert text == (
        "langchain VERSION builds its models in another way than scripted_providers knows\n"
        "  expected  langchain.chat_models.base._init_chat_model_helper(model, *, model_provider, **kwargs)\n"
        "  got       _init_chat_model_helper(model, provider)\n"
        "  until llmtest knows it: install another langchain, or give the program its model: scripted_chat_model(...)"
    )


def test_langchain_without_the_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed(monkeypatch, "_parse_model", None)

    assert text == (
        "langchain VERSION builds its models in another way than scripted_providers knows\n"
        "  expected  langchain.chat_models.base._parse_model(model, model_provider)\n"
        "  got       no such function\n"
        "  until llmtest knows it: install another langchain, or give the program its model: scripted_chat_model(...)"
    )


def test_an_unknown_langchain_is_no_matter_without_a_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_parse_model", None)

    with guarding("error"):
        with pytest.raises(ProvidersError), scripted_providers({}):
            pass
        monkeypatch.undo()
        with scripted_providers({"openai:gpt-5": "Hello"}):
            said = init_chat_model("openai:gpt-5").invoke("hi").text

    assert said == "Hello"


def test_a_mapping_that_opens_inside_a_guard_patches_langchain_too() -> None:
    before = base._init_chat_model_helper

    with guarding("error"):
        alone = base._init_chat_model_helper
        with scripted_providers({}):
            inside = base._init_chat_model_helper

    assert alone is before
    assert inside is not before
    assert base._init_chat_model_helper is before


def test_one_package_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models.base", None)

    with scripted_providers({"gpt-5": "Hello"}), warnings.catch_warnings(action="ignore"):
        assert classic_base.init_chat_model("openai:gpt-5").invoke("hi").content == "Hello"


# -- which script


@pytest.mark.parametrize("module", [base, classic_base], ids=["langchain", "langchain_classic"])
@pytest.mark.parametrize(
    ("model", "provider"),
    [("openai:gpt-5", None), ("gpt-5", None), ("gpt-5", "openai"), ("gpt-5", "OpenAI")],
)
@pytest.mark.parametrize("key", ["openai:gpt-5", "gpt-5", "openai:*", "gpt-*", "*"])
def test_model_is_found_however_it_is_named(module: ModuleType, model: str, provider: str | None, key: str) -> None:
    with scripted_providers({key: "Hello"}) as providers, record() as recording, warnings.catch_warnings(action="ignore"):
        made = module.init_chat_model(model, model_provider=provider)
        answer = made.invoke("hi")

    assert (answer.content, answer.response_metadata["model_name"]) == ("Hello", "gpt-5")
    assert type(made) is ChatOpenAI
    assert (providers.asked, names(recording)) == (["openai:gpt-5"], ["ChatOpenAI"])


def test_same_entry_goes_on_in_the_same_script() -> None:
    with scripted_providers({"openai:gpt-*": ["one", "two", "three"]}) as providers:
        said = [init_chat_model(f"openai:gpt-{number}").invoke("hi").content for number in (4, 5, 4)]

    assert said == ["one", "two", "three"]
    assert providers.asked == ["openai:gpt-4", "openai:gpt-5", "openai:gpt-4"]


def test_exact_name_goes_before_one_with_a_star() -> None:
    with scripted_providers({"openai:*": "any", "openai:gpt-5": "exact"}):
        said = [init_chat_model(model).invoke("hi").content for model in ("openai:gpt-5", "openai:gpt-4")]

    assert said == ["exact", "any"]


def test_inner_block_goes_before_the_outer_one_and_both_know_who_was_asked() -> None:
    with scripted_providers({"openai:gpt-5": "outer", "openai:gpt-4": "outer too"}) as outer:
        with scripted_providers({"openai:*5": "inner"}) as inner:
            said = [init_chat_model(model).invoke("hi").content for model in ("gpt-5", "gpt-4")]
        said.append(init_chat_model("gpt-5").invoke("hi").content)

    assert said == ["inner", "outer too", "outer"]
    assert inner.asked == ["openai:gpt-5", "openai:gpt-4"]
    assert outer.asked == ["openai:gpt-5", "openai:gpt-4", "openai:gpt-5"]


def test_model_that_is_kept_is_scripted_by_the_block_in_which_it_is_called() -> None:
    with scripted_providers({"openai:gpt-5": say("never").optional()}):
        model = init_chat_model("openai:gpt-5")
    with scripted_providers({"openai:gpt-5": "now"}):
        said = model.invoke("hi").content

    assert said == "now"


def test_more_models_are_mapped_later() -> None:
    providers = scripted_providers({"openai:gpt-5": "one"})

    assert providers({"openai:gpt-4": "two"}) is providers
    with providers:
        assert [init_chat_model(model).invoke("hi").content for model in ("gpt-5", "gpt-4")] == ["one", "two"]


def test_threads_are_scripted_too() -> None:
    said: list[Any] = []

    with scripted_providers({"openai:gpt-5": "Hello"}):
        thread = threading.Thread(target=lambda: said.append(init_chat_model("openai:gpt-5").invoke("hi").content))
        thread.start()
        thread.join()

    assert said == ["Hello"]


@pytest.mark.skipif("warn" not in inspect.getsource(base._attempt_infer_model_provider), reason="this langchain does not warn")
def test_name_of_a_key_is_read_without_a_warning_and_that_of_the_program_with_it() -> None:
    with scripted_providers({"gemini-3": "Hello"}), pytest.warns(DeprecationWarning, match="google_vertexai") as caught:
        said = init_chat_model("gemini-3").invoke("hi").content

    assert said == "Hello"
    assert [Path(warning.filename).name for warning in caught] == [HERE]


# -- what the program sees


def test_parameters_are_those_of_the_integration_and_reach_the_script() -> None:
    seen: list[Any] = []
    secret = {"api_key": "sk-1", "default_headers": {"x-own": "z"}}

    with scripted_providers({"openai:gpt-5": respond(lambda r: seen.append(r) or "Hello")}), record() as recording:
        model = init_chat_model("openai:gpt-5", temperature=0.5, max_tokens=9, stop="\n", max_retries=2, top_p=0.1, **secret)
        model.bind(seed=7).invoke("hi")

    (run,) = recording.models
    wanted = {"max_completion_tokens": 9, "top_p": 0.1, "seed": 7}
    recorded = run.start.payload["invocation_params"]
    assert {key: seen[0].params.get(key) for key in wanted} == {key: recorded.get(key) for key in wanted} == wanted
    assert seen[0].stop == ("\n",)
    assert "sk-1" not in str(run.start.payload)
    assert {key: value for key, value in run.metadata.items() if key.startswith("ls_")} | {"ls_integration": ""} == {
        "ls_provider": "openai",
        "ls_model_type": "chat",
        "ls_model_name": "gpt-5",
        "ls_temperature": None,
        "ls_max_tokens": 9,
        "ls_stop": "\n",
        "ls_integration": "",
    }


def test_what_langchain_takes_for_every_model_is_taken() -> None:
    usage = UsageMetadataCallbackHandler()

    with scripted_providers({"openai:gpt-5": ["Hello", "Bye"]}), record() as recording:
        model = init_chat_model("openai:gpt-5", callbacks=[usage], tags=["a"], metadata={"b": 1}, streaming=True)
        model.invoke("hi")
        init_chat_model("openai:gpt-5", name="mine").invoke("hi")

    first, second = recording.models
    assert (first.name, second.name) == ("ChatOpenAI", "mine")
    assert (first.tags, first.metadata["b"], "".join(first.tokens)) == (("a",), 1, "Hello")
    assert len(first.tokens) > 1  # as the integration streams
    assert list(usage.usage_metadata) == ["gpt-5"]


def test_agent_of_a_model_string() -> None:
    script = [call("search", q="x"), "done"]

    with scripted_providers({"openai:gpt-5": script}) as providers, record() as recording:
        agent = create_agent("openai:gpt-5", tools=[search])
        answer = agent.invoke({"messages": [("user", "go")]})["messages"][-1].content

    assert answer == "done"
    assert recording.tools == ["search"]
    assert providers.asked == ["openai:gpt-5", "openai:gpt-5"]


def test_agent_with_a_response_format_asks_as_it_asks_that_model() -> None:
    kwargs: dict[str, Any] = {"tools": [search], "response_format": Person}

    with scripted_providers({"*": [structured({"name": "Ada"}), structured({"name": "Bob"})]}), record() as recording:
        people = [
            create_agent(model, **kwargs).invoke({"messages": [("user", "go")]})["structured_response"]
            for model in ("openai:gpt-5", "mistralai:small")
        ]

    native, by_tool = (run.start.payload["invocation_params"] for run in recording.models)
    assert people == [Person(name="Ada"), Person(name="Bob")]
    assert ("response_format" in native, "response_format" in by_tool) == (True, False)


@pytest.mark.skipif("trigger" not in inspect.signature(SummarizationMiddleware).parameters, reason="an older langchain")
def test_middleware_that_names_its_models() -> None:
    mapping = {
        "openai:gpt-5-mini": "a summary",
        "openai:gpt-5-nano": structured({"tools": ["search"]}),
        "openai:gpt-5": fail(500).times(3),  # the integration tries twice more
        "anthropic:*": "done",
    }

    with scripted_providers(mapping) as providers:
        middleware = [
            SummarizationMiddleware("openai:gpt-5-mini", trigger=("messages", 2), keep=("messages", 1)),
            LLMToolSelectorMiddleware(model="openai:gpt-5-nano"),
            ModelFallbackMiddleware("anthropic:claude-x"),
        ]
        agent = create_agent("openai:gpt-5", tools=[search], middleware=middleware)
        answer = agent.invoke({"messages": [("user", "one"), ("ai", "two"), ("user", "three")]})

    assert answer["messages"][-1].content == "done"
    assert providers.asked == ["openai:gpt-5-mini", "openai:gpt-5-nano", *["openai:gpt-5"] * 3, "anthropic:claude-x"]


def test_call_that_asks_for_another_model_of_the_provider() -> None:
    with scripted_providers({"openai:gpt-5": "one", "openai:gpt-4": "two"}) as providers:
        model = init_chat_model("openai:gpt-5")
        said = [model.invoke("hi").content, model.bind(model="gpt-4").invoke("hi").content]

    assert said == ["one", "two"]
    assert providers.asked == ["openai:gpt-5", "openai:gpt-4"]


# -- configurable models


def test_configurable_model_without_a_default() -> None:
    with scripted_providers({"openai:*": "Hello", "anthropic:*": "Bonjour"}) as providers:
        model = init_chat_model(temperature=0)
        said = [
            model.invoke("hi", config={"configurable": configurable}).content
            for configurable in ({"model": "gpt-5"}, {"model": "x", "model_provider": "anthropic"})
        ]

    assert said == ["Hello", "Bonjour"]
    assert providers.asked == ["openai:gpt-5", "anthropic:x"]


@pytest.mark.parametrize("module", [base, classic_base], ids=["langchain", "langchain_classic"])
def test_configurable_model_with_a_default_and_any_field(module: ModuleType) -> None:
    with warnings.catch_warnings(action="ignore"):
        model = module.init_chat_model("openai:gpt-5", configurable_fields="any", config_prefix="llm", temperature=0.5)

    with scripted_providers({"openai:gpt-5": "Hello", "anthropic:claude-x": "Bonjour"}), record() as recording:
        model.invoke("hi")
        model.invoke("hi", config={"configurable": {"llm_model": "anthropic:claude-x", "llm_temperature": 1}})

    assert [(run.name, run.metadata["ls_model_name"]) for run in recording.models] == [
        ("ChatOpenAI", "gpt-5"),
        ("ChatAnthropic", "claude-x"),
    ]
    assert recording.models[1].metadata["ls_temperature"] == 1


def test_configurable_model_with_tools_and_structured_output() -> None:
    model = init_chat_model("openai:gpt-5", configurable_fields="any")
    config: Any = {"configurable": {"model": "anthropic:claude-x"}}

    with scripted_providers({"anthropic:*": [call("search", q="x"), structured({"name": "Ada"})]}) as providers:
        called = model.bind_tools([search]).invoke("go", config=config).tool_calls[0]["args"]
        person = model.with_structured_output(Person).invoke("go", config=config)

    assert (called, person) == ({"q": "x"}, Person(name="Ada"))
    assert providers.asked == ["anthropic:claude-x"] * 2


@pytest.mark.asyncio
async def test_configurable_model_in_each_way_of_calling_it() -> None:
    model = init_chat_model(configurable_fields=("model",)).with_config(configurable={"model": "openai:gpt-5"})

    with scripted_providers({"openai:gpt-5": say("a b").times(5)}):
        said = [
            (await model.ainvoke("hi")).content,
            "".join([chunk.content for chunk in model.stream("hi")]),
            "".join([chunk.content async for chunk in model.astream("hi")]),
            model.batch(["hi"])[0].content,
            (await model.abatch(["hi"]))[0].content,
        ]

    assert said == ["a b"] * 5


# -- models that are not mapped


class _Integration:
    """An integration that tells when it is imported, as the network would when it is touched."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "langchain_openai").mkdir()
        (folder / "langchain_openai" / "__init__.py").write_text("class ChatOpenAI:\n    def __init__(self, **_): 1 / 0\n")
        monkeypatch.syspath_prepend(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "langchain_openai"]:
            monkeypatch.delitem(sys.modules, name)  # the real one, where another test has used it

    @property
    def is_imported(self) -> bool:
        return "langchain_openai" in sys.modules


@pytest.mark.parametrize("module", [base, classic_base], ids=["langchain", "langchain_classic"])
def test_unmapped_model_is_a_violation_before_its_integration_is_imported(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = _Integration(tmp_path, monkeypatch)
    providers = scripted_providers({"openai:gpt-5": say("never").optional(), "anthropic:*": say("never").optional()})

    with expect_violation("unmapped model") as caught, providers, warnings.catch_warnings(action="ignore"):
        module.init_chat_model("gpt-5-mini")

    assert not integration.is_imported
    assert line_of(caught[0].text) == (
        "the program asks for the model `openai:gpt-5-mini`, which is mapped to no script\n"
        "  at       HERE\n"
        "  mapped   `openai:gpt-5`, `anthropic:*`\n"
        "  did you mean `openai:gpt-5`?\n"
        '  map it: scripted_providers({"openai:gpt-5-mini": [...]}), or a line in the ini key llmtest_providers'
    )


def test_a_gate_that_nobody_releases_names_the_call_of_a_model_by_name() -> None:
    gate = hold(timeout_s=0.01)

    with (
        expect_violation("gate never released") as caught,
        scripted_providers({"openai:gpt-5": [gate, say("Hello").optional()]}),
        pytest.raises(openai.BadRequestError, match="the gate was not released"),
    ):
        init_chat_model("openai:gpt-5").invoke("hi")

    assert caught[0].text.splitlines()[2] == "  waits  model call  human 'hi'"


def test_unmapped_model_that_a_program_swallows_stays_on_the_ledger() -> None:
    page = Ledger()

    with opened(page), scripted_providers({}) as providers, pytest.raises(ViolationError):
        init_chat_model("openai:gpt-5")

    assert page.take() == providers.violations
    assert line_of(providers.violations[0].text) == (
        "the program asks for the model `openai:gpt-5`, which is mapped to no script\n"
        "  at       HERE\n"
        "  mapped   none\n"
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers'
    )


def test_model_that_is_called_when_the_block_has_ended_does_not_get_out() -> None:
    with scripted_providers({"openai:gpt-5": say("never").optional()}):
        model = init_chat_model("openai:gpt-5", max_retries=0)

    with expect_violation("real model call") as caught, guarding("error"), pytest.raises(openai.APIConnectionError):
        model.invoke("hi")

    lines = line_of(caught[0].text).splitlines()
    assert lines[:2] == [
        "a request to the model `openai:gpt-5` was about to leave the machine, and no entry maps it",
        "  at       HERE",
    ]
    assert lines[-2:] == [
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers',
        "  a test that needs the real one: @pytest.mark.allow_real_models, or `with allow_real_models():`",
    ]


def test_unmapped_model_in_a_thread_of_langchain_names_no_line() -> None:
    with scripted_providers({"openai:gpt-5": say("never").optional()}):
        model = init_chat_model("openai:gpt-5", max_retries=0)

    with expect_violation("real model call") as caught, guarding("error"):
        failed = model.batch(["one", "two"], return_exceptions=True)

    assert [isinstance(error, openai.APIConnectionError) for error in failed] == [True, True]
    assert "\n  at  " not in caught[0].text


def test_name_without_a_provider_is_refused_as_langchain_does() -> None:
    with scripted_providers({"*": say("never").optional()}), pytest.raises(ValueError, match="Unable to infer model provider"):
        init_chat_model("llama")


@pytest.mark.skipif(not hasattr(base, "_BUILTIN_PROVIDERS"), reason="this langchain has no list of its providers")
def test_provider_that_langchain_does_not_know_is_refused_as_langchain_does() -> None:
    with scripted_providers({"*": say("never").optional()}), pytest.raises(ValueError, match="Unsupported provider='nobody'"):
        init_chat_model("llama", model_provider="nobody")


def test_model_without_a_name_is_refused_as_langchain_does() -> None:
    model = init_chat_model()

    with (
        scripted_providers({"*": say("never").optional()}),
        pytest.raises(TypeError, match=r"_init_chat_model_helper\(\) missing"),
    ):
        model.invoke("hi")


# -- outside pytest


def test_verify_raises_for_all_that_is_wrong() -> None:
    with opened(Ledger()), scripted_providers({"openai:gpt-5": "a", "openai:gpt-4": Script("b", "c")}) as providers:
        model = init_chat_model("openai:gpt-5")
        model.invoke("hi")
        with pytest.raises(openai.BadRequestError, match="unexpected model call 2"):
            model.invoke("again")
        with pytest.raises(ViolationError):
            init_chat_model("openai:o3")

    with pytest.raises(ViolationError) as caught:
        providers.verify()

    assert [violation.code for violation in caught.value.violations] == ["unmapped model", "unexpected call", "unused step"]


def test_ini_line_without_a_script_lets_a_model_be_built() -> None:
    with from_ini(["openai:*"], Path()):
        model = init_chat_model("openai:gpt-5")
        with scripted_providers({"openai:gpt-5": "Hello"}):
            said = model.invoke("hi").content
        with expect_violation("unmapped model") as caught, pytest.raises(openai.BadRequestError):
            model.invoke("hi")

    assert said == "Hello"
    assert line_of(caught[0].text) == (
        "the program calls the model `openai:gpt-5`, for which this test has no script\n"
        "  at       HERE\n"
        "  mapped   `openai:*` of the ini key llmtest_providers, without a script: it may be built\n"
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers'
    )


def test_a_latency_of_an_answer_over_http_is_virtual_time_of_its_run() -> None:
    with record() as recording, scripted_providers({"openai:gpt-5": say("It is sunny.", ttft_s=2)}):
        ChatOpenAI(model="gpt-5", api_key="none").invoke("hi")  # type: ignore[arg-type]

    assert [event.at_s for event in recording] == [0, 2]
