"""The property catalogue: properties with their rooms, and the loader that writes the ``inventory`` schema.

Rates and seasons travel in the same catalogue, because that is how a property is described, but only the pricing
engine's own loader (:func:`workers.pricing.rates.load_rates`) writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from saga.database import Schemas, Statements
from schemas.base import Currency, Identifier
from workers.pricing.tariff import RoomRate, Season, Tariff

if TYPE_CHECKING:
    import asyncpg

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=120)]
Percent = Annotated[int, Field(ge=10, le=1000)]
DayOfYear = Annotated[str, StringConstraints(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]


class SeasonalRate(BaseModel):
    """Days of every year on which rates are ``percent`` of the plain ones.

    ``first`` and ``last`` are ``MM-DD``, both included; a season may run over New Year.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[^;\x00-\x1f\x7f]+$", min_length=1, max_length=60)]
    first: DayOfYear
    last: DayOfYear
    percent: Percent


class Room(BaseModel):
    """A room. ``nightly_minor`` is its plain rate in integer minor units of the property's currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    room_id: Identifier
    room_type: Annotated[Identifier, Field(max_length=40)]
    capacity: int = Field(ge=1, le=50)
    nightly_minor: int = Field(gt=0, le=10**9)


class Property(BaseModel):
    """A property without its rooms. ``weekend_percent`` weights the nights of Friday and Saturday."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    property_id: Identifier
    name: Text
    city: Text
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    stars: int = Field(ge=1, le=5)
    currency: Currency
    weekend_percent: Percent = 100
    seasons: tuple[SeasonalRate, ...] = Field((), max_length=12)


class Listing(Property):
    """A property with its rooms: one entry of a catalogue."""

    rooms: tuple[Room, ...] = Field(min_length=1, max_length=100_000)


def tariff_of(listing: Listing) -> Tariff:
    """What the pricing engine has to know of a listing."""
    return Tariff(
        property_id=listing.property_id,
        currency=listing.currency,
        weekend_bp=listing.weekend_percent * 100,
        seasons=tuple(
            Season(season.name, _month_day(season.first), _month_day(season.last), season.percent * 100)
            for season in listing.seasons
        ),
        rooms={room.room_id: RoomRate(room.room_type, room.nightly_minor) for room in listing.rooms},
    )


def _month_day(day: str) -> int:
    return int(day[:2]) * 100 + int(day[3:])


async def load_inventory(
    pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas, listings: Sequence[Listing]
) -> tuple[int, int]:
    """Insert or update properties and rooms in one transaction; returns how many of each the catalogue holds.

    Idempotent. What the catalogue does not mention stays: a room that was ever sold is never deleted.
    """
    sql = Statements.load("workers.availability", "sql/catalogue.sql", schemas)
    rooms = [(listing.property_id, room) for listing in listings for room in listing.rooms]
    with suppress_instrumentation():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                sql["put_properties"],
                [listing.property_id for listing in listings],
                [listing.name for listing in listings],
                [listing.city for listing in listings],
                [listing.country for listing in listings],
                [listing.stars for listing in listings],
            )
            await connection.execute(
                sql["put_rooms"],
                [property_id for property_id, _ in rooms],
                [room.room_id for _, room in rooms],
                [room.room_type for _, room in rooms],
                [room.capacity for _, room in rooms],
            )
    return len(listings), len(rooms)
