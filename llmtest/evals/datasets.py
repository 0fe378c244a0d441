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

from llmtest.core.safe_yaml import Node
from llmtest.core.source import shown_path
from llmtest.core.text import CONTROLS, amount, did_you_mean
from llmtest.errors import DatasetError, ScriptError
from llmtest.evals.json_nodes import FLOAT, LIST, MAP, json_line_nodes, node_of, text_node
from llmtest.events.words import EMPTY, Document, FrozenDict, Message, Structured
from llmtest.scripts.yaml_nodes import At, compose_text, decode, error_at

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
        return content_hash([self.id, self.inputs, self.expected, self.metadata])


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
        given = (_fields(case) if isinstance(case, Case) else case for case in cases)
        self._fill(_read(lambda: [node_of(case, f"{place}:{number}") for number, case in enumerate(given, 1)], place), name)

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
        place = str(path)
        made = cls.__new__(cls)
        # Spreadsheets write a byte order mark.
        made._fill(_read(lambda: reader(decode(content.removeprefix(b"\xef\xbb\xbf"), place), place), place), path.stem)
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
        return hash_of_cases(case.hash for case in self)

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


def hash_of_cases(hashes: Iterable[str]) -> str:
    """Return the hash of a dataset whose cases have these hashes."""
    return content_hash(sorted(hashes))


def content_hash(value: object) -> str:
    """Return 16 hexadecimal digits of a JSON value: the same on every machine and in every version."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _fields(case: Case) -> dict[str, Any]:
    return {field.name: getattr(case, field.name) for field in fields(case)}


# -- files


def _read_yaml(text: str, path: str) -> list[Node]:
    root = compose_text(text, path)
    return [] if root is None else [entry.node for entry in At(path, root, "a dataset").items("a list of cases")]


def _read_csv(text: str, path: str) -> list[Node]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    nodes, header, begin = [], list[str](), 1
    try:
        for cells in rows:
            line, begin = begin, rows.line_num + 1
            if not any(cells):  # spreadsheets write the rows below a table, too
                continue
            if not header:
                header = _columns(cells, f"{path}:{line}")
            elif len(cells) != len(header):
                raise error_at(f"{path}:{line}", f"the row has {amount(len(cells), 'cell')}, and the table {len(header)} columns")
            else:
                nodes.append(_row(dict(zip(header, cells, strict=True)), line))
    except csv.Error as error:
        raise error_at(f"{path}:{begin}", f"not CSV: {error}") from None
    return nodes


_PARTS: Final = ("inputs", "expected", "metadata")


def _columns(cells: Sequence[str], where: str) -> list[str]:
    """Return the columns of a table, each with a field of a case, or with a part of one."""
    header = [cell.strip() for cell in cells]
    other = next((mark for mark in ";\t" if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        raise error_at(where, f"the cells of the table are separated by {other!r}; separate them by commas")
    for number, column in enumerate(header):
        field, dot, _ = column.partition(".")
        if column in header[:number]:
            raise error_at(where, f"the column `{column}` stands twice")
        if dot and field in header:
            raise error_at(where, f"the columns `{field}` and `{column}` exclude each other")
        if column not in _CELLS and not (dot and field in _PARTS):
            part = column.rpartition(".")[2]
            known = [*_CELLS, *(f"{field}.{part}" for field in _PARTS)]
            wanted = f"expected  {', '.join(f'`{name}`' for name in _CELLS)}, or a part of a field such as `inputs.question`"
            hint = did_you_mean(column, known, before="", otherwise=f"a column of your own is `metadata.{part}`")
            raise error_at(where, f"the table has the unknown column `{column}`", wanted, hint)
    return header


def _row(cells: Mapping[str, str], line: int) -> Node:
    pairs: dict[str, Node] = {}
    for column, cell in cells.items():
        field, dot, part = column.partition(".")
        if dot:
            pairs.setdefault(field, Node(MAP, [], line)).value.append((text_node(part, line), text_node(cell, line)))
        elif cell or column in ("id", "inputs"):
            pairs[field] = _CELLS[column](cell, line)
    return Node(MAP, [(text_node(field, line), node) for field, node in pairs.items()], line)


def _tags_node(cell: str, line: int) -> Node:
    return Node(LIST, [text_node(tag.strip(), line) for tag in cell.split(";") if tag.strip()], line)


def _weight_node(cell: str, line: int) -> Node:
    return Node(FLOAT, cell, line) if _NUMBER.fullmatch(cell) else text_node(cell, line)


_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_CELLS: Final[dict[str, Callable[[str, int], Node]]] = {
    "id": text_node,
    "inputs": text_node,
    "expected": text_node,
    "tags": _tags_node,
    "weight": _weight_node,
}
_READERS: Final[dict[str, Callable[[str, str], list[Node]]]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".jsonl": json_line_nodes,
    ".csv": _read_csv,
}


# -- cases


def _read(nodes: Callable[[], Sequence[Node]], path: str) -> tuple[Case, ...]:
    try:
        return _read_cases(nodes(), path)
    except ScriptError as error:  # the readers of nodes are those of scripts
        raise DatasetError(str(error)) from None


def _read_cases(nodes: Sequence[Node], path: str) -> tuple[Case, ...]:
    if not nodes:
        raise error_at(path, "the dataset has no cases; no result would mean anything")
    found: dict[str, tuple[Case, At]] = {}
    for number, node in enumerate(nodes, 1):
        at = At(path, node, f"case {number}")
        case = _case(at)
        if case.id in found:
            first = shown_path(found[case.id][1].where)
            raise at.error(f"{at.name} has the id {case.id!r} of another case, which is at {first}")
        found[case.id] = case, at
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
