"""Source lines of the program under test: found on the stack, kept as `file:line`, shortened when a message shows them."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from os import getcwd
from os.path import normpath
from pathlib import PurePath
from traceback import walk_stack
from types import CodeType, FrameType
from typing import Any, Final

from llmtest.concurrency import asyncio_state

OURS: Final = frozenset({"llmtest"})
HARNESS: Final = OURS | {"langchain_core"} | sys.stdlib_module_names
"""Modules that run a handler, model or tool under check. Other packages of LangChain define some of those themselves."""
FRAMEWORK: Final = HARNESS | {"langchain", "langchain_classic", "langchain_community", "langgraph", "langsmith", "tenacity"}
"""Modules that are never the program: ours, LangChain's with the library that it retries with, and Python's."""

CLIENTS: Final = {
    *("agents", "aiohttp", "anthropic", "anyio", "boto3", "botocore", "cohere", "crewai", "fireworks", "google", "groq", "grpc"),
    *("httpcore", "httpcore2", "httpx", "httpx2", "httpx_sse", "litellm", "llama_index", "mistralai", "ollama", "openai"),
    *("pydantic", "pydantic_ai", "pydantic_graph", "requests", "requests_toolbelt", "strands", "together", "trio", "urllib3"),
    *("langchain_anthropic", "langchain_aws", "langchain_azure_ai", "langchain_cohere", "langchain_deepseek"),
    *("langchain_fireworks", "langchain_google_genai", "langchain_google_vertexai", "langchain_groq", "langchain_huggingface"),
    *("langchain_mistralai", "langchain_nvidia_ai_endpoints", "langchain_ollama", "langchain_openai", "langchain_openrouter"),
    *("langchain_perplexity", "langchain_together", "langchain_upstage", "langchain_xai"),
}
"""Installed modules between the program and the network."""

RUNNERS: Final = frozenset({"_pytest", "pluggy", "pytest_asyncio"})
"""Modules that run a test: what stands above them on a stack is not the program."""

Frames = Iterable[tuple[FrameType, int]]
"""Frames with their line numbers, as `traceback.walk_stack` (innermost first) and `walk_tb` (outermost first) give them."""


def is_of(frame: FrameType, modules: Collection[str]) -> bool:
    """True if the module of `frame`, or its top package, is one of `modules`."""
    if frame.f_code.co_filename.startswith("<doctest "):  # a program, although it runs in the namespace of the module
        return False
    module = _name(frame)
    return module in modules or module.partition(".")[0] in modules


def _name(frame: FrameType) -> str:
    return frame.f_globals.get("__name__") or ""


def program_line(frames: Frames, passed: Collection[str] = FRAMEWORK) -> str:
    """Return the line of the first frame that is of none of the modules `passed`; an empty string if all are."""
    return next((f"{frame.f_code.co_filename}:{line}" for frame, line in frames if not is_of(frame, passed)), "")


def caller() -> str:
    """Return the innermost line of the program on this thread; an empty string where a thread runs only the framework."""
    return program_line(walk_stack(sys._getframe(1)))


def program_place() -> str:
    """Return the innermost line of the program on this thread, past the clients of providers; empty if there is none.

    For a task without such a line, as `ainvoke` makes one for each prompt, it is the line that waits for the task.
    """
    frames = list(_within_test(walk_stack(sys._getframe(1))))
    below = next((number for number, (frame, _) in enumerate(frames) if _name(frame) == "asyncio.events"), None)
    waiting = () if below is None else _within_test(waiting_frames())
    return next(filter(None, (program_line(_past_clients(part)) for part in (frames[:below], waiting, frames[below or 0 :]))), "")


def _within_test(frames: Frames) -> Frames:
    return takewhile(lambda at: not is_of(at[0], RUNNERS), frames)


def waiting_frames() -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of the tasks that wait for the current one, innermost first."""
    task = asyncio.current_task()
    while task is not None and (hold := asyncio_state.holder(task)) is not None:
        task, frames = hold.task, []
        waits: Any = task.get_coro()
        while waits is not None:
            frame = getattr(waits, "cr_frame", None)
            frames += [(frame, frame.f_lineno)] if frame is not None else []
            waits = getattr(waits, "cr_await", None)
        yield from reversed(frames)


def _past_clients(frames: Frames) -> Frames:
    """Leave out the frames of clients. A program may have a package `agents` of its own; those of clients are installed."""
    return (at for at in frames if not (is_installed(at[0].f_code.co_filename) and is_of(at[0], CLIENTS)))


def is_installed(path: str) -> bool:
    """True for the file of an installed package."""
    return "site-packages" in path or "dist-packages" in path


def definition_line(code: CodeType | None) -> str:
    """Return the line where a function is defined; an empty string without its code."""
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def shown_path(where: str) -> str:
    """Return `where`, a path or `path:line`, with the path relative to the current folder if it lies below that."""
    path, _, line = where.rpartition(":")
    if not path or not line.isdecimal():
        path, line = where, ""
    if not path:
        return where
    pure, folder = PurePath(normpath(path)), getcwd()
    shown = pure.relative_to(folder) if pure.is_relative_to(folder) else pure
    return f"{shown}:{line}" if line else f"{shown}"


def shown_line(where: str) -> str:
    """Return `where` as `shown_path` shows it, and the text of the line."""
    path, _, line = where.rpartition(":")
    return f"{shown_path(where)}  {linecache.getline(path, int(line)).strip()}".rstrip() if path else where


def code(function: Any) -> CodeType | None:
    """Return the code of a function, however it is wrapped; None for a callable without any."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code if isinstance(code, CodeType) else None


def at() -> list[str]:
    """Return the calling line of the program, as evidence; an empty list on a bare thread of LangChain's own."""
    where = program_place()
    return [f"  at       {shown_path(where)}"] if where else []
