"""Results of a session, made by hand."""

from __future__ import annotations

from llmtest.reports.results import FailedPhase, Result, Results

DIFF = """\
snapshot:
  chat Model
-   < a1: "Hello"
+   < a1: "Goodbye"  ◀ first difference"""


def failure(cause: str = "snapshot differs", *, details: str = DIFF, when: str = "call", line: int = 7) -> FailedPhase:
    return FailedPhase(when, cause, f"like {cause}", "tests/test_it.py", line, details)


def failed(test: str, *failures: FailedPhase) -> Result:
    return Result(f"tests/test_it.py::{test}", "failed", 0.5, failures or (failure(),))


TOKENS = {"total_tokens": 1500, "input_tokens": 1000, "output_tokens": 500, "requests": 3}

MIXED = Results(
    (
        failed("test_a"),
        Result("tests/test_it.py::test_b", "passed", 1.5, tokens=TOKENS, cost=0.0123),
        failed("test_c"),
        Result(
            "tests/test_it.py::test_d",
            "error",
            0.1,
            (failure("1 of 2 steps was never used", details="", when="teardown"),),
            TOKENS,
        ),
        Result("tests/test_it.py::test_e", "skipped"),
    )
)
