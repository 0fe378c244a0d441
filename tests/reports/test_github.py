"""Annotations of GitHub: whole commands, and texts that want to be commands."""

from __future__ import annotations

from pathlib import Path

from llmtest.reports.github import commands
from llmtest.reports.results import Group, Results
from tests.reports.conftest import MIXED, failed, failure


def groups(*causes: str) -> list[Group]:
    return Results(tuple(failed(f"test_{number}", failure(cause)) for number, cause in enumerate(causes))).by_cause()


def test_each_cause_has_one_command(tmp_path: Path) -> None:
    assert commands(MIXED.by_cause(), tmp_path) == [
        "::error file=tests/test_it.py,line=7,title=2 tests%3A snapshot differs::"
        "tests/test_it.py::test_a%0Atests/test_it.py::test_c%0A"
        'snapshot:%0A  chat Model%0A-   < a1: "Hello"%0A+   < a1: "Goodbye"  ◀ first difference%0A'
        "run again: pytest tests/test_it.py::test_a tests/test_it.py::test_c",
        "::error file=tests/test_it.py,line=7,title=1 of 2 steps was never used::"
        "tests/test_it.py::test_d%0Arun again: pytest tests/test_it.py::test_d",
    ]


def test_paths_are_relative_to_the_workspace(tmp_path: Path) -> None:
    (said,) = commands(groups("cause"), tmp_path / "packages" / "agent", str(tmp_path))
    (elsewhere,) = commands(groups("cause"), tmp_path / "packages" / "agent", str(tmp_path / "other"))

    assert said.startswith("::error file=packages/agent/tests/test_it.py,line=7,")
    assert elsewhere.startswith("::error file=tests/test_it.py,line=7,")


def test_there_are_ten_at_most_and_the_last_one_names_the_rest(tmp_path: Path) -> None:
    causes = [f"cause {number}" for number in range(12)]

    ten = commands(groups(*causes[:10]), tmp_path)
    more = commands(groups(*causes), tmp_path)

    assert len(ten) == len(more) == 10
    assert more[-1] == "::error title=3 more causes%2C of 3 tests::cause 9%0Acause 10%0Acause 11"


def test_a_text_is_no_command_and_ends_none(tmp_path: Path) -> None:
    evil = failure("a: b, c%0A::error::pwned\r\n::stop-commands::x", details="::warning::x\n\n::error::y\x1b[2J")

    (said,) = commands(Results((failed("test_a,b:c\n::error::z", evil),)).by_cause(), tmp_path)

    assert "\n" not in said
    assert "\r" not in said
    assert said.startswith("::error file=tests/test_it.py,line=7,title=a%3A b%2C c%250A%3A%3Aerror%3A%3Apwned %3A%3Astop")
    properties = said.removeprefix("::error ").partition("::")[0]
    assert [part.partition("=")[0] for part in properties.split(",")] == ["file", "line", "title"]


def test_a_long_diff_is_cut_by_lines(tmp_path: Path) -> None:
    (said,) = commands(Results((failed("test_a", failure(details="one line\n" * 1_000)),)).by_cause(), tmp_path)

    assert "%0Aone line%0A... 668 more lines%0Arun again: pytest tests/test_it.py::test_a" in said
    assert len(said) < 4_000


def test_a_failure_without_a_place_has_none(tmp_path: Path) -> None:
    nowhere = failed("test_a", failure().__class__("collect", "cause", "like", "", 0))

    assert commands(Results((nowhere,)).by_cause(), tmp_path)[0].startswith("::error title=cause::")
