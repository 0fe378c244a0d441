"""Select runs in a test: `called("book", id=7)`, `model("gpt*")`, `node("planner")`, ...; how often, and which together.

Everything here is a value that a test writes down. `misses` says in words why a run is not
meant; `llmtest.matching.shapes` and `llmtest.matching.rules` are built on it.
"""

from __future__ import annotations

import copy
import functools
import re
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from llmtest.core.literals import Repeated, Together, bounds_of
from llmtest.core.masks import show
from llmtest.core.text import PLAIN, Name, fits, named, names, short, tool_name
from llmtest.errors import UnjudgedError
from llmtest.events.callbacks import CALLBACKS, START_KINDS
from llmtest.events.events import Event, Run
from llmtest.events.words import Failure, Message
from llmtest.matching.rule import CameFrom, Condition, Hit
from llmtest.order.siblings import is_node

# -- selectors


class Selector:
    """Which runs are meant: of which kind, of which name, and what else must be true of them.

    `selector == run` tells whether it means that run; from then on its repr is that of the run, so that a diff shows only
    what is wrong. `a | b` means either; `a[2]` two of them, `a[1:3]` one to three, `a[1:]` one or more, in a shape.
    """

    def __init__(self, made: str, kinds: frozenset[str], noun: str, name: Name = "*") -> None:
        self.made = made
        self.kinds = kinds
        self.noun = noun
        self.name = name
        self.conditions: tuple[Condition, ...] = ()
        self.first: tuple[str, object] | None = None
        self.seen: Run | None = None

    # what it means

    def accepts(self, kind: str, name: str) -> bool:
        """True if a run of this kind and name may be meant."""
        return kind in self.kinds and named(self.name, name)

    def misses(self, run: Hit) -> str | None:
        """Return why `run` is not selected, or None if it is.

        Raises:
            UnjudgedError: it cannot be told.
        """
        if run.kind not in self.kinds:
            return f"it is a {run.kind}"
        if not named(self.name, run.name):
            return f"it is `{run.name}`"
        return next((condition.why(run) for condition in self.conditions if not self._holds(condition, run)), None)

    def means(self, run: Hit) -> bool:
        """True if `run` is selected: `misses(run) is None`.

        Raises:
            UnjudgedError: it cannot be told.
        """
        if self.first is not None and isinstance(run, Run):
            key, expected = self.first
            # Only of one type: True == 1 and 1 == 1.0, and a matcher may be of any type.
            actual = run.args.get(key)
            if type(actual) is type(expected) and actual != expected:
                return False  # most runs differ in the first argument: that is quickly seen
        return self.accepts(run.kind, run.name) and all(self._holds(condition, run) for condition in self.conditions)

    def among(self, runs: Sequence[Hit]) -> Sequence[Hit]:
        """Return the selected ones of these runs, whose kinds and names are accepted already.

        Raises:
            UnjudgedError: of one it cannot be told.
        """
        for condition in self.conditions:
            try:
                runs = [run for run in runs if condition.holds(run)]
            except Exception:  # of which, and how to say it, is told by asking one by one
                runs = [run for run in runs if self._holds(condition, run)]
        return runs

    def _holds(self, condition: Condition, run: Hit) -> bool:
        try:
            return bool(condition.holds(run))
        except UnjudgedError:
            raise
        except Exception as error:  # a condition is code of the test; what it cannot look at cannot be told
            raise UnjudgedError(f"{condition.text} of `{run.name}` raised {type(error).__name__}: {error}") from error

    def options(self) -> Iterator[Selector]:
        """Yield the selectors that this one is made of."""
        yield self

    # in a shape: what `llmtest.core.literals.Taker` asks

    @property
    def is_conditional(self) -> bool:
        """True if kind and name do not decide whether it means a run."""
        return any(option.conditions for option in (self, *self.options()))

    def may_take(self, run: Hit) -> bool:
        """True if a run of this kind and name may be meant."""
        return self.accepts(run.kind, run.name)

    def takes(self, run: Hit) -> bool:
        """True if `run` is meant; if that cannot be told, it is not."""
        try:
            return self.means(run)
        except UnjudgedError:
            return False

    # more conditions

    def _having(self, condition: Condition) -> Selector:
        # A copy, because a test may build several selectors on one.
        new = copy.copy(self)
        new.conditions, new.seen = (*self.conditions, condition), None
        return new

    def returned(self, value: object) -> Selector:
        """Select runs that ended with this result: equal to it, or as a matcher or regular expression says. For a message, its
        content or text may match too."""
        _refuse_functions("returned", "the result", value)

        def holds(run: Run) -> bool:
            ended = run.ended
            if ended == "open":
                raise UnjudgedError(f"`{run.name}` has not ended, so what it returns is not known")
            if ended == "ended" and "output" in run.unknown:
                raise UnjudgedError(f"the span of `{run.name}` does not tell what it returned")
            given = run.output
            if isinstance(given, Message):
                return ended == "ended" and any(fits(value, one) for one in (given, given.content, given.text))
            return ended == "ended" and fits(value, given)

        def why(run: Run) -> str:
            given = run.output
            said = f"it returned {show(given.text if isinstance(given, Message) else given)}"
            return said if run.ended == "ended" else f"it did not return ({run.ended})"

        return self._having(Condition(f".returned({short(value)})", holds, why))

    def failed(self, error: Name | type[BaseException] = "*") -> Selector:
        """Select runs that failed with an exception of this class, or of a class with this name."""
        kind = error if isinstance(error, type) else None
        name = "" if isinstance(error, type) else error

        def holds(run: Run) -> bool:
            failure = run.error
            if failure is None and run.ended == "open":
                raise UnjudgedError(f"`{run.name}` has not ended, so whether it fails is not known")
            if failure is None or kind is None:
                return failure is not None and named(name, failure.type)
            is_one = failure.is_a(kind)
            if is_one is None:
                raise UnjudgedError(f"what classes are above {failure.type} of `{run.name}` is not known in a loaded trace")
            return is_one

        def why(run: Run) -> str:
            return f"it did not fail ({run.ended})" if run.error is None else f"it failed with {run.error.type}"

        shown = kind.__name__ if kind is not None else _quoted(name) if name != "*" else ""
        return self._having(Condition(f".failed({shown})", holds, why))

    def tagged(self, tag: Name) -> Selector:
        """Select runs that have this tag."""

        def holds(run: Run) -> bool:
            tags = run.tags
            return tag in tags or any(named(tag, one) for one in tags)

        return self._having(Condition(f".tagged({_quoted(tag)})", holds, lambda run: f"its tags are {short(list(run.tags))}"))

    def where(self, true: Callable[[Any], object]) -> Selector:
        """Select runs of which `true(run)` is true. A function that raises makes the rule "cannot tell"."""

        text = f".where({getattr(true, '__name__', short(true))})"
        return self._having(Condition(text, true, lambda run: f"{text[1:]} is false"))

    def came_from(self, source: str | Selector, *, arg: str | None = None) -> CameFrom:
        """Return the rule that a value in the input of each of these runs is a result of a run that `source` selects.

        See `llmtest.matching.rule.CameFrom`.
        """
        return CameFrom(self, selector(source), arg)

    # in a shape

    def __or__(self, other: object) -> Selector:
        return Either(self, other) if isinstance(other, str | Selector) else NotImplemented

    def __ror__(self, other: object) -> Selector:
        return Either(other, self) if isinstance(other, str) else NotImplemented

    def __getitem__(self, count: int | slice) -> Repeated:
        return Repeated(self, *bounds_of(count))

    __iter__ = None  # without it, `__getitem__` would make it an endless sequence

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Selector):
            return self.text == other.text
        if not isinstance(other, Run | Event):
            return NotImplemented
        try:
            found = self.misses(other) is None
        except UnjudgedError:
            found = False
        # pytest shows the repr of a selector that matched in its diff; as the run, it is no difference.
        self.seen = other if found and isinstance(other, Run) else None
        return found

    def __hash__(self) -> int:
        # Less than `==` compares, which also looks at the conditions: equal selectors have equal hashes all the same.
        return hash((self.made, self.noun))

    # words

    @property
    def text(self) -> str:
        """How it is written, whatever it has matched."""
        return self.made + "".join(condition.text for condition in self.conditions if condition.argument is None)

    def __repr__(self) -> str:
        return self.text if self.seen is None else repr(self.seen.name)

    def __str__(self) -> str:
        """How it is called in a sentence."""
        args = [condition.text for condition in self.conditions if condition.argument is not None]
        more = "".join([condition.text for condition in self.conditions if condition.argument is None])
        shown = self.name if isinstance(self.name, str) else f"/{self.name.pattern}/"
        name = f"`{shown}`" if shown != "*" or not self.noun else ""
        return " ".join(filter(None, (self.noun, name))) + (f"({', '.join(args)})" if args else "") + more


class Either(Selector):
    """Runs that one or the other selector means."""

    def __init__(self, *options: str | Selector) -> None:
        # A bare name takes the kinds of the selectors beside it: model("a") | "b" means models.
        kinds = frozenset().union(*(one.kinds for one in options if isinstance(one, Selector)))
        self.parts = tuple(one if isinstance(one, Selector) else _named(one, kinds) for one in options)
        made = " | ".join(part.text for part in self.parts)
        super().__init__(made, frozenset().union(*(part.kinds for part in self.parts)), "")

    def accepts(self, kind: str, name: str) -> bool:
        return any(part.accepts(kind, name) for part in self.parts)

    def misses(self, run: Hit) -> str | None:
        told = [part.misses(run) for part in self.parts]
        mine = super().misses(run)
        # The reason of the last part that has one: the first is often a name that is no candidate.
        return mine if None in told else next(filter(None, reversed(told)))

    def means(self, run: Hit) -> bool:
        told = [part.means(run) for part in self.parts]
        return any(told) and super().means(run)

    def among(self, runs: Sequence[Hit]) -> Sequence[Hit]:
        # `among` of a part takes kind and name for accepted, so each part gets its own runs.
        names = {(run.kind, run.name) for run in runs}
        meant: set[int] = set()
        for part in self.parts:
            due = {name for name in names if part.accepts(*name)}
            meant.update(map(id, part.among([run for run in runs if (run.kind, run.name) in due])))
        return super().among([run for run in runs if id(run) in meant])

    def options(self) -> Iterator[Selector]:
        for part in self.parts:
            yield from part.options()

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts)) + "".join(condition.text for condition in self.conditions)


class EventSelector(Selector):
    """Which events are meant."""

    def accepts(self, kind: str, name: str) -> bool:
        return named(self.name, kind)

    def misses(self, run: Hit) -> str | None:
        if not named(self.name, run.kind):
            return f"it is {run.kind}"
        return next((condition.why(run) for condition in self.conditions if not self._holds(condition, run)), None)

    def __eq__(self, other: object) -> bool:
        """In the shape of `recording.kinds` it stands for the name of its callback; names carry no payload to compare."""
        if isinstance(other, str):
            return not self.conditions and named(self.name, other)
        return super().__eq__(other)

    __hash__ = Selector.__hash__

    def _of_a_run(self, *args: Any) -> Any:
        raise TypeError(f"{self.text} means events; returned, failed, tagged and came_from are said of runs")

    returned = failed = tagged = came_from = _of_a_run  # type: ignore[assignment]


# -- how they are made


def _quoted(name: Name) -> str:
    return repr(name) if isinstance(name, str) else f"re.compile({name.pattern!r})"


def _made(function: str, kinds: tuple[str, ...], noun: str, name: Name, cls: type[Selector] = Selector) -> Selector:
    if not isinstance(name, str | re.Pattern):
        raise _no_name(function, name)
    return cls(f"{function}({'' if name == '*' else _quoted(name)})", frozenset(kinds), noun, name)


def _no_name(function: str, name: object) -> TypeError:
    return TypeError(f"{function}() takes a name: a str, or a regular expression; got {type(name).__name__} {name!r}")


_FUNCTIONS: Final = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)


def _refuse_functions(made_by: str, what: str, value: object) -> None:
    """Raise an error for a function as an expected value. It equals nothing, so that a rule with `never` would always hold."""
    if isinstance(value, _FUNCTIONS):
        raise TypeError(
            f"{made_by}() compares {what} with a value, a matcher or a regular expression; got the function {short(value)}\n"
            "  to ask a function, write .where(lambda run: ...)"
        )
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _refuse_functions(made_by, what, inner)


def called(name: object = "*", /, **args: object) -> Selector:
    """Select tool runs of this name with these arguments; a value may be a matcher, a regular expression or `unittest.mock.ANY`.

    The name may be the tool itself, or its function. Arguments that are not given may be anything. A bare string in a rule
    means the same as `called` of it.

    >>> pass
    >>> called("book", id=7)
    called('book', id=7)

    It does not see a tool call that a model asked for and the program did not run.
    """
    if not isinstance(name, str | re.Pattern):
        tool = tool_name(name)
        if tool is None:
            raise _no_name("called", name)
        name = tool
    for key, value in args.items():
        _refuse_functions("called", f"`{key}`", value)
    shown = [f"{key}={_quoted(value) if isinstance(value, re.Pattern) else short(value)}" for key, value in args.items()]
    made_by = f"called({', '.join(([] if name == '*' else [_quoted(name)]) + shown)})"
    made = Selector(made_by, frozenset({"tool"}), "" if name != "*" else "a tool", name)
    made.conditions = tuple([Condition(text, *_has(*item), item[0]) for text, item in zip(shown, args.items(), strict=True)])
    first = [(key, value) for key, value in [*args.items()][:1] if type(value) in PLAIN]
    made.first = first[0] if first else None
    return made


def _has(key: str, expected: object) -> tuple[Callable[[Run], bool], Callable[[Run], str]]:
    def holds(run: Run) -> bool:
        args = run.args
        if key in args:
            return fits(expected, args[key])
        if "input" in run.unknown:
            raise UnjudgedError(f"the span of `{run.name}` does not tell its arguments")
        # Plain text has no arguments to compare: neither a match nor a miss is certain.
        if not args and run.input:
            raise UnjudgedError(f"`{run.name}` was called with plain text, so it has no argument `{key}`")
        return False

    def why(run: Run) -> str:
        if key in run.args:
            return f"`{key}` is {show(run.args[key], key)}"
        return f"it has no argument `{key}`, only {names(run.args, 'none at all')}"

    return holds, why


def model(name: Name = "*") -> Selector:
    """Select runs of chat models and text models of this name."""
    return _made("model", ("chat", "llm"), "model" if name != "*" else "a model", name)


def chain(name: Name = "*") -> Selector:
    """Select chain runs of this name: runnables, agents, graphs, functions."""
    return _made("chain", ("chain",), "chain" if name != "*" else "a chain", name)


def retriever(name: Name = "*") -> Selector:
    """Select retriever runs of this name."""
    return _made("retriever", ("retriever",), "retriever" if name != "*" else "a retriever", name)


def node(name: Name = "*") -> Selector:
    """Select the runs of a LangGraph node of this name."""

    made = _made("node", ("chain",), "node" if name != "*" else "a node", name)
    made.conditions = (Condition("", is_node, lambda run: "it is no node of a graph"),)
    return made


def event(kind: Name, /, **payload: object) -> Selector:
    """Select events: a callback of this name, `event("on_retry")`, whose payload has these entries.

    In a rule it means events. In the shape of `recording.kinds` it means the name, and can have no entries.

    Raises:
        ValueError: there is no such callback.
    """
    if isinstance(kind, str) and not any(named(kind, known) for known in CALLBACKS):
        raise ValueError(f"event() takes the name of a callback; got {kind!r}. They are {', '.join(sorted(CALLBACKS))}")
    for key, value in payload.items():
        _refuse_functions("event", f"`{key}`", value)
    made = _made("event", (), "event", kind, EventSelector)
    shown = [f"{key}={short(value)}" for key, value in payload.items()]
    made.made = f"event({', '.join([_quoted(kind), *shown])})"
    made.conditions = tuple(Condition(text, *_carries(*item), item[0]) for text, item in zip(shown, payload.items(), strict=True))
    return made


def _carries(key: str, expected: object) -> tuple[Callable[[Event], bool], Callable[[Event], str]]:
    def given(event: Event) -> object:
        # A payload holds an error in frozen words; a test writes the name of its class.
        value = event.payload.get(key)
        return value.type if isinstance(value, Failure) and isinstance(expected, str | re.Pattern) else value

    return lambda event: fits(expected, given(event)), lambda event: f"`{key}` is {show(given(event), key)}"


def together(*members: object) -> Together:
    """Match, in a shape, these runs in one turn or truly concurrent, in any order; duplicates count.

    One turn is the tool calls that one message of a model asked for, also where the program makes them one after the
    other. A member is a name, a `called(...)` or the like, or a repetition of it: `together(called("search")[1:3], "rate")`.

    Raises:
        TypeError: nothing is given, or `...`, a list or another `together`.
    """
    if not members:
        raise TypeError("together() takes at least one name or called(...)")
    for member in members:
        if member is ... or _is_many(member):
            raise TypeError(f"a member of together() is a name, a called(...) or a repetition of it; got {member!r}")
    return Together(members)


def _is_many(member: object) -> bool:
    return isinstance(member, list | tuple | set | frozenset | Together) and not isinstance(member, Repeated)


_ANY_KIND: Final = frozenset(START_KINDS.values())


def by_name(name: Name) -> Selector:
    """Select runs of any kind of this name: the meaning of a bare string in a shape."""
    return _named(name, _ANY_KIND)


def _named(name: Name, kinds: frozenset[str]) -> Selector:
    made = _made("called", (*kinds,), "", name)
    made.made = _quoted(name)
    return made


def selector(given: object) -> Selector:
    """Return the selector of a rule's argument: a tool, a function that is one, or a bare string, which names a tool.

    Raises:
        TypeError: it is no selector.
    """
    if isinstance(given, Selector):
        return given
    if isinstance(given, str | re.Pattern):
        return called(given)
    tool = tool_name(given)
    if tool is not None:
        return called(tool)
    raise TypeError(
        f"a rule is about runs: a tool or its name, called(...), model(...), chain(...), node(...) or event(...);"
        f" got {type(given).__name__} {given!r}"
    )
