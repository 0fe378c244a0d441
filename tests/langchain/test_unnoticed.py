"""Recording does not change the program: each test runs it without and with a recording, and compares all that is to be seen.

That is what every kind of handler was told, on which thread and in which task; what the caller got back or had to catch; the
tasks that were made, the threads that worked, warnings, log records and standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import io
import logging
import pickle
import re
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    BaseCallbackHandler,
    FileCallbackHandler,
    StdOutCallbackHandler,
)
from langchain_core.globals import set_debug
from langchain_core.language_models import LLM
from langchain_core.runnables import RunnableConfig, RunnableGenerator, RunnableLambda, RunnableParallel
from langchain_core.tracers import BaseTracer
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langsmith import Client
from langsmith.run_helpers import tracing_context

from llmtest import ScriptedChatModel, ScriptedLLM, call, fail, record, say
from llmtest.langchain import tap
from llmtest.ledger import Ledger, opened
from tests.langchain.test_callbacks import EVERY, HI, PROGRAMS, Mumbler, Program, Talker
from tests.support.tools import Shelf, weather

# -- handlers of every colour, that write down all they are told

METHODS = [name for name in dir(BaseCallbackHandler) if name.startswith("on_")]
_IDS = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|0x[0-9a-f]+")
_NUMBERS = re.compile(r"(?<=[-_])\d+")
_SECONDS = re.compile(r"[\d.]+s elapsed")


def plain(value: Any) -> str:
    """The text of a value, without what differs from run to run."""
    return _SECONDS.sub("<s>", _IDS.sub("<id>", repr(value) if not isinstance(value, str) else value))


def place() -> tuple[str, str | None]:
    """The thread and the task, if any, in which this runs; without the numbers in their names."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return _NUMBERS.sub("N", threading.current_thread().name), None
    return _NUMBERS.sub("N", threading.current_thread().name), _NUMBERS.sub("N", task.get_name()) if task else "no task"


class Writes:
    """What handlers have in common: `seen` is the log."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def write(self, name: str, args: Any, kwargs: Any) -> None:
        self.seen.append((name, plain(args), sorted((key, plain(value)) for key, value in kwargs.items()), place()))
        self.act(name, kwargs)

    def act(self, name: str, kwargs: Any) -> None:
        """What a handler does beside writing."""


def _sync(name: str) -> Any:
    return lambda self, *args, **kwargs: self.write(name, args, kwargs)


def _async(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> None:
        self.write(name, args, kwargs)
        await asyncio.sleep(0)

    return method


def handler(name: str, *bases: type[Any], make: Any = _sync, methods: list[str] = METHODS, **own: Any) -> Any:
    """A class of handlers with all `methods`."""
    return type(name, (Writes, *bases), {**{method: make(method) for method in methods}, **own})


def _breaks(self: Any, name: str, kwargs: Any) -> None:
    if name in ("on_llm_start", "on_chat_model_start", "on_chain_end", "on_tool_end"):
        raise ValueError(f"broken in {name}")


def _meddles(self: Any, name: str, kwargs: Any) -> None:
    if kwargs.get("tags") is not None:
        kwargs["tags"].append(f"seen-{len(self.seen)}")
    if kwargs.get("metadata") is not None:
        kwargs["metadata"]["seen"] = len(self.seen)


def _pass_on(self: Any, run_id: Any, output: Any) -> Any:
    return output


OLD = [name for name in METHODS if name != "on_chat_model_start"]
IGNORES = {f"ignore_{what}": True for what in ("llm", "agent", "retry", "custom_event")}

Plain = handler("Plain", BaseCallbackHandler)
Inline = handler("Inline", BaseCallbackHandler, run_inline=True)
Async = handler("Async", AsyncCallbackHandler, make=_async)
AsyncInline = handler("AsyncInline", AsyncCallbackHandler, make=_async, run_inline=True)
Old = handler("Old", BaseCallbackHandler, methods=OLD)
OldAsync = handler("OldAsync", AsyncCallbackHandler, make=_async, methods=OLD)
Ignores = handler("Ignores", BaseCallbackHandler, **IGNORES)
IgnoresChats = handler("IgnoresChats", AsyncCallbackHandler, make=_async, ignore_chat_model=True, ignore_chain=True)
Breaks = handler("Breaks", BaseCallbackHandler, act=_breaks)
BreaksAll = handler("BreaksAll", BaseCallbackHandler, act=_breaks, raise_error=True)
BreaksAllAsync = handler("BreaksAllAsync", AsyncCallbackHandler, make=_async, act=_breaks, raise_error=True)
Meddles = handler("Meddles", BaseCallbackHandler, act=_meddles, run_inline=True)  # or chance decides who is first
Streams = handler("Streams", BaseCallbackHandler, _StreamingCallbackHandler, tap_output_iter=_pass_on, tap_output_aiter=_pass_on)


class Tracer(BaseTracer):
    """Keeps the trees of runs that LangChain's tracers build."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.seen.append(self._tree(run))

    def _tree(self, run: Any) -> Any:
        error = (run.error or "").splitlines()[:1]  # then comes a traceback with line numbers of timing
        facts = (run.name, run.run_type, plain(run.inputs), plain(run.outputs), error, sorted(run.tags or []))
        return (*facts, [event["name"] for event in run.events], [self._tree(child) for child in run.child_runs])


HANDLERS: dict[str, list[Any]] = {
    "none": [],
    "sync": [Plain],
    "async": [Async],
    "inline": [Inline],
    "async inline": [AsyncInline],
    "sync and async": [Plain, Async],
    "all colours": [Plain, Async, Inline, AsyncInline],
    "without on_chat_model_start": [Old, OldAsync],
    "that ignore": [Ignores, IgnoresChats],
    "that break": [Breaks, Async],
    # Not with a plain one: nobody waits for its thread when another handler raises, so what it is told when is up to chance.
    "that raise": [Inline, BreaksAll, Async],
    "that raise, async": [BreaksAllAsync, Inline],
    "that meddle": [Meddles, Plain],
    "that make models stream": [Streams, Plain],
    "tracers": [Tracer, Plain],
    "console": [StdOutCallbackHandler, lambda: FileCallbackHandler("/dev/stdout")],
}

# -- everything that there is to see


@dataclass
class Seen:
    """What one run of a program did, as far as anyone but us can tell."""

    got: Any = None
    raised: list[Any] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    warned: list[str] = field(default_factory=list)
    logged: list[Any] = field(default_factory=list)
    printed: str = ""


Case = Callable[[list[Any]], Any]


def watch(case: Case, make: list[Any], block: Any, *, in_order: bool = True) -> Seen:
    """Runs `case` inside `block`, and writes down what is to be seen of it."""
    seen, handlers, out = Seen(), [one() for one in make], io.StringIO()
    records = _Records()
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened(Ledger()))  # calls are numbered anew
        stack.enter_context(_counted(seen))
        stack.enter_context(contextlib.redirect_stdout(out))
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stack.enter_context(records.listening())
        stack.callback(gc.enable)
        gc.disable()  # which generators a loop has to close at its end would depend on it
        stack.enter_context(block)
        try:
            seen.got = plain(case(handlers))
        except BaseException as error:
            seen.raised = _chain(error)
    seen.tasks.sort()  # threads that report to the loop mix
    seen.warned = [plain(str(warning.message)) for warning in caught]
    seen.logged, seen.printed = records.seen, plain(out.getvalue())
    seen.told = [[type(one).__name__, getattr(one, "seen", [])] for one in handlers]
    return seen if in_order else _sorted(seen)


def _sorted(seen: Seen) -> Seen:
    """In no order, also within the texts of values: the outputs of branches come in the order in which they were made."""
    seen.told = [[name, sorted("".join(sorted(repr(one))) for one in log)] for name, log in seen.told]
    seen.logged, seen.got = sorted(seen.logged), sorted(str(seen.got))
    return seen


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.seen: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "langsmith.client":  # it tells when a client was made and collected
            return
        self.seen.append((record.name, record.levelname, plain(record.getMessage()), record.funcName))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        root = logging.getLogger()
        level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(self)
            root.setLevel(level)


@contextlib.contextmanager
def _counted(seen: Seen) -> Iterator[None]:
    """Writes down every task that is made on an event loop, and every thread that is started."""

    def factory(loop: Any, coroutine: Any, **kwargs: Any) -> Any:
        seen.tasks.append(getattr(coroutine, "__qualname__", type(coroutine).__name__))
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    def new_loop() -> Any:
        loop = asyncio.SelectorEventLoop()
        loop.set_task_factory(factory)
        return loop

    def start(thread: Any) -> None:
        seen.threads.add(_NUMBERS.sub("N", thread.name))
        begin(thread)

    begin = threading.Thread.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.events, "new_event_loop", new_loop)
        patch.setattr(threading.Thread, "start", start)
        yield


def _chain(error: BaseException | None) -> list[Any]:
    """An exception and what is behind it: class, text, the functions it went through but the one that we have mended."""
    found: list[Any] = []
    while error is not None:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename != tap.__file__]
        found.append((type(error).__name__, plain(str(error)), frames, error.__cause__ is not None, error.__suppress_context__))
        error = error.__cause__ or error.__context__
    return found


@contextlib.contextmanager
def _nested() -> Iterator[None]:
    with record(), record():
        yield


def compare(case: Case, make: list[Any], *, in_order: bool = True) -> Seen:
    """`case` as it is without a recording; fails if anything is different inside one block, or inside two."""
    watch(case, make, contextlib.nullcontext())  # what is made at the first time only
    without = watch(case, make, contextlib.nullcontext(), in_order=in_order)
    inside = watch(case, make, record(), in_order=in_order)
    nested = watch(case, make, _nested(), in_order=in_order)

    assert asdict(inside) == asdict(without)
    assert asdict(nested) == asdict(without)
    return without


# -- programs

WAYS = ("invoke", "ainvoke", "stream", "astream_events v2")


def _ways(program: Program) -> list[str]:
    """Not the stream of branches side by side: which of them works on which thread is up to chance, without us too."""
    return [how for how in WAYS if how in program.ways and not (how == "stream" and program.side_by_side)]


def called(make: Callable[[], Any], given: Any, how: str) -> Case:
    # Without handlers no `callbacks` at all: an empty list makes async text models fail with an IndexError.
    return lambda handlers: EVERY[how](make().with_config(callbacks=handlers) if handlers else make(), given)


@pytest.mark.parametrize(("name", "how"), [(n, how) for n, p in PROGRAMS.items() for how in _ways(p)])
def test_a_program_and_handlers_of_all_colours_do_not_notice(name: str, how: str) -> None:
    program = PROGRAMS[name]

    compare(called(program.make, program.given, how), HANDLERS["all colours"], in_order=not program.side_by_side)


SMALL: dict[str, tuple[Callable[[], Any], Any]] = {
    "chat model": (lambda: ScriptedChatModel(say("a", "b")), "hi"),
    "text model": (lambda: ScriptedLLM(say("a", "b")), "hi"),
    "broken text model": (lambda: ScriptedLLM(say("a").then_fail(ConnectionError("reset"))), "hi"),
    "own chat model": (Talker, "hi"),
    "own text model": (Mumbler, "hi"),
    "tool": (lambda: weather, {"city": "Paris"}),
    "broken tool": (lambda: weather, {"city": "Atlantis"}),
    "retriever": (Shelf, "cats"),
    "broken step": (lambda: RunnableLambda(lambda x: x) | RunnableLambda(lambda x: 1 / x), 0),
}


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "astream"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("handlers", HANDLERS)
def test_handlers_of_each_kind_do_not_notice(handlers: str, name: str, how: str) -> None:
    make, given = SMALL[name]

    compare(called(make, given, how), HANDLERS[handlers])


# -- what is done to a program, or done by it, at odd moments


class Stops(LLM):
    """A model that somebody stops at the keyboard."""

    @property
    def _llm_type(self) -> str:
        return "stops"

    def _call(self, *args: Any, **kwargs: Any) -> str:
        raise KeyboardInterrupt

    async def _acall(self, *args: Any, **kwargs: Any) -> str:
        raise KeyboardInterrupt


ODD: dict[str, tuple[Callable[[], Any], Any]] = {
    "interrupted at the keyboard": (lambda: RunnableLambda(lambda x: x) | Stops(), "hi"),
    "exits": (lambda: RunnableLambda(exit), 3),
    "raises in a chain of causes": (lambda: RunnableLambda(_raises), 1),
    "an agent whose tool fails": (lambda: create_agent(ScriptedChatModel(call("weather", city="Atlantis")), [weather]), HI),
    "fails in a branch": (lambda: RunnableParallel(a=RunnableLambda(lambda x: 1 / x)), 0),
    "falls back twice": (lambda: _broken().with_fallbacks([_broken(), ScriptedLLM("c")]), "hi"),
    "all fallbacks fail": (lambda: _broken().with_fallbacks([_broken()]), "hi"),
    "cached": (lambda: RunnableLambda(lambda x: _twice(ScriptedChatModel("x", cache=InMemoryCache()))), "hi"),
    "cached text": (lambda: RunnableLambda(lambda x: _twice(ScriptedLLM("x", cache=InMemoryCache()))), "hi"),
    "warns": (lambda: RunnableLambda(lambda x: warnings.warn("careful", stacklevel=1)), 1),
    "prints": (lambda: RunnableLambda(print), "hi"),
}


def _raises(value: Any) -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def _broken() -> Any:
    return ScriptedLLM(fail(ConnectionError("reset")))


def _twice(model: Any) -> list[Any]:
    return [model.invoke("hi"), model.invoke("hi")]


@pytest.mark.parametrize("handlers", ["none", "all colours", "that raise", "tracers"])
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("name", ODD)
def test_odd_ends_are_the_same(name: str, how: str, handlers: str) -> None:
    make, given = ODD[name]

    compare(called(make, given, how), HANDLERS[handlers])


def _steps() -> Any:
    async def pause(value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    return RunnableLambda(pause) | ScriptedLLM("b") | RunnableLambda(pause) | ScriptedChatModel(say("a", "b"))


async def _cancelled_after(steps: int, runnable: Any, handlers: list[Any]) -> Any:
    task = asyncio.ensure_future(runnable.ainvoke("hi", {"callbacks": handlers}))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return "cancelled" if task.cancelled() else task.result()


@pytest.mark.parametrize(
    ("handlers", "steps"),
    [([], range(60)), ([Inline], range(60)), ([Async], range(0, 160, 3)), ([Async, AsyncInline], range(1, 240, 5))],
    ids=["none", "inline", "async", "async and async inline"],
)
def test_a_program_cancelled_at_each_of_its_steps_is_the_same(handlers: list[Any], steps: range) -> None:
    cases: list[Case] = [lambda given, n=n: asyncio.run(_cancelled_after(n, _steps(), given)) for n in steps]  # type: ignore[misc]

    without = [watch(case, handlers, contextlib.nullcontext()) for case in cases]
    inside = [watch(case, handlers, record()) for case in cases]

    assert inside == without
    cancelled = [seen.got == "cancelled" for seen in without]
    assert (cancelled[0], cancelled[-1]) == (True, False)


def _counts_what_is_pulled(how: str, handlers: list[Any]) -> int:
    """How much of its source a stream has used when its consumer takes one item and leaves."""
    pulled = []

    def source(values: Iterator[Any]) -> Iterator[int]:
        for number in range(10):
            pulled.append(number)
            yield number

    async def asource(values: AsyncIterator[Any]) -> AsyncIterator[int]:
        for number in range(10):
            pulled.append(number)
            yield number

    async def first(stream: Any) -> None:
        await anext(stream)
        await stream.aclose()

    def first_of(stream: Any) -> None:
        next(stream)
        stream.close()

    runnable = RunnableGenerator(source, asource).with_config(callbacks=handlers)
    if how == "made and left":
        runnable.stream(1)
    elif how == "stream":
        first_of(runnable.stream(1))
    else:
        asyncio.run(first(runnable.astream(1) if how == "astream" else runnable.astream_events(1, version="v2")))
    return len(pulled)


@pytest.mark.parametrize("handlers", ["none", "inline", "async"])  # a thread would pull more or less by chance
@pytest.mark.parametrize("how", ["made and left", "stream", "astream", "astream_events v2"])
def test_a_stream_is_as_lazy(how: str, handlers: str) -> None:
    compare(lambda given: _counts_what_is_pulled(how, given), HANDLERS[handlers])


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("name", SMALL)
def test_what_set_debug_prints_is_the_same(name: str, how: str) -> None:
    make, given = SMALL[name]

    def case(handlers: list[Any]) -> Any:
        set_debug(True)
        try:
            return EVERY[how](make(), given)
        finally:
            set_debug(False)

    compare(lambda handlers: _without_times(case, handlers), [])


def _without_times(case: Case, handlers: list[Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(Exception):
        case(handlers)
    return re.sub(r"\[\d+(\.\d+)?m?s\]", "[time]", out.getvalue())


class Quiet(Client):
    """A LangSmith client that sends nothing, and keeps what it was to send."""

    def __init__(self) -> None:
        super().__init__(api_url="http://127.0.0.1:1", api_key="none", auto_batch_tracing=False)
        self.sent: list[Any] = []

    def create_run(self, name: str, inputs: dict[str, Any], run_type: str, **kwargs: Any) -> None:
        self.sent.append(("start", name, run_type, plain(inputs), kwargs.get("parent_run_id") is None, kwargs.get("tags")))

    def update_run(self, run_id: Any, **kwargs: Any) -> None:
        self.sent.append(("end", kwargs.get("error"), plain(kwargs.get("outputs"))))


@pytest.mark.parametrize("handlers", ["none", "sync", "async", "all colours"])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "astream"])
@pytest.mark.parametrize("name", SMALL)
def test_what_langsmith_gets_and_what_others_see_beside_it_is_the_same(name: str, how: str, handlers: str) -> None:
    make, given = SMALL[name]

    def case(given_handlers: list[Any]) -> Any:
        client = Quiet()
        with tracing_context(enabled=True, client=client), contextlib.suppress(Exception):
            called(make, given, how)(given_handlers)
        return client.sent

    seen = compare(case, HANDLERS[handlers])

    assert "'start'" in seen.got
    assert "'end'" in seen.got


def test_the_program_finds_itself_in_its_config_and_may_copy_and_pickle_it() -> None:
    def work(value: Any, config: RunnableConfig) -> Any:
        list(ScriptedChatModel(say("a", "b")).stream("hi", config))
        handlers = config["callbacks"].handlers  # type: ignore[union-attr]
        others = [pickle.loads(pickle.dumps(handlers)), copy.deepcopy(handlers), copy.copy(handlers)]
        return [ScriptedChatModel("c").invoke("hi", {"callbacks": other}).content for other in others]

    with record() as recording:
        got = RunnableLambda(work).invoke(1)

    assert got == ["c"] * 3
    assert [len(run.events) for run in recording.models] == [4, 2, 2, 2]


@pytest.mark.asyncio
async def test_an_async_text_model_with_two_prompts_tells_everybody_of_both() -> None:
    beside = Async()

    with record() as recording:
        manager = AsyncCallbackManager.configure([beside])
        runs = await manager.on_llm_start({"name": "model"}, ["a", "b"])

    assert [(event.run_id, event.payload["prompts"]) for event in recording] == [(runs[0].run_id, ["a"]), (runs[1].run_id, ["b"])]
    assert [name for name, *_ in beside.seen] == ["on_llm_start"] * 2


@pytest.mark.asyncio
async def test_the_start_of_an_async_text_model_is_recorded_before_another_handler_can_fail() -> None:
    with record() as recording, pytest.raises(ValueError, match="broken in on_llm_start"):
        await ScriptedLLM(say("a").optional()).ainvoke("hi", {"callbacks": [BreaksAllAsync()]})

    assert recording.kinds == ["on_llm_start"]
