"""A realistic sample catalogue, the same for the same seed: hotels in forty cities, with rooms, rates and seasons.

Property ids are ``htl-001`` upwards and room ids are door numbers, whatever the seed, so that examples and generated
bookings can name them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from saga.errors import UsageError
from workers.availability.catalogue import Listing, Room, SeasonalRate


@dataclass(frozen=True, slots=True)
class _City:
    """``level`` is what an ordinary double costs on a plain night, in major units of the currency."""

    name: str
    country: str
    currency: str
    level: int
    climate: str = "north"


@dataclass(frozen=True, slots=True)
class _RoomType:
    """``share`` of the rooms of a hotel; ``percent`` of the hotel's double rate."""

    name: str
    capacity: int
    percent: int
    share: int


_CITIES = (
    _City("Paris", "FR", "EUR", 155),
    _City("Lisbon", "PT", "EUR", 110, "coast"),
    _City("Berlin", "DE", "EUR", 105),
    _City("Rome", "IT", "EUR", 130, "coast"),
    _City("Barcelona", "ES", "EUR", 125, "coast"),
    _City("London", "GB", "GBP", 150),
    _City("Edinburgh", "GB", "GBP", 120),
    _City("Dublin", "IE", "EUR", 140),
    _City("Amsterdam", "NL", "EUR", 150),
    _City("Vienna", "AT", "EUR", 115),
    _City("Prague", "CZ", "CZK", 2400),
    _City("Copenhagen", "DK", "DKK", 1150),
    _City("Stockholm", "SE", "SEK", 1500),
    _City("Oslo", "NO", "NOK", 1600),
    _City("Zurich", "CH", "CHF", 190),
    _City("Innsbruck", "AT", "EUR", 120, "alpine"),
    _City("Chamonix", "FR", "EUR", 145, "alpine"),
    _City("Athens", "GR", "EUR", 95, "coast"),
    _City("Palma", "ES", "EUR", 120, "coast"),
    _City("Nice", "FR", "EUR", 135, "coast"),
    _City("Budapest", "HU", "HUF", 38000),
    _City("Krakow", "PL", "PLN", 380),
    _City("New York", "US", "USD", 240),
    _City("Boston", "US", "USD", 210),
    _City("San Francisco", "US", "USD", 220),
    _City("Chicago", "US", "USD", 190),
    _City("Toronto", "CA", "CAD", 230),
    _City("Vancouver", "CA", "CAD", 240, "coast"),
    _City("Mexico City", "MX", "MXN", 1900),
    _City("Rio de Janeiro", "BR", "BRL", 520, "south"),
    _City("Cape Town", "ZA", "ZAR", 2300, "south"),
    _City("Sydney", "AU", "AUD", 240, "south"),
    _City("Melbourne", "AU", "AUD", 210, "south"),
    _City("Auckland", "NZ", "NZD", 230, "south"),
    _City("Tokyo", "JP", "JPY", 21000),
    _City("Kyoto", "JP", "JPY", 19000),
    _City("Singapore", "SG", "SGD", 260, "tropic"),
    _City("Bangkok", "TH", "THB", 2600, "tropic"),
    _City("Dubai", "AE", "AED", 540, "tropic"),
    _City("Mumbai", "IN", "INR", 7800, "tropic"),
)

_NAMES = (
    "Hotel {city} Central",
    "The Old Mill {city}",
    "Grand Hotel {city}",
    "Riverside {city}",
    "Station Hotel {city}",
    "The Lantern {city}",
    "Garden Court {city}",
    "Park View {city}",
    "Maison Aurore {city}",
    "The Harbour Rooms {city}",
)

_ROOM_TYPES = (
    _RoomType("single", 1, 74, 15),
    _RoomType("double", 2, 100, 38),
    _RoomType("twin", 2, 100, 18),
    _RoomType("superior-double", 2, 128, 12),
    _RoomType("family", 4, 155, 9),
    _RoomType("junior-suite", 3, 195, 5),
    _RoomType("suite", 4, 290, 3),
)

_SEASONS = {
    "north": (("yule", "12-20", "01-02", 140), ("spring", "04-01", "06-14", 112), ("summer", "06-15", "08-31", 130)),
    "coast": (("shoulder", "05-01", "06-14", 118), ("summer", "06-15", "09-10", 155), ("winter", "11-05", "02-28", 80)),
    "alpine": (("ski", "12-15", "04-10", 165), ("summer", "07-01", "08-31", 120), ("quiet", "11-01", "12-14", 75)),
    "south": (("summer", "12-10", "02-28", 145), ("winter", "06-01", "08-31", 82)),
    "tropic": (("dry", "11-15", "03-15", 135), ("monsoon", "06-01", "09-30", 85)),
}

_MINOR_UNITS = {"JPY": 1}
_STAR_PERCENT = {2: 68, 3: 88, 4: 112, 5: 190}


def sample_listings(properties: int = 40, rooms: int = 1_200, seed: int = 1) -> list[Listing]:
    """``properties`` hotels with ``rooms`` rooms in all. Raises :class:`UsageError` for fewer rooms than hotels."""
    if not 1 <= properties <= rooms or rooms > 100 * 1_000_000:
        raise UsageError(
            f"a sample needs at least one room per property, not {rooms} rooms for {properties} properties"
        )
    dice = random.Random(f"{seed}:catalogue:{properties}:{rooms}")
    return [
        _listing(number, count, random.Random(f"{seed}:property:{number}"))
        for number, count in enumerate(_room_counts(properties, rooms, dice), start=1)
    ]


def _room_counts(properties: int, rooms: int, dice: random.Random) -> list[int]:
    """Small and large hotels whose rooms add up to exactly ``rooms``."""
    weights = [dice.uniform(0.4, 1.6) for _ in range(properties)]
    spare = rooms - properties
    total = sum(weights)
    ends = [round(spare * sum(weights[: n + 1]) / total) for n in range(properties)]
    return [1 + end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _listing(number: int, rooms: int, dice: random.Random) -> Listing:
    city = _CITIES[(number - 1) % len(_CITIES)]
    stars = dice.choices((2, 3, 4, 5), weights=(2, 4, 4, 1))[0]
    double = city.level * _STAR_PERCENT[stars] * dice.uniform(0.9, 1.12) / 100
    return Listing(
        property_id=f"htl-{number:03d}",
        name=_NAMES[dice.randrange(len(_NAMES))].format(city=city.name),
        city=city.name,
        country=city.country,
        stars=stars,
        currency=city.currency,
        weekend_percent=dice.choice((85, 90, 100, 110, 115, 125)),
        seasons=tuple(
            SeasonalRate(name=name, first=first, last=last, percent=percent)
            for name, first, last, percent in _SEASONS[city.climate]
        ),
        rooms=tuple(_rooms(rooms, double, _MINOR_UNITS.get(city.currency, 100), dice)),
    )


def _rooms(count: int, double: float, minor_units: int, dice: random.Random) -> Iterator[Room]:
    kinds = dice.choices(_ROOM_TYPES, weights=[kind.share for kind in _ROOM_TYPES], k=count)
    if count >= len(_ROOM_TYPES):
        kinds[: len(_ROOM_TYPES)] = _ROOM_TYPES  # every type is there in all but the smallest houses
    per_floor = 10 if count <= 60 else 20
    for n, kind in enumerate(kinds):
        floor = n // per_floor
        major = max(1, round(double * kind.percent / 100 * (1 + 0.01 * min(floor, 8))))
        yield Room(
            room_id=f"{floor + 1}{n % per_floor + 1:02d}",
            room_type=kind.name,
            capacity=kind.capacity,
            nightly_minor=major * minor_units,
        )
