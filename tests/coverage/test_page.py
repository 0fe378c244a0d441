from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

from llmtest.coverage import items
from llmtest.coverage.data import CoverageData
from llmtest.coverage.page import html
from llmtest.coverage.report import Exclude, Report


class Reader(HTMLParser):
    """The text of a page, and its elements that load something or run code."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.loads: list[str] = []
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened += [] if tag in ("meta", "path", "rect") else [tag]
        self.loads += [tag] if tag in ("script", "link", "img", "iframe") else []
        self.loads += [
            name for name, value in attrs if name.startswith("on") or (name in ("src", "href") and not str(value).startswith("#"))
        ]

    def handle_endtag(self, tag: str) -> None:
        assert tag in ("path", "rect") or self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += [data.strip()] if data.strip() else []


def test_the_page_has_graphs_marks_and_tests_and_loads_nothing(written: Callable[..., CoverageData]) -> None:
    data = written(("test_it.py::test_<b>", ["desk/nodes/plan"], ["desk/edges/plan->book"]))
    reader = Reader()

    reader.feed(html(Report(data, [Exclude("*hotel*", "never raises")])))

    text = " ".join(reader.text)
    assert (reader.loads, reader.opened) == ([], [])
    assert "Behaviour coverage: 25%" in text
    assert "1 item of 4 hit by 1 test; not counted: 1 ambiguous, 1 unknown, 1 excluded." in text
    assert "✗ node book never ran" in text
    assert "✓ node plan ran 1 test test_it.py::test_<b>" in text
    assert "? edge plan → book taken ambiguous: more than one node can have led there" in text
    assert "· hotel raised excluded: never raises" in text
    assert "the graph in the language of Mermaid graph TD" in text


def test_names_of_a_program_stay_text(written: Callable[..., CoverageData]) -> None:
    name = "<script>alert(1)</script>"

    page = html(Report(written(("t", [], []), things=[items.node(name, name), items.edge(name, "__start__", name)])))

    assert "<script" not in page
    reader = Reader()
    reader.feed(page)
    assert reader.loads == []
    assert name in " ".join(reader.text)


def test_a_chain_has_no_graph_and_notes_are_shown(written: Callable[..., CoverageData]) -> None:
    page = html(Report(written(("t", [], []), things=[items.outcome("chain", "", "text")]), [Exclude("gone", "r")]))

    assert "<svg" not in page
    assert "no item matches the exclude" in page


def test_the_tips_of_arrows_have_the_color_of_the_page(written: Callable[..., CoverageData]) -> None:
    page = html(Report(written(("", [], []))))

    assert ('id="tip0"' in page, 'class="tip"' in page, "url(#tip0)" in page) == (True, True, True)
