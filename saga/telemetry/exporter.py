"""OTLP over gRPC: the official exporter's connection, TLS, headers, compression and environment, with our encoder.

:class:`FastOTLPExporter` is a drop-in ``SpanExporter``. The pipeline uses its :meth:`~FastOTLPExporter.send`, one
attempt that never sleeps and never logs, because the pipeline has its own patience.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from saga.telemetry.otlp import AnySpan, SpanEncoder

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# gRPC waits two minutes between attempts at worst; a collector that was restarted should be found again sooner.
_CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one request. ``rejected`` counts spans the receiver took but refused to keep."""

    outcome: Literal["stored", "retry", "refused"]
    detail: str = ""
    retry_after_s: float | None = None
    rejected: int = 0


class FastOTLPExporter(OTLPSpanExporter):
    """An OTLP/gRPC span exporter that encodes with :class:`SpanEncoder` and redacts while it does.

    ``endpoint`` is ``host:port`` or a URL; ``resource`` and ``scope`` describe the :class:`SpanRecord` values. What is
    not given here is read from the ``OTEL_EXPORTER_OTLP_*`` variables, as by the official exporter.
    """

    def __init__(
        self,
        resource: Resource,
        scope: InstrumentationScope,
        *,
        endpoint: str | None = None,
        insecure: bool | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._encoder = SpanEncoder(resource, scope)
        self._encoding = threading.Lock()
        super().__init__(endpoint=endpoint, insecure=insecure, timeout=timeout_s, channel_options=_CHANNEL_OPTIONS)  # type: ignore[arg-type]  # annotated as one pair of strings; any option is passed through

    def encode(self, spans: Sequence[AnySpan]) -> bytes:
        """The body of one export request. Safe to call from any thread."""
        with self._encoding:
            return self._encoder.encode(spans)

    def send(self, body: bytes, *, timeout_s: float | None = None) -> Sent:
        """One attempt at exporting an encoded request; blocks up to ``timeout_s`` seconds and never raises."""
        stub = self._client
        if self._shutdown or stub is None:
            return Sent("refused", "the exporter is shut down")
        try:
            response = stub.Export(request=body, metadata=self._headers, timeout=timeout_s or self._timeout)
        except grpc.RpcError as error:
            return self._failed(error)
        except ValueError as error:  # the channel was closed under us
            return Sent("refused", str(error))
        partial = response.partial_success
        return Sent("stored", partial.error_message, rejected=int(partial.rejected_spans))

    def _failed(self, error: Any) -> Sent:
        code = error.code()
        detail = f"{code.name}: {error.details()}"
        if code not in cast("frozenset[grpc.StatusCode]", self._retryable_error_codes):
            return Sent("refused", detail)
        after = None
        for name, value in error.trailing_metadata() or ():
            if name == "google.rpc.retryinfo-bin":
                info = RetryInfo.FromString(value)
                after = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
        return Sent("retry", detail, after)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export with the official exporter's own retries; for use under the SDK's processors."""
        return self._export(spans)

    def _translate_data(self, data: Sequence[ReadableSpan]) -> Any:
        return self.encode(data)

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]  # the official exporter's own
        assert self._channel is not None
        self._client = _BytesStub(self._channel)


class _BytesStub:
    """``TraceService.Export`` for a request that is encoded already."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Export = channel.unary_unary(  # the generated stub's name for it
            _METHOD,
            request_serializer=None,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
