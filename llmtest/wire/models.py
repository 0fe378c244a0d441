"""The lists of models that providers have: what a program asks before it asks a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import unquote

from llmtest.wire import anthropic, gemini, ollama, openai
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer

EPOCH = "1970-01-01T00:00:00Z"


def answer_models(request: HttpRequest, provider: str, names: Sequence[str]) -> HttpAnswer | None:
    """Return the list of the models `names` at `provider`, or one of them; None if `request` does not ask for it.

    `provider` is LangChain's name; one without an API of its own speaks that of OpenAI. A model that is not in `names` is the
    provider's error 404.
    """
    path = unquote(request.path)
    if provider == "ollama":
        return _ollama(request, path, names)
    _, found, name = path.partition("/models")
    if request.method != "GET" or not found or (name and not name.startswith("/")):
        return None
    if provider in ("google_genai", "google_vertexai"):
        return _gemini(name[1:], names)
    return _anthropic(name[1:], names) if provider == "anthropic" else _openai(name[1:], names)


def _openai(name: str, names: Sequence[str]) -> HttpAnswer:
    told = {key: {"id": key, "object": "model", "created": 0, "owned_by": "llmtest"} for key in names}
    if not name:
        return json_answer({"object": "list", "data": list(told.values())})
    return json_answer(told[name]) if name in told else json_answer(openai.error_body(404, _unknown(name)), 404)


def _anthropic(name: str, names: Sequence[str]) -> HttpAnswer:
    told = {key: {"type": "model", "id": key, "display_name": key, "created_at": EPOCH} for key in names}
    if not name:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return json_answer({"data": list(told.values()), "has_more": False, **ends})
    return json_answer(told[name]) if name in told else json_answer(anthropic.error_body(404, _unknown(name)), 404)


def _gemini(name: str, names: Sequence[str]) -> HttpAnswer:
    told = {key: _gemini_model(key) for key in names}
    if not name:
        return json_answer({"models": list(told.values())})
    return json_answer(told[name]) if name in told else json_answer(gemini.error_body(404, _unknown(name)), 404)


def _gemini_model(name: str) -> dict[str, object]:
    known = {"name": f"models/{name}", "version": "001", "displayName": name, "description": ""}
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    methods = ["generateContent", "countTokens", "embedContent"]
    return {**known, **limits, "supportedGenerationMethods": methods}


def _ollama(request: HttpRequest, path: str, names: Sequence[str]) -> HttpAnswer | None:
    if request.method == "GET" and path.endswith("/api/tags"):
        models = [{"name": key, "model": key, "modified_at": EPOCH, "size": 0, "digest": "", **_details()} for key in names]
        return json_answer({"models": models})
    if request.method != "POST" or not path.endswith("/api/show"):
        return None
    name = _asked(request.body)
    if name not in names:
        return json_answer(ollama.error_body(_unknown(name)), 404)
    told = {"license": "", "modelfile": "", "parameters": "", "template": "", "modified_at": EPOCH, "model_info": {}}
    return json_answer({**told, **_details(), "capabilities": ["completion", "tools", "thinking"]})


def _details() -> dict[str, object]:
    known = {"parent_model": "", "format": "gguf", "family": "llmtest", "families": ["llmtest"]}
    return {"details": {**known, "parameter_size": "", "quantization_level": ""}}


def _asked(body: bytes) -> str:
    """Return the model that `/api/show` is asked for; a body that names none asks for the model of no name."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("model") or said.get("name") or "") if isinstance(said, dict) else ""


def _unknown(name: str) -> str:
    return f"model '{name}' not found"
