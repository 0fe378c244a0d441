"""Attributes that are replaced for a while."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

from llmtest.core.patches import FamilyPatch, replace, replace_all, subclasses


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


def test_a_family_is_patched_with_the_classes_that_come_later() -> None:
    class Root:
        def own(self) -> str:
            return "root"

    patch = FamilyPatch(Root, lambda kind: {"own": louder})

    class Late(Root):
        def own(self) -> str:
            return "late"

    assert (Root().own(), Late().own()) == ("ROOT", "LATE")
    patch.undo()
    assert (Root().own(), Late().own()) == ("root", "late")
    assert "__init_subclass__" not in vars(Root)


def test_a_family_keeps_what_it_does_at_a_new_class_itself() -> None:
    heard: list[object] = []

    class Root:
        def __init_subclass__(cls, **kwargs: Any) -> None:
            heard.append((cls.__name__, kwargs))

    own = vars(Root)["__init_subclass__"]
    first = FamilyPatch(Root, lambda kind: {})
    second = FamilyPatch(Root, lambda kind: {"own": louder})

    class Late(Root, sort="new"):  # type: ignore[call-arg]
        def own(self) -> str:
            return "late"

    first.undo()

    class Later(Root):
        def own(self) -> str:
            return "later"

    assert (Late().own(), Later().own()) == ("LATE", "LATER")
    second.undo()
    assert (Late().own(), Later().own()) == ("late", "later")
    assert heard == [("Late", {"sort": "new"}), ("Later", {})]
    first.undo()
    assert vars(Root)["__init_subclass__"] is own


def test_a_class_with_two_bases_of_a_family_is_patched_once() -> None:
    class Root:
        pass

    class Left(Root):
        pass

    class Right(Root):
        pass

    class Both(Left, Right):
        def own(self) -> str:
            return "both"

    patch = FamilyPatch(Root, lambda kind: {"own": lambda original: lambda self: original(self) + "!"})

    assert Both().own() == "both!"
    patch.undo()


def test_what_is_called_without_self_stays() -> None:
    class Odd:
        own = staticmethod(lambda: "static")
        made = classmethod(lambda cls: "class")
        mocked = MagicMock(return_value="mock")

    assert replace_all(Odd, dict.fromkeys(("own", "made", "mocked", "missing"), louder)) == []
    assert (Odd().own(), Odd().made(), Odd().mocked()) == ("static", "class", "mock")
