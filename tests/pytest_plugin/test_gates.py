"""No test hangs at a gate: at the end of the test function all of them open, and one that was never released is told."""

from __future__ import annotations

import re

import pytest

IMPORTS = """
import asyncio, threading
import pytest
from llmtest import ScriptedChatModel, hold, say

"""


def is_unreleased(text: str, line: int, *calls: str) -> bool:
    """Whether `text` is all that is said of the gate that was made in this line; not its exact words."""
    said = rf"the gate was not released .*\n  hold\(\) at test_it\.py:{line}\n"
    said += "".join(rf"  {call}\n" for call in calls)
    return re.fullmatch(said + r"  call gate\.release\(\) .*", text) is not None


def test_a_gate_that_was_never_released_fails_the_test_and_lets_its_thread_end(suite):
    outcome = suite.run(
        IMPORTS
        + """
@pytest.fixture
def start():
    threads = []
    def start(target):
        threads.append(threading.Thread(target=target))
        threads[0].start()
    yield start
    threads[0].join()

def test_it(start):
    gate = hold()
    model = ScriptedChatModel(gate, "Yes.")
    start(lambda: model.invoke("hi"))
    gate.wait()
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert is_unreleased(outcome.part("test_it"), 16, "waits  model call  human 'hi'")


@pytest.mark.parametrize("fixture", ["", "llm_recording"])
def test_a_gate_that_an_async_test_leaves_to_a_task_is_told(suite, fixture):
    outcome = suite.run(
        IMPORTS
        + f"""
tasks = []

@pytest.mark.asyncio
async def test_it({fixture}):
    gate = hold()
    tasks.append(asyncio.create_task(ScriptedChatModel(gate, "Yes.").ainvoke("hi")))
    await gate.reached()
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert is_unreleased(outcome.part("test_it"), 10, "waits  model call  human 'hi'")


def test_a_gate_whose_call_ended_with_its_event_loop_is_told(suite):
    outcome = suite.run(
        IMPORTS
        + """
def test_it():
    gate = hold()
    async def main():
        task = asyncio.create_task(ScriptedChatModel(gate, "Yes.").ainvoke("hi"))
        await gate.reached()
    asyncio.run(main())
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert is_unreleased(outcome.part("test_it"), 7, "cancelled  model call  human 'hi'")


@pytest.mark.parametrize(
    "test",
    [
        "async def test_it():\n    await model.ainvoke('hi')",
        "async def test_it():\n    with pytest.raises(AssertionError):\n        await model.ainvoke('hi')",
        "async def test_it():\n    await asyncio.wait([asyncio.create_task(model.ainvoke('hi'))])",
        "async def test_it():\n    await asyncio.to_thread(model.invoke, 'hi')",
    ],
    ids=["awaited", "swallowed", "another task", "another thread"],
)
def test_a_test_that_waits_for_a_call_which_nobody_lets_go_ends(suite, test):
    outcome = suite.run(
        f"""{IMPORTS}
gate = hold(timeout_s=0.05)

@pytest.fixture
def model():
    return ScriptedChatModel(gate, "Yes.")

@pytest.mark.asyncio
{test.replace("()", "(model)", 1)}
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert "the gate was not released for 0.05 s, so it opened by itself, and calls waited at it" in outcome.text


def test_a_fixture_that_waits_for_its_call_ends_though_another_fixture_failed(suite):
    outcome = suite.run(
        IMPORTS
        + """
@pytest.fixture
def waiting():
    gate = hold()
    thread = threading.Thread(target=lambda: ScriptedChatModel(gate, "Yes.").invoke("hi"))
    thread.start()
    gate.wait()
    yield
    thread.join()

@pytest.fixture
def failing(waiting):
    raise RuntimeError("no")

def test_it(failing):
    pass
"""
    )

    assert outcome.counts == {"error": 2}
    assert is_unreleased(outcome.part("ERROR at teardown of test_it"), 8, "waits  model call  human 'hi'")


def test_a_gate_that_is_left_closed_in_a_teardown_is_told(suite):
    outcome = suite.run(
        IMPORTS
        + """
threads = []

@pytest.fixture
def late():
    yield
    gate = hold()
    threads.append(threading.Thread(target=lambda: ScriptedChatModel(gate, "Yes.").invoke("hi")))
    threads[0].start()
    gate.wait()

def test_it(late):
    pass

def test_other():
    threads[0].join()
"""
    )

    assert outcome.counts == {"passed": 2, "error": 1}
    assert is_unreleased(outcome.part("ERROR at teardown of test_it"), 11, "waits  model call  human 'hi'")


def test_a_gate_at_which_a_module_s_fixture_waits_belongs_to_the_test(suite):
    outcome = suite.run(
        IMPORTS
        + """
@pytest.fixture(scope="module")
def waiting():
    gate = hold()
    thread = threading.Thread(target=lambda: ScriptedChatModel(gate, "Yes.").invoke("hi"))
    thread.start()
    gate.wait()
    yield
    thread.join()

def test_it(waiting):
    pass

def test_other(waiting):
    pass
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert is_unreleased(outcome.part("test_it"), 8, "waits  model call  human 'hi'")


def test_a_test_that_fails_itself_shows_the_gate_beside_its_own_error(suite):
    outcome = suite.run(
        IMPORTS
        + """
def test_it():
    gate = hold()
    threading.Thread(target=lambda: ScriptedChatModel(gate, "Yes.").invoke("hi")).start()
    gate.wait()
    assert 1 == 2
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert "assert 1 == 2" in outcome.part("test_it")
    assert is_unreleased(outcome.part("llmtest: violations"), 7, "waits  model call  human 'hi'")


def test_a_test_that_released_its_gates_passes(suite):
    outcome = suite.run(
        IMPORTS
        + """
@pytest.mark.asyncio
async def test_it(llm_recording):
    gate = hold()
    model = ScriptedChatModel(say("It is ", gate, "sunny."))
    task = asyncio.create_task(model.ainvoke("weather?"))
    await gate.reached()
    gate.release()
    assert (await task).content == "It is sunny."

def test_other():
    pass
"""
    )

    assert outcome.counts == {"passed": 2}
