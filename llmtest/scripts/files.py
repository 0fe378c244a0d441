"""Read script files: the steps of a script as YAML that a person writes and reviews.

The format is in docs/reference/script-files.md. `llmtest.scripts.yaml_nodes` reads the YAML, `llmtest.scripts.yaml_emit` writes
script files.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final, Literal

from llmtest.core.text import did_you_mean
from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY, FrozenDict, Usage
from llmtest.scripts.fingerprints import CALLBACKS, Fingerprint, Prompt
from llmtest.scripts.requests import KeyedSteps, On, on
from llmtest.scripts.step_types import (
    ONCE,
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
from llmtest.scripts.tool_answers import ToolAnswer, ToolFailure
from llmtest.scripts.yaml_nodes import At, compose_text, decode, error_at, join_and, join_or

HEADER: Final = "# llmtest script v1"
HEADER_2: Final = "# llmtest script v2"
"""The header of a file with what was recorded: models, tools, requests."""

_TIMES: Final = "a whole number of 1 or more"

_TOKENS: Final = "a number of tokens, 0 or more"
_MAX_PATIENCE_S: Final = 1e6
_PATIENCE: Final = "true, or a number of seconds, more than 0 and at most 1e6"

_VERBS: Final = ("say", "think", "call", "structured", "reply", "fail")
_WHEN_SERVED: Final = ("times", "repeat", "optional", "unchecked", "expects")
_SERVING: Final = (*_WHEN_SERVED, "request")
PACE_KEYS: Final = ("ttft_s", "tokens_per_s")
_ANSWER: Final = ("usage", "stop_reason", "response_metadata", *PACE_KEYS, "then_fail", "then_truncate", "then_wait", *_SERVING)
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


MAX_CHARACTERS: Final = 30_000_000
"""How large a file may be: a test whose file is larger would wait for it for seconds."""
FILE_KEYS: Final = ("test", "recorded", "requests", "steps", "models", "tools", "embeddings")
"""The keys of a file of version 2; one of version 1 has `steps` only."""
REQUEST_KEYS: Final = (
    "like",
    "messages",
    "model",
    "system",
    "human",
    "tools",
    "parameters",
    "response_format",
    "recorded",
    "source",
)


# -- reading


Entries = tuple[Step | KeyedSteps, ...]
Vectors = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class ScriptFile:
    """What a script file holds: `entries` are those under `steps`, `models` has the entries of each model by its name.

    `tools` has the recorded answers of each tool, `embeddings` the vector of each text by the name of the model. `test` is the
    test that it was recorded for, `recorded` the day, as in 2026-11-29. `where` has the line of each key of the file.
    """

    path: str
    version: int = 1
    entries: Entries = ()
    models: Mapping[str, Entries] = field(default_factory=dict)
    tools: Mapping[str, tuple[ToolAnswer, ...]] = field(default_factory=dict)
    embeddings: Mapping[str, Vectors] = field(default_factory=dict)
    test: str = ""
    recorded: str = ""
    where: Mapping[str, str] = field(default_factory=dict, compare=False)


def read(text: str | bytes, path: str) -> Entries:
    """Return the steps in the text of a script file, UTF-8 if it is bytes. Errors name the file by `path`.

    A file with the steps of one model gives these.

    Raises:
        ScriptError: it is not YAML, or not a script; with file and line, expected and actual value, and the nearest word. Or
            it has steps of several models.

    >>> [str(step) for step in read("steps: [Hello there, {call: search}, {fail: 429}]", "hello.yaml")]
    ["say('Hello', ' there')", "call('search')", 'fail(429)']
    """
    file = read_file(text, path)
    if not file.models:
        return file.entries
    if len(file.models) > 1:
        listed = ", ".join(f"`{model}`" for model in file.models)
        raise error_at(
            file.where["models"],
            f"the file has the steps of several models: {listed}",
            f"they answer together: scripted_providers({path!r})",
        )
    return next(iter(file.models.values()))


def read_file(text: str | bytes, path: str) -> ScriptFile:
    """Return all that a script file of version 1 or 2 holds.

    Raises:
        ScriptError: it is not YAML, or not a script; with file and line.
    """
    if len(text) > MAX_CHARACTERS:
        raise error_at(f"{path}:1", f"the file has {len(text):,} characters; a script file has at most {MAX_CHARACTERS:,}")
    text = decode(text, path)
    found = re.match(r"\ufeff?# llmtest script v(\d+)", text)
    version = int(found[1]) if found else None
    if version not in (None, 1, 2):
        raise error_at(f"{path}:1", f"the file is a script of version {version}; this llmtest reads versions 1 and 2")
    node = compose_text(text, path)
    if node is None:
        raise error_at(f"{path}:1", "the file is empty; a script file has the key `steps`, a list of steps")
    root = At(path, node, "the file")
    if root.kind != "map":
        raise root.error(f"the file is not a mapping with the key `steps`; got {root.shown()}")
    if version == 1:
        for key, value in root.pairs().items():
            if key != "steps" and key in FILE_KEYS:
                raise value.key_error(f"a script of version 1 has no `{key}`", f"the file must begin with: {HEADER_2}")
    pairs = root.only(("steps",) if version == 1 else FILE_KEYS)
    if "steps" not in pairs and "models" not in pairs:
        raise root.error("the file has no `steps`" + ("" if version == 1 or len(pairs) == 0 else " and no `models`"))
    if "steps" in pairs and "models" in pairs:
        raise pairs["models"].key_error(
            "the file has both `steps` and `models`; the steps of any model are those of the model `*`"
        )
    recorded = _day(pairs["recorded"]) if "recorded" in pairs else ""
    reader = _Reader(_requests(pairs["requests"], recorded) if "requests" in pairs else {}, recorded)
    return ScriptFile(
        path,
        2 if version == 2 or pairs.keys() - {"steps"} else 1,
        reader.entries(pairs["steps"], "") if "steps" in pairs else (),
        {model: reader.entries(at, None) for model, at in pairs["models"].mapped("a mapping of models to steps")}
        if "models" in pairs
        else {},
        {tool: _answers(at) for tool, at in pairs["tools"].mapped("a mapping of tools to answers")} if "tools" in pairs else {},
        {model: _vectors(at) for model, at in pairs["embeddings"].mapped("a mapping of models to vectors of texts")}
        if "embeddings" in pairs
        else {},
        pairs["test"].text() if "test" in pairs else "",
        recorded,
        {key: value.where for key, value in pairs.items()},
    )


class _Reader:
    """Reads steps with the requests of their file. `shared` are those under `requests`."""

    def __init__(self, shared: Mapping[str, Fingerprint], recorded: str) -> None:
        self.shared = shared
        self.recorded = recorded

    def entries(self, at: At, of: str | None) -> Entries:
        return tuple(self.entry(entry) for entry in at.items("a list of steps", "step", of))

    def entry(self, at: At) -> Step | KeyedSteps:
        """Return a step, or a key with its steps."""
        if at.kind != "map" or "on" not in at.pairs():
            return self.step(at)
        pairs = at.only(("on", "steps"))
        if "steps" not in pairs:
            raise at.error(f"{at.name} has the key `on` and no `steps`")
        steps = pairs["steps"].items("a list of steps", "step", at.name.replace("step", "entry"))
        return KeyedSteps(_key_of(pairs["on"]), tuple(self.step(step) for step in steps), at.where)

    def step(self, at: At) -> Step:
        return _step(at, self.request)

    def request(self, at: At) -> Fingerprint:
        """Return what is known of the request that a step answered."""
        at.mapped("a mapping with what is known of the request")
        pairs = at.only(REQUEST_KEYS)
        return _fingerprint(pairs, _like(pairs, self.shared) or Fingerprint(recorded=self.recorded))


def _requests(at: At, recorded: str) -> dict[str, Fingerprint]:
    found: dict[str, Fingerprint] = {}
    for name, value in at.mapped("a mapping of names to requests"):
        value.mapped("a mapping with what is known of the request")
        pairs = value.only(REQUEST_KEYS)
        found[name] = _fingerprint(pairs, _like(pairs, found) or Fingerprint(recorded=recorded))
    return found


def _like(pairs: Mapping[str, At], shared: Mapping[str, Fingerprint]) -> Fingerprint | None:
    """Return the request that the key `like` names; None without the key. `shared` are those that stand before."""
    like = pairs.get("like")
    if like is None:
        return None
    if like.text() not in shared:
        hints = filter(None, [did_you_mean(like.text(), shared, before="")])
        raise like.error(f"`requests` of the file has no `{like.text()}`", *hints)
    return shared[like.text()]


def _fingerprint(pairs: Mapping[str, At], known: Fingerprint) -> Fingerprint:
    """Return `known` with what these pairs of a request say."""
    said: dict[str, Any] = {}
    for key, at in pairs.items():
        if key in ("model", "response_format"):
            said[key] = at.text()
        elif key == "recorded":
            said[key] = _day(at)
        elif key == "source":
            if at.text() != CALLBACKS:
                raise at.wrong(f"`{CALLBACKS}`")
            said[key] = CALLBACKS
        elif key == "system":
            said[key] = _prompt(at)
        elif key == "human":
            entries = at.items("", "message") if at.kind == "seq" else [at]
            said[key] = tuple(_prompt(entry) for entry in entries)
        elif key == "messages":
            expected = "a mapping of roles to numbers of messages"
            said[key] = FrozenDict({role: count.number(int, "a number of messages") for role, count in at.mapped(expected)})
        elif key == "tools":
            expected = "a mapping of tools to their arguments and digest"
            said[key] = FrozenDict({name: _signature(value) for name, value in at.mapped(expected)})
        elif key == "parameters":
            said[key] = at.mapping("a mapping of parameters to values")
    if known.human and "human" not in said and "messages" in said:  # the shared ones are those of the whole conversation
        said["human"] = known.human[: said["messages"].get("human", 0)]
    return replace(known, **said)


def _signature(at: At) -> str:
    text = at.text(_SIGNATURE_SAID)
    if not _SIGNATURE.fullmatch(text):
        raise at.wrong(_SIGNATURE_SAID)
    return text


_SIGNATURE: Final = re.compile(r"\(.*\) [0-9a-f]{6}", re.DOTALL)
_SIGNATURE_SAID: Final = "text, the arguments of the tool and the digest of their schema, as in `(city, days?) 0328e3`"


def _prompt(at: At) -> Prompt:
    if at.kind == "str":
        return Prompt(at.text())
    at.mapping("text, or a mapping with `begins` and `lines`")
    pairs = at.only(("begins", "lines"))
    if missing := [key for key in ("begins", "lines") if key not in pairs]:
        raise at.error(f"{at.name} has no `{missing[0]}`")
    expected = "text, the digests of the lines of the prompt, as in `0328e3 81c2aa`"
    lines = pairs["lines"].text(expected).split()
    if not all(re.fullmatch("[0-9a-f]{6}", line) for line in lines):
        raise pairs["lines"].wrong(expected)
    return Prompt(None, pairs["begins"].text(), tuple(lines))


def _day(at: At) -> str:
    expected = "a day, as in 2026-11-29"
    try:
        return date.fromisoformat(at.text(expected)).isoformat()
    except ValueError:
        raise at.wrong(expected) from None


def _vectors(at: At) -> dict[str, list[float]]:
    return {text: _vector(value) for text, value in at.mapped("a mapping of texts to vectors")}


def _vector(at: At) -> list[float]:
    """Return a vector: a list of numbers, or `f4:` or `f8:` and the base64 of its floats."""
    expected = "a list of numbers, or the text of a recorded vector"
    if at.kind == "seq":
        return [float(entry.any_number(expected)) for entry in at.items(expected)]
    kind, _, packed = at.text(expected).partition(":")
    try:
        raw = base64.b64decode(packed, validate=True)
        return [number for (number,) in struct.iter_unpack({"f4": "<f", "f8": "<d"}[kind], raw)]
    except (KeyError, ValueError, struct.error):
        raise at.wrong(expected) from None


def _answers(at: At) -> tuple[ToolAnswer, ...]:
    return tuple(_tool_answer(entry) for entry in at.items("a list of answers", "answer"))


ANSWER_KEYS: Final = ("args", "gives", "artifact", "message", "fails", "unknown", "within", "runs_within")


def _tool_answer(at: At) -> ToolAnswer:
    at.mapped(f"a mapping with {join_or(ANSWER_KEYS)}")
    pairs = at.only(ANSWER_KEYS)
    outcomes = [key for key in ("gives", "fails", "unknown") if key in pairs]
    if len(outcomes) != 1:
        raise at.error(
            f"{at.name} has {'both ' if outcomes else 'none of '}{join_and(outcomes or ('gives', 'fails', 'unknown'))}"
        )
    args = pairs.get("args")
    return ToolAnswer(
        EMPTY if args is None else args.text() if args.kind == "str" else args.mapping("a mapping of arguments, or text"),
        pairs["gives"].json() if "gives" in pairs else None,
        pairs["artifact"].json() if "artifact" in pairs else None,
        _tool_failure(pairs["fails"]) if "fails" in pairs else None,
        pairs["message"].mapping() if "message" in pairs else EMPTY,
        pairs["unknown"].text() if "unknown" in pairs else "",
        pairs["within"].texts() if "within" in pairs else (),
        pairs["runs_within"].number(int, "a number of runs, 0 or more") if "runs_within" in pairs else 0,
    )


def _tool_failure(at: At) -> ToolFailure:
    expected = "the name of an exception, or a mapping with `error` and `message`"
    if at.kind == "str":
        return ToolFailure(at.text(), "")
    if at.kind != "map":
        raise at.wrong(expected)
    pairs = at.only(("error", "message", "repr"))
    if "error" not in pairs:
        raise at.error(f"{at.name} has no `error`")
    return ToolFailure(pairs["error"].text(), *(pairs[key].text() if key in pairs else "" for key in ("message", "repr")))


def _key_of(at: At) -> On:
    at.mapping("a mapping with what a call must have")
    pairs = at.only(ON_KEYS)
    given: dict[str, Any] = {key: value.texts() for key, value in pairs.items() if key in ("contains", "tools")}
    given |= {key: value.mapping() for key, value in pairs.items() if key == "metadata"}
    given |= {key: value.text() for key, value in pairs.items() if key not in given}
    _role(pairs)
    if not any(given.values()) and "tools" not in given:
        raise at.error(f"{at.name} is empty; steps for every call stand without `on`")
    return on(**given)


def _step(at: At, read_request: Callable[[At], Fingerprint]) -> Step:
    if at.kind == "str":
        return Reply((Text(tuple(split(at.node.value))),), where=at.where)
    if at.kind != "map":
        raise at.wrong(f"text, or a mapping with {join_or(_VERBS)}")
    verb, pairs = _verb(at, _VERBS, _STEP_KEYS)
    request = read_request(pairs["request"]) if "request" in pairs else None
    if verb == "fail":
        failure = _failure(pairs["fail"], pairs.get("retry_after"))
        return replace(failure, serving=_serving(at, pairs, request), takes_s=_number(pairs, "takes_s", is_seconds, SECONDS))
    parts = (
        map(_reply_part, pairs["reply"].items("a list of parts", "part", at.name)) if verb == "reply" else [_part(verb, pairs)]
    )
    answer = Reply(
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
        serving=_serving(at, pairs, request),
    )
    return _waiting(answer, pairs["then_wait"]) if "then_wait" in pairs else answer


def _waiting(answer: Reply, at: At) -> Reply:
    """Return an answer that says no more: `true`, or how many seconds the program may wait for more."""
    if at.kind == "bool":
        return answer.then_wait() if at.flag() else answer
    seconds: float = at.number(float, _PATIENCE)
    if not 0 < seconds <= _MAX_PATIENCE_S:
        raise at.wrong(_PATIENCE)
    return answer.then_wait(seconds)


def _number(pairs: Mapping[str, At], key: str, fits: Callable[[object], bool], expected: str) -> float | None:
    if key not in pairs:
        return None
    number: float = pairs[key].number(float, expected)
    if not fits(number):
        raise pairs[key].wrong(expected)
    return number


def _serving(at: At, pairs: Mapping[str, At], request: Fingerprint | None) -> Serving:
    if pairs.keys().isdisjoint(_WHEN_SERVED):
        return ONCE if request is None else Serving(request=request)
    flags = {key: pairs[key].flag() for key in ("repeat", "optional", "unchecked") if key in pairs}
    times = pairs["times"].number(int, _TIMES) if "times" in pairs else 1
    if times == 0:
        raise pairs["times"].wrong(_TIMES)
    if flags.get("repeat") and "times" in pairs:
        raise pairs["times"].key_error(f"{at.name} has both `times` and `repeat`")
    expects = _expects(pairs["expects"]) if "expects" in pairs else None
    is_optional, is_checked = flags.get("optional", False), not flags.get("unchecked")
    return Serving(None if flags.get("repeat") else times, is_optional, is_checked, expects, request=request)


def _expects(at: At) -> Expects:
    at.mapping("a mapping with what a prompt must have")
    pairs = at.only(EXPECTS_KEYS)
    texts = {key: value.texts() for key, value in pairs.items() if key != "last"}
    tools = frozenset(texts["tools"]) if "tools" in texts else None
    found = Expects(texts.get("contains", ()), texts.get("forbids", ()), tools, _role(pairs))
    if found == Expects():
        raise at.error(f"{at.name} is empty; a step for any prompt stands without `expects`")
    return found


def _role(pairs: Mapping[str, At]) -> str | None:
    if "last" not in pairs:
        return None
    text = pairs["last"].text()
    try:
        return as_role(text)
    except ScriptError:
        hints = filter(None, [did_you_mean(text, ROLES, before="")])
        raise pairs["last"].error(f"{pairs['last'].name} must be {join_or(ROLES)}; got {pairs['last'].shown()}", *hints) from None


def _verb(at: At, verbs: tuple[str, ...], keys: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, At]]:
    """Return the verb of a mapping and its pairs: exactly one key is a verb, and the verb allows the other keys."""
    found = [key for key in at.pairs() if key in verbs]
    pairs = at.only(_ALLOWED[verbs], keys[found[0]] if found else verbs)
    if not found:
        raise at.error(f"{at.name} does nothing: it has none of the keys {join_or(verbs)}")
    if len(found) > 1:
        first, second = found[:2]
        raise pairs[second].key_error(
            f"{at.name} has both `{first}` and `{second}`", "several parts of one answer are entries of a list under `reply`"
        )
    for key, value in pairs.items():
        if key not in keys[found[0]]:
            raise value.key_error(f"{at.name} cannot have `{key}`", f"a `{found[0]}` has  {join_or(keys[found[0]])}")
    return found[0], pairs


_ALLOWED: Final = {
    verbs: tuple(dict.fromkeys(key for verb in verbs for key in keys[verb]))
    for verbs, keys in ((_VERBS, _STEP_KEYS), (tuple(_PART_KEYS), _PART_KEYS))
}
"""The keys that any of some verbs allows."""


def _reply_part(at: At) -> Part:
    if at.kind == "str":
        return Text(tuple(split(at.node.value)))
    if at.kind != "map":
        raise at.wrong(f"text, or a mapping with {join_or(_PART_KEYS)}")
    for key, value in at.pairs().items():
        if key in _ANSWER:
            raise value.key_error(f"{at.name} has a `{key}` of its own", "give it to the whole step, beside `reply`")
    return _part(*_verb(at, tuple(_PART_KEYS), _PART_KEYS))


def _part(verb: str, pairs: dict[str, At]) -> Part:
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


def _in_pieces(call: Call, pairs: Mapping[str, At]) -> Call:
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


def _tokens(at: At) -> tuple[str, ...]:
    if at.kind == "str":
        return tuple(split(at.node.value))
    return tuple(token.text() for token in at.items("text, or a list of tokens", "token"))


def _usage(at: At) -> Usage | Literal[False]:
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


def _details(at: At) -> FrozenDict:
    at.mapping()
    return FrozenDict({key: value.number(int, _TOKENS) for key, value in at.pairs().items()})


def _failure(at: At, retry_after: At | None) -> Fail:
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


def _cause(at: At) -> str | int:
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
