"""An agent with a calculator, tested with no model, no key and no network.

The test says what the model says. The agent, its tool and the callbacks are the real ones.
"""

import numexpr
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmtest import call


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression, for example `37593 * 67`."""
    return str(numexpr.evaluate(expression, local_dict={}, global_dict={}))


def test_agent_uses_the_calculator(scripted_chat_model, llm_recording, llm_snapshot):
    model = scripted_chat_model(
        call("calculator", expression="2 ** 0.235"),
        "2 raised to the 0.235 power is 1.1769067372187674.",
    )
    agent = create_agent(model, [calculator], system_prompt="Never do sums in your head.", name="math_agent")

    result = agent.invoke({"messages": [("user", "What is 2 raised to the 0.235 power?")]})

    assert result["messages"][-1].text == "2 raised to the 0.235 power is 1.1769067372187674."
    assert llm_recording.tools == ["calculator"]
    assert llm_recording == llm_snapshot
