"""The answers of the models in a tree text, as steps of a script.

A tree shows what a model said, not what it was asked in full: no fingerprints, no ids of tool calls, and at most 40 tokens.
What a tree shows in another form than it was (an id, a time, a secret, an image) is refused, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from llmtest.core.source import shown_path
from llmtest.core.text import amount, clip
from llmtest.errors import ScriptError, TreeTextError
from llmtest.events.callbacks import MODELS
from llmtest.events.words import EMPTY, Failure, FrozenDict, FrozenList, Usage
from llmtest.scripts.from_recording import failure_of
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Text, Thinking, split
from llmtest.trees.parsing import Head, Node, head, parse, unquote


@dataclass(frozen=True, slots=True)
class ShownCall:
    """One call of a model that a tree shows: the name of the model, the step that answers so, and its line in the file."""

    model: str
    step: Reply | Fail
    line: int
    branches: tuple[tuple[int, int], ...] = ()
    """Each `parallel` group around it, by its line, and the line of the branch in it."""


def calls_in(text: str, path: str, *, tokens: bool = False) -> tuple[list[ShownCall], list[str]]:
    """Return the calls of models in a tree text, in its order, and what cannot be told of them, in words.

    With `tokens`, a stream of at most 40 tokens keeps them.

    Raises:
        ScriptError: it is no tree text, an answer is shown in another form than it was, or calls of one model that ran at the
            same time had different answers; with file and line.

    >>> calls, notes = calls_in('chat gpt-5\\n  > u1: "hi"\\n  < a1: "Hello there"  usage in=1 out=2\\n', "a.tree")
    >>> [(call.model, str(call.step)) for call in calls]
    [('gpt-5', "say('Hello', ' there')")]
    """
    try:
        roots = parse(text)
    except TreeTextError as error:
        raise _wrong(path, error.line, f"the file is no tree text: {error.problem}") from None
    reader = _Reader(path, tokens)
    calls = list(reader.read(roots))
    _refuse_contested(path, calls)
    return calls, reader.notes


def _wrong(path: str, line: int, text: str, *evidence: str) -> ScriptError:
    return ScriptError("\n".join([f"{shown_path(f'{path}:{line}')}: {text}", *(f"  {more}" for more in evidence)]))


_USE_TRACE: Final = "take the script from the trace of the run (llmtest script TRACE), which holds all of it"


def _refuse_contested(path: str, calls: Sequence[ShownCall]) -> None:
    """Raise if calls of one model were concurrent and had different answers: a tree does not tell which key each needs."""
    for number, later in enumerate(calls):
        for earlier in calls[:number]:
            if earlier.model != later.model or earlier.step == later.step:
                continue
            branches = dict(earlier.branches)
            if any(group in branches and branches[group] != branch for group, branch in later.branches):
                raise _wrong(
                    path,
                    later.line,
                    f"two calls of `{later.model}` ran at the same time, and a snapshot does not hold what tells them apart",
                    f"the other one is in line {earlier.line}",
                    _USE_TRACE,
                )


_DEFINED: Final = re.compile(r"(?:[+><*] )(?:partial )?(?P<label>(?:[suatmdv]|call)\d+):(?: (?P<said>.*))?", re.DOTALL)
_SUFFIX: Final = re.compile(r"(?P<stop>  stop=(?P<reason>\"(?:[^\"\\]|\\.)*\"|\S+))?(?P<usage>  usage (?P<counts>[^\"]*))?$")
_STREAM: Final = re.compile(r'~ \d+ tokens?: ("(?:[^"\\]|\\.)*")$')


class _Reader:
    """Reads the runs of a tree, and keeps what its labels stand for. Holds state."""

    def __init__(self, path: str, tokens: bool) -> None:
        self.notes: list[str] = []
        self._path = path
        self._tokens = tokens
        self._bodies: dict[str, tuple[list[str], int]] = {}

    def read(self, nodes: Sequence[Node], around: tuple[tuple[int, int], ...] = ()) -> Iterator[ShownCall]:
        for node in nodes:
            if node.kind == "entry":
                self._define(node)
            elif node.kind == "parallel":
                for branch in node.inside:
                    yield from self.read([branch], (*around, (node.line, branch.line)))
            elif node.kind == "run":
                known = head(node)
                inside = list(self.read(node.inside, around))
                if known.kind in MODELS:
                    yield self._call(node, known, around)
                yield from inside
            else:
                yield from self.read(node.inside, around)

    def _define(self, node: Node) -> None:
        found = _DEFINED.fullmatch(node.text)
        if found is not None:
            self._bodies.setdefault(found["label"], ([found["said"] or "", *node.more], node.line))

    def _call(self, node: Node, known: Head, around: tuple[tuple[int, int], ...]) -> ShownCall:
        entries = [entry for entry in node.inside if entry.kind == "entry"]
        if not entries:
            raise _wrong(self._path, node.line, "the text is an outline, which does not show what the models said")
        end = entries[-1]
        said = [entry for entry in entries if entry.sign == "<"]
        if len(said) > 1:
            raise _wrong(self._path, said[1].line, "the model gave several candidates, of which a step says one", _USE_TRACE)
        if end.sign == "?":
            raise _wrong(self._path, end.line, f"the call of the model did not end: `{end.text}`")
        step: Reply | Fail = self._reply(said[0]) if said else Reply((), False, truncated=True)
        if end.sign == "!":
            failure = self._failure(end)
            if isinstance(step, Reply) and said:
                step = replace(step, usage=step.usage or False, stop_reason=None, failure=failure, truncated=failure is None)
            elif failure is not None:
                step = failure
        elif end.sign != "<":
            raise _wrong(self._path, end.line, f"a call of a model does not end so: `{clip(end.text, 80)}`")
        if isinstance(step, Reply):
            step = self._with_tokens(step, entries)
        model = known.model if known.model is not None else known.name
        return ShownCall(unquote(model), step, node.line, around)

    def _failure(self, end: Node) -> Fail | None:
        """Return the failure of a run; None if it was ended from outside."""
        kind, _, message = end.text.removeprefix("! ").partition(":")
        if kind.partition(" ")[0] in ("cancelled", "closed", "stopped"):
            return None
        lines = [self._bar(line, end.line) for line in end.more]
        text = "\n".join(lines) if lines else message.strip()
        return failure_of(Failure(unquote(kind), self._exact(unquote(text) if text.startswith('"') else text, end.line)))

    # -- what a model said

    def _reply(self, entry: Node) -> Reply:
        text = entry.text.removeprefix("< ").removeprefix("partial ")
        lines = [text, *entry.more]
        found = _SUFFIX.search(lines[-1] if len(lines) > 1 and _SUFFIX.search(lines[-1])[0] else lines[0])  # type: ignore[index]
        assert found is not None  # it finds the empty text
        at = lines.index(found.string)
        lines[at] = found.string[: found.start()]
        label = re.fullmatch(r"(a\d+|v\d+)(?::(?: (.*))?)?", lines[0], re.DOTALL)
        if label is not None and ":" in lines[0][: len(label[1]) + 1]:
            body, line = [label[2] or "", *lines[1:]], entry.line
            self._bodies[label[1]] = body, line
        elif label is not None:
            body, line = self._body(label[1], entry.line)
        else:
            body, line = lines, entry.line
        parts = tuple(self._parts(body, line))
        reason = found["reason"]
        return Reply(parts, self._usage(found["counts"]), None if reason is None else unquote(reason))

    def _body(self, label: str, line: int) -> tuple[list[str], int]:
        if label not in self._bodies:
            raise _wrong(self._path, line, f"the text does not define `{label}`")
        return self._bodies[label]

    def _usage(self, text: str | None) -> Usage | Literal[False]:
        if text is None:
            return False
        counts = {key: int(number) for key, number in re.findall(r"\b(in|out|total)=(\d+)", re.sub(r"\(.*?\)", "", text))}
        details = {}
        for side in ("in", "out"):
            found = re.search(rf"\b{side}=\d+ \((.*?)\)", text)
            details[side] = FrozenDict({key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", found[1] if found else "")})
        into, out = counts.get("in", 0), counts.get("out", 0)
        return Usage(into, out, counts.get("total", into + out), details["in"], details["out"])

    def _parts(self, body: Sequence[str], line: int) -> Iterator[Part]:
        """Yield the parts of a message: on one line, apart by `; `, or on several ones."""
        bars: list[str] = []
        for number, text in enumerate(body):
            if text.startswith("| ") or text == "|" or (number and text.startswith('"') and self._is_block(body)):
                bars.append(self._bar(text, line + number))
                continue
            if bars:
                yield _text("\n".join(bars))
                bars = []
            if text not in ("", ";"):
                yield from self._line(text, line + number)
        if bars:
            yield _text("\n".join(bars))

    @staticmethod
    def _is_block(body: Sequence[str]) -> bool:
        return any(text.startswith("|") for text in body)

    def _line(self, text: str, line: int) -> Iterator[Part]:
        reader = _Values(text, line, self)
        while True:
            yield reader.part()
            if not reader.take("; "):
                break
        reader.end()

    def _bar(self, line: str, number: int) -> str:
        return self._exact(unquote(line) if line.startswith('"') else line[2:], number)

    def _exact(self, text: str, line: int) -> str:
        """Return `text`, or raise if a part of it was hidden."""
        hidden = _HIDDEN.search(text)
        if hidden is not None:
            raise self.refused(hidden[0], line)
        return text

    def refused(self, shown: str, line: int) -> ScriptError:
        text = f"the model said something that a snapshot shows as `{clip(shown, 60)}`, so that it is not known"
        return _wrong(self._path, line, text if shown else "the line ends within what the model said", _USE_TRACE)

    def text_of(self, label: str, line: int) -> str:
        """Return the text of several lines that a label stands for."""
        body, first = self._body(label, line)
        return "\n".join(self._bar(text, first + number) for number, text in enumerate(body) if text)

    def exact(self, text: str, line: int) -> str:
        return self._exact(text, line)

    def _with_tokens(self, step: Reply, entries: Sequence[Node]) -> Reply:
        if not self._tokens or not any(entry.sign == "~" for entry in entries):
            return step
        for entry in entries:
            found = _STREAM.fullmatch(entry.text)
            if found is None:
                continue
            exact = tuple(part.replace("\\|", "|") for part in re.split(r"(?<!\\)\|", unquote_bars(found[1])))
            parts = [
                replace(part, tokens=exact) if isinstance(part, Text) and "".join(part.tokens) == "".join(exact) else part
                for part in step.parts
            ]
            if tuple(parts) != step.parts or any(isinstance(part, Text) and part.tokens == exact for part in parts):
                return replace(step, parts=tuple(parts))
        line = next(entry.line for entry in entries if entry.sign == "~")
        self.notes.append(f"line {line}: the snapshot does not show all tokens of the stream; the text is cut into words")
        return step


def unquote_bars(text: str) -> str:
    """Return a JSON string in which `\\|` stands for a bar, with the escape of the bars kept."""
    return unquote(text.replace("\\|", "\\\\|"))


_HIDDEN: Final = re.compile(r"<(?:id|interrupt|path|mask)(?::[^<>]*)?>|<(?:time|addr)>")


def _text(text: str) -> Text:
    return Text(tuple(split(text)))


class _Values:
    """Reads parts and values from one line. Holds state: the position."""

    def __init__(self, text: str, line: int, reader: _Reader) -> None:
        self._text = text
        self._at = 0
        self._line = line
        self._reader = reader

    def take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def end(self) -> None:
        if self._at < len(self._text):
            raise self._refused()

    def _refused(self) -> ScriptError:
        return self._reader.refused(self._text[self._at :], self._line)

    def part(self) -> Part:
        """Return a text, reasoning or a call of a tool."""
        if self.take("think("):
            said = self._string()
            if not self.take(")"):
                raise self._refused()
            return Thinking(tuple(split(said)))
        if self._text.startswith('"', self._at) or _LABEL.match(self._text, self._at):
            return _text(self._string())
        before = self._at
        self.match(_CALL_LABEL)
        name = self.match(_NAME)
        if name is None or not self.take("("):
            self._at = before
            raise self._refused()
        if self._text.startswith('"', self._at) and (text := self._raw_arguments()) is not None:
            return Call(unquote(name[0]), EMPTY, None, (text,))
        return Call(unquote(name[0]), FrozenDict(self._arguments()))

    def _raw_arguments(self) -> str | None:
        """Return arguments that are no JSON: one string in the parentheses."""
        before = self._at
        text = self._string()
        if self.take(")"):
            return text
        self._at = before
        return None

    def _arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self.take(")"):
            name = self.match(_ARGUMENT)
            if name is None:
                raise self._refused()
            found[unquote(name[1])] = self.value()
            self.take(", ")
        return found

    def _string(self) -> str:
        label = self.match(_LABEL)
        if label is not None:
            return self._reader.text_of(label[0], self._line)
        found = self.match(_STRING)
        if found is None:
            raise self._refused()
        return self._reader.exact(unquote(found[0]), self._line)

    def value(self) -> Any:
        """Return a JSON value."""
        if self._text.startswith('"', self._at) or _LABEL.match(self._text, self._at):
            return self._string()
        if self.take("{"):
            return FrozenDict(self._items())
        if self.take("["):
            items = []
            while not self.take("]"):
                items.append(self.value())
                self.take(", ")
            return FrozenList(items)
        word = self.match(_WORD)
        if word is None:
            raise self._refused()
        if word[0] in _CONSTANTS:
            return _CONSTANTS[word[0]]
        return float(word[0]) if any(sign in word[0] for sign in ".en") else int(word[0])

    def _items(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self.take("}"):
            key = self.match(_STRING)
            if key is None or not self.take(": "):
                raise self._refused()
            found[self._reader.exact(unquote(key[0]), self._line)] = self.value()
            self.take(", ")
        return found


_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"()]+')
_LABEL: Final = re.compile(r"v\d+(?=[),;}\]]|$)")
_CALL_LABEL: Final = re.compile(r"call\d+ ")
_ARGUMENT: Final = re.compile(r'("(?:[^"\\]|\\.)*"|\w+)=')
_WORD: Final = re.compile(r"true|false|null|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.])")
_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}


def describe(calls: Sequence[ShownCall]) -> str:
    """Return what a script of a tree cannot have, in words."""
    return (
        f"{amount(len(calls), 'call')} from a snapshot: it does not hold what the models were asked, so that no step can tell"
        " that its request has changed; nor the ids of tool calls, and numbers of more than 12 digits"
    )
