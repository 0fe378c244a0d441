"""Attributes that are replaced for a while."""

from __future__ import annotations

from typing import Any

from llmtest.core.patches import replace, replace_all, subclasses


class Base:
    def own(self) -> str:
        return "base"


class Below(Base):
    def own(self) -> str:
        return "below"


class Deep(Below):
    """Has no method of its own."""


def louder(original: Any) -> Any:
    return lambda self: original(self).upper()


def test_only_what_a_class_has_itself_is_replaced_and_comes_back() -> None:
    patches = [patch for kind in (Base, *subclasses(Base)) for patch in replace_all(kind, {"own": louder, "other": louder})]

    assert (Base().own(), Below().own(), Deep().own()) == ("BASE", "BELOW", "BELOW")
    assert len(patches) == 2
    for patch in patches:
        patch.undo()
    assert (Base().own(), Below().own()) == ("base", "below")


def test_what_another_has_replaced_meanwhile_stays() -> None:
    patch = replace(Base, "own", louder)
    theirs = replace(Base, "own", louder)

    patch.undo()

    assert Base().own() == "BASE"
    theirs.undo()
    patch.undo()
    assert Base().own() == "base"


def test_every_class_below_is_found() -> None:
    assert list(subclasses(Base)) == [Below, Deep]
