"""Forked processes: a child has a copy of its parent's blocks and scripts, and the parent sees nothing of what it does.

A child that was forked while a test or a block was open reports to its parent: the runs that start in it, and its violations.
The pipe is made before such a fork, so a program that does not fork pays nothing.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

from llmtest import ledger
from llmtest.capture.blocks import Block, Opening, open_blocks, openings, unseen_runs
from llmtest.errors import Violation
from llmtest.events.events import UnseenCall

_MAX_CHARS: Final = 1000
"""Of a text that is sent. A write of less than PIPE_BUF (4,096 bytes) is never mixed with that of another process."""

_pipe: list[int] = []
_blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()
"""The blocks that were open at a fork, by `id`: the child's copies have the same."""
_inherited: set[Opening] = set()


def _before_fork() -> None:
    ledger.is_forked = (
        bool(openings) or bool(_inherited) or any(not isinstance(page, ledger.Outside) for page in ledger.open_pages())
    )
    if ledger.is_forked:
        ledger.hear_children = _hear
        if not _pipe:
            _pipe.extend(os.pipe())
            for end in _pipe:
                os.set_blocking(end, False)
        _blocks.update({id(opening.block): opening.block for opening in openings.copy() if opening.block is not None})


def _after_in_parent() -> None:
    ledger.is_forked = False


def _after_in_child() -> None:
    _inherited.clear()
    if ledger.is_forked:
        _inherited.update(openings)
        ledger.tell_parent = _tell_violation


def _tell_violation(violation: Violation) -> None:
    where = "" if violation.code == "other process" else "in a forked process: "
    _send([], violation.code, where + violation.text)


def note_run(run_id: UUID, parent_run_id: UUID | None, is_chain: bool, name: str, place: Callable[[], str]) -> None:
    """Tell the parent of a run that starts in a child; not if a block that was opened in the child has it."""
    own = any(opening.block is not None for opening in open_blocks.get() if opening not in _inherited)
    if own or not _inherited:
        return
    if not (is_chain and parent_run_id in unseen_runs):
        _send([id(opening.block) for opening in _inherited], name, place())
    unseen_runs.add(run_id)


def _send(blocks: list[int], name: str, text: str) -> None:
    message = json.dumps([blocks, os.getpid(), name[:_MAX_CHARS], text[:_MAX_CHARS]])
    with suppress(BlockingIOError):  # the pipe is full: the parent has hundreds of messages, each of which fails the test
        os.write(_pipe[1], f"{message}\n".encode("ascii"))


def _hear() -> None:
    if ledger.is_forked or not _pipe:
        return
    text = b""
    while not text or text[-1:] != b"\n" or len(text) % 65536 == 0:
        try:
            text += os.read(_pipe[0], 65536)
        except BlockingIOError:
            break
    for line in text.decode("ascii").splitlines():
        ids, process, name, said = json.loads(line)
        if not ids:
            ledger.current().write(Violation(name, said))
        for block in filter(None, map(_blocks.get, ids)):
            block.note_unseen(
                UnseenCall(name, said or "a process whose target is LangChain's", f"process {process}", "other process")
            )


def watch_forks() -> None:
    """Hear of what forked processes do from here on. Python cannot take such a hook back, so it is set once."""
    if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
        os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
