"""An OTLP/gRPC receiver that keeps what arrives in memory: the instrument with which tests read telemetry back.

It stands where a collector would stand and decodes with the official protobuf classes, so nothing that the product
wrote to encode or to store telemetry takes part in judging it. Requests are kept as they came, each span as often as it
came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from saga.telemetry.spans import Kind
from saga.traces.model import Status, TraceEvent, TraceLink, TraceSpan, Value

_KINDS: tuple[Kind, ...] = ("internal", "internal", "server", "client", "producer", "consumer")
_STATUSES: tuple[Status, ...] = ("unset", "ok", "error")


@dataclass(frozen=True, slots=True)
class Point:
    """The latest data point of one series: ``value`` of a sum or gauge, ``count``/``total``/``buckets`` of a histogram.

    ``bounds`` are the upper limits of all buckets but the last.
    """

    service: str
    instance: str
    name: str
    unit: str
    kind: str
    attributes: Mapping[str, Value]
    value: float = 0.0
    count: int = 0
    total: float = 0.0
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    scope: str = ""
    resource: Mapping[str, Value] = field(default_factory=dict)


class OtlpReceiver:
    """Listens on a free loopback port from :meth:`__enter__` to :meth:`__exit__`; may be read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[TraceSpan] = []
        self._by_trace: dict[int, list[TraceSpan]] = {}
        self._points: dict[object, Point] = {}
        self._requests: list[bytes] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4, thread_name_prefix="otlp-receiver"))
        trace_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated code has no types
            _Traces(self._take_spans), self._server
        )
        metrics_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated code has no types
            _Metrics(self._take_metrics), self._server
        )
        self._port = 0

    def __enter__(self) -> Self:
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=1).wait()

    @property
    def endpoint(self) -> str:
        """What ``SAGA_OTLP_ENDPOINT`` must be."""
        return f"127.0.0.1:{self._port}"

    @property
    def requests(self) -> Sequence[bytes]:
        """The bytes of every export request, as they came over the wire."""
        with self._lock:
            return list(self._requests)

    @property
    def spans(self) -> Sequence[TraceSpan]:
        """Every span in order of arrival; one that arrived twice is there twice."""
        with self._lock:
            return list(self._spans)

    def of_trace(self, trace_id: int) -> Sequence[TraceSpan]:
        """The spans of one trace in order of arrival; one that arrived twice is there twice."""
        with self._lock:
            return list(self._by_trace.get(trace_id, ()))

    def points(self, name: str) -> Sequence[Point]:
        """The latest point of every series of one metric, of every process."""
        with self._lock:
            return [point for point in self._points.values() if point.name == name]

    @property
    def metric_names(self) -> frozenset[str]:
        """Every metric that any process has reported."""
        with self._lock:
            return frozenset(point.name for point in self._points.values())

    @property
    def series(self) -> Sequence[Point]:
        """The latest point of every series of every metric."""
        with self._lock:
            return list(self._points.values())

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        spans = list(_spans(request))
        with self._lock:
            self._requests.append(request.SerializeToString())
            self._spans += spans
            for span in spans:
                self._by_trace.setdefault(span.trace_id, []).append(span)

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        points = list(_points(request))
        with self._lock:
            self._requests.append(request.SerializeToString())
            for point in points:
                series = (point.instance, point.scope, point.name, tuple(sorted(point.attributes.items(), key=str)))
                self._points[series] = point


class _Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, take: Callable[[ExportTraceServiceRequest], None]) -> None:
        self._take = take

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:  # noqa: N802  # the service's own name for it
        self._take(request)
        return ExportTraceServiceResponse()


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, take: Callable[[ExportMetricsServiceRequest], None]) -> None:
        self._take = take

    def Export(self, request: ExportMetricsServiceRequest, context: object) -> ExportMetricsServiceResponse:  # noqa: N802  # the service's own name for it
        self._take(request)
        return ExportMetricsServiceResponse()


def _spans(request: ExportTraceServiceRequest) -> Iterable[TraceSpan]:
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield TraceSpan(
                    trace_id=int.from_bytes(span.trace_id, "big"),
                    span_id=int.from_bytes(span.span_id, "big"),
                    parent_id=int.from_bytes(span.parent_span_id, "big"),
                    name=span.name,
                    kind=_KINDS[span.kind],
                    service=str(resource.get("service.name", "")),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_values(span.attributes),
                    events=tuple(TraceEvent(e.name, e.time_unix_nano, _values(e.attributes)) for e in span.events),
                    links=tuple(
                        TraceLink(
                            int.from_bytes(link.trace_id, "big"),
                            int.from_bytes(link.span_id, "big"),
                            link.trace_state,
                            _values(link.attributes),
                        )
                        for link in span.links
                    ),
                    status=_STATUSES[span.status.code],
                    message=span.status.message,
                    flags=span.flags,
                    tracestate=span.trace_state,
                    scope=scoped.scope.name,
                    resource=resource,
                )


def _points(request: ExportMetricsServiceRequest) -> Iterable[Point]:
    for group in request.resource_metrics:
        resource = _values(group.resource.attributes)
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                kind = metric.WhichOneof("data")
                for made in getattr(metric, kind).data_points:
                    about: dict[str, Any] = {
                        "service": str(resource.get("service.name", "")),
                        "instance": str(resource.get("service.instance.id", "")),
                        "name": metric.name,
                        "unit": metric.unit,
                        "kind": kind,
                        "attributes": _values(made.attributes),
                        "scope": scoped.scope.name,
                        "resource": resource,
                    }
                    if kind == "histogram":
                        about |= {"count": made.count, "total": made.sum}
                        about |= {"bounds": tuple(made.explicit_bounds), "buckets": tuple(made.bucket_counts)}
                    else:
                        about["value"] = float(getattr(made, made.WhichOneof("value")))
                    yield Point(**about)


def _values(attributes: Iterable[Any]) -> dict[str, Value]:
    return {item.key: _value(item.value) for item in attributes}


def _value(value: Any) -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return _values(value.kvlist_value.values)
    made: Value = getattr(value, kind)
    return made
