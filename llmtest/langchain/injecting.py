"""Faults in place of the bodies of LangChain's tools, retrievers and models: they raise, or give another value.

While it is installed, `BaseTool.run` and `arun`, and `BaseRetriever.invoke` and `ainvoke`, run with a copy of the tool or the
retriever whose body asks the open injection first. So do `_generate`, `_stream` and their async twins of every model that no
script answers: LangChain's fakes, classes of the program, integrations whose client is none that we know. Callbacks,
validation and the handling of errors are LangChain's.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool

from llmtest.campaigns import injection
from llmtest.campaigns.kinds import Done
from llmtest.core.patches import FamilyPatch
from llmtest.langchain.answers import Answer, exception, response_metadata, texts_of
from llmtest.langchain.caller import run_around, run_of
from llmtest.langchain.dialects import names
from llmtest.langchain.recorded_tools import INJECTING
from llmtest.scripts.answering import Answering, Injected
from llmtest.scripts.step_types import Fail

_patches: Final[list[FamilyPatch]] = []
_lock = threading.RLock()


def install() -> None:
    """Wrap tools, retrievers and models, also those of classes that are defined later, until `uninstall`."""
    with _lock:
        if not _patches:
            _patches.extend(FamilyPatch(base, wraps) for base, wraps in _WRAPS.items())


def uninstall() -> None:
    """Take the wrappers back."""
    with _lock:
        while _patches:
            _patches.pop().undo()


def _wrapped(stand_in: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            # Of an async method it returns the coroutine, so one wrapper fits both.
            return original(self if INJECTING in self.__dict__ else stand_in(self), *args, **kwargs)

        return run

    return wrap


# -- tools


def _tool(tool: BaseTool) -> BaseTool:
    with_artifact = tool.response_format == "content_and_artifact"

    def around(body: Callable[[], Any]) -> Any:
        __tracebackhide__ = True
        act = injection.of_body(run_around())
        result = body() if act is None or act.runs_body else None
        return result if act is None else injection.as_value(act, with_artifact)

    @functools.wraps(tool._run)  # LangChain reads the signature, to see what `_run` wants of it
    def _run(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return around(functools.partial(tool._run, *args, **kwargs))

    @functools.wraps(tool._arun)
    async def _arun(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        act = injection.of_body(run_around())
        result = await tool._arun(*args, **kwargs) if act is None or act.runs_body else None
        return result if act is None else injection.as_value(act, with_artifact)

    return cast("BaseTool", _copied(tool, around, _run=_run, _arun=_arun))


def _copied(original: Any, mark: Any, **methods: Any) -> Any:
    copied = copy.copy(original)
    copied.__dict__.update(methods | {INJECTING: mark})
    return copied


# -- retrievers


def _retriever(retriever: BaseRetriever) -> BaseRetriever:
    @functools.wraps(retriever._get_relevant_documents)
    def find(query: str, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        act = injection.of_body(_run_of(kwargs))
        return retriever._get_relevant_documents(query, *args, **kwargs) if act is None else _documents(act)

    @functools.wraps(retriever._aget_relevant_documents)
    async def afind(query: str, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        act = injection.of_body(_run_of(kwargs))
        return await retriever._aget_relevant_documents(query, *args, **kwargs) if act is None else _documents(act)

    return cast("BaseRetriever", _copied(retriever, True, _get_relevant_documents=find, _aget_relevant_documents=afind))


def _run_of(kwargs: dict[str, Any]) -> UUID | None:
    """Return the id of the run of a retriever; None for one that takes no run manager."""
    run_manager = kwargs.get("run_manager")
    return None if run_manager is None else run_manager.run_id


def _documents(act: Done) -> list[Any]:
    injection.as_value(act)  # it raises
    return []


# -- models


def _asked(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Injected | None, UUID | None]:
    """Return what a model says in place of its answer to this call, and the run of the call."""
    prompt = _prompt_of(args, kwargs)
    if isinstance(prompt, list) and len(prompt) > 1 and isinstance(prompt[0], str):
        return None, None  # several prompts of a text model: LangChain passes the run of the first alone
    given = [*args[2:3], kwargs.get("run_manager")]  # after the prompt and the stop sequences
    run = run_of(next((manager for manager in given if manager is not None), None), model)
    run_id = getattr(run, "run_id", None)
    return injection.of_class(run_id), run_id


def _generating(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        said = _asked(self, args, kwargs)[0]
        if said is None or said.takes_step:
            result = original(self, *args, **kwargs)
        return result if said is None else _whole(self, said.step, _prompt_of(args, kwargs), kwargs)

    return generate


def _agenerating(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        said = _asked(self, args, kwargs)[0]
        if said is None or said.takes_step:
            result = await original(self, *args, **kwargs)
        return result if said is None else _whole(self, said.step, _prompt_of(args, kwargs), kwargs)

    return generate


def _streaming(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(original)
    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        said, run_id = _asked(self, args, kwargs)
        if said is None or said.takes_step:
            with closing(original(self, *args, **kwargs)) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    if said is None:
                        injection.note_chunk(run_id, chunk.text)
                        yield chunk
        if said is not None:
            yield from _chunks(self, said.step, _prompt_of(args, kwargs), kwargs)

    return stream


def _astreaming(original: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(original)
    async def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        said, run_id = _asked(self, args, kwargs)
        if said is None or said.takes_step:
            async with aclosing(original(self, *args, **kwargs)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    if said is None:
                        injection.note_chunk(run_id, chunk.text)
                        yield chunk
        if said is not None:
            for chunk in _chunks(self, said.step, _prompt_of(args, kwargs), kwargs):
                yield chunk

    return stream


def _prompt_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return the prompt of a call, by whatever name the class takes it."""
    return args[0] if args else next((kwargs[name] for name in _PROMPTS if name in kwargs), ())


_PROMPTS: Final = ("messages", "prompts", "prompt")


def _whole(model: Any, step: Any, prompt: Any, kwargs: Mapping[str, Any]) -> Any:
    dialect = _dialect_of(model, kwargs)
    if isinstance(step, Fail):
        raise exception(step, dialect)
    if isinstance(model, BaseChatModel):
        return _answer(model, step, prompt, dialect, kwargs).result()
    return LLMResult(generations=[[Generation(text=step.text, generation_info=response_metadata(step, model.get_name()))]])


def _chunks(model: Any, step: Any, prompt: Any, kwargs: Mapping[str, Any]) -> Iterator[Any]:
    dialect = _dialect_of(model, kwargs)
    if isinstance(step, Fail):
        raise exception(step, dialect)
    if isinstance(model, BaseChatModel):
        yield from _answer(model, step, prompt, dialect, kwargs).chunks()
        return
    for token in [token for part in step.parts for token in part.tokens] or [""]:
        yield GenerationChunk(text=token)
    if step.failure is not None:
        raise exception(step.failure, dialect)


def _answer(model: BaseChatModel, step: Any, prompt: Any, dialect: str, kwargs: Mapping[str, Any]) -> Any:
    answer = Answer(step, model.get_name(), texts_of(prompt), dialect)
    translator = names.class_of(dialect)
    return answer if translator is None else translator(answer, dict(kwargs))


def _dialect_of(model: Any, params: Mapping[str, Any]) -> str:
    """Return the dialect of a model, by the integration that its class comes from."""
    packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "langchain_anthropic" in packages:
        return "anthropic"
    if "langchain_openai" not in packages:
        return "plain"
    uses_responses = getattr(model, "_use_responses_api", lambda _: False)
    return "openai-responses" if uses_responses(dict(params)) else "openai"


_OF_MODELS: Final[dict[str, Any]] = {
    "_generate": _generating,
    "_agenerate": _agenerating,
    "_stream": _streaming,
    "_astream": _astreaming,
}


def _of_models(kind: type) -> dict[str, Any]:
    return {} if issubclass(kind, Answering) else _OF_MODELS  # a scripted model asks by itself


_WRAPS: Final[dict[Any, Callable[[type], dict[str, Any]]]] = {
    BaseTool: lambda _: {"run": _wrapped(_tool), "arun": _wrapped(_tool)},
    BaseRetriever: lambda _: {"invoke": _wrapped(_retriever), "ainvoke": _wrapped(_retriever)},
    BaseChatModel: _of_models,
    BaseLLM: _of_models,
}
