"""A scripted answer made ready for one request."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest import reply, say, structured
from llmtest.events.words import Usage
from llmtest.scripts.replies import count_prompt, raised, reported_usage, resolve_values
from llmtest.scripts.requests import Request
from llmtest.scripts.step_types import Call, Fail, Text

PERSON = {"properties": {"name": {"type": "string"}}, "required": ["name"]}
CITY = {"properties": {"city": {"type": "string"}}, "required": ["city"]}
ADA = {"name": "Ada"}


def parts(request: Request, value: Any = None) -> tuple[Any, ...]:
    return resolve_values(structured(ADA if value is None else value), request).parts


def test_a_value_is_text_where_a_format_is_bound_and_where_no_tool_is() -> None:
    asked = Request(tools={"person": PERSON}, params={"response_format": {"type": "json_object"}})

    assert all(isinstance(part, Text) for part in (*parts(asked), *parts(Request())))
    assert "".join(parts(asked)[0].tokens) == '{"name": "Ada"}'


def test_a_value_is_a_call_of_the_tool_that_it_fits() -> None:
    assert parts(Request(tools={"city": CITY, "person": PERSON})) == (Call("person", ADA),)  # type: ignore[arg-type]


def test_a_value_that_fits_no_tool_is_text_unless_a_call_is_demanded() -> None:
    (text,) = parts(Request(tools={"city": CITY}))
    (call,) = parts(Request(tools={"city": CITY}, tool_choice="any"))

    assert isinstance(text, Text)
    assert (call.tool, call.args) == ("city", ADA)


def test_other_parts_stay_as_they_are() -> None:
    made = resolve_values(reply(say("Here: "), structured([1, 2])), Request(tools={"city": CITY}))

    assert ["".join(part.tokens) for part in made.parts] == ["Here: ", "[1, 2]"]


def test_usage_is_counted_given_or_none() -> None:
    assert reported_usage(say("It is ", "sunny."), ["the weather?", ""]) == Usage(3, 2, 5)
    assert reported_usage(say("x", usage=(7, 9)), ["ignored"]) == Usage(7, 9, 16)
    assert reported_usage(say("x", usage=False), ["ignored"]) is None


def test_a_temporary_folder_counts_the_same_on_every_machine(tmp_path: Any) -> None:
    assert count_prompt(f"read {tmp_path}/a.txt") == count_prompt(f"read {tmp_path.parent}/another_folder_here0/a.txt")


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (Fail(KeyError("k")), KeyError, "'k'"),
        (Fail(TimeoutError), TimeoutError, ""),
        (Fail("ValueError", message="no"), ValueError, "no"),
    ],
)
def test_a_failure_is_the_exception_that_the_script_names(failure: Fail, kind: type[BaseException], text: str) -> None:
    error = raised(failure)

    assert (type(error), str(error)) == (kind, text)
