"""Likely secrets in snapshots, cassettes, script files and stored traces: what the masks of llmtest would hide.

A finding never shows the secret itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmtest.core.masks import header_of, mask, pair_of, table
from llmtest.core.safe_yaml import YamlError, compose
from llmtest.core.text import clip, names
from llmtest.errors import StoreError
from llmtest.tracing.store import Store

SKIPPED: Final = frozenset({".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__"})
"""Folders that hold no files of the project."""
SECRETS: Final = ".secrets"
"""The folder beside cassettes with what was masked in them. git ignores it."""
TREES: Final = (".tree", ".trace")
YAMLS: Final = (".yaml", ".yml")
MAX_EXCERPT: Final = 100
"""How many characters of a line are shown around a mask."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A likely secret: its file (or the trace), its line, what it looks like, and the line with a mask in its place.

    `line` is 0 for a trace, which has no lines.
    """

    file: str
    line: int
    kind: str
    excerpt: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.kind}, {self.excerpt}"


@dataclass(slots=True)
class Scan:
    """What was looked at, and what was found. Holds state."""

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    traces: int = 0
    left_out: list[str] = field(default_factory=list)
    """Files that git ignores, and which were not read."""

    def look_at(self, paths: Iterable[Path], *, everything: bool = False) -> None:
        """Read the files of ours at and below `paths`. With `everything`, also what was masked in cassettes.

        Raises:
            StoreError: a path does not exist.
        """
        for path in paths:
            if not path.exists():
                raise StoreError(f"there is no file and no folder `{path}`")
            for file in _files(path):
                if SECRETS in file.parts and not everything:
                    self.left_out += [file.as_posix()] if file.suffix == ".json" else []
                elif (found := findings_in(file)) is not None:
                    self.files += 1
                    self.findings += found

    def look_at_traces(self, store: Store) -> None:
        """Read all traces of a store."""
        for trace in store.traces():
            self.traces += 1
            place = f"{store.path}, trace {trace.key}"
            lanes, messages, events = store.parts(trace)
            about = {"session": trace.session, "name": trace.name, "error": trace.error, "tags": list(trace.tags)}
            texts: list[tuple[str, Any]] = [(place, json.dumps(about)), *((f"{place}, a thread", facts) for facts in lanes)]
            texts += [(f"{place}, message {number}", body) for number, body in enumerate(messages, 1)]
            for number, kind, *_, facts, payload in events:
                where = f"{place}, event {number} ({kind})"
                texts += [(where, str(facts))] if facts else []
                # The names of a callback's own arguments are LangChain's: `token` is a text that a model has said.
                texts += [(where, json.dumps(value)) for value in _values(str(payload))]
            found = (Finding(where, 0, kind, shown) for where, text in texts for kind, shown in _in_json(text))
            self.findings += dict.fromkeys(found)


def _values(payload: object) -> list[Any]:
    value = json.loads(str(payload))
    return list(value.values()) if isinstance(value, dict) else [value]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        yield from (Path(folder) / name for name in sorted(files))


# -- files


def findings_in(file: Path) -> list[Finding] | None:
    """Return the likely secrets in a file; None if it is no snapshot, cassette or script file."""
    if file.suffix not in (*TREES, *YAMLS) and SECRETS not in file.parts:
        return None
    text = file.read_bytes().decode("utf-8", "replace")
    if file.suffix in TREES:
        found = _in_lines(text)
    elif file.suffix in YAMLS and _OURS.search(text):
        found = _in_yaml(text)
    elif SECRETS in file.parts and file.suffix == ".json":
        found = _in_secrets(text)
    else:
        return None
    unique = dict.fromkeys((line, kind, shown) for line, kind, shown in found)
    first: dict[tuple[int, str], str] = {}
    for line, kind, shown in unique:
        first.setdefault((line, kind), shown)
    return [Finding(file.as_posix(), line, kind, shown) for (line, kind), shown in sorted(first.items())]


_OURS: Final = re.compile(r"\A\ufeff?# llmtest script|^(?:steps|models|interactions|embeddings):", re.MULTILINE)
Found = tuple[int, str, str]


def _in_lines(text: str) -> Iterator[Found]:
    """Yield what the lines of a text hold: by its look, and as the value of a name: `password="..."`."""
    for number, line in enumerate(text.splitlines(), 1):
        for plain in dict.fromkeys((line.replace('\\"', '"'), line)):  # a JSON text in a string has escaped quotes
            yield from ((number, kind, shown) for kind, shown in _in_text(plain))
            yield from ((number, kind, shown) for kind, shown in _by_name(plain))


_NAMED: Final = re.compile(r"(?<![\w-])([\w-]+)=(\"(?:[^\"\\]|\\.)*\"|-?\d[\w.+-]*)")


def _by_name(line: str) -> Iterator[tuple[str, str]]:
    for found in _NAMED.finditer(line):
        value = found[2].strip('"')
        if value and table().is_secret(found[1]) and not _is_masked(value):
            yield _value_of(found[1])


def _value_of(key: str) -> tuple[str, str]:
    return f"the value of `{key}`", f"{key}={mask(key)}"


def _is_masked(value: str) -> bool:
    return _MASK.fullmatch(value) is not None


_MASK: Final = re.compile(r"(?:Bearer |Basic )?<mask:[^<>]*>")


def _in_text(text: str) -> Iterator[tuple[str, str]]:
    """Yield what one text holds: the kind of each likely secret, and the line around it with masks."""
    yield from ((kind, shown) for _, kind, shown in _matches(text))


def _matches(text: str) -> list[tuple[int, str, str]]:
    """Return the place of each likely secret in `text`, its kind, and the line around it with masks.

    Masks are put into the whole text: a part of it may not look like a secret any more.
    """
    found: list[tuple[int, str, int]] = []
    masked, done = "", 0
    for match in table().secrets.finditer(text):
        masked += text[done : match.start()]
        if kind := _kind(match):
            found.append((match.start(), kind, len(masked)))
        masked += table().replacement(match)
        done = match.end()
    masked += text[done:]
    return [(start, kind, _excerpt(masked, at)) for start, kind, at in found]


def _excerpt(masked: str, at: int) -> str:
    """Return the line of a masked text around a place."""
    before, after = masked[:at].rpartition("\n")[2], masked[at:].partition("\n")[0]
    start = f"...{before[-(MAX_EXCERPT // 2) :]}" if len(before) > MAX_EXCERPT // 2 else before
    return _without_names(f"{start.lstrip()}{clip(after, MAX_EXCERPT)}")


def _without_names(line: str) -> str:
    return _NAMED.sub(lambda found: f"{found[1]}={mask(found[1])}" if table().is_secret(found[1]) else found[0], line)


def _kind(found: re.Match[str]) -> str:
    group, said = str(found.lastgroup), found[0]
    if group in ("pair", "deep"):
        name, key, _ = pair_of(found)
        value = said[len(name) :].lstrip(" \t:").strip("\"'\\")
        return "" if not value or _is_masked(value) else f"the value of `{key}`"
    if group == "header":
        return f"the value of `{header_of(found)[0]}`"
    if group != "secret":
        return f"`{table().called(group)[6:-1]}` of llmtest_masks"
    if _is_masked(said):  # in a URL, a mask looks like a user and a password
        return ""
    return next((kind for kind, begins in _LOOKS if begins.match(said)), "a key or token")


_LOOKS: Final = tuple(
    (kind, re.compile(begin))
    for kind, begin in (
        ("a private key", "-----BEGIN"),
        ("a key of Anthropic", "sk-ant-"),
        ("a key of OpenAI", "sk-(?:proj|svcacct|admin)-"),
        ("a token of GitHub", "gh[pousr]_|github_pat_"),
        ("a token of GitLab", "glpat-"),
        ("a token of Slack", "xox"),
        ("a key of AWS", "A(?:K|S)IA"),
        ("a key of Google", "AIza|ya29"),
        ("a token of Hugging Face", "hf_"),
        ("a key of LangSmith", "lsv2_"),
        ("a key of Stripe", "[sr]k_"),
        ("a JSON web token", "eyJ"),
        ("a user and password of a URL", r"[^\s/:@]+:[^\s/@]+$"),
    )
)
"""What a secret looks like, by its beginning; the first that fits."""


# -- YAML


def _in_yaml(text: str) -> Iterator[Found]:
    try:
        root = compose(text)
    except YamlError:  # a broken file may hold secrets, too
        yield from _in_lines(text)
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            yield from ((number, kind, shown) for kind, shown in (*_in_text(line), *_by_name(line)))
    if root is not None:
        yield from _in_node(root, "", set())


def _in_node(node: Any, key: str, above: set[int]) -> Iterator[Found]:
    """Yield what a node holds; `key` is the key that it stands under. Aliases may make a circle."""
    if id(node) in above:
        return
    line = node.line
    if isinstance(node.value, str):
        yield from _in_scalar(node, key, line)
        return
    above = {*above, id(node)}
    for item in node.value:
        if not isinstance(item, tuple):
            yield from _in_node(item, key, above)
            continue
        name, value = item
        yield from _in_node(name, "", above)
        yield from _in_node(value, name.value if isinstance(name.value, str) else "", above)


def _in_scalar(node: Any, key: str, line: int) -> Iterator[Found]:
    value: str = node.value
    is_plain = node.tag.rpartition(":")[2] in ("null", "bool")
    if value and not is_plain and table().is_secret(key) and not _is_masked(value) and not _SIGNATURE.fullmatch(value):
        yield line, *_value_of(key)
        return
    is_block = node.style in ("|", ">")
    for start, kind, shown in _matches(value):
        below = value.count("\n", 0, start) if is_block else 0
        yield line + is_block + below, kind, shown


_SIGNATURE: Final = re.compile(r"\(.*\) [0-9a-f]{6}", re.DOTALL)
"""The arguments of a tool in a fingerprint: its name may be that of a secret."""


# -- JSON


def _in_secrets(text: str) -> Iterator[Found]:
    """Yield what is kept apart from a cassette: each text is a secret."""
    for number, line in enumerate(text.splitlines(), 1):
        hidden = re.search(r'"(<mask:[^<>]*>)"\s*:|"([^"]*<mask:[^"]*)"\s*:', line)
        if hidden is not None:
            yield number, "kept apart from its cassette", hidden[1] or hidden[2]


def _in_json(text: str) -> Iterator[tuple[str, str]]:
    todo: list[tuple[str, Any]] = [("", json.loads(text))]
    while todo:
        key, item = todo.pop()
        if isinstance(item, Mapping):
            todo += [(str(name), inner) for name, inner in item.items()]
            todo += [("", str(name)) for name in item]
        elif isinstance(item, list):
            todo += [(key, inner) for inner in item]
        elif table().hides(key, item) and str(item) and not _is_masked(str(item)):
            yield _value_of(key)
        elif isinstance(item, str):
            yield from _in_text(item)


def summarize(scan: Scan) -> str:
    """Return what was looked at, in words."""
    from llmtest.core.text import amount

    looked = [amount(scan.files, "file"), *([amount(scan.traces, "trace")] if scan.traces else [])]
    found = amount(len(scan.findings), "likely secret") if scan.findings else "no likely secret"
    return f"{' and '.join(looked)}: {found}"


def rules_in_use(lines: Iterable[str], file: Path | None) -> str:
    """Return which masks of the project were used, in words; empty if it has none."""
    rules = [line.partition("=")[0].strip() for line in lines]
    return f"with llmtest_masks of {file.name}: {names(rules)}" if rules and file is not None else ""
