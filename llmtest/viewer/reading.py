"""The cases of a page, read back from its file: `llmtest merge` joins the pages of several jobs.

A page may come from another machine. Only its data is read, never its script: the rows of the index, each value of its type,
the compressed data of the cases, which must be whole, and the trees.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

from llmtest.errors import ReportError
from llmtest.viewer.cases import Case, Detail, Status
from llmtest.viewer.page import FORMAT

MAX_BYTES: Final = 1 << 30
"""Of the data of one case: some kilobytes may decompress to terabytes."""
_INDEX: Final = re.compile(r'<script type="application/json" id="index">([^<]*)</script>')
_DATA: Final = re.compile(r'<script type="application/gzip\+base64" id="case(\d{1,9})">([A-Za-z0-9+/= ]*)</script>')
_TREE: Final = re.compile(r'<samp id="tree(\d{1,9})">([^<]*)</samp>')
_TITLE: Final = re.compile(r"<title>([^<]*)</title>")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """What a page has: its title and its cases."""

    title: str
    cases: tuple[Case, ...]


def read_page(data: bytes, place: str) -> Page:
    """Return the title and the cases in the file of a page. `place` names it in errors.

    Raises:
        ReportError: it is no page of llmtest, a part of it is missing, or another version of llmtest wrote it.
    """
    try:
        text = data.decode("utf-8", "surrogatepass").replace("\r\n", "\n")
        rows = _rows(text, place)
        title = _TITLE.search(text)
        return Page(html.unescape(title[1]) if title else "llmtest", tuple(_cases(rows, text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ReportError(
            f"{place} is no page of llmtest, or it was cut or edited: {error}\n"
            "  download it again, or delete it to join the reports without it"
        ) from None


def _rows(text: str, place: str) -> list[Any]:
    found = _INDEX.search(text)
    index: Any = json.loads(found[1], parse_constant=_refuse) if found else None
    if not isinstance(index, dict) or "llmtest_page" not in index:
        raise ValueError("it has no index")
    if index["llmtest_page"] != FORMAT:
        raise ReportError(
            f"{place}: the page has the format {index['llmtest_page']!r}, and this llmtest reads {FORMAT}\n"
            "  install the llmtest of the jobs where `llmtest merge` runs, or delete the page to join the reports without it"
        )
    if not isinstance(index.get("rows"), list):
        raise ValueError("its index has no rows")
    rows: list[Any] = index["rows"]
    return rows


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _cases(rows: list[Any], text: str) -> Iterator[Case]:
    data = {int(number): packed for number, packed in _DATA.findall(text)}
    trees = {int(number): html.unescape(tree) for number, tree in _TREE.findall(text)}
    for number, row in enumerate(rows):
        name, status, cause, *figures, words, has = _typed(row, number)
        input_tokens, output_tokens, cost, seconds = figures
        detail = None
        if has:
            if number not in data:
                raise ValueError(f"the data of case {number} is missing")
            _check(data[number], number)
            detail = Detail(data[number], trees.get(number, ""), words, input_tokens, output_tokens, cost)
        yield Case(name, status, cause, seconds, detail)


_ROW: Final[tuple[type | tuple[type, ...], ...]] = (
    *(str, str, str),
    *((int, type(None)), (int, type(None)), (int, float, type(None)), (int, float, type(None))),
    *(str, int),
)
"""The types of a row: name, status, cause, tokens in, tokens out, cost, seconds, names of runs, whether it has data."""


def _typed(row: Any, number: int) -> list[Any]:
    """Return a row whose values are what the script of a page expects; `1e999` would end all of it."""
    if (
        not isinstance(row, list)
        or len(row) != len(_ROW)
        or not all(map(isinstance, row, _ROW))
        or not all(math.isfinite(value) for value in row if isinstance(value, float))
        or row[1] not in get_args(Status)
    ):
        raise ValueError(f"row {number} of its index is none")
    return row


def _check(packed: str, number: int) -> None:
    """Check that the data of a case can be decompressed, without holding all of it."""
    room = MAX_BYTES
    for part in packed.split(" "):
        try:
            for size in _sizes(base64.b64decode(part, validate=True)):
                room -= size
                if room < 0:
                    break
        except (binascii.Error, EOFError, zlib.error):
            raise ValueError(f"the data of case {number} is damaged") from None
        if room < 0:
            raise ValueError(f"the data of case {number} has more than {MAX_BYTES >> 20:,} MiB")


def _sizes(data: bytes) -> Iterator[int]:
    """Yield the sizes of the pieces that compressed data decompresses to."""
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while not gzip.eof:
        size = len(gzip.decompress(data, _CHUNK))
        data = gzip.unconsumed_tail
        if not (size or data or gzip.eof):
            raise EOFError
        yield size
