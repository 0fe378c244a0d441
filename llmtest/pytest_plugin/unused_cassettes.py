"""Cassettes that no test uses any more, and those that were stale when their test ran last.

Loaded in sessions that may have a cassette.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = "cassettes"
CACHE: Final = "llmtest/stale"
"""The key of pytest's cache under which each cassette has True if it was stale when its test ran last."""
_SENT: Final = "llmtest_cassettes"
_MAX_TOLD: Final = 10
_HEADER: Final = "# llmtest script v2\n"


class CassetteFiles:
    """The plugin that compares the cassettes on disk with the tests that have one. Holds state.

    `collected` are the tests of this process; those of xdist's workers come when they are done.
    """

    def __init__(self, config: pytest.Config, collected: list[pytest.Item]) -> None:
        self._config = config
        self._files = {item.nodeid: str(item.path) for item in collected}
        self._passed: set[str] = set()
        self._wanted = _wanted(collected) if collected else set()
        self._stale: dict[str, bool] = {}
        self.told: list[str] = []
        """What the end of the session says."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._stale |= getattr(report, "llmtest_answered", {})
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._passed.add(report.nodeid)
        elif report.failed:
            self._passed.discard(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sent = (getattr(node, "workeroutput", None) or {}).get(_SENT) or {}
        self._files |= sent.get("files", {})
        self._wanted |= set(map(Path, sent.get("wanted", ())))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """On xdist's workers nothing is decided: only the controller knows which tests have passed."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_SENT] = {"files": self._files, "wanted": list(map(str, self._wanted))}
        else:
            self._remember_stale()
            from llmtest.pytest_plugin.unused import is_partial

            if not is_partial(session) and not session.config.option.collectonly:
                self._settle(list(self._unused()))
        yield

    def _remember_stale(self) -> None:
        """Keep in pytest's cache which cassettes were stale; those of tests that did not run stay as they were."""
        cache = getattr(self._config, "cache", None)  # none with `-p no:cacheprovider`
        if not self._stale or cache is None:
            return
        known = cache.get(CACHE, {})
        found = {_relative(Path(path), self._config.rootpath): stale for path, stale in self._stale.items()}
        cache.set(CACHE, {**(known if isinstance(known, dict) else {}), **found})

    def _unused(self) -> Iterator[Path]:
        """Yield the cassettes that no test has: of a file whose tests have all passed, or that is gone."""
        files = set(map(Path, self._files.values()))
        unfinished = {Path(file) for test, file in self._files.items() if test not in self._passed}
        if not files - unfinished:
            return
        for folder in sorted({file.parent for file in files}):
            names = {path.stem for path in folder.iterdir()} if (folder / FOLDER).is_dir() else set()
            for inside in sorted((folder / FOLDER).iterdir()) if names else ():
                of = {file for file in files if file.parent == folder and file.stem == inside.name}
                is_gone = not of and inside.name not in names
                if inside.is_dir() and (is_gone or (of and not of & unfinished)):
                    yield from (path for path in sorted(inside.glob("*.yaml")) if path not in self._wanted and _is_ours(path))

    def _settle(self, unused: list[Path]) -> None:
        """Report unused cassettes, or delete them where unused snapshots are deleted too."""
        if not unused:
            return
        from llmtest.core.text import amount

        shown = [_relative(path, self._config.rootpath) for path in unused]
        if self._config.getoption("update_snapshots", False):
            for path in unused:
                _delete(path)
            head = f"{amount(len(unused), 'unused cassette')} deleted"
        else:
            how = "pytest --snapshot-update deletes " + ("it" if len(unused) == 1 else "them")
            head = f"{amount(len(unused), 'cassette')} unused, of tests that are not there any more: {how}"
        more = [f"  and {len(shown) - _MAX_TOLD:,} more"] if len(shown) > _MAX_TOLD else []
        self.told = [head, *(f"  {name}" for name in shown[:_MAX_TOLD]), *more]


def _wanted(collected: list[pytest.Item]) -> set[Path]:
    """Return the cassettes that tests have, by their marker or by the ini key."""
    from llmtest.pytest_plugin.cassettes import has_cassette, path_of

    return {path_of(item) for item in collected if has_cassette(item)}


def _is_ours(path: Path) -> bool:
    """True for a file that a recording has written: with our header, and the name of its test."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(lines) and lines[0] == _HEADER.rstrip() and any(line.startswith("test: ") for line in lines[:20])


def _delete(path: Path) -> None:
    from llmtest.cassettes import masking

    path.unlink(missing_ok=True)
    masking.keep(path, {})
    for folder in _empty((masking.secrets_file(path).parent, path.parent)):
        with suppress(OSError):
            folder.rmdir()


def _empty(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders that hold nothing, or nothing but the `.gitignore` that llmtest has written."""
    for folder in folders:
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {".gitignore"}:
            (folder / ".gitignore").unlink(missing_ok=True)
            yield folder


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
