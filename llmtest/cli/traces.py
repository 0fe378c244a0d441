"""`llmtest sessions`, `show`, `export`, `import`: the trace store."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from llmtest.cli.settings import masks_of_project
from llmtest.cli.terminal import CONSOLE
from llmtest.core.progress import Step, progress

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.evals.scores import Score
    from llmtest.otel.spans import Span
    from llmtest.tracing.listing import Filter
    from llmtest.tracing.store import Store, Stored


def add(commands: Commands) -> None:
    """Add the commands of this module to the command line."""
    store, chosen = store_option(), filter_options()
    listed = commands.add("sessions", "list the sessions of the trace store", sessions, store)
    listed.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    words = "show traces: each run, its duration, its tokens, how it ended"
    shown = commands.add("show", words, show, store, chosen)
    shown.add_argument("what", nargs="?", metavar="SESSION|TRACE", help="a session, or the key of a trace; by default the latest")
    shown.add_argument("--tree", action="store_true", help="with messages and arguments: the text of a snapshot")
    form = shown.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", dest="as_json", help="as JSON; with --tree, the trees too")
    form.add_argument("--html", type=Path, metavar="FILE", dest="page", help="as one HTML page that opens from disk")
    shown.add_argument("--follow", action="store_true", help="go on with the traces that come, until Ctrl-C")
    sent = commands.add("export", "write traces as JSON lines, or as spans of OpenTelemetry", export, store, chosen)
    sent.add_argument("names", nargs="*", metavar="SESSION|TRACE", help="sessions and traces to write; by default all")
    sent.add_argument("-o", "--output", type=Path, metavar="FILE", help="by default, standard output")
    words = "write OTLP instead: into a file (JSON lines; protobuf if it ends in .pb; packed if it ends in .gz), or to a backend"
    sent.add_argument("--otlp", metavar="FILE|URL", help=words)
    words = "what spans say: none (names, usage, errors), messages (all that was said), exact (all that `import` reads back)"
    sent.add_argument("--content", metavar="WHAT", help=words)
    words = "the version of the GenAI conventions, 0.1 or 1.41, or openinference; by default 0.1"
    sent.add_argument("--convention", metavar="NAME", help=words)
    taken = commands.add("import", "read traces from files of `llmtest export`, and of other tools", import_, store)
    words = "JSON lines of `llmtest export`, OTLP, or an export of LangSmith, Langfuse or Jaeger, plain or gzip; - is stdin"
    taken.add_argument("files", nargs="+", type=Path, metavar="FILE", help=words)
    words = "put all of them into this session; by default that of the JSON lines, or the name of the file"
    taken.add_argument("--session", metavar="NAME", help=words)


def store_option() -> argparse.ArgumentParser:
    """Return the option that names the trace store, for commands that read it."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--store", type=Path, metavar="FILE", help="by default LLMTEST_STORE, or .llmtest/traces.sqlite")
    return options


def filter_options() -> argparse.ArgumentParser:
    """Return the options that choose among traces."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--name", metavar="GLOB", help="only traces with a run of this name")
    options.add_argument("--tag", metavar="GLOB", help="only traces with this tag")
    options.add_argument("--errors", action="store_true", help="only traces in which a run failed")
    words = "only traces with a text in them, of a message, argument or error, that this regular expression finds"
    options.add_argument("--grep", metavar="PATTERN", help=words)
    options.add_argument("--since", metavar="TIME", help="not before 2026-01-31T12:00, or at most this long ago: 90s, 5m, 2h, 3d")
    options.add_argument("--until", metavar="TIME", help="not after this time")
    return options


def open_store(store: Path | None) -> Store:
    """Return the trace store in the file `store`, by default the one of the project."""
    from llmtest.tracing.store import Store, place

    return Store(store or place())


def sessions(store: Path | None, as_json: bool) -> int:
    from llmtest.tracing import listing

    with open_store(store) as opened:
        return listing.sessions(opened, CONSOLE.print, as_json=as_json)


def show(store: Path | None, what: str | None, tree: bool, as_json: bool, page: Path | None, follow: bool, **chosen: Any) -> int:
    from llmtest.errors import StoreError
    from llmtest.tracing import listing

    only = listing.Filter(**chosen)
    if follow and (what is not None or as_json or page is not None):
        raise StoreError("--follow shows the traces that come, so it takes no session, no trace, no --json and no --html")
    if page is not None:
        return _write_page(store, what, page, only)
    with open_store(store) as opened:
        if not follow:
            return listing.show(opened, what, CONSOLE.print, only=only, tree=tree, as_json=as_json)
        with contextlib.suppress(KeyboardInterrupt):
            listing.follow(opened, CONSOLE.print, only=only, tree=tree)
        return 0


def _write_page(store: Path | None, what: str | None, page: Path, only: Filter) -> int:
    from llmtest.core.text import amount
    from llmtest.tracing import listing
    from llmtest.viewer.page import write_page
    from llmtest.viewer.stored import cases_of

    with open_store(store) as opened, progress("traces") as step:
        traces = listing.chosen(opened, what, only)
        size = write_page(page, cases_of(opened, traces, step), title=f"{what or opened.path.name} · llmtest")
    CONSOLE.note(f"{page}: {amount(len(traces), 'trace')}, {size / 1e6:.1f} MB")
    return 0


def export(
    store: Path | None,
    names: list[str],
    output: Path | None,
    otlp: str | None = None,
    content: str | None = None,
    convention: str | None = None,
    **chosen: Any,
) -> int:
    from llmtest.errors import OtelError
    from llmtest.tracing import jsonl, listing

    if otlp is None and (content is not None or convention is not None):
        raise OtelError("--content and --convention are about spans; say where these go: --otlp FILE|URL")
    if otlp is not None and output is not None:
        raise OtelError("--otlp says where spans go, and -o where JSON lines go; name one of them")
    # Traces may have been stored with other masks than those of this project.
    with open_store(store) as opened, masks_of_project(Path.cwd()), contextlib.ExitStack() as files:
        found = [trace for name in names for trace in opened.find(name)] if names else opened.traces()
        traces = listing.Filter(**chosen).among(found, opened)
        if otlp is not None:
            return _export_spans(opened, traces, otlp, content, convention, files.enter_context(progress("traces")))
        file = files.enter_context(output.open("w", encoding="utf-8")) if output is not None else CONSOLE.out
        count = jsonl.export(opened, traces, file, files.enter_context(progress("traces")))
    CONSOLE.note(f"{count} traces")
    return 0


def _export_spans(
    opened: Store, traces: list[Stored], target: str, content: str | None, convention: str | None, step: Step
) -> int:
    from llmtest.core.text import amount
    from llmtest.otel.evaluations import evaluated
    from llmtest.otel.sending import is_url, send, write_file
    from llmtest.otel.span_writer import Options, spans_of
    from llmtest.tracing.rows import traces_of

    chosen: dict[str, Any] = {"content": content, "convention": convention}
    options = Options(**{key: value for key, value in chosen.items() if value is not None})

    said = {session: _verdicts(opened, session) for session in {stored.session for stored in traces}}

    def each() -> Iterator[list[Span]]:
        for number, stored in enumerate(traces, 1):
            for trace in traces_of(opened.load(stored)):
                yield evaluated(spans_of(trace, options), said[stored.session])
            step(number, len(traces))

    count = send(target, each()) if is_url(target) else write_file(Path(target), each())
    CONSOLE.note(f"{amount(len(traces), 'trace')}, {amount(count, 'span')} -> {target}")
    return 0


def _verdicts(opened: Store, session: str) -> dict[str, Score]:
    """Return what a test or scorers have said of a session."""
    from llmtest.evals.scores import Score

    return {one.name: Score(one.value, one.passed, one.why) for one in opened.verdicts(session)}


def _after(before: int, step: Step) -> Step:
    """Return a step that counts on from what earlier files had."""
    return lambda done, of, note="": step(before + done, 0)


def _take_in(opened: Store, file: BufferedReader[Any], path: Path, session: str | None, step: Step) -> int:
    """Write the traces of one file to the store; return how many."""
    from llmtest.otel import files
    from llmtest.tracing import jsonl

    with contextlib.ExitStack() as kept:
        source: Any = file
        if not file.seekable():  # a pipe: what is recognised by its content is read twice
            source = kept.enter_context(TemporaryFile())
            copyfileobj(file, source)
            source.seek(0)
        if not files.is_spans(source):
            lines = jsonl.read_lines(source if source is file else kept.enter_context(BufferedReader(source)))
            return jsonl.take_in(opened, lines, step, session=session)
        name = "standard input" if str(path) == "-" else str(path)
        return files.take_in(opened, source, name, session or path.name.partition(".")[0] or "import", step)


def import_(store: Path | None, files: list[Path], session: str | None) -> int:
    count = 0
    with open_store(store) as opened, progress("traces") as step, masks_of_project(Path.cwd()):
        for path in files:
            with contextlib.nullcontext(CONSOLE.input) if str(path) == "-" else path.open("rb") as file:
                count += _take_in(opened, file, path, session, _after(count, step))
    CONSOLE.note(f"{count} traces")
    return 0
