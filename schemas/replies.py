"""What a worker answers, on ``booking.replies``: one typed reply per command, saying done, refused or unknown."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas import limits
from schemas.base import AmountMinor, Currency, Identifier, LastFour, Message, Reason


class Offer(Message):
    """One room that could be had, with its price for the whole stay."""

    room_id: Identifier
    room_type: Identifier
    total_minor: AmountMinor
    currency: Currency


class AvailabilityFound(Message):
    """At least one room can be had; the best offer comes first."""

    booking_id: Identifier
    offers: Annotated[tuple[Offer, ...], Field(min_length=1, max_length=limits.MAX_OFFERS)]


class AvailabilityRefused(Message):
    """Nothing can be had: ``reason`` is ``no_availability``, ``unknown_property`` or ``invalid_stay``."""

    booking_id: Identifier
    reason: Reason


class LockAcquired(Message):
    """The room is held until ``expires_at_ms`` (milliseconds since the epoch)."""

    booking_id: Identifier
    reservation_id: Identifier
    expires_at_ms: int


class LockRefused(Message):
    """The room is not held: ``reason`` is ``contention``, ``sold`` or ``undone`` (the undo came first)."""

    booking_id: Identifier
    reservation_id: Identifier
    reason: Reason
    competing_reservation: Identifier | None = None


class LockReleased(Message):
    """No lock of this reservation is or will be held. ``was_held`` is false for an empty undo."""

    booking_id: Identifier
    reservation_id: Identifier
    was_held: bool


class PaymentProcessed(Message):
    """The money was captured."""

    booking_id: Identifier
    transaction_id: Identifier
    amount_minor: AmountMinor
    currency: Currency
    card_last_four: LastFour | None = None


class PaymentDeclined(Message):
    """The provider said no; nothing was captured."""

    booking_id: Identifier
    reason: Reason


class PaymentUnknown(Message):
    """Nobody can say whether the money was captured; the undo will settle it."""

    booking_id: Identifier
    reason: Reason


class PaymentRefunded(Message):
    """Nothing of this charge is kept: refunded in full, or voided before it was captured (``refunded_minor`` 0)."""

    booking_id: Identifier
    refunded_minor: AmountMinor
    currency: Currency
    refund_id: Identifier | None = None


class ConfirmationIssued(Message):
    """The room-nights are sold to this booking."""

    booking_id: Identifier
    confirmation_code: Identifier


class ConfirmationRefused(Message):
    """The room-nights are not sold: ``reason`` is ``sold``, ``undone`` or ``invalid``."""

    booking_id: Identifier
    reason: Reason


class InventoryRestored(Message):
    """No night is or will be sold under the undone command. ``nights`` is how many were given back."""

    booking_id: Identifier
    nights: int = Field(ge=0)
