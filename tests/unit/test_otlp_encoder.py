"""Our OTLP encoder against the SDK's, for arbitrary spans: decoded, both must say the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace import SpanContext as SdkContext

from saga.telemetry.otlp import AnySpan, SpanEncoder
from saga.telemetry.redaction import is_sensitive_key
from saga.telemetry.spans import Kind, SpanContext, SpanEvent, SpanRecord

RESOURCE = Resource({"service.name": "orchestrator", "service.namespace": "booking"}, "https://example.test/1.44")
SCOPE = InstrumentationScope("saga", "0.1.0")

# Neither digits nor "@" nor "_", so that nothing is redacted and the SDK's encoder must agree to the byte.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Nd", "Cs"], exclude_characters="@_=:%"), max_size=40)
keys = texts.filter(lambda text: text != "" and not is_sensitive_key(text))
floats = st.floats(-1e11, 1e11) | st.sampled_from([float("inf"), float("-inf"), -0.0, 1e300])
scalars = (
    st.booleans()
    | texts
    | st.integers(-(2**40) // 2000, 2**40 // 2000)
    | st.sampled_from([0, 127, 128, 2**63 - 1, -(2**63), -1])
    | floats
    | st.binary(max_size=20).filter(lambda data: b"@" not in data and not any(48 <= byte < 58 for byte in data))
)
values = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(keys, values, max_size=6)
nanos = st.integers(1, 2**62)
tracestates = st.dictionaries(st.sampled_from(["a", "b", "vendor"]), st.sampled_from(["x", "y-z"]), max_size=2)


@st.composite
def sdk_contexts(draw: st.DrawFn) -> SdkContext:
    return SdkContext(
        draw(st.integers(1, 2**128 - 1)),
        draw(st.integers(1, 2**64 - 1)),
        draw(st.booleans()),
        TraceFlags(draw(st.integers(0, 3))),
        TraceState(list(draw(tracestates).items())),
    )


@st.composite
def bounded(draw: st.DrawFn) -> Any:
    made = draw(attributes)
    return made if draw(st.booleans()) else BoundedAttributes(draw(st.integers(0, 6)), made)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "opentelemetry")  # the SDK warns of each attribute it drops over a limit


RESOURCES = (RESOURCE, Resource({"service.name": "provider", "n": 3}))
SCOPES = (SCOPE, None, InstrumentationScope("aiohttp", "1", "https://example.test/s", {"a": 1}))


@st.composite
def sdk_spans(draw: st.DrawFn) -> ReadableSpan:
    return ReadableSpan(
        draw(texts),
        draw(sdk_contexts()),
        draw(st.none() | sdk_contexts()),
        draw(st.sampled_from(RESOURCES)),
        draw(st.none() | bounded()),
        draw(st.lists(st.builds(Event, texts, bounded(), nanos), max_size=3)),
        draw(st.lists(st.builds(Link, sdk_contexts(), st.none() | bounded()), max_size=3)),
        draw(st.sampled_from(SpanKind)),
        status=draw(
            st.builds(Status, st.just(StatusCode.ERROR), texts) | st.builds(Status, st.sampled_from(StatusCode))
        ),
        start_time=draw(nanos),
        end_time=draw(nanos),
        instrumentation_scope=draw(st.sampled_from(SCOPES)),
    )


def expected(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """The SDK's encoding, completed by the tracestate of links, which it leaves out."""
    request = encode_spans(spans)
    by_id = {
        (span.context.trace_id, span.context.span_id, span.name, span.start_time, span.end_time): span
        for span in spans
        if span.context
    }
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for made in scope.spans:
                identity = (
                    int.from_bytes(made.trace_id, "big"),
                    int.from_bytes(made.span_id, "big"),
                    made.name,
                    made.start_time_unix_nano,
                    made.end_time_unix_nano,
                )
                for link, source in zip(made.links, by_id[identity].links, strict=True):
                    link.trace_state = source.context.trace_state.to_header()
    return request


@given(st.lists(sdk_spans(), max_size=4, unique_by=lambda span: span.context.span_id if span.context else 0))
@settings(max_examples=100, deadline=None)
def test_arbitrary_sdk_spans_decode_to_what_the_sdk_encodes(spans: list[ReadableSpan]) -> None:
    encoder = SpanEncoder(RESOURCE, SCOPE)
    for _ in range(2):  # from cold caches, then from warm ones
        assert ExportTraceServiceRequest.FromString(encoder.encode(spans)) == expected(spans)


def test_a_span_made_by_the_sdk_with_limits_keeps_its_dropped_counts() -> None:
    provider = TracerProvider(resource=RESOURCE)
    span = provider.get_tracer("t").start_span("n", attributes={f"k{n}": n for n in range(200)})
    for number in range(200):
        span.add_event(f"e{number}")
        span.add_link(SdkContext(1, number + 1, is_remote=True))
    span.end()
    assert isinstance(span, ReadableSpan)
    request = ExportTraceServiceRequest.FromString(SpanEncoder(RESOURCE, SCOPE).encode([span]))
    assert request == encode_spans([span])
    made = request.resource_spans[0].scope_spans[0].spans[0]
    assert (made.dropped_attributes_count, made.dropped_events_count, made.dropped_links_count) == (72, 72, 72)


contexts = st.builds(
    SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.just(3), st.sampled_from(["", "a=b"])
)
plain = st.dictionaries(keys, st.booleans() | texts | st.integers(-(10**9), 10**9) | floats, max_size=6)
KINDS: tuple[Kind, ...] = ("internal", "producer", "consumer", "client", "server")
records = st.builds(
    SpanRecord,
    texts,
    st.sampled_from(KINDS),
    contexts,
    st.none() | contexts,
    nanos,
    nanos,
    plain,
    st.none() | texts,
    st.lists(st.builds(SpanEvent, texts, nanos, plain), max_size=2).map(tuple),
    st.lists(contexts, max_size=2).map(tuple),
)


def to_sdk(record: SpanRecord) -> ReadableSpan:
    def context(source: SpanContext, *, remote: bool) -> SdkContext:
        state = TraceState.from_header([source.tracestate]) if source.tracestate else TraceState()
        return SdkContext(source.trace_id, source.span_id, remote, TraceFlags(source.flags), state)

    return ReadableSpan(
        record.name,
        context(record.context, remote=False),
        context(record.parent, remote=record.kind in ("consumer", "server")) if record.parent else None,
        RESOURCE,
        record.attributes,
        [Event(event.name, event.attributes, event.at_ns) for event in record.events],
        [Link(context(link, remote=True)) for link in record.links],
        SpanKind[record.kind.upper()],
        status=Status() if record.error is None else Status(StatusCode.ERROR, record.error),
        start_time=record.start_ns,
        end_time=record.end_ns,
        instrumentation_scope=SCOPE,
    )


@given(st.lists(records, max_size=4, unique_by=lambda record: record.context.span_id))
@settings(max_examples=150, deadline=None)
def test_our_records_decode_to_what_the_sdk_would_have_encoded(spans: list[SpanRecord]) -> None:
    encoder = SpanEncoder(RESOURCE, SCOPE)
    assert ExportTraceServiceRequest.FromString(encoder.encode(spans)) == expected([to_sdk(span) for span in spans])
    mixed: list[AnySpan] = [spans[0], *[to_sdk(span) for span in spans[1:]]] if spans else []
    assert ExportTraceServiceRequest.FromString(encoder.encode(mixed)) == expected([to_sdk(span) for span in spans])


def one_record(**changed: Any) -> SpanRecord:
    return replace(SpanRecord("n", "internal", SpanContext(1, 2), None, 1, 2), **changed)


def attributes_of(record: SpanRecord) -> dict[str, Any]:
    request = ExportTraceServiceRequest.FromString(SpanEncoder(RESOURCE, SCOPE).encode([record]))
    made = request.resource_spans[0].scope_spans[0].spans[0]
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in made.attributes}


def test_values_that_otlp_cannot_hold_are_written_as_text_and_not_lost() -> None:
    made = attributes_of(
        one_record(attributes={"huge": 2**70, "surrogate": "a\ud800b", "one": 1, "true": True, "float": 1.0})
    )
    assert made == {"huge": str(2**70), "surrogate": "a?b", "one": 1, "true": True, "float": 1.0}
    assert type(made["one"]) is int
    assert type(made["true"]) is bool
    assert type(made["float"]) is float


def test_equal_values_of_different_types_do_not_share_a_cache_entry() -> None:
    encoder = SpanEncoder(RESOURCE, SCOPE)
    spans = [one_record(attributes={"k": value}) for value in (1, True, 1.0, "1", 0, False, -0.0)]
    request = ExportTraceServiceRequest.FromString(encoder.encode([*spans, *spans]))
    kinds = [span.attributes[0].value.WhichOneof("value") for span in request.resource_spans[0].scope_spans[0].spans]
    once = ["int_value", "bool_value", "double_value", "string_value", "int_value", "bool_value", "double_value"]
    assert kinds == once * 2


def test_sensitive_data_is_masked_wherever_a_span_can_hold_it() -> None:
    card, mail = "4242 4242 4242 4242", "jo@example.com"
    record = one_record(
        name=f"name {card}",
        attributes={"a": card, "b": mail, "cvv": "123", "n": 4242424242424242, f"key {card}": 1},
        error=f"declined {card} {mail}",
        events=(SpanEvent(f"event {mail}", 5, {"password": "hunter2", "text": f"tok_visa {card}"}),),
    )
    sdk = ReadableSpan(
        f"n {mail}",
        SdkContext(1, 2, is_remote=False),
        resource=Resource({"owner": mail}),
        attributes={"list": (card, mail), "map": {"cvc": 999, "x": [card.encode()]}},
        links=[Link(SdkContext(1, 3, is_remote=False), {"a": mail})],
        events=[Event("exception", {"exception.message": f"DETAIL: Key (email)=({mail})"}, 1)],
        start_time=1,
        end_time=2,
    )
    raw = SpanEncoder(RESOURCE, SCOPE).encode([record, sdk])
    ExportTraceServiceRequest.FromString(raw)
    for secret in (card, card.replace(" ", ""), mail, "hunter2", "tok_visa"):
        assert secret.encode() not in raw
    assert attributes_of(record)["cvv"] == "[redacted]"


def test_caches_stay_bounded() -> None:
    encoder = SpanEncoder(RESOURCE, SCOPE)
    encoder.encode([one_record(attributes={"id": f"value-{number}", "n": number}) for number in range(20_000)])
    assert len(encoder._attributes._strings) <= 8_192
    assert len(encoder._attributes._ints) <= 8_192
