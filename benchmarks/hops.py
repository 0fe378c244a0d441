"""How many functions and modules of llmtest one thing passes: `python -m benchmarks.hops [--names]`.

A reader who wants to know why a rule is broken, or how a token came into a line of a tree, has to read about so many.

**Functions of a rule**: the functions of llmtest that run from `recording.obeys(before(...))` to the text of its answer, for a
rule that two tools break. The rule is written there, and the recording of four events has not been looked at before, so that
everything counts. Each function counts once, however often it runs. Lambdas and generator expressions are functions; other
comprehensions are none since Python 3.12, and are not counted before it.

**Modules of a token**: the modules of llmtest with a function that runs once more for each further token, from
`say("It is ", "sunny.")` over a stream that is recorded to the line of the tree that shows the token.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import llmtest
from llmtest import ScriptedChatModel, ledger, record, say, scripted_tool
from llmtest.matching import before
from llmtest.recording import Recording

MAX_FUNCTIONS = 60
MAX_MODULES = 8

_ROOT = str(Path(llmtest.__file__).parent)
_COMPREHENSIONS = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})
_FEW, _MORE = 10, 20


def functions_of_a_rule() -> list[str]:
    """Return the name of each function that a broken `before(...)` over four events passes."""

    answers = []  # kept: what happens when an answer is thrown away is no part of reading it

    def ask(recording: Recording) -> None:
        answers.append(recording.obeys(before("search", "book")))
        assert str(answers[-1]).startswith("expected `search` before `book`\n  got")

    ask(_two_tools())  # what is imported or kept at the first question is no part of the second
    recording = _two_tools()
    assert len(recording) == 4
    return sorted(map(_name, _calls(lambda: ask(recording))))


def _two_tools() -> Recording:
    search, book = scripted_tool("search", "found", args={}), scripted_tool("book", "booked", args={})
    with record() as recording:
        book.invoke({})
        search.invoke({})
    return recording


def modules_of_a_token() -> list[str]:
    """Return the path of each module that a token passes, from the script to the line of the tree."""

    def stream(count: int) -> None:
        tokens = [f"token {n} " for n in range(count)]
        # Inside a test, a second block counts the tokens of that test.
        with ledger.opened(ledger.Outside()), record() as recording:
            list(ScriptedChatModel(say(*tokens)).stream("hi"))
        assert "|".join(tokens[:3]) in str(recording)

    stream(_FEW)
    few, more = _calls(lambda: stream(_FEW)), _calls(lambda: stream(_MORE))
    return sorted({_module(code) for code in more if more[code] - few[code] >= _MORE - _FEW})


def _calls(work: Callable[[], None]) -> Counter[CodeType]:
    """Return how often each function of llmtest runs."""
    calls: Counter[CodeType] = Counter()

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT) and code.co_name not in _COMPREHENSIONS:
            calls[code] += 1

    outer = sys.getprofile()
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(outer)
    return calls


def _module(code: CodeType) -> str:
    return str(Path(code.co_filename).relative_to(_ROOT))


def _name(code: CodeType) -> str:
    return f"{_module(code)}:{code.co_firstlineno} {code.co_qualname}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hops", description="What a rule and a token pass.")
    parser.add_argument("--names", action="store_true", help="show which they are")
    names = parser.parse_args().names
    for what, found, most in (
        ("functions of a broken before(...) over four events", functions_of_a_rule(), MAX_FUNCTIONS),
        ("modules of a recorded and streamed token, script to tree line", modules_of_a_token(), MAX_MODULES),
    ):
        print(f"{len(found):4} {what} (goal: at most {most})")
        if names:
            print(*(f"       {name}" for name in found), sep="\n")


if __name__ == "__main__":
    main()
