"""Scripts: which step answers which model call.

standard library only (jsonschema-rs inside the check of a tool call, PyYAML inside `Script.load` and `Script.dump`).
A `Script` is the only thing that speaks; the doubles in `llmtest.langchain` are mouths for it, and nothing here knows
LangChain.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmtest import ledger
from llmtest.core.source import caller, shown_path
from llmtest.core.text import amount
from llmtest.errors import ScriptError, Violation, ViolationError
from llmtest.scripts import diagnostics, tool_checks
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import KeyedSteps, On, Request, StepGroup
from llmtest.scripts.step_types import Reply, ScriptOwner, Step, behind
from llmtest.scripts.steps import as_step


class _Queue:
    """Steps that are served one after the other. Holds state; the script's lock guards it."""

    __slots__ = ("first", "index", "key", "served", "steps")

    def __init__(self, key: On | None, steps: Sequence[Step], first: int) -> None:
        self.key = key
        self.steps = tuple(steps)
        self.first = first
        self.index = 0
        self.served = 0

    @property
    def number(self) -> int:
        """The number of the current step in the script."""
        return self.first + self.index

    def current(self) -> Step | None:
        return self.steps[self.index] if self.index < len(self.steps) else None

    def take(self) -> None:
        """The current step is served once more."""
        self.served += 1
        if self.served == self.steps[self.index].serving.times:
            self.index, self.served = self.index + 1, 0

    def numbered(self) -> list[tuple[int, Step]]:
        """The steps with their numbers in the script."""
        return list(enumerate(self.steps, self.first))

    def left(self) -> list[tuple[int, Step]]:
        """The steps that were owed a call and got none, with their numbers."""
        rest = self.numbered()[self.index :]
        if rest and self.served and self.steps[self.index].serving.times is None:
            rest = rest[1:]
        return [(number, step) for number, step in rest if not step.serving.optional]


class _Claim(NamedTuple):
    """A step that was taken by a run that may still be open."""

    request: Request
    call: int
    number: int
    step: Step


# -- the script


class Script(StepGroup):
    """Steps that answer model calls in order: one step, one call.

    A step is what `say`, `think`, `call`, `structured`, `reply`, `fail` and `respond` return; or a plain str, an
    `AIMessage` or an exception. `on(...) >> step` keeps steps for the calls that match. A script is shared by reference:
    every copy of a model, every `bind`, every thread takes steps from the same one, each step exactly once.

    What must not happen is a violation: a call for which no step is left, a tool call that the bound tools do not allow,
    a prompt that is not as the step expects, a call that two keys match, two open runs that compete for steps in order;
    and a step that no call has asked for by the end of the test (`verify()` outside pytest).

    Between two steps may stand a gate, which `hold` makes: the call that the next step answers waits there.

    Thread-safe: claiming a step is one locked act; nothing is called while the lock is held.

    Raises:
        ScriptError: a step is not a step; the message has its number and what was given.

    >>> from llmtest import Script, ScriptedChatModel, say
    >>> model = ScriptedChatModel(script=Script(say("It is ", "sunny."), "Goodbye."))
    >>> model.invoke("weather?").content, model.invoke("thanks").content
    ('It is sunny.', 'Goodbye.')

    Steps are never repeated or skipped on their own: `.times(n)`, `.repeat()` and `.optional()` ask for it.
    """

    owner = ScriptOwner()

    def __init__(self, *steps: Any) -> None:
        self.violations: list[Violation] = []
        self._calls = 0
        self._claims: list[_Claim] = []
        self._lock = threading.Lock()
        self._queues = _queues(steps, caller())
        self._plain = self._queues[0] if len(self._queues) == 1 and self._queues[0].key is None else None
        ledger.made(self)

    def __copy__(self) -> Script:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Script:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Script cannot be pickled: the copy would hand out the same steps again."
            " Dump it to a file with script.dump(path), and load that where it is needed"
        )

    def __repr__(self) -> str:
        return f"<Script: {amount(self._calls, 'call')}, {self.remaining} of {amount(len(self.steps), 'step')} left>"

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in the order in which they were written."""
        return tuple(step for queue in self._queues for step in queue.steps)

    @property
    def entries(self) -> tuple[KeyedSteps | Step, ...]:
        """What the script was made of: steps, and keys with theirs."""
        made: list[KeyedSteps | Step] = []
        for queue in self._queues:
            made.extend(queue.steps if queue.key is None else [KeyedSteps(queue.key, queue.steps)])
        return tuple(made)

    @property
    def remaining(self) -> int:
        """How many steps are owed a call that has not come yet."""
        return sum(len(queue.left()) for queue in self._queues)

    def hand_over(self, key: On, where: str) -> tuple[Step, ...]:
        """Give the steps to `key`: what `key >> script` does. This script owes no calls then.

        Raises:
            ScriptError: the script has keys of its own.
        """
        if any(queue.key is not None for queue in self._queues):
            raise ScriptError(f"{key} >> Script(...) takes a script without keys of its own at {shown_path(where)}")
        self.adopted()
        return self.steps

    def adopted(self) -> None:
        """Another script has taken over the steps: this one owes no calls any more."""
        for queue in self._queues:
            queue.index = len(queue.steps)

    def serve(self, request: Request) -> Step:
        """Claims the next step for `request`.

        Raises:
            ViolationError: no step is left, two keys match, the prompt is not as the step expects, the step calls a
                tool in a way that the bound tools do not allow, or another open run competes for the step.
        """
        ledger.called(self)
        with self._lock:
            self._calls += 1
            call = self._calls
        queue = self._plain or self._queue_for(request, call)
        number, step = self._take(queue, request, call)
        run = request.run() if len(queue.steps) > 1 else None
        if run is not None:
            self._watch(queue, run, _Claim(request, call, number, step))
        return step

    def _take(self, queue: _Queue, request: Request, call: int) -> tuple[int, Step]:
        """The next step of `queue` and its number. Optional steps that expect another prompt are passed over."""
        while True:
            with self._lock:
                number, step = queue.number, queue.current()
                if step is not None and step.serving.expects is None:
                    queue.take()
                    return number, step
            if step is None:
                text = diagnostics.exhausted(self.owner, request, call, queue.key, queue.numbered(), self._keys())
                raise self._violate("unexpected call", text)
            problem = diagnostics.expectation(step.serving.expects, request, self.owner) if step.serving.expects else None
            if problem and not step.serving.optional:
                who = self.owner
                text = f"step {number} expects another {who.input} than {who.name} call {call} has\n{problem}"
                raise self._violate(f"unexpected {who.input}", f"{text}\n  the script says {step} at {shown_path(step.where)}")
            with self._lock:
                if queue.number != number:  # another thread was faster
                    continue
                if not problem:
                    queue.take()
                    return number, step
                queue.index += 1

    def check(self, reply: Reply, request: Request) -> None:
        """Whether `reply` keeps what the caller of the model may rely on.

        Raises:
            ViolationError: it calls a tool that is not bound, with arguments that do not fit, or against `tool_choice`
                or `parallel_tool_calls=False`; or its text has a `stop` sequence in it.
        """
        if not reply.serving.checked:
            return
        rule, problem = "", None
        if reply.calls or request.tool_choice is not None:
            rule, problem = "invalid tool call", tool_checks.calls(reply, request)
        if not problem and request.stop:
            rule, problem = "stop sequence", tool_checks.stop_sequence(reply, request.stop)
        if problem:
            raise self._violate(rule, f"{problem}\n  the script says {reply} at {shown_path(reply.where)}")

    def _queue_for(self, request: Request, call: int) -> _Queue:
        """The one queue that is for `request`."""
        fits = [queue for queue in self._queues if queue.key is not None and queue.key.fits(request)]
        fits = [queue for queue in fits if queue.key and queue.key.exactly(request)] or fits
        waiting = [queue for queue in fits if queue.current() is not None] or fits[:1]
        if len(waiting) > 1:
            keys = [queue.key for queue in waiting]
            raise self._violate("ambiguous match", diagnostics.ambiguous(self.owner, request, call, keys))
        if waiting:
            return waiting[0]
        unkeyed = [queue for queue in self._queues if queue.key is None]
        if not unkeyed:
            raise self._violate("unexpected call", diagnostics.unmatched(self.owner, request, call, self._keys()))
        return unkeyed[0]

    def _keys(self) -> list[On]:
        return [queue.key for queue in self._queues if queue.key is not None]

    def _watch(self, queue: _Queue, run: Any, claim: _Claim) -> None:
        """Two open runs that take different steps in order get them by luck, unless one waits for the other."""
        with self._lock:
            rivals = [c for c in self._claims if c.request.run() not in (None, run)] if self._claims else []
            self._claims = [*rivals, claim]
        for rival in rivals:
            if not queue.first <= rival.number < queue.first + len(queue.steps):
                continue
            apart = claim.request.lane and rival.request.lane and not claim.request.lane.within(rival.request.lane)
            if apart and claim.step != rival.step and claim.request.messages != rival.request.messages:
                raise self._violate("competing calls", diagnostics.competing(self.owner, rival[:3], claim[:3]))

    def unused(self) -> list[Violation]:
        """One violation for all steps that no call has asked for; empty when all were served."""
        left = [item for queue in self._queues for item in queue.left()]
        return [Violation("unused step", diagnostics.unused(self.owner, left, len(self.steps), self._calls))] if left else []

    def verify(self) -> None:
        """Raises for every violation so far and for unused steps. The pytest plugin does this for you.

        Raises:
            ViolationError: with all of them.
        """
        gates = dict.fromkeys(gate for step in self.steps for gate in step.gates)
        found = [*self.violations, *(violation for gate in gates for violation in gate.found()), *self.unused()]
        if found:
            raise ViolationError(*found)

    def _violate(self, rule: str, text: str) -> ViolationError:
        return ledger.report(Violation(rule, text), self.violations, self)

    # -- files

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Script:
        """The script in a YAML file; its format is in docs/reference/script-files.md.

        Raises:
            ScriptError: with file and line, what was expected, what came, and the nearest word.

        It reads data only: a file cannot name code, only Python's built-in exceptions.
        """
        from llmtest.scripts import files

        return cls(*files.read(Path(path).read_bytes(), os.fspath(path)))

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Writes the steps to a YAML file from which `load` makes an equal script.

        Raises:
            ScriptError: a step holds an exception or a function, which a file cannot name.
        """
        from llmtest.scripts import files

        Path(path).write_text(files.write(self.entries), "utf-8", newline="\n")


def _queues(given: Sequence[Any], where: str) -> list[_Queue]:
    """The queues of a new script: one for each key, and one for the steps without. Steps are numbered as written."""
    queues: list[_Queue] = []
    plain: list[Step] = []
    for position, item, gates in _gated(given):
        if not isinstance(item, KeyedSteps):
            plain.append(behind(gates, as_step(item, f"step {position} of the script", where)))
            continue
        if gates:
            raise ScriptError(
                f"a gate stands before {item.key}, whose steps it does not hold, at {shown_path(where)}"
                "\n  behind the key it holds them: on(...) >> Script(gate, 'text')"
            )
        what = f"what {item.key} leads to"
        queues.append(_Queue(item.key, [behind(held, as_step(s, what, item.where)) for _, s, held in _gated(item.steps)], 0))
    if plain or not queues:
        queues.append(_Queue(None, plain, 0))
    first = 1
    for queue in queues:
        queue.first = first
        first += len(queue.steps)
        _reachable(queue)
    return queues


def _gated(items: Sequence[Any]) -> Iterator[tuple[int, Any, tuple[Gate, ...]]]:
    """Each item with its position and the gates before it. A gate with nothing after it is an item too."""
    gates: tuple[Gate, ...] = ()
    for position, item in enumerate(items, 1):
        if isinstance(item, Gate) and position < len(items):
            gates += (item,)
        else:
            yield position, item, gates
            gates = ()


def _reachable(queue: _Queue) -> None:
    for position, step in enumerate(queue.steps[:-1]):
        if step.serving.times is None and not (step.serving.optional and step.serving.expects):
            after = queue.steps[position + 1]
            raise ScriptError(
                f"step {queue.first + position} repeats for every further call, so {after} after it is never asked for"
                f"\n  {step} at {shown_path(step.where)}"
            )
