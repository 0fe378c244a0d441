"""Async callbacks: a sync handler is called in a thread of a pool, an async one is awaited; both on one model.

Section "async callbacks" of LangChain's callback guide. Its handler sleeps for 0.3 seconds; here it lets others run instead.
"""

import asyncio
import threading
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import END, START, MessagesState, StateGraph

from llmtest import say
from llmtest.matching import chain, model, together

JOKE = ["Why", " don", "'t", " scientists", " trust", " atoms", "?", " \n\n"]
JOKE += ["Because", " they", " make", " up", " everything", "."]
TEXT = "Why don't scientists trust atoms? \n\nBecause they make up everything."


class MyCustomSyncHandler(BaseCallbackHandler):
    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.threads.add(threading.current_thread())
        print(f"Sync handler being called in a `thread_pool_executor`: token: {token}")


class MyCustomAsyncHandler(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()

    async def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        print("zzzz....")
        await asyncio.sleep(0)
        self.threads.add(threading.current_thread())
        assert serialized["name"]
        print("Hi! I just woke up. Your llm is starting")

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        print("zzzz....")
        await asyncio.sleep(0)
        self.threads.add(threading.current_thread())
        print("Hi! I just woke up. Your llm is ending")


def printed(tokens: list[str]) -> str:
    """What the guide prints, with these tokens."""
    lines = ["zzzz....", "Hi! I just woke up. Your llm is starting"]
    lines += [f"Sync handler being called in a `thread_pool_executor`: token: {token}" for token in tokens]
    return "\n".join([*lines, "zzzz....", "Hi! I just woke up. Your llm is ending", ""])


def test_both_handlers_on_one_model_print_what_the_guide_prints_in_its_order(
    scripted_chat_model, llm_recording, llm_snapshot, capsys
):
    of_threads, awaited = MyCustomSyncHandler(), MyCustomAsyncHandler()
    chat = scripted_chat_model(say(tokens=["", *JOKE, ""]), max_tokens=25, streaming=True, callbacks=[of_threads, awaited])

    result = asyncio.run(chat.agenerate([[HumanMessage("Tell me a joke")]]))

    assert result.generations[0][0].text == TEXT
    assert capsys.readouterr().out == printed(["", *JOKE, ""])
    assert threading.main_thread() not in of_threads.threads
    assert awaited.threads == {threading.main_thread()}
    assert llm_recording.tokens == ["", *JOKE, ""]
    assert llm_recording.models == [model().returned(TEXT)]
    assert llm_recording == llm_snapshot


def test_today_a_chain_hands_both_handlers_of_a_request_on_to_its_model(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    of_threads, awaited = MyCustomSyncHandler(), MyCustomAsyncHandler()
    program = ChatPromptTemplate.from_template("Tell me a {what}") | scripted_chat_model(say(tokens=JOKE))

    async def main() -> list[str]:
        config: Any = {"callbacks": [of_threads, awaited]}
        return [chunk.text async for chunk in program.astream({"what": "joke"}, config)]

    assert "".join(asyncio.run(main())) == TEXT
    assert capsys.readouterr().out == printed(JOKE)
    assert threading.main_thread() not in of_threads.threads
    assert llm_recording.tokens == JOKE
    assert llm_recording.runs == [chain("RunnableSequence"), chain("ChatPromptTemplate"), model()]
    assert llm_recording == llm_snapshot


def test_an_async_handler_hears_a_program_that_is_not_async_too(scripted_chat_model, llm_recording, llm_snapshot, capsys):
    chat = scripted_chat_model(say(tokens=JOKE), callbacks=[MyCustomAsyncHandler()])

    assert chat.invoke("Tell me a joke").text == TEXT

    assert capsys.readouterr().out == printed([])
    assert llm_recording.models == [model().returned(TEXT)]
    assert llm_recording == llm_snapshot


# -- a handler that is not thread-safe


class Counter(BaseCallbackHandler):
    """Counts calls of models: it reads, and writes one more. Between the two, another thread may do the same."""

    def __init__(self, calls_at_once: int) -> None:
        self.count = 0
        self.all_have_read = threading.Barrier(calls_at_once)

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        count = self.count
        self.all_have_read.wait(timeout=10)
        self.count = count + 1


class SafeCounter(BaseCallbackHandler):
    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        with self.lock:
            self.count += 1


class InlineCounter(SafeCounter):
    """LangChain calls it on the thread of the event loop, one call after the other."""

    run_inline = True


def two_jokes(scripted_chat_model: Any, counter: BaseCallbackHandler) -> None:
    chat = scripted_chat_model("Knock knock.", "Knock knock.", callbacks=[counter])

    async def main() -> None:
        await asyncio.gather(chat.ainvoke("Tell me a joke"), chat.ainvoke("Tell me a joke"))

    asyncio.run(main())


def test_a_sync_handler_that_is_not_thread_safe_loses_a_call_and_the_recording_has_both(
    scripted_chat_model, llm_recording, llm_snapshot
):
    counter = Counter(calls_at_once=2)

    two_jokes(scripted_chat_model, counter)

    assert counter.count == 1  # both threads read 0
    assert llm_recording.models == [together(model(), model())]
    assert llm_recording == llm_snapshot


def test_the_same_handler_is_right_where_one_call_follows_the_other(scripted_chat_model, llm_recording, llm_snapshot):
    counter = Counter(calls_at_once=1)
    chat = scripted_chat_model("Knock knock.", "Who is there?", callbacks=[counter])

    chat.invoke("Tell me a joke")
    chat.invoke("Tell me a joke")

    assert counter.count == 2
    assert llm_recording.models == [model().returned("Knock knock."), model().returned("Who is there?")]
    assert llm_recording == llm_snapshot


def test_with_a_lock_or_inline_no_call_is_lost(scripted_chat_model, llm_recording, llm_snapshot):
    safe, inline = SafeCounter(), InlineCounter()

    two_jokes(scripted_chat_model, safe)
    two_jokes(scripted_chat_model, inline)

    assert (safe.count, inline.count) == (2, 2)
    assert llm_recording.models == [together(model(), model()), together(model(), model())]
    assert llm_recording == llm_snapshot


def test_branches_of_a_graph_call_a_sync_handler_from_several_threads_too(scripted_chat_model, llm_recording, llm_snapshot):
    counter = Counter(calls_at_once=2)
    chat = scripted_chat_model("Knock knock.", "Knock knock.")

    async def tell(state: MessagesState) -> Any:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    for name in ("left", "right"):
        graph.add_node(name, tell)
        graph.add_edge(START, name)
        graph.add_edge(name, END)

    result = asyncio.run(graph.compile().ainvoke({"messages": [("user", "Tell me a joke")]}, {"callbacks": [counter]}))

    assert [message.text for message in result["messages"]] == ["Tell me a joke", "Knock knock.", "Knock knock."]
    assert counter.count == 1
    assert llm_recording.models == [together(model(), model())]
    assert llm_recording == llm_snapshot
