"""Behaviour coverage within the page of a session, in a real Chromium."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from llmtest.coverage import items
from llmtest.coverage.data import Writer, load
from llmtest.coverage.items import Inventory
from llmtest.coverage.page import html, view
from llmtest.coverage.report import Report
from llmtest.viewer.cases import Case
from llmtest.viewer.page import page
from tests.support.chromium import Browser
from tests.support.pages import trip_case

NAMES = ("tests/test_desk.py::test_plans[<b>&a=1]", "tests/test_desk.py::test_books")
THINGS = [
    *(items.node("desk", name) for name in ("plan", "book", "ask")),
    *(items.edge("desk", a, b) for a, b in (("__start__", "plan"), ("plan", "book"), ("plan", "ask"), ("book", "__end__"))),
    items.tool("desk", "hotel", "raised"),
    items.node("other", "only"),
    items.edge("other", "__start__", "only"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("coverage")
    writer, inventory = Writer(folder / "main.jsonl"), Inventory(THINGS)
    both = ["desk/nodes/plan", "desk/edges/__start__->plan"]
    writer.add(inventory, both, ["desk/edges/plan->ask"], NAMES[0])
    writer.add(inventory, [*both, "desk/nodes/book", "desk/edges/plan->book"], [], NAMES[1])
    writer.close()
    return Report(load([folder]))


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page([trip_case(), *(Case(name, "passed") for name in NAMES)], title="desk", coverage=view(report))


def shown(browser: Browser) -> list[str]:
    return [
        str(one) for one in browser.js("return [...document.querySelectorAll('main')].filter(m => m.offsetParent).map(m => m.id)")
    ]


def test_the_view_opens_and_closes_and_asks_no_network(browser: Browser, text: str) -> None:
    browser.open(text)
    before = shown(browser)
    browser.click("#covered")
    browser.until("document.getElementById('app').dataset.view === 'coverage'")

    assert (before, shown(browser)) == (["tests"], ["coverage"])
    assert browser.texts("#covered") == ["Behaviour coverage: 44%"]
    assert browser.address() == "coverage"
    assert browser.js("return document.title") == "Behaviour coverage: 44% · desk"
    assert browser.js("return performance.getEntriesByType('resource').length") == 0
    browser.key("jb")
    browser.until("!document.getElementById('app').dataset.view")
    assert (shown(browser), browser.js("return document.title")) == (["tests"], "desk")
    browser.key("b")
    browser.until("document.getElementById('app').dataset.view")
    browser.click("#home")
    assert shown(browser) == ["tests"]


def test_the_graphs_are_drawn_with_what_was_hit(browser: Browser, text: str) -> None:
    browser.open(text)
    browser.click("#covered")
    browser.until("document.getElementById('app').dataset.view")
    text_of = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    style = "return [...document.querySelectorAll(arguments[0])].map(e => getComputedStyle(e).strokeDasharray)"

    assert browser.js(text_of, "#coverage svg .node.hit text") == ["book", "plan"]
    assert browser.js(text_of, "#coverage svg .node.missed text") == ["ask", "only"]
    assert set(browser.js(style, "#coverage svg .node.hit rect, #coverage svg .edge.hit")) == {"none"}
    assert set(browser.js(style, "#coverage svg .node.missed rect, #coverage svg .edge.missed")) == {"6px, 4px"}
    assert browser.js(text_of, "#coverage svg .node.hit title") == [
        f"node `book` ran\n1 test:\n{NAMES[1]}",
        f"node `plan` ran\n2 tests:\n{NAMES[0]}\n{NAMES[1]}",
    ]


def test_the_name_of_a_test_leads_to_its_traces_and_back(browser: Browser, text: str) -> None:
    browser.open(text)
    browser.click("#covered")
    browser.until("document.getElementById('app').dataset.view")
    browser.click("#coverage a", NAMES[0])
    browser.until("!document.getElementById('test').hidden")

    assert (shown(browser), browser.texts("#name")) == (["test"], [NAMES[0]])
    browser.js("history.back()")
    browser.until("document.getElementById('app').dataset.view")
    assert shown(browser) == ["coverage"]


def test_a_link_leads_to_one_program(browser: Browser, text: str) -> None:
    browser.open(text)
    browser.js("location.hash = 'coverage-1'")
    browser.until("document.getElementById('app').dataset.view")

    assert shown(browser) == ["coverage"]
    browser.driver.refresh()
    browser.until("document.getElementById('app').dataset.view")
    assert (shown(browser), browser.address()) == (["coverage"], "coverage-1")


def test_a_page_without_coverage_has_no_button(browser: Browser) -> None:
    browser.open(page([trip_case()]))

    browser.key("b")

    assert (shown(browser), browser.js("return document.getElementById('covered').hidden")) == (["tests"], True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["view", "page"])
def test_axe_finds_nothing(browser: Browser, text: str, report: Report, kind: str, scheme: str) -> None:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-core is not installed: `make chromium` installs it")
    axe = (Path(next(iter(found.submodule_search_locations or ()))) / "axe.min.js").read_text("utf-8")
    told: Any = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
    browser.open(text if kind == "view" else html(report))
    if kind == "view":
        browser.click("#covered")
        browser.until("document.getElementById('app').dataset.view")
    browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.js(axe)
    run = "const [done] = arguments; axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes.map(n => n.html)])));"

    assert browser.driver.execute_async_script(run) == []
