"""Read the token usage that a provider or LangChain reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import log
from typing import Any, Final, NamedTuple

from llmtest.events.content import pieces_of
from llmtest.events.words import EMPTY, FrozenDict, Generation, Message, Usage


class ChunkUsage(NamedTuple):
    """The usage that one chunk of a stream reported, and about how many tokens its own text has."""

    usage: Usage
    tokens: int


def read_chunk(payload: Mapping[str, object]) -> ChunkUsage | None:
    """Return the usage in the payload of a token event; None if its chunk reported none."""
    usage = payload.get("usage")
    if not isinstance(usage, Usage):
        return None
    return ChunkUsage(usage, sum(len(_WORD.findall(piece.text or "")) for piece in pieces_of(payload)))


def read_message_finish(payload: Mapping[str, object]) -> Usage | None:
    """Return the usage in the payload of a stream event that finishes a message; None for any other event."""
    event = payload.get("event")
    return read_usage(event.get("usage")) if isinstance(event, Mapping) and event.get("event") == "message-finish" else None


def usage_of(end: Mapping[str, object], streamed: Sequence[ChunkUsage] = (), *, batched: bool = False) -> Usage | None:
    """Return the usage that a model reported in `end`, the payload of its run's last event; None if it reported nothing.

    `batched` is for one of several prompts that went to a text model together: the first one reports the tokens of all.
    """
    usages = [message.usage for message in answers(end) if message.usage is not None]
    end = response_of(end)
    if not usages:
        return _usage_of_text_model(end, batched)
    total = sum(usages[1:], usages[0])
    if len(usages) > 1:
        return _usage_of_candidates(usages[0], total, _usage_of_text_model(end, batched))
    return usage_of_stream(total, streamed)


def usage_of_stream(total: Usage, streamed: Sequence[ChunkUsage]) -> Usage:
    """Return the usage of a streamed answer; `total` is LangChain's sum over the chunks that reported usage.

    A server that repeats the prompt in each chunk would come out as a multiple
    (https://github.com/langchain-ai/langchain/issues/30429): the prompt is counted once. Such a server counts the answer
    from its beginning in each chunk, or only the tokens of that chunk. Both may look the same (1, 1, 1), so the text of the
    chunks decides: the count that is nearer to its length.
    """
    usages = [chunk.usage for chunk in streamed]
    if len(usages) < 2 or _counts(sum(usages[1:], usages[0])) != _counts(total) or not _repeats_the_prompt(usages):
        return total
    last, tokens = usages[-1], sum(chunk.tokens for chunk in streamed)
    grows = all(a.output_tokens <= b.output_tokens for a, b in pairwise(usages))
    if grows and _distance(last.output_tokens, tokens) <= _distance(total.output_tokens, tokens):
        return last
    return replace(
        total,
        input_tokens=last.input_tokens,
        total_tokens=last.input_tokens + total.output_tokens,
        input_details=last.input_details,
    )


def _repeats_the_prompt(usages: Sequence[Usage]) -> bool:
    return all(0 < a.input_tokens <= b.input_tokens for a, b in pairwise(usages))


def _distance(count: int, tokens: int) -> float:
    return abs(log((count + 1) / (tokens + 1)))


def is_cached(end: Mapping[str, object]) -> bool:
    """True if `end`, the payload of a model run's last event, has an answer from LangChain's cache."""
    return end.get("cached") is not False and any(message.cached for message in answers(end))


def answers(end: Mapping[str, object]) -> list[Message]:
    """Return the messages of `end`, the payload of a model run's last event. A program may end a run with any object."""
    found = (g.message for g in response_of(end).get("generations", ()) if isinstance(g, Generation))
    return [message for message in found if isinstance(message, Message)]


def response_of(end: Mapping[str, object]) -> Mapping[str, Any]:
    """Return the mapping with the generations: the payload itself, or the partial `response` of a failed run."""
    response = end.get("response")
    return response if isinstance(response, Mapping) else end


def _counts(usage: Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.total_tokens


def _usage_of_candidates(first: Usage, total: Usage, whole: Usage | None) -> Usage:
    """Some integrations put the usage of the whole call on each candidate; the usage of the call decides."""
    if whole is None:
        return total
    return next((usage for usage in (first, total) if _counts(usage) == _counts(whole)), whole)


def _usage_of_text_model(payload: Mapping[str, Any], batched: bool) -> Usage | None:
    """Text models report usage in `llm_output`, or in the last generation's info when they stream."""
    for source in (payload.get("llm_output"), *(getattr(g, "info", None) for g in payload.get("generations", ()))):
        counts = source.get("token_usage", source.get("usage")) if isinstance(source, Mapping) else None
        usage = read_usage(counts)
        if usage is not None:
            return usage
        if batched and counts is not None:
            return Usage()
    return None


def read_usage(counts: object) -> Usage | None:
    """Return token counts in the words of LangChain, OpenAI or Anthropic as a `Usage`, or None if there are none.

    Providers leave counts out, or send None, which does not count. The cost that LangChain's cache adds is no usage.
    """
    if not isinstance(counts, Mapping) or not counts or counts.keys() == {"total_cost"}:
        return None
    into = _count(counts, "input_tokens", "prompt_tokens")
    out = _count(counts, "output_tokens", "completion_tokens")
    cache_read = _count(counts.get("prompt_tokens_details"), "cached_tokens")
    reasoning = _count(counts.get("completion_tokens_details"), "reasoning_tokens")
    return Usage(
        into,
        out,
        _count(counts, "total_tokens") or into + out,
        _numbers(counts.get("input_token_details")) or (FrozenDict(cache_read=cache_read) if cache_read else EMPTY),
        _numbers(counts.get("output_token_details")) or (FrozenDict(reasoning=reasoning) if reasoning else EMPTY),
    )


def _count(counts: object, *names: str) -> Any:
    found = (counts.get(name) for name in names) if isinstance(counts, Mapping) else ()
    return next((count for count in found if count and isinstance(count, int | float)), 0)


def _numbers(value: object) -> FrozenDict:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return FrozenDict({name: number for name, number in pairs if isinstance(number, int | float)})


def read_model_name(*sources: object) -> str | None:
    """Return the first name of a model that is in `sources`: metadata of a start, parameters of a call, or of an answer."""
    # Loops, because it runs at each start and end of a call that is counted. Nearly all sources are dicts, and to ask an
    # abstract class takes five times as long.
    for source in sources:
        if isinstance(source, dict) or isinstance(source, Mapping):  # noqa: SIM101
            for key in _MODEL_NAMES:
                name = source.get(key)
                if isinstance(name, str) and name:
                    return name
    return None


_WORD: Final = re.compile(r"[A-Za-z0-9_\u00c0-\u024f\u0370-\u052f]+|\S")  # of other scripts, each character is about a token
_MODEL_NAMES: Final = ("ls_model_name", "model_name", "model")
