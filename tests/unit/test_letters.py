"""What a guest is told."""

from __future__ import annotations

from datetime import date
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from schemas.events import BookingCancelled, BookingConfirmed, BookingFailed
from workers.notification.letters import BookingEvent, Letter, LetterWriter, message_id_of, money

WRITER = LetterWriter()
CONFIRMED = BookingConfirmed(
    booking_id="bk-1",
    user_id="u-1",
    property_id="htl-001",
    check_in=date(2026, 5, 1),
    check_out=date(2026, 5, 4),
    guests=2,
    email="ada@example.com",
    guest_name="Ada <Lovelace>",
    source="web",
    confirmation_code="ABC123",
    reservation_id="rsv-1",
    room_id="101",
    room_type="double",
    total_minor=1_234_567,
    currency="EUR",
)
SHARED = CONFIRMED.model_dump(
    include={"booking_id", "user_id", "property_id", "check_in", "check_out", "guests", "email", "guest_name", "source"}
)
FAILED = BookingFailed(**SHARED, status="FAILED", error_type="payment_declined", reason="x", compensated=True)
CANCELLED = BookingCancelled(**SHARED, reason="requested", compensated=False)


def parsed(letter: Letter) -> EmailMessage:
    return message_from_bytes(letter.content, policy=policy.default)


def body(letter: Letter, subtype: str) -> str:
    part = parsed(letter).get_body((subtype,))
    assert part is not None
    return str(part.get_content())


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (CONFIRMED, "confirmed", ("ABC123", "htl-001", "2026-05-01", "2026-05-04", "101 (double)", "EUR 12,345.67")),
        (FAILED, "failed", ("your card was declined", "refunded in full", "bk-1")),
        (CANCELLED, "cancelled", ("has been cancelled", "Nothing has been charged", "bk-1")),
    ],
)
def test_each_outcome_has_its_letter_in_text_and_html(event: BookingEvent, kind: str, words: tuple[str, ...]) -> None:
    letter = WRITER.write("evt-1", event)
    message = parsed(letter)
    assert message["X-Booking-Event"] == kind
    assert message["X-Booking-Id"] == "bk-1"
    assert message["To"] == letter.recipient == "ada@example.com"
    assert message["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message.defects == []
    for word in words:
        assert word in body(letter, "plain")
        assert word in body(letter, "html")


def test_names_are_escaped_in_html_and_plain_in_text() -> None:
    letter = WRITER.write("evt-1", CONFIRMED)
    assert "Dear Ada <Lovelace>," in body(letter, "plain")
    assert "Dear Ada &lt;Lovelace&gt;," in body(letter, "html")


def test_the_message_id_depends_on_the_event_alone() -> None:
    first, again, other = (WRITER.write(event, CONFIRMED) for event in ("evt-1", "evt-1", "evt-2"))
    assert first.message_id == again.message_id == message_id_of("evt-1")
    assert parsed(first)["Message-ID"] == first.message_id
    assert other.message_id != first.message_id


def test_letters_survive_any_mail_server() -> None:
    name = "Zoë Łukasz 予約 " + "x" * 80 + " @@html@@\r\nBcc: x"
    letter = WRITER.write("evt-1", CONFIRMED.model_copy(update={"guest_name": name}))
    assert letter.content.isascii()
    lines = letter.content.split(b"\r\n")
    assert max(len(line) for line in lines) <= 78
    assert not any(b"\n" in line for line in lines)
    assert "Zoë Łukasz 予約" in body(letter, "plain")
    assert "@@html@@" in body(letter, "plain")
    assert parsed(letter)["Bcc"] is None


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(12_345, "EUR", "EUR 123.45"), (5, "USD", "USD 0.05"), (21_000, "JPY", "JPY 21,000"), (1_234, "KWD", "KWD 1.234")],
)
def test_money_shows_the_digits_its_currency_has(amount: int, currency: str, text: str) -> None:
    assert money(amount, currency) == text
