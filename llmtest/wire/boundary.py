"""What a request to a provider gets: the answer of a script, or it is stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from llmtest.capture import membership
from llmtest.errors import ViolationError
from llmtest.scripts.requests import NOWHERE, Origin
from llmtest.wire import guard, providers
from llmtest.wire.answering import WireModel, read, refusal
from llmtest.wire.api import Api, BadBody, Endpoint, ModelCall
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.hearing import Heard, listener
from llmtest.wire.hosts import LANGSMITH, Target, api_of, recognize
from llmtest.wire.unpacking import unpack

find_origin: Callable[[], Origin] = lambda: NOWHERE  # noqa: E731
"""Returns the run of LangChain that makes a request, by the stack of the caller. Set by `llmtest.langchain`."""


def target_of(method: str, url: str) -> Target | None:
    """Return what a request is for, or None if it is no business of the boundary."""
    return recognize(method.upper(), url, also_ours=listener() is not None) if guard.is_on() else None


class Client(NamedTuple):
    """The client that makes a request: the line of the program that built it, and whether another library answers it.

    A request whose network is replaced, as by a cassette, does not leave the machine.
    """

    built: str = ""
    is_intercepted: bool = False


FindClient = Callable[[], Client]
"""Returns the client; asked only for a request that no script answers."""


def answer(target: Target, request: HttpRequest, find_client: FindClient = Client) -> HttpAnswer | Heard | None:
    """Return the answer to a request on a synchronous path, or None if it may go on to the network.

    It goes on to the network, too, if a recorder hears it: the client notes the answer in the `Heard` that is returned.

    Raises:
        ConnectionBroken: the script breaks the connection, or no script answers.
    """
    plan = _plan(target, request, find_client)
    return plan.model.answer(plan.call, plan.origin) if isinstance(plan, _Plan) else plan


async def aanswer(target: Target, request: HttpRequest, find_client: FindClient = Client) -> HttpAnswer | Heard | None:
    """As `answer`, for an awaited request."""
    plan = _plan(target, request, find_client)
    return await plan.model.aanswer(plan.call, plan.origin) if isinstance(plan, _Plan) else plan


class _Plan(NamedTuple):
    """A call that a script answers."""

    model: WireModel
    call: ModelCall
    origin: Origin


def _plan(target: Target, request: HttpRequest, find_client: FindClient) -> _Plan | HttpAnswer | Heard | None:
    asked, answer = "", None
    if target.api and (providers.is_any_open() or listener() is not None):
        asked, answer = _mapped(target, request)
    elif providers.is_any_open():
        answer = _models(target, request)
    if answer is None and (recorder := listener()) is not None and LANGSMITH not in target.providers:
        guard.let_through(request.host)
        recorder.miss(f"{request.method} {request.url.partition('?')[0]}")
        return None
    if answer is None and not (client := find_client()).is_intercepted:
        stop(target, asked or _named(target, request), request.url, client.built)
    return answer


def stop(target: Target, model: str, url: str, built: str = "") -> None:
    """Stop a request to a provider, or note that its run goes to a real model, where that is allowed.

    Raises:
        ConnectionBroken: it is stopped; a violation is written.
    """
    guard.stop(target, model, url, built)
    run = None if LANGSMITH in target.providers else find_origin().run()
    if run is not None:
        membership.note_real(run.run_id)


def _named(target: Target, request: HttpRequest) -> str:
    """Return the model that a request names; empty if it names none."""
    name = target.model
    if not name and target.api:
        try:
            body = json.loads(unpack(request.body, request.headers.get("content-encoding", "")))
        except (ValueError, RecursionError, BadBody):
            return ""
        name = str(body.get("model") or "") if isinstance(body, dict) else ""
    return f"{target.providers[0]}:{name}" if name else ""


def _mapped(target: Target, request: HttpRequest) -> tuple[str, _Plan | HttpAnswer | Heard | None]:
    """Return the model that a request asks, and what answers or hears the answer; None if no entry maps it."""
    api = api_of(target.api)
    try:
        call = read(request, api)
    except BadBody as error:
        return "", None if listener() is not None else _unreadable(target, request, api, error)
    models = target.names_of(call.model)
    asked = next(iter(models), "")
    try:
        entry = providers.find(models)
        if entry is None:
            return asked, _heard(target, asked, api, call, request)
        if target.kind == "tokens":
            from llmtest.wire.token_counts import answer_tokens  # few programs ask

            return asked, answer_tokens(call, api)
        if entry.can_answer is not None and not entry.can_answer(call, find_origin):
            return asked, _heard(target, asked, api, call, request)
        providers.note_asked(asked)
        if isinstance(call, ModelCall):
            script = providers.script_now(entry, asked)
            if (provider := target.providers[0]) != "openai":
                call = call._replace(provider=provider)
            return asked, _Plan(WireModel(script, cast("Api", api), asked), call, find_origin())
        from llmtest.wire.embeddings import embed

        return asked, embed(call, api, providers.embeddings_now(entry, asked))
    except ViolationError as error:
        return asked, refusal(api, error)
    except BadBody as error:
        return asked, _unreadable(target, request, api, error)


def _heard(target: Target, model: str, api: Endpoint[Any], call: Any, request: HttpRequest) -> Heard | None:
    """Return what notes the answer of the real model, if something listens. A number of tokens is no answer to keep."""
    recorder = listener()
    if recorder is None:
        return None
    heard = Heard(model, api, call, request, find_origin())
    guard.let_through(request.host)
    if target.kind != "tokens":
        recorder.hear(heard)
    return heard


def _unreadable(target: Target, request: HttpRequest, api: Endpoint[Any], error: BadBody) -> HttpAnswer:
    text = f"a request to `{target.providers[0]}` cannot be read\n  {error}\n  url      {request.url.partition('?')[0]}"
    return refusal(api, providers.violate("bad request", text))


def _models(target: Target, request: HttpRequest) -> HttpAnswer | None:
    """Return the answer to a question for the models of a provider: those that are mapped."""
    names = providers.mapped(target.providers[0])
    if not names:
        return None
    from llmtest.wire.models import answer_models  # few programs ask

    return answer_models(request, target.providers[0], names)
