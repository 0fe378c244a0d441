"""A case of the page: its figures, its checks with their witnesses, its compressed detail."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from llmtest import Recording, ScriptedChatModel, record
from llmtest.errors import BROKEN_RULE, Violation
from llmtest.matching import at_most, before, model
from llmtest.matching.engine import judge
from llmtest.protocol import check
from llmtest.trees.pending import Mismatch
from llmtest.trees.rendering import HEADER
from llmtest.viewer import cases
from llmtest.viewer.cases import Detail, FailureText, detail, pack
from tests.support.pages import trip


def parts(found: Detail) -> list[Any]:
    """What the page reads: when the case is opened, and, if it is apart, what few views need."""
    return [json.loads(gzip.decompress(base64.b64decode(part))) for part in found.data.split(" ")]


def opened(found: Detail) -> Any:
    (data,) = parts(found)
    return data


def greeting(*, name: str = "gpt-5-mini") -> Recording:
    with record() as recording:
        ScriptedChatModel("Hello there", model_name=name).invoke("hi")
    return recording


def test_figures_are_summed_over_recordings() -> None:
    found = detail("test", [greeting(), greeting()])

    assert (found.input_tokens, found.output_tokens) == (2, 4)
    assert found.cost is not None
    assert found.words == "gpt-5-mini"
    assert len(opened(found)["traces"]) == 2


def test_a_recording_without_a_model_leaves_the_figures_of_others() -> None:
    with record() as nothing:
        pass

    found = detail("test", [nothing, greeting()])

    assert (found.input_tokens, found.output_tokens) == (1, 2)


def test_what_few_views_need_is_apart_where_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = [greeting(), greeting()]
    (whole,) = parts(detail("test", recordings))
    monkeypatch.setattr(cases, "MIN_APART", len(json.dumps(whole["later"])) // 2)

    first, later = parts(detail("test", recordings))

    assert {**first, "later": later} == whole
    assert [sorted(trace) for trace in later] == [["abouts", "graphs", "tree"]] * 2


def test_a_test_that_only_failed_has_its_failure() -> None:
    found = detail("tests/test_a.py::test_a", [], failure=FailureText("assert 1 == 2", "E   assert 1 == 2", "def test_a(): ..."))

    data = opened(found)
    assert data["failure"] == "E   assert 1 == 2"
    assert data["source"] == "def test_a(): ..."
    assert data["assistant"].startswith("The test `tests/test_a.py::test_a` fails.\n\n## Cause\n\n`````text\nE   assert 1 == 2\n")
    assert (data["traces"], found.tree, found.cost) == ([], "", None)


def test_a_case_that_passed_has_nothing_for_an_assistant() -> None:
    assert opened(detail("test", [greeting()]))["assistant"] == ""


def test_a_rule_has_its_answer_and_the_runs_of_its_events() -> None:
    recording = trip()
    answers = [(0, answer) for answer in judge(recording, [before("flights", "book"), at_most(2, model())])]

    held, broken = opened(detail("test", [recording], answers=answers))["checks"]

    assert (held["holds"], held["code"], held["runs"]) == (True, "`flights` before `book`", [])
    assert (broken["holds"], broken["what"]) == (False, "rule")
    assert [(at, kind) for at, _, _, kind in broken["runs"]] == [(0, "on_chat_model_start")]
    assert recording.order().runs[broken["runs"][0][1]].kind == "chat"


def test_an_answer_without_a_recording_is_looked_for_in_all() -> None:
    recordings = [greeting(), trip()]
    (answer,) = judge(recordings[1], [at_most(2, model())])

    (told,) = opened(detail("test", recordings, answers=[(None, answer)]))["checks"]

    assert [at for at, *_ in told["runs"]] == [1]


def test_an_event_that_no_recording_of_the_page_has_leads_nowhere() -> None:
    (answer,) = judge(trip(), [at_most(2, model())])

    (told,) = opened(detail("test", [greeting()], answers=[(None, answer)]))["checks"]

    assert told["runs"] == []


def test_a_broken_rule_is_told_once() -> None:
    recording = trip()
    answers = [(0, answer) for answer in judge(recording, [at_most(2, model())])]
    violations = [Violation(BROKEN_RULE, str(answers[0][1])), Violation("unused step", "1 step was never used")]

    told = opened(detail("test", [recording], violations=violations, answers=answers))["checks"]

    assert [(one["what"], one["code"]) for one in told] == [("violation", "unused step"), ("rule", "a model at most twice")]


def test_a_violation_of_the_protocol_has_its_witnesses(page: Any) -> None:
    from langchain_core.callbacks import CallbackManager

    with record() as recording:
        run = CallbackManager.configure().on_chain_start({}, {}, name="twice")
        run.on_chain_end({})
        run.on_chain_end({})

    told = opened(detail("test", [recording], violations=check(recording)))["checks"]

    assert told[0]["what"] == "violation"
    assert {(at, run) for at, run, _, _ in told[0]["runs"]} == {(0, 0)}


def test_snapshots_are_compared_and_told_to_an_assistant() -> None:
    mismatch = Mismatch("test", Path("trip.tree"), f"{HEADER}\ntool a()\n  < 1\n", f"{HEADER}\ntool a()\n  < 2\n")

    data = opened(detail("test", [], comparisons=[mismatch], failure=FailureText("it differs")))

    assert [shot["name"] for shot in data["snapshots"]] == ["trip.tree"]
    assert "## Difference" in data["assistant"]
    assert "  tool a()\n-   < 1\n+   < 2  ◀ first difference" in data["assistant"]


def test_secrets_in_failures_are_masked() -> None:
    found = detail(
        "test", [], failure=FailureText("password: 'hunter2'", "{'password': 'hunter2'}", "x = {'password': 'hunter2'}")
    )

    assert "hunter2" not in json.dumps(opened(found))


def test_the_same_text_is_packed_into_the_same_letters() -> None:
    assert pack("hello \ud800") == pack("hello \ud800")
    assert not set("<>&\"'") & set(pack("</script>" * 100))


def test_a_detail_travels_as_plain_data() -> None:
    found = detail("test", [greeting()])

    assert Detail.from_plain(json.loads(json.dumps(found.to_plain()))) == found
