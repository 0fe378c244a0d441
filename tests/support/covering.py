"""What one block of runs covers."""

from __future__ import annotations

from collections.abc import Callable

from llmtest import record
from llmtest.coverage.hits import Hits
from llmtest.coverage.items import Inventory
from llmtest.langchain.inventory import Reader
from llmtest.langchain.met_objects import Meeting, MetObjects


class Covered:
    """What `work` hits: ids without the name of the program, for a block with one program."""

    def __init__(self, work: Callable[[], object], *, program: str = "") -> None:
        met, self.inventory = MetObjects(), Inventory()
        with met.listening(), record() as self.recording:
            work()
        hits = Hits(Meeting(met, Reader()), self.inventory)
        hits.add(self.recording.roots)
        self.all_hits, self.all_ambiguous = hits.hits, hits.ambiguous
        self._prefix = f"{program}/" if program else ""

    def _short(self, ids: set[str]) -> set[str]:
        return {item_id.removeprefix(self._prefix) for item_id in ids if item_id.startswith(self._prefix)}

    def hits(self, kind: str) -> set[str]:
        return {name.removeprefix(f"{kind}/") for name in self._short(self.all_hits) if name.startswith(f"{kind}/")}

    def ambiguous(self, kind: str) -> set[str]:
        return {name.removeprefix(f"{kind}/") for name in self._short(self.all_ambiguous) if name.startswith(f"{kind}/")}

    def missed(self, kind: str) -> set[str]:
        items = {item.id for item in self.inventory if item.kind == kind and not item.unknown}
        return {name.removeprefix(f"{kind}/") for name in self._short(items - self.all_hits - self.all_ambiguous)}
