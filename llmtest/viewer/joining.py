"""The pages of several reports as one page of all their tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from llmtest.reports.joining import Part
from llmtest.reports.results import Result
from llmtest.tracing.rows import column
from llmtest.viewer.cases import Case, FailureText, detail
from llmtest.viewer.reading import Page, read_page

NO_TRACES = "the report of this test has no page, so its traces are not shown"


def joined_page(parts: Sequence[Part]) -> Page | None:
    """Return the page of all tests of several reports; None if none of them has a page. The tests of a report without one are
    in it as far as its results tell. A test that several reports have is named with its job.

    Raises:
        ReportError: a page cannot be read.
    """
    if all(part.page is None for part in parts):
        return None
    titles: list[str] = []
    found: list[tuple[str, Case]] = []
    for part in parts:
        if part.page is None:
            found += [(part.job, _told(result)) for result in part.results.tests]
        else:
            page = read_page(part.page.read_bytes(), part.place)
            titles.append(page.title)
            found += [(part.job, case) for case in page.cases]
    return Page(titles[0] if len(set(titles)) == 1 else "llmtest", tuple(_named(found)))


def _told(result: Result) -> Case:
    """Return the case of a test of which only the result is known."""
    name = column(result.test) or ""
    if not result.failures:
        return Case(name, result.status, seconds=result.seconds)
    failure = FailureText(result.failures[0].cause, "\n\n".join(one.details or one.cause for one in result.failures))
    return Case(name, result.status, failure.cause, result.seconds, detail(name, [], failure=failure, notes=[NO_TRACES]))


def _named(found: Sequence[tuple[str, Case]]) -> Iterator[Case]:
    """Yield the cases with names of their own, because a link names its test."""
    counts = Counter(case.name for _, case in found)
    taken: set[str] = {name for name, count in counts.items() if count == 1}
    for job, case in found:
        name = case.name
        if counts[name] > 1:
            tried = first = f"{name} · {column(job)}"
            number = 2
            while tried in taken:
                tried, number = f"{first} ({number})", number + 1
            taken.add(tried)
            name = tried
        yield replace(case, name=name)
