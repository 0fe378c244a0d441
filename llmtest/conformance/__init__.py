"""Checks of your own handlers, models, tools and retrievers: do they behave as LangChain expects?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.conformance.components import check_chat_model, check_llm, check_retriever, check_tool
    from llmtest.conformance.handlers import check_handler

__all__ = [
    "check_chat_model",
    "check_handler",
    "check_llm",
    "check_retriever",
    "check_tool",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "components": ["check_chat_model", "check_llm", "check_retriever", "check_tool"],
        "handlers": ["check_handler"],
    },
)
