"""`llmtest pending`, `review`, `accept`, `reject`, `diff`: the review of snapshots and cassettes."""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import open_store, store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.trees.pending import Folder


def add(commands: Commands) -> None:
    """Add the commands of this module to the command line."""
    listed = commands.add("pending", "list pending (new or changed) snapshots and cassettes", pending)
    listed.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    words = "show pending snapshots and cassettes one by one, those with the same change together, to accept or reject each"
    shown = commands.add("review", words, review)
    _add_from_ci(shown)
    for name, words in (
        ("accept", "replace snapshots and cassettes by pending ones"),
        ("reject", "delete pending snapshots and cassettes"),
    ):
        settled = commands.add(name, words, functools.partial(settle, name == "accept"))
        said = "a node id or the end of it, a file or a folder of tests, or the path of a snapshot or cassette; all by default"
        settled.add_argument("names", nargs="*", metavar="NAME", help=said)
        settled.add_argument("--all-like", action="store_true", dest="alike", help=f"{name} those with the same change, too")
        settled.add_argument("--dry-run", action="store_true", help="say what would happen, and write nothing")
        if name == "accept":
            settled.add_argument("--undo", action="store_true", dest="undone", help="undo the last accept")
            _add_from_ci(settled)
    compared = commands.add("diff", "show the differences between two snapshots or traces, as trees", diff, store_option())
    compared.add_argument("before", metavar="A", help="a file with a tree text, a session, or the key of a trace")
    compared.add_argument("after", metavar="B", help="another one")


def _folder() -> Folder:
    from llmtest.trees.pending import Folder

    return Folder.around(Path.cwd(), os.environ)


def pending(as_json: bool) -> int:
    from llmtest.trees import review

    return review.pending(_folder(), CONSOLE.print, as_json=as_json)


def _add_from_ci(parser: argparse.ArgumentParser) -> None:
    words = "those of a job of CI: the file or folder of a downloaded artifact, or the number or address of a run of GitHub "
    words += "Actions, which the command `gh` downloads; by default the latest run of this branch"
    parser.add_argument("--from-ci", nargs="?", const="", metavar="RUN|FILE", help=words)


@contextmanager
def _received(from_ci: str | None, dry_run: bool = False) -> Iterator[tuple[Folder, list[Path] | None]]:
    """Yield the folder of pending files, and those of them that have come from CI; None where none were asked for."""
    from llmtest.trees import artifacts
    from llmtest.trees.pending import VARIABLE, Folder

    folder = _folder()
    if from_ci is None:
        yield folder, None
        return
    with ExitStack() as block:
        if dry_run:
            folder = Folder(folder.root, {VARIABLE: block.enter_context(tempfile.TemporaryDirectory(prefix="llmtest-ci-"))})
        source = Path(from_ci)
        if not from_ci or not source.exists():
            source = block.enter_context(artifacts.downloaded(from_ci, os.environ, subprocess.run))
        received = artifacts.receive(source, folder)
        CONSOLE.note(artifacts.describe(received, from_ci or "the latest run of this branch"))
        yield folder, received


def review(from_ci: str | None) -> int:
    from llmtest.trees import review

    with _received(from_ci) as (folder, received):
        return review.review(folder, CONSOLE.print, CONSOLE.ask, color=CONSOLE.color, among=received)


def settle(accepted: bool, names: list[str], alike: bool, dry_run: bool, undone: bool = False, from_ci: str | None = None) -> int:
    from llmtest.errors import PendingError
    from llmtest.trees import review

    if undone:
        if names or alike or dry_run or from_ci is not None:
            raise PendingError("--undo undoes the whole last accept, so it takes no names and no other options")
        return review.undo(_folder(), CONSOLE.print)
    with _received(from_ci, dry_run) as (folder, among):
        told = {"accepted": accepted, "alike": alike, "dry_run": dry_run}
        return review.settle(folder, names, CONSOLE.print, **told, among=among)


def diff(store: Path | None, before: str, after: str) -> int:
    from llmtest.tracing import listing
    from llmtest.trees import review

    with open_store(store) as opened:
        old, new = (listing.text_of(what, opened) for what in (before, after))
    return review.compare(old, new, CONSOLE.print, color=CONSOLE.color)
