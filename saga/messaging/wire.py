"""Messages to bytes and back: CloudEvents 1.0 in binary mode, in Kafka headers, with the trace context by hand.

The header names are a contract with publishers in any language; they stand here and nowhere else. A foreign publisher
needs only the key, ``ce_type`` and a JSON body: the rest gets defaults.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from pydantic import ValidationError

from saga.engine.envelope import Envelope, Outgoing, SagaHeaders
from saga.errors import PoisonMessage
from saga.messaging.broker import Headers, Outbound, Record
from saga.telemetry.redaction import contains_card_number
from saga.telemetry.spans import SpanContext, parse_traceparent
from schemas.base import Message, message_class
from schemas.limits import MAX_MESSAGE_BYTES

CE_ID: Final = "ce_id"
CE_TYPE: Final = "ce_type"
CE_SOURCE: Final = "ce_source"
CE_TIME: Final = "ce_time"
CE_SPECVERSION: Final = "ce_specversion"
CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
SAGA_EPOCH: Final = "ce_sagaepoch"
SAGA_STEP: Final = "ce_sagastep"
SAGA_ATTEMPT: Final = "ce_sagaattempt"
SAGA_COMMAND: Final = "ce_sagacommand"
SAGA_PARENT: Final = "ce_sagaparent"
SAGA_UNDOES: Final = "ce_sagaundoes"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_HEADER = 512
_SPEC = (CE_SPECVERSION, b"1.0")
_JSON = (CONTENT_TYPE, b"application/json")


def encode(outgoing: Outgoing, topic_prefix: str = "") -> Outbound:
    """The record for a message. Its headers hold exactly one ``traceparent``: that of its send span."""
    envelope = outgoing.envelope
    headers: list[tuple[str, bytes]] = [
        (CE_ID, envelope.id.encode()),
        (CE_TYPE, envelope.type_name.encode()),
        (CE_SOURCE, envelope.source.encode()),
        (CE_TIME, _rfc3339(envelope.time_us)),
        _SPEC,
        _JSON,
    ]
    headers += trace_headers(envelope.context, envelope.baggage)
    if (saga := envelope.saga) is not None:
        headers += [
            (SAGA_EPOCH, b"%d" % saga.epoch),
            (SAGA_STEP, saga.step.encode()),
            (SAGA_ATTEMPT, b"%d" % saga.attempt),
            (SAGA_COMMAND, saga.command_id.encode()),
        ]
        if saga.parent is not None:
            headers.append((SAGA_PARENT, saga.parent.traceparent.encode()))
        if saga.undoes is not None:
            headers.append((SAGA_UNDOES, saga.undoes.traceparent.encode()))
    return Outbound(
        topic_prefix + outgoing.topic,
        envelope.key.encode(),
        body_to_json(envelope.body),
        tuple(headers),
        envelope.id,
        saga.attempt if saga else 1,
        envelope.context,
        outgoing.parent,
    )


def trace_headers(context: SpanContext | None, baggage: str = "") -> list[tuple[str, bytes]]:
    """The W3C headers for ``context``; none where there is no context."""
    headers = []
    if context is not None:
        headers.append((TRACEPARENT, context.traceparent.encode()))
        if context.tracestate:
            headers.append((TRACESTATE, context.tracestate.encode()))
    if baggage:
        headers.append((BAGGAGE, baggage.encode()))
    return headers


def body_to_json(body: Message) -> bytes:
    """A body as it goes on the wire; absent optional fields are left out."""
    return body.__pydantic_serializer__.to_json(body, exclude_none=True)


def decode(record: Record, expected: frozenset[type[Message]], *, untrusted: bool = False) -> Envelope:
    """The message in a record. ``untrusted`` records (requests, from anyone) are searched for card numbers.

    Raises :class:`PoisonMessage` with one of the causes of :mod:`saga.messaging.deadletter`.
    """
    value = record.value
    if value is None:
        raise PoisonMessage("empty", "the record has no value")
    if len(value) > MAX_MESSAGE_BYTES:
        raise PoisonMessage("too_large", f"{len(value)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    headers = _texts(record.headers)
    key = _key(record.key)
    ce_type = headers.get(CE_TYPE, "")
    cls = message_class(ce_type)
    if cls is None:
        raise PoisonMessage(
            "unknown_type", "ce_type names no known message" if ce_type else "there is no ce_type header"
        )
    if cls not in expected:
        raise PoisonMessage("wrong_topic", f"{cls.__name__} does not belong on {record.origin.topic}")
    if untrusted and (contains_card_number(value.decode("utf-8", "replace")) or contains_card_number(key)):
        raise PoisonMessage("card_number", "the message holds what looks like a card number; send the provider's token")
    body = _body(cls, value)
    named = getattr(body, "booking_id", None)
    if named is not None and named != key:
        raise PoisonMessage("key_mismatch", "booking_id differs from the record's key")
    return Envelope(
        id=headers.get(CE_ID) or _default_id(key, ce_type, value),
        key=key,
        body=body,
        time_us=record.timestamp_ms * 1000,
        source=headers.get(CE_SOURCE, ""),
        context=_context(headers.get(TRACEPARENT), headers.get(TRACESTATE, "")),
        baggage=headers.get(BAGGAGE, ""),
        saga=_saga(headers),
    )


def _texts(headers: Headers) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, raw in headers:
        # The first of a repeated header wins, as in the W3C rules; a very long one is nobody's business here.
        if raw is not None and name not in texts and len(raw) <= _MAX_HEADER:
            texts[name] = raw.decode("utf-8", "replace")
    return texts


def _key(raw: bytes | None) -> str:
    if not raw:
        raise PoisonMessage("no_key", "the record's key must be the booking id")
    key = raw[:256].decode("utf-8", "replace")
    if not _KEY.fullmatch(key):
        raise PoisonMessage("bad_key", "the key must be 1 to 64 letters, digits, dots, dashes, colons or underscores")
    return key


def _body(cls: type[Message], value: bytes) -> Message:
    try:
        return cls.model_validate_json(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if problems[0]["type"] == "json_invalid":
            raise PoisonMessage("invalid_json", "the body is not JSON") from None
        told = "; ".join(f"{'.'.join(str(part) for part in p['loc']) or 'body'}: {p['msg']}" for p in problems[:5])
        raise PoisonMessage("invalid_body", told) from None


def _default_id(key: str, ce_type: str, value: bytes) -> str:
    # Derived from the content, so that the same request published twice is recognised as one.
    return f"{key}.{blake2b(ce_type.encode() + b'|' + value, digest_size=8).hexdigest()}"


def _context(traceparent: str | None, tracestate: str) -> SpanContext | None:
    return None if traceparent is None else parse_traceparent(traceparent, tracestate)


def _saga(headers: dict[str, str]) -> SagaHeaders | None:
    epoch = headers.get(SAGA_EPOCH)
    if epoch is None:
        return None
    try:
        return SagaHeaders(
            int(epoch),
            headers.get(SAGA_STEP, ""),
            int(headers.get(SAGA_ATTEMPT, "1")),
            headers.get(SAGA_COMMAND, ""),
            _context(headers.get(SAGA_PARENT), headers.get(TRACESTATE, "")),
            _context(headers.get(SAGA_UNDOES), headers.get(TRACESTATE, "")),
        )
    except ValueError:
        raise PoisonMessage("bad_header", "the saga headers hold something that is not a number") from None


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _rfc3339(time_us: int) -> bytes:
    return b"%s.%06dZ" % (_second(time_us // 1_000_000).encode(), time_us % 1_000_000)
