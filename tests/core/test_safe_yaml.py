"""YAML that anybody may have written is composed to nodes, or told with its line; tests/scripts/test_files.py has the limits."""

from __future__ import annotations

import pytest

from llmtest.core.safe_yaml import MAX_NESTING, YamlError, compose

YAML = "tag:yaml.org,2002:"


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("no", "str"),
        ("12:30", "str"),
        ("2024-01-01", "str"),
        ("true", "bool"),
        ("12", "int"),
        ("1e3", "float"),
        ("~", "null"),
        ("[a]", "seq"),
        ("a: 1", "map"),
        ("!!binary YQ==", "binary"),
        ("!!python/object/apply:os.system [ls]", "python/object/apply:os.system"),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says_and_a_tag_is_only_a_name(text: str, tag: str) -> None:
    node = compose(text)

    assert node is not None
    assert node.tag == YAML + tag


def test_an_empty_text_has_no_node() -> None:
    assert compose("# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "line", "message", "evidence"),
    [
        (
            "a: 1\nb: [",
            2,
            "not YAML: expected the node content, but found '<stream end>'",
            ("2 | b: [", "while parsing a flow node, which begins in line 2"),
        ),
        ("a\n\x01", 2, "not YAML: the character U+0001 can stand only as an escape in double quotes", ()),
        (
            "a: &x 1\nb: &x 2",
            2,
            "not YAML: second occurrence",
            ("2 | b: &x 2", "found duplicate anchor 'x'; first occurrence, which begins in line 1"),
        ),
        ("[" * (MAX_NESTING + 1), 1, "the file nests deeper than 100 levels", ()),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, line: int, message: str, evidence: tuple[str, ...]) -> None:
    with pytest.raises(YamlError) as error:
        compose(text)

    assert (error.value.line, str(error.value), error.value.evidence) == (line, message, evidence)
