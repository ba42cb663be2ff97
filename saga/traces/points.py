"""Metrics as they are kept: the latest point of each time series, as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from saga.traces.decode import attribute_values
from saga.traces.scan import MalformedRequest


@dataclass(frozen=True, slots=True)
class Point:
    """One data point. ``attributes`` and ``point`` are JSON; a sum or gauge holds ``value``, a histogram ``count``,
    ``sum``, ``min``, ``max``, and its buckets. ``instance`` tells processes of one service apart."""

    service: str
    instance: str
    name: str
    kind: str
    unit: str
    attributes: str
    point: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies the time series."""
        return (self.service, self.instance, self.name, self.attributes)


def points(body: bytes) -> Iterator[Point]:
    """Every point of an ``ExportMetricsServiceRequest``, in order. Raises :class:`MalformedRequest`."""
    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedRequest(str(error)) from error
    for resource in request.resource_metrics:
        about = attribute_values(resource.resource.attributes)
        service = str(about.get("service.name", "unknown_service"))
        instance = str(about.get("service.instance.id", ""))
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    yield Point(
                        service,
                        instance,
                        metric.name,
                        kind,
                        metric.unit,
                        json.dumps(attribute_values(point.attributes), sort_keys=True),
                        json.dumps(_value(kind, point)),
                    )


def _value(kind: str, point: Any) -> dict[str, Any]:
    if kind in ("sum", "gauge"):
        return {"value": point.as_int if point.WhichOneof("value") == "as_int" else point.as_double}
    made: dict[str, Any] = {"count": point.count, "sum": point.sum}
    if kind == "summary":
        return made | {"quantiles": {str(item.quantile): item.value for item in point.quantile_values}}
    made |= {"min": point.min, "max": point.max} if point.count else {}
    if kind == "histogram":
        return made | {"bounds": list(point.explicit_bounds), "counts": list(point.bucket_counts)}
    return made | {
        "scale": point.scale,
        "zero_count": point.zero_count,
        "positive": {"offset": point.positive.offset, "counts": list(point.positive.bucket_counts)},
        "negative": {"offset": point.negative.offset, "counts": list(point.negative.bucket_counts)},
    }
