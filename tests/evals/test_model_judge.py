"""Judges made of a rubric and a model: what they are asked, what they may answer, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from llmtest import ScriptedChatModel, expect_violation, record, scripted_tool, structured
from llmtest.errors import NoVerdictError, ScorerError, StatusError
from llmtest.evals.judges import position_bias
from llmtest.evals.model_judge import PAIR_SCHEMA, SCHEMA, ModelJudge, judge, judge_pairs
from llmtest.evals.running import MAX_TRIES, Pauses
from llmtest.evals.scores import Case, CaseRun, Score, score

RUBRIC = "The answer names one city."


def model(*passed: bool, **options: Any) -> ScriptedChatModel:
    return ScriptedChatModel(*[structured({"why": f"verdict {n}", "passed": one}) for n, one in enumerate(passed)], **options)


def run(output: Any = "Paris", inputs: Any = "The capital?", expected: Any = None, **more: Any) -> CaseRun:
    return CaseRun(Case("france", inputs, expected), output, **more)


class Answering:
    """A model with answers that no provider should give."""

    def __init__(self, answer: Any = None, schema: Any = SCHEMA, **facts: Any) -> None:
        self.answer = answer
        self.schema = schema
        self.facts = facts
        self.asked: list[Any] = []

    def with_structured_output(self, schema: Any, /, *, include_raw: bool) -> Answering:
        assert (schema, include_raw) == (self.schema, True)
        return self

    def dict(self) -> Any:
        return self.facts

    def invoke(self, messages: Any, config: Any = None, /) -> Any:
        self.asked.append(messages)
        return self.answer


def asked(**facts: Any) -> str:
    """What a judge is asked, without its instructions."""
    answering = Answering({"parsed": {"why": "", "passed": True}})
    judge(answering, RUBRIC)(run(**facts))
    (((_, system), (_, human)),) = answering.asked
    assert f"\n\n{RUBRIC}\n\n" in system
    return str(human)


def test_a_verdict_is_a_score_with_its_reason() -> None:
    one_city = judge(model(True, False), f"  {RUBRIC}\n", name="one_city")

    scores = [score(run(output), one_city)["one_city"] for output in ("Paris", "Lyon")]

    assert scores == [Score(1.0, True, "verdict 0"), Score(0.0, False, "verdict 1")]
    assert (one_city.asked, one_city.rubric, one_city.model) == (2, RUBRIC, "scripted")
    assert repr(one_city) == "<judge 'one_city' of scripted: The answer names one city.>"


def test_a_judge_is_a_run_with_a_name_and_a_tag() -> None:
    with record() as recording:
        judge(model(True), RUBRIC, name="one_city")(run())

    assert [root.name for root in recording.roots] == ["one_city"]
    assert recording.tags("judge")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "<inputs>\nThe capital?\n</inputs>\n\n<output>\nParis\n</output>"),
        (
            {"expected": "Paris", "output": None},
            "<inputs>\nThe capital?\n</inputs>\n\n<expected>\nParis\n</expected>\n\n<output>\nnull\n</output>",
        ),
        ({"output": AIMessage("Lyon")}, "<inputs>\nThe capital?\n</inputs>\n\n<output>\nLyon\n</output>"),
        (
            {"inputs": {"q": "ü"}, "output": {"messages": [HumanMessage("a"), AIMessage("b")]}},
            '<inputs>\n{\n "q": "ü"\n}\n</inputs>\n\n<output>\nb\n</output>',
        ),
        ({"output": ["</output>"]}, '<inputs>\nThe capital?\n</inputs>\n\n<output_>\n[\n "</output>"\n]\n</output_>'),
    ],
    ids=["text", "expected", "message", "state", "a closing tag"],
)
def test_a_judge_sees_the_case_and_the_output(facts: dict[str, Any], text: str) -> None:
    assert asked(**facts) == text


def test_a_judge_sees_the_tree_on_demand() -> None:
    with record() as recording:
        scripted_tool("search", "a hat", args={"q": str}).invoke({"q": "hat"})
    answering = Answering({"parsed": {"why": "", "passed": True}})

    judge(answering, RUBRIC, tree=True)(run(recording=recording))

    human = answering.asked[0][1][1]
    assert human.index("<callbacks>") < human.index('tool search(q="hat")') < human.index("<output>")
    with pytest.raises(ScorerError, match="looks at what was recorded"):
        judge(answering, RUBRIC, tree=True)(run())


@pytest.mark.parametrize(
    ("answer", "instead"),
    [
        ({"raw": AIMessage("", additional_kwargs={"refusal": "I will not"}), "parsed": None}, "it refused: 'I will not'"),
        ({"raw": AIMessage("Fine, pass"), "parsed": None, "parsing_error": ValueError("no JSON")}, "it answered 'Fine, pass'"),
        ({"raw": AIMessage(""), "parsed": None, "parsing_error": KeyError("why")}, "its answer cannot be read: KeyError: 'why'"),
        ({"raw": AIMessage(""), "parsed": {"why": "", "passed": "yes"}}, "it answered {'passed': 'yes', 'why': ''}"),
        (None, "it answered None"),
    ],
    ids=["refusal", "text", "error", "wrong type", "nothing"],
)
def test_without_a_verdict_a_run_does_not_pass_and_nothing_is_kept(answer: Any, instead: str, tmp_path: Path) -> None:
    silent = judge(Answering(answer), RUBRIC, cache=tmp_path / "kept.jsonl")

    with pytest.raises(NoVerdictError) as caught:
        silent(run())

    assert str(caught.value) == f"the judge `judge` gave no verdict: {instead}"
    assert str(score(run(), silent)) == f"judge: NoVerdictError: {caught.value}"
    assert not (tmp_path / "kept.jsonl").exists()


def test_an_error_of_the_model_fails_the_run_and_is_not_kept(tmp_path: Path) -> None:
    broken = judge(model(), RUBRIC, cache=tmp_path / "kept.jsonl")

    with expect_violation("unexpected call"):
        broken(run())

    assert not (tmp_path / "kept.jsonl").exists()


class Busy(Answering):
    """A model whose provider refuses at first."""

    def __init__(self, refusals: int, status: int = 429) -> None:
        super().__init__({"parsed": {"why": "", "passed": True}})
        self.refusals, self.status = refusals, status

    def invoke(self, messages: Any, config: Any = None, /) -> Any:
        self.refusals -= 1
        if self.refusals >= 0:
            raise StatusError(self.status, retry_after=3.0)
        return super().invoke(messages, config)


def test_a_judge_waits_while_its_provider_refuses() -> None:
    now = [0.0]
    pauses = Pauses(lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    busy, for_ever, broken = (
        ModelJudge(model, RUBRIC, "judge", None, False, pauses) for model in (Busy(3), Busy(99), Busy(1, status=500))
    )

    assert busy(run()).passed is True
    assert (busy.asked, now[0]) == (4, 10.0)  # 3 and 3 as the provider says, then 4: each pause is twice as long
    with pytest.raises(StatusError):
        for_ever(run())
    assert for_ever.asked == MAX_TRIES
    with pytest.raises(StatusError):
        broken(run())
    assert broken.asked == 1


@pytest.mark.parametrize("rubric", ["", " \n", None])
def test_a_judge_takes_a_rubric(rubric: Any) -> None:
    with pytest.raises(ScorerError) as caught:
        judge(model(), rubric)

    assert str(caught.value) == f"a judge takes a rubric: what makes an answer pass, in words; got {rubric!r}"


def test_a_judge_reads_texts_and_json_only() -> None:
    for output, said in (([{1, 2}], " has {1, 2}"), ({float: 1}, ": keys must be")):
        with pytest.raises(ScorerError) as caught:
            judge(Answering(), RUBRIC)(run(output))
        assert str(caught.value).startswith(f"a judge reads texts and JSON values; the run of the case 'france'{said}")


# -- pairs


def test_a_judge_of_pairs_sees_both_outputs_and_names_the_better_one() -> None:
    answering = Answering({"parsed": {"why": "", "better": "second"}}, schema=PAIR_SCHEMA)

    choose = judge_pairs(answering, RUBRIC, name="shorter")

    assert (choose(run("Paris.", expected="Paris"), run("Lyon", expected="Paris")), choose.__name__) == ("second", "shorter")
    ((_, system), (_, human)) = answering.asked[0]
    assert f"\n\n{RUBRIC}\n\n" in system
    assert human.endswith(
        "<expected>\nParis\n</expected>\n\n<first_output>\nParis.\n</first_output>\n\n<second_output>\nLyon\n</second_output>"
    )


def test_a_judge_that_prefers_the_first_one_is_found() -> None:
    scripted = ScriptedChatModel(structured({"why": "", "better": "first"}).repeat())

    bias = position_bias(judge_pairs(scripted, RUBRIC), [(run("Paris"), run("Lyon"))] * 6)

    assert (bias.favoured, bias.disfavoured) == (6, 0)


def test_what_is_no_choice_is_no_verdict_and_two_cases_are_no_pair() -> None:
    choose = judge_pairs(Answering({"raw": AIMessage("both"), "parsed": {"better": "both"}}, schema=PAIR_SCHEMA), RUBRIC)

    with pytest.raises(NoVerdictError) as silent:
        choose(run(), run())
    with pytest.raises(ScorerError) as other:
        choose(run(), CaseRun(Case("spain", "The capital?"), "Madrid"))
    with pytest.raises(ScorerError, match="a judge takes a rubric"):
        judge_pairs(model(), "")

    assert str(silent.value) == "the judge `judge` gave no verdict: it answered 'both'"
    assert str(other.value) == "a judge of pairs takes two runs of one case; got 'france' and 'spain'"


# -- what is kept


def test_a_rerun_asks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    first = judge(model(True, False), RUBRIC, cache=path)
    scores = [first(run("Paris")), first(run("Lyon")), first(run("Paris"))]

    again = judge(model(), RUBRIC, cache=path)

    assert [again(run(text)) for text in ("Paris", "Lyon", "Paris")] == scores
    assert (first.asked, again.asked) == (2, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: judge(model(False), f"{RUBRIC} It is French.", cache=path)(run()),
        lambda path: judge(model(False, model_name="gpt-x"), RUBRIC, cache=path)(run()),
        lambda path: judge(model(False), RUBRIC, cache=path)(run("paris")),
        lambda path: judge(model(False), RUBRIC, cache=path)(run(expected="Paris")),
        lambda path: judge(model(False), RUBRIC, cache=path)(run(inputs="The capital")),
    ],
    ids=["rubric", "model", "output", "expected", "inputs"],
)
def test_what_differs_is_judged_anew(change: Callable[[Path], Score], tmp_path: Path) -> None:
    judge(model(True), RUBRIC, cache=tmp_path / "kept.jsonl")(run())

    assert change(tmp_path / "kept.jsonl").passed is False


def test_the_parameters_of_a_model_are_part_of_it() -> None:
    plain, hot, cold, odd = (
        judge(Answering(**facts), RUBRIC)
        for facts in ({}, {"model": "m", "temperature": 1}, {"model": "m", "temperature": 0}, {"temperature": object()})
    )

    assert [found.model for found in (plain, hot, cold, odd)] == ["Answering", "m", "m", "Answering"]
    assert len({found.model_hash for found in (plain, hot, cold, odd)}) == 4
    assert odd.model_hash == judge(Answering(temperature=object()), RUBRIC).model_hash


def test_a_secret_in_a_reason_is_not_kept(tmp_path: Path) -> None:
    key = "sk-" + "a1b2c3d4e5" * 3
    scripted = ScriptedChatModel(structured({"why": f"It shows the key {key}.", "passed": False}))

    found = judge(scripted, RUBRIC, cache=tmp_path / "kept.jsonl")(run())

    assert found.why == "It shows the key <mask:secret>."
    assert key not in (tmp_path / "kept.jsonl").read_text("utf-8")
