"""What anyone may ask of the saga, on ``booking.requests``. The record's key is the booking id."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas import limits
from schemas.base import Currency, Day, Email, Guests, Identifier, LastFour, Message, Name, Reason, Source, Token


class BookingRequested(Message):
    """Somebody wants a room. Card data never travels: only the provider's token and, for display, the last four."""

    booking_id: Identifier | None = Field(None, description="optional: if given it must equal the record's key")
    user_id: Identifier
    property_id: Identifier
    check_in: Day
    check_out: Day
    guests: Guests = 1
    room_type: Identifier | None = None
    currency: Currency = "EUR"
    payment_method: Literal["card"] = "card"
    payment_token: Token = Field(description="the payment provider's token, never a card number")
    card_last_four: LastFour | None = None
    email: Email
    guest_name: Name = ""
    source: Source = "api"

    @model_validator(mode="after")
    def _stay_makes_sense(self) -> Self:
        nights = (self.check_out - self.check_in).days
        if not 1 <= nights <= limits.MAX_NIGHTS:
            raise ValueError(f"check_out must be 1 to {limits.MAX_NIGHTS} nights after check_in")
        return self


class BookingCancellationRequested(Message):
    """Somebody no longer wants the room; before the pivot it stops the saga, after it the booking is rolled back."""

    booking_id: Identifier | None = None
    reason: Reason = "requested"
    requested_by: Name = ""
