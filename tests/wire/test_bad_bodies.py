"""A body that an API does not take is told with words, whatever is in it: never another error."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtest import Script, ScriptedEmbeddings, ledger, reply, say
from llmtest import call as a_call
from llmtest.scripts.requests import Request, show_last_message
from llmtest.wire import embeddings
from llmtest.wire.answering import WireModel, read
from llmtest.wire.anthropic import Messages
from llmtest.wire.api import Api, BadBody, Endpoint, ModelCall
from llmtest.wire.completions import Completions
from llmtest.wire.embeddings import EmbeddingsCall, embed
from llmtest.wire.exchange import HttpRequest
from llmtest.wire.gemini import Gemini
from llmtest.wire.ollama import Chat, Generate
from llmtest.wire.openai import ChatCompletions
from llmtest.wire.responses import Responses

ARGUMENTS = {"type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": True}}, "required": ["city"]}
CONTENTS = [
    {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"data": "aaaa", "mimeType": "image/png"}}]},
    {
        "role": "model",
        "parts": [{"text": "hm", "thought": True}, {"functionCall": {"name": "weather", "args": {"city": "Paris"}, "id": "1"}}],
    },
    {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "sunny"}, "id": "1"}}]},
]
GEMINI = {
    "contents": CONTENTS,
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [
        {"functionDeclarations": [{"name": "weather", "parameters": ARGUMENTS}, {"name": "b", "parametersJsonSchema": {}}]}
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
    "generationConfig": {"stopSequences": ["END"], "responseMimeType": "application/json", "responseSchema": ARGUMENTS},
}
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": []}}
OLLAMA = {
    "model": "llama3",
    "messages": [
        {"role": "user", "content": "hi", "images": ["aaaa"]},
        {"role": "assistant", "thinking": "hm", "tool_calls": [{"id": "1", "function": {"name": "weather", "arguments": {}}}]},
        {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "1"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "format": {"type": "object"},
    "options": {"stop": ["END"], "num_predict": 5},
    "stream": False,
}
TOOL = {"type": "function", "name": "weather", "strict": True, "parameters": FUNCTION["parameters"]}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
CHAT = {
    "model": "gpt-5",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": {"name": "shell"}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "stop": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
}
RESPONSE = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}]},
        {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "sunny"}]},
        {"type": "item_reference", "id": "msg_1"},
    ],
    "tools": [TOOL, {"type": "web_search"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}, "verbosity": "low"},
    "metadata": {"user": "ada"},
    "stream": True,
}
MESSAGES = {
    "model": "claude-haiku-4-5",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "sunny"}],
                    "is_error": False,
                },
                {"type": "text", "text": "and now?"},
            ],
        },
    ],
    "tools": [{"name": "weather", "input_schema": FUNCTION["parameters"]}, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stream": True,
}
PROMPT = {"model": "llama3", "prompt": "hi", "system": "Be brief.", "images": ["aaaa"], "options": {"stop": "END"}}
COMPLETION = {"model": "m", "prompt": ["hi"], "stop": ["END"], "stream": True, "stream_options": {"include_usage": True}}
TEXT = {"content": {"parts": [{"text": "cat"}]}, "embedContentConfig": {"outputDimensionality": 64}}
Example = tuple[Endpoint[Any], str, dict[str, Any]]
EXAMPLES: dict[str, Example] = {
    "openai": (ChatCompletions(), "/v1/chat/completions", CHAT),
    "openai-responses": (Responses(), "/v1/responses", RESPONSE),
    "anthropic": (Messages(), "/v1/messages", MESSAGES),
    "gemini": (Gemini(), "/v1beta/models/gemini-2.5-flash:generateContent", GEMINI),
    "ollama": (Chat(), "/api/chat", OLLAMA),
    "ollama, text": (Generate(), "/api/generate", PROMPT),
    "completions": (Completions(), "/v1/completions", COMPLETION),
    "embeddings": (
        embeddings.OpenAI(),
        "/v1/embeddings",
        {"model": "m", "input": ["a"], "encoding_format": "base64", "dimensions": 64},
    ),
    "embeddings, ids": (embeddings.OpenAI(), "/v1/embeddings", {"model": "text-embedding-ada-002", "input": [[1, 2]]}),
    "gemini's embedding": (embeddings.Gemini(), "/v1beta/models/m:embedContent", TEXT),
    "gemini's embeddings": (embeddings.Gemini(), "/v1beta/models/m:batchEmbedContents", {"requests": [TEXT, TEXT]}),
    "ollama's embeddings": (embeddings.Ollama(), "/api/embed", {"model": "m", "input": ["a", "b"], "dimensions": 64}),
    "ollama's embedding": (embeddings.Ollama(), "/api/embeddings", {"model": "m", "prompt": "a"}),
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [place for key, item in items for place in ((*path, key), *_places(item, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, body: dict[str, Any]) -> Any:
    """`body` with one to three values that are others, or missing."""
    changed = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(changed)
        if not places:
            break
        *path, key = draw(st.sampled_from(places))
        owner: Any = changed
        for step in path:
            owner = owner[step]
        if draw(st.booleans()):
            owner[key] = draw(VALUES)
        else:
            del owner[key]
    return changed


def request_of(path: str, body: bytes) -> HttpRequest:
    return HttpRequest("POST", f"https://example.com{path}", {}, body)


def use(api: Endpoint[Any], request: HttpRequest) -> str | None:
    """What is wrong with the request; None if nothing is, and everything in it can be looked at."""
    try:
        call: ModelCall | EmbeddingsCall = read(request, api)
        if isinstance(call, EmbeddingsCall):
            embed(call, api, ScriptedEmbeddings())
            return None
        asked = Request(call.tools, lambda: call.messages, call.tool_choice, call.stop, call.params)
        assert isinstance(asked.text + show_last_message(asked), str)
        assert all(isinstance(name, str) for name in asked.tool_results)
        assert isinstance(call.model, str)
    except BadBody as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_fine(name: str) -> None:
    api, path, body = EXAMPLES[name]

    assert use(api, request_of(path, json.dumps(body).encode())) is None


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_body_is_read_or_told_with_words(name: str, data: st.DataObject) -> None:
    api, path, body = EXAMPLES[name]

    found = use(api, request_of(path, json.dumps(data.draw(mutated(body))).encode()))

    assert found is None or len(found) > 10


STEP = reply(say("It is sunny."), a_call("weather", city="Paris"))
MODELS = [name for name, (api, _, _) in EXAMPLES.items() if isinstance(api, Api)]


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_body_is_answered_or_refused(name: str, data: st.DataObject) -> None:
    api, path, body = EXAMPLES[name]
    with ledger.opened(ledger.Ledger()):
        try:
            asked = read(request_of(path, json.dumps(data.draw(mutated(body))).encode()), api)
        except BadBody:
            return
        answer = WireModel(Script(STEP.optional()), api, name).answer(asked)
        content = answer.body if answer.stream is None else b"".join(answer.stream)

    assert answer.status in (200, 400)
    assert content


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body of a request is a JSON object; got b'' (Expecting value: line 1 column 1 (char 0))"),
        (b"[1]", "the body of a request is a JSON object; got list [1]"),
        (b"\xff\xfe", "the body of a request is a JSON object; got b'\\xff\\xfe' ("),
        (b"[" * 100_000, "the body of a request is a JSON object, but this one is nested too deeply"),
    ],
)
def test_a_body_that_is_no_object_is_told_with_words(name: str, body: bytes, text: str) -> None:
    api, path, _ = EXAMPLES[name]

    assert (use(api, request_of(path, body)) or "").startswith(text)


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("openai", {"messages": None}, "`messages` is a list of messages; got NoneType None"),
        (
            "openai",
            {"messages": [{"role": "usr"}]},
            "`role` is one of `user`, `assistant`, `system`, `developer`, `tool`, `function`; got 'usr'; did you mean `user`?",
        ),
        ("openai", {"messages": [{"role": "user", "content": 5}]}, "`content` is a text or a list of blocks; got int 5"),
        ("openai", {"tools": {}}, "`tools` is a list of tools; got dict {}"),
        ("openai", {"tools": [{"type": "function"}]}, "`name` is the name of a tool; got nothing"),
        ("openai", {"tool_choice": 5}, "`tool_choice` is a word or an object; got int 5"),
        ("openai", {"stop": 5}, "`stop` is a text or a list of texts; got int 5"),
        ("openai-responses", {"input": 5}, "`input` is a text or a list of items; got int 5"),
        (
            "openai-responses",
            {"input": [{"type": "function_call", "name": "a"}]},
            "`call_id` is the id of a tool call; got nothing",
        ),
        ("openai-responses", {"text": "json"}, "`text` is an object; got str 'json'"),
        ("anthropic", {"messages": [{"role": "tool"}]}, "`role` is one of `user`, `assistant`, `system`; got 'tool'"),
        ("anthropic", {"system": 5}, "`system` is a text or a list of blocks; got int 5"),
        ("anthropic", {"tools": [{"name": "a", "input_schema": []}]}, "`parameters` is the JSON schema of `a`; got list []"),
        ("gemini", {"contents": None}, "`contents` is a list of contents; got NoneType None"),
        ("gemini", {"contents": [{"parts": [{"text": 5}]}]}, "`text` is the text of a part; got int 5"),
        ("gemini", {"tools": {}}, "`tools` is a list of tools; got dict {}"),
        ("gemini", {"toolConfig": []}, "`toolConfig` is an object; got list []"),
        ("gemini", {"generationConfig": {"stopSequences": [5]}}, "`stopSequences` is a text or a list of texts; got int 5"),
        ("ollama", {"messages": "hi"}, "`messages` is a list of messages; got str 'hi'"),
        ("ollama", {"messages": ["hi"]}, "`messages[0]` is an object; got str 'hi'"),
        ("ollama", {"format": 5}, "`format` is 'json' or a JSON schema; got int 5"),
        ("ollama", {"stream": "yes"}, "`stream` is true or false; got str 'yes'"),
        ("ollama, text", {"prompt": 5}, "`prompt` is a text; got int 5"),
        ("gemini's embeddings", {"requests": [{}]}, "`content` is a content with `parts`; got nothing"),
        ("ollama's embeddings", {"input": 5}, "`input` is a text, or a list of texts; got int 5"),
    ],
)
def test_what_is_wrong_is_said(name: str, changes: Any, text: str) -> None:
    api, path, body = EXAMPLES[name]

    assert use(api, request_of(path, json.dumps({**body, **changes}).encode())) == text
