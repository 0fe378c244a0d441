"""Cassettes of other libraries as requests and answers: vcrpy's and cassetter's.

pytest-recording and LangSmith's test cache (`LANGSMITH_TEST_CACHE`) write with vcrpy. All are lists of interactions. vcrpy writes
YAML or JSON, with bodies as text or base64; cassetter writes YAML or TOML, with JSON bodies as data. No file can run code: of
YAML's tags only those that vcrpy itself writes are read, as plain values.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmtest.core.safe_yaml import Node, YamlError, compose
from llmtest.core.source import shown_path
from llmtest.core.text import clip, names
from llmtest.errors import ScriptError
from llmtest.scripts.step_types import Fail, Reply
from llmtest.wire.answering import read
from llmtest.wire.api import Api, BadBody, ModelCall
from llmtest.wire.embeddings import EmbeddingsApi
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.hosts import Target, api_of, recognize


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded request and its answer. `place` is `file:line`; the file and a number where lines are not known."""

    request: HttpRequest
    answer: HttpAnswer
    place: str


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One recorded call of a model. `model` is its name as a mapping has it: `openai:gpt-5`."""

    model: str
    call: ModelCall
    step: Reply | Fail
    left_out: tuple[str, ...] = ()
    """What the answer had and the step cannot say."""
    place: str = ""


@dataclass(frozen=True, slots=True)
class OtherExchange:
    """An exchange that is no call of a model, or none that can be read; `why` says it."""

    exchange: Exchange
    why: str

    def __str__(self) -> str:
        request = self.exchange.request
        return f"{shown_path(self.exchange.place)}: {request.method} {clip(request.url, 200)}: {self.why}"


def read_exchanges(path: Path | str) -> list[Exchange]:
    """Return the exchanges of a cassette of vcrpy or cassetter, in the order in which they were recorded.

    Raises:
        ScriptError: there is no such file, or it is no such cassette; with file and line.
    """
    shown = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ScriptError(f"the cassette {shown_path(shown)} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _wrong(f"{shown}:{line}", f"the file is not UTF-8: {error.reason}") from None
    found = [_Interaction(place, value) for place, value in _interactions(_read_file(text, shown), shown)]
    if all(item.recorded_at for item in found):  # cassetter sorts what it writes by its address
        found.sort(key=lambda item: item.recorded_at)
    return [item.exchange() for item in found]


def read_calls(exchanges: Iterable[Exchange]) -> tuple[list[RecordedCall], list[OtherExchange]]:
    """Return the calls of models among `exchanges`, and the exchanges that are none, each with the reason.

    Those that ask for embeddings are in neither: `read_vectors` returns them.

    >>> hello = '{"model": "m", "choices": [{"message": {"content": "Hello there"}, "finish_reason": "stop"}]}'
    >>> asked = HttpRequest("POST", "https://api.openai.com/v1/chat/completions", {}, b'{"model": "m", "messages": []}')
    >>> calls, others = read_calls([Exchange(asked, HttpAnswer(200, {}, hello.encode()), "hello.yaml:3")])
    >>> calls[0].model, str(calls[0].step), others
    ('openai:m', "say('Hello', ' there')", [])
    """
    calls: list[RecordedCall] = []
    others: list[OtherExchange] = []
    for exchange in exchanges:
        target = _target(exchange)
        if target is not None and target.kind == "embeddings":
            continue
        if target is None or target.kind != "model":
            why = "it goes to no provider that is known" if target is None else "it is no call of a model"
            others.append(OtherExchange(exchange, why))
            continue
        try:
            calls.append(_call(exchange, target))
        except BadBody as error:
            others.append(OtherExchange(exchange, str(error)))
    return calls, others


def read_vectors(exchanges: Iterable[Exchange]) -> tuple[dict[str, dict[str, list[float]]], list[OtherExchange]]:
    """Return the vector of each text by the name of its model, and the requests for embeddings that cannot be read.

    >>> answer = '{"data": [{"index": 0, "embedding": [0.25, -0.5]}]}'
    >>> asked = HttpRequest("POST", "https://api.openai.com/v1/embeddings", {}, b'{"model": "m", "input": "red shoes"}')
    >>> read_vectors([Exchange(asked, HttpAnswer(200, {}, answer.encode()), "shop.yaml:3")])
    ({'openai:m': {'red shoes': [0.25, -0.5]}}, [])
    """
    found: dict[str, dict[str, list[float]]] = {}
    others: list[OtherExchange] = []
    for exchange in exchanges:
        target = _target(exchange)
        if target is None or target.kind != "embeddings":
            continue
        api = api_of(target.api)
        assert isinstance(api, EmbeddingsApi)
        try:
            call = read(exchange.request, api)
            vectors = api.vectors_of(call, _decoded(exchange.answer))
        except BadBody as error:
            others.append(OtherExchange(exchange, str(error)))
            continue
        if isinstance(vectors, Fail):
            others.append(OtherExchange(exchange, f"it asks for embeddings, and failed with the status {exchange.answer.status}"))
            continue
        named = target.names_of(call.model)
        found.setdefault(named[0] if named else "*", {}).update(vectors)
    return found, others


def _target(exchange: Exchange) -> Target | None:
    return recognize(exchange.request.method, exchange.request.url)


def _call(exchange: Exchange, target: Target) -> RecordedCall:
    api = api_of(target.api)
    assert isinstance(api, Api)
    call: ModelCall = read(exchange.request, api)
    found = api.read_answer(_decoded(exchange.answer), call.model or target.model)
    called = target.names_of(call.model)
    return RecordedCall(called[0] if called else "", call, found.step, found.left_out, exchange.place)


# -- encodings


def _decoded(answer: HttpAnswer) -> HttpAnswer:
    """Return `answer` with a body that is not compressed. Some recorders keep the header of a body that they have decoded.

    Raises:
        BadBody: the body is compressed in a way that cannot be read here.
    """
    body, headers = answer.body, dict(answer.headers)
    for encoding in reversed(headers.pop("content-encoding", "").split(",")):
        decode = DECODERS.get(encoding.strip().lower())
        if decode is None:
            continue
        try:
            body = decode(body)
        except (OSError, EOFError, zlib.error, ValueError):
            if not _is_text(body):
                raise BadBody(f"the body is encoded with {encoding.strip()}; got bytes that are not: {body!r:.60}") from None
    return HttpAnswer(answer.status, headers, body)


def _decoded_if_possible(answer: HttpAnswer) -> HttpAnswer:
    try:
        return _decoded(answer)
    except BadBody:  # `read_calls` says so, if it is the answer of a model
        return answer


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _inflated(body: bytes) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error:
        return zlib.decompress(body, -zlib.MAX_WBITS)  # as some servers send it, without the header


def _brotli(body: bytes) -> bytes:
    if _is_text(body):
        return body
    try:
        import brotli  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise BadBody("the body is encoded with br, which needs the package `brotli`: pip install brotli") from None
    try:
        return bytes(brotli.decompress(body))
    except brotli.error as error:
        raise ValueError(str(error)) from None


def _zstd(body: bytes) -> bytes:
    if _is_text(body):
        return body
    try:
        import zstandard
    except ImportError:
        raise BadBody("the body is encoded with zstd, which needs the package `zstandard`: pip install zstandard") from None
    try:
        with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
            return bytes(reader.read())
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": _inflated,
    "br": _brotli,
    "zstd": _zstd,
}

# -- interactions, as both libraries write them


def _interactions(root: tuple[object, Sequence[int]], path: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the place and the value of each interaction; `root` is the file, and the lines where its interactions begin."""
    value, lines = root
    if not isinstance(value, dict) or not isinstance(value.get("interactions"), list):
        got = f"the keys {names(map(str, value))}" if isinstance(value, dict) else type(value).__name__
        raise _wrong(path, f"a cassette is a mapping with a list of `interactions`; got {got}")
    for number, item in enumerate(value["interactions"]):
        place = f"{path}:{lines[number]}" if lines else f"{path}, interaction {number + 1}"
        if not isinstance(item, dict):
            raise _wrong(place, f"an interaction is a mapping with `request` and `response`; got {clip(repr(item), 80)}")
        yield place, item


@dataclass(frozen=True, slots=True)
class _Interaction:
    """One interaction of a cassette, as plain values."""

    place: str
    value: Mapping[str, object]

    @property
    def recorded_at(self) -> str:
        return str(self.value.get("recorded_at") or "")

    def exchange(self) -> Exchange:
        request, response = self._mapping(self.value, "request"), self._mapping(self.value, "response")
        method, uri = request.get("method"), request.get("uri")
        if not isinstance(method, str) or not isinstance(uri, str):
            raise self.wrong(f"`request` has a `method` and a `uri`; got {clip(repr(method), 40)} and {clip(repr(uri), 80)}")
        asked = HttpRequest(method, uri, self._headers(request), self._body(request, "request"))
        answer = HttpAnswer(self._status(response), self._headers(response), self._body(response, "response"))
        return Exchange(asked, _decoded_if_possible(answer), self.place)

    def wrong(self, text: str) -> ScriptError:
        return _wrong(self.place, text)

    def _mapping(self, value: Mapping[str, object], key: str) -> Mapping[str, object]:
        found = value.get(key)
        if not isinstance(found, dict):
            raise self.wrong(f"an interaction has a mapping `{key}`; got {clip(repr(found), 80)}")
        return found

    def _status(self, response: Mapping[str, object]) -> int:
        status = response.get("status", response.get("status_code"))
        code = status.get("code") if isinstance(status, dict) else status
        if type(code) is not int:
            raise self.wrong(f"`status` of the response is a number; got {clip(repr(code), 80)}")
        return code

    def _headers(self, message: Mapping[str, object]) -> dict[str, str]:
        headers = message.get("headers") or {}
        if isinstance(headers, list):  # pairs, as older versions of vcrpy have them
            headers = {pair[0]: pair[1] for pair in headers if isinstance(pair, list) and len(pair) == 2}
        if not isinstance(headers, dict):
            raise self.wrong(f"`headers` are a mapping; got {clip(repr(headers), 80)}")
        return {_text(name).lower(): self._header(value) for name, value in headers.items()}

    def _header(self, value: object) -> str:
        return ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)

    def _body(self, message: Mapping[str, object], side: str) -> bytes:
        if "body_type" in message:  # cassetter's in TOML: JSON is a text
            kind = message["body_type"]
            return self._typed({"type": "text" if kind == "json" else kind, "content": message.get("body_content")}, side)
        body = message.get("body", message.get("content"))  # the latter in vcrpy's first cassettes of httpx
        if not isinstance(body, dict):
            return self._bytes(body, side)
        if "type" in body:
            return self._typed(body, side)
        if "base64_string" in body:
            return self._base64(body["base64_string"], side)
        if "string" in body:
            return self._bytes(body["string"], side)
        raise self.wrong(f"`body` of the {side} is a text, or has `string` or `type`; got the keys {names(map(str, body))}")

    def _bytes(self, body: object, side: str) -> bytes:
        if body is None or isinstance(body, (str, bytes)):
            return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body or b""
        if isinstance(body, list):  # what a program sent piece by piece
            return b"".join(self._bytes(piece, side) for piece in body)
        raise self.wrong(f"`body` of the {side} is a text; got {type(body).__name__} {clip(repr(body), 80)}")

    def _typed(self, body: Mapping[str, object], side: str) -> bytes:
        kind, content = body.get("type"), body.get("content")
        if kind == "json":
            return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if kind == "binary":
            try:
                return bytes.fromhex(str(content))
            except ValueError:
                raise self.wrong(f"`content` of the {side} is in hex; got {clip(repr(content), 80)}") from None
        if kind in ("text", "none"):
            return self._bytes(content, side)
        raise self.wrong(f"the `type` of a body is `json`, `text`, `binary` or `none`; got {clip(repr(kind), 40)}")

    def _base64(self, text: object, side: str) -> bytes:
        try:
            return base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            raise self.wrong(f"`base64_string` of the {side} is in base64; got {clip(repr(text), 80)}") from None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _wrong(place: str, text: str) -> ScriptError:
    return ScriptError(f"{shown_path(place)}: {text}")


# -- files


def _read_file(text: str, path: str) -> tuple[object, list[int]]:
    """Return the value of a file, and the lines of its interactions. Only TOML is known by its name: the other two have any."""
    if path.lower().endswith(".toml"):
        return _read_toml(text, path)
    return _read_json(text, path) if text.lstrip().startswith("{") else _read_yaml(text, path)


def _read_json(text: str, path: str) -> tuple[object, list[int]]:
    try:
        return json.loads(text), []
    except json.JSONDecodeError as error:
        raise _wrong(f"{path}:{error.lineno}", f"not JSON: {error.msg}") from None
    except RecursionError:
        raise _wrong(path, "the file is nested too deeply") from None


def _read_toml(text: str, path: str) -> tuple[object, list[int]]:
    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"not TOML: {error}") from None
    except RecursionError:
        raise _wrong(path, "the file is nested too deeply") from None


def _read_yaml(text: str, path: str) -> tuple[object, list[int]]:
    try:
        root = compose(text)
    except YamlError as error:
        evidence = "".join(f"\n  {line}" for line in error.evidence)
        raise _wrong(f"{path}:{error.line}", f"{error}{evidence}") from None
    if root is None:
        raise _wrong(f"{path}:1", "the file is empty; a cassette has the key `interactions`")
    lines = []
    if root.tag == f"{_YAML}map":
        found = [value for key, value in root.value if key.value == "interactions" and value.tag == f"{_YAML}seq"]
        lines = [item.line for value in found for item in value.value]
    return _Values(path).of(root), lines


_YAML: Final = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of YAML nodes: YAML's own types, and what vcrpy writes with tags of Python."""

    path: str

    def of(self, node: Node, inside: tuple[Node, ...] = ()) -> Any:
        if node in inside:
            raise self._wrong(node, "a value contains itself")
        inside = (*inside, node)
        tag = node.tag.removeprefix(_YAML)
        if tag == "map":
            return self._mapping(node, inside)
        if tag in ("seq", "python/tuple"):
            return [self.of(item, inside) for item in node.value]
        if tag == "python/object/new:_io.BytesIO":  # a request body that the program gave as a file
            state = self._field(node, "state", inside)
            return state[0] if isinstance(state, list) and state else b""
        if tag == "python/object/apply:builtins.iter":  # one that it gave piece by piece
            args = self._field(node, "args", inside)
            return args[0] if isinstance(args, list) and args else []
        return self._scalar(node, tag)

    def _mapping(self, node: Node, inside: tuple[Node, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise self._wrong(key, "a key is a text")
            found[key.value] = self.of(value, inside)
        if found.get("type") == "binary" and "content" in found:  # digits in hex are no number
            found["content"] = next(value.value for key, value in node.value if key.value == "content")
        return found

    def _field(self, node: Node, name: str, inside: tuple[Node, ...]) -> Any:
        if isinstance(node.value, str):
            raise self._wrong(node, f"the tag `!!{node.tag.removeprefix(_YAML)}` stands before a mapping")
        return next((self.of(pair[1], inside) for pair in node.value if isinstance(pair, tuple) and pair[0].value == name), None)

    def _scalar(self, node: Node, tag: str) -> Any:
        text = node.value
        try:
            if tag == "binary":
                return base64.b64decode("".join(text.split()), validate=True)
            if tag in ("str", "python/str", "python/unicode") and isinstance(text, str):
                return text
            if tag in ("int", "float"):
                return _number(tag, text)
            if tag == "bool":
                return text.lower() == "true"
            if tag == "null":
                return None
        except (ValueError, AttributeError, TypeError):
            raise self._wrong(node, f"a value with the tag `!!{tag}` cannot be read: {clip(repr(text), 80)}") from None
        shown = f"!!{tag}" if node.tag.startswith(_YAML) else tag
        raise self._wrong(node, f"the YAML tag `{shown}` is none that vcrpy or cassetter writes, and it may name code")

    def _wrong(self, node: Node, text: str) -> ScriptError:
        return _wrong(f"{self.path}:{node.line}", text)


def _number(tag: str, text: str) -> float:
    if len(text) > 300:
        raise ValueError(text)
    return float(text) if tag == "float" else int(text, 0) if text[:2] in ("0x", "0o") else int(text)
