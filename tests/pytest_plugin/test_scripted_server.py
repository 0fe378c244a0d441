"""`scripted_server` in a suite of a user."""

from __future__ import annotations


def test_an_unused_step_and_an_unexpected_request_fail_the_test_with_the_request(suite):
    outcome = suite.run(
        """
        import json, urllib.error, urllib.request

        def ask(server, text):
            body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": text}]}).encode()
            urllib.request.urlopen(urllib.request.Request(
                server.url + "/v1/chat/completions", body, {"authorization": "Bearer " + server.token}
            )).close()

        def test_unused(scripted_server):
            ask(scripted_server("one", "two"), "weather?")

        def test_unexpected(scripted_server):
            server = scripted_server("one")
            ask(server, "weather?")
            try:
                ask(server, "and tomorrow?")
            except urllib.error.HTTPError as error:
                error.close()
        """
    )

    assert outcome.counts == {"failed": 1, "passed": 1, "error": 1} or outcome.counts == {"failed": 2}
    assert "1 of 2 steps of the script was never used" in outcome.text
    assert "unexpected model call 2: the script has 1 step, all served" in outcome.text
    assert "1  POST /v1/chat/completions  openai:gpt-5  200  human 'weather?'  -> say('one')" in outcome.text
    assert "2  POST /v1/chat/completions  openai:gpt-5  400  human 'and tomorrow?'" in outcome.text


def test_tests_on_several_workers_do_not_mix(suite):
    outcome = suite.run_on_workers(
        """
        import json, urllib.request
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_own(scripted_server, number):
            server = scripted_server(str(number))
            body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}).encode()
            asked = urllib.request.Request(
                server.url + "/v1/chat/completions", body, {"authorization": "Bearer " + server.token}
            )
            with urllib.request.urlopen(asked) as answer:
                assert json.load(answer)["choices"][0]["message"]["content"] == str(number)
            assert len(server.requests) == 1
        """
    )

    assert outcome.counts == {"passed": 8}
