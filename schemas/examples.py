"""One valid example of every message, for people who publish, read or test; all of one and the same booking."""

from __future__ import annotations

from datetime import date
from typing import Any

from schemas import commands, events, replies, requests
from schemas.base import Message

BOOKING_ID = "bk-20270301-0001"
_RESERVATION = {"booking_id": BOOKING_ID, "reservation_id": "rsv-5f0c8a7be3d91c24"}
_STAY: dict[str, Any] = {"check_in": date(2027, 3, 1), "check_out": date(2027, 3, 4)}
_PRICE: dict[str, Any] = {"currency": "EUR"}
_OUTCOME: dict[str, Any] = {
    "booking_id": BOOKING_ID,
    "user_id": "user-7",
    "property_id": "htl-001",
    **_STAY,
    "guests": 2,
    "email": "ada@example.org",
    "guest_name": "Ada Lovelace",
    "source": "web",
}
_OFFER = replies.Offer(room_id="204", room_type="double", total_minor=42_000, currency="EUR")

EXAMPLES: tuple[Message, ...] = (
    requests.BookingRequested(
        user_id="user-7",
        property_id="htl-001",
        **_STAY,
        guests=2,
        currency="EUR",
        payment_token="tok_visa",  # noqa: S106  # the provider's test token, which is public
        card_last_four="4242",
        email="ada@example.org",
        guest_name="Ada Lovelace",
        source="web",
    ),
    requests.BookingCancellationRequested(reason="change of plans", requested_by="user-7"),
    commands.CheckAvailability(
        booking_id=BOOKING_ID, property_id="htl-001", **_STAY, guests=2, currency="EUR", max_offers=5
    ),
    commands.AcquireLock(**_RESERVATION, property_id="htl-001", room_id=_OFFER.room_id, **_STAY),
    commands.ReleaseLock(**_RESERVATION, undoes=f"{BOOKING_ID}.acquire_lock.1"),
    commands.ProcessPayment(
        **_RESERVATION,
        amount_minor=42_000,
        **_PRICE,
        payment_token="tok_visa",  # noqa: S106  # as above
        card_last_four="4242",
    ),
    commands.RefundPayment(**_RESERVATION, amount_minor=42_000, **_PRICE, undoes=f"{BOOKING_ID}.process_payment.1"),
    commands.ConfirmBooking(**_RESERVATION, property_id="htl-001", room_id=_OFFER.room_id, **_STAY, guests=2),
    commands.RestoreInventory(**_RESERVATION, undoes=f"{BOOKING_ID}.confirm.1"),
    replies.AvailabilityFound(booking_id=BOOKING_ID, offers=(_OFFER,)),
    replies.AvailabilityRefused(booking_id=BOOKING_ID, reason="no_availability"),
    replies.LockAcquired(**_RESERVATION, expires_at_ms=1_798_761_600_000),
    replies.LockRefused(**_RESERVATION, reason="contention", competing_reservation="rsv-90b1e4a27c55d0f8"),
    replies.LockReleased(**_RESERVATION, was_held=True),
    replies.PaymentProcessed(
        booking_id=BOOKING_ID, transaction_id="ch_8f3b2c", amount_minor=42_000, **_PRICE, card_last_four="4242"
    ),
    replies.PaymentDeclined(booking_id=BOOKING_ID, reason="insufficient_funds"),
    replies.PaymentUnknown(booking_id=BOOKING_ID, reason="provider_timeout"),
    replies.PaymentRefunded(booking_id=BOOKING_ID, refunded_minor=42_000, **_PRICE, refund_id="re_41d7aa"),
    replies.ConfirmationIssued(booking_id=BOOKING_ID, confirmation_code="LX7K2P"),
    replies.ConfirmationRefused(booking_id=BOOKING_ID, reason="sold"),
    replies.InventoryRestored(booking_id=BOOKING_ID, nights=3),
    events.BookingConfirmed(
        **_OUTCOME,
        confirmation_code="LX7K2P",
        reservation_id=_RESERVATION["reservation_id"],
        room_id=_OFFER.room_id,
        room_type=_OFFER.room_type,
        total_minor=42_000,
        currency="EUR",
    ),
    events.BookingFailed(
        **_OUTCOME,
        status="FAILED",
        error_type="payment_declined",
        reason="payment declined: insufficient_funds",
        compensated=True,
    ),
    events.BookingCancelled(**_OUTCOME, reason="change of plans", compensated=True),
)


def example(ce_type: str) -> Message:
    """The example of one canonical type. Raises :class:`KeyError` where there is none."""
    return _BY_TYPE[ce_type]


_BY_TYPE = {message.type_name(): message for message in EXAMPLES}
