"""The official exporter of spans over HTTP, and what its backend has answered. It needs the packages of the extra `otel`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from llmtest.core.text import clip
from llmtest.otel.otlp import Refused

if TYPE_CHECKING:
    from requests import Response

RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""The statuses after which a request may be sent again: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes"""
_CREDENTIALS: Final = tuple(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal}CREDENTIAL_PROVIDER" for signal in ("", "TRACES_"))


class HttpExporter:
    """Sends spans, and raises `Refused` for those that the backend would refuse again."""

    def __init__(self, address: str, timeout_s: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from requests import Session

        self._answer: Response | None = None
        # A provider of credentials makes a session of its own, whose answers are not seen here.
        session = None if any(map(os.environ.get, _CREDENTIALS)) else Session()
        if session is not None:
            session.hooks["response"].append(self._note)
        self._exporter = OTLPSpanExporter(endpoint=address, timeout=timeout_s, session=session)

    def _note(self, answer: Response, *args: Any, **about: Any) -> None:
        self._answer = answer

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans, again and again for some seconds; return whether they have arrived.

        Raises:
            Refused: the backend has refused them for good, or some of them.
        """
        self._answer = None
        result = self._exporter.export(spans)
        if self._answer is not None and self._answer.ok:
            self._look_at(self._answer.content)
        elif self._answer is not None and self._answer.status_code not in RETRYABLE:
            raise Refused(f"it answered with the status {self._answer.status_code}")
        return result

    def _look_at(self, body: bytes) -> None:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        answer = ExportTraceServiceResponse()
        try:
            answer.ParseFromString(body)
        except DecodeError:
            return  # some backends answer with a text; the status says that the spans were taken
        partial = answer.partial_success
        if partial.rejected_spans > 0:
            raise Refused(f"it refused them: {clip(partial.error_message, 120) or 'no reason was given'}", partial.rejected_spans)

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
