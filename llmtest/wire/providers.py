"""A mapping of models to scripts, and the blocks in which mappings hold.

The script is chosen when a model is **called**, not when it is built: each test scripts a model anew that the program has
built at import.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol, Self, runtime_checkable
from weakref import WeakKeyDictionary

from llmtest import ledger
from llmtest.core.source import at, shown_path
from llmtest.core.text import did_you_mean, names
from llmtest.errors import LEFT_OPEN, USE_WITH, ScriptError, Violation, ViolationError
from llmtest.ledger import Ledger
from llmtest.scripts.files import read_file
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Return
from llmtest.wire import clients
from llmtest.wire.hosts import PROVIDERS, with_provider
from llmtest.wire.recorded_vectors import RecordedEmbeddings


@runtime_checkable
class Embeddings(Protocol):
    """What answers a request for embeddings, such as `ScriptedEmbeddings`."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...


Answerer = Script | Embeddings


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a mapping: its key as written, and the function that returns what answers.

    `can_answer` is asked for each call before, with the function that finds where it comes from: a call that the entry cannot
    answer goes out to the real model. Without it, the entry answers all calls.
    """

    key: str
    answerer: Callable[[], Answerer | None]
    can_answer: Callable[[object, Callable[[], Any]], bool] | None = None


class Providers:
    """A mapping of model strings to scripts, and the block in which it holds. Made by `scripted_providers`.

    A call maps more models. Holds state; thread-safe.
    """

    def __init__(self, mapping: Mapping[str, object] | str | os.PathLike[str]) -> None:
        self.asked: list[str] = []
        self.remedy = ""
        """What to do for a model that is not mapped, if it is not to map it."""
        self.violations: list[Violation] = []
        self._entries: dict[str, Entry] = {}
        self._answerers: list[Answerer] = []
        self(mapping)

    def __call__(self, mapping: Mapping[str, object] | str | os.PathLike[str]) -> Self:
        """Map more models: a mapping of their names to scripts, or the path of a script file with the steps of each.

        Raises:
            ScriptError: a script is written wrongly, or a model is mapped already.
        """
        if isinstance(mapping, os.PathLike) or (isinstance(mapping, str) and mapping.endswith(_ENDINGS)):
            return self._map_file(Path(mapping))
        if not isinstance(mapping, Mapping):
            raise ScriptError(
                "scripted_providers() takes a mapping of model strings to scripts, or the path of a script file that names its"
                f" models; got {type(mapping).__name__} {mapping!r}"
            )
        answerers = {key: _answerer(key, value) for key, value in mapping.items()}
        self.map({key: partial(_same, answerer) for key, answerer in answerers.items()})
        self._answerers += answerers.values()
        return self

    def _map_file(self, path: Path) -> Self:
        found = models_in(path)
        if found is None:
            raise ScriptError(
                f"{shown_path(f'{path}:1')}: the file does not name its models: it has `steps`, and no `models`\n"
                f"  say which model they are of: scripted_providers({{'openai:gpt-5': {str(path)!r}}})"
            )
        try:
            self(found)
        except ScriptError as error:
            raise ScriptError(f"{shown_path(f'{path}:1')}: {error}") from None
        return self

    def map(
        self,
        answerers: Mapping[str, Callable[[], Answerer | None]],
        can_answer: Callable[[str], Callable[[object, Callable[[], Any]], bool]] | None = None,
    ) -> None:
        """Map models to functions that return what answers, or None for a model that may be built and not called.

        `can_answer` returns the question of an entry, by its key.

        Raises:
            ScriptError: a model is mapped already.
        """
        entries = dict(self._entries)
        for key, answerer in answerers.items():
            model = with_provider(key)
            if model in entries:
                before = entries[model].key
                raise ScriptError(
                    f"the model `{model}` is mapped twice" + (f": as `{before}` and as `{key}`" if before != key else "")
                )
            entries[model] = Entry(key, answerer, can_answer(key) if can_answer is not None else None)
        self._entries = entries
        _set_keys()

    def __enter__(self) -> Self:
        _open.append(self)
        try:
            clients.watch()
        except BaseException:
            _open.remove(self)
            raise
        _set_keys()
        ledger.keep_block(self)
        return self

    def __exit__(self, *_: object) -> None:
        ledger.drop_block(self)
        _open.remove(self)
        clients.unwatch()
        _set_keys()

    def end_of_test(self) -> list[Violation]:
        """Leave the block if the test that entered it has not. It would script the models of the tests that follow."""
        self.__exit__()
        return [Violation(LEFT_OPEN, f"a scripted_providers() block was left open by the test\n  {USE_WITH}")]

    def verify(self) -> None:
        """Raise `ViolationError` for every violation so far and every unused step; the plugin does it for you."""
        if found := self.found():
            raise ViolationError(*found)

    def found(self) -> list[Violation]:
        """Return every violation so far, of the mapping and of what answers, and the unused steps."""
        of_answerers = (a.found() if isinstance(a, Script) else getattr(a, "violations", ()) for a in self.answerers)
        return [*self.violations, *chain.from_iterable(of_answerers)]

    def take(self) -> list[Violation]:
        """Return the violations since the last `take`."""
        found, self.violations = self.violations, []
        return found

    def fits(self, model: str) -> list[Entry]:
        """Return the entries that fit `model`: an exact one alone, else all with `*`.

        A key that does not tell its provider, such as `llama3.2`, is the model of this name at any.
        """
        exact = self._entries.get(model) or self._entries.get(model.partition(":")[2])
        return [exact] if exact else [entry for key, entry in self._entries.items() if fnmatchcase(model, key)]

    @property
    def models(self) -> list[str]:
        """The mapped models, as `provider:model`."""
        return list(self._entries)

    @property
    def answerers(self) -> list[Answerer]:
        """What answers, each once."""
        return list({id(answerer): answerer for answerer in self._answerers}.values())

    @property
    def keys(self) -> list[str]:
        """The keys of the mapping, as written."""
        return [entry.key for entry in self._entries.values()]


KEY: Final = "llmtest"
"""The key that SDKs find in the environment while their provider is mapped."""


def from_ini(lines: Iterable[str], folder: Path) -> Providers:
    """Return the mapping of the ini key `llmtest_providers`, one entry a line: `openai:gpt-* = greeting.yaml`.

    Paths are relative to `folder`. Each test that calls such a model starts at the first step of its script. A line without
    `=` permits that the model is built; a test that calls it has to map it.

    Raises:
        ScriptError: with the line.
    """
    providers = Providers({})
    for line in lines:
        key, equals, path = (part.strip() for part in line.partition("="))
        try:
            if not key or (equals and not path):
                raise ScriptError("expected `model = path of a script file`, or a model alone")
            providers.map({key: _ScriptForEach(folder / path) if equals else _no_script})
        except ScriptError as error:
            raise ScriptError(f"the ini key llmtest_providers, line `{line}`: {error}") from None
    return providers


# -- what answers


def _same(answerer: Answerer) -> Answerer:
    return answerer


def _no_script() -> None:
    """Return no script: the program may build the model, and a test that calls it has to map it."""


class _ScriptForEach:
    """A script file that starts anew for each page of the ledger, so for each attempt at a test. Holds state."""

    def __init__(self, path: Path) -> None:
        with ledger.opened(ledger.Outside()):  # the ini key belongs to no test, not even to one that runs pytest inside
            self._steps = _for_model(_load(path)).entries
        self._scripts: WeakKeyDictionary[Ledger, Script] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __call__(self) -> Script:
        page = ledger.current()
        with self._lock:  # a new script is on the ledger at once: a second one would be reported as unused
            if page not in self._scripts:
                self._scripts[page] = Script(*self._steps)
            return self._scripts[page]


def _answerer(key: object, value: object) -> Answerer:
    if not isinstance(key, str) or not key:
        raise ScriptError(f"a model is mapped by its name, such as 'openai:gpt-5'; got {type(key).__name__} {key!r}")
    if isinstance(value, Embeddings):
        return value
    try:
        return _for_model(_as_script(value))
    except ScriptError as error:
        raise ScriptError(f"the script of the model `{key}`: {error}") from None


def _as_script(value: object) -> Script:
    if isinstance(value, Script):
        return value
    if isinstance(value, os.PathLike):
        return _load(Path(value))
    if isinstance(value, str) and value.endswith(_ENDINGS):
        return _load(Path(value), f"\n  a str that ends in .yaml is a path; for a model that says it: say({value!r})")
    return Script(*value) if isinstance(value, list | tuple) else Script(value)


def _load(path: Path, hint: str = "") -> Script:
    if not path.is_file():
        raise ScriptError(f"there is no script file `{path}`{hint}")
    return Script.load(path)


def models_in(path: Path) -> dict[str, Answerer] | None:
    """Return what answers for each model that a script file names; None if it has steps for any model.

    Raises:
        ScriptError: there is no such file, or it is written wrongly; with file and line.
    """
    if not path.is_file():
        raise ScriptError(f"there is no script file `{path}`")
    file = read_file(path.read_bytes(), os.fspath(path))
    if not file.models and not file.embeddings:
        return None
    if file.entries:
        raise ScriptError(
            f"{shown_path(file.where['steps'])}: the file has vectors, which are of models, and `steps`, which are of none\n"
            '  write the steps below their model: models: {"openai:gpt-5": [...]}'
        )
    both = [model for model, entries in file.models.items() if entries and model in file.embeddings]
    if both:
        where = shown_path(file.where["embeddings"])
        raise ScriptError(f"{where}: the model `{both[0]}` has both steps and vectors; it answers in words or gives vectors")
    scripts = {model: Script(*entries) for model, entries in file.models.items() if model not in file.embeddings}
    return {**scripts, **{model: RecordedEmbeddings(model, vectors) for model, vectors in file.embeddings.items()}}


_ENDINGS: Final = (".yaml", ".yml")


def _for_model(script: Script) -> Script:
    """Return `script`, or raise `ScriptError` if a step of it is not for a model."""
    for number, step in enumerate(script.steps, 1):
        if isinstance(step, Return):
            script.waive_steps()
            raise ScriptError(
                f"step {number} of a model is {step} at {shown_path(step.where)},"
                " but a model cannot give values, it says something"
            )
    return script


# -- the entry of a call


_open: list[Providers] = []
_keys_set: Final[set[str]] = set()
"""The variables of the environment that hold a key of ours."""
_lock = threading.Lock()


def is_any_open() -> bool:
    return bool(_open)


def _set_keys() -> None:
    """Give the SDKs of the providers that are mapped now the keys without which they do not start, and take back others."""
    with _lock:
        patterns = {model.partition(":")[0] if ":" in model else "*" for block in _open for model in block.models}
        mapped = [provider for provider in PROVIDERS if any(fnmatchcase(provider.name, pattern) for pattern in patterns)]
        for variable in _keys_set - {key for provider in mapped for key in provider.keys}:
            _keys_set.remove(variable)
            if os.environ.get(variable) == KEY:
                del os.environ[variable]
        for provider in mapped:
            if provider.keys and not any(key in os.environ for key in provider.keys):
                os.environ[provider.keys[0]] = KEY
                _keys_set.add(provider.keys[0])


def find(models: Sequence[str]) -> Entry | None:
    """Return the entry for the first of `models`, names of one model, that the innermost block maps; None if none does.

    Raises:
        ViolationError: several entries with `*` fit.
    """
    for providers in reversed(tuple(_open)):
        for model in models:
            fits = providers.fits(model)
            if len(fits) > 1:
                raise violate("ambiguous match", _ambiguous(model, fits))
            if fits:
                return fits[0]
    return None


def mapped(provider: str) -> list[str]:
    """Return the models of `provider` that are mapped by their whole names."""
    found = (model.partition(":") for block in reversed(_open) for model in block.models)
    return list(dict.fromkeys(name for before, _, name in found if before == provider and "*" not in name))


def entry_of(model: str, act: str) -> Entry:
    """Return the entry for `model`; `act` is the program's verb.

    Raises:
        ViolationError: there is none, or several fit.
    """
    entry = find([model])
    if entry is None:
        raise violate("unmapped model", unmapped(f"the program {act} the model `{model}`, which is mapped to no script", model))
    return entry


def script_now(entry: Entry, model: str) -> Script:
    """Return the script that answers a call of `model` now.

    Raises:
        ViolationError: this test has no script for it, or it is mapped to embeddings.
    """
    answerer = _answerer_now(entry, model)
    if isinstance(answerer, Script):
        return answerer
    text = f"the program asks `{model}` for an answer in words, but `{entry.key}` is mapped to embeddings"
    raise violate("unmapped model", f"{text}\n{hint(model)}")


def embeddings_now(entry: Entry, model: str) -> Embeddings:
    """Return what has the vectors for a request to `model` now.

    Raises:
        ViolationError: this test has nothing for it, or it is mapped to a script.
    """
    answerer = _answerer_now(entry, model)
    if not isinstance(answerer, Script):
        return answerer
    text = f"the program asks `{model}` for embeddings, but `{entry.key}` is mapped to a script, which answers in words"
    more = f'  map it to embeddings: scripted_providers({{"{entry.key}": ScriptedEmbeddings()}})'
    raise violate("unmapped model", f"{text}\n{more}")


def _answerer_now(entry: Entry, model: str) -> Answerer:
    answerer = entry.answerer()
    if answerer is None:
        raise violate("unmapped model", _unscripted(model, entry))
    return answerer


def note_asked(model: str) -> None:
    """Note that the program called a model of this name."""
    for providers in tuple(_open):
        providers.asked.append(model)


def violate(code: str, text: str) -> ViolationError:
    return ledger.report(Violation(code, text), _open[-1].violations if _open else [])


def unmapped(head: str, model: str, evidence: Sequence[str] | None = None) -> str:
    """Return the text about a model that no entry maps, with the nearest entry."""
    keys = list(dict.fromkeys(key for providers in reversed(_open) for key in providers.keys))
    lines = [head, *(at() if evidence is None else evidence), *([f"  mapped   {names(keys)}"] if _open else [])]
    return "\n".join([*lines, *filter(None, [did_you_mean(model, keys, before="  ")]), hint(model)])


def _ambiguous(model: str, fits: Sequence[Entry]) -> str:
    lines = [f"the program asks for the model `{model}`, which several entries fit", *at()]
    fitting = names(entry.key for entry in fits)
    return "\n".join([*lines, f"  fits     {fitting}", f'  an exact name goes before one with *: "{model}"'])


def _unscripted(model: str, entry: Entry) -> str:
    lines = [f"the program calls the model `{model}`, for which this test has no script", *at()]
    built = f"  mapped   `{entry.key}` of the ini key llmtest_providers, without a script: it may be built"
    return "\n".join([*lines, built, hint(model)])


def hint(model: str) -> str:
    """Return how to map `model`."""
    remedy = next((block.remedy for block in reversed(_open) if block.remedy), "")
    if remedy:
        return f"  {remedy}"
    return f'  map it: scripted_providers({{"{model}": [...]}}), or a line in the ini key llmtest_providers'
