"""Snapshots of run trees: a syrupy extension with one text file for each snapshot.

Floor 2: the only module that imports syrupy (5, 6 and 7).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.data import SnapshotCollection
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation

from llmtest.events import Run
from llmtest.recording import Recording
from llmtest.rendering import HEADER, render


class TraceExtension(SingleFileSnapshotExtension):
    """Keeps each tree in `__snapshots__/<test file>/<test>.trace`: a header line, then the text, which ends with a newline.

    What is read is exactly what was written, also `\\r` and characters that are not valid Unicode.
    """

    _write_mode = WriteMode.TEXT
    file_extension = "trace"

    def serialize(self, data: Any, *, exclude: Any = None, include: Any = None, matcher: Any = None) -> str:
        """The text of the file.

        Raises:
            TypeError: `data` is no recording, run or str; or syrupy is asked to pick from it.
        """
        if exclude is not None or include is not None:
            raise TypeError("llm_snapshot compares whole trees, so it takes no `include` and no `exclude`; compare a run of it")
        if not isinstance(data, Recording | Run | str):
            raise TypeError(f"llm_snapshot compares a Recording, a Run or a str; got {type(data).__name__} {data!r}")
        text = f"{data}\n" if isinstance(data, str) else render(data)
        return f"{HEADER}\n{text}"

    def read_snapshot_data_from_location(self, *, snapshot_location: str, snapshot_name: str, session_id: str) -> str | None:
        path = Path(snapshot_location)
        if not path.is_file():
            return None
        text = path.read_bytes().decode("utf-8", "surrogatepass")
        # We end the header with "\n"; so "\r\n" is the work of a checkout (git's core.autocrlf), in every line.
        return text.replace("\r\n", "\n") if text.startswith(f"{HEADER}\r\n") else text

    @classmethod
    def write_snapshot_collection(cls, *, snapshot_collection: SnapshotCollection, **options: Any) -> None:
        (snapshot,) = snapshot_collection
        Path(snapshot_collection.location).write_bytes(str(snapshot.data).encode("utf-8", "surrogatepass"))


def assertion(item: pytest.Item) -> SnapshotAssertion:
    """What `llm_snapshot` is: syrupy's own assertion, with our extension.

    Made here rather than taken from syrupy's fixture `snapshot`, a name that other plugins and many conftests claim.
    """
    options = vars(item.config.option)
    known = ("update_snapshots", "update_new_snapshots_only")  # the second came with syrupy 5.3
    return SnapshotAssertion(
        session=item.config._syrupy,  # type: ignore[attr-defined]
        extension_class=TraceExtension,
        test_location=PyTestLocation(item),
        **{name: options[name] for name in known if name in options},
    )
