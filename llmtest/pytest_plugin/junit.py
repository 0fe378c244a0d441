"""What a JUnit file says of a test besides its outcome: properties for tokens, cost and cause, and attachments for GitLab."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final
from xml.etree.ElementTree import Element

import pytest
from _pytest.junitxml import LogXML, xml_key

PREFIX: Final = "llmtest_"
NAMES: Final = ("input_tokens", "output_tokens", "model_calls", "cost_usd", "cause")
_OF_STDOUT: Final = ("system-out", "out-err", "all")


def set_properties(item: pytest.Item, report: pytest.TestReport, properties: dict[str, str]) -> None:
    """Give a test these properties, and none of an attempt before; JUnit takes those of the report of the teardown."""
    names = {f"{PREFIX}{name}" for name in NAMES}
    for found in (item.user_properties, report.user_properties):
        found[:] = [one for one in found if one[0] not in names]
        found += [(f"{PREFIX}{name}", value) for name, value in properties.items()]


@contextmanager
def attached(config: pytest.Config, report: pytest.TestReport, paths: Iterable[str]) -> Generator[None, None, None]:
    """In the block the report is written to the JUnit file, with an attachment line in its `system-out` for each path.

    GitLab links such files beside the test: https://docs.gitlab.com/ci/testing/unit_test_reports/
    """
    xml: LogXML | None = config.stash.get(xml_key, None)
    lines = "\n".join(f"[[ATTACHMENT|{path}]]" for path in paths)
    if xml is None or not lines:
        yield
    elif xml.logging in (*_OF_STDOUT, "log"):
        # pytest writes a `system-out` of its own from the sections of the report, and one is enough.
        section = (f"Captured {'log' if xml.logging == 'log' else 'stdout'} llmtest", lines)
        report.sections.append(section)
        try:
            yield
        finally:
            report.sections.remove(section)
    else:
        node: Any = Element("system-out")
        node.text = lines
        xml.node_reporter(report).append(node)
        yield
