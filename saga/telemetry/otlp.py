"""OTLP trace requests as bytes, written straight from spans: several times faster than building protobuf objects.

Encodes the SDK's ``ReadableSpan`` (from the HTTP, Kafka and database instrumentations) and our own
:class:`~saga.telemetry.spans.SpanRecord`, redacting on the way. A property test holds the result against the SDK's own
encoder for arbitrary spans; `docs/decisions/0003-otlp-encoder.md` says why it exists and where it goes beyond it.

Field numbers are those of opentelemetry/proto/trace/v1/trace.proto, written here as encoded tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from saga.telemetry.redaction import redact_utf8
from saga.telemetry.spans import SpanContext, SpanRecord
from saga.telemetry.wire import AttributeEncoder, field, utf8, varint

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext as SdkContext
    from opentelemetry.trace import Status, TraceState

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_SDK_KINDS = {kind.name: kind.value + 1 for kind in SpanKind}
_TIMES = Struct("<BQBQ").pack
_TIME = Struct("<BQ").pack
# SpanFlags: bit 8 says that it is known whether the parent (or linked) span is remote, bit 9 that it is.
_LOCAL = b"\x85\x01\x00\x01\x00\x00"
_REMOTE = b"\x85\x01\x00\x03\x00\x00"
_LINK_LOCAL = b"\x35\x00\x01\x00\x00"
_LINK_REMOTE = b"\x35\x00\x03\x00\x00"
_UNSET = b"\x7a\x00"
_CACHED = 4_096

AnySpan = ReadableSpan | SpanRecord


class SpanEncoder:
    """Turns spans into the body of an ``ExportTraceServiceRequest``. Not safe for use by two threads at once.

    ``resource`` and ``scope`` are those of the :class:`SpanRecord` values; SDK spans bring their own.
    """

    def __init__(self, resource: Resource, scope: InstrumentationScope) -> None:
        self._resource = resource
        self._scope = scope
        self._attributes = AttributeEncoder(b"\x4a")
        self._event_attributes = AttributeEncoder(b"\x1a")
        self._link_attributes = AttributeEncoder(b"\x22")
        self._heads: dict[tuple[str, int], bytes] = {}
        self._texts: dict[str, bytes] = {}
        self._resources: dict[Resource, bytes] = {}
        self._scopes: dict[InstrumentationScope | None, bytes] = {}

    def encode(self, spans: Sequence[AnySpan]) -> bytes:
        """One request with every span of ``spans``, grouped by resource and scope in order of first appearance."""
        groups: dict[tuple[int, int], tuple[Resource, InstrumentationScope | None, list[bytes]]] = {}
        ours: list[bytes] | None = None
        for span in spans:
            if type(span) is SpanRecord:
                if ours is None:
                    key = (id(self._resource), id(self._scope))
                    ours = groups.setdefault(key, (self._resource, self._scope, []))[2]
                body = self._record(span)
                ours += (b"\x12", varint(len(body)), body)
            else:
                assert isinstance(span, ReadableSpan)
                resource, scope = span.resource, span.instrumentation_scope
                key = (id(resource), id(scope))
                group = groups.get(key)
                if group is None:
                    group = groups[key] = (resource, scope, [])
                body = self._sdk(span)
                group[2].extend((b"\x12", varint(len(body)), body))
        return self._request(list(groups.values()))

    def _request(self, groups: Sequence[tuple[Resource, InstrumentationScope | None, list[bytes]]]) -> bytes:
        resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        for resource, scope, chunks in groups:
            resources.setdefault(resource, {}).setdefault(scope or None, []).extend(chunks)
        out = []
        for resource, scopes in resources.items():
            parts = [self._resource_bytes(resource)]
            for scope, chunks in scopes.items():
                schema = field(b"\x1a", utf8(scope.schema_url)) if scope and scope.schema_url else b""
                parts.append(field(b"\x12", b"".join([self._scope_bytes(scope), *chunks, schema])))
            if resource.schema_url:
                parts.append(field(b"\x1a", utf8(resource.schema_url)))
            out.append(field(b"\x0a", b"".join(parts)))
        return b"".join(out)

    def _record(self, span: SpanRecord) -> bytes:
        context = span.context
        parent = span.parent
        out = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
        if context.tracestate:
            out.append(self._text(b"\x1a", context.tracestate))
        if parent is not None:
            out += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
        kind = _KINDS[span.kind]
        out.append(self._heads.get((span.name, kind)) or self._head(span.name, kind))
        out.append(_TIMES(0x39, span.start_ns, 0x41, span.end_ns))
        if span.attributes:
            self._attributes.extend(out, span.attributes)
        for event in span.events:
            body = [_TIME(0x09, event.at_ns), self._text(b"\x12", event.name)]
            self._event_attributes.extend(body, event.attributes)
            out.append(field(b"\x5a", b"".join(body)))
        for link in span.links:
            out.append(field(b"\x6a", self._link(link, link.tracestate) + _LINK_REMOTE))
        out.append(_UNSET if span.error is None else self._status(2, span.error))
        # A consumer's parent came in a message; the SDK says "local" of everything else it was not told about.
        out.append(_REMOTE if parent is not None and kind in (2, 5) else _LOCAL)
        return b"".join(out)

    def _sdk(self, span: ReadableSpan) -> bytes:
        # The SDK's public properties copy, lock and wrap; on an ended span the fields behind them are just as constant.
        # The property test compares with the SDK's encoder, so a renamed field cannot go unnoticed.
        context = span._context
        assert context is not None  # only an unstarted span has none, and those never end
        out = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
        if context.trace_state:
            out.append(self._text(b"\x1a", _tracestate(context.trace_state)))
        parent = span._parent
        if parent is not None:
            out += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
        name, kind = span._name, _SDK_KINDS[span._kind._name_]
        out.append(self._heads.get((name, kind)) or self._head(name, kind))
        out.append(_TIMES(0x39, span._start_time or 0, 0x41, span._end_time or 0))
        if span._attributes is not None:
            self._attributes.extend(out, _plain(span._attributes))
            if span.dropped_attributes:
                out += (b"\x50", varint(span.dropped_attributes))
        if span._events or span.dropped_events:
            self._sdk_events(out, span)
        if span._links or span.dropped_links:
            self._sdk_links(out, span)
        out.append(self._sdk_status(span._status))
        out.append(_REMOTE if parent is not None and parent.is_remote else _LOCAL)
        return b"".join(out)

    def _sdk_events(self, out: list[bytes], span: ReadableSpan) -> None:
        for event in span.events:
            body = [_TIME(0x09, event.timestamp), self._text(b"\x12", event.name)]
            self._event_attributes.extend(body, _plain(event.attributes))
            if event.dropped_attributes:
                body += (b"\x20", varint(event.dropped_attributes))
            out.append(field(b"\x5a", b"".join(body)))
        if span.dropped_events:
            out += (b"\x60", varint(span.dropped_events))

    def _sdk_links(self, out: list[bytes], span: ReadableSpan) -> None:
        for link in span.links:
            body = [self._link(link.context, _tracestate(link.context.trace_state))]
            self._link_attributes.extend(body, _plain(link.attributes))
            if link.dropped_attributes:
                body += (b"\x28", varint(link.dropped_attributes))
            body.append(_LINK_REMOTE if link.context.is_remote else _LINK_LOCAL)
            out.append(field(b"\x6a", b"".join(body)))
        if span.dropped_links:
            out += (b"\x70", varint(span.dropped_links))

    def _link(self, context: SpanContext | SdkContext, tracestate: str) -> bytes:
        trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
        return b"\x0a\x10" + trace_id + b"\x12\x08" + span_id + (self._text(b"\x1a", tracestate) if tracestate else b"")

    def _sdk_status(self, status: Status | None) -> bytes:
        if status is None:
            return b""
        code, description = status.status_code, status.description
        return _UNSET if code is StatusCode.UNSET and not description else self._status(int(code.value), description)

    def _status(self, code: int, description: str | None) -> bytes:
        body = self._text(b"\x12", description) if description else b""
        return field(b"\x7a", body + b"\x18" + varint(code))

    def _head(self, name: str, kind: int) -> bytes:
        head = field(b"\x2a", redact_utf8(name)) + b"\x30" + varint(kind)
        if len(self._heads) >= _CACHED:
            self._heads.clear()
        self._heads[name, kind] = head
        return head

    def _text(self, tag: bytes, text: str) -> bytes:
        body = self._texts.get(text)
        if body is None:
            encoded = redact_utf8(text)
            body = varint(len(encoded)) + encoded
            if len(self._texts) >= _CACHED:
                self._texts.clear()
            self._texts[text] = body
        return tag + body

    def _resource_bytes(self, resource: Resource) -> bytes:
        body = self._resources.get(resource)
        if body is None:
            parts: list[bytes] = []
            AttributeEncoder(b"\x0a").extend(parts, resource.attributes)
            body = self._resources[resource] = field(b"\x0a", b"".join(parts))
        return body

    def _scope_bytes(self, scope: InstrumentationScope | None) -> bytes:
        body = self._scopes.get(scope)
        if body is None:
            parts: list[bytes] = []
            if scope is not None:
                parts.append(field(b"\x0a", utf8(scope.name)))
                if scope.version:
                    parts.append(field(b"\x12", utf8(scope.version)))
                AttributeEncoder(b"\x1a").extend(parts, scope.attributes or {})
            body = self._scopes[scope] = field(b"\x0a", b"".join(parts))
        return body


def _plain(attributes: Any) -> Mapping[str, Any]:
    """The dictionary under the SDK's ``BoundedAttributes``, whose own iteration takes a lock per item."""
    return getattr(attributes, "_dict", attributes) or {}


def _tracestate(state: TraceState | None) -> str:
    return ",".join([f"{key}={value}" for key, value in state.items()]) if state else ""
