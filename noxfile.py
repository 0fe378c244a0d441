"""The version matrix: `make matrix` (or `nox -s tests`)."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["pythons", "langchain_core", "syrupy", "pytest_lowest"]


LOWEST = ["langchain-core==1.0.0", "langchain==1.0.0", "langchain-classic==1.0.0", "langgraph==1.0.0"]
ROOMS = ("tap", "models", "providers", "serving", "freezing", "recording", "script", "properties", "treetext", "upgrade")
ROOMS += ("gates", "ordering", "rules", "shapes", "explanations")
ON_LOWEST = [f"tests/test_{room}.py" for room in ROOMS]


def _run(session: nox.Session, *pins: str) -> None:
    session.install("-e", ".[test]", *pins)
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """The suite on each Python that is found."""
    _run(session)


@nox.session(python="3.11")
@nox.parametrize("core", ["lowest", "newest"])
def langchain_core(session: nox.Session, core: str) -> None:
    """The suite on the newest langchain-core, and the rooms that touch LangChain on the lowest.

    The trees of `create_agent` are not compared there: langchain 1.0 ran other chains than it does today. Those of
    `tests/test_upgrade.py` are: one text under every version.
    """
    if core == "newest":
        return _run(session, "--upgrade-strategy", "eager")
    session.install(
        "-e", ".", *LOWEST, "numexpr", "pytest-asyncio", "anyio", "hypothesis", "dirty-equals", "freezegun", "time-machine"
    )
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *ON_LOWEST, *session.posargs)
    return None


@nox.session(python="3.11")
@nox.parametrize("major", ["5", "6", "7"])
def syrupy(session: nox.Session, major: str) -> None:
    """Snapshots under each syrupy."""
    session.install("-e", ".[test-core]", f"syrupy=={major}.*")
    tests = ("tests/plugin", "tests/test_upgrade.py", "tests/test_snapshots_page.py", "examples")
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *session.posargs)


@nox.session(python="3.11")
def pytest_lowest(session: nox.Session) -> None:
    """The plugin under the lowest pytest that we support."""
    session.install("-e", ".[test-core]", "pytest==8.4.*")
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/plugin", "examples", *session.posargs)
