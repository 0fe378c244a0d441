"""Every failure fits on a screen: ten programs of the tutorial, each broken in three ways."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broken_examples import WAYS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "examples" / "callback_guide"
PROGRAMS = [
    "test_01_handlers.py::test_a_classic_agent_fires_all_of_the_guide_but_chat_models_and_errors",
    "test_02_getting_started.py::test_constructor_verbose_and_request_print_the_same_three_times_over",
    "test_03_where_to_pass_callbacks.py::test_each_object_of_a_classic_agent_keeps_the_handler_of_its_constructor",
    "test_05_async_callbacks.py::test_an_llm_chain_hands_both_handlers_of_the_request_to_its_model",
    "test_06_custom_handlers.py::test_a_handler_of_the_request_prints_the_tokens_of_an_llm_chain",
    "test_07_custom_chains.py::test_a_tool_tells_texts_and_events_and_its_model_stands_in_it[sync]",
    "test_08_logging_to_a_file.py::test_a_sequence_writes_each_of_its_steps_and_no_prompt",
    "test_09_several_handlers.py::test_create_agent_tells_both_handlers_and_has_no_agent_action",
    "test_10_tags.py::test_a_log_is_filtered_by_the_tag_of_one_chain",
    "test_11_token_counting.py::test_concurrent_runs_are_counted_and_a_task_from_before_the_block_is_not[count_tokens]",
]
ENDS = re.compile(r"^(?:=+ .*|-+ snapshot report summary -+)$", re.MULTILINE)
CAPTURED = re.compile(r"^-+ Captured \w+ \w+ -+\n(?:(?!-{3,} |_{3,} ).*\n)*", re.MULTILINE)
"""What the program has printed or logged, which pytest shows as it is."""

OF_THE_OUTER_RUN = ("PYTEST_", "COVERAGE_", "CI", "BUILD_NUMBER")
"""Where CI or BUILD_NUMBER is set, pytest prints each difference of two values whole: a log is no screen."""


@pytest.mark.parametrize("way", WAYS)
def test_the_cause_is_in_the_first_lines_and_all_fits(way: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_OUTER_RUN)}
    plugins = ["-p", "tests.support.broken_examples", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:rerunfailures"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, f"--break={way}", "-q", "-rN", *(str(GUIDE / one) for one in PROGRAMS)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "LLMTEST_PENDING_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    failures = done.stdout.partition("= FAILURES =")[2]
    parts = re.split(r"^_{3,} (\S.*?) _{3,}$", failures, flags=re.MULTILINE)[1:]
    shown = {
        name: CAPTURED.sub("", ENDS.split(text)[0]).strip("\n").splitlines()
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert shown.keys() == {one.partition("::")[2] for one in PROGRAMS}, done.stdout + done.stderr
    assert {name: len(lines) for name, lines in shown.items() if len(lines) >= 60} == {}
    assert {name: lines[:3] for name, lines in shown.items() if not lines[0].startswith("E   ")} == {}
    assert {name: lines for name, lines in shown.items() if not any("frames of" in line or ">  " in line for line in lines)} == {}
