"""Results as Markdown: whole pages, their limits, and texts of programs that want to be markup."""

from __future__ import annotations

import re

import pytest

from llmtest.reports.markdown import MAX_FAILURES_BYTES, MAX_SUMMARY_BYTES, block, code, failures_page, rerun, summary
from llmtest.reports.results import Result, Results
from tests.reports.conftest import MIXED, failed, failure

FAILURES = """\
# 3 tests failed, 2 causes

llmtest wrote this file after the last run of pytest with a failure. The next run renews it.

## `snapshot differs`

- `tests/test_it.py::test_a` at `tests/test_it.py:7`
- `tests/test_it.py::test_c` at `tests/test_it.py:7`

Run them again: `pytest tests/test_it.py::test_a tests/test_it.py::test_c`

```diff
snapshot:
  chat Model
-   < a1: "Hello"
+   < a1: "Goodbye"  ◀ first difference
```

## `1 of 2 steps was never used`

- `tests/test_it.py::test_d` at `tests/test_it.py:7` (teardown)

Run it again: `pytest tests/test_it.py::test_d`
"""

SUMMARY = """\
### llmtest: 2 failed, 1 error, 1 passed, 1 skipped

3,000 tokens (2,000 in, 1,000 out) in 6 model calls of 2 tests; $0.0123 and what 1 test of unknown cost spent

#### 2 tests: `snapshot differs`

<details><summary><code>tests/test_it.py::test_a</code> <code>tests/test_it.py:7</code></summary>

```diff
snapshot:
  chat Model
-   < a1: "Hello"
+   < a1: "Goodbye"  ◀ first difference
```

</details>
<details><summary><code>tests/test_it.py::test_c</code> <code>tests/test_it.py:7</code></summary>

```diff
snapshot:
  chat Model
-   < a1: "Hello"
+   < a1: "Goodbye"  ◀ first difference
```

</details>

#### `1 of 2 steps was never used`


- `tests/test_it.py::test_d` at `tests/test_it.py:7` (teardown)
"""


def test_the_file_of_failures_has_each_cause_once() -> None:
    assert failures_page(MIXED) == FAILURES


def test_the_summary_has_each_failing_test_with_its_diff() -> None:
    assert summary(MIXED) == SUMMARY


def test_a_summary_without_failures_is_short() -> None:
    assert summary(Results((Result("t", "passed"),)), "shard 1") == "### shard 1: 1 passed\n"


def test_joined_results_name_the_job() -> None:
    result = Result("t.py::test_a", "failed", failures=(failure(),), job="py312")

    assert "- `t.py::test_a` at `tests/test_it.py:7`, job `py312`\n" in failures_page(Results((result,)))
    assert "<code>tests/test_it.py:7</code> <code>py312</code></summary>" in summary(Results((result,)))


def test_a_command_runs_five_tests_at_most() -> None:
    (group,) = Results(tuple(failed(f"test[{number} x]") for number in range(7))).by_cause()

    assert rerun(group).count("::") == 5
    assert rerun(group).startswith("pytest 'tests/test_it.py::test[0 x]' ")


# -- texts of programs

HOSTILE = "```\n</details>\n<script>alert(1)</script>\n## pwned\n````` ` @user #1\n\x1b[2J\u202e::error::pwned"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "`plain`"),
        ("a `b` c", "``a `b` c``"),
        ("`b`", "`` `b` ``"),
        ("a``b```c", "````a``b```c````"),
        ("a\nb", "`a b`"),
        ("\x1b[31mred\x1b[0m\x07", "`red\\x07`"),
        ("", "` `"),
        ("<b>|*_[", "`<b>|*_[`"),
    ],
)
def test_a_code_span_holds_its_text(text: str, shown: str) -> None:
    assert code(text) == shown


def test_a_block_cannot_be_left_by_its_text() -> None:
    lines = block(HOSTILE, 10_000).split("\n")

    assert lines[0] == "``````diff"
    assert lines[-1] == "``````"
    assert not [line for line in lines[1:-1] if re.match(r" {0,3}`{6,}\s*$", line)]
    assert "\x1b" not in "".join(lines)
    assert "\u202e" not in "".join(lines)


def test_hostile_texts_make_no_markup() -> None:
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark")
    result = Result(HOSTILE, "failed", failures=(failure(HOSTILE, details=HOSTILE),), job=HOSTILE)
    harmless = Result("t.py::test_a", "failed", failures=(failure("cause", details="details"),), job="job")

    for page in (summary, failures_page):
        evil, good = (parser.parse(page(Results((one,)))) for one in (result, harmless))
        assert [token.type for token in evil] == [token.type for token in good]
        written = "".join(token.content for token in evil if token.type == "html_block")
        assert set(re.findall(r"<[^>]*>", written)) <= {"<details>", "<summary>", "<code>", "</code>", "</summary>", "</details>"}


# -- limits


def test_a_long_block_says_how_many_lines_are_left_out() -> None:
    text = "\n".join(f"line {number}" for number in range(1000))

    assert block(text, 60).split("\n")[-3:] == ["line 7", "... 992 more lines", "```"]
    assert "line 999" in block("\n".join(["x" * 50_000, "line 999"]), 4_000)


def test_the_file_of_failures_is_cut_by_causes() -> None:
    results = Results(tuple(failed(f"test_{number}", failure(f"cause {number}", details="x\n" * 5_000)) for number in range(30)))

    page = failures_page(results)

    assert len(page.encode()) <= MAX_FAILURES_BYTES
    assert page.endswith("\n21 more causes, of 21 tests, are left out.\n")


def test_many_tests_of_one_cause_are_counted() -> None:
    page = failures_page(Results(tuple(failed(f"test_{number}") for number in range(500))))

    assert page.count("\n- `") == 20
    assert "\n- ... and 480 more\n" in page


@pytest.mark.parametrize("details", ["x\n" * 5_000, "", "é" * 30_000])
def test_a_summary_keeps_to_its_limit_and_says_what_is_missing(details: str) -> None:
    one = Results(tuple(failed(f"test_{number}_{'n' * 100}", failure(details=details)) for number in range(3_000)))
    many = Results(
        tuple(failed(f"test_{number}_{'n' * 100}", failure(f"cause {number}", details=details)) for number in range(3_000))
    )

    for results, said in ((one, r"- \.\.\. and [\d,]+ more\n$"), (many, r"\n[\d,]+ more causes are left out\.\n$")):
        page = summary(results)
        assert len(page.encode()) <= MAX_SUMMARY_BYTES
        assert re.search(said, page)


def test_lone_surrogates_do_not_stop_a_page() -> None:
    page = summary(Results((failed("test_\ud800", failure("cause \ud800", details="\ud800")),)))

    assert page.encode()
