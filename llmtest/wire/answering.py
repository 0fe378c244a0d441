"""The answer of a script to one HTTP request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from llmtest import ledger
from llmtest.capture import membership
from llmtest.concurrency import lanes
from llmtest.core.source import caller, shown_path
from llmtest.errors import ScriptError, Violation, ViolationError
from llmtest.scripts.answering import Answering
from llmtest.scripts.gates import Gate
from llmtest.scripts.replies import raised, reported_usage, resolve_values
from llmtest.scripts.requests import Request
from llmtest.scripts.step_types import Fail, Reply, Return
from llmtest.wire.api import Api, BadBody, ModelCall, Writer, reason_phrase
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest, json_answer


class Run(Protocol):
    """The run of LangChain that made a request, as far as it is known here."""

    @property
    def run_id(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: the run of LangChain whose model made it, and the tags and metadata around it."""

    run: Callable[[], Any] = lambda: None
    about: Callable[[], tuple[Any, Mapping[str, Any]]] = lambda: ((), {})


NOWHERE: Final = Origin()


class WireModel(Answering):
    """A model that is asked in the words of `api`. `script` serves the calls; `name` is the model's name in violations."""

    def __init__(self, script: Any, api: Api, name: str, violations: list[Violation]) -> None:
        self.script = script
        self.api = api
        self.name = name
        self.violations = violations

    def answer(self, request: HttpRequest, origin: Origin = NOWHERE) -> HttpAnswer:
        """Return the answer to `request`, on a synchronous path.

        Raises:
            ConnectionBroken: the step breaks the connection.
        """
        try:
            call = self._read(request)
            step = self._serve(self._neutral(call, origin), streams=call.streams)
        except (BadBody, ViolationError, ScriptError) as error:
            return self._refused(error)
        return self._written(step, call)

    async def aanswer(self, request: HttpRequest, origin: Origin = NOWHERE) -> HttpAnswer:
        """As `answer`, for an awaited request."""
        try:
            call = self._read(request)
            step = await self._aserve(self._neutral(call, origin), streams=call.streams)
        except (BadBody, ViolationError, ScriptError) as error:
            return self._refused(error)
        return self._written(step, call)

    def hold(self, gate: Gate, request: HttpRequest) -> None:
        """Wait at a gate within the stream of an answer."""
        self._hold([gate], self._neutral(self._read(request), NOWHERE))

    async def ahold(self, gate: Gate, request: HttpRequest) -> None:
        """As `hold`, in async code."""
        await self._ahold([gate], self._neutral(self._read(request), NOWHERE))

    def _read(self, request: HttpRequest) -> ModelCall:
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise BadBody(f"the body of a request is a JSON object; got {request.body!r:.100} ({error})") from None
        if not isinstance(body, dict):
            raise BadBody(f"the body of a request is a JSON object; got {type(body).__name__} {body!r:.100}")
        return self.api.read(request, body)

    def _neutral(self, call: ModelCall, origin: Origin) -> Request:
        return Request(
            call.tools,
            lambda: call.messages,
            call.tool_choice,
            call.stop,
            call.params,
            origin.about,
            origin.run,
            lanes.current(),
        )

    def _report_call(self, request: Request) -> None:
        run = request.run()
        if run is not None:  # a request that no run of LangChain made is none that a recording misses
            membership.note_call(run.run_id, self.name, caller)

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Reply | Fail:
        if isinstance(step, Return):
            raise ScriptError(f"a model cannot give values, it says something; got {step} at {shown_path(step.where)}")
        run = request.run()
        if step.latency is not None and run is not None:
            membership.note_latency(run.run_id, step.latency)
        if isinstance(step, Fail):
            return step
        reply = resolve_values(step, request) if step.structured else step
        self.script.check(reply, request)
        return reply

    # -- writing

    def _written(self, step: Reply | Fail, call: ModelCall) -> HttpAnswer:
        failure = step if isinstance(step, Fail) else None if call.streams else step.failure
        if failure is not None:
            if not isinstance(failure.error, int):
                raise ConnectionBroken(raised(failure))
            message = failure.message or reason_phrase(failure.error)
            return self._error(failure.error, message, retry_headers(failure.retry_after))
        assert isinstance(step, Reply)
        usage = None if step.truncated else reported_usage(step, [message.text for message in call.messages])
        writer = self.api.writer(step, call, usage)
        if call.streams:
            headers = {"content-type": self.api.streams_as, **self.api.headers()}
            return HttpAnswer(200, headers, pieces=_encoded(writer))
        return json_answer(writer.whole(), headers=self.api.headers())

    def _error(self, status: int, message: str, headers: Mapping[str, str]) -> HttpAnswer:
        return json_answer(self.api.error(status, message), status, {**self.api.headers(), **headers})

    def _refused(self, error: Exception) -> HttpAnswer:
        """Return a refusal that says what is wrong: no client tries it again."""
        if isinstance(error, BadBody):
            ledger.report(Violation("bad request", f"a request to `{self.name}` cannot be read\n  {error}"), self.violations)
        return self._error(400, f"llmtest: {error}", NO_RETRY)


NO_RETRY: Final = {"x-should-retry": "false"}


def retry_headers(retry_after: float | None) -> dict[str, str]:
    """Return the headers for a client that may try again: at once, whatever `retry-after` tells the program to wait."""
    told = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return {**told, "retry-after-ms": "1"}


def _encoded(writer: Writer) -> Iterator[bytes | Gate]:
    for event in writer.pieces():
        yield event if isinstance(event, Gate) else writer.encode(event)
    if not writer.cut and (end := writer.closing()):
        yield end
