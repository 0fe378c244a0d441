"""Judges that take part in an evaluation, and that were never compared with people."""

from __future__ import annotations


def test_a_judge_without_a_calibration_is_a_warning(suite) -> None:
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    judging = """
import pytest
from llmtest import ScriptedChatModel
from llmtest import respond, structured
from llmtest.evals import CaseRun, Dataset, judge, qualify

DATA = Dataset([{"id": name, "inputs": name} for name in ("a", "b")], name="letters")

def judging(name):
    verdict = lambda request: structured({"why": "", "passed": "Lyon" not in request.messages[-1].text})
    return judge(ScriptedChatModel(respond(verdict).repeat()), "It names Paris.", name=name)

labelled = [(CaseRun(case, city), city == "Paris") for case in DATA for city in ["Paris", "Lyon"] * 9]
good = qualify(judging("tested"), labelled, agreement=0.9)
unknown = judging("untested")

@pytest.mark.llm_eval(dataset=DATA, at_least=0.3, repeats=10, scorers=[good, unknown])
def test_letter(case):
    return "Paris"
"""
    outcome = suite.run(judging)

    assert "the judge `untested` of llm_eval() has not been shown to judge as people do" in outcome.text
    assert "`tested`" not in outcome.text
