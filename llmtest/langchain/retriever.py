"""`ScriptedRetriever`."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, SkipValidation

from llmtest.core.source import caller
from llmtest.events.words import EMPTY
from llmtest.langchain.batches import BatchesByPosition
from llmtest.langchain.caller import RunManager
from llmtest.langchain.served import Double, script_of, step_from
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Return, ScriptOwner


class ScriptedRetriever(BatchesByPosition, Double, BaseRetriever):
    """A retriever with scripted results: one step answers one query.

    A step is a list of documents, a single document, a str (a document with this text), an exception, or a step of `give`,
    `fail`, `respond` or `on(...) >> ...`. Keys and `expects` match the query. The function of `respond` gets it as
    `request.text`, and the other arguments of the call as `request.params`. Each call gets fresh documents.

    `k` limits the number of documents of one call, as with real retrievers: here, or in `invoke(query, k=3)`. `name` is
    its name in callbacks. Thread-safe.

    Raises:
        ScriptError: a step is not a step of a retriever, or a field does not exist.
        ViolationError: when it is called and no step is left, the query is not as the step expects, or no str.

    >>> from llmtest import ScriptedRetriever, on
    >>> retriever = ScriptedRetriever(on(contains="cat") >> ["Cats purr.", "Cats sleep."], "Nothing is known of that.")
    >>> [document.page_content for document in retriever.invoke("what do cats do?")]
    ['Cats purr.', 'Cats sleep.']
    >>> [document.page_content for document in retriever.invoke("what do dogs do?")]
    ['Nothing is known of that.']

    It does not search: the order and the number of documents are the script's.
    """

    script: SkipValidation[Script] = Field(exclude=True, repr=False)
    k: int | None = Field(default=None, ge=1)

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        where = caller()
        # First of all, because errors about the script name the retriever, and pydantic sets the name here.
        super().__init__(**{"script": None, **fields})
        own = script_of(type(self), tuple(step_from(step, where) for step in steps), script, fields)
        self._adopt(own, ScriptOwner(f"`{self.name}`" if self.name else "retriever", "query"))

    def __repr__(self) -> str:
        return f"ScriptedRetriever(name={self.get_name()!r})"

    __str__ = __repr__

    def _misfit(self, value: object) -> str:
        items = value if isinstance(value, list | tuple) else [value]
        wrong = [item for item in items if not isinstance(item, str | Document)]
        return f"a retriever finds documents or str, not {type(wrong[0]).__name__} {wrong[0]!r}" if wrong else ""

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> list[Document]:
        value = super()._reply_of(step, request)
        items = value if isinstance(value, list | tuple) else [value]
        found = [Document(page_content=item) if isinstance(item, str) else item for item in items]
        return found[: request.params["k"]]

    def _request(self, query: object, run_manager: RunManager, params: dict[str, object]) -> Request:
        # LangChain passes on whatever the program gives `invoke`.
        if not isinstance(query, str):
            who = self.script.owner.the
            text = f"{who} takes a query, a str; got {type(query).__name__} {query!r}\n  find out what the program asks it with"
            raise self.script._violate("invalid query", text)
        return self._call(lambda: query, run_manager, {"k": self.k, **params}, EMPTY)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = self._serve(self._request(query, run_manager, kwargs))
        return found

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = await self._aserve(self._request(query, run_manager, kwargs))
        return found
