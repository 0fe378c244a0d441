"""What assertions notice of a changed recording: those of the examples themselves, and kinds, tools and snapshots alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from examples.test_langgraph_graph import support_desk
from llmtest import ScriptedChatModel, call, record
from llmtest.matching import called, each, exactly, model
from llmtest.recording import Recording
from tests.support import mutated_examples
from tests.support.mutation import mutants, score, survivors

ROOT = Path(__file__).parents[2]
REASONS = {
    "exchange": "neighbours of different runs: how the events of runs interleave, a tree leaves out on purpose",
}
"""Why a change that no example noticed may go unnoticed."""
ASKS_ONLY_A_PART = {
    "test_12_tracing.py::test_without_the_variable_only_the_block_is_traced": "it asserts on what the store has, run by run",
    "test_12_tracing.py::test_a_task_from_before_the_block_is_not_traced": "it asserts on what the store has, run by run",
    "test_10_tags.py::test_a_log_is_filtered_by_the_tag_of_one_chain": "it looks at the runs that have the tag",
}
"""Examples that leave out a part of their recording, and why."""


def desk() -> Recording:
    scripted = ScriptedChatModel("order", call("find_order", number=7), "It leaves on Friday.")
    with record() as caught:
        support_desk(scripted).invoke({"messages": [("user", "Where is order 7?")]})
    return caught


def math() -> Recording:
    @tool
    def calculator(expression: str) -> str:
        """Evaluate an expression."""
        return "4"

    scripted = ScriptedChatModel(call("calculator", expression="2 + 2"), "It is 4.")
    agent: Any = create_agent(scripted, [calculator], name="math_agent")
    with record() as caught:
        agent.invoke({"messages": [("user", "2 + 2?")]})
    return caught


def snapshot_of(caught: Recording) -> Any:
    text = str(caught)
    return lambda mutant: str(mutant) == text


def test_a_snapshot_notices_all_but_what_the_tree_text_leaves_out_on_purpose() -> None:
    for caught in (desk(), math()):
        left = survivors(caught, snapshot_of(caught))

        # A second start or end of a run is for the protocol to complain of; the tree shows each once. How the events of
        # different runs interleave is left out, as are exchanges that leave each run's own events and its parent in place.
        assert [what for what in left if not what.startswith(("double", "exchange"))] == []


def test_the_tools_alone_notice_little() -> None:
    caught = math()

    assert score(caught, lambda one: one.tools == ["calculator"]) < 0.3


def test_kinds_and_rules_notice_what_is_dropped_or_doubled() -> None:
    caught = math()
    kinds = list(caught.kinds)

    def holds(one: Recording) -> bool:
        rules = (each("*").ends_before(model()), each(model()).ends(), exactly(1, called("calculator", expression="2 + 2")))
        return one.kinds == kinds and one.runs.names == caught.runs.names and bool(one.obeys(*rules))

    left = survivors(caught, holds)

    # Only neighbours of one kind change places unseen: their names are those of their runs' starts, in the same order.
    assert {what.split(" ")[0] for what in left} <= {"exchange"}
    assert len(left) * 10 <= len(list(mutants(caught)))


@pytest.mark.parametrize(
    ("examples", "most"),
    [
        (("demo", "test_react_agent.py", "test_langgraph_graph.py", "test_streaming.py"), 1_000),
        (("callback_guide",), 4),
        pytest.param(("callback_guide",), 1_000, marks=pytest.mark.soak),
    ],
    ids=["every change", "some changes of each test of the guide", "every change of each test of the guide"],
)
def test_the_examples_notice_every_change_that_they_have_no_reason_to_pass_over(
    tmp_path: Path, examples: tuple[str, ...], most: int
) -> None:
    for folder in ("examples", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    report = tmp_path / "report.json"
    plugins = ["-p", "tests.support.mutated_examples", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:rerunfailures"]
    options = [f"--mutations={report}", f"--mutations-of-a-test={most}", "--tb=no", "-q", "-c", ROOT / "pyproject.toml"]
    command = [sys.executable, "-m", "pytest", *plugins, *options, f"--rootdir={tmp_path}"]
    # Without coverage, which would double the time: other tests reach what these programs do.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

    done = subprocess.run(
        [*command, *(tmp_path / "examples" / one for one in examples)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text("utf-8"))
    assert len(found) >= len(examples), "which examples read their recording"
    whole = {test: told for test, told in found.items() if not any(part in test for part in ASKS_ONLY_A_PART)}
    left = mutated_examples.survivors(whole)
    assert {what: number for what, number in left.items() if what.split(" ")[0] not in REASONS} == {}
    assert left.total() / sum(map(len, whole.values())) < 0.2
