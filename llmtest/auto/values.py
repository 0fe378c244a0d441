"""Generated arguments of tools, structured values and texts, made of Faker's words.

Every value is made from a key, a text such as `"0 book 1"`: the same key gives the same value in any thread, in any order.
The program's own `random` and `Faker` are never touched.

No value reaches the real world: addresses are at `example.org`, IP addresses in documentation ranges, phone numbers in the
reserved range, paths under `/nonexistent`. Dates lie in fixed years, so no value depends on today.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID

from llmtest.auto import schema as schemas
from llmtest.errors import InventError
from llmtest.events.words import FrozenDict
from llmtest.scripts import tool_checks
from llmtest.scripts.step_types import Call

MISSING: Final = "generated values need Faker, which is not installed: pip install 'llmtest-kit[faker]'"


def arguments(tool: str, schema: Mapping[str, object], key: str) -> dict[str, object]:
    """Return arguments for `tool` that pass the check of scripted calls.

    Raises:
        InventError: none were found, or Faker is not installed.

    >>> arguments("book", {"properties": {"seats": {"type": "integer", "minimum": 2, "maximum": 2}}, "required": ["seats"]}, "0")
    {'seats': 2}
    """
    misfit = lambda sample: tool_checks.check_call(Call(tool, FrozenDict(sample)), {tool: schema})  # noqa: E731
    return dict(_sample({"type": "object", **schema}, key, misfit, f"arguments for the tool `{tool}`"))


def value(schema: Mapping[str, object], key: str) -> object:
    """Return a value that fits `schema`.

    Raises:
        InventError: none was found, the schema is no JSON schema, or Faker is not installed.

    >>> value({"enum": ["red"]}, "0")
    'red'
    """
    return _sample(schema, key, None, "a value for the schema")


def _sample(schema: Mapping[str, object], key: str, misfit: Callable[[object], str | None] | None, what: str) -> Any:
    fake = generator()
    last: list[str] = []

    def fits(sample: object) -> bool:
        errors = [f"  {'.'.join(map(str, error.instance_path))}  {error.message}" for error in validator.iter_errors(sample)]
        problem = (misfit and misfit(sample)) or ""
        last[:] = errors[:1] or problem.splitlines()[1:2]
        return not errors and not problem

    try:
        validator = tool_checks.compile_validator(schema)
    except ValueError as error:
        raise InventError(f"{what} could not be invented, because it is no JSON schema: {str(error).splitlines()[0]}") from None
    try:
        return schemas.sample(schema, lambda place: Words(fake, f"{key}/{place}"), fits)
    except schemas.Impossible as error:
        tried = f"\n  the last that was tried  {last[0].strip()}" if last else ""
        raise InventError(f"{what} could not be invented\n  {error}{tried}") from None


def sentences(key: str, tokens: int | None = None) -> str:
    """Return one to three sentences, or exactly `tokens` tokens as `llmtest.scripts.step_types.split` counts them.

    Raises:
        InventError: Faker is not installed.

    >>> from llmtest.scripts.step_types import split
    >>> len(split(sentences("0", tokens=20)))
    20
    """
    words = Words(generator(), f"{key}/text")
    left = tokens if tokens is not None else words.random.randint(6, 24)
    found: list[str] = []
    while left > 0:
        size = left - 1 if left <= 12 else words.random.randint(4, 10)
        said = [words.word() for _ in range(size)]
        found.append(f"{' '.join(said).capitalize()}." if said else "." if found else words.word().capitalize())
        left -= size + 1
    return " ".join(found).replace(" .", ".")


_local = threading.local()


def generator() -> object:
    """Return this thread's private generator of Faker."""
    if not hasattr(_local, "fake"):
        try:
            from faker.factory import Factory
        except ImportError:
            raise InventError(MISSING) from None
        _local.fake = Factory.create("en_US", use_weighting=False)
    return _local.fake


# -- words, by the name of a field


class Words:
    """Words for the values of one place; the same for the same `key`."""

    def __init__(self, fake: Any, key: str) -> None:
        self.random = Random(key)
        self._fake = fake

    def fake(self, method: str) -> str:
        """Return the result of a Faker method, on one line."""
        self._fake.random = self.random
        return str(getattr(self._fake, method)()).replace("\n", ", ")

    def word(self) -> str:
        """Return one word that is one token."""
        return re.sub(r"\W", "", self.fake("word").lower())

    def words(self, least: int, most: int) -> str:
        return " ".join(self.word() for _ in range(self.random.randint(least, most)))

    def sentence(self) -> str:
        return f"{self.words(4, 9).capitalize()}."

    def text(self, name: str) -> str:
        """Return a text for a field of this name: an e-mail address for `user_email`, a city for `destinationCity`."""
        say = next((_TEXTS[part] for part in _parts(name) if part in _TEXTS), "words")
        return say(self) if callable(say) else self.words(1, 3) if say == "words" else self.fake(say)

    def format(self, name: str) -> str | None:
        """Return a text in a format of JSON schema; None if the format is unknown."""
        say = _FORMATS.get(name)
        return None if say is None else say(self)

    def span(self, name: str) -> tuple[int, int]:
        """Return the usual bounds of a number for a field of this name."""
        return next((_SPANS[part] for part in _parts(name) if part in _SPANS), (0, 100))

    def moment(self) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=self.random.randrange(10 * 365 * 24 * 3600))

    def host(self) -> str:
        return f"{self.word()}.example.org"

    def email(self) -> str:
        return f"{self.word()}.{self.word()}{self.random.randint(1, 99)}@example.org"

    def path(self) -> str:
        return f"/nonexistent/{self.word()}/{self.word()}.txt"

    def code(self) -> str:
        letters = "".join(self.random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(3))
        return f"{letters}-{self.random.randint(1000, 9999)}"

    def phone(self) -> str:
        return f"+1-202-555-01{self.random.randint(0, 99):02}"

    def iso(self, shape: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
        return self.moment().strftime(shape)

    def uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))


def _parts(name: str) -> Iterator[str]:
    """Yield a field's name, and the word sequences in it: the longest first, later ones before earlier ones, singular too."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())
    for size in range(len(words), 0, -1):
        for start in range(len(words) - size, -1, -1):
            part = "_".join(words[start : start + size])
            if part == "name" and len(words) > 1:  # of what, the other words say
                continue
            yield part
            yield from (
                part.removesuffix(end) + last for end, last in (("ies", "y"), ("es", ""), ("s", "")) if part.endswith(end)
            )


_Say = Callable[[Words], str]


def _named(say: _Say | str, *names: str) -> dict[str, _Say | str]:
    return dict.fromkeys(names, say)


_TEXTS: Final[dict[str, _Say | str]] = {
    **_named(Words.email, "email", "email_address", "mail", "recipient", "sender", "to", "cc", "bcc"),
    **_named("first_name", "first_name", "firstname", "given_name", "forename"),
    **_named("last_name", "last_name", "lastname", "surname", "family_name"),
    **_named("name", "name", "full_name", "person", "author", "customer", "contact", "passenger", "guest", "patient"),
    **_named("user_name", "username", "user_name", "user", "login", "handle", "nickname"),
    **_named("city", "city", "town", "location", "place", "destination", "origin", "departure", "arrival"),
    **_named("country", "country", "nation"),
    **_named("country_code", "country_code"),
    **_named("state", "state", "province", "region"),
    **_named("street_address", "street", "street_address", "address_line"),
    **_named(lambda words: f"{words.fake('street_address')}, {words.fake('city')}", "address"),
    **_named("postcode", "postcode", "postal_code", "zip", "zipcode", "zip_code"),
    **_named(Words.phone, "phone", "phone_number", "mobile", "telephone", "tel", "fax"),
    **_named("company", "company", "company_name", "employer", "organization", "organisation", "vendor", "supplier", "brand"),
    **_named("job", "job", "job_title", "profession", "occupation", "role", "position"),
    **_named(
        lambda words: words.iso("%Y-%m-%d"), "date", "day", "birthday", "birthdate", "dob", "deadline", "due", "since", "until"
    ),
    **_named(lambda words: words.iso("%H:%M"), "time", "hour"),
    **_named(Words.iso, "datetime", "date_time", "timestamp", "created_at", "updated_at"),
    **_named(lambda words: words.iso("%Y"), "year"),
    **_named(lambda words: words.iso("%B"), "month"),
    **_named(lambda words: words.iso("%A"), "weekday", "day_of_week"),
    **_named(lambda words: f"https://example.org/{words.word()}", "url", "uri", "link", "website", "homepage", "webpage"),
    **_named(Words.host, "domain", "hostname", "host"),
    **_named(lambda words: f"192.0.2.{words.random.randint(1, 254)}", "ip", "ip_address", "ipv4"),
    **_named(Words.path, "path", "file", "filepath", "file_path"),
    **_named(lambda words: f"{words.word()}.txt", "filename", "file_name"),
    **_named(Words.code, "id", "identifier", "code", "sku", "reference", "order", "ticket", "number", "key", "token"),
    **_named(Words.uuid, "uuid", "guid"),
    **_named("currency_code", "currency", "currency_code"),
    **_named("color_name", "color", "colour"),
    **_named("language_name", "language"),
    **_named("locale", "locale"),
    **_named("timezone", "timezone", "time_zone", "tz"),
    **_named("iban", "iban"),
    **_named("isbn13", "isbn"),
    **_named(lambda words: words.words(2, 4), "query", "q", "search", "topic", "keyword", "term", "title", "subject"),
    **_named(lambda words: f"{words.words(4, 8).capitalize()}?", "question", "prompt", "input"),
    **_named(
        Words.sentence,
        *("text", "content", "message", "body", "description", "summary", "comment", "note", "reason", "answer", "sentence"),
        *("reply", "response", "explanation", "justification", "feedback", "review", "instructions", "request", "task"),
    ),
    **_named(lambda words: words.word(), "tag", "label", "category", "word", "type", "kind"),
}

_FORMATS: Final[dict[str, _Say]] = {
    "date": lambda words: words.iso("%Y-%m-%d"),
    "time": lambda words: words.iso("%H:%M:%SZ"),
    "date-time": Words.iso,
    "duration": lambda words: f"P{words.random.randint(1, 9)}DT{words.random.randint(1, 23)}H",
    **dict.fromkeys(("email", "idn-email"), Words.email),
    "name-email": lambda words: f"{words.word().capitalize()} <{words.email()}>",
    **dict.fromkeys(("hostname", "idn-hostname"), Words.host),
    **dict.fromkeys(("ipv4", "ipvanyaddress"), lambda words: f"192.0.2.{words.random.randint(1, 254)}"),
    **dict.fromkeys(("ipv4network", "ipvanynetwork"), lambda words: "192.0.2.0/24"),
    **dict.fromkeys(("ipv4interface", "ipvanyinterface"), lambda words: f"192.0.2.{words.random.randint(1, 254)}/24"),
    "ipv6": lambda words: f"2001:db8::{words.random.randint(1, 65535):x}",
    "ipv6network": lambda words: "2001:db8::/32",
    "ipv6interface": lambda words: f"2001:db8::{words.random.randint(1, 65535):x}/32",
    **dict.fromkeys(("uri", "iri", "multi-host-uri"), lambda words: f"https://example.org/{words.word()}"),
    **dict.fromkeys(("uri-reference", "iri-reference"), lambda words: f"/{words.word()}"),
    "uri-template": lambda words: f"/{words.word()}/{{id}}",
    "uuid": Words.uuid,
    **dict.fromkeys((f"uuid{version}" for version in (1, 3, 4, 5, 6, 7, 8)), lambda words: words.uuid()),
    "json-pointer": lambda words: f"/{words.word()}",
    "relative-json-pointer": lambda words: f"0/{words.word()}",
    "regex": lambda words: f"^{words.word()}$",
    "json-string": lambda words: f'{{"{words.word()}": {words.random.randint(0, 99)}}}',
    **dict.fromkeys(("path", "file-path"), Words.path),
    "directory-path": lambda words: f"/nonexistent/{words.word()}",
    "color": lambda words: f"#{words.random.getrandbits(24):06x}",
    "base64url": lambda words: "".join(words.random.choice("ABCDEFGHabcdefgh01234567") for _ in range(8)),
    "byte": lambda words: "".join(words.random.choice("ABCDEFGHabcdefgh01234567") for _ in range(8)),
    "time-delta": lambda words: f"PT{words.random.randint(1, 59)}M",
}

_SPANS: Final[dict[str, tuple[int, int]]] = {
    "age": (18, 90),
    "year": (2020, 2029),
    "month": (1, 12),
    "day": (1, 28),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
    "latitude": (-90, 90),
    "lat": (-90, 90),
    "longitude": (-180, 180),
    "lon": (-180, 180),
    "lng": (-180, 180),
    "rating": (1, 5),
    "stars": (1, 5),
    "temperature": (-10, 35),
    "price": (1, 500),
    "amount": (1, 500),
    "cost": (1, 500),
    "id": (1, 9999),
    "number": (1, 9999),
    **dict.fromkeys(("probability", "confidence", "ratio", "fraction"), (0, 1)),
    **dict.fromkeys(("quantity", "count", "limit", "k", "n", "top_k", "page", "seats", "adults", "people", "guests"), (1, 9)),
}
