"""Fixtures of the tests of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from llmtest.viewer.cases import Case
from llmtest.viewer.page import page
from tests.support.chromium import REQUIRED, Browser, missing
from tests.support.pages import trip_case


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


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    lacking = missing()
    if lacking and os.environ.get(REQUIRED):
        pytest.fail(f"{lacking}, and {REQUIRED} is set")
    if lacking:
        pytest.skip(lacking)
    browser = Browser(tmp_path_factory.mktemp("pages"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The Chromium, whose console must say nothing about the pages of the test."""
    chromium.size(1280, 800)
    yield chromium
    assert chromium.errors == []
