"""Which blocks a run belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, Literal
from uuid import UUID, uuid4

from llmtest import ledger
from llmtest.capture import processes
from llmtest.capture.blocks import Block, Membership, Opening, Pause, memberships, open_blocks, openings, unseen_runs
from llmtest.concurrency import lanes
from llmtest.events.events import Cause, Latency, UnseenCall
from llmtest.events.words import EMPTY, FrozenDict

OFF: Final = frozenset(("", "0", "false", "no", "off"))

follow: Literal["context", "test"] = "context"
"""Whether a run that no block reached is only noted, or belongs to the open test. The pytest plugin sets it."""

process_trace: Callable[[], Block] | None = None
"""Opens the trace of a root run where `LLMTEST_TRACING` is set. The source of callbacks sets it: blocks know no store."""


def anything_open() -> bool:
    """True if a run that starts in this context now would belong to a block without its parent."""
    for opening in open_blocks.get():  # LangChain asks at each start of a run, so no generator and no property
        block = opening.block
        if block is not None and not block._closed:
            return True
    return is_process_traced()


def is_process_traced() -> bool:
    """True if the variable `LLMTEST_TRACING` is on now."""
    return os.environ.get("LLMTEST_TRACING", "").lower() not in OFF


def begin(run_id: UUID, parent_run_id: UUID | None) -> Membership | None:
    """Return the blocks of a run that starts here and now, or None if it belongs to none."""
    opened = open_blocks.get()
    parent = memberships.get(parent_run_id) if parent_run_id is not None else None
    tally = ledger.tally()
    traced = parent_run_id is None and is_process_traced()
    if len(opened) == 1 and tally is None and not traced:
        block = opened[0].block
        if block is not None and not block._closed and (parent is None or parent is block._alone):
            block._run_ids.append(run_id)  # by far the most frequent case: one block, and everything in it
            memberships[run_id] = block._alone
            return block._alone
    if parent is not None and parent.made_for == (opened, tally) and not traced and all(map(_is_open, opened)):
        memberships[run_id] = parent  # the same blocks as those of its parent, of which none is closed
        for run_ids in parent.run_ids:
            run_ids.append(run_id)
        return parent
    members = _join(opened, parent or ())
    if traced and process_trace is not None and not any(block.traced for block in members.values()):
        trace = process_trace()
        members[id(trace)] = trace
    follows = not members
    if follows and openings:
        members = _join((opening for opening in _missed_openings() if _follows(opening)), ())
    if not members:
        return None
    follows = follows or all(block.watches for block in members.values())
    if tally is not None and not all(block.watches for block in members.values()):
        members[id(tally)] = tally  # a run of any block of the test counts for it, on any thread
    membership = memberships[run_id] = Membership(*members.values())
    membership.follows = follows
    membership.made_for = (opened, tally) if not follows and all(map(_is_open, opened)) else None
    for run_ids in membership.run_ids:
        run_ids.append(run_id)
    return membership


def _join(opened: Iterable[Opening], parent: Iterable[Block]) -> dict[int, Block]:
    return {id(block): block for block in (*filter(None, map(_open_block, opened)), *parent)}


def membership(run_id: UUID) -> Membership | None:
    """Return the blocks of a run that has started, or None if it belongs to none."""
    return memberships.get(run_id)


def begin_without_start(run_id: UUID, parent_run_id: UUID | None) -> Membership | None:
    """Return the blocks of a run whose start was not delivered; None if it may have started before they were opened.

    Run ids are UUIDs of version 7, which begin with the milliseconds at which they were made.
    """
    here = [opening for opening in open_blocks.get() if _open_block(opening) is not None]
    if run_id.version != 7 or not here or run_id.int >> 80 <= max(opening.opened_ms for opening in here):
        return None
    return begin(run_id, parent_run_id)


def note_call(run_id: UUID | None, double: str, place: Callable[[], str]) -> None:
    """Note that a run of this id called a double: the ground truth that a block is compared with.

    A block that is open in the caller's context should have seen the call: then it went past LangChain's callbacks.
    """
    if not openings or run_id in memberships or run_id in unseen_runs:
        return
    here = dict.fromkeys(block for block in map(_open_block, open_blocks.get()) if block is not None and not block.watches)
    if here:
        _note(here, UnseenCall(double, place() or _UNPLACED, lanes.current().thread, "no callbacks"))
    else:
        note_unseen_run(run_id, double, place)


def note_unseen_run(run_id: UUID | None, name: str, place: Callable[[], str]) -> None:
    """Note that a run, or the call of a double, happened in a context that no open block reached."""
    missed = [opening for opening in _missed_openings() if not _follows(opening)]
    if missed:
        if lanes.before_tick is not None:  # it would be an event, had a block taken it
            lanes.before_tick()
        if run_id is not None:
            unseen_runs.add(run_id)
        lane = lanes.current()
        on_thread = any(opening.lane.thread_id == lane.thread_id for opening in missed)
        cause: Cause = "other context" if on_thread else "no context"
        _note(_join(missed, ()).values(), UnseenCall(name, place() or _UNPLACED, lane.thread, cause))


_UNPLACED: Final = "a thread whose target is LangChain's"


def _note(blocks: Iterable[Block], call: UnseenCall) -> None:
    for block in blocks:
        block.note_unseen(call)


def _missed_openings() -> list[Opening]:
    """Return the openings whose blocks the work of here and now should be in, although its context does not list them."""
    if ledger.is_left_over():
        return []
    lane = lanes.current()
    return [opening for opening in openings.copy() if _open_block(opening) is not None and opening.owns_work_of(lane)]


def _follows(opening: Opening) -> bool:
    """True if the block of `opening` takes the work that no block reached."""
    return follow == "test" or (opening.block is not None and opening.block.follows_test)


def note_spent(name: str, model: str, metadata: Mapping[str, object], kind: str, end: Callable[[], FrozenDict]) -> None:
    """Tell the token counts of here and now of a model call that is no run of LangChain: `kind` is that of its last event, whose
    payload `end` makes when it is read.

    The count of the test has it, on any thread; recordings have runs only.
    """
    here = dict.fromkeys(filter(None, map(_open_block, open_blocks.get())))
    counts = [block for block in here if block.light]
    tally = ledger.tally()
    counts += [tally] if tally is not None and tally not in counts else []
    if not counts:
        return
    run_id = uuid4()
    member = Membership(*counts)
    # A count is open as long as its test: it keeps the values, and no words of them, until it is read.
    member.deliver(("on_chat_model_start", run_id, None, (name, (), partial(_asked, model, metadata)), 0, 0, None))
    member.deliver((kind, run_id, None, end, 0, 0, None))


def _asked(model: str, metadata: Mapping[str, object]) -> FrozenDict:
    return FrozenDict(metadata=FrozenDict({**metadata, "ls_model_name": model}), payload=EMPTY)


def note_latency(run_id: UUID | None, latency: Latency) -> None:
    """Note how long the answer of a double to a run of this id takes in virtual time."""
    member = memberships.get(run_id) if run_id is not None else None
    if run_id is not None and member is not None:
        member.timed = True
        for block in member:
            block.latencies.setdefault(run_id, []).append(latency)


def note_pause(seconds: float) -> None:
    """Note that the line of control that asks passes this long in virtual time: it would have waited before it tries again."""
    blocks = dict.fromkeys(filter(None, map(_open_block, open_blocks.get())))
    if blocks:
        lane, moment = lanes.tick()
        for block in blocks:
            block.pauses.append(Pause(lane, moment, round(seconds * 1e9)))


_real_runs: set[UUID] = set()
"""The runs that are open and have sent a request to a real model."""


def note_real(run_id: UUID) -> None:
    """Note that a request of a run of this id leaves the machine: a real model answers it."""
    member = memberships.get(run_id)
    if member is not None and not member.light:
        _real_runs.add(run_id)


def is_real(run_id: UUID) -> bool:
    """True if a request of this run, which ends now, left the machine; a second question says False."""
    if run_id not in _real_runs:
        return False
    _real_runs.discard(run_id)
    return True


def _is_open(opening: Opening) -> bool:
    block = opening.block
    return block is not None and not block._closed


def _open_block(opening: Opening) -> Block | None:
    block = opening.block
    return block if block is not None and not block._closed else None


processes.watch_forks()
