"""`scripted_providers` in a suite of a user: the fixture, and the ini key that acts before anything is collected."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

# pytester forgets what an inner run in this process has imported; what is imported here is imported once.
OURS = ("llmtest.langchain.providers", "llmtest.scripts.files")
THEIRS = ("langchain.agents", "langchain_classic.chat_models.base", "langchain_openai", "langchain_anthropic")
for name in (*THEIRS, *OURS):
    importlib.import_module(name)

SCRIPTS = Path(__file__).parent.parent.parent / "fixtures" / "scripts"
INI = """
[pytest]
addopts = --strict-markers --strict-config
asyncio_default_fixture_loop_scope = function
filterwarnings = error
llmtest_providers =
    openai:gpt-* = scripts/greeting.yaml
    anthropic:*
"""
# Without other plugins, and in a process that has imported ours long ago.
INI_ALONE = INI.replace(
    "asyncio_default_fixture_loop_scope = function\nfilterwarnings = error",
    """filterwarnings =
    error
    ignore::pytest.PytestAssertRewriteWarning
    ignore:syrupy:pytest.PytestWarning""",
)
PROGRAM = """
from langchain.chat_models import init_chat_model

model = init_chat_model("openai:gpt-5")
other = init_chat_model("anthropic:claude-x")

def greet():
    return model.invoke("hi").content
"""
GREETS = "Hello! How can I help you?"


@pytest.fixture
def program(suite):
    """A suite with the ini key, whose program builds its models at import."""
    shutil.copytree(SCRIPTS, suite.path / "scripts")
    suite.ini(INI)
    suite.write(PROGRAM, "program")
    suite.files.syspathinsert()
    return suite


# -- the fixture


def test_fixture_maps_models_for_the_test_and_brings_a_recording(suite):
    outcome = suite.run(
        """
        from langchain.chat_models import base, init_chat_model

        real = base._init_chat_model_helper

        def test_it(scripted_providers, llm_recording):
            assert scripted_providers({"openai:gpt-5": ["Hi"]}) is scripted_providers
            scripted_providers({"anthropic:*": ["Bonjour"]})
            said = [init_chat_model(model).invoke("hi").content for model in ("gpt-5", "claude-x")]

            assert said == ["Hi", "Bonjour"]
            assert scripted_providers.asked == ["openai:gpt-5", "anthropic:claude-x"]
            assert [run.name for run in llm_recording.models] == ["ChatOpenAI", "ChatAnthropic"]

        def test_after():
            assert base._init_chat_model_helper is real
        """
    )

    assert outcome.counts == {"passed": 2}


def test_unmapped_model_fails_the_test_also_when_it_is_swallowed(suite):
    outcome = suite.run(
        """
        from langchain.chat_models import init_chat_model

        def test_it(scripted_providers):
            try:
                init_chat_model("openai:gpt-5")
            except Exception:
                pass
        """
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it") == (
        "the program asks for the model `openai:gpt-5`, which is mapped to no script\n"
        "  at       test_it.py:5\n"
        "  mapped   none\n"
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers'
    )


def test_script_that_is_not_used_fails_the_test(suite):
    outcome = suite.run(
        """
        def test_it(scripted_providers):
            scripted_providers({"openai:gpt-5": ["Hi"]})
        """
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it") == (
        "1 of 1 step of the script was never used\n"
        "  step 1  say('Hi')  at test_it.py:2\n"
        "  the model was never called; remove the steps, or find out why the program stopped early"
    )


def test_model_that_a_program_keeps_from_another_test_is_scripted_by_the_test_that_calls_it(suite):
    suite.ini(INI.partition("llmtest_providers")[0] + "llmtest_real_models_everywhere = true")

    outcome = suite.run(
        """
        import functools
        from langchain.chat_models import init_chat_model

        model = functools.cache(lambda: init_chat_model("openai:gpt-5", max_retries=0))

        def test_first(scripted_providers):
            scripted_providers({"openai:gpt-5": "one"})
            assert model().invoke("hi").content == "one"

        def test_second(scripted_providers):
            scripted_providers({"openai:gpt-5": "two"})
            assert model().invoke("hi").content == "two"

        def test_third():
            model().invoke("hi")
        """
    )

    assert outcome.counts == {"passed": 2, "failed": 1}
    text = "a request to the model `openai:gpt-5` was about to leave the machine, and no entry maps it"
    assert text in outcome.part("test_third")


# -- the ini key


def test_program_that_builds_its_model_at_import_is_scripted_anew_in_each_test(program):
    outcome = program.run(
        f"""
        import pytest
        from program import greet, other

        @pytest.mark.parametrize("number", [1, 2])
        def test_greets(number):
            assert greet() == {GREETS!r}

        def test_that_calls_nothing():
            pass

        def test_that_says_otherwise(scripted_providers):
            scripted_providers({{"openai:gpt-5": "Not now.", "anthropic:claude-x": "Bonjour"}})
            assert [greet(), other.invoke("salut").content] == ["Not now.", "Bonjour"]

        def test_greets_again():
            assert greet() == {GREETS!r}
        """
    )

    assert outcome.counts == {"passed": 5}


def test_ini_acts_before_the_first_conftest(program):
    program.files.makeconftest("import program")

    outcome = program.run(f"def test_it():\n    import program\n    assert program.greet() == {GREETS!r}")

    assert outcome.counts == {"passed": 1}


def test_ini_acts_when_a_conftest_names_the_plugin(program, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    program.ini(INI_ALONE)
    program.files.makeconftest('pytest_plugins = ["llmtest.pytest_plugin"]')

    outcome = program.run(f"import program\n\ndef test_it():\n    assert program.greet() == {GREETS!r}", "-psyrupy")

    assert outcome.counts == {"passed": 1}


def test_ini_is_undone_when_the_session_ends(program):
    from langchain.chat_models import base

    before = base._init_chat_model_helper

    program.run("import program\n\ndef test_it():\n    assert program.greet()")

    assert base._init_chat_model_helper is before


def test_test_that_calls_owes_all_steps_of_the_ini(program):
    (program.path / "scripts" / "greeting.yaml").write_text("# llmtest script v1\nsteps:\n  - one\n  - two\n")

    outcome = program.run("import program\n\ndef test_it():\n    assert program.greet() == 'one'")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it") == (
        "1 of 2 steps of the script was never used\n"
        "  step 2  say('two')  at scripts/greeting.yaml:4\n"
        "  the model was called once; remove the steps, or find out why the program stopped early"
    )


def test_fixture_of_wider_scope_has_the_script_to_itself(program):
    outcome = program.run(
        f"""
        import pytest
        from program import greet

        @pytest.fixture(scope="module")
        def greeting():
            return greet()

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(greeting, number):
            assert [greeting, greet()] == [{GREETS!r}] * 2
        """
    )

    assert outcome.counts == {"passed": 2}


def test_each_attempt_starts_at_the_first_step(program):
    outcome = program.run(
        f"""
        import pytest
        from program import greet

        runs = []

        @pytest.mark.flaky(reruns=1)
        def test_it():
            runs.append(1)
            assert greet() == {GREETS!r}
            assert len(runs) == 2
        """
    )

    assert outcome.counts == {"passed": 1, "rerun": 1}


def on_workers(program):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("PYTHONPATH", str(program.path))
        program.ini(INI_ALONE)
        return program.run(None, "-n1", "-pxdist", "-psyrupy", "-pllmtest.pytest_plugin")


def test_ini_holds_on_workers(program):
    program.write(
        """
        import pytest
        import program

        @pytest.mark.parametrize("number", range(4))
        def test_it(number):
            assert program.greet()
        """
    )

    assert on_workers(program).counts == {"passed": 4}


UNMAPPED = (
    "the program asks for the model `mistralai:small`, which is mapped to no script\n"
    "  at       program.py:{line}\n"
    "  mapped   `openai:gpt-*`, `anthropic:*`\n"
    '  map it: scripted_providers({{"mistralai:small": [...]}}), or a line in the ini key llmtest_providers'
)


SWALLOWED = """
from langchain.chat_models import init_chat_model
try:
    model = init_chat_model("mistralai:small")
except Exception:
    model = None
"""


def test_unmapped_model_at_import_is_an_error_of_the_collection(program):
    program.write("from langchain.chat_models import init_chat_model\nmodel = init_chat_model('mistralai:small')", "program")

    outcome = program.run("import program\n\ndef test_it():\n    pass")

    assert outcome.counts == {"error": 1}
    assert outcome.exit_code == pytest.ExitCode.INTERRUPTED
    for line in UNMAPPED.format(line=2).splitlines():
        assert line in outcome.text


@pytest.mark.parametrize("place", ["test_it", "conftest"])
def test_unmapped_model_that_is_swallowed_at_import_is_one_too(program, place):
    program.write(SWALLOWED, "program")
    program.write("def test_it():\n    pass", "test_it")
    program.write("import program" if place == "conftest" else "import program\n\ndef test_it():\n    pass", place)

    outcome = program.run(None, "--continue-on-collection-errors")

    assert outcome.counts == {"error": 1}
    assert outcome.part(f"ERROR collecting {'test_it.py' if place == 'test_it' else 'test session'}") == UNMAPPED.format(line=3)


def test_unmapped_model_that_is_swallowed_at_import_is_one_on_workers(program):
    program.write(SWALLOWED, "program")
    program.write("import program\n\ndef test_it():\n    pass")

    outcome = on_workers(program)

    assert outcome.exit_code == pytest.ExitCode.TESTS_FAILED
    assert UNMAPPED.format(line=3) in outcome.text


def test_model_without_a_script_in_the_ini_fails_the_test_that_calls_it(program):
    outcome = program.run("import program\n\ndef test_it():\n    program.other.invoke('salut')", "--tb=line")

    assert outcome.counts == {"failed": 1}
    assert "the program calls the model `anthropic:claude-x`, for which this test has no script" in outcome.text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("gpt-5 = no.yaml", "line `gpt-5 = no.yaml`: there is no script file `{path}/no.yaml`"),
        ("gpt-5 =", "line `gpt-5 =`: expected `model = path of a script file`, or a model alone"),
        (
            "gpt-5 = bad.yaml",
            "line `gpt-5 = bad.yaml`: bad.yaml:2: the file has the unknown key `stepps`\n  expected  `steps`\n"
            "  did you mean `steps`?",
        ),
    ],
)
def test_wrong_line_ends_the_session(suite, line, text):
    suite.ini(f"[pytest]\nllmtest_providers =\n    {line}")
    (suite.path / "bad.yaml").write_text("# llmtest script v1\nstepps: []\n")

    outcome = suite.run("def test_it():\n    pass")

    assert outcome.exit_code == pytest.ExitCode.USAGE_ERROR
    assert outcome.errors.strip() == f"ERROR: the ini key llmtest_providers, {text.format(path=suite.path)}"


def test_langsmith_is_off_in_every_test(program, monkeypatch):
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "a key")

    outcome = program.run(
        """
        from langsmith.utils import tracing_is_enabled

        def test_it():
            assert not tracing_is_enabled()
        """
    )

    assert outcome.counts == {"passed": 1}
