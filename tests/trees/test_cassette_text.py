"""The answers in a cassette as a tree, and what they have spent."""

from __future__ import annotations

import importlib.util

import pytest

from llmtest.scripts.files import read_file
from llmtest.trees.cassette_text import cassette_text, compare_spent, spent
from llmtest.trees.differ import diff
from llmtest.trees.parsing import parse

FILE = """\
# llmtest script v2
models:
  openai:gpt-5:
  - on: {node: a, tools: [x, y]}
    steps: [{say: hi, usage: [5, 2]}, {fail: 429}, {fail: {error: KeyError, message: x}}]
  - reply: [{think: hm}, {say: "a\\nb"}, {call: t, args: {a: 1, password: hunter2}}]
    usage: {input_tokens: 9, output_tokens: 3, input_token_details: {cache_read: 2}}
  - {say: part, then_fail: TimeoutError}
  - {say: part, then_truncate: true}
  - {structured: {a: 1}, stop_reason: length, times: 3}
  - {say: no, refusal: true}
  - {call: t, malformed: "{"}
embeddings: {m: {hi: [1.0, 2.0]}}
tools:
  t: [{args: {a: 1}, gives: 18C}, {args: {a: 1}, fails: {error: KeyError, message: x}}, {args: q, unknown: was cancelled}]
"""


def test_each_answer_is_a_run_in_the_grammar_of_trees() -> None:
    text = cassette_text(read_file(FILE, "x.yaml"), tools=True)

    assert len(parse(text)) == 13
    assert text == (
        "# llmtest tree v1\n"
        'chat openai:gpt-5 meta={"on": {"node": "a", "tools": ["x", "y"]}}\n'
        '  < a1: "hi"  usage in=5 out=2\n'
        'chat openai:gpt-5 meta={"on": {"node": "a", "tools": ["x", "y"]}}\n'
        "  ! StatusError: 429 Too Many Requests\n"
        'chat openai:gpt-5 meta={"on": {"node": "a", "tools": ["x", "y"]}}\n'
        "  ! KeyError: x\n"
        "chat openai:gpt-5\n"
        "  < a2:  usage in=9 (cache_read=2) out=3\n"
        '    think("hm")\n'
        "    | a\n"
        "    | b\n"
        "    call1 t(a=1, password=<mask:password>)\n"
        "chat openai:gpt-5\n"
        '  < partial a3: "part"\n'
        "  ! TimeoutError\n"
        "chat openai:gpt-5\n"
        "  < partial a3\n"
        "  ! closed early\n"
        'chat openai:gpt-5 meta={"times": 3}\n'
        '  < a4: "{\\"a\\": 1}"  stop=length\n'
        "chat openai:gpt-5\n"
        '  < a5: "no"  stop=refusal\n'
        "chat openai:gpt-5\n"
        '  < a6: call2 t("{")\n'
        "retriever m\n"
        '  > "hi"\n'
        '  < "2 numbers"\n'
        "tool t(a=1)\n"
        '  < "18C"\n'
        "tool t(a=1)\n"
        "  ! KeyError: x\n"
        'tool t("q")\n'
        '  ! "not repeated": was cancelled\n'
    )


def test_usage_and_tools_can_be_left_out() -> None:
    before = read_file("models: {m: [{say: hi, usage: [5, 2]}]}\ntools: {t: [{gives: a}]}", "x.yaml")
    after = read_file("models: {m: [{say: hi, usage: [6, 2]}]}\ntools: {t: [{gives: b}]}", "x.yaml")

    assert cassette_text(before, usage=False) == cassette_text(after, usage=False)
    assert diff(cassette_text(before), cassette_text(after)) is not None
    assert diff(cassette_text(before, usage=False, tools=True), cassette_text(after, usage=False, tools=True)) is not None


def test_the_order_in_which_concurrent_calls_began_does_not_count() -> None:
    began = """\
# llmtest script v2
models:
  a:
  - on: {contains: Paris}
    steps: [18C, 19C]
  - on: {contains: Oslo}
    steps: [4C]
  - first
  - second
  b: [hi]
embeddings: {m: {x: [1.0], y: [2.0]}, n: {x: [1.0]}}
"""
    otherwise = """\
# llmtest script v2
models:
  b: [hi]
  a:
  - first
  - on: {contains: Oslo}
    steps: [4C]
  - second
  - on: {contains: Paris}
    steps: [18C, 19C]
embeddings: {n: {x: [1.0]}, m: {y: [2.0], x: [1.0]}}
"""

    assert cassette_text(read_file(otherwise, "x.yaml")) == cassette_text(read_file(began, "x.yaml"))
    assert cassette_text(read_file(began, "x.yaml")) == (
        "# llmtest tree v1\n"
        'chat a meta={"on": {"contains": ["Oslo"]}}\n'
        '  < a1: "4C"\n'
        'chat a meta={"on": {"contains": ["Paris"]}}\n'
        '  < a2: "18C"\n'
        'chat a meta={"on": {"contains": ["Paris"]}}\n'
        '  < a3: "19C"\n'
        "chat a\n"
        '  < a4: "first"\n'
        "chat a\n"
        '  < a5: "second"\n'
        "chat b\n"
        '  < a6: "hi"\n'
        "retriever m\n"
        '  > "x"\n'
        '  < "1 number"\n'
        "retriever m\n"
        '  > "y"\n'
        '  < "1 number"\n'
        "retriever n\n"
        '  > "x"\n'
        '  < "1 number"\n'
    )


def test_the_difference_names_what_the_model_said() -> None:
    before, after = (read_file(f"models: {{m: [{{call: refund, args: {{order: {n}}}}}]}}", "x.yaml") for n in ("A-7", "A-8"))

    difference = diff(cassette_text(before), cassette_text(after))

    assert difference is not None
    assert difference.headline == 'tool argument order "A-7" → "A-8" at m (1 of 2 lines, 1 cause)'


def test_a_file_without_names_of_models_is_of_any() -> None:
    assert cassette_text(read_file("steps: [Hello]", "x.yaml")) == '# llmtest tree v1\nchat *\n  < a1: "Hello"\n'
    assert cassette_text(read_file("models: {m: []}", "x.yaml")) == "# llmtest tree v1\n(nothing was recorded)\n"


# -- tokens and cost


def test_tokens_before_and_after_with_the_calls_that_report_none() -> None:
    before = read_file("models: {none: [{say: a, usage: [1000, 20]}, {fail: 429}]}", "x.yaml")
    after = read_file("models: {none: [{say: a, usage: [1100, 20]}, {say: b}]}", "x.yaml")

    assert spent(before).calls == 1
    assert compare_spent(before, after) == ["  tokens  1,000 in, 20 out -> 1,100 in, 20 out, 1 call without usage"]
    assert compare_spent(None, after) == ["  tokens  1,100 in, 20 out, 1 call without usage"]


@pytest.mark.skipif(importlib.util.find_spec("genai_prices") is None, reason="genai-prices is not installed")
def test_the_cost_of_models_with_known_prices() -> None:
    before = read_file("models: {openai:gpt-4o: [{say: a, usage: [1000000, 0]}]}", "x.yaml")
    after = read_file("models: {openai:gpt-4o: [{say: a, usage: [2000000, 0]}]}", "x.yaml")
    unknown = read_file("models: {none:no-such-model: [{say: a, usage: [1, 1]}]}", "x.yaml")

    tokens, cost = compare_spent(before, after)

    assert tokens == "  tokens  1,000,000 in, 0 out -> 2,000,000 in, 0 out"
    assert cost == f"  cost    ${spent(before).cost:.6g} -> ${spent(after).cost:.6g}"
    assert spent(after).cost == pytest.approx(2 * (spent(before).cost or 0))
    assert compare_spent(before, unknown) == ["  tokens  1,000,000 in, 0 out -> 1 in, 1 out"]
