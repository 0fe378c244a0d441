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
        trees = [tree for binary in (False, True) for tree in through_otlp(recording, binary=binary)]
        is_same = all(tree == trees[0] for tree in trees)
        with pyfuncitem.config.getoption("--problems").open("a", encoding="utf-8") as file:
            file.write(f"{'same' if is_same else 'other'} {pyfuncitem.nodeid}\n")
    return result
