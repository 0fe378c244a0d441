"""What a scripted model will say.

Floor 0: standard library only (PyYAML inside `Script.load` and `Script.dump`). A `Script` is the only thing that
speaks; the doubles in `llmtest.langchain` are mouths for it.

A **token** is what one streamed chunk carries. `say("a", "b")` names them exactly; one plain string is cut by
`split()`: each token is one word, one other symbol, or one CJK character, with the white space before it; white space
at the end is a token of its own. Joined, the tokens are always the string again.
"""

from __future__ import annotations

import builtins
import difflib
import http
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from llmtest import ledger
from llmtest.events import EMPTY, FrozenDict, FrozenList, Message, Usage
from llmtest.ledger import LlmtestError, Violation, ViolationError

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


class ScriptError(LlmtestError, ValueError):
    """A script was written wrongly: raised where it is written, not when it is served."""


class StatusError(Exception):
    """What a step that fails with an HTTP status raises. With langchain-core 1.7 and newer it is also the class there
    that stands for this status, such as `ModelRateLimitError`. `status_code` is an int, `retry_after` in seconds or None.
    """

    def __init__(self, status_code: int, retry_after: float | None = None, message: str | None = None) -> None:
        self.status_code = status_code
        self.retry_after = retry_after
        super().__init__(message or f"{status_code} {_PHRASES.get(status_code, 'error')}")


_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}


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
    """A tool call of an answer. `args` are JSON values."""

    tool: str
    args: FrozenDict
    id: str | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The arguments as JSON text, in the pieces in which they are streamed."""
        return tuple(split(json.dumps(self.args, ensure_ascii=False)))


Part = Text | Thinking | Call


@dataclass(frozen=True, slots=True)
class Fail:
    """A step that fails: an exception, its class, the name of a built-in one, or an HTTP status."""

    error: BaseException | type[BaseException] | str | int
    retry_after: float | None = None
    message: str | None = None
    where: str = field(default="", compare=False, repr=False)

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
        return self.cause == other.cause and self.retry_after == other.retry_after

    def __hash__(self) -> int:
        return hash((self.cause[0], self.retry_after))

    def __str__(self) -> str:
        shown = self.error.__name__ if isinstance(self.error, type) else repr(self.error)
        if self.message is not None:
            shown = f"{shown}, message={self.message!r}"
        more = "" if self.retry_after is None else f", retry_after={self.retry_after:g}"
        return f"fail({shown}{more})"


@dataclass(frozen=True, slots=True)
class Reply:
    """A step that answers: its parts in order, then its usage and stop reason. Made by `say`, `think`, `call`, `reply`.

    `usage` is None for the counted default, False for none. `failure` is raised after the last part.
    """

    parts: tuple[Part, ...]
    usage: Usage | Literal[False] | None = None
    stop_reason: str | None = None
    response_metadata: FrozenDict = EMPTY
    failure: Fail | None = None
    where: str = field(default="", compare=False, repr=False)
    # Derived when the step is written, not when it is served.
    calls: tuple[Call, ...] = field(init=False, compare=False, repr=False)
    thinks: bool = field(init=False, compare=False, repr=False)
    token_count: int = field(init=False, compare=False, repr=False)
    """How many tokens the answer has: its text, its reasoning, and for a call its name and arguments."""

    def __post_init__(self) -> None:
        calls = tuple(part for part in self.parts if isinstance(part, Call))
        tokens = sum(len(part.tokens) for part in self.parts) + sum(count(c.tool) for c in calls)
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "thinks", any(isinstance(part, Thinking) for part in self.parts))
        object.__setattr__(self, "token_count", tokens)

    @property
    def text(self) -> str:
        return "".join(token for part in self.parts if isinstance(part, Text) for token in part.tokens)

    def with_id(self, id: str) -> Reply:
        """The same tool call under an id of your own; without one it gets an id that is unique in the test.

        Raises:
            ScriptError: the reply has no tool call, or several.
        """
        if len(self.calls) != 1:
            raise ScriptError(f"with_id({id!r}) names one tool call, but {self} has {len(self.calls)}; use it on call(...)")
        parts = tuple(replace(part, id=id) if isinstance(part, Call) else part for part in self.parts)
        return replace(self, parts=parts)

    def then_fail(self, error: BaseException | type[BaseException] | str | int, retry_after: float | None = None) -> Reply:
        """The same answer, and then the failure: a stream breaks after its last token; an invoke fails as a whole."""
        return replace(self, failure=_fail(error, retry_after, None, _caller()))

    def __str__(self) -> str:
        shown = [_show_part(part) for part in self.parts]
        text = shown[0] if len(shown) == 1 else f"reply({', '.join(shown)})" if shown else "say()"
        return f"{text}.then_{self.failure}" if self.failure else text


Step = Reply | Fail


def _show_part(part: Part) -> str:
    if isinstance(part, Call):
        args = "".join(f", {key}={value!r}" for key, value in part.args.items())
        named = f".with_id({part.id!r})" if part.id else ""
        return f"call({part.tool!r}{args}){named}"
    shown = ", ".join(repr(token) for token in part.tokens[:6]) + (", ..." if len(part.tokens) > 6 else "")
    return f"{'say' if isinstance(part, Text) else 'think'}({shown})"


_PACKAGE: Final = os.path.join(os.path.dirname(__file__), "")


def _caller() -> str:
    """`file:line` of the code outside llmtest that wrote the step."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def place(where: str) -> str:
    """`where` with its path relative to the current folder, when it lies below it."""
    path, _, line = where.rpartition(":")
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive on Windows
        return where
    return where if relative.startswith("..") else f"{relative}:{line}"


# -- the vocabulary


def _tokens(what: str, given: tuple[Any, ...], exact: Sequence[str] | None) -> tuple[str, ...]:
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


def say(
    *text: str,
    tokens: Sequence[str] | None = None,
    usage: UsageLike = None,
    stop_reason: str | None = None,
    response_metadata: Mapping[str, Any] | None = None,
) -> Reply:
    """A step that answers with text.

    Several strings are exact tokens; one plain string is cut by `split`; `tokens=["whole"]` keeps a string whole.
    `usage` is `(input_tokens, output_tokens)`, a `Usage`, or a LangChain usage dict; `None` counts: output is the
    scripted tokens, input the prompt as `split` cuts it; `False` reports none, as some providers do.

    Raises:
        ScriptError: a token is not a str, or `usage` is none of the above.

    >>> say("It is ", "sunny.").text
    'It is sunny.'
    """
    return _reply((Text(_tokens("say", text, tokens)),), usage, stop_reason, response_metadata)


def think(*text: str, tokens: Sequence[str] | None = None) -> Reply:
    """A step, or with `reply` a part, of reasoning content. Tokens as in `say`.

    It becomes a `reasoning` content block, so the message's content is then a list of blocks.

    >>> reply(think("Paris, then."), "It is sunny.").text
    'It is sunny.'
    """
    return _reply((Thinking(_tokens("think", text, tokens)),))


def call(tool: Any, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Reply:
    """A step, or with `reply` a part, that calls a tool.

    `tool` is its name, or the tool itself. Every keyword is an argument of the tool; `args` takes those that cannot be
    keywords. The call gets an id that is unique in the test: `call(...).with_id("call_7")` sets it. When it is served
    it is checked against the tools that are bound: an unknown tool, a missing or an extra argument is a violation.

    Raises:
        ScriptError: an argument is given twice, or is not JSON.

    >>> call("book", {"class": 2}, to="Lyon").calls[0].args
    {'class': 2, 'to': 'Lyon'}
    """
    name = tool if isinstance(tool, str) else getattr(tool, "name", None) or getattr(tool, "__name__", None)
    if not isinstance(name, str) or not name:
        raise ScriptError(f"call() takes the name of a tool, or the tool; got {type(tool).__name__} {tool!r}")
    if args is not None and not isinstance(args, Mapping):
        raise ScriptError(f"the arguments of call({name!r}) are a mapping or keywords; got {type(args).__name__} {args!r}")
    twice = sorted(set(args or ()) & set(kwargs))
    if twice:
        raise ScriptError(f"call({name!r}) has the argument `{twice[0]}` twice: in the mapping and as a keyword")
    return _reply((Call(name, _json_object(name, {**(args or {}), **kwargs})),))


def _json_object(tool: str, args: dict[str, Any]) -> FrozenDict:
    frozen = {}
    for key, value in args.items():
        if not isinstance(key, str):
            raise ScriptError(f"the arguments of call({tool!r}) have names; got {type(key).__name__} {key!r} for one")
        try:
            json.dumps(value, allow_nan=False)
            frozen[key] = _frozen(value)
        except (TypeError, ValueError) as error:
            raise ScriptError(
                f"the argument `{key}` of call({tool!r}) is not JSON: got {type(value).__name__} {value!r} ({error})"
            ) from None
    return FrozenDict(frozen)


def _frozen(value: Any) -> Any:
    """A JSON value as a reader of JSON would have it, and unchangeable."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):  # json.dumps would make it a str, and may so drop another key
                raise TypeError(f"its key {key!r} is not a str")
        return FrozenDict({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return FrozenList(_frozen(item) for item in value)
    return json.loads(json.dumps(value))


def reply(
    *parts: str | Reply,
    usage: UsageLike = None,
    stop_reason: str | None = None,
    response_metadata: Mapping[str, Any] | None = None,
) -> Reply:
    """A step of several parts in one answer: text, reasoning and tool calls, in this order.

    A part is a str (cut by `split`), or what `say`, `think` and `call` return. Usage and stop reason belong to the
    whole answer, so they are given here.

    Raises:
        ScriptError: a part is something else, or brings a usage, stop reason or failure of its own.

    >>> [c.tool for c in reply("Let me look", call("search", q="x"), call("search", q="y")).calls]
    ['search', 'search']
    """
    flat: list[Part] = []
    for position, part in enumerate(parts, 1):
        if isinstance(part, str):
            flat.append(Text(tuple(split(part))))
        elif isinstance(part, Reply):
            flat.extend(_bare(part, position))
        else:
            raise ScriptError(
                f"part {position} of reply() is not a part: got {type(part).__name__} {part!r}\n"
                "  a part is a str, say(...), think(...) or call(...)"
            )
    return _reply(tuple(flat), usage, stop_reason, response_metadata)


def _bare(part: Reply, position: int) -> tuple[Part, ...]:
    own = [
        name
        for name, value in (
            ("usage", part.usage),
            ("stop_reason", part.stop_reason),
            ("response_metadata", part.response_metadata or None),
            ("then_fail", part.failure),
        )
        if value is not None
    ]
    if own:
        raise ScriptError(f"part {position} of reply() has a `{own[0]}` of its own: {part}; give it to the whole reply instead")
    return part.parts


def _reply(
    parts: tuple[Part, ...],
    usage: UsageLike = None,
    stop_reason: str | None = None,
    response_metadata: Mapping[str, Any] | None = None,
) -> Reply:
    return Reply(parts, _usage(usage), stop_reason, FrozenDict(response_metadata or {}), None, _caller())


def fail(error: BaseException | type[BaseException] | str | int, retry_after: float | None = None) -> Fail:
    """A step that fails before its first token.

    `error` is an exception, an exception class, the name of a built-in exception, or an HTTP status: the double turns a
    status into the error that an integration would raise. `retry_after` is in seconds.

    Raises:
        ScriptError: `error` is none of these.

    >>> str(fail(429, retry_after=2))
    'fail(429, retry_after=2)'
    """
    return _fail(error, retry_after, None, _caller())


def _fail(error: Any, retry_after: float | None, message: str | None, where: str) -> Fail:
    if isinstance(error, str) and error not in exception_names():
        near = difflib.get_close_matches(error, exception_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ScriptError(f"fail() knows no exception named {error!r}{hint}")
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
    return Fail(error, retry_after, message, where)


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


@lru_cache(maxsize=1)
def exception_names() -> tuple[str, ...]:
    """The exceptions that a script may name as text: Python's built-in ones that are made from a message."""
    classes = {n: value for n, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    return tuple(name for name, value in classes.items() if value is UnicodeError or not issubclass(value, _UNNAMED))


_UNNAMED: Final = (UnicodeError, BaseExceptionGroup)


UsageLike = Usage | tuple[int, int] | Mapping[str, Any] | Literal[False] | None


def _usage(value: Any) -> Usage | Literal[False] | None:
    if value is None or value is False or isinstance(value, Usage):
        return value
    if isinstance(value, Mapping) and _are_counts(value.get("input_tokens"), value.get("output_tokens")):
        into, out = value["input_tokens"], value["output_tokens"]
        total = value.get("total_tokens", into + out)
        details = [FrozenDict(value.get(f"{side}_token_details") or {}) for side in ("input", "output")]
        if _are_counts(total, *(number for detail in details for number in detail.values())):
            return Usage(into, out, total, *details)
    if isinstance(value, list | tuple) and len(value) == 2 and _are_counts(*value):
        return Usage(value[0], value[1], value[0] + value[1])
    raise ScriptError(
        "usage is (input_tokens, output_tokens), a Usage, a LangChain usage dict, None or False; "
        f"got {type(value).__name__} {value!r}"
    )


def _are_counts(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


# -- serving


@dataclass(slots=True)
class Request:
    """One call of a model, in neutral words. `tools` are the bound ones: name to JSON schema of their arguments."""

    tools: Mapping[str, Mapping[str, Any]]
    read: Callable[[], Sequence[Message]]

    @property
    def messages(self) -> Sequence[Message]:
        """The prompt, translated when it is first asked for."""
        return self.read()


class Script:
    """Steps that answer model calls in order: one step, one call.

    A step is what `say`, `think`, `call`, `reply` and `fail` return; or a plain str, an `AIMessage` or an exception.
    A script is shared by reference: every copy of a model, every `bind`, every thread takes steps from the same one, each
    step exactly once. A call after the last step, and a tool call that does not fit the bound tools, is a violation; so is
    a step that no call has asked for by the end of the test (`verify()` outside pytest).

    Thread-safe: claiming a step is one locked act; nothing is called while the lock is held.

    Raises:
        ScriptError: a step is not a step; the message has its number and what was given.

    >>> from llmtest import Script, ScriptedChatModel, say
    >>> model = ScriptedChatModel(script=Script(say("It is ", "sunny."), "Goodbye."))
    >>> model.invoke("weather?").content, model.invoke("thanks").content
    ('It is sunny.', 'Goodbye.')

    Steps are never repeated or skipped on their own.
    """

    def __init__(self, *steps: Any) -> None:
        where = _caller()
        self.steps: tuple[Step, ...] = tuple(_step(step, number, where) for number, step in enumerate(steps, 1))
        self.violations: list[Violation] = []
        self._served = 0
        self._calls = 0
        self._lock = threading.Lock()
        ledger.made(self)

    def __copy__(self) -> Script:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Script:
        return self

    def __repr__(self) -> str:
        return f"<Script: {self._served} of {len(self.steps)} steps served>"

    @property
    def remaining(self) -> int:
        """How many steps no call has asked for yet."""
        return len(self.steps) - self._served

    def serve(self, request: Request) -> Step:
        """Claims the next step for `request`.

        Raises:
            ViolationError: no step is left, or the step calls a tool in a way that the bound tools do not allow.
        """
        with self._lock:
            self._calls += 1
            number, step = self._calls, None
            if self._served < len(self.steps):
                step = self.steps[self._served]
                self._served += 1
        ledger.called(self)
        if step is None:
            raise self._violate("unexpected call", self._unexpected(number, request))
        if isinstance(step, Reply):
            for asked in step.calls:
                problem = check_call(asked, request.tools)
                if problem:
                    raise self._violate("invalid tool call", f"{problem}\n  the script says {step} at {place(step.where)}")
        return step

    def unused(self) -> list[Violation]:
        """One violation for all steps that no call has asked for; empty when all were served."""
        if not self.remaining:
            return []
        lines = [f"{self.remaining} of {len(self.steps)} steps of the script were never asked for"]
        left = list(enumerate(self.steps, 1))[self._served :]
        lines += [f"  step {number}  {step}  at {place(step.where)}" for number, step in left]
        times = "never called" if not self._calls else f"called {_amount(self._calls, 'time')}"
        lines.append(f"  the model was {times}; remove the steps, or find out why the program stopped early")
        return [Violation("unused step", "\n".join(_cap(lines)))]

    def verify(self) -> None:
        """Raises for every violation so far and for unused steps. The pytest plugin does this for you.

        Raises:
            ViolationError: with all of them.
        """
        found = [*self.violations, *self.unused()]
        if found:
            raise ViolationError(*found)

    def _violate(self, rule: str, text: str) -> ViolationError:
        return ledger.report(Violation(rule, text), self.violations)

    def _unexpected(self, number: int, request: Request) -> str:
        steps = "no steps" if not self.steps else f"{len(self.steps)} step{'s' * (len(self.steps) > 1)}, all served"
        messages = request.messages
        lines = [f"unexpected model call {number}: the script has {steps}"]
        lines.append(
            f"  came  {show_message(messages[-1]) if messages else 'an empty prompt'} ({_amount(len(messages), 'message')})"
        )
        if request.tools:
            lines.append(f"  tools  {', '.join(request.tools)}")
        for position, step in enumerate(self.steps, 1):
            lines.append(f"  served  step {position}  {step}  at {place(step.where)}")
        lines.append("  add a step for this call, or find out why the program calls the model again")
        return "\n".join(_cap(lines))

    # -- files

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Script:
        """The script in a YAML file; its format is in docs/reference/script-files.md.

        Raises:
            ScriptError: with file and line, what was expected, what came, and the nearest word.

        It reads data only: a file cannot name code, only Python's built-in exceptions.
        """
        from llmtest import scriptfile

        script = cls()
        script.steps = scriptfile.read(Path(path).read_bytes(), os.fspath(path))
        return script

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Writes the steps to a YAML file from which `load` makes an equal script.

        Raises:
            ScriptError: a step holds an exception that a file cannot name.
        """
        from llmtest import scriptfile

        Path(path).write_text(scriptfile.write(self.steps), "utf-8", newline="\n")


def _amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _cap(lines: list[str], limit: int = 20) -> list[str]:
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 2], f"  ... {len(lines) - limit + 1} more", lines[-1]]


def show_message(message: Message) -> str:
    """A message in one short line, for an error text."""
    calls = ", ".join(f"{c.name}({json.dumps(c.args, ensure_ascii=False, default=str)})" for c in message.tool_calls)
    text = message.text if len(message.text) <= 200 else f"{message.text[:200]}..."
    shown = " ".join(bit for bit in (repr(text) if text or not calls else "", f"calls {calls}" if calls else "") if bit)
    return f"{message.role} {shown}"


def check_call(asked: Call, tools: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is wrong with a scripted tool call, given the tools that are bound; None if nothing."""
    if asked.tool not in tools:
        bound = ", ".join(f"`{name}`" for name in tools) or "none"
        near = difflib.get_close_matches(asked.tool, tools, n=1)
        return f"the script calls the tool `{asked.tool}`, which is not bound to the model\n  bound  {bound}" + (
            f"\n  nearest  `{near[0]}`" if near else ""
        )
    schema = tools[asked.tool]
    known = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in asked.args]
    extra = [name for name in asked.args if name not in known] if not schema.get("additionalProperties") else []
    if not missing and not extra:
        return None
    lines = [f"the script calls the tool `{asked.tool}` with other arguments than it takes"]
    lines += [f"  missing  `{name}`" for name in missing]
    for name in extra:
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"  unknown  `{name}`" + (f", nearest `{near[0]}`" if near else ""))
    return "\n".join([*lines, f"  takes  {', '.join(f'`{name}`' for name in known) or 'nothing'}"])


def _step(step: Any, number: int, where: str) -> Step:
    if isinstance(step, Reply | Fail):
        return step
    if isinstance(step, str):
        return replace(say(step), where=where)
    if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
        return _fail(step, None, None, where)
    if getattr(step, "type", None) == "ai" and hasattr(step, "tool_calls"):
        return replace(_from_message(step), where=where)
    raise ScriptError(
        f"step {number} of the script is not a step: got {type(step).__name__} {step!r} at {place(where)}\n"
        "  a step is say(...), think(...), call(...), reply(...), fail(...), a str, an AIMessage or an exception"
    )


def _from_message(message: Any) -> Reply:
    """A reply that says what an `AIMessage` says. Its message id is not kept: each answer gets a fresh one."""
    if message.invalid_tool_calls:
        broken = message.invalid_tool_calls[0]
        raise ScriptError(
            f"an AIMessage step has an invalid tool call, {broken['name']!r} with {broken['args']!r};"
            " a script can call with JSON arguments only"
        )
    parts = list(_content_parts(message.content))
    parts += [Call(c["name"], _json_object(c["name"], c["args"]), c.get("id")) for c in message.tool_calls]
    metadata = dict(message.response_metadata)
    reason = metadata.pop("finish_reason", None) or metadata.pop("stop_reason", None)
    return Reply(tuple(parts), _usage(message.usage_metadata), reason, FrozenDict(metadata))


def _content_parts(content: Any) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(tuple(split(content)))
        return
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type")
        text = block if isinstance(block, str) else block.get("text") or block.get("reasoning") or block.get("thinking") or ""
        if kind == "text":
            yield Text(tuple(split(text)))
        elif kind in ("reasoning", "thinking"):
            yield Thinking(tuple(split(text)))
        elif kind not in ("tool_call", "tool_use"):
            raise ScriptError(
                f"an AIMessage step has a content block of type {kind!r}; a script can say text, reasoning and tool calls"
            )
