"""Cassettes that were damaged, half merged, made too large, or are of something else: the file, the line, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from llmtest import expect_violation
from llmtest.cassettes.cassette import Cassette
from llmtest.errors import CassetteError, LlmtestError, ScriptError
from llmtest.langchain import providers as _real_classes_find_their_runs  # noqa: F401
from llmtest.scripts import files
from llmtest.scripts.files import ScriptFile
from llmtest.scripts.steps import say
from llmtest.scripts.yaml_emit import write_file

TEST = "test_it.py::test_it"
COMMAND = f"pytest {TEST} --llmtest-record=once"
GOOD = """\
# llmtest script v2
test: "test_it.py::test_it"
recorded: "2026-11-30"
models:
  "openai:gpt-5":
    - call: weather
      args: {city: Paris}
      request: {like: r1, messages: {system: 1, human: 1}}
    - say: "It is 18C in Paris."
      request: {like: r1, messages: {system: 1, human: 1, ai: 1, tool: 1}}
requests:
  r1:
    system: "You are a weather bot."
    human: "How warm is it in Paris?"
    tools: {weather: "(city) d35c26"}
"""
AGAIN = f"record it again: pytest {TEST} --llmtest-record=rewrite"
MEND = f"  mend the file, or {AGAIN}"
MERGED = GOOD.replace("    - say", "<<<<<<< HEAD\n    - say").replace("requests:", "=======\nrequests:")
CONFLICT = (
    "x.yaml:9: a merge was not finished: the line begins with the conflict marker `<<<<<<<`\n"
    f"  keep one of the two sides, and delete the lines with the markers\n{MEND}"
)
BOMB = "\n".join(f"    - &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else '1'}]" for n in range(9))

BAD: dict[str, tuple[str | bytes, str]] = {
    "a conflict": (MERGED, CONFLICT),
    "a conflict with the line ends of Windows": (MERGED.replace("\n", "\r\n"), CONFLICT),
    "cut off in a value": (
        GOOD[: GOOD.index("messages:")],
        "x.yaml:8: not YAML: expected the node content, but found '<stream end>'\n  8 |       request: {like: r1, \n"
        f"  while parsing a flow node, which begins in line 8\n{MEND}",
    ),
    "cut off before the requests": (GOOD[: GOOD.index("requests:")], f"x.yaml:8: `requests` of the file has no `r1`\n{MEND}"),
    "empty": ("", f"x.yaml:1: the file is empty; a script file has the key `steps`, a list of steps\n{MEND}"),
    "version 1": (
        "# llmtest script v1\nsteps: [hi]\n",
        "x.yaml:1: the file is a script of version 1, which does not name its models\n"
        f"  a cassette begins with `# llmtest script v2`, and has `models:` with the steps of each model\n  {AGAIN}",
    ),
    "version 3": (
        GOOD.replace("v2", "v3"),
        f"x.yaml:1: the file is a script of version 3; this llmtest reads versions 1 and 2\n{MEND}",
    ),
    "of another test": (
        GOOD.replace("::test_it", "::test_that"),
        "x.yaml:2: the cassette is of another test\n  it is of  test_it.py::test_that\n  this is   test_it.py::test_it\n"
        f"  if the test was renamed, write its name there; else {AGAIN}",
    ),
    "a digest of a tool": (
        GOOD.replace("d35c26", "d35"),
        "x.yaml:15: `weather` of `tools` of `r1` of `requests` of the file must be text, the arguments of the tool and the digest"
        f" of their schema, as in `(city, days?) 0328e3`; got the text '(city) d35'\n{MEND}",
    ),
    "a digest of a line": (
        GOOD.replace('system: "You are a weather bot."', 'system: {begins: You, lines: "12 zz"}'),
        "x.yaml:13: `lines` of `system` of `r1` of `requests` of the file must be text, the digests of the lines of the prompt,"
        f" as in `0328e3 81c2aa`; got the text '12 zz'\n{MEND}",
    ),
    "a question that is no text": (
        GOOD.replace('"How warm is it in Paris?"', "12"),
        "x.yaml:14: `human` of `r1` of `requests` of the file must be text, or a mapping with `begins` and `lines`;"
        " got the int 12\n"
        f'  quote it to make it text: "12"\n{MEND}',
    ),
    "a request that is like itself": (
        GOOD.replace("    system:", "    like: r1\n    system:"),
        f"x.yaml:13: `requests` of the file has no `r1`\n{MEND}",
    ),
    "a number of messages": (
        GOOD.replace("human: 1}}", "human: one}}"),
        "x.yaml:8: `human` of `messages` of `request` of step 1 of `openai:gpt-5` of `models` of the file must be a number of"
        f" messages; got the text 'one'\n{MEND}",
    ),
    "a NUL byte": (
        GOOD.replace("Paris?", "Par\0is?"),
        f"x.yaml:14: not YAML: the character U+0000 can stand only as an escape in double quotes\n{MEND}",
    ),
    "UTF-16": (GOOD.encode("utf-16"), f"x.yaml:1: the file is not UTF-8: invalid start byte 0xff\n{MEND}"),
    "Latin-1": (
        GOOD.replace("Paris", "Par\xefs").encode("latin-1"),
        f"x.yaml:7: the file is not UTF-8: invalid continuation byte 0xef\n{MEND}",
    ),
    "a bomb of aliases": (
        f"# llmtest script v2\nmodels:\n  m:\n{BOMB}",
        f"x.yaml:9: aliases multiply the file to more than 100,000 values\n{MEND}",
    ),
    "nested too deeply": ("models: " + "[" * 5000, f"x.yaml:1: the file nests deeper than 100 levels\n{MEND}"),
    "a page of HTML": (
        "<!DOCTYPE html>",
        f"x.yaml:1: the file is not a mapping with the key `steps`; got the text '<!DOCTYPE html>'\n{MEND}",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_told_with_its_line_and_what_to_do(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, told = BAD[kind]
    Path("x.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(LlmtestError) as caught:
        Cassette(Path("x.yaml"), TEST, command=COMMAND)

    assert str(caught.value) == told
    assert isinstance(caught.value, (ScriptError, CassetteError))


@pytest.mark.parametrize(
    "text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")], ids=["with a BOM", "with the line ends of Windows"]
)
def test_what_editors_do_to_a_file_does_not_matter(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(text.encode())

    script = Cassette(tmp_path / "x.yaml", TEST, command=COMMAND).scripts["openai:gpt-5"].optional()

    assert [str(step) for step in script.steps][1] == "say('It', ' is', ' 18C', ' in', ' Paris', '.').optional()"


def test_a_file_of_50_megabytes_is_refused_at_once_and_none_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(f'{GOOD}    parameters: {{a: "{"x" * 50_000_000}"}}\n', "utf-8")

    with pytest.raises(ScriptError) as caught:
        Cassette(Path("x.yaml"), TEST, command=COMMAND)
    assert str(caught.value) == f"x.yaml:1: the file has 50,000,463 characters; a script file has at most 30,000,000\n{MEND}"

    monkeypatch.setattr("llmtest.scripts.yaml_emit.MAX_CHARACTERS", 50)
    with pytest.raises(ScriptError, match=r"^the file would have 61 characters; a script file has at most 50$"):
        write_file(ScriptFile("", entries=(say("A text with more than that."),)))
    assert files.MAX_CHARACTERS == 30_000_000


@pytest.mark.usefixtures("clients_left_open")
def test_a_step_with_a_tool_that_no_longer_exists_names_the_step_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tool
    def forecast(city: str) -> str:
        """The weather."""
        return "18C"

    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(GOOD, "utf-8")

    with Cassette(Path("x.yaml"), TEST, command=COMMAND) as cassette, expect_violation("invalid tool call") as told:
        model = ChatOpenAI(model="gpt-5", api_key="none", max_retries=0).bind_tools([forecast])
        with pytest.raises(Exception, match="not bound to the model"):
            model.invoke([("system", "You are a weather bot."), ("user", "How warm is it in Paris?")])

    (stale,) = [found for found in cassette.scripts["openai:gpt-5"].unused() if found.code == "stale recording"]
    cassette.scripts["openai:gpt-5"].waive_steps()
    assert "  `weather` is gone, `forecast` is new  (step 1)" in stale.text
    assert told[0].text == (
        "the script calls the tool `weather`, which is not bound to the model\n"
        "  bound  `forecast`\n"
        "  the script says call('weather', city='Paris') at x.yaml:6\n"
        f"  {AGAIN}"
    )
