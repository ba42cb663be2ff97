"""Bodies of the pricing engine's HTTP interface."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_NIGHTS = 90

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
RoomType = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class RoomToPrice(BaseModel):
    """A room that availability has found."""

    model_config = ConfigDict(frozen=True)

    room_id: Id
    room_type: RoomType


class QuoteRequest(BaseModel):
    """``POST /v1/quotes``: price these rooms for these nights, in this currency (ISO 4217).

    ``check_out`` is the day of departure, so the last night is the one before it.
    """

    model_config = ConfigDict(frozen=True)

    property_id: Id
    check_in: date
    check_out: date
    guests: int = Field(ge=1, le=50)
    currency: Currency
    offers: tuple[RoomToPrice, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _stay_is_sane(self) -> Self:
        nights = (self.check_out - self.check_in).days
        if not 1 <= nights <= MAX_NIGHTS:
            raise ValueError(f"check_out must be 1 to {MAX_NIGHTS} days after check_in, not {nights}")
        return self


class Quote(BaseModel):
    """The price of one room for the whole stay; amounts are integer minor units of ``currency``.

    ``nightly`` holds one amount per night from check-in on; ``total_amount`` is their sum.
    """

    model_config = ConfigDict(frozen=True)

    room_id: str
    room_type: str
    total_amount: int
    currency: str
    nightly: tuple[int, ...]


class Quotes(BaseModel):
    """The answer: one quote per room, in the order of the request."""

    model_config = ConfigDict(frozen=True)

    property_id: str
    check_in: date
    check_out: date
    quotes: tuple[Quote, ...]
