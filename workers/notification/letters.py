"""What a guest is told: one event becomes one e-mail, text and HTML.

Laying a message out with :class:`email.message.EmailMessage` costs more than everything else a notification does, so
it is done once per kind of letter, with marks where the parts go; each mail only fills the marks in.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Mapping
from dataclasses import dataclass
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from hashlib import blake2b

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from schemas.events import BookingCancelled, BookingConfirmed, BookingFailed

BookingEvent = BookingConfirmed | BookingFailed | BookingCancelled

BOOKING_HEADER = "X-Booking-Id"
KIND_HEADER = "X-Booking-Event"

_DOMAIN = "booking-saga.invalid"
SENDER_ADDRESS = f"reservations@{_DOMAIN}"
_KINDS: Mapping[type[BookingEvent], str] = {
    BookingConfirmed: "confirmed",
    BookingFailed: "failed",
    BookingCancelled: "cancelled",
}
_MINOR_DIGITS = {"JPY": 0, "KRW": 0, "KWD": 3}
_EXPLANATIONS = {
    "payment_declined": "your card was declined.",
    "lock_contention": "the last suitable room was taken while we were reserving it for you.",
    "no_availability": "no room is free for your dates.",
    "timeout": "it took too long, so we stopped.",
}
_MARK = re.compile(rb"@@([a-z]+)@@")


@dataclass(frozen=True, slots=True)
class Letter:
    """A finished e-mail: ``content`` is the whole message, lines ended by CRLF, 7-bit but for a non-ASCII address."""

    message_id: str
    recipient: str
    content: bytes


def message_id_of(event_id: str) -> str:
    """The Message-ID of the one e-mail an event causes: the same for every attempt, so that a duplicate shows."""
    return f"<{blake2b(event_id.encode(), digest_size=16).hexdigest()}@{_DOMAIN}>"


def money(amount_minor: int, currency: str) -> str:
    """``money(12345, "EUR") == "EUR 123.45"``."""
    digits = _MINOR_DIGITS.get(currency, 2)
    whole, part = divmod(amount_minor, 10**digits)
    return f"{currency} {whole:,}" + (f".{part:0{digits}d}" if digits else "")


class LetterWriter:
    """Composes letters from templates that are compiled once."""

    def __init__(self) -> None:
        environment = Environment(
            loader=PackageLoader("workers.notification"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._texts: Mapping[str, Template] = {k: environment.get_template(f"{k}.txt") for k in _KINDS.values()}
        self._pages: Mapping[str, Template] = {k: environment.get_template(f"{k}.html") for k in _KINDS.values()}
        self._frame = _MARK.split(_frame())

    def write(self, event_id: str, event: BookingEvent) -> Letter:
        """The letter about ``event``; the same event id always gives the same Message-ID."""
        kind = _KINDS[type(event)]
        subject = _subject(event)
        values = {
            "event": event,
            "subject": subject,
            "guest": event.guest_name or "guest",
            "facts": _facts(event),
            "explanation": _EXPLANATIONS.get(getattr(event, "error_type", ""), "something went wrong on our side."),
        }
        message_id = message_id_of(event_id)
        parts = {
            b"recipient": event.email.encode(),
            b"subject": _encoded(subject),
            b"messageid": message_id.encode(),
            b"date": formatdate().encode(),
            b"booking": event.booking_id.encode(),
            b"kind": kind.encode(),
            b"text": _quoted_printable(self._texts[kind].render(values)),
            b"html": _quoted_printable(self._pages[kind].render(values)),
        }
        # The frame alternates between fixed bytes and the names of marks.
        content = b"".join(part if n % 2 == 0 else parts[part] for n, part in enumerate(self._frame))
        return Letter(message_id, event.email, content)


def _frame() -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Reservations <{SENDER_ADDRESS}>"
    message["To"] = "to@mark.invalid"
    message["Subject"] = "@@subject@@"
    message["Date"] = "Thu, 01 Jan 1970 00:00:00 -0000"
    message["Message-ID"] = "<id@mark.invalid>"
    message[BOOKING_HEADER] = "@@booking@@"
    message[KIND_HEADER] = "@@kind@@"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("@@text@@\n", cte="quoted-printable")
    message.add_alternative("@@html@@\n", subtype="html", cte="quoted-printable")
    frame = message.as_bytes()
    for typed, mark in (
        (b"to@mark.invalid", b"@@recipient@@"),
        (b"<id@mark.invalid>", b"@@messageid@@"),
        (b"Thu, 01 Jan 1970 00:00:00 -0000", b"@@date@@"),
    ):
        assert frame.count(typed) == 1, f"the frame lost {typed!r}"
        frame = frame.replace(typed, mark)
    return frame


def _quoted_printable(text: str) -> bytes:
    return b2a_qp(text.replace("\n", "\r\n").encode(), istext=True)


def _encoded(text: str) -> bytes:
    return text.encode() if text.isascii() else Header(text, "utf-8").encode(linesep="\r\n").encode()


def _subject(event: BookingEvent) -> str:
    if isinstance(event, BookingConfirmed):
        return f"Your booking {event.confirmation_code} is confirmed"
    if isinstance(event, BookingFailed):
        return f"We could not complete your booking {event.booking_id}"
    return f"Your booking {event.booking_id} is cancelled"


def _facts(event: BookingEvent) -> list[tuple[str, str]]:
    facts = [
        ("Booking", event.booking_id),
        ("Property", event.property_id),
        ("Arrival", event.check_in.isoformat()),
        ("Departure", event.check_out.isoformat()),
        ("Guests", str(event.guests)),
    ]
    if isinstance(event, BookingConfirmed):
        facts += [
            ("Room", f"{event.room_id} ({event.room_type})"),
            ("Total", money(event.total_minor, event.currency)),
            ("Code", event.confirmation_code),
        ]
    return facts
