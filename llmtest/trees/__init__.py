"""Recordings as text: `render` one, `parse` the text back, `diff` two texts as trees.

>>> from llmtest import ScriptedChatModel, record
>>> from llmtest.trees import diff, head, parse, render
>>> with record() as recording:
...     _ = ScriptedChatModel("Hello there").invoke("hi")
>>> text = render(recording)
>>> [head(run).name for run in parse(text)]
['ScriptedChatModel']
>>> diff(text, text.replace("there", "you")).headline
'AI message "there" → "you" at ScriptedChatModel (1 of 3 lines, 1 cause)'

The text is specified in docs/reference/tree-text.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtest.trees.differ import Difference, diff
    from llmtest.trees.parsing import Head, Node, head, parse, write
    from llmtest.trees.rendering import render

__all__ = ["Difference", "Head", "Node", "diff", "head", "parse", "render", "write"]

_HOME = {
    "Difference": "llmtest.trees.differ",
    "Head": "llmtest.trees.parsing",
    "Node": "llmtest.trees.parsing",
    "diff": "llmtest.trees.differ",
    "head": "llmtest.trees.parsing",
    "parse": "llmtest.trees.parsing",
    "render": "llmtest.trees.rendering",
    "write": "llmtest.trees.parsing",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
