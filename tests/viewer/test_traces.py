"""One recording as the data of the page."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda, RunnableParallel

from llmtest import Recording, ScriptedChatModel, call, record, say
from llmtest.viewer import traces
from llmtest.viewer.traces import add, trace_data
from tests.support.pages import travel, trip


def data_of(recording: Recording) -> Any:
    trace = trace_data(recording)
    return {**json.loads(trace.text), **json.loads(trace.later)}


def test_runs_stand_below_their_parents_with_what_they_spent() -> None:
    runs = data_of(trip())["runs"]

    models = [run for run in runs if run[1] == "chat"]
    assert [run[:4] for run in runs[:3]] == [
        [-1, "chain", "LangGraph", "ended"],
        [0, "chain", "model", "ended"],
        [1, "chat", "gpt-5-mini", "ended"],
    ]
    assert runs[0][6] == sum(run[6] for run in models)
    assert runs[0][8] == pytest.approx(sum(run[8] for run in models))
    assert runs[2][9] == "gpt-5-mini"
    assert [run[11] for run in runs if run[1] == "tool"] == ["city='Paris'", "origin='Zurich', to='Paris'", "flight='LX632'"]
    assert [run[6:9] for run in runs if run[2] == "tools"] == [[None] * 3] * 3


def test_what_is_not_known_of_one_call_is_not_known_of_all_around_it() -> None:
    with record() as recording:
        (ScriptedChatModel(say("one", usage=None), model_name="gpt-5-mini") | RunnableLambda(lambda answer: answer.text)).invoke(
            "hi"
        )
        ScriptedChatModel("two", model_name="nobody-knows-it").invoke("hi")

    trace = trace_data(recording)
    figures = [run[6:9] for run in json.loads(trace.text)["runs"]]

    assert figures[-1][:2] == [1, 1]
    assert figures[-1][2] is None
    assert trace.figures is not None
    assert trace.figures[2] is None


def test_sums() -> None:
    assert add([(1, 2, 0.5), (10, 20, None)]) == (11, 22, None)
    assert add([]) == (None, None, None)


def test_a_recording_that_missed_a_call_has_no_figures(page: Any) -> None:
    model = ScriptedChatModel("hi")
    with record() as recording:
        thread = threading.Thread(target=model.invoke, args=["hi"])
        thread.start()
        thread.join()

    trace = trace_data(recording)
    assert trace.figures == (None, None, None)
    assert [note.partition(" at ")[0] for note in trace.notes] == ["not recorded: a call of ScriptedChatModel"]


def test_many_calls_that_were_not_seen_are_counted(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_UNSEEN", 1)
    model = ScriptedChatModel(say("hi").repeat())

    with record() as recording:
        for _ in range(3):
            thread = threading.Thread(target=model.invoke, args=["hi"])
            thread.start()
            thread.join()

    assert trace_data(recording).notes[1] == "not recorded: 2 more calls"


def test_a_recording_without_a_model_has_nothing_to_count() -> None:
    with record() as recording:
        RunnableLambda(str).invoke(1)

    assert trace_data(recording).figures is None


def test_events_have_their_runs_lanes_and_times() -> None:
    recording = trip()
    data = data_of(recording)
    events = data["events"]

    assert [data["kinds"][kind] for kind in events["kind"]] == recording.kinds
    assert [data["runs"][run][2] for run in events["run"]] == [event.name for event in recording]
    assert sum(events["time"]) == recording[-1].monotonic_ns - recording[0].monotonic_ns
    assert [data["lanes"][lane][0] for lane in events["lane"]] == [event.thread for event in recording]
    assert events["virtual"] == []
    assert data["late"] == len(recording)


def test_lanes_say_who_started_them() -> None:
    data = data_of(trip())

    assert data["lanes"][0][1:] == [None, -1, "MainThread"]
    assert data["lanes"][1][3].endswith(", started by MainThread")


def test_virtual_times_are_those_of_scripts() -> None:
    with record() as recording:
        ScriptedChatModel(say("one", ttft_s=1.5)).invoke("go")

    assert data_of(recording)["events"]["virtual"] == [0, 1_500_000_000]


def test_messages_and_parameters_are_written_once() -> None:
    data = data_of(trip())

    starts = [value for value in data["values"] if isinstance(value, dict) and "messages" in value]
    assert [value["invocation_params"] for value in starts] == [{"$w": "params", "n": 0}] * 3
    assert len(data["params"]) == 1
    assert [tool["function"]["name"] for tool in data["params"][0]["tools"]] == ["weather", "flights", "book"]
    assert starts[1]["messages"]["n"][:2] == starts[0]["messages"]["n"]


def test_metadata_is_that_which_differs_from_the_run_around() -> None:
    data = data_of(trip())

    tags, new, gone = data["abouts"][2]
    assert tags == ["seq:step:1"]
    assert "ls_model_type" in new
    assert "langgraph_step" not in new
    assert gone == []


def test_metadata_that_is_gone_is_named() -> None:
    inner = ScriptedChatModel("hi")
    outer = RunnableLambda(lambda text, config: inner.invoke(text, {"callbacks": config["callbacks"], "metadata": {}}))
    with record() as recording:
        outer.invoke("go", {"metadata": {"user": "ann"}})

    data = data_of(recording)
    whole = {**data["abouts"][0][1], **data["abouts"][1][1]}
    for key in data["abouts"][1][2]:
        del whole[key]

    assert whole == json.loads(json.dumps(recording.models[0].metadata))


def test_tokens_are_their_texts() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("Hel", "lo")).stream("hi"))

    first, last = data_of(recording)["values"][1:3]
    assert first == "Hel"
    assert last["token"] == "lo"  # with the usage


def test_secrets_are_masked() -> None:
    with record() as recording:
        ScriptedChatModel("ok").invoke(
            "my key is sk-abcdefghijklmnopqrstuvwxyz1234567890ABCDEFGH", {"metadata": {"api_key": "hunter2"}}
        )
        RunnableLambda(str, name="sk-abcdefghijklmnopqrstuvwxyz1234567890ABCDEFGH").invoke({"password": "hunter2"})

    text = trace_data(recording).text

    assert "hunter2" not in text
    assert "sk-abcdefghijklm" not in text


def test_order_tells_siblings_that_may_run_at_once() -> None:
    with record() as recording:
        RunnableParallel(a=RunnableLambda(str, name="a"), b=RunnableLambda(str, name="b")).invoke(1)

    order = data_of(recording)["order"]

    assert [row[0] for row in order[1:]] == [0, 0]
    assert [row[2] for row in order[1:]] == ["0", "0"]


def test_an_order_that_takes_too_much_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_ORDER_BITS", -1)

    trace = trace_data(trip())

    assert json.loads(trace.text)["order"] is None
    assert trace.notes == ("timeline: 13 runs are too many to tell which ran side by side",)


def test_more_events_than_the_page_holds_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_EVENTS", 4)

    recording = trip()
    trace = trace_data(recording)
    data = json.loads(trace.text)

    assert len(data["values"]) == 4
    assert [run[3] for run in data["runs"]] == ["open", "open", "ended"]
    assert trace.notes == (f"events: the first 4 of {len(recording)} are shown",)


def test_values_that_take_too_much_room_are_cut_shorter_and_then_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with record() as recording:
        for number in range(20):
            RunnableLambda(str).invoke(f"{number}" + "a" * 3_000)

    monkeypatch.setattr(traces, "MAX_BYTES", 30_000)
    shorter = trace_data(recording)
    monkeypatch.setattr(traces, "MAX_BYTES", 2_000)
    least = trace_data(recording)

    assert shorter.notes == ("values: texts longer than 400 characters are cut; each says how long it is",)
    assert json.loads(shorter.text)["values"][0]["inputs"].endswith("… [cut: it has 3,001 characters]")
    assert json.loads(least.text)["values"][-1] is None


def test_a_late_event_is_an_event_of_no_run_in_the_tree() -> None:
    release = threading.Event()
    pool: list[threading.Thread] = []

    def start(_: object) -> None:
        from llmtest import carry_context

        thread = threading.Thread(target=carry_context(lambda: (release.wait(5), ScriptedChatModel("late").invoke("hi"))))
        thread.start()
        pool.append(thread)

    with record() as recording:
        RunnableLambda(start, name="starter").invoke(1)
    release.set()
    pool[0].join()

    data = data_of(recording)

    assert data["late"] == 2
    assert data["events"]["run"][2:] == [-1, -1]
    assert "late" in data["tree"]


def test_runs_stand_in_the_order_of_the_tree_whatever_thread_was_first() -> None:
    gate = threading.Event()

    def second(_: object) -> None:
        gate.wait(5)

    def first(_: object) -> None:
        gate.set()

    with record() as recording:
        RunnableParallel(a=RunnableLambda(second, name="a"), b=RunnableLambda(first, name="b")).invoke(1)

    data = data_of(recording)

    assert [run[2] for run in data["runs"]] == ["RunnableParallel<a,b>", "a", "b"]
    assert [line.split()[-1] for line in data["tree"].splitlines() if " chain " in line] == ["a", "b"]


def test_a_tree_that_cannot_be_rendered_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr(traces, "lines_and_runs", broken)

    assert trace_data(trip()).tree == "the run tree could not be rendered: RuntimeError: broken"


def test_a_failed_run_has_its_error_and_a_tool_with_text_its_input() -> None:
    with pytest.raises(ValueError, match="no such flight"), record() as recording:
        travel(call("book", flight="LX000"))

    errors = [run[10] for run in data_of(recording)["runs"] if run[1] == "tool"]

    assert errors == ["ValueError: no such flight"]


def test_a_tool_that_was_given_text_shows_it() -> None:
    from langchain_core.callbacks import CallbackManager

    with record() as recording:
        CallbackManager.configure().on_tool_start({}, "plain", name="old").on_tool_end("out")

    assert data_of(recording)["runs"][0][11] == "'plain'"


def test_what_the_cache_answered_costs_nothing() -> None:
    from langchain_core.caches import InMemoryCache

    model = ScriptedChatModel("hello", model_name="gpt-5-mini", cache=InMemoryCache())
    with record() as recording:
        model.invoke("hi")
        model.invoke("hi")

    assert [run[8] == 0 for run in data_of(recording)["runs"]] == [False, True]
