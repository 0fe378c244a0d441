"""Datasets from files, from Python and from traces; each wrong one is an error with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from llmtest import ScriptedChatModel, call, scripted_tool, tracing_enabled
from llmtest.errors import DatasetError
from llmtest.evals.datasets import Case, Dataset

FIXTURES = Path(__file__).parents[2] / "fixtures" / "datasets"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Dataset]:
    monkeypatch.chdir(tmp_path)

    def load(name: str, text: str) -> Dataset:
        Path(name).write_bytes(text.encode("utf-8"))
        return Dataset.load(name)

    return load


# -- files


def test_a_dataset_is_a_sequence_of_its_cases() -> None:
    dataset = Dataset.load(FIXTURES / "capitals.yaml")

    assert list(dataset) == [
        Case("france", {"question": "What is the capital of France?"}, "Paris", ("europe",)),
        Case("australia", {"question": "What is the capital of Australia?"}, "Canberra", ("pacific", "often wrong"), 2.0),
        Case(
            "bolivia",
            {"question": "What is the capital of Bolivia?"},
            "Sucre",
            metadata={"note": "La Paz is where the government sits."},
        ),
    ]
    assert (dataset.ids, len(dataset), dataset.name) == (["france", "australia", "bolivia"], 3, "capitals")
    assert (dataset[0], dataset["bolivia"], dataset[1:]) == (tuple(dataset)[-3], tuple(dataset)[-1], tuple(dataset)[1:])
    assert repr(dataset) == f"<Dataset 'capitals': 3 cases, hash {dataset.hash}>"


def test_json_lines_and_tables_have_the_same_fields() -> None:
    refunds, sums = Dataset.load(FIXTURES / "refunds.jsonl"), Dataset.load(FIXTURES / "sums.csv")

    assert refunds["unknown-order"] == Case(
        "unknown-order",
        {"order": 999, "reason": "never came"},
        {"tools": ["find_order"], "amount": 0},
        ("refusal",),
        1.0,
        {"since": "a complaint"},
    )
    assert list(sums) == [
        Case("small", {"question": "What is 3 times 4?"}, "12", ("product",), 1.0, {"digits": "1"}),
        Case("large", {"question": "What is 123 times 456?"}, "56088", ("product", "hard"), 2.0, {"digits": "3"}),
        Case("comma", {"question": "What is 1,000 plus 1?"}, "1001", ("sum",), 1.0, {"digits": "4"}),
    ]


def test_a_table_of_a_spreadsheet_has_a_byte_order_mark_empty_rows_and_cells_of_several_lines(write: Any) -> None:
    dataset = write("a.csv", '\ufeffid,inputs\r\n\r\na,"one\r\ntwo"\r\nb,\r\n,\r\n')

    assert list(dataset) == [Case("a", "one\r\ntwo"), Case("b", "")]


def test_one_case_is_the_same_in_every_form(write: Any) -> None:
    yaml = write("a.yaml", '- {id: a, inputs: {q: "1"}, expected: "2", tags: [x, y], weight: 0.5, metadata: {n: "3"}}\n')
    lines = write(
        "b.jsonl",
        '\n{"id": "a", "inputs": {"q": "1"}, "expected": "2", "tags": ["x", "y"], "weight": 0.5, "metadata": {"n": "3"}}\r\n',
    )
    table = write("c.csv", "id,inputs.q,expected,tags,weight,metadata.n\na,1,2,x; y,.5,3\n")
    python = Dataset(
        [{"id": "a", "inputs": {"q": "1"}, "expected": "2", "tags": ("x", "y"), "weight": 0.5, "metadata": {"n": "3"}}]
    )

    assert list(yaml) == list(lines) == list(table) == list(python) == list(Dataset(yaml))
    assert {dataset.hash for dataset in (yaml, lines, table, python)} == {yaml.hash}


def test_values_of_a_case_cannot_be_changed() -> None:
    case = Dataset([{"id": "a", "inputs": {"list": [1, 2.5, True, None, {"k": "v"}]}}])[0]

    assert case.inputs == {"list": [1, 2.5, True, None, {"k": "v"}]}
    with pytest.raises(TypeError):
        case.inputs["list"].append(3)


# -- hashes


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"inputs": 2}, False),
        ({"expected": 1}, False),
        ({"id": "c"}, False),
        ({"metadata": {"k": 1}}, False),
        ({"tags": ["x"]}, True),
        ({"weight": 2}, True),
    ],
)
def test_a_hash_changes_with_what_a_result_depends_on(change: dict[str, Any], same: bool) -> None:
    before: list[dict[str, Any]] = [{"id": "a", "inputs": {"x": 1, "y": 2}}, {"id": "b", "inputs": 1}]

    after = Dataset([before[0], before[1] | change])

    assert (after.hash == Dataset(before).hash) is same
    assert (after[1].hash == Dataset(before)[1].hash) is same
    assert after[0].hash == Dataset(before)[0].hash


def test_a_hash_knows_no_order_of_cases_or_keys_and_does_not_change_with_the_version() -> None:
    one = Dataset([{"id": "a", "inputs": {"x": 1, "y": 2}}, {"id": "b", "inputs": "é"}], name="one")
    other = Dataset([{"id": "b", "inputs": "é"}, {"id": "a", "inputs": {"y": 2, "x": 1}}], name="other")

    assert one.hash == other.hash == "1f1ae8f6402e3396"


# -- traces


class Verdict(BaseModel):
    good: bool


def test_traces_of_a_session_are_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))
    model = ScriptedChatModel(call("search", q="hat"), "Done")
    documents = [Document("a hat", metadata={"n": 1})]

    def fail(_: object) -> None:
        raise KeyError("q")

    with tracing_enabled("support"):
        model.bind_tools([scripted_tool("search", args={"q": str})]).invoke("hi", config={"tags": ["mine"]})
        model.invoke([HumanMessage("hi", name="ann"), ToolMessage("found", tool_call_id="1")])
        RunnableLambda(lambda _: {"docs": documents, "verdict": Verdict(good=True)}).with_config(run_name="look").invoke({"q": 1})
        with pytest.raises(KeyError):
            RunnableLambda(fail).invoke("x")

    dataset = Dataset.from_session("support")

    hello, answer, look, failed = dataset
    (tool_call,) = hello.expected["tool_calls"]
    assert (dataset.name, hello.tags, answer.tags) == ("support", ("mine",), ())
    assert (hello.inputs, hello.expected["content"]) == ([{"role": "human", "content": "hi"}], "")
    assert (tool_call["name"], tool_call["args"]) == ("search", {"q": "hat"})
    assert answer.inputs == [
        {"role": "human", "content": "hi", "name": "ann"},
        {"role": "tool", "content": "found", "tool_call_id": "1"},
    ]
    assert answer.expected == {"role": "ai", "content": "Done"}
    assert (look.inputs, look.expected) == (
        {"q": 1},
        {"docs": [{"page_content": "a hat", "metadata": {"n": 1}}], "verdict": {"good": True}},
    )
    assert look.metadata == {"session": "support", "name": "look", "ended": "ended"}
    assert (failed.inputs, failed.expected, failed.metadata["ended"]) == ("x", None, "error")
    assert list(Dataset.from_session(hello.id)) == [
        Case(**{**_fields(hello), "metadata": {**hello.metadata, "session": hello.id}})
    ]


def _fields(case: Case) -> dict[str, Any]:
    return {name: getattr(case, name) for name in ("id", "inputs", "expected", "tags", "weight")}


# -- what is wrong


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.toml", "", "a.toml: a dataset is a file with the ending .yaml, .yml, .jsonl, .csv"),
        ("a.yaml", "", "a.yaml: the dataset has no cases; no result would mean anything"),
        ("a.yaml", "cases: []", "a.yaml:1: a dataset must be a list of cases; got a mapping"),
        (
            "a.yaml",
            "- [",
            "a.yaml:1: not YAML: expected the node content, but found '<stream end>'\n"
            "  1 | - [\n"
            "  while parsing a flow node, which begins in line 1",
        ),
        ("a.yaml", "- 1", "a.yaml:1: case 1 must be a mapping with the fields of a case; got the int 1"),
        ("a.yaml", "- inputs: 1", "a.yaml:1: case 1 has no `id`"),
        ("a.yaml", "- id: a\n- id: b\n  inputs: 1", "a.yaml:1: case 1 has no `inputs`"),
        (
            "a.yaml",
            "- id: a\n  inputs: 1\n  expcted: 2",
            "a.yaml:3: case 1 has the unknown key `expcted`\n"
            "  expected  `id`, `inputs`, `expected`, `tags`, `weight` or `metadata`\n"
            "  did you mean `expected`?",
        ),
        ("a.yaml", "- id: a\n  inputs: 1\n  id: b", "a.yaml:3: case 1 has the key `id` twice; the first is in line 1"),
        (
            "a.yaml",
            "- id: a\n  inputs: 1\n\n- id: a\n  inputs: 2",
            "a.yaml:4: case 2 has the id 'a' of another case, which is at a.yaml:1",
        ),
        (
            "a.yaml",
            "- id: 7\n  inputs: 1",
            'a.yaml:1: `id` of case 1 must be text; got the int 7\n  quote it to make it text: "7"',
        ),
        (
            "a.yaml",
            "- id: ' a'\n  inputs: 1",
            "a.yaml:1: `id` of case 1 must be a name on one line, without spaces around it; got the text ' a'",
        ),
        (
            "a.yaml",
            "- id: a\n  inputs: !!python/name:os.system x",
            "a.yaml:2: `inputs` of case 1 has the YAML tag `!!python/name:os.system`; a file of data has no tags",
        ),
        ("a.yaml", "- id: a\n  inputs: .inf", "a.yaml:2: `inputs` of case 1 is not a JSON value; got the float .inf"),
        ("a.yaml", "- id: a\n  inputs: 1\n  weight: 0", "a.yaml:3: `weight` of case 1 must be a positive number; got the int 0"),
        (
            "a.yaml",
            "- id: a\n  inputs: 1\n  tags: {}",
            "a.yaml:3: `tags` of case 1 must be text, or a list of texts; got a mapping",
        ),
        ("a.yaml", "- id: a\n  inputs: 1\n  metadata: x", "a.yaml:3: `metadata` of case 1 must be a mapping; got the text 'x'"),
        ("a.jsonl", "\n", "a.jsonl: the dataset has no cases; no result would mean anything"),
        (
            "a.jsonl",
            '{"id": "a", "inputs": 1}\n{',
            "a.jsonl:2: not JSON: Expecting property name enclosed in double quotes at character 2",
        ),
        ("a.jsonl", '{"id": "a", "inputs": NaN}', "a.jsonl:1: `inputs` of case 1 is not a JSON value; got the float NaN"),
        ("a.jsonl", '\n{"id": "a", "id": "b", "inputs": 1}', "a.jsonl:2: case 1 has the key `id` twice; the first is in line 2"),
        ("a.jsonl", f'{{"id": "a", "inputs": {"[" * 200}{"]" * 200}}}', "a.jsonl:1: the value nests deeper than 100 levels"),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: the value nests deeper than 100 levels"),
        (
            "a.jsonl",
            '{"id": "a", "inputs": 1}\n{"id": "a", "inputs": 1}',
            "a.jsonl:2: case 2 has the id 'a' of another case, which is at a.jsonl:1",
        ),
        ("a.csv", "", "a.csv: the dataset has no cases; no result would mean anything"),
        ("a.csv", "id,inputs\n", "a.csv: the dataset has no cases; no result would mean anything"),
        ("a.csv", "id,inputs\na,b,c\n", "a.csv:2: the row has 3 cells, and the table 2 columns"),
        ("a.csv", "id,id\n", "a.csv:1: the column `id` stands twice"),
        ("a.csv", "id,inputs,inputs.q\n", "a.csv:1: the columns `inputs` and `inputs.q` exclude each other"),
        (
            "a.csv",
            "id,input.q\n",
            "a.csv:1: the table has the unknown column `input.q`\n"
            "  expected  `id`, `inputs`, `expected`, `tags`, `weight`, or a part of a field such as `inputs.question`\n"
            "  did you mean `inputs.q`?",
        ),
        (
            "a.csv",
            "id,zzz\n",
            "a.csv:1: the table has the unknown column `zzz`\n"
            "  expected  `id`, `inputs`, `expected`, `tags`, `weight`, or a part of a field such as `inputs.question`\n"
            "  a column of your own is `metadata.zzz`",
        ),
        (
            "a.csv",
            "id,question\n",
            "a.csv:1: the table has the unknown column `question`\n"
            "  expected  `id`, `inputs`, `expected`, `tags`, `weight`, or a part of a field such as `inputs.question`\n"
            "  did you mean `inputs.question`?",
        ),
        ("a.csv", "id;inputs\na;b\n", "a.csv:1: the cells of the table are separated by ';'; separate them by commas"),
        ("a.csv", "id\tinputs\na\tb\n", "a.csv:1: the cells of the table are separated by '\\t'; separate them by commas"),
        ("a.csv", 'id,inputs\na,"b\nc"\nd,"e', "a.csv:4: not CSV: unexpected end of data"),
        ("a.csv", 'id,inputs\na,"b\nc"\na,e\n', "a.csv:4: case 2 has the id 'a' of another case, which is at a.csv:2"),
        ("a.csv", "id,inputs,weight\na,b,heavy\n", "a.csv:2: `weight` of case 1 must be a positive number; got the text 'heavy'"),
        (
            "a.csv",
            "id,inputs\n,b\n",
            "a.csv:2: `id` of case 1 must be a name on one line, without spaces around it; got the text ''",
        ),
        ("a.csv", "inputs\nb\n", "a.csv:2: case 1 has no `id`"),
    ],
)
def test_a_wrong_dataset_is_an_error_that_names_the_line(write: Any, name: str, text: str, error: str) -> None:
    with pytest.raises(DatasetError) as caught:
        write(name, text)

    assert str(caught.value) == error


def test_a_file_that_cannot_be_read_is_an_error(write: Any) -> None:
    write("cases.yaml", "- {id: a, inputs: 1}")
    Path("latin.csv").write_bytes(b"id,inputs\na,caf\xe9\n")

    with pytest.raises(DatasetError) as missing:
        Dataset.load("case.yaml")
    with pytest.raises(DatasetError) as latin:
        Dataset.load("latin.csv")

    assert str(missing.value) == "case.yaml: the dataset cannot be read: No such file or directory; did you mean `cases.yaml`?"
    assert str(latin.value) == "latin.csv:2: the file is not UTF-8: invalid continuation byte 0xe9"


@pytest.mark.parametrize(
    ("cases", "error"),
    [
        ([], "Dataset(...): the dataset has no cases; no result would mean anything"),
        (
            [{"id": "a", "inputs": 1}, {"id": "b", "inputs": {1, 2}}],
            "Dataset(...):2: a case holds JSON values; got {1, 2}, of the type set",
        ),
        (
            [{"id": "a", "inputs": {1: 2}}],
            'Dataset(...):1: a key of `inputs` of case 1 must be text; got the int 1\n  quote it to make it text: "1"',
        ),
        ([{"id": "a", "inputs": float("nan")}], "Dataset(...):1: `inputs` of case 1 is not a JSON value; got the float nan"),
        (
            [Case("a", 1), {"id": "a", "inputs": 1}],
            "Dataset(...):2: case 2 has the id 'a' of another case, which is at Dataset(...):1",
        ),
    ],
)
def test_wrong_cases_in_python_are_errors(cases: list[Any], error: str) -> None:
    with pytest.raises(DatasetError) as caught:
        Dataset(cases)

    assert str(caught.value) == error


def test_a_case_that_is_not_there_is_an_error_with_the_nearest_id() -> None:
    dataset = Dataset([{"id": "paris", "inputs": 1}], name="capitals")

    with pytest.raises(KeyError) as caught:
        dataset["pari"]

    assert caught.value.args == ("capitals has no case 'pari'; did you mean `paris`?",)
