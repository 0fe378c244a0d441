"""A script answers the same through the real integration, over its own HTTP client, as through the double of that dialect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from llmtest import Script, ScriptedChatModel, fail
from tests.support.dialect_cases import CASES, NAMES, STATUSES, WAYS, bound
from tests.support.heard import heard, heard_in_v3
from tests.support.wire_clients import chat_model

ALL = [(dialect, name) for dialect, cases in CASES.items() for name in cases]


def _ways() -> Iterator[Any]:
    for dialect, name in ALL:
        whole = CASES[dialect][name].whole
        yield from ((dialect, name, way) for way in WAYS if whole or way.endswith("stream"))


def _double(dialect: str, name: str, **fields: Any) -> Any:
    case = CASES[dialect][name]
    return bound(ScriptedChatModel(case.step(), dialect=dialect, model_name=NAMES[dialect], **fields), case)


def _real(dialect: str, name: str, **fields: Any) -> Any:
    case = CASES[dialect][name]
    return bound(chat_model(dialect, Script(case.step()), NAMES[dialect], **fields)[0], case)


@pytest.mark.parametrize(("dialect", "name", "way"), list(_ways()))
def test_an_answer_is_the_one_of_the_dialect(dialect: str, name: str, way: str) -> None:
    assert heard(_real(dialect, name), way) == heard(_double(dialect, name), way)


@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_invoke_with_streaming_on_is_the_same_too(dialect: str, name: str) -> None:
    assert heard(_real(dialect, name, streaming=True), "invoke") == heard(_double(dialect, name, streaming=True), "invoke")


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_the_events_of_version_3_are_the_same_too(dialect: str, name: str, way: str) -> None:
    assert heard_in_v3(_real(dialect, name), way) == heard_in_v3(_double(dialect, name), way)


FAILING = [(dialect, status) for dialect, statuses in STATUSES.items() for status in (*statuses, 401, 403, 404, 413, 422)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dialect", "status"), FAILING)
def test_an_error_is_the_one_of_the_dialect(dialect: str, status: int, way: str) -> None:
    step = replace(fail(status, retry_after=2), message="No, not now.")
    real, transport = chat_model(dialect, Script(step), NAMES[dialect])

    assert _without_header(heard(real, way)) == heard(ScriptedChatModel(step, dialect=dialect, model_name=NAMES[dialect]), way)
    assert len(transport.requests) == 1


def _without_header(told: Any) -> Any:
    """Return `told` without the one header with which the wire differs: it lets a client of the test try again at once."""
    if isinstance(told, list):
        return [_without_header(item) for item in told]
    if not isinstance(told, dict):
        return told
    if "headers" in told:
        assert told["headers"]["retry-after-ms"] == "1"
    return {key: _without_header(value) for key, value in told.items() if key != "retry-after-ms"}
