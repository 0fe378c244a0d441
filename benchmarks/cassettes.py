"""A cassette against the same script in Python, a recorded call against one let through, and how long a file takes to load.

The rows of loading compare milliseconds with one millisecond: their bar is a number of milliseconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import Ratio, measure
from llmtest import Script, call, on, reply, say
from llmtest.cassettes.cassette import Cassette
from llmtest.cassettes.recorder import Recorder
from llmtest.events.words import Message
from llmtest.langchain.providers import scripted_providers
from llmtest.scripts.files import ScriptFile, read_file
from llmtest.scripts.fingerprints import fingerprint
from llmtest.scripts.requests import Request
from llmtest.scripts.yaml_emit import write_file
from llmtest.wire import clients, hearing

CALLS = 20
STEPS = 1_000
MAX_LOAD_MS = 50
TEST = "test_it.py::test_it"


def ratios(rounds: int) -> Iterator[Ratio]:
    yield from _replay(max(rounds // 4, 3))
    yield from _recording(max(rounds // 4, 3))
    yield from _loading(max(rounds // 10, 3))


def _chat(**fields: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5", api_key="none", max_retries=0, **fields)


def _ask(model: Any) -> Callable[[], object]:
    return lambda: [model.invoke("hi") for _ in range(CALLS)]


def _replay(rounds: int) -> Iterator[Ratio]:
    """A recorded step is served, and its fingerprint compared, against a step without one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "test_it.yaml"
        asked = Request(read=lambda: [Message("human", "hi")], over_http=True)
        step = say("It is sunny.").repeat()
        recorded = step._with(request=fingerprint(asked, recorded="2026-11-29"))
        file.write_text(
            write_file(ScriptFile("", 2, (), {"openai:gpt-5": (recorded,)}, test=TEST, recorded="2026-11-29")), "utf-8"
        )
        model = _chat()

        def in_block(block: Any) -> Callable[[], object]:
            def run() -> object:
                with block():
                    return _ask(model)()

            return run

        script = Script(step)
        yield measure(
            "replay of a cassette, per call",
            in_block(lambda: Cassette(file, TEST)),
            in_block(lambda: scripted_providers({"openai:gpt-5": script})),
            against="the same script in Python",
            bar=1.1,
            per=CALLS,
            rounds=rounds,
        )


def _recording(rounds: int) -> Iterator[Ratio]:
    """A call that a recorder hears, against the same call let through, over a transport of the client's own."""
    import httpx2

    body = (
        b'{"id":"x","object":"chat.completion","created":1,"model":"gpt-5","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"It is sunny."}}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5}}'
    )

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": "application/json"})

    with ExitStack() as exits:
        http_client = exits.enter_context(httpx2.Client(transport=httpx2.MockTransport(answer)))
        model = _chat(http_client=http_client)
        clients.watch()
        exits.callback(clients.unwatch)

        def heard() -> object:
            with hearing.listening(Recorder()):
                return _ask(model)()

        yield measure(
            "recording a call over HTTP",
            heard,
            _ask(model),
            against="the call let through",
            bar=1.1,
            per=CALLS,
            rounds=rounds,
        )


def _loading(rounds: int) -> Iterator[Ratio]:
    said = [say(f"It is {n}C in the city of number {n}.") for n in range(STEPS)]
    mixed = [
        (
            say(f"It is {n}C."),
            reply(say(f"Let me look at {n}. "), call("weather", city=f"City {n}", days=n)),
            say(f"Done with {n}.", usage=(n, 7), stop_reason="length"),
            on(contains=f"City {n}") >> say(f"Hello {n}."),
        )[n % 4]
        for n in range(STEPS)
    ]
    recorded = [
        say(f"Done with {n}.", usage=(n, 7))._with(
            request=fingerprint(Request(read=lambda n=n: [Message("system", "Be brief."), Message("human", f"What of {n}?")]))
        )
        for n in range(STEPS)
    ]
    for name, steps in (("say", said), ("mixed", mixed), ("recorded", recorded)):
        yield _milliseconds(f"loading {STEPS:,} steps, {name}", write_file(ScriptFile("", entries=tuple(steps))), rounds)


def _milliseconds(name: str, text: str, rounds: int) -> Ratio:
    took = []
    for _ in range(rounds + 1):
        began = perf_counter()
        read_file(text, "script.yaml")
        took.append((perf_counter() - began) * 1e3)
    best, again = min(took[::2]), min(took[1::2])
    return Ratio(name, "1 ms", min(best, again), MAX_LOAD_MS, max(best, again) / min(best, again), min(best, again), 1.0, "ms")
