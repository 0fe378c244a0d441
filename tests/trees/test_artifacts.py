"""Pending files of other machines: what is taken from an artifact, what is refused, and how GitHub is asked."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llmtest.errors import PendingError
from llmtest.trees.artifacts import Kept, describe, downloaded, kept_in, read_kept, receive
from llmtest.trees.pending import Folder, Mismatch
from llmtest.trees.rendering import HEADER

NEW = f'{HEADER}\nchat Model\n  > u1: "hi"\n  < a1: "Goodbye"\n'
SNAPSHOT = "tests/__snapshots__/test_a/test_x.tree"


def pending_text(snapshot: str = SNAPSHOT, test: str = "tests/test_a.py::test_x", what: str = "snapshot") -> str:
    header = HEADER if what == "snapshot" else "# llmtest script v1"
    about = f"# test {json.dumps(test)}\n# {what} {json.dumps(snapshot)}\n"
    return NEW.replace(f"{HEADER}\n", f"{header}\n{about}")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "llmtest-report" / "pending"
    folder.mkdir(parents=True)
    (folder / "test_x.tree").write_text(pending_text(), "utf-8")
    return tmp_path / "artifact"


@pytest.fixture
def project(tmp_path: Path) -> Folder:
    (tmp_path / "project").mkdir()
    return Folder(tmp_path / "project", {})


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_pending_files_are_found_wherever_they_lie(artifact: Path, project: Folder, as_zip: bool) -> None:
    (artifact / "other.tree").write_text(NEW, "utf-8")
    (artifact / "data.yaml").write_text("a: 1", "utf-8")
    (artifact / "binary.tree").write_bytes(b"\xff\xfe")

    received = receive(zipped(artifact) if as_zip else artifact, project)

    assert [path.relative_to(project.root).as_posix() for path in received] == [".llmtest/pending/tests/test_a.py/test_x.tree"]
    (one,) = project.found()
    assert (one.test, one.snapshot, one.received) == ("tests/test_a.py::test_x", project.root / SNAPSHOT, NEW)
    assert describe(received, "artifact") == "1 pending file from artifact"


def test_windows_line_ends_of_a_checkout_do_not_matter(artifact: Path) -> None:
    (file,) = artifact.rglob("*.tree")
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))

    assert read_kept(artifact) == [Kept("tests/test_a.py::test_x", SNAPSHOT, pending_text())]


def test_what_was_masked_in_a_cassette_is_not_taken(artifact: Path) -> None:
    (artifact / ".secrets").mkdir()
    (artifact / ".secrets" / "x.tree").write_text(pending_text(), "utf-8")

    assert len(read_kept(artifact)) == 1


@pytest.mark.parametrize(
    ("target", "what", "problem"),
    [
        ("../__snapshots__/x.tree", "snapshot", "is no path inside the project"),
        ("/etc/__snapshots__/x.tree", "snapshot", "is no path inside the project"),
        ("C:/__snapshots__/x.tree", "snapshot", "is no path inside the project"),
        ("tests\\__snapshots__\\x.tree", "snapshot", "is no path inside the project"),
        ("src/x.tree", "snapshot", "is in no folder `__snapshots__`"),
        ("__snapshots__", "snapshot", "is in no folder `__snapshots__`"),
        ("tests/__snapshots__/conftest.py", "snapshot", "is in no folder `__snapshots__`"),
        (".github/__snapshots__/x.tree", "snapshot", "is in a hidden folder, or hidden"),
        ("tests/__snapshots__/.x.tree", "snapshot", "is in a hidden folder, or hidden"),
        (".github/workflows/ci.yaml", "cassette", "is in a hidden folder, or hidden"),
        ("deploy/prod.yaml", "cassette", "is in no folder `cassettes`"),
        ("link/__snapshots__/x.tree", "snapshot", "is outside of the project, by a link"),
    ],
)
def test_a_file_that_would_go_anywhere_else_is_refused_and_nothing_is_written(
    artifact: Path, project: Folder, target: str, what: str, problem: str
) -> None:
    (artifact / "y.yaml").write_text(pending_text(target, "t.py::test_evil", what), "utf-8")
    (project.root / "link").symlink_to(artifact)

    with pytest.raises(PendingError) as caught:
        receive(artifact, project)

    assert str(caught.value).replace("\\\\", "\\") == (
        f"{artifact}: the pending file of t.py::test_evil is refused: '{target}' {problem}\n  nothing was accepted"
    )
    assert not project.path.exists()


def test_the_name_of_a_test_leads_nowhere(artifact: Path, project: Folder) -> None:
    (artifact / "y.tree").write_text(pending_text(test="../../../evil.py::test"), "utf-8")

    received = receive(artifact, project)

    assert all(path.resolve().is_relative_to(project.path.resolve()) for path in received)


def test_two_texts_for_one_snapshot_are_refused(artifact: Path, project: Folder) -> None:
    (artifact / "other.tree").write_text(pending_text().replace("Goodbye", "Ciao"), "utf-8")

    with pytest.raises(PendingError) as caught:
        receive(artifact, project)

    assert str(caught.value) == (
        f"{artifact}: tests/test_a.py::test_x has two different texts for {SNAPSHOT}\n"
        "  download the artifact of one job, and name its folder or file: llmtest accept --from-ci FILE"
    )


def test_an_artifact_without_pending_files_says_what_the_job_must_do(tmp_path: Path, project: Folder) -> None:
    with pytest.raises(PendingError) as caught:
        receive(tmp_path, project)

    assert str(caught.value) == (
        f"{tmp_path} has no pending snapshots\n"
        "  the job must run `pytest --llmtest-report=FOLDER` and upload FOLDER (docs/how-to/continuous-integration.md)"
    )


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PendingError, match=r"none is no folder and no file$"):
        read_kept(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "x", f"{HEADER}\n", f"{HEADER}\n# test x\n# snapshot y\n", pending_text().replace('"', "")])
def test_other_files_are_no_pending_files(text: str) -> None:
    assert kept_in(text.encode()) is None


def test_the_place_is_the_one_that_a_test_here_would_use(project: Folder) -> None:
    kept = Kept("tests/test_a.py::test_x", SNAPSHOT, "")
    cassette = Kept("tests/test_a.py::test_x", "tests/cassettes/test_a/test_x.yaml", "")

    assert kept.place(project) == project.place(Mismatch(kept.test, project.root / SNAPSHOT))
    assert cassette.place(project).name == "test_x.yaml"


# -- GitHub


class Commands:
    """Stands for `subprocess.run`: what was asked, and what to answer."""

    def __init__(self, *answers: tuple[int, str, str] | OSError) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._answers = iter(answers)

    def __call__(self, command: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        self.asked.append(tuple(Path(part).name if number == 0 else part for number, part in enumerate(command)))
        answer = next(self._answers)
        if isinstance(answer, OSError):
            raise answer
        return subprocess.CompletedProcess(command, *answer)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text("#!/bin/sh\n")
    gh.chmod(0o755)
    return {"PATH": str(gh.parent)}


@pytest.mark.parametrize(
    "run", ["123", "https://github.com/o/r/actions/runs/123", "https://github.com/o/r/actions/runs/123/job/4?pr=5"]
)
def test_a_run_is_downloaded_into_a_folder_that_goes_away(environ: dict[str, str], run: str) -> None:
    ask = Commands((0, "", ""))

    with downloaded(run, environ, ask) as folder:
        assert folder.is_dir()

    assert ask.asked == [("gh", "run", "download", "123", "--dir", str(folder))]
    assert not folder.exists()


def test_without_a_number_it_is_the_latest_run_of_this_branch(environ: dict[str, str]) -> None:
    ask = Commands((0, "feature\n", ""), (0, '[{"databaseId": 77}]', ""), (0, "", ""))

    with downloaded("", environ, ask):
        pass

    assert [command[:4] for command in ask.asked] == [
        ("git", "rev-parse", "--abbrev-ref", "HEAD"),
        ("gh", "run", "list", "--branch"),
        ("gh", "run", "download", "77"),
    ]


def test_a_branch_without_runs_is_an_error(environ: dict[str, str]) -> None:
    with (
        pytest.raises(PendingError, match=r"^GitHub has no run of the branch 'x'; name one: llmtest accept --from-ci=RUN$"),
        downloaded("", environ, Commands((0, "x\n", ""), (0, "[]", ""))),
    ):
        pass


def test_without_gh_the_error_says_what_else_to_do() -> None:
    with pytest.raises(PendingError) as caught, downloaded("123", {"PATH": ""}, Commands()):
        pass

    assert str(caught.value) == (
        "run 123 is asked for with the command `gh`, which is not installed (https://cli.github.com)\n"
        "  or download the artifact in a browser, and name its file: llmtest accept --from-ci FILE"
    )


def test_a_name_that_is_neither_a_file_nor_a_run_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(PendingError) as caught, downloaded("--repo=evil", environ, Commands()):
        pass

    assert str(caught.value) == "'--repo=evil' is no file or folder here, and no number or address of a run of GitHub Actions"


def test_what_gh_says_is_told(environ: dict[str, str]) -> None:
    with pytest.raises(PendingError) as caught, downloaded("1", environ, Commands((1, "", "x\nno valid artifacts found\n"))):
        pass

    assert str(caught.value) == "the artifacts of run 1 cannot be downloaded: gh says: no valid artifacts found"


def test_a_command_that_cannot_be_run_is_told(environ: dict[str, str]) -> None:
    with pytest.raises(PendingError) as caught, downloaded("", environ, Commands(OSError("no git here"))):
        pass

    assert str(caught.value) == "the latest run of this branch is not known: no git here"
