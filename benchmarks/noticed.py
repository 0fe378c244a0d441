"""`python -m benchmarks.noticed [--missed]`: which changes of a program its tests notice, with llmtest and with LangChain's fake.

Every change is made by rule in `bookshop.py`: a text, a number, a comparison, an argument, an item of a list, a statement. Each
test holds the same conversation of three questions. `--missed` prints the changes that each test does not notice.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from llmtest import ScriptedChatModel, call, record

PROGRAM = Path(__file__).with_name("bookshop.py")
QUESTIONS = ("Do you have Emma?", "Keep it for me.", "Do you have Ulysses?")
ANSWERS = ("Yes, three.", "It is kept for you.", "No, it is sold out.")


class _Fake(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self  # LangChain's fake takes no tools


def _fake() -> _Fake:
    asked = (("find_book", {"title": "Emma"}), ("reserve", {"title": "Emma"}), ("find_book", {"title": "Ulysses"}))
    messages = []
    for number, ((name, args), answer) in enumerate(zip(asked, ANSWERS, strict=True)):
        messages += [AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call_{number}"}]), AIMessage(answer)]
    return _Fake(messages=iter(messages))


def _scripted() -> ScriptedChatModel:
    asked = (call("find_book", title="Emma"), call("reserve", title="Emma"), call("find_book", title="Ulysses"))
    return ScriptedChatModel(*(step for pair in zip(asked, ANSWERS, strict=True) for step in pair))


def _converse(program: Any, model: Any) -> Any:
    shop = program.build_shop(model)
    for question in QUESTIONS:
        state = program.ask(shop, question, "ada")
    return state["messages"]


def fake_and_answer(program: Any) -> object:
    """LangChain's fake, and an assertion on the last answer."""
    return _converse(program, _fake())[-1].text


def fake_and_messages(program: Any) -> object:
    """LangChain's fake, and an assertion on each message: its type, its text, its tool calls."""
    return [
        (message.type, message.text, [(made["name"], made["args"]) for made in getattr(message, "tool_calls", ())])
        for message in _converse(program, _fake())
    ]


def script_and_answer(program: Any) -> object:
    """A script of llmtest, and an assertion on the last answer."""
    model = _scripted()
    answer = _converse(program, model)[-1].text
    model.verify()
    return answer


def script_and_snapshot(program: Any) -> object:
    """A script of llmtest, and a snapshot of the recording."""
    model = _scripted()
    with record() as recording:
        _converse(program, model)
    model.verify()
    return str(recording)


TESTS: dict[str, Callable[[Any], object]] = {
    "LangChain's fake, assert on the answer": fake_and_answer,
    "LangChain's fake, assert on every message": fake_and_messages,
    "llmtest, assert on the answer": script_and_answer,
    "llmtest, snapshot": script_and_snapshot,
}


def changes(tree: ast.Module) -> Iterator[tuple[str, ast.Module]]:
    """Yield each change in words, and the program with it."""
    for number, node in enumerate(ast.walk(tree)):
        for words, change in _changes_of(node):
            changed = copy.deepcopy(tree)
            target = next(other for place, other in enumerate(ast.walk(changed)) if place == number)
            change(target)
            yield f"line {getattr(node, 'lineno', 0)}: {words}", ast.fix_missing_locations(changed)


def _changes_of(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], object]]]:
    match node:
        case ast.Constant(value=str(text)):
            yield f"another text than {text[:30]!r}", lambda node: setattr(node, "value", node.value + " (changed)")
        case ast.Constant(value=bool(flag)):
            yield f"not {flag}", lambda node: setattr(node, "value", not node.value)
        case ast.Constant(value=int(count)):
            yield f"{count + 1} for {count}", lambda node: setattr(node, "value", node.value + 1)
        case ast.Compare():
            yield "the other way round", lambda node: setattr(node, "ops", [ast.LtE()])
        case ast.Call(keywords=keywords):
            for place, keyword in enumerate(keywords):
                yield f"without {keyword.arg}=", lambda node, place=place: node.keywords.pop(place)
        case ast.List(elts=items):
            for place, _ in enumerate(items):
                yield f"without item {place} of a list", lambda node, place=place: node.elts.pop(place)
        case ast.FunctionDef(body=body):
            for place, statement in enumerate(body):
                if not _is_text(statement):
                    yield (
                        f"without the statement of line {statement.lineno}",
                        lambda node, place=place: node.body.__setitem__(place, ast.Pass()),
                    )


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def outcome(test: Callable[[Any], object], tree: ast.Module) -> object:
    """Return what the test looks at; or the class of the exception that fails it."""
    names: dict[str, Any] = {"__name__": "bookshop"}
    try:
        exec(compile(tree, str(PROGRAM), "exec"), names)
        return test(SimpleNamespace(**names))
    except Exception as error:
        return type(error)


def missed() -> tuple[int, dict[str, list[str]]]:
    """Return the number of changes, and those that each test does not notice."""
    tree = ast.parse(PROGRAM.read_text("utf-8"))
    tree.body.pop(0)  # what the file says of itself
    made = list(changes(tree))
    left = {}
    for name, test in TESTS.items():
        expected = outcome(test, tree)
        assert not isinstance(expected, type), expected
        left[name] = [words for words, changed in made if outcome(test, changed) == expected]
    return len(made), left


def table() -> Iterator[str]:
    """Yield the table of the README."""
    count, left = missed()
    yield f"| the test | noticed, of {count} changes |"
    yield "|---|---|"
    for name, changes_left in left.items():
        yield f"| {name} | {count - len(changes_left)} |"


if __name__ == "__main__":
    if "--missed" in sys.argv:
        for name, changes_left in missed()[1].items():
            print(f"{name}:", *(f"  {words}" for words in changes_left), sep="\n")
    else:
        print(*table(), sep="\n")
