"""Programs that the user names as `module:object`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, get_type_hints

from langchain_core.runnables import Runnable
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from llmtest.coverage.programs import Program
from llmtest.coverage.suggest import Entry
from llmtest.errors import CoverageError
from llmtest.langchain.chat_model import ScriptedChatModel
from llmtest.langchain.inventory import Reader
from llmtest.langchain.used_objects import is_graph


def loaded_object(line: str) -> object:
    """Return what `module:object` names if its module is imported already; None if it is not, or has no such object."""
    module, _, path = line.partition(":")
    found: object = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def named_object(line: str) -> object:
    """Return the program that `module:object` names; of a function that is no runnable, what it returns.

    The function may take a model, as `model`, `llm` or `chat_model`: it gets one that is never asked.

    Raises:
        CoverageError: there is no such module or object, or it is no program.
    """
    module, _, path = line.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise CoverageError(f"there is no program {line}: {error}\n  a program is named as `module:object`") from None
    except (Exception, SystemExit) as error:  # the module is the user's: it may raise anything, and leave
        problem = f"{type(error).__name__}: {error}"
        raise CoverageError(f"{line} cannot be read: {problem}\n  the module must import, and have the object") from error
    if not isinstance(found, Runnable) and callable(found):
        try:
            found = found(**_stand_ins(found))
        except (Exception, SystemExit) as error:
            problem = f"{type(error).__name__}: {error}"
            raise CoverageError(f"the factory {line} has failed: {problem}\n  it may take a `model`, and nothing else") from error
    if not isinstance(found, Runnable):
        kind = type(found).__name__
        raise CoverageError(
            f"{line} is no program, but a {kind}\n  name a compiled graph, a chain, or a function that returns one"
        )
    return found


def _stand_ins(factory: Callable[..., object]) -> dict[str, object]:
    """Return what a factory must be given: a model, if it asks for one. It takes tools and schemas, and has no answer."""
    parameters = inspect.signature(factory).parameters
    wanted = [name for name, one in parameters.items() if name in _MODEL_PARAMETERS and one.default is inspect.Parameter.empty]
    return dict.fromkeys(wanted, ScriptedChatModel()) if wanted else {}


_MODEL_PARAMETERS: Final = frozenset(("model", "llm", "chat_model"))


def entries_of(lines: Iterable[str]) -> tuple[dict[str, Program], dict[str, Entry]]:
    """Return the programs that lines `module:object` name, and how a test gets each, by their labels.

    Raises:
        CoverageError: there is no such module or object, or it is no program.
    """
    reader = Reader()
    programs: dict[str, Program] = {}
    entries: dict[str, Entry] = {}
    for line in lines:
        item = named_object(line)
        found = list(reader.inside(item))
        programs |= {program.label: program for program in found}
        module, _, path = line.partition(":")
        outer: Any = importlib.import_module(module)
        for name in path.split("."):
            outer = getattr(outer, name)
        is_factory = not isinstance(outer, Runnable)
        parameters = inspect.signature(outer).parameters if is_factory else {}
        parameter = next((name for name in parameters if name in _MODEL_PARAMETERS), "")
        for program in found:
            entries[program.label] = Entry(
                module,
                path.partition(".")[0],
                is_factory,
                parameter,
                _inputs(item),
                has_memory=bool(getattr(item, "checkpointer", None)),
                is_part=program is not found[0],
            )
    return programs, entries


def _inputs(item: Any) -> Mapping[str, Any]:
    """Return the JSON schema of what a program takes. The fields of a graph's state are asked for one by one: pydantic refuses
    the `TypedDict` of `typing` as a whole before Python 3.12."""
    if not is_graph(item) or not hasattr(item, "builder"):
        return _schema_of(item.get_input_jsonschema)
    state = item.builder.input_schema
    hints = get_type_hints(state) if hasattr(state, "__annotations__") else {}
    properties = {name: _schema_of(partial(_json_schema, hint)) for name, hint in hints.items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _json_schema(hint: Any) -> dict[str, Any]:
    return TypeAdapter(hint).json_schema()


def _schema_of(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return read()
    except (PydanticUserError, TypeError, NameError):  # a type that has no JSON schema
        return {}
