"""Scripted models: real `BaseChatModel` and `BaseLLM` subclasses whose answers come from a `Script`.

Everything else about them is LangChain's: callbacks, streaming, caching, tool binding, structured output. They answer on
the caller's own thread, also in async code, and never sleep.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Literal, cast

from langchain_core import exceptions as core_exceptions
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, BaseLLM, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, GenerationChunk, LLMResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import Field, SecretStr, SkipValidation

from llmtest import blocks, diagnostics, lanes, ledger
from llmtest.core.source import caller, shown_path
from llmtest.core.text import did_you_mean, names
from llmtest.errors import ScriptError, StatusError
from llmtest.events import EMPTY, FrozenDict, Latency
from llmtest.gates import Gate, stopping
from llmtest.improvising import Improvises, JsonObject
from llmtest.langchain import dialects
from llmtest.langchain.asking import about, run_of, weakly
from llmtest.langchain.freezing import ATOMS, freeze_message, named_tools
from llmtest.requests import Request
from llmtest.script import Script
from llmtest.steps import Call, Fail, Part, Reply, Respond, Return, Step, Text, Value, count
from llmtest.tool_checks import check_call
from llmtest.vocabulary import as_step

# -- from a script's words to LangChain's


def _exception(failure: Fail, dialect: str = "plain") -> BaseException:
    """The exception that a failing step raises."""
    error = failure.error
    if isinstance(error, BaseException):
        return error
    if isinstance(error, int):
        said = (error, failure.retry_after, failure.message)
        return dialects.error(dialect, *said) or _status_class(error)(*said)
    kind = getattr(builtins, error) if isinstance(error, str) else error
    return cast("BaseException", kind(failure.message) if failure.message is not None else kind())


_STATUS_CLASSES = {
    401: "ModelAuthenticationError",
    403: "ModelPermissionDeniedError",
    404: "ModelNotFoundError",
    408: "ModelTimeoutError",
    429: "ModelRateLimitError",
    504: "ModelTimeoutError",
}


@functools.lru_cache(maxsize=64)
def _status_class(status: int) -> type[StatusError]:
    """`StatusError`, and where langchain-core has a class for this status, a subclass of both."""
    name = _STATUS_CLASSES.get(status, "ModelAPIError" if status >= 500 else "ModelInvalidRequestError")
    theirs = getattr(core_exceptions, name, None)
    return type("StatusError", (StatusError, theirs), {}) if theirs is not None else StatusError


def _tool_schemas(bound: Any) -> Mapping[str, Mapping[str, Any]]:
    """Bound tools by name, each with the JSON schema of its arguments; a provider's own tools take anything."""
    if not bound:
        return EMPTY
    return {name: spec.get("parameters") or spec.get("input_schema") or _ANYTHING for name, spec in named_tools(bound)}


_ANYTHING: Mapping[str, Any] = {"additionalProperties": True}


def _materialised(reply: Reply, request: Request) -> Reply:
    """`reply` with its structured values as the model was bound: JSON text, or calls of the tools that they fit."""
    parts: list[Part] = []
    for part in reply.parts:
        if not isinstance(part, Value):
            parts.append(part)
            continue
        tool = None if request.params.get("response_format") else _tool_for(part, request)
        parts.append(Text(part.tokens) if tool is None else Call(tool, part.value))
    return replace(reply, parts=tuple(parts))


def _tool_for(value: Value, request: Request) -> str | None:
    """The bound tool whose call says `value`."""
    if not isinstance(value.value, dict) or not request.tools:
        return None
    if value.type in request.tools:
        return value.type
    fits = [name for name in request.tools if check_call(Call(name, FrozenDict(value.value)), request.tools) is None]
    return fits[0] if fits else next(iter(request.tools)) if request.tool_choice is not None else None


def _usage(reply: Reply, prompt_tokens: int) -> UsageMetadata | None:
    if reply.usage is None:
        out = reply.token_count
        return {"input_tokens": prompt_tokens, "output_tokens": out, "total_tokens": prompt_tokens + out}
    if reply.usage is False:
        return None
    usage = reply.usage
    details = {
        f"{side}_token_details": dict(given)
        for side, given in (("input", usage.input_details), ("output", usage.output_details))
        if given
    }
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "total_tokens": usage.total_tokens}
    return cast("UsageMetadata", {**counts, **details})


def _count_message(message: BaseMessage) -> int:
    content = message.content
    return count(content if type(content) is str else str(message.text))


def _metadata(reply: Reply, model_name: str) -> dict[str, Any]:
    """What a provider says beside its answer; a stream that was cut off has no finish reason."""
    metadata: dict[str, Any] = {"model_name": model_name}
    if not reply.truncated:
        metadata["finish_reason"] = reply.stop_reason or ("tool_calls" if reply.calls else "stop")
    metadata.update(reply.response_metadata)
    return metadata


def _plain(value: Any) -> Any:
    """A JSON value of a script as the program gets it: a copy that it may change."""
    if isinstance(value, dict):
        return {key: item if type(item) in ATOMS else _plain(item) for key, item in value.items()}
    return [item if type(item) in ATOMS else _plain(item) for item in value]


class _Answer:
    """One reply on its way out: the same ids whether it is sent whole or in chunks."""

    def __init__(self, reply: Reply, model_name: str, prompt_tokens: int, dialect: str) -> None:
        self.reply = reply
        self.dialect = dialect
        self.id = ledger.current().fresh_id("msg")
        self.blocks = reply.thinks
        self.closing: dict[str, Any] = {
            "usage_metadata": None if reply.truncated else _usage(reply, prompt_tokens),
            "response_metadata": _metadata(reply, model_name),
        }

    def _content(self, part: Part, text: str, index: int) -> str | list[str | dict[str, Any]]:
        if not self.blocks:
            return text
        kind, key = ("text", "text") if isinstance(part, Text) else ("reasoning", "reasoning")
        return [{"type": kind, key: text, "index": index}]

    def call_id(self, call: Call) -> str:
        return call.id or ledger.current().fresh_id("call")

    def error(self) -> BaseException:
        return _exception(cast("Fail", self.reply.failure), self.dialect)

    def result(self) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message())])

    def _message(self) -> AIMessage:
        reply = self.reply
        if reply.failure is not None:
            raise self.error()
        message = AIMessage(content=reply.text if reply.plain else self._whole_content(), id=self.id)
        if reply.refusal:
            message.additional_kwargs["refusal"] = reply.text
        # Past the validator: it takes as long for these as for the rest of the message, and we have just made them.
        if reply.calls:
            self.closing["tool_calls"] = [self._called(c) for c in reply.calls if not c.malformed]
            self.closing["invalid_tool_calls"] = [self._broken(c) for c in reply.calls if c.malformed]
        message.__dict__.update(self.closing)
        message.__pydantic_fields_set__.update(self.closing)
        return message

    def _whole_content(self) -> str | list[str | dict[str, Any]]:
        content: str | list[str | dict[str, Any]] = [] if self.blocks else ""
        for index, part in enumerate(() if self.reply.refusal else self.reply.parts):
            if not isinstance(part, Call):
                content += self._content(part, "".join(part.tokens), index)  # type: ignore[operator]
        return content

    def _called(self, call: Call) -> dict[str, Any]:
        return {"name": call.tool, "args": _plain(call.args), "id": self.call_id(call), "type": "tool_call"}

    def _broken(self, call: Call) -> dict[str, Any]:
        broken = {"name": call.tool, "args": "".join(call.pieces), "id": self.call_id(call), "error": None}
        return {**broken, "type": "invalid_tool_call"}

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        return stopping(self._chunks(), self.reply.stopped()) if self.reply.stops else self._chunks()

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        pieces = list(self._pieces()) or [{"content": ""}]
        for piece in pieces[:-1]:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **piece))
        if self.reply.failure is not None:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **pieces[-1]))
            raise self.error()
        last = {**pieces[-1], **self.closing}
        if not self.reply.truncated:  # langchain-core ends a stream that says nothing of its end with one more, empty chunk
            last["chunk_position"] = "last"
        yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **last))

    def _pieces(self) -> Iterator[dict[str, Any]]:
        order = 0
        empty: str | list[Any] = [] if self.blocks else ""
        for index, part in enumerate(self.reply.parts):
            if self.reply.refusal and isinstance(part, Text):
                yield from ({"content": empty, "additional_kwargs": {"refusal": token}} for token in part.tokens)
            elif not isinstance(part, Call):
                yield from ({"content": self._content(part, token, index)} for token in part.tokens)
            else:
                number = index if self.blocks else order  # beside blocks, calls are numbered with them
                opening = {"name": part.tool, "args": "", "id": self.call_id(part), "index": number}
                yield {"content": empty, "tool_call_chunks": [opening]}
                for token in part.tokens:
                    yield {"content": empty, "tool_call_chunks": [{"name": None, "args": token, "id": None, "index": number}]}
                order += 1
        if self.reply.stops_last or (self.reply.parts and isinstance(self.reply.parts[-1], Call)):
            yield {"content": empty}  # a chunk that ends the stream is read as whole: it must not carry a piece of a call


# -- the models


def _script_of(kind: type, steps: tuple[Any, ...], script: Script | None, fields: Mapping[str, Any]) -> Script:
    """The script of a new model, after a look at how it is made."""
    if steps and script is not None:
        raise ScriptError(f"{kind.__name__} takes its steps as arguments or as script=, not both")
    if script is not None and not isinstance(script, Script):
        raise ScriptError(f"script= of {kind.__name__} is a Script; got {type(script).__name__} {script!r}")
    known = kind.model_fields  # type: ignore[attr-defined]
    for name in fields:
        if name not in known:
            hint = did_you_mean(name, known, otherwise=f"it has {names(sorted(known))}")
            raise ScriptError(f"{kind.__name__} has no field `{name}`{hint}")
    return Script(*steps) if script is None else script


class _Served:
    """What all doubles with a script share: how a call is answered, and `verify`."""

    script: Any

    def verify(self) -> None:
        """Raises for every violation of the script so far and for its unused steps; the pytest plugin does it for you.

        Raises:
            ViolationError: with all of them.
        """
        self.script.verify()

    def _as_step(self, given: Any, what: str, where: str) -> Step:
        return as_step(given, what, where)

    def _serve(self, request: Request, *, streams: bool = False) -> Any:
        """The answer to `request`, on a synchronous path. A stream stops at the gates within an answer; else it waits here."""
        self._note(request)
        step = self.script.serve(request)
        self._hold(step.serving.gates, request)
        while isinstance(step, Respond):
            step = self._as_step(_waited(step.function(request)), f"what {step} returned", step.where)
        answer = self._reply_of(step, request)
        self._hold(() if streams else _within(step), request)
        return answer

    async def _aserve(self, request: Request, *, streams: bool = False) -> Any:
        self._note(request)
        step = self.script.serve(request)
        await self._ahold(step.serving.gates, request)
        while isinstance(step, Respond):
            given = step.function(request)
            given = await given if inspect.isawaitable(given) else given
            step = self._as_step(given, f"what {step} returned", step.where)
        answer = self._reply_of(step, request)
        await self._ahold(() if streams else _within(step), request)
        return answer

    def _hold(self, gates: Iterable[Gate], request: Request) -> None:
        for gate in gates:
            gate.hold(lambda: diagnostics.waiting(request, self.script.owner))

    async def _ahold(self, gates: Iterable[Gate], request: Request) -> None:
        for gate in gates:
            await gate.ahold(lambda: diagnostics.waiting(request, self.script.owner))

    def _note(self, request: Request) -> None:
        """Tells the open recordings of the call, which they ought to have seen."""
        run = request.run()
        where = lambda: caller() or "a thread whose target is LangChain's"  # noqa: E731
        blocks.served(run.run_id if run is not None else None, self._known_as(), where)

    def _takes(self, latency: Latency | None, request: Request) -> None:
        """Tells the recordings of the call how long it takes in virtual time."""
        if latency is not None:
            run = request.run()
            blocks.takes(run.run_id if run is not None else None, latency)

    def _known_as(self) -> str:
        return type(self).__name__

    @abstractmethod
    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Any:
        """What a step that was served comes to."""


class _Scripted(_Served):
    """What both models share: a repr without an address, because it becomes `serialized`, and what a step comes to."""

    model_name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model_name={self.model_name!r})"

    __str__ = __repr__

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Reply:
        if isinstance(step, Fail):
            self._takes(step.latency, request)
            raise _exception(step, getattr(self, "dialect", "plain"))
        if isinstance(step, Return):
            raise ScriptError(f"a model cannot give values, it says something; got {step} at {shown_path(step.where)}")
        reply = _materialised(step, request) if step.structured else step
        self.script.check(reply, request)
        self._takes(reply.latency, request)
        return reply


def _within(step: Step) -> list[Gate]:
    """The gates within an answer."""
    return [gate for *_, gate in step.stops] if isinstance(step, Reply) else []


def _waited(given: Any) -> Any:
    """What the function of a `respond` step gave, on a synchronous path."""
    if not inspect.isawaitable(given):
        return given
    if asyncio._get_running_loop() is not None:
        cast("Coroutine[Any, Any, Any]", given).close()
        raise ScriptError("respond() has an async function, but the call came without await in a running loop")

    async def wait() -> Any:
        return await given

    return asyncio.run(wait())


class ScriptedChatModel(_Scripted, Improvises, BaseChatModel):
    """A chat model that says what a test wrote down: one step answers one call.

    `ScriptedChatModel("Hello", call("search", q="x"))` takes steps, `ScriptedChatModel(script=script)` a `Script`. The
    script is shared by reference: copies, `bind_tools`, `with_config` and threads all take steps from the same one.

    It invokes, streams, batches and emits events, sync and async, binds tools, streams tool-call arguments in pieces,
    and reports usage. Each answer is a fresh message; ids are unique over all doubles of a test and the same in every
    run of it. `streaming=True` makes `invoke` stream to the callbacks too. Thread-safe.

    It takes the parameters that LangChain's chat models have in common: `temperature` and `max_tokens` are reported, a
    step whose text has a `stop` sequence in it is a violation, and `timeout`, `max_retries` and `api_key` have nothing
    to act on. `model=` in a call is the name that this answer is from.

    `dialect=` is `"plain"`, or `"openai"`, `"openai-responses"` or `"anthropic"`: its chunks, messages and errors are then
    those of `ChatOpenAI`, over Chat Completions or the Responses API, and of `ChatAnthropic`. What of them is proved
    equal, and what is not, is in docs/reference/dialects.md.

    Raises:
        ScriptError: a step is not a step, or a field or dialect does not exist.
        ViolationError: when it is called and no step is left, or the step's tool call does not fit the bound tools.

    >>> from llmtest import ScriptedChatModel, call, say
    >>> model = ScriptedChatModel(say("It is ", "sunny."))
    >>> [chunk.content for chunk in model.stream("weather in Paris?")]
    ['It is ', 'sunny.']

    It does not look at the prompt: the steps are answered in order.
    """

    script: SkipValidation[Any] = Field(exclude=True, repr=False)
    model_name: str = "scripted"
    streaming: bool | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    dialect: str = "plain"
    stop: list[str] | None = None
    timeout: float | None = None
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        if "dialect" in fields:
            dialects.check(fields["dialect"], script)
        given = _script_of(type(self), steps, script, fields)
        for number, step in enumerate(given.steps, 1):
            if isinstance(step, Return):
                given.adopted()
                raise ScriptError(
                    f"step {number} of a ScriptedChatModel is {step} at {shown_path(step.where)},"
                    " but a model cannot give values, it says something"
                )
        super().__init__(**{"script": given, **fields})

    @property
    def _llm_type(self) -> str:
        return "scripted-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {"model_name": self.model_name, **{name: value for name, value in given.items() if value is not None}}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """What a call is made with. The same as LangChain would say, without its look at deprecated methods."""
        return {**self._identifying_params, "_type": self._llm_type, "stop": stop, **kwargs}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return super()._get_ls_params(stop=stop or self.stop, **kwargs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with `tools` bound; a step that calls another tool is then a violation."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with its answer parsed into `schema`, by each of the methods that integrations offer.

        A `structured(...)` step satisfies all three: as a tool call, or as JSON text where a response format is bound.
        """
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if method not in ("json_schema", "json_mode"):
            raise ScriptError(f"method= is 'function_calling', 'json_schema' or 'json_mode'; got {method!r}")
        named = convert_to_openai_tool(schema)["function"]
        spec = {"name": named["name"], "schema": named.get("parameters", {}), **({} if strict is None else {"strict": strict})}
        bound = JsonObject(spec["schema"]) if method == "json_mode" else {"type": "json_schema", "json_schema": spec}
        typed = isinstance(schema, type) and is_basemodel_subclass(schema)
        parser: Any = PydanticOutputParser(pydantic_object=cast("Any", schema)) if typed else JsonOutputParser()
        traced = {"kwargs": {"method": method}, "schema": schema}
        model = self.bind(response_format=bound, ls_structured_output_format=traced, **kwargs)
        return _with_raw(model, parser) if include_raw else model | parser

    def _request(self, messages: list[BaseMessage], stop: Any, run_manager: Any, kwargs: dict[str, Any]) -> Request:
        run = weakly(run_of(run_manager, self))
        return Request(
            _tool_schemas(kwargs.get("tools")),
            lambda: [freeze_message(message) for message in messages],
            kwargs.get("tool_choice"),
            self.stop if stop is None else stop,
            kwargs,
            lambda: about(run()),
            run,
            lanes.current(),
        )

    def _answer(self, reply: Reply, messages: list[BaseMessage], kwargs: dict[str, Any]) -> dialects.Answer:
        prompt_tokens = sum(map(_count_message, messages)) if reply.usage is None else 0
        answer = _Answer(reply, kwargs.get("model") or self.model_name, prompt_tokens, self.dialect)
        return answer if self.dialect == "plain" else dialects.CLASSES[self.dialect](answer, kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._serve(self._request(messages, stop, run_manager, kwargs))
        return self._answer(reply, messages, kwargs).result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = await self._aserve(self._request(messages, stop, run_manager, kwargs))
        return self._answer(reply, messages, kwargs).result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = self._request(messages, stop, run_manager, kwargs)
        for chunk in self._answer(self._serve(request, streams=True), messages, kwargs).chunks():
            if isinstance(chunk, Gate):
                self._hold([chunk], request)
            else:
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._request(messages, stop, run_manager, kwargs)
        for chunk in self._answer(await self._aserve(request, streams=True), messages, kwargs).chunks():
            if isinstance(chunk, Gate):
                await self._ahold([chunk], request)
            else:
                yield chunk


def _with_raw(model: Runnable[Any, Any], parser: Any) -> Runnable[Any, Any]:
    """`{"raw": ..., "parsed": ..., "parsing_error": ...}`, as LangChain's own `include_raw`."""
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")


class ScriptedLLM(_Scripted, BaseLLM):
    """A text model that says what a test wrote down: one step answers one prompt.

    As `ScriptedChatModel`, for programs that take a text model: it says text only, so `call` and `think` are refused when
    it is made. With `streaming=True` its tokens reach the callbacks under `invoke` and `generate` too, as with real text
    models; not when it is given several prompts at once, because LangChain would report all of them on the first run.
    Usage is reported as `token_usage` in `llm_output`, or with the last chunk. Thread-safe.

    Raises:
        ScriptError: a step is not a step or not text, or a field does not exist.
        ViolationError: when it is called and no step is left.

    >>> from llmtest import ScriptedLLM, say
    >>> ScriptedLLM(say("4")).invoke("What is the square root of 16?")
    '4'

    It does not cut its answer at a stop sequence.
    """

    script: SkipValidation[Any] = Field(exclude=True, repr=False)
    model_name: str = "scripted"
    streaming: bool | None = None

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        given = _script_of(type(self), steps, script, fields)
        for number, step in enumerate(given.steps, 1):
            if isinstance(step, Return) or (isinstance(step, Reply) and any(not isinstance(p, Text | Value) for p in step.parts)):
                given.adopted()
                raise ScriptError(
                    f"step {number} of a ScriptedLLM is {step} at {shown_path(step.where)}, but a text model says text only"
                )
        super().__init__(**{"script": given, **fields})

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def _request(self, prompt: str, stop: Any, run_manager: Any, kwargs: dict[str, Any]) -> Request:
        run = weakly(run_of(run_manager, self))
        read = lambda: [freeze_message(HumanMessage(prompt))]  # noqa: E731
        return Request(EMPTY, read, None, stop, kwargs, lambda: about(run()), run, lanes.current())

    def _closing(self, reply: Reply, prompt: str) -> dict[str, Any]:
        """What a provider says with the end of an answer."""
        usage = None if reply.truncated else _usage(reply, count(prompt))
        counts = {} if usage is None else {"token_usage": _token_usage(usage)}
        return {**_metadata(reply, self.model_name), **counts}

    def _pieces(self, reply: Reply, prompt: str) -> Iterator[GenerationChunk | Gate]:
        return stopping(self._chunks(reply, prompt), reply.stopped()) if reply.stops else self._chunks(reply, prompt)

    def _chunks(self, reply: Reply, prompt: str) -> Iterator[GenerationChunk]:
        *first, last = [token for part in reply.parts for token in part.tokens] + [""] * reply.stops_last or [""]
        yield from (GenerationChunk(text=token) for token in first)
        if reply.failure is not None:
            yield GenerationChunk(text=last)
            raise _exception(reply.failure)
        yield GenerationChunk(text=last, generation_info=self._closing(reply, prompt))

    def _whole(self, reply: Reply, prompt: str) -> Generation:
        if reply.failure is not None:
            raise _exception(reply.failure)
        return Generation(text=reply.text, generation_info=self._closing(reply, prompt))

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if self.streaming and len(prompts) == 1:
            return self._result([_joined(list(self._stream(prompts[0], stop, run_manager, **kwargs)))])
        requests = [self._request(prompt, stop, run_manager, kwargs) for prompt in prompts]
        return self._result([self._whole(self._serve(r), p) for r, p in zip(requests, prompts, strict=True)])

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if self.streaming and len(prompts) == 1:
            chunks = [chunk async for chunk in self._astream(prompts[0], stop, run_manager, **kwargs)]
            return self._result([_joined(chunks)])
        requests = [self._request(prompt, stop, run_manager, kwargs) for prompt in prompts]
        return self._result([self._whole(await self._aserve(r), p) for r, p in zip(requests, prompts, strict=True)])

    def _result(self, generations: list[Generation]) -> LLMResult:
        counts = [(g.generation_info or {}).pop("token_usage", None) for g in generations]
        known = [c for c in counts if c is not None]
        total = {key: sum(c[key] for c in known) for key in known[0]} if known else None
        output = {"model_name": self.model_name, **({"token_usage": total} if total else {})}
        return LLMResult(generations=[[g] for g in generations], llm_output=output)

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        request = self._request(prompt, stop, run_manager, kwargs)
        for chunk in self._pieces(self._serve(request, streams=True), prompt):
            if isinstance(chunk, Gate):
                self._hold([chunk], request)
                continue
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        request = self._request(prompt, stop, run_manager, kwargs)
        for chunk in self._pieces(await self._aserve(request, streams=True), prompt):
            if isinstance(chunk, Gate):
                await self._ahold([chunk], request)
                continue
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _token_usage(usage: UsageMetadata) -> dict[str, int]:
    """Usage under the names that text models use."""
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def _joined(chunks: list[GenerationChunk]) -> Generation:
    return Generation(text="".join(chunk.text for chunk in chunks), generation_info=chunks[-1].generation_info)
