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

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.trees.differ import Difference as Difference, diff as diff
    from llmtest.trees.parsing import Head as Head, Node as Node, head as head, parse as parse, write as write
    from llmtest.trees.rendering import render as render
else:
    __getattr__, __dir__ = exports(__name__)
