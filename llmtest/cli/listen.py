"""`llmtest listen`: an OTLP endpoint on this machine, whose traces go into the trace store."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmtest.cli.settings import masks_of_project
from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import open_store, store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.otel.listening import Receiver
    from llmtest.tracing.rows import Rows
    from llmtest.tracing.store import Store

LOOK_S: Final = 0.5
"""Between two looks for traces that are over."""


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "take traces from programs by OpenTelemetry's protocol, until Ctrl-C"
    parser = commands.add("listen", words, run, store_option())
    parser.add_argument(
        "--port", type=int, default=4318, metavar="N", help="the port of 127.0.0.1; by default 4318; 0 is one that is free"
    )
    parser.add_argument("--session", default="otlp", metavar="NAME", help="the session of the traces; by default otlp")
    parser.add_argument("--json", action="store_true", dest="as_json", help="JSON lines: first the URL, then each trace")


def run(
    store: Path | None,
    port: int = 4318,
    session: str = "otlp",
    as_json: bool = False,
    wait: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    """Listen until `wait` returns, by default at Ctrl-C. Return 0, or 1 if a trace could not be written.

    Raises:
        ServerError: the port is in use.
    """
    from llmtest.otel.listening import Receiver, serve, summary

    with masks_of_project(Path.cwd()), open_store(store) as opened:
        receiver = Receiver(lambda made, gone: _write(opened, session, made, gone, as_json))
        with serve(receiver, port) as server:
            _show_url(server.url, session, as_json)
            (wait or _until_interrupted)(lambda: _look(receiver))
        receiver.write_finished(everything=True)
    CONSOLE.note(f"llmtest listen: {summary(receiver)}")
    for problem in receiver.problems:
        CONSOLE.note(f"  {problem}")
    return 1 if receiver.problems else 0


def _look(receiver: Receiver) -> None:
    receiver.write_finished()


def _until_interrupted(look: Callable[[], None]) -> None:
    over = threading.Event()
    # No exception of a signal: it would end a look in the middle of a trace. The second Ctrl-C does.
    before = {number: signal.signal(number, _ending(over)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not over.wait(LOOK_S):
            look()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending(over: threading.Event) -> Callable[[int, object], None]:
    def end(number: int, frame: object) -> None:
        over.set()
        signal.signal(number, signal.default_int_handler)

    return end


def _show_url(url: str, session: str, as_json: bool) -> None:
    if as_json:
        CONSOLE.print(json.dumps({"url": f"{url}/v1/traces", "session": session}))
        return
    CONSOLE.print(f"# traces that come to {url}/v1/traces go into the session {session!r}; for the program:")
    CONSOLE.print(f"export OTEL_EXPORTER_OTLP_ENDPOINT={url}")
    CONSOLE.print("export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    CONSOLE.print("# each trace, until Ctrl-C:")


def _write(store: Store, session: str, made: list[Rows], gone: Sequence[str], as_json: bool) -> None:
    store.write(session, made, gone=gone)
    for trace in made:
        root, kind, name, ended = trace.summary[:4]
        if as_json:
            CONSOLE.print(json.dumps({"trace": root, "kind": kind, "name": name, "ended": ended, "runs": len(trace.runs)}))
        else:
            CONSOLE.print(f"{str(root)[-8:]}  {kind} {name}  {len(trace.runs)} runs  {ended}")
