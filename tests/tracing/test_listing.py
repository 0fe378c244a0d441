"""The commands over the trace store: what they print, and that nothing in a trace can break a terminal."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from llmtest.cli import commands
from llmtest.tracing import listing
from llmtest.tracing.store import Store, place
from tests.support.stored import BEGAN, MS, fill_store, recording, run


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fill_store(tmp_path, monkeypatch)


def test_sessions(capsys):
    assert run(capsys, "sessions") == (
        "session  traces  runs  events  errors  tokens in  out                  last\n"
        "paris         1     3       6       0          3    7  2026-01-01 00:00:00Z\n"
        "broken        2     6      12       2          6   14  2026-01-03 00:00:00Z\n"
    )


def test_sessions_for_machines(capsys):
    paris, broken = json.loads(run(capsys, "sessions", "--json"))

    assert broken["name"] == "broken"
    assert paris == {
        "name": "paris",
        "traces": 1,
        "runs": 3,
        "errors": 0,
        "events": 6,
        "input_tokens": 3,
        "output_tokens": 7,
        "last_ns": BEGAN,
    }


def test_no_sessions_and_what_makes_some(capsys, tmp_path):
    store = tmp_path / "none.sqlite"

    assert run(capsys, "sessions", "--store", str(store)) == (
        f'no sessions in {store}; `with tracing_enabled("name"):` or LLMTEST_TRACING=true writes some\n'
    )
    assert not store.exists()


ROME = """\
broken 00000301 · 2026-01-03 00:00:00Z · 3 runs · tokens 3 in, 7 out
chain agent  1.50 s
  chat Model  250 µs  tokens 3 in, 7 out
  tool weather  12.0 ms

"""
BROKEN = r"""broken 00000201 · 2026-01-02 00:00:00Z · 3 runs · tokens 3 in, 7 out · 2 errors
chain agent  1.50 s  ! ValueError: no \x1b[2J city
  chat Model  250 µs  tokens 3 in, 7 out
  tool weather  12.0 ms  ! ValueError: no \x1b[2J city

"""


def test_show_shows_the_latest(capsys):
    assert run(capsys, "show") == ROME


def test_show_a_session(capsys):
    assert run(capsys, "show", "broken") == BROKEN + ROME


def test_show_a_trace(capsys):
    assert run(capsys, "show", "00000201") == BROKEN


def test_show_the_tree(capsys):
    assert run(capsys, "show", "paris", "--tree") == (
        "paris 00000101 · 2026-01-01 00:00:00Z · 3 runs · tokens 3 in, 7 out\n"
        "chain agent tags=a,prod\n"
        '  > "hi"\n'
        "  chat Model\n"
        '    > u1: "hi"\n'
        '    < a1: call1 weather(city="Paris")  usage in=3 out=7\n'
        '  tool weather(city="Paris") call1\n'
        '    < "18C"\n'
        '  < "18C"\n'
        "\n"
    )


def test_show_for_machines(capsys):
    (trace,) = json.loads(run(capsys, "show", "00000201", "--json"))

    runs = trace.pop("runs")
    assert trace == {
        "trace": "00000201",
        "session": "broken",
        "root": str(UUID(int=0x201)),
        "kind": "chain",
        "name": "agent",
        "ended": "error",
        "error": "ValueError: no \x1b[2J city",
        "started_ns": BEGAN + 86_400_000 * MS,
        "duration_ns": 1500 * MS,
        "errors": 2,
        "events": 6,
        "input_tokens": 3,
        "output_tokens": 7,
        "tags": [],
    }
    assert [(line["depth"], line["name"], line["ended"]) for line in runs] == [
        (0, "agent", "error"),
        (1, "Model", "ended"),
        (1, "weather", "error"),
    ]


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        (["--errors"], ["00000201"]),
        (["--name", "wea*"], ["00000101", "00000201", "00000301"]),
        (["--name", "nobody"], []),
        (["--tag", "pro*"], ["00000101"]),
        (["--since", "2026-01-02"], ["00000201", "00000301"]),
        (["--until", "2026-01-02T12:00:00+00:00"], ["00000101", "00000201"]),
        (["--since", "2026-01-02", "--until", "2026-01-02T12:00", "--errors"], ["00000201"]),
        (["--until", "99999w"], []),
        (["--until", "1h"], ["00000101", "00000201", "00000301"]),
    ],
)
def test_filters(filters, shown, capsys, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")

    text = run(capsys, "show", *filters, "--json", code=0 if shown else 2)

    if shown:
        assert [trace["trace"] for trace in json.loads(text)] == shown
    else:
        assert text.startswith("llmtest show: no such trace in") or text.startswith("llmtest show: expected a time such as")


def test_a_time_that_is_none(capsys):
    assert run(capsys, "show", "--since", "yesterday", code=2) == (
        "llmtest show: expected a time such as 2026-01-31T12:00, 2026-01-31, or how long ago: 90s, 5m, 2h, 3d; got 'yesterday'\n"
    )


def test_what_is_not_there(capsys, path):
    assert run(capsys, "show", "pari", code=2) == (
        f"llmtest show: no session and no trace called 'pari' in {path}; did you mean `paris`?\n"
    )
    assert run(capsys, "show", "paris", "--errors", code=2) == (
        f"llmtest show: no such trace in {path}; `llmtest sessions` lists all sessions\n"
    )


def test_runs_that_did_not_end_say_so_and_late_events_are_counted(capsys):
    made = recording(4, "Oslo", day=3)
    made._raw, made._closed_at = made._raw[:4], 3
    with Store(place()) as store:
        store.keep("open", [made])

    assert run(capsys, "show", "open") == (
        "open 00000401 · 2026-01-04 00:00:00Z · 3 runs · tokens 3 in, 7 out · 1 late event\n"
        "chain agent  open\n"
        "  chat Model  250 µs  tokens 3 in, 7 out\n"
        "  tool weather  open\n"
        "\n"
    )


def test_colours_are_for_terminals(capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys, "stdout", Terminal())

    commands.main(["sessions"])

    lines = sys.stdout.getvalue().splitlines()
    assert [line.startswith("\x1b[1m") for line in lines] == [True, False, False]
    assert lines[2].startswith("\x1b[31mbroken")


# -- diff


def test_diff_of_two_traces(capsys):
    headline, *lines = run(capsys, "diff", "00000101", "00000301", code=1).splitlines()

    assert headline == "tags a,prod → none at agent (3 of 8 lines, 1 cause)"
    assert [line for line in lines if line.startswith(("-", "+"))] == [
        "- chain agent tags=a,prod",
        "+ chain agent  ◀ first difference",
        '-     < a1: call1 weather(city="Paris")  usage in=3 out=7',
        '+     < a1: call1 weather(city="Rome")  usage in=3 out=7  (follows)',
        '-   tool weather(city="Paris") call1',
        '+   tool weather(city="Rome") call1  (follows)',
    ]


def test_diff_of_sessions_with_several_traces_is_one_of_trees(capsys, path):
    with Store(path) as store:
        for name, city in (("before", "Paris"), ("after", "Rome")):
            store.keep(name, [recording(40, "Oslo"), recording(41, city)])

    headline, *lines = run(capsys, "diff", "before", "after", code=1).splitlines()

    assert headline == 'tool argument city "Paris" → "Rome" at agent › Model (2 of 16 lines, 1 cause)'
    assert len([line for line in lines if line.startswith(("-", "+"))]) == 4


def test_diff_of_a_file_and_a_trace(capsys, tmp_path):
    text = run(capsys, "show", "paris", "--tree").split("\n", 1)[1].removesuffix("\n")
    (tmp_path / "accepted.tree").write_text(text, "utf-8")

    assert run(capsys, "diff", str(tmp_path / "accepted.tree"), "paris") == ""


def test_a_reader_that_has_seen_enough_is_no_error(path):
    with Store(path) as store:
        store.keep("large", [recording(number, "Paris") for number in range(10, 400)])
    code = "import sys; from llmtest.cli.commands import main; sys.exit(main())"

    with subprocess.Popen(
        [sys.executable, "-c", code, "show", "large"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)


def test_a_trace_that_makes_no_tree_is_said_to_be_damaged(capsys, path, monkeypatch):
    def cannot(run: object) -> str:
        raise ValueError("no such kind")

    monkeypatch.setattr("llmtest.tracing.listing.render", cannot)

    assert run(capsys, "diff", "paris", "broken", code=2).strip().endswith("cannot be shown (ValueError: no such kind)")


def test_a_trace_with_a_damaged_row_says_which(capsys, path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET payload = '['")

    said = run(capsys, "diff", "paris", "broken", code=2)

    assert said.startswith(f"llmtest diff: the trace store {path} is damaged: trace ")
    assert "event 1 cannot be read (JSONDecodeError: " in said or "event 0 cannot be read (JSONDecodeError: " in said


# -- what is searched for, and what comes


def test_grep_shows_the_traces_with_a_text_in_them(capsys):
    assert run(capsys, "show", "--grep", r"city=.Paris") == run(capsys, "show", "paris")
    assert run(capsys, "show", "--errors", "--grep", "no .* city") == BROKEN
    assert run(capsys, "show", "--name", "weather", "--grep", "^chain agent tags=a,prod$") == run(capsys, "show", "paris")


def test_grep_takes_a_regular_expression(capsys):
    assert commands.main(["show", "--grep", "("]) == 2
    assert capsys.readouterr().err == (
        "llmtest show: --grep expects a regular expression; got '(': missing ), unterminated subpattern at position 0\n"
    )


def test_machines_get_the_trees_too(capsys):
    (trace,) = json.loads(run(capsys, "show", "paris", "--json", "--tree"))

    assert trace["tree"] in run(capsys, "show", "paris", "--tree")
    assert trace["tree"].startswith("chain agent tags=a,prod\n")


def test_follow_shows_what_comes_and_passes_the_filter():
    said: list[str] = []
    rounds = iter(["", "Oslo", "Bern", "Rome"])

    def wait() -> None:
        city = next(rounds, None)
        if city is None:
            raise KeyboardInterrupt
        if city:
            with Store(place()) as writer:
                writer.keep(city, [recording(len(said) + 7, city, error="broken" if city == "Bern" else None)])

    with Store(place()) as store:
        for only in (None, listing.Filter(errors=True)):
            with pytest.raises(KeyboardInterrupt):
                listing.follow(store, lambda text, style: said.append(text), only=only, wait=wait)
            rounds = iter(["Bern", "Oslo"])

    assert [text.split()[0] for text in said if " · " in text] == ["Oslo", "Bern", "Rome", "Bern"]
