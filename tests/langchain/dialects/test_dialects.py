"""Each dialect is what the real integration gives for canned bodies: callbacks, tokens, chunks, messages and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from langchain_core.exceptions import ModelRateLimitError
from openai.types import chat, responses
from pydantic import TypeAdapter

from llmtest import Script, ScriptedChatModel, call, count_tokens, fail, hold, record, reply, say, think
from llmtest.campaigns import faults
from llmtest.errors import ScriptError, StatusError
from llmtest.langchain.dialects import names
from llmtest.protocol import cut_streams
from llmtest.scripts.gates import Gate
from tests.support.dialect_cases import CASES, GPT, NAMES, STATUSES, SUNNY, THOUGHT, TOOLS, WAYS, bound
from tests.support.heard import heard, heard_in_v3
from tests.support.wire import WIRE, client

# -- who says it


def _answered(folder: Path, file: str, request: httpx2.Request) -> httpx2.Response:
    if file.isdigit():
        headers = {"content-type": "application/json", "retry-after": "2"}
        return httpx2.Response(int(file), content=(folder / f"{file}.json").read_bytes(), headers=headers)
    if b'"stream":true' in request.content.replace(b" ", b""):
        stream = httpx2.ByteStream((folder / f"{file}.sse").read_bytes())  # not read yet, as what comes from a network
        return httpx2.Response(200, stream=stream, headers={"content-type": "text/event-stream"})
    return httpx2.Response(200, content=(folder / f"{file}.json").read_bytes(), headers={"content-type": "application/json"})


def _integration(dialect: str, answer: Callable[[httpx2.Request], httpx2.Response], **fields: Any) -> Any:
    api = {} if dialect == "anthropic" else {"use_responses_api": dialect == "openai-responses"}
    return client(dialect, answer, **api, **fields)


def _real(dialect: str, name: str, **fields: Any) -> Any:
    case = CASES[dialect][name]
    model = _integration(dialect, lambda request: _answered(WIRE / dialect, case.file or name, request), **fields)
    return bound(model, case)


def _scripted(dialect: str, name: str, **fields: Any) -> Any:
    case = CASES[dialect][name]
    return bound(ScriptedChatModel(case.step(), dialect=dialect, model_name=NAMES[dialect], **fields), case)


# -- the same


ALL = [(dialect, name) for dialect, cases in CASES.items() for name in cases]


def _ways() -> Iterator[Any]:
    for dialect, name in ALL:
        whole = CASES[dialect][name].whole
        yield from ((dialect, name, way) for way in WAYS if whole or way.endswith("stream"))


@pytest.mark.parametrize(("dialect", "name", "way"), list(_ways()))
def test_the_dialect_is_what_the_real_integration_gives(dialect: str, name: str, way: str) -> None:
    assert heard(_scripted(dialect, name), way) == heard(_real(dialect, name), way)


@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_invoke_with_streaming_on_is_the_same_too(dialect: str, name: str) -> None:
    ours = heard(_scripted(dialect, name, streaming=True), "invoke")

    assert ours == heard(_real(dialect, name, streaming=True), "invoke")
    assert [one[0] for one in ours[0]].count("token") > 2


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_the_events_and_tokens_of_version_3_are_the_same_too(dialect: str, name: str, way: str) -> None:
    ours = heard_in_v3(_scripted(dialect, name), way)

    assert ours == heard_in_v3(_real(dialect, name), way)
    assert [seen[0] for seen in ours[0]].count("token") > 1


@pytest.mark.parametrize("arguments", ["[1]", "7", "null", "", '{"city": "Par\nis"}'])
@pytest.mark.parametrize("dialect", ["openai", "openai-responses"])
def test_arguments_that_are_odd_json_are_read_as_the_real_integration_reads_them(dialect: str, arguments: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        canned = (WIRE / dialect / "malformed.json").read_text("utf-8")
        return httpx2.Response(200, text=canned.replace(json.dumps('{"city": "Par')[1:-1], json.dumps(arguments)[1:-1]))

    asked = call("weather", city="Paris").malformed(arguments).with_id("call_1")
    step = replace(asked, stop_reason="length" if dialect == "openai-responses" else None)
    ours = ScriptedChatModel(replace(step, usage=say("a", usage=(8, 5)).usage), dialect=dialect, model_name=GPT)

    _, said = heard(ours.bind_tools(TOOLS), "invoke")
    assert said == heard(_integration(dialect, answer).bind_tools(TOOLS), "invoke")[1]


@pytest.mark.parametrize("dialect", CASES)
def test_each_canned_body_is_used(dialect: str) -> None:
    named = {(case.file or name, case.whole) for name, case in CASES[dialect].items()}
    used = {f"{file}.sse" for file, _ in named} | {f"{file}.json" for file, whole in named if whole}

    assert {path.name for path in (WIRE / dialect).iterdir()} == used | {f"{status}.json" for status in STATUSES[dialect]}


def _sent(dialect: str) -> Iterator[tuple[str, Any, Any]]:
    """Every answer and event of the canned bodies that has a type in the provider's SDK: all but pings and errors."""
    whole, event = {
        "openai": (chat.ChatCompletion, chat.ChatCompletionChunk),
        "openai-responses": (responses.Response, responses.ResponseStreamEvent),
        "anthropic": (anthropic.types.Message, anthropic.types.RawMessageStreamEvent),
    }[dialect]
    for path in sorted((WIRE / dialect).iterdir()):
        text = path.read_text("utf-8")
        if path.suffix == ".json" and not path.stem.isdigit():
            yield path.name, whole, json.loads(text)
        if path.suffix == ".sse":
            data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
            sent = [json.loads(one) for one in data if one != "[DONE]"]
            yield from ((path.name, event, one) for one in sent if "error" not in one and one.get("type") != "ping")


@pytest.mark.parametrize("dialect", CASES)
def test_the_canned_bodies_are_of_the_types_of_the_sdk(dialect: str) -> None:
    for name, kind, body in _sent(dialect):
        read = TypeAdapter(kind).validate_python(body)
        assert type(read).__name__ != "dict", name


def test_the_page_says_of_each_answer_what_is_proved() -> None:
    page = (WIRE.parent.parent / "docs/reference/dialects.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    written = {(row[1], dialect, mark) for row in rows if len(row) == 5 for dialect, mark in zip(CASES, row[2:], strict=True)}

    proved = {(case.file or name, dialect, "◐●"[case.whole]) for dialect, name in ALL for case in [CASES[dialect][name]]}
    assert {row for row in written if row[2] in ("●", "◐")} == proved


# -- a difference is seen


def _louder(chunk: Any) -> Any:
    content = chunk.message.content
    chunk.message.content = [*content, {"type": "text", "text": "!"}] if isinstance(content, list) else f"{content}!"
    return [chunk]


def _about(chunk: Any) -> Any:
    chunk.message.response_metadata["more"] = True
    return [chunk]


def _informed(chunk: Any) -> Any:
    chunk.generation_info = {"more": True}
    return [chunk]


def _counted(chunk: Any) -> Any:
    usage = chunk.message.usage_metadata or {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    chunk.message.usage_metadata = {**usage, "output_tokens": usage["output_tokens"] + 1}
    return [chunk]


def _called(chunk: Any) -> Any:
    chunk.message.tool_call_chunks.append({"name": "x", "args": "", "id": "x", "index": 9})
    return [chunk]


CHANGES: dict[str, Callable[[Any], list[Any]]] = {
    "content": _louder,
    "metadata": _about,
    "generation_info": _informed,
    "usage": _counted,
    "tool calls": _called,
    "left out": lambda chunk: [],
    "twice": lambda chunk: [chunk, chunk],
}


@cache
def _really_streamed(dialect: str, name: str) -> Any:
    return heard(_real(dialect, name), "stream")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_a_change_of_any_chunk_of_our_stream_is_seen(
    dialect: str, name: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = names.class_of(dialect)
    chunks, count = kind.chunks, len(heard(_scripted(dialect, name), "stream")[0])
    for place in range(count):
        reached: list[bool] = []

        def other(self: Any, place: int = place, reached: list[bool] = reached) -> Any:
            for number, chunk in enumerate(chunks(self)):
                reached.append(number == place)
                yield from CHANGES[change](chunk) if number == place else [chunk]

        with monkeypatch.context() as patch:
            patch.setattr(kind, "chunks", other)
            same = heard(_scripted(dialect, name), "stream") == _really_streamed(dialect, name)
        assert same is not any(reached)
    assert reached


# -- errors


def _refusing(dialect: str, status: int) -> Any:
    """The real integration, and our double; its provider answers with a status and a canned body."""
    body = json.loads((WIRE / dialect / f"{status}.json").read_text("utf-8"))
    step = replace(fail(status, retry_after=2), message=body["error"]["message"])
    real = _integration(dialect, lambda request: _answered(WIRE / dialect, str(status), request))
    return real, ScriptedChatModel(step, dialect=dialect)


FAILING = [(dialect, status) for dialect, statuses in STATUSES.items() for status in statuses]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dialect", "status"), FAILING)
def test_an_error_is_the_one_of_the_real_integration(dialect: str, status: int, way: str) -> None:
    real, ours = _refusing(dialect, status)
    came = heard(ours, way)

    assert came == heard(real, way)
    assert [seen[0] for seen in came[0]] == ["s", "error"]


@pytest.mark.parametrize("dialect", CASES)
def test_each_status_is_the_class_of_the_real_integration(dialect: str) -> None:
    for status in range(400, 600):

        def answer(request: httpx2.Request, status: int = status) -> httpx2.Response:
            return httpx2.Response(status, json={"error": {"message": "No."}})

        with pytest.raises(Exception) as theirs:
            _integration(dialect, answer).invoke("hi")
        with pytest.raises(Exception) as ours:
            ScriptedChatModel(fail(status), dialect=dialect).invoke("hi")
        assert ours.type is theirs.type, status
        assert isinstance(ours.value, StatusError) is False


def test_an_error_says_after_how_long_to_come_again_where_the_provider_says_it() -> None:
    model = ScriptedChatModel(fail(429, retry_after=0.5), say("a").then_fail(429), dialect="openai")
    with pytest.raises(openai.RateLimitError) as error:
        model.invoke("hi")

    assert error.value.response.headers["retry-after"] == "0.5"
    assert str(error.value) == "Error code: 429 - Too Many Requests"
    with pytest.raises(openai.RateLimitError) as error:
        model.invoke("hi")
    assert "retry-after" not in error.value.response.headers


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_a_failure_after_some_text_breaks_the_stream_there(dialect: str, way: str) -> None:
    step = reply(THOUGHT, say(*SUNNY))
    came = heard(ScriptedChatModel(step.then_fail(500), dialect=dialect), way)[0]
    cut = heard(ScriptedChatModel(step.then_truncate(), dialect=dialect), way)[0]

    assert came[-1][0] == "error"
    assert came[1:-1] == [seen for seen in cut[:-1] if seen[0] == "token"][:-1]  # langchain-core makes the last one


def test_without_the_integration_the_error_is_that_of_its_sdk_and_else_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def raised() -> Any:
        with pytest.raises(Exception) as error:
            ScriptedChatModel(fail(429), dialect="anthropic").invoke("hi")
        return error.value

    monkeypatch.setitem(sys.modules, "langchain_anthropic.chat_models", None)
    assert type(raised()) is anthropic.RateLimitError
    monkeypatch.setitem(sys.modules, "anthropic", None)
    found = raised()
    assert isinstance(found, StatusError)
    assert isinstance(found, ModelRateLimitError)
    with pytest.raises(StatusError):
        list(ScriptedChatModel(say("a").then_fail(429), dialect="anthropic").stream("hi"))


def test_without_openai_a_stream_that_breaks_off_raises_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("openai", "langchain_openai.chat_models.base"):
        monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(StatusError):
        list(ScriptedChatModel(say("a").then_fail(500), dialect="openai").stream("hi"))


def test_without_openai_a_fault_of_the_client_raises_the_error_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)

    matrix = faults(lambda: ScriptedChatModel("Hello", dialect="openai").invoke("hi"), kinds=["timeout", "connection reset"])

    assert [verdict.why.partition(":")[0] for verdict in matrix.verdicts] == ["TimeoutError", "ConnectionResetError"]


def test_a_provider_is_imported_only_for_its_own_error() -> None:
    program = """
import sys
from llmtest import ScriptedChatModel, fail, say
given = {"openai", "langchain_openai", "anthropic", "langchain_anthropic"}
for dialect in ("openai", "openai-responses", "anthropic"):
    model = ScriptedChatModel(say("a"), say("a"), fail(TimeoutError), dialect=dialect)
    model.invoke("hi"), list(model.stream("hi"))
    try: model.invoke("hi")
    except TimeoutError: print(given & set(sys.modules))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout == "set()\n" * 3


@pytest.mark.parametrize("dialect", CASES)
def test_a_stream_that_was_cut_off_is_found_in_a_recording(dialect: str) -> None:
    model = ScriptedChatModel(say("a"), say("a", stop_reason="length"), say("a").then_truncate(), dialect=dialect)
    with record() as recording:
        for _ in range(3):
            list(model.stream("hi"))

    assert [broken.witnesses[0].run_id for broken in cut_streams(recording)] == [recording.models[2].id]


def _joined(model: Any) -> Any:
    first, *rest = model.stream("hi")
    return sum(rest, first)


def _gist(message: Any) -> Any:
    known = ("model_name", "model_provider", "finish_reason", "stop_reason", "status")
    about = {key: message.response_metadata.get(key) for key in known}
    thoughts = "".join(block.get("reasoning", "") for block in message.content_blocks)
    return message.text, thoughts, message.tool_calls, message.usage_metadata, about


SAID_AGAIN = [(dialect, name) for dialect, name in ALL if name in ("text", "text_and_call", "reasoning", "cached")]


@pytest.mark.parametrize(("dialect", "name"), SAID_AGAIN)
def test_an_answer_of_the_integration_can_be_said_again(dialect: str, name: str) -> None:
    said = _real(dialect, name).invoke("hi")
    model = bound(ScriptedChatModel(said, said, dialect=dialect), CASES[dialect][name])

    assert _gist(model.invoke("hi")) == _gist(said)
    text, thoughts, calls, usage, metadata = _gist(_joined(_real(dialect, name)))
    if isinstance(said.content, list):  # such a message is said with all that it has, also with its own usage
        usage = said.usage_metadata
    assert _gist(_joined(model)) == (text, thoughts, calls, usage, metadata)


@pytest.mark.parametrize("dialect", names.NAMES)
def test_a_gate_stands_right_before_what_follows_it(dialect: str) -> None:
    gate = hold()
    step = reply(think("t1", gate, "t2"), say(gate, "w1", gate, "w2"), gate, call("weather", city="Paris"), gate).optional()
    # No word is made of hexadecimal digits alone: the ids of messages and calls are.
    words = ("t1", "t2", "w1", "w2", "weather", "Paris", "'last'")

    came = list(ScriptedChatModel(step, dialect=dialect)._answer(step, [], {}).chunks())
    told = ["hold" if isinstance(one, Gate) else next(filter(str(one.message.model_dump()).count, words), "") for one in came]

    wanted = ["t1", "hold", "t2", "hold", "w1", "hold", "w2", "hold", "weather", "Paris", "hold"]
    wanted = [word for word in wanted if dialect != "openai" or word[0] != "t"]
    assert [word for word in told if word in wanted] == wanted
    assert told.index("hold") < len(told) - 1 - told[::-1].index("hold") < len(told) - 1


@pytest.mark.parametrize("dialect", CASES)
def test_tokens_are_counted_once(dialect: str) -> None:
    model = ScriptedChatModel(say("a", usage=(8, 5)).times(2), dialect=dialect)
    with count_tokens() as tokens:
        model.invoke("hi")
        list(model.stream("hi"))

    assert (tokens.input_tokens, tokens.output_tokens, tokens.requests) == (16, 10, 2)


# -- what cannot be


@pytest.mark.parametrize(
    ("name", "hint"), [("opanai", "; did you mean `openai`?"), ("x", ""), (["openai"], "; did you mean `openai`?")]
)
def test_a_dialect_that_there_is_not_is_refused(name: Any, hint: str) -> None:
    with pytest.raises(ScriptError) as error:
        ScriptedChatModel(say("a"), dialect=name)

    assert str(error.value) == f"dialect= is 'plain', 'openai', 'openai-responses' or 'anthropic'; got {name!r}{hint}"


def test_a_dialect_of_a_copy_that_there_is_not_is_refused_at_its_call() -> None:
    model = ScriptedChatModel(say("a").optional()).model_copy(update={"dialect": "opanai"})
    with pytest.raises(ScriptError) as error:
        model.invoke("hi")

    expected = "dialect= is 'plain', 'openai', 'openai-responses' or 'anthropic'; got 'opanai'; did you mean `openai`?"
    assert str(error.value) == expected


def test_each_dialect_is_known_by_its_name() -> None:
    assert [kind.name for name in names.NAMES if (kind := names.class_of(name)) is not None] == list(names.NAMES[1:])


def test_a_script_for_a_model_of_no_dialect_owes_nothing() -> None:
    script = Script(say("a"))
    with pytest.raises(ScriptError):
        ScriptedChatModel(script=script, dialect="opanai")

    assert script.remaining == 0
    with pytest.raises(ScriptError, match="dialect="):
        ScriptedChatModel(script="no script", dialect="opanai")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "imported"),
    [("fail(429)", True), ("say('a').then_fail(500)", True), ("say('a')", False), ("fail(KeyError)", False)],
)
def test_a_model_that_will_fail_with_a_status_imports_the_sdk_when_it_is_made(steps: str, imported: bool) -> None:
    program = (
        f"import sys; from llmtest import *; model = ScriptedChatModel({steps}, dialect='openai'); print('openai' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == f"{imported}\n"
