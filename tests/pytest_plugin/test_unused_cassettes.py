"""Cassettes that no test has any more are reported and deleted, and what is no cassette of ours stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest.pytest_plugin import cassettes as _imported_once  # noqa: F401
from tests.pytest_plugin.conftest import Suite

CASSETTE = '# llmtest script v2\ntest: "{file}.py::{test}"\nrecorded: "2026-11-29"\nmodels: {{"openai:gpt-5": [Hello]}}\n'
ASKS = """
import pytest
from openai import OpenAI

def ask():
    with OpenAI(api_key="x") as client:
        message = {"role": "user", "content": "hi"}
        return client.chat.completions.create(model="gpt-5", messages=[message]).choices[0].message.content

@pytest.mark.llm_cassette
def test_asks():
    assert ask() == "Hello"

def test_plain():
    pass
"""


@pytest.fixture
def asks(suite: Suite) -> Suite:
    """A suite with the cassette of its test, one of a test that is gone, and two of a file that is gone."""
    suite.write(ASKS)
    for file, test in (("test_it", "test_asks"), ("test_it", "test_gone"), ("test_old", "test_a"), ("test_old", "test_b")):
        write(suite, file, test)
    return suite


def write(suite: Suite, file: str, test: str, text: str = CASSETTE) -> Path:
    path = suite.path / "cassettes" / file / f"{test}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(file=file, test=test))
    return path


def cassettes(suite: Suite) -> list[str]:
    return sorted(path.relative_to(suite.path / "cassettes").as_posix() for path in suite.path.rglob("*.yaml"))


ALL = ["test_it/test_asks.yaml", "test_it/test_gone.yaml", "test_old/test_a.yaml", "test_old/test_b.yaml"]
UNUSED = """\
3 cassettes unused, of tests that are not there any more: pytest --snapshot-update deletes them
  cassettes/test_it/test_gone.yaml
  cassettes/test_old/test_a.yaml
  cassettes/test_old/test_b.yaml"""


def test_they_are_reported_and_an_update_deletes_them(asks: Suite) -> None:
    secrets = asks.path / "cassettes" / "test_old" / ".secrets"
    secrets.mkdir()
    (secrets / ".gitignore").write_text("*\n")
    (secrets / "test_a.yaml.json").write_text("{}")

    told = asks.run(None)
    left = cassettes(asks)
    updated = asks.run(None, "--snapshot-update")

    assert (told.exit_code, told.counts, told.part("llmtest: cassettes"), left) == (0, {"passed": 2}, UNUSED, ALL)
    assert updated.part("llmtest: cassettes") == UNUSED.replace(UNUSED.splitlines()[0], "3 unused cassettes deleted")
    assert cassettes(asks) == ALL[:1]
    assert not secrets.parent.exists()
    assert not asks.run(None).has_part("llmtest: cassettes")


@pytest.mark.parametrize("update", [(), ("--snapshot-update",)])
def test_on_workers_the_controller_decides(asks: Suite, update: tuple[str, ...]) -> None:
    outcome = asks.run_on_worker(None, *update)

    assert outcome.counts == {"passed": 2}
    assert cassettes(asks) == (ALL[:1] if update else ALL)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (ASKS, ("-k", "plain")),
        (ASKS, ("test_it.py::test_plain",)),
        (ASKS, ("--deselect", "test_it.py::test_asks")),
        (ASKS, ("--collect-only",)),
        (ASKS + "    assert False\n", ()),
        (ASKS + "    pytest.exit('enough')\n", ()),
    ],
)
def test_nothing_is_deleted_where_not_all_tests_have_passed(asks: Suite, source: str, options: tuple[str, ...]) -> None:
    outcome = asks.run(source, "--snapshot-update", *options)

    assert cassettes(asks) == ALL
    assert "unused" not in outcome.text


@pytest.mark.parametrize("end", ["pytest.skip('no')", "pytest.xfail('no')"])
def test_the_cassettes_of_a_file_stay_while_one_of_its_tests_has_not_passed(asks: Suite, end: str) -> None:
    asks.run(f"{ASKS}    {end}\n", "--snapshot-update")

    assert cassettes(asks) == ALL


def test_a_file_that_was_not_collected_keeps_its_cassettes(asks: Suite) -> None:
    asks.write("def test_a():\n    pass\n", "test_old")

    asks.run(None, "--snapshot-update", "test_it.py")

    assert cassettes(asks) == [ALL[0], *ALL[2:]]


@pytest.mark.parametrize("text", ["steps: [Hello]\n", "# llmtest script v2\nmodels: {{m: [Hello]}}\n", "", "- a: b\n"])
def test_what_is_no_recording_of_ours_stays(asks: Suite, text: str) -> None:
    write(asks, "test_it", "by_hand", text)

    asks.run(None, "--snapshot-update")

    assert cassettes(asks) == ["test_it/by_hand.yaml", ALL[0]]


def test_a_file_that_is_no_text_stays(asks: Suite) -> None:
    write(asks, "test_it", "by_hand").write_bytes(b"\xff\xfe")

    asks.run(None, "--snapshot-update")

    assert cassettes(asks) == ["test_it/by_hand.yaml", ALL[0]]


def test_a_test_that_has_lost_its_marker_has_no_cassette(asks: Suite) -> None:
    outcome = asks.run("def test_asks():\n    pass\n")

    assert "cassettes/test_it/test_asks.yaml" in outcome.part("llmtest: cassettes")


def test_without_syrupy_they_are_reported(asks: Suite) -> None:
    assert asks.run(None, "-p", "no:syrupy").part("llmtest: cassettes") == UNUSED


# -- stale cassettes


def stale(suite: Suite) -> dict[str, bool]:
    found: dict[str, bool] = json.loads((suite.path / ".pytest_cache" / "v" / "llmtest" / "stale").read_text())
    return found


def test_the_cache_of_pytest_has_those_that_were_stale_at_the_last_run(asks: Suite) -> None:
    name = "cassettes/test_it/test_asks.yaml"
    other = CASSETTE.replace("[Hello]", '[{{say: Hello, request: {{system: "Be brief."}}}}]')

    asks.run(None)
    fresh = stale(asks)
    write(asks, "test_it", "test_asks", other)
    asks.run(None)
    changed = stale(asks)
    asks.run(None, "-k", "plain")
    kept = stale(asks)
    write(asks, "test_it", "test_asks")
    asks.run_on_worker(None)

    assert (fresh, changed, kept, stale(asks)) == ({name: False}, {name: True}, {name: True}, {name: False})


def test_an_old_cassette_is_stale(asks: Suite) -> None:
    asks.run(ASKS.replace("llm_cassette", "llm_cassette(max_age_days=0)").replace("test_asks", "test_gone"))
    write(asks, "test_it", "test_gone", CASSETTE.replace("2026-11-29", "2020-01-01"))
    asks.run(None)

    assert stale(asks) == {"cassettes/test_it/test_gone.yaml": True}


def test_without_the_cache_nothing_is_kept(asks: Suite) -> None:
    assert asks.run(None, "-p", "no:cacheprovider").counts == {"passed": 2}
    assert not (asks.path / ".pytest_cache").exists()
