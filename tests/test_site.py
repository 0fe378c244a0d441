"""The site of the documentation: it is built without a warning, and each page is in its navigation."""

from __future__ import annotations

import functools
import http.server
import importlib
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import llmtest
from tests.support.chromium import REQUIRED, Browser, missing

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ENTRY = re.compile(r"^ *- \[[^]]+\]\(([^)#]+)\)", re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly in a copy: a broken link, a missing anchor or an unknown name ends the build."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copytree(ROOT / "llmtest", folder / "llmtest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", folder)
    command = (sys.executable, "-m", "zensical", "build", "--strict")
    built = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert built.returncode == 0, re.sub(r"\x1b\[[\d;]*m", "", built.stdout + built.stderr)
    return folder / "site"


def test_each_page_is_built(site: Path) -> None:
    pages = [path.relative_to(DOCS) for path in DOCS.rglob("*.md")]
    built = [page.parent if page.name == "README.md" else page.with_suffix("") for page in pages]

    assert [page for page in built if not (site / page / "index.html").is_file()] == []
    assert list(site.rglob("*.py")) == []


@pytest.mark.parametrize("folder", ["", "learn", "how-to", "reference", "tutorial"])
def test_each_page_is_in_the_navigation_of_its_folder(folder: str) -> None:
    index = DOCS / folder / "README.md"
    listed = [(index.parent / entry).resolve() for entry in ENTRY.findall(index.read_text("utf-8").rpartition("<!--nav-->")[2])]
    pages = {page for page in index.parent.glob("*.md") if page != index}

    missing = sorted(page.name for page in pages - set(listed))
    assert missing == [], f"give each of these pages one line in the list that ends {index.relative_to(ROOT)}"
    assert [entry for entry in listed if not entry.exists()] == []
    assert len(listed) == len(set(listed))


def test_a_page_of_the_site_shows_no_words_that_are_meant_for_the_tests(site: Path) -> None:
    page = (site / "how-to/snapshots/index.html").read_text("utf-8")

    assert "tree=test_trip" in (DOCS / "how-to/snapshots.md").read_text("utf-8")
    assert "tree=test_trip" not in page
    assert '<div class="language-text highlight">' in page


@pytest.mark.parametrize("name", llmtest.__all__)
def test_the_api_page_has_the_docstring_of_each_public_name(site: Path, name: str) -> None:
    value = getattr(llmtest, name)
    page = (site / "reference/api/index.html").read_text("utf-8")

    assert f'id="{value.__module__}.{name}"' in page
    assert f"](#{value.__module__}.{name})" in (DOCS / "reference/api.md").read_text("utf-8")


MODULES = ("matching", "protocol", "conformance", "trees", "wire", "tokens", "evals", "coverage", "campaigns", "otel")


@pytest.mark.parametrize("module", MODULES)
def test_the_page_of_other_modules_has_each_public_name(site: Path, module: str) -> None:
    names = importlib.import_module(f"llmtest.{module}").__all__
    source = (DOCS / "reference/api-modules.md").read_text("utf-8").splitlines()
    built = (site / "reference/api-modules/index.html").read_text("utf-8")

    assert [line for line in (f"::: llmtest.{module}.{name}" for name in names) if line not in source] == []
    assert [name for name in names if f'id="llmtest.{module}.{name}"' not in built] == []


def test_the_search_finds_a_name_and_an_error(site: Path) -> None:
    index = (site / "search.json").read_text("utf-8")

    assert "scripted_providers" in index
    assert "unused step" in index


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("```text tree=test_a\nx\n```", "```text\nx\n```"),
        ("```python\n>>> 1\n```", "```python\n>>> 1\n```"),
        (">>> f(1)\n2\n\nAfter it.", "```pycon\n>>> f(1)\n2\n```\n\nAfter it."),
        ("Before.\n>>> f(1)", "Before.\n```pycon\n>>> f(1)\n```"),
    ],
    ids=["words of a fence", "a doctest in a fence", "a doctest and more", "a doctest at the end"],
)
def test_the_extension_changes_fences_and_doctests(text: str, prepared: str) -> None:
    prepare = runpy.run_path(str(DOCS / "fences.py"))["prepare"]

    assert "\n".join(prepare(text.splitlines())) == prepared


SEARCHES = {
    "never used": "how-to/troubleshooting/",
    "interrupt": "how-to/langgraph-checkpoints/",
    "GenericFakeChatModel": "how-to/coming-from-fakes/",
    "llm_budget": "how-to/budgets/",
}
RESULTS = """const found = [];
const walk = root => root.querySelectorAll('*').forEach(e => {
  if (e.shadowRoot) { e.shadowRoot.querySelectorAll('a').forEach(a => found.push(a.href)); walk(e.shadowRoot); }
});
walk(document); return found"""
INPUT = "let a = document.activeElement; while (a && a.shadowRoot) a = a.shadowRoot.activeElement; return a"


def test_the_first_result_of_a_search_is_the_page(site: Path, tmp_path: Path) -> None:
    if reason := missing():
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(reason)
    from selenium.webdriver.support.ui import WebDriverWait

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        driver = Browser(tmp_path).driver
        wait = WebDriverWait(driver, 20)
        first = {}
        for words, page in SEARCHES.items():
            driver.get(f"http://127.0.0.1:{server.server_port}/")
            driver.find_element("css selector", ".md-search__button").click()
            field = wait.until(lambda driver: driver.execute_script(INPUT))
            field.send_keys(words)
            wait.until(lambda driver, page=page: any(page in href for href in driver.execute_script(RESULTS)))
            first[words] = driver.execute_script(RESULTS)[0].partition("?")[0].partition(f":{server.server_port}/")[2]
        driver.quit()
        server.shutdown()

    assert first == SEARCHES


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def test_assistants_find_each_page_in_llms_txt(site: Path) -> None:
    listed = (site / "llms.txt").read_text("utf-8")
    pages = [page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.glob("*/*.md") if page.name != "README.md"]

    assert [page for page in pages if f"/{page}/index.md>" not in listed] == []
    assert (site / "llms-full.txt").stat().st_size > 100_000
