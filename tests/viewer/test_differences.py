"""Comparisons with snapshots, as the page shows them."""

from __future__ import annotations

from llmtest.viewer import differences
from llmtest.viewer.differences import compared, shown

EXPECTED = 'tool weather(city="Paris")\n  < 1\ntool book()\n  < 2\n'
RECEIVED = 'tool weather(city="Lyon")\n  < 1\ntool pay()\n  < 3\ntool book()\n  < 2\n'


def test_removed_and_added_lines_stand_side_by_side() -> None:
    told = compared("trip.tree", EXPECTED, RECEIVED, "it differs")

    assert told["rows"] == [
        [0, 'tool weather(city="Paris")', 'tool weather(city="Lyon")', 1],
        [0, None, "tool pay()", 2],
        [1, None, "< 3", 0],
    ]
    assert {name: told[name] for name in ("name", "headline", "folded", "more")} == {
        "name": "trip.tree",
        "headline": "it differs",
        "folded": 3,
        "more": 0,
    }
    assert told["expected"].splitlines() == EXPECTED.splitlines()


def test_a_line_stands_beside_the_one_that_replaces_it() -> None:
    before = 'chat Model\n  + u1: "a"\n  + a1: "b"\n  > u1 a1 u2\n  < a2: "c"  usage in=3 out=1\n'

    told = compared("a.tree", before, 'chat Model\n  > u1\n  < a1: "c"  usage in=1 out=1\n', "")

    assert [(row[1], row[2]) for row in told["rows"]] == [
        ("chat Model", "chat Model"),
        ('+ u1: "a"', None),
        ('+ a1: "b"', None),
        ("> u1 a1 u2", "> u1"),
        ('< a2: "c"  usage in=3 out=1', '< a1: "c"  usage in=1 out=1'),
    ]


def test_lines_that_are_gone_have_nothing_beside_them() -> None:
    told = compared("trip.tree", RECEIVED, EXPECTED.replace("Paris", "Lyon"), "")

    assert [(row[1], row[2]) for row in told["rows"]] == [("tool pay()", None), ("  < 3".strip(), None)]


def test_a_match_and_a_new_snapshot_have_no_rows() -> None:
    match = compared("a.tree", EXPECTED, EXPECTED, "")
    assert (match["same"], match["expected"], match["rows"]) == (True, None, [])
    assert match["received"].splitlines() == EXPECTED.splitlines()
    new = compared("a.tree", None, RECEIVED, "no snapshot yet")
    assert (new["expected"], new["rows"]) == (None, [])
    assert compared("a.tree", None, None, "an error")["received"] is None


def test_a_line_that_is_in_both_stands_in_both(monkeypatch) -> None:
    before = "chain a\n  tool b()\n    < 1\n  < 2\n"

    told = compared("a.tree", before, before.replace("< 1", "< 3"), "")

    assert told["rows"] == [[0, "chain a", "chain a", 0], [1, "tool b()", "tool b()", 0], [2, "< 1", "< 3", 1]]


def test_rows_beyond_the_limit_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(differences, "MAX_ROWS", 2)

    told = compared("trip.tree", EXPECTED, RECEIVED, "")

    assert (len(told["rows"]), told["more"]) == (2, 1)


def test_secrets_in_snapshots_of_plain_texts_are_masked() -> None:
    told = compared("a.tree", "{'password': 'old'}", "{'password': 'hunter2'}", "")

    assert "hunter2" not in str(told)
    assert told["rows"] == []


def test_a_long_tree_is_cut(monkeypatch) -> None:
    monkeypatch.setattr(differences, "MAX_LINES", 2)

    assert shown(["a", "b", "c", "d"]) == "a\nb\n… [cut: 2 more lines]"
