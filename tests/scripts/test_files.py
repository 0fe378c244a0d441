"""Script files: what is read, what is written, and what every mistake is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from llmtest import Script, call, fail, ledger, on, reply, respond, say, structured, think
from llmtest.errors import ScriptError
from llmtest.events import FrozenDict, Usage
from llmtest.ledger import Ledger
from llmtest.scripts import Request, give
from llmtest.scripts.files import read, read_file
from llmtest.scripts.requests import KeyedSteps
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Value
from llmtest.scripts.yaml_emit import write

FIXTURES = Path(__file__).parents[2] / "fixtures" / "scripts"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "script-files.md"


# -- reading


def test_a_file_says_what_the_vocabulary_says() -> None:
    text = """\
# llmtest script v1
steps:
  - Hello there
  - say: ["It is ", sunny.]
    usage: [7, 2]
    stop_reason: length
    response_metadata: {region: eu, tries: [1, null]}
  - say: cut by split
    usage: false
  - say: details
    usage: {input_tokens: 7, output_tokens: 2, total_tokens: 10, input_token_details: {cache_read: 3}}
  - call: get_weather
    args: {city: Paris}
    id: call_7
  - call: now
  - reply:
      - think: Paris, then.
      - Let me look
      - say: [a, ""]
      - call: search
        args: {q: {deep: [1.5, true]}}
    then_fail: 503
  - think: [only, reasoning]
  - reply: []
  - fail: 429
    retry_after: 2
  - fail: TimeoutError
    takes_s: 30
  - fail: {error: TimeoutError, message: took too long}
  - say: broken
    ttft_s: 0.8
    tokens_per_s: 50
    then_fail: {error: 529, message: busy, retry_after: 0.5}
"""

    steps = read(text, "weather.yaml")

    assert steps == (
        say("Hello there"),
        say("It is ", "sunny.", usage=(7, 2), stop_reason="length", response_metadata={"region": "eu", "tries": [1, None]}),
        say("cut by split", usage=False),
        say("details", usage=Usage(7, 2, 10, FrozenDict(cache_read=3))),
        call("get_weather", city="Paris").with_id("call_7"),
        call("now"),
        reply(think("Paris, then."), "Let me look", say("a", ""), call("search", q={"deep": [1.5, True]})).then_fail(503),
        think("only", "reasoning"),
        reply(),
        fail(429, retry_after=2),
        fail("TimeoutError", takes_s=30),
        fail(TimeoutError("took too long")),
        Reply((Text(("broken",)),), failure=Fail(529, 0.5, "busy"), ttft_s=0.8, tokens_per_s=50),
    )


def test_a_file_says_how_often_for_which_prompt_and_for_which_calls() -> None:
    text = """\
steps:
  - on: {contains: [weather, Paris], tools: search, node: plan*, tag: a, tool_result: search,
      metadata: {n: 1}, thread: t, last: user}
    steps:
      - Sunny
      - say: Done
        times: 2
  - on: {contains: name}
    steps: []
  - structured: {name: Ada}
    type: Person
    optional: true
  - structured: [1, null]
  - call: search
    args: {q: x}
    deltas: ['{"q": ', '"x"}']
    unchecked: true
  - call: search
    malformed: '{"q'
  - say: I must not.
    refusal: true
    expects: {contains: secret, forbids: [a, b], tools: [search, book], last: assistant}
  - say: cut
    then_truncate: true
    optional: false
    expects: {tools: []}
  - fail: 429
    repeat: true
"""

    steps = read(text, "weather.yaml")

    key = on(
        contains=["weather", "Paris"],
        tools="search",
        node="plan*",
        tag="a",
        tool_result="search",
        metadata={"n": 1},
        thread="t",
        last="human",
    )
    expected = {"contains": "secret", "forbids": ["a", "b"], "tools": {"search", "book"}, "last": "ai"}
    assert steps == (
        KeyedSteps(key, (say("Sunny"), say("Done").times(2))),
        KeyedSteps(on(contains="name"), ()),
        Reply((Value(FrozenDict(name="Ada"), "Person"),)).optional(),
        structured([1, None]),
        call("search", q="x").deltas('{"q": ', '"x"}').unchecked(),
        call("search").malformed('{"q'),
        Reply((Text(("I", " must", " not", ".")),), refusal=True).expects(**expected),  # type: ignore[arg-type]
        say("cut").then_truncate().expects(tools=[]),
        fail(429).repeat(),
    )


def test_a_step_knows_its_line() -> None:
    text = "# llmtest script v1\n\nsteps:\n  - Hello\n  -\n    say: a\n    then_fail: 429\n  - fail: 429\n"

    said, broken, failed = read(text, "here.yaml")

    assert isinstance(broken, Reply)
    assert broken.failure is not None
    wheres = [said.where, broken.where, broken.failure.where, failed.where]
    assert wheres == ["here.yaml:4", "here.yaml:6", "here.yaml:7", "here.yaml:8"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("=", "="),
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("[a, [b]]", ["a", ["b"]]),
        ("{a: {b: c}}", {"a": {"b": "c"}}),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(word: str, value: Any) -> None:
    text = f"steps:\n  - call: search\n    args:\n      q: {word}\n"

    (step,) = read(text, "x.yaml")

    assert repr(step) == repr(call("search", q=value))


def test_aliases_repeat_what_their_anchor_says() -> None:
    text = "steps:\n  - call: search\n    args: &paris {city: &city Paris}\n  - call: book\n    args: *paris\n  - *city\n"

    steps = read(text, "x.yaml")

    assert steps == (call("search", city="Paris"), call("book", city="Paris"), say("Paris"))


def test_arguments_cannot_be_changed() -> None:
    (step,) = read("steps: [{call: search, args: {q: {deep: [1]}}}]", "x.yaml")

    with pytest.raises(TypeError, match="read-only"):
        step.calls[0].args["q"]["deep"].append(2)  # type: ignore[union-attr]


def test_a_file_without_header_and_with_a_byte_order_mark_is_read() -> None:
    assert read("\ufeffsteps: []\r\n", "x.yaml") == ()


def test_bytes_are_utf_8() -> None:
    assert read("steps: [天气]\n".encode(), "x.yaml") == (say("天气"),)


MISTAKES = {
    "empty file": (
        "",
        "x.yaml:1: the file is empty; a script file has the key `steps`, a list of steps",
    ),
    "only a comment": (
        "# nothing yet\n",
        "x.yaml:1: the file is empty; a script file has the key `steps`, a list of steps",
    ),
    "no mapping": (
        "- Hello\n",
        "x.yaml:1: the file is not a mapping with the key `steps`; got a list",
    ),
    "only text": (
        "Hello\n",
        "x.yaml:1: the file is not a mapping with the key `steps`; got the text 'Hello'",
    ),
    "no steps": (
        "{}\n",
        "x.yaml:1: the file has no `steps`",
    ),
    "empty steps": (
        "steps:\n",
        "x.yaml:1: `steps` of the file must be a list of steps; got nothing",
    ),
    "steps is a mapping": (
        "steps: {say: Hello}\n",
        "x.yaml:1: `steps` of the file must be a list of steps; got a mapping",
    ),
    "misspelt steps": (
        "stps: []\n",
        "x.yaml:1: the file has the unknown key `stps`\n"
        "  expected  `test`, `recorded`, `requests`, `steps`, `models`, `tools` or `embeddings`\n  did you mean `steps`?",
    ),
    "newer version": (
        "# llmtest script v3\nsteps: []\n",
        "x.yaml:1: the file is a script of version 3; this llmtest reads versions 1 and 2",
    ),
    "unclosed list": (
        "steps:\n  - say: [a\n  - b\n",
        "x.yaml:4: not YAML: expected ',' or ']', but got '<stream end>'\n"
        "  while parsing a flow sequence, which begins in line 2",
    ),
    "tab": (
        "steps:\n\t- Hello\n",
        "x.yaml:2: not YAML: found character '\\t' that cannot start any token\n  2 | \t- Hello",
    ),
    "control character": (
        "steps:\n  - Hello\x07\n",
        "x.yaml:2: not YAML: the character U+0007 can stand only as an escape in double quotes",
    ),
    "unknown alias": (
        "steps:\n  - *greeting\n",
        "x.yaml:2: not YAML: found undefined alias 'greeting'\n  2 |   - *greeting",
    ),
    "two documents": (
        "steps: []\n---\nsteps: []\n",
        "x.yaml:2: not YAML: but found another document\n"
        "  2 | ---\n"
        "  expected a single document in the stream, which begins in line 1",
    ),
    "unknown key": (
        "steps:\n  - Hello\n  - cal: search\n",
        "x.yaml:3: step 2 has the unknown key `cal`\n"
        "  expected  `say`, `think`, `call`, `structured`, `reply` or `fail`\n"
        "  did you mean `call`?",
    ),
    "unknown key, nothing near": (
        "steps:\n  - zzz: search\n",
        "x.yaml:2: step 1 has the unknown key `zzz`\n  expected  `say`, `think`, `call`, `structured`, `reply` or `fail`",
    ),
    "two verbs": (
        "steps:\n  - say: Hello\n    call: search\n",
        "x.yaml:3: step 1 has both `say` and `call`\n  several parts of one answer are entries of a list under `reply`",
    ),
    "no verb": (
        "steps:\n  - usage: [1, 2]\n",
        "x.yaml:2: step 1 does nothing: it has none of the keys `say`, `think`, `call`, `structured`, `reply` or `fail`",
    ),
    "key of another verb": (
        "steps:\n  - say: Hello\n    args: {q: x}\n",
        "x.yaml:3: step 1 cannot have `args`\n"
        "  a `say` has  `say`, `refusal`, `usage`, `stop_reason`, `response_metadata`, `ttft_s`, "
        "`tokens_per_s`, `then_fail`, "
        "`then_truncate`, `then_wait`, `times`, `repeat`, `optional`, `unchecked`, `expects` or `request`",
    ),
    "key twice": (
        "steps:\n  - say: Hello\n    usage: [1, 2]\n    say: Goodbye\n",
        "x.yaml:4: step 1 has the key `say` twice; the first is in line 2",
    ),
    "number as a step": (
        "steps:\n  - Hello\n  - 42\n",
        "x.yaml:3: step 2 must be text, or a mapping with `say`, `think`, `call`, `structured`, `reply` or "
        "`fail`; got the int 42\n"
        '  quote it to make it text: "42"',
    ),
    "list as a step": (
        "steps:\n  - [Hello]\n",
        "x.yaml:2: step 1 must be text, or a mapping with `say`, `think`, `call`, `structured`, `reply` or `fail`; got a list",
    ),
    "nothing as a step": (
        "steps:\n  -\n",
        "x.yaml:2: step 1 must be text, or a mapping with `say`, `think`, `call`, `structured`, `reply` or `fail`; got nothing",
    ),
    "number as a token": (
        "steps:\n  - say: [It, 18]\n",
        'x.yaml:2: token 2 of `say` of step 1 must be text; got the int 18\n  quote it to make it text: "18"',
    ),
    "boolean as text": (
        "steps:\n  - think: true\n",
        'x.yaml:2: `think` of step 1 must be text, or a list of tokens; got the bool true\n  quote it to make it text: "true"',
    ),
    "mapping as text": (
        "steps:\n  - say: {text: Hello}\n",
        "x.yaml:2: `say` of step 1 must be text, or a list of tokens; got a mapping",
    ),
    "number as a tool": (
        "steps:\n  - call: 7\n",
        'x.yaml:2: `call` of step 1 must be text, the name of a tool; got the int 7\n  quote it to make it text: "7"',
    ),
    "empty tool": (
        "steps:\n  - call: ''\n",
        "x.yaml:2: `call` of step 1 must be text, the name of a tool; got the text ''",
    ),
    "list as args": (
        "steps:\n  - call: search\n    args: [x]\n",
        "x.yaml:3: `args` of step 1 must be a mapping; got a list",
    ),
    "number as a key of args": (
        "steps:\n  - call: search\n    args: {1: x}\n",
        'x.yaml:3: a key of `args` of step 1 must be text; got the int 1\n  quote it to make it text: "1"',
    ),
    "list as a key": (
        "steps:\n  - ? [say]\n    : Hello\n",
        "x.yaml:2: a key of step 1 must be text; got a list",
    ),
    "deep key twice": (
        "steps:\n  - call: search\n    args:\n      q: {a: 1,\n          a: 2}\n",
        "x.yaml:5: `q` of `args` of step 1 has the key `a` twice; the first is in line 4",
    ),
    "args that are no JSON": (
        "steps:\n  - call: search\n    args: {q: .nan}\n",
        "x.yaml:3: `q` of `args` of step 1 is not a JSON value; got the float .nan",
    ),
    "infinite number": (
        "steps:\n  - call: search\n    args: {q: 1e999}\n",
        "x.yaml:3: `q` of `args` of step 1 is not a JSON value; got the float 1e999",
    ),
    "args in themselves": (
        "steps:\n  - call: search\n    args: &args\n      q: *args\n",
        "x.yaml:3: `q` of `args` of step 1 contains itself",
    ),
    "merge": (
        "steps:\n  - call: search\n    args: {<<: {q: x}}\n",
        "x.yaml:3: `args` of step 1 has the YAML merge `<<`, which is not read; write the keys out",
    ),
    "number as an id": (
        "steps:\n  - call: search\n    id: 7\n",
        'x.yaml:3: `id` of step 1 must be text; got the int 7\n  quote it to make it text: "7"',
    ),
    "number as a stop reason": (
        "steps:\n  - say: Hello\n    stop_reason: 1.5\n",
        'x.yaml:3: `stop_reason` of step 1 must be text; got the float 1.5\n  quote it to make it text: "1.5"',
    ),
    "text as metadata": (
        "steps:\n  - say: Hello\n    response_metadata: eu\n",
        "x.yaml:3: `response_metadata` of step 1 must be a mapping; got the text 'eu'",
    ),
    "text as parts": (
        "steps:\n  - reply: Hello\n",
        "x.yaml:2: `reply` of step 1 must be a list of parts; got the text 'Hello'",
    ),
    "number as a part": (
        "steps:\n  - reply: [Hello, 1]\n",
        "x.yaml:2: part 2 of step 1 must be text, or a mapping with `say`, `think`, `call` or `structured`; "
        "got the int 1\n"
        '  quote it to make it text: "1"',
    ),
    "failure as a part": (
        "steps:\n  - reply:\n      - fail: 429\n",
        "x.yaml:3: part 1 of step 1 has the unknown key `fail`\n  expected  `say`, `think`, `call` or `structured`",
    ),
    "usage of a part": (
        "steps:\n  - reply:\n      - Hello\n      - say: you\n        usage: [1, 2]\n",
        "x.yaml:5: part 2 of step 1 has a `usage` of its own\n  give it to the whole step, beside `reply`",
    ),
    "two verbs in a part": (
        "steps:\n  - reply:\n      - say: Hello\n        think: you\n",
        "x.yaml:4: part 1 of step 1 has both `say` and `think`\n"
        "  several parts of one answer are entries of a list under `reply`",
    ),
    "usage of three": (
        "steps:\n  - say: Hello\n    usage: [1, 2, 3]\n",
        "x.yaml:3: `usage` of step 1 must be [input_tokens, output_tokens], a mapping with these keys, or false; got a list",
    ),
    "usage true": (
        "steps:\n  - say: Hello\n    usage: true\n",
        "x.yaml:3: `usage` of step 1 must be [input_tokens, output_tokens], a mapping with these keys, or "
        "false; got the bool true",
    ),
    "negative usage": (
        "steps:\n  - say: Hello\n    usage: [1, -2]\n",
        "x.yaml:3: entry 2 of `usage` of step 1 must be a number of tokens, 0 or more; got the int -2",
    ),
    "usage of a half": (
        "steps:\n  - say: Hello\n    usage: [1, 2.5]\n",
        "x.yaml:3: entry 2 of `usage` of step 1 must be a number of tokens, 0 or more; got the float 2.5",
    ),
    "usage without output": (
        "steps:\n  - say: Hello\n    usage: {input_tokens: 1}\n",
        "x.yaml:3: `usage` of step 1 has no `output_tokens`",
    ),
    "usage with a wrong key": (
        "steps:\n  - say: Hello\n    usage: {input_tokens: 1, outputs: 1}\n",
        "x.yaml:3: `usage` of step 1 has the unknown key `outputs`\n"
        "  expected  `input_tokens`, `output_tokens`, `total_tokens`, `input_token_details` or "
        "`output_token_details`\n"
        "  did you mean `output_tokens`?",
    ),
    "usage details of text": (
        "steps:\n  - say: Hello\n    usage:\n      input_tokens: 1\n      output_tokens: 1\n"
        "      input_token_details: {cache_read: many}\n",
        "x.yaml:6: `cache_read` of `input_token_details` of `usage` of step 1 must be a number of tokens, 0 "
        "or more; got the text 'many'",
    ),
    "unknown exception": (
        "steps:\n  - fail: TimeotError\n",
        "x.yaml:2: `fail` of step 1 names no exception that a file knows: 'TimeotError'\n"
        "  expected  an exception of Python's own that takes a text, or an HTTP status\n"
        "  did you mean `TimeoutError`?",
    ),
    "exception of nobody": (
        "steps:\n  - fail: zzz\n",
        "x.yaml:2: `fail` of step 1 names no exception that a file knows: 'zzz'\n"
        "  expected  an exception of Python's own that takes a text, or an HTTP status",
    ),
    "exception that takes no text": (
        "steps:\n  - fail: UnicodeDecodeError\n",
        "x.yaml:2: `fail` of step 1 names no exception that a file knows: 'UnicodeDecodeError'\n"
        "  expected  an exception of Python's own that takes a text, or an HTTP status\n"
        "  did you mean `UnicodeError`?",
    ),
    "status that is no failure": (
        "steps:\n  - fail: 200\n",
        "x.yaml:2: `fail` of step 1 is the HTTP status 200; one that fails lies between 400 and 599",
    ),
    "list as a failure": (
        "steps:\n  - fail: [429]\n",
        "x.yaml:2: `fail` of step 1 must be the name of an exception, or an HTTP status; got a list",
    ),
    "failure without error": (
        "steps:\n  - say: Hello\n    then_fail: {message: reset}\n",
        "x.yaml:3: `then_fail` of step 1 has no `error`",
    ),
    "failure with a wrong key": (
        "steps:\n  - fail: {error: 429, retry_afte: 2}\n",
        "x.yaml:2: `fail` of step 1 has the unknown key `retry_afte`\n"
        "  expected  `error`, `message` or `retry_after`\n"
        "  did you mean `retry_after`?",
    ),
    "number as a message": (
        "steps:\n  - fail: {error: TimeoutError, message: 7}\n",
        'x.yaml:2: `message` of `fail` of step 1 must be text; got the int 7\n  quote it to make it text: "7"',
    ),
    "text as retry_after": (
        "steps:\n  - fail: 429\n    retry_after: soon\n",
        "x.yaml:3: `retry_after` of step 1 must be a number of seconds, 0 or more; got the text 'soon'",
    ),
    "negative retry_after": (
        "steps:\n  - fail: 429\n    retry_after: -1\n",
        "x.yaml:3: `retry_after` of step 1 must be a number of seconds, 0 or more; got the int -1",
    ),
    "no time": (
        "steps:\n  - say: Hello\n    ttft_s: 2000000000\n",
        "x.yaml:3: `ttft_s` of step 1 must be a number of seconds from 0 to 1e9; got the int 2000000000",
    ),
    "no pace": (
        "steps:\n  - say: Hello\n    tokens_per_s: 0\n",
        "x.yaml:3: `tokens_per_s` of step 1 must be a number of tokens a second from 0.001 to 1e9; got the int 0",
    ),
    "a failure that takes no number of seconds": (
        "steps:\n  - fail: 429\n    takes_s: long\n",
        "x.yaml:3: `takes_s` of step 1 must be a number of seconds from 0 to 1e9; got the text 'long'",
    ),
    "a part with a latency": (
        "steps:\n  - reply:\n      - say: Hello\n        ttft_s: 1\n",
        "x.yaml:4: part 1 of step 1 has a `ttft_s` of its own\n  give it to the whole step, beside `reply`",
    ),
    "retry_after twice": (
        "steps:\n  - fail: {error: 429, retry_after: 1}\n    retry_after: 2\n",
        "x.yaml:3: `fail` of step 1 has `retry_after` twice: inside and beside it",
    ),
    "retry_after beside then_fail": (
        "steps:\n  - say: Hello\n    then_fail: 429\n    retry_after: 2\n",
        "x.yaml:4: step 1 cannot have `retry_after`\n"
        "  a `say` has  `say`, `refusal`, `usage`, `stop_reason`, `response_metadata`, `ttft_s`, "
        "`tokens_per_s`, `then_fail`, "
        "`then_truncate`, `then_wait`, `times`, `repeat`, `optional`, `unchecked`, `expects` or `request`",
    ),
    "code as a tag": (
        "steps:\n  - !!python/object/apply:os.system [ls]\n",
        "x.yaml:2: step 1 has the YAML tag `!!python/object/apply:os.system`; a file of data has no tags",
    ),
    "tag of one's own": (
        "steps:\n  - say: !token Hello\n",
        "x.yaml:2: `say` of step 1 has the YAML tag `!token`; a file of data has no tags",
    ),
    "wrong number": (
        "steps:\n  - call: search\n    args: {q: !!int many}\n",
        "x.yaml:3: `q` of `args` of step 1 is not a JSON value; got the int many",
    ),
    "wrong boolean": (
        "steps:\n  - call: search\n    args: {q: !!bool maybe}\n",
        "x.yaml:3: `q` of `args` of step 1 is not a JSON value; got the bool maybe",
    ),
    "times zero": (
        "steps:\n  - say: Hello\n    times: 0\n",
        "x.yaml:3: `times` of step 1 must be a whole number of 1 or more; got the int 0",
    ),
    "times of a half": (
        "steps:\n  - say: Hello\n    times: 1.5\n",
        "x.yaml:3: `times` of step 1 must be a whole number of 1 or more; got the float 1.5",
    ),
    "times and repeat": (
        "steps:\n  - say: Hello\n    repeat: true\n    times: 2\n",
        "x.yaml:4: step 1 has both `times` and `repeat`",
    ),
    "text as a flag": (
        "steps:\n  - say: Hello\n    optional: yes\n",
        "x.yaml:3: `optional` of step 1 must be true or false; got the text 'yes'",
    ),
    "number as a flag": (
        "steps:\n  - say: Hello\n    unchecked: 1\n",
        "x.yaml:3: `unchecked` of step 1 must be true or false; got the int 1",
    ),
    "refusal of a thought": (
        "steps:\n  - think: hm\n    refusal: true\n",
        "x.yaml:3: step 1 cannot have `refusal`\n"
        "  a `think` has  `think`, `usage`, `stop_reason`, `response_metadata`, `ttft_s`, "
        "`tokens_per_s`, `then_fail`, "
        "`then_truncate`, `then_wait`, `times`, `repeat`, `optional`, `unchecked`, `expects` or `request`",
    ),
    "text as expectations": (
        "steps:\n  - say: Hello\n    expects: weather\n",
        "x.yaml:3: `expects` of step 1 must be a mapping with what a prompt must have; got the text 'weather'",
    ),
    "unknown expectation": (
        "steps:\n  - say: Hello\n    expects: {contain: weather}\n",
        "x.yaml:3: `expects` of step 1 has the unknown key `contain`\n"
        "  expected  `contains`, `forbids`, `tools` or `last`\n"
        "  did you mean `contains`?",
    ),
    "number as an expectation": (
        "steps:\n  - say: Hello\n    expects: {forbids: [a, 7]}\n",
        'x.yaml:3: entry 2 of `forbids` of `expects` of step 1 must be text; got the int 7\n  quote it to make it text: "7"',
    ),
    "number as a tool to expect": (
        "steps:\n  - say: Hello\n    expects: {tools: 7}\n",
        "x.yaml:3: `tools` of `expects` of step 1 must be text, or a list of texts; got the int 7\n"
        '  quote it to make it text: "7"',
    ),
    "terms of a part": (
        "steps:\n  - reply:\n      - say: Hello\n        times: 2\n",
        "x.yaml:4: part 1 of step 1 has a `times` of its own\n  give it to the whole step, beside `reply`",
    ),
    "deltas of other arguments": (
        "steps:\n  - call: search\n    args: {q: x}\n    deltas: ['{\"q\"', ': \"y\"}']\n",
        "x.yaml:4: `deltas` of step 1: the pieces of deltas(...) do not join to the arguments\n"
        '  got       {"q": "y"}\n'
        '  expected  {"q": "x"}\n'
        "  for text that is wrong on purpose: malformed(...)",
    ),
    "malformed that is well formed": (
        "steps:\n  - call: search\n    malformed: '{}'\n",
        "x.yaml:3: `malformed` of step 1: malformed(...) takes text that is no JSON object; got '{}'",
    ),
    "number as deltas": (
        "steps:\n  - call: search\n    deltas: 7\n",
        "x.yaml:3: `deltas` of step 1: x.yaml:3: `deltas` of step 1 must be text, or a list of texts; got "
        "the int 7\n"
        '  quote it to make it text: "7"',
    ),
    "deltas and malformed": (
        "steps:\n  - call: search\n    deltas: ['{}']\n    malformed: ['{']\n",
        "x.yaml:4: `deltas` of step 1 and `malformed` exclude each other",
    ),
    "number as a type": (
        "steps:\n  - structured: {a: 1}\n    type: 7\n",
        'x.yaml:3: `type` of step 1 must be text; got the int 7\n  quote it to make it text: "7"',
    ),
    "structured that is no JSON": (
        "steps:\n  - structured: .inf\n",
        "x.yaml:2: `structured` of step 1 is not a JSON value; got the float .inf",
    ),
    "key without steps": (
        "steps:\n  - on: {node: planner}\n",
        "x.yaml:2: step 1 has the key `on` and no `steps`",
    ),
    "key beside a step": (
        "steps:\n  - on: {node: planner}\n    say: Hello\n",
        "x.yaml:3: step 1 has the unknown key `say`\n  expected  `on` or `steps`",
    ),
    "key with one step": (
        "steps:\n  - on: {node: planner}\n    steps: Hello\n",
        "x.yaml:3: `steps` of step 1 must be a list of steps; got the text 'Hello'",
    ),
    "empty key": (
        "steps:\n  - on: {}\n    steps: [Hello]\n",
        "x.yaml:2: `on` of step 1 is empty; steps for every call stand without `on`",
    ),
    "role that does not exist": (
        "steps:\n  - on: {last: humn}\n    steps: [Hello]\n",
        "x.yaml:2: `last` of `on` of step 1 must be `human`, `ai`, `system`, `tool`, `function` or `chat`; got the text 'humn'\n"
        "  did you mean `human`?",
    ),
    "expectation of nothing": (
        "steps:\n  - say: Hello\n    expects: {}\n",
        "x.yaml:3: `expects` of step 1 is empty; a step for any prompt stands without `expects`",
    ),
    "expected role that does not exist": (
        "steps:\n  - say: Hello\n    expects:\n      last: usr\n",
        "x.yaml:4: `last` of `expects` of step 1 must be `human`, `ai`, `system`, `tool`, `function` or `chat`;"
        " got the text 'usr'",
    ),
    "nesting": (
        "steps:\n  - structured: " + "[" * 100_000 + "]" * 100_000,
        "x.yaml:2: the file nests deeper than 100 levels",
    ),
    "nesting by indents": (
        "steps:\n" + "".join(f"{' ' * n}-\n" for n in range(200)),
        "x.yaml:101: the file nests deeper than 100 levels",
    ),
    "aliases of aliases": (
        "steps:\n  - structured:\n    - &a0 [1, 2, 3]\n"
        + "".join(f"    - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)),
        "x.yaml:8: aliases multiply the file to more than 100,000 values",
    ),
    "a chain of aliases": (
        "steps:\n  - structured:\n    - &a0 [1]\n" + "".join(f"    - &a{n} [*a{n - 1}]\n" for n in range(1, 200)),
        "x.yaml:99: the file nests deeper than 100 levels, with each alias written out",
    ),
    "digits": (
        "steps:\n  - structured: " + "9" * 1_000_000,
        f"x.yaml:2: `structured` of step 1 is not a JSON value; got the int {'9' * 77}...",
    ),
    "digits of a float": (
        "steps:\n  - structured: 0." + "9" * 1_000_000,
        f"x.yaml:2: `structured` of step 1 is not a JSON value; got the float 0.{'9' * 75}...",
    ),
    "digits in base 16": (
        "steps:\n  - fail: 0x" + "f" * 1_000_000,
        f"x.yaml:2: `fail` of step 1 is not a JSON value; got the int 0x{'f' * 75}...",
    ),
    "how often, with many digits": (
        "steps:\n  - say: Hello\n    times: " + "9" * 1_000_000,
        f"x.yaml:3: `times` of step 1 is not a JSON value; got the int {'9' * 77}...",
    ),
    "key that is empty": (
        "steps:\n  - on: {contains: []}\n    steps: [Hello]\n",
        "x.yaml:2: `on` of step 1 is empty; steps for every call stand without `on`",
    ),
    "text as a key of steps": (
        "steps:\n  - on: planner\n    steps: [Hello]\n",
        "x.yaml:2: `on` of step 1 must be a mapping with what a call must have; got the text 'planner'",
    ),
    "unknown key of steps": (
        "steps:\n  - on: {nod: planner}\n    steps: [Hello]\n",
        "x.yaml:2: `on` of step 1 has the unknown key `nod`\n"
        "  expected  `contains`, `tools`, `node`, `tag`, `tool_result`, `metadata`, `thread` or `last`\n"
        "  did you mean `node`?",
    ),
    "number as a node": (
        "steps:\n  - on: {node: 7}\n    steps: [Hello]\n",
        'x.yaml:2: `node` of `on` of step 1 must be text; got the int 7\n  quote it to make it text: "7"',
    ),
    "mistake in a step with a key": (
        "steps:\n  - Hello\n  - on: {node: planner}\n    steps:\n      - Hello\n      - cal: search\n",
        "x.yaml:6: step 2 of entry 2 has the unknown key `cal`\n"
        "  expected  `say`, `think`, `call`, `structured`, `reply` or `fail`\n"
        "  did you mean `call`?",
    ),
    **{
        f"version 2, {kind}": (f"# llmtest script v2\n{text}", told)
        for kind, text, told in (
            (
                "several models",
                "models:\n  gpt-5: [hi]\n  claude: [ho]\n",
                "x.yaml:3: the file has the steps of several models: `gpt-5`, `claude`\n"
                "  they answer together: scripted_providers('x.yaml')",
            ),
            ("no steps", "test: a\n", "x.yaml:2: the file has no `steps` and no `models`"),
            (
                "steps and models",
                "steps: []\nmodels: {}\n",
                "x.yaml:3: the file has both `steps` and `models`; the steps of any model are those of the model `*`",
            ),
            (
                "source",
                "steps:\n  - say: hi\n    request: {source: callback}\n",
                "x.yaml:4: `source` of `request` of step 1 must be `callbacks`; got the text 'callback'",
            ),
            (
                "day",
                "steps:\n  - say: hi\n    request: {source: callbacks, recorded: 30.11.2026}\n",
                "x.yaml:4: `recorded` of `request` of step 1 must be a day, as in 2026-11-29; got the text '30.11.2026'",
            ),
            (
                "half a prompt",
                'steps:\n  - say: hi\n    request: {system: {lines: "0328e3"}}\n',
                "x.yaml:4: `system` of `request` of step 1 has no `begins`",
            ),
            *(
                (
                    f"the vector {vector}",
                    f'steps: []\nembeddings:\n  m: {{hi: "{vector}"}}\n',
                    "x.yaml:4: `hi` of `m` of `embeddings` of the file must be a list of numbers, or the text of a recorded"
                    f" vector; got the text '{vector}'",
                )
                for vector in ("f4:AAA", "f4:AAAA", "f2:AAAA", "AAAA")
            ),
            (
                "two answers in one",
                "steps: []\ntools:\n  t:\n    - {gives: 1}\n    - {gives: 1, unknown: x}\n",
                "x.yaml:6: answer 2 of `t` of `tools` of the file has both `gives` and `unknown`",
            ),
            (
                "no answer",
                "steps: []\ntools:\n  t:\n    - {args: {}}\n",
                "x.yaml:5: answer 1 of `t` of `tools` of the file has none of `gives`, `fails` and `unknown`",
            ),
            (
                "a failure",
                "steps: []\ntools:\n  t:\n    - {fails: 3}\n",
                "x.yaml:5: `fails` of answer 1 of `t` of `tools` of the file must be the name of an exception, or a mapping with"
                " `error` and `message`; got the int 3",
            ),
            (
                "a failure without a name",
                "steps: []\ntools:\n  t:\n    - {fails: {message: no}}\n",
                "x.yaml:5: `fails` of answer 1 of `t` of `tools` of the file has no `error`",
            ),
            *(
                (
                    f"patience of {told}",
                    f"steps:\n  - say: hi\n    then_wait: {seconds}\n",
                    "x.yaml:4: `then_wait` of step 1 must be true, or a number of seconds, more than 0 and at most 1e6;"
                    f" got the {told}",
                )
                for seconds, told in ((0, "int 0"), (-1.5, "float -1.5"), ("1e7", "float 1e7"))
            ),
        )
    },
    "version 1 with what version 2 has": (
        "# llmtest script v1\nsteps: []\nmodels: {}\n",
        "x.yaml:3: a script of version 1 has no `models`\n  the file must begin with: # llmtest script v2",
    ),
    "a byte that is not UTF-8": (
        b"steps:\n  - caf\xe9\n",
        "x.yaml:2: the file is not UTF-8: invalid continuation byte 0xe9",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_called_by_its_line_and_its_name(text: str | bytes, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        read(text, "x.yaml")

    assert str(caught.value) == message


def test_an_error_names_a_file_below_the_current_folder_by_its_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scripts" / "x.yaml"
    path.parent.mkdir()
    path.write_text("steps: Hello\n", "utf-8")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ScriptError) as caught:
        Script.load(path)

    expected = f"{os.path.join('scripts', 'x.yaml')}:1: `steps` of the file must be a list of steps; got the text 'Hello'"
    assert str(caught.value) == expected


def test_the_steps_of_one_model_are_steps_and_known_requests_have_their_day_and_source() -> None:
    (step,) = read(
        "# llmtest script v2\nmodels:\n  gpt-5:\n    - say: hi\n      request: {source: callbacks, recorded: 2026-11-30}\n", "x"
    )

    assert step.serving.request is not None
    assert (str(step), step.serving.request.source, step.serving.request.recorded) == ("say('hi')", "callbacks", "2026-11-30")


# -- writing


def test_no_steps_are_a_file_too() -> None:
    assert write([]) == "# llmtest script v1\nsteps: []\n"


class Refused(Exception):
    """An exception that only this file knows."""


UNNAMED = "\n  a file names Python's built-in exceptions, made from one text or from nothing, and HTTP statuses"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (fail(Refused("go away")), "step 2 fails with Refused('go away'), which a file cannot name" + UNNAMED),
        (fail(Refused), "step 2 fails with Refused, which a file cannot name" + UNNAMED),
        (
            say("a").then_fail(OSError(2, "gone")),
            "step 2 fails with FileNotFoundError(2, 'gone'), which a file cannot name" + UNNAMED,
        ),
        (fail(ValueError(7)), "step 2 fails with ValueError(7), which a file cannot name" + UNNAMED),
        (fail(KeyboardInterrupt), "step 2 fails with KeyboardInterrupt, which a file cannot name" + UNNAMED),
        (
            fail(type("TimeoutError", (Exception,), {})("mine")),
            "step 2 fails with TimeoutError('mine'), which a file cannot name" + UNNAMED,
        ),
        (give(["a"]), "step 2 gives a value, and a file holds what a model says: give(['a'])"),
        (respond(str.upper), "step 2 asks a function, which a file cannot name: respond(upper)"),
        (
            KeyedSteps(on(node="planner"), (respond(str.upper),)),
            "step 1 of step 2 asks a function, which a file cannot name: respond(upper)",
        ),
        (
            Reply((Text(("a",)),), Usage(7, -2, 5)),
            "step 2 cannot be written to a file, where it would be another step: say('a')",
        ),
        (
            Reply((Call("search", FrozenDict(pair=(1, 2))),)),
            "step 2 cannot be written to a file: its args are not JSON: {'pair': (1, 2)}",
        ),
        (
            say("a", response_metadata={"at": (1, 2)}),
            "step 2 cannot be written to a file: its response_metadata are not JSON: {'at': (1, 2)}",
        ),
        (
            say("a", response_metadata={"ratios": [{"x": float("nan")}]}),
            "step 2 cannot be written to a file: its response_metadata are not JSON: {'ratios': [{'x': nan}]}",
        ),
    ],
)
def test_a_step_that_a_file_cannot_hold_is_refused_by_its_number(step: Any, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        write([say("Hello"), step])

    assert str(caught.value) == message


# -- Script.load and Script.dump


def test_a_script_is_loaded_and_dumped(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    with ledger.opened(Ledger()):
        script = Script("Hello", call("search", q="天气"), fail(429), on(node="planner") >> "a")

        script.dump(path)
        loaded = Script.load(path)

    assert path.read_text("utf-8") == (
        '# llmtest script v1\nsteps:\n  - on: {node: planner}\n    steps:\n      - "a"\n'
        '  - "Hello"\n  - call: search\n    args: {q: "天气"}\n  - fail: 429\n'
    )
    assert b"\r" not in path.read_bytes()
    assert loaded.steps == script.steps


def test_an_unused_step_of_a_file_names_the_file_and_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.yaml").write_text("steps:\n  - Hello\n  - Goodbye\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    with ledger.opened(Ledger()):
        script = Script.load("script.yaml")

        script.serve(Request({}, list))

    assert [violation.text for violation in script.unused()] == [
        "1 of 2 steps of the script was never used\n"
        "  step 2  say('Goodbye')  at script.yaml:3\n"
        "  the model was called once; remove the steps, or find out why the program stopped early"
    ]


# -- the files that we ship


def test_the_file_in_the_reference_reads_as_it_says() -> None:
    example = REFERENCE.read_text("utf-8").split("```yaml\n")[1].split("```")[0]

    steps = read(example, "example.yaml")

    assert steps == (
        say("A plain string is say()."),
        say("It is ", "sunny.", usage=(7, 2)),
        call("get_weather", city="Paris").with_id("call_7"),
        reply(think("Paris, then."), "Let me look.", call("search", q="weather in Paris")),
        fail(429, retry_after=2),
        say("one", " two").then_fail(ConnectionError("reset")),
    )


def test_every_file_and_the_error_in_the_reference_are_as_shown() -> None:
    page = REFERENCE.read_text("utf-8")
    files = [part.split("```")[0] for part in page.split("```yaml\n")[1:]]

    with pytest.raises(ScriptError) as caught:
        read("# llmtest script v1\nsteps:\n  - Hello\n  - cal: search\n", "tests/weather.yaml")

    assert [len(read(file, "x.yaml")) for file in files[:-1]] == [6, 3]
    recorded = read_file(files[-1], "x.yaml")
    assert {model: len(steps) for model, steps in recorded.models.items()} == {"openai:gpt-5": 2, "anthropic:claude-*": 1}
    assert [answer.outcome for answer in recorded.tools["refund"]] == [
        "gave 'refunded A-7'",
        "failed with ValueError: there is no order B-1",
    ]
    assert recorded.embeddings == {"openai:text-embedding-3-small": {"red shoes": [0.25, -0.5, 0.125]}}
    assert f"```text\n{caught.value}\n```" in page


def test_the_react_calculator_says_what_its_parsers_understand() -> None:
    classic = pytest.importorskip("langchain_classic.agents.mrkl.output_parser")
    think_act, compute, answer = [
        step.text for step in read((FIXTURES / "react_calculator.yaml").read_bytes(), "x.yaml") if isinstance(step, Reply)
    ]
    parser = classic.MRKLOutputParser()

    action, finish = parser.parse(think_act), parser.parse(answer)

    assert (action.tool, action.tool_input) == ("Calculator", "2^0.235")
    assert action.log == " I need to use a calculator to solve this.\nAction: Calculator\nAction Input: 2^0.235"
    assert compute == '```text\n2**0.235\n```\n...numexpr.evaluate("2**0.235")...\n'
    assert finish.return_values == {"output": "1.1769067372187674"}
