"""`llmtest ...` on the command line.

Floor 3: only the standard library at module level, so that `llmtest --help` costs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

_PACKAGE: Final = Path(__file__).parent
PLACES: Final = (_PACKAGE / "_demo", _PACKAGE.parent / "examples" / "demo")  # in a wheel; in a checkout
NEEDS: Final = ("langchain", "langchain_classic", "langgraph", "numexpr")
INSTALL: Final = "pip install 'llmtest-kit[demo]'"

EDITED: Final = "test_agent.py"
BEFORE: Final = 'call("calculator", expression="2 ** 0.235")'
CHANGED: Final = "3 ** 0.235"
AFTER: Final = f'call("calculator", expression="{CHANGED}")'

# Settings of the reader's own projects and accounts; the demo is the same for everybody, and reaches no network.
_FOREIGN: Final = ("PYTEST_", "LLMTEST_", "LANGCHAIN_", "LANGSMITH_")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Raises:
        SystemExit: as `argparse` does, for `--help` (0), `--version` (0) and a wrong command line (2).
    """
    parser = argparse.ArgumentParser(prog="llmtest", description="Test programs built on language models.")
    parser.add_argument("--version", action="version", version=f"llmtest-kit {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    words = "run two real agents as tests, then change one tool argument and see the test notice; no key, no network"
    commands.add_parser("demo", help=words, description=f"{words[0].upper()}{words[1:]}.").set_defaults(run=demo)
    _add_reviews(commands)
    _add_traces(commands)
    arguments = vars(parser.parse_args(argv))
    run: int = arguments.pop("run")(**arguments)
    return run


# -- the review of snapshots


def _add_reviews(commands: Any) -> None:
    listed = _add(commands, "pending", "list the snapshots that came and were not expected", _list_pending)
    listed.add_argument("--json", action="store_true", dest="machine", help="for machines")
    _add(commands, "review", "look at one pending snapshot after the other, and accept or reject it", _review)
    for name, what in (("accept", "make pending snapshots the accepted ones"), ("reject", "forget pending snapshots")):
        settled = _add(commands, name, what, functools.partial(_settle, name == "accept"))
        said = "a node id or the end of it, a file or a folder of tests, or the path of a snapshot; all by default"
        settled.add_argument("names", nargs="*", metavar="NAME", help=said)
    compared = _add(commands, "diff", "show what differs between two snapshots or traces, as trees", _diff, _in_store())
    compared.add_argument("before", metavar="A", help="a file with a tree text, a session, or the key of a trace")
    compared.add_argument("after", metavar="B", help="another one")


def _add(commands: Any, name: str, words: str, run: Callable[..., int], *parents: Any) -> argparse.ArgumentParser:
    said = f"{words[0].upper()}{words[1:]}."
    added: argparse.ArgumentParser = commands.add_parser(name, help=words, description=said, parents=parents)
    added.set_defaults(run=functools.partial(_reported, name, run))
    return added


def _reported(command: str, run: Callable[..., int], /, **arguments: Any) -> int:
    from llmtest.ledger import LlmtestError

    try:
        return run(**arguments)
    except BrokenPipeError:  # whoever read it has seen enough; Python would complain once more when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LlmtestError, OSError) as error:
        print(f"llmtest {command}: {error}", file=sys.stderr)
        return 2


def _folder() -> Any:
    from llmtest.pending import Folder

    return Folder.around(Path.cwd(), os.environ)


def _list_pending(machine: bool) -> int:
    from llmtest import review

    return review.pending(_folder(), _print, machine=machine)


def _review() -> int:
    from llmtest import review

    return review.review(_folder(), _print, input if sys.stdin.isatty() and sys.stdout.isatty() else None, color=_color())


def _settle(accepted: bool, names: list[str]) -> int:
    from llmtest import review

    return review.settle(_folder(), names, _print, accepted=accepted)


def _diff(store: Path | None, before: str, after: str) -> int:
    from llmtest import review, showing

    with _opened(store) as opened:
        old, new = (showing.text_of(what, opened) for what in (before, after))
    return review.compared(old, new, _print, color=_color())


# -- the trace store


def _add_traces(commands: Any) -> None:
    place = _in_store()
    meant = argparse.ArgumentParser(add_help=False)
    meant.add_argument("--name", metavar="GLOB", help="only traces with a run of this name")
    meant.add_argument("--tag", metavar="GLOB", help="only traces with this tag")
    meant.add_argument("--errors", action="store_true", help="only traces in which something failed")
    meant.add_argument("--since", metavar="TIME", help="not before 2026-01-31T12:00, or so long ago: 90s, 5m, 2h, 3d")
    meant.add_argument("--until", metavar="TIME", help="not after that")
    listed = _add(commands, "sessions", "list the sessions of the trace store", _list_sessions, place)
    listed.add_argument("--json", action="store_true", dest="machine", help="for machines")
    shown = _add(
        commands, "show", "show traces: each run, how long it took, its tokens, how it ended", _show_traces, place, meant
    )
    shown.add_argument("what", nargs="?", metavar="SESSION|TRACE", help="a session, or the key of a trace; by default the latest")
    shown.add_argument("--tree", action="store_true", help="with what was said: the text of a snapshot")
    shown.add_argument("--json", action="store_true", dest="machine", help="for machines")
    sent = _add(commands, "export", "write traces as JSON lines", _export, place, meant)
    sent.add_argument("names", nargs="*", metavar="SESSION|TRACE", help="what to write; by default all")
    sent.add_argument("-o", "--output", type=Path, metavar="FILE", help="by default, what is printed")
    taken = _add(commands, "import", "read traces that `llmtest export` wrote", _import, place)
    taken.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON lines; - is what comes in")
    taken.add_argument("--session", metavar="NAME", help="put all of them into this session")


def _in_store() -> argparse.ArgumentParser:
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--store", type=Path, metavar="FILE", help="by default LLMTEST_STORE, or .llmtest/traces.sqlite")
    return place


def _opened(store: Path | None) -> Any:
    from llmtest.store import Store, place

    return Store(store or place())


def _list_sessions(store: Path | None, machine: bool) -> int:
    from llmtest import showing

    with _opened(store) as opened:
        return showing.sessions(opened, _print, machine=machine)


def _show_traces(store: Path | None, what: str | None, tree: bool, machine: bool, **meant: Any) -> int:
    from llmtest import showing

    with _opened(store) as opened:
        return showing.show(opened, what, _print, only=showing.Filter(**meant), tree=tree, machine=machine)


def _export(store: Path | None, names: list[str], output: Path | None, **meant: Any) -> int:
    from llmtest import exchange, showing
    from llmtest.core.text import amount

    with _opened(store) as opened, contextlib.ExitStack() as files:
        found = [trace for name in names for trace in opened.find(name)] if names else opened.traces()
        traces = showing.Filter(**meant).among(found, opened)
        file = files.enter_context(output.open("w", encoding="utf-8")) if output is not None else sys.stdout
        count = exchange.export(opened, traces, file, _progress)
    print(amount(count, "trace"), file=sys.stderr)
    return 0


def _import(store: Path | None, files: list[Path], session: str | None) -> int:
    from llmtest import exchange
    from llmtest.core.text import amount

    count = 0
    with _opened(store) as opened:
        for path in files:
            with contextlib.nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8") as lines:
                count += exchange.take_in(opened, lines, _progress, session=session)
    print(amount(count, "trace"), file=sys.stderr)
    return 0


def _progress(done: int, of: int) -> None:
    """How far it is, where somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r{done}{f' of {of}' if of else ''} traces", end="\r", file=sys.stderr, flush=True)


# -- the demo


def _version() -> str:
    from llmtest import __version__

    return __version__


def demo(folder: Path | None = None, needs: Sequence[str] = NEEDS) -> int:
    """Runs the tests in `folder` on a copy, changes one tool argument there and runs that test again.

    Returns 0 if the first run passed and the second failed as it should, 2 if a package in `needs` is not installed,
    and 1 for everything else. Nothing is written outside a temporary folder.
    """
    folder = folder or next((place for place in PLACES if place.is_dir()), PLACES[0])
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        return _stop(2, f"needs {', '.join(name.replace('_', '-') for name in missing)}; install with: {INSTALL}")
    if not (folder / EDITED).is_file():
        return _stop(1, f"found no {EDITED} in {folder}; install again with: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="llmtest-demo-") as copy:
        _copy(folder, Path(copy))
        return _show(folder, Path(copy))


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)  # not its mode: an installation may be read-only
    # A configuration of its own, or pytest would look for one in the folders above.
    (target / "pytest.ini").write_text("[pytest]\n", "utf-8")


def _show(folder: Path, copy: Path) -> int:
    _heading("Two agents, run as pytest tests. The model is a script; everything else is real. No key, no network.")
    _heading("1. The tests as they are: what each of them did, as a tree, and the tokens it used.")
    code, _ = _pytest(copy, "--llmtest-trees=all")
    if code != 0:
        return _stop(1, f"the tests should have passed, but pytest ended with exit code {code} (see above)")

    _heading("2. One thing changes: the model calls the tool with another argument.")
    if not _edit(copy / EDITED):
        return _stop(1, f"{folder / EDITED} should have {BEFORE} once")
    code, reasons = _pytest(copy, "--tb=short", "-o", "verbosity_assertions=2", EDITED)
    if code != 1:
        return _stop(1, f"the changed test should have failed (exit code 1), but pytest ended with exit code {code} (see above)")
    if not any(CHANGED in reason for reason in reasons):
        return _stop(1, "the changed test failed, but not because of the changed argument (see above)")

    _heading("That failure is what this demo is about.")
    _print(
        "The agent did something else than before. In the diff, the first line with + is where it began; the others follow\n"
        "from it. If the change is wanted, `pytest --snapshot-update` accepts it, and your reviewer reads the same few lines.\n"
        f"The tests are in {folder}: copy one, put your agent in, and change what the model says."
    )
    return 0


def _edit(path: Path) -> bool:
    """Changes the one tool argument and prints the change; False if it is not there exactly once."""
    old = path.read_text("utf-8")
    new = old.replace(BEFORE, AFTER)
    if old.count(BEFORE) != 1:
        return False
    path.write_text(new, "utf-8")
    colors = {"-": "31", "+": "32"}
    for line in difflib.unified_diff(old.splitlines(), new.splitlines(), path.name, path.name, n=0, lineterm=""):
        _print(line, colors.get(line[0], ""))
    return True


def _pytest(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Runs pytest on `folder` in a process of its own, prints as it comes; returns the exit code and the lines with `E`."""
    _print(f"\n$ pytest -q {' '.join(arguments)}", "2")
    plugins = ("-p", "no:cacheprovider", "-p", "syrupy", "-p", "llmtest.pytest_plugin")
    command = (sys.executable, "-m", "pytest", "-q", f"--color={'yes' if _color() else 'no'}", *plugins, *arguments)
    reasons: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            _print(line.rstrip("\n"))
            reasons += re.findall(r"^E +.*", re.sub(r"\x1b\[[\d;]*m", "", line))
    return process.returncode, reasons


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {
        "COLUMNS": str(shutil.get_terminal_size().columns),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _color() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.name == "posix"


def _heading(text: str) -> None:
    _print(f"\n{text}", "1")


def _print(text: str, style: str = "") -> None:
    encoding = sys.stdout.encoding or "utf-8"
    shown = text.encode(encoding, "replace").decode(encoding)  # a redirected stdout on Windows may know few characters
    print(f"\x1b[{style}m{shown}\x1b[0m" if style and _color() else shown, flush=True)


def _stop(code: int, text: str) -> int:
    print(f"llmtest demo: {text}", file=sys.stderr)
    return code
