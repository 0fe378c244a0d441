"""Cases of pages, and one real Chromium for all tests that look at a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, call, record, reply, think
from llmtest.matching import at_most, before, model
from llmtest.matching.engine import judge
from llmtest.trees.pending import Mismatch
from llmtest.trees.rendering import HEADER, render
from llmtest.viewer.cases import Case, Failure, detail
from llmtest.viewer.page import page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "LLMTEST_REQUIRE_CHROMIUM"
"""The variable that turns a skip into a failure; `.ci/run` sets it."""


@tool
def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"It is sunny in {city}."


@tool
def flights(origin: str, to: str) -> str:
    """Search flights between two cities."""
    return f"LX632 from {origin} to {to}"


@tool
def book(flight: str) -> str:
    """Book a flight."""
    if flight == "LX000":
        raise ValueError("no such flight")
    return f"booked {flight}"


def travel(*steps: Any, prompt: str = "Be brief.") -> Recording:
    """Return the recording of a travel agent that is asked for a trip."""
    agent = create_agent(ScriptedChatModel(*steps, model_name="gpt-5-mini"), [weather, flights, book], system_prompt=prompt)
    with record() as recording:
        agent.invoke({"messages": [("user", "I want to go to Paris.")]})
    return recording


def trip(prompt: str = "Be brief.", to: str = "Paris") -> Recording:
    """Return the recording of a trip: two tools side by side, then a booking."""
    both = reply(think("Ask both."), call("weather", city=to), call("flights", origin="Zurich", to=to))
    return travel(both, call("book", flight="LX632"), f"You fly to {to}.", prompt=prompt)


def trip_case(name: str = "tests/test_trip.py::test_paris", *, changed: bool = True) -> Case:
    """Return the case of a trip: with a changed prompt and a broken rule, or one that passed."""
    expected = f"{HEADER}\n{render(trip())}"
    recording = trip("Answer in two sentences.", "Lyon") if changed else trip()
    mismatch = Mismatch(name, Path("test_paris.tree"), expected, f"{HEADER}\n{render(recording)}")
    answers = [(0, answer) for answer in judge(recording, [before("flights", "book"), at_most(2, model())])]
    failure = Failure(mismatch.headline, f"E  {mismatch.headline}", "# tests/test_trip.py:1\n> assert tree == snapshot")
    found = detail(name, [recording], comparisons=[mismatch], answers=answers, failure=failure if changed else None)
    return Case(name, "failed" if changed else "passed", mismatch.headline if changed else "", 0.25, found)


@pytest.fixture(scope="session")
def shop() -> str:
    """A page of a few tests: one that failed, one that passed, one that was skipped."""
    cases = [
        Case("tests/test_plain.py::test_adds", "passed", seconds=0.001),
        trip_case(),
        trip_case("tests/test_trip.py::test_paris_again", changed=False),
        Case("tests/test_live.py::test_key", "skipped", "Skipped: needs a key", 0.0),
    ]
    return page(cases, title="shop")


# -- Chromium


class Browser:
    """A Chromium without a window. `errors` are what its console says about a page."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(_program(*CHROMIUM))
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(_program("chromedriver"))))
        self._folder = folder
        self._count = 0
        self.size(1280, 800)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, html: str, address: str = "") -> None:
        """Open a page from disk, at `address` within it."""
        self._count += 1
        path = self._folder / f"page-{self._count}.html"
        path.write_bytes(html.encode("utf-8", "surrogatepass"))
        self.driver.get(f"{path.as_uri()}{'#' if address else ''}{address}")
        if address:
            self.until("!document.getElementById('test').hidden")

    def js(self, code: str, *arguments: Any) -> Any:
        """Return what a piece of script returns."""
        return self.driver.execute_script(code, *arguments)

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        wait = "const [done] = arguments; const look = () => (%s) ? done() : requestAnimationFrame(look); look();"
        self.driver.execute_async_script(wait % condition)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of the elements that a selector finds."""
        found: list[str] = self.js("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)
        return found

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element that a selector finds and that has a text."""
        code = "[...document.querySelectorAll(arguments[0])].find(e => e.textContent.includes(arguments[1]))"
        self.js(f"{code}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))", selector, text)
        self.js("return new Promise(requestAnimationFrame)")

    def key(self, keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(keys).perform()
        self.js("return new Promise(requestAnimationFrame)")

    def address(self) -> str:
        """Return the address within the page, once it has been written."""
        self.js("return new Promise(done => setTimeout(done, 150))")
        return str(self.js("return location.hash.slice(1)"))

    @property
    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def _program(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def _missing() -> str:
    """Return what is missing to look at pages; empty if nothing is."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if _program(*CHROMIUM) is None or _program("chromedriver") is None:
        return "there is no Chromium with its driver: `make chromium` installs both"
    return ""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = _missing()
    if missing and os.environ.get(REQUIRED):
        pytest.fail(f"{missing}, and {REQUIRED} is set")
    if missing:
        pytest.skip(missing)
    browser = Browser(tmp_path_factory.mktemp("pages"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The Chromium, whose console must say nothing about the pages of the test."""
    chromium.size(1280, 800)
    yield chromium
    assert chromium.errors == []


Open = Callable[[str], None]
