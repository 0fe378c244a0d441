"""`llmtest pending`, `review`, `accept`, `reject`, `diff`: the review of snapshots and cassettes."""

from __future__ import annotations

import functools
import os
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
    commands.add("review", "show pending snapshots and cassettes one by one, to accept or reject each", review)
    for name, words in (
        ("accept", "replace snapshots and cassettes by pending ones"),
        ("reject", "delete pending snapshots and cassettes"),
    ):
        settled = commands.add(name, words, functools.partial(settle, name == "accept"))
        said = "a node id or the end of it, a file or a folder of tests, or the path of a snapshot or cassette; all by default"
        settled.add_argument("names", nargs="*", metavar="NAME", help=said)
    compared = commands.add("diff", "show the differences between two snapshots or traces, as trees", diff, store_option())
    compared.add_argument("before", metavar="A", help="a file with a tree text, a session, or the key of a trace")
    compared.add_argument("after", metavar="B", help="another one")


def _folder() -> Folder:
    from llmtest.trees.pending import Folder

    return Folder.around(Path.cwd(), os.environ)


def pending(as_json: bool) -> int:
    from llmtest.trees import review

    return review.pending(_folder(), CONSOLE.print, as_json=as_json)


def review() -> int:
    from llmtest.trees import review

    return review.review(_folder(), CONSOLE.print, CONSOLE.ask, color=CONSOLE.color)


def settle(accepted: bool, names: list[str]) -> int:
    from llmtest.trees import review

    return review.settle(_folder(), names, CONSOLE.print, accepted=accepted)


def diff(store: Path | None, before: str, after: str) -> int:
    from llmtest.tracing import listing
    from llmtest.trees import review

    with open_store(store) as opened:
        old, new = (listing.text_of(what, opened) for what in (before, after))
    return review.compare(old, new, CONSOLE.print, color=CONSOLE.color)
