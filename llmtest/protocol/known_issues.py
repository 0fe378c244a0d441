"""Where LangChain and LangGraph themselves break a check of `llmtest.protocol`: in which versions, and how to recognise it.

Each has a test in tests/protocol/test_known_issues.py that fails when upstream has mended it; then it gets its `fixed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from llmtest.protocol.run_index import Index, Life, how


@dataclass(frozen=True, slots=True)
class Deviation:
    """A rule that a package breaks by itself, from version `since` up to, without, `fixed` (None: it still does).

    `issue` is where it is reported, or None if no report was found. `words` is the rest of a sentence that begins with
    the package's name.
    """

    name: str
    rule: str
    package: str
    since: str
    fixed: str | None
    issue: str | None
    words: str
    looks: Callable[[Life, Index], bool]

    @property
    def present(self) -> bool:
        """Whether the installed version of the package has it."""
        installed = _installed(self.package)
        return installed is not None and parts(self.since) <= installed and (self.fixed is None or installed < parts(self.fixed))

    def __str__(self) -> str:
        return f"{self.package} {self.words} ({self.issue or 'not reported yet'})"


def parts(text: str) -> tuple[int, ...]:
    """The numbers of a version, without what comes after them: `1.8.0rc1` is 1, 8, 0."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


@cache
def _installed(package: str) -> tuple[int, ...] | None:
    try:
        return parts(version(package))
    except PackageNotFoundError:
        return None


def known(rule: str, life: Life, index: Index) -> Deviation | None:
    """The known deviation that a violation of `rule` by this run is, if it is one."""
    return next((d for d in DEVIATIONS if d.rule == rule and d.present and d.looks(life, index)), None)


def _abandoned(life: Life) -> bool:
    """Whether nobody is left who waits for this run, as far as the recording tells."""
    return life.parent is None or life.parent.end is not None


def _in_a_task(life: Life) -> bool:
    return life.start is not None and life.start.task is not None


def _cancelled_chat(life: Life, index: Index) -> bool:
    return life.kind == "chat" and _abandoned(life) and _in_a_task(life)


def _starting_llm(life: Life, index: Index) -> bool:
    return life.kind == "llm" and _abandoned(life) and _in_a_task(life) and not life.tokens


def _open_tool(life: Life, index: Index) -> bool:
    return life.kind == "tool" and _abandoned(life)


def _open_retriever(life: Life, index: Index) -> bool:
    return life.kind == "retriever" and _abandoned(life)


def _dropped_stream(life: Life, index: Index) -> bool:
    return life.kind == "chat" and bool(life.more("stream")) and not _in_a_task(life)


def _one_of_many(life: Life, index: Index) -> bool:
    return life.kind == "chat" and not _in_a_task(life) and id(life) in index.together


def _batch_of_fallbacks(life: Life, index: Index) -> bool:
    return life.kind == "chain" and life.name.startswith("RunnableWithFallbacks") and _abandoned(life)


def _given_up_at_the_end(life: Life, index: Index) -> bool:
    more = life.more("second end")
    return life.ended == "ended" and len(more) == 1 and how(more[0]) in ("cancelled", "closed early")


def _prompts_together(life: Life, index: Index) -> bool:
    return life.kind == "llm" and id(life) in index.together


_GITHUB: Final = "https://github.com/langchain-ai"

DEVIATIONS: Final = (
    Deviation(
        "cancelled chat model",
        "run never ended",
        "langchain-core",
        "1.0",
        None,
        f"{_GITHUB}/langchain/issues/38469",
        "tells no end of a chat model whose `ainvoke` is cancelled or times out",
        _cancelled_chat,
    ),
    Deviation(
        "text model cancelled at its start",
        "run never ended",
        "langchain-core",
        "1.0",
        None,
        None,
        "tells no end of a text model that is cancelled while its start is told",
        _starting_llm,
    ),
    Deviation(
        "cancelled tool",
        "run never ended",
        "langchain-core",
        "1.0",
        "1.8",
        f"{_GITHUB}/langgraph/issues/6726",
        "tells no end of a tool that is cancelled or raises SystemExit",
        _open_tool,
    ),
    Deviation(
        "tool with a failing handler of errors",
        "run never ended",
        "langchain-core",
        "1.0",
        None,
        None,
        "tells no end of a tool that has a `handle_tool_error` that raises",
        _open_tool,
    ),
    Deviation(
        "cancelled retriever",
        "run never ended",
        "langchain-core",
        "1.0",
        None,
        None,
        "tells no end of a retriever that is cancelled, or raises KeyboardInterrupt or SystemExit",
        _open_retriever,
    ),
    Deviation(
        "dropped v3 stream",
        "run never ended",
        "langchain-core",
        "1.4",
        None,
        None,
        'tells no end of a chat model whose `stream_events(..., version="v3")` is dropped',
        _dropped_stream,
    ),
    Deviation(
        "chat models generated together",
        "run never ended",
        "langchain-core",
        "1.0",
        None,
        None,
        "tells no end of the other runs when one of `generate([a, b, c])` fails",
        _one_of_many,
    ),
    Deviation(
        "fallbacks in a batch",
        "run never ended",
        "langchain-core",
        "1.0",
        None,
        None,
        "tells no end of `with_fallbacks(...).batch(...)` when an exception comes that no fallback handles",
        _batch_of_fallbacks,
    ),
    Deviation(
        "given up at the end",
        "one end",
        "langchain-core",
        "1.4",
        None,
        None,
        'tells an error after the end when `astream_events(..., version="v3")` is cancelled while its end is told',
        _given_up_at_the_end,
    ),
    Deviation(
        "tokens of prompts together",
        "tokens and text differ",
        "langchain-core",
        "1.0",
        None,
        None,
        "hands a text model one run manager for all prompts of `generate([a, b])`: the first run has the tokens of all",
        _prompts_together,
    ),
)
