"""The page: one HTML file with its script, its style and the data of all cases. It asks nothing of any network.

Its policy allows its own script and its own style, by their hashes, and nothing else. The data of each case is compressed in
an inert element of its own, and decoded when the case is opened. `llmtest.viewer.reading` reads the data back.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from llmtest.core.masks import publish
from llmtest.core.text import amount, escape_controls
from llmtest.tracing.rows import column
from llmtest.trees.pending import write_text
from llmtest.viewer.cases import FAILING, Case

FORMAT: Final = 1
"""Of the data of a page: of the rows of its index, and of the cases. The script reads no other."""
MAX_TREES: Final = 400_000
"""Characters of all trees for readers without JavaScript, those of failing tests first."""
_COMMENT: Final = re.compile(r"(?:^|  )// .*")
_BREAK: Final = re.compile(r"(?<=[{(,;])\n")
_SLOT: Final = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class CoverageView:
    """What the page shows of the behaviour coverage of a session, as HTML without a script.

    `label` is that of its button, and `style` is for what is in it only.
    """

    label: str
    style: str
    body: str


def write_page(path: Path, cases: Iterable[Case], *, title: str = "llmtest", coverage: CoverageView | None = None) -> int:
    """Write a page of cases to `path`, in one step; return its size in bytes.

    Raises:
        OSError: the file cannot be written.
    """
    text = page(cases, title=title, coverage=coverage)
    write_text(path, text)
    return len(text.encode("utf-8", "surrogatepass"))


def page(cases: Iterable[Case], *, title: str = "llmtest", coverage: CoverageView | None = None) -> str:
    """Return a page of cases as HTML."""
    shown = list(cases)
    style, script, more = (_dense(_file(name)) for name in ("page.css", "page.js", "coverage.js"))
    style += _dense(coverage.style) if coverage is not None else ""
    slots = {
        "policy": _policy(style, *([script] if coverage is None else [more, script])),
        "title": html.escape(publish(title)),
        "style": style,
        "script": script,
        "index": _index(shown),
        "cases": "\n".join(_data(shown)),
        "trees": "\n".join(_trees(shown)),
        "coverage": _coverage(coverage, more) if coverage is not None else "",
    }
    # In one pass: what the program under test wrote may look like a slot.
    return _SLOT.sub(lambda slot: slots[slot[1]], _file("page.html"))


def _coverage(view: CoverageView, script: str) -> str:
    about = f'aria-label="Behaviour coverage" data-label="{html.escape(publish(view.label))}" tabindex="0" hidden'
    return f'<main id="coverage" {about}>{view.body}</main>\n<script>{script}</script>'


def _file(name: str) -> str:
    return (files("llmtest.viewer") / name).read_text("utf-8").replace("\r\n", "\n")


def _dense(code: str) -> str:
    """Return code without indentation, comments, and line breaks that mean nothing. In our files no text spans several lines,
    and none has two spaces and //."""
    lines = (_COMMENT.sub("", line).strip() for line in code.splitlines())
    return _BREAK.sub("", "\n".join(filter(None, lines)))


def _policy(style: str, *scripts: str) -> str:
    """Return the policy of the page. Trusted types make the browser refuse any text as markup, whatever the script does."""
    rules = (
        "default-src 'none'",
        " ".join(["script-src", *(f"'{_hash(script)}'" for script in scripts)]),
        f"style-src '{_hash(style)}'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return "; ".join(rules)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _index(cases: Sequence[Case]) -> str:
    """Return the rows of the index as JSON, in letters that cannot end the element around it."""
    text = json.dumps({"llmtest_page": FORMAT, "rows": [_row(case) for case in cases]}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(case: Case) -> list[Any]:
    known = case.detail
    figures = [known.input_tokens, known.output_tokens, known.cost] if known is not None else [None] * 3
    seconds = None if case.seconds is None else round(case.seconds, 4)
    words = known.words if known is not None else ""
    return [column(case.name), case.status, publish(case.cause), *figures, seconds, words, int(known is not None)]


def _data(cases: Sequence[Case]) -> Iterator[str]:
    for number, case in enumerate(cases):
        if case.detail is not None:
            yield f'<script type="application/gzip+base64" id="case{number}">{case.detail.data}</script>'


def _trees(cases: Sequence[Case]) -> Iterator[str]:
    """Yield the trees as text, failing tests first, as long as there is room."""
    room = MAX_TREES
    ordered = sorted(enumerate(cases), key=lambda numbered: numbered[1].status not in FAILING)
    for shown, (number, case) in enumerate(ordered):
        cause = f"\n  {publish(case.cause)}" if case.cause else ""
        head = _plain(f"{case.status.upper()} {column(case.name)}{cause}\n")
        tree = _plain(case.detail.tree) if case.detail is not None else ""
        room -= len(head) + len(tree)
        if room < 0:
            yield f"… {amount(len(ordered) - shown, 'more test')} not shown: too much to read without JavaScript"
            return
        yield f'{head}<samp id="tree{number}">{tree}</samp>\n' if tree else head


def _plain(text: str) -> str:
    return html.escape(escape_controls(text).encode("utf-8", "backslashreplace").decode(), quote=False)
