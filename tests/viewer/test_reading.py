"""The cases of a page, read back from its file."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import pytest

from llmtest.errors import ReportError
from llmtest.viewer import cases as cases_module
from llmtest.viewer import page as page_module
from llmtest.viewer import reading
from llmtest.viewer.cases import Case, Detail, pack
from llmtest.viewer.page import page
from llmtest.viewer.reading import Page, read_page
from tests.support.pages import rows_of, trip_case

EVIL = '</script><samp id="tree0">&amp;</samp></noscript><title>evil</title>\x1b[2J\u202e\r\n'
DATA = pack("{}")
CASE = Case("test_a", "failed", "no", 0.5, Detail(DATA, "chat Model", "Model", 1, 2, 0.25))


def read(text: str) -> Page:
    return read_page(text.encode("utf-8", "surrogatepass"), "one/page.html")


def with_index(index: Any) -> str:
    """A page with another index."""
    return re.sub(r'(id="index">)[^<]*', lambda found: found[1] + json.dumps(index), page([CASE]))


def with_row(at: int, value: Any) -> str:
    (row,) = rows_of(page([CASE]))
    row[at] = value
    return with_index({"llmtest_page": 1, "rows": [row]})


def test_a_page_is_read_back_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_module, "MIN_APART", 0)
    cases = (Case("test_plain", "passed", seconds=0.001), trip_case(), CASE, Case("test_skipped", "skipped", "Skipped: why"))

    text = page(cases, title="shop & <co>")

    assert read(text) == Page("shop & <co>", cases)
    assert read_page(text.replace("\n", "\r\n").encode(), "page.html") == Page("shop & <co>", cases)


def test_a_hostile_page_is_read_as_the_texts_that_it_shows() -> None:
    text = page([Case(EVIL, "failed", EVIL, detail=Detail(DATA, EVIL, EVIL)), CASE], title=EVIL)

    found = read(text)

    assert [case.name for case in found.cases] == [EVIL, "test_a"]
    assert page(found.cases, title=EVIL) == text


def test_trees_that_had_no_room_are_missing_where_they_have_no_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_TREES", 60)
    parts = [[Case(f"test_{part}{n}", "passed", detail=Detail(DATA, "chat Model")) for n in range(4)] for part in "ab"]

    again = [case for part in parts for case in read(page(part)).cases]

    assert again[3].detail == Detail(DATA, "")
    assert page(again) == page([*parts[0], *parts[1]])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<html></html>", "it has no index"),
        (page([CASE])[:9000], "it has no index"),
        (page([CASE]).split(DATA)[0], "the data of case 0 is missing"),
        (page([CASE]).replace(DATA, f"{DATA}<b>"), "the data of case 0 is missing"),
        (page([CASE]).replace(DATA, ""), "the data of case 0 is damaged"),
        (page([CASE]).replace(DATA, base64.b64encode(base64.b64decode(DATA)[:12]).decode()), "the data of case 0 is damaged"),
        (page([CASE]).replace(DATA, DATA[:-3]), "the data of case 0 is damaged"),
        (page([CASE]).replace(DATA, f"{DATA} {DATA[:-8]}AAAAAAA="), "the data of case 0 is damaged"),
        (with_index([]), "it has no index"),
        (with_index({"llmtest_page": 1}), "its index has no rows"),
        (with_index({"llmtest_page": 1, "rows": ["row"]}), "row 0 of its index is none"),
        (with_row(0, None), "row 0 of its index is none"),
        (with_row(1, "great"), "row 0 of its index is none"),
        (with_row(5, "0.5"), "row 0 of its index is none"),
        (with_row(5, float("nan")), "NaN is no number"),
        (with_row(6, 0.125).replace("0.125", "1e999"), "row 0 of its index is none"),
    ],
)
def test_what_is_no_whole_page_is_an_error_that_says_what_to_do(text: str, problem: str) -> None:
    with pytest.raises(ReportError) as caught:
        read(text)

    assert str(caught.value) == (
        f"one/page.html is no page of llmtest, or it was cut or edited: {problem}\n"
        "  download it again, or delete it to join the reports without it"
    )


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(ReportError, match=r"^page\.html is no page of llmtest, or it was cut or edited: 'utf-8' codec can't"):
        read_page(b"\xff\xfe", "page.html")


def test_a_page_of_another_version_says_what_to_install() -> None:
    with pytest.raises(ReportError) as caught:
        read(with_index({"llmtest_page": 2, "lines": []}))

    assert str(caught.value) == (
        "one/page.html: the page has the format 2, and this llmtest reads 1\n"
        "  install the llmtest of the jobs where `llmtest merge` runs, or delete the page to join the reports without it"
    )


def test_data_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 3 << 20)
    fine, bomb = (page([Case("test", "passed", detail=Detail(pack(" " * (size << 20))))]) for size in (3, 4))

    read(fine)
    with pytest.raises(ReportError, match="the data of case 0 has more than 3 MiB"):
        read(bomb)


def test_the_format_is_that_of_the_data() -> None:
    """If this fails, the data has changed: raise `FORMAT`, unless the script of the page reads old data too."""
    detail = trip_case().detail
    assert detail is not None
    data = json.loads(gzip.decompress(base64.b64decode(detail.data)))

    assert (page_module.FORMAT, sorted(data), sorted(data["later"][0]), sorted(data["traces"][0])) == (
        1,
        ["assistant", "checks", "failure", "later", "notes", "snapshots", "source", "traces"],
        ["abouts", "graphs", "tree"],
        ["chat", "events", "graphs", "kinds", "lanes", "late", "messages", "order", "params", "runs", "values"],
    )
