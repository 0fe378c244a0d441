"""The review of pending snapshots and cassettes: the commands `pending`, `review`, `accept`, `reject` and `diff`.

Commands print by `say`, and ask by `ask`; both belong to the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from llmtest.errors import PendingError
from llmtest.trees.differ import diff
from llmtest.trees.pending import Folder, Pending, read_text, shown, to_json

Say = Callable[[str], None]
Ask = Callable[[str], str]

QUESTION: Final = "[a]ccept  [r]eject  [s]kip  [A]ccept all that are left  [q]uit? "


def pending(folder: Folder, say: Say, *, as_json: bool = False) -> int:
    """List pending (new or changed) snapshots and cassettes."""
    found = folder.found()
    if as_json:
        say(to_json(found, folder.root))
    elif not found:
        say("nothing is pending")
    for one in () if as_json else found:
        say(f"{one.test}  ({one.mismatch.category})\n  {one.mismatch.headline}")
    return 0


def settle(folder: Folder, names: Sequence[str], say: Say, *, accepted: bool) -> int:
    """Accept or reject the named snapshots, or all pending ones. Return 1 if one was refused."""
    chosen = (
        {one.path: one for name in names for one in folder.named(name)} if names else {one.path: one for one in folder.found()}
    )
    if not chosen:
        say("nothing is pending")
    refused = [one for one in chosen.values() if not _settle(one, folder, say, accepted=accepted, by_name=bool(names))]
    return 1 if refused else 0


def _settle(one: Pending, folder: Folder, say: Say, *, accepted: bool, by_name: bool) -> bool:
    try:
        one.accept(by_name=by_name) if accepted else one.reject()
    except PendingError as error:
        say(f"refused   {one.test}: {error}")
        return False
    say(f"{'accepted' if accepted else 'rejected'}  {one.test}: {shown(one.snapshot, folder.root)}")
    return True


def review(folder: Folder, say: Say, ask: Ask | None, *, color: bool = False) -> int:
    """Show one pending snapshot or cassette after the other and ask what to do; without a terminal, print the commands."""
    found = folder.found()
    if not found:
        say("nothing is pending")
        return 0
    answer = ""
    for number, one in enumerate(found, 1):
        if answer == "A":
            _settle(one, folder, say, accepted=True, by_name=False)
            continue
        _show(one, f"{number} of {len(found)}", say, color)
        if ask is None:
            continue
        answer = _answer(ask)
        if answer == "q":
            break
        if answer in "aAr":
            _settle(one, folder, say, accepted=answer != "r", by_name=answer == "a")
    if ask is None:
        say("to decide, without a terminal:\n  llmtest accept [NAME ...]\n  llmtest reject [NAME ...]\n  llmtest pending --json")
    return 0


def _answer(ask: Ask) -> str:
    while True:
        try:
            said = ask(QUESTION).strip()
        except EOFError:
            return "q"
        if said in ("a", "r", "s", "A", "q"):
            return said


def _show(one: Pending, place: str, say: Say, color: bool) -> None:
    mismatch = one.mismatch
    say("\n".join((f"\n{place}: {one.test}  ({mismatch.category})", mismatch.headline, *mismatch.lines(color=color))))


def compare(before: str, after: str, say: Say, *, color: bool = False) -> int:
    """Show the difference between two tree texts. Return 0 if they are equal and 1 if they are not."""
    difference = diff(before, after)
    if difference is None:
        return 0
    say("\n".join((difference.headline, *difference.lines(limit=None, color=color))))
    return 1


def text_of(path: Path) -> str:
    """Return the tree text of a snapshot, without the lines that name the test and the snapshot.

    Raises:
        PendingError: there is no such file.
    """
    text = read_text(path)
    if text is None:
        raise PendingError(f"there is no file {path}")
    lines = text.split("\n")
    about = [line for line in lines[1:3] if line.startswith(("# test ", "# snapshot "))]
    return "\n".join([lines[0], *lines[1 + len(about) :]])
