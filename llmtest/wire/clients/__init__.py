"""The HTTP clients of this process: their requests to a provider come to the boundary.

A client is patched where it hands a request to the network, so that everything before is the program's own. It is patched
for as long as something watches, also if it is imported only then.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

from llmtest.core.patches import Patch

Patcher = Callable[[ModuleType], "list[Patch]"]

HOOKS: Final[dict[str, str | Patcher]] = {
    "httpx": "llmtest.wire.clients.httpx",
    "httpx2": "llmtest.wire.clients.httpx",
    "urllib3": "llmtest.wire.clients.urllib3",
    "aiohttp": "llmtest.wire.clients.aiohttp",
    "google.genai._api_client": "llmtest.wire.clients.genai",
    "grpc": "llmtest.wire.clients.addresses",
    "socket": "llmtest.wire.clients.addresses",
    **dict.fromkeys(
        (
            *("tenacity.nap", "tenacity.asyncio", "langgraph.pregel._retry", "openai._base_client", "anthropic._base_client"),
            *("langchain_core.rate_limiters", "langchain.agents.middleware.model_retry"),
            "langchain.agents.middleware.tool_retry",
        ),
        "llmtest.wire.clients.backoff",
    ),
}
"""The modules of clients, and what patches them: a module of ours, which is imported only then, or a function.

`socket` is the last resort: it stops what no other hook has seen.
"""


_patches: dict[str, list[Patch]] = {}
_watchers = 0
_lock = threading.RLock()


def watch() -> None:
    """Patch the clients, until `unwatch` has been called as often."""
    global _watchers
    with _lock:
        _watchers += 1
        if _watchers == 1:
            sys.meta_path.insert(0, _FINDER)
        try:
            for name in HOOKS.keys() & sys.modules.keys():  # a watcher may bring a hook of its own
                if sys.modules[name] is not None:  # None forbids the import
                    _patch(sys.modules[name])
        except BaseException:
            unwatch()
            raise


def unwatch() -> None:
    """Take the patches back with the last watcher."""
    global _watchers
    with _lock:
        _watchers -= 1
        if _watchers:
            return
        if _FINDER in sys.meta_path:  # a pytest within a pytest puts the path back that it has found
            sys.meta_path.remove(_FINDER)
        for patches in _patches.values():
            for patch in patches:
                patch.undo()
        _patches.clear()


def _patch(module: ModuleType) -> None:
    with _lock:
        name = module.__name__
        if _watchers and not _patches.get(name):
            hook = HOOKS[name]
            patch: Patcher = importlib.import_module(hook).patch if isinstance(hook, str) else hook
            _patches[name] = patch(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Patches a client as soon as it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in HOOKS:
            return None
        # A copy of this module, which a pytest within a pytest may have imported, has a finder of its own there.
        others = (finder for finder in sys.meta_path if type(finder).__name__ != type(self).__name__)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a client as its own loader does, and patches it."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _patch(module)


_FINDER: Final = _Finder()
