"""Reports of several jobs as one."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from llmtest import ScriptedChatModel, record
from llmtest.errors import ReportError
from llmtest.reports.joining import Joined, Part, join, kept_for, write_report
from llmtest.reports.results import Results, read
from llmtest.tracing.store import Store
from llmtest.trees.artifacts import Kept
from llmtest.trees.pending import Folder, Mismatch
from llmtest.trees.rendering import HEADER
from tests.reports.conftest import MIXED, failed

ONE, TWO = (Results((failed(name),)) for name in ("test_a", "test_b"))


def kept(name: str, text: str = "Goodbye") -> Kept:
    test, target = f"tests/test_it.py::{name}", f"tests/__snapshots__/test_it/{name}.tree"
    about = f"# test {json.dumps(test)}\n# snapshot {json.dumps(target)}\n"
    return Kept(test, target, f'{HEADER}\n{about}chat Model\n  < a1: "{text}"\n')


def report(folder: Path, results: Results, *pending: Kept) -> Path:
    write_report(folder, results, pending)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_report_has_results_summary_failures_and_pending_files(tmp_path: Path) -> None:
    folder = report(tmp_path / "report", ONE, kept("test_a"))

    assert names(folder) == ["failures.md", "pending/tests/test_it.py/test_a.tree", "results.json", "summary.md"]
    assert read(folder / "results.json") == ONE
    assert (folder / "pending/tests/test_it.py/test_a.tree").read_text("utf-8") == kept("test_a").text


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    folder = report(tmp_path / "report", MIXED, kept("test_a"), kept("test_c"))
    for name in ("index.html", "page.html"):
        (folder / name).write_text("of others")

    write_report(folder, MIXED, [kept("test_a")], has_page=True)
    assert "page.html" in names(folder)
    report(folder, Results((MIXED.tests[1],)))

    assert names(folder) == ["index.html", "results.json", "summary.md"]


def test_reports_of_jobs_become_one(tmp_path: Path) -> None:
    one = report(tmp_path / "shard-1", ONE, kept("test_a"))
    two = report(tmp_path / "shard-2", TWO, kept("test_b"), kept("test_a"))

    with join([one, two]) as joined:
        write_report(tmp_path / "all", joined.results, joined.pending, joined.stores)

    assert [(result.test, result.job) for result in joined.results.tests] == [
        ("tests/test_it.py::test_a", "shard-1"),
        ("tests/test_it.py::test_b", "shard-2"),
    ]
    assert joined.pending == (kept("test_a"), kept("test_b"))
    assert joined.clashes == ()
    assert names(tmp_path / "all") == [
        "failures.md",
        "pending/tests/test_it.py/test_a.tree",
        "pending/tests/test_it.py/test_b.tree",
        "results.json",
        "summary.md",
    ]
    assert "job `shard-2`" in (tmp_path / "all" / "failures.md").read_text("utf-8")


def test_a_folder_or_an_archive_may_hold_several(tmp_path: Path) -> None:
    report(tmp_path / "all" / "shard-1", ONE)
    report(tmp_path / "all" / "shard-2", TWO)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in (tmp_path / "all").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "all"))

    for path in (tmp_path / "all", tmp_path / "all.zip"):
        with join([path]) as joined:
            assert [result.job for result in joined.results.tests] == ["shard-1", "shard-2"]


def test_a_report_that_is_given_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(tmp_path / "shards" / "1", ONE, kept("test_a"))
    report(tmp_path / "shards" / "2", TWO)
    monkeypatch.chdir(tmp_path)

    with join([Path("shards/1"), tmp_path / "shards" / "1", Path("shards")]) as joined:
        assert [result.test for result in joined.results.tests] == ["tests/test_it.py::test_a", "tests/test_it.py::test_b"]
        assert [part.job for part in joined.parts] == ["1", "2"]
        assert joined.pending == (kept("test_a"),)


def test_one_report_alone_names_no_job(tmp_path: Path) -> None:
    with join([report(tmp_path / "report", ONE)]) as joined:
        assert joined == Joined(ONE, parts=(Part("report", ONE, f"{tmp_path.as_posix()}/report/page.html"),))


def test_folders_of_one_name_are_told_apart_by_the_way_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [report(Path(f"shard-{number}") / "llmtest-report", ONE) for number in (1, 2)]

    for given, jobs in {
        (paths[0], paths[1]): ["shard-1/llmtest-report", "shard-2/llmtest-report"],
        (Path("shard-1"), Path("shard-2")): ["shard-1/llmtest-report", "shard-2/llmtest-report"],
        (Path("shard-1"),): ["llmtest-report"],
    }.items():
        with join(given) as joined:
            assert [part.job for part in joined.parts] == jobs


def test_the_page_of_a_report_lies_beside_its_results(tmp_path: Path) -> None:
    for shard in ("shard-1", "shard-2"):
        report(tmp_path / "all" / shard, ONE)
    (tmp_path / "all" / "shard-2" / "page.html").write_text("the page")
    (tmp_path / "all" / "page.html").write_text("of no report")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in (tmp_path / "all").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "all"))

    for path in (tmp_path / "all", tmp_path / "all.zip"):
        with join([path]) as joined:
            one, two = joined.parts
            assert (one.job, one.page, two.place) == ("shard-1", None, f"{path.as_posix()}/shard-2/page.html")
            assert two.page is not None
            assert two.page.read_text() == "the page"


def test_jobs_that_want_different_texts_are_named_and_not_joined(tmp_path: Path) -> None:
    one = report(tmp_path / "py311", ONE, kept("test_a"), kept("test_b"))
    two = report(tmp_path / "py313", ONE, kept("test_a", "Ciao"))

    with join([one, two]) as joined:
        assert joined.pending == (kept("test_b"),)
        assert joined.clashes == ("tests/__snapshots__/test_it/test_a.tree is different in py311 and in py313",)


def test_traces_of_all_are_in_one_store(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with record() as recording, Store(tmp_path / f"{name}.sqlite") as store:
            ScriptedChatModel("Hello").invoke("hi")
            recording.close()
            store.keep(f"tests/test_it.py::test_{name}", [recording])
            store.keep("another session", [recording])
        write_report(tmp_path / name, ONE, (), [tmp_path / f"{name}.sqlite"], tests=[f"tests/test_it.py::test_{name}"])

    with join([tmp_path / "one", tmp_path / "two"]) as joined:
        write_report(tmp_path / "all", joined.results, joined.pending, joined.stores)

    assert names(tmp_path / "all") == ["failures.md", "results.json", "summary.md", "traces.sqlite"]
    with Store(tmp_path / "all" / "traces.sqlite") as store:
        assert [session.name for session in store.sessions()] == ["tests/test_it.py::test_one", "tests/test_it.py::test_two"]


def test_what_is_no_report_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_bytes(b"\xff")

    for name, problem in {
        "none": r"none is no folder and no file$",
        "empty": r"empty has no results\.json; `pytest --llmtest-report=FOLDER` writes one$",
        "broken": r"broken/results\.json is no file of results: ",
    }.items():
        with pytest.raises(ReportError, match=problem), join([tmp_path / name]):
            pass


def test_only_what_is_pending_for_tests_of_the_session_is_in_its_report(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {})
    for name in ("test_a", "test_old"):
        snapshot = tmp_path / "tests" / "__snapshots__" / "test_it" / f"{name}.tree"
        folder.keep(Mismatch(f"tests/test_it.py::{name}", snapshot, None, f'{HEADER}\nchat Model\n  < a1: "x"\n'))

    assert [one.test for one in kept_for(folder, ["tests/test_it.py::test_a"])] == ["tests/test_it.py::test_a"]
    assert kept_for(Folder(tmp_path / "elsewhere", {}), []) == []
