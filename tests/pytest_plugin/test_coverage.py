"""`--llmtest-cov`: what the options do. tests/coverage has what is hit, and the two workers of xdist."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

import llmtest
from llmtest.coverage.data import load
from llmtest.coverage.hits import Hits

# pytester forgets what an inner run in this process has imported.
importlib.import_module("llmtest.pytest_plugin.coverage")

DESK = """
from typing import Literal, TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict, total=False):
    tries: int

def plan(state: State) -> State:
    return {"tries": state.get("tries", 0) + 1}

def route(state: State) -> Literal["plan", "__end__"]:
    return "plan" if state["tries"] < 2 else END

def build():
    graph = StateGraph(State)
    graph.add_node(plan)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", route)
    return graph.compile(name="desk")

desk = build()
"""
SUITE = """
from desk import build, desk

def test_one():
    assert build().invoke({})["tries"] == 2

def test_two():
    assert desk.invoke({"tries": 7})["tries"] == 8
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a suite for `desk`, in this process, and return what it printed below the head of coverage."""
    pytester.makepyfile(desk=DESK, test_it=SUITE)
    pytester.syspathinsert()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), str(Path(llmtest.__file__).parent.parent)]))

    def suite(*options: str, ini: str = "", process: bool = False) -> tuple[int, list[str]]:
        loop = "asyncio_default_fixture_loop_scope = function\n" if process else ""
        pytester.makeini(f"[pytest]\n{loop}{ini}")
        way = pytester.runpytest_subprocess if process else pytester.runpytest_inprocess
        result = way(*options, "-p", "no:cacheprovider", *([] if process else ["-p", "no:asyncio"]))
        lines = result.outlines
        start = next((number + 1 for number, line in enumerate(lines) if " llmtest: behaviour coverage " in line), len(lines))
        told = lines[start:-1] if start < len(lines) else result.outlines + result.errlines
        return int(result.ret), [line for line in told if line]

    return suite


TABLE = [
    "Program  Kind           Items   Hit   Miss   Ambiguous   Cover",
    "--------------------------------------------------------------",
    "desk     nodes              1     1      0           0    100%",
    "desk     edges              3     3      0           0    100%",
    "desk     modes              8     1      7           0     12%",
    "--------------------------------------------------------------",
    "TOTAL                      12     5      7           0     42%",
]


def test_without_the_option_nothing_is_written(run: Any, pytester: pytest.Pytester) -> None:
    code, _ = run()

    assert code == 0
    assert not (pytester.path / ".llmtest").exists()


def test_the_table_and_the_file_of_the_session(run: Any, pytester: pytest.Pytester) -> None:
    code, lines = run("--llmtest-cov")

    assert (code, lines) == (0, TABLE)
    data = load([pytester.path / ".llmtest" / "coverage"])
    assert (data.tests, data.contexts()) == (2, {})
    run("--llmtest-cov", "-k", "one")
    assert load([pytester.path / ".llmtest" / "coverage"]).tests == 1  # of this session only


def test_every_report_and_the_names_of_tests(run: Any, pytester: pytest.Pytester) -> None:
    kinds = ("html", "json", "xml:out/cov.xml", "lcov", "markdown", "term")
    options = [f"--llmtest-cov-report={kind}" for kind in kinds]

    code, lines = run("--llmtest-cov", "--llmtest-cov-context=test", "--llmtest-cov-data=here", *options)

    assert code == 0
    assert lines[:5] == [
        "html: llmtest-coverage.html",
        "json: llmtest-coverage.json",
        "xml: out/cov.xml",
        "lcov: llmtest-coverage.lcov",
        "markdown: llmtest-coverage.md",
    ]
    assert lines[5:] == TABLE
    found = json.loads((pytester.path / "llmtest-coverage.json").read_text("utf-8"))
    tests = {item["id"]: item.get("tests") for item in found["items"]}
    assert tests["desk/edges/plan->plan"] == ["test_it.py::test_one"]
    assert tests["desk/nodes/plan"] == ["test_it.py::test_one", "test_it.py::test_two"]
    assert (pytester.path / "out" / "cov.xml").is_file()
    assert [path.name for path in (pytester.path / "here").iterdir()] == ["main.jsonl"]


def test_the_ini_keys(run: Any) -> None:
    ini = """
llmtest_cov = desk:desk
llmtest_cov_report = term-missing
llmtest_cov_fail_under = 50,edges=100
llmtest_cov_exclude =
    desk/modes/* because nobody counts them
    desk/nodes/gone because it is gone
"""
    code, lines = run(ini=ini)

    assert code == 0
    assert lines == [
        "Program  Kind           Items   Hit   Miss   Ambiguous   Cover",
        "--------------------------------------------------------------",
        "desk     nodes              1     1      0           0    100%",
        "desk     edges              3     3      0           0    100%",
        "desk     modes              0     0      0           0    100%",
        "--------------------------------------------------------------",
        "TOTAL                       4     4      0           0    100%",
        "not counted: 8 excluded",
        "note: no item matches the exclude 'desk/nodes/gone'; did you mean `desk/nodes/plan`?",
    ]


def test_a_limit_that_is_not_reached_fails_the_session(run: Any) -> None:
    code, lines = run("--llmtest-cov", "--llmtest-cov-fail-under=90,nodes=100")

    assert code == 1
    assert lines == [*TABLE, "FAIL: coverage is 41.67%, less than 90%: 7 items missed"]


def test_a_named_program_counts_also_if_no_test_runs_it(run: Any, pytester: pytest.Pytester) -> None:
    code, lines = run("--llmtest-cov=desk:build", "-k", "nothing")

    assert code == int(pytest.ExitCode.NO_TESTS_COLLECTED)
    assert lines[2:5] == [
        "desk     nodes              1     0      1           0      0%",
        "desk     edges              3     0      3           0      0%",
        "desk     modes              8     0      8           0      0%",
    ]


def test_a_named_program_that_is_not_there_fails_the_session(run: Any) -> None:
    code, lines = run("--llmtest-cov=desk:gone")

    assert code == 1
    assert lines[len(TABLE) :] == [
        "ERROR: there is no program desk:gone: module 'desk' has no attribute 'gone'",
        "  a program is named as `module:object`",
    ]


REPORT = "--llmtest-cov-report (ini: llmtest_cov_report) is one of term, term-missing, html, json, xml, lcov, markdown; got "
LIMIT = "--llmtest-cov-fail-under is a number up to 100, or KIND=NUMBER, several with commas; got "


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--llmtest-cov=tests", "--llmtest-cov=OBJECT (ini: llmtest_cov) names a program as `module:object`; got 'tests'"),
        ("--llmtest-cov-report=htm", f"{REPORT}'htm'; did you mean `html`?"),
        ("--llmtest-cov-report=term:file", f"{REPORT}'term:file'; it has no file"),
        ("--llmtest-cov-fail-under=node=3", f"{LIMIT}'node=3'; did you mean `nodes`?"),
    ],
)
def test_wrong_options_are_refused_at_once(run: Any, option: str, told: str) -> None:
    code, lines = run("--llmtest-cov", option)

    assert code == int(pytest.ExitCode.USAGE_ERROR)
    assert f"ERROR: {told}" in lines


def test_a_worker_that_dies_loses_the_test_that_it_ran_and_no_other(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import os
        from desk import desk

        def test_a():
            desk.invoke({"tries": 7})

        def test_b():
            desk.invoke({})
            os._exit(1)

        def test_c():
            desk.batch([{"tries": 7}])
        """
    )

    code, lines = run("--llmtest-cov", "-n", "1", process=True)

    assert code == 1
    assert any(line.startswith("desk     edges              3     2      1") for line in lines)
    data = load([pytester.path / ".llmtest" / "coverage"])
    assert {"desk/modes/invoke", "desk/modes/batch"} <= data.hits
    assert "desk/edges/plan->plan" not in data.hits
    assert len(data.sections) == 2


def test_a_test_whose_hits_cannot_be_told_fails_the_session_and_not_the_test(
    run: Any, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        from llmtest.coverage import hits

        def broken(self, roots):
            raise OverflowError("too much")

        hits.Hits.add = broken
        """
    )
    monkeypatch.setattr("llmtest.coverage.hits.Hits.add", Hits.add)  # what the conftest does to the class is undone

    code, lines = run("--llmtest-cov", "-k", "one")

    assert code == 1
    assert lines[-1] == "ERROR: what test_it.py::test_one hits cannot be told: OverflowError: too much"


def test_only_collecting_reports_nothing(run: Any) -> None:
    _, lines = run("--llmtest-cov", "--collect-only")

    assert not any("behaviour coverage" in line for line in lines)


def test_the_suite_runs_as_without_coverage(pytester: pytest.Pytester) -> None:
    """A test that fails because of a violation, one that records, and one that does neither."""
    pytester.makepyfile(
        """
        from llmtest import ScriptedChatModel, record

        def test_unused():
            ScriptedChatModel("never asked")

        def test_recorded(llm_recording):
            ScriptedChatModel("x").invoke("hi")
            assert len(llm_recording.models) == 1

        def test_plain():
            with record() as inner:
                pass
            assert inner.kinds == []
        """
    )
    pytester.makeini("[pytest]\n")
    options = ("-p", "no:asyncio", "-p", "no:cacheprovider", "-rA")

    without = pytester.runpytest_inprocess(*options)
    covered = pytester.runpytest_inprocess(*options, "--llmtest-cov")

    counts = [{name: n for name, n in result.parseoutcomes().items() if name != "seconds"} for result in (without, covered)]
    assert counts[0] == counts[1] == {"passed": 2, "failed": 1} or counts[0] == counts[1] == {"passed": 3, "errors": 1}
    tokens = [[line.split(" in ")[0] for line in result.outlines if "tokens" in line] for result in (without, covered)]
    assert tokens[0] == tokens[1]
    assert os.environ.get("LLMTEST_ELSEWHERE") is None
    assert Path(pytester.path / ".llmtest" / "coverage" / "main.jsonl").is_file()


def test_a_folder_that_cannot_keep_coverage_is_refused_at_once(run: Any, pytester: pytest.Pytester) -> None:
    code, lines = run("--llmtest-cov", "--llmtest-cov-data=desk.py")

    assert code == int(pytest.ExitCode.USAGE_ERROR)
    assert lines[0].startswith(f"ERROR: no coverage can be kept in {pytester.path / 'desk.py'}: ")
    assert lines[1] == "  --llmtest-cov-data names another"


def test_a_folder_with_files_of_the_user_is_not_cleared(run: Any, pytester: pytest.Pytester) -> None:
    questions = pytester.path / "questions.jsonl"
    questions.write_text("{}\n")

    code, lines = run("--llmtest-cov", "--llmtest-cov-data=.")

    assert code == int(pytest.ExitCode.USAGE_ERROR)
    assert lines[0] == f"ERROR: {questions} is no coverage file"
    assert questions.exists()


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_the_page_of_the_session_has_the_coverage_and_the_tests_behind_it(
    run: Any, pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    code, lines = run("--llmtest-cov", "--llmtest-html=page.html", *options, process=True)

    page = (pytester.path / "page.html").read_text("utf-8")
    assert (code, lines[-2:-1]) == (0, TABLE[-1:])
    assert page.count('<main id="coverage"') == 1
    assert '<a href="#test=test_it.py%3A%3Atest_one">test_it.py::test_one</a>' in page
    assert 'data-label="Behaviour coverage: 42%"' in page


def test_a_page_whose_coverage_cannot_be_read_is_written_without_it(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        from pathlib import Path


        def pytest_runtestloop(session):
            Path(".llmtest/coverage/other.jsonl").write_text("no line\\n")
    """)

    code, lines = run("--llmtest-cov", "--llmtest-html=page.html")

    assert code == 1
    assert lines[0].startswith("ERROR: ")
    assert '<main id="coverage"' not in (pytester.path / "page.html").read_text("utf-8")


def test_nothing_of_coverage_is_imported_without_the_option(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_modules="""
        import sys
        from desk import desk
        from llmtest import record

        def test_one():
            with record() as recording:
                desk.invoke({})
            assert recording.runs
            parts = "inventory", "met_objects", "used_objects", "named_programs", "watch"
            own = "llmtest.coverage", "llmtest.pytest_plugin.coverage", *(f"llmtest.langchain.{part}" for part in parts)
            assert [name for name in sys.modules if name.startswith(own)] == []
    """
    )

    code, _ = run("test_modules.py", "--llmtest-html=page.html", process=True)

    assert code == 0
