"""The seam between ``saga seed`` and whoever owns the data it loads, found by entry point ``booking_saga.seeders``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from saga.errors import UsageError

if TYPE_CHECKING:
    from saga.settings import Settings

_GROUP = "booking_saga.seeders"


@dataclass(frozen=True, slots=True)
class SeedSource:
    """Where the data comes from: ``file``, or else a sample of so many properties and rooms, the same per ``seed``."""

    file: Path | None = None
    properties: int = 40
    rooms: int = 1_200
    seed: int = 1


@dataclass(frozen=True, slots=True)
class BadRow:
    """An entry that was left out: where (``line 17``, ``properties[3]``) and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was loaded, and what was not."""

    properties: int
    rooms: int
    rates: int
    bad_rows: tuple[BadRow, ...] = ()


class Seeder(Protocol):
    """Loads a source into the schemas of the services that own them, each through its own loader."""

    async def load(self, settings: Settings, source: SeedSource) -> SeedReport:
        """Load; idempotent. Raises :class:`UsageError` and :class:`saga.errors.DatabaseUnreachable`."""
        ...

    def export(self, source: SeedSource, path: Path) -> SeedReport:
        """Write the source to ``path`` in the format that ``load`` reads, touching no database."""
        ...


def load_seeder() -> Seeder:
    """The installed seeder. Raises :class:`UsageError` when there is none."""
    for point in entry_points(group=_GROUP):
        seeder: Seeder = point.load()()
        return seeder
    raise UsageError("no seeder is installed; install the project itself (`make setup`), not only its dependencies")
