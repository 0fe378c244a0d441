"""The calls of models and tools of a recording as a tree: what an incident and the test of it have in common."""

from __future__ import annotations

import re
from typing import Final

from llmtest.recording.recording import Recording
from llmtest.trees.rendering import render


def call_tree(recording: Recording) -> str:
    """Return the calls of models and tools of a recording as text: with which arguments, in which order, what came of it.

    It is the tree of `recording.only(kinds=["chat", "llm", "tool"])` without what differs between programs that do the same:
    names of models and of the tools that they are offered, prompts, usage, tags and metadata, and the class of an error that
    stands in for another.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> print(call_tree(recording), end="")
    model
      < a1: "Hello there"

    It does not show how concurrent runs interleaved.
    """
    text = render(recording.only(kinds=["chat", "llm", "tool"]), detail="short")
    lines: list[str] = []
    numbers: dict[str, str] = {}
    skipped = -1
    for line in text.splitlines():
        deep = len(line) - len(line.lstrip())
        if 0 <= skipped < deep:
            continue  # the lines of a prompt
        skipped = deep if line.lstrip()[:2] in _PROMPTS else -1
        if skipped < 0:
            lines.append(_ANSWER.sub(lambda found: f"{found[1]}{_renumbered(found[2], numbers)}", _plain(line)))
    return "".join(f"{line}\n" for line in lines)


_PROMPTS: Final = ("> ", "+ ", "~ ", "* ")
"""How lines begin that tell what a model was told, how it streamed, and its parameters."""
_MODEL: Final = re.compile(r"^( *)(?:chat|llm) .*")
_TOOL: Final = re.compile(r"^( *tool .*?\)(?: call\d+)?)(?: [a-z]+=.*)?$")
_USAGE: Final = re.compile(r"  usage in=\S+ out=\S+.*$")
_IN_PLACE: Final = re.compile(r"^( *! )(?:RuntimeError|ToolException): (?=\w+: )")


_ANSWER: Final = re.compile(r"^( *< (?:partial )?)([at]\d+)\b(?=:|$)")


def _renumbered(name: str, numbers: dict[str, str]) -> str:
    """Return the name of a message, by its place among those that are shown: the prompts that are not have numbers, too."""
    if name not in numbers:
        numbers[name] = f"{name[0]}{1 + sum(known[0] == name[0] for known in numbers)}"
    return numbers[name]


def _plain(line: str) -> str:
    return _IN_PLACE.sub(r"\1", _USAGE.sub("", _TOOL.sub(r"\1", _MODEL.sub(r"\1model", line))))
