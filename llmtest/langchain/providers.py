"""Scripted models for programs that choose their model by name with `init_chat_model`.

Every `init_chat_model`, also of a configurable model, of `create_agent("openai:gpt-5")` and of middleware, ends in one
private function of LangChain, `_init_chat_model_helper`, in `langchain` and again in `langchain_classic`. An open mapping
replaces it. If LangChain changes that function, opening a mapping fails: it never lets a real model through.

The script is chosen when a model is **called**, not when it is built: each test scripts a model anew that the program has
built at import.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

from llmtest import ledger
from llmtest.core.source import at
from llmtest.core.text import did_you_mean, names
from llmtest.errors import LEFT_OPEN, USE_WITH, ProvidersError, ScriptError, Violation, ViolationError
from llmtest.langchain.chat_model import ScriptedChatModel
from llmtest.langchain.provider_model import integration_class, provider_model
from llmtest.ledger import Ledger
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Reply, ScriptOwner, Step


def scripted_providers(mapping: Mapping[str, Any]) -> Providers:
    """Return a block in which models that a program chooses by name are scripted.

    `mapping` leads from model strings to scripts: `"openai:gpt-5"`, or with `*` (`"anthropic:*"`); a string without a
    provider is read as LangChain reads it (`"gpt-5"` is `"openai:gpt-5"`). An exact string has precedence over one with
    `*`. A script is a `Script`, a list of steps, one step, or the path of a script file (a `Path`, or a str that ends in
    `.yaml`). All models of one entry share its script.

    The block gives the `Providers`: `.asked` lists the called models, in order. An inner block has precedence over an
    outer one. The pytest fixture of the same name is such a block, open for the test.

    Raises:
        ScriptError: a script or the mapping is written wrongly.
        ProvidersError: neither `langchain` nor `langchain-classic` is installed, or in an unknown version.
        ViolationError: in the program, when it asks for a model that no entry fits, or two entries with `*`; before any
            integration is imported.

    >>> from langchain.chat_models import init_chat_model
    >>> with scripted_providers({"openai:gpt-5": "Hello", "anthropic:*": "Bonjour"}) as providers:
    ...     init_chat_model("gpt-5").invoke("hi").content, init_chat_model("claude-opus-4-7").invoke("salut").content
    ...     providers.asked
    ('Hello', 'Bonjour')
    ['openai:gpt-5', 'anthropic:claude-opus-4-7']

    It holds for the whole process, threads included. It does not see a model that a program makes from its class:
    `ChatOpenAI(...)`.
    """
    return Providers(mapping)


class Providers:
    """A mapping of model strings to scripts, and the block in which it holds. Made by `scripted_providers`.

    A call maps more models. Holds state; thread-safe.
    """

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self.asked: list[str] = []
        self.violations: list[Violation] = []
        self._entries: dict[str, _Entry] = {}
        self._scripts: list[Script] = []
        self(mapping)

    def __call__(self, mapping: Mapping[str, Any]) -> Self:
        """Map more models.

        Raises:
            ScriptError: a script is written wrongly, or a model is mapped already.
        """
        if not isinstance(mapping, Mapping):
            raise ScriptError(
                f"scripted_providers() takes a mapping of model strings to scripts; got {type(mapping).__name__} {mapping!r}"
            )
        scripts = {key: _script(key, value) for key, value in mapping.items()}
        self._map({key: partial(_same, script) for key, script in scripts.items()})
        self._scripts += scripts.values()
        return self

    def _map(self, scripts: Mapping[str, Callable[[], Script | None]]) -> None:
        parse = _seams()[0].parse
        entries = dict(self._entries)
        for key, script in scripts.items():
            model = _resolved(key, parse)
            if model in entries:
                before = entries[model].key
                raise ScriptError(
                    f"the model `{model}` is mapped twice" + (f": as `{before}` and as `{key}`" if before != key else "")
                )
            entries[model] = _Entry(key, script)
        self._entries = entries

    def __enter__(self) -> Self:
        seams = _seams()
        with _lock:
            for seam in seams:
                if not any(seam.module is module for module, _ in _originals):
                    _originals.append((seam.module, seam.helper))
                    vars(seam.module)[_HELPER] = _stand_in(seam)
            _open.append(self)
        ledger.keep_block(self)
        return self

    def __exit__(self, *_: object) -> None:
        ledger.drop_block(self)
        with _lock:
            _open.remove(self)
            while _originals and not _open:
                module, helper = _originals.pop()
                vars(module)[_HELPER] = helper

    def end_of_test(self) -> list[Violation]:
        """Leave the block if the test that entered it has not. It would script the models of the tests that follow."""
        if self not in _open:
            return []
        self.__exit__()
        return [Violation(LEFT_OPEN, f"a scripted_providers() block was left open by the test\n  {USE_WITH}")]

    def verify(self) -> None:
        """Raise `ViolationError` for every violation so far and every unused step; the plugin does it for you."""
        scripts = {id(script): script for script in self._scripts}.values()
        found = [*self.violations, *(v for script in scripts for v in (*script.violations, *script.unused()))]
        if found:
            raise ViolationError(*found)

    def take(self) -> list[Violation]:
        """Return the violations since the last `take`."""
        found, self.violations = self.violations, []
        return found

    def _fits(self, model: str) -> list[_Entry]:
        """Return the entries that fit `model`: an exact one alone, else all with `*`."""
        exact = self._entries.get(model)
        return [exact] if exact else [entry for key, entry in self._entries.items() if fnmatchcase(model, key)]


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
            providers._map({key: _ScriptForEach(folder / path) if equals else _no_script})
        except ScriptError as error:
            raise ScriptError(f"the ini key llmtest_providers, line `{line}`: {error}") from None
    return providers


# -- the scripts of a mapping


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a mapping: its key as written, and the function that returns its script."""

    key: str
    script: Callable[[], Script | None]


def _same(script: Script) -> Script:
    return script


def _no_script() -> None:
    """Return no script: the program may build the model, and a test that calls it has to map it."""


class _ScriptForEach:
    """A script file that starts anew for each page of the ledger, so for each attempt at a test. Holds state."""

    def __init__(self, path: Path) -> None:
        with ledger.opened(ledger.Outside()):  # the ini key belongs to no test, not even to one that runs pytest inside
            self._steps = _for_chat(_load(path)).entries
        self._scripts: WeakKeyDictionary[Ledger, Script] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __call__(self) -> Script:
        page = ledger.current()
        with self._lock:  # a new script is on the ledger at once: a second one would be reported as unused
            if page not in self._scripts:
                self._scripts[page] = Script(*self._steps)
            return self._scripts[page]


def _script(key: Any, value: Any) -> Script:
    if not isinstance(key, str) or not key:
        raise ScriptError(f"a model is mapped by its name, such as 'openai:gpt-5'; got {type(key).__name__} {key!r}")
    try:
        return _for_chat(_as_script(value))
    except ScriptError as error:
        raise ScriptError(f"the script of the model `{key}`: {error}") from None


def _as_script(value: Any) -> Script:
    if isinstance(value, Script):
        return value
    if isinstance(value, os.PathLike):
        return _load(Path(value))
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return _load(Path(value), f"\n  a str that ends in .yaml is a path; for a model that says it: say({value!r})")
    return Script(*value) if isinstance(value, list | tuple) else Script(value)


def _load(path: Path, hint: str = "") -> Script:
    if not path.is_file():
        raise ScriptError(f"there is no script file `{path}`{hint}")
    return Script.load(path)


def _for_chat(script: Script) -> Script:
    """Return `script`, or raise `ScriptError` if a step of it is not for a chat model."""
    ScriptedChatModel(script=script)
    return script


# -- the script of a call


_open: list[Providers] = []
_lock = threading.Lock()


def _entry(model: str, act: str) -> _Entry:
    """Return the entry for `model` of the innermost block that has one; `act` is the program's verb.

    Raises:
        ViolationError: there is none, or several fit.
    """
    for providers in reversed(tuple(_open)):
        fits = providers._fits(model)
        if len(fits) > 1:
            raise _violation("ambiguous match", _ambiguous(model, act, fits))
        if fits:
            return fits[0]
    raise _violation("unmapped model", _unmapped(model, act))


def _script_now(model: str) -> Script:
    """Return the script that answers a call of `model` now."""
    entry = _entry(model, "calls")
    script = entry.script()
    if script is None:
        raise _violation("unmapped model", _unscripted(model, entry))
    return script


def _violation(rule: str, text: str) -> ViolationError:
    return ledger.report(Violation(rule, text), _open[-1].violations if _open else [])


def _unmapped(model: str, act: str) -> str:
    keys = list(dict.fromkeys(entry.key for providers in reversed(_open) for entry in providers._entries.values()))
    lines = [f"the program {act} the model `{model}`, which is mapped to no script", *at(), f"  mapped   {names(keys)}"]
    return "\n".join([*lines, *filter(None, [did_you_mean(model, keys, before="  ")]), _hint(model)])


def _ambiguous(model: str, act: str, fits: list[_Entry]) -> str:
    lines = [f"the program {act} the model `{model}`, and which script is meant is not said", *at()]
    fitting = names(entry.key for entry in fits)
    return "\n".join([*lines, f"  fits     {fitting}", f'  an exact name goes before one with *: "{model}"'])


def _unscripted(model: str, entry: _Entry) -> str:
    lines = [f"the program calls the model `{model}`, for which this test has no script", *at()]
    built = f"  mapped   `{entry.key}` of the ini key llmtest_providers, without a script: it may be built"
    return "\n".join([*lines, built, _hint(model)])


def _hint(model: str) -> str:
    return f'  map it: scripted_providers({{"{model}": [...]}}), or a line in the ini key llmtest_providers'


class _ScriptByName:
    """The script of a model that was chosen by name, found anew at each call, which may name another model with `model=`."""

    owner = ScriptOwner()

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model

    def serve(self, request: Request) -> Step:
        asked = self._asked(request)
        for providers in tuple(_open):
            providers.asked.append(asked)
        return _script_now(asked).serve(request)

    def check(self, reply: Reply, request: Request) -> None:
        _script_now(self._asked(request)).check(reply, request)

    def verify(self) -> None:
        _script_now(self._asked(Request())).verify()

    def _asked(self, request: Request) -> str:
        return f"{self.provider}:{request.params.get('model') or self.model}"


# -- the seam in LangChain

_HELPER: Final = "_init_chat_model_helper"
_PARSE: Final = "_parse_model"
_EXPECTED: Final = {_HELPER: "(model, *, model_provider, **kwargs)", _PARSE: "(model, model_provider)"}
_PACKAGES: Final = ("langchain", "langchain_classic")
_originals: list[tuple[ModuleType, Callable[..., Any]]] = []


@dataclass(frozen=True, slots=True)
class _Seam:
    """A module of LangChain in which models are built by name."""

    module: ModuleType
    helper: Callable[..., Any]
    parse: Callable[[str, str | None], tuple[str, str]]


def _seams() -> list[_Seam]:
    """Return the modules of the installed packages, or raise `ProvidersError` if there is none or an unknown one."""
    found = [_seam(module) for package in _PACKAGES if (module := _imported(f"{package}.chat_models.base")) is not None]
    if not found:
        raise ProvidersError(
            "scripted_providers stands in for init_chat_model, but neither `langchain` nor `langchain-classic` is installed\n"
            "  install the one that the program uses; for a program without init_chat_model: scripted_chat_model(...)"
        )
    return found


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:  # a dependency of the package is missing
            raise
        return None


def _seam(module: ModuleType) -> _Seam:
    for name, expected in _EXPECTED.items():
        got = _shape(getattr(module, name, None))
        if got != expected:
            package = module.__name__.partition(".")[0].replace("_", "-")
            version = importlib.metadata.version(package)
            raise ProvidersError(
                f"{package} {version} builds its models in another way than scripted_providers knows\n"
                f"  expected  {module.__name__}.{name}{expected}\n"
                f"  got       {'no such function' if got is None else f'{name}{got}'}\n"
                f"  until llmtest knows it: install another {package}, or give the program its model: scripted_chat_model(...)"
            )
    return _Seam(module, getattr(module, _HELPER), getattr(module, _PARSE))


def _shape(function: Any) -> str | None:
    """Return the parameters of `function`, without types and defaults."""
    if not callable(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=p.empty, default=p.empty) for p in parameters]))


def _resolved(key: str, parse: Callable[[str, str | None], tuple[str, str]]) -> str:
    """Return `key` with its provider, as LangChain reads a model string; unchanged if LangChain knows no provider."""
    try:
        with warnings.catch_warnings(action="ignore"):
            model, provider = parse(key, None)
    except ValueError:
        return key
    return f"{provider}:{model}"


def _stand_in(seam: _Seam) -> Callable[..., Any]:
    @functools.wraps(seam.helper)
    def helper(model: str, *, model_provider: str | None = None, **kwargs: Any) -> Any:
        # LangChain's warnings about the name count the frames up to the program: no function may stand between.
        name, provider = seam.parse(model, model_provider)
        if provider not in getattr(seam.module, "_BUILTIN_PROVIDERS", (provider,)):
            return seam.helper(model, model_provider=model_provider, **kwargs)  # LangChain's own error
        _entry(f"{provider}:{name}", "asks for")
        integration = integration_class(seam.module, provider)
        return provider_model(_ScriptByName(provider, name), provider, name, kwargs, integration)

    return helper
