"""The arguments of a session, on the workers of xdist too, the folders that they name, and the test that an item is of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import pytest

if TYPE_CHECKING:
    from llmtest.trees.pending import Folder

_SENT: Final = "llmtest_arguments"
_SESSION: Final = "llmtest_session"


TEST: Final = pytest.StashKey[str]()
"""The node id of the test that an item with faults belongs to."""


def base_id(item: pytest.Item) -> str:
    """Return the node id of a test, also of an item that runs it with faults: its cassette and its snapshots are the same."""
    return item.stash.get(TEST, item.nodeid)


class Worker(Protocol):
    """A worker of xdist, as its controller sees it."""

    config: pytest.Config
    workerinput: dict[str, object]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Worker) -> None:
    """Tell a worker what it cannot know: it is started with other arguments."""
    node.workerinput[_SENT] = arguments_of(node.config)
    node.workerinput[_SESSION] = session_of(node.config)


def arguments_of(config: pytest.Config) -> list[str]:
    """Return the arguments of this session, on a worker of xdist those of its controller."""
    sent: list[str] | None = getattr(config, "workerinput", {}).get(_SENT)
    return [*map(str, config.invocation_params.args)] if sent is None else sent


_session: Final = pytest.StashKey[str]()


def session_of(config: pytest.Config) -> str:
    """Return the name of this session, the same on all workers of xdist."""
    sent: str | None = getattr(config, "workerinput", {}).get(_SESSION)
    if sent is None and _session not in config.stash:
        from llmtest.core.own_folder import session_name

        config.stash[_session] = session_name()
    return sent or config.stash[_session]


_evals: Final = pytest.StashKey[Path]()


def evals_folder(config: pytest.Config) -> Path:
    """Return the folder with the results of the evaluations of this session, or of the session that it goes on with.

    Raises:
        UsageError: there is no session to go on with.
    """
    if _evals not in config.stash:
        from llmtest.evals.results import sessions_folder

        resumed = config.getoption("llmtest_resume")
        started = sessions_folder(config.rootpath) / session_of(config)
        config.stash[_evals] = started if resumed is None else _resumed_folder(config, resumed)
    return config.stash[_evals]


def _resumed_folder(config: pytest.Config, name: str) -> Path:
    from llmtest.errors import ResultsError
    from llmtest.evals.results import find_session

    try:
        return find_session(config.rootpath, name)
    except ResultsError as error:
        problem = f"--llmtest-resume: {error}"
    if name and Path(name.partition("::")[0]).exists():  # `pytest --llmtest-resume tests` takes the tests for a session
        problem += "\n  put the option behind the paths of tests, or write the name of a session after ="
    raise pytest.UsageError(problem)


def pending_folder(config: pytest.Config) -> Folder:
    """Return the folder of pending files of this session. In CI, where nothing is kept, that of the report is written."""
    from llmtest.trees.pending import VARIABLE, Folder

    environ: dict[str, str] = dict(os.environ)
    report = report_folder(config)
    if report is not None and environ.get("CI") and not environ.get(VARIABLE):
        environ[VARIABLE] = str(report / "pending")
    return Folder(config.rootpath, environ)


def report_folder(config: pytest.Config) -> Path | None:
    """Return the folder that `--llmtest-report` names, seen from where pytest was started, or the ini key, from its file."""
    return _path(config, "llmtest_report")


def page_file(config: pytest.Config) -> Path | None:
    """Return the file that `--llmtest-html` names, seen from where pytest was started, or the ini key, from its file."""
    return _path(config, "llmtest_html")


def coverage_folder(config: pytest.Config) -> Path | None:
    """Return the folder that `--llmtest-cov-data` names, seen from where pytest was started, or the ini key, from its file."""
    return _path(config, "llmtest_cov_data")


def _path(config: pytest.Config, key: str) -> Path | None:
    said, base = config.getoption(key), config.invocation_params.dir
    if not said:
        said, base = config.getini(key), config.rootpath
    return base / said if said else None
