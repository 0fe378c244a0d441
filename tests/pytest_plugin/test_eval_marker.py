"""The marker `llm_eval`: items, their names, and errors at collection."""

from __future__ import annotations

import json

import pytest

CASES = """
- id: france
  inputs: The capital of France?
  expected: Paris
  tags: [easy]
- id: australia
  inputs: The capital of Australia?
  expected: Canberra
  tags: [pacific, often wrong]
"""

ONE_TEST = """
import pytest

@pytest.mark.llm_eval(dataset="cases.yaml", at_least=.5)
def test_capital(case):
    assert case.expected in ("Paris", "Canberra")
"""


@pytest.fixture
def cases(suite):
    (suite.path / "cases.yaml").write_text(CASES)
    return suite


def test_each_case_is_an_item_with_its_id(cases):
    outcome = cases.run(ONE_TEST, "--collect-only", "-q")

    assert outcome.text.splitlines()[:2] == ["test_it.py::test_capital[france]", "test_it.py::test_capital[australia]"]


def test_case_is_the_case(cases):
    outcome = cases.run(
        """
import pytest

@pytest.fixture
def question(case):
    return case.inputs

@pytest.mark.llm_eval(dataset="cases.yaml", at_least=.5)
def test_capital(case, question):
    assert question == case.inputs == f"The capital of {case.id.title()}?"
    assert case.tags in (("easy",), ("pacific", "often wrong"))
    assert (case.weight, case.metadata) == (1.0, {})
"""
    )

    assert outcome.counts == {"passed": 2}


@pytest.mark.parametrize(
    ("chosen", "items"),
    [("france", ["france"]), ("pacific", ["australia"]), ("often", ["australia"]), ("not easy", ["australia"]), ("south", [])],
)
def test_k_chooses_by_id_and_by_tag(cases, chosen, items):
    outcome = cases.run(ONE_TEST, "--collect-only", "-q", "-k", chosen)

    assert [line.partition("[")[2][:-1] for line in outcome.text.splitlines() if "::" in line] == items


def test_other_parameters_stand_before_the_case_and_make_sets_of_their_own(cases):
    outcome = cases.run(
        """
import pytest

@pytest.mark.parametrize("model", ["a", "b-c"])
@pytest.mark.llm_eval(dataset="cases.yaml", at_least=.5)
class TestIt:
    def test_capital(self, case, model):
        assert model == "a"
""",
        "-v",
    )

    assert outcome.counts == {"passed": 2, "failed": 3}
    assert "test_it.py::TestIt::test_capital[b-c-france] FAILED" in outcome.text
    assert "test_it.py::TestIt::test_capital[a]: pass: 18 of 18 passed" in outcome.text
    assert "test_it.py::TestIt::test_capital[b-c]: fail: 0 of 18 passed" in outcome.text
    assert "FAILED test_it.py::TestIt::test_capital[b-c] - fail: 0 of 18 passed" in outcome.text


def test_an_id_may_be_of_any_characters(suite):
    outcome = suite.run(
        """
import pytest
from llmtest.evals import Dataset

@pytest.mark.parametrize("n", [1])
@pytest.mark.llm_eval(dataset=Dataset([{"id": "Zürich [a-b]::c/d", "inputs": 1}]), at_least=.5)
def test_it(case, n):
    pass
"""
    )

    assert outcome.counts == {"passed": 1}
    assert "test_it.py::test_it[1]: pass: 9 of 9 passed" in outcome.text


def test_a_narrower_marker_changes_what_it_names(cases):
    outcome = cases.run(
        """
import pytest
pytestmark = pytest.mark.llm_eval(dataset="cases.yaml", at_least=.5, repeats=20)

@pytest.mark.llm_eval(repeats=6)
def test_capital(case):
    pass
"""
    )

    assert "pass: 12 of 12 passed" in outcome.text


def test_datasets_of_all_kinds(suite):
    (suite.path / "data").mkdir()
    (suite.path / "data" / "cases.jsonl").write_text(json.dumps({"id": "one", "inputs": 1}))
    outcome = suite.run(
        """
import pytest
from pathlib import Path
from llmtest.evals import Dataset

@pytest.mark.llm_eval(dataset=Path(__file__).parent / "data/cases.jsonl", at_least=.5)
def test_path(case): pass

@pytest.mark.llm_eval(dataset="data/cases.jsonl", at_least=.5)
def test_text(case): pass

@pytest.mark.llm_eval(dataset=Dataset([{"id": "one", "inputs": 1}]), at_least=.5)
def test_dataset(case): pass
"""
    )

    assert outcome.counts == {"passed": 3}


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        ("", "llm_eval() has no dataset=: the cases, such as 'cases.yaml'"),
        ("dataset='cases.yaml'", "llm_eval() has no at_least=: the required pass rate, such as 0.9"),
        (
            "'cases.yaml'",
            "llm_eval() takes keywords only: dataset=, repeats=, at_least=, confidence=, method=, scorers=, max_cost=, "
            "concurrency=, prices=; got 'cases.yaml'",
        ),
        ("dataset='cases.yaml', repeat=3", "llm_eval() has no argument repeat=; did you mean `repeats`?"),
        ("dataset=7", "dataset= of llm_eval() is the path of a file, or a Dataset; got int 7"),
        ("repeats=0", "repeats= of llm_eval() is how often each case runs, 1 to 1,000,000; got int 0"),
        ("repeats=True", "repeats= of llm_eval() is how often each case runs, 1 to 1,000,000; got bool True"),
        ("repeats=10**30", f"repeats= of llm_eval() is how often each case runs, 1 to 1,000,000; got int {10**30}"),
        ("at_least='90'", "at_least= of llm_eval() is a pass rate between 0 and 1, such as 0.9; got str '90'"),
        ("dataset='cases.yaml', at_least=90", "at_least= is a pass rate between 0 and 1, such as 0.9; got 90"),
        (
            "dataset='cases.yaml', at_least=1",
            "at_least=1: no number of repeats shows that every run passes; require less, such as 0.99",
        ),
        ("dataset='cases.yaml', at_least=.5, method='exakt'", "method= has the unknown value 'exakt'; did you mean `exact`?"),
        (
            "scorers=[3]",
            "scorers= of llm_eval() is a list of scorers, each a function of a run, or a mapping of their names to them;"
            " got list [3]",
        ),
        (
            "scorers={1: len}",
            "scorers= of llm_eval() is a list of scorers, each a function of a run, or a mapping of their names to them;"
            " got dict {1: <built-in function len>}",
        ),
        ("dataset='cases.yaml', at_least=10**400", f"at_least= is a pass rate between 0 and 1, such as 0.9; got {10**400!r}"),
        (
            "dataset='cases.yaml', at_least=.5, scorers=[len, len]",
            "two scorers of llm_eval() have the name `len`; give them names: scorers={'one': ..., 'other': ...}",
        ),
        ("max_cost=0", "max_cost= of llm_eval() is what the runs of the set may cost, more than 0; got int 0"),
        ("max_cost=float('nan')", "max_cost= of llm_eval() is what the runs of the set may cost, more than 0; got float nan"),
        ("concurrency=-1", "concurrency= of llm_eval() is how many repeats run at once, 1 or more; got int -1"),
        ("prices=3", "prices= of llm_eval() is a mapping of models to prices; got int 3"),
        (
            "dataset='cases.yaml', at_least=.5, prices={'x': 3}",
            "prices of 'x' are a tuple (input, output, cache_read, cache_write) per million tokens, of which the last two may be"
            " left out; got 3",
        ),
        (
            "dataset='case.yaml', at_least=.5",
            "case.yaml: the dataset cannot be read: No such file or directory; did you mean `cases.yaml`?",
        ),
        (
            "dataset='cases.yaml', at_least=.99, repeats=1",
            "2 runs cannot show 99 %: even if all pass (2 cases of cases, 1 repeat each)\n"
            "  only that it is lower, if 1 or fewer pass\n"
            "  368 runs can show 99 %, if all of them pass; fewer cannot",
        ),
        (
            "dataset='cases.yaml', at_least=.9, repeats=10",
            "20 runs cannot show 90 %: even if all pass (2 cases of cases, 10 repeats each)\n"
            "  only that it is lower, if 14 or fewer pass\n"
            "  36 runs can show 90 %, if all of them pass; fewer cannot",
        ),
    ],
)
def test_a_wrong_marker_is_an_error_of_its_file_alone(cases, marker, error):
    cases.write("def test_other(): pass", "test_other")
    outcome = cases.run(
        f"import pytest\n@pytest.mark.llm_eval({marker})\ndef test_capital(case): pass\n", "--continue-on-collection-errors"
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert "INTERNALERROR" not in outcome.text
    told = outcome.part("ERROR collecting test_it.py")
    assert told.removeprefix("test_it.py::test_capital: ").replace(f"{cases.path}/", "") == error


def test_one_run_cannot_show_99_percent(suite):
    (suite.path / "one.yaml").write_text("- {id: a, inputs: 1}")
    outcome = suite.run(
        "import pytest\n@pytest.mark.llm_eval(dataset='one.yaml', repeats=1, at_least=.99)\ndef test_it(case): pass\n"
    )

    assert outcome.part("ERROR collecting test_it.py") == (
        "test_it.py::test_it: 1 run cannot show 99 %: even if all pass (1 case of one, 1 repeat each)\n"
        "  only that it is lower, if none passes\n"
        "  368 runs can show 99 %, if all of them pass; fewer cannot"
    )


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (
            "- {id: a, inputs: 1}\n- {id: a, inputs: 2}",
            "bad.yaml:2: case 2 has the id 'a' of another case, which is at bad.yaml:1",
        ),
        ("- {id: a}", "bad.yaml:1: case 1 has no `inputs`"),
        (
            "- {id: a, input: 1}",
            "bad.yaml:1: case 1 has the unknown key `input`\n"
            "  expected  `id`, `inputs`, `expected`, `tags`, `weight` or `metadata`\n"
            "  did you mean `inputs`?",
        ),
        (
            "- {id: a, inputs: 1, tags: 3}",
            'bad.yaml:1: `tags` of case 1 must be text, or a list of texts; got the int 3\n  quote it to make it text: "3"',
        ),
        ("[]", "bad.yaml: the dataset has no cases; no result would mean anything"),
        (
            "- {id: sk-a1b2c3d4e5a1b2c3d4e5a1b2c3d4e5, inputs: 1}",
            "the id '<mask:secret>' of a case looks like a secret; it would be in the names of tests and in results",
        ),
    ],
)
def test_a_wrong_dataset_is_an_error_of_its_file_alone(suite, lines, error):
    (suite.path / "bad.yaml").write_text(lines)
    suite.write("def test_other(): pass", "test_other")
    outcome = suite.run(
        "import pytest\n@pytest.mark.llm_eval(dataset='bad.yaml', at_least=.5)\ndef test_it(case): pass\n",
        "--continue-on-collection-errors",
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    told = outcome.part("ERROR collecting test_it.py")
    assert told.removeprefix("test_it.py::test_it: ").replace(f"{suite.path}/", "") == error


@pytest.mark.parametrize(
    ("test", "error"),
    [
        ("def test_it(): pass", "a test with llm_eval takes the argument `case`: `.id`, `.inputs`, `.expected`, ..."),
        ("async def test_it(case): yield 1", "a test with llm_eval returns its output, and has no `yield`"),
    ],
)
def test_a_test_that_cannot_be_run_is_an_error(cases, test, error):
    outcome = cases.run(f"import pytest\n@pytest.mark.llm_eval(dataset='cases.yaml', at_least=.5)\n{test}\n")

    assert outcome.counts == {"error": 1}
    assert outcome.part("ERROR collecting test_it.py") == f"test_it.py::test_it: {error}"


def test_a_method_of_unittest_gets_no_cases_and_fails(cases):
    outcome = cases.run(
        """
import unittest, pytest

class TestIt(unittest.TestCase):
    @pytest.mark.llm_eval(dataset="cases.yaml", at_least=.5)
    def test_capital(self): pass
"""
    )

    assert outcome.counts == {"error": 1}
    assert "pytest cannot give it cases here" in outcome.text


def test_the_marker_is_shown(suite):
    outcome = suite.run("", "--markers")

    assert "@pytest.mark.llm_eval(*, dataset, at_least, repeats=10, confidence=0.95, method='exact'" in outcome.text
