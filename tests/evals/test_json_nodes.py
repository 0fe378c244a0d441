"""JSON and Python values as nodes. What is wrong in them is told by the tests of datasets."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.errors import ScriptError
from llmtest.evals.json_nodes import json_line_nodes, node_of
from llmtest.scripts.yaml_nodes import At

VALUE: dict[str, Any] = {"a": [1, 2.5, True, None, "x", {"b": {}}], "<<": -1e300}


def test_a_value_is_the_same_as_node_and_back() -> None:
    (line,) = json_line_nodes('\n{"a": [1, 2.5, true, null, "x", {"b": {}}], "<<": -1e300}\r\n', "x")

    assert line.line == 2
    assert At("x", line, "x").json() == At("x", node_of(VALUE, "x:1"), "x").json() == VALUE


def test_a_number_of_a_thousand_digits_is_no_value_and_takes_no_time() -> None:
    (node,) = json_line_nodes("9" * 5_000, "x")

    with pytest.raises(ScriptError, match="is not a JSON value"):
        At("x", node, "it").json()


def test_a_list_that_contains_itself_is_too_deep() -> None:
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(ScriptError, match=r"^x:3: the value nests deeper than 100 levels$"):
        node_of(circle, "x:3")
