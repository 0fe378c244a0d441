"""The markers of a test, and the rules of the whole suite: `llm_budget`, `llm_rules`, `llm_waive`, ini key `llmtest_rules`."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from llmtest.errors import Violation
    from llmtest.matching.rule import Rule
    from llmtest.recording.recording import Recording
    from llmtest.tokens.budget import Budget

HELP: Final = (
    "llm_budget(*, total_tokens=None, input_tokens=None, output_tokens=None, requests=None, cost=None, prices=None): "
    "the most that the model calls of a test may spend (llmtest)",
    "llm_rules(*rules): rules of llmtest.matching that the test must obey; it is recorded",
    "llm_waive(rule, *, reason): lets the test break one rule of the callback protocol",
    "llm_faults(*, kinds=None, survives=None, effects=(), invariants=(), max_tokens=None, pairs=False, "
    "chunks=20, snapshot=False): "
    "runs the test once more for every fault at every call of a model, a tool or a retriever (llmtest)",
    "llm_interleave(*, runs=200, seed=0, bound=None): runs a test again under other orders of its tasks or threads (llmtest)",
    "llm_cassette(*, tools=(), models=(), max_age_days=None): the models of the test answer from its cassette, which "
    "--llmtest-record records; tools= answer from it too (llmtest)",
    "llm_eval(*, dataset, at_least, repeats=10, confidence=0.95, method='exact', scorers=(), max_cost=None, concurrency=8, "
    "prices=None): runs the test on each case of a dataset, so often; it takes the argument `case` (llmtest)",
    "allow_real_models: lets the requests of the test to real models through (llmtest)",
)
"""Each marker, as `pytest --markers` shows it."""

_rules: Final = pytest.StashKey[tuple["Rule", ...]]()  # those of the ini key


def budget_of(item: pytest.Item) -> Budget | None:
    marks = list(item.iter_markers("llm_budget"))
    if not marks:
        return None
    from llmtest.errors import BudgetError
    from llmtest.tokens.budget import budget

    problem = ""
    try:
        return budget([(mark.args, mark.kwargs) for mark in reversed(marks)])
    except (BudgetError, TypeError) as error:
        problem = str(error)
    pytest.fail(problem, pytrace=False)


def check_case(item: pytest.Item) -> None:
    """Fail a test with `llm_eval` that pytest makes no items of, as a method of unittest: it would run on no case."""
    if item.get_closest_marker("llm_eval") is not None and not hasattr(item, "callspec"):
        pytest.fail(
            "llm_eval is a marker of test functions, and of methods of plain classes: pytest cannot give it cases here", False
        )


def waived(item: pytest.Item) -> set[str]:
    """The rules that the markers of a test let it break.

    Raises:
        UsageError: a marker names no rule, or gives no reason.
    """
    marks = list(item.iter_markers("llm_waive"))
    if not marks:
        return set()
    from llmtest.errors import SWALLOWED
    from llmtest.protocol.checks import RULES

    return {_rule(mark, [SWALLOWED, *(rule.name for rule in RULES)]) for mark in marks}


def _rule(mark: pytest.Mark, rules: list[str]) -> str:
    given = ", ".join([*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())])
    reason = mark.kwargs.get("reason")
    if len(mark.args) != 1 or set(mark.kwargs) != {"reason"} or not isinstance(reason, str) or not reason.strip():
        raise pytest.UsageError(f"the marker is llm_waive(rule, reason='why'), with one rule; got llm_waive({given})")
    if mark.args[0] not in rules:
        from llmtest.core.text import did_you_mean, names

        hint = did_you_mean(str(mark.args[0]), rules, otherwise=f"the rules are {names(rules)}")
        raise pytest.UsageError(f"llm_waive({given}): there is no rule {mark.args[0]!r}{hint}")
    return str(mark.args[0])


def suite_rules(config: pytest.Config) -> tuple[Rule, ...]:
    """The rules of the ini key: each line names a rule, or a list of rules, in a module."""
    if _rules not in config.stash:
        config.stash[_rules] = tuple(rule for line in config.getini("llmtest_rules") for rule in _rules_at(line))
    return config.stash[_rules]


def _rules_at(line: str) -> list[Rule]:
    import importlib

    from llmtest.matching.rule import Rule

    module, _, name = line.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"the ini key llmtest_rules names `module:rules`; got {line!r}: {error}") from None
    rules = list(found) if isinstance(found, list | tuple) else [found]
    if not all(isinstance(rule, Rule) for rule in rules):
        raise pytest.UsageError(f"the ini key llmtest_rules names rules; {line} is {found!r}")
    return rules


def rules_of(item: pytest.Item) -> tuple[Rule, ...]:
    """Return the rules of a test's markers; fail if a marker has none, or something else."""
    marks = list(item.iter_markers("llm_rules"))
    if not marks:
        return ()
    from llmtest.matching.engine import check_rules

    for mark in marks:
        problem = ""
        try:
            check_rules(mark.args, "llm_rules()")
        except TypeError as error:
            problem = str(error)
        if mark.kwargs:
            problem = f"llm_rules() takes rules and no keywords; got {', '.join(f'{key}=' for key in mark.kwargs)}"
        if problem:
            pytest.fail(problem, pytrace=False)
    return tuple(rule for mark in marks for rule in mark.args)


def check_campaigns(item: pytest.Item) -> None:
    """Fail a test whose marker could have no effect: pytest makes the items of a `unittest.TestCase` in another way."""
    marker = next((name for name in ("llm_faults", "llm_interleave") if item.get_closest_marker(name) is not None), None)
    if marker is not None and getattr(item, "cls", None) is not None and issubclass(item.cls, unittest.TestCase):  # type: ignore[attr-defined]
        pytest.fail(f"the marker {marker} is for test functions, and not for those of a unittest.TestCase", pytrace=False)


def judge_rules(rules: tuple[Rule, ...], recordings: list[Recording]) -> list[Violation]:
    """Return what the rules of the suite and of the test's markers find in each recording of the test."""
    if not rules or not recordings:
        return []
    from llmtest.errors import Violation
    from llmtest.matching.engine import judge

    broken = [answer for recording in recordings for answer in judge(recording, rules) if not answer.holds]
    return [Violation("broken rule", text) for text in dict.fromkeys(map(str, broken))]


def judge_invariants(config: pytest.Config, recordings: list[Recording]) -> list[Violation]:
    """Return what breaks the invariants of the ini key in each recording of the test."""
    chosen = config.getini("llmtest_invariants")
    if not chosen or not recordings:
        return []
    from llmtest.campaigns.invariants import broken_invariants

    return [violation for recording in recordings for violation in broken_invariants(recording, chosen)]
