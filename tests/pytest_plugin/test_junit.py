"""JUnit files: properties of tests, and attachments for GitLab."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.pytest_plugin.conftest import Suite

SUITE = """
import pytest
from llmtest import say

def test_passes(scripted_chat_model):
    print("said")
    scripted_chat_model(say("a", usage=(3, 1))).invoke("hi")

def test_fails(scripted_chat_model):
    print("said")
    scripted_chat_model(say("a", usage=(3, 1)), say("b", usage=(4, 2))).invoke("hi")

def test_else():
    pass
"""


def cases(suite: Suite) -> dict[str | None, ElementTree.Element]:
    return {case.get("name"): case for case in ElementTree.parse(suite.path / "junit.xml").iter("testcase")}


def properties(case: ElementTree.Element) -> dict[str | None, str | None]:
    return {found.get("name"): found.get("value") for found in case.iter("property")}


@pytest.mark.parametrize("on_workers", [False, True], ids=["one process", "workers"])
def test_tokens_cost_and_cause_are_properties(suite: Suite, on_workers: bool) -> None:
    run = suite.run_on_worker if on_workers else suite.run

    run(SUITE, "--junitxml=junit.xml")

    spent = {"llmtest_input_tokens": "3", "llmtest_output_tokens": "1", "llmtest_model_calls": "1"}
    assert {name: properties(case) for name, case in cases(suite).items()} == {
        "test_passes": spent,
        "test_fails": spent | {"llmtest_cause": "1 of 2 steps of the script was never used"},
        "test_else": {},
    }


def test_the_cost_is_one_where_it_is_known(suite: Suite) -> None:
    pytest.importorskip("genai_prices")

    suite.run(
        """
        from llmtest import say

        def test_it(scripted_chat_model):
            scripted_chat_model(say("a", usage=(1_000_000, 0)), model_name="gpt-4o").invoke("hi")
        """,
        "--junitxml=junit.xml",
    )

    assert properties(cases(suite)["test_it"])["llmtest_cost_usd"] == "2.500000"


def test_a_rerun_replaces_the_properties_of_the_attempt_before(suite: Suite) -> None:
    suite.run(
        """
        from llmtest import say

        attempts = []

        def test_it(scripted_chat_model):
            attempts.append(1)
            scripted_chat_model(say("a", usage=(len(attempts), 1))).invoke("hi")
            assert len(attempts) == 2
        """,
        "--reruns=1",
        "--junitxml=junit.xml",
    )

    found = [(one.get("name"), one.get("value")) for one in cases(suite)["test_it"].iter("property")]
    assert found == [("llmtest_input_tokens", "2"), ("llmtest_output_tokens", "1"), ("llmtest_model_calls", "1")]


@pytest.mark.parametrize("logging", ["no", "log", "system-out", "system-err", "out-err", "all"])
def test_gitlab_gets_one_attachment_for_a_test_that_failed(suite: Suite, monkeypatch: pytest.MonkeyPatch, logging: str) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_PROJECT_DIR", str(suite.path.parent))

    outcome = suite.run(SUITE, "--junitxml=junit.xml", "-o", f"junit_logging={logging}")

    path = f"{suite.path.name}/.llmtest/failures.md"
    found = {name: [out.text or "" for out in case.iter("system-out")] for name, case in cases(suite).items()}
    assert [text.count(f"[[ATTACHMENT|{path}]]") for text in found["test_fails"]] == [1]
    assert not any("ATTACHMENT" in text for name in ("test_passes", "test_else") for text in found[name])
    assert "ATTACHMENT" not in outcome.text


def test_the_attachment_is_that_of_the_report(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")

    suite.run(SUITE, "--junitxml=junit.xml", "--llmtest-report=report")

    (out,) = cases(suite)["test_fails"].iter("system-out")
    assert out.text == "[[ATTACHMENT|report/failures.md]]"


@pytest.mark.parametrize("options", [["--junitxml=junit.xml", "-o", "llmtest_failures=false"], []], ids=["no file", "no JUnit"])
def test_without_a_file_or_a_place_for_it_there_is_none(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")

    outcome = suite.run(SUITE, *options)

    assert outcome.counts == {"passed": 2, "failed": 1}
    assert not options or list(cases(suite)["test_fails"].iter("system-out")) == []


def test_elsewhere_there_is_none(suite: Suite) -> None:
    suite.run(SUITE, "--junitxml=junit.xml")

    assert list(cases(suite)["test_fails"].iter("system-out")) == []
