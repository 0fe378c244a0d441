"""`scripted_tool`: LangChain's own `StructuredTool`, with results from a `Script`.

Callbacks, configuration and errors are LangChain's. It answers on the caller's own thread, also in async code.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langchain_core.utils.pydantic import get_fields, is_basemodel_subclass
from pydantic import BaseModel, Field, PydanticUserError, SkipValidation, create_model

from llmtest.core.source import caller
from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY
from llmtest.langchain.batches import BatchesByPosition
from llmtest.langchain.caller import RunManager
from llmtest.langchain.served import Double, script_of, step_from
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import ScriptOwner


class ScriptedTool(BatchesByPosition, Double, StructuredTool):
    """A tool with scripted results, made by `scripted_tool`."""

    script: SkipValidation[Script] = Field(exclude=True, repr=False)

    def __repr__(self) -> str:
        return f"scripted_tool({self.name!r})"

    # pydantic has a `__str__` of its own, which shows every field.
    __str__ = __repr__

    def _misfit(self, value: object) -> str:
        if self.response_format == "content_and_artifact" and not (isinstance(value, tuple) and len(value) == 2):
            return "a tool with response_format='content_and_artifact' returns a tuple (content, artifact)"
        return ""

    def _request(self, positional: tuple[Any, ...], named: dict[str, object], run_manager: RunManager) -> Request:
        schema = self.tool_call_schema
        names = list(named if isinstance(schema, dict) else get_fields(schema))
        args = {**dict(zip(names, positional, strict=False)), **named}
        read = lambda: json.dumps({n: args[n] for n in names if n in args}, ensure_ascii=False, default=_as_json)  # noqa: E731
        return self._call(read, run_manager, EMPTY, args)

    def _run(self, *args: Any, run_manager: CallbackManagerForToolRun | None = None, **kwargs: Any) -> object:
        if self.func is None:  # LangChain's own words for a tool that is async only
            return super()._run(*args, run_manager=run_manager, **{"config": {}, **kwargs})
        return self._serve(self._request(args, kwargs, run_manager))

    async def _arun(self, *args: Any, run_manager: AsyncCallbackManagerForToolRun | None = None, **kwargs: object) -> object:
        return await self._aserve(self._request(args, kwargs, run_manager))

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: object) -> object:
        """Do the same as `invoke`, on the event loop. A `StructuredTool` without a coroutine would use a thread."""
        return await BaseTool.ainvoke(self, input, config, **kwargs)


def _as_json(value: Any) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def scripted_tool(
    tool: str | Callable[..., Any] | BaseTool,
    /,
    *results: object,
    args: Mapping[str, object] | type[BaseModel] | None = None,
    script: Script | None = None,
    **fields: object,
) -> ScriptedTool:
    """Return a tool with scripted results: a real `StructuredTool`, whose calls take one step each.

    `tool` is a typed function with a docstring, whose body is never run; or a tool to replace; or a name, with
    `args`: the types of the arguments by name (`{"q": str, "limit": (int, 5)}`: `limit` has a default) or a pydantic model.

    A result is any value that a tool may return, an exception, or a step of `give`, `fail`, `respond` or `on(...) >> ...`.
    `respond` gets the validated arguments as `request.args`; keys and `expects` match their JSON. Each call gets a fresh
    copy. `fields` are those of LangChain's tool: `description`, `response_format`, `return_direct`, ...
    The double of an async function or tool is async only, like the original. Thread-safe.

    Raises:
        ScriptError: `tool` or `args` are of another type, a field does not exist, or the function has no docstring.
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
    double = ScriptedTool(**{**_fields_of(tool, args, fields), **fields, "script": None})
    steps = tuple(step_from(result, where) for result in results)
    double._adopt(script_of(ScriptedTool, steps, script, fields), ScriptOwner(f"`{double.name}`", "input"))
    return double


def _fields_of(tool: Any, args: object, fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of the double of `tool`."""
    schema = _schema(tool, args)
    if isinstance(tool, BaseTool):
        return {**_of_tool(tool), **({} if schema is None else {"args_schema": schema})}
    if isinstance(tool, str):
        schema = schema or create_model(tool)
        doc = schema.__doc__ if args is schema and schema.__doc__ else ""
        return {"name": tool, "description": inspect.cleandoc(doc), "args_schema": schema, "func": _stand_in(tool)}
    if not inspect.isroutine(tool):
        raise ScriptError(f"scripted_tool() takes a function, a tool, or the name of one; got {type(tool).__name__} {tool!r}")
    return _of_function(tool, schema, fields)


def _of_function(function: Callable[..., Any], schema: object, fields: Mapping[str, object]) -> dict[str, object]:
    name = function.__name__
    if not function.__doc__ and not fields.get("description"):
        raise ScriptError(
            f"`{name}` has no docstring, which tells a model what the tool is for; give scripted_tool() description="
        )
    # As LangChain: a tool of an async function refuses `invoke`.
    kind = "coroutine" if inspect.iscoroutinefunction(function) else "func"
    # LangChain reads name, description and schema from the function, so they are what the program would bind.
    from_function: Any = StructuredTool.from_function
    like = from_function(**{kind: _stand_in(name, function)}, args_schema=schema, description=fields.get("description"))
    return {field: getattr(like, field) for field in ("name", "description", "args_schema", kind)}


_COPIED: Final = (
    *("name", "description", "return_direct", "response_format", "handle_tool_error", "handle_validation_error"),
    *("tags", "metadata", "extras"),
)


def _of_tool(tool: BaseTool) -> dict[str, object]:
    copied = {field: getattr(tool, field) for field in _COPIED if hasattr(tool, field)}
    sync, coroutine = getattr(tool, "func", None), getattr(tool, "coroutine", None)
    if sync is None and coroutine is None:  # a class of its own; its `_run` says which arguments LangGraph injects
        sync = tool._run
    functions = {"func": sync, "coroutine": coroutine}
    stand_ins = {field: _stand_in(tool.name, function) for field, function in functions.items() if function is not None}
    if tool.args_schema is None and isinstance(tool, Tool):  # it takes one str, and calls it so
        return {**copied, "args_schema": create_model(tool.name, tool_input=(str, ...)), **stand_ins}
    return {**copied, "args_schema": tool.args_schema or tool.get_input_schema(), **stand_ins}


def _stand_in(name: str, function: Callable[..., Any] | None = None) -> Callable[..., object]:
    """Return a function with the signature of `function`, because LangGraph reads that; its body must never run."""

    def stand_in(*args: object, **kwargs: object) -> NoReturn:
        raise ScriptError(f"the function of the scripted tool `{name}` has no body; call the tool: .invoke({{...}})")

    return stand_in if function is None else functools.wraps(function)(stand_in)


def _schema(tool: Any, args: object) -> object:
    """Return the pydantic model that `args` describes."""
    if args is None or (isinstance(args, type) and is_basemodel_subclass(args)):
        return args
    if not isinstance(args, Mapping):
        raise ScriptError(
            f"args= of scripted_tool() is a mapping of names to types, or a pydantic model; got {type(args).__name__} {args!r}"
        )
    for name, kind in args.items():
        # pydantic would take a name with an underscore for a private attribute, and no model could pass it.
        if not isinstance(name, str) or name.startswith("_"):
            raise ScriptError(f"args= of scripted_tool() has names of arguments, as in {{'q': str}}; got {name!r}")
        if isinstance(kind, str | Mapping) or (isinstance(kind, tuple) and len(kind) != 2):
            raise ScriptError(
                f"args= of scripted_tool() has types, as in {{'q': str, 'limit': (int, 5)}}; got {kind!r} for `{name}`"
            )
    make: Any = create_model
    title = tool if isinstance(tool, str) else getattr(tool, "name", None) or getattr(tool, "__name__", "args")
    try:
        return make(title, **{name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in args.items()})
    except PydanticUserError as error:
        raise ScriptError(f"args= of scripted_tool() makes no schema: {str(error).splitlines()[0]}") from None
