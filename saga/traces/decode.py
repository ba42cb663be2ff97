"""OTLP protobuf to plain values; only readers pay for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from saga.telemetry.spans import Kind
from saga.traces.model import Status, TraceEvent, TraceLink, TraceSpan, Value

_KINDS: tuple[Kind, ...] = ("internal", "internal", "server", "client", "producer", "consumer")
_STATUSES: tuple[Status, ...] = ("unset", "ok", "error")


def decode_chunk(body: bytes, service: str, resource: bytes, scope: bytes) -> Iterator[TraceSpan]:
    """The spans of a stored chunk: the body of a ``ScopeSpans``. Raises protobuf's ``DecodeError`` if it is damaged."""
    about = _resource(resource)
    scope_name = _scope_name(scope)
    for span in ScopeSpans.FromString(body).spans:
        yield TraceSpan(
            trace_id=int.from_bytes(span.trace_id, "big"),
            span_id=int.from_bytes(span.span_id, "big"),
            parent_id=int.from_bytes(span.parent_span_id, "big"),
            name=span.name,
            kind=_KINDS[span.kind] if span.kind < len(_KINDS) else "internal",
            service=service,
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            attributes=attribute_values(span.attributes),
            events=tuple(
                TraceEvent(event.name, event.time_unix_nano, attribute_values(event.attributes))
                for event in span.events
            ),
            links=tuple(
                TraceLink(
                    int.from_bytes(link.trace_id, "big"),
                    int.from_bytes(link.span_id, "big"),
                    link.trace_state,
                    attribute_values(link.attributes),
                )
                for link in span.links
            ),
            status=_STATUSES[span.status.code] if span.status.code < len(_STATUSES) else "unset",
            message=span.status.message,
            flags=span.flags,
            tracestate=span.trace_state,
            scope=scope_name,
            resource=about,
        )


@lru_cache(maxsize=256)
def _resource(body: bytes) -> Mapping[str, Value]:
    return MappingProxyType(attribute_values(Resource.FromString(body).attributes))


@lru_cache(maxsize=256)
def _scope_name(body: bytes) -> str:
    name: str = InstrumentationScope.FromString(body).name
    return name


def attribute_values(attributes: Iterable[Any]) -> dict[str, Value]:
    """``KeyValue`` messages as a dictionary."""
    return {item.key: _value(item.value) for item in attributes}


def _value(value: Any) -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return attribute_values(value.kvlist_value.values)
    made: Value = getattr(value, kind)
    return made
