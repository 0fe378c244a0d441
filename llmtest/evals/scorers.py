"""Scorers for outputs and recordings. Each function here returns a scorer: give it to `score`.

What a scorer expects is the `expected` of the case, unless it is told otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from operator import mul
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from llmtest.core.masks import show, show_text
from llmtest.core.text import amount, did_you_mean, short
from llmtest.errors import ScorerError
from llmtest.evals.scores import CaseRun, Score, recorded
from llmtest.events.words import Structured

if TYPE_CHECKING:
    from llmtest.events.events import Run
    from llmtest.matching.rule import Rule

BuiltIn = Callable[[CaseRun], Score]


class _OfCase:
    """What stands for the `expected` of the case."""

    def __repr__(self) -> str:
        return "OF_CASE"


OF_CASE: Final = _OfCase()


def _expected(run: CaseRun, given: Any) -> Any:
    return run.case.expected if given is OF_CASE else given


def named(name: str, scorer: BuiltIn) -> BuiltIn:
    """Return a scorer with this name."""
    scorer.__name__ = name
    return scorer


# -- texts and numbers


def exact(expected: Any = OF_CASE) -> BuiltIn:
    """Return a scorer that passes an output which equals what is expected.

    If that is a text, the text of the output is compared: of a message its text, of a mapping with `messages` that of the last.

    >>> from llmtest.evals import Case, CaseRun
    >>> exact()(CaseRun(Case("france", "What is the capital?", "Paris"), output="Lyon"))
    Score(value=0.0, passed=False, why="expected 'Paris', got 'Lyon'")
    """

    def scorer(run: CaseRun) -> Score:
        wanted = _expected(run, expected)
        output = text_of(run.output) if isinstance(wanted, str) else run.output
        equal = bool(output == wanted) and isinstance(output, bool) == isinstance(wanted, bool)
        shown = show(run.output if output is None else output)
        return Score(float(equal), equal, "" if equal else f"expected {show(wanted)}, got {shown}")

    return named("exact", scorer)


def contains(*texts: str, ignore_case: bool = False) -> BuiltIn:
    """Return a scorer that passes an output which has all of these texts in it. Its value is the part of them that is there.

    Without `texts`, what is expected is a text or a list of texts.

    >>> from llmtest.evals import Case, CaseRun
    >>> contains("Paris", "France")(CaseRun(Case("france", "What is the capital?"), output="It is Paris."))
    Score(value=0.5, passed=False, why="'France' is missing in 'It is Paris.'")
    """

    def scorer(run: CaseRun) -> Score:
        wanted = texts or _texts(run.case.expected, "contains")
        output = text_of(run.output)
        if output is None:
            return _no_text(run)
        here = output.casefold() if ignore_case else output
        missing = [text for text in wanted if (text.casefold() if ignore_case else text) not in here]
        why = f"{', '.join(map(show_text, missing))} {'is' if len(missing) == 1 else 'are'} missing in {show_text(output)}"
        return Score(1 - len(missing) / len(wanted), not missing, why if missing else "")

    return named("contains", scorer)


def _texts(expected: Any, scorer: str) -> Sequence[str]:
    found = [expected] if isinstance(expected, str) else expected
    if isinstance(found, list | tuple) and found and all(isinstance(text, str) for text in found):
        return found
    raise ScorerError(f"the scorer `{scorer}` expects a text or a list of texts; the case expects {short(expected)}")


def regex(pattern: str | re.Pattern[str]) -> BuiltIn:
    """Return a scorer that passes an output in whose text the regular expression finds something.

    >>> from llmtest.evals import Case, CaseRun
    >>> regex(r"\\bORD-\\d+")(CaseRun(Case("order", "Where is it?"), output="Order ORD-17 is on its way.")).passed
    True
    """
    compiled = re.compile(pattern)

    def scorer(run: CaseRun) -> Score:
        output = text_of(run.output)
        if output is None:
            return _no_text(run)
        found = compiled.search(output) is not None
        return Score(float(found), found, "" if found else f"{compiled.pattern!r} finds nothing in {show_text(output)}")

    return named("regex", scorer)


def close_to(expected: Any = OF_CASE, *, absolute: float = 0.0, relative: float = 1e-9) -> BuiltIn:
    """Return a scorer that passes a number, or the text of one, which is near enough to what is expected.

    `absolute` is the largest difference, `relative` the largest part of the larger number; one of them is enough.

    >>> from llmtest.evals import Case, CaseRun
    >>> close_to(absolute=0.5)(CaseRun(Case("sum", "3 times 4?", 12), output="13"))
    Score(value=0.0, passed=False, why='expected 12, got 13: the difference is 1')
    """

    def scorer(run: CaseRun) -> Score:
        wanted, output = _number(_expected(run, expected)), _number(run.output)
        if wanted is None:
            raise ScorerError(f"the scorer `close_to` expects a number; the case expects {short(_expected(run, expected))}")
        if output is None:
            return Score(0.0, False, f"the output is no number: {show(run.output)}")
        close = math.isclose(output, wanted, rel_tol=relative, abs_tol=absolute)
        why = f"expected {wanted:.12g}, got {output:.12g}: the difference is {abs(output - wanted):.6g}"
        return Score(float(close), close, "" if close else why)

    return named("close_to", scorer)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        found = float(value if isinstance(value, int | float) else text_of(value) or "")
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def text_of(output: Any) -> str | None:
    """Return the text of an output: of a message its text, of a mapping with `messages` that of the last; None if it has none."""
    if isinstance(output, str):
        return str(output)
    if isinstance(output, Mapping):
        messages = output.get("messages")
        return text_of(messages[-1]) if isinstance(messages, list | tuple) and messages else None
    for field in ("text", "content"):
        text = getattr(output, field, None)
        if isinstance(text, str):
            return str(text)
    return None


def _no_text(run: CaseRun) -> Score:
    return Score(0.0, False, f"the output has no text: {show(run.output)}")


# -- structured values


def json_equal(expected: Any = OF_CASE, *, at_least: float = 1.0) -> BuiltIn:
    """Return a scorer that compares structured values: JSON texts, mappings, lists, pydantic models and dataclasses.

    Its value is the part of all single values that agree, from 0 to 1; a value that one side has alone does not. The run passes
    from `at_least` on. `1` equals `1.0`, and not `true`.

    >>> from llmtest.evals import Case, CaseRun
    >>> case = Case("refund", "...", {"order": 7, "amounts": [20, 5]})
    >>> json_equal()(CaseRun(case, output='{"order": 7, "amounts": [20, 4]}'))
    Score(value=0.6666666666666666, passed=False, why='at $.amounts[1]: expected 5, got 4 (2 of 3 values agree)')
    """

    def scorer(run: CaseRun) -> Score:
        output = run.output
        # A model of pydantic may have a field `text` too: only a message, which has metadata of its response, is its text.
        text = text_of(output) if isinstance(output, str) or hasattr(output, "response_metadata") else None
        if text is not None:
            try:
                output = json.loads(text)
            except ValueError as error:
                return Score(0.0, False, f"the output is no JSON: {str(error).split(':')[0]}, in {show_text(text)}")
        agree, total, first = _compare(plain(_expected(run, expected)), plain(output), "$")
        passed = agree >= at_least * total
        return Score(agree / total, passed, "" if passed else f"{first} ({agree:,} of {amount(total, 'value')} agree)")

    return named("json_equal", scorer)


def plain(value: Any) -> Any:
    """Return a structured value without its classes: messages aside, models of pydantic and dataclasses as mappings."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    if isinstance(value, Structured):
        return plain(value.fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


_NOTHING: Final = object()


def _compare(expected: Any, actual: Any, path: str) -> tuple[int, int, str]:
    """Return how many single values agree, how many there are, and the first difference."""
    if isinstance(expected, dict) and isinstance(actual, dict) and (expected or actual):
        pairs = [(f"{path}.{key}", expected.get(key, _NOTHING), actual.get(key, _NOTHING)) for key in {**expected, **actual}]
    elif isinstance(expected, list) and isinstance(actual, list) and (expected or actual):
        longest = range(max(len(expected), len(actual)))
        sides = ([*side, *[_NOTHING] * (len(longest) - len(side))] for side in (expected, actual))
        pairs = [(f"{path}[{number}]", old, new) for number, old, new in zip(longest, *sides, strict=True)]
    else:
        same = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
        if same:
            return 1, 1, ""
        wanted, got = ("nothing" if side is _NOTHING else show(side) for side in (expected, actual))
        return 0, max(_count(expected), _count(actual)), f"at {path}: expected {wanted}, got {got}"
    parts = [_compare(old, new, place) for place, old, new in pairs]
    first = next((difference for _, _, difference in parts if difference), "")
    return sum(agree for agree, _, _ in parts), sum(total for _, total, _ in parts), first


def _count(value: Any) -> int:
    """Return how many single values are in a value; an empty list or mapping counts as one."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_count, items)) or 1


# -- recordings

TrajectoryMode = Literal["strict", "in_order", "unordered", "subset", "superset"]


def trajectory(expected: Any = OF_CASE, *, mode: TrajectoryMode = "strict") -> BuiltIn:
    """Return a scorer that compares the tool calls of the recording with those that are expected.

    These are names, or mappings `{"name": ..., "args": {...}}` whose arguments must be equal. The modes are those of agentevals:
    `"strict"` (the same calls in the same order), `"unordered"` (the same calls in any order), `"subset"` (no other calls than
    the expected ones), `"superset"` (all expected calls, and maybe others), and Vertex AI's `"in_order"` (all expected calls in
    this order, and maybe others between them). The value is the part of the calls that agree, of the longer side; with
    `"subset"` of those that were made, with `"superset"` and `"in_order"` of those that were expected.

    Raises:
        ScorerError: the mode is unknown.

    >>> from llmtest import record, scripted_tool
    >>> from llmtest.evals import Case, CaseRun
    >>> with record() as recording:
    ...     _ = scripted_tool("search", "a hat", args={"q": str}).invoke({"q": "hat"})
    >>> trajectory(["search", "book"])(CaseRun(Case("hat", "Buy a hat"), recording=recording))
    Score(value=0.5, passed=False, why='expected `search`, `book`; got `search`')

    Calls that ran at the same time are in the order in which they started; `tools` knows that they have none.
    """
    if mode not in get_args(TrajectoryMode):
        hint = did_you_mean(str(mode), get_args(TrajectoryMode), otherwise=f"it is one of {', '.join(get_args(TrajectoryMode))}")
        raise ScorerError(f"mode= of `trajectory` has the unknown value {mode!r}{hint}")

    def scorer(run: CaseRun) -> Score:
        wanted = [_call(entry) for entry in _calls(_expected(run, expected))]
        made = list(recorded(run, "trajectory").tools)
        common = _in_order(wanted, made) if mode in ("strict", "in_order") else _in_any_order(wanted, made)
        size = {"subset": len(made), "superset": len(wanted), "in_order": len(wanted)}.get(mode, max(len(wanted), len(made)))
        passed = common == size
        why = f"expected {_shown(wanted)}; got {_shown([(call.name, None) for call in made])}"
        with_args = {name for name, args in wanted if args is not None}
        why += "".join(f"; `{call.name}` had {show(dict(call.args))}" for call in made if call.name in with_args)
        return Score(common / size if size else 1.0, passed, "" if passed else why)

    return named("trajectory", scorer)


_Call = tuple[str, Mapping[str, Any] | None]


def _calls(expected: Any) -> Sequence[Any]:
    if isinstance(expected, list | tuple):
        return expected
    raise ScorerError(f"the scorer `trajectory` expects a list of tool calls; got {short(expected)}")


def _call(entry: Any) -> _Call:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and entry.keys() <= {"name", "args"}:
        args = entry.get("args")
        if args is None or isinstance(args, Mapping):
            return entry["name"], args
    raise ScorerError(f'a tool call is a name, or {{"name": ..., "args": {{...}}}}; got {short(entry)}')


def _agree(wanted: _Call, made: Run) -> bool:
    name, args = wanted
    return name == made.name and (args is None or args == made.args)


def _in_order(wanted: Sequence[_Call], made: Sequence[Run]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(made) + 1)
    for call in wanted:
        above, row = row, [0]
        for number, run in enumerate(made):
            row.append(above[number] + 1 if _agree(call, run) else max(above[number + 1], row[number]))
    return row[-1]


def _in_any_order(wanted: Sequence[_Call], made: Sequence[Run]) -> int:
    """Return how many calls of both sides can be paired: a name alone may leave a call to an entry with its arguments."""
    partner: dict[int, int] = {}

    def can_pair(number: int, tried: set[int]) -> bool:
        for other, run in enumerate(made):
            if other not in tried and _agree(wanted[number], run):
                tried.add(other)
                if other not in partner or can_pair(partner[other], tried):
                    partner[other] = number
                    return True
        return False

    return sum(can_pair(number, set()) for number in range(len(wanted)))


def _shown(calls: Sequence[_Call]) -> str:
    texts = [f"`{name}`" if args is None else f"`{name}` with {show(dict(args))}" for name, args in calls]
    return ", ".join(texts) or "no calls"


def tools(shape: Sequence[object]) -> BuiltIn:
    """Return a scorer that passes a recording whose tools have a shape, as in `recording.tools == ["search", ..., "book"]`.

    >>> from llmtest import record
    >>> from llmtest.evals import Case, CaseRun
    >>> with record() as recording:
    ...     pass
    >>> tools(["search"])(CaseRun(Case("hat", "Buy a hat"), recording=recording)).why
    "broken: tools == ['search']: it ended after 0 items, where 'search' was due"
    """

    def scorer(run: CaseRun) -> Score:
        answer = recorded(run, "tools").tools.explain(shape)
        return Score(float(answer.holds is True), answer.holds is True, "" if answer.holds else repr(answer))

    return named("tools", scorer)


def obeys(*rules: Rule) -> BuiltIn:
    """Return a scorer that passes a recording which obeys all of these rules. Its value is the part of them that hold.

    A rule that cannot be told does not hold.

    >>> from llmtest import record
    >>> from llmtest.evals import Case, CaseRun
    >>> from llmtest.matching import at_least, never
    >>> with record() as recording:
    ...     pass
    >>> obeys(never("delete"), at_least(1, "search"))(CaseRun(Case("hat", "Buy a hat"), recording=recording)).value
    0.5
    """
    if not rules:
        raise ScorerError("the scorer `obeys` takes one rule or more")

    def scorer(run: CaseRun) -> Score:
        recording = recorded(run, "obeys")
        answers = [recording.obeys(rule) for rule in rules]
        broken = [answer for answer in answers if answer.holds is not True]
        return Score(1 - len(broken) / len(rules), not broken, repr(broken[0]) if broken else "")

    return named("obeys", scorer)


# -- meaning


class Embeddings(Protocol):
    """A model that turns texts into vectors, such as LangChain's."""

    def embed_documents(self, texts: list[str], /) -> list[list[float]]:
        """Return one vector for each text."""


def similar(embeddings: Embeddings, *, at_least: float, expected: Any = OF_CASE) -> BuiltIn:
    """Return a scorer of the cosine similarity, from -1 to 1, of the texts of the output and of what is expected.

    `embeddings` is the model that is asked, once for each run; a run passes from `at_least` on. Which number means "similar"
    depends on the model: measure it on texts that you know.

    >>> from llmtest import ScriptedEmbeddings
    >>> from llmtest.evals import Case, CaseRun
    >>> model = ScriptedEmbeddings(vectors={"Paris": [1.0, 0.0], "Lyon": [0.6, 0.8]})
    >>> similar(model, at_least=0.9)(CaseRun(Case("france", "What is the capital?", "Paris"), output="Lyon")).why
    "the similarity of 'Lyon' to 'Paris' is 0.6; required is 0.9"
    """

    def scorer(run: CaseRun) -> Score:
        wanted, output = text_of(_expected(run, expected)), text_of(run.output)
        if wanted is None:
            raise ScorerError(f"the scorer `similar` expects a text; the case expects {short(run.case.expected)}")
        if output is None:
            return _no_text(run)
        a, b = embeddings.embed_documents([output, wanted])
        lengths = math.hypot(*a) * math.hypot(*b)
        value = math.fsum(map(mul, a, b)) / lengths if lengths else 0.0
        why = f"the similarity of {show_text(output)} to {show_text(wanted)} is {value:.3g}; required is {at_least:g}"
        return Score(value, value >= at_least, "" if value >= at_least else why)

    return named("similar", scorer)
