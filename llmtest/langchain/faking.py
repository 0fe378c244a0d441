"""A provider for Faker: replies, conversations and tool calls as LangChain has them. Importing it needs Faker.

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
    """What models say, for a `Faker`: `fake.llm_reply()`, `fake.llm_conversation()`, `fake.tool_call(tool)`.

    Which ones come depends on the seed of the `Faker`; each call takes one number from it.

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
        """One to three sentences; with `tokens` exactly so many, as `llmtest.scripts.step_types.split` counts them.

        Raises:
            InventError: `tokens` is no whole number of 1 or more.

        >>> from faker import Faker
        >>> from llmtest.scripts.step_types import split
        >>> fake = Faker()
        >>> fake.add_provider(LLMProvider)
        >>> len(split(fake.llm_reply(tokens=12)))
        12
        """
        _at_least_one("tokens", "llm_reply", tokens)
        return values.sentences(self._key(), tokens)

    def llm_conversation(self, turns: int = 3, tools: Sequence[Any] = ()) -> list[BaseMessage]:
        """Messages as LangChain's models take them: `turns` questions, each with its answer.

        With `tools` (all that `bind_tools` takes) each answer comes after a call of one of them: an AI message with the
        call, and a tool message with the same id. The tools are not run.

        Raises:
            InventError: `turns` is no whole number of 1 or more, or nothing fits the schema of a tool.

        >>> from faker import Faker
        >>> fake = Faker()
        >>> fake.add_provider(LLMProvider)
        >>> [message.type for message in fake.llm_conversation(turns=1, tools=[{"name": "ping", "description": "Ping."}])]
        ['human', 'ai', 'tool', 'ai']
        """
        _at_least_one("turns", "llm_conversation", turns)
        key = self._key()
        return [message for turn in range(turns) for message in self._turn(f"{key} {turn}", turn, tools)]

    def _turn(self, key: str, turn: int, tools: Sequence[Any]) -> Iterator[BaseMessage]:
        yield HumanMessage(values.sentences(f"{key} question", 8).removesuffix(".") + "?")
        if tools:
            call = _call(tools[turn % len(tools)], key)
            yield AIMessage("", tool_calls=[call])
            yield ToolMessage(values.sentences(f"{key} result"), tool_call_id=call["id"], name=call["name"])
        yield AIMessage(values.sentences(f"{key} answer"))

    def tool_call(self, tool: Any) -> ToolCall:
        """A call of `tool` (all that `bind_tools` takes) with arguments that fit its schema: `tool.invoke` takes it.

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
    number = values.Words(None, key).random.getrandbits(64)
    return ToolCall(name=function["name"], args=args, id=f"call_{number:016x}", type="tool_call")


def _at_least_one(what: str, where: str, given: Any) -> None:
    if given is not None and (type(given) is not int or given < 1):
        raise InventError(f"{what}= of {where}() is a whole number of 1 or more; got {type(given).__name__} {given!r}")
