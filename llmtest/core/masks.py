"""The one table of masks, for trees, stores, explanations and violations.

Ids, times, addresses and temporary paths differ from run to run; keys and tokens are secrets. The ini key
`llmtest_masks` adds to the table, for the length of a session. A mask shows nothing of the hidden text, not even its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from llmtest.core.text import CONTROLS, clip, escape_controls, quote, short
from llmtest.errors import MaskError

DATE_TIME: Final = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"
_UUID = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_HEX_UUID = "[0-9a-f]{12}[47][0-9a-f]{3}[89ab][0-9a-f]{15}"  # uuid4().hex, uuid7().hex; 3 of 100 digests look like one
_OWN_ID = r"(?:msg|call|chatcmpl|resp|rs|fc|signature)_[0-9a-f]{8}_\d+"  # of our doubles; the digits are those of a test's name
_CUT_ID = (
    r"(?<![\w.-])[0-9a-f]{8}-[0-9a-f-]{0,27}(?=\.\.\.)"
    r"|(?<=\.\.\.)(?:[0-9a-f]{0,8}-)?(?:[0-9a-f]{0,4}-){0,3}[0-9a-f]{12}(?![\w-])"
    r"|(?<=id': ')[0-9a-f]{1,8}(?=\.\.\.)|(?<=\.\.\.)[0-9a-f]{1,11}(?='[\])}]*, input_type=)"
)
_SECRETS = (
    r"(?:api|secret|private|signing|encryption|session|auth|ssh|account|subscription|license)[_-]?keys?"
    r"|access[_-]?keys?(?:[_-]?id)?|secrets?|passwords?|passwd|passphrases?|token|(?:access|refresh|api|auth|bearer)[_-]?tokens"
    r"|jwts?|credentials?|connection[_-]?string"
)
_SECRETS_BY_KEY = "pwd|auth|authorization|cookies?|bearer"  # a part of many words, such as "author" and "oauth"
# What follows `sk-` is a key if a part of it is no word: "sk-old-town-hotel" is prose.
_SK = r"sk-(?=[\w-]{16})(?:[\w-]{40,}|[\w-]*?(?:(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{10,}|[A-Za-z0-9]{16,})[\w-]*)"
_VALUES = (
    rf"\b(?:{_SK}|gh[pousr]_\w{{20,}}|github_pat_\w{{20,}}|glpat-[\w-]{{20,}}|xox[abprs]-[\w-]{{10,}}|A(?:K|S)IA[0-9A-Z]{{16}}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}|gsk_\w{20,}|hf_\w{20,}|r8_\w{20,}|xai-\w{20,}|pplx-\w{20,}|tvly-[\w-]{20,}"
    r"|lsv2_[a-z]{2}_\w{20,}|[sr]k_(?:live|test)_\w{10,}|npm_\w{30,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|(?<=://)[^\s/:@\"']+:[^\s/@\"']+(?=@)|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
# A header or a variable and its value, in prose or in a command. Prose has such names too ("api-key: see below"), so the value
# must look like one: with a digit, or behind the scheme of an `Authorization`; cookies have names of their own. What comes first
# is a quick look: most words end in no colon.
_HEADER_NAME = (
    r"(?i:(?:x-(?:[a-z0-9]+-){0,3})?(?:api[-_]?key|(?:api|auth|access|session|refresh)[-_]?token|client[-_]?secret|secret[-_]?key)"
    r"|password|passwd|passphrase)|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+){0,4}_(?:KEY|TOKEN|SECRET|PASSWORD)"
)
_HEADER = (
    rf"(?=[A-Zaxcsrp])(?<![\w-])(?=[\w-]+[ \t]*[:=])(?:(?P<named>{_HEADER_NAME})(?P<sets>[ \t]*[:=][ \t]*[\"']?)"
    r"(?=[^\s\"',;]*\d)[\w.~+/=@!#$%^&*-]{8,}(?![\w(\[])"
    r"|(?P<scheme>(?i:(?:proxy-)?authorization))(?P<says>[ \t]*[:=][ \t]*[\"']?)"
    r"(?:(?i:basic|bearer|token|digest|apikey|negotiate)[ \t]+[\w.~+/=-]{4,}|(?=[^\s\"',;]*\d)[\w.~+/=-]{8,})"
    r"|(?P<jar>(?i:(?:set-)?cookie))(?P<has>[ \t]*:[ \t]*)[\w.-]+=[^\s;\"']+(?:;[ \t]*[\w.-]+(?:=[^\s;\"']*)?)*)"
    # The same in the query of an address, and behind an option of a command.
    r"|(?<=[?&-])(?:(?<!-)(?P<asked>(?i:(?:x-amz-|x-goog-)?(?:signature|security-token|credential)|sig|(?:[a-z]+[-_]){0,3}(?:token|secret)"
    r"|pwd|password))(?P<is>=)(?=[^\s\"'&#<>\\]*\d)[^\s\"'&#<>\\]{8,}"
    r"|(?<=--)(?P<option>(?:[a-z]+-){0,2}(?:password|token|api-key|client-secret|secret-key))(?P<takes>[ \t]+|=)"
    r"(?=[^\s\"',;\\]*\d)[^\s\"',;\\<$\{-][^\s\"',;\\]{7,})"
)
# The base64 of a user and a password: upper and lower case change in it, other than in words.
_BASIC = r"(?<=[Bb]asic )(?=[\w+/]*(?:[a-z][A-Z][\w+/]*(?:[a-z][A-Z]|\d)|\d[\w+/]*[a-z][A-Z]|[\w+/]*=))[\w+/]{8,}={0,2}"
_HINTS: Final = (
    *("key", "secret", "pass", "pwd", "token", "jwt", "credential", "auth", "cookie", "bearer", "basic ", "sig", "sk-", "gh"),
    *("xox", "akia", "asia", "aiza", "lpat-", "hub_pat_", "ya29.", "gsk_", "hf_", "r8_", "xai-", "pplx-", "tvly-", "lsv2_"),
    *("_live_", "_test_", "npm_", "eyj", "://", "connection"),
)
"""A lower-case text of JSON without any of these holds no secret: a quick look."""
_CLOSER_HINTS: Final = {
    "pass": ("passw", "passphrase"),
    "token": ('token"', "token'", "token\\", "token:", "token=", "token "),
    "sig": ("signature", "sig="),
    "gh": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    "lpat-": ("glpat-",),
}
"""What must be there too, where a hint is a part of many words."""
_NAME_AT_END: Final = re.compile(r"([\w-]+)(?:[\"'\\]*\s*[:=]\s*[\"'\\]*|\s+)$")
_RULE: Final = re.compile(r"(?P<name>[\w-]+)\s*(?:=\s*(?P<pattern>.+))?")


@dataclass(frozen=True, slots=True)
class Rule:
    """A mask of a project: for the matches of `pattern` in any text, or, without one, for values under the key `name`."""

    name: str
    pattern: str | None = None


class Table:
    """The rules of masking.

    `volatile` finds masked parts of texts, by groups: `id`, `own` (an id of our doubles), `part` (of an id), `time`, `addr`,
    `path`, `secret`, `pair` (a key and its value in a text of JSON; `deep`, where that is in another text of JSON), `header`
    (one in prose), and the project's own.
    `replacement` is the text in place of a group. `folder` is pytest's `--basetemp`, if it has one.
    """

    def __init__(self, rules: Sequence[Rule] = (), folder: str = "") -> None:
        keys = "".join(f"|{re.escape(rule.name.lower())}" for rule in rules if rule.pattern is None)
        own = [rule for rule in rules if rule.pattern is not None]
        self._called = {f"rule_{number}": mask(rule.name) for number, rule in enumerate(own)}
        patterns = "".join(f"(?P<rule_{number}>{rule.pattern})|" for number, rule in enumerate(own))
        secrets = f"{_SECRETS}{keys}"
        names = rf"[\w-]*(?:{secrets})|(?:[\w-]*[_-])?(?:{_SECRETS_BY_KEY})"
        self._secret_key = re.compile(rf"(?:^|_)(?:{secrets}|{_SECRETS_BY_KEY})$")
        secret = (
            rf"(?P<header>{_HEADER})|(?P<secret>{_VALUES}|(?<=[Bb]earer )[\w.~+/=-]{{8,}}|{_BASIC})"
            # A text that was cut off may end within the value.
            rf"|(?P<pair>(?i:(?P<key>\"(?:{names})\"|'(?:{names})')\s*:\s*"
            r"(?:\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'[^']*(?:'|\Z)|-?\d[\w.+-]*)))"
            # In a text of JSON within a text of JSON, quotes have backslashes: those of a pair have equally many.
            rf"|(?P<deep>(?i:(?P<name>(?P<quote>(?<!\\)\\+\")(?:{names})(?P=quote))\s*:\s*"
            r"(?:(?P=quote)(?:(?!(?<!\\)(?P=quote)).)*(?:(?P=quote)|\Z)|-?\d[\w.+-]*)))"
        )
        self.volatile: Final = re.compile(
            rf"{patterns}(?P<id>(?<![0-9a-zA-Z])(?:(?:lc_)?run-{{1,2}})?(?:{_UUID}(?:-\d+)?|{_HEX_UUID})(?![0-9a-zA-Z]))"
            rf"|(?P<own>(?<![0-9a-zA-Z]){_OWN_ID}(?![0-9a-zA-Z_]))"
            # LangChain's name for a schema without one; pydantic's errors cut the middle out of a repr.
            rf"|(?P<part>(?<=\bresponse_format_)[0-9a-f]{{4}}\b|{_CUT_ID})"
            rf"|(?P<time>(?<!\d){DATE_TIME}:\d\d[.,]\d+(?:Z|[+-]\d\d:?\d\d)?|(?<=elapsed: )\d+\.\d+(?=s\b))"
            r"|(?P<addr>(?<= at )0x[0-9a-fA-F]{6,16}\b)"
            rf"|(?P<path>{_temporary(folder)})"
            rf"|{secret}"
        )
        self._folders = re.compile(_temporary(folder))
        self.secrets: Final = re.compile(f"{patterns}{secret}")
        self.has_rules: Final = bool(rules)
        self.folder: Final = folder

    def is_secret(self, key: str) -> bool:
        """True if values under `key` are never shown."""
        return self._secret_key.search(snake(key)) is not None

    def hides(self, key: str, value: object) -> bool:
        """True if `value` must not be shown under `key`. None and bools are no secrets."""
        return value is not None and not isinstance(value, bool) and self.is_secret(key)

    def names_secret(self, text: str) -> bool:
        """True if `text` ends in a name whose value is a secret: `Bearer `, `token=`, `"password": "`."""
        name = _NAME_AT_END.search(text[-100:])
        return name is not None and self.is_secret(name[1])

    def may_hold_secrets(self, json_text: str) -> bool:
        """False if a text of JSON certainly holds no secret; a quick look."""
        text = json_text.lower()
        found = [hint for hint, is_there in zip(_HINTS, map(text.__contains__, _HINTS), strict=True) if is_there]
        return self.has_rules or any(True in map(text.__contains__, _CLOSER_HINTS.get(hint, (hint,))) for hint in found)

    def hide(self, value: object) -> Any:
        """Return `value` with masks in place of its secrets; `value` itself if it has none."""
        if isinstance(value, str):
            return self.without_secrets(value)
        if isinstance(value, Mapping):
            hidden = {key: mask(key) if self.hides(str(key), item) else self.hide(item) for key, item in value.items()}
            return value if all(hidden[key] is item for key, item in value.items()) else hidden
        if isinstance(value, list | tuple):
            items = [self.hide(item) for item in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value

    def hide_leaves(self, value: object, key: str = "") -> Any:
        """Return `value` as a cassette has it: of the same shape, with masks in the texts, numbers and names in it."""
        if isinstance(value, Mapping):
            own = key if self.is_secret(key) else None
            return {self.without_secrets(str(name)): self.hide_leaves(item, own or str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_leaves(item, key) for item in value]
        if self.hides(key, value):
            return mask(key)
        return self.without_secrets(value) if isinstance(value, str) else value

    def without_secrets(self, text: str) -> str:
        """Return `text` with a mask in place of each secret and each match of a project's rule. Idempotent."""
        return self.secrets.sub(self.replacement, text) if self.secrets.search(text) else text

    def without_folders(self, text: str) -> str:
        """Return `text` with `<path>` in place of temporary folders, which differ from machine to machine."""
        return self._folders.sub("<path>", text) if "/" in text or "\\" in text else text

    def replacement(self, match: re.Match[str]) -> str:
        """Return the text in place of a match of `secrets`."""
        group = str(match.lastgroup)
        if group == "header":
            name, sign = header_of(match)
            return f"{name}{sign}{mask(name.lower())}"
        if group not in ("pair", "deep"):
            return self.called(group)
        name, key, quote = pair_of(match)
        return f"{name}: {quote}{mask(key)}{quote}"

    def called(self, group: str) -> str:
        """Return the text in place of a match of `volatile`."""
        return self._called.get(group) or (mask("secret") if group == "secret" else f"<{group}>")


class Unchecked:
    """Texts that are looked at together: a quick look at each of many short texts takes longer than to write them."""

    def __init__(self) -> None:
        self._table = table()
        self._texts: list[str] = []
        self._size = 0
        self._is_risky = False

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._size += len(text)
        if self._size > 1 << 18:
            self.may_hold_secrets()

    def may_hold_secrets(self) -> bool:
        """False if none of the texts so far holds a secret, for certain."""
        self._is_risky = self._is_risky or self._table.may_hold_secrets("\n".join(self._texts))
        self._texts, self._size = [], 0
        return self._is_risky


def pair_of(match: re.Match[str]) -> tuple[str, str, str]:
    """Return the name of a pair in a text of JSON as it stands there, the name itself, and its quote."""
    if match["name"] is None:
        return match["key"], match["key"][1:-1], match["key"][0]
    quote = match["quote"]
    return match["name"], match["name"][len(quote) : -len(quote)], quote


def header_of(match: re.Match[str]) -> tuple[str, str]:
    """Return the name of a header or variable whose value is a secret, and what stands between them."""
    return next((match[name], match[sign]) for name, sign in _NAMES_AND_SIGNS if match[name] is not None)


_NAMES_AND_SIGNS: Final = (("named", "sets"), ("scheme", "says"), ("jar", "has"), ("asked", "is"), ("option", "takes"))


def _temporary(folder: str) -> str:
    """Return the pattern of temporary folders: pytest's, with the folder of a test, and those of `tempfile`.

    pytest numbers the folder of a test, and a worker of xdist has its own above it.
    """
    roots = r"(?:[A-Za-z]:)?(?:[/\\][\w.~+-]+){1,8}?[/\\]pytest-of-[\w.-]+[/\\]pytest-\d+"
    if folder:
        roots = rf"(?:{roots}|{re.escape(folder)})"
    ours = rf"{roots}(?:[/\\]popen-gw\d+)?(?:[/\\][\w.~+-]*?\d+(?![\w.~+-]))?"
    return rf"{ours}|(?<![\w.~+-])(?:[A-Za-z]:)?(?:[/\\][\w.~+-]+){{1,6}}?[/\\]tmp[a-z0-9_]{{8}}(?![\w.~+-])"


_tables: list[Table] = []


@lru_cache(maxsize=1)
def _default() -> Table:
    return Table()


def mask(name: str) -> str:
    """Return the text in place of a secret with the name or under the key `name`."""
    return f"<mask:{name}>"


@lru_cache(maxsize=4096)
def snake(key: str) -> str:
    """Return a key in snake case: `apiKey` and `api-key` are `api_key`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower().replace("-", "_")


def table() -> Table:
    """Return the current table."""
    return _tables[-1] if _tables else _default()


def show(value: object, key: str = "") -> str:
    """Return the repr of a value of the program under test, cut; secrets in it, or all of it if `key` names one, are masked.

    Secrets are masked before the text is cut: half a secret cannot be recognised.
    """
    if table().hides(key, value):
        return mask(key)
    if isinstance(value, str | Mapping | list | tuple):
        return short(table().hide(value))
    whole = repr(value)
    hidden = table().without_secrets(whole)
    return short(value) if hidden == whole else clip(hidden, 60)


def show_text(text: str, max_characters: int = 80) -> str:
    """Return the repr of a text of the program under test, cut as `quote` does; secrets in it are masked before."""
    return quote(table().without_secrets(text), max_characters)


def publish(text: str) -> str:
    """Return a message as it may go to a terminal, a log or a JUnit file: secrets masked, control characters as escapes."""
    hidden = table().without_secrets(text)
    return escape_controls(hidden) if CONTROLS.search(hidden) else hidden


def rule(line: str) -> Rule:
    """Return the rule of one line: `NAME = REGULAR EXPRESSION`, or the name of a key.

    >>> rule(r"order = ORD-[0-9]+")
    Rule(name='order', pattern='ORD-[0-9]+')
    >>> rule("internal_pin")
    Rule(name='internal_pin', pattern=None)

    Raises:
        MaskError: it is neither, or the regular expression is none, or finds the empty text.
    """
    found = _RULE.fullmatch(line.strip())
    expected = "expected `NAME = REGULAR EXPRESSION` or the name of a key"
    if found is None:
        raise MaskError(f"{expected}; got {line!r}")
    try:
        empty = found["pattern"] is not None and re.compile(found["pattern"]).search("") is not None
    except re.error as error:
        raise MaskError(f"{expected}; got {line!r}: {error}") from None
    if empty:
        raise MaskError(f"{line!r} would mask the empty text, so everywhere")
    return Rule(found["name"], found["pattern"])


@contextmanager
def use_rules(lines: Sequence[str], folder: str = "") -> Iterator[None]:
    """Use the default table plus the rules of `lines` in the block, in the whole process; rules of an outer block pause.

    `folder` is a folder of temporary files, such as pytest's `--basetemp`.

    Raises:
        MaskError: a line is no rule.
    """
    added = Table([rule(line) for line in lines], folder)
    _tables.append(added)
    try:
        yield
    finally:
        _tables.remove(added)
