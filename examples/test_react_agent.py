"""The classic ReAct agent of LangChain's callback guide ("Multiple callback handlers"), as a test.

Everything is LangChain's own but the model: the AgentExecutor, its prompt and parser, LLMMathChain, numexpr, the
callbacks. The model says, token by token, what the guide's model said. Two handlers listen: one is given to the
request and hears every object that takes part in it, one is given to the model and hears only the model.

Where LangChain has changed since the guide, a comment says so.
"""

from typing import Any

import pytest
from langchain_classic.agents import AgentType, initialize_agent
from langchain_classic.chains import LLMMathChain
from langchain_core.agents import AgentAction
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import Tool

from llmtest import say


class MyCustomHandlerOne(BaseCallbackHandler):
    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        print(f"on_llm_start {serialized['name']}")

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        print(f"on_new_token {token}")

    # The guide prints serialized['name']. Today a chain's `serialized` is None and its name comes as `name=`. The
    # guide's line would raise a TypeError, which LangChain logs and swallows: the program would go on, unheard.
    def on_chain_start(self, serialized: dict[str, Any] | None, inputs: dict[str, Any], **kwargs: Any) -> None:
        print(f"on_chain_start {kwargs.get('name') or (serialized or {}).get('name')}")

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        print(f"on_tool_start {serialized['name']}")

    def on_agent_action(self, action: AgentAction, **kwargs: Any) -> None:
        print(f"on_agent_action {action}")


class MyCustomHandlerTwo(BaseCallbackHandler):
    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        print(f"on_llm_start (I'm the second handler!!) {serialized['name']}")


# One answer of the model per line. Several strings are exact tokens: "" is the empty token with which a completion ends.
# fmt: off
ASKS_CALCULATOR = say(
    " I", " need", " to", " use", " a", " calculator", " to", " solve", " this", ".",
    "\nAction", ":", " Calculator", "\nAction", " Input", ":", " 2", "^", "0", ".", "235", "",
)
WRITES_EXPRESSION = say(
    "", "```text", "\n", "2", "**", "0", ".", "235", "\n", "```\n",
    "...", "num", "expr", ".", "evaluate", '("', "2", "**", "0", ".", "235", '")', "...", "\n", "",
)
KNOWS_ANSWER = say(
    " I", " now", " know", " the", " final", " answer", ".",
    "\nFinal", " Answer", ":", " 1", ".", "17", "690", "67", "372", "187", "674", "",
)
# fmt: on


# The guide's agent is deprecated in favour of `langchain.agents.create_agent` (see test_agent.py), and says so once.
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_callback_guide(scripted_llm, llm_recording, llm_snapshot, capsys):
    handler1, handler2 = MyCustomHandlerOne(), MyCustomHandlerTwo()
    llm = scripted_llm(ASKS_CALCULATOR, WRITES_EXPRESSION, KNOWS_ANSWER, streaming=True, callbacks=[handler2])
    # What load_tools(["llm-math"], llm=llm) made in the guide; load_tools lives in langchain-community now.
    math_chain = LLMMathChain.from_llm(llm)
    calculator = Tool(
        name="Calculator",
        description="Useful for when you need to answer questions about math.",
        func=lambda question: math_chain.invoke(question)["answer"],
    )
    agent = initialize_agent([calculator], llm, agent=AgentType.ZERO_SHOT_REACT_DESCRIPTION)

    # The guide calls agent.run(question, callbacks=[handler1]), which is deprecated in favour of invoke.
    result = agent.invoke("What is 2 raised to the 0.235 power?", {"callbacks": [handler1]})

    assert result["output"] == "1.1769067372187674"
    assert capsys.readouterr().out.splitlines() == GUIDE
    steps = (ASKS_CALCULATOR, WRITES_EXPRESSION, KNOWS_ANSWER)
    assert llm_recording.tokens == [token for step in steps for token in step.parts[0].tokens]
    assert llm_recording == llm_snapshot


# What the guide prints, line for line. Two things differ: the model is a `ScriptedLLM` where the guide has `OpenAI`, and
# an AgentAction prints its fields without `AgentAction(...)` around them. A token with a line feed takes two lines.
GUIDE = [
    "on_chain_start AgentExecutor",
    "on_chain_start LLMChain",
    "on_llm_start ScriptedLLM",
    "on_llm_start (I'm the second handler!!) ScriptedLLM",
    "on_new_token  I",
    "on_new_token  need",
    "on_new_token  to",
    "on_new_token  use",
    "on_new_token  a",
    "on_new_token  calculator",
    "on_new_token  to",
    "on_new_token  solve",
    "on_new_token  this",
    "on_new_token .",
    "on_new_token ",
    "Action",
    "on_new_token :",
    "on_new_token  Calculator",
    "on_new_token ",
    "Action",
    "on_new_token  Input",
    "on_new_token :",
    "on_new_token  2",
    "on_new_token ^",
    "on_new_token 0",
    "on_new_token .",
    "on_new_token 235",
    "on_new_token ",
    "on_agent_action tool='Calculator' tool_input='2^0.235' "
    r"log=' I need to use a calculator to solve this.\nAction: Calculator\nAction Input: 2^0.235'",
    "on_tool_start Calculator",
    "on_chain_start LLMMathChain",
    "on_chain_start LLMChain",
    "on_llm_start ScriptedLLM",
    "on_llm_start (I'm the second handler!!) ScriptedLLM",
    "on_new_token ",
    "on_new_token ```text",
    "on_new_token ",
    "",
    "on_new_token 2",
    "on_new_token **",
    "on_new_token 0",
    "on_new_token .",
    "on_new_token 235",
    "on_new_token ",
    "",
    "on_new_token ```",
    "",
    "on_new_token ...",
    "on_new_token num",
    "on_new_token expr",
    "on_new_token .",
    "on_new_token evaluate",
    'on_new_token ("',
    "on_new_token 2",
    "on_new_token **",
    "on_new_token 0",
    "on_new_token .",
    "on_new_token 235",
    'on_new_token ")',
    "on_new_token ...",
    "on_new_token ",
    "",
    "on_new_token ",
    "on_chain_start LLMChain",
    "on_llm_start ScriptedLLM",
    "on_llm_start (I'm the second handler!!) ScriptedLLM",
    "on_new_token  I",
    "on_new_token  now",
    "on_new_token  know",
    "on_new_token  the",
    "on_new_token  final",
    "on_new_token  answer",
    "on_new_token .",
    "on_new_token ",
    "Final",
    "on_new_token  Answer",
    "on_new_token :",
    "on_new_token  1",
    "on_new_token .",
    "on_new_token 17",
    "on_new_token 690",
    "on_new_token 67",
    "on_new_token 372",
    "on_new_token 187",
    "on_new_token 674",
    "on_new_token ",
]
