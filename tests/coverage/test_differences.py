from __future__ import annotations

from pathlib import Path

from llmtest.coverage import items
from llmtest.coverage.data import Writer, load
from llmtest.coverage.differences import compare
from llmtest.coverage.items import Inventory
from llmtest.coverage.report import Report


def report(path: Path, names: list[str], hits: list[str]) -> Report:
    writer, program = Writer(path), Inventory(items.node(*name.split("/")) for name in names)
    writer.add(program, [f"{hit.replace('/', '/nodes/')}" for hit in hits], [])
    writer.close()
    return Report(load([path]))


def test_what_became_of_each_item(tmp_path: Path) -> None:
    base = report(
        tmp_path / "a.jsonl", ["a/lost", "a/gone", "a/won", "a/same", "a/never", "b/x"], ["a/lost", "a/gone", "a/same", "b/x"]
    )
    head = report(tmp_path / "b.jsonl", ["a/lost", "a/won", "a/same", "a/fresh", "a/open"], ["a/won", "a/same", "a/fresh"])

    changes = compare(base, head)

    assert [(change.sentence, change.is_loss) for change in changes] == [
        ("lost: node `lost` never ran (a)", True),
        ("missed, was not there: node `open` never ran (a)", True),
        ("lost, because no test meets the program: node `x` ran (b)", True),
        ("new and hit: node `fresh` ran (a)", False),
        ("no longer in the program: node `gone` ran (a)", False),
        ("gone, was missed: node `never` never ran (a)", False),
        ("gained: node `won` ran (a)", False),
    ]
    assert changes[0].to_plain() == {"id": "a/nodes/lost", "before": "hit", "after": "missed", "sentence": changes[0].sentence}
    assert compare(base, base) == []
