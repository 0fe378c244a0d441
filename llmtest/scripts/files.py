"""Read script files: the steps of a script as YAML that a person writes and reviews.

The format is in docs/reference/script-files.md. A safe loader composes the file to nodes, and this module reads them node by
node, so each error knows its line, and no tag can name code. `llmtest.scripts.yaml_emit` writes script files.

Plain words mean what YAML 1.2 says, not what PyYAML makes of them: `no`, `12:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from llmtest.core.safe_yaml import YamlError, compose
from llmtest.core.source import shown_path
from llmtest.core.text import clip, did_you_mean
from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY, FrozenDict, FrozenList, Usage
from llmtest.scripts.requests import KeyedSteps, On, on
from llmtest.scripts.step_types import (
    RATE,
    ROLES,
    SECONDS,
    Call,
    Expects,
    Fail,
    Part,
    Reply,
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

if TYPE_CHECKING:
    from yaml import Node


HEADER: Final = "# llmtest script v1"

_TIMES: Final = "a whole number of 1 or more"

_TOKENS: Final = "a number of tokens, 0 or more"

_VERBS: Final = ("say", "think", "call", "structured", "reply", "fail")
_SERVING: Final = ("times", "repeat", "optional", "unchecked", "expects")
PACE_KEYS: Final = ("ttft_s", "tokens_per_s")
_ANSWER: Final = ("usage", "stop_reason", "response_metadata", *PACE_KEYS, "then_fail", "then_truncate", *_SERVING)
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
EXPECTS_KEYS: Final = ("contains", "forbids", "tools", "last")
ON_KEYS: Final = ("contains", "tools", "node", "tag", "tool_result", "metadata", "thread", "last")
_FAIL_KEYS: Final = ("error", "message", "retry_after")
USAGE_KEYS: Final = ("input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details")


MAX_DIGITS: Final = 300
"""How many characters a number may have: any float fits, and Python converts it in no time."""


# -- places in a file


@dataclass(frozen=True, slots=True)
class _At:
    """A place in a script file: its node, its name in errors, and the key before it in a mapping."""

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
        """Return an error at the line of the key, which may lie above that of its value."""
        return _At(self.path, self.key or self.node, self.name).error(text, *evidence)

    def wrong(self, expected: str) -> ScriptError:
        quotable = "text" in expected and self.kind in ("int", "float", "bool")
        evidence = [f'quote it to make it text: "{self.node.value}"'] if quotable else []
        return self.error(f"{self.name} must be {expected}; got {self.shown()}", *evidence)

    @property
    def kind(self) -> str:
        """`str`, `int`, `float`, `bool`, `null`, `seq` or `map`; a ScriptError for any other tag."""
        # PyYAML names YAML's own types `tag:yaml.org,2002:str`, `:int`, `:seq`, ...
        tag = self.node.tag.removeprefix("tag:yaml.org,2002:")
        if tag not in ("str", "int", "float", "bool", "null", "seq", "map"):
            shown = tag if tag.startswith("!") else f"!!{tag}"
            raise self.error(f"{self.name} has the YAML tag `{shown}`; a script file holds data without tags")
        return tag

    def shown(self) -> str:
        kind = self.kind
        fixed = {"seq": "a list", "map": "a mapping", "null": "nothing", "str": f"the text {clip(repr(self.node.value), 200)}"}
        return fixed.get(kind) or f"the {kind} {clip(self.node.value, 80)}"

    def items(self, expected: str, noun: str = "entry", of: str | None = None) -> list[_At]:
        """Return the entries of a list; errors name them by `noun`, their number, and `of` (else this place)."""
        if self.kind != "seq":
            raise self.wrong(expected)
        whose = f" of {self.name if of is None else of}" if of != "" else ""
        return [_At(self.path, node, f"{noun} {number}{whose}") for number, node in enumerate(self.node.value, 1)]

    def pairs(self) -> dict[str, _At]:
        """Return the values of a mapping by key."""
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
        """Return the pairs of a mapping without unknown keys; an error lists the `expected` ones (else all `allowed`)."""
        pairs = self.pairs()
        for key, value in pairs.items():
            if key not in allowed:
                lines = [f"expected  {_join_or(expected or allowed)}", did_you_mean(key, allowed, before="")]
                raise value.key_error(f"{self.name} has the unknown key `{key}`", *filter(None, lines))
        return pairs

    def text(self, expected: str = "text") -> str:
        if self.kind != "str":
            raise self.wrong(expected)
        return str(self.node.value)

    def number(self, kind: type[int] | type[float], expected: str) -> Any:
        """Return a number of this kind, 0 or more. An int is a float, a bool is neither."""
        value = self.json() if self.kind in ("int", "float") else None
        if value is None or value < 0 or (kind is int and self.kind == "float"):
            raise self.wrong(expected)
        return value

    def json(self, inside: tuple[Node, ...] = ()) -> Any:
        """Return the frozen JSON value at this place."""
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
        """Return one text, or each text of a list."""
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


def _scalar(kind: str, text: str) -> object:
    if len(text) > MAX_DIGITS and kind in ("int", "float"):
        raise ValueError(text)
    if kind == "int":
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    return text if kind == "str" else None


def _error(where: str, text: str, *evidence: str) -> ScriptError:
    return ScriptError("\n".join([f"{shown_path(where)}: {text}", *(f"  {line}" for line in evidence)]))


def _join_or(words: Iterable[str]) -> str:
    *most, last = [f"`{word}`" for word in words]
    return f"{', '.join(most)} or {last}" if most else last


# -- reading


def read(text: str | bytes, path: str) -> tuple[Step | KeyedSteps, ...]:
    """Return the steps in the text of a script file, UTF-8 if it is bytes. Errors name the file by `path`.

    Raises:
        ScriptError: it is not YAML, or not a script; with file and line, expected and actual value, and the nearest word.

    >>> [str(step) for step in read("steps: [Hello there, {call: search}, {fail: 429}]", "hello.yaml")]
    ["say('Hello', ' there')", "call('search')", 'fail(429)']
    """
    root = _At(path, _compose(_decode(text, path), path), "the file")
    if root.kind != "map":
        raise root.error(f"the file is not a mapping with the key `steps`; got {root.shown()}")
    pairs = root.only(("steps",))
    if "steps" not in pairs:
        raise root.error("the file has no `steps`")
    return tuple(_entry_of(entry) for entry in pairs["steps"].items("a list of steps", "step", ""))


def _decode(text: str | bytes, path: str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _error(f"{path}:{line}", f"the file is not UTF-8: {error.reason} 0x{text[error.start]:02x}") from None


def _compose(text: str, path: str) -> Node:
    version = re.match(r"\ufeff?# llmtest script v(\d+)", text)
    if version and version[1] != "1":
        raise _error(f"{path}:1", f"the file is a script of version {version[1]}; this llmtest reads version 1")
    try:
        node = compose(text)
    except YamlError as error:
        raise _error(f"{path}:{error.line}", str(error), *error.evidence) from None
    if node is None:
        raise _error(f"{path}:1", "the file is empty; a script file has the key `steps`, a list of steps")
    return node


def _entry_of(at: _At) -> Step | KeyedSteps:
    """Return a step, or a key with its steps."""
    if at.kind != "map" or "on" not in at.pairs():
        return _step(at)
    pairs = at.only(("on", "steps"))
    if "steps" not in pairs:
        raise at.error(f"{at.name} has the key `on` and no `steps`")
    steps = pairs["steps"].items("a list of steps", "step", at.name.replace("step", "entry"))
    return KeyedSteps(_key_of(pairs["on"]), tuple(_step(step) for step in steps), at.where)


def _key_of(at: _At) -> On:
    at.mapping("a mapping with what a call must have")
    pairs = at.only(ON_KEYS)
    given: dict[str, Any] = {key: value.texts() for key, value in pairs.items() if key in ("contains", "tools")}
    given |= {key: value.mapping() for key, value in pairs.items() if key == "metadata"}
    given |= {key: value.text() for key, value in pairs.items() if key not in given}
    _role(pairs)
    if not any(given.values()) and "tools" not in given:
        raise at.error(f"{at.name} is empty; steps for every call stand without `on`")
    return on(**given)


def _step(at: _At) -> Step:
    if at.kind == "str":
        return Reply((Text(tuple(split(at.node.value))),), where=at.where)
    if at.kind != "map":
        raise at.wrong(f"text, or a mapping with {_join_or(_VERBS)}")
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


def _number(pairs: Mapping[str, _At], key: str, fits: Callable[[object], bool], expected: str) -> float | None:
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
    pairs = at.only(EXPECTS_KEYS)
    texts = {key: value.texts() for key, value in pairs.items() if key != "last"}
    tools = frozenset(texts["tools"]) if "tools" in texts else None
    found = Expects(texts.get("contains", ()), texts.get("forbids", ()), tools, _role(pairs))
    if found == Expects():
        raise at.error(f"{at.name} is empty; a step for any prompt stands without `expects`")
    return found


def _role(pairs: Mapping[str, _At]) -> str | None:
    if "last" not in pairs:
        return None
    text = pairs["last"].text()
    try:
        return as_role(text)
    except ScriptError:
        hints = filter(None, [did_you_mean(text, ROLES, before="")])
        raise pairs["last"].error(
            f"{pairs['last'].name} must be {_join_or(ROLES)}; got {pairs['last'].shown()}", *hints
        ) from None


def _verb(at: _At, verbs: Sequence[str], keys: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, _At]]:
    """Return the verb of a mapping and its pairs: exactly one key is a verb, and the verb allows the other keys."""
    found = [key for key in at.pairs() if key in verbs]
    pairs = at.only(list(dict.fromkeys(key for verb in verbs for key in keys[verb])), keys[found[0]] if found else verbs)
    if not found:
        raise at.error(f"{at.name} does nothing: it has none of the keys {_join_or(verbs)}")
    if len(found) > 1:
        first, second = found[:2]
        raise pairs[second].key_error(
            f"{at.name} has both `{first}` and `{second}`", "several parts of one answer are entries of a list under `reply`"
        )
    for key, value in pairs.items():
        if key not in keys[found[0]]:
            raise value.key_error(f"{at.name} cannot have `{key}`", f"a `{found[0]}` has  {_join_or(keys[found[0]])}")
    return found[0], pairs


def _reply_part(at: _At) -> Part:
    if at.kind == "str":
        return Text(tuple(split(at.node.value)))
    if at.kind != "map":
        raise at.wrong(f"text, or a mapping with {_join_or(_PART_KEYS)}")
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
    """Return the call with the exact text of its streamed arguments, if `deltas` or `malformed` says one."""
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
    pairs = at.only(USAGE_KEYS)
    missing = [key for key in USAGE_KEYS[:2] if key not in pairs]
    if missing:
        raise at.error(f"{at.name} has no `{missing[0]}`")
    into, out = (pairs[key].number(int, _TOKENS) for key in USAGE_KEYS[:2])
    total = pairs["total_tokens"].number(int, _TOKENS) if "total_tokens" in pairs else into + out
    return Usage(into, out, total, *(_details(pairs[key]) if key in pairs else EMPTY for key in USAGE_KEYS[3:]))


def _details(at: _At) -> FrozenDict:
    at.mapping()
    return FrozenDict({key: value.number(int, _TOKENS) for key, value in at.pairs().items()})


def _failure(at: _At, retry_after: _At | None) -> Fail:
    """Return the failure under `fail` or `then_fail`. `retry_after` is the key beside `fail`."""
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
