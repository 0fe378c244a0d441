"""What a script is made of: tokens, the parts of an answer, steps, and what can be said of a step.

`llmtest.scripts.steps` makes steps, `llmtest.scripts.script` serves them.

A **token** is what one streamed chunk carries. `say("a", "b")` names them exactly; one plain string is cut by
`split()`: each token is one word, one other symbol, or one CJK character, with the white space before it; white space
at the end is a token of its own. Joined, the tokens are always the string again.
"""

from __future__ import annotations

import builtins
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from llmtest.core.source import caller
from llmtest.core.text import clip, did_you_mean
from llmtest.errors import ScriptError
from llmtest.events.events import Latency
from llmtest.events.words import EMPTY, FrozenDict, Usage

if TYPE_CHECKING:
    from llmtest.scripts.gates import Gate


_CJK: Final = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN: Final = re.compile(rf"\s*(?:[{_CJK}]|[^\W{_CJK}]+|[^\w\s])|\s+")


def split(text: str) -> list[str]:
    """`text` as tokens; joined, they are `text` again. An empty string has none.

    >>> split("It's 18C in Paris.")
    ['It', "'", 's', ' 18C', ' in', ' Paris', '.']
    """
    return _TOKEN.findall(text)


@lru_cache(maxsize=4096)
def count(text: str) -> int:
    """How many tokens `split` would make of `text`. Not what a provider's tokenizer would count."""
    return len(split(text))


# -- parts and steps


@dataclass(frozen=True, slots=True)
class Text:
    """Text of an answer, as exact tokens."""

    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning content of an answer, as exact tokens."""

    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an answer. `args` are JSON values; `pieces` the exact text in which they are streamed, if it matters."""

    tool: str
    args: FrozenDict
    id: str | None = None
    pieces: tuple[str, ...] = ()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The arguments as JSON text, in the pieces in which they are streamed."""
        return self.pieces or tuple(split(json.dumps(self.args, ensure_ascii=False)))

    @property
    def malformed(self) -> bool:
        """Whether the pieces are, on purpose, not the JSON of the arguments."""
        return bool(self.pieces) and _parsed("".join(self.pieces)) != self.args


@dataclass(frozen=True, slots=True)
class Value:
    """A structured value of an answer; when it is served it becomes a tool call or JSON text, as the model was bound."""

    value: Any
    type: str | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(split(json.dumps(self.value, ensure_ascii=False)))


Part = Text | Thinking | Call | Value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Expects:
    """What a step expects of the prompt that it answers."""

    contains: tuple[str, ...] = ()
    forbids: tuple[str, ...] = ()
    tools: frozenset[str] | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """How often a step is served and under which conditions. `times` None is without end; `gates` are those before it."""

    times: int | None = 1
    optional: bool = False
    checked: bool = True
    expects: Expects | None = None
    gates: tuple[Gate, ...] = ()


ONCE: Final = Serving()


class StepOptions:
    """What can be said of any step. Each returns a changed copy."""

    __slots__ = ()
    serving: Serving

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Where a call that the step answers waits, in this order."""
        return self.serving.gates

    def _with(self, **changed: Any) -> Self:
        return replace(self, serving=replace(self.serving, **changed))  # type: ignore[type-var]

    def times(self, number: int) -> Self:
        """The same step for `number` calls, one after the other.

        Raises:
            ScriptError: `number` is not a whole number of 1 or more.
        """
        if type(number) is not int or number < 1:
            raise ScriptError(f"times() takes a whole number of 1 or more; got {type(number).__name__} {number!r}")
        return self._with(times=number)

    def repeat(self) -> Self:
        """The same step for every further call; at least one call must come."""
        return self._with(times=None)

    def optional(self) -> Self:
        """Nobody minds if no call asks for the step. One that also `expects` something is passed over if it does not fit."""
        return self._with(optional=True)

    def unchecked(self) -> Self:
        """The step may break the contract with the model's caller on purpose: tools that are not bound, arguments that
        do not fit their schema, a `tool_choice` or `stop` that is not kept."""
        return self._with(checked=False)

    def expects(
        self,
        *,
        contains: str | Sequence[str] = (),
        forbids: str | Sequence[str] = (),
        tools: str | Sequence[str] | set[str] | None = None,
        last: str | None = None,
    ) -> Self:
        """A violation unless the prompt has each text of `contains` and none of `forbids` in one of its messages, the model
        is bound to exactly `tools`, and the `last` message has this role. The step then stays for the next call.

        Raises:
            ScriptError: nothing is expected, a text is not a str, or no message has that role.
        """
        if not (contains or forbids or last) and tools is None:
            raise ScriptError("expects() of nothing lets any prompt pass; give one or more of contains=, forbids=, tools=, last=")
        names = frozenset(as_texts("tools", tools)) if tools is not None else None
        wanted = Expects(as_texts("contains", contains), as_texts("forbids", forbids), names, as_role(last))
        return self._with(expects=wanted)


_ROLES: Final = ("human", "ai", "system", "tool", "function", "chat")
_OTHER_WORDS: Final = {"user": "human", "assistant": "ai"}


def as_role(last: Any) -> str | None:
    if last is None:
        return None
    if not isinstance(last, str):
        raise ScriptError(f"last= is the role of a message, such as 'human' or 'tool'; got {type(last).__name__} {last!r}")
    if last not in _ROLES and last not in _OTHER_WORDS:
        hint = did_you_mean(last, (*_ROLES, *_OTHER_WORDS), otherwise=f"the roles are {', '.join(_ROLES)}")
        raise ScriptError(f"last= is the role of a message; there is no role {last!r}{hint}")
    return _OTHER_WORDS.get(last, last)


def as_texts(what: str, given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(sorted(given) if isinstance(given, set | frozenset) else given)
    for text in texts:
        if not isinstance(text, str):
            raise ScriptError(f"{what}= takes a str or several; got {type(text).__name__} {text!r}")
    return texts


@dataclass(frozen=True, slots=True)
class Fail(StepOptions):
    """A step that fails: an exception, its class, the name of a built-in one, or an HTTP status."""

    error: BaseException | type[BaseException] | str | int
    retry_after: float | None = None
    message: str | None = None
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE
    takes_s: float | None = None

    @property
    def latency(self) -> Latency | None:
        """How long it takes in virtual time until it fails."""
        return None if self.takes_s is None else Latency(self.takes_s)

    @property
    def cause(self) -> tuple[type[BaseException] | int, tuple[Any, ...]]:
        """The exception class or the status, and its arguments: what the error comes to, however it was written."""
        if isinstance(self.error, BaseException):
            return type(self.error), self.error.args
        kind = getattr(builtins, self.error) if isinstance(self.error, str) else self.error
        return kind, () if self.message is None else (self.message,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fail):
            return NotImplemented
        rest, others = ((step.retry_after, step.takes_s, step.serving) for step in (self, other))
        return self.cause == other.cause and rest == others

    def __hash__(self) -> int:
        return hash((self.cause[0], self.retry_after))

    def __str__(self) -> str:
        shown = self.error.__name__ if isinstance(self.error, type) else repr(self.error)
        if self.message is not None:
            shown = f"{shown}, message={self.message!r}"
        more = "" if self.retry_after is None else f", retry_after={self.retry_after:g}"
        return f"fail({shown}{more}){_show_serving(self.serving)}"


@dataclass(frozen=True, slots=True)
class Respond(StepOptions):
    """A step that asks a function what to answer."""

    function: Callable[[Any], Any]
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE

    def __str__(self) -> str:
        return f"respond({getattr(self.function, '__name__', type(self.function).__name__)}){_show_serving(self.serving)}"


@dataclass(frozen=True, slots=True)
class Return(StepOptions):
    """A step that gives a value: what a retriever finds, what a tool returns. Made by `give`."""

    value: Any = field(hash=False)
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE
    takes_s: float | None = None

    @property
    def latency(self) -> Latency | None:
        """How long it takes in virtual time."""
        return None if self.takes_s is None else Latency(self.takes_s)

    def __str__(self) -> str:
        return f"give({clip(repr(self.value), 200)}){_show_serving(self.serving)}"


@dataclass(frozen=True, slots=True)
class Reply(StepOptions):
    """A step that answers: its parts in order, then its usage and stop reason. Made by `say`, `think`, `call`, `reply`.

    `usage` is None for the counted default, False for none. `failure` is raised after the last part; `truncated` means
    that the stream ends there without a finish reason; `refusal` that the text is a refusal. `stops` are the gates within:
    each with the part, and the token of that part, before which it stands. `ttft_s` and `tokens_per_s` say when the answer
    comes in virtual time.
    """

    parts: tuple[Part, ...]
    usage: Usage | Literal[False] | None = None
    stop_reason: str | None = None
    response_metadata: FrozenDict = EMPTY
    failure: Fail | None = None
    truncated: bool = False
    refusal: bool = False
    stops: tuple[tuple[int, int, Gate], ...] = ()
    ttft_s: float | None = None
    tokens_per_s: float | None = None
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE
    # Derived when the step is written, not when it is served.
    calls: tuple[Call, ...] = field(init=False, compare=False, repr=False)
    thinks: bool = field(init=False, compare=False, repr=False)
    structured: bool = field(init=False, compare=False, repr=False)
    text: str = field(init=False, compare=False, repr=False)
    plain: bool = field(init=False, compare=False, repr=False)
    """Whether it is text and nothing else."""
    token_count: int = field(init=False, compare=False, repr=False)
    """How many tokens the answer has: its text, its reasoning, and for a call its name and arguments."""
    latency: Latency | None = field(init=False, compare=False, repr=False)
    """When it comes in virtual time; None if nothing is said of that."""

    def __post_init__(self) -> None:
        calls = tuple(part for part in self.parts if isinstance(part, Call))
        tokens = sum(len(part.tokens) for part in self.parts) + sum(count(c.tool) for c in calls)
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "thinks", any(isinstance(part, Thinking) for part in self.parts))
        object.__setattr__(self, "token_count", tokens)
        object.__setattr__(self, "structured", any(isinstance(part, Value) for part in self.parts))
        text = "".join(token for part in self.parts if isinstance(part, Text) for token in part.tokens)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "plain", not self.refusal and all(isinstance(part, Text) for part in self.parts))
        timed = self.ttft_s is not None or self.tokens_per_s is not None
        object.__setattr__(self, "latency", self._latency() if timed else None)

    def _latency(self) -> Latency:
        """What comes one after the other is each piece of the stream that says something; that a call begins is one."""
        pieces = len(self.calls) + sum(1 for part in self.parts for token in part.tokens if token)
        return Latency(self.ttft_s or 0.0, self.tokens_per_s, pieces)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Where a call that the step answers waits, in this order."""
        return (*self.serving.gates, *(gate for *_, gate in self.stops))

    def stopped(self) -> Iterator[tuple[int, Gate]]:
        """The gates within, and how many pieces of the stream come before each: one a token, and one that opens a call."""
        starts = [0]
        for part in self.parts:
            starts.append(starts[-1] + len(part.tokens) + isinstance(part, Call))
        return ((starts[part] + token, gate) for part, token, gate in self.stops)

    @property
    def stops_last(self) -> bool:
        """Whether a gate comes after all the rest, so that the stream needs another piece to end with."""
        return bool(self.stops) and self.stops[-1][0] == len(self.parts)

    def with_id(self, id: str) -> Reply:
        """The same tool call under an id of your own; without one it gets an id that is unique in the test.

        Raises:
            ScriptError: the reply has no tool call, or several.
        """
        return self._with_call(f"with_id({id!r})", id=id)

    def deltas(self, *pieces: str) -> Reply:
        """The same tool call, its arguments streamed in exactly these pieces of JSON text.

        Raises:
            ScriptError: the reply has no tool call, or several; or the pieces do not join to its arguments.
        """
        changed = self._with_call("deltas(...)", pieces=as_tokens("deltas", (), pieces))
        if changed.calls[0].malformed:
            joined, args = "".join(pieces), json.dumps(self.calls[0].args, ensure_ascii=False)
            raise ScriptError(
                f"the pieces of deltas(...) do not join to the arguments\n  got       {joined}\n  expected  {args}\n"
                "  for text that is wrong on purpose: malformed(...)"
            )
        return changed

    def malformed(self, *pieces: str) -> Reply:
        """The same tool call with this text in place of its arguments, as when a model writes broken JSON.

        Raises:
            ScriptError: the reply has no tool call, or several; or the text is a JSON object after all.
        """
        changed = self._with_call("malformed(...)", pieces=as_tokens("malformed", (), pieces))
        if isinstance(_parsed("".join(pieces)), dict) or not pieces:
            raise ScriptError(f"malformed(...) takes text that is no JSON object; got {''.join(pieces)!r}")
        return changed

    def _with_call(self, what: str, **changed: Any) -> Reply:
        if len(self.calls) != 1:
            raise ScriptError(f"{what} is about one tool call, but {self} has {len(self.calls)}; use it on call(...)")
        parts = tuple(replace(part, **changed) if isinstance(part, Call) else part for part in self.parts)
        return replace(self, parts=parts)

    def then_truncate(self) -> Reply:
        """The same answer, cut off: the stream ends after its last token without a finish reason and without usage."""
        return replace(self, truncated=True)

    def then_fail(self, error: BaseException | type[BaseException] | str | int, retry_after: float | None = None) -> Reply:
        """The same answer, and then the failure: a stream breaks after its last token; an invoke fails as a whole."""
        return replace(self, failure=as_failure(error, retry_after, None, caller()))

    def __str__(self) -> str:
        stops = [[token for part, token, _ in self.stops if part == at] for at in range(len(self.parts) + 1)]
        shown = [text for part, within in zip((*self.parts, None), stops, strict=True) for text in _show_part(part, within)]
        text = shown[0] if len(shown) == 1 else f"reply({', '.join(shown)})" if shown else "say()"
        text += f".then_{self.failure}" if self.failure else ".then_truncate()" if self.truncated else ""
        return text + _show_serving(self.serving)


Step = Reply | Fail | Respond | Return


def behind(gates: tuple[Gate, ...], step: Step) -> Step:
    """`step` for a call that waits at these gates first."""
    return step._with(gates=(*gates, *step.serving.gates)) if gates else step


@dataclass(frozen=True, slots=True)
class ScriptOwner:
    """Whose script it is, and what a call of it brings, in the words of a complaint."""

    name: str = "model"
    input: str = "prompt"

    @property
    def is_model(self) -> bool:
        return self == ScriptOwner()

    @property
    def the(self) -> str:
        return self.name if self.name.startswith("`") else f"the {self.name}"

    @property
    def an_input(self) -> str:
        return f"{'an' if self.input[0] in 'aeiou' else 'a'} {self.input}"


def _show_serving(serving: Serving) -> str:
    shown = "" if serving.times == 1 else ".repeat()" if serving.times is None else f".times({serving.times})"
    if serving.expects is not None:
        wanted = {"contains": serving.expects.contains, "forbids": serving.expects.forbids, "last": serving.expects.last}
        if serving.expects.tools is not None:
            wanted["tools"] = tuple(sorted(serving.expects.tools))
        named = {k: list(v) if isinstance(v, tuple) else v for k, v in wanted.items() if v is not None and v != ()}
        shown += f".expects({', '.join(f'{k}={v!r}' for k, v in named.items())})"
    shown += ".optional()" * serving.optional + ".unchecked()" * (not serving.checked)
    return shown + " after hold()" * bool(serving.gates)


def _show_part(part: Part | None, stops: Sequence[int]) -> list[str]:
    """A part with the gates before it or in it, or those after the last part."""
    if isinstance(part, Text | Thinking):
        shown = list(map(repr, part.tokens))
        for token in reversed(stops):
            shown.insert(token, "hold()")
        return [f"{'say' if isinstance(part, Text) else 'think'}({', '.join(shown[:6])}{', ...' * (len(shown) > 6)})"]
    return ["hold()"] * len(stops) + ([_show_bare(part)] if part is not None else [])


def _show_bare(part: Call | Value) -> str:
    if isinstance(part, Call):
        args = "".join(f", {key}={value!r}" for key, value in part.args.items())
        named = f".with_id({part.id!r})" if part.id else ""
        pieces = f".{'malformed' if part.malformed else 'deltas'}({', '.join(map(repr, part.pieces))})" if part.pieces else ""
        return f"call({part.tool!r}{args}){named}{pieces}"
    return f"structured({part.type or json.dumps(part.value, ensure_ascii=False)})"


# -- what is checked where a step is written


def as_tokens(what: str, given: tuple[Any, ...], exact: Sequence[str] | None) -> tuple[str, ...]:
    if exact is not None and given:
        raise ScriptError(f"{what} takes its tokens as arguments or as tokens=[...], not both")
    if isinstance(exact, str):
        raise ScriptError(
            f"tokens= of {what} is a list of tokens; got the str {exact!r}. For one whole token: tokens=[{exact!r}]"
        )
    tokens = tuple(given if exact is None else exact)
    for position, token in enumerate(tokens, 1):
        if not isinstance(token, str):
            raise ScriptError(f"token {position} of {what} is not a str: got {type(token).__name__} {token!r}")
    return tuple(split(tokens[0])) if exact is None and len(tokens) == 1 else tokens


def as_failure(error: Any, retry_after: float | None, message: str | None, where: str) -> Fail:
    if isinstance(error, str) and error not in exception_names():
        raise ScriptError(f"fail() knows no exception named {error!r}{did_you_mean(error, exception_names())}")
    known = isinstance(error, BaseException | str) or (isinstance(error, type) and issubclass(error, BaseException))
    status = isinstance(error, int) and not isinstance(error, bool)
    if status and not 400 <= error <= 599:
        raise ScriptError(f"an HTTP status that fails lies between 400 and 599; fail() got {error}")
    if not (known or status):
        raise ScriptError(
            f"fail() takes an exception, an exception class, its name, or an HTTP status; got {type(error).__name__} {error!r}"
        )
    if isinstance(error, type):
        _makes(error)
    if retry_after is not None and not (_is_number(retry_after) and 0 <= retry_after < math.inf):
        raise ScriptError(f"retry_after is a number of seconds, 0 or more; got {type(retry_after).__name__} {retry_after!r}")
    return Fail(error, retry_after, message, where=where)


def _makes(error: type[BaseException]) -> None:
    """A class that cannot be called without arguments would fail with a TypeError of its own when it is served."""
    try:
        error()
    except TypeError as problem:
        name = error.__name__
        raise ScriptError(
            f"fail({name}) has no arguments to make the exception with: {problem}\n  give it made: fail({name}(...))"
        ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


SECONDS: Final = "a number of seconds from 0 to 1e9"
RATE: Final = "a number of tokens a second from 0.001 to 1e9"


def is_seconds(value: Any) -> bool:
    """Whether a latency can be this long."""
    return _is_number(value) and bool(0 <= value <= 1e9)


def is_rate(value: Any) -> bool:
    """Whether tokens can come at this rate."""
    return _is_number(value) and bool(0.001 <= value <= 1e9)


def as_seconds(name: str, value: Any) -> float | None:
    if value is not None and not is_seconds(value):
        raise ScriptError(f"{name}= is {SECONDS}; got {type(value).__name__} {value!r}")
    seconds: float | None = value
    return seconds


def paced(answer: Reply, ttft_s: Any, tokens_per_s: Any) -> Reply:
    """The same answer, at this pace in virtual time."""
    first = as_seconds("ttft_s", ttft_s)
    if tokens_per_s is not None and not is_rate(tokens_per_s):
        raise ScriptError(f"tokens_per_s= is {RATE}; got {type(tokens_per_s).__name__} {tokens_per_s!r}")
    return answer if first is tokens_per_s is None else replace(answer, ttft_s=first, tokens_per_s=tokens_per_s)


@lru_cache(maxsize=1)
def exception_names() -> tuple[str, ...]:
    """The exceptions that a script may name as text: Python's built-in ones that are made from a message."""
    classes = {n: value for n, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    return tuple(name for name, value in classes.items() if value is UnicodeError or not issubclass(value, _UNNAMED))


_UNNAMED: Final = (UnicodeError, BaseExceptionGroup)
