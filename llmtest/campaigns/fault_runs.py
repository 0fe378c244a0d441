"""`faults`: a program runs once without faults, and once more for every fault at every call of it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple, cast

from llmtest import ledger
from llmtest.campaigns import driving
from llmtest.campaigns.injection import Injection, attached
from llmtest.campaigns.kinds import MAX_CHUNKS, Fault, check_chunks, check_kinds, plan
from llmtest.campaigns.matrix import Matrix, matrix_of
from llmtest.campaigns.verdicts import Clean, Survival, Verdict, check_effects, clean_run, injection_of, judge, survival
from llmtest.core.progress import progress
from llmtest.core.text import amount, names
from llmtest.errors import CampaignError, ViolationError
from llmtest.recording.recording import Recording, judge_turns, record
from llmtest.wire.clients import backoff

PROGRESS_AFTER_S: Final = 5.0
"""A campaign that takes longer shows how far it is."""


def faults(
    program: Callable[[], Any],
    *,
    kinds: str | Iterable[str] | None = None,
    survives: object = None,
    effects: str | Iterable[str] = (),
    invariants: str | Iterable[str] = (),
    max_tokens: int | None = None,
    pairs: bool = False,
    chunks: int | str = MAX_CHUNKS,
) -> Matrix:
    """Return the outcome of every fault at every call of `program`, a function without arguments, sync or async.

    It runs once without faults, to see which models, tools and retrievers it calls, and then once for each call and fault.
    It must make its models, tools and other state itself, so that each run has fresh ones, and assert what it gives.
    `kinds` chooses faults by name (`"rate limit"`, `"timeout"`, ...; docs/reference/campaigns.md lists them).

    `survives` says what the program must do: `"same answer"` as without the fault, a class of errors that it may raise, a
    function that gets the `Recording` and returns whether all is well, or a list of them; without, the program's own assertions
    hold. Tools that `effects` names, or that have the tag `effects`, may have their effect once for equal arguments.
    `invariants` are names of `llmtest.campaigns.invariants`. With `pairs`, each two faults that the program survives alone
    come together, at different calls: a pair that fails is a smallest set. `chunks` bounds at how many chunks of one stream it is
    cut or left; `"all"` takes each.

    Raises:
        CampaignError: a name is unknown, `program` fails without a fault, or none of its calls can have one of these faults.
        RuntimeError: `program` is async and an event loop runs in this thread.

    >>> from llmtest import ScriptedChatModel
    >>> def greet():
    ...     return ScriptedChatModel("Hello").with_retry(wait_exponential_jitter=False).invoke("hi").content
    >>> matrix = faults(greet, kinds=["server error", "empty answer"], survives="same answer")
    >>> print(matrix)
    2 faults at 1 call: 1 recovered, 1 wrong and silent
      ScriptedChatModel#1
        recovered         server error
        wrong and silent  empty answer

    Not for several threads at once. `matrix.holes` lists calls that can have no fault, such as answers from a cache; what the
    program does outside of its calls has none.
    """
    if not callable(program):
        raise CampaignError(f"faults() takes a function without arguments; got {program!r}")
    chosen, most = check_kinds(kinds), check_chunks(chunks)
    wanted = survival(survives, effects=effects, invariants=invariants, max_tokens=max_tokens)
    with attached():
        return _matrix(program, chosen, most, wanted, pairs)


def _matrix(program: Callable[[], Any], chosen: Sequence[str], most: int | None, wanted: Survival, pairs: bool) -> Matrix:
    clean = _clean(program)
    check_effects(wanted, clean)
    planned, left_out = plan(clean.calls, clean.moments, chosen, most)
    if not planned:
        raise CampaignError(f"no call of the program can have a fault of these kinds: {names(chosen)}")
    with _Progress() as step:
        verdicts = [_verdict(program, [each], clean, wanted, step, (n, len(planned))) for n, each in enumerate(planned, 1)]
        if pairs:
            alone = [verdict.faults[0] for verdict in verdicts if verdict.survived]
            both = [(a, b) for a, b in combinations(alone, 2) if a.call.key != b.call.key]
            verdicts += [_verdict(program, each, clean, wanted, step, (n, len(both))) for n, each in enumerate(both, 1)]
    return matrix_of(verdicts, clean.holes, (*left_out, *clean.left_out))


class _Ran(NamedTuple):
    """A run of the program: what it recorded, how faults came, and the error that left it."""

    recording: Recording
    injection: Injection
    error: BaseException | None
    page: ledger.Ledger


def _run(program: Callable[[], Any], faults: Sequence[Fault] = (), clean: Clean | None = None) -> _Ran:
    """Run the program on a page of its own: what its doubles find is no matter of the test around."""
    recording, error = record(), cast("BaseException | None", None)
    with ledger.opened(ledger.Ledger("fault_")) as page:
        with backoff.virtual(), injection_of(recording, faults, clean) as injection, recording:
            try:
                value = program()
                driving.check_runs(value)
                if inspect.isawaitable(value):
                    driving.run(_awaited(value), injection)
            except KeyboardInterrupt:
                raise
            except BaseException as raised:  # a fault of the program itself, `sys.exit` and `pytest.fail` raise no Exception
                error = raised
        page.end_gates()
        page.end_blocks()
        judge_turns(recording)
    return _Ran(recording, injection, error, page)


async def _awaited(value: Any) -> Any:
    return await value


def _clean(program: Callable[[], Any]) -> Clean:
    ran = _run(program)
    found = ran.page.take()
    if ran.error is not None or found:
        error = ran.error or ViolationError(*found)
        raise CampaignError(f"the program fails without a fault\n  {type(error).__name__}: {error}") from error
    clean = clean_run(ran.recording, ran.injection, program)
    if not clean.calls:
        holes = f"; it made {amount(len(clean.holes), 'call')} that can have none" if clean.holes else ""
        unseen = "".join(f"\n  {each}" for each in clean.unseen)
        raise CampaignError(f"the program makes no call that could have a fault{holes}{unseen}")
    return clean


def _verdict(
    program: Callable[[], Any],
    faults: Sequence[Fault],
    clean: Clean,
    wanted: Survival,
    step: Callable[[int, int], None],
    done: tuple[int, int],
) -> Verdict:
    ran = _run(program, faults, clean)
    step(*done)
    violations = [violation for violation in ran.page.take() if violation.code != "unused step"]
    return judge(faults, ran.injection, ran.recording, ran.error, clean, wanted, violations)


class _Progress:
    """Shows how far a campaign is, once it takes long. Nothing is shown before."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._shown: Any = None
        self._step: Callable[[int, int], None] | None = None

    def __enter__(self) -> Callable[[int, int], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)

    def _tell(self, done: int, of: int) -> None:
        if self._step is None and time.perf_counter() - self._began > PROGRESS_AFTER_S:
            self._shown = progress("faults")
            self._step = self._shown.__enter__()
        if self._step is not None:
            self._step(done, of)
