"""The version matrix: `make matrix` (or `nox -s tests`)."""

from __future__ import annotations

import shutil
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["pythons", "langchain_core", "syrupy", "pytest_lowest", "installed", "frameworks"]


LOWEST = ["langchain-core==1.0.0", "langchain==1.0.0", "langchain-classic==1.0.0", "langgraph==1.0.0"]
ON_LOWEST = [  # what touches LangChain, without what needs its integrations
    *("tests/langchain/test_tap.py", "tests/langchain/test_chat_model.py", "tests/langchain/test_freezing.py"),
    *("tests/recording/test_recording.py", "tests/scripts", "tests/trees/test_parsing.py", "tests/trees/test_upgrade.py"),
    *("tests/order/test_siblings.py", "tests/matching"),
    *("--ignore=tests/matching/test_enforce.py", "--ignore=tests/matching/test_mutation.py"),  # their agents need LangGraph 1.2
    # It says in other words that a schema has no name.
    "--deselect=tests/langchain/test_chat_model.py::test_a_schema_without_a_name_is_refused_as_integrations_refuse_it",
]


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
    """The suite on the newest langchain-core, and what touches LangChain on the lowest.

    The trees of `create_agent` are not compared there: langchain 1.0 ran other chains than it does today. Those of
    `tests/trees/test_upgrade.py` are: one text under every version.
    """
    if core == "newest":
        return _run(session, "--upgrade-strategy", "eager")
    tools = ("numexpr", "pytest-asyncio", "anyio", "trio", "hypothesis", "dirty-equals", "freezegun", "time-machine")
    session.install("-e", ".", *LOWEST, *tools)
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *ON_LOWEST, *session.posargs)
    return None


@nox.session(python="3.11")
@nox.parametrize("major", ["5", "6", "7"])
def syrupy(session: nox.Session, major: str) -> None:
    """Snapshots under each syrupy."""
    session.install("-e", ".[test-core]", f"syrupy=={major}.*")
    tests = ("tests/pytest_plugin", "tests/trees/test_upgrade.py", "examples")
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *session.posargs)


@nox.session(python="3.11")
def pytest_lowest(session: nox.Session) -> None:
    """The plugin under the lowest pytest that we support."""
    session.install("-e", ".[test-core]", "pytest==8.4.*")
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pytest_plugin", "examples", *session.posargs)


@nox.session(python="3.11")
def installed(session: nox.Session) -> None:
    """The plugin as users have it, installed without `-e`: pytest rewrites the asserts of all its modules then."""
    session.install(".[test-core]")
    folder = Path(session.create_tmp()).resolve() / "tests"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("tests", "fixtures", "examples"):  # away from the sources, which would be imported in place of what is installed
        shutil.copytree(name, folder / name)
    shutil.copy("pyproject.toml", folder)
    with session.chdir(folder):
        session.run("pytest", "-q", "-p", "no:cacheprovider", "tests/core", "tests/pytest_plugin", "examples", *session.posargs)


DOWNSTREAM = {  # project on the package index, and the tests that its source distribution has
    "langgraph-supervisor": "tests",
    "langgraph-swarm": "tests",
    "langgraph-prebuilt": "tests",
    "langgraph": "tests",
    "langchain": "tests/unit_tests/agents",
}


@nox.session(python="3.11")
@nox.parametrize("project", list(DOWNSTREAM))
def downstream(session: nox.Session, project: str) -> None:
    """Tests of projects that use LangGraph pass while llmtest records everything, if they pass without llmtest.

    A failed test is repeated once, because some of these tests depend on the clock. Needs the package index, and is not in
    the default list.
    """
    folder, tests = _source_of(session, project), DOWNSTREAM[project]
    session.run("python", "-m", "pip", "install", "--quiet", "--upgrade", "pip")  # `--group` needs pip 25.1
    with session.chdir(folder):
        session.install("--quiet", ".", "--group", "test")
    session.install("--quiet", "-e", ".")
    passed = _passed(session, folder, "alone", "-p", "no:llmtest-kit", tests)
    failed = sorted(passed - _passed(session, folder, "recorded", tests, LLMTEST_TRACING="true"))
    if failed:
        session.log("\n".join(["they fail with llmtest, and are repeated:", *failed]))
        failed = sorted({*failed} - _passed(session, folder, "repeated", *failed, LLMTEST_TRACING="true"))
    session.log(f"{project}: {len(passed)} tests pass without llmtest, {len(failed)} of them fail with it")
    if failed or not passed:
        session.error("\n".join(failed) or f"no test of {project} passes")


def _source_of(session: nox.Session, project: str) -> Path:
    """The folder of the newest source distribution, unpacked."""
    target = Path(session.create_tmp()).resolve()
    archives = f"{project.replace('-', '_')}-*.tar.gz"
    for old in target.glob(archives):
        old.unlink()
    session.run(
        *("python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(target), project)
    )
    (archive,) = target.glob(archives)
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    return target / archive.name.removesuffix(".tar.gz")


def _passed(session: nox.Session, folder: Path, name: str, *arguments: str, **variables: str) -> set[str]:
    """Run tests of a project; return the node ids of those that pass."""
    report = folder / f"{name}.xml"
    options = ("-q", "--tb=short", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}")
    env = {"NO_DOCKER": "true", "LLMTEST_STORE": str(folder / "traces.sqlite"), **variables}
    with session.chdir(folder):
        session.run("python", "-m", "pytest", *options, *arguments, env=env, success_codes=[0, 1])
    cases = ElementTree.parse(report).iter("testcase")
    return {_node_id(case) for case in cases if not any(part.tag in ("failure", "error", "skipped") for part in case)}


def _node_id(case: ElementTree.Element) -> str:
    file, name = case.get("file", ""), case.get("name", "")
    classes = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", ".")).split(".")
    return "::".join([file, *filter(None, classes), name])


FRAMEWORKS = {
    "llama_index": ["llama-index-llms-openai", "openinference-instrumentation-llama-index"],
    "google_adk": ["google-adk"],
    "strands": ["strands-agents[openai]"],
    "crewai": ["crewai", "openinference-instrumentation-crewai", "openinference-instrumentation-openai"],
    "phoenix": ["arize-phoenix", "opentelemetry-exporter-otlp-proto-http"],
    "openai_compatible": [
        "langchain",
        *(f"langchain-{name}" for name in ("deepseek", "fireworks", "groq", "mistralai", "nvidia-ai-endpoints", "openrouter")),
        *(f"langchain-{name}" for name in ("perplexity", "together", "upstage", "xai")),
    ],
    "javascript": [],
}
SDKS_OF_JAVASCRIPT = ["openai", "@anthropic-ai/sdk", "@google/genai", "ollama"]


@nox.session(python="3.11")
@nox.parametrize("framework", list(FRAMEWORKS))
def frameworks(session: nox.Session, framework: str) -> None:
    """Programs of frameworks whose dependencies do not go together with ours."""
    session.install("-e", ".", "pytest-asyncio", *FRAMEWORKS[framework])  # pytest's settings name an option of it
    quiet = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_TRACES_EXPORTER": "none"}  # their own reports about their use
    if framework == "javascript":
        if shutil.which("npm") is None:
            session.skip("npm is not installed")
        folder = Path(session.create_tmp()).resolve()
        session.run("npm", "install", "--silent", "--prefix", str(folder), *SDKS_OF_JAVASCRIPT, external=True)
        quiet["LLMTEST_NODE_MODULES"] = str(folder / "node_modules")
    options = ("-q", "-p", "no:cacheprovider", "-W", "default")  # what they warn of is theirs
    session.run("python", "-m", "pytest", *options, f"tests/frameworks/test_{framework}.py", env=quiet)
