"""The documentation runs: every Python block of every page, top to bottom; the trees that it shows are those that come out."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import langchain_anthropic  # noqa: F401, imported twice, its SDK would have two classes of one name
import langgraph.callbacks  # noqa: F401, the tap listens to the classes of one module of this name
import pytest
import yaml

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
from llmtest.cli import commands
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


def _blocks(page: Path, language: str) -> list[tuple[str, str]]:
    return [(info.strip(), code) for kind, info, code in BLOCK.findall(page.read_text("utf-8")) if kind == language]


DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_page_runs_and_shows_the_files_that_come_out(
    page: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "\n\n".join(block for _, block in _blocks(page, "python"))
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


def test_the_failure_of_the_readme_comes_out(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syrupy._syrupy", None)
    (shown,) = (text for info, text in _blocks(ROOT / "README.md", "text") if info.startswith("failing="))
    code = _blocks(ROOT / "README.md", "python")[0][1]
    options = ("-p", "no:cacheprovider", "-p", "no:asyncio")
    pytester.makepyfile(test_weather=code)
    assert pytester.runpytest_inprocess("--snapshot-update", *options).ret == 0
    pytester.makepyfile(test_weather=code.replace('city="Paris"),', 'city="Lyon"),'))

    failed = pytester.runpytest_inprocess(*options)

    lines = failed.outlines
    first = next(number for number, line in enumerate(lines) if line.startswith("E   "))
    difference = next(number for number, line in enumerate(lines) if " llmtest: snapshot " in line)
    told = shown.splitlines()
    assert [lines[first], *lines[difference + 1 : difference + len(told)]] == told


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
