"""Behaviour coverage against three programs whose behaviours are counted by hand, and against random graphs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from llmtest import ScriptedChatModel, ScriptedRetriever
from llmtest.langchain.inventory import Reader
from tests.support import covered_programs, covered_suite

ROOT = Path(__file__).parent.parent.parent


def spread(text: str) -> set[str]:
    """Return the ids of items: each line has what is common, and after a colon the ends."""
    found = set()
    for line in text.strip().splitlines():
        common, _, ends = line.strip().partition(": ")
        found |= {common + end for end in ends.split()}
    return found


# Counted by hand, from the sources of the programs.
DESK = spread("""
    desk/nodes/: model tools Greet.before_model HumanInTheLoopMiddleware.after_model
    desk/edges/: __start__->Greet.before_model Greet.before_model->model model->HumanInTheLoopMiddleware.after_model
    desk/edges/HumanInTheLoopMiddleware.after_model->: tools Greet.before_model __end__
    desk/edges/tools->: Greet.before_model
    desk/tools/search.: called answered raised refused
    desk/tools/book.: called answered raised refused
    desk/tools/cancel.: called answered raised refused
    desk/tools/pay.: called answered raised refused
    desk/tools/now.: called answered raised interrupted
    desk/arguments/search.kind.: given left_out ='web' ='news'
    desk/arguments/book.note.: given left_out :string :array :null
    desk/models/model.: text tool_call several_calls empty length content_filter refusal error
    desk/interrupts/pay.: approve reject
    desk/middleware/: Greet.before_model HumanInTheLoopMiddleware.after_model
    desk/middleware/: Greet.wrap_model_call HumanInTheLoopMiddleware.wrap_tool_call
    desk/modes/: invoke stream batch ainvoke astream abatch astream_events stream_events_v3
""")
PIPELINE = spread("""
    pipeline/nodes/: plan work judge approve report
    pipeline/edges/: __start__->plan plan->work plan->report work->judge judge->approve judge->report
    pipeline/edges/: approve->report report->__end__
    pipeline/retries/work.: used exhausted
    pipeline/interrupts/approve.: raised resumed
    pipeline/interrupts/after_approve.: raised resumed
    pipeline/modes/: invoke stream batch ainvoke astream abatch astream_events stream_events_v3
""")
INNER = spread("""
    inner/nodes/: first second
    inner/edges/: __start__->first first->second first->__end__ second->__end__
""")
RAG = spread("""
    rag/models/model.: text empty length content_filter refusal error
    rag/answers/Answer.: given refused
    rag/fallbacks/main.: 1 exhausted
    rag/retries/count.: used exhausted
    rag/branches/is_question.: 1 default
    rag/retrievers/wiki.: found empty raised
    rag/prompts/ChatPromptTemplate(: question)
    rag/modes/: invoke stream batch ainvoke astream abatch astream_events
""") | {"rag/prompts/ChatPromptTemplate(documents, question)"}
UNKNOWN = {"desk/middleware/Greet.wrap_model_call", "desk/middleware/HumanInTheLoopMiddleware.wrap_tool_call"}
EVERYTHING = DESK | PIPELINE | INNER | RAG


def test_the_inventories_are_those_that_were_counted_by_hand(page: object) -> None:
    models = [ScriptedChatModel(model_name=name) for name in ("main", "backup", "clerk")]
    rag = covered_programs.rag(*models, ScriptedRetriever(name="wiki"))
    programs: tuple[Any, ...] = (covered_programs.desk(models[0]), covered_programs.pipeline(), rag)
    reader = Reader()

    found = {program.label: program for item in programs for program in reader.inside(item)}

    entries = [item.id for label in ("desk", "pipeline", "rag") for item in found[label].mode_items()]
    listed = [*entries, *(item_id for program in found.values() for item_id in {item.id for item in program.items()})]
    assert sorted(listed) == sorted(EVERYTHING)


@pytest.fixture
def covered(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the suite of the three programs, in processes of its own, and return the state and the tests of each item."""
    shutil.copy(covered_suite.__file__, pytester.path / "test_covered.py")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def run(*options: str) -> dict[str, dict[str, Any]]:
        told = ("--llmtest-cov", "--llmtest-cov-report=json", "--llmtest-cov-context=test", "-p", "no:cacheprovider")
        result = pytester.runpytest_subprocess(*told, *options)
        assert result.ret == 0
        items = json.loads((pytester.path / "llmtest-coverage.json").read_text("utf-8"))["items"]
        return {item["id"]: item for item in items}

    return run


def ids(items: dict[str, dict[str, Any]], state: str) -> set[str]:
    return {item_id for item_id, item in items.items() if item["state"] == state}


def hit_by(items: dict[str, dict[str, Any]], words: Iterable[str]) -> set[str]:
    return {item_id for item_id, item in items.items() if any(word in test for word in words for test in item.get("tests", ()))}


def test_all_of_it_is_hit_in_sync_and_in_async_code_under_two_workers(covered: Any) -> None:
    items = covered("-n", "2")

    assert ids(items, "hit") == EVERYTHING - UNKNOWN
    assert ids(items, "unknown") == UNKNOWN
    modes = {item_id for item_id in EVERYTHING if "/modes/" in item_id}
    assert (
        hit_by(items, ["[sync", "-sync]"]) - modes == hit_by(items, ["[async", "-async]"]) - modes == EVERYTHING - UNKNOWN - modes
    )


def test_a_suite_that_loses_a_test_falls_by_exactly_the_items_of_that_test(covered: Any) -> None:
    items = covered("--deselect=test_covered.py::test_pipeline_asks", "--deselect=test_covered.py::test_rag_falls_back")

    lost = spread("""
        pipeline/nodes/: approve
        pipeline/edges/: judge->approve approve->report
        pipeline/interrupts/approve.: raised resumed
        pipeline/interrupts/after_approve.: raised resumed
    """)
    assert ids(items, "missed") == lost  # that a fallback is used shows where all of them fail, too
    assert ids(items, "hit") == EVERYTHING - UNKNOWN - lost


def test_what_three_tests_hit_is_hit_and_the_rest_is_missing(covered: Any) -> None:
    items = covered("-k", "(desk_talks or pipeline_has_nothing or rag_answers) and sync and not async and not badly")

    assert ids(items, "hit") == spread("""
        desk/nodes/: model Greet.before_model HumanInTheLoopMiddleware.after_model
        desk/edges/: __start__->Greet.before_model Greet.before_model->model model->HumanInTheLoopMiddleware.after_model
        desk/edges/: HumanInTheLoopMiddleware.after_model->__end__
        desk/models/: model.text
        desk/middleware/: Greet.before_model
        desk/modes/: invoke
        pipeline/nodes/: plan report
        pipeline/edges/: __start__->plan plan->report report->__end__
        pipeline/modes/: invoke
        inner/nodes/: first
        inner/edges/: __start__->first first->__end__
        rag/models/: model.text
        rag/branches/is_question.: 1
        rag/retrievers/: wiki.found
        rag/modes/: invoke
    """) | {"rag/prompts/ChatPromptTemplate(documents, question)"}
    assert ids(items, "missed") == EVERYTHING - UNKNOWN - ids(items, "hit")
    kinds = {item["kind"] for item in items.values()}
    assert {item["kind"] for item in items.values() if item["state"] == "missed"} == kinds
