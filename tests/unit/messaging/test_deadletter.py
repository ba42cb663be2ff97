"""Dead letters keep what happened and where, and nothing that should not be read."""

from __future__ import annotations

import pytest

from saga.messaging.broker import Outbound, Record
from saga.messaging.deadletter import dead_letter
from saga.telemetry.messaging import Origin
from schemas.limits import MAX_MESSAGE_BYTES

SECRETS = ("4111 1111 1111 1111", "5500005555555559", "ana@example.com", "tok_visa_1234567890")


def letter_for(value: bytes, *, key: bytes = b"bk-1", headers: tuple[tuple[str, bytes], ...] = ()) -> Outbound:
    record = Record(Origin("booking.requests", 3, 42), key, value, headers, 1_700_000_000_000)
    return dead_letter(record, "invalid_body", "guests: too many", group="g", topic_prefix="")


def test_a_dead_letter_says_where_it_came_from_and_why() -> None:
    headers = dict(letter_for(b"{}", headers=(("ce_type", b"BookingRequested"),)).headers)
    assert headers["dlq_cause"] == b"invalid_body"
    assert headers["dlq_topic"] == b"booking.requests"
    assert (headers["dlq_partition"], headers["dlq_offset"]) == (b"3", b"42")
    assert headers["dlq_timestamp_ms"] == b"1700000000000"
    assert headers["ce_type"] == b"BookingRequested"


def test_harmless_bytes_are_kept_to_the_last_one() -> None:
    raw = bytes(range(256))
    assert letter_for(raw).value == raw


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("binary", [b"", b"\xff\xfe"])
def test_no_secret_reaches_the_dead_letter_topic_in_value_key_or_header(secret: str, binary: bytes) -> None:
    raw = binary + f'{{"a": "{secret}"}}'.encode()
    letter = letter_for(raw, key=secret.encode(), headers=(("x", secret.encode()),))
    told = letter.value + letter.key + b"".join(value for _, value in letter.headers)
    assert secret.encode() not in told


def test_an_oversized_message_is_cut_and_its_size_is_told() -> None:
    letter = letter_for(b"x" * (MAX_MESSAGE_BYTES + 1))
    assert len(letter.value) == MAX_MESSAGE_BYTES
    assert dict(letter.headers)["dlq_truncated"] == str(MAX_MESSAGE_BYTES + 1).encode()


def test_a_dead_letter_stays_in_the_trace_of_its_original_with_one_traceparent() -> None:
    original = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = letter_for(b"{}", headers=(("traceparent", original),)).headers
    found = [value for name, value in headers if name == "traceparent"]
    assert len(found) == 1
    assert found[0][:35] == original[:35]
    assert found[0] != original
