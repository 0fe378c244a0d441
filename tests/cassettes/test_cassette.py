"""Cassettes: what real models said is answered again, with the same trees, without them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from llmtest import (
    Recording,
    Script,
    ScriptedEmbeddings,
    ViolationError,
    expect_violation,
    fail,
    on,
    record,
    reply,
    respond,
    say,
    think,
)
from llmtest.cassettes.cassette import Cassette, Mode
from llmtest.cassettes.recorder import AreOrdered
from llmtest.errors import CassetteError, ScriptError
from llmtest.langchain import providers as _real_classes_find_their_runs  # noqa: F401
from llmtest.wire import scripted_server
from tests.support.live import MODELS, PROGRAMS, Program, chat_openai

pytestmark = [
    pytest.mark.usefixtures("clients_left_open"),
    pytest.mark.filterwarnings(
        "ignore:Inheritance class AiohttpClientSession:DeprecationWarning",
        "ignore:Pydantic serializer warnings:UserWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

TEST = "test_it.py::test_it"
COMMAND = "pytest test_it.py::test_it --llmtest-record=once"


def order_of(recording: Recording) -> AreOrdered:
    def are_ordered(a: UUID, b: UUID) -> bool | None:
        runs = {run.id: run for run in recording.runs}
        return recording.order().are_ordered(runs[a], runs[b]) if a in runs and b in runs else None

    return are_ordered


@contextmanager
def taping(file: Path, mode: Mode = "once") -> Iterator[Cassette]:
    with Cassette(file, TEST, mode, command=COMMAND) as cassette:
        yield cassette


def tape(file: Path, api: str, program: Program, steps: Sequence[Any], mode: Mode = "once") -> str:
    """Run the program before a server that stands for the provider, record it, and return its tree."""
    name, make = MODELS[api]
    with scripted_server({name: list(steps)}) as server, taping(file, mode) as cassette, record() as recording:
        program(make(server))
    saved = cassette.save(order_of(recording))
    assert saved.is_written
    return str(recording)


def replay(file: Path, api: str, program: Program) -> str:
    """Run the program with its cassette, and return its tree."""
    with Cassette(file, TEST, command=COMMAND) as cassette, record() as recording:
        program(MODELS[api][1]())
    assert cassette.providers.found() == []
    for script in cassette.scripts.values():
        script.verify()
    return str(recording)


# -- the same run again


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("api", MODELS)
def test_a_program_runs_again_as_it_was_recorded(api: str, program: str, tmp_path: Path) -> None:
    run, steps = PROGRAMS[program]

    recorded = tape(tmp_path / "x.yaml", api, run, steps)

    assert replay(tmp_path / "x.yaml", api, run) == recorded


@pytest.mark.parametrize("api", MODELS)
def test_reasoning_is_said_again(api: str, tmp_path: Path) -> None:
    steps = [reply(think("a clear sky"), say("Sunny."))]

    recorded = tape(tmp_path / "x.yaml", api, lambda model: model.invoke("hi"), steps)

    assert replay(tmp_path / "x.yaml", api, lambda model: model.invoke("hi")) == recorded


@pytest.mark.parametrize("api", MODELS)
def test_a_stream_has_its_tokens_again(api: str, tmp_path: Path) -> None:
    def program(model: Any) -> None:
        said.append([chunk.text for chunk in model.stream("hi") if chunk.text])

    said: list[list[str]] = []
    tape(tmp_path / "x.yaml", api, program, [say("It i", "s sun", "ny.")])
    replay(tmp_path / "x.yaml", api, program)

    assert said[0] == said[1] == ["It i", "s sun", "ny."]


@pytest.mark.parametrize("api", ["openai", "openai-responses", "anthropic"])
def test_each_try_of_a_client_is_a_call(api: str, tmp_path: Path) -> None:
    recorded = tape(tmp_path / "x.yaml", api, lambda model: model.invoke("hi"), [fail(429, retry_after=30), fail(500), "at last"])

    assert replay(tmp_path / "x.yaml", api, lambda model: model.invoke("hi")) == recorded
    assert (tmp_path / "x.yaml").read_text("utf-8").count("- fail:") == 2


@pytest.mark.parametrize("api", MODELS)
def test_the_error_of_a_provider_is_its_own_again(api: str, tmp_path: Path) -> None:
    def program(model: Any) -> None:
        with pytest.raises(Exception) as raised:
            model.invoke("hi")
        errors.append((type(raised.value), "not today" in str(raised.value)))

    errors: list[tuple[type, bool]] = []
    step = fail(400)
    tape(tmp_path / "x.yaml", api, program, [step])
    replay(tmp_path / "x.yaml", api, program)

    assert errors[0] == errors[1]


def test_a_broken_connection_breaks_again(tmp_path: Path) -> None:
    def program(model: Any) -> None:
        with pytest.raises(Exception) as raised:
            list(model.stream("hi"))
        errors.append(type(raised.value))

    errors: list[type] = []
    tape(tmp_path / "x.yaml", "openai", program, [say("one", " two").then_fail(ConnectionError("reset"))])
    replay(tmp_path / "x.yaml", "openai", program)

    assert errors[0] is errors[1]
    assert "then_fail: {error: ConnectionError, message: " in (tmp_path / "x.yaml").read_text("utf-8")


def test_a_stream_that_its_reader_leaves_can_be_left_again(tmp_path: Path) -> None:
    def program(model: Any) -> None:
        stream = model.stream("hi")
        for chunk in stream:
            if chunk.text:
                said.append(chunk.text)
                break
        stream.close()

    said: list[str] = []
    tape(tmp_path / "x.yaml", "openai", program, [say("one", " two", " three")])
    replay(tmp_path / "x.yaml", "openai", program)

    assert said == ["one", "one"]


CITIES = ("Paris", "Rome", "Oslo")


def in_tasks(model: Any) -> None:
    async def run() -> None:
        await asyncio.gather(*(model.ainvoke(f"weather in {city}?") for city in CITIES))

    asyncio.run(run())


def in_threads(model: Any) -> None:
    with ContextThreadPoolExecutor() as pool:
        list(pool.map(model.invoke, [f"weather in {city}?" for city in CITIES]))


def in_a_batch(model: Any) -> None:
    model.batch([f"weather in {city}?" for city in CITIES])


@pytest.mark.parametrize("program", [in_tasks, in_threads, in_a_batch])
@pytest.mark.parametrize("api", ["openai", "anthropic", "ollama"])
def test_concurrent_calls_get_their_own_answers(api: str, program: Callable[[Any], None], tmp_path: Path) -> None:
    steps = [on(contains=city) >> say(f"sunny in {city}") for city in CITIES]
    recorded = tape(tmp_path / "x.yaml", api, program, steps)

    assert [replay(tmp_path / "x.yaml", api, program) for _ in range(3)] == [recorded] * 3


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_is_recorded_in_the_order_of_its_inputs_and_needs_no_keys(is_async: bool, tmp_path: Path) -> None:
    inputs = [f"item {number}" for number in range(12, 0, -1)]  # `item 1` is a part of others, so no text is a key
    said: list[list[str]] = []

    def program(model: Any) -> None:
        answers = asyncio.run(model.abatch(inputs)) if is_async else model.batch(inputs)
        said.append([answer.text for answer in answers])

    recorded = tape(tmp_path / "x.yaml", "openai", program, [respond(lambda request: f"saw {request.text}").repeat()])
    again = [replay(tmp_path / "x.yaml", "openai", program) for _ in range(3)]

    assert said == [[f"saw {text}" for text in inputs]] * 4
    assert again == [recorded] * 3
    written = re.findall(r"on:|say: .*", (tmp_path / "x.yaml").read_text("utf-8"))
    assert written == [f'say: "saw {text}"' for text in inputs]


def test_a_batch_with_a_failure_that_is_tried_again_has_keys(tmp_path: Path) -> None:
    cities = [on(contains=city) >> Script(fail(429, retry_after=0), say(f"sunny in {city}")) for city in CITIES]
    recorded = tape(tmp_path / "x.yaml", "openai", in_a_batch, cities)

    assert [replay(tmp_path / "x.yaml", "openai", in_a_batch) for _ in range(3)] == [recorded] * 3
    assert sorted(re.findall("on: .*", (tmp_path / "x.yaml").read_text("utf-8"))) == [
        "on: {contains: Oslo}",
        "on: {contains: Paris}",
        "on: {contains: Rome}",
    ]


def test_several_providers_are_in_one_cassette(tmp_path: Path) -> None:
    def program(make: Callable[[str], Any]) -> list[str]:
        return [make(api).invoke("who?").text for api in MODELS if api != "openai-responses"]

    names = {name: [name] for name, _ in MODELS.values()}
    with scripted_server(names) as server, taping(tmp_path / "x.yaml") as cassette:
        live = program(lambda api: MODELS[api][1](server))
    cassette.save()
    with Cassette(tmp_path / "x.yaml", TEST):
        again = program(lambda api: MODELS[api][1]())

    assert again == live == list(names)


def test_vectors_are_the_same_again(tmp_path: Path) -> None:
    def program(base: dict[str, Any]) -> list[list[float]]:
        model = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False, **base)
        return [*model.embed_documents(["cat", "kitten"]), model.embed_query("dog")]

    with (
        scripted_server({"openai:text-embedding-3-small": ScriptedEmbeddings()}) as server,
        taping(tmp_path / "x.yaml") as cassette,
    ):
        live = program({"base_url": server.base_url("openai"), "api_key": server.token})
    cassette.save()
    with Cassette(tmp_path / "x.yaml", TEST, command=COMMAND):
        again = program({})
        with (
            expect_violation("unexpected text"),
            pytest.raises(Exception, match="is asked for the vectors of 1 text that was not recorded"),
        ):
            OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False).embed_query("cats")

    assert again == live


def test_new_asks_the_real_model_for_texts_without_a_vector_only(tmp_path: Path) -> None:
    def embed(mode: Mode, text: str) -> tuple[list[float], int]:
        with (
            scripted_server({"openai:text-embedding-3-small": ScriptedEmbeddings()}) as server,
            taping(tmp_path / "x.yaml", mode) as cassette,
        ):
            model = OpenAIEmbeddings(
                model="text-embedding-3-small",
                check_embedding_ctx_length=False,
                base_url=server.base_url("openai"),
                api_key=server.token,
            )
            vector = model.embed_query(text)
        return vector, cassette.save().calls

    cat, _ = embed("once", "cat")

    assert embed("new", "cat") == (cat, 0)
    assert embed("new", "dog")[1] == 1
    assert list(Cassette(tmp_path / "x.yaml", TEST).embeddings["openai:text-embedding-3-small"].vectors) == ["cat", "dog"]


# -- modes


def test_once_records_what_is_missing_and_answers_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])
    before = file.read_text("utf-8")

    with taping(file) as cassette:
        assert chat_openai().invoke("hi").text == "first"

    assert (cassette.answers, cassette.records, file.read_text("utf-8")) == (True, False, before)


def test_new_answers_what_is_there_and_records_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])

    with scripted_server({"openai:gpt-5": ["second"]}) as server, taping(file, "new") as cassette:
        model = chat_openai(server)
        said = [model.invoke("hi").text, model.invoke("and?").text]
    cassette.save()

    assert said == ["first", "second"]
    with Cassette(file, TEST):
        model = chat_openai()
        assert [model.invoke("hi").text, model.invoke("and?").text] == said


def test_rewrite_records_all_anew(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])
    tape(file, "openai", lambda model: model.invoke("hi"), ["other"], mode="rewrite")

    with Cassette(file, TEST):
        assert chat_openai().invoke("hi").text == "other"


def test_verify_asks_the_real_model_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])
    before = file.read_text("utf-8")

    with scripted_server({"openai:gpt-5": ["other"]}) as server, taping(file, "verify") as cassette:
        chat_openai(server).invoke("hi")
    saved = cassette.save()

    assert (saved.is_written, file.read_text("utf-8")) == (False, before)
    assert saved.before is not None
    assert saved.after is not None
    assert [str(models["openai:gpt-5"][0]) for models in (saved.before.models, saved.after.models)] == [
        "say('first')",
        "say('other')",
    ]


def test_a_recording_that_is_not_kept_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])
    before = file.read_text("utf-8")

    with scripted_server({"openai:gpt-5": ["other"]}) as server, taping(file, "rewrite") as cassette:
        chat_openai(server).invoke("hi")
    saved = cassette.save(keep=False)

    assert (saved.is_written, saved.calls, file.read_text("utf-8")) == (False, 1, before)
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


# -- a program that has changed


def test_a_changed_prompt_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke([("system", "Be brief."), ("user", "hi")]), ["first"])

    with Cassette(file, TEST, command=COMMAND) as cassette:
        chat_openai().invoke([("system", "Be kind."), ("user", "hi")])

    with pytest.raises(ViolationError) as caught:
        cassette.scripts["openai:gpt-5"].verify()
    text = str(caught.value).splitlines()
    assert text[0].startswith("1 recorded answer was given to another request than it was recorded for on ")
    assert text[1] == '  the system prompt has changed: it was "Be brief.", it is "Be kind."  (step 1)'


def test_a_further_call_names_the_command(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])

    with Cassette(file, TEST, command=COMMAND):
        model = chat_openai(max_retries=0)
        model.invoke("hi")
        with (
            expect_violation("unexpected call") as told,
            pytest.raises(Exception, match="unexpected model call 2: the script has 1 step, all served"),
        ):
            model.invoke("and?")
    assert "record it: pytest test_it.py::test_it --llmtest-record=new" in str(told)


def test_another_model_names_the_command(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])

    with (
        Cassette(file, TEST, command=COMMAND) as cassette,
        expect_violation("real model call") as told,
        pytest.raises(Exception, match="Connection error"),
    ):
        ChatOpenAI(model="gpt-5-mini", max_retries=0).invoke("hi")
    cassette.scripts["openai:gpt-5"].waive_steps()
    assert told[0].text.splitlines()[-3:-1] == [
        "  did you mean `openai:gpt-5`?",
        "  record it: pytest test_it.py::test_it --llmtest-record=new",
    ]


# -- files


def test_a_cassette_is_as_short_as_what_was_said(tmp_path: Path) -> None:
    run, steps = PROGRAMS["an agent"]
    tape(tmp_path / "x.yaml", "openai", run, steps)

    lines = (tmp_path / "x.yaml").read_text("utf-8").splitlines()
    assert len(lines) <= 25
    assert lines[0] == "# llmtest script v2"
    assert lines[1] == 'test: "test_it.py::test_it"'


def problem_of(act: Callable[[], object], folder: Path) -> str:
    with pytest.raises(CassetteError) as caught:
        act()
    return re.sub(r"\.x\.\w+\.part", ".x.part", str(caught.value).replace(str(folder), "..."))


def test_what_keeps_a_cassette_from_being_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(file: Path) -> str:
        return problem_of(lambda: tape(file, "openai", lambda model: model.invoke("hi"), ["first"]), tmp_path)

    (tmp_path / "a file").touch()
    (tmp_path / "x.yaml" / "full").mkdir(parents=True)

    assert save(tmp_path / "a file" / "x.yaml") == (
        "the cassette .../a file/x.yaml cannot be written: [Errno 17] File exists: '.../a file'"
    )
    assert save(tmp_path / "x.yaml") == (
        "the cassette .../x.yaml cannot be written: [Errno 21] Is a directory: '.../.x.part' -> '.../x.yaml'"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "x.yaml"]
    monkeypatch.setattr("llmtest.scripts.yaml_emit.MAX_CHARACTERS", 50)
    assert save(tmp_path / "large.yaml").startswith("the cassette .../large.yaml cannot be written: the file would have ")


def test_a_cassette_that_cannot_be_deleted_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])
    cassette = Cassette(file, TEST)
    file.unlink()
    file.mkdir()

    assert problem_of(cassette.trim, tmp_path) == (
        "the cassette .../x.yaml cannot be deleted: [Errno 21] Is a directory: '.../x.yaml'"
    )
    cassette.scripts["openai:gpt-5"].waive_steps()


def test_a_class_of_models_without_steps_names_the_nearest_and_the_command(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])
    cassette = Cassette(file, TEST, command=COMMAND)

    with expect_violation("unmapped model"), pytest.raises(ViolationError) as caught:
        cassette.script_of("openai:gpt-6")

    assert str(caught.value).replace(str(tmp_path), "...") == (
        ".../x.yaml: there are no steps of `openai:gpt-6`; did you mean `openai:gpt-5`?\n"
        "  record it: pytest test_it.py::test_it --llmtest-record=new"
    )
    cassette.script_of("openai:gpt-5").waive_steps()


def test_a_missing_cassette_names_the_command_and_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "test_weather.yaml").write_text("", "utf-8")

    with pytest.raises(CassetteError) as caught:
        Cassette(tmp_path / "test_weathr.yaml", TEST, command=COMMAND)

    assert str(caught.value).replace(str(tmp_path), "...") == (
        "there is no cassette for the test: .../test_weathr.yaml\n"
        "  nearest  test_weather.yaml: if the test was renamed, rename the file, and change its `test:`\n"
        "  record it: pytest test_it.py::test_it --llmtest-record=once"
    )


def test_a_cassette_of_another_test_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(file, "openai", lambda model: model.invoke("hi"), ["first"])

    with pytest.raises(CassetteError) as caught:
        Cassette(file, "test_it.py::test_other", command=COMMAND)

    assert str(caught.value).replace(str(tmp_path), "...") == (
        ".../x.yaml:2: the cassette is of another test\n"
        "  it is of  test_it.py::test_it\n"
        "  this is   test_it.py::test_other\n"
        "  if the test was renamed, write its name there; else record it again:"
        " pytest test_it.py::test_it --llmtest-record=rewrite"
    )


def test_a_cassette_of_vcrpy_is_refused_with_the_command_that_makes_a_script_of_it(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("interactions:\n- request: {}\n", "utf-8")

    with pytest.raises(CassetteError) as caught:
        Cassette(tmp_path / "x.yaml", TEST, command=COMMAND)

    assert str(caught.value).replace(str(tmp_path), "...") == (
        ".../x.yaml: the file is a cassette of vcrpy or cassetter\n"
        "  make a script of it: llmtest script from .../x.yaml -o .../x.yaml\n"
        "  or record it again: pytest test_it.py::test_it --llmtest-record=rewrite"
    )


@pytest.mark.parametrize(
    "text", ["interactions: []\n", "<<<<<<< HEAD\n", '# llmtest script v2\ntest: "of another"\nsteps: [a]\n']
)
def test_a_file_that_cannot_be_read_is_recorded_anew(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text, "utf-8")

    tape(file, "openai", lambda model: model.invoke("hi"), ["first"], mode="rewrite")

    with Cassette(file, TEST):
        assert chat_openai().invoke("hi").text == "first"


def test_a_script_of_version_1_is_no_cassette(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# llmtest script v1\nsteps: [Hello]\n", "utf-8")

    with pytest.raises(CassetteError) as caught:
        Cassette(tmp_path / "x.yaml", TEST, command=COMMAND)

    assert str(caught.value).replace(str(tmp_path), "...") == (
        ".../x.yaml:1: the file is a script of version 1, which does not name its models\n"
        "  a cassette begins with `# llmtest script v2`, and has `models:` with the steps of each model\n"
        "  record it again: pytest test_it.py::test_it --llmtest-record=rewrite"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("usage") + 8], "not YAML"),
        (lambda text: f"<<<<<<< HEAD\n{text}", ":1: a merge was not finished"),
        (lambda text: text.replace("like: r1", "like: r9"), "`requests` of the file has no `r9`"),
        (lambda text: text.replace('begins: "', 'beginning: "'), "has the unknown key `beginning`"),
        (lambda text: text.replace('lines: "', 'lines: "zz '), "must be text, the digests of the lines of the prompt"),
        (lambda text: text.replace('recorded: "2', 'recorded: "x'), "must be a day, as in 2026-11-29"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(change: Callable[[str], str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    tape(
        file, "openai", lambda model: model.invoke([("system", "Be brief.\nBe kind."), ("user", "hi")]), [say("a", usage=(9, 9))]
    )
    file.write_text(change(file.read_text("utf-8")), "utf-8")

    with pytest.raises(ScriptError) as caught:
        Cassette(file, TEST, command=COMMAND)

    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")


def test_steps_that_no_call_takes_can_be_deleted(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"

    def both(model: Any) -> None:
        model.invoke("hi")
        model.invoke("and?")

    tape(file, "openai", both, ["first", "second"])

    with Cassette(file, TEST) as cassette:
        chat_openai().invoke("hi")
        assert (cassette.unused(), cassette.trim(), cassette.unused()) == (1, 1, 0)

    with Cassette(file, TEST) as cassette:
        chat_openai().invoke("hi")
    cassette.scripts["openai:gpt-5"].verify()
