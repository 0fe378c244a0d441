"""Keys for recorded calls: the smallest ones that tell concurrent calls apart, so that each gets its own answer again."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Final, Generic, Protocol, TypeVar

from llmtest.core.masks import table
from llmtest.core.text import amount, quote
from llmtest.scripts.requests import On, Request, on
from llmtest.scripts.step_types import Step


class Call(Protocol):
    """A call that was recorded: what was asked, and the step that answers so."""

    @property
    def request(self) -> Request: ...
    @property
    def step(self) -> Step: ...


C = TypeVar("C", bound=Call)

MAX_TEXT: Final = 100
"""How many characters a text may have that a key looks for."""
MAX_TRIED: Final = 50
"""How many words, and lines, of a prompt are tried as the text that several calls have in common."""


@dataclass(frozen=True, slots=True)
class Branch(Generic[C]):
    """Calls that take their steps in order, and the key that chooses them; None for the calls that no key chooses."""

    key: On | None
    calls: list[C]


def branches(calls: Sequence[C], are_ordered: Callable[[C, C], bool]) -> tuple[list[Branch[C]], list[str]]:
    """Return the branches of `calls`, which are in the order in which they began, and what no key tells apart, in words.

    The program decides the order of all calls of a branch, or their answers may change places.
    """
    finder = _Finder(calls, are_ordered)
    if not finder.contested:
        return [Branch(None, list(calls))], []
    found = finder.by_facts() or finder.by_texts() or finder.by_facts_and_texts() or finder.by_shared_texts()
    return (found, []) if found else ([Branch(None, list(calls))], [finder.told_apart_by_nothing()])


class _Finder(Generic[C]):
    """Tries one kind of keys after the other, the smaller ones first."""

    def __init__(self, calls: Sequence[C], are_ordered: Callable[[C, C], bool]) -> None:
        self.calls = calls
        self.are_ordered = are_ordered
        self._rivals: dict[int, set[int]] = {}
        if not all(are_ordered(a, b) for a, b in pairwise(calls)):  # else all are: it is transitive
            for (i, a), (j, b) in combinations(enumerate(calls), 2):
                if a.step != b.step and not are_ordered(a, b):  # equal answers may change places
                    self._rivals.setdefault(i, set()).add(j)
                    self._rivals.setdefault(j, set()).add(i)
        self.numbers = {id(call): number for number, call in enumerate(calls)}
        self.contested = [calls[number] for number in sorted(self._rivals)]

    def is_in_order(self, calls: Sequence[C]) -> bool:
        """True if no two of `calls` may take each other's answers."""
        numbers = {self.numbers[id(call)] for call in calls}
        return not any(self._rivals.get(number, set()) & numbers for number in numbers)

    def by_facts(self) -> list[Branch[C]] | None:
        """Return branches with one or two facts in each key: node, tools, thread, tag."""
        for size in (1, 2):
            for facts in combinations(_FACTS, size):
                groups: dict[tuple[Hashable, ...], list[C]] = {}
                for call in self.contested:
                    groups.setdefault(tuple(fact(call.request) for _, fact in facts), []).append(call)
                if len(groups) < 2 or not all(self.is_in_order(group) for group in groups.values()):
                    continue
                keys = [_key(dict(zip((name for name, _ in facts), values, strict=True))) for values in groups]
                if (found := self._assigned(keys)) is not None:
                    return found
        return None

    def by_texts(self) -> list[Branch[C]] | None:
        """Return branches with a text of the prompt in each key; one branch may go without."""
        chains = list(self._chains())
        texts = [self._text_of(chain, self.contested) for chain in chains]
        return self._assigned([_key({"contains": text}) for text in texts]) if texts.count("") <= 1 else None

    def by_shared_texts(self) -> list[Branch[C]] | None:
        """Return branches with a text in each key that calls of several conversations have, one after the other."""
        prompts = {id(call): call.request.text for call in self.contested}
        texts: list[str] = []
        left = list(self.contested)
        for call in self.contested:
            if call not in left:
                continue
            lines = list(_telling_lines(call.request))
            words = dict.fromkeys(word for line in lines for word in _WORD.findall(line))
            fits: list[tuple[int, str, list[C]]] = []
            for number, text in enumerate([*list(words)[:MAX_TRIED], *(line[:MAX_TEXT] for line in lines[:MAX_TRIED])]):
                having = [other for other in self.contested if text in prompts[id(other)]]
                if all(other in left for other in having) and self.is_in_order(having):
                    fits.append((-len(having) * 1000 + number, text, having))
            if fits:
                _, text, having = min(fits, key=lambda fit: fit[0])
                texts.append(text)
                left = [other for other in left if other not in having]
        return self._assigned([*(_key({"contains": text}) for text in texts), *([None] if left else [])]) if texts else None

    def by_facts_and_texts(self) -> list[Branch[C]] | None:
        """Return branches whose keys have a fact, and a text where the fact is not enough."""
        for name, fact in _FACTS:
            keys = []
            for value in dict.fromkeys(fact(call.request) for call in self.contested):
                group = [call for call in self.contested if fact(call.request) == value]
                if self.is_in_order(group):
                    keys.append(_key({name: value}))
                    continue
                chains = [chain for chain in self._chains() if fact(chain[0].request) == value]
                keys += [_key({name: value, "contains": self._text_of(chain, group)}) for chain in chains]
            if (found := self._assigned(keys)) is not None:
                return found
        return None

    def _assigned(self, keys: Sequence[On | None]) -> list[Branch[C]] | None:
        """Return the branches of `keys`; None if a call fits none of them or several, or a branch is not in order."""
        if None in keys and len(keys) - keys.count(None) < 1:
            return None
        known = [key for key in keys if key is not None]
        if len(set(known)) < len(known):
            return None
        found: dict[On | None, list[C]] = {key: [] for key in known}
        for call in self.calls:
            fits = [key for key in known if key.fits(call.request)]
            fits = [key for key in fits if key.names_all_tools(call.request)] or fits
            if len(fits) > 1 or (not fits and None not in keys and call in self.contested):
                return None
            found.setdefault(fits[0] if fits else None, []).append(call)
        if not all(found.values()) or not all(self.is_in_order(branch) for branch in found.values()):
            return None
        return [Branch(key, branch) for key, branch in found.items()]

    def _chains(self) -> Iterator[list[C]]:
        """Yield the contested calls of each conversation: one call after the other, each with the messages of the one before."""
        chains: list[list[C]] = []
        for call in self.contested:
            fits = (chain for chain in chains if self._continues(chain[-1], call))
            chain = next(fits, None)
            if chain is None:
                chains.append([call])
            else:
                chain.append(call)
        yield from chains

    def _continues(self, before: C, call: C) -> bool:
        said, now = before.request.messages, call.request.messages
        if not said or len(said) > len(now) or tuple(now[: len(said) - 1]) != tuple(said[:-1]):
            return False
        last, grown = said[-1], now[len(said) - 1]
        # A program with a text model has all that was said in one text, which grows.
        grows = grown.role == last.role and grown.text.startswith(last.text) if len(said) == len(now) else grown == last
        return grows and (len(said), last) != (len(now), grown) and self.are_ordered(before, call)

    def _text_of(self, chain: Sequence[C], among: Sequence[C]) -> str:
        """Return the shortest telling text that all prompts of `chain` have and no other one of `among`; empty without any."""
        inside = [call.request.text for call in chain]
        outside = [call.request.text for call in among if not any(call is own for own in chain)]

        def tells(text: str) -> bool:
            return all(text in prompt for prompt in inside) and not any(text in prompt for prompt in outside)

        lines = list(_telling_lines(chain[0].request))
        words = (word for line in lines for word in _WORD.findall(line))
        return next(filter(tells, words), "") or next(filter(tells, (line[:MAX_TEXT] for line in lines)), "")

    def told_apart_by_nothing(self) -> str:
        """Say which calls keep the order in which they were recorded, because no key tells them apart."""
        rivals = [number + 1 for number in sorted(self._rivals)]
        shown = ", ".join(map(str, rivals[:8])) + (", ..." if len(rivals) > 8 else "")
        prompt = self.contested[0].request.messages[-1:]
        said = f" ({quote(prompt[0].text, 60)})" if prompt else ""
        return (
            f"{amount(len(rivals), 'call')} of models ran at the same time ({shown}), and neither node, tools, thread, tags nor"
            f" a text of the prompt{said} tells them apart: their answers are in the order of the recording"
        )


def _telling_lines(request: Request) -> Iterator[str]:
    """Yield the lines of a prompt, those of the user first, without what differs in every run."""
    order = {"human": 0, "tool": 1, "ai": 2}
    for message in sorted(request.messages, key=lambda message: order.get(message.role, 3)):
        for line in message.text.splitlines():
            if line.strip() and not table().volatile.search(line):
                yield line.strip()


_WORD: Final = re.compile(r"[^\W\d_][\w'-]{2,}")


def _outermost(request: Request) -> str | None:
    return request.nodes[0] if request.nodes else None


def _tag(request: Request) -> str | None:
    own = [tag for tag in request.tags if not tag.startswith(("seq:", "graph:", "map:", "langsmith:"))]
    return own[0] if own else None


_FACTS: Final[Sequence[tuple[str, Callable[[Request], Any]]]] = (
    ("node", lambda request: request.node),
    ("outer_node", _outermost),
    ("tools", lambda request: frozenset(request.tools)),
    ("thread", lambda request: request.thread),
    ("tag", _tag),
)


def _key(facts: dict[str, Any]) -> On | None:
    """Return the key with these facts; None if none of them has a value."""
    inner, outer = facts.pop("node", None), facts.pop("outer_node", None)
    node = {"node": outer or inner} if outer or inner else {}
    given = {name: value for name, value in facts.items() if value is not None and value != ""}
    return on(**node, **given) if node or given else None
