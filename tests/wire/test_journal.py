"""The journal of a scripted server."""

from __future__ import annotations

from llmtest.events.words import Message
from llmtest.scripts.requests import Request
from llmtest.scripts.steps import say
from llmtest.wire.journal import MAX_ENTRIES, MAX_WHOLE, MAX_WHOLE_BYTES, Journal


def asked(text: str) -> Request:
    return Request(read=lambda: [Message("human", text)])


def test_an_entry_is_one_line_with_what_is_known_so_far() -> None:
    entry = Journal().enter("POST", "/v1/messages")
    lines = [str(entry)]

    entry.provider, entry.model, entry.status = "anthropic", "claude-x", 200
    lines.append(str(entry))
    entry.request, entry.step, entry.ending = asked("hi"), say("Hello"), "answered"
    lines.append(str(entry))

    assert lines == [
        "1  POST /v1/messages  open",
        "1  POST /v1/messages  anthropic:claude-x  200  open",
        "1  POST /v1/messages  anthropic:claude-x  200  human 'hi'  -> say('Hello')",
    ]


def test_an_entry_is_json_too() -> None:
    assert Journal().enter("GET", "/v1/models").as_json() == {
        "number": 1,
        "method": "GET",
        "path": "/v1/models",
        "provider": "",
        "model": "",
        "status": None,
        "ending": "open",
        "last_message": None,
        "step": None,
    }


def test_a_journal_is_a_sequence_in_the_order_of_arrival() -> None:
    journal = Journal()
    assert (str(journal), repr(journal)) == ("no request came", "<journal: 0 requests>")

    entries = [journal.enter("POST", f"/{number}") for number in range(3)]

    assert (list(journal), journal[0], journal[1:], len(journal)) == (entries, entries[0], entries[1:], 3)
    assert repr(journal) == "<journal: 3 requests>"


def test_a_long_journal_shows_its_beginning_and_its_end() -> None:
    journal = Journal()
    for number in range(100):
        journal.enter("POST", f"/{number}")

    lines = str(journal).splitlines()

    assert (len(lines), lines[0], lines[14], lines[-1]) == (20, "1  POST /0  open", "... 81 more lines", "100  POST /99  open")


def test_a_journal_is_bounded_and_says_so() -> None:
    journal = Journal()
    for _ in range(MAX_ENTRIES + 5):
        journal.keep(journal.enter("POST", "/"), asked("hi"), 10)

    assert (journal.total, len(journal)) == (MAX_ENTRIES + 5, MAX_ENTRIES)
    assert sum(entry.request is not None for entry in journal) == MAX_WHOLE
    assert str(journal).splitlines()[0] == "... 5 earlier requests"


def test_large_requests_make_room_for_the_last_ones() -> None:
    journal = Journal()
    for _ in range(5):
        journal.keep(journal.enter("POST", "/"), asked("hi"), MAX_WHOLE_BYTES // 2)

    assert [entry.request is not None for entry in journal] == [False, False, False, True, True]
