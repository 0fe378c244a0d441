"""What each kind of source makes of a script file."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool

from llmtest import Script, ScriptedChatModel, call, on, record, say
from llmtest.core.masks import use_rules
from llmtest.core.source import shown_path
from llmtest.errors import ScriptError, StoreError
from llmtest.scripts.files import read_file
from llmtest.scripts.yaml_emit import write_file
from llmtest.tracing import jsonl
from llmtest.tracing.script_source import Draft, Options, draft_of
from llmtest.tracing.store import Store
from llmtest.trees import render

FOREIGN = Path(__file__).parent.parent / "cassettes" / "foreign"


@tool
def refund(order: str) -> str:
    """Refund an order."""
    return f"refunded {order}"


def keep(store: Store, session: str, *programs: Any) -> None:
    recordings = []
    for program in programs:
        with record() as recording:
            program()
        recordings.append(recording)
    store.keep(session, recordings)


def shop() -> None:
    model = ScriptedChatModel(call("refund", order="A-7"), say("Done.", usage=(7, 2)), model_name="gpt-5").bind_tools([refund])
    asked = model.invoke("refund A-7")
    refund.invoke(asked.tool_calls[0])
    model.invoke("and now?")


def draft(name: str | Path, store: Store, **options: Any) -> Draft:
    return draft_of(str(name), lambda: store, Options(**options))


def text_of(made: Draft) -> str:
    return write_file(made.file)


# -- traces

SHOP = """\
# llmtest script v2
recorded: "{day}"
steps:
  - call: refund
    args: {{order: A-7}}
    request: {{like: r1, messages: {{human: 1}}, human: "refund A-7"}}
  - say: "Done."
    usage: [7, 2]
    request: {{like: r1, messages: {{human: 1}}, human: "and now?"}}
{tools}requests:
  r1:
    source: callbacks
    tools: {{refund: "(order) 5a7aa8"}}
"""
TOOLS = 'tools:\n  refund:\n    - args: {order: A-7}\n      gives: "refunded A-7"\n'


def test_a_trace_gives_the_steps_of_its_model_and_the_answers_of_chosen_tools(store: Store) -> None:
    keep(store, "shop", shop)

    plain, with_tools = draft("shop", store), draft("shop", store, tools=("ref*",))

    day = plain.file.entries[0].serving.request.recorded  # type: ignore[union-attr]
    digest = plain.file.entries[0].serving.request.tools["refund"]  # type: ignore[union-attr]
    expected = SHOP.replace("(order) 5a7aa8", digest)
    assert text_of(plain) == expected.format(day=day, tools="")
    assert text_of(with_tools) == expected.format(day=day, tools=TOOLS)
    assert (plain.headline, plain.notes) == ("shop: 2 steps of 1 model", [])
    assert with_tools.headline == "shop: 2 steps of 1 model, 1 answer of tools"


def test_several_models_stand_under_their_names_and_one_is_chosen_by_its_name(store: Store) -> None:
    def two() -> None:
        ScriptedChatModel("a", model_name="gpt-5").invoke("hi")
        ScriptedChatModel("b", model_name="claude-x").invoke("hi")

    keep(store, "two", two)

    both, one = draft("two", store), draft("two", store, model="claude*")

    assert (list(both.file.models), both.steps) == (["gpt-5", "claude-x"], {"gpt-5": 1, "claude-x": 1})
    assert [str(step) for step in one.file.entries] == ["say('b')"]


def test_concurrent_calls_have_keys_and_what_nothing_tells_apart_is_a_note(store: Store) -> None:
    def ask(model: ScriptedChatModel, name: str, given: str) -> str:
        return str(model.invoke(f"a {name}").content)

    def branches() -> None:
        script = Script(on(contains="poem") >> "roses", on(contains="joke") >> "why")
        model = ScriptedChatModel(script=script)
        poem, joke = (RunnableLambda(partial(ask, model, name)) for name in ("poem", "joke"))
        RunnableParallel(poem=poem, joke=joke).invoke("go")

    keep(store, "branches", branches)

    made = draft("branches", store)

    assert "on: {contains: poem}" in text_of(made)
    assert "on: {contains: joke}" in text_of(made)
    assert made.notes == []


def test_the_traces_of_a_session_follow_one_another(store: Store) -> None:
    keep(store, "s", lambda: ScriptedChatModel("a").invoke("hi"), lambda: ScriptedChatModel("b").invoke("hi"))

    made = draft("s", store)

    assert [str(step) for step in made.file.entries] == ["say('a')", "say('b')"]
    assert made.notes == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_lines_of_traces(store: Store, tmp_path: Path, pack: Any) -> None:
    keep(store, "shop", shop)
    lines = tmp_path / "traces.jsonl"
    lines.write_bytes(pack("\n".join(jsonl.line(store, trace) for trace in store.traces()).encode()))

    assert draft(lines, store, tools=("*",)).file.entries == draft("shop", store).file.entries


def test_exact_tokens_are_kept_on_request(store: Store) -> None:
    keep(store, "s", lambda: list(ScriptedChatModel(say("str", "eam")).stream("hi")))

    assert [str(draft("s", store, tokens=tokens).file.entries[0]) for tokens in (False, True)] == [
        "say('stream')",
        "say('str', 'eam')",
    ]


# -- snapshots, script files, foreign cassettes


def test_a_snapshot_gives_the_answers_and_says_what_it_does_not_hold(store: Store, tmp_path: Path) -> None:
    with record() as recording:
        shop()
    file = tmp_path / "test_shop.tree"
    file.write_text(f"# llmtest tree v1\n{render(recording)}", "utf-8")

    made = draft(file, store)

    assert text_of(made) == (
        '# llmtest script v1\nsteps:\n  - call: refund\n    args: {order: A-7}\n    usage: [4, 12]\n  - say: "Done."\n'
        "    usage: [7, 2]\n"
    )
    assert made.notes == [
        "2 calls from a snapshot: it does not hold what the models were asked, so that no step can tell that its request "
        "has changed; nor the ids of tool calls, and numbers of more than 12 digits"
    ]


TWO = '# llmtest script v2\ntest: "t.py::a"\nmodels:\n  openai:gpt-5: [one]\n  anthropic:x: [two]\ntools:\n  a: [{gives: 1}]\n'


def test_of_a_script_file_a_part_is_chosen(store: Store, tmp_path: Path) -> None:
    file, first = tmp_path / "two.yaml", tmp_path / "one.yaml"
    file.write_text(TWO)
    first.write_text("# llmtest script v1\nsteps: [Hello]\n")

    assert text_of(draft(file, store)).splitlines()[1:3] == ["models:", '  "openai:gpt-5":']
    assert text_of(draft(file, store, model="anthropic:*", tools=("a",))).splitlines()[1:] == [
        "steps:",
        '  - "two"',
        "tools:",
        "  a:",
        "    - args: {}",
        "      gives: 1",
    ]
    assert text_of(draft(first, store)) == '# llmtest script v1\nsteps:\n  - "Hello"\n'


@pytest.mark.parametrize("tokens", [False, True])
def test_a_cassette_of_another_tool_gives_its_models_in_the_order_of_the_file(store: Store, tokens: bool) -> None:
    made = draft(FOREIGN / "cassetter.yaml", store, tokens=tokens)

    assert made.steps == {"openai:gpt-5": 3, "anthropic:claude-haiku-4-5": 1}
    assert str(made.file.models["openai:gpt-5"][1]) == (
        "say('It is ', 'sunny.')" if tokens else "say('It', ' is', ' sunny', '.')"
    )
    (note,) = made.notes
    head, other = note.splitlines()
    assert head == "1 exchange was no call of a model that can be read"
    assert other.partition(": ")[2] == "GET https://api.openai.com/v1/models: it is no call of a model"
    assert made.file.embeddings == {"openai:text-embedding-3-small": {"cat": [0.5, 1.0]}}
    assert made.headline.endswith("4 steps of 2 models, 1 vector")
    assert replace(read_file(write_file(made.file, made.notes), "x"), path=made.file.path) == made.file


def test_a_cassette_of_another_tool_may_hold_embeddings_only(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(EMBEDDINGS, "utf-8")

    made = draft(file, store)

    assert made.headline == f"{shown_path(str(file))}: 3 vectors"
    assert made.notes == [
        "embeddings of `openai:e`: 1 text as ids of tokens, under which a program does not find them again;"
        " record with OpenAIEmbeddings(check_embedding_ctx_length=False)"
    ]
    assert text_of(made).splitlines() == [
        "# llmtest script v2",
        "steps: []",
        "embeddings:",
        '  "openai:e":',
        "    a: [0.5]",
        '    "red shoes": [0.25]',
        '    "tokens 4 5": [0.75]',
    ]
    assert list(draft(file, store, model="openai:*").file.embeddings) == ["openai:e"]
    with pytest.raises(ScriptError, match="has no call of a model `gpt"):
        draft(file, store, model="gpt*")


EMBEDDINGS = """\
interactions:
- request: {method: POST, uri: "https://api.openai.com/v1/embeddings", body: '{"model":"e","input":["a","red shoes",[4,5]]}'}
  response:
    status: {code: 200}
    headers: {}
    body: {string: '{"data": [{"embedding": [0.5]}, {"embedding": [0.25]}, {"embedding": [0.75]}]}'}
"""


def test_a_cache_of_langchain_has_a_step_for_each_prompt(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript((FOREIGN / "sqlite_cache.sql").read_text("utf-8"))
        (prompts,) = database.execute("SELECT count(DISTINCT prompt || llm) FROM full_llm_cache").fetchone()

    made = draft(file, store)

    assert sum(made.steps.values()) == prompts
    assert made.notes[0] == "a cache holds each prompt once: of a prompt that was asked again, there is one step"
    assert read_file(write_file(made.file, made.notes), "x").models == made.file.models


def test_a_trace_store_is_named_by_its_option(store: Store) -> None:
    keep(store, "shop", shop)

    with pytest.raises(ScriptError) as caught:
        draft(store.path, store)

    shown = shown_path(str(store.path))
    assert str(caught.value) == (
        f"{shown} is a trace store; name one of its sessions or traces: llmtest script SESSION --store {store.path}"
    )


def test_secrets_are_masked_before_they_are_written(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "steps:\n  - the key is sk-proj-abcdefghijklmnop1234567890\n  - {call: login, args: {password: hunter2, order: ORD-1}}\n"
    )

    with use_rules(["order = ORD-[0-9]+"]):
        made = draft(file, store)

    assert made.masked == 3
    assert made.notes == ["3 texts masked, because a part looks like a secret"]
    assert [line.strip() for line in text_of(made).splitlines()[2:]] == [
        '- "the key is <mask:secret>"',
        "- call: login",
        'args: {password: "<mask:password>", order: "<mask:order>"}',
    ]


# -- bad input


def test_what_is_no_source_is_an_error_with_the_place(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keep(store, "shop", shop)
    for name, text in {
        "a.txt": "hello",
        "two.yaml": TWO,
        "one.yaml": "steps: [Hello]",
        "t.tree": '# llmtest tree v1\nchat m\n  > u1: "hi"\n  < a1: "a"\n',
        "none.yaml": "interactions: []",
        "cut.jsonl": '{"llmtest": 1, "session": "a"',
    }.items():
        Path(name).write_text(text)

    def problem(name: str, **options: Any) -> str:
        with pytest.raises((ScriptError, StoreError)) as caught:
            draft(name, store, **options)
        return str(caught.value)

    assert problem("a.txt") == (
        "a.txt:1: the file is nothing that a script can be made of\n"
        "  expected  JSON lines of `llmtest export`, a snapshot (.tree), a script file (.yaml), or a cassette of another tool"
    )
    assert problem("shpo") == (
        f"no session and no trace called 'shpo' in {store.path}; did you mean `shop`?\n  and there is no file of this name"
    )
    assert problem("shop", model="gtp-5") == "shop has no call of a model `gtp-5`; did you mean `gpt-5`?\n  models  `gpt-5`"
    assert problem("shop", tools=("refnd",)) == ("shop has no call of a tool `refnd`; did you mean `refund`?\n  tools  `refund`")
    assert problem("two.yaml", model="gpt") == "two.yaml has no call of a model `gpt`\n  models  `openai:gpt-5`, `anthropic:x`"
    assert problem("one.yaml", model="gpt") == "one.yaml: the file does not name its models, so it has no `gpt`"
    assert problem("t.tree", tools=("a",)) == (
        "t.tree: a snapshot does not hold all that a tool returned (artifacts, types of values), so that it cannot repeat its"
        " answers\n  keep them from the trace of the run: llmtest script TRACE --tools ..."
    )
    assert problem("none.yaml") == "none.yaml has no call of a model that can be read"
    assert problem("none.yaml", tools=("a",)) == (
        "none.yaml: a cassette of another tool holds requests to models, and no answers of tools of the program"
    )
    keep(store, "silent", lambda: refund.invoke({"order": "A-7"}))
    assert problem("silent") == "silent has no call of a model, so that there is nothing to make a script of"
    with closing(sqlite3.connect("empty.db")) as database:
        tables = [line for line in (FOREIGN / "sqlite_cache.sql").read_text("utf-8").split(";\n") if "INSERT" not in line]
        database.executescript(";\n".join(tables))
    assert problem("empty.db") == "empty.db: the cache is empty"
    assert problem("cut.jsonl").startswith("cut.jsonl: line 1 is not a trace that `llmtest export` wrote (JSONDecodeError: ")
    with pytest.raises(ScriptError, match=r"^there is no file `gone`$"):
        draft_of("gone", lambda: store, Options(), is_foreign=True)


def test_four_calls_of_an_agent_are_short_as_a_script(tmp_path: Path) -> None:
    """vcrpy 9.4 wrote the file of OpenAI's own SDK; only the address of the server is replaced."""
    with Store(tmp_path / "s.sqlite") as store:
        made = draft(FOREIGN / "vcr_agent.yaml", store)

    assert (made.steps, made.notes) == ({"openai:gpt-5": 4}, [])
    assert len((FOREIGN / "vcr_agent.yaml").read_text("utf-8").splitlines()) == 260
    assert len(text_of(made).splitlines()) == 24
