"""The cassettes below some folders, as rows."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from llmtest.cassettes.listing import Listed, find, read_stale, table, to_json
from llmtest.errors import CassetteError

TODAY = date(2026, 11, 30)
BOOKING = """\
# llmtest script v2
# a note
test: "test_booking.py::test_books"
recorded: "2026-11-20"
models:
  "openai:gpt-5":
    - on: {node: a}
      steps: [Hello, Bye]
    - "Well."
  "anthropic:claude-x": [Salut]
embeddings:
  "openai:e": {hi: [1.0]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "tests/cassettes/test_booking/test_books.yaml": BOOKING,
        "tests/cassettes/test_booking/broken.yaml": '# llmtest script v2\ntest: "a"\nmodels: {m: [{sya: x}]}\n',
        "tests/cassettes/test_booking/.secrets/test_books.yaml.json": "{}",
        "node_modules/x.yaml": BOOKING,
        "scripts/hand.yaml": "# llmtest script v2\nmodels: {m: [Hello]}\n",
        "ci.yaml": "jobs: {}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_cassettes_are_files_with_our_header_and_a_test(folder: Path) -> None:
    name = "tests/cassettes/test_booking/test_books.yaml"

    broken, books = find([folder, folder / "tests"], {name: True}, folder, TODAY)

    assert books == Listed(
        name,
        "test_booking.py::test_books",
        "2026-11-20",
        10,
        ("openai:gpt-5", "anthropic:claude-x", "openai:e"),
        4,
        len(BOOKING),
        True,
    )
    assert (broken.cassette, broken.stale) == ("tests/cassettes/test_booking/broken.yaml", None)
    assert broken.problem.endswith("broken.yaml:3: step 1 of `m` of `models` of the file has the unknown key `sya`")
    assert [one["age_days"] for one in to_json([broken, books])] == [None, 10]


def test_the_table_has_a_row_for_each_that_can_be_read(folder: Path) -> None:
    found = find([folder], {}, folder, TODAY)

    assert table([*found, Listed("c.yaml", models=("*",), calls=1, bytes=1234, stale=False)]) == [
        ("test", "age", "calls", "size", "stale", "models"),
        (
            "test_booking.py::test_books",
            "10 days",
            "4",
            f"{len(BOOKING)} B",
            "-",
            "openai:gpt-5, anthropic:claude-x, openai:e",
        ),
        ("c.yaml", "-", "1", "1.2 kB", "no", "*"),
    ]


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(CassetteError, match=r"^there is no file and no folder `none`$"):
        find([Path("none")], {}, Path(), TODAY)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"a.yaml": True, "b.yaml": False, "c": 1}), {"a.yaml": True, "b.yaml": False}),
        ("[1]", {}),
        ("{", {}),
        (None, {}),
    ],
)
def test_what_the_plugin_keeps_in_the_cache(text: str | None, found: dict[str, bool], tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "v" / "llmtest").mkdir(parents=True)
        (tmp_path / "v" / "llmtest" / "stale").write_text(text)

    assert read_stale(tmp_path) == found
