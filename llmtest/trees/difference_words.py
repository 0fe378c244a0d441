"""A difference in words: what has changed in a node, on one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llmtest.core.text import clip
from llmtest.trees.parsing import Head, Node, head, split

_MAX_CHARACTERS: Final = 60
"""A changed text is cut to this length in a headline."""

DEFINED: Final = re.compile(r"(?:[+><*] )(?:partial )?((?P<prefix>[suatmdv]|tool|params)\d+): ?(?P<said>.*)")

_REQUEST: Final = re.compile(r'(call\d+) ((?:[^\s"();]+|"(?:[^"\\]|\\.)*")\((?:[^"]|"(?:[^"\\]|\\.)*")*?\))(?=;|  |$| [a-z])')

_ARGUMENT: Final = re.compile(r'(\w+|"(?:[^"\\]|\\.)*")=(.*)')

USAGE: Final = re.compile(r"  usage [^\"]*$")

_WORDS: Final = {
    "s": "system prompt",
    "u": "user message",
    "a": "AI message",
    "t": "tool result",
    "m": "message",
    "d": "document",
    "v": "text",
    "tool": "tool",
    "params": "parameters",
}

_ENDED: Final = {"<": "ended", "!": "failed", "?": "open", "^": "handed off"}


def requests_in(text: str) -> list[tuple[str, str]]:
    """Return the tool calls that a line requests, with their labels."""
    return _REQUEST.findall(text) if "call" in text and not text.startswith("| ") else []


def text_of(node: Node) -> str:
    """Return the text of an entry or a first line, without usage, and without bars."""
    return "\n".join((USAGE.sub("", node.text), *(line.removeprefix("|").removeprefix(" ") for line in node.more)))


def describe_change(old: Node | None, new: Node | None) -> str:
    if old is None or new is None:
        return _describe_single(old, new)
    if old.kind == new.kind == "entry":
        return _entry_words(old, new)
    if old.kind == new.kind == "line":
        return f"line {_swap_words(old, new)}"
    if old.kind == new.kind == "run":
        return _run_words(head(old), head(new), old.text, new.text)
    return f"{describe(old)} is now {describe(new)}"


def _describe_single(old: Node | None, new: Node | None) -> str:
    node = new or old
    assert node is not None
    if node.kind not in ("entry", "line"):
        return f"{'extra' if new else 'missing'} {'' if node.kind != 'run' else 'run: '}{describe(node)}"
    return f"{'new' if new else 'missing'} {_subject(node)} {cut(node.text)}"


def describe(node: Node) -> str:
    if node.kind != "run":
        return {"parallel": "parallel group", "late": "late runs"}.get(node.kind, cut(node.text))
    told = head(node)
    return f"{told.kind} {told.name}"


def _run_words(old: Head, new: Head, before: str, after: str) -> str:
    """Return words for the first field that differs; of the first lines `before` and `after`, if none does."""
    if (old.kind, old.name) != (new.kind, new.name):
        return f"{old.kind} {old.name} is now {new.kind} {new.name}"
    if old.arguments != new.arguments:
        return f"tool argument {_arguments(old.arguments or '', new.arguments or '')}"
    fields = ("model", "tools", "tags", "meta", "attempt", "keys", "still", "call")
    name = next((name for name in fields if getattr(old, name) != getattr(new, name)), None)
    if name is None:
        return f"first line {_in_quotes(before)} → {_in_quotes(after)}"
    told = [getattr(told, name) for told in (old, new)]
    was, now = (", ".join(value) if isinstance(value, tuple) else str(value or "none") for value in told)
    return f"{name} {cut(was)} → {cut(now)}"


def _arguments(old: str, new: str) -> str:
    """Return words for the first argument that differs."""
    before, after = _arguments_by_name(old), _arguments_by_name(new)
    name = next((name for name in (*before, *after) if before.get(name) != after.get(name)), None)
    if name is None:
        return f"{cut(old)} → {cut(new)}"
    if name not in after:
        return f"{name}={cut(before[name])} is gone"
    return f"{name} {cut(before[name])} → {cut(after[name])}" if name in before else f"{name}={cut(after[name])} is new"


def _arguments_by_name(arguments: str) -> dict[str, str]:
    """Return arguments by name; none for a tool that was called with plain text."""
    return {found[1]: found[2] for found in map(_ARGUMENT.match, split(arguments)) if found}


def _entry_words(old: Node, new: Node) -> str:
    if old.sign != new.sign or (old.sign in "!?^" and _ending(old) != _ending(new)):
        return f"{_ending(old)} → {_ending(new)}"
    before, after = ([said for text in (node.text, *node.more) for _, said in requests_in(text)] for node in (old, new))
    if before != after:
        return _call_words(before, after)
    if text_of(old) == text_of(new):
        return f"usage {_usage(old)} → {_usage(new)}"
    return f"{_subject(new)} {_swap_words(old, new)}"


def _call_words(before: Sequence[str], after: Sequence[str]) -> str:
    for old, new in zip(before, after, strict=False):
        if old != new:
            name, _, given = old.partition("(")
            other, _, asked = new.partition("(")
            return f"tool call {name} → {other}" if name != other else f"tool argument {_arguments(given[:-1], asked[:-1])}"
    extra = after[len(before) :]
    return f"extra tool call {cut(extra[0])}" if extra else f"missing tool call {cut(before[len(after)])}"


def _ending(node: Node) -> str:
    said = node.text[2:]
    if node.sign in "!?" and said:
        return cut(said if node.sign == "?" else f"failed {said}")
    return _ENDED.get(node.sign, node.text)


def _usage(node: Node) -> str:
    found = USAGE.search(node.text)
    return found[0].strip().removeprefix("usage ") if found else "none"


def _subject(node: Node) -> str:
    defined = DEFINED.match(node.text)
    if defined is not None:
        return _WORDS[defined["prefix"]]
    if node.sign == "@":
        return node.text[2:].partition(" ")[0]
    return {">": "input", "<": "output", "~": "stream", "*": "parameters", "!": "error", "?": "pause"}.get(node.sign, "line")


def replaced_words(old: Node, new: Node) -> tuple[str, str]:
    """Return the replaced words and their replacement, from the first that differ to the last."""
    before, after = (re.findall(r"\w+|\s+|[^\w\s]", text_of(node)) for node in (old, new))
    start = end = 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return "".join(before[start : len(before) - end]), "".join(after[start : len(after) - end])


def _swap_words(old: Node, new: Node) -> str:
    before, after = (words.strip() for words in replaced_words(old, new))
    if not before:
        return f"has now {_in_quotes(after)}"
    return f"{_in_quotes(before)} → {_in_quotes(after)}" if after else f"has lost {_in_quotes(before)}"


def _in_quotes(text: str) -> str:
    text = cut(text.strip('"'))
    return f'"{text}"'


def cut(text: str) -> str:
    return clip(text, _MAX_CHARACTERS, "…")
