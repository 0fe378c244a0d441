"""A provider for Faker: replies, conversations and tool calls of LangChain. Importing it needs Faker.

fake = Faker()
fake.seed_instance(7)
fake.add_provider(LLMProvider)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from llmtest.auto import values
from llmtest.errors import InventError

try:
    from faker.providers import BaseProvider
except ImportError:
    raise InventError(values.MISSING) from None


class LLMProvider(BaseProvider):
    """Answers of models, for a `Faker`: `fake.llm_reply()`, `fake.llm_conversation()`, `fake.tool_call(tool)`.

    They depend on the seed of the `Faker`; each call takes one number from it.

    >>> from faker import Faker
    >>> fake = Faker()
    >>> fake.add_provider(LLMProvider)
    >>> [message.type for message in fake.llm_conversation(turns=2)]
    ['human', 'ai', 'human', 'ai']

    The words are English ones, whatever the locale of the `Faker`.
    """

    def _key(self) -> str:
        return f"faker {self.generator.random.getrandbits(64)}"

    def llm_reply(self, tokens: int | None = None) -> str:
        """Return one to three sentences; `tokens` is their exact length, as `llmtest.scripts.step_types.split` counts.

        Raises:
            InventError: `tokens` is no whole number of 1 or more.

        >>> from faker import Faker
        >>> from llmtest.scripts.step_types import split
        >>> fake = Faker()
        >>> fake.add_provider(LLMProvider)
        >>> len(split(fake.llm_reply(tokens=12)))
        12
        """
        _check_positive("tokens", "llm_reply", tokens)
        return values.sentences(self._key(), tokens)

    def llm_conversation(self, turns: int = 3, tools: Sequence[object] = ()) -> list[BaseMessage]:
        """Return messages for LangChain's models: `turns` questions, each with its answer.

        With `tools` (anything that `bind_tools` takes) each answer follows a call of one of them: an AI message with the
        call, and a tool message with the same id. The tools are not run.

        Raises:
            InventError: `turns` is no whole number of 1 or more, or nothing fits the schema of a tool.

        >>> from faker import Faker
        >>> fake = Faker()
        >>> fake.add_provider(LLMProvider)
        >>> [message.type for message in fake.llm_conversation(turns=1, tools=[{"name": "ping", "description": "Ping."}])]
        ['human', 'ai', 'tool', 'ai']
        """
        _check_positive("turns", "llm_conversation", turns)
        key = self._key()
        return [message for turn in range(turns) for message in self._turn(f"{key} {turn}", turn, tools)]

    def _turn(self, key: str, turn: int, tools: Sequence[object]) -> Iterator[BaseMessage]:
        yield HumanMessage(values.sentences(f"{key} question", 8).removesuffix(".") + "?")
        if tools:
            call = _call(tools[turn % len(tools)], key)
            yield AIMessage("", tool_calls=[call])
            yield ToolMessage(values.sentences(f"{key} result"), tool_call_id=call["id"], name=call["name"])
        yield AIMessage(values.sentences(f"{key} answer"))

    def tool_call(self, tool: object) -> ToolCall:
        """Return a call of `tool` (anything that `bind_tools` takes) with arguments that fit its schema.

        Raises:
            InventError: nothing fits the schema.

        >>> from faker import Faker
        >>> fake = Faker()
        >>> fake.add_provider(LLMProvider)
        >>> fake.tool_call({"name": "book", "description": "Book.", "parameters": {}})["name"]
        'book'

        It does not run the tool.
        """
        return _call(tool, self._key())


def _call(tool: Any, key: str) -> ToolCall:
    function = convert_to_openai_tool(tool)["function"]
    args = values.arguments(function["name"], function.get("parameters", {}), f"{key} call")
    # From the key and not from the `Faker`: one call takes one number of it, however many values it makes.
    number = values.Words(None, key).random.getrandbits(64)
    return ToolCall(name=function["name"], args=args, id=f"call_{number:016x}", type="tool_call")


def _check_positive(parameter: str, method: str, value: object) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise InventError(f"{parameter}= of {method}() is a whole number of 1 or more; got {type(value).__name__} {value!r}")
