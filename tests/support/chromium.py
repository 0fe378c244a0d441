"""A real Chromium, driven by selenium: `make chromium` installs it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "LLMTEST_REQUIRE_CHROMIUM"
"""The variable that turns a skip of the tests of the page into a failure; `.ci/run` sets it."""


def missing() -> str:
    """Return what is missing to look at pages; empty if nothing is."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if _program(*PROGRAMS) is None or _program("chromedriver") is None:
        return "there is no Chromium with its driver: `make chromium` installs both"
    return ""


def _program(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """A Chromium without a window. `errors` are what its console says about a page."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(_program(*PROGRAMS))
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
