"""A pytest plugin that keeps what each test recorded as a script file, or answers from these files in place of the tests' steps.

`pytest -p tests.support.replayed_examples --scripts=FOLDER examples` writes a file for each test that has a recording, and names
in `problems.txt` the tests of which none can be made. With `--from-scripts` too, the doubles of each test answer from its file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtest import Script, ScriptedChatModel, ScriptedLLM
from llmtest.errors import ScriptError


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scripts", type=Path)
    parser.addoption("--from-scripts", action="store_true")


def pytest_collection(session: pytest.Session) -> None:
    kind = Replaying if session.config.getoption("--from-scripts") else Keeping  # as late as this, its fixtures come first
    session.config.pluginmanager.register(kind(session.config.getoption("--scripts")), "scripts-of-examples")


def _name(item: pytest.Item) -> str:
    return "".join(character if character.isalnum() else "-" for character in item.nodeid)[-120:]


class Keeping:
    """Writes the script of each test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Iterator[None]:
        result = yield
        recording = pyfuncitem.funcargs.get("llm_recording")
        if recording is not None:
            self._keep(recording, pyfuncitem)
        return result

    def _keep(self, recording: Any, item: pytest.Item) -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                script = Script.from_recording(recording, tokens=True)
                script.waive_steps()
                script.dump(self.folder / f"{_name(item)}.yaml")
                problems = [str(warning.message) for warning in told]
            except ScriptError as error:
                problems = [str(error)]
        if problems:
            with (self.folder / "problems.txt").open("a", encoding="utf-8") as file:
                file.write(f"{item.nodeid}: {problems[0].splitlines()[0]}\n")


class Replaying:
    """Gives the doubles of each test its script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts: dict[Path, Script] = {}
        """One for all doubles of a test, of either kind, made in it."""

    @pytest.fixture
    def scripted_chat_model(self, llm_recording: object, request: pytest.FixtureRequest) -> Callable[..., Any]:
        return self._maker(ScriptedChatModel, request.node)

    @pytest.fixture
    def scripted_llm(self, llm_recording: object, request: pytest.FixtureRequest) -> Callable[..., Any]:
        return self._maker(ScriptedLLM, request.node)

    def _maker(self, kind: Any, item: pytest.Item) -> Callable[..., Any]:
        path = self.folder / f"{_name(item)}.yaml"

        def make(*steps: Any, **fields: Any) -> Any:
            if not path.exists():
                return kind(*steps, **fields)
            if path not in self.scripts:
                self.scripts[path] = Script.load(path)
            return kind(script=self.scripts[path], **{name: value for name, value in fields.items() if name != "script"})

        return make
