"""What a measurement shall do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saga.seeding import SeedSource

_ROOMS = 30  # per property, as in the sample catalogue
_FEWEST_PROPERTIES = 40
_BOOKINGS_PER_PROPERTY = 100  # so many stays of a generated booking fit into one property without ever meeting


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of ``saga bench``. ``stored`` 0: growth is not measured; ``pump`` false: neither is the limit."""

    sagas: int = 3_000
    warm: int = 500
    light_rate: float = 10.0
    light_seconds: float = 20.0
    stored: int = 0
    seed: int = 1
    pump: bool = True

    @property
    def light_sagas(self) -> int:
        """How many bookings the light load asks for."""
        return round(self.light_rate * self.light_seconds)

    @property
    def all_sagas(self) -> int:
        """Every booking of the run."""
        again = self.warm + self.sagas if self.stored else 0
        return self.warm + self.sagas + self.light_sagas + again

    def catalogue(self) -> SeedSource:
        """Rooms enough that no booking is after another's: what is measured is the saga, not the luck of the draw."""
        from saga.seeding import SeedSource

        properties = max(_FEWEST_PROPERTIES, -(-self.all_sagas // _BOOKINGS_PER_PROPERTY))
        return SeedSource(properties=properties, rooms=properties * _ROOMS, seed=self.seed)
