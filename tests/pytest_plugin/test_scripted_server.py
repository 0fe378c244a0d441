"""`scripted_server` in a suite of a user."""

from __future__ import annotations

import llmtest.wire.serving  # noqa: F401, pytester forgets what an inner run in this process has imported


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

    assert outcome.counts == {"failed": 2}
    assert "1 of 2 steps of the script was never used" in outcome.text
    assert "unexpected model call 2: the script has 1 step, all served" in outcome.text
    assert "1  POST /v1/chat/completions  openai:gpt-5  200  human 'weather?'  -> say('one')" in outcome.text
    assert "2  POST /v1/chat/completions  openai:gpt-5  400  human 'and tomorrow?'" in outcome.text


def test_a_server_that_a_test_leaves_open_is_closed_and_told(suite):
    outcome = suite.run(
        """
        import threading
        from llmtest import Script
        from llmtest.wire import scripted_server

        opened = []

        def test_open():
            opened.append(scripted_server(Script("x").optional()).__enter__())

        def test_after():
            assert f"llmtest server {opened[0].port}" not in [thread.name for thread in threading.enumerate()]
        """
    )

    assert "a scripted_server() block was left open by the test\n" in outcome.text
    assert outcome.counts == {"passed": 2, "error": 1}


def test_a_server_of_a_wider_fixture_serves_several_tests(suite):
    outcome = suite.run(
        """
        import json, urllib.request
        import pytest
        from llmtest.wire import scripted_server

        @pytest.fixture(scope="module")
        def server():
            with scripted_server("one", "two", "three") as server:
                yield server

        @pytest.mark.parametrize("answer", ["one", "two"])
        def test_each(server, answer):
            body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}).encode()
            asked = urllib.request.Request(
                server.url + "/v1/chat/completions", body, {"authorization": "Bearer " + server.token}
            )
            with urllib.request.urlopen(asked) as answered:
                assert json.load(answered)["choices"][0]["message"]["content"] == answer
        """
    )

    assert outcome.counts == {"passed": 2, "error": 1}
    assert "1 of 3 steps of the script was never used\n  step 3  say('three')" in outcome.text


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
