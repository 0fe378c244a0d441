"""The marker `llm_interleave`, and the options `--llmtest-schedule` and `--llmtest-shuffle`."""

from __future__ import annotations

import re

import pytest

RACE = """
import asyncio
import pytest
from llmtest import ScriptedChatModel, on

made = []

@pytest.fixture
def seen():
    made.append("up")
    yield []
    made.append("down")

async def visit(name, seen):
    await ScriptedChatModel("Hello", name=name).ainvoke("hi")
    seen.append(name)

@pytest.mark.llm_interleave(runs=20{more})
async def test_race(seen):
    await asyncio.gather(visit("a", seen), visit("b", seen))
    assert {compared} == ["a", "b"]

def test_fresh():
    assert made[:2] == ["up", "down"]
    assert len(made) == made.count("up") * 2
"""
WEAK, SOUND = (RACE.replace("{compared}", compared) for compared in ("seen", "sorted(seen)"))


def test_a_race_is_found_and_one_line_repeats_it(suite):
    outcome = suite.run(WEAK.replace("{more}", ""))

    assert outcome.counts == {"failed": 1, "passed": 1}
    word = re.search(r'repeat: pytest "test_it.py::test_race" --llmtest-schedule=(\S+)', outcome.text)
    assert word is not None
    assert "1 deviation from the usual order" in outcome.text
    assert "passing  start a" in outcome.text
    assert suite.run(None, "test_it.py::test_race", f"--llmtest-schedule={word[1]}").counts == {"failed": 1}
    assert suite.run(None, "test_it.py::test_race", "--llmtest-schedule=dt1-cg").counts == {"passed": 1}


@pytest.mark.parametrize("mark", ["", "@pytest.mark.asyncio\n"])
def test_a_sound_test_passes_under_all_schedules_with_fresh_fixtures(suite, mark):
    outcome = suite.run(SOUND.replace("{more}", "").replace("@pytest.mark.llm_int", f"{mark}@pytest.mark.llm_int"))

    assert outcome.counts == {"passed": 2}
    assert re.fullmatch(
        r"test_it.py::test_race: 20 schedules, \d distinct orders, bound \d exhausted",
        outcome.part("llmtest: orders").strip(),
    )


def test_workers_say_the_same(suite):
    outcome = suite.run_on_workers(SOUND.replace("{more}", ", bound=1").partition("def test_fresh")[0])

    assert "test_it.py::test_race: " in outcome.text
    assert outcome.counts == {"passed": 1}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (", run=3", "the marker llm_interleave takes `runs`, `seed`, `bound` by name; got run=; did you mean `runs`?"),
        (", bound=-1", "bound= of the marker llm_interleave is a whole number and not negative; got -1"),
        (", seed='x'", "seed= of the marker llm_interleave is a whole number and not negative; got 'x'"),
    ],
)
def test_a_wrong_marker_is_an_error_of_collection(suite, more, text):
    outcome = suite.run(SOUND.replace("{more}", more))

    assert outcome.counts == {"error": 1}
    assert text in " ".join(outcome.text.split())


THREADS = """
import pytest
from langchain_core.runnables import RunnableLambda, RunnableParallel
from llmtest import ScriptedChatModel

@pytest.mark.llm_interleave(runs=20)
def test_race():
    seen = []

    def visit(name):
        ScriptedChatModel("Hello", name=name).invoke("hi")
        seen.append(name)

    RunnableParallel({name: RunnableLambda(lambda _, name=name: visit(name)) for name in "ab"}).invoke("x")
    assert {compared} == ["a", "b"]
"""


def test_threads_of_a_test_that_is_not_async_take_turns(suite):
    outcome = suite.run(THREADS.replace("{compared}", "seen"))
    word = re.search(r"--llmtest-schedule=(\S+)", outcome.text)

    assert outcome.counts == {"failed": 1}
    assert word is not None
    assert suite.run(None, f"--llmtest-schedule={word[1]}").counts == {"failed": 1}
    assert suite.run(THREADS.replace("{compared}", "sorted(seen)")).counts == {"passed": 1}


def test_the_marker_takes_its_options_by_name(suite):
    outcome = suite.run("import pytest\n@pytest.mark.llm_interleave(3)\nasync def test_it(): pass\n")

    assert "got an argument without a name" in outcome.text


def test_a_fixture_that_fails_fails_the_test(suite):
    outcome = suite.run(SOUND.replace("{more}", "").replace('made.append("up")', "raise KeyError('x')"))

    assert outcome.counts == {"error": 1, "failed": 1}


SHUFFLED = """
import asyncio
import pytest
from llmtest import on

@pytest.mark.asyncio
async def test_race(scripted_chat_model):
    model, seen = scripted_chat_model(on(contains="a") >> "A", on(contains="b") >> "B"), []

    async def visit(name):
        await model.ainvoke(name)
        seen.append(name)

    await asyncio.gather(visit("a"), visit("b"))
    assert seen == ["a", "b"]

@pytest.mark.asyncio
async def test_unrecorded():
    await asyncio.sleep(0)

def test_sync(scripted_chat_model):
    scripted_chat_model("Hello").invoke("hi")
"""


def test_shuffled_tests_run_under_an_order_of_the_seed(suite):
    outcomes = {seed: suite.run(SHUFFLED, f"--llmtest-shuffle={seed}") for seed in range(1, 7)}

    failed = {seed for seed, outcome in outcomes.items() if outcome.counts == {"failed": 1, "passed": 2}}
    passed = {seed for seed, outcome in outcomes.items() if outcome.counts == {"passed": 3}}
    assert failed | passed == set(outcomes)
    assert failed
    assert passed
    seed = min(failed)
    assert f"llmtest: shuffled 1 test with --llmtest-shuffle={seed}" in outcomes[seed].text
    word = re.search(r"--llmtest-schedule=(\S+)", outcomes[seed].text)
    assert word is not None
    assert suite.run(None, "test_it.py::test_race", f"--llmtest-schedule={word[1]}").counts == {"failed": 1}


def test_a_random_seed_is_told(suite):
    outcome = suite.run(SHUFFLED, "--llmtest-shuffle", "-k", "race")

    assert re.search(r"llmtest: shuffled 1 test with --llmtest-shuffle=\d+", outcome.text)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--llmtest-shuffle=x", "--llmtest-shuffle takes the seed that a session has printed, a whole number; got 'x'"),
        ("--llmtest-schedule=x", "--llmtest-schedule takes the word that a failure has printed; got 'x': "),
    ],
)
def test_a_wrong_option_is_a_usage_error(suite, option, text):
    assert text in suite.run(SHUFFLED, option).errors
