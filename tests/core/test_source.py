"""The line of the program that asked for something: how it is found, and how it is shown."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from traceback import walk_stack, walk_tb
from typing import Any

import pytest

from llmtest import hold, say
from llmtest.core.source import HARNESS, caller, definition_line, is_of, program_line, program_place, shown_line, shown_path


def called_from(module: str | None, file: str, function: Any = caller) -> Any:
    """What `function` returns when line 1 of a module calls it."""
    names: dict[str, Any] = {"function": function} | ({} if module is None else {"__name__": module})
    exec(compile("found = function()", file, "exec"), names)
    return names["found"]


# -- found


def test_the_caller_is_the_line_that_asks() -> None:
    found, line = caller(), sys._getframe().f_lineno

    assert found == f"{__file__}:{line}"


@pytest.mark.parametrize(
    "module", ["llmtest.scripts.script", "langchain_core.runnables.base", "langgraph.pregel", "tenacity", "asyncio"]
)
def test_frames_of_ours_of_langchain_and_of_python_are_passed_over(module: str) -> None:
    helper = called_from.__code__.co_firstlineno

    file, _, line = called_from(module, "framework.py").rpartition(":")

    assert (file, int(line) in range(helper, helper + 5)) == (__file__, True)


@pytest.mark.parametrize("module", ["__main__", "llmtest_demo.test_it", "langgraph_app", "app.langchain", "", None])
def test_other_modules_are_the_program(module: str | None) -> None:
    assert called_from(module, "program.py") == "program.py:1"


def test_an_example_in_a_docstring_is_a_program() -> None:
    assert called_from("llmtest.scripts.steps", "<doctest llmtest.scripts.say[0]>") == "<doctest llmtest.scripts.say[0]>:1"


async def gathering(waits: Any) -> str:
    """Wait as langchain-core does for `ainvoke`: in a task of its own, without a line of the program."""
    names: dict[str, Any] = {"__name__": "langchain_core.language_models", "asyncio": asyncio, "place": program_place}
    text = "async def ask(): return place()\nasync def wait(): return (await asyncio.gather(ask()))[0]"
    exec(compile(text, "chat_models.py", "exec"), names)
    found: str = await waits(names["wait"]())
    return found


@pytest.mark.parametrize(
    "waits",
    [lambda asked: asked, asyncio.create_task, lambda asked: asyncio.wait_for(asked, 5)],
    ids=["await", "task", "wait_for"],
)
def test_a_task_of_a_library_has_the_line_that_waits_for_it(waits: Any) -> None:
    line = gathering.__code__.co_firstlineno + 5

    assert asyncio.run(gathering(waits)) == f"{__file__}:{line}"


@pytest.mark.asyncio
async def test_what_runs_a_test_is_no_program() -> None:
    names: dict[str, Any] = {"__name__": "langchain_core.language_models", "place": program_place}
    exec(compile("async def ask(): return place()", "chat_models.py", "exec"), names)
    task = asyncio.create_task(names["ask"]())
    await asyncio.sleep(0)  # nothing waits for the task while it runs

    assert await task == ""


def test_a_thread_that_runs_only_the_framework_has_no_caller() -> None:
    found: list[str] = []
    names = {"__name__": "langchain_core.tracers", "tell": lambda value: found.append(value), "caller": caller}
    exec(compile("def work():\n    tell(caller())", "tracers.py", "exec"), names)
    thread = threading.Thread(target=names["work"])

    thread.start()
    thread.join()

    assert found == [""]


def test_who_is_passed_over_can_be_said() -> None:
    frames = lambda: list(walk_stack(sys._getframe(1)))  # noqa: E731
    of_community = called_from("langchain_community.tools", "theirs.py", frames)

    assert program_line(of_community, HARNESS) == "theirs.py:1"
    assert program_line(of_community, ()) == "theirs.py:1"
    assert program_line(of_community).startswith(f"{__file__}:")
    assert program_line([], ()) == ""


def test_the_lines_of_an_error_are_read_as_those_of_a_stack() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        called_from("app.service", "service.py", lambda: 1 / 0)

    frames = list(walk_tb(caught.value.__traceback__))

    assert program_line(reversed(frames), {__name__}) == "service.py:1"


def test_a_frame_is_of_its_module_and_of_its_top_package() -> None:
    frame = called_from("langchain_core.callbacks.manager", "manager.py", lambda: sys._getframe(1))

    assert is_of(frame, {"langchain_core.callbacks.manager"})
    assert is_of(frame, {"langchain_core"})
    assert not is_of(frame, {"langchain_core.callbacks", "manager"})


def test_a_definition_is_where_its_code_begins() -> None:
    code = test_a_definition_is_where_its_code_begins.__code__

    assert definition_line(code) == f"{__file__}:{code.co_firstlineno}"
    assert definition_line(None) == ""


# -- shown


def test_a_path_is_relative_when_it_lies_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert shown_path(f"{tmp_path / 'tests' / 'test_a.py'}:7") == f"{Path('tests') / 'test_a.py'}:7"
    assert shown_path(f"{tmp_path.parent / 'test_a.py'}:7") == f"{tmp_path.parent / 'test_a.py'}:7"
    assert shown_path(f"{tmp_path}_other{os.sep}test_a.py:7") == f"{tmp_path}_other{os.sep}test_a.py:7"
    assert shown_path(f"{Path('.') / 'a' / '..' / 'test_a.py'}:7") == "test_a.py:7"
    assert shown_path("<stdin>:1") == "<stdin>:1"
    assert shown_path("a thread whose target is LangChain's") == "a thread whose target is LangChain's"
    assert shown_path("") == ""
    assert shown_path(f"{tmp_path / 'cassettes' / 'test_a.yaml'}") == f"{Path('cassettes') / 'test_a.yaml'}"


def test_a_line_is_found_and_shown_where_blocking_calls_are_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> str:
        raise AssertionError("a blocking call")

    with monkeypatch.context() as patched:  # as blockbuster does it on an event loop
        patched.setattr(os, "getcwd", forbidden)
        patched.setattr(os.path, "abspath", forbidden)
        step, gate = say("Hello"), hold()
        shown = shown_path(step.where)

    assert step.where.startswith(f"{__file__}:")
    assert gate.where.startswith(f"{__file__}:")
    assert step.where.endswith(shown)


def test_a_line_is_shown_with_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text("import os\n    run()  \n", "utf-8")
    monkeypatch.chdir(tmp_path)

    assert shown_line(f"{tmp_path / 'program.py'}:2") == "program.py:2  run()"
    assert shown_line(f"{tmp_path / 'program.py'}:9") == "program.py:9"
    assert shown_line("<stdin>:1") == "<stdin>:1"
    assert shown_line("") == ""
