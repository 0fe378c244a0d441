"""`scripted_server`: a loopback server that answers the clients of other processes from scripts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from llmtest import ledger
from llmtest.core.source import caller, shown_path
from llmtest.core.text import capped, clip, did_you_mean, names
from llmtest.errors import LEFT_OPEN, USE_WITH, ScriptError, Violation, ViolationError, fails_test
from llmtest.events.events import Latency
from llmtest.scripts.requests import KeyedSteps, On, Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Step
from llmtest.wire.answering import WireModel, WrittenStream, read, refusal
from llmtest.wire.api import Api, BadBody, Endpoint, ModelCall
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest
from llmtest.wire.hosts import BY_NAME, Target, api_of, recognize
from llmtest.wire.journal import Entry, Journal
from llmtest.wire.providers import Answerer, Embeddings, Providers, models_in
from llmtest.wire.server import MAX_BODY_BYTES, READ_TIMEOUT_S, STALL_LIMIT_S, HttpServer, plain_refusal

UNKNOWN_HOST: Final = "llmtest.invalid"


def scripted_server(
    *steps: Any,
    port: int = 0,
    token: str | None = None,
    real_time: bool = False,
    max_body_bytes: int = MAX_BODY_BYTES,
    read_timeout_s: float = READ_TIMEOUT_S,
    stall_limit_s: float = STALL_LIMIT_S,
) -> ScriptedServer:
    """Return a server, as a block, that answers as the providers of models do: for other processes and other languages.

    `steps` are those of a script, or one `Script`, the path of a script file (with the steps of any model, or of each that it
    names), or a mapping of models to scripts as `scripted_providers` takes it: `{"openai:gpt-5": [...], "anthropic:*": [...]}`.
    A program finds the server by the environment variables in `server.env`, which every SDK reads. `server.requests` is the
    journal of what came.

    It listens on 127.0.0.1 only, on a free port or on `port`, and answers only who has its random token (or `token`), which
    `server.env` holds as the key of each provider. A body has at most `max_body_bytes`. A request must be there whole
    `read_timeout_s` seconds after its first byte. `fail(TimeoutError)` stalls until the client leaves, and at most
    `stall_limit_s` seconds. With `real_time`, latencies of the script (`ttft_s`, `tokens_per_s`, `takes_s`) pass for real.

    Raises:
        ScriptError: a script or the mapping is written wrongly, or has a key that only LangChain's runs have.
        ServerError: `port` is in use.

    >>> import json, urllib.request
    >>> with scripted_server("Sunny.") as server:
    ...     body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "weather?"}]}).encode()
    ...     headers = {"authorization": f"Bearer {server.token}"}
    ...     asked = urllib.request.Request(f"{server.url}/v1/chat/completions", body, headers)
    ...     json.load(urllib.request.urlopen(asked))["choices"][0]["message"]["content"]
    ...     print(server.requests)
    'Sunny.'
    1  POST /v1/chat/completions  openai:gpt-5  200  human 'weather?'  -> say('Sunny', '.')

    Requests that come at the same time take the steps in the order in which they come: give such a script keys.
    """
    if token is not None and not re.fullmatch(r"[\w.~-]+", token, re.ASCII):
        raise ScriptError(f"token= is letters, digits and any of - . _ ~, since it is a part of URLs; got {token!r}")
    return ScriptedServer(
        _mapping(steps),
        caller(),
        token=token or f"llmtest-{secrets.token_hex(16)}",
        real_time=real_time,
        port=port,
        max_body_bytes=max_body_bytes,
        read_timeout_s=read_timeout_s,
        stall_limit_s=stall_limit_s,
    )


def _mapping(steps: tuple[Any, ...]) -> Mapping[str, Any]:
    value: Any = steps[0] if len(steps) == 1 else steps
    if isinstance(value, Mapping):
        return value
    is_path = isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith((".yaml", ".yml")))
    found = models_in(Path(value)) if is_path and Path(value).is_file() else None
    return {"*": value} if found is None else found


class ScriptedServer:
    """A loopback server that answers from scripts, and the block in which it runs. Made by `scripted_server`.

    Holds state; thread-safe. When the block ends, its connections, its thread and its sockets are gone.
    """

    def __init__(self, mapping: Mapping[str, Any], where: str, *, token: str, real_time: bool, **options: Any) -> None:
        self.token = token
        self._journal = Journal()
        self.violations: list[Violation] = []
        self.on_end: Callable[[Entry], None] | None = None
        """Called with each entry of the journal when it is complete, on the thread of the server."""
        self._where = where
        self._real_time = real_time
        self._providers = Providers(mapping)
        self._open: dict[int, Entry] = {}  # by the id of the HTTP request, which lives as long
        for answerer in self._providers.answerers:
            _check_keys(answerer)
        self._server = HttpServer(self._answer, refuse=self._refuse, ended=self._ended, **options)

    def __enter__(self) -> Self:
        self._server.start()
        ledger.keep_block(self)
        ledger.current().note_journal(self._journal)
        return self

    def __exit__(self, *_: object) -> None:
        ledger.drop_block(self)
        self._server.close()

    def end_of_test(self) -> list[Violation]:
        """Leave the block if the test that entered it has not."""
        self.__exit__()
        return [Violation(LEFT_OPEN, f"a scripted_server() block was left open by the test\n  {USE_WITH}")]

    def __repr__(self) -> str:
        return f"<scripted server at {self.url}: {self._journal!r}>"

    @property
    def requests(self) -> Journal:
        """The journal of what came, also of what a client has just got the answer to."""
        self._server.settle()
        return self._journal

    @property
    def url(self) -> str:
        """Where it listens, without a path: `http://127.0.0.1:PORT`."""
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def env(self) -> dict[str, str]:
        """The environment variables by which the SDKs of all providers find the server.

        Give a process these beside its own: `subprocess.run(..., env={**os.environ, **server.env})`.
        """
        return self.env_for(*BY_NAME)

    def env_for(self, *providers: str) -> dict[str, str]:
        """Return those of the variables in `env` that the SDKs of these providers read.

        Raises:
            ScriptError: no provider has such a name.
        """
        found: dict[str, str] = {}
        for name in providers:
            base = self.base_url(name)
            found |= dict.fromkeys(BY_NAME[name].base_urls, base) | dict.fromkeys(BY_NAME[name].keys, self.token)
        return {**found, **OTHER_VARIABLES}

    def base_url(self, provider: str = "openai") -> str:
        """Return the base URL for a client of `provider`, for those that read none from the environment.

        Raises:
            ScriptError: no provider has this name.
        """
        if provider not in BY_NAME:
            raise ScriptError(f"there is no provider {provider!r}{did_you_mean(provider, BY_NAME)}")
        # Without a prefix, the path of a request tells its provider. Ollama's clients send no key.
        prefix = f"/{self.token}" if provider == "ollama" else "" if provider in UNPREFIXED else f"/{provider}"
        return f"{self.url}{prefix}{'/v1' if provider in WITH_VERSION else ''}"

    def verify(self) -> None:
        """Raise `ViolationError` for every violation so far and every unused step; the plugin does it for you."""
        if found := self.found():
            raise ViolationError(*found)

    def found(self) -> list[Violation]:
        """Return every violation so far, and the unused steps."""
        return [*self.violations, *self._providers.found()]

    # -- requests, on the thread of the server

    async def _answer(self, request: HttpRequest) -> HttpAnswer:
        came = _Arrival(request, self.token)
        entry = self._journal.enter(request.method, clip(came.path, 200))
        self._open[id(request)] = entry
        answer = await self._answer_to(came, entry)
        entry.status = answer.status
        return answer

    async def _answer_to(self, came: _Arrival, entry: Entry) -> HttpAnswer:
        request, target = came.request, came.target
        if came.path in ("", "/") and request.method in ("GET", "HEAD"):  # is it up?
            return HttpAnswer(200, {"content-type": "text/plain"}, b"llmtest\n")
        entry.provider = came.provider
        if not came.has_token:
            text = "a request has not the token of the server as its key, so no program sent it that was given the token"
            hint = "give the process the variables in server.env; a client that reads none takes server.token as its key"
            return self._violate(came, 401, "wrong key", text, hint)
        if target is None or target.kind == "other":
            from llmtest.wire.models import answer_models  # with every API: most programs ask for no list

            listed = answer_models(request, came.provider, self._models(came))
            if listed is not None:
                return listed
            text = f"a request to an endpoint that llmtest does not know: {request.method} {clip(came.path, 200)}"
            return self._violate(came, 404, "unknown endpoint", text)
        api: Any = api_of(target.api)  # one for answers, or one for embeddings
        try:
            call = read(request, api, self._server.max_body_bytes)
            entry.model = target.model or call.model
            answerer = self._answerer(came, target, call.model)
            if isinstance(answerer, HttpAnswer):
                return answerer
            if target.kind == "tokens" and answerer is not None:
                from llmtest.wire.token_counts import answer_tokens

                return answer_tokens(call, api)
            if isinstance(answerer, Script) and isinstance(call, ModelCall):
                return await self._scripted(answerer, came, api, call, entry)
            if isinstance(answerer, Embeddings) and not isinstance(call, ModelCall):
                from llmtest.wire.embeddings import embed

                return embed(call, api, answerer)
        except BadBody as error:
            return self._violate(came, 400, "bad request", f"a request cannot be read: {error}")
        wanted = "an answer" if isinstance(call, ModelCall) else "embeddings"
        text = f"a request asks `{entry.provider}:{entry.model}` for {wanted}, but it is mapped to {answerer!r}"
        return self._violate(came, 404, "unmapped model", text)

    def _models(self, came: _Arrival) -> list[str]:
        """Return the names of the models of a provider that the mapping has; of one with `*`, the name that is asked for."""
        found = [model.partition(":") for model in self._providers.models]
        known = [model for provider, _, model in found if provider == came.provider and "*" not in model]
        asked = came.asked_model
        return [*known, asked] if asked and asked not in known and self._providers.fits(f"{came.provider}:{asked}") else known

    async def _scripted(self, script: Script, came: _Arrival, api: Api, call: ModelCall, entry: Entry) -> HttpAnswer:
        call = call._replace(provider=came.provider)
        model = _ServedModel(script, api, entry.model, entry, self._journal, len(came.request.body))
        try:
            answer = await model.aanswer(call)
        except ConnectionBroken:
            await self._take_time(entry.step)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # an outcome of pytest is no Exception; neither may end the thread of the server
            return self._failed(came, entry, error)
        latency = await self._take_time(entry.step, streams=answer.stream is not None)
        if latency is not None and isinstance(answer.stream, WrittenStream):
            answer.stream = _Paced(answer.stream, latency)
        return answer

    async def _take_time(self, step: Step | None, *, streams: bool = False) -> Latency | None:
        """Let the latency of a step pass, that to the first token only if its answer `streams`. Return it."""
        latency = step.latency if self._real_time and isinstance(step, Reply | Fail) else None
        if latency is not None:
            await asyncio.sleep(latency.ttft_s if streams else latency.total_ns / 1e9)
        return latency

    def _answerer(self, came: _Arrival, target: Target, called: str) -> Answerer | HttpAnswer | None:
        """Return what answers a call of the model `called`, or the refusal of a model that no entry fits."""
        models = target.names_of(called)
        for model in models or [came.provider]:
            fits = self._providers.fits(model)
            if len(fits) == 1:
                return fits[0].answerer()
            if fits:
                text = f"a request asks for the model `{model}`, which several entries fit"
                fitting = f"fits     {names(entry.key for entry in fits)}"
                return self._violate(came, 404, "ambiguous match", text, fitting, "an exact name goes before one with *")
        keys = self._providers.keys
        model = next(iter(models), f"{came.provider}:?")
        hints = [f"mapped   {names(keys)}", did_you_mean(model, keys, before="")]
        text = f"a request asks for the model `{model}`, which is mapped to no script"
        return self._violate(came, 404, "unmapped model", text, *hints, f'map it: scripted_server({{"{model}": [...]}})')

    def _failed(self, came: _Arrival, entry: Entry, error: BaseException) -> HttpAnswer:
        """The function of a `respond` step raised. Its failed assertions are on the ledger already."""
        text = f"{entry.step} raised {type(error).__name__}: {error}"
        if fails_test(error):
            return refusal(came.api, text, 500)
        return self._violate(came, 500, "failed respond", text)

    def _refuse(self, request: HttpRequest | None, status: int, text: str, error: Exception | None) -> HttpAnswer:
        """A request that the server could not read, or an answer that it could not send."""
        came = None if request is None else _Arrival(request, self.token)
        entry = self._open.get(id(request))
        if entry is None:
            entry = self._journal.enter(*(("?", "?") if came is None else (came.request.method, clip(came.path, 200))))
            if request is not None:
                self._open[id(request)] = entry
            else:
                entry.ending = "refused"
        entry.status = entry.status or status  # in the middle of a stream, its status is out
        if came is not None and isinstance(error, ViolationError | ScriptError):
            answer = refusal(came.api, text, status)  # it is on the ledger
        else:
            answer = self._violate(came, status, "bad request" if error is None else "failed answer", text)
        if request is None and self.on_end is not None:
            self.on_end(entry)
        return answer

    def _ended(self, request: HttpRequest, how: str) -> None:
        entry = self._open.pop(id(request))
        entry.ending = how
        if self.on_end is not None:
            self.on_end(entry)

    def _violate(self, came: _Arrival | None, status: int, code: str, text: str, *hints: str) -> HttpAnswer:
        """Write a violation down, and return its text as an error of the provider."""
        lines = [text, f"  server   scripted_server(...) at {shown_path(self._where)}" if self._where else ""]
        lines += [f"  request  {came.request.method} {clip(came.path, 200)}"] if came is not None else []
        lines += [f"  {hint}" for hint in hints if hint]
        ledger.report(Violation(code, capped([line for line in lines if line])), self.violations)
        return plain_refusal(None, status, f"llmtest: {text}") if came is None else refusal(came.api, text, status)


UNPREFIXED: Final = frozenset({"openai", "anthropic", "google_genai"})
WITH_VERSION: Final = frozenset({"openai", "deepseek", "mistralai", "openrouter", "xai", "together"})
"""Providers whose base URLs end in `/v1`."""
OTHER_VARIABLES: Final = {
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
}
"""What else a process needs: no proxy before the server, and no traces that are sent to the makers of a framework."""


@dataclass(frozen=True, slots=True)
class _Key:
    """Where clients put their key."""

    header: str
    prefix: str = ""


_KEYS: Final = (_Key("authorization", "Bearer "), _Key("x-api-key"), _Key("x-goog-api-key"), _Key("api-key"))
_SHAPES: Final = (
    ("anthropic-version", "anthropic.Messages", "anthropic"),
    ("x-goog-api-key", "gemini.Gemini", "google_genai"),
)
"""Headers by which a client is known where the path is of no API."""


class _Arrival:
    """A request that has come: its path without the prefixes of the server, whether it has the token, and what it is for."""

    def __init__(self, request: HttpRequest, token: str) -> None:
        parts = urlsplit(request.url)
        path, known = parts.path, ""
        self.has_token = _first(path) == token or _has_key(request, token)
        if _first(path) == token:
            path = path[len(token) + 1 :]
        if _first(path) in BY_NAME:
            known = _first(path)
            path = path[len(known) + 1 :]
        self.path = path
        hosts = BY_NAME[known].hosts if known else ()
        host = hosts[0].removeprefix("*.") if hosts else UNKNOWN_HOST
        self.request = replace(request, url=f"http://{host}{path}{'?' if parts.query else ''}{parts.query}")
        self.target = recognize(request.method, self.request.url)
        shape = next(((api, name) for header, api, name in _SHAPES if header in request.headers), None)
        if shape is None:
            shape = ("ollama.Chat", "ollama") if path.startswith("/api/") else ("openai.ChatCompletions", "openai")
        self._api = shape[0] if self.target is None or not self.target.api else self.target.api
        self.provider = known or (shape[1] if self.target is None else self.target.providers[0])

    @property
    def api(self) -> Endpoint[Any]:
        """The API in whose form a refusal is."""
        return api_of(self._api)

    @property
    def asked_model(self) -> str:
        """The model that a request for the list of models is about; empty if for all."""
        if self.path.endswith("/api/show"):
            with suppress(ValueError, AttributeError):  # no JSON, or no object
                return str(json.loads(self.request.body).get("model") or "")
        return unquote(self.path.partition("/models/")[2])


def _first(path: str) -> str:
    """Return the first part of a path."""
    return path[1:].partition("/")[0]


def _has_key(request: HttpRequest, token: str) -> bool:
    sent = [request.headers.get(key.header, "").removeprefix(key.prefix) for key in _KEYS]
    return any(secrets.compare_digest(key.encode(), token.encode()) for key in (*sent, request.query.get("key", "")))


class _ServedModel(WireModel):
    """The model of one request: it notes in the journal what was asked, and which step answers."""

    max_events_at_once = 1  # so that a latency may pass between two, and a client that leaves is noticed

    def __init__(self, script: Script, api: Api, name: str, entry: Entry, journal: Journal, size: int) -> None:
        super().__init__(script, api, name)
        self.entry = entry
        self.journal = journal
        self.size = size

    def _claim(self, request: Request) -> Step:
        self.journal.keep(self.entry, request, self.size)
        self.entry.step = super()._claim(request)
        return self.entry.step


class _Paced(WrittenStream):
    """The stream of an answer whose tokens come in real time, for async code."""

    def __init__(self, stream: WrittenStream, latency: Latency) -> None:
        super().__init__(stream.writer, stream.model, stream.request)
        self.latency = latency

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        began = loop.time() - self.latency.ttft_s  # which is over
        async for piece in super().__aiter__():
            due = began + self.latency.ns(self.writer.before) / 1e9
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            yield piece


def _check_keys(answerer: Answerer) -> None:
    """Raise `ScriptError` if a script has a key that no request over HTTP can meet."""
    if not isinstance(answerer, Script):
        return
    for entry in answerer.entries:
        if isinstance(entry, KeyedSteps) and (unmet := _only_in_langchain(entry.key)):
            answerer.waive_steps()
            raise ScriptError(
                f"{entry.key} matches no request over HTTP: {names(unmet)} is about a run of LangChain,"
                " which the server does not see"
                "\n  keys that match here: contains=, tools=, tool_result=, last="
            )


def _only_in_langchain(key: On) -> list[str]:
    return [f"{name}=" for name in ("node", "tag", "metadata", "thread") if getattr(key, name)]
