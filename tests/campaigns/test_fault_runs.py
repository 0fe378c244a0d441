"""`faults`: planted weaknesses are found, repaired twins pass, and what is asked wrongly is refused."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from llmtest import ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, record, say
from llmtest.campaigns import Matrix, fault_runs, faults, kind_names
from llmtest.errors import CampaignError, FaultError
from llmtest.langchain.providers import scripted_providers
from tests.support.racing_programs import RACING
from tests.support.surviving_programs import SURVIVORS
from tests.support.weak_programs import TWINS, Twins, ask_again, ask_once


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins.name)
def test_a_planted_weakness_is_found_with_a_witness(twins: Twins) -> None:
    matrix = twins.campaign(twins.weak)

    name, outcome = twins.finds
    assert matrix[name] == outcome
    (verdict,) = (verdict for verdict in matrix.verdicts if verdict.name == name)
    assert verdict.witness
    assert verdict.why
    with pytest.raises(FaultError):
        matrix.check()


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins.name)
def test_a_repaired_twin_passes(twins: Twins) -> None:
    matrix = twins.campaign(twins.sound)

    assert len(matrix) > 0
    assert matrix.failed == ()
    matrix.check()


def test_two_campaigns_of_one_program_are_equal() -> None:
    assert str(faults(ask_again)) == str(faults(ask_again))


def test_a_campaign_leaves_nothing_on_the_page_of_the_test_around(page) -> None:
    with record() as recording:
        faults(ask_once, kinds="timeout")

    assert page.take() == []
    assert len(recording.models) == 2  # it sees what the program does, as any block around


def test_the_first_line_of_a_failure_names_outcome_and_fault() -> None:
    matrix = faults(ask_once, kinds="timeout")

    with pytest.raises(FaultError) as caught:
        matrix.check()

    assert str(caught.value) == (
        "crash: ScriptedChatModel#1 timeout\n"
        "  TimeoutError: the model timed out\n"
        "\n"
        "1 fault at 1 call: 1 crash\n"
        "  ScriptedChatModel#1\n"
        "    crash             timeout"
    )
    assert (caught.value.outcome, caught.value.fault) == ("crash", "ScriptedChatModel#1 timeout")


def test_pairs_come_after_single_faults_that_are_survived() -> None:
    def twice() -> None:
        model = ScriptedChatModel("a", "b").with_retry(stop_after_attempt=2)
        assert [model.invoke(question).content for question in ("1", "2")] == ["a", "b"]

    matrix = faults(twice, kinds=["server error", "timeout"], pairs=True)

    assert matrix.summary() == "8 faults at 2 calls: 8 recovered"
    assert [cell.name for cell in matrix][4:] == [
        "ScriptedChatModel#1 server error and ScriptedChatModel#2 server error",
        "ScriptedChatModel#1 server error and ScriptedChatModel#2 timeout",
        "ScriptedChatModel#1 timeout and ScriptedChatModel#2 server error",
        "ScriptedChatModel#1 timeout and ScriptedChatModel#2 timeout",
    ]


def test_a_pair_that_fails_is_a_smallest_set() -> None:
    def with_one_spare() -> None:
        spare = ["spare"]

        def ask(model: ScriptedChatModel) -> str:
            try:
                return model.invoke("hi").text
            except TimeoutError:
                return spare.pop()

        assert ask(ScriptedChatModel("a", name="first")) in ("a", "spare")
        assert ask(ScriptedChatModel("b", name="second")) in ("b", "spare")

    matrix = faults(with_one_spare, kinds="timeout", pairs=True)

    assert [(cell.name, cell.outcome) for cell in matrix.failed] == [("first#1 timeout and second#1 timeout", "crash")]


class Old(BaseRetriever):
    """Takes no run manager, so nothing tells its calls from others."""

    def _get_relevant_documents(self, query: str) -> list[Document]:  # type: ignore[override]
        return [Document(page_content=query)]


def test_what_cannot_be_reached_is_a_hole() -> None:
    def ask_both() -> None:
        Old().invoke("hi")
        ScriptedChatModel("Hello").invoke("hi")

    matrix = faults(ask_both, kinds="empty answer", survives=lambda recording: True)

    assert matrix.holes == ("Old#1",)
    assert str(matrix).splitlines()[-1] == "  holes, where no fault can come: `Old#1`"


def test_a_text_model_and_a_retriever_have_faults_of_their_own() -> None:
    def ask() -> None:
        ScriptedLLM("Hello").invoke("hi")
        ScriptedRetriever(["Cats purr."]).invoke("cats")

    matrix = faults(ask, survives=lambda recording: True)

    assert {cell.name for cell in matrix if cell.outcome == "recovered"} == {
        "ScriptedLLM#1 empty answer",
        "ScriptedRetriever#1 finds nothing",
    }
    assert {cell.name for cell in matrix if cell.outcome == "crash"} == {
        *(f"ScriptedLLM#1 {fault}" for fault in ("rate limit", "rate limit with retry-after", "server error")),
        *(f"ScriptedLLM#1 {fault}" for fault in ("timeout", "connection reset", "context too long")),
        "ScriptedRetriever#1 raises RuntimeError",
        "ScriptedRetriever#1 raises TimeoutError",
    }


def test_a_program_that_tries_for_ever_hangs() -> None:
    def stubborn() -> str:
        model = ScriptedChatModel(say("Hello").repeat())
        while not (answer := model.invoke("hi").text):
            pass
        return answer

    def worse() -> None:
        @tool
        def ping(q: str) -> str:
            """Ping."""
            return "pong"

        while ScriptedChatModel("Hello").invoke("hi").text != "Hello":
            while True:
                ping.invoke("x")

    assert faults(stubborn, kinds="empty answer").counts() == {"recovered": 1}
    (verdict,) = faults(worse, kinds="empty answer").verdicts
    assert (verdict.outcome, verdict.why) == ("hang", "it made more than 24 calls; without the fault 1")


def test_an_answer_that_no_script_has_cannot_be_told() -> None:
    def asks_more() -> None:
        model = ScriptedChatModel("Hello")
        if not model.invoke("hi").text:
            for question in ("why?", "really?"):
                model.invoke(question)

    (verdict,) = faults(asks_more, kinds="empty answer").verdicts

    assert (verdict.outcome, verdict.why) == (
        "cannot tell",
        "the script has no answer for what comes next: unexpected model call 2: the script has 1 step, all served",
    )


def test_a_fault_that_changes_nothing_is_not_exposed() -> None:
    @tool
    def log(text: str) -> None:
        """Write a log."""

    matrix = faults(lambda: log.invoke("x"), kinds=["nothing", "empty"])

    assert {cell.name: cell.outcome for cell in matrix} == {
        "log#1 returns nothing": "not exposed",
        "log#1 returns an empty text": "not exposed",
    }


def test_a_fault_whose_call_does_not_come_is_not_exposed() -> None:
    def by_chance(numbers=iter(range(9))) -> None:  # noqa: B008
        ScriptedChatModel("Hello").invoke(f"question {next(numbers)}")

    (verdict,) = faults(by_chance, kinds="timeout").verdicts

    assert (verdict.outcome, verdict.why) == ("not exposed", "`ScriptedChatModel#1 timeout`: the call did not come")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kinds": ["time out"]}, "there is no kind of fault 'time out'; did you mean `timeout`?"),
        ({"kinds": []}, f"kinds= is a list of the names of faults; got []\n  known  {', '.join(f'`{n}`' for n in kind_names())}"),
        (
            {"survives": "same answr"},
            "survives= is \"same answer\", a class of errors or a function; got 'same answr'; did you mean `same answer`?",
        ),
        ({"effects": 3}, "effects= is a list of the names of tools; got 3"),
        ({"effects": [3]}, "effects= is a list of the names of tools; got [3]"),
        ({"invariants": ["empty anser"]}, "there is no invariant 'empty anser'; did you mean `empty answer`?"),
    ],
)
def test_a_wrong_option_is_refused_at_once(options, text) -> None:
    with pytest.raises(CampaignError) as caught:
        faults(ask_once, **options)

    assert str(caught.value) == text


def test_a_program_that_fails_without_a_fault_has_no_campaign(outside) -> None:
    def fails() -> None:
        ScriptedChatModel("Hello").invoke("hi")
        raise KeyError("x")

    def leaves_a_step() -> None:
        ScriptedChatModel("Hello", "unused").invoke("hi")

    with pytest.raises(CampaignError) as caught:
        faults(fails)
    with pytest.raises(CampaignError) as left:
        faults(leaves_a_step)

    assert str(caught.value) == "the program fails without a fault\n  KeyError: 'x'"
    assert str(left.value).startswith("the program fails without a fault\n  ViolationError: ")


def in_a_bare_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_call_that_a_program_makes_anyway_makes_up_for_no_other() -> None:
    def program() -> None:
        for question in ("one", "two"):
            with suppress(TimeoutError):
                ScriptedChatModel("yes", name="model").invoke(question)

    def asks_another() -> None:
        try:
            ScriptedChatModel("yes", name="a").invoke("hi")
        except TimeoutError:
            ScriptedChatModel("yes", name="b").invoke("hi")

    assert faults(program, kinds="timeout").counts() == {"not exposed": 2}
    assert faults(program, kinds="timeout", invariants="swallowed error").counts() == {"wrong and silent": 2}
    assert faults(asks_another, kinds="timeout", invariants="swallowed error").counts() == {"recovered": 1}


def test_another_answer_that_nothing_asserts_is_not_noticed() -> None:
    def program() -> None:
        ScriptedChatModel("one", name="a").with_retry(wait_exponential_jitter=False).invoke("hi")

    timeout, empty = faults(program, kinds=["empty answer", "timeout"]).verdicts

    assert (empty.outcome, empty.why) == (
        "not exposed",
        "nothing noticed it, because the test asserts nothing: the answer is ''; without the fault 'one'",
    )
    assert timeout.outcome == "recovered"


def test_an_assertion_that_fails_in_a_group_of_tasks_is_no_error_that_the_program_may_raise() -> None:
    async def asks() -> None:
        assert (await ScriptedChatModel("one", name="a").ainvoke("hi")).text == "one"

    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asks())

    for survives in (None, Exception):
        (verdict,) = faults(program, kinds="empty answer", survives=survives).verdicts
        assert verdict.outcome == "wrong and silent"


UNSEEN = (
    "1 call of b happened that the recording did not see; start it with carry_context(target), RunnableParallel, batch or"
    " asyncio.to_thread, or say `llmtest_follow = test`"
)


def test_calls_in_threads_without_the_context_are_left_out_and_no_weakness() -> None:
    def program() -> None:
        in_a_bare_thread(lambda: ScriptedChatModel("two", name="b").invoke("hi"))
        model = ScriptedChatModel("one", name="a").with_retry(wait_exponential_jitter=False)
        assert model.invoke("hi").text == "one"

    matrix = faults(program, kinds="timeout")

    assert matrix.counts() == {"recovered": 1}
    assert matrix.left_out == (UNSEEN,)
    with pytest.raises(CampaignError) as caught:
        faults(lambda: in_a_bare_thread(lambda: ScriptedChatModel("two", name="b").invoke("hi")))
    assert str(caught.value) == f"the program makes no call that could have a fault\n  {UNSEEN}"


def test_what_calls_in_a_thread_without_the_context_for_a_fault_cannot_be_told() -> None:
    def program() -> None:
        try:
            ScriptedChatModel("one", name="a").invoke("hi")
        except TimeoutError:
            in_a_bare_thread(lambda: ScriptedChatModel("one", name="b").invoke("hi"))

    (verdict,) = faults(program, kinds="timeout").verdicts

    assert (verdict.outcome, verdict.why) == ("cannot tell", UNSEEN)


def test_a_program_that_exits_crashes() -> None:
    def program() -> None:
        try:
            ScriptedChatModel("one", name="a").invoke("hi")
        except TimeoutError:
            sys.exit(3)

    (verdict,) = faults(program, kinds="timeout").verdicts

    assert (verdict.outcome, verdict.why) == ("crash", "SystemExit: 3")
    assert faults(program, kinds="timeout", survives=SystemExit).counts() == {"declared error": 1}


def test_a_stream_that_is_left_before_it_is_cut_has_had_no_fault() -> None:
    def reads(number: int) -> None:
        chunks = FakeListChatModel(responses=["yes"]).stream("hi")
        assert "".join(chunk.text for chunk in itertools.islice(chunks, number)) == "yes"[:number]
        chunks.close()  # type: ignore[attr-defined]

    assert faults(lambda: reads(2), kinds="stream cut")["FakeListChatModel#1 stream cut after chunk 1"] == "crash"
    assert faults(lambda: reads(2), kinds="stream cut")["FakeListChatModel#1 stream cut after chunk 2"] == "not exposed"
    assert faults(lambda: reads(1), kinds="empty answer").counts() == {"wrong and silent": 1}


def generates() -> Iterator[object]:
    yield ScriptedChatModel("one", name="a").invoke("hi")


async def agenerates() -> AsyncIterator[object]:
    yield await ScriptedChatModel("one", name="a").ainvoke("hi")


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (3, "faults() takes a function without arguments; got 3"),
        (generates, "the program is a generator, so nothing of it runs when it is called: generates"),
        (agenerates, "the program is a generator, so nothing of it runs when it is called: agenerates"),
    ],
)
def test_what_is_no_program_is_refused(program: Any, text: str) -> None:
    with pytest.raises(CampaignError) as caught:
        faults(program)

    assert str(caught.value).splitlines()[-1].endswith(text)


def test_a_program_without_calls_has_no_campaign() -> None:
    with pytest.raises(CampaignError) as caught:
        faults(lambda: None)
    with pytest.raises(CampaignError) as unscripted:
        faults(lambda: Old().invoke("hi"))

    assert str(caught.value) == "the program makes no call that could have a fault"
    assert str(unscripted.value) == ("the program makes no call that could have a fault; it made 1 call that can have none")


def test_pytest_fail_is_an_assertion_and_an_interrupt_goes_out() -> None:
    def fails() -> None:
        if not ScriptedChatModel("Hello").invoke("hi").text:
            pytest.fail("no answer")

    def stops() -> None:
        if not ScriptedChatModel("Hello").invoke("hi").text:
            raise KeyboardInterrupt

    (verdict,) = faults(fails, kinds="empty answer").verdicts
    assert (verdict.outcome, verdict.why) == ("wrong and silent", "Failed: no answer")
    with pytest.raises(KeyboardInterrupt):
        faults(stops, kinds="empty answer")


def test_a_long_campaign_shows_how_far_it_is(monkeypatch, capsys) -> None:
    told: list[tuple[int, int]] = []

    class Shown:
        def __enter__(self):
            return lambda done, of: told.append((done, of))

        def __exit__(self, *_: object) -> None:
            told.append((-1, -1))

    monkeypatch.setattr(fault_runs, "PROGRESS_AFTER_S", -1.0)
    monkeypatch.setattr(fault_runs, "progress", lambda things: Shown())

    faults(ask_once, kinds=["timeout", "server error"])

    assert told == [(1, 2), (2, 2), (-1, -1)]


def test_cancelled_at_each_await() -> None:
    async def swallows() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return (await ScriptedChatModel("Hello").ainvoke("hi")).text

    async def lets_go() -> str:
        await asyncio.sleep(0)
        return (await ScriptedChatModel("Hello").ainvoke("hi")).text

    async def turns_it_into_an_error() -> str:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise ValueError("cancelled") from None
        return (await ScriptedChatModel("Hello").ainvoke("hi")).text

    for program, outcome, why in (
        (swallows, "wrong and silent", "it was cancelled, and went on"),
        (lets_go, "recovered", ""),
        (turns_it_into_an_error, "wrong and silent", "it was cancelled, and raised ValueError: cancelled"),
    ):
        verdict = faults(program, kinds="cancelled").verdicts[0]
        assert (verdict.outcome, verdict.why, verdict.name) == (outcome, why, "await#1 cancelled")


def test_tools_of_a_call_are_called_twice_in_the_same_answer() -> None:
    calls: list[str] = []

    @tool
    def search(q: str) -> str:
        """Search."""
        calls.append(q)
        return q

    def ask() -> Matrix | None:
        calls.clear()
        answer = ScriptedChatModel(call("search", q="x")).bind_tools([search]).invoke("hi")
        for said in answer.tool_calls:
            search.invoke(said["args"])
        return None

    (verdict,) = faults(ask, kinds="tool call twice", effects="search").verdicts

    assert (verdict.outcome, verdict.why) == ("wrong and silent", "the tool `search` had its effect twice for {'q': 'x'}")
    assert calls == ["x", "x"]


@pytest.mark.parametrize(
    ("dialect", "errors"),
    [
        (
            "openai",
            {"rate limit": "RateLimitError", "server error": "InternalServerError", "context too long": "BadRequestError"},
        ),
        ("anthropic", {"rate limit": "RateLimitError", "server error": "InternalServerError"}),
    ],
)
def test_a_dialect_has_the_errors_of_its_provider(dialect: str, errors: dict[str, str]) -> None:
    def ask() -> None:
        ScriptedChatModel("Hello", dialect=dialect, name="model").invoke("hi")

    matrix = faults(ask, kinds=[*errors])

    found = {verdict.faults[0].kind: verdict.error for verdict in matrix.verdicts}
    assert all(name in [kind.__name__ for kind in type(found[kind]).__mro__] for kind, name in errors.items())
    assert all(type(error).__module__.partition(".")[0] in (dialect, f"langchain_{dialect}") for error in found.values())


def test_faults_come_over_the_wire_and_the_retries_of_the_sdk_are_seen(clients_left_open) -> None:
    def ask(retries: int) -> Callable[[], None]:
        def program() -> None:
            with scripted_providers({"openai:gpt-5": ["Hello"]}):
                model = ChatOpenAI(model="gpt-5", api_key=SecretStr("x"), max_retries=retries)
                assert model.invoke("hi").text == "Hello"

        return program

    kinds = ["rate limit", "rate limit with retry-after", "server error", "timeout", "connection reset"]
    patient, hasty = faults(ask(2), kinds=kinds), faults(ask(0), kinds=kinds)

    assert patient.counts() == {"recovered": 5}
    assert hasty.counts() == {"crash": 5}
    kinds_of = [{kind.__name__ for kind in type(verdict.error).__mro__} for verdict in hasty.verdicts]
    expected = ["RateLimitError", "RateLimitError", "InternalServerError", "APITimeoutError", "APIConnectionError"]
    assert [name in found for name, found in zip(expected, kinds_of, strict=True)] == [True] * 5


@pytest.mark.parametrize("program", SURVIVORS, ids=lambda program: program.__name__)
def test_a_robust_program_survives_every_fault_of_every_kind(program: Callable[[], object]) -> None:
    matrix = faults(program)

    assert set(matrix.counts()) == {"recovered"}
    assert matrix.holes == matrix.left_out == ()
    matrix.check()


def test_the_survivors_are_ten_and_meet_every_kind_of_fault() -> None:
    met = {verdict.faults[0].kind for program in SURVIVORS for verdict in faults(program).verdicts}

    assert len(SURVIVORS) == 10
    assert met == set(kind_names())


def test_every_weakness_that_is_planted_has_a_twin() -> None:
    assert {*WEAKNESSES} <= {each.name for each in (*TWINS, *RACING)}


WEAKNESSES = (
    "lost retry",
    "double effect",
    "swallowed error",
    "wrong resume",
    "race on a shared list",
    "handler that is not thread-safe",
    "unguarded cache",
    "gather without return_exceptions",
    "stream cleaned up twice",
    "deadlock",
)


def test_what_an_api_cannot_say_is_not_exposed(clients_left_open) -> None:
    @tool
    def search(q: str) -> str:
        """Search."""
        return q

    def ask() -> None:
        with scripted_providers({"ollama:*": [call("search", q="x")]}):
            ChatOllama(model="llama3").bind_tools([search]).invoke("hi")

    (verdict,) = faults(ask, kinds="malformed arguments").verdicts

    assert verdict.outcome == "not exposed"
    assert verdict.why.startswith("no server of this API can say it: the script calls the tool `search` with malformed arguments")


def test_kinds_that_no_call_can_have_are_no_campaign() -> None:
    with pytest.raises(CampaignError) as caught:
        faults(ask_once, kinds="stream cut")

    assert str(caught.value) == "no call of the program can have a fault of these kinds: `stream cut`"


def test_faults_that_do_not_come_prove_nothing() -> None:
    numbers = itertools.count()
    matrix = faults(lambda: ScriptedChatModel("Hello").invoke(f"number {next(numbers)}"), kinds="timeout")

    assert matrix.failed == ()
    with pytest.raises(FaultError) as caught:
        matrix.check()
    assert str(caught.value).startswith("not exposed: ScriptedChatModel#1 timeout\n")


@pytest.mark.parametrize("dialect", ["openai", "openai-responses", "anthropic"])
def test_a_stream_in_the_dialect_of_a_provider_breaks_after_each_chunk(dialect: str) -> None:
    def asks() -> None:
        list(ScriptedChatModel(say("a", "b"), dialect=dialect, name="model").stream("hi"))

    matrix = faults(asks, kinds=["stream cut", "timeout", "connection reset"], survives=Exception)

    assert [cell.name for cell in matrix if "cut" in cell.name] == [f"model#1 stream cut after chunk {n}" for n in (1, 2)]
    errors = [type(verdict.error).__name__ for verdict in matrix.verdicts[:2]]
    assert errors == ["APITimeoutError", "APIConnectionError"]


@pytest.mark.parametrize("dialect", ["plain", "openai", "anthropic"])
def test_a_streamed_tool_call_is_cut_within_its_arguments(dialect: str) -> None:
    @tool
    def look(q: str) -> str:
        """Look."""
        return q

    def asks() -> None:
        model = ScriptedChatModel(call("look", q="x"), dialect=dialect, name="model").bind_tools([look])
        chunks = list(model.stream("hi"))
        assert sum(len(chunk.tool_call_chunks) for chunk in chunks)

    matrix = faults(asks, kinds="stream cut", survives=ConnectionResetError)

    assert len(matrix) > 3
    assert matrix.counts() == {"declared error": len(matrix)}


def test_at_how_many_chunks_a_stream_is_cut_can_be_chosen() -> None:
    def asks() -> None:
        list(ScriptedChatModel(say(*"abcdefghijklmnopqrstuvwxyz"), name="model").stream("hi"))

    def cut(**options: Any) -> Matrix:
        return faults(asks, kinds="stream cut", survives=OSError, **options)

    some, every, one = cut(), cut(chunks="all"), cut(chunks=1)

    assert [len(some), len(every), len(one)] == [20, 26, 1]
    assert str(some).splitlines()[-1] == '  left out: stream cut at 20 of 26 chunks of `model#1`; chunks="all" takes each'
    assert every.left_out == ()
    assert Matrix.from_json(some.as_json()) == replace(some, verdicts=())
    with pytest.raises(CampaignError):
        faults(asks, chunks=0)
