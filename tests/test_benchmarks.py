"""The benchmarks are not run here, but they can be: a name that moved is found at once."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as benchmarks


def test_every_suite_can_be_asked_for() -> None:
    assert [name for name, ratios in benchmarks.SUITES.items() if not callable(ratios)] == []


def test_a_suite_gives_its_rows_to_machines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "protocol", "--json"])
    monkeypatch.setitem(benchmarks.SUITES, "protocol", lambda rounds: iter(()))

    assert benchmarks.main() == 0
    assert json.loads(capsys.readouterr().out)["ratios"] == []
