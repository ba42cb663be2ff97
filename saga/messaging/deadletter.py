"""Dead letters: what could not be handled goes aside with its cause and origin, and the partition moves on.

Causes (low cardinality): ``empty``, ``too_large``, ``no_key``, ``bad_key``, ``bad_header``, ``unknown_type``,
``wrong_topic``, ``invalid_json``, ``invalid_body``, ``card_number``, ``key_mismatch``, ``unknown_saga``,
``handler_error``.

A dead letter keeps the original bytes, except that card numbers, e-mail addresses and tokens are masked: the topic is
read by people. The original can be read again from its origin while the source topic retains it.
"""

from __future__ import annotations

from saga.messaging.broker import Outbound, Record
from saga.messaging.wire import BAGGAGE, TRACEPARENT, TRACESTATE, trace_headers
from saga.telemetry.redaction import redact_text
from saga.telemetry.spans import SpanContext, derive_span_id, derive_trace_id, parse_traceparent
from schemas.limits import MAX_MESSAGE_BYTES
from schemas.topics import DEAD_LETTERS

CAUSE = "dlq_cause"
DETAIL = "dlq_detail"
ORIGIN_TOPIC = "dlq_topic"
ORIGIN_PARTITION = "dlq_partition"
ORIGIN_OFFSET = "dlq_offset"
ORIGIN_TIMESTAMP = "dlq_timestamp_ms"
GROUP = "dlq_group"
TRUNCATED = "dlq_truncated"

_MAX_DETAIL = 400
_MAX_KEPT_HEADERS = 64
_MAX_KEPT_HEADER = 1_024


def dead_letter(
    record: Record, cause: str, detail: str, *, group: str, topic_prefix: str, context: SpanContext | None = None
) -> Outbound:
    """The record to write to the dead-letter topic for ``record``, in the trace of the original, or in ``context``."""
    parent = context or _original_context(record)
    origin = str(record.origin)
    if parent is None:
        parent = SpanContext(derive_trace_id(topic_prefix, origin, "dead-letter"), 0)
    own = parent.child(derive_span_id(origin, group, "dead-letter"))
    value = record.value or b""
    headers = [
        (CAUSE, cause.encode()),
        (DETAIL, redact_text(detail)[:_MAX_DETAIL].encode()),
        (ORIGIN_TOPIC, record.origin.topic.encode()),
        (ORIGIN_PARTITION, b"%d" % record.origin.partition),
        (ORIGIN_OFFSET, b"%d" % record.origin.offset),
        (ORIGIN_TIMESTAMP, b"%d" % record.timestamp_ms),
        (GROUP, group.encode()),
    ]
    if len(value) > MAX_MESSAGE_BYTES:
        headers.append((TRUNCATED, b"%d" % len(value)))
    kept = [
        (redact_text(name[:128]), _masked(raw or b""))
        for name, raw in record.headers[:_MAX_KEPT_HEADERS]
        if name not in {TRACEPARENT, TRACESTATE, BAGGAGE} and len(raw or b"") <= _MAX_KEPT_HEADER
    ]
    return Outbound(
        topic_prefix + DEAD_LETTERS,
        _masked((record.key or b"")[:256]),
        _masked(value[:MAX_MESSAGE_BYTES]),
        (*kept, *headers, *trace_headers(own)),
        message_id=f"{origin}.dead",
        context=own,
        parent=parent if parent.span_id else None,
    )


def _original_context(record: Record) -> SpanContext | None:
    for name, raw in record.headers:
        if name == TRACEPARENT and raw:
            return parse_traceparent(raw.decode("ascii", "replace"))
    return None


def _masked(raw: bytes) -> bytes:
    try:
        return redact_text(raw.decode("utf-8")).encode()
    except UnicodeDecodeError:
        # Latin-1 maps every byte to one character and back, so what is not text survives and what is gets searched.
        return redact_text(raw.decode("latin-1")).encode("latin-1", "replace")
