"""What an API writes, it reads back: `read_answer` is the inverse of the writer, and what is lost has a name and a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmtest import call, fail, reply, say, think
from llmtest.events.words import EMPTY, FrozenDict, Usage
from llmtest.scripts.replies import reported_usage
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Text, Thinking, split
from llmtest.wire.answering import error_answer
from llmtest.wire.anthropic import Messages
from llmtest.wire.api import Api, BadBody, ModelCall, ReadAnswer
from llmtest.wire.completions import Completions
from llmtest.wire.exchange import HttpAnswer, json_answer
from llmtest.wire.gemini import Gemini
from llmtest.wire.ollama import Chat, Generate
from llmtest.wire.openai import ChatCompletions
from llmtest.wire.responses import Responses
from tests.support.dialect_cases import CASES, NAMES
from tests.support.wire import WIRE
from tests.wire.test_bad_bodies import mutated

APIS: dict[str, Api] = {
    "openai": ChatCompletions(),
    "openai-responses": Responses(),
    "anthropic": Messages(),
    "gemini": Gemini(),
    "ollama": Chat(),
    "ollama, text": Generate(),
    "completions": Completions(),
}
OWN_CASES = {"gemini": "openai-responses", "ollama": "openai-responses", "ollama, text": "openai", "completions": "openai"}
MODEL = "m"


def asked(**params: Any) -> ModelCall:
    return ModelCall(MODEL, (), params={"stream_options": {"include_usage": True}, **params}, streams=True)


def streamed(api: Api, step: Reply, **params: Any) -> HttpAnswer:
    """The answer as all bytes of its stream."""
    writer = api.writer(step, asked(**params), None if step.truncated else reported_usage(step, []))
    body = b"".join(writer.encode(event) for event in writer.events() if isinstance(event, dict))
    return HttpAnswer(200, {"content-type": writer.streams_as}, body if writer.cut else body + writer.closing())


def whole(api: Api, step: Reply) -> HttpAnswer:
    return json_answer(api.writer(step, asked(), reported_usage(step, [])).whole())


# -- what is read back, for each thing that an API has no word for


def as_read(name: str, step: Reply, *, streams: bool) -> Reply:
    """Return `step` as `name` reads back what it has written."""
    parts = [part for part in map(_plain, step.parts) if part.tokens or isinstance(part, Call) or _has_blocks(name)]
    if name in ("openai", "completions"):  # these two have no reasoning in what they write
        parts = [part for part in parts if not isinstance(part, Thinking)]
    if name in ("gemini", "ollama"):  # a call comes as an object: one with broken arguments is not sent
        parts = [part for part in parts if not (isinstance(part, Call) and part.malformed)]
    if name == "ollama":  # its calls have no ids
        parts = [replace(part, id=None) if isinstance(part, Call) else part for part in parts]
    if not streams and name in ("openai", "ollama", "ollama, text"):  # a whole answer has one text, then its calls
        parts.sort(key=lambda part: (Thinking, Text, Call).index(type(part)))
    parts = _joined(parts)
    if not streams:
        parts = [_in_one_piece(part) for part in parts]
    if not streams and name == "anthropic":  # a whole answer has objects
        parts = [replace(part, pieces=()) if isinstance(part, Call) else part for part in parts]
    said = replace(
        step,
        parts=tuple(parts) or (Text(()),),
        usage=_usage(name, step, streams=streams),
        stop_reason=_stop(name, step, parts),
        failure=step.failure,
        refusal=(step.refusal and name in ("openai", "openai-responses")) or _is_refusal_of_text(name, step),
        response_metadata=_metadata(name, step),
    )
    return replace(said, serving=step.serving, ttft_s=None, tokens_per_s=None)


def _has_blocks(name: str) -> bool:
    """True for an API that says an empty text or empty reasoning as a block; the others say nothing."""
    return name in ("openai-responses", "anthropic")


def _plain(part: Part) -> Part:
    """Return a part without empty tokens; a call without exact pieces that say nothing but its arguments."""
    if isinstance(part, Text | Thinking):
        return replace(part, tokens=tuple(filter(None, part.tokens)))
    assert isinstance(part, Call)
    if not part.malformed:
        return replace(part, pieces=())
    return replace(part, args=EMPTY)  # nobody says what the model meant


def _joined(parts: list[Part]) -> list[Part]:
    """Text right after text is one block of an answer."""
    found: list[Part] = []
    for part in parts:
        if found and type(found[-1]) is type(part) and not isinstance(part, Call):
            found[-1] = _with_tokens(found[-1], (*found[-1].tokens, *part.tokens))
        else:
            found.append(part)
    return found


def _in_one_piece(part: Part) -> Part:
    tokens = tuple(split("".join(part.tokens)))
    if isinstance(part, Call):
        return replace(part, pieces=tokens if part.malformed else ())
    return _with_tokens(part, tokens)


def _with_tokens(part: Part, tokens: tuple[str, ...]) -> Part:
    assert isinstance(part, Text | Thinking)
    return replace(part, tokens=tokens)


def _usage(name: str, step: Reply, *, streams: bool) -> Any:
    usage = reported_usage(step, [])
    cut = step.truncated or step.failure is not None
    if name == "anthropic":  # it always has usage; a stream begins with that of the prompt, and one token
        told = Usage() if usage is None or step.truncated else usage
        details = dict(told.input_details)
        if "cache_creation" in details:  # the API says for how long
            details["ephemeral_5m_input_tokens"] = details.pop("cache_creation")
        told = replace(told, input_details=_nonzero(details), output_details=_nonzero(told.output_details))
        read = told.input_tokens
        return replace(told, output_tokens=1, total_tokens=read + 1, output_details=EMPTY) if streams and cut else told
    if streams and cut:  # usage comes last
        return None
    if usage is None:
        return False
    total = usage.input_tokens + usage.output_tokens if name.startswith("ollama") else usage.total_tokens
    into, out = dict(usage.input_details), dict(usage.output_details)
    if name in ("completions", "ollama", "ollama, text"):  # they know no kinds of tokens
        into, out = {}, {}
    if name == "gemini":
        into.pop("cache_creation", None)
    return replace(usage, total_tokens=total, input_details=_nonzero(into), output_details=_nonzero(out))


def _nonzero(details: Any) -> FrozenDict:
    """Return details without zeros: an API says zero and nothing alike."""
    return FrozenDict({key: number for key, number in details.items() if number})


def _stop(name: str, step: Reply, parts: list[Part]) -> str | None:
    if step.truncated or step.failure is not None:
        return "refusal" if step.refusal and name in ("openai", "openai-responses") and not step.failure else None
    reason = step.stop_reason
    if step.refusal and name in ("openai", "openai-responses"):
        return "refusal" if reason in (None, "stop") else reason
    if name == "openai-responses":  # it says nothing of how a complete answer ends
        return reason if reason in ("length", "content_filter") else None
    calls = any(isinstance(part, Call) for part in parts)
    if name == "anthropic":
        reason = "refusal" if reason == "content_filter" else reason
    if name == "gemini":
        reason = {"tool_calls": "stop", "refusal": "content_filter"}.get(reason or "", reason)
        reason = reason or ("MALFORMED_FUNCTION_CALL" if any(c.malformed for c in step.calls) else None)
        calls = False
    if name.startswith("ollama"):
        reason = {"tool_calls": None, "refusal": None}.get(reason or "", reason)
        calls = False
    if name == "completions":
        reason, calls = None if step.refusal and reason == "refusal" else reason, False
    return None if reason == ("tool_calls" if calls else "stop") else reason


def _is_refusal_of_text(name: str, step: Reply) -> bool:
    """To Anthropic the stop reason says all; a script has refusals of text only."""
    ends = not step.truncated and step.failure is None and step.stop_reason in ("refusal", "content_filter")
    return name == "anthropic" and ends and all(isinstance(part, Text) for part in step.parts)


def _metadata(name: str, step: Reply) -> Any:
    broken = [call for call in step.calls if call.malformed]
    if name == "gemini" and broken and not (step.truncated or step.failure):
        told = f"Malformed function call: {broken[0].tool}({''.join(broken[0].tokens)})"
        return FrozenDict(finish_message=told, **step.response_metadata)
    known = {"openai": ("system_fingerprint", "service_tier", "model_name"), "anthropic": ("stop_details", "model_name")}
    return FrozenDict({key: value for key, value in step.response_metadata.items() if key in known.get(name, ("model_name",))})


# -- the table of the dialects


def _can_say(name: str, step: Reply) -> bool:
    if step.calls and name in ("ollama, text", "completions"):
        return False
    broken = any(call.malformed for call in step.calls)
    if broken and step.truncated and name in ("gemini", "ollama"):  # the stream is cut off before its first event
        return len(step.parts) > 1
    return not (broken and name == "ollama")


TABLE = [(name, case) for name in APIS for case in CASES[OWN_CASES.get(name, name)]]
TABLE = [(name, case) for name, case in TABLE if _can_say(name, CASES[OWN_CASES.get(name, name)][case].step())]


def _step(name: str, case: str) -> Reply:
    step = CASES[OWN_CASES.get(name, name)][case].step()
    assert isinstance(step, Reply)
    return step


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_a_stream_is_read_back(name: str, case: str) -> None:
    step = _step(name, case)

    assert APIS[name].read_answer(streamed(APIS[name], step), MODEL) == ReadAnswer(as_read(name, step, streams=True))


@pytest.mark.parametrize(("name", "case"), [(n, c) for n, c in TABLE if CASES[OWN_CASES.get(n, n)][c].whole])
def test_a_whole_answer_is_read_back(name: str, case: str) -> None:
    step = _step(name, case)

    assert APIS[name].read_answer(whole(APIS[name], step), MODEL) == ReadAnswer(as_read(name, step, streams=False))


def test_a_gemini_stream_without_events_is_an_array() -> None:
    step = _step("gemini", "reasoning_and_call")
    answer = streamed(Gemini(), step, alt="json")

    assert answer.headers == {"content-type": "application/json"}
    assert answer.body.startswith(b"[")
    assert Gemini().read_answer(answer, MODEL).step == as_read("gemini", step, streams=True)


FILES = [(name, path) for name in CASES for path in sorted((WIRE / name).iterdir()) if path.stem in CASES[name]]


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda value: getattr(value, "name", value))
def test_the_bodies_of_the_real_servers_are_the_steps_of_the_table(name: str, path: Any) -> None:
    """`fixtures/wire` has them as the providers send them; the dialects are held against the same files."""
    streams, step = path.suffix == ".sse", _step(name, path.stem)
    answer = HttpAnswer(200, {"content-type": "text/event-stream" if streams else "application/json"}, path.read_bytes())
    expected = as_read(name, step, streams=streams)

    found = APIS[name].read_answer(answer, NAMES[name]).step

    assert isinstance(found, Reply)
    found = replace(found, parts=tuple(_renamed(part) for part in found.parts))
    assert (found.parts, found.stop_reason, found.truncated, found.refusal) == (
        *(expected.parts, expected.stop_reason, expected.truncated, expected.refusal),
    )
    if step.usage not in (None, False) and not (step.truncated or step.failure):
        assert found.usage == expected.usage


def _renamed(part: Part) -> Part:
    """Return a part with the id of the table: Anthropic's own begin with `toolu`."""
    return replace(part, id=part.id.replace("toolu", "call")) if isinstance(part, Call) and part.id else part


# -- any answer


words = st.text(max_size=6) | st.sampled_from(["\ud83d", "\u2028", "data: [DONE]\n\n", "\r\n\r\n", "\x00", "é", ""])
tokens = st.lists(words, max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def calls(draw: st.DrawFn) -> Any:
    args = draw(st.dictionaries(words, values, max_size=3))
    step = call(draw(st.sampled_from("fg")), args).with_id(f"call_{draw(st.integers(0, 10**9))}")
    if draw(st.integers(0, 4)) == 0:
        return step.malformed(*draw(st.lists(st.sampled_from(['{"a', ": 1", "x", "}", "é"]), min_size=1, max_size=3)), "{")
    return step


def _unlike(calls: tuple[Call, ...]) -> bool:
    return len({call.id for call in calls}) == len(calls)


@st.composite
def replies(draw: st.DrawFn, with_calls: bool = True) -> Reply:
    kinds = [tokens.map(lambda given: say(tokens=given)), tokens.map(lambda given: think(tokens=given))]
    if with_calls:
        kinds.append(calls())
    parts = draw(st.lists(st.one_of(kinds), max_size=4))
    reason = draw(st.sampled_from([None, "length", "stop", "tool_calls", "content_filter"]))
    told: Any = draw(st.none() | st.just(False) | st.tuples(st.integers(0, 99), st.integers(1, 99)))
    step = reply(*parts, stop_reason=reason, usage=told)
    return draw(st.sampled_from([step, step, step, step.then_truncate(), step.then_fail(500)]))


@pytest.mark.parametrize("name", APIS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@example(data=None)
@given(data=st.data())
def test_any_answer_is_read_back(name: str, data: Any) -> None:
    api = APIS[name]
    step = reply("") if data is None else data.draw(replies(with_calls=name not in ("ollama, text", "completions")))
    if not (_can_say(name, step) and _unlike(step.calls)):
        return

    if not step.truncated and step.failure is None:
        assert _read(api, whole(api, step)) == as_read(name, step, streams=False)
    answer = streamed(api, step)
    if answer.body:  # a stream may be cut off before it begins
        assert _read(api, answer) == as_read(name, step, streams=True)


def _read(api: Api, answer: HttpAnswer) -> Reply:
    found = api.read_answer(answer, MODEL)
    assert isinstance(found.step, Reply)
    empty_reasoning_of_gemini = ("signatures of reasoning that is not in the answer",)
    assert found.left_out in ((), empty_reasoning_of_gemini if isinstance(api, Gemini) else ())
    return found.step


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("way", ["headers", "case", "none"])
def test_a_body_is_known_without_its_content_type(name: str, way: str) -> None:
    api, step = APIS[name], say("It ", "is ", "sunny.", usage=(8, 5))
    headers: dict[str, Callable[[str], dict[str, str]]] = {
        "headers": lambda kind: {"content-type": f"{kind}; charset=utf-8"},
        "case": lambda kind: {"content-type": kind.upper()},
        "none": lambda kind: {},
    }
    for answer, streams in ((streamed(api, step), True), (whole(api, step), False)):
        told = HttpAnswer(200, headers[way](answer.headers["content-type"]), answer.body)

        assert api.read_answer(told, MODEL).step == as_read(name, step, streams=streams)


# -- errors


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
def test_an_error_is_read_back(name: str, status: int) -> None:
    step = replace(fail(status, retry_after=2.5), message="No, not now.")
    answer = error_answer(APIS[name], status, "No, not now.", 2.5)

    assert APIS[name].read_answer(answer, MODEL) == ReadAnswer(step)


WITH_STATUS = {
    "openai": (400, 401, 404, 429, 500),
    "openai-responses": (400, 401, 404, 429, 500),
    "anthropic": (400, 401, 403, 404, 413, 429, 500, 504, 529),
    "gemini": (400, 401, 403, 404, 429, 500, 503, 504),
    "ollama": (500,),  # its errors are texts
    "completions": (400, 401, 404, 429, 500),
}


@pytest.mark.parametrize(("name", "status"), [(name, status) for name, known in WITH_STATUS.items() for status in known])
def test_an_error_within_a_stream_has_the_status_of_its_word(name: str, status: int) -> None:
    step = say("a ", "b").then_fail(status)

    found = APIS[name].read_answer(streamed(APIS[name], step), MODEL).step

    assert isinstance(found, Reply)
    assert (found.failure, found.truncated, found.text) == (fail(status), False, "a b")


def failed(status: int, body: bytes, **headers: str) -> ReadAnswer:
    told = {key.replace("_", "-"): value for key, value in headers.items()}
    return ChatCompletions().read_answer(HttpAnswer(status, told, body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}}', "Slow down."),
        (b'{"error": "Slow down."}', "Slow down."),
        (b'{"message": "Slow down."}', "Slow down."),
        (b'{"detail": "Slow down."}', "Slow down."),
        (b'{"detail": [{"loc": ["body"], "msg": "Slow down.", "type": "value_error"}]}', "Slow down."),
        (b'[{"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}]', "Slow down."),
        (b'{"error": {"message": "Too Many Requests"}}', None),
        (b"{}", None),
        (b"", None),
    ],
)
def test_the_message_of_an_error_is_found(body: bytes, message: str | None) -> None:
    assert failed(429, body).step == Fail(429, message=message)


def test_an_error_that_is_no_json_has_no_message() -> None:
    assert failed(502, b"<html>Bad Gateway</html>", content_type="text/html; charset=utf-8") == ReadAnswer(
        Fail(502), ("an error body of the type text/html",)
    )


def test_other_words_of_an_error_are_left_out() -> None:
    body = b'{"error": {"message": "No money.", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}'

    assert failed(429, body) == ReadAnswer(
        Fail(429, message="No money."),
        ("the code 'insufficient_quota' of the error", "the type 'insufficient_quota' of the error"),
    )


@pytest.mark.parametrize(
    ("headers", "wait", "left_out"),
    [
        ({}, None, ()),
        ({"retry_after": "20"}, 20, ()),
        ({"retry_after_ms": "1500"}, 1.5, ()),
        ({"retry_after": "2", "retry_after_ms": "1"}, 2, ()),
        ({"retry_after": "soon", "retry_after_ms": "250"}, 0.25, ()),
        ({"retry_after": "nan"}, None, ("retry-after: nan",)),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT",)),
    ],
)
def test_the_time_to_wait_is_read(headers: dict[str, str], wait: float | None, left_out: tuple[str, ...]) -> None:
    assert failed(429, b"{}", **headers) == ReadAnswer(Fail(429, wait), left_out)


# -- bytes that are no answer


SENDS = {
    "openai": "a chat completion",
    "openai-responses": "a response",
    "anthropic": "a message of Anthropic",
    "gemini": "a GenerateContentResponse of Gemini",
    "ollama": "a chat response of Ollama",
    "ollama, text": "an answer of Ollama to a prompt",
    "completions": "a text completion",
}


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize(
    ("kind", "body", "got"),
    [
        ("application/json", b"", "got an empty body"),
        ("text/event-stream", b" \n", "got an empty body"),
        ("text/event-stream", b": ping\n\n", "got no event in ': ping\\n\\n'"),
        ("application/json", b"[]", "got no event in '[]'"),
        ("text/html", b"<html></html>", "got '<html></html>', which is no JSON: Expecting value, character 1"),
        ("application/json", b'{"id": "x", "cho', "which is no JSON: Unterminated string starting at, character 13"),
        ("text/event-stream", b"data: {\n\ndata: {}\n\n", "got an event that is no JSON: '{'"),
        ("application/json", b"\xff\xfe", "got bytes that are no UTF-8: 'utf-8' codec can't decode byte 0xff in position 0"),
        ("application/json", b'{"a":' * 100_000, "got JSON that is nested too deeply"),
    ],
)
def test_bytes_that_are_no_answer_are_told_with_words(name: str, kind: str, body: bytes, got: str) -> None:
    with pytest.raises(BadBody) as error:
        APIS[name].read_answer(HttpAnswer(200, {"content-type": kind}, body))

    text = str(error.value)
    assert text.startswith(f"the body is {SENDS[name]}, or the events of its stream; got ")
    assert got in text


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("body", ["1", '"a"', "null"])
def test_json_that_is_no_object_is_told_with_words(name: str, body: str) -> None:
    with pytest.raises(BadBody, match=r"^`body` is a JSON object; got "):
        APIS[name].read_answer(HttpAnswer(200, {"content-type": "application/json"}, body.encode()))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (302, "an answer has the HTTP status 200, or one of 400 or more; got 302"),
        (600, "an HTTP status that fails lies between 400 and 599; got 600"),
    ],
)
def test_a_status_without_an_answer_is_told_with_words(status: int, text: str) -> None:
    with pytest.raises(BadBody) as error:
        ChatCompletions().read_answer(HttpAnswer(status, {}, b"{}"))

    assert str(error.value) == text


@pytest.mark.parametrize("name", APIS)
def test_a_json_object_of_something_else_is_no_answer(name: str) -> None:
    with pytest.raises(BadBody, match="; got nothing"):
        APIS[name].read_answer(json_answer({"id": "x", "object": "list", "data": []}))


# -- a stream that breaks


@pytest.mark.parametrize("name", APIS)
def test_a_stream_may_break_at_any_byte(name: str) -> None:
    api, step = APIS[name], reply(think("A clear ", "sky."), say("It is ", "ſunny."), usage=(8, 5))
    body = streamed(api, step).body
    kinds, told = set(), list[str]()
    for size in range(len(body)):
        answer = HttpAnswer(200, {"content-type": api.writer.streams_as}, body[:size])
        try:
            found = api.read_answer(answer, MODEL).step
        except BadBody as error:
            told.append(str(error))
            continue
        assert isinstance(found, Reply)
        kinds.add(found.truncated)
        assert "It is ſunny.".startswith(found.text)
        assert found.truncated or found.text == "It is ſunny."

    assert True in kinds
    assert all("empty body" in text or "got no event" in text or "no JSON" in text for text in told)


# -- bodies that are changed


STEP = reply(think("hm"), say("It is ", "sunny."), call("weather", city="Paris").with_id("call_1"), usage=(8, 5))
PLAIN = reply(think("hm"), say("It is ", "sunny."), usage=(8, 5))


@pytest.mark.parametrize("name", APIS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_answer_is_read_or_told_with_words(name: str, data: st.DataObject) -> None:
    api, step = APIS[name], PLAIN if name in ("ollama, text", "completions") else STEP
    writer = api.writer(step, asked(), Usage(8, 5, 13))
    if data.draw(st.booleans()):
        answer = json_answer(data.draw(mutated(writer.whole())))
    else:
        events = data.draw(mutated({"events": [event for event in writer.events() if isinstance(event, dict)]})).get("events")
        lines = events if isinstance(events, list) else [events]
        answer = HttpAnswer(200, {}, b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in lines))

    try:
        found = api.read_answer(answer)
    except BadBody:
        return
    assert isinstance(str(found.step), str)
    assert all(isinstance(what, str) and what for what in found.left_out)
