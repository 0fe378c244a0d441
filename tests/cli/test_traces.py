"""`llmtest sessions`, `show`, `export`, `import`: their options. tests/tracing tests their output."""

from __future__ import annotations

import contextlib

import pytest

from llmtest import ScriptedChatModel, record
from llmtest.cli import commands, traces
from llmtest.cli.traces import open_store
from llmtest.tracing.store import place


def test_the_store_is_that_of_the_option_or_of_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "mine.sqlite"))

    assert open_store(tmp_path / "other.sqlite").path == tmp_path / "other.sqlite"
    assert open_store(None).path == place() == tmp_path / "mine.sqlite"


@pytest.mark.parametrize("command", ["show", "export"])
def test_help_names_the_filters(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    with pytest.raises(SystemExit, match=r"^0$"):
        commands.main([command, "--help"])

    shown = capsys.readouterr().out
    filters = ("--name GLOB", "--tag GLOB", "--errors", "--grep PATTERN", "--since TIME", "--until TIME")
    assert [option for option in ("--store FILE", *filters) if option not in shown] == []


def test_follow_takes_nothing_that_has_an_end(tmp_path, capsys):
    for more in (["a-session"], ["--json"], ["--html", "page.html"]):
        assert commands.main(["show", "--follow", "--store", str(tmp_path / "s.sqlite"), *more]) == 2
        assert capsys.readouterr().err == (
            "llmtest show: --follow shows the traces that come, so it takes no session, no trace, no --json and no --html\n"
        )


def test_follow_ends_with_ctrl_c(tmp_path, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmtest.tracing.listing.time.sleep", interrupted)

    assert commands.main(["show", "--follow", "--store", str(tmp_path / "s.sqlite")]) == 0


def test_import_counts_the_traces_of_all_files(tmp_path, monkeypatch, capsys):
    with record() as recording, open_store(tmp_path / "one.sqlite") as store:
        ScriptedChatModel("Hello").invoke("hi")
        recording.close()
        store.keep("a", [recording])
    commands.main(["export", "--store", str(tmp_path / "one.sqlite"), "-o", str(tmp_path / "a.jsonl")])
    steps = []
    monkeypatch.setattr(traces, "progress", lambda things: contextlib.nullcontext(lambda done, of: steps.append((done, of))))
    capsys.readouterr()

    commands.main(["import", "--store", str(tmp_path / "two.sqlite"), *[str(tmp_path / "a.jsonl")] * 2])

    assert steps == [(1, 0), (2, 0)]
    assert capsys.readouterr().err == "2 traces\n"


def test_spans_go_to_a_file_and_come_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with record() as recording, open_store(tmp_path / "one.sqlite") as store:
        ScriptedChatModel("Hello").invoke("hi")
        recording.close()
        store.keep("a", [recording])
    export = ["export", "--store", str(tmp_path / "one.sqlite"), "--otlp", "a.json.gz"]

    assert commands.main([*export, "--content", "exact", "--convention", "openinference"]) == 0
    assert capsys.readouterr().err == "1 trace, 1 span -> a.json.gz\n"
    for more, session in ((["--session", "b"], "b"), ([], "a")):
        assert commands.main(["import", "--store", str(tmp_path / "two.sqlite"), "a.json.gz", *more]) == 0
        with open_store(tmp_path / "two.sqlite") as store:
            (trace,) = store.traces(session)
            assert store.load(trace).kinds == recording.kinds


def test_spans_come_from_a_pipe(tmp_path, monkeypatch, capsys):
    import io
    import sys

    from llmtest.otel import spans_of
    from llmtest.otel.otlp import write_json

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(write_json(spans_of(recording)).encode())))

    assert commands.main(["import", "--store", str(tmp_path / "s.sqlite"), "-"]) == 0
    assert capsys.readouterr().err == "1 traces\n"


def test_json_lines_come_from_a_pipe(tmp_path, monkeypatch, capsys):
    import io
    import os
    import sys

    from llmtest.tracing.store import Store

    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    with Store(tmp_path / "a.sqlite") as store:
        store.keep("s", [recording])
    assert commands.main(["export", "--store", str(tmp_path / "a.sqlite")]) == 0
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write(capsys.readouterr().out)
    with io.TextIOWrapper(os.fdopen(reading, "rb")) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert commands.main(["import", "--store", str(tmp_path / "b.sqlite"), "-"]) == 0
    assert capsys.readouterr().err == "1 traces\n"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--content", "exact"], "--content and --convention are about spans; say where these go: --otlp FILE|URL"),
        (["--otlp", "x.json", "-o", "y"], "--otlp says where spans go, and -o where JSON lines go; name one of them"),
        (["--otlp", "x.json", "--content", "al"], "`content` of spans is not 'al'; it is one of none, messages, exact"),
        (["--otlp", "http://"], "spans are sent to a URL, http://host:4318 or https://host/v1/traces; got 'http://'"),
    ],
)
def test_wrong_options_of_an_export(more, why, tmp_path, capsys):
    assert commands.main(["export", "--store", str(tmp_path / "s.sqlite"), *more]) == 2

    assert capsys.readouterr().err == f"llmtest export: {why}\n"


def test_spans_of_tests_and_evaluations_have_their_verdicts(tmp_path):
    from llmtest.otel.files import read_spans
    from llmtest.tracing.store import Store, StoredVerdict

    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    path, file = tmp_path / "s.sqlite", tmp_path / "spans.json"
    with Store(path) as store:
        store.keep("a test", [recording], [StoredVerdict("test", 0.0, False, "it said no"), StoredVerdict("length", 5.0, None)])
        store.keep("another", [recording])

    assert commands.main(["export", "--store", str(path), "--otlp", str(file)]) == 0

    with file.open("rb") as opened:
        events = [[dict(event.attributes) for event in span.events] for span in read_spans(opened, "spans")]
    length = {"gen_ai.evaluation.name": "length", "gen_ai.evaluation.score.value": 5.0}
    test = {
        "gen_ai.evaluation.name": "test",
        "gen_ai.evaluation.score.value": 0.0,
        "gen_ai.evaluation.score.label": "fail",
        "gen_ai.evaluation.explanation": "it said no",
    }
    assert sorted(events, key=len) == [[], [length, test]]
