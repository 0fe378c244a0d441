"""`check_chat_model`, `check_llm`, `check_tool`, `check_retriever`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmtest.conformance.checking import violations_of
from llmtest.conformance.faults import Fault, in_words
from llmtest.conformance.sandbox import Make, new
from llmtest.conformance.subjects import CHAT_MODEL, RETRIEVER, TEXT_MODEL, TOOL, Subject, unbound
from llmtest.core.text import clip
from llmtest.errors import ViolationError

# -- models, tools and retrievers


def check_chat_model(make: Make, *, inputs: Sequence[object] = (), failing: Make | None = None, timeout_s: float = 10.0) -> None:
    """Raise `ViolationError` unless a chat model does what LangChain and its users count on.

    `make` makes a model that answers the same question in the same way as often as it is asked: a scripted one, one with
    canned answers behind it, or a real one with a seed; or such a model with tools bound. Small programs call `invoke`,
    `ainvoke`, `stream`, `astream`, `batch` and `abatch`, eight calls at once in threads and in tasks, and calls that are
    cancelled or closed early. A `Violation` has one of these rules, or that of a broken rule of `llmtest.protocol.run_checks`:

    - `"raises"`, `"wrong type"`, `"does not end"`, `"blocks the event loop"`: a call cannot be made;
    - `"unsteady"`: two calls with one input differ, so that nothing can be compared;
    - `"sync and async differ"`, `"stream and answer differ"`: text, reasoning, tool calls, usage, reason, events or chunks;
    - `"tokens and chunks differ"`, `"callbacks and answer differ"`, `"missing run"`: what handlers hear is not what happens;
    - `"stream without a reason"`: streaming loses the finish reason that the whole answer gives;
    - `"returned twice"`, `"id used twice"`, `"ids in a stream"`, `"changes its input"`, `"answers mixed up"`: what calls share;
    - `"ignores cancellation"`, `"leaves work behind"`: what a call that is given up does;
    - `"swallows errors"`: what a handler raises is lost; or what fails, if `failing` makes a model whose calls do;
    - `"errors differ"`: those are of another class in async code.

    `inputs` are what the model is asked; three texts by default. Answers that were mixed up are seen only if they differ.
    No open recording or ledger sees the programs, and they run in an empty context. What `make` raises goes on.

    Raises:
        ViolationError: for all that is wrong; `.violations` has one for each.
        TypeError: `make` or `failing` is a model, or cannot be called; `inputs` is no list.

    >>> from langchain_core.language_models import FakeMessagesListChatModel
    >>> from langchain_core.messages import AIMessage
    >>> pass
    >>> try:
    ...     check_chat_model(lambda: FakeMessagesListChatModel(responses=[AIMessage("Hello")]))
    ... except AssertionError as error:
    ...     print(str(error).splitlines()[0])
    `FakeMessagesListChatModel.invoke` returns the same object again

    It does not know what a good answer is, and cannot see a race that does not happen while it looks. It asks up to a
    hundred times. A program that has not ended after `timeout_s` is left behind in a daemon thread, and the check ends.
    """
    __tracebackhide__ = True
    _check("check_chat_model", CHAT_MODEL, make, inputs, failing, timeout_s)


def check_llm(make: Make, *, inputs: Sequence[object] = (), failing: Make | None = None, timeout_s: float = 10.0) -> None:
    """Raise `ViolationError` unless a text model does what LangChain and its users count on.

    As `check_chat_model`, for classes derived from `LLM` or `BaseLLM`. LangChain does not tell the tokens of a text model:
    its `_stream` has to, with `run_manager.on_llm_new_token(token, chunk=chunk)`.

    Raises:
        ViolationError: for all that is wrong; `.violations` has one for each.
        TypeError: `make` or `failing` is a model, or cannot be called; `inputs` is no list.

    >>> from langchain_core.language_models import FakeListLLM
    >>> pass
    >>> check_llm(lambda: FakeListLLM(responses=["Hello"]))

    A text model answers with a str: usage is not compared, and the reason only as far as a stream must give one.
    """
    __tracebackhide__ = True
    _check("check_llm", TEXT_MODEL, make, inputs, failing, timeout_s)


def check_tool(make: Make, *, inputs: Sequence[object] = (), failing: Make | None = None, timeout_s: float = 10.0) -> None:
    """Raise `ViolationError` unless a tool does what LangChain and its users count on.

    As `check_chat_model`. `inputs` are arguments, such as `[{"city": "Paris"}]`: a tool that needs none may leave it out.
    Each result is compared as a value. Where sync calls raise NotImplementedError, only async calls are looked at.

    Raises:
        ViolationError: for all that is wrong; `.violations` has one for each.
        TypeError: `make` or `failing` is a tool, or cannot be called; `inputs` is no list, or the tool needs some.

    >>> from langchain_core.tools import tool
    >>> pass
    >>> @tool
    ... def weather(city: str) -> str:
    ...     '''The weather in a city.'''
    ...     return f"18C in {city}"
    >>> check_tool(lambda: weather, inputs=[{"city": "Paris"}, {"city": "Rome"}])

    It runs the tool up to a hundred times: a tool that books something needs a double behind it.
    """
    __tracebackhide__ = True
    _check("check_tool", TOOL, make, inputs, failing, timeout_s)


def check_retriever(make: Make, *, inputs: Sequence[object] = (), failing: Make | None = None, timeout_s: float = 10.0) -> None:
    """Raise `ViolationError` unless a retriever does what LangChain and its users count on.

    As `check_chat_model`; `inputs` are queries. What is found is compared by content, metadata and id. The list must be a new
    one each time; the documents in it need not be.

    Raises:
        ViolationError: for all that is wrong; `.violations` has one for each.
        TypeError: `make` or `failing` is a retriever, or cannot be called; `inputs` is no list.

    >>> pass
    >>> from llmtest import ScriptedRetriever, give
    >>> check_retriever(lambda: ScriptedRetriever(give("Cats purr.").repeat()))

    It does not judge what is found.
    """
    __tracebackhide__ = True
    _check("check_retriever", RETRIEVER, make, inputs, failing, timeout_s)


def _check(check: str, subject: Subject, make: Make, inputs: Sequence[object], failing: Make | None, timeout_s: float) -> None:
    __tracebackhide__ = True
    for function in (make, failing) if failing is not None else (make,):
        if not callable(function) or isinstance(function, subject.base):
            what = f"a class or a function that makes {subject.noun}s"
            raise TypeError(f"{check}() takes {what}; got {type(function).__name__} {clip(repr(function), 80)}")
    if isinstance(inputs, str | Mapping) or not isinstance(inputs, Sequence):
        raise TypeError(f"{check}() takes a list of `inputs`; got {clip(repr(inputs), 80)}")
    if not isinstance(unbound(it := new(make)), subject.base):
        raise ViolationError(in_words(_other(subject, it)))
    found = violations_of(subject, make, inputs or _inputs(check, subject, it), failing, timeout_s)
    if found:
        raise ViolationError(*found)


def _other(subject: Subject, it: object) -> Fault:
    text = f"`{type(it).__name__}` is no {subject.noun}"
    hint = f"derive it from {subject.base.__module__.removesuffix('.base')}.{subject.base.__name__}"
    return Fault(f"no {subject.noun}", "class", text, hint=hint)


def _inputs(check: str, subject: Subject, it: object) -> Sequence[object]:
    """Return the default inputs. A tool may need arguments."""
    if subject is not TOOL:
        return subject.inputs
    needed = unbound(it).tool_call_schema.model_json_schema().get("required", ())
    if needed:
        example = f"[{{{', '.join(f'{name!r}: ...' for name in needed)}}}]"
        raise TypeError(f"{check}() needs arguments for `{unbound(it).name}`: inputs={example}")
    return ({},)
