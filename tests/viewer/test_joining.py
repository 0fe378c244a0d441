"""The pages of several reports as one page."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest.errors import ReportError
from llmtest.reports.joining import Part
from llmtest.reports.results import FailedPhase, Result, Results
from llmtest.viewer.cases import Case, Detail, pack
from llmtest.viewer.joining import joined_page
from llmtest.viewer.page import write_page
from llmtest.viewer.reading import Page

NOTHING = Results(())
DETAIL = Detail(pack("{}"), "chat Model")


def part(folder: Path, job: str, *cases: Case, title: str = "shop") -> Part:
    file = folder / f"{len(list(folder.iterdir()))}.html"
    write_page(file, cases, title=title)
    return Part(job, NOTHING, f"{job}/page.html", file)


def names(*parts: Part) -> list[str]:
    page = joined_page(parts)
    assert page is not None
    return [case.name for case in page.cases]


def test_the_cases_of_shards_stand_one_after_the_other(tmp_path: Path) -> None:
    first, second = Case("test_a", "passed", "", 0.5, DETAIL), Case("test_b", "failed", "no", 1.0, DETAIL)

    page = joined_page([part(tmp_path, "shard-1", first), part(tmp_path, "shard-2", second)])

    assert page == Page("shop", (first, second))


def test_a_test_of_several_jobs_is_named_with_its_job(tmp_path: Path) -> None:
    parts = [part(tmp_path, job, Case("test_a", "passed"), Case(f"test_{job}", "passed")) for job in ("py311", "py313")]

    assert names(*parts) == ["test_a · py311", "test_py311", "test_a · py313", "test_py313"]


def test_every_name_is_given_once(tmp_path: Path) -> None:
    """A link leads to the first case of its name."""
    same = [part(tmp_path, "job", Case("test_a", "passed"), Case("test_a · job", "passed")) for _ in range(2)]
    odd = part(tmp_path, "other", Case("test_a · job (2)", "passed"))

    assert names(*same, odd) == [
        "test_a · job",
        "test_a · job · job",
        "test_a · job (3)",
        "test_a · job · job (2)",
        "test_a · job (2)",
    ]


def test_a_page_that_was_joined_is_joined_again(tmp_path: Path) -> None:
    inner = joined_page([part(tmp_path, job, Case("test_a", "passed", detail=DETAIL)) for job in ("x", "y")])
    assert inner is not None

    outer = names(part(tmp_path, "linux", *inner.cases), part(tmp_path, "mac", *inner.cases))

    assert outer == ["test_a · x · linux", "test_a · y · linux", "test_a · x · mac", "test_a · y · mac"]


def test_pages_of_several_projects_have_no_title_of_one(tmp_path: Path) -> None:
    page = joined_page([part(tmp_path, title, title=title) for title in ("shop", "bank")])

    assert page == Page("llmtest", ())


def test_without_any_page_there_is_none() -> None:
    assert joined_page([Part("one", NOTHING), Part("two", NOTHING)]) is None


def test_the_tests_of_a_report_without_a_page_are_there_as_far_as_its_results_tell(tmp_path: Path) -> None:
    failures = (
        FailedPhase("call", "assert 1 == 2", "", "test_it.py", 3, "assert 1 == 2\nleft"),
        FailedPhase("teardown", "1 step was never used", "", "test_it.py", 3),
    )
    results = Results((Result("test_a", "failed", 0.5, failures), Result("test_b", "passed", 0.25)))

    page = joined_page([part(tmp_path, "with", Case("test_a", "passed")), Part("without", results)])

    assert page is not None
    assert [(case.name, case.status, case.cause, case.seconds, case.detail is not None) for case in page.cases] == [
        ("test_a · with", "passed", "", None, False),
        ("test_a · without", "failed", "assert 1 == 2", 0.5, True),
        ("test_b", "passed", "", 0.25, False),
    ]


def test_a_page_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>")

    with pytest.raises(ReportError, match=r"^shards/two/page\.html is no page of llmtest"):
        joined_page([Part("two", NOTHING, "shards/two/page.html", tmp_path / "page")])
