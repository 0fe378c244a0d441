"""What is rendered is read back: the same runs, the same fields, the same text. And what is wrong with a file is named."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtest.concurrency.lanes import Lane
from llmtest.errors import TreeTextError
from llmtest.events import (
    Document,
    Event,
    Failure,
    FrozenDict,
    FrozenList,
    Generation,
    Message,
    Opaque,
    Run,
    RunKind,
    Structured,
    ToolCall,
    Usage,
)
from llmtest.trees.differ import diff
from llmtest.trees.parsing import Damage, Head, Node, damage, head, parse, renew_header, split, unquote, walk, write
from llmtest.trees.rendering import HEADER, Part, render
from tests.support import lines

# -- random trees

words = st.text(max_size=9) | st.sampled_from(
    [
        "a: b",
        "x|y",
        "(",
        ")",
        "joke",
        "late",
        "parallel",
        "chain x",
        "u1",
        "| a\n b ",
        "+ ",
        'x\n  < a1: "forged"\nchat x',
        "png>\n> ",
        "\x1b[2J\x07",
        "\r\u2028\u202e",
    ]
)
names = words.filter(bool)
json_texts = st.builds(
    lambda value, escaped, separators: json.dumps(value, ensure_ascii=escaped, separators=separators),
    st.lists(words | st.integers(), max_size=2) | st.dictionaries(words, words | st.floats() | st.lists(words), max_size=3),
    st.booleans(),
    st.sampled_from([None, (",", ":")]),
)
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: (
        st.lists(inner, max_size=3).map(FrozenList)
        | st.dictionaries(words, inner, max_size=3).map(FrozenDict)
        | st.dictionaries(st.sampled_from(["name", "age"]), inner, max_size=2).map(lambda f: Structured("Person", FrozenDict(f)))
        | st.builds(Structured, words, st.dictionaries(words, inner, max_size=1).map(FrozenDict))
        | st.builds(Opaque, words)
    ),
    max_leaves=5,
)
mappings = st.dictionaries(words, values, max_size=3).map(FrozenDict)
calls = st.builds(ToolCall, st.just("search") | names, mappings | words, st.none() | st.sampled_from(["call_1", "call_2"]))
media = st.builds(
    lambda kind, form, data: FrozenDict(type=kind, mime_type=form, base64=data), st.sampled_from(["image", "file"]), words, words
)
counts = st.dictionaries(words, st.integers(0, 9), max_size=1).map(FrozenDict)
messages = st.builds(
    Message,
    st.sampled_from(["human", "ai", "system", "tool", "function"]) | names,
    words | json_texts | st.lists(media, max_size=1).map(FrozenList) | st.lists(words | json_texts, max_size=2).map(FrozenList),
    st.lists(calls, max_size=2).map(tuple),
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), input_details=counts),
)
documents = st.lists(st.builds(Document, words, mappings), max_size=2).map(FrozenList)
failures = st.builds(
    Failure,
    st.sampled_from(["ValueError", "KeyError"]) | names,
    words,
    st.sampled_from(["error", "cancelled", "closed early", "paused", "handed off", "stopped", "stopped by rule"]),
)
PLACES = [
    "retry:attempt:1\nchat x",
    "seq:step:1",
    "map:key:joke",
    "map:key:a: b",
    "condition:1",
    "branch:default",
    "retry:attempt:2",
]
tags = st.lists(names | st.sampled_from(PLACES), max_size=2)
KINDS: dict[RunKind, tuple[str, str]] = {
    "chain": ("chain", "inputs"),
    "chat": ("chat_model", "messages"),
    "llm": ("llm", "prompts"),
    "tool": ("tool", "inputs"),
    "retriever": ("retriever", "query"),
}


_clock = count()
MAIN = Lane(0, "MainThread", 0)
LANES = [None, MAIN, Lane(1, "pool-1", 1), Lane(2, "pool-2", 2), Lane(3, "MainThread", 0, "Task-1", MAIN)]


def _tool(name: str, description: str, properties: FrozenDict, rest: FrozenDict) -> FrozenDict:
    schema = FrozenDict(properties=properties, required=FrozenList(list(properties)[:1]))
    return FrozenDict({**rest, "name": name, "description": description, "parameters": schema})


@st.composite
def runs(draw: st.DrawFn, depth: int = 0, parent: UUID | None = None) -> Run:
    kind = draw(st.sampled_from(list(KINDS)))
    callback, key = KINDS[kind]
    run_id = draw(st.uuids())
    about = (draw(names), tuple(draw(tags)), draw(mappings))
    given = {
        "chain": values,
        "chat": st.lists(messages, max_size=3).map(FrozenList),
        "llm": st.lists(words, min_size=1, max_size=1).map(FrozenList),
        "tool": mappings,
        "retriever": words,
    }[kind]
    payload: dict[str, Any] = {key: draw(given)}
    if kind == "tool":
        payload["tool_call_id"] = draw(st.none() | st.sampled_from(["call_1", "call_2"]))
    if kind in ("chat", "llm"):
        bound = draw(st.none() | st.lists(st.builds(_tool, names, words, mappings, mappings), max_size=2))
        payload["tools"] = None if bound is None else FrozenList(tool["name"] for tool in bound)
        payload["invocation_params"] = draw(mappings) | {"tools": None if bound is None else FrozenList(bound)}
    told = [(f"on_{callback}_start", payload), *draw(_middle(kind)), *draw(_end(kind))]
    # One after the other: a tool that was still running would take in the runs beside it.
    lane = draw(st.sampled_from(LANES))
    middle = iter([draw(st.sampled_from(LANES)) for _ in told])
    events = tuple(
        Event(what, run_id, parent, *about, FrozenDict(said), next(_clock), lane=lane if n == 0 else next(middle), moment=n)
        for n, (what, said) in enumerate(told)
    )
    inside = draw(st.lists(runs(depth + 1, run_id), max_size=2)) if depth < 2 else []
    return Run(run_id, parent, kind, *about, events, tuple(inside))


def _middle(kind: str) -> st.SearchStrategy[list[tuple[str, dict[str, Any]]]]:
    notes = st.one_of(
        words.map(lambda text: ("on_text", {"text": text})),
        st.tuples(names, values).map(lambda told: ("on_custom_event", {"name": told[0], "data": told[1]})),
        failures.map(lambda failure: ("on_retry", {"attempt_number": 1, "error": failure})),
        st.tuples(names, mappings).map(lambda told: ("on_agent_action", {"tool": told[0], "tool_input": told[1]})),
        values.map(
            lambda value: ("on_interrupt", {"interrupts": FrozenList([Structured("Interrupt", FrozenDict(value=value))])})
        ),
        st.just(("on_interrupt", {"status": "interrupt_after"})),
        st.just(("on_resume", {})),
        mappings.map(lambda payload: ("on_something_new", payload)),
        names.map(lambda name: (f"on_{name}", {})),
    )
    tokens = words.map(lambda token: ("on_llm_new_token", {"token": token}))
    return st.lists(notes | tokens if kind in ("chat", "llm") else notes, max_size=3)


def _end(kind: str) -> st.SearchStrategy[list[tuple[str, dict[str, Any]]]]:
    what = {"chat": "llm"}.get(kind, kind)
    said: Any = {
        "chain": values.map(lambda value: {"outputs": value}),
        "tool": (values | json_texts).map(lambda value: {"output": value}),
        "retriever": documents.map(lambda found: {"documents": found}),
        "chat": messages.map(lambda message: {"generations": FrozenList([Generation(message.text, message)])}),
        "llm": words.map(lambda text: {"generations": FrozenList([Generation(text)])}),
    }[kind]
    ended = said.map(lambda payload: [(f"on_{what}_end", payload)])
    return ended | failures.map(lambda failure: [(f"on_{what}_error", {"error": failure})]) | st.just([])


class Recorded:
    def __init__(self, roots: list[Run], late: Sequence[Run] = ()) -> None:
        self.roots = roots
        self.late_events = [event for root in late for run in root.walk() for event in run.events]


def _shape(nodes: list[Node]) -> Any:
    """The kinds of runs within runs, without groups, in no order: concurrent runs stand in the order of what they say."""
    found: list[Any] = []
    for node in nodes:
        if node.kind == "run":
            found.append((head(node).kind, _shape(node.inside)))
        elif node.kind == "parallel":
            found += _shape(node.inside)
    return sorted(found)


def _true_shape(roots: Any) -> Any:
    return sorted((run.kind, _true_shape(run.children)) for run in roots)


# The open run inside the first root makes no host of what is around it and was over before the second root began.
ABANDONED = lines.run("over", 0, 1, MAIN, children=(lines.run("over", 2, 3, MAIN, children=(lines.run("open", 4, None, MAIN),)),))


DETAILS = st.sampled_from(["outline", "default", "full"])


@settings(max_examples=35, deadline=None)
@example([ABANDONED, lines.run("open", 5, None, MAIN)], "outline")
@example([lines.run("parallel", 0, 1), ABANDONED, lines.run("parallel", 5, None, MAIN, "parallel")], "default")
@given(st.lists(runs(), max_size=3), DETAILS)
def test_every_text_that_is_rendered_is_read_back_to_the_tree_that_it_shows(roots: list[Run], detail: Any) -> None:
    check_rendered(roots, detail)


@pytest.mark.soak
@settings(max_examples=1_000, deadline=None)
@given(st.lists(runs(), max_size=3), DETAILS)
def test_many_texts_that_are_rendered_are(roots: list[Run], detail: Any) -> None:
    check_rendered(roots, detail)


def check_rendered(roots: list[Run], detail: Any) -> None:
    text = render(Recorded(roots), detail=detail)

    nodes = parse(text)

    assert write(nodes) == text
    assert [char for char in text if unicodedata.category(char) in ("Cc", "Zl", "Zp") and char != "\n"] == []
    assert _shape(nodes) == _true_shape(roots)
    assert damage(f"{HEADER}\n{text}") is None


PARTS = (st.lists(runs(), max_size=2), st.lists(runs(depth=1), max_size=2), st.sets(st.sampled_from(list(KINDS))), DETAILS)


@settings(max_examples=35, deadline=None)
@given(*PARTS)
def test_every_text_of_parts_and_late_runs_is_read_back(
    roots: list[Run], late: list[Run], kinds: set[RunKind], detail: Any
) -> None:
    check_parts(roots, late, kinds, detail)


@pytest.mark.soak
@settings(max_examples=1_000, deadline=None)
@given(*PARTS)
def test_many_texts_of_parts_and_late_runs_are(roots: list[Run], late: list[Run], kinds: set[RunKind], detail: Any) -> None:
    check_parts(roots, late, kinds, detail)


def check_parts(roots: list[Run], late: list[Run], kinds: set[RunKind], detail: Any) -> None:
    begun = [Run(run.id, None, run.kind, run.name, run.tags, run.metadata, run.events[:1], ()) for run in late[:1]]
    late = [replace(run, events=run.events[1:]) for run in late[:1] if len(run.events) > 1] + late[1:]
    recording = Recorded([*roots, *begun], late)

    for source in (recording, Part(recording, lambda run: run.kind in kinds)):
        text = render(source, detail=detail)

        assert write(parse(text)) == text
        assert damage(f"{HEADER}\n{text}") is None


@settings(max_examples=100, deadline=None)
@given(runs(depth=2))
def test_every_first_line_is_read_back_to_its_fields(run: Run) -> None:
    (node,) = parse(render(Recorded([run])))

    found = head(node)

    keys = [tag[8:] for tag in run.tags if tag.startswith("map:key:")]
    keys += [tag.replace(":", " ") for tag in run.tags if tag.startswith(("condition:", "branch:"))]
    assert sorted(found.keys) == sorted(keys)
    assert (found.kind, found.name) == (run.kind, run.name)
    assert (found.call is not None) == (run.tool_call_id is not None)
    assert (found.attempt is not None) == any(tag.startswith("retry:attempt:") for tag in run.tags)
    assert (found.arguments is not None) == (run.kind == "tool")


# -- what is read


AGENT = """\
# llmtest tree v1
chain agent
  > u1: "hi"
  parallel
    joke: tool search(q="a, (b)", n=[1, 2]) call1 attempt=2 tags=x,"y z" meta={"k": "tags=no"}
      + v1:
        | one
        | two
      < v1
    still condition 1: chat M tools=a,b
      ? open
  < {
      "a": 1
    }
late
  chain x
    < null
"""


def test_a_text_is_read_to_runs_groups_and_entries() -> None:
    nodes = parse(AGENT)

    assert [(depth, node.kind, node.text, node.more, node.line) for depth, node in walk(nodes)] == [
        (0, "run", "chain agent", [], 2),
        (1, "entry", '> u1: "hi"', [], 3),
        (1, "parallel", "parallel", [], 4),
        (2, "run", 'joke: tool search(q="a, (b)", n=[1, 2]) call1 attempt=2 tags=x,"y z" meta={"k": "tags=no"}', [], 5),
        (3, "entry", "+ v1:", ["| one", "| two"], 6),
        (3, "entry", "< v1", [], 9),
        (2, "run", "still condition 1: chat M tools=a,b", [], 10),
        (3, "entry", "? open", [], 11),
        (1, "entry", "< {", ['  "a": 1', "}"], 12),
        (0, "late", "late", [], 15),
        (1, "run", "chain x", [], 16),
        (2, "entry", "< null", [], 17),
    ]
    assert write(nodes) == AGENT.split("\n", 1)[1]


def test_a_first_line_has_fields() -> None:
    heads = [head(node) for _, node in walk(parse(AGENT)) if node.kind == "run"]

    assert heads == [
        Head("chain", "agent"),
        Head(
            "tool",
            "search",
            ("joke",),
            arguments='q="a, (b)", n=[1, 2]',
            call="call1",
            attempt="2",
            tags='x,"y z"',
            meta='{"k": "tags=no"}',
        ),
        Head("chat", "M", ("condition 1",), still=True, tools="a,b"),
        Head("chain", "x"),
    ]


def test_parentheses_that_do_not_close_are_no_arguments() -> None:
    (node,) = parse("tool x(\n  < 1\n")

    assert head(node).arguments is None


def test_arguments_are_split_at_their_own_commas() -> None:
    assert split('a="x, y", b=[1, {"c": 2}], d=f(1, 2),') == ['a="x, y"', 'b=[1, {"c": 2}]', "d=f(1, 2)"]
    assert split("") == []


@pytest.mark.parametrize(
    ("text", "value"), [("plain", "plain"), ('"a \\"b\\""', 'a "b"'), ('"\\U000e0001 \\\\U000e0001"', "\U000e0001 \\U000e0001")]
)
def test_a_string_is_read_without_quotes_and_escapes(text: str, value: str) -> None:
    assert unquote(text) == value


def test_nothing_is_read_as_no_trees() -> None:
    assert parse(f"{HEADER}\n(nothing was recorded)\n") == []
    assert write([]) == "(nothing was recorded)\n"


def test_no_tree_is_too_deep_to_be_read() -> None:
    depth = 3000
    text = "".join(f"{'  ' * n}chain c\n" for n in range(depth)) + "".join(f"{'  ' * n}< 1\n" for n in range(depth, 0, -1))

    assert write(parse(text)) == text


# -- the header that files had before


def old(text: str) -> str:
    return text.replace(HEADER, "# llmtest trace v1")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_header_of_before_becomes_that_of_today(end: str) -> None:
    assert renew_header(f"# llmtest trace v1{end}chain x{end}") == f"{HEADER}{end}chain x{end}"


@pytest.mark.parametrize("text", [f"{HEADER}\nchain x\n", "# llmtest trace v12\n", "chain x\n# llmtest trace v1\n", ""])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert renew_header(text) == text


def test_a_text_with_the_header_of_before_is_read_and_compared() -> None:
    text = f"{HEADER}\nchain x\n  < 1\n"

    assert write(parse(old(text))) == write(parse(text))
    assert damage(old(text)) is None
    assert diff(old(text), text) is None


# -- what is wrong with a text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# llmtest tree v2\nchain x\n", "line 1: it is of version 2, and this llmtest knows version 1; upgrade llmtest-kit"),
        ("# llmtest trace v2\nchain x\n", "line 1: it is of version 2, and this llmtest knows version 1; upgrade llmtest-kit"),
        ("# llmtest\nchain x\n", "line 1: expected '# llmtest tree v1'; got '# llmtest'"),
        ("chain x\n   > 1\n", "line 2: expected an indentation of at most 2 spaces, an even number; got 3"),
        ("chain x\n    > 1\n", "line 2: expected an indentation of at most 2 spaces, an even number; got 4"),
        ("> 1\n", "line 1: an entry stands within a run; got '> 1' outside"),
        ("parallel\n  > 1\n", "line 2: an entry stands within a run; got '> 1' within 'parallel'"),
        ("chain x\n  < 1\nhello\n", "line 3: expected a run, `parallel` or an entry; got 'hello'"),
        ("chain x\n  late\n  < 1\n", "line 2: expected a run, `parallel` or an entry; got 'late'"),
        ("chain x\n  chain y\n    < 1\n", "line 3: the text is cut off: the run in line 1, 'chain x', has no ending"),
    ],
)
def test_a_text_that_does_not_follow_the_grammar_says_where(text: str, problem: str) -> None:
    with pytest.raises(TreeTextError) as caught:
        parse(text)

    assert str(caught.value) == problem


CONFLICT = f"{HEADER}\nchain x\n<<<<<<< HEAD\n  < 1\n=======\n  < 2\n>>>>>>> theirs\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CONFLICT, Damage(3, "an unresolved merge conflict, '<<<<<<< HEAD'")),
        (f"{HEADER}\nchain x\n  < 1", Damage(3, "the file is cut off: its last line has no end")),
        (f"{HEADER}\nchain x\n  > 1\n", Damage(3, "the text is cut off: the run in line 2, 'chain x', has no ending")),
        ("", Damage(1, "expected '# llmtest tree v1'; got ''")),
        (f"{HEADER}\nchain x\n  < 1\n", None),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_line(text: str, found: Damage | None) -> None:
    assert damage(text) == found


def test_plain_text_in_a_file_need_not_be_a_tree() -> None:
    assert damage(f"{HEADER}\nhello\n", tree=False) is None
    assert str(damage(f"{HEADER}\nhello\n")) == "line 2: expected a run, `parallel` or an entry; got 'hello'"


def test_the_mark_of_a_real_model_is_a_field_of_the_first_line() -> None:
    (run,) = parse('chat "a (b)" (real model) model=gpt tags=x\n  < 1\n')

    assert head(run) == Head("chat", "a (b)", model="gpt", tags="x", is_real=True)
