"""The trace model: trees, orphans, duplicates; and the scanner that finds spans without decoding them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from saga.traces.model import Trace
from saga.traces.scan import MalformedRequest, scan
from tests.support import traces
from tests.support.traces import PUBLISHER, TraceBuilder


def test_children_come_in_order_of_start_whatever_the_order_of_arrival() -> None:
    spans = traces.confirmed().spans
    trace = Trace.of(traces.TRACE_ID, reversed(spans), PUBLISHER)
    root = trace.one("booking.create")
    starts = [child.start_ns for child in trace.children(root)]
    assert starts == sorted(starts)
    assert trace.roots == (root,)
    assert trace.orphans == ()
    assert len(list(trace.walk())) == len(trace) == 23
    assert trace.parent(trace.one("booking.confirm")) is root
    assert trace.services[0] == "orchestrator"


def test_a_span_under_the_publisher_is_an_orphan_only_when_the_publisher_is_not_known() -> None:
    trace = traces.confirmed()
    assert trace.orphans == ()
    unknown = trace.continuing(0)
    assert [span.name for span in unknown.orphans] == ["booking.create"]
    assert unknown.roots == ()


def test_a_publisher_whose_span_was_received_is_the_root() -> None:
    made = TraceBuilder()
    received = made.message("booking.requests", "cli", "orchestrator", 0, 0)
    made.add("booking.create", "orchestrator", 1, 5, received)
    trace = made.trace(external_parent=received.span_id)
    assert [span.name for span in trace.roots] == ["send booking.requests"]
    assert trace.orphans == ()


def test_a_span_received_twice_counts_once_and_the_last_one_holds() -> None:
    first = traces.confirmed().spans[0]
    trace = Trace.of(traces.TRACE_ID, [first, replace(first, name="again")])
    assert [span.name for span in trace.spans] == ["again"]


def test_spans_that_are_their_own_ancestors_do_not_hang_the_walk() -> None:
    made = TraceBuilder()
    one = made.add("one", "a", 0, 1, 2)
    made.add("two", "a", 0, 1, one)
    trace = made.trace(0)
    assert [(depth, span.name) for depth, span in trace.walk([one])] == [(0, "one"), (1, "two")]


def test_a_name_that_is_not_there_once_is_an_error_that_says_how_often() -> None:
    with pytest.raises(LookupError, match="2 spans called 'POST /charges'"):
        traces.confirmed().one("POST /charges")


ids = st.binary(min_size=16, max_size=16)
spans = st.builds(
    Span,
    trace_id=ids,
    span_id=st.binary(min_size=8, max_size=8),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=300),
    flags=st.integers(0, 2**32 - 1),
    start_time_unix_nano=st.integers(0, 2**64 - 1),
)
scope_spans = st.builds(
    ScopeSpans,
    scope=st.builds(InstrumentationScope, name=st.sampled_from(["", "saga"])),
    spans=st.lists(spans, max_size=5),
    schema_url=st.sampled_from(["", "https://example.test"]),
)
requests = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=st.builds(Resource, attributes=st.lists(st.builds(KeyValue, key=st.just("k")), max_size=2)),
            scope_spans=st.lists(scope_spans, max_size=3),
        ),
        max_size=3,
    ),
)


@given(requests)
def test_scanning_finds_every_span_under_its_trace_resource_and_scope(request: ExportTraceServiceRequest) -> None:
    expected = [
        (resource.resource, scope.scope, span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    found = []
    for part in scan(request.SerializeToString()):
        for trace_id, chunks in part.traces.items():
            for span in ScopeSpans.FromString(b"".join(chunks)).spans:
                assert span.trace_id == trace_id
                found.append((Resource.FromString(part.resource), InstrumentationScope.FromString(part.scope), span))
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_a_trace_id_is_found_wherever_in_the_span_it_stands() -> None:
    span = Span(name="n").SerializeToString() + Span(trace_id=b"x" * 16).SerializeToString()
    scope = b"\x12" + bytes([len(span)]) + span
    resource = b"\x12" + bytes([len(scope)]) + scope
    (part,) = scan(b"\x0a" + bytes([len(resource)]) + resource)
    assert list(part.traces) == [b"x" * 16]


@given(requests, st.integers(1, 40))
def test_truncated_requests_are_refused(request: ExportTraceServiceRequest, missing: int) -> None:
    body = request.SerializeToString()
    for cut in (body[:-missing], body + b"\x0a\x10abc"):
        try:
            ExportTraceServiceRequest.FromString(cut)
        except Exception:  # noqa: BLE001  # whatever protobuf calls it
            with pytest.raises(MalformedRequest):
                scan(cut)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_scanned_or_refused_but_never_crash(body: bytes) -> None:
    try:
        scan(body)
    except MalformedRequest:
        return
