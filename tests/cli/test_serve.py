"""`llmtest serve`: its output, its exit codes, and wrong command lines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmtest.cli import commands, serve
from tests.support.raw_http import CLOSE, chat, request, sent


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hi.yaml").write_text("steps: [Hello, {say: Bye, optional: true}]\n")
    (tmp_path / "models.yaml").write_text('models: {gpt-5: [Hello], "anthropic:*": [Bonjour]}\n')
    return "hi.yaml"


def ask(server, model="gpt-5", path="/v1/chat/completions"):
    return sent(server.port, request(path, chat(model), CLOSE, f"Authorization: Bearer {server.token}"))


def test_it_shows_the_environment_and_each_request(script, capsys):
    code = serve.run([script], token="t", wait=ask)

    out, err = capsys.readouterr()
    first, *exports, last, line = out.splitlines()
    url = first.partition(" at ")[2].partition(";")[0]
    assert code == 0
    assert first == f"# hi.yaml at {url}; for the program:"
    assert exports == [
        f"export OPENAI_BASE_URL={url}/v1",
        f"export OPENAI_API_BASE={url}/v1",
        "export OPENAI_API_KEY=t",
        f"export ANTHROPIC_BASE_URL={url}",
        f"export ANTHROPIC_API_URL={url}",
        "export ANTHROPIC_API_KEY=t",
        f"export GOOGLE_GEMINI_BASE_URL={url}",
        "export GOOGLE_API_KEY=t",
        "export GEMINI_API_KEY=t",
        f"export OLLAMA_HOST={url}/t",
        "export NO_PROXY=127.0.0.1,localhost",
        "export no_proxy=127.0.0.1,localhost",
        "export OPENAI_AGENTS_DISABLE_TRACING=1",
        "export LANGSMITH_TRACING=false",
        "export LANGCHAIN_TRACING_V2=false",
    ]
    assert last == "# each request, until Ctrl-C:"
    assert line == "1  POST /v1/chat/completions  openai:gpt-5  200  human 'hi'  -> say('Hello')"
    assert err == "llmtest serve: 1 request, nothing is wrong, no step is left\n"


def test_json_lines_are_for_machines(script, capsys):
    assert serve.run([script], as_json=True, token="t", wait=ask) == 0

    told, entry = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["token"], told["env"]["OPENAI_API_KEY"], told["env"]["OPENAI_BASE_URL"]) == ("t", "t", f"{told['url']}/v1")
    assert entry == {
        "number": 1,
        "method": "POST",
        "path": "/v1/chat/completions",
        "provider": "openai",
        "model": "gpt-5",
        "status": 200,
        "ending": "answered",
        "last_message": "human 'hi'",
        "step": "say('Hello')",
    }


def test_violations_and_steps_that_are_left_are_exit_code_1(script, capsys):
    assert serve.run([f"openai:gpt-5={script}"], wait=lambda server: ask(server, "gpt-4")) == 1

    err = capsys.readouterr().err
    assert err.startswith(
        "llmtest serve: 1 request, 2 violations\n\n"
        "a request asks for the model `openai:gpt-4`, which is mapped to no script\n"
    )  # fmt: skip
    assert "\n1 of 2 steps of the script was never used\n  step 1  say('Hello')  at hi.yaml:1\n" in err


def test_a_file_for_each_model(script, capsys):
    other = Path("other.yaml")
    other.write_text("steps: [Bonjour]\n")

    def both(server):
        assert b"Hello" in ask(server)
        assert b"Bonjour" in ask(server, "claude-x", "/v1/messages")

    assert serve.run([f"gpt-5={script}", f"anthropic:*={other}"], wait=both) == 0


def test_a_file_that_names_its_models(script, capsys):
    def both(server):
        assert b"Hello" in ask(server)
        assert b"Bonjour" in ask(server, "claude-x", "/v1/messages")

    assert serve.run(["models.yaml"], wait=both) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none.yaml"], "the script of the model `*`: there is no script file `none.yaml`"),
        (
            ["hi.yaml", "hi.yaml"],
            "two files are for every model: `hi.yaml` and `hi.yaml`\n  give each its model: openai:gpt-5=hi.yaml",
        ),
        (
            ["gpt-5=hi.yaml", "models.yaml"],
            "the model `gpt-5` is mapped twice: `hi.yaml` and `models.yaml`\n  give each its model: openai:gpt-5=models.yaml",
        ),
        (
            ["a=hi.yaml", "a=b.yaml"],
            "the model `a` is mapped twice: `hi.yaml` and `b.yaml`\n  give each its model: openai:gpt-5=b.yaml",
        ),
        (
            ["hi.yaml", "--port", "70000"],
            "the server cannot listen on port 70000 of 127.0.0.1: a port is a number from 1 to 65535\n"
            "  without a port, the server takes one that is free",
        ),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(script, capsys, arguments, text):
    assert commands.main(["serve", *arguments]) == 2

    assert capsys.readouterr().err == f"llmtest serve: {text}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send Ctrl-C to another one there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_interrupted(script, number):
    with subprocess.Popen(
        [sys.executable, "-m", "llmtest", "serve", script, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it for what runs in the background
    ) as process:
        try:
            told = json.loads(process.stdout.readline())
            port = int(told["url"].rpartition(":")[2])
            answer = sent(port, request("/v1/chat/completions", chat(), CLOSE, f"Authorization: Bearer {told['token']}"))
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()  # a failed test would wait for it for ever

    assert b"Hello" in answer
    assert process.returncode == 0
    assert err == "llmtest serve: 1 request, nothing is wrong, no step is left\n"
