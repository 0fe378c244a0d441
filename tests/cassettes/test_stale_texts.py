"""What a test says whose program has changed since its cassette was recorded: the whole text, for each kind of change."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from llmtest import call, say, structured
from llmtest.cassettes.cassette import Cassette
from llmtest.langchain import providers as _real_classes_find_their_runs  # noqa: F401
from llmtest.scripts.fingerprints import digest
from llmtest.wire import scripted_server

pytestmark = pytest.mark.usefixtures("clients_left_open")
TEST = "test_it.py::test_it"
COMMAND = f"pytest {TEST} --llmtest-record=once"
SYSTEM = "You are a weather bot.\nAnswer in one sentence.\nNever guess."


@tool
def weather(city: str) -> str:
    """The weather."""
    return "18C"


@tool("weather")
def weather_by_day(city: str, days: int = 1) -> str:
    """The weather."""
    return "18C"


@tool("weather")
def weather_by_number(city: int) -> str:
    """The weather."""
    return "18C"


@tool
def search(q: str) -> str:
    """Search."""
    return "found"


class Report(BaseModel):
    city: str


class Forecast(BaseModel):
    city: str


class LongReport(BaseModel):
    city: str
    degrees: int


LONG_REPORT = type("Report", (LongReport,), {})


def ask(*messages: Any, **fields: Any) -> Callable[[Any], None]:
    return lambda make: make(**fields).invoke(list(messages))


def image(data: bytes) -> dict[str, object]:
    return {"type": "image", "base64": base64.b64encode(data * 20).decode(), "mime_type": "image/png"}


def digest_of(data: bytes) -> str:
    return digest(base64.b64encode(data * 20).decode().rstrip("="))


def in_turn(*questions: str) -> Callable[[Any], None]:
    def program(make: Any) -> None:
        model = make()
        for question in questions:
            model.invoke(question)

    return program


def bound(*tools: Any, **options: Any) -> Callable[[Any], None]:
    return lambda make: make().bind_tools(list(tools), **options).invoke("warm?")


def report(schema: type[BaseModel]) -> Callable[[Any], None]:
    return lambda make: make().with_structured_output(schema, method="json_schema").invoke("warm?")


def agent(question: str, **options: Any) -> Callable[[Any], None]:
    return lambda make: create_agent(make(), [weather], **options).invoke({"messages": [("user", question)]})


CALL = [call("weather", city="Paris"), say("18C.")]
REPORT = [structured(Report(city="Paris"))]
ONE = "1 recorded answer was given to another request than it was recorded for on <day>"
TWO = "2 recorded answers were given to other requests than they were recorded for on <day>"

CHANGES: dict[str, tuple[list[Any], Callable[[Any], None], Callable[[Any], None], str]] = {
    # what the model says; the program as it was recorded, and as it is now; what is told
    "a short system prompt": (
        ["ok"],
        ask(("system", "Be brief."), ("user", "hi")),
        ask(("system", "Be kind."), ("user", "hi")),
        f'{ONE}\n  the system prompt has changed: it was "Be brief.", it is "Be kind."  (step 1)\n',
    ),
    "a line of the system prompt": (
        ["ok"],
        ask(("system", SYSTEM), ("user", "hi")),
        ask(("system", SYSTEM.replace("one", "two")), ("user", "hi")),
        f"{ONE}\n  the system prompt has changed: line 2  (step 1)\n",
    ),
    "a system prompt that is gone": (
        ["ok"],
        ask(("system", "Be brief."), ("user", "hi")),
        ask(("user", "hi")),
        f'{ONE}\n  the system prompt is gone: "Be brief."  (step 1)\n'
        "  the prompt had 1 system and 1 human messages; it has 1 human message  (step 1)\n",
    ),
    "a system prompt that is new": (
        ["ok"],
        ask(("user", "hi")),
        ask(("system", "Be brief."), ("user", "hi")),
        f'{ONE}\n  a system prompt is new: "Be brief."  (step 1)\n'
        "  the prompt had 1 human message; it has 1 system and 1 human messages  (step 1)\n",
    ),
    "a tool that is gone": (
        ["ok"],
        bound(weather, search),
        bound(weather),
        f"{ONE}\n  1 of 2 tools is the same; `search` is gone  (step 1)\n",
    ),
    "a tool that is new": (["ok"], bound(weather), bound(weather, search), f"{ONE}\n  `search` is new  (step 1)\n"),
    "a new argument of a tool": (
        ["ok"],
        bound(weather),
        bound(weather_by_day),
        f"{ONE}\n  `weather` has a new argument `days`  (step 1)\n",
    ),
    "the schema of an argument": (
        ["ok"],
        bound(weather),
        bound(weather_by_number),
        f"{ONE}\n  `weather` has another schema  (step 1)\n",
    ),
    "the question of an agent": (
        CALL,
        agent("How warm is it in Paris?"),
        agent("How warm is it in Oslo?"),
        f'{TWO}\n  the question has changed: it was "How warm is it in Paris?", it is "How warm is it in Oslo?"  (steps 1, 2)\n',
    ),
    "an image": (
        ["a cat"],
        ask(("user", [{"type": "text", "text": "What is it?"}, image(b"cat")])),
        ask(("user", [{"type": "text", "text": "What is it?"}, image(b"dog")])),
        f'{ONE}\n  the question has changed: it was "What is it? [attachment {digest_of(b"cat")}]",'
        f' it is "What is it? [attachment {digest_of(b"dog")}]"  (step 1)\n',
    ),
    "a question of several lines": (
        ["ok"],
        ask(("user", "Summarize this:\nIt rained in Paris.")),
        ask(("user", "Summarize this:\nIt snowed in Paris.")),
        f'{ONE}\n  the question has changed: line 2  (step 1)\n    it still begins "Summarize this:"\n',
    ),
    "the second question of a conversation": (
        ["ok"],
        ask(("user", "Paris?"), ("ai", "18C."), ("user", "And Rome?")),
        ask(("user", "Paris?"), ("ai", "18C."), ("user", "And Oslo?")),
        f'{ONE}\n  question 2 has changed: it was "And Rome?", it is "And Oslo?"  (step 1)\n',
    ),
    "the number of messages": (
        ["ok"],
        ask(("user", "Paris?")),
        ask(("user", "Paris?"), ("ai", "18C."), ("user", "And Rome?")),
        f'{ONE}\n  question 2 is new: "And Rome?"  (step 1)\n'
        "  the prompt had 1 human message; it has 2 human and 1 ai messages  (step 1)\n",
    ),
    "a parameter": (
        ["ok"],
        ask(("user", "hi"), reasoning_effort="low"),
        ask(("user", "hi"), reasoning_effort="high"),
        f"{ONE}\n  the parameter `reasoning_effort` was 'low'; it is 'high'  (step 1)\n",
    ),
    "a parameter that is new": (
        ["ok"],
        ask(("user", "hi")),
        ask(("user", "hi"), seed=7),
        f"{ONE}\n  the parameter `seed` is new: 7  (step 1)\n",
    ),
    "the stop sequences": (
        ["ok"],
        ask(("user", "hi"), stop=["END"]),
        ask(("user", "hi"), stop=["STOP"]),
        f"{ONE}\n  the parameter `stop` was '[\"END\"]'; it is '[\"STOP\"]'  (step 1)\n",
    ),
    "the choice of a tool": (
        [call("weather", city="Paris")],
        bound(weather, tool_choice="auto"),
        bound(weather, tool_choice="required"),
        f"{ONE}\n  the parameter `tool_choice` was 'auto'; it is 'required'  (step 1)\n",
    ),
    "another response format": (
        REPORT,
        report(Report),
        report(Forecast),
        f"{ONE}\n  the response format was `Report`; it is `Forecast`  (step 1)\n",
    ),
    "the schema of a response format": (
        [say('{"city": "Paris", "degrees": 18}')],
        report(Report),
        report(LONG_REPORT),
        f"{ONE}\n  the response format `Report` has changed  (step 1)\n",
    ),
    "the order of calls": (
        ["Paris: 18C.", "Oslo: 2C."],
        in_turn("Paris?", "Oslo?"),
        in_turn("Oslo?", "Paris?"),
        f"{TWO}\n  the request is the one of step 2: the calls come in another order  (step 1)\n"
        "  the request is the one of step 1: the calls come in another order  (step 2)\n",
    ),
    "several things at once": (
        ["ok"],
        ask(("system", "Be brief."), ("user", "Paris?"), reasoning_effort="low"),
        ask(("system", "Be kind."), ("user", "Oslo?"), reasoning_effort="high"),
        f'{ONE}\n  the system prompt has changed: it was "Be brief.", it is "Be kind."  (step 1)\n'
        '  the question has changed: it was "Paris?", it is "Oslo?"  (step 1)\n'
        "  the parameter `reasoning_effort` was 'low'; it is 'high'  (step 1)\n",
    ),
}
REMEDY = (
    f"  record it again: pytest {TEST} --llmtest-record=rewrite\n"
    "  or, if the answers still fit, set the ini key llmtest_stale to warn or ignore"
)


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_a_program_is_told_in_words(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps, before, now, told = CHANGES[change]
    file = Path("x.yaml")
    with scripted_server({"openai:gpt-5": steps}) as server, Cassette(file, TEST, "once", command=COMMAND) as cassette:
        before(lambda **fields: ChatOpenAI(model="gpt-5", base_url=server.base_url("openai"), api_key=server.token, **fields))
    assert cassette.save().is_written

    with Cassette(file, TEST, command=COMMAND) as cassette:
        now(lambda **fields: ChatOpenAI(model="gpt-5", api_key="none", **fields))

    (found,) = cassette.scripts["openai:gpt-5"].unused()
    text = re.sub(r"\d{4}-\d\d-\d\d", "<day>", found.text)
    assert (found.code, text) == ("stale recording", f"{told}  recorded at x.yaml:6\n{REMEDY}")


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_program_has_nothing_to_tell(change: str, tmp_path: Path) -> None:
    steps, before, _, _ = CHANGES[change]
    file = tmp_path / "x.yaml"
    with scripted_server({"openai:gpt-5": steps}) as server, Cassette(file, TEST, "once", command=COMMAND) as cassette:
        before(lambda **fields: ChatOpenAI(model="gpt-5", base_url=server.base_url("openai"), api_key=server.token, **fields))
    cassette.save()

    with Cassette(file, TEST, command=COMMAND) as cassette:
        before(lambda **fields: ChatOpenAI(model="gpt-5", api_key="none", **fields))

    assert cassette.scripts["openai:gpt-5"].unused() == []


def test_calls_that_are_answered_alike_may_come_in_another_order(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    with scripted_server({"openai:gpt-5": ["Done.", "Done."]}) as server, Cassette(file, TEST, "once") as cassette:
        in_turn("Paris?", "Oslo?")(lambda: ChatOpenAI(model="gpt-5", base_url=server.base_url("openai"), api_key=server.token))
    cassette.save()

    with Cassette(file, TEST) as cassette:
        in_turn("Oslo?", "Paris?")(lambda: ChatOpenAI(model="gpt-5", api_key="none"))

    assert cassette.scripts["openai:gpt-5"].unused() == []


def test_whole_prompts_are_shown_with_their_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, before, now = Path("x.yaml"), "Summarize:\nIt rained.\nBriefly.", "Summarize:\nIt snowed.\nBriefly."
    with scripted_server({"openai:gpt-5": ["ok"]}) as server, Cassette(file, TEST, "once", keep_prompts=True) as cassette:
        ChatOpenAI(model="gpt-5", base_url=server.base_url("openai"), api_key=server.token).invoke(before)
    cassette.save()

    with Cassette(file, TEST, command=COMMAND) as cassette:
        ChatOpenAI(model="gpt-5", api_key="none").invoke(now)

    (found,) = cassette.scripts["openai:gpt-5"].unused()
    assert re.sub(r"\d{4}-\d\d-\d\d", "<day>", found.text) == (
        f"{ONE}\n"
        "  the question has changed: line 2  (step 1)\n"
        "    @@ -1,3 +1,3 @@\n     Summarize:\n    -It rained.\n    +It snowed.\n     Briefly.\n"
        f"  recorded at x.yaml:6\n{REMEDY}"
    )
