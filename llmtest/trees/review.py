"""The review of pending snapshots and cassettes: the commands `pending`, `review`, `accept`, `reject` and `diff`.

Commands print by `say`, and ask by `ask`; both belong to the command line. Tests in which the same texts have changed into the
same texts are one question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtest.core.text import amount, escape_controls
from llmtest.errors import PendingError
from llmtest.trees.differ import diff
from llmtest.trees.pending import Folder, Pending, read_text, shown, to_json
from llmtest.trees.undo import Undo

Say = Callable[[str], None]
Ask = Callable[[str], str]

HELP: Final = """\
  a  accept: the received text becomes the snapshot
  r  reject: the pending text is deleted, the snapshot stays
  s  skip: decide later
  o  one by one: show each test of the group, and ask for each
  A  accept this and all that are left
  u  undo the last accept, and ask again
  q  quit: the rest stays pending"""


def pending(folder: Folder, say: Say, *, as_json: bool = False) -> int:
    """List pending (new or changed) snapshots and cassettes."""
    found = folder.found()
    if as_json:
        say(to_json(found, folder.root))
    elif not found:
        say("nothing is pending")
    for one, title in () if as_json else zip(found, _titles(found), strict=True):
        say(f"{title}  ({one.mismatch.category})\n  {one.mismatch.headline}")
    return 0


def settle(
    folder: Folder,
    names: Sequence[str],
    say: Say,
    *,
    accepted: bool,
    alike: bool = False,
    dry_run: bool = False,
    among: Collection[Path] | None = None,
) -> int:
    """Accept or reject the named snapshots, or all pending ones. Return 1 if one was refused.

    `alike` takes those with the same change, too. A `dry_run` says what would happen, and writes nothing. With `among`, only
    these pending files are meant.
    """
    found = [one for one in folder.found() if among is None or one.path in among]
    chosen = {one.path: one for name in names for one in folder.named(name, found)} if names else {one.path: one for one in found}
    if alike:
        changes = {one.mismatch.change for one in chosen.values()} - {None}
        chosen |= {one.path: one for one in found if one.mismatch.change in changes}
    if not chosen:
        say("nothing is pending")
    settling = _Settling(folder, say)
    refused = (
        settling.rehearse(chosen.values(), accepted=accepted, by_name=bool(names))
        if dry_run
        else settling.settle(chosen.values(), accepted=accepted, by_name=bool(names))
    )
    return 1 if refused else 0


def undo(folder: Folder, say: Say) -> int:
    """Undo the last accept.

    Raises:
        PendingError: there is none.
    """
    for line in Undo(folder).run():
        say(line)
    return 0


class _Settling:
    """Accepts and rejects, and says so."""

    def __init__(self, folder: Folder, say: Say) -> None:
        self._folder = folder
        self._say = say

    def settle(self, chosen: Iterable[Pending], *, accepted: bool, by_name: bool) -> list[Pending]:
        """Accept or reject pending files; return those that were refused."""
        every = list(chosen)
        if accepted and every:
            Undo(self._folder).remember(every)
        return [one for one in every if not self._settle(one, accepted=accepted, by_name=by_name)]

    def _settle(self, one: Pending, *, accepted: bool, by_name: bool) -> bool:
        try:
            one.accept(by_name=by_name) if accepted else one.reject()
        except PendingError as error:
            self._say(f"refused   {one.test}: {error}")
            return False
        self._say(f"{'accepted' if accepted else 'rejected'}  {one.test}: {shown(one.snapshot, self._folder.root)}")
        return True

    def rehearse(self, chosen: Iterable[Pending], *, accepted: bool, by_name: bool) -> list[Pending]:
        """Say what `settle` would do; return those that it would refuse."""
        refused = []
        for one in chosen:
            try:
                one.check(by_name=by_name) if accepted else None
            except PendingError as error:
                refused.append(one)
                self._say(f"would refuse  {one.test}: {error}")
                continue
            place = shown(one.snapshot, self._folder.root)
            self._say(f"would {'accept' if accepted else 'reject'}  {one.test}: {place}\n  {one.mismatch.headline}")
        return refused


# -- one question after the other


@dataclass(frozen=True, slots=True)
class Group:
    """Pending files with the same change, or one alone. `titles` name them for the user."""

    members: tuple[Pending, ...]
    titles: tuple[str, ...]

    @property
    def question(self) -> str:
        number = len(self.members)
        if number == 1:
            return "[a]ccept  [r]eject  [s]kip  [A]ccept all that are left  [q]uit  [?]help: "
        return (
            f"[a]ccept all {number}  [r]eject all {number}  [o]ne by one  [s]kip  [A]ccept all that are left  [q]uit  [?]help: "
        )

    def lines(self, color: bool) -> list[str]:
        """Return the tests, and the difference of the first."""
        first = self.members[0].mismatch
        if len(self.members) == 1:
            said = [f"{self.titles[0]}  ({first.category})", first.headline]
        else:
            tests = len({one.test for one in self.members})
            number = "" if tests == len(self.members) else f"{amount(len(self.members), 'snapshot')} of "
            said = [
                f"{number}{amount(tests, 'test')}: {first.words}  ({first.category})",
                *(f"  {title}" for title in self.titles),
                f"the first of them: {first.headline}",
            ]
        return [*map(escape_controls, said), *first.lines(color=color)]

    def apart(self) -> list[Group]:
        """Return a group for each member."""
        return [Group((one,), (title,)) for one, title in zip(self.members, self.titles, strict=True)]


def groups(found: Sequence[Pending]) -> list[Group]:
    """Return pending files in groups with the same change, in their order."""
    by_change: dict[Hashable, list[tuple[Pending, str]]] = {}
    for one, title in zip(found, _titles(found), strict=True):
        change = one.mismatch.change
        by_change.setdefault(one.path if change is None else change, []).append((one, title))
    return [Group(*zip(*members, strict=True)) for members in by_change.values()]


def _titles(found: Sequence[Pending]) -> list[str]:
    """Return the test of each pending file, with the file where one test has several."""
    number = Counter(one.test for one in found)
    return [one.test if number[one.test] == 1 else f"{one.test}  {one.snapshot.name}" for one in found]


def review(folder: Folder, say: Say, ask: Ask | None, *, color: bool = False, among: Collection[Path] | None = None) -> int:
    """Show one change after the other and ask what to do; without a terminal, print the commands."""
    todo = groups([one for one in folder.found() if among is None or one.path in among])
    if not todo:
        say("nothing is pending")
        return 0
    if ask is None:
        for number, group in enumerate(todo, 1):
            say("\n".join((f"\n{number} of {len(todo)}: {group.lines(color)[0]}", *group.lines(color)[1:])))
        say("to decide, without a terminal:\n  llmtest accept [NAME ...]\n  llmtest reject [NAME ...]\n  llmtest pending --json")
        return 0
    _Review(folder, say, ask, color).run(todo)
    return 0


class _Review:
    """A review on a terminal. Holds state: what is to be decided, and what was accepted last."""

    def __init__(self, folder: Folder, say: Say, ask: Ask, color: bool) -> None:
        self._folder = folder
        self._settling = _Settling(folder, say)
        self._say = say
        self._ask = ask
        self._color = color
        self._done: list[Group] = []
        self._last: list[Group] = []
        """The groups of the last accept."""

    def run(self, todo: list[Group]) -> None:
        """Ask about each group until there is none, or the user quits."""
        while todo:
            group, *rest = todo
            number = len(self._done) + 1
            heading, *lines = group.lines(self._color)
            self._say("\n".join((f"\n{number} of {number + len(rest)}: {heading}", *lines)))
            answer = self._answer(group)
            if answer == "q":
                break
            if answer == "u":
                todo = self._undo(todo)
            elif answer == "o":
                todo = [*group.apart(), *rest]
            elif answer == "A":
                self._accept(todo, by_name=False)
                todo = []
            else:
                self._settle(group, answer)
                todo = rest
        if self._last:
            self._say("to undo the last accept: llmtest accept --undo")

    def _settle(self, group: Group, answer: str) -> None:
        if answer == "a":
            self._accept([group], by_name=len(group.members) == 1)
            return
        if answer == "r":
            self._settling.settle(group.members, accepted=False, by_name=False)
        self._done.append(group)

    def _accept(self, accepted: list[Group], *, by_name: bool) -> None:
        self._settling.settle((one for group in accepted for one in group.members), accepted=True, by_name=by_name)
        self._done += accepted
        self._last = accepted

    def _undo(self, todo: list[Group]) -> list[Group]:
        """Undo the last accept, and return what is to be decided then."""
        undo(self._folder, self._say)
        again, self._last = self._last, []
        self._done = [group for group in self._done if group not in again]
        return [*again, *todo]

    def _answer(self, group: Group) -> str:
        allowed = {"a", "r", "s", "A", "q", *("o" if len(group.members) > 1 else ""), *("u" if self._last else "")}
        question = group.question.replace("[q]uit", "[u]ndo  [q]uit") if self._last else group.question
        while True:
            try:
                said = self._ask(question).strip()
            except EOFError:
                return "q"
            if said in allowed:
                return said
            if said in ("?", "h", "help"):
                self._say(HELP)
            elif said == "u":
                self._say("nothing was accepted in this review; `llmtest accept --undo` undoes an accept before it")


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
