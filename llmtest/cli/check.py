"""`llmtest check`: rules on stored traces, or on a file of traces, for a cron job or a person."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtest.cli.settings import masks_of_project
from llmtest.cli.terminal import CONSOLE
from llmtest.cli.traces import filter_options, open_store, store_option

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands
    from llmtest.matching.answers import Answer
    from llmtest.matching.rule import Rule
    from llmtest.recording.recording import Recording


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "judge rules on stored traces, such as those of production"
    parser = commands.add("check", words, run, store_option(), filter_options())
    parser.add_argument("names", nargs="+", metavar="SESSION|TRACE|FILE", help="sessions, traces, or files that `import` reads")
    said = "a rule, a list of rules, or a function that returns one of them; may be repeated"
    parser.add_argument("--rules", action="append", required=True, metavar="MODULE:NAME", help=said)
    parser.add_argument("--json", action="store_true", dest="as_json", help="as JSON: one object for each trace")


def run(store: Path | None, names: list[str], rules: list[str], as_json: bool, **chosen: Any) -> int:
    """Print each rule that does not hold, with its explanation. Return 1 if there is one, also one that cannot be told, else 0.

    Raises:
        StoreError: there is no such session, trace or file.
        RulesError: the rules cannot be imported, or are none.
    """
    with masks_of_project(Path.cwd()):
        return _check(store, names, rules, as_json, chosen)


def _check(store: Path | None, names: list[str], rules: list[str], as_json: bool, chosen: dict[str, Any]) -> int:
    from llmtest.core.masks import publish
    from llmtest.core.text import amount
    from llmtest.matching.engine import judge

    found = [rule for name in rules for rule in _rules(name)]
    traces = bad = unknown = 0
    told: list[dict[str, Any]] = []
    for name, recording in _recordings(store, names, chosen):
        title = publish(name)
        answers = [answer for answer in judge(recording, found) if not answer.holds]
        traces += 1
        bad += any(answer.holds is False for answer in answers)
        unknown += bool(answers) and all(answer.holds is None for answer in answers)
        told.append({"trace": title, "answers": [_as_json(answer) for answer in answers]})
        if not as_json and answers:
            CONSOLE.heading(title)
            for answer in answers:
                CONSOLE.print(str(answer), "31" if answer.holds is False else "33")
    if as_json:
        CONSOLE.print(json.dumps(told, indent=2, ensure_ascii=False))
    CONSOLE.note(
        f"llmtest check: {amount(len(found), 'rule')}, {amount(traces, 'trace')}, {bad:,} broken, {unknown:,} that cannot be told"
    )
    return 1 if bad or unknown else 0


def _as_json(answer: Answer) -> dict[str, Any]:
    state = "broken" if answer.holds is False else "cannot tell"
    return {"rule": answer.expected, "state": state, "said": answer.said, "text": str(answer)}


def _recordings(store: Path | None, names: Sequence[str], chosen: dict[str, Any]) -> Iterator[tuple[str, Recording]]:
    from llmtest.otel.files import masked
    from llmtest.tracing import listing

    only = listing.Filter(**chosen)
    for name in names:
        if Path(name).is_file():
            from llmtest.errors import OtelError
            from llmtest.tracing.session import load_traces

            if any(chosen.values()):
                raise OtelError(f"{name} is a file, and filters choose among the traces of the store\n  import it first")
            for number, recording in enumerate(load_traces(name), 1):
                yield f"{name}, trace {number}", recording
            continue
        with open_store(store) as opened:
            for trace in only.among(opened.find(name), opened):
                # It may have been written with other masks than those of this project.
                yield f"{trace.session} {trace.key} {trace.name}", masked(opened.load(trace))


def _rules(name: str) -> list[Rule]:
    """Return the rules that `module:name` names."""
    from llmtest.core.text import did_you_mean
    from llmtest.errors import RulesError
    from llmtest.matching.rule import Rule

    module, _, attribute = name.partition(":")
    if not module.replace(".", "_").isidentifier() or module.startswith(".") or not attribute:
        raise RulesError(f"--rules takes MODULE:NAME, such as rules:ALL; got {name!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # it is code of the user: whatever it raises is no verdict of a rule
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise RulesError(
            f"the module {module!r} of --rules cannot be imported: {kind}{error}\n  it is looked for from {Path.cwd()}"
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not hasattr(loaded, attribute):
        public = [each for each in vars(loaded) if not each.startswith("_")]
        raise RulesError(f"the module {module!r} has no {attribute!r}{did_you_mean(attribute, public)}")
    found = getattr(loaded, attribute)
    if callable(found) and not isinstance(found, Rule):
        try:
            found = found()
        except Exception as error:
            raise RulesError(f"{name} cannot be called without arguments: {type(error).__name__}: {error}") from error
    rules = [found] if isinstance(found, Rule) else found
    if not isinstance(rules, list | tuple) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        came = f"{type(found).__name__} {found!r:.100}"
        raise RulesError(f"{name} is a rule, a list of rules, or a function that returns one of them; got {came}")
    return list(rules)
