"""Refusals of providers, which are no failed runs; and failed runs, which are no refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from llmtest import ScriptedChatModel, fail
from llmtest.errors import StatusError
from llmtest.evals.refusals import is_refused, retry_after


def with_header(value: str) -> Exception:
    error = RuntimeError("refused")
    error.response = SimpleNamespace(status_code=429, headers={"retry-after": value})  # type: ignore[attr-defined]
    return error


def wrapped(error: Exception) -> Exception:
    outer = RuntimeError("the agent failed")
    outer.__cause__ = error
    return outer


def google() -> Exception:
    error = RuntimeError("RESOURCE_EXHAUSTED")
    error.code = 429  # type: ignore[attr-defined]
    return error


def botocore(status: int) -> Exception:
    error = RuntimeError("ThrottlingException")
    error.response = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


BUSY = StatusError(429, 2)


@pytest.mark.parametrize(
    ("error", "refused", "after"),
    [
        (None, False, 0),
        (ValueError("429"), False, 0),
        (StatusError(500), False, 0),
        (StatusError(429), True, 0),
        (StatusError(529), True, 0),
        (StatusError(429, 7), True, 7),
        (with_header("3.5"), True, 3.5),
        (with_header("-3"), True, 0),
        (with_header("Tue, 01 Dec 2026 09:42:23 GMT"), True, 23),
        (with_header("Tue, 01 Dec 2020 09:42:23 GMT"), True, 0),
        (with_header("soon"), True, 0),
        (with_header("nan"), True, 0),
        (with_header("1e999"), True, 0),
        (google(), True, 0),
        (wrapped(StatusError(429, 2)), True, 2),
        (ExceptionGroup("all", [wrapped(BUSY), wrapped(BUSY), StatusError(529, 9)]), True, 9),
        (wrapped(ExceptionGroup("all", [StatusError(429, 2)])), True, 2),
        # The program crashed, too.
        (ExceptionGroup("all", [ValueError(), StatusError(429, 2)]), False, 0),
        (ExceptionGroup("all", [ExceptionGroup("some", [ValueError()]), StatusError(429, 2)]), False, 0),
        (botocore(429), True, 0),
        (botocore(400), False, 0),
    ],
)
def test_a_refusal_is_known_by_its_status(error: BaseException | None, refused: bool, after: float) -> None:
    assert is_refused(error) is refused
    assert retry_after(error, datetime(2026, 12, 1, 9, 42, tzinfo=UTC)) == after


def _response(status: int, **headers: str) -> Any:
    httpx = pytest.importorskip("httpx")
    return httpx.Response(status, headers=headers, request=httpx.Request("POST", "https://api.example.com"))


@pytest.mark.parametrize("library", ["openai", "anthropic", "httpx", "google.genai", "llmtest"])
def test_the_refusal_of_each_library_is_known(library: str) -> None:
    if library == "llmtest":
        with pytest.raises(Exception, match="429") as caught:
            ScriptedChatModel(fail(429)).invoke("hi")
        error: BaseException = caught.value
    elif library == "httpx":
        httpx = pytest.importorskip("httpx")
        error = httpx.HTTPStatusError("429", request=_response(429).request, response=_response(429, **{"retry-after": "4"}))
    elif library == "google.genai":
        errors = pytest.importorskip("google.genai.errors")
        error = errors.ClientError(429, {"error": {"message": "no", "status": "RESOURCE_EXHAUSTED"}})
    else:
        module = pytest.importorskip(library)
        error = module.RateLimitError("no", response=_response(429, **{"retry-after": "4"}), body=None)

    assert is_refused(error)
    assert retry_after(error) == (4 if library in ("openai", "anthropic", "httpx") else 0)


def test_a_check_that_fails_after_a_refusal_is_a_failed_run() -> None:
    """A program that goes on without the model, and goes on wrong, has failed."""
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        try:
            raise BUSY
        except StatusError:
            pytest.fail("the fallback says nothing")
    assert not is_refused(caught.value)

    with pytest.raises(AssertionError) as caught:
        try:
            raise BUSY
        except StatusError:
            assert "Paris" in "I cannot say."
    assert not is_refused(caught.value)


def test_a_program_that_wraps_a_refusal_is_refused() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise BUSY
        except StatusError:
            raise RuntimeError("the agent failed")  # noqa: B904

    assert is_refused(caught.value)
