"""Checks of your own handlers, models, tools and retrievers: do they behave as LangChain expects?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.conformance.components import (
        check_chat_model as check_chat_model,
        check_llm as check_llm,
        check_retriever as check_retriever,
        check_tool as check_tool,
    )
    from llmtest.conformance.handlers import check_handler as check_handler
else:
    __getattr__, __dir__ = exports(__name__)
