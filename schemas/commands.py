"""What the orchestrator asks of a worker. Every command has one undo or is safe to repeat.

``undoes`` names the command that an undo takes back, so that an undo can be honoured before, after or without it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas import limits
from schemas.base import AmountMinor, Currency, Day, Guests, Identifier, LastFour, Message, MessageId, Token


class CheckAvailability(Message):
    """Find priced offers; read-only."""

    booking_id: Identifier
    property_id: Identifier
    check_in: Day
    check_out: Day
    guests: Guests
    room_type: Identifier | None = None
    currency: Currency
    max_offers: int = Field(limits.MAX_OFFERS, ge=1, le=limits.MAX_OFFERS)


class AcquireLock(Message):
    """Hold one room for one stay; refused when any live lock or sold night overlaps."""

    booking_id: Identifier
    reservation_id: Identifier
    property_id: Identifier
    room_id: Identifier
    check_in: Day
    check_out: Day
    ttl_ms: int = Field(limits.LOCK_TTL_MS, ge=1_000, le=3_600_000)


class ReleaseLock(Message):
    """Undo of :class:`AcquireLock`."""

    booking_id: Identifier
    reservation_id: Identifier
    undoes: MessageId


class ProcessPayment(Message):
    """Charge the token once; the command id is the provider's idempotency key."""

    booking_id: Identifier
    reservation_id: Identifier
    amount_minor: AmountMinor
    currency: Currency
    payment_method: Literal["card"] = "card"
    payment_token: Token
    card_last_four: LastFour | None = None


class RefundPayment(Message):
    """Undo of :class:`ProcessPayment`: refund what was captured, or make sure that it never will be."""

    booking_id: Identifier
    reservation_id: Identifier
    amount_minor: AmountMinor
    currency: Currency
    undoes: MessageId


class ConfirmBooking(Message):
    """The pivot: commit the room-nights and issue the confirmation code."""

    booking_id: Identifier
    reservation_id: Identifier
    property_id: Identifier
    room_id: Identifier
    check_in: Day
    check_out: Day
    guests: Guests


class RestoreInventory(Message):
    """Undo of :class:`ConfirmBooking`: give the room-nights back."""

    booking_id: Identifier
    reservation_id: Identifier
    undoes: MessageId
