"""The pytest plugin: hooks, fixtures and markers. Loaded in every session, so it imports little."""

from llmtest.pytest_plugin.arguments import pytest_configure_node as pytest_configure_node
from llmtest.pytest_plugin.fixtures import (
    llm_live as llm_live,
    llm_recording as llm_recording,
    llm_snapshot as llm_snapshot,
    real_backoff as real_backoff,
    scripted_chat_model as scripted_chat_model,
    scripted_llm as scripted_llm,
    scripted_providers as scripted_providers,
    scripted_server as scripted_server,
)
from llmtest.pytest_plugin.hooks import (
    pytest_assertrepr_compare as pytest_assertrepr_compare,
    pytest_collection_modifyitems as pytest_collection_modifyitems,
    pytest_fixture_setup as pytest_fixture_setup,
    pytest_generate_tests as pytest_generate_tests,
    pytest_pycollect_makeitem as pytest_pycollect_makeitem,
    pytest_runtest_call as pytest_runtest_call,
    pytest_runtest_makereport as pytest_runtest_makereport,
    pytest_runtest_protocol as pytest_runtest_protocol,
    pytest_runtest_setup as pytest_runtest_setup,
    pytest_runtest_teardown as pytest_runtest_teardown,
    pytest_sessionstart as pytest_sessionstart,
)
from llmtest.pytest_plugin.late import (
    pytest_runtestloop as pytest_runtestloop,
    pytest_testnodedown as pytest_testnodedown,
)
from llmtest.pytest_plugin.options import (
    pytest_addoption as pytest_addoption,
    pytest_configure as pytest_configure,
    pytest_load_initial_conftests as pytest_load_initial_conftests,
    pytest_make_collect_report as pytest_make_collect_report,
)
from llmtest.pytest_plugin.summary import pytest_terminal_summary as pytest_terminal_summary
