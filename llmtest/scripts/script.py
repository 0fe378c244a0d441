"""Scripts: which step answers which call. The doubles of `llmtest.langchain` serve their calls from a `Script`."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from llmtest import ledger
from llmtest.concurrency import asyncio_state
from llmtest.concurrency.lanes import Lane
from llmtest.core.masks import publish
from llmtest.core.source import caller, shown_path
from llmtest.core.text import amount
from llmtest.errors import LlmtestWarning, ScriptError, Violation, ViolationError, is_expected
from llmtest.events.events import Run
from llmtest.events.words import Message
from llmtest.scripts import diagnostics, fingerprints, tool_checks
from llmtest.scripts.diagnostics import Unused
from llmtest.scripts.fingerprints import Asked, Fingerprint
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import Batch, KeyedSteps, On, Request, StepGroup
from llmtest.scripts.step_types import Reply, ScriptOwner, Step, add_gates
from llmtest.scripts.steps import as_step

if TYPE_CHECKING:
    from llmtest.scripts.from_recording import Recorded


class _Queue:
    """Steps that are served in order. Holds state; the script's lock guards it."""

    __slots__ = ("first", "index", "key", "served", "steps", "turns")

    def __init__(self, key: On | None, steps: Sequence[Step], first: int) -> None:
        self.turns: list[_Turn] = []
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
        """Count one more call of the current step."""
        self.served += 1
        if self.served == self.steps[self.index].serving.times:
            self.index, self.served = self.index + 1, 0

    def numbered(self) -> list[tuple[int, Step]]:
        return list(enumerate(self.steps, self.first))

    def left(self) -> list[Unused]:
        """Return the steps still without their calls."""
        rest = [Unused(number, step, self.key, 0) for number, step in self.numbered()[self.index :]]
        if rest and self.served:
            rest[:1] = [] if rest[0].step.serving.times is None else [rest[0]._replace(calls=self.served)]
        return [unused for unused in rest if not unused.step.serving.optional]

    def used(self) -> tuple[Step, ...]:
        """Return the steps without those that are left. A step that had some of its calls keeps as many."""
        left = {unused.number: unused.calls for unused in self.left()}
        kept = [(step, left.get(number, -1)) for number, step in self.numbered() if left.get(number) != 0]
        return tuple(step if had < 0 else step.times(had) for step, had in kept)


class _Turn(NamedTuple):
    """A step that a run has taken, as long as the script lives. It keeps nothing of the program alive."""

    run_id: UUID
    call: int
    number: int
    step: Step
    lane: Lane | None
    batch: Batch | None
    is_over: Callable[[], bool]
    after_end: bool
    """True if the turn before was taken by a thread or batch of the line of control that goes on here, and was over."""


class _Answered(NamedTuple):
    """A recorded step, and the request that it has answered now."""

    number: int
    step: Step
    asked: Asked


class _Claim(NamedTuple):
    """A step that a run has taken, while that run is open."""

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

    Violations: a call with no step left, a tool call that the bound tools do not allow, a prompt that the step does not
    expect, a call that two keys match, concurrent calls that take steps in order, so that chance decides who gets which;
    and a step left unused at the end of the test (`verify()` outside pytest).

    A gate, which `hold` makes, may stand between two steps: the call of the next step waits there.

    Thread-safe: claiming a step is one locked act; no other code runs while the lock is held.

    Raises:
        ScriptError: an argument is not a step; the message has its number and value.

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
        self._told: set[tuple[int, int]] = set()
        self._answered: list[_Answered] = []
        self._stale: dict[str, list[tuple[int, str, str]]] = {}
        self._was_stale = False
        self._is_in_file = False
        """True once a file has its steps: it owes no calls then, unless it gets one itself."""
        self._made_in = os.getpid()
        self._lock = threading.Lock()
        self._queues = _make_queues(steps, caller())
        self._plain = self._queues[0] if len(self._queues) == 1 and self._queues[0].key is None else None
        ledger.made(self)

    def __copy__(self) -> Script:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Script:
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
        """The number of steps still without their calls."""
        return sum(len(queue.left()) for queue in self._queues)

    @property
    def used_entries(self) -> tuple[KeyedSteps | Step, ...]:
        """The entries without the steps that still wait for their calls; a step that had some of them is for as many."""
        used: list[KeyedSteps | Step] = []
        for queue in self._queues:
            steps = queue.used()
            used.extend(steps if queue.key is None else [KeyedSteps(queue.key, steps)] if steps else [])
        return tuple(used)

    def has_step_for(self, request: Request) -> bool:
        """True if a step is left for a call. Another call may take it before."""
        fits = [queue for queue in self._queues if queue.key is not None and queue.key.fits(request)]
        unkeyed = [queue for queue in self._queues if queue.key is None]
        return any(queue.current() is not None for queue in fits or unkeyed)

    def optional(self) -> Script:
        """Return a script of the same steps, each of them optional. This script waives its own."""
        return self._changed(lambda step: step.optional())

    def unchecked(self) -> Script:
        """Return a script of the same steps, each of them unchecked. This script waives its own."""
        return self._changed(lambda step: step.unchecked())

    def _changed(self, change: Callable[[Step], Step]) -> Script:
        steps = [
            replace(entry, steps=tuple(map(change, entry.steps))) if isinstance(entry, KeyedSteps) else change(entry)
            for entry in self.entries
        ]
        self.waive_steps()
        return Script(*steps)

    @property
    def is_contested(self) -> bool:
        """True if calls on several lines of control have taken steps in order."""
        return any(len({turn.lane for turn in queue.turns}) > 1 for queue in self._queues)

    def hand_over(self, key: On, where: str) -> tuple[Step, ...]:
        """Return the steps for `key`, as in `key >> script`. This script owes its calls until another one has them.

        Raises:
            ScriptError: the script has keys of its own.
        """
        if any(queue.key is not None for queue in self._queues):
            raise ScriptError(f"{key} >> Script(...) takes a script without keys of its own at {shown_path(where)}")
        return self.steps

    def waive_steps(self) -> None:
        """Take all steps as served: another script has them, or its double was refused."""
        for queue in self._queues:
            queue.index = len(queue.steps)

    def owe_nothing(self) -> None:
        """Take all steps as served, and recorded requests as asked: the program was given a fault, and went another way."""
        self.waive_steps()
        with self._lock:
            self._answered, self._stale = [], {}

    def serve(self, request: Request) -> Step:
        """Claim the next step for `request`.

        Raises:
            ViolationError: no step is left, two keys match, the step does not expect the prompt, or a concurrent run
                competes for the step.
        """
        ledger.called(self)
        if ledger.is_forked and self._made_in != os.getpid():
            raise self._violate("other process", diagnostics.other_process(self.owner, request))
        with self._lock:
            self._calls += 1
            call = self._calls
        queue = self._plain or self._queue_for(request, call)
        number, step = self._take(queue, request, call)
        if step.serving.request is not None and fingerprints.mode != "ignore":
            self._keep_request(number, step, request)
        run = request.run() if len(queue.steps) > 1 else None
        if run is not None:
            self._note_turn(queue, run.run_id, call, number, step, request)
            self._watch(queue, run, _Claim(request, call, number, step))
        return step

    def _keep_request(self, number: int, step: Step, request: Request) -> None:
        """Keep a request that a recorded step answers. It is compared when the script is judged."""
        answered = _Answered(number, step, Asked.of(request))
        with self._lock:
            self._answered.append(answered)
            is_full = len(self._answered) >= MAX_KEPT_REQUESTS
        if is_full:
            self._compare_requests()

    def _compare_requests(self) -> None:
        with self._lock:
            answered, self._answered = self._answered, []
        for number, step, asked in answered:
            recorded = step.serving.request
            assert recorded is not None  # only such steps are kept
            now = fingerprints.fingerprint(asked, keep=True)
            differences = fingerprints.differences(recorded, now)
            if differences and (found := self._step_recorded_for(now)) is not None:
                other, same = found
                # Calls that are answered alike may come in any order.
                in_order = f"the request is the one of step {other}: the calls come in another order"
                differences = [] if same == step else [in_order]
            with self._lock:
                self._was_stale |= bool(differences)
                for difference in differences:
                    self._stale.setdefault(difference, []).append((number, recorded.recorded, step.where))

    def _step_recorded_for(self, now: Fingerprint) -> tuple[int, Step] | None:
        """Return the step that was recorded for a request, as far as its question tells, and its number."""
        numbered = [pair for queue in self._queues for pair in queue.numbered()][:MAX_STEPS_TO_SEARCH]
        for number, step in numbered:
            recorded = step.serving.request
            if recorded is not None and recorded.human and not fingerprints.differences(recorded, now):
                return number, step
        return None

    @property
    def is_stale(self) -> bool:
        """True if a step has answered another request than it was recorded for."""
        self._compare_requests()
        return self._was_stale

    def _take(self, queue: _Queue, request: Request, call: int) -> tuple[int, Step]:
        """Return the next step of `queue` and its number. Optional steps that expect another prompt are skipped."""
        while True:
            with self._lock:
                number, step = queue.number, queue.current()
                if step is not None and step.serving.expects is None:
                    queue.take()
                    return number, step
            if step is None:
                text = diagnostics.no_step_left(self.owner, request, call, queue.key, queue.numbered(), self._keys())
                raise self._violate("unexpected call", text)
            problem = diagnostics.prompt_mismatch(step.serving.expects, request, self.owner) if step.serving.expects else None
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
        """Raise unless `reply` keeps the contract with the model's caller.

        Raises:
            ViolationError: it calls an unbound tool, with arguments that do not fit, or against `tool_choice` or
                `parallel_tool_calls=False`; or its text contains a `stop` sequence.
        """
        if not reply.serving.checked:
            return
        rule, problem = "", None
        if reply.calls or request.tool_choice is not None:
            rule, problem = "invalid tool call", tool_checks.check_calls(reply, request)
        if not problem and request.stop:
            rule, problem = "stop sequence", tool_checks.check_stop(reply, request.stop)
        if problem:
            lines = [problem, f"  the script says {reply} at {shown_path(reply.where)}"]
            raise self._violate(rule, "\n".join([*lines, *([f"  {self.owner.renewal}"] if self.owner.renewal else [])]))

    def _queue_for(self, request: Request, call: int) -> _Queue:
        """Return the one queue for `request`."""
        fits = [queue for queue in self._queues if queue.key is not None and queue.key.fits(request)]
        fits = [queue for queue in fits if queue.key and queue.key.names_all_tools(request)] or fits
        waiting = [queue for queue in fits if queue.current() is not None] or fits[:1]
        if len(waiting) > 1:
            keys = [queue.key for queue in waiting]
            raise self._violate("ambiguous match", diagnostics.several_keys_match(self.owner, request, call, keys))
        if waiting:
            return waiting[0]
        unkeyed = [queue for queue in self._queues if queue.key is None]
        if not unkeyed:
            raise self._violate("unexpected call", diagnostics.no_key_matches(self.owner, request, call, self._keys()))
        return unkeyed[0]

    def _keys(self) -> list[On]:
        return [queue.key for queue in self._queues if queue.key is not None]

    def _watch(self, queue: _Queue, run: object, claim: _Claim) -> None:
        """Two open runs that take different steps in order get them by luck, unless one waits for the other."""
        with self._lock:
            rivals = [c for c in self._claims if c.request.run() not in (None, run)] if self._claims else []
            self._claims = [*rivals, claim]
        for rival in rivals:
            if not queue.first <= rival.number < queue.first + len(queue.steps):
                continue
            if claim.request.batch is not None and claim.request.batch is rival.request.batch:
                continue
            if _are_apart(rival, claim) and claim.step != rival.step and claim.request.messages != rival.request.messages:
                self._told.add((rival.call, claim.call))
                raise self._violate("competing calls", diagnostics.calls_compete(self.owner, rival[:3], claim[:3]))

    def _note_turn(self, queue: _Queue, run_id: UUID, call: int, number: int, step: Step, request: Request) -> None:
        lane, last = request.lane, queue.turns[-1] if queue.turns else None
        after_end = False
        if last is not None and last.batch is not None and last.batch is not request.batch and lane is not None:
            after_end = lane.within(last.batch.lane) and last.batch.is_over
        elif last is not None and last.lane is not None and lane is not None and last.lane is not lane:
            after_end = last.lane.within(lane) and last.is_over()
        is_over = _end_of_work() if lane is not None and lane.task is None and lane.parent else _never
        queue.turns.append(_Turn(run_id, call, number, step, lane, request.batch, is_over, after_end))

    def judge_turns(self, find: Callable[[UUID], Run | None], are_ordered: Callable[[Run, Run], bool]) -> None:
        """Report two runs of a recording that take different steps in order, although the program does not order them.

        `find` returns a run of the recording. Runs that overlap are reported while they run; this finds the others too:
        which of two threads takes the first step is luck, also where the first is over before the second begins.
        """
        for queue in self._queues:
            turns = [(turn, run) for turn in list(queue.turns) if (run := find(turn.run_id)) is not None]
            if len({turn.lane for turn, _ in turns}) < 2:
                continue
            turns.sort(key=lambda pair: pair[0].call)
            for position, later in enumerate(turns):
                # If each turn is ordered with the one before, all are. Only turns that may change places are passed over.
                before = reversed(turns[max(0, position - MAX_EQUAL_TURNS) : position])
                earlier = next((earlier for earlier in before if not _may_swap(earlier, later)), None)
                if earlier is not None and not _is_in_order(earlier, later, are_ordered):
                    self._report_luck(earlier, later)

    def _report_luck(self, earlier: tuple[_Turn, Run], later: tuple[_Turn, Run]) -> None:
        pair = (earlier[0].call, later[0].call)
        if pair not in self._told:
            self._told.add(pair)
            first, second = ((_request_of(run), turn.call, turn.number) for turn, run in (earlier, later))
            self._violate("competing calls", diagnostics.calls_compete(self.owner, first, second))

    def unused(self) -> list[Violation]:
        """Return a violation for all steps that still wait for calls, and one for recorded steps that answered other requests."""
        left = [unused for queue in self._queues for unused in queue.left()]
        found = []
        if left and (self._calls or not self._is_in_file):
            text = diagnostics.unused_steps(self.owner, left, len(self.steps), self._calls)
            found.append(Violation("unused step", publish(text)))
        self._compare_requests()
        stale, self._stale = self._stale, {}
        if stale:
            text = publish(diagnostics.stale_steps(self.owner, stale))
            if fingerprints.mode == "warn":
                warnings.warn(text, LlmtestWarning, stacklevel=2)
            else:
                found.append(Violation("stale recording", text))
        return found

    def verify(self) -> None:
        """Raise a `ViolationError` with all that `found` returns. The pytest plugin does this for you."""
        if found := self.found():
            raise ViolationError(*found)

    def found(self) -> list[Violation]:
        """Return every violation so far, also of the gates, and the unused steps.

        Unused steps that an `expect_violation("unused step")` block expects here are not reported again.
        """
        gates = dict.fromkeys(gate for step in self.steps for gate in step.gates)
        unused = self.unused()
        if any(map(is_expected, unused)):
            self.waive_steps()
        return [*self.violations, *(violation for gate in gates for violation in gate.found()), *unused]

    def _violate(self, rule: str, text: str) -> ViolationError:
        return ledger.report(Violation(rule, text), self.violations, self)

    # -- files and recordings

    @classmethod
    def from_recording(cls, recording: Recorded, *, model: str = "*", tokens: bool = False) -> Script:
        """Return the script that answers as the models of a recording did.

        Each call of a model becomes a step: its text, calls of tools, reasoning, usage, failure. Where calls ran at the same
        time, their steps stand under the smallest keys that tell them apart: `on(node=...)`, `on(tools=...)`,
        `on(contains=...)`. `model` chooses models by name (`*` stands for anything). Text is one string; with `tokens`, an
        answer that was streamed keeps its exact tokens. `dump` writes the script to a file that a person can change.

        Each step knows which request it answered. When it answers another one, the test fails, and says what has changed:
        the system prompt, a tool, a parameter. The ini key `llmtest_stale` makes that a warning, or nothing.

        Raises:
            ScriptError: a call of a model is still open, or there is no call of `model`.

        Warns:
            LlmtestWarning: calls cannot be told apart, or a step cannot say all of an answer.

        >>> from llmtest import ScriptedChatModel, record
        >>> with record() as recording:
        ...     _ = ScriptedChatModel("It is 18C.").invoke("weather in Paris?")
        >>> script = Script.from_recording(recording)
        >>> ScriptedChatModel(script=script).invoke("weather in Paris?").content
        'It is 18C.'

        It does not answer for tools: `@pytest.mark.llm_cassette` does, too.
        """
        from llmtest.scripts import from_recording

        calls = from_recording.recorded_calls(recording, model=model, tokens=tokens)
        entries, notes = from_recording.entries_of(calls, recording.order())
        for note in notes:
            warnings.warn(note, LlmtestWarning, stacklevel=2)
        return cls(*entries)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Script:
        """Return the script in a YAML file; its format is in docs/reference/script-files.md.

        Of a file that was recorded, it is the steps of its one model.

        Raises:
            ScriptError: with file and line, the expected and the actual value, and the nearest word. Or the file has steps of
                several models: `scripted_providers(path)` takes them all.

        It reads data only: a file cannot name code, only Python's built-in exceptions.
        """
        from llmtest.scripts import files

        return cls(*files.read(Path(path).read_bytes(), os.fspath(path)))

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write the steps to a YAML file from which `load` makes an equal script. A script that is only written owes no calls.

        Recorded steps have masks in place of secrets. Those of a script that a person wrote stay as they are.

        Raises:
            ScriptError: a step holds an exception or a function, which a file cannot name.

        Warns:
            LlmtestWarning: texts are masked.
        """
        from llmtest.scripts import secret_texts, yaml_emit

        entries, masked = secret_texts.without_recorded_secrets(self.entries)
        Path(path).write_text(yaml_emit.write(entries), "utf-8", newline="\n")
        if masked:
            shown = shown_path(os.fspath(path))
            text = f"{shown}: {amount(masked, 'text')} masked, because a part looks like a secret"
            warnings.warn(text, LlmtestWarning, stacklevel=2)
        self._is_in_file = True


MAX_KEPT_REQUESTS: Final = 1_000
"""How many requests are kept before they are compared: a script that repeats its steps may serve for days."""
MAX_STEPS_TO_SEARCH: Final = 100
"""How many steps are searched for the one that was recorded for a request."""
MAX_EQUAL_TURNS: Final = 20
"""How many turns with the same step or prompt are passed over to find one that must not change places."""


def _may_swap(earlier: tuple[_Turn, Run], later: tuple[_Turn, Run]) -> bool:
    """True if nothing changes where two runs take each other's steps: the steps or the prompts are equal."""
    return earlier[0].step == later[0].step or earlier[1].input == later[1].input


def _is_in_order(earlier: tuple[_Turn, Run], later: tuple[_Turn, Run], are_ordered: Callable[[Run, Run], bool]) -> bool:
    batch = earlier[0].batch
    if batch is not None and batch is later[0].batch:
        return True
    # No thread tells that another one waits for it. Its spawner most likely has waited for work that is over.
    return later[0].after_end or are_ordered(earlier[1], later[1])


def _are_apart(earlier: _Claim, later: _Claim) -> bool:
    """True if two runs may take their steps in the other order, as far as is known by now."""
    before, after = earlier.request.lane, later.request.lane
    if before is None or after is None or after.within(before) or before.is_over_before(after):
        return False
    # An exception keeps the frames of a run that failed. An async stream of a chain has a task for each piece, and is open
    # while its reader goes on, or when it has left it. `judge_turns` judges both where they are recorded.
    return not (before.is_done if earlier.request.streams else before.has_failed)


def _never() -> bool:
    return False


def _end_of_work() -> Callable[[], bool]:
    """Return a function that tells if this thread, or its work in a pool, is over. It keeps neither alive."""
    work = asyncio_state.work()
    if work is not None:
        future = weakref.ref(work.future)
        return lambda: (known := future()) is None or known.done()
    thread = weakref.ref(threading.current_thread())
    return lambda: (known := thread()) is None or not known.is_alive()


def _request_of(run: Run) -> Request:
    """Return a recorded run as a request, for a text about it."""
    value = run.input
    messages = run.messages if run.kind == "chat" else [Message("", str(value))]
    return Request(
        read=lambda: messages[: len(value)] if run.kind == "chat" else messages, about=lambda: (run.tags, run.metadata)
    )


def _make_queues(steps: Sequence[object], where: str) -> list[_Queue]:
    """Return the queues of a new script: one for each key, and one for the steps without. Steps are numbered as written."""
    queues: list[_Queue] = []
    plain: list[Step] = []
    for item in steps:
        if isinstance(item, KeyedSteps) and item.source is not None:
            item.source.waive_steps()
    for position, item, gates in _with_gates_before(steps):
        if not isinstance(item, KeyedSteps):
            plain.append(add_gates(gates, as_step(item, f"step {position} of the script", where)))
            continue
        if gates:
            raise ScriptError(
                f"a gate stands before {item.key}, whose steps it does not hold, at {shown_path(where)}"
                "\n  behind the key it holds them: on(...) >> Script(gate, 'text')"
            )
        what = f"what {item.key} leads to"
        queues.append(
            _Queue(item.key, [add_gates(held, as_step(s, what, item.where)) for _, s, held in _with_gates_before(item.steps)], 0)
        )
    if plain or not queues:
        queues.append(_Queue(None, plain, 0))
    first = 1
    for queue in queues:
        queue.first = first
        first += len(queue.steps)
        _check_reachable(queue)
    return queues


def _with_gates_before(items: Sequence[object]) -> Iterator[tuple[int, Any, tuple[Gate, ...]]]:
    """Yield each item with its position and the gates before it. A gate at the end is an item too."""
    gates: tuple[Gate, ...] = ()
    for position, item in enumerate(items, 1):
        if isinstance(item, Gate) and position < len(items):
            gates += (item,)
        else:
            yield position, item, gates
            gates = ()


def _check_reachable(queue: _Queue) -> None:
    for position, step in enumerate(queue.steps[:-1]):
        if step.serving.times is None and not (step.serving.optional and step.serving.expects):
            after = queue.steps[position + 1]
            raise ScriptError(
                f"step {queue.first + position} repeats for every further call, so {after} after it is never used"
                f"\n  {step} at {shown_path(step.where)}"
            )
