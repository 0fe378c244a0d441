"""The failure of a test as a short text for a coding assistant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmtest.viewer.assistant import MAX_BYTES, for_assistant


def test_the_whole_text() -> None:
    told = for_assistant(
        "tests/test_a.py::test_a", cause="snapshot differs", difference=["- a", "+ b"], source="def test_a(): ..."
    )

    assert told == (
        "The test `tests/test_a.py::test_a` fails.\n"
        "\n## Cause\n\n`````text\nsnapshot differs\n`````\n"
        "\n## Difference\n\n`````diff\n- a\n+ b\n`````\n"
        "\n## Source\n\n`````python\ndef test_a(): ...\n`````\n"
    )


def test_a_long_part_gets_the_room_that_others_leave() -> None:
    told = for_assistant("t", cause="short", difference=["+ line"] * 2_000)

    assert len(told.encode()) <= MAX_BYTES
    assert told.count("+ line") > 500
    assert told.endswith("\n… (cut)\n`````\n")


@given(st.text(), st.text(), st.lists(st.text()), st.text(), st.text())
def test_it_is_never_longer_than_4_kb(test: str, cause: str, lines: list[str], violations: str, source: str) -> None:
    told = for_assistant(test * 9, cause=cause * 99, difference=lines * 50, violations=violations * 99, source=source * 99)

    assert len(told.encode("utf-8", "backslashreplace")) <= MAX_BYTES
