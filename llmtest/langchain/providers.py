"""Scripted models for programs that choose their model by name: what `init_chat_model` builds while a mapping is open.

Every `init_chat_model`, also of a configurable model, of `create_agent("openai:gpt-5")` and of middleware, ends in one
private function of LangChain, `_init_chat_model_helper`, in `langchain` and again in `langchain_classic`. While a mapping
is open another one stands in for it. If LangChain changes that function, opening a mapping fails: it never lets a real
model through.

Which script answers is decided when a model is **called**, not when it is built: so a model that a program has built at
import, or keeps, is scripted by each test anew.
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

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage

from llmtest import ledger
from llmtest.core.masks import mask, table
from llmtest.core.source import at
from llmtest.core.text import did_you_mean, names
from llmtest.errors import ProvidersError, ScriptError, Violation, ViolationError
from llmtest.langchain.chat_model import ScriptedChatModel
from llmtest.ledger import Ledger
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Reply, ScriptOwner, Step


def scripted_providers(mapping: Mapping[str, Any]) -> Providers:
    """A block in which models that are asked for by name say what a script says.

    `mapping` leads from model strings to scripts: `"openai:gpt-5"`, or with `*` (`"anthropic:*"`); a string without a
    provider is read as LangChain reads it (`"gpt-5"` is `"openai:gpt-5"`). An exact string goes before one with `*`. A
    script is a `Script`, a list of steps, one step, or the path of a script file (a `Path`, or a str that ends in `.yaml`).
    Models that are mapped by the same entry go on in the same script.

    The block gives the `Providers`: `.asked` are the models that were called, in order. Blocks can be nested: an inner
    one goes before an outer one. The pytest fixture of the same name is such a block, open for the test.

    Raises:
        ScriptError: a script or the mapping is written wrongly.
        ProvidersError: neither `langchain` nor `langchain-classic` is installed, or they are of a version that we do not know.
        ViolationError: in the program, when it asks for a model that is not mapped, or that two entries with `*` fit;
            before any integration is imported.

    >>> from langchain.chat_models import init_chat_model
    >>> with scripted_providers({"openai:gpt-5": "Hello", "anthropic:*": "Bonjour"}) as providers:
    ...     init_chat_model("gpt-5").invoke("hi").content, init_chat_model("claude-opus-4-7").invoke("salut").content
    ...     providers.asked
    ('Hello', 'Bonjour')
    ['openai:gpt-5', 'anthropic:claude-opus-4-7']

    It holds for the whole process, threads included. It does not see a model that a program makes of its class, as
    `ChatOpenAI(...)`.
    """
    return Providers(mapping)


class Providers:
    """A mapping of model strings to scripts, and the block in which it holds. Made by `scripted_providers`.

    Calling it maps more models. Holds state; any thread may do so, and read `asked`.
    """

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self.asked: list[str] = []
        self.violations: list[Violation] = []
        self._entries: dict[str, _Entry] = {}
        self._scripts: list[Script] = []
        self(mapping)

    def __call__(self, mapping: Mapping[str, Any]) -> Self:
        """Maps more models.

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
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            _open.remove(self)
            while _originals and not _open:
                module, helper = _originals.pop()
                vars(module)[_HELPER] = helper

    def verify(self) -> None:
        """Raises for every violation so far and for unused steps. The pytest plugin does it for you.

        Raises:
            ViolationError: with all of them.
        """
        scripts = {id(script): script for script in self._scripts}.values()
        found = [*self.violations, *(v for script in scripts for v in (*script.violations, *script.unused()))]
        if found:
            raise ViolationError(*found)

    def take(self) -> list[Violation]:
        """What has happened since the last `take`: how the pytest plugin asks while nothing but programs is loaded."""
        found, self.violations = self.violations, []
        return found

    def _fits(self, model: str) -> list[_Entry]:
        """The entry for `model`; several if it is not said which."""
        exact = self._entries.get(model)
        return [exact] if exact else [entry for key, entry in self._entries.items() if fnmatchcase(model, key)]


def from_ini(lines: Iterable[str], folder: Path) -> Providers:
    """The mapping of the ini key `llmtest_providers`, one entry a line: `openai:gpt-* = greeting.yaml`, relative to `folder`.

    Each test that calls such a model starts at the first step of its script. A line without `=` says that the model may be
    built: who calls it maps it.

    Raises:
        ScriptError: with the line.
    """
    providers = Providers({})
    for line in lines:
        key, given, path = (part.strip() for part in line.partition("="))
        try:
            if not key or (given and not path):
                raise ScriptError("expected `model = path of a script file`, or a model alone")
            providers._map({key: _ScriptForEach(folder / path) if given else _no_script})
        except ScriptError as error:
            raise ScriptError(f"the ini key llmtest_providers, line `{line}`: {error}") from None
    return providers


# -- where a script comes from


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a mapping: its key as it was written, and what gives its script."""

    key: str
    script: Callable[[], Script | None]


def _same(script: Script) -> Script:
    return script


def _no_script() -> None:
    """The model may be built; who calls it maps it."""


class _ScriptForEach:
    """A script file that each page of the ledger, so each attempt at a test, has from its first step on. Holds state."""

    def __init__(self, path: Path) -> None:
        with ledger.opened(ledger.Outside()):  # it belongs to no test, least of all to one that runs this pytest
            self._steps = _speakable(_load(path)).entries
        self._scripts: WeakKeyDictionary[Ledger, Script] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __call__(self) -> Script:
        page = ledger.current()
        with self._lock:  # a script is on the page as soon as it is made: of two, one would be left unused
            if page not in self._scripts:
                self._scripts[page] = Script(*self._steps)
            return self._scripts[page]


def _script(key: Any, value: Any) -> Script:
    if not isinstance(key, str) or not key:
        raise ScriptError(f"a model is mapped by its name, such as 'openai:gpt-5'; got {type(key).__name__} {key!r}")
    try:
        return _speakable(_made(value))
    except ScriptError as error:
        raise ScriptError(f"the script of the model `{key}`: {error}") from None


def _made(value: Any) -> Script:
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


def _speakable(script: Script) -> Script:
    """`script`, if a chat model can say it.

    Raises:
        ScriptError: it cannot.
    """
    ScriptedChatModel(script=script)
    return script


# -- which script answers


_open: list[Providers] = []
_lock = threading.Lock()


def _entry(model: str, act: str) -> _Entry:
    """The entry of the innermost block that has one for `model`; `act` is what the program does with it.

    Raises:
        ViolationError: there is none, or it is not said which.
    """
    for providers in reversed(tuple(_open)):
        fits = providers._fits(model)
        if len(fits) > 1:
            raise _violation("ambiguous match", _ambiguous(model, act, fits))
        if fits:
            return fits[0]
    raise _violation("unmapped model", _unmapped(model, act))


def _script_now(model: str) -> Script:
    """The script that answers a call of `model` now."""
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


class _Voice:
    """What stands for the script of a model that was asked for by name: it is looked up at each call.

    A call may ask for another model of the same provider, with `model=`.
    """

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


# -- the model


class ProviderModel(ScriptedChatModel):
    """The scripted model that `init_chat_model` gives. Its runs have the name that was asked for: `openai:gpt-5`.

    `model_name` and the `ls_*` metadata are as an integration has them; `params` is what else the program asked for
    (`temperature`, `max_tokens`, ...), which is recorded with each call, without secrets.
    """

    provider: str
    params: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        BaseChatModel.__init__(self, **fields)

    @property
    def model(self) -> str:
        """The same as `model_name`: integrations have the one, the other or both."""
        return self.model_name

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**self.params, **super()._identifying_params}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self.provider
        return params

    def _request(self, messages: list[BaseMessage], stop: Any, run_manager: Any, kwargs: dict[str, Any]) -> Request:
        return super()._request(messages, stop, run_manager, {**self.params, **kwargs})


_FIELDS: Final = frozenset((*BaseChatModel.model_fields, "streaming", "temperature", "max_tokens", "stop"))
"""What is a field of every model; integrations differ in what they take for the rest, such as `timeout`."""


def _without_secrets(key: str, value: Any) -> Any:
    """Return `value`, masked. Headers are all masked: each service calls the one that holds the key by another name."""
    return mask(key) if table().hides(key, value) or key.lower().endswith("headers") else table().hide(value)


def _model(provider: str, model: str, given: Mapping[str, Any]) -> ProviderModel:
    asked = f"{provider}:{model}"
    _entry(asked, "asks for")
    fields = {"name": asked, **{key: value for key, value in given.items() if key in _FIELDS}}
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    # An integration keeps its secrets to itself; here they would reach every handler.
    params = {key: _without_secrets(key, value) for key, value in given.items() if key not in _FIELDS}
    return ProviderModel(script=_Voice(provider, model), model_name=model, provider=provider, params=params, **fields)


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
    """Those of the installed packages.

    Raises:
        ProvidersError: none is installed, or one is not as expected.
    """
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
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:  # it is there, and something that it needs is not
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
    """The parameters of `function`, without types and defaults."""
    if not callable(function):
        return None
    bare = [parameter.replace(annotation=parameter.empty, default=parameter.empty) for parameter in _parameters(function)]
    return str(inspect.Signature(bare))


def _parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function).parameters.values()


def _resolved(key: str, parse: Callable[[str, str | None], tuple[str, str]]) -> str:
    """`key` with its provider, as LangChain reads a model string; as it is where LangChain knows no provider."""
    try:
        with warnings.catch_warnings(action="ignore"):
            model, provider = parse(key, None)
    except ValueError:
        return key
    return f"{provider}:{model}"


def _stand_in(seam: _Seam) -> Callable[..., Any]:
    @functools.wraps(seam.helper)
    def helper(model: str, *, model_provider: str | None = None, **kwargs: Any) -> Any:
        # Called from here, because LangChain's warnings about the name count the frames to the program.
        name, provider = seam.parse(model, model_provider)
        if provider not in getattr(seam.module, "_BUILTIN_PROVIDERS", (provider,)):
            return seam.helper(model, model_provider=model_provider, **kwargs)  # LangChain's own error
        return _model(provider, name, kwargs)

    return helper
