"""Script files: the steps of a script as YAML that a person reads, writes and reviews.

standard library, and PyYAML inside `read`. The format is in docs/reference/script-files.md. Files are data: they
are composed to nodes by a safe loader and read node by node here, so every error knows its line, and no tag can name code.

Plain words mean what YAML 1.2 says, not what PyYAML makes of them: `no`, `12:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from llmtest.core.source import shown_path
from llmtest.core.text import did_you_mean
from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY, FrozenDict, FrozenList, Usage
from llmtest.scripts.requests import KeyedSteps, On, on
from llmtest.scripts.step_types import (
    ONCE,
    RATE,
    SECONDS,
    Call,
    Expects,
    Fail,
    Part,
    Reply,
    Respond,
    Return,
    Serving,
    Step,
    Text,
    Thinking,
    Value,
    as_role,
    exception_names,
    is_rate,
    is_seconds,
    split,
)
from llmtest.scripts.yaml_emit import as_key, flow, quoted, wrapped

if TYPE_CHECKING:
    from yaml import Node, SafeLoader


_HEADER: Final = "# llmtest script v1"

_TIMES: Final = "a whole number of 1 or more"

_TOKENS: Final = "a number of tokens, 0 or more"

_VERBS: Final = ("say", "think", "call", "structured", "reply", "fail")
_SERVING: Final = ("times", "repeat", "optional", "unchecked", "expects")
_PACE: Final = ("ttft_s", "tokens_per_s")
_ANSWER: Final = ("usage", "stop_reason", "response_metadata", *_PACE, "then_fail", "then_truncate", *_SERVING)
_PART_KEYS: Final = {
    "say": ("say",),
    "think": ("think",),
    "call": ("call", "args", "id", "deltas", "malformed"),
    "structured": ("structured", "type"),
}
_STEP_KEYS: Final = {
    **{verb: (*_PART_KEYS.get(verb, (verb,)), *_ANSWER) for verb in _VERBS[:-1]},
    "say": ("say", "refusal", *_ANSWER),
    "fail": ("fail", "retry_after", "takes_s", *_SERVING),
}
_EXPECTS_KEYS: Final = ("contains", "forbids", "tools", "last")
_ON_KEYS: Final = ("contains", "tools", "node", "tag", "tool_result", "metadata", "thread", "last")
_FAIL_KEYS: Final = ("error", "message", "retry_after")
_USAGE_KEYS: Final = ("input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details")


# -- places in a file


@dataclass(frozen=True, slots=True)
class _At:
    """A place in a script file: its node, what an error calls it, and the key that it is the value of."""

    path: str
    node: Node
    name: str
    key: Node | None = None

    @property
    def where(self) -> str:
        return f"{self.path}:{self.node.start_mark.line + 1}"

    def error(self, text: str, *evidence: str) -> ScriptError:
        return _error(self.where, text, *evidence)

    def key_error(self, text: str, *evidence: str) -> ScriptError:
        """An error at the line of the key, which may lie above that of its value."""
        return _At(self.path, self.key or self.node, self.name).error(text, *evidence)

    def wrong(self, expected: str) -> ScriptError:
        quotable = "text" in expected and self.kind in ("int", "float", "bool")
        evidence = [f"quote it to make it text: {quoted(self.node.value)}"] if quotable else []
        return self.error(f"{self.name} must be {expected}; got {self.shown()}", *evidence)

    # What it holds. PyYAML names YAML's own types `tag:yaml.org,2002:str`, `:int`, `:seq`, ...

    @property
    def kind(self) -> str:
        """`str`, `int`, `float`, `bool`, `null`, `seq` or `map`.

        Raises:
            ScriptError: the node has another tag.
        """
        tag = self.node.tag.removeprefix("tag:yaml.org,2002:")
        if tag not in ("str", "int", "float", "bool", "null", "seq", "map"):
            shown = tag if tag.startswith("!") else f"!!{tag}"
            raise self.error(f"{self.name} has the YAML tag `{shown}`; a script file holds data without tags")
        return tag

    def shown(self) -> str:
        kind = self.kind
        fixed = {"seq": "a list", "map": "a mapping", "null": "nothing", "str": f"the text {self.node.value!r}"}
        return fixed.get(kind) or f"the {kind} {self.node.value}"

    def items(self, expected: str, noun: str = "entry", of: str | None = None) -> list[_At]:
        """The entries of a list; an error calls them by this noun, their number, and whose they are: this place's."""
        if self.kind != "seq":
            raise self.wrong(expected)
        whose = f" of {self.name if of is None else of}" if of != "" else ""
        return [_At(self.path, node, f"{noun} {number}{whose}") for number, node in enumerate(self.node.value, 1)]

    def pairs(self) -> dict[str, _At]:
        """The values of a mapping by key; each is called by its key and this place."""
        found: dict[str, _At] = {}
        for key, value in self.node.value:
            at_key = _At(self.path, key, f"a key of {self.name}")
            if key.value == "<<" and key.style is None:
                raise at_key.error(f"{self.name} has the YAML merge `<<`, which a script file does not read; write the keys out")
            if key.tag != "tag:yaml.org,2002:str":
                raise at_key.wrong("text")
            if key.value in found:
                before = found[key.value].key or key
                raise at_key.error(
                    f"{self.name} has the key `{key.value}` twice; the first is in line {before.start_mark.line + 1}"
                )
            found[key.value] = _At(self.path, value, f"`{key.value}` of {self.name}", key)
        return found

    def only(self, allowed: Sequence[str], expected: Sequence[str] = ()) -> dict[str, _At]:
        """The pairs of a mapping that has no other keys than `allowed`; an error names those that are `expected`."""
        pairs = self.pairs()
        for key, value in pairs.items():
            if key not in allowed:
                lines = [f"expected  {_either(expected or allowed)}", did_you_mean(key, allowed, before="")]
                raise value.key_error(f"{self.name} has the unknown key `{key}`", *filter(None, lines))
        return pairs

    def text(self, expected: str = "text") -> str:
        if self.kind != "str":
            raise self.wrong(expected)
        return str(self.node.value)

    def number(self, kind: type[int] | type[float], expected: str) -> Any:
        """A number of this kind, 0 or more. An int is a float, a bool is neither."""
        value = self.json() if self.kind in ("int", "float") else None
        if value is None or value < 0 or (kind is int and self.kind == "float"):
            raise self.wrong(expected)
        return value

    def json(self, inside: tuple[Node, ...] = ()) -> Any:
        """The JSON value at this place. It cannot be changed."""
        if self.node in inside:
            raise self.error(f"{self.name} contains itself")
        if self.kind == "seq":
            return FrozenList(entry.json((*inside, self.node)) for entry in self.items(""))
        if self.kind == "map":
            return FrozenDict({key: value.json((*inside, self.node)) for key, value in self.pairs().items()})
        try:
            value = _scalar(self.kind, self.node.value)
        except (KeyError, ValueError):
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(f"{self.name} is not a JSON value; got {self.shown()}")
        return value

    def texts(self) -> tuple[str, ...]:
        """One text, or each of a list."""
        expected = "text, or a list of texts"
        return (self.text(expected),) if self.kind != "seq" else tuple(entry.text() for entry in self.items(expected))

    def flag(self) -> bool:
        if self.kind != "bool":
            raise self.wrong("true or false")
        return bool(self.json())

    def mapping(self, expected: str = "a mapping") -> FrozenDict:
        if self.kind != "map":
            raise self.wrong(expected)
        return FrozenDict(self.json())


def _scalar(kind: str, text: str) -> Any:
    if kind == "int":
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    return text if kind == "str" else None


def _error(where: str, text: str, *evidence: str) -> ScriptError:
    return ScriptError("\n".join([f"{shown_path(where)}: {text}", *(f"  {line}" for line in evidence)]))


def _either(words: Iterable[str]) -> str:
    *most, last = [f"`{word}`" for word in words]
    return f"{', '.join(most)} or {last}" if most else last


# -- reading


def read(text: str | bytes, path: str) -> tuple[Step | KeyedSteps, ...]:
    """The steps in the text of a script file, in UTF-8 if it is bytes. `path` is where an error says that it stands.

    Raises:
        ScriptError: it is not YAML, or not a script; with file and line, what was expected, what came, the nearest word.

    >>> [str(step) for step in read("steps: [Hello there, {call: search}, {fail: 429}]", "hello.yaml")]
    ["say('Hello', ' there')", "call('search')", 'fail(429)']
    """
    root = _At(path, _compose(_decoded(text, path), path), "the file")
    if root.kind != "map":
        raise root.error(f"the file is not a mapping with the key `steps`; got {root.shown()}")
    pairs = root.only(("steps",))
    if "steps" not in pairs:
        raise root.error("the file has no `steps`")
    return tuple(_entry_of(entry) for entry in pairs["steps"].items("a list of steps", "step", ""))


def _decoded(text: str | bytes, path: str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _error(f"{path}:{line}", f"the file is not UTF-8: {error.reason} 0x{text[error.start]:02x}") from None


def _compose(text: str, path: str) -> Node:
    from yaml import MarkedYAMLError, compose
    from yaml.reader import ReaderError

    version = re.match(r"\ufeff?# llmtest script v(\d+)", text)
    if version and version[1] != "1":
        raise _error(f"{path}:1", f"the file is a script of version {version[1]}; this llmtest reads version 1")
    try:
        node: Node | None = compose(text, Loader=_loader())
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        text = f"not YAML: the character U+{int(error.character):04X} can stand only as an escape in double quotes"
        raise _error(f"{path}:{line}", text) from None
    except MarkedYAMLError as error:
        raise _not_yaml(error, text, path) from None
    if node is None:
        raise _error(f"{path}:1", "the file is empty; a script file has the key `steps`, a list of steps")
    return node


def _not_yaml(error: Any, text: str, path: str) -> ScriptError:
    line = error.problem_mark.line
    lines = text.splitlines()
    evidence = [f"{line + 1} | {lines[line]}"] if line < len(lines) else []
    if error.context_mark:
        evidence.append(f"{error.context}, which begins in line {error.context_mark.line + 1}")
    return _error(f"{path}:{line + 1}", f"not YAML: {error.problem}", *evidence)


@lru_cache(maxsize=1)
def _loader() -> type[SafeLoader]:
    """PyYAML's safe loader with the plain words of YAML 1.2's core schema."""
    from yaml import SafeLoader

    class Loader(SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 - in place of PyYAML's words of YAML 1.1

    for tag, words in _PLAIN_WORDS.items():
        Loader.add_implicit_resolver(f"{_YAML}{tag}", re.compile(rf"(?:{words})\Z"), None)
    return Loader


_YAML: Final = "tag:yaml.org,2002:"
_PLAIN_WORDS: Final = {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


def _entry_of(at: _At) -> Step | KeyedSteps:
    """A step, or a key with the steps that are for it."""
    if at.kind != "map" or "on" not in at.pairs():
        return _step(at)
    pairs = at.only(("on", "steps"))
    if "steps" not in pairs:
        raise at.error(f"{at.name} has the key `on` and no `steps`")
    steps = pairs["steps"].items("a list of steps", "step", at.name.replace("step", "entry"))
    return KeyedSteps(_key_of(pairs["on"]), tuple(_step(step) for step in steps), at.where)


def _key_of(at: _At) -> On:
    at.mapping("a mapping with what a call must have")
    pairs = at.only(_ON_KEYS)
    given: dict[str, Any] = {key: value.texts() for key, value in pairs.items() if key in ("contains", "tools")}
    given |= {key: value.mapping() for key, value in pairs.items() if key == "metadata"}
    given |= {key: value.text() for key, value in pairs.items() if key not in given}
    if not any(given.values()):
        raise at.error(f"{at.name} is empty; steps for every call stand without `on`")
    return on(**given)


def _step(at: _At) -> Step:
    if at.kind == "str":
        return Reply((Text(tuple(split(at.node.value))),), where=at.where)
    if at.kind != "map":
        raise at.wrong(f"text, or a mapping with {_either(_VERBS)}")
    verb, pairs = _verb(at, _VERBS, _STEP_KEYS)
    if verb == "fail":
        failure = _failure(pairs["fail"], pairs.get("retry_after"))
        return replace(failure, serving=_serving(at, pairs), takes_s=_number(pairs, "takes_s", is_seconds, SECONDS))
    parts = (
        map(_reply_part, pairs["reply"].items("a list of parts", "part", at.name)) if verb == "reply" else [_part(verb, pairs)]
    )
    return Reply(
        tuple(parts),
        _usage(pairs["usage"]) if "usage" in pairs else None,
        pairs["stop_reason"].text() if "stop_reason" in pairs else None,
        pairs["response_metadata"].mapping() if "response_metadata" in pairs else EMPTY,
        _failure(pairs["then_fail"], None) if "then_fail" in pairs else None,
        "then_truncate" in pairs and pairs["then_truncate"].flag(),
        "refusal" in pairs and pairs["refusal"].flag(),
        ttft_s=_number(pairs, "ttft_s", is_seconds, SECONDS),
        tokens_per_s=_number(pairs, "tokens_per_s", is_rate, RATE),
        where=at.where,
        serving=_serving(at, pairs),
    )


def _number(pairs: Mapping[str, _At], key: str, fits: Callable[[Any], bool], expected: str) -> float | None:
    if key not in pairs:
        return None
    number: float = pairs[key].number(float, expected)
    if not fits(number):
        raise pairs[key].wrong(expected)
    return number


def _serving(at: _At, pairs: Mapping[str, _At]) -> Serving:
    flags = {key: pairs[key].flag() for key in ("repeat", "optional", "unchecked") if key in pairs}
    times = pairs["times"].number(int, _TIMES) if "times" in pairs else 1
    if times == 0:
        raise pairs["times"].wrong(_TIMES)
    if flags.get("repeat") and "times" in pairs:
        raise pairs["times"].key_error(f"{at.name} has both `times` and `repeat`")
    expects = _expects(pairs["expects"]) if "expects" in pairs else None
    return Serving(None if flags.get("repeat") else times, flags.get("optional", False), not flags.get("unchecked"), expects)


def _expects(at: _At) -> Expects:
    at.mapping("a mapping with what a prompt must have")
    pairs = at.only(_EXPECTS_KEYS)
    if not pairs:
        raise at.error(f"{at.name} is empty, so any prompt passes", f"it has one or more of  {_either(_EXPECTS_KEYS)}")
    texts = {key: value.texts() for key, value in pairs.items() if key != "last"}
    tools = frozenset(texts["tools"]) if "tools" in texts else None
    try:
        last = as_role(pairs["last"].text()) if "last" in pairs else None
    except ScriptError as problem:
        raise pairs["last"].error(str(problem)) from None
    return Expects(texts.get("contains", ()), texts.get("forbids", ()), tools, last)


def _verb(at: _At, verbs: Sequence[str], keys: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, _At]]:
    """What a mapping does, and its pairs. Exactly one key is a verb, and the others are those that this verb knows."""
    found = [key for key in at.pairs() if key in verbs]
    pairs = at.only(list(dict.fromkeys(key for verb in verbs for key in keys[verb])), keys[found[0]] if found else verbs)
    if not found:
        raise at.error(f"{at.name} does nothing: it has none of the keys {_either(verbs)}")
    if len(found) > 1:
        first, second = found[:2]
        raise pairs[second].key_error(
            f"{at.name} has both `{first}` and `{second}`", "several parts of one answer are entries of a list under `reply`"
        )
    for key, value in pairs.items():
        if key not in keys[found[0]]:
            raise value.key_error(f"{at.name} cannot have `{key}`", f"a `{found[0]}` has  {_either(keys[found[0]])}")
    return found[0], pairs


def _reply_part(at: _At) -> Part:
    if at.kind == "str":
        return Text(tuple(split(at.node.value)))
    if at.kind != "map":
        raise at.wrong(f"text, or a mapping with {_either(_PART_KEYS)}")
    for key, value in at.pairs().items():
        if key in _ANSWER:
            raise value.key_error(f"{at.name} has a `{key}` of its own", "give it to the whole step, beside `reply`")
    return _part(*_verb(at, tuple(_PART_KEYS), _PART_KEYS))


def _part(verb: str, pairs: dict[str, _At]) -> Part:
    at = pairs[verb]
    if verb == "say":
        return Text(_tokens(at))
    if verb == "think":
        return Thinking(_tokens(at))
    if verb == "structured":
        return Value(at.json(), pairs["type"].text() if "type" in pairs else None)
    tool = at.text("text, the name of a tool")
    if not tool:
        raise at.wrong("text, the name of a tool")
    args, own = pairs["args"].mapping() if "args" in pairs else EMPTY, pairs["id"].text() if "id" in pairs else None
    return _in_pieces(Call(tool, args, own), pairs)


def _in_pieces(call: Call, pairs: Mapping[str, _At]) -> Call:
    """The call with the exact text in which its arguments are streamed, if that is given."""
    given = [key for key in ("deltas", "malformed") if key in pairs]
    if not given:
        return call
    at, whole = pairs[given[0]], Reply((call,))
    if len(given) > 1:
        raise pairs["malformed"].key_error(f"{at.name} and `malformed` exclude each other")
    try:
        return (whole.deltas if given[0] == "deltas" else whole.malformed)(*at.texts()).calls[0]
    except ScriptError as error:
        raise at.error(f"{at.name}: {error}") from None


def _tokens(at: _At) -> tuple[str, ...]:
    if at.kind == "str":
        return tuple(split(at.node.value))
    return tuple(token.text() for token in at.items("text, or a list of tokens", "token"))


def _usage(at: _At) -> Usage | Literal[False]:
    expected = "[input_tokens, output_tokens], a mapping with these keys, or false"
    if at.kind == "bool" and at.json() is False:
        return False
    if at.kind == "seq" and len(at.node.value) == 2:
        into, out = (entry.number(int, _TOKENS) for entry in at.items(expected))
        return Usage(into, out, into + out)
    if at.kind != "map":
        raise at.wrong(expected)
    pairs = at.only(_USAGE_KEYS)
    missing = [key for key in _USAGE_KEYS[:2] if key not in pairs]
    if missing:
        raise at.error(f"{at.name} has no `{missing[0]}`")
    into, out = (pairs[key].number(int, _TOKENS) for key in _USAGE_KEYS[:2])
    total = pairs["total_tokens"].number(int, _TOKENS) if "total_tokens" in pairs else into + out
    return Usage(into, out, total, *(_details(pairs[key]) if key in pairs else EMPTY for key in _USAGE_KEYS[3:]))


def _details(at: _At) -> FrozenDict:
    at.mapping()
    return FrozenDict({key: value.number(int, _TOKENS) for key, value in at.pairs().items()})


def _failure(at: _At, retry_after: _At | None) -> Fail:
    """What stands under `fail` or `then_fail`. `retry_after` is what stands beside it."""
    pairs = at.only(_FAIL_KEYS) if at.kind == "map" else {"error": at}
    if "error" not in pairs:
        raise at.error(f"{at.name} has no `error`")
    if retry_after is not None and "retry_after" in pairs:
        raise retry_after.key_error(f"{at.name} has `retry_after` twice: inside and beside it")
    wait = retry_after or pairs.get("retry_after")
    return Fail(
        _cause(pairs["error"]),
        wait.number(float, "a number of seconds, 0 or more") if wait else None,
        pairs["message"].text() if "message" in pairs else None,
        at.where,
    )


def _cause(at: _At) -> str | int:
    if at.kind not in ("str", "int"):
        raise at.wrong("the name of an exception, or an HTTP status")
    value = at.json()
    if isinstance(value, int) and not 400 <= value <= 599:
        raise at.error(f"{at.name} is the HTTP status {value}; one that fails lies between 400 and 599")
    if isinstance(value, str) and value not in exception_names():
        raise at.error(
            f"{at.name} names no exception that a file knows: {value!r}",
            "expected  an exception of Python's own that takes a text, or an HTTP status",
            *filter(None, [did_you_mean(value, exception_names(), before="")]),
        )
    found: str | int = value
    return found


# -- writing


def write(steps: Iterable[Step | KeyedSteps]) -> str:
    """The text of a script file from which `read` makes equal steps; that is checked.

    Raises:
        ScriptError: a step fails with an exception that a file cannot name, holds metadata that is not JSON, or says
            something else that a file cannot.

    >>> from llmtest.scripts.steps import call, say
    >>> print(write([say("Hello there"), call("search", q="x")]), end="")
    # llmtest script v1
    steps:
      - "Hello there"
      - call: search
        args: {q: x}
    """
    entries = [(step, _entry(_entry_lines(step, f"step {number}"))) for number, step in enumerate(steps, 1)]
    for number, (step, lines) in enumerate(entries, 1):
        if not _reads_as(step, lines):
            raise ScriptError(f"step {number} cannot be written to a file, where it would be another step: {step}")
    body = [line for _, lines in entries for line in lines]
    return "\n".join([_HEADER, *(["steps:", *body] if body else ["steps: []"])]) + "\n"


def _reads_as(step: Step | KeyedSteps, lines: list[str]) -> bool:
    try:
        return read("\n".join(["steps:", *lines]), "") == (step,)
    except ScriptError:
        return False


def _entry(lines: list[str]) -> list[str]:
    """The lines of one entry of a list."""
    return [f"  - {lines[0]}", *(f"    {line}" if line else "" for line in lines[1:])]


def _entry_lines(entry: Step | KeyedSteps, name: str) -> list[str]:
    if not isinstance(entry, KeyedSteps):
        return _step_lines(entry, name)
    wanted = {field: getattr(entry.key, field) for field in _ON_KEYS}
    given = {key: _listed(value) for key, value in wanted.items() if value}
    steps = [line for n, step in enumerate(entry.steps, 1) for line in _entry(_step_lines(step, f"step {n} of {name}"))]
    return [*_json_lines("on", given, name), *(["steps:", *steps] if steps else ["steps: []"])]


def _listed(value: Any) -> Any:
    """StepGroup texts as a list, and one of them alone."""
    texts = sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value
    return texts[0] if isinstance(texts, list) and len(texts) == 1 else texts


def _step_lines(step: Step, name: str) -> list[str]:
    if isinstance(step, Respond) or step.gates:
        raise ScriptError(f"{name} {'waits at a gate' if step.gates else 'asks a function'}, which a file cannot name: {step}")
    if isinstance(step, Return):
        raise ScriptError(f"{name} gives a value, and a file holds what a model says: {step}")
    if isinstance(step, Fail):
        error, message, wait = _named(step, name)
        short = {"error": error, "message": message} if message is not None else error
        waits = [] if wait is None else [f"retry_after: {flow(wait)}"]
        return [f"fail: {flow(short)}", *waits, *_number_lines(step, "takes_s"), *_serving_lines(step.serving, name)]
    extras = _answer_lines(step, name)
    if len(step.parts) == 1:
        return [*_part_lines(step.parts[0], name, keyed=bool(extras)), *extras]
    parts = [line for part in step.parts for line in _entry(_part_lines(part, name, keyed=False))]
    return [*(["reply:", *parts] if parts else ["reply: []"]), *extras]


def _serving_lines(serving: Serving, name: str) -> list[str]:
    lines = ["repeat: true"] if serving.times is None else [f"times: {serving.times}"] * (serving.times != ONCE.times)
    lines += ["optional: true"] * serving.optional + ["unchecked: true"] * (not serving.checked)
    if serving.expects is not None:
        wanted = {field: getattr(serving.expects, field) for field in _EXPECTS_KEYS}
        given = {key: _listed(value) for key, value in wanted.items() if value not in ((), None)}
        lines += _json_lines("expects", given, name)
    return lines


def _answer_lines(step: Reply, name: str) -> list[str]:
    lines = ["refusal: true"] * step.refusal
    if step.usage is not None:
        lines.append(f"usage: {flow(_usage_value(step.usage))}")
    if step.stop_reason is not None:
        lines.append(f"stop_reason: {flow(step.stop_reason)}")
    if step.response_metadata:
        lines += _json_lines("response_metadata", step.response_metadata, name)
    lines += _number_lines(step, *_PACE)
    if step.failure is not None:
        error, message, wait = _named(step.failure, name)
        value = {"error": error, "message": message, "retry_after": wait}
        given = {key: item for key, item in value.items() if item is not None}
        lines.append(f"then_fail: {flow(given if len(given) > 1 else error)}")
    return [*lines, *(["then_truncate: true"] * step.truncated), *_serving_lines(step.serving, name)]


def _number_lines(step: Step, *names: str) -> list[str]:
    numbers = ((name, getattr(step, name)) for name in names)
    return [f"{name}: {flow(number)}" for name, number in numbers if number is not None]


def _usage_value(usage: Usage | Literal[False]) -> Any:
    if usage is False:
        return False
    into, out = usage.input_tokens, usage.output_tokens
    if usage == Usage(into, out, into + out):
        return [into, out]
    counts = (into, out, usage.total_tokens, usage.input_details, usage.output_details)
    return {key: count for key, count in zip(_USAGE_KEYS, counts, strict=True) if count != EMPTY}


def _part_lines(part: Part, name: str, *, keyed: bool) -> list[str]:
    """The lines of a part; a text that `split` cuts into its tokens may stand without the key `say`."""
    if isinstance(part, Call):
        lines = [f"call: {flow(part.tool)}"]
        lines += _json_lines("args", part.args, name) if part.args else []
        lines += [f"id: {flow(part.id)}"] if part.id is not None else []
        pieces = [quoted(piece) for piece in part.pieces]
        return lines + (wrapped(f"{'malformed' if part.malformed else 'deltas'}: [", pieces, "]") if pieces else [])
    if isinstance(part, Value):
        lines = _json_lines("structured", part.value, name)
        return lines if part.type is None else [*lines, f"type: {flow(part.type)}"]
    key = "say" if isinstance(part, Text) else "think"
    text = "".join(part.tokens)
    if list(part.tokens) != split(text):
        return wrapped(f"{key}: [", [quoted(token) for token in part.tokens], "]")
    if _reads_as_lines(text):
        return [f"{key}: |-", *(f"  {line}" if line else "" for line in text.split("\n"))]
    return [f"{key}: {quoted(text)}" if keyed or key == "think" else quoted(text)]


def _reads_as_lines(text: str) -> bool:
    """Whether `text` can stand as a literal block, where white space at either end of a line would be lost or misread."""
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.rstrip() for line in lines)
    return len(lines) > 1 and plain and bool(lines[-1]) and text[0] not in " \n"


def _json_lines(key: str, value: Any, name: str) -> list[str]:
    if not _is_json(value):
        raise ScriptError(f"{name} cannot be written to a file: its {key} are not JSON: {value!r}")
    if not isinstance(value, Mapping):
        return [f"{key}: {flow(value)}"]
    return wrapped(f"{key}: {{", [f"{as_key(k)}: {flow(item)}" for k, item in value.items()] or [""], "}")


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _named(failure: Fail, name: str) -> tuple[str | int, str | None, float | None]:
    """A failure as a file has it: the name of its exception or its status, its message, and `retry_after`."""
    kind, args = failure.cause
    textual = len(args) < 2 and all(isinstance(argument, str) for argument in args)
    known = isinstance(kind, int) or (kind.__name__ in exception_names() and getattr(builtins, kind.__name__) is kind)
    if not (textual and known):
        shown = kind.__name__ if failure.error is kind and isinstance(kind, type) else repr(failure.error)
        raise ScriptError(
            f"{name} fails with {shown}, which a file cannot name\n"
            "  a file names Python's built-in exceptions, made from one text or from nothing, and HTTP statuses"
        )
    return kind if isinstance(kind, int) else kind.__name__, args[0] if args else None, failure.retry_after
