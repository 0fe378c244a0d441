"""Scripted models: real `BaseChatModel` and `BaseLLM` subclasses whose answers come from a `Script`.

Everything else about them is LangChain's: callbacks, streaming, caching, tool binding, structured output. They answer on
the caller's own thread, also in async code, and never sleep.
"""

from __future__ import annotations

import builtins
import difflib
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core import exceptions as core_exceptions
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, BaseLLM, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, GenerationChunk, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, SkipValidation

from llmtest import ledger
from llmtest.langchain.freezing import freeze_message, tool_names
from llmtest.script import Call, Fail, Reply, Request, Script, ScriptError, StatusError, Text, Thinking, count, place

# -- from a script's words to LangChain's


def _exception(failure: Fail) -> BaseException:
    """The exception that a failing step raises."""
    error = failure.error
    if isinstance(error, BaseException):
        return error
    if isinstance(error, int):
        return _status_class(error)(error, failure.retry_after, failure.message)
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


def _tool_schemas(bound: Any) -> dict[str, Mapping[str, Any]]:
    """Bound tools by name, each with the JSON schema of its arguments; a provider's own tools take anything."""
    if not bound:
        return {}
    schemas = {}
    for name, tool in zip(tool_names(bound), bound, strict=True):
        spec = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        schemas[name] = spec.get("parameters") or spec.get("input_schema") or {"additionalProperties": True}
    return schemas


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


class _Answer:
    """One reply on its way out: the same ids whether it is sent whole or in chunks."""

    def __init__(self, reply: Reply, model_name: str, prompt_tokens: int) -> None:
        self.reply = reply
        self.id = ledger.current().fresh_id("msg")
        self.blocks = reply.thinks
        self.closing: dict[str, Any] = {
            "usage_metadata": _usage(reply, prompt_tokens),
            "response_metadata": {
                "model_name": model_name,
                "finish_reason": reply.stop_reason or ("tool_calls" if reply.calls else "stop"),
                **reply.response_metadata,
            },
        }

    def _content(self, part: Text | Thinking, text: str, index: int) -> str | list[str | dict[str, Any]]:
        if not self.blocks:
            return text
        kind, key = ("text", "text") if isinstance(part, Text) else ("reasoning", "reasoning")
        return [{"type": kind, key: text, "index": index}]

    def _call_id(self, call: Call) -> str:
        return call.id or ledger.current().fresh_id("call")

    def message(self) -> AIMessage:
        if self.reply.failure is not None:
            raise _exception(self.reply.failure)
        content: str | list[str | dict[str, Any]] = [] if self.blocks else ""
        calls = []
        for index, part in enumerate(self.reply.parts):
            if isinstance(part, Call):
                calls.append({"name": part.tool, "args": json.loads(json.dumps(part.args)), "id": self._call_id(part)})
            else:
                content += self._content(part, "".join(part.tokens), index)  # type: ignore[operator]
        message = AIMessage(content=content, tool_calls=calls, id=self.id) if calls else AIMessage(content=content, id=self.id)
        # Set afterwards: validating them costs as much as the rest of the message, and we have just made them.
        message.usage_metadata = self.closing["usage_metadata"]
        message.response_metadata = self.closing["response_metadata"]
        return message

    def chunks(self) -> Iterator[ChatGenerationChunk]:
        pieces = list(self._pieces()) or [{"content": ""}]
        for piece in pieces[:-1]:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **piece))
        if self.reply.failure is not None:
            yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, **pieces[-1]))
            raise _exception(self.reply.failure)
        yield ChatGenerationChunk(message=AIMessageChunk(id=self.id, chunk_position="last", **pieces[-1], **self.closing))

    def _pieces(self) -> Iterator[dict[str, Any]]:
        order = 0
        for index, part in enumerate(self.reply.parts):
            if not isinstance(part, Call):
                yield from ({"content": self._content(part, token, index)} for token in part.tokens)
                continue
            empty: str | list[Any] = [] if self.blocks else ""
            opening = {"name": part.tool, "args": "", "id": self._call_id(part), "index": order}
            yield {"content": empty, "tool_call_chunks": [opening]}
            for token in part.tokens:
                yield {"content": empty, "tool_call_chunks": [{"name": None, "args": token, "id": None, "index": order}]}
            order += 1


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
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; nearest `{near[0]}`" if near else f"; it has {', '.join(f'`{field}`' for field in sorted(known))}"
            raise ScriptError(f"{kind.__name__} has no field `{name}`{hint}")
    return Script(*steps) if script is None else script


class _Scripted:
    """What both models share: a repr without an address, because it becomes `serialized`, and `verify`."""

    script: Any
    model_name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model_name={self.model_name!r})"

    __str__ = __repr__

    def verify(self) -> None:
        """Raises for every violation of the script so far and for its unused steps; the pytest plugin does it for you.

        Raises:
            ViolationError: with all of them.
        """
        self.script.verify()

    def _take(self, request: Request) -> Reply:
        step = self.script.serve(request)
        if isinstance(step, Fail):
            raise _exception(step)
        return cast("Reply", step)


class ScriptedChatModel(_Scripted, BaseChatModel):
    """A chat model that says what a test wrote down: one step answers one call.

    `ScriptedChatModel("Hello", call("search", q="x"))` takes steps, `ScriptedChatModel(script=script)` a `Script`. The
    script is shared by reference: copies, `bind_tools`, `with_config` and threads all take steps from the same one.

    It invokes, streams, batches and emits events, sync and async, binds tools, streams tool-call arguments in pieces,
    and reports usage. Each answer is a fresh message; ids are unique over all doubles of a test and the same in every
    run of it. `streaming=True` makes `invoke` stream to the callbacks too. Thread-safe.

    Raises:
        ScriptError: a step is not a step, or a field does not exist.
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

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        super().__init__(**{"script": _script_of(type(self), steps, script, fields), **fields})

    @property
    def _llm_type(self) -> str:
        return "scripted-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

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

    def _answer(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> _Answer:
        request = Request(_tool_schemas(kwargs.get("tools")), lambda: [freeze_message(m) for m in messages])
        reply = self._take(request)
        prompt_tokens = sum(map(_count_message, messages)) if reply.usage is None else 0
        return _Answer(reply, self.model_name, prompt_tokens)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages, kwargs).message())])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, None, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from self._answer(messages, kwargs).chunks()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._answer(messages, kwargs).chunks():
            yield chunk


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
            if isinstance(step, Reply) and any(not isinstance(part, Text) for part in step.parts):
                raise ScriptError(
                    f"step {number} of a ScriptedLLM is {step} at {place(step.where)}, but a text model says text only"
                )
        super().__init__(**{"script": given, **fields})

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def _reply(self, prompt: str) -> Reply:
        return self._take(Request({}, lambda: [freeze_message(HumanMessage(prompt))]))

    def _closing(self, reply: Reply, prompt: str) -> dict[str, Any]:
        """What a provider says with the end of an answer."""
        usage = _usage(reply, count(prompt))
        counts = {} if usage is None else {"token_usage": _token_usage(usage)}
        return {"finish_reason": reply.stop_reason or "stop", **reply.response_metadata, **counts, "model_name": self.model_name}

    def _chunks(self, reply: Reply, prompt: str) -> Iterator[GenerationChunk]:
        *first, last = [token for part in reply.parts for token in part.tokens] or [""]
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
            return self._result([_joined(list(self._stream(prompts[0], stop, run_manager)))])
        return self._result([self._whole(self._reply(prompt), prompt) for prompt in prompts])

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if self.streaming and len(prompts) == 1:
            return self._result([_joined([chunk async for chunk in self._astream(prompts[0], stop, run_manager)])])
        return self._generate(prompts, stop, None)

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
        for chunk in self._chunks(self._reply(prompt), prompt):
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
        for chunk in self._chunks(self._reply(prompt), prompt):
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
