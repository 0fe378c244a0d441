"""What real models answered while a test ran, as the steps of a script file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from uuid import UUID

from llmtest.errors import CassetteError
from llmtest.scripts.branches import branches
from llmtest.scripts.files import Entries
from llmtest.scripts.fingerprints import fingerprint
from llmtest.scripts.from_recording import without_random_ids
from llmtest.scripts.requests import Batch, KeyedSteps, Place, Request
from llmtest.scripts.step_types import Fail, Reply, Text
from llmtest.wire.api import Api, BadBody, ModelCall
from llmtest.wire.embeddings import EmbeddingsCall
from llmtest.wire.hearing import Heard

AreOrdered = Callable[[UUID, UUID], bool | None]
"""Returns whether the program orders two runs; None if that is not known."""


class NoStep(Protocol):
    """An answer that no step can say, and why."""

    @property
    def why(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False)
class LiveCall:
    """One call of a real model: what was asked, the step that answers so, and when it was, counted in calls.

    `left_out` is what no step can say of the answer, in words. `run_id` is the run of LangChain that made the call, `place` its
    place in a `batch`.
    """

    model: str
    request: Request
    step: Reply | Fail
    began: int
    ended: float
    run_id: UUID | None = None
    left_out: tuple[str, ...] = ()
    place: Place | None = None


class Recorder:
    """Hears the calls of real models, at the boundary or from classes. Holds state; thread-safe."""

    def __init__(self, *, keep_prompts: bool = False) -> None:
        self._heard: list[Heard] = []
        self._calls: list[LiveCall] = []
        self._unsaid: list[str] = []
        self._missed: dict[str, None] = {}
        self._lock = threading.Lock()
        self._keep_prompts = keep_prompts

    def hear(self, heard: Heard) -> None:
        """Take a request that goes out now."""
        with self._lock:
            self._heard.append(heard)

    def miss(self, request: str) -> None:
        """Note a request that went out, and is no call of a model that can be recorded."""
        with self._lock:
            self._missed[request] = None

    def note(self, name: str, request: Request, step: Reply | Fail | NoStep, number: int) -> None:
        """Take a call of a class of models that does not use HTTP: the name of the model, the answer, the number of its start."""
        run = request.run()
        run_id: UUID | None = None if run is None else run.run_id
        about, messages = (request.tags, request.metadata), request.messages  # the run is gone when the script is made
        asked = replace(request, read=lambda: messages, about=lambda: about, run=lambda: None)
        with self._lock:
            if isinstance(step, Reply | Fail):
                self._calls.append(LiveCall(name, asked, step, number, number, run_id))
            else:
                self._unsaid.append(f"call {number} of `{name}` {step.why}, which no step says")

    @property
    def has_heard(self) -> bool:
        """True if a request to a provider came, whether or not its answer can be kept."""
        return bool(self._heard or self._calls or self._unsaid or self._missed)

    def __len__(self) -> int:
        return len(self._heard) + len(self._calls)

    def calls(self) -> list[LiveCall]:
        """Return the calls so far, in the order in which they began.

        Raises:
            CassetteError: an answer cannot be read.
        """
        if self._unsaid:
            raise CassetteError("\n".join([f"{self._unsaid[0]}, so that nothing was recorded", *self._unsaid[1:]]))
        heard = [_read(one) for one in self._heard if isinstance(one.call, ModelCall)]
        return sorted([*heard, *self._calls], key=lambda call: call.began)

    def entries(self, recorded: str, are_ordered: AreOrdered) -> tuple[dict[str, Entries], list[str]]:
        """Return the entries of each model, and what they cannot say or tell apart, in words.

        Raises:
            CassetteError: an answer cannot be read.
        """
        by_model: dict[str, list[LiveCall]] = {}
        for call in self.calls():
            known = fingerprint(call.request, recorded=recorded, keep=self._keep_prompts)
            step = replace(call.step, serving=replace(call.step.serving, request=known))
            by_model.setdefault(call.model, []).append(replace(call, step=step))
        notes = [
            f"the answer to {request} is not kept: it is no call of a model that can be recorded" for request in self._missed
        ]
        found = {model: _entries(model, calls, are_ordered, notes) for model, calls in by_model.items()}
        return found, notes

    def vectors(self) -> dict[str, dict[str, Sequence[float]]]:
        """Return the vector of each text, by the name of the model.

        Raises:
            CassetteError: an answer cannot be read.
        """
        found: dict[str, dict[str, Sequence[float]]] = {}
        for heard in self._heard:
            if not isinstance(heard.call, ModelCall) and heard.status < 400 and heard.error is None:
                call: EmbeddingsCall = heard.call
                try:
                    vectors = heard.api.vectors_of(call, heard.answer)  # type: ignore[attr-defined]
                except BadBody as error:
                    raise _unreadable(heard, error) from None
                assert not isinstance(vectors, Fail)  # its status is below 400
                found.setdefault(heard.model, {}).update(vectors)
        return found


def _read(heard: Heard) -> LiveCall:
    call: ModelCall = heard.call
    about = heard.tags, heard.metadata
    request = Request(call.tools, lambda: call.messages, call.tool_choice, call.stop, call.params, lambda: about, over_http=True)
    step, left_out = _answer(heard, call)
    if isinstance(step, Reply):
        step = without_random_ids(step)
    ended = float("inf") if heard.ended is None else heard.ended
    return LiveCall(heard.model, request, step, heard.began, ended, heard.run_id, left_out, heard.origin.place)


def _answer(heard: Heard, call: ModelCall) -> tuple[Reply | Fail, tuple[str, ...]]:
    broken = None if heard.error is None else _broken(heard.error)
    if not heard.status:
        return broken or _NO_ANSWER, ()
    api: Api = heard.api  # type: ignore[assignment]  # a call of a model is of an API for models
    try:
        read = api.read_answer(heard.answer, call.model)
    except BadBody as error:
        if broken is not None or not heard.is_whole:  # it broke, or the program left it, before it said anything
            return broken or _NO_ANSWER, ()
        raise _unreadable(heard, error) from None
    step = read.step
    if isinstance(step, Reply) and step.truncated and broken is not None:
        step = replace(step, truncated=False, failure=broken)
    elif isinstance(step, Reply) and step.truncated and not heard.is_whole:
        step = step.then_wait()
    return step, read.left_out  # an SDK may leave a stream at its end mark, before the connection ends


_NO_ANSWER: Final = Reply((Text(()),)).then_wait().optional()
"""For a call that the program left before its answer came: what the provider would have said is not known.

It is optional, because another time the program may leave the call before its request goes out.
"""


def _broken(error: Exception) -> Fail:
    is_timeout = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    return Fail("TimeoutError" if is_timeout else "ConnectionError", None, str(error) or None)


def _unreadable(heard: Heard, error: BadBody) -> CassetteError:
    url = heard.request.url.partition("?")[0]
    return CassetteError(f"the answer of `{heard.model}` cannot be recorded, because it cannot be read\n  {error}\n  url  {url}")


def _in_batches(calls: Sequence[LiveCall]) -> tuple[list[LiveCall], dict[int, Batch]]:
    """Return calls with those of one batch in the order of its inputs, and the batch of each by the identity of the call.

    An input takes the step of its position when the test runs again, so a batch needs no keys. Which of several calls of an
    input, after a failure, comes when is luck: such a batch counts as any calls at the same time.
    """
    places: dict[Batch, list[int]] = {}
    for number, call in enumerate(calls):
        if call.place is not None:
            places.setdefault(call.place.batch, []).append(number)
    found, batches = list(calls), {}
    for batch, numbers in places.items():
        by_position = {call.place.position: call for number in numbers if (call := calls[number]).place is not None}
        if len(by_position) == len(numbers):
            for number, (_, call) in zip(numbers, sorted(by_position.items()), strict=True):
                found[number], batches[id(call)] = call, batch
    return found, batches


def _entries(model: str, calls: Sequence[LiveCall], are_ordered: AreOrdered, notes: list[str]) -> Entries:
    calls, batches = _in_batches(calls)

    def ordered(a: LiveCall, b: LiveCall) -> bool:
        if id(a) in batches and batches[id(a)] is batches.get(id(b)):
            return True
        known = are_ordered(a.run_id, b.run_id) if a.run_id is not None and b.run_id is not None else None
        return a.ended < b.began if known is None else known  # without runs, only an overlap is seen

    found, problems = branches(calls, ordered)
    notes += [f"`{model}`: {problem}" for problem in problems]
    for number, call in enumerate(calls, 1):
        notes += [f"`{model}`, call {number}: the answer had {what}, which no step says" for what in call.left_out]
    entries: list[Any] = []
    for branch in found:
        steps = tuple(call.step for call in branch.calls)
        entries += steps if branch.key is None else [KeyedSteps(branch.key, steps)]
    return tuple(entries)


def joined(before: Entries, more: Entries) -> Entries:
    """Return the entries of a model with more of them: steps of one key stand together."""
    found: list[Any] = list(before)
    for entry in more:
        place = next((at for at, one in enumerate(found) if _same_key(one, entry)), None)
        if place is None:
            found.append(entry)
        else:
            found[place] = replace(found[place], steps=(*found[place].steps, *entry.steps))  # type: ignore[union-attr]
    return tuple(found)


def _same_key(one: object, other: object) -> bool:
    return isinstance(one, KeyedSteps) and isinstance(other, KeyedSteps) and one.key == other.key


NO_ORDER: Final[AreOrdered] = lambda a, b: None  # noqa: E731
"""For calls of which no run was recorded."""
