"""A fault in words: the sentence, its evidence in one column, and one hint."""

from __future__ import annotations

from llmtest.conformance.faults import Fault, in_words
from llmtest.errors import Violation


def test_a_fault_is_a_sentence_its_evidence_and_a_hint() -> None:
    fault = Fault("raises", "Model", "`Model.invoke` raises KeyError", evidence=(("got", "'a'"), ("", "'b'")), hint="catch it")

    assert in_words(fault, [("where", "invoke; stream")]) == Violation(
        "raises",
        "`Model.invoke` raises KeyError\n  where      invoke; stream\n  got        'a'\n             'b'\n  catch it",
    )


def test_what_is_not_known_has_no_line_and_another_hint_stands_in_place_of_its_own() -> None:
    fault = Fault("raises", "Model", "`Model.invoke` raises KeyError", evidence=(("got", ""),), hint="catch it")

    assert in_words(fault).text == "`Model.invoke` raises KeyError\n  catch it"
    assert in_words(fault, hint="let it through").text == "`Model.invoke` raises KeyError\n  let it through"
    assert in_words(Fault("raises", "Model", "it raises")).text == "it raises"
