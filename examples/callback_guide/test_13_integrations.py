"""Integrations: handlers that others wrote, in a program under the recorder, and under `check_handler`.

Section "integrations" of LangChain's callback guide. Three handlers: `FileCallbackHandler` of langchain-core,
`OpenAICallbackHandler` of langchain-community, and `CallbackHandler` of posthog, with a client that sends nothing.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.agents import AgentType, initialize_agent
from langchain_community.callbacks.openai_info import OpenAICallbackHandler
from langchain_core.callbacks import BaseCallbackHandler, FileCallbackHandler
from langchain_core.tools import Tool
from posthog import Posthog
from posthog.ai.langchain import CallbackHandler as PostHogHandler

from llmtest import ViolationError, call, say
from llmtest.conformance import check_handler
from llmtest.matching import called, model

PAGE = Path(__file__).parents[2] / "docs/tutorial/13-integrations.md"
classic = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # initialize_agent


class Offline(Posthog):
    """A client that keeps what it is given. It is disabled as well: no thread, no network."""

    def __init__(self) -> None:
        super().__init__("phc_none", disabled=True, sync_mode=True)
        self.events: list[tuple[str, dict[str, Any]]] = []

    def capture(self, event: str, **kwargs: Any) -> None:
        self.events.append((event, kwargs["properties"]))

    capture_ai = capture


# -- how to make one of each, and how to see what it has done


def file_handler(folder: Path, numbers: Iterator[int], kind: type = FileCallbackHandler) -> Any:
    return kind(str(folder / f"{next(numbers)}.log")).__enter__()


def posthog_handler(kind: type = PostHogHandler) -> Any:
    return kind(client=Offline())


def in_the_file(handler: Any) -> dict[str, Any]:
    return {"writes": Path(handler.filename).stat().st_size}


def in_the_totals(handler: Any) -> dict[str, Any]:
    return {"counts": (handler.successful_requests, handler.total_tokens)}


def at_the_client(handler: Any) -> dict[str, Any]:
    names = [name for name, _ in handler._ph_client.events]
    kept = tuple(handler._runs.values())  # by identity: one that is written over is another
    return {"sends": names, "remembers": [*map(id, kept), *handler._parent_tree.items()]}


# -- in a program


def search(query: str) -> str:
    """Search the web."""
    return "18 degrees"


@contextmanager
def each_handler(folder: Path) -> Iterator[list[Any]]:
    with FileCallbackHandler(str(folder / "output.log")) as to_file:
        yield [to_file, OpenAICallbackHandler(), posthog_handler()]


def test_all_three_listen_to_create_agent(scripted_chat_model, llm_recording, llm_snapshot, tmp_path):
    llm = scripted_chat_model(call("search", query="weather"), say("It is 18 degrees.", usage=(30, 5)))
    agent = create_agent(llm, [search], name="weather_agent")

    with each_handler(tmp_path) as (to_file, counter, to_posthog):
        agent.invoke({"messages": [("user", "Weather?")]}, {"callbacks": [to_file, counter, to_posthog]})

    log = re.sub(r"tool_call_id='\w+'", "tool_call_id=ID", plain(tmp_path / "output.log"))
    assert [line for line in log.splitlines() if line] == [
        "> Entering new weather_agent chain...",
        "> Entering new model chain...",
        "> Finished chain.",
        "> Entering new tools chain...",
        "content='18 degrees' name='search' tool_call_id=ID",  # a ToolMessage today, where the classic agent has its text
        "> Finished chain.",
        "> Entering new model chain...",
        "> Finished chain.",
        "> Finished chain.",
    ]
    assert (counter.successful_requests, counter.total_tokens) == (2, llm_recording.usage.total_tokens)
    assert sent(to_posthog) == [
        ("$ai_generation", "ScriptedChatModel"),
        ("$ai_span", "model"),
        ("$ai_span", "search"),
        ("$ai_span", "tools"),
        ("$ai_generation", "ScriptedChatModel"),
        ("$ai_span", "model"),
        ("$ai_trace", "weather_agent"),
    ]
    assert llm_recording.tools == [called("search", query="weather").returned("18 degrees")]
    assert llm_recording.models == [model(), model()]
    assert llm_recording == llm_snapshot


def sent(handler: Any) -> list[tuple[str, str]]:
    return [(event, properties["$ai_span_name"]) for event, properties in handler._ph_client.events]


@classic
def test_all_three_listen_to_the_classic_agent_and_posthog_loses_its_trace(
    scripted_llm, llm_recording, llm_snapshot, tmp_path, caplog
):
    llm = scripted_llm(
        say(" Search.\nAction: Search\nAction Input: weather", usage=(90, 9)), say(" I know.\nFinal Answer: 18.", usage=(99, 5))
    )
    tools = [Tool(name="Search", description="Searches the web.", func=search)]
    agent = initialize_agent(tools, llm, agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION)

    with each_handler(tmp_path) as (to_file, counter, to_posthog):
        agent.invoke("Weather?", {"callbacks": [to_file, counter, to_posthog]})

    log = plain(tmp_path / "output.log")
    assert " Search.\nAction: Search\nAction Input: weather\nObservation: 18 degrees\nThought:" in log
    assert log.endswith("\n> Finished chain.\n I know.\nFinal Answer: 18.\n\n> Finished chain.\n")
    assert (counter.successful_requests, counter.total_tokens) == (2, 203)
    # on_agent_action and on_agent_finish carry the id of the executor's own run. The handler takes them for a run of their
    # own: the action writes over the name and the input, the finish ends it, and the end of the executor finds nothing.
    assert sent(to_posthog)[-1] == ("$ai_trace", "trace")
    assert "AgentExecutor" not in dict(map(reversed, sent(to_posthog)))
    assert caplog.messages == [f"[PostHog] No run metadata found for run {llm_recording.run('AgentExecutor').id}"]
    assert llm_recording.tools == [called("Search").returned("18 degrees")]
    assert llm_recording == llm_snapshot


def plain(path: Path) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", path.read_text("utf-8"))


# -- under the check


def test_the_openai_handler_passes_the_check():
    check_handler(OpenAICallbackHandler)


def test_the_file_handler_cannot_start_a_chain_without_a_name(tmp_path):
    numbers = count()
    with pytest.raises(ViolationError) as caught:
        check_handler(lambda: file_handler(tmp_path, numbers))

    assert firsts(caught.value) == [
        "`FileCallbackHandler.on_chain_start` raises AttributeError: 'NoneType' object has no attribute 'get'"
    ]


def test_the_posthog_handler_cannot_end_a_model_without_candidates():
    with pytest.raises(ViolationError) as caught:
        check_handler(posthog_handler)

    assert firsts(caught.value) == ["`CallbackHandler.on_llm_end` raises IndexError: list index out of range"]


def firsts(error: ViolationError) -> list[str]:
    return [violation.text.splitlines()[0] for violation in error.violations]


# -- what each does with each callback: the table of the tutorial


TABLE = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `on_")]
CALLBACKS = [line.split("`")[1] for line in TABLE]


class Effects:
    """What a class of handlers does in each callback, over all programs of `check_handler`."""

    def __init__(self, kind: type, look: Callable[[Any], dict[str, Any]]) -> None:
        self.done: dict[str, set[str]] = defaultdict(set)
        self.overridden = [
            name for name in CALLBACKS if getattr(kind, name, None) is not getattr(BaseCallbackHandler, name, None)
        ]
        self.kind = type(kind.__name__, (kind,), {name: self.seen(kind, name, look) for name in self.overridden})

    def seen(self, kind: type, name: str, look: Callable[[Any], dict[str, Any]]) -> Any:
        one_at_a_time = threading.RLock()

        def callback(handler: Any, *args: Any, **kwargs: Any) -> None:
            with one_at_a_time:
                before = look(handler)
                try:
                    getattr(kind, name)(handler, *args, **kwargs)
                finally:
                    self.done[name] |= {effect for effect, value in look(handler).items() if value != before[effect]}

        return callback

    def cell(self, name: str) -> str:
        if name not in self.overridden:
            return "-"
        return "sends" if "sends" in self.done[name] else ", ".join(sorted(self.done[name])) or "nothing"


def test_the_table_of_the_tutorial_is_what_they_do(tmp_path):
    numbers = count()
    files, totals = Effects(FileCallbackHandler, in_the_file), Effects(OpenAICallbackHandler, in_the_totals)
    posthog = Effects(PostHogHandler, at_the_client)
    for make in (
        lambda: file_handler(tmp_path, numbers, files.kind),
        totals.kind,
        lambda: posthog_handler(posthog.kind),
    ):
        with suppress(ViolationError):  # the tests above say what it finds
            check_handler(make)

    rows = [f"| `{name}` | {files.cell(name)} | {totals.cell(name)} | {posthog.cell(name)} |" for name in CALLBACKS]
    assert rows == TABLE
    assert {name for name in dir(BaseCallbackHandler) if name.startswith("on_")} <= set(CALLBACKS)
