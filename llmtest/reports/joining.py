"""The report of a session as a folder, and several reports as one: of the shards, versions and machines of a pipeline.

A report has `results.json`, `summary.md`, `failures.md` where tests have failed, `pending/` with what can be accepted,
`page.html` where a page was asked for, and `traces.sqlite` where traces were kept. It is made to be uploaded: what was masked in
a cassette is not in it.
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtest.core.bundles import BundleError, read_files
from llmtest.errors import PendingError, ReportError
from llmtest.reports.markdown import failures_page, summary
from llmtest.reports.results import FILE, Results, joined
from llmtest.trees.artifacts import Kept, read_kept
from llmtest.trees.pending import VARIABLE, Folder, write_text

SUMMARY: Final = "summary.md"
FAILURES: Final = "failures.md"
PENDING: Final = "pending"
TRACES: Final = "traces.sqlite"
PAGE: Final = "page.html"


@dataclass(frozen=True, slots=True)
class Part:
    """One of several reports: its job, its results, and its page, if it has one. `place` is where the page came from; `page`
    is a file that exists as long as the block of `join`."""

    job: str
    results: Results
    place: str = ""
    page: Path | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """What several reports have together. `clashes` are texts about snapshots that different jobs want to become different
    texts; they are not in `pending`. `stores` are the trace stores, which exist as long as the block of `join`. `parts` are the
    reports, each by itself."""

    results: Results
    pending: tuple[Kept, ...] = ()
    clashes: tuple[str, ...] = ()
    stores: tuple[Path, ...] = ()
    parts: tuple[Part, ...] = ()


@contextmanager
def join(paths: Sequence[Path]) -> Iterator[Joined]:
    """Read reports, from folders or zip archives, and yield them as one. A folder may hold several of them. A report that is
    given twice is read once.

    Raises:
        ReportError: one of them cannot be read, or has no results.
    """
    with tempfile.TemporaryDirectory(prefix="llmtest-merge-") as folder:
        found: list[tuple[Path, str, bytes]] = []
        pages: dict[tuple[Path, str], Path] = {}
        stores: list[Path] = []
        kept: list[tuple[str, Kept]] = []
        known: set[Path] = set()
        for path in paths:
            has_results = False
            try:
                for name, data in read_files(path, _is_wanted):
                    inside, file = posixpath.split(name)
                    has_results = has_results or file == FILE
                    source = (path / name).resolve()
                    if source in known:
                        continue  # the pattern of a shell may name a report twice, or the folder that holds it
                    known.add(source)
                    if file == FILE:
                        found.append((path, inside, data))
                    elif file == PAGE:
                        pages[path, inside] = _written(data, Path(folder) / f"{len(pages)}.html")
                    else:
                        stores.append(_written(data, Path(folder) / f"{len(stores)}.sqlite"))
                kept += [(path.name, one) for one in read_kept(path)]
            except (BundleError, PendingError, OSError) as error:
                raise ReportError(str(error)) from None
            if not has_results:
                raise ReportError(f"{path} has no {FILE}; `pytest --llmtest-report=FOLDER` writes one")
        jobs = _jobs([(path, inside) for path, inside, _ in found])
        parts = []
        for job, (path, inside, data) in zip(jobs, found, strict=True):
            place = (path / inside).as_posix()
            results = Results.from_json(_text(data, f"{place}/{FILE}"), f"{place}/{FILE}", job if len(found) > 1 else "")
            parts.append(Part(job, results, f"{place}/{PAGE}", pages.get((path, inside))))
        pending, clashes = _agreeing(kept)
        whole = joined(part.results for part in parts)
        yield Joined(whole, tuple(pending), tuple(clashes), tuple(stores), tuple(parts))


def _is_wanted(name: str) -> bool:
    return posixpath.basename(name) in (FILE, TRACES, PAGE)


def _written(data: bytes, file: Path) -> Path:
    file.write_bytes(data)
    return file


def _jobs(places: Sequence[tuple[Path, str]]) -> list[str]:
    """Return a name for each report: of its folder, and with the way to it where several folders have one name."""
    short = [inside or path.resolve().name for path, inside in places]
    return [
        job if short.count(job) == 1 else (path / inside).as_posix() for job, (path, inside) in zip(short, places, strict=True)
    ]


def _text(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReportError(f"{place} is no file of results: {error}") from None


def _agreeing(kept: Iterable[tuple[str, Kept]]) -> tuple[list[Kept], list[str]]:
    """Return each pending file once, and texts about those of which jobs have different texts."""
    by_target: dict[str, dict[str, list[tuple[str, Kept]]]] = {}
    for job, one in kept:
        by_target.setdefault(one.target, {}).setdefault(one.text, []).append((job, one))
    agreed = [next(iter(texts.values()))[0][1] for texts in by_target.values() if len(texts) == 1]
    clashes = [
        f"{target} is different in {' and in '.join(sorted({same[0][0] for same in texts.values()}))}"
        for target, texts in by_target.items()
        if len(texts) > 1
    ]
    return agreed, clashes


# -- the folder of a report


def write_report(
    folder: Path,
    results: Results,
    kept: Iterable[Kept],
    stores: Iterable[Path] = (),
    *,
    tests: Collection[str] | None = None,
    has_page: bool = False,
) -> None:
    """Write a report; what an earlier one left in `folder` is replaced. `tests` are those whose traces it gets, or all. A page
    is written by itself: `has_page` says that there is one.

    Raises:
        OSError: it cannot be written.
        StoreError: a trace store cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, results.to_json())
    write_text(folder / SUMMARY, summary(results))
    if results.failed:
        write_text(folder / FAILURES, failures_page(results))
    else:
        (folder / FAILURES).unlink(missing_ok=True)
    if not has_page:
        (folder / PAGE).unlink(missing_ok=True)
    _write_pending(folder, kept)
    _write_traces(folder / TRACES, stores, tests)


def _write_pending(folder: Path, kept: Iterable[Kept]) -> None:
    target = Folder(folder, {VARIABLE: PENDING})
    new = {one.place(target): one.text for one in kept}
    old = read_kept(target.path) if target.path.is_dir() else []
    for place in {one.place(target) for one in old} - new.keys():
        place.unlink(missing_ok=True)
    for place, text in new.items():
        write_text(place, text)


def _write_traces(target: Path, stores: Iterable[Path], tests: Collection[str] | None) -> None:
    from llmtest.tracing import jsonl
    from llmtest.tracing.rows import column
    from llmtest.tracing.store import Store

    wanted = None if tests is None else {column(test) for test in tests}
    sources = [source for source in stores if source.is_file() and source != target]
    if not sources:
        return
    for ending in ("", "-wal", "-shm"):
        Path(f"{target}{ending}").unlink(missing_ok=True)
    with Store(target) as written:
        for source in sources:
            with Store(source) as read:
                traces = [trace for trace in read.traces() if wanted is None or trace.session in wanted]
                jsonl.take_in(written, (jsonl.line(read, trace) for trace in traces), lambda done, of: None)


def kept_for(folder: Folder, tests: Collection[str]) -> list[Kept]:
    """Return what is pending in `folder` for some tests."""
    return [one for one in read_kept(folder.path) if one.test in tests] if folder.path.is_dir() else []
