"""Requests and answers in words that no HTTP library owns."""

from __future__ import annotations

from llmtest.wire.exchange import ConnectionBroken, HttpRequest, json_answer


def test_a_request_knows_the_parts_of_its_url() -> None:
    request = HttpRequest("POST", "https://API.OpenAI.com:8443/v1/models/a%3Ab?key=1&alt=sse&key=2", {}, b"{}")

    assert (request.host, request.port, request.path) == ("api.openai.com", 8443, "/v1/models/a%3Ab")
    assert request.query == {"key": "2", "alt": "sse"}


def test_a_url_without_a_host_has_none() -> None:
    request = HttpRequest("GET", "/v1/models", {})

    assert (request.host, request.port, request.path, request.query, request.body) == ("", None, "/v1/models", {}, b"")


def test_json_is_an_answer_with_its_type_and_more_headers() -> None:
    answer = json_answer({"text": "größer"}, 429, {"retry-after": "2"})

    assert (answer.status, answer.headers) == (429, {"content-type": "application/json", "retry-after": "2"})
    assert answer.body.decode("ascii") == '{"text": "gr\\u00f6\\u00dfer"}'
    assert answer.stream is None


def test_a_broken_connection_says_how() -> None:
    assert str(ConnectionBroken(TimeoutError("too late"))) == "too late"
