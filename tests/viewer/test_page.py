"""The page as one file: its policy, its parts, its text for readers without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmtest.viewer import page as page_module
from llmtest.viewer.cases import Case, Detail, pack
from llmtest.viewer.page import page, write_page
from tests.support.pages import rows_of

MAX_SCRIPT_BYTES = 40 * 1024
EVIL = "</script><!--<script>{{script}}</noscript></pre>&amp;"


class Parts(HTMLParser):
    """The elements of a page: tag, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("", {}, ""))

    def handle_data(self, data: str) -> None:
        tag, attributes, text = self.elements[-1] if self.elements else ("", {}, "")
        self.elements[-1:] = [(tag, attributes, text + data)]

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]


def script_of(text: str) -> str:
    (script,) = [body for attributes, body in Parts(text).all("script") if "type" not in attributes]
    return script


def digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_the_policy_allows_its_own_script_and_style_and_nothing_else() -> None:
    text = page([])
    parts = Parts(text)
    (policy,) = [attributes["content"] for attributes, _ in parts.all("meta") if "http-equiv" in attributes]
    ((_, style),) = parts.all("style")

    assert policy == (
        f"default-src 'none'; script-src '{digest(script_of(text))}'; style-src '{digest(style)}'; base-uri 'none';"
        " form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def test_nothing_in_the_page_asks_the_network() -> None:
    text = page([Case("test", "passed", detail=Detail("x"))])

    asking = [
        (tag, attributes)
        for tag, attributes, _ in Parts(text).elements
        if {"src", "srcset", "action", "data"} & attributes.keys()
    ]

    assert asking == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert re.findall(r"fetch\(|XMLHttpRequest|WebSocket|import\(|url\(|@import|innerHTML|eval\(", text) == []


def test_the_script_is_small() -> None:
    assert len(script_of(page([])).encode()) <= MAX_SCRIPT_BYTES


def test_script_and_style_have_no_text_over_several_lines_and_no_comment_in_one() -> None:
    script = (Path(page_module.__file__).parent / "page.js").read_text("utf-8")

    assert [line for line in script.splitlines() if line.count("`") % 2] == []
    assert [line for line in script.splitlines() if re.search(r"""["'`][^"'`]*  // """, line)] == []


def test_rows_and_details_are_data() -> None:
    cases = [
        Case("tests/test_a.py::test_a", "failed", "assert 1 == 2", 0.123456, Detail("QUJD", "tree", "agent search", 10, 2, 0.5)),
        Case("tests/test_a.py::test_b", "passed"),
    ]

    text = page(cases)

    assert rows_of(text) == [
        ["tests/test_a.py::test_a", "failed", "assert 1 == 2", 10, 2, 0.5, 0.1235, "agent search", 1],
        ["tests/test_a.py::test_b", "passed", "", None, None, None, None, "", 0],
    ]
    assert [attributes["id"] for attributes, _ in Parts(text).all("script") if "gzip" in str(attributes.get("type"))] == ["case0"]
    assert '<script type="application/gzip+base64" id="case0">QUJD</script>' in text


def test_hostile_names_end_no_element() -> None:
    text = page([Case(EVIL, "failed", EVIL, detail=Detail(pack("{}"), EVIL, EVIL))], title=EVIL)

    assert [row[:3] for row in rows_of(text)] == [[EVIL, "failed", EVIL]]
    assert script_of(text) == script_of(page([]))
    assert text.count("</script>") == 3
    assert text.count("<noscript>") == text.count("</noscript>") == 1


def test_lone_surrogates_and_control_characters_get_through() -> None:
    text = page([Case("test_\ud800", "failed", "\x1b[31m\u202e", detail=Detail("", "tree \ud800\x1b"))])

    assert rows_of(text)[0][0] == "test_\\ud800"
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "tree \\ud800\\x1b" in text


def test_secrets_are_masked_in_the_index() -> None:
    key = "sk-abcdefghijklmnopqrstuvwxyz1234567890ABCDEFGH"

    assert key not in page([Case(f"test[{key}]", "failed", f"wrong key {key}")], title=key)


def test_without_javascript_failing_tests_come_first_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_TREES", 45)
    cases = [
        Case(f"test_{number}", "failed" if number == 3 else "passed", detail=Detail("", f'chat m{number}\n  < "<b>"'))
        for number in range(5)
    ]

    (shown,) = re.findall(r"<noscript>.*?<pre>(.*?)</pre>", page(cases), re.DOTALL)

    told = "… 4 more tests not shown: too much to read without JavaScript"
    assert html.unescape(shown) == f'FAILED test_3\n<samp id="tree3">chat m3\n  < "<b>"</samp>\n\n{told}'


def test_the_file_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "page.html"

    size = write_page(path, [Case("test", "passed")], title="shop")

    assert size == path.stat().st_size
    assert "<title>shop</title>" in path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_a_page_of_the_same_cases_is_the_same() -> None:
    cases = [Case("test", "passed", detail=Detail(pack("{}")))]

    assert page(cases) == page(cases)
