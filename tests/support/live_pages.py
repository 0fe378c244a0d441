"""The pages about cassettes: the module of their examples, and what the real models answer to the examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml  # noqa: F401 - imported here once, and not by each inner run

import llmtest.pytest_plugin.cassettes
import llmtest.trees.cassette_text  # noqa: F401
from llmtest import ScriptedEmbeddings, call, on, say


@dataclass(frozen=True)
class LivePage:
    """A page whose examples ask real models: `models` are what a server answers in their place, as far as it is asked."""

    module: str
    models: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """What lies in the project: each path, and the file that is there."""


FOREIGN: Final = Path(__file__).parent.parent / "cassettes" / "foreign"

LIVE_PAGES: Final = {
    "README.md": LivePage(
        "test_weather",
        {"openai:gpt-5": [call("weather", city="Paris"), say("It is 18C in Paris.")]},
    ),
    "docs/how-to/keep-cassettes-fresh.md": LivePage(
        "test_letters",
        {
            "openai:gpt-5": [
                say("Hello Ada!", usage=(21, 11)),
                say("Hi Bo!", usage=(21, 10)),
                say("Farewell, Ada.", usage=(22, 12)).optional(),
            ]
        },
    ),
    "docs/how-to/coming-from-vcrpy.md": LivePage(
        "test_agent", files={"cassettes/test_agent/test_cities.yaml": FOREIGN / "vcr_agent.yaml"}
    ),
    "docs/how-to/from-a-live-test-to-an-offline-one.md": LivePage(
        "test_weather",
        {
            "openai:gpt-5": [
                call("weather", city="Paris").optional(),
                say("It is 18C in Paris.").optional(),
                call("refund", order="A-7").optional(),
                say("I have refunded A-7.").optional(),
                say("Hel", "lo ", "there.").optional(),
                on(contains="Is Paris") >> say("Paris is warm.").optional(),
                on(contains="Is Oslo") >> say("Oslo is cold.").optional(),
                say("Go to Oslo.").optional(),
                say("It is sk-proj-4eC39HqLyjWDarjtT1zdp7dc.").optional(),
            ],
            "anthropic:claude-opus-4-7": say("It is cold there.").optional(),
            "openai:text-embedding-3-small": ScriptedEmbeddings(size=4),
        },
    ),
}
