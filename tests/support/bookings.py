"""Requests and replies as tests say them: ``offers("101", "102")``, ``declined("do_not_honor")``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from schemas import commands, replies, requests
from schemas.base import Message

PRICE_MINOR = 42_000
KEY = "bk-1"


def a_booking(**changes: Any) -> requests.BookingRequested:
    """A valid request, with ``changes``."""
    fields = {
        "user_id": "u-7",
        "property_id": "hotel-1",
        "check_in": date(2027, 3, 1),
        "check_out": date(2027, 3, 4),
        "guests": 2,
        "payment_token": "tok_visa",
        "card_last_four": "4242",
        "email": "ada@example.org",
        "guest_name": "Ada",
        "source": "web",
    }
    return requests.BookingRequested(**{**fields, **changes})


def cancellation(reason: str = "requested") -> requests.BookingCancellationRequested:
    """Somebody no longer wants it."""
    return requests.BookingCancellationRequested(reason=reason)


def offers(*rooms: str) -> replies.AvailabilityFound:
    """These rooms can be had."""
    found = tuple(
        replies.Offer(room_id=room, room_type="double", total_minor=PRICE_MINOR + place, currency="EUR")
        for place, room in enumerate(rooms)
    )
    return replies.AvailabilityFound(booking_id=KEY, offers=found)


def no_rooms(reason: str = "no_availability") -> replies.AvailabilityRefused:
    """Nothing can be had."""
    return replies.AvailabilityRefused(booking_id=KEY, reason=reason)


def locked() -> Callable[[Message], Message]:
    """The room is held."""

    def answer(asked: Message) -> Message:
        assert isinstance(asked, commands.AcquireLock)
        return replies.LockAcquired(booking_id=KEY, reservation_id=asked.reservation_id, expires_at_ms=1)

    return answer


def contended(by: str = "rsv-other") -> Callable[[Message], Message]:
    """Somebody else holds the room."""

    def answer(asked: Message) -> Message:
        assert isinstance(asked, commands.AcquireLock)
        return replies.LockRefused(
            booking_id=KEY, reservation_id=asked.reservation_id, reason="contention", competing_reservation=by
        )

    return answer


def released(*, was_held: bool = True) -> Callable[[Message], Message]:
    """The lock is gone."""

    def answer(asked: Message) -> Message:
        assert isinstance(asked, commands.ReleaseLock)
        return replies.LockReleased(booking_id=KEY, reservation_id=asked.reservation_id, was_held=was_held)

    return answer


def paid(transaction_id: str = "ch_1") -> replies.PaymentProcessed:
    """The money was captured."""
    return replies.PaymentProcessed(
        booking_id=KEY, transaction_id=transaction_id, amount_minor=PRICE_MINOR, currency="EUR"
    )


def declined(reason: str = "insufficient_funds") -> replies.PaymentDeclined:
    """The provider said no."""
    return replies.PaymentDeclined(booking_id=KEY, reason=reason)


def payment_unknown(reason: str = "provider_timeout") -> replies.PaymentUnknown:
    """Nobody can say."""
    return replies.PaymentUnknown(booking_id=KEY, reason=reason)


def refunded(minor: int = PRICE_MINOR) -> replies.PaymentRefunded:
    """Nothing of the charge is kept."""
    return replies.PaymentRefunded(booking_id=KEY, refunded_minor=minor, currency="EUR")


def confirmed(code: str = "CODE42") -> replies.ConfirmationIssued:
    """The room-nights are sold."""
    return replies.ConfirmationIssued(booking_id=KEY, confirmation_code=code)


def unconfirmed(reason: str = "sold") -> replies.ConfirmationRefused:
    """The room-nights are not sold."""
    return replies.ConfirmationRefused(booking_id=KEY, reason=reason)


def restored(nights: int = 3) -> replies.InventoryRestored:
    """The room-nights were given back."""
    return replies.InventoryRestored(booking_id=KEY, nights=nights)


def forward(steps: int) -> list[Any]:
    """The replies that carry a booking through its first ``steps`` steps."""
    return [offers("101", "102", "103", "104"), locked(), paid(), confirmed()][:steps]


UNDO_REPLIES: dict[type[Message], Any] = {
    commands.RestoreInventory: restored(),
    commands.RefundPayment: refunded(),
    commands.ReleaseLock: released(),
}
"""What answers each undo."""
