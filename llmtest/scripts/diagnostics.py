"""Diagnostics: the texts of violations between a script and its calls.

Each function returns the text of one violation: the call, the expectation and its line, the nearest miss, the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import ndiff
from typing import NamedTuple

from llmtest.core.source import shown_path
from llmtest.core.text import amount, capped, clip, names, nearest, times
from llmtest.scripts.requests import On, Request, show_last_message, show_message
from llmtest.scripts.step_types import Expects, Respond, ScriptOwner, Step


def _show_request(request: Request, owner: ScriptOwner) -> list[str]:
    count = f" ({amount(len(request.messages), 'message')})" if owner.is_model else ""
    lines = [f"  came  {show_last_message(request)}{count}"]
    if request.tools:
        lines.append(f"  tools  {names(request.tools)}")
    if request.nodes:
        lines.append(f"  node  {'/'.join(request.nodes)}")
    return lines


def show_call(request: Request, owner: ScriptOwner) -> str:
    """Return one line for a call that waits at a gate."""
    return f"{owner.name} call  {show_last_message(request)}"


# -- calls without a step


def other_process(owner: ScriptOwner, request: Request) -> str:
    """A forked process asks a script that its parent made."""
    head = f"unexpected {owner.name} call in a forked process: the script belongs to the process that made it"
    lines = [head, *_show_request(request, owner), "  the copy of the script here could serve a step that is served there, too"]
    return capped([*lines, f"  make {owner.the} in the process that calls it, or call it in a thread"])


def no_key_matches(owner: ScriptOwner, request: Request, call: int, keys: Sequence[On]) -> str:
    """No key matches the call, and the script has no steps without a key."""
    head = f"unexpected {owner.name} call {call}: it matches no key, and the script has no steps without one"
    lines = [head, *_show_request(request, owner), *_missed(keys, request)]
    return capped([*lines, f"  {owner.remedy or 'add a key that it matches, or a step without a key'}"])


def no_step_left(
    owner: ScriptOwner, request: Request, call: int, key: On | None, served: Sequence[tuple[int, Step]], keys: Sequence[On]
) -> str:
    """All steps of the call's `key`, or all steps without a key, are `served`. `keys` are all keys of the script."""
    whose = f"the script has {amount(len(served), 'step')}, all served" if served else "the script has no steps"
    if keys:
        whose = f"the steps {'without a key' if key is None else f'of {key}'} are all served"
    lines = [f"unexpected {owner.name} call {call}: {whose}", *_show_request(request, owner)]
    lines += [f"  served  step {number}  {step}  at {shown_path(step.where)}" for number, step in served]
    lines += _missed(keys, request) if key is None else []
    add = owner.remedy or "add a step for this call"
    return capped([*lines, f"  {add}, or find out why the program calls {owner.the} again"])


def _missed(keys: Iterable[On], request: Request) -> list[str]:
    return [f"  {key}  no: {key.misses(request)}" for key in keys]


def several_keys_match(owner: ScriptOwner, request: Request, call: int, keys: Sequence[On | None]) -> str:
    """Several keys match the call."""
    lines = [
        f"{owner.name} call {call} matches {len(keys)} keys of the script, so its step is ambiguous",
        *_show_request(request, owner),
    ]
    lines += [f"  matches  {key}" for key in keys]
    ways = "tool_result=, last=, node= or tools=" if owner.is_model else "contains=, node= or tag="
    return capped([*lines, f"  make the keys exclude each other, for example with {ways}"])


def calls_compete(owner: ScriptOwner, first: tuple[Request, int, int], second: tuple[Request, int, int]) -> str:
    """Two concurrent runs take steps in order. Each is a request, and the numbers of its call and its step."""
    lines = ["two concurrent runs take steps from the same unkeyed script; which run gets which step is a race"]
    for request, call, number in (first, second):
        lines.append(f"  call {call}  {show_last_message(request)}  takes step {number}")
    request = second[0]
    contained = clip(request.messages[-1].text.strip().partition("\n")[0], 30, mark="") if request.messages else "..."
    hint = f"on(node={request.node!r})" if request.node else f"on(contains={contained!r})"
    ways = "thread, tools or prompt" if owner.is_model else f"thread or {owner.input}"
    return capped([*lines, f"  key the script by node, tag, {ways}: {hint} >> ..."])


class Unused(NamedTuple):
    """A step that still waits for calls: its number in the script, its key, and how many calls it has had."""

    number: int
    step: Step
    key: On | None
    calls: int


def unused_steps(owner: ScriptOwner, left: Sequence[Unused], steps: int, calls: int) -> str:
    """Steps that still wait for calls: `left`, of so many `steps`, after so many `calls`."""
    ways = [
        way
        for way, is_it in (("never used", True), ("not used often enough", False))
        if any((not u.calls) is is_it for u in left)
    ]
    lines = [f"{len(left)} of {amount(steps, 'step')} of the script {'was' if len(left) == 1 else 'were'} {' or '.join(ways)}"]
    for number, step, key, had in left:
        shown = f"{key} >> {step}" if key is not None else f"{step}"
        used = f"  used {had} of {step.serving.times} times" if had else ""
        at = f"  at {shown_path(step.where)}" if step.where else ""
        lines.append(f"  step {number}  {shown}{used}{at}")
    called = "never called" if not calls else f"called {times(calls)}"
    no_match = any(unused.key is not None for unused in left)
    why = "no further call matches the key" if no_match else "the program stopped early"
    lines.append(f"  {owner.the} was {called}; remove the steps, or find out why {why}")
    return capped([*lines, *([f"  {owner.removal}"] if owner.removal else [])])


def stale_steps(owner: ScriptOwner, stale: Mapping[str, Sequence[tuple[int, str, str]]]) -> str:
    """Recorded steps answered other requests than they were recorded for.

    `stale` maps each difference to the steps that it is told of: the number, the day of the recording, and the line of each.
    """
    told = list(dict.fromkeys(step for steps in stale.values() for step in steps))
    days = sorted({day for _, day, _ in told if day})
    when = "" if not days else f" on {days[0]}" if len(days) == 1 else f" from {days[0]} to {days[-1]}"
    were = "answer was" if len(told) == 1 else "answers were"
    lines = [f"{len(told)} recorded {were} given to another request than it was recorded for{when}"]
    if len(told) > 1:
        lines = [f"{len(told)} recorded {were} given to other requests than they were recorded for{when}"]
    for difference, steps in stale.items():
        first, *rest = difference.splitlines()
        numbers = ", ".join(str(number) for number, *_ in steps[:5]) + (", ..." if len(steps) > 5 else "")
        lines.append(f"  {first}  (step{'' if len(steps) == 1 else 's'} {numbers})")
        lines += [f"  {line}" for line in rest]
    lines.append(f"  recorded at {shown_path(told[0][2])}" if told[0][2] else "  recorded in this process")
    renewal = owner.renewal or "record it again"
    lines += [f"  {renewal}", "  or, if the answers still fit, set the ini key llmtest_stale to warn or ignore"]
    return capped(lines, 40)


def failed_respond(step: Respond, request: Request, owner: ScriptOwner, error: BaseException) -> str:
    """An assertion failed in the function of `respond`."""
    shown = "\n".join(f"    {line}" for line in str(error).splitlines()[:10])
    head = f"an assertion of {step} failed in a call of {owner.the}\n  {type(error).__name__}" + (f"\n{shown}" if shown else "")
    return capped([*head.splitlines(), *_show_request(request, owner), f"  the script has {step} at {shown_path(step.where)}"])


# -- prompts that a step does not expect


def prompt_mismatch(expects: Expects, request: Request, owner: ScriptOwner) -> str | None:
    """Return the first difference between a prompt and the step's expectation; None if it meets all of it."""
    for text in expects.contains:
        if text not in request.text:
            return f"  expected {owner.an_input} that contains {text!r}\n{_nearest_text(text, request)}"
    for text in expects.forbids:
        holder = next((m for m in request.messages if text in m.text), None)
        if holder is not None:
            return f"  expected {owner.an_input} without {text!r}\n  got       {show_message(holder)}"
    if expects.tools is not None and expects.tools != set(request.tools):
        return f"  expected the tools {names(sorted(expects.tools))}\n  got       {names(request.tools)}"
    if expects.last is not None and (not request.messages or request.messages[-1].role != expects.last):
        return f"  expected the last message to be of role `{expects.last}`\n  got       {show_last_message(request)}"
    return None


def _nearest_text(text: str, request: Request) -> str:
    """Return the line of the prompt nearest to `text` with the difference marked below; else the whole prompt."""
    lines = [line for message in request.messages for line in message.text.splitlines() if line.strip()]
    near = nearest(text, lines, 0.5)
    if near is None:
        shown = [f"  got       {show_message(message)}" for message in request.messages[-5:]]
        return "\n".join(shown or ["  got       an empty prompt"])
    marks = [line.rstrip() for line in ndiff([text], [near])]
    return "\n".join(["  nearest", *(f"    {line}" for line in marks)])
