"""One run of a test elsewhere: in another process, with another hash seed, temporary directory and day.

What a snapshot takes from any of them changes it on the next machine. `verify` starts the process, in which this module is a
plugin: it moves the clock, and says what the test has compared. Nothing is written there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from llmtest.pytest_plugin.arguments import arguments_of
from llmtest.pytest_plugin.attempt import ELSEWHERE, MAX_LINES, attempt_of

_MOVED_S: Final = 2 * 86_400
"""Two days, because a zone behind UTC takes one of them back."""
_DROPPED: Final = ("--llmtest-", "--junit", "--cov", "--basetemp", "--dist", "--tx", "--numprocesses", "--maxprocesses", "-n")
_DROPPED_FLAGS: Final = {"--lf", "--last-failed", "--ff", "--failed-first", "--sw", "--stepwise", "--nf", "--new-first"}
_WITH_VALUE: Final = {
    "-n",
    "--numprocesses",
    "--dist",
    "--tx",
    "--maxprocesses",
    "--basetemp",
    "--junitxml",
    "--junit-xml",
    "--cov",
}


class Elsewhere(NamedTuple):
    """What the run came to: the outcome of each phase; by the file of a snapshot its text, which of the constants are the same
    there, and the text that shows them; and its last lines."""

    outcomes: list[list[str]]
    texts: dict[str, str]
    constants: dict[str, list[str]]
    shown: dict[str, str]
    output: str


def run(item: pytest.Item, constants: Mapping[str, list[str]]) -> Elsewhere:
    """Run `item` once more, elsewhere. `constants` are the ids and times that were the same here in each run, by the file of
    the snapshot."""
    with tempfile.TemporaryDirectory(prefix="llmtest-elsewhere-") as folder:
        told = Path(folder) / "told.json"
        told.write_text(json.dumps({"asked": constants}), "utf-8")
        done = subprocess.run(
            [sys.executable, *([] if _has_folder_on_path(item.config) else ["-P"]), "-m", "pytest", *_arguments(item)],
            cwd=item.config.invocation_params.dir,
            env={**os.environ, **_environment(folder), ELSEWHERE: str(told)},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        output = _worth_reading((done.stdout + done.stderr).splitlines())
        found = json.loads(told.read_text("utf-8"))
    texts, same, shown = (found.get(name, {}) for name in ("texts", "constants", "shown"))
    return Elsewhere(found.get("outcomes", []), texts, same, shown, output)


def _worth_reading(lines: list[str]) -> str:
    """Return the failures in the output of pytest, which begin with what is wrong; else its end."""
    failures = [number for number, line in enumerate(lines) if line.strip("=") in (" FAILURES ", " ERRORS ")]
    return "\n".join(lines[failures[0] + 2 :][:MAX_LINES] if failures else lines[-MAX_LINES // 2 :])  # without headings


def _has_folder_on_path(config: pytest.Config) -> bool:
    return not {"", os.getcwd(), str(config.invocation_params.dir)}.isdisjoint(sys.path)


def _arguments(item: pytest.Item) -> list[str]:
    """Return the arguments of this session, for one test and without what only the whole session may write or order."""
    config = item.config
    positional = {*map(str, config.args), *map(str, config.option.file_or_dir)}
    kept: list[str] = []
    passing = False
    for argument in arguments_of(config):
        if passing:
            passing = False
        elif argument in _WITH_VALUE:
            passing = True
        elif argument not in positional | _DROPPED_FLAGS and not argument.startswith(_DROPPED):
            kept.append(argument)
    alone = ["-n0"] if config.pluginmanager.hasplugin("xdist") else []
    root = f"--rootdir={config.rootpath}"
    path, _, name = item.nodeid.partition("::")
    node = f"{config.rootpath / path}::{name}"
    return [*kept, *alone, root, "-p", "no:cacheprovider", "-p", __name__, "--llmtest-verify=1", "--llmtest-traces=off", node]


def _environment(folder: str) -> dict[str, str]:
    temporary = Path(folder) / "another_temporary_directory"
    temporary.mkdir()
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    # Of two zones at the ends of the earth one has another date than UTC, at any hour.
    zone = "Etc/GMT-14" if time.gmtime().tm_hour >= 10 else "Etc/GMT+12"
    folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    return {**folders, "PYTHONHASHSEED": seed, "TZ": zone, "LLMTEST_PENDING_DIR": str(Path(folder) / "pending")}


# -- there


def pytest_configure(config: pytest.Config) -> None:
    # The zone alone moves local dates; with this package those of UTC move too.
    with suppress(ImportError):
        import time_machine

        moved = time_machine.travel(time.time() + _MOVED_S, tick=True)
        moved.start()
        config.add_cleanup(moved.stop)


_outcomes: Final = pytest.StashKey[list[list[str]]]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    outcomes = item.stash.setdefault(_outcomes, [])
    outcomes.append([str(report.when), report.outcome])
    attempt = attempt_of(item)
    file = Path(os.environ[ELSEWHERE])
    asked: dict[str, list[str]] = json.loads(file.read_text("utf-8"))["asked"]
    found: dict[str, Any] = {"asked": asked, "outcomes": outcomes, "texts": {}, "constants": {}, "shown": {}}
    for mismatch in attempt.comparisons() if attempt is not None else ():
        name, source = str(mismatch.snapshot), mismatch.source
        found["texts"][name] = mismatch.received or ""
        same = source.met.intersection(asked.get(name, ())) if source is not None else frozenset()
        if source is not None and same:
            found["constants"][name], found["shown"][name] = sorted(same), source.show(same)
    file.write_text(json.dumps(found), "utf-8")
    return report
