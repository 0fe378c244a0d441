"""Values as text: messages, tool calls, documents, dicts, strings; without what is volatile, secret or invisible.

`Words` turns a value into text in which every name (a message's label, a tool call's number, an id's alias) is
still a *mark*: its number is known only when `llmtest.trees.rendering` has put the runs in order.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from itertools import groupby
from pathlib import PurePath
from typing import Any, Final, Literal
from uuid import UUID

from llmtest.core import masks
from llmtest.core.masks import DATE_TIME, header_of, mask, pair_of, snake
from llmtest.core.text import amount, show_int
from llmtest.events.content import read_block
from llmtest.events.words import Document, Failure, FrozenDict, FrozenList, Message, Opaque, Structured, ToolCall
from llmtest.trees.constants import Constants
from llmtest.trees.json_strings import JsonArray, JsonFloat, JsonObject, JsonString, read_json_string

MAX_LINE_CHARACTERS: Final = 100
"""A container with a longer text gets one line per entry. Indentation does not count."""

MAX_OUTLINE_CHARACTERS: Final = 60
"""In an outline, strings are cut to this length."""

MAX_DEPTH: Final = 50
"""Values at a greater depth are left out."""

# -- text: volatile, secret and invisible parts

OPEN, CLOSE = "\ufdd0", "\ufdd1"  # noncharacters of Unicode; `_escape` lets none through from outside
MARK: Final = re.compile(f"{OPEN}([0-9]+){CLOSE}")

_UNSEEN_SET = (
    "\x7f-\xa0\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
)
_UNSEEN: Final = re.compile(f"[{_UNSEEN_SET}]")
_PLAIN_LINE: Final = re.compile(f"[^\x00-\x08\x0a-\x1f{_UNSEEN_SET}]*(?<!\\s)")
_CALL_ID: Final = re.compile(r"[a-z]+[_-][\w-]+")  # made by a machine: `call_7`, not `7`, which may be any number
_UNIT: Final = re.compile(rf"{OPEN}[0-9]+{CLOSE}|<[a-z]+:?\w*>|\\U[0-9a-f]{{8}}|\\u[0-9a-f]{{4}}|\\?.")
_ATOM: Final = re.compile(f'[^\x00-\x20{_UNSEEN_SET}"()]+')
_CLOCK_KEY: Final = re.compile(
    r"(?:^|_)(?:(?:created|updated|modified|deleted|fetched|expires|started|finished|issued)(?:_at|_on|_time)?"
    r"|timestamp|ts|last_modified|last_updated|attempt_time)$"
)
_CLOCK_TIME: Final = re.compile(rf"{DATE_TIME}(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?")
_CONTENT_KEY: Final = re.compile(r"(?:^|_)(?:hash|digest|checksum|etag|fingerprint|md5|sha\d*|crc\d*)$")
"""Keys of digests, which change only if the content does: what looks like an id there is none."""

_ID_KEY: Final = re.compile(r"(?:^|_)id$|^lc_internal_call$")
"""Keys of ids, and of the random token of the process by which LangChain's middleware knows its own model calls."""

# LangGraph's interrupts have such. A number of digits alone is a card or an amount; "paid" is no key of ids.
_RANDOM: Final = re.compile("(?=.*[a-f])(?=.*[0-9])[0-9a-f]{16,32}")
KeyKind = Literal["secret", "digest", "clock", "id", "other"]
"""What a key tells of its values."""

COUNTED_BY_GRAPH: Final = frozenset(("remaining_steps", "is_last_step"))
"""Managed values in the state of a graph: they follow from LangGraph's recursion limit."""
_EPOCHS: Final = tuple((10.0**n, 10.0 ** (n + 1)) for n in (9, 12, 15, 18))
_json_string: Final = json.JSONEncoder(ensure_ascii=False).encode


def _code(character: re.Match[str]) -> str:
    number = ord(character[0])
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _escape(text: str) -> str:
    """Return `text` with JSON's escapes, and with escapes for invisible characters."""
    shown = _json_string(text)[1:-1]
    return shown if shown.isascii() and "\x7f" not in shown else _UNSEEN.sub(_code, shown)


def _is_clock(value: object) -> bool:
    """True if `value` may have been read from a clock: an ISO date and time, or an epoch."""
    if isinstance(value, str):
        return _CLOCK_TIME.fullmatch(value) is not None
    return isinstance(value, int | float) and any(low <= value < high for low, high in _EPOCHS)


def _many_lines(text: str) -> bool:
    return "\n" in text.strip()


# -- kinds of values

_LABELS: Final = {"human": "u", "ai": "a", "system": "s", "developer": "s", "tool": "t"}

_ROLES: Final = {"user": "human", "assistant": "ai", **{role: role for role in _LABELS}}
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_FORM: Final = re.compile(r"[\w.+-]+(?:/[\w.+*-]+)?", re.ASCII)
_MEDIA: Final = frozenset(("image", "image_url", "audio", "input_audio", "video", "file", "document", "media"))


def _as_message(value: object) -> Message | None:
    """Return the message that `value` is, also in the loose forms of programs: ("user", "hi"), {"role": ..., "content": ...}."""
    if isinstance(value, Message):
        return value
    role, content, name, call_id = None, None, None, None
    if isinstance(value, list | tuple) and len(value) == 2:
        role, content = value
    elif isinstance(value, dict) and {"role", "content"} <= value.keys() <= {"role", "content", "name", "id", "tool_call_id"}:
        role, content, name = value["role"], value["content"], value.get("name")
        call_id = value.get("tool_call_id")
    if isinstance(role, str) and role in _ROLES and isinstance(content, str | FrozenList):
        return Message(_ROLES[role], content, name=name, tool_call_id=call_id)
    return None


def _as_call(value: object) -> ToolCall | None:
    if isinstance(value, ToolCall):
        return value
    if isinstance(value, dict) and {"name", "args", "id"} <= value.keys() <= {"name", "args", "id", "type", "error"}:
        name, args, call_id = value["name"], value["args"], value["id"]
        if isinstance(name, str) and isinstance(args, FrozenDict | str) and isinstance(call_id, str | None):
            return ToolCall(name, args, call_id)
    return None


def _as_document(value: object) -> Document | None:
    return value if isinstance(value, Document) else None


def _each(items: Iterable[object], read: Callable[[object], object]) -> list[Any]:
    """Return `read(item)` for each item; an empty list if one of them is None."""
    found = []
    for item in items:
        word = read(item)
        if word is None:
            return []
        found.append(word)
    return found


def _conversation(value: object) -> list[Message]:
    """Return the messages under a key `messages`: a conversation, or one message, or its text alone."""
    if isinstance(value, list) and _as_message(value) is None:
        return _each(value, lambda item: Message("human", item) if isinstance(item, str) else _as_message(item))
    return _conversation([value])[:1]


def _unwrap(value: object) -> object:
    """Return `value` without the wrapping that every step of a program repeats: a state with only messages, a command with
    only an update, a prompt value."""
    if isinstance(value, dict):
        if not COUNTED_BY_GRAPH.isdisjoint(value):
            return _unwrap(FrozenDict({key: item for key, item in value.items() if key not in COUNTED_BY_GRAPH}))
        return (len(value) == 1 and "messages" in value and _conversation(value["messages"])) or value
    if isinstance(value, list):
        is_command = len(value) == 1 and isinstance(value[0], Structured) and value[0].type == "Command"
        return _unwrap(value[0]) if is_command else value
    if isinstance(value, Structured) and value.type == "Command" and value.fields.keys() == {"update"}:
        return _unwrap(value.fields["update"])
    return _prompt(value)


def _prompt(value: object) -> object:
    if isinstance(value, Structured) and value.type.endswith("PromptValue"):
        return value.fields.get("messages", value.fields.get("text", value))
    return value


def _medium(kind: str, block: Mapping[str, object], show: Callable[[str], str]) -> str | None:
    """Return an image, a sound or a file as its kind and size, or as its address. Each provider has its own shape."""
    inner = next((block[key] for key in (kind, "source") if key in block), block)
    fields = {**block, **(inner if isinstance(inner, dict) else {"url": inner})}
    kind = kind.removesuffix("_url").removeprefix("input_")
    place = fields.get("url") or fields.get("file_id")
    data = next((fields[key] for key in ("base64", "data", "file_data") if fields.get(key)), None)
    if data is None and isinstance(place, str) and not place.startswith("data:"):
        return f"<{kind} {show(place)}>"
    data = data or place
    form = next((str(fields[key]) for key in ("mime_type", "media_type", "format") if fields.get(key)), "")
    return _data(kind, form, data) if isinstance(data, str | bytes) else None


def _data(kind: str, form: str, data: str | bytes) -> str:
    """Return data as its kind, size and digest. A str is base64, perhaps as a `data:` URL that names the kind."""
    size = len(data)
    if isinstance(data, str):
        head, _, encoded = data.rpartition(",")
        form = form or head.removeprefix("data:").partition(";")[0]
        size = len(encoded.rstrip("=")) * 3 // 4
        data = encoded.encode("utf-8", "surrogatepass")
    known = _FORM.match(form)
    if form and (known is None or known[0] != form):  # no media type: only its beginning is shown, and the digest is of all
        data += form.encode("utf-8", "surrogatepass")
        form = f"{known[0] if known else ''}…"
    kind = "" if form.startswith(f"{kind}/") else kind
    digest = blake2b(data, digest_size=4).hexdigest()
    return f"<{' '.join(word for word in (kind, form, amount(size, 'byte'), digest) if word)}>"


@dataclass(slots=True, eq=False)
class Name:
    """A thing that is written once, and as its label afterwards. `prefix` is its kind: u, a, s, t, m (messages), d (document),
    v (text of several lines), `request` (a tool call with its arguments), call, id, interrupt, path, or `tie`: any one of the
    things whose marks are in `text`."""

    prefix: str
    lines: list[str]
    text: str
    label: str = ""
    number: float = math.inf


class Words:
    """Values as text with marks. Equal things have equal marks, in whichever order they are met. Holds state.

    `calls` are the ids of tool calls that ran: a string or a key that equals one of them is written as the call's number.
    `interrupts` are the ids of interrupts, which are random, and their values. They are found wherever they stand in a text.
    `constants` says which ids and times are shown as they are.
    """

    def __init__(
        self,
        calls: Iterable[str],
        interrupts: Iterable[tuple[str, object]] = (),
        *,
        constants: Constants | None = None,
        outline: bool = False,
        short: bool = False,
        full: bool = False,
    ) -> None:
        self.calls = frozenset(filter(_CALL_ID.fullmatch, calls))
        self._interrupts: dict[str, object] = {}
        for number, value in interrupts:  # who tells of an interrupt before knows its value, a resume does not
            self._interrupts.setdefault(number, value)
        self._ids = re.compile(f"({'|'.join(sorted(self._interrupts))})") if self._interrupts else None
        self._constants = constants or Constants()
        self.outline = outline
        self.short = outline or short
        self.full = full
        self.names: list[Name] = []
        self.owners: dict[str, Name] = {}
        self._marks: dict[tuple[str, str], str] = {}
        self._messages: dict[int, tuple[Message, str]] = {}
        self._strings: dict[str, str] = {}
        self._jsons: dict[str, list[str]] = {}
        self._atoms: dict[tuple[str, str], str] = {}
        self._key_kinds: dict[str, KeyKind] = {}
        self._masks = masks.table()
        self._depth = 0

    def mark(self, prefix: str, content: str, lines: Sequence[str] = (), text: str = "") -> str:
        """Return the mark of a thing. All marks have one length, so that no layout depends on the order of arrival."""
        key = (prefix, content)
        mark = self._marks.get(key)
        if mark is None:
            mark = self._marks[key] = f"{OPEN}{len(self.names):07d}{CLOSE}"
            self.names.append(Name(prefix, list(lines), text or content))
        return mark

    def names_in(self, *texts: str) -> list[Name]:
        """Return the things whose marks stand in `texts`."""
        return [self.names[int(match[1])] for text in texts if OPEN in text for match in MARK.finditer(text)]

    def plain(self, text: str) -> str:
        """Return `text` with the content of each thing in place of its mark, so that no order of arrival is in it."""
        return MARK.sub(self._content_of, text) if OPEN in text else text

    def _content_of(self, match: re.Match[str]) -> str:
        name = self.names[int(match[1])]
        if name.prefix == "tie":
            return self._content_of(next(MARK.finditer(name.text)))
        if name.prefix == "interrupt":
            return f"<interrupt {self._interrupts.get(name.text)}>"
        return self.plain("\n".join(name.lines)) if name.lines else f"<{name.prefix}>"

    # strings

    def is_secret_text(self, text: str) -> bool:
        return self._masks.secrets.search(text) is not None

    def is_volatile(self, text: str) -> bool:
        return self._masks.volatile.search(text) is not None or (self._ids is not None and self._ids.search(text) is not None)

    def clean(self, text: str, escape: Callable[[str], str] = _escape) -> str:
        """Return `text` with aliases for ids, without times, addresses and secrets."""
        if self._ids is not None and self._ids.search(text):
            parts = self._ids.split(text)
            return "".join(self.mark("interrupt", part) if n % 2 else self._masked(part, escape) for n, part in enumerate(parts))
        return self._masked(text, escape)

    def _masked(self, text: str, escape: Callable[[str], str]) -> str:
        if self._masks.volatile.search(text) is None:
            return escape(text)
        pieces, done = [], 0
        for match in self._masks.volatile.finditer(text):
            pieces += [escape(text[done : match.start()]), self._alias(match, escape)]
            done = match.end()
        return "".join((*pieces, escape(text[done:])))

    def _alias(self, match: re.Match[str], escape: Callable[[str], str]) -> str:
        kind = str(match.lastgroup)
        if kind in ("id", "time"):
            return self._id_or_time(match[0].lower() if kind == "id" else match[0], kind, match)
        if kind == "own":
            return self.mark("call" if match[0] in self.calls or match[0].startswith("call_") else "id", match[0])
        if kind == "path":
            return self.mark("path", match[0])
        if kind == "part":
            return "<id>"
        if kind in ("pair", "deep"):
            name, key, _ = pair_of(match)
            return f"{escape(name)}: {mask(key)}"
        if kind == "header":
            name, sign = header_of(match)
            return f"{escape(name + sign)}{mask(name.lower())}"
        return self._masks.called(kind)

    def id(self, text: str) -> str:
        """Return the mark of an id."""
        return self._id_or_time(text, "id")

    def _id_or_time(self, text: str, kind: str, match: re.Match[str] | None = None) -> str:
        is_secret = match is not None and self._masks.names_secret(match.string[: match.start()])
        if not is_secret and self._constants.keep(text):
            return text
        return self.mark("id", text) if kind == "id" else "<time>"

    def string(self, text: str) -> str:
        """Return a string as JSON; the mark of one with several lines."""
        shown = self._strings.get(text)
        if shown is None:
            shown = self._strings[text] = self._string(text)
        return shown

    def _string(self, text: str) -> str:
        if text in self.calls:
            return self.mark("call", text)
        if text.startswith("data:") and ";base64," in text[:200]:
            return _data("", "", text)
        if self.outline:
            units = _UNIT.findall(self.clean(text))
            return (
                f'"{"".join(units if len(units) <= MAX_OUTLINE_CHARACTERS else (*units[: MAX_OUTLINE_CHARACTERS - 3], "..."))}"'
            )
        return self.mark("v", text, ["", *self.bars(text)]) if _many_lines(text) else f'"{self.clean(text)}"'

    def atom(self, text: str, apart: str = "") -> str:
        """Return a name as it is; as a string if it would run into its surroundings, or holds the separator `apart`."""
        shown = self._atoms.get((text, apart))
        if shown is None:
            is_plain = _ATOM.fullmatch(text) and not (apart and apart in text)
            shown = self._atoms[text, apart] = self.clean(text, str) if is_plain else f'"{self.clean(text)}"'
        return shown

    def bars(self, text: str) -> list[str]:
        """Return the lines of a text, each behind a bar."""
        if "-----BEGIN" in text or self._masks.has_rules:  # a private key has lines that do not look like one
            text = self._masks.secrets.sub(lambda found: self._masks.replacement(found) if "\n" in found[0] else found[0], text)
        return [
            f"| {self.clean(n, str)}".rstrip() if _PLAIN_LINE.fullmatch(n) else f'"{self.clean(n)}"' for n in text.split("\n")
        ]

    def labelled(self, opening: str, text: str) -> list[str]:
        """Return `text` without quotes, after `opening`."""
        if not text or _many_lines(text):
            return [f"{opening}:", *self.bars(text)] if text else [opening]
        return [f"{opening}: " + (self.clean(text, str) if _PLAIN_LINE.fullmatch(text) and text[0] != '"' else self.string(text))]

    # values

    def flow(self, value: object) -> str:
        """Return `value` on one line."""
        show = _FLOW.get(type(value))
        if show is None:
            return self._other(value)
        if self._depth > MAX_DEPTH:
            return "<nested too deeply>"
        self._depth += 1
        try:
            return show(self, value)
        finally:
            self._depth -= 1

    def _other(self, value: object) -> str:
        if isinstance(value, bytes):
            return _data("", "", value)
        if isinstance(value, PurePath):
            return f"Path({self.string(value.as_posix())})"
        if isinstance(value, datetime | date | time):
            return f"{type(value).__name__}({self.string(value.isoformat())})"
        if isinstance(value, Decimal | timedelta | complex):
            return f"{type(value).__name__}({self.string(str(value))})"
        return f"<{type(value).__name__}>"

    def number(self, value: float) -> str:
        """Return twelve significant digits, and those of the cents of a large amount, up to fifteen in all.

        The last of a float's seventeen digits depend on the order of additions.
        """
        digits = min(15, max(12, math.floor(math.log10(abs(value))) + 4)) if value and math.isfinite(value) else 12
        return repr(float(f"{value:.{digits}g}"))

    def field(self, key: str, value: Any) -> str:
        """Return `value` as it is shown under `key`."""
        if value is None or isinstance(value, bool):
            return json.dumps(value)
        kind = self._key_kinds.get(key) or self._key_kind(key)
        if kind == "secret":
            return mask(_escape(key))
        if kind == "clock" and _is_clock(value):
            return self._constant(key, value) or "<time>"
        if kind == "digest" and isinstance(value, str) and not self.is_secret_text(value):
            return f'"{_escape(value)}"'
        if kind == "id" and isinstance(value, str):
            if _RANDOM.fullmatch(value):
                if value in self._interrupts:
                    return self.mark("interrupt", value)
                return self._constant(key, value) or self.mark("id", value)
            if key == "tool_call_id":
                return self.mark("call", value)
        return self.flow(value)

    def _key_kind(self, key: str) -> KeyKind:
        word = snake(key)
        kinds: tuple[tuple[KeyKind, bool], ...] = (
            ("secret", self._masks.is_secret(key)),
            ("digest", _CONTENT_KEY.search(word) is not None),
            ("clock", _CLOCK_KEY.search(word) is not None),
            ("id", _ID_KEY.search(word) is not None),
        )
        kind = self._key_kinds[key] = next((kind for kind, fits in kinds if fits), "other")
        return kind

    def _constant(self, key: str, value: object) -> str:
        """Return the text of an id or a time that is the same in each run; empty if it is not known to be."""
        # Neither a date nor a number of hexadecimal digits has a character to escape.
        shown = f'"{value}"' if isinstance(value, str) else self.flow(value)
        return shown if self._constants.keep(f"{_escape(key)}: {shown}") else ""

    def mapping(self, value: Mapping[str, object]) -> str:
        marks = self.marks(value)
        return marks[0] if marks else f"{{{', '.join(f'{before}{text}' for before, text, _ in self.entries(value))}}}"

    def entries(self, value: Mapping[str, object]) -> list[tuple[str, str, object]]:
        """Return (text of the key, text of the value, value), sorted by keys; by content if a key is an id."""
        if isinstance(value, JsonObject):  # another order of its keys is another string
            return [(f"{self._key(key)}: ", self.field(key, item), item) for key, item in value.items()]
        items = [(key, (key == "messages" and _conversation(value[key])) or value[key]) for key in sorted(value)]
        entries = [(f"{self._key(key)}: ", self.field(key, item), item) for key, item in items]
        if not any(OPEN in before for before, _, _ in entries):
            return entries
        entries.sort(key=lambda entry: (self.plain(entry[0]), self.plain(entry[1])))
        return [entry for _, same in groupby(entries, key=lambda e: (self.plain(e[0]), e[1])) for entry in self._ties(list(same))]

    def _ties(self, entries: list[tuple[str, str, object]]) -> list[tuple[str, str, object]]:
        """Return entries that differ only in random ids as keys, so that the one with the lower number is written first."""
        if len(entries) == 1:
            return entries
        group = "".join(before for before, _, _ in entries)
        ties = [self.mark("tie", f"{place} {group}") for place in range(len(entries))]
        return [(MARK.sub(tie, before), text, item) for tie, (before, text, item) in zip(ties, entries, strict=True)]

    def _key(self, key: str) -> str:
        return self.mark("call", key) if key in self.calls else f'"{self.clean(key)}"'

    def arguments(self, fields: Mapping[str, object]) -> list[tuple[str, str, object]]:
        """Return the same for the fields in parentheses."""
        names = [(name, name if name.isidentifier() else f'"{self.clean(name)}"') for name in sorted(fields)]
        return [(f"{shown}=", self.field(name, fields[name]), fields[name]) for name, shown in names]

    def call_text(self, name: str, fields: Mapping[str, object]) -> str:
        return f"{self.atom(name) if name else ''}({', '.join(f'{before}{text}' for before, text, _ in self.arguments(fields))})"

    def sequence(self, value: Sequence[object]) -> str:
        return f"[{', '.join(self.marks(value) or map(self.flow, value))}]"

    def structured(self, value: Structured) -> str:
        prompt = _prompt(value)
        return self.call_text(value.type, value.fields) if prompt is value else self.flow(prompt)

    def value(self, value: object) -> list[str]:
        """Return the lines of an input or output: labels for a conversation, one line per entry if it is wide."""
        if type(value) in _SCALARS:
            return [self.flow(value)]
        value = _unwrap(value)
        marks = self.marks(value)
        return [" ".join(marks)] if marks else self.broken(value, self.flow(value))

    def tool_output(self, value: object) -> list[str]:
        """Return the lines of the output of a tool: a string that holds JSON is shown as the value that it holds."""
        return self._json(value) or self.value(value) if isinstance(value, str) else self.value(value)

    def _json(self, text: str) -> list[str]:
        """Return the lines of the JSON that a string holds, after words for the way it is written; none if it stays a string."""
        shown = self._jsons.get(text)
        if shown is None:
            shown = self._jsons[text] = self._json_lines(text)
        return shown

    def _json_lines(self, text: str) -> list[str]:
        found = None if self.outline else read_json_string(text)
        if found is None or (self.is_secret_text(text) and not self._are_secrets_in_values(found)):
            return []
        depth, self._depth = self._depth, 0  # it is no deeper than MAX_DEPTH itself
        try:
            first, *rest = self.broken(found.value, self.flow(found.value))
        finally:
            self._depth = depth
        return [f"{found.words} {first}", *rest]

    def _are_secrets_in_values(self, found: JsonString) -> bool:
        """True if each mask hides a value, or a part of a string. A rule of the project may match a number, or several values."""
        matches = self._masks.secrets.finditer(found.write(self._masks.hide(found.value)))
        return all(match.lastgroup == "pair" and match[0].endswith(f'"{mask(match["key"][1:-1])}"') for match in matches)

    def broken(self, value: object, text: str) -> list[str]:
        """Return the lines of a value whose text on one line is `text`."""
        return self._broken(value, text, MAX_DEPTH)

    def _broken(self, value: object, text: str, depth: int) -> list[str]:
        opening, entries = self._opened(value) if len(text) > MAX_LINE_CHARACTERS and depth else ("", [])
        if not entries:
            return [text]
        shown = [opening]
        for before, one_line, item in entries:
            first, *rest = self._broken(item, one_line, depth - 1)
            shown += [f"  {before}{first}", *(f"  {line}" for line in rest)]
        return [*shown, {"{": "}", "[": "]"}.get(opening, ")")]

    def _opened(self, value: object) -> tuple[str, list[tuple[str, str, object]]]:
        """Return the opening of a container and its entries; no entries if it stays on one line, as a list of numbers does."""
        if isinstance(value, Structured) and _prompt(value) is value:
            return f"{self.atom(value.type)}(", self.arguments(value.fields)
        if isinstance(value, dict | list | tuple) and not self.marks(value):
            if isinstance(value, dict):
                return "{", self.entries(value)
            if not all(isinstance(item, int | float) for item in value):
                return "[", [("", self.flow(item), item) for item in value]
        return "", []

    # messages, calls, documents

    def marks(self, value: object) -> list[str]:
        """Return the marks of a message, document or tool call, or of a list of them; nothing for any other value."""
        if type(value) is Message:
            return [self.message(value)]
        if isinstance(value, JsonObject | JsonArray):
            return []
        items = value if isinstance(value, list | tuple) else [value]
        if items and type(items[0]) in _SCALARS:
            return []
        for read, show in ((_as_message, self.message), (_as_document, self.document), (_as_call, self.request)):
            found = _each(items, read)
            if found:
                return [show(item) for item in found]
        return []

    def request(self, call: ToolCall) -> str:
        """Return a tool call; arguments that are not JSON are a string."""
        args = call.args
        name = self.atom(call.name)
        text = self.call_text(name, args) if isinstance(args, dict) else f"{name}({self.string(args)})"
        return text if call.id is None else self.mark("request", f"{call.id}\n{text}", [self.mark("call", call.id), text])

    def message(self, message: Message) -> str:
        known = self._messages.get(id(message))
        if known is None:
            body = self._body(message)
            prefix = _LABELS.get(message.role, "m")
            mark = self.mark(prefix, "\n".join(body), body, message.text)
            self._messages[id(message)] = message, mark  # one that was read from a pair or a dict lives only here
            if message.id and message.role != "remove":
                self.owners.setdefault(message.id, self.names[int(mark[1:-1])])
            return mark
        return known[1]

    def _body(self, message: Message) -> list[str]:
        opening = "" if message.role in _LABELS else self.atom(message.role)
        if message.role == "tool":
            call = self.mark("call", message.tool_call_id) if message.tool_call_id else ""
            opening = f"{call} -> error".strip() if message.status == "error" else f"{call} ->".strip()
        if message.role == "remove" and message.id:
            return [f"remove {self.mark('id', message.id)}"]
        return self._layout(opening, list(self._parts(message)))

    def _parts(self, message: Message) -> Iterator[list[str]]:
        thought = message.additional_kwargs.get("reasoning_content")
        if isinstance(thought, str) and thought:
            yield [f"think({self.string(thought)})"]
        if isinstance(message.content, str):
            if message.content or not message.tool_calls:
                yield self._said(message.content, message)
        else:
            # Their calls are written once, in one form for all providers.
            blocks = (b for b in message.content if not (message.tool_calls and read_block(b).kind == "call"))
            yield from (self._block(block, message) for block in blocks)
        yield from ([self.request(call)] for call in message.tool_calls)
        if message.name and message.role not in ("ai", "tool"):
            yield [f"name={self.string(message.name)}"]
        if self.full:
            more = ((name, getattr(message, name)) for name in ("additional_kwargs", "artifact", "response_metadata"))
            yield from ([f"{name}={self.flow(value)}"] for name, value in more if value)

    def _layout(self, opening: str, parts: Sequence[list[str]]) -> list[str]:
        """Return parts on one line if they fit, else one line per part under `opening`."""
        text = " ".join(word for word in (opening, "; ".join(part[0] for part in parts)) if word)
        if all(len(part) == 1 for part in parts) and (
            len(parts) < 2 or len(MARK.sub(self._expand_request, text)) <= MAX_LINE_CHARACTERS
        ):
            return [text]
        if len(parts) == 1 and parts[0][-1] in ("}", "]"):  # a container; lines of a text have bars or quotes
            return [f"{opening} {parts[0][0]}".lstrip(), *parts[0][1:]]
        shown = [opening]
        for before, part in zip(([""], *parts), parts, strict=False):
            shown += [";", *part] if len(before) > 1 and len(part) > 1 else part
        return shown

    def _expand_request(self, match: re.Match[str]) -> str:
        """Return a mark at its final width: a tool call has its arguments where it is first met."""
        name = self.names[int(match[1])]
        return match[0] + name.lines[1] if name.prefix == "request" else match[0]

    def text(self, text: str) -> list[str]:
        return self.bars(text) if _many_lines(text) and not self.outline else [self.string(text)]

    def line(self, text: str) -> str:
        """Return a text as JSON, also one with several lines."""
        return f'"{self.clean(text)}"'

    def _said(self, text: str, message: Message) -> list[str]:
        return (message.role == "tool" and self._json(text)) or self.text(text)

    def _block(self, block: Any, message: Message) -> list[str]:
        read = read_block(block)
        if read.kind == "text":
            return self._said(read.text or "", message)
        if read.kind == "reasoning" and read.text is not None:
            return [f"think({self.string(read.text)})"]
        return [(_medium(read.type, block, self.string) if read.type in _MEDIA else None) or self.flow(block)]

    def document(self, document: Document) -> str:
        parts = [self.text(document.page_content), *([[self.flow(document.metadata)]] if document.metadata else [])]
        body = self._layout("", parts)
        return self.mark("d", "\n".join(body), body, document.page_content)


_FLOW: Final[Mapping[type, Callable[[Words, Any], str]]] = {
    str: Words.string,
    int: lambda _, value: show_int(value),
    float: Words.number,
    JsonFloat: lambda _, value: float.__repr__(value),
    UUID: lambda words, value: words.id(str(value)),
    Message: Words.message,
    Document: Words.document,
    ToolCall: Words.request,
    Structured: Words.structured,
    Failure: lambda words, value: f"{words.atom(value.type)}({words.string(value.message)})",
    Opaque: lambda words, value: f"<{words.atom(value.type)}>",
    **dict.fromkeys((bool, type(None)), lambda _, value: json.dumps(value)),
    **dict.fromkeys((dict, FrozenDict, JsonObject), Words.mapping),
    **dict.fromkeys((list, tuple, FrozenList, JsonArray), Words.sequence),
}
