"""Write docs/reference/settings.md from what the plugin and the command line register. Run: `python docs/settings_page.py`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from _pytest.fixtures import FixtureFunctionDefinition

from llmtest.cli import commands
from llmtest.pytest_plugin import fixtures, markers, options

PAGE = Path(__file__).parent / "reference" / "settings.md"

HEAD = """\
# All settings in one place

<!-- Written by `python docs/settings_page.py`: change the help texts in llmtest/pytest_plugin and llmtest/cli, not this page. -->

Every fixture, marker, option, ini key, command and variable, in the order of the alphabet. [pytest](pytest.md) explains them by
subject. An option of the command line takes precedence over its ini key.
"""

VARIABLES = """\
## Environment variables

| variable | meaning |
|---|---|
| `CI` | set in CI: snapshots and cassettes are never written |
| `GITHUB_ACTIONS`, `GITLAB_CI` | annotations, attachments: see [Continuous integration](../how-to/continuous-integration.md) |
| `LLMTEST_OTLP_ENDPOINT` | recordings are sent there: [Send traces to your backend](../how-to/send-traces-to-your-backend.md) |
| `LLMTEST_OTLP_CONTENT`, `LLMTEST_OTLP_CONVENTION` | how much the sent spans tell; which conventions they follow |
| `LLMTEST_PENDING_DIR` | the folder for pending snapshots and cassettes |
| `LLMTEST_STORE` | the file of the trace store |
| `LLMTEST_TRACING` | if it is set, a program is traced from its start: see [Tracing](../how-to/tracing.md) |
| `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` | no colors; colors; no colors |
"""


class Registry:
    """Stands in for pytest's parser, and keeps what the plugin registers."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}
        self.ini: dict[str, str] = {}

    def getgroup(self, *_: str) -> Registry:
        return self

    def addoption(self, name: str, **settings: Any) -> None:
        self.options[name] = settings

    def addini(self, name: str, words: str, **_: object) -> None:
        self.ini[name] = words


def rendered() -> str:
    """The page."""
    registry = Registry()
    options.pytest_addoption(registry)  # type: ignore[arg-type]
    parts = [HEAD, *_fixtures(), *_markers(), *_options(registry), *_ini(registry), *_commands(), VARIABLES]
    return "\n".join(parts)


def _fixtures() -> Iterator[str]:
    yield "## Fixtures\n\n| fixture | what it gives |\n|---|---|"
    found = {name: value for name, value in vars(fixtures).items() if isinstance(value, FixtureFunctionDefinition)}
    for name in sorted(found):
        yield f"| `{name}` | {_cell(str(found[name].__doc__).splitlines()[0])} |"
    yield ""


def _markers() -> Iterator[str]:
    yield "## Markers\n\n| marker | meaning |\n|---|---|"
    for text in sorted(markers.HELP):
        name, _, words = text.partition(": ")
        yield f"| `{name}` | {_cell(words.removesuffix(' (llmtest)'))} |"
    yield ""


def _options(registry: Registry) -> Iterator[str]:
    yield "## Options of pytest\n\n| option | meaning |\n|---|---|"
    for name, settings in sorted(registry.options.items()):
        values = "\\|".join(settings["choices"]) if "choices" in settings else settings.get("metavar", "")
        shown = f"{name}[={values}]" if settings.get("nargs") == "?" else f"{name}={values}" if values else name
        yield f"| `{shown}` | {_cell(settings['help'].partition('; ini:')[0])} |"
    yield ""


def _ini(registry: Registry) -> Iterator[str]:
    yield "## Ini keys\n\n| key | meaning |\n|---|---|"
    yield from (f"| `{name}` | {_cell(words)} |" for name, words in sorted(registry.ini.items()))
    yield ""


def _commands() -> Iterator[str]:
    yield "## Commands\n\n| command | what it does |\n|---|---|"
    listed = Listed()
    for name in commands.MODULES:
        import_module(f"llmtest.cli.{name}").add(listed)
    yield from (f"| `llmtest {name}` | {_cell(words)} |" for name, words in sorted(listed.words.items()))
    yield ""


class Listed:
    """Stands in for the commands of the command line, and keeps their words."""

    def __init__(self, words: dict[str, str] | None = None, group: str = "") -> None:
        self.words: dict[str, str] = {} if words is None else words
        self._group = group

    def add(self, name: str, words: str, *_: object) -> argparse.ArgumentParser:
        self.words[f"{self._group}{name}"] = words
        return argparse.ArgumentParser(name)

    def group(self, name: str, words: str) -> Listed:
        return Listed(self.words, f"{self._group}{name} ")


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(rendered(), "utf-8")
