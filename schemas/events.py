"""What became of a booking, on ``booking.events``, for anyone to read."""

from __future__ import annotations

from typing import Literal

from schemas.base import AmountMinor, Currency, Day, Email, Guests, Identifier, Message, Name, Reason, Source


class _Outcome(Message):
    booking_id: Identifier
    user_id: Identifier
    property_id: Identifier
    check_in: Day
    check_out: Day
    guests: Guests
    email: Email
    guest_name: Name = ""
    source: Source


class BookingConfirmed(_Outcome):
    """The room is sold and paid."""

    confirmation_code: Identifier
    reservation_id: Identifier
    room_id: Identifier
    room_type: Identifier
    total_minor: AmountMinor
    currency: Currency


class BookingFailed(_Outcome):
    """The booking was not given; whatever had been done is undone."""

    status: Literal["FAILED", "TIMED_OUT"]
    error_type: Reason
    reason: Reason
    compensated: bool


class BookingCancelled(_Outcome):
    """The booking was cancelled; whatever had been done is undone."""

    reason: Reason
    compensated: bool
