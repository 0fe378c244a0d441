"""Chat model classes that do not use HTTP: their calls are listened to, or answered from a script.

A local model, gRPC or boto3 never comes to the boundary where requests are answered. So the class itself is patched, as long as
a block is open: those of `_generate`, `_agenerate`, `_stream` and `_astream` that the class has. LangChain's part of a call
stays as it is: the run's name, callbacks, parameters, cache, `bind_tools`, `with_structured_output`.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from llmtest import ledger
from llmtest.core.patches import subclasses
from llmtest.errors import LEFT_OPEN, USE_WITH, ScriptError, Violation
from llmtest.events.usage import read_usage
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.langchain.answers import Answer, MessageAnswer, texts_of
from llmtest.langchain.batches import BatchesByPosition
from llmtest.langchain.chat_model import request_of
from llmtest.langchain.freezing import freeze
from llmtest.langchain.served import Scripted
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Text, Thinking
from llmtest.scripts.steps import as_step
from llmtest.scripts.tool_checks import check_calls, check_stop

METHODS: Final = ("_generate", "_agenerate", "_stream", "_astream")
BATCHES: Final = ("batch", "abatch", "batch_as_completed", "abatch_as_completed")


@dataclass(frozen=True, slots=True)
class NoStep:
    """An answer that no step can say, and why: `gave 2 candidates`."""

    why: str


class Note(Protocol):
    """Gets each call: the name of the model, its request, the answer as a step, and the number of the call.

    Calls are numbered by their starts and told when they end.
    """

    def __call__(self, name: str, request: Request, step: Reply | Fail | NoStep, number: int) -> None: ...


def name_of(model: BaseChatModel) -> str:
    """Return the name of a model in a script file: its class, and the name of the model if it has one: `LocalChat:llama3`."""
    named = getattr(model, "model_name", None) or getattr(model, "model", None)
    return f"{type(model).__name__}:{named}" if isinstance(named, str) else type(model).__name__


# -- the blocks


class _Patched:
    """A block in which methods of some classes, and of their subclasses, are replaced."""

    word = ""

    def __init__(self, classes: Iterable[type[BaseChatModel]]) -> None:
        self._classes = tuple(dict.fromkeys(classes))
        for kind in self._classes:
            if not (isinstance(kind, type) and issubclass(kind, BaseChatModel)) or kind is BaseChatModel:
                raise ScriptError(f"{self.word}() takes classes of chat models of your own; got {kind!r}")
        self._undo: list[Callable[[], None]] = []
        self.patched: set[type] = set()
        self.is_open = False

    def __enter__(self) -> Any:
        self.is_open = True
        for kind in self._classes:
            for each in (kind, *subclasses(kind)):
                self._patch(each)
            self._put(
                kind, "__init_subclass__", classmethod(functools.partial(_late, self, _resolved(kind, "__init_subclass__")))
            )
        ledger.keep_block(self)
        return self

    def __exit__(self, *_: object) -> None:
        ledger.drop_block(self)
        self.is_open = False
        while self._undo:
            self._undo.pop()()

    def end_of_test(self) -> list[Violation]:
        """Leave the block if the test that entered it has not."""
        if not self.is_open:
            return []
        self.__exit__()
        return [Violation(LEFT_OPEN, f"a {self.word}() block was left open by the test\n  {USE_WITH}")]

    def _patch(self, kind: type) -> None:
        if kind in self.patched:
            return
        self.patched.add(kind)
        for name in METHODS:
            original = _resolved(kind, name)
            # LangChain's own method calls another of the four. But its `_astream` calls `_stream` in a thread, where the run of
            # the call cannot be found any more.
            own = "_stream" if name == "_astream" else name
            if original is not BaseChatModel.__dict__[name] or _resolved(kind, own) is not BaseChatModel.__dict__[own]:
                wrapped = functools.wraps(original)(getattr(self, f"wrap{name}")(kind, original))
                self._put(kind, name, wrapped)

    def _put(self, kind: type, name: str, value: Any) -> None:
        had = kind.__dict__.get(name)
        setattr(kind, name, value)

        def undo() -> None:
            if kind.__dict__.get(name) is not value:  # patched after us, with ours inside
                return
            if had is None:  # it was inherited, and is again
                delattr(kind, name)
            else:
                setattr(kind, name, had)

        self._undo.append(undo)

    def covers(self, model: BaseChatModel, kind: type) -> bool:
        """True if the call of a method of `kind` is the whole call of `model`, and not a call of its base."""
        return self.is_open and next((base for base in type(model).__mro__ if base in self.patched), None) is kind


def _late(block: _Patched, original: Any, cls: type, **kwargs: Any) -> None:
    """Patch a subclass that is defined while the block is open."""
    original.__get__(None, cls)(**kwargs)
    block._patch(cls)


def _resolved(kind: type, name: str) -> Any:
    """Return the attribute of a class as it stands in the class, or in the base that has it."""
    return next(base.__dict__[name] for base in kind.__mro__ if name in base.__dict__)


def _arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return messages, stop, run manager and parameters of one of the four methods."""
    given = {**dict(zip(("messages", "stop", "run_manager"), args, strict=False)), **kwargs}
    return given.pop("messages"), given.pop("stop", None), given.pop("run_manager", None), given


# -- listening

_heard: ContextVar[tuple[BaseChatModel, ...]] = ContextVar("llmtest_heard", default=())
"""The models whose calls are being listened to in this context: a method may call another one of the same model."""


@contextmanager
def _within(model: BaseChatModel) -> Iterator[None]:
    token = _heard.set((*_heard.get(), model))
    try:
        yield
    finally:
        _heard.reset(token)


class Listening(_Patched):
    """The block of `listening`."""

    word = "listening"

    def __init__(self, classes: Iterable[type[BaseChatModel]], note: Note) -> None:
        super().__init__(classes)
        self._note = note
        self._numbers = itertools.count(1)
        self._living: dict[int, _Heard] = {}

    def _call(self, model: BaseChatModel, kind: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Heard | None:
        if not self.covers(model, kind) or any(inner is model for inner in _heard.get()):
            return None
        messages, stop, run_manager, params = _arguments(args, kwargs)
        request = request_of(model, messages, stop, run_manager, params)
        tuple(request.messages)  # read now: the program may change them later
        name, number = name_of(model), next(self._numbers)

        def tell(step: Any) -> None:
            if self._living.pop(number, None) is not None:  # a thread may end a call after the block
                self._note(name, request, _unchecked(step, request), number)

        call = self._living[number] = _Heard(tell)
        return call

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        # What has not ended: a stream that its reader has left, or the call of a thread that still works.
        for call in list(self._living.values()):
            call.leave()

    def wrap_generate(self, kind: type, original: Any) -> Any:
        def _generate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
            call = block._call(self, kind, args, kwargs)
            if call is None:
                result: ChatResult = original(self, *args, **kwargs)
                return result
            with call.failing(), _within(self):
                result = original(self, *args, **kwargs)
            call.end_result(result)
            return result

        block = self
        return _generate

    def wrap_agenerate(self, kind: type, original: Any) -> Any:
        async def _agenerate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
            call = block._call(self, kind, args, kwargs)
            if call is None:
                result: ChatResult = await original(self, *args, **kwargs)
                return result
            with call.failing(), _within(self):
                result = await original(self, *args, **kwargs)
            call.end_result(result)
            return result

        block = self
        return _agenerate

    def wrap_stream(self, kind: type, original: Any) -> Any:
        def _stream(self: BaseChatModel, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            call = block._call(self, kind, args, kwargs)
            if call is None:
                yield from original(self, *args, **kwargs)
                return
            with call.failing():
                chunks = original(self, *args, **kwargs)
                while True:
                    with _within(self):  # only here: a generator shares the context of its reader
                        chunk = next(chunks, None)
                    if chunk is None:
                        break
                    call.chunks.append(chunk)
                    yield chunk
            call.end_stream()

        block = self
        return _stream

    def wrap_astream(self, kind: type, original: Any) -> Any:
        async def _astream(self: BaseChatModel, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
            call = block._call(self, kind, args, kwargs)
            chunks = original(self, *args, **kwargs)
            if call is None:
                async for chunk in chunks:
                    yield chunk
                return
            with call.failing():
                while True:
                    with _within(self):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    call.chunks.append(chunk)
                    yield chunk
            call.end_stream()

        block = self
        return _astream


class _Heard:
    """One call that is listened to."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.tell = tell
        self.chunks: list[ChatGenerationChunk] = []

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Tell of an exception that ends the call, with what the stream had said."""
        try:
            yield
        except Exception as error:
            failure = Fail(error)
            so_far = _step_of_chunks(self.chunks) if self.chunks else failure
            self.tell(replace(so_far, failure=failure) if isinstance(so_far, Reply) else so_far)
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            self.tell(NoStep(f"was stopped by {type(error).__name__}"))
            raise
        except BaseException:  # its reader has left the stream, or its task was cancelled: it will leave it there again
            self.leave()
            raise

    def leave(self) -> None:
        """Tell that the program has left the call, or the test has ended, before it was over."""
        if not self.chunks:
            self.tell(Reply((Text(()),)).then_wait().optional())  # another time it may leave before the call begins
            return
        so_far = _step_of_chunks(self.chunks)
        self.tell(replace(so_far, usage=None, stop_reason=None).then_wait() if isinstance(so_far, Reply) else so_far)

    def end_result(self, result: ChatResult) -> None:
        self.tell(_step_of_result(result))

    def end_stream(self) -> None:
        self.tell(_step_of_chunks(self.chunks))


def listening(classes: Iterable[type[BaseChatModel]], note: Note) -> Listening:
    """Return a block in which `note` gets each call of these chat model classes. The calls run as they are.

    `note(name, request, step, number)` gets the name of the model (`name_of`), the request, and the answer as a step: a `Reply`
    with usage, stop reason, tool calls, reasoning and, of a stream, its exact tokens; a `Fail`; or `NoStep` for an answer that
    no step can say. `number` counts the calls by their starts; each is told when it ends. A method of a model that calls
    another one of the same model is one call. Subclasses count too.

    Raises:
        ScriptError: a class is no chat model class.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> heard = []
    >>> with listening([FakeListChatModel], lambda name, request, step, number: heard.append((name, str(step)))):
    ...     _ = FakeListChatModel(responses=["Hello there"]).invoke("hi")
    >>> heard
    [('FakeListChatModel', "say('Hello', ' there')")]

    A call that LangChain's cache answers is none of the class. `note` is called on the thread of the call. A step does not keep
    the `index` of a call in its stream, and a call that came with its arguments in one chunk is answered in two.
    """
    return Listening(classes, note)


# -- an answer of LangChain's as a step


def _step_of_result(result: ChatResult) -> Reply | NoStep:
    if len(result.generations) != 1:
        return NoStep(f"gave {len(result.generations)} candidates")
    message = result.generations[0].message
    if not isinstance(message, AIMessage):
        return NoStep(f"gave a message of the role `{message.type}`")
    step = _step_of(message)
    if isinstance(step, Reply) and step.usage is False and result.llm_output:
        # Older integrations report it beside the message.
        counts = freeze(result.llm_output)
        usage = read_usage(counts.get("token_usage") or counts.get("usage"))
        return replace(step, usage=False if usage is None else usage)
    return step


def _step_of(message: AIMessage) -> Reply | NoStep:
    try:
        step = as_step(message, "an answer", "")
    except ScriptError as error:
        return NoStep(f"gave an answer that no step can say: {error}")
    assert isinstance(step, Reply)
    # A step without usage counts one; the class has reported none.
    step = replace(step, usage=False if step.usage is None else step.usage)
    metadata = message.response_metadata
    if "finish_reason" not in metadata and step.stop_reason is not None:  # under another key, which a script does not have
        return replace(step, stop_reason=None, response_metadata=freeze(metadata))
    return step


def _unchecked(step: Reply | Fail | NoStep, request: Request) -> Reply | Fail | NoStep:
    """Return a step that is not checked if its answer breaks the contract with its caller: real models do."""
    if not isinstance(step, Reply):
        return step
    breaks = check_calls(step, request) if step.calls or request.tool_choice is not None else None
    breaks = breaks or (check_stop(step, request.stop) if request.stop else None)
    return step.unchecked() if breaks else step


def _step_of_chunks(chunks: Sequence[ChatGenerationChunk]) -> Reply | NoStep:
    if not chunks:
        return Reply((), usage=False)
    try:
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole = whole + chunk
    except Exception as error:
        return NoStep(f"gave chunks that LangChain cannot add up: {error}")
    message: Any = whole.message
    step = _step_of(message)
    if isinstance(step, NoStep):
        return step
    if not all(isinstance(chunk.message.content, str) for chunk in chunks):
        return _with_tokens_of_blocks(step, chunks)
    said = {name: value for name, value in step.verbatim.items() if name != "invalid_tool_calls"}
    verbatim = FrozenDict(said) if said.keys() != {"content"} else EMPTY
    return replace(step, parts=tuple(_parts(chunks, step)), verbatim=verbatim)


def _parts(chunks: Sequence[ChatGenerationChunk], step: Reply) -> list[Part]:
    """Return the parts of a stream of text and calls, in order, with the exact tokens of each."""
    calls = {(call.tool, call.id): call for call in step.calls}
    parts: list[Part] = []
    places: dict[object, int] = {}
    pieces: dict[int, list[str]] = {}
    for chunk in chunks:
        message: Any = chunk.message
        called = getattr(message, "tool_call_chunks", ())
        for piece in called:
            if piece.get("name"):
                key = (piece["name"], piece.get("id"))
                places[piece.get("index")] = len(parts)
                # A call whose arguments are no JSON is none of the calls that LangChain has read.
                parts.append(calls.pop(key) if key in calls else Call(piece["name"], EMPTY, piece.get("id")))
            place = places.get(piece.get("index"))
            if place is not None and piece.get("args"):
                pieces.setdefault(place, []).append(piece["args"])
        content = message.content if isinstance(message.content, str) else ""
        if content or not called:
            said = parts.pop().tokens if parts and isinstance(parts[-1], Text) else ()
            parts.append(Text((*said, content)))
    parts = [replace(part, pieces=tuple(pieces.get(at, ()))) if isinstance(part, Call) else part for at, part in enumerate(parts)]
    # Calls that LangChain has read from elsewhere than their chunks.
    return [*_without_closing(parts, chunks), *calls.values()]


def _without_closing(parts: list[Part], chunks: Sequence[ChatGenerationChunk]) -> list[Part]:
    """Return parts without the empty token of a chunk that closes the stream: each answer closes its own."""
    last: Any = chunks[-1].message
    if getattr(last, "chunk_position", None) == "last" and not last.content and parts and isinstance(parts[-1], Text):
        tokens = parts[-1].tokens[:-1]
        return [*parts[:-1], Text(tokens)] if tokens else parts[:-1]
    return parts


def _with_tokens_of_blocks(step: Reply, chunks: Sequence[ChatGenerationChunk]) -> Reply:
    """Return a step whose text and reasoning have the tokens of the blocks that streamed them."""
    said: dict[type, list[str]] = {}
    for chunk in chunks:
        tokens = as_step(AIMessage(content=chunk.message.content), "a chunk", "")
        for part in tokens.parts if isinstance(tokens, Reply) else ():
            said.setdefault(type(part), []).append("".join(part.tokens))
    parts: list[Part] = []
    for part in step.parts:
        exact = said.get(type(part), [])
        if isinstance(part, Text | Thinking):
            taken: list[str] = []
            whole = "".join(part.tokens)
            while exact and whole.startswith("".join([*taken, exact[0]])):
                taken.append(exact.pop(0))
            part = replace(part, tokens=tuple(taken)) if "".join(taken) == whole else part
        parts.append(part)
    exact_calls = {(part.tool, part.id): part for part in _parts(chunks, step) if isinstance(part, Call)}
    parts = [exact_calls.get((part.tool, part.id), part) if isinstance(part, Call) else part for part in parts]
    # Chunks without content after the last block, which bring the usage.
    says = [bool(chunk.message.content or getattr(chunk.message, "tool_call_chunks", None)) for chunk in chunks]
    empty = [True, *says][::-1].index(True)
    if getattr(chunks[-1].message, "chunk_position", None) == "last" and empty:
        empty -= 1
    return replace(step, parts=(*parts, Text(("",) * empty)) if empty else tuple(parts))


# -- answering


class Answering(_Patched):
    """The block of `answering`."""

    word = "answering"

    def __init__(self, classes: Iterable[type[BaseChatModel]], script_of: Callable[[str], Script]) -> None:
        super().__init__(classes)
        self._script_of = script_of

    def _patch(self, kind: type) -> None:
        is_new = kind not in self.patched
        super()._patch(kind)
        for name in BATCHES if is_new and not issubclass(kind, BatchesByPosition) else ():
            self._put(kind, name, BatchesByPosition.__dict__[name])

    def _speaker(self, model: BaseChatModel, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Speaker:
        messages, stop, run_manager, params = _arguments(args, kwargs)
        default = getattr(model, "stop", None)
        request = request_of(model, messages, default if stop is None else stop, run_manager, params)
        return _Speaker(self._script_of(name_of(model)), type(model).__name__, request, messages)

    def wrap_generate(self, kind: type, original: Any) -> Any:
        def _generate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
            if not block.covers(self, kind):
                result: ChatResult = original(self, *args, **kwargs)
                return result
            return block._speaker(self, args, kwargs).answer().result()

        block = self
        return _generate

    def wrap_agenerate(self, kind: type, original: Any) -> Any:
        async def _agenerate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
            if not block.covers(self, kind):
                result: ChatResult = await original(self, *args, **kwargs)
                return result
            return (await block._speaker(self, args, kwargs).aanswer()).result()

        block = self
        return _agenerate

    def wrap_stream(self, kind: type, original: Any) -> Any:
        def _stream(self: BaseChatModel, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            if not block.covers(self, kind):
                yield from original(self, *args, **kwargs)
                return
            speaker, run_manager = block._speaker(self, args, kwargs), _arguments(args, kwargs)[2]
            for chunk in speaker.answer(streams=True).chunks():
                if isinstance(chunk, Gate):
                    speaker.hold(chunk)
                    continue
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

        block = self
        return _stream

    def wrap_astream(self, kind: type, original: Any) -> Any:
        async def _astream(self: BaseChatModel, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
            if not block.covers(self, kind):
                async for chunk in original(self, *args, **kwargs):
                    yield chunk
                return
            speaker, run_manager = block._speaker(self, args, kwargs), _arguments(args, kwargs)[2]
            for chunk in (await speaker.aanswer(streams=True)).chunks():
                if isinstance(chunk, Gate):
                    await speaker.ahold(chunk)
                    continue
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

        block = self
        return _astream


class _Speaker(Scripted):
    """Answers one call of a class from a script."""

    def __init__(self, script: Script, name: str, request: Request, messages: list[Any]) -> None:
        self.script = script
        self._name = name
        self._asked = request
        self._messages = messages

    def _known_as(self) -> str:
        return self._name

    def answer(self, *, streams: bool = False) -> Answer:
        return self._answer(self._serve(self._asked, streams=streams))

    async def aanswer(self, *, streams: bool = False) -> Answer:
        return self._answer(await self._aserve(self._asked, streams=streams))

    def hold(self, gate: Gate) -> None:
        self._hold([gate], self._asked)

    async def ahold(self, gate: Gate) -> None:
        await self._ahold([gate], self._asked)

    def _answer(self, reply: Reply) -> Answer:
        prompt = texts_of(self._messages) if reply.usage is None else ()
        return (_MessageOfClass if reply.verbatim else _AnswerOfClass)(reply, "", prompt, "plain")


class _AnswerOfClass(Answer):
    """An answer with the metadata that its step gives, and no other: which those are is the class's own matter."""

    def __init__(self, reply: Reply, model_name: str, prompt: Sequence[str], dialect: str) -> None:
        super().__init__(reply, model_name, prompt, dialect)
        metadata = self.closing["response_metadata"]
        if "model_name" not in reply.response_metadata:
            metadata.pop("model_name", None)
        if reply.stop_reason is None and "finish_reason" not in reply.response_metadata:
            metadata.pop("finish_reason", None)

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        # No `chunk_position`, as in most classes: LangChain then closes the stream with an empty chunk.
        *before, last = list(self._pieces()) or [{"content": ""}]
        for piece in before:
            yield self._chunk(piece)
        yield self._chunk(last if self.reply.failure is not None else {**last, **self.closing})
        if self.reply.failure is not None:
            raise self.error()

    def _pieces(self) -> Iterator[dict[str, Any]]:
        pieces = list(super()._pieces())
        ends_with_call = bool(self.reply.parts) and isinstance(self.reply.parts[-1], Call)
        # The last one would close the stream.
        return iter(pieces[:-1] if ends_with_call and not self.reply.stops_last else pieces)

    def _chunk(self, fields: dict[str, Any]) -> ChatGenerationChunk:
        return ChatGenerationChunk(message=AIMessageChunk(id=self.id, **fields))


class _MessageOfClass(MessageAnswer, _AnswerOfClass):
    """The same for a step that has the content of a message as it is. Its stream has the tokens of the step's parts."""

    def _pieces(self) -> Iterator[dict[str, Any]]:
        said = self.reply.verbatim
        if isinstance(said["content"], str):
            pieces = [*_AnswerOfClass._pieces(self), *self._broken()] or [{"content": ""}]
            pieces[0] = {**pieces[0], "additional_kwargs": _thawed(said.get("additional_kwargs", EMPTY))}
            return iter(pieces)
        pieces = list(super()._pieces())
        if self.reply.calls or said.get("invalid_tool_calls"):
            pieces.pop()
        closing = self.reply.parts[-1] if self.reply.parts else None
        ends = [{"content": token} for token in closing.tokens if not token] if isinstance(closing, Text) else []
        return iter([*(cut for piece in pieces for cut in self._cut(piece)), *ends])

    def _broken(self) -> list[dict[str, Any]]:
        calls = enumerate(self.reply.verbatim.get("invalid_tool_calls", ()), len(self.reply.calls))
        chunks = [{"name": call["name"], "args": call["args"], "id": call.get("id"), "index": index} for index, call in calls]
        return [{"content": "", "tool_call_chunks": [chunk]} for chunk in chunks]

    def _cut(self, piece: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a block in the tokens of its part: LangChain joins the pieces by the `index` of the block."""
        content = piece["content"]
        block = content[0] if isinstance(content, list) and len(content) == 1 else None
        key = next((k for k in ("text", "reasoning", "thinking") if isinstance(block, dict) and k in block), None)
        parts = [p for p in self.reply.parts if isinstance(p, Text | Thinking)]
        if not isinstance(block, dict) or key is None or "index" not in block:
            yield piece
            return
        tokens = next((part.tokens for part in parts if "".join(part.tokens) == block[key]), (block[key],))
        yield {**piece, "content": [{**block, key: tokens[0]}]}
        for token in tokens[1:]:
            yield {"content": [{"type": block["type"], key: token, "index": block["index"]}]}


def _thawed(value: FrozenDict) -> dict[str, Any]:
    thawed: dict[str, Any] = json.loads(json.dumps(value))
    return thawed


def answering(classes: Iterable[type[BaseChatModel]], script_of: Callable[[str], Script]) -> Answering:
    """Return a block in which calls of these chat model classes are answered from scripts. The classes' own code does not run.

    `script_of(name)` returns the script of a model; its name is that of `name_of`. The checks, tokens, usage and violations are
    those of `ScriptedChatModel`; the name of the run, the parameters, `bind_tools` and `with_structured_output` those of the
    class. An answer has the metadata of its step, and no other. The inputs of a `batch` take steps by their position.

    Raises:
        ScriptError: a class is no chat model class.
        ViolationError: in the program: no step is left, or the step does not fit.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> script = Script("Hello from the script")
    >>> with answering([FakeListChatModel], lambda name: script):
    ...     FakeListChatModel(responses=["Hello there"]).invoke("hi").content
    'Hello from the script'

    It replaces `_generate`, `_agenerate`, `_stream` and `_astream`: a class with an `invoke` of its own is not answered.
    """
    return Answering(classes, script_of)
