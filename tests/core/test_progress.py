"""Progress: in place on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from llmtest.core import progress as module
from llmtest.core.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delenv("TERM", raising=False)


@pytest.mark.usefixtures("without_rich")
def test_without_rich_it_is_a_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    out = Terminal()

    with progress("traces", out) as step:
        step(1, 1000)
        step(1000, 1000)

    assert out.getvalue() == "\r1 of 1,000 traces\r1,000 of 1,000 traces\r                     \r"


@pytest.mark.usefixtures("without_rich")
def test_a_number_that_is_not_known_is_left_out_and_a_shorter_line_covers_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    out = Terminal()

    with progress("traces", out) as step:
        step(1, 2)
        step(2, 0)

    assert out.getvalue() == "\r1 of 2 traces\r2 traces     \r        \r"


@pytest.mark.usefixtures("without_rich")
def test_it_is_not_written_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 3600.0)
    out = Terminal()

    with progress("traces", out) as step:
        for number in range(1000):
            step(number, 1000)

    assert out.getvalue() == "\r0 of 1,000 traces\r                 \r"


@pytest.mark.usefixtures("without_rich")
def test_the_line_goes_away_after_an_error() -> None:
    out = Terminal()

    with pytest.raises(KeyError), progress("traces", out) as step:
        step(1, 2)
        raise KeyError

    assert out.getvalue().endswith("\r             \r")


def test_with_rich_it_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()

    with progress("traces", out) as step:
        step(1, 2)

    assert "traces" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")


def test_without_a_terminal_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    dumb, pipe = Terminal(), io.StringIO()

    for out in (dumb, pipe):
        with progress("traces", out) as step:
            step(1, 2)

    assert (dumb.getvalue(), pipe.getvalue()) == ("", "")
