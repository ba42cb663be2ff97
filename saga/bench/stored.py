"""Filling the tables with bookings of the past: rows of this run's own bookings, stored again under other ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saga.database import Schemas, Statements, connect_pool
from saga.database.migrations import owners
from saga.errors import SagaError

if TYPE_CHECKING:
    from saga.bench.stage import Stage
    from saga.stacks.base import Progress

_ONE_TABLE_S = 3_600.0


async def store_finished(stage: Stage, sagas: int, progress: Progress) -> int:
    """Store ``sagas`` more confirmed bookings, with everything that any service keeps of one; returns the rows written.

    Then statistics are brought up to date and everything is on disk. Raises :class:`SagaError` when this run has no
    confirmed booking to take after.
    """
    schemas = Schemas(stage.settings.schema_prefix)
    sql = Statements.load("saga.bench", "sql/stored.sql", schemas)
    kept = [schemas.name(owner) for owner in owners() if owner != "traces"]  # traces are forgotten in time anyway
    async with (
        await connect_pool(stage.settings, role="bench", max_size=1, reads_widely=True) as pool,
        pool.acquire() as connection,
    ):
        await connection.execute(sql["templates"])
        if not await connection.fetchval(sql["count_templates"]):
            raise SagaError("no booking of this run was confirmed, so there is nothing to fill the tables with")
        await connection.execute(sql["copies"], sagas)
        await connection.execute(sql["define"])
        written = 0
        for table in await connection.fetch(sql["tables"], kept):
            progress(f"storing {sagas} bookings of the past: {table['schema']}.{table['name']}")
            written += await connection.fetchval(sql["copy"], *table, timeout=_ONE_TABLE_S)
        await connection.execute(sql["forget"])
        progress("bringing the database's statistics up to date")
        await connection.execute(sql["tidy"], timeout=_ONE_TABLE_S)
        await connection.execute(sql["flush"], timeout=_ONE_TABLE_S)
    return written
