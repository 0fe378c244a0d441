"""What a request to a provider gets: the answer of a script, or it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmtest.errors import ViolationError
from llmtest.scripts.script import Script
from llmtest.wire import guard, providers
from llmtest.wire.answering import NOWHERE, Origin, WireModel, read, refusal
from llmtest.wire.api import Api, BadBody, ModelCall
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.hosts import Target, api_of, recognize

find_origin: Callable[[], Origin] = lambda: NOWHERE  # noqa: E731
"""Returns the run of LangChain that makes a request, by the stack of the caller. Set by `llmtest.langchain`."""


def target_of(method: str, url: str) -> Target | None:
    """Return what a request is for, or None if it is no business of the boundary."""
    return recognize(method, url) if guard.is_on() else None


def answer(target: Target, request: HttpRequest, built: str = "", is_intercepted: bool = False) -> HttpAnswer | None:
    """Return the answer to a request on a synchronous path, or None if it may go on to the network.

    `built` is the line of the program that made the client. `is_intercepted` is for a client whose network somebody else
    has replaced, so that no request of it gets out.

    Raises:
        ConnectionBroken: the script breaks the connection, or no script answers.
    """
    plan = _plan(target, request, built, is_intercepted)
    return plan.model.answer(plan.call, plan.origin) if isinstance(plan, _Plan) else plan


async def aanswer(target: Target, request: HttpRequest, built: str = "", is_intercepted: bool = False) -> HttpAnswer | None:
    """As `answer`, for an awaited request."""
    plan = _plan(target, request, built, is_intercepted)
    return await plan.model.aanswer(plan.call, plan.origin) if isinstance(plan, _Plan) else plan


@dataclass(frozen=True, slots=True)
class _Plan:
    """A call that a script answers."""

    model: WireModel
    call: ModelCall
    origin: Origin


def _plan(target: Target, request: HttpRequest, built: str, is_intercepted: bool) -> _Plan | HttpAnswer | None:
    if target.kind != "model":
        return _stop(target, "", request, built, is_intercepted)
    api = api_of(target.api)
    try:
        call = read(request, api)
    except BadBody as error:
        if not providers.is_any_open():
            return _stop(target, "", request, built, is_intercepted)
        text = f"a request to `{target.providers[0]}` cannot be read\n  {error}\n  url      {request.url.partition('?')[0]}"
        return refusal(api, providers.violate("bad request", text))
    models = [f"{provider}:{name}" for provider in target.providers for name in dict.fromkeys((call.model, target.model)) if name]
    try:
        entry = providers.find(models)
        if entry is None:
            return _stop(target, next(iter(models), ""), request, built, is_intercepted)
        providers.note_asked(models[0])
        return _call(providers.script_now(entry, models[0]), api, models[0], call)
    except ViolationError as error:
        return refusal(api, error)


def _call(answerer: providers.Answerer, api: Api, model: str, call: ModelCall) -> _Plan:
    if not isinstance(answerer, Script):
        text = f"the program asks `{model}` for an answer, but it is mapped to embeddings: {answerer!r}"
        raise providers.violate("unmapped model", text)
    return _Plan(WireModel(answerer, api, model), call, find_origin())


def _stop(target: Target, model: str, request: HttpRequest, built: str, is_intercepted: bool) -> HttpAnswer | None:
    if not is_intercepted:
        guard.stop(target, model, request.url, built)
    return None
