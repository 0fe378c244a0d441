"""Faults in place of the bodies of LangChain's tools and retrievers: they raise, or give another value.

While it is installed, `BaseTool.run` and `arun`, and `BaseRetriever.invoke` and `ainvoke`, run with a copy of the tool or the
retriever whose body asks the open injection first. Callbacks, validation and the handling of errors are LangChain's.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool

from llmtest.campaigns import injection
from llmtest.campaigns.kinds import Done
from llmtest.core.patches import Patch, replace, replace_all, subclasses
from llmtest.langchain.caller import run_around
from llmtest.langchain.recorded_tools import INJECTING

_patches: Final[list[Patch]] = []
_lock = threading.RLock()


def install() -> None:
    """Wrap tools and retrievers, also those of classes that are defined later, until `uninstall`."""
    with _lock:
        if _patches:
            return
        for base, wraps in _WRAPS.items():
            for kind in (base, *subclasses(base)):
                _patches.extend(replace_all(kind, wraps))
            _patches.append(replace(base, "__init_subclass__", functools.partial(_patching, wraps)))


def uninstall() -> None:
    """Take the wrappers back."""
    with _lock:
        while _patches:
            _patches.pop().undo()


def _patching(wraps: dict[str, Any], original: Any) -> Any:
    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        original.__get__(None, cls)(**kwargs)
        with _lock:
            if _patches:
                _patches.extend(replace_all(cls, wraps))

    return classmethod(init_subclass)


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


_WRAPS: Final[dict[Any, dict[str, Any]]] = {
    BaseTool: {"run": _wrapped(_tool), "arun": _wrapped(_tool)},
    BaseRetriever: {"invoke": _wrapped(_retriever), "ainvoke": _wrapped(_retriever)},
}
