"""What a failing test shows: the message first and once, the user's frames, a line for each row of the others."""

from __future__ import annotations

import re

import pytest

from tests.pytest_plugin.conftest import Suite

AGENT = '''
from langchain.agents import create_agent
from langchain_core.tools import tool
from llmtest import ScriptedChatModel, call


@tool
def search(query: str) -> str:
    """Search the web."""
    if query == "bad":
        raise ValueError("no such page")
    return "found"


def ask(*steps):
    agent = create_agent(ScriptedChatModel(*steps), [search])
    return agent.invoke({"messages": [("user", "go")]})
'''


def told(text: str) -> list[str]:
    """The lines of a traceback; how many frames are folded, and the line of a frame of ours, change with versions."""
    text = re.sub(r"\d+ frames of [\w, ]+?(?=, raised|  )", "N frames of others", text)
    return re.sub(r"_ _[_ ]*", "_ _", re.sub(r"script\.py:\d+", "script.py:N", text)).splitlines()


def test_a_violation_within_an_agent_is_told_first_and_once(suite: Suite) -> None:
    outcome = suite.run(f'{AGENT}def test_it(llm_recording):\n    ask(call("search", query="a"))\n')

    assert told(outcome.part("test_it")) == [
        "E   llmtest.errors.ViolationError: unexpected model call 2: the script has 1 step, all served",
        "E     came  tool 'found' (3 messages)",
        "E     tools  `search`",
        "E     node  model",
        "E     served  step 1  call('search', query='a')  at test_it.py:18",
        "E     add a step for this call, or find out why the program calls the model again",
        "_ _",
        "",
        "    def test_it(llm_recording):",
        '>       ask(call("search", query="a"))',
        "",
        "test_it.py:18: ",
        "_ _",
        "test_it.py:16: in ask",
        '    return agent.invoke({"messages": [("user", "go")]})',
        "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        "  … N frames of others, raised at llmtest/scripts/script.py:N  (--llmtest-frames=all)",
    ]
    assert outcome.part("llmtest: run tree").splitlines()[-3:] == [
        "      ! ViolationError: see above",
        "    ! ViolationError: see above",
        "  ! ViolationError: see above",
    ]


def test_the_frame_of_a_tool_stays(suite: Suite) -> None:
    outcome = suite.run(f'{AGENT}def test_it(llm_recording):\n    ask(call("search", query="bad"))\n')

    lines = told(outcome.part("test_it"))
    assert lines[0] == "E   ValueError: no such page"
    assert lines[-11:] == [
        "  … N frames of others  (--llmtest-frames=all)",
        "",
        "query = 'bad'",
        "",
        "    @tool",
        "    def search(query: str) -> str:",
        '        """Search the web."""',
        '        if query == "bad":',
        '>           raise ValueError("no such page")',
        "",
        "test_it.py:10: ValueError",
    ]


def test_a_violation_behind_another_exception_is_in_the_message(suite: Suite) -> None:
    outcome = suite.run(
        f"""{AGENT}
def test_it(llm_recording):
    try:
        ask()
    except AssertionError as error:
        raise KeyError("answer") from error
"""
    )

    assert told(outcome.part("test_it"))[:5] == [
        "E   KeyError: 'answer'",
        "E   llmtest.errors.ViolationError: unexpected model call 1: the script has no steps",
        "E     came  human 'go' (1 message)",
        "E     tools  `search`",
        "E     node  model",
    ]


def test_of_a_long_function_the_lines_around_the_failure_are_shown(suite: Suite) -> None:
    before = "".join(f"    x{number} = {number}\n" for number in range(20))
    after = "".join(f"            {number},\n" for number in range(20))
    outcome = suite.run(f"def test_it(llm_recording):\n{before}    assert [\n{after}    ] == 1\n")

    lines = told(outcome.part("test_it"))
    shown = lines[lines.index("    def test_it(llm_recording):") : lines.index("test_it.py:22: AssertionError")]
    assert shown == [
        "    def test_it(llm_recording):",
        "        …",
        *(f"        x{number} = {number}" for number in range(11, 20)),
        ">       assert [",
        *(f"                {number}," for number in range(4)),
        "        …",
        "",
    ]


@pytest.mark.parametrize("option", ["--llmtest-frames=all", "-ollmtest_frames=all", "--full-trace"])
def test_all_frames_are_shown_on_request(suite: Suite, option: str) -> None:
    outcome = suite.run(f'{AGENT}def test_it(llm_recording):\n    ask(call("search", query="bad"))\n', option)

    assert "langgraph/pregel/main.py" in outcome.text
    assert "frames of" not in outcome.text


@pytest.mark.parametrize("style", ["native", "line", "no"])
def test_other_styles_stay_as_they_are(suite: Suite, style: str) -> None:
    outcome = suite.run(f'{AGENT}def test_it(llm_recording):\n    ask(call("search", query="bad"))\n', f"--tb={style}")

    assert outcome.counts == {"failed": 1}
    assert "frames of" not in outcome.text


def test_a_test_that_does_not_use_us_is_left_alone(suite: Suite) -> None:
    outcome = suite.run("import asyncio\n\ndef test_it():\n    asyncio.run(None)\n")

    assert "asyncio/runners.py" in outcome.part("test_it")
    assert "frames of" not in outcome.text


def test_an_unread_setting_is_refused(suite: Suite) -> None:
    outcome = suite.run("def test_it(): pass\n", "-ollmtest_frames=al")

    assert "the ini key llmtest_frames is one of folded, all; got 'al'; did you mean `all`?" in outcome.errors


GROUP = """
import asyncio


async def fail(model, error):
    await model.ainvoke("go")
    raise error


async def both(model):
    async with asyncio.TaskGroup() as group:
        group.create_task(fail(model, ValueError("no such page\\nask again")))
        group.create_task(fail(model, KeyError("city")))


def test_it(scripted_chat_model):
    asyncio.run(both(scripted_chat_model("a", "a")))
"""


def test_a_group_names_its_exceptions_first_and_folds_frames_in_each(suite: Suite) -> None:
    outcome = suite.run(GROUP)

    lines = [re.sub(r'File ".*/test_it.py"', 'File "test_it.py"', line) for line in told(outcome.part("test_it"))]
    assert [line.replace("1 frame of asyncio", "N frames of others") for line in lines] == [
        "E   ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
        "E     ValueError: no such page",
        "E     KeyError: 'city'",
        "",
        "  + Exception Group Traceback (most recent call last):",
        '  |   File "test_it.py", line 16, in test_it',
        '  |     asyncio.run(both(scripted_chat_model("a", "a")))',
        "  |   … N frames of others  (--llmtest-frames=all)",
        '  |   File "test_it.py", line 10, in both',
        "  |     async with asyncio.TaskGroup() as group:",
        "  |   … N frames of others  (--llmtest-frames=all)",
        "  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
        "  +-+---------------- 1 ----------------",
        "    | Traceback (most recent call last):",
        '    |   File "test_it.py", line 6, in fail',
        "    |     raise error",
        "    | ValueError: no such page",
        "    | ask again",
        "    +---------------- 2 ----------------",
        "    | Traceback (most recent call last):",
        '    |   File "test_it.py", line 6, in fail',
        "    |     raise error",
        "    | KeyError: 'city'",
        "    +------------------------------------",
    ]
    assert "- ValueError: no such page; KeyError: 'city' [2 exceptions in ExceptionGroup]" in outcome.text


@pytest.mark.parametrize("style", ["native", "line"])
def test_a_group_in_another_style_stays_as_it_is(suite: Suite, style: str) -> None:
    outcome = suite.run(GROUP, f"--tb={style}")

    assert "frames of" not in outcome.text
    assert "\nE   ExceptionGroup" not in outcome.text


def test_a_cause_that_was_never_raised_stands_apart_from_the_message(suite: Suite) -> None:
    program = 'def test_it(llm_recording):\n    raise KeyError("city") from ValueError("no page")\n'

    lines = told(suite.run(program).part("test_it"))

    assert lines[:4] == ["E   KeyError: 'city'", "", "ValueError: no page", ""]


def test_a_subtest_shows_its_message_first(suite: Suite) -> None:
    program = """
def test_it(subtests, scripted_chat_model):
    with subtests.test("one"):
        assert scripted_chat_model("a").invoke("go").text == "b"
"""

    outcome = suite.run(program)

    assert outcome.part("test_it [one]").splitlines()[0] == "E   AssertionError: assert 'a' == 'b'"


@pytest.mark.parametrize("arguments", ["", "llm_recording"])
def test_an_exception_without_a_readable_message_does_not_end_the_session(suite: Suite, arguments: str) -> None:
    outcome = suite.run(f"""
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_it({arguments}):
    raise Odd


def test_next():
    pass
""")

    assert outcome.counts == {"failed": 1, "passed": 1}


def test_a_syntax_error_begins_with_what_is_wrong(suite: Suite) -> None:
    outcome = suite.run('def test_it(llm_recording):\n    compile("a b", "made.py", "exec")\n')

    assert told(outcome.part("test_it"))[:4] == [
        "E   SyntaxError: invalid syntax (made.py, line 1)",
        'E   File "made.py", line 1',
        "E     a b",
        "E       ^",
    ]
    assert "FAILED test_it.py::test_it - SyntaxError: invalid syntax (made.py, line 1)" in outcome.text


def test_of_a_recursion_the_outermost_and_the_innermost_frames_are_shown(suite: Suite) -> None:
    program = """
def down(number):
    if not number:
        raise ValueError("bottom")
    down(number - 1)


def test_it(llm_recording):
    down(30)
"""

    lines = told(suite.run(program).part("test_it"))

    frame = ["test_it.py:4: in down", "    down(number - 1)"]
    assert lines[:16] == [
        "E   ValueError: bottom",
        "_ _",
        "",
        "    def test_it(llm_recording):",
        ">       down(30)",
        "",
        "test_it.py:8: ",
        "_ _",
        *frame * 2,
        "  … 24 more frames  (--llmtest-frames=all)",
        *frame[:1],
        *frame[1:],
        *frame[:1],
    ]
    assert len(lines) < 40
