"""Cassettes in a user's suite: the marker, `--llmtest-record`, and what a report says of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtest import call, say
from llmtest.cli import commands
from llmtest.langchain import recorded_classes, recorded_tools  # noqa: F401  # imported once for all inner runs
from llmtest.pytest_plugin import cassettes as _imported_once  # noqa: F401
from llmtest.wire import scripted_server
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
    assert "the system prompt has changed: line 1  (steps 1, 2)" in outcome.text


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


def test_a_tool_that_is_not_named_runs(recorded: Suite) -> None:
    assert recorded.run(SUITE + '    assert ran == ["A-7"]\n').counts == {"passed": 1}


def test_an_ini_key_gives_all_tests_of_a_folder_a_cassette(suite: Suite, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.ini(INI + "llmtest_cassettes = test_it.py")
    bare = SUITE.replace("@pytest.mark.llm_cassette\n", "")
    provider(*STEPS)

    assert suite.run(bare, "--llmtest-record=once").counts == {"passed": 1}
    gone(monkeypatch)
    assert suite.run(bare).counts == {"passed": 1}


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
    assert suite.run_on_workers(source).counts == {"passed": 4}


def test_a_test_that_calls_no_model_records_nothing(suite: Suite) -> None:
    outcome = suite.run("import pytest\n\n@pytest.mark.llm_cassette\ndef test_refund():\n    pass\n", "--llmtest-record=once")

    assert outcome.counts == {"passed": 1}
    assert "the test called no real model, so nothing was recorded" in outcome.text
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

    assert outcome.counts == {"passed": 1, "error": 1}
    assert (
        'cassette differs: tool argument order "A-7" → "A-8" at openai:gpt-5 (1 of 4 lines, 1 cause)\n'
        "  chat openai:gpt-5\n"
        '-   < a1: call1 refund(order="A-7")\n'
        '+   < a1: call1 refund(order="A-8")  ◀ first difference\n'
        "  … 2 unchanged lines\n"
        "  tokens  0 in, 0 out, 2 calls without usage -> 0 in, 0 out, 2 calls without usage\n"
        "  cassette  cassettes/test_it/test_refund.yaml\n"
        "  accept    llmtest accept test_it.py::test_refund\n"
        "  review    llmtest review\n"
    ) in outcome.text
    assert outcome.part("llmtest: cassettes") == "cassettes of 1 test are pending: llmtest review, or llmtest accept"
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

    assert "  accept    pytest --llmtest-record=rewrite test_it.py::test_refund\n" in outcome.text
    assert "  (nothing was kept: CI is set; pytest --llmtest-report=FOLDER keeps it)\n" in outcome.text
    assert not (recorded.path / ".llmtest" / "pending").exists()


def test_where_there_is_no_cassette_to_compare_with_the_test_fails(suite: Suite, provider: Any) -> None:
    provider(*STEPS)

    outcome = suite.run(SUITE, "--llmtest-record=verify")

    assert outcome.counts == {"passed": 1, "error": 1}
    assert "no cassette yet: there is no test_refund.yaml\n  chat openai:gpt-5\n" in outcome.text
    assert not cassette_of(suite).exists()


def test_the_calls_of_a_failing_test_are_not_compared(recorded: Suite, provider: Any) -> None:
    provider(*ROME)

    outcome = recorded.run(SUITE.replace('"Done."', '"Never."'), "--llmtest-record=verify")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: cassettes") == "test_it.py::test_refund: 2 calls not compared, because the test failed"


def test_unused_steps_name_the_command_that_removes_them_and_a_failing_test_removes_none(recorded: Suite) -> None:
    shorter = f"""{APP}
@pytest.mark.llm_cassette
def test_refund():
    ChatOpenAI(model="gpt-5").invoke("hi")
"""
    before = cassette_of(recorded).read_text("utf-8")
    recorded.ini(INI + "llmtest_stale = ignore")

    told = recorded.run(shorter)
    recorded.run(shorter + "    assert False\n", "--snapshot-update")

    assert "  remove them: pytest test_it.py::test_refund --snapshot-update\n" in told.text
    assert cassette_of(recorded).read_text("utf-8") == before
