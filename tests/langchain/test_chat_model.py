"""The scripted models are real LangChain models: each way of calling them gives the same answer."""

from __future__ import annotations

import asyncio
import copy
import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from llmtest import Recording, Script, ScriptedChatModel, ScriptedLLM, ViolationError, call, fail, record, reply, say, think
from llmtest.errors import ScriptError, StatusError, expect_violation
from llmtest.trees import rendering
from tests.support.doubles import merged
from tests.support.tools import weather

# langchain-core gained these after 1.0.
HAS_V3 = hasattr(BaseChatModel, "stream_events")
needs_v3 = pytest.mark.skipif(not HAS_V3, reason="this langchain-core has no stream_events")
needs_streaming_switch = pytest.mark.skipif(not HAS_V3, reason="this langchain-core streams whatever `streaming` says")

FILES = sorted((Path(__file__).parents[2] / "fixtures" / "scripts").glob("*.yaml"))


@tool
def search(q: str, limit: int = 5) -> str:
    """Search the web."""
    return q


# -- one reply, every way


EVERY_PART = reply(think("hm, ", "weather"), "Let me look. ", call("weather", city="Paris"), call("search", q="x", limit=2))


def _same(message: Any) -> dict[str, Any]:
    """What must be the same of a message, however it was asked for. A chunk and a message differ in class only."""
    calls = [{k: c[k] for k in ("name", "args", "id")} for c in message.tool_calls]
    named = {f"call{n}": c for n, c in enumerate(calls)}
    for made in named.values():
        made["id"] = bool(made["id"])
    metadata = {k: v for k, v in message.response_metadata.items() if k != "output_version"}
    reasoning = [b["reasoning"] for b in message.content_blocks if b["type"] == "reasoning"]
    return {
        "text": message.text,
        "reasoning": "".join(reasoning),
        "calls": named,
        "usage": message.usage_metadata,
        "metadata": metadata,
    }


async def _ways(model: Any) -> dict[str, Any]:
    async def events(version: Any) -> Any:
        if version == "v3":
            return (await model.astream_events("hi", version="v3")).output
        return [e async for e in model.astream_events("hi", version="v2")][-1]["data"]["output"]

    return {
        "invoke": await asyncio.to_thread(model.invoke, "hi"),
        "ainvoke": await model.ainvoke("hi"),
        "stream": merged(await asyncio.to_thread(lambda: list(model.stream("hi")))),
        "astream": merged([chunk async for chunk in model.astream("hi")]),
        "batch": (await asyncio.to_thread(model.batch, ["hi"]))[0],
        "abatch": (await model.abatch(["hi"]))[0],
        "v2": await events("v2"),
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("step", [say("It is ", "sunny."), EVERY_PART, say(), say("x", usage=(7, 1)), say("x", usage=False)])
async def test_a_reply_is_the_same_however_it_is_asked_for(step: Any) -> None:
    model = ScriptedChatModel(*[step] * 7).bind_tools([weather, search])

    answers = {way: _same(message) for way, message in (await _ways(model)).items()}

    assert answers == dict.fromkeys(answers, answers["invoke"])


def test_tokens_are_exact_in_the_stream_and_in_the_callbacks() -> None:
    model = ScriptedChatModel(say("It is ", "", "sun", "ny."))

    with record() as recording:
        chunks = [chunk.content for chunk in model.stream("hi")]

    assert chunks == ["It is ", "", "sun", "ny."]
    assert recording.models[0].tokens == ["It is ", "", "sun", "ny."]


def test_an_empty_reply_streams_one_empty_token() -> None:
    assert [chunk.content for chunk in ScriptedChatModel("").stream("hi")] == [""]


def test_streaming_true_streams_to_the_callbacks_under_invoke() -> None:
    chat, text = ScriptedChatModel(say("a", "b"), streaming=True), ScriptedLLM(say("a", "b"), streaming=True)

    with record() as recording:
        chat.invoke("hi")
        text.invoke("hi")
        asyncio.run(_generate_async())

    assert [run.tokens for run in recording.models] == [["a", "b"]] * 3


async def _generate_async() -> None:
    await ScriptedLLM(say("a", "b"), streaming=True).agenerate(["hi"])


@needs_streaming_switch
def test_an_explicit_streaming_false_switches_streaming_off() -> None:
    assert [c.content for c in ScriptedChatModel(say("a", "b"), streaming=False).stream("hi")] == ["ab"]


@needs_v3
def test_stream_events_v3_tells_the_reply_by_blocks() -> None:
    stream = ScriptedChatModel(say("a", "b")).stream_events("hi", version="v3")

    assert "".join(e["delta"]["text"] for e in stream if e["event"] == "content-block-delta") == "ab"


def test_tool_call_arguments_stream_in_pieces_that_join_to_json() -> None:
    chunks = list(ScriptedChatModel(call("weather", city="Paris")).bind_tools([weather]).stream("hi"))

    pieces = [piece["args"] for chunk in chunks for piece in chunk.tool_call_chunks]
    assert len(pieces) > 3
    assert "".join(pieces) == '{"city": "Paris"}'
    assert merged(chunks).tool_calls[0]["args"] == {"city": "Paris"}


def test_reasoning_comes_as_a_block_before_the_text() -> None:
    message = ScriptedChatModel(reply(think("hm"), "So.")).invoke("hi")

    assert message.content == [
        {"type": "reasoning", "reasoning": "hm", "index": 0},
        {"type": "text", "text": "So.", "index": 1},
    ]
    assert message.text == "So."


# -- usage and metadata


def test_usage_counts_the_scripted_tokens_and_the_prompt() -> None:
    message = ScriptedChatModel(say("It is ", "sunny.")).invoke(
        [("system", "Be brief."), ("human", [{"type": "text", "text": "hi"}])]
    )

    assert message.usage_metadata == {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}


def test_usage_can_be_given_with_details() -> None:
    given = {
        "input_tokens": 9,
        "output_tokens": 4,
        "input_token_details": {"cache_read": 5},
        "output_token_details": {"reasoning": 1},
    }

    message = ScriptedChatModel(say("x", usage=given)).invoke("hi")

    assert message.usage_metadata == {**given, "total_tokens": 13}


def test_response_metadata_has_the_model_the_reason_and_what_the_step_says() -> None:
    model = ScriptedChatModel(say("x", stop_reason="length", response_metadata={"region": "eu"}), model_name="gpt-x")

    assert model.invoke("hi").response_metadata == {"model_name": "gpt-x", "finish_reason": "length", "region": "eu"}


# -- failures


@pytest.mark.parametrize("model", [ScriptedChatModel, ScriptedLLM])
def test_a_reply_that_then_fails_breaks_after_its_last_token(model: Any) -> None:
    stream = model(say("one ", "two ").then_fail(ConnectionError("reset"))).stream("hi")
    seen = [getattr(chunk, "content", chunk) for chunk in (next(stream), next(stream))]

    with pytest.raises(ConnectionError, match="reset"):
        next(stream)
    with pytest.raises(ConnectionError, match="reset"):
        model(say("one ").then_fail(ConnectionError("reset"))).invoke("hi")

    assert seen == ["one ", "two "]


@pytest.mark.parametrize(
    ("status", "theirs", "text"),
    [
        (429, "ModelRateLimitError", "429 Too Many Requests"),
        (401, "ModelAuthenticationError", "401 Unauthorized"),
        (400, "ModelInvalidRequestError", "400 Bad Request"),
        (503, "ModelAPIError", "503 Service Unavailable"),
        (599, "ModelAPIError", "599 error"),
    ],
)
def test_an_http_status_fails_with_langchains_own_error(status: int, theirs: str, text: str) -> None:
    import langchain_core.exceptions

    with pytest.raises(StatusError) as caught:
        ScriptedChatModel(fail(status, retry_after=2)).invoke("hi")

    assert str(caught.value) == text
    assert (caught.value.status_code, caught.value.retry_after) == (status, 2)
    known = getattr(langchain_core.exceptions, theirs, None)
    assert known is None or isinstance(caught.value, known)


def test_a_failure_can_be_an_instance_a_class_or_a_name() -> None:
    mine = ValueError("mine")
    model = ScriptedChatModel(fail(mine), TimeoutError, fail("KeyError"), mine)

    caught = []
    for _ in range(4):
        with pytest.raises(Exception) as error:
            model.invoke("hi")
        caught.append(error.value)

    assert caught[0] is caught[3] is mine
    assert [type(error) for error in caught] == [ValueError, TimeoutError, KeyError, ValueError]


# -- tools


def test_an_unbound_tool_and_wrong_arguments_are_violations_even_when_swallowed() -> None:
    agent = create_agent(ScriptedChatModel(call("weathr", city="x")), [weather])

    with expect_violation("invalid tool call") as caught:
        agent.with_fallbacks([create_agent(ScriptedChatModel("fine"), [weather])]).invoke({"messages": "hi"})

    where = caught[0].text.splitlines()[-1]
    assert caught[0].text.splitlines()[:3] == [
        "the script calls the tool `weathr`, which is not bound to the model",
        "  bound  `weather`",
        "  did you mean `weather`?",
    ]
    assert where.startswith("  the script says call('weathr', city='x') at ")


def test_tools_of_other_formats_are_known_by_name() -> None:
    native = {"type": "web_search_20250305", "name": "web_search"}
    plain = {"name": "f", "input_schema": {"properties": {"a": {}}, "required": ["a"]}}
    model = ScriptedChatModel(call("web_search", q="x"), call("f", a=1))

    first = model.invoke("hi", tools=[native, plain])
    second = model.invoke("hi", tools=[native, plain])

    assert [first.tool_calls[0]["name"], second.tool_calls[0]["name"]] == ["web_search", "f"]


def test_structured_output_goes_through_the_model() -> None:
    class Person(BaseModel):
        name: str

    with record() as recording:
        person = ScriptedChatModel(call("Person", name="Ada")).with_structured_output(Person).invoke("who?")

    assert person == Person(name="Ada")
    assert recording.models[0].start.payload["tools"] == ["Person"]


# -- ids


def test_no_reply_is_lost_on_one_checkpointer() -> None:
    agent = create_agent(ScriptedChatModel("one", "two"), [], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}

    agent.invoke({"messages": "a"}, config)
    state = agent.invoke({"messages": "b"}, config)

    assert [m.content for m in state["messages"]] == ["a", "one", "b", "two"]


def test_ids_of_two_models_never_meet() -> None:
    first, second = ScriptedChatModel(call("weather", city="a"), "x"), ScriptedChatModel(call("weather", city="b"), "y")

    made = [m.bind_tools([weather]).invoke("hi") for m in (first, second, first, second)]

    ids = [i for m in made for i in (m.id, *(c["id"] for c in m.tool_calls))]
    assert len(set(ids)) == len(ids) == 6


# -- one script, held by reference


def test_every_copy_takes_steps_from_the_same_script() -> None:
    model = ScriptedChatModel(*"abcdefg")

    copies = [
        model.bind(x=1),
        model.bind_tools([weather]),
        model.bind_tools([weather]).bind_tools([search]),  # type: ignore[attr-defined]
        model.with_config(tags=["t"]),
        model.model_copy(deep=True),
        copy.deepcopy(model),
        model.configurable_fields(model_name=ConfigurableField(id="name")).with_config(configurable={"name": "other"}),
    ]

    assert [c.invoke("hi").content for c in copies] == list("abcdefg")


def test_a_configured_field_reaches_the_answer_and_streaming_stays_on() -> None:
    model = ScriptedChatModel(say("a", "b")).configurable_fields(model_name=ConfigurableField(id="name"))

    chunks = list(model.with_config(configurable={"name": "other"}).stream("hi"))

    assert [c.content for c in chunks] == ["a", "b"]
    assert chunks[-1].response_metadata["model_name"] == "other"


def test_dump_and_repr_leave_the_script_out() -> None:
    model = ScriptedChatModel(*["x"] * 100)

    assert repr(model) == str(model) == "ScriptedChatModel(model_name='scripted')"
    assert "script" not in model.model_dump()
    assert model._serialized["repr"] == "ScriptedChatModel(model_name='scripted')"

    for _ in range(100):
        model.invoke("hi")


# -- bad input


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ScriptError) as near:
        ScriptedChatModel("x", model_nam="y")
    with pytest.raises(ScriptError) as far:
        ScriptedLLM("x", zzz=1)

    assert str(near.value) == "ScriptedChatModel has no field `model_nam`; did you mean `model_name`?"
    assert str(far.value).startswith("ScriptedLLM has no field `zzz`; it has `cache`, `callbacks`, ")


REPEATS = "\n  a script does not begin again after its last step: .times(n) and .repeat() repeat one"
CALLS = AIMessage("", tool_calls=[{"name": "search", "args": {"q": "x"}, "id": "1"}])


@pytest.mark.parametrize(
    ("kind", "fields", "shown"),
    [
        (ScriptedChatModel, {"responses": ["a", "b"]}, "ScriptedChatModel('a', 'b')" + REPEATS),
        (ScriptedLLM, {"responses": ["a"]}, "ScriptedLLM('a')" + REPEATS),
        (ScriptedChatModel, {"messages": iter([AIMessage("a"), "b"])}, "ScriptedChatModel('a', 'b')"),
        (ScriptedChatModel, {"messages": cycle(["a"])}, f"ScriptedChatModel({', '.join([repr('a')] * 6)}, ...)"),
        (
            ScriptedChatModel,
            {"messages": iter([CALLS])},
            "ScriptedChatModel(call('search', q='x').with_id('1'))",
        ),
        (ScriptedChatModel, {"responses": 5}, "ScriptedChatModel(...)" + REPEATS),
        (ScriptedChatModel, {"responses": []}, "ScriptedChatModel(...)" + REPEATS),
    ],
)
def test_the_answers_of_a_fake_of_langchain_are_shown_as_steps(kind: Any, fields: Any, shown: str) -> None:
    (field,) = fields
    with pytest.raises(ScriptError) as caught:
        kind(**fields)

    assert str(caught.value) == f"{kind.__name__} takes its answers as steps, not as {field}=\n  write    {shown}"


def test_steps_and_script_together_are_refused() -> None:
    with pytest.raises(ScriptError) as both:
        ScriptedChatModel("x", script=Script())
    with pytest.raises(ScriptError) as wrong:
        ScriptedChatModel(script=["x"])  # type: ignore[arg-type]

    assert str(both.value) == "ScriptedChatModel takes its steps as arguments or as script=, not both"
    assert str(wrong.value) == "script= of ScriptedChatModel is a Script; got list ['x']"


def _script_without_ledger(*steps: Any) -> Script:
    from llmtest.ledger import Ledger, opened

    with opened(Ledger()):
        return Script(*steps)


def test_verify_raises_for_what_is_left() -> None:
    model = ScriptedChatModel(script=_script_without_ledger("a", "b"))
    model.script.serve(_request())

    with pytest.raises(ViolationError, match=r"1 of 2 steps of the script was never used"):
        model.verify()

    model.invoke("hi")
    model.verify()


def _request() -> Any:
    from llmtest.scripts import Request

    return Request({}, lambda: [])


# -- every script file


def _program(name: str, script: Script) -> Any:
    if name == "react_calculator":
        return ScriptedLLM(script=script)
    names = {c.tool for step in script.steps for c in getattr(step, "calls", ())}
    model = ScriptedChatModel(script=script)
    tools = [{"name": name, "parameters": {"additionalProperties": True}} for name in sorted(names)]
    return model.bind(tools=[{"type": "function", "function": t} for t in tools]) if tools else model


async def _speak(path: Path, way: str) -> list[Any]:
    script, answers = Script.load(path), []
    model = _program(path.stem, script)
    for _ in script.steps:
        try:
            answers.append(_answer(await _ask(model, way)))
        except (ConnectionError, StatusError) as error:
            answers.append(repr(error))
    return answers


def _answer(given: Any) -> Any:
    if isinstance(given, dict):  # the events of a text model end with its generations
        return given["generations"][0][0]["text"]
    return given if isinstance(given, str) else _same(given)


async def _ask(model: Any, way: str) -> Any:
    if way == "invoke":
        return model.invoke("hi")
    if way == "ainvoke":
        return await model.ainvoke("hi")
    if way == "stream":
        return merged(list(model.stream("hi")))
    if way == "v3":
        stream = model.stream_events("hi", version="v3")
        list(stream)
        return stream.output
    if way == "astream":
        return merged([chunk async for chunk in model.astream("hi")])
    return [e async for e in model.astream_events("hi", version="v2")][-1]["data"]["output"]


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["ainvoke", "stream", "astream", "v2", pytest.param("v3", marks=needs_v3)])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:The method .* is in beta")
async def test_every_script_file_gives_the_same_answers_and_tree_each_way(path: Path, way: str) -> None:
    if way == "v3" and path.stem == "react_calculator":
        way = "stream"  # v3 is for chat models

    with record() as invoked:
        answers = await _speak(path, "invoke")
    with record() as other:
        others = await _speak(path, way)

    assert others == answers
    assert _tree(other) == _tree(invoked)


def _tree(recording: Recording) -> list[str]:
    """Each call's tree, without the lines that say how it streamed, and what a broken stream leaves behind."""
    trees = "".join(rendering.render(root) for root in recording.roots)
    return [line for line in trees.splitlines() if not line.lstrip().startswith(("~ ", "< partial"))]


def test_handlers_given_to_the_model_see_its_tokens_only() -> None:
    class Tokens(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
            self.seen.append(token)

    mine = Tokens()
    model = ScriptedChatModel(say("a", "b"), callbacks=[mine])

    list(model.stream("hi"))

    assert mine.seen == ["a", "b"]


def test_a_call_is_made_with_what_langchain_would_say() -> None:
    model = ScriptedChatModel(model_name="m", temperature=0.5)

    ours = model._get_invocation_params(stop=["x"], tools=[])

    assert ours == BaseChatModel._get_invocation_params(model, stop=["x"], tools=[])


def test_a_chat_model_takes_what_every_chat_model_takes() -> None:
    model = ScriptedChatModel("a", temperature=0.5, max_tokens=9, timeout=1, max_retries=2, api_key="sk-secret", stop=["END"])

    with record() as recording:
        model.invoke("hi")

    params = recording.models[0].start.payload["invocation_params"]
    assert (params["temperature"], params["max_tokens"]) == (0.5, 9)
    assert "sk-secret" not in json.dumps(recording.models[0].start.payload, default=str) + repr(model)
    assert model._get_ls_params()["ls_stop"] == ["END"]


def test_a_stop_sequence_of_the_model_is_kept_unless_the_call_has_its_own() -> None:
    model = ScriptedChatModel(say("to the END").times(2), stop=["END"])

    with expect_violation("stop sequence"), pytest.raises(ViolationError):
        model.invoke("hi")

    assert model.invoke("hi", stop=["x"]).content == "to the END"


def test_an_answer_is_from_the_model_that_the_call_asks_for() -> None:
    model = ScriptedChatModel(say("a").times(2), model_name="small")

    first, second = model.invoke("hi", model="large"), model.invoke("hi")

    assert [m.response_metadata["model_name"] for m in (first, second)] == ["large", "small"]


# -- what programs ask of a model beside answers


@pytest.mark.parametrize("kind", [ScriptedChatModel, ScriptedLLM])
def test_a_double_counts_tokens_as_its_usage_does(kind: Any) -> None:
    model = kind(say("unused").optional())

    assert model.get_num_tokens("one two, three") == 4
    first, second, third = model.get_token_ids("a b b".replace(" ", " ."))[::2]
    assert (first == second, second == third) == (False, True)
    assert kind(say("a").optional(), custom_get_token_ids=lambda text: [7] * 9).get_num_tokens("one") == 9


def test_messages_and_tools_are_counted_without_a_warning() -> None:
    model = ScriptedChatModel(say("unused").optional())
    messages = [HumanMessage("one two")]

    assert model.get_num_tokens_from_messages(messages) == model.get_num_tokens("Human: one two")
    assert model.get_num_tokens_from_messages(messages, [weather]) > model.get_num_tokens_from_messages(messages)


def test_a_conversation_is_trimmed_by_the_model_itself() -> None:
    model = ScriptedChatModel(say("unused").optional())
    messages = [HumanMessage("one two three"), AIMessage("four"), HumanMessage("five")]

    kept = trim_messages(messages, max_tokens=4, token_counter=model.bind(stop=["x"]), strategy="last")  # type: ignore[arg-type]

    assert kept == messages[-1:]


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ({"google_search": {}}, "google_search"),
        ({"code_execution": {}}, "code_execution"),
        ({"cachePoint": {"type": "default"}}, "cachePoint"),
        ({"type": "mcp_toolset", "mcp_server_name": "files"}, "mcp_toolset"),
        ({"type": "code_execution_20250825", "name": "code_execution"}, "code_execution"),
        ({"type": "web_search_preview"}, "web_search_preview"),
        ({"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object", "properties": {"q": {}}}}}}, "look"),
        ({"function_declarations": [{"name": "look"}, {"name": "listen"}]}, "look"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dialect", ["plain", "openai", "openai-responses", "anthropic"])
def test_a_provider_s_own_tool_is_bound_as_it_is(tool: Any, name: str, dialect: str) -> None:
    model = ScriptedChatModel(call(name, q="x"), dialect=dialect)

    bound: Any = model.bind_tools([tool, weather])

    assert bound.kwargs["tools"][0] == tool
    assert bound.invoke("hi").tool_calls[0]["name"] == name


def test_a_schema_without_a_name_is_refused_as_integrations_refuse_it() -> None:
    with pytest.raises(ValueError, match="top-level 'title' key"):
        ScriptedChatModel(say("unused").optional()).bind_tools([{"type": "object", "properties": {}}])


# -- version 3 of stream events


class _Tokens(BaseCallbackHandler):
    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[Any] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        assert token == chunk.text
        self.chunks.append(chunk.message)


@needs_v3
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("dialect", ["plain", "openai", "openai-responses", "anthropic"])
def test_a_handler_hears_each_token_once_in_version_3(dialect: str, asynchronous: bool) -> None:
    step = reply(say("It ", "is"), call("weather", city="Paris"), usage=(3, 4)).unchecked()
    model = ScriptedChatModel(step, dialect=dialect)
    heard = _Tokens()

    async def main() -> None:
        async with await model.astream_events("hi", {"callbacks": [heard]}, version="v3") as stream:
            async for _ in stream:
                pass

    if asynchronous:
        asyncio.run(main())
    else:
        list(model.stream_events("hi", {"callbacks": [heard]}, version="v3"))

    whole: Any = merged(heard.chunks)
    assert whole.text == "It is"
    assert [(found["name"], found["args"]) for found in whole.tool_calls] == [("weather", {"city": "Paris"})]
    assert whole.usage_metadata["total_tokens"] == 7


def test_all_chunks_of_a_stream_that_was_cut_off_have_one_id() -> None:
    chunks = list(ScriptedChatModel(say("It ", "is").then_truncate()).stream("hi"))

    assert len({chunk.id for chunk in chunks}) == 1
    assert "finish_reason" not in merged(chunks).response_metadata
