"""Whether an implementation of one of LangChain's interfaces does what LangChain and its users count on.

A check takes a function that makes the thing under test, and runs real LangChain programs with it. It raises when something
is wrong, and tells everything that it found. It knows no test runner.

`check_handler` is for callback handlers: LangChain logs what a handler raises, and goes on, so that a test passes.
`check_chat_model`, `check_llm`, `check_tool` and `check_retriever` are for classes that you write yourself, and for doubles.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from unittest.mock import NonCallableMock

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langsmith import tracing_context

from llmtest import ledger
from llmtest.concurrency import lanes
from llmtest.conformance.faults import Fault, in_words
from llmtest.conformance.probe import WAYS, Watch, Way, owner
from llmtest.conformance.sandbox import Make, new_loop, without_a_loop
from llmtest.conformance.scenarios import SCENARIOS, Drive, Scenario, is_graph_handler
from llmtest.core.source import definition_line
from llmtest.core.text import did_you_mean, nearest
from llmtest.errors import Violation, ViolationError
from llmtest.events.callbacks import CALLBACKS, ENDINGS, OF_LANGGRAPH, START_KINDS, START_OF, STREAMED, may_fire


def check_handler(make: Make, *, timeout_s: float = 5.0) -> None:
    """Raise `ViolationError` unless the handler survives every way LangChain calls it.

    `make` makes a new handler at each call: a class, or a function such as `lambda: MyHandler(path)`. Small programs run
    with one each: every callback, with arguments of every kind that LangChain passes, in sync code, in async
    code, and in sync code that async code called. A `Violation` has one of these rules:

    - `"handler raises"`, `"wrong signature"`: a callback fails, or cannot be called as LangChain calls it;
    - `"never runs"`, `"no such callback"`, `"turned off"`, `"no handler"`: LangChain will not run what was written;
    - `"blocks"`: a callback does not return, or leaves a task behind that LangChain waits for;
    - `"changes what it was given"`, `"loses a context variable"`, `"breaks the program"`, `"switches to streaming"`: what
      the handler does to others, or does in vain.

    Programs run in threads and contexts of their own: no open recording, ledger or LangSmith trace sees them, and the
    handler finds no ContextVar set. While they run, scripted doubles of other threads are not looked after either. A
    callback that is not overridden is no fault. What `make` raises goes on.

    Raises:
        ViolationError: for all that is wrong; `.violations` has one for each.
        TypeError: `make` is a handler, or cannot be called.

    >>> from langchain_core.callbacks import BaseCallbackHandler
    >>> pass
    >>> class Tokens(BaseCallbackHandler):
    ...     text = ""
    ...     def on_llm_new_token(self, token, **kwargs):
    ...         self.text += token
    >>> try:
    ...     check_handler(Tokens)
    ... except AssertionError as error:
    ...     print(str(error).splitlines()[0])
    `Tokens.on_llm_new_token` raises TypeError: can only concatenate str (not "list") to str

    It cannot know what a handler is for, and looks at no clock: a callback that is only slow passes. One that has not
    returned after `timeout_s` is left behind in a daemon thread, and the check ends.
    """
    __tracebackhide__ = True
    if not callable(make) or isinstance(make, BaseCallbackHandler):
        raise TypeError(f"check_handler() takes a class or a function that makes handlers; got {type(make).__name__} {make!r}")
    handler = make()
    found = [in_words(fault) for fault in _unfit(handler, make)]
    if found := found or [*map(in_words, _at_rest(handler)), *_driven(make, timeout_s)]:
        raise ViolationError(*found)


# -- what is seen before anything runs

# LangChain turns starts of chat models off by a flag of their own, and everything else of theirs by that of text models.
_SEEN_STARTS: Final = (START_OF["llm"], START_OF["chat"])
_SEEN_ENDS: Final = tuple(name for name in STREAMED | ENDINGS if may_fire("chat", name))
_GROUPS: Final = (*(name.removesuffix("start") for name in START_KINDS), "on_agent_")


def _unfit(handler: object, make: Make) -> Iterator[Fault]:
    """Yield the fault that keeps LangChain from calling `handler` at all."""
    kind = type(handler)
    text = f"`{kind.__name__}` is no callback handler"
    if isinstance(handler, NonCallableMock):
        why = "finds its `ignore_*` flags true, as every attribute of a mock is, and calls nothing: a test with it sees nothing"
        hint = "llmtest.record() shows which callbacks fire; a handler is derived from BaseCallbackHandler"
        yield Fault("no handler", "mock", text, evidence=(("LangChain", why),), hint=hint)
    elif not issubclass(kind, BaseCallbackHandler):
        why = "asks it for flags such as `ignore_llm`, which it lacks, logs a warning each time, and calls nothing"
        hint = "derive it from langchain_core.callbacks.BaseCallbackHandler"
        yield Fault("no handler", "class", text, evidence=(("LangChain", why),), hint=hint)
    elif make() is handler:
        hint = "each program needs one of its own: check_handler(MyHandler), or check_handler(lambda: MyHandler(path))"
        yield Fault("no handler", "same", f"the function that makes `{kind.__name__}` returns the same one again", hint=hint)


def _at_rest(handler: Any) -> Iterator[Fault]:
    """Yield the faults that the class and the flags of `handler` show."""
    methods = [name for name in dir(type(handler)) if name.startswith("on_") and callable(getattr(type(handler), name))]
    yield from (_no_callback(handler, name) for name in methods if _is_misnamed(handler, name))
    overridden = [name for name in CALLBACKS if owner(handler, name)]
    for flag in sorted({row.flag for row in CALLBACKS.values() if row.flag}):
        off = [name for name in overridden if CALLBACKS[name].flag == flag and _contradicts(handler, name, flag)]
        if off:
            yield _turned_off(handler, flag, off)
    if handler.ignore_chat_model and not handler.ignore_llm and _meets(overridden, _SEEN_STARTS, _SEEN_ENDS):
        yield _half_off(handler)
    if isinstance(handler, _StreamingCallbackHandler) and _StreamingCallbackHandler not in type(handler).__mro__:
        yield _streams(handler)


def _meets(names: list[str], *groups: tuple[str, ...]) -> bool:
    return all(any(name in group for name in names) for group in groups)


def _is_misnamed(handler: object, name: str) -> bool:
    """True if a method looks as if LangChain called it, and it never does."""
    if name in CALLBACKS:
        return name in OF_LANGGRAPH and not is_graph_handler(handler)
    return name.startswith(_GROUPS) or nearest(name, CALLBACKS, 0.8) is not None


def _no_callback(handler: object, name: str) -> Fault:
    who = f"`{type(handler).__name__}.{name}`"
    at = _defined_at(handler, name)
    if name in CALLBACKS:
        hint = "derive the handler from langgraph.callbacks.GraphCallbackHandler"
        return Fault("no such callback", who, f"{who} is never called: LangGraph tells GraphCallbackHandlers only", at, hint=hint)
    of_models = name.replace("on_chat_model_", "on_llm_")  # chat models end with on_llm_end
    near = did_you_mean(of_models if of_models in CALLBACKS else name, CALLBACKS, at_least=0.0)
    text = f"{who} is never called: LangChain has no such callback{near}"
    hint = "if it is your own, give it a name that does not look like a callback"
    return Fault("no such callback", who, text, at, hint=hint)


def _contradicts(handler: object, name: str, flag: str) -> bool:
    """True if a flag turns off a method written beside or below it. Turning off an inherited method is intended."""
    order = type(handler).__mro__
    definer, setter = owner(handler, name), next(c for c in order if flag in vars(c))
    below = definer is not None and order.index(definer) <= order.index(setter)
    return below and flag not in vars(handler) and bool(getattr(handler, flag))


def _turned_off(handler: object, flag: str, names: list[str]) -> Fault:
    who = f"`{type(handler).__name__}.{names[0]}`"
    verb = "is" if len(names) == 1 else f"and {len(names) - 1} more are"
    covers = ", ".join(row.name for row in CALLBACKS.values() if row.flag == flag)
    hint = "it is the flag of tools, too" if flag == "ignore_agent" else "drop the flag, or the method"
    text = f"{who} {verb} never called: `{flag}` is true"
    return Fault("turned off", who, text, _defined_at(handler, names[0]), (("turns off", covers),), hint)


def _half_off(handler: object) -> Fault:
    who = f"`{type(handler).__name__}`"
    text = f"{who} sees the ends of chat models, and never their starts: `ignore_chat_model` is true, `ignore_llm` is not"
    hint = "tokens, ends and errors of chat models are under `ignore_llm`: set both flags, or none"
    return Fault("turned off", who, text, hint=hint)


def _streams(handler: object) -> Fault:
    who = f"`{type(handler).__name__}`"
    text = f"{who} makes models stream: it has `tap_output_iter` and `tap_output_aiter`"
    why = "takes whatever has these two for its own handler of streams: `invoke` calls `_stream`, and sends tokens"
    return Fault("switches to streaming", who, text, evidence=(("LangChain", why),), hint="give one of them another name")


def _defined_at(handler: object, name: str) -> str:
    return definition_line(getattr(getattr(handler, name), "__code__", None))


# -- what is seen while programs run


@dataclass(slots=True)
class _Sighting:
    """A fault, and where it was seen. It grows."""

    fault: Fault
    scenarios: list[Scenario] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)


def _driven(make: Make, timeout_s: float) -> list[Violation]:
    """Run every program in every way, until one does not end."""
    seen: dict[tuple[str, str, str], _Sighting] = {}
    tried: list[Way] = []
    for way in WAYS:
        tried.append(way)
        for scenario in SCENARIOS:
            faults, ended = _play(scenario, Watch(make(), way), timeout_s)
            for fault in faults:
                sighting = seen.setdefault((fault.rule, fault.subject, fault.at), _Sighting(fault))
                sighting.scenarios += [] if scenario in sighting.scenarios else [scenario]
                sighting.ways += [] if way in sighting.ways else [way]
            if not ended:
                return [_sighted(sighting, tried) for sighting in seen.values()]
    return [_sighted(sighting, tried) for sighting in seen.values()]


def _play(scenario: Scenario, watch: Watch, timeout_s: float) -> tuple[list[Fault], bool]:
    """Run one program in a thread of its own; return the faults, and whether the program has ended."""

    def body() -> None:
        try:
            with tracing_context(enabled=False):
                _run(scenario.play(Drive(watch.handler, is_async=watch.way.is_async)), watch)
        except BaseException as error:  # whatever it is, the program has no error of its own
            watch.broke(error)

    thread = threading.Thread(target=lanes.empty_context().run, args=(body,), daemon=True, name=f"check_handler: {scenario.when}")
    with ledger.opened(ledger.Outside()):
        thread.start()
        thread.join(timeout_s)
        if not thread.is_alive():
            return watch.faults, True
        watch.blocked(timeout_s)
        faults = list(watch.faults)  # what comes now comes of letting go
        watch.let_go()
        thread.join(min(timeout_s, 1.0))
        return faults, False


def _run(play: Any, watch: Watch) -> None:
    if not watch.way.on_a_loop:
        without_a_loop(play)
        return

    def loop() -> asyncio.AbstractEventLoop:
        watch.loops.append(new_loop())
        return watch.loops[-1]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play)


# -- in words


def _sighted(sighting: _Sighting, tried: list[Way]) -> Violation:
    fault, first = sighting.fault, sighting.scenarios[0]
    more = len(sighting.scenarios) - 1
    where = [("when", first.when + (f", and in {more} more of {len(SCENARIOS)} programs" if more else ""))]
    if len(sighting.ways) < len(tried):
        where.append(("only", ", and ".join(way.name for way in sighting.ways)))
    hint = fault.hint or (first.why if fault.callback in first.about.split() else "")
    return in_words(fault, where, hint)
