"""The repeats of one case: what a failed run is, what each repeat has of its own, and what a failing case shows."""

from __future__ import annotations

import re

import pytest

from llmtest.evals import Results
from llmtest.tracing.store import Store

HEAD = """
import asyncio, sys, threading, time, warnings
import pytest
from llmtest import ScriptedChatModel, call, count_tokens, record, say
from llmtest.evals import Dataset, Score, contains

CASES = [{"id": name, "inputs": "hi", "expected": "Hello"} for name in ("one", "two")]
ONE, TWO = Dataset(CASES[:1], name="one"), Dataset(CASES, name="two")
runs = []

def evaluate(**more):
    return pytest.mark.llm_eval(**{"dataset": ONE, "repeats": 10, "at_least": .5, **more})
"""


def results(suite):
    (session,) = (suite.path / ".llmtest" / "evals").iterdir()
    return Results.load(session)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("assert 1 == 2", "assert 1 == 2"),
        ("assert 1 == 2, 'one is not two'", "one is not two"),
        ("raise TimeoutError('no answer')", "TimeoutError: no answer"),
        ("raise TimeoutError", "TimeoutError"),
        ("pytest.fail('not so')", "not so"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("ScriptedChatModel().invoke('hi')", "unexpected model call 1: the script has no steps"),
        ("ScriptedChatModel('a', 'b').invoke('hi')", "1 of 2 steps of the script was never used"),
        ("raise ExceptionGroup('both', [ValueError(), KeyError()])", "ExceptionGroup: both (2 sub-exceptions)"),
    ],
)
def test_a_run_that_ends_by_an_exception_has_failed(suite, body, reason):
    outcome = suite.run(HEAD + f"@evaluate()\ndef test_it(case):\n    {body}\n", "--llmtest-traces=off")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it[one]").splitlines() == [
        "fail: 0 of 9 passed with 1 open, so the pass rate is from 0 % to 44.6 % (95 % confidence); 50 % is required",
        f"  9 x {reason}",
    ]


def test_an_async_run_that_ends_by_an_exception_has_failed(suite):
    outcome = suite.run(HEAD + "@evaluate()\nasync def test_it(case):\n    raise TimeoutError('no answer')\n")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it[one]").splitlines()[1] == "  9 x TimeoutError: no answer"


def test_runs_that_pass_pass(suite):
    outcome = suite.run(HEAD + "@evaluate(repeats=20)\ndef test_it(case):\n    runs.append(1)\n    assert len(runs) < 20\n", "-v")

    assert outcome.counts == {"passed": 1}
    assert outcome.exit_code == 0
    assert outcome.part("evaluation").splitlines()[:2] == [
        "test_it.py::test_it: pass: 15 of 15 passed with 5 open, so the pass rate is from 50.8 % to 100 % (95 % confidence);"
        " 50 % is required",
        "  1 case in 15 runs: 1 pass",
    ]


def test_a_case_that_is_undecided_has_a_letter_of_its_own(suite):
    source = HEAD + "@evaluate(dataset=TWO, repeats=10, at_least=.8)\ndef test_it(case):\n    pass\n"

    letters, words = suite.run(source, "-q"), suite.run(source, "-v")

    assert letters.text.splitlines()[0].startswith("uu ")
    assert "test_it.py::test_it[one] UNDECIDED" in words.text
    assert words.counts == {"undecided": 2}
    assert words.exit_code == 0
    assert "test_it.py::test_it: pass: 20 of 20 passed" in words.text


def test_scorers_look_at_what_the_test_returns(suite):
    outcome = suite.run(
        HEAD
        + """
def short(run):
    return len(run.output) < 10

@evaluate(scorers=[contains(), short], dataset=TWO)
def test_it(case):
    return "Hello" if case.id == "one" else "Good bye, and thanks"

@evaluate(scorers={"words": lambda run: len(run.output.split())})
async def test_async(case):
    await asyncio.sleep(0)
    return "Hello you"
"""
    )

    assert outcome.counts == {"passed": 2, "failed": 1}
    assert "9 x contains: 'Hello' is missing in 'Good bye, and thanks'" in outcome.text
    found = results(suite)
    assert found["test_it.py::test_it"].head.scorers == ("contains", "short")
    scores = {name: score.value for name, score in found["test_it.py::test_it"].cases["two"][0].scores.items()}
    assert scores == {"contains": 0.0, "short": 0.0}
    assert found["test_it.py::test_async"].cases["one"][0].scores["words"].value == 2


@pytest.mark.parametrize(
    ("marker", "body", "error"),
    [
        (
            "",
            "return 'Hello'",
            "the test returned str, and llm_eval has no scorers= that look at it\n"
            "  name some, or use `assert` and return nothing",
        ),
        (
            "scorers=[lambda run: None]",
            "pass",
            "the scorer `<lambda>` returned None; it returns a bool, a finite number or a Score",
        ),
    ],
)
def test_a_test_that_scores_nothing_is_an_error_and_no_failed_run(suite, marker, body, error):
    outcome = suite.run(HEAD + f"@evaluate({marker})\ndef test_it(case):\n    {body}\n")

    assert outcome.counts == {"failed": 1}
    assert error in outcome.part("test_it[one]")
    assert results(suite)["test_it.py::test_it"].total == 0
    assert not outcome.has_part("evaluation")


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("kind", ["", "async "])
def test_fixtures_are_set_up_once_and_each_repeat_has_a_recording(suite, concurrency, kind):
    waits, call = ("await asyncio.sleep(0.001)", "await model.ainvoke") if kind else ("time.sleep(0.001)", "model.invoke")
    outcome = suite.run(
        HEAD
        + f"""
set_up = []

@pytest.fixture
def function():
    set_up.append("function")
    return "value"

@pytest.fixture(scope="module")
def module():
    set_up.append("module")

@evaluate(concurrency={concurrency}, dataset=TWO, at_least=.8)
{kind}def test_it(case, function, module, llm_recording, scripted_chat_model):
    runs.append(llm_recording)
    assert function == "value"
    model = scripted_chat_model(say("a", usage=(3, 1)), say("b", usage=(3, 1)))
    {call}("hi")
    {waits}
    {call}("hi")
    assert len(llm_recording.models) == 2
    assert len(llm_recording.unseen_calls) == 0

def test_afterwards():
    assert set_up == ["module", "function", "function"] or set_up == ["function", "module", "function"]
    assert len(runs) == len(set(map(id, runs))) == 20
"""
    )

    assert outcome.counts == {"undecided": 2, "passed": 1}
    repeats = [*results(suite)["test_it.py::test_it"].repeats]
    assert [(repeat.input_tokens, repeat.output_tokens, repeat.models) for repeat in repeats] == [(6, 2, ("scripted",))] * 20
    assert sorted(repeat.repeat for repeat in repeats) == sorted([*range(10)] * 2)


@pytest.mark.parametrize("kind", ["", "async "])
def test_repeats_run_at_once(suite, kind):
    wait = "await asyncio.wait_for(barrier.wait(), 5)" if kind else "barrier.wait(5)"
    outcome = suite.run(
        HEAD
        + f"""
barrier = {"asyncio" if kind else "threading"}.Barrier(5)

@evaluate(concurrency=5, repeats=5, at_least=.4)
{kind}def test_it(case):
    {wait}
"""
    )

    assert outcome.counts == {"passed": 1}


def test_what_goes_wrong_in_a_repeat_is_that_of_the_repeat(suite):
    """Each has a page of its own, also where several run at once."""
    outcome = suite.run(
        HEAD
        + """
lock, numbers = threading.Lock(), iter(range(100))
barrier = threading.Barrier(5)

@evaluate(concurrency=5, repeats=5, at_least=.1)
def test_it(case):
    with lock:
        number = next(numbers)
    barrier.wait(5)
    model = ScriptedChatModel(*["a"] * (2 if number == 3 else 1))
    model.invoke("hi")
    barrier.wait(5)
"""
    )

    assert outcome.counts == {"passed": 1}
    (failed,) = [repeat for repeat in results(suite)["test_it.py::test_it"].repeats if not repeat.passed]
    assert failed.why == "1 of 2 steps of the script was never used"


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ("llm_budget(requests=1)", "this test spent more than its budget (llm_budget): requests 2 of 1"),
        ("llm_rules(at_most(1, model()))", "expected a model at most once"),
    ],
)
def test_rules_and_budgets_are_those_of_a_run(suite, marker, why):
    outcome = suite.run(
        HEAD
        + f"""
from llmtest.matching import at_most, model

@pytest.mark.{marker}
@evaluate(dataset=TWO)
def test_it(case):
    asked = 2 if case.id == "two" else 1
    for _ in range(asked):
        ScriptedChatModel("a").invoke("hi")
"""
    )

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert results(suite)["test_it.py::test_it"].cases["two"][0].why == why


def test_providers_are_scripted_anew_for_each_repeat(suite):
    pytest.importorskip("langchain_openai")
    outcome = suite.run(
        HEAD
        + """
@evaluate(concurrency=8, scorers=[contains()])
def test_it(case, scripted_providers, llm_live):
    from langchain_openai import ChatOpenAI
    if not llm_live:
        scripted_providers({"openai:gpt-5": ["Hello"]})
    return ChatOpenAI(model="gpt-5").invoke("hi")
"""
    )

    assert outcome.counts == {"passed": 1}


@pytest.mark.parametrize(("steps", "why"), [(1, ""), (2, "1 of 2 steps of the script was never used")])
def test_providers_script_the_judge_of_a_repeat_too(suite, steps, why):
    pytest.importorskip("langchain_openai")
    outcome = suite.run(
        HEAD
        + f"""
from langchain_openai import ChatOpenAI
from llmtest import structured
from llmtest.evals import judge

polite = judge(ChatOpenAI(model="gpt-5", api_key="none"), "It greets.", name="polite")
polite.is_qualified = True

@evaluate(scorers=[polite])
def test_it(case, scripted_providers):
    scripted_providers({{"openai:gpt-5": [structured({{"why": "It does.", "passed": True}})] * {steps}}})
    return ScriptedChatModel("Hello").invoke("hi")
"""
    )

    found = results(suite)["test_it.py::test_it"]
    assert {repeat.scores["polite"].passed for repeat in found.repeats} == {steps == 1}
    assert {repeat.why.partition("\n")[0] for repeat in found.repeats} == {why}
    assert outcome.counts == ({"passed": 1} if steps == 1 else {"failed": 1})


@pytest.mark.parametrize("plugin", ["none", "asyncio", "anyio"])
def test_async_tests_run_with_any_plugin_or_none(suite, plugin):
    mark = {"none": "", "asyncio": "@pytest.mark.asyncio", "anyio": "@pytest.mark.anyio"}[plugin]
    fixture = {"none": "", "asyncio": "pytest_asyncio.fixture", "anyio": "pytest.fixture"}[plugin]
    if fixture:
        fixture = f"@{fixture}\nasync def loop_of_fixture():\n    return asyncio.get_running_loop()\n"
    outcome = suite.run(
        HEAD
        + f"""
import pytest_asyncio

@pytest.fixture
def anyio_backend():
    return "asyncio"

{fixture}
{mark}
@evaluate(concurrency=3)
async def test_it(case{", loop_of_fixture" if fixture else ""}):
    runs.append(asyncio.get_running_loop())
    {"assert loop_of_fixture is runs[-1]" if fixture else ""}

def test_afterwards():
    assert len(set(map(id, runs))) == 1
    assert len(runs) == 9 or len(runs) == 10
"""
    )

    assert outcome.counts == {"passed": 2}


def test_trio_runs_them_one_by_one(suite):
    pytest.importorskip("trio")
    outcome = suite.run(
        HEAD
        + """
import trio

@pytest.fixture
def anyio_backend():
    return "trio"

@pytest.mark.anyio
@evaluate(concurrency=3)
async def test_it(case):
    await trio.sleep(0)
"""
    )

    assert outcome.counts == {"passed": 1}


def test_a_run_that_is_cancelled_has_failed(suite):
    outcome = suite.run(
        HEAD
        + """
@evaluate()
async def test_it(case):
    raise asyncio.CancelledError
"""
    )

    assert outcome.counts == {"failed": 1}
    assert "9 x CancelledError" in outcome.text


def test_a_test_that_skips_itself_is_skipped(suite):
    outcome = suite.run(
        HEAD
        + """
@evaluate(dataset=TWO, repeats=20)
def test_it(case):
    if case.id == "two":
        pytest.skip("not today")
""",
        "-rs",
    )

    assert outcome.counts == {"passed": 1, "skipped": 1}
    assert re.search(r"SKIPPED \[1\] test_it.py:\d+: not today", outcome.text)
    assert outcome.part("evaluation").splitlines()[:3] == [
        "test_it.py::test_it: pass: 15 of 15 passed with 5 open, so the pass rate is from 50.8 % to 100 % (95 % confidence);"
        " 50 % is required",
        "  1 case in 15 runs: 1 pass",
        "  1 case skipped",
    ]


def test_a_snapshot_of_one_run_is_refused(suite):
    outcome = suite.run(HEAD + "@evaluate(dataset=TWO, repeats=20)\ndef test_it(case, llm_snapshot):\n    pass")

    assert outcome.counts == {"failed": 2}
    assert outcome.part("test_it[one]") == (
        "llm_snapshot compares one run, and a test with llm_eval has several: take the scorer same_tree(Path(...)), and leave"
        " `llm_snapshot` out"
    )


def test_runs_before_a_skip_stay_in_the_count(suite):
    """Or a program could skip what does not go well."""
    outcome = suite.run(
        HEAD
        + """
@evaluate(dataset=TWO, repeats=20)
def test_it(case, number=[]):
    number.append(1)
    if case.id == "one" and len(number) == 7:
        pytest.skip("enough")
    assert case.id == "two", "no"
""",
    )

    assert outcome.exit_code == 1
    assert outcome.part("test_it").splitlines() == [
        "undecided: 15 of 21 passed with 19 open, so the pass rate is from 22.7 % to 94.3 % (95 % confidence); 50 % is required",
        "  a new set of 28 repeats would decide, if 71.43 % of them pass; or a new set of 23, if at most 6 fail",
        "  that is 14 or 12 repeats of each of the 2 cases",
        "  2 cases in 21 runs: 1 pass, 1 fail",
        "  1 case skipped after some runs, which count",
        "  one: 6 of 6 failed: no",
    ]


XFAIL = """
@pytest.mark.xfail{how}
@evaluate(dataset=TWO, repeats=12)
def test_it(case, number=[]):
    number.append(1)
    assert {passes}
"""


@pytest.mark.parametrize(
    ("passes", "how", "counts"),
    [
        ("False", "", {"xfailed": 2}),
        ("False", "(strict=True)", {"xfailed": 2}),
        ("len(number) % 2", "", {"undecided": 2}),
        ("True", "", {"xpassed": 2}),
        ("True", "(strict=True)", {"failed": 2}),
    ],
)
def test_a_set_whose_test_is_expected_to_fail_fails_no_session(suite, passes, how, counts):
    outcome = suite.run(HEAD + XFAIL.format(passes=passes, how=how))

    assert outcome.counts == counts
    assert outcome.exit_code == (1 if "failed" in counts else 0)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_interrupt_stops_the_session(suite, concurrency):
    suite.write(
        HEAD
        + f"""
@evaluate(dataset=TWO, concurrency={concurrency})
def test_it(case):
    runs.append(1)
    if len(runs) == 4:
        raise KeyboardInterrupt
"""
    )

    with pytest.raises(KeyboardInterrupt):
        suite.run()

    assert 3 <= results(suite)["test_it.py::test_it"].total <= 6


def test_traces_of_failed_runs_are_kept_and_all_if_they_are_wanted(suite):
    source = (
        HEAD
        + """
@evaluate(repeats=8, at_least=.1)
def test_it(case):
    runs.append(1)
    ScriptedChatModel("Hello").invoke("hi")
    assert len(runs) != 2
"""
    )
    from llmtest import load_traces

    store = suite.path / ".llmtest" / "traces.sqlite"
    for options, kept in (((), [1]), (("--llmtest-traces=all",), [0, 1, 2]), (("--llmtest-traces=off",), [])):
        suite.run(source, *options)
        session = sorted((suite.path / ".llmtest" / "evals").iterdir(), key=lambda path: path.stat().st_mtime_ns)[-1]
        repeats = [*Results.load(session)["test_it.py::test_it"].repeats]
        traces = {repeat.repeat: repeat.trace for repeat in repeats if repeat.trace}
        assert [number for number in traces if number < 3] == kept
        for name in traces.values():
            (recording,) = load_traces(name, store=store)
            assert recording.kinds == ["on_chat_model_start", "on_llm_end"]


def test_what_scorers_said_is_kept_with_the_traces(suite):
    source = "@evaluate(scorers=[polite, length])\ndef test_it(case):\n    return ScriptedChatModel('Hello').invoke('hi').text\n"
    scorers = "def polite(run):\n    return False\n\ndef length(run):\n    return 5.0\n\n"

    suite.run(HEAD + scorers + source)

    with Store(suite.path / ".llmtest" / "traces.sqlite") as store:
        (name, *_) = [session.name for session in store.sessions()]
        found = {verdict.name: (verdict.value, verdict.passed) for verdict in store.verdicts(name)}
    assert found == {"length": (5.0, None), "polite": (0.0, False)}


def test_a_failing_case_says_how_its_traces_are_shown(suite):
    outcome = suite.run(
        HEAD + "@evaluate()\ndef test_it(case):\n    ScriptedChatModel('a').invoke('hi')\n    assert False, 'no'\n"
    )

    name = results(suite)["test_it.py::test_it"].cases["one"][0].trace
    assert outcome.part("test_it[one]").splitlines()[1:] == ["  9 x no", f"  llmtest show '{name}' (9 failed runs kept)"]
    assert name.endswith(" test_it.py::test_it[one] #0")


def test_a_rerun_runs_nothing_again(suite):
    pytest.importorskip("pytest_rerunfailures")
    outcome = suite.run(
        HEAD
        + """
@evaluate()
def test_it(case):
    runs.append(1)
    assert len(runs) > 9

def test_afterwards():
    assert len(runs) == 9
""",
        "--reruns=3",
    )

    assert outcome.counts == {"failed": 1, "passed": 1, "rerun": 3}
    assert results(suite)["test_it.py::test_it"].total == 9


# -- refusals and cost


@pytest.fixture
def slept(monkeypatch):
    from llmtest.evals import running

    slept = []
    now = [0.0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(running.Pauses, "__init__", _with(running.Pauses.__init__, lambda: now[0], sleep))
    return slept


def _with(init, clock, sleep):
    return lambda self: init(self, clock, sleep)


def test_a_refusal_is_no_failed_run(suite, slept):
    outcome = suite.run(
        HEAD
        + """
from llmtest import fail

@evaluate(dataset=TWO, at_least=.8)
def test_it(case):
    runs.append(1)
    steps = [fail(429, retry_after=7)] if len(runs) == 5 else ["Hello"]
    assert ScriptedChatModel(*steps).invoke("hi").content == "Hello"

def test_afterwards():
    assert len(runs) == 21
"""
    )

    assert outcome.counts == {"undecided": 2, "passed": 1}
    assert slept == [7]
    found = results(suite)["test_it.py::test_it"]
    assert (found.passed, found.total) == (20, 20)


def test_a_provider_that_refuses_all_the_time_ends_the_case_without_a_verdict(suite, slept):
    outcome = suite.run(
        HEAD
        + """
from llmtest.errors import StatusError

@evaluate()
def test_it(case):
    raise StatusError(429)
"""
    )

    assert outcome.counts == {"failed": 1}
    assert "the provider has refused repeat 0 8 times" in outcome.text
    assert len(slept) == 7
    assert results(suite)["test_it.py::test_it"].total == 0


def test_a_judge_that_is_refused_all_the_time_fails_no_run(suite, slept):
    outcome = suite.run(
        HEAD
        + """
from llmtest.errors import StatusError

def refused(run):
    raise StatusError(429)

@evaluate(dataset=TWO, repeats=20, scorers={"polite": refused})
def test_it(case):
    return "Hello"
"""
    )

    assert outcome.counts == {"failed": 2}
    assert "the scorer `polite` was refused: StatusError" in outcome.text
    assert "the set is not judged" in outcome.text or "evaluation" not in outcome.text
    assert results(suite)["test_it.py::test_it"].total == 0


COSTS = """
@evaluate(dataset=TWO, max_cost={limit}, repeats=20, prices={prices})
def test_it(case):
    ScriptedChatModel(say("Hello", usage=(100_000, 0))).invoke("hi")
"""


@pytest.mark.parametrize(("undecided", "exit_code"), [("fail", 1), ("pass", 0)])
def test_no_run_begins_when_the_set_has_cost_what_it_may(suite, undecided, exit_code):
    """What has not run shows nothing: the set does not pass, however the others did."""
    suite.ini(f"[pytest]\nllmtest_undecided = {undecided}\nasyncio_default_fixture_loop_scope = function")
    outcome = suite.run(HEAD + COSTS.format(limit=1.0, prices={"scripted": (1.0, 1.0)}), "-rs")

    assert outcome.exit_code == exit_code
    assert "not run: max_cost=1 of the set is used up" in outcome.text
    lines = [
        "undecided: 10 of 10 passed with 10 open, so the pass rate is from 27.1 % to 100 % (95 % confidence); 50 % is required",
        "  a new set of 11 repeats would decide, if all of them pass",
        "  that is 6 repeats of each of the 2 cases",
        "  1 case in 10 runs: 1 pass; 1,000,000 tokens in 10 model calls; $1",
        "  30 of 40 runs were not run, 1 whole case among them, because max_cost=1 of the set is used up",
    ]
    if exit_code:
        assert outcome.part("test_it").splitlines() == lines
    else:
        assert outcome.part("evaluation").splitlines()[:5] == [f"test_it.py::test_it: {lines[0]}", *lines[1:]]


def test_a_price_that_is_not_known_ends_a_set_with_a_limit(suite):
    outcome = suite.run(HEAD + COSTS.format(limit=1.0, prices=None), "-rs")

    assert outcome.counts == {"failed": 1, "skipped": 1}
    first = "whether the set keeps to max_cost=1 is not known\n  no price for the model 'scripted' in genai-prices"
    assert outcome.part("test_it[one]").startswith(first)
    assert outcome.text.count("give a table") == 1
    assert "During handling" not in outcome.text
    assert "not run: whether the set keeps to max_cost=1 is not known" in outcome.text


def test_what_runs_cost_is_told(suite):
    outcome = suite.run(HEAD + COSTS.format(limit=100.0, prices={"scripted": (1.0, 1.0)}))

    assert outcome.counts == {"passed": 2}
    assert "  2 cases in 30 runs: 2 pass; 3,000,000 tokens in 30 model calls; $3" in outcome.text
    assert {repeat.cost for repeat in results(suite)["test_it.py::test_it"].repeats} == {0.1}


# -- what ends an item


def test_an_async_test_that_skips_itself_is_skipped(suite):
    outcome = suite.run(
        HEAD + "@evaluate()\nasync def test_it(case):\n    await asyncio.sleep(0)\n    pytest.skip('not today')\n", "-rs"
    )

    assert outcome.counts == {"skipped": 1}
    assert "not today" in outcome.text


def test_an_async_test_that_ends_from_outside_counts_no_run(suite):
    """The loop of another plugin may cancel it."""
    outcome = suite.run(
        HEAD
        + """
@pytest.mark.asyncio
@evaluate(concurrency=2)
async def test_it(case):
    runs.append(1)
    if len(runs) == 1:
        for task in asyncio.all_tasks():
            task.cancel()
    await asyncio.sleep(1)
"""
    )

    assert outcome.counts == {"failed": 1}
    assert results(suite)["test_it.py::test_it"].total == 0


@pytest.mark.parametrize("kind", ["", "async "])
def test_a_test_with_a_cassette_may_skip_itself(suite, monkeypatch, kind):
    monkeypatch.delenv("CI", raising=False)
    outcome = suite.run(
        HEAD + f"@pytest.mark.llm_cassette\n@evaluate()\n{kind}def test_it(case):\n    pytest.skip('not today')\n",
        "--llmtest-record=once",
    )

    assert outcome.counts == {"skipped": 1}


def test_traces_that_cannot_be_kept_are_told_and_fail_nothing(suite, monkeypatch):
    (suite.path / "folder").mkdir()
    monkeypatch.setenv("LLMTEST_STORE", str(suite.path / "folder"))
    outcome = suite.run(
        HEAD
        + """
@evaluate(repeats=20, at_least=.1)
def test_it(case):
    runs.append(1)
    ScriptedChatModel("a").invoke("hi")
    assert len(runs) > 3
"""
    )

    assert outcome.counts == {"passed": 1}
    assert "the traces of some runs were not kept: the trace store " in outcome.part("evaluation")
