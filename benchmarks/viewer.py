"""The page: what its data costs beside the trees of the same recordings, and how large its file is.

`python -m benchmarks.viewer` opens pages of 100,000 events in Chromium, and prints what a reader waits for.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool

from benchmarks.harness import Ratio, measure
from llmtest import Recording, ScriptedChatModel, call, record, say
from llmtest.trees import render
from llmtest.viewer.cases import Case, detail
from llmtest.viewer.page import page

EVENTS = 100_000
MAX_MB = 6
_RANDOM = random.Random(1)
_WORDS = [f"word{number}" for number in range(4_000)]


def _text(words: int) -> str:
    return " ".join(_RANDOM.choice(_WORDS) for _ in range(words))


@tool
def search(q: str) -> str:
    """Search."""
    return _text(40)


def ratios(rounds: int) -> Iterator[Ratio]:
    tests = _tests(EVENTS // 10)
    yield measure(
        f"page of {EVENTS // 10:,} events in tests of 180",
        lambda: page(_cases(tests)),
        lambda: [render(recording) for recording in tests],
        against="the tree texts of the tests",
        bar=4.0,
        per=EVENTS // 10,
        rounds=max(rounds // 60, 3),
    )
    size = len(page(_cases(_tests(EVENTS))).encode()) / 1e6
    yield Ratio(f"file of a page of {EVENTS:,} events", f"{MAX_MB} MB", size / MAX_MB, 1.0, 1.0, size, MAX_MB, unit="MB")


def _tests(events: int) -> list[Recording]:
    """Recordings with so many events in all, of an agent and of two streams. No two texts are alike."""
    found: list[Recording] = []
    while sum(map(len, found)) < events:
        with record() as recording:
            _use_agent(turns=6)
            _stream(calls=2)
        found.append(recording)
    return found


def _use_agent(turns: int) -> None:
    steps = [call("search", q=_text(6)) for _ in range(turns)]
    agent = create_agent(ScriptedChatModel(*steps, _text(30), model_name="gpt-5-mini"), [search])
    agent.invoke({"messages": [("user", _text(20))]}, {"recursion_limit": 200})


def _stream(calls: int) -> None:
    model = ScriptedChatModel(*[say(*[f"{word} " for word in _text(60).split()]) for _ in range(calls)])
    for _ in range(calls):
        list(model.stream(_text(10)))


def _cases(recordings: list[Recording]) -> list[Case]:
    return [Case(f"test_{number}", "passed", detail=detail(f"test_{number}", [one])) for number, one in enumerate(recordings)]


# -- in Chromium

_OPEN = """
const [name, done] = arguments, began = performance.now();
location.hash = `test=${name}&tab=chat`;
const look = () => document.querySelector(".say") ? done(performance.now() - began) : requestAnimationFrame(look);
look();
"""
_SEARCH = """
const [id, words] = arguments, began = performance.now(), field = document.getElementById(id);
field.value = words;
field.dispatchEvent(new Event("input"));
document.body.offsetHeight;
return performance.now() - began;
"""


def main() -> None:
    from tests.support.chromium import Browser

    tests = _tests(EVENTS)
    with record() as whole:
        while len(whole) < EVENTS:
            _use_agent(turns=8)
            _stream(calls=3)
    with tempfile.TemporaryDirectory() as folder:
        for name, recordings in ((f"{len(tests)} tests", tests), ("one test", [whole])):
            began = time.perf_counter()
            text = page(_cases(recordings))
            made = time.perf_counter() - began
            browser = Browser(Path(folder))
            try:
                size = len(text.encode()) / 1e6
                print(f"{EVENTS:,} events in {name}: made in {made:.1f} s, {size:.1f} MB; {_looked(browser, text)}")
            finally:
                browser.driver.quit()


def _looked(browser: object, text: str) -> str:
    from tests.support.chromium import Browser

    assert isinstance(browser, Browser)
    browser.open(text)
    first = browser.js("return performance.getEntriesByName('llmtest-ready')[0].startTime")
    in_index = browser.js(_SEARCH, "search", "test_1 search")
    opened = browser.driver.execute_async_script(_OPEN, "test_0")
    in_trace = browser.js(_SEARCH, "find", "word123")
    browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    heap = browser.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"] / 1e6
    times = {"first rows": first, "a trace": opened, "search in the index": in_index, "in a trace": in_trace}
    return ", ".join([*(f"{name} {ms:.0f} ms" for name, ms in times.items()), f"heap {heap:.0f} MB"])


if __name__ == "__main__":
    sys.exit(main())
