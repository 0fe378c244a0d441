"""A model without a script: the prompt and the bound tools decide what it does next.

It calls each tool once, one a turn, in the order of binding, and then answers. It remembers nothing between calls, so
conversations, threads and models do not disturb one another. The generator of values is loaded at its first use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self, cast

from llmtest import ledger
from llmtest.errors import InventError, ScriptError, Violation
from llmtest.scripts.requests import Request, bound_format
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Reply
from llmtest.scripts.steps import call, respond, say, structured
from llmtest.scripts.tool_checks import allowed_tools, chosen_tool, normal_choice


class Improvises:
    """The classmethod `auto` of a model that works without a script."""

    @classmethod
    def auto(cls, seed: int = 0, **fields: object) -> Self:
        """Return a model without a script: it calls each bound tool once, in the order of binding, and then answers.

        One tool a turn, with arguments that fit its schema; structured output gets a value that fits. The model reads its
        own earlier calls from the prompt, so one model serves any number of conversations at once. The same `seed` gives
        the same values: arguments depend on the seed, the tool's name and schema, and the number of the call of this tool
        in the conversation. It obeys `tool_choice`; it does not call tools that a provider runs itself. Violations: a tool
        whose schema no value fits, and a model that is never called. `fields` are the model's.
        Needs Faker: `pip install 'llmtest-kit[faker]'`.

        Raises:
            ScriptError: `seed` is no whole number, or a field does not exist.
            InventError: Faker is not installed.

        >>> from llmtest import ScriptedChatModel
        >>> tool = {"name": "book", "parameters": {"properties": {"seats": {"enum": [2]}}, "required": ["seats"]}}
        >>> ScriptedChatModel.auto(seed=7).bind_tools([tool]).invoke("two seats").tool_calls[0]["args"]
        {'seats': 2}

        It does not look at the text of the prompt or at the results of tools.
        """
        if "script" in fields:
            raise ScriptError(f"{cls.__name__}.auto() writes its own script; {cls.__name__}(script=...) takes one")
        script, make = auto_script(seed), cast("Any", cls)
        try:
            return cast("Self", make(script=script, **fields))
        except Exception:
            script.waive_steps()
            raise


class JsonObject(dict[str, Any]):
    """The response format `{"type": "json_object"}`, with the schema of the caller's parser.

    Providers never see that schema; `auto()` needs it for an answer that fits.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(type="json_object")
        self.schema = schema


def auto_script(seed: int) -> Script:
    """Return a script with one step that answers every call. A value that cannot be generated is a violation.

    Raises:
        ScriptError: `seed` is no whole number.
        InventError: Faker is not installed.
    """
    if type(seed) is not int:
        raise ScriptError(f"seed= of auto() is a whole number; got {type(seed).__name__} {seed!r}")
    from llmtest.auto import values

    values.generator()

    def auto(request: Request) -> Reply:
        try:
            return _answer(seed, request)
        except InventError as error:
            hint = "write this call yourself, with call(...) or respond(...)"
            raise ledger.report(Violation("nothing fits", f"{error}\n  {hint}"), script.violations) from None

    script = Script(respond(auto).repeat())
    return script


def _answer(seed: int, request: Request) -> Reply:
    from llmtest.auto import values

    made = Counter(c.name for message in request.messages for c in message.tool_calls)
    tool = _next(request, made)
    if tool is not None:
        known = tool in request.tools  # else the check of the call will say so
        args = values.arguments(tool, request.tools[tool], f"{seed} {tool} {made[tool] + 1}") if known else {}
        return call(tool, args)
    key = f"{seed} answer {sum(message.role == 'ai' for message in request.messages) + 1}"
    if wanted := bound_format(request.params):
        return structured(_value(wanted, key))
    return say(_cut_at_stop(values.sentences(key), request))


def _next(request: Request, made: Mapping[str, int]) -> str | None:
    """Return the tool to call now; None if it is time to answer."""
    choice = normal_choice(request.tool_choice)
    if choice == "none":
        return None
    own = _own_tools(request)
    allowed, is_needed = allowed_tools(choice) or (own, choice not in (None, False, "auto"))
    tools = [tool for tool in own if tool in allowed]
    left = next((tool for tool in tools if tool not in made), None)
    return chosen_tool(choice) or left or next(iter(tools), None) if is_needed else left


def _own_tools(request: Request) -> list[str]:
    """Return the bound tools that the program runs, without those that a provider runs itself."""
    bound = [tool for tool in request.params.get("tools") or () if isinstance(tool, Mapping)]
    ours = {"function", "toolSpec", "function_declarations", "name"}
    theirs = {
        str(tool.get("name") or tool.get("type") or next(iter(tool), ""))
        for tool in bound
        if tool.get("type", "function") != "function" or not ours & tool.keys()
    }
    return [tool for tool in request.tools if tool not in theirs]


def _value(response_format: object, key: str) -> Any:
    """Return a value for a response format, in any form that integrations take."""
    from llmtest.auto import values

    schema = response_format.schema if isinstance(response_format, JsonObject) else None
    if schema is None and isinstance(response_format, Mapping):
        inner = response_format.get("json_schema", response_format)  # Anthropic has the schema beside the type
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if hasattr(response_format, "model_json_schema"):
        schema = response_format.model_json_schema()
    return {"answer": values.sentences(key)} if schema is None else values.value(schema, key)


def _cut_at_stop(text: str, request: Request) -> str:
    """Return `text` up to the first bound stop sequence."""
    for sequence in request.stop or ():
        text = text.partition(sequence)[0] if sequence else text
    return text
