"""Reading YAML node by node: places, limits, and files that a merge has broken."""

from __future__ import annotations

import pytest

from llmtest.core.safe_yaml import MAX_NESTING
from llmtest.errors import ScriptError
from llmtest.scripts.yaml_nodes import At, compose_text, decode, join_and, join_or


def root_of(text: str) -> At:
    node = compose_text(text, "x.yaml")
    assert node is not None
    return At("x.yaml", node, "the file")


def test_an_empty_text_has_no_root() -> None:
    assert compose_text("# only a comment\n", "x.yaml") is None


@pytest.mark.parametrize(
    ("marker", "shown"),
    [("<<<<<<< HEAD", "<<<<<<<"), ("=======", "======="), (">>>>>>> theirs", ">>>>>>>"), ("||||||| base", "|||||||")],
)
def test_a_merge_that_was_not_finished_is_told_with_its_line(marker: str, shown: str) -> None:
    with pytest.raises(ScriptError) as caught:
        compose_text(f"steps:\n  - a\n{marker}\n  - b\n", "x.yaml")

    assert str(caught.value) == (
        f"x.yaml:3: a merge was not finished: the line begins with the conflict marker `{shown}`\n"
        "  keep one of the two sides, and delete the lines with the markers"
    )


def test_a_line_of_equals_signs_within_a_text_is_no_conflict() -> None:
    found = root_of("say: |-\n  =======\n  <<<<<<< HEAD\n")

    assert found.pairs()["say"].text() == "=======\n<<<<<<< HEAD"


def test_each_value_knows_its_line_and_its_key() -> None:
    pairs = root_of("a: 1\nb:\n  - x\n  - y\n").pairs()

    assert (pairs["a"].where, pairs["b"].where, pairs["b"].key_error("no").args) == ("x.yaml:1", "x.yaml:3", ("x.yaml:2: no",))


def test_names_that_the_file_chooses_are_the_keys_of_a_mapping() -> None:
    assert [(name, value.json()) for name, value in root_of("x: 1\ny: -2.5\n").mapped("a mapping")] == [("x", 1), ("y", -2.5)]


def test_a_list_in_the_place_of_a_mapping_of_names_is_refused() -> None:
    with pytest.raises(ScriptError, match=r"^x\.yaml:1: the file must be a mapping of tools; got a list$"):
        root_of("[1]").mapped("a mapping of tools")


def test_a_negative_number_is_a_number() -> None:
    assert root_of("-0.5").any_number("a number") == -0.5


def test_a_text_is_no_number() -> None:
    with pytest.raises(ScriptError, match=r"^x\.yaml:1: the file must be a number; got the text 'x'$"):
        root_of("x").any_number("a number")


def test_nesting_has_a_limit() -> None:
    with pytest.raises(ScriptError, match=rf"^x\.yaml:1: the file nests deeper than {MAX_NESTING} levels$"):
        compose_text("[" * 5000, "x.yaml")


def test_bytes_are_utf_8() -> None:
    with pytest.raises(ScriptError, match=r"^x\.yaml:2: the file is not UTF-8: invalid start byte 0xff$"):
        decode(b"a\n\xff", "x.yaml")


def test_words_are_joined_for_a_text() -> None:
    assert (join_or(["a"]), join_or("abc"), join_and("ab")) == ("`a`", "`a`, `b` or `c`", "`a` and `b`")
