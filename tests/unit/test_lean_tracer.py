"""The tracer of the HTTP instrumentations records what the SDK's own would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from saga.telemetry.tracer import LeanTracerProvider

PARENT = trace.SpanContext(
    0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("k", "v")])
)
RESOURCE = Resource({"service.name": "tests"})


class _Counting(IdGenerator):
    """The same ids for whoever asks in the same order."""

    def __init__(self) -> None:
        self._last = 0

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    def generate_trace_id(self) -> int:
        self._last += 1
        return self._last << 64


class _Kept:
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def _plain_call(tracer: trace.Tracer) -> None:
    span = tracer.start_span("POST", kind=SpanKind.CLIENT, attributes={"http.request.method": "POST"})
    span.set_attributes({"server.port": 8080, "url.full": "x" * 600, "tags": ["a", "b"]})
    span.update_name("POST /v1/charges")
    span.set_status(Status(StatusCode.UNSET))
    span.end()
    span.set_attribute("too", "late")
    span.end()


def _failing_call(tracer: trace.Tracer) -> None:
    with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("GET", kind=SpanKind.SERVER):
        raise ValueError("no")


def _nested_calls(tracer: trace.Tracer) -> None:
    above = trace.set_span_in_context(NonRecordingSpan(PARENT))
    with trace.use_span(tracer.start_span("outer", above, links=[Link(PARENT, {"a": 1})]), end_on_exit=True) as outer:
        outer.add_event("retry", {"n": 1}, 5)
        tracer.start_span("inner", start_time=7).end(9)
        outer.set_status(StatusCode.OK)
        outer.set_status(StatusCode.ERROR, "nothing changes OK")


def _seen(span: ReadableSpan) -> dict[str, Any]:
    told = span.get_span_context()
    assert told is not None
    return {
        "name": span.name,
        "kind": span.kind,
        "ids": (told.trace_id, told.span_id, told.trace_flags & 1, told.trace_state),
        "parent": span.parent and (span.parent.trace_id, span.parent.span_id, span.parent.is_remote),
        "attributes": {k: list(v) if isinstance(v, tuple | list) else v for k, v in (span.attributes or {}).items()},
        "events": [
            (event.name, {k: v for k, v in (event.attributes or {}).items() if "stacktrace" not in k})
            for event in span.events
        ],
        "links": [(link.context.span_id, dict(link.attributes or {})) for link in span.links],
        "status": (span.status.status_code, span.status.description),
        "resource": span.resource.attributes["service.name"],
        "scope": span.instrumentation_scope and span.instrumentation_scope.name,
    }


@pytest.mark.parametrize("program", [_plain_call, _failing_call, _nested_calls])
def test_it_records_what_the_sdk_would(program: Callable[[trace.Tracer], None]) -> None:
    exporter, kept = InMemorySpanExporter(), _Kept()
    sdk = TracerProvider(
        resource=RESOURCE, id_generator=_Counting(), span_limits=SpanLimits(max_span_attribute_length=512)
    )
    sdk.add_span_processor(SimpleSpanProcessor(exporter))
    program(sdk.get_tracer("http"))
    program(LeanTracerProvider(RESOURCE, _Counting(), kept).get_tracer("http"))  # type: ignore[arg-type]  # all it uses
    assert kept.spans
    assert [_seen(span) for span in kept.spans] == [_seen(span) for span in exporter.get_finished_spans()]


def test_below_an_unsampled_span_nothing_is_recorded_and_the_ids_go_on() -> None:
    kept = _Kept()
    tracer = LeanTracerProvider(RESOURCE, _Counting(), kept).get_tracer("http")  # type: ignore[arg-type]  # all it uses
    above = trace.SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(0))
    span = tracer.start_span("POST", trace.set_span_in_context(NonRecordingSpan(above)))
    span.end()
    assert not span.is_recording()
    assert span.get_span_context().trace_id == above.trace_id
    assert not kept.spans
