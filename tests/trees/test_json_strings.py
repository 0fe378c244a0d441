"""Which strings hold JSON, how they were written, and that no two of them have one text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest.core.masks import use_rules
from llmtest.events import Message
from llmtest.trees.json_strings import MAX_CHARACTERS, MAX_LEVELS, read_json_string
from llmtest.trees.values import Words

SEPARATORS = {"": (", ", ": "), "compact ": (",", ":")}


def shown(text: str) -> list[str]:
    """The lines of what a tool returned."""
    return Words(()).tool_output(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{}", "json {}"),
        ("[]", "json []"),
        ('{"b": 1, "a": [true, null]}', 'json {"b": 1, "a": [true, null]}'),
        ('{"b":1,"a":[true,null]}', 'compact json {"b": 1, "a": [true, null]}'),
        ('["M\u00fcnchen"]', 'json ["M\u00fcnchen"]'),
        ('["M\\u00fcnchen"]', 'ascii json ["M\u00fcnchen"]'),
        ('["M\\u00fcnchen","\\ud83d\\ude00"]', 'compact ascii json ["M\u00fcnchen", "\U0001f600"]'),
        ('["say \\"so\\"\\t"]', 'json ["say \\"so\\"\\t"]'),
        ('["zero\u200bwidth"]', 'json ["zero\\u200bwidth"]'),
        ('["zero\\u200bwidth"]', 'ascii json ["zero\\u200bwidth"]'),
        ('["\\ufdd00000000\\ufdd1"]', 'ascii json ["\\ufdd00000000\\ufdd1"]'),
        ("[0.30000000000000004, -0.0, 1e+300]", "json [0.30000000000000004, -0.0, 1e+300]"),
        ("[123456789012345678901234567890]", "json [123456789012345678901234567890]"),
        ('{"inner": "{\\"a\\": 1}"}', 'json {"inner": "{\\"a\\": 1}"}'),
        ('{"messages": [["user", "hi"]]}', 'json {"messages": [["user", "hi"]]}'),
        ('[{"role": "user", "content": "hi"}]', 'json [{"role": "user", "content": "hi"}]'),
        ('[{"name": "f", "args": {}, "id": "call_1"}]', 'json [{"name": "f", "args": {}, "id": "call_1"}]'),
    ],
)
def test_a_string_that_holds_json_is_shown_as_its_value_after_the_way_it_is_written(text: str, line: str) -> None:
    assert shown(text) == [line]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[link]",
        "{'a': 1}",
        '"text"',
        "12",
        "null",
        '{"a" : 1}',
        '{"a": 1,"b": 2}',
        ' {"a": 1}',
        '{"a": 1}\n',
        '{"a": 1, "a": 2}',
        "[1.50]",
        "[1e5]",
        "[1e400]",
        "[-0]",
        "[NaN]",
        "[Infinity]",
        '["\\/"]',
        '["\\u0041"]',
        '["\u00e9", "\\u00e9"]',
        f"[{'1' * 600}]",
        f"[{'1' * 5000}]",
    ],
)
def test_any_other_string_stays_a_string(text: str) -> None:
    assert (read_json_string(text), shown(text)) == (None, Words(()).value(text))


@pytest.mark.parametrize("limit", ["levels", "characters"])
def test_a_string_above_a_limit_stays_a_string(limit: str) -> None:
    most = {"levels": "[" * MAX_LEVELS + "]" * MAX_LEVELS, "characters": f'["{"x" * (MAX_CHARACTERS - 4)}"]'}[limit]
    more = {"levels": f"[{most}]", "characters": most.replace("x", "xx", 1)}[limit]

    assert shown(most) == [f"json {most}"] if limit == "levels" else ["json [", f"  {most[1:-1]}", "]"]
    assert shown(more) == Words(()).value(more)
    assert shown("[" * 100_000) == [f'"{"[" * 100_000}"']
    assert read_json_string("[" * 50_000 + "]" * 50_000) is None


def test_a_wide_one_has_one_line_for_each_entry_and_a_text_of_several_lines_is_defined_beside_it() -> None:
    text = json.dumps({"rows": [{"city": city, "note": "n" * 40} for city in ("Paris", "Lyon")], "help": "one\ntwo"})

    *lines, help_line, end = shown(text)

    assert [*lines, end] == [
        "json {",
        '  "rows": [',
        f'    {{"city": "Paris", "note": "{"n" * 40}"}}',
        f'    {{"city": "Lyon", "note": "{"n" * 40}"}}',
        "  ]",
        "}",
    ]
    assert help_line.startswith('  "help": \ufdd0')


# -- masks

ID = "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55"


def test_masks_apply_inside() -> None:
    text = json.dumps(
        {
            "api_key": "abcdefgh",
            "password": ["hunter2"],
            "note": "Bearer abcdefgh1234",
            "created_at": 1712345678,
            "at": "2024-05-01T10:00:00.123Z",
            "etag": ID,
        }
    )

    assert shown(text) == [
        "json {",
        '  "api_key": <mask:api_key>',
        '  "password": <mask:password>',
        '  "note": "Bearer <mask:secret>"',
        '  "created_at": <time>',
        '  "at": "<time>"',
        f'  "etag": "{ID}"',
        "}",
    ]


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(
    ("rule", "text", "hidden"),
    [
        (r"card = 4\d{15}", '{"paid":_4111111111111111}', "4111111111111111"),
        (r'pin = "pin": ?\d+', '{"pin":_77,_"a":_1}', "77"),
        (r'pair = "x", ?"y"', '["x",_"y"]', '"x"'),
        (r"order = ORD-\d+", '{"ORD-1":_"ORD-22"}', "ORD-"),
    ],
)
def test_a_rule_of_the_project_hides_what_it_hides_in_a_string(rule: str, text: str, hidden: str, space: str) -> None:
    with use_rules([rule]):
        lines = shown(text.replace("_", space))

    assert [hidden in line or hidden.replace('"', '\\"') in line for line in lines] == [False]


def test_a_key_that_only_a_string_of_json_masks_stays_in_a_string() -> None:
    assert shown('{"mytoken": "abcdefgh"}') == ['"{\\"mytoken\\": <mask:mytoken>}"']


def test_an_outline_and_a_text_that_no_tool_returned_have_strings() -> None:
    assert Words((), outline=True).tool_output('{"a": 1}') == ['"{\\"a\\": 1}"']
    assert Words(()).value('{"a": 1}') == ['"{\\"a\\": 1}"']


# -- whatever the value is

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict | list))


@settings(deadline=None)
@given(VALUES, st.sampled_from(list(SEPARATORS)), st.booleans())
def test_what_json_writes_is_read_and_written_back_to_the_same_string(value: Any, spacing: str, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped, separators=SEPARATORS[spacing])

    found = read_json_string(text)

    assert found is not None
    assert (found.value, found.write(found.value)) == (value, text)


@settings(deadline=None)
@given(VALUES, st.tuples(*[st.sampled_from([(s, e) for s in SEPARATORS for e in (False, True)])] * 2))
def test_two_strings_of_one_value_have_two_texts(value: Any, spellings: Any) -> None:
    one, other = (json.dumps(value, ensure_ascii=e, separators=SEPARATORS[spacing]) for spacing, e in spellings)
    words = Words(())

    assert (words.tool_output(one) == words.tool_output(other)) == (one == other)


@settings(deadline=None)
@given(VALUES)
def test_a_string_has_another_text_than_its_value(value: Any) -> None:
    words = Words(())
    texts = [words.message(Message("tool", content)) for content in (json.dumps(value), value)] if value else []
    string = words.tool_output(json.dumps(value))

    assert string != words.tool_output(value)
    assert string[0].partition("json ")[0] in ("", "ascii ")
    assert len(set(texts)) == len(texts)
