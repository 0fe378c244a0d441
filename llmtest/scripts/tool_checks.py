"""Checks of a scripted answer against the binding: the tools, `tool_choice`, and stop sequences.

Each check returns the problem in words, or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llmtest.core.text import capped, did_you_mean, names
from llmtest.scripts.requests import Request
from llmtest.scripts.step_types import Call, Reply

ANYTHING: Final[Mapping[str, object]] = {"additionalProperties": True}
"""The schema of a tool that takes any arguments."""


def check_calls(reply: Reply, request: Request) -> str | None:
    """Return the first problem of the answer's tool calls."""
    for call in reply.calls:
        problem = check_call(call, request.tools)
        if problem:
            return problem
    if len(reply.calls) > 1 and request.params.get("parallel_tool_calls") is False:
        return f"the script makes {len(reply.calls)} tool calls at once, but parallel_tool_calls=False is bound"
    return None if request.tool_choice is None else _against_choice(reply, request)


def _against_choice(reply: Reply, request: Request) -> str | None:
    choice = normal_choice(request.tool_choice)
    if choice in (None, False, "auto") or reply.failure is not None:
        return None
    if choice == "none":
        return f"the script calls the tool `{reply.calls[0].tool}`, but tool_choice='none' is bound" if reply.calls else None
    if (allowed := allowed_tools(choice)) is not None:
        return _against_allowed(reply, *allowed)
    named = chosen_tool(choice)
    if not reply.calls:
        return f"the script calls no tool, but tool_choice={named or choice!r} is bound"
    wrong = [c.tool for c in reply.calls if named is not None and c.tool != named]
    return f"the script calls the tool `{wrong[0]}`, but tool_choice={named!r} is bound" if wrong else None


def _against_allowed(reply: Reply, allowed: Sequence[str], is_needed: bool) -> str | None:
    if not reply.calls:
        return f"the script calls no tool, but tool_choice requires one of {names(allowed)}" if is_needed else None
    wrong = [call.tool for call in reply.calls if call.tool not in allowed]
    return f"the script calls the tool `{wrong[0]}`, but tool_choice allows only {names(allowed)}" if wrong else None


def normal_choice(choice: Any) -> object:
    """Return `choice`; Anthropic's `{"type": "auto"}`, `{"type": "none"}` and `{"type": "any"}` become the word alone."""
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    return kind if kind in ("auto", "none", "any") else choice


def chosen_tool(choice: Any) -> str | None:
    """Return the tool that a `tool_choice` names, in any form that integrations take; None if it allows any tool."""
    if isinstance(choice, Mapping):
        return _tool_name(choice)
    return choice if isinstance(choice, str) and choice not in ("any", "required") else None


def allowed_tools(choice: Any) -> tuple[list[str], bool] | None:
    """Return the tools of OpenAI's `allowed_tools`, and whether one of them must be called; None for another choice."""
    if not isinstance(choice, Mapping) or choice.get("type") != "allowed_tools":
        return None
    said = choice.get("allowed_tools", choice)  # Chat Completions nests it, the Responses API does not
    tools = said.get("tools") if isinstance(said, Mapping) else None
    known = [tool for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list | tuple) else []
    found = [_tool_name(tool) or str(tool.get("type")) for tool in known]
    return found, isinstance(said, Mapping) and said.get("mode") == "required"


def _tool_name(said: Mapping[str, Any]) -> str | None:
    inner = (said.get(key) for key in ("function", "custom"))
    found = next((one for one in inner if isinstance(one, Mapping)), said).get("name")
    return found if isinstance(found, str) else None


def check_call(asked: Call, tools: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the problem of a scripted tool call with these bound tools."""
    if asked.tool not in tools:
        unknown = f"the script calls the tool `{asked.tool}`, which is not bound to the model\n  bound  {names(tools)}"
        return unknown + did_you_mean(asked.tool, tools, before="\n  ")
    if asked.pieces and asked.malformed:
        return None
    schema, args = tools[asked.tool], asked.args
    known = schema.get("properties") or {}
    if not args and not schema.get("required"):
        return None
    if args.keys() <= known.keys() and _fits(args, schema):
        return None
    missing = [name for name in schema.get("required") or () if name not in asked.args]
    known = _all_properties(schema, schema)
    open_ended = schema.get("additionalProperties") or "patternProperties" in schema
    extra = [] if open_ended else [name for name in asked.args if name not in known]
    if missing or extra:
        return "\n".join(_other_arguments(asked.tool, known, missing, extra))
    return _invalid_arguments(asked, schema)


def _all_properties(schema: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the arguments that `schema` knows, with those of its `$ref`, `allOf`, `anyOf`, `then`, ..."""
    if not isinstance(schema, Mapping):
        return {}
    properties = schema.get("properties")
    found = dict(properties) if isinstance(properties, Mapping) else {}
    several = (schema.get(key) for key in ("allOf", "anyOf", "oneOf"))
    parts = [part for some in several if isinstance(some, list | tuple) for part in some]
    for part in [*parts, schema.get("then"), schema.get("else")]:
        found.update(_all_properties(part, root, seen))
    ref = str(schema.get("$ref", ""))
    if ref.startswith("#/") and ref not in seen:
        target: Any = root
        for key in ref.split("/")[1:]:
            target = target.get(key) if isinstance(target, Mapping) else None
        found.update(_all_properties(target, root, seen | {ref}))
    return found


def _other_arguments(tool: str, known: Mapping[str, Any], missing: list[str], extra: list[str]) -> Iterable[str]:
    yield f"the script calls the tool `{tool}` with other arguments than it takes"
    yield from (f"  missing  `{name}`" for name in missing)
    for name in extra:
        yield f"  unknown  `{name}`{did_you_mean(name, known)}"
    yield f"  takes  {names(known, 'nothing')}"


def _invalid_arguments(asked: Call, schema: Mapping[str, Any]) -> str | None:
    try:
        validator = _validator(schema)
    except ValueError as error:  # a provider would refuse it as well
        return f"the schema of the tool `{asked.tool}` is no JSON schema: {str(error).splitlines()[0]}"
    errors = sorted(validator.iter_errors(asked.args), key=lambda error: list(map(str, error.instance_path)))
    if not errors:
        return None
    lines = [f"the script calls the tool `{asked.tool}` with arguments that do not fit its schema"]
    lines += [f"  {'.'.join(map(str, error.instance_path)) or 'arguments'}  {error.message}" for error in errors]
    return capped(lines)


def _fits(args: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    try:
        return bool(_validator(schema).is_valid(args))
    except ValueError:
        return False


_validators: dict[int, tuple[Mapping[str, Any], Any]] = {}


def _validator(schema: Mapping[str, Any]) -> Any:
    """Return the validator of `schema`, made once: bound tools are the same objects in call after call."""
    known = _validators.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    validator = compile_validator(schema)
    if len(_validators) >= 256:
        _validators.clear()
    _validators[id(schema)] = (schema, validator)
    return validator


def compile_validator(schema: Mapping[str, Any]) -> Any:
    """Return a new validator; a ValueError if `schema` is no JSON schema, or refers to another document."""
    from jsonschema_rs import validator_for

    return validator_for(dict(schema), retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is not in the schema, and nothing is fetched from elsewhere")


def check_stop(reply: Reply, stop: Sequence[str]) -> str | None:
    """Return the problem of an answer with a bound stop sequence in it: a real model would have stopped before."""
    for sequence in stop:
        if sequence and sequence in reply.text:
            return f"the script says text that has the bound stop sequence {sequence!r} in it; a model stops before it"
    return None
