"""The cases of a page: tests, or stored traces. A row of the index, and the detail that is read when the row is opened."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from llmtest.core.masks import publish
from llmtest.errors import BROKEN_RULE, Violation
from llmtest.events.events import Event
from llmtest.matching.answers import Answer
from llmtest.protocol.run_checks import Broken
from llmtest.recording.recording import Recording
from llmtest.tracing.rows import column
from llmtest.trees.pending import Mismatch
from llmtest.viewer.assistant import for_assistant
from llmtest.viewer.cutting import cut_lines, cut_text
from llmtest.viewer.differences import compared
from llmtest.viewer.traces import TraceData, add, trace_data

Status = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed", "open"]
FAILING: Final = frozenset({"failed", "error"})
MAX_TREE_CHARACTERS: Final = 20_000
"""Of the trees that one case adds to the page for readers without JavaScript."""
MAX_WORDS: Final = 400
"""Characters of the names of runs by which a case is found."""
MAX_LINES: Final = 400
MIN_APART: Final = 256 << 10
"""Characters of what few views need, from which on it is compressed by itself, and decompressed when a view needs it. A smaller
one is much shorter beside the texts that it repeats."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What the page shows of a case when it is opened, as one compressed text or two with a space between, and what the index
    needs of it.

    `input_tokens`, `output_tokens` and `cost` are None where they are not known. Plain data: a worker of xdist sends it.
    """

    data: str
    tree: str = ""
    words: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return its fields, as a report of pytest can carry them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Return the detail with these fields."""
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the index: a test or a stored trace. `cause` is why it fails, on one line; `seconds` how long it took."""

    name: str
    status: Status
    cause: str = ""
    seconds: float | None = None
    detail: Detail | None = None


@dataclass(frozen=True, slots=True)
class FailureText:
    """The failure of a test: its cause on one line, the whole text of the report, and the source of the test."""

    cause: str = ""
    text: str = ""
    source: str = ""


def detail(
    name: str,
    recordings: Sequence[Recording],
    *,
    comparisons: Iterable[Mismatch] = (),
    violations: Sequence[Violation] = (),
    answers: Iterable[tuple[int | None, Answer]] = (),
    failure: FailureText | None = None,
    notes: Sequence[str] = (),
) -> Detail:
    """Return the detail of a case: its recordings, the snapshots it was compared with, violations, and answers of rules.

    An answer comes with the position of the recording that it is about, or None where that is not known. `notes` stand above
    all, with what is missing or was cut. Secrets are masked.
    """
    told = failure or FailureText()
    compares = list(comparisons)
    asked = list(answers)
    # A broken rule is a violation and an answer; the answer knows its events.
    said = {str(answer) for _, answer in asked}
    found = [violation for violation in violations if violation.code != BROKEN_RULE or violation.text not in said]
    traces = [trace_data(recording) for recording in recordings]
    about = {
        "failure": cut_lines(publish(told.text).splitlines(), MAX_LINES, 2_000),
        "source": cut_lines(publish(told.source).splitlines(), MAX_LINES, 500),
        "assistant": _assistant(name, told, compares, list(violations)) if failure else "",
        "snapshots": [compared(c.snapshot.name, c.expected, c.received, publish(c.headline)) for c in compares],
        "checks": [*(_violation(v, traces) for v in found), *(_answer(at, answer, traces) for at, answer in asked)],
        "notes": [publish(note) for note in (*notes, *(note for trace in traces for note in trace.notes))],
    }
    text = f'{json.dumps(about)[:-1]},"traces":[{",".join(trace.text for trace in traces)}]'
    later = f"[{','.join(trace.later for trace in traces)}]"
    parts = [f'{text},"later":{later}}}'] if len(later) < MIN_APART else [f"{text}}}", later]
    trees = "\n".join(trace.tree for trace in traces)
    words = " ".join(dict.fromkeys(name for trace in traces for name in trace.names))[:MAX_WORDS]
    return Detail(
        " ".join(map(pack, parts)),
        cut_text(trees, MAX_TREE_CHARACTERS),
        words,
        *add([trace.figures for trace in traces if trace.figures is not None]),
    )


def pack(text: str) -> str:
    """Return a text compressed, in letters that HTML leaves alone. The same text gives the same."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), 6, mtime=0)).decode()


def _assistant(name: str, failure: FailureText, comparisons: Sequence[Mismatch], violations: Sequence[Violation]) -> str:
    lines = [line for c in comparisons if c.difference is not None for line in (c.headline, *c.lines())]
    texts = "\n\n".join(dict.fromkeys(violation.text for violation in violations))
    cause = publish(failure.text if len(failure.text) < 500 else failure.cause)
    return for_assistant(
        column(name) or "", cause=cause, difference=lines, violations=publish(texts), source=publish(failure.source)
    )


# -- violations and rules


def _violation(violation: Violation, traces: Sequence[TraceData]) -> dict[str, Any]:
    events = violation.witnesses if isinstance(violation, Broken) else ()
    runs = list(_runs_of(((event.number, event.kind, event.name) for event in events), traces, None))
    return {"what": "violation", "code": violation.code, "holds": False, "text": publish(violation.text), "runs": runs}


def _answer(at: int | None, answer: Answer, traces: Sequence[TraceData]) -> dict[str, Any]:
    runs = list(_runs_of(((event.number, event.kind, event.name) for event in answer.events), traces, at))
    return {"what": "rule", "code": answer.expected, "holds": answer.holds, "text": str(answer), "runs": runs}


def _runs_of(
    events: Iterable[tuple[int, str, str]], traces: Sequence[TraceData], only: int | None
) -> Iterator[tuple[int, int, int, str]]:
    """Yield for each event its trace, its run there, its number and its kind. An event is looked for in every trace, if it is
    not known in which one it is."""
    for number, kind, name in events:
        for at, trace in enumerate(traces):
            if only in (None, at) and number < len(trace.events) and _is(trace.events[number], kind, name):
                yield at, trace.owners[number], number, kind
                break


def _is(event: Event, kind: str, name: str) -> bool:
    return event.kind == kind and event.name == name
