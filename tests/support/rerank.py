"""A kind of run that LangChain might add, in a process of its own, because every table is derived when it is imported.

`ROWS` is what the table of callbacks would gain, `add_to_the_tap` what the tap would. The rest plays LangChain: a manager
that fires the callbacks, as `CallbackManager.on_retriever_start` does. Run by tests/test_new_callback.py.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

ROWS = """\
    Callback("on_rerank_start", "start", ("reranker",), None, ("serialized", "query"), "query"),
    Callback("on_rerank_score", "note", ("reranker",), None, ("score",)),
    Callback("on_rerank_end", "end", ("reranker",), None, ("documents",), "documents"),
    Callback("on_rerank_error", "error", ("reranker",), None, ("error",)),
"""


def add_to_the_table() -> None:
    """Import `llmtest.events.callbacks` with the new rows, before anything is derived from it."""
    spec = importlib.util.find_spec("llmtest.events.callbacks")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text("utf-8")
    source = source.replace('"retriever"]', '"retriever", "reranker"]', 1).replace(
        "\n)\n\nCALLBACKS", f"\n{ROWS})\n\nCALLBACKS", 1
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    exec(compile(source, spec.origin, "exec"), module.__dict__)


def add_to_the_tap() -> None:
    """Give the one tap of the process the new methods."""
    from llmtest.langchain.freezing import hold
    from llmtest.langchain.tap import TAP, Tap

    class Rerankers(Tap):
        def on_rerank_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
            self.record_start("on_rerank_start", serialized, lambda: {"query": query}, kwargs)

        def on_rerank_score(self, score: float, **kwargs: Any) -> None:
            self.record_event("on_rerank_score", lambda: {"score": score}, kwargs)

        def on_rerank_end(self, documents: Any, **kwargs: Any) -> None:
            self.record_event("on_rerank_end", lambda: {"documents": hold(documents)}, kwargs)

    TAP.__class__ = Rerankers


def rerank(query: str, documents: list[Any], *, ends: bool = True) -> None:
    """What LangChain would fire for a reranker that is called at the top."""
    from langchain_core.callbacks import CallbackManager
    from langchain_core.callbacks.manager import handle_event

    handlers, run = CallbackManager.configure().handlers, {"run_id": uuid4(), "parent_run_id": None}
    handle_event(handlers, "on_rerank_start", None, {"name": "by length"}, query, tags=[], metadata={}, **run)
    handle_event(handlers, "on_rerank_score", None, 0.5, **run)
    if ends:
        handle_event(handlers, "on_rerank_end", None, documents, **run)


def main() -> None:
    os.environ["LLMTEST_STORE"] = str(Path(tempfile.mkdtemp()) / "traces.sqlite")
    from langchain_core.documents import Document

    from llmtest import load_traces, tracing_enabled
    from llmtest.matching import before, event, never
    from llmtest.protocol import check
    from llmtest.trees.parsing import parse
    from llmtest.trees.rendering import render

    with tracing_enabled("rerank") as session:
        add_to_the_tap()
        rerank("cats", [Document("a cat")])
        rerank("dogs", [], ends=False)
    recording = session.recording
    print(recording.kinds)
    print(recording, end="")
    print(recording.obeys(before(event("on_rerank_score", score=0.5), event("on_rerank_end")), never(event("on_rerank_error"))))
    print(recording.runs == ["by length", "by length"], recording.kinds == [event("on_rerank_start"), ...])
    print([(run.kind, run.input, run.output, run.ended) for run in recording.roots])
    print(*[found.text for found in check(recording)], sep="\n")
    print([str(trace) for trace in load_traces("rerank")] == [render(root) for root in recording.roots])
    print([node.text for node in parse(str(recording))])


if __name__ == "__main__":
    add_to_the_table()
    main()
