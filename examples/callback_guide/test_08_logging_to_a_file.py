"""Logging to a file: `FileCallbackHandler` writes what the stdout handler prints, and loguru adds what no handler sees.

Section "logging to a file" of LangChain's callback guide.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansi2html import Ansi2HTMLConverter
from freezegun import freeze_time
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import FileCallbackHandler
from langchain_core.prompts import PromptTemplate
from loguru import logger

from llmtest.matching import chain, model

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
WHEN = "2023-06-01 18:36:38.929"


@pytest.fixture
def log_file(tmp_path):
    """A file that loguru writes to, with colours; `enqueue` has a thread write the lines, as in the guide."""
    path = tmp_path / "output.log"
    sink = logger.add(path, colorize=True, enqueue=True)
    yield path
    logger.remove(sink)


def log(answer: str) -> None:
    # Time stands still for this line only: what waits for a clock under freezegun, as asyncio.sleep does, waits for ever.
    with freeze_time(WHEN):
        logger.info(answer)
    logger.complete()


def plain(text: str) -> str:
    """`text` without colours, and without the place in this file from which loguru was called."""
    return re.sub(r"\S+:log:\d+", "PLACE", COLOURS.sub("", text))


class Text(HTMLParser):
    """What a reader of a page sees: the text of its body."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html.partition("<body")[2].partition(">")[2])

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(path: Path) -> str:
    return Text(Ansi2HTMLConverter().convert(path.read_text("utf-8"), full=True)).text


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain and run, which the guide uses
@pytest.mark.parametrize("verbose", [True, False], ids=["verbose", "quiet"])
def test_an_llm_chain_writes_to_the_file_with_and_without_verbose(
    verbose, scripted_llm, llm_recording, llm_snapshot, log_file, capsys
):
    prompt = PromptTemplate.from_template("1 + {number} = ")
    with FileCallbackHandler(str(log_file)) as handler:  # without `with` it is deprecated today
        chain_ = LLMChain(llm=scripted_llm("\n\n3"), prompt=prompt, callbacks=[handler], verbose=verbose)
        answer = chain_.run(number=2)
        log(answer)

    steps = "\n\n> Entering new LLMChain chain...\nPrompt after formatting:\n1 + 2 = \n\n> Finished chain.\n"
    assert plain(log_file.read_text("utf-8")) == f"{steps}{WHEN} | INFO     | PLACE - \n\n3\n"
    assert COLOURS.sub("", capsys.readouterr().out) == (steps if verbose else "")
    assert shown(log_file).strip("\n") == COLOURS.sub("", log_file.read_text("utf-8")).strip("\n")
    assert llm_recording.runs == [chain("LLMChain"), model()]
    assert llm_recording == llm_snapshot


def test_a_sequence_writes_each_of_its_steps_and_no_prompt(scripted_llm, llm_recording, llm_snapshot, log_file):
    prompt = PromptTemplate.from_template("1 + {number} = ")
    with FileCallbackHandler(str(log_file)) as handler:
        answer = (prompt | scripted_llm("\n\n3")).invoke({"number": 2}, {"callbacks": [handler]})
        log(answer)

    # `on_text`, which brought the formatted prompt, is of LLMChain. What the model does is in no file: the handler does not
    # override on_llm_start.
    assert plain(log_file.read_text("utf-8")) == (
        "\n\n> Entering new RunnableSequence chain...\n"
        "\n\n> Entering new PromptTemplate chain...\n"
        "\n> Finished chain.\n"
        "\n> Finished chain.\n"
        f"{WHEN} | INFO     | PLACE - \n\n3\n"
    )
    assert shown(log_file).strip("\n") == COLOURS.sub("", log_file.read_text("utf-8")).strip("\n")
    assert llm_recording == llm_snapshot
