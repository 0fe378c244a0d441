"""The table of names, held against the packages that publish the conventions."""

from __future__ import annotations

from typing import Any

from openinference.semconv import trace as openinference
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes
from opentelemetry.semconv.attributes import exception_attributes

from llmtest.otel import conventions
from llmtest.otel.conventions import OpenInference

AFTER_1_41 = {"gen_ai.usage.cache_write.input_tokens"}
"""Names of the first release of the own repository of the GenAI conventions, which no package has yet."""
EVENTS = {"gen_ai.evaluation.result", "gen_ai.client.inference.operation.details"}


def texts(source: Any) -> set[str]:
    return {value for name, value in vars(source).items() if isinstance(value, str) and not name.startswith("_")}


def published(*sources: Any) -> set[str]:
    return set().union(*map(texts, sources))


def test_each_name_of_the_genai_conventions_is_published() -> None:
    known = published(gen_ai_attributes, error_attributes, exception_attributes)
    ours = {value for name, value in vars(conventions).items() if name.isupper() and isinstance(value, str) and "." in value}
    ours |= {*conventions.PARAMETERS.values(), *(version.cache_write for version in conventions.VERSIONS.values())}
    ours |= {version.workflow_name for version in conventions.VERSIONS.values()}

    assert ours - known - EVENTS == AFTER_1_41 | {conventions.LATEST}


def test_each_operation_is_published_or_of_the_new_repository() -> None:
    known = {member.value for member in gen_ai_attributes.GenAiOperationNameValues}

    assert set(conventions.OPERATIONS) - known <= {"plan", "invoke_workflow", "retrieval"}


def test_each_provider_is_published() -> None:
    known = {member.value for member in gen_ai_attributes.GenAiProviderNameValues}

    assert set(conventions.PROVIDERS.values()) - known == set()


def test_each_name_of_openinference_is_published() -> None:
    classes = [value for name, value in vars(openinference).items() if name.endswith("Attributes")]

    assert texts(OpenInference) - published(*classes) == set()


def test_each_kind_of_openinference_is_known() -> None:
    assert {member.value for member in openinference.OpenInferenceSpanKindValues} - set(OpenInference.KINDS) == set()


def test_a_convention_that_is_no_version_has_the_names_of_the_latest() -> None:
    assert conventions.version_of("openinference") == conventions.VERSIONS[conventions.LATEST]
    assert conventions.version_of("1.41").cache_write == "gen_ai.usage.cache_creation.input_tokens"
