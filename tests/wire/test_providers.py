"""Which script answers which model: asked with the SDKs of the providers, as a program without LangChain does."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from llmtest import Script, fail, hold, on, say
from llmtest.core.source import shown_path
from llmtest.errors import ScriptError, ViolationError, expect_violation
from llmtest.ledger import Ledger, opened
from llmtest.scripts import give
from llmtest.wire.providers import KEY, Providers, from_ini

GREETING = Path(__file__).parents[2] / "fixtures" / "scripts" / "greeting.yaml"
GREETS = "Hello! How can I help you?"
HERE = Path(__file__).name
NEVER = say("never").optional()


def ask(model: str, text: str = "hi") -> str:
    """Return the answer to `text`; a model whose name begins with `claude` is Anthropic's."""
    message: Any = {"role": "user", "content": text}
    if model.startswith("claude"):
        answer = anthropic.Anthropic(max_retries=0).messages.create(model=model, max_tokens=9, messages=[message])
        return str(answer.content[0].text)  # type: ignore[union-attr]
    return str(openai.OpenAI(max_retries=0).chat.completions.create(model=model, messages=[message]).choices[0].message.content)


def line_of(text: str) -> str:
    """The text without the number of the line that it names: that is any line of this file."""
    return re.sub(rf"\S*{re.escape(HERE)}:\d+", "HERE", text)


# -- which script


@pytest.mark.parametrize("key", ["openai:gpt-5", "gpt-5", "openai:*", "gpt-*", "*"])
def test_a_model_is_found_by_each_key_that_fits(key: str) -> None:
    with Providers({key: "Hello"}) as providers:
        said = ask("gpt-5")

    assert (said, providers.asked) == ("Hello", ["openai:gpt-5"])


@pytest.mark.parametrize(
    "value",
    ["Hello!", ["Hello!"], say("Hello!"), (say("Hello!"),), Script("Hello!").entries, on(contains="hi") >> "Hello!"],
    ids=["str", "list", "step", "tuple", "lanes", "key"],
)
def test_values_that_are_scripts(value: Any) -> None:
    with Providers({"openai:gpt-5": value}):
        assert ask("gpt-5") == "Hello!"


def test_a_failure_is_a_value_and_the_error_is_the_providers_own() -> None:
    with Providers({"openai:gpt-5": fail(429), "claude-opus-4-7": fail(529)}):
        with pytest.raises(openai.RateLimitError, match="Too Many Requests"):
            ask("gpt-5")
        with pytest.raises(anthropic.APIStatusError) as caught:
            ask("claude-opus-4-7")

    assert caught.value.status_code == 529


def test_a_script_itself_is_a_value_and_may_serve_two_models() -> None:
    script = Script("one", "two")

    with Providers({"openai:gpt-5": script, "anthropic:*": script}):
        said = [ask("gpt-5"), ask("claude-x")]

    assert said == ["one", "two"]


@pytest.mark.parametrize("path", [GREETING, str(GREETING)], ids=["Path", "str"])
def test_the_path_of_a_script_file_is_a_value(path: Any) -> None:
    with Providers({"openai:gpt-5": path}):
        assert ask("gpt-5") == GREETS


def test_the_inner_block_goes_before_the_outer_one_and_both_know_who_was_asked() -> None:
    with Providers({"openai:gpt-5": "outer", "openai:gpt-4": "outer too"}) as outer:
        with Providers({"openai:*5": "inner"}) as inner:
            said = [ask("gpt-5"), ask("gpt-4")]
        said.append(ask("gpt-5"))

    assert said == ["inner", "outer too", "outer"]
    assert inner.asked == ["openai:gpt-5", "openai:gpt-4"]
    assert outer.asked == ["openai:gpt-5", "openai:gpt-4", "openai:gpt-5"]


def test_two_entries_with_a_star_that_fit_are_a_violation() -> None:
    providers = Providers({"openai:*": NEVER, "*:gpt-5": NEVER, "anthropic:*": NEVER})

    with expect_violation("ambiguous match") as caught, providers, pytest.raises(openai.BadRequestError):
        ask("gpt-5")

    assert line_of(caught[0].text) == (
        "the program asks for the model `openai:gpt-5`, which several entries fit\n"
        "  at       HERE\n"
        "  fits     `openai:*`, `*:gpt-5`\n"
        '  an exact name goes before one with *: "openai:gpt-5"'
    )


def test_threads_are_answered_too() -> None:
    said: list[str] = []

    with Providers({"openai:gpt-5": "Hello"}):
        thread = threading.Thread(target=lambda: said.append(ask("gpt-5")))
        thread.start()
        thread.join()

    assert said == ["Hello"]


# -- the keys that SDKs insist on


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_keys")
def test_keys_are_there_while_any_block_maps_their_provider() -> None:
    first, second = Providers({"gpt-5": NEVER}), Providers({"gpt-4": NEVER})
    seen = []

    for act in (first.__enter__, second.__enter__, first.__exit__, lambda: second({"claude-x": NEVER}), second.__exit__):
        act()
        seen.append([os.environ.get("OPENAI_API_KEY"), os.environ.get("ANTHROPIC_API_KEY")])

    assert seen == [[KEY, None], [KEY, None], [KEY, None], [KEY, KEY], [None, None]]


@pytest.mark.usefixtures("no_keys")
def test_a_key_with_a_star_for_the_provider_brings_the_keys_of_all() -> None:
    with Providers({"*": NEVER}):
        inside = [os.environ.get(name) for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")]

    assert inside == [KEY, KEY]
    assert "OPENAI_API_KEY" not in os.environ


@pytest.mark.usefixtures("no_keys")
def test_a_key_that_the_program_sets_in_the_block_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with Providers({"gpt-5": NEVER}):
        monkeypatch.setenv("OPENAI_API_KEY", "sk-own")

    assert os.environ["OPENAI_API_KEY"] == "sk-own"


def test_a_key_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")

    with Providers({"gpt-5": NEVER}):
        inside = os.environ["OPENAI_API_KEY"]

    assert (inside, os.environ["OPENAI_API_KEY"]) == ("sk-own", "sk-own")


# -- mappings that are written wrongly


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        (
            "openai:gpt-5",
            "scripted_providers() takes a mapping of model strings to scripts, or the path of a script file that names its "
            "models; got str 'openai:gpt-5'",
        ),
        ({5: "Hello"}, "a model is mapped by its name, such as 'openai:gpt-5'; got int 5"),
        ({"": "Hello"}, "a model is mapped by its name, such as 'openai:gpt-5'; got str ''"),
        (
            {"gpt-5": "see the.yaml"},
            "the script of the model `gpt-5`: there is no script file `see the.yaml`\n"
            "  a str that ends in .yaml is a path; for a model that says it: say('see the.yaml')",
        ),
        (
            {"gpt-5": give("a")},
            "the script of the model `gpt-5`: step 1 of a model is give('a') at HERE,"
            " but a model cannot give values, it says something",
        ),
        ({"gpt-5": Path("no.txt")}, "the script of the model `gpt-5`: there is no script file `no.txt`"),
        (
            {"gpt-5": say("a").optional(), "openai:gpt-5": say("b").optional()},
            "the model `openai:gpt-5` is mapped twice: as `gpt-5` and as `openai:gpt-5`",
        ),
    ],
)
def test_wrong_mapping(mapping: Any, text: str) -> None:
    with opened(Ledger()), pytest.raises(ScriptError) as caught:
        Providers(mapping)

    assert line_of(str(caught.value)) == text


def test_wrong_step_names_its_model_and_its_line() -> None:
    with pytest.raises(ScriptError) as caught:
        Providers({"openai:gpt-5": ["Hello", 5]})

    first, *rest = line_of(str(caught.value)).split("\n")
    assert first == "the script of the model `openai:gpt-5`: step 2 of the script is not a step: got int 5 at HERE"
    assert rest == [
        "  a step is say(...), think(...), call(...), structured(...), reply(...), fail(...), respond(...),",
        "  a str, an AIMessage or an exception",
    ]


@pytest.mark.usefixtures("no_keys")
def test_a_model_is_mapped_once_and_a_mapping_that_fails_adds_nothing() -> None:
    providers = Providers({"gpt-5": "Hello"})

    with pytest.raises(ScriptError) as caught:
        providers({"gpt-4": NEVER, "gpt-5": NEVER})

    assert str(caught.value) == "the model `openai:gpt-5` is mapped twice"
    with providers, expect_violation("real model call"):
        assert ask("gpt-5") == "Hello"
        with pytest.raises(openai.APIConnectionError):
            ask("gpt-4")


# -- outside pytest


def test_verify_raises_for_all_that_is_wrong() -> None:
    with opened(Ledger()), Providers({"gpt-5": "a", "gpt-4": Script("b", "c")}) as providers:
        ask("gpt-5")
        with pytest.raises(openai.BadRequestError, match="unexpected model call 2"):
            ask("gpt-5", "again")

    with pytest.raises(ViolationError) as caught:
        providers.verify()

    assert [violation.code for violation in caught.value.violations] == ["unexpected call", "unused step"]


def test_verify_is_silent_when_all_is_well() -> None:
    script = Script("a", "b")

    with Providers({"gpt-5": script, "gpt-4": script}) as providers:
        ask("gpt-5")
        ask("gpt-4")

    providers.verify()


# -- the ini key


def ini(*lines: str) -> Providers:
    return from_ini(lines, GREETING.parent)


def test_an_ini_script_starts_anew_on_each_page() -> None:
    pages = [Ledger(), Ledger()]

    with ini("openai:gpt-* = greeting.yaml"):
        said = []
        for page in pages:
            with opened(page):
                said.append(ask("gpt-5"))

    assert said == [GREETS, GREETS]
    assert [page.take() for page in pages] == [[], []]


def test_an_ini_script_goes_on_within_a_page() -> None:
    with ini("openai:gpt-* = greeting.yaml"), opened(Ledger()) as page:
        assert ask("gpt-5") == GREETS
        with pytest.raises(openai.BadRequestError):
            ask("gpt-5")

        assert [violation.code for violation in page.take()] == ["unexpected call"]


def test_an_ini_script_owes_its_steps_to_pages_that_call_it_only() -> None:
    calling, silent = Ledger(), Ledger()

    with ini("openai:gpt-* = two_turn_agent.yaml"):
        with opened(silent):
            pass
        with opened(calling), pytest.raises(openai.BadRequestError):
            ask("gpt-5")

    assert silent.take() == []
    assert [violation.code for violation in calling.take()] == ["invalid tool call", "unused step"]


def test_an_ini_line_without_a_script_is_no_answer() -> None:
    with ini("openai:*"), expect_violation("unmapped model") as caught, pytest.raises(openai.BadRequestError):
        ask("gpt-5")

    assert line_of(caught[0].text) == (
        "the program calls the model `openai:gpt-5`, for which this test has no script\n"
        "  at       HERE\n"
        "  mapped   `openai:*` of the ini key llmtest_providers, without a script: it may be built\n"
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers'
    )


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["openai:gpt-5 ="], "line `openai:gpt-5 =`: expected `model = path of a script file`, or a model alone"),
        (["= a.yaml"], "line `= a.yaml`: expected `model = path of a script file`, or a model alone"),
        (["gpt-5 = no.yaml"], f"line `gpt-5 = no.yaml`: there is no script file `{GREETING.parent / 'no.yaml'}`"),
        (["gpt-5", "gpt-5 = greeting.yaml"], "line `gpt-5 = greeting.yaml`: the model `openai:gpt-5` is mapped twice"),
    ],
)
def test_wrong_ini_line(lines: list[str], text: str) -> None:
    with pytest.raises(ScriptError) as caught:
        ini(*lines)

    assert str(caught.value) == f"the ini key llmtest_providers, {text}"


# -- verify


def test_unused_steps_that_are_expected_are_told_once() -> None:
    with Providers({"openai:gpt-5": "never"}) as providers:
        with expect_violation("unused step"):
            providers.verify()
        providers.verify()


def test_a_gate_that_was_never_released_is_found_like_any_violation(page: Ledger) -> None:
    gate = hold(timeout_s=0.05)
    with Providers({"openai:gpt-5": [gate, "Hello"]}) as providers:
        with pytest.raises(openai.BadRequestError, match="the gate was not released"):
            ask("gpt-5")
        assert [violation.code for violation in providers.found()] == ["gate never released"]


# -- a script file that names its models

MODELS = """\
# llmtest script v2
models:
  openai:gpt-5: [one]
  "anthropic:*":
    - say: two
      request: {system: "Be brief."}
embeddings:
  openai:text-embedding-3-small: {hi: [0.5, 1.0]}
"""


@pytest.mark.parametrize("as_given", [str, Path])
def test_a_script_file_with_models_is_a_mapping(as_given: Any, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(MODELS)

    with opened(Ledger("")), Providers(as_given(path)) as providers:
        said = [ask("gpt-5"), ask("claude-x")]
        vectors = openai.OpenAI(max_retries=0).embeddings.create(
            model="text-embedding-3-small", input=["hi"], encoding_format="float"
        )

    assert said == ["one", "two"]
    assert vectors.data[0].embedding == [0.5, 1.0]
    assert providers.models == ["openai:gpt-5", "anthropic:*", "openai:text-embedding-3-small"]
    assert [violation.text for violation in providers.found()] == [
        "1 recorded answer was given to another request than it was recorded for\n"
        '  the system prompt is gone: "Be brief."  (step 1)\n'
        "  the parameter `max_tokens` is new: 9  (step 1)\n"
        f"  recorded at {shown_path(f'{path}:5')}\n"
        "  record it again\n  or, if the answers still fit, set the ini key llmtest_stale to warn or ignore"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "steps: [Hello]",
            "{path}:1: the file does not name its models: it has `steps`, and no `models`\n"
            "  say which model they are of: scripted_providers({{'openai:gpt-5': '{path}'}})",
        ),
        (
            "steps: [Hello]\nembeddings: {m: {hi: [1.0]}}",
            "{path}:1: the file has vectors, which are of models, and `steps`, which are of none\n"
            '  write the steps below their model: models: {{"openai:gpt-5": [...]}}',
        ),
        (
            "models: {m: [Hello]}\nembeddings:\n  m: {hi: [1.0]}",
            "{path}:3: the model `m` has both steps and vectors; it answers in words or gives vectors",
        ),
        (
            "models: {gpt-5: [a], openai:gpt-5: [b]}",
            "{path}:1: the model `openai:gpt-5` is mapped twice: as `gpt-5` and as `openai:gpt-5`",
        ),
        ("models:\n  m: [{sya: a}]", "{path}:2: step 1 of `m` of `models` of the file has the unknown key `sya`"),
    ],
)
def test_a_file_that_is_no_mapping(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)

    with opened(Ledger("")), pytest.raises(ScriptError) as caught:
        Providers(path)

    assert str(caught.value).startswith(problem.format(path=shown_path(str(path))))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ScriptError) as caught:
        Providers("none.yaml")

    assert str(caught.value) == "there is no script file `none.yaml`"
