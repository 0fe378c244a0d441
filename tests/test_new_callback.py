"""A callback that LangChain adds needs a row in the table, a method of the tap and a line in the docs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "support/rerank.py"


def test_a_row_and_a_method_are_enough_for_a_kind_of_run_that_nothing_knows() -> None:
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert (
        done.stdout
        == """\
['on_rerank_start', 'on_rerank_score', 'on_rerank_end', 'on_rerank_start', 'on_rerank_score']
reranker "by length"
  > "cats"
  @ on_rerank_score {"score": 0.5}
  < d1: "a cat"
reranker "by length"
  > "dogs"
  @ on_rerank_score {"score": 0.5}
  ? open
holds: event `on_rerank_score`(score=0.5) before event `on_rerank_end` and never event `on_rerank_error`
True True
[('reranker', 'cats', [Document(page_content='a cat', metadata={}, id=None)], 'ended'), ('reranker', 'dogs', None, 'open')]
reranker `by length` never ended
  #3 on_rerank_start `by length`
  wait for it inside the block; if it was cancelled, LangChain may have fired no end
True
['reranker "by length"', 'reranker "by length"']
"""
    )
