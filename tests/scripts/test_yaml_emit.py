"""Steps written as a script file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtest import call, fail, on, reply, say, structured, think
from llmtest.events import FrozenDict, Usage
from llmtest.events.words import EMPTY, Message
from llmtest.scripts.files import ScriptFile, read, read_file
from llmtest.scripts.fingerprints import Fingerprint, digest, fingerprint
from llmtest.scripts.requests import KeyedSteps, Request
from llmtest.scripts.step_types import Reply, Value
from llmtest.scripts.tool_answers import ToolAnswer, ToolFailure
from llmtest.scripts.yaml_emit import write, write_file

FIXTURES = Path(__file__).parents[2] / "fixtures" / "scripts"


TRICKY = [
    "",
    " ",
    "\n",
    "\r\n",
    "\t",
    "a\nb",
    "a \nb",
    " a\nb",
    "a\n\n  b",
    "\x00",
    "\x85",
    "\u2028",
    "\ufeff",
    "\ud800",
    "🌤",
    "天气",
    "no",
    "null",
    "~",
    "7",
    "12:30",
    "- a",
    "a: b",
    "a #b",
    "'",
    '"',
    "\\",
    "{",
    "]",
    "!tag",
    "&a",
    "*a",
    "<<",
    "?",
    "|",
    "%",
    "@",
    "`",
]


texts = st.sampled_from(TRICKY) | st.text(st.characters(), max_size=8)


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


mappings = st.dictionaries(texts, jsons, max_size=3)


token_lists = st.lists(texts, max_size=5)


calls = st.builds(
    lambda tool, args, own: call(tool, args) if own is None else call(tool, args).with_id(own),
    texts.filter(bool),
    mappings,
    st.none() | texts,
)


pieced_calls = st.builds(
    lambda asked, text, at: asked.deltas(text(asked)[:at], text(asked)[at:]),
    calls,
    st.just(lambda asked: json.dumps(asked.calls[0].args)),
    st.integers(0, 20),
)


malformed_calls = st.builds(lambda asked, text: asked.malformed("[", text), calls, texts)


parts = (
    texts
    | pieced_calls
    | malformed_calls
    | st.builds(structured, jsons)
    | st.builds(lambda tokens: say(tokens=tokens), token_lists)
    | st.builds(lambda tokens: think(tokens=tokens), token_lists)
    | calls
)


counts = st.integers(0, 10**6)


details = st.dictionaries(texts, counts, max_size=2).map(FrozenDict)


usages = st.none() | st.just(False) | st.tuples(counts, counts) | st.builds(Usage, counts, counts, counts, details, details)


waits = st.none() | st.integers(0, 60) | st.floats(0, 60)


errors = (
    st.integers(400, 599)
    | st.sampled_from(["TimeoutError", "IOError", ValueError, KeyError()])
    | st.builds(lambda kind, text: kind(text), st.sampled_from([KeyError, OSError, StopIteration, UnicodeWarning]), texts)
)


seconds = st.none() | st.integers(0, 10**9) | st.floats(0, 1e9)


rates = st.none() | st.integers(1, 10**9) | st.floats(0.001, 1e9)


replies = st.builds(
    lambda parts, usage, reason, metadata, first, rate: reply(
        *parts, usage=usage, stop_reason=reason, response_metadata=metadata, ttft_s=first, tokens_per_s=rate
    ),
    st.lists(parts, max_size=4),
    usages,
    st.none() | texts,
    mappings,
    seconds,
    rates,
)


refusals = st.builds(lambda text: say(text, refusal=True), texts)


broken_replies = st.builds(lambda said, error, wait: said.then_fail(error, wait), replies, errors, waits)


cut_replies = st.builds(
    lambda said, waits: said.then_wait(waits) if waits else said.then_truncate(), replies, st.sampled_from([0, 30, 90.5])
)


steps_of_any_kind = replies | refusals | broken_replies | cut_replies | st.builds(fail, errors, waits, takes_s=seconds)


@settings(deadline=None, max_examples=60)
@example([say("\ud83d\ude00")])
@example([reply("Hello", "\u202eolleH")])
@example([call("search", {"k" * 2000: "v" * 2000, "l": {"m" * 2000: 1}})])
@given(st.lists(steps_of_any_kind, max_size=4))
def test_what_is_written_reads_as_the_same_steps(steps: list[Any]) -> None:
    text = write(steps)

    again = read(text.encode("utf-8"), "x.yaml")

    assert again == tuple(steps)
    # 1, 1.0 and True are equal; they are not the same argument.
    assert [repr(step.parts) for step in again if isinstance(step, Reply)] == [
        repr(step.parts) for step in steps if isinstance(step, Reply)
    ]


one_or_more = texts | st.lists(texts, min_size=1, max_size=2)


roles = st.sampled_from(["human", "user", "ai", "assistant", "system", "tool", "function", "chat"])


expectations = st.fixed_dictionaries(
    {"tools": one_or_more | st.just([])}, optional={"contains": one_or_more, "forbids": one_or_more, "last": roles}
)


changes = {
    "times": lambda step: step.times(3),
    "repeat": lambda step: step.repeat(),
    "optional": lambda step: step.optional(),
    "unchecked": lambda step: step.unchecked(),
}


names = texts.filter(bool)


keys = st.fixed_dictionaries(
    {"last": roles},
    optional={
        "contains": one_or_more,
        "tools": one_or_more | st.just([]),
        "metadata": mappings,
        **dict.fromkeys(("node", "tag", "tool_result", "thread"), names),
    },
)


@settings(deadline=None, max_examples=50)
@given(keys, st.sets(st.sampled_from(sorted(changes))), st.none() | expectations)
def test_keys_and_terms_are_written_as_they_are_read(key: Any, changed: set[str], expected: Any) -> None:
    steps: list[Any] = [say("Hello"), fail(429, 2), say("Hello").then_fail(503)]
    for change in sorted(changed):
        steps = [changes[change](step) for step in steps]
    if expected is not None:
        steps = [step.expects(**expected) for step in steps]
    keyed = KeyedSteps(on(**key), tuple(steps))

    again = read(write([*steps, keyed, KeyedSteps(keyed.key, ())]), "x.yaml")

    assert again == (*steps, keyed, KeyedSteps(keyed.key, ()))


def test_a_written_file_is_good_to_read() -> None:
    steps = [
        say("Hello there"),
        say("It is ", "sunny."),
        say("Hello", usage=(7, 2), stop_reason="stop"),
        say("Hello", usage=False),
        say("a", usage={"input_tokens": 7, "output_tokens": 2, "total_tokens": 10, "output_token_details": {"reasoning": 1}}),
        say("First line\n\n  - an item\nlast line"),
        say("not as lines \nbecause of the blank at the end"),
        think("Paris, then."),
        call("get_weather", city="New York", days=3, exact=True, units=None, at="12:30", country="no").with_id("call_7"),
        call("get weather"),
        reply(
            "Let me look",
            think("a", "b"),
            call("search", q=["x", {"z": 1.0}]),
            call("search"),
            response_metadata={"region": "eu"},
        ),
        reply(),
        say("control \x1b[0m, \u200dinvisible, 天气 🌤", '\r\n\t"\\'),
        say(*["a long list of tokens "] * 6),
        fail(429),
        fail(429, retry_after=2),
        fail(TimeoutError, takes_s=30),
        fail(TimeoutError("took too long"), retry_after=0.5),
        say("Hello", ttft_s=0.8, tokens_per_s=50).then_fail(503),
        say("Hello").then_fail(ConnectionError("reset"), retry_after=2),
        say("I must not.", refusal=True),
        say("Hello").then_truncate().times(2).expects(contains="weather", forbids=["a", "b"], tools=set()),
        fail(429, 2).repeat().optional().unchecked(),
        Reply((Value(FrozenDict(name="Ada"), "Person"),)),
        reply(structured([1, None]), structured({})),
        call("search", q="x").with_id("1").deltas('{"q": ', '"x"}'),
        call("search").malformed('{"q'),
        KeyedSteps(on(contains="weather", tools={"b", "a"}, node="plan*", last="user"), (say("Hello"), say("a", "b"))),
        KeyedSteps(on(metadata={"step": 1}), ()),
    ]

    text = write(steps)

    assert (
        text
        == """\
# llmtest script v1
steps:
  - "Hello there"
  - say: ["It is ", "sunny."]
  - say: "Hello"
    usage: [7, 2]
    stop_reason: stop
  - say: "Hello"
    usage: false
  - say: "a"
    usage: {input_tokens: 7, output_tokens: 2, total_tokens: 10, output_token_details: {reasoning: 1}}
  - say: |-
      First line

        - an item
      last line
  - "not as lines \\nbecause of the blank at the end"
  - think: "Paris, then."
  - call: get_weather
    args: {city: "New York", days: 3, exact: true, units: null, at: "12:30", country: "no"}
    id: call_7
  - call: "get weather"
  - reply:
      - "Let me look"
      - think: ["a", "b"]
      - call: search
        args: {q: [x, {z: 1.0}]}
      - call: search
    response_metadata: {region: eu}
  - reply: []
  - say: ["control \\x1B[0m, \\u200Dinvisible, 天气 🌤", "\\r\\n\\t\\"\\\\"]
  - say: ["a long list of tokens ", "a long list of tokens ", "a long list of tokens ", "a long list of tokens ",
      "a long list of tokens ", "a long list of tokens "]
  - fail: 429
  - fail: 429
    retry_after: 2
  - fail: TimeoutError
    takes_s: 30
  - fail: {error: TimeoutError, message: "took too long"}
    retry_after: 0.5
  - say: "Hello"
    ttft_s: 0.8
    tokens_per_s: 50
    then_fail: 503
  - say: "Hello"
    then_fail: {error: ConnectionError, message: reset, retry_after: 2}
  - say: "I must not."
    refusal: true
    stop_reason: refusal
  - say: "Hello"
    then_truncate: true
    times: 2
    expects: {contains: weather, forbids: [a, b], tools: []}
  - fail: 429
    retry_after: 2
    repeat: true
    optional: true
    unchecked: true
  - structured: {name: Ada}
    type: Person
  - reply:
      - structured: [1, null]
      - structured: {}
  - call: search
    args: {q: x}
    id: "1"
    deltas: ["{\\"q\\": ", "\\"x\\"}"]
  - call: search
    malformed: ["{\\"q"]
  - on: {contains: weather, tools: [a, b], node: "plan*", last: human}
    steps:
      - "Hello"
      - say: ["a", "b"]
  - on: {metadata: {step: 1}}
    steps: []
"""
    )


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_fixture_reads_and_writes_as_the_same_steps(path: Path) -> None:
    steps = read(path.read_bytes(), str(path))

    assert read(write(steps), "again.yaml") == steps
    assert steps


# -- what a human said


def answered(*questions: str, system: str = "Be kind.", keep: bool = False) -> Fingerprint:
    messages = [Message("system", system)] if system else []
    messages += [Message("human", question) for question in questions]
    return fingerprint(Request(read=lambda: messages, over_http=True), recorded="2026-11-29", keep=keep)


def written(*requests: Fingerprint) -> list[str]:
    """The lines of a file, from the steps on."""
    steps = tuple(say(f"n{number}")._with(request=request) for number, request in enumerate(requests, 1))
    text = write_file(ScriptFile("", 2, steps, recorded="2026-11-29"))
    read = read_file(text, "x.yaml").entries
    assert [step.serving.request for step in read if not isinstance(step, KeyedSteps)] == list(requests)
    return text.splitlines()[3:]


def test_a_question_of_one_step_stands_beside_its_answer() -> None:
    assert written(answered("Greet Ada."), answered("Greet Bo.")) == [
        '  - say: "n1"',
        '    request: {like: r1, messages: {system: 1, human: 1}, human: "Greet Ada."}',
        '  - say: "n2"',
        '    request: {like: r1, messages: {system: 1, human: 1}, human: "Greet Bo."}',
        "requests:",
        "  r1:",
        '    system: "Be kind."',
    ]


def test_the_questions_of_a_conversation_stand_once() -> None:
    assert written(answered("Paris?"), answered("Paris?"), answered("Paris?", "And Rome?\nIn May?")) == [
        '  - say: "n1"',
        "    request: {like: r1, messages: {system: 1, human: 1}}",
        '  - say: "n2"',
        "    request: {like: r1, messages: {system: 1, human: 1}}",
        '  - say: "n3"',
        "    request: {like: r1, messages: {system: 1, human: 2}}",
        "requests:",
        "  r1:",
        '    system: "Be kind."',
        "    human:",
        '      - "Paris?"',
        '      - begins: "And Rome?"',
        f'        lines: "{digest("And Rome?")} {digest("In May?")}"',
    ]


def test_each_of_several_conversations_stands_once() -> None:
    assert written(answered("Paris?"), answered("Paris?"), answered("Rome?"), answered("Rome?"), answered("Oslo?")) == [
        '  - say: "n1"',
        "    request: {like: r2, messages: {system: 1, human: 1}}",
        '  - say: "n2"',
        "    request: {like: r2, messages: {system: 1, human: 1}}",
        '  - say: "n3"',
        "    request: {like: r3, messages: {system: 1, human: 1}}",
        '  - say: "n4"',
        "    request: {like: r3, messages: {system: 1, human: 1}}",
        '  - say: "n5"',
        '    request: {like: r1, messages: {system: 1, human: 1}, human: "Oslo?"}',
        "requests:",
        "  r1:",
        '    system: "Be kind."',
        "  r2:",
        "    like: r1",
        '    human: "Paris?"',
        "  r3:",
        "    like: r1",
        '    human: "Rome?"',
    ]


QUESTIONS = st.sampled_from(
    ["hi", "Paris?", "a\nb", "", "  x ", "x" * 150, "no", "12", "- a: {b}", "é☀\u200d", "a\n\nmore ", "'\"\\", "yes\n"]
)


@given(
    st.lists(
        st.tuples(st.lists(QUESTIONS, max_size=3), st.sampled_from(["", "Be kind.", "Be\nbrief."]), st.booleans()), max_size=6
    )
)
def test_a_file_keeps_the_questions_of_each_step(asked: list[tuple[list[str], str, bool]]) -> None:
    requests = [answered(*questions, system=system, keep=keep) for questions, system, keep in asked]
    old = [replace(request, human=()) for request in requests[::3]]  # of a file that was recorded without them

    written(*requests, *old)


@pytest.mark.parametrize(
    ("vector", "kind"),
    [([0.5] * 9, "f4"), ([0.1] * 9, "f8"), ([1e300] * 9, "f8"), ([0.1] * 2, "[0.1, 0.1]")],
    ids=["exact in 4 bytes", "not exact", "too large for 4 bytes", "short"],
)
def test_a_vector_comes_back_as_it_was(vector: list[float], kind: str) -> None:
    file = ScriptFile("x.yaml", 2, (), {}, {}, {"text-embedding-3": {"hi": vector}})

    text = write_file(file)

    assert kind in text
    assert read_file(text, "x.yaml").embeddings == {"text-embedding-3": {"hi": vector}}


def test_an_answer_that_cannot_be_repeated_is_written_with_the_reason() -> None:
    answers = (
        ToolAnswer(FrozenDict(order=7), unknown="returned a Command"),
        ToolAnswer(EMPTY, failure=ToolFailure("KeyError", "")),
    )

    text = write_file(ScriptFile("x.yaml", 2, (), {}, {"refund": answers}))

    assert text.splitlines()[3:] == [
        "  refund:",
        "    - args: {order: 7}",
        '      unknown: "returned a Command"',
        "    - args: {}",
        "      fails: KeyError",
    ]
    assert read_file(text, "x.yaml").tools == {"refund": answers}
