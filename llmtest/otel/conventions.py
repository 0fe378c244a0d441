"""The one table of names: what attributes, events and operations are called, and which source says so.

| class | source |
|---|---|
| `GenAI` | https://github.com/open-telemetry/semantic-conventions-genai, v0.1.0; v1.41.0 of the general conventions before it |
| `OpenInference` | https://arize-ai.github.io/openinference/spec/attributes/semantic-conventions.html |
| `Traceloop` | https://pypi.org/project/opentelemetry-semantic-conventions-ai/ (OpenLLMetry) |
| `LangSmith` | https://docs.langchain.com/langsmith/trace-with-opentelemetry |
| `Langfuse` | https://langfuse.com/integrations/native/opentelemetry |
| `Own` | docs/reference/opentelemetry.md: what no convention has a name for |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmtest.events.callbacks import RunKind


@dataclass(frozen=True, slots=True)
class GenAI:
    """One version of the GenAI semantic conventions: what differs between the versions."""

    version: str
    cache_write: str
    workflow_name: str
    top_k: type[int] | type[float]
    needs_finish_reason: bool
    """True if each message of an answer must have a finish reason."""


VERSIONS: Final = {
    "0.1": GenAI("0.1.0", "gen_ai.usage.cache_write.input_tokens", "gen_ai.agent.name", int, False),
    "1.41": GenAI("1.41.0", "gen_ai.usage.cache_creation.input_tokens", "gen_ai.workflow.name", float, True),
}
"""By version: the names that differ. `0.1` is the first release of the repository to which the conventions moved after 1.41."""
LATEST: Final = "0.1"
OPENINFERENCE: Final = "openinference"
CONVENTIONS: Final = (*VERSIONS, OPENINFERENCE)

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
STREAM: Final = "gen_ai.request.stream"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
CONVERSATION: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
DATA_SOURCE: Final = "gen_ai.data_source.id"
QUERY: Final = "gen_ai.retrieval.query.text"
DOCUMENTS: Final = "gen_ai.retrieval.documents"
ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EVALUATION: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"
OPERATION_DETAILS: Final = "gen_ai.client.inference.operation.details"

PARAMETERS: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "n": "gen_ai.request.choice.count",
}
"""By the name of a parameter in LangChain: the attribute of a request."""
ASKED: Final = frozenset(
    {*PARAMETERS, "tool_choice", "response_format", "reasoning_effort", "max_output_tokens", "max_completion_tokens"}
)
"""The parameters of a request that are read where a span has all of them in one attribute."""

OPERATIONS: Final[dict[str, RunKind]] = {
    "chat": "chat",
    "generate_content": "chat",
    "text_completion": "llm",
    "execute_tool": "tool",
    "retrieval": "retriever",
    "invoke_agent": "chain",
    "create_agent": "chain",
    "invoke_workflow": "chain",
    "plan": "chain",
    "embeddings": "chain",
}
"""By operation: the kind of run that its span is."""

PROVIDERS: Final = {
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "google": "gcp.gen_ai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "mistralai": "mistral_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "ibm": "ibm.watsonx.ai",
    "watsonx": "ibm.watsonx.ai",
}
"""By LangChain's name of a provider: the one of the conventions, where they differ."""


class OpenInference:
    """The second convention. Lists are flattened: `llm.input_messages.0.message.role`."""

    KIND: Final = "openinference.span.kind"
    INPUT: Final = "input.value"
    INPUT_MIME: Final = "input.mime_type"
    OUTPUT: Final = "output.value"
    OUTPUT_MIME: Final = "output.mime_type"
    INPUT_MESSAGES: Final = "llm.input_messages"
    OUTPUT_MESSAGES: Final = "llm.output_messages"
    MODEL: Final = "llm.model_name"
    PROVIDER: Final = "llm.provider"
    SYSTEM: Final = "llm.system"
    PARAMETERS: Final = "llm.invocation_parameters"
    TOOLS: Final = "llm.tools"
    TOOL_SCHEMA: Final = "tool.json_schema"
    PROMPTS: Final = "llm.prompts"
    FINISH_REASON: Final = "llm.finish_reason"
    INPUT_TOKENS: Final = "llm.token_count.prompt"
    OUTPUT_TOKENS: Final = "llm.token_count.completion"
    TOTAL_TOKENS: Final = "llm.token_count.total"
    CACHE_READ: Final = "llm.token_count.prompt_details.cache_read"
    CACHE_WRITE: Final = "llm.token_count.prompt_details.cache_write"
    REASONING: Final = "llm.token_count.completion_details.reasoning"
    TOOL_NAME: Final = "tool.name"
    TOOL_DESCRIPTION: Final = "tool.description"
    TOOL_PARAMETERS: Final = "tool.parameters"
    TOOL_CALL_ID: Final = "tool_call.id"
    CALL_NAME: Final = "tool_call.function.name"
    CALL_ARGUMENTS: Final = "tool_call.function.arguments"
    AGENT_NAME: Final = "agent.name"
    SESSION: Final = "session.id"
    METADATA: Final = "metadata"
    TAGS: Final = "tag.tags"
    DOCUMENTS: Final = "retrieval.documents"
    DOCUMENT_CONTENT: Final = "document.content"
    DOCUMENT_METADATA: Final = "document.metadata"
    DOCUMENT_ID: Final = "document.id"
    ROLE: Final = "message.role"
    CONTENT: Final = "message.content"
    CONTENTS: Final = "message.contents"
    CONTENT_TYPE: Final = "message_content.type"
    CONTENT_TEXT: Final = "message_content.text"
    NAME: Final = "message.name"
    CALLS: Final = "message.tool_calls"
    ANSWERED_CALL: Final = "message.tool_call_id"

    KINDS: Final[dict[str, RunKind]] = {
        "LLM": "chat",
        "TOOL": "tool",
        "RETRIEVER": "retriever",
        "AGENT": "chain",
        "CHAIN": "chain",
        "EMBEDDING": "chain",
        "RERANKER": "chain",
        "GUARDRAIL": "chain",
        "EVALUATOR": "chain",
        "PROMPT": "chain",
        "DECISION": "chain",
        "UNKNOWN": "chain",
    }


class Traceloop:
    """What OpenLLMetry adds to the GenAI conventions, and what it has from an early version of them."""

    KIND: Final = "traceloop.span.kind"
    NAME: Final = "traceloop.entity.name"
    INPUT: Final = "traceloop.entity.input"
    OUTPUT: Final = "traceloop.entity.output"
    REQUEST_TYPE: Final = "llm.request.type"
    PROMPT: Final = "gen_ai.prompt"
    COMPLETION: Final = "gen_ai.completion"
    FUNCTIONS: Final = "llm.request.functions"
    METADATA: Final = "traceloop.association.properties"
    KINDS: Final[dict[str, RunKind]] = {"workflow": "chain", "task": "chain", "agent": "chain", "tool": "tool"}
    REQUESTS: Final[dict[str, RunKind]] = {"chat": "chat", "completion": "llm", "rerank": "chain", "embedding": "chain"}


class Langfuse:
    """What the SDK of Langfuse writes on its spans."""

    TYPE: Final = "langfuse.observation.type"
    INPUT: Final = "langfuse.observation.input"
    OUTPUT: Final = "langfuse.observation.output"
    MODEL: Final = "langfuse.observation.model.name"
    PARAMETERS: Final = "langfuse.observation.model.parameters"
    USAGE: Final = "langfuse.observation.usage_details"
    LEVEL: Final = "langfuse.observation.level"
    STATUS: Final = "langfuse.observation.status_message"
    METADATA: Final = "langfuse.observation.metadata"
    SESSION: Final = "session.id"
    TAGS: Final = "langfuse.trace.tags"
    KINDS: Final[dict[str, RunKind]] = {
        "generation": "chat",
        "tool": "tool",
        "retriever": "retriever",
        "span": "chain",
        "agent": "chain",
        "chain": "chain",
        "embedding": "chain",
        "evaluator": "chain",
        "guardrail": "chain",
        "event": "chain",
    }


class LangSmith:
    """What LangSmith writes on spans; a run of its API has the same fields."""

    KIND: Final = "langsmith.span.kind"
    INPUTS: Final = "gen_ai.prompt"
    OUTPUTS: Final = "gen_ai.completion"
    METADATA: Final = "langsmith.metadata"
    TAGS: Final = "langsmith.span.tags"
    KINDS: Final[dict[str, RunKind]] = {
        "llm": "chat",
        "tool": "tool",
        "retriever": "retriever",
        "chain": "chain",
        "prompt": "chain",
        "parser": "chain",
        "embedding": "chain",
    }


class Older:
    """Names of early versions that exporters still write."""

    SYSTEM: Final = "gen_ai.system"
    INPUT_TOKENS: Final = "gen_ai.usage.prompt_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.completion_tokens"
    TOOL_ARGUMENTS: Final = ("tool_arguments", "gen_ai.tool.arguments")
    TOOL_RESULT: Final = ("tool_response", "gen_ai.tool.result")
    ALL_MESSAGES: Final = ("pydantic_ai.all_messages", "all_messages_events")
    FINAL_RESULT: Final = "final_result"
    CACHE_READ: Final = ("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.details.cache_read_tokens")
    CACHE_WRITE: Final = ("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.details.cache_write_tokens")
    REASONING: Final = ("gen_ai.usage.reasoning_tokens", "gen_ai.usage.details.reasoning_tokens")


class Adk:
    """What Google ADK writes on its spans beside the GenAI conventions."""

    REQUEST: Final = "gcp.vertex.agent.llm_request"
    RESPONSE: Final = "gcp.vertex.agent.llm_response"
    ARGUMENTS: Final = "gcp.vertex.agent.tool_call_args"
    RESULT: Final = "gcp.vertex.agent.tool_response"


class EventNames:
    """Events of spans that have the messages, as the GenAI conventions had them before 1.37; Strands writes them."""

    ROLES: Final = {
        "gen_ai.system.message": "system",
        "gen_ai.user.message": "human",
        "gen_ai.assistant.message": "ai",
        "gen_ai.tool.message": "tool",
    }
    CHOICE: Final = "gen_ai.choice"
    FINISH_REASON: Final = "finish_reason"


class Own:
    """What no convention has a name for. A reader that does not know them loses only what the page of limits says."""

    RUN_ID: Final = "llmtest.run.id"
    RUN_KIND: Final = "llmtest.run.kind"
    RUN_NAME: Final = "llmtest.run.name"
    ENDED: Final = "llmtest.run.ended"
    TAGS: Final = "llmtest.run.tags"
    METADATA: Final = "llmtest.run.metadata"
    INPUT: Final = "llmtest.run.input"
    OUTPUT: Final = "llmtest.run.output"
    CACHED: Final = "llmtest.run.cached"
    INSIDE: Final = "llmtest.trace.inside"
    SESSION: Final = "llmtest.session"
    EVENTS: Final = "llmtest.events"
    MESSAGES: Final = "llmtest.messages"
    LANES: Final = "llmtest.lanes"


def version_of(convention: str) -> GenAI:
    """Return the names of a version of the GenAI conventions; those of the latest for OpenInference."""
    return VERSIONS.get(convention, VERSIONS[LATEST])
