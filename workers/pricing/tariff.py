"""What a night costs: room rate x season x weekend, in integer minor units, rounded half up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

BASIS = 10_000
_WEEKEND = frozenset({4, 5})  # the nights of Friday and Saturday


@dataclass(frozen=True, slots=True)
class Season:
    """Days of every year on which rates are weighted; days are ``month * 100 + day``, and may run over New Year."""

    name: str
    first_day: int
    last_day: int
    weight_bp: int

    def covers(self, night: date) -> bool:
        """Whether the night that begins on ``night`` is in the season."""
        day = night.month * 100 + night.day
        if self.first_day <= self.last_day:
            return self.first_day <= day <= self.last_day
        return day >= self.first_day or day <= self.last_day


@dataclass(frozen=True, slots=True)
class RoomRate:
    """Nightly rate of a room in minor units of its property's currency, before season and weekend."""

    room_type: str
    nightly_amount: int


@dataclass(frozen=True, slots=True)
class Tariff:
    """Everything needed to price the rooms of one property. Weights are basis points: 10000 is the plain rate."""

    property_id: str
    currency: str
    weekend_bp: int = BASIS
    seasons: tuple[Season, ...] = ()
    rooms: Mapping[str, RoomRate] = field(default_factory=dict)

    def weights(self, check_in: date, nights: int) -> list[int]:
        """One weight per night, in hundred-millionths (season basis points x weekend basis points)."""
        stay = (check_in + timedelta(days=n) for n in range(nights))
        return [self._season_bp(night) * (self.weekend_bp if night.weekday() in _WEEKEND else BASIS) for night in stay]

    def _season_bp(self, night: date) -> int:
        for season in self.seasons:
            if season.covers(night):
                return season.weight_bp
        return BASIS


@dataclass(frozen=True, slots=True)
class ExchangeRate:
    """How many millionths of a currency one euro buys, and how many digits its minor unit has."""

    currency: str
    minor_digits: int
    micros: int

    @property
    def minor_units(self) -> int:
        """Millionths of a euro's worth, in minor units: comparable between currencies."""
        return int(self.micros * 10**self.minor_digits)


def price_nights(
    nightly_amount: int, weights: Sequence[int], source: ExchangeRate, target: ExchangeRate
) -> tuple[int, ...]:
    """Amounts per night in minor units of ``target``, each rounded half up once, after weighting and conversion."""
    if source.currency == target.currency:
        numerator, denominator = 1, BASIS * BASIS
    else:
        numerator, denominator = target.minor_units, BASIS * BASIS * source.minor_units
    return tuple((2 * nightly_amount * weight * numerator + denominator) // (2 * denominator) for weight in weights)
