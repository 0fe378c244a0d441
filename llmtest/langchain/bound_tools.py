"""What a model is called with: its parameters, and the tools that are bound to it in the formats of many providers."""

from __future__ import annotations

import marshal
import operator
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from llmtest.langchain.freezing import ATOMS, Held, NotPlainError, hold, is_same, plain_copy

_MAX_LISTS: Final = 64
"""More lists of tools are not remembered."""

_seen_tools: dict[int, tuple[object, object, Held, list[str]]] = {}
_equal_tools: dict[bytes, tuple[Held, list[str]]] = {}
"""By their content as bytes, of which equal values of other types (1, True and 1.0) have others."""


def hold_parameters(parameters: object) -> dict[str, object]:
    """Return the parameters of a model call, and the names of the bound tools if there are any."""
    if not isinstance(parameters, dict):
        return {"invocation_params": hold(parameters) if parameters else {}}
    tools = parameters.get("tools")
    if not tools:
        return {"invocation_params": hold(parameters)}
    held_tools, names = _hold_tools(tools)
    held = {k: v if type(v) in ATOMS else held_tools if v is tools else hold(v) for k, v in parameters.items()}
    return {"tools": names, "invocation_params": held}


def _hold_tools(tools: Any) -> tuple[object, list[str]]:
    """Return the bound tools and their names. Call after call has the same list, or an equal one, which is held once."""
    seen = _seen_tools.get(id(tools))
    if seen is not None and seen[0] is tools and is_same(seen[1], tools):
        return seen[2], seen[3]
    try:
        # An agent binds its tools anew at each turn. In this version of the format equal values have equal bytes.
        content = marshal.dumps(tools, 2)
        held, names = _equal_tools.get(content) or _hold_new(content, tools)
    except (NotPlainError, RuntimeError, ValueError):
        # Only plain tools are kept: to see a change in any other would run their code.
        return hold(tools), tool_names(tools)
    if len(_seen_tools) >= _MAX_LISTS:
        _seen_tools.clear()
    _seen_tools[id(tools)] = (tools, held.state["tools"], held, names)
    return held, names


def _hold_new(content: bytes, tools: object) -> tuple[Held, list[str]]:
    held, names = Held(operator.itemgetter("tools"), {"tools": plain_copy(tools, True)}), tool_names(tools)
    if len(_equal_tools) >= _MAX_LISTS:
        _equal_tools.clear()
    return _equal_tools.setdefault(content, (held, names))


def tool_names(tools: object) -> list[str]:
    """Return the names of bound tools, in the formats in which integrations bind them."""
    return [name for name, _ in named_tools(tools)]


def named_tools(tools: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the name of each bound tool, and the mapping with its description and schema."""
    for tool in tools if isinstance(tools, list | tuple) else ():
        if not issubclass(type(tool), dict):
            own = tool.__dict__.get("name") if issubclass(type(tool), BaseModel) else None
            yield str(own or "unnamed"), {}
            continue
        declared = tool.get("function_declarations")  # Google's form: several tools in one
        for inner in declared if isinstance(declared, list) else [tool.get("function", tool.get("toolSpec", tool))]:
            spec: Mapping[str, object] = inner if issubclass(type(inner), dict) else {}
            only_key = next(iter(tool), None) if len(tool) == 1 else None  # a provider's tool, as {"google_search": {}}
            yield str(spec.get("name") or spec.get("type") or only_key or "unnamed"), spec
