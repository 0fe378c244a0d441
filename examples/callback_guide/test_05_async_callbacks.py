"""Async callbacks: a sync handler runs in a thread pool, an async handler is awaited, and what that asks of a sync handler.

Section "async callbacks" of LangChain's callback guide. Where its handlers sleep, those here wait for the event loop.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from llmtest import ViolationError, call, on, say
from llmtest.conformance import check_handler
from llmtest.matching import before, called, chain, model, together

classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain and arun

# fmt: off
TOKENS = [
    "", "Why", " don", "'t", " scientists", " trust", " atoms", "?", " \n\n",
    "Because", " they", " make", " up", " everything", ".", "",
]
# fmt: on
JOKE = "Why don't scientists trust atoms? \n\nBecause they make up everything."
GUIDE = "\n".join(
    [
        "zzzz....",
        "Hi! I just woke up. Your llm is starting",
        *(f"Sync handler being called in a `thread_pool_executor`: token: {token}" for token in TOKENS),
        "zzzz....",
        "Hi! I just woke up. Your llm is ending\n",
    ]
)


async def nap() -> None:
    """Waits until the event loop has come round once."""
    morning = asyncio.Event()
    asyncio.get_running_loop().call_soon(morning.set)
    await morning.wait()


class MyCustomSyncHandler(BaseCallbackHandler):
    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        print(f"Sync handler being called in a `thread_pool_executor`: token: {token}")


class MyCustomAsyncHandler(AsyncCallbackHandler):
    async def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        print("zzzz....")
        await nap()
        assert serialized["name"].startswith("Scripted")  # the guide reads it, too: a model still has its `serialized`
        print("Hi! I just woke up. Your llm is starting")

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        print("zzzz....")
        await nap()
        print("Hi! I just woke up. Your llm is ending")


# -- both on one model


def test_the_guides_program_prints_its_lines_in_order(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    chat = scripted_chat_model(say(*TOKENS), streaming=True, callbacks=[MyCustomSyncHandler(), MyCustomAsyncHandler()])

    result = asyncio.run(chat.agenerate([[HumanMessage(content="Tell me a joke")]]))

    assert capsys.readouterr().out == GUIDE
    assert result.generations[0][0].text == JOKE
    assert llm_recording.kinds == ["on_chat_model_start", *["on_llm_new_token"] * len(TOKENS), "on_llm_end"]
    assert llm_recording.tokens == TOKENS
    assert llm_recording == llm_snapshot


@classic
def test_an_llm_chain_hands_both_handlers_of_the_request_to_its_model(scripted_llm, llm_recording, llm_snapshot, capsys):
    prompt = PromptTemplate.from_template("Tell me a joke about {topic}")
    chain_ = LLMChain(llm=scripted_llm(say(*TOKENS), streaming=True), prompt=prompt)

    answer = asyncio.run(chain_.arun(topic="atoms", callbacks=[MyCustomSyncHandler(), MyCustomAsyncHandler()]))

    assert capsys.readouterr().out == GUIDE
    assert answer == JOKE
    assert llm_recording.runs == [chain("LLMChain"), model()]
    assert llm_recording == llm_snapshot


def test_a_sequence_that_is_streamed_prints_the_same_lines(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    program = (
        ChatPromptTemplate.from_template("Tell me a joke about {topic}") | scripted_chat_model(say(*TOKENS)) | StrOutputParser()
    )
    handlers = [MyCustomSyncHandler(), MyCustomAsyncHandler()]

    async def read() -> str:
        return "".join([piece async for piece in program.astream({"topic": "atoms"}, {"callbacks": handlers})])

    assert asyncio.run(read()) == JOKE
    assert capsys.readouterr().out == GUIDE
    assert llm_recording.tokens == TOKENS
    assert llm_recording == llm_snapshot


# -- where they run


class Sync(BaseCallbackHandler):
    """What starts, with the thread on which it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, threading.Thread]] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.heard.append((kwargs["name"], threading.current_thread()))

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.heard.append((serialized["name"], threading.current_thread()))

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        self.heard.append((serialized["name"], threading.current_thread()))


class Async(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[tuple[str, threading.Thread]] = []

    async def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.heard.append((kwargs["name"], threading.current_thread()))

    async def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.heard.append((serialized["name"], threading.current_thread()))

    async def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        self.heard.append((serialized["name"], threading.current_thread()))


def blocking_search(query: str) -> str:
    """Search the web."""
    return "18 degrees"


async def search(query: str) -> str:
    """Search the web."""
    return "18 degrees"


@pytest.mark.parametrize(
    ("search", "in_a_thread"), [(search, ()), (blocking_search, ("blocking_search",))], ids=["async tool", "sync tool"]
)
def test_an_agent_tells_the_sync_handler_in_threads_and_the_async_one_on_the_loop(
    search, in_a_thread, scripted_chat_model, llm_recording, llm_snapshot
):
    sync, awaited = Sync(), Async()
    llm = scripted_chat_model(call(search.__name__, query="weather"), "18 degrees.")
    agent = create_agent(llm, [search], name="weather_agent")

    asyncio.run(agent.ainvoke({"messages": [("user", "Weather?")]}, {"callbacks": [sync, awaited]}))

    asks = ["model", "ScriptedChatModel"]
    heard = ["weather_agent", *asks, "tools", search.__name__, *asks]
    here = threading.current_thread()
    assert [(name, thread is here) for name, thread in sync.heard] == [(name, False) for name in heard]
    # A tool that is not async runs in a thread of the pool, and tells of itself there, on a loop made for this one callback.
    assert [(name, thread is here) for name, thread in awaited.heard] == [(name, name not in in_a_thread) for name in heard]
    # The recorder is awaited, too: it hears things where they happen, and in the order in which they do.
    assert {event.name for event in llm_recording if event.thread != here.name} == {*in_a_thread}
    assert llm_recording.tools == [called(search.__name__, query="weather").returned("18 degrees")]
    assert llm_recording == llm_snapshot


def test_sync_code_tells_both_on_its_own_thread(scripted_chat_model, llm_recording, llm_snapshot):
    sync, awaited = Sync(), Async()
    program = ChatPromptTemplate.from_template("Tell me a joke about {topic}") | scripted_chat_model("Ha.")

    program.invoke({"topic": "atoms"}, {"callbacks": [sync, awaited]})

    names = ["RunnableSequence", "ChatPromptTemplate", "ScriptedChatModel"]
    assert sync.heard == awaited.heard == [(name, threading.current_thread()) for name in names]
    assert llm_recording == llm_snapshot


def test_neither_handler_blocks_the_event_loop(scripted_chat_model, llm_recording, llm_snapshot):
    for_thread, told = threading.Event(), []

    class Waits(BaseCallbackHandler):
        def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
            told.append(for_thread.wait(timeout=10))  # in a thread of the pool: the loop goes on

    class Awaits(AsyncCallbackHandler):
        async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            await asyncio.wait_for(for_task.wait(), timeout=10)
            told.append(True)

    async def program() -> None:
        task = asyncio.create_task(chat.ainvoke("Tell me a joke"))
        await nap()
        for_thread.set()
        for_task.set()
        await task

    for_task = asyncio.Event()
    chat = scripted_chat_model("Ha.", callbacks=[Waits(), Awaits()])
    asyncio.run(program())

    assert told == [True, True]
    assert llm_recording.models == [model()]
    assert llm_recording == llm_snapshot


# -- a sync handler that is not thread-safe


class Counter(BaseCallbackHandler):
    """Counts tokens, and reads and writes in two steps. `meet` stands where the system may switch threads at any time."""

    def __init__(self, meet: Callable[[], Any]) -> None:
        self.meet = meet
        self.tokens = 0

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        tokens = self.tokens
        self.meet()
        self.tokens = tokens + 1


class LockedCounter(Counter):
    """The same with a lock. Two threads meet before it, and only one at a time comes in."""

    def __init__(self, meet: Callable[[], Any]) -> None:
        super().__init__(lambda: None)
        self.before_lock = meet
        self.lock = threading.Lock()

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.before_lock()
        with self.lock:
            super().on_llm_new_token(token, **kwargs)


class AsyncCounter(AsyncCallbackHandler):
    """On the loop nothing comes in between, as long as there is no `await` between the two steps."""

    def __init__(self, meet: Callable[[], Any]) -> None:
        self.tokens = 0

    async def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        tokens = self.tokens
        self.tokens = tokens + 1


def meeting() -> Callable[[], Any]:
    """Lets two threads go on when both have come."""
    return threading.Barrier(2, timeout=10).wait


TWO_JOKES = (on(contains="atoms") >> say("They", " make up", " all."), on(contains="bears") >> say("They", " bear", " it."))
TOPICS = [{"topic": "atoms"}, {"topic": "bears"}]


def jokes(scripted_chat_model: Any) -> Any:
    return ChatPromptTemplate.from_template("A joke about {topic}") | scripted_chat_model(*TWO_JOKES, streaming=True)


@pytest.mark.parametrize(
    ("kind", "counted"), [(Counter, 3), (LockedCounter, 6), (AsyncCounter, 6)], ids=["unsafe", "locked", "async"]
)
def test_counting_two_runs_at_once_takes_a_lock_or_the_loop_and_the_recording_has_all_tokens(
    kind, counted, scripted_chat_model, llm_recording, llm_snapshot
):
    handler = kind(meeting())

    async def program() -> None:
        await asyncio.gather(*[jokes_.ainvoke(topic, {"callbacks": [handler]}) for topic in TOPICS])

    jokes_ = jokes(scripted_chat_model)
    asyncio.run(program())

    assert handler.tokens == counted
    assert len(llm_recording.tokens) == 6
    assert {"".join(run.tokens) for run in llm_recording.models} == {"They make up all.", "They bear it."}
    # And it shows why: nothing in the program makes one run wait for the other. `parallel`, says the tree.
    assert llm_recording.models == [together(model(), model())]
    assert not llm_recording.obeys(before(chain("ChatPromptTemplate"), chain("RunnableSequence")))
    assert llm_recording == llm_snapshot


def test_one_run_at_a_time_does_the_unsafe_handler_no_harm(scripted_chat_model, llm_recording, llm_snapshot):
    handler = Counter(lambda: None)

    async def program() -> None:
        for topic in TOPICS:
            await jokes_.ainvoke(topic, {"callbacks": [handler]})

    jokes_ = jokes(scripted_chat_model)
    asyncio.run(program())

    # The pool has many threads. But LangChain awaits each callback before it goes on.
    assert handler.tokens == len(llm_recording.tokens) == 6
    assert llm_recording.models == [model(), model()]
    assert llm_recording == llm_snapshot


@classic
def test_two_llm_chains_at_once_in_threads_lose_tokens_as_well(scripted_llm, llm_recording, llm_snapshot):
    handler = Counter(meeting())
    prompt = PromptTemplate.from_template("A joke about {topic}")
    chain_ = LLMChain(llm=scripted_llm(*TWO_JOKES, streaming=True), prompt=prompt)

    chain_.batch(TOPICS, {"callbacks": [handler]})  # sync code has threads, too: batch, RunnableParallel, nodes of a graph

    assert (handler.tokens, len(llm_recording.tokens)) == (3, 6)
    assert llm_recording.models == [together(model(), model())]
    assert len({event.thread for event in llm_recording if event.kind == "on_llm_new_token"}) == 2
    assert llm_recording == llm_snapshot


# -- what a thread of the pool does not give back

REQUEST = ContextVar("REQUEST", default="none")


class Names(BaseCallbackHandler):
    """Names the request for whoever comes after it."""

    def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        REQUEST.set(prompts[0])


class NamesInline(Names):
    run_inline = True  # on the loop after all; it should be fast, then


class NamesAsync(AsyncCallbackHandler):
    async def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        REQUEST.set(prompts[0])


@pytest.mark.parametrize(
    ("kind", "named"), [(Names, "none"), (NamesAsync, "none"), (NamesInline, "Human: A joke!")], ids=["sync", "async", "inline"]
)
def test_a_context_variable_of_a_handler_stays_in_its_thread_or_task_unless_it_runs_inline(
    kind, named, scripted_chat_model, llm_recording, llm_snapshot
):
    async def program() -> str:
        await scripted_chat_model("Ha.").ainvoke("A joke!", {"callbacks": [kind()]})
        return REQUEST.get()

    assert asyncio.run(program()) == named
    assert llm_recording == llm_snapshot


def test_check_handler_finds_the_lost_context_variable():
    with pytest.raises(ViolationError) as caught:
        check_handler(Names)

    assert [violation.code for violation in caught.value.violations] == ["loses a context variable"]
