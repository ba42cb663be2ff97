"""The seam to the front desk, which sells rooms to people who walk in: entry point ``booking_saga.desks``.

A drill or a demonstration sells a room that a saga holds, so that its confirmation is refused after it was paid.
"""

from __future__ import annotations

from datetime import date
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from saga.errors import UsageError

if TYPE_CHECKING:
    import asyncpg

    from saga.database import Schemas

_GROUP = "booking_saga.desks"


class SellAtDesk(Protocol):
    """Sells the free nights of a stay, held or not; returns how many were sold."""

    async def __call__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        schemas: Schemas,
        *,
        property_id: str,
        room_id: str,
        check_in: date,
        check_out: date,
    ) -> int: ...


def load_desk() -> SellAtDesk:
    """The installed desk. Raises :class:`UsageError` when there is none."""
    for point in entry_points(group=_GROUP):
        desk: SellAtDesk = point.load()
        return desk
    raise UsageError("no front desk is installed; install the project itself (`make setup`), not only its dependencies")
