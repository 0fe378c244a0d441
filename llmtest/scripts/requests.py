"""Requests: one call of a double in neutral words, and the keys that assign steps to requests."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from llmtest.concurrency.lanes import Lane
from llmtest.core.masks import show_text, table
from llmtest.core.source import caller
from llmtest.core.text import names
from llmtest.errors import ScriptError
from llmtest.events.events import nodes_of
from llmtest.events.words import EMPTY, FrozenDict, Message
from llmtest.scripts.step_types import as_role, as_texts


def show_message(message: Message) -> str:
    """Return a message in one short line."""
    arguments = [json.dumps(table().hide(call.args), ensure_ascii=False, default=str) for call in message.tool_calls]
    calls = ", ".join(f"{call.name}({shown})" for call, shown in zip(message.tool_calls, arguments, strict=True))
    text = show_text(message.text, 200) if message.text or not calls else ""
    shown = " ".join(bit for bit in (text, f"calls {calls}" if calls else "") if bit)
    return f"{message.role} {shown}"


def show_last_message(request: Request) -> str:
    """Return the last message of the prompt in one short line."""
    return show_message(request.messages[-1]) if request.messages else "an empty prompt"


def bound_format(params: Mapping[str, object]) -> object:
    """Return the format of the answer that the program bound, under the names of the integrations; None without any."""
    config = params.get("output_config")
    wanted = params.get("response_format") or params.get("output_format")
    return wanted or (config.get("format") if isinstance(config, Mapping) else None)


@dataclass(slots=True, eq=False)
class Batch:
    """One call of `batch`: the line of control that waits for it, and whether it has returned."""

    lane: Lane
    is_over: bool = False


class Place:
    """The place of one input in a `batch`: the inputs before it take their steps first, whichever thread or task is faster.

    `taken` is done as soon as the input has its step, or needs none. `position` counts the inputs from 0.
    """

    def __init__(self, double: object, batch: Batch, before: Place | None) -> None:
        self.double = double
        self.batch = batch
        self.before = before
        self.position: int = 0 if before is None else before.position + 1
        self.taken: Future[None] = Future()

    def pass_on(self) -> None:
        """Let the next input take its step."""
        if not self.taken.done():
            self.taken.set_result(None)
        self.before = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until the inputs before have their steps, and then let the next one have its own."""
        if self.before is not None:
            # This ends, however few threads there are: a pool starts its inputs in order, so the one before has begun.
            self.before.taken.result()
        try:
            yield
        finally:
            self.pass_on()

    async def wait(self) -> None:
        """As the wait of `turn`, without a blocked event loop; `turn` must follow."""
        if self.before is not None:
            await asyncio.wrap_future(self.before.taken)


class Run(Protocol):
    """The run of LangChain that made a request, as far as it is known here."""

    @property
    def run_id(self) -> UUID: ...


class Origin(NamedTuple):
    """Where a request comes from: the run of LangChain whose model made it, the tags and metadata around it, and its place in
    a `batch`."""

    run: Callable[[], Run | None] = lambda: None
    about: Callable[[], tuple[Sequence[str], Mapping[str, object]]] = lambda: ((), {})
    place: Place | None = None


NOWHERE: Final = Origin()
"""Of a request that no run of LangChain is known to have made."""


@dataclass(slots=True)
class Request:
    """One call of a model, in neutral words: keys and `expects` look at it, and the function of `respond` gets it.

    `tools` maps each bound tool's name to the JSON schema of its arguments. `tool_choice`, `stop` and `params` are as the
    program bound or passed them; `tags` and `metadata` are the run's. For a retriever, `text` is the query; for a tool,
    `args` are its arguments, and `text` is their JSON.
    """

    tools: Mapping[str, Mapping[str, Any]] = EMPTY
    read: Callable[[], Sequence[Message]] = list
    tool_choice: Any = None
    stop: Sequence[str] | None = None
    params: Mapping[str, Any] = EMPTY
    about: Callable[[], tuple[Sequence[str], Mapping[str, Any]]] = lambda: ((), EMPTY)
    run: Callable[[], Any] = lambda: None
    lane: Lane | None = None
    args: Mapping[str, Any] = EMPTY
    place: Place | None = None
    """The place of the call in a `batch` that it is one input of."""
    streams: bool = False
    """True if the call is a stream, which its reader may leave open."""
    over_http: bool = False
    """True if it was read from a request over HTTP: `params` have the API's names, not those of a LangChain class."""
    _messages: Sequence[Message] | None = None
    _text: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            self.stop = (self.stop,)

    @property
    def batch(self) -> Batch | None:
        """The `batch` that the call is one input of; its calls take steps by the position of their inputs."""
        return None if self.place is None else self.place.batch

    @property
    def messages(self) -> Sequence[Message]:
        """The prompt, translated at the first access."""
        if self._messages is None:
            self._messages = tuple(self.read())
        return self._messages

    @property
    def text(self) -> str:
        """The text of all messages, each on lines of its own."""
        if self._text is None:
            self._text = "\n".join(message.text for message in self.messages)
        return self._text

    @property
    def tags(self) -> Sequence[str]:
        return self.about()[0]

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.about()[1]

    @property
    def node(self) -> str | None:
        """The LangGraph node in which the model is called: the innermost one."""
        return self.metadata.get("langgraph_node")

    @property
    def nodes(self) -> tuple[str, ...]:
        """The LangGraph nodes around the call, the outermost first: an agent that is a node has nodes of its own."""
        return nodes_of(self.metadata)

    @property
    def thread(self) -> str | None:
        """LangGraph's `thread_id`."""
        thread = self.metadata.get("thread_id")
        return None if thread is None else str(thread)

    @property
    def tool_results(self) -> tuple[str, ...]:
        """The names of the tools whose results end the prompt, not yet answered by the model."""
        calls = {call.id: call.name for message in self.messages for call in message.tool_calls}
        results = list(takewhile(lambda message: message.role == "tool", reversed(self.messages)))
        return tuple(message.name or calls.get(message.tool_call_id, "") for message in reversed(results))


# -- keys


@dataclass(frozen=True, slots=True)
class On:
    """A key: the calls that some steps are for. `on` makes it; `on(...) >> step` and `on(...) >> Script(...)` assign steps."""

    contains: tuple[str, ...] = ()
    tools: frozenset[str] | None = None
    node: str | None = None
    tag: str | None = None
    tool_result: str | None = None
    metadata: FrozenDict = EMPTY
    thread: str | None = None
    last: str | None = None

    def __rshift__(self, steps: object) -> KeyedSteps:
        where = caller()
        if not isinstance(steps, StepGroup):
            return KeyedSteps(self, (steps,), where)
        return KeyedSteps(self, steps.hand_over(self, where), where, steps)

    def misses(self, request: Request) -> str | None:
        """Return the first condition that the request does not meet; None if it meets all. Cheap conditions come first."""
        if self.tools is not None and not (self.tools <= set(request.tools) if self.tools else not request.tools):
            return f"the bound tools are {names(request.tools)}"
        if self.node is not None and not any(fnmatchcase(node, self.node) for node in request.nodes or ("",)):
            nodes = request.nodes
            return f"the nodes are {names(nodes)}" if len(nodes) > 1 else f"the node is {request.node!r}"
        if self.thread is not None and request.thread != self.thread:
            return f"the thread is {request.thread!r}"
        if self.tag is not None and self.tag not in request.tags:
            return f"the tags are {names(request.tags)}"
        for key, value in self.metadata.items():
            if request.metadata.get(key) != value:
                return f"the metadata has {key}={request.metadata.get(key)!r}"
        if self.tool_result is not None and self.tool_result not in request.tool_results:
            return f"the tool results at the end are of {names(request.tool_results)}"
        if self.last is not None and (not request.messages or request.messages[-1].role != self.last):
            return f"the last message is {show_message(request.messages[-1]) if request.messages else 'missing'}"
        for text in self.contains:
            if text not in request.text:
                return f"no message contains {text!r}"
        return None

    def fits(self, request: Request) -> bool:
        """True if the request meets all of this key."""
        # Most keys differ in a text, and that test is quick and needs no explanation.
        return (not self.contains or self.contains[0] in request.text) and self.misses(request) is None

    def names_all_tools(self, request: Request) -> bool:
        """True if the key names exactly the bound tools, not only some of them."""
        return self.tools is not None and self.tools == set(request.tools)

    def __str__(self) -> str:
        shown: dict[str, object] = {
            "contains": self.contains[0] if len(self.contains) == 1 else list(self.contains),
            "tools": sorted(self.tools or ()),
            "node": self.node,
            "tag": self.tag,
            "tool_result": self.tool_result,
            "metadata": dict(self.metadata),
            "thread": self.thread,
            "last": self.last,
        }
        given = {name: value for name, value in shown.items() if value or (name == "tools" and self.tools is not None)}
        return f"on({', '.join(f'{name}={value!r}' for name, value in given.items())})"


class StepGroup(ABC):
    """Steps that a key takes over together; `Script` is the one subclass."""

    @abstractmethod
    def hand_over(self, key: On, where: str) -> tuple[object, ...]:
        """Return the steps for `key`, which is written at `where`."""

    @abstractmethod
    def waive_steps(self) -> None:
        """Take all steps as served."""


@dataclass(frozen=True, slots=True)
class KeyedSteps:
    """A key and its steps. `on(...) >> ...` makes it."""

    key: On
    steps: tuple[Any, ...]
    where: str = field(default="", compare=False, repr=False)
    source: StepGroup | None = field(default=None, compare=False, repr=False)
    """The script of these steps; it owes their calls until another one has them."""


def on(
    *,
    contains: str | Sequence[str] = (),
    tools: str | Sequence[str] | set[str] | None = None,
    node: str | None = None,
    tag: str | None = None,
    tool_result: str | None = None,
    metadata: Mapping[str, object] | None = None,
    thread: str | None = None,
    last: str | None = None,
) -> On:
    """Return a key: `on(contains="weather") >> step` answers a call that matches, `on(node="planner") >> Script(...)` several.

    All conditions must hold. `contains`: these texts, in any message of the prompt. `tools`: these tools are bound; a key
    that names all of them goes before one that names some, and `tools=[]` means a call without tools. `node`: a LangGraph
    node around the call, the innermost one or an agent that is a node of a graph (`*` stands for anything). `tag`: a tag of
    the run. `tool_result`: the prompt ends with a result of this tool. `metadata`: these entries. `thread`: LangGraph's
    `thread_id`. `last`: the role of the last message.

    A call that matches no key falls to the steps without one. A call that matches two is a violation.

    Raises:
        ScriptError: no condition is given, a condition has a wrong type, or no message has such a role.

    >>> from llmtest import ScriptedChatModel
    >>> model = ScriptedChatModel(on(contains="weather") >> "Sunny.", on(contains="name") >> "Ada.")
    >>> model.invoke("your name?").content, model.invoke("the weather?").content
    ('Ada.', 'Sunny.')
    """
    for name, value in (("node", node), ("tag", tag), ("tool_result", tool_result)):
        if value is not None and not isinstance(value, str):
            raise ScriptError(f"{name}= of on() is a str; got {type(value).__name__} {value!r}")
    key = On(
        as_texts("contains", contains),
        frozenset(as_texts("tools", tools)) if tools is not None else None,
        node,
        tag,
        tool_result,
        FrozenDict(metadata or {}),
        None if thread is None else str(thread),
        as_role(last),
    )
    if key == On():
        raise ScriptError("on() matches every call if nothing is given; a step without a key does that")
    return key
