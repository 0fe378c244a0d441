"""Batches of doubles: the first input takes the first step, whichever thread or task is first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from llmtest.concurrency import lanes
from llmtest.scripts.requests import Batch, Place

Configs = RunnableConfig | list[RunnableConfig] | None


_place: ContextVar[Place | None] = ContextVar("llmtest_batch_place", default=None)


def place_of(double: object) -> Place | None:
    """Return the place of the call of this context in a batch of `double`; None if it is no input of one."""
    place = _place.get()
    # Within one input, only its first call has the place; calls of other doubles have none.
    return place if place is not None and place.double is double and not place.taken.done() else None


class _ByPosition(Runnable[int, Any]):
    """The double of a batch, called with the positions of the inputs."""

    def __init__(self, double: Any, inputs: Sequence[Any]) -> None:
        self._double = double
        self._inputs = inputs
        self._places: list[Place] = []
        self._batch = Batch(lanes.current())
        self._done: list[int] = []
        for _ in inputs:
            self._places.append(Place(double, self._batch, self._places[-1] if self._places else None))

    @contextmanager
    def _at(self, position: int) -> Iterator[Any]:
        token = _place.set(self._places[position])
        try:
            yield self._inputs[position]
        finally:
            _place.reset(token)
            self._places[position].pass_on()  # a cached answer takes no step
            self._done.append(position)
            # A list, because `append` is atomic and `+=` of a number is not.
            self._batch.is_over = len(self._done) == len(self._inputs)

    def invoke(self, input: int, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with self._at(input) as value:
            return self._double.invoke(value, config, **kwargs)

    async def ainvoke(self, input: int, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with self._at(input) as value:
            return await self._double.ainvoke(value, config, **kwargs)


class BatchesByPosition:
    """The batch methods of a double. LangChain runs the inputs in threads or tasks, whose order is luck."""

    # LangChain's own method runs, with numbers as inputs: so its threads, configs and errors stay as they are.
    def batch(self, inputs: list[Any], config: Configs = None, *, return_exceptions: bool = False, **kwargs: object) -> list[Any]:
        """As LangChain's own; each input takes the step of its position."""
        positions = list(range(len(inputs)))
        return _ByPosition(self, inputs).batch(positions, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self, inputs: list[Any], config: Configs = None, *, return_exceptions: bool = False, **kwargs: object
    ) -> list[Any]:
        """As LangChain's own; each input takes the step of its position."""
        positions = list(range(len(inputs)))
        return await _ByPosition(self, inputs).abatch(positions, config, return_exceptions=return_exceptions, **kwargs)

    def batch_as_completed(
        self, inputs: Sequence[Any], config: object = None, *, return_exceptions: bool = False, **kwargs: object
    ) -> Iterator[tuple[int, Any]]:
        """As LangChain's own; each input takes the step of its position."""
        positions = list(range(len(inputs)))
        by_position: Any = _ByPosition(self, inputs)  # LangChain's overloads want a literal flag
        pairs: Iterator[tuple[int, object]] = by_position.batch_as_completed(
            positions, config, return_exceptions=return_exceptions, **kwargs
        )
        return pairs

    def abatch_as_completed(
        self, inputs: Sequence[Any], config: object = None, *, return_exceptions: bool = False, **kwargs: object
    ) -> AsyncIterator[tuple[int, Any]]:
        """As LangChain's own; each input takes the step of its position."""
        positions = list(range(len(inputs)))
        by_position: Any = _ByPosition(self, inputs)
        pairs: AsyncIterator[tuple[int, object]] = by_position.abatch_as_completed(
            positions, config, return_exceptions=return_exceptions, **kwargs
        )
        return pairs
