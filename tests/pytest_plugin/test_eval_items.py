"""The repeats of one case: what a failed run is, what each repeat has of its own, and what a failing case shows."""

from __future__ import annotations

import pytest

from llmtest.evals import Results

HEAD = """
import asyncio, sys, threading, time, warnings
import pytest
from llmtest import ScriptedChatModel, call, count_tokens, record, say
from llmtest.evals import Dataset, Score, contains

ONE = Dataset([{"id": "one", "inputs": "hi", "expected": "Hello"}], name="one")
TWO = Dataset([{"id": "one", "inputs": "hi", "expected": "Hello"}, {"id": "two", "inputs": "hi", "expected": "Hello"}], name="two")
runs = []

def evaluate(**more):
    return pytest.mark.llm_eval(**{"dataset": ONE, "repeats": 10, "at_least": .5, **more})
"""


def results(suite):
    (session,) = (suite.path / ".llmtest" / "evals").iterdir()
    return Results.load(session)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("assert 1 == 2", "assert 1 == 2"),
        ("assert 1 == 2, 'one is not two'", "one is not two"),
        ("raise TimeoutError('no answer')", "TimeoutError: no answer"),
        ("raise TimeoutError", "TimeoutError"),
        ("pytest.fail('not so')", "not so"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("ScriptedChatModel().invoke('hi')", "unexpected call: 1 call of a model, and the script is empty"),
        ("ScriptedChatModel('a', 'b').invoke('hi')", "unused step"),
        ("raise ExceptionGroup('both', [ValueError(), KeyError()])", "ExceptionGroup: both (2 sub-exceptions)"),
    ],
)
def test_a_run_that_ends_by_an_exception_has_failed(suite, body, reason):
    outcome = suite.run(HEAD + f"@evaluate()\ndef test_it(case):\n    {body}\n", "--llmtest-traces=off")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it[one]").splitlines() == [
        "fail: 0 of 9 passed, so the pass rate after 10 is from 0 % to 44.6 % (95 % confidence); 50 % is required",
        f"  9 x {reason}",
    ]
