"""The pytest plugin: hooks, fixtures and markers. Loaded in every session, so it imports little."""

from llmtest.pytest_plugin.hooks import (
    llm_recording as llm_recording,
    llm_snapshot as llm_snapshot,
    pytest_addoption as pytest_addoption,
    pytest_assertrepr_compare as pytest_assertrepr_compare,
    pytest_configure as pytest_configure,
    pytest_fixture_setup as pytest_fixture_setup,
    pytest_load_initial_conftests as pytest_load_initial_conftests,
    pytest_make_collect_report as pytest_make_collect_report,
    pytest_runtest_call as pytest_runtest_call,
    pytest_runtest_makereport as pytest_runtest_makereport,
    pytest_runtest_protocol as pytest_runtest_protocol,
    pytest_runtest_setup as pytest_runtest_setup,
    pytest_runtest_teardown as pytest_runtest_teardown,
    pytest_runtestloop as pytest_runtestloop,
    pytest_sessionstart as pytest_sessionstart,
    pytest_terminal_summary as pytest_terminal_summary,
    pytest_testnodedown as pytest_testnodedown,
    scripted_chat_model as scripted_chat_model,
    scripted_llm as scripted_llm,
    scripted_providers as scripted_providers,
)
