"""`ScriptedLLM`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.messages import HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import Field, SkipValidation

from llmtest.concurrency import lanes
from llmtest.core.source import shown_path
from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY
from llmtest.langchain.answers import exception, response_metadata, usage_metadata_of
from llmtest.langchain.caller import RunManager, about, run_of, weakly
from llmtest.langchain.freezing import freeze_message
from llmtest.langchain.served import Scripted, script_of
from llmtest.scripts.gates import Gate, with_gates
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Reply, Return, Text, Value


class ScriptedLLM(Scripted, BaseLLM):
    """A text model with scripted answers: one step answers one prompt.

    It is a `ScriptedChatModel` for programs that take a text model. It says text only: `call` and `think` are refused when
    it is made. With `streaming=True` its tokens reach the callbacks under `invoke` and `generate` too, as with real text
    models, but not for several prompts at once: LangChain would report all of them on the first run.
    Usage is reported as `token_usage` in `llm_output`, or with the last chunk. Thread-safe.

    Raises:
        ScriptError: a step is not a step or not text, or a field does not exist.
        ViolationError: when it is called and no step is left.

    >>> from llmtest import ScriptedLLM, say
    >>> ScriptedLLM(say("4")).invoke("What is the square root of 16?")
    '4'

    It does not cut its answer at a stop sequence.
    """

    script: SkipValidation[Script] = Field(exclude=True, repr=False)
    model_name: str = "scripted"
    streaming: bool | None = None

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        given = script_of(type(self), steps, script, fields)
        for number, step in enumerate(given.steps, 1):
            if isinstance(step, Return) or (isinstance(step, Reply) and any(not isinstance(p, Text | Value) for p in step.parts)):
                given.waive_steps()
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

    def _request(self, prompt: str, stop: list[str] | None, run_manager: RunManager, kwargs: dict[str, object]) -> Request:
        run = weakly(run_of(run_manager, self))
        read = lambda: [freeze_message(HumanMessage(prompt))]  # noqa: E731
        return Request(EMPTY, read, None, stop, kwargs, lambda: about(run()), run, lanes.current())

    def _closing(self, reply: Reply, prompt: str) -> dict[str, Any]:
        """Return the `generation_info` of the last chunk."""
        usage = None if reply.truncated else usage_metadata_of(reply, [prompt])
        counts = {} if usage is None else {"token_usage": _token_usage(usage)}
        return {**response_metadata(reply, self.model_name), **counts}

    def _pieces(self, reply: Reply, prompt: str) -> Iterator[GenerationChunk | Gate]:
        return with_gates(self._chunks(reply, prompt), reply.gate_positions()) if reply.stops else self._chunks(reply, prompt)

    def _chunks(self, reply: Reply, prompt: str) -> Iterator[GenerationChunk]:
        # At least one chunk, also for an empty answer: LangChain raises if a stream has none.
        *first, last = [token for part in reply.parts for token in part.tokens] + [""] * reply.stops_last or [""]
        yield from (GenerationChunk(text=token) for token in first)
        if reply.failure is not None:
            yield GenerationChunk(text=last)
            raise exception(reply.failure)
        yield GenerationChunk(text=last, generation_info=self._closing(reply, prompt))

    def _whole(self, reply: Reply, prompt: str) -> Generation:
        if reply.failure is not None:
            raise exception(reply.failure)
        return Generation(text=reply.text, generation_info=self._closing(reply, prompt))

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        # `run_manager` is that of the first run: the tokens of other prompts would be told as its own.
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
        # Text models report usage for the call and not for each generation, so it is taken out of them.
        counts = [(g.generation_info or {}).pop("token_usage", None) for g in generations]
        known = [c for c in counts if c is not None]
        total = {key: sum(c[key] for c in known) for key in known[0]} if known else None
        # One sum: `llm_output` is of the whole call, and LangChain reports it with the first run only.
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
                # LangChain reports the tokens of chat models itself, those of text models never.
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
    """Return usage under the names of text models."""
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def _joined(chunks: list[GenerationChunk]) -> Generation:
    return Generation(text="".join(chunk.text for chunk in chunks), generation_info=chunks[-1].generation_info)
