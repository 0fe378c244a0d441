"""Cassettes in a user's suite: the marker, `--llmtest-record`, and what a report says of them."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmtest import call, on, reply, say
from llmtest.cli import commands
from llmtest.langchain import recorded_classes, recorded_tools  # noqa: F401  # imported once for all inner runs
from llmtest.pytest_plugin import cassettes as _imported_once  # noqa: F401
from llmtest.wire import hearing, providers, scripted_server
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.server import HttpServer
from tests.pytest_plugin.conftest import INI, Suite

APP = '''
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

ran = []


@tool
def refund(order: str) -> str:
    """Refund an order."""
    ran.append(order)
    return f"refunded {order}"


def ask(question, prompt="You are a clerk."):
    agent = create_agent(ChatOpenAI(model="gpt-5", max_retries=0), [refund], system_prompt=prompt)
    return agent.invoke({"messages": question})["messages"][-1].text
'''

COST = re.compile(r"\$[\d.e-]+")  # prices change
SUITE = f"""{APP}
@pytest.mark.llm_cassette
def test_refund():
    assert ask("Refund A-7.") == "Done."
"""
STEPS = [call("refund", order="A-7"), say("Done.")]


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts a server in the place of OpenAI, and stops it."""
    running = []

    def start(*steps: Any) -> Any:
        server = scripted_server({"openai:gpt-5": list(steps)})
        server.__enter__()
        running.append(server)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("openai"))
        monkeypatch.setenv("OPENAI_API_KEY", server.token)
        return server

    yield start
    for server in running:
        server.__exit__()


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider and no key any more."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def cassette_of(suite: Suite, test: str = "test_refund") -> Path:
    return suite.path / "cassettes" / "test_it" / f"{test}.yaml"


@pytest.fixture
def recorded(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The suite, with the cassette of its test, and without the provider."""
    provider(*STEPS)
    assert suite.run(SUITE, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    return suite


def test_a_missing_cassette_is_an_error_that_names_the_command(suite: Suite) -> None:
    outcome = suite.run(SUITE)

    assert outcome.counts == {"error": 1}
    assert "there is no cassette for the test: " in outcome.text
    assert "  record it: pytest test_it.py::test_refund --llmtest-record=once" in outcome.text


def test_a_test_is_recorded_and_runs_again_without_its_provider(recorded: Suite) -> None:
    assert recorded.run(SUITE).counts == {"passed": 1}


def test_the_end_of_the_session_says_what_was_recorded(suite: Suite, provider: Any) -> None:
    provider(*STEPS)

    assert suite.run(SUITE, "--llmtest-record=once").part("llmtest: cassettes") == "test_it.py::test_refund: 2 calls recorded"


def test_a_failing_test_keeps_nothing(suite: Suite, provider: Any) -> None:
    provider(*STEPS)

    outcome = suite.run(SUITE.replace('"Done."', '"Never."'), "--llmtest-record=once")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 2 calls not kept, because the test failed"
    assert not cassette_of(suite).exists()


def test_nothing_is_recorded_in_ci_unless_the_command_line_asks(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider(*STEPS)
    monkeypatch.setenv("CI", "true")
    suite.ini(INI + "llmtest_record = once")

    assert suite.run(SUITE).counts == {"error": 1}
    assert suite.run(SUITE, "--llmtest-record=once").counts == {"passed": 1}


def test_a_changed_prompt_fails_the_test_in_words(recorded: Suite) -> None:
    outcome = recorded.run(SUITE.replace("a clerk", "a kind clerk"))

    assert outcome.counts == {"failed": 1}
    assert "2 recorded answers were given to other requests than they were recorded for on " in outcome.text
    told = 'the system prompt has changed: it was "You are a clerk.", it is "You are a kind clerk."  (steps 1, 2)'
    assert told in outcome.text
    assert "record it again: pytest test_it.py::test_refund --llmtest-record=rewrite" in outcome.text


def test_an_old_cassette_may_be_a_warning(recorded: Suite) -> None:
    recorded.ini(INI.replace("= error", "= default") + "llmtest_stale = warn\nllmtest_cassette_max_age = 30")
    file = cassette_of(recorded)
    file.write_text(re.sub(r"recorded: .*", 'recorded: "2020-01-01"', file.read_text("utf-8"), count=1), "utf-8")

    outcome = recorded.run(SUITE)

    assert outcome.counts == {"passed": 1, "warnings": 1}
    assert re.search(r"the cassette is \d+ days old, and may be 30 days old", outcome.text)


@pytest.mark.parametrize("mode", ["once", "verify"])
@pytest.mark.parametrize("passes", [True, False])
def test_an_answer_that_cannot_be_read_fails_a_test_that_passes(
    mode: str, passes: bool, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(200, {"content-type": "text/html"}, b"<html>")

    body = "with suppress(Exception):\n        ask('hi')" if passes else "ask('hi')"
    with HttpServer(page) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        outcome = suite.run(
            f"{APP}\nfrom contextlib import suppress\n\n@pytest.mark.llm_cassette\ndef test_refund():\n    {body}\n",
            f"--llmtest-record={mode}",
        )

    assert outcome.exit_code == 1
    assert ("the answer of `openai:gpt-5` cannot be recorded, because it cannot be read" in outcome.text) == passes
    assert not cassette_of(suite).exists()


def test_where_nothing_can_be_kept_a_difference_is_told(recorded: Suite, provider: Any) -> None:
    recorded.ini(INI.replace("= error", "= default"))
    (recorded.path / ".llmtest").mkdir()
    (recorded.path / ".llmtest" / "pending").touch()
    provider(*ROME)

    outcome = recorded.run(SUITE, "--llmtest-record=verify")

    assert outcome.counts == {"failed": 1}
    assert "nothing was kept for `llmtest accept`, because the file cannot be written: " in outcome.text


@pytest.mark.parametrize(("mode", "counts"), [("warn", {"passed": 1, "warnings": 1}), ("ignore", {"passed": 1})])
def test_a_changed_prompt_may_be_a_warning_or_nothing(mode: str, counts: dict[str, int], recorded: Suite) -> None:
    recorded.ini(INI.replace("= error", "= default") + f"llmtest_stale = {mode}")

    assert recorded.run(SUITE.replace("a clerk", "a kind clerk")).counts == counts


def test_an_old_cassette_is_stale(recorded: Suite) -> None:
    file = cassette_of(recorded)
    file.write_text(re.sub(r"recorded: .*", 'recorded: "2020-01-01"', file.read_text("utf-8"), count=1), "utf-8")

    outcome = recorded.run(SUITE.replace("llm_cassette", "llm_cassette(max_age_days=30)"))

    assert outcome.counts == {"failed": 1}
    assert re.search(r"the cassette is \d+ days old, and may be 30 days old", outcome.text)
    assert "record it again: pytest test_it.py::test_refund --llmtest-record=rewrite" in outcome.text


def test_a_recorded_tool_does_not_run(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suite_with_tool = SUITE.replace("llm_cassette", 'llm_cassette(tools="refund")')
    provider(*STEPS)
    assert suite.run(suite_with_tool, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)

    outcome = suite.run(suite_with_tool + "    assert ran == []\n")

    assert outcome.counts == {"passed": 1}
    assert 'gives: "refunded A-7"' in cassette_of(suite).read_text("utf-8")


TWICE = f"""{APP}
@tool
def pay_back(order: str) -> str:
    \"\"\"Pay an order back.\"\"\"
    raise AssertionError("it must not run")


@pytest.mark.llm_cassette(tools=["refund", "pay_*"])
def test_refund():
    for order in ORDERS:
        assert ask(f"Refund {{order}}.") == "Done."
    assert ran == RAN
"""


def test_a_named_tool_that_was_not_called_needs_no_answer(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider(*STEPS)
    source = TWICE.replace("ORDERS", '["A-7"]')
    assert suite.run(source.replace("RAN", '["A-7"]'), "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)

    assert suite.run(source.replace("RAN", "[]")).counts == {"passed": 1}


def test_a_new_call_of_a_recorded_tool_is_recorded(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider(*STEPS)
    once = TWICE.replace("ORDERS", '["A-7"]').replace("RAN", '["A-7"]')
    assert suite.run(once, "--llmtest-record=once").counts == {"passed": 1}
    provider(call("refund", order="B-1"), say("Done."))
    source = TWICE.replace("ORDERS", '["A-7", "B-1"]')

    assert suite.run(source.replace("RAN", '["B-1"]'), "--llmtest-record=new").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(source.replace("RAN", "[]")).counts == {"passed": 1}


def test_a_tool_that_the_marker_did_not_name_when_it_was_recorded_names_the_command(recorded: Suite) -> None:
    outcome = recorded.run(SUITE.replace("llm_cassette", 'llm_cassette(tools=["refund", "pay"])'))

    assert outcome.counts == {"error": 1}  # and no second one, about a cassette that was left open
    assert outcome.part("ERROR at setup of test_refund").splitlines()[-3:] == [
        "cassettes/test_it/test_refund.yaml: the answers of tools that the marker llm_cassette names were not recorded: `refund`,"
        " `pay`",
        "  recorded  none",
        "  record it again: pytest test_it.py::test_refund --llmtest-record=rewrite",
    ]


def test_answers_of_a_tool_that_no_call_is_certain_of_are_a_warning(suite: Suite, provider: Any) -> None:
    provider(reply(call("refund", order="A-7"), call("refund", order="A-7")), say("Done."))
    suite.ini(INI.replace("= error", "= default"))
    source = SUITE.replace("llm_cassette", 'llm_cassette(tools="refund")')

    outcome = suite.run(source.replace('f"refunded {order}"', 'f"refund {len(ran)}"'), "--llmtest-record=once")

    assert outcome.counts == {"passed": 1, "warnings": 1}
    assert "test_refund.yaml: two calls of the tool `refund` at the same time have the arguments " in outcome.text


def test_a_tool_that_is_not_named_runs(recorded: Suite) -> None:
    assert recorded.run(SUITE + '    assert ran == ["A-7"]\n').counts == {"passed": 1}


def test_an_ini_key_gives_all_tests_of_a_folder_a_cassette(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.ini(INI + "llmtest_cassettes = test_it.py")
    bare = SUITE.replace("@pytest.mark.llm_cassette\n", "")
    provider(*STEPS)

    assert suite.run(bare, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(bare).counts == {"passed": 1}


def test_the_ini_key_of_a_folder_is_about_its_tests_only(suite: Suite) -> None:
    suite.ini(INI + "llmtest_cassettes = live")

    assert suite.run("def test_it(): pass").counts == {"passed": 1}


def test_unused_steps_fail_the_test_and_an_update_deletes_them(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""{APP}
@pytest.mark.llm_cassette
def test_refund():
    model = ChatOpenAI(model="gpt-5")
    assert [model.invoke("hi").text for _ in range(CALLS)] == ["One.", "Two."][:CALLS]
"""
    provider("One.", "Two.")
    assert suite.run(source.replace("CALLS", "2"), "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    shorter = source.replace("CALLS", "1")

    assert suite.run(shorter).counts == {"failed": 1}
    outcome = suite.run(shorter, "--snapshot-update")
    assert outcome.counts == {"passed": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 1 unused step deleted"
    assert suite.run(shorter).counts == {"passed": 1}


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('llm_cassette("x")', "llm_cassette() takes keywords only: tools=, models=, max_age_days=; got 'x'"),
        ("llm_cassette(tool='x')", "llm_cassette() has no argument tool=; did you mean `tools`?"),
        ("llm_cassette(tools=7)", "tools= of llm_cassette() is the name of a tool, or several; got int 7"),
        ("llm_cassette(models='x')", "models= of llm_cassette() is a class of chat models, or several; got str 'x'"),
        ("llm_cassette(max_age_days='30d')", "max_age_days= of llm_cassette() is a number of days; got str '30d'"),
    ],
)
def test_a_marker_that_is_written_wrongly_is_an_error(marker: str, message: str, suite: Suite) -> None:
    outcome = suite.run(SUITE.replace("llm_cassette", marker))

    assert outcome.counts == {"error": 1}
    assert message in outcome.text


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "llmtest_record = ones",
            "the ini key llmtest_record is one of none, once, new, rewrite, verify; got 'ones'; did you mean `once`?",
        ),
        ("llmtest_cassette_max_age = 30d", "the ini key llmtest_cassette_max_age is a number of days; got '30d'"),
    ],
)
def test_an_ini_key_that_is_written_wrongly_is_an_error(key: str, message: str, recorded: Suite) -> None:
    recorded.ini(INI + key)

    outcome = recorded.run(SUITE)

    assert message in outcome.text + outcome.errors


def test_parametrised_tests_have_a_cassette_each(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    several = SUITE.replace("def test_refund():", '@pytest.mark.parametrize("order", ["a", "A", "x/y"])\ndef test_refund(order):')
    provider(*STEPS * 3)

    assert suite.run(several, "--llmtest-record=once").counts == {"passed": 3}
    names = sorted(path.name for path in cassette_of(suite).parent.iterdir())
    assert [re.sub(r"~\w+", "~...", name) for name in names] == [
        "test_refund[A].~....yaml",
        "test_refund[a].yaml",
        "test_refund[x-y].~....yaml",
    ]
    gone(monkeypatch)
    assert suite.run(several).counts == {"passed": 3}


@pytest.mark.usefixtures("clients_left_open")
def test_an_async_test_has_a_cassette(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"""{APP}
@pytest.mark.asyncio
@pytest.mark.llm_cassette
async def test_refund():
    assert (await ChatOpenAI(model="gpt-5").ainvoke("hi")).text == "Done."
"""
    provider("Done.")

    assert suite.run(source, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(source).counts == {"passed": 1}


def test_a_class_without_http_has_a_cassette(suite: Suite) -> None:
    source = """
import pytest
from langchain_core.language_models import FakeListChatModel

class Local(FakeListChatModel):
    pass

@pytest.mark.llm_cassette(models=Local)
def test_refund():
    assert Local(responses=RESPONSES).invoke("hi").text == "Done."
"""

    assert suite.run(source.replace("RESPONSES", '["Done."]'), "--llmtest-record=once").counts == {"passed": 1}
    assert suite.run(source.replace("RESPONSES", '["the class itself would say this"]')).counts == {"passed": 1}


def test_the_program_asks_for_a_model_by_its_name(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
import pytest
from langchain.chat_models import init_chat_model

@pytest.mark.llm_cassette
def test_refund():
    assert init_chat_model("openai:gpt-5").invoke("hi").text == "Done."
"""
    suite.ini(INI.replace("= error", "= ignore"))  # a client that nothing closes is collected in whatever test comes next
    provider("Done.")

    assert suite.run(source, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(source).counts == {"passed": 1}


def test_two_workers_record_two_tests_at_once(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"""{APP}
@pytest.mark.llm_cassette
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_refund(number):
    assert ChatOpenAI(model="gpt-5").invoke("hi").text == "Done."
"""
    provider(*["Done."] * 4)

    outcome = suite.run_on_workers(source, "--llmtest-record=once")

    assert outcome.counts == {"passed": 4}
    assert outcome.part("llmtest: cassettes").count("1 call recorded") == 4
    gone(monkeypatch)
    assert suite.run_on_worker(source).counts == {"passed": 4}


def test_a_new_recording_is_summarized_with_tokens_and_cost_before_and_after(recorded: Suite, provider: Any) -> None:
    provider(STEPS[0], say("Done.", usage=(140, 2)))

    outcome = recorded.run(SUITE, "--llmtest-record=rewrite")

    assert COST.sub("$", outcome.part("llmtest: cassettes")) == (
        "test_it.py::test_refund: 2 calls recorded; tokens 24 in, 14 out -> 150 in, 14 out; cost $ -> $"
    )


def test_a_cassette_that_cannot_be_read_is_rewritten_without_a_comparison(recorded: Suite, provider: Any) -> None:
    cassette_of(recorded).write_text("models: [", "utf-8")
    provider(*STEPS)

    outcome = recorded.run(SUITE, "--llmtest-record=rewrite")

    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 2 calls recorded"


NO_MODEL = "the test calls no model, and needs no cassette: remove its marker llm_cassette"
WITHOUT_MODEL = """
import pytest

@pytest.mark.llm_cassette
def test_refund():
    pass
"""


def test_a_marked_test_that_calls_no_model_is_told_so_when_it_runs_without_a_cassette(suite: Suite) -> None:
    outcome = suite.run(WITHOUT_MODEL)

    assert outcome.counts == {"error": 1}
    assert "  a test that calls no model needs no cassette: remove its marker llm_cassette" in outcome.text


def test_a_test_that_is_skipped_needs_no_cassette(suite: Suite) -> None:
    source = """
import pytest

@pytest.mark.llm_cassette
@pytest.mark.skip
def test_refund():
    pass

@pytest.mark.llm_cassette
@pytest.mark.xfail
def test_exchange():
    pass
"""

    assert suite.run(source).counts == {"skipped": 1, "xfailed": 1}


@pytest.mark.parametrize("where", ["the folder", "the class", "the module"])
def test_a_test_without_a_marker_of_its_own_may_call_no_model(where: str, suite: Suite) -> None:
    bare = WITHOUT_MODEL.replace("@pytest.mark.llm_cassette\n", "")
    if where == "the folder":
        suite.ini(INI + "llmtest_cassettes = test_it.py")
    elif where == "the module":
        bare = bare.replace("import pytest", "import pytest\n\npytestmark = pytest.mark.llm_cassette")
    else:
        bare = "import pytest\n\n@pytest.mark.llm_cassette\nclass TestIt:\n    def test_refund(self):\n        pass\n"

    for option in ("--llmtest-record=once", "--llmtest-record=rewrite", "--llmtest-record=none"):
        outcome = suite.run(bare, option)
        assert (outcome.counts, outcome.has_part("llmtest: cassettes")) == ({"passed": 1}, False)
    assert not (suite.path / "cassettes").exists()


@pytest.mark.parametrize(
    "body",
    [
        'assert ask("Refund A-7.") == "Done."',
        "swallow(lambda: openai.OpenAI().responses.create(model='gpt-5', input='hi'))",
        "swallow(lambda: anthropic.Anthropic().messages.create(model='x', max_tokens=9, messages=[]))",
    ],
)
def test_a_test_of_a_folder_without_a_cassette_fails_when_it_calls_a_model(
    body: str, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone(monkeypatch)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    suite.ini(INI.replace("= error", "= ignore") + "llmtest_cassettes = test_it.py")

    source = f"""{APP}
import anthropic
import openai

def swallow(work):
    try:
        work()
    except (openai.BadRequestError, anthropic.BadRequestError):
        pass

def test_refund():
    {body}
"""
    outcome = suite.run(source)

    assert outcome.counts == {"failed": 1}
    assert "there is no cassette for the test: cassettes/test_it/test_refund.yaml" in outcome.text
    assert "  record it: pytest test_it.py::test_refund --llmtest-record=once" in outcome.text


def test_a_class_without_http_needs_its_cassette_too(suite: Suite) -> None:
    source = """
import pytest
from langchain_core.language_models import FakeListChatModel

pytestmark = pytest.mark.llm_cassette(models=FakeListChatModel)

def test_refund():
    try:
        FakeListChatModel(responses=["the class itself would say this"]).invoke("hi")
    except Exception:
        pass
"""

    outcome = suite.run(source)

    assert outcome.counts == {"failed": 1}
    assert "there is no cassette for the test: cassettes/test_it/test_refund.yaml" in outcome.text


def test_the_last_step_that_no_call_takes_goes_with_its_file(recorded: Suite) -> None:
    recorded.ini(INI.replace("= error", "= default"))
    outcome = recorded.run(WITHOUT_MODEL, "--snapshot-update")

    assert outcome.part("llmtest: cassettes") == (
        "test_it.py::test_refund: 2 unused steps deleted, and the cassette, which has no others"
    )
    assert not cassette_of(recorded).exists()


def test_a_skipped_test_keeps_its_old_cassette(recorded: Suite, provider: Any) -> None:
    before = cassette_of(recorded).read_text("utf-8")
    provider("Half.")
    recorded.ini(INI.replace("= error", "= default"))

    outcome = recorded.run(
        SUITE.replace(
            "    assert ask", '    ChatOpenAI(model="gpt-5").invoke("hi")\n    pytest.skip("not here")\n    assert ask'
        ),
        "--llmtest-record=rewrite",
    )

    assert outcome.counts == {"skipped": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 1 call not kept, because the test was skipped"
    assert cassette_of(recorded).read_text("utf-8") == before


# -- keys of the providers


def test_a_recording_without_a_key_names_the_variable(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    gone(monkeypatch)

    outcome = suite.run(SUITE, "--llmtest-record=once")

    assert outcome.counts == {"failed": 1}
    assert (
        "llmtest: --llmtest-record=once asks the real model, and there is no key for it: set the environment variable"
        " OPENAI_API_KEY"
    ) in outcome.text.replace("\nE   ", "")


@pytest.mark.parametrize(
    ("program", "variable"),
    [
        ("__import__('anthropic').Anthropic().messages.create(model='x', max_tokens=9, messages=[])", "ANTHROPIC_API_KEY"),
        ("__import__('google.genai').genai.Client()", "GOOGLE_API_KEY"),
    ],
)
def test_an_sdk_that_names_no_variable_is_known_by_its_package(
    program: str, variable: str, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    suite.ini(INI.replace("= error", "= ignore"))

    outcome = suite.run(
        f"import pytest\n\n@pytest.mark.llm_cassette\ndef test_refund():\n    {program}\n", "--llmtest-record=once"
    )

    assert outcome.counts == {"failed": 1}
    assert f"set the environment variable {variable}" in outcome.text


AT_IMPORT = f"""{APP}
model = ChatOpenAI(model="gpt-5")

@pytest.mark.llm_cassette
def test_refund():
    assert model.invoke("hi").text == "Done."
"""


def test_a_model_that_is_built_at_import_is_told_how_to_get_a_key(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider("Done.")
    assert suite.run(AT_IMPORT, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)

    told = suite.run(AT_IMPORT)
    suite.ini(INI + "llmtest_providers = openai:*")
    helped = suite.run(AT_IMPORT)

    assert told.counts == {"error": 1}
    assert told.part("llmtest: keys of providers").startswith(
        "a model that is built while tests are collected finds no key, because no cassette is open then\n"
        "  to run from cassettes: the line `openai:*` in the ini key llmtest_providers gives it one\n"
        "  to record: set the environment variable OPENAI_API_KEY"
    )
    assert helped.counts == {"passed": 1}


@pytest.mark.parametrize("key", ["OWN_API_KEY", "OPENAI_API_KEY"])
def test_a_key_of_no_known_provider_is_told_as_it_is(key: str, recorded: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")

    outcome = recorded.run(f"raise RuntimeError('set {key}')\n{SUITE}")

    assert outcome.counts == {"error": 1}
    assert not outcome.has_part("llmtest: keys of providers")


# -- fixtures that call the model after the test

TEARDOWN = f"""{APP}
@pytest.fixture
def desk():
    yield ask
    assert ChatOpenAI(model="gpt-5").invoke("Close the desk.").text == "Closed."

@pytest.mark.llm_cassette
def test_refund(desk):
    assert desk("Refund A-7.") == "Done."
"""


def test_calls_of_teardown_are_recorded_and_answered(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider(*STEPS, "Closed.")

    assert suite.run(TEARDOWN, "--llmtest-record=once").counts == {"passed": 1}
    before = cassette_of(suite).read_text("utf-8")
    gone(monkeypatch)
    for options in ([], ["--snapshot-update"], []):
        assert suite.run(TEARDOWN, *options).counts == {"passed": 1}
    assert before.count("request:") == 3
    assert cassette_of(suite).read_text("utf-8") == before


FIXTURES = {
    "async": """
@pytest_asyncio.fixture
async def desk():
    yield
    assert (await ChatOpenAI(model="gpt-5").ainvoke("Close")).text == "Closed."
""",
    "finalizer": """
@pytest.fixture
def desk(request):
    request.addfinalizer(lambda: close())
""",
    "method": """
class TestIt:
    def teardown_method(self):
        close()

""",
}


@pytest.mark.usefixtures("clients_left_open")
@pytest.mark.parametrize("kind", FIXTURES)
def test_every_kind_of_teardown_is_waited_for(kind: str, suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = {"async": "desk", "finalizer": "desk", "method": "self"}[kind]
    test = f"@pytest.mark.asyncio\n@pytest.mark.llm_cassette\nasync def test_refund({argument}):\n    pass\n"
    source = f"""{APP}
import pytest_asyncio

def close():
    assert ChatOpenAI(model="gpt-5").invoke("Close").text == "Closed."
{FIXTURES[kind]}
{textwrap.indent(test, "    ") if kind == "method" else test}
"""
    suite.ini(INI.replace("= error", "= ignore"))
    provider("Closed.")

    recorded = suite.run(source, "--llmtest-record=once")
    gone(monkeypatch)
    again = suite.run(source)

    assert (recorded.counts, again.counts) == ({"passed": 1}, {"passed": 1})


def test_steps_that_not_even_teardown_takes_are_unused(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider(*STEPS, "Closed.")
    assert suite.run(TEARDOWN, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    shorter = TEARDOWN.replace('    assert ChatOpenAI(model="gpt-5").invoke("Close the desk.").text == "Closed."', "")

    told = suite.run(shorter)
    failing = suite.run(shorter.replace('== "Done."', '== "Never."'))
    updated = suite.run(shorter, "--snapshot-update")

    assert told.counts == {"passed": 1, "error": 1}
    assert "1 of 3 steps of the script was never used" in told.text
    assert failing.counts == {"failed": 1}
    assert updated.part("llmtest: cassettes") == "test_it.py::test_refund: 1 unused step deleted"
    assert suite.run(shorter).counts == {"passed": 1}


def test_a_teardown_that_fails_keeps_nothing_and_leaves_no_cassette_open(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""{TEARDOWN}

def test_next():
    from llmtest.wire import clients, hearing, providers
    assert (hearing.listener(), providers.is_any_open()) == (None, False)
"""
    provider(*STEPS, "Open.")

    outcome = suite.run(source, "--llmtest-record=once")

    assert outcome.counts == {"passed": 2, "error": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 3 calls not kept, because the test failed"
    assert not cassette_of(suite).exists()


def test_verify_sees_the_calls_of_teardown(suite: Suite, provider: Any) -> None:
    provider(*STEPS, "Closed.")
    assert suite.run(TEARDOWN, "--llmtest-record=once").counts == {"passed": 1}
    provider(*STEPS, "Closed.")
    same = suite.run(TEARDOWN, "--llmtest-record=verify")
    provider(*STEPS, "Shut.")
    other = suite.run(TEARDOWN.replace('== "Closed."', 'in ("Closed.", "Shut.")'), "--llmtest-record=verify")

    assert same.counts == {"passed": 1}
    assert other.counts == {"passed": 1, "error": 1}
    assert "cassette differs" in other.text


def test_a_test_that_calls_no_model_records_nothing(suite: Suite) -> None:
    suite.ini(INI.replace("= error", "= default"))
    outcome = suite.run(WITHOUT_MODEL, "--llmtest-record=once")

    assert outcome.counts == {"passed": 1, "warnings": 1}
    assert f"LlmtestWarning: {NO_MODEL}" in outcome.text
    assert not os.path.exists(cassette_of(suite))


# -- verify: the real model is asked, and nothing is written

ROME = [call("refund", order="A-8"), say("Done.")]


def test_a_cassette_that_is_as_the_real_models_answer(recorded: Suite, provider: Any) -> None:
    before = cassette_of(recorded).read_text("utf-8")
    provider(*STEPS)

    outcome = recorded.run(SUITE, "--llmtest-record=verify")

    assert outcome.counts == {"passed": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: the cassette is as the real models answer"
    assert cassette_of(recorded).read_text("utf-8") == before
    assert not (recorded.path / ".llmtest").exists()


def test_a_cassette_that_differs_fails_the_test_and_the_recording_can_be_accepted(
    recorded: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cassette_of(recorded).read_text("utf-8")
    provider(*ROME)

    outcome = recorded.run(SUITE, "--llmtest-record=verify")

    assert outcome.counts == {"failed": 1}
    assert (
        'cassette differs: tool argument order "A-7" → "A-8" at openai:gpt-5 (1 of 4 lines, 1 cause)\n'
        "  chat openai:gpt-5\n"
        '-   < a1: call1 refund(order="A-7")  usage in=10 out=12\n'
        '+   < a1: call1 refund(order="A-8")  usage in=10 out=12  ◀ first difference\n'
        "  … 2 unchanged lines\n"
        "  tokens  24 in, 14 out -> 24 in, 14 out\n"
        "  cost    $ -> $\n"
        "  cassette  cassettes/test_it/test_refund.yaml\n"
        "  accept    llmtest accept test_it.py::test_refund\n"
        "  review    llmtest review\n"
    ) in COST.sub("$", outcome.text)
    assert outcome.part("llmtest: cassettes") == "cassettes of 1 test are pending: llmtest review"
    assert cassette_of(recorded).read_text("utf-8") == before
    gone(monkeypatch)
    monkeypatch.chdir(recorded.path)
    assert commands.main(["accept"]) == 0
    assert "order: A-8" in cassette_of(recorded).read_text("utf-8")
    assert recorded.run(SUITE).counts == {"passed": 1}


def test_in_ci_a_difference_is_told_and_nothing_is_kept(recorded: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider(*ROME)
    monkeypatch.setenv("CI", "1")

    outcome = recorded.run(SUITE, "--llmtest-record=verify")

    assert "  review    pytest --llmtest-record=verify test_it.py::test_refund; llmtest review\n" in outcome.text
    assert "  (nothing was kept: CI is set; pytest --llmtest-report=FOLDER keeps it)\n" in outcome.text
    assert not (recorded.path / ".llmtest" / "pending").exists()


def test_where_there_is_no_cassette_to_compare_with_the_test_fails(suite: Suite, provider: Any) -> None:
    provider(*STEPS)

    outcome = suite.run(SUITE, "--llmtest-record=verify")

    assert outcome.counts == {"failed": 1}
    assert "no cassette yet: there is no test_refund.yaml\n  chat openai:gpt-5\n" in outcome.text
    assert not cassette_of(suite).exists()


def test_the_calls_of_a_failing_test_are_not_compared(recorded: Suite, provider: Any) -> None:
    provider(*ROME)

    outcome = recorded.run(SUITE.replace('"Done."', '"Never."'), "--llmtest-record=verify")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 2 calls not compared, because the test failed"


def test_unused_steps_name_the_command_that_removes_them_unless_the_test_fails_for_another_reason(recorded: Suite) -> None:
    unused = f"{APP}\n@pytest.mark.llm_cassette\ndef test_refund():\n    pass\n"
    before = cassette_of(recorded).read_text("utf-8")
    recorded.ini(INI + "llmtest_stale = ignore")

    told = recorded.run(unused)
    failing = recorded.run(unused + "    assert False\n", "--snapshot-update")

    assert "  remove them: pytest test_it.py::test_refund --snapshot-update\n" in told.text
    assert "2 of 2 steps of the script were never used\n" in failing.text
    assert "--snapshot-update" not in failing.text
    assert cassette_of(recorded).read_text("utf-8") == before


# -- threads that have no context of the test

THREADS = {
    "a thread": "in_thread(lambda: ChatOpenAI(model='gpt-5').invoke('hi').text)",
    "a pool": "in_pool(lambda: ChatOpenAI(model='gpt-5').invoke('hi').text)",
    "a loop of its own": "in_thread(lambda: asyncio.run(in_loop('hi')))",
    "a stream": "in_thread(lambda: ''.join(c.text for c in ChatOpenAI(model='gpt-5').stream('hi')))",
    "a graph": "in_thread(lambda: ask('hi'))",
    "a raw SDK": "in_thread(lambda: openai.OpenAI().responses.create(model='gpt-5', input='hi').output_text)",
}


@pytest.mark.usefixtures("clients_left_open")
@pytest.mark.parametrize("work", THREADS)
def test_calls_of_a_bare_thread_belong_to_the_open_test(
    work: str, suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""{APP}
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
import openai

def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]

def in_pool(work):
    with ThreadPoolExecutor() as pool:
        return pool.submit(work).result()

async def in_loop(prompt):
    async with openai.AsyncOpenAI() as client:
        return (await client.responses.create(model="gpt-5", input=prompt)).output_text

@pytest.mark.llm_cassette
def test_refund():
    assert {THREADS[work]} == "One."
    assert {THREADS[work].replace("hi", "ho")} == "Two."
"""
    suite.ini(
        INI.replace(
            "= error", "= error\n    ignore:unclosed:ResourceWarning\n    ignore::pytest.PytestUnraisableExceptionWarning"
        )
    )
    provider("One.", "Two.")

    assert suite.run(source, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(source).counts == {"passed": 1}


def test_threads_that_run_at_the_same_time_have_their_own_answers(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""{APP}
import threading
from concurrent.futures import ThreadPoolExecutor

@pytest.mark.llm_cassette
def test_refund():
    both, model = threading.Barrier(2), ChatOpenAI(model="gpt-5")
    def work(city):
        both.wait()
        return model.invoke(f"the weather in {{city}}?").text
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ["Paris", "Rome"])) == ["Rain.", "Sun."]
"""
    provider(on(contains="Paris") >> "Rain.", on(contains="Rome") >> "Sun.")

    assert suite.run(source, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    for _ in range(5):
        assert suite.run(source).counts == {"passed": 1}


def test_a_recording_of_the_test_has_the_calls_of_its_bare_threads_and_one_within_it_does_not(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""{APP}
import threading
from llmtest import record

@pytest.mark.llm_cassette
def test_refund(llm_recording):
    with record() as inner:
        thread = threading.Thread(target=lambda: ChatOpenAI(model="gpt-5").invoke("hi"))
        thread.start()
        thread.join()
    assert (len(llm_recording.models), len(inner.models), len(inner.unseen_calls)) == (1, 0, 1)
    inner.unseen_calls.clear()
"""
    provider("One.")

    assert suite.run(source, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(source).counts == {"passed": 1}


def test_a_thread_of_a_test_that_is_over_is_not_recorded_by_the_next(suite: Suite, provider: Any) -> None:
    source = f"""{APP}
import threading
go, done = threading.Event(), threading.Event()

def late():
    while not go.wait(0.01):
        pass
    ChatOpenAI(model="gpt-5", max_retries=0).invoke("late")
    done.set()

@pytest.mark.llm_cassette
def test_first():
    ChatOpenAI(model="gpt-5").invoke("hi")
    threading.Thread(target=late, daemon=True).start()

@pytest.mark.llm_cassette
def test_refund():
    go.set()
    assert done.wait(10)
    ChatOpenAI(model="gpt-5").invoke("ho")
"""
    provider(on(contains="hi") >> "One.", on(contains="ho") >> "Two.", on(contains="late") >> "Late.")

    outcome = suite.run(source, "--llmtest-record=once")

    assert "Late." not in cassette_of(suite).read_text("utf-8")
    assert outcome.part("llmtest: cassettes").splitlines() == [
        "test_it.py::test_first: 1 call recorded",
        "test_it.py::test_refund: 1 call recorded",
    ]


# -- a recording that is interrupted

INTERRUPTED = f"""{APP}
import os

@pytest.mark.llm_cassette
def test_refund():
    assert ChatOpenAI(model="gpt-5").invoke("Refund A-7.")
    HOW
"""


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "pytest.exit('enough')", "raise SystemExit"])
def test_an_interrupted_recording_leaves_the_old_file_and_no_cassette_open(how: str, recorded: Suite, provider: Any) -> None:
    before = cassette_of(recorded).read_text("utf-8")
    provider("One.")
    recorded.ini(INI.replace("= error", "= ignore"))

    with suppress(KeyboardInterrupt):
        recorded.run(INTERRUPTED.replace("HOW", how), "--llmtest-record=rewrite")

    assert cassette_of(recorded).read_text("utf-8") == before
    assert [path.name for path in cassette_of(recorded).parent.iterdir()] == ["test_refund.yaml"]
    assert (hearing.listener(), providers.is_any_open()) == (None, False)


def test_a_worker_that_crashes_leaves_the_old_file(recorded: Suite, provider: Any) -> None:
    before = cassette_of(recorded).read_text("utf-8")
    provider("One.")

    outcome = recorded.run_on_worker(INTERRUPTED.replace("HOW", "os._exit(3)"), "--llmtest-record=rewrite")

    assert re.search("worker 'gw[01]' crashed while running 'test_it.py::test_refund'", outcome.text)
    assert cassette_of(recorded).read_text("utf-8") == before
    assert [path.name for path in cassette_of(recorded).parent.iterdir()] == ["test_refund.yaml"]


# -- secrets in the name of a test

KEY = "sk-proj-4eC39HqLyjWDarjtT1zdp7dc"
BY_KEY = f"""{APP}
@pytest.mark.llm_cassette
@pytest.mark.parametrize("key", ["{KEY}", "{KEY}x"])
def test_refund(key):
    assert ask("Refund A-7.") == "Done."
"""


def test_a_secret_in_the_parameters_of_a_test_is_in_no_file_and_no_name_of_one(
    suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider(*STEPS * 2)
    assert suite.run(BY_KEY, "--llmtest-record=once").counts == {"passed": 2}
    provider(*ROME * 2)
    assert suite.run(None, "--llmtest-record=verify").counts == {"failed": 2}
    gone(monkeypatch)

    outcome = suite.run(None, "-pno:cacheprovider")

    assert outcome.counts == {"passed": 2}
    assert sorted(re.sub("~[0-9a-f]+", "~", file.name) for file in suite.path.glob("cassettes/*/*.yaml")) == [
        "test_refund[-mask-secret-].~.yaml",
        "test_refund[-mask-secret-].~.yaml",
    ]
    pending = list(suite.path.glob(".llmtest/**/*.yaml"))
    ours = [file for file in suite.path.rglob("*") if not {".pytest_cache", "__pycache__", ".secrets"} & set(file.parts)]
    texts = {file: file.read_text("utf-8") for file in ours if file.suffix not in (".py", ".ini") and file.is_file()}
    assert len(pending) == 2
    assert [file for file, text in texts.items() if KEY in text or KEY in str(file)] == []
