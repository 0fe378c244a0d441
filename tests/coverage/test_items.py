from __future__ import annotations

import pytest

from llmtest.coverage import items
from llmtest.coverage.items import Inventory, Item


@pytest.mark.parametrize(
    ("item", "item_id", "missing", "hit"),
    [
        (items.node("a", "n"), "a/nodes/n", "node `n` never ran", "node `n` ran"),
        (items.edge("a", "n", "__end__"), "a/edges/n->__end__", "edge `n → __end__` never taken", "edge `n → __end__` taken"),
        (items.tool("a", "t", "refused"), "a/tools/t.refused", "`t` never refused by its schema", "`t` refused by its schema"),
        (items.argument("a", "t", "x", "left_out"), "a/arguments/t.x.left_out", "`t.x` never left out", "`t.x` left out"),
        (items.argument("a", "t", "x", "='b'"), "a/arguments/t.x.='b'", "`t.x` never given as 'b'", "`t.x` given as 'b'"),
        (items.argument("a", "t", "x", ":null"), "a/arguments/t.x.:null", "`t.x` never given as null", "`t.x` given as null"),
        (items.outcome("a", "n", "error"), "a/models/n.error", "the model of `n` never failed", "the model of `n` failed"),
        (
            items.outcome("a", "", "empty"),
            "a/models/model.empty",
            "the model never gave an empty answer",
            "the model gave an empty answer",
        ),
        (
            items.answer("a", "S", "given"),
            "a/answers/S.given",
            "structured answer `S` never given",
            "structured answer `S` given",
        ),
        (items.mode("a", "batch"), "a/modes/batch", "`a` never called by `batch`", "`a` called by `batch`"),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_an_item_has_an_id_and_two_sentences(item: Item, item_id: str, missing: str, hit: str) -> None:
    assert (item.id, item.missing, item.sentence) == (item_id, missing, hit)


@pytest.mark.parametrize(
    ("pattern", "is_meant"),
    [
        ("desk/tools/book.raised", True),
        ("desk/*", True),
        ("*/tools/*.raised", True),
        ("tools/book.raised", True),
        ("`book` never raised", True),
        ("*never raised", True),
        ("desk/tools/book", False),
        ("desk/tools/[b]ook.raised", False),
        ("Desk/tools/book.raised", False),
    ],
)
def test_a_pattern_means_ids_and_sentences(pattern: str, is_meant: bool) -> None:
    assert items.tool("desk", "book", "raised").matches(pattern) is is_meant


def test_an_inventory_has_each_item_once_and_what_can_be_judged_replaces_what_cannot() -> None:
    unknown, known = items.edge("a", "x", "y", unknown="not declared"), items.edge("a", "x", "y", "app.py:3")
    inventory = Inventory([unknown])

    added = [inventory.add(unknown), inventory.add(known), inventory.add(unknown)]

    assert added == [False, True, False]
    assert list(inventory) == [known]
    assert inventory.get(known.id) is known
    assert (len(inventory), inventory.changes, known.id in inventory, "a/edges/other" in inventory) == (1, 2, True, False)
