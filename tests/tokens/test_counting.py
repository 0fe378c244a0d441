"""Token counts: what is counted, under which names, and what it costs. Which calls belong to a block is in test_blocks.py."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, GenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langgraph.graph import START, MessagesState, StateGraph

from llmtest import ScriptedChatModel, ScriptedLLM, call, count_tokens, fail, record, say, scripted_tool
from llmtest.capture import membership
from llmtest.errors import PriceError
from llmtest.events import FrozenDict, Usage
from llmtest.tokens import ModelCall, TokenCount
from llmtest.tokens.counting import call_of

SAID = say("Hello", " there", usage=(3, 2)).repeat()
COUNTS = ("input_tokens", "output_tokens", "total_tokens", "requests", "successful_requests", "errors", "cached", "unreported")


def counts(tokens: Any) -> dict[str, int]:
    """The figures that are not 0."""
    return {name: getattr(tokens, name) for name in COUNTS if getattr(tokens, name)}


def model(**fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel(SAID, **fields)


class Answers(BaseChatModel):
    """A chat model that gives what it was made with: results, and the chunks of streams."""

    results: Sequence[ChatResult] = ()
    chunks: Sequence[AIMessageChunk] = ()
    fails: bool = False

    @property
    def _llm_type(self) -> str:
        return "answers"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self.results[0]


class Streams(Answers):
    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)
        if self.fails:
            raise ConnectionError("reset")


class Texts(BaseLLM):
    """A text model that gives what it was made with."""

    result: LLMResult | None = None
    chunks: Sequence[GenerationChunk] = ()

    @property
    def _llm_type(self) -> str:
        return "texts"

    def _generate(self, prompts: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        assert self.result is not None
        return self.result


class StreamedTexts(Texts):
    def _stream(self, prompt: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[GenerationChunk]:
        yield from self.chunks


def usage(into: int, out: int, **details: Any) -> Any:
    return {"input_tokens": into, "output_tokens": out, "total_tokens": into + out, **details}


def message(into: int, out: int, name: str = "gpt") -> AIMessage:
    return AIMessage("x", usage_metadata=usage(into, out), response_metadata={"model_name": name})


def result(*messages: AIMessage, **output: Any) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=m) for m in messages], llm_output=output or None)


def chunk(text: str, *counted: int) -> AIMessageChunk:
    return AIMessageChunk(text, usage_metadata=usage(*counted) if counted else None)


def both(work: Any) -> tuple[TokenCount, TokenCount]:
    """The counts of a block that is alone, and of one beside a recording: the tap hands on less where nobody records."""
    with count_tokens() as alone:
        work()
    with record() as recording, count_tokens() as beside:
        work()
    if all(call.is_known for call in beside.calls):
        assert recording.usage == beside.usage
    else:
        assert repr(recording.usage) == "<Usage: not known>"
    assert (_in_any_order(alone.calls), alone.late, alone.usage) == (_in_any_order(beside.calls), beside.late, beside.usage)
    return alone, beside


def _in_any_order(calls: list[ModelCall]) -> list[ModelCall]:
    """Parallel branches end as chance has it."""
    return sorted(calls, key=repr)


# -- the guide's section on counting tokens, sentence by sentence


def _agent() -> Any:
    from langchain.agents import create_agent

    tool = scripted_tool("square_root", "2", args={"of": int}, description="The square root.")
    steps = call("square_root", of=4), say("It is 2.")
    return create_agent(ScriptedChatModel(*steps), [tool])


GUIDE: dict[str, Any] = {"text": ScriptedLLM(SAID), "chat": model()}
ASK = "What is the square root of 4?"


def ask(kind: str) -> Any:
    return _agent().invoke({"messages": ASK}) if kind == "agent" else GUIDE[kind].invoke(ASK)


async def aask(kind: str) -> Any:
    if kind == "agent":
        return await _agent().ainvoke({"messages": ASK})
    return await GUIDE[kind].agenerate([ASK] if kind == "text" else [[HumanMessage(ASK)]])


def _total(kind: str) -> int:
    with count_tokens() as tokens:
        ask(kind)
    return tokens.total_tokens


each_kind = pytest.mark.parametrize("kind", ["text", "chat", "agent"])


@each_kind
def test_guide_one_call_is_counted(kind: str) -> None:
    with count_tokens() as tokens:
        ask(kind)

    assert tokens.total_tokens > 0
    assert tokens.requests == (2 if kind == "agent" else 1)


@each_kind
def test_guide_two_calls_are_twice_as_much(kind: str) -> None:
    with count_tokens() as tokens:
        ask(kind)
        ask(kind)

    assert tokens.total_tokens == _total(kind) * 2


@each_kind
@pytest.mark.asyncio
async def test_guide_three_calls_at_once_are_three_times_as_much(kind: str) -> None:
    with count_tokens() as tokens:
        await asyncio.gather(*[aask(kind) for _ in range(3)])

    assert tokens.total_tokens == _total(kind) * 3


@each_kind
@pytest.mark.asyncio
async def test_guide_a_task_that_was_started_before_the_block_is_not_counted(kind: str) -> None:
    task = asyncio.create_task(aask(kind))
    with count_tokens() as tokens:
        await aask(kind)
    await task

    assert tokens.total_tokens == _total(kind)


def test_moving_over_from_the_openai_callback_is_one_line() -> None:
    answer = say("x", usage=Usage(10, 5, 15, {"cache_read": 4}, {"reasoning": 3}))  # type: ignore[arg-type]
    with count_tokens(prices={"scripted": (2, 10, 1)}) as cb:
        ScriptedChatModel(answer).invoke("hi")

    assert (cb.total_tokens, cb.prompt_tokens, cb.completion_tokens, cb.successful_requests) == (15, 10, 5, 1)
    assert (cb.prompt_tokens_cached, cb.reasoning_tokens) == (4, 3)
    assert cb.total_cost == (6 * 2 + 4 * 1 + 5 * 10) / 1_000_000


# -- what is counted


def test_chat_usage_is_counted_with_its_details() -> None:
    details = {"input_token_details": {"cache_read": 4}, "output_token_details": {"reasoning": 2}}
    answer = AIMessage("x", usage_metadata=usage(10, 5, **details), response_metadata={"model_name": "gpt"})

    tokens, _ = both(lambda: Answers(results=[result(answer)]).invoke("hi"))

    assert counts(tokens) == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "requests": 1, "successful_requests": 1}
    assert (tokens.input_details, tokens.output_details) == ({"cache_read": 4}, {"reasoning": 2})
    assert tokens.calls == [ModelCall("Answers", "gpt", (), (), tokens.usage, "ended")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"token_usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}, Usage(7, 2, 9)),
        ({"usage": {"input_tokens": 7, "output_tokens": 2}}, Usage(7, 2, 9)),
        (
            {
                "token_usage": {
                    "prompt_tokens": 7,
                    "completion_tokens": 2,
                    "prompt_tokens_details": {"cached_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 1},
                }
            },
            Usage(7, 2, 9, {"cache_read": 3}, {"reasoning": 1}),  # type: ignore[arg-type]
        ),
    ],
)
def test_the_llm_output_of_a_text_model_is_counted(said: dict[str, Any], expected: Usage) -> None:
    output = LLMResult(generations=[[Generation(text="x")]], llm_output={"model_name": "davinci", **said})

    tokens, _ = both(lambda: Texts(result=output).invoke("hi"))

    assert (tokens.usage, [call.model for call in tokens.calls], tokens.unreported) == (expected, ["davinci"], 0)


def test_a_chat_model_that_reports_in_its_llm_output_is_counted() -> None:
    output = result(AIMessage("x"), token_usage={"prompt_tokens": 7, "completion_tokens": 2}, model_name="old")

    tokens, _ = both(lambda: Answers(results=[output]).invoke("hi"))

    assert (tokens.usage, list(tokens.by_model)) == (Usage(7, 2, 9), ["old"])


def test_streamed_usage_is_counted_of_chat_and_text_models() -> None:
    def work() -> None:
        list(model().stream("hi"))
        list(ScriptedLLM(SAID).stream("hi"))

    tokens, _ = both(work)

    assert counts(tokens) == {"input_tokens": 6, "output_tokens": 4, "total_tokens": 10, "requests": 2, "successful_requests": 2}


def test_usage_of_deltas_on_several_chunks_is_added_up() -> None:
    chunks = [chunk("a", 25, 1), chunk("b", 0, 4), chunk("c", 0, 10)]

    tokens, _ = both(lambda: list(Streams(chunks=chunks).stream("hi")))

    assert tokens.usage == Usage(25, 15, 40)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk("a", 25, 1), chunk("b", 25, 5), chunk("c", 25, 15)],
        [chunk("a"), chunk("b", 25, 15), chunk("", 25, 15)],
    ],
    ids=["on each chunk", "on the last two"],
)
def test_usage_that_arrives_cumulatively_on_chunks_is_not_doubled(chunks: list[AIMessageChunk]) -> None:
    tokens, _ = both(lambda: list(Streams(chunks=chunks).stream("hi")))

    assert tokens.usage == Usage(25, 15, 40)


def test_several_candidates_are_all_counted() -> None:
    tokens, _ = both(lambda: Answers(results=[result(message(5, 2), message(5, 3))]).invoke("hi"))

    assert (tokens.usage, tokens.requests) == (Usage(10, 5, 15), 1)


@pytest.mark.parametrize(
    ("each", "whole", "expected"),
    [
        (((5, 7), (5, 7)), (5, 7), Usage(5, 7, 12)),  # ChatOpenAI with n=2: each candidate has the usage of the call
        (((5, 2), (5, 3)), (10, 5), Usage(10, 5, 15)),
        (((5, 2), (5, 3)), (5, 5), Usage(5, 5, 10)),
    ],
)
def test_what_is_said_of_the_whole_call_decides_over_its_candidates(each: Any, whole: Any, expected: Usage) -> None:
    counted = {"prompt_tokens": whole[0], "completion_tokens": whole[1]}
    output = result(*[message(*one) for one in each], token_usage=counted)

    tokens, _ = both(lambda: Answers(results=[output]).invoke("hi"))

    assert tokens.usage == expected


def test_several_prompts_of_a_chat_model_are_all_counted() -> None:
    tokens, _ = both(lambda: model().generate([[HumanMessage(text)] for text in "abc"]))

    assert (tokens.usage, tokens.requests) == (Usage(9, 6, 15), 3)


def test_several_prompts_of_a_text_model_share_one_report() -> None:
    output = LLMResult(
        generations=[[Generation(text="a")], [Generation(text="b")]],
        llm_output={"token_usage": {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}},
    )

    tokens, _ = both(lambda: Texts(result=output).generate(["a", "b"]))

    assert (tokens.usage, tokens.requests, tokens.unreported) == (Usage(8, 4, 12), 2, 0)


def test_no_model_name_is_needed() -> None:
    nameless = AIMessage("x", usage_metadata=usage(5, 2))

    tokens, _ = both(lambda: Answers(results=[result(nameless)]).invoke("hi"))

    assert tokens.total_tokens == 7
    assert {name: counts(of) for name, of in tokens.by_model.items()} == {
        None: {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "requests": 1, "successful_requests": 1}
    }


def test_answers_from_the_cache_are_counted_apart() -> None:
    cached = model(cache=InMemoryCache())

    with count_tokens(prices={"scripted": (1, 1)}) as tokens, record() as recording:
        cached.invoke("hi")
        cached.invoke("hi")
        cached.invoke("hi")

    figures = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "requests": 1, "successful_requests": 1, "cached": 2}
    assert counts(tokens) == figures
    assert (tokens.cached_usage, tokens.total_cost) == (Usage(6, 4, 10), 5 / 1_000_000)
    assert [call.cached for call in tokens.calls] == [run.cached for run in recording.models] == [False, True, True]
    assert recording.usage == tokens.usage
    assert repr(tokens) == "<TokenCount: 3 in, 2 out, 1 request, 2 from the cache>"
    assert str(tokens.calls[1]) == "`ScriptedChatModel` scripted: from the cache"


def test_an_answer_from_the_cache_that_never_had_usage_is_counted_apart() -> None:
    cached = ScriptedChatModel(say("x", usage=False), cache=InMemoryCache())
    cached.invoke("hi")

    tokens, _ = both(lambda: cached.invoke("hi"))

    assert (counts(tokens), tokens.cached_usage) == ({"cached": 1}, Usage())


def test_a_text_model_that_is_answered_from_the_cache_fires_nothing() -> None:
    cached = ScriptedLLM(SAID, cache=InMemoryCache())

    with count_tokens() as tokens:
        cached.invoke("hi")
        cached.invoke("hi")

    assert counts(tokens) == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "requests": 1, "successful_requests": 1}


@pytest.mark.parametrize("fails", [True, False], ids=["broken off", "closed early"])
def test_an_aborted_stream_keeps_what_it_had(fails: bool) -> None:
    chunks = [chunk("a", 25, 1), chunk("b", 0, 4), chunk("c", 0, 10)]

    def work() -> None:
        stream = Streams(chunks=chunks, fails=fails).stream("hi")
        with suppress(ConnectionError):
            for number, _ in enumerate(stream):
                if not fails and number == 1:
                    break
        stream.close()  # type: ignore[attr-defined]

    tokens, _ = both(work)

    assert tokens.usage == (Usage(25, 15, 40) if fails else Usage(25, 5, 30))
    assert (tokens.requests, tokens.errors, tokens.successful_requests) == (1, int(fails), 0)
    assert [call.ended for call in tokens.calls] == ["error" if fails else "closed early"]


def test_a_call_that_fails_before_its_answer_is_a_request_and_an_error() -> None:
    def work() -> None:
        with suppress(TimeoutError):
            ScriptedChatModel(fail(TimeoutError)).invoke("hi")
        with suppress(TimeoutError):
            ScriptedLLM(fail(TimeoutError)).invoke("hi")

    tokens, _ = both(work)

    assert counts(tokens) == {"requests": 2, "errors": 2}
    assert repr(tokens) == "<TokenCount: 0 in, 0 out, 2 requests, 2 errors>"
    assert str(tokens.calls[0]) == "`ScriptedChatModel` scripted: 0 in, 0 out, error"


@pytest.mark.parametrize("made", [Answers(results=[result(AIMessage("x"))]), ScriptedChatModel(say("x", usage=False).repeat())])
def test_a_call_that_reports_no_usage_is_told(made: Any) -> None:
    tokens, _ = both(lambda: made.invoke("hi"))

    assert counts(tokens) == {"requests": 1, "successful_requests": 1, "unreported": 1}
    assert repr(tokens) == "<TokenCount: 0 in, 0 out, 1 request, 1 without usage>"


def test_an_empty_report_of_a_text_model_is_none_unless_another_prompt_has_it() -> None:
    output = LLMResult(generations=[[Generation(text="x")]], llm_output={"token_usage": {}})

    tokens, _ = both(lambda: Texts(result=output).invoke("hi"))

    assert counts(tokens) == {"requests": 1, "successful_requests": 1, "unreported": 1}


def test_a_streamed_text_without_info_reports_nothing() -> None:
    tokens, _ = both(lambda: list(StreamedTexts(chunks=[GenerationChunk(text="x")]).stream("hi")))

    assert counts(tokens) == {"requests": 1, "successful_requests": 1, "unreported": 1}


def test_two_calls_with_one_run_id_are_two_calls() -> None:
    config: Any = {"run_id": uuid4()}

    with count_tokens() as tokens:
        model().invoke("hi", config)
        model().invoke("hi", config)

    assert (tokens.usage, len(tokens.calls)) == (Usage(6, 4, 10), 2)


# -- by whom


def test_counts_are_told_by_model_and_by_tag() -> None:
    fast, slow = Answers(results=[result(message(1, 1, "fast"))]), Answers(results=[result(message(10, 10, "slow"))])

    def work() -> None:
        fast.invoke("hi", {"tags": ["plan", "cheap"]})
        fast.invoke("hi", {"tags": ["cheap"]})
        slow.invoke("hi", {"tags": ["plan"]})
        slow.invoke("hi")

    tokens, _ = both(work)

    assert {name: of.total_tokens for name, of in tokens.by_model.items()} == {"fast": 4, "slow": 40}
    assert {name: of.total_tokens for name, of in tokens.by_tag.items()} == {"plan": 22, "cheap": 4}
    assert {name: of.requests for name, of in tokens.by_tag.items()} == {"plan": 2, "cheap": 2}
    assert repr(tokens.by_model["fast"]) == "<Counts: 2 in, 2 out, 2 requests>"
    assert tokens.by_node == {}


def test_counts_are_told_by_the_node_of_a_graph() -> None:
    tokens, _ = both(lambda: ask("agent"))

    assert {name: of.requests for name, of in tokens.by_node.items()} == {"model": 2}
    assert str(tokens.calls[1]) == "`ScriptedChatModel` scripted in node `model`: 9 in, 4 out"


def test_a_call_knows_all_nodes_around_it() -> None:
    model = ScriptedChatModel("plan", "draft", "polish")

    def ask_in(name: str) -> Any:
        return name, lambda state: {"messages": [model.invoke("hi")]}

    inner = StateGraph(MessagesState).add_node(*ask_in("draft")).add_node(*ask_in("polish"))
    inner.add_edge(START, "draft").add_edge("draft", "polish")
    outer = StateGraph(MessagesState).add_node(*ask_in("plan")).add_node("write", inner.compile())
    outer.add_edge(START, "plan").add_edge("plan", "write")

    with count_tokens() as tokens:
        outer.compile().invoke({"messages": []})

    assert [call.nodes for call in tokens.calls] == [("plan",), ("write", "draft"), ("write", "polish")]
    assert {name: of.requests for name, of in tokens.by_node.items()} == {"plan": 1, "write": 2}


def test_two_overlapping_runs_with_one_id_both_count() -> None:
    model = ScriptedChatModel("a b", "c d e")
    config: RunnableConfig = {"run_id": uuid4()}

    with count_tokens() as tokens:
        stream = model.stream("1", config)
        next(stream)
        model.invoke("2", config)
        list(stream)

    assert [call.spent.output_tokens for call in tokens.calls] == [2, 3]
    assert (tokens.requests, tokens.output_tokens) == (2, 5)


@pytest.mark.parametrize("key", ["model", "model_name"])
def test_a_call_that_got_no_answer_has_the_name_that_it_was_asked_for_by(key: str) -> None:
    class Asked(Answers):
        def _get_invocation_params(self, stop: Any = None, **kwargs: Any) -> dict[str, Any]:
            return {key: "asked"}

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            raise TimeoutError

    def work() -> None:
        with suppress(TimeoutError):
            Asked().invoke("hi")

    tokens, _ = both(work)

    assert [call.model for call in tokens.calls] == ["asked"]


# -- reading


def test_counts_are_read_while_the_block_is_open() -> None:
    with count_tokens() as tokens:
        model().invoke("hi")
        first = counts(tokens), repr(tokens)
        stream = model().stream("hi")
        next(stream)
        second = counts(tokens)
        list(stream)

    assert first == (
        {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "requests": 1, "successful_requests": 1},
        "<TokenCount: 3 in, 2 out, 1 request>",
    )
    assert second == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "requests": 2, "successful_requests": 1}
    assert tokens.total_tokens == 10


def test_counts_do_not_change_after_the_block() -> None:
    with count_tokens() as tokens:
        stream = model().stream("hi")
        next(stream)
    before = counts(tokens)
    list(stream)
    model().invoke("hi")

    assert (before, counts(tokens)) == ({"requests": 1}, {"requests": 1})
    assert ([call.ended for call in tokens.calls], [call.ended for call in tokens.late]) == (["open"], ["ended"])


@pytest.mark.asyncio
async def test_a_run_that_starts_late_below_one_of_the_block_is_late() -> None:
    go = asyncio.Event()

    async def work(text: str) -> None:
        await go.wait()
        await model().ainvoke(text)

    with count_tokens() as tokens:
        task = asyncio.create_task(RunnableLambda(work).ainvoke("hi"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    go.set()
    await task

    assert (counts(tokens), tokens.calls, [call.spent.total_tokens for call in tokens.late]) == ({}, [], [5])


def test_a_count_of_a_hundred_tokens_keeps_no_token() -> None:
    long = ScriptedChatModel(say(tokens=["x"] * 100, usage=(3, 100)))

    with count_tokens() as tokens:
        list(long.stream("hi"))
        kept = len(tokens._raw)

    assert (kept, tokens.output_tokens) == (3, 100)  # a start, an end, and the chunk that has the usage


# -- what it costs

PRICES = {"gpt": (2.0, 10.0), "claude": (3.0, 15.0, 0.3, 3.75)}


def test_an_event_of_a_call_that_never_started_is_not_counted() -> None:
    with count_tokens() as tokens:
        member = membership.begin(run_id := uuid4(), None)
        assert member is not None
        member.deliver(("on_llm_end", run_id, None, lambda: FrozenDict(), 0, 0, None))

    assert (counts(tokens), tokens.calls) == ({}, [])


def test_an_answer_that_is_none_is_a_request_without_usage() -> None:
    def work() -> None:
        (run,) = CallbackManager.configure().on_chat_model_start({}, [[HumanMessage("hi")]])
        run.on_llm_end("no result")  # type: ignore[arg-type]

    tokens, _ = both(work)

    assert counts(tokens) == {"requests": 1, "successful_requests": 1, "unreported": 1}


# -- memory


def test_a_count_is_gone_with_its_last_name() -> None:
    gc.collect()
    gc.disable()
    try:
        with count_tokens() as tokens:
            model().invoke("hi")
        seen = weakref.ref(tokens)
        del tokens
        assert seen() is None
    finally:
        gc.enable()


def test_parallel_branches_count_as_one_sum() -> None:
    tokens, _ = both(lambda: RunnableParallel(a=model(), b=ScriptedLLM(SAID), c=model()).invoke("hi"))

    assert tokens.total_tokens == 15


# -- what is not known


def test_the_total_cost_of_a_block_names_the_model_that_is_not_known() -> None:
    with count_tokens(prices=PRICES) as tokens:
        Answers(results=[result(message(1, 1))]).invoke("hi")
        model().invoke("hi")

    with pytest.raises(PriceError, match="no price for the model 'scripted'"):
        _ = tokens.total_cost


# -- a run as a call


def test_a_run_is_the_call_that_the_block_counted() -> None:
    cached = model(cache=InMemoryCache())

    def program() -> None:
        model().invoke("hi", {"tags": ["a"]})
        for _ in range(2):
            cached.invoke("hi")
        with suppress(Exception):
            ScriptedChatModel(fail(500)).invoke("hi")

    with record() as recording, count_tokens() as tokens:
        program()

    assert [call_of(run) for run in recording.models] == tokens.calls


def test_an_open_run_is_an_open_call() -> None:
    with record() as recording, count_tokens() as tokens:
        stream = ScriptedChatModel(say("Hello ", "there")).stream("hi")
        next(stream)
        assert [call_of(recording.models[0])] == tokens.calls
        list(stream)
