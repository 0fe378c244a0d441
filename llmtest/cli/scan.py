"""`llmtest scan`: likely secrets in snapshots, cassettes, script files and stored traces."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import open_store, store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "find likely secrets in snapshots, cassettes, script files and stored traces, and never show them"
    parser = commands.add("scan", words, run, store_option())
    said = "files and folders; by default, this folder and the trace store. With paths, traces are read only with --store"
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help=said)
    parser.add_argument("--all", action="store_true", dest="everything", help="also what git ignores: .secrets/ beside cassettes")
    parser.add_argument("--json", action="store_true", dest="as_json", help="as JSON")


def run(store: Path | None, paths: list[Path], everything: bool, as_json: bool) -> int:
    """Print each likely secret as `file:line: kind, masked excerpt`. Return 1 if there is one, else 0.

    Raises:
        StoreError: a path does not exist, or the store cannot be read.
    """
    from llmtest.cli.settings import masks_of_project
    from llmtest.core.text import amount
    from llmtest.tracing.scan import Scan, rules_in_use, summarize

    scan = Scan()
    with masks_of_project(Path.cwd()) as settings:
        scan.look_at(paths or [Path()], everything=everything)
        if store is not None or not paths:
            with open_store(store) as opened:
                scan.look_at_traces(opened)
    if as_json:
        CONSOLE.print(json.dumps([asdict(finding) for finding in scan.findings], indent=2, ensure_ascii=False))
    for finding in () if as_json else scan.findings:
        CONSOLE.print(str(finding), "31")
    rules = rules_in_use(settings.lines("llmtest_masks"), settings.file)
    CONSOLE.note("; ".join(filter(None, [f"llmtest scan: {summarize(scan)}", rules])))
    if scan.left_out:
        CONSOLE.note(f"  {amount(len(scan.left_out), 'file')} in .secrets/ left out, because git ignores them; --all reads them")
    return 1 if scan.findings else 0
