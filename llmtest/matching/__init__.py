"""What must be true of a recording: selectors, shapes and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.matching.answers import Answer as Answer
    from llmtest.matching.rule import Rule as Rule
    from llmtest.matching.rule_builders import (
        after as after,
        at_least as at_least,
        at_most as at_most,
        before as before,
        between as between,
        each as each,
        exactly as exactly,
        never as never,
        only as only,
    )
    from llmtest.matching.selectors import (
        Selector as Selector,
        called as called,
        chain as chain,
        event as event,
        model as model,
        node as node,
        retriever as retriever,
        together as together,
    )
else:
    __getattr__, __dir__ = exports(__name__)
