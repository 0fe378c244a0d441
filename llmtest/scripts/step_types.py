"""The types of a script: tokens, the parts of an answer, steps, and the options of a step.

`llmtest.scripts.steps` makes steps, `llmtest.scripts.script` serves them.

A **token** is the text of one streamed chunk. `say("a", "b")` gives exact tokens; `split()` cuts one plain string: each
token is one word, one other symbol, or one CJK character, with the white space before it; white space at the end is a
token of its own. The joined tokens are always the string again.
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

from llmtest.core.masks import table
from llmtest.core.source import caller
from llmtest.core.text import clip, did_you_mean
from llmtest.errors import ScriptError
from llmtest.events.events import Latency
from llmtest.events.words import EMPTY, FrozenDict, Usage
from llmtest.scripts.gates import PATIENCE_S, Gate, NoAnswer, as_timeout

if TYPE_CHECKING:
    from llmtest.scripts.fingerprints import Fingerprint


_CJK: Final = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN: Final = re.compile(rf"\s*(?:[{_CJK}]|[^\W{_CJK}]+|[^\w\s])|\s+")


def split(text: str) -> list[str]:
    """Return the tokens of `text`; joined, they are `text` again. An empty string has none.

    >>> split("It's 18C in Paris.")
    ['It', "'", 's', ' 18C', ' in', ' Paris', '.']
    """
    return _TOKEN.findall(text)


@lru_cache(maxsize=4096)
def count(text: str) -> int:
    """Return the number of tokens that `split` makes of `text`. A provider's tokenizer may count another number."""
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
    """A tool call of an answer. `args` are JSON values; `pieces` are their exact streamed text, if the script gives it."""

    tool: str
    args: FrozenDict
    id: str | None = None
    pieces: tuple[str, ...] = ()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The arguments as pieces of JSON text, one for each streamed chunk."""
        return self.pieces or tuple(split(json.dumps(self.args, ensure_ascii=False)))

    @property
    def malformed(self) -> bool:
        """True if the pieces are deliberately not the JSON of the arguments."""
        return bool(self.pieces) and _json_or_none("".join(self.pieces)) != self.args


@dataclass(frozen=True, slots=True)
class Value:
    """A structured value of an answer; serving turns it into a tool call or JSON text, as the model is bound."""

    value: Any
    type: str | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(split(json.dumps(self.value, ensure_ascii=False)))


Part = Text | Thinking | Call | Value


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Expects:
    """Conditions of a step on the prompt that it answers."""

    contains: tuple[str, ...] = ()
    forbids: tuple[str, ...] = ()
    tools: frozenset[str] | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """How often a step is served and under which conditions. `times` None means no limit; `gates` hold the call before it.

    `request` is what is known of the request that a recorded step answered. It chooses nothing, and does not make two steps
    different.
    """

    times: int | None = 1
    optional: bool = False
    checked: bool = True
    expects: Expects | None = None
    gates: tuple[Gate, ...] = ()
    request: Fingerprint | None = field(default=None, compare=False, repr=False)


ONCE: Final = Serving()


class StepOptions:
    """The options of every step. Each method returns a changed copy."""

    __slots__ = ()
    serving: Serving

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates at which a call of this step waits, in this order."""
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
        """No violation if no call takes the step. With `expects`, a call with another prompt skips the step."""
        return self._with(optional=True)

    def unchecked(self) -> Self:
        """Do not check the step against the binding: it may call unbound tools, give arguments that do not fit their
        schema, and ignore `tool_choice` or `stop`."""
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
        is bound to exactly `tools`, and the `last` message has this role. A call that violates it does not use up the step.

        Raises:
            ScriptError: no condition is given, a text is not a str, or no message has such a role.
        """
        names = frozenset(as_texts("tools", tools)) if tools is not None else None
        expected = Expects(as_texts("contains", contains), as_texts("forbids", forbids), names, as_role(last))
        if expected == Expects():
            raise ScriptError("expects() needs a condition: contains=, forbids=, tools= or last=")
        return self._with(expects=expected)


_ROLE_ALIASES: Final = {"user": "human", "assistant": "ai"}
ROLES: Final = ("human", "ai", "system", "tool", "function", "chat")
"""The roles of LangChain's messages; a message with a role of its own is a `chat` message."""


def as_role(last: object) -> str | None:
    if last is None:
        return None
    role = _ROLE_ALIASES.get(last, last) if isinstance(last, str) else last
    if role not in ROLES:
        hint = did_you_mean(role, (*ROLES, *_ROLE_ALIASES)) if isinstance(role, str) else ""
        raise ScriptError(f"last= is a role: {', '.join(map(repr, ROLES))}; got {type(last).__name__} {last!r}{hint}")
    return str(role)


def as_texts(name: str, value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(sorted(value) if isinstance(value, set | frozenset) else value)
    for text in texts:
        if not isinstance(text, str):
            raise ScriptError(f"{name}= takes a str or several; got {type(text).__name__} {text!r}")
    return texts


@dataclass(frozen=True, slots=True)
class Fail(StepOptions):
    """A step that fails with an exception, its class, the name of a built-in one, or an HTTP status."""

    error: BaseException | type[BaseException] | str | int
    retry_after: float | None = None
    message: str | None = None
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE
    takes_s: float | None = None
    by_client: bool = field(default=False, compare=False, repr=False)
    """True if it fails without an answer, as the client of a provider says it: by an error class of its own."""

    @property
    def latency(self) -> Latency | None:
        """The virtual time until it fails."""
        return None if self.takes_s is None else Latency(self.takes_s)

    @property
    def cause(self) -> tuple[type[BaseException] | int, tuple[Any, ...]]:
        """The exception class or the status, and its arguments: equal for equal errors in different spellings."""
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
    """A step whose answer a function returns."""

    function: Callable[..., object]
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE

    def __str__(self) -> str:
        return f"respond({getattr(self.function, '__name__', type(self.function).__name__)}){_show_serving(self.serving)}"


@dataclass(frozen=True, slots=True)
class Return(StepOptions):
    """A step that gives a value, as a retriever or a tool returns it. `give` makes it."""

    value: object = field(hash=False)
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE
    takes_s: float | None = None
    itself: bool = field(default=False, compare=False, repr=False)
    """True if the program gets the value itself, not a copy."""

    @property
    def latency(self) -> Latency | None:
        """The virtual time that the call takes."""
        return None if self.takes_s is None else Latency(self.takes_s)

    def __str__(self) -> str:
        return f"give({clip(repr(self.value), 200)}){_show_serving(self.serving)}"


@dataclass(frozen=True, slots=True)
class Reply(StepOptions):
    """A step that answers: its parts in order, then its usage and stop reason. `say`, `think`, `call`, `reply` make it.

    `usage` is None for the counted default, False for none. `failure` is raised after the last part; a `truncated` stream
    ends there without a finish reason; `refusal` means that the text is a refusal. `stops` are the gates within: for each
    the number of the part and of its token before which it stands. `ttft_s` and `tokens_per_s` are the virtual latency.
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
    verbatim: FrozenDict = EMPTY
    """What an `AIMessage` step says beside the parts: its content, `additional_kwargs`, `name`, `invalid_tool_calls`."""
    where: str = field(default="", compare=False, repr=False)
    serving: Serving = ONCE
    # Derived when the step is written, not when it is served.
    calls: tuple[Call, ...] = field(init=False, compare=False, repr=False)
    thinks: bool = field(init=False, compare=False, repr=False)
    structured: bool = field(init=False, compare=False, repr=False)
    text: str = field(init=False, compare=False, repr=False)
    plain: bool = field(init=False, compare=False, repr=False)
    """True if it is text and nothing else."""
    token_count: int = field(init=False, compare=False, repr=False)
    """The number of tokens in its text, its reasoning, and the name and arguments of its calls."""
    latency: Latency | None = field(init=False, compare=False, repr=False)
    """Its latency in virtual time; None if the script gives none."""

    def __post_init__(self) -> None:
        parts = self.parts
        kinds = [type(part) for part in parts]
        tokens = [part.tokens for part in parts]  # of a call, they are made each time
        calls = tuple([part for part in parts if isinstance(part, Call)]) if Call in kinds else ()
        timed = self.ttft_s is not None or self.tokens_per_s is not None
        said = [said for kind, own in zip(kinds, tokens, strict=True) if kind is Text for said in own]
        # The opening of a call is a piece of the stream too.
        pieces = len(calls) + sum(1 for own in tokens for token in own if token) if timed else 0
        derived = {
            "calls": calls,
            "thinks": Thinking in kinds,
            "structured": Value in kinds,
            "text": "".join(said),
            "plain": not self.refusal and kinds.count(Text) == len(kinds),
            "token_count": sum(map(len, tokens)) + sum([count(call.tool) for call in calls]),
            "latency": Latency(self.ttft_s or 0.0, self.tokens_per_s, pieces) if timed else None,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def gates(self) -> tuple[Gate, ...]:
        return (*self.serving.gates, *(gate for *_, gate in self.stops))

    def gate_positions(self) -> Iterator[tuple[int, Gate]]:
        """The gates within, each with the number of stream pieces before it: one per token, and one that opens a call."""
        starts = [0]
        for part in self.parts:
            starts.append(starts[-1] + len(part.tokens) + isinstance(part, Call))
        return ((starts[part] + token, gate) for part, token, gate in self.stops)

    @property
    def stops_last(self) -> bool:
        """True if a gate comes after all parts, so the stream needs another piece to end with."""
        return bool(self.stops) and self.stops[-1][0] == len(self.parts)

    def with_id(self, id: str) -> Reply:
        """Return the same tool call with your own id; without one it gets an id that is unique in the test.

        Raises:
            ScriptError: the reply has no tool call, or several.
        """
        return self._with_call(f"with_id({id!r})", id=id)

    def deltas(self, *pieces: str) -> Reply:
        """Return the same tool call, with its arguments streamed in exactly these pieces of JSON text.

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
        """Return the same tool call with this text in place of its arguments, as a model writes broken JSON.

        Raises:
            ScriptError: the reply has no tool call, or several; or the text is a JSON object after all.
        """
        changed = self._with_call("malformed(...)", pieces=as_tokens("malformed", (), pieces))
        if isinstance(_json_or_none("".join(pieces)), dict) or not pieces:
            raise ScriptError(f"malformed(...) takes text that is no JSON object; got {''.join(pieces)!r}")
        return changed

    def _with_call(self, what: str, **changed: Any) -> Reply:
        if len(self.calls) != 1:
            raise ScriptError(f"{what} is about one tool call, but {self} has {len(self.calls)}; use it on call(...)")
        parts = tuple(replace(part, **changed) if isinstance(part, Call) else part for part in self.parts)
        return replace(self, parts=parts)

    def then_truncate(self) -> Reply:
        """Return the same answer, cut off: the stream ends after its last token without finish reason and usage."""
        return replace(self, truncated=True)

    def then_wait(self, timeout_s: float = PATIENCE_S) -> Reply:
        """Return the same answer, after whose last token nothing comes, until the program leaves the call: by a timeout of its
        own, a cancellation, or because it reads no further. Without any token, the call is not answered at all.

        It is a violation if the program waits for `timeout_s` real seconds.

        Raises:
            ScriptError: `timeout_s` is no number above 0.
        """
        gate = NoAnswer(as_timeout(timeout_s), self.where or caller())
        says_nothing = not any(token for part in self.parts for token in part.tokens) and not self.calls
        if says_nothing:
            return replace(self, truncated=True, serving=replace(self.serving, gates=(*self.serving.gates, gate)))
        return replace(self, truncated=True, stops=(*self.stops, (len(self.parts), 0, gate)))

    @property
    def patience_s(self) -> float | None:
        """How long the program may wait where nothing comes any more; None if the answer is whole or ends."""
        return next((gate.timeout_s for gate in self.gates if isinstance(gate, NoAnswer)), None)

    def then_fail(self, error: BaseException | type[BaseException] | str | int, retry_after: float | None = None) -> Reply:
        """Return the same answer with a failure at its end: a stream breaks after its last token; an invoke fails."""
        return replace(self, failure=as_failure(error, retry_after, None, caller()))

    def __str__(self) -> str:
        gates = [(part, token) for part, token, gate in self.stops if not isinstance(gate, NoAnswer)]
        stops = [[token for part, token in gates if part == at] for at in range(len(self.parts) + 1)]
        shown = [text for part, within in zip((*self.parts, None), stops, strict=True) for text in _show_part(part, within)]
        text = shown[0] if len(shown) == 1 else f"reply({', '.join(shown)})" if shown else "say()"
        ending = ".then_truncate()" if self.truncated else ""
        if self.patience_s is not None:
            ending = f".then_wait({'' if self.patience_s == PATIENCE_S else f'{self.patience_s:g}'})"
        text += f".then_{self.failure}" if self.failure else ending
        return text + _show_serving(self.serving)


Step = Reply | Fail | Respond | Return


def add_gates(gates: tuple[Gate, ...], step: Step) -> Step:
    """Return `step` with these gates before its own."""
    return step._with(gates=(*gates, *step.serving.gates)) if gates else step


@dataclass(frozen=True, slots=True)
class ScriptOwner:
    """The double that a script speaks for, and the name of a call's input, as violations print them."""

    name: str = "model"
    input: str = "prompt"
    remedy: str = ""
    """What to do for a call without a step, if it is not to add one."""
    removal: str = ""
    """What removes steps that no call takes."""
    renewal: str = ""
    """What records the steps again."""

    @property
    def is_model(self) -> bool:
        return self.name == "model"

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
    return shown + " after hold()" * any(not isinstance(gate, NoAnswer) for gate in serving.gates)


def _show_part(part: Part | None, stops: Sequence[int]) -> list[str]:
    """Show a part with the gates before it or in it, or the gates after the last part."""
    if isinstance(part, Text | Thinking):
        said = "".join(part.tokens)
        hidden = table().without_secrets(said)  # no token looks like the secret that it is a part of
        shown = list(map(repr, part.tokens if hidden == said else [hidden]))
        for token in reversed(stops):
            shown.insert(token, "hold()")
        return [f"{'say' if isinstance(part, Text) else 'think'}({', '.join(shown[:6])}{', ...' * (len(shown) > 6)})"]
    return ["hold()"] * len(stops) + ([_show_call_or_value(part)] if part is not None else [])


def _show_call_or_value(part: Call | Value) -> str:
    if isinstance(part, Call):
        args = "".join(f", {key}={value!r}" for key, value in table().hide(part.args).items())
        named = f".with_id({part.id!r})" if part.id else ""
        pieces = f".{'malformed' if part.malformed else 'deltas'}({_show_pieces(part)})" if part.pieces else ""
        return f"call({part.tool!r}{args}){named}{pieces}"
    return f"structured({part.type or json.dumps(part.value, ensure_ascii=False)})"


def _show_pieces(part: Call) -> str:
    whole = "".join(part.pieces)
    hidden = table().without_secrets(whole)  # no piece looks like the secret that it is a part of
    return ", ".join(map(repr, part.pieces if hidden == whole else [hidden]))


# -- checks of the arguments of a step


def as_tokens(verb: str, texts: tuple[Any, ...], exact: Sequence[str] | None) -> tuple[str, ...]:
    if exact is not None and texts:
        raise ScriptError(f"{verb} takes its tokens as arguments or as tokens=[...], not both")
    if isinstance(exact, str):
        raise ScriptError(
            f"tokens= of {verb} is a list of tokens; got the str {exact!r}. For one whole token: tokens=[{exact!r}]"
        )
    tokens = tuple(texts if exact is None else exact)
    for position, token in enumerate(tokens, 1):
        if not isinstance(token, str):
            raise ScriptError(f"token {position} of {verb} is not a str: got {type(token).__name__} {token!r}")
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
        _check_no_arguments(error)
    if retry_after is not None and not (_is_number(retry_after) and 0 <= retry_after < math.inf):
        raise ScriptError(f"retry_after is a number of seconds, 0 or more; got {type(retry_after).__name__} {retry_after!r}")
    return Fail(error, retry_after, message, where=where)


def _check_no_arguments(error: type[BaseException]) -> None:
    """Raise now for a class that needs arguments: it would raise its own TypeError when it is served."""
    try:
        error()
    except TypeError as problem:
        name = error.__name__
        raise ScriptError(
            f"fail({name}) has no arguments to make the exception with: {problem}\n  give it made: fail({name}(...))"
        ) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


SECONDS: Final = "a number of seconds from 0 to 1e9"
RATE: Final = "a number of tokens a second from 0.001 to 1e9"


def is_seconds(value: Any) -> bool:
    return _is_number(value) and bool(0 <= value <= 1e9)


def is_rate(value: Any) -> bool:
    return _is_number(value) and bool(0.001 <= value <= 1e9)


def as_seconds(name: str, value: Any) -> float | None:
    if value is not None and not is_seconds(value):
        raise ScriptError(f"{name}= is {SECONDS}; got {type(value).__name__} {value!r}")
    seconds: float | None = value
    return seconds


def with_pace(answer: Reply, ttft_s: object, tokens_per_s: Any) -> Reply:
    first = as_seconds("ttft_s", ttft_s)
    if tokens_per_s is not None and not is_rate(tokens_per_s):
        raise ScriptError(f"tokens_per_s= is {RATE}; got {type(tokens_per_s).__name__} {tokens_per_s!r}")
    return answer if first is tokens_per_s is None else replace(answer, ttft_s=first, tokens_per_s=tokens_per_s)


@lru_cache(maxsize=1)
def exception_names() -> tuple[str, ...]:
    """Return the exceptions that a script may name as text: Python's built-in ones that take a message."""
    classes = {n: value for n, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    return tuple(name for name, value in classes.items() if value is UnicodeError or not issubclass(value, _UNNAMED))


_UNNAMED: Final = (UnicodeError, BaseExceptionGroup)
