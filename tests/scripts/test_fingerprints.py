"""Fingerprints: what is kept of a request, and how a change of it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmtest.events.words import FrozenDict, Message
from llmtest.scripts.fingerprints import Fingerprint, Prompt, differences, fingerprint, format_of, parameters_of, signature
from llmtest.scripts.requests import Request

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PROMPT = "You are a weather bot.\nAnswer in one sentence.\nNever guess."


def request(system: str = PROMPT, tools: dict[str, Any] | None = None, **params: Any) -> Request:
    messages = [Message("system", system)] if system else []
    tools = {"weather": CITY, "search": {"properties": {"q": {"type": "string"}}, "required": ["q"]}} if tools is None else tools
    return Request(tools, lambda: [*messages, Message("human", "weather in Paris?")], params=FrozenDict(params))


def changes(before: Request, now: Request, *, keep: bool = False) -> list[str]:
    return differences(fingerprint(before, keep=keep), fingerprint(now, keep=keep))


def test_a_fingerprint_keeps_the_facts_and_not_the_prompt() -> None:
    found = fingerprint(request(temperature=0, response_format={"type": "json_object"}), model="gpt-5", recorded="2026-11-29")

    assert (found.model, found.recorded, found.messages) == ("gpt-5", "2026-11-29", {"system": 1, "human": 1})
    assert (found.tools["weather"], found.parameters, found.response_format) == (
        signature(CITY),
        {"temperature": 0},
        format_of({"response_format": {"type": "json_object"}}),
    )
    assert found.system is not None
    assert (found.system.begins, len(found.system.lines), found.system.text) == ("You are a weather bot.", 3, None)


def test_a_short_prompt_of_one_line_is_kept() -> None:
    assert Prompt.of("You are kind.").text == "You are kind."


def test_a_secret_in_a_prompt_is_masked_before_it_is_kept() -> None:
    prompt = Prompt.of("The key is sk-abcdefghijklmnop1234567890.")

    assert (prompt.text, "sk-" in prompt.begins) == ("The key is <mask:secret>.", False)


def test_equal_requests_have_no_difference() -> None:
    assert changes(request(temperature=0), request(temperature=0)) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Today is 2026-11-29.", "Today is 2027-01-03."),
        ("It is 09:15 now.", "It is 17:02:11 now."),
        ("Today is Sunday, November 29, 2026.", "Today is Monday, 30 November 2026."),
        ("Session 0b0e0a52-5b7c-4b6e-9c0d-2a1f2b3c4d5e", "Session 7f1e2d3c-4b5a-4968-8776-655443322110"),
    ],
)
def test_what_differs_in_every_run_is_no_change_of_a_prompt(first: str, second: str) -> None:
    assert changes(request(f"You are a bot.\n{first}"), request(f"You are a bot.\n{second}")) == []


def test_a_changed_line_of_the_prompt_is_told_by_its_number() -> None:
    assert changes(request(), request(PROMPT.replace("Never guess", "Guess"))) == ["the system prompt has changed: line 3"]


def test_new_and_lost_lines_of_the_prompt_are_told() -> None:
    now = "You are a weather bot.\nBe brief.\nBe kind.\nAnswer in one sentence."

    assert changes(request(), request(now)) == ["the system prompt has changed: new lines 2-3, gone line 3"]


def test_a_prompt_that_begins_otherwise_shows_both_beginnings() -> None:
    assert changes(request(), request(PROMPT.replace("a weather", "an old"))) == [
        'the system prompt has changed: line 1\n  it began "You are a weather bot."\n  it begins "You are an old bot."'
    ]


def test_a_prompt_that_is_kept_is_shown_with_its_difference() -> None:
    assert changes(request(), request(PROMPT.replace("one", "two")), keep=True) == [
        "the system prompt has changed: line 2\n"
        "  @@ -1,3 +1,3 @@\n"
        "   You are a weather bot.\n"
        "  -Answer in one sentence.\n"
        "  +Answer in two sentence.\n"
        "   Never guess."
    ]


def test_the_difference_of_long_prompts_is_cut() -> None:
    first, second = ("\n".join(f"{word} {number}" for number in range(30)) for word in ("old", "new"))

    (told,) = changes(request(first), request(second), keep=True)

    assert told.splitlines()[0] == "the system prompt has changed: lines 1-30"
    assert told.splitlines()[-1] == "  ... 51 lines more"


def test_a_prompt_that_is_new_or_gone_is_told() -> None:
    assert changes(request(""), request("Be kind."))[0] == 'a system prompt is new: "Be kind."'
    assert changes(request("Be kind."), request(""))[0] == 'the system prompt is gone: "Be kind."'


def test_each_change_of_a_tool_is_told() -> None:
    search = {"properties": {"q": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["q"]}

    assert changes(request(), request(tools={"weather": CITY, "search": search})) == [
        "1 of 2 tools is the same; `search` has a new argument `limit`"
    ]
    assert changes(request(), request(tools={"weather": CITY, "book": CITY})) == [
        "1 of 2 tools is the same; `search` is gone, `book` is new"
    ]


def test_tools_that_have_all_changed_are_told() -> None:
    assert changes(request(), request(tools={"book": CITY})) == [
        "no tool is the same; `search` is gone, `weather` is gone, `book` is new"
    ]
    assert changes(request(tools={}), request(tools={"book": CITY})) == ["`book` is new"]


def test_an_argument_that_is_gone_or_required_now_is_told() -> None:
    before = {"properties": {"a": {}, "b": {}, "c": {}}, "required": ["a"]}
    now = {"properties": {"a": {}, "c": {}}, "required": ["a", "c"]}

    assert changes(request(tools={"f": before}), request(tools={"f": now})) == [
        "`f` has no argument `b` any more and `c` as a required argument"
    ]


def test_a_schema_that_changes_within_an_argument_is_told() -> None:
    number = {"type": "object", "properties": {"city": {"type": "integer"}}, "required": ["city"]}

    assert changes(request(tools={"weather": CITY}), request(tools={"weather": number})) == ["`weather` has another schema"]


def test_what_integrations_add_to_a_schema_is_no_change() -> None:
    dressed = {
        **CITY,
        "title": "weather",
        "additionalProperties": False,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    }

    assert signature(dressed) == signature(CITY)


def test_an_argument_called_title_is_an_argument() -> None:
    assert signature({"properties": {"title": {"type": "string"}}}).startswith("(title?) ")


def test_parameters_that_change_the_answer_are_told() -> None:
    before, now = request(temperature=0, seed=7), request(temperature=0.5, top_p=1)

    assert changes(before, now) == [
        "the parameter `seed` is gone; it was 7",
        "the parameter `temperature` was 0; it is 0.5",
        "the parameter `top_p` is new: 1",
    ]


def test_parameters_within_the_objects_of_an_api_are_found_too() -> None:
    params = {"generationConfig": {"temperature": 0.5, "responseSchema": {}}, "reasoning": {"effort": "low"}, "tools": [{}]}

    assert parameters_of(params) == {"effort": "low", "temperature": 0.5}


@pytest.mark.parametrize("name", ["stream", "user", "metadata", "model", "stream_options", "timeout"])
def test_what_does_not_change_the_answer_is_no_parameter(name: str) -> None:
    assert parameters_of({name: "x"}) == {}


def test_a_parameter_that_is_no_json_is_not_kept() -> None:
    assert parameters_of({"temperature": 0, "client": object(), "modalities": ["text"]}) == {
        "temperature": 0,
        "modalities": '["text"]',
    }


def test_a_prompt_without_messages_is_told() -> None:
    assert differences(fingerprint(request()), fingerprint(Request({}, list)))[-1] == (
        "the prompt had 1 system and 1 human messages; it has no message"
    )


def test_stop_and_tool_choice_are_parameters() -> None:
    before = Request({}, lambda: [], tool_choice="auto", stop=["END"])

    assert fingerprint(before).parameters == {"stop": '["END"]', "tool_choice": "auto"}


def test_a_response_format_is_told_by_its_name() -> None:
    def wanted(name: str, schema: dict[str, Any]) -> Request:
        return request(response_format={"type": "json_schema", "json_schema": {"name": name, "schema": schema}})

    assert changes(wanted("Weather", CITY), wanted("Weather", {})) == ["the response format `Weather` has changed"]
    assert changes(wanted("Weather", CITY), wanted("Report", CITY)) == ["the response format was `Weather`; it is `Report`"]
    assert changes(wanted("Weather", CITY), request()) == ["the response format is gone; it was `Weather`"]
    assert changes(request(), wanted("Weather", CITY)) == ["a response format is new: `Weather`"]


def test_another_number_of_messages_is_told() -> None:
    def after(*roles: str) -> Request:
        return Request({}, lambda: [Message(role, "x") for role in roles])

    assert changes(after("human"), after("human", "ai", "ai")) == [
        "the prompt had 1 human message; it has 1 human and 2 ai messages"
    ]


# -- what the human said


def asked(*questions: str) -> Request:
    return Request({}, lambda: [Message("human", question) for question in questions])


def test_a_changed_question_is_told_with_both_texts() -> None:
    assert changes(asked("Is Paris warm?"), asked("Is Oslo warm?")) == [
        'the question has changed: it was "Is Paris warm?", it is "Is Oslo warm?"'
    ]


def test_of_several_questions_the_changed_one_is_told() -> None:
    before, now = asked("Is Paris warm?", "And Rome?", "Thanks."), asked("Is Paris warm?", "And Oslo?", "Thanks.")

    assert changes(before, now) == ['question 2 has changed: it was "And Rome?", it is "And Oslo?"']


def test_a_question_that_is_new_or_gone_is_told_beside_the_number_of_messages() -> None:
    before, now = asked("Is Paris warm?", "And Rome?"), asked("Hello!", "Is Paris warm?")

    assert changes(before, now) == ['the question is new: "Hello!"', 'question 2 is gone: "And Rome?"']


def test_two_long_questions_are_quoted_where_they_differ() -> None:
    begin = "Tell me in one or two short sentences how warm it is today in "

    assert changes(asked(f"{begin}Paris."), asked(f"{begin}Oslo.")) == [
        'the question has changed: it was "... warm it is today in Paris.", it is "... warm it is today in Oslo."'
    ]


def test_of_a_question_with_lines_only_digests_are_kept_and_the_changed_line_is_told() -> None:
    before = asked("Summarize this:\nIt rained in Paris.\nIt snowed in Oslo.")

    assert fingerprint(before).human[0].text is None
    assert changes(before, asked("Summarize this:\nIt rained in Paris.\nIt was warm in Oslo.")) == [
        'the question has changed: line 3\n  it still begins "Summarize this:"'
    ]
    assert changes(before, asked("Shorten this:\nIt rained in Paris.\nIt snowed in Oslo.")) == [
        'the question has changed: line 1\n  it began "Summarize this:"\n  it begins "Shorten this:"'
    ]


def test_a_question_that_differs_behind_what_is_kept_of_it_is_told() -> None:
    long = "word " * 30

    assert changes(asked(f"{long}Paris"), asked(f"{long}Oslo")) == [
        'the question has changed: line 1\n  it still begins "word word word word word word word word word word word wo..."'
    ]


def test_what_differs_in_every_run_is_no_change_of_a_question() -> None:
    assert changes(asked("It is 2026-11-29, 09:15. Warm?"), asked("It is 2027-01-03, 17:02. Warm?")) == []


def test_answers_and_results_of_tools_are_not_compared() -> None:
    def after(answer: str) -> Request:
        return Request({}, lambda: [Message("human", "hi"), Message("ai", answer), Message("tool", answer)])

    assert changes(after("a"), after("b")) == []


def test_a_secret_in_a_question_is_masked_before_it_is_kept() -> None:
    (kept,) = fingerprint(asked("Is sk-abcdefghijklmnop1234567890 valid?")).human

    assert (kept.text, "sk-" in kept.begins) == ("Is <mask:secret> valid?", False)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO+/g="}},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO+/g="},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO+/g="}},
        {"inlineData": {"data": "iVBO-_g=", "mimeType": "image/png"}},
        {"type": "image", "base64": "iVBO+/g"},
    ],
)
def test_an_image_has_the_same_digest_in_the_words_of_each_api(block: dict[str, Any]) -> None:
    def shown(attached: dict[str, Any]) -> Request:
        return Request({}, lambda: [Message("human", [{"type": "text", "text": "What is it?"}, attached])])

    first, other = {"type": "image", "base64": "iVBO+/g="}, {"type": "image", "base64": "iVBP+/g="}
    assert changes(shown(first), shown(block)) == []
    assert len(changes(shown(other), shown(block))) == 1


def test_what_is_no_text_in_an_image_does_not_count() -> None:
    def shown(**more: Any) -> Fingerprint:
        block = {"type": "image", "base64": "aGVsbG8=", **more}
        return fingerprint(Request({}, lambda: [Message("human", [block])]))

    assert shown() == shown(index=0, sizes=[1, 2])
    assert shown() != shown(base64="aGVsbG9v")


def test_the_signature_of_an_address_does_not_count() -> None:
    def shown(url: str) -> Request:
        return Request({}, lambda: [Message("human", [{"type": "image_url", "image_url": {"url": url}}])])

    assert changes(shown("https://x.org/a.png?sig=1"), shown("https://x.org/a.png?sig=2")) == []
    assert len(changes(shown("https://x.org/a.png"), shown("https://x.org/b.png"))) == 1


def test_a_request_without_its_questions_is_compared_as_far_as_it_is_known() -> None:
    before = replace(fingerprint(asked("Is Paris warm?")), human=())

    assert differences(before, fingerprint(asked("Is Oslo warm?"))) == []


def test_another_model_is_told_where_both_are_known() -> None:
    assert differences(Fingerprint("gpt-5"), Fingerprint("gpt-5-mini")) == ["the model was `gpt-5`; it is `gpt-5-mini`"]
    assert differences(Fingerprint("gpt-5"), Fingerprint()) == []


def test_parameters_of_callbacks_are_not_compared_with_those_of_a_request_over_http() -> None:
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "Weather", "schema": CITY}}}
    before = request(tools={"weather": CITY}, candidate_count=1, **wanted)
    over_http = replace(before, params=FrozenDict(candidateCount=1, response_format={"type": "json_object"}), over_http=True)

    assert changes(before, over_http) == []
    assert changes(before, replace(over_http, tools={})) == ["`weather` is gone"]
    assert changes(before, replace(over_http, params=FrozenDict())) == ["the response format is gone; it was `Weather`"]
