"""The frozen words of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.events.callbacks import RunKind as RunKind
    from llmtest.events.events import Event as Event, Latency as Latency, Run as Run, UnseenCall as UnseenCall
    from llmtest.events.words import (
        EMPTY as EMPTY,
        Document as Document,
        Ended as Ended,
        Failure as Failure,
        FrozenDict as FrozenDict,
        FrozenList as FrozenList,
        Generation as Generation,
        Message as Message,
        Opaque as Opaque,
        Structured as Structured,
        ToolCall as ToolCall,
        Usage as Usage,
    )
else:
    __getattr__, __dir__ = exports(__name__)
