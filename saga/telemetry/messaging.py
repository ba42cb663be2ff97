"""Spans of messages: one PRODUCER span for each record sent, one CONSUMER span for each record handled.

They are made by hand because the client instrumentation ends its send span before the broker has answered, and its
receive span before anybody has looked at the record.
"""

from __future__ import annotations

from dataclasses import dataclass

from saga.telemetry import names
from saga.telemetry.spans import Attribute, SpanContext, SpanRecord, derive_span_id


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record stands: the coordinates that identify it."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def send_span(
    *,
    topic: str,
    key: str,
    message_id: str,
    attempt: int,
    context: SpanContext,
    parent: SpanContext | None,
    start_ns: int,
    end_ns: int,
    partition: int | None = None,
    offset: int | None = None,
    error_type: str | None = None,
) -> SpanRecord:
    """``send T``: from handing the record to the client until the broker acknowledged it."""
    attributes: dict[str, Attribute] = {
        names.MESSAGING_SYSTEM: "kafka",
        names.OPERATION_NAME: "send",
        names.OPERATION_TYPE: "send",
        names.DESTINATION: topic,
        names.KEY: key,
        names.MESSAGE_ID: message_id,
        names.CONVERSATION_ID: key,
    }
    if partition is not None and offset is not None:
        attributes[names.PARTITION] = str(partition)
        attributes[names.OFFSET] = offset
    if attempt > 1:
        attributes[names.SAGA_ATTEMPT] = attempt
    if error_type is not None:
        attributes[names.ERROR_TYPE] = error_type
    return SpanRecord(
        f"send {topic}",
        "producer",
        context,
        parent,
        start_ns,
        max(end_ns, start_ns + 1),
        attributes,
        error=error_type,
    )


def process_context(parent: SpanContext, message_id: str, group: str, origin: Origin) -> SpanContext:
    """Identity of the handling of one record by one group: the same record handled again is the same span."""
    return parent.child(derive_span_id(message_id, group, str(origin), "process"))


def process_span(
    *,
    origin: Origin,
    group: str,
    key: str,
    message_id: str,
    context: SpanContext,
    parent: SpanContext | None,
    start_ns: int,
    end_ns: int,
    dropped: str | None = None,
    error_type: str | None = None,
) -> SpanRecord:
    """``process T``: from taking up the record until what it led to is committed."""
    attributes: dict[str, Attribute] = {
        names.MESSAGING_SYSTEM: "kafka",
        names.OPERATION_NAME: "process",
        names.OPERATION_TYPE: "process",
        names.DESTINATION: origin.topic,
        names.GROUP: group,
        names.PARTITION: str(origin.partition),
        names.OFFSET: origin.offset,
        names.KEY: key,
        names.MESSAGE_ID: message_id,
        names.CONVERSATION_ID: key,
    }
    if dropped is not None:
        attributes[names.SAGA_DROPPED] = dropped
    if error_type is not None:
        attributes[names.ERROR_TYPE] = error_type
    return SpanRecord(
        f"process {origin.topic}",
        "consumer",
        context,
        parent,
        start_ns,
        max(end_ns, start_ns + 1),
        attributes,
        error=error_type,
    )
