"""A recording as text: the same text for the same program, on every machine, under every legal interleaving.

In three steps, `Shapes` makes the lines of each run, with marks in place of the labels of messages, calls and ids
(`llmtest.trees.values`); `llmtest.order.siblings` orders siblings by the program, never by the clock; `_Writer` walks that
order, assigns the labels, and writes each message once.
The grammar is in docs/reference/tree-text.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from itertools import chain, groupby
from typing import Final, Protocol, get_args
from uuid import UUID

from llmtest.events.callbacks import START_KINDS
from llmtest.events.events import Event, Run
from llmtest.order.nesting import Nesting
from llmtest.order.siblings import Item, home_of, is_node, item_at, item_of, layers
from llmtest.trees.constants import Constants, ShownIn
from llmtest.trees.run_lines import Detail, Shapes, TextPart, interrupt_ids
from llmtest.trees.states import attempts, states_before
from llmtest.trees.values import MARK, OPEN, Name, Words

HEADER: Final = "# llmtest tree v1"
"""The first line of a file with a tree text."""

LEFT_OUT: Final = " ..."
"""The end of the first line of a run that is shown only to group the chosen runs inside it. No other line of a run ends so."""


class Traced(Protocol):
    """A source of trees: a `Recording`, or a part of one."""

    @property
    def roots(self) -> Sequence[Run]: ...
    @property
    def late_events(self) -> Sequence[Event]: ...


class Part:
    """The runs of a recording that `Recording.only` chose: `part.runs`, and `str(part)` as a tree.

    They keep the order of the whole tree, and stand below each other as far as both are chosen. A run shows its input also
    if a run that is left out has the same input. A part is evaluated at each use, like its recording.
    """

    def __init__(self, recording: Traced, keeps: Callable[[Run], bool]) -> None:
        self._recording = recording
        self.keeps = keeps

    @property
    def roots(self) -> Sequence[Run]:
        return self._recording.roots

    @property
    def late_events(self) -> Sequence[Event]:
        return self._recording.late_events

    @property
    def runs(self) -> list[Run]:
        """The chosen runs in the order of their starts."""
        chosen = [run for root in self.roots for run in root.walk() if self.keeps(run)]
        return sorted(chosen, key=lambda run: run.start.number)

    def outline(self) -> str:
        """Return one line for each of the chosen runs."""
        return outline(self)

    def __str__(self) -> str:
        return render(self)


def render(source: Traced | Run, *, detail: Detail = "default") -> str:
    """Return the trees of `source` as text, ending with a newline.

    `detail="outline"` is one line for each run; `"short"` leaves out what models are told besides messages; `"full"` adds
    all parameters, all metadata and every token. Open runs are marked; events after the end of the block stand under
    `late`. Two renderings of equal programs are equal.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> print(render(recording), end="")
    chat ScriptedChatModel
      > u1: "hi"
      < a1: "Hello there"  usage in=1 out=2

    It does not show run ids, times or how concurrent runs interleaved: those are in the events.
    """
    return "".join(f"{line}\n" for line in lines(source, detail=detail))


class Rendered:
    """The text of a snapshot: of `source`, with its header. `expected` is the text of the accepted snapshot, if there is one:
    an id or a time that it shows as it is, a constant of the program, is shown so again. `met` are those that masks could hide.
    """

    def __init__(self, source: Traced | Run, expected: str = "") -> None:
        self._source = source
        self._expected = expected
        plain = Constants()
        self._masked = self._render(plain)
        self.met: Final = frozenset(plain.met)
        # The text of a snapshot may show a value in a place that no mask hides, such as the digest under `etag`.
        self.text: Final = self._masked if self._masked == expected else self.show(())

    def show(self, constants: Container[str]) -> str:
        """Return the text in which `constants` are shown as they are, too."""
        known = ShownIn(self._expected, constants)
        shown = frozenset(value for value in self.met if value in known)
        return self._render(Constants(shown)) if shown else self._masked

    def _render(self, constants: Constants) -> str:
        return "".join(f"{line}\n" for line in (HEADER, *lines(self._source, constants=constants)))


def outline(source: Traced | Run) -> str:
    """Return one line for each run: `render(source, detail="outline")`."""
    return render(source, detail="outline")


def lines(source: Traced | Run, *, detail: Detail = "default", constants: Constants | None = None) -> list[str]:
    """Return the lines of `render`, without their ends."""
    return _written(source, detail, constants).lines


def lines_and_runs(source: Traced | Run) -> tuple[list[str], list[tuple[int, Run]]]:
    """Return the lines of `render`, and each run with the number of its first line, from 1, in the order of these lines.

    The order is the same in every execution. A run that went on after its block stands in it twice: as it was inside, and as
    `late`. Hooks of middleware that did nothing share a line.
    """
    written = _written(source, "default", None)
    return written.lines, written.places


def _written(source: Traced | Run, detail: Detail, constants: Constants | None) -> _Writer:
    if detail not in get_args(Detail):
        raise ValueError(f"detail is one of {', '.join(map(repr, get_args(Detail)))}; got {detail!r}")
    roots, late = ((source,), []) if isinstance(source, Run) else (source.roots, source.late_events)
    late_runs, still = _late_runs(roots, late)
    runs = [run for root in (*roots, *late_runs) for run in root.walk()]
    calls = (run.tool_call_id for run in runs if run.kind == "tool")
    ids = (interrupt for run in runs for interrupt in interrupt_ids(run))
    known = {"outline": detail == "outline", "short": detail == "short", "full": detail == "full"}
    words = Words(filter(None, calls), ids, constants=constants, **known)
    writer = _Writer(Shapes(words, still, source.keeps if isinstance(source, Part) else None))
    writer.trees(roots, 0)
    if late_runs:
        writer.line(0, "late")
        writer.trees(late_runs, 1)
    return writer


def _late_runs(roots: Sequence[Run], events: Sequence[Event]) -> tuple[list[Run], frozenset[int]]:
    """Return the trees of the late events, and the `id`s of the late runs that had started inside the block."""
    own: dict[UUID, list[Event]] = {}
    for event in events:
        own.setdefault(event.run_id, []).append(event)
    begun = {run.id: run.start for root in roots for run in root.walk() if run.id in own} if own else {}
    starts = {run_id: begun.get(run_id, told[0]) for run_id, told in own.items()}
    inside: dict[UUID | None, list[Run]] = {}
    for start in sorted(starts.values(), key=lambda event: event.number, reverse=True):
        told = (start, *own[start.run_id]) if start.run_id in begun else tuple(own[start.run_id])
        about = (START_KINDS.get(start.kind, "chain"), start.name, start.tags, start.metadata)
        run = Run(start.run_id, start.parent_run_id, *about, told, tuple(reversed(inside.get(start.run_id, ()))))
        inside.setdefault(start.parent_run_id if start.parent_run_id in own else None, []).append(run)
    late = list(reversed(inside.get(None, ())))
    return late, frozenset(id(run) for root in late for run in root.walk() if run.id in begun)


# -- the whole text


class _Writer:
    """Walks the trees in canonical order, and assigns a label to each thing where it is first met. Holds state.

    A list of steps in place of recursion, so that no tree is too deep.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.out: list[str] = []
        self.places: list[tuple[int, Run]] = []
        """The runs with the numbers of their first lines."""
        self._shapes = shapes
        self._words = shapes.words
        self._counts: Counter[str] = Counter()
        self._fresh: list[Name] = []
        self._texts: dict[str, str] = {}
        self._tools: dict[str, str] = {}
        self._inside: dict[int, list[list[Item]]] = {}
        self._plain: dict[int, str] = {}
        self._todo: list[Callable[[], None]] = []

    def trees(self, roots: Sequence[Run], depth: int) -> None:
        self._nesting = Nesting(roots)
        self._shapes.strays.update(map(id, self._nesting.hosts))
        self._plan(layers([item_of(run, None) for run in self._nesting.inside(None)], home_of(roots)), None, depth)
        while self._todo:
            self._todo.pop()()

    @property
    def lines(self) -> list[str]:
        return self.out or ["(nothing was recorded)"]

    def line(self, depth: int, text: str) -> None:
        self.out.append(f"{'  ' * depth}{text}")

    # order

    def _layers_of(self, run: Run, parent: Run | None) -> list[list[Item]]:
        inside = self._inside.get(id(run))
        if inside is None:
            notes = self._shapes.of(run, parent).notes
            items = [item_of(child, run) for child in self._nesting.inside(run)]
            items += [item_at(event, part) for event, part in notes]
            inside = self._inside[id(run)] = layers(items, run.start.lane)
            children = [[item.run for item in layer if item.run is not None] for layer in inside]
            if any(map(is_node, chain.from_iterable(children))):
                self._shapes.attempts |= attempts(chain.from_iterable(children))
                self._shapes.expected |= states_before(children, run.start.payload.get("inputs"))
        return inside

    def _subtree(self, run: Run, parent: Run | None) -> list[tuple[Run, Run | None]]:
        """Return the runs of a subtree with their parents, parents first."""
        runs = [(run, parent)]
        for inner, above in runs:  # grows while it is read
            runs += [(item.run, inner) for layer in self._layers_of(inner, above) for item in layer if item.run is not None]
        return runs

    def _sort_parallel(self, layer: Sequence[Item], parent: Run | None) -> list[Item]:
        """Return parallel items in order: of their requests, then of their numbers, then of their content."""
        seats = {id(item): (self._request_number(item, parent), item.seat) for item in layer}
        seated: list[Item] = []
        for _, same in groupby(sorted(layer, key=lambda item: seats[id(item)]), key=lambda item: seats[id(item)]):
            equals = list(same)
            if len(equals) > 1:
                equals.sort(key=lambda item: (self._content_key(item, parent), self._label_numbers(item, parent)))
            seated += equals
        return seated

    def _request_number(self, item: Item, parent: Run | None) -> float:
        """Return the number of the tool call that a run answers; infinity if it has no number yet."""
        if item.run is None:
            return math.inf
        shape = self._shapes.of(item.run, parent)
        named = self._words.names_in(shape.head, *shape.input)
        calls = (self._words.names_in(name.lines[0])[0] if name.prefix == "request" else name for name in named)
        return min((call.number for call in calls if call.prefix == "call"), default=math.inf)

    def _content_key(self, item: Item, parent: Run | None) -> str:
        """Return the text of a subtree without labels, in canonical order: equal for interchangeable subtrees."""
        if item.run is None:
            return self._words.plain("\n".join(item.note.lines))
        if id(item.run) not in self._plain:
            for run, above in reversed(self._subtree(item.run, parent)):
                own = self._words.plain("\n".join(self._shapes.of(run, above).texts()))
                ranks = (sorted((i.seat, self._content_key(i, run)) for i in layer) for layer in self._layers_of(run, above))
                self._plain[id(run)] = "\n".join((own, *(f"{{{said}}}" for rank in ranks for _, said in rank)))
        return self._plain[id(item.run)]

    def _label_numbers(self, item: Item, parent: Run | None) -> list[float]:
        """Return the numbers of the labels in a subtree: they tell apart subtrees with equal content."""
        runs = self._subtree(item.run, parent) if item.run is not None else []
        texts = (text for run, above in runs for text in self._shapes.of(run, above).texts())
        return [name.number for text in texts for name in self._words.names_in(text)]

    # writing

    def _plan(self, layers: Sequence[list[Item]], parent: Run | None, depth: int) -> None:
        steps: list[Callable[[], None]] = []
        for is_quiet, group in groupby(layers, key=lambda layer: self._is_quiet(layer, parent)):
            row = list(group)
            if is_quiet:
                steps.append(partial(self._fold, [item.run for (item,) in row if item.run is not None], depth))
            else:
                steps += [partial(self._layer, layer, parent, depth) for layer in row]
        self._todo += reversed(steps)

    def _is_quiet(self, layer: Sequence[Item], parent: Run | None) -> bool:
        alone = layer[0].run if len(layer) == 1 else None
        return alone is not None and parent is not None and self._shapes.is_quiet(alone, parent)

    def _fold(self, runs: Sequence[Run], depth: int) -> None:
        """Write one line for hooks of middleware that have done nothing."""
        self.line(depth, f"@ middleware {', '.join(self._words.atom(run.name, ',') for run in runs)}")
        self.places += [(len(self.out), run) for run in runs]

    def _count_kept(self, item: Item, parent: Run | None) -> int:
        """Return how many runs of a subtree are written at its top."""
        if item.run is None:
            return int(parent is None or self._shapes.keeps_run(parent))
        if self._shapes.keeps_run(item.run):
            return 1
        count, todo = 0, [(item.run, parent)]
        for run, above in todo:  # grows while it is read
            inner = [one.run for layer in self._layers_of(run, above) for one in layer if one.run is not None]
            count += sum(self._shapes.keeps_run(one) for one in inner)
            todo += [(one, run) for one in inner if not self._shapes.keeps_run(one)]
        return count

    def _layer(self, layer: list[Item], parent: Run | None, depth: int) -> None:
        if self._shapes.keeps is not None:
            layer = [item for item in layer if self._count_kept(item, parent)]
        if len(layer) > 1:
            layer = self._sort_parallel(layer, parent)
        # An outline shows no events, so it groups only runs.
        grouped = sum(item.run is not None or not self._words.outline for item in layer) > 1
        if grouped:
            self.line(depth, "parallel")
            depth += 1
        self._todo += [partial(self._item, item, parent, depth, grouped) for item in reversed(layer)]

    def _item(self, item: Item, parent: Run | None, depth: int, grouped: bool) -> None:
        if item.run is None:
            return self._parts(depth, [item.note])
        if not self._shapes.keeps_run(item.run):
            return self._replace_by_inner(item, item.run, parent, depth, grouped)
        shape = self._shapes.of(item.run, parent)
        ending = shape.after[-1]
        odd = f"  {ending.sign} {ending.lines[0].partition(':')[0]}" if self._words.outline and ending.sign in "!?^" else ""
        self.line(depth, self._resolve(shape.head) + odd)
        self.places.append((len(self.out), item.run))
        self._define(depth + 1)
        self._parts(depth + 1, shape.before)
        self._todo.append(partial(self._parts, depth + 1, shape.after))
        self._plan(self._layers_of(item.run, parent), item.run, depth + 1)

    def _replace_by_inner(self, item: Item, run: Run, parent: Run | None, depth: int, grouped: bool) -> None:
        """Write the chosen runs inside a run in its place; below its line if they follow one another beside others."""
        if grouped and self._count_kept(item, parent) > 1:
            self.line(depth, self._resolve(self._shapes.of(run, parent).head) + LEFT_OUT)
            depth += 1
            self._define(depth)
        self._plan(self._layers_of(run, parent), run, depth)

    def _parts(self, depth: int, parts: Sequence[TextPart]) -> None:
        for part in parts:
            self._put(depth, part)

    def _put(self, depth: int, part: TextPart) -> None:
        """Write one entry. A thing that it names for the first time is defined before it, or in it if it names nothing else."""
        shown = [self._resolve(line) if OPEN in line else line for line in part.lines]
        if part.unshown:
            self._resolve(part.unshown)
        if len(self._fresh) == 1 and shown == [self._fresh[0].label]:
            return self._put(depth, TextPart(part.sign, _definition(self._fresh.pop()), part.suffix))
        self._define(depth)
        if not self._words.outline:
            self.line(depth, f"{part.sign} {shown[0]}{part.suffix}")
            for line in shown[1:]:
                self.line(depth + 1, line)

    def _define(self, depth: int) -> None:
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            self._parts(depth, [TextPart("+", _definition(name)) for name in fresh])

    # names

    def _resolve(self, text: str) -> str:
        return MARK.sub(self._label_of, text) if OPEN in text else text

    def _label_of(self, match: re.Match[str]) -> str:
        name = self._words.names[int(match[1])]
        label = name.label or self._assign_label(name)
        if name.prefix != "tool":
            return label
        # A tool goes by its own name; another one of that name has its label, too.
        first = self._tools.setdefault(name.text, label)
        return name.text if first == label else f"{name.text}/{label}"

    def _assign_label(self, name: Name) -> str:
        """Give `name` its label. A tool call is written with its arguments when it is first met, as a number afterwards."""
        if name.prefix == "request":
            name.label = self._resolve(name.lines[0])
            return f"{name.label} {self._resolve(name.lines[1])}"
        if name.prefix == "tie":
            place, _, group = name.text.partition(" ")
            members = self._words.names_in(group)
            self._resolve(group)
            name.label = sorted(members, key=lambda member: member.number)[int(place)].label
            return name.label
        owner = self._words.owners.get(name.text) if name.prefix == "id" else None
        if owner is not None and owner.label:
            name.label = owner.label
        elif name.prefix == "v" and name.text in self._texts:
            name.label = f"{self._texts[name.text]}.text"
        else:
            self._number(name)
        return name.label

    def _number(self, name: Name) -> None:
        self._counts[name.prefix] += 1
        name.number = self._counts[name.prefix]
        if name.prefix in ("id", "interrupt", "path"):
            # Mostly there is one temporary folder.
            name.label = "<path>" if name.prefix == "path" and name.number == 1 else f"<{name.prefix}:{name.number}>"
        else:
            name.label = f"{name.prefix}{name.number}"
        if name.lines:
            self._fresh.append(name)
            if name.prefix in ("tool", "params"):
                return
            known = self._texts.setdefault(name.text, name.label)
            if known != name.label and name.lines == ["", *self._words.bars(name.text)]:
                name.lines = [known if known[0] == "v" else f"{known}.text"]


def _definition(name: Name) -> list[str]:
    first, *rest = name.lines
    return [f"{name.label}: {first}".rstrip(), *rest]
