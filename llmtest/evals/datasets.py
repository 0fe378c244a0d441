"""Datasets: the cases of an evaluation, from a file, from Python, or from traces.

All three ways end in one reader, which knows the line of each value: a wrong case is an error that names the file and the line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self, overload

from llmtest.core.safe_yaml import MAX_NESTING, Node
from llmtest.core.source import shown_path
from llmtest.core.text import CONTROLS, amount, did_you_mean, short
from llmtest.errors import DatasetError, ScriptError
from llmtest.events.words import EMPTY, Document, FrozenDict, Message, Structured
from llmtest.scripts.yaml_nodes import At, compose_text, decode

# -- what a dataset is


@dataclass(frozen=True, slots=True)
class Case:
    """One case: the `inputs` of the program and what is `expected` of it, under an `id` that never changes.

    `inputs`, `expected` and the values of `metadata` are JSON values that cannot be changed: `dict(case.inputs)` is a copy that
    can. `tags` select cases, `weight` says how much the case counts in a mean.
    """

    id: str
    inputs: Any
    expected: Any = None
    tags: tuple[str, ...] = ()
    weight: float = 1.0
    metadata: FrozenDict = EMPTY

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that change with the id, the inputs, what is expected, and the metadata.

        Tags and the weight are not in it: they change no result.
        """
        return _hash([self.id, self.inputs, self.expected, self.metadata])


class Dataset(Sequence[Case]):
    """Cases, in order, each with an id of its own.

    Made from cases, or from mappings with the fields of a case, of which `id` and `inputs` are required.

    Raises:
        DatasetError: there is no case, two cases have one id, or a field is missing, unknown or of the wrong type.

    >>> dataset = Dataset([
    ...     {"id": "paris", "inputs": {"question": "What is the capital of France?"}, "expected": "Paris"},
    ...     {"id": "oslo", "inputs": {"question": "What is the capital of Norway?"}, "expected": "Oslo", "tags": ["north"]},
    ... ])
    >>> dataset[1].expected, dataset["paris"].inputs["question"]
    ('Oslo', 'What is the capital of France?')
    """

    def __init__(self, cases: Iterable[Case | Mapping[str, Any]], *, name: str = "dataset") -> None:
        place = "Dataset(...)"
        nodes = [_node(_fields(case) if isinstance(case, Case) else case, number, place) for number, case in enumerate(cases, 1)]
        self._fill(_read(nodes, place), name)

    def _fill(self, cases: tuple[Case, ...], name: str) -> None:
        self.name = name
        self._cases = cases
        self._by_id = {case.id: case for case in cases}

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Return the dataset of a file; its name is that of the file.

        The ending of the file tells how it is written: a list of cases (`.yaml`, `.yml`), one case per line (`.jsonl`), or a
        table whose first row has the fields (`.csv`). A column of a table may be a part of a field, `inputs.question`; `;`
        separates tags, and every value is text.

        Raises:
            DatasetError: the file cannot be read, or a case in it is wrong; with the file and the line.
        """
        path = Path(path)
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise DatasetError(f"{shown_path(str(path))}: a dataset is a file with the ending {', '.join(_READERS)}")
        try:
            content = path.read_bytes()
        except OSError as error:
            near = did_you_mean(path.name, (other.name for other in path.parent.glob("*")))
            raise DatasetError(f"{shown_path(str(path))}: the dataset cannot be read: {error.strerror}{near}") from None
        made = cls.__new__(cls)
        try:
            text = decode(content.removeprefix(b"\xef\xbb\xbf"), str(path))  # spreadsheets write a byte order mark
        except ScriptError as error:
            raise DatasetError(str(error)) from None
        made._fill(_read(reader(text, str(path)), str(path)), path.stem)
        return made

    @classmethod
    def from_session(cls, session: str, *, store: Path | str | None = None) -> Self:
        """Return the traces of a session in the trace store as cases: what their root runs were given, and what they returned.

        `session` is its name, or the key of one trace. The id of a case is the key of its trace, as `llmtest show` prints it; a
        root run that failed has no expected output. Messages are mappings as LangChain takes them. `store` is the file, by
        default the one that this process writes. Secrets are masked in it.

        Raises:
            StoreError: there is no such session, or the file cannot be read.
            DatasetError: a trace was given something, or has returned something, that is no JSON value.
        """
        from llmtest.tracing.session import load_traces

        return cls(
            (
                {
                    "id": str(root.id)[-8:],
                    "inputs": _plain(root.input),
                    "expected": _plain(root.output),
                    "tags": list(root.tags),
                    "metadata": {"session": session, "name": root.name, "ended": root.ended},
                }
                for recording in load_traces(session, store=store)
                for root in recording.roots
            ),
            name=session,
        )

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that change with the cases (see `Case.hash`), and not with their order or the name."""
        return _hash(sorted(case.hash for case in self))

    @property
    def ids(self) -> list[str]:
        return list(self._by_id)

    @overload
    def __getitem__(self, index: int | str) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Case, ...]: ...
    def __getitem__(self, index: int | str | slice) -> Case | tuple[Case, ...]:
        """Return the case with a number or an id.

        Raises:
            KeyError: there is no case with this id; the message has the nearest one.
            IndexError: there is no case with this number.
        """
        if not isinstance(index, str):
            return self._cases[index]
        if index not in self._by_id:
            raise KeyError(f"{self.name} has no case {index!r}{did_you_mean(index, self._by_id)}")
        return self._by_id[index]

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def __repr__(self) -> str:
        return f"<Dataset {self.name!r}: {amount(len(self), 'case')}, hash {self.hash}>"


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


# -- values as nodes

_YAML: Final = "tag:yaml.org,2002:"
_TEXT, _INT, _FLOAT, _LIST, _MAP = (f"{_YAML}{kind}" for kind in ("str", "int", "float", "seq", "map"))


def _text_node(text: str, line: int) -> Node:
    return Node(_TEXT, text, line, '"')


def _node(value: object, line: int, path: str, depth: int = 0) -> Node:
    """Return the node of a JSON value."""
    if isinstance(value, Node):
        return value
    if depth > MAX_NESTING:
        raise DatasetError(f"{shown_path(f'{path}:{line}')}: the case nests deeper than {MAX_NESTING} levels")
    if isinstance(value, str):
        return _text_node(str(value), line)
    if value is None or isinstance(value, bool):
        return Node(f"{_YAML}null", "", line) if value is None else Node(f"{_YAML}bool", str(value).lower(), line)
    if isinstance(value, int | float):
        return Node(_INT if isinstance(value, int) else _FLOAT, repr(value), line)
    if isinstance(value, Mapping):
        value = _Pairs(value.items())
    if isinstance(value, _Pairs):
        inner = [(_node(key, line, path, depth + 1), _node(item, line, path, depth + 1)) for key, item in value]
        return Node(_MAP, inner, line)
    if isinstance(value, list | tuple):
        return Node(_LIST, [_node(item, line, path, depth + 1) for item in value], line)
    raise DatasetError(
        f"{shown_path(f'{path}:{line}')}: a case holds JSON values; got {short(value)}, of the type {type(value).__name__}"
    )


class _Pairs(tuple[Any, ...]):
    """The pairs of a JSON object: a key may stand twice, which is an error."""

    __slots__ = ()


def _fields(case: Case) -> dict[str, Any]:
    return {field.name: getattr(case, field.name) for field in fields(case)}


# -- files


def _read_yaml(text: str, path: str) -> list[Node]:
    try:
        root = compose_text(text, path)
        return [] if root is None else [entry.node for entry in At(path, root, "a dataset").items("a list of cases")]
    except ScriptError as error:
        raise DatasetError(str(error)) from None


def _read_json_lines(text: str, path: str) -> list[Node]:
    nodes = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            nodes.append(_node(_read_json(line, number, path), number, path))
    return nodes


def _read_json(text: str, line: int, path: str) -> object:
    def number(tag: str) -> Callable[[str], Node]:
        return lambda digits: Node(tag, digits, line)

    place = shown_path(f"{path}:{line}")
    try:
        return json.loads(
            text, object_pairs_hook=_Pairs, parse_int=number(_INT), parse_float=number(_FLOAT), parse_constant=number(_FLOAT)
        )
    except json.JSONDecodeError as error:
        raise DatasetError(f"{place}: not JSON: {error.msg} at character {error.colno}") from None
    except RecursionError:
        raise DatasetError(f"{place}: the case nests deeper than {MAX_NESTING} levels") from None


def _read_csv(text: str, path: str) -> list[Node]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    nodes, header, begin = [], list[str](), 1
    try:
        for cells in rows:
            line, begin = begin, rows.line_num + 1
            if not cells:
                continue
            if not header:
                header = _columns(cells, f"{path}:{line}")
            elif len(cells) != len(header):
                raise _wrong(f"{path}:{line}", f"the row has {amount(len(cells), 'cell')}, and the table {len(header)} columns")
            else:
                nodes.append(_row(dict(zip(header, cells, strict=True)), line))
    except csv.Error as error:
        raise _wrong(f"{path}:{begin}", f"not CSV: {error}") from None
    return nodes


_PARTS: Final = ("inputs", "expected", "metadata")


def _columns(cells: Sequence[str], where: str) -> list[str]:
    """Return the columns of a table, each with a field of a case, or with a part of one."""
    header = [cell.strip() for cell in cells]
    for number, column in enumerate(header):
        field, dot, _ = column.partition(".")
        if column in header[:number]:
            raise _wrong(where, f"the column `{column}` stands twice")
        if dot and field in header:
            raise _wrong(where, f"the columns `{field}` and `{column}` exclude each other")
        if column not in _CELLS and not (dot and field in _PARTS):
            known = [*_CELLS, *(f"{part}.{column.rpartition('.')[2]}" for part in _PARTS)]
            wanted = f"expected  {', '.join(f'`{name}`' for name in _CELLS)}, or a part of a field such as `inputs.question`"
            raise _wrong(where, f"the table has the unknown column `{column}`", wanted, did_you_mean(column, known, before=""))
    return header


def _row(cells: Mapping[str, str], line: int) -> Node:
    pairs: dict[str, Node] = {}
    for column, cell in cells.items():
        field, dot, part = column.partition(".")
        if dot:
            pairs.setdefault(field, Node(_MAP, [], line)).value.append((_text_node(part, line), _text_node(cell, line)))
        elif cell or column in ("id", "inputs"):
            pairs[field] = _CELLS[column](cell, line)
    return Node(_MAP, [(_text_node(field, line), node) for field, node in pairs.items()], line)


def _tags_node(cell: str, line: int) -> Node:
    return Node(_LIST, [_text_node(tag.strip(), line) for tag in cell.split(";") if tag.strip()], line)


def _weight_node(cell: str, line: int) -> Node:
    return Node(_FLOAT, cell, line) if _NUMBER.fullmatch(cell) else _text_node(cell, line)


_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_CELLS: Final[dict[str, Callable[[str, int], Node]]] = {
    "id": _text_node,
    "inputs": _text_node,
    "expected": _text_node,
    "tags": _tags_node,
    "weight": _weight_node,
}
_READERS: Final[dict[str, Callable[[str, str], list[Node]]]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
}


def _wrong(where: str, text: str, *evidence: str) -> DatasetError:
    return DatasetError("\n".join([f"{shown_path(where)}: {text}", *(f"  {line}" for line in evidence if line)]))


# -- cases


def _read(nodes: Sequence[Node], path: str) -> tuple[Case, ...]:
    if not nodes:
        raise _wrong(path, "the dataset has no cases; no result would mean anything")
    found: dict[str, tuple[Case, At]] = {}
    try:
        for number, node in enumerate(nodes, 1):
            at = At(path, node, f"case {number}")
            case = _case(at)
            if case.id in found:
                first = shown_path(found[case.id][1].where)
                raise _wrong(at.where, f"{at.name} has the id {case.id!r} of another case, which is at {first}")
            found[case.id] = case, at
    except ScriptError as error:
        raise DatasetError(str(error)) from None
    return tuple(case for case, _ in found.values())


_FIELDS: Final = tuple(field.name for field in fields(Case))


def _case(at: At) -> Case:
    if at.kind != "map":
        raise at.wrong("a mapping with the fields of a case")
    given = at.only(_FIELDS)
    missing = [field for field in ("id", "inputs") if field not in given]
    if missing:
        raise at.error(f"{at.name} has no `{missing[0]}`")
    identity = given["id"].text()
    if not identity or identity != identity.strip() or CONTROLS.search(identity) or "\n" in identity or "\t" in identity:
        raise given["id"].wrong("a name on one line, without spaces around it")
    values: dict[str, Any] = {field: given[field].json() for field in ("inputs", "expected") if field in given}
    if "tags" in given:
        values["tags"] = given["tags"].texts()
    if "weight" in given:
        values["weight"] = float(given["weight"].number(float, "a positive number"))
        if not values["weight"]:
            raise given["weight"].wrong("a positive number")
    if "metadata" in given:
        values["metadata"] = given["metadata"].mapping()
    return Case(identity, **values)


# -- recorded values


def _plain(value: Any) -> Any:
    """Return a recorded value without the words of recordings: messages, documents and structured values as mappings."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Message):
        return _message(value)
    if isinstance(value, Document):
        return {"page_content": value.page_content, "metadata": _plain(value.metadata)}
    return _plain(value.fields) if isinstance(value, Structured) else value


def _message(message: Message) -> dict[str, Any]:
    plain = {"role": message.role, "content": _plain(message.content)}
    if message.tool_calls:
        plain["tool_calls"] = [{"name": call.name, "args": _plain(call.args), "id": call.id} for call in message.tool_calls]
    for field in ("name", "tool_call_id"):
        if getattr(message, field) is not None:
            plain[field] = getattr(message, field)
    return plain
