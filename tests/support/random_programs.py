"""Random programs around models: calls one after the other and at the same time, graphs, agents, retries, failures.

A program is a value, such as `("gather", (("ask", "Rome", "ainvoke"), ("agent", "Oslo")))`; `run` runs it under a schedule.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from hashlib import blake2b
from typing import Annotated, Any, TypedDict

from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from llmtest import Recording, Script, ScriptedChatModel, call, fail, record, reply, respond, say, think
from tests.support import schedules

Program = tuple[Any, ...]
CITIES = ("Paris", "Rome", "Oslo")
MODELS = ("alpha", "beta")
OLD, NEW = "An old question.", "An answer."


class State(TypedDict):
    told: Annotated[list[str], operator.add]


# -- what the models say: it depends on the request alone, except where a call fails the first time


def live_models() -> dict[str, Any]:
    """Return models whose answers follow from their prompts. A prompt with `flaky` fails the first time."""
    seen: Counter[str] = Counter()

    def answer(name: str) -> Callable[[Any], Any]:
        def said(request: Any) -> Any:
            text = request.messages[-1].text
            seen[f"{name} {request.text}"] += 1
            if "broken" in text or (name == "alpha" and "backup" in text):
                return fail(500)
            if "flaky" in text and seen[f"{name} {request.text}"] == 1:
                return fail(429)
            digest = blake2b(f"{name} {request.node} {request.text}".encode(), digest_size=3).hexdigest()
            if request.tools and request.messages[-1].role == "human":
                several = [call(found, city=text.split()[-1]) for found in sorted(request.tools)]
                return reply(f"Look {digest}. ", *several)
            if digest < "4":
                return reply(think(f"Hm {digest}."), f"So {digest}.")
            return say(f"It is {digest}.", usage=(len(text), 3) if digest < "8" else None)

        return said

    return {name: ScriptedChatModel(respond(answer(name)).repeat().optional(), model_name=name) for name in MODELS}


def models_of(scripts: dict[str, Script]) -> dict[str, Any]:
    return {name: ScriptedChatModel(script=scripts.get(name, Script()), model_name=name) for name in MODELS}


# -- the programs

Models = dict[str, Any]
_depth: ContextVar[int] = ContextVar("depth", default=0)
"""How many graphs are around: the nodes of each have names of their own."""


@tool
async def weather(city: str) -> str:
    """Look up the weather."""
    await asyncio.sleep(0)
    return f"sunny in {city}"


async def perform(program: Program, models: Models) -> None:
    await PARTS[program[0]](*program[1:], models=models)


async def ask(prompt: str, way: str, models: Models) -> None:
    model = models["alpha"]
    if way == "ainvoke":
        await model.ainvoke(prompt)
    elif way == "astream":
        async for _ in model.astream(prompt):
            await asyncio.sleep(0)
    elif way == "left":
        stream = model.astream(prompt)
        await anext(stream)
        await stream.aclose()
    elif way == "abatch":
        await model.abatch([prompt, f"{prompt} again"])
    else:
        first = await model.ainvoke(prompt)
        await model.ainvoke([("user", prompt), first, ("user", "And more?")])


async def broken(prompt: str, models: Models) -> None:
    try:
        await models["alpha"].ainvoke(f"broken {prompt}")
    except Exception:
        await models["beta"].ainvoke(f"repair {prompt}")


async def retry(prompt: str, models: Models) -> None:
    await models["alpha"].with_retry(wait_exponential_jitter=False, stop_after_attempt=2).ainvoke(f"flaky {prompt}")


async def fallback(prompt: str, models: Models) -> None:
    await models["alpha"].with_fallbacks([models["beta"]]).ainvoke(f"backup {prompt}")


async def sequence(programs: Sequence[Program], models: Models) -> None:
    for program in programs:
        await perform(program, models)


async def gather(programs: Sequence[Program], models: Models) -> None:
    await asyncio.gather(*(perform(program, models) for program in programs))


async def nodes(programs: Sequence[Program], models: Models) -> None:
    graph = StateGraph(State)
    depth = _depth.get()
    _depth.set(depth + 1)
    for number, program in enumerate(programs):

        async def node(_: State, program: Program = program) -> dict[str, Any]:
            await perform(program, models)
            return {"told": []}

        graph.add_node(f"node_{depth}_{number}", node)
        graph.add_edge(START, f"node_{depth}_{number}")
    await graph.compile(name="graph").ainvoke({"told": []})


async def send(programs: Sequence[Program], models: Models) -> None:
    async def work(state: dict[str, Any]) -> dict[str, Any]:
        await perform(state["program"], models)
        return {"told": []}

    graph = StateGraph(State)
    graph.add_node("plan", lambda _: {"told": []})
    graph.add_node("work", work)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: [Send("work", {"program": program}) for program in programs], ["work"])
    graph.add_edge("work", END)
    await graph.compile(name="fan").ainvoke({"told": []})


async def agent(prompt: str, models: Models) -> None:
    made = create_agent(models["alpha"], [weather], name="clerk", system_prompt="You know the weather.")
    await made.ainvoke({"messages": [("user", f"How is it in {prompt}")]})


async def above(prompt: str, models: Models) -> None:
    """An agent with an agent as its tool."""
    below = create_agent(models["beta"], [weather], name="expert")

    @tool
    async def expert(city: str) -> str:
        """Ask the expert."""
        found = await below.ainvoke({"messages": [("user", f"Tell me of {city}")]})
        return str(found["messages"][-1].text)

    made = create_agent(models["alpha"], [weather, expert], name="boss")
    await made.ainvoke({"messages": [("user", f"Ask about {prompt}")]})


PARTS: dict[str, Any] = {
    "ask": ask,
    "broken": broken,
    "retry": retry,
    "fallback": fallback,
    "sequence": sequence,
    "gather": gather,
    "nodes": nodes,
    "send": send,
    "agent": agent,
    "above": above,
}

prompts = st.sampled_from(CITIES)
leaves: st.SearchStrategy[Program] = st.one_of(
    st.tuples(st.just("ask"), prompts, st.sampled_from(("ainvoke", "astream", "left", "abatch", "twice"))),
    st.tuples(st.sampled_from(("broken", "retry", "fallback", "agent", "above")), prompts),
)
programs: st.SearchStrategy[Program] = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.sampled_from(("sequence", "gather", "nodes", "send")), st.lists(inner, min_size=2, max_size=3).map(tuple)
    ),
    max_leaves=5,
)


def play(program: Program, models: Models, seed: int) -> Recording:
    """Return the recording of a program under the schedule `seed`."""

    async def whole(_: object) -> None:
        await perform(program, models)

    with record() as recording:
        schedules.run(seed, lambda: RunnableLambda(whole).with_config(run_name="program").ainvoke("go"))
    return recording
