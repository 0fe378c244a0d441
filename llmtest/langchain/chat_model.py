"""`ScriptedChatModel`: a real `BaseChatModel` whose answers come from a `Script`.

Callbacks, streaming, caching and structured output are LangChain's. It answers on the caller's own thread, also in async
code, and never sleeps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import Field, SecretStr, SkipValidation

from llmtest.auto.model import Improvises, JsonObject
from llmtest.concurrency import lanes
from llmtest.core.source import shown_path
from llmtest.errors import ScriptError
from llmtest.langchain import batches
from llmtest.langchain.answers import Answer, MessageAnswer, fails_by_status, texts_of, tool_schema, tool_schemas
from llmtest.langchain.caller import RunManager, about, run_of, weakly
from llmtest.langchain.dialects import names
from llmtest.langchain.freezing import freeze_message
from llmtest.langchain.served import Scripted, script_of
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Reply, Return

if TYPE_CHECKING:
    from llmtest.langchain.dialects import base


class ScriptedChatModel(batches.BatchesByPosition, Scripted, Improvises, BaseChatModel):
    """A chat model with scripted answers: one step answers one call.

    `ScriptedChatModel("Hello", call("search", q="x"))` takes steps, `ScriptedChatModel(script=script)` a `Script`. The
    script is shared by reference: copies, `bind_tools`, `with_config` and threads all take steps from the same one.

    Each answer is a fresh message; ids are unique over all doubles of a test and the same in every run of it.
    `streaming=True` makes `invoke` stream to the callbacks too. Thread-safe.

    It takes the common parameters of LangChain's chat models: `temperature` and `max_tokens` are reported, a step whose
    text contains a `stop` sequence is a violation, and `timeout`, `max_retries` and `api_key` have no effect. `model=` in
    a call names the model of this answer.

    `dialect=` is `"plain"`, `"openai"`, `"openai-responses"` or `"anthropic"`: chunks, messages and errors are then those
    of `ChatOpenAI`, over Chat Completions or the Responses API, or of `ChatAnthropic`. docs/reference/dialects.md lists
    what is proved equal.

    Raises:
        ScriptError: a step is not a step, or a field or dialect does not exist.
        ViolationError: when it is called and no step is left, or the step's tool call does not fit the bound tools.

    >>> from llmtest import ScriptedChatModel, call, say
    >>> model = ScriptedChatModel(say("It is ", "sunny."))
    >>> [chunk.content for chunk in model.stream("weather in Paris?")]
    ['It is ', 'sunny.']

    It does not look at the prompt: the steps are taken in order.
    """

    script: SkipValidation[Script] = Field(exclude=True, repr=False)
    model_name: str = "scripted"
    streaming: bool | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    dialect: str = "plain"
    stop: list[str] | None = None
    # What programs give each model that they make; an answer from a script depends on none of them.
    timeout: float | None = None
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        if "dialect" in fields:
            names.check(fields["dialect"], script)
        given = script_of(type(self), steps, script, fields)
        for number, step in enumerate(given.steps, 1):
            if isinstance(step, Return):
                given.waive_steps()
                raise ScriptError(
                    f"step {number} of a ScriptedChatModel is {step} at {shown_path(step.where)},"
                    " but a model cannot give values, it says something"
                )
        super().__init__(**{"script": given, **fields})
        # The dialect and the provider's SDK are imported here, where the test makes the model, and not while the program runs.
        kind = names.class_of(self.dialect)
        if kind is not None and any(map(fails_by_status, given.steps)):
            kind.errors.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, None, None)

    @property
    def _llm_type(self) -> str:
        return "scripted-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {"model_name": self.model_name, **{name: value for name, value in given.items() if value is not None}}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return the parameters of a call, as LangChain does, without its slow search for deprecated methods."""
        return {**self._identifying_params, "_type": self._llm_type, "stop": stop, **kwargs}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        # The stop sequences of the constructor are in force too, but LangChain passes only those of the call.
        return super()._get_ls_params(stop=stop or self.stop, **kwargs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: object = None,
        **kwargs: object,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with `tools` bound; a step that calls another tool is then a violation."""
        # Left out, and not None: what is bound is part of the recording, and integrations bind no None.
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=[tool_schema(tool) for tool in tools], **choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the model with its answer parsed into `schema`, by any method that integrations offer.

        A `structured(...)` step satisfies all three: as a tool call, or as JSON text where a response format is bound.
        """
        if method == "function_calling":
            # The only method that LangChain has a way of its own for: the schema as a bound tool.
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if method not in ("json_schema", "json_mode"):
            raise ScriptError(f"method= is 'function_calling', 'json_schema' or 'json_mode'; got {method!r}")
        named = convert_to_openai_tool(schema)["function"]
        spec = {"name": named["name"], "schema": named.get("parameters", {}), **({} if strict is None else {"strict": strict})}
        bound = JsonObject(spec["schema"]) if method == "json_mode" else {"type": "json_schema", "json_schema": spec}
        # As LangChain's parsers: a pydantic class gives objects, a TypedDict or a JSON schema gives dicts.
        typed = isinstance(schema, type) and is_basemodel_subclass(schema)
        parser: Any = PydanticOutputParser(pydantic_object=cast("Any", schema)) if typed else JsonOutputParser()
        # Integrations bind this for tracers; LangChain takes it out before it calls the model.
        traced = {"kwargs": {"method": method}, "schema": schema}
        model = self.bind(response_format=bound, ls_structured_output_format=traced, **kwargs)
        return _with_raw(model, parser) if include_raw else model | parser

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, run_manager: RunManager, kwargs: dict[str, object]
    ) -> Request:
        return request_of(self, messages, self.stop if stop is None else stop, run_manager, kwargs)

    def _answer(self, reply: Reply, messages: list[BaseMessage], kwargs: dict[str, Any]) -> base.Answer:
        prompt = texts_of(messages) if reply.usage is None else ()
        dialect = self._dialect_of(kwargs)
        kind = MessageAnswer if reply.verbatim else Answer
        answer = kind(reply, kwargs.get("model") or self.model_name, prompt, dialect)
        # A message that the test has made itself comes as it is, in no provider's words.
        translator = None if reply.verbatim else names.class_of(dialect)
        return answer if translator is None else translator(answer, kwargs)

    def _dialect_of(self, params: Mapping[str, Any]) -> str:
        return self.dialect

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
        answer = self._answer(self._serve(request, streams=True), messages, kwargs)
        for chunk in answer.chunks():
            if isinstance(chunk, Gate):
                self._hold([chunk], request)
                continue
            if run_manager is not None:  # version 3 of stream events: there, integrations tell their tokens themselves
                run_manager.on_llm_new_token(chunk.text, chunk=chunk, **answer.token_fields(chunk))
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._request(messages, stop, run_manager, kwargs)
        answer = self._answer(await self._aserve(request, streams=True), messages, kwargs)
        for chunk in answer.chunks():
            if isinstance(chunk, Gate):
                await self._ahold([chunk], request)
                continue
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk, **answer.token_fields(chunk))
            yield chunk


def request_of(
    model: BaseChatModel,
    messages: list[BaseMessage],
    stop: list[str] | None,
    run_manager: RunManager,
    kwargs: Mapping[str, object],
) -> Request:
    """Return one call of a chat model in neutral words."""
    # Functions, where a value is costly: few steps look at the messages, and freezing them takes longer than the answer.
    run = weakly(run_of(run_manager, model))
    return Request(
        tool_schemas(kwargs.get("tools")),
        lambda: [freeze_message(message) for message in messages],
        kwargs.get("tool_choice"),
        stop,
        kwargs,
        lambda: about(run()),
        run,
        lanes.current(),
        place=batches.place_of(model),
    )


def _with_raw(model: Runnable[Any, Any], parser: Any) -> Runnable[Any, Any]:
    """Return a chain to `{"raw": ..., "parsed": ..., "parsing_error": ...}`, as LangChain's own `include_raw`."""
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")
