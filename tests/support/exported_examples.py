"""A pytest plugin that reads what each test recorded back from spans, and says where the trees differ.

`pytest -p tests.support.exported_examples --problems=FILE examples`
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.spans import through_otlp


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--problems", type=Path)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    result = yield
    recording = pyfuncitem.funcargs.get("llm_recording")
    if recording is not None and len(recording):
        before, after = through_otlp(recording)
        with pyfuncitem.config.getoption("--problems").open("a", encoding="utf-8") as file:
            file.write(f"{'same' if before == after else 'other'} {pyfuncitem.nodeid}\n")
    return result
