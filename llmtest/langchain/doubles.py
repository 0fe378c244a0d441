"""Scripted retrievers, tools and embeddings: what stands around a model, as a test wrote it down.

Retrievers and tools are LangChain's own classes, so their callbacks, configuration and errors are LangChain's; what they
give back comes from a `Script`, served as the models' is. They answer on the caller's own thread, also in async code.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Final, NamedTuple, NoReturn

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    AsyncCallbackManagerForToolRun,
    CallbackManagerForRetrieverRun,
    CallbackManagerForToolRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langchain_core.utils.pydantic import get_fields, is_basemodel_subclass
from pydantic import BaseModel, Field, PydanticUserError, SkipValidation, create_model

from llmtest import lanes, ledger
from llmtest.core.masks import show_text
from llmtest.core.source import caller, shown_path
from llmtest.core.text import amount, capped, did_you_mean
from llmtest.errors import ScriptError, Violation, ViolationError
from llmtest.events import EMPTY, Message
from llmtest.gates import Gate
from llmtest.langchain.asking import about, weakly
from llmtest.langchain.models import _exception, _script_of, _Served
from llmtest.requests import KeyedSteps, Request
from llmtest.script import Script
from llmtest.steps import Fail, Reply, Respond, Return, ScriptOwner, Step, Text, as_texts
from llmtest.vocabulary import as_step, give

# -- what retrievers and tools share


def _given(step: Any, where: str) -> Any:
    """What may stand for a step of a double, beside what may for one of a model: a bare value."""
    if isinstance(step, KeyedSteps):
        return replace(step, steps=tuple(_given(one, step.where) for one in step.steps))
    fails = isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException))
    return step if fails or isinstance(step, Reply | Fail | Respond | Return | Gate) else replace(give(step), where=where)


class _Double(_Served):
    """A mouth for a script of values."""

    def _take(self, script: Script, owner: ScriptOwner) -> None:
        """Makes `script`, which has just been given, speak for this double.

        Raises:
            ScriptError: a step is not one for it, or a key can match no call of it.
        """
        self.script, script.owner = script, owner
        try:
            for entry in script.entries:
                key = entry.key if isinstance(entry, KeyedSteps) else None
                if key is not None and (key.tools is not None or key.tool_result is not None or key.last is not None):
                    hint = "it has no messages and no tools; contains=, node=, tag=, metadata= and thread= fit"
                    raise ScriptError(f"{key} matches no call of {owner.the}: {hint}")
            for number, step in enumerate(script.steps, 1):
                self._check(step, f"step {number} of {owner.the}")
        except ScriptError:
            script.adopted()
            raise

    def _check(self, step: Step, what: str) -> Step:
        """`step`, if a double can keep it."""
        expects, problem = step.serving.expects, ""
        if not step.serving.checked:
            problem = "unchecked() is about the answers of a model"
        elif expects is not None and (expects.tools is not None or expects.last is not None):
            problem = "here expects() takes contains= and forbids= only: there are no messages and no tools"
        elif isinstance(step, Reply) and not _is_text(step):
            problem = "only a model can say that; give it plain text, or give(...)"
        elif isinstance(step, Reply | Return):
            problem = self._misfit(step.text if isinstance(step, Reply) else step.value)
        if problem:
            raise ScriptError(f"{what} is {step} at {shown_path(step.where)}, but {problem}")
        return step

    def _known_as(self) -> str:
        name: str = self.script.owner.name
        return name

    @abstractmethod
    def _misfit(self, value: Any) -> str:
        """What is wrong with a value that is to be given; empty if nothing."""

    def _as_step(self, given: Any, what: str, where: str) -> Step:
        return self._check(as_step(_given(given, where), what, where), what)

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Any:
        """A fresh copy of the value that a step gives."""
        self._takes(step.latency, request)
        if isinstance(step, Fail):
            raise _exception(step)
        return step.text if isinstance(step, Reply) else copy.deepcopy(step.value)

    def _call(self, read: Callable[[], str], run_manager: Any, params: Mapping[str, Any], args: Mapping[str, Any]) -> Request:
        run = weakly(run_manager)
        role = self.script.owner.input
        messages = lambda: [Message(role, read())]  # noqa: E731
        return Request(EMPTY, messages, None, None, params, lambda: about(run()), run, lanes.current(), args)


def _is_text(step: Reply) -> bool:
    return all(isinstance(part, Text) for part in step.parts) and step.failure is None and not step.truncated


# -- retrievers


class ScriptedRetriever(_Double, BaseRetriever):
    """A retriever that finds what a test wrote down: one step answers one query.

    A step is a list of documents, a single document, a str (a document with this text), an exception, or what `give`,
    `fail`, `respond` and `on(...) >> ...` return. A key and `expects` look at the query, and the function of `respond`
    gets it as `request.text`, and what else the call was given as `request.params`. Each call gets fresh documents.

    `k` is the most documents that one call finds, as with real retrievers: here, or in `invoke(query, k=3)`. `name` is
    what callbacks call it. Thread-safe.

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

    script: SkipValidation[Any] = Field(exclude=True, repr=False)
    k: int | None = Field(default=None, ge=1)

    def __init__(self, *steps: Any, script: Script | None = None, **fields: Any) -> None:
        where = caller()
        super().__init__(**{"script": None, **fields})
        given = _script_of(type(self), tuple(_given(step, where) for step in steps), script, fields)
        self._take(given, ScriptOwner(f"`{self.name}`" if self.name else "retriever", "query"))

    def __repr__(self) -> str:
        return f"ScriptedRetriever(name={self.get_name()!r})"

    __str__ = __repr__

    def _misfit(self, value: Any) -> str:
        items = value if isinstance(value, list | tuple) else [value]
        wrong = [item for item in items if not isinstance(item, str | Document)]
        return f"a retriever finds documents or str, not {type(wrong[0]).__name__} {wrong[0]!r}" if wrong else ""

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> list[Document]:
        value = super()._reply_of(step, request)
        items = value if isinstance(value, list | tuple) else [value]
        found = [Document(page_content=item) if isinstance(item, str) else item for item in items]
        return found[: request.params["k"]]

    def _asked(self, query: Any, run_manager: Any, params: dict[str, Any]) -> Request:
        if not isinstance(query, str):
            who = self.script.owner.the
            text = f"{who} takes a query, a str; got {type(query).__name__} {query!r}\n  find out what the program asks it with"
            raise self.script._violate("invalid query", text)
        return self._call(lambda: query, run_manager, {"k": self.k, **params}, EMPTY)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = self._serve(self._asked(query, run_manager, kwargs))
        return found

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = await self._aserve(self._asked(query, run_manager, kwargs))
        return found


# -- tools


class ScriptedTool(_Double, StructuredTool):
    """A tool that returns what a test wrote down; `scripted_tool` makes it."""

    script: SkipValidation[Any] = Field(exclude=True, repr=False)

    def __repr__(self) -> str:
        return f"scripted_tool({self.name!r})"

    __str__ = __repr__

    def _misfit(self, value: Any) -> str:
        if self.response_format == "content_and_artifact" and not (isinstance(value, tuple) and len(value) == 2):
            return "a tool with response_format='content_and_artifact' returns a tuple (content, artifact)"
        return ""

    def _asked(self, positional: tuple[Any, ...], named: dict[str, Any], run_manager: Any) -> Request:
        schema = self.tool_call_schema
        names = list(named if isinstance(schema, dict) else get_fields(schema))
        args = {**dict(zip(names, positional, strict=False)), **named}
        read = lambda: json.dumps({n: args[n] for n in names if n in args}, ensure_ascii=False, default=_as_json)  # noqa: E731
        return self._call(read, run_manager, EMPTY, args)

    def _run(self, *args: Any, run_manager: CallbackManagerForToolRun | None = None, **kwargs: Any) -> Any:
        if self.func is None:  # LangChain's own words for a tool that is async only
            return super()._run(*args, run_manager=run_manager, **{"config": {}, **kwargs})
        return self._serve(self._asked(args, kwargs, run_manager))

    async def _arun(self, *args: Any, run_manager: AsyncCallbackManagerForToolRun | None = None, **kwargs: Any) -> Any:
        return await self._aserve(self._asked(args, kwargs, run_manager))

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """As `invoke`, on the event loop. A tool without a coroutine of its own would go to a thread."""
        return await BaseTool.ainvoke(self, input, config, **kwargs)


def _as_json(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def scripted_tool(
    tool: str | Callable[..., Any] | BaseTool,
    /,
    *results: Any,
    args: Mapping[str, Any] | type[BaseModel] | None = None,
    script: Script | None = None,
    **fields: Any,
) -> ScriptedTool:
    """A tool that returns what a test wrote down: a real `StructuredTool`, whose calls take one step each.

    `tool` is a typed function with a docstring, whose body is never run; or a tool, to stand in for it; or a name, with
    `args`: the types of the arguments by name (`{"q": str, "limit": (int, 5)}` gives one a default) or a pydantic model.

    A result is any value that a tool may return, an exception, or what `give`, `fail`, `respond` and `on(...) >> ...`
    return. `respond` gets the validated arguments as `request.args`; keys and `expects` look at their JSON. Each call
    gets a fresh copy. `fields` are those of LangChain's tool: `description`, `response_format`, `return_direct`, ...
    The stand-in of an async function or tool is async only, as that is. Thread-safe.

    Raises:
        ScriptError: `tool` or `args` are something else, a field does not exist, or the function has no docstring.
        ViolationError: when it is called and no step is left, or its arguments are not as the step expects.

    >>> from llmtest import fail, scripted_tool
    >>> def search(q: str, limit: int = 5) -> str:
    ...     "Search the web."
    ...     raise RuntimeError("no network in tests")
    >>> tool = scripted_tool(search, fail(TimeoutError("too slow")), "18C")
    >>> try:
    ...     tool.invoke({"q": "weather in Paris"})
    ... except TimeoutError:
    ...     tool.invoke({"q": "weather in Paris", "limit": 3})
    '18C'

    It does not check results against the function's return type.
    """
    where = caller()
    made = ScriptedTool(**{**_like(tool, args, fields), **fields, "script": None})
    given = _script_of(ScriptedTool, tuple(_given(result, where) for result in results), script, fields)
    made._take(given, ScriptOwner(f"`{made.name}`", "input"))
    return made


def _like(tool: Any, args: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the tool that is to be stood in for."""
    schema = _schema(tool, args)
    if isinstance(tool, BaseTool):
        return {**_of_tool(tool), **({} if schema is None else {"args_schema": schema})}
    if isinstance(tool, str):
        schema = schema or create_model(tool)
        told = schema.__doc__ if args is schema and schema.__doc__ else ""
        return {"name": tool, "description": inspect.cleandoc(told), "args_schema": schema, "func": _stand_in(tool)}
    if not inspect.isroutine(tool):
        raise ScriptError(f"scripted_tool() takes a function, a tool, or the name of one; got {type(tool).__name__} {tool!r}")
    return _of_function(tool, schema, fields)


def _of_function(function: Callable[..., Any], schema: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    name = function.__name__
    if not function.__doc__ and not fields.get("description"):
        raise ScriptError(
            f"`{name}` has no docstring, which tells a model what the tool is for; give scripted_tool() description="
        )
    kind = "coroutine" if inspect.iscoroutinefunction(function) else "func"
    make: Any = StructuredTool.from_function
    made = make(**{kind: _stand_in(name, function)}, args_schema=schema, description=fields.get("description"))
    return {field: getattr(made, field) for field in ("name", "description", "args_schema", kind)}


_COPIED: Final = (
    *("name", "description", "return_direct", "response_format", "handle_tool_error", "handle_validation_error"),
    *("tags", "metadata", "extras"),
)


def _of_tool(tool: BaseTool) -> dict[str, Any]:
    copied = {field: getattr(tool, field) for field in _COPIED if hasattr(tool, field)}
    sync, coroutine = getattr(tool, "func", None), getattr(tool, "coroutine", None)
    if sync is None and coroutine is None:  # a class of its own; its `_run` says which arguments LangGraph injects
        sync = tool._run
    functions = {"func": sync, "coroutine": coroutine}
    stand_ins = {field: _stand_in(tool.name, function) for field, function in functions.items() if function is not None}
    if tool.args_schema is None and isinstance(tool, Tool):  # it takes one str, and calls it so
        return {**copied, "args_schema": create_model(tool.name, tool_input=(str, ...)), **stand_ins}
    return {**copied, "args_schema": tool.args_schema or tool.get_input_schema(), **stand_ins}


def _stand_in(name: str, function: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function that looks like `function`, because LangGraph reads its signature, and does nothing."""

    def stand_in(*args: Any, **kwargs: Any) -> NoReturn:
        raise ScriptError(f"the function of the scripted tool `{name}` has no body; call the tool: .invoke({{...}})")

    return stand_in if function is None else functools.wraps(function)(stand_in)


def _schema(tool: Any, args: Any) -> Any:
    """The pydantic model that `args` stands for."""
    if args is None or (isinstance(args, type) and is_basemodel_subclass(args)):
        return args
    if not isinstance(args, Mapping):
        raise ScriptError(
            f"args= of scripted_tool() is a mapping of names to types, or a pydantic model; got {type(args).__name__} {args!r}"
        )
    for name, kind in args.items():
        if not isinstance(name, str) or name.startswith("_"):
            raise ScriptError(f"args= of scripted_tool() has names of arguments, as in {{'q': str}}; got {name!r}")
        if isinstance(kind, str | Mapping) or (isinstance(kind, tuple) and len(kind) != 2):
            raise ScriptError(
                f"args= of scripted_tool() has types, as in {{'q': str, 'limit': (int, 5)}}; got {kind!r} for `{name}`"
            )
    make: Any = create_model
    called = tool if isinstance(tool, str) else getattr(tool, "name", None) or getattr(tool, "__name__", "args")
    try:
        return make(called, **{name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in args.items()})
    except PydanticUserError as error:
        raise ScriptError(f"args= of scripted_tool() makes no schema: {str(error).splitlines()[0]}") from None


# -- embeddings


class Embedded(NamedTuple):
    """One call of an embedding model: its method, `"embed_query"` or `"embed_documents"`, and the texts, in order."""

    method: str
    texts: tuple[str, ...]


class ScriptedEmbeddings(Embeddings):
    """Embeddings that need no model: the same text gives the same unit vector, on every machine.

    `vectors` says which texts have which vectors, as in `{"cat": [1.0, 0.0]}`; they are returned as they are given, not
    normalized. Every other text has a vector that is computed from its characters: two of them have a cosine near 0, within
    about 1 / sqrt(`size`), by chance. `size` is the length of all vectors: 64, or the length of those given.

    `texts` are the only ones that may be embedded; another one is a violation. `calls` is what was embedded so far, one
    `(method, texts)` for each call. Thread-safe; async calls answer at once, on the event loop.

    Raises:
        ScriptError: `vectors` are no vectors of one length, or `size` is not a positive whole number or not that length.
        ViolationError: when it is given a text that is not in `texts`, or something that is no text.

    >>> from llmtest import ScriptedEmbeddings
    >>> embeddings = ScriptedEmbeddings(vectors={"cat": [1.0, 0.0], "kitten": [0.8, 0.6]})  # their cosine is 0.8
    >>> embeddings.embed_documents(["kitten", "cat"])
    [[0.8, 0.6], [1.0, 0.0]]
    >>> embeddings.calls
    [Embedded(method='embed_documents', texts=('kitten', 'cat'))]

    A recording has no trace of it: LangChain fires no callbacks for embeddings.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        vectors: Mapping[str, Iterable[float]] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        self.calls: list[Embedded] = []
        self.violations: list[Violation] = []
        self._where = caller()
        self._texts = None if texts is None else as_texts("texts", texts)
        self._vectors = _checked_vectors({} if vectors is None else vectors, self._texts)
        length = len(next(iter(self._vectors.values()))) if self._vectors else None
        self.size = (length or 64) if size is None else size
        if type(self.size) is not int or self.size < 1:
            raise ScriptError(f"size= is a whole number of 1 or more; got {type(self.size).__name__} {self.size!r}")
        if length is not None and self.size != length:
            raise ScriptError(
                f"size={self.size} is not the length of the vectors of vectors=, which is {length}; leave size= out"
            )

    def __repr__(self) -> str:
        return f"ScriptedEmbeddings(size={self.size})"

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return self._embed("embed_query", [text])[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts."""
        return self._embed("embed_documents", texts)

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return self.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts."""
        return self.embed_documents(texts)

    def verify(self) -> None:
        """Raises for every violation so far; the pytest plugin does it for you.

        Raises:
            ViolationError: with all of them.
        """
        if self.violations:
            raise ViolationError(*self.violations)

    def _embed(self, method: str, texts: Any) -> list[list[float]]:
        wrong = [texts] if isinstance(texts, str) else [text for text in texts if not isinstance(text, str)]
        if wrong:
            takes = "a str" if method == "embed_query" else "a list of str"
            text = f"{method} takes {takes}; got {type(wrong[0]).__name__} {wrong[0]!r}\n  find out what the program embeds"
            raise ledger.report(Violation("invalid text", text), self.violations)
        self.calls.append(Embedded(method, tuple(texts)))
        if self._texts is not None and not set(texts) <= set(self._texts):
            raise ledger.report(Violation("unexpected text", self._unexpected(method, texts)), self.violations)
        return [list(self._vectors.get(text) or _unit_vector(text, self.size)) for text in texts]

    def _unexpected(self, method: str, texts: Iterable[str]) -> str:
        allowed = self._texts or ()
        strange = [text for text in dict.fromkeys(texts) if text not in allowed]
        lines = [f"{method} was given {amount(len(strange), 'text')} that texts= does not have"]
        lines += [f"  got  {show_text(text, 200)}{did_you_mean(text, allowed)}" for text in strange]
        return capped(
            [*lines, f"  texts= is given at {shown_path(self._where)}; add them there, or find out why they are embedded"]
        )


def _unit_vector(text: str, size: int) -> list[float]:
    """Return a vector that depends on the text alone, bit for bit: no function in it is rounded by the machine's library."""
    noise = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(8 * size)
    vector = [int.from_bytes(noise[start : start + 8], "big") / 2**63 - 1 for start in range(0, 8 * size, 8)]
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector]


def _checked_vectors(vectors: Mapping[str, Iterable[float]], texts: Sequence[str] | None) -> dict[str, list[float]]:
    """Return `vectors=` with lists of float.

    Raises:
        ScriptError: it is no mapping of texts to vectors of one length, or names a text that is not in `texts`.
    """
    if not isinstance(vectors, Mapping):
        raise ScriptError(
            f"vectors= maps texts to vectors, as in {{'cat': [1.0, 0.0]}}; got {type(vectors).__name__} {vectors!r}"
        )
    checked: dict[str, list[float]] = {}
    for text, vector in vectors.items():
        if not isinstance(text, str):
            raise ScriptError(f"vectors= maps texts to vectors, as in {{'cat': [1.0, 0.0]}}; got the key {text!r}")
        if texts is not None and text not in texts:
            raise ScriptError(f"vectors= names {text[:200]!r}, which is not in texts={did_you_mean(text, texts)}")
        checked[text] = _checked_vector(text, vector)
        first = next(iter(checked))
        if len(checked[text]) != len(checked[first]):
            raise ScriptError(
                f"vectors= has vectors of different lengths: {len(checked[first])} for {first[:200]!r},"
                f" {len(checked[text])} for {text[:200]!r}"
            )
    return checked


def _checked_vector(text: str, vector: Any) -> list[float]:
    about = f"the vector of {text[:200]!r} in vectors="
    numbers = list(vector) if isinstance(vector, Iterable) and not isinstance(vector, str) else []
    if not numbers:
        raise ScriptError(f"{about} is a list of numbers; got {type(vector).__name__} {vector!r}")
    for index, number in enumerate(numbers):
        # numbers.Real and not float: the numbers of a float32 array of numpy are no floats
        if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
            raise ScriptError(f"{about} takes finite numbers; got {number!r} at index {index}")
    return [float(number) for number in numbers]
