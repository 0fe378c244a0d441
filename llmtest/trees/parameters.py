"""What a model is told besides messages: its name, the parameters that were set, and its tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmtest.events.events import Run
from llmtest.events.words import FrozenDict, Structured
from llmtest.trees.values import MAX_LINE_CHARACTERS, Words

_NAMES: Final = ("model", "model_name", "deployment_name", "model_id")
_DEFAULT_NAME: Final = "scripted"
"""The name of the model of a double that was given none."""

_SHOWN_ELSEWHERE: Final = frozenset(("_type", "tools", "stream", "streaming", "stream_options", *_NAMES))


def model_name(run: Run) -> str | None:
    """Return the name of the model of a call, if the name of the run does not tell it."""
    sources = [source for source in (_parameters(run), run.metadata) if source]
    found = (source.get(key) for source in sources for key in (*_NAMES, "ls_model_name"))
    name = next((name for name in found if isinstance(name, str) and name), None)
    return None if name is None or name == _DEFAULT_NAME or name == run.name or run.name.endswith(f":{name}") else name


def set_parameters(run: Run) -> dict[str, object]:
    """Return the parameters of a model call that were set."""
    parameters = _parameters(run).items()
    return {k: v for k, v in parameters if v is not None and k not in _SHOWN_ELSEWHERE and not k.startswith("ls_")}


def tool_marks(run: Run, words: Words) -> list[str]:
    """Return the marks of the tools of a model call, or their names, sorted by name: a program may take them from a set."""
    names = [str(name) for name in run.start.payload.get("tools") or ()]
    if not names:
        return []
    tools = _parameters(run).get("tools")
    if words.short or not isinstance(tools, list) or len(tools) != len(names):
        return [words.atom(name, ",") for name in sorted(names)]
    defined = sorted((name, _definition(name, tool, words)) for name, tool in zip(names, tools, strict=True))
    return [words.mark("tool", "\n".join((name, *lines)), lines, words.atom(name, ",")) for name, lines in defined]


def parameter_texts(run: Run, words: Words) -> list[list[str]]:
    """Return the lines of each parameter that was set, `name=value`, sorted by name."""
    return [_parameter(key, text, item, words) for key, text, item in words.arguments(set_parameters(run))]


def _parameter(before: str, text: str, item: Any, words: Words) -> list[str]:
    schema = item.get("json_schema") if before == "response_format=" and isinstance(item, Mapping) else None
    if isinstance(schema, Mapping) and item.keys() == {"type", "json_schema"} and item["type"] == "json_schema":
        first, *rest = _definition(str(schema.get("name", "")), schema, words)
    else:
        first, *rest = words.broken(item, text)
    return [f"{before}{first}", *rest]


def _parameters(run: Run) -> Mapping[str, object]:
    parameters = run.start.payload.get("invocation_params")
    return parameters if isinstance(parameters, Mapping) else {}


# -- tools


def _definition(name: str, tool: object, words: Words) -> list[str]:
    """Return the lines of a tool as the model saw it: its arguments, its description, and all else that was bound."""
    shown = words.atom(name)
    if isinstance(tool, Structured):
        return [words.call_text(tool.type, tool.fields)]
    if not isinstance(tool, Mapping):
        return [shown]
    function = tool.get("function")
    spec = function if isinstance(function, Mapping) else tool
    key = next((key for key in ("input_schema", "schema") if key in spec), "parameters")
    schema: object = spec.get(key)
    arguments, beside = _arguments(schema, words, spec) if isinstance(schema, Mapping) else ([], {})
    hidden = {"name", "description", key, "function", *(("type",) if tool.get("type") == "function" else ())}
    rest = {k: v for k, v in {**tool, **spec}.items() if k not in hidden} | beside
    described = spec.get("description")
    texts = words.text(described) if isinstance(described, str) and described else []
    more = f" {words.flow(FrozenDict(rest))}" if rest else ""
    opening = [f"{shown}({', '.join(arguments)})" if isinstance(schema, Mapping) else shown]
    if len(opening[0]) > MAX_LINE_CHARACTERS:
        opening = [f"{shown}(", *(f"  {argument}" for argument in arguments), ")"]
    if len(texts) == 1:
        opening[-1] += f" {texts[0]}"
        texts = []
    opening[-1] += more
    return [*opening, *texts]


def _arguments(schema: Mapping[str, object], words: Words, tool: Mapping[str, object]) -> tuple[list[str], dict[str, object]]:
    """Return the arguments of a JSON schema, and what the schema says besides them."""
    reader = _Schemas(schema.get("$defs") or schema.get("definitions") or {}, words)
    named = {"title": tool.get("name"), "description": tool.get("description"), "type": "object"}
    known = ("properties", "required", "$defs", "definitions")
    rest = {key: value for key, value in schema.items() if key not in known and named.get(key) != value}
    return list(reader.arguments(schema)), {"schema": FrozenDict(rest)} if rest else {}


class _Schemas:
    """Writes JSON schemas as types: `string`, `"a" | "b"`, `array[integer]`, `{x: number, y?: number}`."""

    def __init__(self, definitions: object, words: Words) -> None:
        self._definitions = definitions if isinstance(definitions, Mapping) else {}
        self._words = words
        self._open: list[str] = []

    def arguments(self, schema: Mapping[str, object]) -> Iterator[str]:
        properties, required = schema.get("properties"), schema.get("required")
        needed = required if isinstance(required, list) else ()
        for name, value in properties.items() if isinstance(properties, Mapping) else ():
            inner = value if isinstance(value, Mapping) else {}
            kind, rest = self._type(inner)
            mark = "" if name in needed or "default" in inner else "?"
            yield f"{self._words.atom(str(name), ':,')}{mark}: {kind}{self._about(str(name), rest)}"

    def _about(self, name: str, rest: dict[str, object]) -> str:
        """Return what a schema says besides its type: the default, the description, limits."""
        if rest.get("title") == name.replace("_", " ").title():
            del rest["title"]
        shown = f" = {self._words.flow(rest.pop('default'))}" if "default" in rest else ""
        described = rest.pop("description", None)
        shown += f" {self._words.line(described)}" if isinstance(described, str) else ""
        return shown + (f" {self._words.flow(FrozenDict(rest))}" if rest else "")

    def _type(self, schema: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
        """Return a type, and what the schema says besides."""
        rest = dict(schema)
        reference = str(rest.pop("$ref", "")).rpartition("/")[2]
        target = self._definitions.get(reference)
        if reference and reference not in self._open and isinstance(target, Mapping):
            self._open.append(reference)
            kind, more = self._type(target)
            self._open.remove(reference)
            more.pop("title", None)
            return kind, {**more, **rest}
        if reference:  # within itself, or defined nowhere
            return self._words.atom(reference), rest
        for key in ("anyOf", "oneOf"):
            if _are_schemas(rest.get(key)):
                return self._union(rest.pop(key)), rest
        kinds = rest.pop("type", None)
        if "enum" in rest or "const" in rest:
            values = rest.pop("enum", None) or [rest.pop("const", None)]
            return " | ".join(map(self._words.flow, values)), rest
        if kinds == "array" and isinstance(rest.get("items"), Mapping):
            kind, more = self._type(rest.pop("items"))
            return f"array[{kind}{self._about('', more)}]", rest
        if kinds == "object" and isinstance(rest.get("properties"), Mapping):
            inner = ", ".join(self.arguments(rest))
            return f"{{{inner}}}", {key: value for key, value in rest.items() if key not in ("properties", "required")}
        named = kinds if isinstance(kinds, list) else [kinds or "any"]
        return " | ".join(self._words.atom(str(kind)) for kind in named), rest

    def _union(self, schemas: Sequence[Mapping[str, object]]) -> str:
        return " | ".join(f"{kind}{self._about('', more)}" for kind, more in map(self._type, schemas))


def _are_schemas(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
