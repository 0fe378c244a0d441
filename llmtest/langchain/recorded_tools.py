"""`recorded_tools`: LangChain's tools answer from a recording, and their bodies do not run.

All but the body is the real tool's: callbacks, validation, `response_format`, `handle_tool_error`, the tool message. While a
block is open, `BaseTool.run` and `arun` are patched, and those of subclasses that have their own. They run with a copy of the
tool whose `_run` and `_arun` return the recorded answer.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langchain_core.utils.pydantic import get_fields

from llmtest import ledger
from llmtest.core.patches import FamilyPatch, subclasses
from llmtest.errors import LEFT_OPEN, USE_WITH, Violation, ViolationError
from llmtest.events.words import FrozenDict
from llmtest.langchain.caller import run_around
from llmtest.langchain.freezing import freeze
from llmtest.langchain.tool import ScriptedTool
from llmtest.scripts.tool_answers import DOCUMENT, ToolAnswer, ToolFailure, as_json
from llmtest.scripts.tool_replay import RecordedAnswers, Taken


class RecordedTools(RecordedAnswers):
    """The block of `recorded_tools`."""

    def __enter__(self) -> RecordedTools:
        with _lock:
            if not _open:
                _patches.append(FamilyPatch(BaseTool, _wraps))
            _open.append(self)
        ledger.keep_block(self)
        return self

    def __exit__(self, *_: object) -> None:
        ledger.drop_block(self)
        with _lock:
            _open.remove(self)
            if not _open:
                _patches.pop().undo()

    def end_of_test(self) -> list[Violation]:
        """Leave the block if the test that entered it has not. It would answer for the tools of the tests that follow."""
        if self not in _open:
            return []
        self.__exit__()
        return [Violation(LEFT_OPEN, f"a recorded_tools() block was left open by the test\n  {USE_WITH}")]


def recorded_tools(
    answers: Mapping[str, Sequence[ToolAnswer]], names: str | Sequence[str] = ("*",), *, is_growing: bool = False
) -> RecordedTools:
    """Return a block in which LangChain's tools answer as they did in a recording. Their bodies do not run.

    `answers` is what `tool_answers` returns. `names` are the tools that answer so, `*` in a name stands for any text; all other
    tools are the real ones. The n-th call with some arguments gets the n-th answer that was recorded for them; arguments that
    the program injects (state, store, runtime, the id of the call) do not count. With `is_growing`, a call without an answer runs
    the tool: its answer is recorded.

    Callbacks, validation, `response_format`, `handle_tool_error` and the tool message are those of the real tool, so that the
    run tree is that of the recording. A recorded failure raises an exception with the same class name and text: of the built-in
    class, of `ToolException`, or of the one loaded class with this name; else of a class that is made for it.

    A scripted tool keeps its script. A block may stand in another one: the inner one has precedence.

    Raises:
        ScriptError: a name fits no recorded tool.
        ViolationError: in the program, when it calls a recorded tool with arguments that were not recorded, or once more than
            recorded, or when the answer cannot be repeated (a `Command`). At the end of the test: an answer was never used.

    >>> from langchain_core.tools import tool
    >>> from llmtest.events.words import FrozenDict
    >>> @tool
    ... def refund(order: str) -> str:
    ...     "Refund an order."
    ...     raise RuntimeError("real money")
    >>> with recorded_tools({"refund": [ToolAnswer(FrozenDict(order="A-7"), gives="refunded A-7")]}):
    ...     refund.invoke({"order": "A-7"})
    'refunded A-7'

    It holds for the whole process, threads included, and for tools that were built before. A tool whose body makes runs of its
    own, such as an agent, is repeated without them. A call past the tool, such as `refund.func(...)`, runs the function.
    """
    return RecordedTools(answers, names, is_growing=is_growing)


# -- the seam in LangChain

_open: Final[list[RecordedTools]] = []
_patches: Final[list[FamilyPatch]] = []
_lock = threading.RLock()
_MARK: Final = "_llmtest_answers"
"""The entry of a stand-in that tells it from the program's tools."""


def _wraps(kind: Any) -> dict[str, Callable[[Any], Any]]:
    is_base = kind is BaseTool
    return {"run": functools.partial(_answered, is_base), "arun": functools.partial(_aanswered, is_base)}


def _answered(is_base: bool, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        call = _call_of(self, args, kwargs, is_base)
        if call is None:
            return original(self, *args, **kwargs)
        try:
            return original(call.stand_in(), *args, **kwargs)
        finally:
            call.end()

    return run


def _aanswered(is_base: bool, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        call = _call_of(self, args, kwargs, is_base)
        if call is None:
            return await original(self, *args, **kwargs)
        try:
            return await original(call.stand_in(), *args, **kwargs)
        finally:
            call.end()

    return arun


def _call_of(tool: BaseTool, args: Sequence[Any], kwargs: Mapping[str, Any], is_base: bool) -> _Call | None:
    """Return the call of a recorded tool that begins here; None for a tool that answers itself, and for a stand-in.

    `is_base` is true for LangChain's own `run`. That of a subclass may change the arguments before it calls LangChain's, which
    reports them, so there the answer is taken.
    """
    given = args[0] if args else kwargs.get("tool_input")
    name, begun = str(kwargs.get("run_name") or tool.name), tool.__dict__.get(_MARK)
    if begun is not None:
        begun.take(name, given, kwargs.get("tool_call_id"))
        return None
    # By the name of the tool too: a run with another name must not run the body of a tool that should be recorded.
    block = next((block for block in reversed(_open) if block.covers(name) or block.covers(tool.name)), None)
    if block is None:
        return None
    if isinstance(tool, ScriptedTool):
        block.leave_to_double(name)
        return None
    call = _Call(block, tool, name, given)
    if is_base:
        call.take(name, given, kwargs.get("tool_call_id"))
    return call


class _Call:
    """One call of a recorded tool. The answer is taken before the arguments are validated, as the recording has them."""

    def __init__(self, block: RecordedTools, tool: BaseTool, name: str, given: Any) -> None:
        self._block = block
        self._tool = tool
        self._name = name
        self._given = given
        self._tool_call_id: str | None = None
        self._taken: Taken | None = None
        self._error: ViolationError | None = None
        self._is_new = False

    def take(self, name: str, given: Any, tool_call_id: str | None) -> None:
        self._name, self._tool_call_id = name, tool_call_id
        args = FrozenDict(as_json(freeze(given), or_text=True)) if isinstance(given, Mapping) else str(given)
        try:
            self._taken = self._block.take(name, args, functools.partial(_injected, self._tool))
            self._is_new = self._taken is None
        except ViolationError as error:
            self._error = error  # it is raised within the run, where a body would fail

    def end(self) -> None:
        if self._taken is not None:
            self._taken.is_open = False

    def stand_in(self) -> BaseTool:
        """Return a copy of the tool that answers in place of its body."""
        tool, runs_body = self._tool, self._runs_body
        # A campaign may put a fault in place of the answer.
        around = tool.__dict__.get(INJECTING)
        answer = self._answer if around is None else functools.partial(around, self._answer)
        _injected(tool, ())  # LangChain reads it from the real `_run`, and keeps it in the tool

        @functools.wraps(tool._run)  # LangChain reads the signature, to see what `_run` wants of it
        def _run(*args: Any, **kwargs: Any) -> Any:
            return tool._run(*args, **kwargs) if runs_body() else answer()

        @functools.wraps(tool._arun)
        async def _arun(*args: Any, **kwargs: Any) -> Any:
            return await tool._arun(*args, **kwargs) if runs_body() else answer()

        copied = copy.copy(tool)
        copied.__dict__.update({"_run": _run, "_arun": _arun, _MARK: self})
        return copied

    def _runs_body(self) -> bool:
        if self._taken is None and self._error is None and not self._is_new:
            self.take(self._name, self._given, None)  # a `run` of a subclass that reports nothing to LangChain
        return self._is_new

    def _answer(self) -> Any:
        if self._error is not None:
            raise self._error
        assert self._taken is not None
        self._taken.run_id = run_around()
        answer = self._taken.answer
        if answer.failure is not None:
            if answer.failure.type == "ValidationError":
                # pydantic lets nobody make or inherit it, and LangGraph takes it for a mistake of the model.
                raise self._block.no_answer(
                    self._name, answer, "failed with a ValidationError of pydantic, which cannot be made again"
                )
            raise exception_of(answer.failure)
        content, artifact = _object_of(answer.gives), _object_of(answer.artifact)
        with_artifact = self._tool.response_format == "content_and_artifact"
        is_plain = not answer.message and (with_artifact or artifact is None)
        if not is_plain and (self._tool_call_id is not None or "tool_call_id" in answer.message):
            content, artifact = self._message(content, artifact, answer), None
        return (content, artifact) if with_artifact else content

    def _message(self, content: Any, artifact: Any, answer: ToolAnswer) -> ToolMessage:
        text = content if isinstance(content, str | list) else json.dumps(content, ensure_ascii=False)
        fields = {"name": self._tool.name, **_object_of(answer.message)}
        if self._tool_call_id is not None:
            fields["tool_call_id"] = self._tool_call_id
        return ToolMessage(content=text, artifact=artifact, **fields)


def _injected(tool: BaseTool, names: Iterable[str]) -> set[str]:
    """Return those of `names` that are arguments which the program injects."""
    given = dict.fromkeys(names)
    hidden = {"run_manager", "callbacks"}
    if tool.args_schema is not None and not isinstance(tool.args_schema, dict):
        visible: Any = tool.tool_call_schema
        hidden |= set(get_fields(tool.args_schema)) - set(get_fields(visible))
    # It knows those of the signature too. Early versions of langchain-core 1 lack it, and report what is injected as arguments.
    filtered = getattr(tool, "_filter_injected_args", dict)(given)
    return {name for name in given if name in hidden or name not in filtered}


# -- answers as objects


def _object_of(value: Any) -> Any:
    """Return recorded JSON as what the tool returned: plain dicts and lists, which the program may change, and documents."""
    if isinstance(value, Mapping):
        if value.keys() == {DOCUMENT}:
            return Document(**_object_of(value[DOCUMENT]))
        return {key: _object_of(item) for key, item in value.items()}
    return [_object_of(item) for item in value] if isinstance(value, list | tuple) else value


INJECTING: Final = "_llmtest_injecting"
"""The entry of a tool that a campaign stands in for: it runs a body, or a fault in its place."""
OURS: Final = "_llmtest_made"
"""The attribute of a class that is made for a recorded failure: it is none of the program's."""


def exception_of(failure: ToolFailure) -> BaseException:
    """Return an exception with the class name and the text of a recorded one.

    Its class is the built-in one, `ToolException`, or the one loaded class with this name. If there is none, or several, it is
    a class that is made for it, a subclass of `Exception`.

    >>> exception_of(ToolFailure("KeyError", "'x'"))
    KeyError('x')
    """
    known = _class_named(failure.type)
    made = _made(known, failure) if known is not None else None
    return made if made is not None else _silent(Exception, failure)


def _class_named(name: str) -> type[BaseException] | None:
    known = ToolException if name == ToolException.__name__ else getattr(builtins, name, None)
    if known is not None:
        return known if isinstance(known, type) and issubclass(known, Exception) else None
    found = {kind for kind in subclasses(Exception) if kind.__name__ == name and OURS not in kind.__dict__}
    return found.pop() if len(found) == 1 else None


def _made(kind: type[BaseException], failure: ToolFailure) -> BaseException | None:
    """Return an exception of this class that says the same; None if none can be made."""
    text = failure.message
    ways: list[Callable[[], BaseException]] = [
        lambda: kind(*([text] if text else [])),
        lambda: kind(ast.literal_eval(text)),  # a KeyError shows the repr of its key
        lambda: kind(*ast.literal_eval(text)),  # an exception of several arguments shows them as a tuple
        lambda: _silent(kind, failure),
    ]
    for way in ways:
        try:
            error = way()
            if str(error) == text and failure.repr in ("", repr(error)):
                return error
        except Exception:  # the class wants other arguments
            continue
    return None


def _silent(kind: type[BaseException], failure: ToolFailure) -> BaseException:
    """Return an exception of a subclass that has only its text. Its `__init__`, which wants more, has not run."""
    about: dict[str, Any] = {"__str__": lambda self: failure.message, "__module__": kind.__module__, OURS: True}
    if failure.repr:
        about["__repr__"] = lambda self: failure.repr
    ours: type[BaseException] = type(failure.type, (kind,), about)
    return ours.__new__(ours, failure.message)
