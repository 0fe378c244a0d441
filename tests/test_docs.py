"""The documentation runs: every Python block of every page, top to bottom; the trees that it shows are those that come out."""

from __future__ import annotations

import ast
import gc
import re
import runpy
import shlex
import shutil
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import langchain_anthropic  # noqa: F401, imported twice, its SDK would have two classes of one name
import langgraph.callbacks  # noqa: F401, the tap listens to the classes of one module of this name
import numpy  # noqa: F401, cannot be imported twice
import openai
import pytest
import yaml
from langchain.chat_models import init_chat_model
from langchain_openai.chat_models import _client_utils

# An in-process run forgets what it imported; what is imported here it finds, and does not import a second time.
import llmtest.campaigns.fault_runs
import llmtest.campaigns.interleaving
import llmtest.conformance.handlers
import llmtest.langchain.chat_model
import llmtest.langchain.enforcing
import llmtest.langchain.injecting
import llmtest.langchain.interrupting
import llmtest.langchain.providers
import llmtest.langchain.recorded_classes
import llmtest.langchain.recorded_tools
import llmtest.langchain.tap
import llmtest.pytest_plugin.cassettes
import llmtest.pytest_plugin.fault_items
import llmtest.pytest_plugin.interleavings  # noqa: F401
from llmtest import errors, events, say
from llmtest.cli import commands
from llmtest.langchain.providers import scripted_providers
from llmtest.wire import scripted_server
from tests.support.live_pages import FOREIGN, LIVE_PAGES

ROOT = Path(__file__).parent.parent
HELD_TO_THE_DEMO = ROOT / "docs/how-to/first-test.md"  # parts of the demo's own files: tests/cli/test_demo.py compares them
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
    if "```python" in page.read_text("utf-8") and page != HELD_TO_THE_DEMO
]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def _sdks_that_import_late() -> Iterator[None]:
    """SDKs import parts of themselves at the first request, and compare classes: no inner run may import them again."""
    with scripted_providers({"openai:*": say("Hello").repeat(), "anthropic:*": say("Hello").repeat()}):
        for name in ("openai:gpt-5", "openai:gpt-4o", "anthropic:claude-opus-4-7"):
            init_chat_model(name).invoke("Hi")
        openai.OpenAI().responses.create(model="gpt-5", input="Hi")
    yield
    # The models of the pages share clients, whose connections to our servers are still open.
    _client_utils._cached_sync_httpx_client.cache_clear()
    _client_utils._cached_async_httpx_client.cache_clear()
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


def _blocks(page: Path, language: str) -> list[tuple[str, str]]:
    return [(info.strip(), code) for kind, info, code in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def _program(page: Path) -> str:
    return "\n\n".join(block for info, block in _blocks(page, "python") if info != "fails")


DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_page_runs_and_shows_the_files_that_come_out(
    page: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = _program(page)
    live = LIVE_PAGES.get(page.relative_to(ROOT).as_posix())
    module = "test_page" if live is None else live.module
    pytester.makepyfile(**{module: code if "def test_" in code else f"def test_page_imports():\n    pass\n\n\n{code}"})
    shutil.copytree(ROOT / "fixtures", pytester.path / "fixtures")
    options = ("--snapshot-update", "-p", "no:cacheprovider", "-p", "no:asyncio")
    for name, source in {} if live is None else live.files.items():
        (pytester.path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, pytester.path / name)
    for command in re.findall(r"^\$ llmtest (script .*)$", page.read_text("utf-8"), re.MULTILINE) if live else ():
        commands.main(shlex.split(command))
    if live is not None and live.models:
        monkeypatch.delenv("CI", raising=False)
        with scripted_server(live.models) as server, pytest.MonkeyPatch.context() as environment:
            for name, value in server.env.items():
                environment.setenv(name, value)
            assert pytester.runpytest_inprocess("--llmtest-record=once", "-m", "llm_cassette", *options).ret == 0

    result = pytester.runpytest_inprocess(*options)

    assert result.ret == 0
    for info, tree in _blocks(page, "text"):
        if info.startswith("tree="):
            written = pytester.path / "__snapshots__" / module / f"{info.removeprefix('tree=')}.tree"
            assert written.read_text("utf-8").split("\n", 1)[1].strip() == tree.strip()
    for info, shown in _blocks(page, "yaml"):
        kind, _, name = info.partition("=")
        if kind == "part":
            assert shown in (FOREIGN / name).read_text("utf-8")
        elif name:
            folder = pytester.path / "cassettes" / module if kind == "cassette" else pytester.path
            written = (folder / f"{name.removesuffix('.yaml')}.yaml").read_text("utf-8")
            assert DAY.sub("", written) == DAY.sub("", shown)


def test_the_cassette_of_the_readme_fits_a_screen() -> None:
    cassettes = [text for info, text in _blocks(ROOT / "README.md", "yaml") if info.startswith("cassette=")]

    assert cassettes
    assert all(len(text.splitlines()) <= 25 for text in cassettes)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("README.md", 'city="Paris"),', 'city="Lyon"),'), ("docs/learn/01-first-test.md", "the clerk of", "the keeper of")],
)
def test_the_failure_of_a_snapshot_that_a_page_shows_comes_out(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    monkeypatch.setattr("syrupy._syrupy", None)
    (shown,) = (text for info, text in _blocks(ROOT / name, "text") if info.startswith("failing="))
    code = _blocks(ROOT / name, "python")[0][1]
    options = ("-p", "no:cacheprovider", "-p", "no:asyncio")
    pytester.makepyfile(test_weather=code)
    assert pytester.runpytest_inprocess("--snapshot-update", *options).ret == 0
    pytester.makepyfile(test_weather=code.replace(old, new))

    failed = pytester.runpytest_inprocess(*options)

    lines = failed.outlines
    first = next(number for number, line in enumerate(lines) if line.startswith("E   "))
    difference = next(number for number, line in enumerate(lines) if " llmtest: snapshot " in line)
    told = shown.splitlines()
    assert [lines[first], *lines[difference + 1 : difference + len(told)]] == told


LINE_NUMBER = re.compile(r"(?<=\.py):\d+")
RAISED = re.compile(r"^E   (?:llmtest\.errors\.\w+: )?")
FAILURES = re.compile(r"^```python fails\n(.*?)^```$.*?^```text section\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILING_PAGES = [page for page in PAGES if "```python fails\n" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", FAILING_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_failure_that_a_page_shows_comes_out(page: Path, pytester: pytest.Pytester) -> None:
    failures = FAILURES.findall(page.read_text("utf-8"))
    failing = [name for code, _ in failures for name in re.findall(r"^(?:async )?def (test_\w+)", code, re.MULTILINE)]
    pytester.makepyfile(test_agent="\n\n".join([_program(page), *(code for code, _ in failures)]))

    nodes = [f"test_agent.py::{name}" for name in failing]
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio", "-rA", *nodes)

    printed = LINE_NUMBER.sub("", "\n".join(RAISED.sub("", line).rstrip() for line in result.outlines))
    outcomes = dict(re.findall(r"^(PASSED|FAILED|ERROR) test_agent\.py::(\w+)", printed, re.MULTILINE))
    assert "PASSED" not in outcomes
    assert len(failing) == len(failures) == page.read_text("utf-8").count("```python fails\n")
    assert [text for _, text in failures if LINE_NUMBER.sub("", text.rstrip()) not in printed] == []


def test_the_page_about_settings_is_what_is_registered() -> None:
    page = runpy.run_path(str(ROOT / "docs/settings_page.py"))

    assert page["PAGE"].read_text("utf-8") == page["rendered"](), "run: python docs/settings_page.py"


def test_the_page_about_settings_has_each_environment_variable() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "llmtest").rglob("*.py"))
    page = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    variables = set(re.findall(r"\bLLMTEST_[A-Z_]+\b", code)) - {"LLMTEST_ELSEWHERE"}  # set by llmtest for its own process

    assert sorted(name for name in variables if f"`{name}`" not in page) == []


def test_each_option_and_command_that_a_page_shows_is_there() -> None:
    registered = (ROOT / "docs/reference/settings.md").read_text("utf-8")  # what is registered: see the test above
    shown = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
        for name in re.findall(
            r"--llmtest-[a-z-]+[a-z]|^\$ llmtest [a-z]+|(?<=`)llmtest [a-z]+(?=[`\s])", page.read_text("utf-8"), re.M
        )
        if name.removeprefix("$ ") not in registered
    }

    assert shown == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_block_of_yaml_can_be_read(page: Path) -> None:
    for _, text in _blocks(page, "yaml"):
        yaml.safe_load(text)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/how-to").glob("[a-z]*.md")), ids=lambda page: page.stem)
def test_a_how_to_begins_with_a_thing_that_works(page: Path) -> None:
    before, fence, _ = page.read_text("utf-8").partition("\n```")

    assert fence
    assert len(before.splitlines()) <= 8


def test_the_card_has_each_sign_of_the_tree_text() -> None:
    pages = [(ROOT / f"docs/reference/{name}.md").read_text("utf-8") for name in ("tree-text", "tree-card")]
    table = pages[0].partition("| sign | what follows |")[2].partition("\n\n")[0]
    signs = re.findall(r"`(\S)`", "\n".join(row.split(" | ")[0] for row in table.splitlines()))

    assert len(signs) >= 9
    assert [sign for sign in signs if f"| `{sign}` |" not in pages[1]] == []


MAKER = re.compile(r"(?:^|[._])(?:Violation|violate)$")


def _codes() -> set[str]:
    """The codes of all violations of ours: what `Violation(...)` and the functions that make one are given."""
    found: set[str] = set()
    for path in (ROOT / "llmtest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and MAKER.search(ast.unparse(node.func)):
                code = node.args[0]
                found.add(str(code.value) if isinstance(code, ast.Constant) else getattr(errors, ast.unparse(code), ""))
    return found - {""}


def test_the_page_about_fields_has_each_field() -> None:
    page = (ROOT / "docs/reference/fields.md").read_text("utf-8")
    named = ("Message", "ToolCall", "Usage", "Document", "Failure", "Generation", "Structured", "Opaque", "UnseenCall")
    classes = [getattr(events, name) for name in named]

    assert [f"{one.__name__}.{field.name}" for one in classes for field in fields(one) if f"`{field.name}`" not in page] == []


def test_the_page_about_troubles_has_each_code_of_a_violation() -> None:
    page = (ROOT / "docs/how-to/troubleshooting.md").read_text("utf-8")
    codes = _codes()

    assert {"unused step", "competing calls", "stale recording", "ignored answer", "over budget", "script error"} <= codes
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


HOME = "https://github.com/llmtest/llmtest/blob/main/"
LINK = re.compile(rf"\]\(({HOME})?(?!https?:|#)([^)\s#]+)(?:#[^)\s]*)?(?: \"(\w+)\")?\)")


@pytest.mark.parametrize(
    "page",
    [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_every_link_leads_to_a_file_and_to_the_test_that_it_names(page: Path) -> None:
    for home, target, name in LINK.findall(page.read_text("utf-8")):
        found = (ROOT if home else page.parent) / target
        assert found.exists(), target
        assert not name or f"def {name}(" in found.read_text("utf-8"), name


def test_links_of_the_readme_work_on_a_package_index() -> None:
    links = LINK.findall((ROOT / "README.md").read_text("utf-8"))

    assert links
    assert [target for home, target, _ in links if not home] == []


def test_the_metadata_links_to_files_that_exist() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"].values()

    ours = [url.removeprefix(HOME) for url in urls if url.startswith(HOME)]

    assert ours
    assert [path for path in ours if not (ROOT / path).exists()] == []


CI_PAGE = ROOT / "docs/how-to/continuous-integration.md"


def test_the_pipelines_of_the_page_about_ci_are_yaml_that_calls_what_there_is(pytester: pytest.Pytester) -> None:
    github, gitlab = (yaml.safe_load(text) for _, text in _blocks(CI_PAGE, "yaml"))
    steps = [step for job in github["jobs"].values() for step in job["steps"]]
    scripts = [step["run"] for step in steps if "run" in step] + [
        line for job in ("tests", "report") for line in gitlab[job]["script"]
    ]
    options = {option for script in scripts for option in re.findall(r"--llmtest-[\w-]+", script)}
    helped = pytester.runpytest_inprocess("--help", "-p", "no:asyncio").stdout.str()

    assert github[True] == {"push": {"branches": ["main"]}, "pull_request": None}  # `on` is true in YAML 1.1
    assert options == {"--llmtest-html", "--llmtest-report", "--llmtest-traces"}
    assert all(f"{option}=" in helped for option in options)
    for script in (script for script in scripts if script.startswith("llmtest ")):
        with pytest.raises(SystemExit, match=r"^0$"):
            commands.main([*shlex.split(script)[1:], "--help"])
    uploads = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert uploads == ["llmtest-report/"] * 2
    assert gitlab["tests"]["artifacts"]["reports"] == {"junit": "junit.xml"}
