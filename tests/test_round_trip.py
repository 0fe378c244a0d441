"""A recording makes a script, the script a file, and the file gives the same tree again."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

from llmtest import Recording, Script, ScriptedChatModel, record
from llmtest.errors import LlmtestWarning, ScriptError
from llmtest.langchain.providers import scripted_providers
from tests.support import live, random_programs
from tests.support.dialect_cases import CASES, NAMES, STATUSES, WAYS, Case, bound
from tests.support.random_programs import MODELS, Program, live_models, models_of, programs
from tests.support.wire import real

# google-genai warns of its own subclass.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

ROOT = Path(__file__).parent.parent

# -- the examples

PAGE = "examples/callback_guide/test_04_when_to_use_which.py"
GATES = {
    "test_the_chain_logs_every_request_and_each_connection_gets_the_tokens_of_its_own",
    "test_today_a_sequence_streams_to_one_connection_and_with_config_logs_all",
    "test_an_agent_streams_the_answer_of_one_request_to_its_connection",
}
"""Tests that wait at the gates of their own steps, which a recording does not have."""
REFUSED_CALL = "examples/test_langgraph_coverage.py::test_an_order_that_is_no_number_is_refused"
"""A test whose script calls a tool with wrong arguments on purpose. A recording does not say that it was on purpose."""
NO_FILE = {
    "test_an_error_of_a_model_is_told_to_the_model_and_to_each_chain_around_it[interrupt]",
    "test_a_chain_fails_by_itself_and_a_chat_model_within_one[interrupt]",
}
"""Tests whose model raises `KeyboardInterrupt`, which a file cannot name."""


def examples(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.support.replayed_examples", "-q"]
    found = subprocess.run(
        [*command, f"--scripts={folder}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    return found.stdout


def in_both(folder: Path, *arguments: str) -> tuple[str, set[str]]:
    """Return the last line of a run from the scripts that a first run has kept, and the tests of which none was kept."""
    first = examples(folder, *arguments)
    assert " failed" not in first.splitlines()[-1], first
    problems = folder / "problems.txt"
    known = problems.read_text("utf-8").splitlines() if problems.exists() else []
    said = examples(folder, "--from-scripts", *arguments)
    return said.splitlines()[-1].partition(" in ")[0], {line.partition(": ")[0].partition("::")[2] for line in known}


def test_agents_and_graphs_of_the_examples_answer_again_from_their_recordings(tmp_path: Path) -> None:
    last, without = in_both(
        tmp_path,
        "examples/demo",
        "examples/test_react_agent.py",
        "examples/test_langgraph_graph.py",
        "examples/test_streaming.py",
    )

    assert (last, without) == ("6 passed", set())


@pytest.mark.soak
def test_all_examples_answer_again_from_their_recordings(tmp_path: Path) -> None:
    left_out = [REFUSED_CALL, *(f"{PAGE}::{name}" for name in GATES)]
    last, without = in_both(tmp_path, "examples", *(f"--deselect={name}" for name in left_out))

    assert " failed" not in last
    assert without == NO_FILE


# -- the dialects

REFUSED = ("refusal", "cut_in_refusal")
"""LangChain tells no refusal of a streamed Chat Completion, so that no recording has it."""


def play(model: Any, way: str) -> Recording:
    async def read() -> None:
        async for _ in model.astream("hi"):
            pass

    with record() as recording:
        try:
            if way == "stream":
                list(model.stream("hi"))
            elif way == "invoke":
                model.invoke("hi")
            else:
                asyncio.run(read() if way == "astream" else model.ainvoke("hi"))
        except Exception:
            pass  # the tree has it
    return recording


def from_file(recording: Recording, path: Path, **options: Any) -> Script:
    script = Script.from_recording(recording, **options)
    script.waive_steps()
    script.dump(path)
    return Script.load(path)


def real_again(dialect: str) -> Any:
    if dialect == "anthropic":
        return ChatAnthropic(model="claude-haiku-4-5", max_tokens=2048, api_key="none", max_retries=0)  # type: ignore[call-arg]
    responses = {"use_responses_api": True} if dialect == "openai-responses" else {}
    return ChatOpenAI(model="gpt-4o", api_key="none", max_retries=0, **responses)  # type: ignore[arg-type]


def without_ids(recording: Recording) -> str:
    return re.sub(r'"id": "msg[-_]\w+", ', "", str(recording))


def cases() -> list[Any]:
    return [
        pytest.param(dialect, name, case, id=f"{dialect}-{name}")
        for dialect, known in CASES.items()
        for name, case in known.items()
        if dialect == "anthropic" or name not in REFUSED
    ]


@pytest.mark.parametrize(("dialect", "name", "case"), cases())
def test_an_answer_of_each_dialect_is_the_same_again(dialect: str, name: str, case: Case, tmp_path: Path) -> None:
    for way in WAYS:
        if not case.whole and not way.endswith("stream"):
            continue
        first = play(bound(ScriptedChatModel(case.step(), dialect=dialect, model_name=NAMES[dialect]), case), way)
        script = from_file(first, tmp_path / "script.yaml", tokens=True)
        again = play(bound(ScriptedChatModel(script=script, dialect=dialect, model_name=NAMES[dialect]), case), way)

        assert without_ids(again) == without_ids(first), way


@pytest.mark.parametrize(("dialect", "name", "case"), cases())
def test_a_real_class_is_answered_again_as_its_provider_did(dialect: str, name: str, case: Case, tmp_path: Path) -> None:
    for way in WAYS:
        if not case.whole and not way.endswith("stream"):
            continue
        first = play(bound(real(dialect, case.file or name), case), way)
        script = from_file(first, tmp_path / "script.yaml", tokens=True)
        with scripted_providers({f"{'anthropic' if dialect == 'anthropic' else 'openai'}:*": script}):
            again = play(bound(real_again(dialect), case), way)

        assert without_ids(again) == without_ids(first), way


@pytest.mark.parametrize("dialect", CASES)
def test_an_http_error_is_the_same_step_in_each_way(dialect: str, tmp_path: Path) -> None:
    for status in STATUSES[dialect]:
        for way in WAYS:
            recording = play(real(dialect, "text", status=status), way)

            script = from_file(recording, tmp_path / "script.yaml")
            script.waive_steps()
            assert [str(step) for step in script.steps] == [f"fail({status}, message='try again')"], way


@pytest.mark.parametrize("program", live.PROGRAMS)
@pytest.mark.parametrize("model", live.MODELS)
def test_a_program_with_a_real_class_is_answered_again(model: str, program: str, tmp_path: Path) -> None:
    (name, make), (run, steps) = live.MODELS[model], live.PROGRAMS[program]
    with scripted_providers({name: steps}), record() as first:
        run(make())

    script = from_file(first, tmp_path / "script.yaml", tokens=True)
    with scripted_providers({name: script}), record() as again:
        run(make())

    script.verify()
    assert without_ids(again) == without_ids(first)


# -- random programs


def scripts_of(recording: Recording, folder: Path) -> list[Path] | None:
    """Return the files of the models of a recording; None if calls of one cannot be told apart, which a warning says."""
    found = []
    for name in MODELS:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", LlmtestWarning)
            try:
                script = Script.from_recording(recording, model=name)
            except ScriptError:
                continue  # the program did not call this one
        script.waive_steps()
        if told:
            return None
        script.dump(folder / f"{name}.yaml")
        found.append(folder / f"{name}.yaml")
    return found


def check(program: Program, schedules: int, folder: Path) -> bool:
    """Play a program again under some schedules; return False if its calls cannot be told apart."""
    first = random_programs.play(program, live_models(), 0)
    files = scripts_of(first, folder)
    for seed in range(1, schedules + 1) if files is not None else ():
        scripts = {path.stem: Script.load(path) for path in files or ()}
        again = random_programs.play(program, models_of(scripts), seed)
        for script in scripts.values():
            script.verify()
        assert str(again) == str(first)
    return files is not None


@given(programs)
@example(("gather", (("broken", "Paris"), ("broken", "Rome"))))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_random_program_answers_again_from_its_recording(tmp_path: Path, program: Program) -> None:
    check(program, 2, tmp_path)


@pytest.mark.soak
@given(programs)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_random_program_answers_again_under_two_hundred_schedules(tmp_path: Path, program: Program) -> None:
    check(program, 200, tmp_path)


CITIES = ("Paris", "Rome", "Oslo")
CONCURRENT: dict[str, Program] = {
    "gather": ("gather", tuple(("ask", city, "twice") for city in CITIES)),
    "nodes": ("nodes", tuple(("ask", "Paris", way) for way in ("ainvoke", "astream", "twice"))),
    "send": ("send", tuple(("sequence", (("ask", city, "ainvoke"), ("retry", city), ("broken", city))) for city in CITIES)),
    "agents": ("gather", tuple(("above", city) for city in CITIES)),
    "fallbacks": ("nodes", (("fallback", "Paris"), ("retry", "Paris"), ("agent", "Paris"))),
}


@pytest.mark.parametrize("name", CONCURRENT)
def test_branches_at_the_same_time_get_their_own_answers_again(name: str, tmp_path: Path) -> None:
    assert check(CONCURRENT[name], 10, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", CONCURRENT)
def test_branches_get_their_own_answers_under_two_hundred_schedules(name: str, tmp_path: Path) -> None:
    assert check(CONCURRENT[name], 200, tmp_path)
