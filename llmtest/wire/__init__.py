"""Bytes of a provider and our words: whoever makes the model, the script answers.

`scripted_server` answers other processes; `allow_real_models` lets requests out. `scripted_providers`, which answers in this
process, is in `llmtest.langchain.providers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.wire.guard import allow_real_models as allow_real_models
    from llmtest.wire.serving import ScriptedServer as ScriptedServer, scripted_server as scripted_server
else:
    __getattr__, __dir__ = exports(__name__)
