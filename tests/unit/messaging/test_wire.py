"""Messages to bytes and back: the contract with publishers in any language."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from saga.engine.envelope import Envelope, SagaHeaders, outgoing
from saga.errors import PoisonMessage
from saga.messaging.broker import Headers, Record
from saga.messaging.wire import decode, encode
from saga.telemetry.messaging import Origin
from saga.telemetry.spans import SpanContext
from schemas import commands, requests
from schemas.base import Message
from schemas.limits import MAX_MESSAGE_BYTES

RELEASES: frozenset[type[Message]] = frozenset({commands.ReleaseLock})
EXPECTED: frozenset[type[Message]] = frozenset({requests.BookingRequested, requests.BookingCancellationRequested})
BODY = {
    "user_id": "user-1",
    "property_id": "lisbon-01",
    "check_in": "2027-03-01",
    "check_out": "2027-03-04",
    "guests": 2,
    "payment_token": "tok_visa",
    "email": "ana@example.com",
}


def record(
    value: bytes | None = None, *, key: bytes | None = b"bk-1", headers: Headers = (("ce_type", b"BookingRequested"),)
) -> Record:
    body = json.dumps(BODY).encode() if value is None else value
    return Record(Origin("booking.requests", 0, 7), key, body, headers, 1_700_000_000_123)


def cause(bad: Record) -> str:
    with pytest.raises(PoisonMessage) as poison:
        decode(bad, EXPECTED, untrusted=True)
    assert "4111" not in str(poison.value)
    return poison.value.cause


def test_a_foreign_publisher_needs_only_key_type_and_body() -> None:
    envelope = decode(record(), EXPECTED, untrusted=True)
    assert envelope.key == "bk-1"
    assert isinstance(envelope.body, requests.BookingRequested)
    assert envelope.time_us == 1_700_000_000_123_000
    assert envelope.context is None


@pytest.mark.parametrize("named", [b"BookingRequested", b"BookingRequested.v1", b"booking.BookingRequested.v1"])
def test_the_type_may_leave_out_prefix_and_version(named: bytes) -> None:
    assert decode(record(headers=(("ce_type", named),)), EXPECTED).type_name == "booking.BookingRequested.v1"


def test_the_same_content_without_an_id_gets_the_same_id() -> None:
    first, again = decode(record(), EXPECTED), decode(replace(record(), timestamp_ms=5), EXPECTED)
    other = decode(record(json.dumps(BODY | {"guests": 3}).encode()), EXPECTED)
    assert first.id == again.id != other.id


def test_a_published_message_reads_back_as_it_was_with_one_traceparent() -> None:
    parent = SpanContext(7 << 90, 8, 3, "vendor=x")
    body = commands.ReleaseLock(booking_id="bk-1", reservation_id="rsv-1", undoes="bk-1.acquire_lock.1")
    headers = SagaHeaders(4, "acquire_lock", 2, "bk-1.acquire_lock.1.undo", parent.child(9), parent.child(10))
    sent = outgoing(
        "t", Envelope("bk-1.acquire_lock.1.undo", "bk-1", body, 12_345_678, "/s", None, "a=b", headers), parent
    )
    outbound = encode(sent, "drill.")
    assert outbound.topic == "drill.t"
    assert [name for name, _ in outbound.headers].count("traceparent") == 1
    back = decode(
        Record(Origin("drill.t", 0, 0), outbound.key, outbound.value, outbound.headers, 12_345),
        RELEASES,
    )
    assert back.body == body
    assert back.saga == replace(headers, parent=parent.child(9), undoes=parent.child(10))
    assert back.context == sent.envelope.context
    assert back.context is not None
    assert back.context.traceparent.endswith("-03"), "the flags travel verbatim"
    assert back.baggage == "a=b"


def test_the_time_of_an_event_is_rfc_3339() -> None:
    body = requests.BookingCancellationRequested()
    sent = outgoing("t", Envelope("x", "bk-1", body, 1_700_000_000_000_001), None)
    assert dict(encode(sent).headers)["ce_time"] == b"2023-11-14T22:13:20.000001Z"


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (record(key=None), "no_key"),
        (record(key=b"no spaces please"), "bad_key"),
        (record(headers=()), "unknown_type"),
        (record(headers=(("ce_type", b"BookingExploded"),)), "unknown_type"),
        (record(headers=(("ce_type", b"BookingRequested.v9"),)), "unknown_type"),
        (record(headers=(("ce_type", b"AcquireLock"),)), "wrong_topic"),
        (record(b"{"), "invalid_json"),
        (record(b"\xff\xfe\x00"), "invalid_json"),
        (record(b"[]"), "invalid_body"),
        (record(json.dumps(BODY | {"guests": 0}).encode()), "invalid_body"),
        (record(json.dumps(BODY | {"check_out": "2027-02-01"}).encode()), "invalid_body"),
        (record(json.dumps(BODY | {"booking_id": "bk-2"}).encode()), "key_mismatch"),
        (record(json.dumps(BODY | {"guest_name": "4111 1111 1111 1111"}).encode()), "card_number"),
        (record(json.dumps(BODY | {"unknown_field": "4111111111111111"}).encode()), "card_number"),
        (record(key=b"4111111111111111"), "card_number"),
        (record(b" " * (MAX_MESSAGE_BYTES + 1)), "too_large"),
        (replace(record(), value=None), "empty"),
        (record(headers=(("ce_type", b"BookingRequested"), ("ce_sagaepoch", b"soon"))), "bad_header"),
    ],
)
def test_what_cannot_be_read_names_its_cause(bad: Record, expected: str) -> None:
    assert cause(bad) == expected


def test_a_malformed_traceparent_is_ignored_not_refused() -> None:
    headers = (("ce_type", b"BookingRequested"), ("traceparent", b"00-zz-1-01"))
    assert decode(record(headers=headers), EXPECTED).context is None
