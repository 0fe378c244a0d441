"""Scripts: which step answers which model call.

Floor 0: standard library only (jsonschema-rs inside the check of a tool call, PyYAML inside `Script.load` and `Script.dump`).
A `Script` is the only thing that speaks; the doubles in `llmtest.langchain` are mouths for it, and nothing here knows
LangChain.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from llmtest import complaints, ledger
from llmtest.core.text import amount, names
from llmtest.events import EMPTY, FrozenDict, Message
from llmtest.gates import Gate
from llmtest.lanes import Lane
from llmtest.ledger import Violation, ViolationError
from llmtest.steps import Reply, ScriptError, Speaker, Step, as_role, as_texts, behind, caller, place
from llmtest.vocabulary import as_step


@dataclass(slots=True)
class Request:
    """One call of a model, in neutral words: what a matcher looks at, and what the function of `respond` gets.

    `tools` are the bound ones: name to JSON schema of their arguments. `tool_choice`, `stop` and `params` are as the
    program bound or passed them; `tags` and `metadata` are those of the run. Of a retriever, `text` is the query; of a
    tool, `args` are its arguments, and `text` is their JSON.
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
    _messages: Sequence[Message] | None = None
    _text: str | None = None

    @property
    def messages(self) -> Sequence[Message]:
        """The prompt, translated when it is first asked for."""
        if self._messages is None:
            self._messages = tuple(self.read())
        return self._messages

    @property
    def text(self) -> str:
        """The text of all messages, one after the other, each on lines of its own."""
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
        """The LangGraph node in which the model is called."""
        return self.metadata.get("langgraph_node")

    @property
    def thread(self) -> str | None:
        """LangGraph's `thread_id`."""
        thread = self.metadata.get("thread_id")
        return None if thread is None else str(thread)

    @property
    def tool_results(self) -> tuple[str, ...]:
        """The names of the tools whose results end the prompt: those that the model has not answered yet."""
        names: list[str] = []
        asked = {c.id: c.name for m in self.messages for c in m.tool_calls}
        for message in reversed(self.messages):
            if message.role != "tool":
                break
            names.append(message.name or asked.get(message.tool_call_id, ""))
        return tuple(reversed(names))


# -- which steps are for whom


@dataclass(frozen=True, slots=True)
class On:
    """Which calls a step or lane is for. Made by `on`; `on(...) >> step` and `on(...) >> Script(...)` make a lane."""

    contains: tuple[str, ...] = ()
    tools: frozenset[str] | None = None
    node: str | None = None
    tag: str | None = None
    tool_result: str | None = None
    metadata: FrozenDict = EMPTY
    thread: str | None = None
    last: str | None = None

    def __rshift__(self, steps: Any) -> Keyed:
        where = caller()
        if isinstance(steps, Script):
            if any(lane.key is not None for lane in steps._lanes):
                raise ScriptError(f"{self} >> Script(...) takes a script without keys of its own at {place(where)}")
            steps.adopted()
            return Keyed(self, steps.steps, where)
        return Keyed(self, (steps,), where)

    def misses(self, request: Request) -> str | None:
        """What of this key the request does not have; None if it has all of it. The cheap looks come first."""
        if self.tools is not None and not self.tools <= set(request.tools):
            return f"the bound tools are {names(request.tools)}"
        if self.node is not None and not fnmatchcase(request.node or "", self.node):
            return f"the node is {request.node!r}"
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
            return f"the last message is {complaints.show_message(request.messages[-1]) if request.messages else 'missing'}"
        for text in self.contains:
            if text not in request.text:
                return f"no message contains {text!r}"
        return None

    def fits(self, request: Request) -> bool:
        """Whether the request has all of this key. Most rules differ in a text: that is quickly seen, and needs no words."""
        return (not self.contains or self.contains[0] in request.text) and self.misses(request) is None

    def exactly(self, request: Request) -> bool:
        """Whether the key names the bound tools exactly, not just some of them."""
        return self.tools is not None and self.tools == set(request.tools)

    def __str__(self) -> str:
        shown: dict[str, Any] = {
            "contains": self.contains[0] if len(self.contains) == 1 else list(self.contains),
            "tools": sorted(self.tools or ()),
            "node": self.node,
            "tag": self.tag,
            "tool_result": self.tool_result,
            "metadata": dict(self.metadata),
            "thread": self.thread,
            "last": self.last,
        }
        return f"on({', '.join(f'{name}={value!r}' for name, value in shown.items() if value)})"


@dataclass(frozen=True, slots=True)
class Keyed:
    """Steps for the calls that match a key: what `on(...) >> ...` makes, for a `Script` to take and to read."""

    key: On
    steps: tuple[Any, ...]
    where: str = field(default="", compare=False, repr=False)


def on(
    *,
    contains: str | Sequence[str] = (),
    tools: str | Sequence[str] | set[str] | None = None,
    node: str | None = None,
    tag: str | None = None,
    tool_result: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    thread: str | None = None,
    last: str | None = None,
) -> On:
    """A key: `on(contains="weather") >> step` answers the calls that match it, `on(node="planner") >> Script(...)` is a lane.

    Everything that is given must hold. `contains`: these texts, in any message of the prompt. `tools`: these tools are
    bound; a key that names all of them goes before one that names some. `node`: the LangGraph node (`*` stands for
    anything). `tag`: a tag of the run. `tool_result`: the prompt ends with a result of this tool. `metadata`: these
    entries. `thread`: LangGraph's `thread_id`. `last`: the role of the last message.

    A call that matches no key falls to the steps without one. A call that matches two is a violation.

    Raises:
        ScriptError: nothing is given, or something of a wrong type.

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


class _Lane:
    """Steps that are served one after the other. Holds state; the script's lock guards it."""

    __slots__ = ("first", "index", "key", "served", "steps")

    def __init__(self, key: On | None, steps: Sequence[Step], first: int) -> None:
        self.key = key
        self.steps = tuple(steps)
        self.first = first
        self.index = 0
        self.served = 0

    def current(self) -> Step | None:
        return self.steps[self.index] if self.index < len(self.steps) else None

    def take(self) -> None:
        """The current step is served once more."""
        self.served += 1
        if self.served == self.steps[self.index].terms.times:
            self.index, self.served = self.index + 1, 0

    def left(self) -> list[tuple[int, Step]]:
        """The steps that were owed a call and got none, with their numbers."""
        rest = list(enumerate(self.steps, self.first))[self.index :]
        if rest and self.served and self.steps[self.index].terms.times is None:
            rest = rest[1:]
        return [(number, step) for number, step in rest if not step.terms.optional]


class _Claim(NamedTuple):
    """A step that was taken by a run that may still be open."""

    request: Request
    call: int
    number: int
    step: Step


# -- the script


class Script:
    """Steps that answer model calls in order: one step, one call.

    A step is what `say`, `think`, `call`, `structured`, `reply`, `fail` and `respond` return; or a plain str, an
    `AIMessage` or an exception. `on(...) >> step` keeps steps for the calls that match. A script is shared by reference:
    every copy of a model, every `bind`, every thread takes steps from the same one, each step exactly once.

    What must not happen is a violation: a call for which no step is left, a tool call that the bound tools do not allow,
    a prompt that is not as the step expects, a call that two keys match, two open runs that compete for steps in order;
    and a step that no call has asked for by the end of the test (`verify()` outside pytest).

    Between two steps may stand a gate, which `hold` makes: the call that the next step answers waits there.

    Thread-safe: claiming a step is one locked act; nothing is called while the lock is held.

    Raises:
        ScriptError: a step is not a step; the message has its number and what was given.

    >>> from llmtest import Script, ScriptedChatModel, say
    >>> model = ScriptedChatModel(script=Script(say("It is ", "sunny."), "Goodbye."))
    >>> model.invoke("weather?").content, model.invoke("thanks").content
    ('It is sunny.', 'Goodbye.')

    Steps are never repeated or skipped on their own: `.times(n)`, `.repeat()` and `.optional()` ask for it.
    """

    speaker = Speaker()

    def __init__(self, *steps: Any) -> None:
        self.violations: list[Violation] = []
        self._calls = 0
        self._claims: list[_Claim] = []
        self._lock = threading.Lock()
        self._lanes = _lanes(steps, caller())
        self._plain = self._lanes[0] if len(self._lanes) == 1 and self._lanes[0].key is None else None
        ledger.made(self)

    def __copy__(self) -> Script:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Script:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Script cannot be pickled: the copy would hand out the same steps again."
            " Dump it to a file with script.dump(path), and load that where it is needed"
        )

    def __repr__(self) -> str:
        return f"<Script: {amount(self._calls, 'call')}, {self.remaining} of {amount(len(self.steps), 'step')} left>"

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in the order in which they were written."""
        return tuple(step for lane in self._lanes for step in lane.steps)

    @property
    def lanes(self) -> tuple[Keyed | Step, ...]:
        """What the script was made of: steps, and keys with theirs."""
        made: list[Keyed | Step] = []
        for lane in self._lanes:
            made.extend(lane.steps if lane.key is None else [Keyed(lane.key, lane.steps)])
        return tuple(made)

    @property
    def remaining(self) -> int:
        """How many steps are owed a call that has not come yet."""
        return sum(len(lane.left()) for lane in self._lanes)

    def adopted(self) -> None:
        """Another script has taken over the steps: this one owes no calls any more."""
        for lane in self._lanes:
            lane.index = len(lane.steps)

    def serve(self, request: Request) -> Step:
        """Claims the next step for `request`.

        Raises:
            ViolationError: no step is left, two keys match, the prompt is not as the step expects, the step calls a
                tool in a way that the bound tools do not allow, or another open run competes for the step.
        """
        ledger.called(self)
        with self._lock:
            self._calls += 1
            call = self._calls
        lane = self._plain or self._lane(request, call)
        while True:
            with self._lock:
                step, number = lane.current(), lane.first + lane.index
                if step is not None and step.terms.expects is None:
                    lane.take()
            if step is None:
                raise self._violate("unexpected call", complaints.unexpected(self, request, call, lane.key))
            if step.terms.expects is None:
                break
            problem = complaints.expectation(step.terms.expects, request, self.speaker)
            if problem and not step.terms.optional:
                who = self.speaker
                text = f"step {number} expects another {who.input} than {who.name} call {call} has\n{problem}"
                raise self._violate(f"unexpected {who.input}", f"{text}\n  the script says {step} at {place(step.where)}")
            with self._lock:
                if lane.first + lane.index != number:  # another thread was faster
                    continue
                if problem:
                    lane.index += 1
                    continue
                lane.take()
                break
        run = request.run() if len(lane.steps) > 1 else None
        if run is not None:
            self._watch(lane, run, _Claim(request, call, number, step))
        return step

    def check(self, reply: Reply, request: Request) -> None:
        """Whether `reply` keeps what the caller of the model may rely on.

        Raises:
            ViolationError: it calls a tool that is not bound, with arguments that do not fit, or against `tool_choice`
                or `parallel_tool_calls=False`; or its text has a `stop` sequence in it.
        """
        if not reply.terms.checked:
            return
        rule, problem = "", None
        if reply.calls or request.tool_choice is not None:
            rule, problem = "invalid tool call", complaints.calls(reply, request)
        if not problem and request.stop:
            rule, problem = "stop sequence", complaints.stop_sequence(reply, request.stop)
        if problem:
            raise self._violate(rule, f"{problem}\n  the script says {reply} at {place(reply.where)}")

    def _lane(self, request: Request, call: int) -> _Lane:
        """The one lane that is for `request`."""
        fits = [lane for lane in self._lanes if lane.key is not None and lane.key.fits(request)]
        fits = [lane for lane in fits if lane.key and lane.key.exactly(request)] or fits
        waiting = [lane for lane in fits if lane.current() is not None] or fits[:1]
        if len(waiting) > 1:
            raise self._violate("ambiguous match", complaints.ambiguous(self, [lane.key for lane in waiting], request, call))
        if waiting:
            return waiting[0]
        unkeyed = [lane for lane in self._lanes if lane.key is None]
        if not unkeyed:
            raise self._violate("unexpected call", complaints.unexpected(self, request, call, None))
        return unkeyed[0]

    def _watch(self, lane: _Lane, run: Any, claim: _Claim) -> None:
        """Two open runs that take different steps in order get them by luck, unless one waits for the other."""
        with self._lock:
            rivals = [c for c in self._claims if c.request.run() not in (None, run)] if self._claims else []
            self._claims = [*rivals, claim]
        for rival in rivals:
            if not lane.first <= rival.number < lane.first + len(lane.steps):
                continue
            apart = claim.request.lane and rival.request.lane and not claim.request.lane.within(rival.request.lane)
            if apart and claim.step != rival.step and claim.request.messages != rival.request.messages:
                pair = ((c.request, c.call, c.number) for c in (rival, claim))
                text = complaints.competing(self.speaker, *pair)
                raise self._violate("competing calls", text)

    def unused(self) -> list[Violation]:
        """One violation for all steps that no call has asked for; empty when all were served."""
        left = [item for lane in self._lanes for item in lane.left()]
        return [Violation("unused step", complaints.unused(self, left, self._calls))] if left else []

    def verify(self) -> None:
        """Raises for every violation so far and for unused steps. The pytest plugin does this for you.

        Raises:
            ViolationError: with all of them.
        """
        gates = dict.fromkeys(gate for step in self.steps for gate in step.gates)
        found = [*self.violations, *(violation for gate in gates for violation in gate.found()), *self.unused()]
        if found:
            raise ViolationError(*found)

    def _violate(self, rule: str, text: str) -> ViolationError:
        return ledger.report(Violation(rule, text), self.violations)

    # -- files

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Script:
        """The script in a YAML file; its format is in docs/reference/script-files.md.

        Raises:
            ScriptError: with file and line, what was expected, what came, and the nearest word.

        It reads data only: a file cannot name code, only Python's built-in exceptions.
        """
        from llmtest import scriptfile

        return cls(*scriptfile.read(Path(path).read_bytes(), os.fspath(path)))

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Writes the steps to a YAML file from which `load` makes an equal script.

        Raises:
            ScriptError: a step holds an exception or a function, which a file cannot name.
        """
        from llmtest import scriptfile

        Path(path).write_text(scriptfile.write(self.lanes), "utf-8", newline="\n")


def _lanes(given: Sequence[Any], where: str) -> list[_Lane]:
    """The lanes of a new script: one for each key, and one for the steps without. Steps are numbered as written."""
    lanes: list[_Lane] = []
    plain: list[Step] = []
    for position, item, gates in _gated(given):
        if not isinstance(item, Keyed):
            plain.append(behind(gates, as_step(item, f"step {position} of the script", where)))
            continue
        if gates:
            raise ScriptError(
                f"a gate stands before {item.key}, whose steps it does not hold, at {place(where)}"
                "\n  behind the key it holds them: on(...) >> Script(gate, 'text')"
            )
        what = f"what {item.key} leads to"
        lanes.append(_Lane(item.key, [behind(held, as_step(s, what, item.where)) for _, s, held in _gated(item.steps)], 0))
    if plain or not lanes:
        lanes.append(_Lane(None, plain, 0))
    first = 1
    for lane in lanes:
        lane.first = first
        first += len(lane.steps)
        _reachable(lane)
    return lanes


def _gated(items: Sequence[Any]) -> Iterator[tuple[int, Any, tuple[Gate, ...]]]:
    """Each item with its position and the gates before it. A gate with nothing after it is an item too."""
    gates: tuple[Gate, ...] = ()
    for position, item in enumerate(items, 1):
        if isinstance(item, Gate) and position < len(items):
            gates += (item,)
        else:
            yield position, item, gates
            gates = ()


def _reachable(lane: _Lane) -> None:
    for position, step in enumerate(lane.steps[:-1]):
        if step.terms.times is None and not (step.terms.optional and step.terms.expects):
            after = lane.steps[position + 1]
            raise ScriptError(
                f"step {lane.first + position} repeats for every further call, so {after} after it is never asked for"
                f"\n  {step} at {place(step.where)}"
            )
