"""Known deviations: rules of the protocol that LangChain itself breaks, in which versions, and how to recognise them.

Each has a test in tests/protocol/test_known_issues.py that fails once upstream has fixed it; then `fixed` gets that version.
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

    `looks` recognises the run. `words` is the rest of a sentence that begins with the package's name. `issue` is the public
    report, or None if none was found.
    """

    name: str
    rule: str
    looks: Callable[[Life, Index], bool]
    words: str
    since: str = "1.0"
    fixed: str | None = None
    issue: str | None = None
    package: str = "langchain-core"

    @property
    def present(self) -> bool:
        """True if the installed version of the package has it."""
        installed = _installed(self.package)
        return installed is not None and parts(self.since) <= installed and (self.fixed is None or installed < parts(self.fixed))

    def __str__(self) -> str:
        return f"{self.package} {self.words} ({self.issue or 'not reported yet'})"


def parts(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (1, 8, 0) for `1.8.0rc1`."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


@cache
def _installed(package: str) -> tuple[int, ...] | None:
    try:
        return parts(version(package))
    except PackageNotFoundError:
        return None


def known(rule: str, life: Life, index: Index) -> Deviation | None:
    """Return the known deviation that explains why this run breaks `rule`, if there is one."""
    return next((d for d in DEVIATIONS if d.rule == rule and d.present and d.looks(life, index)), None)


def _abandoned(life: Life) -> bool:
    """True if no run in the recording waits for this one any longer."""
    return life.parent is None or life.parent.end is not None


def _in_a_task(life: Life) -> bool:
    return life.start is not None and life.start.task is not None


def _open(kind: str) -> Callable[[Life, Index], bool]:
    return lambda life, index: life.kind == kind and _abandoned(life)


def _given_up_at_the_end(life: Life, index: Index) -> bool:
    more = life.more("second end")
    return life.ended == "ended" and len(more) == 1 and how(more[0]) in ("cancelled", "closed early")


_GITHUB: Final = "https://github.com/langchain-ai"

DEVIATIONS: Final = (
    Deviation(
        "cancelled chat model",
        "run never ended",
        lambda life, index: life.kind == "chat" and _abandoned(life) and _in_a_task(life),
        "fires no end of a chat model whose `ainvoke` is cancelled or times out",
        issue=f"{_GITHUB}/langchain/issues/38469",
    ),
    Deviation(
        "text model cancelled at its start",
        "run never ended",
        lambda life, index: life.kind == "llm" and _abandoned(life) and _in_a_task(life) and not life.tokens,
        "fires no end of a text model that is cancelled while its start callbacks run",
    ),
    Deviation(
        "cancelled tool",
        "run never ended",
        _open("tool"),
        "fires no end of a tool that is cancelled or raises SystemExit",
        fixed="1.8",
        issue=f"{_GITHUB}/langgraph/issues/6726",
    ),
    Deviation(
        "tool with a failing handler of errors",
        "run never ended",
        _open("tool"),
        "fires no end of a tool that has a `handle_tool_error` that raises",
    ),
    Deviation(
        "cancelled retriever",
        "run never ended",
        _open("retriever"),
        "fires no end of a retriever that is cancelled, or raises KeyboardInterrupt or SystemExit",
    ),
    Deviation(
        "dropped v3 stream",
        "run never ended",
        lambda life, index: life.kind == "chat" and bool(life.more("stream")) and not _in_a_task(life),
        'fires no end of a chat model whose `stream_events(..., version="v3")` is dropped',
        since="1.4",
    ),
    Deviation(
        "chat models generated together",
        "run never ended",
        lambda life, index: life.kind == "chat" and not _in_a_task(life) and id(life) in index.together,
        "fires no end of the other runs when one of `generate([a, b, c])` fails",
    ),
    Deviation(
        "fallbacks in a batch",
        "run never ended",
        lambda life, index: _open("chain")(life, index) and life.name.startswith("RunnableWithFallbacks"),
        "fires no end of `with_fallbacks(...).batch(...)` when it raises an exception that no fallback handles",
    ),
    Deviation(
        "given up at the end",
        "one end",
        _given_up_at_the_end,
        'fires an error after the end when `astream_events(..., version="v3")` is cancelled while its end callbacks run',
        since="1.4",
    ),
    Deviation(
        "tokens of prompts together",
        "tokens and text differ",
        lambda life, index: life.kind == "llm" and id(life) in index.together,
        "gives a text model one run manager for all prompts of `generate([a, b])`: the first run gets all tokens",
    ),
)
