"""Runs of LangSmith and observations of Langfuse, as their APIs and their exports have them, as spans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from llmtest.core.text import clip
from llmtest.errors import OtelError
from llmtest.otel import conventions as names
from llmtest.otel.conventions import Langfuse, LangSmith, Own
from llmtest.otel.spans import Span, Status, span_id_of, trace_id_of


def is_run(found: object) -> bool:
    """True if plain JSON is a run of LangSmith."""
    return isinstance(found, Mapping) and "run_type" in found


def is_observation(found: object) -> bool:
    """True if plain JSON is an observation of Langfuse, or a trace of it with its observations."""
    if not isinstance(found, Mapping):
        return False
    return isinstance(found.get("observations"), list) or ("traceId" in found and "startTime" in found and "type" in found)


def spans_of(objects: Iterable[object], where: str) -> Iterator[Span]:
    """Yield the spans of an export: runs, or observations, or lists of them under `data` or `runs`.

    Raises:
        OtelError: an object is neither, or says too little to be a run; the message has its number.
    """
    for number, found in enumerate(_flat(objects), 1):
        try:
            if is_run(found):
                yield _of_run(found)
            elif is_observation(found) and "observations" in found:
                yield from _of_trace(found)
            elif is_observation(found):
                yield _of_observation(found, str(found["traceId"]), {})
            else:
                raise TypeError("it is neither a run of LangSmith nor an observation of Langfuse")
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
            raise OtelError(f"{where}, object {number:,}: {type(error).__name__}: {clip(str(error), 160)}") from None


def _flat(objects: Iterable[object]) -> Iterator[Any]:
    for found in objects:
        inner = (
            next((found[key] for key in ("data", "runs") if isinstance(found.get(key), list)), None)
            if isinstance(found, Mapping)
            else found
        )
        if isinstance(inner, list):
            yield from _flat(inner)
        else:
            yield found
            yield from _flat(found.get("child_runs") or ()) if isinstance(found, Mapping) else ()


def _time(value: object) -> int:
    """Return nanoseconds since 1970 of a time as text or in (milli)seconds; 0 if there is none."""
    if value is None:
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value * (1_000_000 if value > 1e11 else 1_000_000_000))
    moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _json(value: object) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- LangSmith


def _of_run(run: Mapping[str, Any]) -> Span:
    run_id = UUID(str(run["id"]))
    root = UUID(str(run.get("trace_id") or run_id))
    parent = run.get("parent_run_id")
    extra = run.get("extra") or {}
    metadata = dict(extra.get("metadata") or {})
    usage = metadata.pop("usage_metadata", None) or {}
    kind = LangSmith.KINDS.get(str(run["run_type"]), "chain")
    inputs, error = run.get("inputs") or {}, run.get("error")
    kind = "llm" if kind == "chat" and "prompts" in inputs else kind
    end = _time(run.get("end_time"))
    told = {
        Own.RUN_ID: str(run_id),
        Own.RUN_KIND: kind,
        Own.RUN_NAME: str(run.get("name") or run["run_type"]),
        Own.ENDED: None if end or error else "open",
        LangSmith.KIND: str(run["run_type"]),
        LangSmith.INPUTS: _json(inputs),
        LangSmith.OUTPUTS: _json(run.get("outputs")),
        LangSmith.TAGS: run.get("tags") or None,
        Own.METADATA: _json(metadata) if metadata else None,
        names.REQUEST_MODEL: metadata.get("ls_model_name"),
        names.PROVIDER: metadata.get("ls_provider"),
        names.TOOL_DEFINITIONS: _json((extra.get("invocation_params") or {}).get("tools")),
        names.INPUT_TOKENS: run.get("prompt_tokens") or usage.get("input_tokens"),
        names.OUTPUT_TOKENS: run.get("completion_tokens") or usage.get("output_tokens"),
    }
    return Span(
        trace_id_of(root),
        span_id_of(run_id),
        span_id_of(UUID(str(parent))) if parent is not None else None,
        str(run.get("name") or run["run_type"]),
        _time(run["start_time"]),
        end or (_time(run["start_time"]) if error else 0),
        attributes={key: value for key, value in told.items() if value is not None},
        status="error" if error else "unset",
        message=str(error or "").strip(),
        scope="langsmith",
    )


# -- Langfuse


def _of_trace(trace: Mapping[str, Any]) -> Iterator[Span]:
    about = {Langfuse.SESSION: trace.get("sessionId"), Langfuse.TAGS: trace.get("tags") or None}
    for observation in trace["observations"]:
        yield _of_observation(observation, str(observation.get("traceId") or trace["id"]), about)


def _of_observation(found: Mapping[str, Any], trace: str, about: Mapping[str, Any]) -> Span:
    parent = found.get("parentObservationId")
    failed = found.get("level") == "ERROR"
    status: Status = "error" if failed else "unset"
    end = _time(found.get("endTime"))
    told = {
        **(about if parent is None else {}),
        Langfuse.TYPE: str(found["type"]).lower(),
        Langfuse.INPUT: _json(found.get("input")),
        Langfuse.OUTPUT: _json(found.get("output")),
        Langfuse.MODEL: found.get("model") or found.get("providedModelName"),
        Langfuse.PARAMETERS: _json(found.get("modelParameters")),
        Langfuse.USAGE: _json(found.get("usageDetails") or found.get("usage") or None),
        Langfuse.METADATA: _json(found.get("metadata") or None),
        Own.ENDED: None if end else "open",
    }
    return Span(
        _hex(trace, 16),
        _hex(str(found["id"]), 8),
        _hex(str(parent), 8) if parent is not None else None,
        str(found.get("name") or found["type"]),
        _time(found["startTime"]),
        end,
        attributes={key: value for key, value in told.items() if value is not None},
        status=status,
        message=str(found.get("statusMessage") or ""),
        scope="langfuse",
    )


_HEX: Final = frozenset("0123456789abcdef")


def _hex(value: str, size: int) -> str:
    """Return an id of OpenTelemetry as it is, and another one as a digest of it: Langfuse takes any text."""
    plain = value.replace("-", "").lower()
    return plain if len(plain) == 2 * size and set(plain) <= _HEX else blake2b(value.encode(), digest_size=size).hexdigest()
