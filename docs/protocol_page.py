"""Write docs/reference/protocol.md from the tables of rules and deviations. Run: `python docs/protocol_page.py`.

The program under each rule is kept on the page: a new rule needs a heading and its program there first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from llmtest.protocol.checks import RULES, Rule
from llmtest.protocol.known_issues import DEVIATIONS, Deviation

PAGE = Path(__file__).parent / "reference" / "protocol.md"

HEAD = '''\
# The callback protocol

<!-- Written by `python docs/protocol_page.py`; change llmtest/protocol/checks.py and known_issues.py, not this page.
Only the programs under the rules are kept here. -->

`check` reads a recording and reports wrong callbacks: a run that ended twice, a token after the end, a call that the recording
did not see.

```python
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from llmtest import ScriptedChatModel, record
from llmtest.protocol import check


class Stutterer(BaseChatModel):
    _llm_type = "stutterer"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        for token in ("Hel", "Hel", "lo"):
            run_manager.on_llm_new_token(token)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hello"))])


with record() as correct:
    ScriptedChatModel("Hello").invoke("hi")
with record() as wrong:
    Stutterer().invoke("hi")

assert check(correct) == []
assert [str(violation) for violation in check(wrong)] == ["""\\
the tokens of chat `Stutterer` do not make its answer
  #0 on_chat_model_start `Stutterer`
  #4 on_llm_end `Stutterer`
  the tokens  'HelHello'
  the answer  'Hello'
  a model must send each chunk once, in order, and answer with what it streamed"""]
```

Each violation has the name of its rule (`code`), a `level`, a `text`, and the events that show it (`witnesses`). `deviation` is
the name of the known deviation, or None. There are two levels:

- **impossible**: a correct program never does it. It fails a test.
- **unusual**: it has legitimate causes. It is reported, and fails a test only if you
  [set that](pytest.md#callbacks-that-break-their-protocol).

If the installed version of LangChain or LangGraph itself breaks a rule, this is a [known deviation](#known-deviations), and
unusual.

`check` reads only the recording, including its late events. In an open recording, it reports runs that have not ended yet. Its
time grows in proportion to the number of events.
'''

LEVELS = {
    "impossible": "Impossible",
    "unusual": "Unusual",
}

UNCHECKED = {
    "The tags of a run are its own tags and those of its parent": (
        "callbacks do not show which of the parent's tags and metadata are inherited and which belong only to the parent"
    ),
    "An exception is the same object in each run that it passes through": (
        "a recording contains its class and its text; another exception may have the same class and text"
    ),
    "Run ids rise in the order in which runs are created": (
        "a program may set a run id, and a run may be created long before its start callback fires"
    ),
    "The root run has the `run_id` of the config": "the config is not in the recording; retrievers and `batch` ignore it",
    "Handlers are called in the order in which they are listed": "a recording is one handler, which does not see the others",
    "No handler raised": "LangChain logs the exception and continues; no callback reports it",
    "Closing a stream stops the model": (
        "callbacks do not show how far a model got; a closed `chain.stream()` still reads its model to the end"
    ),
    "A run has one candidate answer": "a program may request several candidates",
}


def examples() -> dict[str, str]:
    """By rule, what stands on the page between its sentence and what to do: the programs are kept there and nowhere else."""
    sections = (section.split("\n\n", 2) for section in PAGE.read_text("utf-8").split("\n#### ")[1:])
    return {name: said.partition("\n\nWhat to do:")[0] for name, _, said in sections}


def rendered() -> str:
    """The page."""
    return "\n".join([HEAD, *_rules(), *_deviations(), *_unchecked()])


def _rules() -> Iterator[str]:
    yield "## The rules\n\nEach program below breaks the rule above it, if the program is recorded.\n"
    for level, title in LEVELS.items():
        yield f"### {title}\n"
        for rule in RULES:
            if rule.level == level:
                yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    yield f"#### {rule.name}\n\n{fill(rule.words, 130)}\n\n{examples()[rule.name]}\n"
    yield f"What to do: {rule.fix}.\n"


def _deviations() -> Iterator[str]:
    yield "## Known deviations\n"
    page = "[test_known_issues.py](https://github.com/llmtest/llmtest/blob/main/tests/protocol/test_known_issues.py)"
    yield f"Each has a test in {page} that fails when it no longer happens.\n"
    yield "| name | rule | package | versions | what it does | reported |\n|---|---|---|---|---|---|"
    yield from map(_deviation, DEVIATIONS)
    yield ""


def _deviation(one: Deviation) -> str:
    versions = f"{one.since} and newer" if one.fixed is None else f"{one.since} to before {one.fixed}"
    reported = "no report found" if one.issue is None else f"[{'#'.join(one.issue.split('/')[-3::2])}]({one.issue})"
    words = one.words.replace("|", "\\|")
    return f"| {one.name} | {one.rule} | {one.package} | {versions} | {words} | {reported} |"


def _unchecked() -> Iterator[str]:
    yield "## Not checked\n\n| what | because |\n|---|---|"
    yield from (f"| {what} | {because} |" for what, because in UNCHECKED.items())
    yield ""


if __name__ == "__main__":
    PAGE.write_text(rendered(), "utf-8")
