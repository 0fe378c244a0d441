"""`llmtest serve`: a scripted server for programs that a person, or a script of a CI, starts."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmtest.cli.terminal import CONSOLE

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.wire.journal import Entry
    from llmtest.wire.serving import ScriptedServer

USUAL: Final = ("openai", "anthropic", "google_genai", "ollama")
"""The providers whose variables are shown if the script is for every model."""


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    parser = commands.add("serve", "answer programs from a script, over HTTP as the providers do, until Ctrl-C", run)
    words = "a script file for every model or for those that it names, or files of single models: openai:gpt-5=FILE"
    parser.add_argument("files", nargs="+", metavar="FILE|MODEL=FILE", help=words)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="the port of 127.0.0.1; by default one that is free")
    parser.add_argument("--token", metavar="KEY", help="the key that clients must send; by default a random one")
    parser.add_argument("--real-time", action="store_true", help="let the latencies of the script pass")
    parser.add_argument("--json", action="store_true", dest="as_json", help="JSON lines: first the environment, then requests")


def run(
    files: Sequence[str],
    port: int = 0,
    token: str | None = None,
    real_time: bool = False,
    as_json: bool = False,
    wait: Callable[[ScriptedServer], None] | None = None,
) -> int:
    """Serve until `wait` returns, by default at Ctrl-C. Return 0, or 1 after a violation or with steps that are left.

    Raises:
        ScriptError: a script is written wrongly, or is not there.
        ServerError: the port is in use.
    """
    from llmtest import ledger
    from llmtest.wire.serving import scripted_server

    with ledger.opened(ledger.Outside()):  # what is served here belongs to no test
        server = scripted_server(_mapping(files), port=port, token=token, real_time=real_time)
        server.on_end = _show_json if as_json else _show
        with server:
            _show_environment(server, files, as_json)
            (wait or _until_interrupted)(server)
        return _summary(server)


def _mapping(files: Sequence[str]) -> dict[str, Any]:
    from llmtest.errors import ScriptError
    from llmtest.wire.providers import models_in

    mapping: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for given in files:
        model, _, name = ("*", "", given) if "=" not in given or Path(given).is_file() else given.partition("=")
        found = models_in(Path(name)) if model == "*" and Path(name).is_file() else None
        for key, value in (found if found is not None else {model: Path(name)}).items():
            if key in mapping:
                what = "two files are for every model" if key == "*" else f"the model `{key}` is mapped twice"
                raise ScriptError(f"{what}: `{origins[key]}` and `{name}`\n  give each its model: openai:gpt-5={name}")
            mapping[key], origins[key] = value, name
    return mapping


def _until_interrupted(server: ScriptedServer) -> None:
    over = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: over.set())
    try:
        with suppress(KeyboardInterrupt):
            while not over.wait(60):  # with a limit, because Windows hears no Ctrl-C in a wait without one
                pass  # pragma: no cover - after a minute
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_environment(server: ScriptedServer, files: Sequence[str], as_json: bool) -> None:
    if as_json:
        CONSOLE.print(json.dumps({"url": server.url, "token": server.token, "env": server.env}))
        return
    CONSOLE.print(f"# {', '.join(files)} at {server.url}; for the program:")
    for name, value in server.env_for(*USUAL).items():
        CONSOLE.print(f"set {name}={value}" if os.name == "nt" else f"export {name}={shlex.quote(value)}")
    CONSOLE.print("# each request, until Ctrl-C:")


def _show(entry: Entry) -> None:
    CONSOLE.print(str(entry), "" if entry.status == 200 else "33")


def _show_json(entry: Entry) -> None:
    CONSOLE.print(json.dumps(entry.as_json(), ensure_ascii=False))


def _summary(server: ScriptedServer) -> int:
    from llmtest.core.text import amount
    from llmtest.errors import summarize

    found: list[Any] = server.found()
    told = "nothing is wrong, no step is left" if not found else amount(len(found), "violation")
    CONSOLE.note(f"llmtest serve: {amount(server.requests.total, 'request')}, {told}")
    for text in summarize(found):
        CONSOLE.note(f"\n{text}")
    return 1 if found else 0
