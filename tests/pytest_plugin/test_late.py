"""What threads of a test do after its end is an error of that test."""

from __future__ import annotations

from tests.pytest_plugin.conftest import Suite

LATE = """
import threading
import pytest
from llmtest import ScriptedChatModel

go, came = threading.Event(), threading.Event()

def late(model, gate):
    gate.wait()
    try:
        model.invoke("too late")
    except AssertionError:
        came.set()

def test_first():
    model = ScriptedChatModel()
    threading.Thread(target=late, args=(model, go), name="late").start()

def test_second(llm_recording):
    go.set()
    assert came.wait(10)

def test_last():
    model = ScriptedChatModel()
    pause = type("Pause", (), {"wait": lambda self: threading.Event().wait(0.2)})()
    threading.Thread(target=late, args=(model, pause), name="later").start()
"""


def test_a_thread_that_outlives_its_test_is_told_in_that_test(suite: Suite) -> None:
    outcome = suite.run(LATE, "--llmtest-trees=off")

    assert outcome.counts == {"passed": 3, "error": 2}
    assert outcome.exit_code == 1
    assert outcome.part("ERROR at teardown of test_first") == (
        "after the end of this test, which has not waited for its thread `late`\n\n"
        "unexpected model call 1: the script has no steps\n"
        "  came  human 'too late' (1 message)\n"
        "  add a step for this call, or find out why the program calls the model again"
    )
    assert "which has not waited for its thread `later`" in outcome.part("ERROR at teardown of test_last")


def test_workers_tell_of_threads_that_outlive_their_test_too(suite: Suite) -> None:
    outcome = suite.run_on_worker(LATE, "--llmtest-trees=off", "--dist=loadfile")

    assert outcome.counts == {"passed": 3, "error": 2}
    assert outcome.exit_code == 1
    assert "which has not waited for its thread `late`" in outcome.part("ERROR at teardown of test_first")
