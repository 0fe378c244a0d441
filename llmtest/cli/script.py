"""`llmtest script`: what a recording shows of its models as a script file, which a person can read and change."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import open_store, store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.tracing.script_source import Draft

SOURCES = """\
SOURCE is one of:
  a session of the trace store, or the key of a trace, as `llmtest show` takes them
  JSON lines that `llmtest export` wrote
  a snapshot (.tree): text, tool calls and usage of the models, and nothing of their requests
  a script file (.yaml), of which --model and --tools choose a part
  from FILE: a file of another tool, which is recognised by its content without `from`, too:
    a cassette of vcrpy, pytest-recording or cassetter, or LangSmith's test cache; a SQLiteCache of LangChain
"""


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "write a script file from a trace, a snapshot, a script file or a cassette of another tool"
    parser = commands.add("script", words, run, store_option())
    parser.usage = "llmtest script [options] SOURCE [-o FILE]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SOURCES
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="see below")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="by default, or with -, standard output")
    parser.add_argument("--model", default="*", metavar="PATTERN", help="only models of this name; * stands for anything")
    parser.add_argument("--tokens", action="store_true", help="keep the exact tokens of answers that were streamed")
    words = "keep the recorded answers of these tools, too; * stands for anything"
    parser.add_argument("--tools", nargs="+", default=[], metavar="NAME", help=words)
    parser.add_argument("--json", action="store_true", dest="as_json", help="say what was written as JSON; needs -o FILE")


def run(store: Path | None, source: list[str], output: str, model: str, tokens: bool, tools: list[str], as_json: bool) -> int:
    """Write the script file; say on stderr what it holds, and what it leaves out.

    Raises:
        ScriptError: the source cannot be read, or does not have what was chosen.
        StoreError: there is no such session or trace.
    """
    from llmtest.cassettes.cassette import write_whole
    from llmtest.cli.settings import masks_of_project
    from llmtest.errors import ScriptError
    from llmtest.scripts.yaml_emit import write_file
    from llmtest.tracing.script_source import Options, draft_of

    is_foreign = source[0] == "from" and len(source) > 1
    chosen = source[1:] if is_foreign else source
    if len(chosen) != 1:
        raise ScriptError(f"a script file is made of one source; got {len(chosen)}: {', '.join(chosen)}")
    if as_json and output == "-":
        raise ScriptError("--json says what was written to a file; name it: -o FILE")
    with masks_of_project(Path.cwd()):
        draft = draft_of(chosen[0], lambda: open_store(store), Options(model, tokens, tuple(tools)), is_foreign=is_foreign)
        text = write_file(draft.file, [f"{draft.headline}", *draft.notes])
    if output == "-":
        CONSOLE.out.write(text)
    else:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(output), text)
    _tell(draft, output, as_json)
    return 0


def _tell(draft: Draft, output: str, as_json: bool) -> None:
    if as_json:
        tools = {tool: len(answers) for tool, answers in draft.file.tools.items()}
        facts = {"file": output, "steps": draft.steps, "tools": tools, "masked": draft.masked, "notes": draft.notes}
        CONSOLE.print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    CONSOLE.note(f"llmtest script: {draft.headline}" + ("" if output == "-" else f" -> {output}"))
    for note in draft.notes:
        CONSOLE.note(f"  {note}")
