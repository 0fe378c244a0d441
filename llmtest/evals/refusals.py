"""Refusals: a provider says "not now". That is no answer, and no failed run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

REFUSED: Final = frozenset((429, 529))
"""Statuses with which a provider says it: too many requests, and Anthropic's "overloaded"."""
MAX_ASKED_S: Final = 600.0
"""Who asks to wait longer, as for a limit of the day, is not waited for."""


def is_refused(error: BaseException | None) -> bool:
    """True if an exception says that a provider takes no request now. The causes of the exception are looked at, too.

    OpenAI's and Anthropic's errors and `StatusError` (of `fail(429)`) have a `status_code`, Google's a `code`, httpx's and
    botocore's a `response`. A failed check is none, also where a program that was refused has gone on, and failed it. A group is
    one if each of its exceptions is: the others are crashes.
    """
    is_check = isinstance(error, AssertionError) or not isinstance(error, Exception | BaseExceptionGroup)
    return not is_check and _refusal(error, set()) is not None


def _refusal(error: BaseException | None, seen: set[int]) -> BaseException | None:
    """Return the exception of the chain that is a refusal; of several in a group, that which asks to wait longest."""
    todo = [error]
    while todo:
        this = todo.pop()
        if this is None or id(this) in seen:
            continue
        seen.add(id(this))
        if _status(this) in REFUSED:
            return this
        if isinstance(this, BaseExceptionGroup):
            found = [_refusal(member, {*seen}) for member in this.exceptions]
            refusals = [one for one in found if one is not None]
            return max(refusals, key=_asked_s) if len(refusals) == len(found) else None
        todo += [this.__cause__, this.__context__]
    return None


def _status(error: BaseException) -> object:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore's
        metadata = response.get("ResponseMetadata")
        return metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
    for holder, name in ((error, "status_code"), (response, "status_code"), (error, "code")):
        status = getattr(holder, name, None)
        if isinstance(status, int):
            return int(status)
    return None


def retry_after(error: BaseException | None, now: datetime | None = None) -> float:
    """Return how many seconds a refusal asks to wait, as its `Retry-After` says; 0 if it says nothing."""
    refusal = _refusal(error, set())
    return 0.0 if refusal is None else _asked_s(refusal, now)


def _asked_s(refusal: BaseException, now: datetime | None = None) -> float:
    own = getattr(refusal, "retry_after", None)
    headers = getattr(getattr(refusal, "response", None), "headers", None)
    said = own if isinstance(own, int | float) else headers.get("retry-after", "") if isinstance(headers, Mapping) else ""
    try:
        seconds = float(said)
    except ValueError:
        seconds = _until(str(said), now or datetime.now(UTC))
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _until(date: str, now: datetime) -> float:
    try:
        return (parsedate_to_datetime(date) - now).total_seconds()
    except (TypeError, ValueError):
        return 0.0
