"""Programs in JavaScript, answered over the socket. `nox -s "frameworks(framework='javascript')"` installs the SDKs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmtest import ScriptedEmbeddings, call, fail, say
from llmtest.wire import scripted_server
from llmtest.wire.serving import ScriptedServer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/any-framework-any-language.md"
MODULES = os.environ.get("LLMTEST_NODE_MODULES", "")
pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not MODULES, reason="LLMTEST_NODE_MODULES does not name a folder with the SDKs of JavaScript"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose programs find the SDKs, as Node looks for them: beside the program."""
    (tmp_path / "node_modules").symlink_to(MODULES, target_is_directory=True)
    return tmp_path


def example() -> str:
    """The program on the page."""
    (program,) = re.findall(r"```javascript\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return program


def run(folder: Path, program: str, variables: dict[str, str]) -> str:
    (folder / "ask.mjs").write_text(program, "utf-8")
    environment = {**os.environ, **variables}
    done = subprocess.run(
        ["node", "ask.mjs"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_the_page(folder: Path) -> None:
    with scripted_server("It is sunny.") as server:
        assert run(folder, example(), server.env) == "It is sunny."
        server.verify()


def test_the_program_of_the_page_against_the_command(folder: Path) -> None:
    (folder / "sunny.yaml").write_text("steps:\n  - say: It is sunny.\n", "utf-8")
    command = [sys.executable, "-m", "llmtest", "serve", "sunny.yaml", "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            first = json.loads(serving.stdout.readline())
            assert run(folder, example(), first["env"]) == "It is sunny."
        finally:
            serving.terminate()


def sunny() -> list[object]:
    return [say("It is ", "sunny.").repeat()]


def every_model() -> ScriptedServer:
    return scripted_server(
        {
            "openai:gpt-5": sunny(),
            "openai:tools": [
                call("weather", city="Paris"),
                say("It is sunny.").expects(contains="sunny in Paris", last="tool"),
            ],
            "openai:busy": [fail(429, retry_after=30), "It is sunny."],
            "openai:text-embedding-3-small": ScriptedEmbeddings(size=3),
            "anthropic:*": sunny(),
            "google_genai:*": sunny(),
            "ollama:*": sunny(),
        }
    )


def test_every_sdk(folder: Path) -> None:
    with every_model() as server:
        said = run(folder, (ROOT / "tests/frameworks/javascript.mjs").read_text("utf-8"), server.env)
        server.verify()

    assert {line.partition(": ")[2] for line in said.splitlines()} == {"It is sunny."}
    assert len(said.splitlines()) == 11
