"""Tracing: the three programs of the guide. What is traced is asserted by loading it from the store.

Section "tracing" of LangChain's callback guide. `LLMTEST_TRACING` stands for the guide's `LANGCHAIN_TRACING`, which today's
LangChain refuses. Where the guide asks about tennis players and their friends, Faker makes somebody up, always the same.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import numexpr
import pytest
from faker import Faker
from langchain.agents import create_agent
from langchain_classic.agents import AgentType, initialize_agent
from langchain_classic.chains import LLMMathChain
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import Tool, tool

from llmtest import Recording, Script, ScriptedChatModel, ScriptedLLM, call, load_traces, on, reply, say, tracing_enabled
from llmtest.errors import StoreError
from llmtest.matching import before, called, only
from llmtest.protocol import check

# initialize_agent, run and arun, which the guide uses
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")


@dataclass(frozen=True)
class Case:
    """A question, and what there is to know about it."""

    event: str
    winner: str
    age: int
    power: str

    @property
    def question(self) -> str:
        return f"Who won the {self.event}? What is their age raised to the {self.power} power?"

    @property
    def expression(self) -> str:
        return f"{self.age}**{self.power}"

    @property
    def result(self) -> str:
        return str(float(numexpr.evaluate(self.expression, local_dict={}, global_dict={})))

    @property
    def answer(self) -> str:
        won = f"{self.winner}, aged {self.age}, won the {self.event}"
        return f"{won} and their age raised to the {self.power} power is {self.result}."


def made_up(seed: int) -> list[Case]:
    fake = Faker("en_US")
    fake.seed_instance(seed)
    sports = ("tennis", "chess", "rowing")
    powers = ("0.334", "0.23", "0.34")
    return [
        Case(f"{sport} open in {fake.unique.city()}", fake.unique.name(), fake.unique.random_int(18, 70), power)
        for sport, power in zip(sports, powers, strict=True)
    ]


CASES = made_up(2023)
QUESTIONS = [case.question for case in CASES]
ANSWERS = [case.answer for case in CASES]
KNOWN = {f"{case.event} winner": case.winner for case in CASES} | {f"{case.winner} age": f"{case.age} years" for case in CASES}


def search(query: str) -> str:
    """Search the web."""
    return KNOWN[query]


async def asearch(query: str) -> str:
    return KNOWN[query]


# -- the two agents: each answers every question, any number of times


def thought(thinks: str, action: str, action_input: str) -> Any:
    return say(f" {thinks}\nAction: {action}\nAction Input: {action_input}", usage=(90, 10))


def classic_script(case: Case) -> Any:
    return on(contains=case.event) >> Script(
        thought("I need to find out who won.", "Search", f"{case.event} winner"),
        thought("I need to find out their age.", "Search", f"{case.winner} age"),
        thought("I now need to calculate the power.", "Calculator", case.expression),
        say(f" I now know the final answer.\nFinal Answer: {case.answer}", usage=(120, 20)),
    )


def expression_script(case: Case) -> Any:
    return on(contains=f"Question: {case.expression}\n") >> say(
        f'```text\n{case.expression}\n```\n...numexpr.evaluate("{case.expression}")...', usage=(30, 10)
    )


class Classic:
    """The guide's agent. Its tools come from `load_tools` there; its calculator asks the same model, ours one of its own,
    because a script tells questions apart by their prompts.
    """

    tools = ("Search", "Calculator")
    models_per_question = 5

    def __init__(self, cases: list[Case]) -> None:
        math_chain = LLMMathChain.from_llm(ScriptedLLM(*map(expression_script, cases)))

        def calculate(question: str) -> str:
            return math_chain.run(question)

        async def acalculate(question: str) -> str:
            return await math_chain.arun(question)

        tools = [
            Tool(name="Search", description="Answers questions about current events.", func=search, coroutine=asearch),
            Tool(name="Calculator", description="Answers questions about math.", func=calculate, coroutine=acalculate),
        ]
        llm = ScriptedLLM(*map(classic_script, cases))
        self.agent = initialize_agent(tools, llm, agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION)

    def run(self, question: str) -> str:
        return self.agent.run(question)

    async def arun(self, question: str) -> str:
        return await self.agent.arun(question)

    def asked(self, trace: Recording) -> str:
        return trace.roots[0].input["input"]


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression."""
    return str(float(numexpr.evaluate(expression, local_dict={}, global_dict={})))


def script(case: Case) -> Any:
    return on(contains=case.question) >> Script(
        reply(call("search", query=f"{case.event} winner"), usage=(90, 10)),
        reply(call("search", query=f"{case.winner} age"), usage=(100, 10)),
        reply(call("calculator", expression=case.expression), usage=(110, 10)),
        say(case.answer, usage=(120, 20)),
    )


class Today:
    """The same with `create_agent`."""

    tools = ("search", "calculator")
    models_per_question = 4

    def __init__(self, cases: list[Case]) -> None:
        self.agent = create_agent(ScriptedChatModel(*map(script, cases)), [tool(search), calculator], name="agent")

    def run(self, question: str) -> str:
        return self.agent.invoke({"messages": [("user", question)]})["messages"][-1].text

    async def arun(self, question: str) -> str:
        return (await self.agent.ainvoke({"messages": [("user", question)]}))["messages"][-1].text

    def asked(self, trace: Recording) -> str:
        return trace.roots[0].input["messages"][0][1]


both = pytest.mark.parametrize("style", [Classic, Today], ids=["classic", "create_agent"])


# -- what is in the store


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """The store of this test alone, and no variable that traces."""
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))
    monkeypatch.delenv("LLMTEST_TRACING", raising=False)


def anonymous(recording: Recording) -> str:
    """The tree, without what another version of Faker would make up otherwise."""
    text = str(recording)
    for number, case in enumerate(CASES):
        for value, name in ((case.event, "EVENT"), (case.winner, "WINNER"), (case.result, "RESULT"), (case.expression, "POWER")):
            text = text.replace(value, f"{name}-{number}")
        text = re.sub(
            rf"\b{case.age}\b(?= years|, won)", f"AGE-{number}", text.replace(f"aged {case.age},", f"aged AGE-{number},")
        )
    return text


def assert_whole(trace: Recording, agent: Any, case: Case) -> None:
    """A trace is all that the agent did for a question, as if it had been recorded."""
    find, calculate = agent.tools
    assert trace.tools == [
        called(find).returned(case.winner),
        called(find).returned(f"{case.age} years"),
        called(calculate),
    ]
    assert len(trace.models) == agent.models_per_question
    assert trace.obeys(only(called(find), called(calculate)), before(find, calculate))
    assert case.answer in str(trace)
    assert check(trace) == []


# -- the three programs


@both
def test_with_the_variable_everything_is_traced_in_a_block_or_not(style, monkeypatch, llm_recording, llm_snapshot):
    agent = style(CASES[:2])
    monkeypatch.setenv("LLMTEST_TRACING", "true")

    # Both of the agent runs are traced because the environment variable is set.
    assert agent.run(QUESTIONS[0]) == ANSWERS[0]
    with tracing_enabled() as session:
        assert session
        assert agent.run(QUESTIONS[1]) == ANSWERS[1]

    traces = load_traces("default")
    assert [agent.asked(trace) for trace in traces] == QUESTIONS[:2]
    for trace, case in zip(traces, CASES, strict=False):
        assert_whole(trace, agent, case)
    assert session.recording.kinds == traces[1].kinds
    assert anonymous(llm_recording) == llm_snapshot


@both
def test_without_the_variable_only_the_block_is_traced(style, llm_recording, llm_snapshot):
    agent = style(CASES[:2])

    # The traces go to "my_test_session".
    with tracing_enabled("my_test_session") as session:
        assert session
        agent.run(QUESTIONS[0])  # this should be traced
    agent.run(QUESTIONS[1])  # this should not be traced

    (trace,) = load_traces("my_test_session")
    assert agent.asked(trace) == QUESTIONS[0]
    assert_whole(trace, agent, CASES[0])
    with pytest.raises(StoreError, match="default"):
        load_traces("default")
    assert len(llm_recording.roots) == 2
    assert anonymous(trace) == llm_snapshot


@both
def test_a_task_from_before_the_block_is_not_traced_and_what_the_block_gathers_is(style, llm_recording, llm_snapshot):
    agent = style(CASES)

    async def program() -> list[str]:
        task = asyncio.create_task(agent.arun(QUESTIONS[0]))  # this should not be traced
        with tracing_enabled() as session:
            assert session
            answers = await asyncio.gather(*[agent.arun(question) for question in QUESTIONS[1:3]])  # these should be traced
        return [await task, *answers]

    assert asyncio.run(program()) == ANSWERS

    traces = load_traces("default")
    assert sorted(agent.asked(trace) for trace in traces) == sorted(QUESTIONS[1:3])
    by_question = {agent.asked(trace): trace for trace in traces}
    for case in CASES[1:3]:
        assert_whole(by_question[case.question], agent, case)
    assert len(llm_recording.roots) == 3
    assert anonymous(by_question[QUESTIONS[2]]) == llm_snapshot


# -- where today's LangChain differs


def test_the_variable_of_the_guide_is_refused_by_langchain(monkeypatch, llm_recording):
    monkeypatch.setenv("LANGCHAIN_TRACING", "true")

    with pytest.raises(RuntimeError, match="LangChainTracerV1"):
        RunnableLambda(str).invoke("hi")

    assert llm_recording.runs == []
