"""The answer of a script to one HTTP request."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from functools import partial

from llmtest.capture import membership
from llmtest.concurrency import lanes
from llmtest.core.source import program_place, shown_path
from llmtest.errors import ScriptError, ViolationError
from llmtest.events.words import EMPTY, Failure, FrozenDict, FrozenList, Generation, Message, Usage
from llmtest.scripts.answering import Answering
from llmtest.scripts.gates import Gate
from llmtest.scripts.replies import raised, reported_usage, resolve_values
from llmtest.scripts.requests import NOWHERE, Origin, Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Return
from llmtest.wire.api import Api, BadBody, C, Endpoint, ModelCall, Writer
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest, json_answer, reason_phrase
from llmtest.wire.unpacking import MAX_UNPACKED_BYTES, unpack


def read(request: HttpRequest, api: Endpoint[C], max_bytes: int = MAX_UNPACKED_BYTES) -> C:
    """Return what a request asks of an endpoint. A compressed body is unpacked, to at most `max_bytes`.

    Raises:
        BadBody: the body is not what the API takes.
    """
    try:
        body = json.loads(request.body)
        if isinstance(body, dict):
            return api.read(request, body)
    except ValueError as error:
        encodings = request.headers.get("content-encoding", "")  # asked only here: hardly any client compresses
        if encodings.lower() not in ("", "identity"):
            unpacked = HttpRequest(request.method, request.url, {}, unpack(request.body, encodings, max_bytes))
            return read(unpacked, api)
        raise BadBody(f"the body of a request is a JSON object; got {request.body!r:.100} ({error})") from None
    except RecursionError:
        raise BadBody(
            f"the body of a request is a JSON object, but this one is nested too deeply: {request.body!r:.100}"
        ) from None
    raise BadBody(f"the body of a request is a JSON object; got {type(body).__name__} {body!r:.100}")


def request_of(call: ModelCall, origin: Origin) -> Request:
    """Return a call in neutral words: keys and `expects` look at it."""
    return Request(
        call.tools,
        lambda: call.messages,
        call.tool_choice,
        call.stop,
        call.params,
        origin.about,
        origin.run,
        lanes.current(),
        place=origin.place,
        over_http=True,
    )


class WireModel(Answering):
    """A model that is asked in the words of `api`. `script` serves the calls; `name` is the model's name in violations."""

    max_events_at_once = 16
    """How many events of a stream arrive as one piece, at most."""

    def __init__(self, script: Script, api: Api, name: str) -> None:
        self.script = script
        self.api = api
        self.name = name

    def answer(self, call: ModelCall, origin: Origin = NOWHERE) -> HttpAnswer:
        """Return the answer to a call, on a synchronous path.

        Raises:
            ConnectionBroken: the step breaks the connection.
        """
        request = request_of(call, origin)
        try:
            step = self._serve(request, streams=call.streams)
        except (ViolationError, ScriptError) as error:
            return refusal(self.api, error)
        return self._written(step, call, request)

    async def aanswer(self, call: ModelCall, origin: Origin = NOWHERE) -> HttpAnswer:
        """As `answer`, for an awaited request."""
        request = request_of(call, origin)
        try:
            step = await self._aserve(request, streams=call.streams)
        except (ViolationError, ScriptError) as error:
            return refusal(self.api, error)
        return self._written(step, call, request)

    def hold(self, gate: Gate, request: Request) -> None:
        """Wait at a gate within the stream of an answer."""
        self._hold([gate], request)

    async def ahold(self, gate: Gate, request: Request) -> None:
        """As `hold`, in async code."""
        await self._ahold([gate], request)

    def _report_call(self, request: Request) -> None:
        run = request.run()
        if run is not None:  # a request that no run of LangChain made is none that a recording misses
            membership.note_call(run.run_id, self.name, program_place)

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Reply | Fail:
        if isinstance(step, Return):
            raise ScriptError(f"a model cannot give values, it says something; got {step} at {shown_path(step.where)}")
        run = request.run()
        if step.latency is not None and run is not None:
            membership.note_latency(run.run_id, step.latency)
        if isinstance(step, Fail):
            return step
        reply = resolve_values(step, request) if step.structured else step
        self.api.check(reply, request.params)
        self.script.check(reply, request)
        return reply

    # -- writing

    def _written(self, step: Reply | Fail, call: ModelCall, request: Request) -> HttpAnswer:
        failure = step if isinstance(step, Fail) else None if call.streams else step.failure
        if failure is not None:
            self._note_failed(call, request, failure)
            return self._failed(failure)
        assert isinstance(step, Reply)
        usage = None if step.truncated else reported_usage(step, [message.text for message in call.messages])
        self._note_answered(call, request, usage if step.failure is None else None)  # what a broken stream has spent is not known
        writer = self.api.writer(step, call, usage)
        if call.streams:
            headers = {"content-type": writer.streams_as, **self.api.headers()}
            return HttpAnswer(200, headers, stream=WrittenStream(writer, self, request))
        return json_answer(writer.whole(), headers=self.api.headers())

    # The token counts of a test learn of a call that no run of LangChain made; a run is counted by its callbacks.

    def _note_answered(self, call: ModelCall, request: Request, usage: Usage | None) -> None:
        if request.run() is None:
            membership.note_spent(self.name, call.model, request.metadata, "on_llm_end", partial(_answered, call.model, usage))

    def _note_failed(self, call: ModelCall, request: Request, failure: Fail) -> None:
        if request.run() is None:
            membership.note_spent(self.name, call.model, request.metadata, "on_llm_error", partial(_failed, failure))

    def _failed(self, failure: Fail) -> HttpAnswer:
        if not isinstance(failure.error, int):
            raise ConnectionBroken(raised(failure))
        return error_answer(self.api, failure.error, failure.message or reason_phrase(failure.error), failure.retry_after)


def _answered(model: str, usage: Usage | None) -> FrozenDict:
    answer = Message("ai", usage=usage, response_metadata=FrozenDict(model_name=model))
    return FrozenDict(generations=FrozenList([Generation("", answer)]))


def _failed(failure: Fail) -> FrozenDict:
    kind = "StatusError" if isinstance(failure.error, int) else type(raised(failure)).__name__
    return FrozenDict(error=Failure(kind, str(failure)), response=EMPTY)


class WrittenStream:
    """The stream of an answer, as bytes. It stops at its gates."""

    def __init__(self, writer: Writer, model: WireModel, request: Request) -> None:
        self.writer, self.model, self.request = writer, model, request

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces():
            if isinstance(piece, bytes):
                yield piece
            else:
                self.model.hold(piece, self.request)

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for piece in self._pieces():
            if isinstance(piece, bytes):
                yield piece
            else:
                await self.model.ahold(piece, self.request)

    def _pieces(self) -> Iterator[bytes | Gate]:
        """Yield the bytes of the stream and its gates. Events that nothing separates come together, as over a network."""
        waiting: list[bytes] = []
        try:
            for piece in self.writer.encoded():
                if isinstance(piece, bytes):
                    waiting.append(piece)
                    if len(waiting) < self.model.max_events_at_once:
                        continue
                if waiting:
                    yield b"".join(waiting)
                    waiting = []
                if not isinstance(piece, bytes):
                    yield piece
        except ConnectionBroken:
            if waiting:
                yield b"".join(waiting)  # what was said before the break arrives
            raise
        end = b"" if self.writer.cut else self.writer.closing()
        if end or waiting:
            yield b"".join((*waiting, end))


# -- refusals


def error_answer(api: Endpoint[C], status: int, message: str, retry_after: float | None = None) -> HttpAnswer:
    """Return an error of the provider. A client may try again at once, whatever `retry-after` tells the program to wait."""
    told = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return json_answer(api.error(status, message), status, {**api.headers(status), **told, "retry-after-ms": "1"})


def refusal(api: Endpoint[C], error: Exception | str, status: int = 400) -> HttpAnswer:
    """Return a refusal of ours, with its reason. No client tries it again."""
    return json_answer(api.error(status, f"llmtest: {error}"), status, {**api.headers(status), "x-should-retry": "false"})
