"""What is wrong with a call of a double or with a scripted answer, in words.

Floor 0. Each function returns the text of a violation, or None if there is nothing to complain about. What came, what
was expected, where it was written, the nearest miss, what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import ndiff
from typing import TYPE_CHECKING, Any

from llmtest.core.masks import show_text, table
from llmtest.core.text import amount, capped, clip, did_you_mean, names, nearest, times
from llmtest.events import Message
from llmtest.steps import Call, Expects, Reply, Speaker, Step, place

if TYPE_CHECKING:
    from llmtest.script import On, Request, Script

# -- bits of text


def show_message(message: Message) -> str:
    """A message in one short line."""
    arguments = [json.dumps(table().hide(call.args), ensure_ascii=False, default=str) for call in message.tool_calls]
    calls = ", ".join(f"{call.name}({shown})" for call, shown in zip(message.tool_calls, arguments, strict=True))
    text = show_text(message.text, 200) if message.text or not calls else ""
    shown = " ".join(bit for bit in (text, f"calls {calls}" if calls else "") if bit)
    return f"{message.role} {shown}"


def _came(request: Request, who: Speaker) -> list[str]:
    """What a call brought, as evidence."""
    messages = request.messages
    last = show_message(messages[-1]) if messages else "an empty prompt"
    lines = [f"  came  {last}" + (f" ({amount(len(messages), 'message')})" if who == Speaker() else "")]
    if request.tools:
        lines.append(f"  tools  {names(request.tools)}")
    if request.node:
        lines.append(f"  node  {request.node}")
    return lines


def waiting(request: Request, who: Speaker) -> str:
    """A call that waits at a gate."""
    last = show_message(request.messages[-1]) if request.messages else "an empty prompt"
    return f"{who.name} call  {last}"


# -- calls that the script has no step for


def unexpected(script: Script, request: Request, call: int, key: On | None) -> str:
    """No step is left for this call, or no key matches it."""
    who = script.speaker
    keys = [lane.key for lane in script._lanes if lane.key is not None]
    plain = [lane for lane in script._lanes if lane.key is None]
    if keys and not plain and key is None:
        matched = "it matches no key, and the script has no steps without one"
        lines = [f"unexpected {who.name} call {call}: {matched}", *_came(request, who), *_missed(keys, request)]
        return capped([*lines, "  add a key that it matches, or a step without a key"])
    lane = next(lane for lane in script._lanes if lane.key == key)
    whose = f"the script has {_served(len(lane.steps))}"
    if keys:
        whose = f"the steps {'without a key' if key is None else f'of {key}'} are all served"
    lines = [f"unexpected {who.name} call {call}: {whose}", *_came(request, who)]
    lines += [f"  served  step {number}  {step}  at {place(step.where)}" for number, step in enumerate(lane.steps, lane.first)]
    lines += _missed([other for other in keys if key is None], request)
    return capped([*lines, f"  add a step for this call, or find out why the program calls {who.the} again"])


def _missed(keys: Iterable[On], request: Request) -> list[str]:
    return [f"  {key}  no: {key.misses(request)}" for key in keys]


def _served(steps: int) -> str:
    return "no steps" if not steps else f"{amount(steps, 'step')}, all served"


def ambiguous(script: Script, keys: Sequence[On | None], request: Request, call: int) -> str:
    """Several keys match."""
    matched = f"matches {len(keys)} keys of the script, so which step answers it is not said"
    lines = [f"{script.speaker.name} call {call} {matched}", *_came(request, script.speaker)]
    lines += [f"  matches  {key}" for key in keys]
    ways = "tool_result=, last=, node= or tools=" if script.speaker == Speaker() else "contains=, node= or tag="
    return capped([*lines, f"  make the keys exclude each other, for example with {ways}"])


def competing(who: Speaker, first: tuple[Request, int, int], second: tuple[Request, int, int]) -> str:
    """Two runs that are open at once take steps in order."""
    lines = ["two open runs take different steps of one script in order, so the schedule decides who gets which"]
    for request, call, number in (first, second):
        last = show_message(request.messages[-1]) if request.messages else "an empty prompt"
        lines.append(f"  call {call}  {last}  takes step {number}")
    request = second[0]
    hint = f"on(node={request.node!r})" if request.node else f"on(contains={_hint(request)!r})"
    ways = "thread, tools or prompt" if who == Speaker() else f"thread or {who.input}"
    return capped([*lines, f"  key the script by node, tag, {ways}: {hint} >> ..."])


def _hint(request: Request) -> str:
    return clip(request.messages[-1].text.strip().partition("\n")[0], 30, mark="") if request.messages else "..."


def unused(script: Script, left: Sequence[tuple[int, Step]], calls: int) -> str:
    """Steps that no call has asked for."""
    steps = amount(len(script.steps), "step")
    lines = [f"{len(left)} of {steps} of the script {'was' if len(left) == 1 else 'were'} never asked for"]
    lines += [f"  step {number}  {step}  at {place(step.where)}" for number, step in left]
    called = "never called" if not calls else f"called {times(calls)}"
    who = script.speaker.the
    return capped([*lines, f"  {who} was {called}; remove the steps, or find out why the program stopped early"])


# -- prompts that are not as a step expects


def expectation(expects: Expects, request: Request, who: Speaker) -> str | None:
    """What of the prompt is not as expected."""
    for text in expects.contains:
        if text not in request.text:
            return f"  expected {who.an_input} that contains {text!r}\n{_nearest_text(text, request)}"
    for text in expects.forbids:
        holder = next((m for m in request.messages if text in m.text), None)
        if holder is not None:
            return f"  expected {who.an_input} without {text!r}\n  got       {show_message(holder)}"
    if expects.tools is not None and expects.tools != set(request.tools):
        return f"  expected the tools {names(sorted(expects.tools))}\n  got       {names(request.tools)}"
    if expects.last is not None and (not request.messages or request.messages[-1].role != expects.last):
        last = show_message(request.messages[-1]) if request.messages else "an empty prompt"
        return f"  expected the last message to be of role `{expects.last}`\n  got       {last}"
    return None


def _nearest_text(text: str, request: Request) -> str:
    """The line of the prompt that comes nearest to `text`, with what differs marked below; else the prompt."""
    lines = [line for message in request.messages for line in message.text.splitlines() if line.strip()]
    near = nearest(text, lines, 0.5)
    if near is None:
        shown = [f"  got       {show_message(message)}" for message in request.messages[-5:]]
        return "\n".join(shown or ["  got       an empty prompt"])
    marks = [line.rstrip() for line in ndiff([text], [near])]
    return "\n".join(["  nearest", *(f"    {line}" for line in marks)])


# -- answers that the caller of the model may not get


def calls(reply: Reply, request: Request) -> str | None:
    """What is wrong with the tool calls of an answer."""
    tools = request.tools
    for asked in reply.calls:
        problem = check_call(asked, tools)
        if problem:
            return problem
    if len(reply.calls) > 1 and request.params.get("parallel_tool_calls") is False:
        return f"the script makes {len(reply.calls)} tool calls at once, but parallel_tool_calls=False is bound"
    return None if request.tool_choice is None else _against_choice(reply, request)


def _against_choice(reply: Reply, request: Request) -> str | None:
    choice = wanted(request.tool_choice)
    if choice in (None, False, "auto") or reply.failure is not None:
        return None
    if choice == "none":
        return f"the script calls the tool `{reply.calls[0].tool}`, but tool_choice='none' is bound" if reply.calls else None
    named = chosen(choice)
    if not reply.calls:
        return f"the script calls no tool, but tool_choice={named or choice!r} is bound"
    wrong = [c.tool for c in reply.calls if named is not None and c.tool != named]
    return f"the script calls the tool `{wrong[0]}`, but tool_choice={named!r} is bound" if wrong else None


def wanted(choice: Any) -> Any:
    """`choice`, with Anthropic's `{"type": "auto"}` and `{"type": "none"}` as the words that others use."""
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    return kind if kind in ("auto", "none") else choice


def chosen(choice: Any) -> str | None:
    """The tool that a `tool_choice` names, in the forms in which integrations take it; None if any will do."""
    if isinstance(choice, Mapping):
        found = choice.get("function", choice).get("name")
        return found if isinstance(found, str) else None
    return choice if isinstance(choice, str) and choice not in ("any", "required") else None


def check_call(asked: Call, tools: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is wrong with a scripted tool call, given the tools that are bound; None if nothing."""
    if asked.tool not in tools:
        unknown = f"the script calls the tool `{asked.tool}`, which is not bound to the model\n  bound  {names(tools)}"
        return unknown + did_you_mean(asked.tool, tools, before="\n  ")
    if asked.pieces and asked.malformed:
        return None
    schema, args = tools[asked.tool], asked.args
    known = schema.get("properties", {})
    if not args and not schema.get("required"):
        return None
    if args.keys() <= known.keys() and _fits(args, schema):
        return None
    missing = [name for name in schema.get("required", ()) if name not in asked.args]
    known = _all_properties(schema, schema)
    open_ended = schema.get("additionalProperties") or "patternProperties" in schema
    extra = [] if open_ended else [name for name in asked.args if name not in known]
    if missing or extra:
        return "\n".join(_other_arguments(asked.tool, known, missing, extra))
    return _invalid_arguments(asked, schema)


def _all_properties(schema: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The arguments that `schema` knows, those of the schemas that it is made of among them."""
    if not isinstance(schema, Mapping):
        return {}
    found = dict(schema.get("properties", {}))
    parts = [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ())]
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
    """What JSON schema has against the arguments."""
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
    """The validator of `schema`: bound tools are the same objects in call after call, so it is made once."""
    known = _validators.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    validator = compiled(schema)
    if len(_validators) >= 256:
        _validators.clear()
    _validators[id(schema)] = (schema, validator)
    return validator


def compiled(schema: Mapping[str, Any]) -> Any:
    """A new validator of `schema`.

    Raises:
        ValueError: it is no JSON schema, or refers to another document.
    """
    from jsonschema_rs import validator_for

    return validator_for(dict(schema), retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is not in the schema, and nothing is fetched from elsewhere")


def stop_sequence(reply: Reply, stop: Sequence[str]) -> str | None:
    """Whether the answer goes on past a bound stop sequence: a real model would have stopped before it."""
    for sequence in stop:
        if sequence and sequence in reply.text:
            return f"the script says text that has the bound stop sequence {sequence!r} in it; a model stops before it"
    return None
