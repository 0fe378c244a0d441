"""`llm_budget` and the line about the tokens of the suite."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import MODEL


def test_a_test_that_spends_more_than_its_budget_fails_with_the_calls_that_spent_most(suite):
    outcome = suite.run(
        MODEL
        + """
@pytest.mark.llm_budget(total_tokens=20, requests=10)
def test_it():
    ask("a" * 3, "a" * 9, "a", "a" * 5, "a" * 4, "a" * 7, "a" * 2, model_name="gpt")
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it") == (
        "this test spent more than its budget (llm_budget): total_tokens 38 of 20\n"
        "  the model calls that spent most, of 7:\n"
        "    `gpt` gpt: 9 in, 1 out\n"
        "    `gpt` gpt: 7 in, 1 out\n"
        "    `gpt` gpt: 5 in, 1 out\n"
        "    `gpt` gpt: 4 in, 1 out\n"
        "    `gpt` gpt: 3 in, 1 out\n"
        "    ... 2 more\n"
        "  raise the limit, or make fewer or shorter calls"
    )


@pytest.mark.parametrize(
    ("limits", "over"),
    [
        ("total_tokens=12", None),
        ("total_tokens=11", "total_tokens 12 of 11"),
        ("input_tokens=9", "input_tokens 10 of 9"),
        ("output_tokens=1", "output_tokens 2 of 1"),
        ("requests=2", None),
        ("requests=1, total_tokens=11", "requests 2 of 1, total_tokens 12 of 11"),
        ("cost=0.001, prices={'scripted': (10, 100)}", None),
        ("cost=0.0002, prices={'scripted': (10, 100)}", "cost 0.0003 of 0.0002"),
        ("cost=0", "is not known\n  no price for the model 'scripted' in genai-prices"),
    ],
)
def test_each_limit_holds_up_to_its_number(suite, limits, over):
    outcome = suite.run(MODEL + f"@pytest.mark.llm_budget({limits})\ndef test_it():\n    ask('aaaaa', 'aaaaa')\n")

    assert outcome.counts == ({"passed": 1} if over is None else {"failed": 1})
    assert over is None or over in outcome.part("test_it")


def test_a_budget_of_tokens_fails_where_a_model_reports_none(suite):
    outcome = suite.run(
        MODEL
        + """
@pytest.mark.llm_budget(total_tokens=20)
def test_it():
    ask("a")
    ScriptedChatModel(say("x", usage=False)).invoke("hi")

@pytest.mark.llm_budget(requests=2)
def test_requests():
    ScriptedChatModel(say("x", usage=False)).invoke("hi")
"""
    )

    assert outcome.counts == {"failed": 1, "passed": 1}
    assert outcome.part("test_it").startswith(
        "whether this test kept to its budget (llm_budget) is not known: 1 of 2 model calls reported no usage\n"
        "    `ScriptedChatModel` scripted: usage not known\n"
        "  let the model report it (`stream_usage=True` of many), or limit `requests`"
    )


def test_a_failing_budget_shows_the_tree(suite):
    outcome = suite.run(MODEL + "@pytest.mark.llm_budget(requests=0)\ndef test_it():\n    ask('a')\n")

    assert outcome.part("llmtest: run tree") == 'chat ScriptedChatModel\n  > u1: "hi"\n  < a1: "a"  usage in=1 out=1'


def test_a_budget_is_of_the_test_function_and_everything_that_it_starts(suite):
    outcome = suite.run(
        MODEL
        + """
import threading

@pytest.fixture
def prepared():
    with record():
        ask("fixture")
    yield
    ask("teardown")

@pytest.mark.llm_budget(requests=4)
def test_within(prepared):
    everything()

@pytest.mark.llm_budget(requests=3)
def test_over(prepared):
    everything()

def everything():
    ask("direct")
    with count_tokens():
        ask("nested")
    def bare():
        with record():
            ask("bare thread with a block")
    thread = threading.Thread(target=bare)
    thread.start()
    thread.join()
    asyncio.run(asyncio.to_thread(ask, "in a thread"))
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1, "passed": 1}
    assert "requests 4 of 3" in outcome.part("test_over")


def test_a_narrower_marker_changes_what_it_names(suite):
    outcome = suite.run(
        MODEL
        + """
pytestmark = pytest.mark.llm_budget(requests=1, total_tokens=100)

def test_outer():
    ask("a", "b")

@pytest.mark.llm_budget(requests=2)
class TestInner:
    def test_wider(self):
        ask("a", "b")

    @pytest.mark.llm_budget(total_tokens=3)
    def test_narrower(self):
        ask("a", "b")
"""
    )

    assert outcome.counts == {"failed": 2, "passed": 1}
    assert "requests 2 of 1" in outcome.part("test_outer")
    assert "total_tokens 4 of 3" in outcome.part("TestInner.test_narrower")


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("llm_budget(100)", "llm_budget takes its limits by name, as llm_budget(total_tokens=100); got 100"),
        (
            "llm_budget",
            "llm_budget without a limit; give one or more of total_tokens, input_tokens, output_tokens, requests, cost",
        ),
        ("llm_budget(cost=1, prices={'gpt': 3})", "prices of 'gpt' are a tuple (input, output, cache_read, cache_write)"),
    ],
)
def test_a_marker_that_says_no_limit_is_an_error_of_the_setup(suite, marker, told):
    outcome = suite.run(f"import pytest\n\n@pytest.mark.{marker}\ndef test_it():\n    pass\n")

    assert outcome.counts == {"error": 1}
    assert told in outcome.part("ERROR at setup of test_it")


def test_a_test_that_fails_of_its_own_is_told_that(suite):
    outcome = suite.run(MODEL + "@pytest.mark.llm_budget(requests=0)\ndef test_it():\n    ask('a')\n    assert 1 == 2\n")

    assert outcome.counts == {"failed": 1}
    assert "assert 1 == 2" in outcome.part("test_it")
    assert "llm_budget" not in outcome.part("test_it").replace("@pytest.mark.llm_budget", "")


def test_a_budget_holds_for_async_tests_unittest_and_hypothesis(suite):
    outcome = suite.run(
        MODEL
        + """
import unittest
from hypothesis import given, settings, strategies

@pytest.mark.llm_budget(requests=0)
@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.gather(ScriptedChatModel("a").ainvoke("hi"), ScriptedChatModel("a").ainvoke("hi"))

@pytest.mark.llm_budget(requests=0)
@pytest.mark.anyio
async def test_anyio():
    await ScriptedChatModel("a").ainvoke("hi")

@pytest.fixture
def anyio_backend():
    return "asyncio"

class TestCase(unittest.IsolatedAsyncioTestCase):
    @pytest.mark.llm_budget(requests=0)
    async def test_unittest(self):
        await ScriptedChatModel("a").ainvoke("hi")

@pytest.mark.llm_budget(requests=0)
@settings(max_examples=2, database=None)
@given(strategies.integers())
def test_hypothesis(number):
    ask("a")
"""
    )

    assert outcome.counts == {"failed": 4}
    assert outcome.text.count("requests 2 of 0") >= 2
    assert outcome.text.count("requests 1 of 0") >= 2


def test_each_attempt_of_a_rerun_has_its_whole_budget_and_all_are_in_the_summary(suite):
    outcome = suite.run(
        MODEL
        + """
attempts = []

@pytest.mark.llm_budget(requests=1)
def test_it():
    attempts.append(1)
    ask("aaa")
    assert len(attempts) == 3
""",
        "--reruns=3",
    )

    assert outcome.counts == {"passed": 1, "rerun": 2}
    assert outcome.has_part("llmtest: 12 tokens (9 in, 3 out) in 3 model calls of 1 test")


# -- the line about the suite


def test_what_fixtures_of_wider_scope_record_counts_for_the_test_that_set_them_up(suite):
    outcome = suite.run(
        MODEL
        + """
@pytest.fixture(scope="module")
def program():
    with count_tokens():
        ask("aaa")

@pytest.mark.llm_budget(requests=0)
def test_one(program):
    pass
"""
    )

    assert outcome.counts == {"passed": 1}
    assert outcome.has_part("llmtest: 4 tokens (3 in, 1 out) in 1 model call of 1 test")


# -- blocks that async fixtures hold open


def test_blocks_of_async_fixtures_are_left_in_another_task_and_close_right(suite):
    outcome = suite.run(
        MODEL
        + """
import pytest_asyncio

seen = []

async def counted():
    async with count_tokens() as tokens:
        yield tokens
    seen.append((tokens.closed, tokens.requests))

by_asyncio = pytest_asyncio.fixture(counted)

@pytest.fixture
async def by_anyio():
    async with count_tokens() as tokens:
        yield tokens
    seen.append((tokens.closed, tokens.requests))

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.asyncio
async def test_asyncio(by_asyncio):
    await ScriptedChatModel("a").ainvoke("hi")
    assert by_asyncio.requests == 1

@pytest.mark.anyio
async def test_anyio(by_anyio):
    await ScriptedChatModel("a").ainvoke("hi")
    assert by_anyio.requests == 1

@count_tokens()
async def helper():
    await ScriptedChatModel("a").ainvoke("hi")

@pytest.mark.asyncio
async def test_what_the_fixtures_counted():
    await helper()
    assert seen == [(True, 1), (True, 1)]
"""
    )

    assert outcome.counts == {"passed": 3}


def test_a_budget_does_not_hold_for_calls_that_have_not_told_what_they_spent(suite):
    outcome = suite.run(
        """
import asyncio, threading
import pytest
from llmtest import ScriptedChatModel, fail, say

budget = pytest.mark.llm_budget(total_tokens=1000)
MODEL = ScriptedChatModel(say("a b c", usage=(5, 3)).repeat())

@budget
def test_closed_early():
    next(MODEL.stream("hi"))

@budget
async def test_async_closed_early():
    async for _ in MODEL.astream("hi"):
        break

@budget
def test_broken_off():
    with pytest.raises(ValueError):
        for _ in ScriptedChatModel(say("a b c").then_fail(ValueError("no"))).stream("hi"):
            pass

@budget
def test_open():
    test_open.stream = MODEL.stream("hi")
    next(test_open.stream)

@budget
def test_bare_thread():
    thread = threading.Thread(target=MODEL.invoke, args=("hi",))
    thread.start()
    thread.join()

@pytest.mark.llm_budget(cost=1, prices={"scripted": (1, 1)})
def test_cost():
    next(MODEL.stream("hi"))

@budget
def test_refused_before_the_first_token():
    with pytest.raises(Exception):
        ScriptedChatModel(fail(429)).invoke("hi")
    MODEL.invoke("hi")

@pytest.mark.llm_budget(total_tokens=3)
def test_over_anyway():
    MODEL.invoke("hi")
    next(MODEL.stream("hi"))
""",
        "--llmtest-protocol=off",
        "--llmtest-trees=off",
        "-oasyncio_mode=auto",
    )

    assert outcome.counts == {"failed": 7, "passed": 1}
    assert outcome.part("test_closed_early").startswith(
        "whether this test kept to its budget (llm_budget) is not known: 1 of 1 model calls have not told what they spent\n"
        "    `ScriptedChatModel` scripted: usage not known, closed early\n"
        "  let each call end in the test, or limit `requests`"
    )
    assert "is not known: 1 call happened that nothing counted" in outcome.part("test_bare_thread")
    assert "the cost of a call is not known, because it was broken off" in outcome.part("test_cost")
    assert "this test spent more than its budget" in outcome.part("test_over_anyway")


def test_a_limit_that_is_no_number_is_refused(suite):
    outcome = suite.run(MODEL + "@pytest.mark.llm_budget(total_tokens=float('nan'))\ndef test_it():\n    pass\n")

    assert "the limit `total_tokens` of llm_budget is a number, 0 or more; got nan" in outcome.text


def test_calls_of_a_raw_sdk_are_within_the_budget(suite):
    outcome = suite.run(
        """
import openai, pytest
from llmtest import say

@pytest.mark.llm_budget(requests=1)
def test_two_calls(scripted_providers):
    scripted_providers({"openai:gpt-5": say("a", "b").repeat()})
    for _ in range(2):
        openai.OpenAI().responses.create(model="gpt-5", input="hi")
""",
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert "this test spent more than its budget (llm_budget): requests 2 of 1" in outcome.part("test_two_calls")
