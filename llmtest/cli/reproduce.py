"""`llmtest reproduce`: the trace of an incident as a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.settings import masks_of_project
from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import open_store, store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.recording.recording import Recording


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "write a test from a trace: a script of what the models said, the answers of the tools, the rules that held"
    parser = commands.add("reproduce", words, run, store_option())
    parser.add_argument(
        "trace", metavar="TRACE|FILE", help="the key of a trace, a session with one, or a file that `import` reads"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("tests"), metavar="FOLDER", help="by default tests/")
    parser.add_argument("--name", metavar="NAME", help="the name of the test; by default that of the root run, and the key")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--json", action="store_true", dest="as_json", help="say what was written as JSON")


def run(store: Path | None, trace: str, output: Path, name: str | None, force: bool, as_json: bool) -> int:
    """Write the files, and show the tree of the incident.

    Raises:
        OtelError: there are several traces, a file exists, or the trace has no call of a model.
        StoreError: there is no such trace.
    """
    from llmtest.errors import OtelError
    from llmtest.otel.reproduce import reproduce

    with masks_of_project(Path.cwd()):
        key, recording = _one(store, trace)
        made = reproduce(recording, name or f"{recording.roots[0].name} {key}", f"trace {key}")
    paths = {output / file: text for file, text in made.files.items()}
    taken = [str(path) for path in paths if path.exists()]
    if taken and not force:
        raise OtelError(f"{', '.join(taken)} exists already\n  name the test otherwise (--name), or replace it (--force)")
    output.mkdir(parents=True, exist_ok=True)
    for path, text in paths.items():
        path.write_text(text, "utf-8")
    if as_json:
        CONSOLE.print(json.dumps({"files": [str(path) for path in paths], "todo": list(made.todo)}, indent=2, ensure_ascii=False))
        return 0
    CONSOLE.print(made.tree.rstrip("\n"))
    CONSOLE.note(f"llmtest reproduce: {made.headline}")
    for line in [*map(str, paths), *(f"TODO {each}" for each in made.todo), f"run it: pytest {output / f'test_{made.name}.py'}"]:
        CONSOLE.note(f"  {line}")
    return 0


def _one(store: Path | None, name: str) -> tuple[str, Recording]:
    """Return the key and the recording of the one trace that a name means."""
    from llmtest.core.text import amount
    from llmtest.errors import OtelError
    from llmtest.otel.files import masked
    from llmtest.tracing.session import load_traces

    if Path(name).is_file():
        found = [(str(recording.roots[0].id)[-8:], recording) for recording in load_traces(name)]
    else:
        with open_store(store) as opened:
            # They may have been written with other masks than those of this project.
            found = [(trace.key, masked(opened.load(trace))) for trace in opened.find(name)]
    if len(found) != 1:
        keys = ", ".join(key for key, _ in found[:8])
        raise OtelError(f"{name} has {amount(len(found), 'trace')}; import it, and name one: {keys}")
    return found[0]
