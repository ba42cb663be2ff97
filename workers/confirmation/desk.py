"""The front desk: it sells rooms to people who walk in, and knows nothing of bookings that are under way.

This is how a confirmation comes to be refused after the payment went through: a room that a saga holds is sold at the
desk before the saga gets to confirm it.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from uuid import uuid4

from saga.database import Schemas, Statements

if TYPE_CHECKING:
    import asyncpg


async def sell_at_desk(
    pool: asyncpg.Pool[asyncpg.Record],
    schemas: Schemas,
    *,
    property_id: str,
    room_id: str,
    check_in: date,
    check_out: date,
    sale_id: str = "",
) -> int:
    """Sell the free nights of a stay to a walk-in, held or not; returns how many (0: none was free, or no such room).

    ``sale_id`` stands where a booking id would; it is made up (``desk-...``) when empty.
    """
    sql = Statements.load("workers.confirmation", "sql/inventory.sql", schemas)
    sold: int = await pool.fetchval(
        sql["sell_at_desk"], property_id, room_id, check_in, check_out, sale_id or f"desk-{uuid4().hex[:12]}"
    )
    return sold
