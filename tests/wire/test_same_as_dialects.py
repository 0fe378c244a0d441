"""A script answers the same through the real integration, over its own HTTP client, as through the double of that dialect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from llmtest import Script, ScriptedChatModel, call, fail, hold, reply, say, think
from llmtest.events.words import Usage
from llmtest.scripts.gates import Gate
from llmtest.wire.api import ModelCall
from tests.support.dialect_cases import CASES, NAMES, STATUSES, TOOLS, WAYS, bound
from tests.support.heard import heard, heard_in_v3
from tests.support.wire_clients import APIS, chat_model

ALL = [(dialect, name) for dialect, cases in CASES.items() for name in cases]


def _ways() -> Iterator[Any]:
    for dialect, name in ALL:
        whole = CASES[dialect][name].whole
        yield from ((dialect, name, way) for way in WAYS if whole or way.endswith("stream"))


def _double(dialect: str, name: str, **fields: Any) -> Any:
    case = CASES[dialect][name]
    return bound(ScriptedChatModel(case.step(), dialect=dialect, model_name=NAMES[dialect], **fields), case)


def _real(dialect: str, name: str, **fields: Any) -> Any:
    case = CASES[dialect][name]
    return bound(chat_model(dialect, Script(case.step()), NAMES[dialect], **fields)[0], case)


@pytest.mark.parametrize(("dialect", "name", "way"), list(_ways()))
def test_an_answer_is_the_one_of_the_dialect(dialect: str, name: str, way: str) -> None:
    assert heard(_real(dialect, name), way) == heard(_double(dialect, name), way)


@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_invoke_with_streaming_on_is_the_same_too(dialect: str, name: str) -> None:
    assert heard(_real(dialect, name, streaming=True), "invoke") == heard(_double(dialect, name, streaming=True), "invoke")


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_the_events_of_version_3_are_the_same_too(dialect: str, name: str, way: str) -> None:
    assert heard_in_v3(_real(dialect, name), way) == heard_in_v3(_double(dialect, name), way)


FAILING = [(dialect, status) for dialect, statuses in STATUSES.items() for status in (*statuses, 401, 403, 404, 413, 422)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dialect", "status"), FAILING)
def test_an_error_is_the_one_of_the_dialect(dialect: str, status: int, way: str) -> None:
    step = replace(fail(status, retry_after=2), message="No, not now.")
    real, transport = chat_model(dialect, Script(step), NAMES[dialect])

    assert _without_header(heard(real, way)) == heard(ScriptedChatModel(step, dialect=dialect, model_name=NAMES[dialect]), way)
    assert len(transport.requests) == 1


def _without_header(told: Any) -> Any:
    """Return `told` without the one header with which the wire differs: it lets a client of the test try again at once."""
    if isinstance(told, list):
        return [_without_header(item) for item in told]
    if not isinstance(told, dict):
        return told
    if "headers" in told:
        assert told["headers"]["retry-after-ms"] == "1"
    return {key: _without_header(value) for key, value in told.items() if key != "retry-after-ms"}


# -- other answers than those of the table


def _weather(city: str) -> Any:
    return call("weather", city=city)


HOURS = {"cache_read": 3, "ephemeral_1h_input_tokens": 4, "ephemeral_5m_input_tokens": 2}
ODD = {
    "nothing": lambda: say(""),
    "only reasoning": lambda: think("hm, ", "so"),
    "text between calls": lambda: reply(_weather("Paris"), say("and ", "then"), _weather("Rome")),
    "reasoning within": lambda: reply(say("a"), think("hm"), say("b ", "c"), _weather("Paris")),
    "filtered": lambda: say("a ", "b", stop_reason="content_filter"),
    "a stop reason of its own": lambda: say("a", stop_reason="pause_turn"),
    "a call cut by the length": lambda: reply(_weather("Paris"), stop_reason="length"),
    "counted usage": lambda: reply(say("It is sunny."), _weather("Rome")),
    "a model of another name": lambda: say("a", response_metadata={"model_name": "other"}),
    "half a surrogate pair": lambda: say("a\ud83d", "b\u2028é"),
    "a call without arguments": lambda: call("weather"),
    "another error midway": lambda: say("a").then_fail(429),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("dialect", CASES)
def test_an_odd_answer_is_the_one_of_the_dialect_too(dialect: str, name: str) -> None:
    real, _ = chat_model(dialect, Script(ODD[name](), ODD[name]()), NAMES[dialect])
    double = ScriptedChatModel(ODD[name](), ODD[name](), dialect=dialect, model_name=NAMES[dialect])

    for way in ("invoke", "stream"):
        came = heard(real.bind_tools(TOOLS), way)
        assert (_without_header(came) if "midway" in name and way == "invoke" else came) == heard(double.bind_tools(TOOLS), way)


def _usage(dialect: str, step: Any) -> Any:
    return chat_model(dialect, Script(step), NAMES[dialect])[0].invoke("hi").usage_metadata


def test_details_of_usage_that_an_api_has_no_field_for_are_not_sent() -> None:
    """The double passes them on: it does not know what the API would leave out."""
    counts = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25, "input_token_details": {**HOURS, "audio": 1}}

    openai, responses, claude = (_usage(dialect, say("a", usage=counts))["input_token_details"] for dialect in CASES)
    assert openai == {"audio": 1, "cache_read": 3}
    assert responses == {"cache_creation": 0, "cache_read": 3}
    assert claude == {"cache_read": 3, "cache_creation": 0, "ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4}


def test_an_answer_of_anthropic_always_has_usage() -> None:
    """The API's messages cannot leave it out, so a script that reports none reports zeros; the double reports none."""
    usage = _usage("anthropic", say("a", usage=False))

    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("dialect", "begun", "midway"),
    [
        ("openai", "OpenAIConnectionError", "OpenAIConnectionError"),
        ("openai-responses", "OpenAIConnectionError", "OpenAIConnectionError"),
        ("anthropic", "AnthropicConnectionError", "ReadError"),
    ],
)
def test_a_broken_connection_is_the_error_of_the_client(dialect: str, begun: str, midway: str) -> None:
    """The double raises what the script says; a client makes its own error of it."""
    steps = Script(fail(ConnectionError), say("a").then_fail(ConnectionError), say("a ", "b").then_fail(ConnectionError))
    real, _ = chat_model(dialect, steps, NAMES[dialect])
    raised = []
    for way in (real.invoke, real.invoke, lambda text: list(real.stream(text))):
        with pytest.raises(Exception) as error:
            way("hi")
        raised.append(error.type.__name__)

    assert raised == [begun, begun, midway]


@pytest.mark.parametrize("dialect", CASES)
def test_a_gate_stands_right_before_what_follows_it(dialect: str) -> None:
    gate = hold()
    step = reply(think("t1", gate, "t2"), say(gate, "w1", gate, "w2"), gate, call("weather", city="Paris"), gate).optional()
    asked = ModelCall("m", (), params={"stream_options": {"include_usage": True}})
    writer = APIS[dialect]().writer(step, asked, Usage(1, 1, 2))
    words = ("t1", "t2", "w1", "w2", "weather", "Paris", "message_delta", "response.completed", "tool_calls'")

    came = [
        "hold" if isinstance(one, Gate) else next((word for word in words if _is_delta(one, word)), "") for one in writer.events()
    ]
    wanted = ["t1", "hold", "t2", "hold", "w1", "hold", "w2", "hold", "weather", "Paris", "hold"]
    wanted = [word for word in wanted if dialect != "openai" or word[0] != "t"]
    assert [word for word in came if word in wanted] == wanted


def _is_delta(event: Any, word: str) -> bool:
    """True if the event brings the word; the end of a block repeats it."""
    return word in str(event) and not any(end in event.get("type", "") for end in ("done", "completed", "signature"))
