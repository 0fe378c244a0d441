"""The table of masks, and what a project adds to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, record, say
from llmtest.core.masks import Rule, Unchecked, mask, publish, rule, show, show_text, table, use_rules
from llmtest.errors import MaskError, MatchError, expect_violation
from llmtest.events import FrozenDict, Message
from llmtest.langchain.providers import scripted_providers
from llmtest.matching import at_least, called
from llmtest.tracing.codec import Writer
from llmtest.trees.values import Words

KEY = "sk-" + "a1" * 30
KEYS = (
    *("api_key", "apiKey", "x-api-key", "OPENAI_API_KEY", "aws_access_key", "aws_access_key_id", "secret", "clientSecret"),
    *("private_key", "password", "passwd", "passphrase", "token", "next_page_token", "jwt", "credentials"),
)
KEYS_WITHOUT_QUOTES = ("pwd", "auth", "Authorization", "cookie", "bearer")


def shown(text: str) -> str:
    return Words([]).string(text)


def test_rules_hold_inside_their_block() -> None:
    before = shown("my ORD-12")

    with use_rules(["order = ORD-[0-9]+"]):
        inside = shown("my ORD-12")

    assert (before, inside, shown("my ORD-12")) == ('"my ORD-12"', '"my <mask:order>"', '"my ORD-12"')


def test_a_key_is_masked_wherever_it_stands() -> None:
    with use_rules(["pin"]):
        value = Words([]).value({"pin": "1", "user_pin": 2, "pinned": 3})
        said = shown('{"pin": "1234"}')

    assert value == ['{"pin": <mask:pin>, "pinned": 3, "user_pin": <mask:user_pin>}']
    assert said == '"{\\"pin\\": <mask:pin>}"'


def test_rules_go_before_the_table() -> None:
    with use_rules(["ours = sk-[a-z]+"]):
        assert shown("sk-abcdefghijklmnopqrst") == '"<mask:ours>"'


def test_blocks_may_end_in_any_order() -> None:
    outer, inner = use_rules(["a = x1"]), use_rules(["b = x2"])
    outer.__enter__()
    inner.__enter__()

    outer.__exit__(None, None, None)

    assert shown("x1 x2") == '"x1 <mask:b>"'
    inner.__exit__(None, None, None)
    assert shown("x1 x2") == '"x1 x2"'


def test_a_line_is_a_rule() -> None:
    assert rule(" ticket-id = T[0-9]{3} ") == Rule("ticket-id", "T[0-9]{3}")
    assert table().is_secret("api_key")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a b", "expected `NAME = REGULAR EXPRESSION` or the name of a key; got 'a b'"),
        ("a = *", "expected `NAME = REGULAR EXPRESSION` or the name of a key; got 'a = *': nothing to repeat at position 0"),
        ("a = x*", "'a = x*' would mask the empty text, so everywhere"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_rule_is_refused(line: str, problem: str) -> None:
    with pytest.raises(MaskError) as caught:
        rule(line)

    assert str(caught.value) == problem


# -- secrets by the name of their key


@tool
def login(options: dict[str, Any]) -> str:
    """Log in."""
    return "yes"


@pytest.mark.parametrize("key", [*KEYS, *KEYS_WITHOUT_QUOTES])
def test_what_stands_under_the_key_of_a_secret_leaves_by_no_way_out(key: str) -> None:
    with record() as caught:
        login.invoke({"options": {key: "hunter2"}})
    with scripted_providers({"mistralai:small": say("Hello").optional()}):  # a stand-in: its integration is not installed
        params = init_chat_model("mistralai:small", **{key: "hunter2"}).params  # type: ignore[attr-defined]

    tree = str(caught)
    stored = Writer().payload(FrozenDict(input=FrozenDict({key: "hunter2"})))
    answer = str(caught.obeys(at_least(1, called("login", options={}))))
    with pytest.raises(MatchError) as unlike:
        caught.tools.assert_matches([called("login", options={})])
    texts = [tree, stored, answer, str(unlike.value), json.dumps(params)]
    assert [mask(key) in text for text in texts] == [True] * 5
    assert ["hunter2" in text for text in texts] == [False] * 5


@pytest.mark.parametrize("key", KEYS)
def test_a_key_and_its_secret_are_masked_in_a_violation(key: str) -> None:
    with expect_violation("unexpected call") as found, pytest.raises(AssertionError):
        ScriptedChatModel().invoke(json.dumps({key: "hunter2"}))

    assert mask(key) in found[0].text
    assert "hunter2" not in found[0].text


@pytest.mark.parametrize("key", ["keyboard", "tokens", "token_usage", "secretary", "author", "password_hint", ""])
def test_other_keys_are_shown(key: str) -> None:
    assert table().hide({key: "hunter2"}) == {key: "hunter2"}


@pytest.mark.parametrize(
    "text",
    [
        "sk-old-town-hotel-with-breakfast",
        "the task-force of 2024 met in sk-learn-compatible rooms",
        "https://example.org:8080/a@b",
        "mailto:ada@example.org",
    ],
)
def test_prose_is_no_key(text: str) -> None:
    assert shown(text) == f'"{text}"'


@pytest.mark.parametrize(
    "secret",
    [
        "sk-" + "abcdefgh" * 3,
        "sk-ant-api03-AbC1dE2fG3h-x_y",
        "github_pat_" + "a1" * 15,
        "glpat-" + "a1b2" * 6,
        "ASIA" + "A" * 16,
        "gsk_" + "a1" * 15,
        "hf_" + "aB" * 15,
        "sk_live_" + "a1" * 8,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_keys_of_providers_are_masked_in_a_text(secret: str) -> None:
    text = json.dumps({"note": f"use {secret} now"})

    assert table().without_secrets(f"use {secret} now") == "use <mask:secret> now"
    assert table().may_hold_secrets(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: <mask:authorization>"),
        ("authorization=Token abcd", "authorization=<mask:authorization>"),
        ("send Basic dXNlcjpwYXNz now", "send Basic <mask:secret> now"),
        ("X-Api-Key: abc123def456\nAccept: */*", "X-Api-Key: <mask:x-api-key>\nAccept: */*"),
        ("api-key: 8f14e45fceea167a, and so on", "api-key: <mask:api-key>, and so on"),
        ("curl -H 'x-goog-api-key: 12345678' /", "curl -H 'x-goog-api-key: <mask:x-goog-api-key>' /"),
        ("OPENAI_API_KEY=abcd1234efgh make", "OPENAI_API_KEY=<mask:openai_api_key> make"),
        ("the password: hunter22", "the password: <mask:password>"),
        ("Cookie: session=abc; theme=dark", "Cookie: <mask:cookie>"),
        ("Set-Cookie: sid=abc; Path=/; HttpOnly", "Set-Cookie: <mask:set-cookie>"),
        ("see https://x.org/a?token=abcd1234&n=1", "see https://x.org/a?token=<mask:token>&n=1"),
        ("https://x.org/a?n=1&X-Amz-Signature=0a1b2c3d", "https://x.org/a?n=1&X-Amz-Signature=<mask:x-amz-signature>"),
        ("<https://x.org/a?sig=0a1b%2Fc3d>", "<https://x.org/a?sig=<mask:sig>>"),
        ("login --password hunter22 --user ada", "login --password <mask:password> --user ada"),
        ("run --api-key=abcd1234", "run --api-key=<mask:api-key>"),
    ],
)
def test_headers_and_variables_are_masked_in_a_text(text: str, shown: str) -> None:
    assert table().without_secrets(text) == shown
    assert table().without_secrets(shown) == shown
    assert table().may_hold_secrets(json.dumps({"note": text}))


@pytest.mark.parametrize(
    "text",
    [
        "api-key: see the docs",
        "Authorization: required",
        "a Basic JavaScript course with Basic understanding",
        "cookie: chocolate",
        "max_tokens: 12345678",
        "api_key=get_key1(name)",
        "password = os.environ1['X']",
        "https://x.org/a?token=yes&page=12345678",
        "log in with --password-file /run/1234567",
        "--token ${TOKEN_1}",
        "is it signature=12345678?",
    ],
)
def test_prose_about_headers_is_no_secret(text: str) -> None:
    assert table().without_secrets(text) == text


def test_a_password_in_an_address_is_masked() -> None:
    assert table().without_secrets("postgres://ada:hunter2@db/x") == "postgres://<mask:secret>@db/x"


def test_temporary_folders_are_one_path_with_the_folder_of_the_test() -> None:
    words = Words([])

    with use_rules([], "/data/base"):
        own = Words([])
        here = own.plain(own.string("/data/base/test_x0/a.txt"))
    texts = ["/tmp/pytest-of-ada/pytest-3/test_x0/a", "/tmp/pytest-of-ada/pytest-3/popen-gw1/test_y12/b", "/tmp/tmpab12_x9z/c"]
    plain = [words.plain(words.string(text)) for text in [*texts, texts[0]]]

    assert here == '"<path>/a.txt"'
    assert plain == ['"<path>/a"', '"<path>/b"', '"<path>/c"', '"<path>/a"']
    assert table().without_folders(f"read {texts[0]} now") == "read <path>/a now"


@pytest.mark.parametrize("before", ["Bearer ", "token=", '"api_key": "', '{\\"password\\": \\"', "secret: ", "?access_token="])
def test_a_name_of_a_secret_right_before_a_value_is_known(before: str) -> None:
    assert table().names_secret(f"some text {before}")


@pytest.mark.parametrize("before", ["", "order ", '"id": "', "the token was lost; id=", "author: "])
def test_another_name_before_a_value_is_none_of_a_secret(before: str) -> None:
    assert not table().names_secret(before)


def test_whether_there_is_a_secret_is_none() -> None:
    assert table().hide({"password": None, "token": True, "jwt": 1}) == {"password": None, "token": True, "jwt": "<mask:jwt>"}


def test_secrets_are_masked_wherever_they_stand_in_a_value() -> None:
    value = {"a": [{"password": 1}, f"use {KEY}"], "b": ({"c": "d"},)}

    assert table().hide(value) == {"a": [{"password": "<mask:password>"}, "use <mask:secret>"], "b": ({"c": "d"},)}


def test_a_value_with_masks_may_keep_its_shape() -> None:
    value = {"a": [f"use {KEY}", 1, None], "credentials": {"user": "ada", "old": [1, True]}, KEY: ("x",)}

    assert table().hide_leaves(value) == {
        "a": ["use <mask:secret>", 1, None],
        "credentials": {"user": "<mask:credentials>", "old": ["<mask:credentials>", True]},
        "<mask:secret>": ["x"],
    }


def test_a_value_without_secrets_is_not_copied() -> None:
    value = {"a": [1, "x"], "b": ({"c": "d"}, None)}

    assert table().hide(value) is value


@pytest.mark.parametrize(
    "text",
    [
        *(json.dumps({key: "hunter2"}) for key in KEYS),
        *(repr({key: "hunter2"}) for key in KEYS),
        json.dumps(json.dumps({"token": "hunter2"})),
        *(f"the key is {key}" for key in (KEY, "ghp_" + "a" * 20, "xoxb-" + "1" * 10, "AKIA" + "A" * 16, "AIza" + "a" * 35)),
        "Bearer abcdefgh",
    ],
)
def test_a_quick_look_misses_no_secret(text: str) -> None:
    assert table().may_hold_secrets(text)


def test_a_quick_look_finds_most_texts_harmless() -> None:
    assert not table().may_hold_secrets(json.dumps({"q": "weather in Paris", "tokens": 3}))
    with use_rules(["city = Paris"]):
        assert table().may_hold_secrets(json.dumps({"q": "weather in Paris"}))


# -- values of the program in messages


def test_a_secret_is_masked_before_a_value_is_cut() -> None:
    assert show(KEY) == "'<mask:secret>'"
    assert show([{"a": KEY}]) == "[{'a': '<mask:secret>'}]"
    assert show(Message("human", KEY)) == "Message(role='human', content='<mask:secret>', tool_calls..."
    assert show_text(f"{'x ' * 27}{KEY}", 60) == f"{'x ' * 22!r} ... {' x <mask:secret>'!r} (67 characters)"


def test_a_value_under_the_key_of_a_secret_is_masked_whole() -> None:
    assert show("hunter2", "password") == "<mask:password>"
    assert show(1234, "password") == "<mask:password>"
    assert show(None, "password") == "None"
    assert show("hunter2", "user") == "'hunter2'"


def test_a_secret_in_a_long_prompt_is_masked_in_a_violation_and_the_cut_does_not_halve_it() -> None:
    with expect_violation("unexpected call") as found, pytest.raises(AssertionError):
        ScriptedChatModel().invoke("x" * 180 + f" {KEY}")

    assert "a1a1" not in found[0].text


def test_a_published_text_has_no_secrets_and_commands_no_terminal() -> None:
    text = f"key {'sk-' + 'a1' * 12}\n\tcleared \x1b[2J\r\u202e\x9b"

    assert publish(text) == "key <mask:secret>\n\tcleared \\x1b[2J\\r\\u202e\\x9b"


NESTED = json.dumps({"a": json.dumps({"b": json.dumps({"token": 'hun"ter2', "n": 1})})})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"auth": "abc", "x_auth": "abc"}', '{"auth": "<mask:auth>", "x_auth": "<mask:x_auth>"}'),
        ("{'cookies': 'abc'}", "{'cookies': '<mask:cookies>'}"),
        ('{"password": 1234, "n": 1}', '{"password": "<mask:password>", "n": 1}'),
        ('{"n": 1, "password": "hunt', '{"n": 1, "password": "<mask:password>"'),
        ('{"n": 1, "password": "hunt\\', '{"n": 1, "password": "<mask:password>"'),
        ("{'n': 1, 'password': 'hunt", "{'n': 1, 'password': '<mask:password>'"),
        (NESTED, json.dumps({"a": json.dumps({"b": json.dumps({"token": "<mask:token>", "n": 1})})})),
        (NESTED[: NESTED.index("ter2")], NESTED[: NESTED.index("hun")] + "<mask:token>" + "\\" * 3 + '"'),
        (json.dumps(json.dumps({"token": 1234})), '"{\\"token\\": \\"<mask:token>\\"}"'),
        ('{"author": "abc", "oauth": "abc", "max_tokens": 5}', '{"author": "abc", "oauth": "abc", "max_tokens": 5}'),
    ],
)
def test_a_text_of_json_hides_what_its_values_would(text: str, shown: str) -> None:
    assert table().without_secrets(text) == shown
    assert table().without_secrets(shown) == shown


def test_texts_are_looked_at_together_and_none_is_forgotten() -> None:
    for place in (0, 1, 7):
        unchecked = Unchecked()
        for number in range(8):
            unchecked.add("sk-" if number == place else "x" * 100_000)
        assert unchecked.may_hold_secrets()
        assert unchecked.may_hold_secrets()

    assert not Unchecked().may_hold_secrets()


@pytest.mark.parametrize(
    ("text", "is_risky"),
    [
        ("a passage of the night", False),
        ("the weight of a signal", False),
        ("tokens", False),
        ('"token": 1', True),
        ("PASSWORD", True),
        ("github_pat_1", True),
        ("glpat-1", True),
        ("ghp_1", True),
        ("sig=1", True),
    ],
)
def test_a_quick_look_knows_parts_of_common_words(text: str, is_risky: bool) -> None:
    assert table().may_hold_secrets(text) is is_risky
