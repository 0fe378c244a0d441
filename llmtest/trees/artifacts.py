"""Pending snapshots and cassettes that another machine has kept, such as a job of CI: read from its artifact, never trusted.

Only what a file says about itself counts: its test, and the snapshot that it would become. Its own name and place do not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from llmtest.core.bundles import BundleError, read_files
from llmtest.core.text import amount
from llmtest.errors import PendingError
from llmtest.trees.pending import CASSETTE_ENDING, ENDING, OLD_ENDING, Folder, Mismatch, read_about, write_text

SNAPSHOTS: Final = "__snapshots__"
CASSETTES: Final = "cassettes"
_RUN: Final = re.compile(r"(?:https://[\w.-]+/[\w.-]+/[\w.-]+/actions/runs/)?(\d{1,20})(?:/[\w/?=-]*)?")


@dataclass(frozen=True, slots=True)
class Kept:
    """A pending file of another machine: its text, the test, and the snapshot or cassette that it would become, relative to the
    root folder of the project."""

    test: str
    target: str
    text: str

    @property
    def is_cassette(self) -> bool:
        return self.target.endswith(CASSETTE_ENDING)

    def place(self, folder: Folder) -> Path:
        """Return the pending file that it is in `folder`."""
        mismatch = Mismatch(self.test, folder.root / self.target)
        return folder.place_of_cassette(self.test, mismatch.snapshot) if self.is_cassette else folder.place(mismatch)


def read_kept(path: Path) -> list[Kept]:
    """Return the pending files in a folder or a zip archive, wherever they lie in it. Other files are passed over.

    Raises:
        PendingError: it cannot be read.
    """
    try:
        found = [(name, data) for name, data in read_files(path, _may_be_kept)]
    except (BundleError, OSError) as error:
        raise PendingError(str(error)) from None
    return [kept for _, data in found if (kept := kept_in(data)) is not None]


def _may_be_kept(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.endswith((ENDING, OLD_ENDING, CASSETTE_ENDING)) and ".secrets" not in parts


def kept_in(data: bytes) -> Kept | None:
    """Return the pending file with this content; None if it is none."""
    try:
        text = data.decode("utf-8", "surrogatepass").replace("\r\n", "\n")
        about = read_about(text)
    except ValueError:
        return None
    return None if about is None else Kept(*about, text)


def receive(path: Path, folder: Folder) -> list[Path]:
    """Write the pending files of an artifact into `folder`, as if the tests had failed here. Return their paths.

    Raises:
        PendingError: it cannot be read, has none, or one of them would become a file that is no snapshot and no cassette of this
            project; nothing is written then.
    """
    found = read_kept(path)
    if not found:
        raise PendingError(
            f"{path} has no pending snapshots\n"
            "  the job must run `pytest --llmtest-report=FOLDER` and upload FOLDER (docs/how-to/continuous-integration.md)"
        )
    for kept in found:
        problem = _problem(kept, folder.root)
        if problem:
            raise PendingError(f"{path}: the pending file of {kept.test} is refused: {problem}\n  nothing was accepted")
    places: dict[Path, Kept] = {}
    for kept in found:
        place = kept.place(folder)
        if places.setdefault(place, kept).text != kept.text:
            raise PendingError(
                f"{path}: {kept.test} has two different texts for {kept.target}\n"
                "  download the artifact of one job, and name its folder or file: llmtest accept --from-ci FILE"
            )
    for place, kept in places.items():
        write_text(place, kept.text)
    return list(places)


def _problem(kept: Kept, root: Path) -> str:
    """Return why a file must not be written where a pending file says; an empty string if it may."""
    target = PurePosixPath(kept.target)
    said = f"{kept.target!r} is"
    if target.is_absolute() or ".." in target.parts or "\\" in kept.target or ":" in kept.target:
        return f"{said} no path inside the project"
    if any(part.startswith(".") for part in target.parts):
        return f"{said} in a hidden folder, or hidden"
    folder, endings = (CASSETTES, (CASSETTE_ENDING,)) if kept.is_cassette else (SNAPSHOTS, (ENDING, OLD_ENDING))
    if not kept.target.endswith(endings) or folder not in target.parts[:-1]:
        return f"{said} in no folder `{folder}`"
    if not (root / target).resolve().is_relative_to(root.resolve()):
        return f"{said} outside of the project, by a link"
    return ""


# -- GitHub


@contextmanager
def downloaded(run: str, environ: Mapping[str, str], ask: Callable[..., subprocess.CompletedProcess[str]]) -> Iterator[Path]:
    """Download the artifacts of a run of GitHub Actions into a folder that lasts for the block. `run` is its number or its
    address, and empty for the latest run of this branch; `ask` runs the command `gh`.

    Raises:
        PendingError: `run` is neither, `gh` is not installed, or it has failed.
    """
    number = _number(run)
    gh = shutil.which("gh", path=environ.get("PATH"))
    if gh is None:
        raise PendingError(
            f"{_name(number)} is asked for with the command `gh`, which is not installed (https://cli.github.com)\n"
            "  or download the artifact in a browser, and name its file: llmtest accept --from-ci FILE"
        )
    if not number:
        number = _latest(gh, ask)
    with tempfile.TemporaryDirectory(prefix="llmtest-ci-") as folder:
        _ask(ask, f"the artifacts of run {number} cannot be downloaded", gh, "run", "download", number, "--dir", folder)
        yield Path(folder)


def _number(run: str) -> str:
    matched = _RUN.fullmatch(run)
    if run and matched is None:
        raise PendingError(f"{run!r} is no file or folder here, and no number or address of a run of GitHub Actions")
    return matched[1] if matched else ""


def _name(number: str) -> str:
    return f"run {number}" if number else "the latest run of this branch"


def _latest(gh: str, ask: Callable[..., subprocess.CompletedProcess[str]]) -> str:
    problem = "the latest run of this branch is not known"
    branch = _ask(ask, problem, "git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    said = _ask(ask, problem, gh, "run", "list", "--branch", branch, "--limit", "1", "--json", "databaseId")
    try:
        return str(json.loads(said)[0]["databaseId"])
    except (ValueError, LookupError, TypeError):
        raise PendingError(f"GitHub has no run of the branch {branch!r}; name one: llmtest accept --from-ci=RUN") from None


def _ask(ask: Callable[..., subprocess.CompletedProcess[str]], problem: str, *command: str) -> str:
    try:
        done = ask(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PendingError(f"{problem}: {error}") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise PendingError(f"{problem}: {os.path.basename(command[0])} says: {said[0]}")
    return done.stdout


def describe(paths: list[Path], source: str) -> str:
    """Return one line about what was received."""
    return f"{amount(len(paths), 'pending file')} from {source}"
