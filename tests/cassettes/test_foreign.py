"""Cassettes that vcrpy, LangSmith's test cache and cassetter have written are read as calls of models.

The files in `foreign/` are written by vcrpy 9.4, langsmith and cassetter 0.16, from programs that called a local server with
httpx or requests; only the address of the server is replaced by those of the providers.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest.cassettes.foreign import Exchange, OtherExchange, read_calls, read_exchanges, read_vectors
from llmtest.errors import ScriptError
from llmtest.events.words import FrozenDict, Message, Usage
from llmtest.scripts.step_types import Fail, Reply, Text, split
from llmtest.wire.exchange import HttpAnswer, HttpRequest

FILES = Path(__file__).parent / "foreign"
SUNNY = Reply((Text(tuple(split("It is sunny. ☀"))),), Usage(8, 5, 13))
STREAMED = Reply((Text(("It is ", "sunny.")),), False)
SLOW = Fail(429, 7, "Slow down.")
CLAUDE = Reply((Text(tuple(split("It is sunny."))),), Usage(8, 5, 13))
ALL = [("openai:gpt-5", SUNNY), ("openai:gpt-5", STREAMED), ("openai:gpt-5", SLOW), ("anthropic:claude-haiku-4-5", CLAUDE)]
SOME = [ALL[1], ALL[3]]
CALLS = {
    "vcr_httpx.yaml": ALL,
    "vcr_requests.yaml": [ALL[0]] * 3,
    "vcr_file_body.yaml": [ALL[0]],
    "vcr.json": SOME,
    "langsmith.yaml": [ALL[0]],
    "langsmith_cache": [ALL[0]],
    "cassetter.yaml": ALL,
    "cassetter.toml": SOME,
}
LISTS_MODELS = ("vcr_httpx.yaml", "vcr.json", "cassetter.yaml", "cassetter.toml")


@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_a_model_is_a_step_and_every_other_exchange_has_a_reason(name: str) -> None:
    calls, others = read_calls(read_exchanges(FILES / name))

    assert [(call.model, call.step) for call in calls] == CALLS[name]
    assert [other.why for other in others] == ["it is no call of a model"] * (name in LISTS_MODELS)
    assert all(call.left_out == () for call in calls)
    assert calls[0].call.messages[0] == Message("human", "What is the weather?")


def test_the_place_of_an_exchange_is_its_line() -> None:
    path = FILES / "vcr_httpx.yaml"
    lines = path.read_text("utf-8").splitlines()

    numbers = [int(exchange.place.removeprefix(f"{path}:")) for exchange in read_exchanges(path)]
    assert [lines[number - 1] for number in numbers] == ["- request:"] * 6


def test_where_lines_are_not_known_an_exchange_has_a_number() -> None:
    places = [exchange.place.removeprefix(f"{FILES}/") for exchange in read_exchanges(str(FILES / "vcr.json"))]

    assert places == [f"vcr.json, interaction {number}" for number in (1, 2, 3)]


def test_an_other_exchange_is_shown_with_its_request() -> None:
    _, others = read_calls([*read_exchanges(FILES / "langsmith.yaml"), get("https://example.com/weather?city=Paris")])

    assert [str(other) for other in others] == [
        "cassette.yaml:1: GET https://example.com/weather?city=Paris: it goes to no provider that is known"
    ]


def get(url: str) -> Exchange:
    return Exchange(HttpRequest("GET", url, {}), HttpAnswer(), "cassette.yaml:1")


def test_interactions_of_cassetter_come_in_the_order_in_which_they_were_recorded() -> None:
    """cassetter sorts its file by method and address."""
    paths = [exchange.request.path.rpartition("/")[2] for exchange in read_exchanges(FILES / "cassetter.yaml")]

    assert paths == ["completions", "completions", "completions", "models", "messages", "embeddings"]


# -- encodings


def test_bodies_that_are_still_compressed_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()
    brotli: Any = SimpleNamespace(decompress=lambda body: plain, error=ValueError)
    monkeypatch.setitem(sys.modules, "brotli", brotli)

    calls, others = read_calls(read_exchanges(FILES / "vcr_encoded.yaml"))
    assert [call.step for call in calls] == [SUNNY, SUNNY, Reply((Text(("Hi",)),), False)]
    assert others == []


def test_a_body_that_is_not_brotli_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Error(Exception):
        """As the package has it."""

    def decompress(body: bytes) -> bytes:
        raise Error("failed")

    monkeypatch.setitem(sys.modules, "brotli", SimpleNamespace(decompress=decompress, error=Error))

    assert answered(b"\x00\xff", "br", tmp_path) == [r"the body is encoded with br; got bytes that are not: b'\x00\xff'"]


def test_a_body_in_brotli_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)

    calls, others = read_calls(read_exchanges(FILES / "vcr_encoded.yaml"))
    assert [call.step for call in calls] == [SUNNY, SUNNY]
    assert [other.why for other in others] == [
        "the body is encoded with br, which needs the package `brotli`: pip install brotli"
    ]


@pytest.mark.parametrize("frames", [1, 2])
def test_a_body_in_zstd_is_decoded(frames: int, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    size = -(-len(HELLO) // frames)
    pieces = [HELLO[at : at + size] for at in range(0, len(HELLO), size)]

    assert answered(b"".join(map(zstandard.compress, pieces)), "zstd", tmp_path) == HI


def test_a_body_in_zstd_needs_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)

    assert answered(b"\x28\xb5\x2f\xfd\xff", "zstd", tmp_path) == [
        "the body is encoded with zstd, which needs the package `zstandard`: pip install zstandard"
    ]


HELLO = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()


def answered(body: bytes, encoding: str, tmp_path: Path) -> Any:
    """What the answer of one call of a model is, whose body is recorded as base64."""
    asked = {"method": "POST", "uri": "https://api.openai.com/v1/chat/completions", "headers": [["Accept", "*/*"]]}
    response = {
        "status": 200,
        "headers": {"Content-Encoding": encoding},
        "body": {"base64_string": base64.b64encode(body).decode()},
    }
    path = tmp_path / "c.json"
    path.write_text(
        json.dumps({"interactions": [{"request": {**asked, "body": '{"messages": []}'}, "response": response}]}), "utf-8"
    )
    calls, others = read_calls(read_exchanges(path))
    return [*(call.step for call in calls), *(other.why for other in others)]


HI = [Reply((Text(("Hi",)),), False)]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "identity", "none of these"])
def test_the_header_of_a_body_that_is_decoded_already_does_not_matter(encoding: str, tmp_path: Path) -> None:
    assert answered(HELLO, encoding, tmp_path) == HI


def test_a_body_may_be_encoded_twice(tmp_path: Path) -> None:
    assert answered(gzip.compress(gzip.compress(HELLO)), "gzip, gzip", tmp_path) == HI


@pytest.mark.parametrize(
    ("encoding", "why"),
    [
        ("gzip", r"the body is encoded with gzip; got bytes that are not: b'\x00\xff'"),
        ("deflate", r"the body is encoded with deflate; got bytes that are not: b'\x00\xff'"),
        ("zstd", r"the body is encoded with zstd; got bytes that are not: b'\x00\xff'"),
        (
            "identity",
            (
                "the body is a chat completion, or the events of its stream; got bytes that are no UTF-8:"
                " 'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"
            ),
        ),
    ],
)
def test_a_body_that_cannot_be_decoded_is_told(encoding: str, why: str, tmp_path: Path) -> None:
    assert answered(b"\x00\xff", encoding, tmp_path) == [why]


# -- embeddings


@pytest.mark.parametrize(("name", "text"), [("vcr_httpx.yaml", "cat"), ("cassetter.yaml", "cat")])
def test_vectors_of_embeddings_are_read_with_their_texts(name: str, text: str) -> None:
    assert read_vectors(read_exchanges(FILES / name)) == ({"openai:text-embedding-3-small": {text: [0.5, 1.0]}}, [])


def embedded(url: str, asked: str, answer: str, status: int = 200) -> Any:
    headers = {"content-type": "application/json"}
    exchange = Exchange(HttpRequest("POST", url, {}, asked.encode()), HttpAnswer(status, headers, answer.encode()), "x.yaml:1")
    vectors, others = read_vectors([exchange])
    assert read_calls([exchange]) == ([], [])
    return vectors or [other.why for other in others]


OPENAI = "https://api.openai.com/v1/embeddings"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/text-embedding-004:"


@pytest.mark.parametrize(
    ("url", "asked", "answer", "model"),
    [
        (
            OPENAI,
            '{"model": "e", "input": ["a", "b"]}',
            '{"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]}',
            "openai:e",
        ),
        (
            OPENAI,
            '{"model": "e", "input": ["a", "b"], "encoding_format": "base64"}',
            '{"data": [{"embedding": "AACAPw=="}, {"embedding": "AAAAQA=="}]}',
            "openai:e",
        ),
        (
            f"{GEMINI}batchEmbedContents",
            '{"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]}',
            '{"embeddings": [{"values": [1]}, {"values": [2]}]}',
            "google_genai:text-embedding-004",
        ),
        (
            "http://localhost:11434/api/embed",
            '{"model": "e", "input": ["a", "b"]}',
            '{"embeddings": [[1], [2]]}',
            "ollama:e",
        ),
    ],
)
def test_vectors_of_each_api_are_read(url: str, asked: str, answer: str, model: str) -> None:
    assert embedded(url, asked, answer) == {model: {"a": [1.0], "b": [2.0]}}


@pytest.mark.parametrize(
    ("answer", "status", "why"),
    [
        ('{"error": {"message": "slow"}}', 429, "it asks for embeddings, and failed with the status 429"),
        ('{"data": []}', 200, "the answer has a vector for each text; got 0 vectors of 1 text"),
        ("<html>", 200, "the body is an answer with embeddings; got '<html>', which is no JSON: Expecting value, character 1"),
    ],
)
def test_embeddings_that_cannot_be_read_are_told(answer: str, status: int, why: str) -> None:
    assert embedded(OPENAI, '{"model": "e", "input": "a"}', answer, status) == [why]


# -- forms of older versions, and of hand


REQUEST = """\
interactions:
- request:
    body: '{"messages": []}'
    headers: {}
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
"""
TEXT = """'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'"""


@pytest.mark.parametrize(
    "response",
    [
        f"    status: {{code: 200, message: OK}}\n    headers: {{}}\n    body: {{string: {TEXT}}}\n",
        f"    status_code: 200\n    http_version: HTTP/1.1\n    headers: {{}}\n    content: {TEXT}\n",
        f"    status: 200\n    headers: null\n    body: !!python/unicode {TEXT}\n",
        f"    status: 200\n    body: {{string: !!python/str {TEXT}}}\n",
        f"    status: 200\n    body: !!binary {base64.b64encode(HELLO).decode()}\n",
        f"    status: 200\n    headers: {{a: [!!binary YQ==]}}\n    body: {{type: binary, content: {HELLO.hex()}}}\n",
        "    status: 200\n    body: {type: json, content: {choices: [{message: {content: Hi}, finish_reason: stop}]}}\n",
        f"    status: 200\n    body: !!python/object/apply:builtins.iter {{args: [[{TEXT}]]}}\n",
    ],
)
def test_each_form_of_a_response_is_read(response: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(REQUEST + response, "utf-8")

    assert [call.step for call in read_calls(read_exchanges(path))[0]] == HI


def test_digits_in_hex_are_no_number(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(REQUEST + "    status: 200\n    body: {type: binary, content: 31e5}\n", "utf-8")

    assert read_exchanges(path)[0].answer.body == b"1\xe5"


def test_what_the_answer_had_and_a_step_cannot_say_is_kept_beside_it(tmp_path: Path) -> None:
    body = {"choices": [{"index": n, "message": {"content": "Hi"}, "finish_reason": "stop"} for n in (0, 1)], "model": "other"}
    path = tmp_path / "c.yaml"
    path.write_text(REQUEST + f"    status: 200\n    body: {json.dumps({'type': 'json', 'content': body})}\n", "utf-8")

    ((call,), _) = read_calls(read_exchanges(path))
    assert (call.model, call.left_out) == ("", ("1 of 2 choices",))
    assert call.step == Reply((Text(("Hi",)),), False, response_metadata=FrozenDict(model_name="other"))


def test_a_request_that_no_api_takes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(REQUEST.replace('{"messages": []}', "no JSON") + f"    status: 200\n    body: {TEXT}\n", "utf-8")

    (calls, others) = read_calls(read_exchanges(path))
    assert calls == []
    assert isinstance(others[0], OtherExchange)
    assert others[0].why.startswith("the body of a request is a JSON object; got b'no JSON' (")


# -- files that are no cassettes


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "", "c.yaml:1: the file is empty; a cassette has the key `interactions`"),
        ("c.yaml", "- 1", "c.yaml: a cassette is a mapping with a list of `interactions`; got list"),
        ("c.yaml", "steps: []", "c.yaml: a cassette is a mapping with a list of `interactions`; got the keys `steps`"),
        (
            "c.json",
            '{"interactions": {}}',
            "c.json: a cassette is a mapping with a list of `interactions`; got the keys `interactions`",
        ),
        (
            "c.yaml",
            "a: [",
            "c.yaml:1: not YAML: expected the node content, but found '<stream end>'\n  1 | a: [\n"
            "  while parsing a flow node, which begins in line 1",
        ),
        ("c.json", '{\n"a": }', "c.json:2: not JSON: Expecting value"),
        ("c.toml", "a = ", "c.toml: not TOML: Invalid value (at end of document)"),
        ("c.toml", "a = " + "[" * 100_000, "c.toml: the file is nested too deeply"),
        ("c.json", '{"a":' * 100_000, "c.json: the file is nested too deeply"),
        ("c.yaml", "a: " + "[" * 200, "c.yaml:1: the file nests deeper than 100 levels"),
        ("c.yaml", "interactions:\n- 1\n", "c.yaml:2: an interaction is a mapping with `request` and `response`; got 1"),
        ("c.yaml", "interactions:\n- {}\n", "c.yaml:2: an interaction has a mapping `request`; got None"),
        (
            "c.yaml",
            "interactions:\n- request: {method: GET}\n  response: {}\n",
            "c.yaml:2: `request` has a `method` and a `uri`; got 'GET' and None",
        ),
        ("c.yaml", REQUEST + "    status: OK\n", "c.yaml:2: `status` of the response is a number; got 'OK'"),
        ("c.yaml", REQUEST + "    status: 200\n    headers: a\n", "c.yaml:2: `headers` are a mapping; got 'a'"),
        ("c.yaml", REQUEST + "    status: 200\n    body: 5\n", "c.yaml:2: `body` of the response is a text; got int 5"),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: {a: 1}\n",
            "c.yaml:2: `body` of the response is a text, or has `string` or `type`; got the keys `a`",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: {type: form}\n",
            "c.yaml:2: the `type` of a body is `json`, `text`, `binary` or `none`; got 'form'",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: {type: binary, content: xx}\n",
            "c.yaml:2: `content` of the response is in hex; got 'xx'",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: {base64_string: '?'}\n",
            "c.yaml:2: `base64_string` of the response is in base64; got '?'",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: !!binary '?'\n",
            "c.yaml:9: a value with the tag `!!binary` cannot be read: '?'",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: !!python/object/apply:os.system [ls]\n",
            "c.yaml:9: the YAML tag `!!python/object/apply:os.system` is none that vcrpy or cassetter writes,"
            " and it may name code",
        ),
        (
            "c.yaml",
            REQUEST + f"    status: {'9' * 301}\n",
            f"c.yaml:8: a value with the tag `!!int` cannot be read: '{'9' * 76}...",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: !env HOME\n",
            "c.yaml:9: the YAML tag `!env` is none that vcrpy or cassetter writes, and it may name code",
        ),
        (
            "c.yaml",
            REQUEST + "    status: 200\n    body: !!python/object/new:_io.BytesIO a\n",
            "c.yaml:9: the tag `!!python/object/new:_io.BytesIO` stands before a mapping",
        ),
        ("c.yaml", "interactions: &a\n- *a\n", "c.yaml:1: a value contains itself"),
        ("c.yaml", "interactions: []\n[a]: 1\n", "c.yaml:2: a key is a text"),
    ],
)
def test_a_file_that_is_no_cassette_is_told_with_its_line(
    name: str, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text, "utf-8")

    with pytest.raises(ScriptError) as error:
        read_exchanges(name)

    assert str(error.value) == message


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_bytes(b"a\n\xff")

    with pytest.raises(ScriptError, match=r"^c\.yaml:2: the file is not UTF-8: invalid start byte$"):
        read_exchanges("c.yaml")
    with pytest.raises(ScriptError, match=r"^the cassette d\.yaml cannot be read: No such file or directory$"):
        read_exchanges("d.yaml")


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)


def test_aliases_of_aliases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(BOMB + "interactions: [*g]\n", "utf-8")

    with pytest.raises(ScriptError, match=r"aliases multiply the file to more than 100,000 values$"):
        read_exchanges(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(["vcr_httpx.yaml", "vcr_file_body.yaml", "vcr.json", "cassetter.toml"]))
def test_a_damaged_cassette_is_read_or_told(data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = (FILES / name).read_text("utf-8")
    at = data.draw(st.integers(0, len(text) - 1))
    size = data.draw(st.integers(0, 30))
    changed = text[:at] + data.draw(st.sampled_from(["", "- ", "'", "{", "!!x ", "null", "\n", "&a ", ": "])) + text[at + size :]
    path = tmp_path_factory.mktemp("c") / name
    path.write_text(changed, "utf-8")

    try:
        calls, others = read_calls(read_exchanges(path))
    except ScriptError as error:
        assert name in str(error)  # noqa: PT017 - it may be read as well
    else:
        assert len(calls) + len(others) >= 0
