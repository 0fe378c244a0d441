"""What the packages of other tools export, made by these packages, each in a process of its own, and read as traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml  # noqa: F401  (a second import, after that of a test within a test, would have other classes of errors)
from langfuse.api.commons.types.observation_v2 import ObservationV2

from llmtest import Recording, load_traces
from llmtest.matching import before, called, model, together
from llmtest.otel.reproduce import reproduce

ROOT = Path(__file__).parent.parent.parent
KINDS = ("genai", "openinference", "openllmetry", "langfuse", "langsmith", "pydantic_ai", "openinference_agents")
OF_LANGCHAIN = KINDS[:5]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


def exported(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.{'json' if kind == 'langsmith' else 'pb'}"
    if not path.exists():
        program = ROOT / "tests" / "support" / "foreign_programs.py"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, program, kind, path], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return path


def agent_in(found: list[Recording]) -> Recording:
    """OpenLLMetry makes a second trace for one call, which says nothing."""
    (recording,) = (each for each in found if each.tools)
    return recording


@pytest.mark.parametrize("kind", OF_LANGCHAIN)
def test_an_agent_of_langchain_is_the_same_in_the_export_of_each_tool(kind: str, folder: Path) -> None:
    recording = agent_in(load_traces(str(exported(kind, folder))))

    assert recording.tools == [together("weather", "weather")]
    assert sorted(run.output.content for run in recording.tools) == ["18C in Lyon", "18C in Paris"]
    first, second = recording.models
    assert first.messages[0].text == "How warm is it?"
    assert [(call.name, call.args) for call in first.output.tool_calls] == [
        ("weather", {"city": "Paris"}),
        ("weather", {"city": "Lyon"}),
    ]
    assert [message.role for message in second.input] == ["human", "ai", "tool", "tool"]
    assert second.output.text == "It is 18C."
    assert (recording.usage.input_tokens, recording.usage.output_tokens) == (21, 29)
    assert first.start.payload["tools"] == ["weather"]
    assert recording.obeys(before(model(), model(), per=None) | before(model(), "weather"))
    assert "thread_id" not in recording.roots[0].metadata or recording.roots[0].metadata["thread_id"] == "t-1"


@pytest.mark.parametrize("kind", ["genai", "openinference", "langfuse", "langsmith"])
def test_the_name_of_the_agent_and_its_conversation_are_read(kind: str, folder: Path) -> None:
    root = agent_in(load_traces(str(exported(kind, folder)))).roots[0]

    assert (root.kind, root.name) == ("chain", "forecaster")
    assert root.metadata["thread_id"] == "t-1"
    assert root.messages[-1].text == "It is 18C."


def test_pydantic_ai(folder: Path) -> None:
    (recording,) = load_traces(str(exported("pydantic_ai", folder)))

    assert recording.tools == [called("weather", city="Paris")]
    assert recording.runs == ["forecaster", "gpt-5", "weather", "gpt-5"]
    assert recording.roots[0].output == "It is 18C."


def test_openai_agents(folder: Path) -> None:
    (recording,) = load_traces(str(exported("openinference_agents", folder)))

    assert recording.tools == [called("weather", city="Paris")]
    assert [run.output.text for run in recording.models] == ["", "It is 18C."]
    # Its spans have no ids of tool calls, and its turns nothing that flows between them.
    assert recording.obeys(before(model(), "weather")).holds is None


@pytest.mark.parametrize("kind", KINDS)
def test_each_export_becomes_a_test_that_runs(kind: str, folder: Path, pytester: pytest.Pytester) -> None:
    recording = agent_in(load_traces(str(exported(kind, folder))))

    made = reproduce(recording, f"{kind} incident", "an export")

    for name, text in made.files.items():
        (pytester.path / name).write_text(text, "utf-8")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")
    result.assert_outcomes(passed=1)


def observation(number: int, kind: str, name: str, parent: str | None = None, **about: Any) -> dict[str, Any]:
    """An observation as the API of Langfuse has it, made by its own class."""
    start, end = (datetime(2026, 1, 31, 12, 0, second, tzinfo=UTC) for second in (number, number + 1))
    made = ObservationV2(
        id=f"obs-{number}",
        trace_id="trace-1",
        start_time=start,
        end_time=end,
        project_id="p",
        parent_observation_id=parent,
        type=kind,
        name=name,
        **about,
    )
    return dict(json.loads(made.json()))


def test_the_observations_of_the_api_of_langfuse(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "hi"}]
    answer = {"role": "assistant", "content": "hello"}
    rows = [
        observation(1, "AGENT", "clerk", input="hi", output="hello"),
        observation(
            2,
            "GENERATION",
            "ask",
            "obs-1",
            input=json.dumps(asked),
            output=json.dumps(answer),
            usage_details={"input": 1, "output": 2},
        ),
        observation(
            3, "TOOL", "search", "obs-1", input='{"q": "x"}', output="found", level="ERROR", status_message="TimeoutError: slow"
        ),
    ]
    pages = {"data": rows, "meta": {}}
    trace = {"id": "trace-1", "name": "clerk", "sessionId": "s-1", "tags": ["prod"], "observations": rows}
    for name, content in (("page", pages), ("trace", trace), ("list", rows)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), "utf-8")

    for name in ("page", "trace", "list"):
        (recording,) = load_traces(str(tmp_path / f"{name}.json"))
        assert recording.runs.names == ["clerk", "ask", "search"]
        assert recording.models[0].output.text == "hello"
        assert recording.models[0].usage is not None
        assert recording.models[0].usage.total_tokens == 3
        assert recording.tools == [called("search", q="x")]
        assert recording.errors == [TimeoutError]
        assert recording.roots[0].tags == (("prod",) if name == "trace" else ())
